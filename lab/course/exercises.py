"""How many points has a student's copy of the notebook got so far?

A reduced notebook of set-up, answers and checks runs in a kernel of its own: of the training runs those alone that a
check judges, and none in a quick check. This is for the student, on the student's own machine: their code runs as it
is, with all it can do. No grade is decided here, and nothing that decides one may call this outside a sandbox.
"""

import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from lab.course import copies
from lab.course.copies import Copy, ExerciseError, points_of, read_copy
from lab.course.kernel import environment, this_python
from lab.course.plan import Edition, Part, Plan, edition_of, names_made, names_read

CELL_SECONDS = 120
TRAINING_SECONDS = 1800
"""For a cell in which a network of the student's own is trained."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a student's copy, and what its check says."""

    name: str  # its grade_id
    title: str  # "exercise 3", as its cell begins
    passed: bool | None  # None while it is open
    points: float  # earned
    max_points: float
    message: str  # what the check says, or what to do
    checked: bool = True  # False where the set-up fails, so that nothing can be said

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """One line for a person, and the check's hint below it."""
        mark = {True: "PASS", False: "FAIL", None: "open"}[self.passed] if self.checked else "----"
        text = f"{mark} {self.title}, {self.name}: {self.points:g} of {self.max_points:g} points."
        hint = self.message.splitlines() if self.passed is False and self.checked else []
        return "\n     ".join([text, *hint])


@dataclass(frozen=True)
class Report:
    """What `lab check COPY` says."""

    exercises: list[Exercise]
    warnings: list[str]  # the one cause where the set-up fails, and where nbgrader will see the copy otherwise

    @property
    def points(self) -> float:
        """Earned so far."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def max_points(self) -> float:
        """To be had."""
        return sum(exercise.max_points for exercise in self.exercises)


def has_exercises(target: str) -> bool:
    """Is it a student's copy: a notebook with answers and their checks?"""
    path = Path(target)
    if path.suffix != ".ipynb" or not path.is_file():
        return False
    nbgraders = [cell.metadata.get("nbgrader", {}) for cell in read_copy(path).cells]
    return any(known.get("solution") or known.get("grade") for known in nbgraders)


def exercise_points(path: str | Path, seconds: int = CELL_SECONDS, quick: bool = False) -> list[Exercise]:
    """What each exercise of the notebook at `path` earns, in its order: `check_copy` without its warnings."""
    return check_copy(path, seconds, quick).exercises


def trains(path: str | Path) -> bool:
    """Is there an exercise in the notebook at `path` whose check trains a network?"""
    copy = read_copy(Path(path))
    return bool(Plan(copy, edition_of(copy)).training)


def check_copy(path: str | Path, seconds: int = CELL_SECONDS, quick: bool = False) -> Report:
    """What each exercise of the notebook at `path` earns, in the notebook's order, and what nbgrader will not take.

    quick: nothing is trained, and the exercises that need it are not checked. A cell that runs longer than `seconds` is
    stopped, one that trains after `TRAINING_SECONDS`. Check cells are the lab's own where it knows the exercise, so an
    edited check counts for nothing, and one that is lost is there all the same. As with nbgrader, a check that writes
    to stderr earns no points. Raises ExerciseError where there is no notebook, or no exercise in it, and NoKernel.
    """
    copy = read_copy(Path(path))
    edition = edition_of(copy)
    warnings = copies.warnings_of(copy, edition.named)
    plan = Plan(copy, edition, quick)
    if not plan.answers.keys() & plan.checks.keys():
        raise ExerciseError(f"{path} has no exercises: no cell that nbgrader knows as an answer, with its check.")
    parts = plan.parts()
    ended = _execute(parts, seconds, plan)
    cause = _cause(parts, ended, edition, copy)
    exercises = [_exercise(name, plan, parts, ended) for name in plan.checks]
    if cause:
        exercises = [_not_checked(exercise, parts) for exercise in exercises]
    return Report(exercises, [*filter(None, [cause]), *warnings, *plan.refused])


