"""A table that a teacher downloaded from the platform, and fills in: who of the class stands in which row of it?

Whoever is meant is found as in a roster (`lab/grading/roster.py`): by the id, login, address or number, and by the name
where nobody else has it and nothing contradicts. Nothing is guessed: two students in one row get nothing, nor does one
in two rows.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

from lab._terminal import harmless, printable
from lab.grading._cells import defused
from lab.grading.exports import ExportError
from lab.grading.exports._points import exact, why_no_grade
from lab.grading.roster import Claim, Roster, Table, same
from lab.grading.standing import Class, Standing, Student

_NUMBER = re.compile(r"[+-]?[\d.,\s]*\d%?|-")  # a lone "-" says that there is nothing
_IDS = ("id", "login", "email")
_DIGITS = 2
"""After the point, at most: what Canvas and Moodle show, and store or round to."""
CHANGED = "{:,} of the grades differ from those that the file had."


@dataclass(frozen=True)
class Filled:
    """A worksheet that was filled in, or what else was made for a class."""

    content: bytes = b""
    exported: tuple[str, ...] = ()  # the ids of those whose grade is in it
    lost: Mapping[str, str] = field(default_factory=dict)  # of whom it is not, though they have one: why
    ungraded: Mapping[str, str] = field(default_factory=dict)  # who has none: why
    excused: tuple[str, ...] = ()  # the ids of those whom the platform excuses
    strangers: tuple[str, ...] = ()  # who stands in the worksheet, and not in the class
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matches:
    """Who is in which row."""

    rows: Mapping[str, int]  # by the student's id
    lost: Mapping[str, str]  # who is in none: why
    free: tuple[int, ...]  # the rows that nobody of the class is in
    unknown: frozenset[str] = frozenset()  # of those in `lost` whom nothing fits


def match(where: Path, rows: Sequence[tuple[str, Mapping[str, str]]], students: Sequence[Student]) -> Matches:
    """Find each student's row. where: the table, for messages.

    rows: what a message calls each ("line 3"), and what it has by kind, as `Table.known` gives it.
    """
    known, kind = _comparable([row for _, row in rows], students)
    named = [Student(label, _name(row)) for label, row in rows]
    roster = Roster(where, zip(named, known, strict=True))
    place_of = {student: place for place, student in enumerate(named)}
    found: dict[str, int] = {}
    lost: dict[str, str] = {}
    for student in students:
        who = roster.find(Claim(student.shown, (student.id,), email=student.email, name=student.name))
        if isinstance(who, str):
            lost[student.id] = harmless(who)
        elif why := _contradiction(known[place_of[who]], student, kind):
            lost[student.id] = why
        else:
            found[student.id] = place_of[who]
    shared = {place for place, count in Counter(found.values()).items() if count > 1}
    for id_ in [id_ for id_, place in found.items() if place in shared]:
        lost[id_] = f"another student of the class fits {rows[found.pop(id_)][0]} of {where.name}, too"
    taken = {*found.values(), *shared}
    free = tuple(place for place in range(len(rows)) if place not in taken)
    nobody = harmless(str(roster.find(Claim(""))))  # whole: a name may begin alike
    unknown = frozenset(id_ for id_, why in lost.items() if why == nobody)
    return Matches(found, lost, free, unknown)


def _comparable(
    rows: Sequence[Mapping[str, str]], students: Sequence[Student]
) -> tuple[Sequence[Mapping[str, str]], str]:
    """The rows, and in which of their columns the class's ids are.

    The platform's own numbers are left out where the ids are the school's: one may be another's by chance.
    """
    ids = {same(student.id) for student in students}
    fits = Counter(kind for row in rows for kind in (*_IDS, "number") if kind in row and same(row[kind]) in ids)
    kind = max((*_IDS, "number"), key=lambda one: fits[one])
    if kind != "number":
        rows = [{name: text for name, text in row.items() if name != "number"} for row in rows]
    return rows, kind if fits[kind] else ""


def _name(row: Mapping[str, str]) -> str:
    return row.get("name") or " ".join(row[kind] for kind in ("first", "last") if kind in row)


def _contradiction(row: Mapping[str, str], student: Student, kind: str) -> str:
    """Of a row that was found by the name alone, what says that it is somebody else's."""
    if same(student.id) in {same(row.get(one, "")) for one in (*_IDS, "number")}:
        return ""
    if student.email and row.get("email"):
        other = same(student.email) != same(row["email"])
        return f"the name fits, and the address is another one ({harmless(row['email'])})" if other else ""
    if kind and row.get(kind):
        return f"the name fits, and the id is another one ({harmless(row[kind])})"
    return ""


