"""A student's copy of a notebook, as broken as it may come, and what nbgrader will make of it.

nbgrader's own rules are followed: its schema of a cell's metadata (version 3), and what its autograder does with a cell
that is missing, there twice, or changed.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from lab.errors import LabError

REFUSED = "nbgrader will refuse this copy: "
MOST_CELLS = 5_000
"""Of a notebook: the lab's own have fewer than 200."""
_GRADE_ID = re.compile(r"[A-Za-z0-9_-]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class ExerciseError(LabError):
    """A notebook whose exercises can't be checked."""


@dataclass(frozen=True)
class Copy:
    """The cells of a notebook, each with text, metadata and a list of tags, whatever the file has there."""

    cells: list[NotebookNode]
    warnings: list[str] = field(default_factory=list)  # what nbgrader will not take

    def last(self, grade_id: str) -> int | None:
        """The place of the cell with this grade_id; of several the last, as in a kernel."""
        return max(self.all(grade_id), default=None)

    def all(self, grade_id: str) -> list[int]:
        """The places of all cells with this grade_id."""
        return [place for place, cell in enumerate(self.cells) if grade_id_of(cell) == grade_id]


def grade_id_of(cell: NotebookNode) -> str:
    """nbgrader's name of an answer or a check; empty for any other cell."""
    return str(cell.metadata.nbgrader.grade_id) if is_answer(cell) or is_check(cell) else ""


def is_answer(cell: NotebookNode) -> bool:
    """Is it a cell that a student answers in?"""
    return _named(cell) and bool(cell.metadata.nbgrader.get("solution"))


def is_check(cell: NotebookNode) -> bool:
    """Is it a cell that nbgrader takes points from?"""
    return _named(cell) and bool(cell.metadata.nbgrader.get("grade")) and not is_answer(cell)


def _named(cell: NotebookNode) -> bool:
    known = cell.metadata.get("nbgrader")
    return isinstance(known, dict) and isinstance(known.get("grade_id"), str) and bool(known["grade_id"])


def points_of(check: NotebookNode) -> float:
    """What a check is worth; 0 where its metadata say nothing that is a number of points."""
    points = check.metadata.nbgrader.get("points")
    return points if _is_points(points) else 0


def _is_points(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


# -- reading ----------------------------------------------------------------------------------------------------------


def read_copy(path: Path) -> Copy:
    """The copy at `path`. Raises ExerciseError where it is no notebook."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        _check_number(found)
        if isinstance(found, dict) and found.get("nbformat") in (1, 2, 3):
            found = nbformat.reads(json.dumps(found), as_version=4)
    except OSError as error:
        raise ExerciseError(f"cannot read {path}: {error.strerror}.") from error
    except (Exception, RecursionError) as error:  # nbformat raises whatever a broken file makes it raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExerciseError(f"{path} is not a notebook: {reason[:200]}") from error
    cells = found.get("cells") if isinstance(found, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
        raise ExerciseError(f"{path} is not a notebook: it has no cells, or broken ones.")
    return copy_of(cells)


def _check_number(found: Any) -> None:
    """Raise ValueError for more cells than anybody writes, before something is done with each of them."""
    if not isinstance(found, dict):
        return
    sheets = found.get("worksheets")  # where the cells were before nbformat 4
    places = [found, *(sheets if isinstance(sheets, list) else ())]
    lists = [place.get("cells") for place in places if isinstance(place, dict)]
    number = sum(len(cells) for cells in lists if isinstance(cells, list))
    if number > MOST_CELLS:
        raise ValueError(f"it has {number:,} cells, and {MOST_CELLS:,} are allowed")


def copy_of(cells: Iterable[Mapping[str, Any]]) -> Copy:
    """The copy that these cells are."""
    copy = Copy([])
    for number, cell in enumerate(cells, 1):
        copy.cells.append(_mended(cell, f"cell {number}", copy.warnings))
    return copy


def _mended(cell: Mapping[str, Any], name: str, warnings: list[str]) -> NotebookNode:
    """A cell with what it must have; `warnings` says what was not there."""
    source, metadata = cell.get("source"), cell.get("metadata")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        warnings.append(f"{REFUSED}{name} has no text: its source is {_short(source)}.")
        source = ""
    if _SURROGATE.search(source):
        warnings.append(f"{REFUSED}{name} has a character that can't be written in UTF-8 (a lone surrogate).")
        source = _SURROGATE.sub("\ufffd", source)
    if not isinstance(metadata, dict):
        warnings.append(f"{REFUSED}the metadata of {name} are {_short(metadata)}.")
        metadata = {}
    kept: dict[str, Any] = {"tags": _tags(metadata.get("tags", []), name, warnings)}
    if "nbgrader" in metadata:
        wrong = _wrong(metadata["nbgrader"])
        if wrong:
            warnings.append(f"{REFUSED}in the nbgrader metadata of {name} {wrong}.")
        kept["nbgrader"] = metadata["nbgrader"] if isinstance(metadata["nbgrader"], dict) else {}
    code = cell["cell_type"] == "code"
    mended: NotebookNode = nbformat.v4.new_code_cell(source) if code else nbformat.v4.new_markdown_cell(source)
    mended.metadata = nbformat.from_dict(kept)
    return mended


def _tags(tags: Any, name: str, warnings: list[str]) -> list[str]:
    if isinstance(tags, str):
        return [tags]
    if isinstance(tags, list):
        return [tag for tag in tags if isinstance(tag, str)]
    warnings.append(f"{REFUSED}the tags of {name} are {_short(tags)}, no list.")
    return []


def _wrong(known: Any) -> str:
    """What nbgrader's schema forbids in a cell's metadata; empty where it is all right."""
    if not isinstance(known, dict):
        return f"stands {_short(known)}"
    version = known.get("schema_version")
    if version != 3 or isinstance(version, bool):
        return f"'schema_version' is {_short(version)}, not 3"
    for key in ("grade", "locked", "solution"):
        if not isinstance(known.get(key), bool):
            return f"{key!r} is {_short(known.get(key))}, not true or false"
    if not (known["grade"] or known["locked"] or known["solution"]):
        return ""
    grade_id = known.get("grade_id")
    if not isinstance(grade_id, str) or not _GRADE_ID.fullmatch(grade_id):
        return f"'grade_id' is {_short(grade_id)}, no name of letters, digits, - and _"
    if known["grade"] and not _is_points(known.get("points")):
        return f"'points' is {_short(known.get('points'))}, no number from 0"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


# -- compared with the edition ----------------------------------------------------------------------------------------


def warnings_of(copy: Copy, edition: dict[str, NotebookNode]) -> list[str]:
    """Where nbgrader sees a copy otherwise than `lab check`. edition: the lab's own answers and checks, by grade_id.

    Without an edition only that is told which any copy must have.
    """
    known = list(edition) or list(dict.fromkeys(filter(None, map(grade_id_of, copy.cells))))
    found = []
    for name in known:
        places = copy.all(name)
        if len(places) > 1:
            cells = ", ".join(str(place + 1) for place in places)
            times = "twice" if len(places) == 2 else f"{len(places)} times"
            found.append(
                f"{REFUSED}'{name}' is there {times} (cells {cells}). Here the last one that is answered counts."
            )
        elif not places and is_check(edition[name]):
            found.append(
                f"nbgrader will give no points for '{_answered(name)}': '{name}' is missing. "
                "Put your answers into a fresh copy."
            )
        elif not places:
            found.append(f"'{name}' is missing, or its cell has lost nbgrader's metadata.")
        if places and name in edition:
            found += _changed(name, copy.cells[places[-1]], edition[name])
        answer, check = copy.last(_answered(name)), copy.last(name)
        if name != _answered(name) and answer is not None and check is not None and check < answer:
            found.append(
                f"nbgrader will give no points for '{_answered(name)}': '{name}' stands before it. Move it behind."
            )
    return [*copy.warnings, *found, *_of_another_edition(copy, edition)]


def _of_another_edition(copy: Copy, edition: dict[str, NotebookNode]) -> list[str]:
    """The answers that no check of the lab's edition asks for."""
    others = [name for name in map(grade_id_of, filter(is_answer, copy.cells)) if name and name not in edition]
    if not edition or not others:
        return []
    names = ", ".join(map(_short, dict.fromkeys(others)))
    return [f"not checked: {names}. The lab's notebook has no such exercise now: put your answers into a fresh copy."]


def _answered(check: str) -> str:
    return check.removesuffix("-check")


def _changed(name: str, cell: NotebookNode, own: NotebookNode) -> list[str]:
    found = []
    if is_check(own) and is_check(cell) and cell.metadata.nbgrader.get("points") != own.metadata.nbgrader.points:
        theirs = _short(cell.metadata.nbgrader.get("points"))
        found.append(f"'{name}' has other points, {theirs}: {points_of(own):g} count.")
    if is_check(own) != is_check(cell):
        found.append(f"'{name}' is marked as another kind of cell than in the lab's notebook.")
    if cell.cell_type != own.cell_type:
        found.append(f"'{name}' is no code cell any more: nbgrader and the lab take it as code.")
    return found
