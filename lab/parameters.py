"""The one counter of a network's parameters: every number in it that a person or training may choose.

Counted are, each tensor once and each where it is first used:

- learnable: the numbers in `nn.Parameter`s, frozen ones too;
- statistics: those running means and variances of batch norm that are not what the name says (`free_statistics`);
- buffers and written: the numbers in other buffers, and those that stand in the code of `forward` (a factor, a shift,
  a slope that is not PyTorch's own), once both together are more than HANDFUL.

A number written twice in the same place of several operations (the slope of every leaky ReLU) is one number; where the
operations differ, the commonest counts once and every other each time. A sign counts as any number; which pixels a crop
picks does not: what each is multiplied with does.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lab.operations import (
    GLU,
    INPUT,
    BatchNorm,
    Cat,
    Conv2d,
    Dropout,
    Linear,
    Operation,
    Pad,
    Reshape,
    Select,
    Slice,
    Transpose,
)

HANDFUL = 16
"""Numbers in `forward` and in frozen buffers that stay free: the mean and the standard deviation of three colours, and
a slope, a shift or a factor for each of some ten layers. It is less than a 5x5 kernel."""

SLOWEST = 1.5e-4
"""The least momentum with which a batch norm gathers its statistics: half of what stood in them at first is gone after
4,620 batches (ln 2 / 1.5e-4), twenty epochs of 60,000 images in batches of 256. PyTorch's own is 0.1; the slowest of
torchvision's networks, MNASNet, has 3e-4."""


