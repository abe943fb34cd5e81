"""What does a network answer to one image, in a form that a widget can show?"""

import torch
from torch import Tensor, nn

from lab.errors import LabError
from lab.train import predict


class WidgetError(LabError):
    """A network that a widget can't be made for."""


def probabilities(model: nn.Module, image: Tensor) -> list[float]:
    """How sure the network is of each class, 0..1, for an image (28, 28) uint8. Raises WidgetError for NaN."""
    logits = predict(model, image[None])[0]  # (classes,)
    if not torch.isfinite(logits).all():
        raise WidgetError("the network answers with NaN or infinity: its training diverged; train again, more slowly.")
    return [float(p) for p in logits.softmax(0)]
