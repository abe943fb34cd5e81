"""The receptive field, proven a second way: by the gradient footprint of a linear twin."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lab.errors import GraphError
from lab.graph import Graph, capture
from lab.models import LabNet, SeedNet
from lab.operations import Conv2d, MaxPool
from lab.receptive import Field, Interval, effective_field, footprint, receptive_field, receptive_fields


def assert_proven(graph: Graph, fields: list[Field]) -> None:
    """The first, the middle and the last unit of every layer see exactly what the gradient says."""
    for field in fields:
        rows, columns = field.units
        for row, column in {(0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)}:
            assert footprint(graph, field.name, row, column) == field.box(row, column), (field.name, row, column)


@pytest.mark.parametrize("build", [SeedNet, LabNet])
def test_the_labs_networks(build: type[nn.Module]) -> None:
    graph = capture(build())
    assert_proven(graph, receptive_fields(graph))


def test_seednet_by_hand() -> None:
    fields = {field.name: field for field in receptive_fields(SeedNet())}
    table = {  # size, jump, start: worked out on paper
        "conv1": (3, 1, -1),
        "conv2": (5, 1, -2),
        "pool1": (6, 2, -2),
        "squeeze1": (6, 2, -2),
        "conv3": (10, 2, -4),
        "conv4": (14, 2, -6),
        "pool2": (16, 4, -6),
        "conv5": (24, 4, -6),
        "conv6": (32, 4, -6),
    }
    for name, (size, jump, start) in table.items():
        field = fields[name]
        assert (field.size, field.jump, field.start) == ((size, size), (jump, jump), (start, start)), name
    assert fields["conv6"].clipped == (28, 28)  # unit 1 of 3: rows -2 to 29
    assert fields["fc"].box() == (Interval(0, 27), Interval(0, 27))


@pytest.mark.parametrize(
    ("name", "last", "size"),
    [("alexnet", "features.12", 195), pytest.param("vgg16", "features.30", 212, marks=pytest.mark.slow)],
)
def test_famous_networks(name: str, last: str, size: int) -> None:
    """195 and 212 at the last pool (Araujo et al. 2019, table 1)."""
    features = getattr(torchvision.models, name)().features
    graph = capture(nn.Sequential().append(features), (3, 224, 224))
    last = f"0.{last.split('.')[1]}"
    field = receptive_field(graph, last)
    assert field.size == (size, size)
    assert footprint(graph, last) == field.box()
    assert footprint(graph, last, 0, 0) == field.box(0, 0)


def test_residual_and_dense_networks() -> None:
    for name in ("resnet18", "densenet121"):
        graph = capture(getattr(torchvision.models, name)(), (3, 64, 64))
        fields = receptive_fields(graph)
        assert_proven(graph, fields[:: len(fields) // 5] + fields[-1:])


def closed_form(graph: Graph) -> list[tuple[int, int, int]]:
    """Araujo et al.'s recurrence along a plain chain: (size, jump, start) down the image."""
    size, jump, start, rows = 1, 1, 0, []
    for op in graph.operations:
        if isinstance(op, (Conv2d, MaxPool)):
            size += (op.kernel[0] - 1) * op.dilation[0] * jump
            start -= op.padding[0] * jump
            jump *= op.stride[0]
        rows.append((size, jump, start))
    return rows


layer = st.fixed_dictionaries(
    {
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.tuples(st.integers(1, 2), st.integers(1, 3)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 3)),
        "pad": st.tuples(*[st.integers(0, 3)] * 4),
        "kind": st.sampled_from(["conv", "max", "avg", "residual", "branches", "up", "gate", "adaptive"]),
    }
)


