"""Who of a class may have copied? The same network, recipe or weights, and source that is nearly the same.

    sameness_of(found, graph, recipe, weights)      # of one hand-in: digests, and fingerprints of its source
    likenesses({"ann": …, "bob": …})                # of a class: who is like whom, in what, the surest first

Source is compared by what it does, in the order in which it does it: `x = F.relu(self.bn(x))` and the same in two
lines under other names are one. Left out are names that are no library's, comments, prints, type hints and texts; what
stays are library calls, numbers and control flow. Fingerprints are hashes of all runs of eight such steps, of which
winnowing keeps two in three: Schleimer, Wilkerson and Aiken 2003, "Winnowing: Local Algorithms for Document
Fingerprinting". What the lab itself shows (its notebooks with their answers, its networks, its training) is taken out,
and what many of a class have.

Nothing of a hand-in is executed here: its source is parsed, within bounds. A likeness is a reason to look and to ask,
and no proof: two who learnt from the same page of the web are alike, too.
"""

import ast
import builtins
import contextlib
import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from lab import _place
from lab._files import FileError, read_regular
from lab.course.copies import Copy
from lab.course.plan import editions
from lab.definitions import Cell, DefinitionsError, body, cells
from lab.errors import LabError
from lab.grading.collect import Collected, files_in
from lab.grading.judge import json_digest, weights_digest
from lab.graph import Graph
from lab.likeness import design, known_copy
from lab.recipes import recipe_of
from lab.rules import load_rubric
from lab.train import Recipe

RUN = 8
"""So many steps of a program make a fingerprint."""
WINDOW = 2
"""Of so many neighbouring fingerprints one is kept at least: what two share is found from RUN + WINDOW - 1 steps on."""
SHORTEST = 4
"""A function of fewer steps tells nothing; up to RUN it is one fingerprint as a whole."""
MOST_CHARACTERS = 200_000
"""Of all source: four times what the lab's own notebook has. What stands behind is not compared."""
MOST_IN_A_CELL = 30_000
"""Its magic is looked for, which takes longer than to parse it."""
MOST_STEPS = 40_000
MOST_FINGERPRINTS = 2_000
"""The smallest hashes are kept: of two hand-ins they are the same ones where the source is."""
SHOWN = ("models", "train", "augment", "muon", "presets", "recipes", "design")
"""Modules of the lab that its notebooks tell students to read, or to build on."""

COMMON, FEW, MANY = 0.2, 5, 200
"""What a larger share of the class has is everybody's, and tells nothing; what FEW have never is, and what more than
MANY have always."""
ALIKE = 0.6
"""The share of the smaller source's own fingerprints, from which on two are told as alike. `tests/grading/
test_sameness.py` measures both sides of it."""
SURELY_ALIKE = 0.8
LEAST_SHARED = 10
"""Fingerprints that two share: of fewer nothing is told."""
LARGE = 4
"""Layers with weights, from which on one design is hardly found twice by chance."""


@dataclass(frozen=True)
class Likeness:
    """Some students whose hand-ins are alike."""

    students: tuple[str, ...]  # their ids, two or more
    what: tuple[str, ...]  # for a person: "the same weights", "the same network and recipe", "source: 92 % the same"
    sure: bool  # the same weights, or one network that is not small with the same source


def sameness_of(found: Collected, graph: Graph | None, recipe: Recipe | None, weights: Graph | None) -> dict[str, Any]:
    """What a hand-in is compared by, as JSON has it.

    graph, recipe: that were judged. weights: the graph whose weights were handed in, and not trained by the grader.
    None stands for what was not there, and for what is the lab's own: its networks, the recipe of the assignment.
    """
    own = graph is not None and known_copy(graph) is None
    return {
        "network": json_digest(design(graph)) if graph is not None and own else None,
        "layers": _layers(graph) if graph is not None and own else 0,
        "recipe": _recipe(found, recipe),
        "weights": weights_digest(weights) if weights is not None else None,
        "source": [f"{one:016x}" for one in fingerprints(_source(found), public())],
    }


def _layers(graph: Graph) -> int:
    """How many operations have a weight with rows and columns."""
    return sum(any(len(shape) > 1 for shape in graph.stored_shapes(op).values()) for op in graph.operations)


