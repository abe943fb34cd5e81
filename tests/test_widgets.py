"""What a page carries, how a drawing becomes a digit, the still pictures, the page to take home, and bad input."""

import base64
import math
import re
import subprocess
import sys
from hashlib import sha256

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nodejs import answers, node
from torch import nn

import lab
from lab import data, plots
from lab._files import FileError
from lab.augment import to_input
from lab.errors import GraphError
from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet, SprintNet
from lab.train import Recipe, fit, predict
from lab.widgets import Page, WidgetError, drawing, features, home
from lab.widgets.answer import probabilities
from lab.widgets.drawing import CENTRE, DrawingError, to_mnist
from lab.widgets.features import Probe, ProbeError, shifted
from lab.widgets.page import ASLEEP, started, style

DIGITS = torch.stack([to_mnist(drawing.EXAMPLE), to_mnist([[(0.5, 0.2), (0.4, 0.8)]])])


@pytest.fixture(autouse=True)
def no_figure_left():
    plt.close("all")  # another file's
    yield
    assert not plt.get_fignums()  # a notebook would show it a second time


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return LabNet()


@pytest.fixture(scope="module")
def explored(net):
    return lab.explore(net, DIGITS)


# -- what a page carries ----------------------------------------------------------------------------------------------


def test_every_number_of_a_layer_is_the_layer_table_s(explored, net):
    table = layer_table(capture(net))
    assert len(explored.data["layers"]) == len(table) == 21
    for shown, layer in zip(explored.data["layers"], table, strict=True):
        facts, field = dict(shown["facts"]), layer.field
        assert shown["name"] == layer.name
        assert shown["title"] == layer.heading
        assert facts["parameters"].replace(",", "") == str(layer.parameters)
        assert facts["multiply-adds"].replace(",", "") == str(layer.multiply_adds)
        assert facts["sees"] == f"{field.size[0]}x{field.size[1]} pixels"
        assert facts["within the image"] == f"{field.clipped[0]}x{field.clipped[1]} pixels"
        assert facts["jump"] == f"{field.jump[0]}x{field.jump[1]} pixels"
        assert [row[:2] for row in shown["rows"]] == [list(interval) for interval in field.rows.clipped]
        assert [column[2] for column in shown["columns"]] == [interval.size for interval in field.columns.clipped]
        assert shown["units"] == list(field.units)
        assert shown["along"] == [field.rows.along, field.columns.along]
    assert sum(int(dict(s["facts"])["parameters"].replace(",", "")) for s in explored.data["layers"]) == 18_650


def test_a_page_carries_the_digits_and_how_they_become_input(explored):
    carried = [
        torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8) for text in explored.data["images"]
    ]
    assert torch.equal(torch.stack(carried).reshape(-1, 28, 28), DIGITS)
    mean, deviation = explored.data["normalisation"]
    assert torch.allclose((DIGITS.float() / 255 - mean) / deviation, to_input(DIGITS)[:, 0])


def test_digits_come_from_the_training_images(net):
    images = lab.explore(net).data["images"]
    train = data.load("mnist").train
    assert len(images) == 10
    assert base64.b64decode(images[0]) == train.images[train.labels == 0][0].numpy().tobytes()


def test_the_network_is_shown_as_it_is_now(net):
    network = LabNet()
    with torch.no_grad():
        network[20].bias[7] += 100
    shown = lab.draw(network).data["weights"]["20.bias"]
    assert np.frombuffer(base64.b64decode(shown), "<f4")[7] > 99


def test_modes_stay_as_they_were():
    network = LabNet().train()
    network[1].eval()  # one layer is frozen
    modes = [module.training for module in network.modules()]
    lab.explore(network, DIGITS)
    lab.draw(network)
    assert [module.training for module in network.modules()] == modes
    assert int(network[2].num_batches_tracked) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_network_on_a_gpu():
    network = LabNet().cuda()
    for page in (lab.explore(network, DIGITS.cuda()), lab.draw(network)):
        assert len(page.data["weights"]) == len(capture(network).weights)
    assert next(network.parameters()).is_cuda


