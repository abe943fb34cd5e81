"""What units see, as intervals of pixels, and how a window, a branch or a change of shape carries that along.

`lab/operations.py` says which of these each kind of operation is; `lab/receptive.py` walks through a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab.errors import GraphError

MAX_PIXELS = 2**31
"""How far beyond the image a field may begin or end, and how far it may move from one unit to the next."""


class Interval(NamedTuple):
    """Input pixels from `low` to `high`, both counted in; empty where high < low."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many pixels."""
        return max(0, self.high - self.low + 1)


NOTHING = Interval(2**40, -(2**40))


@dataclass(frozen=True)
class Axis:
    """What the units along one axis of a map see.

    unclipped: by unit, as if the image went on for ever.
    clipped: by unit, the pixels of the image that can reach it through units that exist.
    jump: how far the field moves from one unit to the next, in pixels; 0 where every unit sees the same.
    along: which axis of the layer's output it is, the batch being 0: 2 for the rows of (B, C, H, W). None where no axis
        is left (a vector, a mean): then there is one unit, which sees what all of them see.
    """

    unclipped: tuple[Interval, ...]
    clipped: tuple[Interval, ...]
    jump: Fraction
    along: int | None = None

    def at(self, unit: int) -> Interval:
        """The unclipped field of a unit, of one beyond the map's edge (in the padding) too."""
        inside = min(max(unit, 0), len(self.unclipped) - 1)
        shift = int((unit - inside) * self.jump)
        return Interval(self.unclipped[inside].low + shift, self.unclipped[inside].high + shift)

    def moved(self, along: int | None) -> "Axis":
        """The same units along another axis of the output."""
        return self if along == self.along else replace(self, along=along)


