"""What a network may execute: one small class for each kind of operation, which knows everything about itself.

How it runs (`run`), what it costs (`multiply_adds`, `work`), how it changes a receptive field (`sees`, and a second way
to the same, `twin`), its first weights (`draw`), how it is written down (the fields, `label`), which PyTorch calls it
comes from and what it takes from them (`spelled`, `read`), and what it is called in words (`words`, `title`). A kind
that leaves one of them out raises there: nothing is guessed.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Union, cast

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.fx import Node

from lab import fields
from lab.errors import LabError
from lab.fields import Axes, Axis

INPUT = "input"
"""The name under which operations refer to the network's input."""
MAX_ELEMENTS = 2**26
"""Numbers in one operation's output, for one image."""


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("holds a line break, a terminal escape or another character that cannot be printed")
    return name


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


Pair = tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=0, le=4096)]]
Positive = Annotated[int, Field(ge=1, le=4096)]
Strides = tuple[Positive, Positive]
Index = Annotated[int, Field(ge=0, le=MAX_ELEMENTS)]
AxisNumber = Annotated[int, Field(ge=1, le=6)]
"""An axis of the operation's input or output, counted with the batch as axis 0."""
Shape = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_ELEMENTS)], ...], Field(max_length=6)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Text = Annotated[str, Field(max_length=300), AfterValidator(_harmless)]
"""Words for a person to read: what a terminal would act on is taken out."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Mode = Literal["follow", "always", "never"]
"""Does the operation act as in training? `follow`: in training only; `always` and `never`: whatever the mode."""
Sizes = tuple[int, ...]
"""A shape: of a stored tensor, or of a map without the batch."""


class Refused(LabError):
    """A call that a kind of operation can't stand for; the text says what to write instead. Capture adds the line."""


class Call(Protocol):
    """What `read` may ask about a call of PyTorch: the translation of an exported program answers."""

    stored: dict[str, str]  # node -> name of the parameter or buffer that it is

    def _input(self, arg: Any, node: Node) -> str: ...  # name of the operation whose output `arg` is

    def _only_input(self, node: Node) -> str: ...

    def _tensor(self, arg: Any, node: Node) -> str | None: ...  # name of the parameter or buffer that `arg` is

    def _shape(self, node: Node) -> Sizes: ...  # of the output, without the batch


Built = tuple[type["Operation"], dict[str, Any]]
"""A class, and its fields but name, shape and line."""


