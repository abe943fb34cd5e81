"""From a platform's folder to the hand-in that counts of each student. Nothing is guessed, nothing is lost."""

import os
import subprocess
import tempfile
import unicodedata
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.grading.collect import MAX_FILES
from lab.grading.inbox import Inbox, InboxError, is_class, read_inbox
from lab.grading.roster import Claim, read_roster, same, same_name
from lab.grading.standing import Delivery
from lab.rules import Late

CLASS = """id,first name,last name,email,username
0042,Anna,Müller,anna@uni.example,amueller
0043,Seán,O'Brien,sean@uni.example,sob
0044,Li,Wei,li@uni.example,liwei
0045,Jo,Smith,jo@uni.example,jo-smith
"""
DUE = datetime(2026, 6, 10, 14, 0, tzinfo=timezone(timedelta(hours=2)))
LATE = Late(due=DUE, off_per_day=0.1, closes=DUE + timedelta(days=7))


def put(folder: Path, files: dict[str, str] | list[str]) -> Path:
    """Files with these contents, or each with its name in it."""
    for name, content in (files if isinstance(files, dict) else {name: name for name in files}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
    return folder


def ids(deliveries: tuple[Delivery, ...]) -> dict[str, list[str]]:
    """The names of the files, by student."""
    return {one.student.id: list(one.files) for one in deliveries}


def of(inbox: Inbox, student: str) -> Delivery:
    """The one that counts."""
    (found,) = [one for one in inbox.deliveries if one.student.id == student]
    return found


# -- Moodle -----------------------------------------------------------------------------------------------------------

WORKSHEET = (
    "\ufeffIdentifier,Full name,ID number,Email address,Status,Grade,Maximum grade,Grade can be changed,"
    "Last modified (submission),Last modified (grade),Feedback comments\r\n"
    "Participant 4711,Anna Müller,0042,anna@uni.example,Submitted for grading - ,,100.00,Yes,"
    '"Wednesday, 10 June 2026, 1:14 PM","Thursday, 11 June 2026, 9:00 AM",\r\n'
    "Participant 4712,Seán O'Brien,0043,sean@uni.example,Submitted for grading - 15 mins late - ,,100.00,Yes,"
    '"Wednesday, 10 June 2026, 2:15 PM",-,"two\r\nlines"\r\n'
    "Participant 4713,Li Wei,0044,li@uni.example,No submission - ,,100.00,Yes,-,-,\r\n"
)


@pytest.mark.parametrize(
    "names",
    [
        ["Anna Müller_4711_assignsubmission_file_/net.lab", "Seán OBrien_4712_assignsubmission_file_/net.lab"],
        ["Anna Müller_4711_assignsubmission_file/net.lab", "Seán OBrien_4712_assignsubmission_file/net.lab"],
        ["Anna Müller_4711_assignsubmission_file_net.lab", "Seán OBrien_4712_assignsubmission_file_net.lab"],
        ["Anna_Müller_4711_assignsubmission_file_net.lab", "Sean O_Brien_x_4712_assignsubmission_file_net.lab"],
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_moodle_in_folders_and_flat(tmp_path: Path, names: list[str], form: str) -> None:
    folder = put(tmp_path / "hw", [unicodedata.normalize(form, name) for name in names])
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert inbox.platform == "moodle"
    expected = {"0042": ["net.lab"], "0043": ["net.lab"]}
    if "O_Brien_x" in names[1]:  # nobody of the class is called so
        del expected["0043"]
        assert "O_Brien_x_4712" in inbox.unmatched[0]
    assert ids(inbox.deliveries) == expected
    assert [one.id for one in inbox.missing] == [one for one in ("0042", "0043", "0044", "0045") if one not in expected]
    assert is_class(folder)
    assert all(not is_class(inside) for inside in folder.iterdir())


def test_moodles_worksheet_says_who_when_and_late(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "hw",
        {
            "Participant_4711_assignsubmission_file_/net.lab": "a",
            "Participant_4711_assignsubmission_onlinetext_/onlinetext.html": "<p>please</p>",
            "Participant_4712_assignsubmission_onlinetext_/onlinetext.html": "<p>sorry</p>",
            "Grades-ML-Assignment 1-77.csv": WORKSHEET,
        },
    )
    inbox = read_inbox(folder, late=LATE)
    assert ids(inbox.deliveries) == {"0042": ["net.lab", "onlinetext.html"], "0043": ["onlinetext.html"]}
    assert of(inbox, "0042").submitted == datetime(2026, 6, 10, 13, 14, tzinfo=DUE.tzinfo)
    assert not of(inbox, "0042").late
    assert of(inbox, "0043").late
    assert of(inbox, "0043").submitted == DUE + timedelta(minutes=15)
    assert of(inbox, "0043").notes == ("there is a text that was typed in, and no file.",)
    assert [one.name for one in inbox.missing] == ["Li Wei"]  # the worksheet names everybody
    assert any("UTC+02:00" in note for note in inbox.notes)


@pytest.mark.parametrize(
    ("header", "who", "time"),
    [
        ("ID,Vollständiger Name,E-Mail-Adresse,Status,Bewertung,Zuletzt geändert (Abgabe),Zuletzt geändert (Bewertung)",
         "Teilnehmer/in 4711", '"Mittwoch, 10. Juni 2026, 13:14"'),
        ("Identifiant,Nom complet,Adresse de courriel,Statut,Note,Dernière modification (travail remis),Autre",
         "Participant 4711", "mercredi 10 juin 2026 13:14"),
        ("Tunniste,Nimi,Sähköposti,Tila,Arvosana,Muokattu (palautus),Muokattu (arvosana)",
         "Osallistuja 4711", '"Wednesday, June 10, 2026, 1:14\u202fPM"'),
    ],
)  # fmt: skip
def test_a_worksheet_in_another_language(tmp_path: Path, header: str, who: str, time: str) -> None:
    row = f"{who},Anna Müller,anna@uni.example,x,,{time},2026-06-11 09:00"
    folder = put(
        tmp_path / "hw",
        {f"{who.split()[0].replace('/', '')}_4711_assignsubmission_file_/n.lab": "a", "g.csv": f"{header}\n{row}"},
    )
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv", late=LATE)
    assert of(inbox, "0042").submitted == datetime(2026, 6, 10, 13, 14, tzinfo=DUE.tzinfo)


def test_a_worksheet_of_another_assignment_names_nobody(tmp_path: Path) -> None:
    folder = put(tmp_path / "hw", {"Li Wei_4711_assignsubmission_file_/n.lab": "a", "other.csv": WORKSHEET})
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert of(inbox, "0044").submitted is None
    assert "other.csv does not know it." in of(inbox, "0044").notes


def test_a_worksheet_that_a_student_handed_in_says_nothing(tmp_path: Path) -> None:
    forged = WORKSHEET.replace("1:14 PM", "1:14 AM")
    names = {"Li Wei_4713_assignsubmission_file_g.csv": forged, "Anna Müller_4711_assignsubmission_file_n.lab": "a"}
    folder = put(tmp_path / "hw", names)
    assert of(read_inbox(folder, late=LATE), "4711").submitted is None
    put(tmp_path, {"Grades.csv": WORKSHEET})  # the teacher's lies beside
    assert of(read_inbox(folder, late=LATE), "0042").submitted == datetime(2026, 6, 10, 13, 14, tzinfo=DUE.tzinfo)


def test_a_worksheet_where_names_are_hidden(tmp_path: Path) -> None:
    time = '"Wednesday, 10 June 2026, 1:14 PM"'
    sheet = f"Identifier,Status,Grade,Last modified (submission)\nParticipant 7,x,,{time}\nParticipant 8,x,,-\n"
    folder = put(tmp_path / "hw", {"Participant_7_assignsubmission_file_/n.lab": "a", "g.csv": sheet})
    inbox = read_inbox(folder, late=LATE)
    assert of(inbox, "7").submitted == datetime(2026, 6, 10, 13, 14, tzinfo=DUE.tzinfo)
    assert [one.id for one in inbox.missing] == ["8"]
    known = read_inbox(folder, put(tmp_path, {"roster.csv": "id,name\n7,Anna\n8,Li\n"}) / "roster.csv")
    assert not known.deliveries  # Moodle's number 7 is nobody's id


def test_a_time_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    sheet = WORKSHEET.replace("Wednesday, 10 June 2026, 1:14 PM", "10/06/26, 1:14")
    folder = put(tmp_path / "hw", {"Anna Müller_4711_assignsubmission_file_/n.lab": "a", "g.csv": sheet})
    inbox = read_inbox(folder, late=LATE)
    assert of(inbox, "0042").submitted is None
    assert any("'10/06/26, 1:14' is no time" in note for note in inbox.notes)


def test_a_file_that_is_called_like_another_students_stays_its_own(tmp_path: Path) -> None:
    trick = "Li Wei_4713_assignsubmission_file_net.lab"
    whose = ["Anna Müller_4711_assignsubmission_file_", "Default group_assignsubmission_file_"]
    folder = put(tmp_path / "hw", [f"{one}{trick}" for one in whose])
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert ids(inbox.deliveries) == {"0042": [trick]}
    (tmp_path / "roster.csv").unlink()
    assert sorted(ids(read_inbox(folder).deliveries)) == ["4711", "Default group"]


# -- Canvas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_canvas_late_versions_texts_and_several_files(tmp_path: Path, form: str) -> None:
    names = [
        *("müllerannα_999_3000_net.lab", "mülleranna_101_3001_net.lab", "mülleranna_101_3009_net-1.lab"),
        *("mülleranna_101_3002_report_of_101_3001_x.pdf", "obrienseán_LATE_102_3003_net-2.lab", "weili_103_text.html"),
        *("smithjo_104_3010_lab-1.py", "smithjo_104_3011_lab-2.py", "notes of mine.txt"),
    ]
    folder = put(tmp_path / "submissions", [unicodedata.normalize(form, name) for name in names])
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert inbox.platform == "canvas"
    assert ids(inbox.deliveries) == {
        "0042": ["net.lab", "report_of_101_3001_x.pdf"],
        "0043": ["net.lab"],
        "0044": ["text.html"],
        "0045": ["lab-1.py", "lab-2.py"],
    }
    assert of(inbox, "0042").files["net.lab"].name.endswith("_101_3009_net-1.lab")
    assert (of(inbox, "0042").attempt, of(inbox, "0042").late) == (2, False)
    assert (of(inbox, "0043").attempt, of(inbox, "0043").late) == (3, True)
    assert of(inbox, "0045").attempt == 1  # nobody handed in a lab.py: these are names like any other
    assert [one.files["net.lab"].name[-18:] for one in inbox.superseded] == ["a_101_3001_net.lab"]
    assert len(inbox.unmatched) == 2
    assert "α_999" in inbox.unmatched[0]
    assert "'notes of mine.txt'" in inbox.unmatched[1]


def test_the_rest_of_a_name_is_a_files_name_again(tmp_path: Path) -> None:
    folder = put(tmp_path / "s", ["doejane_101_3001_..", "roejohn_LATE_102_3002_n.lab", "roejohn_102_3001_n.lab"])
    with pytest.raises(InboxError, match="nothing that was handed in"):
        read_inbox(put(tmp_path / "empty", {"roster.csv": "id\n1\n"}))
    inbox = read_inbox(folder)
    assert ids(inbox.deliveries) == {"101": ["...file"], "102": ["n.lab"]}
    assert of(inbox, "102").late  # only the second one
    assert not inbox.superseded[0].late


def test_moodle_with_a_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    names = ["file_/onlinetext.html/n.lab", "onlinetext_/onlinetext.html"]
    inbox = read_inbox(put(tmp_path / "s", [f"Anna_1_assignsubmission_{name}" for name in names]))
    assert "Anna (1) handed in 2 times" in inbox.unmatched[0]


def test_canvas_anonymous_and_groups(tmp_path: Path) -> None:
    roster = "id,name,group\n1,Anna Müller,Team A-1\n2,Li Wei,Team A-1\n3,Jo Smith,\n"
    folder = put(tmp_path / "s", ["teama1_55_3001_net.lab", "LATE_anon_aB3xY_3002_net.lab"])
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": roster}) / "roster.csv")
    assert ids(inbox.deliveries) == {"1": ["net.lab"], "2": ["net.lab"]}
    assert [one.id for one in of(inbox, "1").partners] == ["2"]
    assert "anon_aB3xY" in inbox.unmatched[0]
    alone = read_inbox(put(tmp_path / "t" / "s", ["anon_aB3xY_3002_net.lab"]))
    assert ids(alone.deliveries) == {"anon_aB3xY": ["net.lab"]}


GRADEBOOK = """Student,ID,SIS User ID,SIS Login ID,Section,Lab (77)
    Points Possible,,,,,100
"Müller, Anna",101,0042,amueller,A,
"Wei, Li",102,0044,liwei,A,
"Student, Test",,,abc,A,
"""


def test_canvas_by_its_own_number(tmp_path: Path) -> None:
    folder = put(tmp_path / "s", ["mülleranna_101_3001_net.lab", "obriensean_102_3002_net.lab", "x_0042_3003_n.lab"])
    inbox = read_inbox(folder, put(tmp_path, {"grades.csv": GRADEBOOK}) / "grades.csv")
    assert ids(inbox.deliveries) == {"0042": ["net.lab"]}
    assert [one.id for one in inbox.missing] == ["0044"]  # 102 is Wei's number, and not O'Brien's name
    assert len(inbox.unmatched) == 2


def test_a_number_that_is_another_students_id_is_nobodys(tmp_path: Path) -> None:
    folder = put(tmp_path / "s", ["doejane_42_3001_net.lab"])
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": "id,name\n42,Anna Müller\n"}) / "roster.csv")
    assert not inbox.deliveries
    assert [one.id for one in inbox.missing] == ["42"]


# -- Gradescope -------------------------------------------------------------------------------------------------------

METADATA = """---
submission_201:
  :submitters:
  - :name: Anna Müller
    :sid: '0042'
    :email: anna@uni.example
  - :name: Wei Li
    :sid:
    :email: LI@uni.example
  :created_at: &1 2026-06-10 12:30:00.123456000 Z
  :score: 1.0
  :results: !ruby/object:Kernel
    tests: [{output: "!!python/object/apply:os.system ['touch owned']"}]
  :history:
  - :id: 150
    :created_at: 2026-06-09 10:00:00.000000000 -07:00
    :score: 0.0
submission_202:
  :submitters:
  - :name: Sean O'Brien
    :sid: 0043
  :created_at: *1
submission_203:
  :submitters:
  - :name: "Ev\\e[2Jil"
    :sid: '666'
  - :name: Somebody Else
    :sid: '777'
    :email: else@uni.example
  :created_at: 2026-06-10 12:30:00 Z
submission_204:
  :submitters: []
../../etc:
  :submitters:
  - :sid: '0045'
"""


def test_gradescope_groups_and_earlier_attempts(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "assignment_5_export",
        {"submission_metadata.yml": METADATA, "submission_201/net.lab": "b", "submission_150/net.lab": "a"}
        | {"submission_202/src/net.ipynb": "c", "submission_203/n.lab": "d", "submission_204/n.lab": "e"}
        | {"submission_9/n.lab": "f"},
    )
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert inbox.platform == "gradescope"
    assert ids(inbox.deliveries) == {"0042": ["net.lab"], "0043": ["src/net.ipynb"], "0044": ["net.lab"]}
    assert of(inbox, "0042").files["net.lab"].read_text() == "b"
    assert [one.id for one in of(inbox, "0042").partners] == ["0044"]
    assert of(inbox, "0042").submitted == datetime(2026, 6, 10, 12, 30, tzinfo=timezone.utc)
    assert of(inbox, "0043").submitted == of(inbox, "0042").submitted
    assert of(inbox, "0042").attempt == 2
    assert [(one.student.id, one.attempt) for one in inbox.superseded] == [("0042", 1), ("0044", 1)]
    assert inbox.superseded[0].submitted == datetime(2026, 6, 9, 17, tzinfo=timezone.utc)
    assert all(line.isprintable() for line in inbox.unmatched)
    told = "\n".join(inbox.unmatched)
    assert all(f"'{name}'" in told for name in ("submission_203", "submission_204", "submission_9", "../../etc"))
    assert [one.id for one in inbox.missing] == ["0045"]


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x]\n"
        + "".join(f"{c}: &{c} [{f'*{b},' * 9}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True))
        + "submission_1: {':submitters': *i, ':history': *i}\n",
        "submission_1: &s {':submitters': [*s], ':history': [*s]}\n",
        "submission_1: {':submitters': [{':sid': [], ':name': {}, ':email': null}]}\n",
    ],
    ids=["bomb", "circle", "no texts"],
)
def test_a_bomb_of_yaml_does_nothing(tmp_path: Path, content: str) -> None:
    folder = put(tmp_path / "g", {"submission_metadata.yml": content, "submission_1/net.lab": "a"})
    inbox = read_inbox(folder)
    assert not inbox.deliveries
    assert len(inbox.unmatched) < 20


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("submission_1: " + "[" * 60_000, "nested"),  # PyYAML's own loaders end the process
        ("submission_1: [", "no YAML"),
        ("? [a]\n: b\n", "a key of it is no text"),
        ("- a\n", "names no submissions"),
        ("", "names no submissions"),
    ],
)
def test_metadata_that_are_none_are_told(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(InboxError, match=told):
        read_inbox(put(tmp_path / "g", {"submission_metadata.yml": content, "submission_1/net.lab": "a"}))


# -- nbgrader ---------------------------------------------------------------------------------------------------------


def test_nbgrader_by_its_root_or_its_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = put(
        tmp_path / "course",
        {
            "nbgrader_config.py": "c = get_config()",
            "roster.csv": CLASS,
            "submitted/amueller/lab1/mnist.ipynb": "a",
            "submitted/amueller/lab1/timestamp.txt": "2026-06-10 05:30:00.948203 America/Los_Angeles",
            "submitted/sob/lab1/mnist.ipynb": "b",
            "submitted/sob/lab1/timestamp.txt": "2026-06-10 13:00:00",
            "submitted/liwei/lab1/timestamp.txt": "2026-06-10 13:00:00 UTC",
            "submitted/zoë/lab1/mnist.ipynb": "c",
            "submitted/loose.txt": "d",
            "autograded/amueller/lab1/mnist.ipynb": "graded",
            "feedback/amueller/lab1/mnist.html": "told",
        },
    )
    for folder in (course, course / "submitted"):
        assert is_class(folder)
        inbox = read_inbox(folder, late=LATE, roster=course / "roster.csv")
        assert inbox.platform == "nbgrader"
        assert ids(inbox.deliveries) == {"0042": ["mnist.ipynb"], "0043": ["mnist.ipynb"]}
        assert of(inbox, "0042").submitted == datetime(2026, 6, 10, 12, 30, tzinfo=timezone.utc)
        assert of(inbox, "0043").submitted == datetime(2026, 6, 10, 13, tzinfo=DUE.tzinfo)
        assert len(inbox.unmatched) == 2
        assert [one.id for one in inbox.missing] == ["0044", "0045"]
    monkeypatch.chdir(course / "submitted")
    assert is_class(Path("."))
    assert all(one.files["mnist.ipynb"].is_absolute() for one in read_inbox(Path(".")).deliveries)
    put(course, ["submitted/loose.ipynb"])
    assert read_inbox(course / "submitted").platform == "nbgrader"
    assert not is_class(course / "submitted" / "amueller")
    assert not is_class(course / "submitted" / "amueller" / "lab1")


def test_of_several_assignments_one_is_named(tmp_path: Path) -> None:
    tree = put(tmp_path / "submitted", ["anna/lab1/a.ipynb", "anna/lab2/a.ipynb", "bob/lab2/b.ipynb"])
    with pytest.raises(InboxError, match="several assignments \\(lab1, lab2\\)"):
        read_inbox(tree)
    assert list(ids(read_inbox(tree, assignment="lab1").deliveries)) == ["anna"]
    with pytest.raises(InboxError, match="'lab3'"):
        read_inbox(tree, assignment="lab3")
    assert not is_class(tree / "bob")


# -- repositories -----------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str, when: str = "1781093640 +0200") -> str:
    """One command of git's, in the folder, without any configuration of the machine's."""
    here = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    who = {f"GIT_{one}_{what}": text for one in ("AUTHOR", "COMMITTER")
           for what, text in (("NAME", "A > B"), ("EMAIL", "a@b"), ("DATE", when))}  # fmt: skip
    done = subprocess.run(["git", *arguments], cwd=folder, env=here | who, capture_output=True, check=True, text=True)
    return done.stdout


def clone(folder: Path, packed: bool = False) -> Path:
    """A repository with one commit."""
    put(folder, {"net.lab": folder.name, ".gitignore": "*.pyc"})
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "hand in")
    if packed:
        git(folder, "gc", "-q")
        git(folder, "pack-refs", "--all")
    return folder


