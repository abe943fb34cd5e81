"""From a running network to operations: torch.export's node list, translated.

Only `lab/graph.py` uses this. A node that the lab's list does not hold becomes an error, with the student's own line,
as soon as something that reaches the output needs its value.
"""

import logging
import os
import re
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.fx import Node

from lab.errors import GraphError
from lab.operations import ALLOWED, INPUT, KINDS, VIEWS, Built, Operation, Refused, changes_nothing, is_parted


@dataclass
class Trace:
    """One mode's translation: the operations that the output depends on, the tensors, what was thrown away."""

    operations: list[Operation]
    tensors: dict[str, Tensor]
    discarded: list[Operation]


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> Trace:
    """Export `model` in the mode it is in and translate what it executes. Raises GraphError."""
    example = torch.zeros(3, *input_shape)  # three: a batch of one or two could be taken for a special case
    device = next((t.device for t in nn.Module.parameters(model)), example.device)  # whatever the class overrides
    batch = torch.export.Dim("batch")
    try:
        with warnings.catch_warnings(), _quiet("torch._subclasses.fake_tensor"):
            warnings.simplefilter("ignore")  # about the export's own ways; what matters is an error
            program = torch.export.export(model, (example.to(device),), dynamic_shapes=({0: batch},), strict=False)
    except NotImplementedError as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_LIBRARIES):
            raise GraphError(_explain(error, input_shape)) from error
        raise  # an exercise that is not done yet: not a wrong one
    except Exception as error:  # whatever the student's forward raises has to become a message
        raise GraphError(_explain(error, input_shape)) from error
    return _Translation(program).run()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without a logger's tracebacks: what it says is in the error, too."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# The operations that pass their input on unchanged.
_SAME = {"contiguous", "clone", "detach", "alias", "lift_fresh_copy"}
_VIEWS = {*VIEWS, "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "slice", "narrow", "select",
          "getitem", "expand", "expand_as", "broadcast_to"}  # fmt: skip
_CONSTANT_MAKERS = {"ones", "zeros", "full", "tensor", "arange", "linspace", "eye", "rand", "randn", "empty",
                    "ones_like", "zeros_like", "full_like", "rand_like", "randn_like", "scalar_tensor",
                    "lift_fresh_copy"}  # fmt: skip
_INSTEAD = {
    "matmul": "nn.Linear",
    "mm": "nn.Linear",
    "addmm": "nn.Linear",
    "bmm": "nn.Linear",
    "einsum": "nn.Linear or nn.Conv2d",
    "sum": "x.mean(...)",
    "amax": "F.adaptive_max_pool2d(x, 1)",
    "max": "F.adaptive_max_pool2d(x, 1)",
    "clamp": "F.hardtanh",
    "clamp_min": "F.relu",
    "maximum": "F.relu",
    "exp": "F.softmax or an activation",
    "pow": "x * x",
    "instance_norm": "nn.GroupNorm(channels, channels)",
    "_to_copy": "one dtype throughout: float32",
    "to": "one dtype throughout: float32",
    "conv1d": "nn.Conv2d",
    "conv_transpose2d": "F.interpolate and nn.Conv2d",
}


