"""Each kind of operation knows itself: its first weights."""

import pytest
import torch
from torch import Tensor, nn

from lab.graph import capture, redrawn
from lab.models import LabNet, SeedNet

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
