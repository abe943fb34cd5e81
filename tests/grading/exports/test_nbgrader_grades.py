"""The CSV, and a course's gradebook, read back with nbgrader's own code: its API, its export, formgrader's handlers."""

import csv
import io
import os
import re
import shutil
import sqlite3
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
import test_nbgrader as programs
from nbconvert.filters import markdown2html
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins.export import CsvExportPlugin
from small_class import HOSTILE, a_class, graded, marked, without_grade

from lab.grading.exports import ExportError
from lab.grading.exports.nbgrader import FILE, HEADER, OURS, table, write
from lab.grading.standing import Class

DUE = datetime(2026, 11, 28, 13, 0, tzinfo=timezone(timedelta(hours=1)))
NAME = "mnist_994"
KEPT = ("out-size", "out-size-check", "grow", "grow-check")
ANNA = graded("anna", "Anna Müller", "anna@uni.example", points=(1, 0, 10, 30), off=4.1, late_by="1 day late, 10 % off")
CLASS = a_class(
    ANNA,
    graded("ben", "Ben"),
    without_grade("grader error", "li", "Li Wei", "no room"),
    without_grade("missing", "zoe"),
    without_grade("student error", "yan", message="a syntax error"),
)
EXPORTED = ("anna", "ben", "yan")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook as `nbgrader generate_assignment` leaves it. One cell is the teacher's own."""
    path = tmp_path_factory.mktemp("nbgrader") / "gradebook.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbgrader.api.get_alembic_version", lambda: "none")  # a program of some seconds
        book = Gradebook(f"sqlite:///{path}", "ml")
    with book:
        book.add_assignment(NAME)
        book.add_notebook(NAME, NAME)
        for name, most in (("out-size-check", 1), ("accuracy-check", 4), ("essay", 5)):
            book.add_grade_cell(name, NAME, NAME, max_score=most, cell_type="code")
        for name in ("out-size", "accuracy"):
            book.add_solution_cell(name, NAME, NAME)
        book.add_student("anna", first_name="Anna", last_name="Müller", email="anna@uni.example")
        book.add_student("b123", first_name="Ben", last_name="B", email="BEN@uni.example")
        book.add_student("other", first_name="Somebody", last_name="Else")
        with book.db.no_autoflush:
            book.add_submission(NAME, "anna")
    return path


@pytest.fixture
def course(tmp_path: Path, generated: Path) -> Path:
    """A course's folder."""
    (tmp_path / "source" / NAME).mkdir(parents=True)
    shutil.copy(generated, tmp_path / "gradebook.db")
    return tmp_path


def scores(course: Path, student: str, assignment: str = NAME) -> dict[str, tuple[Any, ...]]:
    """Of each cell auto_score, manual_score, what counts, and whether a person has to look."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        copy = book.find_submission(assignment, student).notebooks[0]
        return {one.name: (one.auto_score, one.manual_score, one.score, one.needs_manual_grade) for one in copy.grades}


def comments(course: Path, student: str) -> dict[str, str | None]:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return {one.name: one.comment for one in book.find_submission(NAME, student).notebooks[0].comments}


def exported(course: Path) -> dict[str, dict[str, str]]:
    """What `nbgrader export` writes of the course."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        CsvExportPlugin(to=str(course / "out.csv"), assignment=[NAME]).export(book)
    with open(course / "out.csv", encoding="utf-8", newline="") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def course_of_nbgrader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (tmp_path / "source" / NAME).mkdir(parents=True)
    (tmp_path / "nbgrader_config.py").write_text(programs.CONFIG)
    return tmp_path


# -- the CSV ----------------------------------------------------------------------------------------------------------


def test_the_csv_field_by_field() -> None:
    done = table(CLASS, NAME, DUE)
    header, anna, ben, li, zoe, yan = csv.reader(io.StringIO(done.content.decode(), newline=""))
    assert ",".join(header) == (
        "assignment,duedate,timestamp,student_id,last_name,first_name,email,raw_score,late_submission_penalty,score,"
        "max_score"
    )
    assert tuple(header) == HEADER
    assert anna == [
        "mnist_994", "2026-11-28 12:00:00", "2026-11-28 22:05:07", "anna", "Anna Müller", "", "anna@uni.example",
        "41", "4.1", "36.9", "45",
    ]  # fmt: skip
    assert ben[7:] == ["45", "0", "45", "45"]
    assert (li[3], li[7:]) == ("li", ["", "", "", "45"])
    assert (zoe[2:4], zoe[7:]) == (["", "zoe"], ["", "", "", "45"])
    assert yan[7:] == ["0", "0", "0", "45"]
    assert (done.exported, list(done.ungraded)) == (EXPORTED, ["li", "zoe"])
    assert done.content.startswith(b'"assignment","duedate"')


