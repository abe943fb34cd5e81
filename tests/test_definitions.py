"""Of a file or a notebook, what a network is made from is executed, also where a call changes it; a training never."""

import json
import time
from pathlib import Path

import pytest
from torch import nn

from lab.definitions import Cell, DefinitionsError, body, select
from lab.targets import TargetError, find

HEAD = """import random
import torch
import torch.nn as nn
import torch.nn.functional as F
"""
MODEL = "model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Dropout(0.5))\n"  # 7,850 parameters
NET = """
class Net(nn.Module):
    def __init__(self, width=10):
        super().__init__()
        self.fc = nn.Linear(784, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.fc(x.flatten(1)))

"""
TRAIN = """
def train(model, loader, epochs=1):
    raise SystemExit("a training ran")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    model.losses = []
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
    model.losses.append(total)
    return model

"""
LAYERS = "layers = [nn.Flatten(), nn.Linear(784, 20)]\n"
CFG = "CFG = {'w': 8}\n"
OF_CFG = "model = nn.Sequential(nn.Flatten(), nn.Linear(784, CFG['w']))\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def to(text: str, name: str = "net.py") -> str:
        Path(name).write_text(HEAD + text)
        return name

    return to


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def to(*sources: str) -> str:
        cells = [{"cell_type": "code", "source": source} for source in (HEAD, *sources)]
        Path("lab.ipynb").write_text(json.dumps({"cells": cells}))
        return "lab.ipynb"

    return to


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # containers
        (LAYERS + "layers.append(nn.Linear(20, 10))\nmodel = nn.Sequential(*layers)", 15_910),
        (LAYERS + "layers.insert(1, nn.Linear(784, 784))\nmodel = nn.Sequential(*layers)", 631_140),
        (LAYERS + "layers += [nn.Linear(20, 10)]\nmodel = nn.Sequential(*layers)", 15_910),
        (LAYERS + "layers[1:] = [nn.Linear(784, 3)]\nmodel = nn.Sequential(*layers)", 2_355),
        (LAYERS + "del layers[-1]\nmodel = nn.Sequential(*layers)", 0),
        (LAYERS + "for _ in range(2):\n    layers.append(nn.Linear(20, 20))\nmodel = nn.Sequential(*layers)", 16_540),
        (LAYERS + "while len(layers) < 3:\n    layers += [nn.Linear(20, 20)]\nmodel = nn.Sequential(*layers)", 16_120),
        (LAYERS + "list(map(layers.append, [nn.Linear(20, 10)]))\nmodel = nn.Sequential(*layers)", 15_910),
        (LAYERS + "[layers.append(x) for x in [nn.Linear(20, 10)]]\nmodel = nn.Sequential(*layers)", 15_910),
        (LAYERS + "same = layers\nsame.append(nn.Linear(20, 10))\nmodel = nn.Sequential(*layers)", 15_910),
        (LAYERS + "def add(n):\n    layers.append(nn.Linear(20, n))\nadd(10)\nmodel = nn.Sequential(*layers)", 15_910),
        (CFG + "CFG.update(w=300)\n" + OF_CFG, 235_500),
        (CFG + "with torch.no_grad():\n    CFG.update(w=3)\n" + OF_CFG, 2_355),
        (CFG + "if 'w' in CFG:\n    CFG['w'] += 1\n" + OF_CFG, 7_065),
        (CFG + "try:\n    CFG.update(w=int('x'))\nexcept ValueError:\n    CFG.update(w=2)\n" + OF_CFG, 1_570),
        (CFG + "import json\nCFG.update(json.loads('{\"w\": 12}'))\n" + OF_CFG, 9_420),
        (CFG + "globals()['CFG'] = {'w': 14}\n" + OF_CFG, 10_990),
        ("W = 5\ndef wide():\n    global W\n    W = 4\nwide()\nCFG = {'w': W}\n" + OF_CFG, 3_140),
        ("CFG = {'w': 1}\nrest = {}\nrest['cfg'] = CFG\nCFG.setdefault('d', 1)\nCFG['w'] = 2\n" + OF_CFG, 1_570),
        ("cfg = {'n': [784]}\ncfg['n'].append(30)\nmodel = nn.Sequential(nn.Flatten(), nn.Linear(*cfg['n']))", 23_550),
        # modules
        (MODEL + "model.append(nn.Linear(10, 10))", 7_960),
        (MODEL + "model.add_module('x', nn.Linear(10, 10))", 7_960),
        (MODEL + "model.insert(2, nn.Linear(10, 10))", 7_960),
        (MODEL + "setattr(model, '1', nn.Linear(784, 5))", 3_925),
        (MODEL + "model[1] = nn.Linear(784, 5)", 3_925),
        (MODEL + "model[1], model[2] = nn.Linear(784, 4), nn.Linear(4, 4)", 3_160),
        (MODEL + "model._modules['1'] = nn.Linear(784, 5)", 3_925),
        (MODEL + "del model[1]", 0),
        (MODEL + "model.pop(1)", 0),
        (MODEL + "for n, m in model.named_children():\n    if n == '1':\n        model[1] = nn.Linear(784, 5)", 3_925),
        (MODEL + "def head(m):\n    m[1] = nn.Linear(784, 5)\nhead(model)", 3_925),
        (MODEL + "def head(m):\n    m[1] = nn.Linear(784, 5)\n    return m\nother = head(m=model)", 3_925),
        (MODEL + "head = lambda m, n: m.append(nn.Linear(10, n))\nhead(model, 10)", 7_960),
        (MODEL + "print(model.append(nn.Linear(10, 10)))", 7_960),
        (MODEL + "nn.utils.parametrizations.weight_norm(model[1])", 7_860),
        (MODEL + "DEEP = False\nif DEEP:\n    model.append(nn.Linear(10, 10))\nelse:\n    del model[1]", 0),
        ("(model := nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))\nmodel.append(nn.Linear(10, 10))", 7_960),
        ("body, top = nn.Sequential(nn.Flatten()), nn.Sequential()\nmodel = nn.Sequential(body, top)\n"
         "top.append(nn.Linear(784, 10))", 7_850),
        ("random.seed(0)\nCFG = {'w': random.randint(1, 1000)}\n" + OF_CFG, 679_025),
        ("random.seed(0)\nrandom.random()\nCFG = {'w': random.randint(1, 1000)}\n" + OF_CFG, 609_945),
        ("die = random.Random(0)\ndie.seed(5)\ndie.random()\nCFG = {'w': die.randint(1, 1000)}\n" + OF_CFG, 596_600),
        ("widths = iter([3, 4])\nnext(widths)\nCFG = {'w': next(widths)}\n" + OF_CFG, 3_140),
        (CFG + "globals().update(CFG={'w': 2})\n" + OF_CFG, 1_570),
        (MODEL + "from tqdm import trange\nfor _ in trange(2):\n    model.append(nn.Linear(10, 10))", 8_070),
        (MODEL + "def grow(m):\n    import time; time.time()\n    m.append(nn.Linear(10, 10))\ngrow(model)", 7_960),
        (MODEL + "from torch.nn.utils.prune import l1_unstructured\nl1_unstructured(model[1], 'weight', 0.5)", 7_850),
        # what makes classes
        ("B = {}\ndef keep(name):\n    def add(c):\n        B[name] = c\n        return c\n    return add\n"
         "@keep('fc')\nclass Fc(nn.Linear): ...\nmodel = nn.Sequential(nn.Flatten(), B['fc'](784, 10))", 7_850),
        ("B = {}\ndef keep(c):\n    B[c.__name__] = c\n    return c\n@keep\nclass Fc(nn.Linear): ...\n"
         "model = nn.Sequential(nn.Flatten(), B['Fc'](784, 10))", 7_850),
        ("class B:\n    all = []\n    @classmethod\n    def add(cls, m):\n        cls.all.append(m)\n"
         "B.add(nn.Flatten())\nB.add(nn.Linear(784, 10))\nmodel = nn.Sequential(*B.all)", 7_850),
        (NET.replace("width)", "self.W)").replace("    def", "    W = 3\n    def", 1) + "Net.W = 5\n", 3_925),
        (NET + "model = Net()\nmodel.fc = nn.Linear(784, 5)\nmodel.eval()", 3_925),
        (NET + "    def widen(self, n):\n        self.fc = nn.Linear(784, n)\nmodel = Net()\nmodel.widen(5)", 3_925),
        ("import argparse\np = argparse.ArgumentParser()\ng = p.add_argument_group('x')\n"
         "g.add_argument('--w', type=int, default=5)\nargs = p.parse_args()\n"
         "model = nn.Sequential(nn.Flatten(), nn.Linear(784, args.w))", 3_925),
    ],
)  # fmt: skip
def test_what_a_call_changes_is_executed(write, text, expected):
    target = write(text)
    if "model = Net()" in text:
        target += ":model"
    assert parameters(find(target).module) == expected


