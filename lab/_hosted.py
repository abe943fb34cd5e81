"""A hosted notebook, such as Colab's: which repository was it opened from, and is the lab from there?

The notebook's first cell fetches the lab's release that the notebook was written for. A notebook that was opened from a
fork, or from another branch, means the lab that lies beside it there: `renew` fetches that one.
"""

import importlib
import os
import re
import sys
import urllib.request
from http.client import HTTPException
from urllib.parse import unquote

from lab import _release, ready

_MAIN = (f"https://github.com/{_release.REPOSITORY}", "main")
_RELEASE = re.compile(r"v\d[\w.]*")
_OPENED = re.compile(r"(https://github\.com/[\w.-]+/[\w.-]+)/blob/([\w./-]+?)/notebooks/")
_SECONDS = 5  # to wait for the list of sessions, which the same machine keeps


def on_colab() -> bool:
    """Does this Python run a notebook on Colab?"""
    return "google.colab" in sys.modules


def renew() -> bool:
    """Put the lab that lies beside this notebook in the place of the one that runs; True if they were not the same.

    The package `lab` then is the new one under every name that it already has, and its modules are imported anew. No
    other package is replaced. The lab that runs stays where nobody knows where the notebook is from (a copy in Drive),
    where it was not installed from a repository (a clone), and where it is a release of the lab and the notebook is
    from the lab's own main branch, which may be ahead of every release. Raises ready.NotReady.
    """
    beside, installed = opened_from(), installed_from()
    if beside is None or installed in (None, beside) or (beside == _MAIN and _is_release(installed)):
        return False
    repository, revision = beside
    what = f"the lab from {repository} (at {revision}), where this notebook was opened"
    ready.pip_install(f"git+{repository}@{revision}", "--force-reinstall", what=what)
    if installed_from() != beside:  # asked again, the new lab would fetch itself once more
        raise ready.NotReady(f"pip fetched {what}, but Python still finds another one: restart the session.")
    _import_anew()
    return True


def _is_release(origin: tuple[str, str] | None) -> bool:
    """Is it one of the lab's own releases, by its tag?"""
    return origin is not None and origin[0] == _MAIN[0] and _RELEASE.fullmatch(origin[1]) is not None


def opened_from() -> tuple[str, str] | None:
    """The repository's address and the branch or tag the notebook was opened from; None where Colab doesn't say it."""
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
    """The repository's address and the branch or tag that pip had the lab from, "" for none; None: not from git."""
    origin = _release.fetched()
    return (origin["url"], origin["vcs_info"].get("requested_revision", "")) if "vcs_info" in origin else None


def _import_anew() -> None:
    package = sys.modules["lab"]
    for name in [name for name in sys.modules if name.startswith("lab.")]:
        del sys.modules[name]
        vars(package).pop(name.removeprefix("lab."), None)  # `from lab import data` would still find the old one
    importlib.reload(package)  # in its place: the notebook's own name `lab` means the new one, too