class Random(nn.Module):
    """A chain of layers as hypothesis draws them: dilation, stride, asymmetric padding, branches."""

    def __init__(self, layers: list[dict]) -> None:
        super().__init__()
        self.layers = layers
        self.convs = nn.ModuleList(nn.Conv2d(1, 1, d["kernel"], d["stride"], dilation=d["dilation"]) for d in layers)
        self.small = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for d, conv in zip(self.layers, self.convs, strict=True):
            if d["kind"] == "conv":
                x = conv(F.pad(x, d["pad"]))
            elif d["kind"] == "max":
                x = F.max_pool2d(F.pad(x, d["pad"]), d["kernel"], d["stride"], 0, d["dilation"], ceil_mode=True)
            elif d["kind"] == "avg":
                x = F.avg_pool2d(x, d["kernel"], d["stride"], tuple(k // 2 for k in d["kernel"]))
            elif d["kind"] == "residual":
                x = x + self.small(x).relu()
            elif d["kind"] == "branches":
                x = torch.cat([self.small(x), F.max_pool2d(x, 5, 1, 2), x], dim=1).mean(1, keepdim=True)
            elif d["kind"] == "up":
                x = F.interpolate(x, scale_factor=2, mode="bilinear" if d["pad"][0] % 2 else "nearest")
            elif d["kind"] == "gate":
                x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
            else:
                x = F.adaptive_avg_pool2d(x, d["kernel"])
        return x


def captured(model: nn.Module, shape: tuple[int, int, int]) -> Graph:
    """The graph; a draw whose map shrinks to nothing, or that draws no operation, is given up."""
    try:
        return capture(model, shape)
    except GraphError as error:
        message = str(error)
    assert any(word in message for word in ("size", "small", "greater", "executes nothing")), message
    reject()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(layer, min_size=1, max_size=5))
def test_random_networks(layers: list[dict]) -> None:
    graph = captured(Random(layers), (1, 23, 29))
    assert_proven(graph, receptive_fields(graph))


@settings(max_examples=25, deadline=None)
@given(st.lists(layer.filter(lambda d: d["kind"] in ("conv", "max")), min_size=1, max_size=4))
def test_plain_chains_follow_the_closed_form(layers: list[dict]) -> None:
    chain = [nn.Conv2d(1, 1, d["kernel"], d["stride"], d["pad"][:2], d["dilation"]) for d in layers]
    graph = captured(nn.Sequential(*chain), (1, 64, 64))
    fields = receptive_fields(graph)
    assert [(f.size[0], f.jump[0], f.start[0]) for f in fields] == closed_form(graph)


def test_resizing_and_adaptive_pooling_have_fractional_jumps() -> None:
    class Resized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(F.interpolate(x, size=(56, 42)), (3, 1))

    up, pool = receptive_fields(Resized())
    assert up.jump == (Fraction(1, 2), Fraction(2, 3))
    assert pool.units == (3, 1)
    assert pool.box(0, 0) == (Interval(0, 9), Interval(0, 27))  # rows 0 to 18 of 56, two of them a pixel


def test_effective_field_lies_in_the_box_and_sums_to_one() -> None:
    torch.manual_seed(0)
    model, x = LabNet(), torch.randn(20, 1, 28, 28)
    mass = effective_field(model, x, "8")
    rows, columns = receptive_field(model, "8").box()
    inside = mass[rows.low : rows.high + 1, columns.low : columns.high + 1]
    assert mass.shape == (28, 28)
    assert float(mass.sum()) == pytest.approx(1)
    assert float(inside.sum()) == pytest.approx(1)
    middle = inside[inside.shape[0] // 4 : -inside.shape[0] // 4, inside.shape[1] // 4 : -inside.shape[1] // 4]
    assert middle.mean() > 1.2 * inside.mean()  # Luo et al.: the middle of the box counts most
    assert model.training


def test_effective_field_by_finite_differences() -> None:
    torch.manual_seed(0)
    model, x = LabNet().double(), torch.randn(1, 1, 28, 28)
    mass = effective_field(model.float(), x, "4")
    network = capture(model).build().eval().double()
    step = 1e-4

    def unit(x: Tensor) -> Tensor:
        return network(x, until="4")[0, :, 7, 7].sum()

    slopes = {}
    for other in ((13, 15), (14, 14)):
        nudge = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
        nudge[0, 0, other[0], other[1]] = step
        with torch.no_grad():
            slopes[other] = float((unit(x.double() + nudge) - unit(x.double() - nudge)).abs())
    assert float(mass[13, 15] / mass[14, 14]) == pytest.approx(slopes[13, 15] / slopes[14, 14], rel=1e-3)


def test_no_such_layer() -> None:
    graph = capture(LabNet())
    with pytest.raises(GraphError, match="no operation is called 'x'"):
        receptive_field(graph, "x")
    with pytest.raises(GraphError, match="no operation is called 'x'"):
        footprint(graph, "x")


@pytest.mark.parametrize(("factor", "rows"), [(2.117, 5), (1.19, 5), (1.5, 5), (2.4, 5)])
def test_a_scale_that_copies_each_unit_is_not_taken_by_the_nearest(factor, rows):
    class Up(nn.Module):
        def forward(self, x):
            return F.interpolate(x, scale_factor=factor, mode="nearest")

    graph = capture(Up(), (1, rows, rows))
    (name,) = (op.name for op in graph.operations)
    for unit in range(graph.output_shape[1]):
        x = torch.arange(float(rows)).view(1, 1, rows, 1).expand(1, 1, rows, rows)
        seen = int(Up()(x)[0, 0, unit, 0])
        assert receptive_field(graph, name).rows.unclipped[unit] == (seen, seen)