class Stored(BaseModel):
    """A parameter or a buffer: its shape, and whether training changes it by gradient."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=6)]
    learnable: bool

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Count:
    """How many parameters there are, by where they stand."""

    learnable: int = 0
    buffers: int = 0
    statistics: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.learnable + self.buffers + self.statistics + self.written

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.learnable + other.learnable,
            self.buffers + other.buffers,
            self.statistics + other.statistics,
            self.written + other.written,
        )

    @property
    def text(self) -> str:
        """The total, and what of it no nn.Parameter holds: "18,306 (of these 64 are numbers written in forward)"."""
        parts = (
            (self.written, "numbers written in forward"),
            (self.buffers, "numbers in buffers"),
            (self.statistics, "running statistics that count as weights"),
        )
        hidden = " and ".join(f"{n:,} are {what}" for n, what in parts if n)
        return f"{self.total:,} (of these {hidden})" if hidden else f"{self.total:,}"


def count(operations: Sequence[Operation], tensors: Mapping[str, Stored], channels: int) -> dict[str, Count]:
    """The parameters that each operation, by name, is the first to use. A network's are the sum.

    operations: in the order of execution. tensors: those that they read, by name. channels: of the image.
    """
    statistics, free = _as_statistics(operations), free_statistics(operations, tensors, channels)
    seen = set(free)
    counts = {op.name: Count(written=n) for op, n in zip(operations, _written(operations), strict=True)}
    for op in operations:
        for name in dict.fromkeys(op.stored()):
            if name in seen:
                continue
            seen.add(name)
            n = tensors[name].numbers
            if tensors[name].learnable:
                more = Count(learnable=n)
            else:
                more = Count(statistics=n) if name in statistics else Count(buffers=n)
            counts[op.name] += more
    whole = sum(counts.values(), Count())
    if whole.buffers + whole.written <= HANDFUL:
        return {name: Count(learnable=c.learnable, statistics=c.statistics) for name, c in counts.items()}
    return counts


def _written(operations: Sequence[Operation]) -> list[int]:
    """How many numbers stand in the code of each operation that are not counted with one before."""
    by_role: dict[str, Counter[float]] = {}
    for op in operations:
        for role, number in op.written():
            by_role.setdefault(role, Counter())[number] += 1
    commonest = {role: numbers.most_common(1)[0][0] for role, numbers in by_role.items()}
    found, met = [], set()
    for op in operations:
        new = [role for role, number in op.written() if not (number == commonest[role] and role in met)]
        met |= {role for role, number in op.written() if number == commonest[role]}
        found.append(len(new))
    return found


# -- statistics of batch norm -----------------------------------------------------------------------------------------

_STATISTICS = ("running_mean", "running_var")


def free_statistics(operations: Sequence[Operation], tensors: Mapping[str, Stored], channels: int) -> set[str]:
    """Names of the running means and variances that are not counted, as the field doesn't count them.

    They are statistics of the data, which training gathers (in training mode, with at least SLOWEST as momentum), serve
    as nothing else, and fold into numbers that are counted:

    - the batch norm's own scale and shift (`affine=True`), which no other statistics share; or
    - the weights of a convolution or linear layer (or the image) whose channels are normalised: BatchNorm2d on its map,
      BatchNorm1d on its vector; or
    - the weights of the linear layer or convolution that reads them and nothing else does.

    Each of these numbers once. So a batch norm without scale and shift over the single places of a map (its mean and
    variance are then a picture, not a statistic of a channel) folds into nothing, and counts.
    """
    otherwise = {getattr(op, role) for op in operations for role in op.tensor_fields if not _gathers(op, role)}
    folds, free = _Folds(operations, tensors, channels), set[str]()
    for op in operations:
        if isinstance(op, BatchNorm):
            names = {name for name in (op.running_mean, op.running_var) if name and not tensors[name].learnable}
            names -= otherwise
            if names and (names <= free or folds.into_counted(op)):
                free |= names
    return free


def _gathers(op: Operation, role: str) -> bool:
    gathered = isinstance(op, BatchNorm) and op.training == "follow" and SLOWEST <= op.momentum <= 1
    return gathered and role in _STATISTICS


def _as_statistics(operations: Sequence[Operation]) -> set[str | None]:
    """Names of all that stands anywhere as a running mean or variance."""
    return {getattr(op, role) for op in operations for role in op.tensor_fields if role in _STATISTICS}


class _Folds:
    """Where statistics fold into what is counted anyway; each such place takes one batch norm's."""

    def __init__(self, operations: Sequence[Operation], tensors: Mapping[str, Stored], channels: int) -> None:
        self._by_name = {op.name: op for op in operations}
        self._outputs = {name: stored.shape[0] for name, stored in tensors.items() if stored.shape} | {INPUT: channels}
        self._readers: dict[str, list[Operation]] = {op.name: [] for op in operations}
        for op in operations:
            for name in op.inputs:
                self._readers.get(name, []).append(op)
        self._channels = {op.name: op.shape[:1] for op in operations} | {INPUT: (channels,)}
        self._taken: set[str] = set()

    def into_counted(self, op: BatchNorm) -> bool:
        """Is there a place for its statistics that no other batch norm's have? It is taken then."""
        places = [op.weight] if op.weight and op.bias else []
        if set(places) <= self._taken:
            places = sorted(self._makers(op.inputs[0])) + self._readers_weights(op)
        for place in places:
            if place not in self._taken:
                self._taken.add(place)
                return True
        return False

    def _makers(self, start: str) -> set[str]:
        """The weights whose output channels these are (INPUT for the image's); empty where they aren't any's.

        So where a map's places serve as channels, where a crop picked some, and where channels were repeated.
        """
        found, waiting, seen = set[str](), [start], set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            op = self._by_name.get(name)
            if op is None:
                found.add(INPUT)
            elif isinstance(op, Conv2d) or (isinstance(op, Linear) and len(op.shape) == 1):
                found.add(op.weight)
            elif before := self._same_channels(op):
                waiting += before
            else:
                return set()
        repeated = sum(self._outputs[name] for name in found) < (self._channels[start] or (1,))[0]
        return set() if repeated else found

    def _same_channels(self, op: Operation) -> list[str]:
        """Those of its inputs whose channels its output's are; none where it makes channels of something else."""
        joins = isinstance(op, Cat | Slice | GLU) and op.axis == 1
        crops = isinstance(op, Pad) and min(op.padding) < 0
        crops = crops or isinstance(op, Select) or (isinstance(op, Slice) and op.axis != 1)
        moves = isinstance(op, Transpose) and op.order[:1] != (1,)
        if joins or crops or moves:
            return list(op.inputs) if joins else []
        return [name for name in op.inputs if self._channels[name] == op.shape[:1]]

    def _readers_weights(self, op: Operation) -> list[str]:
        """The weight that all readers of its output share, each input number or channel having its own; or nothing."""
        waiting, found = [op], set()
        while waiting:
            readers = self._readers[waiting.pop().name]
            for reader in readers:
                if isinstance(reader, Conv2d | Linear):
                    found.add(reader.weight)
                elif isinstance(reader, Dropout) or (isinstance(reader, Reshape) and len(reader.shape) == 1):
                    waiting.append(reader)
                else:
                    return []
        return sorted(found) if len(found) == 1 else []
