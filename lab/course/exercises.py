"""How many points has a student's copy of the notebook got so far?

A reduced notebook of set-up, answers and checks runs in a kernel of its own: of the training runs those alone that a
check judges, and none in a quick check. This is for the student, on the student's own machine: their code runs as it
is, with all it can do. No grade is decided here, and nothing that decides one may call this outside a sandbox.
"""

import ast
import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nbformat
from nbformat import NotebookNode

from lab import _place
from lab.course import copies
from lab.course.copies import Copy, ExerciseError, grade_id_of, is_check, points_of, read_copy
from lab.course.kernel import environment, this_python
from lab.definitions import Statement, parse, select

CELL_SECONDS = 120
TRAINING_SECONDS = 1800
"""For a cell in which a network of the student's own is trained."""
TRAINS = "trains"
"""The tag of a check that trains, where the notebook's own cells have not done it yet."""


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
    return bool(_Plan(copy, _edition(copy)).training)


def check_copy(path: str | Path, seconds: int = CELL_SECONDS, quick: bool = False) -> Report:
    """What each exercise of the notebook at `path` earns, in the notebook's order, and what nbgrader will not take.

    quick: nothing is trained, and the exercises that need it are not checked. A cell that runs longer than `seconds` is
    stopped, one that trains after `TRAINING_SECONDS`. Check cells are the lab's own where it knows the exercise, so an
    edited check counts for nothing, and one that is lost is there all the same. As with nbgrader, a check that writes
    to stderr earns no points. Raises ExerciseError where there is no notebook, or no exercise in it, and NoKernel.
    """
    copy = read_copy(Path(path))
    edition = _edition(copy)
    warnings = copies.warnings_of(copy, {name: cell for name, cell in edition.items() if grade_id_of(cell)})
    plan = _Plan(copy, edition, quick)
    if not plan.answers.keys() & plan.checks.keys():
        raise ExerciseError(f"{path} has no exercises: no cell that nbgrader knows as an answer, with its check.")
    parts = plan.parts()
    ended = _execute(parts, seconds, plan)
    cause = _cause(parts, ended, edition, copy)
    exercises = [_exercise(name, plan, parts, ended) for name in plan.checks]
    if cause:
        exercises = [_not_checked(exercise, parts) for exercise in exercises]
    return Report(exercises, [*filter(None, [cause]), *warnings, *plan.refused])


# -- the lab's own edition --------------------------------------------------------------------------------------------


def edition_sources() -> list[Path]:
    """The sources of the lab's own notebooks, in a clone or where pip put them; none where neither has them."""
    return _place.shipped("notebooks", "[!_]*.py")


def _edition(copy: Copy) -> dict[str, NotebookNode]:
    """The cells of the lab's edition that shares most grade_ids with the copy, by grade_id; its set-up by "setup N"."""
    import jupytext

    own = set(filter(None, map(grade_id_of, copy.cells)))
    best: dict[str, NotebookNode] = {}
    for path in edition_sources():
        cells = jupytext.read(path).cells
        named = {grade_id_of(cell): cell for cell in cells if grade_id_of(cell)}
        if len(named.keys() & own) > len(best.keys() & own):
            set_up = [cell for cell in cells if "setup" in cell.metadata.get("tags", [])]
            best = named | {f"setup {number}": cell for number, cell in enumerate(set_up)}
    return best


# -- the reduced notebook ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A cell of the reduced notebook."""

    cell: NotebookNode
    kind: Literal["set-up", "answer", "check", "own"]
    name: str  # the exercise's, or what a person calls the cell
    title: str  # "exercise 3"


