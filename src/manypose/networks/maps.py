"""What networks give beside plain heatmaps: heatmaps with part affinity fields, or SimCC's vectors."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Maps(NamedTuple):
    """Maps of B pictures, or of one stage of a network for them, on a grid of h x w cells.

    `heatmaps` (B, K + 1, h, w): one channel for each joint in the order of the skeleton, then the background.
    `fields` (B, 2L, h, w): x and y of the unit vectors along each limb, in the order of the skeleton's fields.
    """

    heatmaps: Tensor
    fields: Tensor


class Vectors(NamedTuple):
    """SimCC's vectors of B crops (see `codecs.simcc`), in the order of the skeleton's joints.

    `simcc_x` (B, K, W * split_ratio) and `simcc_y` (B, K, H * split_ratio) for crops of W x H pixels.
    """

    simcc_x: Tensor
    simcc_y: Tensor
