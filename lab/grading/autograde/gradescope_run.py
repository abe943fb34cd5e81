"""What an autograder on Gradescope does with one submission: it leaves exactly one valid results.json, whatever comes.

    /autograder/submission/                what the student handed in
    /autograder/submission_metadata.json   who, when, and when it is due
    /autograder/results/results.json       what comes out

Two processes, neither of which runs anything of the student's:

- This one imports no torch, takes a few megabytes, and watches. Before anything else it writes a results.json that says
  that nothing was graded; what comes out takes its place. It ends the other one when the time is over.
- The other one grades (`judge`), and writes what comes out into a pipe. Where the memory ends, it is ended first.

Both are started so that Python looks for modules in its own folders alone: no file of a submission is one.

In Gradescope's containers there is mostly no sandbox to be had. A .lab file is data: its network is judged by the
weights, and its exercises are left to the teacher's own `lab grade`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import _place
from lab._files import FileError, read_regular, write_whole
from lab._terminal import harmless, printable
from lab.errors import LabError
from lab.grading.exports._ungraded import ungraded

if TYPE_CHECKING:
    from datetime import datetime

    from lab.grading.exports.gradescope import Opening
    from lab.grading.standing import Standing, Student
    from lab.rules import Rubric

FOLDER = Path("/autograder")
SECONDS = 540.0
"""That the grading may take: a minute less than Gradescope gives."""
RESERVED = 2**17
"""Bytes of the first results.json: so much can be written in its place where the disk is full by then."""
MOST_RESULT, MOST_METADATA = 2**20, 2**26
"""Bytes that are read of what the judge says, and of the metadata, which hold all earlier results of the student."""
_OF_DATA = ("weights", "audit")
"""Modes that are for a .lab file."""
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from lab.grading.autograde.gradescope_run import judge; "
    "judge(sys.stdin.read(), int(sys.argv[2]))"
)
_QUIET = {
    "LAB_PROGRESS": "0",
    "OMP_NUM_THREADS": "1",  # of half a processor
    # What glibc keeps for later adds up to a tenth of the container's memory.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_MMAP_THRESHOLD_": "262144",
}


class RunError(LabError):
    """No results.json can be written: where, and why."""


class MetadataError(LabError):
    """Nobody knows who handed it in, and when: why."""


@dataclass(frozen=True)
class Asked:
    """One submission, and how it is graded. Paths are text: this goes to another process."""

    submission: str = str(FOLDER / "submission")
    metadata: str = str(FOLDER / "submission_metadata.json")
    rubric: str = "mnist_994"  # a name, or the absolute path of a file
    mode: str = "weights"
    accepted: tuple[str, ...] = ()


# -- the process that watches -----------------------------------------------------------------------------------------


def grade_submission(asked: Asked, results: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Grade it within so many seconds; gives what was written to `results`. Raises RunError where nothing could be."""
    _reserve(results)
    try:
        found = _judged(asked, seconds)
    except OSError as error:  # no process, no pipe
        found = ungraded(f"the judge does not start: {error.strerror or error}.")
    _put(results, json.dumps(found, allow_nan=False))
    return found


def _reserve(results: Path) -> None:
    """Write what is valid should we be killed; behind it is room for what comes out, also on a disk that is full."""
    nothing = json.dumps(ungraded("the autograder was ended before it was done."))
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        write_whole(results, nothing.ljust(RESERVED))
    except (OSError, FileError) as error:
        raise RunError(f"no results can be written to {results}: {error}") from error


def _put(results: Path, content: str) -> None:
    """In the place of the first; where the disk has no room for a second file, into it."""
    try:
        write_whole(results, content)
    except FileError:
        encoded = content.encode()
        with suppress(OSError), results.open("r+b") as file:
            if len(encoded) <= RESERVED:  # else what stands there stays
                file.write(encoded.ljust(RESERVED))


