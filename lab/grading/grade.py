"""One hand-in, graded: the points of its exercises, and the assignment's, each with the reason for what is missing.

    print("\n".join(grade("copy.ipynb").lines()))

Nothing here runs, imports or unpickles what a student wrote: that happens in a sandbox, out of which only data comes.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lab.course.exercises import Exercise
from lab.course.plan import Plan
from lab.definitions import cells
from lab.errors import LabError, SandboxError
from lab.grading import doctor, judge
from lab.grading.answers import Session
from lab.grading.collect import Collected, collect
from lab.grading.exercises import Entry, try_copy
from lab.grading.judge import Judgement
from lab.grading.rerun import rerun, trains_itself
from lab.grading.rerun_inside import Reran
from lab.grading.sandbox import HAND_IN, Sandbox, for_session
from lab.grading.training import GraderError
from lab.graph import Graph, prepare_capture
from lab.recipes import recipe_of
from lab.rules import Rubric, load_rubric
from lab.submission import HandIn
from lab.train import Recipe

Mode = Literal["retrain", "rerun", "weights", "audit"]
State = Literal["graded", "student error", "grader error"]


@dataclass(frozen=True)
class Options:
    """How a hand-in is graded. What is None is chosen by what was handed in."""

    mode: Mode | None = None
    rubric: str | Rubric | None = None
    seed: int = 0  # of the cases that are drawn, the first weights and the training
    seeds: int | None = None  # train so often; None: once, and again where it is close
    quick: bool = False  # the exercises alone, and of those the ones that need no training
    accepted: tuple[str, ...] = ()  # claims of the sandbox that need not hold here (`lab doctor`)
    share: float = 0.1  # of an audit: the share of hand-ins that are trained again without any suspicion
    secret: str = ""  # of an audit: what only the teacher knows, so that nobody can choose to be left out
    fresh: str | None = None  # a data set of images that nobody has seen: qmnist
    known: dict[str, str] = field(default_factory=dict)  # digests of networks, recipes and weights of others, and whose


@dataclass(frozen=True)
class Grade:
    """What one hand-in gets, and why."""

    name: str  # of the file
    digest: str  # SHA-256 of all that was handed in
    kind: str  # "copy of mnist_994", "hand-in", "code"
    state: State
    message: str = ""  # what went wrong, where something did
    exercises: tuple[Exercise, ...] = ()
    flags: tuple[str, ...] = ()  # what is odd about it
    judgement: Judgement | None = None
    rubric: Rubric | None = None
    left_out: str = ""  # the flag that says so, where this machine can't grade a part of it; not in `to_dict`

    @property
    def points(self) -> tuple[float, float]:
        """Of the exercises: earned, and to be had."""
        return sum(one.points for one in self.exercises), sum(one.max_points for one in self.exercises)

    @property
    def assignment(self) -> tuple[float, float]:
        """Of the assignment: earned, and to be had."""
        most = sum(rule.points for rule in self.rubric.rules) if self.rubric else 0.0
        return sum(verdict.points for verdict in self.judgement.verdicts) if self.judgement else 0.0, most

    @property
    def complete(self) -> bool:
        """Are all points earned?"""
        pairs = (self.points, self.assignment)
        return self.state == "graded" and all(earned == most for earned, most in pairs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it. The same hand-in, seed and machine give the same, to the last byte: no date, no duration."""
        return {
            "name": self.name,
            "digest": self.digest,
            "kind": self.kind,
            "state": self.state,
            "message": self.message,
            "points": {"exercises": self.points, "assignment": self.assignment},
            "exercises": [one.to_dict() for one in self.exercises],
            "flags": list(self.flags),
            "assignment": self.judgement.to_dict() if self.judgement else None,
        }

    def lines(self) -> list[str]:
        """For a person."""
        shown = [one.line() for one in self.exercises]
        if self.exercises:
            shown.append("exercises: {:g} of {:g} points".format(*self.points))
        if self.judgement is not None:
            shown += self.judgement.lines()
        if self.rubric is not None:
            shown.append("assignment: {:g} of {:g} points".format(*self.assignment))
        return [*shown, *([f"{self.state}: {self.message}"] if self.message else [])]


