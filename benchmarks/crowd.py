"""How long does a class take: hand-ins a minute in each mode, one worker against two, what is around the judge, and
`nbgrader autograde` of the same copies.

Everything is graded by the program that a teacher calls: its start, the start of its workers, the table and the pages
are part of what it takes. The hand-ins are those of `classes.py`, and copies of the solved notebook.
"""

import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat.v4 import new_markdown_cell

from benchmarks import classes, grading
from benchmarks.grading import NAME
from benchmarks.instant import peak
from benchmarks.records import Record
from lab import submission
from lab.course import editions
from lab.grading.collect import collect
from lab.grading.gradebook import Gradebook
from lab.grading.judge import Sample
from lab.graph import capture, redrawn
from lab.models import LabNet
from lab.train import Recipe

WORKERS = 2
SHARE = 0.1
"""Of an audit's hand-ins these are trained again."""
LONGEST = 3600.0
"""Seconds for `nbgrader autograde` of all copies."""


@dataclass(frozen=True)
class Size:
    """How many hand-ins are graded; 0: that mode is left out."""

    weights: int = 240  # by one worker, and by two
    pairs: int = 2
    audit: int = 20
    retrain: int = 4
    rerun: int = 16
    copies: int = 4  # of the notebook
    whole: bool = True  # all of it, or what needs no training
    epochs: int = 15  # of each recipe
    synthetic: tuple[int, ...] = (10, 100, 300, 1_000, 10_000)


FULL = Size()
QUICK = Size(weights=2, pairs=1, audit=0, retrain=0, rerun=0, copies=1, whole=False, synthetic=(10,))


def measured(size: Size) -> dict[str, Iterator[Record]]:
    """The contestants."""
    place = TemporaryDirectory(prefix="lab-bench-")
    work = _Work(Path(place.name), size)

    def kept(records: Callable[[], Iterator[Record]]) -> Iterator[Record]:
        """The folder is not removed before the last of its works is done."""
        yield from records()
        assert place.name

    modes = {mode: getattr(work, mode) for mode in ("audit", "retrain", "rerun") if getattr(size, mode)}
    works = {"copies": work.copies, "pairs": work.pairs, **modes, "synthetic": work.synthetic}
    return {name: kept(records) for name, records in works.items()}


class _Work:
    """All that is timed, in a folder."""

    def __init__(self, folder: Path, size: Size) -> None:
        self._folder, self._size = folder, size

    def pairs(self) -> Iterator[Record]:
        """The same hand-ins by one worker and by two, in alternating order."""
        handed_in = self._class("network", self._size.weights)
        for number in range(self._size.pairs):
            order = (1, WORKERS) if number % 2 == 0 else (WORKERS, 1)
            done = {workers: graded(handed_in, self._new("grades"), "weights", workers) for workers in order}
            yield done[WORKERS] | {"one": done[1]}

    def audit(self) -> Iterator[Record]:
        """Of which as many are trained again as are to be expected."""
        handed_in = self._class("network", self._size.audit)
        trained = round(SHARE * self._size.audit)
        secret = secret_for(handed_in, trained)
        done = graded(handed_in, self._new("grades"), "audit", WORKERS, "--secret", secret, "--share", str(SHARE))
        yield done | {"trained": trained, "share": SHARE}

    def retrain(self) -> Iterator[Record]:
        """Each by its own recipe, for as many epochs."""
        yield graded(self._class("network", self._size.retrain), self._new("grades"), "retrain", WORKERS)

    def rerun(self) -> Iterator[Record]:
        """Scripts and notebooks that train for some seconds, in the sandbox."""
        yield graded(self._class("code", self._size.rerun), self._new("grades"), "rerun", WORKERS)

    def copies(self) -> Iterator[Record]:
        """Copies of the solved notebook by `lab grade` and by `nbgrader autograde`, each in one run."""
        notebooks = self._notebooks()
        handed_in = self._new("copies")
        for number, (student, path) in enumerate(notebooks.items()):
            recipe = replace(Recipe(), epochs=14, learning_rate=0.01 + number / 10_000)
            cells = submission.cells_of(str(path))
            made = submission.of_graph(redrawn(capture(LabNet()), number), recipe, NAME, cells)
            (handed_in / student).mkdir(parents=True)
            submission.write(made, handed_in / student / "net.lab")
        # Nobody is drawn: of so few that would be luck. The report adds the tenth that is trained again.
        ours = graded(handed_in, self._copies_graded, "audit", WORKERS, "--share", "0")
        course = self._new("course")
        source = editions._source(NAME) if self._size.whole else grading.made("source")
        autograde = grading.nbgrader_course(course, notebooks, source)
        seconds, _ = grading.called(autograde, course, longest=LONGEST)
        points = [grading.nbgrader_points(course, student) for student in notebooks]
        yield ours | {"nbgrader": {"seconds": seconds, "points": points, "version": version("nbgrader")}}

    def synthetic(self) -> Iterator[Record]:
        """What is around the judge, with classes of several sizes."""
        (self._folder / "result.json").write_text(json.dumps(self._result))
        for number in self._size.synthetic:
            with TemporaryDirectory(dir=self._folder) as folder:
                result = self._folder / "result.json"
                program = [sys.executable, "-m", "benchmarks.instant", str(number), str(result), folder]
                yield json.loads(grading.called(program, Path(folder), longest=LONGEST)[1])

    # -- what they are made of ----------------------------------------------------------------------------------------

    def _new(self, name: str) -> Path:
        """A folder that there is not yet."""
        return next(path for n in itertools.count() if not (path := self._folder / f"{name}-{n}").exists())

    def _class(self, kind: str, number: int) -> Path:
        """Hand-ins of one kind, with random weights, and recipes as long as a student's."""
        made = classes.make(self._new("class"), number, layout="folders", trained=False, only=kind, designs=number)
        _set_epochs(made.folder, self._size.epochs)
        return made.folder

    def _notebooks(self) -> dict[str, Path]:
        """Copies of the notebook, each with a remark of its own, by student."""
        made = {}
        for number in range(self._size.copies):
            notebook = editions.solved_edition(NAME) if self._size.whole else grading.made("solved")
            notebook.cells.insert(1, new_markdown_cell(f"Remarks of number {number}.", id="remark"))
            path = self._folder / "notebooks" / f"s{number}" / f"{NAME}.ipynb"
            path.parent.mkdir(parents=True)
            nbformat.write(notebook, path)
            made[path.parent.name] = path
        return made

    @property
    def _copies_graded(self) -> Path:
        return self._folder / "copies-graded"

    @cached_property
    def _result(self) -> Record:
        """A real one: of the first copy."""
        with Gradebook(self._copies_graded) as book:
            return book.result(next(iter(book.states())))


