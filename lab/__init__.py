"""The 99.4 Lab: data → network → training → verdict → view.

Importing this package is quick: torch is imported by the modules that use it.
"""

import os

from lab import _torchvision
from lab.errors import LabError

__version__ = "0.1.0"
__all__ = ["LabError", "__version__"]

_torchvision.install()

# Two threads on two cores wait for each other by spinning; with any neighbour on the machine each keeps the other from
# working. A shorter spin costs nothing alone and halved the time of a training step beside a busy process. It takes
# effect where torch is imported after this.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
