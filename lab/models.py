"""The networks that the lab knows. Each maps images (B, 1, 28, 28) to ten numbers per image (B, 10)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class SeedNet(nn.Module):
    """The network that this lab grew from, exactly: 18,242 parameters, and one flaw that is kept and taught.

    The flaw is its last line: a ReLU on the logits. An answer can't go below zero, so a digit whose ten numbers are
    all negative gets ten zeros, a probability of 1/10 each and no gradient to learn from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.pool1 = nn.MaxPool2d(2)
        self.squeeze1 = nn.Conv2d(32, 8, 1)
        self.drop = nn.Dropout(0.1)
        self.conv3 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(16)
        self.conv4 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn4 = nn.BatchNorm2d(32)
        self.pool2 = nn.MaxPool2d(2)
        self.squeeze2 = nn.Conv2d(32, 8, 1)
        self.conv5 = nn.Conv2d(8, 16, 3)
        self.bn5 = nn.BatchNorm2d(16)
        self.conv6 = nn.Conv2d(16, 32, 3)
        self.bn6 = nn.BatchNorm2d(32)
        self.squeeze3 = nn.Conv2d(32, 8, 1)
        self.bn7 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(72, 10)

    def features(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, 72): everything before the fully connected layer."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.drop(self.squeeze1(self.pool1(x)))  # (B, 8, 14, 14)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        x = self.squeeze2(self.pool2(x))  # (B, 8, 7, 7)
        x = F.relu(self.bn5(self.conv5(x)))
        x = F.relu(self.bn6(self.conv6(x)))
        x = F.relu(self.bn7(self.squeeze3(x)))  # (B, 8, 3, 3)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, 10) log-probabilities."""
        logits = F.relu(self.fc(self.features(x)))  # the flaw: no logit can be negative
        return F.log_softmax(logits, dim=1)


def conv_block(c_in: int, c_out: int, activation: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    """3x3 convolution, batch norm, activation: (B, c_in, H, W) -> (B, c_out, H, W).

    The convolution has no bias: batch norm subtracts the mean right after it, and brings a shift of its own.
    """
    return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), activation()]


def conv_pool_block(c_in: int, c_out: int, activation: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    """3x3 convolution, 2x2 max pooling, batch norm, activation: (B, c_in, H, W) -> (B, c_out, H // 2, W // 2).

    Pooling comes right after the convolution, so that batch norm and activation work on a quarter of the pixels.
    """
    convolution, *rest = conv_block(c_in, c_out, activation)
    return [convolution, nn.MaxPool2d(2), *rest]


class StagesNet(nn.Sequential):
    """Five 3x3 convolutions to `c` channels, a pooling after three of them, and a small head; one flat list of layers.

    The fully connected layer reads c[4] x 3 x 3 numbers instead of a whole image's worth. `pooled` says which
    convolutions a pooling follows, from 0: an early pooling is quick, a late one leaves more pixels to work on.
    """

    def __init__(
        self,
        c: Sequence[int],
        pooled: Sequence[int] = (0, 2, 4),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.05,
    ) -> None:
        layers: list[nn.Module] = []
        for i, (c_in, c_out) in enumerate(zip([1, *c[:4]], c, strict=True)):
            layers += (conv_pool_block if i in pooled else conv_block)(c_in, c_out, activation)
        super().__init__(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(c[4] * 3 * 3, 10))


class LabNet(StagesNet):
    """The lab's plain network under the rules, the one that the notebook builds: 18,650 parameters."""

    def __init__(self, dropout: float = 0.05) -> None:
        super().__init__((16, 16, 24, 24, 24), dropout=dropout)


class StridedNet(nn.Sequential):
    """Few pixels early: a 5x5 convolution of stride 2 first, no padding, and batch norm only after the pooling."""

    def __init__(self, c: Sequence[int], activation: type[nn.Module], dropout: float = 0.02) -> None:
        super().__init__(
            *(nn.Conv2d(1, c[0], 5, stride=2), activation()),  # (B, c[0], 12, 12)
            *(nn.Conv2d(c[0], c[1], 3), activation()),  # (B, c[1], 10, 10)
            *(nn.Conv2d(c[1], c[2], 3, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(c[2]), activation()),  # 4 x 4
            *conv_block(c[2], c[3], activation),
            nn.Dropout2d(dropout),  # whole channels: a random number for each, not for each of its 16 places
            nn.Flatten(),
            nn.Linear(c[3] * 4 * 4, 10),
        )


class SprintNet(StridedNet):
    """The network of the preset sprint: 18,082 parameters."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__((16, 24, 32, 16), activation)


class PeakNet(StagesNet):
    """The network of the preset peak: LabNet with another activation, 18,650 parameters."""

    def __init__(self) -> None:
        super().__init__((16, 16, 24, 24, 24), activation=nn.SiLU)


class SmallNet(StagesNet):
    """The network of the preset small: 7,846 parameters."""

    def __init__(self) -> None:
        super().__init__((12, 12, 14, 14, 14), activation=nn.SiLU, dropout=0.01)


class TinyNet(StagesNet):
    """The network of the preset tiny: 3,833 parameters."""

    def __init__(self) -> None:
        super().__init__((8, 8, 9, 9, 10), (1, 3, 4), nn.SiLU, dropout=0.01)


NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (SeedNet, LabNet, SprintNet, PeakNet, SmallNet, TinyNet)
}
"""The lab's own networks, by name: each can be made without an argument, and none of them counts as a student's own."""