def test_the_csv_s_header_is_nbgrader_s_own(course: Path) -> None:
    exported(course)
    assert (course / "out.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(HEADER)


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "@SUM(A1)", "\t=1", "-2+3", HOSTILE])
def test_a_name_is_never_a_formula(name: str) -> None:
    done = table(a_class(graded("a", name, name)), NAME, None)
    rows = list(csv.reader(io.StringIO(done.content.decode(), newline="")))
    assert len(rows) == 2
    assert len(rows[1]) == len(HEADER)
    assert not [cell for cell in rows[1] if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert rows[1][4].startswith("'")


# -- a course's gradebook ---------------------------------------------------------------------------------------------


def test_points_go_to_the_cells_of_the_checks_and_rules_get_their_own(course: Path) -> None:
    done = write(course, CLASS, None, DUE, scale=False)
    assert done.exported == EXPORTED
    assert list(done.ungraded) == ["li", "zoe"]
    assert (done.lost, done.notes) == ({}, ("2 students were added to the course: ben, yan.",))
    assert scores(course, "anna") == {
        "out-size-check": (1, None, 1, False), "accuracy-check": (0, None, 0, False), "essay": (None, None, 0, True),
        "assignment-epochs": (10, None, 10, False), "assignment-accuracy": (30, None, 30, False),
    }  # fmt: skip
    assert comments(course, "anna") == {
        "out-size": None, "accuracy": "exercise 2: accuracy: Try again.", "assignment-epochs": None,
        "assignment-accuracy": None,
    }  # fmt: skip


def test_nbgrader_s_own_export_has_the_same_points(course: Path) -> None:
    write(course, CLASS, NAME, DUE, scale=False)
    rows = exported(course)
    assert set(rows) == {"anna", "b123", "other", "ben", "yan"}
    for one in CLASS.standings:
        if one.student.id in EXPORTED:
            row = rows[one.student.id]
            assert float(row["score"]) == pytest.approx(one.points, abs=1e-9)
            assert float(row["late_submission_penalty"]) == pytest.approx(one.off, abs=1e-9)
            assert float(row["max_score"]) == one.max_points + 5  # the teacher's own cell
    assert (rows["ben"]["timestamp"], rows["anna"]["timestamp"]) == ("2026-11-28 22:05:07", "")  # hers was there before


def test_formgrader_shows_the_same(course: Path) -> None:
    for student in EXPORTED:
        for step in ("submitted", "autograded"):
            (course / step / student / NAME).mkdir(parents=True)
            (course / step / student / NAME / f"{NAME}.ipynb").touch()
    write(course, CLASS, NAME, DUE, scale=False)
    api = NbGraderAPI(CourseDirectory(root=str(course)))
    shown = {one["student"]: one for one in api.get_submissions(NAME)}
    assert set(shown) == set(EXPORTED)
    assert (shown["anna"]["score"], shown["anna"]["max_score"]) == (41, 50)  # it takes the penalty off when it exports
    assert (shown["ben"]["score"], shown["ben"]["needs_manual_grade"]) == (45, True)  # the essay
    assert (shown["anna"]["last_name"], shown["anna"]["first_name"]) == ("Müller", "Anna")
    copies = {one["student"]: (one["score"], one["max_score"]) for one in api.get_notebook_submissions(NAME, NAME)}
    assert copies == {"anna": (41, 50), "ben": (45, 50), "yan": (0, 50)}


def test_students_are_found_by_their_address_or_added(course: Path) -> None:
    found = a_class(graded("0043", "Ben B", "ben@uni.example"), graded("new", '=Noë, "N"\n', "noe@uni.example"))
    done = write(course, found, NAME, None, scale=False)
    assert done.exported == ("0043", "new")
    assert scores(course, "b123")["assignment-accuracy"][2] == 30
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        assert {one.id for one in book.students} == {"b123", "anna", "other", "new"}
        noe = book.find_student("new")
        assert (noe.last_name, noe.first_name, noe.email) == ("'=Noë N", None, "noe@uni.example")
        assert book.find_student("b123").first_name == "Ben"
    assert "1 students were added to the course: new." in done.notes


def test_who_can_t_be_told_apart_is_not_exported(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.add_student("b124", first_name="Ben", last_name="B")
    done = write(course, a_class(graded("x", "Ben B")), NAME, None, scale=False)
    assert done.exported == ()
    assert "b123" in done.lost["x"]
    assert "b124" in done.lost["x"]


def test_points_by_hand_are_manual_scores_known_again_and_taken_back(course: Path) -> None:
    one = graded("anna", points=(0, 4, 10, 30))
    by_hand = replace(one, items=(marked(one.items[0], 0.5, "Half\nright."), *one.items[1:3], marked(one.items[3], 20)))
    write(course, a_class(by_hand), NAME, None, scale=False)
    assert scores(course, "anna")["out-size-check"] == (None, 0.5, 0.5, False)
    assert scores(course, "anna")["assignment-accuracy"] == (None, 20, 20, False)
    assert comments(course, "anna")["out-size"] == f"{OURS} out-size-check: 0.5 points, by T. Eacher: Half right."
    again = replace(one, items=(marked(one.items[0], 1.0, "Right."), *one.items[1:]))
    write(course, a_class(again), NAME, None, scale=False)
    assert scores(course, "anna")["out-size-check"] == (None, 1, 1, False)
    assert scores(course, "anna")["assignment-accuracy"] == (30, None, 30, False)
    write(course, a_class(one), NAME, None, scale=False)
    assert scores(course, "anna")["out-size-check"] == (0, None, 0, False)
    assert comments(course, "anna")["out-size"] == "exercise 1: out-size: Try again."


def test_what_a_person_graded_in_nbgrader_stays_and_is_told(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        copy = book.find_submission(NAME, "anna").notebooks[0]
        given = {one.name: one for one in copy.grades}
        given["accuracy-check"].manual_score, given["accuracy-check"].extra_credit = 3.0, 0.5
        given["essay"].manual_score = 5.0
        next(one for one in copy.comments if one.name == "accuracy").manual_comment = "See me."
        book.db.commit()
    for _ in range(2):
        done = write(course, a_class(ANNA), NAME, None, scale=False)
        assert scores(course, "anna")["accuracy-check"][1:3] == (3, 3.5)
        assert scores(course, "anna")["essay"][1] == 5
        assert comments(course, "anna")["accuracy"] == "See me."
        assert "1 points by hand in nbgrader stay: anna, accuracy-check: 3, and 0 here." in done.notes


def test_one_of_ours_that_a_person_has_changed_since_is_theirs(course: Path) -> None:
    one = graded("anna")
    by_hand = a_class(replace(one, items=(marked(one.items[0], 0.5), *one.items[1:])))
    write(course, by_hand, NAME, None, scale=False)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.find_grade("out-size-check", NAME, NAME, "anna").manual_score = 0.25
        book.db.commit()
    write(course, by_hand, NAME, None, scale=False)
    write(course, a_class(one), NAME, None, scale=False)
    assert scores(course, "anna")["out-size-check"][1] == 0.25


def test_several_checks_of_one_answer_share_its_comment(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.add_grade_cell("version-3-check", NAME, NAME, max_score=1, cell_type="code")
        book.add_grade_cell("version-3-98-check", NAME, NAME, max_score=4, cell_type="code")
        book.add_solution_cell("version-3", NAME, NAME)
    one = graded("ben", points=(0, 0, 10, 30))
    items = (replace(one.items[0], name="version-3"), replace(one.items[1], name="version-3-98"), *one.items[2:])
    write(course, a_class(replace(one, items=items)), NAME, None, scale=False)
    assert comments(course, "ben")["version-3"] == (
        "exercise 1: version-3: Try again.\nexercise 2: version-3-98: Try again."
    )


def test_another_notebook_of_the_assignment_keeps_its_part_of_the_penalty(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.add_notebook("second", NAME)
        book.remove_submission(NAME, "anna")
        book.add_grade_cell("epochs-check", "second", NAME, max_score=10, cell_type="code")
    one = replace(ANNA, items=(*ANNA.items[:2], replace(ANNA.items[2], kind="exercise"), ANNA.items[3]))
    write(course, a_class(one), NAME, None, scale=False)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        found = {copy.name: copy for copy in book.find_submission(NAME, "anna").notebooks}
        assert found[NAME].late_submission_penalty == pytest.approx(3.1)
        assert (found["second"].late_submission_penalty, found["second"].score) == (pytest.approx(1.0), 10)


def test_an_assignment_that_is_not_there_is_made(course: Path) -> None:
    done = write(course, CLASS, "second", DUE, scale=False)
    assert done.exported == EXPORTED
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        made = book.find_assignment("second")
        assert (made.course_id, made.max_score, made.duedate) == ("ml", 45, datetime(2026, 11, 28, 12))
        assert [notebook.name for notebook in made.notebooks] == ["second"]
        assert len(book.assignments) == 2
        assert book.find_submission("second", "anna").score == 41
    assert done.notes[0].endswith("source/second.")
    assert scores(course, "anna", "second")["accuracy-check"] == (0, None, 0, False)


@pytest.mark.slow
def test_a_course_without_a_gradebook_gets_one(tmp_path: Path) -> None:
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\n")
    with pytest.raises(ExportError, match=r"assignments none: say which with --assignment"):
        write(tmp_path, CLASS, None, None, scale=False)
    assert not (tmp_path / "gradebook.db").exists()
    assert "is new" in write(tmp_path, CLASS, NAME, None, scale=False).notes[0]
    assert exported(tmp_path)["anna"]["score"] == str(41 - 4.1)


def test_other_points_are_refused_unless_they_are_to_be_converted(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.find_grade_cell("accuracy-check", NAME, NAME).max_score = 8
        book.db.commit()
    before = (course / "gradebook.db").read_bytes()
    with pytest.raises(ExportError, match=r"accuracy-check: 8, 4 here.*--scale"):
        write(course, CLASS, NAME, None, scale=False)
    assert (course / "gradebook.db").read_bytes() == before
    write(course, CLASS, NAME, None, scale=True)
    assert scores(course, "ben")["accuracy-check"][2] == 8


def test_what_fails_half_way_leaves_the_gradebook_as_it_was(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = exported(course)

    def fails(*arguments: object, **named: object) -> None:
        raise RuntimeError("the power is out")

    monkeypatch.setattr("lab.grading.exports.nbgrader._told", fails)
    with pytest.raises(RuntimeError):
        write(course, CLASS, NAME, None, scale=False)
    assert exported(course) == before
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        assert len(book.students) == 3
        assert len(book.find_notebook(NAME, NAME).grade_cells) == 3


def test_a_gradebook_that_is_in_use_is_told_and_stays(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    quickly = partial(connect, timeout=0.1)
    monkeypatch.setattr("sqlite3.dbapi2.connect", quickly)
    held = connect(course / "gradebook.db", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ExportError, match="locked"):
            write(course, CLASS, NAME, None, scale=False)
    finally:
        held.close()
    assert write(course, CLASS, NAME, None, scale=False).exported == EXPORTED


@pytest.mark.parametrize(("content", "told"), [(b"not a database", "no SQLite"), (None, "neither gradebook.db")])
def test_what_is_no_course_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "gradebook.db").write_bytes(content)
    with pytest.raises(ExportError, match=told):
        write(tmp_path, CLASS, NAME, None, scale=False)


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    made = sqlite3.connect(tmp_path / "gradebook.db")
    made.execute("CREATE TABLE songs (name TEXT)")
    made.close()
    with pytest.raises(ExportError, match="no table submitted_assignment"):
        write(tmp_path / "gradebook.db", CLASS, NAME, None, scale=False)


def test_without_nbgrader_it_says_how_to_get_it(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    with pytest.raises(ExportError, match="pip install nbgrader"):
        write(course, CLASS, NAME, None, scale=False)


def test_hostile_texts_are_text_in_the_gradebook(course: Path) -> None:
    one = graded("anna", points=(0, 0, 0, 0), message=HOSTILE)
    one = replace(one, items=(marked(one.items[0], 0.5, HOSTILE), *one.items[1:]))
    found: Class = a_class(one, graded("noe", HOSTILE))
    assert write(course, found, NAME, None, scale=False).exported == ("anna", "noe")
    assert set(exported(course)) == {"anna", "b123", "other", "noe"}
    assert "\x1b" not in (comments(course, "anna")["accuracy"] or "")
    assert "\x1b" not in (comments(course, "anna")["out-size"] or "")
    assert "&lt;script&gt;alert(1)" in (comments(course, "anna")["accuracy"] or "")


@pytest.mark.parametrize(
    "text",
    ["<script>", "\n\n<script>x</script>\n\n", "&lt;script>", "\\<script>", "<svg x=y>", "`a`<iframe>", "$<b>$"],
)
def test_no_tag_of_a_student_s_is_in_the_page_that_nbgrader_makes(course: Path, text: str) -> None:
    write(course, a_class(graded("anna", points=(0, 0, 0, 0), message=text)), NAME, None, scale=False)
    page = markdown2html(comments(course, "anna")["accuracy"])
    assert not re.findall(r"<(?!/?(?:p|br|code|pre|span|div)\b)", page)


def test_a_name_that_begins_as_a_message_makes_nobody_unknown(course: Path) -> None:
    name = f"nobody in {FILE}"
    with Gradebook(f"sqlite:///{course / FILE}") as book:
        for id_ in ("one", "two"):
            book.add_student(id_, first_name="nobody", last_name=f"in {FILE}")
    done = write(course, a_class(graded("x", name), graded("anna")), NAME, None, scale=False)
    assert done.exported == ("anna",)
    assert "have the same name" in done.lost["x"]


@pytest.mark.parametrize(
    "id_", ["../evil", "/evil", "..", "a,b", 'a"b', "a\nb", "=1+1", "-1", "a/b", "a\\b", "x" * 200]
)
def test_an_id_that_is_no_folder_s_name_is_not_added(course: Path, id_: str) -> None:
    done = write(course, a_class(graded(id_), graded("anna")), NAME, None, scale=False)
    assert done.exported == ("anna",)
    assert "folder" in done.lost[id_]
    assert set(exported(course)) == {"anna", "b123", "other"}


@pytest.mark.slow
def test_a_term_in_nbgrader_s_own_program(course_of_nbgrader: Path) -> None:
    """Generated, exported to before and after `nbgrader autograde`, and exported by nbgrader."""
    place, whole = course_of_nbgrader, programs.source()
    cells = [cell for cell in whole.cells if cell.metadata.get("nbgrader", {}).get("grade_id", "") in KEPT]
    whole.cells = [cell for cell in whole.cells if "setup" in cell.metadata.get("tags", [])] + cells
    nbformat.write(whole, place / "source" / NAME / f"{NAME}.ipynb")
    programs.nbgrader(place, "generate_assignment", NAME)
    released = nbformat.read(place / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    programs.submit(place, "anna", released, {})
    anna = replace(ANNA, items=(replace(ANNA.items[0], points=1.0), replace(ANNA.items[1], name="grow", max_points=1.0,
                                                                            points=1.0), *ANNA.items[2:]))  # fmt: skip
    write(place, a_class(anna), None, None, scale=False)
    before = scores(place, "anna")
    programs.nbgrader(place, "autograde", NAME)  # she left all open: of the exercises nbgrader gives her none
    after = scores(place, "anna")
    assert {name: of[2] for name, of in after.items()} == {
        "out-size-check": 0, "grow-check": 0, "assignment-epochs": 10, "assignment-accuracy": 30
    }  # fmt: skip
    write(place, a_class(anna), None, None, scale=False)
    assert scores(place, "anna") == before
    programs.nbgrader(place, "export", "--to", "grades.csv")
    with open(place / "grades.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (float(row["score"]), float(row["max_score"])) == (pytest.approx(anna.points), anna.max_points)
    api = NbGraderAPI(CourseDirectory(root=str(place)))
    (shown,) = api.get_submissions(NAME)
    assert (shown["score"], shown["max_score"], shown["needs_manual_grade"]) == (42, 42, False)
