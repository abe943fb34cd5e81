"""Which release is this lab of, and where is it on the web? For what is pinned to it: a notebook, a workflow."""

import json
import re
import subprocess
from importlib import metadata
from typing import Any

import lab
from lab import _place

REPOSITORY = "the-994-lab/the-994-lab"
"""Owner and name, on GitHub."""
_BAKED = _place.PACKAGE / "_commit.txt"
"""The commit that a wheel was built from: `make dist` writes it."""
COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit in full."""


def tag() -> str:
    """What the release is called in the repository: "v0.2.0"."""
    return f"v{lab.__version__}"


def commit() -> str | None:
    """The lab's own commit, 40 hexadecimal digits: of the clone, of what pip fetched, of the wheel. None: unknown."""
    found = _of_the_clone() or _of_pip() or (_BAKED.read_text(encoding="ascii").strip() if _BAKED.is_file() else "")
    return found if COMMIT.fullmatch(found) else None


def _of_the_clone() -> str:
    root = _place.root()
    if root is None or not (root / ".git").exists():
        return ""
    asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _of_pip() -> str:
    return str(fetched().get("vcs_info", {}).get("commit_id", ""))


def fetched() -> dict[str, Any]:
    """What pip has noted of where it fetched this lab from (PEP 610): `url`, and of git `vcs_info`; {} for an index."""
    try:
        text = metadata.distribution("lab994").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Any] = json.loads(text or "{}")
    return found
