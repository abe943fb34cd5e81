"""Training and eval mode of a network and of every module in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Afterwards each module is in the mode that it was in, whatever a class does in its own `train` or `modules`."""
    before = [(module, module.training) for module in nn.Module.modules(model)]
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
