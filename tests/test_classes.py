"""A class that is made up: the same for the same seed, each hand-in another's, and each found as it is meant."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import classes
from benchmarks.classes import Made, make
from lab.data import load
from lab.errors import LabError
from lab.grading.collect import collect
from lab.grading.inbox import Inbox, read_inbox
from lab.grading.sameness import likenesses, sameness_of
from lab.rules import load_rubric
from lab.train import accuracy


def contents(made: Made) -> dict[str, bytes]:
    """Every file of the hand-ins, by its name."""
    return {str(path.relative_to(made.folder)): path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}


def found_in(made: Made) -> Inbox:
    return read_inbox(made.folder, made.roster, late=load_rubric(made.rubric).late)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("class") / "twelve", 12, trained=False)


def test_the_same_seed_makes_the_same_bytes(twelve: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_MADE", {})
    again = make(tmp_path / "again", 12, trained=False)
    assert contents(again) == contents(twelve)
    assert again.expected == twelve.expected
    assert again.roster.read_bytes() == twelve.roster.read_bytes()
    assert contents(make(tmp_path / "other", 12, seed=1, trained=False)) != contents(twelve)


def test_all_kinds_are_there_and_no_two_are_the_same_by_chance(twelve: Made) -> None:
    kinds = Counter(one.kind for one in twelve.expected.values())
    assert set(kinds) == {*classes.SHARES, "network"}
    inbox = found_in(twelve)
    own = [path.read_bytes() for one in inbox.deliveries for path in one.files.values()
           if twelve.expected[one.student.id].kind != "same file"]  # fmt: skip
    assert len(own) == len(set(own)) == 12 - kinds["missing"] - kinds["same file"]


@pytest.mark.parametrize("layout", classes.LAYOUTS)
def test_each_layout_is_read_as_it_is_meant(layout: str, tmp_path: Path) -> None:
    made = make(tmp_path / "class", 40, layout=layout, only="broken") if layout != "moodle" else None
    made = made or make(tmp_path / "class", 160, layout=layout, only="broken")  # with all odd names
    inbox = found_in(made)
    assert inbox.platform == layout
    assert inbox.unmatched == ()
    late = load_rubric(made.rubric).late
    assert late is not None
    found = {one.student.id: one for one in inbox.deliveries}
    assert found.keys() == made.expected.keys()
    attempts = Counter(one.student.id for one in (*inbox.deliveries, *inbox.superseded))
    for student, expected in made.expected.items():
        assert attempts[student] == expected.attempts
        assert (late.share_off(found[student].submitted, found[student].late)[0] > 0) == expected.late
    assert any(one.late for one in made.expected.values()) == (layout != "folders")
    assert any(one.attempts > 1 for one in made.expected.values()) == (layout in ("canvas", "gradescope"))


def test_what_is_good_can_be_read_and_what_is_broken_can_not(twelve: Made) -> None:
    inbox = found_in(twelve)
    assert [one.id for one in inbox.missing] == [
        student for student, one in twelve.expected.items() if one.kind == "missing"
    ]
    for delivery in inbox.deliveries:
        expected = twelve.expected[delivery.student.id]
        (path,) = delivery.files.values()
        if expected.state == "graded":
            assert collect(path).hand_in is not None or expected.kind in ("copy", "code"), expected
        elif expected.state == "student error" and path.suffix != ".py":
            with pytest.raises(LabError):
                collect(path)


def test_who_copied_is_found_and_nobody_else(tmp_path: Path) -> None:
    made = make(tmp_path / "class", 40, trained=False)
    by_student = {}
    for delivery in found_in(made).deliveries:
        if made.expected[delivery.student.id].state == "graded":
            found = collect(*delivery.files.values())
            graph = found.hand_in.graph if found.hand_in is not None else None
            recipe = found.hand_in.recipe if found.hand_in is not None else None
            by_student[delivery.student.id] = sameness_of(found, graph, recipe, graph)
    copied = [(student, one) for student, one in made.expected.items() if one.copy_of]
    assert {one.kind for _, one in copied} == {"same file", "renamed"}
    told = likenesses(by_student)
    assert {one.students for one in told} == {tuple(sorted((student, one.copy_of))) for student, one in copied}
    assert {one.students for one in told if one.sure} >= {
        tuple(sorted((student, one.copy_of))) for student, one in copied if one.kind == "same file"
    }


@pytest.mark.slow
def test_trained_networks_have_learnt(tmp_path: Path) -> None:
    made = make(tmp_path / "class", 3, only="network")
    for path in made.folder.rglob("*.lab"):
        hand_in = collect(path).hand_in
        assert hand_in is not None
        assert accuracy(hand_in.graph.build(), load("mnist").test) > 0.4  # by chance: 0.1
