"""A folder of hand-ins becomes a folder of grades: the gradebook, one CSV, the class's page, a page a student.

GRADES/gradebook.sqlite   everything that is known; the rest is made of it anew each time
GRADES/grades.csv         a row a student
GRADES/class.html         for the teacher
GRADES/feedback/ID.html   for each student
"""

import getpass
import os
import re
import secrets
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab._files import FileError, part_name, read_regular, sweep, write_whole
from lab._terminal import harmless
from lab.data import load
from lab.errors import LabError
from lab.grading import doctor
from lab.grading.collect import MAX_FILE
from lab.grading.crowd import Progress, Settings, Tell, class_of, grade_class, receive
from lab.grading.grade import Options
from lab.grading.gradebook import FILE, Gradebook
from lab.grading.inbox import read_inbox
from lab.grading.job import judge_version
from lab.grading.pages import page_name, write_pages
from lab.grading.sameness import likenesses
from lab.grading.standing import Class, Standing, Student, counted, group_of
from lab.grading.table import table
from lab.grading.workers import ClusterWorkers, LocalWorkers, Workers, WorkersError, cores
from lab.rules import Rubric, load_rubric
from lab.submission import SUFFIX

CSV = "grades.csv"


class ClassError(LabError):
    """A class that can't be graded as it was asked for: why, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where the grades are kept, and who works them out."""

    out: Path  # the folder
    url: str | None = None  # of the gradebook's database; None: a file in the folder
    wait: bool = False  # for another process that grades into it
    workers: int | None = None  # processes here; None: one a core
    cluster: str | None = None  # a Dask scheduler's address, in their place

    def book(self) -> Gradebook:
        """Open the gradebook."""
        return Gradebook(self.out, self.url, self.wait)


@dataclass(frozen=True)
class Summary:
    """What came out for a class."""

    out: Path
    found: Counter[str]  # students by state
    unmatched: int
    waits: bool  # is there a hand-in without a result, or with the grader's own trouble?

    def lines(self) -> list[str]:
        """For a person."""
        states = ", ".join(f"{count:,} {state}" for state, count in self.found.most_common())
        nobody = [f"{self.unmatched:,} files or folders belong to nobody: see {self.out / 'class.html'}."]
        again = ["Some have no grade yet, which is not their fault: give the same command again."]
        return [
            f"{self.found.total():,} students: {states or 'nobody'}.",
            *(nobody if self.unmatched else []),
            *(again if self.waits else []),
            f"{self.out / CSV}, {self.out / 'class.html'} and {self.out / 'feedback'} are written.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "out": str(self.out),
            "students": dict(self.found),
            "unmatched": self.unmatched,
            "complete": not self.waits,
        }


# -- grading ----------------------------------------------------------------------------------------------------------


def grade_folder(
    folder: Path,
    place: Place,
    rubric: Rubric,
    options: Options,
    tell: Tell,
    roster: Path | None = None,
    platform: str | None = None,
    assignment: str | None = None,
    anonymous: bool = False,
) -> Summary:
    """Grade a class's folder into another. What has a result keeps it; Ctrl-C keeps what there is, and is passed on.

    anonymous: leave all names out of the class's page, from now on.

    Raises ClassError, InboxError, GradebookError, WorkersError, SandboxError and DataError.
    """
    if place.out.resolve() == folder.resolve() or folder.resolve() in place.out.resolve().parents:
        raise ClassError(
            f"{place.out} lies in {folder}, among what was handed in: choose a folder beside it for --out."
        )
    with place.book() as book:
        settings = Settings(rubric, replace(options, rubric=None, secret=_secret(book, options)))
        receive(book, read_inbox(folder, roster, platform, assignment, rubric.late))
        book.note("settings", settings.to_dict())
        book.note("anonymous", anonymous)
        return _summary(_graded(book, settings, place, tell, []), place)


def _secret(book: Gradebook, options: Options) -> str:
    """What only the teacher knows, by which an audit draws: the one that was given, else this book's own."""
    kept = options.secret or book.noted("secret") or secrets.token_hex(16)
    book.note("secret", kept)
    return str(kept)


def _graded(book: Gradebook, settings: Settings, place: Place, tell: Tell, again: Sequence[str]) -> Class:
    """Grade what is to be, and write what is shown of it, also where that was ended early."""
    if place.cluster is None:
        _check_machine(book, settings)
    try:
        with _workers(place) as workers:
            grade_class(book, settings, workers, tell, again)
    except (KeyboardInterrupt, WorkersError):  # what has come until then is shown
        _written(book, settings, place)
        raise
    return _written(book, settings, place)