def test_repositories_are_dated_by_their_last_commit(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    clone(folder / "lab1-amueller")
    clone(folder / "lab1-jo-smith", packed=True)
    put(folder / "lab1-liwei", ["net.lab"])  # unpacked from an archive
    put(folder / "lab1-sob", ["net.lab", ".git/HEAD"])
    put(folder, {"roster.csv": CLASS + "0046,Max,Smith,max@uni.example,smith\n", "lab1-smith/net.lab": "another's"})
    inbox = read_inbox(folder)
    assert inbox.platform == "repositories"
    assert ids(inbox.deliveries) == {one: ["net.lab"] for one in ("0042", "0043", "0044", "0045", "0046")}
    for student in ("0042", "0045"):
        assert of(inbox, student).submitted == datetime(2026, 6, 10, 14, 14, tzinfo=DUE.tzinfo)
        assert of(inbox, student).claimed
    assert of(inbox, "0043").submitted is None
    assert "nobody says when" in of(inbox, "0043").notes[0]
    assert is_class(folder)
    assert not any(is_class(one) for one in folder.iterdir())


@pytest.mark.parametrize(("platform", "student"), [("nbgrader", "anna/lab1/net.lab"), ("repositories", "anna/net.lab")])
def test_a_table_beside_the_students_folders_is_nobodys_hand_in(tmp_path: Path, platform: str, student: str) -> None:
    folder = put(tmp_path / "class", [student, "grades.csv", "net.lab"])
    (stray,) = read_inbox(folder, platform=platform).unmatched
    assert stray.startswith("'net.lab' lies beside the ")


def test_a_login_that_ends_like_anothers_is_its_own(tmp_path: Path) -> None:
    roster = put(tmp_path, {"roster.csv": "id,username\n1,smith\n2,anna\n3,bob\n"}) / "roster.csv"
    folder = put(tmp_path / "class", ["lab1-jo-smith/n.lab", "lab1-anna/n.lab"])
    assert list(ids(read_inbox(folder, roster, platform="repositories").deliveries)) == ["2"]
    put(folder, ["other-bob/n.lab"])  # then nothing is common to all
    assert not read_inbox(folder, roster, platform="repositories").deliveries
    inbox = read_inbox(folder, roster, platform="repositories", assignment="lab1")
    assert list(ids(inbox.deliveries)) == ["2"]
    assert len(inbox.unmatched) == 2
    behind = put(tmp_path / "gitlab", ["anna_lab1/n.lab", "bob_lab1/n.lab"])
    assert list(ids(read_inbox(behind, roster, platform="repositories").deliveries)) == ["2", "3"]


def test_nothing_that_a_repository_configures_is_executed(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{witness}'\n", encoding="utf-8")
    program.chmod(0o755)
    folder, lazy = clone(tmp_path / "class" / "anna"), clone(tmp_path / "class" / "bob")
    git(lazy, "config", "remote.origin.url", f"ext::{program}")
    for name, value in {"remote.origin.promisor": "true", "protocol.ext.allow": "always"}.items():
        git(lazy, "config", name, value)  # whoever asks for a commit that is not there fetches it
    git(lazy, "config", "core.repositoryformatversion", "1")
    git(lazy, "config", "extensions.partialClone", "origin")
    put(lazy, {".git/refs/heads/main": "1" * 40})
    for name in ("core.fsmonitor", "core.pager", "core.sshCommand", "gpg.program"):
        git(folder, "config", name, str(program))
    git(folder, "config", "log.showSignature", "true")
    git(folder, "config", "alias.cat-file", f"!{program}")
    inbox = read_inbox(tmp_path / "class")
    assert of(inbox, "anna").submitted is not None
    assert of(inbox, "bob").submitted is None
    assert not witness.exists()
    for where, command in ((folder, ["status"]), (lazy, ["cat-file", "-p", "HEAD"])):  # so the traps are some
        subprocess.run(["git", *command], cwd=where, capture_output=True, check=False)
        assert witness.exists()
        witness.unlink()


@pytest.mark.parametrize("trap", ["alternates", "link to objects", "link as HEAD", "pipe", "outside", "no folder"])
def test_a_repository_that_leads_elsewhere_has_no_date(tmp_path: Path, trap: str) -> None:
    other = clone(tmp_path / "other")
    folder = clone(tmp_path / "class" / "anna")
    own = folder / ".git"
    if trap == "alternates":
        put(own, {"objects/info/alternates": str(other / ".git" / "objects")})
    elif trap == "link to objects":
        (own / "objects").rename(tmp_path / "objects")
        (own / "objects").symlink_to(tmp_path / "objects")
    elif trap == "link as HEAD":
        (own / "HEAD").unlink()
        (own / "HEAD").symlink_to(other / ".git" / "HEAD")
    elif trap == "pipe":
        os.mkfifo(own / "objects" / "pack" / "pack-1.idx")
    elif trap == "outside":
        put(own, {"HEAD": "ref: refs/heads/../../../../other/.git/refs/heads/main"})
    else:
        own.rename(tmp_path / "elsewhere")
        put(folder, {".git": f"gitdir: {tmp_path / 'elsewhere'}"})
    inbox = read_inbox(tmp_path / "class")
    assert inbox.platform == "repositories"
    assert of(inbox, "anna").submitted is None
    assert any(note.startswith("nobody says when it was handed in: its") for note in of(inbox, "anna").notes)


def test_without_git_there_is_no_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone(tmp_path / "class" / "anna")
    monkeypatch.setenv("PATH", str(tmp_path))
    delivery = of(read_inbox(tmp_path / "class"), "anna")
    assert delivery.submitted is None
    assert delivery.notes == ("nobody says when it was handed in: git is not installed.",)


# -- a folder or a file for each ---------------------------------------------------------------------------------------


def test_folders_and_files_by_id_login_address_and_name(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "hw",
        ["0042.lab", "SOB/net.lab", "li@uni.example/deep/er/net.ipynb", "Smith,  Jo/a.py", "who/n.lab", "readme.md"],
    )
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    assert inbox.platform == "folders"
    expected = {"0042": ["0042.lab"], "0043": ["net.lab"], "0044": ["deep/er/net.ipynb"], "0045": ["a.py"]}
    assert ids(inbox.deliveries) == expected
    assert len(inbox.unmatched) == 2
    assert not inbox.missing


def test_the_roster_beside_is_found_and_told(tmp_path: Path) -> None:
    folder = put(tmp_path, {"roster.csv": CLASS, "hw/amueller.lab": "a"}) / "hw"
    inbox = read_inbox(folder)
    assert list(ids(inbox.deliveries)) == ["0042"]
    assert any(str(tmp_path / "roster.csv") in note for note in inbox.notes)


def test_without_a_roster_each_is_a_student(tmp_path: Path) -> None:
    inbox = read_inbox(put(tmp_path / "hw", ["anna.lab", "bob/net.lab", "carl.zip", "dora.pdf"]))
    assert ids(inbox.deliveries) == {"anna": ["anna.lab"], "bob": ["net.lab"], "carl": ["carl.zip"]}
    assert of(inbox, "carl").notes == ("carl.zip is an archive, and was not unpacked.",)
    assert "'dora.pdf'" in inbox.unmatched[0]
    assert not inbox.missing


def test_what_is_left_out_of_the_files(tmp_path: Path) -> None:
    secret = put(tmp_path, {"secret.lab": "the teacher's"}) / "secret.lab"
    folder = put(
        tmp_path / "hw",
        [
            "anna/net.lab",
            "anna/._net.lab",
            "anna/.ipynb_checkpoints/net.ipynb",
            "anna/__MACOSX/x.lab",
            "anna/.venv/x.py",
        ],
    )
    (folder / "anna" / "link.lab").symlink_to(secret)
    (folder / "anna" / "folder").symlink_to(tmp_path)
    (folder / "bob").symlink_to(folder / "anna")
    (folder / "carl.lab").symlink_to(secret)
    os.mkfifo(folder / "anna" / "pipe.lab")
    os.mkfifo(folder / "dora.lab")
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": "id\nanna\nbob\ncarl\ndora\n"}) / "roster.csv")
    assert ids(inbox.deliveries) == {"anna": ["net.lab"]}
    assert of(inbox, "anna").notes == ("3 links, pipes or devices are left out.",)
    assert [one.id for one in inbox.missing] == ["bob", "carl", "dora"]
    assert sum("a link, a pipe or a device" in note for note in inbox.notes) == 3


def test_more_files_than_are_graded_are_named_up_to_one_more(tmp_path: Path) -> None:
    folder = tmp_path / "hw" / "anna"
    folder.mkdir(parents=True)
    for number in range(MAX_FILES + 20):
        (folder / f"{number}.py").touch()
    assert len(of(read_inbox(tmp_path / "hw"), "anna").files) == MAX_FILES + 1  # so that collect says that


def test_a_folder_without_a_file_is_nothing_handed_in(tmp_path: Path) -> None:
    (tmp_path / "hw" / "anna").mkdir(parents=True)
    put(tmp_path / "hw", {"roster.csv": "id\nanna\n"})
    inbox = read_inbox(tmp_path / "hw")
    assert [one.id for one in inbox.missing] == ["anna"]
    assert any("'anna' holds no file" in note for note in inbox.notes)
    (tmp_path / "hw" / "anna" / "net.lab").symlink_to(tmp_path)
    told = read_inbox(tmp_path / "hw").unmatched
    assert "'anna' holds no file" in told[0]
    assert "1 links" in told[0]


HOSTILE = [
    "..x",
    "new\nline",
    "\x1b[2Jescape",
    "CON",
    "a" * 251,
    "=cmd|' calc'!A1",
    "<script>",
    "-rf",
    "\u202egnp",
    " ",
]


def test_hostile_names_are_written_out(tmp_path: Path) -> None:
    folder = put(tmp_path / "hw", [f"{name}.lab" for name in HOSTILE] + [f"anna/{name}" for name in HOSTILE])
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.lab"))).write_text("x", encoding="utf-8")
    inbox = read_inbox(folder, put(tmp_path, {"roster.csv": "id\nanna\n"}) / "roster.csv")
    assert len(inbox.unmatched) == len(HOSTILE)
    assert "'..x.lab' is hidden" in inbox.notes[0]
    assert len(of(inbox, "anna").files) == len(HOSTILE)
    shown = [*inbox.unmatched, *inbox.notes, *of(inbox, "anna").files]
    assert all(text.isprintable() for text in shown)
    alone = read_inbox(put(tmp_path / "more" / "hw", [f"{name}.lab" for name in HOSTILE[1:4]]))
    assert sorted(ids(alone.deliveries)) == ["CON", "\\x1b[2Jescape", "new\\nline"]


# -- which attempt counts ---------------------------------------------------------------------------------------------


def export(folder: Path, *attempts: tuple[str, str]) -> Path:
    """Submissions of one student, as Gradescope has them: each with its time and its content."""
    entries = [
        f"submission_{place}:\n  :submitters: [{{':sid': '1'}}]\n  :created_at: {time}\n"
        for place, (time, _) in enumerate(attempts)
    ]
    files = {f"submission_{place}/net.lab": content for place, (_, content) in enumerate(attempts)}
    return put(folder, files | {"submission_metadata.yml": "".join(entries), "roster.csv": "id\n1\n"})


def test_the_latest_counts(tmp_path: Path) -> None:
    times = ("2026-06-10 12:00:00 Z", "2026-06-10 13:00:00 +02:00", "2026-06-10 11:30:00 Z")  # 12:00, 11:00, 11:30
    inbox = read_inbox(export(tmp_path / "g", *zip(times, "abc", strict=True)))
    assert of(inbox, "1").files["net.lab"].read_text() == "a"
    assert [one.files["net.lab"].read_text() for one in inbox.superseded] == ["b", "c"]


def test_after_it_has_closed_nothing_counts(tmp_path: Path) -> None:
    attempts = [("2026-06-10 12:00:00 Z", "a"), ("2026-06-17 12:00:01 Z", "b")]
    inbox = read_inbox(export(tmp_path / "g", *attempts), late=LATE)
    assert of(inbox, "1").files["net.lab"].read_text() == "a"
    assert any("handed in after it had closed: what came before counts" in note for note in inbox.notes)
    alone = read_inbox(export(tmp_path / "h", attempts[1]), late=LATE)
    assert not alone.deliveries
    assert [one.id for one in alone.missing] == ["1"]
    assert len(alone.superseded) == 1


def test_the_same_once_more_is_no_attempt_of_its_own(tmp_path: Path) -> None:
    days = [(f"2026-06-{day} 12:00:00 Z", content) for day, content in (("10", "a"), ("11", "b"), ("12", "b"))]
    inbox = read_inbox(export(tmp_path / "g", *days))
    assert of(inbox, "1").submitted == datetime(2026, 6, 11, 12, tzinfo=timezone.utc)
    assert len(inbox.superseded) == 2
    back = read_inbox(export(tmp_path / "h", *days[:2], ("2026-06-12 12:00:00 Z", "a")))
    assert of(back, "1").submitted == datetime(2026, 6, 12, 12, tzinfo=timezone.utc)


def test_where_nobody_says_which_was_last_none_is_graded(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "hw", {"anna.lab": "a", "anna/net.lab": "b", "bob.lab": "c", "roster.csv": "id\nanna\nbob\n"}
    )
    inbox = read_inbox(folder)
    assert list(ids(inbox.deliveries)) == ["bob"]
    assert not inbox.missing
    assert "anna" in inbox.unmatched[0]
    assert "'anna.lab'" in inbox.unmatched[0]
    put(folder, {"anna.lab": "b", "anna/anna.lab": "b"})
    (folder / "anna" / "net.lab").unlink()
    assert sorted(ids(read_inbox(folder).deliveries)) == ["anna", "bob"]


# -- rosters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        CLASS.encode(),
        CLASS.encode("utf-8-sig"),
        CLASS.encode("utf-16"),
        CLASS.replace(",", ";").replace("\n", "\r\n").encode(),
        CLASS.replace(",", "\t").encode(),
        ("sep=;\n" + CLASS.replace(",", ";")).encode(),
        CLASS.replace("id,first name,last name,email,username", "SID,First Name,Last Name,Email,NetID").encode(),
        CLASS.replace("id,first name,last name,email", "ID-Nummer,Vorname,Nachname,E-Mail-Adresse").encode(),
        b'id,Student,email,username,role\n0042,"M\xc3\xbcller, Anna",anna@uni.example,amueller,Student\n'
        b"9,Prof,p@uni.example,prof,Instructor\n",
    ],
)
def test_rosters_as_schools_write_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "roster.csv"
    path.write_bytes(content)
    anna = read_roster(path).students[0]
    assert (anna.id, anna.name, anna.email) == ("0042", "Anna Müller", "anna@uni.example")
    assert all(one.id != "9" for one in read_roster(path).students)
    for text in ("0042", "AMUELLER", "anna@uni.example", "Müller,  Anna"):
        assert read_roster(path).find(Claim("x", texts=(text,))) == anna


