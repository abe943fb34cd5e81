"""Which network a TARGET names; and what is said where it names none."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lab.errors import GraphError
from lab.graph import capture, save
from lab.models import SeedNet
from lab.targets import HELP, TargetError, find, is_saved, network, resolve

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
NET = (
    HEAD
    + "class Net(nn.Sequential):\n    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
)
NET_PARAMETERS = 7850


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into the current folder, an empty one; gives its name."""
    monkeypatch.chdir(tmp_path)

    def to(name: str, text: str, encoding: str = "utf-8") -> str:
        Path(name).write_bytes(text.encode(encoding))
        return name

    return to


@pytest.fixture
def notebook(write):
    """Writes a notebook with these code cells; gives its name."""

    def to(*sources: str, name: str = "lab.ipynb") -> str:
        markdown = {"cell_type": "markdown", "source": ["# class Net: not code\n"], "metadata": {}}
        cells = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]
        return write(name, json.dumps({"cells": [markdown, *cells], "nbformat": 4, "nbformat_minor": 5}))

    return to


def refusal(target: str) -> str:
    """The message of the TargetError for `target`."""
    with pytest.raises(TargetError) as caught:
        network(target)
    return str(caught.value)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["net.py", "net.py:Net", "net.py:make", "net.py:built", "net.py:"])
def test_file_class_function_or_variable(write, target):
    write("net.py", NET + "\n\ndef make():\n    return Net()\n\n\nbuilt = Net()\n")
    assert resolve(target).parameters == NET_PARAMETERS


def test_absolute_path(write, tmp_path):
    write("net.py", NET)
    assert resolve(f"{tmp_path}/net.py:Net").output_shape == (10,)


@pytest.mark.parametrize("target", ["net.py", "net.py:built", "lab.models:SeedNet"])
def test_network_is_newly_built_each_time(write, target):
    write("net.py", NET + "built = Net()\n")
    assert network(target) is not network(target)


