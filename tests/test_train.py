"""The loop: repeatable, honest about errors, blind to the test set."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import train
from lab.augment import MEAN, STD
from lab.data import Data, Labelled, load
from lab.graph import capture
from lab.models import LabNet
from lab.operations import Dropout
from lab.presets import PRESETS
from lab.train import Recipe, TrainingError, accuracy, check_recipe, fit, predict


def small() -> nn.Module:
    """A network that learns digits in a second."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(864, 10)
    )


@pytest.fixture(scope="module")
def few() -> Data:
    return load("mnist").split(0).limit(1500)


QUICK = Recipe(epochs=2, batch_size=64)


def figures(history: train.History) -> list[tuple[Any, ...]]:
    """Everything in a history that must repeat: all but the seconds."""
    return [tuple(v for k, v in asdict(epoch).items() if k != "seconds") for epoch in history.epochs]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "choices", [{"averaging": 0.0}, {"averaging": 0.9}, {"muon": 0.05, "hardest": 0.2, "sampled": 0.3}]
)
def test_the_same_seed_gives_the_same_run_bit_for_bit(few: Data, precision: Any, choices: Any) -> None:
    recipe = replace(QUICK, precision=precision, **choices)
    first, second, third = small(), small(), small()
    histories = [fit(first, few, recipe), fit(second, few, recipe)]
    torch.rand(7)  # what others draw meanwhile does not matter
    histories.append(fit(third, few, recipe))
    assert figures(histories[0]) == figures(histories[1]) == figures(histories[2])
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    other = fit(small(), few, replace(recipe, seed=1))
    assert figures(other) != figures(histories[0])


def test_it_learns_and_the_history_says_how(few: Data) -> None:
    model = small()
    history = fit(model, few, replace(QUICK, epochs=4))
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss
    assert few.validation is not None
    assert history.epochs[-1].validation_accuracy == accuracy(model, few.validation) > 0.8
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)
    assert not model.training
    assert not history.interrupted
    assert json.loads(json.dumps(history.to_dict()))["recipe"]["epochs"] == 4


def test_without_a_validation_set_there_is_no_validation_accuracy() -> None:
    history = fit(small(), load("mnist").limit(300), replace(QUICK, epochs=1))
    assert history.epochs[0].validation_accuracy is None


def test_watchers_are_called_after_every_epoch_with_the_network_as_it_would_be(few: Data) -> None:
    seen: list[tuple[int, float | None, float]] = []

    def watch(history: train.History, net: nn.Module) -> None:
        assert few.validation is not None
        seen.append((len(history.epochs), history.epochs[-1].validation_accuracy, accuracy(net, few.validation)))

    history = fit(small(), few, Recipe(epochs=3, averaging=0.9), watchers=[watch])
    assert [number for number, _, _ in seen] == [1, 2, 3]
    assert all(reported == measured for _, reported, measured in seen)
    assert len(history.epochs) == 3


def test_training_never_touches_the_test_set(monkeypatch: pytest.MonkeyPatch, few: Data) -> None:
    def forbidden(self: Data) -> Labelled:
        raise AssertionError("the test set was read")

    monkeypatch.setattr(Data, "test", property(forbidden))
    fit(small(), few, QUICK)
    with pytest.raises(AssertionError, match="test set was read"):
        accuracy(small(), few.test)


