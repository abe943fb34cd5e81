"""The points that a student's copy has got so far."""

import json
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from click.testing import CliRunner
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lab.cli import main
from lab.course import editions, exercises
from lab.course.copies import is_answer
from lab.course.exercises import Exercise, ExerciseError, exercise_points

SET_UP = """import sys
class CheckFailed(Exception): pass
def check(got, wanted):
    if got != wanted:
        raise CheckFailed(f"{got}, wants {wanted}. Add.")
    print("PASS right")"""
STUB = "# EXERCISE {n}, one line\ndef answer{n}():\n    # YOUR CODE HERE\n    raise NotImplementedError()"
SOURCES = sorted(editions.NOTEBOOKS.glob("[!_]*.py"))


def answer(n: int, source: str = "") -> NotebookNode:
    nbgrader = {"grade": False, "grade_id": f"e{n}", "locked": False, "schema_version": 3, "solution": True}
    return new_code_cell(source or STUB.format(n=n), metadata={"nbgrader": nbgrader})


def check(n: int, source: str = "", points: int = 1) -> NotebookNode:
    nbgrader = {"grade": True, "grade_id": f"e{n}-check", "locked": True, "schema_version": 3, "solution": False}
    metadata = {"nbgrader": nbgrader | {"points": points}}
    return new_code_cell(source or f"check(answer{n}(), {n})", metadata=metadata)


def right(n: int) -> NotebookNode:
    return answer(n, f"# EXERCISE {n}\ndef answer{n}(): return {n}")


def set_up() -> NotebookNode:
    return new_code_cell(SET_UP, metadata={"tags": ["setup"]})


@pytest.fixture(autouse=True)
def no_editions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "edition_sources", lambda: sorted((tmp_path / "editions").glob("*.py")))


@pytest.fixture
def points(tmp_path: Path) -> Any:
    """(exercise_points of a notebook with these cells)."""

    def of(*cells: NotebookNode, **options: Any) -> list[Exercise]:
        nbformat.write(new_notebook(cells=[set_up(), *cells]), tmp_path / "copy.ipynb")
        return exercise_points(tmp_path / "copy.ipynb", **options)

    return of


def test_right_wrong_and_open(points: Any) -> None:
    wrong = answer(2, "# EXERCISE 2\ndef answer2(): return 5")
    done = points(right(1), check(1), wrong, check(2, points=3), answer(3), check(3, points=2))
    assert [(e.name, e.title, e.passed, e.points, e.max_points) for e in done] == [
        ("e1", "exercise 1", True, 1, 1),
        ("e2", "exercise 2", False, 0, 3),
        ("e3", "exercise 3", None, 0, 2),
    ]
    assert [e.message.split(":")[0] for e in done] == ["PASS right", "5, wants 2. Add.", "Still open"]
    assert [e.line() for e in done] == [
        "PASS exercise 1, e1: 1 of 1 points.",
        "FAIL exercise 2, e2: 0 of 3 points.\n     5, wants 2. Add.",
        "open exercise 3, e3: 0 of 2 points.",
    ]


@pytest.mark.parametrize(
    ("source", "passed", "message"),
    [
        ("def answer1(): return undefined", False, "NameError: name 'undefined' is not defined"),
        ("def answer1(: return 1", False, "Its own cell fails with SyntaxError: "),
        (
            "def answer1(): sys.stderr.write('careful'); return 1",
            False,
            "writes to stderr, which costs the points: care",
        ),
        ("def answer1(): return later()", False, "NameError"),
        ("def answer1(): return helper() - WIDTH", True, "PASS right"),
        ("def answer1(): return answer2()", False, "uses an exercise that is still open"),
        ("class Answer:\n    # YOUR CODE HERE\n    raise NotImplementedError()", None, "Still open"),
    ],
)
def test_an_answer(points: Any, source: str, passed: bool | None, message: str) -> None:
    trained = new_code_cell("def helper(): return 8\nWIDTH = 7\nnothing = 1 / 0\nwhile True: pass")
    first, _ = points(trained, answer(2), answer(1, source), check(1), check(2))
    assert (first.name, first.passed) == ("e1", passed)
    assert message in first.message


def test_what_an_answer_may_use_is_defined_whatever_fails_beside_it(points: Any) -> None:
    lines = [
        "lost = trained.weights",
        "two = 1 + 1",
        "add = lambda a: a + two",
        "twice: int = two * 2",
        "net = print()",
    ]
    using = answer(1, "def answer1():\n    return add(twice) - 5")
    (done,) = points(new_code_cell("\n".join(lines)), using, check(1))
    assert done.passed, done.message


