"""A renamed copy of a network is the same design; a network with one other number is not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab import likeness, models
from lab.graph import capture, redrawn
from lab.likeness import known_copy, same_design


def chain(*, width=6, kernel=3, pool=nn.MaxPool2d, bias=True, p=0.1, activation=nn.ReLU, last=()) -> nn.Sequential:
    """A small network, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(
        *(nn.Conv2d(1, width, kernel, padding=kernel // 2, bias=bias), pool(2), nn.BatchNorm2d(width), activation()),
        *(nn.Flatten(), nn.Dropout(p), nn.Linear(width * 14 * 14, 10), *last),
    )


def always() -> nn.Sequential:
    """The same with a batch norm that never uses its running statistics."""
    net = chain()
    net[2] = nn.BatchNorm2d(6, track_running_stats=False)
    return net


class Renamed(nn.Module):
    """The same with names of its own, made in another order."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6 * 14 * 14, 10)
        self.norm = nn.BatchNorm2d(6)
        self.see = nn.Conv2d(1, 6, 3, padding="same")

    def forward(self, x):
        x = torch.relu(self.norm(F.max_pool2d(self.see(x), 2)))
        return self.head(F.dropout(x.reshape(x.shape[0], -1), 0.4, self.training))


def nested() -> nn.Sequential:
    """The same, its layers in blocks in blocks."""
    first, *middle = chain()
    return nn.Sequential(nn.Sequential(first, nn.Sequential(*middle[:3])), nn.Identity(), nn.Sequential(*middle[3:]))


SAME = {
    "other names, other functions": Renamed,
    "nested": nested,
    "another dropout": lambda: chain(p=0.5),
    "no dropout": lambda: nn.Sequential(*[layer for layer in chain() if not isinstance(layer, nn.Dropout)]),
    "more dropout": lambda: nn.Sequential(nn.Dropout(0.01), *chain()),
    "a softmax behind": lambda: chain(last=[nn.LogSoftmax(1)]),
    "a ReLU behind": lambda: chain(last=[nn.ReLU(), nn.LogSoftmax(1)]),
    "flattened twice": lambda: nn.Sequential(*list(chain())[:5], nn.Flatten(), *list(chain())[5:]),
}
OTHER = {
    "a channel more": lambda: chain(width=7),
    "another kernel": lambda: chain(kernel=5),
    "another pooling": lambda: chain(pool=nn.AvgPool2d),
    "no bias": lambda: chain(bias=False),
    "another activation": lambda: chain(activation=nn.SiLU),
    "a layer more": lambda: nn.Sequential(*chain(), nn.Linear(10, 10)),
    "no running statistics": always,
    "another order": lambda: nn.Sequential(*[chain()[i] for i in (0, 2, 1, 3, 4, 5, 6)]),
}


@pytest.fixture(scope="module")
def plain():
    return capture(chain())


@pytest.mark.parametrize("kind", SAME)
def test_what_makes_no_other_design(kind, plain):
    assert same_design(plain, capture(SAME[kind]()))


@pytest.mark.parametrize("kind", OTHER)
def test_what_makes_another_design(kind, plain):
    assert not same_design(plain, capture(OTHER[kind]()))


class Twice(nn.Module):
    """Two layers with a shortcut; `shared`: one layer, used twice. `around`: what the shortcut goes around."""

    def __init__(self, shared=False, around="second"):
        super().__init__()
        self.one = nn.Conv2d(1, 1, 3, padding=1)
        self.two = self.one if shared else nn.Conv2d(1, 1, 3, padding=1)
        self.around = around

    def forward(self, x):
        first = self.one(x)
        return self.two(first) + (first if self.around == "second" else x)


def test_wiring_and_shared_weights_count():
    design = capture(Twice())
    assert same_design(design, capture(Twice()))
    assert not same_design(design, capture(Twice(shared=True)))
    assert not same_design(design, capture(Twice(around="both")))


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_labs_own_networks_are_known(name):
    assert known_copy(redrawn(capture(models.NETWORKS[name]()), 5)) == name


def test_every_network_of_the_lab_is_in_its_list():
    own = [n for n in vars(models).values() if isinstance(n, type) and issubclass(n, nn.Module)]
    made = [network for network in own if "c" not in network.__init__.__annotations__]  # the others are plans of some
    assert made == list(models.NETWORKS.values())


class Unsilenced(models.SeedNet):
    def forward(self, x):
        return self.fc(self.features(x))


def test_copies_of_the_labs_networks():
    assert known_copy(capture(nn.Sequential(*models.LabNet(dropout=0.3), nn.LogSoftmax(1)))) == "LabNet"
    assert known_copy(capture(Unsilenced())) == "SeedNet"
    assert known_copy(capture(models.StagesNet((16, 16, 24, 24, 25)))) is None


def test_looking_draws_no_random_numbers(plain):
    likeness._own_design.cache_clear()
    before = torch.random.get_rng_state()
    known_copy(plain)
    assert torch.equal(before, torch.random.get_rng_state())
