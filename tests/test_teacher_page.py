"""The teacher's page, executed from top to bottom: every block of commands, in one shell, in an empty folder.

What the page installs is not fetched: in its place stands this Python, and the tag is compared. Nothing else differs.
"""

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
    """What the page tells to type, block by block."""
    return prose.fenced(PAGE.read_text(encoding="utf-8"), "sh")


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
