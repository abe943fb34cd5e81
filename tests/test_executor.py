"""The page's executor computes what PyTorch computes: every kind of operation, every network of the lab's."""

import json
import random
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nodejs import answers
from test_operations import EXAMPLES, captured
from torch import Tensor, nn

from lab import models, operations
from lab.graph import Graph, capture
from lab.operations import ACTIVATIONS, ARGUMENTS, INPUT, KINDS, USUAL_ARGUMENTS, Operation
from lab.parameters import Stored
from lab.widgets.answer import WidgetError
from lab.widgets.packing import MAX_NUMBERS, packed

Fields = dict[str, Any]


def case(graph: Graph, image: Tensor, task: str = "run") -> Fields:
    """A task for `nodejs.answers`. image: (1, *input_shape)."""
    carried = packed(graph)
    return {"task": task, "graph": carried.graph, "weights": carried.weights, "image": image.flatten().tolist()}


@torch.no_grad()
def every_value(graph: Graph, image: Tensor) -> dict[str, Tensor]:
    """The output of every operation, in eval mode."""
    values = {INPUT: image}
    for op in graph.operations:
        values[op.name] = op.run([values[name] for name in op.inputs], graph.weights, False)
    return values


def assert_same(graphs: dict[str, Graph], folder: Path) -> None:
    """Every value of every operation, within 1e-4 of the largest number in it."""
    images = {name: torch.randn(1, *graph.input_shape) for name, graph in graphs.items()}
    every = answers([case(graph, images[name]) for name, graph in graphs.items()], folder)
    for (name, graph), answer in zip(graphs.items(), every, strict=True):
        assert "error" not in answer, (name, answer)
        for operation, wanted in every_value(graph, images[name]).items():
            given = torch.tensor([float(number) for number in answer["answer"][operation]])
            size = max(float(wanted.abs().max()), 0.01)  # what cancels to nothing is float32's noise
            assert given.isfinite().all()
            assert float((given - wanted.flatten()).abs().max()) <= 1e-4 * size, (name, operation)


# -- random graphs: operations of every kind, one after the other -----------------------------------------------------


class Drawing:
    """A chain of random operations on a map (4, 9, 7), or on whatever shape it has become."""

    def __init__(self, seed: int) -> None:
        self.random, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.operations: list[Operation] = []
        self.weights: dict[str, Tensor] = {}
        self.values = {INPUT: torch.randn(1, 4, 9, 7, generator=self.generator)}

    @property
    def last(self) -> str:
        return list(self.values)[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values[self.last].shape[1:])

    def stored(self, *shape: int, positive: bool = False) -> str:
        """The name of a new random tensor."""
        name = f"t{len(self.weights)}"
        value = torch.randn(shape, generator=self.generator) / max(1, shape[-1]) ** 0.5
        self.weights[name] = value.abs() + 0.5 if positive else value
        return name

    def maybe(self, *shape: int) -> str | None:
        return self.stored(*shape) if self.random.random() < 0.6 else None

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.random.randint(low, high), self.random.randint(low, high)

    def axis(self) -> int:
        return self.random.randint(1, len(self.shape))

    def add(self, kind: type[Operation], fields: Fields) -> None:
        """Append an operation; one that PyTorch can't run on this shape is left out."""
        inputs = fields.pop("inputs", (self.last,))
        shape = fields.pop("shape", (1,))
        op = kind(name=f"o{len(self.operations)}", inputs=inputs, shape=shape, **fields)
        try:
            with torch.no_grad():
                out = op.run([self.values[name] for name in inputs], self.weights, False)
        except (RuntimeError, IndexError, ValueError):
            return
        if out.numel() and len(out) == 1 and 1 < out.dim() < 7 and out.numel() < 20_000 and out.isfinite().all():
            self.operations.append(op.model_copy(update={"shape": tuple(out.shape[1:])}))
            self.values[op.name] = out

    def graph(self) -> Graph:
        read = {name for op in self.operations for name in op.stored()}
        weights = {name: value for name, value in self.weights.items() if name in read}
        tensors = {name: Stored(shape=tuple(value.shape), learnable=True) for name, value in weights.items()}
        return Graph((4, 9, 7), tuple(self.operations), tensors, weights)


