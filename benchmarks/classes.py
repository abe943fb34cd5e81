"""A class that does not exist, whose hand-ins do: networks that were trained, copies, scripts, what is broken, hostile,
late, handed in twice or copied. For tests of grading, and to time it.

    python -m benchmarks.classes FOLDER --number 300 --layout moodle

Everything is made from a seed: the same seed, number, layout and machine give the same bytes. Two students that are
not meant to have copied never hand in the same. The roster lies beside the hand-ins, with a rubric that has a due date.
"""

import argparse
import ast
import copy
import csv
import json
import os
import pickle
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from torch import nn

from lab import submission
from lab.course import editions
from lab.course.copies import grade_id_of, is_answer, is_check
from lab.course.plan import TRAINS
from lab.data import load
from lab.graph import Graph, capture, redrawn
from lab.rules import RUBRICS
from lab.train import Recipe, fit

NAME = "mnist_994"
LAYOUTS = ("moodle", "canvas", "gradescope", "nbgrader", "folders")
DUE = datetime(2026, 11, 30, 23, 59, tzinfo=timezone.utc)
LATE = f"""
[late]
due = {DUE.isoformat()}
grace_minutes = 15
off_per_day = 0.1
most_off = 0.5
"""
QUICK = """
[recipe]    # of whom nobody knows how it was trained
epochs = 1
augment = "none"
"""
SHARES = {  # of a class; the rest hands in a network
    "copy": 0.15,
    "code": 0.08,
    "broken": 0.05,
    "hostile": 0.04,
    "missing": 0.05,
    "same file": 0.02,
    "renamed": 0.03,
}
LATE_SHARE, TWICE_SHARE = 0.1, 0.08
ALIKE_AFTER = 40
"""Without a training so many networks are different; those that follow have one of these with other weights."""


@dataclass(frozen=True)
class Expected:
    """What is to be found of one student."""

    kind: str  # "network", "copy", "code", "broken", "hostile", "missing", "same file", "renamed"
    what: str  # what was made, in words
    state: str  # "graded", "student error", "missing"; empty where either of the first two is right
    late: bool = False
    attempts: int = 1
    exercises: float | None = None  # points, where only short exercises are in it
    copy_of: str = ""  # whose it is


@dataclass(frozen=True)
class Made:
    """A class."""

    folder: Path  # of the hand-ins, as the platform gives it
    roster: Path
    rubric: Path
    expected: Mapping[str, Expected]  # by student id


@dataclass(frozen=True)
class Person:
    """Somebody on the roster."""

    id: str
    name: str
    login: str
    number: int  # the platform's own


@dataclass(frozen=True)
class Work:
    """What somebody hands in: file names and contents, the last attempt last."""

    expected: Expected
    attempts: tuple[Mapping[str, bytes], ...] = ()


