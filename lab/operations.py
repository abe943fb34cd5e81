"""What a network may execute: one small class for each operation.

An operation knows its arguments, the names of its inputs and of the tensors that it reads, its output's shape without
the batch, and how to compute itself. What it sees is `lab/receptive.py`'s business, what it costs `lab/layers.py`'s.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

INPUT = "input"
"""The name under which operations refer to the network's input."""
MAX_ELEMENTS = 2**26
"""Numbers in one operation's output, for one image."""


Pair = tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=0, le=4096)]]
Positive = Annotated[int, Field(ge=1, le=4096)]
Strides = tuple[Positive, Positive]
Shape = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_ELEMENTS)], ...], Field(max_length=6)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Mode = Literal["follow", "always", "never"]
"""Does the operation act as in training? `follow`: in training only; `always` and `never`: whatever the mode."""


class Operation(BaseModel):
    """One executed operation: its name, the names of its inputs, its output shape without the batch, its arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    tensor_fields: ClassVar[tuple[str, ...]] = ()

    name: Name
    inputs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    shape: Shape
    line: Annotated[str, Field(max_length=300)] = ""

    def arity(self) -> int | None:
        """How many inputs it computes with; None for any number."""
        return 1

    def stored(self) -> tuple[str, ...]:
        """Names of the parameters and buffers that the operation reads."""
        names = (getattr(self, role) for role in self.tensor_fields)
        return tuple(name for name in names if name is not None)

    def label(self) -> str:
        """What the layer table calls it."""
        return str(getattr(self, "kind"))  # noqa: B009 (the subclasses declare `kind`, each with its own literal)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        """Compute the operation: inputs (B, ...) -> (B, *shape)."""
        raise NotImplementedError

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        """First weights of the stored tensor in `role` (one of `tensor_fields`), as PyTorch's own layer draws them.

        shapes: of the operation's stored tensors, by role. generator: where the random numbers come from.
        """
        raise NotImplementedError(f"{type(self).__name__} has no first weights for {role!r}")


class Conv2d(Operation):
    """Convolution; `padding` is (top, bottom, left, right), in pixels."""

    kind: Literal["conv2d"] = "conv2d"
    tensor_fields = ("weight", "bias")
    weight: Name
    bias: Name | None
    kernel: Strides
    stride: Strides
    padding: tuple[Positive | Literal[0], Positive | Literal[0], Positive | Literal[0], Positive | Literal[0]]
    dilation: Strides
    groups: Positive

    def label(self) -> str:
        return f"conv {self.kernel[0]}x{self.kernel[1]}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        x, (top, bottom, left, right) = inputs[0], self.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        return F.conv2d(
            x, tensors[self.weight], _read(tensors, self.bias), self.stride, (top, left), self.dilation, self.groups
        )

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _uniform_by_fan_in(role, shapes, generator)


class Linear(Operation):
    """Fully connected layer over the last axis."""

    kind: Literal["linear"] = "linear"
    tensor_fields = ("weight", "bias")
    weight: Name
    bias: Name | None

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.linear(inputs[0], tensors[self.weight], _read(tensors, self.bias))

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _uniform_by_fan_in(role, shapes, generator)


class BatchNorm(Operation):
    """Batch normalisation over every axis but the second; `training` says when it uses the batch's own statistics."""

    kind: Literal["batch_norm"] = "batch_norm"
    tensor_fields = ("weight", "bias", "running_mean", "running_var")
    weight: Name | None
    bias: Name | None
    running_mean: Name | None
    running_var: Name | None
    momentum: Number
    eps: Number
    training: Mode

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias, mean, var = (_read(tensors, getattr(self, role)) for role in self.tensor_fields)
        act = _acts(self.training, training)
        return F.batch_norm(inputs[0], mean, var, weight, bias, act, self.momentum, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)


class GroupNorm(Operation):
    """Group normalisation."""

    kind: Literal["group_norm"] = "group_norm"
    tensor_fields = ("weight", "bias")
    groups: Positive
    weight: Name | None
    bias: Name | None
    eps: Number

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias = _read(tensors, self.weight), _read(tensors, self.bias)
        return F.group_norm(inputs[0], self.groups, weight, bias, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)


