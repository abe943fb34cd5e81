"""Moodle's offline grading worksheet, as the teacher downloaded it, filled in.

    Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (submission),
    Participant 4711,Anna Müller,anna@uni.example,Submitted for grading,,133.00,Yes,"Wednesday, 10 June 2026, 2:14 PM",
                                                               Last modified (grade),Feedback comments
                                                               -,

Headers and answers are in the teacher's language. What decides is therefore the order, which Moodle's code fixes:
grade, maximum, (state of the workflow,) can it be changed, times and texts, time of the grade, comments.

Moodle takes a number with a point or with its language's comma; a spreadsheet only with its own: written is what the
maximum has. A number above the maximum is left out by Moodle without a word, so none is written. Comments are HTML.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lab._terminal import harmless
from lab.grading.exports import ExportError
from lab.grading.exports._points import exact, passed, title_of
from lab.grading.exports._sheet import (
    CHANGED,
    Filled,
    Points,
    Sheet,
    most_points,
    number,
    points_as,
    shown,
    ungraded,
    without,
)
from lab.grading.roster import plain, same
from lab.grading.standing import Class, Standing

_YES = {"yes", "ja", "oui", "si", "sí", "sì", "sim", "tak", "ano", "áno", "kyllä", "evet", "igen", "da", "да", "так"}
_NO = {"no", "nein", "non", "não", "nee", "nie", "ne", "ei", "nej", "nei", "hayır", "nem", "nu", "нет", "ні"}
_CAN_CHANGE = {"grade can be changed", "bewertung kann geandert werden", "la calificacion puede ser cambiada"}
_COMMENTS = re.compile(r"comment|kommentar|coment|commenti|opmerking|feedback|kommentti|komentar|uwagi")
OURS = "The 99.4 Lab: "
"""How a comment begins that is written here, and may be replaced the next time."""
LONGEST = 300
"""Characters that are kept of what is said of one exercise or rule."""


@dataclass(frozen=True)
class _Places:
    """The columns."""

    grade: int
    most: int
    can_change: int
    comments: int | None


def filled(path: Path, found: Class, scale: bool) -> Filled:
    """The class's points and comments in the worksheet at `path`.

    scale: convert points where Moodle gives another number of them. Raises ExportError, InboxError.
    """
    sheet = Sheet(path)
    places = _places(sheet)
    rows = [sheet.cells[place] for place, _ in sheet.rows]
    points = replace(points_as(path, rows[0][places.most], most_points(found), scale), bonus=False)
    matches, missing = sheet.matches(found), ungraded(found.standings)
    exported, changed, capped, kept_comments, lost = [], 0, 0, 0, dict(matches.lost)
    for one in found.standings:
        id_ = one.student.id
        if id_ not in matches.rows or id_ in missing:
            continue
        cells = rows[matches.rows[id_]]
        if same(cells[places.can_change]) not in _YES:
            lost[id_] = (
                f"Moodle lets nobody change the grade ({harmless(cells[places.can_change][:40]) or 'it says so'})"
            )
            continue
        before, after = number(cells[places.grade]), points.written(one.points)
        changed += before not in (None, number(after))
        cells[places.grade] = after
        capped += one.points > points.ours
        exported.append(id_)
        kept_comments += not _commented(cells, places, one)
    strangers = tuple(shown(sheet.rows[place][1]) for place in matches.free)
    verbatim = {0, places.grade, *(() if places.comments is None else range(places.comments, len(rows[0])))}
    content = sheet.encoded(range(len(sheet.cells[0])), verbatim)
    notes = (*_notes(points, changed, capped, kept_comments, places), *points.told("Moodle", found, exported))
    return Filled(content, tuple(exported), without(lost, missing), missing, (), strangers, notes)


def _commented(cells: list[str], places: _Places, one: Standing) -> bool:
    """Write the comment; False where a person's own is there, which stays."""
    if places.comments is None:
        return True
    said = cells[places.comments].strip()
    if said not in ("", "-") and not said.startswith(OURS):
        return False
    cells[places.comments] = comment(one)
    return True


def comment(one: Standing) -> str:
    """What a student reads beside the grade, as HTML: the points, and each exercise and rule that lacks some."""
    lines = [f"{OURS}{exact(one.points):g} of {exact(one.max_points):g} points."]
    lines += filter(None, [one.message, one.late_by])
    for item in one.items:
        if item.mark is not None or not passed(item):
            told = item.mark.comment if item.mark is not None else item.message
            lines.append(f"{title_of(item)}: {exact(item.points):g} of {exact(item.max_points):g}. {told}")
    return "<br>".join(html.escape(_one_line(line)) for line in lines)


def _one_line(text: str) -> str:
    line = " ".join(harmless(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _notes(points: Points, changed: int, capped: int, kept: int, places: _Places) -> Iterator[str]:
    if changed:
        yield CHANGED.format(changed)
    if capped:
        yield f"{capped:,} have more than {points.ours:g} points, by hand: Moodle takes no more than its maximum."
    if kept:
        yield f"{kept:,} comments were there already, and stay."
    if places.comments is None:
        yield "the worksheet has no column for comments: turn on Feedback comments in the assignment's settings."


def _places(sheet: Sheet) -> _Places:
    """Raises ExportError where it is no worksheet."""
    table = sheet.table
    if table.kinds.get("number") != 0 or not table.word or len(table.header) < 5:
        raise ExportError(
            f"{sheet.path} is no grading worksheet of Moodle: its first column has no 'Participant 123'. In Moodle: "
            "the assignment, Submissions, Download grading worksheet (its settings have to allow one)."
        )
    headers = [plain(header) for header in table.header]
    known = [place for place, header in enumerate(headers) if header in _CAN_CHANGE]
    can_change = known or [place for place in range(3, len(headers)) if _is_yes_or_no(sheet, place)]
    if len(can_change) != 1:
        raise ExportError(
            f"{sheet.path}: which column says whether a grade can be changed? Expected is one with Yes or No in each "
            f"row, and there are {len(can_change)}. Download the worksheet again, with Moodle in English."
        )
    behind = range(can_change[0] - 1, 1, -1)
    most = next((place for place in behind if _is_maximum(sheet, place)), None)
    if most is None:
        raise ExportError(
            f"{sheet.path} has no maximum grade: the assignment is graded by a scale, or not at all. Give it points in "
            "Moodle, and download the worksheet again."
        )
    comments = [place for place in range(can_change[0] + 1, len(headers)) if _COMMENTS.search(headers[place])]
    return _Places(most - 1, most, can_change[0], comments[-1] if comments else None)


def _cells(sheet: Sheet, place: int) -> list[str]:
    return [sheet.cells[row][place].strip() for row, _ in sheet.rows]


def _is_yes_or_no(sheet: Sheet, place: int) -> bool:
    cells = {same(cell) for cell in _cells(sheet, place)}
    return bool(cells) and cells <= _YES | _NO


def _is_maximum(sheet: Sheet, place: int) -> bool:
    """The same number in each row."""
    cells = set(_cells(sheet, place))
    most = number(next(iter(cells), ""))
    return len(cells) == 1 and most is not None and most > 0
