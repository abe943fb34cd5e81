"""Has an operation an effect? Cheats that execute a layer in vain, and honest networks, each measured."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lab import data, effects, models
from lab.effects import LEAST, Meter, images_for
from lab.graph import Graph, capture
from lab.operations import BatchNorm, Dropout, Linear
from lab.rules import Verdict, judge, load_rubric
from lab.train import Recipe, fit

RUBRIC = load_rubric()


class Net(nn.Module):
    """Convolution, ReLU, pooling (`features`), batch norm, dropout, linear layer; and parts for those derived from it.

    What each of them does is in three methods that they override: (B, 8, 7, 7) -> (B, 8, 7, 7), and -> (B, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(4)
        self.bn, self.drop, self.fc = nn.BatchNorm2d(8), nn.Dropout(0.1), nn.Linear(392, 10)
        self.whole, self.again = nn.Conv2d(8, 10, 7), nn.Linear(10, 10)
        self.more()

    def more(self) -> None:
        """Further layers."""

    def normed(self, h: Tensor) -> Tensor:
        return self.bn(h)

    def dropped(self, h: Tensor) -> Tensor:
        return self.drop(h)

    def head(self, h: Tensor) -> Tensor:
        return self.fc(h.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropped(self.normed(self.pool(self.conv(x).relu()))))


def network(**methods: object) -> nn.Module:
    """A Net with some methods of its own; the same first weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return type("Made", (Net,), methods)()


def verdict(graph: Graph, rule: str) -> Verdict:
    (found,) = [v for v in judge(RUBRIC, graph) if v.rule == rule]
    return found


def frozen_at_zero(net: Net) -> None:
    nn.init.zeros_(net.bn.weight).requires_grad_(False)
    net.bn.bias.requires_grad_(False)


def with_buffer(net: Net) -> None:
    net.register_buffer("zero", torch.zeros(1))


def with_learnable(value: float):
    def more(net: Net) -> None:
        net.factor = nn.Parameter(torch.tensor([value]))

    return more


def with_bn(**arguments: object):
    def more(net: Net) -> None:
        net.bn = nn.BatchNorm2d(8, **arguments)

    return more


def with_norm_after(net: Net) -> None:
    net.after = nn.GroupNorm(8, 8, eps=1e-12)


def with_one(net: Net) -> None:
    net.one, net.to_one = nn.Linear(1, 10), nn.Linear(10, 1)


NOTHING = "changes the answers by 0.0000 of their size, expected at least 0.01"
CHEATS = {
    # batch norm
    "scaled to nothing": ("batch_norm", {"normed": lambda s, h: h + 1e-30 * s.bn(h)}, NOTHING),
    "scale frozen at zero": ("batch_norm", {"more": frozen_at_zero, "normed": lambda s, h: h + s.bn(h)}, NOTHING),
    "huge eps": (
        "batch_norm",
        {"more": with_bn(eps=1e60, affine=False), "normed": lambda s, h: h + s.bn(h)},
        "does not normalise: its channels have variance 0.0000 before scale and shift, not 1",
    ),
    "large eps": ("batch_norm", {"more": with_bn(eps=1e3)}, "does not normalise: its channels have variance 0.000"),
    "identity in eval": (
        "batch_norm",
        {"more": with_bn(affine=False, momentum=0.0)},
        "gathers no running statistics to normalise by in eval mode (momentum = 0)",
    ),
    "hardly gathers": ("batch_norm", {"more": with_bn(momentum=1e-9)}, "gathers no running statistics"),
    "needs neighbours": (
        "batch_norm",
        {"more": with_bn(track_running_stats=False)},
        "normalises by its batch in eval mode, too: an image's answer depends on its neighbours",
    ),
    "on a constant": ("batch_norm", {"normed": lambda s, h: h + s.bn(h * 0)}, "does not normalise"),
    "normalised once more": (
        "batch_norm",
        {"more": with_norm_after, "normed": lambda s, h: s.after(s.bn(h))},
        NOTHING,
    ),
    # dropout
    "added with a factor of 1e-30": ("dropout", {"dropped": lambda s, h: h + 1e-30 * s.drop(h)}, NOTHING),
    "added zero times": ("dropout", {"dropped": lambda s, h: torch.add(h, s.drop(h), alpha=0)}, NOTHING),
    "cancelled": ("dropout", {"dropped": lambda s, h: h + (d := s.drop(h)) - d}, NOTHING),
    "cropped away": (
        "dropout",
        {"dropped": lambda s, h: F.pad(torch.cat([h, s.drop(h)], 2), (0, 0, 0, -7))},
        NOTHING,
    ),
    "clipped": ("dropout", {"dropped": lambda s, h: h + F.hardtanh(s.drop(h), -1e-40, 1e-40)}, NOTHING),
    "of zeros": ("dropout", {"dropped": lambda s, h: h + s.drop(h * 0.0)}, NOTHING),
    "times a buffer of zero": (
        "dropout",
        {"more": with_buffer, "dropped": lambda s, h: h + s.drop(h) * s.zero},
        NOTHING,
    ),
    "times a learnable zero": (
        "dropout",
        {"more": with_learnable(0.0), "dropped": lambda s, h: h + s.drop(h) * s.factor},
        NOTHING,
    ),
    "behind a ReLU that is shut": (
        "dropout",
        {"more": with_learnable(-1e6), "dropped": lambda s, h: h + (s.drop(h) + s.factor).relu()},
        NOTHING,
    ),
    "below rounding": ("dropout", {"dropped": lambda s, h: (h + 1e9 + s.drop(h) * 1e-3) - 1e9}, NOTHING),
    # linear
    "linear, scaled to nothing": (
        "fully_connected",
        {"head": lambda s, h: (o := s.whole(h).flatten(1)) + 1e-30 * s.again(o)},
        NOTHING,
    ),
    "linear, cropped away": (
        "fully_connected",
        {"head": lambda s, h: F.pad(torch.cat([o := s.whole(h).flatten(1), s.again(o)], 1), (0, -10))},
        NOTHING,
    ),
    "linear on a constant": (
        "fully_connected",
        {"head": lambda s, h: (o := s.whole(h).flatten(1)) + s.again(o * 0)},
        NOTHING,
    ),
    "linear on one number": (
        "fully_connected",
        {"more": with_one, "head": lambda s, h: (o := s.whole(h).flatten(1)) + s.one(o.mean(1, keepdim=True))},
        "reads a single number",
    ),
    "softmax over one number": (
        "fully_connected",
        {"more": with_one, "head": lambda s, h: (o := s.whole(h).flatten(1)) * F.softmax(s.to_one(o), 1)},
        NOTHING,
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_layer_in_vain_fails_its_rule_and_no_other(name):
    rule, methods, why = CHEATS[name]
    graph = capture(network(**methods))
    found = verdict(graph, rule)
    assert found.passed is False
    assert found.points == 0
    assert why in found.hint
    others = {"batch_norm", "dropout", "fully_connected"} - {rule}
    if name != "below rounding":  # which leaves nothing of what comes before it either
        assert all(verdict(graph, other).passed for other in others)


def test_three_layers_on_a_branch_that_says_nothing_fail_three_rules():
    def more(net: Net) -> None:
        net.norm, net.line = nn.BatchNorm1d(1, affine=False), nn.Linear(1, 1, bias=False)

    def forward(net: Net, x: Tensor) -> Tensor:
        out = net.whole(net.pool(net.conv(x).relu())).flatten(1)
        return out + 1e-30 * net.line(net.drop(net.norm(x.mean((1, 2, 3)).unsqueeze(1))))

    graph = capture(network(more=more, forward=forward))
    for rule in ("batch_norm", "dropout", "fully_connected"):
        assert verdict(graph, rule).passed is False


def with_zero(net: Net) -> None:
    net.zero = nn.BatchNorm2d(8)
    nn.init.zeros_(net.zero.weight)


HONEST = {
    "batch norm of the images": {"forward": lambda s, x: s.head(s.drop(s.pool(s.conv(s.one(x)).relu()))), "more": None},
    "log-softmax": {"head": lambda s, h: F.log_softmax(s.fc(h.flatten(1)), 1)},
    "softmax": {"head": lambda s, h: F.softmax(s.fc(h.flatten(1)), 1)},
    "a residual branch that starts at zero": {
        "more": with_zero,
        "normed": lambda s, h: s.zero(h) + s.bn(h),
    },
    "two linear layers, one of them in vain": {"head": lambda s, h: (o := s.fc(h.flatten(1))) + 1e-30 * s.again(o)},
    "one batch norm right after the other": {
        "more": lambda s: setattr(s, "second", nn.BatchNorm2d(8)),
        "normed": lambda s, h: s.second(s.bn(h)),
    },
    "cumulative statistics": {"more": with_bn(momentum=None)},
    "rare dropout of whole channels": {"more": lambda s: setattr(s, "drop", nn.Dropout2d(0.01))},
    "dropout as the last thing": {"dropped": lambda s, h: h, "head": lambda s, h: s.drop(s.fc(h.flatten(1)))},
    "an effect that starts small": {
        "more": with_learnable(0.005),
        "dropped": lambda s, h: h + s.drop(h) * s.factor,
    },
}
HONEST["batch norm of the images"]["more"] = lambda s: setattr(s, "one", nn.BatchNorm2d(1))


@pytest.mark.parametrize("name", HONEST)
def test_honest_network_passes(name):
    graph = capture(network(**HONEST[name]))
    for rule in ("batch_norm", "dropout", "fully_connected"):
        found = verdict(graph, rule)
        assert found.passed is True, found.line()
        assert " changes the answers by " in found.figure


@pytest.mark.parametrize("name", ["SeedNet", "LabNet", "SprintNet", "PeakNet", "TinyNet"])
def test_networks_of_the_lab_pass_whatever_their_first_weights(name):
    for seed in range(2):
        torch.manual_seed(seed)
        graph = capture(getattr(models, name)())
        meter = Meter(graph, images_for("mnist", graph.input_shape))
        for op in graph.operations:
            if isinstance(op, BatchNorm | Dropout | Linear):
                assert meter.effect(op).share > 3 * LEAST, op.name


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        pytest.param("mobilenet_v3_small", set(), marks=pytest.mark.slow),
        ("mnasnet0_5", set()),  # statistics of momentum 0.0003
        pytest.param("vgg11_bn", set(), marks=pytest.mark.slow),
        ("resnet18", {"dropout"}),
        ("squeezenet1_1", {"batch_norm", "fully_connected"}),
    ],
)
def test_networks_of_torchvision_pass_but_for_what_they_lack(name, lacks):
    torch.manual_seed(0)
    graph = capture(getattr(torchvision.models, name)(weights=None), (3, 64, 64))
    rubric = RUBRIC.model_copy(update={"input_shape": (3, 64, 64)})
    failed = {v.rule for v in judge(rubric, graph) if v.passed is False}
    assert failed & {"batch_norm", "dropout", "fully_connected"} == lacks


def test_trained_network_passes():
    digits = data.load("mnist")
    torch.manual_seed(0)
    net = models.LabNet()
    fit(net, dataclasses.replace(digits.limit(3000), validation=None), Recipe(epochs=1, averaging=0.9), progress=False)
    graph = capture(net)
    assert all(verdict(graph, rule).passed for rule in ("batch_norm", "dropout", "fully_connected"))


def test_untrained_statistics_that_fit_nothing_do_not_hide_a_linear_layer():
    torch.manual_seed(0)
    net = network()
    net.bn.running_var.fill_(1e12)
    assert verdict(capture(net), "fully_connected").passed is True


def test_neighbours_are_found_by_running_images_alone():
    def more(net: Net) -> None:
        net.second = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.drop(net.bn(net.pool(net.second(net.conv(x)).relu()))))

    found = verdict(capture(network(more=more, forward=forward)), "batch_norm")
    assert found.passed is False  # though `bn` alone would do
    assert found.figure.startswith("in eval mode an image's neighbours change its answer by 0.")
    assert "track_running_stats" in found.hint


def test_graph_and_random_numbers_are_left_alone():
    net = network()
    graph = capture(net)
    before = {name: weight.clone() for name, weight in graph.weights.items()}
    state = torch.get_rng_state()
    first, second = judge(RUBRIC, graph), judge(RUBRIC, graph)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(graph.weights[name], weight) for name, weight in before.items())


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48), (2, 1, 1), (1, 1024, 1024)])
def test_images_are_normalised_and_the_same_each_time(shape):
    images = effects.images_for.__wrapped__("nothing of this name", shape)
    assert images.shape[1:] == shape
    assert len(images) >= 8
    assert images.mean().abs() < 1e-3
    assert images.std() == pytest.approx(1, abs=1e-3)
    assert torch.equal(images, effects.images_for.__wrapped__("nothing of this name", shape))


def test_images_are_real_digits_where_they_are_at_hand():
    data.load("mnist")
    drawn, digits = (effects.images_for.__wrapped__(name, (1, 28, 28)) for name in ("no such set", "mnist"))
    assert not torch.equal(drawn, digits)
    assert torch.equal(digits[0] > digits.min(), data.load("mnist").train.images[:1] > 0)


def test_nothing_is_downloaded_for_a_look_at_images(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    monkeypatch.delenv("LAB_DATA", raising=False)
    assert data.glimpse("mnist", 5) is None
    assert data.glimpse("no such set", 5) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network_name", ["SeedNet", "LabNet"])
def test_judging_is_quick(network_name):
    graph = capture(getattr(models, network_name)())
    judge(RUBRIC, graph)  # the images are read once
    assert Meter(graph, images_for("mnist", graph.input_shape))._work < 2**23  # a few runs on 48 images: below 0.3 s
