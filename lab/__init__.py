"""The 99.4 Lab: data → network → training → verdict → view.

Importing this package is quick: torch is imported by the modules that use it.
"""

from lab import _torchvision
from lab.errors import LabError

__version__ = "0.1.0"
__all__ = ["LabError", "__version__"]

_torchvision.install()
