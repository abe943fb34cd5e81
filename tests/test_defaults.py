"""PyTorch's defaults, changed in a notebook before the lab is used: told at once, and not halfway as a traceback."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lab import data
from lab._defaults import DefaultsError, require_defaults
from lab.data import Data, Labelled
from lab.train import Recipe, fit


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")


def change(default: str) -> None:
    torch.set_default_device("meta") if default == "device" else torch.set_default_dtype(torch.float64)


def test_as_python_starts_nothing_is_said() -> None:
    require_defaults()
    torch.set_default_device("cpu")
    require_defaults()


@pytest.mark.parametrize("default", ["device", "dtype"])
def test_loading_and_training_say_which_default_and_what_to_do(default: str) -> None:
    images = Labelled(torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 2, 3]))
    digits = Data("mnist", images, None, tuple("0123456789"), "made here", lambda: images)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    change(default)
    with pytest.raises(
        DefaultsError, match=rf"torch\.set_default_{default}\(.* was called.*Call torch\.set_default_{default}\("
    ):
        data.load("mnist")
    with pytest.raises(DefaultsError, match="was called"):
        fit(net, digits, Recipe(epochs=1), progress=False)
