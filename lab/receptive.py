"""What each layer sees: its receptive field, worked out from the graph alone, and two ways to look at it by gradient.

Along one axis, a layer's unit i reads the units  stride * i - padding + dilation * t,  t = 0 .. kernel - 1,  of the
layer before. Following that back to the pixels gives every unit an interval. For a plain chain of layers the intervals
are a lattice (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
equations 1 to 4; theirs start at the middle of a unit's field, ours at its first pixel):

    jump_l  = jump_{l-1} * stride_l
    size_l  = size_{l-1} + (kernel_l - 1) * dilation_l * jump_{l-1}
    start_l = start_{l-1} - padding_l * jump_{l-1}

We keep the interval of every unit instead of the three numbers, so that branches (`add`, `cat`: the union), resizing
and adaptive pooling need no special formula.

Batch, group and layer norm are taken for what they are per pixel, a scale and a shift: the statistics that they
gather over the map are left out, as in the literature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.errors import GraphError
from lab.graph import Graph, capture
from lab.operations import (
    INPUT,
    AdaptivePool,
    Add,
    AvgPool,
    Cat,
    Conv2d,
    Interpolate,
    Linear,
    MaxPool,
    Mean,
    Mul,
    Operation,
    Pad,
    Reshape,
    Softmax,
)


class Interval(NamedTuple):
    """Input pixels from `low` to `high`, both counted in; empty where high < low."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many pixels."""
        return max(0, self.high - self.low + 1)


_NOTHING = Interval(2**40, -(2**40))


@dataclass(frozen=True)
class Axis:
    """What the units along one axis of a map see.

    unclipped: by unit, as if the image went on for ever.
    clipped: by unit, the pixels of the image that can reach it through units that exist.
    jump: how far the field moves from one unit to the next, in pixels; 0 where every unit sees the same.
    """

    unclipped: tuple[Interval, ...]
    clipped: tuple[Interval, ...]
    jump: Fraction

    def at(self, unit: int) -> Interval:
        """The unclipped field of a unit, of one beyond the map's edge (in the padding) too."""
        inside = min(max(unit, 0), len(self.unclipped) - 1)
        shift = int((unit - inside) * self.jump)
        return Interval(self.unclipped[inside].low + shift, self.unclipped[inside].high + shift)


