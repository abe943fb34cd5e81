"""Each exercise: the right answer passes, an untouched one stays untouched, a wrong one gets a message that helps."""

import functools
import math
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
from lab.checks import CheckFailed
from lab.errors import GraphError, LabError
from lab.graph import Graph, capture
from lab.receptive import Field, receptive_fields

# -- the exercises, solved as the notebook solves them ----------------------------------------------------------------


def out_size(n, kernel, stride=1, pad=0):
    return (n + 2 * pad - kernel) // stride + 1


def conv_parameters(c_in, c_out, kernel, bias=True):
    return c_out * (c_in * kernel * kernel + bias)


def grow(size, jump, kernel, stride=1):
    return size + (kernel - 1) * jump, jump * stride


def triangle(done, warmup):
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def conv_block(c_in, c_out):
    return nn.Sequential(*models.conv_block(c_in, c_out))


def conv_multiply_adds(c_in, c_out, kernel, side):
    return c_out * c_in * kernel * kernel * side * side


def my_fields():
    return [3, 4, 8, 12, 20]


def normalize(x):
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)


def drop(x, p):
    return x * (torch.rand_like(x) >= p) / (1 - p)


def accuracy(batches):
    right = sum((logits.argmax(1) == labels).sum() for logits, labels in batches)
    return int(right) / sum(len(labels) for _, labels in batches)


class Unsilenced(models.SeedNet):
    def forward(self, x):
        return F.log_softmax(self.fc(self.features(x)), dim=1)


FORMULAS: list[tuple[Callable[[Any], None], Callable[..., Any], str]] = [
    (checks.out_size, out_size, "PASS out_size: 5 of 5 right."),
    (checks.conv_parameters, conv_parameters, "PASS conv_parameters: 4 of 4 right."),
    (checks.conv_multiply_adds, conv_multiply_adds, "PASS conv_multiply_adds: 3 of 3 right."),
    (checks.grow, grow, "PASS grow: 6 layers, each as the lab computes it; the last one sees 26 pixels."),
    (checks.triangle, triangle, "PASS triangle: 6 of 6 right."),
]
TENSORS: list[tuple[Callable[[Any], None], Any, str]] = [
    (
        checks.normalize,
        normalize,
        "PASS normalize: every channel has mean 0 and deviation 1, as nn.BatchNorm2d has it.",
    ),
    (checks.drop, drop, "PASS drop: 24.8% dropped at p = 0.25, the others scaled; the mean is 3.01 of 3."),
]
OTHERS: list[tuple[Callable[[Any], None], Any, str]] = [
    (checks.fields, my_fields, "PASS fields: 5 of 5 as the lab computes them."),
    (checks.accuracy, accuracy, "PASS accuracy: 12 of 18 images and 1 of 5, each counted once."),
]
NETWORKS: list[tuple[Callable[[Any], None], Any, str]] = [
    (checks.conv_block, conv_block, "PASS conv_block: convolution without bias, batch norm, ReLU; the size stays."),
    (checks.without_flaw, Unsilenced, "PASS without_flaw: the logits reach the softmax as they are."),
    (checks.design, models.LabNet, "PASS design: 18,650 parameters, 5 rules kept. Now train it."),
]
EVERY_CHECK = [check for check, _, _ in FORMULAS + TENSORS + OTHERS + NETWORKS]
names = pytest.mark.parametrize("check", EVERY_CHECK, ids=lambda check: check.__name__)
formulas = pytest.mark.parametrize(
    ("check", "right"), [row[:2] for row in FORMULAS], ids=[f.__name__ for _, f, _ in FORMULAS]
)


FIELDS: dict[str, list[Field]] = {}  # by the chain's text


@functools.cache
def seed_graph() -> Graph:
    """SeedNet's graph."""
    return capture(models.SeedNet())


@pytest.fixture(autouse=True)
def computed_once(monkeypatch):
    """What a check computes anew at every call, SeedNet's graph and the fields of `grow`'s chain, is kept here."""

    def kept_fields(chain):
        return FIELDS.setdefault(str(chain), FIELDS.get(str(chain)) or receptive_fields(chain))

    def kept_graph(net, *shape):
        return seed_graph() if type(net) is models.SeedNet else capture(net, *shape)

    monkeypatch.setattr(checks, "capture", kept_graph)
    monkeypatch.setattr(checks, "receptive_fields", kept_fields)
    checks._FAILURES.clear()


