"""What is written for Otter-grader: its tests give an exercise its points, and no other; with Otter itself where it is.

LAB_BENCH_OTTER names the Python of an environment with Otter-grader 7 and the lab, for the test with Otter itself.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from lab import checks
from lab.cli import main
from lab.course import editions, plan
from lab.course.copies import is_check
from lab.grading.otter import OtterError, files_for, write_tests

OTTER = os.environ.get("LAB_BENCH_OTTER", "")


class Case:
    """As Otter's `test_case`: keeps the points and the function."""

    def __init__(self, points: float) -> None:
        self.points = points

    def __call__(self, test: Callable[[dict[str, Any]], None]) -> "Case":
        self.test = test
        return self


@pytest.fixture
def otter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otter's module that a test imports."""
    module = ModuleType("otter.test_files")
    module.test_case = Case  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "otter", ModuleType("otter"))
    monkeypatch.setitem(sys.modules, "otter.test_files", module)


def cases(folder: Path) -> dict[str, Case]:
    """The tests in a folder, by the exercises' names."""
    found = {}
    for path in (folder / "tests").iterdir():
        made: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), made)
        [case] = [value for value in made.values() if isinstance(value, Case)]
        assert made["name"] == path.stem
        assert made["points"] == case.points
        found[made["name"]] = case
    return found


def names_of(edition: nbformat.NotebookNode) -> dict[str, Any]:
    """What a notebook's set-up and answers define; an answer that is open defines what comes before it."""
    names: dict[str, Any] = {"__name__": "copy"}
    for cell in edition.cells:
        wanted = "setup" in cell.metadata.get("tags", []) or cell.metadata.get("nbgrader", {}).get("solution")
        if wanted and cell.cell_type == "code":
            with contextlib.suppress(NotImplementedError), contextlib.redirect_stdout(io.StringIO()):
                exec(cell.source, names)
    return names


def own_checks(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in editions.solved_edition(name).cells if is_check(cell)]


@pytest.mark.parametrize("name", ["mnist_994", "fashion"])
def test_there_is_one_test_an_exercise_with_its_points(name: str, tmp_path: Path, otter: None) -> None:
    found = cases(write_tests(name, tmp_path / "new"))
    own = {cell.metadata.nbgrader.grade_id.removesuffix("-check"): cell for cell in own_checks(name)}
    assert {exercise: case.points for exercise, case in found.items()} == {
        exercise: cell.metadata.nbgrader.points for exercise, cell in own.items()
    }


def test_solved_answers_pass_and_open_ones_do_not(tmp_path: Path, otter: None) -> None:
    solved, untouched = names_of(editions.solved_edition("mnist_994")), names_of(editions.student_edition("mnist_994"))
    found = cases(write_tests("mnist_994", tmp_path / "new"))
    for exercise in ("out-size", "grow", "drop", "accuracy"):  # the others take seconds, and run below
        found[exercise].test(solved)
        with pytest.raises((NotImplementedError, checks.CheckFailed)):
            found[exercise].test(untouched)


def test_an_exercise_that_trains_is_given_the_copys_own_log_and_recipe(
    tmp_path: Path, otter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(checks, "version", lambda *given, **named: called.append((given, named)))
    found = cases(write_tests("mnist_994", tmp_path / "new"))
    found["version-3"].test({"log": 1, "recipe": 2, "version_1": 3, "version_2": 4, "version_3": 5})
    assert called == [((1, 5), {"unlike": [3, 4], "recipe": 2})]


def test_a_name_that_the_copy_has_lost_is_told(tmp_path: Path, otter: None) -> None:
    found = cases(write_tests("mnist_994", tmp_path / "new"))
    with pytest.raises(NameError, match="recipe, version_2 is not defined in this copy"):
        found["version-3"].test({"log": 1, "version_1": 3, "version_3": 5})


def test_an_object_called_checks_in_the_copy_is_not_asked(tmp_path: Path, otter: None) -> None:
    found = cases(write_tests("mnist_994", tmp_path / "new"))
    with pytest.raises(checks.CheckFailed):
        found["out-size"].test({"checks": type("Generous", (), {"out_size": print}), "out_size": lambda *sizes: 0})


def test_the_lab_comes_from_where_the_notebook_fetches_it() -> None:
    [edition] = [one for one in plan.editions() if one.name == "mnist_994"]
    address = files_for(edition)["requirements.txt"].removeprefix("lab994 @ ").strip()
    assert address.startswith("git+https://")
    assert any(address in cell.source for cell in edition.set_up)


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("here")
    with pytest.raises(OtterError, match="is not empty"):
        write_tests("mnist_994", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_says_what_to_type_next(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["otter", "fashion", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert "otter generate" in done.output
    assert json.loads((tmp_path / "new" / "otter_config.json").read_text())["lang"] == "python"
    other = CliRunner().invoke(main, ["otter", "cifar", "--out", str(tmp_path / "other")])
    assert other.exit_code == 2
    assert "there is no notebook 'cifar': take fashion, mnist_994." in other.output
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.skipif(not OTTER, reason="LAB_BENCH_OTTER does not name a Python with Otter-grader")
@pytest.mark.parametrize(("edition", "share"), [("solved_edition", 1), ("student_edition", 0)])
def test_otter_gives_a_copy_its_points(edition: str, share: int, tmp_path: Path) -> None:
    folder = write_tests("mnist_994", tmp_path / "new")
    nbformat.write(getattr(editions, edition)("mnist_994"), tmp_path / "copy.ipynb")
    run = [OTTER, "-m", "otter"]
    environment = os.environ | {"LAB_QUICK": "1", "LAB_PROGRESS": "0", "PYTHONPATH": str(editions.ROOT)}
    subprocess.run([*run, "generate"], cwd=folder, env=environment, check=True, capture_output=True)
    graded = [*run, "run", "copy.ipynb", "-a", "new/autograder.zip", "-o", "."]
    subprocess.run(graded, cwd=tmp_path, env=environment, check=True, capture_output=True)
    tests = json.loads((tmp_path / "results.json").read_text())["tests"]
    scored = {test["name"]: (test["score"], test["max_score"]) for test in tests if "score" in test}
    points = {
        c.metadata.nbgrader.grade_id.removesuffix("-check"): c.metadata.nbgrader.points for c in own_checks("mnist_994")
    }
    assert scored == {name: (share * most, most) for name, most in points.items()}
