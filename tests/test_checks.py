"""Each exercise: the right answer passes, an untouched one stays untouched, a wrong one gets a message that helps."""

import ast
import functools
import logging
import math
import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab import checks, models
from lab.checks import CheckFailed, examples, formulas, layers, networks
from lab.checks.trying import Exercise, Mistake
from lab.errors import GraphError, LabError
from lab.graph import Graph, capture
from lab.receptive import receptive_fields

# -- the exercises, solved as the notebook solves them ----------------------------------------------------------------


def out_size(n, kernel, stride=1, pad=0):
    return (n + 2 * pad - kernel) // stride + 1


def grow(size, jump, kernel, stride=1):
    return size + (kernel - 1) * jump, jump * stride


def my_fields():
    return [3, 4, 8, 12, 20]


def conv_cost(c_in, c_out, kernel, side, bias=True):
    weights = c_out * c_in * kernel * kernel
    return weights + c_out * bias, weights * side * side


def triangle(done, warmup):
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def accuracy(batches):
    right = sum((logits.argmax(1) == labels).sum() for logits, labels in batches)
    return int(right) / sum(len(labels) for _, labels in batches)


def batch_norm(x, mean, variance, training, eps=1e-5):
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    return (x - mean.view(1, -1, 1, 1)) / torch.sqrt(variance.view(1, -1, 1, 1) + eps)


def drop(x, p):
    return x * (torch.rand_like(x) >= p) / (1 - p)


def train_step(model, optimizer, images, labels):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss


def conv_block(c_in, c_out):
    return nn.Sequential(*models.conv_block(c_in, c_out))


class Unsilenced(models.SeedNet):
    def forward(self, x):
        return F.log_softmax(self.fc(self.features(x)), dim=1)


class MyNet(models.StagesNet):
    def __init__(self):
        super().__init__((16, 16, 24, 24, 23))


def share_right(matrix):
    return matrix.diagonal() / matrix.sum(1)


def mirror(images):
    return images.flip(2)


SOLVED: dict[str, tuple[Any, str]] = {
    "out_size": (out_size, "right in 5 cases, and in 100 random ones."),
    "grow": (grow, "right in 6 cases, and in 100 random ones."),
    "by_hand": (my_fields, "5 of 5 as the lab computes them."),
    "conv_cost": (conv_cost, "right in 4 cases, and in 100 random ones."),
    "without_flaw": (Unsilenced, "the logits reach the softmax as they are."),
    "batch_norm": (
        batch_norm,
        "in training and in eval mode as nn.BatchNorm2d computes it, where a channel hardly varies, too.",
    ),
    "conv_block": (conv_block, "convolution without bias, batch norm, ReLU; the size stays."),
    "drop": (drop, "each number is dropped by itself with probability p, and the others are scaled."),
    "triangle": (triangle, "right in 6 cases, and in 100 random ones."),
    "train_step": (
        train_step,
        "3 steps as the lab takes them; in 60 steps the loss falls to less than a fifth.",
    ),
    "accuracy": (accuracy, "right in 2 cases, and in 100 random ones."),
    "design": (MyNet, "18,342 parameters, 5 rules kept. Now train it."),
    "share_right": (share_right, "right in 2 cases, and in 100 random ones."),
    "mirror": (mirror, "right in 2 cases, and in 100 random ones."),
}
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for module in (formulas, layers, examples)
    for exercise in vars(module).values()
    if isinstance(exercise, Exercise)
}
NUMBERS = ["out_size", "grow", "conv_cost", "triangle"]
"""Exercises that numbers are given and asked for."""
each = pytest.mark.parametrize("name", SOLVED)
numbers = pytest.mark.parametrize("name", NUMBERS)


@functools.cache
def seed_graph() -> Graph:
    """SeedNet's graph."""
    return capture(models.SeedNet())


@functools.cache
def fields_by_hand() -> Any:
    return receptive_fields(checks.by_hand_network())


@pytest.fixture(autouse=True)
def computed_once(monkeypatch):
    """What a check computes anew at every call, SeedNet's graph and the fields of `by_hand`'s network, is kept here."""

    def kept_graph(net, *shape):
        return seed_graph() if type(net) is models.SeedNet else capture(net, *shape)

    monkeypatch.setattr(networks, "capture", kept_graph)
    monkeypatch.setattr(formulas, "receptive_fields", lambda network: fields_by_hand())
    checks.forget_hints()
    checks.draw_cases_from(0)


