"""vgg_paf: the first network with part affinity fields, two branches that refine each other's maps in six stages.

Source: Z. Cao, T. Simon, S. Wei, Y. Sheikh, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields",
arXiv 1611.08050. The names of the parameters are those of its Caffe models. The variant with batch norm is that of the
MXNet re-implementation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from manypose.networks.caffe import CaffeNetwork
from manypose.networks.entry import Entry
from manypose.networks.maps import Maps
from manypose.networks.options import check_options

FIELD_BRANCH, HEATMAP_BRANCH = 1, 2  # "L1" and "L2" in the names of the layers
DROPOUT = 0.2


class VggPaf(CaffeNetwork):
    """Pictures (B, 3, H, W) to one `Maps` for each stage, the result last, on H/8 x W/8 cells.

    H and W are multiples of 8 (with others Caffe rounds the sides of the maps up and PyTorch down). The network was
    published for BGR values (x - 128) / 256. The maps are linear. Weights start as PyTorch draws them. Build it by
    `vgg_paf`.
    """

    def __init__(
        self, *, joints: int, fields: int, stages: int, batch_norm: bool, linear_features: bool, width: float
    ) -> None:
        super().__init__(width=width)
        self.count = stages
        self.batch_norm = batch_norm
        self.linear_features = linear_features
        narrow, half, wide = self.scaled(128), self.scaled(256), self.scaled(512)
        self.add_convolutions(("conv4_1", "conv4_2"), half, wide)
        self.add_convolutions(("conv4_3_CPM",), wide, half)
        self.add_convolutions(("conv4_4_CPM",), half, narrow)
        for stage in range(1, stages + 1):
            for branch, maps in ((FIELD_BRANCH, fields), (HEATMAP_BRANCH, joints + 1)):
                if stage == 1:
                    self._add_first_branch(branch, narrow, wide, maps)
                else:
                    self._add_later_branch(stage, branch, narrow, narrow + fields + joints + 1, maps)

    def _add_first_branch(self, branch: int, narrow: int, wide: int, maps: int) -> None:
        names = layer_names(1, branch)
        self.add_convolutions(names[:3], narrow, narrow)
        self.add_convolutions(names[3:4], narrow, wide, kernel=1)
        self.add_convolutions(names[4:], wide, maps, kernel=1)
        self._add_norms(names[:-1])

    def _add_later_branch(self, stage: int, branch: int, narrow: int, inputs: int, maps: int) -> None:
        names = layer_names(stage, branch)
        self.add_convolutions(names[:5], inputs, narrow, kernel=7)
        self.add_convolutions(names[5:6], narrow, narrow, kernel=1)
        self.add_convolutions(names[6:], narrow, maps, kernel=1)
        self._add_norms(names[:-1])

    def _add_norms(self, names: tuple[str, ...]) -> None:
        if self.batch_norm:
            for name in names:
                convolution = self.get_submodule(name)
                assert isinstance(convolution, nn.Conv2d)
                self.add_module(norm_name(name), nn.BatchNorm2d(convolution.out_channels))

    def forward(self, pictures: Tensor) -> tuple[Maps, ...]:
        features = self._features(pictures)
        stages = [self._stage(1, features)]
        for stage in range(2, self.count + 1):
            before = stages[-1]
            stages.append(self._stage(stage, torch.cat([before.fields, before.heatmaps, features], dim=1)))
        return tuple(stages)

    def _features(self, pictures: Tensor) -> Tensor:
        x = self.convolve(("conv4_1", "conv4_2"), self.extract(pictures))
        if self.linear_features:
            return self.apply_layer("conv4_4_CPM", self.apply_layer("conv4_3_CPM", x))
        return self.convolve(("conv4_3_CPM", "conv4_4_CPM"), x)

    def _stage(self, stage: int, x: Tensor) -> Maps:
        return Maps(heatmaps=self._branch(stage, HEATMAP_BRANCH, x), fields=self._branch(stage, FIELD_BRANCH, x))

    def _branch(self, stage: int, branch: int, x: Tensor) -> Tensor:
        *hidden, last = layer_names(stage, branch)
        for name in hidden:
            x = self.convolve((name,), x)
            if self.batch_norm:  # behind the ReLU, in front of the next convolution
                x = functional.dropout(self.apply_layer(norm_name(name), x), DROPOUT, training=self.training)
        return self.apply_layer(last, x)


def layer_names(stage: int, branch: int) -> tuple[str, ...]:
    """Names of the convolutions of one branch (1 fields, 2 heatmaps) of one stage (from 1), first to last."""
    if stage == 1:
        return tuple(f"conv5_{number}_CPM_L{branch}" for number in range(1, 6))
    return tuple(f"Mconv{number}_stage{stage}_L{branch}" for number in range(1, 8))


def norm_name(convolution: str) -> str:
    """Name of the batch norm that follows a convolution and its ReLU."""
    return f"{convolution}_norm"


def vgg_paf(
    *,
    joints: int = 18,
    fields: int = 38,
    stages: int = 6,
    batch_norm: bool = False,
    linear_features: bool = False,
    width: float = 1.0,
) -> VggPaf:
    """CMU's network for `joints` joints and `fields` field channels (two for each limb).

    As published: COCO, the defaults, 52,311,446 parameters; MPI, `joints=15, fields=28`, 51,481,032, and with
    `stages=4` 34,240,880. `batch_norm` puts a batch norm and a dropout of 0.2 behind the ReLU of each hidden
    convolution of the stages; `linear_features` takes the ReLU off conv4_3_CPM and conv4_4_CPM: the MXNet product
    has both (with running statistics 52,349,334 numbers), its first state only the second. `width` multiplies the
    channels of all hidden layers, which are rounded to multiples of 8. Raises `ModelError` that names the option at
    fault.
    """
    check_options("vgg_paf", joints=joints, fields=fields, stages=stages, width=width)
    return VggPaf(
        joints=joints,
        fields=fields,
        stages=stages,
        batch_norm=batch_norm,
        linear_features=linear_features,
        width=width,
    )


ENTRIES = {
    "vgg_paf": Entry(
        vgg_paf,
        "bottom-up",
        (368, 368),
        "Z. Cao et al., arXiv 1611.08050; CMU's COCO model",
        parameters=52_311_446,
        multiply_adds=135_934_006_784,
    ),
}
