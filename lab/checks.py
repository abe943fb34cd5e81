"""Is this exercise right, and what is the next hint?

Each check takes what the student wrote, tries it, and either says that it is right or raises `CheckFailed` with what
it got, what it wants, and a hint. Every further try at the same exercise brings the next hint, each plainer than the
one before. NotImplementedError passes through: an untouched exercise is not a wrong one.
"""

import copy
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.design import FEWEST_WORDS, Entry, Log, Version, graph_of
from lab.errors import LabError
from lab.graph import Graph, capture
from lab.likeness import known_copy, same_design
from lab.models import SeedNet
from lab.operations import Activation, Conv2d, Softmax
from lab.receptive import receptive_fields
from lab.rules import Rubric, judge, load_rubric, meets
from lab.switches import is_on
from lab.train import Recipe


class CheckFailed(LabError):
    """An exercise that is not right yet."""


def out_size(answer: Callable[..., int]) -> None:
    """Exercise: `out_size(n, kernel, stride=1, pad=0)`, the side of a convolution's output map, in pixels."""
    cases = [((28, 3), 26), ((28, 3, 1, 1), 28), ((28, 5, 2, 2), 14), ((7, 2, 2), 3), ((9, 3, 3, 0), 3)]
    hints = (
        "Count the places where the left edge of the kernel can stand.",
        "On n + 2 * pad pixels the left edge can move n + 2 * pad - kernel further; it takes steps of `stride`.",
        "(n + 2 * pad - kernel) // stride + 1",
    )
    _try_cases("out_size", answer, cases, hints)


def grow(answer: Callable[..., tuple[int, int]]) -> None:
    """Exercise: `grow(size, jump, kernel, stride=1)`, the receptive field after one more layer.

    The student's function is walked along a chain of layers and compared, layer by layer, with `lab.receptive`.
    """
    chain = nn.Sequential(
        *(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5)),
        *(nn.Conv2d(1, 1, 4, stride=3), nn.Conv2d(1, 1, 2)),
    )
    hints = (
        "How many units of the layer before does the kernel cover, and how far apart are they in pixels?",
        "A kernel adds kernel - 1 steps, each as long as the old jump; the stride lengthens the jump.",
        "size + (kernel - 1) * jump, jump * stride",
    )
    size, jump = 1, 1
    for layer, field in zip(chain, receptive_fields(chain), strict=True):
        kernel, stride = (_first(layer.kernel_size), _first(layer.stride))
        wanted = (field.size[0], int(field.jump[0]))
        got = _call("grow", answer, (size, jump, kernel, stride), hints)
        if not _equals(got, wanted):
            call = f"grow({size}, {jump}, kernel={kernel}, stride={stride})"
            raise _failure("grow", f"{call} gave {_short(got)}, wants {wanted}.", hints)
        size, jump = wanted
    _passed("grow", f"{len(chain)} layers, each as the lab computes it; the last one sees {size} pixels.")