class Operation(BaseModel):
    """One executed operation: its name, the names of its inputs, its output shape without the batch, its arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    tensor_fields: ClassVar[tuple[str, ...]] = ()
    ranks: ClassVar[dict[str, int]] = {}
    """Axes of its stored tensors, by role, where PyTorch computes something else with another number of them."""
    spelled: ClassVar[tuple[str, ...]] = ()
    """The names of the PyTorch operators that `read` understands."""
    words: ClassVar[str] = ""
    """What a list of everything allowed calls the kind; empty where another kind's words cover it."""

    usual: ClassVar[dict[str, tuple[float, ...]]] = {}
    """By field, the numbers that nobody chose: PyTorch's own, and those that change nothing."""
    of_training: ClassVar[tuple[str, ...]] = ()
    """Fields with a number that the output in eval mode does not depend on."""

    name: Name
    inputs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    shape: Shape
    line: Text = ""

    def arity(self) -> int | None:
        """How many inputs it computes with; None for any number."""
        return 1

    def stored(self) -> tuple[str, ...]:
        """Names of the parameters and buffers that the operation reads."""
        names = (getattr(self, role) for role in self.tensor_fields)
        return tuple(name for name in names if name is not None)

    def written(self) -> list[tuple[str, float]]:
        """The real numbers that the network's author chose for it, each with its role, which other operations share.

        Whole numbers (a kernel, an axis, a padding) say what is computed with what, and are no weights.
        """
        found = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            for place, number in enumerate(value if isinstance(value, tuple) else (value,)):
                chosen = isinstance(number, float) and number not in self.usual.get(name, ())
                if chosen and name not in self.of_training:
                    found.append((f"{type(self).__name__}.{name}.{place}", number))
        return found

    def label(self) -> str:
        """What the layer table calls it."""
        return str(getattr(self, "kind"))  # noqa: B009 (the subclasses declare `kind`, each with its own literal)

    def title(self, stored: dict[str, Sizes]) -> str:
        """What a person calls it: "conv 16→24, 14x14". stored: the shapes of its tensors, by role.

        It says what is unusual (a kernel that is not 3x3, a stride) and the size of the map where that may change.
        """
        return self.label().replace("_", " ")

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        """Compute the operation: inputs (B, ...) -> (B, *shape)."""
        raise self._unknown("way to run")

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        """Multiply-adds on one image. stored: the shapes of its tensors, by role."""
        raise self._unknown("cost")

    def work(self, stored: dict[str, Sizes], shapes: list[Sizes]) -> int:
        """Steps that it takes on one image, at most, to bound its time. shapes: of its inputs."""
        return max(self.multiply_adds(stored), math.prod(self.shape), *(math.prod(shape) for shape in shapes))

    def scratch(self, shapes: list[Sizes]) -> int:
        """Numbers that it needs for one image beside its inputs and its output. shapes: of its inputs."""
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        """What the rows and the columns of its output see, from what those of its inputs see, and their shapes."""
        raise self._unknown("receptive field")

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        """Its linear, positive twin, in which no gradient can cancel: it sees what has any gradient."""
        raise self._unknown("linear twin")

    def draw(self, role: str, shapes: dict[str, Sizes], generator: torch.Generator) -> Tensor:
        """First weights of the stored tensor in `role` (one of `tensor_fields`), as PyTorch's own layer draws them.

        shapes: of the operation's stored tensors, by role. generator: where the random numbers come from.
        """
        raise self._unknown(f"first weights for {role!r}")

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        """The class and fields for a call of one of `spelled` with the arguments `a`. Raises Refused, GraphError."""
        raise NotImplementedError(f"{cls.__name__} does not know how PyTorch calls it")

    def _unknown(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not know its {what}")


class EachNumber(Operation):
    """A kind that works on each place of the map by itself: what a unit sees stays as it is."""

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        return inputs[0]

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return inputs[0]


class Moved(Operation):
    """A kind that only puts numbers elsewhere, or leaves some out: it is its own linear twin."""

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"{super().title(stored)} {_sides(self.shape)}"

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.run(inputs, {}, training=False)


class Windowed(Operation):
    """A kind whose units read a window of units along the last two axes of what comes in."""

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"{super().title(stored)}, {_sides(self.shape[-2:])}"

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        """The units that each of `n_out` units reads, of n; and how much further apart its units' fields are.

        axis: 0 for the last but one (the rows of a map), 1 for the last. All windows have the same step.
        """
        raise self._unknown("window")

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = inputs[0]
        return self._through(rows, shapes[0]), self._through(columns, shapes[0])

    def _through(self, axis: Axis, shape: Sizes) -> Axis:
        dims = len(shape)
        if axis.along is None or axis.along < dims - 1:  # the batch is axis 0: the last axis is number `dims`
            return axis
        place = axis.along - 1
        windows, step = self.window(axis.along - dims + 1, shape[place], self.shape[place])
        return fields.through(axis, windows, step)


class Conv2d(Windowed):
    """Convolution; `padding` is (top, bottom, left, right), in pixels."""

    kind: Literal["conv2d"] = "conv2d"
    spelled = ("conv2d",)
    words = "convolution"
    tensor_fields = ("weight", "bias")
    ranks = {"weight": 4, "bias": 1}
    weight: Name
    bias: Name | None
    kernel: Strides
    stride: Strides
    padding: tuple[Positive | Literal[0], Positive | Literal[0], Positive | Literal[0], Positive | Literal[0]]
    dilation: Strides
    groups: Positive

    def label(self) -> str:
        return f"conv {self.kernel[0]}x{self.kernel[1]}"

    def title(self, stored: dict[str, Sizes]) -> str:
        c_out, c_in = stored["weight"][0], stored["weight"][1] * self.groups
        depthwise = self.groups == c_in > 1
        parts = [
            f"{'depthwise ' if depthwise else ''}conv{_unless((3, 3), self.kernel)} {c_in}→{c_out}",
            f"stride {_square(self.stride)}" if self.stride != (1, 1) else "",
            f"dilation {_square(self.dilation)}" if self.dilation != (1, 1) else "",
            f"{self.groups} groups" if self.groups > 1 and not depthwise else "",
            _sides(self.shape[-2:]),
        ]
        return ", ".join(part for part in parts if part)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        x, (top, bottom, left, right) = inputs[0], self.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        return F.conv2d(
            x, tensors[self.weight], _read(tensors, self.bias), self.stride, (top, left), self.dilation, self.groups
        )

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _uniform_by_fan_in(role, shapes, generator)

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return math.prod(stored["weight"]) * math.prod(self.shape[1:])

    def scratch(self, shapes: list[Sizes]) -> int:
        top, bottom, left, right = self.padding  # a copy of the map with its border
        c, h, w = (1, 1, *shapes[0])[-3:]
        return c * (h + top + bottom) * (w + left + right)

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        return _sliding(n_out, self.kernel[axis], self.stride[axis], self.padding[2 * axis], self.dilation[axis])

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = (  # a map laid on its side: the convolution mixes what lies along its channels
            fields.whole(axis, self.shape[0], 1) if axis.along == 1 else axis for axis in super().sees(inputs, shapes)
        )
        return rows, columns

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.model_copy(update={"bias": None}).run(inputs, {self.weight: _even(stored["weight"])}, False)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        weight = call._tensor(a["weight"], node)
        kernel, dilation = _pair(a["weight"].meta["val"].shape[2:]), _pair(a["dilation"])
        padding: tuple[int, ...]
        if a["padding"] == "same":  # as PyTorch does it: the odd pixel goes to the bottom and the right
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            padding = (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
        else:
            vertical, horizontal = (0, 0) if a["padding"] == "valid" else _pair(a["padding"])
            padding = (vertical, vertical, horizontal, horizontal)
        return cls, {
            "inputs": (call._only_input(node),),
            "weight": weight,
            "bias": call._tensor(a["bias"], node),
            "kernel": kernel,
            "stride": _pair(a["stride"]),
            "padding": padding,
            "dilation": dilation,
            "groups": a["groups"],
        }


class Linear(Operation):
    """Fully connected layer over the last axis."""

    kind: Literal["linear"] = "linear"
    spelled = ("linear",)
    words = "linear"
    tensor_fields = ("weight", "bias")
    ranks = {"weight": 2, "bias": 1}
    weight: Name
    bias: Name | None

    def title(self, stored: dict[str, Sizes]) -> str:
        c_out, c_in = stored["weight"]
        places = f", {_sides(self.shape[:-1])} times" if len(self.shape) > 1 else ""
        return f"linear {c_in}→{c_out}{places}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.linear(inputs[0], tensors[self.weight], _read(tensors, self.bias))

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _uniform_by_fan_in(role, shapes, generator)

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return math.prod(stored["weight"]) * math.prod(self.shape[:-1])

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = (_mixed(axis, (len(self.shape),), self.shape) for axis in inputs[0])
        return rows, columns

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return F.linear(inputs[0], _even(stored["weight"]))

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        weight, bias = call._tensor(a["weight"], node), call._tensor(a["bias"], node)
        return cls, {"inputs": (call._only_input(node),), "weight": weight, "bias": bias}


class BatchNorm(EachNumber):
    """Batch normalisation over every axis but the second; `training` says when it uses the batch's own statistics."""

    kind: Literal["batch_norm"] = "batch_norm"
    spelled = ("batch_norm",)
    words = "batch norm"
    tensor_fields = ("weight", "bias", "running_mean", "running_var")
    ranks = {"weight": 1, "bias": 1, "running_mean": 1, "running_var": 1}
    weight: Name | None
    bias: Name | None
    running_mean: Name | None
    running_var: Name | None
    momentum: Number
    eps: Number
    usual = {"eps": (1e-5,)}
    of_training = ("momentum",)
    training: Mode

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"batch norm {self.shape[0]}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias, mean, var = (_read(tensors, getattr(self, role)) for role in self.tensor_fields)
        act = _acts(self.training, training)
        return F.batch_norm(inputs[0], mean, var, weight, bias, act, self.momentum, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        stored = {role: call._tensor(a[role], node) for role in cls.tensor_fields}
        mode = "always" if a["training"] else "never"
        rest = {"momentum": float(a["momentum"]), "eps": float(a["eps"]), "training": mode}
        return cls, {"inputs": (call._only_input(node),), **stored, **rest}


class GroupNorm(EachNumber):
    """Group normalisation."""

    kind: Literal["group_norm"] = "group_norm"
    spelled = ("group_norm",)
    words = "group norm"
    tensor_fields = ("weight", "bias")
    ranks = {"weight": 1, "bias": 1}
    groups: Positive
    weight: Name | None
    bias: Name | None
    eps: Number
    usual = {"eps": (1e-5,)}

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"group norm {self.shape[0]}, {self.groups} groups"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias = _read(tensors, self.weight), _read(tensors, self.bias)
        return F.group_norm(inputs[0], self.groups, weight, bias, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        stored = {role: call._tensor(a[role], node) for role in cls.tensor_fields}
        rest = {"groups": a["num_groups"], "eps": float(a["eps"])}
        return cls, {"inputs": (call._only_input(node),), **stored, **rest}


class LayerNorm(EachNumber):
    """Layer normalisation over the last `len(normalized)` axes."""

    kind: Literal["layer_norm"] = "layer_norm"
    spelled = ("layer_norm",)
    words = "layer norm"
    tensor_fields = ("weight", "bias")
    normalized: Shape
    weight: Name | None
    bias: Name | None
    eps: Number
    usual = {"eps": (1e-5,)}

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"layer norm {_sides(self.normalized)}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        weight, bias = _read(tensors, self.weight), _read(tensors, self.bias)
        return F.layer_norm(inputs[0], list(self.normalized), weight, bias, self.eps)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return _neutral(role, shapes)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        stored = {role: call._tensor(a[role], node) for role in cls.tensor_fields}
        rest = {"normalized": tuple(a["normalized_shape"]), "eps": float(a["eps"])}
        return cls, {"inputs": (call._only_input(node),), **stored, **rest}


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


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "hardtanh": ("min_val", "max_val"),
    "gelu": ("approximate",),
    "softplus": ("beta", "threshold"),
}
"""The numbers that some of them take; gelu's is 1 for tanh's approximation."""

USUAL_ARGUMENTS: dict[str, tuple[tuple[float, ...], ...]] = {
    "leaky_relu": ((0.01,),),
    "elu": ((1.0,),),
    "celu": ((1.0,),),
    "hardtanh": ((-1.0, 1.0), (0.0, 6.0)),  # the second is ReLU6
    "gelu": ((0.0,), (1.0,)),
    "softplus": ((1.0, 20.0),),
}
"""PyTorch's own."""


IN_PRINT: dict[str, str] = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "leaky ReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "logsigmoid": "log-sigmoid",
}
"""How the literature writes some of them; the others as PyTorch does."""


class Activation(EachNumber):
    """A function of each number by itself, with its numeric arguments (a leaky ReLU's slope, say)."""

    kind: Literal["activation"] = "activation"
    spelled = (*(name for name in ACTIVATIONS if name != "logsigmoid"), "log_sigmoid")
    words = "pointwise activations"
    function: Literal[tuple(ACTIVATIONS)]  # type: ignore[valid-type]  # the table above is the list
    arguments: Annotated[tuple[Number, ...], Field(max_length=3)] = ()

    def label(self) -> str:
        return str(self.function)

    def title(self, stored: dict[str, Sizes]) -> str:
        return IN_PRINT.get(self.function, str(self.function))

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return ACTIVATIONS[self.function](inputs[0], *self.arguments)

    def written(self) -> list[tuple[str, float]]:
        usual = USUAL_ARGUMENTS.get(self.function, ())
        numbers = enumerate(self.arguments) if self.arguments not in usual else ()
        return [(f"{self.function}.{place}", number) for place, number in numbers]

    @model_validator(mode="after")
    def _all_or_none(self) -> "Activation":
        """One number too many would be taken for `inplace`."""
        if len(self.arguments) not in (0, len(ARGUMENTS.get(self.function, ()))):
            raise ValueError(f"{self.function} takes {len(ARGUMENTS.get(self.function, ()))} numbers")
        if self.function == "celu" and self.arguments == (0.0,):
            raise ValueError("celu divides by alpha, which must not be 0")
        return self

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        kind = _operator(node).rstrip("_")
        function = "logsigmoid" if kind == "log_sigmoid" else kind
        given = (a[name] for name in ARGUMENTS.get(kind, ()))
        arguments = tuple(float(value == "tanh" if isinstance(value, str) else value) for value in given)
        return cls, {"inputs": (call._only_input(node),), "function": function, "arguments": arguments}


class PReLU(EachNumber):
    """ReLU with a learnt slope for negative numbers."""

    kind: Literal["prelu"] = "prelu"
    spelled = ("prelu",)
    tensor_fields = ("weight",)
    ranks = {"weight": 1}
    weight: Name

    def title(self, stored: dict[str, Sizes]) -> str:
        return "PReLU"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.prelu(inputs[0], tensors[self.weight])

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.full(shapes[role], 0.25)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        return cls, {"inputs": (call._only_input(node),), "weight": call._tensor(a["weight"], node)}


class MaxPool(Windowed):
    """Max pooling."""

    kind: Literal["max_pool"] = "max_pool"
    spelled = ("max_pool2d", "max_pool2d_with_indices")
    words = "max/average/adaptive pooling"
    kernel: Strides
    stride: Strides
    padding: Pair
    dilation: Strides
    ceil_mode: bool

    def title(self, stored: dict[str, Sizes]) -> str:
        return _pool_title("max pool", self.kernel, self.stride, self.shape)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.max_pool2d(inputs[0], self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def work(self, stored: dict[str, Sizes], shapes: list[Sizes]) -> int:
        return max(super().work(stored, shapes), math.prod(self.shape) * math.prod(self.kernel))

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        return _sliding(n_out, self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis])

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        """The sum over the window, with dilation and ceil_mode, as a convolution of each channel by itself."""
        x = inputs[0].reshape(len(inputs[0]), -1, *inputs[0].shape[-2:])  # a map without channels has one
        need = [
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(self.shape[-2:], self.stride, self.kernel, self.dilation, strict=True)
        ]
        after = [max(0, need[i] - x.shape[2 + i] - self.padding[i]) for i in (0, 1)]
        x = F.pad(x, (self.padding[1], after[1], self.padding[0], after[0]))
        weight = torch.ones(x.shape[1], 1, *self.kernel, dtype=x.dtype)
        out = F.conv2d(x, weight, stride=self.stride, dilation=self.dilation, groups=x.shape[1])
        return out[:, :, : self.shape[-2], : self.shape[-1]].reshape(-1, *self.shape)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        return cls, _pool_fields(call, node, a) | {"dilation": _pair(a["dilation"])}


class AvgPool(Windowed):
    """Average pooling."""

    kind: Literal["avg_pool"] = "avg_pool"
    spelled = ("avg_pool2d",)
    kernel: Strides
    stride: Strides
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool

    def title(self, stored: dict[str, Sizes]) -> str:
        return _pool_title("average pool", self.kernel, self.stride, self.shape)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        x, pad = inputs[0], self.padding
        return F.avg_pool2d(x, self.kernel, self.stride, pad, self.ceil_mode, self.count_include_pad)

    def work(self, stored: dict[str, Sizes], shapes: list[Sizes]) -> int:
        return max(super().work(stored, shapes), math.prod(self.shape) * math.prod(self.kernel))

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        return _sliding(n_out, self.kernel[axis], self.stride[axis], self.padding[axis], 1)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.run(inputs, {}, training=False)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if a["divisor_override"] is not None:
            raise Refused("avg_pool2d with divisor_override is outside the lab's list; leave it out.")
        return cls, _pool_fields(call, node, a) | {"count_include_pad": a["count_include_pad"]}


class AdaptivePool(Windowed):
    """Pooling to a map of a fixed size, whatever comes in; to 1x1 it is global pooling."""

    kind: Literal["adaptive_pool"] = "adaptive_pool"
    spelled = ("adaptive_avg_pool2d", "adaptive_max_pool2d")
    reduce: Literal["avg", "max"]
    size: Strides

    def label(self) -> str:
        return f"adaptive_{self.reduce}_pool"

    def title(self, stored: dict[str, Sizes]) -> str:
        reduce = {"avg": "average", "max": "max"}[self.reduce]
        return f"global {reduce} pool" if self.size == (1, 1) else f"adaptive {reduce} pool, {_sides(self.shape[-2:])}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        if self.reduce == "max":
            pooled: Tensor = F.adaptive_max_pool2d(inputs[0], self.size)
            return pooled
        return F.adaptive_avg_pool2d(inputs[0], self.size)

    def work(self, stored: dict[str, Sizes], shapes: list[Sizes]) -> int:
        overlapping = math.prod(n + n_out for n, n_out in zip(shapes[0][-2:], self.shape[-2:], strict=True))
        return max(super().work(stored, shapes), math.prod(self.shape[:-2]) * overlapping)

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        windows = [range(i * n // n_out, -(-(i + 1) * n // n_out)) for i in range(n_out)]
        return windows, Fraction(n, n_out)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return F.adaptive_avg_pool2d(inputs[0], self.size)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        reduce = "max" if "max" in _operator(node) else "avg"
        sides = zip(_pair(a["output_size"]), call._shape(node)[-2:], strict=True)
        size = tuple(n if side is None else side for side, n in sides)
        return cls, {"inputs": (call._only_input(node),), "reduce": reduce, "size": size}


class Dropout(EachNumber):
    """Dropout of single numbers, or of whole channels (`channels`)."""

    kind: Literal["dropout"] = "dropout"
    spelled = ("dropout", "feature_dropout")
    words = "dropout"
    p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    channels: bool
    training: Mode
    of_training = ("p",)

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"{'channel ' if self.channels else ''}dropout {self.p:g}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        drop = torch.feature_dropout if self.channels else F.dropout  # F.dropout2d, without its warning for vectors
        return drop(inputs[0], self.p, _acts(self.training, training))

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        mode, channels = "always" if a["train"] else "never", "feature" in _operator(node)
        return cls, {"inputs": (call._only_input(node),), "p": float(a["p"]), "channels": channels, "training": mode}


class StochasticDepth(EachNumber):
    """Leaves a branch out for some images of a batch: each image's numbers are kept, divided by `keep`, or all zero.

    Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016, as torchvision has it. It
    is no single call of PyTorch's: the translation knows it by its noise, one number an image.
    """

    kind: Literal["stochastic_depth"] = "stochastic_depth"
    words = "stochastic depth"
    keep: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]  # the probability
    training: Mode

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"stochastic depth {1 - self.keep:.2g}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        x = inputs[0]
        if not _acts(self.training, training):
            return x
        return x * x.new_empty(len(x), *(1 for _ in self.shape)).bernoulli_(self.keep).div_(self.keep)


VIEWS = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as", "reshape_as")


class Reshape(Moved):
    """The same numbers in another shape (flatten, view, reshape, squeeze, unsqueeze)."""

    kind: Literal["reshape"] = "reshape"
    spelled = VIEWS
    words = "flatten, reshape"

    def label(self) -> str:
        return "flatten" if len(self.shape) == 1 else "reshape"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].reshape(-1, *self.shape)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        return fields.reshaped(inputs[0], shapes[0], self.shape)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        return cls, {"inputs": (call._only_input(node),)}


class Mean(Operation):
    """Mean over some axes, counted with the batch as axis 0."""

    kind: Literal["mean"] = "mean"
    spelled = ("mean",)
    words = "mean"
    axes: Annotated[tuple[AxisNumber, ...], Field(min_length=1, max_length=6)]
    keepdim: bool

    def title(self, stored: dict[str, Sizes]) -> str:
        return "global average pool" if self.axes == (2, 3) else f"mean {_sides(self.shape)}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].mean(self.axes, keepdim=self.keepdim)

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        kept = tuple(1 if i + 1 in self.axes else n for i, n in enumerate(shapes[0]))
        rows, columns = (_mixed(axis, self.axes, kept) for axis in inputs[0])
        if self.keepdim:
            return rows, columns
        return _without(rows, self.axes), _without(columns, self.axes)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.run(inputs, {}, training=False)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        source = call._only_input(node)  # what went wrong before comes first
        if a.get("dim") is None or a["dtype"] is not None:
            raise Refused("the mean of everything mixes the batch; name the axes: x.mean((2, 3)).")
        dims = a["dim"] if isinstance(a["dim"], (list, tuple)) else [a["dim"]]
        axes = tuple(sorted(_axis(dim, node) for dim in dims))
        return cls, {"inputs": (source,), "axes": axes, "keepdim": a["keepdim"]}


class Scale(EachNumber):
    """A fixed factor and a fixed shift: x -> x * factor + shift (`x - 0.13`, `x / 0.31`)."""

    kind: Literal["scale"] = "scale"
    spelled = ("neg", "rsub", "div")
    factor: Number
    shift: Number
    usual = {"factor": (1.0,), "shift": (0.0,)}

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0] * self.factor + self.shift

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        operator = _operator(node).rstrip("_")
        if operator == "neg":
            factor, shift = -1.0, 0.0
        elif operator == "rsub":
            if isinstance(a["other"], Node):
                raise Refused("write `y - x` for two maps.")
            factor, shift = -float(a["alpha"]), float(a["other"])
        else:
            if not isinstance(a["other"], (int, float)) or a["other"] == 0:
                raise Refused("only division by a fixed number is on the lab's list; multiply instead.")
            factor, shift = 1.0 / a["other"], 0.0
        return cls, {"inputs": (call._only_input(node),), "factor": factor, "shift": shift}


class GLU(Operation):
    """Gated linear unit: along one axis (the batch is axis 0), the first half times the sigmoid of the second."""

    kind: Literal["glu"] = "glu"
    spelled = ("glu",)
    words = "gated linear units"
    axis: AxisNumber

    def title(self, stored: dict[str, Sizes]) -> str:
        return f"GLU {_sides(self.shape)}"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return F.glu(inputs[0], self.axis)

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        half = shapes[0][self.axis - 1] // 2
        first, second = range(half), range(half, 2 * half)
        rows, columns = (
            fields.join([fields.picked(axis, first), fields.picked(axis, second)]) if axis.along == self.axis else axis
            for axis in inputs[0]
        )
        return rows, columns

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        first, second = inputs[0].chunk(2, self.axis)
        return first + second

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        return cls, {"inputs": (call._only_input(node),), "axis": _axis(a["dim"], node)}


class _Pairwise(Operation):
    """Two maps met number by number, or a map and a stored tensor (`tensor`)."""

    tensor_fields = ("tensor",)
    tensor: Name | None

    def arity(self) -> int | None:
        return 1 if self.tensor else 2

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        return _met(inputs)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        other = torch.zeros(stored["tensor"], dtype=inputs[0].dtype) if self.tensor else inputs[1]
        return inputs[0] + other


class Add(_Pairwise):
    """Sum of two maps, or of a map and a stored tensor (`tensor`); the second one times `alpha`."""

    kind: Literal["add"] = "add"
    spelled = ("add", "sub")
    words = "add, mul"
    alpha: Number
    usual = {"alpha": (1.0,)}

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        other = tensors[self.tensor] if self.tensor else inputs[1]
        return torch.add(inputs[0], other, alpha=self.alpha)

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.zeros(shapes[role])  # PyTorch has no such layer: the map passes unchanged, as after a norm

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        sign = -1.0 if _operator(node).startswith("sub") else 1.0
        if isinstance(a["other"], (int, float)):
            shift = sign * a["alpha"] * a["other"]
            return Scale, {"inputs": (call._only_input(node),), "factor": 1.0, "shift": float(shift)}
        if isinstance(a["self"], Node) and a["self"].name in call.stored and (sign, a["alpha"]) != (1.0, 1):
            raise Refused("a stored tensor minus a map; write `x * -1 + t`.")
        inputs, tensor = _two(call, node, a)
        return cls, {"inputs": inputs, "tensor": tensor, "alpha": sign * a["alpha"]}


class Mul(_Pairwise):
    """Product of two maps, or of a map and a stored tensor (`tensor`)."""

    kind: Literal["mul"] = "mul"
    spelled = ("mul",)

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0] * (tensors[self.tensor] if self.tensor else inputs[1])

    def draw(self, role: str, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
        return torch.ones(shapes[role])  # PyTorch has no such layer: the map passes unchanged, as after a norm

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if isinstance(a["other"], (int, float)):
            return Scale, {"inputs": (call._only_input(node),), "factor": float(a["other"]), "shift": 0.0}
        inputs, tensor = _two(call, node, a)
        return cls, {"inputs": inputs, "tensor": tensor}


class Cat(Moved):
    """Maps joined along one axis, counted with the batch as axis 0."""

    kind: Literal["cat"] = "cat"
    spelled = ("cat", "concat")
    words = "cat"
    axis: Annotated[int, Field(ge=1, le=6)]

    def arity(self) -> int | None:
        return None

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return torch.cat(inputs, dim=self.axis)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        return fields.apart(self._joined(0, inputs, shapes), self._joined(1, inputs, shapes))

    def _joined(self, which: int, inputs: list[Axes], shapes: list[Sizes]) -> Axis:
        axes = [axes[which] for axes in inputs]
        if all(axis.along != self.axis for axis in axes):
            return fields.join(axes)
        sizes = [shape[self.axis - 1] for shape in shapes]
        laid = [a if a.along == self.axis else fields.whole(a, n, self.axis) for a, n in zip(axes, sizes, strict=True)]
        return fields.end_to_end(laid)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        inputs = tuple(call._input(arg, node) for arg in a["tensors"])
        return cls, {"inputs": inputs, "axis": _axis(a["dim"], node)}


class Pad(Windowed):
    """A border of a fixed value; `padding` is (top, bottom, left, right) in pixels, negative to crop."""

    kind: Literal["pad"] = "pad"
    spelled = ("pad", "constant_pad_nd")
    words = "pad"
    padding: Annotated[tuple[Annotated[int, Field(ge=-4096, le=4096)], ...], Field(min_length=4, max_length=4)]
    value: Number
    usual = {"value": (0.0,)}

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        top, bottom, left, right = self.padding
        if inputs[0].dim() > 2:
            return F.pad(inputs[0], (left, right, top, bottom), value=self.value)
        if top or bottom:
            raise ValueError("a vector has no rows to pad")  # what lies there is the next image
        return F.pad(inputs[0], (left, right), value=self.value)

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        return _sliding(n_out, 1, 1, self.padding[2 * axis], 1)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.run(inputs, {}, training=False)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if a.get("mode", "constant") != "constant":
            raise Refused("only padding with a fixed value is on the lab's list (padding_mode='zeros').")
        if len(a["pad"]) not in (2, 4):
            raise Refused("only the last two axes, rows and columns, can be padded: F.pad with two or four numbers.")
        left, right, top, bottom = [*a["pad"], 0, 0][:4]
        value = float(a.get("value") or 0)
        return cls, {"inputs": (call._only_input(node),), "padding": (top, bottom, left, right), "value": value}


Factor = Annotated[float, Field(ge=1 / 4096, le=4096, allow_inf_nan=False)]


class Interpolate(Windowed):
    """A map resized to `size`; `scale` is the factor per axis where the network gave one (it sets the sampling)."""

    kind: Literal["interpolate"] = "interpolate"
    spelled = ("upsample_nearest2d", "upsample_bilinear2d")
    words = "interpolate"
    mode: Literal["nearest", "bilinear"]
    size: Strides
    scale: tuple[Factor, Factor] | None
    align_corners: bool

    def written(self) -> list[tuple[str, float]]:
        """A whole factor, or one over it, is a size."""
        return [(role, n) for role, n in super().written() if not (n.is_integer() or (1 / n).is_integer())]

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        size, scale = (None, list(self.scale)) if self.scale else (list(self.size), None)
        if self.mode == "nearest":
            return torch.ops.aten.upsample_nearest2d.vec(inputs[0], size, scale)  # type: ignore[no-any-return]
        return torch.ops.aten.upsample_bilinear2d.vec(  # type: ignore[no-any-return]
            inputs[0], size, self.align_corners, scale
        )

    def window(self, axis: int, n: int, n_out: int) -> tuple[list[range], Fraction]:
        copied = self.mode == "nearest" and n_out in (n, 2 * n)  # each unit once or twice: PyTorch takes no scale then
        scale = 1 / self.scale[axis] if self.scale and not copied else n / n_out
        return [self._sampled(i, n, n_out, scale) for i in range(n_out)], Fraction(n, n_out)

    def _sampled(self, i: int, n: int, n_out: int, scale: float) -> range:
        """The input units that unit i of a resized map is made from, by PyTorch's sampling rules."""
        if self.mode == "nearest":
            source = min(int(i * scale), n - 1)
            return range(source, source + 1)
        if self.align_corners:
            position = i * ((n - 1) / (n_out - 1)) if n_out > 1 else 0.0
        else:
            position = max(0.0, (i + 0.5) * scale - 0.5)
        first = min(int(position), n - 1)
        between = position > first and first < n - 1  # on a unit exactly, its neighbour has no weight
        return range(first, first + 1 + between)

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return self.run(inputs, {}, training=False)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        scale = a["scale_factors"]
        return cls, {
            "inputs": (call._only_input(node),),
            "mode": "nearest" if "nearest" in _operator(node) else "bilinear",
            "size": call._shape(node)[1:],
            "scale": tuple(float(s) for s in scale) if scale else None,
            "align_corners": bool(a.get("align_corners")),
        }


class Softmax(Operation):
    """Softmax or its logarithm along one axis, counted with the batch as axis 0."""

    kind: Literal["softmax"] = "softmax"
    spelled = ("softmax", "log_softmax")
    words = "softmax and log-softmax"
    axis: AxisNumber
    log: bool

    def label(self) -> str:
        return "log_softmax" if self.log else "softmax"

    def title(self, stored: dict[str, Sizes]) -> str:
        return "log-softmax" if self.log else "softmax"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return (F.log_softmax if self.log else F.softmax)(inputs[0], dim=self.axis)

    def multiply_adds(self, stored: dict[str, Sizes]) -> int:
        return 0

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = (_mixed(axis, (self.axis,), self.shape) for axis in inputs[0])
        return rows, columns

    def twin(self, inputs: list[Tensor], stored: dict[str, Sizes]) -> Tensor:
        return inputs[0] + inputs[0].sum(self.axis, keepdim=True)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        log = "log" in _operator(node)
        return cls, {"inputs": (call._only_input(node),), "axis": _axis(a["dim"], node), "log": log}


class Transpose(Moved):
    """Axes in another order (transpose, permute, swapaxes, movedim): output axis i is the input's axis order[i - 1]."""

    kind: Literal["transpose"] = "transpose"
    spelled = ("transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis")
    words = "transpose, permute"
    order: Annotated[tuple[AxisNumber, ...], Field(max_length=6)]

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].permute(0, *self.order)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = (axis.moved(axis.along and self.order.index(axis.along) + 1) for axis in inputs[0])
        return rows, columns

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        dims = _first_shape(node)
        order = list(range(len(dims)))
        if "dims" in a:
            order = [d % len(dims) for d in a["dims"]]
        elif "source" in a:
            moves = zip(_list(a["source"]), _list(a["destination"]), strict=True)
            pairs = sorted((to % len(dims), of % len(dims)) for of, to in moves)
            order = [d for d in order if d not in {of for _, of in pairs}]
            for to, of in pairs:
                order.insert(to, of)
        else:
            one, other = (a[name] % len(dims) for name in a if name in ("dim0", "dim1", "axis0", "axis1"))
            order[one], order[other] = order[other], order[one]
        if order[0] != 0:
            raise Refused(f"{_operator(node)} moves the batch; it must stay the first axis.")
        return cls, {"inputs": (call._only_input(node),), "order": tuple(order[1:])}


