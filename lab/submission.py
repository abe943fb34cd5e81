"""What a student hands in: one file, data alone.

    lab.hand_in(MyNet, recipe)              # the notebook's last cell: checks the rules, writes my_net.lab

NAME.lab is a zip archive of six files, nothing of it compressed:

    manifest.json         format, version, rubric, versions, and size and SHA-256 of the other files
    graph.json            what the network executes (`lab.graph`)
    weights.safetensors   its trained weights
    recipe.json           how it was trained; null where nobody says
    results.json          what came out, as the student's side says: shown, and never believed
    cells.json            the notebook's cells as text

The same content gives the same bytes. `schemas/hand_in.schema.json` describes the JSON files, for other programs.
"""

import hashlib
import io
import json
import math
import platform
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from lab._terminal import harmless
from lab.data import load as load_data
from lab.errors import GraphError, LabError, first_fault
from lab.graph import MAX_JSON_BYTES, TO_TRAIN, Graph, assemble, capture, document_of, parse
from lab.opening import accuracy_of
from lab.recipes import changed
from lab.rules import Verdict, judge, load_rubric
from lab.runs import train_graph
from lab.train import Recipe, check_recipe, last_trained

FORMAT, VERSION = "lab994/hand-in", 1
SUFFIX = ".lab"
MAX_BYTES = 2**27 + 2**24
"""Of a hand-in that is read: the weights of the largest network that is judged, and the rest."""
MAX_CELLS_BYTES = 2**20
_PARTS = {  # in their order, and the most bytes of each
    "manifest.json": 2**14,
    "graph.json": MAX_JSON_BYTES,
    "weights.safetensors": TO_TRAIN.weight_bytes,
    "recipe.json": 2**14,
    "results.json": 2**14,
    "cells.json": 2 * MAX_CELLS_BYTES,
}


class HandInError(LabError):
    """A network that can't be handed in, or a file that is no hand-in."""


class Cell(BaseModel):
    """One cell of a notebook, as text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["code", "markdown"]
    source: str
    grade_id: Annotated[str, Field(max_length=100)] = ""  # nbgrader's name of the exercise, where it is known


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """`manifest.json`: what this file is, and what is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["lab994/hand-in"] = "lab994/hand-in"
    version: Literal[1] = 1
    rubric: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$")]
    versions: Annotated[dict[str, Annotated[str, Field(max_length=100)]], Field(max_length=10)]
    files: dict[str, _Part]