def grade(target: str | Path, options: Options | None = None, early: Sandbox | None = None) -> Grade:
    """Grade the hand-in at `target`: a .lab file, a notebook, a script, or a folder of one student's.

    early: a sandbox with a session for it that was started before (`started_early`); it is closed here. Raises LabError
    where nothing can be graded at all: no such file, no notebook, no sandbox on this machine.
    """
    options = options or Options()
    spare = [early] if early is not None else []
    try:
        return graded(collect(target), options, spare)
    finally:
        for sandbox in spare:
            sandbox.close()


def graded(found: Collected, options: Options, spare: list[Sandbox] | None = None) -> Grade:
    """The same for what was collected. spare: a sandbox in it is taken out, and used. Raises as `grade` does."""
    spare = [] if spare is None else spare
    rubric = options.rubric if isinstance(options.rubric, Rubric) else load_rubric(options.rubric or _rubric_of(found))
    if found.hand_in is None:
        doctor.require(options.accepted)
        made = _copy if found.copy is not None else _code
        return made(found, rubric, options, spare)
    if found.copy is None or not Plan(found.copy, found.edition).answers:
        return _data(found, found.hand_in, rubric, options)
    try:
        doctor.require(options.accepted)
        return _copy(found, rubric, options, spare)
    except SandboxError as error:  # data is judged without one
        done = _data(found, found.hand_in, rubric, options)
        told = f"the exercises are not graded: {error}"
        return replace(done, flags=(*done.flags, told), left_out=told)


def _rubric_of(found: Collected) -> str:
    if found.hand_in is not None:
        return found.hand_in.rubric
    return found.edition.name or "mnist_994"


def _copy(found: Collected, rubric: Rubric, options: Options, spare: list[Sandbox]) -> Grade:
    """A copy of one of the lab's notebooks: its exercises, and then its network."""
    assert found.copy is not None
    prepare_capture()  # while the session does the same
    by_weights = found.hand_in if options.mode in ("weights", "audit") else None
    tried = try_copy(
        found.copy,
        found.edition,
        _sessions(found, options, spare),
        _seed(found, options),
        options.quick,
        lambda names: judge.logs(names, rubric, by_weights),
    )
    whole = Grade(
        found.path.name,
        found.digest,
        f"copy of {found.edition.name}",
        "graded",
        exercises=tuple(tried.report.exercises),
        flags=(*found.notes, *tried.report.warnings),
        rubric=None if options.quick else rubric,
    )
    if options.quick:
        return whole
    entry = tried.entry
    if found.hand_in is not None:
        entry = Entry(found.hand_in.graph, found.hand_in.recipe)
    return _with_judgement(whole, found, entry, rubric, options)


def _data(found: Collected, hand_in: HandIn, rubric: Rubric, options: Options) -> Grade:
    """A network that was handed in as data."""
    whole = Grade(found.path.name, found.digest, "hand-in", "graded", flags=found.notes, rubric=rubric)
    return _with_judgement(whole, found, Entry(hand_in.graph, hand_in.recipe), rubric, options)


def _code(found: Collected, rubric: Rubric, options: Options, spare: list[Sandbox]) -> Grade:
    """A script or a notebook of somebody's own: by its definitions where they suffice, else by running it."""
    whole = Grade(found.path.name, found.digest, "code", "graded", flags=found.notes, rubric=rubric)
    own_loop = trains_itself(cells(found.path), found.path.parent if found.folder is not None else None)
    if options.mode == "rerun" or (options.mode is None and own_loop):
        return _reran(whole, found, rubric, options)
    session = _sessions(found, options, spare)()
    try:
        with session.within(CODE_SECONDS):
            entry = Entry(session.found(_inside(found), NETWORK, rubric.input_shape), None)
    except SandboxError:
        raise
    except LabError as error:
        given = _executed(found, options, train=False)
        if given.graph is None:
            return replace(whole, state="student error", message=str(error).replace(f"{HAND_IN}/", ""))
        entry = Entry(given.graph, given.recipe)
    finally:
        session.close()
    names_lab = re.search(r"\blab\b", found.path.read_text(encoding="utf-8", errors="replace"))
    if entry.recipe is None and names_lab:  # only the lab's own loop takes a recipe: others are not executed once more
        entry = replace(entry, recipe=_executed(found, options, train=False).recipe)
    return _with_judgement(whole, found, entry, rubric, options)


