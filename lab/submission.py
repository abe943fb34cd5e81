"""What a student hands in: one file, data alone.

    lab.hand_in(MyNet, recipe)              # the notebook's last cell: checks the rules, writes my_net.lab

NAME.lab is a zip archive of six files in this order, none of them compressed:

    manifest.json         format, version, rubric, versions, and size and SHA-256 of the other files
    graph.json            what the network executes (`lab.graph`)
    weights.safetensors   its trained weights
    recipe.json           how it was trained; null where nobody says
    results.json          what came out, as the student's side says: shown, and never believed
    cells.json            the notebook's cells as text

The same content gives the same bytes, whatever wrote them: a compressed archive depends on the system's zlib. Reading
relies on that: a file is a hand-in if the lab would have written it, byte by byte, so that nothing stands before,
behind, between or on top of the six. `schemas/hand_in.schema.json` describes the JSON files, for other programs.
"""

import ast
import hashlib
import io
import json
import math
import os
import platform
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

import lab
from lab._files import FileError, read_regular, write_whole
from lab._json import read_json
from lab._terminal import harmless
from lab.data import load as load_data
from lab.errors import GraphError, LabError, first_fault
from lab.graph import MAX_JSON_BYTES, TO_TRAIN, Document, Graph, assemble, capture, document_of, parse
from lab.opening import accuracy_of
from lab.recipes import changed
from lab.rules import RUBRICS, Rubric, Verdict, judge, load_rubric
from lab.runs import train_graph
from lab.train import History, Recipe, check_recipe, trained_here

FORMAT, VERSION = "lab994/hand-in", 1
SUFFIX = ".lab"
MAX_CELLS_BYTES = 2**20
"""Of the cells' text, as JSON has it."""
MAX_CELLS = 5_000
_PARTS = {  # in their order, and the most bytes of each
    "manifest.json": 2**14,
    "graph.json": MAX_JSON_BYTES,
    "weights.safetensors": TO_TRAIN.weight_bytes + MAX_JSON_BYTES,  # and their names
    "recipe.json": 2**14,
    "results.json": 2**14,
    "cells.json": MAX_CELLS_BYTES,
}
MAX_BYTES = sum(_PARTS.values()) + 2**12
"""Of a hand-in that is read: its parts, and what the archive adds."""
_MEMBER = struct.Struct("<4s5H3I2H")
"""What stands before each file of a zip archive: its mark, version, flags, method, time, date, sum, packed size, size,
length of the name, length of what is extra."""
_MARK = b"PK\x03\x04"
_MAX_DIGITS = 18
"""Of a whole number in a hand-in's JSON."""


class HandInError(LabError):
    """A network that can't be handed in, or a file that is no hand-in."""


class Cell(BaseModel):
    """One cell of a notebook, as text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["code", "markdown"]
    source: str
    grade_id: Annotated[str, Field(max_length=100)] = ""  # nbgrader's name of the exercise, where it is known


class Part(BaseModel):
    """What the manifest says of another file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


_Word = Annotated[str, Field(pattern="^[a-z_]{1,40}$")]


class Manifest(BaseModel):
    """`manifest.json`: what this file is, and what is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["lab994/hand-in"] = "lab994/hand-in"
    version: Literal[1] = 1
    rubric: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$")]
    versions: Annotated[dict[_Word, Annotated[str, Field(max_length=100)]], Field(max_length=10)]
    files: dict[str, Part]


_Manifest = TypeAdapter(Manifest)
_Cells = TypeAdapter(Annotated[tuple[Cell, ...], Field(max_length=MAX_CELLS)])
_Results = TypeAdapter(
    Annotated[dict[_Word, Annotated[float, Field(strict=True, allow_inf_nan=False)]], Field(max_length=20)]
)


@dataclass(frozen=True)
class HandIn:
    """A hand-in's content."""

    graph: Graph  # with its trained weights
    recipe: Recipe | None
    rubric: str  # the name of the lab's rubric
    declared: dict[str, float]  # what the student's side says came out
    cells: tuple[Cell, ...]
    versions: dict[str, str]  # of lab, torch and Python

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(packed(self)).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema of the archive's JSON files, as one object by file name."""
    kinds: dict[str, TypeAdapter[Any]] = {
        "manifest.json": _Manifest,
        "graph.json": TypeAdapter(Document),
        "recipe.json": TypeAdapter(Recipe | None),
        "results.json": _Results,
        "cells.json": _Cells,
    }
    mode: Literal["serialization"] = "serialization"
    by_name, shared = TypeAdapter.json_schemas([(name, mode, kind) for name, kind in kinds.items()])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A hand-in of The 99.4 Lab",
        "description": "The JSON files in NAME.lab, by name; weights.safetensors is the sixth.",
        "type": "object",
        "required": list(kinds),
        "properties": {name: by_name[name, mode] for name in kinds},
        "$defs": shared.get("$defs", {}),
    }


