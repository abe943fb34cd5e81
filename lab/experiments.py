"""The notebook's experiments: what is compared, how it is trained, and what many seeds of it gave.

    experiments.recorded("dropout").rows                # {"p = 0": [0.9891, …], …}, from benchmarks/results/
    experiments.trial("dropout", "p = 0", data, seed)   # one more run of it, on this machine

Each experiment changes one thing in a common run that ends near 99 %: `LabNet`, two epochs on 55,000 training images
with the lab's recipe, measured on the 5,000 held-out images of `data.split(seed=0)`. The test set is never read.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from lab import _place
from lab.augment import Affine
from lab.data import Data
from lab.errors import LabError
from lab.models import LabNet, SeedNet, conv_pool_block
from lab.runs import fresh
from lab.train import History, Recipe, TrainingError, accuracy, fit

BASE = Recipe(epochs=2)
"""The common recipe, in which each experiment changes one thing."""


class ExperimentError(LabError):
    """There is no such experiment, or no record of it."""


# --- networks -----------------------------------------------------------------------------------------------


def without_batch_norm() -> nn.Sequential:
    """LabNet with every batch norm taken out, and the convolutions' biases put back: (B, 1, 28, 28) -> (B, 10)."""
    layers = [layer for layer in LabNet() if not isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    return nn.Sequential(*layers)


def large_head() -> nn.Sequential:
    """LabNet without its last pooling: the fully connected layer reads 24 maps of 7x7. (B, 1, 28, 28) -> (B, 10)."""
    layers = list(LabNet())
    del layers[15]
    layers[-1] = nn.Linear(24 * 7 * 7, 10)
    return nn.Sequential(*layers)


def one_number_a_channel() -> nn.Sequential:
    """LabNet with the mean of each map in place of its last pooling: the last layer reads 24 numbers."""
    layers = list(LabNet())
    layers[15] = nn.AdaptiveAvgPool2d(1)
    layers[-1] = nn.Linear(24, 10)
    return nn.Sequential(*layers)


def stages(squeeze: bool, width: int = 1) -> nn.Sequential:
    """Three 3x3 convolutions with pooling, and 1x1 convolutions to 8 channels between them or not.

    (B, 1, 28, 28) -> (B, 10). The second and the third have `width` times their 32 and 24 channels.
    """
    c, d = 32 * width, 24 * width
    a, b = (nn.Conv2d(24, 8, 1), nn.Conv2d(c, 8, 1)) if squeeze else (nn.Identity(), nn.Identity())
    one, two = (8, 8) if squeeze else (24, c)
    first, second, third = (conv_pool_block(*channels) for channels in ((1, 24), (one, c), (two, d)))
    return nn.Sequential(*first, a, *second, b, *third, nn.Flatten(), nn.Dropout(0.05), nn.Linear(d * 9, 10))


class Unsilenced(SeedNet):
    """SeedNet without the flaw: its logits as they are, (B, 1, 28, 28) -> (B, 10)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, 10) logits."""
        logits: Tensor = self.fc(self.features(x))
        return logits


# --- experiments --------------------------------------------------------------------------------------------

Reading = Callable[[nn.Module, History, Data], float]
"""What is read off a trained network, its history and the images: an accuracy, 0..1."""


def on_held_out(model: nn.Module, history: History, data: Data) -> float:
    """The trained network's accuracy on the validation images. Raises TrainingError where there are none."""
    if data.validation is None:
        raise TrainingError("an experiment is measured on validation images: take data.split(seed=0) first.")
    return accuracy(model, data.validation)


def on_training_images(model: nn.Module, history: History, data: Data) -> float:
    """The trained network's accuracy on the images that it learnt from, in eval mode and as they are."""
    return accuracy(model, data.train)


def while_learning(model: nn.Module, history: History, data: Data) -> float:
    """The last epoch's training accuracy: each batch's by the weights that the network had when it came."""
    return history.epochs[-1].train_accuracy


@dataclass(frozen=True)
class Variant:
    """One row of an experiment."""

    build: Callable[[], nn.Module] = LabNet
    recipe: Recipe = BASE
    reading: Reading = on_held_out


@dataclass(frozen=True)
class Experiment:
    """A question, and the rows that answer it by their labels."""

    question: str
    variants: dict[str, Variant]


def _recipe(**changes: object) -> Variant:
    """LabNet with these fields of the common recipe changed."""
    return Variant(recipe=replace(BASE, **changes))  # type: ignore[arg-type]


PLAIN = Variant()
_ONE_EPOCH = replace(BASE, epochs=1)
_SQUEEZED, _NOT_SQUEEZED, _SQUEEZED_AND_WIDE = (partial(stages, True), partial(stages, False), partial(stages, True, 2))
_WHILE = replace(_ONE_EPOCH, augment=None, averaging=0)

EXPERIMENTS = {
    "flaw": Experiment(
        "What does the ReLU on SeedNet's logits cost? One epoch: SeedNet is slow.",
        {
            "ReLU on the logits": Variant(SeedNet, _ONE_EPOCH),
            "without it": Variant(Unsilenced, _ONE_EPOCH),
        },
    ),
    "batch_norm": Experiment(
        "What does batch norm give, at three peaks of the learning rate?",
        {
            "with, rate 0.015": PLAIN,
            "without, rate 0.015": Variant(without_batch_norm),
            "with, rate 0.005": _recipe(learning_rate=0.005),
            "without, rate 0.005": Variant(without_batch_norm, replace(BASE, learning_rate=0.005)),
            "with, rate 0.002": _recipe(learning_rate=0.002),
            "without, rate 0.002": Variant(without_batch_norm, replace(BASE, learning_rate=0.002)),
        },
    ),
    "dropout": Experiment(
        "How much dropout does a small network need?",
        {"p = 0": _recipe(dropout=0.0), "p = 0.05": PLAIN, "p = 0.5": _recipe(dropout=0.5)},
    ),
    "head": Experiment(
        "How many numbers should the fully connected layer read?",
        {
            "24 maps of 7x7": Variant(large_head),
            "24 maps of 3x3": PLAIN,
            "24 means": Variant(one_number_a_channel),
        },
    ),
    "squeeze": Experiment(
        "What do 1x1 convolutions between the stages cost, and what else could their parameters do?",
        {
            "not squeezed": Variant(_NOT_SQUEEZED),
            "squeezed": Variant(_SQUEEZED),
            "squeezed, then twice as wide": Variant(_SQUEEZED_AND_WIDE),
        },
    ),
    "augmentation": Experiment(
        "What does it give to move the digits a little, in a short run and in a longer one?",
        {
            "2 epochs, as they are": _recipe(augment=None),
            "2 epochs, moved a little": PLAIN,
            "2 epochs, turned up to 45°": _recipe(augment=Affine(degrees=45)),
            "6 epochs, as they are": _recipe(augment=None, epochs=6),
            "6 epochs, moved a little": _recipe(epochs=6),
        },
    ),
    "schedule": Experiment(
        "A learning rate that falls, or weights that are averaged?",
        {
            "constant": _recipe(schedule="constant", averaging=0),
            "constant, averaged": _recipe(schedule="constant"),
            "falling": _recipe(averaging=0),
            "falling, averaged": PLAIN,
        },
    ),
    "label_smoothing": Experiment(
        "How much probability should the label give away?",
        {"none": _recipe(label_smoothing=0.0), "0.05": PLAIN, "0.2": _recipe(label_smoothing=0.2)},
    ),
    "running_average": Experiment(
        "Why is the training accuracy of the first epoch so low? One epoch, digits as they are, weights not averaged.",
        {
            "training images, while learning": Variant(recipe=_WHILE, reading=while_learning),
            "training images, after the epoch": Variant(recipe=_WHILE, reading=on_training_images),
            "held-out images, after the epoch": Variant(recipe=_WHILE),
        },
    ),
}


def experiment(name: str) -> Experiment:
    """The experiment of that name. Raises ExperimentError if there is none."""
    if name not in EXPERIMENTS:
        raise ExperimentError(f"there is no experiment {name!r}: take {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


def variant(name: str, label: str) -> Variant:
    """One row of an experiment. Raises ExperimentError if there is none."""
    rows = experiment(name).variants
    if label not in rows:
        raise ExperimentError(f"the experiment {name!r} has no row {label!r}: take {', '.join(map(repr, rows))}.")
    return rows[label]


# --- one more run of it -------------------------------------------------------------------------------------


def trained(build: Callable[[], nn.Module], recipe: Recipe, data: Data, seed: int) -> tuple[nn.Module, History]:
    """A network with first weights drawn from `seed`, trained with that seed; validation images are not looked at.

    Raises TrainingError where it is interrupted: half a run is no row.
    """
    model = fresh(build, seed)
    history = fit(model, replace(data, validation=None), replace(recipe, seed=seed))
    if history.interrupted:
        raise TrainingError("interrupted: half a run can't be compared with whole ones.")
    return model, history


def trial(name: str, label: str, data: Data, seed: int) -> float:
    """The accuracy, 0..1, of one more run of a row; `data` is split, and recorded rows used seeds from 0.

    Raises ExperimentError for an unknown name or label, TrainingError without validation images.
    """
    row = variant(name, label)
    return row.reading(*trained(row.build, row.recipe, data, seed), data)


# --- what was recorded --------------------------------------------------------------------------------------

RESULTS = "benchmarks/results/experiments.json"


@dataclass(frozen=True)
class Recorded:
    """What the lab's authors measured."""

    rows: dict[str, list[float]]  # label -> accuracies, 0..1, of seeds 0, 1, 2, …
    source: str  # the file, and where and when it was measured


def record_name(name: str, label: str) -> str:
    """What a row is called in the record of all experiments."""
    return f"{name}: {label}"


def recorded(name: str) -> Recorded:
    """What many seeds of each row gave; in a clone, and where pip put the record.

    Raises ExperimentError for an unknown name, and where the record or one of its rows is missing.
    """
    labels = experiment(name).variants
    found = _place.shipped(*RESULTS.rsplit("/", 1))
    if not found:
        raise ExperimentError(f"{RESULTS} is missing: install the lab again, or take a fresh clone.")
    whole = json.loads(found[0].read_text(encoding="utf-8"))
    rows = {}
    for label in labels:
        records = whole["records"].get(record_name(name, label))
        if not records:
            raise ExperimentError(f"{RESULTS} has no row {label!r} of {name!r}: `make bench` measures it.")
        rows[label] = [record["accuracy"] for record in records]
    machine = whole["machine"]
    fewest, most = min(map(len, rows.values())), max(map(len, rows.values()))
    seeds = f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"
    where = f"{machine['processor']}, torch {machine['torch']}, {whole['started'].split()[0]}"
    return Recorded(rows, f"{RESULTS}: {seeds}, {where}")
