"""What does a network answer to one image?"""

import torch

from lab.errors import LabError
from lab.widgets.features import Probe


class WidgetError(LabError):
    """A network that a page can't be made for."""


def probabilities(probe: Probe, index: int = 0) -> list[float]:
    """How sure the network is of each class, 0..1, for image number `index`.

    Raises WidgetError for a network that gives no row of logits, and for logits that are NaN.
    """
    shape = probe.graph.output_shape
    if len(shape) != 1:
        raise WidgetError(f"the network gives {shape} for an image; expected one row of logits, (10,).")
    logits = probe.maps(len(probe.layers) - 1, probe.image(index)).flatten()  # (classes,)
    if not torch.isfinite(logits).all():
        raise WidgetError("the network answers with NaN or infinity: its training diverged; train again, more slowly.")
    return [float(p) for p in logits.softmax(0)]
