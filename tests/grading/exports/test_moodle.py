"""Moodle's grading worksheet filled in, and read back by the rules of Moodle's import."""

import csv
import html
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_class import HOSTILE, a_class, graded, marked, without_grade

from lab.grading.exports import ExportError
from lab.grading.exports.moodle import LONGEST, OURS, comment, filled
from lab.grading.roster import InboxError

HEADER = (
    "Identifier,Full name,ID number,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
    "Last modified (submission),Online text,Last modified (grade),Feedback comments"
)
ANNA = ('Participant 4711,Anna Müller,0042,anna@uni.example,Submitted for grading,,45.00,Yes,"Wednesday, 10 June 2026, '
        '2:14 PM",,-,')  # fmt: skip
BEN = "Participant 4712,Ben O'Brien,0043,ben@uni.example,Graded,12.00,45.00,No,-,,-,"
LI = "Participant 4713,Li Wei,0044,li@uni.example,No submission,,45.00,Yes,-,,-,"
LANGUAGES = {
    "de": ("ID,Vollständiger Name,E-Mail-Adresse,Status,Bewertung,Bestwertung,Bewertung kann geändert werden,"
           "Zuletzt geändert (Abgabe),Zuletzt geändert (Bewertung),Feedback als Kommentar", "Teilnehmer/in", "Ja"),
    "fr": ("Identifiant,Nom complet,Adresse de courriel,Statut,Note,Note maximale,La note peut être modifiée,"
           "Dernière modification (travail remis),Dernière modification (note),Feedback par commentaires",
           "Participant", "Oui"),
    "es": ("Identificador,Nombre completo,Dirección de correo,Estado,Calificación,Calificación máxima,"
           "La calificación puede ser cambiada,Última modificación (entrega),Última modificación (calificación),"
           "Comentarios de retroalimentación", "Participante", "Sí"),
    "it": ("Identificativo,Nome completo,Indirizzo email,Stato,Valutazione,Valutazione massima,"
           "La valutazione può essere cambiata,Ultima modifica (consegna),Ultima modifica (valutazione),"
           "Commenti feedback", "Partecipante", "Sì"),
    "nl": ("Identificatie,Volledige naam,E-mailadres,Status,Cijfer,Maximumcijfer,Cijfer kan worden gewijzigd,"
           "Laatst gewijzigd (inzending),Laatst gewijzigd (cijfer),Feedback opmerkingen", "Deelnemer", "Ja"),
}  # fmt: skip


def worksheet(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "Grades-Lab-77.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def imported(content: bytes, point: str = ".", grade: str = "Grade", word: str = "Participant ") -> dict[str, object]:
    """By Moodle's number the grade that Moodle reads: None where it skips the row.

    point: what a fraction begins with in the teacher's language, which Moodle makes a "." of.
    """
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows
    found: dict[str, object] = {}
    for row in rows:
        id_ = next(iter(row.values()))[len(word) :]
        text = row[grade].strip().replace(" ", "").replace(point, ".")
        found[id_] = None if text == "" else float(text)
    return found


def comments(content: bytes) -> list[str]:
    return [row["Feedback comments"] for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))]


CLASS = a_class(
    graded("0042", "Anna Müller", "Anna@Uni.Example", points=(1, 0, 10, 30)),
    graded("0043", "Ben O'Brien"),
    without_grade("grader error", "0044", "Li Wei", "no room"),
)


def test_points_and_comments_and_no_row_that_can_t_be_changed(tmp_path: Path) -> None:
    path = worksheet(tmp_path, ANNA, BEN, LI)
    before = path.read_bytes()
    done = filled(path, CLASS, scale=False)
    assert imported(done.content) == {"4711": 41, "4712": 12, "4713": None}
    assert comments(done.content) == [
        "The 99.4 Lab: 41 of 45 points.<br>exercise 2: accuracy: 0 of 4. Try again.", "", ""
    ]  # fmt: skip
    assert path.read_bytes() == before
    assert done.exported == ("0042",)
    assert list(done.lost) == ["0043"]
    assert "No" in done.lost["0043"]
    assert done.ungraded == {"0044": "the grader failed, which is not their fault: no room"}
    assert (done.strangers, done.notes) == ((), ())


def test_headers_and_all_other_cells_to_the_letter(tmp_path: Path) -> None:
    done = filled(worksheet(tmp_path, ANNA, BEN, LI), CLASS, scale=False)
    header, anna, ben, li = csv.reader(io.StringIO(done.content.decode(), newline=""))
    assert header == HEADER.split(",")
    assert anna[:5] == ["Participant 4711", "Anna Müller", "0042", "anna@uni.example", "Submitted for grading"]
    assert anna[5:11] == ["41.00", "45.00", "Yes", "Wednesday, 10 June 2026, 2:14 PM", "", "-"]
    assert ben == BEN.split(",")
    assert li == LI.split(",")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("most", ["45,00", "45.00"])
