"""A hand-in with a training loop of its own: its code trains in a sandbox, and its network comes out as data.

    reran = rerun(Path("net.py"), wanted="MyNet")
    reran.graph                       # with the trained weights; None where reran.error says why

In the sandbox lie training images only (`lab/grading/digits.py`), so the test set is untouched whatever the code does.
The graph is checked like any file: its parameters, and the accuracy that it is tested to have, are facts. The steps and
images that were counted inside are claims of a process in which the student's code ran, too.

Does a script need this? `trains_itself` reads it: a script that calls `backward` trains itself; one that hands a
network to `lab.train.fit` follows a recipe, which the judge can follow without it. A copy of the lab's own notebook is
no case for this: an exercise in it calls `backward`, and is no training of the network.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lab import definitions
from lab._terminal import harmless
from lab.errors import LabError
from lab.grading import digits, wire
from lab.grading.answers import IMAGES, MAX_MESSAGE, Session, graph_in
from lab.grading.code_alone import CodeError, left_out_in_words, oddities, staged
from lab.grading.rerun_inside import MAX_LINE, MOST_NOTES, Failed, Reran
from lab.grading.sandbox import DATA, HAND_IN, Limits, Sandbox
from lab.train import Recipe

MOST_THREADS = 2
"""Those of a small machine; fewer where this process has fewer, because others grade beside it."""
TO_TRAIN = Limits(seconds=1800.0, cpu_seconds=2 * 1800.0, memory_mb=6144, tmp_mb=1024)
"""A training, with two threads; with one it may take twice as long, for the same processor time."""
TO_DEFINE = Limits(seconds=120.0, cpu_seconds=120.0)
"""Nothing is trained: whoever takes longer does something else."""


def rerun(
    path: Path,
    wanted: str | None = None,
    *,
    file: str = "",
    train: bool = True,
    limits: Limits | None = None,
    data: Path | None = None,
    seed: int = 0,
    accepted: Collection[str] = (),
) -> Reran:
    """Execute the script or notebook at `path` in a sandbox, and give the network that it trained.

    wanted: the network's name, or its class's, where there are several. file: where `path` is a folder, which of its
    files is executed; what lies beside it and is no code is left out (`lab/grading/code_alone.py`). train: else what it
    gives to the lab's `fit` is taken, and nothing is trained. limits: TO_TRAIN, or TO_DEFINE without a training. data:
    the folder of digits; None: `digits.folder()`. seed: of all random numbers. accepted: as Sandbox has it. What the
    code does wrong stands in the result.

    Raises SandboxError where there can be no sandbox, and DataError where there are no digits.
    """
    threads = min(MOST_THREADS, torch.get_num_threads())
    limits = limits or (replace(TO_TRAIN, seconds=TO_TRAIN.seconds * MOST_THREADS / threads) if train else TO_DEFINE)
    asked: dict[str, Any] = {"verb": "rerun", "path": f"{HAND_IN}/{file or path.name}", "data": DATA}
    asked |= {"wanted": wanted, "train": train, "seed": seed, "threads": threads}
    try:
        with staged(path, file) as (place, left_out):
            flags = (*left_out_in_words(left_out), *oddities(_code_in(place)))
            return replace(_asked(asked, place, data or digits.folder(), limits, accepted), flags=flags)
    except CodeError as error:
        return Reran(error=Failed("CodeError", str(error)))


def _code_in(place: Path) -> Iterator[definitions.Cell]:
    for path in sorted(place.rglob("*")):
        if path.suffix in (".py", ".ipynb"):
            with suppress(definitions.DefinitionsError):  # the session says so, if it is executed
                yield from definitions.cells(path)


def _asked(asked: dict[str, Any], hand_in: Path, data: Path, limits: Limits, accepted: Collection[str]) -> Reran:
    inside = "lab.grading.rerun_inside"
    session = Session(
        Sandbox(inside, hand_in=hand_in, data=data, limits=limits, accepted=accepted, threads=asked["threads"])
    )
    try:
        with session.within(limits.seconds):
            return result(*session.ask(asked))
    except LabError as error:
        return Reran(error=Failed(type(error).__name__, str(error)))
    finally:
        session.close()


def result(header: dict[str, Any], tensors: dict[str, Any]) -> Reran:
    """A message of the program inside as a result. Raises GraphError or WireError for what can't be one."""
    said = header.get("said")
    said = said if isinstance(said, dict) else {}
    notes = header.get("notes")
    reran = Reran(
        name=_text(said.get("name"))[:100],
        recipe=_recipe(header.get("recipe")),
        steps=int(_number(said.get("steps"))),
        images_read=int(_number(said.get("images_read"))),
        test_images_read=int(_number(said.get("test_images_read"))),
        epochs_bound=_number(said.get("epochs_bound")),
        printed=_text(said.get("printed")),
        notes=tuple(map(_text, notes[:MOST_NOTES])) if isinstance(notes, list) else (),
    )
    failed = header.get("failed")
    if isinstance(failed, list) and len(failed) == 3:
        kind, message, where = failed
        return replace(reran, error=Failed(_text(kind)[:100], harmless(str(message))[:MAX_MESSAGE], _text(where)))
    return replace(reran, graph=graph_in(header, tensors, IMAGES))


