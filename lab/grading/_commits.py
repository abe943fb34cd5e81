"""When was a repository's last commit made? Read from its files; nothing in it is executed.

git obeys the configuration of the repository that it is called in, which names programs to run (core.fsmonitor,
gpg.program, aliases and more). So git is never called in a student's: a new, empty repository of ours borrows the
objects, which are data, and only `cat-file` is called in it.
"""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from lab._files import FileError, read_regular
from lab.errors import LabError

MOST_ENTRIES = 20_000
"""Files and folders in one .git."""
MAX_COMMIT = 64 * 2**10
"""Bytes: of text, two hashes and two lines with names."""
SECONDS = 10.0
_SHA = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"refs/[\w.@+/#-]+")
_COMMITTER = re.compile(rb"^committer [^\n]*> (\d{1,12}) ([+-])(\d\d)(\d\d)$", re.MULTILINE)


class CommitError(LabError):
    """No date: why."""


class Commits:
    """Reads the dates of many repositories; made by `commits`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._git = shutil.which("git")

    def date(self, folder: Path) -> datetime:
        """Of the commit that is checked out, by the student's own clock, aware. Raises CommitError."""
        own = folder / ".git"
        _check(own)
        try:
            sha = _head(own)
        except (OSError, FileError, UnicodeDecodeError) as error:
            raise CommitError("its HEAD can't be read") from error
        kind, _, size = self._ask(own, "--batch-check=%(objecttype) %(objectsize)", sha).decode().partition(" ")
        if kind != "commit" or not size.strip().isdecimal() or int(size) > MAX_COMMIT:
            raise CommitError("its last commit is not there, or is none")
        text = self._ask(own, "commit", sha, as_argument=True)
        match = _COMMITTER.search(text.partition(b"\n\n")[0])
        if match is None:
            raise CommitError("its last commit has no date")
        away = timedelta(hours=int(match[3]), minutes=int(match[4]))
        try:
            zone = timezone(-away if match[2] == b"-" else away)
            return datetime.fromtimestamp(int(match[1]), zone)
        except (ValueError, OverflowError, OSError) as error:
            raise CommitError("its last commit has a date that is none") from error

    def _ask(self, own: Path, what: str, sha: str, as_argument: bool = False) -> bytes:
        """The output of `git cat-file`, run in the empty repository."""
        if self._git is None:
            raise CommitError("git is not installed")
        command = [self._git, "cat-file", what, *([sha] if as_argument else [])]
        here = {
            "GIT_DIR": str(self._place),
            "GIT_OBJECT_DIRECTORY": str((own / "objects").absolute()),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "HOME": str(self._place),
            "LC_ALL": "C",
            **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
        }
        try:
            done = subprocess.run(
                command,
                cwd=self._place,
                env=here,
                input=b"" if as_argument else sha.encode() + b"\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CommitError("git can't read it") from error
        if done.returncode:
            raise CommitError("git can't read it")
        return done.stdout


@contextlib.contextmanager
def commits() -> Iterator[Commits]:
    """Reads the dates of repositories, as long as it is open."""
    with tempfile.TemporaryDirectory(prefix="lab-git-") as name:
        place = Path(name)
        (place / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        (place / "objects").mkdir()
        (place / "refs").mkdir()
        yield Commits(place)


def _check(own: Path) -> None:
    """Only files and folders, no links, nothing that leads elsewhere. Raises CommitError."""
    if not stat.S_ISDIR(own.lstat().st_mode):
        raise CommitError("its .git is no folder")
    count, waiting = 0, [own]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError as error:
            raise CommitError("its .git can't be read") from error
        for entry in entries:
            count += 1
            if count > MOST_ENTRIES:
                raise CommitError(f"its .git holds more than {MOST_ENTRIES:,} files")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                raise CommitError("its .git holds a link or a device")
    if (own / "objects" / "info" / "alternates").exists():
        raise CommitError("its .git borrows from another repository")


def _head(own: Path) -> str:
    """The hash of the commit that HEAD names."""
    name = read_regular(own / "HEAD", 4096).decode("utf-8").strip()
    if name.startswith("ref: "):
        name = name.removeprefix("ref: ").strip()
        if not _NAME.fullmatch(name) or ".." in name:
            raise CommitError("its HEAD names no branch")
        loose = own / name
        name = read_regular(loose, 4096).decode("ascii").strip() if loose.is_file() else _packed(own, name)
    if not _SHA.fullmatch(name):
        raise CommitError("it has no commit")
    return name


def _packed(own: Path, name: str) -> str:
    if not (own / "packed-refs").is_file():
        return ""
    for line in read_regular(own / "packed-refs", 16 * 2**20).decode("utf-8", "replace").splitlines():
        sha, _, found = line.partition(" ")
        if found == name:
            return sha
    return ""
