"""The 99.4 Lab: data → network → training → verdict → view.

Importing this package is quick: torch is imported by the modules that use it.
"""

import os
from typing import TYPE_CHECKING, Any

from lab import _torchvision
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.widgets import draw, explore

__version__ = "0.1.0"
__all__ = ["LabError", "__version__", "draw", "explore"]

_torchvision.install()

# Two threads on two cores wait for each other by spinning; with any neighbour on the machine each keeps the other from
# working. A shorter spin costs nothing alone and halved the time of a training step beside a busy process. It takes
# effect where torch is imported after this.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def __getattr__(name: str) -> Any:
    """`lab.explore` and `lab.draw`, imported when they are asked for: torch comes with them."""
    if name in ("explore", "draw"):
        from lab import widgets

        return getattr(widgets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
