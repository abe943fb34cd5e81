"""One valid results.json comes out of each submission, whatever it is and whatever happens to who grades it."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import stand_ins
import torch
from click.testing import CliRunner

from lab import _files, cli, submission
from lab.errors import SandboxError
from lab.grading import doctor, judge
from lab.grading.autograde import gradescope_run
from lab.grading.autograde.gradescope_run import Asked, RunError, dated, grade_submission, student_of
from lab.grading.exports.gradescope import Opening
from lab.graph import capture
from lab.models import SmallNet
from lab.rules import Late, load_rubric
from lab.submission import Cell, HandIn
from lab.train import Recipe

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parent / "exports" / "gradescope_results.schema.json").read_text(encoding="utf-8"))
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"
DUE = datetime(2026, 12, 5, 23, tzinfo=timezone.utc)


def made(cells: tuple[Cell, ...] = ()) -> bytes:
    torch.manual_seed(0)
    return submission.packed(
        HandIn(capture(SmallNet()), Recipe(epochs=12), "mnist_994", {}, cells, submission.versions())
    )


@pytest.fixture(scope="module")
def network() -> bytes:
    """A .lab file."""
    return made()


@pytest.fixture
def autograder(tmp_path: Path) -> Path:
    """Gradescope's folder, with nothing handed in yet."""
    (tmp_path / "submission").mkdir()
    told = {
        "id": 1, "created_at": "2026-11-25T14:22:32.365935-07:00",
        "assignment": {"due_date": "2100-12-05T23:00:00.000000-07:00", "late_due_date": None},
        "users": [{"email": "a@example.com", "id": 1234, "name": HOSTILE}], "previous_submissions": [],
    }  # fmt: skip
    (tmp_path / "submission_metadata.json").write_text(json.dumps(told))
    return tmp_path


def asked(folder: Path, **how: Any) -> Asked:
    return Asked(str(folder / "submission"), str(folder / "submission_metadata.json"), **how)


def valid(found: dict[str, Any]) -> dict[str, Any]:
    jsonschema.validate(json.loads(json.dumps(found, allow_nan=False)), SCHEMA)
    return found


def read(results: Path) -> dict[str, Any]:
    assert [path.name for path in results.parent.iterdir()] == ["results.json"]
    return valid(json.loads(results.read_text(encoding="utf-8")))


def said_by_judge(question: Asked, capfd: pytest.CaptureFixture[str], printed: str = "") -> dict[str, Any]:
    """What the process that grades writes, graded in this one."""
    there, back = os.pipe()
    gradescope_run.judge(json.dumps(vars(question)), back)
    with open(there, "rb") as file:
        found = valid(json.loads(file.read()))
    shown = "".join(capfd.readouterr())
    assert printed in shown
    assert "\x1b" not in shown
    return found


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = stand_ins.few_digits()
    monkeypatch.setattr(judge, "load", lambda name: digits)
    monkeypatch.setattr(judge, "checksums", lambda name: {})


# -- what was handed in -----------------------------------------------------------------------------------------------


def test_a_network_is_judged_by_its_weights(autograder: Path, network: bytes, few: None, capfd: Any) -> None:
    (autograder / "submission" / "net.lab").write_bytes(network)
    found = said_by_judge(asked(autograder), capfd)
    assert [test["number"] for test in found["tests"]] == [f"2.{n}" for n in range(1, 8)]
    assert found["score"] == 0  # it has learnt nothing
    assert [test["name"] for test in found["tests"] if test["visibility"] != "visible"] == ["accuracy"]
    assert found["leaderboard"][0] == {"name": "parameters", "value": 7846, "order": "asc"}


def test_what_lies_beside_it_is_not_looked_into(autograder: Path, network: bytes, few: None, capfd: Any) -> None:
    folder = autograder / "submission"
    (folder / "net.lab").write_bytes(network)
    (folder / "lab").mkdir()
    for name in ("lab/__init__.py", "torch.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "json.py"):
        (folder / name).write_text(f"open({str(autograder / 'was-run')!r}, 'w')\n")
    (folder / "run_autograder").write_text(f"#!/bin/sh\ntouch {autograder / 'was-run'}\n")
    (folder / "results.json").write_text('{"score": 100}')
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "round").symlink_to(".")
    found = said_by_judge(asked(autograder), capfd)
    assert found["extra_data"]["state"] == "graded"
    assert not (autograder / "was-run").exists()