@pytest.mark.parametrize(
    "change",
    [
        "for m in model.modules():\n    if isinstance(m, nn.Dropout):\n        m.p = 0.25",
        "model[2].p = 0.25",
        "model.get_submodule('2').p = 0.25",
        "drop = model[2]\ndrop.p = 0.25",
        "list(model.children())[2].p = 0.25",
        "setattr(model[2], 'p', 0.25)",
        "def calm(net, p):\n    for m in net:\n        if hasattr(m, 'p'):\n            m.p = p\ncalm(model, 0.25)",
        "def calm(layer):\n    if isinstance(layer, nn.Dropout):\n        layer.p = 0.25\nmodel.apply(calm)",
        "def calm(layer):\n    layer.p = 0.25\nfor m in model:\n    calm(m)",
    ],
)
def test_attribute_of_a_layer(write, change):
    assert find(write(MODEL + change)).module[2].p == 0.25


@pytest.mark.parametrize(
    "change",
    [
        "nn.init.zeros_(model[1].weight)",
        "with torch.no_grad():\n    model[1].weight.zero_()",
        "model[1].weight.data.fill_(0)",
        "model[1].weight.data = torch.zeros(10, 784)",
        "def init(m):\n    if isinstance(m, nn.Linear):\n        nn.init.zeros_(m.weight)\nmodel.apply(init)",
        "def init(net):\n    for p in net.parameters():\n        nn.init.zeros_(p)\ninit(model)",
    ],
)
def test_first_weights(write, change):
    assert not find(write(MODEL + change)).module[1].weight.any()


