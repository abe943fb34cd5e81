"""nbgrader's own autograde with the lab's preprocessor: honest copies and cheats, in a real course."""

import csv
import json
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.utils import determine_grade
from test_nbgrader import CONFIG, NAME, answers, course, graded, mistakes, nbgrader, reduced, source, submit  # noqa: F401

from lab.course import editions
from lab.course.exercises import Exercise, exercise_points
from lab.errors import LabError
from lab.grading import doctor
from lab.grading import nbgrader as preprocessors
from lab.grading.nbgrader import Mended, Sandboxed

LINE = "from lab.grading.nbgrader import sandboxed; sandboxed(c)\n"
STOLEN = """
import glob
SEEN = [path for way in ("../../../source/*/*", {course!r} + "/**/*.ipynb") for path in glob.glob(way, recursive=True)]
assert not SEEN, SEEN
"""


def cheats(folder: Path, right: dict[str, str]) -> dict[str, dict[str, str]]:
    """Students, and the answers that they hand in besides the first, which is wrong."""
    wrong = right["out-size"].replace("    return ", "    return 0.5 or ")
    return {
        "patches": {
            "out-size": "from lab import checks\n[setattr(checks, n, lambda *a: None) for n in dir(checks)]\n" + wrong
        },
        "renames": {"out-size": f"class checks:\n    out_size = grow = by_hand = print\n{wrong}"},
        "exits": {"out-size": f"print('PASS')\nimport os\nos._exit(0)\n{wrong}"},
        "reads": {"out-size": f"{STOLEN.format(course=str(folder))}{right['out-size']}"},
    }


def first(whole: NotebookNode) -> NotebookNode:
    """The set-up, and the first three exercises."""
    kept = ("out-size", "grow", "by-hand")
    whole = reduced(whole)
    named = [(cell, cell.metadata.get("nbgrader", {}).get("grade_id", "")) for cell in whole.cells]
    whole.cells = [cell for cell, name in named if not name or name.removesuffix("-check") in kept]
    return whole


@pytest.mark.parametrize("left_out", [("eve", "renames", "reads"), pytest.param((), marks=pytest.mark.slow)])
def test_points_come_from_the_sandbox_and_cheats_get_none(
    left_out: tuple[str, ...],
    course: Path,  # noqa: F811
) -> None:
    (course / "nbgrader_config.py").write_text(CONFIG + LINE)
    nbformat.write(first(source()), course / "source" / NAME / f"{NAME}.ipynb")
    nbgrader(course, "generate_assignment", NAME)
    released = course / "release" / NAME / f"{NAME}.ipynb"
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in answers(first(editions.solved_edition(NAME)))}
    handed_in = {"ada": right, "bob": mistakes(right), "eve": {}}
    handed_in |= {name: right | changed for name, changed in cheats(course, right).items()}
    handed_in = {name: written for name, written in handed_in.items() if name not in left_out}
    paths = {name: submit(course, name, read(released), written) for name, written in handed_in.items()}
    twice = submit(course, "twice", read(released), right)
    copied, untouched = read(twice), read(released)
    place = next(n for n, cell in enumerate(copied.cells) if "EXERCISE 1" in cell.source)
    again = untouched.cells[place]
    again.id = "copied"
    copied.cells.insert(place + 1, again)
    nbformat.write(copied, twice)
    missing = submit(course, "missing", read(released), right)
    without = read(missing)
    without.cells = [c for c in without.cells if c.metadata.get("nbgrader", {}).get("grade_id") != "grow-check"]
    nbformat.write(without, missing)

    nbgrader(course, "autograde", NAME)

    points = {name: graded(course, name) for name in [*handed_in, "twice", "missing"]}
    told = {one.name: one.points for one in exercise_points(paths["bob"], quick=True)}
    assert points["bob"].keys() <= told.keys()
    assert sum(points["bob"].values()) == 2  # the loud one is right here: what it writes to stderr stays in the sandbox
    assert points["ada"] == {"out-size": 1, "grow": 1, "by-hand": 1}
    assert points["twice"] == points["missing"] == points["ada"]
    for name in handed_in.keys() & {"patches", "renames", "exits"}:
        assert points[name] == points["ada"] | {"out-size": 0}, name
    if not left_out:
        assert sum(points["eve"].values()) == 0
        assert points["reads"] == points["ada"]  # it has seen nothing, or it would have failed
    nbgrader(course, "export", "--to", "grades.csv")
    with (course / "grades.csv").open() as file:
        assert {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}["ada"] == 3


