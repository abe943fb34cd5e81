"""What does a class look like? All figures of its page, worked out here; `lab/grading/pages.py` only shows them.

A grader error is no 0: who has one, waits or is missing counts in no mean and no distribution; but for points that a
person gave.

An anonymous report holds neither names, ids, addresses nor files' names. Each student is a code in it, the same in
every report with the same key, and the rows' order tells nothing of the class's.
"""

import contextlib
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from statistics import fmean, median, quantiles
from typing import Any

from lab.grading.sameness import Likeness
from lab.grading.standing import NOT_HANDED_IN, Class, Item, Standing, State, counted
from lab.presets import Record, records

STATES: Mapping[State, str] = {
    "graded": "graded",
    "student error": "not graded, or in part alone, for a reason that lies in the hand-in",
    "grader error": "not graded yet, for a reason of ours: it costs no points",
    "waiting": "not graded yet",
    "missing": "nothing was handed in",
}
"""In the order in which they are listed, each in words."""
BINS = 20  # at most, of the distribution
LEADERS = 10  # rows of each board
MOST_FAILURES = 20
"""The most common of them are shown."""
LONGEST = 800  # characters of a message
WITHHELD = "…"  # in the place of what could tell who somebody is


@dataclass(frozen=True)
class Who:
    """A student, as the page calls them."""

    key: str  # tells two students apart, and nothing else: of an anonymous report the code
    name: str
    id: str = ""  # where it says more than the name
    is_known: bool = True  # has a page of feedback that may be named


@dataclass(frozen=True)
class Column:
    """An exercise or a rule, over the class."""

    kind: str
    name: str
    title: str
    label: str  # short, for the head of a column
    max_points: float
    passed: int  # students
    failed: int
    open: int
    mean: float | None  # points, of those of whom something is known


@dataclass(frozen=True)
class Cell:
    """What one student has of a column."""

    points: float
    max_points: float
    passed: bool | None
    by_hand: bool
    hint: str  # for who points at it: title, figure


@dataclass(frozen=True)
class Row:
    """One student in the table."""

    who: Who
    state: State
    message: str
    points: float | None  # None where they are not known
    max_points: float
    cells: tuple[Cell | None, ...]  # by column
    accuracy: float | None  # on the test images, 0..1
    parameters: int | None
    dataset: str  # whose images it was tested on; empty where it was not
    late: str
    flags: tuple[str, ...]
    flagged: int  # how many flags there are, also where the report withholds them
    keeps_rules: bool  # every rule of the assignment, and earns points by it
    by_hand: int  # items with points given by hand
    earlier: int  # results that were replaced


@dataclass(frozen=True)
class Bar:
    """A part of the distribution: points from `low` on, to below `high`; the last one with its end."""

    low: float
    high: float
    students: int


@dataclass(frozen=True)
class Spread:
    """How the points lie. Empty where nobody was graded."""

    bars: tuple[Bar, ...] = ()
    mean: float | None = None
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    full: int = 0  # students with all points
    counted: int = 0


@dataclass(frozen=True)
class Leader:
    """A place on a board. Equals share one."""

    place: int
    row: Row


@dataclass(frozen=True)
class Failure:
    """What goes wrong for several students in the same way."""

    title: str
    name: str  # an exercise's
    is_open: bool  # not tried yet, or not measured
    students: int
    share: float  # of those who were graded, 0..1
    example: str
    whose: Who


@dataclass(frozen=True)
class Trouble:
    """A reason of ours for which hand-ins are not graded."""

    message: str  # empty in an anonymous report
    who: tuple[Who, ...]


@dataclass(frozen=True)
class Copies:
    """Students whose hand-ins are alike."""

    who: tuple[Who, ...]
    what: tuple[str, ...]
    sure: bool


@dataclass(frozen=True)
class Report:
    """A class, as its page shows it."""

    title: str
    anonymous: bool
    students: int
    states: tuple[tuple[State, str, int], ...]  # each with its meaning, and how many students are in it
    max_points: float
    spread: Spread
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    frontier: tuple[Row, ...]  # nobody has fewer parameters and is as accurate; from small to large
    most_accurate: tuple[Leader, ...]
    smallest: tuple[Leader, ...]
    records: tuple[Record, ...]  # the lab's, where the class has the same images
    limits: Mapping[str, float]
    failures: tuple[Failure, ...]
    other_failures: int  # kinds of them that are left out
    troubles: tuple[Trouble, ...]
    copies: tuple[Copies, ...]
    in_copies: int  # students, also where the report withholds who
    unmatched: tuple[str, ...]
    unmatched_count: int
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    def of(self, state: State) -> list[Row]:
        """The rows in this state."""
        return [row for row in self.rows if row.state == state]

    def count(self, state: State) -> int:
        """Students in this state."""
        return next(number for name, _, number in self.states if name == state)


