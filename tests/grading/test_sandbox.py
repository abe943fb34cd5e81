"""The sandbox: what it gives to the code inside, how it ends, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.errors import SandboxError
from lab.grading import _cgroup, _seccomp, sandbox
from lab.grading.answers import Session
from lab.grading.sandbox import Ended, Limits, Sandbox, for_session

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is a sandbox on Linux alone")

NOBODY = 65534


def running(code: str, **options: object) -> Sandbox:
    """A sandbox in which the code is executed, by Python's own timeit."""
    return Sandbox("timeit", arguments=["-n", "1", "-r", "1", code], **options)  # type: ignore[arg-type]


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def ended(closed_off: Sandbox, seconds: float = 20.0) -> Ended:
    """Why it has ended."""
    with closed_off:
        while True:
            try:
                closed_off.receive(1, soon(seconds))
            except Ended as ended:
                return ended


def printed(code: str, **options: object) -> str:
    """What the code prints, before it ends by itself."""
    closed_off = running(code, **options)
    ended(closed_off)
    return closed_off.printed


def test_the_machine_s_memory_ends_for_the_sandbox_first() -> None:
    assert printed("print(open('/proc/self/oom_score_adj').read())").startswith("1000")


# -- a line of bytes --------------------------------------------------------------------------------------------------


def test_what_is_sent_comes_back_whole_in_both_directions() -> None:
    content = os.urandom(1 << 20)
    with running("import os\nrest = 1 << 20\nwhile rest: rest -= os.write(4, os.read(3, min(rest, 65536)))") as line:
        back = bytearray()
        sender = threading.Thread(target=line.send, args=(content, soon()))
        sender.start()
        back += line.receive(1 << 20, soon())
        sender.join()
    assert back == content


def test_nothing_until_the_deadline_is_told_as_time_and_what_runs_there_goes_on_until_it_is_closed() -> None:
    with running("import time; time.sleep(600)") as line:
        with pytest.raises(Ended, match="too long") as caught:
            line.receive(1, time.monotonic() + 0.05)
        assert caught.value.limit == "seconds"
        assert lives(line._first.pid)


def test_what_does_not_read_cannot_keep_the_sender_waiting() -> None:
    with running("import time; time.sleep(600)") as line, pytest.raises(Ended):
        line.send(bytes(1 << 22), time.monotonic() + 0.1)


def test_it_works_beside_a_thousand_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with running("import os; os.write(4, b'here')") as line:
            assert line.receive(4, soon()) == b"here"
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- what it finds inside ---------------------------------------------------------------------------------------------


def test_a_quick_run_is_one_inside_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("1", "0"):
        monkeypatch.setenv("LAB_QUICK", value)
        session = Session(for_session(tmp_path))
        session.define("from lab.switches import is_on\nquick = is_on('LAB_QUICK')", "a cell")
        assert session.named("quick") is (value == "1")
        session.close()


def test_what_notebooks_do_works_inside() -> None:
    code = (
        "import lab, torch, tempfile, subprocess, sys, multiprocessing\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "images = TensorDataset(torch.ones(64, 3))\n"
        "print('seen', sum(int(batch[0].sum()) for batch in DataLoader(images, 8, num_workers=2)))\n"
        "print('made', bool(tempfile.NamedTemporaryFile().write(b'x')))\n"
        "print('said', subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True).stdout)\n"
        "print('pooled', multiprocessing.get_context('fork').Pool(2).map(abs, [-1, -2]))\n"
        "print('converted', torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).item())"
    )
    said = printed(code)
    for line in ("seen 192", "made True", r"said b'7\n'", "pooled [1, 2]", "converted 9.0"):
        assert line in said
    assert "rror" not in said


def test_it_finds_one_hand_in_which_it_cannot_change_and_its_data(tmp_path: Path) -> None:
    mine, data = tmp_path / "mine", tmp_path / "data"
    mine.mkdir()
    data.mkdir()
    (tmp_path / "other.py").touch()
    (mine / "net.py").write_text("here", encoding="utf-8")
    (data / "images").write_text("digits", encoding="utf-8")
    code = (
        "import os\n"
        "print(os.listdir('/hand-in'), os.listdir('/data'))\n"
        "print(open('/hand-in/net.py').read(), open('/data/images').read())\n"
        "for path in ('/hand-in/net.py', '/hand-in/new', '/data/images', '/tmp/work/new'):\n"
        "    try: open(path, 'w'); print('open', path)\n"
        "    except OSError as error: print(error.strerror)"
    )
    said = printed(code, hand_in=mine, data=data)
    assert "['net.py'] ['images']\nhere digits" in said
    assert said.count("Read-only file system") == 3
    assert "open /tmp/work/new" in said
    assert printed("import os; print(os.listdir('/hand-in'))", hand_in=mine / "net.py").startswith("['net.py']")
    assert (mine / "net.py").read_text(encoding="utf-8") == "here"