def cut(network: bytes) -> bytes:
    return network[: len(network) // 2]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "nothing was handed in"),
        ({"net.py": b"import torch"}, "there is no .lab file in it (net.py)"),
        ({f"{HOSTILE.replace('/', '')}.py": b""}, "there is no .lab file in it (<script>"),
        ({"net.lab": b"PK\3\4"}, "net.lab is cut short"),
        ({"net.lab": b""}, "net.lab"),
        ({"a.lab": b"x", "b.lab": b"y"}, "what was handed in holds several hand-ins (a.lab, b.lab)"),
    ],
)
def test_a_fault_of_the_hand_in_is_told(autograder: Path, files: dict[str, bytes], told: str, capfd: Any) -> None:
    for name, content in files.items():
        (autograder / "submission" / name).write_bytes(content)
    found = said_by_judge(asked(autograder), capfd)
    assert found["extra_data"]["state"] == "student error"
    assert found["score"] == 0
    assert told in found["output"]
    assert str(autograder) not in found["output"]


def test_too_many_and_too_large(autograder: Path, network: bytes, capfd: Any) -> None:
    folder = autograder / "submission"
    with (folder / "net.lab").open("wb") as file:
        file.truncate(2**36)
    assert "net.lab can't be read: it is larger than" in said_by_judge(asked(autograder), capfd)["output"]
    for number in range(2100):
        (folder / f"{number}.txt").touch()
    assert "holds more than 2,000 files" in said_by_judge(asked(autograder), capfd)["output"]


def test_without_a_sandbox_the_network_is_graded_and_the_exercises_are_left(
    autograder: Path, few: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def none(accepted: object) -> None:
        raise SandboxError("no user namespaces.")

    monkeypatch.setattr(doctor, "require", none)
    cell = Cell(grade_id="out-size", kind="code", source="def out_size(n, kernel, stride=1, pad=0):\n    return 26\n")
    (autograder / "submission" / "net.lab").write_bytes(made((cell,)))
    found = said_by_judge(asked(autograder), capfd, printed="no user namespaces.")  # for the teacher
    assert [test["number"] for test in found["tests"]] == ["1", *(f"2.{n}" for n in range(1, 8))]
    assert "score" not in found["tests"][0]
    assert "GRADED IN PART" in found["output"]


def test_what_is_ours_has_no_score(autograder: Path, capfd: Any) -> None:
    for how in ({"rubric": "no-such-rubric"}, {"mode": "weights", "rubric": str(HERE)}):
        found = said_by_judge(asked(autograder, **how), capfd)
        assert "score" not in found
        assert "NOT GRADED" in found["output"]


def test_where_the_judge_itself_fails(autograder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(gradescope_run, "_standing", lambda *given: 1 / 0)
    found = said_by_judge(asked(autograder), capfd)
    assert "score" not in found
    assert "the judge itself fails: ZeroDivisionError" in found["output"]


# -- what Gradescope says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"\xff\xfe", b"[" * 10**5, b'{"users": 3, "created_at": {}, "assignment": [1]}',
     b'{"users": [3, null], "created_at": "soon", "assignment": {"due_date": "0000-13-99T99:99:99Z"}}',
     b'{"users": [{"id": {"a": 1}, "name": ["x"], "assignment": 7}]}'],
)  # fmt: skip
def test_metadata_that_says_nothing_of_use(autograder: Path, content: bytes, capfd: Any) -> None:
    (autograder / "submission_metadata.json").write_bytes(content)
    found = said_by_judge(asked(autograder), capfd)
    assert "nothing was handed in" in found["output"]


def test_metadata_that_is_no_file(autograder: Path, capfd: Any) -> None:
    (autograder / "submission_metadata.json").unlink()
    assert "nothing was handed in" in said_by_judge(asked(autograder), capfd)["output"]
    os.mkfifo(autograder / "submission_metadata.json")
    assert "nothing was handed in" in said_by_judge(asked(autograder), capfd)["output"]


