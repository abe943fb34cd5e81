"""In the place of the judge, for tests of what is around it: a result at once, and what a hand-in's name asks for.

As a program it grades a class with it: python quick_judge.py FOLDER OUT [WORKERS]
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lab.grading import classwork, workers
from lab.grading.grade import Options
from lab.grading.job import Job, judge_version
from lab.rules import load_rubric


def grade(job: Job) -> dict[str, Any]:
    """A result that depends on the content alone.

    `dies`: the process is killed; `dies-once PATH`: only if there is no file PATH yet; `wait SECONDS`; `ours`: a
    grader's error. Each job leaves a line in the file that LAB_TEST_JOURNAL names.
    """
    said = next(iter(job.files.values())).decode("utf-8", "replace").split()
    asked, given = [*said, "", ""][:2]
    journal = os.environ.get("LAB_TEST_JOURNAL")
    if journal:
        with open(journal, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {job.key}\n")
    if asked == "dies" or (asked == "dies-once" and not os.path.exists(given)):
        if given:
            Path(given).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "wait":
        time.sleep(float(given))
    return result(job.digest, "grader error" if asked == "ours" else "graded")


def result(digest: str, state: str = "graded", points: float | None = None, **provenance: Any) -> dict[str, Any]:
    """One that could have come from a worker."""
    points = int(digest[:2], 16) % 31 if points is None else points
    verdict = {"rule": "accuracy", "passed": points == 30, "figure": "99.00%", "limit": "at least 99.40%",
               "hint": "Train longer.", "points": points, "max_points": 30.0}  # fmt: skip
    exercise = {"name": "accuracy", "title": "exercise 1", "passed": True, "points": 1, "max_points": 1, "message": "",
                "checked": True}  # fmt: skip
    done = state == "graded"
    judged = {"mode": "retrain", "verdicts": [verdict], "accuracies": [0.99], "seeds": [0]}
    return {
        "grade": {
            "name": "a.lab", "digest": digest, "kind": "hand-in", "state": state, "message": "" if done else "no room.",
            "points": {"exercises": [1, 1], "assignment": [points, 30]}, "exercises": [exercise] if done else [],
            "flags": [], "assignment": judged if done else None,
        },
        "evidence": {"parameters": 1234, "digests": {"weights": hashlib.sha256(digest.encode()).hexdigest()}},
        "provenance": {"judge": judge_version(), "date": "2026-01-01T00:00:00+00:00"} | provenance,
    }  # fmt: skip


def main(folder: str, out: str, number: str = "2") -> None:
    """Grade a class with it."""
    own = workers.LocalWorkers
    classwork.LocalWorkers = lambda number, place: own(number, place, grade)  # type: ignore[assignment, misc]
    classwork._check_machine = lambda book, settings: None
    place = classwork.Place(Path(out), workers=int(number))
    done = classwork.grade_folder(Path(folder), place, load_rubric(), Options(), lambda progress: None)
    print(done.to_dict())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import quick_judge  # under the name that a worker finds it by

    quick_judge.main(*sys.argv[1:])