def test_a_roster_of_github_classroom(tmp_path: Path) -> None:
    text = '"identifier","github_username","github_id","name"\n"s0042","amueller","77","Anna Müller"\n'
    roster = read_roster(put(tmp_path, {"roster.csv": text}) / "roster.csv")
    assert [(one.id, one.name) for one in roster.students] == [("s0042", "Anna Müller")]
    assert roster.find(Claim("x", texts=("AMueller",))) == roster.students[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"id,name\n1,A\n2,B\n 1 ,C\n", "lines 2 and 4 have the same id '1'"),
        (b"points,comment\n1,2\n", "no column says who"),
        (b"id\n\n", "no student"),
        (b"id,name\n1,M\xfcller\n", "UTF-8"),
        (b'id,name\n1,"' + b"x" * 200_000, "no table"),
    ],
)
def test_a_roster_that_is_none_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "roster.csv").write_bytes(content)
    with pytest.raises(InboxError, match=told):
        read_roster(tmp_path / "roster.csv")


def test_two_of_the_same_name_are_not_told_apart_by_it(tmp_path: Path) -> None:
    roster = put(tmp_path, {"roster.csv": "id,name\n1,Jan Kim\n2,Kim Jan\n3,Jan  KIM\n"}) / "roster.csv"
    inbox = read_inbox(
        put(tmp_path / "hw", ["Jan Kim.lab", "2.lab", "kimjan_7_1001_n.lab"]), roster, platform="folders"
    )
    assert list(ids(inbox.deliveries)) == ["2"]
    assert "Jan  KIM (3) and Jan Kim (1) have the same name" in inbox.unmatched[0]
    canvas = read_inbox(put(tmp_path / "c", ["kimjan_7_1001_n.lab"]), roster)
    assert not canvas.deliveries


