"""Exercises whose answer is a network: what it executes is compared, not how it is written."""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from torch import nn

from lab.attempts import FarNetwork, graph_or_fault
from lab.checks.trying import CASES, CheckFailed, call, check, failure, returned, short
from lab.graph import Graph, capture
from lab.likeness import known_copy
from lab.models import SeedNet
from lab.operations import Activation, Conv2d, Softmax
from lab.rules import Rubric, judge, load_rubric

_BLOCK = (
    "nn.Sequential executes its layers one after the other: which three, and in which order?",
    "Exercise 1 says which padding keeps the side of a map under a 3x3 kernel of stride 1.",
    "The three layers are an nn.Conv2d, an nn.BatchNorm2d and an nn.ReLU. How many channels does each of them have?",
)


@check
def conv_block(answer: Callable[[int, int], nn.Module]) -> str:
    """Exercise: `conv_block(c_in, c_out)`, a 3x3 convolution that keeps the size, batch norm and ReLU."""
    for c_in, c_out in ((3, 8), (CASES.randint(4, 9), CASES.randint(2, 7))):
        called = f"conv_block({c_in}, {c_out})"
        graph = _graph("conv_block", called, call("conv_block", answer, (c_in, c_out), _BLOCK), (c_in, 14, 14), _BLOCK)
        found, hint = _fault(graph, (c_out, 14, 14))
        if found:
            raise failure("conv_block", f"{called} {found}", _BLOCK, found, hint)
    return "convolution without bias, batch norm, ReLU; the size stays."


def _fault(graph: Graph, expected: tuple[int, int, int]) -> tuple[str, str]:
    """What is wrong with a block that should have this output shape, and the hint; ("", "") where nothing is."""
    kinds, conv = [op.label() for op in graph.operations], graph.operations[0]
    if kinds != _EXPECTED or not isinstance(conv, Conv2d):
        return f"executes {_listed(kinds)}, expected {_listed(_EXPECTED)}.", _other_kinds(kinds)
    if graph.output_shape != expected:
        given, wrong, right = (_map(shape) for shape in (graph.input_shape, graph.output_shape, expected))
        return f"turns {given} into {wrong}, expected {right}.", _other_size(conv, graph.output_shape, expected)
    if conv.dilation != (1, 1):
        return "has a convolution with gaps in its kernel.", "Leave `dilation` out."
    if conv.groups != 1:
        return "has a convolution whose filters read only some of the channels.", "Leave `groups` out."
    if conv.bias is not None:
        words = f"has a bias in its convolution, {expected[0]} numbers that batch norm takes away again."
        return words, "nn.Conv2d has an argument that leaves it out."
    return "", ""


_EXPECTED = ["conv 3x3", "batch_norm", "relu"]


def _other_kinds(kinds: list[str]) -> str:
    """The hint for a block that executes these."""
    if sorted(kinds) == sorted(_EXPECTED):
        return "The three are there, in another order: the convolution comes first, the activation last."
    if missing := [kind for kind in _EXPECTED if kind not in kinds]:
        return f"There is no {' and no '.join(missing).replace('_', ' ')}."
    return "Each of the three once, and nothing else."


def _other_size(conv: Conv2d, shape: tuple[int, ...], expected: tuple[int, int, int]) -> str:
    """The hint for a block whose output has another shape."""
    if conv.stride != (1, 1):
        return "The convolution skips places: leave `stride` out."
    if shape[1:] != expected[1:]:
        return "The kernel finds fewer places to stand than the map has, or more. Which padding keeps the side?"
    return f"{shape[0]} channels come out, where `c_out` says {expected[0]}."