def failure(check: Callable[[Any], None], answer: Any) -> str:
    """The message of the CheckFailed for `answer`."""
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    return str(caught.value)


@pytest.mark.parametrize(("check", "answer", "line"), FORMULAS + TENSORS + OTHERS + NETWORKS)
def test_right_answer_passes(check, answer, line, capsys):
    check(answer)
    assert capsys.readouterr().out == line + "\n"


@names
def test_untouched_exercise_is_not_a_wrong_one(check):
    def untouched(*arguments):
        raise NotImplementedError("exercise: one line")

    with pytest.raises(NotImplementedError, match=r"^exercise: one line$"):
        check(untouched)


@pytest.mark.parametrize(("check", "network"), [(checks.without_flaw, models.SeedNet), (checks.design, models.LabNet)])
def test_a_forward_that_is_still_open_is_not_a_wrong_one(check, network):
    class Open(network):
        def forward(self, x):
            raise NotImplementedError

    with pytest.raises(NotImplementedError):
        check(Open)


# -- answers of a wrong kind ------------------------------------------------------------------------------------------


@names
@pytest.mark.parametrize("answer", [None, 3, "out_size"])
def test_answer_that_cannot_be_called(check, answer):
    assert f"must be something to call; it is {answer!r}." in failure(check, answer)


@names
def test_answer_that_raises(check):
    def broken(*arguments):
        raise ValueError("no such luck")

    assert failure(check, broken).splitlines()[0].endswith(" raises ValueError: no such luck")


@names
def test_answer_with_another_signature(check):
    def wants_seven(a, b, c, d, e, f, g):
        raise AssertionError("never called")

    assert "raises TypeError: " in failure(check, wants_seven)


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
}


@formulas
@pytest.mark.parametrize("shown", WRONG_KINDS)
def test_value_of_a_wrong_kind(check, right, shown):
    assert f" gave {shown}, wants " in failure(check, lambda *arguments: WRONG_KINDS[shown])


@pytest.mark.parametrize(
    "pair", [(torch.ones(2), 1), (np.ones(2), 1), np.ones(2), torch.ones(2), (3, math.nan), (3, 1, 1), "31", (3, None)]
)
def test_grow_that_does_not_give_two_numbers(pair):
    message = failure(checks.grow, lambda *arguments: pair)
    assert message.startswith("grow(1, 1, kernel=3, stride=1) gave ")
    assert ", wants (3, 1).\n     Hint 1 of 3: How many units" in message


@formulas
@pytest.mark.parametrize("kind", [float, np.int64, np.float32])
def test_numbers_of_other_libraries_count(check, right, kind):
    if kind is np.int64 and check is checks.triangle:
        kind = np.float64
    convert = (lambda pair: tuple(map(kind, pair))) if check is checks.grow else kind
    check(lambda *arguments: convert(right(*arguments)))


def test_enormous_answers():
    assert "..., wants 26." in failure(checks.out_size, lambda *arguments: 10**400)
    assert ", wants 0.0." in failure(checks.triangle, lambda *arguments: 10**400)


def test_long_values_are_cut():
    message = failure(checks.out_size, lambda *arguments: "x" * 1000)
    assert "x..., wants 26" in message
    assert len(message) < 300


