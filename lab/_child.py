"""A person's network is built and captured in a process of its own; what comes back is its graph, as data.

    with Child("net.py") as child:           # starts now, and imports torch while the caller does something else
        graph = child.graph((1, 28, 28))

Whatever the code does in there (exit, crash, loop, fill the memory, replace the lab's functions, print a verdict) ends
in one message here, and changes nothing here: the child writes the graph with `lab.graph.save` into a temporary
folder, this side reads it with `lab.graph.load`, which checks it like any saved graph. Nothing is unpickled, no printed
line is believed. What the code prints is shown on stderr behind a bar, shortened and without terminal escapes.

Limits: LAB_CHILD_SECONDS of wall time (60), LAB_CHILD_MEMORY in MB beyond what torch itself takes (4,096), 64
processes, 16 MB of output. Memory and processes are limited where the system can do it: on Linux. Elsewhere time and
output are. It keeps accidents and tricks away from the judge; it is no wall against an attack on the machine: the code
reads and writes files, and uses the network, as the person who called it may.

This side imports the standard library alone until the graph arrives.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from lab import _process
from lab._terminal import harmless
from lab.errors import GraphError, LabError

if TYPE_CHECKING:
    from lab.graph import Budget, Graph

SECONDS = 60.0
MEMORY_MB = 4096.0
MAX_PROCESSES = 64
MAX_PRINTED = 16 * 2**20
SHOWN = 16 * 2**10  # bytes of what was printed
MAX_MESSAGE = 4000  # characters
MAX_FILE = 2**30 + 2**20  # bytes; the largest weights that a graph may have

_TOKEN = "LAB_CHILD_TOKEN"  # marks every process that the child starts, on Linux, where /proc shows it
_PROGRAM = "import sys; sys.path[0] = sys.argv[1]; from lab._child import main; main()"
_ROOT = Path(__file__).resolve().parent.parent  # a folder called lab/ where the command is typed is not the lab


class ChildError(LabError):
    """A person's code that did not come to an end, or to its own end."""


def graph_of(target: str, input_shape: tuple[int, int, int] = (1, 28, 28)) -> Graph:
    """The graph of the network that TARGET names, captured in a process of its own.

    Raises TargetError, GraphError or ChildError.
    """
    with Child(target) as child:
        return child.graph(input_shape)


def is_saved(target: str) -> bool:
    """Does TARGET name a saved graph? That is data: it is read here."""
    return Path(target).name == "graph.json" or os.path.isdir(target)


