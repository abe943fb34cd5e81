"""Every figure: what it draws, that a reader can tell what it shows, and that no text is cut or overlaps."""

from base64 import b64decode
from dataclasses import replace
from io import BytesIO
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
from PIL import Image
from torch import nn

from lab import plots
from lab._sources import catalogue
from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet, SeedNet, TinyNet
from lab.stats import Choice
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


def test_maps_in_rows(readable):
    axes = readable(plots.maps([torch.ones(3, 3)] * 5, list("abcde"), columns=4))
    assert [axis.get_title() for axis in axes] == [*"abcde", "", "", ""]
    assert [axis.axison for axis in axes] == [True] * 5 + [False] * 3


def test_digits_without_titles(readable):
    axes = readable(plots.digits(IMAGES[:3]))
    assert len(axes) == 10
    assert not any(ax.get_title() for ax in axes)


def many(count):
    """Figures of so many panels, by name."""
    images, titles = torch.zeros(count, 28, 28, dtype=torch.uint8), [f"digit {n}" for n in range(count)]
    return {
        "digits": plots.digits(images, titles),
        "digits without titles": plots.digits(images),
        "maps": plots.maps(images.float(), titles),
        "looked_at": plots.looked_at(images, images.float(), titles),
    }


def test_a_network_that_has_learnt_little_draws_sixty_of_its_mistakes():
    for axes in many(9057).values():
        panels = [axis for axis in axes.figure.axes if axis.images]
        assert len(panels) == 60
        assert axes.figure.get_supxlabel() == "60 of 9,057 shown"
        words = axes.figure.get_label()
        assert "60 of 9,057 shown" in words
        assert "digit 60" not in words
        plt.close(axes.figure)


def test_many_layers_are_bounded_too(layers):
    axes = plots.growing_boxes(IMAGES[0], layers * 100)
    assert sum(bool(axis.images) for axis in axes.figure.axes) == 60
    assert f"60 of {100 * len(layers)} shown" in axes.figure.get_label()
    plt.close(axes.figure)


def test_what_is_left_out_is_said_where_it_can_be_read(readable):
    axes = readable(plots.digits(IMAGES.repeat(5, 1, 1), ["4, not 9\n99%, 1 of 3"] * 65))
    note = axes[0].figure._supxlabel.get_window_extent()
    assert not any(note.overlaps(panel.get_tightbbox()) for panel in axes)


def test_nothing_is_said_where_nothing_is_left_out():
    axes = plots.digits(torch.zeros(60, 28, 28, dtype=torch.uint8))
    assert "shown" not in axes.figure.get_label() + axes.figure.get_supxlabel()
    plt.close(axes.figure)


def test_no_mistake_at_all_is_an_empty_figure():
    for axes in many(0).values():
        assert not any(axis.images for axis in axes.figure.axes)
        plt.close(axes.figure)


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
def layers():
    """Of a convolution and of the whole image."""
    return layer_table(capture(nn.Sequential(nn.Conv2d(1, 1, 5), nn.Conv2d(1, 10, 24))))


def test_growing_boxes(readable, layers):
    small, large = readable(plots.growing_boxes(IMAGES[0], layers))
    assert small.get_title() == "conv 5x5 1→1,\n24x24\n(0)\n5x5 pixels"
    assert large.get_title() == "conv 24x24 1→10,\n1x1\n(1)\n28x28 pixels"
    (box,) = small.patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (11.5, 11.5, 5, 5)  # pixels 12 to 16
    (box,) = large.patches
    assert (box.get_x(), box.get_width()) == (-0.5, 28)
    assert not box.get_clip_on()  # a frame around the whole image is drawn in full width


def test_the_panels_of_a_network_with_long_paths_do_not_touch(readable):
    inner = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, dilation=2, padding=2), nn.MaxPool2d(3, 1))
    net = nn.ModuleDict({"a_module_with_a_long_name": nn.ModuleDict({"and_a_second_one": inner})})

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net["a_module_with_a_long_name"]["and_a_second_one"](x)

    panels = readable(plots.growing_boxes(IMAGES[0], layer_table(capture(Net())) * 2))
    assert "…" in panels[0].get_title()
    for one, other in pairwise(panels):
        assert not one.title.get_window_extent().overlaps(other.title.get_window_extent())


