"""Hand-ins that are broken, forged or careless (lines 38 to 52, 60 and 62 of the list)."""

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attack import (
    HONEST,
    RIGHT,
    WRONG,
    Attack,
    Gets,
    Make,
    answer,
    as_it_is,
    beside,
    changed,
    copy_with,
    earns,
    id_of,
    judged,
    network,
    network_text,
    refused,
    text,
    told,
)
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from witness import Witness

FILE = frozenset({"file"})
RULES = frozenset({"rules"})
ALL = earns(out_size=1)


def archive(files: dict[str, bytes]) -> bytes:
    """A compressed zip archive with these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, one in files.items():
            file.writestr(name, one)
    return content.getvalue()


def cells(change: Callable[[NotebookNode], object], *grade_ids: str) -> Make:
    """A copy in which each cell with one of these grade_ids is changed; all cells where none is named."""

    def each(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            if not grade_ids or id_of(cell) in grade_ids:
                change(cell)

    return changed(each)


def without(*grade_ids: str) -> Make:
    """A copy that has lost these cells."""

    def lose(notebook: NotebookNode) -> None:
        notebook.cells = [cell for cell in notebook.cells if id_of(cell) not in grade_ids]

    return changed(lose)


def of_json(change: Callable[[dict[str, Any]], object]) -> Make:
    """A copy's file, changed as JSON: whatever nbformat would not write."""

    def make(folder: Path, witness: Witness) -> Path:
        path = changed(as_it_is)(folder, witness)
        found = json.loads(path.read_text(encoding="utf-8"))
        change(found)
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    return make


def renamed(make: Make, name: str) -> Make:
    return lambda folder, witness: make(folder, witness).rename(folder / name)


def _slip(folder: Path, witness: Witness) -> Path:
    return text(
        archive({f"../{'../' * 3}{witness.marker}".replace("//", "/"): b"x", str(witness.marker): b"x"}), "a.lab"
    )(folder, witness)


def _copied(notebook: NotebookNode) -> None:
    """The untouched cell of exercise 1 once more, behind the answer."""
    place = next(n for n, cell in enumerate(notebook.cells) if id_of(cell) == "out-size")
    again = copy.deepcopy(next(cell for cell in copy_with({}).cells if id_of(cell) == "out-size"))
    again.id = "copied"
    notebook.cells.insert(place + 1, again)


def _probed(folder: Path, witness: Witness) -> Path:
    """A copy that knows by heart the cases that an earlier one was asked, and told in its error's message."""
    from lab.grading.grade import Options, grade

    known: dict[str, int] = {}
    for at in range(2):
        asks = (
            f"KNOWN = {known}\ndef out_size(*given):\n    if str(given) in KNOWN:\n        return KNOWN[str(given)]\n"
        )
        asks += f"    raise ValueError(f'asked {{given}} {at}')\n"
        done = grade(answer(asks)(folder, witness), Options(quick=True))
        found = re.search(r"asked (\(.*?\))", next(one.message for one in done.exercises if one.name == "out-size"))
        if found:
            n, kernel, stride, pad = [*map(int, re.findall(r"-?\d+", found.group(1))), 1, 0][:4]
            known[found.group(1)] = (n + 2 * pad - kernel) // stride + 1
    return answer(f"KNOWN = {known}\ndef out_size(*given):\n    return KNOWN.get(str(given), 0)\n")(folder, witness)


def _deep(folder: Path, witness: Witness) -> Path:
    return text('{"cells": ' + "[" * 200_000 + "]" * 200_000 + "}", "copy.ipynb")(folder, witness)


def _empty(folder: Path, witness: Witness) -> Path:
    return folder


def _forge_points(cell: NotebookNode) -> None:
    cell.metadata["nbgrader"]["points"] = 1200
    cell.source = "print('PASS')"


def forged_metadata(value: Any) -> Make:
    """Every cell's nbgrader metadata and tags replaced by this."""

    def change(found: dict[str, Any]) -> None:
        for cell in found["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id", "").endswith("-check"):
                cell["metadata"] = {"nbgrader": value, "tags": value}

    return of_json(change)


def careless(line: int, name: str, tries: str, make: Make, gets: Gets, without: str = "") -> Attack:
    return Attack(
        line, name, tries, without or "nothing is attacked: the student needs points or a message", make, gets
    )


_TRAINS = "\nwhile True:\n    Net()(torch.rand(64, 1, 28, 28)).sum().backward()\n"
_TWO = network_text().replace("\nclass Net(", "\nclass Net(nn.Module):\n    pass\n\n\nclass Net(", 1)

