"""Has an operation an effect? The network is run on real digits with it and without it, and the answers are compared.

What "without" means: a dropout is off; a batch norm hands its input on, or has nothing to say (its output is its mean
in every channel), whichever changes less; a linear layer gives every image the same (its mean over the batch). Batch
norm and dropout are measured in training mode (with every other dropout off), a linear layer in eval mode. The answers
are compared up to what says nothing: a number that is added to all answers of an image (log-softmax), or to one answer
of all images.

Both the network's own weights and fresh ones are tried. An effect of `LEAST` with the own weights counts. One of
`TRACE` or more counts, too, if with fresh learnable weights it is `LEAST`: a trained network may have learnt to mind a
dropout little. What is frozen keeps its values in both, and what comes to nothing with the own weights (a learnable
factor that starts at zero) has no effect, whatever others would do: after a training that moved it, judge again.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lab import data
from lab.graph import Graph, redrawn
from lab.operations import INPUT, BatchNorm, Dropout, Linear, Operation
from lab.parameters import SLOWEST

LEAST = 0.01
"""Share of the answers' size that an effect changes at least. Honest untrained networks: 0.36 for dropout, 0.62 for
batch norm, 1.0 for a linear layer; effectless ones: below 1e-6."""
TRACE = 0.001
"""The same with the own weights, where fresh ones reach LEAST."""
LEAST_P, MOST_P = 0.005, 0.9
"""Chances to drop a number: with less, one in 200, a batch hardly differs from itself; with more, little is left."""
LEAST_VARIANCE = 0.25
"""What a batch norm makes of its channels before scale and shift: variance 1, less where they hardly exceed eps."""
LEAST_DEPENDENCE = 0.01
"""Share of the answers' size that neighbours change at least; rounding changes less."""

_IMAGES = 48
_FEWEST = 8
_STEPS_AT_ONCE = 2**30
"""Steps, most of them multiply-adds, that one run may take before it gets fewer images."""
_NUMBERS_AT_ONCE = 2**26
"""The same for numbers in all outputs, which are kept: 256 MB."""
_STEPS = 2**36
"""Steps for all measurements: some ten seconds. What is left then is not measured, and does not count."""
_FLOOR = 1e-4
"""Answers that differ less than this from image to image, as a share of their size, differ by rounding."""

_Values = dict[str, Tensor]


@dataclass(frozen=True)
class Effect:
    """How much an operation changes the answers, as a share of their size; and what is wrong with it, in words."""

    share: float
    fault: str = ""

    @property
    def counts(self) -> bool:
        """Is it as an operation of its kind should be?"""
        return not self.fault

    def line(self) -> str:
        """'changes the answers by 0.3612 of their size'."""
        return f"changes the answers by {self.share:.4f} of their size"


