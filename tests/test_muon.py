"""Muon: the same as its formulas, filter by filter."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lab.models import SprintNet
from lab.muon import COEFFICIENTS, Muon, orthogonal


def reference(p: Tensor, momentum: Tensor, gradient: Tensor, rate: float, beta: float) -> None:
    """One filter's step as Jordan et al. (2024) write it, on plain matrices."""
    momentum.mul_(beta).add_(gradient, alpha=1 - beta)
    x = ((1 - beta) * gradient + beta * momentum).flatten(1)
    x = x / x.norm()
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    p -= rate * x.view_as(p)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_the_formulas(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 5), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 8, 1), nn.Conv2d(8, 12, 3, groups=4))
    ours = [layer.weight for layer in model.to(memory_format=layout)]  # type: ignore[call-overload]
    theirs = [p.detach().clone(memory_format=torch.contiguous_format) for p in ours]
    momenta = [torch.zeros_like(p) for p in theirs]
    optimizer = Muon(ours, lr=0.05, momentum=0.8)
    for _ in range(3):
        for p, q, m in zip(ours, theirs, momenta, strict=True):
            gradient = torch.randn(p.shape)
            p.grad = gradient.contiguous(memory_format=torch.channels_last)
            reference(q, m, gradient, 0.05, 0.8)
        optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), q, atol=1e-5, rtol=1e-4)


def test_orthogonal_brings_every_direction_near_one_and_leaves_zeros_alone() -> None:
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, n)).Q for n in (20, 50))
    values = torch.logspace(0, -2, 20)
    matrix = u @ torch.diag(values) @ v[:20]
    filled = torch.zeros(2, 30, 60)
    filled[0, :20, :50] = matrix
    result = orthogonal(filled)
    found = torch.linalg.svdvals(result[0, :20, :50])
    assert 0.3 < found.min() < found.max() < 1.3  # from 100 to 1 apart
    assert result[0, 20:].abs().max() == result[0, :, 50:].abs().max() == result[1].abs().max() == 0
    torch.testing.assert_close(result[0, :20, :50], orthogonal(matrix[None])[0], atol=1e-5, rtol=1e-4)


def test_filters_without_a_gradient_stay_and_the_rest_of_the_network_is_not_touched() -> None:
    model = SprintNet()
    before = copy.deepcopy(model.state_dict())
    first, second = [layer.weight for layer in model if isinstance(layer, nn.Conv2d)][:2]
    second.grad = torch.randn_like(second)
    Muon([first, second], lr=0.1).step()
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["2.weight"]
