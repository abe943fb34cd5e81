"""Grades for nbgrader: the CSV that `nbgrader export` writes, and a course's own gradebook, which formgrader shows.

The gradebook is written with nbgrader's own code, all in one transaction. Each exercise's points go to the grade cell
that its check is in the course's notebook (`out-size-check`), what is said of it to the answer's comment. The rules,
and exercises that the notebook has no cell for, get a cell of their own in the same notebook: so the points of the
assignment are the standing's, 133 of 133, in formgrader and in `nbgrader export`. Autograding again leaves the cells of
the rules alone. Generating the assignment again is what nbgrader then refuses: it has submissions, and other cells.

What the grader worked out is an `auto_score`. Points by hand in the lab are a `manual_score`, with a comment by which
they are known again; one that a person gave in nbgrader stays. What being late costs is nbgrader's late penalty.

nbgrader itself counts whoever handed in nothing as 0 points. Here they have no grade, and an empty cell.
"""

import html
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab._terminal import harmless
from lab.course.plan import answer_of
from lab.grading._cells import cell as harmless_cell
from lab.grading._cells import csv_text
from lab.grading.exports import ExportError
from lab.grading.exports._points import exact, passed, title_of, why_no_grade
from lab.grading.exports._sheet import Filled, match, ungraded, without
from lab.grading.standing import Class, Item, Standing

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

HEADER = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
          "raw_score", "late_submission_penalty", "score", "max_score")  # fmt: skip
FILE = "gradebook.db"
_NEW = "{} is new. Where nbgrader_config.py names another database (db_url), nbgrader will not look there."
OURS = "[The 99.4 Lab]"
"""How a line begins that tells of points which a person gave in the lab."""
_ID = re.compile(r"\w[\w.@+ -]{0,126}\w|\w")
"""A student's id that is a folder's name, on any system, and a field of a CSV without quotes."""
_NAMED = 10
"""Of a long list so many are named."""


# -- the CSV ----------------------------------------------------------------------------------------------------------


def table(found: Class, assignment: str, due: datetime | None) -> Filled:
    """The CSV that `nbgrader export` would write. due: aware.

    A student has one name here, which stands under last_name: where to part it nobody says.
    """
    missing = ungraded(found.standings)
    rows = [[assignment, _moment(due), *_row(one)] for one in found.standings]
    exported = tuple(one.student.id for one in found.standings if one.student.id not in missing)
    return Filled(csv_text([HEADER, *rows]).encode("utf-8", "replace"), exported, {}, missing)


def _row(one: Standing) -> list[Any]:
    who = one.student
    submitted = _moment(one.delivery.submitted) if one.delivery is not None else ""
    if why_no_grade(one):
        return [submitted, who.id, who.name, "", who.email, "", "", "", exact(one.max_points)]
    raw = exact(sum(item.points for item in one.items))
    return [submitted, who.id, who.name, "", who.email, raw, exact(one.off), exact(one.points), exact(one.max_points)]


def _moment(moment: datetime | None) -> str:
    """As nbgrader writes it: in UTC, without saying so."""
    return "" if moment is None else str(_in_utc(moment))


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(tzinfo=None, microsecond=0)


# -- a course's gradebook ---------------------------------------------------------------------------------------------


def write(course: Path, found: Class, assignment: str | None, due: datetime | None, scale: bool) -> Filled:
    """Write the class's points and comments into the gradebook of a course: its folder, or the file gradebook.db.

    assignment: its name; None where the course has only one. What is not there is made: the assignment, its cells,
    students. scale: convert points where the course gives another number of them for an exercise. Raises ExportError,
    and leaves the gradebook as it was.
    """
    path = _gradebook(course)
    is_new = not path.exists()
    try:
        with _opened(path) as gradebook:
            done = _written(gradebook, path, found, assignment, due, scale)
    except BaseException:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    return replace(done, notes=(_NEW.format(path), *done.notes)) if is_new else done


def _gradebook(course: Path) -> Path:
    if course.is_file():
        return course
    if (course / FILE).is_file() or (course / "nbgrader_config.py").is_file():
        return course / FILE
    raise ExportError(
        f"{course} is no course of nbgrader: it holds neither {FILE} nor nbgrader_config.py. Name the course's folder, "
        "or its database file, with --course."
    )


