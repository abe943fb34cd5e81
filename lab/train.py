"""How a network is trained, and how its accuracy is measured.

    history = fit(model, data, Recipe(epochs=15))      # reads data.train, and data.validation where there is one
    accuracy(model, data.test)                         # once, at the very end

The images stay in memory as one tensor; a batch is cut out, moved about and normalised as a whole.
"""

import math
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim.swa_utils import AveragedModel

from lab._bar import has_screen, progress_bar
from lab._defaults import require_defaults
from lab._modes import kept_modes
from lab.augment import Affine, random_affine, random_gamma, to_input
from lab.data import Data, Labelled
from lab.errors import LabError
from lab.graph import GraphNet
from lab.muon import Muon
from lab.operations import Dropout
from lab.switches import is_on

if TYPE_CHECKING:
    from tqdm import tqdm


class TrainingError(LabError):
    """A training run that can't start or can't go on."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the network and the images; printed with every result."""

    epochs: int = 15  # passes over the training images; the assignment allows fewer than 20
    batch_size: int = 256  # images
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 0.015  # its peak
    muon: float = 0.0  # peak learning rate of convolution filters under Muon; 0 leaves them to the optimizer
    schedule: Literal["triangle", "cosine", "constant"] = "triangle"
    warmup: float = 0.2  # the part of the run in which the learning rate climbs to its peak
    momentum: float = 0.9  # of SGD (Nesterov) and Muon, or AdamW's first beta
    weight_decay: float = 0.01  # on weights; never on biases and batch norm
    label_smoothing: float = 0.05  # probability given away to the other classes
    dropout: float | None = None  # sets p of every dropout layer; None leaves the network's own
    augment: Affine | None = field(default_factory=Affine)
    gamma: float = 0.0  # brightness goes to a power between exp(-gamma) and exp(gamma): thinner or fatter strokes
    hardest: float = 1.0  # from the second epoch on, learn from this part of the images: those with the highest loss,
    sampled: float = 0.0  # and from this part, drawn from the others; the rest are skipped (the epoch counts whole)
    averaging: float = 0.995  # decay a step of the moving average of the weights; 0 keeps the last ones
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where it is quicker
    seed: int = 0  # of the order, the augmentation and dropout; the network's first weights are the caller's


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images."""

    number: int  # from 1
    loss: float  # mean over the epoch, on augmented images
    train_accuracy: float  # 0..1, while training, on augmented images
    validation_accuracy: float | None  # 0..1, after the epoch; None without a validation set
    learning_rate: float  # at the end
    seconds: float  # of training, validation left out
    images: int  # learnt from: all of them, but where the recipe skips easy ones


@dataclass
class History:
    """What a run did: its recipe, its epochs, where it ran, and whether it was stopped early."""

    recipe: Recipe
    device: str
    precision: str
    threads: int
    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Wall time of training, in seconds, validation left out."""
        return sum(epoch.seconds for epoch in self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)


Watcher = Callable[[History, nn.Module], None]
"""Called after every epoch with the history so far and the network that the run would give if it ended there."""


def fit(
    model: nn.Module, data: Data, recipe: Recipe, progress: bool | None = None, watchers: Sequence[Watcher] = ()
) -> History:
    """Train `model` in place on `data.train`, on the device that it is on.

    The same seed, machine and thread count give the same history, bit for bit. Ctrl-C ends the run cleanly and
    returns the history so far, marked `interrupted`. `data.test` is never read.

    progress: show a bar; None shows one where `is_watched`, and there is a terminal or a notebook to draw it on.
    watchers: their time does not count as training.

    Raises TrainingError for images and labels that do not fit the network, and for a loss that is no longer finite;
    DefaultsError where PyTorch's default device or dtype was changed.
    """
    require_defaults()
    _check(model, data.train, recipe)
    device = next(model.parameters()).device
    precision = _precision(recipe, device)
    history = History(recipe, str(device), precision, torch.get_num_threads())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _set_dropout(model, recipe.dropout)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        run = _Training(model, data.train, recipe, device, precision)
        with _bar(run.steps, progress) as bar:
            try:
                for number in range(1, recipe.epochs + 1):
                    started = time.perf_counter()
                    loss, train_accuracy = run.epoch(number, bar)
                    seconds = time.perf_counter() - started
                    held_out = accuracy(run.result, data.validation) if data.validation is not None else None
                    rate = recipe.learning_rate * _rate(recipe, run.done)
                    images = run.images_of(number)
                    history.epochs.append(Epoch(number, loss, train_accuracy, held_out, rate, seconds, images))
                    bar.set_postfix_str(_state(history.epochs[-1]))
                    for watch in watchers:
                        watch(history, run.result)
            except KeyboardInterrupt:
                history.interrupted = True
    model.load_state_dict(run.result.state_dict())
    model.eval()
    _remember(model, history)
    return history


