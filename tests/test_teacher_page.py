"""The teacher's page, executed from top to bottom: every block of commands, in one shell, in an empty folder.

What the page installs is not fetched: in its place stands this Python, and the tag is compared. Nothing else differs.
"""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import prose
import pytest

from lab import _release

PAGE = prose.ROOT / "notebooks" / "book" / "teacher.md"
INSTALLED = ("python3 -m venv", ". lab-env/", "pip install")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the page is for Linux: it grades code in a sandbox")


def blocks() -> list[str]:
    """What the page's eight steps tell to type, block by block; behind them it lists what else there is."""
    steps = re.findall(r"^## \d+\. .*?(?=^## )", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(steps) == 8
    return [block for step in steps for block in prose.fenced(step, "sh")]


def test_it_installs_this_release() -> None:
    fetched = re.findall(r'pip install "lab994\[grading\] @ git\+https://github\.com/([^@"]+)@([^"]+)"', blocks()[0])
    assert fetched == [(_release.REPOSITORY, _release.tag())]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the page was executed in, and what was printed."""
    folder = tmp_path_factory.mktemp("teacher")
    shim = folder / "bin" / "lab"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lab "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    desk = folder / "desk"
    desk.mkdir()
    lines = [line for block in blocks() for line in block.splitlines() if not line.startswith(INSTALLED)]
    environment = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}", "PYTHONPATH": str(prose.ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=desk, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    return desk, done.stdout


def test_what_it_says_happens(executed: tuple[Path, str]) -> None:
    desk, printed = executed
    assert "FAIL" not in printed.partition("first-class has")[0]  # of the doctor
    assert "3 students: 2 graded, 1 missing." in printed
    assert "1 graded anew, 0 changed." in printed
    assert (desk / "grades" / "class.html").is_file()
    assert sorted(path.name for path in (desk / "grades" / "feedback").glob("*.html")) == ["anna.html", "zoe.html"]
    with open(desk / "grades" / "grades.csv", encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["anna", "zoe"]  # ben is forgotten
    assert float(rows["anna"]["measured_accuracy"]) > 0.9
    assert rows["anna"]["given_by_hand"].startswith("dropout: 5, half of it")
    with open(desk / "filled.csv", encoding="utf-8-sig", newline="") as file:
        filled = {row["Full name"]: row["Grade"] for row in csv.DictReader(file)}
    assert float(filled["Anna Abel"]) == float(rows["anna"]["points"])
    assert (float(filled["Ben Bär"]), filled["Zoe Çelik"]) == (0, "")
