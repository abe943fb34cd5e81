"""A student's script or notebook is executed to its end, and the network that it trained comes out as data.

    reran = run(Path("/hand-in/net.py"), Path("/data"), "MyNet", train=True)

With `train` everything runs as it is written, on the digits that `lab/grading/digits.py` has put there. Without it the
lab's own loop is not run: `load`, `fit`, `accuracy` and the log of designs answer at once, and the network is the one
that was given to `fit`. For scripts that train by the lab's recipe, which the judge follows itself.

This is the program inside the sandbox (`python -m lab.grading.rerun_inside`); it runs beside the student's code and is
no judge. What of its result is more than a claim, `lab/grading/rerun.py` says.
"""

import __future__ as future

import ast
import contextlib
import math
import os
import random
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from lab import definitions
from lab.augment import MEAN, STD
from lab.errors import LabError
from lab.grading import session, wire
from lab.grading.digits import NAMES, RAW
from lab.grading.script_fits import Given, Instead
from lab.grading.script_watch import Fed, Trained, Watch, how_fed
from lab.grading.script_world import OnCpu, World
from lab.graph import Graph, capture
from lab.train import Recipe

MOST_NOTES = 20
MAX_LINE = 300
"""Characters of one note, and of a printed line."""
_PRINTED = 8 << 10
"""Characters of the script's output that are passed on; of what follows, only lines with an accuracy are looked at."""
PIXELS = (28, 28)
_SOLID = 1e-3
"""Two ways to turn pixels into input that differ by less are the same."""


@dataclass(frozen=True)
class Failed:
    """What a script raised: the error's kind and message, and the student's own line; empty where there is none."""

    kind: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        at = f"{self.line}: " if self.line else ""
        return f"{at}{self.kind}: {self.message}" if self.message else f"{at}{self.kind}"


@dataclass(frozen=True)
class Reran:
    """What came out of a script. All but the graph is what the script, or the code beside it, says of itself."""

    graph: Graph | None = None  # with the trained weights
    name: str = ""  # what the network's class is called
    recipe: Recipe | None = None  # that the script gave to the lab's `fit`, where it did
    steps: int = 0  # of the optimizer
    images_read: int = 0  # that the network learnt from, each as often as it was seen
    test_images_read: int = 0  # that torchvision gave of the "test" files
    epochs_bound: float = 0.0  # passes over the set that those images came from
    printed: str = ""  # the last line with an accuracy that the script printed
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()  # what is odd about its code; no claim: it is read outside
    error: Failed | None = None


