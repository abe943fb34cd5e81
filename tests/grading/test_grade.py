"""One hand-in, graded in a real sandbox: the honest ones, those that went wrong, and what is no hand-in."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner
from nbformat import NotebookNode

from lab import submission
from lab.cli import main
from lab.course import editions
from lab.errors import LabError
from lab.grading import grade as grading
from lab.grading.grade import Grade, Options, grade
from lab.grading.judge import Judgement
from lab.grading.rerun_inside import Reran
from lab.graph import capture
from lab.models import LabNet
from lab.train import Recipe

QUICK = Options(quick=True)
FIRST = ("out-size", "grow", "by-hand")


def copy_with(answers: dict[str, str], name: str = "mnist_994") -> NotebookNode:
    """The student's edition up to its third exercise, with these sources in the place of some answers."""
    notebook = editions.student_edition(name)
    kept = []
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id in answers:
            cell.source = answers[grade_id]
        if "setup" in cell.metadata.get("tags", []) or grade_id.removesuffix("-check") in FIRST:
            kept.append(cell)
    notebook.cells = kept
    return notebook


PLACES = "(n, kernel, stride=1, pad=0):\n    return (n + 2 * pad - kernel) // stride + 1"
RIGHT = {
    "out-size": f"# EXERCISE 1\ndef out_size{PLACES}",
    "grow": "# EXERCISE 2\ndef grow(size, jump, kernel, stride=1):\n  return size + jump * (kernel - 1), stride * jump",
}


def graded(notebook: NotebookNode, folder: Path, options: Options = QUICK) -> Grade:
    nbformat.write(notebook, folder / "copy.ipynb")
    return grade(folder / "copy.ipynb", options)


def points(done: Grade) -> dict[str, Any]:
    return {one.name: one.points for one in done.exercises if one.name in FIRST}


@pytest.fixture(scope="module")
def two_right(tmp_path_factory: pytest.TempPathFactory) -> Grade:
    return graded(copy_with(RIGHT), tmp_path_factory.mktemp("two_right"))


def test_right_answers_earn_their_points_and_an_open_one_none(two_right: Grade) -> None:
    assert points(two_right) == {"out-size": 1, "grow": 1, "by-hand": 0}
    assert two_right.points == (2, 33)
    assert next(one for one in two_right.exercises if one.name == "by-hand").passed is None
    missing = next(one for one in two_right.exercises if one.name == "accuracy")
    assert missing.message == "its cell is not in this notebook."


def test_the_same_hand_in_gives_the_same_bytes(two_right: Grade, tmp_path: Path) -> None:
    again = graded(copy_with(RIGHT), tmp_path)
    assert json.dumps(again.to_dict()) != ""
    assert [one.to_dict() for one in again.exercises] == [one.to_dict() for one in two_right.exercises]


def test_a_wrong_answer_is_told_as_in_the_notebook(tmp_path: Path) -> None:
    wrong = RIGHT | {"out-size": RIGHT["out-size"].replace(" + 1", "")}
    done = graded(copy_with(wrong), tmp_path)
    assert points(done) == {"out-size": 0, "grow": 1, "by-hand": 0}
    assert "Off by one" in done.exercises[0].message


def test_cases_learnt_by_heart_earn_nothing_and_are_told(tmp_path: Path) -> None:
    by_heart = (
        "KNOWN = {(28, 3): 26, (28, 3, 1, 1): 28, (28, 5, 2, 2): 14, (7, 2, 2): 3, (9, 3, 3, 0): 3}\n"
        "def out_size(*given):\n    return KNOWN.get(given, 0)"
    )
    done = graded(copy_with(RIGHT | {"out-size": by_heart}), tmp_path)
    assert points(done)["out-size"] == 0
    assert "does your answer know those by heart?" in done.exercises[0].message


def test_an_answer_that_ends_python_costs_its_own_exercise(tmp_path: Path) -> None:
    ends = "def out_size(*given):\n    import os\n    os._exit(0)"
    done = graded(copy_with(RIGHT | {"out-size": ends}), tmp_path)
    assert points(done) == {"out-size": 0, "grow": 1, "by-hand": 0}
    assert "it ended Python itself" in done.exercises[0].message