def failure(name: str, answer: Any, *arguments: Any) -> str:
    """The message of the CheckFailed for `answer`."""
    with pytest.raises(CheckFailed) as caught:
        getattr(checks, name)(answer, *arguments)
    return str(caught.value)


@each
def test_right_answer_passes(name, capsys):
    answer, words = SOLVED[name]
    for seed in (0, 1):
        checks.draw_cases_from(seed)
        getattr(checks, name)(answer)
    assert capsys.readouterr().out == f"PASS {name}: {words}\n" * 2


@each
def test_untouched_exercise_is_not_a_wrong_one(name):
    def untouched(*arguments):
        raise NotImplementedError("exercise: one line")

    with pytest.raises(NotImplementedError, match=r"^exercise: one line$"):
        getattr(checks, name)(untouched)


@pytest.mark.parametrize(("name", "network"), [("without_flaw", models.SeedNet), ("design", models.LabNet)])
def test_a_forward_that_is_still_open_is_not_a_wrong_one(name, network):
    class Open(network):
        def forward(self, x):
            raise NotImplementedError

    with pytest.raises(NotImplementedError):
        getattr(checks, name)(Open)


@each
def test_a_check_without_an_answer_asks_for_it(name):
    with pytest.raises(
        CheckFailed, match=rf"^checks.{name} checks an answer: give it yours, as in checks.{name}\({name}\)"
    ):
        getattr(checks, name)()


def test_every_check_is_tried_here():
    others = {"CheckFailed", "draw_cases_from", "forget_hints", "by_hand_network", "example"}
    offered = set(checks.__all__) - others - {"reaches", "version"}  # tried in test_checks_of_design.py
    assert offered == set(SOLVED)


# -- answers of a wrong kind ------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("answer", [None, 3, "out_size"])
def test_answer_that_cannot_be_called(name, answer):
    assert f"must be something to call; it is {answer!r}." in failure(name, answer)


@each
@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError, GeneratorExit])
def test_answer_that_raises(name, error):
    def broken(*arguments):
        raise error("no such luck")

    assert failure(name, broken).splitlines()[0].endswith(f" raises {error.__name__}: no such luck")


@each
def test_an_answer_that_a_person_stops(name):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(checks, name)(stopped)


@each
def test_answer_with_another_signature(name):
    def takes_seven(a, b, c, d, e, f, g):
        raise AssertionError("never called")

    assert "raises TypeError: " in failure(name, takes_seven)


def test_pytorchs_own_word_for_not_implemented_is_no_open_exercise():
    message = failure("share_right", lambda matrix: matrix.softmax(1))  # of whole numbers
    assert "raises NotImplementedError: " in message
    assert message.endswith("\n     Those are whole numbers: `.float()` makes numbers with a point of them.")


WRONG_KINDS = {
    "None": None,
    "'26'": "26",
    "True": True,
    "nan": math.nan,
    "inf": math.inf,
    "[]": [],
    "[1.0, 1.0, 1.0]": torch.ones(3),
    "[7.0, 7.0]": np.full(2, 7.0),
    "-7.0": torch.tensor(-7.0),
    "1j": 1j,
}


@numbers
@pytest.mark.parametrize("shown", WRONG_KINDS)
def test_value_of_a_wrong_kind(name, shown):
    assert f" gave {shown}, expected " in failure(name, lambda *arguments: WRONG_KINDS[shown])


@pytest.mark.parametrize(
    "pair", [(torch.ones(2), 1), (np.ones(2), 1), np.ones(2), torch.ones(2), (3, math.nan), (3, 1, 1), "31", (3, None)]
)
def test_grow_that_does_not_give_two_numbers(pair):
    message = failure("grow", lambda *arguments: pair)
    assert message.startswith("grow(size=1, jump=1, kernel=3) gave ")
    assert ", expected (3, 1)" in message


@each
def test_an_answer_that_gives_nothing(name):
    message = failure(name, lambda *arguments: None)
    assert "return" in message
    assert "None" in message


@numbers
@pytest.mark.parametrize("kind", [float, np.int64, np.float32, torch.tensor, np.array])
def test_numbers_of_other_libraries_count(name, kind):
    if kind is np.int64 and name == "triangle":
        kind = np.float64
    right = SOLVED[name][0]

    def converted(*arguments):
        got = right(*arguments)
        return tuple(map(kind, got)) if isinstance(got, tuple) else kind(got)

    getattr(checks, name)(converted)


