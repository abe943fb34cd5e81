"""What a student's code does when it is tried, as data: numbers, steps of training, a network's graph.

The checks (`lab.checks`) read this, wherever the code runs: in the notebook it is called here and now, in grading a
stand-in asks a sandbox, in which the functions of this module are called (`lab/grading/`). It knows no right answer.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.errors import LabError
from lab.graph import Graph, capture

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], Any]
"""(model, optimizer, images (B, 1, 8, 8), labels (B,)) -> the loss."""


# -- what runs elsewhere ----------------------------------------------------------------------------------------------


class FarNetwork(ABC):
    """A network that lives in another process: nothing of it is here but what can be asked."""

    @abstractmethod
    def graph_on(self, name: str, input_shape: tuple[int, int, int]) -> "Graph | str":
        """As `graph_or_fault`."""


class FarAnswer(ABC):
    """A function that lives in another process."""

    @abstractmethod
    def steps(self, seed: int, number: int) -> "list[Taken]":
        """As `take_steps`. Raises what the function raises."""

    @abstractmethod
    def __call__(self, *arguments: Any) -> Any:
        """What the function gives, as data."""


# -- numbers ----------------------------------------------------------------------------------------------------------


def number_of(value: Any) -> Any:
    """The number that a value is, of Python's kinds or NumPy's; None for what is none, True and False among it.

    A class of one's own that derives from int or float and calls itself equal to everything is no more than the number
    that it was made of.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, np.integer | np.floating):
        return value if type(value).__module__ == "numpy" else None  # compared in its own precision
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    return value if type(value) is Fraction else None


def plain(got: Any) -> Any:
    """A tensor or array of one number as that number, one of several as a list; anything else as it is."""
    if not isinstance(got, Tensor | np.ndarray):
        return got
    return got.item() if math.prod(got.shape) == 1 else got.tolist()


# -- open exercises ---------------------------------------------------------------------------------------------------


def is_open(error: BaseException) -> bool:
    """Is it an open exercise's? PyTorch raises it, too, for numbers of a kind that it can't take."""
    return isinstance(error, NotImplementedError) and " not implemented for '" not in str(error)


# -- networks ---------------------------------------------------------------------------------------------------------


def graph_or_fault(name: str, model: nn.Module, input_shape: tuple[int, int, int]) -> Graph | str:
    """What the network executes on images of this shape, or in words why it can't run; name: what to call it.

    Raises GraphError as `capture` does, and NotImplementedError for an exercise that is still open.
    """
    return forward_fault(name, model, input_shape) or capture(model, input_shape)


def forward_fault(name: str, model: nn.Module, input_shape: tuple[int, ...]) -> str:
    """Where a forward pass fails: in which layer, and what that is given; empty where it does not."""
    twin, entered = copy.deepcopy(model).eval(), [""]
    for path, layer in twin.named_modules():
        if path and not list(layer.children()):
            layer.register_forward_pre_hook(partial(_remember, entered, path))
    x = torch.zeros(2, *input_shape, device=next((p.device for p in twin.parameters()), None))
    try:
        with torch.no_grad():
            out = twin(x)
    except (LabError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too
        if type(model).forward is nn.Module.forward:
            return f"{name} has no forward: define `def forward(self, x)`, and return the result."
        if is_open(error):
            raise
        where = f", in or after {entered[0]}" if entered[0] else ""
        return f"{name} fails on images {tuple(x.shape)}{where}: {error}"
    return f"{name} gives None: does its forward end in `return`?" if out is None else ""


def _remember(entered: list[str], path: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    given = tuple(getattr(inputs[0], "shape", ())) if inputs else ()
    entered[0] = f"layer {path!r}, {layer}, which is given {given}"


# -- steps of training ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What a step did."""

    loss: Any  # what it gave
    after: Tensor  # all parameters after it, (N,)
    calls: tuple[str, ...]  # "backward" and "step", in order


def take_steps(step: Step, seed: int, number: int) -> list[Taken]:
    """So many steps, always of the same network on the same images for a seed. Raises what the step raises."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
        calls: list[str] = []
        next(model.parameters()).register_hook(lambda _: calls.append("backward"))
        optimizer.register_step_pre_hook(lambda *_: calls.append("step"))
        classes, taken = torch.randn(10, 1, 8, 8), []
        for _ in range(number):
            labels = torch.randint(0, 10, (32,))
            images = classes[labels] + 0.5 * torch.randn(32, 1, 8, 8)
            state = torch.random.get_rng_state()
            calls.clear()
            loss = plain(step(model, optimizer, images, labels))
            torch.random.set_rng_state(state)  # an answer that draws numbers does not change the images
            after = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
            taken.append(Taken(loss, after, tuple(calls)))
    return taken
