"""Is this exercise right, and what is the next hint?

Each check takes what the student wrote, tries it, and either says that it is right or raises `CheckFailed` with what
it got, what it wants, and a hint. NotImplementedError passes through: an untouched exercise is not a wrong one.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from numbers import Real
from typing import Any

import torch
from torch import nn

from lab.errors import LabError
from lab.graph import Graph, capture
from lab.models import SeedNet
from lab.operations import Conv2d
from lab.receptive import receptive_fields
from lab.rules import judge, load_rubric


class CheckFailed(LabError):
    """An exercise that is not right yet."""


def out_size(answer: Callable[..., int]) -> None:
    """Exercise: `out_size(n, kernel, stride=1, pad=0)`, the side of a convolution's output map, in pixels."""
    cases = [((28, 3), 26), ((28, 3, 1, 1), 28), ((28, 5, 2, 2), 14), ((7, 2, 2), 3), ((9, 3, 3, 0), 3)]
    hint = "(n + 2 * pad - kernel) // stride + 1: count the places where the kernel can stand."
    _try_cases("out_size", answer, cases, hint)


def conv_parameters(answer: Callable[..., int]) -> None:
    """Exercise: `conv_parameters(c_in, c_out, kernel, bias=True)`, how many numbers a convolution learns."""
    cases = [((1, 16, 3), 160), ((16, 32, 3), 4640), ((32, 8, 1), 264), ((16, 16, 3, False), 2304)]
    hint = "Each of the c_out filters has c_in * kernel * kernel weights, and one bias."
    _try_cases("conv_parameters", answer, cases, hint)


def grow(answer: Callable[..., tuple[int, int]]) -> None:
    """Exercise: `grow(size, jump, kernel, stride=1)`, the receptive field after one more layer.

    The student's function is walked along a chain of layers and compared, layer by layer, with `lab.receptive`.
    """
    chain = nn.Sequential(
        nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)
    )
    size, jump = 1, 1
    for layer, field in zip(chain, receptive_fields(chain), strict=True):
        kernel, stride = (_first(layer.kernel_size), _first(layer.stride))
        wanted = (field.size[0], int(field.jump[0]))
        got = _call("grow", answer, (size, jump, kernel, stride))
        if not _equals(got, wanted):
            call = f"grow({size}, {jump}, kernel={kernel}, stride={stride})"
            hint = "A kernel adds kernel - 1 steps, each as long as the old jump; the stride lengthens the jump."
            raise CheckFailed(f"{call} gave {_short(got)}, wants {wanted}. {hint}")
        size, jump = wanted
    print(f"PASS grow: {len(chain)} layers, each as the lab computes it; the last one sees {size} pixels.")


def triangle(answer: Callable[..., float]) -> None:
    """Exercise: `triangle(done, warmup)`, the learning rate as a share of its peak when `done` of the run is over."""
    cases = [
        ((0.0, 0.2), 0.0),
        ((0.1, 0.2), 0.5),
        ((0.2, 0.2), 1.0),
        ((0.6, 0.2), 0.5),
        ((1.0, 0.2), 0.0),
        ((0.5, 0.5), 1.0),
    ]
    hint = "Up: done / warmup. Down, from 1 at `warmup` to 0 at the end: (1 - done) / (1 - warmup)."
    _try_cases("triangle", answer, cases, hint)


def conv_block(answer: Callable[[int, int], nn.Module]) -> None:
    """Exercise: `conv_block(c_in, c_out)`, a 3x3 convolution that keeps the size, batch norm and ReLU."""
    block = _call("conv_block", answer, (3, 8))
    graph = _graph("conv_block", block, (3, 14, 14))
    kinds = [op.label() for op in graph.operations]
    if kinds != ["conv 3x3", "batch_norm", "relu"]:
        raise CheckFailed(f"conv_block executes {kinds}, wants ['conv 3x3', 'batch_norm', 'relu'], in that order.")
    conv = graph.operations[0]
    if graph.output_shape != (8, 14, 14):
        raise CheckFailed(
            f"conv_block(3, 8) turns 3x14x14 into {graph.output_shape}, wants (8, 14, 14): padding=1, stride=1."
        )
    if isinstance(conv, Conv2d) and conv.bias is not None:
        raise CheckFailed("the convolution has a bias; batch norm takes it away again: bias=False saves 8 numbers.")
    print("PASS conv_block: convolution without bias, batch norm, ReLU; the size stays.")


