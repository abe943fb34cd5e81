"""The legacy result, read back and added up as the service's reporter did."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from small_class import HOSTILE, MOST, graded, marked, without_grade

from lab.grading.exports.github import MOST_BYTES, encoded, result
from lab.grading.standing import Standing

FIELDS = ["name", "status", "score", "message", "test_code", "filename", "line_no", "duration"]


def of(one: Standing) -> dict[str, Any]:
    """What the reporter decodes."""
    found = json.loads(base64.b64decode(encoded(one), validate=True).decode("utf-8"))
    assert list(found) == ["version", "status", "max_score", "tests"]
    assert found["version"] == 1
    assert found["status"] in ("pass", "fail", "error")
    for test in found["tests"]:
        assert list(test) == FIELDS
        assert test["status"] in ("pass", "fail", "error")
    return found


def total(found: dict[str, Any]) -> float:
    return sum(test["score"] for test in found["tests"])


def test_each_field_by_its_name() -> None:
    found = of(graded("anna", points=(1, 0, 10, 30)))
    assert (found["status"], found["max_score"], total(found)) == ("fail", MOST, 41)
    assert found["tests"][1] == {
        "name": "exercise 2: accuracy", "status": "fail", "score": 0, "message": "Try again.",
        "test_code": "exercise:accuracy", "filename": "net.py", "line_no": 0, "duration": 0,
    }  # fmt: skip
    assert [test["status"] for test in found["tests"]] == ["pass", "fail", "pass", "pass"]


def test_all_points_pass() -> None:
    assert of(graded("anna"))["status"] == "pass"


def test_a_part_of_the_points_does_not_pass_though_all_is_passed() -> None:
    one = graded("anna")
    less = replace(one, items=(replace(one.items[0], points=0.5), *one.items[1:]))  # passed, and worth less
    assert [test["status"] for test in of(less)["tests"]] == ["pass"] * 4
    assert of(less)["status"] == "fail"


def test_being_late_is_a_test_below_0_so_that_the_sum_is_what_counts() -> None:
    one = graded("anna", off=4.5, late_by="1 day late, 10 % off")
    found = of(one)
    assert found["status"] == "fail"
    assert total(found) == one.points == 40.5
    assert (found["tests"][-1]["name"], found["tests"][-1]["score"]) == ("handed in on time", -4.5)
    forgiven = of(graded("anna", late_by="2 minutes late"))
    assert (total(forgiven), forgiven["tests"][-1]["score"]) == (MOST, 0)
    assert "-0" not in json.dumps(forgiven)


@pytest.mark.parametrize("state", ["grader error", "waiting"])
def test_what_the_grader_could_not_find_out_is_an_error(state: Any) -> None:
    found = of(without_grade(state, "anna", message="no room"))
    assert (found["status"], [test["status"] for test in found["tests"]]) == ("error", ["error"])
    assert found["tests"][0]["message"] == "no room"


@pytest.mark.parametrize("state", ["student error", "missing"])
def test_the_student_s_error_fails(state: Any) -> None:
    found = of(without_grade(state, "anna", message="a syntax error"))
    assert (found["status"], total(found)) == ("fail", 0)
    assert (found["tests"][0]["status"], found["tests"][0]["message"]) == ("error", "a syntax error")


def test_points_by_hand_count_and_pass() -> None:
    one = graded("anna", points=(0, 4, 10, 30))
    found = of(replace(one, items=(marked(one.items[0], 1.0, HOSTILE), *one.items[1:])))
    assert (found["status"], total(found), found["tests"][0]["status"]) == ("pass", MOST, "pass")
    assert "\x1b" not in found["tests"][0]["message"]


def test_it_fits_into_the_reporter_s_environment() -> None:
    long = graded("anna", points=(0, 0, 0, 0), message="🦔" * 50_000)
    assert len(json.dumps(result(long))) > MOST_BYTES
    assert len(encoded(long)) <= MOST_BYTES
    assert of(long)["tests"][0]["message"].endswith("…")
    assert "\n" not in encoded(long)
