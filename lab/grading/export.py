"""The grades of a class leave the lab, in the form that a platform takes them in.

    gradescope, classroom50, github     a folder: ID/results.json or ID/result.json for each student
    canvas, moodle                      the file that the teacher downloaded there, filled in
    nbgrader                            a CSV, or a course's own gradebook

What is written is what the gradebook has; nothing is graded. Who has no grade gets none anywhere, and never a 0.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from lab._files import FileError, part_name, sweep, write_whole
from lab._terminal import harmless
from lab.grading.classwork import CSV, Place, opened
from lab.grading.crowd import Settings, class_of
from lab.grading.exports import ExportError, canvas, classroom50, github, gradescope, moodle, nbgrader
from lab.grading.exports._points import exact, whole_points
from lab.grading.exports._sheet import Filled, ungraded
from lab.grading.gradebook import FILE, LOCK
from lab.grading.pages import page_name
from lab.grading.standing import Class, Standing

Form = Literal["gradescope", "classroom50", "github", "nbgrader", "canvas", "moodle"]
FORMS: tuple[Form, ...] = get_args(Form)
_FILE = {"gradescope": "results.json", "classroom50": "result.json", "github": "result.json"}
"""What each student's folder holds."""
_HOST = "https://github.com"
_KEPT = (FILE, LOCK, CSV, "class.html")
"""What the folder of the grades has besides exports."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    to: Form
    worksheet: Path | None = None  # of Canvas or Moodle, as the teacher downloaded it
    out: Path | None = None  # the file or folder to write; None: one in the folder of the grades
    course: Path | None = None  # of nbgrader: its folder, or its database
    assignment: str | None = None  # what it is called there
    classroom: str | None = None  # of Classroom 50: ORGANISATION/CLASSROOM
    scale: bool = False  # convert points where the platform gives another number of them


@dataclass(frozen=True)
class Summary:
    """What came out."""

    written: Path
    filled: Filled
    names: Mapping[str, str]  # of the class's students, by the id, for a person

    @property
    def complete(self) -> bool:
        """Is everybody's grade in it? Whom the platform excuses needs none."""
        return not (self.filled.lost or self.filled.ungraded)

    def lines(self) -> list[str]:
        """For a person."""
        done = self.filled
        lines = [f"{self.written}: {len(done.exported):,} of {len(self.names):,} students' grades are written."]
        lines += self._list("not exported, though graded", done.lost)
        lines += self._list("without a grade", done.ungraded)
        lines += self._list("excused", dict.fromkeys(done.excused, ""))
        lines += [f"in the worksheet, and not in the class: {one}" for one in done.strangers]
        return [*lines, *(f"note: {note}" for note in done.notes)]

    def _list(self, what: str, found: Mapping[str, str]) -> list[str]:
        return [f"{what}: {self._shown(id_)}{f': {why}' if why else ''}" for id_, why in found.items()]

    def _shown(self, id_: str) -> str:
        name = self.names[id_]
        return id_ if name == id_ else f"{name} ({id_})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        done = self.filled
        return {
            "written": str(self.written),
            "complete": self.complete,
            "students": len(self.names),
            "exported": list(done.exported),
            "not_exported": dict(done.lost),
            "ungraded": dict(done.ungraded),
            "excused": list(done.excused),
            "strangers": list(done.strangers),
            "notes": list(done.notes),
        }


def export(place: Place, wanted: Wanted) -> Summary:
    """Write what is wanted of the class whose gradebook is at `place`. An earlier export there is replaced, as a whole.

    Raises ClassError, GradebookError, ExportError, InboxError and FileError, and leaves what was there.
    """
    _check(wanted)
    with opened(place) as (book, settings):
        found = class_of(book, settings)
        names = {one.student.id: one.student.shown for one in found.standings}
        if wanted.to in _FILE:
            out = wanted.out or place.out / wanted.to
            return Summary(out, _folder(out, found, settings, wanted), names)
        out, filled = _file(place, found, settings, wanted)
        return Summary(out, filled, names)


def _check(wanted: Wanted) -> None:
    """Raises ExportError where what is said does not belong together."""
    given = {
        "--worksheet": (wanted.worksheet is not None, ("canvas", "moodle")),
        "--course": (wanted.course is not None, ("nbgrader",)),
        "--classroom": (wanted.classroom is not None, ("classroom50",)),
        "--assignment": (wanted.assignment is not None, ("canvas", "nbgrader", "classroom50")),
        "--scale": (wanted.scale, ("canvas", "moodle", "nbgrader")),
    }
    for option, (is_given, forms) in given.items():
        if is_given and wanted.to not in forms:
            raise ExportError(f"{option} is for {' and '.join(forms)}: leave it out for {wanted.to}.")
    if wanted.to in ("canvas", "moodle") and wanted.worksheet is None:
        where = "Grades, Export" if wanted.to == "canvas" else "the assignment, Download grading worksheet"
        raise ExportError(
            f"--worksheet FILE names the file to fill in, as {wanted.to.capitalize()} gives it ({where})."
        )
    if wanted.course is not None and wanted.out is not None:
        raise ExportError("--course writes into the course's gradebook, --out a CSV: give one of them.")


# -- one file ---------------------------------------------------------------------------------------------------------


