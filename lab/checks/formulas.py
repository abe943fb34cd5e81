"""Exercises whose answer is a formula: numbers in, one or two numbers out."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.attempts import plain
from lab.checks.trying import (
    CheckFailed,
    Exercise,
    Mistake,
    agrees,
    call,
    check,
    failure,
    returned,
    short,
    solve,
)
from lab.receptive import Field, receptive_fields

Batches = Sequence[tuple[Tensor, Tensor]]
"""Pairs of logits (B, 10) and labels (B,)."""

# -- the side of the output map ---------------------------------------------------------------------------------------

_OUT_SIZE = Exercise(
    "out_size",
    lambda n, kernel, stride=1, pad=0: (n + 2 * pad - kernel) // stride + 1,
    shown=[(28, 3), (28, 3, 1, 1), (28, 5, 2, 2), (7, 2, 2), (9, 3, 3, 0)],
    draw=lambda rng: (rng.randint(7, 64), rng.randint(1, 7), rng.randint(1, 4), rng.randint(0, 3)),
    mistakes=[
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n + 2 * pad - kernel) // stride,
            "Off by one: that is how many steps the kernel takes. It also stands at the place where it starts.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n + 2 * pad - kernel + 1) // stride,
            "The place where the kernel starts is counted before the division by the stride; it is no step.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n - kernel) // stride + 1,
            "`pad` is ignored: the kernel may stand on the border that it adds, too.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n + pad - kernel) // stride + 1,
            "`pad` pixels are added on both sides; yours adds them on one.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: n + 2 * pad - kernel + 1,
            "`stride` is ignored: the kernel stands only at every stride-th place.",
        ),
        Mistake(lambda n, kernel, stride=1, pad=0: n - kernel + 1, "`stride` and `pad` are ignored."),
        Mistake(
            lambda n, kernel, stride=1, pad=0: n - kernel,
            "Off by one: the kernel also stands at the place where it starts. And `stride` and `pad` are ignored.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n - kernel) // stride,
            "Off by one: the kernel also stands at the place where it starts. And `pad` is ignored.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: -(-(n + 2 * pad - kernel) // stride) + 1,
            "Rounded up: a last step that would push the kernel beyond the edge is not taken.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n + 2 * pad - kernel) / stride + 1,
            "There is no half place: a step that does not fit is not taken. Which division drops the remainder?",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: round((n + 2 * pad - kernel) / stride) + 1,
            "Rounded to the nearest number: a last step that does not fit is not taken, however little is missing.",
        ),
        Mistake(
            lambda n, kernel, stride=1, pad=0: (n + 2 * pad) // stride,
            "`kernel` is ignored: a large kernel reaches the edge sooner.",
        ),
    ],
    ladder=[
        "Count the places where the left edge of the kernel can stand.",
        "Draw a row of 7 pixels and a kernel of 2 that takes steps of 2: where does it stand?",
        "With its border a row has n + 2 * pad pixels. How far can the kernel move? How many steps of `stride` fit?",
    ],
)


@check
def out_size(answer: Callable[..., int]) -> str:
    """Exercise: `out_size(n, kernel, stride=1, pad=0)`, the side of a convolution's output map, in pixels."""
    return solve(_OUT_SIZE, answer)


# -- what a layer sees ------------------------------------------------------------------------------------------------

_GROW = Exercise(
    "grow",
    lambda size, jump, kernel, stride=1: (size + (kernel - 1) * jump, jump * stride),
    # a chain of layers: 3x3, 3x3, pooling, 5x5, 4x4 with stride 3, 2x2
    shown=[(1, 1, 3), (3, 1, 3), (5, 1, 2, 2), (6, 2, 5), (14, 2, 4, 3), (20, 6, 2)],
    draw=lambda rng: (rng.randint(1, 40), rng.randint(1, 8), rng.randint(1, 7), rng.randint(1, 4)),
    mistakes=[
        Mistake(
            lambda size, jump, kernel, stride=1: (jump * stride, size + (kernel - 1) * jump),
            "Both numbers are right, but they are swapped: the size comes first.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (size + kernel - 1, None),
            "The size ignores `jump`: neighbours lie that many pixels apart.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (size + kernel * jump, None),
            "Off by one in the size: from the first to the last of 3 neighbours it is 2 steps.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (size + (kernel - 1) * jump * stride, None),
            "The size grows by the jump before this layer; its own stride counts for the layers after it.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (size + (kernel - 1) * stride, None),
            "The size grows by steps of `jump`, not of `stride`: the stride of this layer moves its own units apart.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: ((size - 1) * stride + kernel, None),
            "That is the way back, from the last layer to the first. Here one more layer is put on top.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (kernel * jump, None),
            "The size forgets what each of the neighbours sees already: `size` pixels.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (size, None),
            "The size stays as it was: does the kernel not cover several neighbours?",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (None, jump),
            "The jump ignores `stride`: where a layer skips places, its units lie further apart.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (None, stride),
            "The jump forgets the one before: with a stride of 1 the units lie as far apart as before.",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (None, jump + stride),
            "Two poolings, each of stride 2: the jump goes from 1 to 2, and then to 4. Is that a sum?",
        ),
        Mistake(
            lambda size, jump, kernel, stride=1: (None, jump * kernel),
            "It is the stride that makes the units lie further apart, not the kernel.",
        ),
    ],
    ladder=[
        "How many units of the layer before does the kernel cover, and how far apart are they in pixels?",
        "The first of the neighbours sees `size` pixels. How many steps is it from there to the last one?",
        "Each of the kernel - 1 steps is as long as the old jump. And how far apart are two units of the new layer?",
    ],
)


