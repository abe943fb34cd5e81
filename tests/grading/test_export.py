"""What a teacher types to hand grades over, and what lies there afterwards; in the place of the judge a quick one."""

import csv
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from made_up_class import a_class
from test_classwork import Here

from lab.cli import main
from lab.grading import classwork
from lab.grading import export as exports
from lab.grading.crowd import Settings
from lab.grading.exports import canvas, moodle, nbgrader
from lab.grading.exports._points import whole_points, why_no_grade
from lab.grading.grade import Options
from lab.grading.standing import Class, Standing, Student
from lab.rules import load_rubric

ROSTER = (
    "id,name,email\n0042,Anna Ä,anna@uni.example\n0043,=Ben,ben@uni.example\n0044,Zoë,zoe@uni.example\n"
    "0045,Kim,kim@uni.example\n"
)
CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Lab (7)
    Points Possible,,,,,101
"Ä, Anna",1,0042,anna,S,
"=Ben",2,0043,ben,S,
Zoë,3,0044,zoe,S,
"""
MOODLE = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (grade)
Participant 7,Anna Ä,anna@uni.example,x,,101,Yes,-
Participant 8,Nobody,nobody@uni.example,x,,101,Yes,-
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(classwork, "LocalWorkers", Here)
    monkeypatch.setattr(classwork, "_check_machine", lambda book, settings: None)
    yield
    Here.jobs.clear()


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two with a grade, one of the grader's errors, one who handed in nothing."""
    place = tmp_path_factory.mktemp("class")
    for student, said in (("0042", "anna"), ("0043", "ben"), ("0044", "ours")):
        (place / "in" / student).mkdir(parents=True)
        (place / "in" / student / "net.lab").write_text(said)
    (place / "roster.csv").write_text(ROSTER, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classwork, "LocalWorkers", Here)
        patch.setattr(classwork, "_check_machine", lambda book, settings: None)
        lab("grade", place / "in", "--out", place / "grades")
    return place


@pytest.fixture
def grades(tmp_path: Path, graded: Path) -> Path:
    """The folder of the grades, with the hand-ins beside it."""
    shutil.copytree(graded, tmp_path, dirs_exist_ok=True)
    return tmp_path / "grades"