def by_hand() -> nn.Sequential:
    """The network whose receptive fields are worked out by hand in the exercise `fields`."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, stride=2), nn.Conv2d(8, 8, 3)
    )


def fields(answer: Callable[[], Sequence[int]]) -> None:
    """Exercise: the sides, in pixels, of what the layers of `by_hand()` see; worked out by hand."""
    network = by_hand()
    computed = receptive_fields(network)
    numbers = _call("my_fields", answer, ())
    if not isinstance(numbers, list | tuple) or len(numbers) != len(computed):
        raise CheckFailed(f"my_fields() gives {_short(numbers)}, wants a list of {len(computed)} numbers, one a layer.")
    jump = 1
    for number, (got, layer, field) in enumerate(zip(numbers, network, computed, strict=True), 1):
        size, before = field.size[0], computed[number - 2].size[0] if number > 1 else 1
        if not _equals(got, size):
            kernel = _first(layer.kernel_size)
            hints = (
                f"It reads {kernel} neighbours in a row, which lie {jump} pixels apart.",
                f"Before it: {before} pixels, jump {jump}. Now {before} + ({kernel} - 1) * {jump}.",
                f"It is {size}.",
            )
            raise _failure(
                f"fields {number}", f"layer {number}, {layer}: {_short(got)} is not what the lab computes.", hints
            )
        jump = int(field.jump[0])
    _passed("fields", f"{len(computed)} of {len(computed)} as the lab computes them.")


def conv_parameters(answer: Callable[..., int]) -> None:
    """Exercise: `conv_parameters(c_in, c_out, kernel, bias=True)`, how many numbers a convolution learns."""
    cases = [((1, 16, 3), 160), ((16, 32, 3), 4640), ((32, 8, 1), 264), ((16, 16, 3, False), 2304)]
    hints = (
        "How many weights has one filter that looks at all c_in channels? There are c_out filters.",
        "Each of the c_out filters has c_in * kernel * kernel weights, and one bias.",
        "c_out * (c_in * kernel * kernel + bias)",
    )
    _try_cases("conv_parameters", answer, cases, hints)


def conv_multiply_adds(answer: Callable[..., int]) -> None:
    """Exercise: `conv_multiply_adds(c_in, c_out, kernel, side)`, of a convolution with a side x side output map."""
    cases = [((1, 16, 3, 28), 112_896), ((16, 32, 3, 28), 3_612_672), ((32, 8, 1, 14), 50_176)]
    hints = (
        "At one place of the map, how often is a weight multiplied with a pixel? And how many places are there?",
        "Every weight works once at each of the side * side places; the bias is not multiplied.",
        "c_out * c_in * kernel * kernel * side * side",
    )
    _try_cases("conv_multiply_adds", answer, cases, hints)


def normalize(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise: `normalize(x)`, (B, C, H, W) -> the same shape, each channel with mean 0 and deviation 1."""
    x = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.5, 2.0, 7.0]).view(3, 1, 1) + torch.tensor([1.0, -3.0, 20.0]).view(3, 1, 1)
    x = x + torch.arange(6.0).view(6, 1, 1, 1)  # the images differ: taking each by itself shows
    hints = (
        "All images and all places of a channel count together: which axes of (B, C, H, W) is that?",
        "x.mean(dim=(0, 2, 3), keepdim=True) has the mean of each channel; x.std takes the same arguments.",
        "(x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)",
    )
    got = _tensor("normalize", _call("normalize", answer, (x.clone(),), hints), x.shape)
    means, deviations = got.mean((0, 2, 3)), got.std((0, 2, 3))
    for what, found, wanted, step in (("mean", means, 0.0, 0), ("deviation", deviations, 1.0, 1)):
        if not torch.allclose(found, torch.full((3,), wanted), atol=0.01):
            listed = ", ".join(f"{number:.2f}" for number in found.tolist())
            raise _failure("normalize", f"the channels' {what}s are {listed}, wants {wanted:g} for each.", hints, step)
    if not torch.allclose(got, F.batch_norm(x, None, None, training=True), atol=0.02):
        wrong = "mean and deviation are right, but some pixels are not what nn.BatchNorm2d makes of them."
        raise _failure(
            "normalize", wrong, ("Is each image, or each place, taken by itself, or an axis turned?", hints[2])
        )
    _passed("normalize", "every channel has mean 0 and deviation 1, as nn.BatchNorm2d has it.")


