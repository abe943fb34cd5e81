"""What does each layer answer to an image? Its feature maps, as a network that is kept still gives them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab import data
from lab.augment import to_input
from lab.errors import LabError
from lab.graph import Graph, capture
from lab.layers import Layer, layer_table
from lab.receptive import as_maps

SIDE = 28
"""Side of the images that a probe shows to its network, in pixels."""


class ProbeError(LabError):
    """A network or images that can't be probed."""


class Probe:
    """A network as it is now, in eval mode and on the CPU, and images to show to it.

    graph, layers: what it executes, and the layer table. images: (N, 28, 28) uint8.

    Raises ProbeError for anything but a network and such images, GraphError as `capture` does.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.graph = captured(model)
        self.layers: Sequence[Layer] = layer_table(self.graph)
        self.images = _checked(images)
        self._network = self.graph.build().eval()

    def image(self, index: int, shift: tuple[int, int] = (0, 0)) -> Tensor:
        """Image (28, 28) number `index`, moved by whole pixels, down and to the right; background comes in."""
        return shifted(self.images[index], *shift)

    @torch.inference_mode()
    def maps(self, layer: int, image: Tensor) -> Tensor:
        """The feature maps (channels, rows, columns) of a layer for an image (28, 28).

        A layer without a map (after flatten, a fully connected layer) gives channels of one unit.
        """
        x = to_input(image[None])  # (1, 1, 28, 28)
        out: Tensor = self._network(x, until=self.layers[layer].name)[0]
        return as_maps(self.layers[layer].field, out)


def one_of_each() -> Tensor:
    """Ten of MNIST's training images, one of each class: (10, 28, 28) uint8. Raises DataError without MNIST."""
    train = data.load("mnist").train
    return torch.stack([train.images[train.labels == label][0] for label in range(10)])


def captured(model: nn.Module) -> Graph:
    """What `model` executes on one digit. Raises ProbeError for what is no network, GraphError as `capture` does."""
    if not isinstance(model, nn.Module):
        made = " It is a class: call it, to make a network." if isinstance(model, type) else ""
        raise ProbeError(f"expected a network, an nn.Module; this is {type(model).__name__}.{made}")
    return capture(model, (1, SIDE, SIDE))


def _checked(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.dim() != 3:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ProbeError(f"images must be a tensor (N, {SIDE}, {SIDE}) of uint8, 0 to 255; this is {found}.")
    if not len(images) or images.shape[1:] != (SIDE, SIDE):
        raise ProbeError(f"images must be (N, {SIDE}, {SIDE}), one or more; these are {tuple(images.shape)}.")
    return images.cpu()


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """An image (H, W) moved by whole pixels; what leaves is lost, what comes in is 0."""
    height, width = image.shape
    moved = torch.zeros_like(image)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return moved


def growing(layers: Sequence[Layer], at_most: int = 4) -> list[int]:
    """The places of the layers with a map that see more than the one before, evenly thinned; the first if none does."""
    sizes = [(1, 1), *(layer.field.size for layer in layers)]
    found = [i for i, layer in enumerate(layers) if len(layer.shape) == 3 and sizes[i + 1] != sizes[i]] or [0]
    kept = torch.linspace(0, len(found) - 1, min(at_most, len(found))).round().int()
    return [found[i] for i in kept.tolist()]
