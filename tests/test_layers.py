"""The layer table's words: what a person calls each layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.graph import capture
from lab.layers import Layer, layer_table
from lab.models import LabNet, SeedNet


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def titles(*layers: nn.Module) -> list[str]:
    """Of what (B, 6, 14, 14) goes through."""
    return [layer.title for layer in layer_table(capture(nn.Sequential(*layers), (6, 14, 14)))]


@pytest.mark.parametrize(
    ("layer", "title"),
    [
        (nn.Conv2d(6, 24, 3, padding=1), "conv 6→24, 14x14"),
        (nn.Conv2d(6, 8, 5), "conv 5x5 6→8, 10x10"),
        (nn.Conv2d(6, 8, (1, 3)), "conv 1x3 6→8, 14x12"),
        (nn.Conv2d(6, 8, 3, stride=2, padding=1), "conv 6→8, stride 2, 7x7"),
        (nn.Conv2d(6, 8, 3, stride=(2, 1)), "conv 6→8, stride 2x1, 6x12"),
        (nn.Conv2d(6, 8, 3, dilation=2), "conv 6→8, dilation 2, 10x10"),
        (nn.Conv2d(6, 8, 1, groups=2), "conv 1x1 6→8, 2 groups, 14x14"),
        (nn.Conv2d(6, 12, 3, groups=6), "depthwise conv 6→12, 12x12"),
        (nn.MaxPool2d(2), "max pool, 7x7"),
        (nn.MaxPool2d(3, 2), "max pool 3x3, stride 2, 6x6"),
        (nn.AvgPool2d(2), "average pool, 7x7"),
        (nn.AdaptiveAvgPool2d(1), "global average pool"),
        (nn.AdaptiveMaxPool2d(3), "adaptive max pool, 3x3"),
        (Function(lambda x: x.mean((2, 3))), "global average pool"),
        (nn.BatchNorm2d(6), "batch norm 6"),
        (nn.GroupNorm(2, 6), "group norm 6, 2 groups"),
        (nn.LayerNorm([6, 14, 14]), "layer norm 6x14x14"),
        (nn.ReLU(), "ReLU"),
        (nn.SiLU(), "SiLU"),
        (nn.Tanh(), "tanh"),
        (nn.PReLU(), "PReLU"),
        (nn.Dropout(0.05), "dropout 0.05"),
        (nn.Dropout2d(0.1), "channel dropout 0.1"),
        (nn.Flatten(), "flatten 1176"),
        (nn.Linear(14, 3), "linear 14→3, 6x14 times"),
        (Function(lambda x: F.pad(x, (1, 1, 1, 1))), "pad, 16x16"),
        (Function(lambda x: x.log_softmax(1)), "log-softmax"),
    ],
    ids=str,
)
def test_a_title_says_what_a_layer_is_and_what_is_unusual_about_it(layer: nn.Module, title: str) -> None:
    assert titles(layer) == [title]


def test_layers_of_one_title_are_told_apart_by_their_path() -> None:
    for network in (LabNet(), SeedNet()):
        table = layer_table(capture(network))
        assert len({layer.title for layer in table}) < len(table)
        assert len({layer.heading for layer in table}) == len(table)
        assert not any("_" in layer.title for layer in table)


def test_a_heading_does_not_say_the_same_twice() -> None:
    table = layer_table(capture(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), (1, 28, 28)))
    assert [layer.heading for layer in table] == ["conv 1→4, 26x26 (0)", "ReLU (1)"]

    class Tanh(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x)

    (layer,) = layer_table(capture(Tanh()))
    assert isinstance(layer, Layer)
    assert layer.heading == "tanh"