def test_in_other_languages_with_a_comma(tmp_path: Path, language: str, most: str) -> None:
    header, word, yes = LANGUAGES[language]
    row = f'{word} 4711,Anna Müller,anna@uni.example,x,,"{most}",{yes},-,-,'
    no = f'{word} 4712,Ben,ben@uni.example,x,,"{most}",{"Nein" if language == "de" else "No"},-,-,'
    found = a_class(graded("4711", "Anna Müller", off=4.5), graded("4712", "Ben"))
    done = filled(worksheet(tmp_path, row, no, header=header), found, scale=False)
    grade = header.split(",")[4]
    assert imported(done.content, ",", grade, f"{word} ") == {"4711": 40.5, "4712": None}
    assert (b'"40,50"' in done.content) == ("," in most)
    assert b"The 99.4 Lab: 40.5 of 45 points." in done.content
    assert list(done.lost) == ["4712"]


def test_with_the_state_of_a_workflow_between(tmp_path: Path) -> None:
    header = HEADER.replace("Grade can", "Marking workflow state,Grade can")
    done = filled(worksheet(tmp_path, ANNA.replace(",Yes", ",In marking,Yes"), header=header), CLASS, scale=False)
    assert imported(done.content) == {"4711": 41}


def test_hidden_names(tmp_path: Path) -> None:
    header = HEADER.replace("Full name,ID number,Email address,", "")
    row = "Participant 4711,Submitted for grading,,45,Yes,-,,-,"
    done = filled(worksheet(tmp_path, row, header=header), a_class(graded("4711")), scale=False)
    assert imported(done.content) == {"4711": 45}


def test_a_number_of_another_assignment_is_another_s(tmp_path: Path) -> None:
    done = filled(worksheet(tmp_path, ANNA, LI), a_class(graded("4711", "Li Wei")), scale=False)
    assert imported(done.content) == {"4711": None, "4713": None}
    assert "4711" in done.lost


def test_other_points_are_refused_unless_they_are_to_be_converted(tmp_path: Path) -> None:
    path = worksheet(tmp_path, ANNA.replace("45.00", "100.00"))
    with pytest.raises(ExportError, match=r"100 points, and the lab gives 45"):
        filled(path, CLASS, scale=False)
    done = filled(path, CLASS, scale=True)
    assert imported(done.content) == {"4711": 91.11}
    assert done.notes == ("45 points in the lab are 100 in Moodle: all are converted.",
                          "1 of the points are rounded to 2 digits after the point.")  # fmt: skip


def test_no_more_than_the_maximum_which_moodle_would_skip(tmp_path: Path) -> None:
    one = graded("0042")
    one = replace(one, items=(marked(one.items[0], 6.0), *one.items[1:]))
    done = filled(worksheet(tmp_path, ANNA), a_class(one), scale=False)
    assert imported(done.content) == {"4711": 45}
    assert done.notes == ("1 have more than 45 points, by hand: Moodle takes no more than its maximum.",)


def test_a_comment_of_the_teacher_s_stays_and_ours_is_replaced(tmp_path: Path) -> None:
    theirs = filled(worksheet(tmp_path, ANNA + '"- good\nstart"'), CLASS, scale=False)
    assert comments(theirs.content) == ["- good\nstart"]
    assert imported(theirs.content) == {"4711": 41}
    assert theirs.notes == ("1 comments were there already, and stay.",)
    path = worksheet(tmp_path, ANNA + f"{OURS}3 of 45 points.")
    assert comments(filled(path, CLASS, scale=False).content)[0].startswith(f"{OURS}41 of 45 points.")


def test_a_grade_that_was_another_one_is_told(tmp_path: Path) -> None:
    rows = [BEN.replace("No", "Yes"), ANNA.replace("grading,,", 'grading,"41,0",')]
    assert filled(worksheet(tmp_path, *rows), CLASS, scale=False).notes == (
        "1 of the grades differ from those that the file had.",
    )


def test_a_worksheet_without_comments(tmp_path: Path) -> None:
    path = worksheet(tmp_path, ANNA.removesuffix(","), header=HEADER.removesuffix(",Feedback comments"))
    done = filled(path, CLASS, scale=False)
    assert imported(done.content) == {"4711": 41}
    assert "no column for comments" in done.notes[0]


def test_what_a_student_reads() -> None:
    one = graded("a", points=(1, 0, 10, 0), off=1.1, late_by="1 day late, 10 % off", message="Try\n  again <b>now</b>")
    one = replace(one, items=(*one.items[:3], marked(one.items[3], 20.0, "See me & <ask>")))
    lines = [html.unescape(line) for line in comment(one).split("<br>")]
    assert lines == [
        "The 99.4 Lab: 29.9 of 45 points.", "1 day late, 10 % off",
        "exercise 2: accuracy: 0 of 4. Try again <b>now</b>", "accuracy: 20 of 30. See me & <ask>",
    ]  # fmt: skip
    assert "<b>" not in comment(one)
    assert comment(graded("a")) == "The 99.4 Lab: 45 of 45 points."
    all_by_hand = replace(one, items=(*graded("a").items[:3], marked(graded("a").items[3], 30.0)), off=0.0, late_by="")
    assert comment(all_by_hand).endswith("<br>accuracy: 30 of 30. Well tried.")
    failed = without_grade("student error", "a", message="net.py: SyntaxError")
    assert comment(failed).startswith(
        "The 99.4 Lab: 0 of 45 points.<br>net.py: SyntaxError<br>exercise 1: out-size: 0 of"
    )


