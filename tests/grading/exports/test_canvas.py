"""Canvas's gradebook filled in, and read back by the rules of Canvas's import."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_class import HOSTILE, a_class, graded, marked, without_grade

from lab.grading.exports import ExportError
from lab.grading.exports.canvas import filled
from lab.grading.roster import InboxError, Table
from lab.grading.standing import Class

HEADER = "Student,ID,SIS User ID,SIS Login ID,Section,The 99.4 Lab (4711),Other (4712),Current Score"
HIDDEN = ",,,,,Manual Posting,,"
POSSIBLE = "    Points Possible,,,,,45,10,(read only)"
ANNA = '"Müller, Anna",17,0042,anna@uni.example,Section 1,,9,88.2'
BEN = '"O\'Brien, Ben",18,0043,ben@uni.example,Section 1,EX,,'
LI = "Li Wei,19,0044,li@uni.example,Section 2,12.5,7,"
TEST = '"Student, Test",99,,,Section 1,,,'


def gradebook(tmp_path: Path, *rows: str, header: str = HEADER, possible: str = POSSIBLE) -> Path:
    path = tmp_path / "grades.csv"
    path.write_text("\n".join([header, *([possible] if possible else []), *rows, ""]), encoding="utf-8")
    return path


def imported(content: bytes) -> dict[str, str]:
    """By Canvas's ID the grade that Canvas reads: after the header, the points, and what is posted by hand."""
    text = content.decode("utf-8-sig")
    lines = text.splitlines()[:3]
    semicolons, commas = ([len(next(csv.reader([line], delimiter=mark))) for line in lines] for mark in ";,")
    delimiter = ";" if len(set(semicolons)) == 1 and semicolons[0] > commas[0] else ","
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert ("Student" in header[0], "ID" in header[1], "Section" in header) == (True, True, True)
    (column,) = [place for place, title in enumerate(header) if re.search(r" \(\d+\)$", title)]
    assert column == len(header) - 1 == header.index("Section") + 1
    found = {}
    for row in rows:
        if "Points Possible" in row[0] or all(re.fullmatch(r"\s*(Manual Posting.*)?\s*", cell) for cell in row):
            continue
        grade = row[column].strip()
        if re.fullmatch(r"-?[0-9.,]+%?", grade):
            *whole, last = re.split("[,.]", grade)
            grade = f"{''.join(whole)}.{last}" if whole else last
        found[row[1]] = grade
    return found


CLASS = a_class(
    graded("0042", "Anna Müller", "Anna@Uni.Example", points=(1, 0, 10, 30)),
    graded("0043", "Ben O'Brien"),
    without_grade("grader error", "0044", "Li Wei", "no room"),
)


def test_points_go_to_the_assignment_and_excused_stays(tmp_path: Path) -> None:
    path = gradebook(tmp_path, ANNA, BEN, LI, TEST)
    before = path.read_bytes()
    done = filled(path, CLASS, "The 99.4 Lab", scale=False)
    assert imported(done.content) == {"17": "41", "18": "EX", "19": "12.5", "99": ""}
    assert path.read_bytes() == before
    assert done.exported == ("0042",)
    assert done.excused == ("0043",)
    assert done.ungraded == {"0044": "the grader failed, which is not their fault: no room"}
    assert (done.lost, done.strangers, done.notes) == ({}, (), ())


def test_headers_and_rows_to_the_letter(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, HIDDEN, ANNA), CLASS, "4711", scale=False)
    assert done.content.decode().splitlines() == [
        '"Student","ID","SIS User ID","SIS Login ID","Section","The 99.4 Lab (4711)"',
        '"    Points Possible","","","","","45"',
        '"","","","","","Manual Posting"',
        '"Müller, Anna","17","0042","anna@uni.example","Section 1","41"',
    ]


def test_other_assignments_and_what_canvas_works_out_are_left_out(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, ANNA), CLASS, "4711", scale=False)
    assert b"4712" not in done.content
    assert b"88.2" not in done.content


@pytest.mark.parametrize("name", ["Other", "Other (4712)", "4712"])
def test_an_assignment_by_its_title_or_id(tmp_path: Path, name: str) -> None:
    header = HEADER.replace("Current", "Unposted Current")
    done = filled(gradebook(tmp_path, ANNA, header=header), CLASS, name, scale=True)
    assert b"Other (4712)" in done.content
    assert imported(done.content) == {"17": "9.11"}  # 41 of 45 as of 10
    assert done.notes[:2] == ("1 of the grades differ from those that the file had.",
                          "45 points in the lab are 10 in Canvas: all are converted.")  # fmt: skip