def lab(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def points(grades: Path) -> dict[str, str]:
    with open(grades / "grades.csv", encoding="utf-8", newline="") as file:
        return {row["student"]: row["points"] for row in csv.DictReader(file)}


def test_a_folder_for_each_form_with_a_file_a_student(grades: Path) -> None:
    for form, name, more in (
        ("gradescope", "results.json", ()),
        ("github", "result.json", ()),
        ("classroom50", "result.json", ("--classroom", "org/ml", "--assignment", "lab")),
    ):
        done = lab("export", grades, "--to", form, *more)
        assert done.exit_code == 1, done.output  # two have no grade
        found = {path.parent.name: json.loads(path.read_bytes()) for path in (grades / form).glob(f"*/{name}")}
        if form == "classroom50":  # a file has no date that anybody vouches for
            assert found == {}
            assert "when it was handed in" in done.stdout
            continue
        assert set(found) == {"0042", "0043"}
        for student, document in found.items():
            total = document.get("score", sum(test.get("score", 0) for test in document["tests"]))
            assert total == float(points(grades)[student])
        assert not list(grades.glob("*.part"))


def test_nobody_without_a_grade_gets_one_and_all_are_told(grades: Path) -> None:
    done = lab("export", grades, "--to", "github")
    assert done.stdout.splitlines() == [
        f"{grades / 'github'}: 2 of 4 students' grades are written.",
        "without a grade: Zoë (0044): the grader failed, which is not their fault: no room.",
        "without a grade: Kim (0045): handed in nothing",
    ]


def test_json_has_the_same(grades: Path) -> None:
    done = lab("export", grades, "--to", "nbgrader", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found == {
        "written": str(grades / "nbgrader.csv"), "complete": False, "students": 4, "exported": ["0042", "0043"],
        "not_exported": {}, "ungraded": {"0044": "the grader failed, which is not their fault: no room.",
                                         "0045": "handed in nothing"},
        "excused": [], "strangers": [], "notes": [],
    }  # fmt: skip
    assert lab("export", grades, "--to", "nbgrader", "--assignment", "ps1").exit_code == 1
    assert '"ps1","","","0042","Anna Ä"' in (grades / "nbgrader.csv").read_text(encoding="utf-8")


def test_worksheets_are_filled_in_beside_and_status_is_0_when_all_are_in(grades: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "canvas.csv"
    sheet.write_text(CANVAS + "Kim,4,0045,kim,S,EX\n", encoding="utf-8")
    before = sheet.read_bytes()
    most = float(points_of_most(grades))
    sheet.write_bytes(before := before.replace(b"101", f"{most:g}".encode()))
    done = lab("export", grades, "--to", "canvas", "--worksheet", sheet)
    assert done.exit_code == 1
    assert "excused: Kim (0045)" in done.stdout
    assert sheet.read_bytes() == before
    assert f'"1","0042","anna","S","{points(grades)["0042"]}"' in (grades / "canvas-canvas.csv").read_text("utf-8")
    (tmp_path / "in" / "0044" / "net.lab").write_text("well")
    lab("grade", tmp_path / "in", "--out", grades)
    assert lab("export", grades, "--to", "canvas", "--worksheet", sheet, "--out", tmp_path / "o.csv").exit_code == 0
    assert (tmp_path / "o.csv").is_file()


def points_of_most(grades: Path) -> str:
    with open(grades / "grades.csv", encoding="utf-8", newline="") as file:
        return next(row["max_points"] for row in csv.DictReader(file))


def test_who_is_in_the_worksheet_alone_or_in_the_class_alone_is_told(grades: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "moodle.csv"
    sheet.write_text(MOODLE, encoding="utf-8")
    done = lab("export", grades, "--to", "moodle", "--worksheet", sheet, "--scale")
    assert done.exit_code == 1
    assert "not exported, though graded: =Ben (0043): nobody in moodle.csv has that id" in done.stdout
    assert "in the worksheet, and not in the class: Nobody (nobody@uni.example)" in done.stdout
    assert "1 of 4 students" in done.stdout


def test_points_by_hand_are_in_it(grades: Path) -> None:
    assert lab("mark", grades, "0045", "rule:accuracy", "12.5", "--comment", "By e-mail").exit_code == 0
    for form, name in (("github", "result.json"), ("gradescope", "results.json")):
        lab("export", grades, "--to", form)
        found = json.loads((grades / form / "0045" / name).read_bytes())
        assert sum(test.get("score", 0) for test in found["tests"]) == 12.5


def test_an_earlier_export_is_replaced_as_a_whole_and_nothing_else(grades: Path, tmp_path: Path) -> None:
    lab("export", grades, "--to", "github")
    (grades / "github" / "gone").mkdir()
    (grades / "github" / "gone" / "result.json").write_text("{}")
    assert lab("export", grades, "--to", "github").exit_code == 1
    assert sorted(path.name for path in (grades / "github").iterdir()) == ["0042", "0043"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = lab("export", grades, "--to", "github", "--out", tmp_path / "mine")
    assert done.exit_code == 2
    assert "thesis.txt" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (grades / "github" / "0042" / "notes.txt").write_text("mine")
    assert lab("export", grades, "--to", "github").exit_code == 2
    assert (grades / "github" / "0042" / "notes.txt").is_file()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    done = lab("export", grades, "--to", "github", "--out", tmp_path / "link")
    assert (done.exit_code, "link is no folder" in done.stderr) == (2, True)
    assert lab("export", grades, "--to", "github", "--out", tmp_path / "empty").exit_code == 1


@pytest.mark.parametrize("name", ["gradebook.sqlite", "gradebook.lock", "grades.csv", "class.html", "linked.csv"])
def test_the_class_s_own_files_are_never_written_over(grades: Path, name: str) -> None:
    (grades / "linked.csv").hardlink_to(grades / "gradebook.sqlite")
    before = {path: path.read_bytes() for path in grades.rglob("*") if path.is_file()}
    done = lab("export", grades, "--to", "nbgrader", "--out", grades / name)
    assert done.exit_code == 2
    assert "is the class's own, and would be lost" in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write everywhere")
def test_where_nothing_may_be_written_it_is_told_as_a_user(grades: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    done = lab("export", grades, "--to", "nbgrader", "--out", tmp_path / "closed" / "a.csv")
    assert done.exit_code == 2


@pytest.mark.parametrize("form", ["nbgrader", "github"])
def test_where_nothing_can_be_written_it_is_told(grades: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("x")
    done = lab("export", grades, "--to", form, "--out", tmp_path / "file" / "below")
    assert done.exit_code == 2
    assert "below" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--to", "blackboard"), "--to is one of gradescope, classroom50, github, nbgrader, canvas, moodle"),
        (("--to", "canvas"), "--worksheet FILE"),
        (("--to", "moodle"), "Download grading worksheet"),
        (("--to", "github", "--worksheet", "SHEET"), "--worksheet is for canvas and moodle"),
        (("--to", "github", "--scale"), "--scale is for"),
        (("--to", "moodle", "--worksheet", "SHEET", "--assignment", "x"), "--assignment is for"),
        (("--to", "canvas", "--worksheet", "SHEET", "--course", "SHEET"), "--course is for nbgrader"),
        (("--to", "nbgrader", "--course", "SHEET", "--out", "x"), "give one of them"),
        (("--to", "classroom50"), "--classroom ORGANISATION/CLASSROOM"),
        (("--to", "classroom50", "--classroom", "ml", "--assignment", "lab"), "--classroom ORGANISATION/CLASSROOM"),
        (("--to", "nbgrader", "--classroom", "o/c"), "--classroom is for classroom50"),
        (("--to", "canvas", "--worksheet", "SHEET", "--out", "SHEET"), "stays as it is"),
        (("--to", "canvas", "--worksheet", "SHEET", "--scale", "--out", "."), "is a folder"),
    ],
)
def test_a_wrong_call_is_told(grades: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(CANVAS.replace("101", "100"), encoding="utf-8")
    given = [str(sheet) if one == "SHEET" else one for one in arguments]
    done = lab("export", grades, *given)
    assert done.exit_code == 2
    assert told in done.stderr
    assert sheet.read_text(encoding="utf-8") == CANVAS.replace("101", "100")
    assert told in json.loads(lab("export", grades, *given, "--json").stdout)["error"]


def test_a_folder_without_a_gradebook_is_told_and_gets_none(tmp_path: Path) -> None:
    done = lab("export", tmp_path, "--to", "github")
    assert done.exit_code == 2
    assert "holds no gradebook" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_database_s_grades(grades: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{grades / 'gradebook.sqlite'}"
    done = lab("export", tmp_path / "elsewhere", "--to", "nbgrader", "--gradebook", url)
    assert done.exit_code == 1, done.output
    assert (tmp_path / "elsewhere" / "nbgrader.csv").is_file()


# -- a whole class, there and back ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> Class:
    """300, some of them hostile; what two students share in a worksheet is left to other tests."""
    return a_class(300)


def sheet_of(whole: Class, head: str, row: Any) -> str:
    """A worksheet with everybody in it."""
    text = io.StringIO()
    text.write(head)
    csv.writer(text).writerows(row(number, one) for number, one in enumerate(whole.standings, 1))
    return text.getvalue()


def expected(whole: Class) -> dict[str, Standing]:
    return {one.student.id: one for one in whole.standings if not why_no_grade(one)}


def test_canvas_there_and_back(whole: Class, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    head = "Student,ID,SIS User ID,SIS Login ID,Section,Lab (1)\nPoints Possible,,,,,130.00\n"
    text = sheet_of(whole, head, lambda n, one: [one.student.name, 9000 + n, one.student.id, f"l{n}", "S", ""])
    path.write_text(text, encoding="utf-8")
    started = time.perf_counter()
    done = canvas.filled(path, whole, None, scale=False)
    assert time.perf_counter() - started < 5
    assert done.lost == {}
    assert set(done.exported) == set(expected(whole))
    back = {row["ID"]: row["Lab (1)"] for row in csv.DictReader(done.content.decode().splitlines())}
    for number, one in enumerate(whole.standings, 1):
        said = back[str(9000 + number)]
        if one.student.id in expected(whole):
            assert float(said) == pytest.approx(one.points, abs=0.005)
        else:
            assert said == ""


def test_moodle_there_and_back(whole: Class, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    head = MOODLE.splitlines()[0].replace("(grade)", "(grade),Feedback comments") + "\n"
    rest = ["x", "", "130.00", "Yes", "-", ""]
    text = sheet_of(whole, head, lambda n, one: [f"Participant {n}", one.student.name, one.student.email, *rest])
    path.write_text(text, encoding="utf-8")
    done = moodle.filled(path, whole, scale=False)
    assert done.lost == {}
    rows = list(csv.DictReader(done.content.decode().splitlines()))
    assert len(rows) == 300
    for row, one in zip(rows, whole.standings, strict=True):
        if one.student.id in expected(whole):
            assert float(row["Grade"]) == pytest.approx(one.points, abs=0.005)
            assert row["Feedback comments"].startswith(f"The 99.4 Lab: {one.points:g} of 130 points.")
            assert not re.search(r"<(?!br>)", row["Feedback comments"])
        else:
            assert (row["Grade"], row["Feedback comments"]) == ("", "")


@pytest.mark.parametrize("in_groups", [False, True])
def test_classroom_50_there_and_back(whole: Class, tmp_path: Path, in_groups: bool) -> None:
    schema = json.loads((Path(__file__).parent / "exports" / "classroom50_result.schema.json").read_text("utf-8"))
    if in_groups:
        first = next(one for one in whole.standings if one.student.id in expected(whole) and one.delivery is not None)
        partner = replace(first.delivery, partners=(Student("partner"),)) if first.delivery is not None else None
        whole = replace(whole, standings=[replace(one, delivery=partner) if one is first else one
                                          for one in whole.standings])  # fmt: skip
    wanted = exports.Wanted("classroom50", assignment="lab", classroom="org/ml")
    done = exports._folder(tmp_path / "out", whole, Settings(load_rubric(), Options()), wanted)
    assert set(done.exported) == set(expected(whole))
    found = {}
    for path in (tmp_path / "out").glob("*/result.json"):
        document = json.loads(path.read_bytes())
        jsonschema.Draft202012Validator(schema).validate(document)
        found[document["owner"]] = document
    for id_, one in expected(whole).items():
        assert found[id_]["score"] == whole_points(one.points)
        assert found[id_]["assignment_type"] == ("group" if in_groups else "individual")
        assert one.delivery is not None
        assert found[id_]["submission"] == f"submit/{one.delivery.submitted:%Y-%m-%dT%H-%M-%SZ}"
        assert found[id_]["commit"] == f"https://github.com/org/ml-lab-{id_}/commits"
        assert found[id_]["release"] == f"https://github.com/org/ml-lab-{id_}/releases"
    rounded = sum(one.points % 1 > 0 for one in expected(whole).values())
    assert done.notes == (f"{rounded} of the scores are rounded to whole points.",)


def test_nbgrader_there_and_back(whole: Class, tmp_path: Path) -> None:
    done = nbgrader.table(whole, "lab", None)
    rows = list(csv.DictReader(done.content.decode().splitlines()))
    assert len(rows) == 300
    for row, one in zip(rows, whole.standings, strict=True):
        if one.student.id in expected(whole):
            assert float(row["score"]) == pytest.approx(one.points, abs=1e-9)
            assert float(row["raw_score"]) - float(row["late_submission_penalty"]) == pytest.approx(one.points)
        else:
            assert row["score"] == ""


# -- the file that was the roster is the one that is filled in --------------------------------------------------------


def test_the_gradebook_of_canvas_that_was_the_roster(tmp_path: Path) -> None:
    folder, roster = tmp_path / "in", tmp_path / "roster.csv"
    folder.mkdir()
    for name in ("aanna_1_1001_net.lab", "ben_LATE_2_1002_net.lab"):
        (folder / name).write_text(name)
    roster.write_text(CANVAS.replace('"Ä, Anna"', '"A, Anna"'), encoding="utf-8")
    lab("grade", folder, "--out", tmp_path / "grades")
    done = lab("export", tmp_path / "grades", "--to", "canvas", "--worksheet", roster)
    assert done.exit_code == 1
    assert "2 of 3 students" in done.stdout
    back = {row["SIS User ID"]: row["Lab (7)"] for row in read(tmp_path / "grades" / "canvas-roster.csv")}
    found = points(tmp_path / "grades")
    assert back == {"": "101", "0042": found["0042"], "0043": found["0043"], "0044": ""}


def test_the_worksheet_of_moodle_that_was_beside_the_hand_ins(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "Anna Ä_7_assignsubmission_file_").mkdir(parents=True)
    (folder / "Anna Ä_7_assignsubmission_file_" / "net.lab").write_text("anna")
    sheet = folder / "Grades-Lab-1.csv"
    sheet.write_text(MOODLE, encoding="utf-8")
    lab("grade", folder, "--out", tmp_path / "grades")
    done = lab("export", tmp_path / "grades", "--to", "moodle", "--worksheet", sheet)
    assert done.exit_code == 1, done.output
    back = [row["Grade"] for row in read(tmp_path / "grades" / f"moodle-{sheet.name}")]
    assert back == [points(tmp_path / "grades")["anna@uni.example"], ""]
    assert "without a grade: Nobody (nobody@uni.example): handed in nothing" in done.stdout


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