# -- a wrong value: what it gave, what is wanted, a hint --------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [
        (
            checks.out_size,
            lambda n, kernel, stride=1, pad=0: n - kernel,
            "out_size(28, 3) gave 25, wants 26.\n     Hint 1 of 3: Count the places where the left edge",
        ),
        (
            checks.out_size,
            lambda n, kernel, stride=1, pad=0: (n - kernel) // stride + 1,
            "out_size(28, 3, 1, 1) gave 26, wants 28.\n",
        ),
        (
            checks.out_size,
            lambda n, kernel, stride=1, pad=0: (n + 2 * pad - kernel) / stride + 1,
            "out_size(28, 5, 2, 2) gave 14.5, wants 14.\n",
        ),
        (
            checks.out_size,
            lambda n, kernel, stride=1, pad=0: -(-(n + 2 * pad - kernel) // stride) + 1,
            "out_size(28, 5, 2, 2) gave 15, wants 14.\n",
        ),
        (
            checks.conv_parameters,
            lambda c_in, c_out, kernel, bias=True: c_in * c_out * kernel**2,
            "conv_parameters(1, 16, 3) gave 144, wants 160.\n     Hint 1 of 3: How many weights has one filter",
        ),
        (
            checks.conv_parameters,
            lambda c_in, c_out, kernel, bias=True: c_out * (c_in * kernel**2 + 1),
            "conv_parameters(16, 16, 3, False) gave 2320, wants 2304.\n",
        ),
        (
            checks.grow,
            lambda size, jump, kernel, stride=1: (size + kernel - 1, jump * stride),
            "grow(6, 2, kernel=5, stride=1) gave (10, 2), wants (14, 2).\n     Hint 1 of 3: How many units",
        ),
        (
            checks.grow,
            lambda size, jump, kernel, stride=1: (size + (kernel - 1) * jump * stride, jump * stride),
            "grow(5, 1, kernel=2, stride=2) gave (7, 2), wants (6, 2).\n",
        ),
        (
            checks.grow,
            lambda size, jump, kernel, stride=1: (size + (kernel - 1) * jump, jump),
            "grow(5, 1, kernel=2, stride=2) gave (6, 1), wants (6, 2).\n",
        ),
        (
            checks.conv_multiply_adds,
            lambda c_in, c_out, kernel, side: c_out * (c_in * kernel * kernel + 1) * side * side,
            "conv_multiply_adds(1, 16, 3, 28) gave 125440, wants 112896.\n     Hint 1 of 3: At one place",
        ),
        (
            checks.conv_multiply_adds,
            lambda c_in, c_out, kernel, side: c_out * c_in * kernel * kernel,
            "conv_multiply_adds(1, 16, 3, 28) gave 144, wants 112896.\n",
        ),
        (
            checks.triangle,
            lambda done, warmup: min(done / warmup, 1.0),
            "triangle(0.6, 0.2) gave 1.0, wants 0.5.\n     Hint 1 of 3: Two straight lines",
        ),
        (
            checks.triangle,
            lambda done, warmup: done / warmup if done < warmup else 1 - done,
            "triangle(0.2, 0.2) gave 0.8, wants 1.0.\n",
        ),
    ],
)
def test_wrong_formula(check, answer, message):
    assert failure(check, answer).startswith(message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x, "the channels' means are 3."),
        (lambda x: (x - x.mean()) / x.std(), "the channels' means are "),
        (lambda x: x - x.mean((0, 2, 3), keepdim=True), "the channels' deviations are "),
        (lambda x: F.instance_norm(x), "mean and deviation are right, but some pixels are not"),
        (lambda x: normalize(x).flip(3), "mean and deviation are right, but some pixels are not"),
        (
            lambda x: normalize(x)[0],
            "normalize gives a tensor of shape (3, 5, 5), wants a tensor of shape (6, 3, 5, 5).",
        ),
        (lambda x: x / 0, "normalize gives NaN or infinity"),
        (lambda x: None, "normalize gives None, wants a tensor of shape (6, 3, 5, 5)."),
    ],
)
def test_wrong_normalize(answer, message):
    assert failure(checks.normalize, answer).startswith(message)