@contextmanager
def _opened(path: Path) -> "Iterator[Gradebook]":
    """nbgrader's gradebook; what is done with it is done as a whole, or not at all. Raises ExportError."""
    try:
        from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
    except ImportError as error:
        raise ExportError("nbgrader is not installed here: python3 -m pip install nbgrader.") from error
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    if path.exists():
        _require_sqlite(path)
    try:
        with _alembic_found():
            gradebook = Gradebook(f"sqlite:///{path.resolve()}", course_id="")
        with gradebook:
            gradebook.engine.dispose()

            @event.listens_for(gradebook.engine, "connect")
            def _(connection: Any, record: Any) -> None:
                connection.isolation_level = None  # sqlite3 itself begins no transaction

            @event.listens_for(gradebook.engine, "begin")
            def _(connection: Any) -> None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")

            with gradebook.engine.begin() as connection:
                gradebook.db.remove()
                gradebook.db.configure(bind=connection, join_transaction_mode="create_savepoint")
                yield gradebook
                gradebook.db.commit()
                gradebook.db.remove()
    except (SQLAlchemyError, InvalidEntry, MissingEntry) as error:
        told = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
        raise ExportError(
            f"{path} can't be written: {harmless(told)}. Is formgrader open, or was it made by another version of "
            "nbgrader (nbgrader db upgrade)? It is as it was."
        ) from error


@contextmanager
def _alembic_found() -> Iterator[None]:
    """nbgrader calls the program `alembic` by its name for a new gradebook: this Python's comes first."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _require_sqlite(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            beginning = file.read(16)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}.") from error
    if beginning not in (b"", b"SQLite format 3\0"):
        raise ExportError(f"{path} is no gradebook of nbgrader: it is no SQLite database.")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.Error as error:
            raise ExportError(f"{path} can't be read: {error}.") from error
    if tables and "submitted_assignment" not in tables:
        raise ExportError(f"{path} is no gradebook of nbgrader: it has no table submitted_assignment.")


@dataclass
class _Place:
    """Where an item's points and comments go."""

    item: Item
    notebook: str
    cell: str  # the grade cell
    answer: str  # the solution cell, which has the comments; empty: none
    factor: float = 1.0  # the course's points, for one of the lab's


@dataclass
class _Log:
    """What a person has to know."""

    added: list[str] = field(default_factory=list)  # students
    kept: list[str] = field(default_factory=list)  # points by hand


def _written(
    gradebook: "Gradebook", path: Path, found: Class, assignment: str | None, due: datetime | None, scale: bool
) -> Filled:
    name = _assignment(gradebook, path, assignment, due)
    missing = ungraded(found.standings)
    places = _places(gradebook, name, found, scale, path)
    log = _Log()
    students, lost = _students(gradebook, path, found, missing, log)
    for one in found.standings:
        if one.student.id in students:
            _grade(gradebook, path, name, students[one.student.id], one, places, log)
    exported = tuple(one.student.id for one in found.standings if one.student.id in students)
    return Filled(exported=exported, lost=without(lost, missing), ungraded=missing, notes=tuple(_told(log, path, name)))


def _told(log: _Log, path: Path, assignment: str) -> Iterator[str]:
    if not (path.parent / "source" / assignment).is_dir():
        yield f"formgrader shows an assignment only where the course has its folder, source/{harmless(assignment)}."
    if log.added:
        yield f"{len(log.added):,} students were added to the course: {_some(log.added)}."
    if log.kept:
        yield f"{len(log.kept):,} points by hand in nbgrader stay: {_some(log.kept)}."


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(map(harmless, names[:_NAMED])) + (f" and {rest:,} more" if rest > 0 else "")


def _assignment(gradebook: "Gradebook", path: Path, wanted: str | None, due: datetime | None) -> str:
    """The name of the assignment, which is made where it is not there."""
    names = [one.name for one in gradebook.assignments]
    if wanted is None and len(names) != 1:
        there = ", ".join(map(harmless, names)) or "none"
        raise ExportError(f"{path} has the assignments {there}: say which with --assignment.")
    name = names[0] if wanted is None else wanted
    if name not in names:
        from nbgrader.api import Course

        courses = [one.id for one in gradebook.db.query(Course).all()]
        gradebook.add_assignment(name, course_id=courses[0] if courses else "", duedate=due and _in_utc(due))
    return name


