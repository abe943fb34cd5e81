"""One hand-in, graded in GitHub Actions: the job's summary, annotations, outputs, and the files of two classrooms.

    OUT/feedback.html    the student's page
    OUT/result.json      the result as Classroom 50 takes it
    OUT/summary.md       what stands in the job's summary, and in Classroom 50's release

Students write names, messages and what a check repeats of their answers, and GitHub reads three languages here:
commands to the runner in whatever a step prints (`::error::`), files of outputs, and Markdown with HTML. So nothing of
theirs is printed where commands are read, outputs stand between random marks, and in Markdown every sign is written as
a number.
"""

import contextlib
import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import lab
from lab._files import FileError, write_whole
from lab._terminal import harmless, printable, shortened
from lab.errors import LabError
from lab.grading.autograde.push import Pushed, lines, sum_of, write_page
from lab.grading.exports import classroom50
from lab.grading.exports import github as classroom
from lab.grading.exports._points import title_of
from lab.grading.exports.classroom50 import AssignmentType, Run
from lab.grading.standing import Item, Student

MOST_ANNOTATIONS = 10
"""That GitHub shows of one step, of each kind."""
MOST_SUMMARY = 900_000
"""Bytes of a summary: GitHub refuses one of more than 1 MiB."""
MOST_CHARACTERS = 600
"""Of one message, in a summary or an annotation."""
_MARKS = {"earned": "✅ earned", "missing": "❌ missing", "open": "⬜ open", "not checked": "➖ not checked"}


class GitHubError(LabError):
    """What the runner's own files can't take."""


@dataclass(frozen=True)
class Written:
    """What the job goes on with."""

    page: Path
    outputs: Mapping[str, str]


@contextlib.contextmanager
def commands_stopped() -> Iterator[None]:
    """Within, the runner takes nothing that is printed for a command, whoever's text it is.

    The word that ends this is drawn anew each time. What fails within is raised as a GitHubError on one line, in which
    no command stands: whoever shows it does so when commands are read again.
    """
    word = secrets.token_hex(16)
    print(f"::stop-commands::{word}", flush=True)
    try:
        yield
    except LabError as error:
        raise GitHubError(plain(str(error))) from error
    except ModuleNotFoundError:  # of the lab's own: whoever shows it knows what brings it
        raise
    except Exception as error:
        raise GitHubError(plain(f"the lab itself fails: {type(error).__name__}: {error}"[:500])) from error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        print(f"::{word}::", flush=True)


