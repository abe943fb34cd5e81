"""Who grades: processes of this machine, or a Dask cluster. Both take a job and give a future of its result.

    with LocalWorkers(2, folder) as workers:
        future = workers.submit(job)

A worker that dies takes one job with it, which is told and never passed over. One that grades here dies with the
process that started it.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lab import _process
from lab.errors import LabError
from lab.grading.job import Job, run

if TYPE_CHECKING:
    from pebble import ProcessPool

Result = dict[str, Any]
_T = TypeVar("_T")
MOST_SECONDS = 6 * 3600.0
"""That one job may take: every step in it has a limit of its own, so that one which takes longer hangs."""
JOBS_A_PROCESS = 100
"""Then a new process takes its place, so that what a library keeps does not grow with the class."""
CONNECT_SECONDS = 30.0


class WorkersError(LabError):
    """No worker can be had any more: where, why, and what to do."""


class Died(Exception):
    """The worker of a job died, or had to be stopped. The hand-in may or may not be the reason.

    surely: was it tried so often that there is no use in trying it again?
    """

    def __init__(self, message: str, surely: bool = False) -> None:
        super().__init__(message)
        self.surely = surely


class Workers(Protocol):
    """What grades jobs, side by side."""

    def places(self) -> int:
        """How many jobs are graded at a time, now."""
        ...

    def submit(self, job: Job) -> "Future[Result]":
        """Begin a job, or let it wait for its turn."""
        ...

    def result(self, future: "Future[Result]") -> Result:
        """Of a future that is done. Raises Died where the worker is gone, WorkersError where all of them are."""
        ...


def cores() -> int:
    """Of this machine, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalWorkers:
    """Processes of this machine. folder: for what they write while they grade; its content is of no use afterwards.

    grade: what is done with a job, a function of a module.
    """

    def __init__(self, number: int, folder: Path, grade: Callable[[Job], Result] = run) -> None:
        self._number, self._folder, self._grade = number, folder, grade
        self._pool = self._new_pool()

    def _new_pool(self) -> "ProcessPool":
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._number,
            max_tasks=JOBS_A_PROCESS,
            initializer=_begin,
            initargs=(str(self._folder),),
            context=multiprocessing.get_context("spawn"),
        )

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()  # what is being graded has no result yet, and is graded anew the next time
        self._pool.join()

    def places(self) -> int:
        """The number of processes."""
        return self._number

    def submit(self, job: Job) -> "Future[Result]":
        """Begin a job, or let it wait for its turn."""
        try:
            return self._pool.schedule(self._grade, args=(job,), timeout=MOST_SECONDS)
        except RuntimeError:  # it broke: a process died while it was fetching a job
            self._pool.stop()
            self._pool.join()
            self._pool = self._new_pool()
            return self._pool.schedule(self._grade, args=(job,), timeout=MOST_SECONDS)

    def result(self, future: "Future[Result]") -> Result:
        """Of a future that is done. Raises Died."""
        from pebble import ProcessExpired

        try:
            return future.result()
        except ProcessExpired as error:
            raise Died(f"the process that graded it was ended ({_how(error.exitcode)}). Is the memory full?") from error
        except BrokenProcessPool as error:
            raise Died("the processes that grade had to be started anew.") from error
        except TimeoutError as error:
            raise Died(f"it was not graded after {MOST_SECONDS / 3600:g} hours, and was stopped.") from error


def _how(status: int) -> str:
    """How a process ended."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _begin(folder: str) -> None:
    """In a new process: set it up as a command's, and end it with the one that started it."""
    _process.set_up()
    os.environ["LAB_PROGRESS"] = "0"
    tempfile.tempdir = folder
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


class ClusterWorkers:
    """A Dask cluster that is there already, by its scheduler's address (tcp://…). Raises WorkersError.

    Its workers need the same lab; each should have one thread (`dask worker --nthreads 1`).
    """

    def __init__(self, address: str, grade: Callable[[Job], Result] = run) -> None:
        self._address, self._grade = address, grade
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise WorkersError(f"{error.name} is missing for a cluster: pip install 'lab994[cluster]'.") from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is told once, and by us
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkersError(
                f"no Dask scheduler answers at {address}: {str(error)[:200]}. Is it running, and is that its address?"
            ) from error
        self._executor = self._client.get_executor(pure=False)

    def __enter__(self) -> "ClusterWorkers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(Exception):  # it may be gone
            self._executor.shutdown(wait=False)
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)

    def places(self) -> int:
        """The threads of all workers that are there now; they may come and go."""
        found = self._asked(lambda: self._client.scheduler_info(n_workers=-1))
        return max(1, sum(int(worker["nthreads"]) for worker in found["workers"].values()))

    def submit(self, job: Job) -> "Future[Result]":
        """Begin a job, or let it wait for a worker."""
        return self._asked(lambda: self._executor.submit(self._grade, job))

    def result(self, future: "Future[Result]") -> Result:
        """Of a future that is done. Raises Died, and WorkersError where the scheduler is gone."""
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise Died("the workers that graded it died, one after the other.", surely=True) from error
        except (CancelledError, OSError) as error:
            raise WorkersError(self._gone()) from error
        except Exception as error:  # `run` raises nothing: it is the cluster's
            if self._client.status != "running":
                raise WorkersError(self._gone()) from error
            raise Died(f"the cluster fails: {type(error).__name__}: {str(error)[:200]}") from error

    def _asked(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except (OSError, RuntimeError, CancelledError) as error:
            raise WorkersError(self._gone()) from error

    def _gone(self) -> str:
        return (
            f"the Dask scheduler at {self._address} is gone. What was graded before is kept: start it again, and give "
            "the same command again to go on."
        )
