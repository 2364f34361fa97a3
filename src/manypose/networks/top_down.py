"""What the top-down networks share: the check of their options and the residual blocks of ResNet (arXiv 1512.03385)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from manypose.errors import ModelError


def check_options(network: str, *, joints: int, width: float) -> None:
    """Raise `ModelError` that names the option at fault."""
    if joints < 1:
        raise ModelError(f"{network}: joints is {joints}, expected at least 1")
    if not 0 < width <= 8:
        raise ModelError(f"{network}: width is {width}, expected a factor over 0 and up to 8; 1 is as published")


def scaled(channels: int, width: float) -> int:
    """Channels as published where `width` is 1, else times `width` and rounded to a multiple of 8."""
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the names are torchvision's."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; it gives four times `channels`. The names are torchvision's.

    The 3x3 convolution takes the stride, or the first one as in Caffe's ResNet (`caffe`).
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, *, stride: int = 1, caffe: bool = False) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv2d(inputs, channels, 1, stride if caffe else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1 if caffe else stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + self.downsample(x), inplace=True)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The way past a block: nothing at all where the shape stays, else a 1x1 convolution and batch norm."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def stem(network: nn.Module, x: Tensor) -> Tensor:
    """The first layers of ResNet, at a quarter of the size: `conv1`, `bn1`, ReLU and `maxpool` of the network."""
    conv, norm, pool = (cast(nn.Module, getattr(network, name)) for name in ("conv1", "bn1", "maxpool"))
    return cast(Tensor, pool(functional.relu(norm(conv(x)), inplace=True)))
