"""The notebooks' editions."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lab import _place, _release
from lab.course import editions
from lab.course.editions import EditionError, solved_edition, student_edition
from lab.course.execution import execute
from lab.course.kernel import this_python
from lab.course.plan import answer_of
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
    monkeypatch.setattr(editions, "NOTEBOOKS", path.parent)
    monkeypatch.setattr(_place, "root", lambda: tmp_path)
    return path


def exercises(edition: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in edition.cells if cell.metadata.get("nbgrader", {}).get("solution")]


# -- editions ---------------------------------------------------------------------------------------------------------


def test_every_notebook_has_a_rubric_of_its_name_with_a_lower_bar_for_quick_runs() -> None:
    assert editions.names() == NAMES
    for name in NAMES:
        rubric = load_rubric(name)
        assert rubric.accuracy_bar(quick=True) < rubric.accuracy_bar(quick=False) == rubric.limit("accuracy")


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_editions_are_what_the_source_gives(name: str) -> None:
    editions.check(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_shows_no_warning_and_no_ones_paths(name: str) -> None:
    solved = nbformat.read(editions.NOTEBOOKS / f"{name}_solved.ipynb", as_version=4)
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


@pytest.mark.parametrize(("name", "count", "points"), [("mnist_994", 14, 33), ("fashion", 4, 9)])
def test_every_exercise_is_checked_and_the_points_are_whole(name: str, count: int, points: int) -> None:
    cells = [cell for cell in solved_edition(name).cells if "nbgrader" in cell.metadata]
    solutions = [cell.metadata.nbgrader.grade_id for cell in cells if cell.metadata.nbgrader.solution]
    checks = [cell for cell in cells if cell.metadata.nbgrader.grade]
    judged = {answer_of(cell.metadata.nbgrader.grade_id.removesuffix("-check"), set(solutions)) for cell in checks}
    assert judged == set(solutions)
    assert len(set(solutions)) == len(solutions) == count
    assert sum(cell.metadata.nbgrader.points for cell in checks) == points
    assert all(cell.metadata.nbgrader.locked for cell in checks)


@pytest.mark.parametrize("name", NAMES)
def test_who_trains_nothing_gets_no_more_than_a_third(name: str) -> None:
    checks = [cell for cell in solved_edition(name).cells if cell.metadata.get("nbgrader", {}).get("grade")]
    untrained = [cell for cell in checks if "trains" not in cell.metadata.get("tags", [])]
    assert 3 * sum(c.metadata.nbgrader.points for c in untrained) <= sum(c.metadata.nbgrader.points for c in checks)


@pytest.mark.parametrize("name", NAMES)
def test_a_check_has_its_exercises_name(name: str) -> None:
    for cell in solved_edition(name).cells:
        if cell.metadata.get("nbgrader", {}).get("grade") and "trains" not in cell.metadata.get("tags", []):
            exercise = cell.metadata.nbgrader.grade_id.removesuffix("-check").replace("-", "_")
            assert cell.source.startswith(f"checks.{exercise}("), cell.source


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("given", "epochs", "images"),
    [
        ({"quick": True}, 2, 12_000),
        ({"quick": True, "epochs": 5}, 5, 12_000),
        ({"quick": True, "train_limit": 300}, 2, 300),
        ({"train_limit": 300}, None, 300),
        ({}, None, 0),
    ],
)
def test_a_run_obeys_what_it_was_told_quick_or_not(
    name: str, given: dict[str, Any], epochs: int | None, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAB_QUICK", raising=False)
    code = [cell.source for cell in solved_edition(name).cells if cell.cell_type == "code"]
    (chosen,) = (re.findall(r"(?m)^(?:epochs|train_limit) = .* or .*$", source) for source in code if "load(" in source)
    values: dict[str, Any] = {}
    exec(code[0], values)
    values |= given
    exec("\n".join(chosen), values)
    assert values["epochs"] == (epochs or {"mnist_994": 15, "fashion": 10}[name])
    assert values["train_limit"] == images


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("switch", "given", "quick"),
    [(None, {}, False), ("0", {}, False), ("off", {}, False), ("1", {}, True), ("1", {"quick": False}, False)],
)
def test_a_run_is_quick_where_it_is_told_or_the_switch_is_on(
    name: str, switch: str | None, given: dict[str, Any], quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch is read once the lab is there: on Colab a set-up cell fetches it, after the parameters."""
    monkeypatch.delenv("LAB_QUICK", raising=False)
    if switch is not None:
        monkeypatch.setenv("LAB_QUICK", switch)
    code = [cell.source for cell in solved_edition(name).cells if cell.cell_type == "code"]
    first = next(index for index, source in enumerate(code) if "import is_on" in source)
    assert first > next(index for index, source in enumerate(code) if "find_spec" in source)
    values: dict[str, Any] = {}
    exec(code[0], values)
    values |= given
    exec("\n".join(re.findall(r"(?m)^(?:from lab.switches .*|quick = .*)$", code[first])), values)
    assert values["quick"] is quick


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short(name: str) -> None:
    for cell in solved_edition(name).cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        is_set_up = "setup" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("solution") and not is_set_up:
            assert len(lines) <= 10, cell.source