class Slice(Moved):
    """A fixed range of units along one axis (`x[:, :4]`, chunk, split): start, start + step, ... below stop."""

    kind: Literal["slice"] = "slice"
    spelled = ("slice", "narrow", "getitem")
    words = "slices and single places of an axis"
    axis: AxisNumber
    start: Index
    stop: Index
    step: Positive

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0][(slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)]

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        units = range(self.start, min(self.stop, shapes[0][self.axis - 1]), self.step)
        rows, columns = (fields.picked(a, units) if a.along == self.axis else a for a in inputs[0])
        return rows, columns

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if _operator(node) == "getitem":  # one part of several: chunk, split
            parts, index = cast(tuple[Node, int], node.args)
            axis, sizes = _part_sizes(parts)
            start = sum(sizes[:index])
            stop, inputs = start + sizes[index], (call._only_input(parts),)
            return cls, {"inputs": inputs, "axis": axis, "start": start, "stop": stop, "step": 1}
        source, axis = call._only_input(node), _axis(a["dim"], node)
        n = _first_shape(node)[axis]
        if _operator(node) == "narrow":
            bounds = (a["start"], a["start"] + a["length"], 1)
        else:
            bounds = (a["start"], a["end"], a["step"])  # the largest integer stands for an open end
        if not all(isinstance(bound, int | None) for bound in bounds):
            raise Refused("a slice whose ends are computed; only fixed ones are on the lab's list.")
        start, stop, step = slice(*bounds).indices(n)
        return cls, {"inputs": (source,), "axis": axis, "start": start, "stop": stop, "step": step}


