"""The 99.4 Lab: data → network → training → verdict → view.

Importing this package is quick: torch is imported by the modules that use it.
"""

from typing import TYPE_CHECKING, Any

from lab import _torchvision
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.widgets import draw, explore

__version__ = "0.1.0"
__all__ = ["LabError", "__version__", "draw", "explore"]

_torchvision.install()  # nothing, but where wheels are mixed


def __getattr__(name: str) -> Any:
    """`lab.explore` and `lab.draw`, imported when they are asked for: torch comes with them."""
    if name in ("explore", "draw"):
        from lab import widgets

        return getattr(widgets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
