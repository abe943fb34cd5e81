"""What does one student learn of their grade? All that their page shows, worked out here.

Nothing of any other student is in it.
"""

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image

from lab import data
from lab.errors import DataError
from lab.grading.report import known_items, provenance_lines
from lab.grading.standing import Class, Item, Standing, State, Student, counted

SIDE = 28
"""Pixels of an image, each way."""
MOST_LAYERS = 200
"""Rows of the layer table; of more, the first are shown."""
SOMEBODY = "another student"


@dataclass(frozen=True)
class Step:
    """What to do next, and what it may bring."""

    item: Item
    gain: float  # points


@dataclass(frozen=True)
class LayerRow:
    """A layer, and what one of its units sees."""

    title: str
    name: str  # empty where it says no more than the title
    shape: str
    parameters: int
    share: float  # of all parameters, 0..1
    multiply_adds: int
    sees: str  # pixels, also beyond the image's edge
    step: str  # pixels from one unit to the next; empty where every unit sees the same
    box: tuple[float, float, float, float]  # x, y, width, height of what a middle unit sees, in pixels of the image


@dataclass(frozen=True)
class Digit:
    """A test image that the network gets wrong."""

    source: str  # PNG, as a data URI
    label: str
    predicted: str


@dataclass(frozen=True)
class Feedback:
    """One student's page."""

    title: str
    student: Student
    alias: str  # what an anonymous page of the class calls them; empty without one
    state: State
    is_counted: bool  # are the points known?
    message: str
    delivered: tuple[tuple[str, str], ...]  # what was handed in, as pairs of a label and a text
    points: float
    max_points: float
    off: float
    late_by: str
    steps: tuple[Step, ...]  # the most points first
    exercises: tuple[Item, ...]
    rules: tuple[Item, ...]
    accuracy: float | None
    seeds: tuple[tuple[int, float], ...]  # each with its accuracy; empty where nothing was trained
    facts: tuple[str, ...]
    claims: tuple[str, ...]
    notes: tuple[str, ...]
    flags: tuple[str, ...]
    odds: float | None
    parameters: int | None
    multiply_adds: int | None
    layers: tuple[LayerRow, ...]
    layers_left_out: int
    curve: tuple[Mapping[str, float], ...]
    mistakes: tuple[Digit, ...]
    mistaken: int | None  # how many in all
    no_images: str  # why the images are not shown; empty where they are
    recipe: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    repeat: str  # a command
    earlier: int


def feedback_of(found: Class, standing: Standing, alias: str = "", names: "Names | None" = None) -> Feedback:
    """All that a student's page shows. Other students' names and ids are taken out of whatever mentions them.

    names: those of the class, which need not be gathered anew for each student.
    """
    private = (names or Names(found)).private(standing)
    items = [private.item(item) for item in known_items(standing)]
    judged = standing.judged
    made: Mapping[str, Any] = judged.get("provenance") or {}
    evidence = standing.evidence
    accuracies, seeds = judged.get("accuracies", ()), judged.get("seeds", ())
    layers = [*evidence.get("layers", ())]
    mistakes, no_images = _mistakes(evidence)
    return Feedback(
        title=found.title,
        student=standing.student,
        alias=alias,
        state=standing.state,
        is_counted=counted(standing),
        message=private.told([standing.message])[0],
        delivered=_delivered(standing, private),
        points=standing.points,
        max_points=standing.max_points,
        off=standing.off,
        late_by=standing.late_by,
        steps=tuple(_steps(items)),
        exercises=tuple(item for item in items if item.kind == "exercise"),
        rules=tuple(item for item in items if item.kind == "rule"),
        accuracy=standing.accuracy,
        seeds=tuple(zip(seeds, accuracies, strict=False)),
        facts=tuple(judged.get("facts", ())),
        claims=tuple(judged.get("claims", ())),
        notes=private.told(judged.get("notes", ())),
        flags=private.told([*standing.grade.get("flags", ()), *judged.get("suspicions", ())]),
        odds=judged.get("odds"),
        parameters=standing.parameters,
        multiply_adds=evidence.get("multiply_adds"),
        layers=tuple(_layers(layers[:MOST_LAYERS], standing.parameters or 0)),
        layers_left_out=len(layers[MOST_LAYERS:]),
        curve=tuple(one for one in evidence.get("curve", ()) if all(map(math.isfinite, one.values()))),
        mistakes=mistakes,
        mistaken=evidence.get("mistaken") if accuracies else None,
        no_images=no_images,
        recipe=tuple((name.replace("_", " "), _plain(value)) for name, value in (made.get("recipe") or {}).items()),
        provenance=provenance_lines(standing.result.get("provenance") or {}) + _checksums(made),
        repeat=str(made.get("repeat", "")),
        earlier=standing.earlier,
    )


# -- others' names ----------------------------------------------------------------------------------------------------


class Names:
    """What the students of a class are called."""

    def __init__(self, found: Class) -> None:
        students = {standing.student for standing in found.standings}
        for standing in found.standings:
            students |= set(standing.delivery.partners) if standing.delivery else set()
        named = {text for one in students for text in _called(one)}
        self._all = _any_of(text for text in named if len(text) >= _SHORTEST)
        self._telling = _any_of(text for text in named if _is_telling(text))

    def private(self, standing: Standing) -> "_Private":
        """What takes the names of all others out of texts for this student."""
        return _Private({text.casefold() for text in _called(standing.student)}, self._all, self._telling)


