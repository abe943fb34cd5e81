"""What the widgets answer to what a person does, how a drawing becomes a digit, and the still pictures."""

import base64
import importlib.util
import math
import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import lab
from lab import data, plots
from lab.augment import to_input
from lab.errors import GraphError
from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet, SprintNet
from lab.train import Recipe, fit, predict
from lab.widgets import Still, WidgetError, drawing, features
from lab.widgets.drawing import CENTRE, DrawingError, to_mnist
from lab.widgets.features import Probe, ProbeError, shifted
from lab.widgets.still import WIDGET_VIEW

DIGITS = torch.stack([to_mnist(drawing.EXAMPLE), to_mnist([[(0.5, 0.2), (0.4, 0.8)]])])


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    assert not plt.get_fignums()  # a notebook would show it a second time


@pytest.fixture
def driven(monkeypatch):
    """Somebody is there to drive the widgets."""
    monkeypatch.setenv("LAB_PROGRESS", "1")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return LabNet()


@pytest.fixture
def explorer(net, driven):
    return lab.explore(net, DIGITS)


@pytest.fixture
def pad(net, driven):
    return lab.draw(net)


def rgba(content, *shape):
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(*shape, 4)


# -- explore ----------------------------------------------------------------------------------------------------------


def test_every_number_of_a_layer_is_the_layer_table_s(explorer, net):
    table = layer_table(capture(net))
    assert len(explorer.layers) == len(table) == 21
    for shown, layer in zip(explorer.layers, table, strict=True):
        facts, field = dict(shown["facts"]), layer.field
        assert shown["name"] == f"{layer.name} ({layer.kind})"
        assert facts["parameters"].replace(",", "") == str(layer.parameters)
        assert facts["multiply-adds"].replace(",", "") == str(layer.multiply_adds)
        assert facts["sees"] == f"{field.size[0]}x{field.size[1]} pixels"
        assert facts["within the image"] == f"{field.clipped[0]}x{field.clipped[1]} pixels"
        assert facts["jump"] == f"{field.jump[0]}x{field.jump[1]} pixels"
        assert [row[:2] for row in shown["rows"]] == [list(interval) for interval in field.rows.clipped]
        assert [column[2] for column in shown["columns"]] == [interval.size for interval in field.columns.clipped]
    assert sum(int(dict(shown["facts"])["parameters"].replace(",", "")) for shown in explorer.layers) == 18_650


