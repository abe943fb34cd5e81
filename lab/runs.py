"""Whole runs over several seeds: build a network, train it, measure it on the test set once, or on validation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lab.data import Data, load
from lab.graph import capture
from lab.rules import Rubric, Verdict, judge
from lab.targets import TargetError, is_saved, network, resolve
from lab.train import History, Recipe, TrainingError, accuracy, fit


@dataclass(frozen=True)
class Run:
    """One network, trained and measured."""

    model: nn.Module
    history: History
    accuracy: float  # on the test images, 0..1, after the last epoch

    def to_dict(self) -> dict[str, Any]:
        """The same, but for the network, as plain numbers and strings, for JSON."""
        return {"accuracy": self.accuracy, "seconds": self.history.seconds, "history": self.history.to_dict()}


def fresh(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with first weights drawn from `seed`; what others draw at random is not disturbed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def run(
    build: Callable[[], nn.Module], data: Data, recipe: Recipe, progress: bool | None = None, device: str | None = None
) -> Run:
    """Build a network with first weights drawn from `recipe.seed`, train it, and only then read the test set.

    device: "cpu" or "cuda"; None takes the GPU where there is one.
    """
    model = fresh(build, recipe.seed)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    history = fit(model, data, recipe, progress)
    return Run(model, history, accuracy(model, data.test))


def runs(build: Callable[[], nn.Module], data: Data, recipe: Recipe, seeds: Iterable[int]) -> Iterator[Run]:
    """One run after the other, each with its own seed; an interrupted one is the last."""
    for seed in seeds:
        done = run(build, data, replace(recipe, seed=seed))
        yield done
        if done.history.interrupted:
            return


def trials(build: Callable[[], nn.Module], data: Data, recipe: Recipe, seeds: Iterable[int]) -> list[float]:
    """Accuracy on `data.validation`, 0..1, after a training for each seed; the test set is not read.

    Raises TrainingError where there is nothing to validate on.
    """
    if data.validation is None:
        raise TrainingError("a trial is measured on validation images: take data.split(seed) first.")
    accuracies = []
    for seed in seeds:
        model = fresh(build, seed)
        fit(model, replace(data, validation=None), replace(recipe, seed=seed))
        accuracies.append(accuracy(model, data.validation))
    return accuracies


def check(target: str, rubric: Rubric, train_seed: int | None = None) -> list[Verdict]:
    """The verdicts on TARGET, trained first if a seed is given. A saved graph is measured with its own weights.

    Raises TargetError, GraphError, DataError or TrainingError.
    """
    graph = resolve(target, rubric.input_shape)  # before a long training: what can't be captured can't be judged
    if graph.input_shape != rubric.input_shape:
        shapes = f"{graph.input_shape}, the assignment's are {rubric.input_shape}"
        raise TargetError(f"{target} was saved for images of {shapes}. Save it anew for those.")
    if len(graph.output_shape) != 1 or (train_seed is None and not is_saved(target)):
        return judge(rubric, graph)
    data = load(rubric.dataset)
    if rubric.input_shape != (1, *data.train.images.shape[1:]):  # a rubric bent to other images: nothing to measure
        return judge(rubric, graph)
    if train_seed is None:
        return judge(rubric, graph, accuracy=accuracy(graph.build(), data.test))
    done = run(lambda: network(target), data, Recipe(seed=train_seed))
    return judge(rubric, capture(done.model, rubric.input_shape), len(done.history.epochs), done.accuracy)