def test_normalize_may_divide_by_either_deviation_and_add_an_epsilon():
    def biased(x):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5) ** 0.5

    checks.normalize(biased)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, p: x, "with p = 0.5, 0% of the numbers are zero, wants about 50%."),
        (lambda x, p: x * (torch.rand_like(x) < p) / p, "with p = 0.25, 75% of the numbers are zero, wants about 25%."),
        (
            lambda x, p: x * (torch.rand_like(x) >= p),
            "a kept 3 becomes 3.00, wants 3 / (1 - p) = 6.00.\n     Hint 2 of 3: A number is kept with",
        ),
        (lambda x, p: x * torch.rand_like(x) * (torch.rand_like(x) >= p), "a kept 3 becomes 0.00 to 3.00, wants"),
        (
            lambda x, p: x * (torch.arange(x.numel()).view_as(x) % round(1 / p) > 0) / (1 - p),
            "two calls drop the same places",
        ),
        (
            lambda x, p: x * (torch.rand_like(x) >= 0.5) * 2,
            "with p = 0.25, 50% of the numbers are zero, wants about 25%.",
        ),
        (lambda x, p: 3, "drop gives 3, wants a tensor of shape (200, 100)."),
    ],
)
def test_wrong_drop(answer, message):
    assert failure(checks.drop, answer).startswith(message)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            [3, 5, 9, 13, 21],
            "layer 2, MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False): 5 is ",
        ),
        (
            [3, 4, 8, 12, 16],
            "layer 5, Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1)): 16 is not what the lab computes.",
        ),
        ([3, 4, 8, None, 20], "layer 4, "),
        ([3, 4], "my_fields() gives [3, 4], wants a list of 5 numbers, one a layer."),
        (3, "my_fields() gives 3, wants a list"),
    ],
)
def test_wrong_fields(numbers, message):
    assert failure(checks.fields, lambda: numbers).startswith(message)


def test_the_fields_last_hint_is_the_number():
    hints = [failure(checks.fields, lambda: [3, 4, 8, 12, 16]).split("Hint ")[1] for _ in range(4)]
    assert hints[0].startswith("1 of 3: It reads 3 neighbours in a row, which lie 4 pixels apart.")
    assert hints[1].startswith("2 of 3: Before it: 12 pixels, jump 4. Now 12 + (3 - 1) * 4.")
    assert hints[2:] == ["3 of 3: It is 20."] * 2


def mean_of_batches(batches):
    return sum(float((logits.argmax(1) == labels).float().mean()) for logits, labels in batches) / len(batches)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (mean_of_batches, "0.5"),
        (lambda batches: 100 * accuracy(batches), "66.6"),
        (lambda batches: accuracy(batches[:2]), "0.75"),
        (lambda batches: None, "None"),
        (lambda batches: round(accuracy(batches), 3), "0.667"),
    ],
)
def test_wrong_accuracy(answer, shown):
    message = failure(checks.accuracy, answer)
    assert message.startswith(f"batches of 8, 8 and 2 images gave {shown}")
    assert "12 of 18 images are right: wants 0.66666" in message


def test_accuracy_as_a_tensor_counts():
    checks.accuracy(lambda batches: torch.tensor(accuracy(batches)))


# -- exercises of new notebooks ---------------------------------------------------------------------------------------


def halve(answer, *hints):
    checks.example("halve", answer, torch.tensor([4, 2]), torch.tensor([2.0, 1.0]), *hints)