@dataclass(frozen=True)
class Field:
    """The receptive field of one layer: `rows` runs down the image, `columns` across it.

    A layer without a map (after flatten, a fully connected layer) counts as one unit that sees what its inputs see.
    """

    name: str
    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels, of the field of the unit in the middle, as if the image went on for ever."""
        rows, columns = self.rows.unclipped, self.columns.unclipped
        return rows[len(rows) // 2].size, columns[len(columns) // 2].size

    @property
    def clipped(self) -> tuple[int, int]:
        """The same within the image."""
        rows, columns = self.rows.clipped, self.columns.clipped
        return rows[len(rows) // 2].size, columns[len(columns) // 2].size

    @property
    def jump(self) -> tuple[Fraction, Fraction]:
        """Pixels, down and across, from one unit's field to the next one's."""
        return self.rows.jump, self.columns.jump

    @property
    def start(self) -> tuple[int, int]:
        """Row and column of the first pixel of the first unit's field; negative where it begins in the padding."""
        return self.rows.unclipped[0].low, self.columns.unclipped[0].low

    @property
    def units(self) -> tuple[int, int]:
        """Height and width of the map, in units."""
        return len(self.rows.unclipped), len(self.columns.unclipped)

    def box(self, row: int | None = None, column: int | None = None) -> tuple[Interval, Interval]:
        """Rows and columns of the image that one unit sees; the middle unit where none is named."""
        rows = self.rows.clipped[len(self.rows.clipped) // 2 if row is None else row]
        columns = self.columns.clipped[len(self.columns.clipped) // 2 if column is None else column]
        return (rows, columns) if rows.size and columns.size else (_NOTHING, _NOTHING)


def receptive_fields(network: Graph | nn.Module) -> list[Field]:
    """The field of every operation of a network, in the order of execution. Raises GraphError as `capture` does."""
    graph = network if isinstance(network, Graph) else capture(network)
    _, height, width = graph.input_shape
    fields = {INPUT: Field(INPUT, _pixels(height), _pixels(width))}
    for op in graph.operations:
        inputs = [fields[name] for name in op.inputs]
        shapes = [graph.shape_of(name) for name in op.inputs]
        fields[op.name] = Field(op.name, *_axes(op, inputs, shapes))
    return list(fields.values())[1:]


def receptive_field(network: Graph | nn.Module, name: str) -> Field:
    """The field of the operation called `name`. Raises GraphError where there is none."""
    graph = network if isinstance(network, Graph) else capture(network)
    index = graph.operations.index(graph[name])
    return receptive_fields(graph)[index]


# -- along one axis ---------------------------------------------------------------------------------------------------


def _pixels(n: int) -> Axis:
    each = tuple(Interval(i, i) for i in range(n))
    return Axis(each, each, Fraction(1))


def _union(intervals: Sequence[Interval]) -> Interval:
    seen = [interval for interval in intervals if interval.size] or [_NOTHING]
    return Interval(min(i.low for i in seen), max(i.high for i in seen))


def _whole(axis: Axis, n: int = 1) -> Axis:
    """n units that each see what all units of `axis` see together."""
    return Axis((_union(axis.unclipped),) * n, (_union(axis.clipped),) * n, Fraction(0))


def _through(axis: Axis, windows: Sequence[range], step: Fraction) -> Axis:
    """The axis after a layer whose unit i reads the units windows[i], of which some may lie in the padding."""
    units = range(len(axis.clipped))
    unclipped = [_union([axis.at(window[0]), axis.at(window[-1])]) for window in windows]
    clipped = [_union([axis.clipped[k] for k in window if k in units]) for window in windows]
    return Axis(tuple(unclipped), tuple(clipped), axis.jump * step)


def _join(axes: Sequence[Axis]) -> Axis:
    """Branches that meet unit by unit: the union. A branch with one unit is spread over the others' units."""
    n = max(len(axis.clipped) for axis in axes)
    spread = [axis if len(axis.clipped) == n else _whole(axis, n) for axis in axes]
    unclipped = tuple(_union(each) for each in zip(*(axis.unclipped for axis in spread), strict=True))
    clipped = tuple(_union(each) for each in zip(*(axis.clipped for axis in spread), strict=True))
    return Axis(unclipped, clipped, max(axis.jump for axis in spread))


def _end_to_end(axes: Sequence[Axis]) -> Axis:
    """Maps laid side by side along this axis."""
    unclipped = tuple(interval for axis in axes for interval in axis.unclipped)
    clipped = tuple(interval for axis in axes for interval in axis.clipped)
    return Axis(unclipped, clipped, max(axis.jump for axis in axes))


# -- one operation ----------------------------------------------------------------------------------------------------


def _axes(op: Operation, inputs: list[Field], shapes: list[tuple[int, ...]]) -> tuple[Axis, Axis]:
    """Rows and columns of the operation's output. Only an output (channels, rows, columns) has a map."""
    first, shape = inputs[0], op.shape
    if isinstance(op, (Add, Mul)) or (isinstance(op, Cat) and op.axis == 1):
        return _join([f.rows for f in inputs]), _join([f.columns for f in inputs])
    if isinstance(op, Cat) and op.axis == 2:
        return _end_to_end([f.rows for f in inputs]), _join([f.columns for f in inputs])
    if isinstance(op, Cat):
        return _join([f.rows for f in inputs]), _end_to_end([f.columns for f in inputs])
    if isinstance(op, Reshape):
        if len(shape) == len(shapes[0]) == 3 and shape[1:] == shapes[0][1:]:
            return first.rows, first.columns
        n_rows, n_columns = shape[1:] if len(shape) == 3 else (1, 1)
        return _whole(first.rows, n_rows), _whole(first.columns, n_columns)
    if isinstance(op, Linear):  # it reads the last axis: columns of a map, everything of a vector
        return first.rows, _whole(first.columns, shape[2] if len(shape) == 3 else 1)
    if isinstance(op, (Mean, Softmax)):
        return _over_axes(op, first, shape, len(shapes[0]) == 3)
    windows = _windows(op, shapes[0])
    if windows is None:
        return first.rows, first.columns
    (rows, row_step), (columns, column_step) = windows
    return _through(first.rows, rows, row_step), _through(first.columns, columns, column_step)


def _over_axes(op: Mean | Softmax, field: Field, shape: tuple[int, ...], is_map: bool) -> tuple[Axis, Axis]:
    if not is_map:
        return field.rows, field.columns
    if len(shape) != 3:  # the axes are gone: what is left is no map
        return _whole(field.rows), _whole(field.columns)
    axes = op.axes if isinstance(op, Mean) else (op.axis,)
    rows = _whole(field.rows, shape[1]) if 2 in axes else field.rows
    return rows, _whole(field.columns, shape[2]) if 3 in axes else field.columns


_Windows = tuple[list[range], Fraction]


def _windows(op: Operation, shape: tuple[int, ...]) -> tuple[_Windows, _Windows] | None:
    """For rows and columns: the input units that each output unit reads, and the growth of the jump.

    None for an operation on each unit by itself.
    """
    if isinstance(op, (Conv2d, MaxPool, AvgPool, Pad, AdaptivePool, Interpolate)):
        return _axis_windows(op, 0, shape[1]), _axis_windows(op, 1, shape[2])
    return None


def _axis_windows(op: Operation, axis: int, n: int) -> _Windows:
    """One axis (0: rows, 1: columns) of `_windows`; n units come in."""
    out = range(op.shape[1 + axis])
    if isinstance(op, (Conv2d, MaxPool, AvgPool)):
        before = op.padding[2 * axis] if isinstance(op, Conv2d) else op.padding[axis]
        dilation = 1 if isinstance(op, AvgPool) else op.dilation[axis]
        reach, stride = (op.kernel[axis] - 1) * dilation + 1, op.stride[axis]
        return [range(i * stride - before, i * stride - before + reach, dilation) for i in out], Fraction(stride)
    if isinstance(op, Pad):
        return [range(i - op.padding[2 * axis], i - op.padding[2 * axis] + 1) for i in out], Fraction(1)
    step = Fraction(n, len(out))
    if isinstance(op, AdaptivePool):
        return [range(i * n // len(out), -(-(i + 1) * n // len(out))) for i in out], step
    if isinstance(op, Interpolate):
        scale = 1 / op.scale[axis] if op.scale else n / len(out)
        return [_sampled(op, i, n, len(out), scale) for i in out], step
    raise GraphError(f"operation {op.name!r} has no window")


def _sampled(op: Interpolate, i: int, n: int, n_out: int, scale: float) -> range:
    """The input units that unit i of a resized map is made from, by PyTorch's sampling rules."""
    if op.mode == "nearest":
        source = min(int(i * scale), n - 1)
        return range(source, source + 1)
    if op.align_corners:
        position = i * ((n - 1) / (n_out - 1)) if n_out > 1 else 0.0
    else:
        position = max(0.0, (i + 0.5) * scale - 0.5)
    first = min(int(position), n - 1)
    between = position > first and first < n - 1  # on a unit exactly, its neighbour has no weight
    return range(first, first + 1 + between)


# -- by gradient ------------------------------------------------------------------------------------------------------


def footprint(graph: Graph, name: str, row: int | None = None, column: int | None = None) -> tuple[Interval, Interval]:
    """The same as `Field.box`, found a second way: rows and columns of the pixels with any gradient.

    The gradient is taken in a linear twin of the network, in which nothing can cancel: positive weights, average
    for max pooling, sums for products, no activations.
    """
    x = torch.zeros(1, *graph.input_shape, dtype=torch.float64, requires_grad=True)
    values = {INPUT: x}
    for op in graph.operations:
        out = values[op.name] = _twin(op, [values[n] for n in op.inputs], graph)
        if op.name == name:
            if out.dim() == 4:
                out = out[:, :, _middle(row, out.shape[2]), _middle(column, out.shape[3])]
            (gradient,) = torch.autograd.grad(out.sum(), x)
            touched = gradient[0].sum(0) > 0  # (H, W)
            return _extent(touched.any(1)), _extent(touched.any(0))
    raise GraphError(f"no operation is called {name!r}")


def _middle(unit: int | None, n: int) -> int:
    return n // 2 if unit is None else unit


def _extent(touched: Tensor) -> Interval:
    indices = touched.nonzero().flatten().tolist()
    return Interval(indices[0], indices[-1]) if indices else _NOTHING


def _twin(op: Operation, inputs: list[Tensor], graph: Graph) -> Tensor:
    """The operation's linear, positive twin."""
    x = inputs[0]
    if isinstance(op, (Conv2d, Linear)):
        shape = graph.tensors[op.weight].shape
        weight = torch.full(shape, shape[0] / graph.tensors[op.weight].numbers, dtype=torch.float64)
        return op.model_copy(update={"bias": None}).run([x], {op.weight: weight}, training=False)
    if isinstance(op, MaxPool):
        return _average_pool(op, x)
    if isinstance(op, AdaptivePool):
        return F.adaptive_avg_pool2d(x, op.size)
    if isinstance(op, (Add, Mul)):
        other = inputs[1] if len(inputs) == 2 else torch.zeros(graph.tensors[op.tensor or ""].shape)
        return x + other
    if isinstance(op, Softmax):
        return x + x.sum(op.axis, keepdim=True)
    if isinstance(op, (AvgPool, Cat, Interpolate, Mean, Pad, Reshape)):
        return op.run(inputs, {}, training=False)
    return x


def _average_pool(op: MaxPool, x: Tensor) -> Tensor:
    """Average pooling with dilation (which PyTorch lacks) and ceil_mode, as a convolution of each channel by itself."""
    need = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(op.shape[1:], op.stride, op.kernel, op.dilation, strict=True)
    ]
    after = [max(0, need[i] - x.shape[2 + i] - op.padding[i]) for i in (0, 1)]
    x = F.pad(x, (op.padding[1], after[1], op.padding[0], after[0]))
    weight = torch.ones(x.shape[1], 1, *op.kernel, dtype=x.dtype)
    out = F.conv2d(x, weight, stride=op.stride, dilation=op.dilation, groups=x.shape[1])
    return out[:, :, : op.shape[1], : op.shape[2]]


def effective_field(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """How much each pixel really matters to the unit in the middle of a layer: (H, W), summing to 1.

    The mean over images x (B, C, H, W) of the absolute gradient of that unit, summed over channels (Luo, Li, Urtasun
    and Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016).
    Zeros where no gradient flows. Raises GraphError where no operation is called `name`.
    """
    network = capture(model, x.shape[1:]).build().eval()
    x = x.detach().cpu().requires_grad_()
    out = network(x, until=name)
    if out.dim() == 4:
        out = out[:, :, out.shape[2] // 2, out.shape[3] // 2]
    (gradient,) = torch.autograd.grad(out.sum(), x)
    mass = gradient.abs().mean(0).sum(0)  # (H, W)
    return mass / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)