@check
def grow(answer: Callable[..., tuple[int, int]]) -> str:
    """Exercise: `grow(size, jump, kernel, stride=1)`, the receptive field after one more layer, and its jump."""
    return solve(_GROW, answer)


def by_hand_network() -> nn.Sequential:
    """The network whose receptive fields are worked out on paper in the exercise `by_hand`."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, stride=2), nn.Conv2d(8, 8, 3)
    )


@check
def by_hand(answer: Callable[[], Sequence[int]]) -> str:
    """Exercise: the sides, in pixels, of what the layers of `by_hand_network()` see; worked out by hand."""
    network = by_hand_network()
    computed = receptive_fields(network)
    numbers = call("by_hand", answer, (), called="your function")
    if not isinstance(numbers, list | tuple) or len(numbers) != len(computed):
        wanted = f"expected a list of {len(computed)} numbers, one a layer{returned(numbers)}."
        raise CheckFailed(f"your function gave {short(numbers)}, {wanted}")
    jump, steps = 1, [(_first(layer.kernel_size), _first(layer.stride)) for layer in network]
    for number, (got, layer, field) in enumerate(zip(numbers, network, computed, strict=True), 1):
        if not agrees(plain(got), field.size[0]):
            kernel = steps[number - 1][0]
            ladder = (
                f"It reads {kernel} neighbours in a row. How far apart do they lie, in pixels of the image?",
                f"They lie {jump} pixels apart. The first one sees as much as the layer before.",
                f"From the first of its {kernel} neighbours to the last it is {kernel - 1} steps of {jump} pixels.",
            )
            found = f"layer {number}, {layer}: {short(got)} is not what the lab computes."
            hint = _walked(numbers[:number], steps[:number]) or _stride_missed(plain(got), number, steps, computed)
            raise failure(f"by_hand {number}", found, ladder, repr(got), hint)
        jump = int(field.jump[0])
    return f"{len(computed)} of {len(computed)} as the lab computes them."


def _walked(numbers: Sequence[Any], steps: Sequence[tuple[int, int]]) -> str:
    """The hint of the mistake in `grow` that gives these sizes from layer to layer; empty where none does."""
    for mistake in _GROW.mistakes:
        size, jump, sizes = 1, 1, []
        for kernel, stride in steps:
            right, wrong = _GROW.right(size, jump, kernel, stride), mistake.answer(size, jump, kernel, stride)
            size, jump = (w if w is not None else r for w, r in zip(wrong, right, strict=True))
            sizes.append(size)
        if agrees(numbers, tuple(sizes)):
            return mistake.hint
    return ""


def _stride_missed(got: Any, number: int, steps: Sequence[tuple[int, int]], computed: Sequence[Field]) -> str:
    """The hint where only the stride of the layer before is forgotten; empty where it is something else."""
    if number > 1 and steps[number - 2][1] > 1:
        size, jump = computed[number - 2].size[0], int(computed[number - 2].jump[0]) // steps[number - 2][1]
        if agrees(got, size + (steps[number - 1][0] - 1) * jump):
            return f"The stride of layer {number - 1} counts from here on: its units lie further apart."
    return ""


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


# -- what a layer costs -----------------------------------------------------------------------------------------------


def _conv_cost(c_in: int, c_out: int, kernel: int, side: int, bias: bool = True) -> tuple[int, int]:
    weights = c_out * c_in * kernel * kernel
    return weights + c_out * bias, weights * side * side


_CONV_COST = Exercise(
    "conv_cost",
    _conv_cost,
    shown=[(1, 16, 3, 28), (16, 32, 3, 28), (32, 8, 1, 14), (16, 24, 5, 7, False)],
    draw=lambda rng: (*(rng.randint(1, 64) for _ in "ab"), rng.randint(1, 7), rng.randint(2, 32), rng.random() < 0.5),
    mistakes=[
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: _conv_cost(c_in, c_out, kernel, side, bias)[::-1],
            "Both numbers are right, but they are swapped: the parameters come first.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * c_in * kernel**2, None),
            "The parameters ignore `bias`: where it is True, each filter has one number more.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * (c_in * kernel**2 + 1), None),
            "The parameters have a bias in any case: with bias=False there is none.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * c_in * kernel**2 + bias, None),
            "One bias for all: each of the c_out filters has its own.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * c_in * (kernel**2 + bias), None),
            "A bias for each input channel: a filter has one, however many channels it reads.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_in * (c_out * kernel**2 + bias), None),
            "A bias for each input channel: there is one for each channel that comes out.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * (kernel**2 + bias), None),
            "The parameters ignore `c_in`: a filter has weights of its own for every channel that it reads.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_in * kernel**2 + bias, None),
            "That is one filter; there are c_out of them.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (c_out * (c_in * kernel + bias), None),
            "The window has kernel rows and kernel columns.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (
                None,
                _conv_cost(c_in, c_out, kernel, side, bias)[0] * side**2,
            ),
            "The multiply-adds count the bias: it is added, and never multiplied.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_out * (c_in * kernel**2 + 1) * side**2),
            "The multiply-adds count the bias: it is added, and never multiplied.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_out * c_in * kernel**2),
            "Those are the multiply-adds of one place: the kernel stands at every place of the map.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_out * c_in * kernel**2 * side),
            "The map has side rows and side columns.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, 2 * c_out * c_in * kernel**2 * side**2),
            "A multiplication and the addition after it are one multiply-add.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_out * c_in * kernel**2 * (side - kernel + 1) ** 2),
            "`side` is the side of the output map already: nothing is taken from it.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_out * kernel**2 * side**2),
            "The multiply-adds ignore `c_in`: every channel that comes in is multiplied by weights of its own.",
        ),
        Mistake(
            lambda c_in, c_out, kernel, side, bias=True: (None, c_in * kernel**2 * side**2),
            "Those are the multiply-adds of one filter; there are c_out of them.",
        ),
    ],
    ladder=[
        "How many weights has one filter that looks at all c_in channels? And how many filters are there?",
        "At one place of the map, how often is a weight multiplied by a number? And how many places are there?",
        "Every weight works once at each of the side * side places. A bias is a parameter, and is not multiplied.",
    ],
)


@check
def conv_cost(answer: Callable[..., tuple[int, int]]) -> str:
    """Exercise: `conv_cost(c_in, c_out, kernel, side, bias=True)`, a convolution's (parameters, multiply-adds)."""
    return solve(_CONV_COST, answer)