def _check_machine(book: Gradebook, settings: Settings) -> None:
    """See before the first hand-in whether this machine can grade them. Raises SandboxError, DataError."""
    load(settings.rubric.dataset)
    files = (name for delivery, _ in book.deliveries().values() for name in delivery.files)
    if any(not name.endswith(SUFFIX) for name in files):
        doctor.require(settings.options.accepted)


@contextmanager
def _workers(place: Place) -> Iterator[Workers]:
    """Those that were asked for. What processes here leave behind is removed, if not now, the next time."""
    if place.cluster is not None:
        with ClusterWorkers(place.cluster) as cluster:
            yield cluster
        return
    sweep(place.out)
    folder = place.out / part_name("work")
    folder.mkdir()
    try:
        with LocalWorkers(place.workers or cores(), folder.resolve()) as local:
            yield local
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(book: Gradebook, settings: Settings, place: Place) -> Class:
    """Write everything that is shown of a class; gives where everybody stands."""
    found = class_of(book, settings)
    write_whole(place.out / CSV, table(found))
    sameness = {one.student.id: one.evidence.get("sameness", {}) for one in found.standings
                if one.evidence and one.delivery is not None and group_of(one.delivery) == one.student.id}  # fmt: skip
    write_pages(found, place.out, bool(book.noted("anonymous")), likenesses(sameness))
    return found


def _summary(found: Class, place: Place) -> Summary:
    states = Counter(one.state for one in found.standings)
    waits = any(not counted(one) for one in found.standings)
    return Summary(
        place.out, Counter({str(state): count for state, count in states.items()}), len(found.unmatched), waits
    )


# -- afterwards -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What of a student's grade was another one before."""

    student: str
    before: str  # state and points
    after: str
    items: tuple[str, ...]  # each that changed: "rule:accuracy 0 -> 30"

    def line(self) -> str:
        """For a person."""
        return f"{self.student}: {self.before} -> {self.after}{''.join(f'; {one}' for one in self.items)}"


def regrade(
    place: Place, tell: Tell, students: Sequence[str] = (), rule: str | None = None, rubric: str | None = None
) -> tuple[list[Change], int]:
    """Grade students anew; gives what changed, and how many were graded.

    students: their ids. rule: all to whom this exercise or rule has not given all of its points. rubric: a new one for
    the class; what it asks differently is graded anew in any case. Earlier results are kept, points by hand count as
    before. Raises ClassError for a student or a rule that there is not, and where another lab has graded the class.
    """
    with opened(place) as (book, settings):
        _check_judge(settings, place)
        found = class_of(book, settings)
        chosen = _chosen(found, students, rule)
        if rubric is not None:
            settings = replace(settings, rubric=load_rubric(rubric))
            book.note("settings", settings.to_dict())
        graded = Counter[str]()

        def count(progress: Progress) -> None:
            graded.update(student.id for student in progress.students)
            tell(progress)

        after = _graded(book, settings, place, count, chosen)
        pairs = zip(found.standings, after.standings, strict=True)  # of one reading of the class: in the same order
        changes = [_change(before, one) for before, one in pairs]
    return [change for change in changes if change is not None], len(graded)


def give(place: Place, student: str, item: str, points: float | None, comment: str, by: str | None = None) -> Change:
    """Give a student points by hand for an exercise or a rule; None takes them back. Raises ClassError."""
    with opened(place) as (book, settings):
        found = class_of(book, settings)
        one = _of(found, student)
        book.mark(one.student.id, _item(found, item), points, comment, by or _user())
        after = _of(_written(book, settings, place), student)
        return _change(one, after) or Change(student, _in_short(one), _in_short(after), ())


@dataclass(frozen=True)
class Forgotten:
    """What is left when a student was forgotten."""

    student: str
    changes: Sequence[Change]  # of others' grades: an audit had found the student's network in their hand-ins, too
    exports: Sequence[Path]  # files in the folder that the class's commands do not make, and that name the student

    def lines(self) -> list[str]:
        """For a person."""
        gone = "the gradebook, the table and the pages hold nothing of {} any more."
        told = [f"{path} still names {self.student}: remove it, or export anew." for path in self.exports]
        return [*(change.line() for change in self.changes), gone.format(self.student), *told]


def forget(place: Place, student: str) -> Forgotten:
    """Remove a student and all that is stored of them, for good.

    What was handed in lies where the teacher keeps it. Raises ClassError.
    """
    with opened(place) as (book, settings):
        before = class_of(book, settings)
        one = _of(before, student).student
        others = {standing.student.id: (_in_short(standing), _points(standing)) for standing in before.standings}
        book.forget(one.id)
        book.note("unordered", [id_ for id_ in book.noted("unordered") or () if id_ != one.id])
        for name in ("unmatched", "notes"):  # what was told of the last reading may name them
            book.note(name, [told for told in book.noted(name) or () if not _names(told, one)])
        after = _written(book, settings, place)
        changes = [_change_from(*others[left.student.id], left) for left in after.standings]
    return Forgotten(one.id, [change for change in changes if change is not None], _naming(place.out, one))