def drop(answer: Callable[[Tensor, float], Tensor]) -> None:
    """Exercise: `drop(x, p)`, each number zero with probability p, the others scaled so that the mean stays."""
    hints = (
        "Draw a uniform number for each place (torch.rand_like) and compare it with p.",
        "A number is kept with probability 1 - p; divide what is kept by that, and the mean stays.",
        "x * (torch.rand_like(x) >= p) / (1 - p)",
    )
    x = torch.full((200, 100), 3.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for p in (0.5, 0.25):
            first, second = (_tensor("drop", _call("drop", answer, (x.clone(), p), hints), x.shape) for _ in range(2))
            zeros, kept = float((first == 0).double().mean()), first[first != 0]
            margin = 5 * math.sqrt(p * (1 - p) / x.numel())  # five deviations: one right answer in 10**6 is outside
            if abs(zeros - p) > margin:
                found = f"with p = {p}, {zeros:.0%} of the numbers are zero, wants about {p:.0%}."
                raise _failure("drop", found, hints)
            if not torch.allclose(kept, x[0, 0] / (1 - p)):
                low, high = f"{kept.min():.2f}", f"{kept.max():.2f}"
                got = low if low == high else f"{low} to {high}"
                raise _failure("drop", f"a kept 3 becomes {got}, wants 3 / (1 - p) = {3 / (1 - p):.2f}.", hints, 1)
            if torch.equal(first, second):
                raise _failure("drop", "two calls drop the same places; every call must draw anew.", hints)
    _passed("drop", f"{zeros:.1%} dropped at p = {p}, the others scaled; the mean is {first.mean():.2f} of 3.")


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
    hints = (
        "Two straight lines: one up, for done < warmup, one down after it.",
        "Up: done / warmup. Down, from 1 at `warmup` to 0 at the end: what is left, as a share of 1 - warmup.",
        "done / warmup if done < warmup else (1 - done) / (1 - warmup)",
    )
    _try_cases("triangle", answer, cases, hints)


def accuracy(answer: Callable[[Sequence[tuple[Tensor, Tensor]]], float]) -> None:
    """Exercise: `accuracy(batches)`, the share of images named right, for (logits (B, 10), labels (B,)) pairs."""
    hints = (
        "The last batch has 2 images, the others 8: does each image count once?",
        "Add up the right answers of all batches, and the images of all batches; divide at the end.",
        "sum of (logits.argmax(1) == labels).sum() over sum of len(labels)",
    )
    for sizes, wanted in (((8, 8, 2), (12, 18)), ((4, 1), (1, 5))):
        right, images = wanted
        call = f"batches of {', '.join(map(str, sizes[:-1]))} and {sizes[-1]} images"
        got = _call("accuracy", answer, (_batches(sizes, right),), hints, shown=f" with {call}")
        if not _equals(got, right / images):
            found = f"{call} gave {_short(got)}; {right} of {images} images are right: wants {right / images}."
            raise _failure("accuracy", found, hints)
    _passed("accuracy", "12 of 18 images and 1 of 5, each counted once.")


def _batches(sizes: Sequence[int], right: int) -> list[tuple[Tensor, Tensor]]:
    """Logits (B, 10) and labels (B,) of batches of these sizes, of which the first `right` images are named right."""
    labels = torch.randint(0, 10, (sum(sizes),), generator=torch.Generator().manual_seed(0))
    logits = F.one_hot(labels, 10).float() - 5  # all negative, as logits may well be
    logits[right:] = logits[right:].roll(1, dims=1)
    return list(zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True))


def conv_block(answer: Callable[[int, int], nn.Module]) -> None:
    """Exercise: `conv_block(c_in, c_out)`, a 3x3 convolution that keeps the size, batch norm and ReLU."""
    for c_in, c_out in ((3, 8), (5, 4)):
        block = _call("conv_block", answer, (c_in, c_out))
        graph = _graph(f"conv_block({c_in}, {c_out})", block, (c_in, 14, 14))
        kinds = [op.label() for op in graph.operations]
        if kinds != ["conv 3x3", "batch_norm", "relu"]:
            raise CheckFailed(f"conv_block executes {kinds}, wants ['conv 3x3', 'batch_norm', 'relu'], in that order.")
        conv = graph.operations[0]
        if graph.output_shape != (c_out, 14, 14):
            raise CheckFailed(
                f"conv_block({c_in}, {c_out}) turns {c_in}x14x14 into {graph.output_shape}, wants ({c_out}, 14, 14): "
                "padding=1, stride=1."
            )
        if isinstance(conv, Conv2d) and conv.dilation != (1, 1):
            raise CheckFailed(f"the convolution has gaps in its kernel, dilation {conv.dilation}; leave dilation out.")
        if isinstance(conv, Conv2d) and conv.bias is not None:
            raise CheckFailed("the convolution has a bias; batch norm takes it away again: bias=False saves 8 numbers.")
    _passed("conv_block", "convolution without bias, batch norm, ReLU; the size stays.")


