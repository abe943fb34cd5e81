"""nbgrader's own autograde with the lab's preprocessor: honest copies and cheats, in a real course."""

import csv
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from test_nbgrader import CONFIG, NAME, answers, course, graded, mistakes, nbgrader, reduced, source, submit  # noqa: F401

from lab.course import editions
from lab.course.exercises import exercise_points

LINE = "from lab.grading.nbgrader import sandboxed; sandboxed(c)\n"
STOLEN = (
    "import glob\nSEEN = glob.glob('../../../source/*/*')\n"
    "SEEN += [path for path in glob.glob('/**/*.ipynb', recursive=True) if not path.startswith('/hand-in/')]\n"
)


def cheats(right: dict[str, str]) -> dict[str, dict[str, str]]:
    """Students, and the answers that they hand in besides the first, which is wrong."""
    wrong = right["out-size"].replace("    return ", "    return 0.5 or ")
    return {
        "patches": {
            "out-size": "from lab import checks\n[setattr(checks, n, lambda *a: None) for n in dir(checks)]\n" + wrong
        },
        "renames": {"out-size": f"class checks:\n    out_size = grow = by_hand = print\n{wrong}"},
        "exits": {"out-size": f"print('PASS')\nimport os\nos._exit(0)\n{wrong}"},
        "reads": {"out-size": f"{STOLEN}assert not SEEN, SEEN\n{right['out-size']}"},
    }


def first(whole: NotebookNode) -> NotebookNode:
    """The set-up, and the first three exercises."""
    kept = ("out-size", "grow", "by-hand")
    whole = reduced(whole)
    named = [(cell, cell.metadata.get("nbgrader", {}).get("grade_id", "")) for cell in whole.cells]
    whole.cells = [cell for cell, name in named if not name or name.removesuffix("-check") in kept]
    return whole


def test_points_come_from_the_sandbox_and_cheats_get_none(course: Path) -> None:  # noqa: F811
    (course / "nbgrader_config.py").write_text(CONFIG + LINE)
    nbformat.write(first(source()), course / "source" / NAME / f"{NAME}.ipynb")
    nbgrader(course, "generate_assignment", NAME)
    released = course / "release" / NAME / f"{NAME}.ipynb"
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in answers(first(editions.solved_edition(NAME)))}
    handed_in = {"ada": right, "bob": mistakes(right), "eve": {}}
    handed_in |= {name: right | changed for name, changed in cheats(right).items()}
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
    assert sum(points["eve"].values()) == 0
    assert points["twice"] == points["missing"] == points["ada"]
    for name in ("patches", "renames", "exits"):
        assert points[name] == points["ada"] | {"out-size": 0}, name
    assert points["reads"] == points["ada"]  # it has seen nothing, or it would have failed
    nbgrader(course, "export", "--to", "grades.csv")
    with (course / "grades.csv").open() as file:
        assert {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}["ada"] == 3


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


@pytest.mark.parametrize("grade_id", ["out-size"])
def test_a_notebook_of_another_course_is_refused(grade_id: str) -> None:
    from lab.errors import LabError
    from lab.grading.nbgrader import Sandboxed

    known = {"grade_id": "unknown", "solution": True, "grade": False, "locked": False, "schema_version": 3}
    cell = nbformat.v4.new_code_cell("x = 1", metadata={"nbgrader": known})
    with pytest.raises(LabError, match="none of the lab's"):
        Sandboxed().preprocess(nbformat.v4.new_notebook(cells=[cell]), {})
