"""Networks to touch: `explore` shows what each layer sees and answers, `draw` asks a network about one's own digit.

Each shows a widget where a person can drive it, and a still picture everywhere else: in a saved notebook that no kernel
runs, on a page made of it, and where LAB_PROGRESS=0 says that nobody is there.

`features`: what each layer answers to an image. `drawing`: how a drawn digit becomes one like MNIST's. `answer`: what
the network says to it. `still`: the picture. `live`: the kernel's side of the widgets. `static/`: the page's side.
"""

import importlib.util
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from lab import data, plots
from lab.train import is_watched
from lab.widgets import drawing
from lab.widgets.answer import WidgetError, probabilities
from lab.widgets.features import Probe, growing
from lab.widgets.still import Still

if TYPE_CHECKING:
    from lab.widgets.live import Explorer, Sketchpad

__all__ = ["Still", "WidgetError", "draw", "explore"]

NO_ANYWIDGET = "This is a picture only; to drive it: pip install anywidget, then restart the kernel."


def explore(model: nn.Module, images: Tensor | None = None) -> "Explorer | Still":
    """What each layer of a network sees of a digit and answers to it, layer by layer, unit by unit.

    The network is shown as it is now; after more training, call again. Its mode and its device stay as they are.

    images: (N, 28, 28) uint8, 0 to 255; without them, ten of MNIST's training images, one of each class.

    Gives a widget; a still picture where LAB_PROGRESS=0 or anywidget is not installed. Raises ProbeError for anything
    but a network and such images, GraphError for a network that can't be written down, DataError without MNIST.
    """
    probe = Probe(model, _one_of_each() if images is None else images)

    def figure() -> Axes:
        image, shown = probe.image(0), growing(probe.layers)
        return plots.exploration(image, [probe.layers[i] for i in shown], [probe.maps(i, image) for i in shown])

    if not is_watched():
        return Still(figure)
    if not _has_anywidget():
        return Still(figure, NO_ANYWIDGET)
    from lab.widgets.live import Explorer

    return Explorer(probe, Still(figure))


def draw(model: nn.Module) -> "Sketchpad | Still":
    """A canvas to draw a digit on; the network answers while one draws.

    The drawing is brought into MNIST's form (`lab.widgets.drawing`). The network answers in eval mode, where it is,
    with the weights that it has at that moment; its mode stays as it was.

    Gives a widget; a still picture where LAB_PROGRESS=0 or anywidget is not installed. Raises ProbeError for anything
    but a network, GraphError for one that can't be written down, WidgetError for one that gives no row of logits.
    """
    probe = Probe(model, drawing.to_mnist(drawing.EXAMPLE)[None])
    shape = probe.graph.output_shape
    if len(shape) != 1:
        raise WidgetError(f"the network gives {shape} for an image; wants one row of logits, (10,).")

    def figure() -> Axes:
        seeing = growing(probe.layers)
        layer = probe.layers[seeing[len(seeing) // 2]]
        classes = [str(i) for i in range(shape[0])]
        return plots.drawing(probe.image(0), probabilities(model, probe.image(0)), classes, layer)

    if not is_watched():
        return Still(figure)
    if not _has_anywidget():
        return Still(figure, NO_ANYWIDGET)
    from lab.widgets.live import Sketchpad

    return Sketchpad(model, probe.layers, Still(figure))


def _one_of_each() -> Tensor:
    train = data.load("mnist").train
    return torch.stack([train.images[train.labels == label][0] for label in range(10)])


def _has_anywidget() -> bool:
    return importlib.util.find_spec("anywidget") is not None
