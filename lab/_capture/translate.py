"""From torch.export's node list to operations.

A node that the lab's list does not hold becomes an error, with the person's own line, as soon as something that reaches
the output needs its value. In-place operations are followed through views: whoever would read numbers that another view
has overwritten is an error, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.fx import Node

from lab._capture.messages import line_of, modules_of, unlisted_layer
from lab._capture.messages import target_name as _target
from lab._capture.messages import where as _where
from lab._terminal import printable
from lab.errors import GraphError, first_fault
from lab.operations import ALLOWED, INPUT, KINDS, Built, Operation, Refused, StochasticDepth, is_parted


@dataclass
class Trace:
    """One mode's translation: the operations that the output depends on, the tensors, what was thrown away."""

    operations: list[Operation]
    tensors: dict[str, Tensor]
    discarded: list[Operation]
    everything: list[Operation]  # both, in the order of execution


def translate(program: torch.export.ExportedProgram) -> Trace:
    """What an exported network executes. Raises GraphError."""
    return _Translation(program).run()


# The operations that pass their input on unchanged.
_SAME = {"contiguous", "clone", "detach", "alias", "lift_fresh_copy"}
_TO = {"to", "_to_copy", "type_as", "float", "cpu", "cuda"}
_CONSTANT_MAKERS = {"ones", "zeros", "full", "tensor", "arange", "linspace", "eye", "empty",
                    "ones_like", "zeros_like", "full_like", "empty_like", "scalar_tensor",
                    "new_zeros", "new_ones", "new_full", "new_tensor", "new_empty",
                    "lift_fresh_copy"}  # fmt: skip
_RANDOM = {"rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "normal", "normal_", "bernoulli",
           "uniform", "randperm", "multinomial", "poisson"}  # fmt: skip
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
        self.noise: dict[str, tuple[float, bool]] = {}  # fx node of one 0 or 1 an image -> P(1), divided by it already?
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
                first[name] = by_storage.setdefault(key, printable(name))
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
                    self.failed[node.name] = self._of_layer(node) or error
                self._note_writes(node)
        kept = _upstream(self.operations, self._output(nodes[-1]))
        if not kept:
            raise GraphError("the network returns its input unchanged: it executes nothing.")
        names = {op.name for op in kept}
        everything = list(self.operations.values())
        return Trace(kept, self.tensors, [op for op in everything if op.name not in names], everything)

    def _output(self, node: Node) -> str:
        """Name of the operation that gives the network's one output."""
        returned, specs = cast(tuple[Any, ...], node.args[0]), self.program.graph_signature.output_specs
        outputs = [arg for arg, spec in zip(returned, specs, strict=True) if spec.kind.name == "USER_OUTPUT"]
        kind = self.program.call_spec.out_spec.type
        if kind is not None:
            what = f"a {kind.__name__} of {len(outputs)} value{'' if len(outputs) == 1 else 's'}"
            raise GraphError(f"forward returns {what}; it must return one tensor, the logits: `return logits`.")
        if not isinstance(outputs[0], Node):
            what = "nothing: is a `return` missing?" if outputs[0] is None else f"{outputs[0]!r}."
            raise GraphError(f"forward must return one tensor, the logits, and returns {what}")
        return self._input(outputs[0], node)

    # -- one node ------------------------------------------------------------------------------------------------------

    def _translate(self, node: Node) -> None:
        if not _is_tensor(node):
            if isinstance(node.target, torch._ops.HigherOrderOperator):
                raise GraphError(self._outside(node, _target(node)))
            raise GraphError(  # matters only where a number, not a shape, is made of it
                f"{_where(node)}: forward computes with a number that it takes from a tensor or from its shape "
                "(.item(), float(...), x.size(0)). Keep to operations on whole maps."
            )
        if self._is_noise(node):
            raise GraphError(self._outside(node, "bernoulli"))  # but where stochastic depth reads it
        if depth := self._stochastic_depth(node):
            self.operations[depth.name] = depth
            self.value[node.name] = depth.name
            return
        for arg in node.all_input_nodes:  # the first thing that went wrong, not the last
            if arg.name in self.failed and _is_tensor(arg):
                raise self.failed[arg.name]
        kind, source = _target(node), _tensor_arg(node)
        if _shares(node)[1]:
            kind = kind.rstrip("_")
            if source.name in self.stored:
                name = self.stored[source.name]
                raise GraphError(f"{_where(node)}: forward changes the stored tensor {name!r} in place.")
        if is_parted(node):  # each `getitem` of it is a slice of its input
            return
        if _passes_on(node, kind):
            self.value[node.name] = self._input(source, node)
            return
        op = self._operation(node, kind)
        self.operations[op.name] = op
        self.value[node.name] = op.name

    def _is_noise(self, node: Node) -> bool:
        """Does it make the noise of stochastic depth, one number an image: torch.empty, bernoulli_, div_?"""
        kind, source, value = _target(node), _tensor_arg(node), node.meta["val"]
        if kind in ("empty", "new_empty"):
            return isinstance(value, Tensor) and str(value.shape[0]) == self.batch and set(value.shape[1:]) == {1}
        if kind == "bernoulli_" and _target(source) in ("empty", "new_empty") and self._is_noise(source):
            self.noise[node.name] = (float(_arguments(node)["p"]), False)
            return True
        keep, _ = self.noise.get(source.name, (None, False))
        if kind == "div_" and keep is not None and keep == node.args[1]:
            self.noise[node.name] = (keep, True)
            return True
        return False

    def _stochastic_depth(self, node: Node) -> Operation | None:
        """A map times such noise."""
        inputs = node.all_input_nodes
        noise = [arg for arg in inputs if self.noise.get(arg.name, (0, False))[1]]
        if _target(node) != "mul" or len(inputs) != 2 or len(noise) != 1:
            return None
        (branch,) = (arg for arg in inputs if arg is not noise[0])
        return StochasticDepth(
            name=self._name(node, "stochastic_depth"),
            inputs=(self._input(branch, node),),
            shape=self._shape(node),
            line=_where(node),
            keep=self.noise[noise[0].name][0],
            training="always",
        )

    def _of_layer(self, node: Node) -> GraphError | None:
        """An operation inside a layer of PyTorch's own is told by that layer, not by what it is made of."""
        layer = unlisted_layer(node)
        if not layer or any(arg.name in self.failed and _is_tensor(arg) for arg in node.all_input_nodes):
            return None
        line = line_of(node)
        return GraphError(f"{line}{': ' if line else ''}{layer} is outside the lab's list. Use one of: {ALLOWED}.")

    def _note_writes(self, node: Node) -> None:
        """Keep track of the tensors that share numbers: after a write to one, the others no longer hold what they did.

        The schema of each operator says which of its arguments it returns a view of, and which it writes to.
        """
        shared, written = _shares(node)
        group = {node.name}.union(*(self.views.get(arg.name, {arg.name}) for arg in shared))
        self.views.update(dict.fromkeys(group, group))
        if written:
            error = GraphError(
                f"{_where(node)}: this writes into numbers that another tensor shares (a view: a slice, or a reshaped "
                "map), and the other is read afterwards. Compute a new tensor instead (x = x * 2, torch.cat), and "
                "leave `inplace=True` out."
            )
            for name in set().union(*(self.views.get(arg.name, {arg.name}) for arg in written)) - {node.name}:
                self.failed.setdefault(name, error)

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
        if what == "wrap_with_set_grad_enabled":
            return f"{_where(node)}: forward computes under torch.no_grad(), so nothing there learns. Take that out."
        if what in _RANDOM:
            return (
                f"{_where(node)}: forward draws random numbers ({what}); of those, only dropout and stochastic "
                "depth are on the lab's list. Noise on the images belongs to the augmentation, before the network."
            )
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
        path, kind = (modules_of(node) or [("", "")])[-1]
        leaf = kind.startswith("torch.nn.modules") and ".container." not in kind
        base = printable(path if path and leaf else ".".join(filter(None, (path, label))))
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
            raise GraphError(f"{_where(node)}: {kind}: {first_fault(error)}") from error

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


