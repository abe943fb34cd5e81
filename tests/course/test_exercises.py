"""The points that a student's copy has got so far."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import jupytext
import nbformat
import pytest
from click.testing import CliRunner
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lab import _place
from lab.cli import main
from lab.course import editions, plan
from lab.course.exercises import Exercise, ExerciseError, Report, check_copy, exercise_points

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
    monkeypatch.setattr(plan, "edition_sources", lambda: sorted((tmp_path / "editions").glob("*.py")))


@pytest.fixture
def points(tmp_path: Path) -> Any:
    """(exercise_points of a notebook with these cells)."""

    def of(*cells: NotebookNode, **options: Any) -> list[Exercise]:
        nbformat.write(new_notebook(cells=[set_up(), *cells]), tmp_path / "copy.ipynb")
        return exercise_points(tmp_path / "copy.ipynb", **options)

    return of


@pytest.fixture
def report(tmp_path: Path) -> Any:
    """(check_copy of a notebook with these cells)."""

    def of(*cells: NotebookNode, set_up: bool = True) -> Report:
        first = [new_code_cell(SET_UP, metadata={"tags": ["setup"]})] if set_up else []
        nbformat.write(new_notebook(cells=[*first, *cells]), tmp_path / "copy.ipynb")
        return check_copy(tmp_path / "copy.ipynb")

    return of


@pytest.fixture
def edition(tmp_path: Path) -> Any:
    """Write the lab's own edition, with these cells."""

    def of(*cells: NotebookNode) -> None:
        (tmp_path / "editions").mkdir()
        jupytext.write(new_notebook(cells=cells), tmp_path / "editions" / "own.py", fmt="py:percent")

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


ANSWERS: list[tuple[str, bool | None, str]] = [
    ("def answer{n}(): return undefined", False, "NameError: name 'undefined' is not defined"),
    ("def answer{n}(: return 1", False, "Its own cell fails with SyntaxError: "),
    (
        "def answer{n}(): sys.stderr.write('careful'); return {n}",
        False,
        "writes to stderr, which costs the points: care",
    ),
    ("def answer{n}(): return later()", False, "NameError"),
    ("def answer{n}(): return helper() - 8 + {n}", True, "PASS right"),
    ("def answer{n}(): return {n} if WIDTH == 7 else 0", True, "PASS right"),
    ("def answer{n}(): return answer99()", False, "uses an exercise that is still open"),
    ("class Answer{n}:\n    # YOUR CODE HERE\n    raise NotImplementedError()", None, "Still open"),
    (
        "def answer{n}(): return {n}\nundefined",
        True,
        "PASS right But its own cell fails with NameError: name 'undefined'",
    ),
    ("undefined\ndef answer{n}(): return {n}", False, "Its own cell fails with NameError: name 'undefined'"),
    ("import sys\nsys.stderr.write('careful')\ndef answer{n}(): return {n}", True, "PASS right"),
]


