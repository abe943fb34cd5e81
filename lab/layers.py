"""What each layer costs and what it sees: the layer table, one row for every executed operation."""

from dataclasses import dataclass
from typing import Any

from lab.graph import Graph
from lab.operations import Operation
from lab.receptive import Field, receptive_fields


@dataclass(frozen=True)
class Layer:
    """One row of the layer table."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output, without the batch
    parameters: int  # that this layer is the first to use
    multiply_adds: int  # for one image
    field: Field  # what it sees

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON; pairs are (down, across)."""
        field = {
            "size": self.field.size,
            "clipped": self.field.clipped,
            "jump": [float(jump) for jump in self.field.jump],
            "start": self.field.start,
        }
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": self.shape,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": field,
        }


def layer_table(graph: Graph) -> list[Layer]:
    """The rows, in the order of execution. Their parameters add up to `graph.parameters`."""
    counts = graph.counted_by_operation()
    rows = []
    for op, field in zip(graph.operations, receptive_fields(graph), strict=True):
        rows.append(Layer(op.name, op.label(), op.shape, counts[op.name].total, multiply_adds(graph, op), field))
    return rows


def multiply_adds(graph: Graph, op: Operation) -> int:
    """Multiply-adds of one operation on one image: each weight once for every place where it is applied.

    Counted for convolutions and fully connected layers, with which everything else is small beside (He and Sun,
    "Convolutional Neural Networks at Constrained Time Cost", CVPR 2015, equation 1).
    """
    return op.multiply_adds(graph.stored_shapes(op))
