"""Every number that a person or training may choose is counted, and nothing else is."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import models
from lab._defaults import DefaultsError
from lab.graph import Graph, Idle, capture, load, parse, save
from lab.layers import layer_table
from lab.operations import KINDS, Activation, Operation
from lab.parameters import HANDFUL, SLOWEST, Count
from lab.rules import judge, load_rubric

RNG = random.Random(0)


class Net(nn.Module):
    """A small honest network, through whose map of 8x7x7 a test sends `step`."""

    def __init__(self, step: Callable[[Tensor], Tensor] | None = None, **layers: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8 * 7 * 7, 10)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.step = step or (lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.step(F.max_pool2d(self.bn(self.conv(x)).relu(), 4)).flatten(1))


HONEST = 80 + 16 + 3930


def counted(model: nn.Module, shape: tuple[int, int, int] = (1, 28, 28)) -> Count:
    """What is counted, once the layer table has been found to add up to the same."""
    graph = capture(model, shape)
    assert sum(layer.parameters for layer in layer_table(graph)) == graph.parameters == graph.counted().total
    return graph.counted()


def chain(numbers: list[float], each: Callable[[Tensor, float], Tensor]) -> nn.Module:
    """`each` on the map, one number after the other, and the results added up."""

    def step(x: Tensor) -> Tensor:
        total = x
        for number in numbers:
            total = total + each(x, number)
        return total

    return Net(step)


def different(n: int) -> list[float]:
    """Numbers that are no default of PyTorch's."""
    return [RNG.uniform(0.1, 0.9) for _ in range(n)]


# -- numbers written in forward ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "each",
    [
        lambda x, w: x * w,
        lambda x, w: x / w,
        lambda x, w: x + w,
        lambda x, w: w - x,  # as many factors, all -1: they count once
        lambda x, w: F.leaky_relu(x, w),
        lambda x, w: F.elu(x, w),
        lambda x, w: F.hardtanh(x, -1.5, w),
        lambda x, w: F.softplus(x, w),
        lambda x, w: torch.add(x, x, alpha=w),
        lambda x, w: F.pad(x, (1, 0), value=w)[..., 1:],
        lambda x, w: F.layer_norm(x, (7,), eps=w),
        lambda x, w: F.pad(x, (-3, -3, -3, -3)) * w,  # one pixel of every channel
    ],
    ids=["mul", "div", "add", "rsub", "leaky_relu", "elu", "hardtanh", "softplus", "alpha", "pad", "eps", "crop"],
)
def test_every_number_in_forward_counts_beyond_a_handful(each: Callable[[Tensor, float], Tensor]) -> None:
    many = counted(chain(different(HANDFUL + 4), each)).written
    assert many - (HANDFUL + 4) in (0, 1)  # `w - x` and hardtanh have a second number, the same everywhere
    assert counted(chain(different(HANDFUL - 4), each)).total == HONEST