ATTACKS = [
    Attack(
        38,
        "zip-slip",
        "an archive with a file whose name leads out of the folder",
        "who unpacks it writes wherever the student wants",
        _slip,
        refused("is no hand-in"),
        FILE,
        quick=True,
    ),
    Attack(
        38,
        "zip-bomb",
        "an archive of 64 KB that unpacks to 64 MB (42.zip: to petabytes)",
        "memory or disk is full",
        text(archive({"manifest.json": bytes(64 * 2**20)}), "a.lab"),
        refused("is compressed"),
        frozenset({"printed"}),
    ),
    Attack(
        39,
        "deep-notebook",
        "a notebook of JSON 200,000 levels deep",
        "the reader ends with RecursionError: the batch stops",
        _deep,
        refused("is not a notebook"),
        frozenset({"traceback"}),
    ),
    careless(39, "broken-notebook", "a notebook that is cut off", text('{"cells": [', "a.ipynb"), refused("no")),
    careless(39, "no-notebook", "a notebook that is a list", text("[]", "a.ipynb"), refused("is not a notebook")),
    Attack(
        39,
        "forged-points",
        "gives itself 1,200 points, and a check that prints PASS",
        "who adds up the copy's own points believes it",
        cells(_forge_points, "out-size-check", "by-hand-check"),
        ALL,
    ),
    careless(39, "null-metadata", "metadata and tags that are null", forged_metadata(None), ALL),
    careless(39, "listed-metadata", "metadata and tags that are lists", forged_metadata([[1]]), ALL),
    careless(
        39,
        "null-source",
        "a cell whose source is a number",
        of_json(lambda found: found["cells"][0].update(source=7)),
        ALL,
    ),
    Attack(
        39,
        "forged-kernel",
        "names another kernel, whose command is a shell's",
        "who starts the kernel that the notebook names executes what the student wants",
        of_json(lambda found: found["metadata"].update(kernelspec={"name": "bash", "argv": ["sh", "-c", "id"]})),
        ALL,
    ),
    Attack(
        40,
        "escapes",
        "an error's message that clears the terminal, and a script in HTML",
        "the terminal obeys; a page that shows it as HTML runs it in the teacher's browser",
        answer(
            "def out_size(*given):\n"
            "    raise ValueError('\\x1b[2J\\x1b]0;owned\\x07<script>alert(1)</script>\\u202e')\n"
        ),
        earns("\\x1b[2J"),
        frozenset({"escape"}),
        quick=True,
    ),
    Attack(
        40,
        "escapes-in-a-warning",
        "odd syntax, of which Python warns, in a line with escapes",
        "the warning quotes the line as it is, on the terminal of whoever reads the file",
        answer(f"{RIGHT['out-size']}ONE = 1 is 1  # \x1b[2J\nTWO = 1or 2  # \x1b[2J\n"),
        ALL,
    ),
    Attack(
        40,
        "escapes-in-names",
        "a layer and a class with escapes in their names",
        "the terminal obeys",
        network(
            HONEST.replace("self.drop", "getattr(self, NAME)"),
            before="NAME = 'drop\\x1b[2J\\x1b[HPASS'",
            init="self.add_module(NAME, nn.Dropout(0.1))",
            after="print(repr(NAME), NAME)\n",
        ),
        judged(),
        frozenset({"escape"}),
    ),
    careless(
        40,
        "formula-as-name",
        "a file whose name is a spreadsheet's formula",
        renamed(network(), "=cmd|' C calc'!A0.py"),
        judged(),
        "a table of results opens it as a formula: who writes tables must quote it",
    ),
    Attack(
        41,
        "shell-cell",
        "a cell with %%bash",
        "the shell has the teacher's rights",
        changed(lambda notebook: notebook.cells.insert(2, new_code_cell("%%bash\ntouch $MARKER"))),
        ALL,
    ),
    Attack(
        41,
        "shell-command",
        "`!` commands and magics in an answer",
        "the shell has the teacher's rights",
        answer("!touch '$MARKER'\n!pip install something\n" + RIGHT["out-size"]),
        ALL,
        FILE,
    ),
    Attack(
        41,
        "shell-by-python",
        "the same by get_ipython() and os.system",
        "the shell has the teacher's rights",
        answer("import os\nos.system(\"touch '$MARKER'\")\n" + RIGHT["out-size"]),
        ALL,
        FILE,
    ),
    Attack(
        42,
        "probing",
        "asks by the messages of earlier hand-ins what the cases are, and answers those by heart",
        "with fixed cases, one hand-in for each case is enough",
        _probed,
        earns(),
    ),
    careless(43, "empty-notebook", "an empty file", text("", "a.ipynb"), refused("is not a notebook")),
    careless(43, "empty-script", "an empty file", text("", "net.py"), told("defines no network")),
    careless(43, "empty-hand-in", "an empty file", text("", "a.lab"), refused("is empty")),
    careless(43, "empty-folder", "an empty folder", _empty, refused("is empty")),
    Attack(
        44,
        "trains-on-import",
        "a script that defines a network and then trains, without an end",
        "importing it never ends",
        network(after="if 1:\n    LOSSES = []\nfor number in iter(int, 1):\n    LOSSES.append(number)\n"),
        judged(),
        frozenset({"stopped"}),
    ),
    careless(
        45,
        "syntax-error",
        "a syntax error in one exercise",
        answer("# EXERCISE 1\ndef out_size(n:\n    return 0\n"),
        earns("exercise 1, line 2"),
        "the whole copy fails, with a kernel's file number in the message",
    ),
    careless(45, "syntax-error-in-a-script", "a syntax error", text("class Net(\n", "net.py"), told("line 1")),
    Attack(
        46,
        "wrong-output-shape",
        "a network with eleven outputs",
        "an accuracy can be measured all the same: only the shape tells",
        network(init="self.full = nn.Linear(392, 11)"),
        judged("output_shape"),
    ),
    careless(
        47,
        "other-images",
        "a network for images of 32x32",
        network(init="self.full = nn.Linear(8 * 8 * 8, 10)"),
        told("392"),
    ),
    careless(48, "softmax-on-the-logits", "a softmax on its logits", network(f"{HONEST}.softmax(1)"), judged()),
    careless(48, "relu-on-the-logits", "a ReLU on its logits", network(f"{HONEST}.relu()"), judged()),
    careless(49, "two-classes", "two classes named Net: the last counts, as in Python", text(_TWO, "net.py"), judged()),
    careless(
        50,
        "absolute-path",
        "loads weights from a folder on the student's laptop, at the top level",
        network(after="\nnet = Net()\nnet.load_state_dict(torch.load('C:/Users/Ann/Desktop/mnist/weights.pt'))\n"),
        judged(),
        "the script ends with an error before anything is graded",
    ),
    careless(
        50,
        "absolute-path-in-the-network",
        "the same where the network is built",
        network(init="torch.load('/home/ann/mnist/weights.pt')"),
        told("/home/ann/mnist/weights.pt"),
    ),
    careless(
        51,
        "renamed-copy",
        "`Copy of mnist_994 (1).ipynb`",
        renamed(changed(as_it_is), "Copy of mnist_994 (1).ipynb"),
        ALL,
    ),
    careless(51, "copied-cell", "an untouched cell of the same exercise behind the answer", changed(_copied), ALL),
    careless(
        52,
        "names-in-other-scripts",
        "a file, a class and a layer with names that are not ASCII",
        renamed(
            text(
                network_text().replace("Net(", "Нейросеть(").replace("self.conv", "self.größe") + "\nNet = Нейросеть\n",
                "net.py",
            ),
            "réseau_神经.py",
        ),
        judged(),
    ),
    Attack(
        60,
        "the-labs-own",
        "hands in the lab's own network under another name",
        "it keeps every rule, and gets every point",
        network(after="from lab.models import LabNet\nclass Net(LabNet):\n    pass\n"),
        judged(words="the lab's own LabNet"),
        RULES,
    ),
    Attack(
        60,
        "the-labs-own-and-nothing",
        "the same with a layer behind it that does nothing",
        "it keeps every rule, and is no longer equal to the lab's",
        network(
            after="from lab.models import LabNet\nclass Net(LabNet):\n    def forward(self, x):\n"
            "        return F.dropout(super().forward(x), 0.0, self.training)\n"
        ),
        judged(words="the lab's own LabNet"),
        RULES,
    ),
    careless(62, "no-metadata", "a copy without any of nbgrader's metadata", cells(lambda c: c.metadata.clear()), ALL),
    careless(62, "deleted-check", "a copy without the checks", without("out-size-check", "grow-check"), ALL),
    careless(62, "deleted-answer", "a copy without one answer", without("out-size"), earns("not in this notebook")),
    careless(
        62,
        "two-answers",
        "two cells of one grade_id, a wrong one first",
        changed(
            lambda notebook: notebook.cells.insert(2, new_code_cell(WRONG, metadata=copy_with({}).cells[2].metadata))
        ),
        ALL,
    ),
    careless(
        62, "beside-others", "a copy among files of other kinds", beside(changed(as_it_is), {"notes.md": "x"}), ALL
    ),
]
