"""Where does each student of a class stand? Data, which everything that is shown of a class is made of.

A `Delivery` is what somebody handed in and when; a `Standing` what it earned. Points that a person gave by hand stand
in the place of those that were worked out. What is late loses points as the rubric says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from lab.rules import Rubric

NOT_HANDED_IN = "not handed in: only the network was."
"""Of an exercise that others of the class have handed in."""
State = Literal["graded", "student error", "grader error", "waiting", "missing"]
"""graded; student error: nothing could be graded, and that is the hand-in's fault; grader error: it is ours, and costs
no points; waiting: not graded yet; missing: nothing was handed in."""


@dataclass(frozen=True, order=True)
class Student:
    """One of the class, as the roster has them; without a roster as the platform calls them."""

    id: str  # what tells two students apart; a file's name is made of it
    name: str = ""
    email: str = ""

    @property
    def shown(self) -> str:
        """For a person: the name where there is one."""
        return self.name or self.id


@dataclass(frozen=True)
class Delivery:
    """What a student handed in: one attempt."""

    student: Student
    files: Mapping[str, Path]  # where each file lies, by the name that the student gave it, with "/" for folders
    submitted: datetime | None = None  # aware; None where nobody says
    attempt: int = 1
    late: bool = False  # the platform's own mark
    claimed: bool = False  # is `submitted` what the student's side says (a commit's date), and not the platform?
    partners: tuple[Student, ...] = ()  # who handed it in together with this one
    notes: tuple[str, ...] = ()


def group_of(delivery: Delivery) -> str:
    """The id of one of those who handed it in together: the same for all of them."""
    return min(one.id for one in (delivery.student, *delivery.partners))


@dataclass(frozen=True)
class Mark:
    """Points that a person gave, with the reason."""

    item: str  # its id: `Item.id`
    points: float
    comment: str
    by: str  # who gave them
    given: datetime


@dataclass(frozen=True)
class Item:
    """An exercise or a rule of the assignment, as one student has it."""

    kind: Literal["exercise", "rule"]
    name: str
    title: str  # "exercise 3"; of a rule its name in words
    passed: bool | None  # None while it is open, or was not measured
    points: float  # that count: given by hand, else earned
    max_points: float
    figure: str  # of a rule: what was found, and the limit
    message: str  # what the check or the rule says, or what to do
    mark: Mark | None = None

    @property
    def id(self) -> str:
        """What tells it from all others: an exercise and a rule may share a name."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Standing:
    """One student: what was handed in, and what it earned."""

    student: Student
    state: State
    message: str = ""  # what went wrong, where something did
    delivery: Delivery | None = None
    items: tuple[Item, ...] = ()
    off: float = 0.0  # points that being late costs
    late_by: str = ""  # for a person: "1 day 3 hours late, 10 % off"; empty where it is in time
    result: Mapping[str, Any] = field(default_factory=dict)  # the job's result (`lab/grading/job.py`); {} without one
    earlier: int = 0  # results that this one has replaced

    @property
    def points(self) -> float:
        """What counts: of all items, less what being late costs."""
        return max(0.0, sum(item.points for item in self.items) - self.off)

    @property
    def max_points(self) -> float:
        """To be had."""
        return sum(item.max_points for item in self.items)

    @property
    def grade(self) -> Mapping[str, Any]:
        """`Grade.to_dict()`; {} where nothing was graded."""
        found: Mapping[str, Any] = self.result.get("grade", {})
        return found

    @property
    def judged(self) -> Mapping[str, Any]:
        """What the grade says of the network: mode, verdicts, accuracies, …; {} where none was judged."""
        found: Mapping[str, Any] = self.grade.get("assignment") or {}
        return found

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What the grade rests on, to be shown: layers, curve, mistakes."""
        found: Mapping[str, Any] = self.result.get("evidence", {})
        return found

    @property
    def accuracy(self) -> float | None:
        """On the test images, 0..1."""
        return mean_accuracy(self.grade)

    @property
    def parameters(self) -> int | None:
        """Of the network that was judged."""
        found = self.evidence.get("parameters")
        return None if found is None else int(found)

    @property
    def epochs(self) -> str:
        """Of its training, in the verdict's words; empty where no rule asks for them."""
        return next((str(one["figure"]) for one in self.judged.get("verdicts", ()) if one["rule"] == "epochs"), "")


