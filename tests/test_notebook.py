"""The notebooks' editions, and how they are executed and judged."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lab import notebook
from lab.notebook import NotebookError, run_lab, solved_edition, student_edition
from lab.rules import load_rubric

NAMES = ["fashion", "mnist_994"]

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
    """A clone with one tiny notebook, which mnist_994's rubric judges."""
    path = tmp_path / "notebooks" / "mnist_994.py"
    path.parent.mkdir()
    path.write_text(TINY)
    monkeypatch.setattr(notebook, "NOTEBOOKS", path.parent)
    return path


def exercises(edition: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in edition.cells if cell.metadata.get("nbgrader", {}).get("solution")]


# -- editions ---------------------------------------------------------------------------------------------------------


def test_every_notebook_has_a_rubric_of_its_name_with_a_lower_bar_for_quick_runs() -> None:
    assert notebook.names() == NAMES
    for name in NAMES:
        rubric = load_rubric(name)
        assert rubric.accuracy_bar(quick=True) < rubric.accuracy_bar(quick=False) == rubric.limit("accuracy")


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_editions_are_what_the_source_gives(name: str) -> None:
    notebook.check(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_shows_no_warning_and_no_ones_paths(name: str) -> None:
    solved = nbformat.read(notebook.NOTEBOOKS / f"{name}_solved.ipynb", as_version=4)
    outputs = [output for cell in solved.cells for output in cell.get("outputs", [])]
    assert outputs
    assert not [output for output in outputs if output.get("name") == "stderr" or output.output_type == "error"]
    shown = [output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in outputs]
    assert not [text for text in shown if "/home/" in text or "/root" in text or "/tmp" in text or "/Users" in text]


@pytest.mark.parametrize("name", NAMES)
def test_the_students_copy_has_a_stub_for_every_solution_and_no_outputs(name: str) -> None:
    student, solved = student_edition(name), solved_edition(name)
    assert len(student.cells) == len(solved.cells)
    for stub, solution in zip(exercises(student), exercises(solved), strict=True):
        assert "raise NotImplementedError()" in stub.source
        assert "raise NotImplementedError" not in solution.source
        assert stub.source.startswith("# EXERCISE")
    for edition in (student, solved):
        assert not any("SOLUTION" in cell.source for cell in edition.cells)
        assert not any(cell.get("outputs") for cell in edition.cells)


@pytest.mark.parametrize(("name", "count", "points"), [("mnist_994", 12, 16), ("fashion", 4, 6)])
def test_every_exercise_is_checked_and_the_points_are_whole(name: str, count: int, points: int) -> None:
    cells = [cell.metadata.nbgrader for cell in solved_edition(name).cells if "nbgrader" in cell.metadata]
    solutions = [cell.grade_id for cell in cells if cell.solution]
    graded = [cell.grade_id for cell in cells if cell.grade]
    assert graded == [f"{exercise}-check" for exercise in solutions]
    assert len(set(solutions)) == count
    assert sum(cell.points for cell in cells if cell.grade) == points
    assert all(cell.locked for cell in cells if cell.grade)


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short(name: str) -> None:
    for cell in solved_edition(name).cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        is_set_up = "setup" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("solution") and not is_set_up:
            assert len(lines) <= 10, cell.source


@pytest.mark.parametrize(("name", "least"), [("mnist_994", 25), ("fashion", 5)])
def test_every_figure_of_the_solved_edition_says_in_words_what_it_shows(name: str, least: int) -> None:
    solved = nbformat.read(notebook.NOTEBOOKS / f"{name}_solved.ipynb", as_version=4)
    outputs = [output for cell in solved.cells for output in cell.get("outputs", [])]
    figures = [output.data for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) >= least
    for figure in figures:
        (words,) = re.findall(r'<img [^>]*alt="([^"]+)"', figure["text/html"])
        assert len(words) > 30


def test_an_edition_that_differs_from_the_source_is_found(source: Path) -> None:
    student, solved = (source.with_name(f"mnist_994{end}.ipynb") for end in ("", "_solved"))
    with pytest.raises(NotebookError, match=r"mnist_994\.ipynb is not what mnist_994\.py gives"):
        notebook.check("mnist_994")
    nbformat.write(student_edition("mnist_994"), student)
    nbformat.write(solved_edition("mnist_994"), solved)
    notebook.check("mnist_994")
    changed = solved_edition("mnist_994")
    changed.cells[2].outputs = [nbformat.v4.new_output("stream", text="outputs do not count")]
    nbformat.write(changed, solved)
    notebook.check("mnist_994")
    changed.cells[2].source += " "
    nbformat.write(changed, solved)
    with pytest.raises(NotebookError, match=r"mnist_994_solved\.ipynb"):
        notebook.check("mnist_994")


def test_without_a_clone_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "NOTEBOOKS", tmp_path / "nowhere")
    with pytest.raises(NotebookError, match="run this in a clone"):
        solved_edition("mnist_994")


@pytest.mark.parametrize("name", ["cifar", "../notebooks/fashion", ""])
def test_a_notebook_that_there_is_not(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="take fashion, mnist_994"):
        run_lab({}, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_building_writes_both_editions_and_keeps_the_old_one_of_a_run_that_falls_short(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "ROOT", source.parent.parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    notebook.build("mnist_994")
    assert capsys.readouterr().out.startswith("mnist_994: PASS accuracy=0.9950")
    notebook.check("mnist_994")
    solved = source.with_name("mnist_994_solved.ipynb").read_text()
    assert "papermill" not in solved
    source.write_text(TINY.replace("0.995", "0.5"))
    with pytest.raises(NotebookError, match="was not replaced"):
        notebook.build("mnist_994")
    assert source.with_name("mnist_994_solved.ipynb").read_text() == solved


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
    assert notebook._shortfall(load_rubric(), 0.5, float("nan"), 1, 1)


def test_each_notebook_is_judged_by_its_own_rubric(source: Path, tmp_path: Path) -> None:
    source.with_name("fashion.py").write_text(TINY)
    assert run_lab({"accuracy": 0.95}, tmp_path / "out", "fashion").passed
    assert not run_lab({"accuracy": 0.95}, tmp_path / "out", "mnist_994").passed
    assert (tmp_path / "out" / "fashion.html").is_file()


def test_a_folder_that_cannot_be_made_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotebookError, match="Choose another folder"):
        run_lab({}, tmp_path / "file" / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_quick_run_passes_and_the_untouched_copy_fails_only_with_not_implemented(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_lab({"quick": True}, tmp_path, name)
    assert outcome.passed, outcome.line()
    assert outcome.parameters is not None
    assert 15_000 < outcome.parameters < 20_000
    assert outcome.epochs == 2
    executed = nbformat.read(outcome.notebook, as_version=4)
    assert not [o for cell in executed.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]

    monkeypatch.setenv("LAB_QUICK", "1")
    student = student_edition(name)
    NotebookClient(student, allow_errors=True, kernel_name="python3").execute()
    errors = [o for cell in student.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert {error.ename for error in errors} == {"NotImplementedError"}
    failed = [c.metadata.nbgrader.grade_id for c in student.cells if "nbgrader" in c.metadata and c.get("outputs")]
    assert failed == [cell.metadata.nbgrader.grade_id + "-check" for cell in exercises(student)]
