"""How does each platform name what students hand in? One function for each, from a folder to what lies in it.

    moodle        Anna Müller_4711_assignsubmission_file_/net.lab       or flat: …_assignsubmission_file_net.lab
    canvas        muelleranna_LATE_1234_56789_net-1.lab                 name, mark, user, file, the student's own name
    gradescope    submission_123/net.lab, submission_metadata.yml
    nbgrader      submitted/amueller/assignment/{net.ipynb, timestamp.txt}
    repositories  assignment-amueller/.git
    folders       amueller/net.lab, or amueller.lab

Names and files are the students' and hostile (lab/grading/_entries.py).
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from lab._files import FileError, read_regular
from lab._terminal import printable
from lab.grading._commits import CommitError, commits
from lab.grading._entries import GRADABLE, entries, entries_if_any, files_under
from lab.grading._gradescope import METADATA, Submission, read_metadata
from lab.grading._moments import Clock
from lab.grading._worksheet import Worksheet, worksheet_beside
from lab.grading.roster import Claim, InboxError, same


@dataclass(frozen=True)
class Found:
    """One hand-in, and whom it may belong to."""

    claims: tuple[Claim, ...]  # of each who handed it in
    files: Mapping[str, Path]
    submitted: datetime | None = None
    attempt: int = 1
    late: bool = False
    claimed: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class Layout:
    """All that lies in a folder."""

    found: list[Found] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)  # for a person: what belongs to nobody, and why
    notes: list[str] = field(default_factory=list)
    worksheet: Worksheet | None = None


def _left_out(names: list[str]) -> list[str]:
    return [f"{_shown(name)} is hidden, a link, a pipe or a device: left out." for name in names]


def _loose(files: Iterable["os.DirEntry[str]"], beside: str) -> list[str]:
    """What to say of files that lie beside the students' own; of tables nothing."""
    names = (one.name for one in files if not one.name.endswith(".csv"))
    return [f"{_shown(name)} lies beside {beside}: put it into one, or away." for name in names]


def _shown(name: str) -> str:
    return repr(printable(name))


def _own(name: str) -> str:
    """What is left of a file's name without what the platform added: again a file's name."""
    return f"{name}.file" if set(name) == {"."} else printable(name)


def _merged(parts: Iterable[tuple[str, Mapping[str, Path], tuple[str, ...]]]) -> list[Found]:
    """Hand-ins of one student of what lies in several places; what is there twice is another hand-in.

    parts: where it was found, its files, and notes.
    """
    merged: list[Found] = []
    for shown, files, notes in parts:
        taken = {name.partition("/")[0] for name in merged[-1].files} if merged else set()
        if not merged or taken & {name.partition("/")[0] for name in files}:
            merged.append(Found((Claim(shown),), {}))
        last = merged[-1]
        merged[-1] = replace(last, files={**last.files, **files}, notes=(*last.notes, *notes))
    return merged


# -- Moodle -----------------------------------------------------------------------------------------------------------

_WHO = re.compile(r"(?:(?P<name>.+)[_ ])?(?P<number>\d+)", re.DOTALL)
_WHAT = re.compile(r"[a-z]+(?:_(?P<file>.*))?", re.DOTALL)


def in_moodle(name: str) -> tuple[str, str, str] | None:
    """Of a name that Moodle gave: whose it is, Moodle's number, and the file, where it is flat; None of any other.

    The first `_assignsubmission_` counts: a student's file may be called so, too. A team may have no number.
    """
    who, mark, what = name.partition("_assignsubmission_")
    match = _WHAT.fullmatch(what)
    if not who or not mark or match is None:
        return None
    numbered = _WHO.fullmatch(who)
    return ((numbered["name"] or "", numbered["number"]) if numbered else (who, "")) + (match["file"] or "",)