class _Plan:
    """What is executed in the place of each of the copy's cells."""

    def __init__(self, copy: Copy, edition: dict[str, NotebookNode], quick: bool = False) -> None:
        self.cells = copy.cells
        named = [cell for cell in edition.values() or copy.cells if grade_id_of(cell)]
        known = {grade_id_of(cell): cell for cell in named}
        self.checks = {name.removesuffix("-check"): cell for name, cell in known.items() if is_check(cell)}
        self.training = {name for name, cell in self.checks.items() if TRAINS in cell.metadata.get("tags", [])}
        self.skipped = self.training if quick else set()
        self.known = known
        for cell in self.cells:
            if grade_id_of(cell) in known:
                cell.cell_type = known[grade_id_of(cell)].cell_type  # as nbgrader does
        self.set_up = self._set_up()
        self.refused: list[str] = []  # what may change something that an answer uses, and is not run
        ids = {name for name, cell in known.items() if not is_check(cell)}
        self.answer_of = {name: answer_of(name, ids) for name in self.checks}
        self.answers: dict[str, int] = {}  # where the answer stands that a check judges; several may judge one
        for name, answer in self.answer_of.items():
            place = copy.last(answer)
            place = self._unnamed(name) if place is None else place
            if place is not None:
                self.answers[name] = place
        last = {name: copy.last(f"{name}-check") for name in self.checks}
        self.check_at = {name: max(place, last[name] or 0) for name, place in self.answers.items()}

    def _set_up(self) -> set[int]:
        """The cells with the tag `setup`; without any, the code before the first exercise."""
        code = [place for place, cell in enumerate(self.cells) if cell.cell_type == "code"]
        tagged = {place for place in code if "setup" in self.cells[place].metadata.tags}
        first = next((place for place in code if grade_id_of(self.cells[place])), len(self.cells))
        return tagged or {place for place in code if place < first}

    def _unnamed(self, name: str) -> int | None:
        """The cell that makes what a check reads, where the answer's cell has lost nbgrader's metadata."""
        own = self.known.get(self.answer_of[name])
        wanted = _read(self.checks[name].source) if own is None else _defined(own.source)
        code = [place for place, cell in enumerate(self.cells) if cell.cell_type == "code" and place not in self.set_up]
        plain = [place for place in code if grade_id_of(self.cells[place]) not in self.known]
        found = [place for place in plain if wanted & _defined(self.cells[place].source)]
        return max(found, default=None)

    def title(self, name: str) -> str:
        """'exercise 3', as its cell begins."""
        heading = name in self.answers and re.match(r"\s*# *(EXERCISE \w+)", self.cells[self.answers[name]].source)
        return heading[1].lower() if heading else "exercise"

    def may_train(self, part: _Part) -> bool:
        """Is it one that trains a network which is judged: its check, or a cell of the student's own before that?"""
        judged = self.training - self.skipped
        return bool(judged) and (part.kind == "own" or (part.kind == "check" and part.name in judged))

    def parts(self) -> list[_Part]:
        """An answer brings its check, other cells only define."""
        answer_at = {place: self.answer_of[name] for name, place in self.answers.items()}
        own = self._own_statements(answer_at)
        parts = []
        for place, cell in enumerate(self.cells):
            if place in answer_at:
                parts.append(self._part(cell.source, "answer", answer_at[place]))
            elif place in self.set_up:
                parts.append(_Part(_code(cell.source), "set-up", f"cell {place + 1}", "the set-up cell"))
            where = f"cell {place + 1}"
            parts += [_Part(_code(statement.source), "own", where, where) for statement in own.get(where, [])]
            for name in [name for name, at in self.check_at.items() if at == place and name not in self.skipped]:
                parts.append(self._part(self.checks[name].source, "check", name))
        return parts

    def _own_statements(self, answer_at: dict[int, str]) -> dict[str, list[Statement]]:
        """What the cells between make that an answer or a check uses, each statement by itself: one may fail."""
        judged = [self.cells[place].source for place in answer_at]
        checks = [check.source for name, check in self.checks.items() if name not in self.skipped]
        wanted = set().union(*map(_read, [*judged, *checks]))
        between = [
            (f"cell {place + 1}", cell.source)
            for place, cell in enumerate(self.cells)
            if cell.cell_type == "code" and not is_check(cell) and place not in answer_at and place not in self.set_up
        ]
        selection = select(between, wanted)
        self.refused = list(selection.refused)
        by_cell: dict[str, list[Statement]] = {}
        for statement in selection.statements:
            by_cell.setdefault(statement.cell, []).append(statement)
        return by_cell

    def _part(self, source: str, kind: Literal["answer", "check"], name: str) -> _Part:
        return _Part(_code(source), kind, name, self.title(name) if kind == "answer" else f"the check of {name}")


def answer_of(check: str, answers: set[str]) -> str:
    """The answer that a check judges: the one of its name, or of the longest beginning of it ("version-3-98")."""
    parts = check.split("-")
    beginnings = ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in beginnings if name in answers), check)


def _statements(source: str) -> list[Statement]:
    """Of a cell; none where it is not Python."""
    return parse([("a cell", source)]).statements


def _read(source: str) -> set[str]:
    """The names that a cell reads."""
    return set().union(*(statement.reads for statement in _statements(source)))


def _made(source: str) -> set[str]:
    """The names that a cell gives a value."""
    return set().union(*(statement.binds for statement in _statements(source)))


