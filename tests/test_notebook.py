"""The notebook's editions, and how it is executed and judged."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lab import notebook
from lab.notebook import NotebookError, run_lab, solved_edition, student_edition

TINY = """# %% tags=["parameters"]
accuracy = 0.995
quick = False

# %% nbgrader={"grade": false, "grade_id": "answer", "locked": false, "schema_version": 3, "solution": true}
def answer():
    ### BEGIN SOLUTION
    return 42
    ### END SOLUTION

# %%
from lab.notebook import hand_over
hand_over({"accuracy": accuracy, "parameters": 19_999, "epochs": 19})
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notebooks" / "mnist_994.py"
    path.parent.mkdir()
    path.write_text(TINY)
    monkeypatch.setattr(notebook, "SOURCE", path)
    return path


def exercises(edition: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in edition.cells if cell.metadata.get("nbgrader", {}).get("solution")]


# -- editions ---------------------------------------------------------------------------------------------------------


def test_the_committed_editions_are_what_the_source_gives() -> None:
    notebook.check()


def test_the_students_copy_has_a_stub_for_every_solution_and_no_outputs() -> None:
    student, solved = student_edition(), solved_edition()
    assert len(student.cells) == len(solved.cells)
    assert len(exercises(student)) == 12
    for stub, solution in zip(exercises(student), exercises(solved), strict=True):
        assert "raise NotImplementedError()" in stub.source
        assert "raise NotImplementedError" not in solution.source
        assert stub.source.startswith("# EXERCISE")
    for edition in (student, solved):
        assert not any("SOLUTION" in cell.source for cell in edition.cells)
        assert not any(cell.get("outputs") for cell in edition.cells)


def test_every_exercise_is_checked_and_the_points_are_whole() -> None:
    cells = [cell.metadata.nbgrader for cell in solved_edition().cells if "nbgrader" in cell.metadata]
    solutions = [cell.grade_id for cell in cells if cell.solution]
    graded = [cell.grade_id for cell in cells if cell.grade]
    assert graded == [f"{name}-check" for name in solutions]
    assert len(set(solutions)) == 12
    assert sum(cell.points for cell in cells if cell.grade) == 16
    assert all(cell.locked for cell in cells if cell.grade)


def test_cells_are_short() -> None:
    for cell in solved_edition().cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("solution"):
            assert len(lines) <= 10, cell.source


def test_every_figure_of_the_solved_edition_says_in_words_what_it_shows() -> None:
    outputs = [o for cell in nbformat.read(notebook._solved_path(), 4).cells for o in cell.get("outputs", [])]
    figures = [output.data for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) > 20
    for figure in figures:
        (words,) = re.findall(r'<img [^>]*alt="([^"]+)"', figure["text/html"])
        assert len(words) > 30


def test_an_edition_that_differs_from_the_source_is_found(source: Path) -> None:
    with pytest.raises(NotebookError, match=r"mnist_994\.ipynb is not what mnist_994\.py gives"):
        notebook.check()
    nbformat.write(student_edition(), notebook._student_path())
    nbformat.write(solved_edition(), notebook._solved_path())
    notebook.check()
    changed = solved_edition()
    changed.cells[2].outputs = [nbformat.v4.new_output("stream", text="outputs do not count")]
    nbformat.write(changed, notebook._solved_path())
    notebook.check()
    changed.cells[2].source += " "
    nbformat.write(changed, notebook._solved_path())
    with pytest.raises(NotebookError, match=r"mnist_994_solved\.ipynb"):
        notebook.check()


def test_without_a_clone_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "SOURCE", tmp_path / "nowhere.py")
    with pytest.raises(NotebookError, match="run this in a clone"):
        solved_edition()


# -- execution --------------------------------------------------------------------------------------------------------


def test_a_run_that_meets_the_assignment_passes(source: Path, tmp_path: Path) -> None:
    outcome = run_lab({}, tmp_path / "out")
    assert outcome.passed
    assert outcome.line().startswith("PASS accuracy=0.9950 parameters=19999 epochs=19 seconds=")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (written["passed"], written["accuracy"], written["epochs"]) == (True, 0.995, 19)
    assert "hand_over" in (tmp_path / "out" / "mnist_994.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "mnist_994.html",
        "mnist_994.ipynb",
        "results.json",
    ]


@pytest.mark.parametrize(
    ("change", "parameters", "reason"),
    [
        ("", {"accuracy": 0.9939}, "accuracy 99.39%, wants at least 99.40%"),
        ("", {"accuracy": 0.96, "quick": True}, "wants at least 97.00%"),
        ("19_999", {}, "20,000 parameters, wants fewer than 20,000"),
        ('"epochs": 19', {}, "20 epochs, wants fewer than 20"),
        ("hand_over({", {}, "fails with ZeroDivisionError: division by zero"),
        ("def answer", {}, "handed over no result"),
    ],
)
def test_a_run_that_falls_short_says_why(
    source: Path, tmp_path: Path, change: str, parameters: dict[str, Any], reason: str
) -> None:
    instead = {
        "": "",
        "19_999": "20_000",
        '"epochs": 19': '"epochs": 20',
        "hand_over({": "1 / 0\nhand_over({",
        "def answer": "hand_over = print\ndef answer",
    }[change]
    text = TINY.replace(change, instead)
    source.write_text(text.replace("from lab.notebook import hand_over", "") if change == "def answer" else text)
    outcome = run_lab(parameters, tmp_path / "out")
    assert not outcome.passed
    assert reason in outcome.line()
    assert outcome.line().startswith("FAIL accuracy=")
    assert not json.loads((tmp_path / "out" / "results.json").read_text())["passed"]
    assert (tmp_path / "out" / "mnist_994.html").is_file()


def test_a_nan_accuracy_does_not_pass() -> None:
    assert notebook._shortfall(float("nan"), 1, 1, quick=False)


def test_a_folder_that_cannot_be_made_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotebookError, match="Choose another folder"):
        run_lab({}, tmp_path / "file" / "out")


def test_the_quick_run_passes_and_the_untouched_copy_fails_only_with_not_implemented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_lab({"quick": True}, tmp_path)
    assert outcome.passed, outcome.line()
    assert outcome.parameters == 18650
    assert outcome.epochs == 2
    executed = nbformat.read(outcome.notebook, as_version=4)
    assert not [o for cell in executed.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]

    monkeypatch.setenv("LAB_QUICK", "1")
    student = student_edition()
    NotebookClient(student, allow_errors=True, kernel_name="python3").execute()
    errors = [o for cell in student.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert {error.ename for error in errors} == {"NotImplementedError"}
    failed = [c.metadata.nbgrader.grade_id for c in student.cells if "nbgrader" in c.metadata and c.get("outputs")]
    assert failed == [cell.metadata.nbgrader.grade_id + "-check" for cell in exercises(student)]
