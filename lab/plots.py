"""What does it look like? Figures of what other modules computed; each returns the Axes that it drew on.

The colours are Okabe and Ito's, told apart with any colour vision; a second sign (marker, dash, label) goes with each.
Every figure is as wide as a phone can show with its text still legible, and carries a description in words, its
`figure.get_label()`, which `show` hands to the page as alt text. A layer is called what a person calls it; its path in
the network comes second.
"""

import io
import textwrap
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
from matplotlib.patches import Polygon, Rectangle
from PIL import Image
from torch import Tensor

from lab.layers import Layer
from lab.receptive import Field
from lab.stats import Choice, entropy, power_law, smoothed_target
from lab.train import History

BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
WIDTH = 5.4
"""Inches; at 400 pixels a figure of this width shows 9 points as 9 pixels."""
MOST = 60
"""Panels of one figure; of more, the first are shown, and figure and description say so."""
ROWS = 24
"""Layers of one budget; of more, the costliest are shown, and the others together in one row."""
_SMALL = 9  # points: the smallest text
_PIXELS = 110  # of the page, for an inch of a figure
_DENSE = 2  # a picture's pixels for one of the page's: sharp on a high-density screen


def show(axes: Axes) -> None:
    """Display the figure of `axes` with its description for those who can't see it, and close it."""
    from IPython.display import display

    width, height = _size_on_page(axes)
    display(bundle(axes), raw=True, metadata={"image/png": {"width": width, "height": height}})


def bundle(axes: Axes, colours: int = 256) -> dict[str, str]:
    """The figure of `axes` as Jupyter takes it, by media type: a picture, and its description in words; closes it.

    The picture has twice as many pixels each way as it takes on the page, and a palette of `colours` to stay small.
    On a dark page it is a white card: the ink is black.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    width, height = _size_on_page(axes)
    drawn, image = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DENSE * _PIXELS, facecolor="white")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(colours).save(image, format="PNG", optimize=True)
    data, words = b64encode(image.getvalue()).decode(), str(figure.get_label())
    style = "max-width: 100%; height: auto; border-radius: 6px"
    size = f'width="{width}" height="{height}"'
    page = f'<img src="data:image/png;base64,{data}" alt="{escape(words)}" {size} style="{style}">'
    return {"text/html": page, "image/png": data, "text/plain": words}


def _size_on_page(axes: Axes) -> tuple[int, int]:
    """Width and height, in the page's pixels."""
    assert isinstance(axes.figure, Figure)
    width, height = axes.figure.get_size_inches()
    return round(width * _PIXELS), round(height * _PIXELS)


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


def growing_boxes(image: Tensor, layers: Sequence[Layer]) -> Axes:
    """What the middle unit of each layer sees, drawn over an image (H, W); one panel a layer, for the first `MOST`."""
    every, layers = len(layers), layers[:MOST]
    columns, rows_of_panels = _grid(len(layers))
    titles = [f"{_in_panel(layer)}\n{_sides(layer.field.size)} pixels" for layer in layers]
    size = (WIDTH / 4 * columns, rows_of_panels * (WIDTH / 4 + _height(titles)))
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=size, squeeze=False)
    for axis, layer, title in zip(axes.flat, layers, titles, strict=False):
        _digit(axis, image, layer.field)
        axis.set_title(title, fontsize=_SMALL)
    for axis in axes.flat[len(layers) :]:
        axis.axis("off")
    left_out = _left_out(figure, len(layers), every)
    figure.tight_layout(pad=0.8)
    sizes = ", ".join(f"{layer.heading} {_sides(layer.field.size)}" for layer in layers)
    words = f"The pixels of a digit that each layer's middle unit sees, in a box{left_out}"
    return _described(axes[0, 0], f"{words}: {sizes}.")


