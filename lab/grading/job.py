"""One hand-in as a job for a worker: what it is graded by goes in, one result comes out. Both are data.

A worker is a process on this machine or on another one. It needs no file of the class: the content of the hand-in comes
with the job, and every result says which lab, judge and machine it was worked out by.
"""

import hashlib
import platform
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch

import lab
from lab import _place
from lab._terminal import harmless
from lab.course.plan import edition_sources
from lab.errors import DataError, LabError, SandboxError
from lab.grading import judge
from lab.grading.collect import Collected, CollectError, collect, content_digest
from lab.grading.grade import Grade, Options, State, graded
from lab.grading.judge import Judgement
from lab.grading.sameness import sameness_of
from lab.grading.training import GraderError
from lab.layers import layer_table
from lab.recipes import changed
from lab.rules import Rubric
from lab.train import Recipe

MAX_BYTES = 128 * 2**20
"""Of all files of a hand-in together."""
SHOWN_MISTAKES = 24
_VIEWS = ("cli.py", "_class_commands.py", "_commands.py",
          "plots.py", "widgets/", "grading/crowd.py", "grading/gradebook.py", "grading/inbox.py",
          "grading/pages.py", "grading/report.py", "grading/standing.py", "grading/table.py", "grading/workers.py",
          "grading/live.py", "grading/charts.py", "grading/feedback.py", "grading/roster.py", "grading/_platforms.py",
          "grading/_entries.py", "grading/_commits.py", "grading/_gradescope.py", "grading/_moments.py",
          "grading/_worksheet.py",
          "grading/classwork.py", "grading/otter.py", "grading/nbgrader.py", "grading/alone.py", "grading/_cells.py",
          "grading/exports/", "grading/export.py", "grading/autograde/", "course/starting.py", "course/starter/",
          "course/student_copy.py", "_release.py")  # fmt: skip
"""What decides nothing: a change there makes no other judge."""
_ONE = threading.Lock()
"""One job at a time in a process: PyTorch's threads are the process's."""


@dataclass(frozen=True)
class Job:
    """A hand-in, and how it is graded."""

    key: str  # what its result is kept under
    digest: str  # of its files
    files: Mapping[str, bytes]  # by the names that the student gave them
    options: Options
    judge: str  # the version (`judge_version`) that it is for
    threads: int = 1  # that PyTorch computes with


@cache
def judge_version() -> str:
    """The lab's version, and a digest of everything that decides: its modules, rubrics and the notebooks' sources."""
    found = hashlib.sha256()
    own = [path for pattern in ("*.py", "*.toml") for path in _place.PACKAGE.rglob(pattern)]
    named = sorted((path.relative_to(_place.PACKAGE).as_posix(), path) for path in own)
    for name, path in [*named, *((path.name, path) for path in edition_sources())]:
        if not name.startswith(_VIEWS):
            found.update(f"{name}\0".encode() + path.read_bytes())
    return f"{lab.__version__}+{found.hexdigest()[:12]}"


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 of a hand-in's files, by names and contents, hexadecimal."""
    return content_digest(sorted(files.items()))


def key_of(digest: str, rubric: Rubric, options: Options, version: str) -> str:
    """What a result is kept under, hexadecimal: what is graded alike has one key. What is late has no part in it."""
    of_audits = () if options.mode == "audit" else ("share", "secret", "known")
    chosen = {name: value for name, value in vars(options).items() if name not in ("rubric", "accepted", *of_audits)}
    asked = rubric.model_dump(mode="json", exclude={"late", "title"})
    return judge.json_digest([digest, asked, chosen, version])


def run(job: Job) -> dict[str, Any]:
    """Grade it: {"grade": …, "evidence": …, "provenance": …}. Raises nothing that has to do with the hand-in."""
    started = time.monotonic()
    with _ONE:
        torch.set_num_threads(job.threads)
        done, evidence = _graded(job)
    return _result(done, evidence, job.options, time.monotonic() - started)


def not_graded(name: str, digest: str, options: Options, state: State, message: str) -> dict[str, Any]:
    """The result where there is nothing to run: why, and whose fault that is."""
    return _result(Grade(name, digest, "", state, message), {}, options, 0.0)


def _result(done: Grade, evidence: dict[str, Any], options: Options, seconds: float) -> dict[str, Any]:
    made = {
        "lab": lab.__version__,
        "judge": judge_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.node(),
        "seed": options.seed,
        "mode": done.judgement.mode if done.judgement is not None else None,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }
    return {"grade": done.to_dict(), "evidence": evidence, "provenance": made}