@pytest.mark.parametrize(
    "change",
    [
        "for p in model.parameters():\n    p.requires_grad = False",
        "model.requires_grad_(False)",
        "def freeze(m):\n    for p in m.parameters():\n        p.requires_grad_(False)\nfreeze(model)",
    ],
)
def test_frozen_parameters(write, change):
    assert not find(write(MODEL + change)).module[1].weight.requires_grad


@pytest.mark.parametrize(
    "rest",
    [
        "history = train(model, [])",
        "for lr in (0.1, 0.2):\n    train(model, [])\nprint(model(torch.zeros(1, 1, 28, 28)))",
        "if True:\n    train(model=model, loader=[])",
        "o = torch.optim.SGD(model.parameters(), 1)\nfor x in nothing:\n    model.train()\n    model(x).backward()\n"
        "    o.step()\n    model.history = 3\no.step()",
        "class T:\n    def __init__(self, m):\n        self.m = m\n    def run(self):\n        train(self.m, [])\n"
        "t = T(model)\nt.run()",
        "from torchinfo import summary\nsummary(model, 1 / 0)",
        "import trainer\ntrainer.fit(model)",
        "from trainer import train_all\nresult = train_all(model)",
        "@torch.no_grad()\ndef evaluate(m):\n    m.eval()\n    raise SystemExit\nacc = evaluate(model)",
        "def count(m):\n    t = 1 / 0\n    for p in m.parameters():\n        t += p.numel()\nprint(count(model))",
        "x = torch.zeros(1, 1, 28, 28)\nlog = []\nlog.append(model(x) / nothing)",
        "torch.save(model.state_dict(), '/nowhere/x.pt')\nmodel.cuda()\nmodel.to('cuda')",
        "import wandb\nwandb.watch(model)\nwandb.config.update({'lr': 1})",
        "print(model)\ndel model",
        "if __name__ == '__main__':\n    train(model, [])",
        "import copy\nbest = copy.deepcopy(model)\nbest.nothing()",
    ],
)
def test_training_and_reports_are_left_out_in_silence(write, rest):
    found = find(write(MODEL + TRAIN + rest) + ":model")
    assert parameters(found.module) == 7_850
    assert found.notes == ()


