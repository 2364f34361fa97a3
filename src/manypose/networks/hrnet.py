"""HRNet: branches at strides 4 to 32 side by side that exchange what they see; heatmaps of one person at stride 4.

Source: K. Sun and others, "Deep High-Resolution Representation Learning for Human Pose Estimation", arXiv 1902.09212;
its small variants are those of humanpose.pytorch. The names of the parameters are those of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from manypose.networks.entry import Entry
from manypose.networks.options import check_options, scaled
from manypose.networks.residual import BasicBlock, Bottleneck


@dataclass(frozen=True)
class Plan:
    """Channels of the four branches, residual blocks of a branch in each module, and modules of stages 2, 3 and 4.

    The first layer is `layer1_blocks` bottlenecks of `layer1_channels` (they give four times as many).
    """

    channels: tuple[int, int, int, int]
    blocks: int
    modules: tuple[int, int, int]
    layer1_channels: int = 64
    layer1_blocks: int = 4


PLANS = {
    "hrnet_w18_small_v1": Plan((16, 32, 64, 128), 2, (1, 1, 1), layer1_channels=32),
    "hrnet_w18_small_v2": Plan((18, 36, 72, 144), 2, (1, 3, 2)),
    "hrnet_w32": Plan((32, 64, 128, 256), 4, (1, 4, 3)),
    "hrnet_w48": Plan((48, 96, 192, 384), 4, (1, 4, 3)),
}


class Hrnet(nn.Module):
    """Crops (B, 3, H, W) to heatmaps (B, joints, H/4, W/4); H and W are multiples of 32.

    Published for RGB values in 0..1, less ImageNet's mean and divided by its standard deviation. Weights start as
    PyTorch draws them. Build it by one of the functions below.
    """

    stride = 4

    def __init__(self, plan: Plan, *, joints: int, width: float) -> None:
        super().__init__()
        first, inner = scaled(64, width), scaled(plan.layer1_channels, width)
        channels = [scaled(count, width) for count in plan.channels]
        self.conv1 = nn.Conv2d(3, first, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, first, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(first)
        outputs = inner * Bottleneck.expansion
        self.layer1 = nn.Sequential(
            *(Bottleneck(first if block == 0 else outputs, inner) for block in range(plan.layer1_blocks))
        )
        self.transition1 = _transition([outputs], channels[:2])
        self.stage2 = _stage(channels[:2], plan.blocks, plan.modules[0])
        self.transition2 = _transition(channels[:2], channels[:3])
        self.stage3 = _stage(channels[:3], plan.blocks, plan.modules[1])
        self.transition3 = _transition(channels[:3], channels)
        self.stage4 = _stage(channels, plan.blocks, plan.modules[2], only_finest=True)
        self.final_layer = nn.Conv2d(channels[0], joints, 1)

    def forward(self, crops: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(crops)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A branch goes on, and a new one comes of the coarsest.
            branches = stage([step(branches[min(i, len(branches) - 1)]) for i, step in enumerate(transition)])
        return cast(Tensor, self.final_layer(branches[0]))


class _Exchange(nn.Module):
    """Residual blocks on every branch, then every branch takes up all others (or only the finest does).

    `fuse_layers.i.j` brings branch j to the size and channels of branch i.
    """

    def __init__(self, channels: Sequence[int], blocks: int, *, only_finest: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(count, count) for _ in range(blocks))) for count in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bring(channels, source, target) for source in range(len(channels)))
            for target in range(1 if only_finest else len(channels))
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        seen = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        outputs = []
        for steps in self.fuse_layers:
            brought = [step(x) for step, x in zip(cast(nn.ModuleList, steps), seen, strict=True)]
            total = brought[0]
            for part in brought[1:]:
                total = total + part
            outputs.append(functional.relu(total, inplace=True))
        return outputs


def _stage(channels: Sequence[int], blocks: int, modules: int, *, only_finest: bool = False) -> nn.Sequential:
    """`only_finest`: the last module gives the finest branch alone, since nothing reads the others."""
    return nn.Sequential(
        *(_Exchange(channels, blocks, only_finest=only_finest and module == modules - 1) for module in range(modules))
    )


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    steps: list[nn.Module] = []
    for i, channels in enumerate(after):
        if i >= len(before):
            steps.append(nn.Sequential(_conv(before[-1], channels, stride=2)))
        elif before[i] != channels:
            steps.append(_conv(before[i], channels))
        else:
            steps.append(nn.Identity())
    return nn.ModuleList(steps)


def _bring(channels: Sequence[int], source: int, target: int) -> nn.Module:
    inputs, outputs = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        enlarge = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), enlarge)
    halvings = target - source
    steps = [_conv(inputs, inputs, stride=2) for _ in range(halvings - 1)]
    return nn.Sequential(*steps, _conv(inputs, outputs, stride=2, relu=False))


def _conv(inputs: int, outputs: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def hrnet_w18_small_v1(
    *, joints: int = 17, width: float = 1.0, layer1_channels: int = 32, layer1_blocks: int = 4
) -> Hrnet:
    """The smallest HRNet as its published figures have it (1.3 million parameters).

    The first layer is `layer1_blocks` bottlenecks of `layer1_channels`: 4 of 64 is what the released program builds,
    1 of 32 what the weights trained on ImageNet have. `width` multiplies the channels of all hidden layers, rounded to
    multiples of 8. Raises `ModelError` that names the option at fault.
    """
    return _build("hrnet_w18_small_v1", joints, width, layer1_channels, layer1_blocks)


def hrnet_w18_small_v2(
    *, joints: int = 17, width: float = 1.0, layer1_channels: int = 64, layer1_blocks: int = 4
) -> Hrnet:
    """A small HRNet of 3.8 million parameters; the weights trained on ImageNet have `layer1_blocks` 2.

    Options and errors are those of `hrnet_w18_small_v1`.
    """
    return _build("hrnet_w18_small_v2", joints, width, layer1_channels, layer1_blocks)


def hrnet_w32(*, joints: int = 17, width: float = 1.0) -> Hrnet:
    """HRNet with 32 channels on its finest branch; options and errors are those of `hrnet_w18_small_v1`."""
    return _build("hrnet_w32", joints, width)


def hrnet_w48(*, joints: int = 17, width: float = 1.0) -> Hrnet:
    """HRNet with 48 channels on its finest branch; options and errors are those of `hrnet_w18_small_v1`."""
    return _build("hrnet_w48", joints, width)


def _build(name: str, joints: int, width: float, layer1_channels: int = 64, layer1_blocks: int = 4) -> Hrnet:
    check_options(name, joints=joints, width=width, layer1_channels=layer1_channels, layer1_blocks=layer1_blocks)
    plan = PLANS[name]
    plan = Plan(plan.channels, plan.blocks, plan.modules, layer1_channels, layer1_blocks)
    return Hrnet(plan, joints=joints, width=width)


_SMALL = "humanpose.pytorch; arXiv 1902.09212"
_LARGE = "K. Sun and others, arXiv 1902.09212; deep-high-resolution-net.pytorch"

ENTRIES = {
    "hrnet_w18_small_v1": Entry(
        hrnet_w18_small_v1, "top-down", (192, 256), _SMALL, parameters=1_338_337, multiply_adds=731_136_000
    ),
    "hrnet_w18_small_v2": Entry(
        hrnet_w18_small_v2, "top-down", (192, 256), _SMALL, parameters=3_757_475, multiply_adds=1_962_825_984
    ),
    "hrnet_w32": Entry(hrnet_w32, "top-down", (192, 256), _LARGE, parameters=28_536_113, multiply_adds=7_645_003_776),
    "hrnet_w48": Entry(hrnet_w48, "top-down", (192, 256), _LARGE, parameters=63_595_745, multiply_adds=15_691_825_152),
}
