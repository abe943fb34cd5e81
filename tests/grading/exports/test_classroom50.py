"""result.json against the schema, and what the schema can't say."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from small_class import HOSTILE, MOST, SUBMITTED, graded, items, marked, without_grade

from lab.grading.exports import ExportError
from lab.grading.exports._points import whole_points
from lab.grading.exports.classroom50 import Run, result
from lab.grading.standing import Standing

SCHEMA = json.loads((Path(__file__).parent / "classroom50_result.schema.json").read_text(encoding="utf-8"))
RUN = Run(
    "ml-2026", "mnist-994", "individual", "amueller", "submit/2026-11-28T22-05-07Z-1a2b3c4",
    "https://example.org/commit", "https://example.org/release", "https://example.org/review", SUBMITTED,
)  # fmt: skip


def of(one: Standing, run: Run = RUN) -> dict[str, Any]:
    """The document as it is read back."""
    found = json.loads(json.dumps(result(one, run)))
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    for part in (found, *found["tests"]):
        assert {type(part["score"]), type(part["max-score"])} == {int}
        assert 0 <= part["score"] <= part["max-score"]
    return found


def test_each_field_by_its_name() -> None:
    found = of(graded("anna", points=(1, 4, 0, 30)))
    assert list(found) == [
        "schema", "classroom", "assignment", "assignment_type", "owner", "submission", "commit", "release", "review",
        "datetime", "score", "max-score", "tests",
    ]  # fmt: skip
    assert found["schema"] == "classroom50/result/v1"
    assert (found["classroom"], found["assignment"], found["assignment_type"]) == ("ml-2026", "mnist-994", "individual")
    assert (found["owner"], found["submission"]) == ("amueller", "submit/2026-11-28T22-05-07Z-1a2b3c4")
    assert (found["commit"], found["release"], found["review"]) == (RUN.commit, RUN.release, RUN.review)
    assert found["datetime"] == "2026-11-28T22:05:07Z"
    assert (found["score"], found["max-score"]) == (35, 45)
    assert [(one["test-name"], one["passed"], one["score"], one["max-score"]) for one in found["tests"]] == [
        ("exercise 1: out-size", True, 1, 1), ("exercise 2: accuracy", True, 4, 4), ("epochs", False, 0, 10),
        ("accuracy", True, 30, 30),
    ]  # fmt: skip
    assert found["tests"][2]["message"] == "15, limit 19\nTry again."


def test_who_pushed_it_and_when_it_was_graded_are_optional() -> None:
    berlin = timezone(timedelta(hours=1))
    later = datetime(2026, 11, 30, 0, 30, tzinfo=berlin)
    found = of(graded("anna"), replace(RUN, graded_at=later, submitted_by="ben", submitted_by_id=7))
    assert found["graded_at"] == "2026-11-29T23:30:00Z"
    assert found["submitted_by"] == {"username": "ben", "id": 7}
    assert of(graded("anna"), replace(RUN, submitted_by="ben"))["submitted_by"] == {"username": "ben", "id": None}


def test_being_late_is_in_the_score_and_told_in_a_test_for_no_points() -> None:
    found = of(graded("anna", off=4.5, late_by="1 day late, 10 % off"))
    assert found["score"] == 41  # 40.5, and a half is rounded up
    late = found["tests"][0]
    assert (late["test-name"], late["passed"], late["score"], late["max-score"]) == ("handed in on time", False, 0, 0)
    assert late["message"] == "1 day late, 10 % off"


def test_fractions_are_rounded_each_by_itself() -> None:
    found = of(graded("anna", points=(0.5, 2.5, 0.4, 12.2)))
    assert [one["score"] for one in found["tests"]] == [1, 3, 0, 12]
    assert found["score"] == 16  # of 15.6
    assert [whole_points(points) for points in (0.49, 0.5, 1.5, 2.5, 0.1 + 0.2 + 0.2)] == [0, 1, 2, 3, 1]


def test_points_by_hand_beyond_the_most_are_the_most() -> None:
    one = graded("anna", points=(0, 4, 10, 30))
    one = replace(one, items=(marked(one.items[0], 9.0, "A fine idea."), *one.items[1:]))
    found = of(one)
    assert (found["score"], found["max-score"]) == (45, 45)
    first = found["tests"][0]
    assert (first["score"], first["max-score"], first["passed"]) == (1, 1, True)
    assert "A fine idea. (9 points, by hand)" in first["message"]
    less = replace(one, items=(marked(items((1, 0, 0, 0))[0], 0.0), *one.items[1:]))
    assert of(less)["tests"][0]["passed"] is False


@pytest.mark.parametrize("state", ["grader error", "waiting"])
def test_what_the_grader_could_not_find_out_is_0_of_0_and_fails(state: Any) -> None:
    found = of(without_grade(state, "anna", message=f"no room {HOSTILE}"))
    assert (found["score"], found["max-score"]) == (0, 0)
    only = found["tests"][0]
    assert len(found["tests"]) == 1
    assert (only["passed"], only["score"], only["max-score"]) == (False, 0, 0)
    assert only["message"].startswith("no room ")
    assert "\x1b" not in only["message"]


def test_a_grader_s_error_with_points_by_hand_has_these() -> None:
    one = without_grade("grader error", "anna", message="no room")
    one = replace(one, items=(*one.items[:3], marked(one.items[3], 20.0)))
    assert (of(one)["score"], of(one)["max-score"]) == (20, 45)


@pytest.mark.parametrize(
    ("state", "told"), [("student error", "a syntax error"), ("missing", "Nothing was handed in.")]
)
def test_the_student_s_error_is_0_of_all_with_the_reason_first(state: Any, told: str) -> None:
    found = of(without_grade(state, "anna", message="a syntax error" if state == "student error" else ""))
    assert (found["score"], found["max-score"]) == (0, int(MOST))
    assert found["tests"][0] == {
        "test-name": "the hand-in", "passed": False, "score": 0, "max-score": 0, "message": told
    }  # fmt: skip


def test_hostile_texts_are_text() -> None:
    found = of(graded("anna", points=(0, 0, 0, 0), message=HOSTILE))
    text = json.dumps(found, ensure_ascii=False)
    assert not {"\x1b", "\u202e"} & set(text)
    text.encode("utf-8")  # no lone surrogate


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"classroom": ""}, "classroom"), ({"assignment": ""}, "assignment"), ({"owner": ""}, "owner"),
        ({"commit": ""}, "commit"), ({"release": ""}, "release"), ({"review": ""}, "review"),
        ({"assignment_type": "team"}, "individual or group"), ({"submission": "refs/tags/submit/1"}, "submit/"),
        ({"submitted": datetime(2026, 1, 1)}, "time zone"), ({"graded_at": datetime(2026, 1, 1)}, "time zone"),
    ],
)  # fmt: skip
def test_a_run_that_the_schema_would_refuse_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ExportError, match=told):
        replace(RUN, **changed)
