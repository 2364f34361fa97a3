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
    x, y = cells.reshape(-1, 2).T
    reach = float(np.sqrt(2 * CUT_OFF)) * sigma
    span = int(np.ceil(2 * reach)) + 2  # cells of the square around a joint, outside of which its Gaussian has ended
    left, top = np.floor(x - np.float32(reach)), np.floor(y - np.float32(reach))
    # False for NaN too.
    seen = np.flatnonzero((left > -span) & (left < width) & (top > -span) & (top < height))
    # Joints run along the last axis of all arrays, the only long one.
    steps = np.arange(span)[:, None]
    columns, rows = left[seen].astype(np.intp) + steps, top[seen].astype(np.intp) + steps
    across, down = (columns.astype(np.float32) - x[seen]) ** 2, (rows.astype(np.float32) - y[seen]) ** 2
    exponents = (down[:, None] + across[None]) / np.float32(2 * sigma**2)
    drawn = exponents <= CUT_OFF
    drawn &= ((columns >= 0) & (columns < width))[None] & ((rows >= 0) & (rows < height))[:, None]
    cell = (((seen % joints) * height + rows) * width)[:, None] + columns[None]
    cell, exponents = cell[drawn], exponents[drawn]

    least = np.full(joints * height * width, np.inf, np.float32)
    np.minimum.at(least, cell, exponents)
    heatmaps = np.zeros((joints + 1, height, width), np.float32)
    heatmaps[:-1].reshape(-1)[cell] = np.exp(-least[cell])
    heatmaps[-1] = 1 - heatmaps[:-1].max(axis=0, initial=0)
    return heatmaps


def encode_fields(cells: Array, grid: tuple[int, int], limbs: tuple[tuple[int, int], ...], width: float) -> Array:
    """Fields (2L, h, w): unit vectors within `width` cells of a limb and half a cell past its ends.

    `cells` (N, K, 2) are the joints. Where limbs of several people overlap the vectors are averaged. Limbs without
    length, or without one of their ends, have no field.
    """
    ends = np.array(limbs, np.intp).reshape(-1, 2)
    start, along = cells[:, ends[:, 0]], cells[:, ends[:, 1]] - cells[:, ends[:, 0]]
    length = np.hypot(along[..., 0], along[..., 1])
    people, limb = np.nonzero(length > 1e-3)  # False for NaN too
    length = length[people, limb]
    start, unit = start[people, limb].T, (along[people, limb] / length[:, None]).T
    owner, columns, rows = _surroundings(start, unit, length, width, grid)
    unit = unit[:, owner]
    x, y = columns.astype(np.float32) - start[0, owner], rows.astype(np.float32) - start[1, owner]
    forward, sideways = x * unit[0] + y * unit[1], x * unit[1] - y * unit[0]
    inside = (np.abs(sideways) <= width) & (forward >= -0.5) & (forward <= length[owner] + np.float32(0.5))
    inside &= (columns >= 0) & (columns < grid[0]) & (rows >= 0) & (rows < grid[1])

    line, step = np.nonzero(inside.T)  # in the order of the people, in which their vectors are added up
    limb = limb[owner[line]]
    cell = (limb * grid[1] + rows[step, line]) * grid[0] + columns[step, line]
    counts = np.bincount(cell, minlength=1)[cell]
    return _fill(cell + limb * (grid[0] * grid[1]), unit[:, line], counts, (len(limbs), 2, grid[1], grid[0]))


def _fill(
    places: NDArray[np.intp], vectors: Array, counts: NDArray[np.intp], shape: tuple[int, int, int, int]
) -> Array:
    """Fields of `shape` (L, 2, h, w) as (2L, h, w), with the mean of the vectors (2, n) at each place.

    `places` (n,) are flat, in the first of the two maps of a limb; `counts` (n,) says how many vectors have a place.
    """
    fields = np.zeros(shape, np.float32)
    flat = fields.reshape(-1)
    shared = counts > 1
    several, share = places[shared], counts[shared].astype(np.float32)
    for part in vectors:
        flat[places] = part
        flat[several] = 0
        np.add.at(flat, several, part[shared])
        flat[several] /= share
        places, several = places + shape[2] * shape[3], several + shape[2] * shape[3]
    return fields.reshape(2 * shape[0], shape[2], shape[3])


def _surroundings(
    start: Array, unit: Array, length: Array, width: float, grid: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The cells in and around n limbs, in m lines across them: index of the limb (m,), columns and rows (span, m).

    `start` and `unit` are (2, n). A line is part of a row where the limb is rather upright, else part of a column; it
    may reach out of the grid.
    """
    upright = np.abs(unit[1]) > np.abs(unit[0])
    begin, aside = np.where(upright, start[::-1], start)  # along the axis that the limb rather follows, and across it
    slope, tilt = np.where(upright, unit[::-1], unit)
    finish, most = begin + slope * length, np.where(upright, grid[1], grid[0])
    low = np.floor(np.minimum(begin, finish) - (width + 0.5)).clip(0, most).astype(np.intp)
    high = np.ceil(np.maximum(begin, finish) + (width + 1.5)).clip(0, most).astype(np.intp)
    counts = high - low
    owner = np.repeat(np.arange(len(counts)), counts)
    line = np.arange(len(owner)) + np.repeat(high - np.cumsum(counts), counts)

    # At most 45 degrees lie between a limb and its axis, so that a line crosses it in no more than `span` cells.
    span = int(np.ceil(2 * np.sqrt(2) * width)) + 2
    tilt = tilt / slope
    aside = aside - begin * tilt - width / np.abs(slope)
    place = np.floor(aside[owner] + line * tilt[owner]).astype(np.intp) + np.arange(span)[:, None]
    return owner, np.where(upright[owner], place, line), np.where(upright[owner], line, place)
