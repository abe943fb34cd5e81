"""How an answer is tried, and which hint a wrong one gets.

A wrong answer is compared with those that a known mistake gives: where one agrees in every case, the hint names that
mistake. Where none does, there is a ladder of hints, from a question to the step before the answer. The next one comes
when the answer has changed: who runs the same answer again sees the same hint. The answer itself never comes.
"""

import copy
import functools
import inspect
import io
import random
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from numbers import Real
from typing import Any, ParamSpec

import torch
from torch import Tensor

from lab.attempts import is_open, number_of, plain
from lab.errors import LabError
from lab.shelter import sheltered

DRAWN = 100
"""Cases that are drawn anew for each try, besides those that are always the same."""
TOLERANCE = 1e-6
"""How far a number may be from the expected one; for a tensor, `Exercise.tolerance` says it."""
_INDENT = "\n     "
P = ParamSpec("P")
CASES = random.Random()
"""Where drawn cases come from: a generator of its own, so that an answer that seeds Python's does not choose them."""


class CheckFailed(LabError):
    """An exercise that is not right yet."""


@dataclass(frozen=True)
class Mistake:
    """What somebody writes who makes a known mistake, and the words that name it.

    In place of a number that the mistake does not touch, `answer` may give None: any number agrees with it.
    """

    answer: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One that asks for a function: what is right, on which cases it is tried, and what helps."""

    name: str
    right: Callable[..., Any]
    shown: Sequence[tuple[Any, ...]]  # the arguments of the cases that are always the same
    draw: Callable[[random.Random], tuple[Any, ...]]  # the arguments of one more case
    mistakes: Sequence[Mistake]
    ladder: Sequence[str]
    tolerance: float = TOLERANCE
    words: Callable[..., str] | None = None  # the arguments, as "batches of 8 and 2 images"; None: name=value
    difference: Callable[[Any, Any], str] | None = None  # what it gave and what was expected, in words

    def called(self, arguments: tuple[Any, ...]) -> str:
        """The call as a person reads it: out_size(n=28, kernel=3)."""
        if self.words is not None:
            return f"{self.name} with {self.words(*arguments)}"
        names = inspect.signature(self.right).parameters
        return (
            f"{self.name}({', '.join(f'{name}={short(value)}' for name, value in zip(names, arguments, strict=False))})"
        )


def check(function: Callable[P, str]) -> Callable[P, None]:
    """A check from a function that gives the words of a right answer, and raises CheckFailed for a wrong one."""

    @functools.wraps(function)
    def checked(*arguments: P.args, **options: P.kwargs) -> None:
        if not arguments:
            name = function.__name__
            raise CheckFailed(f"checks.{name} checks an answer: give it yours, as in checks.{name}({name}).")
        with sheltered():
            words = function(*arguments, **options)
        passed(function.__name__, words)

    return checked


def passed(name: str, words: str) -> None:
    """Say that the exercise is right, and forget its hints."""
    for tried in [tried for tried in _TRIED if tried.split()[0] == name]:
        del _TRIED[tried]
    print(f"PASS {name}: {words}")


def draw_cases_from(seed: int) -> None:
    """From here on the drawn cases are always the same: for tests. Without it each try has others."""
    CASES.seed(seed)


def forget_hints() -> None:
    """From here on nothing has been tried yet: another copy begins."""
    _TRIED.clear()


def solve(exercise: Exercise, answer: Any) -> str:
    """Try an answer on every case; the words of a right one. Raises CheckFailed for a wrong one."""
    cases = [*exercise.shown, *(exercise.draw(CASES) for _ in range(DRAWN))]
    given = []
    for number, arguments in enumerate(cases):
        with nullcontext() if number < len(exercise.shown) else redirect_stdout(io.StringIO()):
            given.append(call(exercise.name, answer, arguments, exercise.ladder, exercise.called(arguments)))
    expected = [exercise.right(*copy.deepcopy(arguments)) for arguments in cases]
    right = [agrees(*pair, exercise.tolerance) for pair in zip(given, expected, strict=True)]
    if not all(right):
        first = right.index(False)
        found = f"{exercise.called(cases[first])} {_difference(exercise, given[first], expected[first])}"
        hint = next((one.hint for one in exercise.mistakes if _made(one, cases, given, exercise.tolerance)), "")
        if not hint and first >= len(exercise.shown):
            hint = "This case is a random one, and the fixed ones are right: does your answer know those by heart?"
        raise failure(exercise.name, found, exercise.ladder, _fingerprint(given[: len(exercise.shown)]), hint)
    return f"right in {len(exercise.shown)} cases, and in {DRAWN} random ones."


def _made(mistake: Mistake, cases: Sequence[tuple[Any, ...]], given: Sequence[Any], tolerance: float) -> bool:
    """Does the answer give in every case what the mistake gives?"""
    try:
        expected = (mistake.answer(*copy.deepcopy(arguments)) for arguments in cases)
        return all(agrees(got, one, tolerance) for got, one in zip(given, expected, strict=True))
    except (ArithmeticError, RuntimeError):  # the mistake can't be made in one of the cases
        return False


def _difference(exercise: Exercise, got: Any, expected: Any) -> str:
    if isinstance(expected, Tensor) and not (isinstance(got, Tensor) and got.shape == expected.shape):
        return f"gave {short(got)}, expected a tensor of shape {tuple(expected.shape)}{returned(got)}."
    if isinstance(expected, Tensor) and not torch.isfinite(got).all():
        return "gave NaN or infinity: is something divided by zero?"
    if exercise.difference is not None and isinstance(got, Real | Tensor):
        return exercise.difference(got, expected)
    return f"gave {short(got)}, expected {short(expected)}{returned(got)}."


def returned(got: Any) -> str:
    """A question to an answer that gives nothing."""
    return " (does the function end in `return`?)" if got is None else ""


def _fingerprint(given: Sequence[Any]) -> str:
    """The same text for the same results, and hardly ever for others."""
    rounded = (one.detach().cpu().double().round(decimals=4) if isinstance(one, Tensor) else one for one in given)
    return ", ".join(repr(one.tolist()) if isinstance(one, Tensor) else short(one) for one in rounded)


def agrees(got: Any, expected: Any, tolerance: float = TOLERANCE) -> bool:
    """Is `got` the number, the pair of numbers or the tensor that is expected?

    NumPy's numbers count, and tensors and arrays of one number; NaN, True and False do not. Expected None: anything.
    """
    if isinstance(expected, Tensor):
        same = isinstance(got, Tensor) and got.shape == expected.shape and not got.is_complex()
        return same and torch.allclose(got.detach().cpu().double(), expected.double(), rtol=tolerance, atol=tolerance)
    if isinstance(expected, tuple):
        many = isinstance(got, tuple | list) and len(got) == len(expected)
        return many and all(agrees(plain(one), other, tolerance) for one, other in zip(got, expected, strict=True))
    if expected is None:
        return True
    number = number_of(got)
    return number is not None and bool(expected - tolerance <= number <= expected + tolerance)


def call(name: str, answer: Any, arguments: tuple[Any, ...], ladder: Sequence[str] = (), called: str = "") -> Any:
    """What the student's answer gives for a copy of these arguments; where none is a tensor, `plain`.

    Whatever it raises becomes a message; but NotImplementedError passes through, because an untouched exercise is not a
    wrong one, and so does KeyboardInterrupt. called: the call as a person reads it.
    """
    if not callable(answer):
        raise CheckFailed(f"{name} must be something to call; it is {short(answer)}.")
    try:
        got = answer(*copy.deepcopy(arguments))
        return got if any(isinstance(argument, Tensor) for argument in arguments) else plain(got)
    except (LabError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too: an answer that ends Python is wrong
        if is_open(error):
            raise
        found = f"{called or f'{name}{arguments}'} raises {type(error).__name__}: {error}"
        hint = next((hint for text, hint in _KNOWN_ERRORS.items() if text in str(error)), "")
        raise failure(name, found, ladder, found, hint) from error


_KNOWN_ERRORS = {
    "is not a Module subclass": "Put * before a list of layers: nn.Sequential(*layers).",
    "modified by an inplace operation": "The step comes before `backward`, and moves what `backward` reads.",
    "does not require grad": "Before `backward` something cuts the loss off: .item(), .detach(), no_grad?",
    "object has no attribute 'backward'": "`backward` belongs to the loss as a tensor: take its number afterwards.",
    " not implemented for 'Long'": "Those are whole numbers: `.float()` makes numbers with a point of them.",
    "must match the size": "`mean` and `variance` have shape (C,), and PyTorch compares shapes from the last axis on.",
}
"""What helps against an error of PyTorch's, by a part of its text."""


