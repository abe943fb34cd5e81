"""What is a network worth? The assignment's rules, by figures that are worked out here and not told by its author.

    mode      what happens                                                     what is a fact then
    retrain   fresh first weights, the lab's loop, the student's recipe        parameters, epochs, accuracy, clean test
    rerun     the student's own loop trains in the sandbox, without the test   parameters, accuracy, clean test
              images; the weights that come out are tested here
    weights   the weights that were handed in are tested                       parameters, accuracy
    audit     weights; and retrain for a random share, and where something     as far as it went
              is suspicious

A clean test: nothing that the network learnt from had to do with the test images.

No code of a student's is in this process or in the one that trains (`lab/grading/training.py`).
"""

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

import lab
from lab import runs
from lab.data import Data, load
from lab.design import Log, Trained, Version, entry_of, graph_of, right_of
from lab.errors import DataError, LabError
from lab.grading import sequential
from lab.grading.training import Outcome, Training
from lab.graph import Graph, document_of
from lab.likeness import known_copy, same_design
from lab.rules import Rubric, Verdict, judge
from lab.stats import share_margin
from lab.submission import HandIn
from lab.train import History, Recipe, accuracy, check_recipe

MOST_EPOCHS = 60
"""A recipe with more is not trained; one with more than the rubric allows is, and loses that rule's points."""
MOST_WORK = 2e14
"""Steps (multiply-adds and their like) of a whole training: some twenty times that of the lab's largest record."""
MOST_BATCHES = 250_000
MOST_ACTIVATIONS = 2**30
"""Numbers that a training step keeps: 4 GiB."""
SLOWEST = 2e8
"""Steps a second of a machine that is slow and busy; a training that takes longer is stopped."""
IMAGES = 60_000
FACTS = {
    "retrain": ("parameters", "epochs", "accuracy", "a clean test"),
    "rerun": ("parameters", "accuracy", "a clean test"),
    "weights": ("parameters", "accuracy"),
}


class JudgeError(LabError):
    """A network or a recipe that is not judged: which bound it passes, and what to do."""


@dataclass(frozen=True)
class Judgement:
    """The verdicts, and how they came about."""

    mode: str  # what was done: "retrain", "rerun" or "weights"
    verdicts: tuple[Verdict, ...]
    seeds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()  # on the test images, 0..1, one a seed
    notes: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()  # reasons for an audit
    provenance: Mapping[str, Any] = field(default_factory=dict)  # what is needed to repeat it
    graph: Graph | None = field(default=None, repr=False)  # that was judged, with its weights; not in `to_dict`
    seconds: float = 0.0  # of training; not in `to_dict`, which is the same for the same hand-in

    @property
    def facts(self) -> tuple[str, ...]:
        """What is known and not believed."""
        return FACTS[self.mode]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "mode": self.mode,
            "facts": list(self.facts),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "seeds": list(self.seeds),
            "accuracies": list(self.accuracies),
            "notes": list(self.notes),
            "suspicions": list(self.suspicions),
            "provenance": dict(self.provenance),
        }

    def lines(self) -> list[str]:
        """For a person."""
        once = (
            f"trained {'once' if len(self.seeds) == 1 else f'{len(self.seeds)} times'} for this" if self.seeds else ""
        )
        facts = f"{self.mode}{f', {once}' if once else ''}: what is known and not believed: {', '.join(self.facts)}."
        return [*(verdict.line() for verdict in self.verdicts), facts, *self.notes, *self.suspicions]


# -- modes ------------------------------------------------------------------------------------------------------------