def test_who_makes_the_metadata_too_large_to_be_read_is_not_in_time_by_it(
    autograder: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds all earlier results, and a student may hand in as often as they like."""
    told = json.loads((autograder / "submission_metadata.json").read_text()) | {"previous_submissions": ["x" * 2000]}
    (autograder / "submission_metadata.json").write_text(json.dumps(told))
    monkeypatch.setattr(gradescope_run, "MOST_METADATA", 1000)
    found = valid(said_by_judge(asked(autograder), capfd))
    assert "score" not in found
    assert "it is not known when this one was handed in" in found["output"]


def test_who_handed_it_in() -> None:
    told = {"users": [{"id": 7, "name": "Ada", "email": "a@example.com"}, {"id": 8}]}
    assert vars(student_of(told)) == {"id": "7", "name": "Ada", "email": "a@example.com"}
    assert student_of({}).id == "student"
    assert len(student_of({"users": [{"id": 1, "name": "x" * 10**6}]}).name) == 200


def iso(moment: datetime) -> str:
    return moment.isoformat()


LATER = DUE + timedelta(weeks=1)
EARLIER = DUE - timedelta(weeks=1)


@pytest.mark.parametrize(
    ("late", "assignment", "own", "due", "opening"),
    [
        (None, {}, {}, None, Opening(None, "after_published")),
        (None, {"due_date": iso(DUE)}, {}, DUE, Opening(DUE, "after_due_date")),
        (None, {"due_date": iso(DUE), "late_due_date": iso(LATER)}, {}, DUE, Opening(LATER, "after_due_date")),
        (None, {"due_date": iso(DUE)}, {"due_date": iso(LATER)}, LATER, Opening(LATER, "after_due_date")),
        (Late(due=DUE), {}, {}, DUE, Opening(DUE, "after_published")),
        (Late(due=DUE), {"due_date": iso(EARLIER)}, {}, DUE, Opening(DUE, "after_published")),
        (Late(due=DUE), {"due_date": iso(DUE)}, {}, DUE, Opening(DUE, "after_due_date")),
        (Late(due=DUE), {"due_date": iso(LATER)}, {}, DUE, Opening(LATER, "after_due_date")),
    ],
)  # fmt: skip
def test_when_it_is_due_and_when_the_figures_are_shown(late, assignment, own, due, opening) -> None:
    """Figures that wait are shown by Gradescope at its own date: never before the rubric's."""
    rubric = load_rubric().model_copy(update={"late": late})
    found, when = dated(rubric, {"assignment": assignment, "users": [{"id": 1, "assignment": own}]})
    assert (found.late.due if found.late else None) == due
    assert when == opening


# -- the process that watches -----------------------------------------------------------------------------------------


@pytest.fixture
def judged_by(monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the place of the judge: another program, which is given the pipe's descriptor as sys.argv[2]."""
    return lambda program: monkeypatch.setattr(gradescope_run, "_PROGRAM", program)


SAYS = 'import os, sys; os.write(int(sys.argv[2]), b\'{"score": 1, "tests": []}\')'


def test_what_the_judge_says_is_what_comes_out(autograder: Path, judged_by: Any) -> None:
    judged_by(SAYS)
    results = autograder / "results" / "results.json"
    assert grade_submission(asked(autograder), results) == read(results) == {"score": 1, "tests": []}


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed, as where the container has no memory left"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise SystemExit(3)", "status 3"),
        ("import os, sys; os.write(int(sys.argv[2]), b'{\"score\": 1')", "status 0"),
        ("import os, sys; os.write(int(sys.argv[2]), b'[1]')", "status 0"),
    ],
)
def test_a_judge_that_dies_gives_no_score(autograder: Path, judged_by: Any, program: str, told: str) -> None:
    judged_by(program)
    results = autograder / "results" / "results.json"
    grade_submission(asked(autograder), results)
    found = read(results)
    assert "score" not in found
    assert "NOT GRADED" in found["output"]
    assert told in found["output"]


