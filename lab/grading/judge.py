"""What is a network worth? The assignment's rules, by figures that are worked out here and not told by its author.

    mode      what happens                                                     what is a fact then
    retrain   fresh first weights, the lab's loop, the student's recipe        parameters, epochs, accuracy, clean test
    rerun     the student's own loop trains in the sandbox, without the test   parameters, accuracy, clean test
              images; the weights that come out are tested here
    weights   the weights that were handed in are tested                       parameters, accuracy
    audit     weights; and retrain for a random share, and where something     as of what was done; the odds of a cheat
              is suspicious                                                    that slips through are stated

A clean test: nothing that the network learnt from had to do with the test images. What is no fact is a claim.

No code of a student's is in this process or in the one that trains (`lab/grading/training.py`).
"""

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

import lab
from lab import runs
from lab.data import checksums, load
from lab.design import Log, Trained, Version, entry_of, graph_of, right_of
from lab.errors import DataError, LabError
from lab.grading import sequential
from lab.grading.training import GraderError, Mistake, Outcome, Training, mistakes_of
from lab.graph import Graph, document_of
from lab.likeness import design, known_copy, same_design
from lab.rules import Rubric, RubricError, Verdict, judge
from lab.stats import share_margin
from lab.submission import HandIn
from lab.train import History, Recipe, accuracy, check_recipe, predict, share_right

MOST_EPOCHS = 60
"""A recipe with more is not trained; one with more than the rubric allows is, and loses that rule's points."""
MOST_WORK = 1e14
"""Multiply-adds and their like of a whole training: twice what 20,000 weights take in 19 epochs where each is applied
at every place of a 28x28 image, and 16 times the lab's longest record."""
MOST_CALLS = 1e7
"""Operations in all steps together, each of which takes its time however small it is: 50 times the lab's longest."""
MOST_NUMBERS = 2**30
"""That a step keeps, in maps and in what the optimizer works with: 4 GiB."""
SLOWEST_WORK, SLOWEST_CALLS = 2e8, 2e2
"""Multiply-adds, and operations, a second of a machine that is slow and busy: a training that takes longer hangs."""
START_SECONDS = 120.0
IMAGES = 60_000
FACTS = {
    "retrain": ("parameters", "epochs", "accuracy", "a clean test"),
    "rerun": ("parameters", "accuracy", "a clean test"),
    "weights": ("parameters", "accuracy"),
    "audit": ("parameters", "accuracy"),
}


class JudgeError(LabError):
    """A network or a recipe that is not judged: which bound it passes, and what to do."""


@dataclass(frozen=True)
class Judgement:
    """The verdicts, and how they came about."""

    mode: str  # what was done: "retrain", "rerun", "weights", or "audit" where nothing was trained for one
    verdicts: tuple[Verdict, ...]
    seeds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()  # on the test images, 0..1, one a seed
    notes: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()  # reasons for an audit
    odds: float | None = None  # of an audit: that a cheat which raises no suspicion stays unseen, 0..1
    provenance: Mapping[str, Any] = field(default_factory=dict)  # what is needed to repeat it
    graph: Graph | None = field(default=None, repr=False)  # that was judged, with its weights; not in `to_dict`
    curve: tuple[Mapping[str, float], ...] = ()  # of the first training, an epoch each; not in `to_dict`
    mistakes: tuple[Mistake, ...] = ()  # of the first network that was tested, all of them; not in `to_dict`
    seconds: float = 0.0  # of training; not in `to_dict`, which is the same for the same hand-in

    @property
    def facts(self) -> tuple[str, ...]:
        """What is known and not believed."""
        return FACTS[self.mode]

    @property
    def claims(self) -> tuple[str, ...]:
        """What its author says, and nobody has checked."""
        return tuple(one for one in FACTS["retrain"] if one not in self.facts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "mode": self.mode,
            "facts": list(self.facts),
            "claims": list(self.claims),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "seeds": list(self.seeds),
            "accuracies": list(self.accuracies),
            "notes": list(self.notes),
            "suspicions": list(self.suspicions),
            "odds": self.odds,
            "provenance": dict(self.provenance),
        }

    def lines(self) -> list[str]:
        """For a person."""
        times = "once" if len(self.seeds) == 1 else f"{len(self.seeds)} times"
        done = f"{self.mode}, trained {times} for this" if self.seeds else self.mode
        facts = f"{done}: known and not believed: {', '.join(self.facts)}."
        claims = [f"claimed and not checked: {', '.join(self.claims)}."] if self.claims else []
        return [*(verdict.line() for verdict in self.verdicts), facts, *claims, *self.notes, *self.suspicions]