def test_enormous_and_long_answers():
    assert "..., expected 26." in failure("out_size", lambda *arguments: 10**400)
    assert ", expected 0.0." in failure("triangle", lambda *arguments: 10**400)
    message = failure("out_size", lambda *arguments: "x" * 1000)
    assert "x..., expected 26" in message
    assert len(message) < 300


class Unspeakable:
    def __repr__(self):
        raise ValueError("no words")


def test_an_answer_that_cannot_be_shown():
    assert "gave a Unspeakable, expected 26." in failure("out_size", lambda *arguments: Unspeakable())


# -- known mistakes ---------------------------------------------------------------------------------------------------

MISTAKES = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.mistakes]


def made(exercise: Exercise, mistake: Mistake) -> Callable[..., Any]:
    """An answer with this mistake, and no other."""

    def answer(*arguments: Any) -> Any:
        got = mistake.answer(*arguments)
        if not isinstance(got, tuple):
            return got
        return tuple(r if g is None else g for g, r in zip(got, exercise.right(*arguments), strict=True))

    return answer


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=[f"{e.name}: {m.hint}" for e, m in MISTAKES])
def test_the_hint_names_the_mistake(exercise, mistake):
    """Not an earlier one of the list, and already in the first case that is shown."""
    for seed in (0, 1):
        checks.draw_cases_from(seed)
        found, hint = failure(exercise.name, made(exercise, mistake)).split("\n     ")
        assert hint == mistake.hint
        assert " gave " in found or " has mean " in found


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        (
            "out_size",
            lambda n, k, s=1, p=0: n - 3,
            "out_size(n=28, kernel=3) gave 25, expected 26.\n     Hint 1 of 3: ",
        ),
        (
            "grow",
            lambda *a: (a[0] + a[2] - 1, a[1]),
            "grow(size=5, jump=1, kernel=2, stride=2) gave (6, 1), expected (6, 2)",
        ),
        (
            "conv_cost",
            lambda i, o, k, s, b=True: (1, 2),
            "conv_cost(c_in=1, c_out=16, kernel=3, side=28) gave (1, 2), ",
        ),
        ("triangle", lambda done, warmup: 0.25, "triangle(done=0.0, warmup=0.2) gave 0.25, expected 0.0.\n"),
        (
            "accuracy",
            lambda b: 0.5,
            "accuracy with batches of 8, 8 and 2 images, 12 right, gave 0.5, expected 0.6667.\n",
        ),
        (
            "accuracy",
            lambda b: None,
            "accuracy with batches of 8, 8 and 2 images, 12 right, gave None, expected 0.6666",
        ),
        (
            "share_right",
            lambda m: m,
            "share_right(matrix=[[8, 2], [1, 3]]) gave [[8, 2], [1, 3]], expected a tensor of ",
        ),
        (
            "share_right",
            lambda m: m / 0,
            "share_right(matrix=[[8, 2], [1, 3]]) gave [[inf, inf], [inf, inf]], expected",
        ),
        (
            "batch_norm",
            lambda x, m, v, t, eps=0: x[0],
            "batch_norm with x of shape (4, 3, 2, 5), mean and variance of ",
        ),
        (
            "batch_norm",
            lambda x, m, v, t, eps=0: x / 0,
            "batch_norm with x of shape (4, 3, 2, 5), mean and variance of ",
        ),
        (
            "batch_norm",
            lambda x, m, v, t, eps=0: x - m,
            "batch_norm with x of shape (4, 3, 2, 5), mean and variance of ",
        ),
    ],
)
def test_wrong_values(name, answer, message):
    assert failure(name, answer).startswith(message)


def test_batch_norm_that_gives_infinity_or_another_shape():
    assert "gave NaN or infinity: is something divided by zero?" in failure(
        "batch_norm", lambda x, m, v, t, eps=0: x / 0
    )
    assert "gave a tensor of shape (3, 2, 5), expected a tensor of shape (4, 3, 2, 5)" in failure(
        "batch_norm", lambda x, m, v, t, eps=0: x[0]
    )
    assert "raises RuntimeError: The size of tensor a (5) must match" in failure(
        "batch_norm", lambda x, mean, v, t, eps=0: x - mean
    )