def test_a_comment_is_one_line_not_too_long_and_harmless() -> None:
    told = comment(graded("a", points=(0, 0, 0, 0), message=HOSTILE + "x" * 1000))
    assert not {"\n", "\x1b", "\u202e", "\t"} & set(told)
    assert "<script" not in told
    assert max(len(html.unescape(line)) for line in told.split("<br>")) == LONGEST
    told.encode("utf-8")


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2+3|calc", "@SUM(A1)", "\t=1", " =1", "\n=1", "\uff1d1", "x;=1"])
def test_a_name_or_a_text_is_never_a_formula(tmp_path: Path, name: str) -> None:
    row = ANNA.replace("Anna Müller", f'"{name}"').replace('PM",,-', f'PM","{name}",-')
    done = filled(worksheet(tmp_path, row), CLASS, scale=False)
    cells = next(csv.DictReader(io.StringIO(done.content.decode(), newline=""))).values()
    assert [cell for cell in cells if re.match(r"\s*[=+\-@\uff1d]|[\t\r]|.*;[=]", cell)] == ["-"]
    assert imported(done.content) == {"4711": 41}


def test_nobody_is_found_by_a_name_that_two_have(tmp_path: Path) -> None:
    two = "Participant 4711,Kim Lee,,,x,,45,Yes,-,,-,", "Participant 4712,Kim Lee,,,x,,45,Yes,-,,-,"
    done = filled(worksheet(tmp_path, *two), a_class(graded("kim", "Kim Lee")), scale=False)
    assert imported(done.content) == {"4711": None, "4712": None}
    assert "have the same name" in done.lost["kim"]


def test_a_name_is_not_enough_where_the_address_is_another(tmp_path: Path) -> None:
    other = a_class(graded("x", "Anna Müller", "other@uni.example"))
    done = filled(worksheet(tmp_path, ANNA), other, scale=False)
    assert imported(done.content) == {"4711": None}
    assert "anna@uni.example" in done.lost["x"]
    same = filled(worksheet(tmp_path, ANNA), a_class(graded("x", "A. Müller", "ANNA@uni.example")), scale=False)
    assert imported(same.content) == {"4711": 45}


def test_a_group_has_one_grade_in_each_member_s_row(tmp_path: Path) -> None:
    both = a_class(graded("0042", "Anna Müller", points=(0, 4, 0, 0)), graded("0044", "Li Wei", points=(0, 4, 0, 0)))
    assert imported(filled(worksheet(tmp_path, ANNA, LI), both, False).content) == {"4711": 4, "4713": 4}


def test_byte_order_mark_and_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_bytes("\r\n".join([HEADER, ANNA, ""]).encode("utf-8-sig"))
    content = filled(path, CLASS, scale=False).content
    assert content.startswith(b'\xef\xbb\xbf"Identifier","Full name"')
    assert content.count(b"\r\n") == content.count(b"\n") == 2


def test_the_same_again_from_what_was_written(tmp_path: Path) -> None:
    once = filled(worksheet(tmp_path, ANNA, BEN, LI), CLASS, scale=False).content
    path = tmp_path / "again.csv"
    path.write_bytes(once)
    assert filled(path, CLASS, scale=False).content == once


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,name\n1,Anna\n", "Participant 123"),
        (f"{HEADER}\n", "Participant 123"),
        (f"{HEADER}\n{ANNA[:60]}", "line 2"),
        (f"{HEADER}\n{ANNA.replace('45.00', 'Good')}\n", "scale"),
        (f"{HEADER}\n{ANNA.replace('Yes', 'maybe')}\n", None),
        (f"{HEADER.replace('Grade can be', 'X')}\n{ANNA.replace('Yes', 'maybe')}", "whether a grade can be changed"),
        (f"{HEADER}\n{ANNA}\n{LI.replace('45.00', '50.00')}", "no maximum grade"),
    ],
)  # fmt: skip
def test_what_is_no_worksheet_is_told(tmp_path: Path, text: str, told: str | None) -> None:
    path = tmp_path / "w.csv"
    path.write_text(text, encoding="utf-8")
    if told is None:  # an answer that nobody knows is no yes
        assert "maybe" in filled(path, CLASS, scale=False).lost["0042"]
        return
    with pytest.raises(ExportError, match=told):
        filled(path, CLASS, scale=False)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(b"")
    with pytest.raises(InboxError, match="empty"):
        filled(tmp_path / "w.csv", CLASS, scale=False)