# -- modes ------------------------------------------------------------------------------------------------------------


def by_retraining(graph: Graph, recipe: Recipe, rubric: Rubric, seed: int = 0, seeds: int | None = None) -> Judgement:
    """Train the network here, from fresh first weights, and judge it by its accuracy on the test images.

    seeds: exactly so many trainings; None: as many as `lab.grading.sequential` asks for. Raises JudgeError for what is
    too large to be trained, LabError where a training fails, GraderError where this machine does.
    """
    recipe = replace(recipe, seed=seed, precision="auto")  # emulated, bfloat16 would take ten times as long
    check_bounds(graph, recipe, rubric)
    threads = torch.get_num_threads()
    done: list[Outcome] = []
    with Training(graph, recipe, rubric.dataset, threads, seconds_for(graph, recipe)) as training:

        def measure(number: int) -> float:
            done.append(training.run(number))
            return done[-1].accuracy

        bar = _limit(rubric, "accuracy")
        times = seeds if bar is not None else seeds or 1
        accuracies = sequential.measured(measure, bar or 0.0, seed, times)
    verdicts = judge(rubric, done[0].graph, done[0].epochs, fmean(accuracies))
    verdicts = [runs.with_its_luck(verdict, rubric, accuracies, done[0].images) for verdict in verdicts]
    verdicts, notes = _without_copies(verdicts, graph)
    tried = tuple(range(seed, seed + len(accuracies)))
    repeat = f"lab grade HAND-IN --mode retrain --seed {seed} --seeds {len(tried)}"
    made = _provenance(graph, recipe, rubric, threads, repeat)
    took = sum(one.seconds for one in done)
    return Judgement(
        "retrain", tuple(verdicts), tried, tuple(accuracies), notes, provenance=made, graph=done[0].graph,
        curve=done[0].curve, mistakes=done[0].mistakes, seconds=took,
    )  # fmt: skip


def by_weights(graph: Graph, rubric: Rubric) -> Judgement:
    """Judge a network by the weights that it brings. How they were learnt is not known: the epochs earn nothing."""
    found, mistakes, verdicts = _tested(graph, rubric)
    verdicts, notes = _without_copies([runs.unknown_epochs(verdict) for verdict in verdicts], graph)
    made = _provenance(graph, None, rubric, torch.get_num_threads(), "lab grade HAND-IN --mode weights")
    return Judgement("weights", tuple(verdicts), (), (found,), notes, provenance=made, graph=graph, mistakes=mistakes)


def by_rerun(graph: Graph, rubric: Rubric, epochs: float, notes: Sequence[str] = ()) -> Judgement:
    """Judge a network by the weights that its author's own loop gave it in the sandbox.

    epochs: passes over the training images, as they were counted beside that code.
    """
    found, mistakes, verdicts = _tested(graph, rubric, max(1, math.ceil(epochs - 0.05)))
    verdicts, more = _without_copies([_counted_inside(verdict) for verdict in verdicts], graph)
    made = _provenance(graph, None, rubric, torch.get_num_threads(), "lab grade HAND-IN --mode rerun")
    return Judgement(
        "rerun", tuple(verdicts), (), (found,), (*notes, *more), provenance=made, graph=graph, mistakes=mistakes
    )


