"""Who sees what an attack leaves behind: canaries that it may read, places that it may write to, somebody who listens.

    with Witness(folder) as witness:
        source = witness.filled(attack)          # $LABELS, $MARKER, $PORT, ... in its text
        ...                                      # it is graded
        assert witness.traces(grade_text) == set()

The same witness sees the traces of the same attack where nobody defends anything (`in_the_open`): it is executed by
`naive.py`, a grader as simple as they come, as a process of ours.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

NAIVE = Path(__file__).with_name("naive.py")
PRINTED = 2**20
"""Bytes on stdout that are too many."""
PATIENCE = 12.0
"""Seconds that the naive grader gets; the honest ones among its hand-ins take two."""


class Witness:
    """What one attack may reach. folder: of ours, outside of the hand-in."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.secret = f"label{secrets.token_hex(8)}"  # in a file, in the environment, in our memory
        self.mark = f"mark{secrets.token_hex(8)}"  # an argument of every process that an attack starts
        self.left = f"left{secrets.token_hex(8)}"  # a name in shared folders
        self.labels = self.home / "labels.json"
        self.labels.write_text(json.dumps({"secret": self.secret}))
        self.marker, self.result = folder / "marker", folder / "result.json"
        self._labels = self.labels.read_bytes()
        self._open = False
        self._connections: list[str] = []
        self._said: set[str] = set()

    def __enter__(self) -> "Witness":
        self._variables = {name: os.environ.get(name) for name in ("HOME", "LAB_CACHE", "THE_LABELS")}
        cache = os.environ.get("LAB_CACHE") or platformdirs.user_cache_dir(
            "lab994", appauthor=False
        )  # of the real home
        os.environ |= {"HOME": str(self.home), "LAB_CACHE": cache, "THE_LABELS": self.secret}
        self._listeners = [socket.create_server(("127.0.0.1", 0)), _abstract(self.left)]
        self.port = self._listeners[0].getsockname()[1]
        self._listening = [threading.Thread(target=self._listen, args=(one,)) for one in self._listeners]
        for thread in self._listening:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            listener.close()
        for thread in self._listening:
            thread.join(timeout=5)
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for path in self._shared():
            path.unlink(missing_ok=True)
        for name, value in self._variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def filled(self, source: str) -> str:
        """An attack's text with the places and names of this witness. $MANY: without an end, but few in the open."""
        return string.Template(source).safe_substitute(
            LABELS=self.labels,
            MARKER=self.marker,
            RESULT=self.result,
            PORT=self.port,
            LEFT=self.left,
            MARK=self.mark,
            MANY=3 if self._open else 10**9,
        )

    # -- what was left behind -----------------------------------------------------------------------------------------

    def traces(self, said: str) -> set[str]:
        """What can be seen of the attack now, on this machine and in what its grade says."""
        time.sleep(0.05)  # what has connected is counted
        found = {
            "file": os.path.lexists(self.marker),
            "data": self.labels.read_bytes() != self._labels,
            "connection": bool(self._connections),
            "process": bool(self.processes()),
            "left": any(os.path.lexists(path) for path in self._shared()),
            "leak": self.secret in said,
            "escape": "\x1b" in said,
        }
        return {name for name, is_there in found.items() if is_there} | self._said

    def processes(self) -> list[int]:
        """The processes that carry the mark, among all on this machine."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                # Not the program that only tells an attack's text, or its mark, to another one.
                if self.mark.encode() in words and int(folder.name) != os.getpid():
                    found.append(int(folder.name))
        return found

    def _shared(self) -> list[Path]:
        return [Path("/tmp") / self.left, Path("/dev/shm") / self.left]

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.append(str(listener.getsockname()))
                connection.close()

    # -- without any defence ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def undefended(self) -> Iterator[None]:
        """Attacks that are written now take little: they are for our own machine."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def in_the_open(self, target: Path, honest: dict[str, float]) -> set[str]:
        """The traces that the hand-in leaves where the naive grader executes it. honest: the points that it deserves.

        It runs in the folder of the hand-in, as a group of processes that all end here at the latest.
        """
        folder = target if target.is_dir() else target.parent
        there, back = os.pipe()
        command = ["/bin/sh", "-c", '"$@"; echo; echo the batch goes on', "sh", sys.executable, str(NAIVE)]
        variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "OMP_NUM_THREADS": "1"}
        with open(folder.parent / "printed", "w+b") as printed:
            process = subprocess.Popen(
                [*command, str(target), str(self.result), str(back)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                pass_fds=(back,),
                cwd=folder,
                env=variables,
                start_new_session=True,
            )
            os.close(back)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            time.sleep(0.6)  # a child of a child writes its own result
            traces = self.traces("")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            printed.seek(0)
            said = printed.read(4 * PRINTED)
        with open(there, "rb") as pipe:
            os.set_blocking(there, False)
            told = pipe.read() or b""
        shown = said.decode("utf-8", "replace")
        lines = [line for line in shown.splitlines() if line.strip()]
        if not lines or lines[-1] != "the batch goes on":
            traces.add("stopped")
        if "Traceback of the grader" in shown:
            traces.add("traceback")
        if len(said) > PRINTED:
            traces.add("printed")
        last = [line for line in lines if line != "the batch goes on"][-1:]
        reports = [*last, *told.decode("utf-8", "replace").splitlines()[:1], _text_of(self.result)]
        return traces | self.traces(shown) | {name for one in reports for name in _believed(one, honest)}


def _believed(report: str, honest: dict[str, float]) -> set[str]:
    """What a report gives beyond what is deserved."""
    with contextlib.suppress(ValueError):
        found: Any = json.loads(report)
        if isinstance(found, dict):
            more = any(isinstance(found.get(name), int) and found[name] > most for name, most in honest.items())
            return ({"points"} if more else set()) | (
                {"rules", "accuracy"} & {n for n, v in found.items() if v is True}
            )
    return set()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:10_000] if path.is_file() else ""
    except OSError:
        return ""


def _abstract(name: str) -> socket.socket:
    """A listening socket with a name that no file system holds."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    return listener
