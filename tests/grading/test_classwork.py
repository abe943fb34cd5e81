"""What a teacher types, and what lies in the folder afterwards; in the place of the judge a quick one."""

import csv
import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import quick_judge
from click.testing import CliRunner, Result
from test_crowd import AtOnce

from lab.cli import main
from lab.grading import classwork
from lab.grading.crowd import Progress, Settings
from lab.grading.gradebook import Gradebook
from lab.grading.live import Live
from lab.grading.pages import page_name
from lab.grading.standing import Class, Item, Standing, Student
from lab.grading.table import table
from lab.rules import load_rubric


class Here(AtOnce):
    """In the place of LocalWorkers."""

    jobs: list[Any] = []  # noqa: RUF012 (of all of them)

    def __init__(self, *arguments: object) -> None: ...

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *raised: object) -> None: ...


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(classwork, "LocalWorkers", Here)
    monkeypatch.setattr(classwork, "_check_machine", lambda book, settings: None)
    Here.jobs.clear()
    yield
    Here.jobs.clear()


@pytest.fixture
def hand_ins(tmp_path: Path) -> Path:
    """A folder a student, and a roster beside it."""
    folder = tmp_path / "in"
    for student in ("anna", "ben"):
        (folder / student).mkdir(parents=True)
        (folder / student / "net.lab").write_text(student)
    (tmp_path / "roster.csv").write_text("id,name\nanna,Anna Ä\nben,=Ben\nzoe,Zoe\n", encoding="utf-8")
    return folder


