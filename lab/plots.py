"""What does it look like? Figures of what other modules computed; each returns the Axes that it drew on.

The colours are Okabe and Ito's, told apart with any colour vision; a second sign (marker, dash, label) goes with each.
Every figure is as wide as a phone can show with its text still legible, and carries a description in words, its
`figure.get_label()`, which `show` hands to the page as alt text.
"""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lab.layers import Layer
from lab.receptive import Field
from lab.train import History

BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
WIDTH = 5.4
"""Inches; at 400 pixels a figure of this width shows 9 points as 9 pixels."""
MOST = 60
"""Panels of one figure; of more, the first are shown, and figure and description say so."""
_SMALL = 9  # points: the smallest text


def show(axes: Axes) -> None:
    """Display the figure of `axes` with its description for those who can't see it, and close it."""
    from IPython.display import display

    display(bundle(axes), raw=True)


def bundle(axes: Axes) -> dict[str, str]:
    """The figure of `axes` as Jupyter takes it, by media type: a picture, and its description in words; closes it."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, facecolor="white")  # on a dark page too: the ink is black
    plt.close(figure)
    data, words = b64encode(image.getvalue()).decode(), str(figure.get_label())
    page = f'<img src="data:image/png;base64,{data}" alt="{escape(words)}" style="max-width: 100%">'
    return {"text/html": page, "image/png": data, "text/plain": words}


def digits(images: Tensor, titles: Sequence[str] | None = None, columns: int | None = None) -> Axes:
    """Images (N, H, W) in a grid, as ink on paper, with a title each; of more than `MOST`, the first."""
    every, pixels = len(images), "x".join(map(str, images.shape[1:]))
    images, titles = images[:MOST], None if titles is None else titles[:MOST]
    columns = columns or (10 if titles is None else 5)
    rows = max(1, -(-len(images) // columns))
    side = WIDTH / columns
    size = (WIDTH, rows * (side if titles is None else side + 0.4))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for index, axis in enumerate(axes.flat):
        axis.axis("off")
        if index < len(images):
            axis.imshow(images[index].numpy(), cmap="gray_r")
            if titles is not None:
                axis.set_title(titles[index], fontsize=_SMALL)
    left_out = _left_out(figure, len(images), every)
    figure.tight_layout(pad=0.8)
    named = ": " + "; ".join(title.replace("\n", ", ") for title in titles) if titles else ""
    return _described(axes[0, 0], f"{every:,} images of {pixels} pixels, as ink on paper{left_out}{named}.")


def maps(images: Sequence[Tensor], titles: Sequence[str], columns: int = 4) -> Axes:
    """Maps (H, W) of any sign in a grid, each on its own scale: blue below zero, white at zero, red above.

    Of more than `MOST`, the first.
    """
    every, images, titles = len(images), images[:MOST], titles[:MOST]
    columns, rows = _grid(len(images), columns)
    side = min(WIDTH / columns, 1.9)
    size = (side * columns, rows * (side + 0.3))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        limit = max(float(image.abs().max()), 1e-9)
        axis.imshow(image.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=_SMALL)
        _no_ticks(axis)
    for axis in axes.flat[len(images) :]:
        axis.axis("off")
    left_out = _left_out(figure, len(images), every)
    figure.tight_layout(pad=0.8)
    sizes = [f"{title} {image.shape[0]}x{image.shape[1]}" for title, image in zip(titles, images, strict=True)]
    return _described(axes[0, 0], f"{every:,} maps, blue below zero and red above{left_out}: {', '.join(sizes)}.")


def growing_boxes(image: Tensor, fields: Sequence[Field]) -> Axes:
    """What the middle unit of each layer sees, drawn over an image (H, W); one panel a layer, for the first `MOST`."""
    every, fields = len(fields), fields[:MOST]
    columns, rows_of_panels = _grid(len(fields))
    side = WIDTH / 4
    size = (side * columns, rows_of_panels * (side + 0.5))
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=size, squeeze=False)
    for axis, field in zip(axes.flat, fields, strict=False):
        _digit(axis, image, field)
        axis.set_title(f"layer {field.name}\n{field.size[0]}x{field.size[1]} pixels", fontsize=_SMALL)
    for axis in axes.flat[len(fields) :]:
        axis.axis("off")
    left_out = _left_out(figure, len(fields), every)
    figure.tight_layout(pad=0.8)
    sizes = ", ".join(f"layer {f.name} {f.size[0]}x{f.size[1]}" for f in fields)
    words = f"The pixels of a digit that each layer's middle unit sees, in a box{left_out}"
    return _described(axes[0, 0], f"{words}: {sizes}.")


def effective_fields(before: Tensor, after: Tensor, field: Field) -> Axes:
    """The effective field (H, W) before and after training, with the theoretical box around it."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    for axis, mass, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
        axis.imshow(mass.numpy(), cmap="magma")
        _box(axis, field, SKY)
        axis.set_title(f"layer {field.name}, {title}", fontsize=_SMALL)
        _no_ticks(axis)
    figure.tight_layout(pad=0.8)
    rows, columns = field.box()
    words = f"How much each pixel counts for a unit of layer {field.name}, before and after training"
    return _described(axes[0], f"{words}, in the box of {rows.size}x{columns.size} pixels that it can see.")


