"""Does a graph compute what its network computes? Both are run, and whatever differs is an error.

The export sees a network once, with symbols for numbers. What it was shown is not always what runs: a branch on
`torch.compiler.is_exporting()`, a write through a view, a layer that a hook changes. So the rebuilt graph and the
network get the same images and the same random numbers; outputs and gradients have to agree.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab._capture.messages import first_line, kept_buffers, students_line
from lab._terminal import printable
from lab.errors import GraphError

TOLERANCE = 1e-3
"""How far outputs may be apart, as a part of the largest: rounding, where layers are computed in another order."""
GRADIENT_TOLERANCE = 1e-2
"""The same for gradients, in which rounding adds up."""
DEAR = 500_000_000
"""Multiply-adds an image from which on a proof takes the smallest batches, and leaves gradients out."""


def prove(
    model: nn.Module,
    twin: nn.Module,
    tensors: dict[str, Tensor],
    input_shape: tuple[int, int, int],
    multiply_adds: int,
) -> None:
    """Raise GraphError where `twin`, rebuilt from the graph, computes anything else than `model`.

    Compares outputs in eval and in training mode on random batches of two sizes and, in training mode, the gradients of
    the learnable parameters. Both run with the same random numbers; buffers, modes and the generators' states are put
    back. `tensors` are those of `twin` by the names that the network gives them. `twin` has the operations whose output
    is thrown away, too: they draw random numbers like the others.
    """
    device = next((p.device for p in nn.Module.parameters(model)), torch.device("cpu"))
    twin.to(device)
    dear = multiply_adds > DEAR
    sizes = {True: (2,) if dear else (2, 5), False: (1,) if dear else (2, 5)}
    with torch.random.fork_rng([device] if device.type == "cuda" else []), kept_buffers(model):
        for training in (False, True):
            model.train(training)
            twin.train(training)
            for size in sizes[training]:
                x = _images(size, input_shape).to(device)
                gradients = training and not dear and size == sizes[True][0]
                _compare(model, twin, x, training, tensors if gradients else {})


def _images(n: int, shape: tuple[int, int, int]) -> Tensor:
    """n random images (n, C, H, W), half of their pixels one shade of background, as digits have it."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, *shape, generator=generator)
    return torch.where(torch.rand(n, *shape, generator=generator) < 0.5, torch.tensor(-0.4), x)


def _compare(model: nn.Module, twin: nn.Module, x: Tensor, training: bool, tensors: dict[str, Tensor]) -> None:
    """Outputs and, by the parameters in `tensors`, gradients."""
    mode = f"in {'training' if training else 'eval'} mode on {len(x)} images"
    with torch.set_grad_enabled(bool(tensors)):
        mine, theirs = (_run(net, x.clone(), mode) for net in (twin, model))
    if not isinstance(theirs, Tensor) or theirs.shape != mine.shape:
        raise GraphError(f"{_INTRODUCTION} {mode} it gives {_kind(theirs)}, the graph {_kind(mine)}. {_ADVICE}")
    _same(theirs, mine, TOLERANCE, f"{_INTRODUCTION} {mode} the answers differ", _ADVICE)
    if tensors:
        _compare_gradients(model, tensors, theirs, mine)


def _run(net: nn.Module, x: Tensor, mode: str) -> Tensor:
    torch.manual_seed(0)
    try:
        return net(x)  # type: ignore[no-any-return]
    except (Exception, SystemExit, GeneratorExit) as error:  # whatever a forward raises has to become a message
        line = students_line(error.__traceback__) or "forward"
        raise GraphError(f"{line}: {mode} forward fails: {type(error).__name__}: {first_line(error)}") from error


def _compare_gradients(model: nn.Module, tensors: dict[str, Tensor], theirs: Tensor, mine: Tensor) -> None:
    """Of one random sum of the outputs, by every parameter that both have under one name and that learns."""
    learnt = [(printable(n), p) for n, p in nn.Module.named_parameters(model) if p.requires_grad]
    pairs = [(n, p, tensors[n]) for n, p in learnt if n in tensors]
    if not pairs:
        return
    weights = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(0)).to(theirs.device)
    try:
        got = _gradients(theirs, weights, [p for _, p, _ in pairs])
    except RuntimeError:  # an in-place operation that backward minds: PyTorch says so when it is trained
        return
    wanted = _gradients(mine, weights, [p for _, _, p in pairs])
    largest = max((float(g.abs().max()) for g in (*got, *wanted) if g.numel()), default=0.0)
    for (name, _, _), one, other in zip(pairs, got, wanted, strict=True):
        if not one.any() and other.any():
            raise GraphError(
                f"{name!r} gets no gradient: forward cuts it off (torch.no_grad(), .detach(), .data), and the layer "
                "does not learn. Take that out; to keep a layer fixed, set requires_grad to False."
            )
        scale = max(float(other.abs().max()), 1e-3 * largest)
        _same(one, other, GRADIENT_TOLERANCE, f"{_INTRODUCTION} the gradients of {name!r} differ", _ADVICE, scale)


def _gradients(output: Tensor, weights: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    if not output.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    found = torch.autograd.grad((output * weights).sum(), parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _same(one: Tensor, other: Tensor, tolerance: float, what: str, advice: str, scale: float | None = None) -> None:
    """Raise GraphError where two tensors are further apart than `tolerance` of the largest number in them."""
    if not torch.equal(one.isfinite(), other.isfinite()):
        raise GraphError(f"{what}: one has NaN or infinity where the other has none. {advice}")
    one, other = (t.detach().nan_to_num(0, 0, 0).double() for t in (one, other))
    largest = max(float(one.abs().max()), float(other.abs().max())) if scale is None else scale
    apart = float((one - other).abs().max())
    if apart > tolerance * largest:
        raise GraphError(f"{what} by {apart / largest:.2g} of their size. {advice}")


def _kind(value: object) -> str:
    return f"numbers of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


_INTRODUCTION = "the network computes something else than what it shows while it is written down:"
_ADVICE = (
    "Is there a branch on the exporter, a state that forward keeps between calls, a write into a part of a tensor, or "
    "a random number besides dropout? Let forward compute the same each time, from its input and its weights."
)
