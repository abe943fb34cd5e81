"""Students of a class that does not exist: two exercises and two rules, 45 points."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from lab.grading.standing import Class, Delivery, Item, Mark, Standing, State, Student

MOST = 45.0
SUBMITTED = datetime(2026, 11, 28, 22, 5, 7, 123456, tzinfo=timezone.utc)
HOSTILE = '=HYPERLINK("http://example.org")\t"quoted", <script>alert(1)</script>\nnext \x1b[31m\u202e\ud800'
_ITEMS = (("exercise", "out-size", "exercise 1", 1.0), ("exercise", "accuracy", "exercise 2", 4.0),
          ("rule", "epochs", "epochs", 10.0), ("rule", "accuracy", "accuracy", 30.0))  # fmt: skip


def items(points: Sequence[float], message: str = "Try again.") -> tuple[Item, ...]:
    """Exercises and rules that earned so much."""
    return tuple(
        Item(kind, name, title, earned == most, earned, most, "15, limit 19" if kind == "rule" else "", message)
        for (kind, name, title, most), earned in zip(_ITEMS, points, strict=True)
    )


def marked(item: Item, points: float, comment: str = "Well tried.") -> Item:
    """The same with points by hand."""
    mark = Mark(item.id, points, comment, "T. Eacher", SUBMITTED)
    return Item(item.kind, item.name, item.title, item.passed, points, item.max_points, item.figure, item.message, mark)


def graded(
    id_: str, name: str = "", email: str = "", points: Sequence[float] = (1, 4, 10, 30), off: float = 0.0,
    late_by: str = "", message: str = "Try again.",
) -> Standing:  # fmt: skip
    """A student with a grade."""
    who = Student(id_, name, email)
    delivery = Delivery(who, {"net.py": Path("net.py")}, SUBMITTED)
    return Standing(who, "graded", "", delivery, items(points, message), off, late_by)


def without_grade(state: State, id_: str, name: str = "", message: str = "", email: str = "") -> Standing:
    """One who has none, or none but 0."""
    who = Student(id_, name, email)
    delivery = None if state == "missing" else Delivery(who, {"net.py": Path("net.py")}, SUBMITTED)
    nothing = tuple(
        Item(one.kind, one.name, one.title, None, 0.0, one.max_points, "", "") for one in items((0, 0, 0, 0))
    )
    return Standing(who, state, message, delivery, nothing)


def a_class(*standings: Standing) -> Class:
    """All of them."""
    return Class("The 99.4 Lab", standings)
