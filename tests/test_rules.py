"""What the assignment asks, judged by what a network executes; and rubrics that can't be read."""

import math
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.errors import GraphError
from lab.graph import Graph, capture
from lab.models import LabNet, SeedNet
from lab.rules import RUBRICS, Late, RubricError, Verdict, judge, load_rubric, meets

RULES = ["parameter_count", "epochs", "batch_norm", "dropout", "fully_connected", "output_shape", "accuracy"]
FOUR_OF_THE_ORIGINAL_LAB = {"parameter_count", "batch_norm", "dropout", "fully_connected"}


def verdict(rule: str, network: nn.Module | Graph, epochs: int | None = None, accuracy: float | None = None) -> Verdict:
    """The verdict on one rule of the assignment."""
    graph = network if isinstance(network, Graph) else capture(network)
    (found,) = [v for v in judge(load_rubric(), graph, epochs, accuracy) if v.rule == rule]
    return found


# -- networks that keep the rules, and each breaks one ----------------------------------------------------------------


class Good(nn.Module):
    """(B, 1, 28, 28) -> (B, 10): convolution, batch norm, dropout and a fully connected layer, all executed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * 2 * 2, 10)

    def normed(self, x):
        """(B, 4, 26, 26) -> (B, 4, 26, 26)."""
        return self.bn(x)

    def dropped(self, x):
        """(B, 16) -> (B, 16)."""
        return self.drop(x)

    def head(self, x):
        """(B, 16) -> (B, 10)."""
        return self.fc(x)

    def forward(self, x):
        x = F.relu(self.normed(self.conv(x)))
        x = F.max_pool2d(x, 13).flatten(1)  # (B, 16)
        return self.head(self.dropped(x))


class UnusedDropout(Good):
    def dropped(self, x):
        return x


class DiscardedDropout(Good):
    def dropped(self, x):
        self.drop(x)
        return x


class DropoutWith(Good):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.drop.p = p


class DropoutFunction(Good):
    """Dropout as a function that is called with `arguments`."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self.arguments = arguments

    def dropped(self, x):
        return F.dropout(x, *self.arguments)


class FunctionThatFollowsTheMode(Good):
    def dropped(self, x):
        return F.dropout(x, 0.2, self.training)


class SilencedDropout(Good):
    def dropped(self, x):
        return x + 0 * self.drop(x)


class DropoutAddedZeroTimes(Good):
    def dropped(self, x):
        return torch.add(x, self.drop(x), alpha=0)


class ChannelDropout(Good):
    def normed(self, x):
        return F.dropout2d(self.bn(x), 0.2, self.training)

    def dropped(self, x):
        return x


class UnusedBatchNorm(Good):
    def normed(self, x):
        return x


class DiscardedBatchNorm(Good):
    def normed(self, x):
        self.bn(x)
        return x


class FrozenBatchNorm(Good):
    def normed(self, x):
        return F.batch_norm(x, self.bn.running_mean, self.bn.running_var, self.bn.weight, self.bn.bias, training=False)


class UnusedLinear(Good):
    """Ten answers from a convolution over the whole map, which an nn.Linear would give too."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, 10, 2)

    def head(self, x):
        return self.last(x.unflatten(1, (4, 2, 2))).flatten(1)


class LinearOnRows(UnusedLinear):
    """An nn.Linear that works on each row of a map by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def head(self, x):
        return self.last(self.fc(x.unflatten(1, (4, 2, 2)))).flatten(1)


class Answers(Good):
    """As many logits as asked for."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(16, classes)


class OneWeightEach(nn.Module):
    """A map of rows x columns units, each with a weight of its own: rows * columns parameters."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(rows, columns))

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, tuple(self.weight.shape)) * self.weight


class Shared(Good):
    """One 4-to-4 convolution, used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(4, 4, 3, padding=1)

    def normed(self, x):
        return self.bn(self.again(self.again(self.again(x))))


class HiddenMask(Good):
    """100 numbers or more in a buffer, by which a map is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.rand(4, 26, 26))

    def normed(self, x):
        return self.bn(x * self.mask)


class HiddenWeight(Good):
    """The fully connected layer's weight as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        weight = self.fc.weight.detach().clone()
        del self.fc.weight
        self.fc.register_buffer("weight", weight)


class HiddenStatistics(Good):
    """Batch norm's running mean, used as the convolution's bias as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)

    def forward(self, x):
        x = F.conv2d(x, self.conv.weight, self.bn.running_mean)
        return self.head(F.max_pool2d(F.relu(self.bn(x)), 13).flatten(1))