class Watch(nn.Module):
    """A network that keeps what it is trained on: a list of batches (B, 784), brightness 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append((x.detach().float().flatten(1) * STD + MEAN) * 255)
        return self.fc(x.flatten(1))


def test_every_image_is_seen_once_an_epoch(few: Data) -> None:
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1).expand(100, 28, 28)
    data = replace_train(few, Labelled(images, torch.arange(100) % 10))
    model = Watch()
    fit(model, data, replace(QUICK, batch_size=33, epochs=2, augment=None, precision="float32"))
    seen = model.seen
    assert [len(batch) for batch in seen] == [25] * 8  # 4 batches of nearly the same size, twice
    for epoch in (seen[:4], seen[4:]):
        assert sorted(torch.cat(epoch)[:, 0].round().int().tolist()) == list(range(100))


def test_gamma_changes_the_strokes_of_what_is_learnt_from(few: Data) -> None:
    data = replace_train(few, Labelled(torch.full((100, 28, 28), 128, dtype=torch.uint8), torch.arange(100) % 10))
    greys = []
    for gamma in (0.0, 0.5):
        model = Watch()
        fit(model, data, replace(QUICK, epochs=1, augment=None, gamma=gamma, precision="float32"))
        greys.append(torch.cat(model.seen)[:, 0])
    assert greys[0].round().unique().tolist() == [128]
    assert float(greys[1].min()) < 100  # 255 * (128 / 255) ** 1.65 = 82
    assert float(greys[1].max()) > 150  # 255 * (128 / 255) ** 0.61 = 168


def replace_train(data: Data, labelled: Labelled) -> Data:
    return replace(data, train=labelled, validation=None)


def test_ctrl_c_returns_the_history_so_far(few: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def step(self: Any, index: Tensor) -> Any:
        calls.append(len(index))
        if len(calls) == 35:  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        return original(self, index)

    original = train._Training.step
    monkeypatch.setattr(train._Training, "step", step)
    model = small()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        history = fit(model, few, replace(QUICK, epochs=50))
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.interrupted
    assert len(history.epochs) == 1
    assert not model.training
    assert few.validation is not None
    assert accuracy(model, few.validation) > 0.2


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(0, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.long), "the training set is empty"),
        (torch.zeros(4, 28, 28), torch.zeros(4, dtype=torch.long), "images must be uint8"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4, dtype=torch.long), "images must be uint8"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.long), "one int64 label an image"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), torch.zeros(4), "one int64 label an image"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 2, 10]), "labels run from 0 to 10"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([0, -1, 2, 3]), "labels run from -1 to 3"),
    ],
)
def test_data_that_does_not_fit_is_refused(few: Data, images: Tensor, labels: Tensor, words: str) -> None:
    model = small()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(TrainingError, match=words):
        fit(model, replace_train(few, Labelled(images, labels)), QUICK)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_recipes_and_networks_that_cannot_train_are_refused(few: Data) -> None:
    for bad in ({"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}):
        with pytest.raises(TrainingError, match="a recipe needs"):
            fit(small(), few, replace(QUICK, **bad))  # type: ignore[arg-type]
    for bad in ({"hardest": 1.5}, {"sampled": -0.1}):
        with pytest.raises(TrainingError, match="from 0 to 1 each"):
            fit(small(), few, replace(QUICK, **bad))
    with pytest.raises(TrainingError, match=r"every parameter of the network is frozen.*requires_grad_\(True\)"):
        fit(small().requires_grad_(False), few, QUICK)
    with pytest.raises(TrainingError, match="no parameters"):
        fit(nn.Flatten(), few, QUICK)
    with pytest.raises(TrainingError, match="empty"):
        predict(small(), torch.zeros(0, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("epochs", [-1, 1.5, math.nan]),
        ("batch_size", [0, 32.5]),
        ("learning_rate", [-0.1, math.nan, math.inf]),
        ("warmup", [1.0, 1.5, -0.1, math.nan]),
        ("momentum", [1.0, -0.5, math.nan]),
        ("weight_decay", [-0.1, math.nan, math.inf]),
        ("muon", [-0.1, math.nan, math.inf]),
        ("label_smoothing", [1.0, -0.1, math.nan]),
        ("averaging", [1.0, -0.1, math.nan]),
        ("sampled", [math.nan]),
        ("hardest", [math.nan]),
        ("gamma", [-0.1, math.nan, math.inf]),
        ("dropout", [1.0, -0.1, math.nan]),
        ("optimizer", ["adam"]),
        ("schedule", ["step"]),
        ("precision", ["float16"]),
    ],
)
def test_nonsense_in_a_recipe_is_refused_before_training(few: Data, name: str, values: list[Any]) -> None:
    model = small()
    before = [p.clone() for p in model.parameters()]
    for value in values:
        with pytest.raises(TrainingError, match="a recipe"):
            fit(model, few, replace(QUICK, **{name: value}))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_recipes_that_the_lab_uses_are_accepted() -> None:
    for recipe in (Recipe(), QUICK, *(preset.recipe for preset in PRESETS.values())):
        check_recipe(recipe)


def test_dropout_of_a_recipe_reaches_a_graph_too(few: Data) -> None:
    model = nn.Sequential(nn.Dropout2d(0.3), nn.Flatten(), nn.Dropout(0.3), nn.Linear(784, 10))
    net = capture(model).build()
    train._set_dropout(net, 0.05)
    assert [op.p for op in net.graph.operations if isinstance(op, Dropout)] == [0.05, 0.05]
    train._set_dropout(model, 0.05)
    assert [model[0].p, model[2].p] == [0.05, 0.05]
    train._set_dropout(net, None)
    assert [op.p for op in net.graph.operations if isinstance(op, Dropout)] == [0.05, 0.05]


def test_a_graph_is_decayed_like_its_module() -> None:
    for recipe in (Recipe(), PRESETS["sprint"].recipe):
        groups = [
            [
                (sorted(tuple(p.shape) for p in group["params"]), group.get("weight_decay"))
                for group in optimizer.param_groups
            ]
            for model in (LabNet(), capture(LabNet()).build())
            for optimizer in train._optimizers(model, recipe)
        ]
        assert groups[: len(groups) // 2] == groups[len(groups) // 2 :]


def test_no_bar_without_a_terminal(
    few: Data, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PROGRESS", "1")
    fit(small(), few, replace(QUICK, epochs=1))
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert not train._bar(1, None).disable
    assert train._bar(1, False).disable


def test_an_output_that_is_not_one_row_of_logits_an_image_is_refused(few: Data) -> None:
    for model in (nn.Sequential(nn.Conv2d(1, 10, 28)), nn.Sequential(nn.Flatten(0), nn.Linear(784 * 2, 10))):
        with pytest.raises(TrainingError, match="expected one row of logits each"):
            predict(model, few.train.images[:2])
    assert predict(nn.Flatten(), few.train.images[:3]).shape == (3, 784)  # no parameters: on the CPU


def test_a_loss_that_is_no_number_says_when_and_what_to_do(few: Data) -> None:
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch [12] of 2\. Lower the learning rate"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), few, replace(QUICK, optimizer="sgd", learning_rate=1e30))


def test_accuracy_counts_images_not_batches() -> None:
    class Says(nn.Module):
        """Answers the top left pixel's value."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            value = ((x[:, 0, 0, 0] * STD + MEAN) * 255).round().long()
            return torch.nn.functional.one_hot(value, 10).float()

    images = torch.zeros(7, 28, 28, dtype=torch.uint8)
    images[:, 0, 0] = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 0])
    assert accuracy(Says(), Labelled(images, labels), batch_size=5) == pytest.approx(5 / 7)  # batches: 1.0 and 0.0


