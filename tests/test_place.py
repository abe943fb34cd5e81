"""A clone or an installed lab, and what takes the lab's name; and what `import lab` changes."""

import functools
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lab
from lab import LabError, _place
from lab.cli import main

ROOT = Path(lab.__file__).resolve().parent.parent


def test_this_is_a_clone():
    assert _place.root() == ROOT
    assert (_place.root() / "requirements.txt").is_file()


@pytest.mark.parametrize("beside", [None, '[project]\nname = "another"\n', '[project]\ndescription = "lab994"\n'])
def test_what_lies_beside_an_installed_lab_is_not_its_own(monkeypatch, tmp_path, beside):
    monkeypatch.setattr(_place, "PACKAGE", tmp_path / "lab")
    (tmp_path / "requirements.txt").write_text("stray")
    (tmp_path / "notebooks").mkdir()
    if beside is not None:
        (tmp_path / "pyproject.toml").write_text(beside)
    assert _place.root() is None


def test_a_folder_that_takes_the_labs_name_is_told(tmp_path):
    _place.check_free(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "net.py").touch()
    _place.check_free(tmp_path)  # Python prefers a package with an __init__.py, wherever it is
    (tmp_path / "lab" / "__init__.py").touch()
    with pytest.raises(LabError, match=r"lab.__init__\.py takes the lab's name: .* Rename its folder"):
        _place.check_free(tmp_path)


def test_a_file_that_takes_the_labs_name_is_told(tmp_path):
    (tmp_path / "lab.py").touch()
    with pytest.raises(LabError, match=r"lab\.py takes the lab's name: .* Rename the file"):
        _place.check_free(tmp_path)


def test_the_clone_itself_is_free():
    _place.check_free(ROOT)


def test_editable_install_is_not_hidden_by_a_folder(tmp_path):
    """By a path file, as pyproject.toml asks for: tried with a path file that does what setuptools writes."""
    (tmp_path / "lab").mkdir()
    program = f"import sys; sys.path.append({str(ROOT)!r}); import lab; print(lab.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "lab" / "__init__.py"), done.stderr
    assert 'package-dir = { "" = "." }' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_import_lab_changes_nothing_that_it_need_not():
    program = """
import importlib.metadata, os, sys
real = importlib.metadata.version
importlib.metadata.version = lambda name: {"torch": TORCH, "torchvision": "0.28.0"}.get(name) or real(name)
environment, finders, hooks = dict(os.environ), list(sys.meta_path), (sys.excepthook, sys.displayhook)
import lab, lab.cli
print(os.environ == environment, hooks == (sys.excepthook, sys.displayhook), len(sys.meta_path) - len(finders))
"""
    for torch, watchers in (("2.13.0", 0), ("2.13.0+cpu", 1)):
        command = [sys.executable, "-c", program.replace("TORCH", repr(torch))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout == f"True True {watchers}\n", done.stderr


def test_a_command_lets_threads_wait_without_spinning_and_obeys_what_is_set(monkeypatch, request):
    request.addfinalizer(functools.partial(gc.set_threshold, *gc.get_threshold()))
    for before, after in ((None, "20000"), ("7", "7")):
        monkeypatch.setenv("GOMP_SPINCOUNT", before or "")
        if before is None:
            monkeypatch.delenv("GOMP_SPINCOUNT")
        CliRunner().invoke(main, ["inspect", "no-such-file.py"])
        assert os.environ["GOMP_SPINCOUNT"] == after
    assert gc.get_threshold()[0] == 100_000
