"""How many points has a student's copy of the notebook got so far?

The exercises are executed, not the training runs: a reduced notebook of set-up, answers and checks runs in a kernel of
its own. This is for the student, on the student's own machine: their code runs as it is, with all it can do. No grade
is decided here, and nothing that decides one may call this outside a sandbox.
"""

import ast
import logging
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from lab.errors import LabError

ROOT = Path(__file__).parent.parent
EDITIONS = ROOT / "notebooks"
"""The sources of the lab's own notebooks. An installed lab has none: then the copy's own checks have to do."""
CELL_SECONDS = 120


class ExerciseError(LabError):
    """A notebook whose exercises can't be checked."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a student's copy, and what its check says."""

    name: str  # its grade_id
    title: str  # "exercise 3", as its cell begins
    passed: bool | None  # None while it is open
    points: float  # earned
    max_points: float
    message: str  # what the check says, or what to do

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """One line for a person, and the check's hint below it."""
        mark = {True: "PASS", False: "FAIL", None: "open"}[self.passed]
        text = f"{mark} {self.title}, {self.name}: {self.points:g} of {self.max_points:g} points."
        hint = self.message.splitlines() if self.passed is False else []
        return "\n     ".join([text, *hint])


def has_exercises(target: str) -> bool:
    """Is it a student's copy: a notebook with answers and their checks?"""
    path = Path(target)
    if path.suffix != ".ipynb" or not path.is_file():
        return False
    return any(_is(cell, "solution") for cell in _read(path).cells)


def exercise_points(path: str | Path, seconds: int = CELL_SECONDS) -> list[Exercise]:
    """What each exercise of the notebook at `path` earns, in the notebook's order.

    A cell that runs longer than `seconds` is stopped. Check cells are the lab's own where it knows the exercise, so an
    edited check counts for nothing. As with nbgrader, a check that writes to stderr earns no points. Raises
    ExerciseError where there is no notebook, or no exercise in it.
    """
    notebook = _read(Path(path))
    answers = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if _is(cell, "solution")}
    checks = _checks(notebook)
    if not any(_check_of(cell) in checks for cell in answers.values()):
        raise ExerciseError(f"{path} has no exercises: no cell that nbgrader knows as an answer, with its check.")
    set_up = _set_up(notebook)
    parts = [part for cell in notebook.cells for part in _parts(cell, answers, checks, set_up)]
    ended = _execute(parts, seconds)
    executed = {cell.metadata.nbgrader.grade_id: cell for cell in parts if "nbgrader" in cell.metadata}
    return [_exercise(check, answers, executed, ended) for check in checks.values()]


# -- the reduced notebook ---------------------------------------------------------------------------------------------


def _read(path: Path) -> NotebookNode:
    try:
        notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
    except OSError as error:
        raise ExerciseError(f"cannot read {path}: {error.strerror}.") from error
    except Exception as error:  # nbformat's readers raise whatever a broken file makes them raise
        raise ExerciseError(f"{path} is not a notebook: {str(error).splitlines()[0][:200]}") from error
    if any("cell_type" not in cell or "source" not in cell for cell in notebook.get("cells", [{}])):
        raise ExerciseError(f"{path} is not a notebook: it has no cells, or broken ones.")
    for cell in notebook.cells:
        cell.setdefault("metadata", NotebookNode())
    return notebook


def _is(cell: NotebookNode, kind: str) -> bool:
    """Is it nbgrader's `solution`, or its `grade` cell?"""
    known = cell.metadata.get("nbgrader")
    return cell.cell_type == "code" and isinstance(known, dict) and "grade_id" in known and bool(known.get(kind))