def test_a_number_and_a_name_of_two_students_are_nobodys(tmp_path: Path) -> None:
    roster = read_roster(put(tmp_path, {"roster.csv": CLASS}) / "roster.csv")
    found = roster.find(Claim("x", id="0042", name="Li Wei"))
    assert found == "its number or address is that of Anna Müller (0042), its name that of Li Wei (0044)"
    both = roster.find(Claim("x", id="0042", email="li@uni.example"))
    assert both == "it fits Anna Müller (0042) and Li Wei (0044), by different columns of roster.csv"


# -- calls that are wrong ---------------------------------------------------------------------------------------------


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    archive = put(tmp_path, ["class.zip"]) / "class.zip"
    with pytest.raises(InboxError, match="unpack it"):
        read_inbox(archive)
    with pytest.raises(InboxError, match="there is no folder"):
        read_inbox(tmp_path / "nothing")
    with pytest.raises(InboxError, match="one of moodle, canvas"):
        read_inbox(tmp_path, platform="blackboard")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InboxError, match="is a link"):
        read_inbox(tmp_path / "link")
    with pytest.raises(InboxError, match="cannot read"):
        read_inbox(tmp_path, tmp_path / "roster.csv")


def test_an_archive_that_was_unpacked_into_a_folder_of_its_own(tmp_path: Path) -> None:
    put(tmp_path / "hw", ["assignment_5_export/submission_1/n.lab", "__MACOSX/x", ".DS_Store"])
    put(
        tmp_path / "hw",
        {"assignment_5_export/submission_metadata.yml": "submission_1: {':submitters': [{':sid': '1'}]}\n"},
    )
    assert is_class(tmp_path / "hw")
    assert ids(read_inbox(tmp_path / "hw").deliveries) == {"1": ["n.lab"]}