def test_training_method_of_the_network(write):
    method = TRAIN.replace("def train(model, loader", "def learn(model, loader").replace("\n", "\n    ")
    found = find(write(NET.rstrip() + method + "\nmodel = Net()\nmodel.learn([])\n") + ":model")
    assert parameters(found.module) == 7_850
    assert found.notes == ()


@pytest.mark.parametrize(
    ("rest", "note"),
    [
        ("model = train(model, [])", "`model = train(model, [])` trains and was not run."),
        ("from magic import shrink\nshrink(model)", "`shrink(model)` was not run. If it changes the network, that is "),
        ("model.load_state_dict(torch.load('x.pt'))", "`model.load_state_dict(torch.load('x.pt'))` was not run."),
    ],
)
def test_what_is_not_run_is_named(write, rest, note):
    found = find(write(MODEL + TRAIN + rest) + ":model")
    assert parameters(found.module) == 7_850
    assert len(found.notes) == 1
    assert note in found.notes[0]


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("def prune(m):\n    m[1] = nn.Linear(784, 5)\n    train(m, [])\nprune(model)", "line 27: `prune(model)` may"),
        ("import os\nos.system('x') or model.append(nn.Linear(10, 10))", "may change the network and was not run."),
        ("for e in range(3):\n    model[2].p = 0.1 * e\n    model(e).backward()", "line 24: `for e in range(3):` may"),
        ("while True:\n    model.append(nn.Linear(10, 10))", "line 24: `while True:` may change"),
    ],
)  # fmt: skip
def test_change_that_is_not_harmless_is_refused(write, rest, message):
    with pytest.raises(TargetError) as caught:
        find(write(MODEL + TRAIN + rest) + ":model")
    assert message in str(caught.value)
    assert str(caught.value).startswith("net.py, line ")


def test_value_that_comes_from_a_training(write):
    text = TRAIN + "W = train(nn.Linear(784, 10), [])\nmodel = nn.Sequential(nn.Flatten(), nn.Linear(784, W))"
    with pytest.raises(TargetError, match=r"net\.py, line 23: `W = train\(.*` trains, so it was not run; W comes"):
        find(write(text))


# -- which network is meant -------------------------------------------------------------------------------------------


def test_base_that_is_imported(write):
    Path("parts.py").write_text("import torch.nn as nn\nclass Base(nn.Module): ...\nclass Plain: ...\n")
    for imported in ("from parts import Base", "from parts import *", "import parts\nBase = parts.Base"):
        net = NET.replace("nn.Module", "Base") + "class Data(Plain): ...\n"
        assert parameters(find(write(f"{imported}\nfrom parts import Plain\n{net}")).module) == 7_850


def test_lightning_module_is_a_network_by_its_name(write):
    with pytest.raises(TargetError, match="No module named 'lightning_nowhere'"):
        find(write("import lightning_nowhere as L\n" + NET.replace("nn.Module", "L.LightningModule")))


def test_function_of_a_module_beside(write):
    Path("parts.py").write_text(HEAD + TRAIN + "def widen(m):\n    m[1] = nn.Linear(784, 5)\n")
    text = "from parts import widen, train\n" + MODEL + "widen(model)\ntrain(model, [])\n"
    assert parameters(find(write(text)).module) == 3_925


def test_super_of_another_class_makes_it_no_part(write):
    """A class that was copied and renamed, but for its `super(...)`, can't be built: the other one is meant."""
    broken = NET.replace("class Net", "class Old").replace("super()", "super(Net, self)")
    found = find(write(broken + NET.replace("super()", "super(Net, self)")))
    assert type(found.module).__name__ == "Net"
    assert found.notes == ("Old is left out: net.py, line 8: `super(Net, self)` names another class.",)


