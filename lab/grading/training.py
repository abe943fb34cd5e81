"""A training in a process of its own, with limits: data in, data out.

The process runs the lab's loop on a graph that was checked before; no code of a student's is in it. It trains on the
processor, where the same seed gives the same result. A loss that is no longer finite is the student's error; whatever
else ends it (too little memory, too slow a machine, no data) is the grader's.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from lab import _place
from lab._terminal import harmless
from lab.errors import LabError
from lab.graph import Graph, load, save
from lab.train import Recipe, TrainingError

if TYPE_CHECKING:
    from torch import Tensor

MEMORY = 12 * 2**30
"""Bytes of data that the process may have, where the system can limit them."""
MAX_MESSAGE = 1000  # characters
_PROGRAM = "from lab import _process; _process.set_up(); from lab.grading.training import main; main()"
"""What it sets up has to be there before torch is."""


class GraderError(LabError):
    """The grader's own trouble, which costs no points."""


class Mistake(NamedTuple):
    """A test image that a network gets wrong."""

    image: int  # its place among the test images, from 0
    label: int
    predicted: int


def mistakes_of(answers: "Tensor", labels: "Tensor") -> list[Mistake]:
    """Where answers (N,) and labels (N,) differ, in order."""
    wrong = (answers != labels).nonzero().flatten().tolist()
    return [Mistake(image, int(labels[image]), int(answers[image])) for image in wrong]


@dataclass(frozen=True)
class Outcome:
    """One training."""

    accuracy: float  # on the test images, 0..1
    images: int  # of the test set
    epochs: int
    seconds: float
    graph: Graph  # with the trained weights
    curve: tuple[Mapping[str, float], ...] = ()  # for each epoch what `lab.train.Epoch` has
    mistakes: tuple[Mistake, ...] = ()  # all of them


class Training:
    """A process that trains one graph by one recipe, once for every seed that it is asked for.

    threads: that it computes with. seconds: that one training may take. It ends with this object, and with the process
    that made it.
    """

    def __init__(self, graph: Graph, recipe: Recipe, dataset: str, threads: int, seconds: float) -> None:
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="lab-training-", ignore_cleanup_errors=True)
        save(graph, self.folder / "graph")
        job = {"folder": str(self.folder), "recipe": asdict(recipe), "dataset": dataset, "threads": threads}
        path = os.pathsep.join(filter(None, [str(_place.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        with open(self.folder / "printed", "wb") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                cwd=self._folder.name,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "LAB_PROGRESS": "0"},
                start_new_session=os.name == "posix",  # Ctrl-C is ours: half a training is none
            )
        self._say(job)

    @property
    def folder(self) -> Path:
        """Where graphs are handed over."""
        return Path(self._folder.name)

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self._folder.cleanup()

    def run(self, seed: int) -> Outcome:
        """Train with this seed. Raises TrainingError where the network can't be trained, GraderError for all else."""
        self._say({"seed": seed})
        said = self._answer()
        if "told" in said:
            raise TrainingError(f"trained with seed {seed}: {said['told']}")
        if "failed" in said:
            raise GraderError(f"the training failed: {said['failed']}")
        graph = load(self.folder / str(seed))  # raises GraphError for weights that are no longer finite
        mistakes = tuple(Mistake(*one) for one in said["mistakes"])
        curve = tuple(said["curve"])
        return Outcome(said["accuracy"], said["images"], len(curve), said["seconds"], graph, curve, mistakes)

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone: there will be no answer
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, end)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if late.is_set():
            advice = "Is the machine busy? Try again."
            raise GraderError(f"the training was not over after {self._seconds:,.0f} s. {advice}")
        if not line.endswith(b"\n"):
            raise GraderError(f"the process that trains {self._end_in_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end_in_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"was ended by the signal {signal.Signals(-status).name}. Is the memory full? Try again."
        printed = (self.folder / "printed").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = printed[-1][:MAX_MESSAGE] if printed else "it says nothing"
        return f"ended with status {status}: {harmless(last)}."


# -- in the process ---------------------------------------------------------------------------------------------------


def main() -> None:
    """Train for every seed that comes on stdin, and answer on stdout; end where nobody listens any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    job = asked.get()
    _limit_memory()
    train: Callable[[int], dict[str, Any]] | None = None
    while True:
        seed = asked.get()["seed"]
        try:
            train = train or _trainer(job)
            answer = train(seed)
        except TrainingError as error:
            answer = {"told": str(error)}
        except (LabError, RuntimeError, MemoryError) as error:  # PyTorch says a lack of memory by a RuntimeError
            answer = {"failed": str(error)[:MAX_MESSAGE] or "the memory is full."}
        print(json.dumps(answer), file=answers, flush=True)


def _read(asked: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Hand on what is asked; end the process with the one that asks, also in the middle of a training."""
    for line in sys.stdin:
        asked.put(json.loads(line))
    os._exit(0)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _trainer(job: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """What trains with a seed: the images are read once, for all of them."""
    import torch

    from lab import runs
    from lab.data import load as load_data
    from lab.graph import capture
    from lab.recipes import changed

    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"])
    graph, recipe = load(folder / "graph"), changed(Recipe(), job["recipe"])
    data = load_data(job["dataset"])

    def train(seed: int) -> dict[str, Any]:
        run = runs.train_graph(graph, data, replace(recipe, seed=seed), progress=False, device="cpu")
        if run.history.interrupted:
            raise GraderError("it was interrupted.")
        save(capture(run.model, graph.input_shape), folder / str(seed))
        measured = {"accuracy": run.accuracy, "images": len(data.test)}
        curve = [asdict(epoch) for epoch in run.history.epochs]
        mistakes = mistakes_of(run.answers, data.test.labels)
        return {**measured, "curve": curve, "mistakes": mistakes, "seconds": run.history.seconds}

    return train