_TRAINED: list[tuple[weakref.ref[nn.Module], History]] = []


def trained_here() -> list[tuple[nn.Module, History]]:
    """The networks that `fit` has trained in this process and that somebody still keeps; the one trained last is first.

    Each with the history of its last training, which has an epoch at least.
    """
    kept = [(model(), history) for model, history in reversed(_TRAINED)]
    return [(model, history) for model, history in kept if model is not None]


def _remember(model: nn.Module, history: History) -> None:
    """Weakly: a network that nobody else keeps is not kept for this."""
    _TRAINED[:] = [known for known in _TRAINED if (other := known[0]()) is not None and other is not model]
    if history.epochs:
        _TRAINED.append((weakref.ref(model), history))


def accuracy(model: nn.Module, digits: Labelled, batch_size: int = 1000) -> float:
    """The share of `digits` that `model` classifies correctly, 0..1, in eval mode and float32; every image counts once.

    Raises TrainingError for an empty set.
    """
    return share_right(predict(model, digits.images, batch_size).argmax(1), digits)


def share_right(answers: Tensor, digits: Labelled) -> float:
    """The share of these answers (N,) that are the digits' labels, 0..1; every image counts once."""
    return int((answers == digits.labels).sum()) / len(digits)


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """Logits (N, 10) on the CPU for images (N, H, W) uint8, in eval mode and float32; all modes are put back.

    Raises TrainingError for an empty set, and for an output that is not one row of logits an image.
    """
    if len(images) == 0:
        raise TrainingError("there are no images to predict: the set is empty.")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with kept_modes(model):
        model.eval()
        logits = torch.cat([model(to_input(chunk.to(device))).float().cpu() for chunk in images.split(batch_size)])
    if logits.dim() != 2 or len(logits) != len(images):
        raise TrainingError(
            f"the network gives {tuple(logits.shape)} for {len(images)} images; expected one row of logits each."
        )
    return logits