class Select(Moved):
    """One fixed place of an axis, which is gone then (`x[:, 0]`)."""

    kind: Literal["select"] = "select"
    spelled = ("select",)
    axis: AxisNumber
    index: Index

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].select(self.axis, self.index)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        units = range(self.index, self.index + 1)
        chosen = (fields.picked(a, units) if a.along == self.axis else a for a in inputs[0])
        rows, columns = (_without(axis, (self.axis,)) for axis in chosen)
        return rows, columns

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if not isinstance(a["index"], int):
            raise Refused("a place that is computed; only a fixed index is on the lab's list.")
        axis = _axis(a["dim"], node)
        index = a["index"] % _first_shape(node)[axis]
        return cls, {"inputs": (call._only_input(node),), "axis": axis, "index": index}


class Stack(Moved):
    """Maps of one shape along a new axis, counted in the output with the batch as axis 0."""

    kind: Literal["stack"] = "stack"
    spelled = ("stack",)
    words = "stack"
    axis: AxisNumber

    def arity(self) -> int | None:
        return None

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return torch.stack(inputs, dim=self.axis)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = _met(inputs)
        return _after_new(rows, self.axis), _after_new(columns, self.axis)

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        inputs = tuple(call._input(arg, node) for arg in a["tensors"])
        axis = a["dim"] % len(node.meta["val"].shape)
        if axis == 0:
            raise Refused("stack puts the maps in front of the batch; write torch.stack(..., dim=1) and .mean(1).")
        return cls, {"inputs": inputs, "axis": axis}