@pytest.mark.parametrize(("name", "least"), [("mnist_994", 25), ("fashion", 5)])
def test_every_figure_of_the_solved_edition_says_in_words_what_it_shows(name: str, least: int) -> None:
    solved = nbformat.read(editions.NOTEBOOKS / f"{name}_solved.ipynb", as_version=4)
    outputs = [output for cell in solved.cells for output in cell.get("outputs", [])]
    figures = [output.data for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) >= least
    for figure in figures:
        (words,) = re.findall(r'<img [^>]*alt="([^"]+)"', figure["text/html"])
        assert len(words) > 30


def test_an_edition_that_differs_from_the_source_is_found(source: Path) -> None:
    student, solved = (source.with_name(f"mnist_994{end}.ipynb") for end in ("", "_solved"))
    with pytest.raises(EditionError, match=r"mnist_994\.ipynb is not what mnist_994\.py gives"):
        editions.check("mnist_994")
    nbformat.write(student_edition("mnist_994"), student)
    nbformat.write(solved_edition("mnist_994"), solved)
    editions.check("mnist_994")
    changed = solved_edition("mnist_994")
    changed.cells[2].outputs = [nbformat.v4.new_output("stream", text="outputs do not count")]
    nbformat.write(changed, solved)
    editions.check("mnist_994")
    changed.cells[2].source += " "
    nbformat.write(changed, solved)
    with pytest.raises(EditionError, match=r"mnist_994_solved\.ipynb"):
        editions.check("mnist_994")


def test_where_no_notebooks_are_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_place, "root", lambda: tmp_path / "nowhere")
    with pytest.raises(EditionError, match="install it anew, or run this in a clone"):
        solved_edition("mnist_994")