def _judged(asked: Asked, seconds: float) -> dict[str, Any]:
    """What the judge says, or why it says nothing."""
    ends = time.monotonic() + seconds
    there, back = os.pipe()
    try:
        process = _started(asked, back)
    finally:
        os.close(back)
    try:
        said = _read_until(there, ends)
    finally:
        os.close(there)
        _end(process, wait=max(0.0, min(5.0, ends - time.monotonic())))
    if said is None:
        return ungraded(f"it was not graded after {seconds:g} s, and was stopped. The teacher can give it more time.")
    found = _result(said)
    return found if found is not None else ungraded(f"the judge was ended ({_how(process.returncode)}).")


def _started(asked: Asked, back: int) -> "subprocess.Popen[bytes]":
    """The judge: with Python's own folders alone to import from, and as the first that the kernel takes memory from."""
    command = [sys.executable, "-I", "-c", _PROGRAM, str(_place.PACKAGE.parent), str(back)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | _QUIET
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, pass_fds=[back], env=environment, cwd="/", start_new_session=True
    )
    with suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("500", encoding="ascii")
    assert process.stdin is not None
    with suppress(OSError):  # it is gone: its status says why
        process.stdin.write(json.dumps(asdict(asked)).encode())
        process.stdin.close()
    return process


def _read_until(there: int, ends: float) -> bytes | None:
    """All that is written into the pipe until it is closed; None where that comes too late. Of too much a part."""
    said = b""
    while len(said) <= MOST_RESULT:
        left = ends - time.monotonic()
        if left <= 0 or not select.select([there], [], [], left)[0]:
            return None
        if not (chunk := os.read(there, 1 << 16)):
            break
        said += chunk
    return said


