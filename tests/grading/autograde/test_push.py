"""A hand-in graded as a push is: which way, what is asked of it, and where in its files it stands."""

import json
import subprocess
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from lab.cli import main
from lab.course.copies import grade_id_of
from lab.course.editions import solved_edition, student_edition
from lab.grading.autograde import push
from lab.grading.autograde.push import Place, Pushed, grade_push, lines, submitted, sum_of, write_report
from lab.grading.grade import Options
from lab.grading.standing import Class, Item, Standing, Student

ADA = Student("ada")


def exercise(name: str, passed: bool | None, checked: bool = True, points: float = 1.0) -> dict[str, object]:
    return {"name": name, "title": "exercise 1", "passed": passed, "points": points if passed else 0.0,
            "max_points": points, "message": f"about {name}\nand more", "checked": checked}  # fmt: skip


def verdict(rule: str, passed: bool | None) -> dict[str, object]:
    return {"rule": rule, "passed": passed, "figure": "99.00%", "limit": "at least 99.40%", "hint": f"about {rule}",
            "points": 10.0 if passed else 0.0, "max_points": 10.0}  # fmt: skip


def pushed(*exercises: dict[str, object], verdicts: tuple[dict[str, object], ...] = (), state: str = "graded",
           message: str = "", more: tuple[Item, ...] = (), **options: object) -> Pushed:  # fmt: skip
    """What a judge could have said of one hand-in."""
    from lab.grading.standing import items_of

    assignment = {"mode": "weights", "verdicts": list(verdicts)} if verdicts else None
    grade = {"state": state, "message": message, "exercises": list(exercises), "assignment": assignment, "flags": []}
    one = Standing(ADA, state, message, None, (*items_of(grade), *more), result={"grade": grade})  # type: ignore[arg-type]
    return Pushed(Class("MNIST", (one,)), "my.ipynb", Options(**options), {})  # type: ignore[arg-type]


# -- what is asked of a push ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (pushed(exercise("a", True), exercise("b", True)), True),
        (pushed(exercise("a", True), exercise("b", False)), False),
        (pushed(exercise("a", True), exercise("b", None)), False),  # still open
        (pushed(exercise("a", True), exercise("b", None, checked=False)), True),  # needs a training
        (pushed(exercise("b", None, checked=False)), False),  # nothing was checked at all
        (pushed(), False),
        (pushed(exercise("a", True), verdicts=(verdict("epochs", None), verdict("accuracy", True))), True),
        (pushed(exercise("a", True), verdicts=(verdict("epochs", None), verdict("accuracy", False))), False),
        (pushed(exercise("a", True), more=(Item("rule", "accuracy", "accuracy", None, 0, 10, "", ""),)), False),
        (pushed(exercise("a", True), state="student error"), False),
    ],
)
def test_a_push_passes_where_all_is_earned_that_was_checked(found, passed):
    assert found.passed is passed


def test_each_line_says_what_came_out():
    found = pushed(exercise("a", True), exercise("b", False), exercise("c", None), exercise("d", None, False, 4.0),
                   verdicts=(verdict("epochs", None), verdict("accuracy", False)))  # fmt: skip
    assert lines(found) == [
        "PASS exercise 1, a: 1 of 1 points.",
        "FAIL exercise 1, b: 0 of 1 points.",
        "     about b",
        "     and more",
        "open exercise 1, c: 0 of 1 points.",
        "---- exercise 1, d: 0 of 4 points.",
        "---- epochs: 0 of 10 points. 99.00%, at least 99.40%.",
        "     about epochs",
        "FAIL accuracy: 0 of 10 points. 99.00%, at least 99.40%.",
        "     about accuracy",
        "1 of 27 points; 14 of them are not checked this way",
    ]


def test_the_grader_s_own_trouble_is_no_zero():
    found = pushed(state="grader error", message="the disk is full")
    assert found.ours
    assert sum_of(found) == "no grade: the grader's own trouble, which costs nobody points."
    assert "grader error: the disk is full" in lines(found)
    assert not pushed(state="student error").ours


