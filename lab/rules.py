"""What the assignment asks, and whether it is met.

A rubric is a TOML file: a data set, and rules with their limits and points. A verdict is read from the graph of what
the network executes, which is run for it (`lab/effects.py`: has a layer an effect?), and from two measured figures, the
epochs and the accuracy. A rule whose figure was not measured
is neither passed nor failed.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lab.effects import LEAST, LEAST_DEPENDENCE, LEAST_P, MOST_P, Effect, Meter, images_for
from lab.errors import LabError, first_fault
from lab.graph import Graph
from lab.layers import Layer, layer_table
from lab.operations import BatchNorm, Dropout, Linear, Operation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUBRICS = Path(__file__).parent / "rubrics"


class RubricError(LabError):
    """A rubric that can't be found or read."""


_Count = Annotated[int, Field(gt=0, strict=True)]


class Rule(BaseModel):
    """One requirement. `below` and `at_least` are its limit, for the rules that have one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["parameter_count", "epochs", "batch_norm", "dropout", "fully_connected", "output_shape", "accuracy"]
    points: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
    below: _Count | None = None
    at_least: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    shape: tuple[_Count, ...] | None = None

    def model_post_init(self, context: Any) -> None:
        """Each rule has the one limit that it needs, and no other."""
        needs = {"parameter_count": "below", "epochs": "below", "output_shape": "shape", "accuracy": "at_least"}
        given = {limit for limit in ("below", "at_least", "shape") if getattr(self, limit) is not None}
        wanted = {needs[self.name]} if self.name in needs else set()
        if given != wanted:
            text = f"needs {', '.join(wanted) or 'no limit'}, and has {', '.join(sorted(given)) or 'none'}"
            raise ValueError(f"rule {self.name!r} {text}")


_Moment = Annotated[AwareDatetime, Field(strict=True)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class Late(BaseModel):
    """When a hand-in is due, and what it costs to be late.

    [late]
    due = 2026-11-30T23:59:00+01:00
    grace_minutes = 15      # so much later is in time, too
    off_per_day = 0.1       # of the points that were earned, for each day that has begun after `due`
    most_off = 0.5          # never more than this
    closes = 2026-12-07T23:59:00+01:00      # what comes later does not count at all
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    due: _Moment
    grace_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)] = 0
    off_per_day: _Share = 0.0
    most_off: _Share = 1.0
    closes: _Moment | None = None

    def model_post_init(self, context: Any) -> None:
        """Nothing closes before it is due."""
        if self.closes is not None and self.closes < self.due:
            raise ValueError(f"closes ({self.closes}) is before due ({self.due})")

    def share_off(self, submitted: datetime | None, marked: bool = False) -> tuple[float, str]:
        """The share (0..1) of the earned points that is taken off, and why, for a person; 0 and "" in time.

        submitted: aware; None where nobody says when. marked: the platform's own mark that it is late, which counts
        where there is no time: as one day.
        """
        if submitted is None:
            share = min(self.off_per_day, self.most_off) if marked else 0.0
            told = "late, says the platform without a time: counted as one day"
            return share, f"{told}{_off(share)}" if marked else ""
        late = submitted - self.due
        if late <= timedelta(minutes=self.grace_minutes):
            return 0.0, ""
        if self.closes is not None and submitted > self.closes:
            return 1.0, f"{_duration(late)} late, after it had closed: nothing counts"
        begun = -(-late // timedelta(days=1))
        share = min(self.off_per_day * begun, self.most_off)
        return share, f"{_duration(late)} late{_off(share)}"


def _off(share: float) -> str:
    return f", {100 * share:.4g} % off" if share else ""


def _duration(time: timedelta) -> str:
    """For a person, in its two largest units: "1 day 3 hours", "12 minutes"."""
    minutes = time // timedelta(minutes=1)
    parts = ((minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    shown = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "less than a minute"


class Rubric(BaseModel):
    """An assignment: the data set, the images' shape and the rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    dataset: str
    input_shape: tuple[_Count, _Count, _Count]
    quick_accuracy: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """What a quick run of the assignment's notebook has to reach: it shows that everything works, no more."""
    learnt: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """The accuracy below which no rule earns points: a network that has not learnt is not worth its layers."""
    recipe: str | dict[str, Any] = Field(default_factory=dict)
    """How its networks are trained where nobody says otherwise: a preset's name, or what is changed in the lab's own
    recipe (lab/recipes.py reads it)."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    late: Late | None = Field(default=None, exclude=True)
    """When it is due; None where nobody minds. It changes nothing that is judged, and stands in no dump or digest."""

    def accuracy_bar(self, quick: bool) -> float:
        """The accuracy that a run of the notebook has to reach, 0..1. Raises RubricError where there is none."""
        return self.quick_accuracy if quick and self.quick_accuracy else self.limit("accuracy")

    def limit(self, name: str) -> float:
        """The limit of the rule called `name`. Raises RubricError where the rubric has no such limit."""
        for rule in self.rules:
            limit = rule.below if rule.below is not None else rule.at_least
            if rule.name == name and limit is not None:
                return limit
        raise RubricError(f"the rubric {self.title!r} sets no limit for {name!r}.")


@dataclass(frozen=True)
class Verdict:
    """One rule, judged. `passed` is None where the figure was not measured."""

    rule: str
    passed: bool | None
    figure: str  # what was found
    limit: str  # what the rule asks for
    hint: str  # what to do about it; empty where it is passed
    points: float  # earned
    max_points: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """One line for a person, and a second one with the hint."""
        mark = {True: "PASS", False: "FAIL", None: "----"}[self.passed]
        text = f"{mark} {self.rule}: {self.figure}, {self.limit}."
        return f"{text}\n     {self.hint}" if self.hint else text


def load_rubric(name: str | Path = "mnist_994") -> Rubric:
    """A rubric by the name of one of the lab's own (such as `mnist_994`, `mnist_8k`), or by a path to a TOML file.

    `based_on = "mnist_994"` in a file takes what it does not say from one of the lab's own. Raises RubricError, which
    says what is wrong and where.
    """
    own = RUBRICS / f"{name}.toml"
    path = own if os.path.isfile(own) else Path(name)  # unlike Path.is_file, False for a name that is too long
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return Rubric.model_validate(_base(path, found.pop("based_on", None)) | found)
    except ValidationError as error:
        raise RubricError(f"{path}: {first_fault(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RubricError(f"{path} is not a TOML file: {error}") from error
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RUBRICS.glob("*.toml")))
        raise RubricError(f"no rubric {str(name)!r}: it is neither a file nor one of {known}.") from error


def _base(path: Path, name: object) -> dict[str, Any]:
    """What a rubric is based on; {} without a name. Raises RubricError."""
    if name is None:
        return {}
    own = sorted(found.stem for found in RUBRICS.glob("*.toml"))
    if name not in own:
        raise RubricError(f"{path}: it is based on {name!r}, which is none of {', '.join(own)}.")
    return tomllib.loads((RUBRICS / f"{name}.toml").read_text(encoding="utf-8"))


def judge(
    rubric: Rubric,
    graph: Graph,
    epochs: int | None = None,
    accuracy: float | None = None,
    openings: int | None = None,
) -> list[Verdict]:
    """The verdict on every rule of the rubric. A rule that is kept earns its points once the network has learnt.

    epochs: passes over the training images. accuracy: on the test images, 0..1. openings: how often the test set was
    opened for it, where that is known.
    """
    facts = _Facts(graph, epochs, accuracy, openings, rubric)
    verdicts = []
    for rule in rubric.rules:
        passed, figure, limit, hint = _RULES[rule.name](rule, facts)
        earned = rule.points if passed and facts.has_learnt else 0.0
        verdicts.append(Verdict(rule.name, passed, figure, limit, "" if passed else hint, earned, rule.points))
    return verdicts


def meets(rule: str, figure: float, limit: float) -> bool:
    """Does a measured figure keep the rule's limit? One that can't be (not a number, 101 %, no epochs) keeps none."""
    return limit <= figure <= 1 if rule == "accuracy" else 0 < figure < limit


@dataclass(frozen=True)
class _Facts:
    graph: Graph
    epochs: int | None
    accuracy: float | None
    openings: int | None
    rubric: Rubric

    @property
    def has_learnt(self) -> bool:
        """Has it reached the rubric's bar for points of any kind?"""
        bar = self.rubric.learnt
        return bar is None or (self.accuracy is not None and meets("accuracy", self.accuracy, bar))

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The layer table, by name."""
        return {layer.name: layer for layer in layer_table(self.graph)}

    @cached_property
    def meter(self) -> Meter:
        """Made when the first rule asks for it."""
        return Meter(self.graph, images_for(self.rubric.dataset, self.graph.input_shape))


_Finding = tuple[bool | None, str, str, str]
"""Passed, the figure, the limit, the hint."""


def _parameter_count(rule: Rule, facts: _Facts) -> _Finding:
    count, below = facts.graph.counted(), rule.below or 0
    largest = max(facts.layers.values(), key=lambda layer: layer.parameters)
    hint = (
        f"The largest: {largest.heading} with {largest.parameters:,}. "
        "Pool before the linear layer, or squeeze channels with a 1x1 convolution."
    )
    return meets(rule.name, count.total, below), count.text, f"limit {below - 1:,}", hint


def _epochs(rule: Rule, facts: _Facts) -> _Finding:
    limit = f"limit {(rule.below or 0) - 1}"
    if facts.epochs is None:
        return None, "not measured", limit, "Train the network: lab check TARGET --train."
    passed = meets(rule.name, facts.epochs, rule.below or 0)
    return passed, str(facts.epochs), limit, "Fewer passes: a higher peak of the learning rate, decayed to zero."


_IDLE_KINDS: dict[type[Operation], tuple[str, ...]] = {
    BatchNorm: ("batch_norm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
    Dropout: ("dropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"),
    Linear: ("linear", "Linear"),
}
"""What an operation of a kind, or PyTorch's layers for it, are called where they have no effect."""


def _executed(facts: _Facts, kind: type[Operation], what: str, advice: str) -> _Finding:
    """Is an operation of this kind executed, and has it an effect on the answers? Measured until one counts."""
    operations = [op for op in facts.graph.operations if isinstance(op, kind)]
    effects: dict[str, Effect] = {}
    for op in operations:
        effects[op.name] = facts.meter.effect(op)
        if effects[op.name].counts:
            figure = f"{len(operations)} executed; {facts.layers[op.name].heading} {effects[op.name].line()}"
            return True, figure, f"at least {LEAST:g}", ""
    reasons = [f"{facts.layers[name].heading} {effect.fault}" for name, effect in effects.items()]
    reasons += [idle.text for idle in facts.graph.idle if idle.kind in _IDLE_KINDS[kind]]
    reason = f"{reasons[0]}. " if reasons else ""
    return False, f"no {what} with an effect on the answers", "at least 1", f"{reason}{advice}"


def _batch_norm(rule: Rule, facts: _Facts) -> _Finding:
    advice = "Call a batch norm between a convolution and its activation, and pass its output on."
    finding = _executed(facts, BatchNorm, "batch norm", advice)
    if finding[0] and (share := facts.meter.dependence) > LEAST_DEPENDENCE:
        figure = f"in eval mode an image's neighbours change its answer by {share:.4f} of its size"
        hint = "Let every batch norm normalise by its running statistics in eval mode: leave track_running_stats on."
        return False, figure, f"at most {LEAST_DEPENDENCE:g}", hint
    return finding


def _dropout(rule: Rule, facts: _Facts) -> _Finding:
    advice = (
        f"Call a dropout with p from {LEAST_P:g} to {MOST_P:g} in forward, pass its output on, and let it follow the "
        "training mode."
    )
    return _executed(facts, Dropout, "dropout", advice)


def _fully_connected(rule: Rule, facts: _Facts) -> _Finding:
    advice = "Flatten the map and give it to an nn.Linear; a convolution over the whole map does not count."
    return _executed(facts, Linear, "fully connected layer", advice)


def _output_shape(rule: Rule, facts: _Facts) -> _Finding:
    def text(shape: tuple[int, ...]) -> str:
        return "(" + ", ".join(["B", *map(str, shape)]) + ")"

    got, wanted = facts.graph.output_shape, rule.shape or ()
    hint = "End with one logit for each class: nn.Linear(..., 10)."
    return got == wanted, text(got), f"expected {text(wanted)}", hint


def _accuracy(rule: Rule, facts: _Facts) -> _Finding:
    limit = f"at least {rule.at_least or 0:.2%}"
    bar = (
        "" if facts.rubric.learnt is None else f" The other rules earn their points from {facts.rubric.learnt:.0%} on."
    )
    if facts.accuracy is None:
        return None, "not measured", limit, f"Train the network: lab check TARGET --train.{bar}"
    passed = meets(rule.name, facts.accuracy, rule.at_least or 0)
    figure = f"{facts.accuracy:.2%}"
    if not passed and limit.endswith(figure):  # rounded, it would look like enough
        figure = f"{facts.accuracy:.4%}"
    if facts.openings is not None:
        figure += f" (test set opened {'once' if facts.openings == 1 else f'{facts.openings} times'})"
    hint = "Try a learning rate that decays to zero, no ReLU on the logits and, for digits, random shifts and turns."
    if not facts.has_learnt:
        hint += bar
    return passed, figure, limit, hint


_RULES: dict[str, Callable[[Rule, _Facts], _Finding]] = {
    "parameter_count": _parameter_count,
    "epochs": _epochs,
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "fully_connected": _fully_connected,
    "output_shape": _output_shape,
    "accuracy": _accuracy,
}