# -- the schedule -----------------------------------------------------------------------------------------------------


def _rising(done: float, warmup: float, falling: float) -> float:
    """The right way up, and `falling` after it."""
    return done / warmup if done < warmup else falling


_TRIANGLE = Exercise(
    "triangle",
    lambda done, warmup: done / warmup if done < warmup else (1 - done) / (1 - warmup),
    shown=[(0.0, 0.2), (0.1, 0.2), (0.2, 0.2), (0.6, 0.2), (1.0, 0.2), (0.5, 0.5)],
    draw=lambda rng: (rng.random(), rng.uniform(0.05, 0.95)),
    mistakes=[
        Mistake(
            lambda done, warmup: min(done / warmup, 1.0),
            "It goes up and stays there: after `warmup` the rate has to fall, down to 0 at the end.",
        ),
        Mistake(lambda done, warmup: done / warmup, "It goes up for ever: the peak, 1, is at `warmup`."),
        Mistake(
            lambda done, warmup: (1 - done) / (1 - warmup),
            "It only comes down: before `warmup` the rate has to climb, from 0 to 1.",
        ),
        Mistake(lambda done, warmup: 1 - done, "It falls from the start; `warmup` is ignored."),
        Mistake(
            lambda done, warmup: _rising(done, warmup, 1 - done),
            "The way down starts too low: at `warmup` it has to be 1, the peak, and yours is 1 - warmup.",
        ),
        Mistake(
            lambda done, warmup: _rising(done, warmup, 1 - (done - warmup)),
            "The way down ends too high: at done = 1 it has to be 0, and yours is `warmup`.",
        ),
        Mistake(
            lambda done, warmup: _rising(done, warmup, (done - warmup) / (1 - warmup)),
            "The second line climbs, too, from 0 to 1: it has to fall.",
        ),
        Mistake(
            lambda done, warmup: _rising(done, warmup, max(0.0, 2 - done / warmup)),
            "It falls as fast as it climbed, and is 0 too early: the way down takes the rest of the run.",
        ),
        Mistake(
            lambda done, warmup: _rising(done, warmup, 2 - done / warmup),
            "It falls as fast as it climbed, and below 0: the way down takes the rest of the run.",
        ),
        Mistake(
            lambda done, warmup: done if done < warmup else (1 - done) / (1 - warmup),
            "The way up ends too low: at `warmup` it has to be 1, the peak.",
        ),
    ],
    ladder=[
        "Two straight lines: one up, for done < warmup, one down after it.",
        "On the way up, which part of `warmup` is over? On the way down, which part of what follows is still left?",
        "After the peak 1 - done of the run is left. Of how much? The share is 1 at `warmup`, and 0 at the end.",
    ],
)


