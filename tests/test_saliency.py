"""Where a network looks."""

import pytest
import torch
from torch import nn

from lab.saliency import occlusion


class Corner(nn.Module):
    """Says 1 where the pixel (2, 3) is ink, and 0 where it is paper; nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ink = x[:, 0, 2, 3]
        return torch.stack([-4 * ink, 4 * ink], dim=1)


IMAGES = torch.full((2, 10, 10), 255, dtype=torch.uint8)


def test_the_answer_hangs_on_the_pixels_whose_square_covers_what_counts() -> None:
    heat = occlusion(Corner(), IMAGES, torch.tensor([1, 0]), side=3)
    assert heat.shape == (2, 10, 10)
    covering = torch.zeros(10, 10, dtype=torch.bool)
    covering[1:4, 2:5] = True
    assert torch.equal(heat[0] > 0.5, covering)
    assert torch.equal(heat[1] < -0.5, covering)  # the other answer gains from it
    assert torch.all(heat[:, ~covering] == 0)


class Gap(nn.Module):
    """Says 1 where the pixel (2, 3) is paper, and 0 where it is ink: a gap is what counts."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ink = x[:, 0, 2, 3]
        return torch.stack([4 * ink, -4 * ink], dim=1)


def test_paper_cannot_show_a_gap_and_ink_can() -> None:
    blank = torch.zeros(1, 10, 10, dtype=torch.uint8)
    assert torch.all(occlusion(Gap(), blank, torch.tensor([1]), side=3) == 0)
    heat = occlusion(Gap(), blank, torch.tensor([1]), side=3, cover="ink")[0]
    covering = torch.zeros(10, 10, dtype=torch.bool)
    covering[1:4, 2:5] = True
    assert torch.equal(heat > 0.5, covering)


def test_ink_changes_nothing_where_all_is_ink() -> None:
    assert torch.all(occlusion(Corner(), IMAGES[:1], torch.tensor([1]), cover="ink") == 0)


def test_another_cover() -> None:
    with pytest.raises(ValueError, match="one of paper, ink; it is 'glass'"):
        occlusion(Corner(), IMAGES, torch.tensor([1, 1]), cover="glass")  # type: ignore[arg-type]


def test_the_square_is_cut_at_the_edge() -> None:
    heat = occlusion(Corner(), IMAGES[:1], torch.tensor([1]), side=7)
    assert torch.equal(
        heat[0] > 0.5, torch.zeros(10, 10).index_fill(0, torch.arange(6), 1).bool() & (torch.arange(10) < 7)
    )


def test_model_and_images_stay_as_they_are() -> None:
    model, images = Corner().train(), IMAGES.clone()
    occlusion(model, images, torch.tensor([1, 1]))
    assert model.training
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("side", [0, 4, -1])
def test_a_square_without_a_middle(side: int) -> None:
    with pytest.raises(ValueError, match="must be odd and at least 1"):
        occlusion(Corner(), IMAGES, torch.tensor([1, 1]), side=side)
