#!/usr/bin/env python3
"""Classroom 50 runs this for each submission, in the student's checkout: it fetches the lab, and lets it grade.

Written by `lab autograde classroom50`. It needs nothing but Python, and imports nothing of the checkout; the lab comes
from the commit below. What a student wrote runs in the lab's sandbox alone; neither the lab nor the sandbox is given a
token of the job. LAB_MODE in the runner's environment chooses another way of grading than `push`, LAB_RUBRIC another
assignment than the one that is written here; where none is, it is the one that the student says it is for.

Exit status 0 wherever there is a grade, also a bad one; else Classroom 50 records that grading failed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ARCHIVE = "@LAB_ARCHIVE@"
"""The lab, @LAB_TAG@."""
CONSTRAINTS = "@LAB_CONSTRAINTS@"
RUBRIC = "@LAB_RUBRIC@"
KNOWN = (
    "CLASSROOM", "ASSIGNMENT", "ASSIGNMENT_TYPE", "MODE", "OWNER", "USERNAME", "SUBMISSION_TAG", "COMMIT_URL",
    "RELEASE_URL", "REVIEW_URL", "GITHUB_REPOSITORY", "GITHUB_REPOSITORY_OWNER", "GITHUB_SHA", "GITHUB_SERVER_URL",
    "GITHUB_ACTOR", "GITHUB_ACTOR_ID",
)  # fmt: skip
"""Variables that say whose submission it is, and which: all that is passed on."""
SECONDS = 12 * 60  # Classroom 50 gives the whole job fifteen minutes


def main() -> int:
    """Install the lab, grade, put what Classroom 50 looks for into the checkout."""
    checkout = Path.cwd()
    place = Path(tempfile.mkdtemp(prefix="lab-", dir=os.environ.get("RUNNER_TEMP") or None))
    os.chdir(place)  # away from the student's files, which pip and Python would look among
    lab = installed(place)
    allow_sandboxes()
    kept = {name: os.environ[name] for name in KNOWN if name in os.environ}
    own = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(place), "TMPDIR": str(place), "LAB_PROGRESS": "0"}
    asked = ["autograde", "github", "--mode", os.environ.get("LAB_MODE") or "push", "--out", str(place / "report")]
    if rubric := os.environ.get("LAB_RUBRIC") or RUBRIC:
        asked += ["--rubric", rubric]
    done = subprocess.run([lab, *asked, "--", str(checkout)], cwd=place, env=kept | own, timeout=SECONDS)
    for name, called in (("result.json", "result.json"), ("summary.md", "release-body.md")):
        if (place / "report" / name).is_file():
            put(place / "report" / name, checkout / called)
    return done.returncode


def installed(place: Path) -> str:
    """The lab's command, in an environment of its own."""
    venv.create(place / "venv", with_pip=True)
    programs = place / "venv" / "bin"
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(place), "LANG": "C.UTF-8"}
    pip = [str(programs / "python"), "-I", "-m", "pip", "install", "--quiet", "--no-cache-dir", "-c", CONSTRAINTS]
    subprocess.run([*pip, "uv"], check=True, env=bare)
    # PyTorch without the gigabytes of CUDA.
    uv = [str(programs / "uv"), "pip", "install", "--quiet", "--no-cache", "--no-config", "--torch-backend", "cpu"]
    into = ["--python", str(programs / "python"), "-c", CONSTRAINTS]
    subprocess.run([*uv, *into, f"lab994[grading] @ {ARCHIVE}"], check=True, env=bare)
    return str(programs / "lab")


def allow_sandboxes() -> None:
    """As Ubuntu wants it; where it may not be changed the lab says what is forbidden, and runs nothing."""
    if shutil.which("sudo"):
        setting = "kernel.apparmor_restrict_unprivileged_userns=0"
        subprocess.run(["sudo", "-n", "sysctl", "-q", "-w", setting], check=False, stderr=subprocess.DEVNULL)


def put(made: Path, where: Path) -> None:
    """Copy a file into the checkout, where a link of the student's may stand in its place."""
    if where.is_symlink() or where.exists():
        shutil.rmtree(where) if where.is_dir() and not where.is_symlink() else where.unlink()
    shutil.copyfile(made, where)


if __name__ == "__main__":
    sys.exit(main())