# -- its execution ----------------------------------------------------------------------------------------------------


def _execute(parts: list[Part], seconds: int, plan: Plan) -> Part | None:
    """Run the cells in a new kernel, in an empty folder; each of them may fail, and its outputs stay in it.

    Gives the part in which the kernel died; None where it lived.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    log = logging.getLogger("lab.exercises.nbclient")
    log.addHandler(logging.NullHandler())  # the exercise's own message says that it was stopped
    log.propagate = False
    started = [0]
    long = {part.cell.id for part in parts if plan.may_train(part)}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.v4.new_notebook(cells=[part.cell for part in parts]),
            timeout_func=lambda cell: max(seconds, TRAINING_SECONDS) if cell.id in long else seconds,
            allow_errors=True,
            interrupt_on_timeout=True,
            resources={"metadata": {"path": folder}},
            log=log,
            on_cell_start=_remember(started),
            **this_python(),
        )
        try:
            client.execute(env=environment() if long else environment(LAB_QUICK="1"))
        except DeadKernelError:
            return parts[started[-1]]
        except (OSError, RuntimeError) as error:
            raise ExerciseError(f"the kernel did not start: {error}") from error
    return None


def _remember(started: list[int]) -> Callable[..., None]:
    return lambda cell, cell_index: started.append(cell_index)


# -- what came out ----------------------------------------------------------------------------------------------------


_UNDEFINED = {"NameError", "ImportError", "ModuleNotFoundError", "AttributeError"}
"""Errors that come of a set-up that failed."""
_ADVICE = "Mend it first: nothing else can be checked without it."


def _cause(parts: list[Part], ended: Part | None, edition: Edition, copy: Copy) -> str:
    """Why nothing can be checked: the set-up fails, or is not there; empty where it works."""
    if ended is not None and ended.kind == "set-up":
        return f"the kernel died in the set-up cell ({ended.name}): the memory is full, or it ends Python itself."
    for part in parts:
        error = _error(part.cell) if part.kind == "set-up" else None
        if error is not None and error.ename == "KeyboardInterrupt":
            return f"the set-up cell ({part.name}) was stopped: it takes too long. {_ADVICE}"
        if error is not None:
            return f"the set-up cell ({part.name}) fails with {error.ename}: {_said(error, part, parts)} {_ADVICE}"
    used = set().union(*(names_read(cell.source) for cell in edition.named.values()))
    there = set().union(*(names_made(cell.source) for cell in copy.cells if cell.cell_type == "code"))
    for cell in edition.set_up:
        lost = sorted((names_made(cell.source) & used) - there)
        if lost:
            return (
                f"a set-up cell is missing, the one that gives {', '.join(lost)}: take it from a fresh copy. {_ADVICE}"
            )
    return ""


def _not_checked(exercise: Exercise, parts: list[Part]) -> Exercise:
    """The same where only the set-up is to blame: its own failures stay."""
    errors = [_error(part.cell) for part in parts if part.name == exercise.name]
    if exercise.passed is False and all(error is None or error.ename in _UNDEFINED for error in errors):
        return replace(exercise, checked=False, message="not checked: the set-up fails.")
    return exercise


def _exercise(name: str, plan: Plan, parts: list[Part], ended: Part | None) -> Exercise:
    """The outcome of one check; `ended` is the part in which the kernel died."""
    most, title = points_of(plan.checks[name]), plan.title(name)
    if name not in plan.answers:
        return Exercise(name, "exercise", None, 0, most, "its cell is not in this notebook.")
    if name in plan.skipped:
        return Exercise(name, title, None, 0, most, "not checked: it needs a training. Leave --quick out.", False)
    answer = next(part for part in parts if part.kind == "answer" and part.name == plan.answer_of[name])
    check = next(part for part in parts if part.kind == "check" and part.name == name)
    passed, message = _outcome(answer, check, parts)
    if ended is not None and ended.name == name:
        passed, message = False, "the kernel died in it: the memory is full, or the code ends Python itself."
    elif ended is not None and not check.cell.get("execution_count"):
        passed, message = False, f"not checked: the kernel died before, in {ended.name}."
    return Exercise(name, title, passed, most if passed else 0, most, message)


def _outcome(answer: Part, check: Part, parts: list[Part]) -> tuple[bool | None, str]:
    """(passed, message) of an answer and its check, both executed in a kernel."""
    failed, error = (_failure(part, parts) for part in (answer, check))
    written = {name: "".join(o.text for o in check.cell.outputs if o.get("name") == name) for name in _STREAMS}
    if error is None and written["stderr"]:
        text = _quoted(written["stderr"].strip().splitlines()[-1][:200], check, parts)
        return False, f"The answer is right, but it writes to stderr, which costs the points: {text}"
    return outcome(answer.cell.source, failed, error, written["stdout"].strip())


@dataclass(frozen=True)
class Failure:
    """What a cell raised."""

    kind: str  # the error's class
    message: str


def outcome(source: str, failed: Failure | None, error: Failure | None, said: str) -> tuple[bool | None, str]:
    """(passed, message) of an answer with this source, whose own cell and whose check failed so, or not.

    The check alone decides, as with nbgrader: an answer's cell may fail behind its answer. said: what the check prints.
    """
    if error is None:
        return True, said + (f" But its own cell fails with {failed.kind}: {failed.message}" if failed else "")
    for one in filter(None, (failed, error)):
        if one.kind == "NotImplementedError" and "NotImplementedError" in source:
            return None, "Still open: write your answer in its cell, in place of `raise NotImplementedError()`."
        if one.kind == "NotImplementedError":
            return False, "It uses an exercise that is still open: do that one first."
        if one.kind == "KeyboardInterrupt":
            return False, "It was stopped: it takes too long. Is there a loop without an end?"
    if failed is not None:
        return False, f"Its own cell fails with {failed.kind}: {failed.message}"
    return False, error.message if error.kind == "CheckFailed" else f"{error.kind}: {error.message}"


def _failure(part: Part, parts: list[Part]) -> Failure | None:
    error = _error(part.cell)
    return Failure(error.ename, _said(error, part, parts)) if error is not None else None


_STREAMS = ("stdout", "stderr")


def _error(cell: NotebookNode) -> NotebookNode | None:
    return next((output for output in cell.outputs if output.output_type == "error"), None)


# -- whose line is it? ------------------------------------------------------------------------------------------------

_FILE = re.compile(r"""(?:[^\s"'(]*[/\\]ipykernel_\d+[/\\])?\b(\d{4,10})\.py\b""")
_THIS_CELL = re.compile(r"this cell, line (\d+): `([^`\n]*)")


def _said(error: NotebookNode, part: Part, parts: list[Part]) -> str:
    """What an error says, its lines quoted by exercise."""
    return _quoted(str(error.evalue), part, parts)


def _quoted(text: str, part: Part, parts: list[Part]) -> str:
    """The text with a cell's title for the file that a kernel makes of it. part: where the text comes from."""
    titles = {_file_number(one.cell.source): one.title for one in parts}

    def holder(found: re.Match[str]) -> str:
        number, line = int(found[1]), found[2].strip()
        for one in reversed(parts):
            lines = one.cell.source.splitlines()
            if number <= len(lines) and lines[number - 1].strip() == line:
                return found[0].replace("this cell", one.title, 1)
        return found[0].replace("this cell", part.title, 1)

    return _THIS_CELL.sub(holder, _FILE.sub(lambda found: titles.get(found[1], part.title), text))


def _file_number(source: str) -> str:
    """The number by which ipykernel calls a cell's file."""
    from ipykernel.compiler import get_tmp_hash_seed, murmur2_x86

    return str(murmur2_x86(source, get_tmp_hash_seed()))