def test_an_example_passes(capsys):
    halve(lambda x: x / 2)
    halve(lambda x: x // 2)
    assert capsys.readouterr().out == "PASS halve: [4, 2] gives [2.0, 1.0].\n" * 2


def test_a_wrong_example_says_what_it_gave_and_brings_hints():
    hints = "Less.", "x / 2"
    first = failure(lambda answer: halve(answer, *hints), lambda x: x)
    assert first.startswith("halve([4, 2]) gave [4.0, 2.0], wants [2.0, 1.0].\n     Hint 1 of 2: Less.")
    assert failure(lambda answer: halve(answer, *hints), lambda x: x).endswith("Hint 2 of 2: x / 2")
    assert failure(halve, lambda x: x) == "halve([4, 2]) gave [4.0, 2.0], wants [2.0, 1.0]."
    assert failure(halve, lambda x: x[0]).startswith("halve gives a tensor of shape (), wants a tensor of shape (2,)")


# -- hints ------------------------------------------------------------------------------------------------------------


@formulas
def test_hints_become_plainer_and_start_again_after_a_pass(check, right):
    def wrong(*arguments):
        return -1

    first, second, third, fourth = (failure(check, wrong) for _ in range(4))
    assert "Hint 1 of 3: " in first
    assert first.endswith(" Run the check again for a plainer one.")
    assert "Hint 2 of 3: " in second
    assert "Hint 3 of 3: " in third
    assert not third.endswith("plainer one.")
    assert fourth == third
    check(right)
    assert failure(check, wrong) == first


def test_every_exercise_has_hints_of_its_own():
    failure(checks.out_size, lambda *arguments: -1)
    assert "Hint 1 of 3" in failure(checks.conv_parameters, lambda *arguments: -1)


def layers(*, kernel=3, norm=True, relu=nn.ReLU, first=(), **arguments) -> Callable[[int, int], nn.Module]:
    """A conv_block with these peculiarities."""

    def block(c_in, c_out):
        convolution = nn.Conv2d(c_in, c_out, kernel, **{"padding": 1, "bias": False} | arguments)
        return nn.Sequential(*first, convolution, *([nn.BatchNorm2d(c_out)] if norm else []), relu())

    return block


IN_ORDER = "wants ['conv 3x3', 'batch_norm', 'relu'], in that order."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (layers(norm=False), f"conv_block executes ['conv 3x3', 'relu'], {IN_ORDER}"),
        (layers(relu=nn.Identity), f"conv_block executes ['conv 3x3', 'batch_norm'], {IN_ORDER}"),
        (layers(relu=nn.GELU), f"conv_block executes ['conv 3x3', 'batch_norm', 'gelu'], {IN_ORDER}"),
        (layers(kernel=1, padding=0), f"conv_block executes ['conv 1x1', 'batch_norm', 'relu'], {IN_ORDER}"),
        (layers(first=[nn.ReLU()]), f"conv_block executes ['relu', 'conv 3x3', 'batch_norm', 'relu'], {IN_ORDER}"),
        (layers(padding=0), "conv_block(3, 8) turns 3x14x14 into (8, 12, 12), wants (8, 14, 14): padding=1, stride=1."),
        (layers(stride=2), "conv_block(3, 8) turns 3x14x14 into (8, 7, 7), wants (8, 14, 14): padding=1, stride=1."),
        (
            lambda c_in, c_out: conv_block(c_in, 2 * c_out),
            "conv_block(3, 8) turns 3x14x14 into (16, 14, 14), wants (8, 14, 14)",
        ),
        (
            layers(bias=True),
            "the convolution has a bias; batch norm takes it away again: bias=False saves 8 numbers.",
        ),
        (lambda c_in, c_out: conv_block, "conv_block(3, 8) gives <function conv_block at 0x"),
        (models.conv_block, "conv_block(3, 8) gives [Conv2d(3, 8, kernel_size=(3, 3)"),
    ],
)
def test_wrong_conv_block(answer, message):
    assert failure(checks.conv_block, answer).startswith(message)


def test_conv_block_of_one_size_only():
    message = failure(checks.conv_block, lambda c_in, c_out: conv_block(3, 8))
    assert message.startswith("conv_block(5, 4) fails on images (2, 5, 14, 14), in or after layer '0', Conv2d(3, 8, ")


def test_a_network_that_cannot_run_says_in_which_layer_and_what_that_is_given():
    message = failure(
        checks.conv_block, lambda c_in, c_out: nn.Sequential(nn.Conv2d(c_in, c_out, 3), nn.BatchNorm2d(3))
    )
    assert "in or after layer '1', BatchNorm2d(3, " in message
    assert "which is given (2, 8, 12, 12): " in message


def test_a_network_without_flatten():
    message = failure(checks.design, lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Linear(8 * 26 * 26, 10)))
    assert (
        "in or after layer '1', Linear(in_features=5408, out_features=10, bias=True), which is given (2, 8, " in message
    )


class ReturnsNothing(models.LabNet):
    def forward(self, x):
        super().forward(x)


class WithoutForward(nn.Module):
    pass


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ReturnsNothing, "your network gives None: does its forward end in `return`?"),
        (WithoutForward, "your network has no forward: define `def forward(self, x)`, and return the result."),
        (
            lambda: nn.Sequential(models.conv_block(1, 8)),
            "your network() raises TypeError: list is not a Module subclass.",
        ),
        (lambda: nn.Sequential(*models.LabNet(), nn.ReLU()), "your network ends in relu; the training wants logits"),
        (lambda: nn.Sequential(*models.LabNet(), nn.Softmax(1)), "your network ends in softmax; the training wants"),
    ],
)
def test_networks_with_the_commonest_mistakes(answer, message):
    assert failure(checks.design, answer).startswith(message)