def jump(layers: Sequence[Layer]) -> Axes:
    """Why a layer's field grows in steps of the jump: the units of the image and of up to four maps, along one axis.

    Each unit is a dot above the middle of the pixels that it sees; of one unit of each map, a shade reaches down to
    them. The arrow to its neighbour is the map's jump. layers: those are drawn that see more, or in larger steps, than
    the layer before.
    """
    shown = _steps(layers)[:4]
    figure, axis = plt.subplots(figsize=(WIDTH, 1.0 + 0.75 * (len(shown) + 1)))
    pixels = max((interval.high for layer in shown for interval in layer.field.columns.clipped), default=0) + 1
    axis.plot(range(pixels), [0] * pixels, "s", color="grey", markersize=4)
    for level, (layer, colour) in enumerate(zip(shown, (BLUE, ORANGE, GREEN, PURPLE), strict=False), 1):
        seen = layer.field.columns.unclipped
        places = [(interval.low + interval.high) / 2 for interval in seen]
        axis.plot(places, [level] * len(places), "o", color=colour, markersize=5)
        unit = max(0, (len(seen) - 1) // 2 - len(seen) // 8 * (level % 2))  # not all shades one above the other
        low, high = seen[unit]
        shade = [(places[unit], level), (low - 0.5, 0), (high + 0.5, 0)]
        axis.add_patch(Polygon(shade, closed=True, color=colour, alpha=0.18, linewidth=0))
        if len(places) > 1:
            axis.annotate("", (places[unit + 1], level + 0.22), (places[unit], level + 0.22),
                          arrowprops={"arrowstyle": "<->", "color": "black", "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        step = float(layer.field.columns.jump)
        text = f"jump {step:g}, sees {high - low + 1}"
        axis.text(places[unit], level + 0.3, text, ha="center", va="bottom", fontsize=_SMALL)
    names = ["image", *(f"{_in_panel(layer)}" for layer in shown)]
    axis.set_yticks(range(len(names)), names, fontsize=_SMALL)
    axis.set_ylim(-0.4, len(shown) + 0.8)
    axis.set_xlabel("pixels across the image")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params("y", length=0)
    figure.tight_layout()
    found = [f"{layer.heading} has the jump {float(layer.field.columns.jump):g} and sees "
             f"{layer.field.size[1]} pixels" for layer in shown]  # fmt: skip
    words = "Units of a network's maps above the pixels that they see, along one axis"
    return _described(axis, f"{words}. {'; '.join(found) or 'No layer sees more than a pixel'}.")


def _steps(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with a map that see more, or move on in larger steps, than the layer before."""
    found, before = [], (1, 1.0)
    for layer in layers:
        now = (layer.field.size[1], float(layer.field.columns.jump))
        if len(layer.field.columns.unclipped) > 1 and now != before:
            found.append(layer)
        before = now
    return found


def effective_fields(before: Tensor, after: Tensor, layer: Layer) -> Axes:
    """The effective field (H, W) of a layer before and after training, on one scale, with the theoretical box around.

    Both sum to 1; shown is each pixel's share, in percent.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2), layout="constrained")
    most = 100 * float(max(before.max(), after.max()))
    for axis, mass, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
        shown = axis.imshow(100 * mass.numpy(), cmap="magma", vmin=0, vmax=most)
        _box(axis, layer.field, SKY)
        axis.set_title(f"{title}\nat most {100 * float(mass.max()):.2g} % a pixel", fontsize=_SMALL)
        _no_ticks(axis)
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("share of a pixel, %", fontsize=_SMALL)
    bar.ax.tick_params(labelsize=_SMALL)
    figure.suptitle(layer.heading, fontsize=10)
    rows, columns = layer.field.box()
    words = f"How much each pixel counts for a unit of {layer.heading}, before and after training, on one scale"
    return _described(axes[0], f"{words}, in the box of {rows.size}x{columns.size} pixels that it can see.")


def budget(layers: Sequence[Layer], milliseconds: Sequence[float] | None = None) -> Axes:
    """Where the parameters, the work and the time go: a row a layer, the first on top, and a bar for its share of each.

    milliseconds: of each layer for a batch (`lab.timing.milliseconds`); without them, time is left out. Layers that
    cost nothing are left out, too; of more than `ROWS` the costliest stay, and the others are one row together.
    """
    measures = {"parameters": [layer.parameters for layer in layers],
                "multiply-adds": [layer.multiply_adds for layer in layers]}  # fmt: skip
    totals = [f"{sum(costs):,}" for costs in measures.values()]
    costs = np.array([*measures.values(), *([] if milliseconds is None else [milliseconds])], dtype=float)
    shares = 100 * costs / np.maximum(costs.sum(1, keepdims=True), 1e-9)  # (measures, layers)
    heads = [*measures, *([] if milliseconds is None else ["milliseconds"])]
    totals += [] if milliseconds is None else [f"{sum(milliseconds):.3g}"]
    names, shown = _costliest(layers, shares)
    figure, axes = plt.subplots(1, len(heads), figsize=(WIDTH, 0.19 * len(names) + 0.9), sharey=True)
    for axis, head, total, row, colour in zip(axes, heads, totals, shown, (BLUE, ORANGE, GREEN), strict=False):
        for place in range(1, len(names), 2):
            axis.axhspan(place - 0.5, place + 0.5, color="0.95", linewidth=0)
        axis.barh(range(len(names)), row, 0.7, color=colour)
        for place, share in enumerate(row):
            if share >= 1:
                axis.text(share, place, f" {share:.0f} %", va="center", fontsize=_SMALL)
        axis.set_title(f"{head}\n{total}", fontsize=_SMALL)
        axis.set_xlim(0, 1.9 * row.max(initial=1.0))
        axis.set_ylim(max(1, len(names)) - 0.5, -0.5)
        axis.set_xticks([])
        axis.tick_params("y", length=0)
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=_SMALL)
    figure.tight_layout(pad=0.6, w_pad=0.8)
    listed = [
        f"{head} {total}: "
        + ", ".join(f"{name} {share:.0f} %" for name, share in zip(names, row, strict=True) if share >= 4)
        for head, total, row in zip(heads, totals, shown, strict=True)
    ]
    return _described(axes[0], f"Bars for each layer's share. Of the {'; of the '.join(listed)}.")


def _costliest(layers: Sequence[Layer], shares: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[list[str], Any]:
    """Names and shares (measures, rows) of the layers that cost anything; of too many, the costliest and a rest."""
    costly = [i for i in range(len(layers)) if shares[:, i].max() > 0]
    if len(costly) <= ROWS:
        return [_on_a_line(layers[i]) for i in costly], shares[:, costly]
    kept = sorted(sorted(costly, key=lambda i: -shares[:, i].max())[: ROWS - 1])
    rest = [i for i in costly if i not in kept]
    names = [*(_on_a_line(layers[i]) for i in kept), f"{len(rest)} other layers"]
    return names, np.column_stack([shares[:, kept], shares[:, rest].sum(1)])


def comparison(
    results: Mapping[str, Sequence[float]],
    yours: Mapping[str, Sequence[float]] | None = None,
    source: str = "",
    target: float | None = None,
) -> Axes:
    """Accuracies (0..1) of several runs of each variant: a dot a seed, a bar at the mean; each row says whence it came.

    results: measured on this machine, or recorded, where `source` names the file or the machine that has them from.
    yours: rows that the reader has measured, in another colour and with another marker.
    """
    rows = [(name, values, BLUE, "o", "recorded" if source else "this machine") for name, values in results.items()]
    rows += [(name, values, ORANGE, "D", "yours, this machine") for name, values in (yours or {}).items()]
    names = [textwrap.fill(row[0], 24) for row in rows]
    heights = [0.62 + 0.16 * name.count("\n") for name in names]  # inches
    middles = np.cumsum(heights) - np.array(heights) / 2
    origin = textwrap.fill(f"recorded: {source}", 46) if source else ""
    figure, axis = plt.subplots(figsize=(WIDTH, sum(heights) + 0.8 + 0.18 * len(origin.splitlines())))
    for place, (_, values, colour, marker, _) in zip(middles, rows, strict=True):
        percent = np.array(values) * 100
        axis.plot(percent, np.full(len(percent), place), marker, color=colour, alpha=0.6)
        if len(percent) > 1:
            axis.plot(percent.mean(), place, "|", color=RED, markersize=18, markeredgewidth=3)
        axis.annotate(f"{percent.mean():.2f}", (percent.mean(), place), (0, 10), textcoords="offset points",
                      ha="center", fontsize=_SMALL)  # fmt: skip
    provenance = [f"{_seeds(len(values))}, {whence}" for _, values, _, _, whence in rows]
    lines = np.array([1 + name.count("\n") for name in names])
    axis.set_yticks(middles - 0.085, names)
    axis.set_yticks(middles + 0.085 * lines, provenance, minor=True)  # below the name
    axis.tick_params("y", which="both", length=0, labelsize=_SMALL)
    axis.tick_params("y", which="minor", labelcolor="0.4", pad=3.5)
    axis.set_ylim(sum(heights), -0.1)
    axis.margins(x=0.1)
    if target is not None:
        _target_line(axis.axvline, target)
        axis.legend(fontsize=_SMALL)
    words = "validation accuracy, %  (a dot a seed, bar: mean)"
    axis.set_xlabel(f"{words}\n{origin}".strip(), fontsize=_SMALL)
    figure.tight_layout()
    means = [
        f"{name} ({words}) {100 * np.mean(row[1]):.2f} ({100 * min(row[1]):.2f} to {100 * max(row[1]):.2f})"
        for row, words, name in zip(rows, provenance, [row[0] for row in rows], strict=True)
    ]
    return _described(axis, f"Validation accuracy in percent, mean and range over the seeds: {'; '.join(means)}.")


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


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


def optimism(choices: Sequence[Choice], size: int = 10_000) -> Axes:
    """Above: how much too good the best epoch's report is, by the size of the set that it was chosen on, on log axes.

    Below: what the choice is worth, against simply keeping the last epoch, on images that nobody chose by.

    choices: as `lab.stats.optimism_by_size` finds them. A power law through the reports is drawn on to sets of `size`
    images, with an open marker there: that point is extrapolated and not measured.
    """
    law = power_law(choices)
    measured = [choice.images for choice in choices]
    bias, at_size = [100 * choice.optimism for choice in choices], 100 * law.at(size)
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharex=True, height_ratios=(3, 2))
    reach = [min(measured), max(size, *measured)]
    power = rf"power law, $n^{{{law.exponent:.2f}}}$"
    above.plot(reach, [100 * law.at(n) for n in reach], "--", color="grey", linewidth=1.2, label=power)
    errors = [100 * choice.optimism_error for choice in choices]
    above.errorbar(measured, bias, errors, fmt="o", color=BLUE, capsize=3, label="measured, ± standard error")
    above.plot(size, at_size, "D", color=RED, markerfacecolor="white", label="extrapolated")
    for n, value in [*zip(measured, bias, strict=True), (size, at_size)]:
        above.annotate(f"{value:.2g}", (n, value), (7, 5), textcoords="offset points", fontsize=_SMALL)
    above.set_xscale("log")
    above.set_yscale("log")
    above.set_ylim(min(*bias, at_size) / 2, 2.5 * max(bias))
    low, high = above.get_ylim()
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if low < tick < high]
    above.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    above.set_ylabel("its report minus\nthe truth, points")
    above.set_title("the best epoch, chosen on n images", fontsize=10)
    above.legend(fontsize=_SMALL)
    gain, errors = [100 * choice.gain for choice in choices], [100 * choice.gain_error for choice in choices]
    below.axhline(0, color="black", linewidth=1)
    below.errorbar(measured, gain, errors, fmt="s", color=GREEN, capsize=3)
    below.set_xticks([*measured, size], [f"{n:,}" for n in [*measured, size]], fontsize=_SMALL)
    for axis in (above, below):
        axis.minorticks_off()
    below.set_xlim(reach[0] / 1.5, reach[1] * 2.2)
    below.set_xlabel("n, images that the epoch is chosen on")
    below.set_ylabel("on other images,\nbetter than the\nlast epoch by, points")
    figure.tight_layout()
    found = ", ".join(f"{value:.2g} for {n:,}" for n, value in zip(measured, bias, strict=True))
    worth = ", ".join(f"{value:+.2g} for {n:,}" for n, value in zip(measured, gain, strict=True))
    words = f"How much too good the best epoch's report is, in points, by the images that it is chosen on: {found}"
    words += f"; extrapolated to {size:,}, {at_size:.2g}. How much better than the last epoch it is on other images"
    return _described(above, f"{words}: {worth}.")


def label_smoothing(smoothing: float, classes: int = 10) -> Axes:
    """The target that the loss compares with, for an image of class 3, with label smoothing and without.

    Written above it is the floor: no answer has a lower loss, on average, than the target's own entropy.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.7), sharey=True)
    label = min(3, classes - 1)
    floors = []
    for axis, share in zip(axes, (0.0, smoothing), strict=True):
        target = smoothed_target(label, share, classes)
        floors.append(entropy(target))
        axis.bar(range(classes), target, color=[ORANGE if i == label else BLUE for i in range(classes)])
        axis.set_title(f"{'no smoothing' if not share else f'label smoothing {share:g}'}\n"
                       f"the loss can't go below {floors[-1]:.2f}", fontsize=_SMALL)  # fmt: skip
        axis.set_xticks(range(classes), [str(i) for i in range(classes)], fontsize=_SMALL)
        axis.set_xlabel("class")
        axis.annotate(f"{target[label]:.3g}", (label, target[label]), (0, 2), textcoords="offset points",
                      ha="center", fontsize=_SMALL)  # fmt: skip
        axis.text(0.97, 0.12, f"all others {min(target):.3g}", transform=axis.transAxes, ha="right", fontsize=_SMALL)
    axes[0].set_ylim(0, 1.15)
    axes[0].set_ylabel("probability asked for")
    figure.tight_layout()
    words = f"without label smoothing it asks for 1 and 0, and the loss can reach {floors[0]:.2f}; with {smoothing:g}"
    asked = smoothed_target(label, smoothing, classes)
    words += f" for {max(asked):.3g} and {min(asked):.3g}, and the loss can't go below {floors[1]:.2f}"
    return _described(axes[0], f"The target for an image of class {label}: {words}.")


def looked_at(images: Tensor, heat: Tensor, titles: Sequence[str], cover: str = "paper") -> Axes:
    """Images (N, H, W) with `heat` (N, H, W) laid over them in red, each on its own scale; nothing below zero.

    cover: what the places were covered with, for the description in words. Of more than `MOST`, the first.
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
    words = f"Digits, with the places in red where covering with {cover} costs the answer most{left_out}"
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
    titles = [f"{_in_panel(layer)}\n{_seen(layer)}" for layer in layers]
    size = (WIDTH, 2 * WIDTH / max(4, len(layers)) + _height(titles) + 0.4)
    figure, axes = plt.subplots(2, len(layers), figsize=size, squeeze=False)
    for above, below, layer, title, channels in zip(axes[0], axes[1], layers, titles, maps, strict=True):
        _digit(above, image, layer.field)
        above.set_title(title, fontsize=_SMALL)
        limit = max(float(channels.abs().nan_to_num(posinf=0).max()), 1e-9)
        below.imshow(_side_by_side(channels).numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        below.set_title("x".join(map(str, layer.shape)), fontsize=_SMALL)
        _no_ticks(below)
    figure.tight_layout(pad=0.8)
    seen = "; ".join(f"{layer.heading} sees {_seen(layer)}" for layer in layers)
    words = "A digit, a box around what the middle unit of a layer sees, and the layer's maps"
    return _described(axes[0, 0], f"{words}. {seen}.")


def drawing(image: Tensor, probabilities: Sequence[float], classes: Sequence[str], layer: Layer) -> Axes:
    """Left: a drawn digit (28, 28) as the network sees it, and what a layer sees of it. Right: the answer, 0..1."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4), width_ratios=(1, 1.15))
    _digit(left, image, layer.field)
    left.set_title(f"what the network sees; box: what\n{_on_a_line(layer)} sees", fontsize=_SMALL)
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
    return _described(left, f"{words}. {layer.heading} sees {_seen(layer)}.")


# ---------------------------------------------------------------------------------------------------------------------


def _box(axis: Axes, field: Field, colour: str) -> None:
    """The pixels that the middle unit sees, framed."""
    rows, columns = field.box()
    corner = (columns.low - 0.5, rows.low - 0.5)
    box = Rectangle(corner, columns.size, rows.size, fill=False, edgecolor=colour, linewidth=2.5, clip_on=False)
    axis.add_patch(box)


def _no_ticks(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _digit(axis: Axes, image: Tensor, field: Field) -> None:
    """An image as ink on paper, and the box of the field's middle unit."""
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255, alpha=0.85)
    if field.box()[0].size:
        _box(axis, field, RED)
    _no_ticks(axis)


def _in_panel(layer: Layer) -> str:
    """The layer's title, and its path below, broken to fit above one of four panels."""
    title = textwrap.wrap(layer.title, 18)
    return "\n".join(title if layer.name == layer.title else [*title, f"({_end(layer.name, 15)})"])


def _height(titles: Sequence[str]) -> float:
    """What such titles above a row of panels take, in inches."""
    return 0.19 * max((1 + title.count("\n") for title in titles), default=1) + 0.3


def _on_a_line(layer: Layer, room: int = 36) -> str:
    """The layer's heading, its path cut where there is no room for it."""
    if len(layer.heading) <= room:
        return layer.heading
    return f"{layer.title} ({_end(layer.name, max(8, room - len(layer.title) - 3))})"


def _end(path: str, room: int) -> str:
    """The end of a path, which says more about a layer than its beginning."""
    return path if len(path) <= room else f"…{path[1 - room :]}"


def _sides(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


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
