"""What a notebook says where a cell was skipped or an exercise is open, and what the first cell checks."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from lab import _place, ready
from lab.errors import LabError
from lab.ready import NotReady

ABOVE = "Run > Run All Above Selected Cell, then run this one again."


def executed(*cells: str) -> list[NotebookNode]:
    """The one output of each cell after `set_up()`, called twice."""
    first = "from lab.classroom import set_up\nset_up()\nset_up()"
    notebook = new_notebook(cells=[new_code_cell(source) for source in (first, *cells)])
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=120).execute()
    assert not notebook.cells[0].outputs
    return [cell.outputs[0] for cell in notebook.cells[1:]]


# -- errors in one line ------------------------------------------------------------------------------------------------


def test_what_is_shown() -> None:
    skipped, typo, inside, open_one, other, library, unbound, end = executed(
        "plots = 1\nprint(my_net)",
        "my_history = 1\nmy_histroy",
        "def answer():\n    return not_made + 1\nanswer()",
        "# EXERCISE 3, one line\ndef third():\n    # YOUR CODE HERE\n    raise NotImplementedError()\nthird()",
        "def other():\n    raise NotImplementedError('mine')\nother()",
        "from torch import nn\nnn.Module()(1)",
        "def f():\n    x += 1\nf()",
        "1 / 0",
    )
    assert {o.output_type for o in (skipped, typo, inside, open_one, other, library, unbound, end)} == {"error"}
    assert [o.ename for o in (skipped, typo, inside)] == ["NameError"] * 3
    assert [o.ename for o in (open_one, other, library)] == ["NotImplementedError"] * 3
    why = f"it is made in an earlier cell that has not run, or has failed. {ABOVE}"
    assert skipped.traceback == [f"`my_net` is not there yet (line 2: `print(my_net)`): {why}"]
    assert skipped.evalue == "name 'my_net' is not defined"
    assert typo.traceback == [
        f"`my_histroy` is not there yet (line 2: `my_histroy`): {why} Or did you mean `my_history`?"
    ]
    assert inside.traceback == [f"`not_made` is not there yet (line 2: `return not_made + 1`): {why}"]
    still = "Exercise 3 is still open: write your answer in the cell that begins with # EXERCISE 3."
    assert open_one.traceback == [still]
    for left_alone in (other, library, unbound, end):
        assert len(left_alone.traceback) > 1, left_alone.traceback


def test_an_open_exercise_is_named_in_the_cell_that_uses_it() -> None:
    _, used = executed("# EXERCISE 5\ndef fifth():\n    raise NotImplementedError()\n1", "fifth()")
    assert used.traceback[0].startswith("Exercise 5 is still open")


def test_outside_ipython_it_does_nothing_and_does_not_import_it() -> None:
    program = "import sys; from lab.classroom import set_up; set_up(); set_up(); sys.exit('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- is this Python ready? ---------------------------------------------------------------------------------------------


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """versions(torch="2.4.0"): other versions than the installed ones; None hides a package."""
    real = ready._version

    def change(**others: str | None) -> None:
        monkeypatch.setattr(ready, "_version", lambda it: others.get(it.name, real(it)))

    return change


def test_this_python_is_ready() -> None:
    ready.check_versions()
    ready.check_packages()
    assert {"torch", "numpy"} <= {package.name for package in ready.needs()}


def test_an_old_torch(versions: Callable[..., None]) -> None:
    versions(torch="2.11.0+cu128")
    ready.check_versions()
    versions(torch="2.4.0+cu121", click=None)
    with pytest.raises(NotReady) as error:
        ready.check_versions()
    floor = next(package.specifier for package in ready.needs() if package.name == "torch")
    assert str(error.value) == (
        f"too old: torch 2.4.0+cu121 (the lab needs {floor}). "
        f"Run `pip install --upgrade 'torch{floor}'`, then restart the kernel."
    )


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready.sys, "version_info", (3, 9, 1))
    with pytest.raises(NotReady, match=r"the lab needs 3\.10 or newer"):
        ready.check_versions()


def test_an_installed_lab_knows_what_it_needs_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from_file = {package.name for package in ready.needs()}
    monkeypatch.setattr(_place, "PACKAGE", tmp_path / "lab")
    (tmp_path / "requirements.txt").write_text("somebody-elses>=9")
    lines = [f"{name}>=1" for name in from_file] + ['pytest>=8; extra == "dev"', 'tomli>=2; python_version < "3"']
    monkeypatch.setattr(ready.importlib.metadata, "requires", lambda name: lines if name == "lab994" else None)
    assert {package.name for package in ready.needs()} == from_file


def test_missing_packages_are_named(versions: Callable[..., None]) -> None:
    versions(torchsummary=None, nbval=None)
    with pytest.raises(NotReady, match=r"Run `pip install 'torchsummary>=[\d.]+'`, then restart"):
        ready.check_packages()


def test_missing_packages_are_fetched_and_what_they_need_and_nothing_else(
    versions: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    hidden: dict[str, str | None] = {"torchsummary": None, "fresh": None}
    versions(**hidden)
    needed = {"torchsummary": ["torch>=99", "fresh>=1"], "fresh": ["numpy"]}
    monkeypatch.setattr(ready.importlib.metadata, "requires", lambda name: needed.get(name))
    monkeypatch.setattr(ready.subprocess, "run", lambda c, **_: commands.append(c[1:]) or SimpleNamespace(returncode=0))
    ready.install_missing()
    pip = ["-m", "pip", "install", "--quiet", "--no-deps"]
    assert [command[:5] for command in commands] == [pip, pip]
    assert [command[5:] for command in commands] == [["torchsummary>=1.5.1"], ["fresh>=1"]]


def test_pip_that_fails(versions: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    versions(torchsummary=None)
    failed = SimpleNamespace(returncode=1, stderr="no route to host\n")
    monkeypatch.setattr(ready.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(NotReady, match=r"pip could not fetch torchsummary: is there a network\? .*\nno route to host"):
        ready.install_missing()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_cache_that_can_be_used(empty_cache: Path) -> None:
    ready.check_cache()
    assert list(empty_cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_cache.write_text("a file")
    with pytest.raises(
        NotReady,
        match=r"can't be kept in .*cache: .* Set the environment variable LAB_CACHE to a folder that you may write to",
    ):
        ready.check_cache()
    monkeypatch.setenv("LAB_DATA", "/somewhere")
    ready.check_cache()


def test_a_full_disk(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20 << 20))
    with pytest.raises(NotReady, match="20 MB are free there") as error:
        ready.check_cache()
    assert isinstance(error.value, LabError)
    raw = empty_cache / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").touch()
    ready.check_cache()
