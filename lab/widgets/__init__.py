"""Networks to touch: `explore` shows what each layer sees and answers, `draw` asks a network about one's own digit.

Both give a page (`page`) that carries the network and executes it by itself: it goes on in a saved notebook, in a page
made of one and after a restart, where no kernel runs. `take_home` writes such a page to a file of its own.

`packing`: what a page carries. `features`: what each layer answers to an image. `drawing`: how a drawn digit becomes
one like MNIST's. `answer`: what the network says to it. `home`: the page in a file, and the network as ONNX.
`static/`: the page's scripts and its style.
"""

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from lab import plots
from lab.widgets import drawing
from lab.widgets.answer import WidgetError, probabilities
from lab.widgets.features import Probe, growing, one_of_each
from lab.widgets.home import Home, take_home
from lab.widgets.packing import carried
from lab.widgets.page import Page

__all__ = ["Home", "Page", "WidgetError", "draw", "explore", "take_home"]


def explore(model: nn.Module, images: Tensor | None = None) -> Page:
    """What each layer of a network sees of a digit and answers to it, layer by layer, unit by unit.

    For a unit that is pointed at, it shows how its value comes about (weights times patch), and for the whole digit how
    much of the evidence for each class comes from where. The network is shown as it is now; after more training, call
    again. Its mode and its device stay as they are.

    images: (N, 28, 28) uint8, 0 to 255; without them, ten of MNIST's training images, one of each class.

    Raises ProbeError for anything but a network and such images, GraphError for a network that can't be written down,
    WidgetError for one that is too large for a page or has diverged, DataError without MNIST.
    """
    probe = Probe(model, one_of_each() if images is None else images)

    def figure() -> Axes:
        image, shown = probe.image(0), growing(probe.layers)
        return plots.exploration(image, [probe.layers[i] for i in shown], [probe.maps(i, image) for i in shown])

    return Page("explore", carried(probe.graph, probe.layers, probe.images), figure)


def draw(model: nn.Module) -> Page:
    """A canvas to draw a digit on; the network answers while one draws.

    The drawing is brought into MNIST's form (`lab.widgets.drawing`). The network answers as in eval mode, with the
    weights that it has now; after more training, call again. Its mode and its device stay as they are.

    Raises ProbeError for anything but a network, GraphError for one that can't be written down, WidgetError for one
    that gives no row of logits, is too large for a page or has diverged.
    """
    probe = Probe(model, drawing.to_mnist(drawing.EXAMPLE)[None])
    answer = probabilities(probe)
    classes = [str(i) for i in range(len(answer))]

    def figure() -> Axes:
        seeing = growing(probe.layers)
        layer = probe.layers[seeing[len(seeing) // 2]]
        return plots.drawing(probe.image(0), answer, classes, layer)

    return Page("draw", carried(probe.graph, probe.layers, torch.empty(0, 28, 28, dtype=torch.uint8)), figure)