# -- cells ------------------------------------------------------------------------------------------------------------


def _places(gradebook: "Gradebook", assignment: str, found: Class, scale: bool, path: Path) -> list[_Place]:
    """Where each item of the class goes; cells that are missing are made. Raises ExportError over other points."""
    items = {item.id: item for one in found.standings for item in one.items}
    notebooks = list(gradebook.find_assignment(assignment).notebooks)
    graded = {cell.name: (notebook.name, cell.max_score) for notebook in notebooks for cell in notebook.grade_cells}
    wanted = {_cell_of(item) for item in items.values()}
    if not notebooks:
        notebooks = [gradebook.add_notebook(assignment, assignment)]
    own = max(notebooks, key=lambda one: sum(cell.name in wanted for cell in one.grade_cells)).name
    places, other = [], []
    for item in items.values():
        cell = _cell_of(item)
        if cell not in graded:
            places.append(_made(gradebook, assignment, own, cell, item))
            continue
        notebook, most = graded[cell]
        if most != exact(item.max_points):
            other.append(f"{cell}: {most:g}, {item.max_points:g} here")
        answers = {one.name for one in gradebook.find_notebook(notebook, assignment).solution_cells}
        answer = cell if cell in answers else answer_of(cell.removesuffix("-check"), answers)
        factor = most / item.max_points if item.max_points else 0.0
        places.append(_Place(item, notebook, cell, answer if answer in answers else "", factor))
    if other and not scale:
        raise ExportError(
            f"{path}: the course gives other points than the lab for {_some(other)}. Give them the same points in the "
            "notebook's source and generate it again; or add --scale, and the lab's are converted."
        )
    return places


def _cell_of(item: Item) -> str:
    """The name of its grade cell. A rule's is one that no exercise has."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "-", item.name)[:100]
    return f"{name}-check" if item.kind == "exercise" else f"assignment-{name}"


def _made(gradebook: "Gradebook", assignment: str, notebook: str, cell: str, item: Item) -> _Place:
    """A grade cell of its own, which is its answer's too."""
    gradebook.add_grade_cell(cell, notebook, assignment, max_score=exact(item.max_points), cell_type="code")
    gradebook.update_or_create_solution_cell(cell, notebook, assignment)
    return _Place(item, notebook, cell, cell)


# -- students and their grades ----------------------------------------------------------------------------------------


def _students(
    gradebook: "Gradebook", path: Path, found: Class, missing: Mapping[str, str], log: _Log
) -> tuple[dict[str, str], dict[str, str]]:
    """By the lab's id nbgrader's, of each who has a grade; and who can't be told from another: why."""
    rows = [
        (one.id, {"id": one.id, "first": one.first_name or "", "last": one.last_name or "", "email": one.email or ""})
        for one in gradebook.students
    ]
    graded = [one.student for one in found.standings if one.student.id not in missing]
    matches = match(path, rows, graded)
    students = {id_: rows[place][0] for id_, place in matches.rows.items()}
    for one in graded:
        if one.id in matches.unknown and _ID.fullmatch(one.id):
            gradebook.add_student(one.id, last_name=_bare(one.name), email=_bare(one.email))
            students[one.id] = one.id
            log.added.append(one.id)
    why = "nobody in the course is it, and the id is no name of a folder, which nbgrader makes of it"
    return students, {id_: why if id_ in matches.unknown else told
                      for id_, told in matches.lost.items() if id_ not in students}  # fmt: skip


def _bare(text: str) -> str | None:
    """A name for nbgrader, which quotes nothing in the CSV that it exports."""
    return harmless_cell(re.sub(r"[,\"\s]+", " ", text).strip())[:128] or None


