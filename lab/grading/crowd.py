"""A class is graded: every hand-in once, by whoever is there to do it, and each result is kept as it comes.

What is graded is what has no result yet under its key (`lab.grading.job.key_of`). So a run that was ended, however that
came, goes on where it was; two students with the same files are graded once; and a result of the grader's own trouble
is worked out anew.

In `audit` a network or weights that two students hand in are a reason to train again: that is known when all have a
result, and then those are graded a second time, with that knowledge.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab._files import FileError, read_regular
from lab.grading.collect import MAX_FILE
from lab.grading.grade import Options, State
from lab.grading.gradebook import Gradebook
from lab.grading.inbox import Inbox
from lab.grading.job import MAX_BYTES, Job, digest_of, judge_version, key_of, name_of, not_graded
from lab.grading.standing import (
    NOT_HANDED_IN,
    Class,
    Delivery,
    Item,
    Student,
    group_of,
    items_of,
    limits_of,
    open_rules,
    standing_of,
)
from lab.grading.workers import Died, Result, Workers
from lab.rules import Rubric
from lab.submission import SUFFIX

MOST_DEATHS = 2
"""Workers that may die of one hand-in, each told apart from the next, before it is given up for this time."""
AHEAD = 2
"""Jobs that wait beside those that are graded, so that no worker waits for one."""
_UNORDERED = "handed in more than once, and nobody says which came last: the teacher decides which one counts."
_OTHER = "another hand-in of this class"
"""Whose a digest is that two students share: no student is told whose."""


@dataclass(frozen=True)
class Settings:
    """How a class is graded."""

    rubric: Rubric
    options: Options  # without the rubric
    judge: str = field(default_factory=judge_version)  # whose results count

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        chosen = {name: value for name, value in vars(self.options).items() if name not in ("rubric", "known")}
        chosen["accepted"] = list(self.options.accepted)
        late = self.rubric.late.model_dump(mode="json") if self.rubric.late is not None else None
        return {"rubric": self.rubric.model_dump(mode="json") | {"late": late}, "options": chosen, "judge": self.judge}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Settings":
        """What `to_dict` has made."""
        chosen = dict(found["options"])
        chosen["accepted"] = tuple(chosen["accepted"])
        return cls(Rubric.model_validate_json(json.dumps(found["rubric"])), Options(**chosen), found["judge"])


@dataclass(frozen=True)
class Asked:
    """What one student's hand-in is graded by."""

    key: str
    digest: str
    options: Options


@dataclass(frozen=True)
class Progress:
    """A result has come, or what was asked for has begun."""

    students: tuple[Student, ...] = ()  # whose it is: several where they handed in the same
    result: Mapping[str, Any] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    failures: int = 0  # of the grader's own, so far


Tell = Callable[[Progress], None]


# -- what was handed in -----------------------------------------------------------------------------------------------


def receive(book: Gradebook, inbox: Inbox) -> None:
    """Write the class into the book as it lies there now."""
    handed_in = [one.student for one in inbox.deliveries]
    book.receive(
        [*handed_in, *inbox.missing, *inbox.unordered], ((one, content_of(one)[1]) for one in inbox.deliveries)
    )
    book.note("unordered", [student.id for student in inbox.unordered])
    book.note("unmatched", list(inbox.unmatched))
    book.note("notes", list(inbox.notes))


@dataclass(frozen=True)
class Unread:
    """A hand-in whose files can't be read: whose fault that is, and why."""

    state: State
    message: str


def content_of(delivery: Delivery) -> tuple[dict[str, bytes], str, Unread | None]:
    """Its files, and their digest; where they can't be read none, why, and a digest of their sizes.

    No ordinary file, or one that is too large, is the student's error; what this machine does not let us read is ours.
    """
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for name, path in delivery.files.items():
        try:
            files[name] = read_regular(path, min(left, MAX_FILE))
        except (OSError, FileError) as error:
            told = f"{name} can't be read: {getattr(error, 'strerror', None) or _beside(error, path)}."
            sizes = {name: str(_size(path)).encode() for name, path in delivery.files.items()}
            return {}, digest_of(sizes), Unread("grader error" if isinstance(error, OSError) else "student error", told)
        left -= len(files[name])
    return files, digest_of(files), None