def test_shifted_loses_what_leaves_and_takes_background_in():
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(3, 3)
    assert shifted(image, 1, -1).tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert torch.equal(shifted(image, 0, 0), image)
    assert not shifted(image, -3, 0).any()


# -- the network's answer ---------------------------------------------------------------------------------------------

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


def test_sketches_are_recognised(trained):
    probe = Probe(trained, torch.stack([to_mnist(strokes) for strokes in SKETCHES.values()]))
    answered = [probabilities(probe, index) for index in range(len(SKETCHES))]
    assert [sum(shares) for shares in answered] == pytest.approx([1] * len(SKETCHES), abs=1e-5)
    right = [shares.index(max(shares)) == digit for digit, shares in zip(SKETCHES, answered, strict=True)]
    assert sum(right) >= 5


def test_real_digits_drawn_again_are_recognised(trained):
    train = data.load("mnist").train
    images, labels = train.images[-100:], train.labels[-100:]
    dots = [[[((c + 0.5) / 28, (r + 0.5) / 28)] for r, c in (image > 127).nonzero().tolist()] for image in images]
    again = torch.stack([to_mnist(strokes, pen=1.1 / 28) for strokes in dots])
    right = (predict(trained, again).argmax(1) == labels).float().mean()
    assert right >= 0.9
    assert (again.float() - images.float()).abs().mean() < 15  # of 255: the same size and place, too


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


# -- the same in the page ---------------------------------------------------------------------------------------------


def scribble(seed):
    """Some strokes anywhere on the canvas, dots and points drawn twice among them."""
    generator = np.random.default_rng(seed)
    strokes = []
    for _ in range(generator.integers(1, 5)):
        points = generator.uniform(0, 1, (generator.integers(1, 9), 2)).round(3).tolist()
        strokes.append(points + points[-1:] if generator.random() < 0.3 else points)
    return strokes


def test_the_page_brings_a_drawing_into_the_same_form(tmp_path):
    drawings = [
        *SKETCHES.values(),
        *map(random_drawing, range(40)),
        *map(scribble, range(60)),
        [],
        [[]],
        [[(0.2, 0.9)]],
    ]
    pens = [drawing.PEN if i % 3 else 0.04 for i in range(len(drawings))]
    tasks = [{"task": "mnist", "strokes": s, "pen": pen} for s, pen in zip(drawings, pens, strict=True)]
    for strokes, pen, given in zip(drawings, pens, answers(tasks, tmp_path), strict=True):
        apart = torch.tensor(given["answer"]).reshape(28, 28) - to_mnist(strokes, pen).int()
        assert apart.abs().max() <= 2, strokes  # grey levels


# -- the page and its still picture -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda net: lab.explore(net, DIGITS), lab.draw], ids=["explore", "draw"])
def test_a_page_holds_the_network_and_a_still_picture(net, make, tmp_path):
    page = make(net)
    assert isinstance(page, Page)
    bundle = page._repr_mimebundle_()
    html, text = bundle["text/html"], bundle["text/plain"]
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in html
    assert len(text) > 40
    assert f'alt="{text}"'.replace("'", "&#x27;") in html
    assert ASLEEP in html
    assert bundle == make(net).bundle()  # executed again, a notebook stays as it is
    assert sum(map(len, bundle.values())) < 250_000  # bytes of the notebook
    assert html.count("<script>") == html.count("</script>") == 1
    (tmp_path / "page.js").write_text(re.search(r"<script>(.*)</script>", html, re.DOTALL)[1], encoding="utf-8")
    subprocess.run([node(), "--check", str(tmp_path / "page.js")], check=True)


def test_ten_digits_fit_in_too(net):
    assert sum(map(len, lab.explore(net).bundle().values())) < 250_000


def test_nothing_in_a_page_asks_for_anything_else(net):
    html = lab.explore(net, DIGITS).bundle()["text/html"]
    assert not re.findall(r"https?://|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket|@import|url\(", html)