class _Training:
    """The moving parts of one training run."""

    def __init__(self, model: nn.Module, train: Labelled, recipe: Recipe, device: torch.device, precision: str) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.images, self.labels = train.images.to(device), train.labels.to(device)
        self.steps = sum(self.batches_of(epoch) for epoch in range(1, recipe.epochs + 1))
        self.step_number = 0
        self.optimizers = _optimizers(model, recipe)
        self.losses = torch.zeros(len(train), device=device)  # of each image, when it was last learnt from
        self.generator = torch.Generator().manual_seed(recipe.seed)
        update = _moving_average(recipe.averaging)
        self.average = AveragedModel(model, multi_avg_fn=update, use_buffers=True) if recipe.averaging else None

    @property
    def result(self) -> nn.Module:
        """The network that the run is for: the averaged one where weights are averaged."""
        return self.model if self.average is None else self.average.module

    @property
    def done(self) -> float:
        """The part of the run that is over, 0..1."""
        return self.step_number / self.steps

    def images_of(self, epoch: int) -> int:
        """How many images an epoch learns from."""
        part = 1.0 if epoch == 1 else min(1.0, self.recipe.hardest + self.recipe.sampled)
        return max(2, round(part * len(self.labels)))

    def batches_of(self, epoch: int) -> int:
        """How many steps an epoch takes, a batch of nearly the same size for each."""
        return -(-self.images_of(epoch) // self.recipe.batch_size)

    def order(self, epoch: int) -> Tensor:
        """The images that an epoch learns from, (n,) indices, in a new order."""
        order = torch.randperm(len(self.labels), generator=self.generator).to(self.device)
        n = self.images_of(epoch)
        if n == len(order):
            return order
        is_hard = torch.zeros_like(order, dtype=torch.bool)
        is_hard[self.losses.topk(round(self.recipe.hardest * len(order))).indices] = True
        hardest_first = order[is_hard[order].argsort(descending=True, stable=True)]  # the others in random order still
        chosen = hardest_first[:n]
        return chosen[torch.randperm(n, generator=self.generator).to(self.device)]

    def epoch(self, number: int, bar: "tqdm[Any]") -> tuple[float, float]:
        """One pass over the images, in a new order: the mean loss and the accuracy meanwhile."""
        self.model.train()
        order = self.order(number)
        loss_sum = torch.zeros((), device=self.device, dtype=torch.float64)
        correct = torch.zeros((), device=self.device, dtype=torch.long)
        for index in order.tensor_split(self.batches_of(number)):
            losses, logits = self.step(index)
            loss_sum += losses.sum()
            correct += (logits.argmax(1) == self.labels[index]).sum()
            bar.update()
        if not torch.isfinite(loss_sum):
            raise TrainingError(
                f"the loss became {loss_sum.item()} in epoch {number} of {self.recipe.epochs}. "
                f"Lower the learning rate (its peak is {self.recipe.learning_rate}) or lengthen the warm-up."
            )
        return loss_sum.item() / len(order), correct.item() / len(order)

    def step(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from the images at `index` (B,): their losses (B,) and logits (B, classes), both detached."""
        x = to_input(self.images[index])  # (B, 1, H, W)
        if self.recipe.augment is not None:
            x = random_affine(x, self.recipe.augment, self.generator)
        if self.recipe.gamma:
            x = random_gamma(x, self.recipe.gamma, self.generator)
        with self.autocast:
            logits = self.model(x.contiguous(memory_format=torch.channels_last)).float()
        smoothing = self.recipe.label_smoothing
        losses = F.cross_entropy(logits, self.labels[index], label_smoothing=smoothing, reduction="none")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(self.recipe, self.done)
            optimizer.step()
        self.step_number += 1
        losses = losses.detach()
        self.losses[index] = losses
        if self.average is not None:
            self.average.update_parameters(self.model)
        return losses, logits.detach()


def _optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for convolutions if the recipe says so; the rest is AdamW's or SGD's.

    Weight decay acts on weights (two axes or more) of the latter, not on biases and batch norm.
    """
    filters: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for p in model.parameters():
        if p.requires_grad:
            kind = vectors if p.dim() <= 1 else filters if recipe.muon and p.dim() == 4 else weights
            kind.append(p)
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "sgd":
        optimizers.append(torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=True, fused=True))
    else:
        optimizers.append(torch.optim.AdamW(groups, recipe.learning_rate, (recipe.momentum, 0.999), fused=True))
    if filters:
        optimizers.append(Muon(filters, recipe.muon, recipe.momentum))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """An exponential moving average that forgets its first steps quickly, so that short runs gain from it too."""

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Any) -> None:
        if averaged[0].is_floating_point():
            keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
            torch._foreach_lerp_(list(averaged), list(current), 1 - keep)
        else:  # batch norm's counter of batches
            torch._foreach_copy_(list(averaged), list(current))

    return update


def _rate(recipe: Recipe, done: float) -> float:
    """The learning rate as a share of its peak, when the part `done` (0..1) of the run is over."""
    if recipe.schedule == "constant":
        return 1.0
    if done < recipe.warmup:
        return done / recipe.warmup
    left = (1 - done) / (1 - recipe.warmup)
    return left if recipe.schedule == "triangle" else 0.5 - 0.5 * math.cos(math.pi * left)