def test_a_judge_that_says_too_much(autograder: Path, judged_by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by("import sys; open(int(sys.argv[2]), 'wb').write(b' ' * 2**24)")
    results = autograder / "results" / "results.json"
    grade_submission(asked(autograder), results, 20.0)
    assert "score" not in read(results)


def test_the_time_ends_it_and_all_that_it_has_started(autograder: Path, judged_by: Any) -> None:
    mark = autograder / "mark"
    judged_by(
        "import subprocess, sys, time\n"
        f"mark = {str(mark)!r}; program = 'import sys, time; open(sys.argv[1], \"w\"); time.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', program, mark])\n"
        "time.sleep(60)"
    )
    results, started = autograder / "results" / "results.json", time.monotonic()
    grade_submission(asked(autograder), results, 1.0)
    assert time.monotonic() - started < 8
    assert "it was not graded after 1 s" in read(results)["output"]
    assert mark.exists()
    assert not [one for one in processes() if str(mark) in one]


def processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_grandchild_that_holds_the_pipe_does_not_hold_us(autograder: Path, judged_by: Any) -> None:
    judged_by(
        f"import subprocess, sys\n{SAYS}\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], pass_fds=[int(sys.argv[2])])"
    )
    results, started = autograder / "results" / "results.json", time.monotonic()
    grade_submission(asked(autograder), results, 1.0)
    assert time.monotonic() - started < 8
    read(results)


def test_a_results_file_is_there_before_the_judge(autograder: Path, judged_by: Any) -> None:
    results = autograder / "results" / "results.json"
    judged_by(f"import json, os, sys; found = json.load(open({str(results)!r})); found['score'] = 5\n"
              "os.write(int(sys.argv[2]), json.dumps(found).encode())")  # fmt: skip
    grade_submission(asked(autograder), results)
    assert "the autograder was ended before it was done" in read(results)["output"]


def test_a_link_in_its_place_is_not_followed(autograder: Path, judged_by: Any) -> None:
    judged_by(SAYS)
    (autograder / "results").mkdir()
    (autograder / "precious").write_text("precious")
    (autograder / "results" / "results.json").symlink_to(autograder / "precious")
    grade_submission(asked(autograder), autograder / "results" / "results.json")
    assert (autograder / "precious").read_text() == "precious"
    read(autograder / "results" / "results.json")


def test_on_a_full_disk_the_result_takes_the_place_of_the_first(
    autograder: Path, judged_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(SAYS)
    whole, written = _files.write_whole, []

    def once(path: Path, content: str) -> None:
        if written:
            raise _files.FileError(f"{path} cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        written.append(content)
        whole(path, content)

    monkeypatch.setattr(gradescope_run, "write_whole", once)
    results = autograder / "results" / "results.json"
    grade_submission(asked(autograder), results)
    assert read(results) == {"score": 1, "tests": []}
    assert results.stat().st_size == gradescope_run.RESERVED == len(written[0])


def test_where_nothing_can_be_written_the_command_says_so(autograder: Path) -> None:
    (autograder / "results").write_text("a file")
    with pytest.raises(RunError, match="no results can be written"):
        grade_submission(asked(autograder), autograder / "results" / "results.json")


def test_the_judge_sees_python_s_own_folders_alone(
    autograder: Path, judged_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (autograder / "submission" / "json.py").write_text("raise SystemExit('the submission is imported')")
    monkeypatch.chdir(autograder / "submission")
    monkeypatch.setenv("PYTHONPATH", str(autograder / "submission"))
    monkeypatch.setenv("PYTHONSTARTUP", str(autograder / "submission" / "json.py"))
    judged_by("import json, os, sys; said = {'score': 0, 'output': json.dumps([sys.path, os.getcwd(), *os.environ])}\n"
              "os.write(int(sys.argv[2]), json.dumps(said).encode())")  # fmt: skip
    found = grade_submission(asked(autograder), autograder / "results" / "results.json")
    path, folder, *names = json.loads(found["output"])
    assert folder == "/"
    assert not [one for one in path if not one or str(autograder) in one]
    assert not [name for name in names if name.startswith("PYTHON")]


def test_the_process_that_watches_imports_no_torch() -> None:
    program = "import sys, lab.grading.autograde.gradescope_run; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_command(autograder: Path, judged_by: Any) -> None:
    judged_by(SAYS)
    places = [f"--{name}" for name in ("submission", "metadata", "results")]
    paths = [
        autograder / "submission",
        autograder / "submission_metadata.json",
        autograder / "results" / "results.json",
    ]
    options = [str(part) for pair in zip(places, paths, strict=True) for part in pair]
    done = CliRunner().invoke(cli.main, ["autograde", "gradescope", *options])
    assert (done.exit_code, done.stdout) == (0, "score 1, 0 test cases, ? s\n")
    assert (
        json.loads(CliRunner().invoke(cli.main, ["autograde", "gradescope", *options, "--json"]).stdout)["score"] == 1
    )


def test_paths_may_be_relative(autograder: Path, judged_by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by("import json, os, sys; asked = json.load(sys.stdin); said = {'score': 0, 'output': json.dumps(asked)}\n"
              "os.write(int(sys.argv[2]), json.dumps(said).encode())")  # fmt: skip
    monkeypatch.chdir(autograder)
    options = ["--submission", "submission", "--metadata", "m.json", "--results", "r.json", "--rubric", "mine.toml"]
    done = CliRunner().invoke(cli.main, ["autograde", "gradescope", *options, "--accept", "no network", "--json"])
    assert json.loads(json.loads(done.stdout)["output"]) == {
        "submission": str(autograder / "submission"),
        "metadata": str(autograder / "m.json"),
        "rubric": str(autograder / "mine.toml"),
        "mode": "weights",
        "accepted": ["no network"],
    }