def _beside(error: Exception, path: Path) -> str:
    """What is wrong with a file, without the place where the teacher keeps it."""
    return str(error).replace(str(path), "it")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


# -- what is asked for ------------------------------------------------------------------------------------------------


def asked(book: Gradebook, settings: Settings) -> dict[str, Asked]:
    """By the student's id what the hand-in is graded by."""
    options = replace(settings.options, known={})
    first = {}
    for student, (delivery, digest) in book.deliveries().items():
        by_weights = options.mode in ("weights", "audit")
        fitting = replace(options, mode=None) if by_weights and not _has_weights(delivery) else options
        key = key_of(digest, settings.rubric, fitting, settings.judge)
        first[student] = Asked(key, digest, fitting)
    if options.mode != "audit":
        return first
    shared = _shared(book, first)
    return {student: _knowing(one, shared[student], settings) for student, one in first.items()}


def _has_weights(delivery: Delivery) -> bool:
    return any(name.endswith(SUFFIX) for name in delivery.files)


def _shared(book: Gradebook, first: Mapping[str, Asked]) -> dict[str, set[str]]:
    """By student the digests of network and weights that somebody else's hand-in has, too; a group's is one hand-in."""
    own = {student: set(book.result(one.key).get("evidence", {}).get("digests", {}).values())
           for student, one in first.items()}  # fmt: skip
    groups = {student: group_of(delivery) for student, (delivery, _) in book.deliveries().items()}
    whose = {(digest, groups[student]) for student, digests in own.items() for digest in digests}
    count = Counter(digest for digest, _ in whose)
    return {student: {digest for digest in digests if count[digest] > 1} for student, digests in own.items()}


def _knowing(one: Asked, shared: Collection[str], settings: Settings) -> Asked:
    if not shared:
        return one
    options = replace(one.options, known=dict.fromkeys(sorted(shared), _OTHER))
    return Asked(key_of(one.digest, settings.rubric, options, settings.judge), one.digest, options)


# -- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class _Task:
    """A hand-in that is to be graded, and how many workers have died of it."""

    asked: Asked
    students: list[Student]
    delivery: Delivery
    deaths: int = 0


def grade_class(book: Gradebook, settings: Settings, workers: Workers, tell: Tell, again: Collection[str] = ()) -> None:
    """Grade whatever has no result yet, and of the students `again` what has one.

    Raises WorkersError and GradebookError; what came until then is kept.
    """

    def once_more(student: str, state: str) -> bool:
        return student in again or state == "grader error"

    _run(book, settings, workers, _tasks(book, settings, once_more), tell)
    # What is known by now to be shared:
    _run(book, settings, workers, _tasks(book, settings, lambda student, state: False), tell)


def _tasks(book: Gradebook, settings: Settings, once_more: Callable[[str, str], bool]) -> list[_Task]:
    """What is to be graded, each key once: what has no result; and what has one, of which `once_more` says so.

    once_more: by the student's id and the result's state.
    """
    states, deliveries = book.states(), book.deliveries()
    tasks: dict[str, _Task] = {}
    for student, one in asked(book, settings).items():
        delivery = deliveries[student][0]
        if one.key in tasks:
            tasks[one.key].students.append(delivery.student)
        elif one.key not in states or once_more(student, states[one.key][1]):
            tasks[one.key] = _Task(one, [delivery.student], delivery)
    return list(tasks.values())


