"""What each layer costs and what it sees: the layer table, one row for every executed operation."""

from dataclasses import dataclass
from typing import Any

from lab.graph import Graph
from lab.operations import Operation
from lab.receptive import Field, receptive_fields


@dataclass(frozen=True)
class Layer:
    """One row of the layer table."""

    name: str  # the module's path, or what PyTorch calls the function; no two rows share one
    title: str  # what a person calls it: "conv 16→24, 14x14"
    kind: str
    shape: tuple[int, ...]  # of its output, without the batch
    parameters: int  # that this layer is the first to use
    multiply_adds: int  # for one image
    field: Field  # what it sees

    @property
    def heading(self) -> str:
        """The title and the path, which tells two layers of one title apart: "conv 16→24, 14x14 (layer1.0)"."""
        return self.title if self.title == self.name else f"{self.title} ({self.name})"

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
            "title": self.title,
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
        title, parameters = op.title(graph.stored_shapes(op)), counts[op.name].total
        rows.append(Layer(op.name, title, op.label(), op.shape, parameters, multiply_adds(graph, op), field))
    return rows


def multiply_adds(graph: Graph, op: Operation) -> int:
    """Multiply-adds of one operation on one image: each weight once for every place where it is applied.

    Counted for convolutions and fully connected layers, with which everything else is small beside (He and Sun,
    "Convolutional Neural Networks at Constrained Time Cost", CVPR 2015, equation 1).
    """
    return op.multiply_adds(graph.stored_shapes(op))