def test_the_only_assignment_need_not_be_named(tmp_path: Path) -> None:
    header = "Student,ID,SIS User ID,SIS Login ID,Section,Lab (1),Final Score"
    path = gradebook(tmp_path, "A,17,0042,a,S,,1", header=header, possible="")
    assert imported(filled(path, CLASS, None, scale=False).content) == {"17": "41"}


@pytest.mark.parametrize(
    ("assignment", "told"),
    [(None, "'The 99.4 Lab \\(4711\\)', 'Other \\(4712\\)': say which"), ("Third", "none is 'Third'")],
)
def test_which_assignment_has_to_be_clear(tmp_path: Path, assignment: str | None, told: str) -> None:
    with pytest.raises(ExportError, match=told):
        filled(gradebook(tmp_path, ANNA), CLASS, assignment, scale=False)


def test_two_of_one_title_are_told_apart_by_their_id(tmp_path: Path) -> None:
    path = gradebook(tmp_path, ANNA, header=HEADER.replace("Other (", "The 99.4 Lab ("))
    with pytest.raises(ExportError, match="more than one is"):
        filled(path, CLASS, "The 99.4 Lab", scale=False)
    assert imported(filled(path, CLASS, "4711", scale=False).content) == {"17": "41"}


def test_an_assignment_that_is_read_only_can_t_be_chosen(tmp_path: Path) -> None:
    path = gradebook(tmp_path, ANNA, possible=POSSIBLE.replace(",10,", ",(read only),"))
    with pytest.raises(ExportError, match="none is '4712'"):
        filled(path, CLASS, "4712", scale=False)


def test_other_points_are_refused_unless_they_are_to_be_converted(tmp_path: Path) -> None:
    path = gradebook(tmp_path, ANNA, possible=POSSIBLE.replace("45", "100.00"))
    with pytest.raises(ExportError, match=r"100 points, and the lab gives 45.*--scale"):
        filled(path, CLASS, "4711", scale=False)
    done = filled(path, CLASS, "4711", scale=True)
    assert imported(done.content) == {"17": "91.11"}
    assert done.notes == ("45 points in the lab are 100 in Canvas: all are converted.",
                          "1 of the points are rounded to 2 digits after the point.")  # fmt: skip


@pytest.mark.parametrize(("possible", "written"), [("45", "40.5"), ("45.00", "40.50"), ("45,00", "40,50")])
def test_a_fraction_as_the_file_writes_fractions(tmp_path: Path, possible: str, written: str) -> None:
    path = gradebook(tmp_path, ANNA.replace(",", ";").replace("Müller;", "Müller,"), header=HEADER.replace(",", ";"),
                     possible=f"    Points Possible;;;;;{possible};10;")  # fmt: skip
    done = filled(path, a_class(graded("0042", off=4.5)), "4711", scale=False)
    assert f'"{written}"' in done.content.decode()
    assert imported(done.content) == {"17": written.replace(",", ".")}


def test_a_half_of_a_hundredth_is_rounded_up(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, ANNA), a_class(graded("0042", points=(0.125, 0, 10, 30))), "4711", scale=False)
    assert imported(done.content) == {"17": "40.13"}
    assert done.notes == ("1 of the points are rounded to 2 digits after the point.",)


def test_what_canvas_works_out_is_no_assignment(tmp_path: Path) -> None:
    header = HEADER.replace("Other (4712)", "Unposted Final Score (2026)")
    done = filled(gradebook(tmp_path, ANNA, header=header), CLASS, None, scale=False)
    assert imported(done.content) == {"17": "41"}


def test_a_cell_of_the_assignment_that_stays_is_to_the_letter(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, LI.replace("12.5", "-complete")), CLASS, "4711", scale=False)
    assert imported(done.content) == {"19": "-complete"}


def test_bonus_points_stay_bonus_points(tmp_path: Path) -> None:
    one = graded("0042")
    one = replace(one, items=(marked(one.items[0], 6.0), *one.items[1:]))
    assert imported(filled(gradebook(tmp_path, ANNA), a_class(one), "4711", scale=False).content) == {"17": "50"}