class Child:
    """The process in which TARGET is built and captured, started at once; no process for a saved graph."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.seconds = _limit("LAB_CHILD_SECONDS", SECONDS)
        self.memory = _limit("LAB_CHILD_MEMORY", MEMORY_MB)
        self._printed, self._shown = 0, bytearray()
        self._token = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        if not is_saved(target):
            self._process = self._start()
            self._reader = threading.Thread(target=self._read_printed, args=(self._process,), daemon=True)
            self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def graph(self, input_shape: tuple[int, int, int] = (1, 28, 28), budget: Budget | None = None) -> Graph:
        """The graph of TARGET on images of `input_shape`, once; it needs no more than the budget (None: TO_TRAIN).

        Raises TargetError, GraphError or ChildError.
        """
        if self._process is None:
            from lab.graph import TO_TRAIN
            from lab.targets import resolve

            return resolve(self.target, input_shape, budget or TO_TRAIN)
        with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
            self._ask(self._process, input_shape, folder)
            from lab.graph import prepare

            prepare()  # while the child is busy
            try:
                self._wait(self._process)
            finally:
                self._end()  # before anything is read: nothing is left that could still write
                self._show_printed()
            return self._result(self._process.returncode, Path(folder), budget)

    def _start(self) -> subprocess.Popen[bytes]:
        # Not the graphics card: capturing gains nothing from it, and its driver takes memory beyond any limit.
        environment = os.environ | {_TOKEN: self._token, "CUDA_VISIBLE_DEVICES": "", "PYTHONIOENCODING": "utf-8"}
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=os.name == "posix",  # all that it starts can be ended together; Ctrl-C is ours
        )

    def _ask(self, process: subprocess.Popen[bytes], input_shape: tuple[int, int, int], folder: str) -> None:
        limits = {"seconds": self.seconds, "memory": self.memory}
        job = {"target": self.target, "input_shape": input_shape, "folder": folder, **limits}
        assert process.stdin is not None
        with suppress(OSError):  # it is gone: its output says why
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.close()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it ends by itself. Raises ChildError where it passes a limit."""
        started = counted = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            if now - started > self.seconds:
                raise ChildError(
                    f"{self.target}: no network after {self.seconds:g} s. Is there an endless loop, a training run or "
                    f"a download in what builds it? LAB_CHILD_SECONDS={2 * self.seconds:g} in the environment gives "
                    "it more time."
                )
            if self._printed > MAX_PRINTED:
                raise ChildError(f"{self.target}: its code printed more than {MAX_PRINTED >> 20} MB. Print less.")
            if now - counted > 0.5:
                counted = now
                if len(_marked(self._token)) > MAX_PROCESSES:
                    raise ChildError(f"{self.target}: its code started more than {MAX_PROCESSES} processes.")
            time.sleep(0.01)

    def _end(self) -> None:
        """End the child and all that it has started."""
        if self._process is None:
            return
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of the dead
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self._process.poll() is None:
            command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
            subprocess.run(command, capture_output=True, check=False)
        for _ in range(20):  # those that left the group, and what they start meanwhile
            if not (left := _marked(self._token)):
                break
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1)

    def _read_printed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            self._printed += len(chunk)
            self._shown += chunk[: max(0, SHOWN - len(self._shown))]
        process.stdout.close()

    def _show_printed(self) -> None:
        """On stderr, each line behind a bar: nobody takes it for the lab's own words."""
        lines = harmless(self._shown.decode("utf-8", "backslashreplace")).splitlines()
        left_out = self._printed - len(self._shown)
        lines += [f"({left_out:,} bytes more)"] if left_out > 0 else []
        for line in lines:
            print(f"| {line}", file=sys.stderr)

    def _result(self, status: int, folder: Path, budget: Budget | None) -> Graph:
        if (folder / "error.json").is_file():
            raise _error(folder / "error.json", self.target)
        if not all(_is_plain(folder / "graph" / name) for name in ("graph.json", "weights.safetensors")):
            raise ChildError(f"{self.target}: {_end_in_words(status, self.memory)}")
        from lab.graph import TO_TRAIN, load

        return load(folder / "graph", budget or TO_TRAIN)


def _limit(name: str, default: float) -> float:
    """A limit from the environment. Raises ChildError where it is no number above 0."""
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise ChildError(f"{name}={text!r} in the environment is not a number above 0.")
    return value


def _marked(token: str) -> list[int]:
    """The living processes that carry the token in their environment; none where there is no /proc."""
    mark, found = f"{_TOKEN}={token}".encode(), []
    for entry in os.scandir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as file:  # empty of the dead
                    if mark in file.read():
                        found.append(int(entry.name))
            except OSError:
                pass
    return found


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _error(path: Path, target: str) -> LabError:
    """The message that the child left, as an exception of its kind."""
    from lab.targets import TargetError

    kinds = {"GraphError": GraphError, "TargetError": TargetError}
    try:
        if not _is_plain(path) or path.stat().st_size > 8 * MAX_MESSAGE:
            raise ValueError
        content = json.loads(path.read_bytes())
        kind, message = kinds.get(str(content["kind"]), ChildError), str(content["message"])[:MAX_MESSAGE]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ChildError(f"{target}: its code fails, and its message can't be read.")
    return kind(harmless(message))


