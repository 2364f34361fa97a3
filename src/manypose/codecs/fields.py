"""People <-> heatmaps and part affinity fields: training targets and their decoding, with one set of settings.

Heatmaps are Gaussians at the joints, fields are unit vectors along the limbs (Z. Cao et al., "OpenPose: Realtime
Multi-Person 2D Pose Estimation using Part Affinity Fields", arXiv 1812.08008). Both sorts of maps lie on one grid: cell
i stands for the pixel stride * i + (stride - 1) / 2 of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.codecs import grouping
from manypose.codecs.grouping import DecoderSettings
from manypose.people import People
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]

CUT_OFF = 4.6052  # ln 100: a Gaussian ends where it has fallen to a hundredth


@dataclass(frozen=True)
class FieldsCodec:
    """What the maps of a bottom-up network mean; the same object makes the targets and decodes them.

    `sigma` is that of the Gaussians and `limb_width` half the width of the limbs, both in pixels of the network's
    input; the maps have one cell for `stride` pixels. The heatmaps have a last channel for the background. The fields
    lie `field_offset` pixels to the right of and below the heatmaps, as a few published networks have learned them.
    """

    skeleton: Skeleton
    stride: int = 8
    sigma: float = 7.0
    limb_width: float = 8.0
    field_offset: float = 0.0
    decoder: DecoderSettings = field(default_factory=DecoderSettings)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Cells (w, h) of the maps for a picture of `size` (w, h), which must be multiples of the stride."""
        return size[0] // self.stride, size[1] // self.stride

    def encode(self, keypoints: Array, size: tuple[int, int]) -> tuple[Array, Array]:
        """Targets for people (N, K, 2) in a picture of `size` (w, h): heatmaps (K + 1, h, w) and fields (2L, h, w).

        NaN marks absent joints. Joints outside of the picture are drawn as far as they reach into it. Where people
        meet, heatmaps take the maximum (so that two near joints keep two peaks) and fields the mean.
        """
        cells = np.asarray(geometry.pixel_to_cell(np.asarray(keypoints, np.float32), self.stride))
        grid = self.grid(size)
        return (
            encode_heatmaps(cells, grid, self.sigma / self.stride),
            encode_fields(
                cells + np.float32(self.field_offset / self.stride),
                grid,
                self.skeleton.fields,
                self.limb_width / self.stride,
            ),
        )

    def decode(self, heatmaps: Array, fields: Array, image_size: tuple[int, int] | None = None) -> People:
        """The people in the maps of one picture, in pixels of the network's input; see `grouping.decode`."""
        return grouping.decode(
            heatmaps,
            fields,
            skeleton=self.skeleton,
            stride=self.stride,
            field_offset=self.field_offset,
            settings=self.decoder,
            image_size=image_size,
        )


def encode_heatmaps(cells: Array, grid: tuple[int, int], sigma: float) -> Array:
    """Heatmaps (K + 1, h, w) of joints (N, K, 2) in cells: the maximum of their Gaussians, then the background."""
    width, height = grid
    joints = cells.shape[1]
    exponents = np.full((joints, height, width), np.inf, np.float32)
    for person in cells:  # one person at a time: the arrays stay in the cache, and few people are in a picture
        across = (np.arange(width, dtype=np.float32) - person[:, :1]) ** 2
        down = (np.arange(height, dtype=np.float32) - person[:, 1:]) ** 2
        np.fmin(exponents, down[:, :, None] + across[:, None, :], out=exponents)
    exponents /= 2 * sigma**2
    heatmaps = np.empty((joints + 1, height, width), np.float32)
    heatmaps[:-1] = np.where(exponents > CUT_OFF, 0, np.exp(-exponents))
    heatmaps[-1] = 1 - heatmaps[:-1].max(axis=0, initial=0)
    return heatmaps


def encode_fields(cells: Array, grid: tuple[int, int], limbs: tuple[tuple[int, int], ...], width: float) -> Array:
    """Fields (2L, h, w): unit vectors within `width` cells of a limb and half a cell past its ends.

    `cells` (N, K, 2) are the joints. Where limbs of several people overlap the vectors are averaged. Limbs without
    length, or without one of their ends, have no field.
    """
    total = np.zeros((len(limbs), 2, grid[1], grid[0]), np.float32)
    counts = np.zeros((len(limbs), 1, grid[1], grid[0]), np.float32)
    ends = np.array(limbs, np.intp).reshape(-1, 2)
    for person in cells:
        start, along = person[ends[:, 0]], person[ends[:, 1]] - person[ends[:, 0]]
        length = np.hypot(along[:, 0], along[:, 1])
        drawn = length > 1e-3  # False for NaN too
        if not drawn.any():
            continue
        unit = np.divide(along, length[:, None], out=np.zeros_like(along), where=drawn[:, None])[:, :, None, None]
        rows, columns = _surroundings(person, width + 0.5, grid)
        x = np.arange(grid[0], dtype=np.float32)[columns] - start[:, :1, None]
        y = np.arange(grid[1], dtype=np.float32)[rows, None] - start[:, 1:, None]
        forward, sideways = x * unit[:, 0] + y * unit[:, 1], x * unit[:, 1] - y * unit[:, 0]
        inside = (np.abs(sideways) <= width) & (forward >= -0.5) & (forward <= length[:, None, None] + 0.5)
        inside &= drawn[:, None, None]
        total[:, :, rows, columns] += unit * inside[:, None]
        counts[:, 0, rows, columns] += inside
    mean = (total / np.maximum(counts, 1)).astype(np.float32, copy=False)
    return mean.reshape(2 * len(limbs), grid[1], grid[0])


def _surroundings(person: Array, reach: float, grid: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the cells that lie within `reach` of the box around a person's joints (K, 2)."""
    there = person[~np.isnan(person[:, 0])]
    if not len(there):
        return slice(0), slice(0)
    left, top = np.floor(there.min(axis=0) - reach).clip(0, grid).astype(int).tolist()
    right, bottom = np.ceil(there.max(axis=0) + reach + 1).clip(0, grid).astype(int).tolist()
    return slice(top, bottom), slice(left, right)
