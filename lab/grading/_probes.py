"""Attempts to break out of a sandbox, or to take more than it allows: `lab doctor` runs them inside.

    python -m lab.grading._probes               # what can be seen and touched
    python -m lab.grading._probes NAME JSON     # a limit

The JSON, read from file descriptor 3 in the first case, is what the outside gives away to make it easy.

A probe of what can be seen and touched returns what it managed, one text for each feat; none is the right number. A
probe of a limit goes on until it is stopped, and prints what it has taken. No torch is imported here.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

Given = dict[str, Any]
REQUESTS, ANSWERS = 3, 4
_MIB = 2**20

# -- what can be seen and touched -------------------------------------------------------------------------------------


def network(given: Given) -> list[str]:
    """Reach a server that listens on this machine, or any other."""
    managed = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", given["port"])),
        (socket.AF_INET6, ("::1", given["port"])),
        (socket.AF_INET, ("1.1.1.1", 53)),
        (socket.AF_UNIX, given["abstract"]),
        (socket.AF_UNIX, given["path"]),
    ):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as line:
            line.settimeout(0.2)
            line.connect(address)
            managed.append(f"a connection to {address!r}")
    lines = _read("/proc/net/dev").decode("latin-1").splitlines()[2:]
    managed += [f"the interface {name}" for name in (line.split(":")[0].strip() for line in lines) if name != "lo"]
    return managed


def files(given: Given) -> list[str]:
    """Read files that are not for it, by their names, and past every process's root and folder."""
    managed = []
    for path in given["paths"]:
        way = next((start for start in ("", *_ways_out()) if _read(start + path)), None)
        managed += [f"{way}{path}"] if way is not None else []
    for folder in given["folders"]:
        with contextlib.suppress(OSError):
            managed += [f"{folder}/{name}" for name in sorted(set(os.listdir(folder)) & set(given["names"]))]
    return managed


def _ways_out() -> Iterator[str]:
    for pid in _processes():
        yield from (f"/proc/{pid}/root", f"/proc/{pid}/cwd/../../../../..")
    yield "/tmp/../../../.."
    yield "/hand-in/../../../../.."


def environment(given: Given) -> list[str]:
    """Find a token of the grader's environment in any process."""
    token = given["canary"].encode()
    managed = [f"its own {name}" for name, value in os.environ.items() if given["canary"] in value]
    managed += [f"/proc/{pid}/environ" for pid in _processes() if token in _read(f"/proc/{pid}/environ")]
    return managed


def left_behind(given: Given) -> list[str]:
    """Leave something for the next hand-in, or find what another one has left."""
    name, managed = given["name"], []
    for folder in ("/tmp", "/dev/shm", "/tmp/work", "/tmp/home", "/hand-in", "/dev", "/"):
        path = Path(folder) / name
        if path.exists():
            managed.append(f"{path}, left by another")
        with contextlib.suppress(OSError):
            path.write_text("left")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.connect(f"\0{name}")
        managed.append("a socket without a file, left by another")
    segment = _call("shmget", 0x994994, 4096, 0o1666)
    if segment is not None and segment >= 0:
        managed.append("shared memory of System V")
    return managed


def answers(given: Given) -> list[str]:
    """Find the right answers: the checks, the notebooks' sources, the tests."""
    managed = [path for path in given["paths"] if _read(path)]
    from lab import checks

    if hasattr(checks, "formulas") and hasattr(checks.formulas, "__file__"):
        managed.append("lab.checks as it is")
    for top in given["tops"]:
        for folder, _, names in os.walk(top):
            managed += [f"{folder}/{name}" for name in set(names) & set(given["names"]) if "lab" in folder.split("/")]
    return managed


def writing(given: Given) -> list[str]:
    """Change the system: its settings, its files, what is mounted, its devices."""
    managed = []
    for top in ("/proc/sys", "/proc/self/../sys", "/sys"):
        for folder, _, names in os.walk(top):
            managed += [f"{folder}/{name}" for name in names if _opens(f"{folder}/{name}")]
    for line in _read("/proc/self/mountinfo").decode("utf-8", "replace").splitlines():
        mounted = line.split()[4]
        if mounted.startswith(("/tmp", "/dev/shm", "/dev/pts", "/proc")):
            continue
        if os.path.isdir(mounted):
            with contextlib.suppress(OSError):
                os.close(os.open(f"{mounted}/lab-doctor", os.O_WRONLY | os.O_CREAT, 0o600))
                managed.append(f"{mounted}/lab-doctor")
        elif not mounted.startswith("/dev/") and _opens(mounted):
            managed.append(mounted)
    for path in given["paths"]:
        managed += [f"{path} is open"] if _opens(path) else []
        with contextlib.suppress(OSError):
            os.chmod(path, os.stat(path).st_mode)
            managed.append(f"{path}: its mode")
        with contextlib.suppress(OSError):
            os.utime(path)
            managed.append(f"{path}: its times")
    return managed


