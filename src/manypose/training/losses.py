"""Losses of bottom-up networks."""

from __future__ import annotations

from torch import Tensor

from manypose.networks.maps import Maps

HEATMAPS_GAIN = 1.5  # of the heatmaps' error beside that of the fields
HEATMAPS_FOCUS = 6.0  # how much more a cell counts where its target is 1; joints cover few cells of their maps
FIELDS_FOCUS = 2.0
SCALE = 100.0  # keeps the figures readable; nothing else depends on it


def focused_map_loss(maps: Maps, heatmaps: Tensor, fields: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Masked squared errors of heatmaps and fields, each the mean over all cells; cells with people count more.

    `heatmaps` (B, K + 1, h, w) and `fields` (B, 2L, h, w) are the targets, `weights` (B, K + 1 + 2L, h, w) is 0 where
    the labels cannot tell. A cell of a heatmap counts 1 + 6 * target, one of a field 1 + 2 * |target|.
    """
    joints = heatmaps.shape[1]
    focus = 1 + HEATMAPS_FOCUS * heatmaps
    focus[:, -1] = 1  # the background is 1 nearly everywhere
    of_heatmaps = ((maps.heatmaps - heatmaps) ** 2 * focus * weights[:, :joints]).mean()
    of_fields = ((maps.fields - fields) ** 2 * (1 + FIELDS_FOCUS * fields.abs()) * weights[:, joints:]).mean()
    return SCALE * HEATMAPS_GAIN * of_heatmaps, SCALE * of_fields
