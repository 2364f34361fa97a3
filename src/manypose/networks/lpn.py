"""LPN, the lightweight pose network: a ResNet of depthwise or grouped convolutions, with attention in every block.

Source: Z. Zhang and others, "Simple and Lightweight Human Pose Estimation", arXiv 1911.10346; the variants 18, 34 and
100 are those of humanpose.pytorch. The names of the parameters are those of both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from manypose.errors import ModelError
from manypose.networks.entry import Entry
from manypose.networks.options import check_options, scaled
from manypose.networks.residual import RESNET_BLOCKS, shortcut, stem

Attention = Literal["gc", "se", "none"]
BlockMaker = Callable[[int, int, int], nn.Module]  # of inputs, outputs and stride


class Lpn(nn.Module):
    """Crops (B, 3, H, W) to heatmaps (B, joints, H/4, W/4); H and W are multiples of 16.

    Published for values in 0..1, less ImageNet's mean and divided by its standard deviation, in the order RGB. It is
    trained from scratch, so the weights start as published: small. Build it by one of the functions below.
    """

    stride = 4

    def __init__(self, block: BlockMaker, blocks: tuple[int, int, int, int], *, joints: int, base: int) -> None:
        super().__init__()
        head = 4 * base
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(block, base, base, blocks[0], stride=1)
        self.layer2 = _layer(block, base, 2 * base, blocks[1], stride=2)
        self.layer3 = _layer(block, 2 * base, 4 * base, blocks[2], stride=2)
        self.layer4 = _layer(block, 4 * base, 8 * base, blocks[3], stride=1)
        self.deconv_layers = nn.Sequential(*_enlarge(8 * base, head), *_enlarge(head, head))
        self.final_layer = nn.Conv2d(head, joints, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.final_layer.bias))

    def forward(self, crops: Tensor) -> Tensor:
        x = stem(self, crops)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.deconv_layers, self.final_layer):
            x = layer(x)
        return x


class GroupedBlock(nn.Module):
    """Two 3x3 convolutions of `group` channels in each group, attention and a shortcut; only attention mixes groups."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, group: int, attention: Attention) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=inputs // group, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, groups=outputs // group, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)
        self.att = _attention(attention, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.att(self.bn2(self.conv2(y)))
        return functional.relu(y + self.downsample(x), inplace=True)


class LightBottleneck(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions, all of `outputs` channels, attention, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, attention: Attention) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, groups=outputs, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3 = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)
        self.att = _attention(attention, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.att(self.bn3(self.conv3(y)))
        return functional.relu(y + self.downsample(x), inplace=True)


class GlobalContext(nn.Module):
    """Adds to every place what a weighted mean over all places says (arXiv 1904.11492)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _hidden(channels)
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        shares = self.conv_mask(x).flatten(2).softmax(dim=2)
        context = (x.flatten(2) @ shares.transpose(1, 2)).unsqueeze(3)
        return cast(Tensor, x + self.channel_add_conv(context))


class SqueezeExcite(nn.Module):
    """Multiplies every channel by a factor that the mean of all channels decides (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _hidden(channels)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None])


def _hidden(channels: int) -> int:
    return max(channels // 16, 16)


def _attention(kind: Attention, channels: int) -> nn.Module:
    return {"gc": GlobalContext, "se": SqueezeExcite}[kind](channels) if kind != "none" else nn.Identity()


def _layer(block: BlockMaker, inputs: int, outputs: int, count: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(count - 1)))


