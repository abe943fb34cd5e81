"""What of a student's copy is executed, and in which order: set-up, answers, checks, and what the cells between define.

The checks, and what they are worth, are those of the lab's own edition wherever it knows the exercise.
"""

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import nbformat
from nbformat import NotebookNode

from lab import _place
from lab.course.copies import Copy, grade_id_of, is_check
from lab.definitions import Statement, parse, select

TRAINS = "trains"
"""The tag of a check that trains, where the notebook's own cells have not done it yet."""
STUB = "raise NotImplementedError"
"""What stands in an answer's cell that nobody has answered in."""


# -- the lab's own edition --------------------------------------------------------------------------------------------


def edition_sources() -> list[Path]:
    """The sources of the lab's own notebooks, in a clone or where pip put them; none where neither has them."""
    return _place.shipped("notebooks", "[!_]*.py")


@dataclass(frozen=True)
class Edition:
    """One of the lab's own notebooks, as its source has it: with the right answers."""

    name: str  # "mnist_994"; empty where the lab knows none
    cells: tuple[NotebookNode, ...] = ()

    @cached_property
    def named(self) -> dict[str, NotebookNode]:
        """Its answers and checks, by grade_id."""
        return {grade_id_of(cell): cell for cell in self.cells if grade_id_of(cell)}

    @cached_property
    def set_up(self) -> list[NotebookNode]:
        """Its set-up cells."""
        return [cell for cell in self.cells if "setup" in cell.metadata.get("tags", [])]

    @cached_property
    def handed_in(self) -> tuple[str, str] | None:
        """The names of the network and the recipe in its `lab.hand_in(MyNet, recipe)`; None where it has none."""
        for cell in self.cells:
            found = re.search(r"^lab\.hand_in\((\w+), (\w+)", cell.source, re.MULTILINE)
            if cell.cell_type == "code" and found:
                return found[1], found[2]
        return None


def editions() -> list[Edition]:
    """All of them."""
    import jupytext

    return [Edition(path.stem, tuple(jupytext.read(path).cells)) for path in edition_sources()]


def edition_of(copy: Copy) -> Edition:
    """The lab's edition that shares most grade_ids with the copy; an empty one where none shares anything.

    A copy that has lost all of them, with the rest of nbgrader's metadata, is known by the text of its checks.
    """
    own = set(filter(None, map(grade_id_of, copy.cells)))
    texts = {cell.source.strip() for cell in copy.cells if cell.cell_type == "code"}
    best, most = Edition(""), (0, 0)
    for edition in editions():
        checks = {cell.source.strip() for cell in edition.named.values() if is_check(cell)}
        if (shared := (len(edition.named.keys() & own), len(checks & texts))) > most:
            best, most = edition, shared
    return best


# -- the reduced notebook ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A cell of the reduced notebook."""

    cell: NotebookNode
    kind: Literal["set-up", "answer", "check", "own"]
    name: str  # the exercise's, or what a person calls the cell
    title: str  # "exercise 3"


