"""pose_resnet, "simple baselines": a ResNet and three transposed convolutions that bring its maps back to stride 4.

Source: B. Xiao and others, "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208. The names of
the parameters are those of its program, and those of torchvision for the ResNet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn

from manypose.errors import ModelError
from manypose.networks.entry import Entry
from manypose.networks.options import check_options, scaled
from manypose.networks.residual import (
    BOTTLENECKS_FROM,
    PADDINGS,
    RESNET_BLOCKS,
    BasicBlock,
    Bottleneck,
    deconvolutions,
    stem,
)

BlockMaker = Callable[..., nn.Module]  # of inputs, channels and stride=


class PoseResnet(nn.Module):
    """Crops (B, 3, H, W) to heatmaps (B, joints, H/4, W/4); H and W are multiples of 32.

    Published for BGR values in 0..1, less ImageNet's mean and divided by its standard deviation, which the programs
    state in the order RGB and apply in that order all the same. Weights start as PyTorch draws them. Build it by one of
    the functions below.
    """

    stride = 4

    def __init__(
        self,
        block: BlockMaker,
        expansion: int,
        blocks: tuple[int, int, int, int],
        *,
        joints: int,
        width: float,
        kernel: int,
    ) -> None:
        super().__init__()
        first, head = scaled(64, width), scaled(256, width)
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        layers, inputs = [], first
        for n, count in enumerate(blocks):
            channels = first * 2**n
            outputs = channels * expansion
            rest = (block(outputs, channels, stride=1) for _ in range(count - 1))
            layers.append(nn.Sequential(block(inputs, channels, stride=1 if n == 0 else 2), *rest))
            inputs = outputs
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.deconv_layers = deconvolutions(inputs, head, kernel=kernel)
        self.final_layer = nn.Conv2d(head, joints, 1)

    def forward(self, crops: Tensor) -> Tensor:
        x = stem(self, crops)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.deconv_layers, self.final_layer):
            x = layer(x)
        return x


BLOCKS = {f"pose_resnet_{depth}": blocks for depth, blocks in RESNET_BLOCKS.items()}
BASIC = tuple(f"pose_resnet_{depth}" for depth in RESNET_BLOCKS if depth < BOTTLENECKS_FROM)  # others: of bottlenecks


def pose_resnet_18(*, joints: int = 17, width: float = 1.0, kernel: int = 4) -> PoseResnet:
    """ResNet-18 with the head; `kernel` (4, 3 or 2) is that of the transposed convolutions.

    `width` multiplies the channels of all hidden layers, rounded to multiples of 8. Raises `ModelError` that names the
    option at fault.
    """
    return _build("pose_resnet_18", joints, width, kernel)


def pose_resnet_34(*, joints: int = 17, width: float = 1.0, kernel: int = 4) -> PoseResnet:
    """ResNet-34 with the head; options and errors are those of `pose_resnet_18`."""
    return _build("pose_resnet_34", joints, width, kernel)


def pose_resnet_50(*, joints: int = 17, width: float = 1.0, kernel: int = 4, caffe: bool = False) -> PoseResnet:
    """ResNet-50 with the head; other options and errors are those of `pose_resnet_18`.

    `caffe`: the first convolution of a bottleneck takes the stride, not the second. The weights have the same names
    and shapes, so a file does not tell.
    """
    return _build("pose_resnet_50", joints, width, kernel, caffe)


def pose_resnet_101(*, joints: int = 17, width: float = 1.0, kernel: int = 4, caffe: bool = False) -> PoseResnet:
    """ResNet-101 with the head; options and errors are those of `pose_resnet_50`."""
    return _build("pose_resnet_101", joints, width, kernel, caffe)


def pose_resnet_152(*, joints: int = 17, width: float = 1.0, kernel: int = 4, caffe: bool = False) -> PoseResnet:
    """ResNet-152 with the head; options and errors are those of `pose_resnet_50`."""
    return _build("pose_resnet_152", joints, width, kernel, caffe)


def _build(name: str, joints: int, width: float, kernel: int, caffe: bool = False) -> PoseResnet:
    check_options(name, joints=joints, width=width)
    if kernel not in PADDINGS:
        raise ModelError(f"{name}: kernel is {kernel}, expected 4, 3 or 2")
    block: BlockMaker = BasicBlock if name in BASIC else functools.partial(Bottleneck, caffe=caffe)
    expansion = BasicBlock.expansion if name in BASIC else Bottleneck.expansion
    return PoseResnet(block, expansion, BLOCKS[name], joints=joints, width=width, kernel=kernel)


def _entry(make: Callable[..., PoseResnet], parameters: int, multiply_adds: int) -> Entry:
    source = "B. Xiao and others, arXiv 1804.06208; human-pose-estimation.pytorch"
    return Entry(make, "top-down", (192, 256), source, parameters=parameters, multiply_adds=multiply_adds)


# The published multiply-adds count transposed convolutions at the size of their output, 1.8 times too many in all;
# these are counted as `networks.count` does.
ENTRIES = {
    "pose_resnet_18": _entry(pose_resnet_18, 15_376_721, 2_897_215_488),
    "pose_resnet_34": _entry(pose_resnet_34, 25_484_881, 4_709_154_816),
    "pose_resnet_50": _entry(pose_resnet_50, 33_999_697, 5_426_380_800),
    "pose_resnet_101": _entry(pose_resnet_101, 52_991_825, 9_062_842_368),
    "pose_resnet_152": _entry(pose_resnet_152, 68_635_473, 12_699_303_936),
}