def make(
    folder: Path,
    number: int,
    seed: int = 0,
    layout: str = "moodle",
    trained: bool = True,
    only: str = "",
    designs: int = ALIKE_AFTER,
) -> Made:
    """Write a class of so many into `folder`, which is made; gives where, and what is expected of each.

    layout: one of LAYOUTS. Moodle has no attempts, folders have no times. trained: train the networks, for a fraction
    of what a student does; else their weights are random, all of a large class are made of so few `designs`, and what
    the grader trains takes it an epoch. only: a kind; else all of them as SHARES has it.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no layout {layout!r}: one of {', '.join(LAYOUTS)}")
    people = _people(number, seed)
    kinds = [only] * number if only else _kinds(number, seed)
    draws = [random.Random(f"{seed} {person.id}") for person in people]
    plain = [_network(draw, place, trained, designs) if kind == "network" else None
             for place, (draw, kind) in enumerate(zip(draws, kinds, strict=True))]  # fmt: skip
    originals = [place for place, one in enumerate(plain) if one is not None and one.source]
    asked: dict[int, _Network] = {place: one for place, one in enumerate(plain) if one is not None}
    copied: dict[int, int] = {}
    for place, kind in enumerate(kinds):
        if kind in ("same file", "renamed"):
            copied[place] = originals.pop(draws[place].randrange(len(originals))) if originals else -1
        if kind == "renamed" and copied[place] >= 0:
            original = asked[copied[place]]
            asked[place] = replace(original, source=renamed(original.source), seed=place + 1, remark="all by myself")
    contents = dict(zip(asked, _written(asked.values()), strict=True))
    works: list[Work] = []
    for place, (kind, draw) in enumerate(zip(kinds, draws, strict=True)):
        if place in contents:
            what = "a network copied and renamed" if kind == "renamed" else asked[place].what
            work = _alone(Expected(kind, what, "graded"), asked[place].file, contents[place])
        elif kind == "same file" and copied[place] >= 0:
            work = _alone(Expected(kind, "another's file", "graded"), "my_work.lab", contents[copied[place]])
        else:
            makers = {"copy": _copy, "code": _code, "broken": _broken, "hostile": _hostile, "missing": _missing}
            work = makers.get(kind, _copy)(draw, people[place])
        if copied.get(place, -1) >= 0:
            work = replace(work, expected=replace(work.expected, copy_of=people[copied[place]].id))
        works.append(_with_luck(work, draw, layout))
    folder.mkdir(parents=True)
    made = folder / "submissions"
    made.mkdir()
    _LAYOUTS[layout](made, [(one, work) for one, work in zip(people, works, strict=True) if work.attempts])
    own = (RUBRICS / f"{NAME}.toml").read_text(encoding="utf-8")
    (folder / "rubric.toml").write_text(own + LATE + ("" if trained else QUICK), encoding="utf-8")
    _write_roster(folder / "roster.csv", people)
    expected = {person.id: work.expected for person, work in zip(people, works, strict=True)}
    return Made(made, folder / "roster.csv", folder / "rubric.toml", expected)


def _with_luck(work: Work, draw: random.Random, layout: str) -> Work:
    """The same late, or handed in twice, for some."""
    late, twice = draw.random() < LATE_SHARE, draw.random() < TWICE_SHARE
    if not work.attempts:
        return work
    if late and layout != "folders":
        work = replace(work, expected=replace(work.expected, late=True))
    if twice and layout in ("canvas", "gradescope") and len(work.attempts[-1]) == 1:
        (name,) = work.attempts[-1]
        work = replace(
            work, attempts=({name: b"not what I meant"}, *work.attempts), expected=replace(work.expected, attempts=2)
        )
    return work


def _alone(expected: Expected, name: str, content: bytes) -> Work:
    return Work(expected, ({name: content},))


# -- people -----------------------------------------------------------------------------------------------------------

FIRST = (
    *(
        "Anna",
        "Björn",
        "Chloé",
        "Dmitri",
        "Elif",
        "Farid",
        "Grace",
        "Hiro",
        "Inés",
        "Jonas",
        "Kaya",
        "Łukasz",
        "Mehmet",
    ),
    *("Nour", "Olga", "Pavel", "Quinn", "Rosa", "Sören", "Tomáš", "Uma", "Víctor", "Wen", "Ximena", "Yusuf", "Zoë"),
)
LAST = (
    *("Abebe", "Brandt", "Costa", "Dvořák", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen", "Kowalski"),
    *("Lê", "Moreau", "Nguyễn", "Okafor", "Papadopoulos", "Quispe", "Rossi", "Šimek", "Tanaka", "Ünal", "van der Berg"),
)
ODD = (
    "Seán O'Brien",
    "=cmd()",
    "+1+1",
    "@SUM(A1)",
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}{% raw %}",
    "Robert'); DROP TABLE students;--",
    "x" * 150,
    "فاطمة الزهراء",
    "王小明",
)
"""Names that a page, a table or a spreadsheet may trip over."""


def _people(number: int, seed: int) -> list[Person]:
    draw = random.Random(f"{seed} people")
    found = []
    for place in range(number):
        name = f"{draw.choice(FIRST)} {draw.choice(LAST)}"
        if place % 13 == 5:
            name = ODD[place // 13 % len(ODD)]
        if place >= 13 * len(ODD) or " " in name:
            name = f"{name} {_roman(place)}"  # nobody has another's name
        found.append(Person(f"{2_600_000 + place}", name, f"u{place:05}", 40_000 + 7 * place))
    return found


def _roman(place: int) -> str:
    """A second name, made of the place."""
    syllables = ("ba", "de", "fi", "go", "lu", "ma", "ne", "ri", "so", "tu")
    return "".join(syllables[int(digit)] for digit in str(place)).capitalize()


def _kinds(number: int, seed: int) -> list[str]:
    """A kind for each: every kind that a tenth of a class of 40 has is in a class of twelve, too."""
    kinds: list[str] = []
    for kind, share in SHARES.items():
        kinds += [kind] * max(round(share * number), 1 if number >= 12 else 0)
    if 4 <= number < 12:
        kinds += [one for one in ("copy", "broken") if one not in kinds]
    kinds = kinds[:number] + ["network"] * (number - len(kinds))
    random.Random(f"{seed} kinds").shuffle(kinds)
    return kinds


def _write_roster(path: Path, people: Iterable[Person]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "name", "email", "username", "canvas id"])
        table.writerows([one.id, one.name, f"{one.login}@uni.example", one.login, one.number] for one in people)


# -- networks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A network to be trained and packed."""

    source: str  # Python that defines `Network`; empty where the source is not handed in
    design: str  # the same, to be built from
    recipe: Recipe
    images: int  # to train on; 0: not at all
    seed: int
    what: str
    file: str
    remark: str = ""  # in a cell of its own
    cells: tuple[submission.Cell, ...] = ()


