"""What does it look like? Figures of what other modules computed; each returns the Axes that it drew on.

The colours are Okabe and Ito's, told apart with any colour vision; a second sign (marker, dash, label) goes with each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from lab.layers import Layer
from lab.receptive import Field
from lab.train import History

BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip


def digits(images: Tensor, titles: Sequence[str] | None = None, columns: int = 10) -> Axes:
    """Images (N, H, W) in a grid, as ink on paper, with a title each."""
    rows = -(-len(images) // columns)
    height = 1.0 if titles is None else 1.35
    figure, axes = plt.subplots(rows, columns, figsize=(columns, rows * height), squeeze=False)
    for index, axis in enumerate(axes.flat):
        axis.axis("off")
        if index < len(images):
            axis.imshow(images[index].numpy(), cmap="gray_r")
            if titles is not None:
                axis.set_title(titles[index], fontsize=8)
    figure.tight_layout()
    return axes[0, 0]  # type: ignore[no-any-return]


def maps(images: Sequence[Tensor], titles: Sequence[str]) -> Axes:
    """Maps (H, W) of any sign side by side: blue below zero, white at zero, red above."""
    figure, axes = plt.subplots(1, len(images), figsize=(2.6 * len(images), 2.9), squeeze=False)
    for axis, image, title in zip(axes.flat, images, titles, strict=True):
        limit = max(float(image.abs().max()), 1e-9)
        axis.imshow(image.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    return axes[0, 0]  # type: ignore[no-any-return]


def growing_boxes(image: Tensor, fields: Sequence[Field]) -> Axes:
    """What the middle unit of each layer sees, drawn over an image (H, W); one panel a layer."""
    figure, axes = plt.subplots(1, len(fields), figsize=(1.9 * len(fields), 2.4), squeeze=False)
    for axis, field in zip(axes.flat, fields, strict=True):
        rows, columns = field.box()
        axis.imshow(image.numpy(), cmap="gray_r", alpha=0.85)
        corner = (columns.low - 0.5, rows.low - 0.5)
        box = Rectangle(corner, columns.size, rows.size, fill=False, edgecolor=RED, linewidth=2.5, clip_on=False)
        axis.add_patch(box)
        axis.set_title(f"layer {field.name}\n{field.size[0]}x{field.size[1]} pixels", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    return axes[0, 0]  # type: ignore[no-any-return]


def effective_fields(before: Tensor, after: Tensor, field: Field) -> Axes:
    """The effective field (H, W) before and after training, with the theoretical box around it."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.3))
    rows, columns = field.box()
    for axis, mass, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
        axis.imshow(mass.numpy(), cmap="magma")
        corner = (columns.low - 0.5, rows.low - 0.5)
        box = Rectangle(corner, columns.size, rows.size, fill=False, edgecolor=SKY, linewidth=2, clip_on=False)
        axis.add_patch(box)
        axis.set_title(f"layer {field.name}, {title}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    return axes[0]  # type: ignore[no-any-return]


def budget(layers: Sequence[Layer]) -> Axes:
    """Parameters and multiply-adds of each layer that has any, side by side."""
    costly = [layer for layer in layers if layer.parameters or layer.multiply_adds]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.24 * len(costly) + 1.2), sharey=True)
    names, places = [f"{layer.name} ({layer.kind})" for layer in costly], range(len(costly))
    left.barh(places, [layer.parameters for layer in costly], color=BLUE)
    left.set_xlabel("parameters")
    right.barh(places, [layer.multiply_adds / 1e6 for layer in costly], color=ORANGE)
    right.set_xlabel("multiply-adds an image, millions")
    left.set_yticks(places, names, fontsize=8)
    left.invert_yaxis()
    figure.tight_layout()
    return left  # type: ignore[no-any-return]


def comparison(results: Mapping[str, Sequence[float]], target: float | None = None) -> Axes:
    """Accuracies (0..1) of several runs of each variant: a dot a seed, a bar at the mean."""
    figure, axis = plt.subplots(figsize=(6.5, 0.55 * len(results) + 1.1))
    for place, values in enumerate(results.values()):
        percent = np.array(values) * 100
        axis.plot(percent, np.full(len(percent), place), "o", color=BLUE, alpha=0.6)
        axis.plot(percent.mean(), place, "|", color=RED, markersize=22, markeredgewidth=3)
        axis.annotate(f"{percent.mean():.2f}", (percent.mean(), place), (0, 12), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    axis.set_yticks(range(len(results)), list(results))
    axis.set_ylim(len(results) - 0.4, -0.7)
    if target is not None:
        _target_line(axis.axvline, target)
        axis.legend(fontsize=8)
    axis.set_xlabel("validation accuracy, %  (dot: one seed, bar: mean)")
    figure.tight_layout()
    return axis


def curves(history: History, target: float) -> Axes:
    """Loss and accuracy by epoch, with the target (0..1) as a dashed line."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    numbers = [epoch.number for epoch in history.epochs]
    left.plot(numbers, [epoch.loss for epoch in history.epochs], "o-", color=BLUE)
    left.set_ylabel("training loss")
    training = [100 * epoch.train_accuracy for epoch in history.epochs]
    right.plot(
        numbers, training, "o-", color=BLUE, label="training, augmented" if history.recipe.augment else "training"
    )
    held_out = [100 * e.validation_accuracy for e in history.epochs if e.validation_accuracy is not None]
    if held_out:
        right.plot(numbers, held_out, "s--", color=ORANGE, label="validation")
    _target_line(right.axhline, target)
    if training and min(training + held_out) < 95 < min(training[-1], *held_out[-1:], 100):
        right.set_ylim(bottom=95)  # the first epochs would take all the room
    right.set_ylabel("accuracy, %")
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.tight_layout()
    return right  # type: ignore[no-any-return]


def _target_line(draw: Any, target: float) -> None:
    draw(100 * target, color=RED, linestyle="--", linewidth=1.2, label=f"target {target:.1%}")


def schedule(shares: Sequence[float]) -> Axes:
    """The learning rate over a run, as a share of its peak, at evenly spaced moments."""
    figure, axis = plt.subplots(figsize=(5, 2.2))
    axis.plot(np.linspace(0, 100, len(shares)), shares, color=BLUE)
    axis.set_xlabel("part of the run that is over, %")
    axis.set_ylabel("learning rate,\nshare of its peak")
    figure.tight_layout()
    return axis


def confusion(matrix: Tensor, classes: Sequence[str]) -> Axes:
    """How often each class (row) was taken for each other (column), in images; the diagonal is left out."""
    figure, axis = plt.subplots(figsize=(4.4, 4.4))
    wrong = matrix.clone().fill_diagonal_(0)
    axis.imshow(wrong.numpy(), cmap="Oranges")
    for row, column in wrong.nonzero().tolist():
        color = "white" if wrong[row, column] > 0.6 * wrong.max() else "black"
        axis.text(column, row, str(int(wrong[row, column])), ha="center", va="center", fontsize=9, color=color)
    axis.set_title("wrong answers, in images", fontsize=10)
    axis.set_xticks(range(len(classes)), classes)
    if max(map(len, classes)) > 2:
        axis.tick_params("x", rotation=90)
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("network's answer")
    axis.set_ylabel("label")
    figure.tight_layout()
    return axis
