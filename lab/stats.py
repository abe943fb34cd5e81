"""How sure is a figure? Spread over seeds, 95 % intervals, and when a drop is more than luck."""

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95
"""Of every interval that the lab prints."""


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of a single value is 0."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def mean_margin(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean over seeds (Student's t); infinite for a single value.

    It covers the luck of the seeds alone: `share_margin` has the luck of the test set's images.
    """
    n = len(values)
    return _quantile((1 + CONFIDENCE) / 2, n - 1) * spread(values)[1] / math.sqrt(n) if n > 1 else math.inf


def share_margin(share: float, n: int) -> float:
    """Half the width of the 95 % interval of a share (0..1) counted on `n` images, each a draw of its own.

    The interval of Wilson (1927), which stays sensible near 0 and 1.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))


def alarm_level(recorded: Sequence[float], n: int, false_alarms: float) -> float:
    """The level that the mean of `n` new values stays above, if nothing changed, but for a share of `false_alarms`.

    The lower limit of a one-sided prediction interval for normal values of unknown mean and deviation: it allows for
    the luck of the new values and for that of the recorded ones (Hahn and Meeker 1991, section 4.7).

    Raises ValueError if fewer than two values are recorded.
    """
    mean, deviation = spread(recorded)
    m = len(recorded)
    return mean - _quantile(1 - false_alarms, m - 1) * deviation * math.sqrt(1 / n + 1 / m)


def _quantile(p: float, degrees: int) -> float:
    """Student's t."""
    from scipy.stats import t  # slow to import, so only when it is asked for

    if degrees < 1:
        raise ValueError("the spread of a single value is not known: record at least two.")
    return float(t.ppf(p, degrees))