def test_answers(points: Any) -> None:
    trained = new_code_cell("def helper(): return 8\nWIDTH = 7\nnothing = 1 / 0\nwhile True: pass")
    cells = [cell for n, (source, *_) in enumerate(ANSWERS) for cell in (answer(n, source.format(n=n)), check(n))]
    done = points(trained, answer(99), *cells, check(99))[:-1]
    told = [(exercise.name, exercise.passed) for exercise in done]
    assert told == [(f"e{n}", passed) for n, (_, passed, _) in enumerate(ANSWERS)]
    for exercise, (_, _, message) in zip(done, ANSWERS, strict=True):
        assert message in exercise.message


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
        (json.dumps({"nbformat": 4, "cells": [{"cell_type": "raw"}] * 5_001}), "it has 5,001 cells, and 5,000 are"),
        (json.dumps({"nbformat": 3, "worksheets": [{"cells": [{}] * 5_001}]}), "it has 5,001 cells, and 5,000 are"),
        ('{"nbformat": 3, "worksheets": 7, "cells": 7}', "is not a notebook: "),
        ('{"nbformat": 4, "worksheets": [7, {"cells": 7}], "cells": {"a": 1}}', "no cells, or broken ones"),
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
    done = exercise_points(tmp_path / "copy.ipynb", quick=True)
    checks = [c for c in solved.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert [f"{e.name}-check" for e in done] == [c.metadata.nbgrader.grade_id for c in checks]
    trained = [c.metadata.nbgrader.grade_id for c in checks if "trains" in c.metadata.get("tags", [])]
    assert [f"{e.name}-check" for e in done if not e.checked] == trained
    assert all(e.passed for e in done if e.checked), [e.line() for e in done]


@pytest.mark.slow
def test_a_whole_copy_is_trained_for_all_its_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    nbformat.write(jupytext.read(editions.NOTEBOOKS / "mnist_994.py"), tmp_path / "copy.ipynb")
    done = check_copy(tmp_path / "copy.ipynb")
    assert (done.points, done.max_points) == (33, 33), [e.line() for e in done.exercises]


def several(n: int, which: str, bar: int, *tags: str) -> NotebookNode:
    """One more check of answer n, at another bar."""
    cell = check(n, f"check(answer{n}() >= {bar}, True)", points=2)
    cell.metadata.nbgrader.grade_id = f"e{n}-{which}-check"
    cell.metadata.tags = list(tags)
    return cell


def test_several_checks_judge_one_answer(points: Any) -> None:
    done = points(right(1), check(1), answer(2, "def answer2(): return 5"), several(2, "low", 3), several(2, "high", 9))
    assert [(e.name, e.passed, e.points) for e in done] == [("e1", True, 1), ("e2-low", True, 2), ("e2-high", False, 0)]


def test_a_quick_check_leaves_out_what_is_trained(points: Any) -> None:
    trained = several(2, "low", 3, "trains")
    done = points(answer(2, "def answer2(): return 5"), trained, right(1), check(1), quick=True)
    assert [(e.name, e.passed, e.checked) for e in done] == [("e2-low", None, False), ("e1", True, True)]
    assert done[0].message == "not checked: it needs a training. Leave --quick out."
    assert [e.passed for e in points(answer(2, "def answer2(): return 5"), trained)] == [True]


# -- the set-up -------------------------------------------------------------------------------------------------------


def test_a_set_up_that_fails_is_told_once_as_the_cause(report: Any) -> None:
    broken = new_code_cell("import no_such_package_at_all", metadata={"tags": ["setup"]})
    done = report(broken, right(1), check(1), answer(2), check(2), set_up=False)
    assert done.warnings == [
        "the set-up cell (cell 1) fails with ModuleNotFoundError: No module named 'no_such_package_at_all' "
        "Mend it first: nothing else can be checked without it."
    ]
    assert [(e.checked, e.passed, e.points) for e in done.exercises] == [(False, False, 0)] * 2
    assert [e.line() for e in done.exercises] == [
        "---- exercise 1, e1: 0 of 1 points.",
        "---- exercise 2, e2: 0 of 1 points.",
    ]


def test_what_a_failed_set_up_does_not_hinder_is_judged(report: Any) -> None:
    broken = new_code_cell(SET_UP + "\n1 / 0", metadata={"tags": ["setup"]})
    done = report(broken, right(1), check(1), answer(2, "def answer2(): return 5"), check(2), set_up=False)
    assert [(e.checked, e.passed) for e in done.exercises] == [(True, True), (True, False)]
    assert "fails with ZeroDivisionError: division by zero" in done.warnings[0]


def test_a_kernel_that_dies_in_the_set_up(report: Any) -> None:
    dying = new_code_cell("import os\nos._exit(1)", metadata={"tags": ["setup"]})
    done = report(dying, right(1), check(1), set_up=False)
    assert done.warnings[0].startswith("the kernel died in the set-up cell (cell 1)")
    assert [(e.checked, e.points) for e in done.exercises] == [(False, 0)]


def test_a_set_up_that_is_not_there(report: Any, edition: Any) -> None:
    edition(new_code_cell("def check(*x): pass", metadata={"tags": ["setup"]}), right(1), check(1))
    done = report(right(1), set_up=False)
    assert done.warnings[0].startswith("a set-up cell is missing, the one that gives check: ")
    assert not done.exercises[0].checked


# -- a copy and its edition -------------------------------------------------------------------------------------------


def lost(cell: NotebookNode) -> NotebookNode:
    """The same without nbgrader's metadata."""
    return new_code_cell(cell.source)


MISSING = "nbgrader will give no points for 'e{n}': 'e{n}-check' is missing. Put your answers into a fresh copy."
LOST = "'e{n}' is missing, or its cell has lost nbgrader's metadata."
TWICE = (
    "nbgrader will refuse this copy: '{name}' is there twice (cells {cells}). "
    "Here the last one that is answered counts."
)


def damaged(n: int) -> dict[str, tuple[list[NotebookNode], int, str]]:
    """What may happen to exercise n: its cells, the points that it gets all the same, the warning."""
    text = new_markdown_cell(right(n).source, metadata=right(n).metadata)
    return {
        "nothing": ([right(n), check(n)], 1, ""),
        "no check": ([right(n)], 1, MISSING),
        "a check without metadata": ([right(n), lost(check(n))], 1, MISSING),
        "the check before": (
            *([check(n), right(n)], 1),
            "nbgrader will give no points for 'e{n}': 'e{n}-check' stands before it. Move it behind.",
        ),
        "an answer without metadata": ([lost(right(n)), check(n)], 1, LOST),
        "no answer": ([check(n)], 0, LOST),
        "two checks": ([right(n), check(n), check(n)], 1, TWICE.format(name="e{n}-check", cells="{1}, {2}")),
        "two answers, the last right": (
            [answer(n), right(n), check(n)],
            1,
            TWICE.format(name="e{n}", cells="{0}, {1}"),
        ),
        "two answers, the last open": (
            [right(n), answer(n), check(n)],
            1,
            TWICE.format(name="e{n}", cells="{0}, {1}"),
        ),
        "an answer behind": ([answer(n), check(n), right(n)], 1, TWICE.format(name="e{n}", cells="{0}, {2}")),
        "other points": ([right(n), check(n, points=40)], 1, "'e{n}-check' has other points, 40: 1 count."),
        "text": ([text, check(n)], 1, "'e{n}' is no code cell any more: nbgrader and the lab take it as code."),
    }


def test_a_copy_that_nbgrader_sees_otherwise(report: Any, edition: Any) -> None:
    kinds = list(damaged(0))
    edition(set_up(), *(cell for n, _ in enumerate(kinds) for cell in (right(n), check(n))))
    cells: list[NotebookNode] = []
    wanted, told = [], []
    for n, kind in enumerate(kinds):
        mine, points, warning = damaged(n)[kind]
        places = [str(len(cells) + 2 + i) for i in range(3)]
        for i, place in enumerate(places):
            warning = warning.replace(f"{{{i}}}", place)
        cells += mine
        wanted.append((kind, points))
        told.append(warning.replace("{n}", str(n)))
    done = report(*cells)
    assert [(kinds[n], e.points) for n, e in enumerate(done.exercises)] == wanted
    behind = "nbgrader will give no points for 'e9': 'e9-check' stands before it. Move it behind."
    assert sorted(done.warnings) == sorted([*filter(None, told), behind])


def test_the_same_without_an_edition(report: Any) -> None:
    done = report(answer(1), right(1), check(1))
    assert done.exercises[0].passed
    assert done.warnings == [
        "nbgrader will refuse this copy: 'e1' is there twice (cells 2, 3). Here the last one that is answered counts."
    ]


def raw(cell: NotebookNode, **changes: Any) -> dict[str, Any]:
    """A cell as it stands in a file, with changes in its metadata for nbgrader, or in itself."""
    whole = json.loads(json.dumps(cell))
    for name, value in changes.items():
        (whole if name in ("source", "metadata") else whole["metadata"]["nbgrader"])[name] = value
    return whole


NONSENSE = [None, [1], {"a": 1}, 7, "\ud800 b"]


def test_metadata_that_are_nonsense_are_told_and_stop_nothing(tmp_path: Path, edition: Any) -> None:
    numbers = range(5 * len(NONSENSE))
    edition(set_up(), *(cell for n in numbers for cell in (right(n), check(n))))
    cells = [raw(set_up())]
    told = []
    for place, value in enumerate(NONSENSE):
        n, at = 5 * place, len(cells) + 1
        cells += [
            *(raw(right(n), grade_id=value), raw(check(n))),
            *(raw(right(n + 1)), raw(check(n + 1), grade_id=value)),
            *(raw(right(n + 2)), raw(check(n + 2), points=value)),
            *(raw(right(n + 3)), raw(check(n + 3), metadata=value)),
            *(
                raw(right(n + 4), solution=value),
                raw(check(n + 4)),
                raw(new_markdown_cell(""), metadata={"tags": value}),
            ),
            *(raw(new_code_cell("1"), source=value), raw(new_code_cell("1"), metadata={"nbgrader": value})),
        ]
        told += [f"cell {at} 'grade_id' is ", f"cell {at + 3} 'grade_id' is "]
        told += [f"cell {at + 12} stands "] if value != {"a": 1} else []
    path = tmp_path / "copy.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
    called = CliRunner().invoke(main, ["check", str(path), "--json"])
    assert called.exit_code == 0, called.output
    done = json.loads(called.stdout)
    assert (done["points"], done["max_points"]) == (len(numbers), len(numbers))
    warnings = " ".join(done["warnings"])
    assert [text for text in told if f"in the nbgrader metadata of {text}" not in warnings] == []
    assert all(warning in called.stderr for warning in done["warnings"] if "\\u" not in warning)


def test_sources_that_are_nonsense_are_told(tmp_path: Path) -> None:
    values: list[Any] = [None, 7, "\ud800", {}]
    broken = [cell for n, value in enumerate(values, 2) for cell in (raw(answer(n), source=value), raw(check(n)))]
    path = tmp_path / "copy.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": [raw(set_up()), raw(right(1)), raw(check(1)), *broken]}))
    done = check_copy(path)
    assert [e.passed for e in done.exercises] == [True, *([False] * len(values))]
    starts = [f"nbgrader will refuse this copy: cell {place} has " for place in (4, 6, 8, 10)]
    assert all(warning.startswith(start) for warning, start in zip(done.warnings, starts, strict=False))
    assert CliRunner().invoke(main, ["check", f"{path}:Net"]).exit_code == 2


