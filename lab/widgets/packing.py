"""What a page carries of a network: its graph and weights, what is known of its layers, and some images."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from lab.augment import MEAN, STD
from lab.graph import Document, Graph
from lab.layers import Layer
from lab.receptive import Axis
from lab.widgets import drawing
from lab.widgets.answer import WidgetError

MAX_NUMBERS = 1_000_000
"""Weights that a page carries, at most: about 5 MB of text."""


def carried(graph: Graph, layers: Sequence[Layer], images: Tensor) -> dict[str, Any]:
    """All that a page needs to know, for JSON. images: (N, 28, 28) uint8. Raises WidgetError as `packed` does."""
    network = packed(graph)
    return {
        "graph": network.graph,
        "weights": network.weights,
        "layers": [_described(number, layer, len(layers)) for number, layer in enumerate(layers, 1)],
        "images": [b64encode(image.numpy().tobytes()).decode() for image in images],
        "normalisation": [MEAN, STD],
        "pen": drawing.PEN,
        "palette": _palette(),
    }


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


def _described(number: int, layer: Layer, of: int) -> dict[str, Any]:
    """What the page shows of a layer: its title, the facts as text, where its maps lie, what each of its units sees."""
    field = layer.field
    facts = [
        ("layer", f"{number} of {of}"),
        ("output", "x".join(map(str, layer.shape))),
        ("parameters", f"{layer.parameters:,}"),
        ("multiply-adds", f"{layer.multiply_adds:,}"),
        ("sees", "{}x{} pixels".format(*field.size)),
        ("within the image", "{}x{} pixels".format(*field.clipped)),
        ("jump", "{}x{} pixels".format(*field.jump)),
    ]
    return {
        "name": layer.name,
        "title": layer.heading,
        "facts": [list(fact) for fact in facts],
        "share": max(field.clipped) / drawing.SIDE,
        "units": list(field.units),
        "along": [field.rows.along, field.columns.along],  # axes of the output, the batch being 0
        "rows": _seen(field.rows),
        "columns": _seen(field.columns),
    }


def _seen(axis: Axis) -> list[list[int]]:
    """First pixel, last pixel and number of pixels, by unit."""
    return [[i.low, i.high, i.size] if i.size else [0, -1, 0] for i in axis.clipped]


def _palette() -> list[list[int]]:
    """Eleven colours from blue over white to red, which the page mixes: those of the still pictures."""
    colours = mpl.colormaps["RdBu_r"](np.linspace(0, 1, 11), bytes=True)  # (11, 4)
    return [colour[:3].tolist() for colour in colours]
