"""The points of a copy's exercises, worked out where no student's code ever runs.

The cells that define something are executed in a sandboxed session, in the copy's order. Each check is the lab's own
cell, executed here: for what the student wrote it is given stand-ins (`lab/grading/answers.py`), and everything else,
the data, the log of designs, the names of modules, comes from the lab's own notebook. Of the student's cells between,
one kind of thing is taken over as data: a recipe.

A session that the student's code ends (it calls os._exit, fills the memory, never answers) costs the exercise that did
it; another session is started, and goes on behind it.
"""

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lab.checks import draw_cases_from, forget_hints
from lab.course import copies
from lab.course.copies import Copy, ExerciseError, grade_id_of, is_check, points_of
from lab.course.exercises import Exercise, Failure, Report, outcome
from lab.course.plan import Edition, Part, Plan, names_defined, names_made, names_read
from lab.definitions import Statement, parse
from lab.errors import SandboxError
from lab.grading.answers import IMAGES, Answer, Network, Session
from lab.graph import Graph
from lab.train import Recipe

PART_SECONDS = 60.0
"""Of the student's code, for one cell or one check."""
MOST_SESSIONS = 8
"""So often a copy may end its session; what is behind that is not tried."""


@dataclass(frozen=True)
class Entry:
    """What a copy hands in for the assignment: the network that its notebook names, and the recipe."""

    network: Graph | str  # or in words why there is none
    recipe: Recipe | None


@dataclass(frozen=True)
class Tried:
    """What came out of a copy."""

    report: Report
    entry: Entry


def try_copy(
    copy: Copy,
    edition: Edition,
    start: Callable[[], Session],
    seed: int = 0,
    quick: bool = False,
    lend: Callable[[dict[str, Any]], dict[str, Any]] = lambda names: {},
) -> Tried:
    """What each exercise of a copy earns, in the edition's order, what is odd about it, and its network.

    edition: the lab's own notebook that the copy is one of. start: gives a new session. seed: the cases that are drawn.
    quick: nothing is trained, and the exercises that need it are not checked. lend: gives what the checks are given in
    place of the edition's own, by name, from those. Raises ExerciseError where the copy has no exercise, and whatever
    `start` raises.
    """
    if not edition.named:  # then the copy's own checks would count, and be executed here
        raise ExerciseError("it is no copy of a notebook of the lab's: there is no check of ours for it.")
    plan = Plan(copy, edition, quick)
    if not plan.answers:
        raise ExerciseError("there is no answer to any of the notebook's exercises in it.")
    draw_cases_from(seed)
    forget_hints()
    run = _Run(plan, edition, start, lend)
    try:
        run.all_parts()
        entry = run.entry()
    finally:
        run.close()
    flags = [*copies.warnings_of(copy, edition.named), *plan.refused, *run.flags]
    return Tried(Report([run.exercise(name) for name in plan.checks], list(dict.fromkeys(flags))), entry)


def trusted(edition: Edition, names: Iterable[str]) -> dict[str, Any]:
    """What the lab's own notebook makes of these names outside of its exercises: its own code, executed here."""
    cells = [cell for cell in edition.cells if cell.cell_type == "code" and not grade_id_of(cell)]
    statements = parse([(f"the notebook {edition.name}, cell {n}", cell.source) for n, cell in enumerate(cells)])
    needed, chosen, made = set(names), list[Statement](), dict[str, Any]()
    for statement in reversed(statements.statements):
        if statement.binds & needed:
            chosen.append(statement)
            needed |= statement.reads
    for statement in reversed(chosen):
        exec(statement.code, made)  # the lab's own notebook
    return {name: made[name] for name in names if name in made}


def built(thing: Any, name: str) -> Graph | str:
    """The graph of what a name stands for: a network, or what makes one; in words what is wrong with it."""
    made = thing() if isinstance(thing, Answer) else thing
    return made.graph_on(name, IMAGES) if isinstance(made, Network) else f"{name} gives {made!r}, no network."


