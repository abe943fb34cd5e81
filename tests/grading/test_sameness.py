"""Who may have copied: what disguises hide, what honest work has in common, and how long it takes.

Measured beside these tests on 29 real scripts and notebooks of different authors that train on MNIST (PyTorch's own
example and one that was made from it among them), with the fingerprints of sameness.py, and with longer and shorter
ones, and with numbers by kind alone (`int`); the share of the smaller source that is the same:

    run, window          8, 2     6, 2    10, 4     8, 2 by kind
    honest, most alike   0.25     0.50    0.19      0.36           PyTorch's example, and what was made from it
    honest, the next     0.05     0.29    0.00      0.24
    the same script      1.00     1.00    1.00      1.00           published twice
    disguised, median    1.00     1.00    1.00      1.00           other names, order, prints, hints, split statements
    and half is new      0.92     0.93    0.91      0.92           of the functions
    and 10 % of numbers  0.83     0.87    0.78      1.00
    and 30 % of numbers  0.74     0.77    0.70      1.00

Of the 44,850 pairs of 300 networks that benchmarks/classes.py makes up in three styles none is told as alike.

Numbers by kind find a copy with other numbers, and make one of two networks that differ in their widths alone.
"""

import ast
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
import torchvision
from torch import nn

from benchmarks.classes import renamed
from lab import submission
from lab.course import editions
from lab.definitions import Cell
from lab.grading import sameness
from lab.grading.collect import collect
from lab.grading.sameness import ALIKE, Likeness, fingerprints, likenesses, public, sameness_of
from lab.graph import Graph, capture
from lab.models import LabNet
from lab.train import Recipe

PROGRAMS = {  # written by different people, from 100 to 800 lines
    path.stem: path.read_text(encoding="utf-8")
    for folder in (Path(torchvision.__file__).parent / "models", Path(torch.__file__).parent / "optim")
    for path in sorted(folder.glob("[!_]*.py"))
}


def own(text: str) -> frozenset[int]:
    return frozenset(fingerprints([Cell("a file.py", text)], public()))


