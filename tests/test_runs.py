"""Whole runs: what a seed decides, when the test set is read, and which accuracy a check measures."""

import json
from dataclasses import replace

import pytest
import torch
from stand_ins import few_digits
from torch import nn

from lab import runs
from lab.data import Data, Labelled
from lab.errors import GraphError
from lab.graph import capture, save
from lab.rules import load_rubric
from lab.targets import network, resolve
from lab.train import History, Recipe, TrainingError, accuracy, fit

QUICK = Recipe(epochs=2, batch_size=50, precision="float32")


TINY = """
from torch import nn

def tiny_net():
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(49), nn.Dropout(0.1), nn.Linear(49, 10))
"""


def tiny_net() -> nn.Module:
    """(B, 1, 28, 28) -> (B, 10), quick to train; the same as in `TINY`."""
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(49), nn.Dropout(0.1), nn.Linear(49, 10))


@pytest.fixture(scope="module")
def data() -> Data:
    return few_digits()


@pytest.fixture
def rubric_data(data, monkeypatch):
    """The tiny set in place of the one that the rubric names; gives the names that were asked for."""
    asked = []
    monkeypatch.setattr(runs, "load", lambda name: asked.append(name) or data)
    return asked


@pytest.fixture
def target(tmp_path) -> str:
    """A file that defines the tiny network."""
    path = tmp_path / "net.py"
    path.write_text(TINY)
    return f"{path}:tiny_net"


def figures(verdicts) -> dict[str, tuple[bool | None, str]]:
    """By rule: passed or not, and what was found."""
    return {verdict.rule: (verdict.passed, verdict.figure) for verdict in verdicts}


# -- one run, several runs --------------------------------------------------------------------------------------------


def test_seed_decides_the_run(data):
    first, again, other = (
        runs.train_once(tiny_net, data, replace(QUICK, seed=seed), progress=False) for seed in (3, 3, 4)
    )
    assert first.accuracy == again.accuracy
    assert [e.loss for e in first.history.epochs] == [e.loss for e in again.history.epochs]
    assert torch.equal(first.model[4].weight, again.model[4].weight)
    assert [e.loss for e in first.history.epochs] != [e.loss for e in other.history.epochs]
    assert not torch.equal(first.model[4].weight, other.model[4].weight)