def by_retraining(graph: Graph, recipe: Recipe, rubric: Rubric, seed: int = 0, seeds: int | None = None) -> Judgement:
    """Train the network here, from fresh first weights, and judge it by its accuracy on the test images.

    seeds: exactly so many trainings; None: as many as `lab.grading.sequential` asks for. Raises JudgeError for what is
    too large to be trained, LabError where a training fails, GraderError where this machine does.
    """
    recipe = replace(recipe, seed=seed, precision="auto")
    check_bounds(graph, recipe, rubric)
    threads, seconds = os.cpu_count() or 1, 120 + _work(graph, recipe) / SLOWEST
    done: list[Outcome] = []
    with Training(graph, recipe, rubric.dataset, threads, seconds) as training:

        def measure(number: int) -> float:
            done.append(training.run(number))
            return done[-1].accuracy

        accuracies = sequential.measured(measure, rubric.limit("accuracy"), seed, seeds)
    verdicts = judge(rubric, done[0].graph, done[0].epochs, fmean(accuracies))
    verdicts = [runs.with_its_luck(verdict, rubric, accuracies, 10_000) for verdict in verdicts]
    verdicts, notes = _without_copies(verdicts, graph)
    tried = tuple(range(seed, seed + len(accuracies)))
    made = _provenance(graph, recipe, rubric, threads) | {"mode": "retrain", "seeds": tried}
    took = sum(one.seconds for one in done)
    return Judgement("retrain", tuple(verdicts), tried, tuple(accuracies), notes, (), made, done[0].graph, took)


def by_weights(graph: Graph, rubric: Rubric) -> Judgement:
    """Judge a network by the weights that it brings. How they were learnt is not known: the epochs earn nothing."""
    found, verdicts = _tested(graph, rubric)
    verdicts, notes = _without_copies([runs.unknown_epochs(verdict) for verdict in verdicts], graph)
    made = _provenance(graph, None, rubric, torch.get_num_threads()) | {"mode": "weights"}
    return Judgement("weights", tuple(verdicts), (), (found,), notes, (), made, graph)


def by_rerun(graph: Graph, rubric: Rubric, epochs: float, notes: Sequence[str] = ()) -> Judgement:
    """Judge a network by the weights that its author's own loop gave it in the sandbox.

    epochs: passes over the training images, as they were counted beside that code.
    """
    found, verdicts = _tested(graph, rubric, max(1, math.ceil(epochs - 0.05)))
    verdicts, more = _without_copies([_counted_inside(verdict) for verdict in verdicts], graph)
    made = _provenance(graph, None, rubric, torch.get_num_threads()) | {"mode": "rerun"}
    return Judgement("rerun", tuple(verdicts), (), (found,), (*notes, *more), (), made, graph)


def _tested(graph: Graph, rubric: Rubric, epochs: int | None = None) -> tuple[float, list[Verdict]]:
    if graph.input_shape != rubric.input_shape:
        raise JudgeError(f"the network takes images of {graph.input_shape}; the assignment's are {rubric.input_shape}.")
    if len(graph.output_shape) != 1:
        raise JudgeError(f"the network gives {graph.output_shape} for an image; expected one logit for each class.")
    found = accuracy(graph.build(), load(rubric.dataset).test)
    return found, judge(rubric, graph, epochs, found)


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
    if graph.input_shape != rubric.input_shape:
        raise JudgeError(f"the network takes images of {graph.input_shape}; the assignment's are {rubric.input_shape}.")
    if len(graph.output_shape) != 1:
        raise JudgeError(f"the network gives {graph.output_shape} for an image; expected one logit for each class.")
    if recipe.epochs > MOST_EPOCHS:
        raise JudgeError(
            f"the recipe has {recipe.epochs:,} epochs; the assignment allows {rubric.limit('epochs') - 1:g}, and more "
            f"than {MOST_EPOCHS} are not trained. Take fewer."
        )
    if (work := _work(graph, recipe)) > MOST_WORK:
        raise JudgeError(
            f"the training takes {work:.1e} multiply-adds; more than {MOST_WORK:.0e} are not done. Make the network "
            "smaller where its maps are large (lab inspect shows where), or take fewer epochs."
        )
    if (batches := recipe.epochs * IMAGES / recipe.batch_size) > MOST_BATCHES:
        raise JudgeError(
            f"batches of {recipe.batch_size} make {batches:,.0f} steps; more than {MOST_BATCHES:,} are not taken. "
            "Take larger batches."
        )
    kept = sum(math.prod(op.shape) for op in graph.operations) * min(recipe.batch_size, IMAGES)
    if kept > MOST_ACTIVATIONS:
        raise JudgeError(
            f"a step on {recipe.batch_size:,} images keeps {kept:,} numbers; {MOST_ACTIVATIONS:,} are the most. "
            "Take smaller batches."
        )