def test_who_has_no_grade_keeps_what_is_there_and_is_told(tmp_path: Path) -> None:
    nobody = a_class(
        without_grade("missing", "0042", "Anna Müller"),
        without_grade("waiting", "0043", "Ben"),
        without_grade("grader error", "0044", "Li Wei"),
        without_grade("student error", "0045", "Zoë"),
    )
    done = filled(gradebook(tmp_path, ANNA, BEN, LI, "Zoë,20,0045,zoe,S,,,"), nobody, "4711", scale=False)
    assert imported(done.content) == {"17": "", "18": "EX", "19": "12.5", "20": "0"}
    assert done.exported == ("0045",)  # that is a 0 of their own
    assert done.excused == ("0043",)
    assert list(done.ungraded) == ["0042", "0044"]
    assert done.ungraded["0042"] == "handed in nothing"


def test_whom_canvas_has_not_assigned_it_to_stays(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, ANNA.replace("1,,9", "1,N/A,9")), CLASS, "4711", scale=False)
    assert imported(done.content) == {"17": "N/A"}
    assert "N/A" in done.lost["0042"]


@pytest.mark.parametrize(
    ("id_", "name", "email", "grade"),
    [
        ("0042", "", "", "41"), ("17", "Anna Müller", "", "41"), ("17", "", "", "41"),
        ("ANNA@uni.example", "", "", "41"), ("x", "", "Anna@UNI.example", "41"), ("Anna Müller", "", "", "41"),
        ("amueller", "Anna Müller", "", "41"), ("42", "Someone Else", "", ""), ("18", "Anna Müller", "", ""),
    ],
)  # fmt: skip
def test_found_by_id_login_number_or_a_name_that_fits(
    tmp_path: Path, id_: str, name: str, email: str, grade: str
) -> None:
    """Canvas's file has no addresses, but logins that may be addresses."""
    done = filled(
        gradebook(tmp_path, ANNA, BEN), a_class(graded(id_, name, email, points=(1, 0, 10, 30))), "4711", False
    )
    assert imported(done.content)["17"] == grade
    assert bool(done.lost) == (not grade)


def test_a_leading_zero_is_part_of_an_id(tmp_path: Path) -> None:
    path = gradebook(tmp_path, "A,17,0042,a,S,,,", "B,18,42,b,S,,,")
    both = a_class(graded("0042"), graded("42", points=(0, 0, 0, 30)))
    done = filled(path, both, "4711", scale=False)
    assert imported(done.content) == {"17": "45", "18": "30"}
    assert b'"0042"' in done.content


def test_a_school_s_number_that_is_another_s_number_in_canvas_by_chance(tmp_path: Path) -> None:
    path = gradebook(tmp_path, "A,17,18,a,S,,,", "B,18,17,b,S,,,")
    done = filled(path, a_class(graded("17", points=(1, 0, 0, 0)), graded("18", points=(0, 4, 0, 0))), "4711", False)
    assert imported(done.content) == {"17": "4", "18": "1"}


def test_two_of_one_name_are_told_apart_or_not_exported(tmp_path: Path) -> None:
    path = gradebook(tmp_path, "Kim Lee,17,0042,kim1,S,,,", "Kim Lee,18,0043,kim2,S,,,")
    by_id = a_class(graded("0042", "Kim Lee", points=(1, 0, 0, 0)), graded("0043", "Kim Lee", points=(0, 4, 0, 0)))
    assert imported(filled(path, by_id, "4711", False).content) == {"17": "1", "18": "4"}
    by_name = filled(path, a_class(graded("kim", "Kim Lee")), "4711", False)
    assert imported(by_name.content) == {"17": "", "18": ""}
    assert "line 3" in by_name.lost["kim"]
    assert "line 4" in by_name.lost["kim"]
    assert len(by_name.strangers) == 2


def test_two_students_in_one_row_get_nothing(tmp_path: Path) -> None:
    path = gradebook(tmp_path, "Kim Lee,17,,,S,,,")
    done = filled(path, a_class(graded("kim1", "Kim Lee"), graded("kim2", "Kim Lee")), "4711", False)
    assert imported(done.content) == {"17": ""}
    assert list(done.lost) == ["kim1", "kim2"]


def test_a_name_is_not_enough_where_the_id_is_another(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, ANNA, BEN), a_class(graded("0043", "Ben O'Brien"), graded("0077", "Anna Müller")),
                  "4711", False)  # fmt: skip
    assert imported(done.content)["17"] == ""
    assert "0042" in done.lost["0077"]


