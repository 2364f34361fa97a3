"""resnet_paf: a ResNet and three deconvolutions to heatmaps and fields at stride 4, without stages.

The other network of the MXNet product that re-made OpenPose (its trunks `resnet18_v1b` and so on): the head is that of
"Simple Baselines" (B. Xiao et al., arXiv 1804.06208), the maps are those of OpenPose (arXiv 1812.08008). The product
normalises RGB values x / 255 by the mean and deviation of ImageNet. The names of the parameters are those of Simple
Baselines' checkpoints, so ImageNet weights of torchvision load without renaming.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from manypose.networks.entry import Entry
from manypose.networks.maps import Maps
from manypose.networks.options import check_options, scaled
from manypose.networks.residual import deconvolutions
from manypose.networks.trunks import ResNetTrunk


class ResNetPaf(ResNetTrunk):
    """Pictures (B, 3, H, W), H and W multiples of 32, to one `Maps` on H/4 x W/4 cells. Build it by `resnet_paf`.

    The last layer has the fields first and the heatmaps last, as the product has them.
    """

    stride = 4

    def __init__(self, depth: int, *, joints: int, fields: int, width: float) -> None:
        super().__init__(depth, width=width)
        channels = scaled(256, width)
        self.fields = fields
        self.deconv_layers = deconvolutions(self.channels, channels)
        self.final_layer = nn.Conv2d(channels, fields + joints + 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Maps, ...]:  # type: ignore[override]
        maps = self.final_layer(self.deconv_layers(super().forward(pictures)))
        return (Maps(maps[:, self.fields :], maps[:, : self.fields]),)


def resnet_paf(*, depth: int = 18, joints: int = 18, fields: int = 38, width: float = 1.0) -> ResNetPaf:
    """ResNet-`depth` (18, 34, 50, 101 or 152) for `joints` joints and `fields` field channels, two for each limb.

    `width` multiplies all channels, which are rounded to multiples of 8. Raises `ModelError` that names the option at
    fault.
    """
    check_options("resnet_paf", joints=joints, fields=fields, width=width)
    return ResNetPaf(depth, joints=joints, fields=fields, width=width)


def _entry(depth: int) -> Entry:
    source = "MXNet product; head of arXiv 1804.06208, maps of arXiv 1812.08008"
    return Entry(partial(resnet_paf, depth=depth), "bottom-up", (384, 384), source)


ENTRIES = {f"resnet_paf_{depth}": _entry(depth) for depth in (18, 34, 50)}
