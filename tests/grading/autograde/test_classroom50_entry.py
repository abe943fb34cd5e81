"""What Classroom 50 runs: nothing of the checkout decides, and no token of the job is passed on."""

import json
import os
import sys
from pathlib import Path

import pytest

from lab.grading.autograde import classroom50_entry as entry

NOTING = """#!{python}
import json, os, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir()
(out / "result.json").write_text(json.dumps({{"called": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}))
(out / "summary.md").write_text("# what came out")
sys.exit({status})
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student's, in which the runner starts it."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "temp").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path / "temp"))
    monkeypatch.setattr(entry, "allow_sandboxes", lambda: None)
    return tmp_path / "checkout"


def lab(monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    """A lab that notes how it is called, in the place of the one that is fetched."""

    def installed(place: Path) -> str:
        assert Path.cwd() == place  # before anything is installed
        command = place / "lab"
        command.write_text(NOTING.format(python=sys.executable, status=status))
        command.chmod(0o755)
        return str(command)

    monkeypatch.setattr(entry, "installed", installed)


def test_it_grades_the_checkout_from_elsewhere_with_what_says_whose_it_is(checkout, monkeypatch):
    lab(monkeypatch)
    monkeypatch.setenv("SUBMISSION_TAG", "submit/1")
    for name in ("GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "SECRET", "PYTHONPATH", "GITHUB_OUTPUT", "GITHUB_ENV"):
        monkeypatch.setenv(name, "a secret")
    assert entry.main() == 0
    found = json.loads((checkout / "result.json").read_text(encoding="utf-8"))
    assert found["called"][:4] == ["autograde", "github", "--mode", "push"]
    assert found["called"][-2:] == ["--", str(checkout)]
    assert found["env"]["SUBMISSION_TAG"] == "submit/1"
    assert "a secret" not in found["env"].values()
    assert checkout not in Path(found["cwd"]).parents
    assert Path(found["cwd"]) != checkout
    assert (checkout / "release-body.md").read_text(encoding="utf-8") == "# what came out"


def test_a_teacher_may_choose_another_way(checkout, monkeypatch):
    lab(monkeypatch)
    monkeypatch.setenv("LAB_MODE", "retrain")
    entry.main()
    assert json.loads((checkout / "result.json").read_text(encoding="utf-8"))["called"][3] == "retrain"


@pytest.mark.parametrize(
    ("written", "said", "asked"),
    [("", "", []), ("mnist_5k", "", ["--rubric", "mnist_5k"]), ("mnist_5k", "fashion", ["--rubric", "fashion"])],
)
def test_a_teacher_says_which_assignment_it_is(checkout, monkeypatch, written, said, asked):
    lab(monkeypatch)
    monkeypatch.setattr(entry, "RUBRIC", written)
    monkeypatch.setenv("LAB_RUBRIC", said)
    entry.main()
    called = json.loads((checkout / "result.json").read_text(encoding="utf-8"))["called"]
    assert called[called.index("--out") + 2 :] == [*asked, "--", str(checkout)]


def test_a_link_of_the_student_s_is_replaced_and_not_followed(checkout, monkeypatch, tmp_path):
    lab(monkeypatch)
    (tmp_path / "mine").write_text("mine")
    (checkout / "result.json").symlink_to(tmp_path / "mine")
    (checkout / "release-body.md").mkdir()
    (checkout / "release-body.md" / "x").touch()
    entry.main()
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "mine"
    assert not (checkout / "result.json").is_symlink()
    assert (checkout / "release-body.md").is_file()


def test_where_there_is_no_grade_it_says_so(checkout, monkeypatch):
    lab(monkeypatch, status=2)
    assert entry.main() == 2


def test_the_lab_is_installed_by_a_python_that_looks_at_nothing_of_the_student_s(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(entry.venv, "create", lambda place, with_pip: called.append((place, with_pip)))
    monkeypatch.setattr(entry.subprocess, "run", lambda call, **how: called.append((call, how)))
    monkeypatch.setenv("PIP_INDEX_URL", "http://evil.example")
    assert entry.installed(tmp_path) == str(tmp_path / "venv" / "bin" / "lab")
    (place, with_pip), (pip, first), (uv, second) = called
    assert (place, with_pip) == (tmp_path / "venv", True)
    assert pip[:5] == [str(tmp_path / "venv" / "bin" / "python"), "-I", "-m", "pip", "install"]
    assert uv[:3] == [str(tmp_path / "venv" / "bin" / "uv"), "pip", "install"]
    assert "--no-config" in uv
    assert uv[-1] == f"lab994[grading] @ {entry.ARCHIVE}"
    for call, how in ((pip, first), (uv, second)):
        assert call[call.index("-c") + 1] == entry.CONSTRAINTS
        assert (how["check"], "PIP_INDEX_URL" in how["env"]) == (True, False)
    assert os.environ["PIP_INDEX_URL"]