def test_answers_of_an_earlier_edition_are_told(report: Any, edition: Any) -> None:
    edition(set_up(), right(1), check(1))
    done = report(right(1), check(1), right(7), check(7), answer(8))
    assert [(e.name, e.passed) for e in done.exercises] == [("e1", True)]
    assert done.warnings == [
        'not checked: "e7", "e8". The lab\'s notebook has no such exercise now: put your answers into a fresh copy.'
    ]


def test_a_source_that_is_a_list_of_lines_and_a_cell_without_metadata(tmp_path: Path) -> None:
    bare = {"cell_type": "code", "source": "def helper(): return 0"}
    using = raw(answer(1), source=["def answer1():\n", "    return 1 + helper()"])
    path = tmp_path / "copy.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": [raw(set_up()), bare, using, raw(check(1), source=["pass"])]}))
    assert check_copy(path).exercises[0].passed


# -- helpers of one's own ---------------------------------------------------------------------------------------------


HELPERS = [
    ("widths = list(range(3))", "widths[1]"),
    ("grown = []\ngrown.append(1)", "grown[0]"),
    ("filled = {}\nfor n in range(2):\n    filled[n] = n", "filled[1]"),
    ("import random\nrng = random.Random(5)\nrng.seed(3)", "rng.randint(1, 1)"),
    ("base = int('1')\ndef helper(): return base", "helper()"),
    ("kept = type('Net', (), {'train': lambda self: self, 'x': 1})().train()", "kept.x"),
]