def test_importable_network_is_copied(write, monkeypatch):
    write("shared_net.py", NET + "built = Net()\n")
    try:
        first, second = network("shared_net:built"), network("shared_net:built")
        with torch.no_grad():
            first[1].bias.fill_(7)
        assert not (second[1].bias == 7).any()
    finally:
        sys.modules.pop("shared_net", None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark_of_windows(write, encoding, line_end):
    write("net.py", NET.replace("\n", line_end), encoding)
    assert resolve("net.py").parameters == NET_PARAMETERS


def test_names_outside_ascii(write):
    target = write("нейросеть é.py", NET.replace("Net", "Сеть"))
    assert type(network(target)).__name__ == "Сеть"
    assert resolve(f"{target}:Сеть").parameters == NET_PARAMETERS
    assert refusal(f"{target}:Net") == "нейросеть é.py defines no 'Net'. Network classes in it: Сеть."


def test_training_at_the_top_level_is_left_alone(write):
    top_level = """
loader = [(torch.zeros(4, 1, 28, 28), torch.zeros(4).long())]
for epoch in range(10**12):
    for x, y in loader:
        raise SystemExit("trained")
x = 1 / 0
class Report:
    nn = 1 / 0  # not the `nn` that the network reads
sys.exit("unknown name")
"""
    forward = "\n    def forward(self, x):\n        y = x.flatten(1)\n        return self[1](y)\n"
    assert resolve(write("net.py", NET + forward + top_level)).parameters == NET_PARAMETERS


def test_main_block_is_left_alone(write):
    write("net.py", NET + 'if __name__ == "__main__":\n    model = Net()\n    raise SystemExit("trained")\n')
    assert resolve("net.py").parameters == NET_PARAMETERS


@pytest.mark.parametrize(
    ("definitions", "classes"),
    [
        ("CLASSES = 10\n", "CLASSES"),
        ("CLASSES = 5\nCLASSES *= 2\n", "CLASSES"),
        ("try:\n    import nowhere\nexcept ImportError:\n    CLASSES = 10\n", "CLASSES"),
        ("config = {}\nconfig['classes'] = 10\n", "config['classes']"),
        ("from dataclasses import dataclass\n@dataclass\nclass Config:\n    classes: int = 10\n", "Config().classes"),
        ("def classes():\n    return one() * 10\ndef one():\n    return 1\n", "classes()"),
        ("import math as m\n", "int(m.sqrt(100))"),
        ("from math import *\n", "int(sqrt(100))"),
        ("first, *rest = 1, 10\n", "rest[0]"),
        ("with open('net.py') as file:\n    classes = 10\n", "classes"),
        ("classes = [n for n in range(11)][-1]\n", "classes"),
    ],
)
def test_what_the_network_needs_is_defined_first(write, definitions, classes):
    assert resolve(write("net.py", HEAD + definitions + NET.replace("10))", f"{classes}))"))).output_shape == (10,)


def test_method_added_after_the_class(write):
    write("net.py", NET + "def forward(self, x):\n    return self[1](x.flatten(1)).relu()\nNet.forward = forward\n")
    assert [op.label() for op in resolve("net.py").operations] == ["flatten", "linear", "relu"]


def test_postponed_annotations(write):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text += "@dataclass\nclass Config:\n    classes: int = 10\n" + NET.replace("10)", "Config().classes)")
    text += "    def copy(self, other: Unknown) -> Net: ...\n"
    assert resolve(write("net.py", text)).parameters == NET_PARAMETERS


def test_blocks_of_a_network_are_no_choice(write):
    block = "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    block += "        self.fc = nn.Linear(784, 10)\n    def forward(self, x):\n        return self.fc(x)\n"
    through_a_function = "def block():\n    return Block()\n"
    for made_by in ("Block()", "block()"):
        write("net.py", HEAD + block + through_a_function + NET.replace("nn.Linear(784, 10)", made_by))
        assert type(network("net.py")).__name__ == "Net"
        assert resolve("net.py:Block", (1, 1, 784)).output_shape == (1, 1, 10)


def test_class_derived_from_another_in_the_file(write):
    write(
        "net.py", NET + "\n\nclass Better(Net):\n    def forward(self, x):\n        return super().forward(x).relu()\n"
    )
    assert [op.label() for op in resolve("net.py").operations] == ["flatten", "linear", "relu"]
    assert [op.label() for op in resolve("net.py:Net").operations] == ["flatten", "linear"]


def test_class_derived_from_the_labs(write):
    assert resolve(write("net.py", "from lab import models\nclass Mine(models.SeedNet): ...\n")).parameters == 18_242


def test_several_networks_name_the_choices(write):
    write("net.py", NET + NET.replace("class Net", "class Other").replace(HEAD, ""))
    assert refusal("net.py") == "net.py defines several networks; say which: net.py:Net or net.py:Other"


def test_class_defined_twice_the_last_counts(write):
    second = NET.replace("784, 10", "784, 5").replace(HEAD, "")
    for target in (write("net.py", NET + second), "net.py:Net"):
        found = find(target)
        assert found.module[1].out_features == 5
        assert found.notes == ("net.py, line 9: Net is defined 2 times; the last one counts.",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no network: no class derived from nn.Module."),
        ("class Net:\n    pass\n", "defines no network: no class derived from nn.Module."),
        (NET + "class Broken(:\n", "line 9: not valid Python: invalid syntax."),
        (NET + "return 3\n", "line 9: not valid Python: 'return' outside function."),
        ("x = 1\n  y = 2\n", "line 2: not valid Python: unexpected indent."),
        ("x = '\0'\n", "not valid Python: source code string cannot contain null bytes."),
        ("-" * 100_000 + "1", "not valid Python: "),
        ("x = " + "+".join("1" * 20_000), "not valid Python: "),
    ],
    ids=["empty", "no module", "syntax", "return", "indent", "null", "unary", "sum"],
)
def test_file_without_a_network(write, text, message):
    assert message in refusal(write("net.py", text))


def test_file_nested_deeply_but_legally(write):
    write("net.py", "x = " + "+".join("1" * 900) + "\n" + NET)
    assert resolve("net.py").parameters == NET_PARAMETERS