def lab(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def rows(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_a_class_becomes_a_folder_of_grades(tmp_path: Path, hand_ins: Path) -> None:
    out = tmp_path / "out"
    done = lab("grade", hand_ins, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "3 students: 2 graded, 1 missing."
    assert sorted(path.name for path in (out / "feedback").glob("*.html")) == ["anna.html", "ben.html", "zoe.html"]
    assert "Anna Ä" in (out / "class.html").read_text(encoding="utf-8")
    found = rows(out)
    assert [(one["state"], one["name"]) for one in found.values()] == [
        ("graded", "Anna Ä"), ("graded", "'=Ben"), ("missing", "Zoe")
    ]  # fmt: skip
    assert found["zoe"]["points"] == "0"
    assert found["anna"]["exercise:accuracy"] == "1"
    assert found["anna"]["measured_accuracy"] == "0.99"
    assert float(found["anna"]["points"]) == 1 + float(found["anna"]["rule:accuracy"])


def test_the_same_again_grades_nothing_and_changes_no_file(tmp_path: Path, hand_ins: Path) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out)
    shown = {path: path.read_bytes() for path in out.rglob("*.html")} | {out: (out / "grades.csv").read_bytes()}
    Here.jobs.clear()
    assert lab("grade", hand_ins, "--out", out).exit_code == 0
    assert not Here.jobs
    assert shown == {path: path.read_bytes() for path in out.rglob("*.html")} | {out: (out / "grades.csv").read_bytes()}


def test_json_is_a_line_each(tmp_path: Path, hand_ins: Path) -> None:
    said = [
        json.loads(line) for line in lab("grade", hand_ins, "--out", tmp_path / "out", "--json").stdout.splitlines()
    ]
    assert [next(iter(one)) for one in said] == ["begun", "graded", "graded", "summary"]
    assert [(one["done"], one["total"]) for one in said[1:3]] == [(1, 2), (2, 2)]
    assert {one["graded"]["student"] for one in said[1:3]} == {"anna", "ben"}
    assert said[3]["summary"]["students"] == {"graded": 2, "missing": 1}
    assert said[3]["summary"]["complete"] is True


def test_the_grader_s_own_trouble_is_status_1_and_no_zero(tmp_path: Path, hand_ins: Path) -> None:
    (hand_ins / "ben" / "net.lab").write_text("ours")
    out = tmp_path / "out"
    done = lab("grade", hand_ins, "--out", out)
    assert done.exit_code == 1
    assert "give the same command again" in done.stdout
    ben = rows(out)["ben"]
    assert (ben["state"], ben["points"], ben["rule:accuracy"]) == ("grader error", "", "")


def test_a_class_needs_a_folder_for_its_grades_and_not_among_the_hand_ins(tmp_path: Path, hand_ins: Path) -> None:
    assert "--out GRADES" in lab("grade", hand_ins).stderr
    inside = lab("grade", hand_ins, "--out", hand_ins / "grades")
    assert (inside.exit_code, "among what was handed in" in inside.stderr) == (2, True)
    assert not (hand_ins / "grades").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, hand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Here, future: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(Here, "result", stopped)
    done = lab("grade", hand_ins, "--out", out)
    assert (done.exit_code, done.stderr) == (
        130, f"error: interrupted: {out} keeps what was graded: give the same command again to go on.\n"
    )  # fmt: skip
    assert rows(out)["anna"]["state"] == "waiting"


def test_names_stay_out_of_the_class_s_page_for_good(tmp_path: Path, hand_ins: Path) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out, "--anonymous")
    lab("mark", out, "anna", "rule:accuracy", "3", "--comment", "seen")
    assert "Anna" not in (out / "class.html").read_text(encoding="utf-8")
    assert "Anna" in (out / "feedback" / "anna.html").read_text(encoding="utf-8")


def test_points_by_hand_survive_a_regrading_and_can_be_taken_back(tmp_path: Path, hand_ins: Path) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out)
    before = rows(out)["anna"]["rule:accuracy"]
    given = lab("mark", out, "anna", "rule:accuracy", "29.5", "--comment", "shown to me", "--by", "T")
    assert given.stdout.endswith(f"; rule:accuracy {before} -> 29.5\n")
    lacks = int(float(rows(out)["ben"]["rule:accuracy"]) < 30)  # of anna the teacher has decided
    assert lab("regrade", out, "--rule", "rule:accuracy").stdout == f"{lacks} graded anew, 0 changed.\n"
    again = lab("regrade", out, "--student", "anna")
    assert again.stdout == "1 graded anew, 0 changed.\n"
    assert rows(out)["anna"]["rule:accuracy"] == "29.5"
    assert rows(out)["anna"]["given_by_hand"] == "accuracy: 29.5, shown to me (T)"
    assert "shown to me" in (out / "feedback" / "anna.html").read_text(encoding="utf-8")
    lab("mark", out, "anna", "rule:accuracy", "--take-back")
    assert rows(out)["anna"]["rule:accuracy"] == before


def test_a_student_is_forgotten_everywhere_in_the_folder(tmp_path: Path, hand_ins: Path) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out)
    lab("mark", out, "anna", "rule:accuracy", "3", "--comment", "shown to me")
    before = rows(out)
    export = out / "moodle-worksheet.csv"
    export.write_text("4711,Anna Ä,29.5\n4712,Annabel\n", encoding="utf-8")
    (out / "other.csv").write_text("Annabel,annas\n", encoding="utf-8")
    done = lab("forget", out, "anna")
    told = "the gradebook, the table and the pages hold nothing of anna any more.\n"
    assert (done.exit_code, done.stdout) == (0, f"{told}{export} still names anna: remove it, or export anew.\n")
    export.unlink()
    assert rows(out) == {name: row for name, row in before.items() if name != "anna"}
    (out / "other.csv").unlink()
    for path in filter(Path.is_file, out.rglob("*")):
        content = path.read_bytes()
        assert b"anna" not in content, path
        assert "Anna Ä".encode() not in content, path
        assert "anna" not in path.name
    gone = lab("forget", out, "anna")
    assert gone.exit_code == 2
    assert "there is no student 'anna'" in gone.stderr
    lab("grade", hand_ins, "--out", out)  # as the command's help says
    assert "anna" in rows(out)


