"""Which design earns points: one's own, predicted, trained and analysed, and as accurate as it has to be."""

from dataclasses import replace

import pytest
from stand_ins import few_digits
from torch import nn

from lab import checks, design, models
from lab.checks import CheckFailed
from lab.design import Log, Version
from lab.train import Recipe

SHORT = Recipe(epochs=1, batch_size=50, precision="float32")
LONG = replace(SHORT, epochs=2)


class Net(nn.Sequential):
    def __init__(self, c: int = 4) -> None:
        super().__init__(
            *(nn.Conv2d(1, c, 3), nn.MaxPool2d(4), nn.BatchNorm2d(c), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(36 * c, 10)),
        )


class Renamed(nn.Module):
    """The lab's own network under another name, with another p."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*list(models.LabNet(dropout=0.1))[:-1])
        self.head = models.LabNet()[-1]

    def forward(self, x):
        return self.head(self.body(x))


def wider() -> nn.Module:
    return Net(5)


GIVEN = {
    "target": "a first network that learns something",
    "parameters": 1_500,
    "field": 6,
    "accuracy": 0.97,
    "analysis": "it has learnt, and is far from enough",
}


def version_1() -> Version:
    return Version(Net, **GIVEN)


def version_2() -> Version:
    return Version(wider, **GIVEN)


@pytest.fixture(scope="module")
def data():
    return few_digits().split(seed=0, held_out=100)


@pytest.fixture
def log(data):
    return Log(data, SHORT, seeds=(0,))


@pytest.fixture
def trained_to(monkeypatch):
    """Every training ends at this accuracy."""

    def end_at(accuracy: float) -> None:
        monkeypatch.setattr(design, "accuracy", lambda *_: accuracy)
        right = [True] * round(1000 * accuracy) + [False] * round(1000 * (1 - accuracy))
        import torch

        monkeypatch.setattr(design, "right_of", lambda *_: torch.tensor(right))

    return end_at


def test_a_version_that_is_complete_and_has_learnt_passes(log, trained_to, capsys):
    trained_to(0.96)
    checks.version(log, version_1)
    assert len(log.entries) == 1, "the check trains what was not trained yet"
    checks.version(log, version_2, unlike=[version_1])
    checks.version(log, version_2, unlike=[version_1], recipe=LONG)
    assert [entry.recipe.epochs for entry in log.entries] == [1, 1, 2]
    assert capsys.readouterr().out.splitlines()[0] == "PASS version_1: Net, predicted, trained and analysed."


def test_one_that_has_learnt_no_more_than_a_linear_network_fails(log, trained_to, monkeypatch):
    trained_to(0.93)
    with pytest.raises(CheckFailed, match=r"version_1 is right on 93.00% .* expected at least 95%"):
        checks.version(log, version_1)
    monkeypatch.setenv("LAB_QUICK", "1")
    checks.version(log, version_1)


@pytest.mark.parametrize("network", [models.LabNet, models.TinyNet, Renamed])
def test_the_labs_own_networks_earn_nothing_under_any_name(log, network):
    def version_1() -> Version:
        return Version(network, **GIVEN)

    with pytest.raises(CheckFailed, match=r"is the lab's own .*, whatever it is called"):
        checks.version(log, version_1)
    with pytest.raises(CheckFailed, match="is the lab's own"):
        checks.reaches(log, version_1, LONG, 0.98)
    assert log.entries == []


def test_the_same_design_twice_is_one_design(log):
    def version_2() -> Version:
        return Version(lambda: nn.Sequential(*Net()), **GIVEN)

    with pytest.raises(CheckFailed, match="version_2 is the same design as version_1"):
        checks.version(log, version_2, unlike=[version_1])


def test_an_earlier_version_that_is_open_or_broken_is_in_nobodys_way(log, trained_to):
    def still_open():
        raise NotImplementedError

    trained_to(0.96)
    checks.version(log, version_1, unlike=[still_open, lambda: 3, lambda: Version(nn.Flatten, **GIVEN)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "good"}, "its target is 'good'. Say in a sentence what it is to achieve"),
        ({"analysis": ""}, "its analysis is ''. Say in a sentence what its result says, once it is trained"),
    ],
)
def test_target_and_analysis_are_sentences(log, changes, message):
    def version_1() -> Version:
        return Version(Net, **(GIVEN | changes))

    with pytest.raises(CheckFailed, match=message):
        checks.version(log, version_1)


def test_a_prediction_is_not_changed_after_the_training(log, trained_to):
    trained_to(0.96)
    log.measure(version_1())

    def changed() -> Version:
        return Version(Net, **(GIVEN | {"parameters": 1_490}))

    with pytest.raises(CheckFailed, match=r"put back parameters=1500, field=6, accuracy=0\.97"):
        checks.version(log, changed)


def test_an_open_exercise_stays_open(log):
    def version_1():
        raise NotImplementedError

    for check in (lambda: checks.version(log, version_1), lambda: checks.reaches(log, version_1, LONG, 0.98)):
        with pytest.raises(NotImplementedError):
            check()


@pytest.mark.parametrize("given", [3, None, Net, Net()])
def test_what_is_no_version_is_told(log, given):
    def version_1():
        return given

    with pytest.raises(CheckFailed, match="expected a Version"):
        checks.version(log, version_1)


def test_what_a_version_refuses_is_told_with_its_name(log):
    def version_1():
        return Version(Net, **(GIVEN | {"accuracy": 97}))

    with pytest.raises(design.DesignError, match=r"such as 0\.985"):
        checks.version(log, version_1)


def test_a_network_that_fails_is_told_with_its_layer(log):
    def version_1():
        return Version(lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 10)), **GIVEN)

    with pytest.raises(CheckFailed, match="in or after layer '1'"):
        checks.version(log, version_1)


def test_the_last_version_keeps_the_rules(log):
    def version_3():
        return Version(lambda: nn.Sequential(*(layer for layer in Net() if not isinstance(layer, nn.Dropout))), **GIVEN)

    with pytest.raises(CheckFailed, match="not yet within the rules:\nFAIL dropout"):
        checks.version(log, version_3, recipe=LONG)
    with pytest.raises(CheckFailed, match="FAIL dropout"):
        checks.reaches(log, version_3, LONG, 0.98)


@pytest.mark.parametrize(("ends_at", "bar", "passes"), [(0.98, 0.98, True), (0.979, 0.98, False), (0.994, 0.994, True)])
def test_a_bar_is_reached_or_not(log, trained_to, ends_at, bar, passes):
    trained_to(ends_at)
    if passes:
        checks.reaches(log, version_1, LONG, bar)
    else:
        with pytest.raises(CheckFailed, match=r"version_1 ends at 97\.90% .* expected at least 98\.00%"):
            checks.reaches(log, version_1, LONG, bar)


def test_in_a_quick_run_the_bar_is_that_of_a_quick_run(log, trained_to, monkeypatch):
    trained_to(0.971)
    monkeypatch.setenv("LAB_QUICK", "1")
    checks.reaches(log, version_1, LONG, 0.994)
    with pytest.raises(CheckFailed, match="fewer than 20"):
        checks.reaches(log, version_1, replace(LONG, epochs=20), 0.994)


def test_half_a_run_is_not_judged(log, monkeypatch):
    fit = design.fit

    def interrupted(*arguments, **options):
        history = fit(*arguments, **options)
        history.interrupted = True
        return history

    monkeypatch.setattr(design, "fit", interrupted)
    with pytest.raises(CheckFailed, match="half a run is not judged"):
        checks.reaches(log, version_1, LONG, 0.1)