def _defined(source: str) -> set[str]:
    """The same without what it imports."""
    made = [s for s in _statements(source) if not isinstance(s.node, ast.Import | ast.ImportFrom)]
    return set().union(*(statement.binds for statement in made))


def _code(source: str) -> NotebookNode:
    cell: NotebookNode = nbformat.v4.new_code_cell(source)
    return cell


# -- its execution ----------------------------------------------------------------------------------------------------


def _execute(parts: list[_Part], seconds: int, plan: _Plan) -> _Part | None:
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


def _cause(parts: list[_Part], ended: _Part | None, edition: dict[str, NotebookNode], copy: Copy) -> str:
    """Why nothing can be checked: the set-up fails, or is not there; empty where it works."""
    if ended is not None and ended.kind == "set-up":
        return f"the kernel died in the set-up cell ({ended.name}): the memory is full, or it ends Python itself."
    for part in parts:
        error = _error(part.cell) if part.kind == "set-up" else None
        if error is not None and error.ename == "KeyboardInterrupt":
            return f"the set-up cell ({part.name}) was stopped: it takes too long. {_ADVICE}"
        if error is not None:
            return f"the set-up cell ({part.name}) fails with {error.ename}: {_said(error, part, parts)} {_ADVICE}"
    set_up = [cell.source for name, cell in edition.items() if name.startswith("setup ")]
    used = set().union(*(_read(cell.source) for cell in edition.values() if grade_id_of(cell)))
    there = set().union(*(_made(cell.source) for cell in copy.cells if cell.cell_type == "code"))
    for source in set_up:
        lost = sorted((_made(source) & used) - there)
        if lost:
            return (
                f"a set-up cell is missing, the one that gives {', '.join(lost)}: take it from a fresh copy. {_ADVICE}"
            )
    return ""


def _not_checked(exercise: Exercise, parts: list[_Part]) -> Exercise:
    """The same where only the set-up is to blame: its own failures stay."""
    errors = [_error(part.cell) for part in parts if part.name == exercise.name]
    if exercise.passed is False and all(error is None or error.ename in _UNDEFINED for error in errors):
        return replace(exercise, checked=False, message="not checked: the set-up fails.")
    return exercise


def _exercise(name: str, plan: _Plan, parts: list[_Part], ended: _Part | None) -> Exercise:
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


def _outcome(answer: _Part, check: _Part, parts: list[_Part]) -> tuple[bool | None, str]:
    """(passed, message) of an answer and its check, both executed.

    The check alone decides, as with nbgrader: an answer's cell may fail behind its answer.
    """
    failed, error = _error(answer.cell), _error(check.cell)
    written = {name: "".join(o.text for o in check.cell.outputs if o.get("name") == name) for name in _STREAMS}
    if error is None and written["stderr"]:
        text = _quoted(written["stderr"].strip().splitlines()[-1][:200], check, parts)
        return False, f"The answer is right, but it writes to stderr, which costs the points: {text}"
    if error is None:
        beside = f" But its own cell fails with {failed.ename}: {_said(failed, answer, parts)}" if failed else ""
        return True, written["stdout"].strip() + beside
    for output in filter(None, (failed, error)):
        if output.ename == "NotImplementedError" and "NotImplementedError" in answer.cell.source:
            return None, "Still open: write your answer in its cell, in place of `raise NotImplementedError()`."
        if output.ename == "NotImplementedError":
            return False, "It uses an exercise that is still open: do that one first."
        if output.ename == "KeyboardInterrupt":
            return False, "It was stopped: it takes too long. Is there a loop without an end?"
    if failed is not None:
        return False, f"Its own cell fails with {failed.ename}: {_said(failed, answer, parts)}"
    said = _said(error, check, parts)
    return False, said if error.ename == "CheckFailed" else f"{error.ename}: {said}"


_STREAMS = ("stdout", "stderr")


def _error(cell: NotebookNode) -> NotebookNode | None:
    return next((output for output in cell.outputs if output.output_type == "error"), None)


# -- whose line is it? ------------------------------------------------------------------------------------------------

_FILE = re.compile(r"""(?:[^\s"'(]*[/\\]ipykernel_\d+[/\\])?\b(\d{4,10})\.py\b""")
_THIS_CELL = re.compile(r"this cell, line (\d+): `([^`\n]*)")


def _said(error: NotebookNode, part: _Part, parts: list[_Part]) -> str:
    """What an error says, its lines quoted by exercise."""
    return _quoted(str(error.evalue), part, parts)


def _quoted(text: str, part: _Part, parts: list[_Part]) -> str:
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
