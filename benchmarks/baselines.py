"""What we compare ourselves with, each written as its users write it.

A contestant is a generator of laps: it trains for one epoch, reads the test set, and yields. So a race can let each
run an epoch in turn. Only training is timed, loading included. `data` says how many of the images to use, from the
first; the loading is their own.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader, Subset

from lab.augment import MEAN, STD, to_input
from lab.data import Data, cache_root
from lab.models import SeedNet
from lab.train import accuracy


@dataclass(frozen=True)
class Lap:
    """One epoch of a contestant."""

    epoch: int  # from 1
    seconds: float  # of training, loading included
    accuracy: float  # on the test images, 0..1, after the epoch
    parameters: int


def seed_baseline(seed: int, data: Data, epochs: int = 19) -> Iterator[Lap]:
    """The lab's seed: `SeedNet`, images loaded and moved about one by one, Adam, the test set after every epoch."""
    from torchvision import datasets, transforms

    torch.manual_seed(seed)
    moved = [transforms.RandomRotation(10), transforms.RandomAffine(0, translate=(0.1, 0.1))]
    plain = [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
    train = datasets.MNIST(cache_root(), train=True, transform=transforms.Compose(moved + plain))
    test = datasets.MNIST(cache_root(), train=False, transform=transforms.Compose(plain))
    model = SeedNet()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    loader = DataLoader(Subset(train, range(len(data.train))), batch_size=128, shuffle=True)
    for epoch in range(1, epochs + 1):
        seconds = _train(model, loader, optimizer)
        yield Lap(epoch, seconds, _test(model, DataLoader(test, batch_size=1000)), parameter_count(model))


class ExampleNet(nn.Module):
    """The network of PyTorch's own MNIST example: (B, 1, 28, 28) -> (B, 10) log-probabilities, 1,199,882 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def pytorch_example(seed: int, data: Data, epochs: int = 14) -> Iterator[Lap]:
    """PyTorch's own MNIST example (pytorch/examples, mnist/main.py) with its defaults, on a CPU: not even shuffled."""
    from torchvision import datasets, transforms

    torch.manual_seed(seed)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    train = datasets.MNIST(cache_root(), train=True, transform=transform)
    test = datasets.MNIST(cache_root(), train=False, transform=transform)
    model = ExampleNet()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    loader = DataLoader(Subset(train, range(len(data.train))), batch_size=64)
    for epoch in range(1, epochs + 1):
        seconds = _train(model, loader, optimizer)
        yield Lap(epoch, seconds, _test(model, DataLoader(test, batch_size=1000)), parameter_count(model))
        scheduler.step()


class SpeedNet(nn.Sequential):
    """The network of the known speed record: (B, 1, 28, 28) -> (B, 10) logits, 215,194 parameters."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU()),  # (B, 24, 12, 12)
            *(nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()),  # (B, 32, 5, 5)
            *(nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10)),
        )


def speed_record(seed: int, data: Data, as_we_do: bool = False) -> Iterator[Lap]:
    """99.04 % after one epoch, known for 0.76 s on a GTX 1660 Ti (tuomaso, train_mnist_fast); data in memory.

    as_we_do: in bfloat16 and channels-last, so that only the recipe differs from ours.
    """
    torch.manual_seed(seed)
    model = SpeedNet()
    if as_we_do:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares no such overload
    images, labels = to_input(data.train.images), data.train.labels
    optimizer = optim.Adam(model.parameters(), lr=0.01, betas=(0.7, 0.9))
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=-(-len(images) // 256))
    started = time.perf_counter()
    for index in torch.randperm(len(images)).split(256):
        with torch.autocast("cpu", torch.bfloat16, enabled=as_we_do):
            logits = model(images[index])
        loss = F.cross_entropy(logits.float(), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    seconds = time.perf_counter() - started
    yield Lap(1, seconds, accuracy(model, data.test), parameter_count(model))


def parameter_count(model: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())


def _train(model: nn.Module, loader: "DataLoader[tuple[Tensor, Tensor]]", optimizer: optim.Optimizer) -> float:
    """One epoch; its wall time in seconds."""
    started = time.perf_counter()
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        F.nll_loss(model(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - started


@torch.no_grad()
def _test(model: nn.Module, loader: "DataLoader[tuple[Tensor, Tensor]]") -> float:
    model.eval()
    right = [model(images).argmax(1) == labels for images, labels in loader]
    return torch.cat(right).double().mean().item()
