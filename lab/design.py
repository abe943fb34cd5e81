"""A design as an experiment: what is it for, what do you expect of it, what came out, and what do you make of that?

    log = Log(data, short, seeds=(0, 1))
    log.measure(version_1())                  # a short training on each seed; the log shows the table so far
    log.train(version_3(), recipe)            # the long run of the last version

The log keeps every design that was trained, with the first prediction that was made for it. Accuracies are those of the
validation images after the last epoch; the test set is not read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from lab.data import Data, Labelled
from lab.errors import LabError
from lab.graph import Graph, capture
from lab.layers import layer_table
from lab.receptive import receptive_fields
from lab.runs import fresh
from lab.train import History, Recipe, TrainingError, Watcher, accuracy, fit, predict

FEWEST_WORDS = 5
"""Of a target and of an analysis: less is no sentence."""


class DesignError(LabError):
    """A version of a design that is not complete, or that can't be trained."""


@dataclass(frozen=True)
class Version:
    """One version of a network: what it is for, what is expected of it, and what its result says.

    build: the class, or a function without arguments, that makes the network: (B, 1, 28, 28) -> (B, 10).
    target: what it is to achieve. analysis: what the result says; written once it is there.
    Predicted: its parameters; `field`, the side of its receptive field at the last map, in pixels; and `accuracy`, on
    the validation images, 0..1.

    Raises DesignError for a prediction that can't be one.
    """

    build: Callable[[], nn.Module]
    target: str
    parameters: int
    field: int
    accuracy: float
    analysis: str = ""

    def __post_init__(self) -> None:
        for name, value in (("parameters", self.parameters), ("field", self.field)):
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise DesignError(f"{name}={value!r}: predict a whole number from 1 up.")
        if not isinstance(self.accuracy, Real) or isinstance(self.accuracy, bool) or not 0 < self.accuracy <= 1:
            raise DesignError(f"accuracy={self.accuracy!r}: predict a share between 0 and 1, such as 0.985 for 98.5 %.")
        for name, text in (("target", self.target), ("analysis", self.analysis)):
            if not isinstance(text, str):
                raise DesignError(f"{name}={text!r}: write a sentence, in quotation marks.")
        if not callable(self.build):
            raise DesignError(f"the network is {self.build!r}; give its class, without brackets behind the name.")

    @property
    def name(self) -> str:
        """What its network is called."""
        return str(getattr(self.build, "__name__", type(self.build).__name__))

    @property
    def predicted(self) -> dict[str, float]:
        """By name."""
        return {"parameters": self.parameters, "field": self.field, "accuracy": self.accuracy}