def _graded(job: Job) -> tuple[Grade, dict[str, Any]]:
    """What it gets, and what that rests on."""
    nothing = Grade(name_of(job.files), job.digest, "", "student error")
    if (here := judge_version()) != job.judge:
        told = (
            f"the worker {platform.node()} has another judge ({here}, and not {job.judge}): install the same lab there."
        )
        return replace(nothing, state="grader error", message=told), {}
    try:
        with tempfile.TemporaryDirectory(prefix="lab-job-", ignore_cleanup_errors=True) as folder:
            found = collect(_laid_out(job.files, Path(folder) / "hand-in"))
            done = graded(found, job.options)
            return _known_in_full(replace(done, digest=job.digest)), _evidence(found, done)
    except (GraderError, SandboxError, DataError) as error:
        return replace(nothing, state="grader error", message=str(error)), {}
    except LabError as error:
        return replace(nothing, message=_without_folder(str(error), folder)), {}
    except Exception as error:  # the judge's own fault, whatever it is: it costs nobody points
        told = f"the judge itself fails: {type(error).__name__}: {error}".splitlines()[0][:500]
        return replace(nothing, state="grader error", message=harmless(told)), {}


def _known_in_full(done: Grade) -> Grade:
    """The same; a grader's error where this machine could not grade the exercises, which are then no zeros."""
    if not done.left_out:
        return done
    rest = tuple(flag for flag in done.flags if flag != done.left_out)
    return replace(done, state="grader error", message=done.left_out, flags=rest)


def name_of(files: Mapping[str, object]) -> str:
    """For a person: the file, or how many there are."""
    return next(iter(files)) if len(files) == 1 else f"{len(files)} files"


def _laid_out(files: Mapping[str, bytes], folder: Path) -> Path:
    """The files on disk: one by itself, several in a folder. Raises CollectError, GraderError for a full disk."""
    if not files:
        raise CollectError("nothing was handed in: there is no file.")
    try:
        for name, content in files.items():
            path = _inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise GraderError(f"the hand-in can't be laid out to be graded: {error.strerror or error}.") from error
    return folder / next(iter(files)) if len(files) == 1 else folder


def _inside(folder: Path, name: str) -> Path:
    """Where a file belongs. Raises CollectError for a name that leads elsewhere."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise CollectError(f"a file is called {harmless(name)[:100]!r}: that is no name for one.")
    return folder.joinpath(*parts)


def _without_folder(message: str, folder: str) -> str:
    """A message without the place where the worker laid the files out."""
    return message.replace(f"{folder}/hand-in/", "").replace(f"{folder}/hand-in", "what was handed in")


# -- evidence ---------------------------------------------------------------------------------------------------------


def _evidence(found: Collected, done: Grade) -> dict[str, Any]:
    """What a grade rests on, for people to look at."""
    judgement = done.judgement
    graph = judgement.graph if judgement is not None else None
    layers = layer_table(graph) if graph is not None else []
    mistakes = judgement.mistakes if judgement is not None else ()
    handed_in = found.hand_in.graph if found.hand_in is not None else None
    return {
        "layers": [layer.to_dict() for layer in layers],
        "parameters": graph.counted().total if graph is not None else None,
        "multiply_adds": sum(layer.multiply_adds for layer in layers) if graph is not None else None,
        "curve": [_epoch(epoch) for epoch in judgement.curve] if judgement is not None else [],
        "mistakes": [mistake._asdict() for mistake in mistakes[:SHOWN_MISTAKES]],
        "mistaken": len(mistakes),
        "dataset": done.rubric.dataset if done.rubric is not None else None,
        "digests": judge.digests(found.hand_in) if found.hand_in is not None else {},
        "sameness": sameness_of(found, graph, _recipe(found, judgement), handed_in),
    }


def _epoch(epoch: Mapping[str, float]) -> dict[str, float]:
    """What is drawn of it."""
    return {"epoch": epoch["number"]} | {name: epoch[name] for name in ("loss", "train_accuracy", "learning_rate")}


def _recipe(found: Collected, judgement: Judgement | None) -> Recipe | None:
    """The student's recipe, where one is known."""
    if found.hand_in is not None:
        return found.hand_in.recipe
    made = judgement.provenance.get("recipe") if judgement is not None else None
    return changed(Recipe(), made) if made else None