def run(path: Path, data: Path, wanted: str | None = None, train: bool = True, seed: int = 0) -> Reran:
    """Execute the script or notebook at `path`, and give the network that it trained; nothing is raised.

    data: a folder as `lab.grading.digits` writes it. wanted: the name of the network, or of its class, where there are
    several; None where any will do. train: else what is given to the lab's `fit` is taken untrained. seed: of Python's,
    NumPy's and PyTorch's random numbers, before the first line.
    """
    try:
        cells = definitions.cells(path)
        script = _Script(cells, path, is_notebook=path.suffix == ".ipynb")
    except LabError as error:
        return Reran(error=Failed(type(error).__name__, str(error)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nobody reads them
        return _executed(script, data, wanted, train, seed)


def _executed(script: "_Script", data: Path, wanted: str | None, train: bool, seed: int) -> Reran:
    watch, instead, world = Watch(), Instead(), World(data, Path.cwd(), script.path.parent)
    with world.entered(), watch.watching() if train else instead.answering(), warnings.catch_warnings():
        _seeded(seed)
        script.execute()
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    said = Reran(printed=script.said, notes=script.notes, error=script.error)
    try:
        if not train:
            return _from_given(instead.given, script, wanted, said)
        return _from_trained(watch.trained(), script, wanted, _training_images(data), world, said)
    except Exception as error:  # whatever the network's own code raises while it is captured
        return replace(said, error=_failed(error, script.files))


# -- the script -------------------------------------------------------------------------------------------------------


class _Script:
    """The statements of a script or notebook, executed one after the other as `__main__`."""

    def __init__(self, cells: Sequence[definitions.Cell], path: Path, is_notebook: bool) -> None:
        self.path, self.is_notebook = path, is_notebook
        self.module = ModuleType("__main__")
        self.module.__dict__["__file__"] = str(path)
        self.files = {cell.name for cell in cells}
        self.error: Failed | None = None
        self._notes: list[str] = []
        self._missing: list[str] = []  # imports that failed
        self._bodies: list[tuple[definitions.Cell, list[ast.stmt]]] = []
        self._out = _Told(sys.stdout)
        for cell in cells:
            try:
                self._bodies.append((cell, definitions.body(cell)))
            except definitions.DefinitionsError as error:
                if not is_notebook:
                    raise
                self._failed_cell(Failed("SyntaxError", str(error)))
        known = [node for _, body in self._bodies for node in body]
        has_annotations = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in known)
        self._flags = future.annotations.compiler_flag if has_annotations else 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the execution."""
        return tuple(dict.fromkeys(self._notes))[:MOST_NOTES]

    @property
    def said(self) -> str:
        """The last line with an accuracy that was printed."""
        return self._out.accuracy

    def execute(self) -> None:
        """To its end. A notebook goes on behind a cell that fails, as a person would."""
        before = sys.modules["__main__"], sys.argv, list(sys.path), sys.stdout
        sys.modules["__main__"], sys.argv = self.module, [str(self.path)]
        sys.path.insert(0, str(self.path.resolve().parent))
        sys.path.insert(1, os.getcwd())
        sys.stdout = self._out
        try:
            for cell, body in self._bodies:
                if not self._execute(cell, body) and not self.is_notebook:
                    break
        finally:
            sys.modules["__main__"], sys.argv, sys.path[:], sys.stdout = before

    def _execute(self, cell: definitions.Cell, body: list[ast.stmt]) -> bool:
        """One cell, or the file. False where it ends before its last statement."""
        for node in body:
            try:
                changed = ast.fix_missing_locations(OnCpu().visit(node))
                flags = self._flags if not isinstance(node, ast.ImportFrom) or node.module != "__future__" else 0
                code = compile(ast.Module([changed], type_ignores=[]), cell.name, "exec", flags, dont_inherit=True)
                exec(code, self.module.__dict__)  # the student's: this is the inside
            except BaseException as error:  # SystemExit and KeyboardInterrupt, too
                failed = _failed(error, self.files)
                if isinstance(error, ImportError) and isinstance(node, ast.Import | ast.ImportFrom):
                    self._missing.append(failed.message)
                    self._notes.append(_shortened(f"{failed}. It goes on without that."))
                    continue
                self._failed_cell(failed)
                return False
        return True

    def _failed_cell(self, failed: Failed) -> None:
        """The first failure is the one to tell: what follows may come from it. A plain `exit()` is none."""
        if failed.kind == "SystemExit" and failed.message in ("", "0", "None"):
            return
        if self.error is None:
            before = f" (and before: {'; '.join(self._missing)})" if self._missing else ""
            self.error = replace(failed, message=f"{failed.message}{before}")
        self._notes.append(_shortened(str(failed)))


class _Told:
    """The script's stdout: its beginning is passed on, and the last line with an accuracy in it remembered."""

    encoding, errors = "utf-8", "replace"
    _ACCURACY = re.compile(r"(?i)\bacc(uracy)?\b|_acc\b|\bacc\w*[:=]|correct")

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._left, self._line = stream, _PRINTED, ""
        self.accuracy = ""

    def write(self, text: str) -> int:
        text = str(text)
        if self._left > 0:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text[: self._left])
            self._left -= len(text)
        *whole, self._line = (self._line + text)[-(1 << 16) :].replace("\r", "\n").split("\n")
        for line in [*whole, self._line]:
            if len(line) <= MAX_LINE and re.search(r"\d", line) and self._ACCURACY.search(line):
                self.accuracy = _shortened(line.strip())
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _failed(error: BaseException, files: set[str]) -> Failed:
    """What was raised, as data."""
    described = session.described(error)
    message = described["message"]
    if isinstance(error, SystemExit) and _parser_ended(error):
        message = "the script is run without command-line arguments: give each a default, and none required=True"
    return Failed(described["kind"], message, _line_of(error, files))