def test_exports_that_name_a_forgotten_student_are_found_however_they_do(tmp_path: Path, hand_ins: Path) -> None:
    """In a folder's name that is made of the id, in another case or encoding, among thousands of files."""
    (hand_ins / "anna").rename(hand_ins / "Änn")
    roster = tmp_path / "roster.csv"
    roster.write_text("id,name,email\nÄnn,,ann@uni.example\nben,,\n", encoding="utf-8")
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out, "--roster", roster)
    lab("export", out, "--to", "github")
    (out / "canvas.csv").write_text("Änn;Ünal", encoding="utf-16")
    (out / "moodle.csv").write_text("Participant 1,Ann@Uni.example", encoding="utf-8")
    (out / "mac.csv").write_text("A\u0308nn", encoding="utf-8")
    (out / "__MACOSX").mkdir()
    (out / "__MACOSX" / "Änn.txt").touch()
    (out / "link.txt").symlink_to(roster)
    (out / "old").mkdir()
    for number in range(2_001):
        (out / "old" / f"{number}.json").touch()
    done = json.loads(lab("forget", out, "Änn", "--json").stdout)
    named = [Path(path).relative_to(out) for path in done["exports"]]
    folder = page_name("Änn").removesuffix(".html")
    assert folder.startswith("nn~")  # the id is not in it
    assert [*map(str, named)] == [
        "__MACOSX/Änn.txt", "canvas.csv", f"github/{folder}/result.json", "mac.csv", "moodle.csv"
    ]  # fmt: skip


def test_to_forget_somebody_who_is_called_as_another_s_id_is_changes_nothing_for_that_one(
    tmp_path: Path, hand_ins: Path
) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text("id,name\nanna,ben\nben,Ben\n", encoding="utf-8")
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out, "--roster", roster)
    with Gradebook(out) as book:
        book.note("unordered", ["anna", "ben"])
    lab("forget", out, "anna")
    assert rows(out)["ben"]["state"] == "waiting"
    with Gradebook(out) as book:
        assert book.noted("unordered") == ["ben"]


def test_a_regrading_says_what_changed(tmp_path: Path, hand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out)
    before = {name: float(row["rule:accuracy"]) for name, row in rows(out).items()}
    real = quick_judge.result
    monkeypatch.setattr(quick_judge, "result", lambda *args: real(*args, points=30))
    done = lab("regrade", out, "--rule", "rule:accuracy", "--json")
    said = json.loads(done.stdout.splitlines()[-1])
    lacked = {name for name in ("anna", "ben") if before[name] < 30}
    assert said["graded"] == len(lacked) > 0
    assert {change["student"]: change["items"] for change in said["changes"]} == {
        name: [f"rule:accuracy {before[name]:g} -> 30"] for name in lacked
    }
    assert lab("regrade", out, "--rule", "rule:accuracy").stdout == "0 graded anew, 0 changed.\n"


def test_a_new_rubric_grades_anew_what_it_asks_differently(tmp_path: Path, hand_ins: Path) -> None:
    out, rubric = tmp_path / "out", tmp_path / "own.toml"
    lab("grade", hand_ins, "--out", out)
    own = (Path(classwork.__file__).parents[1] / "rubrics" / "mnist_994.toml").read_text(encoding="utf-8")
    rubric.write_text(own + "\n[late]\ndue = 2026-01-01T00:00:00Z\n")
    assert "0 graded anew" in lab("regrade", out, "--rubric", rubric).stdout
    rubric.write_text(own.replace("below = 20_000", "below = 10_000"))
    assert "2 graded anew" in lab("regrade", out, "--rubric", rubric).stdout


