"""Which network does a script train, on how many images? Seen from what PyTorch does while the script runs.

    watch = Watch()
    with watch.watching():
        ...                                # the script is executed
    watch.trained()                        # the networks that learnt something, most steps first

A network is a module that is called from outside of any other module, and that a gradient comes back to; where it is
kept, in a variable or only inside `main()`, does not matter. This runs beside the student's code, inside the sandbox:
the numbers are what an honest script does, and a claim of a dishonest one.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

SHOWN_IMAGES = 64
"""Of the last images that a network was given, so many are looked at."""

FEWEST_LEVELS = 16
"""Grey levels in some digits; fewer are not MNIST's own, but made of them."""


@dataclass(eq=False)
class Trained:
    """A network, and what was seen of it."""

    module: nn.Module
    steps: int = 0
    learnt: dict[int, int] = field(default_factory=dict)  # images that a gradient came back for, by size of their set
    fed: dict[bool, Tensor] = field(default_factory=dict)  # the last images (B, ...), by whether it learnt from them

    @property
    def images(self) -> int:
        """So many images it learnt from, each as often as it was seen."""
        return sum(self.learnt.values())

    def epochs(self, training_images: int) -> float:
        """So many passes these are over the sets that they came from; training_images: the size where it is unknown."""
        return sum(images / (size or training_images) for size, images in self.learnt.items())


class Watch:
    """Sees networks being called, gradients coming back, and optimizers stepping."""

    def __init__(self) -> None:
        self._seen: dict[int, Trained] = {}
        self._plain: dict[int, nn.Module] = {}  # called, without parameters: kept so that no other gets its number
        self._asked: dict[int, nn.Module] = {}  # for its parameters, by who makes an optimizer
        self._steps: dict[int, tuple[torch.optim.Optimizer, int]] = {}
        self._inside = False
        self._size = 0  # of the set whose images came last; 0: unknown

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what happens in this process."""
        called, iterated, asked = nn.Module.__call__, DataLoader.__iter__, nn.Module.parameters

        @functools.wraps(asked)
        def parameters(module: nn.Module, recurse: bool = True) -> Iterator[nn.Parameter]:
            self._asked[id(module)] = module
            return asked(module, recurse)

        @functools.wraps(called)
        def call(module: nn.Module, *given: Any, **named: Any) -> Any:
            if self._inside:
                return called(module, *given, **named)
            self._inside = True
            try:
                out = called(module, *given, **named)
            finally:
                self._inside = False
            self._saw(module, (*given, *named.values()), out)
            return out

        @functools.wraps(iterated)
        def batches(loader: DataLoader[Any]) -> Iterator[Any]:
            return _Batches(iterated(loader), functools.partial(self._came, _size_of(loader)))

        step = register_optimizer_step_post_hook(self._stepped)
        nn.Module.__call__, DataLoader.__iter__ = call, batches  # type: ignore[method-assign, assignment]
        nn.Module.parameters = parameters  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.__call__, DataLoader.__iter__ = called, iterated  # type: ignore[method-assign]
            nn.Module.parameters = asked  # type: ignore[method-assign]
            step.remove()

    def trained(self) -> list[Trained]:
        """The networks that learnt, those with most steps first; what is only a part of another is left out."""
        found = self._wholes([one for one in self._seen.values() if one.learnt])
        for one in found:
            steps = [n for optimizer, n in self._steps.values() if _weights(one.module) & _held_by(optimizer)]
            one.steps = max(steps, default=one.steps)
        parts = {id(part) for one in found for part in one.module.modules() if part is not one.module}
        return sorted((one for one in found if id(one.module) not in parts), key=lambda one: (-one.steps, -one.images))

    def _wholes(self, found: list[Trained]) -> list[Trained]:
        """With the networks whose parts alone were called: `model.forward(x)` is no call of the model."""
        known, wholes = {id(one.module) for one in found}, []
        for module in self._asked.values():
            inside = {id(part) for part in module.modules()}
            parts = [one for one in found if id(one.module) in inside]
            if id(module) in known or not parts or any(_weights(one.module) == _weights(module) for one in parts):
                continue  # in the last case the module only trains the network that it holds
            first = max(parts, key=lambda one: one.images)  # the first of those that saw most, which saw the images
            wholes.append(Trained(module, first.steps, first.learnt, first.fed))
        return [*found, *wholes]

    # -----------------------------------------------------------------------------------------------------------------

    def _saw(self, module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        network = unwrapped(module)
        if id(network) in self._plain:
            return
        if next(network.parameters(), None) is None:
            self._plain[id(network)] = network
            return
        images = next((one for one in given if isinstance(one, Tensor) and one.dim() > 1), None)
        if images is None:
            return
        one = self._seen.setdefault(id(network), Trained(network))
        answer = next((tensor for tensor in _tensors(out) if tensor.requires_grad), None)
        if answer is not None:
            answer.register_hook(functools.partial(self._learnt, one, len(images), self._size))
        one.fed[answer is not None and module.training] = images.detach()[:SHOWN_IMAGES]

    def _came(self, size: int) -> None:
        self._size = size

    def _learnt(self, one: Trained, images: int, size: int, gradient: Tensor) -> None:
        one.steps += 1  # counts where no optimizer does
        one.learnt[size] = one.learnt.get(size, 0) + images

    def _stepped(self, optimizer: torch.optim.Optimizer, *rest: Any) -> None:
        _, before = self._steps.get(id(optimizer), (optimizer, 0))
        self._steps[id(optimizer)] = optimizer, before + 1


def unwrapped(module: nn.Module) -> nn.Module:
    """The network behind what only distributes, averages or compiles it."""
    while isinstance(module, nn.DataParallel | AveragedModel) and isinstance(module.module, nn.Module):
        module = module.module
    return module


class _Batches(Iterator[Any]):
    """A loader's batches, one after the other; `next()` as a method, too, as it was before Python 3."""

    def __init__(self, batches: Iterator[Any], came: Callable[[], None]) -> None:
        self._batches, self._came = batches, came

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._came()
        return batch

    next = __next__


def _size_of(loader: DataLoader[Any]) -> int:
    try:
        return len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:  # a stream of images
        return 0


def _weights(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _held_by(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def _tensors(out: Any) -> Iterator[Tensor]:
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, list | tuple):
        for one in out:
            yield from _tensors(one)
    elif isinstance(out, dict):
        yield from _tensors(list(out.values()))


# -- what a script does to images before its network sees them --------------------------------------------------------


@dataclass(frozen=True)
class Fed:
    """How pixels 0..1 became what the network was given: times `factor`, plus `shift`; images of that shape."""

    factor: float
    shift: float
    shape: tuple[int, ...]


def how_fed(one: Trained, pixels: tuple[int, int] = (28, 28)) -> Fed | None:
    """The map from grey levels to input, read from the last images; None where it is no fixed one.

    A set of digits has the grey levels 0 and 255 in it, and whole numbers between them: the map is right where all that
    the network saw lies on such steps.
    """
    for learning in (False, True):  # images that it is tested on are not moved about
        images = one.fed.get(learning)
        if images is None or not images.is_floating_point() or images[0].numel() != math.prod(pixels):
            continue
        values = images.double()
        low, high = float(values.min()), float(values.max())
        for brightest in range(255, 249, -1) if high > low else ():
            levels = (values - low) / (high - low) * brightest
            if bool(((levels - levels.round()).abs() < 0.02).all()) and len(levels.round().unique()) > FEWEST_LEVELS:
                return Fed((high - low) * 255 / brightest, low, tuple(images.shape[1:]))
    return None