def budget(layers: Sequence[Layer]) -> Axes:
    """Where the parameters sit and where the work is: two stacked bars, a segment a layer, the first layer on top."""
    costly = [layer for layer in layers if layer.parameters or layer.multiply_adds]
    figure, axis = plt.subplots(figsize=(WIDTH, 4.6))
    colours = plt.get_cmap("viridis")(np.linspace(0.1, 0.95, len(costly)))
    costs = np.array([[layer.parameters for layer in costly], [layer.multiply_adds for layer in costly]])
    shares = 100 * costs / costs.sum(1, keepdims=True)
    tops = shares.cumsum(1) - shares
    for place in (0, 1):
        axis.bar(place, shares[place], 0.62, bottom=tops[place], color=colours, edgecolor="white", linewidth=0.5)
        for layer, share, top, colour in zip(costly, shares[place], tops[place], colours, strict=True):
            if share >= 4:
                ink = "black" if np.mean(to_rgb(colour)) > 0.5 else "white"
                text = f"{layer.name}  {share:.0f} %"
                axis.text(place, top + share / 2, text, ha="center", va="center", fontsize=_SMALL, color=ink)
    for left, right in zip(*tops[:, 1:], strict=True):
        axis.plot((0.31, 0.69), (left, right), color="grey", linewidth=0.6)
    axis.set_xticks((0, 1), (f"parameters\n{costs[0].sum():,}", f"multiply-adds an image\n{costs[1].sum():,}"))
    axis.set_ylabel("share, %  (first layer on top)")
    axis.set_ylim(100, 0)
    figure.tight_layout()
    listed = [
        ", ".join(f"{layer.name} {share:.0f} %" for layer, share in zip(costly, row, strict=True) if share >= 4)
        for row in shares
    ]
    return _described(axis, f"Two stacked bars. Parameters: {listed[0]}. Multiply-adds: {listed[1]}.")


def comparison(results: Mapping[str, Sequence[float]], target: float | None = None) -> Axes:
    """Accuracies (0..1) of several runs of each variant: a dot a seed, a bar at the mean."""
    figure, axis = plt.subplots(figsize=(WIDTH, 0.6 * len(results) + 0.9))
    for place, values in enumerate(results.values()):
        percent = np.array(values) * 100
        axis.plot(percent, np.full(len(percent), place), "o", color=BLUE, alpha=0.6)
        axis.plot(percent.mean(), place, "|", color=RED, markersize=22, markeredgewidth=3)
        axis.annotate(f"{percent.mean():.2f}", (percent.mean(), place), (0, 13), textcoords="offset points",
                      ha="center", fontsize=_SMALL)  # fmt: skip
    axis.set_yticks(range(len(results)), list(results))
    axis.set_ylim(len(results) - 0.4, -0.8)
    if target is not None:
        _target_line(axis.axvline, target)
        axis.legend(fontsize=_SMALL)
    axis.set_xlabel("validation accuracy, %  (dot: one seed, bar: mean)")
    figure.tight_layout()
    means = [f"{name} {100 * np.mean(v):.2f} ({100 * min(v):.2f} to {100 * max(v):.2f})" for name, v in results.items()]
    return _described(axis, f"Validation accuracy in percent, mean and range over the seeds: {'; '.join(means)}.")


