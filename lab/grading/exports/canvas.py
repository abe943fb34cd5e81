"""Canvas's gradebook, as the teacher exported it, filled in for one assignment.

    Student,ID,SIS User ID,SIS Login ID,Section,The 99.4 Lab (4711),Current Score
        Points Possible,,,,,133,(read only)
    "Müller, Anna",17,0042,anna@uni.example,Section 1,,88.2

What comes out has the columns that say who somebody is, and the assignment's. All others are left out: with them Canvas
would take back whatever was entered there since this file was made; what it does not find it leaves alone. A cell stays
as it was where the lab has no grade for it; `EX` (excused) and `N/A` (not assigned) stay in any case.
"""

import re
from pathlib import Path

from lab._terminal import harmless, printable
from lab.grading.exports import ExportError
from lab.grading.exports._sheet import CHANGED, Filled, Sheet, most_points, number, points_as, shown, ungraded, without
from lab.grading.roster import plain
from lab.grading.standing import Class

WHO = ("student", "lastname", "firstname", "id", "sis user id", "sis login id", "integration id", "root account",
       "section")  # fmt: skip
"""The columns that say who somebody is."""
_CALCULATED = re.compile(r"\b(current|final|override) (score|points|grade|status)\b")
_TITLE = re.compile(r"(?P<title>.*)\s\((?P<id>\d+)\)", re.DOTALL)
EXCUSED, NOT_ASSIGNED = "ex", "n/a"


def filled(path: Path, found: Class, assignment: str | None, scale: bool) -> Filled:
    """The class's points in the assignment's column of the gradebook at `path`.

    assignment: its title, with or without its id, or the id; None where there is only one. scale: convert points where
    Canvas gives another number of them. Raises ExportError, InboxError.
    """
    sheet = Sheet(path)
    who, column = _columns(sheet, assignment)
    points = points_as(path, _possible(sheet, column), most_points(found), scale)
    matches, missing = sheet.matches(found), ungraded(found.standings)
    exported, excused, changed, lost = [], [], 0, dict(matches.lost)
    for one in found.standings:
        id_ = one.student.id
        if id_ not in matches.rows:
            continue
        cells = sheet.cells[sheet.rows[matches.rows[id_]][0]]
        before = cells[column].strip()
        if before.casefold() == EXCUSED:
            excused.append(id_)
        elif id_ in missing:
            continue
        elif before.casefold() == NOT_ASSIGNED:
            lost[id_] = "Canvas has not assigned it to them (N/A)"
        else:
            after = points.written(one.points)
            changed += number(before) not in (None, number(after))
            cells[column] = after
            exported.append(id_)
    notes = [CHANGED.format(changed)] if changed else []
    notes += points.told("Canvas", found, exported)
    strangers = tuple(shown(sheet.rows[place][1]) for place in matches.free)
    verbatim = [column, *(place for place in who if plain(sheet.cells[0][place]) == "id")]
    content = sheet.encoded([*who, column], verbatim)
    lost, missing = without(lost, missing), without(missing, excused)
    return Filled(content, tuple(exported), lost, missing, tuple(excused), strangers, tuple(notes))


def _columns(sheet: Sheet, assignment: str | None) -> tuple[list[int], int]:
    """Those that say who somebody is; and the assignment's."""
    headers = [plain(header) for header in sheet.table.header]
    who = [place for place, header in enumerate(headers) if header in WHO]
    if "id" not in headers or "section" not in headers or not {"student", "lastname"} & set(headers):
        raise ExportError(
            f"{sheet.path} is no gradebook of Canvas: it has no columns Student, ID and Section. In Canvas: Grades, "
            "Export, Export Entire Gradebook."
        )
    behind = range(headers.index("section") + 1, len(headers))
    titles = {place: sheet.table.header[place] for place in behind if not _CALCULATED.search(headers[place])}
    titles = {place: title for place, title in titles.items() if not _is_read_only(sheet, place)}
    numbered = {place: match for place, title in titles.items() if (match := _TITLE.fullmatch(title))}
    wanted = " ".join(assignment.split()) if assignment is not None else None
    fitting = [
        place for place, match in numbered.items() if wanted in (None, match[0], match["title"].strip(), match["id"])
    ]
    if len(fitting) == 1:
        return who, fitting[0]
    names = ", ".join(repr(printable(match[0])) for match in numbered.values()) or "none"
    if not numbered or wanted is None:
        raise ExportError(
            f"{sheet.path} has the assignments {names}: say which with --assignment. One that is not there is made in "
            "Canvas first."
        )
    several = "more than one is" if fitting else "none is"
    raise ExportError(f"{sheet.path} has the assignments {names}: {several} {harmless(wanted or '')!r}.")


def _possible(sheet: Sheet, column: int) -> str:
    """The cell that says how many points there are; empty without one."""
    for cells in sheet.cells[1:]:
        if "points possible" in cells[0].casefold():
            return cells[column]
    return ""


def _is_read_only(sheet: Sheet, column: int) -> bool:
    return "read only" in plain(_possible(sheet, column))
