"""Networks to touch: `explore` shows what each layer sees and answers, `draw` asks a network about one's own digit.

Each shows a widget where a person can drive it, and a still picture everywhere else: in a saved notebook that no kernel
runs, on a page made of it, and where LAB_PROGRESS=0 says that nobody is there.
"""

import html
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from lab import data, drawing, plots
from lab.errors import LabError
from lab.features import Probe, growing
from lab.train import is_watched, predict

if TYPE_CHECKING:
    from lab.live import Explorer, Sketchpad

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NO_ANYWIDGET = "This is a picture only; to drive it: pip install anywidget, then restart the kernel."


class WidgetError(LabError):
    """A network that a widget can't be made for."""


@dataclass(frozen=True)
class Still:
    """A picture that stands for a widget. figure: draws it; its label is the text for those who can't see it."""

    figure: Callable[[], Axes]
    note: str = ""  # shown below

    def bundle(self, live: str = "") -> dict[str, str]:
        """The picture as a cell's output, in every form. It gives way to the element of class `live`, if it appears."""
        parts = plots.bundle(self.figure())
        return parts | {"text/html": _page(parts["text/html"], self.note, live)}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.bundle()

    def show(self, model_id: str, live: str) -> None:
        """Display the picture and, after it, the widget that takes its place.

        Two outputs, not one in two forms: JupyterLab shows a widget's form even where its kernel is gone, and then
        says "Error displaying widget". The picture's style hides that line, and the picture once the widget lives.
        """
        from IPython.display import display

        display(self.bundle(live), raw=True)
        view = {"version_major": 2, "version_minor": 0, "model_id": model_id}
        display({WIDGET_VIEW: view, "text/plain": ""}, raw=True)


def _page(image: str, note: str, live: str) -> str:
    below = f"<p>{html.escape(note)}</p>" if note else ""
    if not live:
        return f'<div class="lab-still">{image}{below}</div>'
    still, output = f"still-{live}", ".jp-OutputArea-child"
    places = (
        ".jp-OutputArea",
        ":root:not(:has(.jp-OutputArea))",
    )  # a cell's outputs in Jupyter; VS Code's, Colab's frame
    style = f"{', '.join(f'{place}:has(.{live}) .{still}' for place in places)} {{ display: none; }} "
    style += f"{output}:has(.{still}) + {output}:not(:has(.{live})) {{ display: none; }}"
    return f'<div class="lab-still {still}"><style>{style}</style>{image}{below}</div>'


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
    from lab.live import Explorer

    return Explorer(probe, Still(figure))


def draw(model: nn.Module) -> "Sketchpad | Still":
    """A canvas to draw a digit on; the network answers while one draws.

    The drawing is brought into MNIST's form (`lab.drawing`). The network answers in eval mode, where it is, with the
    weights that it has at that moment; its mode stays as it was.

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
    from lab.live import Sketchpad

    return Sketchpad(model, probe.layers, Still(figure))


def probabilities(model: nn.Module, image: Tensor) -> list[float]:
    """How sure the network is of each class, 0..1, for an image (28, 28) uint8. Raises WidgetError for NaN."""
    logits = predict(model, image[None])[0]  # (classes,)
    if not torch.isfinite(logits).all():
        raise WidgetError("the network answers with NaN or infinity: its training diverged; train again, more slowly.")
    return [float(p) for p in logits.softmax(0)]


def _one_of_each() -> Tensor:
    train = data.load("mnist").train
    return torch.stack([train.images[train.labels == label][0] for label in range(10)])


def _has_anywidget() -> bool:
    return importlib.util.find_spec("anywidget") is not None
