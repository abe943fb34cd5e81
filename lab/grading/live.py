"""What a person, or a machine, sees while a class is graded. It decides nothing."""

import json
import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import click

from lab._terminal import printable
from lab.grading.crowd import Progress
from lab.grading.standing import mean_accuracy

_SHOWN = 60
"""Characters of a message, beside a student's line."""


class Live:
    """A bar with the rate, the time left and the failures so far, and a line a student above it; with a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), TextColumn("{task.fields[failures]}"),
        )  # fmt: skip
        self._console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._bar = Bar(*columns, console=self._console, transient=True)
        self._open = ExitStack()
        self._started = time.monotonic()
        self._task: Any = None

    def __enter__(self) -> "Live":
        self._open.enter_context(self._bar)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def __call__(self, progress: Progress) -> None:
        """Show what has come."""
        if self._task is None or not progress.students:
            self._started = time.monotonic()
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task("grading", total=progress.total, rate="", failures="")
        if not progress.students:
            return
        for student in progress.students:
            self._console.print(f"{printable(student.shown)[:40]:40} {line_of(progress.result)}")
        rate = 60 * progress.done / max(1e-3, time.monotonic() - self._started)
        failures = f"{progress.failures} could not be graded" if progress.failures else ""
        self._bar.update(self._task, completed=progress.done, rate=f"{rate:.1f} a minute", failures=failures)


class JsonLines:
    """A JSON object a line on stdout: one as it begins, one a student."""

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *raised: object) -> None: ...

    def __call__(self, progress: Progress) -> None:
        """Print what has come."""
        at = {"done": progress.done, "total": progress.total, "failures": progress.failures}
        for student in progress.students:
            grade = progress.result["grade"]
            shown = {"student": student.id, "state": grade["state"], "points": grade["points"]}
            click.echo(json.dumps({"graded": shown | {"message": grade["message"]}} | at))
        if not progress.students:
            click.echo(json.dumps({"begun": at}))
        sys.stdout.flush()


class Quiet:
    """Nothing, where nobody looks."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *raised: object) -> None: ...

    def __call__(self, progress: Progress) -> None:
        """Say nothing."""


def line_of(result: Any) -> str:
    """A result in a few words."""
    grade = result["grade"]
    if grade["state"] != "graded":
        return f"{grade['state']}: {printable(grade['message'])[:_SHOWN]}"
    earned = [pair for pair in grade["points"].values() if pair[1]]
    points = " + ".join(f"{got:g}/{most:g}" for got, most in earned)
    accuracy = mean_accuracy(grade)
    reached = f", {accuracy:.2%}" if accuracy is not None else ""
    return f"{points} points{reached}"