def test_jump_draws_units_above_the_pixels_that_they_see(readable):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    (axis,) = readable(plots.jump(layer_table(capture(net))))
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["image", "conv 1→4, 28x28\n(0)", "max pool, 14x14\n(2)", "conv 4→4, 14x14\n(3)"]  # no ReLU
    image, conv, pool, second = (list(line.get_xdata()) for line in axis.lines)
    assert image == conv == list(range(28))  # a unit is above the middle of what it sees
    assert pool == second == [2 * i + 0.5 for i in range(14)]
    said = [text.get_text() for text in axis.texts if text.get_text()]
    assert said == ["jump 1, sees 3", "jump 2, sees 4", "jump 2, sees 8"]
    arrows = [text for text in axis.texts if not text.get_text()]
    assert [abs(arrow.xy[0] - arrow.xyann[0]) for arrow in arrows] == [1, 2, 2]
    widths = [np.ptp(shade.get_xy()[:, 0]) for shade in axis.patches]
    assert widths == [3, 4, 8]


def test_jump_of_a_network_without_a_map_is_the_image_alone(readable):
    (axis,) = readable(plots.jump(layer_table(capture(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))))))
    assert "No layer sees more than a pixel" in axis.figure.get_label()


def test_effective_fields_share_one_stated_scale(readable, layers):
    before, after = torch.ones(28, 28) / 784, torch.eye(28) / 28
    left, right, bar = readable(plots.effective_fields(before, after, layers[0]))
    assert [ax.get_title() for ax in (left, right)] == [
        "before training\nat most 0.13 % a pixel",
        "after training\nat most 3.6 % a pixel",
    ]
    assert left.figure.get_suptitle() == "conv 5x5 1→1, 24x24 (0)"
    assert np.allclose(right.images[0].get_array(), 100 * after)
    assert left.images[0].get_clim() == right.images[0].get_clim() == pytest.approx((0, 100 / 28))
    assert bar.get_ylabel() == "share of a pixel, %"
    assert [(ax.patches[0].get_x(), ax.patches[0].get_width()) for ax in (left, right)] == [(11.5, 5)] * 2


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_budget(readable):
    table = layer_table(capture(SeedNet()))
    left, right = readable(plots.budget(table))
    assert (left.get_title(), right.get_title()) == ("parameters\n18,242", "multiply-adds\n4,990,544")
    costly = [layer for layer in table if layer.parameters or layer.multiply_adds]
    assert [text.get_text() for text in left.get_yticklabels()] == [layer.heading for layer in costly]
    assert widths(left) == pytest.approx([layer.parameters / 182.42 for layer in costly])
    assert widths(right) == pytest.approx([layer.multiply_adds / 49905.44 for layer in costly])
    low, high = left.get_ylim()
    assert low > high  # the first layer on top
    assert [text.get_text() for text in right.texts] == [" 2 %", " 72 %", " 1 %", " 5 %", " 18 %"]


def widths(axis: Axes) -> list[float]:
    """Of the bars."""
    return [bar.get_width() for bar in axis.containers[0]]


@pytest.mark.parametrize("network", [LabNet, SeedNet, TinyNet])
@pytest.mark.parametrize("timed", [False, True])
def test_no_text_of_a_budget_lies_on_another(readable, network, timed):
    table = layer_table(capture(network()))
    axes = readable(plots.budget(table, [1.0 + i % 3 for i in range(len(table))] if timed else None))
    texts = [text for axis in axes for text in [*axis.texts, axis.title, *axis.get_yticklabels()] if text.get_text()]
    boxes = [text.get_window_extent() for text in texts if text.get_visible()]
    names = len(axes[0].get_yticklabels())
    assert len(boxes) >= names + 2
    assert not any(one.overlaps(other) for one, other in combinations(boxes[: names + 40], 2))