def test_a_link_is_no_hand_in(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "mine").symlink_to("other")
    with pytest.raises(SandboxError, match="is a link"):
        running("pass", hand_in=tmp_path / "mine")


def test_the_lab_is_there_without_its_right_answers_and_without_where_it_was_installed() -> None:
    code = (
        "import lab, lab.checks, importlib.metadata as m\n"
        "print(lab.__file__, lab.checks.out_size(3), hasattr(lab.checks, 'formulas'))\n"
        "print(m.files('lab994') or 'no files')"
    )
    said = printed(code)
    assert "/opt/lab994/lab/__init__.py None True" in said  # whatever is asked for is a check that does nothing
    assert "no files" in said


def test_an_installed_lab_is_covered_in_every_folder_of_packages(tmp_path: Path) -> None:
    for name in ("lab/checks", "lab994-0.1.0.dist-info", "torch"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "__editable__.lab994-0.1.0.pth").touch()
    covered = " ".join(sandbox._covered(tmp_path, "/opt/packages/0"))
    for name in ("lab", "lab994-0.1.0.dist-info"):
        assert f"--tmpfs /opt/packages/0/{name} " in covered
    assert "/dev/null /opt/packages/0/__editable__.lab994-0.1.0.pth" in covered
    assert "torch" not in covered


# -- its end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(0)", "ended Python itself"),
        ("import os; os._exit(3)", "status 3"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("import os; os.kill(os.getppid(), 9); os.abort()", "signal 6"),  # the first process is deaf to those inside
        ("raise ValueError('seven')", "ValueError: seven"),
    ],
)
def test_how_it_ended_is_told(code: str, says: str) -> None:
    why = ended(running(code))
    assert says in str(why)
    assert why.limit == ""


def test_what_it_prints_is_kept_up_to_a_bound_and_harmless() -> None:
    said = printed(r"print('\x1b[2J\x07' + 'x' * 10 ** 6)")
    assert said.startswith(r"\x1b[2J\x07xxx")
    assert len(said) < 2 * sandbox.SHOWN


@pytest.mark.parametrize(
    "code",
    [
        "import os, time; os.close(4); time.sleep(600)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import os\nwhile True: os.write(4, b'garbage')",
        "import os\nwhile True: os.read(3, 1)",
        "import signal\nfor n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "import os, signal\nif os.fork(): os.kill(os.getpid(), 9)\nwhile True: os.setsid(); signal.pause()",
    ],
)
def test_closing_ends_whatever_it_does(code: str) -> None:
    line = running(code)
    time.sleep(0.15)
    first, inside = line._first.pid, line._inside._processes()
    assert inside  # it runs, so that closing has something to end
    started = time.monotonic()
    line.close()
    assert time.monotonic() - started < 2
    assert not lives(first)