FLAWS = ("", "", "", "", "many parameters", "no dropout", "no batch norm", "no linear layer", "too many epochs")


def _network(draw: random.Random, place: int, trained: bool, designs: int = ALIKE_AFTER) -> _Network:
    """A network and a recipe of somebody's own, with or without a flaw."""
    alike = not trained and place >= designs
    if alike:
        place %= designs
    flaw, source = _design(random.Random(f"design {place}") if not trained else draw)
    recipe = Recipe(
        epochs=draw.choice((25, 30)) if flaw == "too many epochs" else draw.randint(8, 19) if trained else 1,
        batch_size=draw.choice((64, 128, 256)),
        learning_rate=draw.choice((0.005, 0.008, 0.01, 0.012, 0.015, 0.02)),
        weight_decay=draw.choice((0.0, 0.01, 0.02)),
        label_smoothing=draw.choice((0.0, 0.05)),
        seed=draw.randint(0, 999),
    )
    images = (60_000 if draw.random() < 0.2 else 5_000) if trained else 0
    file = draw.choice(("my_net.lab", "net.lab", "network_final.lab", "abgabe.lab", "final (2).lab"))
    what = f"a network with {flaw}" if flaw else "a network"
    seed = draw.randrange(2**31)
    return _Network("" if alike else source, source, recipe, images, seed, what, file, f"My work, {seed:x}.")