# -- is it a class? ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["Anna_1_assignsubmission_file_/n.lab"],
        ["Anna_1_assignsubmission_file_n.ipynb"],
        ["doejane_101_3001_n.ipynb", "roejohn_LATE_102_3002_n-1.ipynb", "loekim_103_text.html"],
        ["submission_1/n.lab", "submission_metadata.yml"],
        ["submitted/anna/lab1/n.ipynb"],
        ["anna/lab1/n.ipynb", "anna/lab1/timestamp.txt"],
        ["lab1-anna/n.py", "lab1-anna/.git/HEAD", "lab1-bob/n.py", "lab1-bob/.git/HEAD"],
        ["anna/n.lab", "bob/n.ipynb"],
        ["anna/train.py", "bob/train.py"],
        ["anna.lab", "bob.lab"],
        ["anna.lab", "bob.lab", "notes.txt"],
        ["anna.ipynb", "roster.csv"],
    ],
)
def test_a_class_is_one(tmp_path: Path, names: list[str]) -> None:
    assert is_class(put(tmp_path / "target", names))


@pytest.mark.parametrize(
    "names",
    [
        ["net.lab"],
        ["copy.ipynb", "other.ipynb"],
        ["main.py", "model.py", "net.lab", "old.lab"],
        ["conv_3_16_block.py", "lenet_5_2024_run.py"],
        ["conv_128_2024_block.ipynb", "conv_128_2025_block.ipynb"],
        ["notebooks/mnist.ipynb", "src/model.py", "src/train.py"],
        ["notebooks/mnist.ipynb", ".git/HEAD"],
        ["a/train.py", "b/train.py", ".git/HEAD"],
        ["mine/n.ipynb", "mine/.git/HEAD"],
        ["lab1/n.ipynb", "lab1/timestamp.txt", "lab2/n.ipynb"],
        ["main.py", "submitted/a/b/n.ipynb"],
        ["src/model.py", "readme.md"],
        ["data/images.gz", "report.pdf"],
        ["net.lab/x"],
    ],
)
def test_one_students_folder_is_no_class(tmp_path: Path, names: list[str]) -> None:
    folder = put(tmp_path / "target", names)
    put(tmp_path, {"roster.csv": "id\ntarget\n"})  # the class's lies beside
    assert not is_class(folder)