def test_an_answer_that_knows_the_usual_cases_by_heart():
    known = {case: out_size(*case) for case in EXERCISES["out_size"].shown}
    found, hint = failure("out_size", lambda *case: known.get(case, 9)).split("\n     ")
    assert hint == "This case is a random one, and the fixed ones are right: does your answer know those by heart?"
    assert "gave 9" in found


def test_cases_are_drawn_anew_whatever_an_answer_seeds():
    seen: list[set[Any]] = []

    def watched(*case):
        random.seed(0)
        seen[-1].add(case)
        return out_size(*case)

    for _ in range(2):
        seen.append(set())
        checks.out_size(watched)
    assert len(seen[0] & seen[1]) < 20
    checks.draw_cases_from(0)
    seen.append(set())
    checks.out_size(watched)
    assert seen[2] == seen[0]


def test_prints_are_shown_for_the_usual_cases(capsys):
    def prints(*case):
        print("looking")
        return out_size(*case)

    checks.out_size(prints)
    assert capsys.readouterr().out.count("looking") == 5


# -- hints that become plainer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_the_next_hint_comes_with_another_answer_and_they_start_again_after_a_pass(name):
    exercise = EXERCISES[name]

    def wrong(number):
        def answer(*arguments):
            right = exercise.right(*arguments)
            return tuple(one + number for one in right) if isinstance(right, tuple) else right + number

        return answer

    first, again, second, third = (failure(name, wrong(number)) for number in (0.11, 0.11, 0.22, 0.33))
    last = len(exercise.ladder)
    assert first == again
    assert first.endswith(f"Hint 1 of {last}: {exercise.ladder[0]} Try another answer for the next hint.")
    assert f"Hint 2 of {last}: {exercise.ladder[1]}" in second
    assert third.endswith(f"Hint {last} of {last}: {exercise.ladder[-1]}")
    assert f"Hint {last} of {last}: " in failure(name, wrong(0.44))
    getattr(checks, name)(SOLVED[name][0])
    assert failure(name, wrong(0.11)) == first


LADDERS = {
    **{name: exercise.ladder for name, exercise in EXERCISES.items()},
    "drop": layers._DROP,
    "train_step": layers._STEP_LADDER,
    "conv_block": networks._BLOCK,
    "without_flaw": networks._FLAW,
}


@each
def test_no_hint_is_the_answer(name):
    if name == "design":
        return  # its rules say what is missing
    if name == "by_hand":
        texts = [
            failure("by_hand", lambda n=n: [3, 4, 8, 12][:n] + [n] + [0] * (4 - n)) for n in range(5) for _ in "ab"
        ]
        assert not any(f" {number}" in text.split("\n")[1] for text in texts for number in (8, 12, 20))
        return
    formula = (ast.BinOp, ast.Call, ast.IfExp)
    texts = [*LADDERS[name], *(mistake.hint for mistake in (EXERCISES[name].mistakes if name in EXERCISES else []))]
    for text in texts:
        for part in [text, *text.split(": ")]:
            try:
                tree = ast.parse(part.rstrip(".?"))
            except SyntaxError:
                continue
            assert not any(isinstance(node, formula) for node in ast.walk(tree))


def test_every_exercise_has_hints_of_its_own():
    failure("out_size", lambda *arguments: -1)
    assert "Hint 1 of 3" in failure("conv_cost", lambda *arguments: -1)


# -- dropout ----------------------------------------------------------------------------------------------------------


def kept(x: torch.Tensor, p: float) -> torch.Tensor:
    return torch.rand_like(x) >= p


ONE_BY_ONE = "Each number is dropped or kept by itself: draw as many random numbers as x has."