def test_log_probabilities_will_do():
    checks.design(lambda: nn.Sequential(*models.LabNet(), nn.LogSoftmax(1)))


def test_a_warning_from_a_right_answer_is_kept_from_stderr(recwarn):
    def noisy(n, kernel, stride=1, pad=0):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return out_size(n, kernel, stride, pad)

    checks.out_size(noisy)
    assert not recwarn.list


@formulas
def test_numbers_in_tensors_and_arrays_count(check, right):
    check(lambda *arguments: torch.tensor(right(*arguments), dtype=torch.float64))
    check(lambda *arguments: np.array(right(*arguments)))


def test_fields_count_their_failures_layer_by_layer():
    failure(checks.fields, lambda: [1, 4, 8, 12, 20])
    failure(checks.fields, lambda: [3, 1, 8, 12, 20])
    assert "Hint 1 of 3" in failure(checks.fields, lambda: [3, 4, 1, 12, 20])
    checks.fields(my_fields)
    assert "Hint 1 of 3" in failure(checks.fields, lambda: [3, 4, 1, 12, 20])


class StillSilenced(models.SeedNet):
    pass


class AnotherActivation(models.SeedNet):
    def forward(self, x):
        return F.log_softmax(F.leaky_relu(self.fc(self.features(x))), dim=1)


class WithoutSoftmax(models.SeedNet):
    def forward(self, x):
        return self.fc(self.features(x))


class OneMore(Unsilenced):
    def forward(self, x):
        return super().forward(x) + 1


class Wider(Unsilenced):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(20)
        self.conv2 = nn.Conv2d(20, 32, 3, padding=1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (StillSilenced, "your network executes what SeedNet executes: the ReLU after `fc` is still there."),
        (
            AnotherActivation,
            "your network executes leaky_relu to (10,) where log_softmax to (10,) is wanted; leave the",
        ),
        (
            WithoutSoftmax,
            "your network returns logits; SeedNet returns log-probabilities: F.log_softmax(..., dim=1).",
        ),
        (OneMore, "your network executes scale to (10,) where nothing is wanted; leave the rest as it is."),
        (Wider, "your network executes conv 3x3 to (20, 28, 28) where conv 3x3 to (16, 28, 28) is wanted; leave"),
        (lambda: 3, "your network gives 3, wants an nn.Module."),
    ],
)
def test_flaw_that_is_still_there_or_more_than_the_flaw_changed(answer, message):
    assert failure(checks.without_flaw, answer).startswith(message)


def test_networks_that_are_built_already_will_do(capsys):
    checks.without_flaw(Unsilenced())
    checks.design(models.LabNet())
    assert capsys.readouterr().out.count("PASS") == 2


# -- a design of one's own --------------------------------------------------------------------------------------------


def test_design_lists_every_rule_that_fails():
    message = failure(checks.design, lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 26)))
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
    with pytest.raises(CheckFailed, match="FAIL parameter_count: 18,650, limit 4,999"):
        checks.design(models.LabNet, "mnist_5k")


def test_design_that_cannot_be_captured_says_where():
    with pytest.raises(GraphError, match=r"test_checks\.py, line "):
        checks.design(lambda: Flips())


class Flips(nn.Module):
    """Executes something outside the lab's list."""

    def forward(self, x):
        return x.flip(3)


# -- how a failure looks ----------------------------------------------------------------------------------------------


def test_failure_is_a_lab_error_with_its_message_alone():
    error = CheckFailed("out_size(28, 3) gave 27, wants 26. Count.")
    assert isinstance(error, LabError)
    assert error._render_traceback_() == ["CheckFailed: out_size(28, 3) gave 27, wants 26. Count."]


def test_failure_in_ipython_shows_no_traceback():
    code = "from lab import checks; checks.out_size(lambda *numbers: 0)"
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", "--HistoryManager.enabled=False", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shown = done.stdout + done.stderr
    assert "CheckFailed: out_size(28, 3) gave 0, wants 26." in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 2  # and the hint