def test_file_that_is_not_text(write):
    assert refusal(write("net.py", "# é\n" + NET, "latin-1")).startswith("net.py is not text in UTF-8: ")


@pytest.mark.parametrize("target", ["gone.py", "gone.py:Net", "gone.ipynb", "gone/net.py"])
def test_missing_file(write, target):
    assert refusal(target) == f"cannot read {target.split(':')[0]}: No such file or directory. {HELP}"


def test_name_that_the_file_does_not_define(write):
    write("net.py", NET)
    assert refusal("net.py:Nett") == "net.py defines no 'Nett'. Network classes in it: Net."
    write("net.py", "x = 1\n")
    assert refusal("net.py:Net") == "net.py defines no 'Net'. Network classes in it: none."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            NET.replace("__init__(self)", "__init__(self, width)"),
            "net.py:Net: building the network fails: TypeError: Net.__init__() missing 1 required positional argument: "
            "'width'. It is built without arguments; give each a default.",
        ),
        (
            NET.replace("784, 10", "784, -10"),
            "net.py:Net: building the network fails at net.py, line 8: `super().__init__(nn.Flatten(), nn.Linear(784, "
            "-10))`: RuntimeError: ",
        ),
        (
            NET.replace("super()", "raise SystemExit(3)\n        super()"),
            "net.py:Net: building the network fails at net.py, line 8: `raise SystemExit(3)`: SystemExit: 3.",
        ),
        (
            NET.replace("nn.Linear", "nn.Linaer"),
            "at net.py, line 8: `super().__init__(nn.Flatten(), nn.Linaer(784, 10))`: AttributeError: module "
            "'torch.nn' has no attribute 'Linaer'",
        ),
        ("Net = 3\n", "net.py:Net: int is neither an nn.Module nor something that makes one."),
        ("def Net():\n    return 3\n", "net.py:Net gives a int, not an nn.Module."),
        ("class Net:\n    pass\n", "net.py:Net gives a Net, not an nn.Module."),
        (
            "Net = 1 / 0\n",
            "net.py: running what Net needs fails at net.py, line 1: `Net = 1 / 0`: ZeroDivisionError: division by",
        ),
        (
            "import nowhere\nclass Net(nowhere.Module): ...\n",
            "at net.py, line 1: `import nowhere`: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("class Net(nn.Module): ...\n", "at net.py, line 1: `class Net(nn.Module): ...`: NameError: name 'nn' is not"),
        ("if False:\n    Net = 1\n", "net.py: running what Net needs fails: AttributeError: "),
    ],
)
def test_network_that_cannot_be_built(write, text, message):
    assert message in refusal(write("net.py", text) + ":Net")


@pytest.mark.parametrize("method", ["__init__(self)", "forward(self, x)"])
def test_exercise_that_is_not_written_yet(write, method):
    write("net.py", NET + f"    def {method}:\n        raise NotImplementedError('exercise 7')\n")
    with pytest.raises(TargetError, match=r"net\.py, line 10: .*: NotImplementedError: exercise 7\."):
        resolve("net.py")


def test_network_on_larger_images_names_the_students_line(write):
    write("net.py", NET.replace("784", "32 * 32") + "    def forward(self, x):\n        return self[1](x.flatten(1))\n")
    assert resolve("net.py", (1, 32, 32)).parameters == 10_250
    with pytest.raises(GraphError) as caught:
        resolve("net.py")
    message = (
        "net.py, line 10: `return self[1](x.flatten(1))`, layer '1' (Linear): forward fails on a batch of 1x28x28 "
    )
    assert str(caught.value).startswith(message)


# -- what lies beside a file, and what is left behind -----------------------------------------------------------------


