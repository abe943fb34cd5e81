"""Attacks on the data, on other hand-ins and on the machine (lines 26 and 28 to 37 of the list)."""

from attack import RIGHT, WRONG, Attack, answer, earns

_LOOT = """import glob, os
def out_size(*given):
    found = [repr(dict(os.environ))]
    names = ["$LABELS", *glob.glob(os.path.expanduser("~/*")), *glob.glob("/proc/*/environ")]
    for name in names:
        try:
            found.append(open(name, "rb").read().decode("latin-1"))
        except OSError:
            pass
    raise ValueError(" ".join(one for one in found if "label" in one)[-3000:] or "nothing")
"""

_PARENT = """import os, re
def out_size(*given):
    for process in (os.getppid(), 1, *(int(one) for one in os.listdir("/proc") if one.isdigit())):
        for name in ("environ", "cmdline"):
            try:
                found = re.search(rb"label[0-9a-f]{16}", open(f"/proc/{process}/{name}", "rb").read())
            except OSError:
                continue
            if found and process != os.getpid():
                raise ValueError(found.group().decode())
    raise ValueError("nothing")
"""

_DIGITS = """import os
def out_size(*given):
    found = [os.path.join(folder, name) for folder, _, names in os.walk("/") for name in names
             if name.startswith(("t10k-", "labels.json")) or name == "mnist_994_solved.ipynb"
             or folder.endswith("lab/checks") and name != "__init__.py"]
    raise ValueError("FOUND " + " ".join(found) if found else "nothing is there")
"""

_CONNECTS = """import socket
def connect(kind, address):
    try:
        with socket.socket(kind) as line:
            line.settimeout(1)
            line.connect(address)
    except (OSError, AttributeError):
        pass
connect(socket.AF_INET, ("127.0.0.1", $PORT))
connect(socket.AF_UNIX, "\\0$LEFT")
"""

_IO_URING = """import ctypes, os
def out_size(*given):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0:
        return 26
    return 0
"""

_CHILD = """import os, signal, sys, time
def child():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", "$MARK"])
"""

_FORKS = (
    _CHILD
    + """
for _ in range(min($MANY, 100_000)):
    try:
        child()
    except OSError:
        pass
"""
)

_THREADS = """import threading, time
for _ in range(100_000):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        pass
"""

_DISK = """import os
name = "$MARKER" if $MANY < 10 else "big"
for number in range(min($MANY, 10_000)):
    with open(name if $MANY < 10 else f"big{number}", "wb") as file:
        file.write(bytes(2**20))
"""

_NODES = """import os
for number in range(100_000):
    os.mkdir(f"folder{number}")
"""