def without_flaw(answer: type[SeedNet]) -> None:
    """Exercise: SeedNet with a `forward` that leaves out the ReLU on the logits, and changes nothing else."""
    graph, seed = _graph("your network", _made(answer), (1, 28, 28)), capture(SeedNet())
    executed, before = _steps(graph), _steps(seed)
    if executed == before:
        raise CheckFailed("your network executes what SeedNet executes: the ReLU after `fc` is still there.")
    wanted = [step for step, op in zip(before, seed.operations, strict=True) if op.name != "relu#8"]
    if executed != wanted:
        got, instead = next(pair for pair in zip_longest(executed, wanted, fillvalue="nothing") if pair[0] != pair[1])
        raise CheckFailed(f"your network executes {got} where {instead} is wanted; leave the rest as it is.")
    print("PASS without_flaw: the logits reach the softmax as they are.")


def design(answer: Callable[[], nn.Module], rubric: str = "mnist_994") -> None:
    """Exercise: a network of one's own that keeps the rubric's rules, as far as they can be judged before training."""
    assignment = load_rubric(rubric)
    graph = _graph("your network", _made(answer), assignment.input_shape)
    verdicts = [verdict for verdict in judge(assignment, graph) if verdict.passed is not None]
    failed = [verdict.line() for verdict in verdicts if not verdict.passed]
    if failed:
        raise CheckFailed("not yet within the rules:\n" + "\n".join(failed))
    print(f"PASS design: {graph.parameters:,} parameters, {len(verdicts)} rules kept. Now train it.")


# ---------------------------------------------------------------------------------------------------------------------


def _try_cases(
    name: str, answer: Callable[..., Any], cases: Sequence[tuple[tuple[Any, ...], float]], hint: str
) -> None:
    for arguments, wanted in cases:
        got = _call(name, answer, arguments)
        if not _equals(got, wanted):
            raise CheckFailed(f"{name}{arguments} gave {_short(got)}, wants {wanted}. {hint}")
    print(f"PASS {name}: {len(cases)} of {len(cases)} right.")


def _equals(got: Any, wanted: Any) -> bool:
    """Is `got` the number, or the pair of numbers, `wanted`? NumPy's numbers count; NaN, True and tensors do not."""
    if isinstance(wanted, tuple):
        return isinstance(got, tuple | list) and len(got) == len(wanted) and all(map(_equals, got, wanted))
    return isinstance(got, Real) and not isinstance(got, bool) and bool(wanted - 1e-6 <= got <= wanted + 1e-6)


def _call(name: str, answer: Any, arguments: tuple[Any, ...]) -> Any:
    """The student's answer for these arguments; whatever it raises becomes a message, but for NotImplementedError."""
    if not callable(answer):
        raise CheckFailed(f"{name} must be something to call; it is {_short(answer)}.")
    try:
        return answer(*arguments)
    except (NotImplementedError, LabError):
        raise
    except Exception as error:
        raise CheckFailed(f"{name}{arguments} raises {type(error).__name__}: {error}") from error


def _made(answer: Any) -> Any:
    """The network that the student's class makes; one that is built already will do."""
    return answer if isinstance(answer, nn.Module) else _call("your network", answer, ())


def _steps(graph: Graph) -> list[str]:
    """What a network executes, in words: 'conv 3x3 to (16, 28, 28)'."""
    return [f"{op.label()} to {op.shape}" for op in graph.operations]


def _graph(name: str, model: Any, input_shape: tuple[int, int, int]) -> Graph:
    if not isinstance(model, nn.Module):
        raise CheckFailed(f"{name} gives {_short(model)}, wants an nn.Module.")
    return capture(model, input_shape)


def _short(value: Any) -> str:
    text = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
