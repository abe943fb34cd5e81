"""How sure is a figure? Spread over seeds, 95 % intervals, and when a drop is more than luck."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

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


def optimism(right: Tensor, draws: int = 1000, seed: int = 0) -> dict[str, list[float]]:
    """How much too good an accuracy looks, by the way it is reported: the best epoch's, and the last epoch's.

    right: (epochs, N) bool, whether the network named image n right after each epoch of one run.

    Each draw parts the images into two random halves, and each half plays the test set once: the best epoch is chosen
    on it and its accuracy there is the report. The other half, which nobody chose by, says how good the network of
    that epoch is. The differences (shares, 0..1), two a draw; without a choice they are 0 in the mean (Cawley and
    Talbot, "On Over-fitting in Model Selection and Subsequent Selection Bias in Performance Evaluation", JMLR 2010).

    Raises ValueError for less than one epoch or two images.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    epochs, images = right.shape
    if epochs < 1 or images < 2:
        raise ValueError(f"at least one epoch and two images are needed; these are {epochs} and {images}.")
    differences: dict[str, list[float]] = {"the best epoch": [], "the last epoch": []}
    for _ in range(draws):
        order = torch.randperm(images, generator=generator)
        one, other = (right[:, half].double().mean(1) for half in order.tensor_split(2))  # (epochs,) each
        for shown, kept in ((one, other), (other, one)):
            differences["the best epoch"].append(float((shown - kept)[shown.argmax()]))
            differences["the last epoch"].append(float((shown - kept)[-1]))
    return differences


def _quantile(p: float, degrees: int) -> float:
    """Student's t."""
    from scipy.stats import t  # slow to import, so only when it is asked for

    if degrees < 1:
        raise ValueError("the spread of a single value is not known: record at least two.")
    return float(t.ppf(p, degrees))
