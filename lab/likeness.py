"""Are two networks one design, whatever their layers are called? Is this one of the lab's own?

Compared is what the graphs execute in eval mode: kinds, sizes, hyperparameters and wiring. Left out is what makes no
other design: the names, the weights, dropout (an eval mode has none), what changes no number, and the softmax or ReLU
behind the last layer.
"""

from functools import cache
from typing import Any

import torch

from lab import models
from lab.graph import Graph, capture
from lab.operations import INPUT, Activation, Dropout, Operation, Reshape, Scale, Softmax, StochasticDepth

_NOT_COMPARED = {"name", "inputs", "line", "eps"}
"""An operation's fields that make no other design, or that are compared by other means."""


def same_design(a: Graph, b: Graph) -> bool:
    """Do both execute the same, with the same sizes? Neither names nor weights nor dropout make a difference."""
    return design(a) == design(b)


def known_copy(graph: Graph) -> str | None:
    """The name of the lab's own network that `graph` equals, such as "LabNet"; None for a design of one's own."""
    shapes = sorted(stored.shape for stored in graph.tensors.values() if len(stored.shape) > 1)
    near = [name for name in models.NETWORKS if _own_shapes(name) == shapes]  # capturing all of them takes two seconds
    made = design(graph) if near else []
    return next((name for name in near if _own_design(name) == made), None)


@cache
def _own_shapes(name: str) -> list[tuple[int, ...]]:
    """Shapes of the weights of one of the lab's own networks, in order; of biases and statistics none."""
    with torch.random.fork_rng(devices=[]):
        return sorted(tuple(p.shape) for p in models.NETWORKS[name]().parameters() if p.dim() > 1)


@cache
def _own_design(name: str) -> list[Any]:
    with torch.random.fork_rng(devices=[]):  # the notebook's random numbers go on as if nothing had been drawn
        return design(capture(models.NETWORKS[name]()))


def design(graph: Graph) -> list[Any]:
    """The input's shape, and what is executed up to the last layer's output, with numbers in place of all names.

    Made of what JSON can hold.
    """
    number = {INPUT: 0}  # of each output, in the order of execution
    tensors: dict[str, int] = {}  # of each stored tensor, in the order of first use
    executed: list[Any] = [graph.input_shape]
    end = 1
    for op in graph.operations:
        if _changes_nothing(op, graph):
            number[op.name] = number[op.inputs[0]]
            continue
        names = {role: tensors.setdefault(getattr(op, role), len(tensors)) for role in graph.stored_shapes(op)}
        fields = op.model_dump(exclude=_NOT_COMPARED | set(op.tensor_fields) | set(op.of_training))
        executed.append((fields, [number[name] for name in op.inputs], names, graph.stored_shapes(op)))
        number[op.name] = len(executed)
        end = end if isinstance(op, Softmax | Activation) else len(executed)
    return executed[:end]


def _changes_nothing(op: Operation, graph: Graph) -> bool:
    """Does an image in eval mode leave the operation as it came in?"""
    if isinstance(op, Dropout):
        return op.training != "always"
    if isinstance(op, Reshape):
        return op.shape == graph.shape_of(op.inputs[0])
    return isinstance(op, StochasticDepth) or (isinstance(op, Scale) and (op.factor, op.shift) == (1, 0))