def publish(pushed: Pushed, out: Path, environ: Mapping[str, str], now: datetime) -> Written:
    """Write the files into `out`, and what the runner reads where `environ` says that it does.

    Raises ReportError, FileError, GitHubError.
    """
    page = write_page(pushed, out)
    summary = summary_of(pushed)
    result = classroom50.result(pushed.one, run_of(pushed, environ, now))
    write_whole(out / "summary.md", summary)
    write_whole(out / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    outputs = {
        "passed": "true" if pushed.passed else "false",
        "points": f"{pushed.one.points:g}",
        "max-points": f"{pushed.one.max_points:g}",
        "result": classroom.encoded(pushed.one),
    }
    _append(environ.get("GITHUB_STEP_SUMMARY"), summary)
    _append(environ.get("GITHUB_OUTPUT"), "".join(_output(name, value) for name, value in outputs.items()))
    return Written(page, outputs)


def report(pushed: Pushed) -> str:
    """For the step's log."""
    return "\n".join([f"graded: {harmless(pushed.graded_what)}", *map(harmless, lines(pushed))])


def student_of(environ: Mapping[str, str], target: Path) -> Student:
    """Whose work it is: as Classroom 50 has them, else whose repository it is, else the folder's name."""
    return Student(_owner(environ) or target.resolve().name or "student")


# -- the runner's commands --------------------------------------------------------------------------------------------


def annotations(pushed: Pushed) -> list[str]:
    """The runner's commands that show where it stands what is missing, most points first, and what to do next."""
    one = pushed.one
    if one.state != "graded":
        return [_command("error", one.state, one.message or "nothing was graded.", file=pushed.graded_what)]
    missing = [item for item in one.items if pushed.outcome(item) == "missing"]
    missing.sort(key=lambda item: item.points - item.max_points)
    shown = missing if len(missing) <= MOST_ANNOTATIONS else missing[: MOST_ANNOTATIONS - 1]
    found = [_annotation(pushed, item, "error", item.message) for item in shown]
    if rest := len(missing) - len(shown):
        found.append(_command("error", "and more", f"{rest} more fall short: the summary has all."))
    if waiting := [item for item in one.items if pushed.outcome(item) == "open"]:
        found.append(_annotation(pushed, waiting[0], "notice", f"the next one: {len(waiting)} are still open."))
    return found


def _annotation(pushed: Pushed, item: Item, level: str, told: str) -> str:
    place = pushed.places.get(item.id)
    lacking = f"{item.points:g} of {item.max_points:g} points. {item.figure}".strip()
    file, line = (place.file, place.line) if place is not None else (pushed.graded_what, None)
    return _command(level, title_of(item), "\n".join(filter(None, [lacking, told])), file=file, line=line)


def _command(name: str, title: str, text: str, file: str = "", line: int | None = None) -> str:
    given = {"file": file, "line": str(line or ""), "title": title}
    properties = ",".join(f"{key}={_property(value)}" for key, value in given.items() if value)
    return f"::{name} {properties}::{_data(_short(text))}"


def _data(text: str) -> str:
    """The value of a command, as the runner reads it back."""
    return harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property's value, as the runner reads it back."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def plain(text: str) -> str:
    """On one line, which the runner takes for no command behind any word: it looks for "##[" in the whole of a line."""
    return printable(" ".join(text.split())).replace("##[", "## [")


def _output(name: str, value: str) -> str:
    """An output of a step, between marks that nobody can know."""
    mark = f"END_{secrets.token_hex(16)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def _append(path: str | None, text: str) -> None:
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


# -- the summary ------------------------------------------------------------------------------------------------------


def summary_of(pushed: Pushed) -> str:
    """The page that GitHub shows of the job, in Markdown: what was graded, each exercise, each rule."""
    one = pushed.one
    head = [f"## {text(sum_of(pushed))}", "", text(pushed.found.title), "", _what(pushed), ""]
    if one.state != "graded":
        head += [f"**{text(one.state)}**: {text(_short(one.message))}", ""]
    exercises = [item for item in one.items if item.kind == "exercise"]
    rules = [item for item in one.items if item.kind == "rule"]
    tables = [*_table(pushed, "exercise", exercises), *_table(pushed, "rule", rules)]
    flags = [f"- {text(_short(flag))}" for flag in one.grade.get("flags", ())][:50]
    if flags:
        tables += ["What is odd about it:", "", *flags, ""]
    return _cut([*head, *tables], [_foot(pushed), ""])


def _what(pushed: Pushed) -> str:
    named = f"Graded: {text(pushed.graded_what)}."
    if pushed.options.quick:
        return (
            f"{named} Of a notebook a push checks the exercises that train nothing. To have the others checked, too, "
            "and the network: run the notebook to its end, and commit the file that `lab.hand_in` writes, `my_net.lab`."
        )
    if pushed.options.mode == "weights":
        return f"{named} The weights that were handed in were tested; they do not tell in how many epochs they came."
    return named


def _table(pushed: Pushed, what: str, items: Sequence[Item]) -> list[str]:
    if not items:
        return []
    rows = [
        f"| {_MARKS[pushed.outcome(item)]} | {text(title_of(item))} | {item.points:g} of {item.max_points:g} "
        f"| {_told(pushed, item)} |"
        for item in items
    ]
    return [f"| | {what} | points | what the check says |", "|---|---|---:|---|", *rows, ""]


def _told(pushed: Pushed, item: Item) -> str:
    outcome = pushed.outcome(item)
    said = item.message if outcome in ("missing", "not checked") else ""
    return text("\n".join(filter(None, [item.figure, _short(said)])))


def _foot(pushed: Pushed) -> str:
    judge = pushed.found.provenance.get("judge", "")
    return (
        f"The page `feedback.html` is among the run's artifacts. The 99.4 Lab {text(lab.__version__)}, judge "
        f"{text(str(judge))}. A check in your own repository is for you: what counts is what your teacher grades."
    )


def text(found: str) -> str:
    """Somebody's text for a cell of a table: no sign in it means anything in Markdown or HTML, nor makes a link."""
    kept = (c if c.isalnum() or c in " ,()" else "<br>" if c == "\n" else f"&#{ord(c)};" for c in harmless(found))
    return "".join(kept)


def _short(found: str) -> str:
    return shortened(found, MOST_CHARACTERS)


def _cut(found: Sequence[str], foot: Sequence[str]) -> str:
    """As many lines as there is room for, and the last ones."""
    kept, size = list[str](), sum(len(line.encode()) + 1 for line in foot) + 100
    for line in found:
        size += len(line.encode()) + 1
        if size > MOST_SUMMARY:
            kept += ["", "There is more, and no room for it: the feedback page has all.", ""]
            break
        kept.append(line)
    return "\n".join([*kept, *foot])


# -- who and what -----------------------------------------------------------------------------------------------------


def run_of(pushed: Pushed, environ: Mapping[str, str], now: datetime) -> Run:
    """What Classroom 50 wants to know of a run: its runner says so; else GitHub does, as far as it knows.

    CLASSROOM, ASSIGNMENT, ASSIGNMENT_TYPE or MODE, OWNER or USERNAME, SUBMISSION_TAG, COMMIT_URL, RELEASE_URL,
    REVIEW_URL are Classroom 50's; the others GitHub's own.
    """
    here = environ.get
    handed_in = pushed.one.delivery.submitted if pushed.one.delivery is not None else None
    when = handed_in or now
    repository, sha = here("GITHUB_REPOSITORY") or "nobody/nothing", here("GITHUB_SHA") or "0" * 40
    server = here("GITHUB_SERVER_URL") or "https://github.com"
    commit = here("COMMIT_URL") or f"{server}/{repository}/commit/{sha}"
    team = (here("ASSIGNMENT_TYPE") or here("MODE")) in ("group", "team")
    kind: AssignmentType = "group" if team else "individual"
    actor_id = here("GITHUB_ACTOR_ID") or ""
    return Run(
        classroom=here("CLASSROOM") or repository.partition("/")[0],
        assignment=here("ASSIGNMENT") or repository.partition("/")[2] or "nothing",
        assignment_type=kind,
        owner=_owner(environ) or "nobody",
        submission=here("SUBMISSION_TAG") or classroom50.tag(when, sha),
        commit=commit,
        release=here("RELEASE_URL") or commit,
        review=here("REVIEW_URL") or commit,
        submitted=when,
        graded_at=now,
        submitted_by=here("GITHUB_ACTOR") or "",
        submitted_by_id=int(actor_id) if actor_id.isascii() and actor_id.isdecimal() else None,
    )


def _owner(environ: Mapping[str, str]) -> str:
    known = ("OWNER", "USERNAME", "GITHUB_REPOSITORY_OWNER", "GITHUB_ACTOR")
    return next((environ[name] for name in known if environ.get(name)), "")