def processes(given: Given) -> list[str]:
    """See a process outside, or be allowed to signal one; no signal is sent: it would arrive where the claim fails."""
    token, managed = given["canary"].encode(), []
    own = os.getpid()
    for pid in _processes():
        if pid != own and token in _read(f"/proc/{pid}/cmdline"):
            managed.append(f"process {pid} is seen")
    for pid in given["pids"]:
        if pid not in _processes():
            with contextlib.suppress(OSError):
                os.kill(pid, 0)
                managed.append(f"process {pid} can be signalled")
    if os.getppid() > 1 or len(_processes()) > 3:
        managed.append(f"{len(_processes())} processes are seen")
    return managed


def calls(given: Given) -> list[str]:
    """Make the system calls that are refused, and those of new namespaces and of the network."""
    managed = []
    for name, number in given["numbers"].items():
        if _number_call(number) not in (errno.EPERM, errno.ENOSYS):
            managed.append(name)
    library = ctypes.CDLL(None, use_errno=True)
    for flag in (0x10000000, 0x00020000, 0x40000000):  # CLONE_NEWUSER, NEWNS, NEWNET
        if library.unshare(flag) == 0:
            managed.append(f"unshare({flag:#x})")
    for family in range(2, 46):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM):
            managed.append(f"a socket of the family {family}")
    if library.prctl(4, 0, 0, 0, 0) == 0:
        managed.append("prctl(PR_SET_DUMPABLE)")
    status = dict(line.split(":\t", 1) for line in _read("/proc/self/status").decode().splitlines() if ":\t" in line)
    if int(status.get("CapEff", "0"), 16) or int(status.get("CapBnd", "0"), 16):
        managed.append("capabilities")
    if status.get("NoNewPrivs") != "1":
        managed.append("new privileges")
    return managed


def _call(name: str, *arguments: int) -> int | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return int(function(*arguments)) if function is not None else None


def _number_call(number: int) -> int:
    """The error of a system call with zeros for arguments; 0 where there is none."""
    library = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    return ctypes.get_errno() if library.syscall(number, 0, 0, 0, 0, 0, 0) == -1 else 0


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(number, "rb") as file:
            return file.read(1 << 20)
    return b""


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


SEEN: dict[str, Callable[[Given], list[str]]] = {
    "network": network,
    "home": files,
    "data": files,
    "other": files,
    "left": left_behind,
    "environment": environment,
    "answers": answers,
    "writing": writing,
    "processes": processes,
    "calls": calls,
}

# -- limits -----------------------------------------------------------------------------------------------------------


def endless(given: Given) -> NoReturn:
    """Sleep for ever, deaf to every signal."""
    _ignore_signals()
    while True:
        time.sleep(1)


def burn(given: Given) -> NoReturn:
    """Take the processor: by itself, and by children that nobody waits for."""
    _ignore_signals()
    while True:
        if os.fork() == 0:
            ends = time.process_time() + 0.1
            while time.process_time() < ends:
                pass
            os._exit(0)
        time.sleep(0.02)


def fill_alone(given: Given) -> NoReturn:
    """Memory of one process, and memory that it shares with nobody but could."""
    held: list[Any] = []
    for size in count(10, 10):
        block = mmap.mmap(-1, 10 * _MIB)  # shared: not counted as a process's data
        for page in range(0, 10 * _MIB, mmap.PAGESIZE):
            block[page] = 1
        held.append(block)
        _say(size)
    raise AssertionError


