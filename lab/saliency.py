"""Where does a network look? A picture of which places its answer hangs on."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.train import predict

COVERS = {"paper": 0, "ink": 255}
"""What a square can be made of, and how bright its pixels are."""


def occlusion(
    model: nn.Module, images: Tensor, labels: Tensor, side: int = 5, cover: Literal["paper", "ink"] = "paper"
) -> Tensor:
    """How much probability each label loses when a square of paper, or of ink, covers the image around a pixel.

    Paper takes strokes away and shows which of them the answer hangs on; where there is no ink it changes nothing, so
    it can't show a gap that matters (what makes a 4 no 9). Ink fills gaps in and shows those; on a stroke it changes
    little. Neither shows how much two places matter together.

    images: (N, H, W) uint8; labels: (N,), the classes to watch; side: of the square, in pixels, odd.
    Returns (N, H, W), from -1 to 1: large where the answer hangs on what is covered, negative where covering helps.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2; their square is
    grey. Raises ValueError for an even side and another cover, TrainingError as `predict` does.
    """
    if cover not in COVERS:
        raise ValueError(f"the cover must be one of {', '.join(COVERS)}; it is {cover!r}.")
    if side < 1 or side % 2 == 0:
        raise ValueError(f"the side of the square must be odd and at least 1, to have a middle pixel; it is {side}.")
    height, width = images.shape[1:]
    is_covered = _squares(height, width, side).bool()  # (H * W, H, W)
    losses = []
    for image, label in zip(images, labels.tolist(), strict=True):
        covered = torch.cat([image[None], image.masked_fill(is_covered, COVERS[cover])])  # as it is comes first
        probability = predict(model, covered).softmax(1)[:, label]
        losses.append((probability[0] - probability[1:]).view(height, width))
    return torch.stack(losses)


def _squares(height: int, width: int, side: int) -> Tensor:
    """(H * W, H, W): one square for each pixel as its middle, cut at the edges."""
    points = torch.eye(height * width).view(-1, 1, height, width)
    return F.max_pool2d(points, side, stride=1, padding=side // 2)[:, 0]
