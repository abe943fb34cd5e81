"""What a network executes, as data: capture, save, load, rebuild.

`capture(model)` runs the model's `forward` once with symbolic tensors (torch.export) and writes down every operation
that the output depends on. Everything else that describes a network (layer table, parameters, multiply-adds,
receptive field, rules) reads the resulting `Graph`, never the model's source and never its list of modules: a layer
that is declared and not executed is not in the graph.

Shapes leave out the batch, which is free: (1, 28, 28) stands for (B, 1, 28, 28).
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lab import fields
from lab._capture import export, messages, proof, translate
from lab._defaults import require_defaults
from lab._files import FileError, read_regular, write_whole
from lab._json import read_json
from lab._modes import kept_modes
from lab._terminal import printable
from lab.errors import GraphError, first_fault
from lab.fields import Axes
from lab.operations import (
    INPUT,
    MAX_ELEMENTS,
    AnyOperation,
    BatchNorm,
    Conv2d,
    Dropout,
    Name,
    Operation,
    Shape,
    StochasticDepth,
)
from lab.parameters import Count, Stored, count

MAX_OPERATIONS = 2_000
MAX_JSON_BYTES = 4 * 2**20
MAX_UNITS = 2**17
"""Rows and columns of all maps together, each of which has a receptive field."""


@dataclass(frozen=True)
class Budget:
    """What a saved graph may need for one image, found out from its shapes before anything is allocated."""

    weight_bytes: int
    at_once: int  # numbers held at once while it runs
    outputs: int  # numbers in all outputs together, which training keeps
    work: int  # steps, most of them multiply-adds
    runs: bool  # two images are run forwards and backwards, to see that it can be tested and trained


TO_TRAIN = Budget(weight_bytes=2**27, at_once=2**20, outputs=2**22, work=2**29, runs=True)
"""For what is tested in batches of 1,000 (4 GB) and trained in batches of 256 (4 GB): 33 million weights, a thousand
times what the assignment allows, and some 200 times the work of the lab's networks."""
TO_DESCRIBE = Budget(weight_bytes=2**31, at_once=2**28, outputs=2**32, work=2**42, runs=False)
"""For the layer table, which computes nothing: the networks that win ImageNet fit in."""

MAX_IDLE_PART = 100
"""Characters of each of its words that an `Idle` keeps."""


