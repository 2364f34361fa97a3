"""Lightweight OpenPose: a dilated MobileNet with one first guess of the maps and any number of refinements.

Source: D. Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", arXiv 1811.12004. The names
of the parameters are those of its PyTorch checkpoints, which therefore load without renaming. Two things may differ
from it: the context block (that of OpenVINO's Open Model Zoo has a layer more) and the trunk.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from manypose.errors import ModelError
from manypose.networks.entry import Entry
from manypose.networks.maps import Maps
from manypose.networks.options import check_options, scaled
from manypose.networks.trunks import ResNetTrunk, vgg19_trunk

Trunk = Literal["mobilenet", "vgg19", "resnet18", "resnet50"]
Context = Literal["osokin", "omz"]


class MobilenetPaf(nn.Module):
    """Pictures (B, 3, H, W) to one `Maps` for each stage, the first guess first, on ceil(H/8) x ceil(W/8) cells.

    Any size of at least one pixel works; where a side is no multiple of 8, the last cell reaches past the picture, so
    pad pictures to multiples of 8. The network was published for BGR values (x - 128) / 256. The maps are linear: a
    value may leave 0..1 (heatmaps) or -1..1 (fields). Weights start as PyTorch draws them. Build it by `mobilenet_paf`.
    """

    stride = 8

    def __init__(
        self, *, joints: int, fields: int, refinements: int, width: float, trunk: Trunk, context: Context
    ) -> None:
        super().__init__()
        narrow, wide = scaled(128, width), scaled(512, width)
        maps = (joints + 1, fields)
        self.model, channels = _trunk(trunk, width)
        self.cpm = (_Context if context == "osokin" else _OpenModelZooContext)(channels, narrow)
        self.initial_stage = _InitialStage(narrow, wide, maps)
        self.refinement_stages = nn.ModuleList(
            _RefinementStage(narrow + sum(maps), narrow, maps) for _ in range(refinements)
        )

    def forward(self, pictures: Tensor) -> tuple[Maps, ...]:
        features = self.cpm(self.model(pictures))
        stages = [cast(Maps, self.initial_stage(features))]
        for stage in self.refinement_stages:
            stages.append(stage(torch.cat([features, *stages[-1]], dim=1)))
        return tuple(stages)


def mobilenet_paf(
    *,
    joints: int = 18,
    fields: int = 38,
    refinements: int = 1,
    width: float = 1.0,
    trunk: Trunk = "mobilenet",
    context: Context = "osokin",
) -> MobilenetPaf:
    """Lightweight OpenPose for `joints` joints and `fields` field channels (two for each limb).

    `refinements` stages follow the first guess (published: 1, in training 3); `width` multiplies the channels of all
    hidden layers, which are rounded to multiples of 8. `trunk` is the paper's "mobilenet"; "vgg19" as far as conv4_2,
    as in OpenPose; or "resnet18" or "resnet50" as far as layer 3, which is dilated. `context` is that of the paper's
    author, "osokin", or that of his network in OpenVINO's Open Model Zoo, "omz" (human-pose-estimation-0001, for BGR
    values (x - 128) / 255). Raises `ModelError` that names the option at fault.
    """
    check_options("mobilenet_paf", joints=joints, fields=fields, width=width)
    if refinements < 0:
        raise ModelError(f"mobilenet_paf: refinements is {refinements}, expected 0 or more")
    for option, value, known in (("trunk", trunk, get_args(Trunk)), ("context", context, get_args(Context))):
        if value not in known:
            raise ModelError(f"mobilenet_paf: {option} is {value!r}, expected one of {', '.join(known)}")
    return MobilenetPaf(
        joints=joints, fields=fields, refinements=refinements, width=width, trunk=trunk, context=context
    )


def _trunk(name: Trunk, width: float) -> tuple[nn.Module, int]:
    """A trunk at stride 8, and the channels that it gives."""
    if name == "mobilenet":
        return _mobilenet(width), scaled(512, width)
    if name == "vgg19":
        return vgg19_trunk(width=width), scaled(512, width)
    resnet = ResNetTrunk(int(name.removeprefix("resnet")), levels=3, stride=8, width=width)
    return resnet, resnet.channels


def _conv(inputs: int, outputs: int, kernel: int, *, relu: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.ReLU(inplace=True)) if relu else nn.Sequential(conv)


def _dilated_conv(channels: int, dilation: int) -> nn.Sequential:
    # The bias in front of the normalisation has no effect; the published weights have one.
    conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _separable(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=dilation, dilation=dilation, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable_elu(channels: int, *, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=bias),
        nn.ELU(inplace=True),
    )


def _mobilenet(width: float) -> nn.Sequential:
    """MobileNet v1 as far as its layer conv5_5; a dilation replaces the stride of conv4_2, so the stride stays 8."""
    c32, c64, c128, c256, c512 = (scaled(channels, width) for channels in (32, 64, 128, 256, 512))
    first = nn.Sequential(
        nn.Conv2d(3, c32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c32), nn.ReLU(inplace=True)
    )
    return nn.Sequential(
        first,
        _separable(c32, c64),
        _separable(c64, c128, stride=2),
        _separable(c128, c128),
        _separable(c128, c256, stride=2),
        _separable(c256, c256),
        _separable(c256, c512),
        _separable(c512, c512, dilation=2),
        *(_separable(c512, c512) for _ in range(4)),
    )


class _Context(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.align = _conv(inputs, outputs, 1)
        self.trunk = nn.Sequential(*(_separable_elu(outputs) for _ in range(3)))
        self.conv = _conv(outputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        features = self.align(features)
        return cast(Tensor, self.conv(features + self.trunk(features)))


class _OpenModelZooContext(nn.Module):
    """One layer more than the paper's author has, ELU where he has ReLU, and biases."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ELU(inplace=True))
        self.reduce = nn.Sequential(nn.Conv2d(outputs, outputs, 1), nn.ELU(inplace=True))
        self.trunk = nn.Sequential(*(_separable_elu(outputs, bias=True) for _ in range(3)))
        self.conv = _conv(outputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        features = self.align(features)
        return cast(Tensor, self.conv(features + self.trunk(self.reduce(features))))


class _Stage(nn.Module):
    """A trunk whose features both heads share; `maps` are the channels of heatmaps and fields."""

    def __init__(self, trunk: nn.Sequential, channels: int, hidden: int, maps: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heatmaps = _head(channels, hidden, maps[0])
        self.pafs = _head(channels, hidden, maps[1])

    def forward(self, features: Tensor) -> Maps:
        features = self.trunk(features)
        return Maps(self.heatmaps(features), self.pafs(features))


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, hidden, 1), _conv(hidden, outputs, 1, relu=False))


class _InitialStage(_Stage):
    def __init__(self, channels: int, hidden: int, maps: tuple[int, int]) -> None:
        super().__init__(nn.Sequential(*(_conv(channels, channels, 3) for _ in range(3))), channels, hidden, maps)


class _RefinementStage(_Stage):
    def __init__(self, inputs: int, channels: int, maps: tuple[int, int]) -> None:
        blocks = (_RefinementBlock(inputs if first else channels, channels) for first in (True, *4 * [False]))
        super().__init__(nn.Sequential(*blocks), channels, channels, maps)


class _RefinementBlock(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.initial = _conv(inputs, channels, 1)
        self.trunk = nn.Sequential(_dilated_conv(channels, 1), _dilated_conv(channels, 2))

    def forward(self, features: Tensor) -> Tensor:
        features = self.initial(features)
        return cast(Tensor, features + self.trunk(features))


ENTRIES = {
    "mobilenet_paf": Entry(
        mobilenet_paf,
        "bottom-up",
        (456, 256),
        "D. Osokin, arXiv 1811.12004",
        parameters=4_091_698,
        multiply_adds=7_656_013_824,
    ),
}
