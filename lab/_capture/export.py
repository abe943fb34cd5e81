"""A network's node list, from torch.export, in the mode that the network is in."""

import inspect
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from lab._capture.messages import BATCH, explain, is_library, kept_buffers, missing_forward
from lab._modes import kept_modes
from lab.errors import GraphError

CUMULATIVE = 0.1
"""The momentum that stands for batch norm's `momentum=None`: both gather the same statistics, at another pace."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside `nn.DataParallel(net)` and `torch.compile(net)`, which compute the same."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def materialised(model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """Give lazy layers (nn.LazyLinear) their sizes, by one run on a batch of zeros. Raises GraphError."""
    tensors = [*nn.Module.parameters(model), *nn.Module.buffers(model)]
    if not any(is_lazy(tensor) for tensor in tensors):
        return
    x = torch.zeros(BATCH, *input_shape)
    try:
        with torch.no_grad(), kept_modes(model):
            nn.Module.train(model, False)
            model(x)
    except (Exception, SystemExit, GeneratorExit) as error:  # whatever forward raises has to become a message
        raise GraphError(explain(model, error, input_shape)) from error
    unused = [name for name, tensor in nn.Module.named_parameters(model) if is_lazy(tensor)]
    if unused:
        raise GraphError(
            f"{unused[0]!r} is of a lazy layer that forward never calls, so its size is unknown: take it out."
        )


def export(model: nn.Module, input_shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    """Export `model` in the mode it is in, with a free batch. Raises GraphError."""
    if text := missing_forward(model):
        raise GraphError(text)
    example = torch.zeros(BATCH, *input_shape)
    device = next((t.device for t in nn.Module.parameters(model)), example.device)  # whatever the class overrides
    shapes: Any = ({0: torch.export.Dim("batch")},)
    if _takes_any_number(model):  # def forward(self, *inputs)
        shapes = (shapes,)
    try:
        with warnings.catch_warnings(), _quiet(), _plain_averages(model), kept_buffers(model):
            warnings.simplefilter("ignore")  # about the export's own ways; what matters is an error
            return torch.export.export(model, (example.to(device),), dynamic_shapes=shapes, strict=False)
    except NotImplementedError as error:
        if is_library(traceback.extract_tb(error.__traceback__)[-1].filename):
            raise GraphError(explain(model, error, input_shape)) from error
        raise  # an exercise that is not done yet: not a wrong one
    except (Exception, SystemExit, GeneratorExit) as error:  # whatever forward raises has to become a message
        raise GraphError(explain(model, error, input_shape)) from error


def _takes_any_number(model: nn.Module) -> bool:
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return bool(kinds) and kinds[0] is inspect.Parameter.VAR_POSITIONAL


@contextmanager
def _plain_averages(model: nn.Module) -> Iterator[None]:
    """Batch norm with `momentum=None` counts its batches in a tensor, which no export can follow."""
    cumulative = [m for m in nn.Module.modules(model) if isinstance(m, _NormBase) and m.momentum is None]
    for module in cumulative:
        module.momentum = CUMULATIVE
    try:
        yield
    finally:
        for module in cumulative:
            module.momentum = None


_LOGGERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch._export", "torch.export")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's tracebacks and its print of half a graph: what they say is in the error, too."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
