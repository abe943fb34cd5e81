"""Whole runs over several seeds: build a network, train it, measure it on the test set once, or on validation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from lab.data import Data, load
from lab.errors import GraphError
from lab.graph import Graph, capture, redrawn
from lab.rules import Rubric, Verdict, judge
from lab.stats import share_margin
from lab.train import History, Recipe, TrainingError, accuracy, fit, predict, share_right


@dataclass(frozen=True)
class Run:
    """One network, trained and measured.

    On the validation images where the data has some, and then the test set is not read; on the test images otherwise.
    """

    model: nn.Module
    history: History
    accuracy: float  # on those images, 0..1, after the last epoch
    answers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64), repr=False)  # to them, (N,)

    def to_dict(self) -> dict[str, Any]:
        """The same, but for the network, as plain numbers and strings, for JSON."""
        return {"accuracy": self.accuracy, "seconds": self.history.seconds, "history": self.history.to_dict()}


def fresh(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with first weights drawn from `seed`; what others draw at random is not disturbed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def train_once(
    build: Callable[[], nn.Module], data: Data, recipe: Recipe, progress: bool | None = None, device: str | None = None
) -> Run:
    """Build a network with first weights drawn from `recipe.seed`, train it, and only then measure it.

    device: "cpu" or "cuda"; None takes the GPU where there is one.
    """
    return _measured(fresh(build, recipe.seed), data, recipe, progress, device)


def train_graph(
    graph: Graph, data: Data, recipe: Recipe, progress: bool | None = None, device: str | None = None
) -> Run:
    """The same for a graph: every stored number is drawn anew from `recipe.seed`, so that what counts is the network.

    Nothing of the code that the graph was captured from is executed, and no weight that it came with is kept: not
    learnt elsewhere, not frozen, not hidden in running statistics.
    """
    return _measured(redrawn(graph, recipe.seed).build(), data, recipe, progress, device)


def _measured(model: nn.Module, data: Data, recipe: Recipe, progress: bool | None, device: str | None) -> Run:
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    history = fit(model, replace(data, validation=None), recipe, progress)
    measured = data.test if data.validation is None else data.validation
    answers = predict(model, measured.images).argmax(1)
    return Run(model, history, share_right(answers, measured), answers)


def train_each(graph: Graph, data: Data, recipe: Recipe, seeds: Iterable[int]) -> Iterator[Run]:
    """One run of the graph after the other, each with its own seed; an interrupted one is the last."""
    for seed in seeds:
        run = train_graph(graph, data, replace(recipe, seed=seed))
        yield run
        if run.history.interrupted:
            return


def trials(build: Callable[[], nn.Module], data: Data, recipe: Recipe, seeds: Iterable[int]) -> list[float]:
    """Accuracy on `data.validation`, 0..1, after a training for each seed; the test set is not read.

    Ctrl-C ends the trials; the one that it stops does not count. Raises TrainingError where there is nothing to
    validate on, and where the first trial is stopped.
    """
    if data.validation is None:
        raise TrainingError("a trial is measured on validation images: take data.split(seed) first.")
    accuracies: list[float] = []
    for seed in seeds:
        model = fresh(build, seed)
        if fit(model, replace(data, validation=None), replace(recipe, seed=seed)).interrupted:
            if not accuracies:
                raise TrainingError("interrupted before the first trial was complete: there is nothing to compare.")
            break
        accuracies.append(accuracy(model, data.validation))
    return accuracies


def check(
    graph: Graph, rubric: Rubric, recipe: Recipe | None = None, seeds: int = 1, is_saved: bool = False
) -> list[Verdict]:
    """The verdicts on a graph. With a recipe it is trained first, from fresh first weights.

    seeds: trained so often, with the recipe's seed and those that follow it; the accuracy judged is their mean.
    is_saved: without a training, its accuracy is measured with the weights that it brings. Nothing tells how those
    were learnt: the epochs are unknown, and earn nothing.

    Raises GraphError, DataError or TrainingError, and KeyboardInterrupt where the training is interrupted: half a
    training is not judged.
    """
    if graph.input_shape != rubric.input_shape:
        shapes = f"{graph.input_shape}, the assignment's are {rubric.input_shape}"
        raise GraphError(f"the network was saved for images of {shapes}. Save it anew for those.")
    if len(graph.output_shape) != 1 or (recipe is None and not is_saved):
        return judge(rubric, graph)
    data = load(rubric.dataset)
    if rubric.input_shape != (1, *data.train.images.shape[1:]):  # a rubric bent to other images: nothing to measure
        return judge(rubric, graph)
    if recipe is None:
        return [unknown_epochs(v) for v in judge(rubric, graph, accuracy=accuracy(graph.build(), data.test))]
    done = list(train_each(graph, data, recipe, range(recipe.seed, recipe.seed + seeds)))
    if done[-1].history.interrupted:
        raise KeyboardInterrupt
    accuracies = [run.accuracy for run in done]
    verdicts = judge(rubric, capture(done[0].model, rubric.input_shape), recipe.epochs, mean(accuracies))
    return [with_its_luck(verdict, rubric, accuracies, len(data.test)) for verdict in verdicts]


def with_its_luck(verdict: Verdict, rubric: Rubric, accuracies: list[float], images: int) -> Verdict:
    """An accuracy says how many seeds it is the mean of; one that luck alone may have missed says so."""
    if verdict.rule != "accuracy":
        return verdict
    if len(accuracies) > 1:
        each = ", ".join(f"{one:.2%}" for one in accuracies)
        return replace(verdict, figure=f"{verdict.figure}, the mean of {len(accuracies)} seeds ({each})")
    (only,) = accuracies
    if verdict.passed is False and only + share_margin(only, images) >= rubric.limit("accuracy"):
        return replace(verdict, hint=f"{verdict.hint} This near, one seed decides by luck: --seeds 5 judges the mean.")
    return verdict


def unknown_epochs(verdict: Verdict) -> Verdict:
    """The verdict where nobody knows how often the network passed over the images."""
    if verdict.rule != "epochs":
        return verdict
    hint = "Weights do not tell how they were learnt: no points for that. lab check TARGET --train counts the epochs."
    return replace(verdict, passed=None, figure="unknown", hint=hint, points=0.0)