def beside(folder: Path, width: int) -> str:
    """Writes a file that imports a block from a module, and one from a package, beside it; gives its path."""
    block = HEAD + "class Block(nn.Linear):\n    def __init__(self):\n        super().__init__(784, 10)\n"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "__init__.py").touch()
    (folder / "parts" / "last.py").write_text(f"from torch import nn\ndef last():\n    return nn.Linear(10, {width})\n")
    (folder / "blocks.py").write_text(block)
    imports = "from blocks import Block\nfrom parts.last import last\n"
    net = NET.replace("nn.Linear(784, 10)", "Block(), last()")
    (folder / "net.py").write_text(imports + net)
    return f"{folder}/net.py"


def test_blocks_beside_the_file(tmp_path):
    """Two folders may use the same names."""
    assert resolve(beside(tmp_path / "a", 10)).output_shape == (10,)
    assert resolve(beside(tmp_path / "b", 7)).output_shape == (7,)


def test_module_imported_while_the_network_is_built(write):
    write("late.py", "CLASSES = 10\n")
    write("net.py", NET.replace("super()", "from late import CLASSES\n        super()").replace("10)", "CLASSES)"))
    assert resolve("net.py").output_shape == (10,)


def test_search_path_and_modules_are_left_as_they_were(tmp_path, write):
    good, bad = beside(tmp_path / "a", 10), write("bad.py", "import sys\nsys.path = sys.path[:3]\nNet = sys.nothing\n")
    resolve(good)  # once, for what torch itself imports late
    path, modules = list(sys.path), set(sys.modules)
    resolve(good)
    with pytest.raises(TargetError):
        network(f"{bad}:Net")
    with pytest.raises(TargetError):
        network("lab.models:Nothing")
    assert sys.path == path
    assert set(sys.modules) == modules


# -- notebooks --------------------------------------------------------------------------------------------------------

MAGICS = "%matplotlib inline\n!pip install torch\nfiles = !ls\nhelp?\n"


def test_notebook_with_magics_and_training(notebook):
    training = "for x, y in [(1, 2)]:\n    raise SystemExit('trained')\nnet = Net()\nwhile True:\n    pass\n"
    name = notebook(MAGICS + HEAD, "%%bash\nexit 1\n", "WIDTH = 784", NET.replace("784", "WIDTH"), training, "await x")
    assert resolve(name).parameters == NET_PARAMETERS
    assert resolve(f"{name}:Net").parameters == NET_PARAMETERS


def test_notebook_lines_are_named_by_cell(notebook):
    name = notebook(HEAD, NET.replace("784, 10", "784, -10"))
    message = "building the network fails at lab.ipynb, code cell 2, line 8: `super().__init__(nn.Flatten(),"
    assert message in refusal(name)


def test_cell_that_is_no_python(notebook):
    """It is left out with a note, unless what is needed seems to be in it."""
    found = find(notebook(HEAD, NET, "for x in\n"))
    message = "lab.ipynb, code cell 3, line 1: not valid Python: invalid syntax"
    assert found.notes == (f"{message}: this cell was skipped.",)
    assert refusal(notebook(HEAD, NET, "Net.forward = = 3")) == f"{message}."
    assert refusal(notebook(HEAD, NET, "WIDTH = = 3", name="a.ipynb") + ":WIDTH").startswith("a.ipynb, code cell 3")


def test_notebook_cell_of_one_string(write):
    cells = [{"cell_type": "code", "source": NET}]
    assert resolve(write("lab.ipynb", json.dumps({"cells": cells}), "utf-8-sig")).parameters == NET_PARAMETERS


def test_class_in_two_cells_the_last_counts(notebook):
    found = find(notebook(NET, NET.replace("784, 10", "784, 5")))
    assert found.module[1].out_features == 5
    assert found.notes == ("lab.ipynb, code cell 2, line 6: Net is defined 2 times; the last one counts.",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not JSON", "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ("{}", "KeyError('cells')"),
        ('{"cells": 3}', "TypeError"),
        ('{"cells": {"a": 1}}', "TypeError"),
        ('{"cells": [3]}', "TypeError"),
        ('{"cells": [{"source": "x"}]}', "KeyError('cell_type')"),
        ('{"cells": ' + "[" * 100_000, "RecursionError"),
    ],
)
def test_file_that_is_not_a_notebook(write, text, reason):
    message = refusal(write("lab.ipynb", text))
    assert message.startswith("lab.ipynb is not a notebook: ")
    assert reason in message