def curves(histories: History | Sequence[History], target: float) -> Axes:
    """Loss and accuracy by epoch, with the target (0..1) as a dashed line; of several seeds, each and their mean."""
    several = [histories] if isinstance(histories, History) else list(histories)
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5), sharex=True)
    losses = [[epoch.loss for epoch in history.epochs] for history in several]
    training = [[100 * epoch.train_accuracy for epoch in history.epochs] for history in several]
    held_out = [
        [100 * e.validation_accuracy for e in history.epochs if e.validation_accuracy is not None]
        for history in several
    ]
    _lines(above, losses, "o-", BLUE, "")
    above.set_ylabel("training loss")
    _lines(below, training, "o-", BLUE, "training, augmented" if several[0].recipe.augment else "training")
    if any(held_out):
        _lines(below, held_out, "s--", ORANGE, "validation")
    _target_line(below.axhline, target)
    shown = [value for values in training + held_out for value in values]
    last = [values[-1] for values in training + held_out if values]
    if shown and min(shown) < 95 < min([*last, 100]):
        below.set_ylim(95, 100.2)  # the first epochs would take all the room
    below.set_ylabel("accuracy, %")
    below.legend(fontsize=_SMALL)
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.tight_layout()
    return _described(below, _curves_in_words(training, held_out, target))


def _lines(axis: Axes, several: Sequence[Sequence[float]], style: str, colour: str, name: str) -> None:
    """A line a seed, thin where there are several, and their mean over the epochs that all of them have."""
    alone = len(several) == 1
    for values in several:
        numbers = range(1, len(values) + 1)
        axis.plot(numbers, values, style if alone else "-", color=colour, alpha=1 if alone else 0.35,
                  linewidth=1.5 if alone else 0.8, label=name if alone else "_seed")  # fmt: skip
    if not alone:
        means = np.mean([values[: min(map(len, several))] for values in several], axis=0)
        axis.plot(range(1, len(means) + 1), means, style, color=colour, label=f"{name}, mean of {len(several)} seeds")


def _curves_in_words(training: list[list[float]], held_out: list[list[float]], target: float) -> str:
    """'Accuracy after the last of 15 epochs: ...'"""
    epochs = max(map(len, training))
    if not epochs:
        return "No epoch was trained."
    ends = [
        f"{name} {' and '.join(f'{values[-1]:.2f}' for values in several if values)} %"
        for name, several in (("training", training), ("validation", held_out))
        if any(several)
    ]
    return f"Loss and accuracy by epoch. After {epochs} epochs: {', '.join(ends)}; the target is {target:.1%}."


def _target_line(draw: Any, target: float) -> None:
    draw(100 * target, color=RED, linestyle="--", linewidth=1.2, label=f"target {target:.1%}")


def schedule(shares: Sequence[float]) -> Axes:
    """The learning rate over a run, as a share of its peak, at evenly spaced moments."""
    figure, axis = plt.subplots(figsize=(WIDTH, 2.2))
    moments = np.linspace(0, 100, len(shares))
    axis.plot(moments, shares, color=BLUE)
    axis.set_xlabel("part of the run that is over, %")
    axis.set_ylabel("learning rate,\nshare of its peak")
    figure.tight_layout()
    peak = moments[int(np.argmax(shares))]
    words = f"from {shares[0]:.2g} to its peak after {peak:.0f} % of the run, then down to {shares[-1]:.2g} at the end"
    return _described(axis, f"The learning rate as a share of its peak: {words}.")