_TRIED: dict[str, tuple[int, str]] = {}
"""By exercise, since it last passed: the place of the hint that came last, and what the answer had given."""


def failure(name: str, found: str, ladder: Sequence[str], given: str, hint: str = "") -> CheckFailed:
    """What is wrong, and a hint: the one for the mistake that was made, or else the ladder's.

    given: what the answer gives; where that is what it gave at the last try, so is the hint.
    """
    if hint or not ladder:
        return CheckFailed(found + (_INDENT + hint if hint else ""))
    given = re.sub(r" at 0x[0-9a-f]+", "", given)
    step, before = _TRIED.get(name, (0, given))
    step = min(step + (given != before), len(ladder) - 1)
    _TRIED[name] = (step, given)
    more = " Try another answer for the next hint." if step + 1 < len(ladder) else ""
    return CheckFailed(f"{found}{_INDENT}Hint {step + 1} of {len(ladder)}: {ladder[step]}{more}")


def short(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    try:
        many = isinstance(value, Tensor) and value.numel() > 8
        shown = value.tolist() if isinstance(value, Tensor) else value
        text = f"a tensor of shape {tuple(value.shape)}" if many else repr(shown)
    except Exception:  # a class's own __repr__
        text = f"a {type(value).__name__}"
    text = text.splitlines()[0] if text else text
    return text if len(text) <= 80 else text[:77] + "..."
