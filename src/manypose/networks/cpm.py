"""cpm_face and cpm_hand: OpenPose's networks for the joints of one face or one hand in a square crop.

Source: T. Simon, H. Joo, I. Matthews, Y. Sheikh, "Hand Keypoint Detection in Single Images using Multiview
Bootstrapping", arXiv 1704.07809; the stages are those of convolutional pose machines, arXiv 1602.00134. The names of
the parameters are those of the Caffe models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from manypose.networks.caffe import CaffeNetwork
from manypose.networks.entry import Entry
from manypose.networks.options import check_options


class Cpm(CaffeNetwork):
    """Crops (B, 3, H, W) to heatmaps (B, K + 1, H/8, W/8), one tensor for each stage, the result last.

    The last channel is the background. H and W are multiples of 8. The networks were published for crops of 368 x 368
    in BGR values (x - 128) / 256, and the one for hands for right hands: mirror left ones. The maps are linear. Weights
    start as PyTorch draws them. Build it by `cpm_face` or `cpm_hand`.
    """

    front = ("conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv5_1", "conv5_2")

    def __init__(self, *, joints: int, stages: int, width: float) -> None:
        super().__init__(width=width)
        self.count = stages
        maps, narrow, wide = joints + 1, self.scaled(128), self.scaled(512)
        self.add_convolutions(self.front, self.scaled(256), wide)
        self.add_convolutions(("conv5_3_CPM",), wide, narrow)
        self.add_convolutions(("conv6_1_CPM",), narrow, wide, kernel=1)
        self.add_convolutions(("conv6_2_CPM",), wide, maps, kernel=1)
        for stage in range(2, stages + 1):
            names = layer_names(stage)
            self.add_convolutions(names[:5], maps + narrow, narrow, kernel=7)
            self.add_convolutions(names[5:6], narrow, narrow, kernel=1)
            self.add_convolutions(names[6:], narrow, maps, kernel=1)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        features = self.convolve((*self.front, "conv5_3_CPM"), self.extract(crops))
        stages = [self.apply_layer("conv6_2_CPM", self.convolve(("conv6_1_CPM",), features))]
        for stage in range(2, self.count + 1):
            *hidden, last = layer_names(stage)
            x = self.convolve(hidden, torch.cat([stages[-1], features], dim=1))
            stages.append(self.apply_layer(last, x))
        return tuple(stages)


def layer_names(stage: int) -> tuple[str, ...]:
    """Names of the convolutions of one stage (from 2), first to last."""
    return tuple(f"Mconv{number}_stage{stage}" for number in range(1, 8))


def cpm_face(*, joints: int = 70, stages: int = 6, width: float = 1.0) -> Cpm:
    """The network for faces; as published it finds 70 joints in 6 stages.

    `width` multiplies the channels of all hidden layers, which are rounded to multiples of 8. Raises `ModelError` that
    names the option at fault.
    """
    check_options("cpm_face", joints=joints, stages=stages, width=width)
    return Cpm(joints=joints, stages=stages, width=width)


def cpm_hand(*, joints: int = 21, stages: int = 6, width: float = 1.0) -> Cpm:
    """The network for hands; as published it finds 21 joints in 6 stages. Options and errors as for `cpm_face`."""
    check_options("cpm_hand", joints=joints, stages=stages, width=width)
    return Cpm(joints=joints, stages=stages, width=width)


_SOURCE = "T. Simon et al., arXiv 1704.07809; CMU's"

ENTRIES = {
    "cpm_face": Entry(
        cpm_face,
        "face",
        (368, 368),
        f"{_SOURCE} face model",
        parameters=38_425_706,
        multiply_adds=106_558_645_248,
    ),
    "cpm_hand": Entry(
        cpm_hand,
        "hand",
        (368, 368),
        f"{_SOURCE} hand model",
        parameters=36_832_324,
        multiply_adds=103_187_671_040,
    ),
}
