"""The widgets' side in the kernel: what a person does arrives as traits, what is to be drawn leaves as traits.

The page's side (`static/*.js`) draws what it is sent and works nothing out. Everything that it shows of a layer comes
from `lab.layers` and `lab.receptive`, every colour and text from here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import matplotlib as mpl
import torch
import traitlets
from torch import Tensor, nn

from lab.errors import LabError
from lab.layers import Layer
from lab.receptive import Axis, Interval
from lab.widgets import drawing
from lab.widgets.answer import probabilities
from lab.widgets.features import Probe
from lab.widgets.still import Still

MAX_SHIFT = 8
"""How far a digit can be dragged, in pixels."""
MAX_CHANNELS = 256
"""Feature maps of one layer that are sent to the page."""
STATIC = Path(__file__).parent / "static"


class _Replacing(anywidget.AnyWidget):
    """A widget that takes the place of its still picture as soon as kernel and page have spoken to each other."""

    _css = (STATIC / "widgets.css").read_text(encoding="utf-8")
    live = traitlets.Unicode().tag(sync=True)  # class of the element on the page
    layers: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)  # what the page shows of each layer
    layer = traitlets.Int(0).tag(sync=True)

    def __init__(self, layers: Sequence[Layer], still: Still) -> None:
        self._still = still
        super().__init__(layers=[_described(number, layer, len(layers)) for number, layer in enumerate(layers, 1)])
        self.live = f"lab-live-{self.model_id}"
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: Any, __: Any) -> None:
        """The page asks whether a kernel is there."""
        if content == "there?":
            self.send("here")

    def _ipython_display_(self) -> None:
        self._still.show(self.model_id, self.live)

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> int:
        return _between(0, proposal["value"], len(self.layers) - 1)


class Explorer(_Replacing):
    """Feature maps and receptive boxes of a network.

    layer, channel, unit (row, column), digit (which image), shift (down, right; pixels): what the person chose; a value
    out of range is brought into it. scene: what there is to draw for that.
    """

    _esm = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("common.js", "explore.js"))
    digits = traitlets.Int().tag(sync=True)  # how many images there are
    digit = traitlets.Int(0).tag(sync=True)
    shift = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    max_shift = traitlets.Int(MAX_SHIFT).tag(sync=True)
    channel = traitlets.Int(0).tag(sync=True)
    unit = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)

    def __init__(self, probe: Probe, still: Still) -> None:
        self._probe = probe
        super().__init__(probe.layers, still)
        self.digits = len(probe.images)
        self._draw()
        self._to_middle()
        self.observe(self._new_layer, "layer")
        self.observe(self._draw, ["digit", "shift"])

    @property
    def box(self) -> tuple[Interval, Interval]:
        """Rows and columns of the image that the chosen unit sees."""
        return self._probe.layers[self.layer].field.box(*self.unit)

    def _new_layer(self, _: Any) -> None:
        with self.hold_sync():  # the page gets one message: maps and unit belong together
            self._draw()
            self.channel = _between(0, self.channel, self.scene["shape"][0] - 1)
            self._to_middle()

    def _to_middle(self) -> None:
        rows, columns = self._probe.layers[self.layer].field.units
        self.unit = (rows // 2, columns // 2)

    def _draw(self, _: Any = None) -> None:
        image = self._probe.image(self.digit, self.shift)
        every = self._probe.maps(self.layer, image)
        maps = every[:MAX_CHANNELS]
        left_out = f"the first {len(maps)} of {len(every)} channels" if len(maps) < len(every) else ""
        self.scene = {
            "layer": self.layer,
            "pixels": _ink(image),
            "shape": list(maps.shape),
            "maps": _coloured(maps),
            "note": left_out,
        }

    @traitlets.validate("digit")
    def _known_digit(self, proposal: Any) -> int:
        return _between(0, proposal["value"], len(self._probe.images) - 1)

    @traitlets.validate("shift")
    def _near_shift(self, proposal: Any) -> tuple[int, int]:
        down, right = proposal["value"]
        return _between(-MAX_SHIFT, down, MAX_SHIFT), _between(-MAX_SHIFT, right, MAX_SHIFT)

    @traitlets.validate("channel")
    def _known_channel(self, proposal: Any) -> int:
        return _between(0, proposal["value"], self.scene["shape"][0] - 1 if self.scene else 0)

    @traitlets.validate("unit")
    def _known_unit(self, proposal: Any) -> tuple[int, int]:
        rows, columns = self._probe.layers[self.layer].field.units
        row, column = proposal["value"]
        return _between(0, row, rows - 1), _between(0, column, columns - 1)


class Sketchpad(_Replacing):
    """A canvas whose drawing a network names.

    strokes: what was drawn, each a list of points (x, y) from 0 to 1. answer: what there is to show for that.
    """

    _esm = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("common.js", "draw.js"))
    pen = traitlets.Float(drawing.PEN).tag(sync=True)  # thickness, as a share of the canvas's side
    strokes: traitlets.List[list[list[float]]] = traitlets.List().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, model: nn.Module, layers: Sequence[Layer], still: Still) -> None:
        self._model = model
        super().__init__(layers, still)
        self._answer_drawing()
        self.observe(self._answer_drawing, "strokes")

    def _answer_drawing(self, _: Any = None) -> None:
        try:
            image = drawing.to_mnist(self.strokes)
            shares = probabilities(self._model, image)
        except LabError as error:  # raised here, it would end up in the server's log: nobody reads it there
            self.answer = {"text": f"{type(error).__name__}: {error}", "pixels": None, "bars": []}
            return
        if not image.any():
            shares, text = [0.0] * len(shares), "The canvas is empty: draw a digit."
        else:
            best = max(range(len(shares)), key=shares.__getitem__)
            text = f"The network's answer: {best}, {shares[best]:.0%} sure."
        bars = [{"name": str(i), "share": share, "text": f"{share:.1%}"} for i, share in enumerate(shares)]
        self.answer = {"text": text, "pixels": _ink(image), "bars": bars}


def _between(low: int, value: int, high: int) -> int:
    return min(max(value, low), high)


def _described(number: int, layer: Layer, of: int) -> dict[str, Any]:
    """What the page shows of a layer: its name, the facts as text, and what each of its units sees."""
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
        "name": f"{layer.name} ({layer.kind})",
        "facts": [list(fact) for fact in facts],
        "share": max(field.clipped) / drawing.SIDE,
        "rows": _seen(field.rows),
        "columns": _seen(field.columns),
        "middle": [n // 2 for n in field.units],
    }


def _seen(axis: Axis) -> list[list[int]]:
    """First pixel, last pixel and number of pixels, by unit."""
    return [[i.low, i.high, i.size] if i.size else [0, -1, 0] for i in axis.clipped]


def _ink(image: Tensor) -> bytes:
    """An image (H, W) uint8 as dark ink on paper: (H, W, 4) red, green, blue and opacity."""
    paper = 255 - image[..., None].expand(-1, -1, 3)
    return _opaque(paper)


def _coloured(maps: Tensor) -> bytes:
    """Maps (C, H, W) on one scale: blue below zero, white at zero, red above; (C, H, W, 4) bytes."""
    finite = maps.nan_to_num(0, 0, 0)
    limit = max(float(finite.abs().max()), 1e-9)
    colours = mpl.colormaps["RdBu_r"]((finite / limit + 1).div(2).numpy(), bytes=True)  # (C, H, W, 4)
    return bytes(colours.tobytes())


def _opaque(colours: Tensor) -> bytes:
    alpha = torch.full((*colours.shape[:-1], 1), 255, dtype=torch.uint8)
    return torch.cat([colours, alpha], -1).numpy().tobytes()