def _design(draw: random.Random) -> tuple[str, str]:
    """A flaw or none, and the source of a network that has it, in one of three styles."""
    flaw = draw.choice(FLAWS)
    depth = draw.randint(2, 4)
    widths = [draw.randint(5, 14) for _ in range(depth)]
    if flaw == "many parameters":
        widths = [draw.randint(24, 40) for _ in range(depth)]
    p = draw.choice((0.02, 0.03, 0.05, 0.08, 0.1, 0.15))
    act = draw.choice(("ReLU", "ReLU", "SiLU", "LeakyReLU", "GELU"))
    layers: list[tuple[str, str]] = []  # name, constructor
    c_in, side = 1, 28
    for number, width in enumerate(widths, 1):
        if side < 5:
            break
        kernel = draw.choice((3, 3, 5)) if side > 8 else 3
        stride = 2 if number == 1 and draw.random() < 0.7 else 1
        pad = draw.randint(0, kernel // 2)
        layers.append((f"conv{number}", f"Conv2d({c_in}, {width}, {kernel}, stride={stride}, padding={pad})"))
        side = (side + 2 * pad - kernel) // stride + 1
        if flaw != "no batch norm":
            layers.append((f"bn{number}", f"BatchNorm2d({width})"))
        layers.append((f"act{number}", f"{act}()"))
        if side >= 10:
            layers.append((f"pool{number}", draw.choice(("MaxPool2d(2)", "MaxPool2d(2)", "AvgPool2d(2)"))))
            side //= 2
        c_in = width
    if flaw == "no linear layer":
        layers += [("last", f"Conv2d({c_in}, 10, 1)"), ("mean", "AdaptiveAvgPool2d(1)"), ("flat", "Flatten()")]
    elif draw.random() < 0.3:
        layers += [("mean", f"AdaptiveAvgPool2d({draw.choice((1, 2))})"), ("flat", "Flatten()")]
        features = c_in * (4 if "(2)" in layers[-2][1] else 1)
        layers.append(("fc", f"Linear({features}, 10)"))
    else:
        layers += [("flat", "Flatten()"), ("fc", f"Linear({c_in * side * side}, 10)")]
    if flaw != "no dropout":
        after = draw.randint(2, len(layers) - 2)
        layers.insert(after, ("drop", f"Dropout({p})"))
    return flaw, draw.choice(_STYLES)(layers, draw)


_HEAD = "class Network(nn.Module):\n    def __init__(self):\n        super().__init__()\n"


def _as_sequence(layers: Sequence[tuple[str, str]], draw: random.Random) -> str:
    lines = "".join(f"            nn.{made},\n" for _, made in layers)
    return (
        f"{_HEAD}        self.layers = nn.Sequential(\n{lines}        )\n\n"
        f"    def forward(self, x):\n        return self.layers(x)\n"
    )


def _as_attributes(layers: Sequence[tuple[str, str]], draw: random.Random) -> str:
    made = "".join(f"        self.{name} = nn.{made}\n" for name, made in layers)
    steps = "".join(f"        x = self.{name}(x)\n" for name, _ in layers)
    return f"{_HEAD}{made}\n    def forward(self, x):\n{steps}        return x\n"


def _as_nested(layers: Sequence[tuple[str, str]], draw: random.Random) -> str:
    made = "".join(f"        self.{name} = nn.{made}\n" for name, made in layers if not name.startswith("act"))
    activation = next(made for name, made in layers if name.startswith("act"))
    steps, inner = "", "x"
    for name, _ in layers:
        inner = f"self.{'activation' if name.startswith('act') else name}({inner})"
        if name.startswith(("pool", "flat", "drop")):
            steps, inner = f"{steps}        x = {inner}\n", "x"
    return (
        f"{_HEAD}{made}"
        f"        self.activation = nn.{activation}\n\n    def forward(self, x):\n{steps}        return {inner}\n"
    )


_STYLES: tuple[Callable[[Sequence[tuple[str, str]], random.Random], str], ...] = (
    _as_sequence,
    _as_attributes,
    _as_nested,
)


def _written(networks: Iterable[_Network]) -> list[bytes]:
    """Each as a .lab file; by two processes where there is much to train. What was made once is kept."""
    networks = list(networks)
    new = [one for one in dict.fromkeys(networks) if one not in _MADE]
    if len(new) > 24 and any(one.source for one in new[24:]):
        threads = min(2, os.cpu_count() or 1)
        with ProcessPoolExecutor(threads, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            _MADE.update(zip(new, pool.map(_packed, new, chunksize=4), strict=True))
    else:
        _MADE.update({one: _packed(one) for one in new})
    return [_MADE[one] for one in networks]


_MADE: dict[_Network, bytes] = {}


def _packed(one: _Network) -> bytes:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order, whatever else is done
    try:
        if one.images:
            module = _built(one.design, one.seed)
            quick = Recipe(
                epochs=1, learning_rate=0.015, augment=None, averaging=0.97, label_smoothing=0.0, seed=one.seed
            )
            recipe = replace(quick, batch_size=64 if one.images > 10_000 else 32, precision="float32")
            fit(module, load("mnist").limit(one.images), recipe, progress=False)
            graph = capture(module.eval())
        else:
            graph = redrawn(_captured(one.design), one.seed)
    finally:
        torch.set_num_threads(threads)
    cells = [_cell("markdown", one.remark)]
    if one.source:
        cells += [_cell("code", "import torch\nfrom torch import nn\nimport lab"), _cell("code", one.source)]
    made = submission.of_graph(graph, one.recipe, NAME, (*cells, *one.cells))
    return submission.packed(replace(made, versions={"lab": "1.0", "torch": "2.4", "python": "3.11"}))


def _cell(kind: str, source: str) -> submission.Cell:
    return submission.Cell(kind="code" if kind == "code" else "markdown", source=source)


def _built(design: str, seed: int) -> nn.Module:
    names: dict[str, Any] = {"nn": nn, "torch": torch}
    exec(design, names)  # our own text
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: nn.Module = names["Network"]()
    return made


@cache
def _captured(design: str) -> Graph:
    return capture(_built(design, 0).eval())


# -- copied -----------------------------------------------------------------------------------------------------------


def renamed(source: str) -> str:
    """The same program under other names: of variables, functions, classes and attributes that it makes up."""
    tree = ast.parse(source)
    return ast.unparse(_Renamed(tree).visit(tree))


class _Renamed(ast.NodeTransformer):
    def __init__(self, tree: ast.AST) -> None:
        nodes = list(ast.walk(tree))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        stored |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        kept = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
        methods = {inner.name for node in nodes if isinstance(node, ast.ClassDef) for inner in node.body
                   if isinstance(inner, ast.FunctionDef)}  # fmt: skip
        other = {name: f"my_{place}" for place, name in enumerate(sorted(stored | defined | kept))}
        given = {name for name in other if name == "forward" or name.startswith("__")}
        self.names = {name: other[name] for name in (stored | defined) - given}
        self.kept = {name: other[name] for name in (kept | methods) - given}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self.names.get(node.arg, node.arg), None
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = self.kept.get(node.attr, node.attr)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node


# -- copies of the notebook -------------------------------------------------------------------------------------------


@cache
def _editions() -> tuple[NotebookNode, NotebookNode]:
    """Solved, and as it is handed out: set-up, and the answers and checks of what needs no training."""
    solved, open_ = (made(NAME) for made in (editions.solved_edition, editions.student_edition))
    short = {grade_id_of(cell).removesuffix("-check") for cell in solved.cells
             if is_check(cell) and TRAINS not in cell.metadata.get("tags", [])}  # fmt: skip
    for notebook in (solved, open_):
        notebook.cells = [
            cell
            for cell in notebook.cells
            if grade_id_of(cell).removesuffix("-check") in short or "setup" in cell.metadata.get("tags", [])
        ]
    return solved, open_


def _exercises(draw: random.Random, rights: float, wrongs: float) -> tuple[NotebookNode, float]:
    """A copy in which these shares of the answers are right and wrong, the others open; and its points."""
    solved, open_ = (copy.deepcopy(one) for one in _editions())
    points = 0.0
    for place, cell in enumerate(solved.cells):
        if not is_answer(cell):
            continue
        luck = draw.random()
        one_line = cell.source.count("    return ") == 1
        if luck < rights or (luck < rights + wrongs and not one_line):
            points += 1
            cell.source += f"\n# {draw.choice(('by the book', 'tried on paper first', 'that was hard', 'ok'))}"
        elif luck < rights + wrongs:
            cell.source = cell.source.replace("    return ", f"    return {draw.choice((0.5, 0.25, 7.5))} or ")
        else:
            solved.cells[place] = open_.cells[place]
    remark = (
        f"Remarks of {draw.randrange(2**40):x}: {draw.choice(('the last one took me an evening', 'thank you', ''))}"
    )
    solved.cells.insert(1, new_markdown_cell(remark, id="remark"))
    return solved, points


def _copy(draw: random.Random, person: Person) -> Work:
    what, rights, wrongs = draw.choice(
        (("solved", 1.0, 0.0), ("half-finished", 0.5, 0.1), ("with mistakes", 0.5, 0.5), ("hardly begun", 0.1, 0.1))
    )
    notebook, points = _exercises(draw, rights, wrongs)
    expected = Expected("copy", f"a copy, {what}", "graded", exercises=points)
    return _alone(expected, f"{NAME}.ipynb", _bytes(notebook))


def _bytes(notebook: NotebookNode) -> bytes:
    return str(nbformat.writes(notebook)).encode()


# -- code -------------------------------------------------------------------------------------------------------------

_IMPORTS = """import torch
from torch import nn
import torch.nn.functional as F
from torchvision import datasets, transforms
"""
_LOOPS = (
    """
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
train = torch.utils.data.DataLoader(
    datasets.MNIST("data", train=True, download=True, transform=transform), batch_size={batch}, shuffle=True)
model = Network()
optimizer = torch.optim.{optimizer}(model.parameters(), lr={rate})
model.train()
for step, (images, labels) in enumerate(train):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    if step == {steps}:
        break
print("done", loss.item())
""",
    """
def train_some(net, steps):
    data = datasets.MNIST(root="./mnist", train=True, download=True)
    pixels = data.data[:, None].float() / 255
    opt = torch.optim.{optimizer}(net.parameters(), lr={rate})
    criterion = nn.CrossEntropyLoss()
    for start in range(0, steps * {batch}, {batch}):
        batch, wanted = pixels[start:start + {batch}], data.targets[start:start + {batch}]
        error = criterion(net(batch), wanted)
        opt.zero_grad()
        error.backward()
        opt.step()
        if start % 10 == 0:
            print(start, float(error))

net = Network()
train_some(net, {steps})
""",
)


def _code(draw: random.Random, person: Person) -> Work:
    """A script, or a notebook of somebody's own, that trains for a second."""
    _, source = _design(draw)
    loop = draw.choice(_LOOPS).format(
        batch=draw.choice((32, 50, 64, 100)),
        rate=draw.choice((0.001, 0.002, 0.003, 0.01)),
        steps=draw.randint(40, 90),
        optimizer=draw.choice(("Adam", "AdamW", "RMSprop")),
    )
    if draw.random() < 0.6:
        expected = Expected("code", "a script", "graded")
        return _alone(
            expected, draw.choice(("mnist.py", "main.py", "net.py")), f"{_IMPORTS}\n\n{source}\n{loop}".encode()
        )
    cells = [new_markdown_cell("# My network", id="title")]
    cells += [new_code_cell(text, id=f"cell-{n}") for n, text in enumerate((_IMPORTS, source, loop))]
    return _alone(
        Expected("code", "a notebook of one's own", "graded"),
        "untitled.ipynb",
        _bytes(new_notebook(cells=cells)),
    )


# -- broken, hostile, missing -----------------------------------------------------------------------------------------


def _broken(draw: random.Random, person: Person) -> Work:
    whole = _packed_once()
    makers: tuple[tuple[str, str, bytes], ...] = (
        ("a file cut off", "net.lab", whole[: draw.randint(200, len(whole) - 200)]),
        ("an empty file", "net.lab", b""),
        ("an archive of another kind", "abgabe.zip", b"PK\x05\x06" + bytes(18)),
        ("a text", "report.docx", f"My network reaches 99 %. {person.id}".encode()),
        ("no Python", "net.py", f"class Net(nn.Module)\n    pass  # {person.id}\n".encode()),
        ("half a notebook", "net.ipynb", f'{{"cells": [{{"cell_type": "code", "id": "{person.id}"'.encode()),
        ("no notebook", "net.ipynb", f"[{person.id}]".encode()),
        ("one byte changed", "net.lab", whole[:-900] + bytes([whole[-900] ^ 1]) + whole[-899:]),
    )
    what, name, content = draw.choice(makers)
    return _alone(Expected("broken", what, "student error"), name, content)


@cache
def _packed_once() -> bytes:
    return _packed(_network(random.Random("broken"), 0, trained=False))


def _hostile(draw: random.Random, person: Person) -> Work:
    """Of the corpus in tests/hostile the kinds that cost no time."""
    escape = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\u202e"

    def answered(text: str) -> bytes:
        notebook, _ = _exercises(draw, 0.3, 0.3)
        next(cell for cell in notebook.cells if is_answer(cell)).source = text
        return _bytes(notebook)

    def forged() -> bytes:
        notebook, _ = _exercises(draw, 0.2, 0.3)
        for cell in filter(is_check, notebook.cells):
            cell.metadata.nbgrader.points, cell.source = 1_200, "print('PASS')"
        return _bytes(notebook)

    makers: tuple[tuple[str, str, Callable[[], bytes]], ...] = (
        ("ends Python in an answer", f"{NAME}.ipynb", lambda: answered("import os\nos._exit(0)")),
        (
            "an error with escapes",
            f"{NAME}.ipynb",
            lambda: answered(f"def out_size(*n):\n    raise ValueError({escape!r})"),
        ),
        ("forged points", f"{NAME}.ipynb", forged),
        ("a pickle", "net.lab", lambda: pickle.dumps({"weights": person.id})),
        ("a deep notebook", "net.ipynb", lambda: b"[" * 100_000 + person.id.encode()),
        ("something behind the file", "net.lab", lambda: _packed_once() + f"<script>{person.id}".encode()),
        ("a script with escapes", "net.py", lambda: f"print({escape!r})\nraise SystemExit({person.id})\n".encode()),
        ("a name with escapes", "<img src=x onerror=alert(3)>.ipynb", forged),
    )
    what, name, content = draw.choice(makers)
    return _alone(Expected("hostile", what, ""), name, content())


def _missing(draw: random.Random, person: Person) -> Work:
    return Work(Expected("missing", "nothing", "missing", attempts=0))


# -- layouts ----------------------------------------------------------------------------------------------------------

Handed = Sequence[tuple[Person, Work]]


def _time(person: Person, work: Work, attempt: int = -1) -> datetime:
    """When it was handed in: the last attempt in time or up to three days late, others before that."""
    luck = random.Random(f"time {person.id}")
    minutes = luck.randint(20, 3 * 1440)
    last = DUE + timedelta(minutes=minutes if work.expected.late else -minutes)
    return last - timedelta(hours=5) * (len(work.attempts) - 1 - attempt % len(work.attempts))


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _in_moodle(folder: Path, handed: Handed) -> None:
    """A folder each, and the grading worksheet."""
    rows = []
    for person, work in handed:
        _put(folder / f"{person.name}_{person.number}_assignsubmission_file_", work.attempts[-1])
        moment = _time(person, work)
        status = "Submitted for grading" + (f" - {(moment - DUE).days} days late" if work.expected.late else "")
        clock = f"{moment:%A}, {moment.day} {moment:%B %Y}, {moment:%I:%M %p}"
        mail = f"{person.login}@uni.example"
        rows.append([f"Participant {person.number}", person.name, person.id, mail, status, clock, "-"])
    with (folder / "Grades-994.csv").open("w", encoding="utf-8", newline="") as file:
        head = ["Identifier", "Full name", "ID number", "Email address", "Status", "Last modified (submission)"]
        csv.writer(file).writerows([[*head, "Last modified (grade)"], *rows])


def _in_canvas(folder: Path, handed: Handed) -> None:
    """One folder of files; what is handed in again has a number behind its name."""
    for place, (person, work) in enumerate(handed):
        squeezed = re.sub(r"[^\w]", "", person.name).replace("_", "").lower() or person.login
        mark = "_LATE" if work.expected.late else ""
        for attempt, files in enumerate(work.attempts):
            for name, content in files.items():
                stem, dot, suffix = name.rpartition(".")
                again = f"{stem}-{attempt}{dot}{suffix}" if attempt else name
                start = f"{squeezed}{mark}_{person.number}_{500_000 + 10 * place + attempt}_"
                _put(folder, {f"{start}{again}": content})


def _in_gradescope(folder: Path, handed: Handed) -> None:
    """A folder for each submission, earlier ones too, and what is known of them."""
    lines = []
    for place, (person, work) in enumerate(handed):
        ids = [700_000 + 10 * place + attempt for attempt in range(len(work.attempts))]
        for attempt, files in enumerate(work.attempts):
            _put(folder / f"submission_{ids[attempt]}", files)
        moments = [f"{_time(person, work, attempt):%Y-%m-%d %H:%M:%S}.000000000 Z" for attempt in range(len(ids))]
        lines += [
            f"submission_{ids[-1]}:",
            "  :submitters:",
            f"  - :name: {json.dumps(person.name)}",
            f"    :sid: '{person.id}'",
            f"    :email: {person.login}@uni.example",
            f"  :created_at: {moments[-1]}",
            "  :history:" + ("" if len(ids) > 1 else " []"),
        ]
        for one, moment in list(zip(ids, moments, strict=True))[:-1]:
            lines += [f"  - :id: {one}", f"    :created_at: {moment}"]
    (folder / "submission_metadata.yml").write_text("---\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _in_nbgrader(folder: Path, handed: Handed) -> None:
    """submitted/LOGIN/ASSIGNMENT/, with a time each."""
    for person, work in handed:
        place = folder / "submitted" / person.login / NAME
        _put(place, work.attempts[-1])
        (place / "timestamp.txt").write_text(f"{_time(person, work):%Y-%m-%d %H:%M:%S}.000000 UTC\n")


def _in_folders(folder: Path, handed: Handed) -> None:
    """A folder each, called as the roster has its number."""
    for person, work in handed:
        _put(folder / person.id, work.attempts[-1])


_LAYOUTS: dict[str, Callable[[Path, Handed], None]] = {
    "moodle": _in_moodle,
    "canvas": _in_canvas,
    "gradescope": _in_gradescope,
    "nbgrader": _in_nbgrader,
    "folders": _in_folders,
}


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description="Write a class that does not exist into FOLDER.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", choices=LAYOUTS, default="moodle")
    parser.add_argument("--untrained", action="store_true", help="random weights, few designs: quick")
    parser.add_argument("--only", default="", help="a kind, such as network")
    given = parser.parse_args()
    made = make(given.folder, given.number, given.seed, given.layout, not given.untrained, given.only)
    kinds = [one.kind for one in made.expected.values()]
    shown = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    print(f"{made.folder}: {shown}\nlab grade {made.folder} --roster {made.roster} --rubric {made.rubric}")
    expected = {student: vars(one) for student, one in made.expected.items()}
    (given.folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