def _enlarge(inputs: int, outputs: int) -> list[nn.Module]:
    """Twice the size: a transposed convolution in as many groups as there can be, then a 1x1 that mixes them."""
    groups = math.gcd(inputs, outputs)
    return [
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


BLOCKS = {
    "lpn_18": RESNET_BLOCKS[18],
    "lpn_18h": RESNET_BLOCKS[18],
    "lpn_34": RESNET_BLOCKS[34],
    "lpn_34h": RESNET_BLOCKS[34],
    "lpn_50": RESNET_BLOCKS[50],
    "lpn_100": (3, 13, 30, 3),
    "lpn_101": RESNET_BLOCKS[101],
    "lpn_152": RESNET_BLOCKS[152],
}
GROUPS = {"lpn_18": 1, "lpn_18h": 2, "lpn_34": 1, "lpn_34h": 2}  # channels in a group of the networks of basic blocks


def lpn_18(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """The smallest LPN: basic blocks whose convolutions keep all channels apart.

    `attention` of every block is "gc" (global context, as published), "se" (squeeze and excite) or "none"; `width`
    multiplies the channels of all hidden layers. Raises `ModelError` that names the option at fault.
    """
    return _build("lpn_18", joints, width, attention)


def lpn_18h(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """`lpn_18` with two channels in each group; options and errors are the same."""
    return _build("lpn_18h", joints, width, attention)


def lpn_34(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """Basic blocks as in `lpn_18`, in the depth of ResNet-34; options and errors are the same."""
    return _build("lpn_34", joints, width, attention)


def lpn_34h(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """`lpn_34` with two channels in each group; options and errors are those of `lpn_18`."""
    return _build("lpn_34h", joints, width, attention)


def lpn_50(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """Light bottlenecks in the depth of ResNet-50; options and errors are those of `lpn_18`."""
    return _build("lpn_50", joints, width, attention)


def lpn_100(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """Light bottlenecks, 3, 13, 30 and 3 of them; options and errors are those of `lpn_18`."""
    return _build("lpn_100", joints, width, attention)


def lpn_101(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """Light bottlenecks in the depth of ResNet-101; options and errors are those of `lpn_18`."""
    return _build("lpn_101", joints, width, attention)


def lpn_152(*, joints: int = 17, width: float = 1.0, attention: Attention = "gc") -> Lpn:
    """Light bottlenecks in the depth of ResNet-152; options and errors are those of `lpn_18`."""
    return _build("lpn_152", joints, width, attention)


def _build(name: str, joints: int, width: float, attention: Attention) -> Lpn:
    check_options(name, joints=joints, width=width)
    if attention not in ("gc", "se", "none"):
        raise ModelError(f"{name}: attention is {attention!r}, expected 'gc', 'se' or 'none'")
    block: BlockMaker
    if name in GROUPS:
        block = functools.partial(GroupedBlock, group=GROUPS[name], attention=attention)
    else:
        block = functools.partial(LightBottleneck, attention=attention)
    return Lpn(block, BLOCKS[name], joints=joints, base=scaled(64, width))


_HUMANPOSE = "humanpose.pytorch; arXiv 1911.10346"
_LPN = "Z. Zhang and others, arXiv 1911.10346; lpn-pytorch"


def _entry(make: Callable[..., Lpn], source: str, parameters: int, multiply_adds: int) -> Entry:
    return Entry(make, "top-down", (192, 256), source, parameters=parameters, multiply_adds=multiply_adds)


ENTRIES = {
    "lpn_18": _entry(lpn_18, _HUMANPOSE, 473_913, 440_004_608),
    "lpn_18h": _entry(lpn_18h, _HUMANPOSE, 508_473, 455_929_856),
    "lpn_34": _entry(lpn_34, _HUMANPOSE, 594_673, 453_154_816),
    "lpn_34h": _entry(lpn_34h, _HUMANPOSE, 662_641, 481_466_368),
    "lpn_50": _entry(lpn_50, _LPN, 2_911_153, 1_068_144_640),
    "lpn_100": _entry(lpn_100, _HUMANPOSE, 6_710_914, 1_919_494_144),
    "lpn_101": _entry(lpn_101, _LPN, 5_353_458, 1_504_458_752),
    "lpn_152": _entry(lpn_152, _LPN, 7_377_459, 1_942_722_560),
}