def share(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / min(len(a), len(b))


# -- disguises --------------------------------------------------------------------------------------------------------


class Decorated(ast.NodeTransformer):
    """Type hints, a docstring, and prints between all statements."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = ast.Name("object", ast.Load())
        node.body = [line for one in node.body for line in (*ast.parse("print('here', 3)").body, one)]
        node.body.insert(0, ast.Expr(ast.Constant("What my function does.")))
        return node


class Split(ast.NodeTransformer):
    """`x = f(g(x))` in two statements."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef):
            node.body = [line for one in node.body for line in self.lines(one)]
        return node

    def lines(self, node: ast.stmt) -> list[ast.stmt]:
        match node:
            case ast.Assign(value=ast.Call(args=[ast.Call() as inner, *rest], func=ast.Attribute(value=ast.Name()))):
                assert isinstance(node.value, ast.Call)
                node.value.args = [ast.Name("first", ast.Load()), *rest]
                return [*self.lines(ast.Assign([ast.Name("first", ast.Store())], inner)), node]
        return [node]


def reordered(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            random.Random(1).shuffle(node.body)
    definitions = [one for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    others = [one for one in tree.body if one not in definitions]
    return ast.unparse(ast.Module(others + definitions[::-1], []))


def changed(text: str, *how: ast.NodeTransformer) -> str:
    tree = ast.parse(text)
    for one in how:
        tree = one.visit(tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def disguised(text: str) -> str:
    return renamed(changed(reordered(text), Decorated(), Split()))


@pytest.mark.parametrize(
    ("disguise", "least"),
    [
        (renamed, 0.95),
        (reordered, 0.9),
        (lambda text: changed(text, Decorated()), 1),
        (lambda text: changed(text, Split()), 0.95),
        (disguised, 0.9),
    ],
    ids=["names", "order", "hints", "split", "all"],
)
def test_a_disguise_hides_nothing(disguise: Callable[[str], str], least: float) -> None:
    for name in ("alexnet", "densenet", "googlenet", "squeezenet", "adamax", "lbfgs"):
        copied = disguise(PROGRAMS[name])
        assert copied != PROGRAMS[name]
        assert share(own(PROGRAMS[name]), own(copied)) >= least, name


def as_class(sources: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    return {name: {"source": [f"{one:016x}" for one in own(text)]} for name, text in sources.items()}


def test_what_different_people_write_is_not_alike() -> None:
    assert len(PROGRAMS) >= 35
    assert likenesses(as_class(PROGRAMS)) == []


def test_copies_are_found_among_what_different_people_write() -> None:
    copied = {"copy of alexnet": disguised(PROGRAMS["alexnet"]), "copy of adamax": disguised(PROGRAMS["adamax"])}
    found = likenesses(as_class(PROGRAMS | copied))
    assert [one.students for one in found] == [("adamax", "copy of adamax"), ("alexnet", "copy of alexnet")]
    assert not any(one.sure for one in found)


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 9, 3, padding=1), nn.Conv2d(9, 21, kernel_size=5)
        self.norm = nn.BatchNorm2d(21)
        self.out = nn.Linear(21 * 6 * 6, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.dropout(torch.relu(self.norm(self.conv2(x))), 0.07, self.training)
        x = x.flatten(1)
        if x.max() > 30:
            x = x / 30
        return self.out(x)
"""
SAME = """
from torch.nn import Module, Conv2d as Layer, Linear, functional
class Mine(Module):
    '''All by myself.'''
    def __init__(me, *ignored: int) -> None:
        super().__init__()
        me.a = Layer(1, 9, 3, 1)
        me.b = Layer(9, 21, 5)
        me.c: Module = torch.nn.BatchNorm2d(21)
        me.d = Linear(21 * 6 * 6, 10)
    def forward(me, picture):
        seen = me.a(picture)   # the first
        seen = seen.relu()
        seen = functional.max_pool2d(seen, 2)
        seen = me.c(me.b(seen))
        print(f"now {seen.shape}")
        seen = functional.relu(seen)
        dropped = functional.dropout(seen, 0.07, me.training)
        flat = torch.flatten(dropped, 1)
        if 30 < flat.max():
            flat /= 30
        return me.d(flat)
"""


def test_the_same_steps_are_the_same_however_they_are_written() -> None:
    assert own(NET) == own(SAME)
    assert len(own(NET)) >= sameness.LEAST_SHARED


def test_other_numbers_are_another_network() -> None:
    other = NET.replace("9", "12").replace("21", "16").replace("0.07", "0.1").replace("5", "3")
    assert share(own(NET), own(other)) < ALIKE


@pytest.mark.parametrize("name", ["mnist_994", "fashion"])
@pytest.mark.parametrize("edition", [editions.solved_edition, editions.student_edition])
def test_the_public_solution_is_nobodys(edition: Callable[[str], Any], name: str, tmp_path: Path) -> None:
    nbformat.write(edition(name), tmp_path / "copy.ipynb")
    assert sameness_of(collect(tmp_path / "copy.ipynb"), None, None, None)["source"] == []
    assert sameness_of(collect(tmp_path / "copy.ipynb"), capture(LabNet()), Recipe(seed=7), None) == {
        "network": None, "layers": 0, "recipe": None, "weights": None, "source": [],
    }  # fmt: skip


def test_what_a_copy_adds_is_found_wherever_it_stands(tmp_path: Path) -> None:
    prints = {}
    for place, text in ((3, NET), (-1, "%%time\n" + SAME)):
        notebook = editions.solved_edition("mnist_994")
        notebook.cells.insert(place, nbformat.v4.new_code_cell(text))
        nbformat.write(notebook, tmp_path / "copy.ipynb")
        prints[place] = sameness_of(collect(tmp_path / "copy.ipynb"), None, None, None)["source"]
    assert prints[3] == prints[-1] == [f"{one:016x}" for one in sorted(own(NET))]


def test_a_folders_other_modules_count(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("from layers import Net\nmodel = Net()\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "layers.py").write_text(NET)
    assert len(sameness_of(collect(tmp_path), None, None, None)["source"]) == len(own(NET))


# -- hostile source ---------------------------------------------------------------------------------------------------

HOSTILE = {
    "parentheses": "(" * 5_000,
    "minus": "x=" + "-" * 20_000 + "1",
    "a long sum": "x=" + "a+" * 14_000 + "a",
    "attributes": "x" + ".a" * 14_000,
    "branches": "if x: y\n" + "elif x: y\n" * 2_800,
    "a huge number": "x = 0x" + "f" * 28_000,
    "a huge result": "x = 9**9**9**9",
    "a zero": "x = 1\0",
    "a surrogate": "x = '\ud800'\n\ud801 = 1",
    "shell": "!ls\n" * 7_000,
    "magic": "%time x\n" * 3_600,
    "help": "x?\n" * 9_000,
    "cells in cells": "%%time\n" * 4_000,
    "texts": "f'{" * 100,
    "no end": "'''" + "x\n" * 10_000,
    "very long": "x = y + 1\n" * 200_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", ["a cell", "a file.py"])
def test_hostile_source_takes_no_time_and_hides_nothing(text: str, name: str) -> None:
    started = time.perf_counter()
    found = fingerprints([Cell(name, text), Cell("a cell", NET)], public())
    assert time.perf_counter() - started < 5
    assert set(found) >= own(NET)
    assert len(found) < len(own(NET)) + 100


def test_a_long_program_keeps_the_same_fingerprints() -> None:
    lines = [f"a = b[{n}] * {n % 7} + c({n % 11})\n" for n in range(6_000)]
    first, second = (fingerprints([Cell("a file.py", "".join(some))]) for some in (lines, lines[:5_000]))
    assert len(first) == sameness.MOST_FINGERPRINTS
    assert len(set(first) & set(second)) > 0.8 * len(first)


# -- networks, recipes and weights ------------------------------------------------------------------------------------


def network(width: int = 5) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(9 * width, 10),
    )  # fmt: skip


def of(folder: Path, graph: Graph, recipe: Recipe | None = None) -> dict[str, Any]:
    cells = (submission.Cell(kind="code", source=NET), submission.Cell(kind="markdown", source="not read: " + NET))
    path = submission.write(submission.of_graph(graph, recipe, "mnist_994", cells), folder / "net.lab")
    return sameness_of(collect(path), graph, recipe, graph)


def test_of_a_network(tmp_path: Path) -> None:
    mine, other = capture(network()), capture(nn.Sequential(network(), nn.Softmax(1)))
    first, second = of(tmp_path, mine, Recipe(epochs=7)), of(tmp_path, other, Recipe(epochs=7, seed=3))
    assert first["network"] == second["network"] != of(tmp_path, capture(network(6)))["network"]
    assert first["recipe"] == second["recipe"] != of(tmp_path, mine, Recipe(epochs=8))["recipe"]
    assert first["weights"] != second["weights"]
    assert first["weights"] == of(tmp_path, mine)["weights"]
    assert first["layers"] == 4
    assert [int(one, 16) for one in first["source"]] == sorted(own(NET))
    assert of(tmp_path, mine, Recipe(seed=5))["recipe"] is None


# -- a class ----------------------------------------------------------------------------------------------------------


def one(number: int, **changes: Any) -> dict[str, Any]:
    """A student's of their own."""
    source = [f"{number}-{place}" for place in range(40)]
    base = {"network": f"n{number}", "layers": 6, "recipe": f"r{number}", "weights": f"w{number}", "source": source}
    return base | changes


def class_of(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Thirty, some of whom have something else."""
    return {f"s{number:02}": one(number, **changes.get(f"s{number:02}", {})) for number in range(30)}


def source_of(number: int, part: float) -> list[str]:
    """So much of another's source, and some that is new."""
    kept = int(40 * part)
    return one(number)["source"][:kept] + [f"new-{number}-{part}-{place}" for place in range(40 - kept)]


def test_an_honest_class_is_told_nothing() -> None:
    assert likenesses(class_of()) == []
    assert likenesses({}) == []
    assert likenesses({"ann": {}, "bob": {}, "eve": {"source": [], "weights": None}}) == []


def test_each_sign_and_how_sure_it_is() -> None:
    found = likenesses(
        class_of(
            s01={"weights": "w0", "network": "n0", "recipe": "r0", "source": source_of(0, 1)},
            s03={"network": "n2", "source": source_of(2, 0.9)},
            s05={"network": "n4"},
            s07={"network": "n6", "recipe": "r6"},
            s08={"network": "small", "layers": 2},
            s09={"network": "small", "layers": 2, "source": source_of(8, 0.9)},
            s11={"source": source_of(10, 0.6)},
            s13={"recipe": "r12"},
            s15={"source": source_of(14, 0.4)},
        )
    )
    assert found == [
        Likeness(("s00", "s01"), ("the same weights", "the same network and recipe", "source: 100 % the same"), True),
        Likeness(("s02", "s03"), ("the same network", "source: 90 % the same"), True),
        Likeness(("s06", "s07"), ("the same network and recipe",), False),
        Likeness(("s08", "s09"), ("the same network, a small one", "source: 90 % the same"), False),
        Likeness(("s04", "s05"), ("the same network",), False),
        Likeness(("s10", "s11"), ("source: 60 % the same",), False),
    ]


def test_who_is_like_one_of_a_group_is_in_it() -> None:
    second = source_of(0, 0.7)
    third = second[12:] + [f"third-{place}" for place in range(12)]
    (found,) = likenesses(class_of(s01={"source": second}, s02={"source": third}))
    assert found == Likeness(("s00", "s01", "s02"), ("source: 70 % the same",), False)


def test_two_may_share_more_than_the_third() -> None:
    found = likenesses(class_of(**{name: {"network": "n0"} for name in ("s01", "s02")}, s03={"weights": "w0"}))
    assert found == [
        Likeness(("s00", "s03"), ("the same weights",), True),
        Likeness(("s00", "s01", "s02"), ("the same network",), False),
    ]


def test_what_much_of_the_class_has_is_everybodys() -> None:
    many = {f"s{number:02}": {"network": "n0", "source": source_of(0, 1)} for number in range(1, 7)}
    assert likenesses(class_of(**many)) == []
    del many["s06"]
    (found,) = likenesses(class_of(**many))
    assert found.students == ("s00", "s01", "s02", "s03", "s04", "s05")
    assert found.sure


def test_little_source_tells_nothing() -> None:
    few = {"source": one(0)["source"][: sameness.LEAST_SHARED - 1]}
    assert likenesses(class_of(s00=few, s01=few)) == []
    assert not likenesses(class_of(s00=few, s01=few | {"network": "n0"}))[0].sure
    enough = {"source": one(0)["source"][: sameness.LEAST_SHARED]}
    assert len(likenesses(class_of(s00=enough, s01=enough))) == 1


def made_up(students: int) -> dict[str, dict[str, Any]]:
    """Each with 150 fingerprints, of which a third stands with others, too; each 50th copied from the one before."""
    draw = random.Random(0)
    found: dict[str, dict[str, Any]] = {}
    for number in range(students):
        shared = [f"shared-{int(draw.paretovariate(0.4)) % 200_000}" for _ in range(50)]
        found[f"s{number:05}"] = one(number, source=[f"{number}-{place}" for place in range(100)] + shared)
        if number % 50 == 49:
            found[f"s{number:05}"]["source"] = found[f"s{number - 1:05}"]["source"][10:]
    return found


@pytest.mark.parametrize(
    ("students", "seconds"), [(300, 1), pytest.param(10_000, 60, marks=pytest.mark.slow)], ids=["300", "10000"]
)
def test_a_class_takes_no_time(students: int, seconds: float) -> None:
    handed_in = made_up(students)
    started = time.perf_counter()
    found = likenesses(handed_in)
    assert time.perf_counter() - started < seconds
    assert [one.students for one in found] == [
        (f"s{number - 1:05}", f"s{number:05}") for number in range(49, students, 50)
    ]