def _recipe(found: Collected, recipe: Recipe | None) -> str | None:
    """SHA-256 of a recipe without its seed; None where it is the lab's default, or the assignment's."""
    if recipe is None:
        return None
    name = found.hand_in.rubric if found.hand_in is not None else found.edition.name
    usual = [Recipe()]
    with contextlib.suppress(LabError):  # a rubric that is not the lab's own
        usual.append(recipe_of(load_rubric(name or "mnist_994")))
    plain = [replace(one, seed=0, precision="auto") for one in (recipe, *usual)]
    return None if plain[0] in plain[1:] else json_digest(asdict(plain[0]))


# -- the source -------------------------------------------------------------------------------------------------------


def _source(found: Collected) -> list[Cell]:
    """The code that was handed in; empty where it can't be read."""
    if found.copy is not None:
        return _of_copy(found.copy)
    if found.hand_in is not None:
        return [Cell(_A_CELL, cell.source) for cell in found.hand_in.cells if cell.kind == "code"]
    given: list[Cell] = []
    paths = [found.path]
    if found.folder is not None:
        paths += [path for path in sorted(files_in(found.folder)) if path.suffix == ".py" and path != found.path]
    for path in paths:
        given += _of_file(path)
    return given


_A_CELL = "a cell"


def _of_copy(copy: Copy) -> list[Cell]:
    """All code: set-up and checks are the lab's own text, which is taken out wherever it stands."""
    return [Cell(_A_CELL, cell.source) for cell in copy.cells if cell.cell_type == "code"]


def _of_file(path: Path) -> list[Cell]:
    try:
        if path.suffix == ".py":
            return [Cell("a file.py", read_regular(path, 4 * MOST_CHARACTERS).decode("utf-8-sig", "replace"))]
        return [replace(cell, name=_A_CELL) for cell in cells(path)]
    except (OSError, FileError, DefinitionsError):
        return []


def fingerprints(source: Iterable[Cell], without: frozenset[int] = frozenset()) -> list[int]:
    """64-bit fingerprints of the source, in order; what is no Python is left out."""
    runs = [_hashes(steps) for steps in steps_of(source)]
    kept = {one for run in runs for one in _winnowed([None if one in without else one for one in run])}
    return sorted(kept)[:MOST_FINGERPRINTS]


def _hashes(steps: Sequence[str]) -> list[int]:
    """One of each run of steps; of a short program one as a whole, of a very short one none."""
    if len(steps) < SHORTEST:
        return []
    starts = range(max(1, len(steps) - RUN + 1))
    return [_hash("\n".join(steps[start : start + RUN])) for start in starts]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _winnowed(hashes: Sequence[int | None]) -> Iterator[int]:
    """The smallest of each window. None: does not count."""
    for start in range(max(1, len(hashes) - WINDOW + 1)):
        own = [one for one in hashes[start : start + WINDOW] if one is not None]
        if own:
            yield min(own)


@cache
def public() -> frozenset[int]:
    """Every fingerprint, and not only those that winnowing keeps, of what the lab itself shows to students."""
    shown = [Cell("a file.py", (_place.PACKAGE / f"{name}.py").read_text(encoding="utf-8")) for name in SHOWN]
    for edition in editions():
        for cell in edition.cells:
            code = [cell.source] if cell.cell_type == "code" else _FENCED.findall(cell.source)
            shown += [Cell(_A_CELL, text) for text in code]
            shown += [Cell(_A_CELL, _SOLUTION.sub(r"\1raise NotImplementedError\n", text)) for text in code]
    return frozenset(one for cell in shown for steps in steps_of([cell]) for one in _hashes(steps))


_FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
_SOLUTION = re.compile(r"(?ms)^( *)### BEGIN SOLUTION\n.*?### END SOLUTION *\n?")


def steps_of(source: Iterable[Cell]) -> list[list[str]]:
    """What each function, and the rest of each cell, does: step by step. Within the bounds of this module."""
    left = MOST_CHARACTERS
    parsed = list[list[ast.stmt]]()
    for cell in source:
        most = left if cell.name.endswith(".py") else min(left, MOST_IN_A_CELL)
        if len(cell.source) > most:  # what comes next may fit: nobody hides all else behind something long
            continue
        left -= len(cell.source)
        try:
            parsed.append(body(cell))
        except DefinitionsError:
            continue
    reader = _Reader(_aliases(statement for statements in parsed for statement in statements))
    for statements in parsed:
        reader.read(statements)
    return reader.programs