def report_of(found: Class, anonymous: bool = False, copies: Sequence[Likeness] = (), key: bytes = b"") -> Report:
    """All figures of the class's page.

    anonymous: nothing in it tells who somebody is. key: what the codes are made with; who has it, or knows that there
    is none, can work out which code is whose.
    """
    names = _Codes(found, key) if anonymous else _Names(found)
    columns = _columns(found.standings)
    rows = [_row(standing, columns, names) for standing in found.standings]
    if anonymous:  # the class's own order is often that of the names
        rows.sort(key=lambda row: (-(row.points if row.points is not None else -1.0), row.who.key))
    failures = _failures(found.standings, names)
    alike = [_copies(one, names) for one in copies]
    counts = Counter(row.state for row in rows)
    return Report(
        title=found.title,
        anonymous=anonymous,
        students=len(rows),
        states=tuple((state, meaning, counts[state]) for state, meaning in STATES.items()),
        max_points=max((standing.max_points for standing in found.standings), default=0.0),
        spread=_spread(rows),
        columns=tuple(columns),
        rows=tuple(rows),
        frontier=_frontier(rows),
        most_accurate=_board(rows, lambda row: (-(row.accuracy or 0.0), row.parameters or 0)),
        smallest=_board(rows, lambda row: (row.parameters or 0, -(row.accuracy or 0.0))),
        records=tuple(records()) if {row.dataset for row in rows} <= {"mnist", ""} else (),
        limits=dict(found.limits),
        failures=tuple(failures[:MOST_FAILURES]),
        other_failures=len(failures[MOST_FAILURES:]),
        troubles=tuple(_troubles(rows)),
        copies=() if anonymous else tuple(alike),
        in_copies=len({who.key for one in alike for who in one.who}),
        unmatched=() if anonymous else tuple(found.unmatched),
        unmatched_count=len(found.unmatched),
        notes=() if anonymous else tuple(found.notes),
        provenance=provenance_lines(found.provenance),
    )


def code_of(student: str, key: bytes) -> str:
    """What an anonymous report calls a student: the same for the same id and key."""
    drawn = int.from_bytes(hmac.digest(key, student.encode("utf-8", "surrogatepass"), hashlib.sha256)[:5], "big")
    return "".join(_LETTERS[drawn >> 5 * place & 31] for place in range(6))


_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without those that look like others


# -- who --------------------------------------------------------------------------------------------------------------


class _Names:
    """The students, by their names."""

    def __init__(self, found: Class) -> None:
        self._who = {}
        for standing in found.standings:
            one = standing.student
            self._who[one.id] = Who(one.id, one.shown, one.id if one.name and one.id != one.name else "")

    def who(self, student: str) -> Who:
        """An id's student; one who is not in the class is called by it."""
        return self._who.get(student, Who(student, student, is_known=False))

    def text(self, message: str) -> str:
        """A message of or about a student, as the page may show it."""
        return _cut(message)

    def own(self, texts: Iterable[str]) -> tuple[str, ...]:
        """What regards one student alone."""
        return tuple(map(_cut, texts))


class _Codes(_Names):
    """The students, by codes; and texts without what tells who somebody is."""

    def __init__(self, found: Class, key: bytes) -> None:
        super().__init__(found)
        self._key = key
        said = sorted(identifying(found.standings), key=len, reverse=True)
        self._said = re.compile("|".join(map(_as_word, said)), re.IGNORECASE) if said else None

    def who(self, student: str) -> Who:
        code = code_of(student, self._key)
        return Who(code, code, is_known=False)

    def text(self, message: str) -> str:
        return _cut(self._said.sub(WITHHELD, message) if self._said else message)

    def own(self, texts: Iterable[str]) -> tuple[str, ...]:
        return ()


def identifying(standings: Iterable[Standing]) -> set[str]:
    """Every text that tells who somebody of these is: names and their parts, ids, addresses, files' names."""
    found: set[str] = set()
    for standing in standings:
        partners = standing.delivery.partners if standing.delivery else ()
        for one in (standing.student, *partners):
            found |= {one.id, one.name, one.email, one.email.partition("@")[0]}
            found |= {part for part in re.split(r"[\s,;]+", one.name) if len(part) >= _SHORTEST}
        for name in (*(standing.delivery.files if standing.delivery else ()), str(standing.grade.get("name", ""))):
            path = PurePosixPath(name)
            found |= {name, *(part for part in (*path.parts, path.stem) if len(part) >= _SHORTEST)}
    return {text.strip() for text in found if text.strip()}