def test_time_is_the_third_bar_and_shows_what_multiply_adds_do_not(readable):
    table = layer_table(capture(SeedNet()))
    spent = [3.0 if layer.kind == "max_pool" else 0.25 for layer in table]
    _, _, time = axes = readable(plots.budget(table, spent))
    assert time.get_title() == "milliseconds\n13"
    names = [text.get_text() for text in axes[0].get_yticklabels()]
    assert names[-1] == "7 other layers"  # thirty take time, and a figure has 24 rows
    assert len(names) == plots.ROWS
    assert widths(time)[names.index("max pool, 14x14 (pool1)")] == pytest.approx(300 / 13)
    for axis in axes:
        assert sum(widths(axis)) == pytest.approx(100)


def test_a_budget_of_nothing(readable):
    readable(plots.budget(layer_table(capture(nn.Flatten()))))


def test_comparison(readable):
    (axis,) = readable(plots.comparison({"ReLU on the logits": [0.95, 0.96], "without it": [0.981]}))
    assert [text.get_text() for text in axis.get_yticklabels()] == ["ReLU on the logits", "without it"]
    origins = [text.get_text() for text in axis.get_yticklabels(minor=True)]
    assert origins == ["2 seeds, this machine", "1 seed, this machine"]
    assert axis.get_xlabel() == "validation accuracy, %  (a dot a seed, bar: mean)"
    two, mean, one = axis.lines
    assert [list(line.get_xdata()) for line in (two, one)] == [pytest.approx([95, 96]), pytest.approx([98.1])]
    assert mean.get_xdata()[0] == pytest.approx(95.5)
    assert [text.get_text() for text in axis.texts] == ["95.50", "98.10"]
    assert axis.get_legend() is None


def test_recorded_rows_and_the_readers_own_are_told_apart(readable):
    recorded = {"as they are, with no augmentation at all": [0.993, 0.994], "moved a little": [0.995] * 10}
    source = "benchmarks/results/ablations.json, a processor with two cores, July 2026"
    (axis,) = readable(plots.comparison(recorded, {"turned by 45 degrees": [0.99]}, source))
    names = [text.get_text().replace("\n", " ") for text in axis.get_yticklabels()]
    assert names == [*recorded, "turned by 45 degrees"]
    origins = axis.get_yticklabels(minor=True)
    said = [text.get_text() for text in origins]
    assert said == ["2 seeds, recorded", "10 seeds, recorded", "1 seed, yours, this machine"]
    boxes = [text.get_window_extent() for text in [*axis.get_yticklabels(), *origins]]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert source in axis.get_xlabel().replace("\n", " ")
    *_, before, own = (line for line in axis.lines if line.get_marker() != "|")
    assert (before.get_marker(), own.get_marker()) == ("o", "D")
    assert before.get_color() != own.get_color()
    assert "turned by 45 degrees (1 seed, yours, this machine) 99.00" in axis.figure.get_label()


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
    assert left.get_ylabel() == "training loss"
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


def test_curves_of_several_seeds_and_their_mean(readable):
    runs = [history([0.9, 0.98]), history([0.92, 0.99])]
    above, below = readable(plots.curves(runs, target=0.994))
    seeds_and_means = [list(line.get_ydata()) for line in below.lines[:-1]]
    assert seeds_and_means[3:] == [pytest.approx([90, 98]), pytest.approx([92, 99]), pytest.approx([91, 98.5])]
    assert len(seeds_and_means) == 6
    labels = [text.get_text() for text in below.get_legend().get_texts()]
    assert labels == ["training, augmented, mean of 2 seeds", "validation, mean of 2 seeds", "target 99.4%"]
    assert len(above.lines) == 3


def test_curves_of_seeds_of_which_one_was_stopped(readable):
    _, below = readable(plots.curves([history([0.9, 0.98, 0.99]), history([0.92])], target=0.994))
    assert list(below.lines[2].get_ydata()) == pytest.approx([90])  # the mean of the epochs that both have


CHOICES = [Choice(312, 0.004, 0.0005, -0.002, 0.0006), Choice(1250, 0.001, 0.0004, -0.001, 0.0005)]
"""The bias falls as 1 / n: by four for four times as many images."""