# -- which way, and where ---------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the judge is asked for, in its place."""
    calls = []

    def grade_alone(target, rubric, options, student, submitted=None):
        calls.append((target, rubric, options, student, submitted))
        return pushed(exercise("out-size", True)).found

    monkeypatch.setattr(push, "grade_alone", grade_alone)
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with an untouched copy."""
    nbformat.write(student_edition("mnist_994"), tmp_path / "mnist_994.ipynb")
    return tmp_path


@pytest.mark.parametrize(
    ("how", "mode", "quick"),
    [("push", None, True), ("weights", "weights", False)],
)  # fmt: skip
def test_a_copy_is_graded_quickly_on_a_push_and_otherwise_as_is_asked(folder, asked, how, mode, quick):
    grade_push(folder, how, ADA, None, Options())
    (_, rubric, options, student, _), *_ = asked
    assert (options.mode, options.quick, student) == (mode, quick, ADA)
    assert "99.4" in rubric.title
    ways = {way: push._options(way, None, Options(seed=3)) for way in ("quick", "retrain", "rerun", "push")}
    assert {way: (one.mode, one.quick) for way, one in ways.items()} == {
        "quick": (None, True), "retrain": ("retrain", False), "rerun": ("rerun", False), "push": (None, True)
    }  # fmt: skip
    assert {one.seed for one in ways.values()} == {3}


def test_the_options_count_where_no_way_is_named(folder, asked):
    grade_push(folder, None, ADA, "mnist_8k", Options(mode="retrain", seed=3))
    (_, rubric, options, *_), *_ = asked
    assert (options.mode, options.seed, options.quick) == ("retrain", 3, False)
    assert "8" in rubric.title


def test_another_notebook_is_judged_by_its_own_rubric(tmp_path, asked):
    nbformat.write(student_edition("fashion"), tmp_path / "fashion.ipynb")
    grade_push(tmp_path, "push", ADA, None, Options())
    assert asked[0][1].dataset == "fashion_mnist"


def test_what_can_t_be_graded_is_the_judge_s_to_say(tmp_path, asked):
    (tmp_path / "README.md").touch()
    found = grade_push(tmp_path, "push", ADA, None, Options())
    assert (found.graded_what, found.places) == (tmp_path.name, {})


def test_each_exercise_and_rule_has_its_cell(folder, asked):
    found = grade_push(folder, "push", ADA, None, Options())
    text = (folder / "mnist_994.ipynb").read_text(encoding="utf-8").splitlines()
    named = {name: text[place.line - 1] for name, place in found.places.items() if place.line}
    assert found.graded_what == "mnist_994.ipynb"
    assert {place.file for place in found.places.values()} == {"mnist_994.ipynb"}
    assert "EXERCISE 1," in named["exercise:out-size"]
    assert named["exercise:version-3-98"] == named["exercise:version-3"]  # one answer, several checks
    assert named["rule:accuracy"] == named["rule:epochs"]
    cell = next(cell for cell in student_edition("mnist_994").cells if "class MyNet" in cell.source)
    assert json.loads(named["rule:accuracy"].strip().rstrip(",")) == cell.source.splitlines(keepends=True)[0]


def test_beside_a_hand_in_the_cells_are_those_of_the_copy_that_lies_there(folder, asked, monkeypatch):
    monkeypatch.setattr(push, "collect", lambda target: _of_a_hand_in(folder / "work" / "my_net.lab"))
    (folder / "work").mkdir()
    (folder / "work" / "my_net.lab").touch()
    found = grade_push(folder, "push", ADA, None, Options())
    assert asked[0][2].mode == "weights"
    assert found.graded_what == "work/my_net.lab"
    assert found.places["exercise:out-size"].file == "mnist_994.ipynb"
    nbformat.write(solved_edition("mnist_994"), folder / "other.ipynb")  # which of the two?
    alone = grade_push(folder, "push", ADA, None, Options())
    assert set(alone.places.values()) == {Place("work/my_net.lab")}
    assert "exercise:out-size" not in alone.places


def _of_a_hand_in(path: Path):
    from types import SimpleNamespace

    from lab.course.plan import editions

    edition = next(one for one in editions() if one.name == "mnist_994")
    return SimpleNamespace(path=path, hand_in=SimpleNamespace(rubric="mnist_994"), copy=None, edition=edition)


def test_a_student_s_last_network_of_that_name_is_the_one(folder, asked):
    copy = nbformat.read(folder / "mnist_994.ipynb", as_version=4)
    copy.cells.append(nbformat.v4.new_code_cell("class MyNet:\n    'mine'", id="mine"))
    copy.cells.append(nbformat.v4.new_code_cell("print(MyNet)", id="use"))
    nbformat.write(copy, folder / "mnist_994.ipynb")
    place = grade_push(folder, "push", ADA, None, Options()).places["rule:accuracy"]
    assert "class MyNet" in (folder / "mnist_994.ipynb").read_text(encoding="utf-8").splitlines()[place.line - 1]
    before = next(cell for cell in copy.cells if grade_id_of(cell) == "out-size")
    assert before.source  # the rest is as it was


def test_the_commit_says_when_it_was_handed_in(tmp_path):
    assert submitted(tmp_path) is None
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert submitted(tmp_path) is None  # no commit yet
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    when = {"GIT_COMMITTER_DATE": "2026-11-26T14:00:00+02:00", "PATH": "/usr/bin:/bin"}
    call = ["git", "-C", str(tmp_path), *who, "commit", "--quiet", "--allow-empty", "--message", "x"]
    subprocess.run(call, check=True, env=when)
    assert submitted(tmp_path).isoformat() == "2026-11-26T12:00:00+00:00"


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def judged(monkeypatch):
    """A push with this outcome, in the place of grading."""

    def choose(found: Pushed) -> list[object]:
        calls: list[object] = []

        def grade_push(*given: object) -> Pushed:
            calls.extend(given)
            return found

        monkeypatch.setattr(push, "grade_push", grade_push)
        return calls

    return choose


def test_the_report_has_the_page_and_the_grade(tmp_path, judged):
    found = pushed(exercise("a", True), exercise("b", None, checked=False))
    given = judged(found)
    asked = ["grade", "mine", "--mode", "push", "--report", str(tmp_path / "new" / "report")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "PASS exercise 1, a" in done.output
    assert given[1] == "push"
    assert json.loads((tmp_path / "new" / "report" / "grade.json").read_text()) == found.one.grade
    assert "<html" in (tmp_path / "new" / "report" / "feedback.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("found", "push_status", "status"),
    [
        (pushed(exercise("a", True)), 0, 0),
        (pushed(exercise("a", True), exercise("b", None, checked=False)), 0, 1),
        (pushed(exercise("a", False)), 1, 1),
        (pushed(state="student error", message="no"), 2, 2),
        (pushed(state="grader error", message="no"), 2, 2),
    ],
)
def test_the_status_of_a_push_is_of_what_it_checks_and_else_of_all_points(tmp_path, judged, found, push_status, status):
    judged(found)
    assert CliRunner().invoke(main, ["grade", "mine", "--mode", "push"]).exit_code == push_status
    asked = ["grade", "mine", "--report", str(tmp_path), "--quick", "--json"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == status
    assert json.loads(done.output) == found.one.grade


def test_a_report_is_of_one_hand_in(tmp_path):
    done = CliRunner().invoke(main, ["grade", str(tmp_path), "--report", "a", "--out", "b"])
    assert (done.exit_code, "--out is for a class" in done.output) == (2, True)


def test_a_report_that_can_t_be_written_says_where(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(push.ReportError, match="file"):
        write_report(pushed(exercise("a", True)), tmp_path / "file" / "report")