class Plan:
    """What is executed in the place of each of the copy's cells."""

    def __init__(self, copy: Copy, edition: Edition, quick: bool = False) -> None:
        self.cells, self.edition = copy.cells, edition
        known = edition.named or {grade_id_of(cell): cell for cell in copy.cells if grade_id_of(cell)}
        self.checks = {name.removesuffix("-check"): cell for name, cell in known.items() if is_check(cell)}
        self.training = {name for name, cell in self.checks.items() if TRAINS in cell.metadata.get("tags", [])}
        self.skipped = self.training if quick else set()
        self.known = known
        for cell in self.cells:
            if grade_id_of(cell) in known:
                cell.cell_type = known[grade_id_of(cell)].cell_type  # as nbgrader does
        self.set_up = self._set_up()
        self.refused: list[str] = []  # what may change something that an answer uses, and is not run
        ids = {name for name, cell in known.items() if not is_check(cell)}
        self.answer_of = {name: answer_of(name, ids) for name in self.checks}
        self.answers: dict[str, int] = {}  # where the answer stands that a check judges; several may judge one
        for name, answer in self.answer_of.items():
            place = self._answered(copy.all(answer))
            place = self._unnamed(name) if place is None else place
            if place is not None:
                self.answers[name] = place
        last = {name: copy.last(f"{name}-check") for name in self.checks}
        self.check_at = {name: max(place, last[name] or 0) for name, place in self.answers.items()}

    def _set_up(self) -> set[int]:
        """The cells with the tag `setup`; without any, the code before the first exercise."""
        code = [place for place, cell in enumerate(self.cells) if cell.cell_type == "code"]
        tagged = {place for place in code if "setup" in self.cells[place].metadata.tags}
        answers = {n for cell in self.known.values() if not is_check(cell) for n in names_defined(cell.source)}
        exercises = (n for n in code if grade_id_of(self.cells[n]) or answers & names_defined(self.cells[n].source))
        first = next(exercises, len(self.cells))
        return tagged or {place for place in code if place < first}

    def _answered(self, places: list[int]) -> int | None:
        """Of several cells with one grade_id the last that is not still open, as a copied cell is; else the last."""
        done = [place for place in places if STUB not in self.cells[place].source]
        return max(done or places, default=None)

    def _unnamed(self, name: str) -> int | None:
        """The cell that makes what a check reads, where the answer's cell has lost nbgrader's metadata."""
        own = self.known.get(self.answer_of[name])
        wanted = names_read(self.checks[name].source) if own is None else names_defined(own.source)
        code = [place for place, cell in enumerate(self.cells) if cell.cell_type == "code" and place not in self.set_up]
        plain = [place for place in code if grade_id_of(self.cells[place]) not in self.known]
        found = [place for place in plain if wanted & names_defined(self.cells[place].source)]
        return max(found, default=None)

    def title(self, name: str) -> str:
        """'exercise 3', as its cell begins."""
        heading = name in self.answers and re.match(r"\s*# *(EXERCISE \w+)", self.cells[self.answers[name]].source)
        return heading[1].lower() if heading else "exercise"

    def may_train(self, part: Part) -> bool:
        """Is it one that trains a network which is judged: its check, or a cell of the student's own before that?"""
        judged = self.training - self.skipped
        return bool(judged) and (part.kind == "own" or (part.kind == "check" and part.name in judged))

    def parts(self) -> list[Part]:
        """An answer brings its check, other cells only define."""
        answer_at = {place: self.answer_of[name] for name, place in self.answers.items()}
        own = self._own_statements(answer_at)
        parts = []
        for place, cell in enumerate(self.cells):
            if place in answer_at:
                parts.append(self._part(cell.source, "answer", answer_at[place]))
            elif place in self.set_up:
                parts.append(Part(_code(cell.source), "set-up", f"cell {place + 1}", "the set-up cell"))
            where = f"cell {place + 1}"
            parts += [Part(_code(statement.source), "own", where, where) for statement in own.get(where, [])]
            for name in [name for name, at in self.check_at.items() if at == place and name not in self.skipped]:
                parts.append(self._part(self.checks[name].source, "check", name))
        return parts

    def _own_statements(self, answer_at: dict[int, str]) -> dict[str, list[Statement]]:
        """What the cells between make that an answer or a check uses, each statement by itself: one may fail."""
        judged = [self.cells[place].source for place in answer_at]
        checks = [check.source for name, check in self.checks.items() if name not in self.skipped]
        wanted = set(self.edition.handed_in or ()).union(*map(names_read, [*judged, *checks]))
        between = [
            (f"cell {place + 1}", cell.source)
            for place, cell in enumerate(self.cells)
            if cell.cell_type == "code" and not is_check(cell) and place not in answer_at and place not in self.set_up
            if grade_id_of(cell) not in self.known and not self._is_open_copy(cell)  # another cell of an exercise
        ]
        selection = select(between, wanted)
        self.refused = list(selection.refused)
        by_cell: dict[str, list[Statement]] = {}
        for statement in selection.statements:
            by_cell.setdefault(statement.cell, []).append(statement)
        return by_cell

    def _is_open_copy(self, cell: NotebookNode) -> bool:
        """Is it an exercise's cell that is still open, without the exercise's name?"""
        made = names_defined(cell.source) if STUB in cell.source else set()
        asked = set().union(*(names_defined(own.source) for own in self.known.values() if not is_check(own)))
        return bool(made) and made <= asked

    def _part(self, source: str, kind: Literal["answer", "check"], name: str) -> Part:
        return Part(_code(source), kind, name, self.title(name) if kind == "answer" else f"the check of {name}")


def answer_of(check: str, answers: set[str]) -> str:
    """The answer that a check judges: the one of its name, or of the longest beginning of it ("version-3-98")."""
    parts = check.split("-")
    beginnings = ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in beginnings if name in answers), check)


def _statements(source: str) -> list[Statement]:
    """Of a cell; none where it is not Python."""
    return parse([("a cell", source)]).statements


def names_read(source: str) -> set[str]:
    """The names that a cell reads."""
    return set().union(*(statement.reads for statement in _statements(source)))


def names_made(source: str) -> set[str]:
    """The names that a cell gives a value."""
    return set().union(*(statement.binds for statement in _statements(source)))


def names_defined(source: str) -> set[str]:
    """The same without what it imports."""
    made = [s for s in _statements(source) if not isinstance(s.node, ast.Import | ast.ImportFrom)]
    return set().union(*(statement.binds for statement in made))


def _code(source: str) -> NotebookNode:
    cell: NotebookNode = nbformat.v4.new_code_cell(source)
    return cell
