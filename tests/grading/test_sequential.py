"""How often a network is trained before it is judged, and how often the rule is wrong."""

from statistics import fmean

import pytest

from lab.grading.sequential import DEVIATION, LOOKS, decided, error_rates, measured

BAR = 0.994


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.9975], True),
        ([0.98], False),
        ([BAR], None),
        ([BAR + 1.9 * DEVIATION], None),
        ([BAR + 2.1 * DEVIATION], True),
        ([BAR - 2.1 * DEVIATION], False),
        ([BAR + 1.6 * DEVIATION] * 2, True),
        ([BAR + 1.6 * DEVIATION] * 4, None),  # four is no look
        ([BAR + 0.01 * DEVIATION] * 5, True),
        ([BAR - 0.01 * DEVIATION] * 5, False),
        ([BAR] * 5, True),
    ],
)
def test_it_decides_where_it_is_clear_and_after_the_last_look(accuracies: list[float], verdict: bool | None) -> None:
    assert decided(accuracies, BAR) is verdict


def test_it_trains_as_often_as_is_needed_with_one_seed_after_the_other() -> None:
    asked: list[int] = []
    near = measured(lambda seed: asked.append(seed) or BAR, BAR, 7)  # type: ignore[func-returns-value]
    assert asked == [7, 8, 9, 10, 11]
    assert len(near) == LOOKS[-1]
    assert len(measured(lambda seed: 0.9, BAR, 0)) == 1


def test_a_number_that_is_asked_for_is_kept_to() -> None:
    assert len(measured(lambda seed: 0.9, BAR, 0, exactly=3)) == 3
    assert len(measured(lambda seed: BAR, BAR, 0, exactly=1)) == 1
    assert len(measured(lambda seed: BAR, BAR, 0, exactly=9)) == 9


def test_the_error_rates_that_are_documented() -> None:
    rates = {round(rate.distance * 100, 2): rate for rate in error_rates([-0.002, -0.001, 0.0, 0.001, 0.002], 4000)}
    assert 0.47 < rates[0.0].passed < 0.53  # by any rule
    assert rates[0.1].passed > 0.94
    assert rates[-0.1].passed < 0.06
    assert rates[0.2].passed > 0.995
    assert rates[-0.2].passed < 0.005
    assert rates[0.2].trainings < 1.3
    assert rates[0.0].trainings == max(rate.trainings for rate in rates.values())
    assert fmean(rate.trainings for rate in rates.values()) < 3
