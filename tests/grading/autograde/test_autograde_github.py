"""A hand-in graded in GitHub Actions: what the runner is told, and that nothing of a student's reaches it otherwise."""

import base64
import json
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import actions
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from test_push import exercise, pushed, verdict

from lab.cli import main
from lab.errors import LabError
from lab.grading.autograde import github, push
from lab.grading.autograde.github import GitHubError, annotations, commands_stopped, publish, run_of, summary_of
from lab.grading.autograde.push import Place, Pushed
from lab.grading.standing import Item, Mark

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)
EVIL = (
    "|x|<script>alert(1)</script> [x](http://evil.example) `x` www.evil.example @all *b* _i_ ~~s~~ #1 ![i](x)\n"
    "::set-output name=passed::true\n##[set-output name=passed]true\n  ::error::x\r::notice::y\u2028::warning::z\n"
    "%0A::add-mask::x\nEOF\npassed=true\x1b[31m"
)


def hostile(state: str = "graded") -> Pushed:
    """Everywhere in it stands what GitHub would read."""
    bad = exercise("a", False) | {"name": EVIL, "title": EVIL, "message": EVIL}
    rule = verdict("accuracy", False) | {"figure": EVIL, "hint": EVIL}
    found = pushed(bad, verdicts=(rule,), state=state, message=EVIL)
    found.one.result["grade"]["flags"] = [EVIL]  # type: ignore[index]
    place = {f"exercise:{EVIL}": Place(f"{EVIL}.ipynb", 3)}
    return Pushed(found.found, EVIL, found.options, place)


# -- commands ---------------------------------------------------------------------------------------------------------


def test_what_falls_short_is_shown_where_it_stands_most_points_first():
    found = pushed(exercise("a", True), exercise("b", False), exercise("c", None), exercise("d", None),
                   verdicts=(verdict("accuracy", False),))  # fmt: skip
    places = {
        "exercise:b": Place("my.ipynb", 7),
        "exercise:c": Place("my.ipynb", 9),
        "rule:accuracy": Place("my.ipynb"),
    }
    shown = annotations(Pushed(found.found, "my.ipynb", found.options, places))
    assert actions.commands("\n".join(shown)) == [
        actions.Command("error", {"file": "my.ipynb", "title": "accuracy"},
                        "0 of 10 points. 99.00%, at least 99.40%\nabout accuracy"),
        actions.Command("error", {"file": "my.ipynb", "line": "7", "title": "exercise 1: b"},
                        "0 of 1 points.\nabout b\nand more"),
        actions.Command("notice", {"file": "my.ipynb", "line": "9", "title": "exercise 1: c"},
                        "0 of 1 points.\nthe next one: 2 are still open."),
    ]  # fmt: skip


@pytest.mark.parametrize(("many", "errors"), [(9, 9), (10, 10), (11, 10), (40, 10)])
def test_there_are_no_more_than_github_shows(many, errors):
    shown = annotations(pushed(*(exercise(f"e{n}", False) for n in range(many))))
    assert len(shown) == errors
    assert ("more fall short" in shown[-1]) == (many > 10)
    if many > 10:
        assert f"{many - 9} more" in shown[-1]


def test_where_nothing_was_graded_one_line_says_why():
    (one,) = actions.commands(
        "\n".join(annotations(pushed(state="student error", message="my.ipynb is not a notebook")))
    )
    assert (one.name, one.properties["title"], one.text) == ("error", "student error", "my.ipynb is not a notebook")


@pytest.mark.parametrize("state", ["graded", "student error"])
def test_a_student_s_text_makes_no_command_and_no_property(state):
    shown = annotations(hostile(state))
    assert all("\n" not in line and "\r" not in line for line in shown)
    found = actions.commands("\n".join(shown))
    assert {one.name for one in found} == {"error"}
    assert all(set(one.properties) <= {"file", "line", "title"} for one in found)
    assert all(len(line) < 12_000 for line in shown)
    assert not {"\x1b", "\u2028"} & set("".join(shown))


def test_a_text_is_read_back_as_it_was_written():
    text = "100 % of a, b: c\nd;e=f %0A %2C"
    (one,) = actions.commands("\n".join(annotations(pushed(exercise("a", False) | {"title": text, "message": text}))))
    assert text in one.text
    assert one.properties["title"] == f"{text}: a"


def test_nothing_is_taken_for_a_command_while_they_are_stopped(capsys):
    with commands_stopped():
        print(EVIL)
        print(github.report(hostile()))
    with commands_stopped():
        print("::add-mask::x")
    printed = capsys.readouterr().out
    assert actions.commands(printed) == []
    words = re.findall(r"^::stop-commands::(.*)$", printed, re.MULTILINE)
    assert len(set(words)) == 2
    assert all(len(word) == 32 for word in words)


