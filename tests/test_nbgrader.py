"""A course in nbgrader: assignment made, handed out, submitted, graded and exported with nbgrader's own program."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import CheckCellMetadata, DeduplicateIds

from lab.course import editions
from lab.course.copies import REFUSED, is_answer, is_check, read_copy, warnings_of
from lab.course.exercises import check_copy, exercise_points

NAME = "mnist_994"
FIELDS = (
    "assignment,duedate,timestamp,student_id,last_name,first_name,email,"
    "raw_score,late_submission_penalty,score,max_score"
)
CONFIG = "c = get_config()\nc.CourseDirectory.course_id = 'mnist'\nc.ExecutePreprocessor.timeout = 600\n"


def nbgrader(course: Path, *arguments: str) -> str:
    """What nbgrader prints, called in the course's folder."""
    environment = os.environ | {"LAB_QUICK": "1", "LAB_PROGRESS": "0", "PYTHONPATH": str(editions.ROOT)}
    environment["JUPYTER_CONFIG_DIR"] = str(course / "jupyter")  # nobody's own settings
    command = [sys.executable, "-m", "nbgrader", *arguments]
    for _ in range(3):
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=1200)
        if "Address already in use" not in done.stderr:  # another test's kernel chose the same port at the same moment
            break
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def source() -> NotebookNode:
    """The notebook as a teacher has it, with its solutions and their marks."""
    return editions._source(NAME)


def reduced(whole: NotebookNode) -> NotebookNode:
    """Without what is trained: set-up, answers and checks."""
    kept = [cell for cell in whole.cells if "nbgrader" in cell.metadata or "setup" in cell.metadata.get("tags", [])]
    kept = [cell for cell in kept if not cell.metadata.get("nbgrader", {}).get("grade_id", "").startswith("version-")]
    whole.cells = kept
    return whole


def answers(edition: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in edition.cells if is_answer(cell)]


def cells(edition: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in edition.cells]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty course. nbgrader calls `alembic` by its name, so that this Python's programs have to come first."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (tmp_path / "source" / NAME).mkdir(parents=True)
    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    return tmp_path


def submit(course: Path, student: str, released: NotebookNode, written: dict[str, str]) -> Path:
    """Hand in the released notebook with these answers: grade_id -> source."""
    for cell in answers(released):
        cell.source = written.get(cell.metadata.nbgrader.grade_id, cell.source)
    path = course / "submitted" / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(released, path)
    return path


def graded(course: Path, student: str) -> dict[str, float]:
    """Points per exercise, from nbgrader's gradebook."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        copy = gradebook.find_submission_notebook(NAME, NAME, student)
        return {grade.name.removesuffix("-check"): grade.score for grade in copy.grades}


def mistakes(right: dict[str, str]) -> dict[str, str]:
    """Three answers that are one function each: one as it should be, a wrong one, a right one that writes to stderr."""
    first, second, third = [name for name, cell in right.items() if cell.count("\n    return ") == 1][:3]
    loud = "\n    import sys; print('careful', file=sys.stderr)\n    return "
    return {
        first: right[first],
        second: right[second].replace("    return ", "    return 0.5 or "),
        third: right[third].replace("\n    return ", loud),
    }


def run_course(course: Path, whole: NotebookNode, solved: NotebookNode, quick: bool) -> dict[str, dict[str, float]]:
    """A term with two students: one has everything right, the other has a mistake and leaves the most open.

    quick: there is nothing in it that has to be trained.
    """
    nbformat.write(whole, course / "source" / NAME / f"{NAME}.ipynb")
    nbgrader(course, "generate_assignment", NAME)
    released = course / "release" / NAME / f"{NAME}.ipynb"
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in answers(solved)}
    copies = {
        "ada": submit(course, "ada", nbformat.read(released, as_version=4), right),
        "bob": submit(course, "bob", nbformat.read(released, as_version=4), mistakes(right)),
    }
    damaged = submit_damaged(course, nbformat.read(released, as_version=4), right)
    nbgrader(course, "autograde", NAME)
    points = {student: graded(course, student) for student in copies}
    ours = {
        student: [one for one in exercise_points(copy, quick=quick) if one.name in points[student]]
        for student, copy in copies.items()
    }
    for student in copies:
        assert {exercise.name: exercise.points for exercise in ours[student]} == points[student]
    assert all(exercise.passed for exercise in ours["ada"])
    passed = {exercise.name: exercise.passed for exercise in ours["bob"]}
    assert passed == dict.fromkeys(points["bob"]) | dict(zip(mistakes(right), (True, False, True), strict=True))
    check_damaged(course, damaged, list(right))
    return points


def submit_damaged(course: Path, released: NotebookNode, right: dict[str, str]) -> Path:
    """A third student's copy, three answers of which have lost their metadata, their check, and their check's place."""
    unnamed, unchecked, moved = three = list(right)[:3]
    path = submit(course, "cyd", released, {name: right[name] for name in three})
    place = {cell.metadata.nbgrader.grade_id: cell for cell in released.cells if "nbgrader" in cell.metadata}
    released.cells.remove(place[f"{unchecked}-check"])
    released.cells.remove(place[f"{moved}-check"])
    released.cells.insert(released.cells.index(place[moved]), place[f"{moved}-check"])
    del place[unnamed].metadata["nbgrader"]
    nbformat.write(released, path)
    return path


def check_damaged(course: Path, path: Path, names: list[str]) -> None:
    """nbgrader does what the lab's warnings say."""
    _, unchecked, moved = names[:3]
    theirs, ours = graded(course, "cyd"), check_copy(path, quick=True)
    answered = [exercise for exercise in ours.exercises if exercise.name in names[:3]]
    told = [name for name in names if any(f"no points for '{name}'" in warning for warning in ours.warnings)]
    assert told == [unchecked, moved]
    assert all(exercise.passed for exercise in answered)
    expected = {e.name: 0 if e.name in told else e.points for e in answered}
    assert {name: theirs.get(name) or 0 for name in expected} == expected


