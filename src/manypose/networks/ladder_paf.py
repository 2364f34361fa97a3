"""ladder_paf: plain residual blocks down to stride 32 and a light way up to stride 8, made to be trained on a CPU.

The network that manypose ships. It sees more of the picture than a network held at stride 8, at a third of its cost:
plain 3x3 convolutions use a CPU's vector units better than depthwise ones, and most of them work on small maps.
The way up is that of feature pyramid networks (arXiv 1612.03144); the blocks are those of ResNet (arXiv 1512.03385);
the head gives the maps of OpenPose (arXiv 1812.08008).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from manypose.networks.entry import Entry
from manypose.networks.maps import Maps
from manypose.networks.options import check_options, scaled


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm and ReLU; "same" padding."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        # Every block begins as the identity, which steadies the first steps.
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)), inplace=True)


class LadderPaf(nn.Module):
    """Picture (B, 3, H, W) to maps at stride 8; H and W are multiples of 32.

    `channels` are those of strides 4, 8, 16 and 32, `blocks` the residual blocks at each of them, `up` the channels of
    the way up and of the head. The first convolution goes to stride 4 at once: at stride 2 the maps are so large that
    a CPU would spend a third of its time on moving them.
    """

    def __init__(self, joints: int, fields: int, *, channels: Sequence[int], blocks: Sequence[int], up: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, channels[0], kernel=7, stride=4), *(ResidualBlock(channels[0]) for _ in range(blocks[0]))
        )
        self.down = nn.ModuleList(
            nn.Sequential(convolution(before, after, stride=2), *(ResidualBlock(after) for _ in range(count)))
            for before, after, count in zip(channels[:-1], channels[1:], blocks[1:], strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, up, 1) for width in channels[1:])
        self.merge = nn.ModuleList(convolution(up, up) for _ in channels[1:-1])
        self.heatmaps = nn.Conv2d(up, joints + 1, 1)
        self.fields = nn.Conv2d(up, fields, 1)
        nn.init.zeros_(self.heatmaps.weight)
        nn.init.zeros_(self.fields.weight)

    def forward(self, x: Tensor) -> tuple[Maps, ...]:
        x = self.stem(x)
        levels = []
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        x = self.lateral[-1](levels[-1])
        for level, lateral, merge in zip(
            reversed(levels[:-1]), reversed(self.lateral[:-1]), reversed(self.merge), strict=True
        ):
            x = merge(functional.interpolate(x, scale_factor=2.0, mode="nearest") + lateral(level))
        return (Maps(self.heatmaps(x), self.fields(x)),)


def ladder_paf(*, joints: int = 18, fields: int = 38, width: float = 1.0) -> LadderPaf:
    """The default network of manypose; `width` scales all channels (to multiples of 8).

    Raises `ModelError` that names the option at fault.
    """
    return _ladder("ladder_paf", joints, fields, width, channels=(32, 64, 128, 192), blocks=(0, 1, 2, 2), up=64)


def ladder_paf_small(*, joints: int = 18, fields: int = 38, width: float = 1.0) -> LadderPaf:
    """A smaller and faster one, for tests and weak machines; options and errors are those of `ladder_paf`."""
    return _ladder("ladder_paf_small", joints, fields, width, channels=(24, 32, 64, 96), blocks=(0, 1, 1, 1), up=32)


def _ladder(
    name: str, joints: int, fields: int, width: float, *, channels: Sequence[int], blocks: Sequence[int], up: int
) -> LadderPaf:
    check_options(name, joints=joints, fields=fields, width=width)
    channels = [scaled(count, width) for count in channels]
    return LadderPaf(joints, fields, channels=channels, blocks=blocks, up=scaled(up, width))


_SOURCE = "manypose; way up of arXiv 1612.03144, blocks of arXiv 1512.03385, maps of arXiv 1812.08008"

ENTRIES = {
    "ladder_paf": Entry(ladder_paf, "bottom-up", (448, 448), _SOURCE),
    "ladder_paf_small": Entry(ladder_paf_small, "bottom-up", (448, 448), _SOURCE),
}