# -- writing ----------------------------------------------------------------------------------------------------------


def write(hand_in: HandIn, path: Path | str) -> Path:
    """Write it whole or not at all; gives the path. Raises HandInError."""
    path = Path(path)
    try:
        write_whole(path, packed(hand_in))
    except FileError as error:
        raise HandInError(f"{error}. Free some space, or choose another folder.") from error
    return path


def packed(hand_in: HandIn) -> bytes:
    """The file's bytes: the same for the same content. Raises HandInError for what is larger than it may be."""
    weights = {name: tensor.contiguous() for name, tensor in sorted(hand_in.graph.weights.items())}
    parts = {
        "graph.json": document_of(hand_in.graph).model_dump_json().encode(),
        "weights.safetensors": save_tensors(weights),
        "recipe.json": _json(None if hand_in.recipe is None else asdict(hand_in.recipe)),
        "results.json": _json(hand_in.declared),
        "cells.json": _json([cell.model_dump() for cell in hand_in.cells]),
    }
    files = {name: _part(part) for name, part in parts.items()}
    try:
        manifest = Manifest(rubric=hand_in.rubric, versions=dict(sorted(hand_in.versions.items())), files=files)
    except ValidationError as error:
        raise HandInError(f"this can't be handed in: {first_fault(error)}") from error
    parts = {"manifest.json": manifest.model_dump_json(indent=1).encode(), **parts}
    for name, part in parts.items():
        if len(part) > _PARTS[name]:
            raise HandInError(f"{name} would have {len(part):,} bytes; at most {_PARTS[name]:,} can be handed in.")
    return _zipped(parts)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _zipped(parts: dict[str, bytes]) -> bytes:
    """An archive in which nothing is left to chance: order, dates, permissions, and no compression."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, part in parts.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.create_version, info.extract_version = 3, 20, 20
            info.external_attr = 0o644 << 16
            file.writestr(info, part)
    return archive.getvalue()


# -- reading: the file comes from anybody -----------------------------------------------------------------------------


def read(path: Path | str) -> HandIn:
    """The hand-in in a file, checked from its first byte to its last. Raises HandInError, which says what is wrong."""
    try:
        content = read_regular(path, MAX_BYTES)
    except (OSError, FileError) as error:
        raise HandInError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    return unpacked(content, str(path))


def unpacked(content: bytes, name: str) -> HandIn:
    """The same for a file's bytes; name: what to call it."""
    try:
        return _read(_parts(content))
    except HandInError as error:
        raise HandInError(f"{harmless(name)} {error}") from error


def _parts(content: bytes) -> dict[str, bytes]:
    """The archive's files, read from its first byte to its last and nowhere else. Raises HandInError."""
    if not content:
        raise HandInError("is empty. Hand it in again.")
    if not content.startswith(_MARK[: len(content)]):
        raise HandInError("is no hand-in: it is not a zip archive. `lab.hand_in` in the notebook writes one.")
    parts: dict[str, bytes] = {}
    at = 0
    for name in _PARTS:
        parts[name], at = _member(content, at, name)
        if name == "manifest.json":  # a newer format may hold other files
            manifest = _manifest(parts[name])
    _check_sums(manifest, parts)
    written = _zipped(parts)
    if written != content:
        if written.startswith(content):
            raise HandInError(_CUT_SHORT)
        raise HandInError("is not as the lab writes it: something was added or changed. Hand in the file itself.")
    return parts