_SHORTEST = 3  # characters of a part of a name: shorter ones are everywhere


def _as_word(text: str) -> str:
    """A pattern for the text where it is no part of a longer word."""
    start = r"(?<!\w)" if re.match(r"\w", text) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", text) else ""
    return f"{start}{re.escape(text)}{end}"


def _cut(message: str) -> str:
    text = message.strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


# -- the table --------------------------------------------------------------------------------------------------------


def _columns(standings: Sequence[Standing]) -> list[Column]:
    """Every exercise and rule that somebody has; in the order of whoever has the most, others behind."""
    found: dict[str, Item] = {}
    for standing in sorted(standings, key=lambda standing: -len(standing.items)):
        for item in standing.items:
            found.setdefault(item.id, item)
    exercises_first = sorted(found.values(), key=lambda item: item.kind == "rule")
    return [_column(item, standings) for item in exercises_first]


def _column(item: Item, standings: Sequence[Standing]) -> Column:
    same = [one for standing in standings for one in known_items(standing) if one.id == item.id]
    number = re.fullmatch(r"exercise (\w+)", item.title)
    outcomes = Counter(one.passed for one in same)
    return Column(
        item.kind,
        item.name,
        item.title,
        f"Ex. {number[1]}" if number else item.title,
        max((one.max_points for one in same), default=item.max_points),
        outcomes[True],
        outcomes[False],
        outcomes[None],
        fmean(one.points for one in same) if same else None,
    )


def _row(standing: Standing, columns: Sequence[Column], names: _Names) -> Row:
    items = {item.id: item for item in known_items(standing)}
    rules = [item for item in standing.items if item.kind == "rule"]
    flags = flags_of(standing)
    own = names.own([standing.message])
    return Row(
        who=names.who(standing.student.id),
        state=standing.state,
        message=own[0] if own else "",
        points=standing.points if counted(standing) else None,
        max_points=standing.max_points,
        cells=tuple(_cell(items.get(f"{column.kind}:{column.name}"), names) for column in columns),
        accuracy=standing.accuracy,
        parameters=standing.parameters,
        dataset=str(standing.evidence.get("dataset") or ""),
        late=standing.late_by,
        flags=names.own(flags),
        flagged=len(flags),
        keeps_rules=bool(rules) and all(one.passed for one in rules) and any(one.points > 0 for one in rules),
        by_hand=sum(item.mark is not None for item in standing.items),
        earlier=standing.earlier,
    )


def known_items(standing: Standing) -> list[Item]:
    """The items of which something is known: of a network that cannot be trained the exercises, what has a mark."""
    if standing.state == "graded":
        return [*standing.items]
    if standing.state == "student error" and any(item.passed is not None for item in standing.items):
        return [item for item in standing.items if item.kind == "exercise" or item.passed is not None or item.mark]
    return [item for item in standing.items if item.mark]


def _cell(item: Item | None, names: _Names) -> Cell | None:
    if item is None:
        return None
    hint = ": ".join(filter(None, [item.title, *names.own([item.figure])]))
    return Cell(item.points, item.max_points, item.passed, item.mark is not None, hint)


def flags_of(standing: Standing) -> list[str]:
    """What is odd about a hand-in: the grade's flags, its reasons for an audit, what its delivery says."""
    notes = standing.delivery.notes if standing.delivery else ()
    return [*standing.grade.get("flags", ()), *standing.judged.get("suspicions", ()), *notes]