def _end_in_words(status: int, memory: float) -> str:
    """Why there is no result, as far as the exit status tells."""
    if status == -getattr(signal, "SIGXCPU", 0):
        return "its code took all the time that there was for it."
    if status < 0:
        name = signal.Signals(-status).name
        memory_hint = f" It may have needed more than {memory:,.0f} MB of memory." if name != "SIGTERM" else ""
        return f"its code ended without a network, by the signal {name}.{memory_hint}"
    return (
        f"its code ended Python with status {status} and left no network: it calls sys.exit, os._exit or the like. "
        "Take the call out of what builds and runs the network."
    )


# ---------------------------------------------------------------------------------------------------------------------
# In the child
# ---------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Read one job from stdin, capture the network that it names, write its graph or an error, and end."""
    _process.set_up()
    from lab import targets  # torch comes with it, before the job is there and the memory is limited
    from lab.graph import save

    line = sys.stdin.buffer.readline()
    if not line:  # nobody wants it any more
        os._exit(0)
    job: dict[str, Any] = json.loads(line)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    _set_limits(job["seconds"], job["memory"])
    target, folder = job["target"], Path(job["folder"])
    c, h, w = job["input_shape"]
    try:
        save(targets.resolve(target, (c, h, w)), folder / "graph")
    except BaseException as error:  # whatever the code raises has to become a message
        kind, message = _described(error, target, job["memory"])
        if os.environ.get("LAB_DEBUG"):
            import traceback

            traceback.print_exc()
        content = json.dumps({"kind": kind, "message": message[:MAX_MESSAGE]})
        (folder / "error.json").write_text(content, encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # neither threads that go on nor what is registered for the end of Python


def _described(error: BaseException, target: str, memory: float) -> tuple[str, str]:
    """(kind, message) of what ended the capture."""
    chain: BaseException | None = error
    for _ in range(100):  # a chain of causes may be a ring
        if chain is None:
            break
        if isinstance(chain, MemoryError) or "can't allocate memory" in str(chain):
            advice = f"LAB_CHILD_MEMORY={2 * memory:.0f} in the environment gives it more."
            return "ChildError", f"{target}: its code takes more than {memory:,.0f} MB of memory. {advice}"
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, LabError):
        return type(error).__name__, str(error)
    where = _raised_at(error)
    if isinstance(error, SystemExit):
        return "TargetError", f"{target}: its code ends Python{where} (sys.exit or the like). Take the call out."
    return "TargetError", f"{target}: its code ends{where} with {type(error).__name__}: {error}"


def _raised_at(error: BaseException) -> str:
    """The innermost line that raised."""
    at, frame = error.__traceback__, None
    while at is not None:
        frame, number, at = at.tb_frame, at.tb_lineno, at.tb_next
    return f" at {_file(frame)}, line {number}" if frame is not None else ""


def _file(frame: FrameType) -> str:
    return os.path.basename(frame.f_code.co_filename)


def _set_limits(seconds: float, memory: float) -> None:
    """Memory beyond what is in use now, size of files, processor time; nothing where the system has no such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    in_use = _in_use()
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": MAX_FILE,
        "RLIMIT_CPU": int(seconds * (os.cpu_count() or 1)) + 10,  # ends a loop even where the caller was killed
    }
    if in_use is not None:  # threads reserve addresses that they never use: those have more room than the data
        limits["RLIMIT_DATA"] = in_use[0] + int(memory * 2**20)
        limits["RLIMIT_AS"] = in_use[1] + int(memory * 2**20) + 16 * 2**30
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _in_use() -> tuple[int, int] | None:
    """Bytes of data and of addresses in use, as Linux counts them; None elsewhere."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        sizes = {key: int(value.split()[0]) * 1024 for key, _, value in (x.partition(":") for x in text.splitlines())
                 if key in ("VmData", "VmSize")}  # fmt: skip
        return sizes["VmData"], sizes["VmSize"]
    except (OSError, KeyError, ValueError):
        return None