_CUT_SHORT = "is cut short: its end is missing. Hand it in again."


def _member(content: bytes, at: int, name: str) -> tuple[bytes, int]:
    """The file that begins at this byte, which must be the one called `name`, and where the next begins."""
    start = at + _MEMBER.size
    if len(content) < start:
        raise HandInError(_CUT_SHORT)
    mark, _, flags, method, _, _, _, packed_size, size, name_length, extra = _MEMBER.unpack_from(content, at)
    found = content[start : start + name_length]
    if mark != _MARK or found != name.encode():
        if name.encode().startswith(found) and start + name_length > len(content):
            raise HandInError(_CUT_SHORT)
        inside = f"{_shown(found)} stands in it" if mark == _MARK else "there is nothing"
        unpack = " Unpack it, and hand in that file." if found.endswith(SUFFIX.encode()) else ""
        raise HandInError(f"is no hand-in of this lab: {inside} where {name} is expected.{unpack}")
    if method or flags or extra or packed_size != size:
        raise HandInError(f"is not as the lab writes it: {name} is compressed or encrypted. Hand in the file itself.")
    if size > _PARTS[name]:
        raise HandInError(f"holds {size:,} bytes of {name}, limit {_PARTS[name]:,}.")
    start += name_length
    if len(content) < start + size:
        raise HandInError(_CUT_SHORT)
    return content[start : start + size], start + size


def _shown(name: bytes) -> str:
    return harmless(name[:60].decode("utf-8", "replace")) or "nothing"


def _check_sums(manifest: Manifest, parts: dict[str, bytes]) -> None:
    names = [name for name in _PARTS if name != "manifest.json"]
    if sorted(manifest.files) != sorted(names):
        raise HandInError("does not follow the format: its manifest names other files than there are.")
    if wrong := [name for name in names if manifest.files[name] != _part(parts[name])]:
        raise HandInError(
            f"was damaged or changed after it was written: {', '.join(wrong)} does not fit its checksum. "
            "Hand in the file as the lab wrote it, or write it again."
        )


