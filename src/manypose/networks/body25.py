"""body25: OpenPose's fast network; fields are refined first, then heatmaps, by dense blocks of 3x3 convolutions.

Source: Z. Cao, G. Hidalgo, T. Simon, S. Wei, Y. Sheikh, "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part
Affinity Fields", arXiv 1812.08008. The names of the parameters are those of its Caffe model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manypose.networks.caffe import CaffeNetwork
from manypose.networks.entry import Entry
from manypose.networks.maps import Maps
from manypose.networks.options import check_options

HEATMAP_BRANCH, FIELD_BRANCH = 1, 2  # "L1" and "L2" in the names of the layers: the other way round than in vgg_paf
BLOCKS = range(1, 6)


class Body25(CaffeNetwork):
    """Pictures (B, 3, H, W) to one `Maps` on H/8 x W/8 cells: the last heatmaps and the last fields.

    `stages` gives those of all stages. H and W are multiples of 8. The network was published for BGR values
    (x - 128) / 256. The maps are linear. Weights start as PyTorch draws them. Build it by `body25`.
    """

    def __init__(self, *, joints: int, fields: int, field_stages: int, heatmap_stages: int, width: float) -> None:
        super().__init__(width=width)
        self.field_stages, self.heatmap_stages = field_stages, heatmap_stages
        features, half, wide = self.scaled(128), self.scaled(256), self.scaled(512)
        self.add_convolutions(("conv4_1", "conv4_2"), half, wide)
        self.add_module("prelu4_2", nn.PReLU(wide))
        self._add_active("conv4_3_CPM", "prelu4_3_CPM", wide, half)
        self._add_active("conv4_4_CPM", "prelu4_4_CPM", half, features)
        for stage in range(field_stages):
            inputs = features if stage == 0 else features + fields
            self._add_stage(stage, FIELD_BRANCH, inputs, fields)
        for stage in range(heatmap_stages):
            inputs = features + fields if stage == 0 else features + fields + joints + 1
            self._add_stage(stage, HEATMAP_BRANCH, inputs, joints + 1)

    def _add_active(self, name: str, prelu: str, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        self.add_convolutions((name,), inputs, outputs, kernel=kernel)
        self.add_module(prelu, nn.PReLU(outputs))

    def _add_stage(self, stage: int, branch: int, inputs: int, maps: int) -> None:
        channels, wide = (96, 256) if stage == 0 else (128, 512)
        channels, wide = self.scaled(channels), self.scaled(wide)
        for block in BLOCKS:
            for part in range(3):
                name = f"{block}_stage{stage}_L{branch}_{part}"
                self._add_active(f"Mconv{name}", f"Mprelu{name}", channels if part else inputs, channels)
            inputs = 3 * channels
        self._add_active(f"Mconv6_stage{stage}_L{branch}", f"Mprelu6_stage{stage}_L{branch}", inputs, wide, kernel=1)
        self.add_convolutions((f"Mconv7_stage{stage}_L{branch}",), wide, maps, kernel=1)

    def forward(self, pictures: Tensor) -> tuple[Maps, ...]:
        heatmaps, fields = self.stages(pictures)
        return (Maps(heatmaps[-1], fields[-1]),)

    def stages(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Heatmaps of each heatmap stage and fields of each field stage, the result last, for training."""
        features = self._features(pictures)
        fields = [self._stage(0, FIELD_BRANCH, features)]
        for stage in range(1, self.field_stages):
            fields.append(self._stage(stage, FIELD_BRANCH, torch.cat([features, fields[-1]], dim=1)))
        heatmaps = [self._stage(0, HEATMAP_BRANCH, torch.cat([features, fields[-1]], dim=1))]
        for stage in range(1, self.heatmap_stages):
            inputs = torch.cat([features, heatmaps[-1], fields[-1]], dim=1)
            heatmaps.append(self._stage(stage, HEATMAP_BRANCH, inputs))
        return heatmaps, fields

    def _features(self, pictures: Tensor) -> Tensor:
        x = self.convolve(("conv4_1",), self.extract(pictures))
        for name in ("4_2", "4_3_CPM", "4_4_CPM"):
            x = self.apply_layer(f"prelu{name}", self.apply_layer(f"conv{name}", x))
        return x

    def _stage(self, stage: int, branch: int, x: Tensor) -> Tensor:
        for block in BLOCKS:
            x = self._dense_block(f"{block}_stage{stage}_L{branch}", x)
        x = self._activated(f"6_stage{stage}_L{branch}", x)
        return self.apply_layer(f"Mconv7_stage{stage}_L{branch}", x)

    def _dense_block(self, name: str, x: Tensor) -> Tensor:
        parts = []
        for part in range(3):
            x = self._activated(f"{name}_{part}", x)
            parts.append(x)
        return torch.cat(parts, dim=1)

    def _activated(self, name: str, x: Tensor) -> Tensor:
        return self.apply_layer(f"Mprelu{name}", self.apply_layer(f"Mconv{name}", x))


def body25(
    *, joints: int = 25, fields: int = 52, field_stages: int = 4, heatmap_stages: int = 2, width: float = 1.0
) -> Body25:
    """OpenPose's BODY_25 network for `joints` joints and `fields` field channels (two for each limb).

    `width` multiplies the channels of all hidden layers, which are rounded to multiples of 8. Raises `ModelError` that
    names the option at fault.
    """
    check_options(
        "body25", joints=joints, fields=fields, field_stages=field_stages, heatmap_stages=heatmap_stages, width=width
    )
    return Body25(joints=joints, fields=fields, field_stages=field_stages, heatmap_stages=heatmap_stages, width=width)


ENTRIES = {
    "body25": Entry(
        body25,
        "bottom-up",
        (368, 368),
        "Z. Cao et al., arXiv 1812.08008; CMU's BODY_25 model",
        parameters=26_166_084,
        multiply_adds=80_573_217_280,
    ),
}