def test_a_cell_that_ends_python_costs_its_own_exercise(tmp_path: Path) -> None:
    ends = "print('PASS out_size: right in 5 cases')\nimport os\nos._exit(0)"
    done = graded(copy_with(RIGHT | {"out-size": ends}), tmp_path)
    assert points(done) == {"out-size": 0, "grow": 1, "by-hand": 0}
    assert done.exercises[0].message.startswith("Its own cell ends the session")


def test_a_syntax_error_costs_its_own_exercise_and_is_quoted_by_it(tmp_path: Path) -> None:
    done = graded(copy_with(RIGHT | {"out-size": "# EXERCISE 1\ndef out_size(n:\n    return"}), tmp_path)
    assert points(done) == {"out-size": 0, "grow": 1, "by-hand": 0}
    assert "exercise 1, line 2: not valid Python" in done.exercises[0].message


def test_a_copied_cell_costs_nothing_and_is_flagged(tmp_path: Path) -> None:
    notebook = copy_with(RIGHT)
    untouched = copy_with({})
    place = next(n for n, cell in enumerate(notebook.cells) if "EXERCISE 1" in cell.source)
    copied = next(cell for cell in untouched.cells if "EXERCISE 1" in cell.source)
    copied.id = "a-copied-cell"
    notebook.cells.insert(place + 1, copied)
    done = graded(notebook, tmp_path)
    assert points(done) == {"out-size": 1, "grow": 1, "by-hand": 0}
    assert any("'out-size' is there twice" in flag for flag in done.flags)


def test_lost_metadata_deleted_checks_and_forged_points(tmp_path: Path) -> None:
    notebook = copy_with(RIGHT)
    notebook.cells = [
        cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") != "grow-check"
    ]
    for cell in notebook.cells:
        known = cell.metadata.get("nbgrader", {})
        if known.get("grade_id") == "out-size":
            del cell.metadata["nbgrader"]
        if known.get("grade_id") == "by-hand-check":
            known["points"] = 1200
            cell.source = "print('PASS')"
    done = graded(notebook, tmp_path)
    assert points(done) == {"out-size": 1, "grow": 1, "by-hand": 0}
    assert done.points[1] == 33
    assert len([flag for flag in done.flags if "grow-check" in flag or "out-size" in flag or "1200" in flag]) >= 3


def test_a_lost_set_up_costs_nothing(tmp_path: Path) -> None:
    notebook = copy_with(RIGHT)
    notebook.cells = [cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])]
    assert points(graded(notebook, tmp_path)) == {"out-size": 1, "grow": 1, "by-hand": 0}


def test_a_helper_in_a_cell_of_ones_own_counts(tmp_path: Path) -> None:
    notebook = copy_with(
        RIGHT | {"out-size": "def out_size(*given):\n    rng.manual_seed(0)\n    return places(*given)"}
    )
    helper = f"rng = torch.Generator()\ndef places{PLACES}"
    place = next(n for n, cell in enumerate(notebook.cells) if "def out_size" in cell.source)
    notebook.cells.insert(place, nbformat.v4.new_code_cell(helper))
    assert points(graded(notebook, tmp_path))["out-size"] == 1


def test_what_is_beside_the_notebook_can_be_imported_and_takes_nobodys_place(tmp_path: Path) -> None:
    for name in ("torch", "sitecustomize", "conftest", "lab"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the hand-in')")
    (tmp_path / "helper.py").write_text(f"def places{PLACES}")
    answer = "from helper import places\ndef out_size(*given):\n    return places(*given)"
    nbformat.write(copy_with(RIGHT | {"out-size": answer}), tmp_path / "copy.ipynb")
    assert points(grade(tmp_path, QUICK)) == {"out-size": 1, "grow": 1, "by-hand": 0}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no file or folder"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: path.with_suffix(".txt").write_text("x"), "there is no file"),
    ],
)
def test_what_is_no_hand_in_is_one_message(make: Any, words: str, tmp_path: Path) -> None:
    make(tmp_path / "handed_in")
    result = CliRunner().invoke(main, ["grade", str(tmp_path / "handed_in")])
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.splitlines()) == 1


