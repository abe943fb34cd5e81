"""A network's code in a process of its own: whatever it does ends in one message, and nothing of it is left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import _child
from lab._child import Child, ChildError, graph_of
from lab._terminal import harmless
from lab.errors import GraphError, LabError
from lab.graph import save
from lab.targets import TargetError, resolve

NET = """
import os, sys, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        {init}

    def forward(self, x):
        {forward}
        return self.fc(x.flatten(1))
"""


@pytest.fixture
def write(tmp_path: Path):
    """Writes a network that does something else, too; gives its TARGET."""

    def write(init: str = "pass", forward: str = "pass") -> str:
        path = tmp_path / "net.py"
        path.write_text(NET.format(init=init, forward=forward), encoding="utf-8")
        return str(path)

    return write


def test_the_graph_is_the_one_that_is_captured_here(write) -> None:
    found, wanted = graph_of(write()), resolve(write())
    assert (found.operations, found.tensors, found.idle) == (wanted.operations, wanted.tensors, wanted.idle)


def test_a_saved_graph_needs_no_process(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(resolve(write()), tmp_path / "saved")
    monkeypatch.setattr(subprocess, "Popen", lambda *rest, **options: pytest.fail("started a process"))
    assert graph_of(str(folder)).parameters == graph_of(f"{folder}/graph.json").parameters == 7850


@pytest.mark.parametrize(
    ("init", "forward", "words"),
    [
        ("sys.exit(0)", "pass", "building the network fails at net.py, line 10"),
        ("pass", "sys.exit(0)", "forward ends Python itself (SystemExit)"),
        ("pass", "raise GeneratorExit", "forward ends Python itself (GeneratorExit)"),
        ("pass", r"os.write(1, b'PASS accuracy: 99.99%\\n'); os._exit(0)", "ended Python with status 0 and left no"),
        ("os.kill(os.getpid(), 11)", "pass", "by the signal SIGSEGV"),
        ("self.x = [bytearray(1 << 28) for _ in range(40)]", "pass", "takes more than 1,024 MB of memory"),
        ("self.x = [torch.zeros(1 << 26) for _ in range(40)]", "pass", "takes more than 1,024 MB of memory"),
    ],
)
def test_what_ends_or_fills_the_process_is_a_message(write, monkeypatch, capfd, init, forward, words) -> None:
    monkeypatch.setenv("LAB_CHILD_MEMORY", "1024")
    with pytest.raises(LabError) as caught:
        graph_of(write(init, forward))
    assert words in str(caught.value)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert all(line.startswith("| ") for line in printed.err.splitlines())


@pytest.mark.parametrize("forever", ["while True: pass", "time.sleep(1000)"])
def test_a_loop_ends_with_the_time(write, monkeypatch, forever) -> None:
    monkeypatch.setenv("LAB_CHILD_SECONDS", "1.5")
    started = time.monotonic()
    with pytest.raises(ChildError, match=r"no network after 1\.5 s\. Is there an endless loop"):
        graph_of(write(forever))
    assert time.monotonic() - started < 8


def test_no_process_outlives_the_answer(write, tmp_path: Path) -> None:
    """Neither a fork, nor one that has left the group: it would overwrite the result later."""
    note = tmp_path / "alive"
    code = f"""
        for leave in (False, True):
            if os.fork() == 0:
                if leave: os.setsid()
                while True:
                    open({str(note)!r}, "a").write("x"); time.sleep(0.05)
"""
    graph_of(write(code.strip()))
    size = note.stat().st_size if note.exists() else 0
    time.sleep(0.4)
    assert (note.stat().st_size if note.exists() else 0) == size


def test_many_processes_are_ended(write, monkeypatch) -> None:
    monkeypatch.setattr(_child, "MAX_PROCESSES", 5)
    code = "[os.fork() or time.sleep(1000) for _ in range(20)]; time.sleep(1000)"
    with pytest.raises(ChildError, match="started more than 5 processes"):
        graph_of(write(code))


def test_what_is_printed_is_bounded_and_harmless(write, monkeypatch, capfd) -> None:
    graph_of(write("print('seen \\x1b[2J' + 'x' * 100_000)"))
    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("| seen \\x1b[2Jxxx")
    assert len(seen.err) < 20_000
    assert "bytes more" in seen.err
    monkeypatch.setattr(_child, "MAX_PRINTED", 10**6)
    with pytest.raises(ChildError, match="printed more than"):
        graph_of(write("while True: print('x' * 10_000)"))


def test_the_judge_here_is_not_the_one_that_is_replaced_there(write) -> None:
    graph_of(write("import lab.runs, lab.rules; lab.runs.judge = lab.rules.judge = None"))
    from lab import rules, runs

    assert callable(runs.judge)
    assert callable(rules.judge)


def test_errors_keep_their_kind(write, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot read"):
        graph_of(str(tmp_path / "gone.py"))
    with pytest.raises(GraphError):
        graph_of(write(), (1, 30, 30))
    with pytest.raises(TargetError, match=r"not \\x1b a network"):
        graph_of(write("raise ValueError('not \\x1b a network')"))


@pytest.mark.parametrize("made", ["os.mkfifo({path!r})", "os.symlink('/dev/zero', {path!r})"])
@pytest.mark.parametrize("name", ["error.json", "graph/graph.json"])
def test_what_lies_in_place_of_the_result_is_not_read(write, made, name) -> None:
    """The code finds the folder in the frames above it."""
    code = f"""
        f = sys._getframe()
        while 'job' not in f.f_locals: f = f.f_back
        path = os.path.join(f.f_locals['job']['folder'], {name!r})
        os.makedirs(os.path.dirname(path), exist_ok=True)
        {made.format(path="PATH").replace("'PATH'", "path")}
        os._exit(0)
"""
    with pytest.raises(ChildError):
        graph_of(write(code.strip()))


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
def test_limits_that_are_none(monkeypatch, write, value) -> None:
    monkeypatch.setenv("LAB_CHILD_SECONDS", value)
    with pytest.raises(ChildError, match=r"LAB_CHILD_SECONDS=.* not a number above 0"):
        Child(write())


def test_a_folder_called_lab_is_not_the_lab(write, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("raise SystemExit(0)")
    target = write()
    monkeypatch.chdir(tmp_path)
    assert graph_of(target).parameters == 7850


def test_harmless() -> None:
    assert harmless("plain, ünïcode 手\n\ttoo") == "plain, ünïcode 手\n\ttoo"
    assert harmless("\x1b]0;x\x07\r\x9b\u202e\u2028\ud800") == r"\x1b]0;x\x07\r\x9b\u202e\u2028\ud800"


def test_starting_a_child_imports_no_torch() -> None:
    program = "import sys, lab._child; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == 0