def test_who_is_in_the_file_and_not_in_the_class_is_told(tmp_path: Path) -> None:
    assert filled(gradebook(tmp_path, ANNA, BEN, TEST), a_class(CLASS.standings[0]), "4711", False).strangers == (
        "O'Brien, Ben (0043)",
    )


def test_duplicate_rows_get_nothing(tmp_path: Path) -> None:
    done = filled(gradebook(tmp_path, ANNA, ANNA), CLASS, "4711", False)
    assert "0042" in done.lost
    assert "41" not in imported(done.content).values()


def test_a_row_that_is_no_student_s_may_have_other_cells(tmp_path: Path) -> None:
    """As Canvas writes them where it shows no totals."""
    for row in (",,,,,Manual Posting", HIDDEN + ",,,"):
        assert imported(filled(gradebook(tmp_path, row, ANNA), CLASS, "4711", False).content) == {"17": "41"}


@pytest.mark.parametrize(
    "name", ["=1+1", "+cmd", "-2+3|calc", "@SUM(A1)", "\t=1", '"" ""=1', " =1", "\n=1", "\uff1d1", "x;=1"]
)
def test_a_name_is_never_a_formula(tmp_path: Path, name: str) -> None:
    done = filled(gradebook(tmp_path, f'"{name}",17,0042,anna@uni.example,Section 1,,,'), CLASS, "4711", False)
    cells = [cell for row in csv.reader(io.StringIO(done.content.decode())) for cell in row]
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@\uff1d]|[\t\r]|.*;[=]", cell)]
    assert imported(done.content) == {"17": "41"}


def test_commas_quotes_and_lines_in_a_name_stay_in_their_cell(tmp_path: Path) -> None:
    path = gradebook(tmp_path, '"A, ""B""\nC 👩🏽‍💻",17,0042,a,S,,,')
    done = filled(path, CLASS, "4711", False)
    assert imported(done.content) == {"17": "41"}
    out = tmp_path / "out.csv"
    out.write_bytes(done.content)
    assert Table(out).raw[2][1][0] == 'A, "B"\nC 👩🏽‍💻'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_it_is_written_as_it_was(tmp_path: Path, encoding: str, line_end: str) -> None:
    path = tmp_path / "g.csv"
    text = line_end.join([HEADER, POSSIBLE, ANNA, ""])
    path.write_bytes(text.encode(encoding))
    content = filled(path, CLASS, "4711", False).content
    assert content[:4] == '"Stu'.encode(encoding)[:4]
    assert content.decode(encoding).count(line_end) == 3
    assert content.decode(encoding).count("\n") == 3


def test_the_same_again_from_what_was_written(tmp_path: Path) -> None:
    once = filled(gradebook(tmp_path, ANNA, BEN, LI), CLASS, "4711", False)
    path = tmp_path / "again.csv"
    path.write_bytes(once.content)
    again = filled(path, CLASS, None, False)
    assert again.content == once.content
    assert again.notes == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InboxError), ("id,name\n1,Anna\n", ExportError), ("\x00\x01\x02", ExportError),
        (f"{HEADER}\n{POSSIBLE}\n" + ANNA[:30], ExportError), (f"{HEADER}\n" + '"open quote,17', ExportError),
        (f"{HEADER},Extra\n{ANNA}\n", ExportError), ("<html>sign in</html>", ExportError),
    ],
)  # fmt: skip
def test_what_is_no_gradebook_is_told(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "g.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=r"g\.csv"):
        filled(path, CLASS, "4711", False)


def test_a_file_that_is_too_large_a_link_or_a_pipe_is_told(tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with open(large, "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InboxError, match="larger"):
        filled(large, CLASS, None, False)
    link = tmp_path / "link.csv"
    link.symlink_to(gradebook(tmp_path, ANNA))
    with pytest.raises(InboxError, match="link"):
        filled(link, CLASS, None, False)


def test_a_class_that_is_hostile_all_over(tmp_path: Path) -> None:
    hostile: Class = a_class(graded(HOSTILE, HOSTILE, HOSTILE), graded("0042", HOSTILE))
    done = filled(gradebook(tmp_path, ANNA), hostile, "4711", False)
    assert imported(done.content) == {"17": "45"}
    assert "\x1b" not in "".join(done.lost.values())
