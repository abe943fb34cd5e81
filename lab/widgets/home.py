"""A network to take home: one page that works without anything else, and the same network as ONNX."""

import importlib.util
import warnings
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

import torch
from torch import nn

from lab._files import write_whole
from lab.graph import Graph
from lab.widgets.answer import WidgetError, probabilities
from lab.widgets.features import Probe, one_of_each
from lab.widgets.packing import carried
from lab.widgets.page import STATIC, mark, started, style

OPSET = 18
"""ONNX's version of the operations: the first that `torch.onnx` writes without converting."""
NO_ONNX = "No .onnx file: for one, pip install onnx onnxscript, then call take_home again."


@dataclass(frozen=True)
class Home:
    """What was written. onnx: None where the packages that write it are not installed."""

    page: Path
    onnx: Path | None

    def __repr__(self) -> str:
        """For the person who called: which files there are, how large, and what to do with them."""
        page = f"{self.page}, {self.page.stat().st_size / 1000:,.0f} kB: open it in a browser, or send it to a phone."
        onnx = f"{self.onnx}: the network for other programs; (N, 1, 28, 28) normalised pixels in, scores out."
        return f"{page}\n{onnx if self.onnx else NO_ONNX}"


def take_home(model: nn.Module, path: Path | str = "my_network.html") -> Home:
    """Write a network as one page: draw a digit, see the answer, see inside the layers; and as .onnx beside it.

    The page needs no server, no internet and no Python. It holds the network as it is now, for about 5 bytes a
    parameter; nothing that is drawn in it leaves it. Each file is written whole or not at all.

    The .onnx file takes what `lab.augment.to_input` gives; it needs the packages onnx and onnxscript, and is left out,
    with a word of it, where they are not installed.

    Raises ProbeError for anything but a network, GraphError for one that can't be written down, WidgetError for one
    that gives no row of logits, is too large for a page or has diverged, and for a path that does not end in .html,
    FileError where it can't be written, DataError without MNIST, whose digits the page shows.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise WidgetError(f"{path}: a page's name ends in .html; choose such a name.")
    probe = Probe(model, one_of_each())
    probabilities(probe)  # raises for what gives none
    write_whole(path, _document(_name(model), probe))
    if not all(importlib.util.find_spec(package) for package in ("onnx", "onnxscript")):
        return Home(path, None)
    onnx = path.with_suffix(".onnx")
    write_whole(onnx, _as_onnx(probe.graph))
    return Home(path, onnx)


def _name(model: nn.Module) -> str:
    name = type(model).__name__
    return "My network" if name == "Sequential" else name


def _document(name: str, probe: Probe) -> str:
    """The whole page. Its policy lets in nothing but the one script and the one style that are written here."""
    contents = carried(probe.graph, probe.layers, probe.images)
    script, styles = started("takeHome", contents), style() + (STATIC / "home.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_allowed(script)}; style-src {_allowed(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(name)} reads your handwriting</title>
<link rel="icon" href="data:,">
<style>{styles}</style>
</head>
<body>
<header>
<h1>{escape(name)} reads your handwriting</h1>
<p>A neural network of {probe.graph.parameters:,} parameters, trained on handwritten digits. Draw a digit from 0 to 9
and look inside. The network runs in this page: nothing that you draw leaves it.</p>
</header>
<main class="lab-place lab-{mark(contents)}"><p class="lab-still">This page needs JavaScript.</p></main>
<script>{script}</script>
<footer>Made with the 99.4 Lab.</footer>
</body>
</html>
"""


def _allowed(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _as_onnx(graph: Graph) -> bytes:
    """The network as ONNX: "image" (N, 1, 28, 28) in, "scores" (N, classes) out, for any N."""
    network, batch = graph.build().eval(), torch.export.Dim("N")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        program = torch.onnx.export(
            network,
            (torch.zeros(2, *graph.input_shape),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["scores"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None  # with dynamo, it gives one
    return bytes(program.model_proto.SerializeToString())
