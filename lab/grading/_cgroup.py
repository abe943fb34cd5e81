"""A control group for the processes of one sandbox, where this process may make one; elsewhere it does nothing.

Both versions of Linux's control groups are tried. Where none can be had, the sandbox's own watcher limits memory and
processes.
"""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class Cgroup:
    """Its folders: one in version 2, one for each controller in version 1; none where none can be had."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders

    @classmethod
    def new(cls, memory: int, processes: int) -> "Cgroup":
        """One that limits its processes to so many bytes of memory, and to so many processes and threads."""
        name, made = f"lab-{os.getpid()}-{secrets.token_hex(4)}", list[Path]()
        for parent, limits in _places(memory, processes):
            folder = parent / name
            _sweep(parent)
            try:
                folder.mkdir()
                made.append(folder)
                for file, value in limits.items():
                    (folder / file).write_text(str(value))
            except OSError:
                for each in made:
                    with suppress(OSError):
                        each.rmdir()
                return cls([])
        return cls(made)

    def add(self, pid: int) -> None:
        """Put a process in, and all that it will start."""
        for folder in list(self._folders):
            try:
                (folder / "cgroup.procs").write_text(str(pid))
            except OSError:
                self._folders.remove(folder)
                with suppress(OSError):
                    folder.rmdir()

    def ran_full(self) -> bool:
        """Has the kernel killed one of them for its memory?"""
        for folder in self._folders:
            for file, word in (("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")):
                with suppress(OSError, ValueError):
                    lines = (folder / file).read_text().splitlines()
                    counts = dict(line.split() for line in lines if len(line.split()) == 2)
                    if int(counts.get(word, 0)):
                        return True
        return False

    def remove(self) -> None:
        """Take it away; its processes have ended before."""
        for folder in self._folders:
            for _ in range(100):  # the dead stay in it for a moment
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)
        self._folders = []


def memory_limit() -> int | None:
    """Bytes that this process and its neighbours in the group may take together; None where nothing limits them.

    The least of the group's own limit and those of the groups around it, as far as they can be seen from here.
    """
    limits = [limit for place in _memory_places() for name in ("memory.max", "memory.limit_in_bytes")
              if (limit := _bytes_in(place / name)) is not None]  # fmt: skip
    return min(limits, default=None)


def _memory_places() -> list[Path]:
    """The folders of the groups that this process is in, where memory is counted: its own, and those around."""
    found = []
    for parent, limits in _places(0, 0):
        if any(name.startswith("memory.") for name in limits):
            found += [parent, *(around for around in parent.parents if around.is_relative_to(_ROOT))]
            found += [_ROOT, _ROOT / "memory"]  # a container may name its own group as those outside do
    return found


def _bytes_in(file: Path) -> int | None:
    """The limit that a file holds; None for none, which version 1 writes as a number beyond any memory."""
    try:
        found = int(file.read_text())
    except (OSError, ValueError):
        return None
    return found if found < 2**60 else None


def left_over() -> list[Path]:
    """The folders that this process has made and not taken away."""
    return [folder for parent, _ in _places(0, 0) for folder in parent.glob(f"lab-{os.getpid()}-*")]


def _sweep(parent: Path) -> None:
    """Take away what a process that was killed has left."""
    for folder in parent.glob("lab-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and not os.path.exists(f"/proc/{owner}"):
            with suppress(OSError):  # while something lives in it, it stays
                folder.rmdir()


def _places(memory: int, processes: int) -> list[tuple[Path, dict[str, int]]]:
    """Where folders are made, and what is written into each."""
    if (_ROOT / "cgroup.controllers").is_file():
        own = next((line[3:] for line in _own().splitlines() if line.startswith("0::")), "")
        limits = {"memory.max": memory, "memory.swap.max": 0, "pids.max": processes}
        return [(_ROOT / own.lstrip("/"), limits)]
    found = []
    for controllers, limits in (("memory", {"memory.limit_in_bytes": memory}), ("pids", {"pids.max": processes})):
        for line in _own().splitlines():
            _, names, own = line.split(":", 2)
            if controllers in names.split(","):
                found.append((_ROOT / controllers / own.lstrip("/"), limits))
    return found


def _own() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""