def _aliases(statements: Iterable[ast.stmt]) -> dict[str, str]:
    """What a name that stands for another one here is called in its library: {"Layer": "Conv2d"}."""
    found: dict[str, str] = {}
    for statement in statements:
        for node in ast.walk(statement):  # does not call itself, however deep the tree is
            if isinstance(node, ast.ImportFrom):
                found |= {one.asname: one.name for one in node.names if one.asname}
    return found


@cache
def _known() -> frozenset[str]:
    """Names that PyTorch, NumPy and Python give a meaning, whatever they are got from; others are their author's own.

    What is a name of a library is not read from the imports: in a notebook those stand in other cells, which may not
    have been handed in.
    """
    homes = (builtins, torch, torch.Tensor, torch.optim, torch.optim.lr_scheduler, torch.utils.data, numpy)
    kinds = (nn, nn.functional, nn.init, nn.Module, str, list, dict, set, Path, torch.optim.Optimizer)
    named = {name for home in (*homes, *kinds) for name in dir(home) if not name.startswith("_")}
    return frozenset(named | _OF_IMAGES | {"__init__", "forward", "__call__", "__getitem__", "__len__"})


_OF_IMAGES = {
    *("Compose", "ToTensor", "Normalize", "RandomRotation", "RandomAffine", "RandomCrop", "RandomErasing", "Resize"),
    *("ColorJitter", "CenterCrop", "Pad", "MNIST", "FashionMNIST", "KMNIST", "QMNIST", "tqdm", "summary"),
}


@dataclass(frozen=True)
class _Place:
    """Where a statement stands."""

    steps: list[str]  # what was done before
    me: str  # what the method around it calls its object; empty outside of one
    in_class: bool  # does it stand in a class itself?


class _Reader:
    """Writes down what statements do."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.programs: list[list[str]] = []
        self._aliases = aliases
        self._left = MOST_STEPS

    def read(self, statements: Iterable[ast.stmt], me: str = "", in_class: bool = False) -> None:
        """The statements of a function, a class or a cell: a program by itself. me: what a method calls its object."""
        steps: list[str] = []
        self.programs.append(steps)
        for statement in statements:
            if self._left < 0:
                return
            before = len(steps)
            try:
                self._statement(statement, _Place(steps, me, in_class))
            except RecursionError:  # nested more deeply than anybody writes
                del steps[before:]
            self._left -= len(steps) - before

    def _block(self, statements: Iterable[ast.stmt], place: _Place) -> None:
        for statement in statements:
            self._statement(statement, place)

    def _statement(self, node: ast.stmt, place: _Place) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                first = [one.arg for one in [*node.args.posonlyargs, *node.args.args]][:1]
                self.read(node.body, "".join(first) if place.in_class else place.me)
            case ast.ClassDef():
                self._values(node.bases, place)
                place.steps.append("class")
                self.read(node.body, in_class=True)
            case ast.Assign():
                self._value(node.value, place)
                self._values(node.targets, place)
            case ast.AugAssign():
                self._values([node.target, node.value], place)
                place.steps.append(type(node.op).__name__)
            case ast.AnnAssign():
                self._values([node.value] if node.value else [], place)
            case ast.Expr(value=ast.Constant()) | ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                pass
            case ast.Expr():
                self._value(node.value, place)
            case ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal() | ast.Pass():
                pass
            case ast.If() | ast.While():
                self._value(node.test, place)
                self._branches(type(node).__name__, node.body, node.orelse, place)
            case ast.For() | ast.AsyncFor():
                self._value(node.iter, place)
                self._branches("For", node.body, node.orelse, place)
            case ast.With() | ast.AsyncWith():
                self._values([item.context_expr for item in node.items], place)
                self._branches("With", node.body, [], place)
            case _:
                self._rest(node, place)

    def _branches(self, kind: str, first: Iterable[ast.stmt], second: Sequence[ast.stmt], place: _Place) -> None:
        place.steps.append(kind)
        self._block(first, place)
        if second:
            place.steps.append("else")
            self._block(second, place)
        place.steps.append("end")

    def _rest(self, node: ast.AST, place: _Place) -> None:
        """Any other kind: what is in it, and then its own name."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child, place)
            elif isinstance(child, ast.expr):
                self._value(child, place)
            elif not isinstance(child, ast.expr_context):
                self._rest(child, place)
        place.steps.append(type(node).__name__)

    def _values(self, nodes: Iterable[ast.expr], place: _Place) -> None:
        for node in nodes:
            self._value(node, place)

    def _value(self, node: ast.expr, place: _Place) -> None:
        """What an expression does, in the order in which it is worked out: the operands, then the operation."""
        match node:
            case ast.Constant():
                place.steps.append(_constant(node.value))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                place.steps.append(_constant(-number))
            case ast.JoinedStr():
                place.steps.append("str")
            case ast.Name():
                name = self._aliases.get(node.id, node.id)
                place.steps.extend([name] if name[:1].isupper() and name in _known() else [])  # a layer's class, say
            case ast.Attribute():
                self._value(node.value, place)
                place.steps.extend([node.attr] if self._is_known(node, place) else [])
            case ast.Call():
                self._call(node, place)
            case ast.BinOp():
                self._values([node.left, node.right], place)
                place.steps.append(type(node.op).__name__)
            case ast.Compare():
                kinds = [type(op).__name__ for op in node.ops]
                turned = kinds in (["Gt"], ["GtE"])  # 3 < a is a > 3
                self._values([node.left, *node.comparators][:: -1 if turned else 1], place)
                place.steps.extend([_TURNED[kinds[0]]] if turned else kinds)
            case ast.Tuple():
                self._values(node.elts, place)
            case ast.Starred():
                self._value(node.value, place)
            case _:
                self._rest(node, place)

    def _call(self, node: ast.Call, place: _Place) -> None:
        """x.relu() is F.relu(x): what it is called on is worked out first."""
        name = ""
        if isinstance(node.func, ast.Name):
            name = self._aliases.get(node.func.id, node.func.id)
            name = name if name in _known() else ""
        elif isinstance(node.func, ast.Attribute):
            self._value(node.func.value, place)
            name = node.func.attr if self._is_known(node.func, place) else ""
        else:
            self._value(node.func, place)
        self._values([*node.args, *(keyword.value for keyword in node.keywords)], place)
        place.steps.append(f"{name}()")

    def _is_known(self, node: ast.Attribute, place: _Place) -> bool:
        """Is it a library's? What a method finds in its own object is its author's, but for what each module has."""
        if isinstance(node.value, ast.Name) and node.value.id in (place.me, "self"):
            return node.attr in _OF_MODULES
        return node.attr in _known() and not _is_module(node)


