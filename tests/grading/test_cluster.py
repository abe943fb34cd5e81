"""A class is graded by a Dask cluster: a real scheduler and workers, which come, die and go."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import quick_judge
from test_crowd import SETTINGS, handed_in, results, states

from lab.grading import crowd
from lab.grading.crowd import class_of, grade_class
from lab.grading.gradebook import Gradebook
from lab.grading.workers import ClusterWorkers, WorkersError

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
HERE = Path(quick_judge.__file__).parent
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__DASHBOARD__LINK": "",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20 s",
}


class Cluster:
    """A scheduler and workers on the loopback, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | _SETTINGS | {
            "PYTHONPATH": str(HERE), "LAB_TEST_JOURNAL": str(folder / "journal")
        }  # fmt: skip
        self.started: list[subprocess.Popen[str]] = []
        self.readers: list[threading.Thread] = []
        self.scheduler, self.address = self.begun()

    def begun(self) -> tuple["subprocess.Popen[str]", str]:
        process = self._started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter")
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"tcp://127\.0\.0\.1:\d+", line):
                self._read(process)
                return process, found[0]
        raise AssertionError("the scheduler does not start")

    def add_worker(self) -> "subprocess.Popen[str]":
        process = self._started(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", str(self.folder), "--memory-limit", "0",
        )  # fmt: skip
        self._read(process)
        return process

    def _started(self, *arguments: str) -> "subprocess.Popen[str]":
        program = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        process = subprocess.Popen(program, env=self.environment, stderr=subprocess.PIPE, text=True, cwd=self.folder)
        self.started.append(process)
        return process

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """What it says is not looked at, and must not fill the pipe."""
        assert process.stderr is not None
        self.readers.append(threading.Thread(target=process.stderr.read))
        self.readers[-1].start()

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            assert process.stderr is not None
        for reader in self.readers:
            reader.join()
        for process in self.started:
            process.stderr.close()  # type: ignore[union-attr]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    one = Cluster(folder)
    yield one
    one.close()


def runs(cluster: Cluster) -> Counter[str]:
    journal = cluster.folder / "journal"
    return Counter(line.split()[1] for line in journal.read_text().splitlines()) if journal.exists() else Counter()


def until(cluster: Cluster, number: int) -> None:
    """Wait until so many jobs have begun."""
    end = time.monotonic() + 60
    while sum(runs(cluster).values()) < number:
        assert time.monotonic() < end, "nothing is graded"
        time.sleep(0.02)


@pytest.mark.slow  # seven processes that import PyTorch
def test_workers_die_and_come_and_every_hand_in_has_one_result(tmp_path: Path, cluster: Cluster) -> None:
    number = 12
    dying = cluster.add_worker()
    inbox = handed_in(tmp_path / "in", {f"s{n:02}": f"wait 0.3 {n}" for n in range(number)} | {"z": "dies"})

    def meddle() -> None:
        until(cluster, 2)
        cluster.add_worker()  # comes in the middle
        cluster.add_worker()
        until(cluster, 4)
        dying.kill()  # with a job in its hands
        until(cluster, number)
        cluster.add_worker()  # for the one that `dies` has taken with it

    other = threading.Thread(target=meddle)
    with Gradebook(tmp_path / "out") as book:
        crowd.receive(book, inbox)
        other.start()
        with ClusterWorkers(cluster.address, quick_judge.grade) as workers:
            grade_class(book, SETTINGS, workers, lambda progress: None)
        found = states(class_of(book, SETTINGS))
        numbers = [number for number, _ in book.states().values()]
    other.join()
    assert numbers == [1] * (number + 1)
    assert found.pop("z") == "grader error"
    assert set(found.values()) == {"graded", "missing"}
    assert list(found.values()).count("graded") == number


@pytest.mark.slow
def test_the_scheduler_is_killed_and_a_new_one_goes_on(tmp_path: Path, cluster: Cluster) -> None:
    number = 8
    cluster.add_worker()
    inbox = handed_in(tmp_path / "in", {f"s{n:02}": f"wait 0.3 {n}" for n in range(number)})

    def meddle() -> None:
        until(cluster, 4)
        cluster.scheduler.send_signal(signal.SIGKILL)

    other = threading.Thread(target=meddle)
    with Gradebook(tmp_path / "out") as book:
        crowd.receive(book, inbox)
        other.start()
        with ClusterWorkers(cluster.address, quick_judge.grade) as workers, pytest.raises(WorkersError) as raised:
            grade_class(book, SETTINGS, workers, lambda progress: None)
        other.join()
        assert "is gone. What was graded before is kept" in str(raised.value)
        kept = len(book.states())
        assert 0 < kept < number
        cluster.scheduler.wait()
        cluster.scheduler, cluster.address = cluster.begun()
        cluster.add_worker()
        with ClusterWorkers(cluster.address, quick_judge.grade) as workers:
            grade_class(book, SETTINGS, workers, lambda progress: None)
        assert set(states(class_of(book, SETTINGS)).values()) == {"graded", "missing"}
    assert {first for (first, _), _ in results(tmp_path / "out").values()} == {1}
    assert len(runs(cluster)) == number


def test_where_no_scheduler_is_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.grading.workers.CONNECT_SECONDS", 0.5)
    with pytest.raises(WorkersError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        ClusterWorkers("tcp://127.0.0.1:9")