class Meter:
    """Measures the operations of one graph. images: (N, *input_shape), normalised as for training."""

    def __init__(self, graph: Graph, images: Tensor) -> None:
        self.graph = graph
        shapes = {INPUT: graph.input_shape, **{op.name: op.shape for op in graph.operations}}
        self._work = sum(
            op.work(graph.stored_shapes(op), [shapes[name] for name in op.inputs]) for op in graph.operations
        )
        outputs = sum(math.prod(op.shape) for op in graph.operations)
        n = max(_FEWEST, min(len(images), _STEPS_AT_ONCE // max(1, self._work), _NUMBERS_AT_ONCE // outputs))
        self._images = images[:n]
        self._left = _STEPS
        self._runs: dict[tuple[bool, bool], _Run] = {}

    def effect(self, op: Operation) -> Effect:
        """The effect of a batch norm, a dropout or a linear layer. Raises TypeError for another kind."""
        fault, share = _MEASURES[type(op)]
        if text := fault(self, op):
            return Effect(0.0, text)
        if self._left <= 0:
            return Effect(0.0, "was not measured: the network is too large for its number of layers")
        found = own = self._best(share, op, fresh=False)
        if TRACE <= own < LEAST:
            found = max(own, self._best(share, op, fresh=True))
        effect = Effect(found)
        if found < LEAST:
            return Effect(found, f"{effect.line()}, expected at least {LEAST:g}")
        return effect

    @functools.cached_property
    def dependence(self) -> float:
        """How much an image's answer in eval mode depends on its neighbours, as a share of the answers' size."""
        run = self._made(training=False, fresh=False)
        together, few = run.answers, 4
        try:
            alone = torch.cat([_forward(run.operations, run.tensors, self._images[i : i + 1]) for i in range(few)])
        except ValueError:  # a batch norm can't normalise a single number by its batch
            return math.inf
        change = _share(together, torch.cat([alone, together[few:]]), floor=0.01)  # sums in another order differ
        return change * math.sqrt(len(together) / few)

    @functools.cached_property
    def sound_batch_norms(self) -> set[str]:
        """Names of the batch norms that nothing is wrong with."""
        norms = [op for op in self.graph.operations if isinstance(op, BatchNorm)]
        return {op.name for op in norms if not self._batch_norm_fault(op)}

    def _best(self, share: Callable[..., float], op: Operation, fresh: bool) -> float:
        """The share in the mode that the kind is measured in.

        A linear layer's is measured with statistics gathered on the images, too, if need be: those of an untrained
        network do not fit it, and may leave nothing of the images' differences.
        """
        found = 0.0
        for training in (False, True) if isinstance(op, Linear) else (True,):
            if found < LEAST:
                self._left -= self._work * len(self._images) * 2
                found = max(found, share(self, self._made(training, fresh), op))
        return found

    def _made(self, training: bool, fresh: bool) -> "_Run":
        if (training, fresh) not in self._runs:
            graph = _with_fresh_weights(self.graph) if fresh else self.graph
            self._runs[training, fresh] = _Run(graph, self._images, training)
        return self._runs[training, fresh]

    def _batch_norm_fault(self, op: BatchNorm) -> str:
        if op.training == "never":
            return "never looks at its batch, not even in training"
        if op.training == "always" or op.running_mean is None or op.running_var is None:
            return "normalises by its batch in eval mode, too: an image's answer depends on its neighbours"
        if not SLOWEST <= op.momentum <= 1:
            return f"gathers no running statistics to normalise by in eval mode (momentum = {op.momentum:g})"
        variance = _normalised_variance(self._made(training=True, fresh=False), op)
        if not variance >= LEAST_VARIANCE:
            return f"does not normalise: its channels have variance {variance:.4f} before scale and shift, not 1"
        return ""

    def _dropout_fault(self, op: Dropout) -> str:
        if op.p in (0, 1):
            return f"drops {'everything' if op.p else 'nothing'} (p = {op.p:g})"
        if not LEAST_P <= op.p <= MOST_P:
            return f"drops {op.p:.7g} of the numbers, expected from {LEAST_P:g} to {MOST_P:g}"
        return {"follow": "", "always": "drops in eval mode too", "never": "never drops"}[op.training]

    def _linear_fault(self, op: Linear) -> str:
        if len(op.shape) != 1:
            return "works on each row of a map by itself"
        if self.graph.tensors[op.weight].shape[1] == 1:
            return "reads a single number"
        return ""


class _Run:
    """A graph, run once on some images, without dropout: all outputs are kept."""

    def __init__(self, graph: Graph, images: Tensor, training: bool) -> None:
        self.tensors = graph.weights
        self.operations = [_without_chance(op, training) for op in graph.operations]
        self.values: _Values = {INPUT: images}
        with torch.no_grad():
            for op in self.operations:
                self.values[op.name] = _output(op, self.values, self.tensors)
        self.answers = self.values[graph.operations[-1].name]

    def changed(self, name: str, output: Tensor) -> float:
        """Share of the answers' size by which they change where the operation `name` gives `output` instead."""
        return self._changed({name: output}, set())

    def without(self, names: set[str]) -> float:
        """The same where the operations `names` hand their input on."""
        return self._changed({}, names)

    def _changed(self, new: _Values, gone: set[str]) -> float:
        with torch.no_grad():
            for op in self.operations:
                if op.name in gone:
                    new[op.name] = new.get(op.inputs[0], self.values[op.inputs[0]])
                elif op.name not in new and any(source in new for source in op.inputs):
                    new[op.name] = _output(op, self.values | new, self.tensors)
        return _share(self.answers, new.get(self.operations[-1].name, self.answers))


def _without_chance(op: Operation, training: bool) -> Operation:
    """As it acts in this mode; dropout is off, and running statistics are not gathered."""
    if isinstance(op, Dropout):
        return op.model_copy(update={"training": "never"})
    if isinstance(op, BatchNorm) and (training if op.training == "follow" else op.training == "always"):
        return op.model_copy(update={"training": "always", "running_mean": None, "running_var": None})
    return op


def _output(op: Operation, values: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> Tensor:
    return op.run([values[name] for name in op.inputs], tensors, training=False)


def _forward(operations: list[Operation], tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    values = {INPUT: images}
    with torch.no_grad():
        for op in operations:
            values[op.name] = _output(op, values, tensors)
    return values[operations[-1].name]


def _share(answers: Tensor, changed: Tensor, floor: float = _FLOOR) -> float:
    """By how much answers (B, ...) change, as a share of how much they differ from image to image."""
    one, other = (_what_it_says(a) for a in (answers, changed))
    if not one.isfinite().all():
        return 0.0
    size = max(float((one - one.mean(0)).norm()), floor * float(answers.double().norm()))
    change = float((other - one).norm())
    if math.isnan(change):
        return math.inf
    return change / size if change else 0.0


def _what_it_says(answers: Tensor) -> Tensor:
    """Answers (B, ...) as (B, K), those of an image around zero: a number that is added to all of them says nothing."""
    flat = answers.double().flatten(1)
    return flat - flat.mean(1, keepdim=True) if flat.shape[1] > 1 else flat


def _batch_norm_share(meter: Meter, run: _Run, op: BatchNorm) -> float:
    out = run.values[op.name]
    silent = out.mean([axis for axis in range(out.dim()) if axis != 1], keepdim=True).expand_as(out)
    said = run.changed(op.name, silent)
    normalised = run.without({op.name}) if said >= TRACE else 0.0
    if normalised < LEAST <= said:  # one batch norm right after another: each alone could go, and not both
        normalised = max(normalised, run.without(meter.sound_batch_norms))
    return min(said, normalised)


def _normalised_variance(run: _Run, op: BatchNorm) -> float:
    """Mean variance of the channels that differ at all after the batch norm, without its scale and shift."""
    z = run.values[op.inputs[0]]
    varies = z.transpose(0, 1).flatten(1).std(1) > 1e-6 * z.transpose(0, 1).flatten(1).abs().amax(1)
    normalised = F.batch_norm(z, None, None, training=True, eps=op.eps)
    variance = normalised.transpose(0, 1).flatten(1).var(1)[varies]
    return float(variance.mean()) if len(variance) else 0.0


def _dropout_share(meter: Meter, run: _Run, op: Dropout) -> float:
    """Of the draws tried the largest: a rare channel may not be hit at once."""
    z, shares = run.values[op.inputs[0]], [0.0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        while len(shares) <= 4 and shares[-1] < LEAST:
            dropped = op.run([z], {}, training=True)
            shares.append(0.0 if torch.equal(dropped, z) else run.changed(op.name, dropped))
    return max(shares)


def _linear_share(meter: Meter, run: _Run, op: Linear) -> float:
    out = run.values[op.name]
    return run.changed(op.name, out.mean(0, keepdim=True).expand_as(out))


_MEASURES: dict[type[Operation], tuple[Callable[..., str], Callable[..., float]]] = {
    BatchNorm: (Meter._batch_norm_fault, _batch_norm_share),
    Dropout: (Meter._dropout_fault, _dropout_share),
    Linear: (Meter._linear_fault, _linear_share),
}


def _with_fresh_weights(graph: Graph) -> Graph:
    """What is learnt, and running statistics, as first drawn; what is frozen as it is."""
    fresh = redrawn(graph, seed=0).weights
    norms = [op for op in graph.operations if isinstance(op, BatchNorm)]
    statistics = {name for op in norms for name in (op.running_mean, op.running_var)}
    weights = {
        name: fresh[name] if graph.tensors[name].learnable or name in statistics else weight
        for name, weight in graph.weights.items()
    }
    return Graph(graph.input_shape, graph.operations, graph.tensors, weights, graph.idle)


# -- images to measure with -------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def images_for(dataset: str, input_shape: tuple[int, int, int]) -> Tensor:
    """A few dozen images of the data set's training part, normalised: (N, *input_shape).

    Where the data set is not at hand (nothing is downloaded for this), or its images have another shape: blurred
    random strokes.
    """
    digits = data.glimpse(dataset, 1000) if input_shape == (1, 28, 28) else None
    if digits is None:
        return _strokes(input_shape)
    images = digits.float().unsqueeze(1) / 255  # (1000, 1, 28, 28)
    return ((images - images.mean()) / images.std())[:_IMAGES]


def _strokes(shape: tuple[int, int, int]) -> Tensor:
    """Bright strokes on a dark ground, normalised: coarse noise, blown up to the size, of which the top stays."""
    generator = torch.Generator().manual_seed(0)
    coarse = [min(7, side) for side in shape[1:]]
    n = max(_FEWEST, min(_IMAGES, _NUMBERS_AT_ONCE // (16 * math.prod(shape))))
    noise = torch.randn(n, shape[0], *coarse, generator=generator)
    images = F.interpolate(noise, shape[1:], mode="bilinear").clamp(min=0.0)
    return (images - images.mean()) / images.std().clamp(min=1e-6)
