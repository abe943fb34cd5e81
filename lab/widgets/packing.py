"""A network in the form that a page carries: its graph as JSON, its weights as text."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.graph import Document, Graph
from lab.widgets.answer import WidgetError

MAX_NUMBERS = 250_000
"""Weights that a page carries, at most: more would make it larger than 1.3 MB."""


@dataclass(frozen=True)
class Packed:
    """What `static/network.js` makes a network of.

    graph: as in graph.json, without what only people read. weights: by tensor, base64 of its numbers, float32 and
    little-endian.
    """

    graph: dict[str, Any]
    weights: dict[str, str]


def packed(graph: Graph) -> Packed:
    """A graph in the page's form. Raises WidgetError where a weight is no finite number, and for too many of them."""
    numbers = sum(weight.numel() for weight in graph.weights.values())
    if numbers > MAX_NUMBERS:
        raise WidgetError(
            f"the network has {numbers:,} numbers in its tensors, and a page carries {MAX_NUMBERS:,} at most: "
            "make it smaller; the assignment allows fewer than 20,000."
        )
    if not all(torch.isfinite(weight).all() for weight in graph.weights.values()):
        raise WidgetError("the network has weights that are NaN or infinite: its training diverged; train more slowly.")
    document = Document(input_shape=graph.input_shape, operations=graph.operations, tensors=graph.tensors)
    written = document.model_dump(mode="json", exclude={"idle": True, "operations": {"__all__": {"line"}}})
    return Packed(written, {name: _as_text(weight) for name, weight in graph.weights.items()})


def _as_text(weight: Tensor) -> str:
    return b64encode(weight.detach().cpu().numpy().astype("<f4").tobytes()).decode()
