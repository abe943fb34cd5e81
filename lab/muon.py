"""Muon: an optimizer that moves a convolution's filters in all directions alike (Jordan et al. 2024).

Gradients of filters are nearly of low rank: a few patterns get nearly all of the step. Muon replaces the step by the
nearest matrix with orthogonal rows, so that rare patterns are learnt as fast as common ones.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a x + b x^3 + c x^5, from Jordan et al. (2024): repeated, it takes any x in 0..1 to 0.7..1.2."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, for the weights (out, in, kH, kW) of convolutions.

    All filters lie in one batch of matrices, filled up with zeros, which change nothing: few large operations a step
    instead of many small ones.
    """

    def __init__(self, filters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(filters, {"lr": lr, "momentum": momentum})
        self.filters: list[nn.Parameter] = self.param_groups[0]["params"]
        rows, columns = (max(p.flatten(1).shape[axis] for p in self.filters) for axis in (0, 1))
        self.momentum = self.filters[0].new_zeros(len(self.filters), rows, columns)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # its loss is never asked for
        """Move every filter by `lr` times its orthogonal step; one without a gradient counts as a gradient of zeros."""
        rate, momentum = self.param_groups[0]["lr"], self.param_groups[0]["momentum"]
        gradients = torch.zeros_like(self.momentum)  # (L, R, C)
        for place, p in zip(gradients, self.filters, strict=True):
            if p.grad is not None:
                _corner(place, p).copy_(p.grad)
        self.momentum.lerp_(gradients, 1 - momentum)
        steps = orthogonal(gradients.lerp_(self.momentum, momentum))
        for step, p in zip(steps, self.filters, strict=True):
            p.sub_(_corner(step, p), alpha=rate)


def _corner(matrix: Tensor, like: Tensor) -> Tensor:
    """The part of a matrix (R, C) that is no filling, as filters (out, in, kH, kW)."""
    return matrix[: len(like), : like[0].numel()].view(like.shape)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Bring every singular value of matrices (L, R, C) near 1, and leave zeros zero: rows, columns, whole matrices.

    Newton and Schulz's iteration (Bernstein and Newhouse 2024). Quickest if R <= C.
    """
    a, b, c = COEFFICIENTS
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT  # (L, R, R)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return cast(Tensor, x)