@pytest.mark.parametrize(
    ("answer", "found", "hint"),
    [
        (lambda x, p: x, "with p = 0.25, 0% of the numbers are zero, expected about 25%.", "Hint 1 of 3: "),
        (
            lambda x, p: x * ~kept(x, p) / p,
            "with p = 0.25, 75% of the numbers are zero, expected about 25%.",
            "Kept and dropped are swapped: p is the probability to drop, and you drop 75%.",
        ),
        (
            lambda x, p: x * kept(x, p),
            "with p = 0.25, what is kept is multiplied by 1.00, expected 1.33 everywhere.",
            "It is not scaled: ",
        ),
        (
            lambda x, p: x * kept(x, p) * (1 - p),
            "with p = 0.25, what is kept is multiplied by 0.75, ",
            "It is multiplied",
        ),
        (
            lambda x, p: x * kept(x, p) / p,
            "with p = 0.25, what is kept is multiplied by 4.00, ",
            "It is divided by the",
        ),
        (
            lambda x, p: x * kept(x, p) * (1 + p),
            "with p = 0.25, what is kept is multiplied by 1.25, ",
            "At p = 0.5 half",
        ),
        (
            lambda x, p: x * kept(x, p) * torch.rand_like(x),
            "with p = 0.25, what is kept is multiplied by 0.00 to 1.00, ",
            "",
        ),
        (lambda x, p: x * kept(x[:1], p) / (1 - p), "some columns lose far more", ONE_BY_ONE),
        (lambda x, p: x * kept(x[:, :1], p) / (1 - p), "some rows lose far more", ONE_BY_ONE),
        (
            lambda x, p: x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) >= p) / (1 - p),
            "two calls drop the same places.",
            "Do you set a seed inside the function?",
        ),
        (lambda x, p: x * kept(x, 0.25) / 0.75, "with p = 0.5, 25% of the numbers are zero, expected about 50%.", ""),
        (lambda x, p: 3, "drop gave 3, expected a tensor of shape (200, 100).", ""),
        (lambda x, p: x * kept(x, p) / 0, "drop gave NaN or infinity", ""),
    ],
)
def test_wrong_drop(answer, found, hint):
    message = failure("drop", answer)
    assert message.startswith(found)
    assert hint in message


def test_dropouts_of_other_libraries_pass():
    checks.drop(F.dropout)
    checks.drop(lambda x, p: torch.bernoulli(torch.full_like(x, 1 - p)) * x / (1 - p))
    checks.drop(lambda x, p: x * torch.from_numpy(np.random.rand(*x.shape) >= p) / (1 - p))


# -- a step of training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", layers._STEP_MISTAKES, ids=lambda mistake: mistake.hint)
def test_a_wrong_step_is_told_which_mistake_it_makes(mistake):
    for seed in (0, 1):
        checks.draw_cases_from(seed)
        found, hint = failure("train_step", mistake.answer).split("\n     ")
        same_words = [other.hint for other in layers._STEP_MISTAKES if other.hint == hint]
        assert hint == mistake.hint
        assert found.startswith("step ")
        assert len(same_words) <= 2


def test_a_missing_zero_grad_shows_in_the_second_step():
    def piles_up(model, optimizer, images, labels):
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    assert failure("train_step", piles_up).startswith("step 2: the loss is right, the parameters after it are not")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda model, optimizer, images, labels: 0.5, "step 1: the loss is 0.5, expected 2."),
        (lambda *a: (train_step(*a), 1), "step 1: the loss is (tensor("),
        (
            lambda m, o, *batch: train_step(m, torch.optim.SGD(m.parameters(), lr=0.3), *batch),
            "step 1: the loss is right, the",
        ),
        (lambda m, *rest: train_step(nn.Linear(2, 2), *rest), "train_step raises RuntimeError: mat1 and mat2"),
        (
            lambda m, o, images, labels: F.cross_entropy(m(images), labels).item().backward(),
            "train_step raises AttributeError: 'float' object",
        ),
    ],
)
def test_wrong_steps(answer, message):
    assert failure("train_step", answer).startswith(message)


@pytest.mark.parametrize(
    ("order", "hint"),
    [("forward step backward", "The step comes before `backward`"), ("forward step zero backward", "The step comes")],
)
def test_a_step_that_pytorch_refuses_is_explained(order, hint):
    message = failure("train_step", layers._variant(order))
    assert "raises RuntimeError: one of the variables" in message
    assert f"\n     {hint}" in message


def test_other_ways_to_the_same_step():
    def by_parts(model, optimizer, images, labels):
        model.train()
        loss = F.nll_loss(F.log_softmax(model(images), dim=1), labels)
        model.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return loss.item()

    checks.train_step(by_parts)


# -- exercises of new notebooks ---------------------------------------------------------------------------------------


def halve(answer, *hints):
    checks.example("halve", answer, torch.tensor([4, 2]), torch.tensor([2.0, 1.0]), *hints)


def example_failure(answer: Any, *hints: str) -> str:
    with pytest.raises(CheckFailed) as caught:
        halve(answer, *hints)
    return str(caught.value)


