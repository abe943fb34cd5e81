"""The figures of a class, and what a student learns: worked out twice, and without what must not be told."""

import dataclasses
import random
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, median

import pytest
from made_up_class import HOSTILE, LIMITS, START, a_class, some_copies

from lab.data import DataError
from lab.grading import feedback
from lab.grading.feedback import SOMEBODY, feedback_of
from lab.grading.report import BINS, WITHHELD, code_of, normalised, provenance_lines, report_of
from lab.grading.sameness import Likeness
from lab.grading.standing import NOT_HANDED_IN, Class, Delivery, Item, Mark, Standing, Student
from lab.graph import capture
from lab.layers import layer_table
from lab.models import TinyNet
from lab.presets import PRESETS, records


def rule(points=10.0, passed=True, name="epochs", message="", mark=None, most=10.0):
    return Item("rule", name, name, passed, points, most, "15, limit 19", message, mark)


def exercise(number, passed, message="", mark=None):
    return Item("exercise", f"e{number}", f"exercise {number}", passed, 5.0 * bool(passed), 5.0, "", message, mark)


def graded(student, *items, accuracy=None, parameters=None, **others):
    judged = {"accuracies": [accuracy] if accuracy is not None else []}
    result = {"grade": {"assignment": judged}, "evidence": {"parameters": parameters, "dataset": "mnist"}}
    return Standing(Student(student), "graded", items=items, result=result, **others)


def a_report(*standings, **options):
    return report_of(Class("A class", standings, limits=LIMITS), **options)


def everything(value):
    """Every text in a report, however deep it lies."""
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from everything(getattr(value, field.name))
    elif isinstance(value, dict):
        for pair in value.items():
            yield from everything(pair)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from everything(one)


# -- the class's figures ----------------------------------------------------------------------------------------------


def test_every_student_is_in_one_state_and_one_row():
    found = a_class(60)
    report = report_of(found)
    assert {state: number for state, _, number in report.states} == Counter(one.state for one in found.standings)
    assert len(report.rows) == report.students == 60
    assert [row.who.key for row in report.rows] == [one.student.id for one in found.standings]


def test_only_points_that_are_known_count():
    """A grader error, one who waits and one who is missing are no zeros; a hand-in that cannot be graded is one."""
    report = a_report(
        graded("a", rule(10.0)),
        graded("b", rule(4.0)),
        Standing(Student("c"), "student error", "no network in it"),
        Standing(Student("d"), "grader error", "no memory", items=(rule(0.0, None),)),
        Standing(Student("e"), "waiting"),
        Standing(Student("f"), "missing"),
    )
    assert (report.spread.counted, report.spread.median) == (3, 4.0)
    assert report.spread.mean == pytest.approx(14 / 3)
    assert [row.points for row in report.rows] == [10.0, 4.0, 0.0, None, None, 0.0]
    assert [(one.message, [who.name for who in one.who]) for one in report.troubles] == [("no memory", ["d"])]


def test_points_that_a_person_gave_count_in_any_state():
    by_hand = Mark("exercise:e1", 3.0, "shown to me", "T.", START)
    items = (dataclasses.replace(exercise(1, None, "", by_hand), points=3.0), rule(0.0, None))
    states = ("grader error", "waiting", "missing")
    report = a_report(*(Standing(Student(state), state, items=items) for state in states), graded("a", rule()))
    assert [row.points for row in report.rows] == [3.0, 3.0, 3.0, 10.0]
    assert report.spread.counted == 3  # but for the one who is missing
    assert [cell and cell.points for cell in report.rows[0].cells] == [3.0, None]
    told = feedback_to(Standing(Student("b"), "grader error", "no memory", items=items))
    assert (told.is_counted, [item.mark for item in told.exercises], told.rules) == (True, [by_hand], ())


def test_the_distribution_holds_everybody_once():
    found = a_class(120)
    spread, points = report_of(found).spread, [one.points for one in found.standings if one.state in ("graded",)]
    points += [0.0] * sum(one.state == "student error" for one in found.standings)
    assert spread.mean == pytest.approx(fmean(points))
    assert spread.median == pytest.approx(median(points))
    assert sum(bar.students for bar in spread.bars) == len(points)
    assert len(spread.bars) <= BINS
    for bar in spread.bars[:-1]:
        assert bar.students == sum(bar.low <= one < bar.high for one in points)