def test_a_pixel_times_a_number_is_a_weight() -> None:
    numbers = [RNG.gauss(0, 1) for _ in range(64)]

    class Floats(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            for i in range(64):
                row, column = 3 * (i // 8), 3 * (i % 8)
                y = y + F.pad(x, (-column, column - 27, -row, row - 27)).flatten(1) * numbers[i]
            return y

    found = counted(Floats())
    assert found == Count(learnable=HONEST, written=64)
    verdict = judge(load_rubric(), capture(Floats()))[0]
    assert verdict.figure == "4,090 (of these 64 are numbers written in forward)"


def test_a_network_of_few_different_numbers_counts_them_where_they_stand() -> None:
    coarse = [(0.25, 0.5, 0.75, 1.5)[i % 4] for i in range(40)]
    assert counted(chain(coarse, lambda x, w: x * w)).written == 31  # ten times the commonest: it counts once


def test_one_number_in_many_places_is_one_number() -> None:
    same = [0.2] * 40
    assert counted(chain(same, F.leaky_relu)).total == HONEST
    assert counted(chain(same, lambda x, w: x * w)).total == HONEST
    relu6 = nn.Sequential(*[nn.ReLU6() for _ in range(40)])
    assert counted(Net(relu6, relu6=relu6)).total == HONEST


def test_the_constants_of_normalisation_are_free() -> None:
    class Normalised(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.1307]).view(1, 1, 1))
            self.register_buffer("std_inverse", torch.tensor([3.2457]).view(1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward((x - self.mean) * self.std_inverse - 0.01) / 1.5

    assert counted(Normalised()).total == HONEST


def test_buffers_and_written_numbers_share_the_handful() -> None:
    class Both(Net):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.register_buffer("scale", torch.rand(8, 1, 1))
            self.numbers = different(n)
            self.step = self.scaled

        def scaled(self, x: Tensor) -> Tensor:
            x = x * self.scale
            for number in self.numbers:
                x = x * number
            return x

    assert counted(Both(HANDFUL - 8)).total == HONEST
    assert counted(Both(HANDFUL - 7)) == Count(learnable=HONEST, buffers=8, written=HANDFUL - 7)


def test_a_kind_with_a_real_number_counts_it_unless_it_says_otherwise() -> None:
    class Power(Operation):  # a kind as somebody could add it
        kind: str = "power"
        exponent: float

    power = Power(name="p", inputs=("input",), shape=(1,), exponent=0.3)
    assert power.written() == [("Power.exponent.0", 0.3)]
    assert Activation(name="a", inputs=("input",), shape=(1,), function="elu", arguments=(0.3,)).written()
    told = {kind.__name__: kind.of_training for kind in KINDS if kind.of_training}
    assert told == {"BatchNorm": ("momentum",), "Dropout": ("p",)}  # add to this only what eval mode never reads


# -- statistics -------------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    """7,840 weights, and between them and the image a batch norm that a test chooses: over pixels, or one channel."""

    def __init__(self, norm: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.norm, self.fc, self.activation = norm, nn.Linear(784, 10, bias=False), activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1) if isinstance(self.norm, nn.BatchNorm1d) else x
        return self.fc(self.activation(self.norm(x)).flatten(1))


@pytest.mark.parametrize(
    ("norm", "statistics"),
    [
        (nn.BatchNorm1d(784, affine=False), 0),  # folds into the linear layer that reads it
        (nn.BatchNorm1d(784), 0),  # folds into its own scale and shift
        (nn.BatchNorm1d(784, affine=False, momentum=0.0), 1568),
        (nn.BatchNorm1d(784, affine=False, momentum=SLOWEST / 2), 1568),
        (nn.BatchNorm1d(784, affine=False, momentum=-0.1), 1568),
        (nn.BatchNorm1d(784, momentum=0.0), 1568),
        (nn.BatchNorm1d(784, affine=False, momentum=3e-4), 0),  # torchvision's MNASNet has as little
        (nn.BatchNorm1d(784, affine=False, momentum=None), 0),
        (nn.BatchNorm2d(1, affine=False), 0),
        (nn.BatchNorm2d(1, momentum=0.0), 2),
    ],
)
def test_statistics_that_nothing_gathers_count(norm: nn.Module, statistics: int) -> None:
    found = counted(Normed(norm))
    assert found.statistics == statistics
    assert found.learnable == 7840 + sum(p.numel() for p in norm.parameters())


def test_a_batch_norm_over_single_pixels_without_scale_and_shift_is_a_picture() -> None:
    found = counted(Normed(nn.BatchNorm1d(784, affine=False), nn.ReLU()))
    assert found == Count(learnable=7840, statistics=1568)
    assert found.text == "9,408 (of these 1,568 are running statistics that count as weights)"
    assert counted(Normed(nn.BatchNorm1d(784), nn.ReLU())).total == 7840 + 1568  # its own scale and shift


def test_two_stores_on_one_map() -> None:
    class Store(Net):
        def __init__(self, momentum: float) -> None:
            super().__init__()
            self.one = nn.BatchNorm1d(8 * 49, affine=False, momentum=momentum)
            self.two = nn.BatchNorm1d(8 * 49, affine=False, momentum=momentum)
            self.step = lambda x: self.two(self.one(x.flatten(1)).relu()).view(-1, 8, 7, 7).relu()

    for momentum in (0.0, 0.1):
        assert counted(Store(momentum)) == Count(learnable=HONEST, statistics=4 * 8 * 49)


def test_statistics_fold_into_a_place_only_once() -> None:
    norms = nn.ModuleList(nn.BatchNorm2d(8, affine=False) for _ in range(5))

    def step(x: Tensor) -> Tensor:
        total = x
        for norm in norms:
            total = total + norm(x)
        return total

    assert counted(Net(step, norms=norms)).statistics == 4 * 16  # the first one's fold into the convolution

    class SharedScale(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(5))
            for norm in self.norms:
                norm.weight, norm.bias = self.bn.weight, self.bn.bias
            self.step = lambda x: sum((norm(x) for norm in self.norms), x)

    assert counted(SharedScale()).statistics == 4 * 16


@pytest.mark.parametrize(
    "spread",
    [
        lambda x: x[:, :1].expand(-1, 64, -1, -1),
        lambda x: torch.cat([x] * 8, 1),
        lambda x: x.reshape(-1, 56, 7, 1),
        lambda x: x.transpose(1, 2),
        lambda x: x[:, :, 3:4, 3:4],
        lambda x: F.pad(x, (-3, -3, -3, -3)),
    ],
    ids=["expand", "cat", "reshape", "transpose", "slice", "crop"],
)
def test_channels_that_no_weights_made_hold_no_statistics(spread: Callable[[Tensor], Tensor]) -> None:
    size = spread(torch.zeros(1, 8, 7, 7)).shape[1]
    norm = nn.BatchNorm2d(size, affine=False)
    model = Net(lambda x: x * norm(spread(x)).relu().mean((1, 2, 3), keepdim=True), norm=norm)
    assert counted(model).statistics == 2 * size


def test_batch_norms_of_honest_networks_are_free_with_or_without_scale_and_shift() -> None:
    for affine in (True, False):
        net = nn.Sequential(
            nn.BatchNorm2d(1, affine=affine),
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.BatchNorm2d(8, affine=affine),
            nn.Dropout2d(0.1),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.BatchNorm2d(8, affine=affine),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 32),
            nn.BatchNorm1d(32, affine=affine),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
        assert counted(net).total == sum(p.numel() for p in net.parameters())


# -- honest networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [models.LabNet, models.PeakNet, models.SeedNet, models.SprintNet, models.TinyNet])
def test_the_labs_networks_count_as_pytorch_says(build: Callable[[], nn.Module]) -> None:
    model = build()
    assert counted(model).text == f"{sum(p.numel() for p in model.parameters()):,}"


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "squeezenet1_1",
        "shufflenet_v2_x0_5",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v2", "mnasnet0_5", "vgg11")),
    ],
)
def test_torchvisions_networks_count_as_pytorch_says(name: str) -> None:
    model = getattr(pytest.importorskip("torchvision.models"), name)()
    assert counted(model, (3, 64, 64)).text == f"{sum(p.numel() for p in model.parameters()):,}"


