"""Where does a network look? A picture of which places its answer hangs on."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.train import predict


def occlusion(model: nn.Module, images: Tensor, labels: Tensor, side: int = 5) -> Tensor:
    """How much probability each label loses when a square of paper covers the image around a pixel.

    images: (N, H, W) uint8; labels: (N,), the classes to watch; side: of the square, in pixels, odd.
    Returns (N, H, W), from -1 to 1: large where the answer hangs on what is covered, negative where covering helps.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2; the square is
    background instead of grey. Raises ValueError for an even side, TrainingError as `predict` does.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"the side of the square must be odd and at least 1, to have a middle pixel; it is {side}.")
    height, width = images.shape[1:]
    keep = 1 - _squares(height, width, side)  # (H * W, H, W), 0 where covered
    losses = []
    for image, label in zip(images, labels.tolist(), strict=True):
        covered = torch.cat([image[None], image * keep.to(image)])  # the image as it is comes first
        probability = predict(model, covered).softmax(1)[:, label]
        losses.append((probability[0] - probability[1:]).view(height, width))
    return torch.stack(losses)


def _squares(height: int, width: int, side: int) -> Tensor:
    """(H * W, H, W): one square for each pixel as its middle, cut at the edges."""
    points = torch.eye(height * width).view(-1, 1, height, width)
    return F.max_pool2d(points, side, stride=1, padding=side // 2)[:, 0]