class SaysThatItHasNoParameters(Good):
    def parameters(self, recurse=True):
        return iter(())


class SaysThatItHasNoNames(Good):
    def named_parameters(self, *args, **kwargs):
        return iter(())


@pytest.fixture(scope="module")
def good() -> Graph:
    """The graph of a network that keeps every rule that can be judged before training."""
    return capture(Good())


# -- the rules --------------------------------------------------------------------------------------------------------


def test_the_lab_keeps_the_four_checks_of_the_original():
    assert [rule.name for rule in load_rubric().rules] == RULES
    assert set(RULES) >= FOUR_OF_THE_ORIGINAL_LAB


def test_good_network_gets_all_points(good):
    verdicts = judge(load_rubric(), good, epochs=15, accuracy=0.995)
    assert [v.passed for v in verdicts] == [True] * 7
    assert sum(v.points for v in verdicts) == sum(v.max_points for v in verdicts) == 100
    assert [v.hint for v in verdicts] == [""] * 7


def test_points_are_lost_for_what_fails_and_for_what_was_not_measured(good):
    verdicts = judge(load_rubric(), good, accuracy=0.985)
    lost = {v.rule: v.max_points for v in verdicts if not v.passed}
    assert lost == {"epochs": 10, "accuracy": 30}
    assert sum(v.points for v in verdicts) == 60


@pytest.mark.parametrize(
    ("accuracy", "points"), [(None, 0), (0.92, 0), (0.9799, 0), (0.98, 70), (0.99399, 70), (0.994, 100), (1.01, 0)]
)
def test_no_rule_earns_points_before_the_network_has_learnt(good, accuracy, points):
    verdicts = judge(load_rubric(), good, 12, accuracy)
    assert sum(v.points for v in verdicts) == points
    assert [v.passed for v in verdicts][:-1] == [True] * (len(verdicts) - 1), "kept they are, all the same"
    told = "The other rules earn their points from 98% on." in verdicts[-1].line()
    assert told is (points == 0)


def test_a_rubric_without_that_bar_gives_points_for_each_rule_alone(good):
    rubric = load_rubric().model_copy(update={"learnt": None})
    assert sum(v.points for v in judge(rubric, good)) == 60


@pytest.mark.parametrize(
    ("openings", "told"), [(None, ""), (1, " (test set opened once)"), (3, " (test set opened 3 times)")]
)
def test_the_verdict_says_how_often_the_test_set_was_opened(good, openings, told):
    found = judge(load_rubric(), good, 12, 0.9951, openings)[-1]
    assert found.figure == f"99.51%{told}"


def test_every_verdict_that_is_not_passed_says_what_to_do(good):
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = OneWeightEach(100, 200)

        def forward(self, x):
            return self.scale(x)

    verdicts = judge(load_rubric(), capture(Nothing()), epochs=20, accuracy=0.5)
    assert [v.passed for v in verdicts] == [False] * 7
    assert all(v.hint for v in verdicts)
    assert all(v.hint for v in judge(load_rubric(), good) if v.passed is None)
    assert sum(v.points for v in verdicts) == 0


@pytest.mark.parametrize(("sides", "passed"), [((7, 2857), True), ((100, 200), False)])
def test_parameter_limit_is_19_999(sides, passed):
    found = verdict("parameter_count", OneWeightEach(*sides), accuracy=0.99)
    assert found.passed is passed
    assert (found.figure, found.limit) == (f"{math.prod(sides):,}", "limit 19,999")
    assert found.points == (20 if passed else 0)
    if not passed:
        assert found.hint.startswith("The largest: mul with 20,000. Pool before the linear layer")


@pytest.mark.parametrize(("epochs", "passed"), [(1, True), (19, True), (20, False), (0, False), (-1, False)])
def test_epochs_limit_is_19(good, epochs, passed):
    found = verdict("epochs", good, epochs=epochs)
    assert (found.passed, found.figure, found.limit) == (passed, str(epochs), "limit 19")


@pytest.mark.parametrize(
    ("accuracy", "passed", "figure"),
    [
        (0.994, True, "99.40%"),
        (0.9939, False, "99.39%"),
        (1.0, True, "100.00%"),
        (0.993999, False, "99.3999%"),  # two decimals would look like enough
        (math.nan, False, "nan%"),
        (99.4, False, "9940.00%"),
        (math.inf, False, "inf%"),
    ],
)
def test_accuracy_limit_is_0_994(good, accuracy, passed, figure):
    found = verdict("accuracy", good, accuracy=accuracy)
    assert (found.passed, found.figure, found.limit) == (passed, figure, "at least 99.40%")