def _parser_ended(error: BaseException) -> bool:
    return any(frame.name == "parse_args" for frame in traceback.extract_tb(error.__traceback__))


def _line_of(error: BaseException, files: set[str]) -> str:
    """The innermost line of the student's own that raised: "net.py, line 12: `x = self.drop(x)`"."""
    with contextlib.suppress(Exception):
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename in files:
                line = f": `{frame.line.strip()}`" if frame.line else ""
                return _shortened(f"{Path(frame.filename).name}, line {frame.lineno}{line}")
    return ""


def _seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."


# -- the network ------------------------------------------------------------------------------------------------------


def _from_trained(
    found: list[Trained], script: _Script, wanted: str | None, images: int, world: World, said: Reran
) -> Reran:
    """The network that a script trained by itself."""
    if not found:
        error = said.error or Failed("LabError", "no network is trained in it: no gradient came back to an nn.Module.")
        return replace(said, error=error)
    one = _chosen(found, script, wanted)
    fed = how_fed(one)
    said = replace(
        said,
        name=type(one.module).__name__,
        steps=one.steps,
        images_read=one.images,
        test_images_read=world.read["test"],
        epochs_bound=round(one.epochs(images), 2),
        notes=(*said.notes, *_notes_of(one, fed))[:MOST_NOTES],
        error=None,
    )
    try:
        _check_size(one)
        return replace(said, graph=capture(as_judged(one.module, fed)))
    except LabError as error:  # the rest is worth saying, too
        return replace(said, error=Failed(type(error).__name__, str(error)))


def _from_given(given: list[Given], script: _Script, wanted: str | None, said: Reran) -> Reran:
    """The network that a script gave to the lab's `fit`, or that has the wanted name."""
    seen = [Trained(one.module, steps=n) for n, one in reversed(list(enumerate(given, 1)))]  # the last one counts
    module = _called(wanted, script)
    if not seen and module is None:
        error = said.error or Failed("LabError", "no network is given to lab.train.fit in it.")
        return replace(said, error=error)
    chosen = _chosen(seen, script, wanted).module if seen else module
    assert chosen is not None
    recipe = next((one.recipe for one in reversed(given) if one.module is chosen), None)
    return replace(said, graph=capture(chosen), name=type(chosen).__name__, recipe=recipe, error=None)


def _chosen(found: list[Trained], script: _Script, wanted: str | None) -> Trained:
    """The network of the wanted name; else the one that took most steps. Raises LabError where that is not one."""
    value = script.module.__dict__.get(wanted) if wanted else None
    if wanted:
        kind = value if isinstance(value, type) else ()
        theirs = (
            [one for one in found if one.module is value]
            or [one for one in found if type(one.module).__name__ == wanted]
            or [one for one in found if isinstance(one.module, kind)]
        )
        if not theirs and isinstance(value, type) and issubclass(value, nn.Module):
            others = ", ".join(dict.fromkeys(_names_of(one, script) for one in found))
            raise LabError(f"{wanted} is defined in it, and not trained: {others} is. Train {wanted}.")
        found = theirs or found
    if len(found) > 1 and found[0].steps == found[1].steps:
        names = dict.fromkeys(_names_of(one, script) for one in found if one.steps == found[0].steps)
        if len(names) > 1:
            raise LabError(
                f"it trains several networks for {found[0].steps:,} steps each: {', '.join(names)}. "
                f"Call the one that counts {wanted or 'by the name that the assignment asks for'}."
            )
    return found[0] if len(found) == 1 or found[0].steps != found[1].steps else found[-1]