def without_flaw(answer: type[SeedNet]) -> None:
    """Exercise: SeedNet with a `forward` that leaves out the ReLU on the logits, and changes nothing else."""
    graph, seed = _graph("your network", _made(answer), (1, 28, 28)), capture(SeedNet())
    executed, before = _steps(graph), _steps(seed)
    if executed == before:
        raise CheckFailed("your network executes what SeedNet executes: the ReLU after `fc` is still there.")
    wanted = [step for step, op in zip(before, seed.operations, strict=True) if op.name != "relu#8"]
    if executed != wanted:
        got, instead = next(pair for pair in zip_longest(executed, wanted, fillvalue="nothing") if pair[0] != pair[1])
        if (got, instead) == ("nothing", wanted[-1]):
            raise CheckFailed(
                "your network returns logits; SeedNet returns log-probabilities: F.log_softmax(..., dim=1)."
            )
        raise CheckFailed(f"your network executes {got} where {instead} is wanted; leave the rest as it is.")
    _passed("without_flaw", "the logits reach the softmax as they are.")


def example(name: str, answer: Callable[[Tensor], Tensor], argument: Tensor, wanted: Tensor, *hints: str) -> None:
    """Exercise of a new notebook: `answer(argument)` must give the tensor `wanted`. The last hint is the plainest."""
    got = _tensor(name, _call(name, answer, (argument.clone(),), hints), wanted.shape)
    if not torch.allclose(got, wanted.float(), atol=1e-6):
        found = f"{name}({argument.tolist()}) gave {got.tolist()}, wants {wanted.tolist()}."
        raise _failure(name, found, hints)
    _passed(name, f"{argument.tolist()} gives {wanted.tolist()}.")


def design(answer: Callable[[], nn.Module], rubric: str = "mnist_994") -> None:
    """Exercise: a network of one's own that keeps the rubric's rules, as far as they can be judged before training."""
    assignment = load_rubric(rubric)
    graph = _graph("your network", _made(answer), assignment.input_shape)
    kept = _keeps_the_rules(graph, assignment)
    _passed("design", f"{graph.parameters:,} parameters, {kept} rules kept. Now train it.")


def _keeps_the_rules(graph: Graph, assignment: Rubric) -> int:
    """How many rules are kept, of those that can be judged before a training. Raises CheckFailed for a broken one."""
    verdicts = [verdict for verdict in judge(assignment, graph) if verdict.passed is not None]
    failed = [verdict.line() for verdict in verdicts if not verdict.passed]
    last = graph.operations[-1]
    if isinstance(last, Activation) or (isinstance(last, Softmax) and not last.log):
        raise CheckFailed(f"your network ends in {last.label()}; the training wants logits: end with the linear layer.")
    if failed:
        raise CheckFailed("not yet within the rules:\n" + "\n".join(failed))
    return len(verdicts)


# ---------------------------------------------------------------------------------------------------------------------


_FAILURES: Counter[str] = Counter()
"""How often each exercise has failed in this session since it last passed."""


def _failure(name: str, found: str, hints: Sequence[str], first: int = 0) -> CheckFailed:
    """What is wrong, and the next hint, if there are any: number `first` at first, the last one again at the end."""
    if not hints:
        return CheckFailed(found)
    step = min(max(_FAILURES[name], first), len(hints) - 1)
    _FAILURES[name] += 1
    more = " Run the check again for a plainer one." if step + 1 < len(hints) else ""
    return CheckFailed(f"{found}\n     Hint {step + 1} of {len(hints)}: {hints[step]}{more}")


def _passed(name: str, words: str) -> None:
    for tried in [tried for tried in _FAILURES if tried.split()[0] == name]:
        del _FAILURES[tried]
    print(f"PASS {name}: {words}")


def _try_cases(
    name: str, answer: Callable[..., Any], cases: Sequence[tuple[tuple[Any, ...], float]], hints: Sequence[str]
) -> None:
    for arguments, wanted in cases:
        got = _call(name, answer, arguments, hints)
        if not _equals(got, wanted):
            raise _failure(name, f"{name}{arguments} gave {_short(got)}, wants {wanted}.", hints)
    _passed(name, f"{len(cases)} of {len(cases)} right.")


def _tensor(name: str, got: Any, shape: torch.Size) -> Tensor:
    """The student's answer, if it is a tensor of finite numbers of this shape."""
    if not isinstance(got, Tensor) or got.shape != shape:
        raise CheckFailed(f"{name} gives {_short(got)}, wants a tensor of shape {tuple(shape)}.")
    if not torch.isfinite(got).all():
        raise CheckFailed(f"{name} gives NaN or infinity; is something divided by zero?")
    return got.detach().float().cpu()


