"""Figures and how sure they are: known values, and simulations of what the intervals promise."""

import math
import statistics

import numpy as np
import pytest
import torch

from lab import stats
from lab.stats import alarm_level, mean_margin, share_margin, spread


@pytest.mark.parametrize(
    ("values", "mean", "deviation"), [([0.5], 0.5, 0), ([0.25, 0.75], 0.5, 0.5**0.5 / 2), ([0.1] * 5, 0.1, 0)]
)
def test_spread(values: list[float], mean: float, deviation: float) -> None:
    assert spread(values) == (pytest.approx(mean), pytest.approx(deviation))


def test_margin_of_a_mean_is_students() -> None:
    assert mean_margin([1, 2, 3]) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)  # t(0.975, 2) from any table
    assert mean_margin([0.994] * 4) == 0
    assert mean_margin([0.994]) == math.inf


def test_margin_of_a_share_is_wilsons() -> None:
    # Newcombe (1998), table I, method 3: 81 of 263 has the interval 0.2553 to 0.3662; 1 of 29 has 0.0061 to 0.1718.
    assert share_margin(81 / 263, 263) == pytest.approx((0.3662 - 0.2553) / 2, abs=1e-4)
    assert share_margin(1 / 29, 29) == pytest.approx((0.1718 - 0.0061) / 2, abs=1e-4)
    assert share_margin(0.995, 10_000) == pytest.approx(0.0014, abs=5e-5)  # the test set's own margin
    assert share_margin(1.0, 100) > 0


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(5, 2, (4000, 4)).tolist()
    held = statistics.mean(abs(statistics.mean(values) - 5) <= mean_margin(values) for values in draws)
    assert held == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("n", "false_alarms"), [(3, 0.05), (1, 0.01)])
def test_false_alarms_are_as_rare_as_stated(n: int, false_alarms: float) -> None:
    draws = np.random.default_rng(1).normal(0.995, 0.0004, (6000, 10 + n))
    alarms = [values[10:].mean() < alarm_level(values[:10].tolist(), n, false_alarms) for values in draws]
    assert sum(alarms) / len(alarms) == pytest.approx(false_alarms, rel=0.25)


def test_a_real_drop_is_noticed() -> None:
    recorded = [0.9951, 0.9948, 0.9955, 0.9946, 0.9950]
    assert 0.9930 < alarm_level(recorded, 3, 0.001) < 0.9946
    with pytest.raises(ValueError, match="at least two"):
        alarm_level([0.995], 3, 0.001)


def test_the_last_epoch_is_right_on_average_and_the_best_one_too_good():
    right = torch.rand(12, 2000, generator=torch.Generator().manual_seed(1)) < 0.99  # twelve epochs, equally good
    found = stats.optimism(right, draws=200)
    assert statistics.mean(found["the last epoch"]) == pytest.approx(0, abs=1e-12)
    best = statistics.mean(found["the best epoch"])
    assert best > 0.002  # the largest of twelve draws, each with a deviation of 0.2 points, and its own half twice that
    assert len(found["the best epoch"]) == 400
    assert stats.optimism(right, draws=200) == found  # the same draws again


def test_one_epoch_leaves_no_choice():
    right = torch.rand(1, 100, generator=torch.Generator().manual_seed(1)) < 0.9
    found = stats.optimism(right, draws=10)
    assert found["the best epoch"] == found["the last epoch"]


@pytest.mark.parametrize("shape", [(0, 100), (3, 1)])
def test_nothing_to_choose_from(shape):
    with pytest.raises(ValueError, match="at least one epoch and two images"):
        stats.optimism(torch.ones(shape, dtype=torch.bool))