def _called(name: str | None, script: _Script) -> nn.Module | None:
    value = script.module.__dict__.get(name) if name else None
    return value if isinstance(value, nn.Module) else None


def _names_of(one: Trained, script: _Script) -> str:
    """Its variable's name, or its class's."""
    names = (name for name, value in script.module.__dict__.items() if value is one.module)
    return next(names, type(one.module).__name__)


def _notes_of(one: Trained, fed: Fed | None) -> Iterator[str]:
    if fed is None:
        shapes = sorted({tuple(images.shape[1:]) for images in one.fed.values()})
        yield (
            f"what the script does to the pixels is no fixed factor and shift (its network is given {shapes}): "
            "it is tested on pixels as the lab's own networks get them."
        )
    elif not _as_the_labs(fed):
        is_plain = abs(fed.factor - 1) < _SOLID and abs(fed.shift) < _SOLID
        how = "as they are" if is_plain else f"times {fed.factor:.4g} plus {fed.shift:.4g}"
        yield f"its network is given pixels (0..1) {how}: it is tested so, too."


def as_judged(network: nn.Module, fed: Fed | None) -> nn.Module:
    """The network behind what the script does to its images, for images as the lab prepares them (B, 1, 28, 28)."""
    if fed is None or (_as_the_labs(fed) and len(fed.shape) == 3):
        return network
    return _Prepared(network, fed).train(network.training)


def _check_size(one: Trained) -> None:
    """Raise LabError for a network that never saw images of the assignment's size."""
    shapes = {tuple(images.shape[1:]) for images in one.fed.values()}
    if all(math.prod(shape) != math.prod(PIXELS) for shape in shapes):
        shown = " and ".join(map(str, sorted(shapes)))
        raise LabError(
            f"its network is given images {shown}, and is tested on images {(1, *PIXELS)} as they are. Take out what "
            "resizes them, or put it into the network's forward."
        )


def _as_the_labs(fed: Fed) -> bool:
    return abs(fed.factor - 1 / STD) < _SOLID and abs(fed.shift + MEAN / STD) < _SOLID


class _Prepared(nn.Module):
    """A network with its script's own preparation of the images in front: another factor and shift, one flat row."""

    def __init__(self, network: nn.Module, fed: Fed) -> None:
        super().__init__()
        self.network, self.shape = network, fed.shape
        self.is_scaled = not _as_the_labs(fed)
        self.factor, self.shift = STD * fed.factor, MEAN * fed.factor + fed.shift

    def forward(self, x: Tensor) -> Any:
        """(B, 1, 28, 28), normalised by the lab's mean and deviation -> what the network gives."""
        if self.is_scaled:
            x = x * self.factor + self.shift
        if len(self.shape) != 3:
            x = x.reshape(x.shape[0], *self.shape)
        return self.network(x)


def _training_images(data: Path) -> int:
    """How many images there are to train on, as their file says."""
    with (data / RAW / NAMES[1]).open("rb") as file:
        return int.from_bytes(file.read(8)[4:], "big")


# -- the program ------------------------------------------------------------------------------------------------------


def answer(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The answer to a request: what `run` gives, as a message."""
    if header.get("verb") == "ready":
        return {"done": True}, {}
    try:
        torch.set_num_threads(int(header["threads"]))
        asked = {name: header[name] for name in ("wanted", "train", "seed")}
        return message_of(run(Path(header["path"]), Path(header["data"]), **asked))
    except BaseException as error:
        return {"error": session.described(error)}, {}


def message_of(reran: Reran) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A result as a message."""
    graph, tensors = session.graph_message(reran.graph) if reran.graph is not None else ({}, {})
    names = ("name", "steps", "images_read", "test_images_read", "epochs_bound", "printed")
    said = {name: getattr(reran, name) for name in names}
    failed = reran.error and [reran.error.kind, reran.error.message, reran.error.line]
    recipe = wire.Writer().written(reran.recipe)
    return graph | {"said": said, "notes": list(reran.notes), "failed": failed, "recipe": recipe}, tensors


if __name__ == "__main__":
    session.serve(answer)