def test_seed_decides_the_first_weights(data, monkeypatch):
    monkeypatch.setattr(runs, "fit", lambda model, *rest: History(QUICK, "cpu", "float32", 1))
    weights = [runs.train_once(tiny_net, data, replace(QUICK, seed=seed)).model[4].weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_run_leaves_the_callers_random_numbers_alone(data):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    runs.train_once(tiny_net, data, QUICK, progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_training_is_worth_something(data):
    found = runs.train_once(tiny_net, data, replace(QUICK, epochs=15, augment=None), progress=False)
    assert 0.5 < found.accuracy < 1
    assert found.accuracy == accuracy(found.model, data.test)


def test_test_set_is_read_once_and_after_training(data, monkeypatch):
    order = []
    watched = replace(data, _read_test=lambda: order.append("test") or data.test)
    monkeypatch.setattr(runs, "fit", lambda *rest: order.append("fit") or History(QUICK, "cpu", "float32", 1))
    runs.train_once(tiny_net, watched, QUICK)
    assert order == ["fit", "test"]


def test_where_images_are_held_out_the_test_set_is_not_read(data):
    def closed():
        raise AssertionError("the test set was read")

    parts = replace(data.split(seed=0, held_out=100), _read_test=closed)
    found = runs.train_once(tiny_net, parts, QUICK, progress=False)
    assert found.accuracy == accuracy(found.model, parts.validation)
    assert found.history.epochs[0].validation_accuracy is None, "nothing is chosen on the way"


def test_runs_one_for_each_seed(data):
    done = list(runs.train_each(capture(tiny_net()), data, replace(QUICK, epochs=1), [5, 6]))
    assert [run.history.recipe.seed for run in done] == [5, 6]
    assert all(len(run.history.epochs) == 1 for run in done)


def test_interrupted_run_is_the_last(data, monkeypatch):
    stopped = History(QUICK, "cpu", "float32", 1, interrupted=True)
    monkeypatch.setattr(runs, "fit", lambda *rest: stopped)
    assert len(list(runs.train_each(capture(tiny_net()), data, QUICK, range(5)))) == 1


def test_run_as_json(data):
    found = runs.train_once(tiny_net, data, QUICK, progress=False)
    read = json.loads(json.dumps(found.to_dict()))
    assert set(read) == {"accuracy", "seconds", "history"}
    assert read["accuracy"] == found.accuracy
    assert read["history"]["recipe"]["epochs"] == 2
    assert read["seconds"] == pytest.approx(sum(epoch["seconds"] for epoch in read["history"]["epochs"]))


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_without_training_measures_nothing(rubric_data, target):
    found = figures(runs.check(resolve(target), load_rubric()))
    assert found["epochs"] == found["accuracy"] == (None, "not measured")
    assert found["dropout"][0] is True
    assert found["dropout"][1].startswith("1 executed; dropout 0.1 (3) changes the answers by ")
    assert rubric_data == []


def test_check_with_training(rubric_data, data, target):
    recipes = [replace(QUICK, seed=seed) for seed in (3, 4)]
    found, other = (figures(runs.check(resolve(target), load_rubric(), recipe)) for recipe in recipes)
    alone = runs.train_once(tiny_net, data, replace(QUICK, seed=3), progress=False)
    assert found["accuracy"] == (False, f"{alone.accuracy:.2%}")
    assert found["epochs"] == (True, "2")
    assert found["parameter_count"] == (True, "598")
    assert other["accuracy"] != found["accuracy"]
    assert rubric_data == ["mnist"] * 2


def test_check_asks_for_the_rubrics_data(rubric_data, target):
    runs.check(resolve(target), load_rubric().model_copy(update={"dataset": "kmnist"}), replace(QUICK, epochs=1))
    assert rubric_data == ["kmnist"]


@pytest.mark.parametrize(
    ("accuracies", "passed", "figure", "luck"),
    [
        ([0.9941], True, "99.41%", False),
        ([0.9935], False, "99.35%", True),
        ([0.9900], False, "99.00%", False),
        ([0.9935, 0.9947], True, "99.41%, the mean of 2 seeds (99.35%, 99.47%)", False),
        ([0.9935, 0.9943], False, "99.39%, the mean of 2 seeds (99.35%, 99.43%)", False),
    ],
)
def test_the_accuracy_judged_is_the_mean_and_luck_is_called_luck(
    rubric_data, data, target, monkeypatch, accuracies, passed, figure, luck
):
    many = Labelled(torch.zeros(10_000, 28, 28, dtype=torch.uint8), torch.zeros(10_000, dtype=torch.int64))
    monkeypatch.setattr(runs, "load", lambda name: replace(data, _read_test=lambda: many))
    measured = iter(accuracies)
    monkeypatch.setattr(runs, "share_right", lambda *_: next(measured))
    monkeypatch.setattr(runs, "fit", lambda *rest: History(QUICK, "cpu", "float32", 1))
    verdicts = runs.check(resolve(target), load_rubric(), QUICK, seeds=len(accuracies))
    (verdict,) = (one for one in verdicts if one.rule == "accuracy")
    assert (verdict.passed, verdict.figure) == (passed, figure)
    assert ("--seeds 5" in verdict.hint) == luck


def test_saved_graph_is_measured_with_its_own_weights(rubric_data, data, tmp_path):
    trained = runs.train_once(tiny_net, data, replace(QUICK, epochs=15, augment=None), progress=False)
    untrained = tiny_net()
    for name, model, share in (
        ("a", trained.model, trained.accuracy),
        ("b", untrained, accuracy(untrained, data.test)),
    ):
        folder = save(capture(model), tmp_path / name)
        for target in (str(folder), f"{folder}/graph.json"):
            found = figures(runs.check(resolve(target), load_rubric(), is_saved=True))
            assert found["accuracy"] == (False, f"{share:.2%}")
            assert found["epochs"] == (None, "unknown")  # weights do not tell how they were learnt
    assert rubric_data == ["mnist"] * 4


def test_saved_graph_of_other_images_is_refused(rubric_data, tmp_path):
    folder = save(capture(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)), (1, 32, 32)), tmp_path)
    for recipe in (None, QUICK):
        with pytest.raises(
            GraphError, match=r"was saved for images of \(1, 32, 32\), the assignment's are \(1, 28, 28"
        ):
            runs.check(resolve(str(folder)), load_rubric(), recipe, is_saved=True)


@pytest.mark.parametrize("recipe", [None, QUICK])
def test_output_that_is_a_map_is_judged_and_not_measured(rubric_data, tmp_path, recipe):
    folder = save(capture(nn.Conv2d(1, 10, 28)), tmp_path)
    found = figures(runs.check(resolve(str(folder)), load_rubric(), recipe, is_saved=True))
    assert found["output_shape"] == (False, "(B, 10, 1, 1)")
    assert found["accuracy"] == (None, "not measured")
    assert rubric_data == []


