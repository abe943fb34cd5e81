"""How digits become the network's input, and how each is changed a little, a whole batch at once."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of MNIST's training pixels, in 0..1. Every data set goes through these two, so that a
network's input means the same thing everywhere."""


@dataclass(frozen=True)
class Affine:
    """How far a random affine map may move an image. Every image gets its own draw, uniform within ± these limits."""

    shift: float = 2.0  # pixels, each axis by itself
    degrees: float = 10.0  # rotation about the centre
    scale: float = 0.1  # each axis by itself: a factor from 1 - scale to 1 + scale
    shear: float = 0.1  # columns move by up to this much of their height


def to_input(images: Tensor) -> Tensor:
    """Pixels 0..255, (B, H, W) uint8 -> normalised floats, (B, 1, H, W)."""
    return images.unsqueeze(1).float().div_(255).sub_(MEAN).div_(STD)


def random_affine(images: Tensor, limits: Affine, generator: torch.Generator) -> Tensor:
    """Move each normalised image by its own random affine map; what comes in from outside is background.

    images: (B, 1, H, W), as `to_input` gives them. The generator lives on the CPU, so that a GPU draws the same maps.
    """
    maps = _random_maps(len(images), images.shape[-2:], limits, generator).to(images.device)
    grid = _grid(maps, images.shape[-2:])
    background = -MEAN / STD
    return F.grid_sample(images - background, grid, align_corners=False).add_(background)


def random_gamma(images: Tensor, limit: float, generator: torch.Generator) -> Tensor:
    """Raise the brightness (0..1) of each normalised image to a power of its own: thinner strokes, or fatter ones.

    The edges of a stroke are grey. A power over 1 darkens them, one under 1 brightens them; black and white stay.

    images: (B, 1, H, W), as `to_input` gives them.
    limit: the power is exp(u), u uniform within ± limit: 0.5 draws powers from 0.61 to 1.65.
    """
    draw = torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1
    power = (draw * limit).exp().to(images.device)
    return images.mul(STD).add_(MEAN).clamp_(0, 1).pow_(power).sub_(MEAN).div_(STD)


def _grid(maps: Tensor, size: torch.Size) -> Tensor:
    """Where each output pixel comes from: (B, 2, 3) maps -> (B, H, W, 2) input coordinates, in -1..1.

    The same as `F.affine_grid`, whose product of many tiny matrices takes ten times as long on a CPU.
    """
    y, x = (((torch.arange(n, device=maps.device) + 0.5) * 2 / n - 1) for n in size)  # pixel centres, (H,) and (W,)
    along_x, along_y, offset = maps[:, None, None].unbind(-1)  # (B, 1, 1, 2) each
    return along_x * x[:, None] + (along_y * y[:, None, None] + offset)


def _random_maps(n: int, size: torch.Size, limits: Affine, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) affine maps from output to input coordinates, which run from -1 to 1 across the image."""
    height, width = size
    draw = torch.rand(6, n, generator=generator) * 2 - 1  # (6, n), uniform in -1..1
    angle = draw[0] * math.radians(limits.degrees)
    stretch_x, stretch_y = 1 + draw[1] * limits.scale, 1 + draw[2] * limits.scale
    shear = draw[3] * limits.shear
    cos, sin = angle.cos(), angle.sin()
    shift_x, shift_y = draw[4] * limits.shift * 2 / width, draw[5] * limits.shift * 2 / height
    rows = [
        torch.stack([cos * stretch_x, (shear * cos - sin) * stretch_y, shift_x]),
        torch.stack([sin * stretch_x, (shear * sin + cos) * stretch_y, shift_y]),
    ]
    return torch.stack(rows).permute(2, 0, 1)