@pytest.mark.parametrize(
    ("rule", "figure", "limit", "met"),
    [
        ("accuracy", 0.994, 0.994, True),
        ("accuracy", math.nan, 0.994, False),
        ("accuracy", 1.01, 0.994, False),
        ("epochs", 19, 20, True),
        ("epochs", 20, 20, False),
        ("epochs", 0, 20, False),
        ("parameter_count", 0, 20_000, False),
        ("parameter_count", math.nan, 20_000, False),
    ],
)
def test_limits_are_kept_by_figures_that_can_be(rule, figure, limit, met):
    assert meets(rule, figure, limit) is met


def test_what_was_not_measured_neither_passes_nor_fails(good):
    for rule in ("epochs", "accuracy"):
        found = verdict(rule, good)
        assert (found.passed, found.figure, found.points) == (None, "not measured", 0)
        assert found.line().startswith(f"---- {rule}: not measured, ")
        assert "lab check TARGET --train" in found.hint


# -- dropout, batch norm, fully connected: executed, and used ---------------------------------------------------------


NO_CHANGE = "dropout 0.2 (drop) changes the answers by 0.0000 of their size, expected at least 0.01."


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (UnusedDropout(), "Dropout 'drop': declared, and the output does not depend on it."),
        (DiscardedDropout(), "dropout 'drop': executed, its output thrown away."),
        (DropoutWith(0.0), "dropout 0 (drop) drops nothing (p = 0)."),
        (DropoutWith(1.0), "dropout 1 (drop) drops everything (p = 1)."),
        (DropoutWith(1e-9), "dropout 1e-09 (drop) drops 1e-09 of the numbers, expected from 0.005 to 0.9."),
        (DropoutWith(0.999999), "dropout 0.999999 (drop) drops 0.999999 of the numbers, expected from 0.005 to 0.9."),
        (DropoutFunction(), "dropout 0.5 (dropout) drops in eval mode too."),
        (DropoutFunction(0.2, True), "dropout 0.2 (dropout) drops in eval mode too."),
        (DropoutFunction(0.2, False), "dropout 0.2 (dropout) never drops."),
        (SilencedDropout(), NO_CHANGE),
        (DropoutAddedZeroTimes(), NO_CHANGE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_dropout_that_does_not_count(network, why):
    found = verdict("dropout", network)
    assert (found.passed, found.figure, found.points) == (False, "no dropout with an effect on the answers", 0)
    assert found.hint.startswith(f"{why} Call a dropout with p from 0.005 to 0.9 in forward")


@pytest.mark.parametrize("network", [Good(), FunctionThatFollowsTheMode(), ChannelDropout(), DropoutWith(0.9)])
def test_dropout_that_counts(network):
    found = verdict("dropout", network, accuracy=0.99)
    assert (found.passed, found.figure[:11], found.points) == (True, "1 executed;", 10)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (UnusedBatchNorm(), "BatchNorm2d 'bn': declared, and the output does not depend on it."),
        (DiscardedBatchNorm(), "batch_norm 'bn': executed, its output thrown away."),
        (FrozenBatchNorm(), "batch norm 4 (batch_norm) never looks at its batch, not even in training."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_batch_norm_that_does_not_count(network, why):
    found = verdict("batch_norm", network)
    assert (found.passed, found.figure) == (False, "no batch norm with an effect on the answers")
    assert found.hint.startswith(f"{why} Call a batch norm")


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (UnusedLinear(), "Linear 'fc': declared, and the output does not depend on it."),
        (LinearOnRows(), "linear 2→2, 4x2 times (fc) works on each row of a map by itself."),
        (nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten()), "Flatten the map"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_fully_connected_layer_that_does_not_count(network, why):
    found = verdict("fully_connected", network)
    assert (found.passed, found.figure) == (False, "no fully connected layer with an effect on the answers")
    assert found.hint.startswith(why)
    assert "nn.Linear; a convolution over the whole map does not count" in found.hint


def test_names_that_sound_like_a_layer_are_not_taken_for_one():
    class Named(UnusedLinear):
        def __init__(self) -> None:
            super().__init__()
            del self.fc
            self.linear = nn.ReLU()  # declared only, and no linear layer

    assert verdict("fully_connected", Named()).hint.startswith("Flatten the map")


@pytest.mark.parametrize(("classes", "passed"), [(10, True), (11, False), (9, False)])
def test_output_shape(classes, passed):
    found = verdict("output_shape", Answers(classes))
    assert (found.passed, found.figure, found.limit) == (passed, f"(B, {classes})", "expected (B, 10)")


def test_output_that_is_a_map_fails():
    found = verdict("output_shape", nn.Conv2d(1, 10, 28))
    assert (found.passed, found.figure) == (False, "(B, 10, 1, 1)")


# -- counting parameters ----------------------------------------------------------------------------------------------


def test_count_is_pytorchs_own(good):
    assert good.parameters == sum(p.numel() for p in Good().parameters())


def test_shared_weights_count_once(good):
    assert capture(Shared()).parameters == good.parameters + 4 * 4 * 9 + 4


def test_numbers_hidden_in_a_buffer_are_counted(good):
    assert capture(HiddenMask()).parameters == good.parameters + 4 * 26 * 26
    assert capture(HiddenWeight()).parameters == good.parameters


def test_statistics_with_a_second_use_are_counted(good):
    assert capture(HiddenStatistics()).parameters == good.parameters  # the running mean in place of the bias


def test_overridden_parameters_do_not_fool_the_count(good):
    assert sum(p.numel() for p in SaysThatItHasNoParameters().parameters()) == 0
    assert capture(SaysThatItHasNoParameters()).parameters == good.parameters
    with pytest.raises(GraphError):
        capture(SaysThatItHasNoNames())


def test_seed_and_lab_network_keep_the_rules_before_training():
    for graph, count in ((capture(SeedNet()), "18,242"), (capture(LabNet()), "18,650")):
        verdicts = judge(load_rubric(), graph)
        assert {v.rule for v in verdicts if v.passed is not True} == {"epochs", "accuracy"}
        assert verdicts[0].figure == count
        found = {"18,242": "7 executed; batch norm 16 (bn1) ", "18,650": "5 executed; batch norm 16 (2) "}[count]
        assert verdicts[2].figure.startswith(found)
        assert judge(load_rubric("mnist_8k"), graph)[0].passed is False


# -- how a verdict reads ----------------------------------------------------------------------------------------------


def test_lines_for_a_person(good):
    lines = [v.line() for v in judge(load_rubric(), good, epochs=20, accuracy=0.9939)]
    assert [re.sub(r"by \d\.\d{4} of", "by # of", line) for line in lines] == [
        "PASS parameter_count: 218, limit 19,999.",
        "FAIL epochs: 20, limit 19.\n     Fewer passes: a higher peak of the learning rate, decayed to zero.",
        "PASS batch_norm: 1 executed; batch norm 4 (bn) changes the answers by # of their size, at least 0.01.",
        "PASS dropout: 1 executed; dropout 0.2 (drop) changes the answers by # of their size, at least 0.01.",
        "PASS fully_connected: 1 executed; linear 16→10 (fc) changes the answers by # of their size, at least 0.01.",
        "PASS output_shape: (B, 10), expected (B, 10).",
        "FAIL accuracy: 99.39%, at least 99.40%.\n"
        "     Try a learning rate that decays to zero, no ReLU on the logits and, for digits, random shifts and turns.",
    ]


def test_dictionary_for_a_machine(good):
    assert judge(load_rubric(), good)[1].to_dict() == {
        "rule": "epochs",
        "passed": None,
        "figure": "not measured",
        "limit": "limit 19",
        "hint": "Train the network: lab check TARGET --train.",
        "points": 0.0,
        "max_points": 10.0,
    }


# -- rubrics ----------------------------------------------------------------------------------------------------------


def test_the_rubrics_differ_as_their_titles_say():
    rubrics = {path.stem: load_rubric(path.stem) for path in RUBRICS.glob("*.toml")}
    limits = {name: rubric.limit("parameter_count") for name, rubric in rubrics.items()}
    assert limits == {"mnist_994": 20_000, "mnist_8k": 8_000, "mnist_5k": 5_000, "fashion": 20_000}
    for name, rubric in rubrics.items():
        assert f"fewer than {limits[name]:,} parameters" in rubric.title
        assert rubric.limit("epochs") == 20
        data_set = "fashion_mnist" if name == "fashion" else "mnist"
        assert (rubric.dataset, rubric.input_shape) == (data_set, (1, 28, 28))
        assert (rubric.limit("accuracy") == 0.994) == (name != "fashion")
        assert sum(rule.points for rule in rubric.rules) == 100
        assert [(rule.name, rule.points) for rule in rubric.rules] == [
            (rule.name, rule.points) for rule in rubrics["mnist_994"].rules
        ]


def test_limit_that_a_rubric_does_not_set():
    with pytest.raises(RubricError, match=r"fewer than 5,000 parameters' sets no limit for 'dropout'"):
        load_rubric("mnist_5k").limit("dropout")


HEAD = 'title = "t"\ndataset = "mnist"\ninput_shape = [1, 28, 28]\n'
DROPOUT = '[[rules]]\nname = "dropout"\npoints = 1\n'


@pytest.fixture
def rubric(tmp_path):
    """Writes a rubric; gives its path."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding=encoding)
        return path

    return write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_rubric_of_ones_own(rubric, good, encoding):
    path = rubric(HEAD + DROPOUT + '[[rules]]\nname = "parameter_count"\nbelow = 218\npoints = 2.5\n', encoding)
    for name in (path, str(path)):
        verdicts = judge(load_rubric(name), good)
        assert [(v.rule, v.passed, v.points, v.max_points) for v in verdicts] == [
            ("dropout", True, 1, 1),
            ("parameter_count", False, 0, 2.5),
        ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (HEAD + DROPOUT + "ponits = 3\n", "rules.0.ponits", "Extra inputs are not permitted"),
        (HEAD + DROPOUT + "[more]\n", "more", "Extra inputs are not permitted"),
        (HEAD + DROPOUT + "below = 3\n", "rules.0", "'dropout' needs no limit, and has below"),
        (HEAD + DROPOUT * 2 + DROPOUT.replace("dropout", "epochs"), "rules.2", "'epochs' needs below, and has none"),
        (HEAD + DROPOUT.replace("dropout", "accuracy") + "below = 3\n", "rules.0", "needs at_least, and has below"),
        (HEAD + DROPOUT.replace("dropout", "drop_out"), "rules.0.name", "'dropout'"),
        (HEAD + DROPOUT.replace("= 1", "= nan"), "rules.0.points", "finite number"),
        (HEAD + DROPOUT.replace("= 1", "= inf"), "rules.0.points", "finite number"),
        (HEAD + DROPOUT.replace("= 1", "= -1"), "rules.0.points", "greater than or equal to 0"),
        (HEAD + DROPOUT.replace("= 1", '= "1"'), "rules.0.points", "valid number"),
        (HEAD + DROPOUT.replace("dropout", "epochs") + "below = true\n", "rules.0.below", "valid integer"),
        (HEAD + DROPOUT.replace("dropout", "epochs") + "below = 19.5\n", "rules.0.below", "valid integer"),
        (HEAD + DROPOUT.replace("dropout", "accuracy") + "at_least = 99.4\n", "rules.0.at_least", "less than or equal"),
        (HEAD + DROPOUT.replace("dropout", "accuracy") + "at_least = nan\n", "rules.0.at_least", "less than or equal"),
        (HEAD + DROPOUT.replace("dropout", "output_shape") + "shape = [0]\n", "rules.0.shape.0", "greater than 0"),
        (HEAD.replace("28, 28", "28") + DROPOUT, "input_shape.2", "Field required"),
        (HEAD.replace('"mnist"', "3") + DROPOUT, "dataset", "valid string"),
        (HEAD + "rules = []\n", "rules", "at least 1 item"),
        ("", "title", "Field required"),
    ],
)
def test_rubric_that_breaks_the_schema(rubric, text, where, what):
    path = rubric(text)
    with pytest.raises(RubricError) as caught:
        load_rubric(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: at {where}: ")
    assert what in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("title = mnist", "line 1, column 9"),
        (HEAD + HEAD, "line 4"),
        ("x = " + "[" * 3000, ""),
    ],
    ids=["no quotes", "a key twice", "very deep"],
)
def test_rubric_that_is_not_toml(rubric, text, where):
    path = rubric(text)
    with pytest.raises(RubricError) as caught:
        load_rubric(path)
    assert str(caught.value).startswith(f"{path} is not a TOML file: ")
    assert where in str(caught.value)


def test_rubric_that_is_not_text(rubric):
    with pytest.raises(RubricError, match="is not a TOML file: 'utf-8' codec can't decode"):
        load_rubric(rubric("title = 'é'", encoding="latin-1"))


def test_a_rubric_may_be_based_on_another(rubric):
    own = load_rubric(rubric('based_on = "mnist_8k"\ntitle = "Ours"\n[late]\ndue = 2026-11-30T23:59:00+01:00\n'))
    assert own.late is not None
    assert own.model_copy(update={"late": None}) == load_rubric("mnist_8k").model_copy(update={"title": "Ours"})


@pytest.mark.parametrize("base", ['"nope"', "1", '"../rubrics/mnist_8k"', "[]"])
def test_a_rubric_is_based_on_the_labs_own_alone(rubric, base):
    with pytest.raises(RubricError, match=r"is none of fashion, mnist_5k, mnist_8k, mnist_994\.$"):
        load_rubric(rubric(f"based_on = {base}"))


@pytest.mark.parametrize("name", ["nope", "nope.toml", "x" * 5000, "."])
def test_rubric_that_is_not_there(name):
    known = "fashion, mnist_5k, mnist_8k, mnist_994"
    with pytest.raises(RubricError, match=f"no rubric '{name}': it is neither a file nor one of {known}"):
        load_rubric(name)


# -- late -------------------------------------------------------------------------------------------------------------

DUE = datetime(2026, 11, 30, 23, 59, tzinfo=timezone(timedelta(hours=1)))
LATE = """
[late]
due = 2026-11-30T23:59:00+01:00
grace_minutes = 5
off_per_day = 0.1
most_off = 0.25
closes = 2026-12-14T00:00:00+01:00
"""


@pytest.mark.parametrize(
    ("minutes", "share", "told"),
    [
        (-60, 0.0, ""),
        (5, 0.0, ""),
        (6, 0.1, "6 minutes late, 10 % off"),
        (24 * 60, 0.1, "1 day late, 10 % off"),
        (24 * 60 + 1, 0.2, "1 day 1 minute late, 20 % off"),
        (27 * 60, 0.2, "1 day 3 hours late, 20 % off"),
        (4 * 24 * 60 + 61, 0.25, "4 days 1 hour late, 25 % off"),
        (15 * 24 * 60, 1.0, "15 days late, after it had closed: nothing counts"),
    ],
)
def test_each_day_that_has_begun_costs_its_share(tmp_path: Path, minutes: float, share: float, told: str) -> None:
    late = load_rubric(with_late(tmp_path, LATE)).late
    assert late is not None
    moment = (DUE + timedelta(minutes=minutes)).astimezone(timezone.utc)  # in whatever zone it is told
    assert late.share_off(moment) == (share, told)


def test_late_without_a_time_counts_as_one_day() -> None:
    late = Late(due=DUE, off_per_day=0.1)
    share, told = late.share_off(None, marked=True)
    assert (share, told) == (0.1, "late, says the platform without a time: counted as one day, 10 % off")
    assert late.share_off(None) == (0.0, "")
    assert late.share_off(DUE + timedelta(seconds=1)) == (0.1, "less than a minute late, 10 % off")


def test_when_it_is_due_changes_nothing_that_is_written_down_of_a_rubric(tmp_path: Path) -> None:
    with_it = load_rubric(with_late(tmp_path, LATE))
    assert with_it.late is not None
    assert with_it.model_dump_json() == load_rubric().model_dump_json()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("due = 2026-11-30T23:59:00", "timezone"),
        ("due = 2026-11-30", "datetime"),
        ('due = "2026-11-30T23:59:00Z"', "datetime"),
        ("off_per_day = 0.1", "late.due: Field required"),
        ("due = 2026-11-30T23:59:00Z\noff_per_day = 10", "late.off_per_day"),
        ("due = 2026-11-30T23:59:00Z\ngrace_minutes = -1", "late.grace_minutes"),
        ("due = 2026-11-30T23:59:00Z\nclosed = 2026-12-01T00:00:00Z", "late.closed"),
        ("due = 2026-11-30T23:59:00Z\ncloses = 2026-11-01T00:00:00Z", "before due"),
    ],
)
def test_a_late_policy_that_is_none_is_told(tmp_path: Path, table: str, told: str) -> None:
    with pytest.raises(RubricError, match=told):
        load_rubric(with_late(tmp_path, f"\n[late]\n{table}\n"))


def with_late(folder: Path, table: str) -> Path:
    """The lab's own rubric with one table more."""
    path = folder / "rubric.toml"
    path.write_text((RUBRICS / "mnist_994.toml").read_text(encoding="utf-8") + table, encoding="utf-8")
    return path
