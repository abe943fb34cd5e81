"""How often is a network trained before its accuracy is judged? Once where it is clear, more often where it is close.

After 1, 2, 3 and 5 trainings, each from another seed, the mean is compared with the bar. Where it is further away than
`Z` standard errors, it decides; after the last one it decides in any case. The standard error is `DEVIATION`, that of
one training, over the root of how many there were. It is what ten seeds of the lab's own networks show (0.05 to 0.07
points, benchmarks/RESULTS.md), and not what the few trainings here happen to show.

A network whose true mean lies at the bar itself is passed half of the time, by any rule. `error_rates` simulates how
often one that lies beside it is judged wrongly, and what that costs in trainings.

    true mean minus the bar, points    -0.15   -0.10   -0.06   -0.04   -0.02    0.00   +0.02   +0.04   +0.06   +0.10
    passed, %                            0.0     0.0     1.4       7      24      50      77      93    98.6   100.0
    trainings, in the mean               1.4     2.3     3.6     4.2     4.6     4.7     4.6     4.2     3.6     2.3
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOOKS = (1, 2, 3, 5)
"""Numbers of trainings after which the mean is looked at."""
DEVIATION = 0.0006
"""Of the accuracy (0..1) of one network over seeds."""
Z = 2.0


def decided(accuracies: Sequence[float], bar: float) -> bool | None:
    """Is the mean of these accuracies (0..1) at least `bar`? None where one more training is needed to say so."""
    n, mean = len(accuracies), statistics.fmean(accuracies)
    if n >= LOOKS[-1]:
        return mean >= bar
    if n in LOOKS and abs(mean - bar) > Z * DEVIATION / math.sqrt(n):
        return mean >= bar
    return None


def measured(measure: Callable[[int], float], bar: float, first_seed: int, exactly: int | None = None) -> list[float]:
    """Accuracies of as many trainings as the rule asks for, or `exactly` so many; seeds count from `first_seed` on."""
    accuracies: list[float] = []
    while len(accuracies) != exactly and not (exactly is None and accuracies and decided(accuracies, bar) is not None):
        accuracies.append(measure(first_seed + len(accuracies)))
    return accuracies


@dataclass(frozen=True)
class Rate:
    """What the rule does with networks whose true mean is so far from the bar."""

    distance: float  # true mean minus the bar, 0..1
    passed: float  # share of them
    trainings: float  # mean number


def error_rates(distances: Sequence[float], networks: int = 20_000, seed: int = 0) -> list[Rate]:
    """The rule on simulated networks, whose accuracies are normal around their true mean with `DEVIATION`."""
    rng = random.Random(seed)
    rates = []
    for distance in distances:
        runs = [_simulated(distance, rng) for _ in range(networks)]
        passed = sum(statistics.fmean(run) >= 0.0 for run in runs)
        rates.append(Rate(distance, passed / networks, sum(map(len, runs)) / networks))
    return rates


def _simulated(distance: float, rng: random.Random) -> list[float]:
    """The accuracies, less the bar, of one network whose true mean is so far from it."""
    return measured(lambda seed: rng.gauss(distance, DEVIATION), 0.0, 0)