def moodle(folder: Path, clock: Clock) -> Layout:
    """Moodle's "Download all submissions", in folders or flat, with the grading worksheet where it lies beside."""
    folders, files, others = entries(folder)
    sheet = worksheet_beside(folder, clock)
    layout = Layout(notes=_left_out(others), worksheet=sheet)
    parts: dict[tuple[str, str], list[tuple[str, Mapping[str, Path], tuple[str, ...]]]] = {}
    for entry in [*folders, *files]:
        name, number, file = in_moodle(entry.name) or ("", "", "")
        if not (name or number) or (entry.is_file() and not file):
            if not entry.name.endswith(".csv"):
                layout.strays.append(f"{_shown(entry.name)} has no name that Moodle gives: put it where it belongs.")
            continue
        given, notes = files_under(Path(entry.path)) if entry.is_dir() else ({_own(file): Path(entry.path)}, ())
        parts.setdefault((name, number), []).append((entry.name, given, notes))
    for (name, number), places in parts.items():
        for one in _merged(places):
            claim = Claim(printable(one.claims[0].shown), number=number, name=name)
            if sheet is None:
                layout.found.append(replace(one, claims=(_unnamed(claim),)))
                continue
            claim, moment, late, told = sheet.about(claim)
            layout.found.append(replace(one, claims=(claim,), submitted=moment, late=late, notes=(*one.notes, *told)))
    if sheet is not None:
        layout.notes += sheet.notes
    else:
        layout.notes.append(
            "Moodle's folders name no time: put the assignment's grading worksheet (CSV) beside them, and it is read."
        )
    return layout


_HIDDEN = {"participant", "teilnehmer/in", "teilnehmerin", "participante", "partecipante", "deelnemer"}


def _unnamed(claim: Claim) -> Claim:
    """The same without the word that stands in the place of a name that is hidden."""
    return replace(claim, name="") if same(claim.name) in _HIDDEN else claim


# -- Canvas -----------------------------------------------------------------------------------------------------------

# As Canvas's content_zipper.rb writes it. A name is letters and digits; a file's may have all of this again: the first
# match counts.
_CANVAS = re.compile(
    r"(?P<name>[^\s_.-][^\s.-]*?)(?:_(?P<late>LATE|late))?_(?P<user>\d+)_"
    r"(?:(?P<number>\d+)_(?P<file>.+)|(?P<text>text|link)\.html)",
    re.DOTALL,
)
_CANVAS_HIDDEN = re.compile(
    r"(?:(?P<late>LATE|late)_)?(?P<user>anon_[A-Za-z0-9]+)_(?:(?P<number>\d+)_(?P<file>.+)|(?P<text>text|link)\.html)",
    re.DOTALL,
)
_AGAIN = re.compile(r"(?P<stem>.+)-(?P<times>\d{1,3})(?P<suffix>\.[^.]+)?", re.DOTALL)


def in_canvas(name: str) -> re.Match[str] | None:
    """The parts of a name that Canvas gave."""
    return _CANVAS_HIDDEN.fullmatch(name) or _CANVAS.fullmatch(name)


def canvas(folder: Path, clock: Clock) -> Layout:
    """Canvas's "Download Submissions". A file that is handed in again gets -1, -2, … behind its name."""
    folders, files, others = entries(folder)
    layout = Layout(notes=_left_out(others))
    users: dict[tuple[str, str], list[tuple[re.Match[str], Path]]] = {}
    for entry in [*folders, *files]:
        match = in_canvas(entry.name) if entry.is_file() else None
        if match is not None:
            users.setdefault((match.groupdict().get("name") or "", match["user"]), []).append((match, Path(entry.path)))
        elif not entry.name.endswith(".csv"):
            layout.strays.append(f"{_shown(entry.name)} has no name that Canvas gives: put it where it belongs.")
    bare = {_file(match).casefold() for those in users.values() for match, _ in those}
    for (name, user), those in users.items():
        number = "" if user.startswith("anon_") else user
        claim = Claim(printable(those[0][1].name), number=number, squeezed=name, texts=() if number else (user,))
        for attempt, given in _attempts(those, bare).items():
            late = any(match["late"] for match, path in those if path in given.values())
            layout.found.append(Found((claim,), given, attempt=attempt, late=late))
    return layout


def _file(match: re.Match[str]) -> str:
    return _own(match["file"] or f"{match['text']}.html")