@pytest.mark.parametrize("most", [0.0, 0.5, 1.0, 7.0, 100.0, 130.0, 12_345.0])
def test_the_distribution_fits_any_number_of_points(most):
    spread = a_report(graded("a", rule(most, most=most)), graded("b", rule(most + 1.5, most=most))).spread
    assert 1 <= len(spread.bars) <= BINS
    assert spread.bars[-1].high >= most + 1.5  # more than all points, by hand
    assert sum(bar.students for bar in spread.bars) == 2


def test_an_empty_class_has_a_report():
    report = a_report()
    assert (report.rows, report.spread.bars, report.frontier, report.failures) == ((), (), (), ())


def test_nobody_beats_who_is_on_the_frontier():
    draw = random.Random(0)
    some = [
        graded(f"s{number}", rule(), accuracy=draw.randrange(9800, 9999) / 10_000, parameters=draw.randrange(1, 40))
        for number in range(120)
    ]
    report = a_report(*some, graded("none", rule()))
    front = {row.who.key for row in report.frontier}
    measured = [row for row in report.rows if row.accuracy is not None]
    for row in measured:
        better = [
            o for o in measured
            if o.parameters <= row.parameters and o.accuracy >= row.accuracy
            and (o.parameters, o.accuracy) != (row.parameters, row.accuracy)
        ]  # fmt: skip
        same_in_front = any(
            (o.parameters, o.accuracy) == (row.parameters, row.accuracy) for o in measured if o.who.key in front
        )
        assert same_in_front == (not better)
    assert [row.parameters for row in report.frontier] == sorted(row.parameters for row in report.frontier)


def test_a_leader_keeps_every_rule_and_equals_share_a_place():
    report = a_report(
        graded("first", rule(), accuracy=0.997, parameters=15_000),
        graded("second", rule(), accuracy=0.996, parameters=12_000),
        graded("second too", rule(), accuracy=0.996, parameters=12_000),
        graded("fourth", rule(), accuracy=0.995, parameters=9_000),
        graded("breaks a rule", rule(0.0, False), accuracy=0.999, parameters=10),
        graded("the lab's own", rule(0.0, True), accuracy=0.999, parameters=10),
        graded("not tested", rule(), parameters=10),
    )
    assert [(one.place, one.row.who.name) for one in report.most_accurate] == [
        (1, "first"), (2, "second"), (2, "second too"), (4, "fourth"),
    ]  # fmt: skip
    assert [(one.place, one.row.who.name) for one in report.smallest] == [
        (1, "fourth"), (2, "second"), (2, "second too"), (4, "first"),
    ]  # fmt: skip


def test_a_column_for_everything_that_somebody_has():
    report = a_report(
        graded("a", rule(name="dropout", passed=False, points=0.0)),
        graded("b", exercise(1, True), exercise(2, None), rule(), rule(name="dropout")),
        Standing(Student("c"), "grader error", items=(rule(0.0, None),)),
    )
    assert [column.label for column in report.columns] == ["Ex. 1", "Ex. 2", "epochs", "dropout"]
    assert [(one.passed, one.failed, one.open, one.mean) for one in report.columns] == [
        (1, 0, 0, 5.0), (0, 0, 1, 0.0), (1, 0, 0, 10.0), (1, 1, 0, 5.0),
    ]  # fmt: skip
    assert [cell and cell.points for cell in report.rows[0].cells] == [None, None, None, 0.0]


