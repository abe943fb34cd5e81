"""Each kind of operation knows itself: what it computes, what it costs, what it sees, its first weights."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import StochasticDepth

from lab import operations
from lab.errors import GraphError
from lab.graph import Graph, capture, redrawn
from lab.layers import layer_table
from lab.models import LabNet, SeedNet
from lab.operations import KINDS, Operation
from lab.receptive import as_maps, footprint, receptive_fields

# -- every kind -------------------------------------------------------------------------------------------------------


class Step(nn.Module):
    """A network that applies `layers` to maps (B, 4, 9, 7), moved off the image by a 3x3 convolution first."""

    def __init__(self, forward: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.conv, self.layers, self.step = nn.Conv2d(1, 4, 3), nn.ModuleList(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self.conv(x), *self.layers)


def shuffled(x: Tensor) -> Tensor:
    return x.view(x.size(0), 2, 2, *x.shape[2:]).transpose(1, 2).contiguous().view(x.size(0), -1, *x.shape[2:])


EXAMPLES: dict[str, Callable[[], Step]] = {
    "conv2d": lambda: Step(lambda x, c: c(x), nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)),
    "conv2d on its side": lambda: Step(lambda x, c: c(x.transpose(2, 3)), nn.Conv2d(4, 2, (5, 1), (2, 1))),
    "conv2d along rows": lambda: Step(lambda x, c: c(x.transpose(1, 3)), nn.Conv2d(7, 2, (1, 3))),
    "linear": lambda: Step(lambda x, c: c(x.flatten(1)), nn.Linear(4 * 63, 5)),
    "linear on a map": lambda: Step(lambda x, c: c(x), nn.Linear(7, 5)),
    "linear on channels": lambda: Step(lambda x, c: c(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.Linear(4, 5)),
    "stochastic_depth": lambda: Step(lambda x, d: x + d(x), StochasticDepth(0.3, "row")),
    "batch_norm": lambda: Step(lambda x, c: c(x), nn.BatchNorm2d(4)),
    "group_norm": lambda: Step(lambda x, c: c(x), nn.GroupNorm(2, 4)),
    "layer_norm": lambda: Step(lambda x, c: c(x), nn.LayerNorm([4, 9, 7])),
    "activation": lambda: Step(lambda x: F.leaky_relu(x, 0.2)),
    "prelu": lambda: Step(lambda x, c: c(x), nn.PReLU(4)),
    "max_pool": lambda: Step(lambda x: F.max_pool2d(x, (3, 2), 2, 1, (2, 1), ceil_mode=True)),
    "max_pool without channels": lambda: Step(lambda x: F.max_pool2d(x.mean(1), 2)),
    "avg_pool": lambda: Step(lambda x: F.avg_pool2d(x, 3, (2, 1), 1)),
    "avg_pool without channels": lambda: Step(lambda x: F.avg_pool2d(x[:, 0], 3, 1)),
    "adaptive_pool": lambda: Step(lambda x: F.adaptive_max_pool2d(x, (4, 3))),
    "adaptive_pool without channels": lambda: Step(lambda x: F.adaptive_avg_pool2d(x.mean(1), 3)),
    "dropout": lambda: Step(lambda x: F.dropout(x, 0.3)),
    "reshape": lambda: Step(lambda x: x.reshape(-1, 2, 2, 9, 7).flatten(3).unsqueeze(1)),
    "mean": lambda: Step(lambda x: x.mean((1, 2)) + x.mean((1, 3), keepdim=True).squeeze(3).mean(1)[:, :7]),
    "scale": lambda: Step(lambda x: 1 - x / 3),
    "glu": lambda: Step(lambda x: F.glu(x, 1)),
    "glu along rows": lambda: Step(lambda x: F.glu(x[:, :, 1:], 2)),
    "add": lambda: Step(lambda x: x - 2 * F.max_pool2d(x, 3, 1, 1)),
    "mul": lambda: Step(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()),
    "cat": lambda: Step(lambda x: torch.cat([x, x[:, :, :2]], 2)),
    "pad": lambda: Step(lambda x: F.pad(x, (1, 2, -3, 4))),
    "pad of a vector": lambda: Step(lambda x: F.pad(x.flatten(1), (0, 8))),
    "pad without channels": lambda: Step(lambda x: F.pad(x.mean(1), (2, 0, 1, 0))),
    "interpolate": lambda: Step(lambda x: F.interpolate(F.interpolate(x, scale_factor=2), (5, 20), mode="bilinear")),
    "softmax": lambda: Step(lambda x: x.softmax(1).log_softmax(2)),
    "transpose": lambda: Step(lambda x: F.max_pool2d(shuffled(x).movedim(3, 2), (3, 1)).permute(0, 3, 1, 2)),
    "slice": lambda: Step(lambda x: torch.cat([*x[:, :3].chunk(2, 1)[::-1], *x.split([1, 3], 1)], 1)[:, :, 1:-1:2, -5:]),  # noqa: E501
    "select": lambda: Step(lambda x: x[:, 1, :, -2]),
    "stack": lambda: Step(lambda x: torch.stack([x, F.max_pool2d(x, 3, 1, 1)], 2)[:, :, 1]),
    "expand": lambda: Step(lambda x: x * 2 - x.mean((2, 3))[:, :, None, None].expand_as(x)),
}  # fmt: skip


def captured(example: str) -> tuple[Step, Graph]:
    torch.manual_seed(0)
    model = EXAMPLES[example]()
    return model, capture(model, (1, 11, 9))


def test_every_kind_has_an_example_that_executes_it() -> None:
    for kind in KINDS:
        name = kind.model_fields["kind"].default
        assert name in EXAMPLES, f"a new kind needs an example here: {name}"
        assert any(type(op) is kind for op in captured(name)[1].operations), name
        assert kind.spelled or name == "stochastic_depth", name  # which the translation knows by its noise


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_kind_computes_costs_and_sees_what_pytorch_says(example: str) -> None:
    model, graph = captured(example)
    x, rebuilt = torch.randn(2, 1, 11, 9), graph.build()
    for mode in (True, False):
        outputs = []
        for network in (model.train(mode), rebuilt.train(mode)):
            torch.manual_seed(1)
            outputs.append(network(x))
        torch.testing.assert_close(*outputs)
    with FlopCounterMode(display=False) as counter:
        model.eval()(x[:1])
    assert not any("_" in layer.title for layer in layer_table(graph))  # words, no programmer's names
    assert sum(layer.multiply_adds for layer in layer_table(graph)) == counter.get_total_flops() // 2
    for field in receptive_fields(graph):
        rows, columns = field.units
        for row in {0, rows // 2, rows - 1}:
            for column in {0, columns // 2, columns - 1}:
                assert footprint(graph, field.name, row, column) == field.box(row, column), (field.name, row, column)


def test_a_kind_that_does_not_know_itself_raises() -> None:
    class Blur(Operation):
        kind: Literal["blur"] = "blur"

        def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
            return F.avg_pool2d(inputs[0], 5, 1, 2)

    _, graph = captured("scale")
    blur = Blur(name="blur", inputs=(graph.operations[-1].name,), shape=graph.output_shape)
    blurred = Graph(graph.input_shape, (*graph.operations, blur), graph.tensors, graph.weights)
    with pytest.raises(NotImplementedError, match="Blur does not know its receptive field"):
        layer_table(blurred)
    for ask in (
        lambda: blur.multiply_adds({}),
        lambda: blur.twin([], {}),
        lambda: blur.draw("weight", {}, torch.Generator()),
        lambda: Operation.run(blur, [], {}, False),
        lambda: Blur.read(None, None, {}),  # type: ignore[arg-type]
    ):
        with pytest.raises(NotImplementedError, match="Blur does not know"):
            ask()


@pytest.mark.parametrize(("rows", "unit"), [((3, 5), 0), ((0, 2), 4)])
def test_units_that_a_slice_leaves_out_are_not_seen(rows: tuple[int, int], unit: int) -> None:
    graph = capture(Step(lambda x: F.pad(x[:, :, slice(*rows)], (0, 0, 2, 2))), (1, 11, 9))
    assert footprint(graph, "pad", unit, 3) == receptive_fields(graph)[-1].box(unit, 3)


def test_channel_shuffle_as_torchvision_writes_it() -> None:
    model = torchvision.models.shufflenet_v2_x1_0().eval()
    graph, x = capture(model, (3, 32, 32)), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(graph.build().eval()(x), model(x))
    assert graph.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda x: x.transpose(0, 1), "batch"),
        (lambda x: x.mean((1, 2, 3)).expand(4, -1).transpose(0, 1), "expand adds an axis|batch"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=3), r"test_operations.py, line \d+: .*divisor_override"),
        (lambda x: x[::2], "batch"),
        (lambda x: torch.stack([x, x.relu()]).mean(0), "stack puts the maps in front of the batch"),
    ],
)
def test_a_call_that_no_kind_stands_for_is_refused_with_advice(step: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        capture(Step(step), (1, 11, 9))


def test_an_output_is_shown_as_maps_wherever_its_rows_and_columns_lie() -> None:
    _, graph = captured("linear on channels")
    fields = receptive_fields(graph)
    values = torch.randn(4, 9, 7)
    assert torch.equal(as_maps(fields[0], values), values)
    assert torch.equal(as_maps(fields[1], values.permute(1, 2, 0)), values)  # (rows, columns, channels)
    _, graph = captured("select")  # [:, 1, :, -2]: rows only
    assert as_maps(receptive_fields(graph)[-1], values[0, :, 0]).shape == (1, 9, 1)
    _, graph = captured("linear")
    assert as_maps(receptive_fields(graph)[-1], torch.randn(5)).shape == (5, 1, 1)


def test_the_list_in_words_names_every_family() -> None:
    for word in ("convolution", "pooling", "batch norm", "transpose", "slices", "stack", "log-softmax"):
        assert word in operations.ALLOWED


# -- first weights ----------------------------------------------------------------------------------------------------


class Norms(nn.Module):
    """Everything that stores tensors, its layers in the order of execution, and two tensors that belong to none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, (3, 5), groups=1)
        self.bn = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4, bias=False)
        self.gn = nn.GroupNorm(4, 8)
        self.prelu = nn.PReLU(8)
        self.ln = nn.LayerNorm([24, 22])
        self.fc = nn.Linear(8 * 24 * 22, 10)
        self.shift = nn.Parameter(torch.zeros(8, 1, 1))
        self.register_buffer("factor", torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln(self.prelu(self.gn(self.grouped(self.bn(self.conv(x))))))
        return self.fc((x * self.factor + self.shift).flatten(1))


@pytest.mark.parametrize("build", [SeedNet, LabNet, Norms])
def test_first_weights_are_the_very_ones_that_pytorch_draws(build: type[nn.Module]) -> None:
    torch.manual_seed(7)
    fresh = capture(build())
    spoilt = build()
    with torch.no_grad():
        for tensor in [*spoilt.parameters(), *spoilt.buffers()]:
            tensor.fill_(3)
    for parameter in list(spoilt.parameters())[::2]:
        parameter.requires_grad_(False)
    drawn = redrawn(capture(spoilt), 7)
    assert list(drawn.weights) == list(fresh.weights)
    for name, weight in fresh.weights.items():
        assert torch.equal(drawn.weights[name], weight), name
    assert drawn.operations == capture(spoilt).operations


def test_the_seed_alone_decides_and_the_global_random_numbers_are_left_alone() -> None:
    graph, state = capture(LabNet()), torch.get_rng_state()
    a, b, other = redrawn(graph, 1), redrawn(graph, 1), redrawn(graph, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a.weights[name], b.weights[name]) for name in graph.weights)
    assert not torch.equal(a.weights["0.weight"], other.weights["0.weight"])


def test_a_tensor_with_two_uses_is_drawn_once_for_the_first_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(784, 784)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc(x.flatten(1))
            return self.fc(x * self.fc.bias) + self.fc.bias

    torch.manual_seed(3)
    model = Tied()
    weights = redrawn(capture(model), 3).weights
    assert torch.equal(weights["fc.bias"], model.fc.bias)
    assert torch.equal(weights["fc.weight"], model.fc.weight)