@check
def triangle(answer: Callable[..., float]) -> str:
    """Exercise: `triangle(done, warmup)`, the learning rate as a share of its peak when `done` of the run is over."""
    return solve(_TRIANGLE, answer)


# -- accuracy ---------------------------------------------------------------------------------------------------------


def _share(batches: Batches) -> float:
    return sum(_right(*batch) for batch in batches) / sum(len(labels) for _, labels in batches)


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())


def _batches(sizes: Sequence[int], right: int, seed: int = 0) -> Batches:
    """Batches of these sizes, of which the first `right` images are classified right."""
    labels = torch.randint(0, 10, (sum(sizes),), generator=torch.Generator().manual_seed(seed))
    logits = F.one_hot(labels, 10).float() - 5  # all negative, as logits may well be
    logits[right:] = logits[right:].roll(1, dims=1)
    return list(zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True))


def _drawn_batches(rng: Random) -> tuple[Batches]:
    sizes = [*[rng.randint(4, 9)] * rng.randint(1, 3), rng.randint(1, 3)]
    return (_batches(sizes, rng.randint(0, sum(sizes)), rng.randrange(1000)),)


def _words(batches: Batches) -> str:
    *sizes, last = [len(labels) for _, labels in batches]
    right = sum(_right(*batch) for batch in batches)
    return f"batches of {', '.join(map(str, sizes))} and {last} images, {right} right,"


_ACCURACY = Exercise(
    "accuracy",
    _share,
    shown=[(_batches((8, 8, 2), 12),), (_batches((4, 1), 1),)],
    draw=_drawn_batches,
    mistakes=[
        Mistake(
            lambda batches: sum(_right(*b) / len(b[1]) for b in batches) / len(batches),
            "That is the mean of the batches' accuracies, in which an image of a small last batch counts for more.",
        ),
        Mistake(
            lambda batches: sum(_right(*b) for b in batches) / (len(batches) * len(batches[0][1])),
            "It divides as if the last batch were as large as the others.",
        ),
        Mistake(
            lambda batches: _right(*batches[-1]) / len(batches[-1][1]),
            "That is the last batch alone: add up before you divide, and do not `return` inside the loop.",
        ),
        Mistake(
            lambda batches: _right(*batches[0]) / len(batches[0][1]),
            "That is the first batch alone: does the `return` stand inside the loop?",
        ),
        Mistake(lambda batches: _share(batches[:-1]), "The last batch is left out: its images count like all others."),
        Mistake(lambda batches: 100 * _share(batches), "That is in percent: expected is a share from 0 to 1."),
        Mistake(
            lambda batches: sum(_right(*b) for b in batches),
            "That is how many are right: divide by the number of images.",
        ),
        Mistake(
            lambda batches: sum(_right(*b) for b in batches) / len(batches),
            "It divides by the number of batches: divide by the number of images.",
        ),
        Mistake(lambda batches: 1 - _share(batches), "That is the share that is wrong."),
        Mistake(lambda batches: round(_share(batches), 2), "It is rounded: leave the digits to whoever prints it."),
        Mistake(lambda batches: round(_share(batches), 3), "It is rounded: leave the digits to whoever prints it."),
        Mistake(lambda batches: round(_share(batches), 4), "It is rounded: leave the digits to whoever prints it."),
    ],
    ladder=[
        "Which class does a row of logits stand for? And does each image count once, in a small last batch, too?",
        "Two sums over all batches: the images that are right, and all images. One division, at the end.",
        "The answer to each image is the place of its largest logit, along axis 1; compare it with the labels.",
    ],
    words=_words,
    difference=lambda got, expected: f"gave {short(got)}, expected {expected:.4f}.",
)


@check
def accuracy(answer: Callable[[Batches], float]) -> str:
    """Exercise: `accuracy(batches)`, the share of images classified right, for (logits (B, 10), labels (B,)) pairs."""
    return solve(_ACCURACY, answer)