def convolution(d: Drawing) -> Fields:
    groups = d.random.choice([g for g in (1, 2, 3) if d.shape[0] % g == 0])
    channels, kernel = groups * d.random.randint(1, 4), d.pair(1, 4)
    return {
        "weight": d.stored(channels, d.shape[0] // groups, *kernel), "bias": d.maybe(channels), "kernel": kernel,
        "stride": d.pair(1, 3), "padding": d.pair(0, 3) + d.pair(0, 3), "dilation": d.pair(1, 2), "groups": groups,
    }  # fmt: skip


def norm(d: Drawing, *shape: int) -> Fields:
    return {"weight": d.maybe(*shape), "bias": d.maybe(*shape), "eps": d.random.choice([1e-5, 0.1])}


def batch_norm(d: Drawing) -> Fields:
    c = d.shape[0]
    statistics = {"running_mean": d.stored(c), "running_var": d.stored(c, positive=True), "momentum": 0.1}
    return norm(d, c) | statistics | {"training": d.random.choice(["follow", "never", "always"])}


def activation(d: Drawing) -> Fields:
    function = d.random.choice(list(ACTIVATIONS))
    usual = [(), *USUAL_ARGUMENTS.get(function, ())]
    return {"function": function, "arguments": d.random.choice(usual) if function in ARGUMENTS else ()}


def pool(d: Drawing) -> Fields:
    kernel = d.pair(1, 4)
    padding = tuple(d.random.randint(0, k // 2) for k in kernel)
    return {"kernel": kernel, "stride": d.pair(1, 3), "padding": padding, "ceil_mode": d.random.random() < 0.5}


def same_shape(d: Drawing) -> str:
    return d.random.choice([name for name, value in d.values.items() if tuple(value.shape[1:]) == d.shape])


def pairwise(d: Drawing) -> Fields:
    if d.random.random() < 0.5:
        return {"inputs": (d.last, same_shape(d)), "tensor": None}
    return {"tensor": d.stored(*(d.random.choice([1, n]) for n in d.shape))}


def interpolate(d: Drawing) -> Fields:
    mode, size = d.random.choice(["nearest", "bilinear"]), d.pair(1, 14)
    scale = (d.random.uniform(0.5, 2.2), d.random.choice([0.5, 1.5, 2.0]))
    given = len(d.shape) == 3 and d.random.random() < 0.5
    if given:
        size = (int(d.shape[1] * scale[0]), int(d.shape[2] * scale[1]))
    corners = mode == "bilinear" and d.random.random() < 0.5
    return {"mode": mode, "size": size, "scale": scale if given else None, "align_corners": corners}


def sliced(d: Drawing) -> Fields:
    axis = d.axis()
    n = d.shape[axis - 1]
    start = d.random.randrange(n)
    return {"axis": axis, "start": start, "stop": d.random.randint(start + 1, n), "step": d.random.randint(1, 3)}


def selected(d: Drawing) -> Fields:
    axis = d.axis()
    return {"axis": axis, "index": d.random.randrange(d.shape[axis - 1])}


def reshaped(d: Drawing) -> Fields:
    n = torch.Size(d.shape).numel()
    first = d.random.choice([i for i in range(1, n + 1) if n % i == 0])
    second = d.random.choice([i for i in range(1, n // first + 1) if n // first % i == 0])
    return {"shape": d.random.choice([(n,), (first, n // first), (first, second, n // first // second)])}


def transposed(d: Drawing) -> Fields:
    axes = list(range(1, len(d.shape) + 1))
    return {"order": tuple(d.random.sample(axes, len(axes)))}


DRAWN: dict[str, Callable[[Drawing], Fields]] = {
    "conv2d": convolution,
    "linear": lambda d: {"weight": d.stored(n := d.random.randint(1, 8), d.shape[-1]), "bias": d.maybe(n)},
    "batch_norm": batch_norm,
    "group_norm": lambda d: (
        norm(d, d.shape[0]) | {"groups": d.random.choice([g for g in (1, 2, 4) if d.shape[0] % g == 0])}
    ),
    "layer_norm": lambda d: norm(d, *d.shape[(k := d.axis()) - 1 :]) | {"normalized": d.shape[k - 1 :]},
    "activation": activation,
    "prelu": lambda d: {"weight": d.stored(d.random.choice([1, d.shape[0]]))},
    "max_pool": lambda d: pool(d) | {"dilation": d.pair(1, 2)},
    "avg_pool": lambda d: pool(d) | {"count_include_pad": d.random.random() < 0.5},
    "adaptive_pool": lambda d: {"reduce": d.random.choice(["avg", "max"]), "size": d.pair(1, 9)},
    "dropout": lambda d: {"p": d.random.random(), "channels": d.random.random() < 0.5, "training": "follow"},
    "stochastic_depth": lambda d: {"keep": 0.5, "training": "never"},
    "reshape": reshaped,
    "mean": lambda d: {
        "axes": tuple(sorted(d.random.sample(range(1, len(d.shape) + 1), d.random.randint(1, len(d.shape))))),
        "keepdim": d.random.random() < 0.5,
    },
    "scale": lambda d: {"factor": d.random.uniform(-2, 2), "shift": d.random.uniform(-1, 1)},
    "glu": lambda d: {"axis": d.axis()},
    "add": lambda d: pairwise(d) | {"alpha": d.random.choice([1.0, -1.0, 0.3])},
    "mul": pairwise,
    "cat": lambda d: {"inputs": (d.last, same_shape(d), d.last), "axis": d.axis()},
    "pad": lambda d: {
        "padding": tuple(d.random.randint(-2, 3) * (i > 1 or len(d.shape) > 1) for i in range(4)),
        "value": d.random.choice([0.0, 0.7]),
    },
    "interpolate": interpolate,
    "softmax": lambda d: {"axis": d.axis(), "log": d.random.random() < 0.5},
    "transpose": transposed,
    "slice": sliced,
    "select": selected,
    "stack": lambda d: {"inputs": (d.last, same_shape(d)), "axis": d.random.randint(1, len(d.shape) + 1)},
    "expand": lambda d: {"shape": tuple(d.random.randint(2, 4) if n == 1 else n for n in d.shape)},
}


def kind_name(kind: type[Operation]) -> str:
    return str(kind.model_fields["kind"].default)


def drawn(seed: int, kind: type[Operation], before: int = 4) -> Graph:
    """Some random operations, one of `kind`, and the shape that they led to."""
    drawing = Drawing(seed)
    for step in range(200):
        chosen = kind if step >= before else drawing.random.choice(KINDS)
        drawing.add(chosen, DRAWN[kind_name(chosen)](drawing))
        if type(drawing.operations[-1] if drawing.operations else None) is kind:
            return drawing.graph()
        if step >= before:  # this kind does not take the shape
            drawing = Drawing(seed + 1000 * step)
    raise AssertionError(f"no random graph with {kind.__name__}")


def test_every_kind_is_drawn_and_executed() -> None:
    kinds = {kind_name(kind) for kind in KINDS}
    assert set(DRAWN) == kinds
    source = (Path(operations.__file__).parent / "widgets" / "static" / "network.js").read_text(encoding="utf-8")
    assert all(f"  {function}" in source for function in ACTIVATIONS)


def test_random_graphs_of_every_kind_give_what_pytorch_gives(tmp_path: Path) -> None:
    graphs = {f"{kind.__name__}, seed {seed}": drawn(seed, kind) for kind in KINDS for seed in range(25)}
    assert {type(op) for graph in graphs.values() for op in graph.operations} == set(KINDS)
    assert_same(graphs, tmp_path)


def test_every_activation_on_numbers_near_and_far(tmp_path: Path) -> None:
    cases, wanted = [], []
    numbers = torch.cat([torch.linspace(-8, 8, 129), torch.tensor([-1e4, -100, -30, 30, 100, 1e4])])
    for function in ACTIVATIONS:
        for arguments in [(), *USUAL_ARGUMENTS.get(function, ())]:
            op = operations.Activation(
                name="f", inputs=(INPUT,), shape=(1, 1, len(numbers)), function=function, arguments=arguments
            )
            cases.append(case(Graph((1, 1, len(numbers)), (op,), {}, {}), numbers))
            wanted.append(op.run([numbers], {}, False))
    for answer, right in zip(answers(cases, tmp_path), wanted, strict=True):
        given = torch.tensor([float(number) for number in answer["answer"]["f"]])
        torch.testing.assert_close(given, right, atol=2e-6, rtol=1e-5)


def test_captured_examples_of_every_kind_give_what_pytorch_gives(tmp_path: Path) -> None:
    fixed = [name for name in EXAMPLES if name != "dropout"]  # which is random in eval mode, too: see below
    assert_same({name: captured(name)[1] for name in fixed}, tmp_path)


def own_networks() -> dict[str, nn.Module]:
    """The lab's networks that need no arguments, with running statistics that are not the first ones."""
    found = {}
    for name in dir(models):
        made = getattr(models, name)
        if isinstance(made, type) and issubclass(made, nn.Module) and made.__module__ == models.__name__:
            try:
                found[name] = made()
            except TypeError:
                continue
    for network in found.values():
        with torch.no_grad():
            network(torch.rand(64, 1, 28, 28))
    return found


def test_the_lab_s_networks_give_what_pytorch_gives(tmp_path: Path) -> None:
    networks = own_networks()
    assert {"LabNet", "SeedNet", "SprintNet", "PeakNet", "TinyNet"} <= set(networks)
    assert_same({name: capture(network) for name, network in networks.items()}, tmp_path)


# -- what is random, and what is wrong --------------------------------------------------------------------------------


def test_what_drops_whatever_the_mode_drops_here_too(tmp_path: Path) -> None:
    flat = (1, 20, 500)
    numbers = operations.Dropout(name="d", inputs=(INPUT,), shape=flat, p=0.25, channels=False, training="always")
    channels = operations.Dropout(
        name="d", inputs=(INPUT,), shape=(500, 4, 5), p=0.25, channels=True, training="always"
    )
    depth = operations.StochasticDepth(name="d", inputs=(INPUT,), shape=(1, 1, 1), keep=0.5, training="always")
    cases = [case(Graph(op.shape, (op,), {}, {}), torch.ones(op.shape)) for op in (numbers, channels)]
    cases += [case(Graph((1, 1, 1), (depth,), {}, {}), torch.ones(1))] * 60
    given = [torch.tensor([float(n) for n in answer["answer"]["d"]]) for answer in answers(cases, tmp_path)]
    for values in (given[0], given[1].reshape(500, 20)[:, 0]):
        assert set(values.round(decimals=4).tolist()) == {0.0, torch.tensor(4 / 3).round(decimals=4).item()}
        assert 0.6 < float((values > 0).float().mean()) < 0.9
    assert (given[1].reshape(500, 20) == given[1].reshape(500, 20)[:, :1]).all()
    assert {float(values[0]) for values in given[2:]} == {0.0, 2.0}


def test_what_can_not_be_executed_is_told(tmp_path: Path) -> None:
    good = case(capture(models.TinyNet()), torch.zeros(784))

    def spoilt(change: Callable[[Fields], Any]) -> Fields:
        bad: Fields = json.loads(json.dumps(good))
        change(bad)
        return bad

    wrong = {
        "no graph of the lab's": lambda c: c["graph"].update(version=3),
        "the kind blur is unknown": lambda c: c["graph"]["operations"][0].update(kind="blur"),
        "the kind toString is unknown": lambda c: c["graph"]["operations"][0].update(kind="toString"),
        "its input nowhere comes from nowhere": lambda c: c["graph"]["operations"][0].update(inputs=["nowhere"]),
        "there is no tensor gone": lambda c: c["graph"]["operations"][0].update(weight="gone"),
        "has 0 bytes, expected": lambda c: c["weights"].pop("0.weight"),
        "the image has 783 numbers, expected 1x28x28": lambda c: c["image"].pop(),
        "the function sine is unknown": lambda c: c["graph"]["operations"][2].update(function="sine"),
        "gives 6272 numbers, expected 3": lambda c: c["graph"]["operations"][1].update(shape=[3]),
    }
    given = answers([spoilt(change) for change in wrong.values()], tmp_path)
    for words, answer in zip(wrong, given, strict=True):
        assert answer["error"].startswith("NetworkError: ")
        assert words in answer["error"]


def test_a_page_carries_every_number_and_no_source(tmp_path: Path) -> None:
    graph = capture(models.TinyNet())
    carried = packed(graph)
    for name, weight in graph.weights.items():
        assert b64decode(carried.weights[name]) == weight.numpy().tobytes()
    assert "line" not in carried.graph["operations"][0]


def test_what_a_page_does_not_carry() -> None:
    network = models.TinyNet()
    with torch.no_grad():
        network[-1].bias[3] = torch.nan
    with pytest.raises(WidgetError, match="diverged"):
        packed(capture(network))
    wide = nn.Sequential(nn.Flatten(), nn.Linear(784, 1300), nn.Linear(1300, 10))
    with pytest.raises(WidgetError, match=rf"a page carries {MAX_NUMBERS:,} at most"):
        packed(capture(wide))


def test_labnet_answers_an_image_in_under_15_ms(tmp_path: Path) -> None:
    task = case(capture(models.LabNet()), torch.rand(784), "time") | {"times": 60}
    (median,) = answers([task], tmp_path)
    print(f"LabNet, one image: {median['answer']:.1f} ms")
    assert median["answer"] < 15
