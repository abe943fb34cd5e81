"""A picture in place of a widget: in a saved notebook, on a page made of it, and where nobody is there to drive."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from lab import plots

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


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