def test_an_installed_lab_makes_editions_from_what_came_with_it_and_writes_none(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside it may lie notebooks, which are somebody else's."""
    (tmp_path / "shipped").mkdir()
    shipped = source.rename(tmp_path / "shipped" / "mine.py")
    source.with_name("theirs.py").write_text(TINY)
    monkeypatch.setattr(_place, "root", lambda: None)
    monkeypatch.setattr(_place, "shipped", lambda folder, pattern: [shipped])
    assert editions.names() == ["mine"]
    assert "return 42" in solved_edition("mine").cells[1].source
    for action in (lambda: editions.build("mine"), lambda: editions.check("mine"), editions.check_release):
        with pytest.raises(EditionError, match="is not the lab's: run this in a clone"):
            action()
    with pytest.raises(EditionError, match="is not the lab's: run this in a clone"):
        editions.write_release()
    assert not list(tmp_path.rglob("*.ipynb"))


# -- the release that they fetch --------------------------------------------------------------------------------------

COLAB = "https://colab.research.google.com/github/the-994-lab/the-994-lab/blob"
FETCH = "pip install git+https://github.com/the-994-lab/the-994-lab@"
ELSEWHERE = """https://github.com/the-994-lab/the-994-lab/blob/main/lab/graph.py
git+https://github.com/a-student/my-lab@main and uses: the-994-lab/the-994-lab/.github/workflows/grade.yml@0123
"""


@pytest.fixture
def texts(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's README, book and source, which name this lab's release, and much else."""
    root = source.parent.parent
    monkeypatch.setattr(editions, "ROOT", root)
    (root / "notebooks" / "book").mkdir()
    for name in ("README.md", "notebooks/book/teacher.md", "notebooks/mnist_994.py"):
        text = f"[here]({COLAB}/{_release.tag()}/notebooks/a.ipynb), {FETCH}{_release.tag()}\n{ELSEWHERE}"
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("name", ["README.md", "notebooks/book/teacher.md", "notebooks/mnist_994.py"])
@pytest.mark.parametrize("place", [COLAB + "/{}/notebooks/a.ipynb", FETCH + "{}", FETCH + "{} --force"])
@pytest.mark.parametrize("other", ["main", "v0.1.0", f"{_release.tag()}0", ""])
def test_another_release_is_found_and_one_command_sets_it(
    texts: Path, name: str, place: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    right = (texts / name).read_text()
    beside = {path: path.read_text() for path in texts.rglob("*") if path.is_file() and path != texts / name}
    editions.check_release()
    (texts / name).write_text(f"{place.format(other)}\n{right}")
    with pytest.raises(EditionError) as error:
        editions.check_release()
    message = str(error.value)
    assert message.startswith(
        f"{name} names the lab's {other or 'main branch'}, and this lab is {_release.tag()}: run "
    )
    assert "python -m lab.course.editions release" in message
    assert "make notebooks" in message
    editions.write_release()
    assert capsys.readouterr().out == f"{name}: {_release.tag()}\n"
    editions.check_release()
    assert (texts / name).read_text() == f"{place.format(_release.tag())}\n{right}"
    assert {path: path.read_text() for path in beside} == beside


def test_everything_that_is_committed_names_this_lab_s_release() -> None:
    editions.check_release()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "cifar"], "error: there is no notebook 'cifar'"),
        ([], "How a notebook's editions are made."),
        (["publish"], "How a notebook's editions are made."),
        (["check"], "error: README.md names the lab's v0.0.1"),
        (["release"], None),
    ],
)
def test_what_a_person_types(texts: Path, arguments: list[str], said: str | None) -> None:
    if arguments == ["check"]:
        (texts / "README.md").write_text(f"{FETCH}v0.0.1\n")
    told = editions.main(arguments)
    assert told is None if said is None else str(told).startswith(said)


@pytest.mark.parametrize("name", ["cifar", "../notebooks/fashion", ""])
def test_a_notebook_that_there_is_not(name: str) -> None:
    with pytest.raises(EditionError, match="take fashion, mnist_994"):
        solved_edition(name)


def test_building_writes_both_editions_and_keeps_the_old_one_of_a_run_that_falls_short(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(editions, "ROOT", source.parent.parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    editions.build("mnist_994")
    assert capsys.readouterr().out.startswith("mnist_994: PASS accuracy=0.9950")
    editions.check("mnist_994")
    solved = source.with_name("mnist_994_solved.ipynb").read_text()
    assert "papermill" not in solved
    source.write_text(TINY.replace("0.995", "0.5"))
    with pytest.raises(EditionError, match="was not replaced"):
        editions.build("mnist_994")
    assert source.with_name("mnist_994_solved.ipynb").read_text() == solved


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_quick_run_passes_and_the_untouched_copy_fails_only_with_not_implemented(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = execute(solved_edition(name), name, {"quick": True}, tmp_path)
    assert outcome.passed, outcome.line()
    assert outcome.parameters is not None
    assert 15_000 < outcome.parameters < 20_000
    assert outcome.epochs == 2
    executed = nbformat.read(outcome.notebook, as_version=4)
    assert not [o for cell in executed.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]

    monkeypatch.setenv("LAB_QUICK", "1")
    student = student_edition(name)
    NotebookClient(student, allow_errors=True, **this_python()).execute()
    errors = [o for cell in student.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert {error.ename for error in errors} == {"NotImplementedError"}
    failed = [c.metadata.nbgrader.grade_id for c in student.cells if "nbgrader" in c.metadata and c.get("outputs")]
    assert failed == [cell.metadata.nbgrader.grade_id + "-check" for cell in exercises(student)]
