"""How often a network is trained before it is judged, and how often the rule is wrong."""

import random
import statistics

import pytest

from lab.grading.sequential import DEVIATION, LOOKS, decided, error_rates, measured

BAR = 0.994


def counted(accuracies: list[float], exactly: int | None = None) -> tuple[list[float], list[int]]:
    """What is measured where these come one after the other, and with which seeds."""
    seeds: list[int] = []

    def measure(seed: int) -> float:
        seeds.append(seed)
        return accuracies[len(seeds) - 1]

    return measured(measure, BAR, 7, exactly), seeds


def test_a_clear_accuracy_is_measured_once() -> None:
    assert counted([0.9965]) == ([0.9965], [7])
    assert counted([0.97]) == ([0.97], [7])


def test_a_close_one_is_measured_again_with_the_seeds_that_follow() -> None:
    assert counted([0.9945, 0.9955]) == ([0.9945, 0.9955], [7, 8])
    assert counted([BAR] * 9)[1] == [7, 8, 9, 10, 11]


def test_after_four_nothing_is_decided_for_it_is_no_look() -> None:
    assert 4 not in LOOKS
    assert decided([0.9] * 4, BAR) is None


def test_after_the_last_look_the_mean_decides() -> None:
    assert decided([BAR + 0.0001] * 5, BAR) is True
    assert decided([BAR] * 5, BAR) is True
    assert decided([BAR - 0.0001] * 5, BAR) is False


@pytest.mark.parametrize("exactly", [1, 2, 4, 7])
def test_so_many_as_are_asked_for_are_measured(exactly: int) -> None:
    assert counted([0.9, 0.99] * 4, exactly)[1] == list(range(7, 7 + exactly))


def test_error_rates_are_those_that_are_stated() -> None:
    stated = {
        -0.0010: (0.000, 2.3),
        -0.0006: (0.014, 3.6),
        -0.0004: (0.07, 4.2),
        0.0: (0.50, 4.7),
        0.0006: (0.986, 3.6),
    }
    for rate in error_rates(list(stated), networks=4_000, seed=1):
        passed, trainings = stated[rate.distance]
        assert rate.passed == pytest.approx(passed, abs=0.025)
        assert rate.trainings == pytest.approx(trainings, abs=0.1)


def test_the_further_from_the_bar_the_surer_and_the_cheaper() -> None:
    rates = error_rates([0.0, 0.0004, 0.0008, 0.0012], networks=2_000)
    assert [rate.passed for rate in rates] == sorted(rate.passed for rate in rates)
    assert [rate.trainings for rate in rates] == sorted((rate.trainings for rate in rates), reverse=True)


def test_it_is_wrong_less_often_than_a_single_training_and_takes_fewer_than_five() -> None:
    (rate,) = error_rates([-0.0006], networks=4_000)
    rng = random.Random(0)
    once = statistics.fmean(rng.gauss(-0.0006, DEVIATION) >= 0 for _ in range(4_000))
    assert rate.passed < once / 5
    assert rate.trainings < LOOKS[-1]


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([BAR + 1.9 * DEVIATION], None),
        ([BAR + 2.1 * DEVIATION], True),
        ([BAR - 2.1 * DEVIATION], False),
        ([BAR + 1.6 * DEVIATION] * 2, True),
        ([BAR + 1.6 * DEVIATION] * 4, None),
    ],
)
def test_it_decides_beyond_two_standard_errors(accuracies: list[float], verdict: bool | None) -> None:
    assert decided(accuracies, BAR) is verdict