def _part(content: bytes) -> Part:
    return Part(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _read(parts: dict[str, bytes]) -> HandIn:
    manifest = _manifest(parts["manifest.json"])
    rubric = _rubric(manifest.rubric)
    declared = _checked("results.json", parts["results.json"], _Results)
    cells = _checked("cells.json", parts["cells.json"], _Cells)
    recipe = _recipe(parts["recipe.json"])
    try:
        weights = load_tensors(parts["weights.safetensors"])
    except (
        SafetensorError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # a kind of number unknown to torch
        raise HandInError(f"holds weights that are none: {harmless(str(error))[:200]}.") from error
    try:
        graph = assemble(parse(parts["graph.json"]), weights)
    except GraphError as error:
        raise HandInError(f"holds a network that can't be judged: {error}") from error
    if graph.input_shape != rubric.input_shape:
        wanted = f"the assignment's are {_sides(rubric.input_shape)}"
        raise HandInError(f"holds a network for images of {_sides(graph.input_shape)}; {wanted}.")
    return HandIn(graph, recipe, manifest.rubric, declared, cells, manifest.versions)


def _rubric(name: str) -> Rubric:
    """One of the lab's own. Raises HandInError."""
    known = sorted(path.stem for path in RUBRICS.glob("*.toml"))
    if name not in known:
        raise HandInError(f"is for the assignment {name!r}, which this lab has not; it has {', '.join(known)}.")
    return load_rubric(name)


def _recipe(content: bytes) -> Recipe | None:
    given = _parsed("recipe.json", content)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise HandInError("does not follow the format: recipe.json is no table.")
    try:
        return changed(Recipe(), given)
    except LabError as error:
        raise HandInError(f"holds a recipe that is none: {harmless(str(error))[:500]}") from error


def _manifest(content: bytes) -> Manifest:
    given = _parsed("manifest.json", content)
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise HandInError("is a hand-in of another lab, or none at all.")
    version = given.get("version")
    if type(version) is int and version > VERSION:
        raise HandInError(
            f"was written by a newer lab (format {version}; this one reads {VERSION}). Update the lab: "
            "pip install --upgrade lab994."
        )
    manifest: Manifest = _checked("manifest.json", content, _Manifest)
    return manifest


def _checked(name: str, content: bytes, kind: TypeAdapter[Any]) -> Any:
    """A JSON file as its schema has it. Raises HandInError."""
    _parsed(name, content)
    try:
        return kind.validate_json(content)
    except ValidationError as error:
        raise HandInError(f"does not follow the format: {name}, {harmless(first_fault(error))[:500]}.") from error


def _parsed(name: str, content: bytes) -> Any:
    """JSON without what readers disagree about: keys given twice, NaN, numbers beyond what a machine has."""
    try:
        return read_json(content, _MAX_DIGITS)
    except (ValueError, RecursionError) as error:
        raise HandInError(f"does not follow the format: {name}: {harmless(str(error))[:200]}.") from error


def _sides(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


# -- in the notebook --------------------------------------------------------------------------------------------------


def hand_in(
    network: nn.Module | Callable[[], nn.Module],
    recipe: Recipe | None = None,
    name: str | None = None,
    folder: str | Path = ".",
    rubric: str = "mnist_994",
) -> None:
    """Write what is handed in: the trained network, its recipe, and the notebook's cells as text.

    network: the trained network; or its class, or what builds it, and then it is the one of that kind that was trained
    last here. recipe: what it was trained with if you do not say. name: of the file, without its end.

    Prints the verdict of each rule that can be judged without the test images, and where the file is; a broken rule is
    told, and does not keep anybody from handing in.

    Raises HandInError for a network that was not trained and a file that can't be written, GraphError for a network
    that can't be captured, TrainingError for a recipe that is none.
    """
    if recipe is not None:
        check_recipe(recipe)
    assignment = _rubric(rubric)
    model, history = _trained(network, assignment.input_shape)
    graph = capture(model, assignment.input_shape)
    recipe = recipe or (history.recipe if history is not None else None)
    made = HandIn(graph, recipe, rubric, _declared(model, graph, history), _cells_here(), versions())
    path = write(made, Path(folder) / f"{_file_name(name or type(model).__name__)}{SUFFIX}")
    print("\n".join([*(verdict.line() for verdict in judged(made)), *_doubts(recipe, history), told(made, path)]))


def judged(made: HandIn) -> list[Verdict]:
    """The verdicts on the rules that need no test image."""
    epochs = made.recipe.epochs if made.recipe is not None else None
    verdicts = judge(load_rubric(made.rubric), made.graph, epochs)
    return [verdict for verdict in verdicts if verdict.passed is not None]


def told(made: HandIn, path: Path) -> str:
    """What was written, for a person, and what comes next."""
    size = f"{math.ceil(path.stat().st_size / 1000):,} kB"
    recipe = ", its recipe" if made.recipe is not None else ""
    cells = f", the text of {len(made.cells)} cells" if made.cells else ""
    return f"{path}: {size}, your network with its weights{recipe}{cells}. Hand in this file."


def versions() -> dict[str, str]:
    """Of what it was made with."""
    return {"lab": lab.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _trained(network: Any, input_shape: tuple[int, int, int]) -> tuple[nn.Module, History | None]:
    """The trained network that is meant, and its history where the lab has trained it. Raises HandInError."""
    known = trained_here()
    if isinstance(network, nn.Module):
        return network, next((history for model, history in known if model is network), None)
    if not callable(network):
        inner = isinstance(getattr(network, "model", None), nn.Module)
        hint = " It has a network: hand in its `.model`." if inner else ""
        raise HandInError(f"hand in a network or its class; this is a {type(network).__name__}.{hint}")
    for model, history in known:
        if type(model) is network:
            return model, history
    found = _same_made(network, input_shape, known)
    if found is None:
        called = getattr(network, "__name__", "this network")
        raise HandInError(
            f"{called} has not been trained here, as it is now: run the cell that trains it (lab.train.fit, or a log's "
            "train), and then this one again."
        )
    return found


def _same_made(
    network: Callable[[], Any], input_shape: tuple[int, int, int], known: Sequence[tuple[nn.Module, History]]
) -> tuple[nn.Module, History] | None:
    """Of the networks that were trained the last that is what `network()` makes, but for its weights.

    That is how a function's network is found, and one whose class was defined once more after the training.
    """
    called = getattr(network, "__name__", "this network")
    try:
        with torch.random.fork_rng():
            built = network()
    except Exception as error:  # whatever a person's code raises
        raise HandInError(
            f"{called}() fails ({type(error).__name__}: {str(error)[:200]}): hand in the trained network itself."
        ) from error
    if not isinstance(built, nn.Module):
        raise HandInError(
            f"{called}() gives {type(built).__name__}, and no network: hand in the trained network itself."
        )
    layout = _layout(built)
    likely = [(model, history) for model, history in known if _layout(model) == layout]
    if not likely:
        return None
    operations = capture(built, input_shape).operations
    return next((one for one in likely if capture(one[0], input_shape).operations == operations), None)


def _layout(model: nn.Module) -> tuple[str, list[tuple[str, tuple[int, ...]]]]:
    """The name of its class, and its parameters' names and shapes: what is quick to compare."""
    return type(model).__name__, [(name, tuple(one.shape)) for name, one in nn.Module.named_parameters(model)]


def _declared(model: nn.Module, graph: Graph, history: History | None) -> dict[str, float]:
    """What came out here: of its training, and on the test images where they were opened for it."""
    declared = {"parameters": float(graph.parameters)}
    if history is not None:
        declared |= {"epochs": float(len(history.epochs)), "seconds": history.seconds}
        if (held_out := history.epochs[-1].validation_accuracy) is not None:
            declared["validation_accuracy"] = held_out
    if (found := accuracy_of(model)) is not None:
        declared["accuracy"] = found
    return {name: value for name, value in declared.items() if math.isfinite(value)}


def _doubts(recipe: Recipe | None, history: History | None) -> list[str]:
    """What a person should know before it is handed in."""
    if history is None:
        return ["(the lab has not trained this network here: its weights are handed in as they are)"]
    if history.interrupted:
        return [f"(its training was interrupted after {len(history.epochs)} of {history.recipe.epochs} epochs)"]
    if recipe is not None and replace(recipe, seed=history.recipe.seed) != history.recipe:
        return ["(it was trained with another recipe than this one; whoever grades it trains it with this one)"]
    return []


def _file_name(name: str) -> str:
    """MyNet as my_net: a name that any system takes."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"[^a-z0-9_]+", "_", words).strip("_")[:60] or "network"


# -- from the command line --------------------------------------------------------------------------------------------


def of_graph(graph: Graph, recipe: Recipe | None, rubric: str, cells: tuple[Cell, ...]) -> HandIn:
    """A hand-in of a graph with the weights that it has."""
    return HandIn(graph, recipe, rubric, {"parameters": float(graph.parameters)}, cells, versions())


def of_training(graph: Graph, recipe: Recipe, rubric: str, cells: tuple[Cell, ...]) -> HandIn:
    """The same of a graph that is trained first, and then measured on the test images once.

    Raises KeyboardInterrupt where the training is interrupted.
    """
    run = train_graph(graph, load_data(_rubric(rubric).dataset), recipe)
    if run.history.interrupted:
        raise KeyboardInterrupt
    made = of_graph(capture(run.model, graph.input_shape), recipe, rubric, cells)
    declared = _declared(run.model, made.graph, run.history) | {"accuracy": run.accuracy}
    return replace(made, declared=declared)


def require_place(path: Path, rubric: str) -> None:
    """Raise HandInError now, and not after a training, for what can't be written there or is no assignment."""
    _rubric(rubric)
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        why = "it is a folder" if path.is_dir() else f"you may not write in {path.parent}, or there is no such folder"
        raise HandInError(f"{path} can't be written: {why}. Choose another with --out.")


# -- the cells as text ------------------------------------------------------------------------------------------------


def cells_of(target: str) -> tuple[Cell, ...]:
    """The text of the file or notebook that a TARGET names; nothing for any other."""
    path = next((path for path in (Path(target), Path(target.rpartition(":")[0])) if os.path.isfile(path)), None)
    if path is None or path.suffix not in (".py", ".ipynb"):
        return ()
    try:
        text = read_regular(path, 2**26).decode("utf-8-sig", "replace")
    except (OSError, FileError) as error:
        raise HandInError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    return bounded(_cells_in(text) if path.suffix == ".ipynb" else [_cell("code", text)])


def bounded(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """As many of them as a hand-in takes; the longest are left out first: no answer is as long as an image."""
    sizes = [len(_json(cell.model_dump())) + 2 for cell in cells]
    kept, left = set[int](), MAX_CELLS_BYTES - 2
    for place in sorted(range(len(cells)), key=sizes.__getitem__)[:MAX_CELLS]:
        left -= sizes[place]
        if left < 0:
            break
        kept.add(place)
    return tuple(cell for place, cell in enumerate(cells) if place in kept)


def _cells_in(notebook: str) -> list[Cell]:
    """The cells of a notebook's text, but for what is empty, and for checks, which are the lab's own."""
    try:
        found = json.loads(notebook)["cells"]
        cells = [cell for cell in found if cell["cell_type"] in ("code", "markdown")]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HandInError(f"this is no notebook with cells: {str(error)[:200]}.") from error
    kept = []
    for cell in cells:
        source = cell.get("source", "")
        source = "".join(line for line in source if isinstance(line, str)) if isinstance(source, list) else source
        metadata = cell.get("metadata")
        known = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        known = known if isinstance(known, dict) else {}
        if isinstance(source, str) and source.strip() and (known.get("solution") or not known.get("grade")):
            kept.append(_cell(cell["cell_type"], source, known.get("grade_id") if known.get("solution") else ""))
    return kept


def _cell(kind: Literal["code", "markdown"], source: str, grade_id: Any = "") -> Cell:
    source, name = (_mended(text) if isinstance(text, str) else "" for text in (source, grade_id))
    return Cell(kind=kind, source=source, grade_id=name[:100])


def _mended(text: str) -> str:
    """Without lone surrogates, which UTF-8 has not."""
    return text.encode("utf-8", "replace").decode()


def _cells_here() -> tuple[Cell, ...]:
    """The cells of the notebook that runs; nothing where none does.

    Where its file is known they are the file's, each as it was executed last: it may not have been saved since. Else
    they are what was executed.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is None:
        return ()
    executed = [text for text in shell.history_manager.input_hist_raw if isinstance(text, str) and text.strip()]
    saved = _saved_cells(shell.user_ns)
    current = executed[-1].strip() if executed else ""
    if not any(cell.source.strip() == current for cell in saved):  # another notebook's file, which started this one
        return bounded([_cell("code", text) for text in executed])
    return bounded(_as_executed(saved, executed))


def _saved_cells(names: dict[str, Any]) -> list[Cell]:
    """The cells of this notebook's file, where VS Code or Jupyter say which it is."""
    told = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    if not (isinstance(told, str) and told.endswith(".ipynb") and os.path.isfile(told)):
        return []
    try:
        return _cells_in(read_regular(told, 2**26).decode("utf-8-sig", "replace"))
    except (OSError, FileError, HandInError):  # what was executed is known all the same
        return []


def _as_executed(saved: Sequence[Cell], executed: Sequence[str]) -> list[Cell]:
    """The saved cells, each with the text that was last executed of what it defines, by another or this same text."""
    own = {cell.source.strip() for cell in saved}
    defined = [(text, _defined(text)) for text in executed]
    cells = []
    for cell in saved:
        names = _defined(cell.source) if cell.kind == "code" else frozenset()
        texts = [text for text, made in defined if names and names <= made and text.strip() not in own]
        same = [text for text in executed if text.strip() == cell.source.strip() or text in texts]
        cells.append(cell.model_copy(update={"source": _mended(same[-1])}) if same else cell)
    return cells


def _defined(source: str) -> frozenset[str]:
    """The functions, classes and variables that a cell defines at its top."""
    try:
        nodes = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a magic, a slip
        return frozenset()
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assigned = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    assigned += [node.target for node in nodes if isinstance(node, ast.AnnAssign)]
    return frozenset(
        [*names, *(one.id for target in assigned for one in ast.walk(target) if isinstance(one, ast.Name))]
    )