def _is_module(node: ast.Attribute) -> bool:
    """Is it a module on the way to something, as in `torch.nn.Conv2d`, which is nn.Conv2d?"""
    return node.attr in ("nn", "functional", "optim", "utils", "data", "init") and isinstance(node.value, ast.Name)


_OF_MODULES = {name for name in dir(nn.Module) if not name.startswith("_")} | {"training", "__init__"}
_TURNED = {"Gt": "Lt", "GtE": "LtE"}


def _constant(value: Any) -> str:
    """A number by its value, anything else by its kind."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**64:  # Python refuses to write it
        return "int"
    return repr(value) if isinstance(value, int | float | complex | None) else type(value).__name__


# -- a class ----------------------------------------------------------------------------------------------------------


def likenesses(by_student: Mapping[str, Mapping[str, Any]]) -> list[Likeness]:
    """Who is like whom, the surest first. by_student: `sameness_of` of each student's hand-in; {} where there is none.

    A network, or a piece of source, that many of the class have counts for nothing. A student may be in several groups:
    the same weights as one, and the same source as two.
    """
    sources = _Sources({student: frozenset(one.get("source") or ()) for student, one in by_student.items()})
    told: dict[tuple[str, ...], list[tuple[int, str, bool]]] = defaultdict(list)  # rank, for a person, sure
    for same in _alike(by_student, "weights"):
        told[same].append((0, "the same weights", True))
    for same in _alike(by_student, "network", most=_most(len(by_student))):
        large = by_student[same[0]].get("layers", 0) >= LARGE
        named = "the same network" if large else "the same network, a small one"
        told[same].append((3, named, False))
        for trained in _alike({student: by_student[student] for student in same}, "recipe"):
            told[trained].append((2, named.replace("network", "network and recipe"), False))
        if large:
            for copied in sources.groups(SURELY_ALIKE, same):
                told[copied].append((3, named, True))
                told[copied].append((4, sources.line(copied), True))
    for copied in sources.groups(ALIKE):
        told[copied].append((4, sources.line(copied), False))
    found = [_likeness(students, sorted(signs)) for students, signs in told.items()]
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].students))]


def _likeness(
    students: tuple[str, ...], signs: Sequence[tuple[int, str, bool]]
) -> tuple[tuple[bool, int, int], Likeness]:
    """How sure it is, to be sorted by, and what is told of these students: each thing once."""
    what = list(dict.fromkeys(text for _, text, _ in signs))
    if any(text.startswith("the same network and recipe") for text in what):
        what = [text for text in what if text not in ("the same network", "the same network, a small one")]
    sure = any(one for _, _, one in signs)
    return (not sure, signs[0][0], -len(what)), Likeness(students, tuple(what), sure)


def _most(students: int) -> int:
    """So many may have something in common before it is everybody's."""
    return min(MANY, max(FEW, int(COMMON * students)))