class LayerNorm(Operation):
    """Layer normalisation over the last `len(normalized)` axes."""

    kind: Literal["layer_norm"] = "layer_norm"
    tensor_fields = ("weight", "bias")
    normalized: Shape
    weight: Name | None
    bias: Name | None
    eps: Number

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias = _read(tensors, self.weight), _read(tensors, self.bias)
        return F.layer_norm(inputs[0], list(self.normalized), weight, bias, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)


ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "gelu": lambda x, tanh=0.0: F.gelu(x, approximate="tanh" if tanh else "none"),
    "silu": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
}


class Activation(Operation):
    """A function of each number by itself, with its numeric arguments (a leaky ReLU's slope, say)."""

    kind: Literal["activation"] = "activation"
    function: Literal[tuple(ACTIVATIONS)]  # type: ignore[valid-type]  # the table above is the list
    arguments: Annotated[tuple[Number, ...], Field(max_length=3)] = ()

    def label(self) -> str:
        return str(self.function)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return ACTIVATIONS[self.function](inputs[0], *self.arguments)


class PReLU(Operation):
    """ReLU with a learnt slope for negative numbers."""

    kind: Literal["prelu"] = "prelu"
    tensor_fields = ("weight",)
    weight: Name

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.prelu(inputs[0], tensors[self.weight])

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.full(shapes[role], 0.25)


class MaxPool(Operation):
    """Max pooling."""

    kind: Literal["max_pool"] = "max_pool"
    kernel: Strides
    stride: Strides
    padding: Pair
    dilation: Strides
    ceil_mode: bool

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.max_pool2d(inputs[0], self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool(Operation):
    """Average pooling."""

    kind: Literal["avg_pool"] = "avg_pool"
    kernel: Strides
    stride: Strides
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        x, pad = inputs[0], self.padding
        return F.avg_pool2d(x, self.kernel, self.stride, pad, self.ceil_mode, self.count_include_pad)


class AdaptivePool(Operation):
    """Pooling to a map of a fixed size, whatever comes in; to 1x1 it is global pooling."""

    kind: Literal["adaptive_pool"] = "adaptive_pool"
    reduce: Literal["avg", "max"]
    size: Strides

    def label(self) -> str:
        return f"adaptive_{self.reduce}_pool"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        if self.reduce == "max":
            return torch.as_tensor(F.adaptive_max_pool2d(inputs[0], self.size))
        return F.adaptive_avg_pool2d(inputs[0], self.size)


class Dropout(Operation):
    """Dropout of single numbers, or of whole channels (`channels`)."""

    kind: Literal["dropout"] = "dropout"
    p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    channels: bool
    training: Mode

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        drop = F.dropout2d if self.channels else F.dropout
        return drop(inputs[0], self.p, _acts(self.training, training))


class Reshape(Operation):
    """The same numbers in another shape (flatten, view, reshape, squeeze, unsqueeze)."""

    kind: Literal["reshape"] = "reshape"

    def label(self) -> str:
        return "flatten" if len(self.shape) == 1 else "reshape"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].reshape(-1, *self.shape)


class Mean(Operation):
    """Mean over some axes, counted with the batch as axis 0."""

    kind: Literal["mean"] = "mean"
    axes: Annotated[tuple[Annotated[int, Field(ge=1, le=6)], ...], Field(min_length=1)]
    keepdim: bool

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].mean(self.axes, keepdim=self.keepdim)


class Scale(Operation):
    """A fixed factor and a fixed shift: x -> x * factor + shift (`x - 0.13`, `x / 0.31`)."""

    kind: Literal["scale"] = "scale"
    factor: Number
    shift: Number

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0] * self.factor + self.shift