def check_recipe(recipe: Recipe) -> None:
    """Raise TrainingError for a recipe that no training can follow; NaN and infinity fail every one of the bounds."""
    if not (recipe.epochs >= 1 and recipe.batch_size >= 2 and 0 < recipe.learning_rate < math.inf):
        raise TrainingError("a recipe needs at least 1 epoch, batches of 2 images and a learning rate above 0.")
    for name in ("epochs", "batch_size", "seed"):
        if not isinstance(getattr(recipe, name), Integral):
            raise TrainingError(f"a recipe's `{name}` is a whole number; this one is {getattr(recipe, name)!r}.")
    if not (0 <= recipe.hardest <= 1 and 0 <= recipe.sampled <= 1):
        raise TrainingError("a recipe's `hardest` and `sampled` are parts of the images, from 0 to 1 each.")
    for name in ("warmup", "momentum", "label_smoothing", "averaging"):
        if not 0 <= (value := getattr(recipe, name)) < 1:
            raise TrainingError(f"a recipe's `{name}` is at least 0 and less than 1; this one is {value}.")
    for name in ("muon", "weight_decay", "gamma"):
        if not 0 <= (value := getattr(recipe, name)) < math.inf:
            raise TrainingError(f"a recipe's `{name}` is a number from 0 up; this one is {value}.")
    if not 0 <= recipe.seed < 2**63:
        raise TrainingError(f"a recipe's `seed` is a whole number from 0 to 2**63 - 1; this one is {recipe.seed}.")
    for name, value in asdict(recipe.augment).items() if recipe.augment is not None else ():
        if not 0 <= value < (1 if name == "scale" else math.inf):
            most = "less than 1" if name == "scale" else "finite"
            raise TrainingError(f"a recipe's `augment.{name}` is at least 0 and {most}; this one is {value}.")
    if recipe.dropout is not None and not 0 <= recipe.dropout < 1:
        raise TrainingError(f"a recipe's `dropout` is at least 0 and less than 1; this one is {recipe.dropout}.")
    if recipe.optimizer == "sgd" and recipe.momentum == 0:
        raise TrainingError("SGD with Nesterov's momentum needs a `momentum` above 0.")
    for name in ("optimizer", "schedule", "precision"):
        choices = get_args(get_type_hints(Recipe)[name])
        if getattr(recipe, name) not in choices:
            raise TrainingError(f"a recipe's `{name}` is one of {', '.join(choices)}; not {getattr(recipe, name)!r}.")


def _check(model: nn.Module, train: Labelled, recipe: Recipe) -> None:
    """Raise TrainingError, before anything is changed, for what would fail or mislead later."""
    check_recipe(recipe)
    images, labels = train.images, train.labels
    if len(images) == 0:
        raise TrainingError("there is nothing to train on: the training set is empty.")
    if images.dtype != torch.uint8 or images.dim() != 3:
        raise TrainingError(f"images must be uint8 (N, H, W); these are {images.dtype} {tuple(images.shape)}.")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise TrainingError(
            f"there must be one int64 label an image, ({len(images)},); these are {labels.dtype} {tuple(labels.shape)}."
        )
    if next(model.parameters(), None) is None:
        raise TrainingError("the network has no parameters: there is nothing to train.")
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError(
            "every parameter of the network is frozen (requires_grad is False): there is nothing to train. "
            "model.requires_grad_(True) lets all of them learn."
        )
    classes = predict(model, images[:2]).shape[-1]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise TrainingError(
            f"labels run from {low} to {high}, the network's {classes} outputs from 0 to {classes - 1}."
        )


def _precision(recipe: Recipe, device: torch.device) -> str:
    """bfloat16 where both the processor and the library that computes have instructions for it; or as the recipe says.

    oneDNN may have been told to use fewer instructions than the processor has (ONEDNN_MAX_CPU_ISA); it then emulates
    bfloat16, ten times slower than float32. It is asked and not timed: a busy moment must not change a history.
    """
    if recipe.precision != "auto":
        return recipe.precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return "float32"
    instructions = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    has_any = any(supported() for supported in instructions if supported is not None)
    return "bfloat16" if has_any and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def _set_dropout(model: nn.Module, p: float | None) -> None:
    """Set p of every dropout layer, and of every dropout that a graph executes."""
    if p is None:
        return
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = p
        elif isinstance(module, GraphNet):
            graph = module.graph
            changed = [op.model_copy(update={"p": p}) if isinstance(op, Dropout) else op for op in graph.operations]
            module.graph = replace(graph, operations=tuple(changed))


def is_watched() -> bool:
    """Is somebody there to see a run's progress? LAB_PROGRESS=0 says no (papermill, nbval, nbgrader)."""
    return is_on("LAB_PROGRESS", default=True)


def _bar(steps: int, progress: bool | None) -> "tqdm[Any]":
    return progress_bar(steps, is_watched() and has_screen() if progress is None else progress)


def _state(epoch: Epoch) -> str:
    held_out = "" if epoch.validation_accuracy is None else f" validation {epoch.validation_accuracy:.2%}"
    return f"epoch {epoch.number} loss {epoch.loss:.4f}{held_out}"
