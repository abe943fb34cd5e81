"""What a person types, what is printed, and the exit status: 0, 1 (the work falls short) or 2 (the call is wrong)."""

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import lab
from lab import runs, submission
from lab.augment import Affine
from lab.cli import _stem, main
from lab.data import Data, Labelled
from lab.graph import TO_TRAIN, capture, load, save
from lab.models import LabNet, SprintNet
from lab.presets import PRESETS
from lab.targets import resolve
from lab.train import Recipe

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(13)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(16, 10)
        self.spare = nn.Linear(3, 3)

    def forward(self, x):
        print("shape", x.shape)
        x = self.pool(self.bn(self.conv(x)).relu())
        return self.fc(self.drop(x.flatten(1)))
"""


def call(*arguments: object) -> Result:
    """The command line, called in this process; no exception may leave it."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Every test runs in a folder with net.py."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)


class Inside:
    """In place of the child process, for the tests that are about something else: the network is captured in here."""

    def __init__(self, target):
        self.target = target

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def graph(self, input_shape=(1, 28, 28), budget=TO_TRAIN):
        with contextlib.redirect_stdout(sys.stderr):
            return resolve(self.target, input_shape, budget)


@pytest.fixture(autouse=True)
def no_child(monkeypatch):
    """A process for each call would take minutes; tests/test_child.py and what runs as a program have one."""
    monkeypatch.setattr("lab.cli.Child", Inside)


@pytest.fixture
def small_data(monkeypatch):
    """100 random images in place of every data set."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (100, 28, 28), dtype=torch.uint8, generator=generator)
    some = Labelled(images, torch.arange(100) % 10)
    data = Data("mnist", some, None, tuple("0123456789"), "a test", lambda: some)
    monkeypatch.setattr("lab.data.load", lambda name: data)
    monkeypatch.setattr(runs, "load", lambda name: data)
    return data


# -- lab ---------------------------------------------------------------------------------------------------------------


def test_help_and_version():
    assert "TARGET names a network: file.py, file.py:Class" in call("--help").output
    assert set(main.commands) >= {"inspect", "check", "train", "run", "hand-in"}
    asked = {command: call(command, "-h") for command in main.commands}
    assert {command: said.output for command, said in asked.items() if said.exit_code} == {}
    assert call("--version").output == f"lab, version {lab.__version__}\n"


def test_help_is_quick_and_does_without_the_heavy_packages():
    program = """
import sys
from lab.cli import _stem, main
try:
    main(["--help"])
except SystemExit as end:
    heavy = {"torch", "torchvision", "numpy", "matplotlib", "pydantic", "rich", "IPython"} & set(sys.modules)
    sys.exit(f"imported {sorted(heavy)}" if heavy else end.code)
