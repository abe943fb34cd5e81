"""The judge's modes: what happens, what is a fact, and what is bounded before anything runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from stand_ins import few_digits
from torch import nn

from lab import models, runs
from lab.data import Data, Labelled
from lab.errors import DataError
from lab.grading import judge, training
from lab.grading.judge import JudgeError, Judgement, by_rerun, by_retraining, by_weights, check_bounds
from lab.grading.training import GraderError, Outcome, Training
from lab.graph import Graph, capture, redrawn
from lab.rules import load_rubric
from lab.submission import HandIn
from lab.train import Recipe, TrainingError

RUBRIC = load_rubric("mnist_994")


def tiny_net() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(49), nn.Dropout(0.1), nn.Linear(49, 10))


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return capture(tiny_net())


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> Data:
    few = few_digits()
    monkeypatch.setattr(judge, "load", lambda name: few)
    return few


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], list[int]]:
    """Let trainings give these accuracies; gives the seeds that were asked for."""

    def make(accuracy_of: Callable[[int], float]) -> list[int]:
        asked: list[int] = []

        class Given(Training):
            def __init__(self, graph: Graph, recipe: Recipe, dataset: str, threads: int, seconds: float) -> None:
                self.graph, self.recipe = graph, recipe

            def __exit__(self, *error: Any) -> None:
                pass

            def run(self, seed: int) -> Outcome:
                asked.append(seed)
                return Outcome(accuracy_of(seed), self.recipe.epochs, 1.0, redrawn(self.graph, seed))

        monkeypatch.setattr(judge, "Training", Given)
        return asked

    return make


def by_rule(judged: Judgement) -> dict[str, bool | None]:
    return {verdict.rule: verdict.passed for verdict in judged.verdicts}


def handed_in(graph: Graph, **declared: float) -> HandIn:
    return HandIn(graph, Recipe(), "mnist_994", declared, (), {"lab": "0"})


# -- retrain ----------------------------------------------------------------------------------------------------------


def test_a_clear_network_is_trained_once(graph: Graph, trained: Any) -> None:
    asked = trained(lambda seed: 0.9975)
    judged = by_retraining(graph, Recipe(epochs=3), RUBRIC, seed=4)
    assert (asked, judged.seeds, judged.accuracies) == ([4], (4,), (0.9975,))
    assert judged.facts == ("parameters", "epochs", "accuracy", "a clean test")
    assert by_rule(judged)["epochs"] is True
    assert by_rule(judged)["accuracy"] is True


def test_a_near_one_is_trained_again_and_judged_by_its_mean(graph: Graph, trained: Any) -> None:
    asked = trained(lambda seed: (0.9941, 0.9938, 0.9939, 0.9938, 0.9939)[seed])
    judged = by_retraining(graph, Recipe(), RUBRIC)
    assert len(asked) > 1
    assert by_rule(judged)["accuracy"] is False
    assert f"mean of {len(asked)} seeds" in next(v.figure for v in judged.verdicts if v.rule == "accuracy")


def test_too_many_epochs_lose_that_rule_alone(graph: Graph, trained: Any) -> None:
    trained(lambda seed: 0.9975)
    judged = by_retraining(graph, Recipe(epochs=25), RUBRIC)
    assert by_rule(judged)["epochs"] is False
    assert by_rule(judged)["accuracy"] is True


def test_the_same_gives_the_same_bytes_and_says_how_to_repeat_it(graph: Graph, trained: Any) -> None:
    trained(lambda seed: 0.9975)
    first, second = (json.dumps(by_retraining(graph, Recipe(), RUBRIC).to_dict()) for _ in range(2))
    assert first == second
    assert {"lab", "torch", "threads", "network", "recipe", "rubric", "seeds"} <= json.loads(first)["provenance"].keys()
    assert "seconds" not in first


def test_the_labs_own_network_earns_nothing(trained: Any) -> None:
    trained(lambda seed: 0.9975)
    judged = by_retraining(capture(models.LabNet()), Recipe(), RUBRIC)
    assert sum(verdict.points for verdict in judged.verdicts) == 0
    assert "the lab's own LabNet" in judged.notes[0]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(epochs=10_000), "10,000 epochs"),
        (Recipe(epochs=19, batch_size=2), "steps"),
        (Recipe(batch_size=60_000), None),
    ],
)
def test_a_recipe_without_an_end_is_not_begun(graph: Graph, recipe: Recipe, words: str | None) -> None:
    if words is None:
        check_bounds(graph, recipe, RUBRIC)
    else:
        with pytest.raises(JudgeError, match=words):
            check_bounds(graph, recipe, RUBRIC)


def test_what_takes_too_much_is_not_begun() -> None:
    wide = capture(nn.Sequential(nn.Conv2d(1, 64, 3), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(36_864, 10)))
    with pytest.raises(JudgeError, match="multiply-adds"):
        check_bounds(wide, Recipe(epochs=60), RUBRIC)
    with pytest.raises(JudgeError, match="keeps"):
        check_bounds(wide, Recipe(epochs=1, batch_size=50_000), RUBRIC)
    map_out = capture(nn.Conv2d(1, 10, 3))
    with pytest.raises(JudgeError, match="one logit for each class"):
        check_bounds(map_out, Recipe(), RUBRIC)
    with pytest.raises(TrainingError):
        check_bounds(capture(tiny_net()), Recipe(epochs=0), RUBRIC)


def test_a_process_that_dies_is_the_graders_trouble(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_PROGRAM", "import sys; sys.stdin.readline(); sys.exit(3)")
    with Training(graph, Recipe(), "mnist", 1, 30) as running, pytest.raises(GraderError, match="status 3"):
        running.run(0)
    assert not running.folder.exists()


def test_a_process_that_does_not_end_is_the_graders_trouble(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_PROGRAM", "import time; time.sleep(600)")
    with Training(graph, Recipe(), "mnist", 1, 0.5) as running, pytest.raises(GraderError, match="not over after"):
        running.run(0)


@pytest.mark.slow
def test_a_training_gives_what_the_labs_own_loop_gives(graph: Graph) -> None:
    recipe = Recipe(epochs=1, precision="float32")
    with Training(graph, recipe, "mnist", 1, 300) as running:
        first, second = running.run(3), running.run(3)
    torch.set_num_threads(1)
    run = runs.train_graph(graph, runs.load("mnist"), replace(recipe, seed=3), progress=False)
    assert first.accuracy == second.accuracy == run.accuracy > 0.8


# -- weights, and rerun -----------------------------------------------------------------------------------------------


def test_weights_tell_no_epochs(graph: Graph) -> None:
    judged = by_weights(graph, RUBRIC)
    assert by_rule(judged)["epochs"] is None
    assert judged.facts == ("parameters", "accuracy")
    assert 0 <= judged.accuracies[0] < 0.5  # never trained


def test_a_rerun_is_judged_by_the_images_that_were_read(graph: Graph) -> None:
    assert by_rule(by_rerun(graph, RUBRIC, 12.02))["epochs"] is True
    assert by_rule(by_rerun(graph, RUBRIC, 19.4))["epochs"] is False
    assert by_rule(by_rerun(graph, RUBRIC, 0.0))["epochs"] is True  # a part of one pass is one


# -- audit ------------------------------------------------------------------------------------------------------------


def test_a_share_is_drawn_that_nobody_can_choose() -> None:
    drawn = [judge.is_sampled(str(n), 0.1, "secret") for n in range(5000)]
    assert 400 < sum(drawn) < 600
    assert drawn != [judge.is_sampled(str(n), 0.1, "another") for n in range(5000)]
    assert not any(judge.is_sampled(str(n), 0.0, "") for n in range(100))
    assert all(judge.is_sampled(str(n), 1.0, "") for n in range(100))


def test_what_is_suspicious(graph: Graph) -> None:
    judged = by_weights(graph, RUBRIC)
    honest = handed_in(graph, accuracy=judged.accuracies[0])
    assert judge.suspicions(judged, honest, {}, None) == ()
    assert "declared are" in judge.suspicions(judged, handed_in(graph, accuracy=0.9975), {}, None)[0]
    others = dict.fromkeys(judge.digests(handed_in(graph)).values(), "bob.lab")
    assert len(judge.suspicions(judged, honest, others, None)) == 2
    assert "was it trained on the former?" in judge.suspicions(judged, honest, {}, (0.9999, 0.99, 50_000))[0]


def test_luck_and_the_sets_difference_are_no_suspicion() -> None:
    assert not judge.is_suspicious(0.9945, 0.9925, 50_000)
    assert judge.is_suspicious(1.0, 0.992, 50_000)


@pytest.mark.parametrize(
    ("reasons", "sampled", "mode"), [((), False, "weights"), ((), True, "retrain"), (("x",), False, "retrain")]
)
def test_an_audit_trains_who_is_drawn_or_suspicious(
    graph: Graph, trained: Any, reasons: tuple[str, ...], sampled: bool, mode: str
) -> None:
    trained(lambda seed: 0.9)
    judged = replace(by_weights(graph, RUBRIC), accuracies=(0.9975,))
    done = judge.audited(
        judged, handed_in(graph), reasons, sampled, 0.1, lambda: by_retraining(graph, Recipe(), RUBRIC)
    )
    assert done.mode == mode
    assert any("with a probability of 90%" in note for note in done.notes)
    if mode == "retrain":
        assert any("trained here 9.75% less" in reason for reason in done.suspicions)


# -- fresh images -----------------------------------------------------------------------------------------------------


def test_fresh_images_are_those_behind_the_known(graph: Graph, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Labelled(torch.cat([data.test.images] * 60), torch.cat([data.test.labels] * 60))
    more = replace(data, _read_test=lambda: many)
    monkeypatch.setattr(judge, "load", lambda name: more)
    figures, (note,) = judge.fresh_figures(by_weights(graph, RUBRIC), "qmnist")
    assert figures is not None
    assert figures[2] == 2000
    assert "2,000 fresh images of qmnist" in note


def test_fresh_images_that_can_not_be_had_are_told(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = by_weights(graph, RUBRIC)

    def none(name: str) -> Data:
        raise DataError("no source has it")

    monkeypatch.setattr(judge, "load", none)
    assert judge.fresh_figures(judged, "qmnist") == (None, ("not measured on fresh images: no source has it",))
    assert judge.fresh_figures(judged, None) == (None, ())
