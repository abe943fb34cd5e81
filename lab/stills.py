"""What a widget looks like where no kernel runs: one figure each, with a text for those who can't see it.

Each returns Axes; the text is the figure's label (`axes.figure.get_label()`).
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from lab.layers import Layer
from lab.plots import BLUE, RED
from lab.receptive import Field


def exploration(image: Tensor, layers: Sequence[Layer], maps: Sequence[Tensor]) -> Axes:
    """Above: what the middle unit of each layer sees of an image (H, W). Below: some of the layer's maps (C, H, W)."""
    n = len(layers)
    figure, axes = plt.subplots(2, n, figsize=(1.7 * n, 4.1), squeeze=False)
    for above, below, layer, channels in zip(axes[0], axes[1], layers, maps, strict=True):
        _digit(above, image, layer.field)
        above.set_title(f"{layer.name} ({layer.kind})\nsees {_size(layer)}", fontsize=8)
        picture = _side_by_side(channels)
        limit = max(float(channels.abs().nan_to_num(posinf=0).max()), 1e-9)
        below.imshow(picture.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        below.set_title("x".join(map(str, layer.shape)), fontsize=8)
        _no_ticks(below)
    seen = "; ".join(f"{layer.name} ({layer.kind}) sees {_size(layer)}" for layer in layers)
    figure.set_label(f"A digit, a box around what the middle unit of a layer sees, and the layer's maps. {seen}.")
    figure.tight_layout()
    return axes[0, 0]  # type: ignore[no-any-return]


def drawing(image: Tensor, probabilities: Sequence[float], classes: Sequence[str], layer: Layer) -> Axes:
    """Left: a drawn digit (28, 28) as the network sees it, and what a layer sees of it. Right: the answer, 0..1."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.0), width_ratios=(1, 1.25))
    _digit(left, image, layer.field)
    left.set_title(f"what the network sees;\nthe box: what {layer.name} ({layer.kind}) sees", fontsize=8)
    right.barh(range(len(classes)), [100 * p for p in probabilities], color=BLUE)
    right.set_yticks(range(len(classes)), list(classes), fontsize=8)
    right.invert_yaxis()
    right.set_xlim(0, 100)
    right.set_xlabel("probability, %")
    best = int(np.argmax(probabilities))
    right.set_title(f"the network's answer: {classes[best]}", fontsize=9)
    figure.set_label(
        f"A drawn digit as the network sees it, 28x28 pixels, and its answer: {classes[best]}, "
        f"{probabilities[best]:.0%} sure. Layer {layer.name} ({layer.kind}) sees {_size(layer)}."
    )
    figure.tight_layout()
    return left  # type: ignore[no-any-return]


def growing(layers: Sequence[Layer], at_most: int = 5) -> list[int]:
    """The places of the layers that see more than the one before, evenly thinned; the last layer closes the list."""
    sizes = [(1, 1), *(layer.field.size for layer in layers)]
    found = [i for i in range(len(layers)) if sizes[i + 1] != sizes[i]] or [0]
    found += [len(layers) - 1] if found[-1] != len(layers) - 1 else []
    kept = np.linspace(0, len(found) - 1, min(at_most, len(found))).round().astype(int)
    return [found[i] for i in kept]


def _size(layer: Layer) -> str:
    height, width = layer.field.clipped
    return f"{height}x{width} pixels"


def _digit(axis: Axes, image: Tensor, field: Field) -> None:
    """An image as ink on paper, and the box of the field's middle unit."""
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255, alpha=0.85)
    rows, columns = field.box()
    if rows.size:
        corner = (columns.low - 0.5, rows.low - 0.5)
        box = Rectangle(corner, columns.size, rows.size, fill=False, edgecolor=RED, linewidth=2.5, clip_on=False)
        axis.add_patch(box)
    _no_ticks(axis)


def _no_ticks(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _side_by_side(maps: Tensor) -> Tensor:
    """The first four maps (C, H, W) two by two, with a gap; single units all, in a block. What is left over is NaN."""
    channels, height, width = maps.shape
    is_vector = height == width == 1
    side = int(np.ceil(np.sqrt(channels))) if is_vector else min(2, int(np.ceil(np.sqrt(channels))))
    gap = 0 if is_vector else max(1, height // 14)
    picture = torch.full((side * (height + gap) - gap, side * (width + gap) - gap), torch.nan)
    for i, channel in enumerate(maps[: side * side]):
        top, left = i // side * (height + gap), i % side * (width + gap)
        picture[top : top + height, left : left + width] = channel
    return picture