def lives(pid: int) -> bool:
    """The dead are there, too, until their parent, which may be the machine's first process, buries them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(") ")[2][:1] not in "ZX"
    except OSError:
        return False


def test_nothing_is_left_of_many_sandboxes() -> None:
    def mine() -> tuple[int, int, int, list[Path]]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii").split()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children), _cgroup.left_over()

    with running("pass"):
        pass
    before = mine()
    for _ in range(5):
        with running("import time; time.sleep(600)"):
            pass
    assert mine() == before


def test_closing_twice_and_reading_afterwards_is_no_fault_of_anybody() -> None:
    line = running("import time; time.sleep(600)")
    line.close()
    line.close()


# -- limits that do not lean on a control group -----------------------------------------------------------------------


@pytest.fixture
def no_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cgroup, "_places", lambda memory, processes: [])


FILL = "import mmap\nheld = []\nwhile True: held.append(mmap.mmap(-1, 10 ** 7)); held[-1].write(bytes(10 ** 7))"


@pytest.mark.usefixtures("no_cgroup")
@pytest.mark.parametrize(
    ("code", "limits", "limit"),
    [
        (FILL, Limits(memory_mb=200), "memory_mb"),
        (f"import os\nfor _ in range(3): os.fork()\n{FILL}", Limits(memory_mb=300), "memory_mb"),
        ("import os, time\nwhile True: os.fork() or time.sleep(600)", Limits(processes=50), "processes"),
        ("while True: pass", Limits(cpu_seconds=0.3), "cpu_seconds"),
        ("import time; time.sleep(600)", Limits(seconds=0.3), "seconds"),
        ("while True: print('x' * 10 ** 6)", Limits(printed_mb=2), "printed_mb"),
        (
            "import os, socket\nfor _ in range(4): os.fork()\nheld = []\nwhile True: held.append(socket.socketpair())",
            Limits(open_files=100),
            "open_files",
        ),
        ("for n in range(10 ** 6): open(f'/dev/shm/{n}', 'w')", Limits(tmp_files=500), "tmp_files"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else None,
)
def test_a_limit_ends_it_by_its_name(code: str, limits: Limits, limit: str) -> None:
    why = ended(running(code, limits=limits))
    assert why.limit == limit
    assert str(why) == limits.words(limit)


def test_memory_that_a_single_process_asks_for_in_vain_is_an_error_that_it_can_handle() -> None:
    code = "try: x = bytes(10 ** 9)\nexcept MemoryError: print('no memory')"
    assert "no memory" in printed(code, limits=Limits(memory_mb=300))


# -- where there can be none ------------------------------------------------------------------------------------------


def test_another_system_is_told_what_linux_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"Linux, WSL or a container"):
        running("pass")


def test_without_bubblewrap_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "find_spec", lambda name: None)
    with pytest.raises(SandboxError, match="pip install"):
        running("pass")


def test_without_libseccomp_it_says_so_and_goes_without_where_that_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> bytes:
        raise RuntimeError("Unable to find libseccomp")

    monkeypatch.setattr(_seccomp, "_filter", missing)
    with pytest.raises(SandboxError, match="apt-get install libseccomp2"):
        running("pass")
    status = printed("print(open('/proc/self/status').read())", accepted=["system calls refused"])
    assert "Seccomp:\t0" in status


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: No permissions to create new namespace, likely because …", "seccomp=unconfined"),
        ("bwrap: Creating new namespace failed: Operation not permitted", "seccomp=unconfined"),
        ("bwrap: Can't set hostname to sandbox: Operation not permitted", "seccomp=unconfined"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
    ],
)
def test_what_bubblewrap_says_is_told_with_what_helps(said: str, advice: str) -> None:
    words = sandbox._in_words(said)
    assert said in words
    assert advice in words


def test_what_cannot_be_watched_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def hidden(first: int) -> None:
        started.append(first)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sandbox, "Inside", hidden)
    with pytest.raises(SandboxError, match=r"can't be watched .*Permission denied"):
        running("import time; time.sleep(600)")
    assert not lives(started[0])


START = "from lab.grading.sandbox import Sandbox; Sandbox('timeit').close(); print('started')"


def outside(*command: str) -> str:
    """What a command prints where this lab is imported."""
    environment = os.environ | {"PYTHONPATH": str(Path(sandbox.__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_where_there_are_no_user_namespaces_it_says_what_to_set() -> None:
    off = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    said = outside("unshare", "--user", "--map-root-user", "sh", "-c", off, sys.executable, START)
    assert "SandboxError: no sandbox can be made here" in said
    assert "sysctl -w user.max_user_namespaces" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="all tests run as an ordinary user")
def test_an_ordinary_user_has_a_sandbox_too(tmp_path: Path) -> None:
    """As nobody, in a mount namespace where /root lets through to the interpreter."""
    base = Path(sys.base_prefix)
    (tmp_path / "kept").mkdir()
    opened = (
        'mount --bind "$2" "$3" && mount -t tmpfs -o mode=755 none /root && mkdir -p "$2" && mount --move "$3" "$2" && '
        if base.is_relative_to("/root")
        else ""
    )
    program = (
        "import lab.grading._cgroup as c; c._places = lambda memory, processes: []\n"
        "from lab.grading.sandbox import Ended, Limits, Sandbox\n"
        f"code = {FILL!r}\n"
        "line = Sandbox('timeit', arguments=['-n', '1', '-r', '1', code], limits=Limits(memory_mb=200))\n"
        "import os, time\n"
        "try: line.receive(1, time.monotonic() + 20)\n"
        "except Ended as ended: print(os.getuid(), 'ended by', ended.limit)"
    )
    command = f'{opened}exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$0" -c "$1"'
    shell = ("unshare", "--mount", "sh", "-c", command, sys.executable, program, str(base), str(tmp_path / "kept"))
    said = outside(*shell)
    assert f"{NOBODY} ended by memory_mb" in said


def test_signals_of_the_grader_do_not_reach_it() -> None:
    """Ctrl-C in the grader's terminal goes to its process group; the sandbox is in another session."""
    with running("import os, time; os.write(4, b'1'); time.sleep(600)") as line:
        line.receive(1, soon())
        assert os.getsid(line._first.pid) != os.getsid(0)
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
