"""What every form says of points: how they are rounded, what is passed, and who has none."""

from decimal import ROUND_HALF_UP, Decimal

from lab._terminal import harmless
from lab.grading.standing import Item, Standing, counted

_DIGITS = 9  # after the point: what is left of 0.1 * 3 beyond that is no points


def exact(points: float) -> float:
    """Without what adding binary fractions leaves behind: 2.7 for 2.6999999999999997."""
    return round(points, _DIGITS) + 0.0  # no -0.0


def whole_points(points: float) -> int:
    """For a form that has no fractions: a half is rounded up. So no item's points come out above its most."""
    return int(Decimal(repr(exact(points))).quantize(Decimal(1), ROUND_HALF_UP))


def passed(item: Item) -> bool:
    """Where a person gave points, by those."""
    return item.points >= item.max_points if item.mark is not None else item.passed is True


def title_of(item: Item) -> str:
    """What a student knows it by, and no other item has: "exercise 3: out-size", "parameter count"."""
    return harmless(f"{item.title}: {item.name}" if item.kind == "exercise" else item.title)


def told(item: Item) -> str:
    """What was found, the advice, and what a person said of it."""
    by_hand = f"{item.mark.comment} ({item.mark.points:g} points, by hand)" if item.mark is not None else ""
    return harmless("\n".join(filter(None, [item.figure, item.message, by_hand])))


def trouble(one: Standing) -> tuple[str, str] | None:
    """For the student: where nothing was graded whose fault that is, and the message; None where something was."""
    if not counted(one):
        return "the grader", one.message or "Not graded yet."
    if one.state in ("student error", "missing"):
        return "the hand-in", one.message or "Nothing was handed in."
    return None


def why_no_grade(one: Standing) -> str:
    """For a person: why there is nothing to export; empty where there is a grade, as there is with points by hand.

    Whoever handed in nothing has none: what that is worth, the platform's own rules say.
    """
    if any(item.mark is not None for item in one.items):
        return ""
    if one.state == "missing":
        return "handed in nothing"
    if counted(one):
        return ""
    why = "is not graded yet" if one.state == "waiting" else "the grader failed, which is not their fault"
    return harmless(f"{why}: {one.message}" if one.message else why)