def _text(given: Any) -> str:
    return harmless(given)[:MAX_LINE] if isinstance(given, str) else ""


def _number(given: Any) -> float:
    """A number from 0 up; 0 for what is none."""
    is_one = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if is_one and 0 <= given < 2**53 else 0.0  # NaN is in no range


def _recipe(given: Any) -> Recipe | None:
    recipe = wire.Reader({}).read(given)
    return recipe if isinstance(recipe, Recipe) else None


# -- does it train by itself? -----------------------------------------------------------------------------------------


def trains_itself(cells: Iterable[tuple[str, str] | definitions.Cell], folder: Path | None = None) -> bool:
    """Does the code run a training loop of its own? `cells` as `lab.definitions.cells` gives them.

    It does where `backward` is called by what is executed: at the top level, under `if __name__ == "__main__"`, or in
    functions, methods and classes that are mentioned there, and in what those mention. A function with a training step
    in it that nothing calls does not count. folder: modules there that it imports count as its own code. What is not
    valid Python is left out, as where it is executed.
    """
    waiting_cells = [cell if isinstance(cell, definitions.Cell) else definitions.Cell(*cell) for cell in cells]
    body: list[ast.stmt] = []
    seen: set[Path] = set()
    while waiting_cells:
        found = _statements(waiting_cells.pop(0))
        body += found
        beside = {path for node in found for path in _beside(node, folder)} - seen
        seen |= beside
        waiting_cells += [cell for path in sorted(beside) for cell in definitions.cells(path)]
    known: dict[str, list[ast.AST]] = {}
    for node in body:
        for child in ast.walk(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                known.setdefault(child.name, []).append(child)
    waiting: list[ast.AST] = [child for node in body for child in _outside_of_functions(node)]
    reached: set[int] = set()
    while waiting:
        code = waiting.pop()
        if _calls_backward(code):
            return True
        name = code.attr if isinstance(code, ast.Attribute) else getattr(code, "id", "")
        for function in known.get(name, ()):
            if id(function) not in reached:
                reached.add(id(function))
                waiting += ast.walk(function)
    return False


def _statements(cell: definitions.Cell) -> list[ast.stmt]:
    try:
        return definitions.body(cell)
    except definitions.DefinitionsError:
        return []


def _beside(node: ast.stmt, folder: Path | None) -> Iterator[Path]:
    """The modules in the folder that a statement, or a function in it, imports."""
    if folder is None:
        return
    for child in ast.walk(node):
        names = [alias.name for alias in child.names] if isinstance(child, ast.Import) else []
        if isinstance(child, ast.ImportFrom):
            names = [child.module or "", *(alias.name for alias in child.names)]
        for name in names:
            path = folder.joinpath(*name.split(".")).with_suffix(".py")
            if path.is_file() and not path.is_symlink():
                yield path


def _outside_of_functions(node: ast.AST) -> Sequence[ast.AST]:
    """What is executed with a statement: not the bodies of functions and classes that it only defines."""
    if isinstance(node, ast.ClassDef):
        return [child for part in (*node.decorator_list, *node.bases) for child in ast.walk(part)]
    return list(definitions.executed(node))


def _calls_backward(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = ast.unparse(node.func)
    return function.endswith(".backward") or function in ("torch.autograd.grad", "autograd.grad")