def test_a_notebook_of_another_lab_has_no_network(tmp_path: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), tmp_path / "other.ipynb")
    done = grade(tmp_path / "other.ipynb")
    assert (done.state, done.message.split(":")[0]) == ("student error", "other.ipynb defines no network")


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    nbformat.write(copy_with(RIGHT), tmp_path / "copy.ipynb")
    result = CliRunner().invoke(main, ["grade", str(tmp_path / "copy.ipynb"), "--quick", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["points"]["exercises"] == [2, 33]


@pytest.mark.parametrize("with_names", [True, False])
def test_the_cells_of_a_lab_file_earn_what_the_notebook_does(with_names: bool, tmp_path: Path) -> None:
    """With nbgrader's names, as from a notebook's file; without, as they were executed, attempts among them."""
    network = capture(LabNet())
    cells = [
        submission.Cell(kind="code", source=cell.source, grade_id=cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        for cell in copy_with(RIGHT).cells
        if cell.cell_type == "code" and not cell.source.startswith("checks.")
    ]
    if not with_names:
        cells = [cell.model_copy(update={"grade_id": ""}) for cell in cells]
        wrong = cells[-1].model_copy(update={"source": f"def out_size{PLACES}0"})
        cells = [*cells[:-2], wrong, *cells[-3:]]
    made = submission.HandIn(network, Recipe(), "mnist_994", {}, tuple(cells), submission.versions())
    done = grade(submission.write(made, tmp_path / "net.lab"), QUICK)
    assert points(done) == {"out-size": 1, "grow": 1, "by-hand": 0}
    assert not [flag for flag in done.flags if any(f"'{name}" in flag for name in FIRST)]


TWO = """
from torch import nn

class Other(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

class {name}(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 10))
"""


def test_of_two_networks_in_a_file_the_one_with_the_assignments_name_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def keep(graph: Any, *others: Any) -> Any:
        judged.append(graph.parameters)
        raise LabError("not trained in this test")

    monkeypatch.setattr("lab.grading.judge.by_retraining", keep)
    (tmp_path / "net.py").write_text(TWO.format(name="MyNet"))
    assert grade(tmp_path / "net.py").message == "not trained in this test"
    assert judged == [500]
    (tmp_path / "net.py").write_text(TWO.format(name="Another"))
    done = grade(tmp_path / "net.py")
    assert done.state == "student error"
    assert "several networks" in done.message


def test_a_script_that_does_not_name_the_lab_is_executed_for_its_definitions_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(grading, "_executed", lambda *given, **options: asked.append(given) or Reran())
    monkeypatch.setattr("lab.grading.judge.by_retraining", lambda *given: Judgement("retrain", ()))
    (tmp_path / "net.py").write_text(TWO.format(name="MyNet") + "\nlabels = ['a label']\n")
    assert grade(tmp_path / "net.py").state == "graded"
    assert asked == []
    (tmp_path / "net.py").write_text(TWO.format(name="MyNet") + "\nimport lab\n")
    assert grade(tmp_path / "net.py").state == "graded"
    assert len(asked) == 1


def test_the_cases_depend_on_the_content_and_the_seed_and_on_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def keep(seed: int) -> None:
        drawn.append(seed)
        raise LabError("no more is needed here")

    monkeypatch.setattr("lab.grading.exercises.draw_cases_from", keep)
    for name, right, seed in (("a", RIGHT, 0), ("b", RIGHT, 0), ("c", {}, 0), ("d", RIGHT, 1)):
        (tmp_path / name).mkdir()
        with pytest.raises(LabError, match="no more"):
            graded(copy_with(right), tmp_path / name, Options(quick=True, seed=seed))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