def test_an_example(capsys):
    halve(lambda x: x / 2)
    halve(lambda x: x // 2)
    assert capsys.readouterr().out == "PASS halve: [4, 2] gives [2.0, 1.0].\n" * 2
    hints = "Less.", "Is it half?"
    assert example_failure(lambda x: x, *hints) == (
        "halve([4, 2]) gave [4, 2], expected [2.0, 1.0].\n     Hint 1 of 2: Less. Try another answer for the next hint."
    )
    assert example_failure(lambda x: x + 1, *hints).endswith("Hint 2 of 2: Is it half?")
    assert example_failure(lambda x: x) == "halve([4, 2]) gave [4, 2], expected [2.0, 1.0]."
    assert example_failure(lambda x: x[0]).startswith("halve([4, 2]) gave 4, expected [2.0, 1.0]")


# -- networks ---------------------------------------------------------------------------------------------------------


def block(*, kernel=3, norm=True, relu=nn.ReLU, first=(), order=(0, 1, 2), **arguments) -> Callable[..., nn.Module]:
    """A conv_block with these peculiarities."""

    def answer(c_in, c_out):
        convolution = nn.Conv2d(c_in, c_out, kernel, **{"padding": 1, "bias": False} | arguments)
        made = [convolution, nn.BatchNorm2d(c_out), relu()]
        return nn.Sequential(*first, *(made[i] for i in order if norm or i != 1))

    return answer


EXPECTED = "expected conv 3x3, batch norm, relu.\n     "


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (block(norm=False), f"executes conv 3x3, relu, {EXPECTED}There is no batch norm."),
        (block(relu=nn.Identity), f"executes conv 3x3, batch norm, {EXPECTED}There is no relu."),
        (block(relu=nn.GELU), f"executes conv 3x3, batch norm, gelu, {EXPECTED}There is no relu."),
        (block(kernel=1, padding=0), f"executes conv 1x1, batch norm, relu, {EXPECTED}There is no conv 3x3."),
        (block(first=[nn.ReLU()]), f"executes relu, conv 3x3, batch norm, relu, {EXPECTED}Each of the three once"),
        (
            block(order=(0, 2, 1)),
            f"executes conv 3x3, relu, batch norm, {EXPECTED}The three are there, in",
        ),
        (block(padding=0), "turns 3x14x14 into 8x12x12, expected 8x14x14.\n     The kernel finds fewer places"),
        (block(padding=2), "turns 3x14x14 into 8x16x16, expected 8x14x14.\n     The kernel finds fewer places"),
        (block(stride=2), "turns 3x14x14 into 8x7x7, expected 8x14x14.\n     The convolution skips places"),
        (block(dilation=2, padding=2), "has a convolution with gaps in its kernel.\n     Leave `dilation` out."),
        (
            block(bias=True),
            "has a bias in its convolution, 8 numbers that batch norm takes away again.\n     nn.Conv2d",
        ),
        (
            lambda a, b: conv_block(a, 2 * b),
            "turns 3x14x14 into 16x14x14, expected 8x14x14.\n     16 channels",
        ),
        (lambda a, b: conv_block, "gave <function conv_block at 0x"),
        (models.conv_block, "gave [Conv2d(3, 8, kernel_size=(3, 3)"),
    ],
)
def test_wrong_conv_block(answer, message):
    assert failure("conv_block", answer).startswith(f"conv_block(3, 8) {message}")


def test_a_conv_block_of_groups():
    graph = capture(block(groups=2)(4, 4), (4, 14, 14))  # the check's own channels can't be shared out
    assert networks._fault(graph, (4, 14, 14)) == (
        "has a convolution whose filters read only some of the channels.",
        "Leave `groups` out.",
    )


def test_conv_block_of_one_size_only():
    message = failure("conv_block", lambda c_in, c_out: conv_block(3, 8))
    assert re.match(
        r"conv_block\((\d), \d\) fails on images \(2, \1, 14, 14\), in or after layer '0', Conv2d\(3, 8, ", message
    )


def test_a_network_that_cannot_run_says_in_which_layer_and_what_that_is_given():
    message = failure("conv_block", lambda c_in, c_out: nn.Sequential(nn.Conv2d(c_in, c_out, 3), nn.BatchNorm2d(3)))
    assert "in or after layer '1', BatchNorm2d(3, " in message
    assert "which is given (2, 8, 12, 12): " in message
    assert "\n     Hint 1 of 3: nn.Sequential executes its layers" in message


def test_a_network_without_flatten():
    message = failure("design", lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Linear(8 * 26 * 26, 10)))
    assert "in or after layer '1', Linear(in_features=5408, out_features=10, bias=True), which is given (2, " in message


