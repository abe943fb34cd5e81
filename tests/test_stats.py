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


def test_the_best_of_equals_looks_too_good_and_the_more_so_the_smaller_the_set():
    right = torch.rand(12, 4000, generator=torch.Generator().manual_seed(1)) < 0.99  # twelve epochs, equally good
    found = stats.optimism_by_size(right, sizes=(250, 1000), draws=400)
    assert [choice.images for choice in found] == [250, 1000]
    small, large = (choice.optimism for choice in found)
    # the largest of twelve independent accuracies lies 1.63 of their deviations, sqrt(0.99 * 0.01 / n), above the mean
    assert small == pytest.approx(1.63 * math.sqrt(0.99 * 0.01 / 250), rel=0.25)
    assert large < 0.6 * small
    assert stats.optimism_by_size(right, sizes=(250, 1000), draws=400) == found  # the same draws again


def test_choosing_among_better_and_worse_epochs_is_worth_something_where_the_last_is_the_worst():
    generator = torch.Generator().manual_seed(2)
    right = torch.rand(3, 3000, generator=generator) < torch.tensor([[0.90], [0.95], [0.80]])
    (choice,) = stats.optimism_by_size(right, sizes=(1000,), draws=200)
    assert choice.gain == pytest.approx(0.15, abs=0.02)  # the middle epoch is chosen, every time
    assert abs(choice.gain - 0.15) < 3 * choice.gain_error + 0.01
    assert abs(choice.optimism) < 0.01  # no luck is needed to choose it


def test_the_standard_error_is_as_large_as_the_spread_over_networks():
    """Of the jackknife, against what it estimates: how much the answer varies from one set of images to the next."""
    gains, errors = [], []
    for seed in range(40):
        right = torch.rand(4, 1000, generator=torch.Generator().manual_seed(seed)) < 0.9
        (choice,) = stats.optimism_by_size(right, sizes=(300,), draws=80)
        gains.append(choice.gain)
        errors.append(choice.gain_error)
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(gains), rel=0.5)


def test_one_epoch_leaves_no_choice():
    right = torch.rand(1, 2000, generator=torch.Generator().manual_seed(1)) < 0.9
    (choice,) = stats.optimism_by_size(right, sizes=(500,), draws=200)
    assert (choice.gain, choice.gain_error) == (0, 0)
    assert abs(choice.optimism) < 3 * choice.optimism_error + 0.002


@pytest.mark.parametrize(("shape", "size"), [((0, 100), 10), ((3, 100), 90), ((3, 100), 0), ((3, 1), 1)])
def test_nothing_to_choose_from(shape, size):
    with pytest.raises(ValueError, match="at least one epoch and draw, and sizes from 1 to"):
        stats.optimism_by_size(torch.ones(shape, dtype=torch.bool), sizes=(size,))


def test_a_power_law_is_found_again_and_goes_on():
    law = stats.power_law([stats.Choice(n, 3 * n**-0.7, 0, 0, 0) for n in (100, 200, 900)])
    assert (law.factor, law.exponent) == (pytest.approx(3), pytest.approx(-0.7))
    assert law.at(10_000) == pytest.approx(3 * 10_000**-0.7)


@pytest.mark.parametrize("choices", [[(100, 0.1)], [(100, 0.1), (200, 0.0)], [(100, 0.1), (200, -0.1)]])
def test_no_power_law(choices):
    with pytest.raises(ValueError, match="at least two sizes, each with an optimism above 0"):
        stats.power_law([stats.Choice(n, optimism, 0, 0, 0) for n, optimism in choices])


@pytest.mark.parametrize(("smoothing", "classes"), [(0.0, 10), (0.05, 10), (0.3, 4)])
def test_the_floor_under_a_smoothed_loss_is_where_pytorch_s_loss_ends(smoothing, classes):
    target = torch.tensor(stats.smoothed_target(2, smoothing, classes), dtype=torch.float64)
    logits = target.log().clamp(min=-50)[None]  # the answer that is asked for
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([2]), label_smoothing=smoothing)
    assert float(loss) == pytest.approx(stats.entropy(target.tolist()), abs=1e-9)
    worse = torch.nn.functional.cross_entropy(logits * 1.1 + 0.01, torch.tensor([2]), label_smoothing=smoothing)
    assert float(worse) >= float(loss) - 1e-12


def test_the_lab_s_own_loss_stops_near_three_tenths():
    assert stats.entropy(stats.smoothed_target(0, 0.05)) == pytest.approx(0.2824, abs=1e-4)
