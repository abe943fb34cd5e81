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
from lab.operations import (
    ACTIVATIONS,
    INPUT,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    BatchNorm,
    Cat,
    Conv2d,
    Dropout,
    GroupNorm,
    Interpolate,
    LayerNorm,
    Linear,
    MaxPool,
    Mean,
    Mul,
    Operation,
    Pad,
    PReLU,
    Reshape,
    Scale,
    Softmax,
)


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
_VIEWS = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as"}
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
    "permute": "x.flatten(1) or x.reshape(x.size(0), ...)",
    "transpose": "x.flatten(1) or x.reshape(x.size(0), ...)",
    "slice": "a convolution or pooling with the right padding",
    "select": "a convolution or pooling with the right padding",
    "stack": "torch.cat",
    "split": "two layers with fewer channels each",
    "chunk": "two layers with fewer channels each",
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
        if (kind == "getitem" and node.args[1] == 0) or kind in _SAME:  # pooling with indices gives (values, indices)
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
    target = cast(torch._ops.OpOverload, node.target)
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


# -- one builder for each operator: (translation, node, arguments) -> (class, fields) ---------------------------------

_Built = tuple[type[Operation], dict[str, Any]]


def _pair(value: Any) -> tuple[Any, Any]:
    """PyTorch writes a square as one number, as [n] or as [n, n]."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _conv2d(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    weight = t._tensor(a["weight"], node)
    kernel, dilation = _pair(a["weight"].meta["val"].shape[2:]), _pair(a["dilation"])
    padding: tuple[int, ...]
    if a["padding"] == "same":  # as PyTorch does it: the odd pixel goes to the bottom and the right
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
    else:
        vertical, horizontal = (0, 0) if a["padding"] == "valid" else _pair(a["padding"])
        padding = (vertical, vertical, horizontal, horizontal)
    return Conv2d, {
        "inputs": (t._only_input(node),),
        "weight": weight,
        "bias": t._tensor(a["bias"], node),
        "kernel": kernel,
        "stride": _pair(a["stride"]),
        "padding": padding,
        "dilation": dilation,
        "groups": a["groups"],
    }


def _linear(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    weight, bias = t._tensor(a["weight"], node), t._tensor(a["bias"], node)
    return Linear, {"inputs": (t._only_input(node),), "weight": weight, "bias": bias}


def _batch_norm(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    stored = {name: t._tensor(a[name], node) for name in BatchNorm.tensor_fields}
    mode = "always" if a["training"] else "never"
    rest = {"momentum": float(a["momentum"]), "eps": float(a["eps"]), "training": mode}
    return BatchNorm, {"inputs": (t._only_input(node),), **stored, **rest}


def _group_norm(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    stored = {name: t._tensor(a[name], node) for name in GroupNorm.tensor_fields}
    rest = {"groups": a["num_groups"], "eps": float(a["eps"])}
    return GroupNorm, {"inputs": (t._only_input(node),), **stored, **rest}


def _layer_norm(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    stored = {name: t._tensor(a[name], node) for name in LayerNorm.tensor_fields}
    rest = {"normalized": tuple(a["normalized_shape"]), "eps": float(a["eps"])}
    return LayerNorm, {"inputs": (t._only_input(node),), **stored, **rest}


_ACTIVATION_ARGUMENTS = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "hardtanh": ("min_val", "max_val"),
    "softplus": ("beta", "threshold"),
}


def _activation(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    kind = _target(node).rstrip("_")
    function = "logsigmoid" if kind == "log_sigmoid" else kind
    arguments = tuple(float(a[name]) for name in _ACTIVATION_ARGUMENTS.get(kind, ()))
    if kind == "gelu":
        arguments = (float(a["approximate"] == "tanh"),)
    return Activation, {"inputs": (t._only_input(node),), "function": function, "arguments": arguments}


def _prelu(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    return PReLU, {"inputs": (t._only_input(node),), "weight": t._tensor(a["weight"], node)}


def _pool_fields(t: _Translation, node: Node, a: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": (t._only_input(node),),
        "kernel": _pair(a["kernel_size"]),
        "stride": _pair(a["stride"] or a["kernel_size"]),
        "padding": _pair(a["padding"]),
        "ceil_mode": a["ceil_mode"],
    }


def _max_pool(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    return MaxPool, _pool_fields(t, node, a) | {"dilation": _pair(a["dilation"])}


def _avg_pool(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if a["divisor_override"] is not None:
        raise GraphError(f"{_where(node)}: avg_pool2d with divisor_override is outside the lab's list; leave it out.")
    return AvgPool, _pool_fields(t, node, a) | {"count_include_pad": a["count_include_pad"]}


def _adaptive_pool(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    reduce = "max" if "max" in _target(node) else "avg"
    return AdaptivePool, {
        "inputs": (t._only_input(node),),
        "reduce": reduce,
        "size": _pair(a["output_size"]),
    }


def _dropout(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    mode, channels = "always" if a["train"] else "never", "feature" in _target(node)
    return Dropout, {
        "inputs": (t._only_input(node),),
        "p": float(a["p"]),
        "channels": channels,
        "training": mode,
    }


def _reshape(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    return Reshape, {"inputs": (t._only_input(node),)}


def _axis(axis: int, node: Node) -> int:
    """An axis counted from the front, the batch being 0."""
    value = _tensor_arg(node).meta["val"]
    axis = axis % (value if isinstance(value, Tensor) else value[0]).dim()
    if axis == 0:
        raise GraphError(f"{_where(node)}: {_target(node)} works across the batch; each image must stand by itself.")
    return axis


def _mean(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if a.get("dim") is None or a["dtype"] is not None:
        raise GraphError(f"{_where(node)}: the mean of everything mixes the batch; name the axes: x.mean((2, 3)).")
    dims = a["dim"] if isinstance(a["dim"], (list, tuple)) else [a["dim"]]
    axes = tuple(sorted(_axis(dim, node) for dim in dims))
    return Mean, {"inputs": (t._only_input(node),), "axes": axes, "keepdim": a["keepdim"]}


def _two(t: _Translation, node: Node, a: dict[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The operands of a sum or product: two maps, or a map and a stored tensor, in either order."""
    first, second = a["self"], a["other"]
    if isinstance(first, Node) and first.name in t.stored:
        first, second = second, first
    if isinstance(second, Node) and second.name in t.stored:
        return (t._input(first, node),), t._tensor(second, node)
    return (t._input(first, node), t._input(second, node)), None


