"""How a drawn digit becomes an image like MNIST's.

MNIST's page (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"): each digit was "size normalized to
fit in a 20x20 pixel box while preserving [its] aspect ratio", has "grey levels as a result of the anti-aliasing
technique", and was centred "by computing the center of mass of the pixels, and translating the image so as to position
this point at the center of the 28x28 field". In the files that centre is pixel 14 of both axes, counted from 0, and the
translation goes by whole pixels: the centre of mass lies within half a pixel of it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from lab.errors import LabError

SIDE, BOX, CENTRE = 28, 20, 14
"""In pixels: the image's side, the side of the box that the ink just fits in, and where its centre of mass comes."""
PEN = 0.095
"""Thickness of the pen, as a share of the canvas's side: about MNIST's strokes for a digit that fills the canvas."""
MAX_POINTS = 20_000
"""Of one drawing; more is no digit, and would keep the kernel busy."""
_FINE = 8  # samples along a pixel's side; the share of them that the pen covers is the pixel's grey level

Array = NDArray[np.float64]
Strokes = Sequence[Sequence[Sequence[float]]]
"""Strokes of points (x, y), from 0 to 1 across and down the canvas; a stroke of one point is a dot."""

EXAMPLE: Strokes = [
    [
        *((0.50 + 0.17 * math.sin(a / 10), 0.32 - 0.15 * math.cos(a / 10)) for a in range(-11, 28, 3)),
        *((0.48 + 0.21 * math.sin(a / 10), 0.66 - 0.19 * math.cos(a / 10)) for a in range(4, 45, 3)),
    ]
]
"""A three, for a picture where nobody has drawn."""


class DrawingError(LabError):
    """Strokes that are not a drawing."""


def to_mnist(strokes: Strokes, pen: float = PEN) -> Tensor:
    """The image that a network sees of a drawing: (28, 28) uint8, ink bright on 0; all 0 where nothing is drawn.

    `pen` is the thickness, as a share of the canvas's side; it grows and shrinks with the digit. Raises DrawingError
    for anything but strokes of points (x, y).
    """
    lines = _lines(strokes)
    if not lines:
        return torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    points = np.concatenate(lines)
    low, high = points.min(0) - pen / 2, points.max(0) + pen / 2  # (2,) each: x and y
    scale = BOX * _FINE / (high - low).max()  # samples a canvas
    width, height = np.ceil((high - low) * scale - 1e-9).astype(int)
    ink = _ink([(line - low) * scale for line in lines], pen * scale / 2, height, width)  # (height, width)
    top, left = _offset(ink.sum(1)), _offset(ink.sum(0))
    samples = np.zeros((SIDE * _FINE, SIDE * _FINE))
    samples[top : top + height, left : left + width] = ink
    grey = samples.reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))  # (28, 28)
    return torch.from_numpy((255 * grey).round().astype(np.uint8))


def _lines(strokes: Strokes) -> list[Array]:
    """Each stroke that has a point, as an array of points (n, 2)."""
    try:
        lines = [np.array(stroke, dtype=np.float64).reshape(len(stroke), 2) for stroke in strokes if len(stroke)]
    except (TypeError, ValueError) as error:
        raise DrawingError(f"a drawing is a list of strokes, each a list of points (x, y): {error}.") from error
    if not all(np.isfinite(line).all() and np.abs(line).max() <= 10 for line in lines):
        raise DrawingError("the points of a drawing run from 0 to 1 across the canvas.")
    if sum(map(len, lines)) > MAX_POINTS:
        raise DrawingError(f"a drawing may have {MAX_POINTS:,} points; this one has more. Clear it.")
    return lines


def _ink(lines: Sequence[Array], radius: float, height: int, width: int) -> Array:
    """Which samples a round pen covers on its way along the lines: (height, width) of 0 and 1; lengths in samples."""
    away = np.ones((height, width), dtype=bool)
    for line in lines:
        travelled = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()])  # up to each point
        steps = np.arange(0, travelled[-1] + 0.5, 0.5)
        x, y = (np.interp(steps, travelled, axis).astype(int) for axis in line.T)
        away[y.clip(0, height - 1), x.clip(0, width - 1)] = False
    return (distance_transform_edt(away) <= radius).astype(np.float64)  # type: ignore[no-any-return]  # scipy


def _offset(mass: Array) -> int:
    """Where the ink begins along one axis, in samples, a whole number of pixels; no ink may leave the image."""
    centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum() / _FINE - 0.5  # in pixels
    room = SIDE - math.ceil(len(mass) / _FINE)
    return min(max(round(float(CENTRE - centre)), 0), room) * _FINE