def _work(graph: Graph, recipe: Recipe) -> float:
    """Steps of a training: forwards, and twice as much backwards."""
    once = sum(
        op.work(graph.stored_shapes(op), [graph.shape_of(name) for name in op.inputs]) for op in graph.operations
    )
    return 3.0 * once * IMAGES * recipe.epochs


# -- audit ------------------------------------------------------------------------------------------------------------


def is_sampled(digest: str, share: float, secret: str) -> bool:
    """Is this hand-in one of the random share that is trained again?

    The same for the same content and secret, so that a regrading asks the same ones. With a secret that only the
    teacher knows, nobody can choose a content that is left out; without one, who tries enough contents can.
    """
    drawn = int.from_bytes(hashlib.sha256(f"{secret} {digest}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


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
    reasons: tuple[str, ...],
    sampled: bool,
    share: float,
    train: Callable[[], Judgement],
) -> Judgement:
    """The judgement by weights; or by a training, where there is a reason for one or the hand-in was drawn."""
    odds = (
        f"audit: {share:.0%} are trained again at random, and all that are suspicious; a cheat that raises no "
        f"suspicion stays unseen with a probability of {1 - share:.0%}."
    )
    if not (reasons or sampled):
        epochs = hand_in.recipe.epochs if hand_in.recipe is not None else None
        return replace(judged, notes=(*judged.notes, odds, f"not trained again; its recipe says {epochs} epochs."))
    trained = train()
    difference = judged.accuracies[0] - fmean(trained.accuracies)
    if difference > FURTHER:
        told = f"its weights reach {judged.accuracies[0]:.2%}, the same network trained here {difference:.2%} less."
        reasons = (*reasons, told)
    why = "it is suspicious" if reasons else "it was drawn"
    return replace(trained, suspicions=reasons, notes=(*judged.notes, *trained.notes, f"{odds} Trained again: {why}."))


FURTHER = 0.003
"""So much more than a training here gives is no luck: five deviations of a seed."""


def digests(hand_in: HandIn) -> dict[str, str]:
    """What hand-ins are compared by."""
    weights = hashlib.sha256()
    for name in sorted(hand_in.graph.weights):
        weights.update(hand_in.graph.weights[name].contiguous().numpy().tobytes())
    return {"network and recipe": _sha256([_document(hand_in.graph), hand_in.recipe and asdict(hand_in.recipe)])} | {
        "weights": weights.hexdigest()
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


class HandedInLog(Log):
    """A log whose long run is the network that was handed in: in place of a training, its weights are looked at."""

    def __init__(self, data: Data, recipe: Recipe, hand_in: HandIn, seeds: Sequence[int] = (0, 1)) -> None:
        super().__init__(data, recipe, seeds)
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


def handed_in_logs(names: Mapping[str, Any], hand_in: HandIn) -> dict[str, Any]:
    """For each log of designs among these values one that looks at the handed-in weights, under its name."""
    return {
        name: HandedInLog(log.data, log.recipe, hand_in, log.seeds)
        for name, log in names.items()
        if isinstance(log, Log)
    }


# -- provenance -------------------------------------------------------------------------------------------------------


def _provenance(graph: Graph, recipe: Recipe | None, rubric: Rubric, threads: int) -> dict[str, Any]:
    """What is needed to repeat a judgement."""
    return {
        "lab": lab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "network": _sha256(_document(graph)),
        "recipe": None if recipe is None else asdict(recipe),
        "rubric": _sha256(rubric.model_dump(mode="json")),
        "data": rubric.dataset,
    }


def _document(graph: Graph) -> Any:
    return document_of(graph).model_dump(mode="json")


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