_STUBBORN = """import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
def out_size(*given):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""

ATTACKS = [
    Attack(
        26,
        "labels-from-disk",
        "reads a file of labels from the home folder and the environment, and tells it in an error's message",
        "the labels are in the message",
        answer(_LOOT),
        earns("nothing"),
        frozenset({"leak"}),
        quick=True,
    ),
    Attack(
        26,
        "labels-from-a-parent",
        "looks through /proc for the environment and the arguments of its parent and of all others",
        "the grader's environment holds the secret",
        answer(_PARENT),
        earns("nothing"),
        frozenset({"leak"}),
    ),
    Attack(
        26,
        "labels-from-anywhere",
        "walks the whole file system for MNIST's test files, the solved notebook and the lab's own checks",
        "they lie in the cache, in the clone and in the installed package",
        answer(_DIGITS),
        earns("nothing is there"),
    ),
    Attack(
        28,
        "swapped-data",
        "writes over the file of labels",
        "every later hand-in is measured on labels of the student's",
        answer("try:\n    open('$LABELS', 'w').write('mine')\nexcept OSError:\n    pass\n" + WRONG),
        earns(),
        frozenset({"data"}),
    ),
    Attack(
        29,
        "left-for-the-next",
        "leaves files in /tmp and /dev/shm, for the next hand-in to find",
        "they are there when the next one runs",
        answer(
            "for folder in ('/tmp', '/dev/shm'):\n    try:\n        open(f'{folder}/$LEFT', 'w').write('26')\n"
            "    except OSError:\n        pass\n" + WRONG
        ),
        earns(),
        frozenset({"left"}),
    ),
    Attack(
        29,
        "shared-memory",
        "makes a segment of shared memory that outlives its process",
        "the next hand-in opens it by its name",
        answer(
            "try:\n    import _posixshmem, os\n"
            "    _posixshmem.shm_open('/$LEFT', os.O_CREAT | os.O_RDWR, mode=0o600)\n"
            "except OSError:\n    pass\n" + WRONG
        ),
        earns(),
        frozenset({"left"}),
    ),
    Attack(
        30,
        "connects",
        "connects to a port on this machine, and to a socket without a file",
        "whoever listens there gets the test images, or sends the answers",
        answer(_CONNECTS + WRONG),
        earns(),
        frozenset({"connection"}),
        quick=True,
    ),
    Attack(
        30,
        "io-uring",
        "asks the kernel for io_uring, which passes by filters of system calls",
        "whatever the filter refuses can be done after all",
        answer(_IO_URING),
        earns(),
    ),
    Attack(
        31,
        "endless-loop",
        "loops without an end, and ignores every signal and exception",
        "Ctrl-C and SIGTERM do not end it: the batch stands still",
        answer(_STUBBORN),
        earns("takes too long"),
        frozenset({"stopped"}),
    ),
    Attack(
        31,
        "endless-definition",
        "loops without an end in the cell itself",
        "the batch stands still",
        answer("while True:\n    pass\n" + WRONG),
        earns("takes too long"),
        frozenset({"stopped"}),
    ),
    Attack(
        32,
        "kills-its-parent",
        "kills the process that started it, and the first one",
        "the whole batch is gone",
        answer(
            "import os\nfor process in (os.getppid(), 1):\n    try:\n        process > 1 and os.kill(process, 9)\n"
            "        process == 1 and os.getpid() < 50 and os.kill(1, 9)\n    except OSError:\n        pass\n" + WRONG
        ),
        earns(),
        frozenset({"stopped"}),
    ),
    Attack(
        32,
        "crashes",
        "reads from address 0",
        "the grader's own process ends by a signal; no exception can be caught",
        answer("import ctypes\nctypes.string_at(0)\n" + WRONG),
        earns("ends the session"),
    ),
    Attack(
        33,
        "forks",
        "starts processes without an end, each in a session of its own",
        "they go on when the grader is killed, until the machine takes no more",
        answer(_FORKS + WRONG),
        earns(),
        frozenset({"process"}),
    ),
    Attack(
        33,
        "threads",
        "starts threads without an end",
        "the user may start nothing any more: not tried in the open",
        answer(_THREADS + WRONG),
        earns(),
    ),
    Attack(
        34,
        "fills-memory",
        "takes memory without an end",
        "the kernel kills something, and not always this: not tried in the open",
        answer("kept = []\nwhile True:\n    kept.append(b'1' * 2**24)\n" + WRONG),
        earns("emory"),
    ),
    Attack(
        34,
        "fills-the-disk",
        "writes files without an end",
        "the disk is full",
        answer(_DISK + WRONG),
        earns(),
        frozenset({"file"}),
    ),
    Attack(
        34,
        "fills-inodes",
        "makes folders without an end",
        "nobody can make a file any more: not tried in the open",
        answer(_NODES + WRONG),
        earns("files"),
    ),
    Attack(
        35,
        "prints-gigabytes",
        "prints without an end",
        "the log fills the disk or the grader's memory",
        answer("import sys\nfor _ in range($MANY):\n    sys.stdout.write('9' * 2**20)\n" + WRONG),
        earns("printed"),
        frozenset({"printed"}),
    ),
    Attack(
        36,
        "outlives-the-limit",
        "leaves a grandchild in a session of its own that ignores what ends others",
        "it computes, or waits for the next hand-in, when the grader has long ended",
        answer(_CHILD + "child()\n" + RIGHT["out-size"]),
        earns(out_size=1),
        frozenset({"process"}),
        quick=True,
    ),
    Attack(
        37,
        "sleeps",
        "sleeps until somebody ends it",
        "each of its calls takes the whole time that one may take",
        answer("import time\ndef out_size(*given):\n    time.sleep(10**6)\n"),
        earns("takes too long"),
        frozenset({"stopped"}),
    ),
]