@pytest.mark.parametrize(
    "text",
    ['{"cells": []}', '{"cells": [{"cell_type": "code"}]}']
    + [f'{{"cells": [{{"cell_type": "code", "source": {source}}}]}}' for source in ("[]", "3", "null", "[3]")],
)
def test_notebook_without_code(write, text):
    assert refusal(write("lab.ipynb", text)) == "lab.ipynb defines no network: no class derived from nn.Module."


def test_notebook_with_broken_unicode(write):
    message = refusal(write("lab.ipynb", r'{"cells": [{"cell_type": "code", "source": "x = \"\ud800\""}]}'))
    assert message.startswith("lab.ipynb, code cell 1, line ?: not valid Python: ")


# -- what can be imported ---------------------------------------------------------------------------------------------


def test_importable_class():
    assert isinstance(network("lab.models:SeedNet"), SeedNet)
    assert isinstance(network("torch.nn:modules.activation.ReLU"), nn.ReLU)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.at.all:Net", "'nowhere.at.all:Net': No module named 'nowhere'. TARGET is "),
        ("lab.models:Nothing", "'lab.models:Nothing': module 'lab.models' has no attribute 'Nothing'. TARGET is "),
        ("lab.models:SeedNet.x", "has no attribute 'x'"),
        ("lab.models:", "has no attribute ''"),
        ("lab.models:F", "lab.models:F: module is neither an nn.Module nor something that makes one."),
        ("torch.nn:Linear", "building the network fails: TypeError: Linear.__init__() missing 2 required"),
        ("nonsense", "'nonsense' names no network. TARGET is "),
        (":Net", "':Net' names no network. TARGET is "),
        ("..x:Net", "'..x:Net': importing ..x fails"),
        ("x" * 5000, "names no network. TARGET is "),
        ("torch:\0", "has no attribute '\0'"),
    ],
)
def test_target_that_cannot_be_imported(target, message):
    assert message in refusal(target)


def test_module_of_the_current_folder(write):
    write("mine_beside.py", NET)
    try:
        assert resolve("mine_beside:Net").parameters == NET_PARAMETERS
    finally:
        sys.modules.pop("mine_beside", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0\n", "importing broken fails at broken.py, line 1: `1 / 0`: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "importing broken fails at broken.py, line 1: `raise SystemExit(3)`: SystemExit: 3"),
        ("x = (\n", "'broken:Net': '(' was never closed (broken.py, line 1). TARGET is "),
        ("import nowhere\n", "'broken:Net': No module named 'nowhere'. TARGET is "),
    ],
)
def test_module_that_fails_on_import(write, text, message):
    write("broken.py", text)
    assert message in refusal("broken:Net")


# -- saved graphs -----------------------------------------------------------------------------------------------------


def test_saved_graph(tmp_path):
    folder = save(capture(SeedNet()), tmp_path / "my graph")
    for target in (str(folder), f"{folder}/", f"{folder}/graph.json"):
        assert is_saved(target)
        assert resolve(target).parameters == 18_242
        assert network(target)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_saved_graph_keeps_its_own_image_size(tmp_path):
    folder = save(capture(nn.Conv2d(3, 1, 3), (3, 32, 32)), tmp_path)
    assert resolve(str(folder), (1, 28, 28)).input_shape == (3, 32, 32)


@pytest.mark.parametrize("target", [".", "empty", "empty/graph.json", "gone/graph.json"])
def test_folder_without_a_saved_graph(write, target):
    Path("empty").mkdir()
    folder = target.removesuffix("/graph.json")
    assert refusal(target) == f"{folder} holds no saved graph: there is no graph.json in it. {HELP}"
    with pytest.raises(TargetError):
        resolve(target)


def test_saved_graph_that_is_damaged(write):
    write("graph.json", "{}")
    with pytest.raises(GraphError, match=r"graph\.json does not follow the format: at "):
        resolve("graph.json")
