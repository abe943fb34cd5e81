"""How sure is a figure? Spread over seeds, 95 % intervals, and when a drop is more than luck."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Choice:
    """What choosing the best epoch on a set of images does, in shares (0..1), with standard errors."""

    images: int  # that the epoch is chosen on
    optimism: float  # the report (its accuracy on them) minus its accuracy on images that nobody chose by
    optimism_error: float
    gain: float  # its accuracy on those other images minus the last epoch's there: what the choice is really worth
    gain_error: float


def optimism_by_size(
    right: Tensor, sizes: Sequence[int] = (312, 625, 1250, 2500), draws: int = 1000, seed: int = 0
) -> list[Choice]:
    """How much too good the best epoch's accuracy looks, by the size of the set that it is chosen on.

    right: (epochs, N) bool, whether the network classified image n correctly after each epoch of one run.

    Each draw takes so many of the images at random. The epoch with the highest accuracy on them is chosen (the first of
    several), and that accuracy is the report; the images that were not drawn say how good this epoch is (Cawley and
    Talbot, "On Over-fitting in Model Selection and Subsequent Selection Bias in Performance Evaluation", JMLR 2010).
    The last epoch, which nobody has to choose, is measured on the same other images.

    More draws from the same N images do not make the answer surer than these images are. The standard errors therefore
    come from leaving out each tenth of the images once (the jackknife: Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 11).

    Raises ValueError for no epoch, no draw, and for sizes that leave fewer than a tenth of the images to judge by.
    """
    import torch

    epochs, images = right.shape
    if epochs < 1 or draws < 1 or not sizes or min(sizes) < 1 or max(sizes) > 0.8 * images:
        raise ValueError(
            f"expected at least one epoch and draw, and sizes from 1 to {int(0.8 * images):,}, four fifths of them; "
            f"these are {epochs} epochs of {images:,} images, {draws} draws and the sizes {tuple(sizes)}."
        )
    generator = torch.Generator().manual_seed(seed)
    tenth = torch.randperm(images, generator=generator) % 10
    order = torch.rand(draws, images, generator=generator, dtype=torch.float64)  # each draw takes the lowest
    some = order[: -(-draws // 4)]  # for the standard errors a part of the draws is enough
    found = []
    for size in sizes:
        whole = _chosen(right, order, size)
        parts = [_chosen(right[:, tenth != k], some[:, tenth != k], size) for k in range(10)]
        errors = [math.sqrt(0.9 * sum((x - statistics.mean(xs)) ** 2 for x in xs)) for xs in zip(*parts, strict=True)]
        found.append(Choice(size, whole[0], errors[0], whole[1], errors[1]))
    return found


def _chosen(right: Tensor, order: Tensor, size: int) -> tuple[float, float]:
    """Optimism and gain, in the mean over the draws. right: (epochs, N) bool; order: (draws, N), any numbers."""
    drawn = (order <= order.kthvalue(size, dim=1, keepdim=True).values).float()  # (draws, N), `size` ones a row
    inside = drawn @ right.float().T  # (draws, epochs), images
    outside = (right.sum(1) - inside) / (right.shape[1] - size)
    best = inside.argmax(1, keepdim=True)  # the first of several
    report, truth = inside.gather(1, best)[:, 0] / size, outside.gather(1, best)[:, 0]
    return float((report - truth).mean()), float((truth - outside[:, -1]).mean())


@dataclass(frozen=True)
class PowerLaw:
    """y = factor * n ** exponent."""

    factor: float
    exponent: float

    def at(self, n: float) -> float:
        """y for n."""
        return float(self.factor * n**self.exponent)


def power_law(choices: Sequence[Choice]) -> PowerLaw:
    """The power law nearest to the optimism by the number of images: a straight line through their logarithms.

    Raises ValueError for fewer than two sizes, or an optimism that is not above 0 and so has no logarithm.
    """
    if len({choice.images for choice in choices}) < 2 or min(choice.optimism for choice in choices) <= 0:
        raise ValueError("a power law needs at least two sizes, each with an optimism above 0.")
    x, y = [math.log(choice.images) for choice in choices], [math.log(choice.optimism) for choice in choices]
    slope, intercept = statistics.linear_regression(x, y)
    return PowerLaw(math.exp(intercept), slope)


def smoothed_target(label: int, smoothing: float, classes: int = 10) -> list[float]:
    """The probabilities that label smoothing asks for: `smoothing` is shared out evenly among all classes.

    As `torch.nn.functional.cross_entropy` has it, after Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the
    Inception Architecture for Computer Vision", CVPR 2016, section 7.
    """
    return [(1 - smoothing) * (i == label) + smoothing / classes for i in range(classes)]


def entropy(probabilities: Sequence[float]) -> float:
    """In nats: the lowest cross-entropy that any answer can have with these probabilities as its target."""
    return sum(-p * math.log(p) for p in probabilities if p > 0)


def _quantile(p: float, degrees: int) -> float:
    """Student's t."""
    from scipy.stats import t  # slow to import, so only when it is asked for

    if degrees < 1:
        raise ValueError("the spread of a single value is not known: record at least two.")
    return float(t.ppf(p, degrees))
