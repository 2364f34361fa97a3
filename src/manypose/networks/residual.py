"""Residual blocks of ResNet (arXiv 1512.03385), and the head of "Simple Baselines" (arXiv 1804.06208) behind them.

The names of the parameters are torchvision's and those of Simple Baselines. The stride of a bottleneck is in its 3x3
convolution ("v1.5", "v1b"), unless Caffe's kind is asked for.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECKS_FROM = 50  # layers; the shallower ResNets have blocks of two 3x3 convolutions
PADDINGS = {4: (1, 0), 3: (1, 1), 2: (0, 0)}  # padding and output padding by kernel, of what doubles the size


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `dilations` are theirs, and the first has the stride."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, *, stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, dilations[0], dilations[0], bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, dilations[1], dilations[1], bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; it gives four times `channels`.

    The 3x3 convolution takes the stride, or the first one as in Caffe's ResNet (`caffe`), and the first of `dilations`.
    """

    expansion = 4

    def __init__(
        self, inputs: int, channels: int, *, stride: int = 1, dilations: tuple[int, int] = (1, 1), caffe: bool = False
    ) -> None:
        super().__init__()
        outputs = channels * self.expansion
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(inputs, channels, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, dilations[0], dilations[0], bias=False)
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


def deconvolutions(inputs: int, channels: int, *, kernel: int = 4) -> nn.Sequential:
    """Three transposed convolutions, each with batch norm and ReLU, to eight times the size; `kernel` is 4, 3 or 2."""
    padding, output_padding = PADDINGS[kernel]
    layers: list[nn.Module] = []
    for source in (inputs, channels, channels):
        layers.append(nn.ConvTranspose2d(source, channels, kernel, 2, padding, output_padding, bias=False))
        layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