@dataclass(frozen=True)
class Entry:
    """A design that was trained: the version as it was then, and what was measured."""

    version: Version
    parameters: int
    multiply_adds: int  # for one image
    field: int  # side of the receptive field at the last map, in pixels
    recipe: Recipe
    accuracies: tuple[float, ...]  # on the validation images, 0..1, one for each seed
    seeds: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Their mean."""
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class Trained:
    """A long run: the network, its history, and what it classified correctly on the way."""

    model: nn.Module
    history: History
    right: Tensor = field(repr=False)  # (epochs, N) bool: which validation images, after each epoch
    entry: Entry


class Log:
    """Every design that was trained, in order. Shown in a notebook, it is a table: predicted against measured."""

    def __init__(self, data: Data, recipe: Recipe, seeds: Sequence[int] = (0, 1)) -> None:
        if data.validation is None:
            raise DesignError("designs are compared on validation images: take data.split(seed) first.")
        self.data, self.recipe, self.seeds = data, recipe, tuple(seeds)
        self.validation = data.validation
        self.entries: list[Entry] = []
        self._known: dict[tuple[str, Recipe], Entry] = {}
        self._runs: dict[tuple[str, Recipe], Trained] = {}

    def measure(self, version: Version) -> "Log":
        """Train a version with the log's own short recipe, once for each of its seeds; the same design only once.

        Raises DesignError for what is no version, GraphError and TrainingError as `capture` and `fit` do.
        """
        self.entry(version)
        return self

    def entry(self, version: Version) -> Entry:
        """The same; gives what was measured."""
        graph = self.graph_for(version, self.recipe)
        key = (_structure(graph), self.recipe)
        if key not in self._known:
            accuracies: list[float] = []
            for seed in self.seeds:
                model = fresh(version.build, seed)
                history = fit(model, replace(self.data, validation=None), replace(self.recipe, seed=seed))
                if history.interrupted:
                    raise TrainingError(f"interrupted: {version.name} is not in the log. Run the cell again.")
                accuracies.append(accuracy(model, self.validation))
            self._known[key] = entry_of(version, graph, self.recipe, accuracies, self.seeds)
            self.entries.append(self._known[key])
        return self._known[key]

    def train(self, version: Version, recipe: Recipe, watchers: Sequence[Watcher] = ()) -> Trained:
        """One run with a recipe of one's own, remembered: the same design and recipe are trained once.

        A run that is interrupted is given back as far as it came, and is not kept.
        """
        graph = self.graph_for(version, recipe)
        key = (_structure(graph), recipe)
        if key not in self._runs:
            right: list[Tensor] = []

            def remember(history: History, model: nn.Module) -> None:
                right.append(right_of(model, self.validation))

            model = fresh(version.build, recipe.seed)
            history = fit(model, self.data, recipe, progress=False, watchers=[remember, *watchers])
            if not right:
                raise TrainingError(f"interrupted before the first epoch of {version.name} was over.")
            table = torch.stack(right)
            entry = entry_of(version, graph, recipe, [float(table[-1].double().mean())], (recipe.seed,))
            if history.interrupted:
                return Trained(model, history, table, entry)
            self._runs[key] = Trained(model, history, table, entry)
            self.entries.append(entry)
        return self._runs[key]

    def graph_for(self, version: Version, recipe: Recipe) -> Graph:
        """What a version's network executes, before it is trained with this recipe. Raises as `graph_of`."""
        return graph_of(version)

    # -- the table ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[list[str]]:
        """Its cells as text, the heading first."""
        heading = ["version", "target", "parameters", "sees, pixels", "multiply-adds", "validation accuracy", "epochs"]
        return [heading, *(_row(entry) for entry in self.entries)]

    def __repr__(self) -> str:
        rows = [[cell if len(cell) <= 36 else cell[:35] + "…" for cell in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heading, *rows = self.rows()
        head = "".join(f"<th scope='col' style='text-align:left'>{escape(cell)}</th>" for cell in heading)
        body = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left;vertical-align:top'>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in rows
        )
        table = f"<caption>predicted → measured</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        return f"<div style='overflow-x:auto'><table>{table}</table></div>"


def graph_of(version: Version) -> Graph:
    """What the network of a version executes. Raises DesignError for what is no version, GraphError as `capture`."""
    if not isinstance(version, Version):
        raise DesignError(f"expected a Version(...), and this is {type(version).__name__}.")
    model = fresh(version.build, seed=0)
    if not isinstance(model, nn.Module):
        raise DesignError(f"{version.name}() gives {type(model).__name__}; expected a network, an nn.Module.")
    return capture(model)


def field_at_last_map(graph: Graph) -> int:
    """Side of the receptive field of the last layer whose output is a map, in pixels; the longer of the two.

    A network without a map before its head sees the whole image.
    """
    with_map = [seen for op, seen in zip(graph.operations, receptive_fields(graph), strict=True) if len(op.shape) == 3]
    return max(with_map[-1].size) if with_map else max(graph.input_shape[1:])


def entry_of(
    version: Version, graph: Graph, recipe: Recipe, accuracies: Sequence[float], seeds: Sequence[int]
) -> Entry:
    """The line of the log for a version whose network is `graph`, and that reached these accuracies."""
    multiply_adds = sum(layer.multiply_adds for layer in layer_table(graph))
    measured = (graph.parameters, multiply_adds, field_at_last_map(graph))
    return Entry(version, *measured, recipe, tuple(accuracies), tuple(seeds))


def _structure(graph: Graph) -> str:
    """What two networks with other weights have in common."""
    operations = ",".join(op.model_dump_json() for op in graph.operations)
    return f"{graph.input_shape} {operations}"


def right_of(model: nn.Module, part: Labelled) -> Tensor:
    """Which images are classified correctly: (N,) bool."""
    return predict(model, part.images).argmax(1) == part.labels


def _row(entry: Entry) -> list[str]:
    seeds = ", ".join(f"{each:.2%}" for each in entry.accuracies)
    return [
        entry.version.name,
        entry.version.target,
        f"{entry.version.parameters:,} → {entry.parameters:,}",
        f"{entry.version.field} → {entry.field}",
        f"{entry.multiply_adds:,}",
        f"{entry.version.accuracy:.2%} → {seeds}",
        str(entry.recipe.epochs),
    ]