def damaged(nb: NotebookNode, how: str) -> NotebookNode:
    """A copy whose metadata a student, or a tool, has changed."""
    named = [cell for cell in nb.cells if "nbgrader" in cell.metadata]
    for cell in named:
        known = cell.metadata.nbgrader
        if how.startswith("schema"):
            known["schema_version"] = int(how.removeprefix("schema-"))
        elif how == "answers-without-names" and known.solution:
            del cell.metadata["nbgrader"]
        elif how == "checks-marked-as-answers" and known.grade:
            known["solution"] = True
        elif how == "checks-as-text" and known.grade:
            cell.cell_type = "markdown"
            del cell["outputs"], cell["execution_count"]
        elif how == "another-notebook" and known.solution:
            nb.cells.remove(cell)
    if how == "another-notebook":
        nb.cells += [cell for cell in editions.student_edition("fashion").cells if "nbgrader" in cell.metadata]
    if how == "null":
        named[0].metadata["nbgrader"] = None
    return nb


@pytest.mark.slow
def test_metadata_cost_nobody_points_and_give_nobody_any(course: Path) -> None:  # noqa: F811
    (course / "nbgrader_config.py").write_text(CONFIG + LINE)
    whole = first(source())
    own = {"grade_id": "own-check", "solution": False, "grade": True, "locked": True, "schema_version": 3, "points": 5}
    whole.cells.append(nbformat.v4.new_code_cell("assert of_the_teacher == 7", metadata={"nbgrader": own}))
    nbformat.write(whole, course / "source" / NAME / f"{NAME}.ipynb")
    nbgrader(course, "generate_assignment", NAME)
    released = course / "release" / NAME / f"{NAME}.ipynb"
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in answers(first(editions.solved_edition(NAME)))}
    honest = dict.fromkeys(("schema-2", "schema-99", "null"), right)
    untouched = ("answers-without-names", "checks-marked-as-answers", "checks-as-text", "another-notebook")
    for how in (*honest, *untouched):
        path = submit(course, how, read(released), honest.get(how, {}))
        path.write_text(json.dumps(damaged(read(path), how)))  # nbformat would refuse to write some

    nbgrader(course, "autograde", NAME)

    for how in honest:
        assert graded(course, how) == {"out-size": 1, "grow": 1, "by-hand": 1, "own": 0}, how
    for how in untouched:
        assert graded(course, how) == {"out-size": 0, "grow": 0, "by-hand": 0, "own": 0}, how


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def named(grade_id: str, kind: str, text: str) -> NotebookNode:
    known = {"grade_id": grade_id, "solution": kind == "answer", "grade": kind == "check", "locked": kind == "check"}
    points = {"points": 1} if kind == "check" else {}
    return nbformat.v4.new_code_cell(text, metadata={"nbgrader": known | points | {"schema_version": 3}})


def test_a_notebook_of_another_course_is_refused() -> None:
    notebook = nbformat.v4.new_notebook(cells=[named("unknown", "answer", "x = 1")])
    with pytest.raises(LabError, match="none of the lab's"):
        Sandboxed().preprocess(notebook, {})


def test_a_check_that_nothing_is_said_of_earns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader gives full points to a check without an output."""
    monkeypatch.setattr(doctor, "require", lambda accepted: None)
    right = Exercise("out-size", "exercise 1", True, 1, 1, "PASS")
    monkeypatch.setattr(preprocessors, "points", lambda *given: [right])
    cells = [named("out-size", "answer", "x"), named("out-size-check", "check", "y"), named("own-check", "check", "z")]
    done, _ = Sandboxed().preprocess(nbformat.v4.new_notebook(cells=cells), {"metadata": {"path": str(tmp_path)}})
    assert [determine_grade(cell) for cell in done.cells[1:]] == [(1, 1), (0, 1)]
    assert "no exercise of the lab's notebook mnist_994" in done.cells[2].outputs[0].evalue


def test_a_copy_without_any_answer_earns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "require", lambda accepted: None)
    notebook = nbformat.v4.new_notebook(cells=[named("out-size-check", "check", "y")])
    done, _ = Sandboxed().preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    assert determine_grade(done.cells[0]) == (0, 1)
    assert "there is no answer" in done.cells[0].outputs[0].evalue


def test_each_cell_has_the_metadata_that_were_handed_out_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader for cell in (named("a", "answer", ""), CHECK)}
    monkeypatch.setattr(preprocessors, "handed_out", lambda assignment: own)
    cells = [
        named("a", "answer", "mine = 1"),
        named("a", "answer", "raise NotImplementedError()"),  # a copied cell, still open
        named("a-check", "answer", "edited"),
        named("b-check", "check", "of my own"),
    ]
    cells[2].metadata.nbgrader["schema_version"] = 2
    done, _ = Mended().preprocess(nbformat.v4.new_notebook(cells=cells), {"nbgrader": {}})
    assert [cell.metadata.get("nbgrader") for cell in done.cells] == [own["a"], None, own["a-check"], None]


CHECK = named("a-check", "check", "")