def test_what_goes_wrong_alike_is_one_failure():
    by_hand = Mark("e1", 2.0, "half right", "T.", START)
    report = a_report(
        graded("a", exercise(1, False, "out_size(n=28) gave 27, expected 26\nLook at the stride.")),
        graded("b", exercise(1, False, "out_size(n=7) gave 3, expected 5")),
        graded("c", exercise(1, False, "out_size(n=7) gave 3, expected 5")),
        graded("d", exercise(1, False, "It was stopped.")),
        graded("e", exercise(1, False, "It was stopped.", by_hand)),
        graded("f", exercise(1, None, "Still open."), exercise(2, True, "PASS")),
        Standing(Student("g"), "student error", "net_7.py, line 3: SyntaxError"),
        Standing(Student("h"), "student error", "net_9.py, line 12: SyntaxError"),
        Standing(Student("i"), "grader error", "no memory", items=(exercise(1, None, "Still open."),)),
    )
    found = [(one.title, one.students, one.is_open, one.example, one.whose.name) for one in report.failures]
    assert found == [
        ("exercise 1", 3, False, "out_size(n=7) gave 3, expected 5", "b"),
        ("the whole hand-in", 2, False, "net_7.py, line 3: SyntaxError", "g"),
        ("exercise 1", 1, False, "It was stopped.", "d"),
        ("exercise 1", 1, True, "Still open.", "f"),
    ]
    assert report.failures[0].share == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("21,450 parameters", "9 parameters", True),
        ("The largest: linear 1176→10 (head.fc) with 9,216.", "The largest: linear 10→10 (x[3]) with 7.", True),
        ("name 'anna' is not defined", "name 'bob' is not defined", True),
        ("line 3: `x = 1`", "line 4: `y = 2`", True),
        ("/home/anna/net.py fails", "C:\\net.py fails", True),
        ("It was stopped: it takes too long.", "Its own cell fails with NameError", False),
        ("the learning rate is -0.1", "the learning rate is 1e9", False),
    ],
)
def test_a_message_is_the_same_without_what_differs(one, other, same):
    assert (normalised(one) == normalised(other)) is same


def test_a_network_that_cannot_be_trained_leaves_the_exercises_what_they_are():
    open_rule = rule(0.0, None, "accuracy")
    half = Standing(Student("a"), "student error", "the loss is not finite", None, (exercise(1, True), open_rule))
    whole = Standing(Student("b"), "student error", "no network", None, (exercise(1, None), open_rule))
    report = a_report(half, whole, graded("c", exercise(1, False, "wrong"), rule(name="accuracy")))
    assert [row.points for row in report.rows] == [5.0, 0.0, 10.0]
    assert [(one.passed, one.failed, one.open) for one in report.columns] == [(1, 1, 0), (1, 0, 0)]
    assert {(one.title, one.students) for one in report.failures} == {("the whole hand-in", 1), ("exercise 1", 1)}
    assert [len(feedback_of(Class("", [one]), one).exercises) for one in (half, whole)] == [1, 0]


def test_copies_are_listed_with_who_they_are_alike_to():
    found = a_class(60)
    report = report_of(found, copies=some_copies(found))
    names = {one.student.id: one.student.name for one in found.standings}
    for shown, given in zip(report.copies, some_copies(found), strict=True):
        assert [who.name for who in shown.who] == [names[student] for student in given.students]
        assert (shown.what, shown.sure) == (given.what, given.sure)
    stranger = report_of(found, copies=[Likeness(("s1010", "of last year"), ("weights",), True)]).copies[0].who[1]
    assert (stranger.name, stranger.is_known) == ("of last year", False)  # who has no page is not linked


def test_the_lab_s_records_are_those_that_were_measured():
    found = {record.name: record for record in records()}
    assert found.keys() == PRESETS.keys()
    assert found["tiny"].parameters < 4_000
    assert all(0.993 < record.accuracy < 1 and record.seeds >= 3 for record in found.values())
    assert report_of(a_class(20)).records == tuple(records())
    clothes = graded("a", rule(), accuracy=0.9, parameters=10)
    clothes.result["evidence"]["dataset"] = "fashion_mnist"
    assert a_report(clothes).records == ()


def test_a_date_is_told_for_a_person():
    made = {"lab": "1.0", "date": "2026-11-26T06:12:30+00:00", "seconds": 12.345, "seed": 0, "mode": None, "else": "?"}
    told = (("lab", "1.0"), ("seed", "0"), ("date", "2026-11-26 06:12 UTC"), ("seconds", "12.3"))
    assert provenance_lines(made) == told
    assert provenance_lines({"date": "yesterday"}) == (("date", "yesterday"),)


# -- nobody's name ----------------------------------------------------------------------------------------------------