def test_variables(write):
    two = "a = nn.Sequential(nn.Flatten())\nb = nn.Sequential(nn.Flatten())\nloss = nn.CrossEntropyLoss()\n"
    with pytest.raises(TargetError, match=r"several networks; say which: net\.py:a or net\.py:b"):
        find(write(two))
    made = "def make(n):\n    layers = [nn.Flatten(), nn.Linear(784, n)]\n    return nn.Sequential(*layers)\n"
    assert parameters(find(write(made + "net = make(5).to('cpu')\n")).module) == 3_925
    with pytest.raises(TargetError, match=r"If a function makes it, name it: net\.py:make"):
        find(write(made))
    with pytest.raises(TargetError, match=r"model is defined under `if __name__ == .* \(net\.py, line 5\)"):
        find(write(f"if __name__ == '__main__':\n    {MODEL}"))


def test_variable_that_a_function_makes_global(write):
    text = "def main():\n    global model\n    " + MODEL + "main()\n"
    assert parameters(find(write(text) + ":model").module) == 7_850


def test_loss_is_no_network(write):
    loss = "class Focal(nn.Module):\n    def forward(self, logits, labels):\n        return logits\n"
    assert type(find(write(NET + loss)).module).__name__ == "Net"


def test_seeds_in_a_training_are_no_change(write):
    seeds = "def train(m):\n    torch.manual_seed(0)\n    random.seed(0)\n    raise SystemExit\n    m(1).backward()\n"
    assert find(write(MODEL + "torch.manual_seed(1)\n" + seeds + "train(model)\n")).notes == ()


def test_variable_of_blocks(write):
    block = NET.replace("Net", "Block").replace("784", "10")
    found = find(write(f"{block}model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Block())\n"))
    assert parameters(found.module) == 7_960
    assert "the variable model" in found.notes[0]


def test_variable_that_differs_from_its_class_is_named(write):
    found = find(write(NET + "model = Net(20)\n"))
    assert "the variable model (net.py, line 15) is made with arguments: net.py:model names" in found.notes[0]
    found = find(write(NET + "model = Net()\nmodel.fc = nn.Linear(784, 5)\n"))
    assert "is changed afterwards (net.py, line 16: `model.fc = nn.Linear(784, 5)`)" in found.notes[0]
    assert find(write(NET + "model = Net()\nprint(model)\n")).notes == ()
    with pytest.raises(TargetError, match=r"give each a default, or name net\.py:model \(net\.py, line 15\)"):
        find(write(NET.replace("width=10", "width") + "model = Net(10)\n"))


def test_advice_about_arguments_only_where_they_are_missing(write):
    with pytest.raises(TargetError) as caught:
        find(write(NET.replace("0.5", "dropout_value")))
    assert str(caught.value).endswith("NameError: name 'dropout_value' is not defined.")


def test_parser_with_a_required_argument(write, capsys):
    text = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--w', required=True)\nargs = p.parse_args()\n"
    )
    with pytest.raises(TargetError, match=r"line 8: `args = p.parse_args\(\)`: .* without command-line arguments"):
        find(write(text + "model = nn.Sequential(nn.Linear(784, args.w))\n"))
    assert "required: --w" in capsys.readouterr().err


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_magic(notebook):
    cells = ["%%capture out\n" + NET, "%time model = Net(5)", "\n%%time\nmodel.fc = nn.Linear(784, 3)"]
    others = [
        "%%html\n<b>",
        "%%bash\nls",
        "%%writefile a.py\nclass Q(nn.Module): ...",
        "!pip install x\n%cd /",
        "model?",
    ]
    assert parameters(find(notebook(*cells, *others) + ":model").module) == 2_355


def test_line_numbers_below_magic(notebook):
    with pytest.raises(TargetError, match=r"code cell 2, line 6: `self\.fc = nn\.Linear\(784, -10\)`"):
        find(notebook("\n%%time" + NET.replace("width)", "-10)").replace("\n\n    def f", "\n    def f")))


def test_cell_that_is_no_python(notebook):
    found = find(notebook(NET, "To do:\n1. try GAP - done"))
    assert found.notes == ("lab.ipynb, code cell 3, line 1: not valid Python: invalid syntax: this cell was skipped.",)
    for needed in ("class Net(nn.Module):\n  def f(:", "Net.forward = = 3", "class Other(nn.Module):\n  def f(:"):
        with pytest.raises(TargetError, match=r"^lab\.ipynb, code cell 3, line \d: not valid Python"):
            find(notebook(NET, needed))