def _is_tensor(node: Node) -> bool:
    """Does it give a tensor, or several, and not a number?"""
    return isinstance(node.meta.get("val"), Tensor | tuple | list)


def _shares(node: Node) -> tuple[list[Node], list[Node]]:
    """The arguments of which the result may be a view, and those that are written to."""
    if not isinstance(node.target, torch._ops.OpOverload):  # getitem, of what chunk or split returns
        return node.all_input_nodes, []
    schema, given = node.target._schema, _arguments(node)
    views = any(returned.alias_info is not None for returned in schema.returns)
    shared: list[Node] = []
    written: list[Node] = []
    for arg in schema.arguments:
        value = given.get(arg.name)
        nodes = [n for n in (value if isinstance(value, list | tuple) else [value]) if isinstance(n, Node)]
        if arg.alias_info is not None:
            shared += nodes if views else []
            written += nodes if arg.alias_info.is_write else []
    return shared, written


def _passes_on(node: Node, kind: str) -> bool:
    """Does the operation hand its first tensor on as it is?"""
    source = _tensor_arg(node).meta.get("val")
    if kind == "getitem":  # pooling with indices gives (values, indices)
        return bool(node.args[1] == 0) and _target(cast(Node, node.args[0])).startswith(
            ("max_pool", "adaptive_max_pool")
        )
    value = node.meta["val"]
    if kind in _TO:
        return bool(isinstance(source, Tensor) and isinstance(value, Tensor) and source.dtype == value.dtype)
    if kind == "slice":  # x[:]
        a = _arguments(node)
        n = source.shape[a["dim"]] if isinstance(source, Tensor) else None
        end = 1 << 62 if a["end"] is None else a["end"]
        return bool(a["start"] in (None, 0) and a["step"] == 1 and end >= (n if isinstance(n, int) else 1 << 62))
    return kind in _SAME


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
