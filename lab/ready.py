"""Is this Python ready for the lab: its version, its packages, a folder for the images?

Torch is not imported here: it may be the package that is too old.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

from packaging.requirements import Requirement

from lab import _place
from lab.errors import LabError

OLDEST_PYTHON = (3, 10)
CACHE_MEGABYTES = 150  # what the lab's data sets take up, while they are unpacked
EXECUTORS = {"jupyter", "papermill", "nbval", "jupytext", "nbclient", "nbconvert"}
"""What executes notebooks from outside: a notebook that is open somewhere runs without them."""


class NotReady(LabError):
    """A Python that can't run the lab as it is."""


def check_versions() -> None:
    """Raise NotReady where Python, or a package that is there, is older than the lab can use."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise NotReady(f"this is Python {platform.python_version()}; the lab needs {wanted} or newer.")
    old = [package for package in needs() if not package.specifier.contains(_version(package) or "999", True)]
    if old:
        found = ", ".join(f"{package.name} {_version(package)} (the lab needs {package.specifier})" for package in old)
        names = " ".join(f"'{package.name}{package.specifier}'" for package in old)
        raise NotReady(f"too old: {found}. Run `pip install --upgrade {names}`, then restart the kernel.")


def check_cache() -> None:
    """Raise NotReady where MNIST would have to be fetched, and the cache folder can't be written or is full.

    The folder is the one of `lab.data.cache_root`; with LAB_DATA, or with MNIST in it already, it is only read.
    """
    from lab.data import cache_root

    root = cache_root()
    if os.environ.get("LAB_DATA"):
        return
    advice = (
        f"Set the environment variable LAB_CACHE to a folder that you may write to, with {CACHE_MEGABYTES} MB free."
    )
    try:
        if any((root / "MNIST" / "raw").glob("t10k-labels*")):
            return
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            free = shutil.disk_usage(root).free
    except OSError as error:
        raise NotReady(f"the images can't be kept in {root}: {error.strerror or error}. {advice}") from error
    if free < CACHE_MEGABYTES << 20:
        raise NotReady(f"the images do not fit into {root}: {free >> 20} MB are free there. {advice}")


def missing() -> list[Requirement]:
    """The packages that a notebook of the lab needs, and that are not there."""
    return [package for package in needs() if package.name not in EXECUTORS and not _version(package)]


def check_packages() -> None:
    """Raise NotReady where a package is missing."""
    names = " ".join(f"'{package}'" for package in missing())
    if names:
        raise NotReady(f"packages are missing. Run `pip install {names}`, then restart the kernel.")


def install_missing() -> None:
    """Fetch the missing packages with pip, and replace none that is there: only missing ones are named to pip.

    For a hosted notebook, whose packages are matched to each other. Raises NotReady where pip fails.
    """
    absent = missing()
    while absent:
        pip_install(*(str(package) for package in absent), what=", ".join(package.name for package in absent))
        absent = [theirs for package in absent for theirs in _needs_of(package.name) if not _version(theirs)]


def pip_install(*arguments: str, what: str) -> None:
    """Call `pip install` without the dependencies of what it installs. Raises NotReady where it fails: no `what`."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise NotReady(f"pip could not fetch {what}: is there a network? Run this cell again.\n{done.stderr.strip()}")
    importlib.invalidate_caches()


def needs() -> list[Requirement]:
    """The packages that the lab asks for on this Python: as a clone's requirements.txt has them, or its metadata."""
    root = _place.root()
    if root is None:
        return _needs_of("lab994")
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    lines = (re.sub(r"#.*", "", line).strip() for line in text.splitlines())
    return _on_this_python([line for line in lines if line])


def extra_with(package: str) -> str | None:
    """Which of the lab's extras brings a package: "grading"; None where none does, or the lab is not installed."""
    try:
        metadata = importlib.metadata.metadata("lab994")
    except importlib.metadata.PackageNotFoundError:
        return None
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    of_it = [each.marker for each in asked if each.name.lower() == package.lower() and each.marker is not None]
    extras = metadata.get_all("Provides-Extra") or []
    return next((extra for extra in extras if any(marker.evaluate({"extra": extra}) for marker in of_it)), None)


def _needs_of(name: str) -> list[Requirement]:
    return _on_this_python(importlib.metadata.requires(name) or [])


def _on_this_python(lines: list[str]) -> list[Requirement]:
    packages = [Requirement(line) for line in lines]
    return [package for package in packages if package.marker is None or package.marker.evaluate({"extra": ""})]


def _version(package: Requirement) -> str | None:
    """The version that is installed; None where the package is missing."""
    try:
        return importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