@pytest.mark.parametrize("layer", [0, 5, 10, 17])
def test_a_chosen_layer_shows_what_the_network_computes(explorer, net, layer):
    explorer.layer = layer
    with torch.inference_mode():
        wanted = nn.Sequential(*list(net)[: layer + 1]).eval()(to_input(DIGITS[:1]))[0]  # (C, H, W)
    assert explorer.scene["shape"] == list(wanted.shape)
    shown = rgba(explorer.scene["maps"], *wanted.shape)
    red, blue = shown[..., 0].int(), shown[..., 2].int()
    clear = wanted.abs() > 0.05 * wanted.abs().max()
    assert torch.equal((red - blue).sign()[clear], wanted.sign().int()[clear])  # red above zero, blue below
    strongest = wanted.abs().argmax()
    ends = {-1: [5, 48, 97, 255], 1: [103, 0, 31, 255]}  # of matplotlib's RdBu_r
    assert shown.reshape(-1, 4)[strongest].tolist() == ends[int(wanted.flatten()[strongest].sign())]
    assert explorer.unit == tuple(n // 2 for n in wanted.shape[1:])


def test_layers_without_a_map_are_channels_of_one_unit(explorer):
    explorer.layer = 20
    assert explorer.scene["shape"] == [10, 1, 1]
    assert [interval.size for interval in explorer.box] == [28, 28]
    explorer.layer = 18
    assert explorer.scene["shape"] == [216, 1, 1]
    assert explorer.scene["note"] == ""


def test_many_channels_are_cut_and_the_note_says_so(driven):
    wide = nn.Sequential(nn.Conv2d(1, 300, 3, stride=9), nn.Flatten(), nn.Linear(2700, 10))
    scene = lab.explore(wide, DIGITS).scene
    assert scene["shape"] == [256, 3, 3]
    assert scene["note"] == "the first 256 of 300 channels"
    assert len(scene["maps"]) == 256 * 3 * 3 * 4


def test_a_chosen_unit_moves_the_box(explorer, net):
    field = layer_table(capture(net))[4].field
    explorer.layer = 4
    assert explorer.box == field.box(7, 7)
    explorer.unit = (0, 13)
    assert explorer.box == field.box(0, 13) != field.box(7, 7)


def test_values_out_of_range_are_brought_into_it(explorer):
    explorer.layer = 99
    assert explorer.layer == 20
    explorer.layer = 8  # 24 maps of 7x7
    explorer.unit, explorer.channel, explorer.shift, explorer.digit = (-3, 40), 77, (50, -50), 5
    assert (explorer.unit, explorer.channel, explorer.shift, explorer.digit) == ((0, 6), 23, (8, -8), 1)
    explorer.layer = 0  # 16 maps
    assert explorer.channel == 15


def test_a_dragged_digit_takes_its_maps_along(explorer):
    before = rgba(explorer.scene["maps"], 16, 28, 28).clone()
    explorer.shift = (2, -1)
    assert torch.equal(rgba(explorer.scene["pixels"], 28, 28)[..., 0], 255 - shifted(DIGITS[0], 2, -1))
    after = rgba(explorer.scene["maps"], 16, 28, 28)
    assert torch.equal(after[:, 4:-2, 2:-3], before[:, 2:-4, 3:-2])  # a convolution moves with what it sees
    assert not torch.equal(after, before)


def test_shifted_loses_what_leaves_and_takes_background_in():
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(3, 3)
    assert shifted(image, 1, -1).tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert torch.equal(shifted(image, 0, 0), image)
    assert not shifted(image, -3, 0).any()


def test_the_next_digit(explorer):
    explorer.digit = 1
    assert torch.equal(rgba(explorer.scene["pixels"], 28, 28)[..., 1], 255 - DIGITS[1])
    assert explorer.digits == 2


def test_a_layer_arrives_on_the_page_in_one_message(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(explorer, "send_state", lambda keys: sent.append(set(keys)))
    explorer.set_state({"layer": 8})
    (message,) = [keys for keys in sent if "scene" in keys]
    assert "unit" in message  # a unit without its maps would point beside them


def test_digits_come_from_the_training_images(net, driven):
    widget = lab.explore(net)
    assert widget.digits == 10
    train = data.load("mnist").train
    first_zero = train.images[train.labels == 0][0]
    assert torch.equal(rgba(widget.scene["pixels"], 28, 28)[..., 0], 255 - first_zero)


def test_the_page_is_told_that_a_kernel_is_there(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(explorer, "send", sent.append)
    explorer._handle_custom_msg("there?", [])
    assert sent == ["here"]


# -- draw -------------------------------------------------------------------------------------------------------------

SKETCHES = {
    0: [[(0.5 + 0.2 * math.cos(a / 5), 0.5 + 0.3 * math.sin(a / 5)) for a in range(33)]],
    1: [[(0.5, 0.2), (0.48, 0.8)]],
    2: [[(0.3, 0.3), (0.4, 0.18), (0.55, 0.18), (0.65, 0.3), (0.6, 0.45), (0.3, 0.8), (0.7, 0.8)]],
    3: drawing.EXAMPLE,
    4: [[(0.35, 0.15), (0.3, 0.5), (0.7, 0.5)], [(0.65, 0.2), (0.62, 0.9)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)]],
}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = SprintNet()
    recipe = Recipe(epochs=2, averaging=0, augment=None, precision="float32")
    fit(network, data.load("mnist").limit(6000), recipe)
    return network


def test_sketches_are_recognised(trained, driven):
    pad = lab.draw(trained)
    answers = {}
    for digit, strokes in SKETCHES.items():
        pad.strokes = [[list(point) for point in stroke] for stroke in strokes]
        shares = [bar["share"] for bar in pad.answer["bars"]]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        answers[digit] = shares.index(max(shares))
        assert pad.answer["text"].startswith(f"The network's answer: {answers[digit]}, ")
        assert torch.equal(rgba(pad.answer["pixels"], 28, 28)[..., 2], 255 - to_mnist(strokes))
    assert sum(digit == answer for digit, answer in answers.items()) >= 5


def test_real_digits_drawn_again_are_recognised(trained):
    train = data.load("mnist").train
    images, labels = train.images[-100:], train.labels[-100:]
    dots = [[[((c + 0.5) / 28, (r + 0.5) / 28)] for r, c in (image > 127).nonzero().tolist()] for image in images]
    again = torch.stack([to_mnist(strokes, pen=1.1 / 28) for strokes in dots])
    right = (predict(trained, again).argmax(1) == labels).float().mean()
    assert right >= 0.9
    assert (again.float() - images.float()).abs().mean() < 15  # of 255: the same size and place, too


def test_an_empty_canvas_says_so(pad):
    empty = pad.answer
    assert empty["text"] == "The canvas is empty: draw a digit."
    assert [bar["share"] for bar in empty["bars"]] == [0] * 10
    pad.strokes = [[[0.5, 0.5]]]
    assert pad.answer["text"].startswith("The network's answer")
    pad.strokes = []
    assert pad.answer == empty


def test_the_network_answers_with_the_weights_of_the_moment(driven):
    network = SprintNet()
    pad = lab.draw(network)
    with torch.no_grad():
        network[-1].bias[7] += 100
    pad.strokes = [[[0.5, 0.2], [0.5, 0.8]]]
    assert pad.answer["text"] == "The network's answer: 7, 100% sure."


def test_a_network_that_diverged_is_told_on_the_widget(driven):
    network = SprintNet()
    pad = lab.draw(network)
    with torch.no_grad():
        network[-1].bias[7] = math.nan
    pad.strokes = [[[0.5, 0.2], [0.5, 0.8]]]
    assert pad.answer["text"].startswith("WidgetError: the network answers with NaN")
    pad.strokes = [[[0.5]]]
    assert pad.answer["text"].startswith("DrawingError")


def test_modes_stay_as_they_were(driven):
    network = LabNet().train()
    network[1].eval()  # one layer is frozen
    modes = [module.training for module in network.modules()]
    lab.explore(network, DIGITS).layer = 5
    lab.draw(network).strokes = [[[0.5, 0.2], [0.5, 0.8]]]
    assert [module.training for module in network.modules()] == modes
    assert int(network[2].num_batches_tracked) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_network_on_a_gpu(driven):
    network = LabNet().cuda()
    assert lab.explore(network, DIGITS.cuda()).scene["shape"] == [16, 28, 28]
    pad = lab.draw(network)
    pad.strokes = SKETCHES[7]
    assert pad.answer["text"].startswith("The network's answer")
    assert next(network.parameters()).is_cuda


# -- MNIST's form -----------------------------------------------------------------------------------------------------


def random_drawing(seed):
    generator = np.random.default_rng(seed)
    corner, size = generator.uniform(0, 0.5, 2), generator.uniform(0.1, 0.5, 2)
    return [(corner + size * generator.uniform(0, 1, (5, 2))).tolist() for _ in range(2)]


@pytest.mark.parametrize("seed", range(12))
def test_a_drawing_has_the_size_and_the_place_of_mnist_s_digits(seed):
    image = to_mnist(random_drawing(seed)).float()
    rows, columns = (image.sum(axis).nonzero().flatten() for axis in (1, 0))
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == 20
    for axis in (1, 0):
        mass = image.sum(axis)
        centre = float((mass * torch.arange(28)).sum() / mass.sum())
        assert abs(centre - CENTRE) < 0.52  # half a pixel, and what grey levels round
    assert 0 < ((image > 0) & (image < 255)).float().sum() / (image > 0).sum() < 0.9  # edges are grey


def test_the_measures_are_those_of_the_files():
    images = data.load("mnist").train.images[:500].float()
    for axis in (1, 2):
        mass = images.sum(axis)  # (N, 28)
        centres = (mass * torch.arange(28)).sum(1) / mass.sum(1)
        assert ((centres - CENTRE).abs() < 0.52).all()


def test_neither_place_nor_size_on_the_canvas_matters():
    small = [[(0.1 + x / 3, 0.6 + y / 3) for x, y in stroke] for stroke in drawing.EXAMPLE]
    difference = to_mnist(small, pen=drawing.PEN / 3).float() - to_mnist(drawing.EXAMPLE).float()
    assert difference.abs().mean() < 1


def test_proportions_are_kept():
    wide = to_mnist([[(0.1, 0.4), (0.9, 0.4), (0.9, 0.7), (0.1, 0.7)]], pen=0.05) > 0
    assert int(wide.any(0).sum()) == 20
    assert abs(int(wide.any(1).sum()) - 20 * 0.35 / 0.85) <= 1


def test_no_ink_leaves_the_image():
    hook = [[(0, 0), (0, 1)], *[[(0, y / 50), (0.2, y / 50)] for y in range(10)], [(0, 1), (1, 1)]]
    image = to_mnist(hook).float()
    assert int((image.sum(1) > 0).sum()) == 20
    assert int((image.sum(0) > 0).sum()) == 20


@pytest.mark.parametrize("strokes", [[], [[]], [[], []]])
def test_nothing_drawn_is_background(strokes):
    image = to_mnist(strokes)
    assert image.shape == (28, 28)
    assert image.dtype == torch.uint8
    assert not image.any()


@pytest.mark.parametrize(
    "strokes",
    [None, 3, [3], ["ab"], [[(0.5,)]], [[(0.1, 0.2, 0.3)]], [[(math.nan, 0)]], [[(1e9, 0)]], [[(0.5, 0.5)] * 20_001]],
)
def test_what_is_no_drawing(strokes):
    with pytest.raises(DrawingError):
        to_mnist(strokes)


# -- still pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda net: lab.explore(net, DIGITS), lab.draw], ids=["explore", "draw"])
def test_nobody_there_gets_a_still_picture(net, make):
    still = make(net)  # LAB_PROGRESS=0 in the tests
    assert isinstance(still, Still)
    bundle = still._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in bundle["text/html"]
    text = bundle["text/plain"].strip("[]")
    assert len(text) > 40
    assert f'alt="{text}"'.replace("'", "&#x27;") in bundle["text/html"]
    assert "<style>" not in bundle["text/html"]  # nothing is there to make room for


def test_a_widget_comes_after_the_picture_that_it_replaces(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    explorer._ipython_display_()
    picture, widget = shown
    assert widget[WIDGET_VIEW]["model_id"] == explorer.model_id
    assert WIDGET_VIEW not in picture
    assert explorer.live in picture["text/html"]


def test_without_anywidget_the_picture_says_what_to_install(net, driven, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "anywidget" else find(name))
    for still in (lab.explore(net, DIGITS), lab.draw(net)):
        assert isinstance(still, Still)
        assert "pip install anywidget" in still.bundle()["text/html"]


def test_exploration_draws_each_layer_s_box_and_maps(net):
    probe = Probe(net, DIGITS)
    chosen = features.growing(probe.layers)
    assert [probe.layers[i].name for i in chosen] == ["0", "4", "11", "15"]
    axes = plots.exploration(DIGITS[0], [probe.layers[i] for i in chosen], [probe.maps(i, DIGITS[0]) for i in chosen])
    above, below = axes.figure.axes[:4], axes.figure.axes[4:]
    assert [ax.patches[0].get_width() for ax in above] == [3, 8, 22, 28]
    assert above[1].get_title() == "conv 16→16, 14x14\n(4)\n8x8 pixels"
    assert torch.equal(torch.as_tensor(np.array(below[0].images[0].get_array()))[:28, :28], probe.maps(0, DIGITS[0])[0])
    assert "conv 24→24, 7x7 (11) sees 22x22 pixels" in axes.figure.get_label()
    plt.close("all")


def test_exploration_shows_ten_logits_in_a_block_of_sixteen(net):
    probe = Probe(net, DIGITS)
    last = len(probe.layers) - 1
    _, below = plots.exploration(DIGITS[0], [probe.layers[last]], [probe.maps(last, DIGITS[0])]).figure.axes
    assert np.ma.count(below.images[0].get_array()) == 10
    plt.close("all")


def test_drawing_draws_the_answer(net):
    layer = layer_table(capture(net))[8]
    axes = plots.drawing(DIGITS[0], [0.1, 0.7, 0.2], ["cat", "dog", "emu"], layer)
    left, right = axes.figure.axes
    assert left.patches[0].get_width() == 14
    assert [bar.get_width() for bar in right.patches] == pytest.approx([10, 70, 20])
    assert right.get_title() == "the network's answer: dog"
    assert "dog, 70% sure" in axes.figure.get_label()
    plt.close("all")


# -- bad input --------------------------------------------------------------------------------------------------------


class Undecided(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("make", [lab.explore, lab.draw], ids=["explore", "draw"])
def test_what_is_no_network(make):
    with pytest.raises(ProbeError, match="this is str"):
        make("LabNet")
    with pytest.raises(ProbeError, match="It is a class: call it"):
        make(LabNet)
    with pytest.raises(GraphError):
        make(Undecided())


@pytest.mark.parametrize(
    "images",
    [DIGITS.float(), DIGITS[:, None], DIGITS[:, :20], DIGITS[:0], DIGITS[0], DIGITS.numpy(), [[1]], "mnist"],
)
def test_what_are_no_images(net, images):
    with pytest.raises(ProbeError, match=r"images must be .*28, 28"):
        lab.explore(net, images)


def test_a_network_without_a_row_of_logits():
    with pytest.raises(WidgetError, match=r"gives \(4, 28, 28\) for an image; wants one row of logits"):
        lab.draw(nn.Conv2d(1, 4, 3, padding=1))


def test_importing_lab_stays_quick():
    code = "import sys, lab; assert not {'torch', 'matplotlib', 'anywidget'} & set(sys.modules); lab.explore, lab.draw"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        lab.paint  # noqa: B018
