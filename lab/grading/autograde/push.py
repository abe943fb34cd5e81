"""What did a push bring? One hand-in, graded within the minutes that somebody waits who has pushed.

A hand-in (`.lab`) is judged by the weights that it brings: exercises and assignment, in one to two minutes. A copy of
one of the lab's notebooks gets the points of those exercises that train nothing, in seconds. What that leaves out (the
exercises that train; of weights how many epochs they took) is not checked on a push, and a push is not blamed for it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from lab._files import FileError, read_regular, write_whole
from lab.course.copies import Copy, is_check, read_copy
from lab.course.plan import Edition, Plan, edition_of, names_defined
from lab.errors import LabError
from lab.grading._commits import CommitError, commits
from lab.grading.alone import grade_alone
from lab.grading.autograde.cell_lines import cell_lines
from lab.grading.collect import MAX_FILE, Collected, collect, files_in
from lab.grading.grade import Mode, Options
from lab.grading.pages import feedback_page
from lab.grading.standing import Class, Item, Standing, Student, counted
from lab.rules import Rubric, load_rubric

How = Literal["push", "quick", "weights", "retrain", "rerun"]
"""push: weights for a .lab file, else quick."""
Outcome = Literal["earned", "missing", "open", "not checked"]


class ReportError(LabError):
    """A folder that the report can't be written into."""


@dataclass(frozen=True)
class Place:
    """Where in what was handed in something stands."""

    file: str  # below the folder that was handed in, with "/"
    line: int | None = None  # from 1; None where nobody knows


@dataclass(frozen=True)
class Pushed:
    """A hand-in, graded, and where in its files the exercises and the network are."""

    found: Class
    graded_what: str  # for a person: the file, "my_net.lab"
    options: Options
    places: Mapping[str, Place] = field(default_factory=dict)  # by `Item.id`

    @property
    def one(self) -> Standing:
        """The one hand-in's."""
        return self.found.standings[0]

    def outcome(self, item: Item) -> Outcome:
        """What came out of an exercise or a rule; "not checked" where this way of grading can't tell."""
        if item.points >= item.max_points and (item.passed or item.mark is not None):
            return "earned"
        if item.passed is None and item.id in self._unchecked:
            return "not checked"
        return "open" if item.passed is None else "missing"

    @property
    def _unchecked(self) -> set[str]:
        """The exercises that were left out, and of a network that was judged the rules that have no figure."""
        exercises = {f"exercise:{one['name']}" for one in self.one.grade.get("exercises", ()) if not one["checked"]}
        verdicts = self.one.judged.get("verdicts", ())
        return exercises | {f"rule:{one['rule']}" for one in verdicts if one["passed"] is None}

    @property
    def passed(self) -> bool:
        """Is everything earned that was checked, and was anything?"""
        outcomes = [self.outcome(item) for item in self.one.items]
        return self.one.state == "graded" and "earned" in outcomes and not {"missing", "open"} & {*outcomes}

    @property
    def ours(self) -> bool:
        """Is it the grader's own trouble that there is no grade?"""
        return not counted(self.one)


def grade_push(target: Path, how: How | None, student: Student, rubric: str | None, options: Options) -> Pushed:
    """Grade what lies at `target`, a file or a student's folder. Raises CollectError, RuleError, SandboxError.

    how: None as `options` say. rubric: the hand-in's own where nobody says. The hand-in's own faults are in the
    standing, as is the grader's trouble.
    """
    collected = _collected(target)
    if how is not None:
        options = _options(how, collected, options)
    asked = load_rubric(rubric or _rubric_of(collected))
    found = grade_alone(target, asked, options, student, submitted(target))
    if collected is None:
        return Pushed(found, target.name, options)
    return Pushed(found, _below(target, collected.path), options, _places(target, collected, asked))


def submitted(target: Path) -> datetime | None:
    """When the commit was made that is checked out at `target`, by the clock of who made it; None for no repository."""
    if not (target / ".git").is_dir():
        return None
    try:
        with commits() as known:
            return known.date(target).astimezone(timezone.utc)
    except (CommitError, OSError):
        return None


def write_page(pushed: Pushed, folder: Path) -> Path:
    """Write the student's page into `folder`, made where it is not there. Gives the page. Raises ReportError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{folder} cannot be made: {error.strerror or error}. Choose another folder.") from error
    page = folder / "feedback.html"
    write_whole(page, feedback_page(pushed.found, pushed.one).encode("utf-8", "replace"))
    return page


def write_report(pushed: Pushed, folder: Path) -> None:
    """Write the student's page, and the grade as `lab grade --json` prints it (`grade.json`). Raises ReportError."""
    write_page(pushed, folder)
    write_whole(folder / "grade.json", json.dumps(pushed.one.grade, indent=1) + "\n")