def test_a_roster_makes_a_class_of_those_whom_it_names(tmp_path: Path) -> None:
    folder = put(tmp_path / "target", {"net.lab": "", "main.py": "", "roster.csv": "id,name\n1,Anna Müller\n"})
    assert not is_class(folder)  # a student's, who has a file called so
    put(folder, {"Müller, Anna.ipynb": ""})
    assert is_class(folder)


def test_a_file_or_a_link_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, ["class/anna.lab", "class/bob.lab"])
    (tmp_path / "link").symlink_to(tmp_path / "class")
    assert not is_class(tmp_path / "link")
    assert not is_class(tmp_path / "class" / "anna.lab")
    assert not is_class(tmp_path / "nothing")


# -- properties -------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "A", "b", "ä", "a\u0308", "1", "01", "a b", "B  a", "b, a", "a@x", "b@x", ""])
ROWS = st.lists(st.fixed_dictionaries({"name": WORDS, "email": WORDS, "username": WORDS}), min_size=1, max_size=5)


def table(folder: Path, rows: list[dict[str, str]]) -> Path:
    lines = [f'{place + 10},"{row["name"]}","{row["email"]}","{row["username"]}"' for place, row in enumerate(rows)]
    return put(folder, {"roster.csv": "\n".join(["id,name,email,username", *lines])}) / "roster.csv"


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, text=st.one_of(WORDS, st.sampled_from(["10", "11", "12"])), email=WORDS, name=WORDS)
def test_nobody_is_given_what_does_not_fit_exactly(
    rows: list[dict[str, str]], text: str, email: str, name: str
) -> None:
    with tempfile.TemporaryDirectory() as place:
        roster = read_roster(table(Path(place), rows))
    found = roster.find(Claim("x", texts=(text,) if text else (), email=email, name=name))
    by_number = [
        f"{place + 10}"
        for place, row in enumerate(rows)
        if (email and same(email) == same(row["email"]))
        or (text and same(text) in {same(f"{place + 10}"), same(row["email"]), same(row["username"])})
    ]
    by_name = [
        f"{place + 10}"
        for place, row in enumerate(rows)
        if (spelt(text) | spelt(name)) & (spelt(row["name"]) | spelt(row["name"].replace(",", "")))
    ]
    if isinstance(found, str):
        sure = set(by_number) or set(by_name)
        assert len(sure) != 1 or (by_name and not set(by_number) <= set(by_name))
    else:
        assert set(by_number) <= {found.id}
        assert found.id in by_number or by_name == [found.id]
        assert not by_name or found.id in by_name


def spelt(name: str) -> set[str]:
    """A name as it is, and with the surname behind; nothing of an empty one."""
    last, comma, first = name.partition(",")
    return {same_name(name), same_name(f"{first} {last}" if comma else name)} - {""}


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS,
    names=st.lists(
        st.sampled_from(["a", "ä", "B a", "10", "11", "01", "x", "b@x"]), min_size=1, max_size=6, unique=True
    ),
)
def test_nothing_is_lost(rows: list[dict[str, str]], names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        roster = table(Path(place), rows)
        folder = Path(place) / "hw"
        folder.mkdir()
        for number, name in enumerate(names):
            put(folder, {f"{name}.lab" if number % 2 else f"{name}/net.lab": name})
            put(folder, {f"{name}.py": "another"} if number % 3 == 2 else {})
        inbox = read_inbox(folder, roster)
        kept = {path for one in (*inbox.deliveries, *inbox.superseded) for path in one.files.values()}
        told = "\n".join(inbox.unmatched)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            assert path in kept or repr(path.relative_to(folder).parts[0]) in told
        counted = {one.student.id for one in inbox.deliveries}
        assert len(counted) == len(inbox.deliveries)
        assert not counted & {one.id for one in inbox.missing}