def exported(course: Path) -> dict[str, dict[str, str]]:
    nbgrader(course, "export")
    text = (course / "grades.csv").read_text()
    assert text.splitlines()[0] == FIELDS
    return {row["student_id"]: row for row in csv.DictReader(text.splitlines())}


def check_export(course: Path, points: dict[str, dict[str, float]], whole: NotebookNode) -> None:
    most = sum(cell.metadata.nbgrader.points for cell in whole.cells if is_check(cell))
    rows = exported(course)
    for student in ("ada", "bob"):
        assert float(rows[student]["score"]) == float(rows[student]["raw_score"]) == sum(points[student].values())
        assert float(rows[student]["max_score"]) == most
    assert sum(points["ada"].values()) == most


@pytest.mark.slow  # in `make test` the sandboxed course stands for it (tests/grading)
def test_a_course_with_the_exercises_alone(course: Path) -> None:
    whole = reduced(source())
    points = run_course(course, whole, reduced(editions.solved_edition(NAME)), quick=True)
    check_export(course, points, whole)


def test_the_released_copy_is_the_committed_one(course: Path) -> None:
    nbformat.write(source(), course / "source" / NAME / f"{NAME}.ipynb")
    nbgrader(course, "generate_assignment", NAME)
    released = nbformat.read(course / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    committed = nbformat.read(editions.NOTEBOOKS / f"{NAME}.ipynb", as_version=4)
    assert cells(released) == cells(committed)
    assert all("checksum" in cell.metadata.nbgrader for cell in released.cells if is_check(cell))


@pytest.mark.parametrize(
    ("damage", "refused"),
    [
        (lambda answer, check: None, False),
        (lambda answer, check: check.metadata.nbgrader.update(points=40), False),
        (lambda answer, check: answer.metadata.pop("nbgrader"), False),
        (lambda answer, check: answer.metadata.update(nbgrader={}), True),
        (lambda answer, check: answer.metadata.update(nbgrader=None), True),
        (lambda answer, check: answer.metadata.nbgrader.update(grade_id="grow"), True),
        (lambda answer, check: answer.metadata.nbgrader.update(grade_id=None), True),
        (lambda answer, check: answer.metadata.nbgrader.update(solution=None), True),
        (lambda answer, check: answer.metadata.nbgrader.update(schema_version=2), True),
        (lambda answer, check: check.metadata.nbgrader.update(grade_id="a b"), True),
        (lambda answer, check: check.metadata.nbgrader.update(points=-1), True),
        (lambda answer, check: check.metadata.nbgrader.update(points="1"), True),
        (lambda answer, check: check.metadata.nbgrader.pop("points"), True),
    ],
)
def test_nbgrader_refuses_what_the_lab_says_it_will(damage: Any, refused: bool, tmp_path: Path) -> None:
    """By the steps with which its autograder begins."""
    copy = reduced(source())
    damage(
        *(cell for cell in copy.cells if cell.metadata.get("nbgrader", {}).get("grade_id", "").startswith("out-size"))
    )
    (tmp_path / "copy.ipynb").write_text(json.dumps(copy))
    ours = read_copy(tmp_path / "copy.ipynb")
    known = {cell.metadata.nbgrader.grade_id: cell for cell in source().cells if "nbgrader" in cell.metadata}
    assert any(warning.startswith(REFUSED) for warning in warnings_of(ours, known)) == refused
    try:
        for step in (DeduplicateIds(), CheckCellMetadata()):
            copy, _ = step.preprocess(copy, {})
    except Exception:
        assert refused
    else:
        assert not refused


@pytest.mark.slow
def test_a_course_with_the_whole_notebook(course: Path) -> None:
    points = run_course(course, source(), editions.solved_edition(NAME), quick=False)
    check_export(course, points, source())
    ada = course / "submitted" / "ada" / NAME / f"{NAME}.ipynb"
    assert "Success! Your notebook passes all the tests." in nbgrader(course, "validate", str(ada))
