"""How long does each layer take? Measured on this machine: another one, or the same one an hour later, differs."""

import time

import torch
from torch import Tensor, nn

from lab.graph import Graph, GraphNet, capture

MAX_NUMBERS = 2**28
"""Numbers in all outputs together that are computed for a measurement, of which not all are held at once."""


@torch.inference_mode()
def milliseconds(network: Graph | nn.Module, images: int = 256, passes: int = 9) -> list[float]:
    """The milliseconds that each row of `layer_table` takes for a batch: the quickest of several passes.

    The forward pass alone, in eval mode and float32, on the processor with as many threads as PyTorch has now, the
    operations one after the other as the graph has them, in the memory format that `lab.train.fit` uses (channels
    last). Training takes about three times as long, for it goes back through each layer, too. A first pass, in which
    memory is set up, is not counted.

    images: of the batch, random ones. Raises ValueError for less than one image or pass; GraphError as `capture` does.
    """
    if images < 1 or passes < 1:
        raise ValueError(f"a measurement takes at least one image and one pass; these are {images} and {passes}.")
    graph = network if isinstance(network, Graph) else capture(network)
    net = graph.build().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(images, *graph.input_shape).contiguous(memory_format=torch.channels_last)
    measured = [_one_pass(net, x) for _ in range(1 + passes)][1:]
    return [1000 * min(seconds) for seconds in zip(*measured, strict=True)]


def fitting_images(graph: Graph, at_most: int = 256) -> int:
    """How many images `milliseconds` may be asked about: fewer than `at_most` for networks with large maps."""
    numbers = sum(torch.Size(op.shape).numel() for op in graph.operations)
    return max(1, min(at_most, MAX_NUMBERS // numbers))


def _one_pass(net: GraphNet, x: Tensor) -> list[float]:
    """Seconds by operation."""
    seconds, started = [], time.perf_counter()
    for _ in net.steps(x):
        ended = time.perf_counter()
        seconds.append(ended - started)
        started = ended
    return seconds
