"""One attack: a hand-in that tries something, and what it must get for it."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from witness import Witness

from lab.course import editions

Make = Callable[[Path, Witness], Path]
"""Writes the hand-in into an empty folder; gives the path that is graded."""

FIRST = ("out-size", "grow", "by-hand")
PLACES = "(n, kernel, stride=1, pad=0):\n    return (n + 2 * pad - kernel) // stride + 1\n"
RIGHT = {
    "out-size": f"# EXERCISE 1\ndef out_size{PLACES}",
    "grow": "# EXERCISE 2\ndef grow(size, jump, kernel, stride=1):\n"
    "    return size + jump * (kernel - 1), stride * jump\n",
}
WRONG = "def out_size(n, kernel, stride=1, pad=0):\n    return 0\n"
STRUCTURE = ("parameter_count", "epochs", "batch_norm", "dropout", "fully_connected", "output_shape")
"""The rules that say what a network is; the accuracy is another matter, and is measured on few images here."""


@dataclass(frozen=True)
class Gets:
    """The verdict: of the three first exercises of a copy, or of a network."""

    points: Mapping[str, float] | None = None  # by exercise
    fails: frozenset[str] | None = None  # of the rules of STRUCTURE, exactly these
    state: str = "graded"  # or "student error", or "refused": one message, nothing is graded
    words: str = ""  # that stand in what it is told


@dataclass(frozen=True)
class Attack:
    """What is tried, how, what it must get, and what it leaves behind where nobody defends anything."""

    line: int  # of the list of attacks
    name: str
    tries: str
    without: str  # what happens without the defence
    make: Make
    gets: Gets
    leaves: frozenset[str] = field(default=frozenset())  # the witness's traces, in the open; empty: not run there
    quick: bool = False  # in `make test`, too


def earns(words: str = "", **points: float) -> Gets:
    """The three first exercises of a copy; what is not named is the attacked one."""
    given = {name.replace("_", "-"): value for name, value in points.items()}
    return Gets({"out-size": 0, "grow": 1, "by-hand": 0} | given, words=words)


def judged(*fails: str, words: str = "") -> Gets:
    """A network that breaks exactly these rules, but for the accuracy."""
    return Gets(fails=frozenset(fails), words=words)


def told(words: str) -> Gets:
    """No network comes of it; the student is told why."""
    return Gets(state="student error", words=words)


def refused(words: str) -> Gets:
    """Nothing can be graded; one message says why."""
    return Gets(state="refused", words=words)


# -- copies of the notebook -------------------------------------------------------------------------------------------


@functools.cache
def _edition() -> NotebookNode:
    return editions.student_edition("mnist_994")


def copy_with(answers: Mapping[str, str]) -> NotebookNode:
    """The student's edition up to its third exercise, with these sources in the place of some answers."""
    notebook = copy.deepcopy(_edition())
    kept = []
    for cell in notebook.cells:
        grade_id = id_of(cell)
        cell.source = answers.get(grade_id, cell.source)
        if "setup" in cell.metadata.get("tags", []) or grade_id.removesuffix("-check") in FIRST:
            kept.append(cell)
    notebook.cells = kept
    return notebook


def id_of(cell: NotebookNode) -> str:
    known = cell.metadata.get("nbgrader", {})
    return str(known.get("grade_id", "")) if isinstance(known, dict) else ""


def as_it_is(notebook: NotebookNode) -> None:
    """No change."""


def answer(source: str, exercise: str = "out-size") -> Make:
    """A copy whose answer to one exercise is this text; the other of the two is right."""
    return changed(as_it_is, {exercise: source})


def changed(change: Callable[[NotebookNode], object], answers: Mapping[str, str] | None = None) -> Make:
    """A copy with right answers, or these, after a change."""

    def make(folder: Path, witness: Witness) -> Path:
        notebook = copy_with(RIGHT | {name: witness.filled(source) for name, source in (answers or {}).items()})
        change(notebook)
        return _written(notebook, folder / "copy.ipynb")

    return make


def _written(notebook: NotebookNode, path: Path) -> Path:
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


def text(content: str | bytes, name: str) -> Make:
    """A file with this content, graded by itself."""

    def make(folder: Path, witness: Witness) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else witness.filled(content).encode())
        return path

    return make


def beside(make_one: Make, files: Mapping[str, str]) -> Make:
    """A whole folder: a hand-in, and files beside it."""

    def make(folder: Path, witness: Witness) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(witness.filled(content), encoding="utf-8")
        make_one(folder, witness)
        return folder

    return make


# -- networks ---------------------------------------------------------------------------------------------------------

_NETWORK = """import torch
import torch.nn.functional as F
from torch import nn
{before}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.full = nn.Linear(8 * 7 * 7, 10)
        self.pool = nn.MaxPool2d(4)
{init}
    def features(self, x):
        return self.pool(F.relu(self.conv(x)))  # (B, 8, 7, 7)

    def forward(self, x):
{forward}
{methods}{after}"""
HONEST = "return self.full(self.drop(self.norm(self.features(x))).flatten(1))"


def network(forward: str = HONEST, *, init: str = "", before: str = "", methods: str = "", after: str = "") -> Make:
    """`net.py`: 4,026 parameters that keep every rule of structure, but for what is changed."""
    return text(network_text(forward, init=init, before=before, methods=methods, after=after), "net.py")


def network_text(forward: str = HONEST, *, init: str = "", before: str = "", methods: str = "", after: str = "") -> str:
    return _NETWORK.format(
        before=before,
        init=_indented(init),
        forward=_indented(forward),
        methods=_indented(methods, 4) + "\n",
        after=after,
    )


def _indented(lines: str, by: int = 8) -> str:
    return "\n".join(" " * by + line if line else "" for line in lines.strip("\n").split("\n"))
