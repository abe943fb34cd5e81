"""A result as Classroom 50 takes it from an autograder: `result.json`, of the schema `classroom50/result/v1`.

Points are whole numbers there. Each test's are rounded by themselves and so is the score, which is what counts: it is
the standing's points, less what being late costs. The tests may add up to some points more or less.

Points that a person gave beyond the most that there is are more than the schema has room for: the most is written.
What the grader could not find out is 0 of 0 points, as Classroom 50's own runner writes an error, and no 0 of 100.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from lab._terminal import harmless
from lab.grading.exports import ExportError
from lab.grading.exports._points import passed, title_of, told, trouble, whole_points
from lab.grading.standing import Item, Standing, counted

SCHEMA = "classroom50/result/v1"
AssignmentType = Literal["individual", "group"]
_TEXTS = ("classroom", "assignment", "owner", "commit", "release", "review")


@dataclass(frozen=True)
class Run:
    """Which submission a result is of, as Classroom 50's runner says in its environment. Raises ExportError.

    Classroom, assignment and owner are compared with the repository's name when the scores are collected.
    """

    classroom: str  # its short name
    assignment: str  # its slug
    assignment_type: AssignmentType
    owner: str  # whose repository it is: a GitHub login
    submission: str  # the tag: "submit/2026-11-26T12-00-00Z-1a2b3c4"
    commit: str  # links: to the commit,
    release: str  # the release,
    review: str  # and what was changed
    submitted: datetime  # when the commit was made; aware
    graded_at: datetime | None = None  # aware
    submitted_by: str = ""  # who pushed it: a GitHub login
    submitted_by_id: int | None = None

    def __post_init__(self) -> None:
        for name in _TEXTS:
            if not getattr(self, name):
                raise ExportError(f"Classroom 50 needs to know the {name} of a result, and it is empty.")
        if self.assignment_type not in get_args(AssignmentType):
            kinds = " or ".join(get_args(AssignmentType))
            raise ExportError(f"an assignment of Classroom 50 is {kinds}, and not {harmless(self.assignment_type)!r}.")
        if not self.submission.startswith("submit/"):
            raise ExportError(f"the tag of a submission begins with submit/: {harmless(self.submission)!r} does not.")
        for moment in (self.submitted, self.graded_at):
            if moment is not None and moment.utcoffset() is None:
                raise ExportError(f"{moment} names no time zone: Classroom 50 wants times in UTC.")


def result(one: Standing, run: Run) -> dict[str, Any]:
    """`result.json`, as JSON has it."""
    known = counted(one)
    most = whole_points(one.max_points) if known else 0
    document = {
        "schema": SCHEMA,
        "classroom": run.classroom,
        "assignment": run.assignment,
        "assignment_type": run.assignment_type,
        "owner": run.owner,
        "submission": run.submission,
        "commit": run.commit,
        "release": run.release,
        "review": run.review,
        "datetime": _moment(run.submitted),
        "score": min(whole_points(one.points), most),
        "max-score": most,
        "tests": [*_remarks(one), *(map(_test, one.items) if known else ())],
    }
    if run.graded_at is not None:
        document["graded_at"] = _moment(run.graded_at)
    if run.submitted_by:
        document["submitted_by"] = {"username": run.submitted_by, "id": run.submitted_by_id}
    return document


def tag(moment: datetime, commit: str = "") -> str:
    """As Classroom 50 names the submission of a moment (aware), and of a commit where that is known."""
    stamp = moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")
    return f"submit/{stamp}-{commit[:7]}" if commit else f"submit/{stamp}"


def _test(item: Item) -> dict[str, Any]:
    most = whole_points(item.max_points)
    return {
        "test-name": title_of(item),
        "passed": passed(item),
        "score": min(whole_points(item.points), most),
        "max-score": most,
        "message": told(item),
    }


def _remarks(one: Standing) -> list[dict[str, Any]]:
    """What no item says: why there is no grade, or none but 0; what being late costs. For no points."""
    said = trouble(one)
    found = [_remark(*said)] if said is not None else []
    if one.late_by:
        found.append(_remark("handed in on time", one.late_by))
    return found


def _remark(name: str, message: str) -> dict[str, Any]:
    return {"test-name": name, "passed": False, "score": 0, "max-score": 0, "message": harmless(message)}


def _moment(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