def test_what_fails_while_they_are_stopped_is_one_line_without_a_command(capsys):
    with pytest.raises(GitHubError) as raised, commands_stopped():
        raise LabError(EVIL)
    assert actions.commands(capsys.readouterr().out) == []
    assert actions.commands(f"error: {raised.value}") == []
    assert "\n" not in str(raised.value)


def test_nor_does_a_fault_of_the_lab_s_own_bring_one(capsys):
    with pytest.raises(GitHubError, match="the lab itself fails: ValueError: ") as raised, commands_stopped():
        raise ValueError(EVIL)
    assert actions.commands(f"error: {raised.value}") == []
    assert actions.commands(capsys.readouterr().out) == []
    with pytest.raises(ModuleNotFoundError), commands_stopped():  # the command knows what brings it
        raise ModuleNotFoundError("No module named 'pydantic'")


# -- the runner's files -----------------------------------------------------------------------------------------------


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_REPOSITORY": "ada/lab", "GITHUB_REPOSITORY_OWNER": "ada", "GITHUB_SHA": "a" * 40,
            "GITHUB_ACTOR": "grace", "GITHUB_ACTOR_ID": "1906", **more}  # fmt: skip


def test_outputs_and_summary_are_added_to_what_is_there(tmp_path):
    (tmp_path / "summary").write_text("before\n")
    (tmp_path / "output").write_text("other=1\n")
    found = pushed(exercise("a", True), exercise("b", None, checked=False, points=2.5))
    publish(found, tmp_path / "out", environ(tmp_path), NOW)
    read = actions.outputs((tmp_path / "output").read_text(encoding="utf-8"))
    assert (read["other"], read["passed"], read["points"], read["max-points"]) == ("1", "true", "1", "3.5")
    assert json.loads(base64.b64decode(read["result"]))["tests"][0]["score"] == 1
    summary = (tmp_path / "summary").read_text(encoding="utf-8")
    assert summary == "before\n" + (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["feedback.html", "result.json", "summary.md"]


def test_the_marks_of_outputs_are_drawn_anew(tmp_path):
    for _ in range(2):
        publish(pushed(exercise("a", True)), tmp_path / "out", environ(tmp_path), NOW)
    marks = re.findall("<<(.*)", (tmp_path / "output").read_text(encoding="utf-8"))
    assert len(set(marks)) == len(marks) == 8


def test_without_the_runner_s_files_the_report_is_written_all_the_same(tmp_path):
    publish(pushed(exercise("a", True)), tmp_path / "out", {}, NOW)
    assert (tmp_path / "out" / "result.json").is_file()


def test_a_hostile_text_is_text_in_outputs_and_summary(tmp_path):
    publish(hostile(), tmp_path / "out", environ(tmp_path), NOW)
    read = actions.outputs((tmp_path / "output").read_text(encoding="utf-8"))
    assert (set(read), read["passed"]) == ({"passed", "points", "max-points", "result"}, "false")
    summary = (tmp_path / "summary").read_text(encoding="utf-8")
    for sign in ("<script", "](", "http:", "www.", "::", "##[", "@all", "*b*", "_i_", "~~", "|x|", "\x1b", "\u2028"):
        assert sign not in summary
    rows = [line for line in summary.splitlines() if line.startswith("| ❌")]
    assert len(rows) == 2
    assert all(row.count("|") == 5 for row in rows)
    assert summary.count("\n## ") + summary.startswith("## ") == 1


def test_no_sign_of_a_text_is_left_that_markdown_knows():
    assert re.fullmatch(r"(?:[\w ,()]|&#\d+;|<br>)*", github.text(EVIL))
    assert "_" not in github.text(EVIL)


def test_the_summary_is_drawn_with_nothing_but_its_own_elements():
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(summary_of(hostile()))
    found = set(re.findall(r"<([a-z0-9]+)", page))
    assert found == {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "br", "ul", "li", "code"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [x](http://evil.example) `x`" in page  # to be read, as it was written


def test_a_summary_has_room_at_github_whatever_is_in_it(tmp_path):
    many = pushed(*(exercise(f"e{n}", False) | {"message": "<" * 100_000} for n in range(900)))
    summary = summary_of(many)
    assert len(summary.encode()) < 2**20
    assert "no room for it" in summary
    assert summary.rstrip().endswith("what your teacher grades.")
    assert "no room" not in summary_of(pushed(*(exercise(f"e{n}", False) for n in range(20))))


def test_the_summary_says_what_would_have_the_rest_checked():
    assert "`my_net.lab`" in summary_of(pushed(exercise("a", None, checked=False), quick=True))
    assert "how many epochs" in summary_of(pushed(exercise("a", True), mode="weights"))
    plain = summary_of(pushed(exercise("a", True), mode="retrain"))
    assert "`my_net.lab`" not in plain
    assert "epochs" not in plain
    assert "**student error**: no" in summary_of(pushed(state="student error", message="no"))


# -- Classroom 50 -----------------------------------------------------------------------------------------------------


def test_classroom_50_s_own_words_count(tmp_path):
    own = {"CLASSROOM": "dl", "ASSIGNMENT": "mnist", "ASSIGNMENT_TYPE": "individual", "OWNER": "ada-l",
           "SUBMISSION_TAG": "submit/1", "COMMIT_URL": "https://c", "RELEASE_URL": "https://r",
           "REVIEW_URL": "https://d"}  # fmt: skip
    publish(pushed(exercise("a", True)), tmp_path, environ(tmp_path, **own), NOW)
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    expected = {"classroom": "dl", "assignment": "mnist", "assignment_type": "individual", "owner": "ada-l",
                "submission": "submit/1", "commit": "https://c", "release": "https://r", "review": "https://d",
                "datetime": "2026-11-26T12:00:00Z", "graded_at": "2026-11-26T12:00:00Z", "score": 1, "max-score": 1,
                "submitted_by": {"username": "grace", "id": 1906}}  # fmt: skip
    assert expected.items() <= result.items()


@pytest.mark.parametrize(
    ("said", "kind"),
    [({}, "individual"), ({"MODE": "group"}, "group"), ({"ASSIGNMENT_TYPE": "team"}, "group"),
     ({"ASSIGNMENT_TYPE": "individual", "MODE": "group"}, "individual"), ({"MODE": "\n"}, "individual")],
)  # fmt: skip
def test_a_group_is_one_where_it_is_said(tmp_path, said, kind):
    assert run_of(pushed(), environ(tmp_path, **said), NOW).assignment_type == kind


def test_elsewhere_github_says_whose_it_is(tmp_path):
    run = run_of(pushed(), environ(tmp_path), NOW)
    assert (run.classroom, run.assignment, run.owner) == ("ada", "lab", "ada")
    assert run.submission == "submit/2026-11-26T12-00-00Z-aaaaaaa"
    assert run.commit == run.release == run.review == f"https://github.com/ada/lab/commit/{'a' * 40}"
    assert run_of(pushed(), {"GITHUB_ACTOR_ID": "²"}, NOW).submitted_by_id is None


@pytest.mark.parametrize(
    ("said", "name"),
    [({"OWNER": "o", "USERNAME": "u"}, "o"), ({"USERNAME": "u", "GITHUB_ACTOR": "a"}, "u"),
     ({"GITHUB_REPOSITORY_OWNER": "r", "GITHUB_ACTOR": "a"}, "r"), ({}, "folder")],
)  # fmt: skip
def test_the_student_is_who_owns_the_repository(tmp_path, said, name):
    assert github.student_of(said, tmp_path / "folder").id == name


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "status", "passed"),
    [
        (pushed(exercise("a", True)), 0, "true"),
        (pushed(exercise("a", False)), 0, "false"),
        (pushed(state="student error", message="no"), 0, "false"),
        (pushed(state="grader error", message="no"), 2, "false"),
    ],
)
def test_the_status_is_2_for_our_own_trouble_alone(tmp_path, monkeypatch, found, status, passed):
    monkeypatch.setattr(push, "grade_push", lambda *given: found)
    for name, value in environ(tmp_path).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["autograde", "github", ".", "--out", str(tmp_path / "out")])
    assert done.exit_code == status, done.output
    assert actions.outputs((tmp_path / "output").read_text(encoding="utf-8"))["passed"] == passed
    assert {one.name for one in actions.commands(done.output)} <= {"error"}


def test_what_is_not_there_is_told_on_one_line_and_no_command(tmp_path):
    target = tmp_path / "x\n::set-output name=passed::true"
    done = CliRunner().invoke(main, ["autograde", "github", str(target), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert actions.commands(done.output) == []
    assert "error: " in done.output


def test_points_given_by_hand_count_as_earned():
    found = pushed(exercise("a", False))
    (item,) = found.one.items
    mark = Mark(item.id, 1.0, "seen", "teacher", NOW)
    marked: Item = replace(item, points=1.0, mark=mark)
    assert found.outcome(marked) == "earned"