"""
    spent = []
    for _ in range(2):  # the first one may have to compile
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        after = os.times()
        assert done.returncode == 0, done.stderr
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert "Commands:" in done.stdout
    assert min(spent) < 0.5


@pytest.mark.parametrize("arguments", [["nonsense"], ["inspect"], ["check"], ["inspect", "net.py", "--nonsense"], []])
def test_wrong_call(arguments):
    assert call(*arguments).exit_code == 2


# -- lab inspect -------------------------------------------------------------------------------------------------------


def test_table():
    result = call("inspect", "net.py")
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "net.py on 1x28x28",
        "                                        para-  multiply-      sees,",
        "layer                path     output   meters       adds     pixels   jump",
        "──────────────────────────────────────────────────────────────────────────",
        "conv 1→4, 26x26      conv     4x26x26      40     24,336        3x3    1x1",
        "batch norm 4         bn       4x26x26       8                   3x3    1x1",
        "ReLU                 relu     4x26x26                           3x3    1x1",
        "max pool 13x13, 2x2  pool     4x2x2                           15x15  13x13",
        "flatten 16           flatten  16                          28x28 all      -",
        "dropout 0.2          drop     16                          28x28 all      -",
        "linear 16→10         fc       10          170        160  28x28 all      -",
        "",
        "total                         10          218     24,496",
        "no effect: Linear 'spare': declared, and the output does not depend on it",
    ]


def test_table_with_the_time_that_each_layer_takes(monkeypatch):
    monkeypatch.setattr("lab.timing.milliseconds", lambda graph, images: [0.5 * images] * len(graph.operations))
    lines = call("inspect", "net.py", "--time").stdout.splitlines()
    assert lines[2].split() == ["layer", "path", "output", "meters", "adds", "images", "pixels", "jump"]
    assert "ms, 256" in lines[1]
    assert lines[4].split()[-3:] == ["128.00", "3x3", "1x1"]
    assert lines[-2].split() == ["total", "10", "218", "24,496", "896.00"]
    report = json.loads(call("inspect", "net.py", "--time", "--json").stdout)
    assert (report["timed_images"], report["milliseconds"]) == (256, 896)
    assert report["layers"][0]["milliseconds"] == 128


def test_what_has_no_effect_is_data_in_json():
    reason = "declared, and the output does not depend on it"
    report = json.loads(call("inspect", "net.py", "--json").stdout)
    assert report["idle"] == [{"kind": "Linear", "name": "spare", "reason": reason}]


def test_seed_network_as_json():
    result = call("inspect", "lab.models:SeedNet", "--json")
    report = json.loads(result.stdout)
    assert (report["parameters"], report["multiply_adds"]) == (18_242, 4_990_544)
    assert (report["input_shape"], report["output_shape"], report["idle"]) == ([1, 28, 28], [10], [])
    assert len(report["layers"]) >= 28
    assert sum(layer["parameters"] for layer in report["layers"]) == 18_242
    assert report["layers"][0] == {
        "name": "conv1",
        "title": "conv 1→16, 28x28",
        "kind": "conv 3x3",
        "shape": [16, 28, 28],
        "parameters": 160,
        "multiply_adds": 112_896,
        "receptive_field": {"size": [3, 3], "clipped": [3, 3], "jump": [1.0, 1.0], "start": [-1, -1]},
    }
    sizes = {layer["name"]: layer["receptive_field"]["size"] for layer in report["layers"]}
    assert (sizes["pool2"], sizes["conv6"], sizes["fc"]) == ([16, 16], [32, 32], [40, 40])


def test_seed_networks_table_fits_a_terminal():
    lines = call("inspect", "lab.models:SeedNet").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert lines[-1].split() == ["total", "10", "18,242", "4,990,544"]


def test_nothing_is_cut_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "4,990,544" in call("inspect", "lab.models:SeedNet").stdout


@pytest.mark.parametrize(("name", "layer", "pixels"), [("vgg16", "features.30", 212), ("alexnet", "features.12", 195)])
def test_famous_networks(monkeypatch, name, layer, pixels):
    """The receptive fields that the literature gives (Araujo, Norris and Sim, Distill 2019)."""
    for initializer in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"):
        monkeypatch.setattr(nn.init, initializer, lambda tensor, *rest, **options: tensor)  # a second each
    result = call("inspect", f"torchvision.models:{name}", "--input", "3x224x224", "--json")
    assert result.exit_code == 0
    layers = json.loads(result.stdout)["layers"]
    (field,) = [each["receptive_field"] for each in layers if each["name"] == layer]
    assert field["size"] == [pixels, pixels]


def test_what_the_network_prints_is_not_in_the_answer():
    for command in ("inspect", "check"):
        result = call(command, "net.py", "--json")
        assert json.loads(result.stdout)["target"] == "net.py"
        assert "shape" in result.stderr


def test_names_with_brackets_and_colons_are_printed_as_they_are():
    Path("[bold]").mkdir()
    Path("[bold]/:smile:.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.d = nn.ModuleDict({'[red]': nn.Flatten()})\n    def forward(self, x): return self.d['[red]'](x)\n"
    )
    lines = call("inspect", "[bold]/:smile:.py:Net").stdout.splitlines()
    assert lines[0].startswith("[bold]/:smile:.py:Net on")
    assert any(line.startswith("flatten 784  d.[red] ") for line in lines)


@pytest.mark.parametrize(
    "size", ["28", "1x28", "1x28x28x1", "axbxc", "", "0x28x28", "1x-28x28", "1x28x5000", "1x28x2.8"]
)
def test_bad_input_size(size):
    result = call("inspect", "net.py", "--input", size)
    assert result.exit_code == 2
    assert f"Invalid value for '--input': '{size}'" in result.stderr


def test_names_that_the_terminal_cannot_show():
    Path("сеть.py").write_text(NET, encoding="utf-8")
    result = CliRunner(charset="ascii").invoke(main, ["inspect", "сеть.py"])
    assert result.exit_code == 0
    assert result.stdout.startswith(r"\u0441\u0435\u0442\u044c.py on 1x28x28")


def test_input_size():
    assert json.loads(call("inspect", "net.py", "--input", "1X29x30", "--json").stdout)["input_shape"] == [1, 29, 30]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone.py", "error: cannot read gone.py: No such file or directory."),
        ("net.py:Nett", "error: net.py defines no 'Nett'. Network classes in it: Net."),
        ("nowhere:Net", "error: 'nowhere:Net': No module named 'nowhere'."),
        ("nonsense", "error: 'nonsense' names no network."),
        (".", "error: . holds no saved graph: there is no graph.json in it."),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "check", "train"])
def test_bad_target(command, target, message, small_data):
    result = call(command, target)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stdout == ""


def test_images_that_the_network_cannot_take():
    result = call("inspect", "net.py", "--input", "1x32x60")
    assert result.exit_code == 2
    where = "error: net.py, line 17: `return self.fc(self.drop(x.flatten(1)))`, layer 'fc' (Linear): "
    assert result.stderr.splitlines()[-1].startswith(where + "forward fails on a batch of 1x32x60")


# -- lab check ---------------------------------------------------------------------------------------------------------


def test_check_that_is_kept():
    result = call("check", "net.py")
    assert result.exit_code == 0
    assert re.sub(r"by \d\.\d{4} of", "by # of", result.stdout).splitlines() == [
        "PASS parameter_count: 218, limit 19,999.",
        "---- epochs: not measured, limit 19.",
        "     Train the network: lab check TARGET --train.",
        "PASS batch_norm: 1 executed; batch norm 4 (bn) changes the answers by # of their size, at least 0.01.",
        "PASS dropout: 1 executed; dropout 0.2 (drop) changes the answers by # of their size, at least 0.01.",
        "PASS fully_connected: 1 executed; linear 16→10 (fc) changes the answers by # of their size, at least 0.01.",
        "PASS output_shape: (B, 10), expected (B, 10).",
        "---- accuracy: not measured, at least 99.40%.",
        "     Train the network: lab check TARGET --train. The other rules earn their points from 98% on.",
    ]


def test_check_that_fails():
    result = call("check", "lab.models:SeedNet", "--rubric", "mnist_5k", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    assert report["rubric"] == "MNIST at 99.4 %, level 3, fewer than 5,000 parameters"
    verdicts = {verdict["rule"]: verdict for verdict in report["verdicts"]}
    assert [rule for rule, verdict in verdicts.items() if verdict["passed"] is False] == ["parameter_count"]
    assert verdicts["parameter_count"]["figure"] == "18,242"
    assert verdicts["accuracy"]["passed"] is None


@pytest.fixture
def recipes(monkeypatch) -> list[Recipe]:
    """The recipes that networks are trained by, in order."""
    seen, fit = [], runs.fit

    def watched(model, data, recipe, *rest):
        seen.append(recipe)
        return fit(model, data, recipe, *rest)

    monkeypatch.setattr(runs, "fit", watched)
    return seen


def test_check_with_training(small_data, recipes):
    result = call("check", "net.py", "--train", "--seed", 3, "--set", "epochs=1")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[1] == "PASS epochs: 1, limit 19."
    assert lines[6].startswith("FAIL accuracy: ")
    assert lines[-1] == "recipe: epochs=1, seed=3"
    assert recipes == [Recipe(epochs=1, seed=3)]


@pytest.mark.parametrize(
    ("rubric", "recipe"),
    [
        ("mnist_994", Recipe()),
        ("mnist_8k", PRESETS["small"].recipe),
        ("mnist_5k", PRESETS["tiny"].recipe),
        ("fashion", Recipe(epochs=10, augment=None)),
    ],
)
def test_a_rubric_names_its_recipe(small_data, recipes, rubric, recipe):
    call("check", "net.py", "--rubric", rubric, "--train", "--set", "epochs=1")
    call("check", "net.py", "--rubric", rubric, "--train", "--preset", "peak", "--set", "epochs=1")
    assert recipes == [replace(recipe, epochs=1), replace(PRESETS["peak"].recipe, epochs=1)]


def test_check_by_several_seeds_judges_their_mean(small_data, recipes):
    result = call("check", "net.py", "--train", "--seeds", 2, "--set", "epochs=1", "--set", "seed=7", "--json")
    assert [recipe.seed for recipe in recipes] == [7, 8]
    report = json.loads(result.stdout)
    assert report["recipe"] == asdict(Recipe(epochs=1, seed=7))
    (verdict,) = (one for one in report["verdicts"] if one["rule"] == "accuracy")
    mean, of_seeds = re.fullmatch(r"([\d.]+)%, the mean of 2 seeds \((.*)\)", verdict["figure"]).groups()
    assert float(mean) == pytest.approx(sum(float(one.rstrip("%")) for one in of_seeds.split(", ")) / 2, abs=0.011)


def test_check_of_a_saved_graph_measures_it(small_data):
    folder = save(capture(LabNet()), "saved")
    result = call("check", folder)
    assert result.exit_code == 1
    assert "FAIL accuracy: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--rubric", "nope"],
            "error: no rubric 'nope': it is neither a file nor one of fashion, mnist_5k, mnist_8k, mnist_994.",
        ),
        (["--rubric", "net.py"], "error: net.py is not a TOML file: "),
        (["--seed", "-1"], "Invalid value for '--seed': -1 is not in the range"),
        (["--seed", str(2**70)], "Invalid value for '--seed'"),
        (["--seed", "one"], "Invalid value for '--seed'"),
        (["--set", "epochs=1"], "--preset, --recipe, --set and --seeds are for a training: add --train."),
        (["--train", "--preset", "fast"], "there is no preset 'fast': take sprint, peak, small, tiny."),
        (["--train", "--preset", "peak", "--recipe", "net.py"], "--preset and --recipe both name a recipe: take one"),
    ],
)
def test_check_called_wrongly(arguments, message):
    result = call("check", "net.py", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


# -- lab train ---------------------------------------------------------------------------------------------------------


def test_train(small_data):
    result = call("train", "net.py", "--epochs", 1, "--seeds", 2, "--save", "new/folder")
    assert result.exit_code == 0
    header, recipe, measured, first, second, mean, margins, advice = result.stdout.splitlines()
    assert header == "net.py, 218 parameters, 1 epochs"
    assert recipe == "recipe: epochs=1"
    assert measured == "accuracy on test images:"
    assert first.startswith("seed 0: ")
    assert second.startswith("seed 1: ")
    assert mean.startswith("mean ")
    assert ", 2 of 2 seeds, " in mean
    assert margins.startswith("95 % interval: ± ")
    assert margins.endswith(" for the choice of test images")
    assert advice.startswith("To choose between recipes, add --validate: ")
    saved = load("new/folder")
    assert saved.parameters == 218
    wanted = float(second.split()[2].rstrip("%"))  # the last run's network is the one that is saved
    assert 100 * runs.accuracy(saved.build(), small_data.test) == pytest.approx(wanted, abs=0.01)


def test_train_with_a_preset(small_data, recipes):
    result = call("train", "--preset", "sprint", "--epochs", 1)
    assert result.exit_code == 0
    graph = capture(SprintNet())
    assert result.stdout.startswith(
        f"lab.models:SprintNet, {graph.parameters:,} parameters, 1 epochs\nrecipe: epochs=1"
    )
    assert "interval" not in result.stdout, "one seed has none"
    assert recipes == [replace(PRESETS["sprint"].recipe, epochs=1)]
    result = call("train", "net.py", "--preset", "peak", "--epochs", 1, "--json")
    report = json.loads(result.stdout)
    assert (report["target"], report["preset"], report["parameters"]) == ("net.py", "peak", 218)
    assert recipes[1] == replace(PRESETS["peak"].recipe, epochs=1)


def test_train_with_one_thing_changed_over_seeds(small_data, recipes):
    result = call("train", "net.py", "--epochs", 1, "--set", "averaging=0.999", "--set", "augment=none", "--seeds", 2)
    assert result.exit_code == 0
    assert recipes == [Recipe(epochs=1, averaging=0.999, augment=None, seed=seed) for seed in (0, 1)]
    assert result.stdout.splitlines()[1] == "recipe: epochs=1, augment=none, averaging=0.999"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.toml", 'epochs = 1\nschedule = "cosine"\n[augment]\ndegrees = 5\n'),
        ("mine.json", json.dumps(asdict(Recipe(epochs=1, schedule="cosine", augment=Affine(degrees=5))))),
    ],
)
def test_train_with_a_recipe_file(small_data, recipes, name, text):
    Path(name).write_text(text)
    assert call("train", "net.py", "--recipe", name, "--set", "seed=4").exit_code == 0
    assert recipes == [Recipe(epochs=1, schedule="cosine", augment=Affine(degrees=5), seed=4)]


def test_train_to_choose_leaves_the_test_set_alone(small_data, monkeypatch):
    def closed():
        raise AssertionError("the test set was read")

    split = replace(small_data, validation=small_data.train, _read_test=closed)
    monkeypatch.setattr(Data, "split", lambda data, seed: split)
    result = call("train", "net.py", "--epochs", 1, "--validate", "--seeds", 2)
    assert result.exit_code == 0, result.stderr
    assert "\naccuracy on validation images:\n" in result.stdout
    assert result.stdout.endswith(" for the choice of validation images\n")
    report = json.loads(call("train", "net.py", "--epochs", 1, "--validate", "--json").stdout)
    assert (report["measured_on"], report["images"]) == ("validation", 100)


def test_train_as_json(small_data):
    result = call("train", "net.py", "--epochs", 1, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["target"], report["data"], report["standard_deviation"]) == ("net.py", "mnist", 0)
    (only,) = report["runs"]
    assert only["accuracy"] == report["mean"]
    assert only["history"]["recipe"]["epochs"] == len(only["history"]["epochs"]) == 1


def test_interrupted_training_has_a_status_of_its_own(small_data, monkeypatch):
    fit = runs.fit
    monkeypatch.setattr(runs, "fit", lambda *rest: replace(fit(*rest), interrupted=True))
    result = call("train", "net.py", "--epochs", 1, "--seeds", 5)
    assert result.exit_code == 130
    assert ", 1 of 5 seeds, " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nope"], "There is no data set 'nope'. The lab knows mnist, "),
        (["--preset", "fast"], "there is no preset 'fast': take sprint, peak, small, tiny."),
        (["--epochs", "0"], "Invalid value for '--epochs': 0 is not in the range x>=1"),
        (["--set", "average=0.9"], "a recipe has no setting 'average': did you mean 'averaging'?"),
        (["--set", "epochs=ten"], "a recipe's `epochs` is a whole number; not 'ten'."),
        (["--set", "averaging=1"], "a recipe's `averaging` is at least 0 and less than 1; this one is 1.0."),
        (["--recipe", "gone.toml"], "Invalid value for '--recipe': File 'gone.toml' does not exist."),
        (["--recipe", "net.py"], "net.py is not a TOML file: "),
        (["--seeds", "0"], "Invalid value for '--seeds': 0 is not in the range x>=1"),
        (["--save", "net.py"], "Invalid value for '--save': Directory 'net.py' is a file."),
        (["--save", "net.py/folder"], "cannot save in net.py/folder: Not a directory. Choose another"),
    ],
)
def test_train_called_wrongly(arguments, message):
    result = call("train", "net.py", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_network_that_cannot_be_captured_is_not_trained_first(small_data, monkeypatch):
    Path("net.py").write_text(NET.replace("return self.fc", "x = x.flip(3)\n        return self.fc"))
    monkeypatch.setattr(runs, "fit", lambda *rest: pytest.fail("trained in vain"))
    result = call("train", "net.py")
    assert result.exit_code == 2
    assert "line 17: `x = x.flip(3)`: the operation 'flip' is outside the lab's list." in result.stderr


# -- lab run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "status"), [("passed", 0), ("done", 1), ("broken", 2), ("interrupted", 130)])
def test_run(monkeypatch, state, status):
    from lab.course import execution

    def execute(edition, name, parameters, out):
        assert (parameters, name) == ({"seed": 4, "epochs": 2, "quick": True}, "mnist_994")
        reason = "" if state == "passed" else "accuracy 99.30%, expected at least 99.40%"
        path, ended = str(out / "mnist_994.ipynb"), "done" if state == "passed" else state
        return execution.Outcome(not reason, reason, 0.993, 18_650, 2, 12.3, path, {}, ended)

    monkeypatch.setattr(execution, "execute", execute)
    arguments = ["run", "--seed", 4, "--epochs", 2, "--quick", "--out", "here"]
    plain, as_json = call(*arguments), call(*arguments, "--json")
    assert plain.exit_code == as_json.exit_code == status
    line = "accuracy=0.9930 parameters=18650 epochs=2 seconds=12"
    first = {"passed": "PASS", "done": "FAIL"}.get(state, state.upper())
    end = f"{first} {line}" if state == "passed" else f"{first} {line}: accuracy 99.30%, expected at least 99.40%"
    assert plain.stdout.splitlines()[-1] == end
    assert json.loads(as_json.stdout)["passed"] is (state == "passed")


def test_run_called_wrongly():
    for arguments in (["--train-limit", "5"], ["--out", "net.py"], ["--epochs", "0"], ["--seed", "x"], ["cifar"]):
        assert call("run", *arguments).exit_code == 2
    assert "there is no notebook 'cifar': take fashion, mnist_994." in call("run", "cifar").stderr


# -- whatever fails ends with 2, in one message ------------------------------------------------------------------------


def test_a_failure_with_json_prints_json():
    for arguments in (
        ["check", "gone.py"],
        ["inspect", "gone.py"],
        ["train", "gone.py"],
        ["check", "net.py", "--nope"],
    ):
        result = call(*arguments, "--json")
        assert result.exit_code == 2
        assert set(json.loads(result.stdout)) == {"error"}
        assert "error: " in result.stderr.lower()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy.orm"),
            "error: sqlalchemy is not installed, which this needs: pip install 'lab994[grading]' brings it.",
        ),
        (
            ModuleNotFoundError("No module named 'distributed'", name="distributed"),
            "error: distributed is not installed, which this needs: pip install 'lab994[cluster]' brings it.",
        ),
        (
            ModuleNotFoundError("No module named 'lab.gone'", name="lab.gone"),
            "error: the lab itself fails: ModuleNotFoundError: No module named 'lab.gone'. Please report this",
        ),
        (ZeroDivisionError("once"), "error: the lab itself fails: ZeroDivisionError: once. Please report this"),
        (OSError(28, "No space left on device", "net/x"), "error: net/x: No space left on device. Is the disk full"),
        (PermissionError(13, "Permission denied", "y"), "error: y: Permission denied."),
    ],
)
def test_what_nobody_expected_is_one_message_and_status_2(error, words, monkeypatch):
    def fail(*rest, **options):
        raise error

    monkeypatch.setattr(runs, "check", fail)
    result = call("check", "net.py")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith(words)
    assert "Traceback" not in result.stderr
    assert "Traceback" in call("--debug", "check", "net.py").stderr


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch):
    """--debug sets the environment; it is put back after each test."""
    monkeypatch.setenv("LAB_DEBUG", "")


def test_an_interrupted_check_is_not_judged(small_data, monkeypatch):
    fit = runs.fit
    monkeypatch.setattr(runs, "Recipe", lambda seed: Recipe(epochs=1, seed=seed))
    monkeypatch.setattr(runs, "fit", lambda *rest: replace(fit(*rest), interrupted=True))
    result = call("check", "net.py", "--train", "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout) == {"error": "interrupted: nothing is judged."}


def test_a_folder_that_cannot_be_written_is_met_before_the_training(small_data, monkeypatch):
    monkeypatch.setattr(runs, "fit", lambda *rest: pytest.fail("trained in vain"))
    for folder in ("net.py/inside", "/proc/nowhere"):
        result = call("train", "net.py", "--save", folder)
        assert result.exit_code == 2
        assert "error: cannot save in" in result.stderr


def test_names_write_nothing_into_the_terminal():
    Path("net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.add_module('a\\x1b[2Jb', nn.Linear(784, 10))\n"
        "    def forward(self, x): return self.get_submodule('a\\x1b[2Jb')(x.flatten(1))\n"
    )
    for command in ("check", "inspect"):
        result = call(command, "net.py")
        assert "\x1b" not in result.output
        assert "a\\x1b[2Jb" in result.output


# -- as a program ------------------------------------------------------------------------------------------------------


def test_failure_is_a_message_and_no_traceback():
    Path("net.py").write_text(NET.replace("nn.Linear(16", "nn.Linear(160"))
    command = [sys.executable, "-m", "lab", "check", "net.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    message = "error: net.py, line 17: `return self.fc(self.drop(x.flatten(1)))`, layer 'fc' (Linear): forward fails"
    assert [line[: len(message)] for line in done.stderr.splitlines() if "shape torch" not in line] == [message]


def test_check_on_images_of_another_shape():
    Path("net.py").write_text(NET.replace("Conv2d(1, 4", "Conv2d(3, 4"))
    done = call("check", "net.py", "--input", "3x28x28", "--json")
    verdicts = {verdict["rule"]: verdict["passed"] for verdict in json.loads(done.stdout)["verdicts"]}
    assert done.exit_code == 0
    assert (verdicts["parameter_count"], verdicts["dropout"], verdicts["accuracy"]) == (True, True, None)
    assert call("check", "net.py").exit_code == 2  # not on 1x28x28
    refused = call("check", "net.py", "--input", "3x28x28", "--train")
    assert refused.exit_code == 2
    assert "leave --input out" in refused.stderr


def test_a_saved_network_on_images_of_another_shape_has_no_accuracy():
    save(capture(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)), (3, 8, 8)), "saved")
    done = call("check", "saved", "--input", "3x8x8", "--json")
    verdicts = {verdict["rule"]: verdict["passed"] for verdict in json.loads(done.stdout)["verdicts"]}
    assert (verdicts["fully_connected"], verdicts["accuracy"]) == (True, None)


# -- lab hand-in -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_hand_in(small_data, monkeypatch):
    monkeypatch.setattr(submission, "load_data", lambda name: small_data)


def test_hand_in_trains_a_file_and_writes_it_with_its_text(small_hand_in):
    result = call("hand-in", "net.py", "--set", "epochs=1", "--set", "seed=3")
    assert result.exit_code == 0, result.output
    first, recipe, *verdicts, last = result.stdout.splitlines()
    assert (first, recipe) == ("net.py, 218 parameters, 1 epochs", "recipe: epochs=1, seed=3")
    assert any(line.startswith("PASS parameter_count: 218,") for line in verdicts)
    assert not any(line.startswith("----") for line in verdicts)  # what needs the test images is left out
    assert re.fullmatch(
        r"net\.lab: \d+ kB, your network with its weights, its recipe, the text of 1 cells\. Hand in .*", last
    )
    found = submission.read(Path("net.lab"))
    assert (found.recipe, found.rubric) == (Recipe(epochs=1, seed=3), "mnist_994")
    assert [cell.source for cell in found.cells] == [NET]
    assert found.declared.keys() == {"parameters", "epochs", "seconds", "accuracy"}


def test_hand_in_takes_a_saved_graph_with_the_weights_that_it_has(small_hand_in, monkeypatch):
    monkeypatch.setattr(runs, "fit", lambda *rest: pytest.fail("trained"))
    graph = capture(LabNet())
    save(graph, "my_lab")
    report = json.loads(call("hand-in", "my_lab", "--rubric", "mnist_8k", "--json").output)
    found = submission.read(Path("my_lab.lab"))
    assert (report["path"], report["bytes"]) == ("my_lab.lab", Path("my_lab.lab").stat().st_size)
    assert (report["digest"], report["rubric"], report["recipe"]) == (found.digest, "mnist_8k", None)
    assert all(torch.equal(found.graph.weights[name], value) for name, value in graph.weights.items())
    assert (found.recipe, found.declared) == (None, {"parameters": graph.parameters})
    assert call("hand-in", "my_lab/graph.json", "--preset", "tiny", "--out", "two.lab").exit_code == 0
    assert submission.read(Path("two.lab")).recipe == PRESETS["tiny"].recipe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.py", "--rubric", "cifar"], "which this lab has not"),
        (["net.py", "--out", "none/net.lab"], "can't be written"),
        (["net.py", "--out", "."], "it is a folder"),
        (["none.py"], "none.py"),
        (["net.py", "--set", "epoch=3"], "did you mean"),
        (["broken.ipynb"], "not a notebook"),
    ],
)
def test_hand_in_of_what_can_not_be_handed_in_writes_nothing(arguments, words, small_hand_in, monkeypatch):
    monkeypatch.setattr(runs, "fit", lambda *rest: pytest.fail("trained in vain"))
    Path("broken.ipynb").write_text("{}")
    before = set(os.listdir())
    result = call("hand-in", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert set(os.listdir()) == before


def test_hand_in_of_a_copy_takes_the_network_and_the_rubric_of_its_assignment(small_hand_in):
    copy = Path(lab.__file__).parent.parent / "notebooks" / "fashion.ipynb"
    notebook = json.loads(copy.read_text("utf-8"))
    for cell in notebook["cells"]:
        if "class MyNet" in "".join(cell["source"]):
            cell["source"] = NET.replace("class Net", "class MyNet") + "\nclass Another(nn.Module): pass\n"
    Path("Copy of fashion.ipynb").write_text(json.dumps(notebook))
    result = call("hand-in", "Copy of fashion.ipynb", "--set", "epochs=1")
    assert result.exit_code == 0, result.output
    found = submission.read(Path("Copy of fashion.lab"))
    assert (found.rubric, found.graph.parameters) == ("fashion", 218)
    assert {cell.grade_id for cell in found.cells} > {""}
    assert not any("checks." in cell.source and cell.grade_id for cell in found.cells)


@pytest.mark.parametrize(
    ("target", "stem"),
    [("net.py", "net"), ("a/net.py:Net", "net"), ("lab.models:LabNet", "LabNet"), ("a/folder", "folder")],
)
def test_hand_in_names_its_file_after_the_target(target, stem):
    assert _stem(target) == stem