@dataclass(frozen=True)
class Field:
    """The receptive field of one layer: `rows` runs down the image, `columns` across it.

    A layer without a map (after flatten, a fully connected layer) counts as one unit that sees what its inputs see.
    """

    name: str
    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels, of the field of the unit in the middle, as if the image went on for ever."""
        rows, columns = self.rows.unclipped, self.columns.unclipped
        return rows[len(rows) // 2].size, columns[len(columns) // 2].size

    @property
    def clipped(self) -> tuple[int, int]:
        """The same within the image."""
        rows, columns = self.rows.clipped, self.columns.clipped
        return rows[len(rows) // 2].size, columns[len(columns) // 2].size

    @property
    def jump(self) -> tuple[Fraction, Fraction]:
        """Pixels, down and across, from one unit's field to the next one's."""
        return self.rows.jump, self.columns.jump

    @property
    def start(self) -> tuple[int, int]:
        """Row and column of the first pixel of the first unit's field; negative where it begins in the padding."""
        return self.rows.unclipped[0].low, self.columns.unclipped[0].low

    @property
    def units(self) -> tuple[int, int]:
        """Height and width of the map, in units."""
        return len(self.rows.unclipped), len(self.columns.unclipped)

    def box(self, row: int | None = None, column: int | None = None) -> tuple[Interval, Interval]:
        """Rows and columns of the image that one unit sees; the middle unit where none is named."""
        rows = self.rows.clipped[len(self.rows.clipped) // 2 if row is None else row]
        columns = self.columns.clipped[len(self.columns.clipped) // 2 if column is None else column]
        return (rows, columns) if rows.size and columns.size else (NOTHING, NOTHING)


Axes = tuple[Axis, Axis]
"""Rows and columns."""


def image(height: int, width: int) -> Axes:
    """The axes of the network's input, (B, C, height, width): each pixel sees itself."""
    rows, columns = (tuple(Interval(i, i) for i in range(n)) for n in (height, width))
    return Axis(rows, rows, Fraction(1), 2), Axis(columns, columns, Fraction(1), 3)


def union(intervals: Sequence[Interval]) -> Interval:
    """The smallest interval that holds them all."""
    seen = [interval for interval in intervals if interval.size] or [NOTHING]
    return Interval(min(i.low for i in seen), max(i.high for i in seen))


def whole(axis: Axis, n: int = 1, along: int | None = None) -> Axis:
    """n units that each see what all units of `axis` see together."""
    return Axis((union(axis.unclipped),) * n, (union(axis.clipped),) * n, Fraction(0), along)


def through(axis: Axis, windows: Sequence[range], step: Fraction) -> Axis:
    """The axis after a layer whose unit i reads the units windows[i], of which some may lie in the padding.

    All windows have the same step. Raises GraphError for a field that goes further than MAX_PIXELS.
    """
    ends = {k for window in windows for k in (window[0], window[-1])}
    seen = {k: axis.at(k) for k in ends}
    unclipped = tuple(union([seen[window[0]], seen[window[-1]]]) for window in windows)
    jump = axis.jump * step
    edges = (unclipped[0], unclipped[-1])
    if jump > MAX_PIXELS or any(i.size and max(-i.low, i.high) > MAX_PIXELS for i in edges):
        raise GraphError(f"its receptive field reaches more than {MAX_PIXELS:,} pixels beyond the image")
    return Axis(unclipped, _within(axis.clipped, windows), jump, axis.along)


def _within(clipped: tuple[Interval, ...], windows: Sequence[range]) -> tuple[Interval, ...]:
    """For each window the union of its units that exist: a sparse table answers each in one look-up."""
    n, step = len(clipped), windows[0].step
    first = np.array([_first_inside(window) for window in windows])
    last = np.array([min(window[-1], n - 1) for window in windows])
    counts = np.maximum((last - first) // step + 1, 0)
    low = np.array([interval.low for interval in clipped])
    high = np.array([interval.high for interval in clipped])
    lows, highs = np.full(len(windows), NOTHING.low), np.full(len(windows), NOTHING.high)
    length = 1  # units that an entry of the table stands for: itself and every step-th one after it
    while length <= counts.max(initial=0):
        here = (counts >= length) & (counts < 2 * length)
        start, end = first[here], first[here] + step * (counts[here] - length)
        lows[here], highs[here] = np.minimum(low[start], low[end]), np.maximum(high[start], high[end])
        low, high = _doubled(low, step * length, np.minimum), _doubled(high, step * length, np.maximum)
        length *= 2
    return tuple(Interval(int(a), int(b)) if b >= a else NOTHING for a, b in zip(lows, highs, strict=True))


def _first_inside(window: range) -> int:
    return window[0] if window[0] >= 0 else window[0] + -(window[0] // window.step) * window.step


def _doubled(table: npt.NDArray[np.int64], shift: int, better: np.ufunc) -> npt.NDArray[np.int64]:
    """Entries that stand for twice as many units; those that would reach past the end are never asked for."""
    result = table.copy()
    if shift < len(table):
        result[:-shift] = better(table[:-shift], table[shift:])
    return result


def join(axes: Sequence[Axis]) -> Axis:
    """Branches that meet unit by unit: the union. A branch with one unit is spread over the others' units.

    Branches whose units run along different axes of the output meet each with each: one unit that sees everything.
    """
    places = {axis.along for axis in axes if len(axis.clipped) > 1} or {axis.along for axis in axes}
    if len(places) > 1:
        axes = [whole(axis) for axis in axes]
        places = {None}
    n = max(len(axis.clipped) for axis in axes)
    spread = [axis if len(axis.clipped) == n else whole(axis, n) for axis in axes]
    unclipped = tuple(union(each) for each in zip(*(axis.unclipped for axis in spread), strict=True))
    clipped = tuple(union(each) for each in zip(*(axis.clipped for axis in spread), strict=True))
    return Axis(unclipped, clipped, max(axis.jump for axis in spread), *places)


def apart(rows: Axis, columns: Axis) -> Axes:
    """The two axes; where they lie along one and the same axis of the output, one unit that sees everything."""
    if rows.along is not None and rows.along == columns.along:
        return whole(rows), whole(columns)
    return rows, columns


def end_to_end(axes: Sequence[Axis]) -> Axis:
    """Maps laid side by side along this axis."""
    unclipped = tuple(interval for axis in axes for interval in axis.unclipped)
    clipped = tuple(interval for axis in axes for interval in axis.clipped)
    return Axis(unclipped, clipped, max(axis.jump for axis in axes), axes[0].along)


def picked(axis: Axis, units: range) -> Axis:
    """Only some of the units."""
    chosen = slice(units.start, units.stop, units.step)
    return Axis(axis.unclipped[chosen], axis.clipped[chosen], axis.jump * units.step, axis.along)


def reshaped(axes: Axes, before: tuple[int, ...], after: tuple[int, ...]) -> Axes:
    """The axes once the same numbers have another shape (both without the batch).

    An axis that stays whole (the same size, the same number of numbers before it) keeps its units. One that is merged
    or split does not: its units are then taken to see what all of them see, which is never too little.
    """
    rows, columns = _places(axes[0], before, after)[:1], _places(axes[1], before, after)[-1:]
    if rows and rows == columns:
        columns = []
    if len(after) == 3:  # a map again: an axis that was lost before is the one that such a map has it along
        again = [axis.along is None for axis in axes]
        return (
            whole(axes[0], after[1], 2) if again[0] and columns != [2] else _placed(axes[0], rows),
            whole(axes[1], after[2], 3) if again[1] and rows != [3] else _placed(axes[1], columns),
        )
    return _placed(axes[0], rows), _placed(axes[1], columns)


def _placed(axis: Axis, places: list[int]) -> Axis:
    return axis.moved(places[0]) if places else whole(axis)


def _places(axis: Axis, before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """Where the axis may be in the new shape: as many numbers before it, and as many units."""
    if axis.along is None:
        return []
    ahead, size = _product(before[: axis.along - 1]), before[axis.along - 1]
    return [j + 1 for j, n in enumerate(after) if n == size and _product(after[:j]) == ahead]


def _product(numbers: Sequence[int]) -> int:
    return int(np.prod(numbers, dtype=np.int64)) if numbers else 1