def test_training_and_prose_are_not_executed(points: Any, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    cells = [new_code_cell(f"open({str(touched)!r}, 'w')"), new_markdown_cell("prose"), new_code_cell("%%bash\nexit 1")]
    (done,) = points(*cells, right(1), check(1))
    assert done.passed
    assert not touched.exists()


def test_an_edited_check_counts_for_nothing(points: Any, tmp_path: Path) -> None:
    editions = tmp_path / "editions"
    editions.mkdir()
    other = [answer(8), check(8), answer(9), check(9)]
    for name, cells in (("a", other), ("b", [answer(1), check(1, points=4), answer(2), check(2)]), ("c", other)):
        jupytext.write(new_notebook(cells=cells), editions / f"{name}.py", fmt="py:percent")
    done = points(answer(1, "def answer1(): return 5"), check(1, "pass", points=40))
    assert [(e.name, e.passed, e.max_points) for e in done] == [("e1", False, 4), ("e2", None, 1)]
    assert done[0].message == "5, wants 1. Add."
    assert done[1].message == "its cell is not in this notebook."


def test_without_the_tag_the_code_before_the_first_exercise_sets_up(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[new_code_cell(SET_UP), right(1), check(1)]), tmp_path / "copy.ipynb")
    assert exercise_points(tmp_path / "copy.ipynb")[0].passed


def test_it_runs_in_an_empty_folder(points: Any, tmp_path: Path) -> None:
    look = answer(1, "import os\ndef answer1(): return 1 + len(os.listdir())")
    assert points(look, check(1))[0].passed


def test_a_cell_that_hangs_is_stopped_and_the_others_count(points: Any) -> None:
    hanging = answer(1, "import time\ndef answer1(): time.sleep(60)")
    done = points(hanging, check(1), right(2), check(2), seconds=3)
    assert [e.passed for e in done] == [False, True]
    assert done[0].message == "It was stopped: it takes too long. Is there a loop without an end?"


@pytest.mark.parametrize("where", ["answer", "check"])
def test_a_kernel_that_dies(points: Any, where: str) -> None:
    end = "import os\nos._exit(1)" if where == "answer" else "def answer2():\n    import os\n    os._exit(1)"
    done = points(right(1), check(1), answer(2, end), check(2), right(3), check(3))
    assert [e.passed for e in done] == [True, False, False]
    assert done[1].message.startswith("the kernel died in it: ")
    assert done[2].message.startswith("not checked: the kernel died before, in e2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*: No such file"),
        ("", "is not a notebook: "),
        ('{"cells": [', "is not a notebook: "),
        ("[]", "is not a notebook: "),
        ('{"nbformat": 4}', "is not a notebook: "),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "is not a notebook: "),
        (json.dumps(new_notebook(cells=[new_code_cell("1")])), "has no exercises"),
        (json.dumps(new_notebook(cells=[check(1)])), "has no exercises"),
    ],
)
def test_what_is_no_notebook_with_exercises(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "copy.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ExerciseError, match=message):
        exercise_points(path)
    called = CliRunner().invoke(main, ["check", str(path)])
    assert called.exit_code == 2
    assert called.stderr.startswith("error: ")


def test_the_command_line(points: Any, tmp_path: Path) -> None:
    path = tmp_path / "copy.ipynb"
    points(right(1), check(1), answer(2), check(2, points=2))
    called = CliRunner().invoke(main, ["check", str(path)])
    assert called.exit_code == 1
    assert called.stdout.splitlines() == [
        "PASS exercise 1, e1: 1 of 1 points.",
        "open exercise 2, e2: 0 of 2 points.",
        "1 of 3 points",
    ]
    points(right(1), check(1))
    called = CliRunner().invoke(main, ["check", str(path), "--json"])
    report = json.loads(called.stdout)
    assert called.exit_code == 0
    assert (report["points"], report["max_points"]) == (1, 1)
    assert report["exercises"][0]["title"] == "exercise 1"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_labs_own_notebooks(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the lab's own editions
    solved = jupytext.read(source)
    nbformat.write(solved, tmp_path / "copy.ipynb")
    done = exercise_points(tmp_path / "copy.ipynb")
    assert [e.name for e in done] == [c.metadata.nbgrader.grade_id for c in solved.cells if is_answer(c)]
    assert all(e.passed for e in done), [e.line() for e in done]