def fill_together(given: Given) -> NoReturn:
    """Memory of many processes, each with less than is allowed."""
    reading, writing = os.pipe()
    for _ in range(8):
        if os.fork() == 0:
            held: list[bytes] = []
            with contextlib.suppress(MemoryError):
                while len(held) < given["each"] // 10:
                    held.append(b"x" * 10 * _MIB)
                    os.write(writing, b"x")
            while True:
                time.sleep(1)
    for size in count(10, 10):
        os.read(reading, 1)
        _say(size)
    raise AssertionError


def fill_sockets(given: Given) -> NoReturn:
    """Memory of the kernel's, in what was sent and is not read."""
    held, sent = [], 0
    for _ in range(5):
        os.fork()
    while True:
        with contextlib.suppress(OSError):
            pair = socket.socketpair()
            held.append(pair)
            pair[0].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += pair[0].send(bytes(1 << 16))
        _say(sent / _MIB)


def fill_data(given: Given) -> NoReturn:
    """Memory of one process, in the plain way."""
    held: list[bytes] = []
    try:
        for size in count(10, 10):
            held.append(b"x" * 10 * _MIB)
            _say(size)
    except MemoryError:
        del held[:]
    _stop()


def fork_bomb(given: Given) -> NoReturn:
    """Processes and threads without end."""
    _ignore_signals()
    threading.stack_size(1 << 16)  # memory is another limit
    for number in count(1):
        try:
            if number % 2:
                threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            elif os.fork() == 0:
                while True:
                    time.sleep(1000)
        except (OSError, RuntimeError):
            _stop()
        _say(number)
    raise AssertionError


def fill_disk(given: Given) -> NoReturn:
    """Files, in every folder that can be written, removed ones among them, and one larger than a file may be."""
    written = 0.0
    for folder in ("/tmp", "/dev/shm"):
        for number in count():
            try:
                file = os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT)
                if number % 2:
                    os.unlink(f"{folder}/{number}")
                for _ in range(5):
                    written += os.write(file, b"x" * _MIB) / _MIB
                    _say(written)
            except OSError:
                break
    _stop()


def large_file(given: Given) -> NoReturn:
    """One file without end."""
    with contextlib.suppress(OSError), open("/tmp/large", "wb", buffering=0) as file:
        for size in count(1):
            file.write(b"x" * _MIB)
            _say(size)
    _stop()


def many_files(given: Given) -> NoReturn:
    """Empty files without end, folders, links and pipes among them."""
    for number in count(1):
        try:
            os.mkdir(f"/tmp/{number}") if number % 2 else os.mkfifo(f"/dev/shm/{number}")
        except OSError:
            _stop()
        if number % 100 == 0:
            _say(number)
    raise AssertionError


def open_files(given: Given) -> NoReturn:
    """Open files without end."""
    held = []
    for number in count(1):
        try:
            held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            _stop()
        _say(number)
    raise AssertionError


def print_on(given: Given) -> NoReturn:
    """Print for ever."""
    line = b"x" * 65536
    while True:
        os.write(1, line)


def daemons(given: Given) -> NoReturn:
    """Leave processes that belong to nobody, deaf to every signal, and end."""
    _ignore_signals()
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with contextlib.suppress(OSError):
                    os.setpgid(0, 0)
                while True:
                    time.sleep(1)
            os._exit(0)
    time.sleep(0.1)
    os._exit(0)


def _ignore_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)


def _say(taken: float) -> None:
    os.write(ANSWERS, struct.pack(">d", taken))


def _stop() -> NoReturn:
    """It got no more."""
    os._exit(0)


TAKEN: dict[str, Callable[[Given], NoReturn]] = {
    function.__name__: function
    for function in (
        endless,
        burn,
        fill_alone,
        fill_together,
        fill_sockets,
        fill_data,
        fork_bomb,
        fill_disk,
        large_file,
        many_files,
        open_files,
        print_on,
        daemons,
    )
}


def main() -> None:
    """Make the attempts that were named."""
    if len(sys.argv) > 1:
        TAKEN[sys.argv[1]](json.loads(sys.argv[2]))
    requests = os.fdopen(REQUESTS, "rb")
    (size,) = struct.unpack(">I", requests.read(4))
    given = json.loads(requests.read(size))
    content = json.dumps({each: SEEN[each](given[each]) for each in SEEN if each in given}).encode()
    os.write(ANSWERS, struct.pack(">I", len(content)))
    view = memoryview(content)
    while view:
        view = view[os.write(ANSWERS, view) :]


if __name__ == "__main__":
    main()
