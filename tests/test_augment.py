"""Images as the network gets them, and moved a little."""

import math

import pytest
import torch

from lab.augment import MEAN, STD, Affine, random_affine, random_gamma, to_input

STILL = Affine(shift=0, degrees=0, scale=0, shear=0)
BACKGROUND = -MEAN / STD


def blob(row: int = 14, column: int = 14) -> torch.Tensor:
    """One image, black but for a bright square of 3x3 pixels: (1, 1, 28, 28)."""
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, row - 1 : row + 2, column - 1 : column + 2] = 255
    return to_input(image)


def centre(x: torch.Tensor) -> torch.Tensor:
    """Centre of ink of each image (B, 1, H, W): (B, 2) as row, column."""
    ink = (x - BACKGROUND)[:, 0].clamp_min(0)
    total = ink.sum((1, 2))
    rows, columns = torch.arange(28.0), torch.arange(28.0)
    return torch.stack([(ink.sum(2) * rows).sum(1) / total, (ink.sum(1) * columns).sum(1) / total], 1)


def moved(x: torch.Tensor, limits: Affine, seed: int = 0) -> torch.Tensor:
    return random_affine(x, limits, torch.Generator().manual_seed(seed))


def test_to_input_normalises_and_leaves_the_pixels_alone() -> None:
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    x = to_input(images)
    assert x.shape == (1, 1, 2, 2)
    torch.testing.assert_close(x[0, 0], (torch.tensor([[0, 1], [0.2, 0.4]]) - MEAN) / STD)
    assert images.tolist() == [[[0, 255], [51, 102]]]


def test_no_movement_changes_nothing() -> None:
    x = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(moved(x, STILL), x, atol=1e-4, rtol=1e-4)


def test_shift_is_in_pixels_and_within_its_limit() -> None:
    far = centre(moved(blob().repeat(500, 1, 1, 1), Affine(shift=3, degrees=0, scale=0, shear=0))) - 14
    assert far.abs().max() <= 3.001
    assert far.abs().max() > 2.9
    assert far.mean(0).abs().max() < 0.3  # both ways alike
    assert abs(float(torch.corrcoef(far.T)[0, 1])) < 0.15  # each axis by itself


def test_rotation_turns_by_up_to_the_limit() -> None:
    off = centre(moved(blob(14, 22).repeat(500, 1, 1, 1), Affine(shift=0, degrees=30, scale=0, shear=0))) - 13.5
    angle = torch.atan2(off[:, 0], off[:, 1]) - math.atan2(0.5, 8.5)
    assert angle.abs().max() <= math.radians(30.5)
    assert angle.abs().max() > math.radians(29)
    torch.testing.assert_close(off.norm(dim=1), torch.full((500,), math.hypot(0.5, 8.5)), atol=0.05, rtol=0)


def test_scale_and_shear_stay_within_their_limits() -> None:
    scaled = (
        centre(moved(blob(14, 22).repeat(500, 1, 1, 1), Affine(shift=0, degrees=0, scale=0.2, shear=0)))[:, 1] - 13.5
    )
    assert float(scaled.min()) == pytest.approx(8.5 / 1.2, abs=0.1)
    assert float(scaled.max()) == pytest.approx(8.5 / 0.8, abs=0.1)
    sheared = centre(moved(blob(6, 14).repeat(500, 1, 1, 1), Affine(shift=0, degrees=0, scale=0, shear=0.3)))[:, 1] - 14
    assert 0.28 * 7.5 < sheared.abs().max() < 0.31 * 7.5


def test_every_image_moves_by_itself_and_a_seed_repeats_it() -> None:
    x = blob().repeat(50, 1, 1, 1)
    first, again, other = moved(x, Affine(), 1), moved(x, Affine(), 1), moved(x, Affine(), 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(c) for c in centre(first).tolist()}) == 50


def test_what_comes_in_from_outside_is_background() -> None:
    x = torch.full((20, 1, 28, 28), BACKGROUND)
    torch.testing.assert_close(moved(x, Affine(shift=10)), x)
    assert float(moved(blob().repeat(20, 1, 1, 1), Affine()).min()) == pytest.approx(BACKGROUND, abs=1e-4)


def test_gamma_leaves_black_and_white_and_moves_grey_within_its_limit() -> None:
    grey = torch.tensor([[[0, 64, 128, 255]]], dtype=torch.uint8).repeat(500, 1, 1)
    x = random_gamma(to_input(grey), 0.5, torch.Generator().manual_seed(0))
    ink = (x * STD + MEAN)[:, 0, 0]  # (500, 4)
    torch.testing.assert_close(ink[:, [0, 3]], torch.tensor([0.0, 1.0]).expand(500, 2), atol=1e-4, rtol=0)
    power = ink[:, 1:3].log() / (torch.tensor([64, 128]) / 255).log()
    torch.testing.assert_close(power[:, 0], power[:, 1], atol=1e-3, rtol=0)  # one power an image
    powers = power[:, 0].log()
    assert 0.49 < float(powers.max()) <= 0.5001
    assert -0.5001 <= float(powers.min()) < -0.49
    assert abs(float(powers.mean())) < 0.05


def test_gamma_is_drawn_by_its_generator_and_changes_no_image_in_place() -> None:
    x = to_input(torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8))
    before = x.clone()
    first, again, other = (random_gamma(x, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
