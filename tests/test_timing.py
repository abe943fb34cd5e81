"""Milliseconds a layer."""

import time

import pytest
import torch
from torch import nn

from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet, SeedNet
from lab.operations import MaxPool
from lab.timing import fitting_images, milliseconds


def test_each_row_of_the_layer_table_has_its_time() -> None:
    graph = capture(LabNet())
    spent = milliseconds(graph, images=8, passes=2)
    assert len(spent) == len(layer_table(graph))
    assert all(0 < each < 1000 for each in spent)


def test_the_time_is_that_of_the_layer_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    run = MaxPool.run

    def slow(self, *arguments, **options):
        time.sleep(0.02)
        return run(self, *arguments, **options)

    monkeypatch.setattr(MaxPool, "run", slow)
    table, spent = layer_table(capture(LabNet())), milliseconds(LabNet(), images=2, passes=2)
    slept = [layer.kind == "max_pool" for layer in table]
    assert [each >= 20 for each in spent] == slept


def test_branches_are_computed_right_to_the_end() -> None:
    """What is still read is kept, what nothing reads is let go."""

    class Branches(nn.Module):
        def forward(self, x):
            y = x.relu()
            return (x + y).flatten(1) + y.flatten(1) * x.flatten(1)

    assert len(milliseconds(Branches(), images=3, passes=1)) == len(capture(Branches()).operations)


def test_the_network_stays_as_it_is() -> None:
    net = SeedNet().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    milliseconds(net, images=2, passes=1)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("images", "passes"), [(0, 1), (1, 0)])
def test_nothing_to_measure(images: int, passes: int) -> None:
    with pytest.raises(ValueError, match="at least one image and one pass"):
        milliseconds(LabNet(), images=images, passes=passes)


def test_a_network_with_large_maps_gets_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = capture(nn.Sequential(nn.Conv2d(1, 10, 1), nn.ReLU()))  # 15,680 numbers an image
    assert fitting_images(graph) == 256
    monkeypatch.setattr("lab.timing.MAX_NUMBERS", 50_000)
    assert fitting_images(graph) == 3
    monkeypatch.setattr("lab.timing.MAX_NUMBERS", 1)
    assert fitting_images(graph) == 1