def _attempts(those: list[tuple[re.Match[str], Path]], bare: set[str]) -> dict[int, dict[str, Path]]:
    """One student's files, by attempt.

    "net-1.lab" is the second attempt of "net.lab" where this or another student handed in a file called so: by itself,
    "lab-1.ipynb" is a name like any other. bare: the names of all files of the class.
    """
    versions: dict[str, dict[int, Path]] = {}
    for match, path in sorted(those, key=lambda one: int(one[0]["number"] or 0)):
        name, times = _file(match), 0
        again = _AGAIN.fullmatch(name)
        if again is not None and f"{again['stem']}{again['suffix'] or ''}".casefold() in bare:
            name, times = f"{again['stem']}{again['suffix'] or ''}", int(again["times"])
        same_file = versions.setdefault(name, {})
        while times in same_file:  # Canvas names no two files of a student's alike; two downloads in one folder may
            times += 1
        same_file[times] = path
    several = sorted({times for given in versions.values() if len(given) > 1 for times in given})
    last = max(times for given in versions.values() for times in given)
    found = {}
    for now in several or [last]:
        found[now + 1] = {
            name: given[max((times for times in given if times <= now), default=min(given))]
            for name, given in versions.items()
        }
    return found


# -- Gradescope -------------------------------------------------------------------------------------------------------


def gradescope(folder: Path, clock: Clock) -> Layout:
    """Gradescope's export: a folder for each submission, and who made it in a file beside."""
    folders, files, others = entries(folder)
    layout = Layout(notes=_left_out(others))
    submissions = read_metadata(folder / METADATA, clock)
    here = {entry.name: entry for entry in [*folders, *files]}
    earlier = {
        f"submission_{id_}": (one, place) for one in submissions.values() for place, id_ in enumerate(one.history)
    }
    for name, entry in here.items():
        if name == METADATA or name.endswith(".csv"):
            continue
        if name not in submissions and name not in earlier:
            layout.strays.append(f"{_shown(name)} is not in {METADATA}: download the export again.")
            continue
        one, place = (submissions[name], len(submissions[name].history)) if name in submissions else earlier[name]
        if one.claims:
            layout.found.append(_submission(entry, one, place))
        else:
            layout.strays.append(f"{_shown(name)} has no submitter in {METADATA}: look it up in Gradescope.")
    for name in sorted(submissions.keys() - here.keys()):
        layout.strays.append(f"{_shown(name)} is in {METADATA}, and not in the folder: download the export again.")
    return layout


def _submission(entry: os.DirEntry[str], one: Submission, place: int) -> Found:
    """place: among the student's attempts; behind the earlier ones it is that which counted when it was exported."""
    files, notes = ({printable(entry.name): Path(entry.path)}, ()) if entry.is_file() else files_under(Path(entry.path))
    moment = one.times[place] if place < len(one.history) else one.created
    claims = tuple(replace(claim, shown=printable(entry.name)) for claim in one.claims)
    return Found(claims, files, moment, attempt=place + 1, notes=notes)


# -- nbgrader ---------------------------------------------------------------------------------------------------------

TIMESTAMP = "timestamp.txt"


def nbgrader_tree(folder: Path) -> Path:
    """Where the students' folders are: `folder`, or `submitted` in it."""
    inside = folder / "submitted"
    return inside if inside.is_dir() and not inside.is_symlink() else folder


def nbgrader(folder: Path, clock: Clock, assignment: str | None) -> Layout:
    """submitted/STUDENT/ASSIGNMENT/. Raises InboxError where there are several assignments, and none is named."""
    tree = nbgrader_tree(folder)
    folders, files, others = entries(tree)
    layout = Layout(notes=_left_out(others))
    layout.strays += _loose(files, "the students' folders")
    of_student = {one.name: entries_if_any(Path(one.path)) for one in folders}
    names = sorted({one.name for inside, _, _ in of_student.values() for one in inside})
    if assignment is None and len(names) > 1:
        known = ", ".join(printable(name) for name in names[:8])
        raise InboxError(f"{tree} holds several assignments ({known}): say which one is graded.")
    if not names:
        return layout
    wanted = assignment or names[0]
    if wanted not in names:
        known = ", ".join(printable(name) for name in names[:8])
        raise InboxError(f"{tree} holds no hand-ins of the assignment {wanted!r}: there is {known}.")
    for student, (inside, loose, odd) in of_student.items():
        layout.strays += [
            f"{_shown(f'{student}/{name}')} lies beside the assignments' folders: put it into one, or away."
            for name in [*(one.name for one in loose), *odd]
        ]
        for one in inside:
            if one.name == wanted:
                layout.found.append(_collected(Path(one.path), student, clock))
    return layout


