"""Node, in which the page's scripts are tested without a page."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "scripts.mjs"


def node() -> str:
    """The program: the one that playwright brings along, else the system's."""
    spec = importlib.util.find_spec("playwright")
    if spec is not None and spec.origin is not None:
        for name in ("node", "node.exe"):
            if (own := Path(spec.origin).parent / "driver" / name).is_file():
                return str(own)
    if (found := shutil.which("node")) is None:
        pytest.skip("Node is not here; it comes with playwright (tests/requirements.txt)")
    return found


def answers(tasks: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What `scripts.mjs` gives for each task ({"task": name, ...}): {"answer": ...} or {"error": "Class: message"}."""
    (folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    command = [node(), str(SCRIPTS), str(folder / "tasks.json"), str(folder / "answers.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    given: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return given
