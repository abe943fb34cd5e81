"""A result as GitHub Classroom's reporter took it, a step's output, until that service closed in 2026.

Its reporter adds up the tests' scores. So what being late costs is a test of its own, with a score below 0: the sum is
the standing's points. What the grader could not find out has the status "error" and no test with points.
"""

import base64
import json
from typing import Any

from lab._terminal import harmless, shortened
from lab.grading.exports._points import exact, passed, title_of, told, trouble
from lab.grading.standing import Item, Standing, counted

VERSION = 1
MOST_BYTES = 100_000
"""Of the encoded result: the reporter gets it in a variable of its environment, which Linux cuts off at 128 KiB."""


def result(one: Standing) -> dict[str, Any]:
    """The result as JSON has it."""
    said = trouble(one)
    tests = [_entry(said[0], "error", 0, said[1])] if said is not None else []
    if not counted(one):
        return {"version": VERSION, "status": "error", "max_score": exact(one.max_points), "tests": tests}
    tests += [_test(item, one) for item in one.items]
    if one.late_by:
        tests.append(_entry("handed in on time", "fail", -exact(one.off) if one.off else 0, one.late_by))
    whole = one.points >= one.max_points and all(test["status"] == "pass" for test in tests)
    status = "pass" if whole else "fail"
    return {"version": VERSION, "status": status, "max_score": exact(one.max_points), "tests": tests}


def encoded(one: Standing) -> str:
    """The same in base64, one line; of long messages the beginnings, as far as the reporter has room for them."""
    document = result(one)
    text = _in_base64(document)
    longest = 4096  # characters of a message
    while len(text) > MOST_BYTES and longest:
        longest //= 4
        shorter = [test | {"message": shortened(test["message"], longest)} for test in document["tests"]]
        text = _in_base64(document | {"tests": shorter})
    return text


def _in_base64(document: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()


def _test(item: Item, one: Standing) -> dict[str, Any]:
    named = next(iter(one.delivery.files), "") if one.delivery is not None else ""
    entry = _entry(title_of(item), "pass" if passed(item) else "fail", exact(item.points), told(item))
    return entry | {"test_code": item.id, "filename": harmless(named)}


def _entry(name: str, status: str, score: float, message: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "score": score,
        "message": harmless(message),
        "test_code": "",
        "filename": "",
        "line_no": 0,
        "duration": 0,
    }
