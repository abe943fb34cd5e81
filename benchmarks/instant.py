"""A class that is graded at once: what do the queue, the gradebook, the table and the pages cost? And how much memory?

python -m benchmarks.instant NUMBER RESULT FOLDER      # prints a JSON object; FOLDER is made, RESULT is a real one

The inbox, the workers and the gradebook are those of `lab grade`; the judge alone is not there. In its place each
hand-in gets the same real result with figures of its own. Linux alone tells a process's peak.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lab import _process

if __name__ == "__main__":
    _process.set_up()  # as in `lab grade`

from lab._files import write_whole
from lab.grading.crowd import Progress, Settings, class_of, grade_class, receive
from lab.grading.grade import Options
from lab.grading.gradebook import Gradebook
from lab.grading.inbox import read_inbox
from lab.grading.job import Job
from lab.grading.pages import write_pages
from lab.grading.sameness import likenesses
from lab.grading.table import table
from lab.grading.workers import LocalWorkers
from lab.rules import load_rubric

WORKERS = 2
BYTES = 32_000
"""Of a hand-in: a network of 8,000 parameters."""
RECORDED = 1_000
"""Results that are written once more, with nothing around it."""
PAGES = 300
"""The largest class whose pages are made."""
_RESULT = "LAB_BENCH_RESULT"


def grade(job: Job) -> dict[str, Any]:
    """A real result, with figures that depend on the content; and the peak of the worker's memory."""
    made: dict[str, Any] = json.loads(_result())
    draw = random.Random(job.digest)
    made["grade"]["digest"] = job.digest
    made["grade"]["assignment"]["accuracies"] = [draw.uniform(0.98, 0.996)]
    made["evidence"] |= {
        "parameters": draw.randint(4_000, 25_000),
        "curve": [_epoch(number) for number in range(1, 16)],
        "digests": {"weights": job.digest},
        "sameness": {"weights": job.digest, "source": [f"{draw.getrandbits(64):016x}" for _ in range(250)]},
    }
    made["provenance"]["peak"] = peak()
    return made


def _epoch(number: int) -> dict[str, float]:
    return {"epoch": number, "loss": 1 / number, "train_accuracy": 1 - 0.1 / number, "learning_rate": 0.01}


@cache
def _result() -> str:
    return Path(os.environ[_RESULT]).read_text(encoding="utf-8")


def peak(process: int | str = "self") -> int:
    """Bytes of memory that a process has had at most; not its parent's, which getrusage counts in."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def measured(number: int, folder: Path) -> dict[str, Any]:
    """Seconds of each step for a class of so many, and peaks of memory behind it, in bytes."""
    made: dict[str, Any] = {"hand_ins": number, "workers": WORKERS}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        made[name] = time.perf_counter() - started

    handed_in, out = folder / "submissions", folder / "grades"
    for place in range(number):
        (handed_in / f"s{place:05}").mkdir(parents=True)
        (handed_in / f"s{place:05}" / "net.lab").write_bytes(random.Random(place).randbytes(BYTES))
    made["peak_before"] = peak()
    worker_peaks = [0]

    def tell(progress: Progress) -> None:
        if progress.students:
            worker_peaks.append(progress.result["provenance"]["peak"])

    with Gradebook(out) as book:
        settings = Settings(load_rubric(), Options(mode="audit"))
        with step("received"):
            receive(book, read_inbox(handed_in, platform="folders"))
        with step("graded"), LocalWorkers(WORKERS, folder, grade) as workers:
            grade_class(book, settings, workers, tell)
        made |= {"peak": peak(), "worker_peak": max(worker_peaks)}
        with step("written"):
            found = class_of(book, settings)
            write_whole(out / "grades.csv", table(found))
        if number <= PAGES:
            with step("pages"):
                sameness = {one.student.id: one.evidence["sameness"] for one in found.standings}
                write_pages(found, out, False, likenesses(sameness))
        made["peak_written"] = peak()
        kept = [key for key, _ in zip(book.states(), range(RECORDED), strict=False)]
        results = {key: book.result(key) for key in kept}
        made["bytes"] = len(json.dumps(results[kept[0]]))
        with step("recorded"):
            for key, result in results.items():
                book.record(key, result["grade"]["digest"], result)
        made["records"] = len(results)
    return made


if __name__ == "__main__":
    os.environ[_RESULT] = sys.argv[2]
    print(json.dumps(measured(int(sys.argv[1]), Path(sys.argv[3]))))
