"""When did each hand in, and who are they? Moodle's offline grading worksheet, which lies beside the hand-ins.

    Identifier,Full name,ID number,Email address,Status,Grade,…,Last modified (submission),Last modified (grade),…
    Participant 4711,Anna Müller,0042,anna@uni.example,Submitted for grading,,…,"Wednesday, 10 June 2026, 2:14 PM",-,…

Its headers are in the teacher's language: a column is known by what stands in it where the header is not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from lab.grading._moments import Clock, moment_in
from lab.grading.roster import Claim, InboxError, Table, plain, same_name

_SUBMITTED = {
    "last modified submission",
    "zuletzt geandert abgabe",
    "derniere modification travail remis",
    "derniere modification remise",
    "ultima modificacion entrega",
    "ultima modifica consegna",
    "ultima modificacao envio",
    "laatst gewijzigd inzending",
}
_LATE = re.compile(r"\blate\b|verspätet|zu spät|en retard|de retraso|in ritardo|de atraso|te laat", re.IGNORECASE)


@dataclass(frozen=True)
class Worksheet:
    """What it says, by Moodle's number."""

    path: Path
    rows: Mapping[str, Mapping[str, str]]  # id, email, name, by kind
    times: Mapping[str, datetime]
    late: frozenset[str]
    word: str  # what stands for a name that is hidden: "Participant"
    notes: tuple[str, ...] = ()

    def about(self, claim: Claim) -> tuple[Claim, datetime | None, bool, tuple[str, ...]]:
        """Who that is with what the worksheet knows, when they handed in, whether late, and what to say of it.

        Nothing where the names are different: then it is another assignment's, whose numbers mean others.
        """
        hidden = same_name(claim.name) in ("", same_name(self.word))
        row = self.rows.get(claim.number)
        name = row.get("name", "") if row is not None else ""
        if row is None or (name and not hidden and same_name(name) != same_name(claim.name)):
            claim = replace(claim, name="" if hidden else claim.name)
            return claim, None, False, (f"{self.path.name} does not know it.",)
        name = name or ("" if hidden else claim.name)
        known = replace(claim, id=row.get("id", ""), email=row.get("email", ""), name=name)
        return known, self.times.get(claim.number), claim.number in self.late, ()


def worksheet_beside(folder: Path, clock: Clock) -> Worksheet | None:
    """The one in the folder, or else beside it. Raises InboxError where there are several."""
    for place in (folder, folder.resolve().parent):
        tables = [path for path in sorted(place.glob("*.csv")) if "_assignsubmission_" not in path.name]  # a student's
        found = [sheet for path in tables if (sheet := _worksheet(path, clock)) is not None]
        if len(found) > 1:
            named = ", ".join(sheet.path.name for sheet in found)
            raise InboxError(f"{place} holds several grading worksheets ({named}): keep that of this assignment.")
        if found:
            return found[0]
    return None


def _worksheet(path: Path, clock: Clock) -> Worksheet | None:
    """The worksheet at `path`; None where it is another table."""
    try:
        table = Table(path)
    except InboxError:
        return None
    if table.kinds.get("number") != 0 or not table.word:
        return None
    rows = {row["number"]: row for _, row in table.known() if "number" in row}
    column = _of_submissions(table)
    notes = [f"who handed in, and when, is read from {path.name}."]
    if column is None:
        notes = [f"{path.name}: no column is known to say when it was handed in; headers as in English are read."]
        return Worksheet(path, rows, {}, frozenset(), table.word, tuple(notes))
    times, late, unread, statuses = {}, set(), 0, _statuses(table)
    for line, cells in table.rows:
        number = re.sub(r"\D", "", cells[0])
        text = cells[column] if column < len(cells) else ""
        moment = clock.read(text)
        if moment is not None:
            times[number] = moment
        elif text not in ("", "-"):
            unread += 1
            notes += [f"{path.name}, line {line}: {text[:60]!r} is no time that is known here."] if unread == 1 else []
        if any(_LATE.search(cells[place]) for place in statuses if place < len(cells)):
            late.add(number)
    if unread > 1:
        notes.append(f"{path.name}: {unread} times could not be read.")
    return Worksheet(path, rows, times, frozenset(late), table.word, tuple(notes))


def _of_submissions(table: Table) -> int | None:
    """The column that says when it was handed in: by its header, else by its times, which stand before the grade's."""
    known = [place for place, header in enumerate(table.header) if plain(header) in _SUBMITTED]
    if known:
        return known[0]
    of_times = [place for place in range(len(table.header)) if _tells_times(table.column(place))]
    return of_times[0] if 1 <= len(of_times) <= 2 else None


def _tells_times(cells: list[str]) -> bool:
    return bool(cells) and all(moment_in(cell) is not None for cell in cells)


def _statuses(table: Table) -> list[int]:
    """Where it says that it was late."""
    return [
        place for place, header in enumerate(table.header) if plain(header) in ("status", "statut", "estado", "stato")
    ]
