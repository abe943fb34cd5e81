"""Installs the wheel where no clone is, and types what a student and a teacher type there: does the release work?

    .venv/bin/python .ci/smoke.py build/dist/lab994-*.whl

A Python environment of its own, a folder of its own, constraints.txt's versions. First the lab alone, then with what
grades a class, then neither: pip must leave nothing of it. Every command has a status and words that are expected, and
a limit of time; a line each, with seconds. Six to eight minutes on two busy cores. Linux, for the sandbox.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.1), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 5 * 5, 10), nn.LogSoftmax(dim=1),
        )
"""


@dataclass(frozen=True)
class Step:
    """A command, and what is expected of it."""

    command: str
    says: str  # stands in what it prints
    status: int = 0
    seconds: int = 180  # at most


ALONE = (
    Step("lab --version", "lab, version VERSION"),
    Step("python -c 'import lab._release as it; print(it.commit())'", "COMMIT"),
    Step("lab run --quick --out run", "PASS accuracy=", seconds=600),
    Step("lab inspect net.py", "5,306"),
    Step("lab check net.py", "PASS parameter_count: 5,306"),
    Step("lab check copy.ipynb --quick", "0 of 33 points", status=1),
    Step("lab hand-in net.py --set epochs=1 --out hand-ins/ann/net.lab", "Hand in this file."),
    Step("cp -r hand-ins/ann hand-ins/bob", ""),
    Step(
        "lab init repository --ci github --ci gitlab --ci compose --lab-commit PINNED", "repository has mnist_994.ipynb"
    ),
    Step("lab grade hand-ins --out GRADES", "pip install 'lab994[grading]'", status=2),
    Step("lab grade copy.ipynb --quick", "pip install 'lab994[grading]'", status=2),
)
"""What the lab does as `pip install lab994` brings it."""

GRADING = (
    Step("lab doctor", "PASS no network"),
    Step("lab grade hand-ins/ann/net.lab --mode weights", "of 100 points", status=1),
    Step("lab grade run/mnist_994.ipynb --quick", "exercises: 11 of 33 points", status=1),
    Step("lab grade hand-ins --out GRADES --mode weights", "2 students: 2 graded."),
    Step("lab regrade GRADES --student ann", "graded anew, 0 changed"),
    Step("lab mark GRADES ann accuracy 1 --comment bonus", "60 of 100 points -> 61 of 100 points"),
    Step("lab export GRADES --to gradescope", "2 of 2 students' grades are written."),
    Step("lab export GRADES --to nbgrader", "2 of 2 students' grades are written."),
    Step("lab forget GRADES bob", "hold nothing of bob any more"),
    Step("lab gradescope-zip", "autograder.zip", seconds=300),
    Step("lab autograde github repository --out report", "of 33 points"),
    Step("lab otter mnist_994", "is written"),
)
"""And as `pip install lab994[grading]` does."""


class Failed(Exception):
    """A step that did not do what is expected."""


def main(wheel: Path) -> None:
    """Install, try, uninstall. Raises Failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        here = _environment(place)
        (place / "work" / "hand-ins" / "ann").mkdir(parents=True)
        (place / "work" / "net.py").write_text(NET, encoding="utf-8")
        shutil.copy(ROOT / "notebooks" / "mnist_994.ipynb", place / "work" / "copy.ipynb")
        commit = _commit()
        known = {"VERSION": wheel.name.split("-")[1], "COMMIT": commit}
        known["PINNED"] = commit if commit != "None" else "0" * 40  # of a tree with changes nobody knows which
        install = f"python -m pip install --quiet --constraint {ROOT / 'constraints.txt'}"
        run([Step(f"{sys.executable} -m venv {place / 'python'}", "")], place, dict(os.environ), known)
        clean = _files(place / "python")
        run([Step(f"{install} {wheel}", "", seconds=600)], place / "work", here, known)
        run(ALONE, place / "work", here, known)
        run([Step(f"{install} '{wheel}[grading]'", "", seconds=600)], place / "work", here, known)
        run(GRADING, place / "work", here, known)
        _uninstall(place, here, known, clean)
    print(f"the wheel works: {time.monotonic() - began:.0f} s", flush=True)


def run(steps: Iterable[Step], folder: Path, environment: dict[str, str], known: dict[str, str]) -> None:
    """Run each in `folder`, a line each. Raises Failed at the first that falls short."""
    for step in steps:
        began = time.monotonic()
        command, says = shlex.split(step.command), step.says
        for name, value in known.items():
            command, says = [word.replace(name, value) for word in command], says.replace(name, value)
        # Found on the environment's own path, not on this process's.
        program = shutil.which(command[0], path=environment["PATH"]) or command[0]
        try:
            done = subprocess.run(
                [program, *command[1:]],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=step.seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{step.command}\nran longer than {step.seconds} s.") from error
        if done.returncode != step.status or says not in done.stdout:
            expected = f"status {step.status} and {says!r}"
            raise Failed(f"{step.command}\nended with {done.returncode}; expected {expected}.\n{done.stdout}")
        print(f"{time.monotonic() - began:6.1f} s  {_shown(step.command)}", flush=True)


def _uninstall(place: Path, here: dict[str, str], known: dict[str, str], clean: set[str]) -> None:
    """`pip uninstall` takes all of it away. Raises Failed."""
    run([Step("python -m pip uninstall --yes lab994", "Successfully uninstalled")], place / "work", here, known)
    left = {name for name in _files(place / "python") - clean if "lab994" in name or "/site-packages/lab/" in name}
    left |= {name for name in _files(place / "python") - clean if name.startswith("bin/lab")}
    if left:
        raise Failed(f"pip uninstall leaves {', '.join(sorted(left))}.")


def _environment(place: Path) -> dict[str, str]:
    """Variables without a trace of the clone, and with the new Python first; a folder of its own for what is cached."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = os.pathsep.join([str(place / "python" / "bin"), *os.get_exec_path()])
    return {**kept, "PATH": path, "LAB_PROGRESS": "0", "COLUMNS": "120"}


def _commit() -> str:
    """What the wheel says of its commit: this clone's, or "None" where it was built from a tree with changes."""
    status = ["git", "-C", str(ROOT), "status", "--porcelain"]
    if subprocess.run(status, check=True, capture_output=True, text=True).stdout:
        return "None"
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _shown(command: str) -> str:
    return command.replace(str(ROOT) + os.sep, "").replace(sys.executable, "python")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]).resolve())
    except Failed as failure:
        sys.exit(f"error: {failure}")