def _end(process: "subprocess.Popen[bytes]", wait: float) -> None:
    """Let it end by itself for a moment; then it and all that it has started."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(wait)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(said: bytes) -> dict[str, Any] | None:
    """What was said in full; None where it broke off."""
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed, as where the container has no memory left: Autograder Settings give it more"
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def line(found: Mapping[str, Any]) -> str:
    """For the teacher, who alone sees what an autograder prints."""
    score = f"score {found['score']:g}" if "score" in found else "no score"
    return f"{score}, {len(found['tests'])} test cases, {found.get('execution_time', '?')} s"


# -- the process that grades ------------------------------------------------------------------------------------------


def judge(asked: str, back: int) -> None:
    """Grade what was asked for, as JSON, and write the results into the file descriptor `back`."""
    started = time.monotonic()
    from lab import _process

    _process.set_up()
    try:
        found = _graded(Asked(**json.loads(asked)), started)
    except LabError as error:  # the rubric, the data, the machine: of the hand-in's own faults nothing is raised
        found = ungraded(str(error))
    except Exception as error:
        found = ungraded(f"the judge itself fails: {type(error).__name__}: {error}"[:500])
    with open(back, "wb") as file:
        file.write(json.dumps(found, allow_nan=False).encode())


def _graded(asked: Asked, started: float) -> dict[str, Any]:
    from datetime import datetime, timezone

    from lab.grading.exports.gradescope import results
    from lab.rules import load_rubric

    told = _metadata(Path(asked.metadata))
    rubric, opening = dated(load_rubric(asked.rubric), told)
    one = _standing(asked, rubric, told)
    print(harmless(f"{one.student.id}: {one.state}. {one.message}"), file=sys.stderr)
    return results(one, rubric, datetime.now(timezone.utc), time.monotonic() - started, opening)


def _standing(asked: Asked, rubric: "Rubric", told: Mapping[str, Any]) -> "Standing":
    from lab.grading.alone import grade_alone
    from lab.grading.collect import CollectError, files_in
    from lab.grading.grade import Options
    from lab.grading.standing import Delivery, Standing, open_rules
    from lab.submission import SUFFIX

    student, submitted, folder = student_of(told), _moment(told.get("created_at")), Path(asked.submission)
    try:
        names = [path.relative_to(folder).as_posix() for path in files_in(folder)]
        if not names:
            raise CollectError("nothing was handed in: there is no file.")
        if asked.mode in _OF_DATA and not any(name.endswith(SUFFIX) for name in names):
            shown = ", ".join(map(printable, sorted(names)[:5]))
            raise CollectError(
                f"there is no {SUFFIX} file in it ({shown}). The last cells of the notebook make one (hand_in), and so "
                "does `lab hand-in`: hand that in."
            )
        options = Options(mode=asked.mode, accepted=tuple(asked.accepted))  # type: ignore[arg-type]  # a word of Mode
        return grade_alone(folder, rubric, options, student, submitted).standings[0]
    except CollectError as error:
        message = str(error).replace(f"{folder}/", "").replace(str(folder), "what was handed in")
        rules = tuple(open_rules(rubric))
        return Standing(student, "student error", message, Delivery(student, {}, submitted), rules)


# -- what Gradescope says ---------------------------------------------------------------------------------------------


def _metadata(path: Path) -> Mapping[str, Any]:
    """submission_metadata.json; nothing where there is none. Names in it are what students call themselves.

    Raises MetadataError for one that is too large, as a student can make it by handing in again and again: graded
    without, what is late would be in time.
    """
    try:
        if path.stat().st_size > MOST_METADATA:
            raise MetadataError(
                f"{path.name} is larger than {MOST_METADATA:,} bytes, after so many submissions: it is not known when "
                "this one was handed in."
            )
        found = json.loads(read_regular(path, MOST_METADATA))
    except (OSError, FileError, ValueError, RecursionError) as error:
        print(harmless(f"{path} can't be read: {error}"), file=sys.stderr)
        return {}
    return found if isinstance(found, dict) else {}


def student_of(told: Mapping[str, Any]) -> "Student":
    """The first of those who handed it in: Gradescope keeps the result for all of them."""
    from lab.grading.standing import Student

    first = next(iter(_users(told)), {})
    number, name, email = (first.get(key) for key in ("id", "name", "email"))
    return Student(_short(number) or "student", _short(name), _short(email))


def dated(rubric: "Rubric", told: Mapping[str, Any]) -> "tuple[Rubric, Opening]":
    """The rubric, due when Gradescope says where it does not say itself; and when the test images' figures are shown.

    A student may hand in until the late due date, an extension of their own included. Figures wait for the latest of
    the dates. Gradescope shows what waits at its own date: where that is earlier, they wait for the teacher.
    """
    from lab.grading.exports.gradescope import Opening, opening_of
    from lab.rules import Late

    dues, lasts = _dates(told, "due_date"), _dates(told, "late_due_date")
    theirs = max([*dues, *lasts], default=None)
    if rubric.late is None:
        if not dues or theirs is None:
            return rubric, Opening(None, "after_published")
        return rubric.model_copy(update={"late": Late(due=max(dues))}), Opening(theirs, "after_due_date")
    ours = opening_of(rubric).moment
    assert ours is not None
    if theirs is None or theirs < ours:
        return rubric, Opening(ours, "after_published")
    return rubric, Opening(theirs, "after_due_date")


def _dates(told: Mapping[str, Any], name: str) -> "list[datetime]":
    """Of the assignment, and as it is for each of those who handed it in."""
    places = [told.get("assignment"), *(user.get("assignment") for user in _users(told))]
    found = [_moment(place.get(name)) for place in places if isinstance(place, dict)]
    return [moment for moment in found if moment is not None]


def _users(told: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    users = told.get("users")
    return [user for user in users[:100] if isinstance(user, dict)] if isinstance(users, list) else []


def _moment(text: Any) -> "datetime | None":
    """Aware; None where there is none, or one without a zone, which Gradescope always writes."""
    from lab.grading._moments import moment_in

    moment = moment_in(text[:100]) if isinstance(text, str) else None
    return moment if moment is not None and moment.tzinfo is not None else None


def _short(value: Any) -> str:
    return str(value)[:200] if isinstance(value, str | int) else ""