def test_no_word_of_the_network_s_ends_the_script():
    named = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    page = lab.explore(named, DIGITS)
    page.data["layers"][0]["title"] = "</script><script>alert(1)</script>"
    script = started("explore", page.data)
    assert "</script" not in script
    assert "alert(1)" in script


def test_style_has_no_comments_and_stays_in_the_page():
    assert "/*" not in style()
    rules = re.findall(r"(?:^|})\s*([^{}@]+)\{", style())
    assert len(rules) > 40
    for rule in rules:
        assert rule.strip().startswith((".lab-", ":is(.lab-")), rule


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


# -- taken home -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken(trained, tmp_path_factory):
    return lab.take_home(trained, tmp_path_factory.mktemp("home") / "my_network.html")


def test_a_network_is_taken_home_as_a_page(taken, trained):
    page = taken.page.read_text(encoding="utf-8")
    assert taken.page.stat().st_size < 500_000
    assert "SprintNet reads your handwriting" in page
    assert "18,082 parameters" in page
    assert str(taken.page) in repr(taken)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page  # an attribute that the policy forbids


def test_the_onnx_file_computes_what_pytorch_computes(taken, trained):
    onnxruntime = pytest.importorskip("onnxruntime", reason="tests/requirements.txt has it")
    images = data.load("mnist").train.images[-300:]
    session = onnxruntime.InferenceSession(str(taken.onnx))
    assert [put.name for put in session.get_inputs()] == ["image"]
    (scores,) = session.run(["scores"], {"image": to_input(images).numpy()})
    torch.testing.assert_close(torch.from_numpy(scores), predict(trained, images), atol=1e-4, rtol=1e-4)
    (one,) = session.run(["scores"], {"image": to_input(images[:1]).numpy()})
    assert one.shape == (1, 10)


def test_without_onnx_the_page_is_written_and_a_word_says_what_to_install(net, tmp_path, monkeypatch):
    monkeypatch.setattr(home.importlib.util, "find_spec", lambda name: None)
    taken = lab.take_home(net, tmp_path / "net.html")
    assert taken.onnx is None
    assert [path.name for path in tmp_path.iterdir()] == ["net.html"]
    assert "pip install onnx onnxscript" in repr(taken)


def test_a_page_is_written_whole_or_not_at_all(net, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        lab.take_home(net, tmp_path / "nowhere" / "net.html")
    with pytest.raises(WidgetError, match=r"a page's name ends in \.html"):
        lab.take_home(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_name_can_not_add_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(home.importlib.util, "find_spec", lambda name: None)
    odd = type("<b>Net</b>", (LabNet,), {})()
    page = lab.take_home(odd, tmp_path / "net.html").page.read_text(encoding="utf-8")
    assert "<h1>&lt;b&gt;Net&lt;/b&gt; reads your handwriting</h1>" in page


# -- bad input --------------------------------------------------------------------------------------------------------


class Undecided(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("make", [lab.explore, lab.draw, lab.take_home], ids=["explore", "draw", "home"])
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


@pytest.mark.parametrize("make", [lab.draw, lab.take_home], ids=["draw", "home"])
def test_a_network_without_a_row_of_logits(make):
    with pytest.raises(WidgetError, match=r"gives \(4, 28, 28\) for an image; expected one row of logits"):
        make(nn.Conv2d(1, 4, 3, padding=1))


@pytest.mark.parametrize("make", [lab.explore, lab.draw, lab.take_home], ids=["explore", "draw", "home"])
def test_a_network_that_diverged(make):
    network = SprintNet()
    with torch.no_grad():
        network[-1].bias[7] = math.nan
    with pytest.raises(WidgetError, match="its training diverged"):
        make(network)


def test_a_network_whose_answer_overflows():
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight.fill_(3e38)
    with pytest.raises(WidgetError, match="answers with NaN or infinity"):
        lab.draw(network)


def test_importing_lab_stays_quick():
    code = (
        "import sys, lab; assert not {'torch', 'matplotlib'} & set(sys.modules); lab.explore, lab.draw, lab.take_home"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        lab.paint  # noqa: B018