# -- what is idle -----------------------------------------------------------------------------------------------------


def idle_graph() -> Graph:
    """A graph with an idle layer."""
    return capture(Net(None, spare=nn.Linear(3, 3)))


def test_what_is_idle_is_data_and_survives_saving(tmp_path: Path) -> None:
    graph = idle_graph()
    reason = "declared, and the output does not depend on it"
    assert graph.idle == (Idle(kind="Linear", name="spare", reason=reason),)
    assert load(save(graph, tmp_path)).idle == graph.idle
    document = json.loads((tmp_path / "graph.json").read_bytes())
    assert (document["version"], document["idle"]) == (2, [{"kind": "Linear", "name": "spare", "reason": reason}])


def test_a_graph_of_version_1_is_still_read(tmp_path: Path) -> None:
    graph = idle_graph()
    document = json.loads((save(graph, tmp_path) / "graph.json").read_bytes())
    document |= {"version": 1, "idle": [graph.idle[0].text, "in no form at all"]}
    (tmp_path / "graph.json").write_text(json.dumps(document))
    known, other = load(tmp_path).idle
    assert known == graph.idle[0]
    assert "in no form at all" in other.text
    del document["idle"]
    assert parse(json.dumps(document).encode()).idle == ()


def test_words_of_what_is_idle_are_short_and_harmless(tmp_path: Path) -> None:
    class Sp(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    Sp.__name__ = "Sp\x1b[31m\nPASS"
    graph = capture(Net(None, **{"a" * 5000: Sp(), "b\x1b]0;x\x07\n": nn.Linear(1, 1)}))
    assert [idle.kind for idle in graph.idle] == ["Sp [31m PASS", "Linear"]
    assert all(idle.text.isprintable() and len(idle.text) < 310 for idle in graph.idle)
    assert load(save(graph, tmp_path)).idle == graph.idle


def test_capture_tells_that_a_default_of_torchs_was_changed() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(DefaultsError, match="set_default_dtype"):
            capture(models.LabNet())
    finally:
        torch.set_default_dtype(torch.float32)
    torch.set_default_device("meta")
    try:
        with pytest.raises(DefaultsError, match="set_default_device"):
            capture(models.LabNet())
    finally:
        torch.set_default_device(None)