class ReturnsNothing(models.LabNet):
    def forward(self, x):
        super().forward(x)


class Exits(models.LabNet):
    def forward(self, x):
        raise SystemExit("enough")


class WithoutForward(nn.Module):
    pass


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ReturnsNothing, "your network gives None: does its forward end in `return`?"),
        (WithoutForward, "your network has no forward: define `def forward(self, x)`, and return the result."),
        (Exits, "your network fails on images (2, 1, 28, 28): enough"),
        (
            lambda: nn.Sequential(models.conv_block(1, 8)),
            "your network() raises TypeError: list is not a Module subclass\n     Put * before a list of layers: ",
        ),
        (lambda: nn.Sequential(*models.LabNet(), nn.ReLU()), "your network ends in relu; the training needs logits"),
        (lambda: nn.Sequential(*models.LabNet(), nn.Softmax(1)), "your network ends in softmax; the training needs"),
    ],
)
def test_networks_with_the_commonest_mistakes(answer, message):
    assert failure("design", answer).startswith(message)


def test_log_probabilities_will_do():
    checks.design(lambda: nn.Sequential(*MyNet(), nn.LogSoftmax(1)))


class StillSilenced(models.SeedNet):
    pass


def seed_with(last: Callable[[Any, torch.Tensor], torch.Tensor]) -> type[nn.Module]:
    """SeedNet with another last line."""
    return type("Other", (models.SeedNet,), {"forward": lambda self, x: last(self, self.features(x))})


class Wider(Unsilenced):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(20)
        self.conv2 = nn.Conv2d(20, 32, 3, padding=1)


@pytest.mark.parametrize(
    ("answer", "found", "hint"),
    [
        (StillSilenced, "your network executes what SeedNet executes.", "The ReLU behind `fc` is still there."),
        (
            seed_with(lambda net, x: F.log_softmax(F.leaky_relu(net.fc(x)), 1)),
            "your network executes leaky_relu to (10,) where log_softmax to (10,) is expected.",
            "Another function in the place of the ReLU changes the logits, too: nothing has to stand there.",
        ),
        (
            seed_with(lambda net, x: net.fc(x)),
            "your network executes nothing where log_softmax to (10,) is expected.",
            "Those are logits; SeedNet gives log-probabilities: the log_softmax stays.",
        ),
        (
            seed_with(lambda net, x: F.relu(net.fc(x))),
            "your network executes relu to (10,) where log_softmax to (10,) is expected.",
            "The log_softmax is gone, and the ReLU is still there: it is the other way round.",
        ),
        (
            seed_with(lambda net, x: F.softmax(net.fc(x), 1)),
            "your network executes softmax to (10,) where log_softmax to (10,) is expected.",
            "Those are probabilities; SeedNet gives their logarithms: the log_softmax stays.",
        ),
        (
            seed_with(lambda net, x: F.relu(F.log_softmax(net.fc(x), 1))),
            "your network executes relu to (10,) where nothing is expected.",
            "The ReLU has moved behind the log_softmax, where it cuts everything to zero.",
        ),
        (
            seed_with(lambda net, x: F.log_softmax(net.fc(x), 1).log_softmax(1)),
            "your network executes log_softmax to (10,) where nothing is expected.",
            "There are two log_softmax, one after the other.",
        ),
        (
            seed_with(lambda net, x: F.log_softmax(net.fc(x), 1) + 1),
            "your network executes scale to (10,) where nothing is expected.",
            f"Hint 1 of 3: {networks._FLAW[0]} Try another answer for the next hint.",
        ),
        (
            Wider,
            "your network executes conv 3x3 to (20, 28, 28) where conv 3x3 to (16, 28, 28) is expected.",
            "Leave everything before the last line as it is: self.features(x), then self.fc.",
        ),
        (lambda: 3, "your network gave 3, expected an nn.Module.", f"Hint 1 of 3: {networks._FLAW[0]} Try another"),
    ],
)
def test_flaw_that_is_still_there_or_more_than_the_flaw_changed(answer, found, hint):
    lines = failure("without_flaw", answer).split("\n     ")
    assert lines[0] == found
    assert lines[1].startswith(hint)


def test_networks_that_are_built_already_will_do(capsys):
    checks.without_flaw(Unsilenced())
    checks.design(MyNet())
    assert capsys.readouterr().out.count("PASS") == 2


