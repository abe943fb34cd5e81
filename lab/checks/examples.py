"""Exercises of `notebooks/fashion.py`, and a check for one of your own where one example tells right from wrong."""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from lab.checks.trying import Exercise, Mistake, agrees, call, failure, passed, short, solve
from lab.checks.trying import check as _check
from lab.shelter import sheltered


def _counts(rng: Random) -> tuple[Tensor]:
    classes = rng.randint(2, 5)
    return (torch.tensor([[rng.randint(1, 50) for _ in range(classes)] for _ in range(classes)]),)


_SHARE_RIGHT = Exercise(
    "share_right",
    lambda matrix: matrix.diagonal() / matrix.sum(1),
    shown=[(torch.tensor([[8, 2], [1, 3]]),), (torch.tensor([[5, 0, 5], [1, 9, 0], [2, 1, 1]]),)],
    draw=_counts,
    mistakes=[
        Mistake(
            lambda matrix: matrix.diagonal() / matrix.sum(0),
            "It divides by the sums of the columns: those are the images that were taken for a class, not those of it.",
        ),
        Mistake(
            lambda matrix: matrix.diagonal() / matrix.sum(),
            "It divides by all images: each class has its own number of them.",
        ),
        Mistake(lambda matrix: 100 * matrix.diagonal() / matrix.sum(1), "That is in percent: expected are parts of 1."),
        Mistake(lambda matrix: 1 - matrix.diagonal() / matrix.sum(1), "Those are the parts that are wrong."),
        Mistake(lambda matrix: matrix.diagonal(), "Those are numbers of images: divide each by its class's."),
    ],
    ladder=["The diagonal has those that were classified right.", "A class's images are the sum of its row."],
)


@_check
def share_right(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: `share_right(matrix)`, from a confusion matrix (C, C) to the part of each class that is right, (C,)."""
    return solve(_SHARE_RIGHT, answer)


_MIRROR = Exercise(
    "mirror",
    lambda images: images.flip(2),
    shown=[(torch.tensor([[[1, 2], [3, 4]]]),), (torch.arange(12).view(2, 2, 3),)],
    draw=lambda rng: (torch.tensor([rng.randint(0, 255) for _ in range(24)]).view(2, 3, 4),),
    mistakes=[
        Mistake(lambda images: images.flip(1), "Top and bottom change places: axis 1 counts the rows."),
        Mistake(lambda images: images.flip(0), "The images change places: axis 0 counts them."),
        Mistake(lambda images: images.flip(1, 2), "Left and right change places, and top and bottom, too."),
        Mistake(lambda images: images.flip(0, 1, 2), "The images and the rows change places, too."),
        Mistake(lambda images: images, "The images are as they were: does a method give a new tensor?"),
        Mistake(lambda images: images.transpose(1, 2), "Rows become columns: that is turned and mirrored."),
    ],
    ladder=["Rows stay, columns change places.", "Which axis of (N, rows, columns) counts the columns?"],
)


@_check
def mirror(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: `mirror(images)`, (N, rows, columns) with left and right changed."""
    return solve(_MIRROR, answer)


def example(name: str, answer: Callable[[Tensor], Tensor], argument: Tensor, expected: Tensor, *hints: str) -> None:
    """Exercise of a new notebook: `answer(argument)` must give the tensor `expected`. The last hint is the plainest."""
    with sheltered():
        got = call(name, answer, (argument,), hints, f"{name}({short(argument)})")
        if not agrees(got, expected):
            found = f"{name}({short(argument)}) gave {short(got)}, expected {short(expected)}."
            raise failure(name, found, hints, found)
    passed(name, f"{short(argument)} gives {short(expected)}.")