def counted(one: Standing) -> bool:
    """Are the points known? Those of a grader's error, and of what waits, are not, unless a person gave some."""
    return one.state not in ("grader error", "waiting") or any(item.mark for item in one.items)


def mean_accuracy(grade: Mapping[str, Any]) -> float | None:
    """Of a `Grade.to_dict()` the accuracy on the test images, 0..1: the mean over its seeds; None without one."""
    found = (grade.get("assignment") or {}).get("accuracies")
    return fmean(found) if found else None


@dataclass(frozen=True)
class Class:
    """Everything that a page, a table or an export of a class is made of."""

    title: str  # the rubric's
    standings: Sequence[Standing]  # by student
    unmatched: Sequence[str] = ()  # what was found and belongs to nobody: for a person, a line each
    notes: Sequence[str] = ()
    limits: Mapping[str, float] = field(default_factory=dict)  # of the rubric's rules: {"parameter_count": 20000, …}
    provenance: Mapping[str, Any] = field(default_factory=dict)  # lab, judge, seed, mode, date


# -- from a result ----------------------------------------------------------------------------------------------------


def items_of(grade: Mapping[str, Any]) -> list[Item]:
    """The exercises and rules of a `Grade.to_dict()`, in their order."""
    exercises = [
        Item("exercise", one["name"], one["title"], one["passed"], one["points"], one["max_points"], "", one["message"])
        for one in grade.get("exercises", ())
    ]
    verdicts = (grade.get("assignment") or {}).get("verdicts", ())
    return [*exercises, *map(_rule, verdicts)]


def open_rules(rubric: Rubric) -> list[Item]:
    """The rubric's rules, of which nothing is known yet."""
    return [Item("rule", rule.name, rule.name.replace("_", " "), None, 0.0, rule.points, "", "nothing was judged.")
            for rule in rubric.rules]  # fmt: skip


def limits_of(rubric: Rubric) -> dict[str, float]:
    """What the rubric's rules ask for: {"parameter_count": 20000, …}."""
    return {rule.name: rule.below or rule.at_least or 0 for rule in rubric.rules}


def _rule(verdict: Mapping[str, Any]) -> Item:
    name, figure = str(verdict["rule"]), f"{verdict['figure']}, {verdict['limit']}"
    title = name.replace("_", " ")
    return Item(
        "rule", name, title, verdict["passed"], verdict["points"], verdict["max_points"], figure, verdict["hint"]
    )


def standing_of(
    student: Student,
    delivery: Delivery | None,
    result: Mapping[str, Any],
    everything: Sequence[Item],
    marks: Mapping[str, Mark],
    rubric: Rubric,
) -> Standing:
    """Where a student stands: by the result, the points given by hand, and the rubric's rule for what is late.

    everything: the items that there are in the class; those that the result has not are open, without points.
    """
    grade: Mapping[str, Any] = result["grade"] if result else {}
    earned = {item.id: item for item in items_of(grade)}
    items = [earned.get(item.id, item) for item in everything]
    items = [replace(item, points=marks[item.id].points, mark=marks[item.id]) if item.id in marks else item
             for item in items]  # fmt: skip
    state: State = grade["state"] if grade else "waiting" if delivery is not None else "missing"
    share, words = (0.0, "") if delivery is None or rubric.late is None else rubric.late.share_off(
        delivery.submitted, delivery.late
    )  # fmt: skip
    off = share * sum(item.points for item in items)
    return Standing(student, state, grade.get("message", ""), delivery, tuple(items), off, words, result)