def _reran(whole: Grade, found: Collected, rubric: Rubric, options: Options) -> Grade:
    """Code that trains by itself."""
    reran = _executed(found, options, train=True)
    whole = replace(whole, flags=(*whole.flags, *reran.flags))
    if reran.graph is None:
        return replace(whole, state="student error", message=str(reran.error))
    notes = [*reran.notes, *([f"it ended with an error: {reran.error}"] if reran.error else [])]
    try:
        return replace(whole, judgement=judge.by_rerun(reran.graph, rubric, reran.epochs_bound, notes))
    except GraderError as error:
        return replace(whole, state="grader error", message=str(error))
    except LabError as error:
        return replace(whole, state="student error", message=str(error))


def _executed(found: Collected, options: Options, train: bool) -> Reran:
    where, file = (found.folder, _inside(found)) if found.folder is not None else (found.path, "")
    return rerun(where, NETWORK, file=file, train=train, seed=options.seed, accepted=options.accepted)


def _inside(found: Collected) -> str:
    """Where its file lies in what was handed in."""
    return found.path.relative_to(found.folder).as_posix() if found.folder is not None else found.path.name


def _with_judgement(whole: Grade, found: Collected, entry: Entry, rubric: Rubric, options: Options) -> Grade:
    """The same with the assignment's verdicts."""
    if isinstance(entry.network, str):
        return replace(whole, flags=(*whole.flags, f"no network is judged: {entry.network}"))
    recipe = entry.recipe or recipe_of(rubric)
    try:
        return replace(whole, judgement=_judged(entry.network, recipe, found, rubric, options))
    except GraderError as error:
        return replace(whole, state="grader error", message=str(error))
    except LabError as error:
        return replace(whole, state="student error", message=str(error))


def _judged(graph: Graph, recipe: Recipe, found: Collected, rubric: Rubric, options: Options) -> Judgement:
    if options.mode in ("weights", "audit") and found.hand_in is not None:
        judgement = judge.by_weights(graph, rubric)
    elif options.mode == "weights":
        raise judge.JudgeError("weights are tested of a .lab file alone: leave --mode out, or ask for one.")
    else:
        judgement = _trained(graph, recipe, rubric, options)
    fresh, note = judge.fresh_figures(judgement, options.fresh)
    judgement = replace(judgement, notes=(*judgement.notes, *note))
    if options.mode != "audit" or found.hand_in is None:
        return judgement
    sample = judge.Sample(options.share, options.secret)
    return judge.audited(
        judgement,
        found.hand_in,
        rubric,
        judge.suspicions(judgement, found.hand_in, options.known, fresh),
        sample,
        sample.draws(found.digest),
        lambda: _trained(graph, recipe, rubric, options),
    )


def _trained(graph: Graph, recipe: Recipe, rubric: Rubric, options: Options) -> Judgement:
    """Trained here; once more where this machine was at fault."""
    try:
        return judge.by_retraining(graph, recipe, rubric, options.seed, options.seeds)
    except GraderError:
        return judge.by_retraining(graph, recipe, rubric, options.seed, options.seeds)


NETWORK = "MyNet"
"""What the assignments call the network that is handed in: of several in a file it is the one that counts."""
CODE_SECONDS = 120.0
"""For a script's definitions, and for its network to be built and captured."""


def _sessions(found: Collected, options: Options, spare: list[Sandbox]) -> Callable[[], Session]:
    """What gives a new session for this hand-in: the spare one first."""

    def start() -> Session:
        if spare:
            return Session(spare.pop())
        return Session(for_session(found.folder or found.path, options.accepted))

    return start


def _seed(found: Collected, options: Options) -> int:
    """What cases are drawn from: nobody knows it who has yet to write the hand-in."""
    text = f"{options.seed} {found.digest}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
