"""What holds the project together: its pins. (Its package: test_release.py.)"""

import importlib.util
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FIRST_OF_EACH = ("3.10.0", "3.11.0", "3.12.0", "3.13.0", "3.14.0")
PYTHONS = (*FIRST_OF_EACH, "3.11.2", "3.11.5", "3.14.1")  # Debian 12 has 3.11.2; some packages leave 3.14.1 out
PLACES = ("", "lab/grading/", "tests/", "benchmarks/", "notebooks/book/")
REQUIREMENTS = [*(f"{place}requirements.txt" for place in PLACES), "lab/grading/requirements-cluster.txt"]


@pytest.fixture(scope="module")
def constraints():
    spec = importlib.util.spec_from_file_location("constraints", ROOT / ".ci" / "constraints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def holds(requirement, python):
    """Whether a line of constraints.txt counts on this Python."""
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    return requirement.marker is None or requirement.marker.evaluate(here)


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("python", PYTHONS)
def test_a_pin_holds_only_where_its_package_admits_the_python(python):
    installed = [(f"{canonicalize_name(d.name)}=={d.version.split('+')[0]}", d.metadata) for d in distributions()]
    wanted = {name: metadata.get("Requires-Python") or "" for name, metadata in installed}
    here = [pin for pin in pins() if f"{canonicalize_name(pin.name)}{pin.specifier}" in wanted and holds(pin, python)]
    assert here  # in CI all: what is installed is what is pinned
    for pin in here:
        requires = wanted[f"{canonicalize_name(pin.name)}{pin.specifier}"]
        assert SpecifierSet(requires).contains(python), f"{pin} is not for Python {python}"


@pytest.mark.parametrize(
    ("requires", "refused", "admitted"),
    [
        (">=3.11.5", ["3.10.0", "3.11.0", "3.11.4"], ["3.11.5", "3.12.0", "3.14.0"]),
        (">=3.11", ["3.10.0", "3.10.19"], ["3.11.0", "3.14.0"]),
        ("!=3.14.1,>=3.10", ["3.14.1"], ["3.10.0", "3.14.0", "3.14.2"]),
        (">=3.8,<3.13", ["3.13.0", "3.14.0"], ["3.10.0", "3.12.11"]),
        ("!=3.12.*,>=3.9", ["3.12.0", "3.12.4"], ["3.11.0", "3.13.0"]),
        ("~=3.11", ["3.10.0"], ["3.11.0", "3.14.0"]),
    ],
)
def test_the_marker_is_the_package_s_own(constraints, requires, refused, admitted):
    line = Requirement(constraints.pin("soup", "4.1.2", requires))
    assert [python for python in refused + admitted if holds(line, python)] == admitted


@pytest.mark.parametrize("requires", ["", ">=3.8", "!=3.0.*,!=3.1.*,>=2.7", ">=3.10,<4.0"])
def test_what_every_python_may_have_is_pinned_everywhere(constraints, requires):
    assert constraints.pin("soup", "4.1.2+cpu", requires) == "soup==4.1.2"


@pytest.mark.slow  # asks the package index
@pytest.mark.parametrize("python", PYTHONS)
def test_requirements_resolve_on_every_python(python):
    """pip's own --python-version leaves the markers of the running Python in force; uv's does not."""
    call = [sys.executable, "-m", "uv", "pip", "compile", "--no-config", "--quiet", "--python-version", python]
    result = subprocess.run([*call, *REQUIREMENTS, "-c", "constraints.txt"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_what_a_class_makes_in_a_clone_is_left_alone_by_git_and_by_the_linters(tmp_path):
    """The README's course of nbgrader, hand-ins, grades, an autograder: some of it is no Python at all."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name.endswith((".py", ".toml", ".txt", ".gitignore")) and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)

    made = (
        "course/source/mnist_994/mnist_994.py",
        "course/nbgrader_config.py",
        "course/submitted/ada/mnist_994/net.py",
        "GRADES/feedback/ada.py",
        "SUBMISSIONS/ada/net.py",
        "submissions/ada/net.py",
        "autograder.zip",
        "mnist_994-otter/tests/out-size.py",
        "report/feedback.html",
    )
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import nobody_has_this\nthis is no Python\n")

    def said(*call: str) -> str:
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else f"status {done.returncode}: {done.stdout}{done.stderr}"

    assert said("git", "status", "--porcelain") == ""
    for ignoring in ((), ("--no-respect-gitignore",)):  # a copy without git, too
        read = said(sys.executable, "-m", "ruff", "check", "--show-files", *ignoring, ".")
        assert "lab/course/plan.py" in read
        assert not [name for name in made if f"{tmp_path}/{name}" in read]
    assert not said(sys.executable, "-m", "deptry", ".").startswith("status")
    assert said("git", "check-ignore", "lab/course/plan.py").startswith("status")