def test_importable_network_starts_afresh_with_every_seed(data, monkeypatch):
    """Not where the run before has left it."""
    monkeypatch.setattr("lab.models.ready_made", tiny_net(), raising=False)
    done = [runs.train_once(lambda: network("lab.models:ready_made"), data, QUICK) for _ in range(2)]
    assert done[0].model is not done[1].model
    assert done[0].history.epochs[0].loss == done[1].history.epochs[0].loss


# -- the graph is trained, from fresh first weights --------------------------------------------------------------------


def test_a_graph_learns_what_its_module_learns(data):
    """Same first weights, same steps: the graph is the network."""
    recipe = replace(QUICK, seed=3)
    graph, module = runs.train_graph(capture(tiny_net()), data, recipe), runs.train_once(tiny_net, data, recipe)
    losses, wanted = ([epoch.loss for epoch in run.history.epochs] for run in (graph, module))
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert graph.accuracy == pytest.approx(module.accuracy, abs=0.01)


def test_weights_that_a_network_brings_are_worth_nothing(data):
    """Learnt ones, frozen ones, and what is kept in running statistics: the same run as without them."""
    trained = runs.train_once(tiny_net, data, replace(QUICK, epochs=15, augment=None)).model
    trained.requires_grad_(False)
    trained[2].running_mean.fill_(7)
    brought, plain = (runs.train_graph(capture(model), data, QUICK) for model in (trained, tiny_net()))
    assert [e.loss for e in brought.history.epochs] == [e.loss for e in plain.history.epochs]
    assert brought.accuracy == plain.accuracy


def test_interrupted_training_is_not_judged(data, rubric_data, monkeypatch):
    stopped = History(QUICK, "cpu", "float32", 1, interrupted=True)
    monkeypatch.setattr(runs, "fit", lambda *rest: stopped)
    with pytest.raises(KeyboardInterrupt):
        runs.check(capture(tiny_net()), load_rubric(), QUICK)


def test_the_points_for_epochs_are_not_for_saved_weights(data, rubric_data):
    verdicts = runs.check(capture(tiny_net()), load_rubric(), is_saved=True)
    (epochs,) = [verdict for verdict in verdicts if verdict.rule == "epochs"]
    assert (epochs.points, epochs.passed, epochs.figure) == (0, None, "unknown")
    assert "do not tell how they were learnt" in epochs.hint


# -- trials -----------------------------------------------------------------------------------------------------------


def test_trials_are_measured_on_validation_and_leave_the_test_set_alone(data, monkeypatch):
    parts = data.split(seed=0, held_out=100)

    def closed():
        raise AssertionError("the test set was read")

    found = runs.trials(tiny_net, replace(parts, _read_test=closed), QUICK, seeds=[3, 4])
    model = runs.fresh(tiny_net, 4)
    fit(model, replace(parts, validation=None), replace(QUICK, seed=4))
    assert found[1] == accuracy(model, parts.validation)
    assert len(found) == 2
    assert found[0] != found[1]


def test_trials_want_validation_images(data):
    with pytest.raises(runs.TrainingError, match=r"take data\.split"):
        runs.trials(tiny_net, data, QUICK, seeds=[0])


def test_an_interrupted_trial_ends_them_and_does_not_count(data, monkeypatch):
    parts, done = data.split(seed=0, held_out=100), []

    def stopping(model, data, recipe):
        done.append(fit(model, data, recipe))
        return replace(done[-1], interrupted=len(done) == stop_at)

    monkeypatch.setattr(runs, "fit", stopping)
    stop_at = 2
    assert len(runs.trials(tiny_net, parts, replace(QUICK, epochs=1), seeds=range(5))) == 1
    assert len(done) == 2
    stop_at = 3
    with pytest.raises(TrainingError, match="interrupted before the first trial"):
        runs.trials(tiny_net, parts, replace(QUICK, epochs=1), seeds=range(5))


def test_answers_looked_up_outside_the_graph_are_worth_nothing(data):
    """A module that knows every test image by heart, and is an ordinary network only while it is exported."""

    class Cheat(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_net()

        def forward(self, x):
            if not self.training and not torch.compiler.is_exporting():
                return nn.functional.one_hot(data.test.labels, 10).float()[: len(x)]
            return self.net(x)

    try:
        graph = capture(Cheat())
    except GraphError:  # the proof that the graph is what runs has refused it: right, too
        return
    assert runs.train_graph(graph, data, QUICK).accuracy == runs.train_graph(capture(tiny_net()), data, QUICK).accuracy
