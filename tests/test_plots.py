"""Every figure: what it draws, that a reader can tell what it shows, and that no text is cut or overlaps."""

from itertools import combinations, pairwise

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.colors import to_rgba
from torch import nn

from lab import data, plots
from lab.graph import capture
from lab.layers import layer_table
from lab.models import SeedNet
from lab.receptive import receptive_fields
from lab.train import Epoch, History, Recipe

IMAGES = torch.randint(0, 256, (13, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def no_figure_left():
    """Every test starts without figures, and leaves none."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def readable(tmp_path):
    """Checks the one figure that was made; gives all Axes of it."""

    def check(returned: Axes) -> list[Axes]:
        assert isinstance(returned, Axes)
        assert plt.get_fignums() == [1]  # one figure, and no other left behind
        figure = plt.figure(1)
        assert returned in figure.axes
        figure.savefig(tmp_path / "figure.png", dpi=60)
        assert (tmp_path / "figure.png").stat().st_size > 1000
        extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert extent.x0 > -0.01, "something is cut at the left"
        assert extent.y0 > -0.01, "something is cut at the bottom"
        assert extent.x1 < width + 0.01, "something is cut at the right"
        assert extent.y1 < height + 0.01, "something is cut at the top"
        panels = [axes.get_tightbbox().padded(-0.5) for axes in figure.axes]
        assert not any(one.overlaps(other) for one, other in combinations(panels, 2)), "panels overlap"
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            ticks = [tick for tick in axis.get_major_ticks() if is_shown(tick, axis)]
            boxes = [tick.label1.get_window_extent() for tick in ticks]
            assert not any(box.overlaps(following) for box, following in pairwise(boxes)), "ticks overlap"
        return figure.axes

    return check


def is_shown(tick: Tick, axis: Axis) -> bool:
    """Is it within the axis and has it a label?"""
    low, high = sorted(axis.get_view_interval())
    label = tick.label1
    return bool(axis.axes.axison and low <= tick.get_loc() <= high and label.get_visible() and label.get_text())


def history(accuracies: list[float], validation: bool = True, recipe: Recipe | None = None) -> History:
    """A run with these accuracies after each epoch; in training one percent point less."""
    epochs = [
        Epoch(n, 0.7 / n**2, share - 0.01, share if validation else None, 0.01, 3.0, 100)
        for n, share in enumerate(accuracies, 1)
    ]
    return History(recipe or Recipe(), "cpu", "float32", 2, epochs)


# -- images -----------------------------------------------------------------------------------------------------------


def test_digits(readable):
    titles = [f"{n}, not 7\n100% sure" for n in range(13)]
    axes = readable(plots.digits(IMAGES, titles, columns=5))
    assert len(axes) == 15  # three rows of five; the last two are empty
    assert [ax.get_title() for ax in axes] == [*titles, "", ""]
    assert [len(ax.images) for ax in axes] == [1] * 13 + [0, 0]
    assert np.array_equal(axes[12].images[0].get_array(), IMAGES[12])
    assert axes[0].images[0].get_cmap().name == "gray_r"  # ink is dark
    assert not any(ax.axison for ax in axes)


def test_digits_without_titles(readable):
    axes = readable(plots.digits(IMAGES[:3]))
    assert len(axes) == 10
    assert not any(ax.get_title() for ax in axes)


def test_maps_are_white_at_zero(readable):
    maps = [torch.tensor([[-1.0, 0.5]]), torch.zeros(2, 2), torch.full((3, 3), 7.0)]
    axes = readable(plots.maps(maps, ["kernel", "nothing", "bias"]))
    assert [ax.get_title() for ax in axes] == ["kernel", "nothing", "bias"]
    for ax, image in zip(axes, maps, strict=True):
        low, high = ax.images[0].get_clim()
        assert low == -high < 0
        assert float(image.abs().max()) in (0, pytest.approx(high))


def test_maps_want_a_title_each():
    with pytest.raises(ValueError, match="zip"):
        plots.maps([torch.zeros(2, 2)], [])


# -- receptive fields -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fields():
    """Of a convolution and of the whole image."""
    return receptive_fields(nn.Sequential(nn.Conv2d(1, 1, 5), nn.Conv2d(1, 10, 24)))


def test_growing_boxes(readable, fields):
    small, large = readable(plots.growing_boxes(IMAGES[0], fields))
    assert [ax.get_title() for ax in (small, large)] == ["layer 0\n5x5 pixels", "layer 1\n28x28 pixels"]
    (box,) = small.patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (11.5, 11.5, 5, 5)  # pixels 12 to 16
    (box,) = large.patches
    assert (box.get_x(), box.get_width()) == (-0.5, 28)
    assert not box.get_clip_on()  # a frame around the whole image is drawn in full width


def test_effective_fields(readable, fields):
    before, after = torch.ones(28, 28) / 784, torch.eye(28) / 28
    axes = readable(plots.effective_fields(before, after, fields[0]))
    assert [ax.get_title() for ax in axes] == ["layer 0, before training", "layer 0, after training"]
    assert torch.equal(torch.tensor(axes[1].images[0].get_array()), after)
    assert [(ax.patches[0].get_x(), ax.patches[0].get_width()) for ax in axes] == [(11.5, 5)] * 2


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_budget(readable):
    table = layer_table(capture(SeedNet()))
    left, right = readable(plots.budget(table))
    assert left.get_xlabel() == "parameters"
    assert right.get_xlabel() == "multiply-adds an image, millions"
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[:3] == ["conv1 (conv 3x3)", "bn1 (batch_norm)", "conv2 (conv 3x3)"]
    assert names[-1] == "fc (linear)"
    assert sum(bar.get_width() for bar in left.patches) == 18_242
    assert sum(bar.get_width() for bar in right.patches) == pytest.approx(4.990544)
    assert left.yaxis.get_inverted()  # the first layer on top


def test_comparison(readable):
    (axis,) = readable(plots.comparison({"ReLU on the logits": [0.95, 0.96], "without it": [0.981]}))
    assert [text.get_text() for text in axis.get_yticklabels()] == ["ReLU on the logits", "without it"]
    assert axis.get_xlabel() == "validation accuracy, %  (dot: one seed, bar: mean)"
    dots, means = axis.lines[::2], axis.lines[1::2]
    assert [list(line.get_xdata()) for line in dots] == [pytest.approx([95, 96]), pytest.approx([98.1])]
    assert [line.get_xdata()[0] for line in means] == pytest.approx([95.5, 98.1])
    assert [text.get_text() for text in axis.texts] == ["95.50", "98.10"]
    assert axis.get_legend() is None


def target_line(axis: Axes):
    """The line at the target, which the legend names."""
    (line,) = [line for line in axis.lines if line.get_label() == "target 99.4%"]
    assert "target 99.4%" in [text.get_text() for text in axis.get_legend().get_texts()]
    assert line.get_linestyle() == "--"
    return line


def test_comparison_with_a_target(readable):
    (axis,) = readable(plots.comparison({"LabNet": [0.9945, 0.9951]}, target=0.994))
    assert list(target_line(axis).get_xdata()) == pytest.approx([99.4, 99.4])


def test_curves(readable):
    run = history([0.9, 0.98, 0.99, 0.9945])
    left, right = readable(plots.curves(run, target=0.994))
    assert (left.get_ylabel(), left.get_xlabel()) == ("training loss", "epoch")
    assert (right.get_ylabel(), right.get_xlabel()) == ("accuracy, %", "epoch")
    assert list(left.lines[0].get_ydata()) == [epoch.loss for epoch in run.epochs]
    training, validation, _ = right.lines
    assert list(training.get_ydata()) == pytest.approx([89, 97, 98, 98.45])
    assert list(validation.get_ydata()) == pytest.approx([90, 98, 99, 99.45])
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["training, augmented", "validation", "target 99.4%"]
    assert list(target_line(right).get_ydata()) == pytest.approx([99.4, 99.4])
    assert right.get_ylim()[0] == 95  # from where it matters
    assert all(text.get_text() for text in left.get_yticklabels())


@pytest.mark.parametrize("accuracies", [[0.1, 0.2], [0.3], [0.93], [0.9601], [0.2, 0.9, 0.9951], [0.999, 0.9995]])
@pytest.mark.parametrize("validation", [True, False])
def test_curves_show_the_last_epoch_and_the_target_whatever_they_are(readable, accuracies, validation):
    _, right = readable(plots.curves(history(accuracies, validation), target=0.994))
    low, high = right.get_ylim()
    ends = [line.get_ydata()[-1] for line in right.lines]
    assert len(ends) == 2 + validation
    assert all(low < end < high for end in ends)
    assert all(tick == int(tick) for tick in right.get_xticks())


def test_curves_without_augmentation(readable):
    axes = readable(plots.curves(history([0.99], recipe=Recipe(augment=None)), target=0.994))
    assert axes[1].lines[0].get_label() == "training"


def test_curves_of_a_run_stopped_in_its_first_epoch(readable):
    left, right = readable(plots.curves(history([]), target=0.994))
    assert len(left.lines[0].get_xdata()) == 0
    assert list(target_line(right).get_ydata()) == pytest.approx([99.4, 99.4])


def test_schedule(readable):
    (axis,) = readable(plots.schedule([0.0, 1.0, 0.5, 0.0]))
    assert axis.get_xlabel() == "part of the run that is over, %"
    assert axis.get_ylabel() == "learning rate,\nshare of its peak"
    assert list(axis.lines[0].get_xdata()) == pytest.approx([0, 100 / 3, 200 / 3, 100])
    assert list(axis.lines[0].get_ydata()) == [0, 1, 0.5, 0]


@pytest.mark.parametrize("classes", [data._DIGITS, data._GARMENTS, data._HIRAGANA], ids=["digits", "garments", "kana"])
def test_confusion_counts_what_went_wrong(readable, classes):
    matrix = torch.eye(10, dtype=torch.int64) * 990
    matrix[4, 9], matrix[7, 2] = 12, 3
    (axis,) = readable(plots.confusion(matrix, classes))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("network's answer", "label")
    assert axis.get_title() == "wrong answers, in images"
    assert {text.get_text(): text.get_position() for text in axis.texts} == {"12": (9, 4), "3": (2, 7)}
    assert {text.get_text(): text.get_color() for text in axis.texts} == {"12": "white", "3": "black"}  # on dark, light
    assert [text.get_text() for text in axis.get_xticklabels()] == list(classes)
    assert matrix[0, 0] == 990  # the caller's matrix is left as it is


def test_confusion_of_a_network_without_a_mistake(readable):
    (axis,) = readable(plots.confusion(torch.eye(10, dtype=torch.int64), data._DIGITS))
    assert not axis.texts


def test_colours_are_okabe_and_itos():
    colours = {plots.BLUE, plots.ORANGE, plots.GREEN, plots.PURPLE, plots.SKY, plots.RED, plots.YELLOW}
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {to_rgba(colour) for colour in colours} == {to_rgba(colour) for colour in okabe_ito}
