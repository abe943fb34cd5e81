"""The grades of a class as one CSV: a row a student, a column an exercise and a rule."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lab.grading._cells import csv_text
from lab.grading.standing import Class, Item, Standing, counted

_BEFORE = (
    "student", "name", "email", "state", "points", "max_points", "late", "late_off", "attempt", "submitted", "files"
)  # fmt: skip
_AFTER = (
    "measured_accuracy", "measured_parameters", "measured_epochs", "mode", "seeds", "given_by_hand", "flags", "message",
    "lab", "judge", "torch", "machine", "seed", "date", "seconds", "digest",
)  # fmt: skip


def table(found: Class) -> str:
    """The CSV's text. What nobody knows is empty: of a grader's error the points, so that none is taken for a 0."""
    ids = {item.id: item.name for one in found.standings for item in one.items}
    shared = Counter(ids.values())
    heads = [name if shared[name] == 1 else one for one, name in ids.items()]
    rows: list[Sequence[Any]] = [[*_BEFORE, *heads, *_AFTER]]
    for one in found.standings:
        items = {item.id: item for item in one.items}
        earned = [_points(items.get(name), one) for name in ids]
        rows.append([*_before(one), *earned, *_after(one)])
    return csv_text(rows)


def _points(item: Item | None, one: Standing) -> Any:
    known = item is not None and (counted(one) or item.mark is not None or item.passed is not None)
    return item.points if item is not None and known else ""


def _before(one: Standing) -> Sequence[Any]:
    handed_in = one.delivery
    points, most = (one.points, one.max_points) if counted(one) else ("", one.max_points)
    who = (one.student.id, one.student.name, one.student.email, one.state, points, most, one.late_by, one.off)
    if handed_in is None:
        return (*who, "", "", "")
    submitted = handed_in.submitted.isoformat() if handed_in.submitted is not None else ""
    return (*who, handed_in.attempt, submitted, " ".join(handed_in.files))


def _after(one: Standing) -> Sequence[Any]:
    by_hand = "; ".join(
        f"{item.name}: {item.mark.points:g}, {item.mark.comment} ({item.mark.by})" for item in one.items if item.mark
    )
    made = one.result.get("provenance", {})
    measured = ("" if figure is None else figure for figure in (one.accuracy, one.parameters))
    return (
        *measured, one.epochs, one.judged.get("mode", ""),
        len(one.judged.get("seeds", ())) or "", by_hand, "; ".join(one.grade.get("flags", ())), one.message,
        *(made.get(name, "") for name in ("lab", "judge", "torch", "machine", "seed", "date", "seconds")),
        one.grade.get("digest", ""),
    )  # fmt: skip
