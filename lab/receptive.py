"""What each layer sees: its receptive field, worked out from the graph alone, and two ways to look at it by gradient.

Along one axis, a layer's unit i reads the units  stride * i - padding + dilation * t,  t = 0 .. kernel - 1,  of the
layer before. Following that back to the pixels gives every unit an interval. For a plain chain of layers the intervals
are a lattice (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
equations 1 to 4; theirs start at the middle of a unit's field, ours at its first pixel):

    jump_l  = jump_{l-1} * stride_l
    size_l  = size_{l-1} + (kernel_l - 1) * dilation_l * jump_{l-1}
    start_l = start_{l-1} - padding_l * jump_{l-1}

We keep the interval of every unit instead of the three numbers, so that branches (`add`, `cat`: the union), resizing
and adaptive pooling need no special formula. What a window, a branch or a slice does to the intervals is in
`lab/fields.py`; which of these an operation is, it knows itself (`Operation.sees`).

The intervals are exact, with one exception: where a reshape merges or splits the axis of the rows or of the columns,
what comes after it is taken to see all that the map sees. That is never too little.

Batch, group and layer norm are taken for what they are per pixel, a scale and a shift: the statistics that they
gather over the map are left out, as in the literature.
"""

import torch
from torch import Tensor, nn

from lab import fields
from lab.fields import Axis, Field, Interval
from lab.graph import Graph, axes_of, capture
from lab.operations import INPUT

__all__ = [
    "Axis",
    "Field",
    "Interval",
    "as_maps",
    "effective_field",
    "footprint",
    "receptive_field",
    "receptive_fields",
]


def receptive_fields(network: Graph | nn.Module) -> list[Field]:
    """The field of every operation of a network, in the order of execution. Raises GraphError as `capture` does."""
    graph = network if isinstance(network, Graph) else capture(network)
    axes = axes_of(graph)
    return [Field(op.name, *axes[op.name]) for op in graph.operations]


def receptive_field(network: Graph | nn.Module, name: str) -> Field:
    """The field of the operation called `name`. Raises GraphError where there is none."""
    graph = network if isinstance(network, Graph) else capture(network)
    index = graph.operations.index(graph[name])
    return receptive_fields(graph)[index]


# -- by gradient ------------------------------------------------------------------------------------------------------


def footprint(graph: Graph, name: str, row: int | None = None, column: int | None = None) -> tuple[Interval, Interval]:
    """The same as `Field.box`, found a second way: rows and columns of the pixels with any gradient.

    It is not the network's own gradient, which is zero where a ReLU is off, where another unit won the max pooling or
    where two weights cancel. The gradient is taken in a twin with the same connections that is linear and in which
    nothing can cancel: the same positive weights everywhere, average for max pooling, sums for products, no
    activations. It shows which pixels *can* matter for any weights; which ones do is `effective_field`'s to say.
    """
    x = torch.zeros(1, *graph.input_shape, dtype=torch.float64, requires_grad=True)
    field, values = receptive_field(graph, name), {INPUT: x}
    for op in graph.operations:
        out = values[op.name] = op.twin([values[n] for n in op.inputs], graph.stored_shapes(op))
        if op.name == name:
            for axis, unit in ((field.rows, row), (field.columns, column)):
                if axis.along is not None:
                    middle = out.shape[axis.along] // 2 if unit is None else unit
                    out = out.narrow(axis.along, middle, 1)
            (gradient,) = torch.autograd.grad(out.sum(), x)
            touched = gradient[0].sum(0) > 0  # (H, W)
            return _extent(touched.any(1)), _extent(touched.any(0))
    raise AssertionError("receptive_field found it")


def _extent(touched: Tensor) -> Interval:
    indices = touched.nonzero().flatten().tolist()
    return Interval(indices[0], indices[-1]) if indices else fields.NOTHING


def as_maps(field: Field, output: Tensor) -> Tensor:
    """The output of a layer for one image as maps (channels, rows, columns), wherever its rows and columns lie.

    A layer without a map (after flatten, a fully connected layer) gives channels of one unit.
    """
    places = [axis.along for axis in (field.rows, field.columns) if axis.along is not None]
    maps = output.movedim([along - 1 for along in places], list(range(-len(places), 0))) if places else output
    return maps.reshape(-1, *field.units)


def effective_field(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """How much each pixel really matters to the unit in the middle of a layer: (H, W), summing to 1.

    The mean over images x (B, C, H, W) of the absolute gradient of that unit, summed over channels (Luo, Li, Urtasun
    and Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016).
    Zeros where no gradient flows. Raises GraphError where no operation is called `name`.
    """
    network = capture(model, x.shape[1:]).build().eval()
    x = x.detach().cpu().requires_grad_()
    out = network(x, until=name)
    field = receptive_field(network.graph, name)
    for axis in (field.rows, field.columns):
        if axis.along is not None:
            out = out.narrow(axis.along, out.shape[axis.along] // 2, 1)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    mass = gradient.abs().mean(0).sum(0)  # (H, W)
    return mass / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)
