"""A training in a process of its own, with limits: data in, data out.

The process runs the lab's loop on a graph that was checked before; no code of a student's is in it. What ends it (too
little memory, too slow a machine) is the grader's trouble.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import _place
from lab.errors import LabError
from lab.graph import Graph, load, save
from lab.train import Recipe, TrainingError

MEMORY = 12 * 2**30
"""Bytes of data that the process may have."""


class GraderError(LabError):
    """The grader's own trouble, which costs no points."""


@dataclass(frozen=True)
class Outcome:
    """One training."""

    accuracy: float  # on the test images, 0..1
    epochs: int
    seconds: float
    graph: Graph  # with the trained weights


class Training:
    """A process that trains one graph by one recipe, once for every seed that it is asked for."""

    def __init__(self, graph: Graph, recipe: Recipe, dataset: str, threads: int, seconds: float) -> None:
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="lab-training-", ignore_cleanup_errors=True)
        save(graph, self.folder / "graph")
        job = {"folder": str(self.folder), "recipe": asdict(recipe), "dataset": dataset, "threads": threads}
        path = os.pathsep.join(filter(None, [str(_place.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from lab.grading.training import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "LAB_PROGRESS": "0"},
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
            raise TrainingError(str(said["told"]))
        return Outcome(said["accuracy"], said["epochs"], said["seconds"], load(self.folder / str(seed)))

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone: there will be no answer
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        until = time.monotonic() + self._seconds
        ready, _, _ = select.select([self._process.stdout], [], [], self._seconds)
        line = self._process.stdout.readline() if ready and time.monotonic() < until else b""
        if not ready:
            raise GraderError(
                f"the training was not over after {self._seconds:,.0f} s: is the machine busy? Try again."
            )
        if not line:
            status = self._process.wait()
            raise GraderError(f"the process that trains ended with status {status}: is the memory full? Try again.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    """In the process: train for every seed that comes on stdin, and answer on stdout."""
    import resource

    from lab import _process

    _process.set_up()
    job = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import torch

    from lab import runs
    from lab.data import load as load_data
    from lab.graph import capture
    from lab.recipes import changed

    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"])
    graph, recipe = load(folder / "graph"), changed(Recipe(), job["recipe"])
    data = load_data(job["dataset"])
    for line in sys.stdin:
        seed = json.loads(line)["seed"]
        answer: dict[str, Any]
        try:
            run = runs.train_graph(graph, data, replace(recipe, seed=seed), progress=False, device="cpu")
            save(capture(run.model, graph.input_shape), folder / str(seed))
            epochs = len(run.history.epochs)
            answer = {"accuracy": run.accuracy, "epochs": epochs, "seconds": run.history.seconds}
        except LabError as error:
            answer = {"told": str(error)}
        print(json.dumps(answer), flush=True)