def _collected(folder: Path, student: str, clock: Clock) -> Found:
    files, notes = files_under(folder)
    stamp = files.pop(TIMESTAMP, None)
    moment = None
    if stamp is not None:
        with contextlib.suppress(OSError, FileError):
            moment = clock.read(read_regular(stamp, 4096).decode("utf-8", "replace"))
    if moment is None:
        notes = (*notes, f"{TIMESTAMP} is not there, or names no time.")
    return Found((Claim(printable(student), texts=(student,)),), files, moment, notes=notes)


# -- repositories, folders --------------------------------------------------------------------------------------------


def is_repository(folder: Path) -> bool:
    """Is it a clone, by what lies in it?"""
    return os.path.lexists(folder / ".git")


def repositories(folder: Path, clock: Clock, assignment: str | None) -> Layout:
    """A folder of clones: each with the date of the commit that is checked out, as the student's own clock had it."""
    folders, files, others = entries(folder)
    layout = Layout(notes=_left_out(others))
    layout.strays += _loose(files, "the repositories")
    users = _users([one.name for one in folders], assignment)
    with commits() as reader:
        for one in folders:
            path = Path(one.path)
            inside, notes = files_under(path, hidden=False)
            try:
                moment = reader.date(path) if is_repository(path) else None
                told = () if moment else ("it is no repository: nobody says when it was handed in.",)
            except CommitError as error:
                moment, told = None, (f"nobody says when it was handed in: {error}.",)
            claim = Claim(printable(one.name), texts=users[one.name])
            layout.found.append(Found((claim,), inside, moment, claimed=moment is not None, notes=(*notes, *told)))
    return layout


def _users(names: list[str], assignment: str | None) -> dict[str, tuple[str, ...]]:
    """Whose each repository may be: its name, and what is left of it without the part that all have in common.

    `lab1-jo-smith` is jo-smith's where all begin with `lab1-`, and never smith's. assignment: that part, where it is
    known.
    """
    if assignment is not None:
        ends = [(f"{assignment}{mark}", "") for mark in "-_"] + [("", f"{mark}{assignment}") for mark in "-_"]
        return {name: (*filter(None, (_between(name, *end) for end in ends)), name) for name in names}
    places = [place for place, c in enumerate(names[0]) if c in "-_"] if len(names) > 1 else []
    ends = [(names[0][: place + 1], "") for place in places] + [("", names[0][place:]) for place in places]
    shared = [end for end in ends if all(_between(name, *end) for name in names)]
    return {name: (name, *(_between(name, *end) for end in shared)) for name in names}


def _between(name: str, head: str, tail: str) -> str:
    """The name without both; empty where it has not both."""
    fits = name.startswith(head) and name.endswith(tail) and len(name) > len(head) + len(tail)
    return name[len(head) : len(name) - len(tail)] if fits else ""


def plain(folder: Path, clock: Clock) -> Layout:
    """A folder for each student, or a file."""
    folders, files, others = entries(folder)
    layout = Layout(notes=_left_out(others))
    for one in folders:
        inside, notes = files_under(Path(one.path))
        layout.found.append(Found((Claim(printable(one.name), texts=(one.name,)),), inside, notes=notes))
    for one in files:
        stem, suffix = os.path.splitext(one.name)
        if suffix.lower() in (*GRADABLE, ".zip"):
            name = printable(one.name)
            layout.found.append(Found((Claim(name, texts=(stem,)),), {name: Path(one.path)}))
        elif suffix.lower() != ".csv":
            layout.strays.append(f"{_shown(one.name)} is nothing that can be graded: no .lab, .ipynb or .py file.")
    return layout


Reader = Callable[[Path, Clock, "str | None"], Layout]
PLATFORMS: dict[str, Reader] = {
    "moodle": lambda folder, clock, _: moodle(folder, clock),
    "canvas": lambda folder, clock, _: canvas(folder, clock),
    "gradescope": lambda folder, clock, _: gradescope(folder, clock),
    "nbgrader": nbgrader,
    "repositories": repositories,
    "folders": lambda folder, clock, _: plain(folder, clock),
}