def reports(optimism: Mapping[str, Sequence[float]]) -> Axes:
    """How far each way of reporting lies above the truth (shares, 0..1), over many draws: a histogram each."""
    figure, axes = plt.subplots(len(optimism), 1, figsize=(WIDTH, 1.35 * len(optimism) + 0.5), sharex=True)
    axes = np.atleast_1d(axes)
    points = {name: 100 * np.asarray(values) for name, values in optimism.items()}
    edges = _whole_steps(np.concatenate([*points.values()]))
    for axis, (name, values), colour in zip(axes, points.items(), (BLUE, ORANGE, GREEN), strict=False):
        axis.hist(values, bins=edges, color=colour)
        axis.axvline(0, color="black", linewidth=1)
        axis.axvline(values.mean(), color=RED, linestyle="--", linewidth=1.5)
        axis.set_title(f"{name}: {values.mean():+.3f} points on average", fontsize=_SMALL)
        axis.set_yticks([])
    axes[-1].set_xlabel("reported minus true accuracy, percentage points")
    figure.tight_layout()
    words = "; ".join(f"{name} {values.mean():+.3f}" for name, values in points.items())
    return _described(axes[0], f"Histograms of reported minus true accuracy, in points on average: {words}.")


def looked_at(images: Tensor, heat: Tensor, titles: Sequence[str]) -> Axes:
    """Images (N, H, W) with `heat` (N, H, W) laid over them in red, each on its own scale; nothing below zero.

    Of more than `MOST`, the first.
    """
    every, images, heat, titles = len(images), images[:MOST], heat[:MOST], titles[:MOST]
    columns, rows = _grid(len(images))
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (WIDTH / 4 + 0.5)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, warm, title in zip(axes.flat, images, heat.clamp(min=0), titles, strict=False):
        axis.imshow(image.numpy(), cmap="gray_r", alpha=0.8)
        colour = np.broadcast_to(to_rgb(RED), (*warm.shape, 3))
        strength = 0.85 * (warm / warm.max().clamp(min=1e-9)).numpy()
        axis.imshow(np.concatenate([colour, strength[..., None]], axis=2))
        axis.set_title(title, fontsize=_SMALL)
    left_out = _left_out(figure, len(images), every)
    figure.tight_layout(pad=0.8)
    listed = "; ".join(title.replace("\n", ", ") for title in titles)
    words = f"Digits, with the places in red where covering costs the answer most{left_out}"
    return _described(axes[0, 0], f"{words}: {listed}.")


def confusion(matrix: Tensor, classes: Sequence[str]) -> Axes:
    """How often each class (row) was taken for each other (column), in images; the diagonal is left out."""
    figure, axis = plt.subplots(figsize=(4.4, 4.4))
    wrong = matrix.clone().fill_diagonal_(0)
    axis.imshow(wrong.numpy(), cmap="Oranges")
    for row, column in wrong.nonzero().tolist():
        color = "white" if wrong[row, column] > 0.6 * wrong.max() else "black"
        axis.text(column, row, str(int(wrong[row, column])), ha="center", va="center", fontsize=_SMALL, color=color)
    axis.set_title("wrong answers, in images", fontsize=10)
    axis.set_xticks(range(len(classes)), classes)
    if max(map(len, classes)) > 2:
        axis.tick_params("x", rotation=90)
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("network's answer")
    axis.set_ylabel("label")
    figure.tight_layout()
    most = sorted(wrong.nonzero().tolist(), key=lambda pair: -int(wrong[pair[0], pair[1]]))[:5]
    pairs = ", ".join(f"{classes[row]} for {classes[column]} {int(wrong[row, column])} times" for row, column in most)
    words = f"{int(wrong.sum())} wrong answers; a label taken for another, most often: {pairs or 'never'}."
    return _described(axis, f"Confusion matrix. {words}")