def test_an_anonymous_report_tells_nobody_s_name():
    found = a_class(80)
    telling = [
        text
        for one in found.standings
        for text in (one.student.id, one.student.name, one.student.email, *(one.delivery.files if one.delivery else ()))
        if text
    ]
    parts = [part for one in found.standings for part in one.student.name.split() if len(part) > 3 and part.isalpha()]
    telling += [part for part in parts if part not in ("reversed", "Emoji", "name")]
    message = f"{found.standings[20].student.name} has s1042's net.py, and {found.standings[30].student.email} too"
    odd = dataclasses.replace(found.standings[40], state="student error", message=message)
    found = dataclasses.replace(found, standings=[*found.standings[:40], odd, *found.standings[41:]])
    report = report_of(found, anonymous=True, copies=some_copies(found), key=b"secret")
    whole = "\n".join(everything(report))
    assert not [text for text in telling if text in whole]
    assert any(WITHHELD in failure.example for failure in report.failures)
    assert (report.copies, report.unmatched, report.notes) == ((), (), ())
    assert (report.in_copies, report.unmatched_count) == (5, 2)
    assert report.failures
    assert sum(row.flagged for row in report.rows) > 0


def test_a_code_stays_and_is_nobody_else_s():
    codes = [code_of(f"s{number}", b"secret") for number in range(3000)]
    assert len(set(codes)) == 3000
    assert codes == [code_of(f"s{number}", b"secret") for number in range(3000)]
    assert not any(code_of(f"s{number}", b"another") == code for number, code in enumerate(codes))
    assert code_of("\ud800", b"")  # any text is an id


def test_the_order_of_an_anonymous_report_is_not_the_class_s():
    some = [graded(f"s{number}", rule(7.0)) for number in range(9)]
    there, back = (a_report(*order, anonymous=True, key=b"k").rows for order in (some, some[::-1]))
    assert there == back
    assert [row.who.key for row in there] == sorted(code_of(one.student.id, b"k") for one in some)


# -- one student ------------------------------------------------------------------------------------------------------


def feedback_to(standing, *others):
    return feedback_of(Class("A class", [standing, *others]), standing)


def test_what_to_do_next_begins_where_the_most_points_are():
    by_hand = Mark("e2", 4.0, "nearly", "T.", START)
    marked = dataclasses.replace(exercise(2, False, "wrong", by_hand), points=4.0)
    found = feedback_to(graded("a", exercise(1, False), marked, rule(10.0), rule(0.0, False, "dropout", "Call one.")))
    assert [(step.item.name, step.gain) for step in found.steps] == [("dropout", 10.0), ("e1", 5.0), ("e2", 1.0)]


def test_nothing_of_another_student_is_told():
    anna, bob = Student("s1001", "Anna Arendt", "anna@example.org"), Student("s1002", "Bob", "bob.b@example.org")
    delivery = Delivery(anna, {"net.py": Path()}, partners=(bob,), notes=("together with Bob (bob.b@example.org)",))
    grade = {
        "flags": ["the same as S1002"],
        "assignment": {
            "notes": ["Anna Arendt and Bob share it"],
            "suspicions": ["its network and recipe are those of Carla, who is in no roster."],
        },
    }
    mark = Mark("e1", 1.0, "see bob.b@example.org", "T.", START)
    items = (exercise(1, False, "s1002 defines it", mark), exercise(2, False, "Bob's up: the mean is off"))
    standing = Standing(anna, "graded", "Bob did it", delivery, items, result={"grade": grade})
    found = feedback_to(standing, Standing(bob, "missing"))
    told = "\n".join(everything(dataclasses.replace(found, exercises=found.exercises[:1], steps=())))
    assert not [name for name in ("Bob", "bob.b", "1002", "Carla") if name in told]
    assert found.student == anna
    assert found.notes == (f"Anna Arendt and {SOMEBODY} share it",)
    assert found.flags == (f"the same as {SOMEBODY}", f"its network and recipe are those of {SOMEBODY}.")
    assert (
        found.exercises[1].message == "Bob's up: the mean is off"
    )  # a name that may be a word stays in a check's text


def test_the_mistakes_are_shown_as_ink_on_paper():
    evidence = {"mistakes": [{"image": 0, "label": 7, "predicted": 2}], "mistaken": 61, "dataset": "mnist"}
    grade = {"assignment": {"accuracies": [0.9939]}}
    found = feedback_to(Standing(Student("a"), "graded", result={"grade": grade, "evidence": evidence}))
    (digit,) = found.mistakes
    assert digit.source.startswith("data:image/png;base64,")
    assert (digit.label, digit.predicted, found.mistaken, found.no_images) == ("7", "2", 61, "")
    beyond = {**evidence, "mistakes": [{"image": 10_000, "label": 7, "predicted": 2}]}
    assert "fewer" in feedback_to(Standing(Student("a"), "graded", result={"evidence": beyond})).no_images


