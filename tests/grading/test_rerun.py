"""Scripts and notebooks with a training loop of their own, in the styles in which they are written."""

import builtins
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from lab.augment import to_input
from lab.data import Data, Labelled, load, read_idx
from lab.errors import LabError
from lab.grading import digits, wire
from lab.grading.rerun import rerun as rerun_in_a_sandbox
from lab.grading.rerun import result, trains_itself
from lab.grading.rerun_inside import Reran, message_of, run
from lab.grading.sandbox import Limits
from lab.train import Recipe, accuracy

Run = Callable[..., Reran]

IMPORTS = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torchvision import datasets, transforms
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, stride=2)
        self.fc = nn.Linear(4 * 13 * 13, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.dropout(x, 0.1, training=self.training)
        return F.log_softmax(self.fc(x.view(-1, 676)))
"""
LOADERS = """
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
train_loader = torch.utils.data.DataLoader(
    datasets.MNIST('C:/Users/me/data', train=True, download=True, transform=transform),
    batch_size=50, shuffle=True, num_workers=4, pin_memory=True, persistent_workers=True)
test_loader = torch.utils.data.DataLoader(
    datasets.MNIST('/home/me/data', train=False, transform=transform), batch_size=40)
"""
LOOP = """
for epoch in range(2):
    model.train()
    for data, target in train_loader:
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for data, target in test_loader:
            correct += (model(data).argmax(1) == target).sum().item()
    print('Test set: Accuracy: {}/{} ({:.0f}%)'.format(correct, len(test_loader.dataset), 2.5 * correct))
print('the end')
"""
MADE = "model = Net()\noptimizer = optim.SGD(model.parameters(), lr=0.05)\n"
AT_TOP_LEVEL = IMPORTS + NET + LOADERS + MADE + LOOP


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 images to train on, 40 called test: a bright bar whose place is the class, on noise."""
    labels = torch.arange(200) % 10
    images = torch.randint(0, 100, (200, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, labels.tolist(), strict=True):
        image[2 * label + 3 : 2 * label + 6] = 255
        image[:2] = 0

    def untouchable() -> Labelled:
        raise AssertionError("the test set is read")

    folder = tmp_path_factory.mktemp("data") / "digits"
    digits.write(Data("mnist", Labelled(images, labels), None, tuple("0123456789"), "here", untouchable), folder, 40)
    return folder


@pytest.fixture
def rerun(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Execute a script, or the cells of a notebook."""
    (tmp_path / "work").mkdir()
    (tmp_path / "hand-in").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def done(source: str | list[str], wanted: str | None = None, train: bool = True) -> Reran:
        path = tmp_path / "hand-in" / ("net.py" if isinstance(source, str) else "net.ipynb")
        path.write_text(source if isinstance(source, str) else notebook(source), encoding="utf-8")
        return run(path, place, wanted, train)

    return done


def notebook(cells: list[str]) -> str:
    written = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    return json.dumps({"cells": written, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})


def digits_in(place: Path) -> Labelled:
    images, labels = (read_idx((place / digits.RAW / name).read_bytes()) for name in digits.NAMES[2:])
    return Labelled(images, labels.long())


def trained(reran: Reran) -> Reran:
    assert reran.error is None, str(reran.error)
    assert reran.graph is not None
    return reran


# -- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_that_trains_when_it_is_imported(rerun: Run, place: Path) -> None:
    reran = trained(rerun(AT_TOP_LEVEL))
    assert (reran.name, reran.steps, reran.images_read, reran.test_images_read) == ("Net", 8, 400, 80)
    assert reran.epochs_bound == 2
    assert reran.printed.startswith("Test set: Accuracy: ")
    assert reran.graph is not None
    assert reran.graph.parameters == 40 + 6770
    said = int(reran.printed.split()[3].split("/")[0])
    assert accuracy(reran.graph.build(), digits_in(place)) == said / 40  # the weights are those that it trained


def test_a_main_with_arguments_a_graphics_card_and_a_drive(rerun: Run) -> None:
    body = (LOADERS + "device = torch.device('cuda:0')\nmodel = Net().to(device).cuda()\n"
        "optimizer = optim.SGD(model.parameters(), lr=args.lr)\n"
        "scheduler = optim.lr_scheduler.StepLR(optimizer, 1, verbose=True)\n"
        + LOOP.replace("model(data), target", "model(data.cuda()), target.to('cuda', non_blocking=True)")
        + "torch.save(model.state_dict(), '/content/drive/My Drive/mnist/net.pt')\n"
        "model.load_state_dict(torch.load('/content/drive/My Drive/mnist/net.pt', map_location=f'cuda:{0}'))\n"
        "with open('D:/results/log.txt', 'w') as file: file.write('done')\n"
        "print(open('D:/results/log.txt').read(), 'accuracy 1.0')\n"
    )  # fmt: skip
    script = (
        IMPORTS
        + NET
        + (
            "import argparse, sys\ndef main():\n    parser = argparse.ArgumentParser()\n"
            "    parser.add_argument('--lr', type=float, default=0.05)\n    args = parser.parse_args()\n"
            + "".join(f"    {line}\n" for line in body.splitlines())
            + "if __name__ == '__main__':\n    sys.exit(main())\n"
        )
    )
    reran = trained(rerun(script))
    assert reran.steps == 8
    assert reran.printed == "done accuracy 1.0"
    assert reran.notes == ()


def test_a_class_of_its_own_loops_over_tensors(rerun: Run) -> None:
    script = (
        IMPORTS
        + NET
        + dedent("""
        class Trainer:
            def __init__(self):
                self.data = datasets.MNIST(".", download=True)
                self.net = torch.nn.DataParallel(Net())
            def run(self):
                images = self.data.data.unsqueeze(1).float() / 255
                self.net = torch.compile(self.net)
                optimizer = optim.Adam(self.net.parameters())
                for i in range(0, 200, 20):
                    F.nll_loss(self.net(images[i:i + 20]), self.data.targets[i:i + 20]).backward()
                    optimizer.step()
        Trainer().run()
    """)
    )
    reran = trained(rerun(script))
    assert (reran.name, reran.steps, reran.images_read, reran.epochs_bound) == ("Net", 10, 200, 1)


def test_a_loop_without_an_optimizer(rerun: Run) -> None:
    loop = LOOP.replace("optimizer.zero_grad()", "model.zero_grad()").replace(
        "optimizer.step()", "[p.data.sub_(0.05 * p.grad) for p in model.parameters()]"
    )
    assert trained(rerun(IMPORTS + NET + LOADERS + "model = Net()\n" + loop)).steps == 8


def test_a_forward_that_is_called_by_its_name(rerun: Run) -> None:
    """Its layers are called then, and the network is not."""
    script = AT_TOP_LEVEL.replace("model(data)", "model.forward(data)")
    reran = trained(rerun(script + "\nmodel = optimizer = None"))
    assert (reran.name, reran.steps, reran.images_read, reran.epochs_bound) == ("Net", 8, 400, 2)
    assert reran.notes == ()


def test_a_module_that_only_trains_another_is_not_the_network(rerun: Run) -> None:
    holder = dedent("""
        class Lit(nn.Module):
            def __init__(self):
                super().__init__()
                self.net, self.loss = Net(), nn.NLLLoss()
            def training_step(self, data, target):
                return self.loss(self.net(data), target)
        lit = Lit()
        optimizer = optim.SGD(lit.parameters(), lr=0.05)
        for data, target in train_loader:
            optimizer.zero_grad()
            lit.training_step(data, target).backward()
            optimizer.step()
    """)
    reran = trained(rerun(IMPORTS + NET + LOADERS + holder))
    assert (reran.name, reran.steps) == ("Net", 4)


def test_mixed_precision_is_left_out(rerun: Run) -> None:
    loop = (
        LOOP.replace(
            "loss = F.nll_loss(model(data), target)",
            (
                "with torch.cuda.amp.autocast():\n            loss = F.nll_loss(model(data), target)\n"
                "        scaler.scale(loss)"
            ),
        )
        .replace("optimizer.step()", "scaler.step(optimizer); scaler.update()")
        .replace("        loss.backward()", "")
    )
    script = IMPORTS + NET + LOADERS + MADE + "scaler = torch.cuda.amp.GradScaler()\n" + loop.replace(
        "scaler.scale(loss)", "scaler.scale(loss).backward()")  # fmt: skip
    assert trained(rerun(script)).steps == 8


def test_images_read_from_the_files_themselves(rerun: Run) -> None:
    script = (
        IMPORTS
        + NET
        + dedent("""
        import gzip, os, urllib.request
        import numpy as np
        if not os.path.exists("mnist.npz"):
            raise SystemExit("no data")
        urllib.request.urlretrieve("https://somewhere/mnist/train-labels-idx1-ubyte.gz", "labels.gz")
        with gzip.open("/nowhere/train-images-idx3-ubyte.gz", "rb") as f:
            images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open("labels.gz") as f:
            labels = np.frombuffer(f.read(), np.uint8, offset=8)
        archive = np.load("mnist.npz")
        assert (archive["x_train"] == images).all() and len(archive["y_test"]) == 40
        assert (np.fromfile("raw/train-labels.idx1-ubyte", np.uint8, offset=8) == labels).all()
        from keras.datasets import mnist
        assert (mnist.load_data()[0][1] == labels).all()
        x, y = torch.tensor(images).float().div(255).unsqueeze(1), torch.tensor(labels).long()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 100)
        model = Net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        images, labels = iter(loader).next()
        for x, y in loader:
            F.nll_loss(model(x), y).backward()
            optimizer.step()
    """)
    )
    assert trained(rerun(script)).images_read == 200


def test_the_labs_own_loader_and_loop(rerun: Run) -> None:
    script = (
        "from lab.data import load\nfrom lab.models import LabNet\nfrom lab.train import fit, accuracy, Recipe\n"
        "data = load('mnist', '/home/me/MNIST')\nmodel = LabNet()\nfit(model, data, Recipe(epochs=1, batch_size=50))\n"
        "print('accuracy', accuracy(model, data.test))"
    )
    reran = trained(rerun(script))
    assert (reran.steps, reran.images_read) == (4, 200)


def test_what_a_script_does_to_its_pixels_goes_with_the_network(rerun: Run, place: Path) -> None:
    """Another normalisation, and a flat row: its network is tested on what it was trained on."""
    script = (
        (IMPORTS + LOADERS).replace("(0.1307,), (0.3081,)", "(0.5,), (0.25,)")
        + "model = nn.Sequential(nn.Linear(784, 10), nn.LogSoftmax(1))\n"
        + "optimizer = optim.SGD(model.parameters(), 0.02)\n"
        + LOOP.replace("model(data)", "model(data.view(-1, 28 * 28))")
        + "torch.save(model.state_dict(), 'trained.pt')\n"
    )
    reran = trained(rerun(script))
    assert reran.notes == ("its network is given pixels (0..1) times 4 plus -2: it is tested so, too.",)
    theirs = nn.Sequential(nn.Linear(784, 10), nn.LogSoftmax(1))
    theirs.load_state_dict(torch.load("trained.pt"))
    images = digits_in(place).images
    assert reran.graph is not None
    wanted = theirs(((images.float() / 255 - 0.5) / 0.25).view(-1, 784))
    assert torch.allclose(reran.graph.build().eval()(to_input(images)), wanted, atol=1e-4)


@pytest.mark.parametrize("resized", ["transforms.Resize((32, 32)), ", "transforms.Pad(2), ", "transforms.Resize(8), "])
def test_images_of_another_size_are_a_message(rerun: Run, resized: str) -> None:
    script = AT_TOP_LEVEL.replace("Compose([", f"Compose([{resized}").replace("4 * 13 * 13", "LAZY")
    script = script.replace("nn.Linear(LAZY, 10)", "nn.LazyLinear(10)").replace("x.view(-1, 676)", "x.flatten(1)")
    reran = rerun(script)
    assert reran.graph is None
    assert "Take out what resizes them" in str(reran.error)
    assert reran.steps == 8


def test_pixels_that_are_changed_in_another_way_are_said(rerun: Run) -> None:
    script = AT_TOP_LEVEL.replace("transforms.Normalize((0.1307,), (0.3081,))", "lambda x: (x > 0.5).float()")
    assert "no fixed factor and shift" in trained(rerun(script)).notes[0]


def test_the_same_seed_gives_the_same_weights(rerun: Run) -> None:
    first, second = (trained(rerun(AT_TOP_LEVEL)).graph for _ in range(2))
    assert first is not None
    assert second is not None
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_libraries_that_only_report_are_not_missed(rerun: Run) -> None:
    script = AT_TOP_LEVEL.replace(
        "for epoch in range(2)",
        "import wandb, livelossplot\nfrom torchinfo import summary\nfrom tqdm.notebook import tqdm\n"
        "from torch.utils.tensorboard import SummaryWriter\nwriter = SummaryWriter('runs')\n"
        "summary(model, (1, 28, 28))\nwandb.init(project='x', config=dict(epochs=2))\n"
        "for epoch in tqdm(range(wandb.config.epochs))",
    ).replace("correct = 0", "correct = 0; writer.add_scalar('loss', loss, epoch); wandb.log({'loss': loss})")
    reran = trained(rerun(script))
    assert reran.steps == 8
    assert reran.notes == ()


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_a_notebook_from_colab(rerun: Run) -> None:
    cells = [
        "!pip install torchsummary\n%matplotlib inline\nfrom google.colab import drive\ndrive.mount('/content/drive')\n"
        "import sklearn.nothing\n" + IMPORTS,
        "%%writefile parts.py\nimport torch.nn as nn\nwidth = 4",
        "!mkdir -p results\nopen('results/x.txt', 'w').close()\nfrom parts import width\nassert width == 4",
        NET, "def broken(:", LOADERS, "1 / 0", "%%time\n" + MADE + LOOP,
        "import matplotlib.pyplot as plt\nplt.plot(lost)",
    ]  # fmt: skip
    reran = trained(rerun(cells))
    assert reran.steps == 8
    said = "\n".join(reran.notes)
    for one in (
        "code cell 1, line 5: `import sklearn.nothing`: ModuleNotFoundError",
        "code cell 5, line 1: not valid Python",
        "code cell 7, line 1: `1 / 0`: ZeroDivisionError",
        "code cell 9, line 2: `plt.plot(lost)`: NameError",
    ):
        assert one in said


def test_a_script_that_fails_behind_its_training_loses_nothing(rerun: Run) -> None:
    reran = trained(rerun(AT_TOP_LEVEL + "\nplot_confusion(model)\n"))
    assert reran.steps == 8
    assert "`plot_confusion(model)`: NameError" in reran.notes[0]


# -- which network ----------------------------------------------------------------------------------------------------

TWO = AT_TOP_LEVEL + (
    "class Other(Net): pass\nfirst, model = model, Other()\noptimizer = optim.SGD(model.parameters(), lr=0.05)\n" + LOOP
)


@pytest.mark.parametrize(("wanted", "name"), [("Net", "Net"), ("Other", "Other"), ("first", "Net"), ("model", "Other")])
def test_of_two_networks_the_wanted_one_counts(rerun: Run, wanted: str, name: str) -> None:
    assert trained(rerun(TWO, wanted)).name == name


def test_of_two_networks_the_one_with_more_steps_counts(rerun: Run) -> None:
    assert trained(rerun(TWO.replace("range(2)", "range(3)", 1))).name == "Net"


def test_two_networks_alike_are_a_message(rerun: Run) -> None:
    reran = rerun(TWO, "MyNet")
    assert reran.graph is None
    assert "several networks for 8 steps each: first, model" in str(reran.error)
    assert "MyNet" in str(reran.error)


def test_a_wanted_network_that_is_not_trained_is_a_message(rerun: Run) -> None:
    reran = rerun(AT_TOP_LEVEL + "class MyNet(nn.Module): pass\n", "MyNet")
    assert reran.graph is None
    assert "MyNet is defined in it, and not trained: model is" in str(reran.error)


def test_a_class_derived_from_the_wanted_one_counts(rerun: Run) -> None:
    script = AT_TOP_LEVEL.replace("model = Net()", "class Small(Net): pass\nmodel = Small()")
    assert trained(rerun(script, "Net")).name == "Small"


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("def main(:\n", "net.py, line 1: not valid Python"),
        ("", "no network is trained in it"),
        (IMPORTS + NET + "Net()(torch.zeros(2, 1, 28, 28))", "no network is trained in it"),
        ("x = 1\ny = x + undefined", "net.py, line 2: `y = x + undefined`: NameError: name 'undefined'"),
        (IMPORTS + "datasets.FashionMNIST('.', download=True)", "images are MNIST's"),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('--x', required=True)\np.parse_args()",
         "give each a default, and none required=True"),
        ("import sys\nsys.exit('no GPU')", "SystemExit: no GPU"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("from urllib.request import urlopen\nurlopen('http://example.org/net.pt')", "no network here"),
        (AT_TOP_LEVEL.replace("return F", "x.numpy()\n        return F"), "Can't call numpy()"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(rerun: Run, script: str, message: str) -> None:
    reran = rerun(script)
    assert reran.graph is None
    assert message in str(reran.error)


def test_a_network_that_cant_be_captured_says_why(rerun: Run) -> None:
    reran = rerun(AT_TOP_LEVEL.replace("return F", "x = x * x.sum().item()\n        return F"))
    assert reran.graph is None
    assert reran.error is not None
    assert reran.error.kind == "GraphError"
    assert "x.sum().item()" in reran.error.message
    assert reran.steps == 8


def test_everything_is_put_back(rerun: Run) -> None:
    before = (builtins.open, io.open, os.stat, torch.save, torch.compile, nn.Module.__call__, nn.Module.cuda,
              DataLoader.__init__, DataLoader.__iter__, sys.modules["__main__"], list(sys.path), list(sys.meta_path),
              dict(os.environ), sys.stdout, torch.optim.lr_scheduler.StepLR.__init__)  # fmt: skip
    rerun(AT_TOP_LEVEL + "\nimport wandb, sys\nsys.path.append('x')\nraise SystemExit(3)")
    after = (builtins.open, io.open, os.stat, torch.save, torch.compile, nn.Module.__call__, nn.Module.cuda,
             DataLoader.__init__, DataLoader.__iter__, sys.modules["__main__"], list(sys.path), list(sys.meta_path),
             dict(os.environ), sys.stdout, torch.optim.lr_scheduler.StepLR.__init__)  # fmt: skip
    assert after == before
    assert "wandb" not in sys.modules


# -- without a training -----------------------------------------------------------------------------------------------

BY_RECIPE = [
    "from lab import train, runs\nfrom lab.data import load\nfrom lab.models import LabNet",
    "from lab.train import Recipe",
    "data = load().split(seed=0)\nassert len(data.train) == 55_000 and len(data.test) == 10_000",
    "class MyNet(LabNet): pass\nmodel = MyNet()",
    "history = train.fit(model, data, Recipe(epochs=3))\nprint(history.epochs[-1].validation_accuracy)",
    "runs.trials(LabNet, data, Recipe(epochs=2), seeds=range(3))\nprint(train.accuracy(model, data.test))",
    "1 / 0",
]


def test_a_recipe_is_taken_without_a_training(rerun: Run) -> None:
    reran = trained(rerun(BY_RECIPE, "MyNet", train=False))
    assert (reran.name, reran.recipe, reran.steps) == ("MyNet", Recipe(epochs=3), 0)


def test_without_a_wanted_name_the_last_one_given_to_fit_counts(rerun: Run) -> None:
    assert trained(rerun(BY_RECIPE, train=False)).recipe == Recipe(epochs=2, seed=2)


def test_a_network_that_is_given_to_nothing_is_found_by_its_name(rerun: Run) -> None:
    reran = trained(rerun("from lab.models import LabNet\nmodel = LabNet()\n", "model", train=False))
    assert (reran.name, reran.recipe) == ("LabNet", None)


# -- across the line --------------------------------------------------------------------------------------------------


def test_a_result_arrives_as_it_was(rerun: Run) -> None:
    for reran in (rerun(AT_TOP_LEVEL), rerun("raise ValueError('x')"), rerun(BY_RECIPE, "MyNet", train=False)):
        header, tensors = wire.unpacked(*wire.split(wire.packed(*message_of(reran))))
        arrived = result(header, tensors)
        for name in ("name", "recipe", "steps", "images_read", "test_images_read", "epochs_bound", "printed", "notes"):
            assert getattr(arrived, name) == getattr(reran, name)
        assert arrived.error == reran.error
        assert (arrived.graph is None) == (reran.graph is None)
        if arrived.graph is not None and reran.graph is not None:
            assert arrived.graph.operations == reran.graph.operations


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"graph": None, "said": None, "notes": None, "failed": None, "recipe": None},
        {"graph": {"operations": []}, "said": [1], "notes": "x", "failed": [1, 2]},
        {"graph": [], "said": {"steps": "many", "epochs_bound": -1}, "notes": [None] * 100, "failed": {}},
        {"recipe": {"recipe": {"epochs": 0}}},
        {"recipe": {"far": [0, "x", "network", "x"]}},
    ],
)
def test_a_message_that_is_no_result_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(LabError):
        result(header, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["graph", "said", "notes", "failed", "recipe"]), JSON))
def test_any_message_is_a_result_or_refused(header: dict[str, Any]) -> None:
    with contextlib.suppress(LabError):
        result(header, {})


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["steps", "images_read", "epochs_bound", "name", "printed", "x"]), JSON))
def test_whatever_is_said_is_harmless(said: dict[str, Any]) -> None:
    reran = result({"failed": ["E", "m", ""], "said": said}, {})
    assert all(number >= 0 for number in (reran.steps, reran.images_read, reran.test_images_read, reran.epochs_bound))
    assert len(reran.name + reran.printed) <= 400


def test_a_failure_is_data() -> None:
    reran = result(
        {"failed": ["\x1b[2JError" * 100, "m" * 10_000, 3], "said": {"steps": 10**400, "printed": "\x1b[2J"}}, {}
    )
    assert reran.error is not None
    assert len(reran.error.kind) <= 100
    assert len(reran.error.message) <= 4000
    assert "\x1b" not in str(reran.error) + reran.printed
    assert reran.steps == 0


# -- does it train by itself? -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        AT_TOP_LEVEL,
        "def train():\n    loss.backward()\ndef main():\n    train()\nif __name__ == '__main__':\n    main()",
        "class Trainer:\n    def fit(self): self.step()\n    def step(self): loss.backward()\nTrainer().fit()",
        "def step():\n    torch.autograd.backward(loss)\nrun = step\nfor _ in range(3):\n    run()",
        "def f(x):\n    grads = torch.autograd.grad(x, y)\nmap(f, batches)",
        "!pip install x\n%time train()\ndef train():\n    loss.backward()",
    ],
)
def test_a_loop_of_its_own_is_seen(source: str) -> None:
    assert trains_itself([("net.ipynb, code cell 1", source)])


@pytest.mark.parametrize(
    "source",
    [
        "class Net(nn.Module): pass\nmodel = Net()",
        "from lab.train import fit\nfit(model, data, Recipe())",
        "def step(loss):\n    loss.backward()",
        "class Trainer:\n    def step(self):\n        self.loss.backward()\ntrain(model)",
        "backward = 3\nprint('loss.backward()')",
        "loss.backward(",
    ],
)
def test_a_script_without_a_loop_of_its_own_is_seen(source: str) -> None:
    assert not trains_itself([("net.ipynb, code cell 1", source)])


def test_a_loop_in_a_module_beside_is_seen(tmp_path: Path) -> None:
    (tmp_path / "loops").mkdir()
    (tmp_path / "loops" / "train.py").write_text("import helper\ndef train(net):\n    helper.step(net)")
    (tmp_path / "helper.py").write_text("import loops.train\ndef step(net):\n    net().backward()")
    cells = [("net.py", "from loops.train import train\ntrain(Net)")]
    assert trains_itself(cells, tmp_path)
    assert not trains_itself(cells)


# -- in a sandbox -----------------------------------------------------------------------------------------------------


def test_what_runs_in_a_sandbox_comes_out_as_data(tmp_path: Path, place: Path) -> None:
    (tmp_path / "hand-in").mkdir()
    data = f"# {bytes(range(256)).hex() * 8}\n"
    (tmp_path / "hand-in" / "parts.py").write_text(data + IMPORTS + NET + "device = torch.device('cuda')\n")
    (tmp_path / "hand-in" / "rate.txt").write_text("0.05")
    (tmp_path / "hand-in" / "weights.pt").write_bytes(b"0")
    made = MADE.replace("0.05", "float(open('rate.txt').read())").replace("Net()", "Net().to(device)")
    (tmp_path / "hand-in" / "main.py").write_text(
        "from parts import *\n"
        + LOADERS
        + made
        + LOOP
        + dedent("""
        from pathlib import Path
        import os
        for place in ('/nowhere/a/b', 'here/a/b'):
            Path(place).mkdir(parents=True, exist_ok=True)
        os.makedirs('/nowhere/c'); os.mkdir('data'); os.chdir('/nowhere/a')
        assert os.path.isdir('here/a/b')
        torch.save(model, '/nowhere/a/b/model.pt')
    """)
    )
    reran = trained(rerun_in_a_sandbox(tmp_path / "hand-in", "Net", file="main.py", data=place))
    assert (reran.name, reran.steps, reran.images_read) == ("Net", 8, 400)
    assert reran.notes == ()
    assert reran.flags == (
        "only code is executed, so that training starts from nothing; left out: weights.pt.",
        "parts.py, from about line 1: data stands in the code. Weights?",
    )
    assert reran.graph is not None
    assert accuracy(reran.graph.build(), digits_in(place)) == int(reran.printed.split()[3].split("/")[0]) / 40


@pytest.mark.slow
def test_a_script_trains_in_a_sandbox_and_is_tested_outside(tmp_path: Path) -> None:
    """On the real digits: it finds 60,000 and 10,000 of them, and learns; none of the test set's are there."""
    script = tmp_path / "net.py"
    script.write_text(AT_TOP_LEVEL.replace("range(2)", "range(1)").replace("import torch\n", (
        "import torch, os\n"
        "assert not os.path.exists(os.path.expanduser('~/.cache/lab994')), 'a cache'\n"
        "print(torch.get_num_threads(), 'threads')\n"), 1))  # fmt: skip
    data = load()
    reran = trained(rerun_in_a_sandbox(script))
    assert (reran.images_read, reran.test_images_read) == (60_000, 10_000)
    assert reran.graph is not None
    assert accuracy(reran.graph.build(), data.test) > 0.9
    files = [digits.folder() / digits.RAW / name for name in (digits.NAMES[0], digits.NAMES[2])]
    there = {bytes(image) for path in files for image in read_idx(path.read_bytes()).numpy()}
    assert sum(bytes(image) in there for image in data.test.images.numpy()) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import os; os._exit(0)", "ended Python itself"),
        ("while True: pass", "takes too long"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("x = bytearray(10 ** 11)", "MemoryError"),
    ],
)
def test_what_ends_the_sandbox_is_a_failure_of_the_script(tmp_path: Path, place: Path, line: str, message: str) -> None:
    script = tmp_path / "net.py"
    script.write_text(AT_TOP_LEVEL + line)
    reran = rerun_in_a_sandbox(script, data=place, limits=Limits(seconds=8, cpu_seconds=40))
    if message == "MemoryError":  # behind the training
        assert message in trained(reran).notes[-1]
    else:
        assert reran.graph is None
        assert message in str(reran.error)
