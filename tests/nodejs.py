"""Node, in which the page's scripts are tested without a page."""

import importlib.util
import shutil
from pathlib import Path

import pytest


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