def test_optimism(readable):
    above, below = readable(plots.optimism(CHOICES))
    assert (above.get_xscale(), above.get_yscale()) == ("log", "log")
    line, extrapolated, measured = above.lines[0], above.lines[1], above.containers[0][0]
    assert list(measured.get_ydata()) == pytest.approx([0.4, 0.1])
    assert extrapolated.get_label() == "extrapolated"
    assert extrapolated.get_markerfacecolor() == "white"
    assert (extrapolated.get_xdata()[0], extrapolated.get_ydata()[0]) == (10_000, pytest.approx(0.0124, rel=0.02))
    assert list(line.get_xdata()) == [312, 10_000]
    assert list(below.containers[0][0].get_ydata()) == pytest.approx([-0.2, -0.1])
    assert [text.get_text() for text in below.get_xticklabels()] == ["312", "1,250", "10,000"]


def test_where_the_best_epoch_is_not_too_good_no_law_is_drawn(readable):
    above, _ = readable(plots.optimism([replace(CHOICES[0], optimism=-0.001), CHOICES[1]]))
    assert above.get_yscale() == "linear"
    assert [line.get_label() for line in above.lines if not line.get_label().startswith("_")] == []


def test_label_smoothing(readable):
    left, right = readable(plots.label_smoothing(0.05))
    assert left.get_title() == "no smoothing\nthe loss can't go below 0.00"
    assert right.get_title() == "label smoothing 0.05\nthe loss can't go below 0.28"
    assert [bar.get_height() for bar in left.patches] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert [bar.get_height() for bar in right.patches] == pytest.approx([0.005] * 3 + [0.955] + [0.005] * 6)


def test_looked_at(readable):
    heat = torch.zeros(3, 28, 28)
    heat[0, 5, 6], heat[0, 7, 8], heat[0, 9, 9] = 0.5, 0.25, -0.5
    axes = readable(plots.looked_at(IMAGES[:3], heat, ["why 4?", "why 9?", "why 1?"]))
    assert [axis.get_title() for axis in axes] == ["why 4?", "why 9?", "why 1?"]
    digit, red = axes[0].images
    assert np.array_equal(digit.get_array(), IMAGES[0])
    strength = red.get_array()[..., 3]
    assert strength[5, 6] == pytest.approx(0.85)
    assert strength[7, 8] == pytest.approx(0.425)
    assert strength[9, 9] == 0  # where covering helps there is nothing to show
    assert axes[1].images[1].get_array()[..., 3].max() == 0


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


@pytest.mark.parametrize(
    "classes", [catalogue.DIGITS, catalogue.GARMENTS, catalogue.HIRAGANA], ids=["digits", "garments", "kana"]
)
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
    (axis,) = readable(plots.confusion(torch.eye(10, dtype=torch.int64), catalogue.DIGITS))
    assert not axis.texts


# -- for those who can't see it ---------------------------------------------------------------------------------------


