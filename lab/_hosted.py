"""A hosted notebook, such as Colab's: which repository was it opened from, and is the lab from there?

The notebook's first cell fetches the lab from a fixed address. A notebook that was opened from a fork, or from another
branch, means the lab that lies beside it there: `renew` fetches that one.
"""

import importlib
import importlib.metadata
import json
import os
import re
import sys
import urllib.request
from http.client import HTTPException
from urllib.parse import unquote

from lab import ready

_OPENED = re.compile(r"(https://github\.com/[\w.-]+/[\w.-]+)/blob/([\w./-]+?)/notebooks/")
_SECONDS = 5  # to wait for the list of sessions, which the same machine keeps


def on_colab() -> bool:
    """Does this Python run a notebook on Colab?"""
    return "google.colab" in sys.modules


def renew() -> bool:
    """Put the lab that lies beside this notebook in the place of the one that runs; True if they were not the same.

    The package `lab` then is the new one under every name that it already has, and its modules are imported anew. No
    other package is replaced. The lab that runs stays where nobody knows where the notebook is from (a copy in Drive),
    and where it was not installed from a repository (a clone). Raises ready.NotReady.
    """
    beside = opened_from()
    if beside is None or installed_from() in (None, beside):
        return False
    repository, branch = beside
    what = f"the lab from {repository} (branch {branch}), where this notebook was opened"
    ready.pip_install(f"git+{repository}@{branch}", "--force-reinstall", what=what)
    if installed_from() != beside:  # asked again, the new lab would fetch itself once more
        raise ready.NotReady(f"pip fetched {what}, but Python still finds another one: restart the session.")
    _import_anew()
    return True


def opened_from() -> tuple[str, str] | None:
    """The repository's address and the branch that the notebook was opened from; None where Colab doesn't say it."""
    address = f"http://{os.environ.get('COLAB_JUPYTER_IP')}:{os.environ.get('KMP_TARGET_PORT')}/api/sessions"
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with directly.open(address, timeout=_SECONDS) as answer:
            sessions = answer.read().decode(errors="replace")
    except (OSError, HTTPException, ValueError):
        return None
    found = _OPENED.search(unquote(sessions))
    return (found[1], found[2]) if found else None


def installed_from() -> tuple[str, str] | None:
    """The repository's address and the branch that pip had the lab from, "" for its main one; None: not from git."""
    try:
        text = importlib.metadata.distribution("lab994").read_text("direct_url.json")  # PEP 610
    except importlib.metadata.PackageNotFoundError:
        return None
    origin = json.loads(text or "{}")
    return (origin["url"], origin["vcs_info"].get("requested_revision", "")) if "vcs_info" in origin else None


def _import_anew() -> None:
    package = sys.modules["lab"]
    for name in [name for name in sys.modules if name.startswith("lab.")]:
        del sys.modules[name]
        vars(package).pop(name.removeprefix("lab."), None)  # `from lab import data` would still find the old one
    importlib.reload(package)  # in its place: the notebook's own name `lab` means the new one, too