class Add(Operation):
    """Sum of two maps, or of a map and a stored tensor (`tensor`); the second one times `alpha`."""

    kind: Literal["add"] = "add"
    tensor_fields = ("tensor",)
    tensor: Name | None
    alpha: Number

    def arity(self) -> int | None:
        return 1 if self.tensor else 2

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        other = tensors[self.tensor] if self.tensor else inputs[1]
        return torch.add(inputs[0], other, alpha=self.alpha)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.zeros(shapes[role])  # PyTorch has no such layer: the map passes unchanged, as after a norm


class Mul(Operation):
    """Product of two maps, or of a map and a stored tensor (`tensor`)."""

    kind: Literal["mul"] = "mul"
    tensor_fields = ("tensor",)
    tensor: Name | None

    def arity(self) -> int | None:
        return 1 if self.tensor else 2

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0] * (tensors[self.tensor] if self.tensor else inputs[1])

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.ones(shapes[role])  # PyTorch has no such layer: the map passes unchanged, as after a norm


class Cat(Operation):
    """Maps joined along one axis, counted with the batch as axis 0."""

    kind: Literal["cat"] = "cat"
    axis: Annotated[int, Field(ge=1, le=6)]

    def arity(self) -> int | None:
        return None

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return torch.cat(inputs, dim=self.axis)


class Pad(Operation):
    """A border of a fixed value; `padding` is (top, bottom, left, right) in pixels, negative to crop."""

    kind: Literal["pad"] = "pad"
    padding: Annotated[tuple[Annotated[int, Field(ge=-4096, le=4096)], ...], Field(min_length=4, max_length=4)]
    value: Number

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        top, bottom, left, right = self.padding
        return F.pad(inputs[0], (left, right, top, bottom), value=self.value)


class Interpolate(Operation):
    """A map resized to `size`; `scale` is the factor per axis where the network gave one (it sets the sampling)."""

    kind: Literal["interpolate"] = "interpolate"
    mode: Literal["nearest", "bilinear"]
    size: Strides
    scale: tuple[Number, Number] | None
    align_corners: bool

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        size, scale = (None, list(self.scale)) if self.scale else (list(self.size), None)
        if self.mode == "nearest":
            return torch.ops.aten.upsample_nearest2d.vec(inputs[0], size, scale)  # type: ignore[no-any-return]
        return torch.ops.aten.upsample_bilinear2d.vec(  # type: ignore[no-any-return]
            inputs[0], size, self.align_corners, scale
        )


class Softmax(Operation):
    """Softmax or its logarithm along one axis, counted with the batch as axis 0."""

    kind: Literal["softmax"] = "softmax"
    axis: Annotated[int, Field(ge=1, le=6)]
    log: bool

    def label(self) -> str:
        return "log_softmax" if self.log else "softmax"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return (F.log_softmax if self.log else F.softmax)(inputs[0], dim=self.axis)


AnyOperation = Annotated[
    Conv2d | Linear | BatchNorm | GroupNorm | LayerNorm | Activation | PReLU | MaxPool | AvgPool | AdaptivePool
    | Dropout | Reshape | Mean | Scale | Add | Mul | Cat | Pad | Interpolate | Softmax,
    Field(discriminator="kind"),
]  # fmt: skip


def _read(tensors: dict[str, Tensor], name: str | None) -> Tensor | None:
    return None if name is None else tensors[name]


def _acts(mode: Mode, training: bool) -> bool:
    return training if mode == "follow" else mode == "always"


def _uniform_by_fan_in(role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
    """Uniform within 1 / sqrt(fan_in), weight and bias alike: what nn.Linear and nn.Conv2d draw.

    PyTorch writes it as `kaiming_uniform_(weight, a=sqrt(5))`, whose bound is sqrt(6 / ((1 + 5) * fan_in)).
    """
    bound = 1 / math.sqrt(math.prod(shapes["weight"][1:]))
    return torch.empty(shapes[role]).uniform_(-bound, bound, generator=generator)


def _neutral(role: str, shapes: dict[str, tuple[int, ...]]) -> Tensor:
    """A norm's first tensors: scale and variance 1, shift and mean 0."""
    return torch.full(shapes[role], 1.0 if role in ("weight", "running_var") else 0.0)