def test_predict_puts_the_mode_back_and_uses_the_running_statistics(few: Data) -> None:
    model = small().train()
    one, many = predict(model, few.train.images[:1]), predict(model, few.train.images[:64])
    torch.testing.assert_close(one[0], many[0], atol=1e-5, rtol=1e-4)
    assert model.training


def test_the_triangle_climbs_to_its_peak_and_falls_to_zero() -> None:
    shares = [train._rate(Recipe(warmup=0.25), done) for done in (0, 0.125, 0.25, 0.625, 1)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert train._rate(Recipe(schedule="constant"), 0.9) == 1
    assert train._rate(Recipe(schedule="cosine", warmup=0), 0.5) == pytest.approx(0.5)
    assert train._rate(Recipe(warmup=0), 0.0) == 1


def test_weight_decay_leaves_biases_and_batch_norm_alone() -> None:
    (optimizer,) = train._optimizers(LabNet(), Recipe())
    weights, others = optimizer.param_groups
    assert sum(p.numel() for p in weights["params"]) == 18650 - 208 - 10
    assert (weights["weight_decay"], others["weight_decay"]) == (0.01, 0.0)


def test_muon_moves_the_filters_and_the_other_optimizer_the_rest() -> None:
    model = LabNet()
    adamw, muon = train._optimizers(model, Recipe(muon=0.05, momentum=0.8))
    filters = muon.param_groups[0]
    assert sum(p.numel() for p in filters["params"]) == 144 + 2304 + 3456 + 5184 + 5184
    assert (filters["peak"], filters["momentum"]) == (0.05, 0.8)
    rest = [group["params"] for group in adamw.param_groups]
    assert [sum(p.numel() for p in params) for params in rest] == [2160, 208 + 10]
    assert adamw.param_groups[0]["peak"] == 0.015


def test_every_optimizer_follows_the_schedule(few: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[tuple[float, ...]] = []
    original = train.Muon.step

    def step(self: Any) -> None:
        rates.append(self.param_groups[0]["lr"])
        original(self)

    monkeypatch.setattr(train.Muon, "step", step)
    fit(small(), few, replace(QUICK, batch_size=300, warmup=0.5, muon=0.1))  # 2 epochs of 5 steps
    assert rates == pytest.approx([0.1 * share for share in (0, 0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2)])


def test_from_the_second_epoch_on_the_hardest_are_learnt_and_some_of_the_others(few: Data) -> None:
    recipe = Recipe(epochs=3, batch_size=64, hardest=0.2, sampled=0.1)
    run = train._Training(small(), few.train, recipe, torch.device("cpu"), "float32")
    assert sorted(run.order(1).tolist()) == list(range(1500))
    run.losses = torch.randperm(1500).float()  # no two alike
    hardest = set((run.losses >= 1200).nonzero().flatten().tolist())
    first, second = run.order(2), run.order(3)
    for order in (first, second):
        assert len(order) == len(set(order.tolist())) == 450
        assert hardest <= set(order.tolist())
        assert run.losses[order[:150]].mean() != run.losses[order].topk(150).values.mean(), "the hardest come first"
    drawn, drawn_later = (set(order.tolist()) - hardest for order in (first, second))
    assert len(drawn) == 150
    assert drawn != drawn_later, "the same others every time"
    assert run.steps == 24 + 8 + 8


def test_an_epoch_says_how_many_images_it_learnt_from(few: Data) -> None:
    history = fit(small(), few, replace(QUICK, epochs=3, hardest=0.3, sampled=0.2))
    assert [epoch.images for epoch in history.epochs] == [1500, 750, 750]
    assert all(0 < epoch.train_accuracy <= 1 for epoch in history.epochs)
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)


def test_losses_are_kept_by_image(few: Data) -> None:
    run = train._Training(small(), few.train, replace(QUICK, augment=None), torch.device("cpu"), "float32")
    index = torch.tensor([7, 3, 11])
    losses, logits = run.step(index)
    expected = torch.nn.functional.cross_entropy(
        logits, few.train.labels[index], label_smoothing=0.05, reduction="none"
    )
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(run.losses[index], expected)
    assert run.losses.count_nonzero() == 3


def test_the_recipes_dropout_reaches_the_network(few: Data) -> None:
    model = small()
    fit(model, few, replace(QUICK, epochs=1, dropout=0.4))
    assert model[4].p == 0.4


def test_averaged_weights_are_what_the_run_gives(few: Data) -> None:
    plain, averaged = small(), small()
    fit(plain, few, replace(QUICK, averaging=0.0))
    fit(averaged, few, replace(QUICK, averaging=0.99))
    assert not torch.equal(plain[0].weight, averaged[0].weight)
    assert not torch.equal(plain[1].running_mean, averaged[1].running_mean)


@pytest.mark.parametrize("processor", [False, True])
@pytest.mark.parametrize("library", [False, True])
def test_bfloat16_is_chosen_only_where_processor_and_library_have_it(
    monkeypatch: pytest.MonkeyPatch, processor: bool, library: bool
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: processor, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: library)
    assert train._precision(Recipe(), cpu) == ("bfloat16" if processor and library else "float32")
    assert train._precision(Recipe(precision="float32"), cpu) == "float32"
    assert train._precision(Recipe(precision="bfloat16"), cpu) == "bfloat16"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert train._precision(Recipe(), cpu) == "float32"


def test_a_library_that_is_told_to_do_without_bfloat16_is_not_asked_for_it() -> None:
    """It would emulate it, ten times slower."""
    program = "import torch; from lab.train import Recipe, _precision; print(_precision(Recipe(), torch.device('cpu')))"
    told = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | told, capture_output=True, text=True)
    assert done.stdout.strip() == "float32", done.stderr


def test_the_bar_is_shown_and_hidden(few: Data, capfd: pytest.CaptureFixture[str]) -> None:
    fit(small(), few, replace(QUICK, epochs=1), progress=True)
    assert "24/24" in capfd.readouterr().err
    fit(small(), few, replace(QUICK, epochs=1))  # LAB_PROGRESS=0 in the tests
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_labnet_reaches_the_assignment() -> None:
    from lab.runs import train_once

    assert train_once(LabNet, load("mnist"), Recipe(seed=1)).accuracy >= 0.994