def _harmless_part(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= MAX_IDLE_PART else text[: MAX_IDLE_PART - 1] + "…"


class Idle(BaseModel):
    """A layer that has no effect on the output, and why.

    kind: of an operation that was executed (`batch_norm`), or PyTorch's class of a layer that was not (`BatchNorm2d`).
    name: of the operation, or the module's path. Both are cut where they are long, and harmless in a terminal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Annotated[str, BeforeValidator(_harmless_part)]
    name: Annotated[str, BeforeValidator(_harmless_part)]
    reason: Annotated[str, BeforeValidator(_harmless_part)]

    @property
    def text(self) -> str:
        """One line for a person: "dropout 'drop': executed, its output thrown away"."""
        return f"{self.kind} '{self.name}': {self.reason}"


class Document(BaseModel):
    """`graph.json`: everything about a network but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["lab994/graph"] = "lab994/graph"
    version: Literal[2] = 2
    input_shape: Annotated[Shape, Field(min_length=3, max_length=3)]
    operations: Annotated[tuple[AnyOperation, ...], Field(min_length=1, max_length=MAX_OPERATIONS)]
    tensors: Annotated[dict[Name, Stored], Field(max_length=4 * MAX_OPERATIONS)]
    idle: Annotated[tuple[Idle, ...], Field(max_length=MAX_OPERATIONS)] = ()


@dataclass(frozen=True)
class Graph:
    """A network as data.

    operations: in the order of execution; the last one is the network's output.
    tensors: the parameters and buffers that the operations read, each once.
    weights: the values of those tensors.
    idle: what was declared or executed without any effect on the output.
    """

    input_shape: tuple[int, int, int]
    operations: tuple[Operation, ...]
    tensors: dict[str, Stored]
    weights: dict[str, Tensor] = field(repr=False)
    idle: tuple[Idle, ...] = ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output without the batch: (10,) for ten logits."""
        return self.operations[-1].shape

    @property
    def parameters(self) -> int:
        """Every number that a person or training may choose, shared ones once: `counted().total`."""
        return self.counted().total

    def counted(self) -> Count:
        """The parameters, by where they stand (`lab/parameters.py` says which numbers are some)."""
        return sum(self.counted_by_operation().values(), Count())

    def counted_by_operation(self) -> dict[str, Count]:
        """The parameters that each operation, by name, is the first to use."""
        return count(self.operations, self.tensors, self.input_shape[0])

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape, without the batch, of the input or of an operation's output."""
        return self.input_shape if name == INPUT else self[name].shape

    def __getitem__(self, name: str) -> Operation:
        for op in self.operations:
            if op.name == name:
                return op
        known = ", ".join(op.name for op in self.operations)
        raise GraphError(f"no operation is called {name!r}; there are: {known}")

    def stored_shapes(self, op: Operation) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that an operation reads, by role."""
        names = {role: getattr(op, role) for role in op.tensor_fields}
        return {role: self.tensors[name].shape for role, name in names.items() if name is not None}

    def build(self) -> "GraphNet":
        """A runnable network with a copy of the weights, in training mode: (B, *input_shape) -> (B, *output_shape)."""
        return GraphNet(self)


def redrawn(graph: Graph, seed: int) -> Graph:
    """The same network with first weights drawn from `seed`, as PyTorch draws them for each kind of operation.

    Every stored number is drawn anew, frozen parameters, buffers and running statistics too: nothing that a network
    brings along survives. The tensors come in the order of their first use, which also decides what they are: for
    layers that were made in the order of execution, `torch.manual_seed(seed)` before making them gives the same
    numbers. PyTorch's global random numbers are left alone.
    """
    generator, weights = torch.Generator().manual_seed(seed), {}
    for op in graph.operations:
        shapes = graph.stored_shapes(op)
        for role in shapes:
            if (name := getattr(op, role)) not in weights:
                weights[name] = op.draw(role, shapes, generator)
    return replace(graph, weights={name: weights[name] for name in graph.tensors})


class GraphNet(nn.Module):
    """A `Graph` as an nn.Module. Its parameters and buffers come in the graph's order, under names made for modules.

    A graph may call its tensors `a` and `a.b`, `graph` or `training`: an attribute may not. `snapshot` has the original
    names again.
    """

    def __init__(self, graph: Graph, output: str | None = None) -> None:
        super().__init__()
        self.graph = graph
        self._output = output or graph.operations[-1].name
        self._key = {name: _module_name(name) for name in graph.tensors}
        for name, stored in graph.tensors.items():
            value = graph.weights[name].detach().clone()
            if stored.learnable:
                self.register_parameter(self._key[name], nn.Parameter(value))
            else:
                self.register_buffer(self._key[name], value)
        self._last_reads = _last_reads(graph.operations)

    def snapshot(self) -> Graph:
        """The graph with the weights as they are now."""
        weights = {name: value.detach().clone() for name, value in self.named_tensors().items()}
        return replace(self.graph, weights=weights)

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters and buffers by the names that they have in the graph."""
        return {name: getattr(self, key) for name, key in self._key.items()}

    def forward(self, x: Tensor, until: str | None = None) -> Tensor:
        """(B, *input_shape) -> (B, *output_shape), or the output of the operation called `until`."""
        if until is not None:
            self.graph[until]  # raises where there is none
            return next(value for name, value in self.steps(x) if name == until)
        (output,) = [value for name, value in self.steps(x) if name == self._output]
        return output

    def steps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The output of every operation by name, each when it is executed. What nothing reads any more is let go."""
        tensors, values = self.named_tensors(), {INPUT: x}
        for op in self.graph.operations:
            values[op.name] = op.run([values[name] for name in op.inputs], tensors, self.training)
            yield op.name, values[op.name]
            for name in self._last_reads[op.name]:
                del values[name]


def _module_name(name: str) -> str:
    """A name that no attribute of a module has, without the dots that modules forbid; two names never become one."""
    return "tensor:" + name.replace("%", "%25").replace(".", "%2E")


def _last_reads(operations: Iterable[Operation]) -> dict[str, list[str]]:
    """For each operation the outputs (and the network's input) that nothing reads after it."""
    last_reader = {name: op.name for op in operations for name in op.inputs}
    freed: dict[str, list[str]] = {op.name: [] for op in operations}
    for name, reader in last_reader.items():
        freed[reader].append(name)
    return freed


def axes_of(graph: Graph) -> dict[str, Axes]:
    """What rows and columns of the input and of every operation's output see. Raises GraphError for too many units."""
    _, height, width = graph.input_shape
    if (units := height + width) > MAX_UNITS:
        raise GraphError(f"the image has {units:,} rows and columns, limit {MAX_UNITS:,}")
    axes = {INPUT: fields.image(height, width)}
    shapes = {INPUT: graph.input_shape, **{op.name: op.shape for op in graph.operations}}
    for op in graph.operations:
        try:
            axes[op.name] = op.sees([axes[name] for name in op.inputs], [shapes[name] for name in op.inputs])
        except GraphError as error:
            raise GraphError(f"operation {op.name!r}: {error}") from error
        units += sum(len(axis.clipped) for axis in axes[op.name])
        _within("rows and columns", units, MAX_UNITS, op)
    return axes


def _within(what: str, needed: int, limit: int, op: Operation) -> None:
    if needed > limit:
        raise GraphError(f"operation {op.name!r}: up to here one image takes {needed:,} {what}, limit {limit:,}")


# ---------------------------------------------------------------------------------------------------------------------
# Save and load
# ---------------------------------------------------------------------------------------------------------------------


def save(graph: Graph, folder: Path | str) -> Path:
    """Write `graph.json` and `weights.safetensors` into `folder`, which is made if need be; returns the folder."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GraphError(f"cannot make the folder {folder}: {error.strerror}. Choose another.") from error
    document = document_of(graph)
    try:
        weights = save_tensors({n: w.contiguous() for n, w in graph.weights.items()})
    except SafetensorError as error:
        raise GraphError(f"the weights can't be written as safetensors: {error}") from error
    _write(folder / "weights.safetensors", weights)
    _write(folder / "graph.json", document.model_dump_json(indent=1).encode())
    return folder


def document_of(graph: Graph) -> Document:
    """Everything about a graph but its weights. Raises GraphError where it can't be written down."""
    try:
        return Document(
            input_shape=graph.input_shape, operations=graph.operations, tensors=graph.tensors, idle=graph.idle
        )
    except ValidationError as error:
        raise GraphError(f"the network can't be written down: {first_fault(error)}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except FileError as error:
        raise GraphError(f"{error}. Free some space or choose another folder.") from error


def load(folder: Path | str, budget: Budget = TO_TRAIN) -> Graph:
    """Read a saved graph and check it: sizes, schema, references, shapes, and that every weight is a finite number.

    Raises GraphError for anything that `save` would not have written, and for what needs more than the budget.
    """
    folder = Path(folder)
    document = parse(_read(folder / "graph.json", MAX_JSON_BYTES))
    try:
        weights = load_tensors(_read(folder / "weights.safetensors", budget.weight_bytes))
    except SafetensorError as error:
        raise GraphError(f"{folder / 'weights.safetensors'} is not a safetensors file: {error}") from error
    return assemble(document, weights, budget)


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except FileError as error:  # a pipe or a device could keep us waiting for ever
        raise GraphError(f"cannot read that: {error}") from error
    except OSError as error:
        raise GraphError(f"cannot read {path}: {error.strerror or error}") from error


def parse(content: bytes) -> Document:
    """The JSON text of a graph, checked against the schema. Raises GraphError."""
    try:
        written = read_json(content)
        if isinstance(written, dict) and type(written.get("version")) is int and written["version"] == 1:
            content = json.dumps(_from_version_1(written)).encode()
        return Document.model_validate_json(content)
    except ValidationError as error:
        raise GraphError(f"graph.json does not follow the format: {first_fault(error)}") from error
    except (ValueError, RecursionError) as error:
        raise GraphError(f"graph.json is not readable as JSON: {error}") from error


def _from_version_1(written: dict[str, Any]) -> dict[str, Any]:
    """The same document in version 2, which differs in one thing: `idle` was a list of sentences."""
    sentences = written.get("idle", [])
    if not isinstance(sentences, list) or not all(isinstance(text, str) for text in sentences):
        raise GraphError("graph.json does not follow the format: at idle: version 1 has a list of sentences there")
    idle = []
    for text in sentences:
        kind, _, rest = text.partition(" '")
        name, _, reason = rest.rpartition("': ")
        idle.append({"kind": kind, "name": name, "reason": reason})
    return {**written, "version": 2, "idle": idle}


def assemble(document: Document, weights: dict[str, Tensor], budget: Budget = TO_TRAIN) -> Graph:
    """Put a checked document and its weights together.

    Raises GraphError where the two, or the shapes, disagree, and for what needs more than the budget.
    """
    _check_reads(document.operations)
    used = {name for op in document.operations for name in op.stored()}
    if used != set(document.tensors):
        raise GraphError(f"tensors declared and tensors used differ: {sorted(used ^ set(document.tensors))[:8]}")
    if used != set(weights):
        raise GraphError(f"the weights and the graph name different tensors: {sorted(used ^ set(weights))[:8]}")
    for name, stored in document.tensors.items():
        _check_weight(name, stored, weights[name])
    c, h, w = document.input_shape
    graph = Graph((c, h, w), document.operations, document.tensors, weights, document.idle)
    if math.prod(document.input_shape) > budget.at_once:
        raise GraphError(f"an image has {math.prod(document.input_shape):,} numbers, limit {budget.at_once:,}")
    for batch in (2, 3):  # one size alone could be taken for channels
        _check_shapes(graph, batch)
    _check_needs(graph, budget)
    axes_of(graph)
    if budget.runs:
        _check_that_it_trains(graph)
    return graph


def _check_reads(operations: Sequence[Operation]) -> None:
    """Every input comes from before, and every output but the last is read."""
    known = {INPUT}
    for op in operations:
        if unknown := set(op.inputs) - known:
            raise GraphError(f"operation {op.name!r} reads {sorted(unknown)}, which nothing before it computes")
        if op.arity() not in (None, len(op.inputs)):
            raise GraphError(f"operation {op.name!r} names {len(op.inputs)} inputs and computes with {op.arity()}")
        if op.name in known:
            raise GraphError(f"two operations are called {op.name!r}")
        known.add(op.name)
    read = {name for op in operations for name in op.inputs}
    if unread := [op.name for op in operations[:-1] if op.name not in read]:
        raise GraphError(f"nothing reads what {len(unread)} operations compute: {unread[:8]}")


def _check_weight(name: str, stored: Stored, weight: Tensor) -> None:
    if tuple(weight.shape) != stored.shape or weight.dtype != torch.float32:
        raise GraphError(f"weight {name!r} is {weight.dtype} {tuple(weight.shape)}, declared float32 {stored.shape}")
    if not torch.isfinite(weight).all():
        raise GraphError(f"weight {name!r} holds NaN or infinity: the training diverged; train again, more slowly")


def _check_shapes(graph: Graph, batch: int) -> None:
    """Run the graph on tensors without storage (device "meta") and compare every shape with the declared one."""
    tensors = {name: torch.empty(s.shape, device="meta") for name, s in graph.tensors.items()}
    values = {INPUT: torch.empty(batch, *graph.input_shape, device="meta")}
    for op in graph.operations:
        for role, shape in graph.stored_shapes(op).items():
            if len(shape) != op.ranks.get(role, len(shape)):
                raise GraphError(f"operation {op.name!r}: its {role} has {len(shape)} axes, expected {op.ranks[role]}")
        if math.prod(op.shape) > MAX_ELEMENTS:
            raise GraphError(f"operation {op.name!r} gives {math.prod(op.shape):,} numbers, limit {MAX_ELEMENTS:,}")
        try:
            out = op.run([values[name] for name in op.inputs], tensors, training=True)
        except _FAILURES as error:
            raise GraphError(f"operation {op.name!r} can't be computed: {messages.first_line(error)}") from error
        if tuple(out.shape) != (batch, *op.shape):
            raise GraphError(f"operation {op.name!r} gives {tuple(out.shape[1:])}, declared {op.shape}")
        if isinstance(op, Conv2d) and tuple(tensors[op.weight].shape[2:]) != op.kernel:
            raise GraphError(f"operation {op.name!r} declares a {op.kernel} kernel, its weight has another size")
        values[op.name] = out


_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, MemoryError)
"""What PyTorch raises for arguments that it can't compute with."""


def prepare() -> None:
    """Let PyTorch import now what the first `load` takes (0.7 s): the device "meta" asks for half of its exporter."""
    torch.conv2d(torch.empty(1, 1, 1, 1, device="meta"), torch.empty(1, 1, 1, 1, device="meta"))


def _check_needs(graph: Graph, budget: Budget) -> None:
    """Time and memory for one image, from the shapes alone, before anything is allocated."""
    shapes = {INPUT: graph.input_shape, **{op.name: op.shape for op in graph.operations}}
    freed, work, outputs = _last_reads(graph.operations), 0, 0
    held = math.prod(graph.input_shape)
    for op in graph.operations:
        inputs = [shapes[name] for name in op.inputs]
        work += op.work(graph.stored_shapes(op), inputs)
        outputs += math.prod(op.shape)
        _within("numbers at once", held + op.scratch(inputs) + math.prod(op.shape), budget.at_once, op)
        _within("numbers in all outputs", outputs, budget.outputs, op)
        _within("steps", work, budget.work, op)
        held += math.prod(op.shape) - sum(math.prod(shapes[name]) for name in freed[op.name])


def _check_that_it_trains(graph: Graph) -> None:
    """Two images forwards and backwards, once: the meta device lets pass what a processor refuses (a bias's size)."""
    network, images = graph.build(), torch.zeros(2, *graph.input_shape)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            out = network(images)
            if out.requires_grad:
                out.sum().backward()
            network.eval()(images)
    except _FAILURES as error:
        raise GraphError(f"the network can't be computed or trained: {messages.first_line(error)}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Capture
# ---------------------------------------------------------------------------------------------------------------------


def capture(model: nn.Module, input_shape: Iterable[int] = (1, 28, 28)) -> Graph:
    """Write down what `model` executes on a batch of `input_shape` images, in training mode and in eval mode.

    The two modes must execute the same operations; batch norm and dropout may act differently. The graph is then
    proven: rebuilt, it gives the network's outputs and gradients in both modes (`lab/_capture/proof.py`). The model,
    its buffers and its modes are left as they were, but lazy layers have their sizes afterwards. Raises GraphError,
    with the line of the model's code or the layer, for an operation outside the list, for control flow that depends on
    the data, for a constant tensor, for a fixed batch size, and where the graph computes something else;
    DefaultsError where torch's default dtype or device was changed.
    """
    if type(model) is GraphNet:  # a graph already; a class derived from it could do anything
        return model.snapshot()
    require_defaults()
    c, h, w = input_shape
    model = export.unwrapped(model)
    with kept_modes(model):
        export.materialised(model, (c, h, w))
        training, evaluation = (_trace(model, (c, h, w), mode) for mode in (True, False))
        graph = _captured(model, (c, h, w), training, evaluation)
        whole = _graph((c, h, w), _with_discarded(graph, training, evaluation), training.tensors, ())
        cost = sum(op.multiply_adds(graph.stored_shapes(op)) for op in graph.operations)
        twin = GraphNet(whole, graph.operations[-1].name)
        proof.prove(model, twin, twin.named_tensors(), (c, h, w), cost)
    return graph


def prepare_capture() -> None:
    """Let PyTorch import now what the first `capture` takes (a second)."""
    with torch.random.fork_rng(devices=[]):
        capture(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))


def _trace(model: nn.Module, input_shape: tuple[int, int, int], mode: bool) -> translate.Trace:
    model.train(mode)
    try:
        return translate.translate(export.export(model, input_shape))
    except GraphError as error:
        held = messages.list_of_layers(model) if "constant tensor" in str(error) else ""
        if held:
            raise GraphError(f"{held} ({error})") from error
        raise  # not `from error`: an error that is its own cause is a chain without an end


def _with_discarded(graph: Graph, training: translate.Trace, evaluation: translate.Trace) -> list[Operation]:
    """All that is executed, in order: what is thrown away draws random numbers, too.

    Where the modes throw different things away, only what they keep.
    """
    try:
        return _merge_modes(training.everything, evaluation.everything)
    except GraphError:
        return list(graph.operations)


def _captured(
    model: nn.Module, input_shape: tuple[int, int, int], training: translate.Trace, evaluation: translate.Trace
) -> Graph:
    operations = _merge_modes(training.operations, evaluation.operations)
    return _graph(input_shape, operations, training.tensors, _idle(model, training))


def _graph(
    input_shape: tuple[int, int, int], operations: list[Operation], values: dict[str, Tensor], idle: tuple[Idle, ...]
) -> Graph:
    names = {name: None for op in operations for name in op.stored()}  # a dict keeps the order
    weights = {name: values[name].detach().cpu().clone() for name in names}
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise GraphError(
                f"{name!r} is stored as {weight.dtype}; the lab's graphs hold float32. Convert the network "
                "(model.float()), or give a whole number of its own a point: torch.tensor(2.0)."
            )
    tensors = {
        name: Stored(shape=tuple(weight.shape), learnable=isinstance(values[name], nn.Parameter))
        for name, weight in weights.items()
    }
    return Graph(input_shape, tuple(operations), tensors, weights, idle)


def _merge_modes(training: list[Operation], evaluation: list[Operation]) -> list[Operation]:
    """One list of both modes' operations. In eval mode, stochastic depth is not there: its input is what is read."""
    merged: list[Operation] = []
    waiting, absent = list(evaluation), dict[str, str]()
    for op in training:
        twin = waiting[0] if waiting else None
        if isinstance(op, StochasticDepth) and not isinstance(twin, StochasticDepth):
            absent[op.name] = absent.get(op.inputs[0], op.inputs[0])
            merged.append(op.model_copy(update={"training": "follow"}))
            continue
        if twin is None:
            break
        waiting.pop(0)
        merged.append(_one_for_both(op, twin, absent))
    if len(merged) != len(training) or waiting:
        raise GraphError(
            f"the network executes {len(training)} operations in training and {len(evaluation)} in eval mode. "
            "Let both modes take the same path (no `if self.training`)."
        )
    return merged


def _one_for_both(op: Operation, twin: Operation, absent: dict[str, str]) -> Operation:
    """The operation that is `op` in training and `twin` in eval mode, where those in `absent` are their inputs."""
    changes: dict[str, Any] = {}
    if isinstance(op, BatchNorm | Dropout) and isinstance(twin, BatchNorm | Dropout):
        in_training, in_evaluation = op.training == "always", twin.training == "always"
        changes["training"] = "follow" if in_training and not in_evaluation else op.training
        if in_evaluation and not in_training:
            raise GraphError(f"{_at(op)}: {op.name!r} acts in eval mode and not in training; remove its own mode.")
    inputs = tuple(absent.get(name, name) for name in op.inputs)
    if op.model_copy(update=changes | {"inputs": inputs}) != twin.model_copy(update=changes):
        raise GraphError(
            f"{_at(op)}: in eval mode the network executes something else here ({op.name!r} in training, "
            f"{twin.name!r} in eval mode). Let both modes take the same path; batch norm and dropout already "
            "know the mode."
        )
    return op.model_copy(update=changes)


def _at(op: Operation) -> str:
    return op.line or f"operation {op.name!r}"


def _idle(model: nn.Module, traced: translate.Trace) -> tuple[Idle, ...]:
    """Layers that are declared, or executed, without any effect on the output."""
    discarded = [
        Idle(kind=str(getattr(op, "kind")), name=op.name, reason="executed, its output thrown away")  # noqa: B009
        for op in traced.discarded
    ]
    executed = {op.name.split("#")[0] + "." for op in [*traced.operations, *traced.discarded]}
    declared = [
        Idle(kind=_kind_of(module), name=path, reason="declared, and the output does not depend on it")
        for path, module in ((printable(path), module) for path, module in nn.Module.named_modules(model))
        if path and not list(module.children()) and not isinstance(module, nn.Identity)
        if not any(name.startswith(path + ".") for name in executed)
    ]
    return tuple([*discarded, *declared][:MAX_OPERATIONS])


def _kind_of(module: nn.Module) -> str:
    """The PyTorch class that a layer is or derives from; its own where there is none."""
    classes = (c for c in type(module).__mro__ if c.__module__.startswith("torch.nn.") and c is not nn.Module)
    return next(classes, type(module)).__name__
