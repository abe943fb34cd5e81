"""The networks that the lab knows. Each maps images (B, 1, 28, 28) to ten numbers per image (B, 10)."""

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


def conv_block(c_in: int, c_out: int) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU: (B, c_in, H, W) -> (B, c_out, H, W).

    The convolution has no bias: batch norm subtracts the mean right after it, and brings a shift of its own.
    """
    return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]


def conv_pool_block(c_in: int, c_out: int) -> list[nn.Module]:
    """3x3 convolution, 2x2 max pooling, batch norm, ReLU: (B, c_in, H, W) -> (B, c_out, H // 2, W // 2).

    Pooling comes right after the convolution, so that batch norm and ReLU work on a quarter of the pixels.
    """
    convolution, *rest = conv_block(c_in, c_out)
    return [convolution, nn.MaxPool2d(2), *rest]


class LabNet(nn.Sequential):
    """The lab's own best network under the rules: 18,650 parameters, one flat list of layers.

    Three stages, each ended by a pooling that halves the map, so that the fully connected layer reads 24 x 3 x 3
    numbers instead of a whole image's worth.
    """

    def __init__(self, dropout: float = 0.05) -> None:
        super().__init__(
            *conv_pool_block(1, 16),  # (B, 16, 14, 14)
            *conv_block(16, 16),
            *conv_pool_block(16, 24),  # (B, 24, 7, 7)
            *conv_block(24, 24),
            *conv_pool_block(24, 24),  # (B, 24, 3, 3)
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(24 * 3 * 3, 10),
        )