def _add(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    sign = -1.0 if _target(node).startswith("sub") else 1.0
    if isinstance(a["other"], (int, float)):
        shift = sign * a["alpha"] * a["other"]
        return Scale, {"inputs": (t._only_input(node),), "factor": 1.0, "shift": float(shift)}
    if isinstance(a["self"], Node) and a["self"].name in t.stored and (sign, a["alpha"]) != (1.0, 1):
        raise GraphError(f"{_where(node)}: a stored tensor minus a map; write `x * -1 + t`.")
    inputs, tensor = _two(t, node, a)
    return Add, {"inputs": inputs, "tensor": tensor, "alpha": sign * a["alpha"]}


def _rsub(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if isinstance(a["other"], Node):
        raise GraphError(f"{_where(node)}: write `y - x` for two maps.")
    return Scale, {
        "inputs": (t._only_input(node),),
        "factor": -float(a["alpha"]),
        "shift": float(a["other"]),
    }


def _neg(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    return Scale, {"inputs": (t._only_input(node),), "factor": -1.0, "shift": 0.0}


def _mul(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if isinstance(a["other"], (int, float)):
        return Scale, {"inputs": (t._only_input(node),), "factor": float(a["other"]), "shift": 0.0}
    inputs, tensor = _two(t, node, a)
    return Mul, {"inputs": inputs, "tensor": tensor}


def _div(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if not isinstance(a["other"], (int, float)) or a["other"] == 0:
        raise GraphError(f"{_where(node)}: only division by a fixed number is on the lab's list; multiply instead.")
    return Scale, {"inputs": (t._only_input(node),), "factor": 1.0 / a["other"], "shift": 0.0}


def _cat(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    inputs = tuple(t._input(arg, node) for arg in a["tensors"])
    return Cat, {"inputs": inputs, "axis": _axis(a["dim"], node)}


def _pad(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    if a.get("mode", "constant") != "constant" or len(a["pad"]) not in (2, 4):
        raise GraphError(
            f"{_where(node)}: only padding with a fixed value is on the lab's list (padding_mode='zeros')."
        )
    left, right, top, bottom = [*a["pad"], 0, 0][:4]
    value = float(a.get("value") or 0)
    return Pad, {
        "inputs": (t._only_input(node),),
        "padding": (top, bottom, left, right),
        "value": value,
    }


def _interpolate(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    mode = "nearest" if "nearest" in _target(node) else "bilinear"
    scale = a["scale_factors"]
    return Interpolate, {
        "inputs": (t._only_input(node),),
        "mode": mode,
        "size": t._shape(node)[1:],
        "scale": tuple(float(s) for s in scale) if scale else None,
        "align_corners": bool(a.get("align_corners")),
    }


def _softmax(t: _Translation, node: Node, a: dict[str, Any]) -> _Built:
    log = "log" in _target(node)
    return Softmax, {"inputs": (t._only_input(node),), "axis": _axis(a["dim"], node), "log": log}


_BUILDERS: dict[str, Callable[[_Translation, Node, dict[str, Any]], _Built]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "prelu": _prelu,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "mean": _mean,
    "add": _add,
    "sub": _add,
    "rsub": _rsub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "cat": _cat,
    "concat": _cat,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "upsample_nearest2d": _interpolate,
    "upsample_bilinear2d": _interpolate,
    "softmax": _softmax,
    "log_softmax": _softmax,
    **dict.fromkeys(_VIEWS, _reshape),
    **dict.fromkeys([*ACTIVATIONS.keys() - {"logsigmoid"}, "log_sigmoid"], _activation),
}

ALLOWED = (
    "convolution, linear, batch/group/layer norm, pointwise activations, max/average/adaptive pooling, dropout, "
    "flatten, reshape, mean, add, mul, cat, pad, interpolate, softmax and log-softmax"
)
"""The operations a graph may hold, in words."""


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