def _map(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _listed(kinds: list[str]) -> str:
    return ", ".join(kinds).replace("_", " ") or "nothing"


_FLAW = (
    "What does F.relu make of a negative logit, and which gradient comes back through it?",
    "SeedNet's forward executes features, fc, relu and log_softmax, in that order. Which of them must not be there?",
    "Take SeedNet's two lines, and take out one call.",
)


@check
def without_flaw(answer: type[SeedNet]) -> str:
    """Exercise: SeedNet with a `forward` that leaves out the ReLU on the logits, and changes nothing else."""
    network = _made("without_flaw", answer, _FLAW)
    graph, seed = _graph("without_flaw", "your network", network, (1, 28, 28), _FLAW), capture(SeedNet())
    executed, before = _steps(graph), _steps(seed)
    expected = [*before[:-2], before[-1]]  # without the ReLU between fc and log_softmax
    if executed != expected:
        pairs = zip_longest(executed, expected, fillvalue="nothing")
        got, instead = next(pair for pair in pairs if pair[0] != pair[1])
        found = f"your network executes {got} where {instead} is expected."
        if executed == before:
            found = "your network executes what SeedNet executes."
        raise failure("without_flaw", found, _FLAW, repr(executed), _what_is_left(executed, before))
    return "the logits reach the softmax as they are."


def _what_is_left(executed: list[str], before: list[str]) -> str:
    """The hint for a network that executes this; `before` is what SeedNet executes."""
    body, logits = before[:-2], before[-1].removeprefix("log_softmax")
    known = {
        (*before,): "The ReLU behind `fc` is still there.",
        (*body,): "Those are logits; SeedNet gives log-probabilities: the log_softmax stays.",
        (*body, before[-2]): "The log_softmax is gone, and the ReLU is still there: it is the other way round.",
        (*body, "softmax" + logits): "Those are probabilities; SeedNet gives their logarithms: the log_softmax stays.",
        (
            *body,
            before[-1],
            before[-2],
        ): "The ReLU has moved behind the log_softmax, where it cuts everything to zero.",
        (*body, before[-1], before[-1]): "There are two log_softmax, one after the other.",
    }
    if tuple(executed) in known:
        return known[tuple(executed)]
    if executed[: len(body)] == body and executed[-1] == before[-1]:
        return "Another function in the place of the ReLU changes the logits, too: nothing has to stand there."
    if executed[: len(body)] != body:
        return "Leave everything before the last line as it is: self.features(x), then self.fc."
    return ""


@check
def design(answer: Callable[[], nn.Module], rubric: str = "mnist_994") -> str:
    """Exercise: a network of one's own that keeps the rubric's rules, as far as they can be judged before training.

    One of the lab's own networks, or a renamed copy, is no design of one's own.
    """
    assignment = load_rubric(rubric)
    graph = _graph("design", "your network", _made("design", answer, ()), assignment.input_shape, ())
    kept = keeps_the_rules(graph, assignment)
    if own := known_copy(graph):
        raise CheckFailed(
            f"your network is {own}, one of the lab's own: other names, other weights and another dropout make no "
            "other design. Change what it computes: a layer, its channels, its kernel, or where it pools."
        )
    return f"{graph.parameters:,} parameters, {kept} rules kept. Now train it."


def keeps_the_rules(graph: Graph, assignment: Rubric) -> int:
    """How many rules are kept, of those that can be judged before a training. Raises CheckFailed for a broken one."""
    verdicts = [verdict for verdict in judge(assignment, graph) if verdict.passed is not None]
    failed = [verdict.line() for verdict in verdicts if not verdict.passed]
    last = graph.operations[-1]
    if isinstance(last, Activation) or (isinstance(last, Softmax) and not last.log):
        raise CheckFailed(f"your network ends in {last.label()}; the training needs logits: end with the linear layer.")
    if failed:
        raise CheckFailed("not yet within the rules:\n" + "\n".join(failed))
    return len(verdicts)


def graph_of_answer(exercise: str, name: str, answer: Any) -> Graph:
    """What the network that an answer makes executes on MNIST's images; name: what to call it. Raises CheckFailed."""
    return _graph(exercise, name, _made(exercise, answer, ()), (1, 28, 28), ())


# ---------------------------------------------------------------------------------------------------------------------


def _made(name: str, answer: Any, ladder: tuple[str, ...]) -> Any:
    """The network that the student's class makes; one that is built already will do."""
    if isinstance(answer, nn.Module | FarNetwork):
        return answer
    if not callable(answer):
        raise CheckFailed(f"your network must be something to call; it is {short(answer)}.")
    return call(name, answer, (), ladder, "your network()")


def _steps(graph: Graph) -> list[str]:
    """What a network executes, in words: 'conv 3x3 to (16, 28, 28)'."""
    return [f"{op.label()} to {op.shape}" for op in graph.operations]


def _graph(exercise: str, name: str, model: Any, input_shape: tuple[int, int, int], ladder: tuple[str, ...]) -> Graph:
    """What the network executes. Raises CheckFailed where it is none, or can't run; name: what to call it."""
    if isinstance(model, FarNetwork):
        graph = model.graph_on(name, input_shape)
    elif isinstance(model, nn.Module):
        graph = graph_or_fault(name, model, input_shape)
    else:
        graph = f"{name} gave {short(model)}, expected an nn.Module{returned(model)}."
    if isinstance(graph, str):
        raise failure(exercise, graph, ladder, graph)
    return graph