@dataclass
class _Run:
    """The parts of a copy, one after the other, in one session or in several."""

    plan: Plan
    edition: Edition
    start: Callable[[], Session]
    lend: Callable[[dict[str, Any]], dict[str, Any]]
    flags: list[str] = field(default_factory=list)
    failed: dict[int, Failure] = field(default_factory=dict)  # of a part that was executed, by its place
    outcomes: dict[str, tuple[Failure | None, str]] = field(default_factory=dict)  # of a check: what it raised, or said
    _session: Session | None = None
    _sessions: int = 0
    _dead: set[int] = field(default_factory=set)  # parts that ended their session, by their place

    def __post_init__(self) -> None:
        ours = _own_set_up(self.edition)
        known = {part.cell.source for part in ours}
        theirs_too = [part for part in self.plan.parts() if part.kind != "set-up" or part.cell.source not in known]
        self.parts = [*ours, *theirs_too]
        answers = [cell for cell in self.edition.named.values() if not is_check(cell)]
        theirs = {name for cell in answers for name in names_defined(cell.source)}
        executed = [check for name, check in self.plan.checks.items() if name not in self.plan.skipped]
        read = {*(self.edition.handed_in or ()), *(n for check in executed for n in names_read(check.source))}
        self.names = trusted(self.edition, sorted(read - theirs))
        self.names |= self.lend(self.names)
        self.theirs = theirs | {name for name, value in self.names.items() if isinstance(value, Recipe)}

    def all_parts(self) -> None:
        """Execute what defines, and check what is answered."""
        for place, part in enumerate(self.parts):
            if part.kind == "check":
                self._check(place, part)
            elif not self._is_ours(part):
                self._define(place, part)

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()

    def entry(self) -> Entry:
        """The network and the recipe that the lab's own notebook hands in, as this copy defines them."""
        names = self.edition.handed_in
        if names is None:
            return Entry("this notebook hands in no network.", None)
        try:
            session = self._running(len(self.parts))
            with session.within(PART_SECONDS):
                found = self._of_the_student(session, names)
                network = built(found[names[0]], names[0]) if names[0] in found else f"{names[0]} is not defined."
        except SandboxError:
            raise
        except Exception as error:
            return Entry(f"{names[0]} can't be had: {type(error).__name__}: {error}", None)
        recipe = {**self.names, **found}.get(names[1])
        return Entry(network, recipe if isinstance(recipe, Recipe) else None)

    def exercise(self, name: str) -> Exercise:
        """The outcome of one check."""
        most, title = points_of(self.plan.checks[name]), self.plan.title(name)
        if name not in self.plan.answers:
            return Exercise(name, "exercise", None, 0, most, "its cell is not in this notebook.")
        if name in self.plan.skipped:
            return Exercise(name, title, None, 0, most, "not checked: it needs a training.", False)
        error, said = self.outcomes[name]
        place = next(
            n for n, part in enumerate(self.parts) if part.kind == "answer" and part.name == self.plan.answer_of[name]
        )
        if place in self._dead:
            return Exercise(name, title, False, 0, most, f"Its own cell ends the session: {self.failed[place].message}")
        passed, message = outcome(self.parts[place].cell.source, self.failed.get(place), error, said)
        return Exercise(name, title, passed, most if passed else 0, most, message)

    # -----------------------------------------------------------------------------------------------------------------

    def _is_ours(self, part: Part) -> bool:
        """Is it a statement of the student's whose only use would be something that is ours here: the data, the log?"""
        if part.kind != "own":
            return False
        made = names_made(part.cell.source)
        return bool(made) and made <= self.names.keys() - self.theirs

    def _define(self, place: int, part: Part) -> None:
        """Execute a cell. What it raises is kept; a session that it ends is started anew without it."""
        try:
            session = self._running(place)
            with session.within(PART_SECONDS):
                session.define(part.cell.source, part.title)
        except SandboxError:
            raise
        except Exception as error:
            if self._is_broken():
                self._dead.add(place)
            self.failed[place] = _failure(error, self._is_broken())
            if part.kind == "set-up":
                self.flags.append(f"the set-up cell ({part.name}) fails with {self.failed[place].kind}.")

    def _check(self, place: int, part: Part) -> None:
        """Execute one of the lab's own checks, with stand-ins for what it reads of the student's."""
        said = io.StringIO()
        try:
            session = self._running(place)
            with session.within(PART_SECONDS), session.sheltered(), contextlib.redirect_stdout(said):
                names = self.names | self._of_the_student(session, names_read(part.cell.source))
                exec(compile(part.cell.source, part.title, "exec"), names)  # a check of the lab's own edition
            self.outcomes[part.name] = None, said.getvalue().strip()
        except SandboxError:
            raise
        except Exception as error:
            self.outcomes[part.name] = _failure(error, self._is_broken()), ""

    def _of_the_student(self, session: Session, names: Iterable[str]) -> dict[str, Any]:
        """Stand-ins for the names of these that are the student's to define."""
        found: dict[str, Any] = {}
        for name in sorted(self.theirs.intersection(names)):
            with contextlib.suppress(NameError):  # the check raises it itself where it reads the name
                found[name] = session.named(name)
            if name in self.names and not isinstance(found.get(name), Recipe):
                self.flags.append(f"`{name}` is no recipe in this copy: the notebook's own was taken.")
                found.pop(name, None)
        return found

    def _is_broken(self) -> bool:
        return self._session is not None and self._session.broken

    def _running(self, place: int) -> Session:
        """The session, with what stands before this place defined. Raises what a session's start raises."""
        while self._session is None or self._session.broken:
            if self._sessions == MOST_SESSIONS:
                raise ExerciseError(f"not tried: the copy's code has ended its session {MOST_SESSIONS} times before.")
            self._session, self._sessions = self.start(), self._sessions + 1
            for before, part in enumerate(self.parts[:place]):
                if part.kind != "check" and before not in self._dead and not self._is_ours(part):
                    self._again(before, part)
                    if self._session.broken:
                        self._dead.add(before)
                        break
        return self._session

    def _again(self, place: int, part: Part) -> None:
        """Define it in another session, too: it failed before where it fails now."""
        assert self._session is not None
        with contextlib.suppress(Exception), self._session.within(PART_SECONDS):
            self._session.define(part.cell.source, part.title)


def _failure(error: Exception, broken: bool) -> Failure:
    """What was raised, under the name that it had where the student's code runs."""
    if broken:
        kind = "KeyboardInterrupt" if getattr(error, "limit", "") == "seconds" else "CheckFailed"
        return Failure(kind, str(error))
    kind = "CheckFailed" if isinstance(error, ExerciseError) else type(error).__name__
    return Failure(kind, str(error))


def _own_set_up(edition: Edition) -> list[Part]:
    """The lab's own set-up, before the copy's: a cell that a copy has lost costs nothing."""
    return [Part(cell, "set-up", f"the lab's own, {n}", "the set-up cell") for n, cell in enumerate(edition.set_up, 1)]