def _alike(by_student: Mapping[str, Mapping[str, Any]], key: str, most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Groups of two and more with the same value; those of more than `most` are left out."""
    groups: dict[str, list[str]] = defaultdict(list)
    for student, one in by_student.items():
        if one.get(key):
            groups[one[key]].append(student)
    for same in groups.values():
        if len(same) > 1 and (most is None or len(same) <= most):
            yield tuple(sorted(same))


class _Sources:
    """The fingerprints of a class's source, and which are alike."""

    def __init__(self, prints: Mapping[str, frozenset[str]]) -> None:
        self._count = Counter(one for own in prints.values() for one in own)
        most = _most(len(prints))
        self._own = {student: {one for one in own if self._count[one] <= most} for student, own in prints.items()}
        self._with: dict[str, list[str]] = defaultdict(list)
        for student, own in self._own.items():
            for one in own:
                if self._count[one] > 1:
                    self._with[one].append(student)

    def share(self, a: str, b: str) -> float:
        """Of the smaller source's fingerprints those that the other has, too, 0..1; 0 where that is too few to tell."""
        shared = len(self._own[a] & self._own[b])
        return shared / min(len(self._own[a]), len(self._own[b])) if shared >= LEAST_SHARED else 0.0

    def groups(self, least: float, among: Iterable[str] | None = None) -> list[tuple[str, ...]]:
        """Students of whom each is alike to another one of the group, by a share of at least `least`."""
        joined = _Joined()
        for a, b in self._candidates(least) if among is None else combinations(among, 2):
            if not joined.are(a, b) and self.share(a, b) >= least:
                joined.join(a, b)
        return joined.groups()

    def _candidates(self, least: float) -> Iterator[tuple[str, str]]:
        """All pairs that may be alike so much, and few others.

        Of n fingerprints at least `least` n are shared: not all of those can be among the most frequent ones, so that
        it is enough to look up the rarest (1 - least) n + 1.
        """
        for student, own in self._own.items():
            needed = max(LEAST_SHARED, math.ceil(least * len(own)))
            rarest = sorted(own, key=lambda one: (self._count[one], one))[: max(0, len(own) - needed + 1)]
            for other in {other for one in rarest for other in self._with.get(one, ())} - {student}:
                if len(self._own[other]) >= len(own):
                    yield student, other

    def line(self, students: Sequence[str]) -> str:
        """For a person: how much is the same, of each with the one that is most like it."""
        shares = [max(self.share(a, b) for b in students if b != a) for a in students]
        low, high = (int(100 * one) for one in (min(shares), max(shares)))
        return f"source: {high} % the same" if low == high else f"source: {low} to {high} % the same"


class _Joined:
    """Groups that grow together."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def first(self, one: str) -> str:
        """What stands for its group."""
        while (above := self._first.setdefault(one, one)) != one:
            self._first[one] = self._first[above]
            one = above
        return one

    def are(self, a: str, b: str) -> bool:
        """Are both in one group?"""
        return self.first(a) == self.first(b)

    def join(self, a: str, b: str) -> None:
        """Put both groups together."""
        self._first[self.first(b)] = self.first(a)

    def groups(self) -> list[tuple[str, ...]]:
        """Those of two and more."""
        found: dict[str, list[str]] = defaultdict(list)
        for one in self._first:
            found[self.first(one)].append(one)
        return sorted(tuple(sorted(group)) for group in found.values() if len(group) > 1)