def lines(pushed: Pushed) -> list[str]:
    """For a person: one line an exercise and a rule, with the hint below what is missing, and the points."""
    marks = {"earned": "PASS", "missing": "FAIL", "open": "open", "not checked": "----"}
    shown = []
    for item in pushed.one.items:
        outcome = pushed.outcome(item)
        name = f"{item.title}, {item.name}" if item.kind == "exercise" else item.title
        figure = f" {item.figure}." if item.figure else ""
        shown.append(f"{marks[outcome]} {name}: {item.points:g} of {item.max_points:g} points.{figure}")
        if outcome == "missing" or (outcome == "not checked" and item.kind == "rule"):
            shown += [f"     {line}" for line in item.message.splitlines()]
    state = [f"{pushed.one.state}: {pushed.one.message}"] if pushed.one.message else []
    return [*shown, *state, sum_of(pushed)]


def sum_of(pushed: Pushed) -> str:
    """The points in words, and how many of them were not checked."""
    if pushed.ours:
        return "no grade: the grader's own trouble, which costs nobody points."
    left = sum(item.max_points for item in pushed.one.items if pushed.outcome(item) == "not checked")
    most = pushed.one.max_points
    rest = f"; {left:g} of them are not checked this way" if left else ""
    return f"{pushed.one.points:g} of {most:g} points{rest}"


# -- which way --------------------------------------------------------------------------------------------------------


def _collected(target: Path) -> Collected | None:
    """What is there; None for what can't be graded, which grading then says in words."""
    try:
        return collect(target)
    except LabError:
        return None


def _options(how: How, collected: Collected | None, options: Options) -> Options:
    if how == "push":
        how = "weights" if collected is not None and collected.hand_in is not None else "quick"
    if how == "quick":
        return replace(options, mode=None, quick=True)
    mode: Mode = how
    return replace(options, mode=mode, quick=False)


def _rubric_of(collected: Collected | None) -> str:
    """The hand-in's own; the first lab's where nobody can say."""
    if collected is None:
        return "mnist_994"
    return (collected.hand_in.rubric if collected.hand_in is not None else collected.edition.name) or "mnist_994"


# -- where ------------------------------------------------------------------------------------------------------------


def _places(target: Path, collected: Collected, rubric: Rubric) -> dict[str, Place]:
    """Where the answer of each exercise stands, and the network, for every rule.

    Beside a .lab file that is in the copy that it was handed in from, where one lies there.
    """
    rules = [f"rule:{rule.name}" for rule in rubric.rules]
    file = collected.path if collected.hand_in is None else _copy_beside(target, collected.edition)
    if file is None or file.suffix != ".ipynb":
        return dict.fromkeys(rules, Place(_below(target, file or collected.path)))
    try:
        copy = read_copy(file)
        numbers = cell_lines(read_regular(file, MAX_FILE).decode("utf-8-sig"))
    except (LabError, OSError, FileError, UnicodeDecodeError):
        return {}
    name = _below(target, file)

    def place(cell: int | None) -> Place:
        return Place(name, numbers[cell] if cell is not None and cell < len(numbers) else None)

    edition = edition_of(copy)
    answers = Plan(copy, edition).answers
    network = place(_network_cell(copy, edition))
    return {f"exercise:{exercise}": place(cell) for exercise, cell in answers.items()} | dict.fromkeys(rules, network)


def _copy_beside(target: Path, edition: Edition) -> Path | None:
    """The one copy of this notebook in the folder; None where there is none, or several."""
    if not target.is_dir():
        return None
    found = []
    for path in files_in(target):
        if path.suffix == ".ipynb":
            try:
                same = edition_of(read_copy(path)).name == edition.name
            except LabError:
                continue
            found += [path] if same else []
    return found[0] if len(found) == 1 else None


def _network_cell(copy: Copy, edition: Edition) -> int | None:
    """The last cell that defines the network which is handed in."""
    name = edition.handed_in[0] if edition.handed_in is not None else "MyNet"
    code = [(place, cell) for place, cell in enumerate(copy.cells) if cell.cell_type == "code" and not is_check(cell)]
    mentioned = [(place, cell) for place, cell in code if re.search(rf"\b{re.escape(name)}\b", cell.source)]
    return max((place for place, cell in mentioned if name in names_defined(cell.source)), default=None)


def _below(target: Path, path: Path) -> str:
    return path.relative_to(target).as_posix() if path != target else path.name
