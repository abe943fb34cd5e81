"""A student's repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner

from lab import _release
from lab.cli import main
from lab.course import starting
from lab.course.editions import student_edition
from lab.course.exercises import has_exercises
from lab.course.starting import StartError, Wanted, start, write_autograder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ALL = ("github", "gitlab", "compose")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts]


@pytest.mark.parametrize("name", ["mnist_994", "fashion"])
def test_it_has_the_notebook_that_students_get(tmp_path, name):
    start(tmp_path / "new", Wanted(notebook=name, commit=COMMIT))
    path = tmp_path / "new" / f"{name}.ipynb"
    assert nbformat.read(path, as_version=4).cells == student_edition(name).cells
    assert has_exercises(str(path))
    assert f"{name}.ipynb" in (tmp_path / "new" / "README.md").read_text(encoding="utf-8")


def test_what_grades_is_the_lab_at_one_commit_with_its_version_beside_it(tmp_path):
    start(tmp_path, Wanted(kinds=ALL, commit=COMMIT))
    workflow = (tmp_path / ".github" / "workflows" / "lab.yml").read_text(encoding="utf-8")
    called = f"{_release.REPOSITORY}/.github/workflows/grade.yml@{COMMIT}   # {_release.tag()}"
    assert re.findall("uses: (.*)", workflow) == [called]
    for name in (".gitlab-ci.yml", "compose.yaml"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert f"https://github.com/{_release.REPOSITORY}/archive/{COMMIT}.tar.gz" in text
        assert f"/{COMMIT}/constraints.txt" in text
    everything = "".join(path.read_text(encoding="utf-8") for path in _files(tmp_path))
    assert not re.findall(r"@[A-Z_]+@", everything)  # nothing was left to be filled in


def test_the_workflow_may_read_and_nothing_else_and_never_runs_a_fork_with_rights(tmp_path):
    start(tmp_path, Wanted(commit=COMMIT))
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "lab.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["grade"]["permissions"] == {"contents": "read"}
    assert "secrets" not in workflow["jobs"]["grade"]
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch"}  # YAML 1.1 takes "on" for true


def test_gitlab_and_compose_keep_the_job_s_tokens_and_the_student_s_files_apart(tmp_path):
    start(tmp_path, Wanted(kinds=("gitlab", "compose"), commit=COMMIT))
    job = yaml.safe_load((tmp_path / ".gitlab-ci.yml").read_text(encoding="utf-8"))["grade"]
    assert job["script"][0] == "cd /"
    assert job["script"][-1].startswith("env -i ")
    assert "CI_JOB_TOKEN" not in str(job)
    service = yaml.safe_load((tmp_path / "compose.yaml").read_text(encoding="utf-8"))["services"]["grade"]
    assert ".:/hand-in:ro" in service["volumes"]
    assert service["network_mode"] == "none"
    assert "WORKDIR /\n" in service["build"]["dockerfile_inline"]
    assert "load('mnist')" in service["build"]["dockerfile_inline"]
    start(tmp_path / "fashion", Wanted(notebook="fashion", kinds=("compose",), commit=COMMIT))
    assert "load('fashion_mnist')" in (tmp_path / "fashion" / "compose.yaml").read_text(encoding="utf-8")


@pytest.mark.slow  # `make lint` does it, too
@pytest.mark.parametrize(("kind", "file"), [("gitlab", ".gitlab-ci.yml"), ("compose", "compose.yaml")])
def test_their_files_keep_their_schemas(tmp_path, kind, file):
    start(tmp_path, Wanted(kinds=(kind,), commit=COMMIT))
    schema = {"gitlab": "vendor.gitlab-ci", "compose": "vendor.compose-spec"}[kind]
    call = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(tmp_path / file)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_git_keeps_what_is_handed_in_and_leaves_out_what_the_lab_makes(tmp_path):
    start(tmp_path, Wanted(commit=COMMIT))
    for name in ("my_net.lab", "data/x", "build/x", "report/feedback.html", ".venv/x", "test_openings.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    git(tmp_path, "add", "--all")
    kept = git(tmp_path, "ls-files").splitlines()
    assert sorted(kept) == [".github/workflows/lab.yml", ".gitignore", "README.md", "mnist_994.ipynb", "my_net.lab"]


# -- what is there already --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "mnist_994.ipynb", ".gitignore", ".github/workflows/lab.yml"])
def test_what_is_there_stays_and_then_nothing_is_written(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StartError, match=rf"^there is {re.escape(name)} in .*Nothing is written"):
        start(tmp_path, Wanted(commit=COMMIT))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_that_leads_nowhere_is_in_the_way_too(tmp_path):
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match=r"README\.md"):
        start(tmp_path, Wanted(commit=COMMIT))
    assert not (tmp_path / "elsewhere").exists()


def test_other_files_are_in_nobody_s_way(tmp_path):
    (tmp_path / "LICENSE").write_text("mine")
    start(tmp_path, Wanted(commit=COMMIT))
    assert (tmp_path / "LICENSE").read_text() == "mine"


def test_where_one_file_can_t_be_written_none_is_there(tmp_path):
    (tmp_path / ".github").write_text("a file")
    with pytest.raises(StartError, match=r"cannot be written: .*Nothing is written"):
        start(tmp_path, Wanted(commit=COMMIT))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".github"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="Nothing is written"):
        start(tmp_path / "file", Wanted(commit=COMMIT))


# -- git --------------------------------------------------------------------------------------------------------------


def test_a_folder_in_no_repository_becomes_one_and_one_that_is_stays_as_it_is(tmp_path):
    start(tmp_path / "new", Wanted(commit=COMMIT))
    assert git(tmp_path / "new", "symbolic-ref", "HEAD") == "refs/heads/main"
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk", "there")
    done = start(tmp_path / "there", Wanted(commit=COMMIT))
    assert git(tmp_path / "there", "symbolic-ref", "HEAD") == "refs/heads/trunk"
    assert "git push" in done.notes[0]


def test_in_the_middle_of_a_repository_nothing_would_grade_which_is_told(tmp_path):
    git(tmp_path, "init", "--quiet")
    done = start(tmp_path / "inside", Wanted(commit=COMMIT))
    assert not (tmp_path / "inside" / ".git").exists()
    assert "at the top" in done.notes[0]
    assert "at the top" not in start(tmp_path / "plain", Wanted(kinds=("none",))).notes[0]


def test_without_git_the_files_are_made_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    assert "git is not installed" in start(tmp_path, Wanted(commit=COMMIT)).notes[0]
    assert (tmp_path / "README.md").is_file()


RELATIVE = "[![lab](../../actions/workflows/lab.yml/badge.svg)](../../actions/workflows/lab.yml)"


@pytest.mark.parametrize(
    ("remote", "badge"),
    [
        ("", RELATIVE),
        ("git@github.com:ada/lab-work.git", "https://github.com/ada/lab-work/actions/workflows/lab.yml/badge.svg"),
        ("https://x:secret@github.com/ada/lab.git", "https://github.com/ada/lab/actions/workflows/lab.yml/badge.svg"),
        ("git@git.example.org:ada/lab.git", RELATIVE),
        ("/a/folder)](evil", RELATIVE),
    ],
)
def test_the_badge_is_of_where_it_will_be(tmp_path, remote, badge):
    git(tmp_path, "init", "--quiet")
    if remote:
        git(tmp_path, "remote", "add", "origin", remote)
    start(tmp_path, Wanted(commit=COMMIT))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert badge in text
    assert "secret" not in text
    assert "evil" not in text


def test_the_badge_of_gitlab_needs_to_know_where(tmp_path):
    start(tmp_path / "a", Wanted(kinds=("gitlab",), commit=COMMIT))
    assert "[![" not in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    start(tmp_path / "b", Wanted(kinds=("gitlab",), commit=COMMIT, repository="school/dl/ada"))
    text = (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    assert "https://gitlab.com/school/dl/ada/badges/main/pipeline.svg" in text


# -- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(notebook="nothing", commit=COMMIT), "there is fashion, mnist_994"),
        (Wanted(notebook="../mnist_994", commit=COMMIT), "no notebook"),
        (Wanted(commit="main"), "40 hexadecimal digits"),
        (Wanted(commit=COMMIT + "\n"), "40 hexadecimal digits"),
        (Wanted(commit=COMMIT, repository="ada"), "OWNER/NAME"),
        (Wanted(commit=COMMIT, repository="a/b)\n# evil"), "OWNER/NAME"),
        (Wanted(commit=COMMIT, lab="a/b/c"), "OWNER/NAME"),
    ],
)
def test_what_can_t_be_is_told(tmp_path, wanted, words):
    with pytest.raises(StartError, match=re.escape(words)):
        start(tmp_path / "new", wanted)
    assert not (tmp_path / "new").exists()


def test_a_lab_that_does_not_know_its_commit_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_release, "commit", lambda: None)
    with pytest.raises(StartError, match="--lab-commit"):
        start(tmp_path / "new", Wanted())
    monkeypatch.setattr(_release, "commit", lambda: COMMIT)
    start(tmp_path / "new", Wanted())
    assert COMMIT in (tmp_path / "new" / ".github" / "workflows" / "lab.yml").read_text(encoding="utf-8")


def test_the_command_makes_it_and_says_what_is_next(tmp_path):
    asked = ["init", str(tmp_path / "new"), "--lab-commit", COMMIT, "--lab-repository", "school/lab"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "git push" in done.output
    assert f"school/lab/.github/workflows/grade.yml@{COMMIT}" in (
        tmp_path / "new" / ".github" / "workflows" / "lab.yml"
    ).read_text(encoding="utf-8")
    again = CliRunner().invoke(main, asked)
    assert (again.exit_code, "already" in again.output) == (2, True)


def test_the_notebooks_are_those_that_the_lab_brings(tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "edition_sources", list)
    with pytest.raises(StartError, match="installed without its notebooks"):
        start(tmp_path, Wanted(commit=COMMIT))


# -- Classroom 50 -----------------------------------------------------------------------------------------------------


def test_classroom_50_s_autograder_is_one_file_of_python_alone(tmp_path):
    path = tmp_path / "autograder.py"
    write_autograder(path, COMMIT)
    text = path.read_text(encoding="utf-8")
    assert f"archive/{COMMIT}.tar.gz" in text
    assert not re.findall(r"@[A-Z_]+@", text)
    named = {name.partition(".")[0] for name in re.findall(r"^(?:import|from) ([\w.]+)(?: import .*)?$", text, re.M)}
    assert {"os", "pathlib", "venv"} <= named
    assert named <= sys.stdlib_module_names
    assert 'RUBRIC = ""\n' in text
    with pytest.raises(StartError, match="already"):
        write_autograder(path, COMMIT)
    write_autograder(tmp_path / "other.py", COMMIT, rubric="mnist_5k")
    assert 'RUBRIC = "mnist_5k"\n' in (tmp_path / "other.py").read_text(encoding="utf-8")
    with pytest.raises(StartError, match="mnist_994 here, and not"):
        write_autograder(tmp_path / "third.py", COMMIT, rubric='"; import os #')
    assert not (tmp_path / "third.py").exists()


def test_classroom_50_may_be_given_a_fork_of_the_lab(tmp_path):
    path = tmp_path / "autograder.py"
    asked = ["--out", str(path), "--lab-commit", COMMIT, "--lab-repository", "uni/lab"]
    done = CliRunner().invoke(main, ["autograde", "classroom50", *asked])
    assert done.exit_code == 0, done.output
    assert f"https://github.com/uni/lab/archive/{COMMIT}.tar.gz" in path.read_text(encoding="utf-8")


def test_the_command_writes_down_which_assignment_it_is(tmp_path):
    path = tmp_path / "autograder.py"
    asked = ["autograde", "classroom50", "--out", str(path), "--lab-commit", COMMIT, "--rubric", "mnist_8k"]
    assert CliRunner().invoke(main, asked).exit_code == 0
    assert 'RUBRIC = "mnist_8k"\n' in path.read_text(encoding="utf-8")