def _grade(
    gradebook: "Gradebook",
    path: Path,
    assignment: str,
    student: str,
    one: Standing,
    places: Sequence[_Place],
    log: _Log,
) -> None:
    """Write one student's points."""
    from nbgrader.api import MissingEntry

    try:
        submission = gradebook.find_submission(assignment, student)
    except MissingEntry:
        with gradebook.db.no_autoflush:  # nbgrader links what it has yet to add
            submission = gradebook.add_submission(assignment, student)
        # What lies in the course has its own time: formgrader takes a copy with another one for not graded.
        own = path.parent / "submitted" / student / assignment
        if one.delivery is not None and one.delivery.submitted is not None and not own.exists():
            submission.timestamp = _in_utc(one.delivery.submitted)
    items = {item.id: item for item in one.items}
    whole = sum(item.points for item in one.items)
    for copy in submission.notebooks:
        here = [(place, items[place.item.id]) for place in places if place.notebook == copy.name]
        comments = _comments(gradebook, copy, here)
        for place, item in here:
            _score(gradebook, copy, place, item, comments.get(place.answer), log)
        for answer, comment in comments.items():
            _tell(comment, [(place, item) for place, item in here if place.answer == answer])
        share = sum(item.points * place.factor for place, item in here) / whole if whole else 0.0
        copy.late_submission_penalty = exact(one.off * share) if here else copy.late_submission_penalty
    gradebook.db.flush()


def _comments(gradebook: "Gradebook", copy: Any, here: Sequence[tuple[_Place, Item]]) -> dict[str, Any]:
    """The comments on the answers, by the answer's name; made where there is none."""
    from nbgrader.api import Comment

    there = {comment.name: comment for comment in copy.comments}
    cells = {cell.name: cell for cell in copy.notebook.solution_cells}
    for name in {place.answer for place, _ in here} & cells.keys() - there.keys():
        there[name] = Comment(cell=cells[name], notebook=copy)
        gradebook.db.add(there[name])
    return {place.answer: there[place.answer] for place, _ in here if place.answer in there}


def _score(gradebook: "Gradebook", copy: Any, place: _Place, item: Item, comment: Any, log: _Log) -> None:
    from nbgrader.api import Grade

    grade = next((one for one in copy.grades if one.name == place.cell), None)
    if grade is None:
        cell = next(one for one in copy.notebook.grade_cells if one.name == place.cell)
        grade = Grade(cell=cell, notebook=copy)
        gradebook.db.add(grade)
    points = exact(item.points * place.factor)
    ours = _line_of(comment, place.cell)
    if grade.manual_score is not None and (ours is None or _points_in(ours) != grade.manual_score):
        if grade.manual_score != points:
            told = f"{copy.student.id}, {place.cell}: {grade.manual_score:g}, and {points:g} here"
            log.kept.append(told)
        return
    by_hand = item.mark is not None and comment is not None
    grade.manual_score = points if by_hand else None
    grade.auto_score = None if by_hand else points
    grade.needs_manual_grade = False


def _line_of(comment: Any, cell: str) -> str | None:
    """The line of a comment that tells of points by hand for this cell."""
    lines = (comment.manual_comment or "").splitlines() if comment is not None else []
    return next((line for line in lines if line.startswith(f"{OURS} {cell}: ")), None)


def _points_in(line: str) -> float | None:
    found = re.match(re.escape(OURS) + r" [\w-]+: (\d+(?:\.\d+)?) points", line)
    return float(found[1]) if found else None


def _tell(comment: Any, here: Sequence[tuple[_Place, Item]]) -> None:
    """Write what is said of an answer: of the lab's own the comment by the grader, of points by hand a person's.

    nbgrader makes a page of them, in Markdown where HTML counts, which runs in the browser of whoever opens it beside
    the course's server. A check repeats what a student wrote: so no tag is left in it.
    """
    lines = [f"{title_of(item)}: {item.message}" for _, item in here if item.mark is None and not passed(item)]
    comment.auto_comment = html.escape(harmless("\n".join(lines)), quote=False) or None
    others = [line for line in (comment.manual_comment or "").splitlines() if not line.startswith(OURS)]
    by_hand = [
        f"{OURS} {place.cell}: {exact(item.points * place.factor):.15g} points, by {item.mark.by}: {item.mark.comment}"
        for place, item in here if item.mark is not None
    ]  # fmt: skip
    told = [*others, *(harmless(" ".join(line.split())) for line in by_hand)]
    comment.manual_comment = "\n".join(told) or None
