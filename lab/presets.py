"""The lab's records by name: a network, and the recipe that was found for it on held-out training images.

benchmarks/RESULTS.md has what they reach, and against whom; benchmarks/search/ how they were found.
"""

import json
from dataclasses import dataclass
from statistics import fmean

from lab import _place
from lab.augment import Affine
from lab.errors import LabError
from lab.train import Recipe


@dataclass(frozen=True)
class Preset:
    """A network, how it is trained, and what for."""

    target: str  # as the command line takes it
    recipe: Recipe
    aim: str


@dataclass(frozen=True)
class Record:
    """What a preset reaches, as it was measured for benchmarks/RESULTS.md."""

    name: str  # the preset's
    parameters: int
    accuracy: float  # on MNIST's test images, 0..1, the mean over its seeds
    seeds: int


class PresetError(LabError):
    """There is no such preset."""


DEFAULT = Preset("lab.models:LabNet", Recipe(), "the plain network that the notebook builds")
_SMALL = Recipe(
    epochs=19,
    batch_size=128,
    learning_rate=0.025,
    muon=0.12,
    label_smoothing=0,
    augment=Affine(shift=1.5, degrees=7, scale=0.07, shear=0.07),
)
"""For networks with nothing to spare: high learning rates, weak augmentation, and every label as it is."""

PRESETS = {
    "sprint": Preset(
        "lab.models:SprintNet",
        Recipe(
            epochs=3,
            batch_size=256,
            learning_rate=0.025,
            muon=0.11,
            warmup=0.1,
            momentum=0.8,
            weight_decay=0.006,
            label_smoothing=0.07,
            augment=Affine(shift=1.5, degrees=7.5, scale=0.075, shear=0.075),
            hardest=0.1,
            sampled=0.1,
            averaging=0,
        ),
        "99.4 % as fast as possible",
    ),
    "peak": Preset(
        "lab.models:PeakNet",
        Recipe(epochs=19, batch_size=128, learning_rate=0.01, muon=0.05, gamma=0.5, averaging=0.999),
        "the most accurate with fewer than 20,000 parameters",
    ),
    "small": Preset("lab.models:SmallNet", _SMALL, "99.4 % with fewer than 8,000 parameters"),
    "tiny": Preset("lab.models:TinyNet", _SMALL, "the most accurate with fewer than 4,000 parameters"),
}


def preset_or_default(name: str | None) -> Preset:
    """The preset `name`, or LabNet with the default recipe. Raises PresetError if there is none of that name."""
    if name is None:
        return DEFAULT
    if name not in PRESETS:
        raise PresetError(f"there is no preset {name!r}: take {', '.join(PRESETS)}.")
    return PRESETS[name]


def records() -> list[Record]:
    """What was measured of each preset, in a clone and where pip put it; none of those whose results are not there."""
    found = []
    for part in ("race", "peak", "small", "tiny"):
        for path in _place.shipped("benchmarks/results", f"{part}.json"):
            measured = json.loads(path.read_text(encoding="utf-8"))["records"]
            for name in PRESETS.keys() & measured.keys():
                runs = measured[name]
                found.append(Record(name, runs[0]["parameters"], fmean(run["accuracy"] for run in runs), len(runs)))
    return found
