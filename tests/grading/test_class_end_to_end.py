"""A whole class, as a teacher grades it: real hand-ins, the real judge, real sandboxes, and kills in between."""

import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.classes import Made, make
from lab.course.editions import ROOT
from lab.grading.gradebook import FILE, Gradebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
EACH_TIME = ("date", "seconds")
"""Columns that another run may have otherwise."""


def begun(made: Made, out: Path) -> "subprocess.Popen[str]":
    program = [sys.executable, "-m", "lab", "grade", made.folder, "--out", out, "--roster", made.roster]
    settings = ["--rubric", made.rubric, "--mode", "audit", "--secret", "s", "--share", "0", "--workers", "2"]
    return subprocess.Popen(
        [str(one) for one in [*program, *settings]],
        env=os.environ | {"PYTHONPATH": str(ROOT), "LAB_PROGRESS": "0"},
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def graded(made: Made, out: Path) -> str:
    """Grade the class to its end; what is printed."""
    process = begun(made, out)
    printed, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors
    return printed


def killed(made: Made, out: Path, when: Callable[[], bool]) -> None:
    """Begin, and end it with all that it has started by SIGKILL as soon as `when` says so."""
    process = begun(made, out)
    while process.poll() is None and not when():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []


def results(out: Path) -> dict[str, Any]:
    """Every grade by the key of its result, and how often it was worked out."""
    with Gradebook(out) as book:
        return {key: (times, book.result(key)["grade"]) for key, times in sorted(book.states().items())}


def count(out: Path) -> int:
    """How many results there are, while somebody writes."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{out / FILE}?mode=ro", uri=True) as book:
            return int(book.execute("select count(*) from results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def rows(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def check(made: Made, out: Path) -> None:
    """Has each student what is expected?"""
    found = rows(out)
    assert found.keys() == made.expected.keys()
    for student, expected in made.expected.items():
        row = found[student]
        told = (student, expected, row["message"])
        assert row["state"] in ((expected.state,) if expected.state else ("graded", "student error")), told
        assert bool(row["late"]) == expected.late, told
        if expected.exercises is not None:
            assert float(row["points"]) == pytest.approx(expected.exercises - float(row["late_off"])), told
        assert (out / "feedback" / f"{student}.html").is_file() or expected.state == "missing"
    page = (out / "class.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert ("the same weights" in page) == any(one.kind == "same file" for one in made.expected.values())


def same(one: Path, other: Path) -> bool:
    def plain(out: Path) -> dict[str, dict[str, str]]:
        return {student: {name: value for name, value in row.items() if name not in EACH_TIME}
                for student, row in rows(out).items()}  # fmt: skip

    return plain(one) == plain(other) and results(one) == results(other)


def test_six_students_and_a_kill(tmp_path: Path) -> None:
    made = make(tmp_path / "class", 6, trained=False)
    out = tmp_path / "grades"
    killed(made, out, lambda: count(out) >= 1)
    before = count(out)
    assert before < 6
    graded(made, out)
    check(made, out)
    assert count(out) == 6  # nothing twice


@pytest.mark.slow
def test_thirty_students_with_kills_and_without_have_the_same_gradebook(tmp_path: Path) -> None:
    made = make(tmp_path / "class", 30, layout="canvas", trained=False)
    without, with_kills = tmp_path / "without", tmp_path / "with-kills"
    printed = graded(made, without)
    check(made, without)
    assert "grader error" not in printed
    draw = random.Random(0)
    for _ in range(3):
        until = count(with_kills) + draw.randint(2, 6)
        killed(made, with_kills, lambda until=until: count(with_kills) >= until)
    graded(made, with_kills)
    assert same(without, with_kills)
