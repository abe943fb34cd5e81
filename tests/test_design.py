"""A design is an experiment: predicted, trained, measured, and shown beside each other."""

from dataclasses import replace

import pytest
import torch
from stand_ins import few_digits
from torch import nn

from lab import design
from lab.design import DesignError, Log, Version, field_at_last_map
from lab.graph import capture
from lab.models import LabNet
from lab.runs import trials
from lab.train import Recipe, TrainingError

SHORT = Recipe(epochs=1, batch_size=50, precision="float32")


class NetOne(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(676, 10))


class NetTwo(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.AvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(49), nn.Linear(49, 10))


def version(build=NetOne, **changes) -> Version:
    given = {"target": "a first network that runs", "parameters": 7_000, "field": 4, "accuracy": 0.9}
    return Version(build, **(given | changes))


@pytest.fixture(scope="module")
def data():
    return few_digits().split(seed=0, held_out=100)


@pytest.fixture
def log(data):
    return Log(data, SHORT, seeds=(0, 1))


def test_a_version_is_trained_on_each_seed_as_a_trial_is(log, data):
    entry = log.entry(version())
    assert list(entry.accuracies) == trials(NetOne, data, SHORT, seeds=(0, 1))
    assert (entry.parameters, entry.field) == (40 + 6770, 4)
    assert entry.multiply_adds == 26 * 26 * 36 + 6760


def test_the_same_design_is_trained_once_and_keeps_its_first_prediction(log, monkeypatch):
    log.measure(version(parameters=5_000))
    monkeypatch.setattr(design, "fit", lambda *_, **__: pytest.fail("trained again"))
    log.measure(version(parameters=6_810, analysis="as I said all along, no doubt"))
    assert [entry.version.parameters for entry in log.entries] == [5_000]


def test_another_design_under_the_same_name_is_another_row(log):
    class Changed(NetOne):
        def __init__(self) -> None:
            super().__init__()
            self[3] = nn.Dropout(0.2)

    Changed.__name__ = "NetOne"
    log.measure(version()).measure(version(Changed))
    assert [entry.version.name for entry in log.entries] == ["NetOne", "NetOne"]


def test_a_long_run_is_remembered_with_what_was_right_after_each_epoch(log, data, monkeypatch):
    recipe = replace(SHORT, epochs=2)
    trained = log.train(version(), recipe)
    assert trained.right.shape == (2, 100)
    shares = [epoch.validation_accuracy for epoch in trained.history.epochs]
    assert trained.right.double().mean(1).tolist() == pytest.approx(shares)
    assert trained.entry.accuracy == pytest.approx(shares[-1])
    monkeypatch.setattr(design, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert log.train(version(), recipe) is trained
    assert len(log.entries) == 1


def test_an_interrupted_training_is_not_in_the_log(log):
    def stop(history, model):
        raise KeyboardInterrupt

    trained = log.train(version(), replace(SHORT, epochs=3), watchers=[stop])
    assert trained.history.interrupted
    assert log.entries == []


def test_an_interrupted_measurement_is_not_in_the_log(log, monkeypatch):
    fit = design.fit

    def interrupted(*arguments):
        history = fit(*arguments)
        history.interrupted = True
        return history

    monkeypatch.setattr(design, "fit", interrupted)
    with pytest.raises(TrainingError, match="NetOne is not in the log"):
        log.measure(version())
    assert log.entries == []


def test_the_table_has_predicted_beside_measured(log):
    log.measure(version(target="<b>small</b>")).measure(version(NetTwo, parameters=700, field=3, accuracy=0.5))
    first, second = log.rows()[1:]
    assert first[:5] == ["NetOne", "<b>small</b>", "7,000 → 6,810", "4 → 4", "31,096"]
    assert second[2:4] == ["700 → 598", "3 → 4"]
    assert all("%" in row[5] and row[6] == "1" for row in (first, second))
    text, page = repr(log), log._repr_html_()
    assert "7,000 → 6,810" in text
    assert "7,000 → 6,810" in page
    assert "&lt;b&gt;small" in page
    assert "<b>small" not in page


@pytest.mark.parametrize(
    ("network", "field"),
    [
        (LabNet(), 34),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 28),
        (nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.Flatten(), nn.Linear(4 * 26 * 24, 10)), 5),
    ],
)
def test_the_field_is_that_of_the_last_map(network, field):
    assert field_at_last_map(capture(network)) == field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": "many"}, "parameters='many': predict a whole number"),
        ({"parameters": ...}, "parameters=Ellipsis: predict a whole number"),
        ({"parameters": True}, "parameters=True"),
        ({"field": 0}, "field=0"),
        ({"accuracy": 98.5}, "accuracy=98.5: predict a share between 0 and 1, such as 0.985"),
        ({"accuracy": float("nan")}, "accuracy=nan"),
        ({"target": 3}, "target=3: write a sentence"),
        ({"analysis": None}, "analysis=None: write a sentence"),
        ({"build": NetOne()}, None),
    ],
)
def test_a_prediction_that_can_not_be_one_is_refused(changes, message):
    if message is None:
        with pytest.raises(DesignError, match="give its class"):
            version(3)
        return
    with pytest.raises(DesignError, match=message):
        version(**changes)


def test_what_is_no_version_and_no_network_is_told(log):
    with pytest.raises(DesignError, match=r"expected a Version\(...\), and this is type"):
        log.measure(NetOne)
    with pytest.raises(DesignError, match="int"):
        log.measure(version(int))


def test_a_log_needs_validation_images():
    with pytest.raises(DesignError, match="compared on validation images"):
        Log(few_digits(), SHORT)


def test_drawing_first_weights_disturbs_nobody(log):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    log.measure(version(NetTwo))
    assert torch.equal(torch.rand(3), expected)