def test_design_lists_every_rule_that_fails():
    message = failure("design", lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 26)))
    first, *rest = message.splitlines()
    assert first == "not yet within the rules:"
    assert [line.split(":")[0] for line in rest[::2]] == [
        "FAIL parameter_count",
        "FAIL batch_norm",
        "FAIL dropout",
        "FAIL output_shape",
    ]
    assert "20,410, limit 19,999" in rest[0]


def test_design_by_a_harder_rubric():
    assert "FAIL parameter_count: 18,650, limit 4,999" in failure("design", models.LabNet, "mnist_5k")


def test_a_network_of_the_labs_is_no_design_of_ones_own():
    renamed = type("Mine", (models.LabNet,), {})
    assert failure("design", renamed).startswith("your network is LabNet, one of the lab's own: other names, ")
    assert failure("design", models.TinyNet, "mnist_5k").startswith("your network is TinyNet, ")


def test_design_that_cannot_be_captured_says_where():
    with pytest.raises(GraphError, match=r"test_checks\.py, line "):
        checks.design(lambda: Flips())


class Flips(nn.Module):
    """Executes something outside the lab's list."""

    def forward(self, x):
        return x.flip(3)


# -- what an answer does beside ---------------------------------------------------------------------------------------


def test_nothing_reaches_stderr(capfd):
    handler = logging.StreamHandler(sys.stderr)  # holds on to the stream that is there now
    logger = logging.Logger("noisy")
    logger.addHandler(handler)

    def noisy(*arguments):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        print("careful", file=sys.stderr)
        logger.error("careful")
        logging.Logger("lonely").error("careful")
        os.write(2, b"careful")
        return out_size(*arguments)

    checks.out_size(noisy)
    print("afterwards", file=sys.stderr)
    os.write(2, b"and this\n")
    assert capfd.readouterr().err == "afterwards\nand this\n"


def test_warnings_do_not_fail_where_they_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.without_flaw(seed_with(lambda net, x: F.log_softmax(net.fc(x))))  # no dim: PyTorch warns


def test_what_an_answer_changes_is_put_back():
    def state():
        draws = torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
        return draws, torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()

    def untidy(*arguments):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)
        return out_size(*arguments)

    before = state()
    checks.out_size(untidy)
    assert state() == before


def test_what_other_cells_have_changed_makes_no_difference():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")  # as "cuda" would be
    torch.set_grad_enabled(False)
    try:
        for name in ("batch_norm", "train_step", "conv_block", "drop"):
            getattr(checks, name)(SOLVED[name][0])
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)


# -- how a failure looks ----------------------------------------------------------------------------------------------


def test_failure_is_a_lab_error_with_its_message_alone():
    error = CheckFailed("out_size(n=28, kernel=3) gave 27, expected 26. Count.")
    assert isinstance(error, LabError)
    assert error._render_traceback_() == ["CheckFailed: out_size(n=28, kernel=3) gave 27, expected 26. Count."]


def test_failure_in_ipython_shows_no_traceback():
    code = "from lab import checks; checks.out_size(lambda *numbers: 0)"
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", "--HistoryManager.enabled=False", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shown = done.stdout + done.stderr
    assert "CheckFailed: out_size(n=28, kernel=3) gave 0, expected 26." in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 2  # and the hint


@pytest.mark.parametrize("name", ["normalize", "conv_parameters", "conv_multiply_adds", "fields"])
def test_a_check_of_the_first_edition_says_so(name):
    with pytest.raises(LabError, match=f"checks.{name} is of the notebook's first edition"):
        getattr(checks, name)
    assert not hasattr(checks, name)
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        getattr(checks, "other")  # noqa: B009


class _Agreeable(int):
    """A number that calls itself equal to everything, and neither smaller nor larger."""

    def __eq__(self, other: object) -> bool:
        return True

    __le__ = __ge__ = __lt__ = __gt__ = __eq__
    __hash__ = int.__hash__

    def __sub__(self, other: object) -> int:
        return 0

    __rsub__ = __add__ = __radd__ = __sub__


class _AgreeableFloat(float):
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True
    __hash__ = float.__hash__


@pytest.mark.parametrize("kind", [_Agreeable, _AgreeableFloat])
def test_a_number_that_equals_everything_is_the_number_it_was_made_of(kind: Any) -> None:
    with pytest.raises(CheckFailed, match=r"out_size\(n=28, kernel=3\) gave"):
        checks.out_size(lambda *given: kind(7))
