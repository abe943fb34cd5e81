"""The lab's networks."""

import re

import pytest
import torch
import torchsummary
from torch import nn

from lab.graph import capture
from lab.layers import layer_table
from lab.models import (
    LabNet,
    PeakNet,
    SeedNet,
    SprintNet,
    StagesNet,
    TinyNet,
    conv_block,
    conv_pool_block,
)
from lab.rules import judge, load_rubric


def test_seednet_has_18242_parameters_and_twenty_rows(capsys: pytest.CaptureFixture[str]) -> None:
    torchsummary.summary(SeedNet(), (1, 28, 28), device="cpu")
    text = capsys.readouterr().out
    rows = re.findall(r"(?m)^ +(\w+)-(\d+) +\[-1, ([\d, ]+)\] +([\d,]+)$", text)
    assert [int(number) for _, number, _, _ in rows] == list(range(1, 21))
    assert "Total params: 18,242" in text
    assert [kind for kind, *_ in rows].count("Conv2d") == 9
    assert rows[18][2] == "8, 3, 3"
    assert rows[19][0] == "Linear"


def test_seednet_gives_log_probabilities_over_relu_logits() -> None:
    torch.manual_seed(0)
    model, x = SeedNet().eval(), torch.randn(40, 1, 28, 28)
    logits = model.fc(model.features(x))
    torch.testing.assert_close(model(x), logits.clamp_min(0).log_softmax(1))
    assert (logits < 0).any(), "the flaw would not show"


@pytest.mark.parametrize(
    ("build", "parameters"),
    [(SeedNet, 18242), (LabNet, 18650), (SprintNet, 18082), (PeakNet, 18650), (TinyNet, 3833)],
)
def test_networks_keep_the_rules_and_the_table_adds_up(build: type[nn.Module], parameters: int) -> None:
    graph = capture(build())
    assert graph.parameters == parameters == sum(layer.parameters for layer in layer_table(graph))
    assert all(v.passed is not False for v in judge(load_rubric(), graph, epochs=19, accuracy=0.994))
    assert build()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_later_pooling_works_on_more_pixels_with_the_same_parameters() -> None:
    c = (4, 4, 6, 6, 6)
    early, late = (layer_table(capture(StagesNet(c, pooled))) for pooled in ((0, 2, 4), (1, 3, 4)))
    assert [row.shape for row in early if row.kind.startswith("conv")][1:3] == [(4, 14, 14), (6, 14, 14)]
    assert [row.shape for row in late if row.kind.startswith("conv")][1:3] == [(4, 28, 28), (6, 14, 14)]
    assert sum(row.parameters for row in early) == sum(row.parameters for row in late)
    assert [row.kind for row in early].count("max_pool") == [row.kind for row in late].count("max_pool")


def test_multiply_adds_by_hand() -> None:
    by_name = {layer.name: layer.multiply_adds for layer in layer_table(capture(SeedNet()))}
    assert by_name["conv1"] == 28 * 28 * 16 * 9
    assert by_name["conv6"] == 3 * 3 * 32 * 16 * 9
    assert by_name["fc"] == 720
    assert by_name["bn1"] == by_name["relu"] == by_name["pool1"] == 0


def test_grouped_convolution_costs_its_groups_only() -> None:
    rows = layer_table(capture(nn.Conv2d(8, 16, 3, groups=4), (8, 10, 10)))
    assert rows[0].multiply_adds == 8 * 8 * 16 * 2 * 9


def test_blocks() -> None:
    x = torch.randn(4, 3, 10, 10)
    assert nn.Sequential(*conv_block(3, 6))(x).shape == (4, 6, 10, 10)
    assert nn.Sequential(*conv_pool_block(3, 6))(x).shape == (4, 6, 5, 5)
    assert nn.Sequential(*conv_block(3, 6))(x).min() == 0
