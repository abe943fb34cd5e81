"""The judge: what is a fact in each mode, what is too much to be judged, and what an audit finds."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import few_digits
from torch import nn

from lab import runs
from lab.data import Data, DataError, Labelled, load
from lab.design import Log, Version
from lab.errors import LabError
from lab.grading import judge, sequential
from lab.grading.judge import JudgeError, Sample, by_retraining, by_weights, check_bounds
from lab.grading.training import GraderError, Outcome, Training
from lab.graph import Graph, capture, redrawn
from lab.models import LabNet
from lab.presets import PRESETS
from lab.rules import load_rubric
from lab.submission import HandIn
from lab.train import Recipe, TrainingError

QUICK = Recipe(epochs=1, batch_size=2_000, precision="float32")
RUBRIC = load_rubric()


def tiny(names: tuple[str, ...] = ("conv", "norm", "act", "drop", "pool", "flat", "head")) -> nn.Module:
    """172 parameters and more: every layer that the rules ask for. (B, 1, 28, 28) -> (B, 10)."""
    layers = [
        nn.Conv2d(1, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, 10),
    ]
    made = nn.Sequential()
    for name, layer in zip(names, layers, strict=True):
        made.add_module(name, layer)
    return made


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return capture(tiny())


def hand_in(graph: Graph, recipe: Recipe | None = QUICK, accuracy: float | None = None) -> HandIn:
    declared = {} if accuracy is None else {"accuracy": accuracy}
    return HandIn(graph, recipe, "mnist_994", declared, (), {})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[int]]:
    """Let trainings give these accuracies; the seeds that they are asked for."""

    def use(accuracies: list[float]) -> list[int]:
        seeds: list[int] = []

        class Told(Training):
            def __init__(self, graph: Graph, recipe: Recipe, *rest: Any) -> None:
                self._told = graph, recipe

            def __exit__(self, *rest: Any) -> None:
                pass

            def run(self, seed: int) -> Outcome:
                seeds.append(seed)
                graph, recipe = self._told
                return Outcome(accuracies[len(seeds) - 1], 10_000, recipe.epochs, 1.5, redrawn(graph, seed))

        monkeypatch.setattr(judge, "Training", Told)
        return seeds

    return use


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Data:
    data = few_digits(20, 200)
    monkeypatch.setattr(judge, "load", lambda name: data)
    return data


def figures(judged: judge.Judgement) -> dict[str, tuple[bool | None, str, float]]:
    return {one.rule: (one.passed, one.figure, one.points) for one in judged.verdicts}


# -- retrain ----------------------------------------------------------------------------------------------------------


def test_a_clear_network_is_trained_once_and_gets_its_points(graph: Graph, trained: Any) -> None:
    seeds = trained([0.9962])
    judged = by_retraining(graph, replace(QUICK, epochs=15, seed=99), RUBRIC, seed=3)
    assert seeds == [3]
    assert judged.provenance["recipe"]["seed"] == 3, "the student's own seed is not taken"
    assert figures(judged)["accuracy"] == (True, "99.62%", 30)
    assert figures(judged)["epochs"] == (True, "15", 10)
    assert judged.claims == ()


def test_a_close_one_is_judged_by_the_mean_of_five(graph: Graph, trained: Any) -> None:
    seeds = trained([0.9941, 0.9938, 0.9940, 0.9941, 0.9939])
    judged = by_retraining(graph, QUICK, RUBRIC)
    assert seeds == [0, 1, 2, 3, 4]
    passed, figure, points = figures(judged)["accuracy"]
    assert (passed, points) == (False, 0)
    assert "the mean of 5 seeds" in figure
    assert "trained 5 times for this" in "\n".join(judged.lines())


def test_a_rubric_without_an_accuracy_needs_one_training(graph: Graph, trained: Any) -> None:
    rules = tuple(rule for rule in RUBRIC.rules if rule.name != "accuracy")
    seeds = trained([0.994])
    by_retraining(graph, QUICK, RUBRIC.model_copy(update={"rules": rules}))
    assert seeds == [0]


def test_twenty_epochs_are_trained_and_lose_their_points(graph: Graph, trained: Any) -> None:
    trained([0.997])
    found = figures(by_retraining(graph, replace(QUICK, epochs=20), RUBRIC))
    assert found["epochs"] == (False, "20", 0)
    assert found["accuracy"][2] == 30


def test_the_labs_own_network_earns_nothing_under_another_name(trained: Any) -> None:
    trained([0.997])
    judged = by_retraining(capture(LabNet()), Recipe(), RUBRIC)
    assert sum(one.points for one in judged.verdicts) == 0
    assert "the lab's own LabNet" in judged.notes[0]


def test_the_result_says_how_to_repeat_it_and_holds_no_time(graph: Graph, trained: Any) -> None:
    texts = []
    for _ in range(2):
        trained([0.9962])
        judged = by_retraining(graph, QUICK, RUBRIC)
        assert judged.seconds == 1.5
        texts.append(json.dumps(judged.to_dict(), allow_nan=False))
    assert texts[0] == texts[1]
    assert "seconds" not in texts[0]
    made = json.loads(texts[0])["provenance"]
    assert made["repeat"] == "lab grade HAND-IN --mode retrain --seed 0 --seeds 1"
    assert len(made["data"]["files"]) == 4
    assert {"lab", "torch", "python", "processor", "threads", "network", "rubric"} <= set(made)


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sprint", "peak", "small", "tiny"])
def test_the_labs_own_records_are_within_the_bounds(name: str) -> None:
    from lab import models

    preset = PRESETS[name]
    check_bounds(capture(getattr(models, preset.target.split(":")[1])()), preset.recipe, RUBRIC)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 10_000}, "10,000 epochs; the assignment allows 19, and more than 60 are not trained"),
        ({"epochs": 60, "batch_size": 2}, "Take larger batches than 2"),
        ({"epochs": 0}, "at least 1 epoch"),
        ({"learning_rate": float("nan")}, "a learning rate above 0"),
    ],
)
def test_a_recipe_without_end_is_refused_by_name(graph: Graph, change: dict[str, Any], words: str) -> None:
    with pytest.raises(LabError, match=words):
        check_bounds(graph, replace(QUICK, **change), RUBRIC)


def test_a_network_that_is_too_much_work_is_refused_by_name() -> None:
    wide = capture(nn.Sequential(nn.Conv2d(1, 64, 5), nn.Conv2d(64, 64, 5), nn.Flatten(), nn.Linear(25_600, 10)))
    with pytest.raises(JudgeError, match="multiply-adds; more than 1e"):
        check_bounds(wide, Recipe(), RUBRIC)


def test_a_batch_that_fills_the_memory_is_refused_by_name() -> None:
    with pytest.raises(JudgeError, match="Take smaller batches"):
        check_bounds(capture(LabNet()), replace(Recipe(), batch_size=10**15), RUBRIC)


def test_muons_matrices_count() -> None:
    slim = [nn.Conv2d(1, 1, 1) for _ in range(60)]
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), *slim, nn.Conv2d(1, 2048, 1), nn.Conv2d(2048, 2048, 1), nn.Flatten())
    made = capture(net.append(nn.Linear(2048, 10)))
    large = replace(Recipe(), batch_size=60_000, epochs=1)
    check_bounds(made, large, RUBRIC)
    with pytest.raises(JudgeError, match=r"Muon \(muon=0\)"):
        check_bounds(made, replace(large, muon=0.1), RUBRIC)


def test_images_and_answers_of_another_shape_are_refused() -> None:
    for other in (capture(nn.Flatten(), (1, 32, 32)), capture(nn.Conv2d(1, 10, 28))):
        with pytest.raises(JudgeError, match=r"the network (takes images of|gives)"):
            check_bounds(other, QUICK, RUBRIC)
        with pytest.raises(JudgeError, match=r"the network (takes images of|gives)"):
            by_weights(other, RUBRIC)


# -- weights ----------------------------------------------------------------------------------------------------------


def test_handed_in_weights_tell_no_epochs(graph: Graph, digits: Data) -> None:
    judged = by_weights(graph, RUBRIC)
    assert figures(judged)["epochs"] == (None, "unknown", 0)
    assert judged.facts == ("parameters", "accuracy")
    assert judged.claims == ("epochs", "a clean test")
    assert judged.provenance["weights"] == judge.digests(hand_in(graph))["weights"]


def test_without_images_it_is_the_graders_trouble(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Data:
        raise DataError("no mirror answers.")

    monkeypatch.setattr(judge, "load", missing)
    with pytest.raises(GraderError, match="no mirror answers"):
        by_weights(graph, RUBRIC)


def test_a_rerun_is_judged_by_the_images_that_were_read(graph: Graph, digits: Data) -> None:
    passed = [figures(judge.by_rerun(graph, RUBRIC, epochs))["epochs"][0] for epochs in (12.02, 19.4, 0.0)]
    assert passed == [True, False, True], "a part of one pass is one"
    assert judge.by_rerun(graph, RUBRIC, 3.0).claims == ("epochs",)


# -- audit ------------------------------------------------------------------------------------------------------------


def audited(graph: Graph, sample: Sample, trained: list[float], reasons: tuple[str, ...] = ()) -> judge.Judgement:
    handed_in = hand_in(graph, replace(QUICK, epochs=12))
    judged = replace(by_weights(graph, RUBRIC), accuracies=(0.995,))

    def train() -> judge.Judgement:
        return replace(by_retraining(graph, QUICK, RUBRIC), accuracies=tuple(trained))

    return judge.audited(judged, handed_in, RUBRIC, reasons, sample, sample.draws("a digest"), train)


def test_who_is_not_drawn_keeps_the_points_of_the_epochs_that_the_recipe_claims(graph: Graph, digits: Data) -> None:
    judged = audited(graph, Sample(0.0, ""), [])
    assert judged.mode == "audit"
    assert figures(judged)["epochs"] == (True, "12, as its recipe says", 10)
    assert "epochs" in judged.claims
    assert judged.odds == 1
    assert "Without a secret of the teacher's" in judged.notes[-1]


def test_weights_far_above_a_training_here_are_suspicious(graph: Graph, digits: Data, trained: Any) -> None:
    trained([0.98])
    judged = audited(graph, Sample(1.0, "x"), [0.98])
    assert judged.mode == "retrain"
    assert judged.odds == 0
    assert judged.suspicions == ("its weights reach 99.50%, the same network trained here 1.50 points less.",)
    assert "Without a secret" not in judged.notes[-1]


def test_a_reason_alone_makes_it_train_again(graph: Graph, digits: Data, trained: Any) -> None:
    seeds = trained([0.996])
    judged = audited(graph, Sample(0.0, "x"), [0.996], ("a reason",))
    assert (seeds, judged.suspicions) == ([0], ("a reason",))


def test_so_many_are_drawn_as_the_share_says_and_the_secret_decides_which() -> None:
    names = [f"digest {n}" for n in range(5_000)]
    drawn, other = ([Sample(0.1, secret).draws(name) for name in names] for secret in ("a", "b"))
    assert sum(drawn) / len(names) == pytest.approx(0.1, abs=0.015)
    assert drawn != other
    assert drawn == [Sample(0.1, "a").draws(name) for name in names]
    assert Sample(0.1, "a").odds == 0.9


def test_a_copy_is_seen_under_other_names_and_seeds(graph: Graph) -> None:
    renamed = capture(tiny(("a", "b", "c", "d", "e", "f", "g")))
    first, second = (judge.digests(hand_in(one, replace(QUICK, seed=n))) for n, one in enumerate((graph, renamed)))
    assert first["network and recipe"] == second["network and recipe"]
    assert first["weights"] != second["weights"]
    wider = judge.digests(hand_in(capture(tiny()[:5].append(nn.Flatten()).append(nn.Linear(64, 10, bias=False)))))
    assert wider["network and recipe"] != first["network and recipe"]


def test_reasons_for_an_audit(graph: Graph, digits: Data) -> None:
    judged = replace(by_weights(graph, RUBRIC), accuracies=(0.999,))
    honest = hand_in(graph, accuracy=0.999)
    assert judge.suspicions(judged, honest, {}, None) == ()
    known = {judge.digests(honest)["weights"]: "ann.lab"}
    found = judge.suspicions(judged, hand_in(graph, accuracy=0.98), known, (0.999, 0.985, 50_000))
    assert ["declared" in found[0], "those of ann.lab" in found[1], "fresh ones" in found[2]] == [True] * 3


def test_the_difference_to_fresh_images_has_to_be_more_than_luck() -> None:
    assert not judge.is_suspicious(0.9950, 0.9920, 50_000)
    assert judge.is_suspicious(1.0, 0.9930, 50_000)
    assert not judge.is_suspicious(1.0, 0.9930, 50), "few images say little"


def test_fresh_images_are_those_behind_the_known_ones(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    data = few_digits(20, 200)
    right = judge.accuracy(graph.build(), Labelled(data.test.images[150:], data.test.labels[150:]))
    monkeypatch.setattr(judge, "load", lambda name: data)
    assert judge.on_fresh_images(graph, "qmnist", seen=150) == (right, 50)
    with pytest.raises(DataError, match="no test images beside"):
        judge.on_fresh_images(graph, "mnist", seen=200)


def test_fresh_images_are_told_with_their_margin(graph: Graph, digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Labelled(torch.cat([digits.test.images] * 60), torch.cat([digits.test.labels] * 60))
    monkeypatch.setattr(judge, "load", lambda name: replace(digits, _read_test=lambda: many))
    found, (note,) = judge.fresh_figures(by_weights(graph, RUBRIC), "qmnist")
    assert found is not None
    assert found[2] == 2_000
    assert "on 2,000 fresh images of qmnist" in note


def test_without_fresh_images_the_result_says_so(graph: Graph, digits: Data) -> None:
    judged = by_weights(graph, RUBRIC)  # a stand-in of 200 images: there are none behind the first 10,000
    found, notes = judge.fresh_figures(judged, "qmnist")
    assert found is None
    assert "not measured on fresh images" in notes[0]


# -- the process that trains ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process(graph: Graph) -> Iterator[Training]:
    with Training(graph, QUICK, "mnist", 1, 300) as training:
        yield training


def test_a_training_brings_back_weights_of_its_own(process: Training, graph: Graph) -> None:
    outcome = process.run(1)
    assert (outcome.epochs, outcome.images) == (1, 10_000)
    assert 0.1 < outcome.accuracy < 1
    assert outcome.graph.operations == graph.operations
    assert not torch.equal(outcome.graph.weights["head.weight"], graph.weights["head.weight"])
    assert [(epoch["number"], epoch["loss"] > 0) for epoch in outcome.curve] == [(1, True)]
    assert len(outcome.mistakes) == round((1 - outcome.accuracy) * 10_000)
    assert all(one.label != one.predicted for one in outcome.mistakes)


def test_a_loss_that_is_no_number_is_the_students_error(graph: Graph) -> None:
    wild = replace(QUICK, optimizer="sgd", learning_rate=1e30, schedule="constant", warmup=0.0)
    with Training(graph, wild, "mnist", 1, 300) as training, pytest.raises(TrainingError, match="trained with seed 0"):
        training.run(0)


def test_what_goes_wrong_in_the_process_is_the_graders_error(graph: Graph) -> None:
    with Training(graph, QUICK, "no_such_set", 1, 300) as training, pytest.raises(GraderError, match="no data set"):
        training.run(0)


def test_a_process_that_is_killed_is_the_graders_error_and_leaves_nothing(graph: Graph) -> None:
    with Training(graph, QUICK, "mnist", 1, 300) as training:
        os.kill(training._process.pid, signal.SIGKILL)
        with pytest.raises(GraderError, match="SIGKILL"):
            training.run(0)
        folder = training.folder
    assert not Path(folder).exists()


def test_a_training_that_takes_too_long_is_ended(graph: Graph) -> None:
    with Training(graph, replace(QUICK, epochs=60), "mnist", 1, 0.2) as training:
        with pytest.raises(GraderError, match="not over after 0 s"):
            training.run(0)
        assert training._process.wait(5) == -signal.SIGKILL


def test_the_process_ends_where_nobody_listens_any_more(graph: Graph) -> None:
    with Training(graph, replace(QUICK, epochs=60), "mnist", 1, 300) as training:
        training._say({"seed": 0})
        assert training._process.stdin is not None
        training._process.stdin.close()
        assert training._process.wait(60) == 0


@pytest.mark.slow
def test_a_training_gives_what_the_labs_own_loop_gives(process: Training, graph: Graph) -> None:
    run = runs.train_graph(graph, load("mnist"), replace(QUICK, seed=3), progress=False)
    assert process.run(3).accuracy == process.run(3).accuracy == run.accuracy


@pytest.mark.slow
def test_a_whole_judgement_is_the_same_to_the_last_byte(graph: Graph) -> None:
    texts = {json.dumps(by_retraining(graph, QUICK, RUBRIC, 5, 2).to_dict()) for _ in range(2)}
    assert len(texts) == 1
    assert sequential.LOOKS[0] == 1


# -- what the exercises' checks train ---------------------------------------------------------------------------------


def version_of(build: Callable[[], nn.Module]) -> Version:
    return Version(build, "a target of some five words", 5_000, 28, 0.98, "an analysis of some five words")


def test_a_version_that_takes_too_much_is_not_trained(digits: Data) -> None:
    held = replace(digits, validation=digits.test)
    (log,) = judge.logs({"log": Log(held, Recipe(epochs=2)), "other": 3}, RUBRIC).values()

    def wide() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 64, 3), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(36_864, 10))

    with pytest.raises(JudgeError, match="multiply-adds"):
        log.train(version_of(wide), Recipe(epochs=60))
    with pytest.raises(JudgeError, match="10,000 epochs"):
        log.train(version_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))), Recipe(epochs=10_000))


def test_in_weights_mode_the_long_run_is_what_was_handed_in(graph: Graph, digits: Data) -> None:
    held = replace(digits, validation=digits.test)
    hand_in = HandIn(graph, Recipe(epochs=3), "mnist_994", {}, (), {})
    (log,) = judge.logs({"log": Log(held, Recipe(epochs=1))}, RUBRIC, hand_in).values()
    same = log.train(version_of(lambda: redrawn(graph, 7).build()), Recipe(epochs=3))
    assert torch.equal(next(iter(same.model.parameters())), next(iter(graph.build().parameters())))
    assert same.entry.accuracy == pytest.approx(by_weights(graph, RUBRIC).accuracies[0])


@pytest.mark.parametrize(("channels", "images"), [(1, 1000), (42, 1000), (64, 668), (4000, 10)])
def test_a_network_with_large_maps_is_tested_on_fewer_images_at_a_time(
    channels: int, images: int, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of 768 MB, as Gradescope's, holds the judge and the maps of 32 channels of 28x28 twice."""
    net = nn.Sequential(nn.Conv2d(1, channels, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    asked: list[int] = []
    real = judge.predict
    monkeypatch.setattr(judge, "predict", lambda *given: asked.append(given[2]) or real(*given))
    by_weights(capture(net), load_rubric())
    assert asked == [images]