class Expand(Moved):
    """Axes with one unit repeated (expand, expand_as), as products and sums do by themselves."""

    kind: Literal["expand"] = "expand"
    spelled = ("expand", "expand_as", "broadcast_to")
    words = "expand"

    def run(self, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        return inputs[0].expand(-1, *self.shape)

    def sees(self, inputs: list[Axes], shapes: list[Sizes]) -> Axes:
        rows, columns = (
            axis if axis.along is None or len(axis.clipped) == (n := self.shape[axis.along - 1])
            else fields.whole(axis, n, axis.along)
            for axis in inputs[0]
        )  # fmt: skip
        return rows, columns

    @classmethod
    def read(cls, call: Call, node: Node, a: dict[str, Any]) -> Built:
        if len(_first_shape(node)) != len(call._shape(node)) + 1:
            raise Refused("expand adds an axis; add it with x.unsqueeze(...) first.")
        return cls, {"inputs": (call._input(a["self"], node),)}


def _kinds(base: type[Operation]) -> tuple[type[Operation], ...]:
    """Every class below `base` that is a kind of its own, in the order of this file."""
    found: dict[type[Operation], None] = {}
    for sub in base.__subclasses__():
        if "kind" in sub.model_fields:
            found[sub] = None
        found.update(dict.fromkeys(_kinds(sub)))
    return tuple(found)


KINDS = _kinds(Operation)
"""Every kind of operation that a graph may hold."""

if TYPE_CHECKING:
    AnyOperation = Operation
else:
    AnyOperation = Annotated[Union[KINDS], Field(discriminator="kind")]  # noqa: UP007 (made of a tuple)

ALLOWED = ", ".join(kind.words for kind in KINDS if kind.words)
"""The operations that a graph may hold, in words."""


# -- what several kinds share -----------------------------------------------------------------------------------------


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


def _even(shape: Sizes) -> Tensor:
    """Positive weights, all the same, of which each output's add up to one."""
    return torch.full(shape, shape[0] / math.prod(shape), dtype=torch.float64)


def _sliding(n_out: int, kernel: int, stride: int, before: int, dilation: int) -> tuple[list[range], Fraction]:
    """A window that moves by `stride`: the units stride * i - before + dilation * t, t = 0 .. kernel - 1."""
    reach = (kernel - 1) * dilation + 1
    starts = (i * stride - before for i in range(n_out))
    return [range(start, start + reach, dilation) for start in starts], Fraction(stride)


def _mixed(axis: Axis, over: Sequence[int], shape: Sizes) -> Axis:
    """The axis after everything along the axes `over` has been mixed. shape: of the output, with all its axes."""
    return fields.whole(axis, shape[axis.along - 1], axis.along) if axis.along in over and axis.along else axis


def _without(axis: Axis, gone: Sequence[int]) -> Axis:
    """The axis once those axes of the output, which have one unit each, are gone."""
    if axis.along is None or axis.along in gone:
        return axis.moved(None)
    return axis.moved(axis.along - sum(axis.along > other for other in gone))


def _after_new(axis: Axis, new: int) -> Axis:
    return axis if axis.along is None else axis.moved(axis.along + (axis.along >= new))


def _met(inputs: list[Axes]) -> Axes:
    return fields.apart(fields.join([rows for rows, _ in inputs]), fields.join([columns for _, columns in inputs]))


def _sides(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _square(sides: tuple[int, int]) -> str:
    """'2' for two and two, '1x2' for one and two."""
    return str(sides[0]) if sides[0] == sides[1] else _sides(sides)


def _unless(usual: tuple[int, int], sides: tuple[int, int]) -> str:
    """' 5x5', or nothing for the usual sides."""
    return "" if sides == usual else f" {_sides(sides)}"


def _pool_title(words: str, kernel: tuple[int, int], stride: tuple[int, int], shape: Sizes) -> str:
    apart = "" if stride == kernel else f", stride {_square(stride)}"
    return f"{words}{_unless((2, 2), kernel)}{apart}, {_sides(shape[-2:])}"


# -- what several kinds take from a call ------------------------------------------------------------------------------


def _operator(node: Node) -> str:
    """aten.conv2d.default -> conv2d; operator.getitem -> getitem."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name.split("::")[-1])
    return str(getattr(target, "__name__", target))


def _first_shape(node: Node) -> Sequence[Any]:
    """Shape of the first tensor, with the batch, which may be a symbol (for `cat`, of the first of the list)."""
    value = next(iter(node.all_input_nodes), node).meta["val"]
    return tuple((value if isinstance(value, Tensor) else value[0]).shape)


def _axis(axis: int, node: Node) -> int:
    """An axis counted from the front, the batch being 0."""
    axis = axis % len(_first_shape(node))
    if axis == 0:
        raise Refused(f"{_operator(node)} works across the batch; each image must stand by itself.")
    return axis


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _pair(value: Any) -> tuple[Any, Any]:
    """PyTorch writes a square as one number, as [n] or as [n, n]."""
    values = _list(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _pool_fields(call: Call, node: Node, a: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": (call._only_input(node),),
        "kernel": _pair(a["kernel_size"]),
        "stride": _pair(a["stride"] or a["kernel_size"]),
        "padding": _pair(a["padding"]),
        "ceil_mode": a["ceil_mode"],
    }


def _two(call: Call, node: Node, a: dict[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The operands of a sum or product: two maps, or a map and a stored tensor, in either order."""
    first, second = a["self"], a["other"]
    if isinstance(first, Node) and first.name in call.stored:
        first, second = second, first
    if isinstance(second, Node) and second.name in call.stored:
        return (call._input(first, node),), call._tensor(second, node)
    return (call._input(first, node), call._input(second, node)), None


PARTED = ("chunk", "split", "split_with_sizes", "tensor_split")
"""Operators that give several slices of their input: each `getitem` of one is a Slice."""


def is_parted(node: Node) -> bool:
    """Does the node give several slices of its input?"""
    return _operator(node) in PARTED


def _part_sizes(parts: Node) -> tuple[int, list[int]]:
    """The axis along which a parted node's input is cut, and the size of each part. Raises Refused."""
    names = [argument.name for argument in parts.target._schema.arguments]  # type: ignore[union-attr]
    given = dict(zip(names, parts.args, strict=False)) | dict(parts.kwargs)
    axis = _axis(given.get("dim", 0), parts)
    return axis, [int(part.shape[axis]) for part in parts.meta["val"]]