def _naming(folder: Path, student: Student) -> list[Path]:
    """The files in a folder that name a student, in their own name or in what they hold; not the gradebook's own.

    An export's folder for a student has the name of the student's page, which need not be the id.
    """
    page = page_name(student.id)
    found = []
    for path in _below(folder):
        name = path.relative_to(folder)
        if path.name.startswith(FILE):
            continue
        if {page, page.removesuffix(".html")} & {*name.parts} or _names(f"{name}\n{_content(path)}", student):
            found.append(path)
    return found


def _below(folder: Path) -> list[Path]:
    """Everything in a folder that is no folder, however much that is; no link is followed."""
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)


def _content(path: Path) -> str:
    """A file's text, of UTF-16 too, in which some worksheets are written; empty for what can't be read."""
    if path.is_symlink():
        return ""
    try:
        content = read_regular(path, MAX_FILE)
    except (OSError, FileError):
        return ""
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")


def _names(text: str, student: Student) -> bool:
    """Does a text name this student, in whatever case and form of Unicode?"""
    called = "|".join(re.escape(name) for name in (student.id, student.name, student.email) if name)
    text = unicodedata.normalize("NFC", text)
    return re.search(rf"(?<!\w)(?:{called})(?!\w)", text, re.IGNORECASE) is not None


@contextmanager
def opened(place: Place) -> Iterator[tuple[Gradebook, Settings]]:
    """The gradebook that is there, and how the class was graded. Raises ClassError, GradebookError."""
    if place.url is None and not (place.out / FILE).is_file():
        raise ClassError(f"{place.out} holds no gradebook: lab grade HAND-INS --out {place.out} makes one.")
    with place.book() as book:
        found = book.noted("settings")
        if found is None:
            raise ClassError("nothing was graded into this gradebook yet: lab grade HAND-INS --out GRADES comes first.")
        yield book, Settings.from_dict(found)


def _check_judge(settings: Settings, place: Place) -> None:
    """Raise ClassError where the class was graded by another lab: one student would be judged as no other is."""
    if settings.judge != (here := judge_version()):
        raise ClassError(
            f"{place.out} was graded by another lab (judge {settings.judge}; this one is {here}). Take that lab, or "
            f"let this one grade all of them: lab grade HAND-INS --out {place.out}."
        )


def _of(found: Class, student: str) -> Standing:
    for one in found.standings:
        if one.student.id == student:
            return one
    near = [one.student.id for one in found.standings if student.casefold() in one.student.shown.casefold()]
    hint = f" Do you mean {', '.join(map(harmless, near[:5]))}?" if near else " The CSV has all ids."
    raise ClassError(f"there is no student {harmless(student)!r} in this gradebook.{hint}")


def _item(found: Class, name: str) -> str:
    """The id of the exercise or rule of this name, or id."""
    every = {one.id: one.name for standing in found.standings for one in standing.items}
    if name in every:
        return name
    meant = [one for one, called in every.items() if called == name]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ClassError(f"{name!r} may be {' or '.join(meant)}: say which.")
    raise ClassError(f"there is no exercise or rule {harmless(name)!r}. There are {', '.join(every)}.")


def _chosen(found: Class, students: Sequence[str], rule: str | None) -> list[str]:
    chosen = [_of(found, student).student.id for student in students]
    if rule is not None:
        item = _item(found, rule)
        chosen += [one.student.id for one in found.standings if one.result and _lacks(one, item)]
    return chosen


def _lacks(one: Standing, item_id: str) -> bool:
    return any(item.id == item_id and item.points < item.max_points and not item.mark for item in one.items)


def _change(before: Standing, after: Standing) -> Change | None:
    """None where nothing changed."""
    return _change_from(_in_short(before), _points(before), after)


def _change_from(was: str, old: dict[str, float], after: Standing) -> Change | None:
    """The same from what was known before, in short and by item."""
    new = _points(after)
    items = [
        f"{item} {old.get(item, 0):g} -> {new.get(item, 0):g}" for item in old | new if old.get(item) != new.get(item)
    ]
    now = _in_short(after)
    return None if was == now and not items else Change(after.student.id, was, now, tuple(items))


def _points(one: Standing) -> dict[str, float]:
    return {item.id: item.points for item in one.items}


def _in_short(one: Standing) -> str:
    return f"{one.points:g} of {one.max_points:g} points" if counted(one) else one.state


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # nobody in the system's list
        return "a person"