def _tested(
    graph: Graph, rubric: Rubric, epochs: int | None = None
) -> tuple[float, tuple[Mistake, ...], list[Verdict]]:
    """Accuracy on the test images, 0..1, what is wrong there, and the verdicts.

    Raises GraderError where those images can't be had.
    """
    _check_shapes(graph, rubric)
    try:
        test = load(rubric.dataset).test
    except DataError as error:
        raise GraderError(f"nothing can be tested: {error}") from error
    answers = predict(graph.build(), test.images, _images_at_once(graph)).argmax(1)
    found = share_right(answers, test)
    return found, tuple(mistakes_of(answers, test.labels)), judge(rubric, graph, epochs, found)


AT_ONCE = 2**25
"""Numbers in a map of a batch that is tested, some of which are held at a time: with these a judge needs 600 MB."""


def _images_at_once(graph: Graph) -> int:
    """Of a batch: a thousand, or fewer where the network's maps are large, for machines with little memory."""
    largest = max((math.prod(op.shape) for op in graph.operations), default=1)
    return max(1, min(1000, AT_ONCE // max(1, largest)))


def _counted_inside(verdict: Verdict) -> Verdict:
    if verdict.rule != "epochs":
        return verdict
    return replace(verdict, figure=f"{verdict.figure}, by the images that were read")


def _without_copies(verdicts: list[Verdict], graph: Graph) -> tuple[list[Verdict], tuple[str, ...]]:
    """The verdicts; without points where the network is one of the lab's own."""
    own = known_copy(graph)
    if own is None:
        return verdicts, ()
    note = f"The network is the lab's own {own}, whatever it is called: it earns no points. Change its design."
    return [replace(verdict, points=0.0) for verdict in verdicts], (note,)


# -- bounds -----------------------------------------------------------------------------------------------------------


def check_bounds(graph: Graph, recipe: Recipe, rubric: Rubric) -> None:
    """Raise JudgeError for what would take too long or too much, and TrainingError for a recipe that is none."""
    check_recipe(recipe)
    _check_shapes(graph, rubric)
    if recipe.epochs > MOST_EPOCHS:
        allowed = _limit(rubric, "epochs")
        rule = f"the assignment allows {allowed - 1:g}, and " if allowed is not None else ""
        raise JudgeError(
            f"the recipe has {recipe.epochs:,} epochs; {rule}more than {MOST_EPOCHS} are not trained. Take fewer."
        )
    if (work := _work(graph, recipe)) > MOST_WORK:
        muon = " or no Muon (muon=0)" if recipe.muon and _muon_work(graph) > _forward_work(graph) else ""
        raise JudgeError(
            f"the training takes {work:.1e} multiply-adds; more than {MOST_WORK:.0e} are not done. Make the network "
            f"smaller where its maps are large (lab inspect shows where), or take fewer epochs{muon}."
        )
    if (calls := _calls(graph, recipe)) > MOST_CALLS:
        raise JudgeError(
            f"{_steps(recipe):,} steps of {len(graph.operations):,} operations are {calls:,}; more than "
            f"{MOST_CALLS:,.0f} are not taken. Take larger batches than {recipe.batch_size}, or fewer operations."
        )
    if (kept := _kept(graph, recipe)) > MOST_NUMBERS:
        muon = ", or no Muon (muon=0)" if recipe.muon else ""
        raise JudgeError(
            f"a step on {_batch(recipe):,} images keeps {kept:,} numbers; {MOST_NUMBERS:,} are the most. Take smaller "
            f"batches{muon}."
        )


def seconds_for(graph: Graph, recipe: Recipe) -> float:
    """The time after which a training hangs, in seconds: many times what it takes."""
    return START_SECONDS + _work(graph, recipe) / SLOWEST_WORK + _calls(graph, recipe) / SLOWEST_CALLS


def _check_shapes(graph: Graph, rubric: Rubric) -> None:
    if graph.input_shape != rubric.input_shape:
        raise JudgeError(
            f"the network takes images of {graph.input_shape}, the assignment's are {rubric.input_shape}. Hand in one "
            "for those."
        )
    if len(graph.output_shape) != 1:
        raise JudgeError(
            f"the network gives {graph.output_shape} for an image; expected one logit for each class. End with a "
            "linear layer, or flatten what comes out."
        )


def _limit(rubric: Rubric, name: str) -> float | None:
    """The limit of a rule, where the rubric has it."""
    try:
        return rubric.limit(name)
    except RubricError:
        return None


def _batch(recipe: Recipe) -> int:
    return min(recipe.batch_size, IMAGES)


def _steps(recipe: Recipe) -> int:
    """Steps of a training that skips no image."""
    return recipe.epochs * -(-IMAGES // recipe.batch_size)


def _calls(graph: Graph, recipe: Recipe) -> int:
    return _steps(recipe) * len(graph.operations)


def _forward_work(graph: Graph) -> int:
    """Multiply-adds and their like for one image."""
    return sum(
        op.work(graph.stored_shapes(op), [graph.shape_of(name) for name in op.inputs]) for op in graph.operations
    )


def _work(graph: Graph, recipe: Recipe) -> float:
    """Of a training: forwards, twice as much backwards, and in each step what the optimizer does with every weight."""
    stored = sum(math.prod(one.shape) for one in graph.tensors.values())
    a_step = 10.0 * stored + (_muon_work(graph) if recipe.muon else 0)
    return 3.0 * _forward_work(graph) * IMAGES * recipe.epochs + _steps(recipe) * a_step


def _muon_shape(graph: Graph) -> tuple[int, int, int]:
    """Matrices, rows and columns that Muon fills up to one size."""
    filters = [one.shape for one in graph.tensors.values() if one.learnable and len(one.shape) == 4]
    if not filters:
        return 0, 0, 0
    return len(filters), max(shape[0] for shape in filters), max(math.prod(shape[1:]) for shape in filters)


def _muon_work(graph: Graph) -> int:
    """Multiply-adds of one step of Muon: five rounds of three products."""
    matrices, rows, columns = _muon_shape(graph)
    return 5 * matrices * rows * rows * (2 * columns + rows)


def _kept(graph: Graph, recipe: Recipe) -> int:
    """Numbers that a step holds: every map, and Muon's matrices with what it works out from them."""
    maps = sum(math.prod(op.shape) for op in graph.operations) * _batch(recipe)
    matrices, rows, columns = _muon_shape(graph) if recipe.muon else (0, 0, 0)
    return maps + matrices * (4 * rows * columns + 2 * rows * rows)


# -- audit ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Which hand-ins are trained again without any suspicion."""

    share: float  # 0..1
    secret: str  # that only the teacher knows; may be empty

    def draws(self, digest: str) -> bool:
        """Is this one drawn? The same for the same content and secret, so that a regrading draws the same ones."""
        drawn = int.from_bytes(hashlib.sha256(f"{self.secret} {digest}".encode()).digest()[:8], "big")
        return drawn < self.share * 2**64

    @property
    def odds(self) -> float:
        """That a cheat which raises no suspicion is not drawn, 0..1."""
        return 1 - self.share

    def line(self) -> str:
        """For a person."""
        known = (
            ""
            if self.secret
            else " Without a secret of the teacher's, who changes a hand-in often enough is never drawn."
        )
        return (
            f"audit: {self.share:.0%} are trained again at random, and all that are suspicious; a cheat that raises no "
            f"suspicion stays unseen with a probability of {self.odds:.0%}.{known}"
        )


def suspicions(
    judged: Judgement, hand_in: HandIn, known: Mapping[str, str], fresh: tuple[float, float, int] | None
) -> tuple[str, ...]:
    """Reasons to train a network again.

    known: digests of networks, recipes and weights of other hand-ins, and whose they are. fresh: accuracies on the test
    images and on images that nobody has seen, and the number of those.
    """
    found = []
    (tested,) = judged.accuracies
    declared = hand_in.declared.get("accuracy")
    if declared is not None and abs(declared - tested) > 0.003:
        found.append(f"declared are {declared:.2%}, and its weights reach {tested:.2%} on the test images.")
    for what, digest in digests(hand_in).items():
        if digest in known:
            found.append(f"its {what} are those of {known[digest]}.")
    if fresh is not None and is_suspicious(*fresh):
        found.append(f"{fresh[0]:.2%} on the test images, {fresh[1]:.2%} on fresh ones: was it trained on the former?")
    return tuple(found)


def fresh_figures(judged: Judgement, name: str | None) -> tuple[tuple[float, float, int] | None, tuple[str, ...]]:
    """Accuracies on the test images and on fresh ones, and how many those are; and what to say of it.

    name: of the set that has fresh images; None where nobody asks for them.
    """
    if name is None or judged.graph is None:
        return None, ()
    try:
        found, images = on_fresh_images(judged.graph, name)
    except DataError as error:
        return None, (f"not measured on fresh images: {error}",)
    margin = share_margin(found, images)
    return (judged.accuracies[0], found, images), (f"{found:.2%} ± {margin:.2%} on {images:,} fresh images of {name}.",)


def audited(
    judged: Judgement,
    hand_in: HandIn,
    rubric: Rubric,
    reasons: tuple[str, ...],
    sample: Sample,
    is_drawn: bool,
    train: Callable[[], Judgement],
) -> Judgement:
    """The judgement by weights; or by a training, where there is a reason for one or the hand-in was drawn.

    Without a training the epochs are those that the recipe claims: who is not drawn is not worse off for it.
    """
    if not (reasons or is_drawn):
        claimed = None if hand_in.recipe is None else hand_in.recipe.epochs
        verdicts = [_claimed(one) for one in judge(rubric, hand_in.graph, claimed, judged.accuracies[0])]
        verdicts, _ = _without_copies(verdicts, hand_in.graph)
        notes = (*judged.notes, f"{sample.line()} This one was not trained again.")
        made = dict(judged.provenance) | {"repeat": "lab grade HAND-IN --mode audit"}
        return replace(judged, mode="audit", verdicts=tuple(verdicts), notes=notes, odds=sample.odds, provenance=made)
    trained = train()
    difference = judged.accuracies[0] - fmean(trained.accuracies)
    if difference > FURTHER:
        points = 100 * difference
        told = f"its weights reach {judged.accuracies[0]:.2%}, the same network trained here {points:.2f} points less."
        reasons = (*reasons, told)
    why = "it is suspicious" if reasons else "it was drawn"
    notes = (*dict.fromkeys((*judged.notes, *trained.notes)), f"{sample.line()} This one was trained again: {why}.")
    return replace(trained, suspicions=reasons, notes=notes, odds=0.0)


def _claimed(verdict: Verdict) -> Verdict:
    if verdict.rule != "epochs" or verdict.passed is None:
        return verdict
    return replace(verdict, figure=f"{verdict.figure}, as its recipe says")


FURTHER = 0.003
"""So much more than a training here gives is no luck: five deviations of a seed (`sequential.DEVIATION`)."""


def digests(hand_in: HandIn) -> dict[str, str]:
    """What hand-ins are compared by. Neither names nor the recipe's seed make a difference.

    The recipe alone is none of them: many take the lab's own.
    """
    recipe = None if hand_in.recipe is None else asdict(replace(hand_in.recipe, seed=0))
    return {
        "network and recipe": json_digest([design(hand_in.graph), recipe]),
        "weights": weights_digest(hand_in.graph),
    }


def is_suspicious(known: float, fresh: float, images: int, of_known: int = 10_000) -> bool:
    """Is the accuracy on the known test images further above that on fresh ones than luck and the sets explain?

    Three standard errors of the difference, and 0.3 points for how the sets differ (Yadav and Bottou 2019, "Cold Case:
    the Lost MNIST Digits", find rebuilt test images a tenth of a point or two harder).
    """
    error = math.sqrt(known * (1 - known) / of_known + fresh * (1 - fresh) / images)
    return known - fresh > 3 * error + 0.003


def on_fresh_images(graph: Graph, name: str, seen: int = 10_000) -> tuple[float, int]:
    """Accuracy (0..1) on the images of a set's test files behind the first `seen`, and how many those are.

    QMNIST's test files begin with MNIST's own test images; the 50,000 behind them are in nobody's training or test set.
    Raises DataError where the set can't be had.
    """
    test = load(name).test
    rest = replace(test, images=test.images[seen:], labels=test.labels[seen:])
    if not len(rest):
        raise DataError(f"{name} has no test images beside the known {seen:,}.")
    return accuracy(graph.build(), rest), len(rest)


class BoundedLog(Log):
    """A log of a student's designs, which trains none that takes too much."""

    def __init__(self, log: Log, rubric: Rubric) -> None:
        super().__init__(log.data, log.recipe, log.seeds)
        self._rubric = rubric

    def graph_for(self, version: Version, recipe: Recipe) -> Graph:
        """As Log's. Raises JudgeError as `check_bounds` does, too."""
        graph = super().graph_for(version, recipe)
        check_bounds(graph, recipe, self._rubric)
        return graph


class HandedInLog(BoundedLog):
    """A log whose long run is the network that was handed in: in place of a training, its weights are looked at."""

    def __init__(self, log: Log, rubric: Rubric, hand_in: HandIn) -> None:
        super().__init__(log, rubric)
        self._hand_in = hand_in

    def train(self, version: Version, recipe: Recipe, watchers: Sequence[Any] = ()) -> Trained:
        """The handed-in network, where the version is its design; a training otherwise."""
        graph = graph_of(version)
        if not same_design(graph, self._hand_in.graph):
            return super().train(version, recipe, watchers)
        model = self._hand_in.graph.build().eval()
        right = right_of(model, self.validation)
        entry = entry_of(version, graph, recipe, [float(right.double().mean())], (recipe.seed,))
        return Trained(model, History(recipe, "cpu", "float32", torch.get_num_threads()), right[None], entry)


def logs(names: Mapping[str, Any], rubric: Rubric, hand_in: HandIn | None = None) -> dict[str, Any]:
    """For each log of designs among these values one to grade by, under its name; with a hand-in by its weights."""
    found = {name: log for name, log in names.items() if isinstance(log, Log)}
    if hand_in is None:
        return {name: BoundedLog(log, rubric) for name, log in found.items()}
    return {name: HandedInLog(log, rubric, hand_in) for name, log in found.items()}


# -- provenance -------------------------------------------------------------------------------------------------------


def _provenance(graph: Graph, recipe: Recipe | None, rubric: Rubric, threads: int, repeat: str) -> dict[str, Any]:
    """What is needed to repeat a judgement. recipe: None where nothing was trained, and the weights decide."""
    return {
        "lab": lab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": threads,
        "network": json_digest(document_of(graph).model_dump(mode="json")),
        "weights": None if recipe is not None else weights_digest(graph),
        "recipe": None if recipe is None else asdict(recipe),
        "rubric": json_digest(rubric.model_dump(mode="json")),
        "data": {"name": rubric.dataset, "files": checksums(rubric.dataset)},
        "repeat": repeat,
    }


def weights_digest(graph: Graph) -> str:
    """SHA-256 of all weights, in the order of their first use, hexadecimal."""
    names = {name: None for op in graph.operations for name in op.stored()}
    found = hashlib.sha256()
    for name in names:
        found.update(graph.weights[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of what JSON can hold, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