@dataclass(frozen=True)
class _Private:
    own: set[str]
    all: re.Pattern[str]
    telling: re.Pattern[str]

    def told(self, texts: Iterable[str]) -> tuple[str, ...]:
        """What the grader says about a hand-in: without any other's name."""
        return tuple(self.all.sub(self._somebody, _WHOSE.sub(rf"\1 those of {SOMEBODY}.", text)) for text in texts)

    def item(self, item: Item) -> Item:
        """What checks, rules and people say: without names that are no words of a sentence."""
        mark = item.mark and replace(item.mark, comment=self.telling.sub(self._somebody, item.mark.comment))
        return replace(item, message=self.telling.sub(self._somebody, item.message), mark=mark)

    def _somebody(self, found: re.Match[str]) -> str:
        return found[0] if found[0].casefold() in self.own else SOMEBODY


def _called(student: Student) -> tuple[str, ...]:
    return tuple(text for text in (student.id, student.name, student.email) if text)


_SHORTEST = 3
_WHOSE = re.compile(r"(\bits [\w ]+ are) those of .*", re.DOTALL)
"""As `lab.grading.judge.suspicions` has it, whoever is named there."""


def _is_telling(text: str) -> bool:
    """Is it no word that may stand in a sentence? "Max" may, "Max Frisch", "s12345" and an address may not."""
    return len(text) > _SHORTEST and (" " in text.strip() or "@" in text or bool(re.search(r"[A-Za-z].*\d", text)))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    found = sorted(set(texts), key=len, reverse=True)
    return re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in found) or r"(?!)", re.IGNORECASE)


# -- points -----------------------------------------------------------------------------------------------------------


def _steps(items: Iterable[Item]) -> list[Step]:
    """Where points are missing: the most first, of equals what the notebook has first."""
    missing = [Step(item, item.max_points - item.points) for item in items if item.points < item.max_points]
    return sorted(missing, key=lambda step: -step.gain)


def _delivered(standing: Standing, private: _Private) -> tuple[tuple[str, str], ...]:
    delivery = standing.delivery
    if delivery is None:
        return ()
    names = ", ".join([*delivery.files][:_MOST_NAMES])
    more = len(delivery.files) - _MOST_NAMES
    when = ""
    if delivery.submitted is not None:
        claimed = ", as your side says" if delivery.claimed else ""
        when = f"{delivery.submitted:%Y-%m-%d %H:%M %Z}".strip() + claimed
    pairs = [
        ("handed in", f"{names} and {more} more" if more > 0 else names),
        ("when", when),
        ("attempt", str(delivery.attempt) if delivery.attempt > 1 else ""),
        *(("note", note) for note in private.told(delivery.notes)),
    ]
    return tuple((label, text) for label, text in pairs if text)


_MOST_NAMES = 5


# -- evidence ---------------------------------------------------------------------------------------------------------


def _layers(layers: Sequence[Mapping[str, Any]], parameters: int) -> list[LayerRow]:
    return [_layer(layer, parameters) for layer in layers]


def _layer(layer: Mapping[str, Any], parameters: int) -> LayerRow:
    field = layer["receptive_field"]
    height, width = (min(SIDE, max(0, int(side))) for side in field["clipped"])
    return LayerRow(
        title=str(layer["title"]),
        name="" if layer["name"] == layer["title"] else str(layer["name"]),
        shape=_sides(layer["shape"]),
        parameters=int(layer["parameters"]),
        share=int(layer["parameters"]) / parameters if parameters else 0.0,
        multiply_adds=int(layer["multiply_adds"]),
        sees=_sides(field["size"]),
        step=_sides(f"{jump:g}" for jump in field["jump"]) if any(field["jump"]) else "",
        box=((SIDE - width) / 2, (SIDE - height) / 2, width, height),
    )


def _sides(sizes: Iterable[Any]) -> str:
    return "x".join(map(str, sizes))


class _Test(NamedTuple):
    images: Any  # (N, 28, 28) uint8
    classes: tuple[str, ...]


@lru_cache(maxsize=2)
def _test(dataset: str) -> _Test:
    """The test images of a set, and what its classes are called. Raises DataError where it can't be had."""
    found = data.load(dataset)
    return _Test(found.test.images, found.classes)


@lru_cache(maxsize=20_000)
def _picture(dataset: str, index: int) -> str:
    """A test image as ink on paper: PNG, as a data URI. Raises DataError, and IndexError where there is none."""
    written = io.BytesIO()
    Image.fromarray(255 - _test(dataset).images[index].numpy()).save(written, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def _mistakes(evidence: Mapping[str, Any]) -> tuple[tuple[Digit, ...], str]:
    """The images that the network gets wrong; or none, and why."""
    found = evidence.get("mistakes", ())
    if not found:
        return (), ""
    dataset = str(evidence.get("dataset") or "mnist")
    try:
        classes = _test(dataset).classes
        pictures = [_picture(dataset, int(one["image"])) for one in found]
    except DataError as error:
        return (), f"The images are not shown: {str(error).splitlines()[0]}"
    except IndexError:
        return (), f"The images are not shown: {dataset} has fewer."
    digits = [
        Digit(picture, _class(classes, one["label"]), _class(classes, one["predicted"]))
        for picture, one in zip(pictures, found, strict=True)
    ]
    return tuple(digits), ""


def _class(classes: Sequence[str], number: int) -> str:
    return classes[number] if 0 <= number < len(classes) else str(number)


# -- provenance -------------------------------------------------------------------------------------------------------


def _checksums(made: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What identifies the network, the rubric and the images."""
    found = [
        ("processor", made.get("processor")),
        ("threads", made.get("threads")),
        ("network, SHA-256", made.get("network")),
        ("weights, SHA-256", made.get("weights")),
        ("rubric, SHA-256", made.get("rubric")),
        ("images", (made.get("data") or {}).get("name")),
    ]
    return tuple((label, str(value)) for label, value in found if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