def _run(book: Gradebook, settings: Settings, workers: Workers, tasks: list[_Task], tell: Tell) -> None:
    waiting, running = deque(tasks), dict[Future[Result], _Task]()
    done = failures = 0
    if tasks:
        tell(Progress(total=len(tasks)))
    while waiting or running:
        while waiting and len(running) < workers.places() + AHEAD:
            task = waiting.popleft()
            running[_begun(task, settings, workers)] = task
        for future in wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            try:
                result = workers.result(future)
            except Died as error:
                task.deaths += 1
                if task.deaths < MOST_DEATHS and not error.surely:
                    waiting.append(task)
                    continue
                result = _not_graded(task, "grader error", f"{error} It was tried more than once.")
            book.record(task.asked.key, task.asked.digest, result)
            done += 1
            failures += result["grade"]["state"] == "grader error"
            tell(Progress(tuple(task.students), result, done, len(tasks), failures))


def _begun(task: _Task, settings: Settings, workers: Workers) -> "Future[Result]":
    """The future of a task's result; one that is done where its files can't be read."""
    files, digest, wrong = content_of(task.delivery)
    if wrong is not None:
        return _done(_not_graded(task, wrong.state, wrong.message))
    if digest != task.asked.digest:
        told = "its files were changed while the class was graded. Give the same command again."
        return _done(_not_graded(task, "grader error", told))
    options = replace(task.asked.options, rubric=settings.rubric)
    return workers.submit(Job(task.asked.key, digest, files, options, settings.judge))


def _not_graded(task: _Task, state: State, message: str) -> Result:
    return not_graded(name_of(task.delivery.files), task.asked.digest, task.asked.options, state, message)


def _done(result: Result) -> "Future[Result]":
    future: Future[Result] = Future()
    future.set_result(result)
    return future


# -- where everybody stands -------------------------------------------------------------------------------------------


class _Kept(Mapping[str, Any]):
    """A result that is read from the book when it is looked at: a class of thousands need not be in memory."""

    def __init__(self, book: Gradebook, key: str) -> None:
        self._book, self._key = book, key

    def __getitem__(self, name: str) -> Any:
        return self._book.result(self._key)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._book.result(self._key))

    def __len__(self) -> int:
        return len(self._book.result(self._key))


def class_of(book: Gradebook, settings: Settings) -> Class:
    """Where everybody in the class stands now. It is read while the book is open."""
    wanted, states, marks, deliveries = asked(book, settings), book.states(), book.marks(), book.deliveries()
    everything = _everything(book, settings, [one.key for one in wanted.values() if one.key in states])
    unordered = set(book.noted("unordered") or ())
    standings, last = [], ""
    for student in book.students():
        delivery = deliveries[student.id][0] if student.id in deliveries else None
        key = wanted[student.id].key if student.id in wanted else ""
        result = _Kept(book, key) if key in states else {}
        made = standing_of(student, delivery, result, everything, marks.get(student.id, {}), settings.rubric)
        made = replace(made, state="waiting", message=_UNORDERED) if student.id in unordered else made
        standings.append(replace(made, earlier=states[key][0] - 1) if key in states else made)
        last = max(last, made.result.get("provenance", {}).get("date", ""))
    options = settings.options
    made_by = {"judge": settings.judge, "mode": options.mode, "seed": options.seed, "date": last}
    unmatched, notes = book.noted("unmatched") or (), book.noted("notes") or ()
    return Class(settings.rubric.title, standings, tuple(unmatched), tuple(notes), limits_of(settings.rubric), made_by)


def _everything(book: Gradebook, settings: Settings, keys: list[str]) -> list[Item]:
    """All items that anybody in the class has, open and without points: exercises in their order, then the rules.

    Where the exercises alone are graded there are no rules.
    """
    exercises: dict[str, Item] = {}
    for key in keys:
        for item in items_of(book.result(key).get("grade", {})):
            if item.kind == "exercise":
                blank = replace(item, passed=None, points=0.0, message=NOT_HANDED_IN)
                exercises.setdefault(item.id, blank)
    return [*exercises.values(), *([] if settings.options.quick else open_rules(settings.rubric))]