def _equals(got: Any, wanted: Any) -> bool:
    """Is `got` the number, or the pair of numbers, `wanted`? NumPy's numbers count; NaN, True and tensors do not."""
    if isinstance(wanted, tuple):
        return isinstance(got, tuple | list) and len(got) == len(wanted) and all(map(_equals, got, wanted))
    return isinstance(got, Real) and not isinstance(got, bool) and bool(wanted - 1e-6 <= got <= wanted + 1e-6)


def _call(
    name: str, answer: Any, arguments: tuple[Any, ...], hints: Sequence[str] = (), shown: str | None = None
) -> Any:
    """The student's answer for these arguments; whatever it raises becomes a message, but for NotImplementedError.

    A tensor or array of one number is given as that number, one of several as a list, but for what is given a tensor.
    shown: the arguments in words, where they are too long to print.
    """
    if not callable(answer):
        raise CheckFailed(f"{name} must be something to call; it is {_short(answer)}.")
    takes_tensor = any(isinstance(argument, Tensor) for argument in arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on stderr they would cost the points of a right answer
            got = answer(*arguments)
    except (NotImplementedError, LabError):
        raise
    except Exception as error:
        call = f"{name}{arguments if shown is None and not takes_tensor else shown or ''}"
        found = f"{call} raises {type(error).__name__}: {error}"
        if "is not a Module subclass" in str(error):
            found += ". Put * before a list of layers: nn.Sequential(*layers)."
        raise _failure(name, found, hints) from error
    if takes_tensor or not isinstance(got, Tensor | np.ndarray):
        return got
    return got.item() if math.prod(got.shape) == 1 else got.tolist()


def _made(answer: Any) -> Any:
    """The network that the student's class makes; one that is built already will do."""
    return answer if isinstance(answer, nn.Module) else _call("your network", answer, ())


def _steps(graph: Graph) -> list[str]:
    """What a network executes, in words: 'conv 3x3 to (16, 28, 28)'."""
    return [f"{op.label()} to {op.shape}" for op in graph.operations]


def _graph(name: str, model: Any, input_shape: tuple[int, int, int]) -> Graph:
    if not isinstance(model, nn.Module):
        raise CheckFailed(f"{name} gives {_short(model)}, wants an nn.Module.")
    _try_forward(name, model, input_shape)
    return capture(model, input_shape)


def _try_forward(name: str, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise CheckFailed where a forward pass fails: in which layer, and what that is given."""
    twin, entered = copy.deepcopy(model).eval(), [""]
    for path, layer in twin.named_modules():
        if path and not list(layer.children()):
            layer.register_forward_pre_hook(partial(_remember, entered, path))
    x = torch.zeros(2, *input_shape, device=next((p.device for p in twin.parameters()), None))
    try:
        with torch.no_grad():
            out = twin(x)
    except NotImplementedError as error:
        if type(model).forward is not nn.Module.forward:
            raise
        raise CheckFailed(f"{name} has no forward: define `def forward(self, x)`, and return the result.") from error
    except LabError:
        raise
    except Exception as error:
        where = f", in or after {entered[0]}" if entered[0] else ""
        raise CheckFailed(f"{name} fails on images {tuple(x.shape)}{where}: {error}") from error
    if out is None:
        raise CheckFailed(f"{name} gives None: does its forward end in `return`?")


def _remember(entered: list[str], path: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    given = tuple(getattr(inputs[0], "shape", ())) if inputs else ()
    entered[0] = f"layer {path!r}, {layer}, which is given {given}"


def _short(value: Any) -> str:
    text = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


# -- the student's own design -----------------------------------------------------------------------------------------

LEAST_LEARNT = 0.95
"""Validation accuracy of a version that has learnt something, where the rubric's bar is not lower. A linear classifier
ends near 92 % (LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE
1998, section III.C.1)."""


def version(
    log: Log,
    answer: Callable[[], Version],
    unlike: Sequence[Callable[[], Version]] = (),
    recipe: Recipe | None = None,
    rubric: str = "mnist_994",
) -> None:
    """Exercise: a version of a design of one's own, predicted, trained and analysed.

    It is trained here where the log has not seen it yet: with the log's short recipe, or in one long run with `recipe`.
    One with a recipe is the last version, and has to keep the rubric's rules as well.

    unlike: the versions before it, which have to be other designs.
    """
    name, assignment = _name_of(answer), load_rubric(rubric)
    made, graph = _own_design(name, answer)
    for other in unlike:
        before = _version_or_none(other)
        if before is not None and same_design(graph_of(before), graph):
            raise CheckFailed(
                f"{name} is the same design as {_name_of(other)}, whatever it is called: change something."
            )
    for what, text in (("target", made.target), ("analysis", made.analysis)):
        if len(text.split()) < FEWEST_WORDS:
            todo = "what it is to achieve" if what == "target" else "what its result says, once it is trained"
            raise CheckFailed(f"{name}: its {what} is {text!r}. Say in a sentence {todo}.")
    if recipe is not None:
        _keeps_the_rules(graph, assignment)
    entry = log.entry(made) if recipe is None else _long_run(log, made, recipe)
    if made.predicted != entry.version.predicted:
        said = ", ".join(f"{what}={value}" for what, value in entry.version.predicted.items())
        raise CheckFailed(
            f"{name}: the prediction was changed after the training. A wrong one costs nothing, and teaches more: "
            f"put back {said}."
        )
    least = min(LEAST_LEARNT, assignment.learnt or LEAST_LEARNT)
    if entry.accuracy < least and not is_on("LAB_QUICK"):
        raise CheckFailed(
            f"{name} is right on {entry.accuracy:.2%} of the validation images; expected at least {least:.0%}. "
            "That is more than a linear network can learn."
        )
    _passed(name, f"{entry.version.name}, predicted, trained and analysed.")


def reaches(log: Log, answer: Callable[[], Version], recipe: Recipe, bar: float, rubric: str = "mnist_994") -> None:
    """Exercise: a version's long run ends at a validation accuracy of at least `bar` (0..1).

    Where LAB_QUICK is on, the bar is no higher than what the rubric asks of a quick run.
    """
    name, assignment = _name_of(answer), load_rubric(rubric)
    made, graph = _own_design(name, answer)
    _keeps_the_rules(graph, assignment)
    limit = assignment.limit("epochs")
    if not meets("epochs", recipe.epochs, limit):
        raise CheckFailed(f"the recipe has {recipe.epochs} epochs; expected fewer than {limit:g}.")
    found = _long_run(log, made, recipe).accuracy
    asked = min(bar, assignment.accuracy_bar(quick=True)) if is_on("LAB_QUICK") else bar
    if not meets("accuracy", found, asked):
        raise CheckFailed(f"{name} ends at {found:.2%} of the validation images; expected at least {asked:.2%}.")
    _passed(f"{name} reaches {bar:.1%}", f"at least {asked:.1%} of the validation images.")


def _long_run(log: Log, made: Version, recipe: Recipe) -> Entry:
    trained = log.train(made, recipe)
    if trained.history.interrupted:
        raise CheckFailed(f"the training of {made.name} was interrupted: half a run is not judged. Run the cell again.")
    return trained.entry


def _name_of(answer: Any) -> str:
    return str(getattr(answer, "__name__", "your version"))


def _own_design(name: str, answer: Any) -> tuple[Version, Graph]:
    """A version of a network of one's own, which is none of the lab's, and its graph."""
    made = _call(name, answer, ())
    if not isinstance(made, Version):
        raise CheckFailed(f"{name}() gives {_short(made)}; expected a Version(...).")
    graph = _graph(made.name, _made(made.build), (1, 28, 28))
    if len(graph.output_shape) != 1:
        raise CheckFailed(f"{made.name} gives {graph.output_shape} for an image; expected one logit for each class.")
    copied = known_copy(graph)
    if copied is not None:
        raise CheckFailed(f"{made.name} is the lab's own {copied}, whatever it is called: change its design.")
    return made, graph


def _version_or_none(answer: Any) -> Version | None:
    """What another exercise gives; None where it is open or wrong, which is told there."""
    try:
        made = answer()
        graph_of(made)
    except Exception:
        return None
    return made if isinstance(made, Version) else None
