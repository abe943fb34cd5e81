"""What answers in place of the lab's own training and data, where a script is only executed for its network.

instead = Instead()
with instead.answering():
    ...                                # the script is executed: nothing is trained, nothing is read
instead.given                          # the networks that it gave to `fit`, with their recipes
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import lab.data
import lab.design
import lab.experiments
import lab.runs
import lab.train
from lab.data import Data, DataError, Labelled
from lab.graph import Graph
from lab.train import Epoch, History, Recipe, Watcher

CLASSES = {name: dataset.classes for name, dataset in vars(lab.data)["DATASETS"].items()}
TRAIN, TEST = 60_000, 10_000


@dataclass(frozen=True, eq=False)
class Given:
    """A network that a script gave to `fit`."""

    module: nn.Module
    recipe: Recipe


class Instead:
    """Takes the place of the lab's loop and data."""

    def __init__(self) -> None:
        self.given: list[Given] = []

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """In every module of the lab that has the real one under its name."""
        ours: dict[Callable[..., Any], Callable[..., Any]] = {
            lab.train.fit: self.fit,
            lab.train.accuracy: accuracy,
            lab.train.predict: predict,
            lab.data.load: load,
            lab.runs.trials: self.trials,
        }
        changed = [
            (module, name, value)
            for module in [module for key, module in sys.modules.items() if key.split(".")[0] == "lab" and module]
            for name, value in list(vars(module).items())
            if callable(value) and any(value is real for real in ours)
        ]
        try:
            for module, name, value in changed:
                setattr(module, name, ours[value])
            yield
        finally:
            for module, name, value in changed:
                setattr(module, name, value)

    def fit(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        progress: bool | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> History:
        """A history of all epochs, without a training."""
        self.given.append(Given(model, recipe))
        history = History(recipe, "cpu", "float32", torch.get_num_threads())
        held_out = None if data.validation is None else 0.0
        for number in range(1, min(recipe.epochs, 1000) + 1):
            history.epochs.append(Epoch(number, 0.0, 0.0, held_out, 0.0, 0.0, len(data.train)))
            for watch in watchers:
                watch(history, model)
        model.eval()
        return history

    def trials(self, build: Callable[[], nn.Module], data: Data, recipe: Recipe, seeds: Sequence[int]) -> list[float]:
        """An accuracy for each seed."""
        for seed in seeds:
            self.fit(build(), data, replace(recipe, seed=seed))
        return [0.0 for _ in seeds]


def accuracy(model: nn.Module | Graph, digits: Labelled, batch_size: int = 1000) -> float:
    """Unknown: none."""
    return 0.0


def predict(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """Nothing is sure: (N, 10)."""
    return torch.zeros(len(images), 10)


def load(name: str = "mnist", folder: Any = None) -> Data:
    """As many images as MNIST has, all of them black, of each class in turn. Raises DataError for an unknown set."""
    if name not in CLASSES:
        raise DataError(f"There is no data set {name!r}. The lab knows {', '.join(CLASSES)}.")
    train, test = (Labelled(torch.zeros(n, 28, 28, dtype=torch.uint8), torch.arange(n) % 10) for n in (TRAIN, TEST))
    return Data(name, train, None, CLASSES[name], "nowhere: this run trains nothing", lambda: test)
