"""What the bottom-up networks give: heatmaps of the joints and part affinity fields of the limbs."""

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