# -- the engine by itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["!ls\n" * 7_000, "%time x\n" * 3_600, "x?\n" * 600, "x = !ls\n" * 40, "%%time\n" * 4_000]
)
def test_a_cell_of_nothing_but_magic_takes_no_time(text):
    started = time.perf_counter()
    with pytest.raises(DefinitionsError, match="not valid Python"):
        body(Cell("lab.ipynb, code cell 1", text + "("))
    assert time.perf_counter() - started < 5  # it took a minute


def test_a_text_that_looks_like_magic_stays():
    lines = "\n!ls\n" * 100
    (found,) = body(Cell("lab.ipynb, code cell 1", f'commands = """{lines}"""'))
    assert found.value.value == lines


def test_select():
    cells = [
        ("cell 1", "import math\nWIDTHS = []\nunused = 1 / 0"),
        ("cell 2", "WIDTHS.append(math.prod([2, 4]))\nmodel.fit(x)"),
        ("cell 3", "no python"),
        ("cell 4", "class Net:\n    widths = WIDTHS"),
    ]
    selection = select(cells, {"Net"})
    assert [s.where for s in selection.statements] == [
        "cell 1, line 1",
        "cell 1, line 2",
        "cell 2, line 1",
        "cell 4, line 1",
    ]
    namespace: dict[str, object] = {"__name__": "here"}
    for statement in selection.statements:
        exec(statement.code, namespace)
    assert namespace["Net"].widths == [8]
    assert selection.notes == ("cell 3, line 1: not valid Python: invalid syntax: this cell was skipped.",)
    assert selection.refused == ()


START = "from functools import partial\nfrom torch import nn\nmodel = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
GROW = "def grow(m=None):\n    (m or model).append(nn.Linear(10, 10))\n"
ROUNDABOUT = {
    "a method under another name": "add = model.append\nadd(nn.Linear(10, 10))\n",
    "a function under another name": GROW + "go = grow\ngo(model)\n",
    "a function in a dict": GROW + "OPERATIONS = {'grow': grow}\nOPERATIONS['grow'](model)\n",
    "a loop over functions": GROW + "for change in (grow,):\n    change(model)\n",
    "getattr": "getattr(model, 'append')(nn.Linear(10, 10))\n",
    "partial": GROW + "later = partial(grow, model)\nlater()\n",
    "partial of a method": "partial(model.append)(nn.Linear(10, 10))\n",
    "methodcaller": "from operator import methodcaller\nmethodcaller('append', nn.Linear(10, 10))(model)\n",
    "a class's method": "nn.Sequential.append(model, nn.Linear(10, 10))\n",
    "__call__": "class Grow:\n    def __call__(self, m): m.append(nn.Linear(10, 10))\nGrow()(model)\n",
    "a function that makes one": "def maker():\n    return lambda m: m.append(nn.Linear(10, 10))\nmaker()(model)\n",
    "__enter__": "class G:\n    def __enter__(self): model.append(nn.Linear(10, 10))\n"
    "    def __exit__(self, *a): pass\nwith G(): pass\n",
    "a decorator that calls": "def now(f):\n    f()\n    return f\n@now\n" + GROW,
    "a key": "sorted([1], key=lambda i: len(model.append(nn.Linear(10, 10))))\n",
}


@pytest.mark.parametrize("change", ROUNDABOUT.values(), ids=ROUNDABOUT)
def test_a_change_by_a_roundabout_way_is_executed(change: str) -> None:
    namespace: dict[str, object] = {}
    for statement in select([("net.py", START + change)], {"model"}).statements:
        exec(statement.code, namespace)
    assert len(namespace["model"]) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["model.append(nn.Linear(10, 10))", "WIDTH = 20"])
def test_code_in_a_text_is_refused(text: str) -> None:
    source = "WIDTH = 10\n" + START.replace("784, 10", "784, WIDTH") + f"exec({text!r})\n"
    assert select([("net.py", source)], {"model"}).refused


@pytest.mark.parametrize("source", [None, 3, [None, "x = 1"], {}])
def test_a_cell_without_a_text_stops_nothing(tmp_path: Path, source: object) -> None:
    cells = [{"cell_type": "code", "source": text} for text in (source, START)]
    (tmp_path / "copy.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert len(find(f"{tmp_path / 'copy.ipynb'}:model").module) == 2