class Sheet:
    """The worksheet, as it was and as it becomes. Raises InboxError for what is no table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = Table(path)
        width = len(self.table.header)
        places = {line: place for place, (line, _) in enumerate(self.table.raw)}
        self.rows = [(places[line], row) for line, row in self.table.known() if row]  # of students
        for place, _ in self.rows:
            line, cells = self.table.raw[place]
            if len(cells) != width:
                raise ExportError(
                    f"{path}, line {line}: it has {len(cells)} cells, and the header {width}. Was it cut off, or "
                    "changed by hand? Download it again."
                )
        self.cells = [[*cells, *[""] * width][:width] for _, cells in self.table.raw]  # the header first

    def matches(self, found: Class) -> Matches:
        """Who is in which of `rows`."""
        rows = [(f"line {self.table.raw[place][0]}", row) for place, row in self.rows]
        return match(self.path, rows, [one.student for one in found.standings])

    def encoded(self, columns: Sequence[int], verbatim: Iterable[int]) -> bytes:
        """The file, of these columns. What a spreadsheet would take for a formula gets an apostrophe.

        verbatim: the columns that the platform reads back, whose cells stay to the letter.
        """
        kept = set(verbatim)
        rows = [[cells[n] if n in kept else guarded(cells[n]) for n in columns] for cells in self.cells]
        return self.table.dialect.encoded(rows)


def guarded(text: str) -> str:
    """The same text, and for no spreadsheet a formula."""
    return text if _NUMBER.fullmatch(text.lstrip()) else defused(text)


def shown(row: Mapping[str, str]) -> str:
    """Whom a row is about, for a person."""
    name = _name(row)
    id_ = next((row[kind] for kind in (*_IDS, "number") if row.get(kind)), "")
    return printable(f"{name} ({id_})" if name and id_ else name or id_)


def ungraded(standings: Iterable[Standing]) -> dict[str, str]:
    """Who has no grade, and why."""
    return {one.student.id: why for one in standings if (why := why_no_grade(one))}


def without(told: Mapping[str, str], ids: Iterable[str]) -> dict[str, str]:
    """The same without these students."""
    left = set(ids)
    return {id_: why for id_, why in told.items() if id_ not in left}


# -- points -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Points:
    """How points are written in a worksheet."""

    ours: float  # to be had in the lab
    theirs: float | None = None  # on the platform; None: it does not say
    digits: int = 0  # after the point, at least
    comma: bool = False  # in the place of the point
    bonus: bool = True  # may somebody have more than there is?

    def written(self, points: float) -> str:
        """The worksheet's text."""
        rounded = Decimal(repr(self._scaled(points))).quantize(Decimal(1).scaleb(-_DIGITS), ROUND_HALF_UP)
        text = f"{rounded.normalize():f}"
        whole, _, rest = text.partition(".")
        text = f"{whole}.{rest.ljust(self.digits, '0')}" if rest or self.digits else whole
        return text.replace(".", ",") if self.comma else text

    def told(self, platform: str, found: Class, exported: Iterable[str]) -> Iterator[str]:
        """What a person has to know: that they are converted, or rounded. exported: the ids of those who have them."""
        ids = set(exported)
        standings = [one for one in found.standings if one.student.id in ids]
        if self.theirs is not None and self.theirs != self.ours:
            yield f"{self.ours:g} points in the lab are {self.theirs:g} in {platform}: all are converted."
        rounded = sum(number(self.written(one.points)) != self._scaled(one.points) for one in standings)
        if rounded:
            yield f"{rounded:,} of the points are rounded to {_DIGITS} digits after the point."

    def _scaled(self, points: float) -> float:
        if self.theirs is None or not self.ours:
            return exact(points)
        scaled = points * self.theirs / self.ours
        return exact(scaled if self.bonus else min(scaled, self.theirs))


def points_as(path: Path, most: str, ours: float, scale: bool) -> Points:
    """As a worksheet writes them whose most points are `most`; empty where it does not say.

    Raises ExportError where that is another number than the lab's, and the points are not to be scaled.
    """
    if not most.strip():
        return Points(ours)
    theirs = number(most)
    if theirs is None or theirs <= 0:
        raise ExportError(f"{path}: {harmless(most[:40])!r} is no number of points. Is it graded by a scale?")
    if theirs != ours and not scale:
        raise ExportError(
            f"{path} is for an assignment of {theirs:g} points, and the lab gives {ours:g}. Set it to {ours:g} points "
            f"on the platform and download it again; or add --scale, and {ours:g} points become {theirs:g}."
        )
    mark = max(most.rfind("."), most.rfind(","))
    digits = len(most.strip()) - mark - 1 if mark >= 0 else 0
    return Points(ours, theirs, min(digits, _DIGITS), mark >= 0 and most[mark] == ",")


def number(text: str) -> float | None:
    """Of a cell, with a point or a comma before the fraction; None where it is none."""
    text = text.strip().replace("\N{NO-BREAK SPACE}", "")
    if "," in text and "." in text:
        text = text.replace("," if text.rfind(",") < text.rfind(".") else ".", "")
    try:
        found = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None
    return float(found) if found.is_finite() else None


def most_points(found: Class) -> float:
    """To be had by everybody in the class."""
    return exact(max((one.max_points for one in found.standings), default=0.0))