class _Translation:
    """Turns the node list of an exported program into operations."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.program = program
        signature = program.graph_signature
        self.stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.constants = set(signature.inputs_to_lifted_tensor_constants)
        values = {**program.state_dict, **program.constants}
        self.tensors, self.first_name = self._share(values)
        self.value: dict[str, str] = {}  # fx node -> name of the operation whose output it is now
        self.views: dict[str, set[str]] = {}  # fx node -> fx nodes that are views of the same numbers
        self.failed: dict[str, GraphError] = {}  # fx node -> why its value can't be written down
        self.operations: dict[str, Operation] = {}
        self.batch = ""  # the symbol that stands for the batch size

    @staticmethod
    def _share(values: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors by name, one name for each: a weight that two layers share keeps the first one's."""
        tensors: dict[str, Tensor] = {}
        first: dict[str, str] = {}
        by_storage: dict[tuple[Any, ...], str] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                key = (value.data_ptr(), tuple(value.shape), value.stride()) if value.data_ptr() else (name,)
                first[name] = by_storage.setdefault(key, name)
                tensors.setdefault(first[name], value)
        return tensors, first

    def run(self) -> Trace:
        """Translate every node; a node that can't be translated is an error only if something needs its value.

        Whoever reads a tensor after an in-place operation on it reads that operation: the export says so itself.
        """
        nodes = list(self.program.graph.nodes)
        (user_input,) = self.program.graph_signature.user_inputs
        self.batch = next(str(node.meta["val"].shape[0]) for node in nodes if node.name == user_input)
        self.value[str(user_input)] = INPUT
        for node in nodes:
            if node.op == "call_function":
                try:
                    self._translate(node)
                except GraphError as error:
                    self.failed[node.name] = error
        kept = _upstream(self.operations, self._output(nodes[-1]))
        if not kept:
            raise GraphError("the network returns its input unchanged: it executes nothing.")
        names = {op.name for op in kept}
        return Trace(kept, self.tensors, [op for op in self.operations.values() if op.name not in names])

    def _output(self, node: Node) -> str:
        """Name of the operation that gives the network's one output."""
        returned, specs = cast(tuple[Any, ...], node.args[0]), self.program.graph_signature.output_specs
        outputs = [arg for arg, spec in zip(returned, specs, strict=True) if spec.kind.name == "USER_OUTPUT"]
        if len(outputs) != 1:
            raise GraphError(f"the network returns {len(outputs)} values; it must return one tensor, the logits.")
        return self._input(outputs[0], node)

    # -- one node ------------------------------------------------------------------------------------------------------

    def _translate(self, node: Node) -> None:
        target = _target(node)
        if not isinstance(node.meta.get("val"), Tensor | tuple | list):
            self.failed[node.name] = GraphError(  # matters only where a number, not a shape, is made of it
                f"{_where(node)}: forward computes with a number that it takes from a tensor or from its shape "
                "(.item(), float(...), x.size(0)). Keep to operations on whole maps."
            )
            return
        in_place = _in_place(node)
        kind = target.rstrip("_") if in_place else target
        source = _tensor_arg(node)
        if in_place:
            self._check_in_place(node, source)
        if is_parted(node):  # each `getitem` of it is a slice of its input
            self._views_join(node, source)
            return
        first = kind == "getitem" and node.args[1] == 0 and not is_parted(source)
        if first or kind in _SAME or changes_nothing(node):  # pooling with indices gives (values, indices)
            self.value[node.name] = self._input(source, node)
            if kind != "clone":
                self._views_join(node, source)
            return
        op = self._operation(node, kind)
        self.operations[op.name] = op
        self.value[node.name] = op.name
        if kind in _VIEWS:
            self._views_join(node, source)

    def _views_join(self, node: Node, source: Node) -> None:
        self.views[node.name] = self.views.setdefault(source.name, {source.name})
        self.views[node.name].add(node.name)

    def _check_in_place(self, node: Node, source: Node) -> None:
        """An in-place operation on a tensor that has other views would change them behind the graph's back."""
        if source.name in self.stored:
            name = self.stored[source.name]
            raise GraphError(f"{_where(node)}: forward changes the stored tensor {name!r} in place.")
        if len(self.views.get(source.name, ())) > 1:
            raise GraphError(f"{_where(node)}: an in-place operation on a reshaped tensor; drop `inplace=True`.")

    def _input(self, arg: Any, node: Node) -> str:
        """Name of the operation whose output `arg` is."""
        if not isinstance(arg, Node):
            raise GraphError(f"{_where(node)}: {_target(node)} is called on {arg!r}, which is not a tensor of the net.")
        if arg.name in self.failed:
            raise self.failed[arg.name]
        if arg.name in self.constants:
            raise GraphError(
                f"{_where(node)}: forward uses a constant tensor. Numbers a network stores belong to it: make it an "
                "nn.Parameter or register_buffer it (they are counted), or use a layer."
            )
        if arg.name in self.stored:
            raise GraphError(
                f"{_where(node)}: {_target(node)} computes with the stored tensor {self.stored[arg.name]!r} instead of "
                "the image. Use the tensor directly as a layer's weight, or in `x * t` and `x + t`."
            )
        return self.value[arg.name]

    def _only_input(self, node: Node) -> str:
        return self._input(_tensor_arg(node), node)

    def _tensor(self, arg: Any, node: Node) -> str | None:
        """Name of the parameter or buffer that `arg` is; None for None."""
        if arg is None:
            return None
        if isinstance(arg, Node) and arg.name in self.stored and arg.name not in self.failed:
            return self.first_name[self.stored[arg.name]]
        if isinstance(arg, Node) and (arg.name in self.constants or arg.name in self.failed):
            self._input(arg, node)  # raises, and says why
        raise GraphError(
            f"{_where(node)}: the weight of this {_target(node)} is computed inside forward. "
            "Use an nn.Parameter, or a layer that owns its weight."
        )

    def _outside(self, node: Node, what: str) -> str:
        if what in _CONSTANT_MAKERS:
            return (
                f"{_where(node)}: forward makes a constant tensor ({what}). Numbers a network stores belong to it: "
                "make it an nn.Parameter or register_buffer it (they are counted), or use a layer."
            )
        instead = _INSTEAD.get(what)
        advice = f"Use {instead} instead." if instead else f"Use one of: {ALLOWED}."
        return f"{_where(node)}: the operation {what!r} is outside the lab's list. {advice}"

    def _name(self, node: Node, label: str) -> str:
        """The module's path where one module is one operation (`features.0`), else path and kind; `#2` on repeats."""
        stack = [
            (path.split("@")[0], kind)
            for path, kind in (node.meta.get("nn_module_stack") or {}).values()
            if not path.startswith("_empty_nn_module_stack")
        ]
        path, kind = stack[-1] if stack else ("", "")
        leaf = str(kind).startswith("torch.nn.modules") and ".container." not in str(kind)
        base = path if path and leaf else ".".join(filter(None, (path, label)))
        name, count = base, 1
        while name in self.operations or name == INPUT:
            count += 1
            name = f"{base}#{count}"
        return name

    def _operation(self, node: Node, kind: str) -> Operation:
        build = _BUILDERS.get(kind)
        if build is None:
            raise GraphError(self._outside(node, kind))
        made, fields = build(self, node, _arguments(node))
        fields = {"inputs": (), "shape": self._shape(node), "line": _where(node), **fields}
        try:
            label = made.model_construct(name="?", **fields).label()
            return made(name=self._name(node, label), **fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise GraphError(f"{_where(node)}: {kind}: {where}: {first['msg']}") from error

    def _shape(self, node: Node) -> tuple[int, ...]:
        """Output shape without the batch, which must stay the first axis."""
        value = node.meta["val"]
        first, *rest = (value if isinstance(value, Tensor) else value[0]).shape or [None]
        if str(first) != self.batch or not all(isinstance(n, int) for n in rest):
            raise GraphError(
                f"{_where(node)}: the batch does not stay the first axis. Keep it apart: x.flatten(1), or "
                "x.view(x.size(0), -1)."
            )
        return tuple(rest)


def _target(node: Node) -> str:
    """aten.conv2d.default -> conv2d; operator.getitem -> getitem."""
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else _python_name(target)


def _python_name(target: Any) -> str:
    return str(getattr(target, "__name__", target))


def _in_place(node: Node) -> bool:
    return _target(node).endswith("_") and not _target(node).endswith("__")


def _tensor_arg(node: Node) -> Node:
    """The node that gives the operation's first tensor (for `cat`, the first of the list)."""
    return next(iter(node.all_input_nodes), node)


def _arguments(node: Node) -> dict[str, Any]:
    """The call's arguments by the operator's own names, with its defaults filled in."""
    if not isinstance(target := node.target, torch._ops.OpOverload):
        return {}  # getitem
    named = {arg.name: arg.default_value for arg in target._schema.arguments if arg.has_default_value()}
    named |= {arg.name: value for arg, value in zip(target._schema.arguments, node.args, strict=False)}
    return named | dict(node.kwargs)


def _upstream(operations: dict[str, Operation], output: str) -> list[Operation]:
    """Those operations, in order, that the output depends on."""
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name != INPUT and name not in needed:
            needed.add(name)
            waiting += operations[name].inputs
    return [op for op in operations.values() if op.name in needed]


# -- one reader for each operator: the kinds of operation know which calls they come from ------------------------------

_Reader = Callable[[_Translation, Node, dict[str, Any]], Built]


def _reader(kind: type[Operation]) -> _Reader:
    """`kind.read`, its refusals with the student's line before them."""

    def read(t: _Translation, node: Node, a: dict[str, Any]) -> Built:
        try:
            return kind.read(t, node, a)
        except Refused as error:
            raise GraphError(f"{_where(node)}: {error}") from error

    return read


_BUILDERS: dict[str, _Reader] = {operator: _reader(kind) for kind in KINDS for operator in kind.spelled}


# -- messages ----------------------------------------------------------------------------------------------------------

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*(?:\n\s+(.*))?')
_LIBRARIES = (
    str(Path(torch.__file__).parent) + os.sep,
    sysconfig.get_paths()["stdlib"] + os.sep,  # site-packages too, outside a virtual environment
    str(Path(__file__).parent / "graph.py"),
    __file__,
)


def _where(node: Node) -> str:
    """The student's line that called the operation: "net.py, line 12: `x = self.drop(x)`"."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    for file, line, text in reversed(frames):
        if not file.startswith(_LIBRARIES):
            return _line(file, int(line), text)
    return f"in {_target(node)}"


def _line(file: str, number: int, text: str | None) -> str:
    name = "this cell" if "ipykernel" in file or file.startswith("<") else Path(file).name
    return f"{name}, line {number}: `{(text or '').strip()}`"[:300]


def students_line(trace: TracebackType | None) -> str:
    """The last line of a traceback that is not a library's."""
    for frame in reversed(traceback.extract_tb(trace)):
        if not frame.filename.startswith(_LIBRARIES) and "_dynamo" not in frame.filename:
            return _line(frame.filename, frame.lineno or 0, frame.line)
    return "forward"


def _explain(error: Exception, input_shape: tuple[int, ...]) -> str:
    """What a failed export means for the person who wrote the network."""
    name, text = type(error).__name__, str(error)
    where = students_line(error.__traceback__)
    if "DataDependent" in name or "data-dependent" in text or "Could not guard" in text:
        frames = [f for f in _FRAME.findall(text) if not f[0].startswith(_LIBRARIES)]
        if frames:
            where = _line(frames[-1][0], int(frames[-1][1]), frames[-1][2])
        return (
            f"{where}: what happens next depends on the numbers in a tensor (if, while, .item(), float(...)). "
            "A network executes the same operations for every image; compute both and combine them, or drop it."
        )
    if "onstraint" in name or "onstraint" in text or "specializ" in text.lower():
        return (
            "the network works for one batch size only. Let the batch stay free: x.flatten(1), or "
            "x.view(x.size(0), -1), and no fixed number of images."
        )
    c, h, w = input_shape
    return f"{where}: forward fails on a batch of {c}x{h}x{w} images: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