_Cells = TypeAdapter(Annotated[tuple[Cell, ...], Field(max_length=5000)])
_Results = TypeAdapter(Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=20)])


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
    """The JSON Schema of the JSON files, but for `graph.json`, which has `lab.graph.Document`'s own."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A hand-in of The 99.4 Lab",
        "type": "object",
        "properties": {
            "manifest.json": Manifest.model_json_schema(),
            "results.json": _Results.json_schema(),
            "cells.json": _Cells.json_schema(),
            "recipe.json": TypeAdapter(Recipe | None).json_schema(),
        },
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
    files = {name: _Part(bytes=len(part), sha256=hashlib.sha256(part).hexdigest()) for name, part in parts.items()}
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
    except GraphError as error:
        raise HandInError(f"{harmless(name)} holds a network that can't be judged: {error}") from error
    except LabError as error:
        raise HandInError(f"{harmless(name)} holds a recipe that is none: {error}") from error


def _parts(content: bytes) -> dict[str, bytes]:
    """The archive's files: exactly those that there must be, as the lab writes them, byte by byte."""
    if not content.startswith(b"PK\x03\x04"):
        raise HandInError("is no hand-in: it is not a zip archive. `lab.hand_in` in the notebook writes one.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            names = [info.filename for info in infos]
            if names != list(_PARTS):
                raise HandInError(f"is no hand-in: it holds {_named(names)}, and not {_named(list(_PARTS))}.")
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                    raise HandInError(f"is not as the lab writes it: {info.filename} is compressed or encrypted.")
                if info.file_size > _PARTS[info.filename]:
                    raise HandInError(
                        f"holds {info.file_size:,} bytes of {info.filename}, limit {_PARTS[info.filename]:,}."
                    )
            parts = {info.filename: file.read(info) for info in infos}
    except HandInError:
        raise
    except Exception as error:  # zipfile raises whatever a broken archive makes it raise
        raise HandInError(f"is broken: {str(error)[:200] or type(error).__name__}. Hand it in again.") from error
    if _zipped(parts) != content:
        raise HandInError("is not as the lab writes it: something was added or changed. Hand it in again.")
    return parts


def _named(names: list[str]) -> str:
    shown = ", ".join(harmless(name)[:40] for name in names[:6])
    return f"{shown}{', ...' if len(names) > 6 else ''}" or "nothing"


def _read(parts: dict[str, bytes]) -> HandIn:
    manifest = _manifest(parts["manifest.json"])
    files = {name: _Part(bytes=len(p), sha256=hashlib.sha256(p).hexdigest()) for name, p in parts.items()}
    del files["manifest.json"]
    if manifest.files != files:
        wrong = sorted(
            name for name in files.keys() | manifest.files.keys() if manifest.files.get(name) != files.get(name)
        )
        raise HandInError(f"was changed after it was written: {_named(wrong)} does not fit its checksum.")
    try:
        weights = load_tensors(parts["weights.safetensors"])
    except SafetensorError as error:
        raise HandInError(f"holds weights that are none: {error}.") from error
    graph = assemble(parse(parts["graph.json"]), weights)
    recipe = _parsed("recipe.json", parts["recipe.json"])
    if recipe is not None and not isinstance(recipe, dict):
        raise HandInError("holds a recipe that is no table.")
    try:
        declared = _Results.validate_json(parts["results.json"])
        cells = _Cells.validate_json(parts["cells.json"])
    except ValidationError as error:
        raise HandInError(f"does not follow the format: {first_fault(error)}") from error
    made = None if recipe is None else changed(Recipe(), recipe)
    return HandIn(graph, made, manifest.rubric, declared, cells, manifest.versions)


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
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise HandInError(f"does not follow the format: {first_fault(error)}") from error


def _parsed(name: str, content: bytes) -> Any:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is given twice")
        return dict(pairs)

    def no_constant(text: str) -> float:
        raise ValueError(f"{text} is no number")

    try:
        return json.loads(content, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise HandInError(f"does not follow the format: {name}: {str(error)[:200]}") from error


# -- in the notebook --------------------------------------------------------------------------------------------------


def hand_in(
    network: nn.Module | Callable[[], nn.Module],
    recipe: Recipe | None = None,
    name: str | None = None,
    folder: str | Path = ".",
    rubric: str = "mnist_994",
) -> Path:
    """Write what is handed in: the trained network, its recipe, and the notebook's cells as text.

    network: the trained network; or its class, and then it is the one of that class that was trained last here. name:
    of the file, without its end. Prints the verdict of each rule that can be judged without the test images; a broken
    rule is told, and does not keep anybody from handing in. Gives the file's path.

    Raises HandInError for a network that was not trained, GraphError for one that can't be captured, TrainingError for
    a recipe that is none.
    """
    model, declared = _trained(network)
    if recipe is not None:
        check_recipe(recipe)
    assignment = load_rubric(rubric)
    graph = capture(model, assignment.input_shape)
    made = HandIn(graph, recipe, rubric, _finite(declared | _measured(model, graph)), _cells(), versions())
    path = write(made, Path(folder) / f"{_file_name(name or type(model).__name__)}{SUFFIX}")
    print("\n".join([*(verdict.line() for verdict in judged(made)), told(made, path)]))
    return path


def judged(made: HandIn) -> list[Verdict]:
    """The verdicts on the rules that need no test image."""
    return [verdict for verdict in judge(load_rubric(made.rubric), made.graph) if verdict.passed is not None]


def of_graph(graph: Graph, recipe: Recipe | None, rubric: str, cells: tuple[Cell, ...]) -> HandIn:
    """A hand-in of a graph; with a recipe it is trained first, and measured on the test images once."""
    declared = {"parameters": float(graph.parameters)}
    if recipe is not None:
        run = train_graph(graph, load_data(load_rubric(rubric).dataset), recipe)
        if run.history.interrupted:
            raise KeyboardInterrupt
        graph = capture(run.model, graph.input_shape)
        declared |= {"epochs": float(len(run.history.epochs)), "accuracy": run.accuracy}
    return HandIn(graph, recipe, rubric, declared, cells, versions())


def cells_of(target: str) -> tuple[Cell, ...]:
    """The text of the file or notebook that a TARGET names; nothing for any other."""
    path = Path(target.partition(":")[0])
    if path.suffix not in (".py", ".ipynb") or not path.is_file():
        return ()
    if path.suffix == ".py":
        return (Cell(kind="code", source=path.read_text(encoding="utf-8-sig", errors="replace")),)
    cells = []
    for cell in json.loads(path.read_text(encoding="utf-8-sig"))["cells"]:
        source = cell.get("source", "")
        known = cell.get("metadata", {}).get("nbgrader", {})
        grade_id = str(known.get("grade_id", ""))[:100] if known.get("solution") else ""
        if cell.get("cell_type") in ("code", "markdown") and not known.get("locked"):
            text = "".join(source) if isinstance(source, list) else str(source)
            text = text.encode("utf-8", "replace").decode()
            cells.append(Cell(kind=cell["cell_type"], source=text, grade_id=grade_id))
    return tuple(cells)


def told(made: HandIn, path: Path) -> str:
    """What was written, for a person."""
    size = f"{path.stat().st_size / 1000:,.0f} kB"
    with_cells = f", the text of {len(made.cells)} cells" if made.cells else ""
    trained = ", its recipe" if made.recipe is not None else ""
    return f"{path}: {size}, your network with its weights{trained}{with_cells}. Hand in this file."


def versions() -> dict[str, str]:
    """Of what it was made with."""
    return {"lab": lab.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _trained(network: Any) -> tuple[nn.Module, dict[str, float]]:
    """The trained network that is meant, and what its training says."""
    if not isinstance(network, nn.Module) and not callable(network):
        raise HandInError(f"hand in a network or its class; this is a {type(network).__name__}.")
    if isinstance(network, nn.Module):
        known = last_trained(type(network))
        return network, dict(known[1]) if known is not None and known[0] is network else {}
    built = network()
    known = last_trained(type(built))
    if known is None or _shapes(known[0]) != _shapes(
        built
    ):  # a function's nn.Sequential is of a class with many others
        called = getattr(network, "__name__", "this network")
        raise HandInError(f"{called} has not been trained here: run the cell that trains it, and then this one again.")
    return known[0], dict(known[1])


def _shapes(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(parameter.shape)) for name, parameter in nn.Module.named_parameters(model)]


def _measured(model: nn.Module, graph: Graph) -> dict[str, float]:
    """What is known beside its training: its parameters, and its accuracy where the test set was opened for it."""
    found = accuracy_of(model)
    return {"parameters": float(graph.parameters)} | ({} if found is None else {"accuracy": found})


def _finite(declared: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in declared.items() if math.isfinite(value)}


def _cells() -> tuple[Cell, ...]:
    """The code that this notebook has executed so far, as text; nothing where there is no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is None:
        return ()
    kept: list[Cell] = []
    left = MAX_CELLS_BYTES
    for source in reversed([text for text in shell.user_ns.get("In", []) if isinstance(text, str) and text.strip()]):
        source = source.encode("utf-8", "replace").decode()
        left -= len(source.encode())
        if left < 0:
            break
        kept.append(Cell(kind="code", source=source))
    return tuple(reversed(kept))


def _file_name(name: str) -> str:
    """MyNet as my_net: a name that any system takes."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"[^a-z0-9_]+", "_", words).strip("_")[:60] or "network"
