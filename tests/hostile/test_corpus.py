"""Every attack gets its verdict and leaves no trace that a witness sees; the next hand-in gets its points."""

import functools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stand_ins
from attack import FIRST, RIGHT, STRUCTURE, Attack, Gets, answer
from corpus import ATTACKS
from witness import Witness

from lab import data, runs
from lab.errors import LabError
from lab.grading import exercises, judge, rerun, sandbox
from lab.grading import grade as grading
from lab.grading.grade import Grade, Options, grade
from lab.grading.training import Outcome
from lab.graph import Graph
from lab.train import Recipe

LONGEST = 45.0
"""Seconds within which every attack is graded here: a loop that ends at its limit, and what is started anew."""


@pytest.fixture(scope="module")
def digits() -> data.Data:
    return stand_ins.few_digits()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, digits: data.Data) -> None:
    """Small limits, few images and one epoch: what is tested is that there is an end, and who comes to it."""

    class FewImages:
        """In the place of `lab.grading.training.Training`."""

        def __init__(self, graph: Graph, recipe: Recipe, *rest: object) -> None:
            self.graph, self.recipe = graph, replace(recipe, epochs=1, batch_size=100)

        def __enter__(self) -> "FewImages":
            return self

        def __exit__(self, *raised: object) -> None: ...

        def run(self, seed: int) -> Outcome:
            done = runs.train_graph(self.graph, digits, replace(self.recipe, seed=seed), progress=False)
            return Outcome(done.accuracy, len(digits.test.labels), len(done.history.epochs), 0.1, self.graph)

    limits = functools.partial(
        sandbox.Limits, memory_mb=1500, processes=64, file_mb=32, printed_mb=2, tmp_mb=200, tmp_files=500
    )
    monkeypatch.setattr(sandbox, "Limits", limits)
    monkeypatch.setattr(grading, "CODE_SECONDS", 10.0)
    monkeypatch.setattr(exercises, "PART_SECONDS", 4.0)
    monkeypatch.setattr(rerun, "TO_DEFINE", replace(rerun.TO_DEFINE, seconds=12.0, memory_mb=1500))
    monkeypatch.setattr(rerun, "TO_TRAIN", replace(rerun.TO_TRAIN, seconds=20.0, memory_mb=1500))
    monkeypatch.setattr(judge, "Training", FewImages)
    monkeypatch.setattr(judge, "load", lambda name: digits)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    with Witness(tmp_path / "outside") as one:
        yield one


def graded(target: Path) -> Grade | LabError:
    try:
        return grade(target, Options(quick=target.suffix == ".ipynb" or any(target.glob("*.ipynb")), seeds=1))
    except LabError as error:
        return error


def text_of(done: Grade | LabError) -> str:
    """All that a person or a program sees of it."""
    if isinstance(done, LabError):
        return str(done)
    return "\n".join([*done.lines(), *done.flags, json.dumps(done.to_dict(), ensure_ascii=False)])


def check(done: Grade | LabError, gets: Gets) -> None:
    """Is it what the attack must get?"""
    assert ("refused" if isinstance(done, LabError) else done.state) == gets.state, text_of(done)
    assert gets.words in text_of(done)
    if gets.points is not None:
        assert points(done) == gets.points, text_of(done)
    if gets.fails is not None:
        assert not isinstance(done, LabError)
        assert done.judgement is not None, text_of(done)
        passed = {verdict.rule: verdict.passed for verdict in done.judgement.verdicts}
        assert {rule for rule in STRUCTURE if passed[rule] is not True} == gets.fails, text_of(done)
        assert passed["accuracy"] is False


def points(done: Any) -> dict[str, float]:
    return {one.name: one.points for one in done.exercises if one.name in FIRST}


def parameters(attacks: list[Attack]) -> list[Any]:
    return [
        pytest.param(one, id=f"{one.line}-{one.name}", marks=() if one.quick else pytest.mark.slow) for one in attacks
    ]


@pytest.mark.parametrize("attack", parameters(ATTACKS))
def test_an_attack_gets_its_verdict_and_leaves_no_trace(
    attack: Attack, witness: Witness, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hand-in").mkdir()
    target = attack.make(tmp_path / "hand-in", witness)
    began = time.monotonic()
    done = graded(target)
    assert time.monotonic() - began < LONGEST
    check(done, attack.gets)
    assert witness.traces("".join([text_of(done), *capfd.readouterr()])) == set()
    if attack == [one for one in ATTACKS if one.line == attack.line][-1] and not attack.quick:
        assert honest_points(tmp_path, witness) == {"out-size": 1, "grow": 1, "by-hand": 0}


@pytest.mark.slow
@pytest.mark.parametrize("attack", [pytest.param(a, id=f"{a.line}-{a.name}") for a in ATTACKS if a.leaves])
def test_the_witness_sees_what_the_attack_does_undefended(attack: Attack, witness: Witness, tmp_path: Path) -> None:
    (tmp_path / "hand-in").mkdir()
    with witness.undefended():
        target = attack.make(tmp_path / "hand-in", witness)
    deserved = {name: int(value) for name, value in (attack.gets.points or {}).items()}
    assert attack.leaves <= witness.in_the_open(target, deserved)


def honest_points(tmp_path: Path, witness: Witness) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        return points(grade(answer(RIGHT["out-size"])(Path(folder), witness), Options(quick=True)))