def _file(place: Place, found: Class, settings: Settings, wanted: Wanted) -> tuple[Path, Filled]:
    late = settings.rubric.late
    due = late.due if late is not None else None
    if wanted.to == "nbgrader" and wanted.course is not None:
        return wanted.course, nbgrader.write(wanted.course, found, wanted.assignment, due, wanted.scale)
    if wanted.worksheet is None:
        filled = nbgrader.table(found, wanted.assignment or settings.rubric.title, due)
        out = wanted.out or place.out / "nbgrader.csv"
    else:
        out = wanted.out or place.out / f"{wanted.to}-{wanted.worksheet.name}"
        if _is_same(out, wanted.worksheet):
            raise ExportError(f"{out} is the worksheet itself, which stays as it is: name another file with --out.")
        if wanted.to == "canvas":
            filled = canvas.filled(wanted.worksheet, found, wanted.assignment, wanted.scale)
        else:
            filled = moodle.filled(wanted.worksheet, found, wanted.scale)
    if out.is_dir():
        raise ExportError(f"{out} is a folder: name a file with --out.")
    if any(_is_same(out, place.out / name) for name in _KEPT):
        raise ExportError(f"{out} is the class's own, and would be lost: name another file with --out.")
    write_whole(out, filled.content)
    return out, filled


def _is_same(one: Path, other: Path) -> bool:
    """Are they one file, whatever its names are?"""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return one.resolve() == other.resolve()


# -- a folder with a file for each student ----------------------------------------------------------------------------


def _folder(out: Path, found: Class, settings: Settings, wanted: Wanted) -> Filled:
    made_of = _maker(found, settings, wanted)
    missing = ungraded(found.standings)
    documents, lost = {}, {}
    for one in found.standings:
        if one.student.id in missing:
            continue
        try:
            documents[one.student.id] = made_of(one)
        except ExportError as error:
            lost[one.student.id] = str(error)
    _replace(out, _FILE[wanted.to], documents)
    done = [one for one in found.standings if one.student.id in documents]
    notes = tuple(_in_whole(done)) if wanted.to == "classroom50" else ()
    return Filled(exported=tuple(documents), lost=lost, ungraded=missing, notes=notes)


def _maker(found: Class, settings: Settings, wanted: Wanted) -> Callable[[Standing], dict[str, Any]]:
    """From a standing to its document."""
    now = datetime.now(timezone.utc)
    if wanted.to == "github":
        return github.result
    if wanted.to == "gradescope":
        return lambda one: gradescope.results(one, settings.rubric, now, _seconds(one))
    organisation, _, classroom = (wanted.classroom or "").partition("/")
    if not (organisation and classroom and wanted.assignment):
        raise ExportError(
            "Classroom 50 compares a result with its repository: say --classroom ORGANISATION/CLASSROOM and "
            "--assignment NAME, both as its pages have them."
        )
    assignment = wanted.assignment
    in_groups = any(one.delivery is not None and one.delivery.partners for one in found.standings)
    kind: classroom50.AssignmentType = "group" if in_groups else "individual"

    def run(one: Standing) -> classroom50.Run:
        """Which submission that is, as far as a class's gradebook knows it: not the commit, only when it was made."""
        delivery, owner = one.delivery, one.student.id
        if delivery is None or delivery.submitted is None:
            raise ExportError("nobody says when it was handed in, which Classroom 50 needs to know")
        commits = f"{_HOST}/{organisation}/{classroom}-{assignment}-{owner}/commits"
        releases, moment = commits.replace("/commits", "/releases"), delivery.submitted
        tag = classroom50.tag(moment)
        return classroom50.Run(classroom, assignment, kind, owner, tag, commits, releases, commits, moment, now)

    return lambda one: classroom50.result(one, run(one))


def _seconds(one: Standing) -> float:
    """That the grading took; 0 where there was none."""
    return float(one.result.get("provenance", {}).get("seconds", 0.0))


def _in_whole(standings: Iterable[Standing]) -> Iterator[str]:
    """What whole numbers, and none above the most, change."""
    points = [(exact(one.points), exact(one.max_points)) for one in standings]
    if rounded := sum(has != whole_points(has) for has, _ in points):
        yield f"{rounded:,} of the scores are rounded to whole points."
    if above := sum(has > most for has, most in points):
        yield f"{above:,} have more than all points, by hand: Classroom 50 takes no more."


def _replace(out: Path, name: str, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Put a folder for each student in the place of `out`, which has to be new, empty, or an earlier export.

    Raises ExportError, FileError.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(f"{out} is no folder: name another one with --out.")
    others = [entry.name for entry in sorted(out.iterdir()) if not _is_student(entry, name)] if out.is_dir() else []
    if others:
        raise ExportError(
            f"{out} holds something else ({harmless(others[0])}), which would be lost: name another folder with --out."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep(out.parent, out.name)
        part = out.parent / part_name(out.name)
        part.mkdir()
        try:
            for student, document in documents.items():
                folder = part / page_name(student).removesuffix(".html")
                folder.mkdir()
                text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
                (folder / name).write_bytes(f"{text}\n".encode("utf-8", "replace"))
            if out.exists():
                shutil.rmtree(out)
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise FileError(f"{out} cannot be written: {error.strerror or error}") from error


def _is_student(entry: Path, name: str) -> bool:
    """Is it a folder that an earlier export has made?"""
    return entry.is_dir() and not entry.is_symlink() and [one.name for one in entry.iterdir()] == [name]