def exploration(image: Tensor, layers: Sequence[Layer], maps: Sequence[Tensor]) -> Axes:
    """Above: what the middle unit of each layer sees of an image (H, W). Below: some of the layer's maps (C, H, W)."""
    figure, axes = plt.subplots(2, len(layers), figsize=(WIDTH, 1.2 + 2 * WIDTH / max(4, len(layers))), squeeze=False)
    for above, below, layer, channels in zip(axes[0], axes[1], layers, maps, strict=True):
        _digit(above, image, layer.field)
        above.set_title(f"{layer.name} ({layer.kind})\n{_seen(layer)}", fontsize=_SMALL)
        limit = max(float(channels.abs().nan_to_num(posinf=0).max()), 1e-9)
        below.imshow(_side_by_side(channels).numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        below.set_title("x".join(map(str, layer.shape)), fontsize=_SMALL)
        _no_ticks(below)
    figure.tight_layout(pad=0.8)
    seen = "; ".join(f"{layer.name} ({layer.kind}) sees {_seen(layer)}" for layer in layers)
    words = "A digit, a box around what the middle unit of a layer sees, and the layer's maps"
    return _described(axes[0, 0], f"{words}. {seen}.")


def drawing(image: Tensor, probabilities: Sequence[float], classes: Sequence[str], layer: Layer) -> Axes:
    """Left: a drawn digit (28, 28) as the network sees it, and what a layer sees of it. Right: the answer, 0..1."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), width_ratios=(1, 1.15))
    _digit(left, image, layer.field)
    left.set_title(f"what the network sees; box:\nwhat {layer.name} ({layer.kind}) sees", fontsize=_SMALL)
    right.barh(range(len(classes)), [100 * p for p in probabilities], color=BLUE)
    right.set_yticks(range(len(classes)), list(classes), fontsize=_SMALL)
    right.invert_yaxis()
    right.set_xlim(0, 100)
    right.set_xlabel("probability, %")
    best = int(np.argmax(probabilities))
    right.set_title(f"the network's answer: {classes[best]}", fontsize=_SMALL)
    figure.tight_layout(pad=0.8)
    answer = f"its answer: {classes[best]}, {probabilities[best]:.0%} sure"
    words = f"A drawn digit as the network sees it, 28x28 pixels, and {answer}"
    return _described(left, f"{words}. Layer {layer.name} ({layer.kind}) sees {_seen(layer)}.")


# ---------------------------------------------------------------------------------------------------------------------


def _box(axis: Axes, field: Field, colour: str) -> None:
    """The pixels that the middle unit sees, framed."""
    rows, columns = field.box()
    corner = (columns.low - 0.5, rows.low - 0.5)
    box = Rectangle(corner, columns.size, rows.size, fill=False, edgecolor=colour, linewidth=2.5, clip_on=False)
    axis.add_patch(box)


def _whole_steps(values: "np.ndarray[Any, np.dtype[np.float64]]", bins: int = 30) -> list[float]:
    """Edges of about `bins` bins for values on a grid (counts of images): each holds as many steps of the grid."""
    low, high = float(values.min()), float(values.max())
    gaps = np.diff(np.unique(values.round(9)))
    step = float(gaps.min()) if len(gaps) else 1.0
    width = step * max(1, round((high - low) / step / bins))
    return [low - step / 2 + n * width for n in range(int((high - low) / width) + 2)]


def _no_ticks(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _digit(axis: Axes, image: Tensor, field: Field) -> None:
    """An image as ink on paper, and the box of the field's middle unit."""
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255, alpha=0.85)
    if field.box()[0].size:
        _box(axis, field, RED)
    _no_ticks(axis)


def _seen(layer: Layer) -> str:
    height, width = layer.field.clipped
    return f"{height}x{width} pixels"


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


def _grid(panels: int, columns: int = 4) -> tuple[int, int]:
    """Columns, `columns` at most, and rows for so many panels; room for one where there is none."""
    columns = min(columns, max(1, panels))
    return columns, max(1, -(-panels // columns))


def _left_out(figure: Figure, shown: int, every: int) -> str:
    """Writes below the panels how many of how many there are, where some are left out; the same for a description."""
    if shown == every:
        return ""
    words = f"{shown} of {every:,} shown"
    figure.supxlabel(words, fontsize=_SMALL)
    return f", {words}"


def _described(axis: Axes, words: str) -> Axes:
    """The figure's description for those who can't see it."""
    assert isinstance(axis.figure, Figure)
    axis.figure.set_label(words)
    return axis