def test_a_helper_made_by_a_call_is_there(points: Any) -> None:
    cells = []
    for n, (own, answered) in enumerate(HELPERS, 1):
        cells += [new_code_cell(own), answer(n, f"def answer{n}():\n    return {n - 1} + {answered}"), check(n)]
    assert [e.message for e in points(*cells)] == ["PASS right"] * len(HELPERS)


def test_no_training_is_executed_for_it(points: Any, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    trains = [
        "net1 = fit(1)",
        "def mine(): return fit(1)\nnet2 = mine()",
        "for epoch in range(3):\n    net3 = fit(epoch)",
        "with open('log', 'w'):\n    net4 = fit(4)",
        "class Trainer:\n    def learn(self): return fit(1)\nnet5 = Trainer()\nnet5.learn()\nnet5 = net5.learn()",
    ]
    cells = [
        new_code_cell(f"def fit(x):\n    open({str(touched)!r}, 'w')\n    x.backward()\n    return x"),
        *map(new_code_cell, trains),
    ]
    for n in range(1, 6):
        cells += [answer(n, f"def answer{n}():\n    return net{n}"), check(n)]
    done = points(*cells)
    assert ["is not defined" in e.message for e in done] == [True] * 4 + [False]
    assert not touched.exists()


def test_a_local_name_asks_for_no_helper(points: Any, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    own = new_code_cell(f"data = open({str(touched)!r}, 'w')")
    assert points(own, answer(1, "def answer1():\n    data = 1\n    return data"), check(1))[0].passed
    assert not touched.exists()


# -- whose line -------------------------------------------------------------------------------------------------------


def test_a_line_is_quoted_by_exercise(points: Any) -> None:
    own_file = (
        "import inspect\ndef answer{n}():\n    raise ValueError(inspect.currentframe().f_code.co_filename + ', line 3')"
    )
    done = points(
        *(answer(1, "# EXERCISE 1\ndef answer1(:"), check(1)),
        *(answer(2, "# EXERCISE 2\n" + own_file.format(n=2)), check(2)),
        *(
            answer(3, "# EXERCISE 3\ndef answer3():\n    x = 1\n    raise ValueError('this cell, line 3: `x = 1`')"),
            check(3),
        ),
    )
    assert "(exercise 1, line 2)" in done[0].message
    assert done[1].message == "ValueError: exercise 2, line 3"
    assert done[2].message == "ValueError: exercise 3, line 3: `x = 1`"


# -- where the lab is -------------------------------------------------------------------------------------------------


def test_the_kernel_is_this_pythons(points: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "other", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert points(right(1), check(1))[0].passed


def test_an_installed_lab_finds_its_notebooks_where_pip_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    there = tmp_path / "share" / "lab994" / "notebooks" / "mnist_994.py"
    there.parent.mkdir(parents=True)
    there.write_text("")

    class Installed(PurePosixPath):
        def locate(self) -> Path:
            return tmp_path / self

    names = [
        "share/lab994/notebooks/mnist_994.py",
        "share/lab994/notebooks/gone.py",
        "lab/cli.py",
        "notebooks/other.py",
    ]
    monkeypatch.setattr(_place, "root", lambda: None)
    monkeypatch.setattr(_place.metadata, "files", lambda name: [Installed(one) for one in names])
    assert plan.edition_sources() == [there]