def test_every_figure_says_in_words_what_it_shows(layers):
    drawn = {
        "2 images of 28x28 pixels, as ink on paper: 4, 99%; 5, 98%.": plots.digits(IMAGES[:2], ["4\n99%", "5\n98%"]),
        "1 maps, blue below zero and red above: kernel 3x4.": plots.maps([torch.ones(3, 4)], ["kernel"]),
        "in a box: conv 5x5 1→1, 24x24 (0) 5x5, conv 24x24 1→10, 1x1 (1) 28x28.": plots.growing_boxes(
            IMAGES[0], layers
        ),
        "conv 5x5 1→1, 24x24 (0) has the jump 1 and sees 5 pixels.": plots.jump(layers),
        "in the box of 5x5 pixels that it can see.": plots.effective_fields(
            torch.ones(28, 28), torch.ones(28, 28), layers[0]
        ),
        "Of the parameters 10: conv 1→1, 26x26 (0) 100 %; of the multiply-adds 6,084: conv 1→1, 26x26 (0) 100 %.": (
            plots.budget(layer_table(capture(nn.Sequential(nn.Conv2d(1, 1, 3)))))
        ),
        "short (2 seeds, this machine) 95.50 (95.00 to 96.00); long (1 seed, this machine) 98.10 (98.10 to 98.10).": (
            plots.comparison({"short": [0.95, 0.96], "long": [0.981]})
        ),
        "After 2 epochs: training 98.00 %, validation 99.00 %; the target is 99.4%.": plots.curves(
            history([0.98, 0.99]), 0.994
        ),
        "from 0 to its peak after 33 % of the run, then down to 0 at the end.": plots.schedule([0.0, 1.0, 0.5, 0.0]),
        "0.4 for 312, 0.1 for 1,250; extrapolated to 10,000, 0.013. How much better than the last epoch it is on other "
        "images: -0.2 for 312, -0.1 for 1,250.": plots.optimism(CHOICES),
        "with 0.05 for 0.955 and 0.005, and the loss can't go below 0.28.": plots.label_smoothing(0.05),
        "where covering with paper costs the answer most: why 4?.": plots.looked_at(
            IMAGES[:1], torch.ones(1, 28, 28), ["why 4?"]
        ),
        "and the layer's maps. conv 1→16, 28x28 (conv1) sees 3x3 pixels.": plots.exploration(
            IMAGES[0], [layer_table(capture(SeedNet()))[0]], [torch.ones(16, 28, 28)]
        ),
        "and its answer: 1, 90% sure. conv 1→16, 28x28 (conv1) sees 3x3 pixels.": plots.drawing(
            IMAGES[0], [0.1, 0.9], ["0", "1"], layer_table(capture(SeedNet()))[0]
        ),
        "12 wrong answers; a label taken for another, most often: 4 for 9 12 times.": plots.confusion(
            torch.zeros(10, 10, dtype=torch.int64).index_put((torch.tensor([4]), torch.tensor([9])), torch.tensor(12)),
            catalogue.DIGITS,
        ),
    }
    for words, axes in drawn.items():
        assert str(axes.figure.get_label()).endswith(words)
    public = {
        name for name, it in vars(plots).items() if getattr(it, "__module__", "") == "lab.plots" and name[0] != "_"
    }
    assert len(drawn) == len(public - {"show", "bundle"})  # all of them


def test_a_figure_is_shown_as_a_picture_with_its_words():
    axes = plots.schedule([0.0, 1.0, 0.0])
    axes.figure.set_label('words with "quotes" & <signs>')
    parts = plots.bundle(axes)
    assert plt.get_fignums() == []  # closed
    assert b64decode(parts["image/png"]).startswith(b"\x89PNG")
    assert parts["text/plain"] == 'words with "quotes" & <signs>'
    assert 'alt="words with &quot;quotes&quot; &amp; &lt;signs&gt;"' in parts["text/html"]
    assert parts["image/png"] in parts["text/html"]


def test_a_picture_has_two_pixels_for_each_of_the_page_s_and_stays_small():
    images = torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    axes = plots.digits(images)
    width, height = axes.figure.get_size_inches() * 110
    parts = plots.bundle(axes)
    picture = b64decode(parts["image/png"])
    assert f'width="{width:.0f}" height="{height:.0f}"' in parts["text/html"]
    with Image.open(BytesIO(picture)) as opened:
        assert opened.size == pytest.approx((2 * width, 2 * height), abs=1)
    assert len(picture) < 100_000
    assert "max-width: 100%; height: auto" in parts["text/html"]  # on a narrow page


def test_no_figure_is_too_wide_for_a_phone_and_no_text_too_small(layers):
    figures = [
        plots.digits(IMAGES, ["4"] * 13),
        plots.growing_boxes(IMAGES[0], layers * 4),
        plots.maps([IMAGES[0].float()] * 9, ["map"] * 9),
        plots.budget(layer_table(capture(SeedNet()))),
        plots.curves(history([0.9]), 0.994),
        plots.comparison({"a": [0.9]}, {"b": [0.8]}, "a file", 0.994),
        plots.optimism(CHOICES),
        plots.label_smoothing(0.1),
        plots.jump(layers),
        plots.confusion(torch.eye(10, dtype=torch.int64), catalogue.GARMENTS),
    ]
    for axes in figures:
        assert axes.figure.get_size_inches()[0] <= plots.WIDTH
        texts = [t for t in axes.figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
        assert min(text.get_fontsize() for text in texts) >= 9


def test_colours_are_okabe_and_itos():
    colours = {plots.BLUE, plots.ORANGE, plots.GREEN, plots.PURPLE, plots.SKY, plots.RED, plots.YELLOW}
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {to_rgba(colour) for colour in colours} == {to_rgba(colour) for colour in okabe_ito}