def test_without_the_data_set_the_page_goes_on(monkeypatch):
    def load(name):
        raise DataError(f"no source has {name}\nmore of it")

    monkeypatch.setattr(feedback.data, "load", load)
    evidence = {"mistakes": [{"image": 0, "label": 7, "predicted": 2}], "mistaken": 61, "dataset": "not at hand"}
    grade = {"assignment": {"accuracies": [0.9939]}}
    found = feedback_to(Standing(Student("a"), "graded", result={"grade": grade, "evidence": evidence}))
    assert (found.mistakes, found.mistaken) == ((), 61)
    assert found.no_images == "The images are not shown: no source has not at hand"


def test_what_was_not_tested_has_no_mistakes():
    evidence = {"mistakes": [], "mistaken": 0, "dataset": "mnist", "curve": [], "layers": [], "parameters": None}
    grade = {"assignment": None, "flags": ["no network is judged: MyNet is missing."]}
    assert feedback_to(graded("a")).mistaken is None
    assert feedback_to(Standing(Student("a"), "graded", result={"grade": grade, "evidence": evidence})).mistaken is None


def test_a_layer_shows_what_its_middle_unit_sees():
    rows = layer_table(capture(TinyNet()))
    evidence = {"layers": [row.to_dict() for row in rows], "parameters": sum(row.parameters for row in rows)}
    told = feedback_to(Standing(Student("a"), "graded", result={"evidence": evidence})).layers
    assert sum(layer.share for layer in told) == pytest.approx(1)
    for layer, row in zip(told, rows, strict=True):
        left, top, width, height = layer.box
        assert (height, width) == row.field.clipped
        assert left + width / 2 == top + height / 2 == 14  # in the middle of 28 pixels
        assert layer.sees == "{}x{}".format(*row.field.size)
    assert told[0].step == "1x1"
    assert told[-1].step == ""


def test_when_it_was_handed_in_and_who_says_so():
    when = datetime(2026, 11, 20, 18, 5, tzinfo=timezone.utc)
    delivery = Delivery(Student("a"), {f"{n}.py": Path() for n in range(7)}, when, attempt=3, claimed=True)
    found = feedback_to(Standing(Student("a"), "waiting", delivery=delivery))
    assert found.delivered == (
        ("handed in", "0.py, 1.py, 2.py, 3.py, 4.py and 2 more"),
        ("when", "2026-11-20 18:05 UTC, as your side says"),
        ("attempt", "3"),
    )


def test_a_loss_that_is_no_number_is_left_out():
    curve = [
        {"epoch": 1, "loss": float("nan"), "train_accuracy": 0.1},
        {"epoch": 2, "loss": 1.0, "train_accuracy": 0.2},
    ]
    found = feedback_to(Standing(Student("a"), "graded", result={"evidence": {"curve": curve}}))
    assert [one["epoch"] for one in found.curve] == [2]


def test_every_student_of_a_class_gets_feedback():
    found = a_class(40)
    for standing in found.standings:
        told = feedback_of(found, standing)
        assert (told.state, told.points) == (standing.state, standing.points)
        others = [one.student.name for one in found.standings if one is not standing]
        own = standing.student.name
        whole = "\n".join(everything(told))
        assert not [name for name in others if name not in HOSTILE and name != own and name in whole]


def test_who_handed_in_a_network_alone_fails_no_exercise():
    left_out = graded("a", exercise(1, None, NOT_HANDED_IN), exercise(2, False, "wrong"))
    assert [failure.name for failure in a_report(left_out).failures] == ["e2"]


def test_an_accuracy_is_the_mean_over_its_seeds():
    measured = {"grade": {"assignment": {"accuracies": [0.99, 0.995, 0.992]}}}
    assert Standing(Student("a"), "graded", result=measured).accuracy == fmean([0.99, 0.995, 0.992])
    assert Standing(Student("a"), "graded").accuracy is None
