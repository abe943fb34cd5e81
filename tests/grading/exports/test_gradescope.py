"""results.json, as Gradescope documents it, and what a student can see in it before the date."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest

from lab.grading.exports._ungraded import LONGEST, ungraded
from lab.grading.exports.gradescope import Opening, opening_of, results
from lab.grading.standing import Delivery, Mark, Standing, Student, items_of, open_rules, standing_of
from lab.rules import Late, Rubric, load_rubric

SCHEMA = json.loads((Path(__file__).parent / "gradescope_results.schema.json").read_text(encoding="utf-8"))
DUE = datetime(2026, 11, 30, 23, 59, tzinfo=timezone.utc)
BEFORE, AFTER = DUE - timedelta(days=2), DUE + timedelta(days=2)
HOSTILE = "<script>alert(1)</script> **bold** \x1b[31m\u202e\ud800"
RULES = {"parameter_count": 20.0, "epochs": 10.0, "batch_norm": 10.0, "accuracy": 30.0}


def rubric(late: Late | None = None, learnt: float | None = 0.98, without: str = "") -> Rubric:
    known = load_rubric()
    rules = tuple(rule for rule in known.rules if rule.name in RULES and rule.name != without)
    return known.model_copy(update={"rules": rules, "late": late, "learnt": learnt})


DUE_THEN = rubric(Late(due=DUE))


def graded(accuracy: float, asked: Rubric = DUE_THEN, mode: str = "weights") -> dict:
    """A job's result: a network that keeps all rules but, perhaps, the accuracy's."""
    learnt = asked.learnt is None or accuracy >= asked.learnt
    figures = {"parameter_count": ("19,266", "limit 19,999"), "epochs": ("15", "limit 19"),
               "batch_norm": ("5 found", "at least 1"), "accuracy": (f"{accuracy:.2%}", "at least 99.4%")}  # fmt: skip
    verdicts = []
    for rule in asked.rules:
        passed = rule.name != "accuracy" or accuracy >= 0.994
        verdicts.append({
            "rule": rule.name, "passed": passed, "figure": figures[rule.name][0], "limit": figures[rule.name][1],
            "hint": "" if passed else f"It reaches {accuracy:.2%} alone.",
            "points": rule.points if passed and learnt else 0.0, "max_points": rule.points,
        })  # fmt: skip
    exercises = [
        {"name": "out-size", "title": "exercise 1", "passed": True, "points": 1, "max_points": 1, "message": "PASS",
         "checked": True},
        {"name": "grow", "title": "exercise 2", "passed": False, "points": 0, "max_points": 2, "message": HOSTILE,
         "checked": True},
        {"name": "by-hand", "title": "exercise 3", "passed": None, "points": 0, "max_points": 3, "message": "open",
         "checked": True},
    ]  # fmt: skip
    return {
        "grade": {
            "name": "net.lab", "digest": "ab" * 32, "kind": "copy of mnist_994", "state": "graded", "message": "",
            "exercises": exercises, "flags": ["a check was edited: the lab's own was taken"],
            "assignment": {"mode": mode, "verdicts": verdicts, "accuracies": [accuracy], "seeds": [],
                           "notes": [f"{accuracy:.2%} on fresh images"],
                           "suspicions": [f"declared are 99.99%, its weights reach {accuracy:.2%}"],
                           "odds": None, "provenance": {}},
        },
        "evidence": {"parameters": 19266, "multiply_adds": 1234567, "mistaken": round(10000 * (1 - accuracy))},
        "provenance": {"lab": "0.1.0", "judge": "0.1.0+abc", "seed": 0, "mode": mode, "seconds": 12.3,
                       "date": "2026-11-28T12:00:00+00:00", "machine": "a"},
    }  # fmt: skip


def standing(accuracy: float, asked: Rubric = DUE_THEN, submitted: datetime = BEFORE, **how: str) -> Standing:
    result = graded(accuracy, asked, **how)
    who = Student("7", "Ada <b>")
    return standing_of(who, Delivery(who, {}, submitted), result, items_of(result["grade"]), {}, asked)


def valid(found: dict) -> dict:
    text = json.dumps(found, allow_nan=False)
    text.encode("utf-8")  # no lone surrogate is left
    jsonschema.validate(json.loads(text), SCHEMA)
    return found


def seen(found: dict, waited_for: bool = False) -> dict:
    """What a student can see: the test cases that are shown, and the total where none waits. Nobody sees `extra_data`
    or stdout; they are looked at all the same."""
    shown = {"visible", "after_due_date", "after_published"} if waited_for else {"visible"}
    tests = [test for test in found["tests"] if test.get("visibility", found["visibility"]) in shown]
    rest = {name: value for name, value in found.items() if name not in ("score", "tests")}
    total = {"score": found["score"]} if len(tests) == len(found["tests"]) and "score" in found else {}
    return rest | total | {"tests": tests}


def case(found: dict, name: str) -> dict:
    (one,) = [test for test in found["tests"] if name in test["name"]]
    return one


# -- what is held back ------------------------------------------------------------------------------------------------

PAIRS = [(0.9957, 0.9939), (0.9939, 0.99), (0.98, 0.9799), (0.1, 0.9957)]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("mode", ["weights", "retrain", "audit"])
@pytest.mark.parametrize("learnt", [None, 0.98])
def test_before_the_date_a_student_sees_the_same_whatever_the_accuracy(one, other, mode, learnt) -> None:
    asked = rubric(Late(due=DUE), learnt)
    pair = [valid(results(standing(a, asked, mode=mode), asked, BEFORE, s)) for a, s in ((one, 80.0), (other, 80.0))]
    assert seen(pair[0]) == seen(pair[1])
    assert "score" not in seen(pair[0])
    assert seen(pair[0], waited_for=True) != seen(pair[1], waited_for=True)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_after_the_date_a_student_sees_what_was_reached(one, other) -> None:
    pair = [valid(results(standing(a), DUE_THEN, AFTER, 80.0)) for a in (one, other)]
    assert seen(pair[0]) != seen(pair[1])
    assert seen(pair[0])["score"] == standing(one).points


def test_how_long_trainings_took_is_not_told_before_the_date() -> None:
    """A close accuracy is trained more often."""
    once = results(standing(0.9957, mode="retrain"), DUE_THEN, BEFORE, 80.0)
    thrice = results(standing(0.9941, mode="retrain"), DUE_THEN, BEFORE, 240.0)
    assert seen(once) == seen(thrice)
    assert results(standing(0.9957, mode="retrain"), DUE_THEN, AFTER, 80.0)["execution_time"] == 80
    assert results(standing(0.9957), DUE_THEN, BEFORE, 79.6)["execution_time"] == 80


def test_without_a_rule_for_the_accuracy_the_rules_that_wait_for_it_are_held_back() -> None:
    asked = rubric(Late(due=DUE), without="accuracy")
    pair = [valid(results(standing(a, asked), asked, BEFORE, 1.0)) for a in (0.99, 0.5)]
    assert seen(pair[0]) == seen(pair[1])
    assert [test["number"] for test in seen(pair[0])["tests"]] == ["1.1", "1.2", "1.3"]


def test_without_any_part_of_the_accuracy_in_the_points_all_of_them_are_shown() -> None:
    asked = rubric(Late(due=DUE), learnt=None, without="accuracy")
    found = valid(results(standing(0.99, asked), asked, BEFORE, 1.0))
    assert seen(found)["score"] == 41
    assert [quantity["name"] for quantity in found["leaderboard"]] == ["parameters", "multiply-adds", "epochs"]


def test_nothing_that_is_never_shown_is_used() -> None:
    """A test case that is hidden for good did not hide the total in every release of Gradescope."""
    found = results(standing(0.99), DUE_THEN, BEFORE, 1.0)
    assert {test["visibility"] for test in found["tests"]} == {"visible", "after_due_date"}
    assert found["stdout_visibility"] == "hidden"


def test_what_needs_no_test_image_is_seen_at_once() -> None:
    found = seen(results(standing(0.5), DUE_THEN, BEFORE, 1.0))
    assert case(found, "parameter count")["status"] == "passed"
    told = case(found, "parameter count")["output"]
    assert "19,266, limit 19,999" in told
    assert "Its 20 points count once the network reaches 98% on the test images." in told
    assert case(found, "out-size")["score"] == 1
    assert "after the due date" in found["output"]


@pytest.mark.parametrize(("passed", "told"), [(False, "It would be worth 10 points."), (None, "")])
def test_points_that_it_does_not_get_are_not_promised(passed: bool | None, told: str) -> None:
    one = standing(0.5)
    one.result["grade"]["assignment"]["verdicts"][1] |= {"passed": passed, "points": 0.0, "hint": "Mend it."}
    items = tuple(items_of(one.result["grade"]))
    found = seen(results(replace(one, items=items), DUE_THEN, BEFORE, 1.0))
    assert case(found, "epochs")["output"].splitlines() == ["15, limit 19.", "Mend it.", *filter(None, [told])]


def test_the_held_back_case_tells_the_points_of_all_rules() -> None:
    found = results(standing(0.9957), DUE_THEN, BEFORE, 1.0)
    assert "parameter count 20 of 20" in case(found, "accuracy")["output"]
    assert found["score"] == 71


# -- when -------------------------------------------------------------------------------------------------------------


def test_without_a_date_the_teacher_opens_it() -> None:
    found = results(standing(0.99, rubric()), rubric(), AFTER, 1.0)
    assert case(found, "accuracy")["visibility"] == "after_published"
    assert "when the grades are published" in found["output"]


@pytest.mark.parametrize(
    ("late", "opens"),
    [
        (Late(due=DUE), DUE),
        (Late(due=DUE, grace_minutes=15), DUE + timedelta(minutes=15)),
        (Late(due=DUE, off_per_day=0.1, closes=AFTER), AFTER),
    ],
)
def test_it_opens_once_nothing_more_counts(late, opens) -> None:
    opening = opening_of(rubric(late))
    assert opening == Opening(opens, "after_due_date")
    assert opening.is_open(opens)
    assert not opening.is_open(opens - timedelta(seconds=1))


def test_the_platform_may_know_better() -> None:
    found = results(standing(0.99), DUE_THEN, AFTER, 1.0, Opening(None, "after_published"))
    assert case(found, "accuracy")["visibility"] == "after_published"


# -- test cases and totals --------------------------------------------------------------------------------------------


def test_a_test_case_an_exercise_and_one_a_rule() -> None:
    found = valid(results(standing(0.99), DUE_THEN, AFTER, 12.6))
    shown = [
        (test["number"], test["name"], test["score"], test["max_score"], test.get("status")) for test in found["tests"]
    ]
    assert shown == [
        ("1.1", "exercise 1: out-size", 1, 1, "passed"),
        ("1.2", "exercise 2: grow", 0, 2, "failed"),
        ("1.3", "exercise 3: by-hand", 0, 3, None),
        ("2.1", "parameter count", 20, 20, "passed"),
        ("2.2", "epochs", 10, 10, "passed"),
        ("2.3", "batch norm", 10, 10, "passed"),
        ("2.4", "accuracy", 0, 30, "failed"),
    ]
    assert found["score"] == sum(test["score"] for test in found["tests"]) == 41
    assert found["execution_time"] == 13
    assert found["leaderboard"] == [
        {"name": "parameters", "value": 19266, "order": "asc"},
        {"name": "multiply-adds", "value": 1234567, "order": "asc"},
        {"name": "epochs", "value": 15, "order": "asc"},
        {"name": "accuracy on the test images, %", "value": 99.0},
    ]
    assert [test["tags"] for test in found["tests"]] == [["exercise"]] * 3 + [["rule"]] * 4


def test_what_the_rubric_takes_off_is_off_the_total() -> None:
    asked = rubric(Late(due=DUE, off_per_day=0.1))
    found = results(standing(0.9957, asked, submitted=AFTER), asked, AFTER, 1.0)
    assert found["score"] == pytest.approx(0.8 * 71)
    assert sum(test["score"] for test in found["tests"]) == 71
    assert "2 days late, 20 % off." in found["output"]


def test_points_by_hand_stand_with_their_reason() -> None:
    one = standing(0.99)
    mark = Mark("exercise:grow", 1.5, "The idea is right.", "T. Eacher", BEFORE)
    items = [replace(item, points=1.5, mark=mark) if item.name == "grow" else item for item in one.items]
    found = valid(results(replace(one, items=tuple(items)), DUE_THEN, BEFORE, 1.0))
    assert case(found, "grow")["score"] == 1.5
    assert "1.5 of 2 points. The idea is right." in case(found, "grow")["output"]


def test_epochs_that_nobody_counted_are_on_no_leaderboard() -> None:
    one = standing(0.99)
    one.result["grade"]["assignment"]["verdicts"][1]["figure"] = "unknown"
    assert "epochs" not in [quantity["name"] for quantity in results(one, DUE_THEN, AFTER, 1.0)["leaderboard"]]


# -- where something went wrong ---------------------------------------------------------------------------------------


def failing(state: str, message: str, known: bool = False) -> Standing:
    who, result = Student("7"), graded(0.9957)
    kept = result["grade"]["assignment"] if known else None
    result["grade"] |= {"state": state, "message": message, "exercises": [], "assignment": kept}
    items = items_of(result["grade"]) if known else open_rules(DUE_THEN)
    return standing_of(who, Delivery(who, {}, BEFORE), result, items, {}, DUE_THEN)


@pytest.mark.parametrize("state", ["grader error", "waiting"])
def test_what_the_grader_could_not_do_is_no_zero(state) -> None:
    found = valid(results(replace(failing("grader error", "no room."), state=state), DUE_THEN, BEFORE, 1.0))
    assert "score" not in found
    assert found["tests"] == []
    assert "NOT GRADED: this is the grader's trouble, not yours" in found["output"]
    assert "no room." in found["output"]


def test_a_process_that_died_leaves_the_same() -> None:
    by_hand = valid(ungraded("no room."))
    found = results(failing("grader error", "no room."), DUE_THEN, BEFORE, 1.0)
    assert by_hand["output"] in found["output"]
    assert "score" not in by_hand


def test_what_was_graded_is_shown_where_the_exercises_could_not_be() -> None:
    one = failing("grader error", "the exercises are not graded: no sandbox.", known=True)
    found = valid(results(one, DUE_THEN, BEFORE, 1.0))
    assert found["score"] == 70
    exercises, *rules = found["tests"]
    assert exercises["name"] == "exercises"
    assert not {"score", "max_score", "status"} & exercises.keys()
    assert [test["number"] for test in rules] == ["2.1", "2.2", "2.3", "2.4"]
    assert "GRADED IN PART" in found["output"]
    assert "which is 70 points" in found["output"]
    assert "What could not be graded here: the exercises." in found["output"]
    assert "sandbox" not in found["output"]
    assert case(found, "accuracy")["visibility"] == "after_due_date"


def test_a_fault_of_the_hand_in_is_told_with_its_zero() -> None:
    found = valid(results(failing("student error", "net.lab is no hand-in."), DUE_THEN, BEFORE, 1.0))
    assert seen(found)["score"] == 0
    assert "in what was handed in: net.lab is no hand-in." in found["output"]
    assert len(found["tests"]) == len(RULES)
    assert "due date" not in found["output"]


def test_nothing_handed_in() -> None:
    found = valid(results(Standing(Student("7"), "missing"), DUE_THEN, BEFORE, 1.0))
    assert found["score"] == 0
    assert "Nothing was handed in." in found["output"]


# -- text -------------------------------------------------------------------------------------------------------------


def test_what_a_student_wrote_is_text() -> None:
    one = failing("student error", HOSTILE)
    items = [replace(item, title=f"{HOSTILE}\nnew line", message=HOSTILE) for item in one.items]
    found = valid(results(replace(one, items=tuple(items)), DUE_THEN, BEFORE, 1.0))
    text = json.dumps(found, ensure_ascii=False)
    assert not {"\x1b", "\u202e", "\ud800"} & set(text)
    formats = {test[name] for test in found["tests"] for name in ("name_format", "output_format")}
    assert formats | {found[name] for name in ("output_format", "test_output_format", "test_name_format")} == {"text"}
    assert "\n" not in found["tests"][0]["name"]


def test_a_text_is_cut_where_it_is_endless() -> None:
    found = results(failing("student error", "x" * 10**6), DUE_THEN, BEFORE, 1.0)
    assert len(found["output"]) <= LONGEST
    assert found["output"].endswith("…")
