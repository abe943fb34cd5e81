"""One student's standing as Gradescope's results.json has it.

Whoever may hand in again could tune a network by what its last attempt reached on the test images. Until they are told
(`Opening`), what a student sees is the same for every accuracy on them:

- The exercises, and of the rules what is found in the network alone (parameters, layers, shape): at once. No exercise
  and no figure of those rests on a test image.
- The accuracy's verdict, and all points of the rules, where these count from a certain accuracy on: held back, in the
  accuracy's own test case. A held-back test case hides the total too, says Gradescope; one that is `hidden` for good
  did not in every release of it, and is therefore never used.
- The leaderboard: parameters, multiply-adds and epochs at once, the accuracy later.

Gradescope takes nothing off for being late. What the rubric's `[late]` takes off is taken off the total.

A grader's error is no 0: what is not known has no score, and the output says whose fault it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from lab.grading.exports._points import exact, title_of
from lab.grading.exports._ungraded import HEAD, NOT_YOUR_FAULT, text
from lab.grading.standing import Item, Standing, counted
from lab.rules import Rubric

LATER = "What was measured on the test images is shown {when}: nobody is to tune a network by them."
IN_PART = (
    "GRADED IN PART: the score is of what could be graded here, which is {most:g} points. The rest costs you nothing: "
    "your teacher grades it elsewhere (lab grade). What could not be graded here: {what}"
)
_TITLES = {"student error": "Not graded, for a reason that lies in what was handed in: ",
           "missing": "Nothing was handed in. "}  # fmt: skip
_CASE = {"name_format": "text", "output_format": "text", "extra_data": dict[str, Any]()}
"""What is the same in every test case."""


@dataclass(frozen=True)
class Opening:
    """When may a student see what was measured on the test images?"""

    moment: datetime | None  # aware; from then on in any case. None: not before Gradescope itself shows it
    before: Literal["after_due_date", "after_published"]  # until then: what Gradescope waits for

    def is_open(self, now: datetime) -> bool:
        """Has the moment come?"""
        return self.moment is not None and now >= self.moment


def opening_of(rubric: Rubric) -> Opening:
    """Where the rubric says when it is due: once nothing more counts. Else when the teacher publishes the grades."""
    if rubric.late is None:
        return Opening(None, "after_published")
    due = rubric.late.due + timedelta(minutes=rubric.late.grace_minutes)
    return Opening(max(due, rubric.late.closes or due), "after_due_date")


def results(
    one: Standing, rubric: Rubric, now: datetime, seconds: float, opening: Opening | None = None
) -> dict[str, Any]:
    """The content of results.json. now: aware, when it is written. seconds: that the grading took.

    opening: where the platform knows better than the rubric when the figures may be seen.
    """
    opening = opening or opening_of(rubric)
    view = _View(one, rubric, opening, opening.is_open(now) or one.accuracy is None)
    found: dict[str, Any] = {}
    if _has_score(one):
        found["score"] = exact(one.points)
    if view.is_open or not _trains(one):  # how long a training takes can tell how close to the limit it was
        found["execution_time"] = max(0, round(seconds))
    return found | {
        "output": text(view.lines()),
        **HEAD,
        "extra_data": _origin(one),
        "tests": view.tests(),
        "leaderboard": view.leaderboard(),
    }


def _has_score(one: Standing) -> bool:
    """Is anything known that points can be given for?"""
    return counted(one) or any(_is_known(item) for item in one.items)


def _is_known(item: Item) -> bool:
    """Was it looked at? A rule that could not be measured was, and its figure says so."""
    return item.passed is not None or item.mark is not None or bool(item.figure)


def _trains(one: Standing) -> bool:
    return one.judged.get("mode") in ("retrain", "audit")


@dataclass(frozen=True)
class _View:
    """What a student sees, and until when not."""

    one: Standing
    rubric: Rubric
    opening: Opening
    is_open: bool  # nothing is held back: the moment has come, or nothing was measured

    # -- test cases ---------------------------------------------------------------------------------------------------

    def tests(self) -> list[dict[str, Any]]:
        """A test case an exercise, and one a rule."""
        exercises, rules = [*self._numbered("exercise", "1")], [*self._numbered("rule", "2")]
        left_out = [self._left_out()] if self._lacks_exercises else []
        return [*left_out, *(self._test(number, item) for number, item in [*exercises, *rules])]

    def _left_out(self) -> dict[str, Any]:
        """In the place of the exercises, where a machine without a sandbox has graded the network alone: no score."""
        return _CASE | {"name": "exercises", "number": "1", "output": "Not graded here, and no points lost by it.",
                        "tags": ["exercise", "not graded"], "visibility": "visible"}  # fmt: skip

    def _numbered(self, kind: str, chapter: str) -> Iterator[tuple[str, Item]]:
        known = [item for item in self.one.items if item.kind == kind and (counted(self.one) or _is_known(item))]
        yield from ((f"{chapter}.{place}", item) for place, item in enumerate(known, 1))

    def _test(self, number: str, item: Item) -> dict[str, Any]:
        held = self._is_held(item)
        scored = held or not self._waits_for_accuracy(item)
        found: dict[str, Any] = {"score": exact(item.points), "max_score": exact(item.max_points)} if scored else {}
        if item.passed is not None:
            found["status"] = "passed" if item.passed else "failed"
        return found | _CASE | {
            "name": " ".join(title_of(item).split())[:200],
            "number": number,
            "output": text(self._told(item, held)),
            "tags": [item.kind],
            "visibility": self.opening.before if held else "visible",
        }  # fmt: skip

    def _is_held(self, item: Item) -> bool:
        """Does all of its test case wait? The accuracy's; without such a rule every rule's that waits for points."""
        if self.is_open or item.kind != "rule":
            return False
        return item.name == "accuracy" or (not self._asks_accuracy and self._waits_for_accuracy(item))

    def _waits_for_accuracy(self, item: Item) -> bool:
        """Do its points rest on the test images? The accuracy's; every rule's where they count from one on."""
        if self.is_open or item.kind != "rule":
            return False
        return item.name == "accuracy" or self.rubric.learnt is not None

    @property
    def _asks_accuracy(self) -> bool:
        return any(item.kind == "rule" and item.name == "accuracy" for item in self.one.items)

    def _told(self, item: Item, held: bool) -> Iterator[str]:
        """The lines of its output."""
        if item.figure:
            yield f"{item.figure}."
        if item.message:
            yield item.message
        if self._waits_for_accuracy(item) and not held:
            if item.passed:
                bar = self.rubric.learnt or 0
                yield f"Its {item.max_points:g} points count once the network reaches {bar:.0%} on the test images."
            elif item.passed is False:
                yield f"It would be worth {item.max_points:g} points."
        elif item.mark is not None:
            yield f"Given by hand: {item.mark.points:g} of {item.max_points:g} points. {item.mark.comment}"
        if held and item.name == "accuracy":
            rules = [rule for rule in self.one.items if rule.kind == "rule"]
            earned = ", ".join(f"{rule.title} {rule.points:g} of {rule.max_points:g}" for rule in rules)
            yield f"Points of the rules: {earned}."

    # -- the whole ----------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """What is said of the whole hand-in."""
        yield self.rubric.title
        if self.one.state in ("grader error", "waiting"):
            yield self._trouble()
        elif self.one.state != "graded":
            yield f"{_TITLES[self.one.state]}{self.one.message}"
        if self.one.late_by:
            yield f"{self.one.late_by[:1].upper()}{self.one.late_by[1:]}."
        if not self.is_open:
            when = "after the due date" if self.opening.before == "after_due_date" else "when the grades are published"
            yield LATER.format(when=when)
        else:
            yield from (str(note) for note in self.one.judged.get("notes", ()))
        yield from (f"Note: {flag}" for flag in self.one.grade.get("flags", ()))

    def _trouble(self) -> str:
        """What is said of the grader's own trouble. Why there is no sandbox is told to the teacher alone: on stdout."""
        message = self.one.message or "it waits for its turn."
        if not _has_score(self.one):
            return NOT_YOUR_FAULT.format(message=message)
        most = sum(item.max_points for item in self.one.items if _is_known(item))
        return IN_PART.format(most=most, what="the exercises." if self._lacks_exercises else message)

    @property
    def _lacks_exercises(self) -> bool:
        """Was the network graded, where there is no sandbox for the exercises?"""
        known = {item.kind for item in self.one.items if _is_known(item)}
        return not counted(self.one) and known == {"rule"}

    def leaderboard(self) -> list[dict[str, Any]]:
        """The fewest first, where a network was judged; the accuracy, the highest first, once it may be seen."""
        epochs = self.one.epochs
        fewest = {
            "parameters": self.one.parameters,
            "multiply-adds": self.one.evidence.get("multiply_adds"),
            "epochs": int(epochs) if epochs.isdecimal() else None,  # else in words: nobody has counted them
        }
        found: list[dict[str, Any]] = [
            {"name": name, "value": value, "order": "asc"} for name, value in fewest.items() if value is not None
        ]
        if self.is_open and self.one.accuracy is not None:
            found.append({"name": "accuracy on the test images, %", "value": round(100 * self.one.accuracy, 4)})
        return found


def _origin(one: Standing) -> dict[str, Any]:
    """What the result was worked out by; stored, and free of any figure."""
    made = one.result.get("provenance", {})
    found = {name: made.get(name) for name in ("lab", "judge", "torch", "mode", "seed", "date")}
    return {"state": one.state, "digest": one.grade.get("digest", ""), **found}