def graded(folder: Path, out: Path, mode: str, workers: int, *more: str) -> Record:
    """`lab grade FOLDER` into a new folder: seconds of the program, and until its first and its last result.

    Raises RuntimeError where it fails, or where a hand-in is not graded for the grader's own reasons.
    """
    command = [sys.executable, "-m", "lab", "grade", str(folder), "--out", str(out), "--platform", "folders", "--json"]
    command += ["--mode", mode, "--workers", str(workers), *more]
    came, states, points, peaks = [], Counter[str](), [], Counter[str]()
    errors = out.with_suffix(".errors")
    started = time.perf_counter()
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, env=grading.environment(folder.parent), stdout=subprocess.PIPE, stderr=log, text=True
        ) as program,
    ):
        assert program.stdout is not None
        for line in program.stdout:
            if one := json.loads(line).get("graded"):
                came.append(time.perf_counter() - started)
                states[one["state"]] += 1
                points.append(one["points"]["exercises"][0])
                peaks |= _peaks(program.pid)
    seconds = time.perf_counter() - started
    if program.returncode or "grader error" in states or not came:
        raise RuntimeError(
            f"{' '.join(command)} ends with {program.returncode}: {states}, {errors.read_text()[-2000:]}"
        )
    return {
        "hand_ins": len(came),
        "workers": workers,
        "seconds": seconds,
        "first": came[0],
        "last": came[-1],
        "states": dict(states),
        "points": points,
        **peaks,
    }


def _peaks(program: int) -> Counter[str]:
    """Of its memory, and of that of its workers, in bytes; nothing where the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):  # a worker may end meanwhile
        threads = Path(f"/proc/{program}/task").iterdir()  # a worker is the child of the one that started it
        workers = [worker for thread in threads for worker in (thread / "children").read_text().split()]
        return Counter(peak=peak(program), worker_peak=max(map(peak, workers)))
    return Counter()


def secret_for(folder: Path, number: int) -> str:
    """One by which an audit draws exactly so many of the hand-ins."""
    digests = [collect(path).digest for path in sorted(folder.rglob("*.lab"))]
    secrets = map(str, itertools.count())
    return next(one for one in secrets if sum(map(Sample(SHARE, one).draws, digests)) == number)


def _set_epochs(folder: Path, epochs: int) -> None:
    """Let each recipe have so many epochs."""
    for path in folder.rglob("*.lab"):
        made = submission.read(path)
        assert made.recipe is not None
        submission.write(replace(made, recipe=replace(made.recipe, epochs=epochs)), path)