def provenance_lines(made: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a result was made with, as pairs of a label and a text; what is not known is left out."""
    labels = {
        "lab": "lab",
        "judge": "judge",
        "mode": "mode",
        "seed": "seed",
        "torch": "PyTorch",
        "python": "Python",
        "machine": "machine",
        "date": "date",
        "seconds": "seconds",
    }
    found = [(label, made.get(name)) for name, label in labels.items()]
    return tuple((label, _said(label, value)) for label, value in found if value not in (None, ""))


def _said(label: str, value: Any) -> str:
    """For a person."""
    if isinstance(value, float):
        return f"{value:.1f}"
    with contextlib.suppress(ValueError):
        if label == "date":
            return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M %Z}".strip()
    return str(value)


# -- figures ----------------------------------------------------------------------------------------------------------


def _spread(rows: Sequence[Row]) -> Spread:
    points = [row.points for row in rows if row.points is not None and row.state != "missing"]
    if not points:
        return Spread()
    most = max(row.max_points for row in rows)
    width = _width(max(most, *points))
    number = max(1, -int(-max(most, *points) // width))
    placed = Counter(min(int(one // width), number - 1) for one in points)
    low, _, high = quantiles(points, n=4, method="inclusive") if len(points) > 1 else (points[0],) * 3
    return Spread(
        bars=tuple(Bar(width * place, width * (place + 1), placed[place]) for place in range(number)),
        mean=fmean(points),
        median=median(points),
        quartiles=(low, high),
        full=sum(row.points is not None and row.max_points > 0 and row.points >= row.max_points for row in rows),
        counted=len(points),
    )


def _width(most: float) -> float:
    """Of a bar, in points: a round number, so that there are no more bars than `BINS`."""
    width = 0.5
    for factor in (2, 2.5, 2) * 8:
        if most / width <= BINS:
            break
        width *= factor
    return width


def _frontier(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Those that nobody beats in both; of equals the first."""
    best, found = 0.0, []
    measured = [row for row in rows if row.accuracy is not None and row.parameters is not None]
    for row in sorted(measured, key=lambda row: (row.parameters or 0, -(row.accuracy or 0.0))):
        if row.accuracy is not None and row.accuracy > best:
            best = row.accuracy
            found.append(row)
    return tuple(found)


def _board(rows: Sequence[Row], order: Callable[[Row], tuple[float, float]]) -> tuple[Leader, ...]:
    """The first of those that keep every rule."""
    able = [row for row in rows if row.keeps_rules and row.accuracy is not None and row.parameters is not None]
    able.sort(key=order)
    places = [order(row) for row in able]
    return tuple(Leader(places.index(order(row)) + 1, row) for row in able[:LEADERS])


# -- what goes wrong --------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    item: Item | None
    messages: list[tuple[str, str]] = field(default_factory=list)  # message, and whose


def _failures(standings: Sequence[Standing], names: _Names) -> list[Failure]:
    """The commonest first. Points that were given by hand end the matter."""
    groups: dict[tuple[str, str], _Group] = {}
    for standing in standings:
        if standing.state == "student error":
            group = groups.setdefault(("", normalised(standing.message)), _Group(None))
            group.messages.append((standing.message, standing.student.id))
        for item in known_items(standing):
            if not item.passed and item.mark is None and item.message != NOT_HANDED_IN:
                group = groups.setdefault((item.id, normalised(item.message)), _Group(item))
                group.messages.append((item.message, standing.student.id))
    looked_at = sum(standing.state in ("graded", "student error") for standing in standings)
    found = [_failure(group, looked_at, names) for group in groups.values()]
    return sorted(found, key=lambda one: -one.students)


def _failure(group: _Group, looked_at: int, names: _Names) -> Failure:
    example = Counter(message for message, _ in group.messages).most_common(1)[0][0]
    whose = next(student for message, student in group.messages if message == example)
    item, students = group.item, len({student for _, student in group.messages})
    return Failure(
        title=item.title if item else "the whole hand-in",
        name=item.name if item and item.kind == "exercise" else "",
        is_open=item is not None and item.passed is None,
        students=students,
        share=students / looked_at,
        example=names.text(example),
        whose=names.who(whose),
    )


def normalised(message: str) -> str:
    """A message without what differs from one student to the next: numbers, what is quoted or in brackets."""
    first = message.strip().partition("\n")[0]
    for pattern in (r"`[^`]*`|'[^']*'|\"[^\"]*\"", r"\([^()]*\)|\[[^\][]*\]", r"\S*[/\\]\S*"):
        first = re.sub(pattern, "…", first)
    return " ".join(re.sub(r"[-−]?\d[\d,.]*", "#", first).lower().split())


def _troubles(rows: Sequence[Row]) -> list[Trouble]:
    """The grader's errors by their message; the commonest first."""
    found: dict[str, list[Who]] = {}
    for row in rows:
        if row.state == "grader error":
            found.setdefault(row.message, []).append(row.who)
    return sorted((Trouble(message, tuple(who)) for message, who in found.items()), key=lambda one: -len(one.who))


def _copies(alike: Likeness, names: _Names) -> Copies:
    return Copies(tuple(names.who(student) for student in alike.students), alike.what, alike.sure)