def _checks(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The check cells, by grade_id: those of the lab's own edition that shares most of them; else the copy's own."""
    import jupytext

    own = _graded(notebook)
    editions = [_graded(jupytext.read(path)) for path in sorted(EDITIONS.glob("*.py"))]
    best = max(editions, key=lambda edition: len(edition.keys() & own.keys()), default={})
    return {name: NotebookNode(cell) for name, cell in (best if best.keys() & own.keys() else own).items()}


def _graded(notebook: NotebookNode) -> dict[str, NotebookNode]:
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if _is(cell, "grade")}


def _set_up(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells with the tag `setup`; without any, the code before the first exercise."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "setup" in cell.metadata.get("tags", [])]
    first = next((index for index, cell in enumerate(code) if _is(cell, "solution")), len(code))
    return tagged or code[:first]


def _parts(
    cell: NotebookNode,
    answers: dict[str, NotebookNode],
    checks: dict[str, NotebookNode],
    set_up: list[NotebookNode],
) -> list[NotebookNode]:
    """What the reduced notebook has in the place of a cell: an answer brings its check, other cells only define."""
    if any(cell is one for one in set_up):
        return [_code(cell.source)]
    if cell.cell_type != "code" or _is(cell, "grade"):
        return []
    if any(cell is answer for answer in answers.values()) and _check_of(cell) in checks:
        check = checks[_check_of(cell)]
        return [_code(cell.source, cell.metadata.nbgrader), _code(check.source, check.metadata.nbgrader)]
    return [_code(definition) for definition in _definitions(cell.source)]  # each by itself: one may fail


def _check_of(answer: NotebookNode) -> str:
    return f"{answer.metadata.nbgrader.grade_id}-check"


def _code(source: str, nbgrader: NotebookNode | None = None) -> NotebookNode:
    metadata = {"nbgrader": nbgrader} if nbgrader else {}
    cell: NotebookNode = nbformat.v4.new_code_cell(source, metadata=metadata)
    return cell


def _definitions(source: str) -> list[str]:
    """Of a cell, what only defines something an answer may use: imports, functions, classes, constants."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # %magic, !command
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return [ast.unparse(node) for node in tree.body if isinstance(node, kinds) or _is_constant(node)]


def _is_constant(node: ast.stmt) -> bool:
    """Does it give a name to something that is worked out without a call (the body of a lambda is not executed)?"""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    waiting: list[ast.AST] = [node.value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Call | ast.Await):
            return False
        waiting += () if isinstance(part, ast.Lambda) else ast.iter_child_nodes(part)
    return True


# -- its execution ----------------------------------------------------------------------------------------------------


def _execute(cells: list[NotebookNode], seconds: int) -> str:
    """Run the cells in a new kernel, in an empty folder; each of them may fail, and its outputs stay in it.

    Gives the grade_id of the cell in which the kernel died; empty where it lived.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    log = logging.getLogger("lab.exercises.nbclient")
    log.addHandler(logging.NullHandler())  # the exercise's own message says that it was stopped
    log.propagate = False
    started = [0]
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.v4.new_notebook(cells=cells),
            timeout=seconds,
            kernel_name="python3",
            allow_errors=True,
            interrupt_on_timeout=True,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
            log=log,
            on_cell_start=_remember(started),
        )
        try:
            client.execute(env=_environment())
        except DeadKernelError:
            return _died_in(cells[started[-1] :])
        except (OSError, RuntimeError) as error:
            raise ExerciseError(f"no kernel starts: {error}. Is jupyter installed in this Python?") from error
    return ""


def _remember(started: list[int]) -> Callable[..., None]:
    return lambda cell, cell_index: started.append(cell_index)


def _died_in(cells: list[NotebookNode]) -> str:
    """The first exercise from the cell on in which the kernel died."""
    return next((cell.metadata.nbgrader.grade_id for cell in cells if "nbgrader" in cell.metadata), "set-up")


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "LAB_PROGRESS": "0", "LAB_QUICK": "1"}


# -- what came out ----------------------------------------------------------------------------------------------------


def _exercise(
    check: NotebookNode, answers: dict[str, NotebookNode], executed: dict[str, NotebookNode], ended: str
) -> Exercise:
    """The outcome of one check; `ended` is the cell in which the kernel died."""
    name, most = check.metadata.nbgrader.grade_id.removesuffix("-check"), check.metadata.nbgrader.get("points", 0)
    if name not in answers:
        return Exercise(name, "exercise", None, 0, most, "its cell is not in this notebook.")
    answer, result = executed[name], executed[f"{name}-check"]
    heading = re.match(r"\s*# *(EXERCISE \w+)", answer.source)
    title = heading[1].lower() if heading else "exercise"
    passed, message = _outcome(answer, result)
    if ended in (name, f"{name}-check"):
        passed, message = False, "the kernel died in it: the memory is full, or the code ends Python itself."
    elif ended and not result.get("execution_count"):
        passed, message = False, f"not checked: the kernel died before, in {ended}."
    return Exercise(name, title, passed, most if passed else 0, most, message)


def _outcome(answer: NotebookNode, check: NotebookNode) -> tuple[bool | None, str]:
    """(passed, message) of an answer and its check, both executed."""
    failed, error = _error(answer), _error(check)
    for output in filter(None, (failed, error)):
        if output.ename == "NotImplementedError" and "NotImplementedError" in answer.source:
            return None, "Still open: write your answer in its cell, in place of `raise NotImplementedError()`."
        if output.ename == "NotImplementedError":
            return False, "It uses an exercise that is still open: do that one first."
        if output.ename == "KeyboardInterrupt":
            return False, "It was stopped: it takes too long. Is there a loop without an end?"
        if output is failed:
            return False, f"Its own cell fails with {output.ename}: {output.evalue}"
        return False, output.evalue if output.ename == "CheckFailed" else f"{output.ename}: {output.evalue}"
    written = {name: "".join(o.text for o in check.outputs if o.get("name") == name) for name in ("stdout", "stderr")}
    if written["stderr"]:
        text = written["stderr"].strip().splitlines()[-1][:200]
        return False, f"The answer is right, but it writes to stderr, which costs the points: {text}"
    return True, written["stdout"].strip()


def _error(cell: NotebookNode) -> NotebookNode | None:
    return next((output for output in cell.outputs if output.output_type == "error"), None)