def test_another_lab_marks_and_does_not_mix_its_grades_in(
    tmp_path: Path, hand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as before:
        before.setattr(classwork, "Settings", partial(Settings, judge="0.0+old"))
        lab("grade", hand_ins, "--out", out)
    lab("mark", out, "zoe", "rule:accuracy", "5", "--comment", "by mail")
    assert [(row["state"], row["points"] != "") for row in rows(out).values()] == [
        ("graded", True), ("graded", True), ("missing", True)
    ]  # fmt: skip
    refused = lab("regrade", out, "--student", "anna")
    assert (refused.exit_code, "was graded by another lab" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("regrade", "OUT"), "say what is graded anew"),
        (("regrade", "OUT", "--student", "ann"), "no student 'ann' in this gradebook. Do you mean anna?"),
        (
            ("regrade", "OUT", "--rule", "nonsense"),
            "no exercise or rule 'nonsense'. There are exercise:accuracy, rule:",
        ),
        (("mark", "OUT", "anna", "accuracy", "3", "--comment", "x"), "may be exercise:accuracy or rule:accuracy"),
        (("mark", "OUT", "anna", "rule:accuracy", "3"), "--comment says why"),
        (("mark", "OUT", "anna", "rule:accuracy"), "give POINTS, or --take-back"),
        (("regrade", "EMPTY", "--student", "anna"), "holds no gradebook"),
        (("mark", "EMPTY", "anna", "rule:accuracy", "3", "--comment", "x"), "holds no gradebook"),
    ],
)
def test_a_wrong_call_is_told(tmp_path: Path, hand_ins: Path, arguments: tuple[str, ...], told: str) -> None:
    out = tmp_path / "out"
    lab("grade", hand_ins, "--out", out)
    places = {"OUT": str(out), "EMPTY": str(tmp_path / "empty")}
    done = lab(*(places.get(one, one) for one in arguments))
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "empty").exists()


# -- views ------------------------------------------------------------------------------------------------------------


def test_a_cell_of_the_csv_is_never_a_formula() -> None:
    names = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", 'say "x"', "a,b", "two\nlines", "\x1b[2J"]
    names += [" =1", "\n=1", "\xa0+1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "x;=1+1;y", "x;\uff201"]
    names.append("x; =1; -")
    item = Item("rule", "epochs", "epochs", True, -0.5, 1, "", "")
    found = Class("", [Standing(Student(f"s{n}", name), "graded", items=(item,)) for n, name in enumerate(names)])
    read = list(csv.DictReader(io.StringIO(table(found))))
    assert [row["name"] for row in read] == [
        "'=1+1", "'+1", "'-1", "'@x", "'\tx", "\\rx", 'say "x"', "a,b", "two lines", "\\x1b[2J",
        "' =1", "' =1", "'\xa0+1", "'\uff1d1", "'\uff0b1", "'\uff0d1", "'\uff201", "x;'=1+1;y", "x;'\uff201",
        "x; =1; -",
    ]  # fmt: skip
    assert {row["epochs"] for row in read} == {"-0.5"}  # a number is one


def test_the_live_view_shows_rate_failures_and_a_line_a_student(capsys: pytest.CaptureFixture[str]) -> None:
    student, digest = Student("a", "A\x1b[2J"), "ff" * 32
    with Live() as live:
        live(Progress(total=2))
        live(Progress((student,), quick_judge.result(digest, points=7), 1, 2))
        live(Progress((Student("b"),), quick_judge.result(digest, "grader error"), 2, 2, 1))
        bar = live._bar.tasks[0]
    shown = capsys.readouterr().err
    assert "A\\x1b[2J" in shown
    assert "1/1 + 7/30 points, 99.00%" in shown
    assert "grader error: no room." in shown
    assert (bar.completed, bar.total, bar.fields["failures"]) == (2, 2, "1 could not be graded")
    assert bar.fields["rate"].endswith("a minute")


def test_the_summary_says_what_belongs_to_nobody(tmp_path: Path, hand_ins: Path) -> None:
    (hand_ins / "stranger").mkdir()
    (hand_ins / "stranger" / "net.lab").write_text("x")
    done = lab("grade", hand_ins, "--out", tmp_path / "out")
    assert "1 files or folders belong to nobody" in done.stdout
    assert load_rubric().title in (tmp_path / "out" / "class.html").read_text(encoding="utf-8")
