"""A network's page: one piece of HTML that needs nothing else, neither a kernel nor a server nor another file.

It carries the network as data, and `static/network.js` executes it in the page. Where scripts don't run (on GitHub, in
a notebook that JupyterLab does not trust yet), a still picture stands in its place, with a line that says what to do.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes

from lab import plots

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("network.js", "digit.js", "explain.js", "elements.js", "explore.js", "draw.js", "start.js")
"""The page's modules, each after those that it imports from."""
ASLEEP = (
    "This is a picture. To bring it to life, run the cell, or trust the notebook: in JupyterLab, Trust Notebook in "
    "View, Activate Command Palette; in Jupyter Notebook, in File."
)

Kind = Literal["explore", "draw", "takeHome"]


@dataclass(frozen=True)
class Page:
    """A page as a cell's output. figure: draws the still picture; its label is the text for those who can't see it."""

    kind: Kind
    data: dict[str, Any]  # what `packing.carried` gives
    figure: Callable[[], Axes]

    def bundle(self) -> dict[str, str]:
        """The output by media type: the page, and the picture with its description."""
        parts = plots.bundle(self.figure(), colours=64)  # it stands in the output twice
        place, script = f"lab-{mark(self.data)}", started(self.kind, self.data)
        still = f'<div class="lab-still">{parts["text/html"]}<p>{ASLEEP}</p></div>'
        page = f'<div class="lab-place {place}"><style>{style()}</style>{still}</div><script>{script}</script>'
        return parts | {"text/html": page}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.bundle()


def started(kind: Kind, data: dict[str, Any]) -> str:
    """The script that fills the places of class `lab-<mark of the data>`."""
    written = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no tag can end the script
    modules = "\n".join(as_part((STATIC / name).read_text(encoding="utf-8")) for name in SCRIPTS)
    return f'(() => {{"use strict";\n{modules}\nstart("{kind}", "lab-{mark(data)}", {written});\n}})();'


def style() -> str:
    """The page's style, without its comments."""
    return re.sub(r"/\*.*?\*/", "", (STATIC / "page.css").read_text(encoding="utf-8"), flags=re.DOTALL)


def mark(data: dict[str, Any]) -> str:
    """The same for the same data, so that a notebook that is executed again does not change; another for other data."""
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def as_part(module: str) -> str:
    """A module as a part of one script: without imports, exports and the comments, which the source keeps."""
    module = re.sub(r"^import [^;]*;\n", "", module, flags=re.MULTILINE)
    lines = (line.strip() for line in module.splitlines())
    return "\n".join(line.removeprefix("export ") for line in lines if line and not line.startswith(("//", "/**", "*")))
