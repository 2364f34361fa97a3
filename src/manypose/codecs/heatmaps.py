"""Single people <-> heatmaps: the targets and the decoders of the HRNet family, and what their cells mean.

A cell k of a map stands for the place stride * k of the network's input, without any half pixels: so the targets of
HRNet and its kin were made. Those of CMU's faces and hands lie at the cells' centres, 8 k + 3.5, which is an `offset`
of 3.5. With `udp` the first and the last cell stand for the first and the last pixel.

Sources: HRNet's get_final_preds (argmax, quarter); F. Zhang et al., "Distribution-Aware Coordinate Representation",
CVPR 2020 (dark); J. Huang et al., "The Devil is in the Details", CVPR 2020, as in mmpose (udp-dark).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.errors import ModelError

Array = NDArray[np.float32]
Decoding = Literal["argmax", "quarter", "dark", "udp-dark", "soft-argmax", "soft-argmax+quarter"]
Drawing = Literal["exact", "window", "rounded"]
REACH = 3.0  # sigmas from its middle to the border of a Gaussian's window


@dataclass(frozen=True)
class HeatmapCodec:
    """What the heatmaps of a top-down network mean: cell k stands for pixel stride * k + `offset` of the input.

    `sigma` is that of the Gaussians in cells, `kernel` the width in cells of the blur before DARK (None for the one
    that belongs to sigma), `beta` the sharpness of soft-argmax. `background` says that the last map is no joint's.

    `drawing` is the rule of the targets: "exact" Gaussians at the joints' true places, over the whole map (as DARK
    needs them); "window", the same within three sigmas of the nearest cell (UDP); "rounded", there and with their
    middle on that cell (HRNet and Simple Baselines, whose decoder adds a quarter again).
    """

    stride: int = 4
    sigma: float = 2.0
    offset: float = 0.0
    decoding: Decoding = "dark"
    kernel: int | None = None
    beta: float = 160.0
    udp: bool = False
    background: bool = False
    drawing: Drawing = "exact"

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Cells (w, h) of the maps for an input of `size` (w, h)."""
        return size[0] // self.stride, size[1] // self.stride

    @property
    def mirror_shift(self) -> int:
        """Columns by which the maps of a mirrored crop, turned back, lie too far to the left of the crop's own.

        One for HRNet's, whose cell k is pixel 4 k (its SHIFT_HEATMAP); none where cells lie alike from both borders.
        """
        return 0 if self.udp else round((self.stride - 1 - 2 * self.offset) / self.stride)

    def encode(self, keypoints: Array, size: tuple[int, int]) -> tuple[Array, Array]:
        """Targets (B, K, h, w) and their weights (B, K), 0 or 1, for joints (B, K, 2) in an input of `size` (w, h).

        NaN marks absent joints: they weigh 0, as do those so far outside that no part of their window is inside.
        """
        width, height = self.grid(size)
        cells = (np.asarray(keypoints, np.float64) - self.offset) / self._factor(width, height)
        exact = self.drawing == "exact"
        middle = cells if exact else np.trunc(cells + 0.5)  # towards 0, as the programs do
        reach = REACH * self.sigma
        # A window that ends just at the border has nothing inside, and yet counts in the programs.
        near = np.all((middle - reach < (width, height)) & (middle + reach + 1 >= 0), axis=-1)
        near_place = np.where(near[..., None], middle, np.nan)
        peaks = near_place if self.drawing == "rounded" else np.where(near[..., None], cells, np.nan)
        across = self._bells(peaks[..., 0], near_place[..., 0], width)
        down = self._bells(peaks[..., 1], near_place[..., 1], height)
        heatmaps: Array = down[..., :, None] * across[..., None, :]
        weights: Array = near.astype(np.float32)
        return (self._with_background(heatmaps) if self.background else heatmaps), weights

    def _bells(self, peaks: NDArray[np.float64], middles: NDArray[np.float64], cells: int) -> Array:
        """(B, K, cells): Gaussians around `peaks`, of which windows end three sigmas from `middles`; 0 for NaN."""
        index = np.arange(cells)
        bells = np.exp(-((index - peaks[..., None]) ** 2) / (2 * self.sigma**2))
        reach = np.inf if self.drawing == "exact" else REACH * self.sigma
        return np.where(np.abs(index - middles[..., None]) <= reach, bells, 0).astype(np.float32)

    @staticmethod
    def _with_background(heatmaps: Array) -> Array:
        return np.concatenate([heatmaps, np.float32(1) - heatmaps.max(axis=1, keepdims=True, initial=0)], axis=1)

    def _factor(self, width: int, height: int) -> Array:
        """Pixels of the input for a cell, (x, y)."""
        if self.udp and width > 1 and height > 1:
            return ((np.array([width, height]) * self.stride - 1) / (width - 1, height - 1)).astype(np.float32)
        return np.full(2, self.stride, np.float32)

    def decode(self, heatmaps: Array) -> tuple[Array, Array]:
        """Joints (B, K, 2) in pixels of the network's input and their scores (B, K), of heatmaps (B, K, h, w).

        A joint whose map has nothing above 0 is NaN and scores 0; with soft-argmax, one whose map is not above 0 at
        its place. Raises `ModelError` for maps that are not four-dimensional, empty or not finite.
        """
        if heatmaps.ndim != 4 or 0 in heatmaps.shape[2:] or not np.isfinite(heatmaps).all():
            raise ModelError(f"heatmaps have shape {heatmaps.shape}, expected finite numbers (people, joints, h, w)")
        heatmaps = np.ascontiguousarray(heatmaps[:, :-1] if self.background else heatmaps, np.float32)
        cells, scores = self.find(heatmaps)
        height, width = heatmaps.shape[2:]
        there = scores > 0
        places = cells * self._factor(width, height) + np.float32(self.offset)
        return np.where(there[..., None], places, np.float32(np.nan)), np.where(there, scores, 0)

    def find(self, heatmaps: Array) -> tuple[Array, Array]:
        """Joints (B, K, 2) in cells and their scores (B, K), as the decoder of the network's programs gives them."""
        if self.decoding.startswith("soft-argmax"):
            cells, scores = find_soft(heatmaps, self.beta)
            return (quarter_offset(heatmaps, cells) if self.decoding.endswith("quarter") else cells), scores
        cells, scores = find_highest(heatmaps)
        if self.decoding == "quarter":
            return quarter_offset(heatmaps, cells), scores
        kernel = self.kernel or round(6 * self.sigma) - 1  # 11 for sigma 2, 17 for sigma 3
        if self.decoding == "dark":
            return refine_dark(heatmaps, cells, kernel), scores
        if self.decoding == "udp-dark":
            return refine_udp_dark(heatmaps, cells, kernel), scores
        return cells, scores


def find_highest(heatmaps: Array) -> tuple[Array, Array]:
    """The highest cells (B, K, 2), the first in reading order, and their heights; (0, 0) where nothing is above 0."""
    width = heatmaps.shape[3]
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    index = flat.argmax(axis=2)
    scores = np.take_along_axis(flat, index[..., None], axis=2)[..., 0]
    cells = np.stack([index % width, index // width], axis=2).astype(np.float32)
    return cells * (scores > 0)[..., None], scores


def find_soft(heatmaps: Array, beta: float) -> tuple[Array, Array]:
    """Means (B, K, 2) of the cells weighed with softmax(beta * height), and the heights at the cell that is nearest."""
    height, width = heatmaps.shape[2:]
    sharp = (heatmaps - heatmaps.max(axis=(2, 3), keepdims=True)) * np.float32(beta)
    weights = np.exp(sharp)
    weights /= weights.sum(axis=(2, 3), keepdims=True, dtype=np.float64)
    x = (weights.sum(axis=2, dtype=np.float64) * np.arange(width)).sum(axis=2)
    y = (weights.sum(axis=3, dtype=np.float64) * np.arange(height)).sum(axis=2)
    cells = np.stack([x, y], axis=2).astype(np.float32)
    column, row = np.rint(cells).astype(np.intp).transpose(2, 0, 1)
    return cells, _at(heatmaps, column, row)


def quarter_offset(heatmaps: Array, cells: Array) -> Array:
    """The cells moved a quarter towards the higher one of their neighbours, but at the border of the map."""
    height, width = heatmaps.shape[2:]
    column, row = np.floor(cells + 0.5).astype(np.intp).transpose(2, 0, 1)
    inner = (column > 1) & (column < width - 1) & (row > 1) & (row < height - 1)
    x, y = np.where(inner, column, 1), np.where(inner, row, 1)
    if width < 3 or height < 3:
        return cells
    across = np.sign(_at(heatmaps, x + 1, y) - _at(heatmaps, x - 1, y))
    down = np.sign(_at(heatmaps, x, y + 1) - _at(heatmaps, x, y - 1))
    return np.asarray(cells + 0.25 * np.stack([across, down], axis=2) * inner[..., None], np.float32)


def blur(heatmaps: Array, kernel: int) -> Array:
    """Every map blurred with a Gaussian of this width, then scaled so that its highest cell is as high as before."""
    kernel |= 1
    shape = (-1, *heatmaps.shape[2:])
    blurred = np.empty_like(heatmaps)
    for source, target in zip(heatmaps.reshape(shape), blurred.reshape(shape), strict=True):
        cv2.GaussianBlur(source, (kernel, kernel), 0, dst=target, borderType=cv2.BORDER_CONSTANT)
    before, after = heatmaps.max(axis=(2, 3), keepdims=True), blurred.max(axis=(2, 3), keepdims=True)
    return np.asarray(blurred * (before / np.where(after > 0, after, 1)), np.float32)


def refine_dark(heatmaps: Array, cells: Array, kernel: int) -> Array:
    """The cells moved to the peak of the parabola through the logarithm of the blurred map; steps of two cells."""
    logs = np.log(np.maximum(blur(heatmaps, kernel), 1e-10))
    height, width = logs.shape[2:]
    column, row = cells.astype(np.intp).transpose(2, 0, 1)
    inner = (column > 1) & (column < width - 2) & (row > 1) & (row < height - 2)
    if width < 5 or height < 5:
        return cells
    x, y = np.where(inner, column, 2), np.where(inner, row, 2)

    def at(dx: int, dy: int) -> Array:
        return _at(logs, x + dx, y + dy)

    gradient = np.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], axis=2) / 2
    xx = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
    yy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    return np.where(inner[..., None], cells - _solve(xx, xy, yy, gradient), cells).astype(np.float32)


def refine_udp_dark(heatmaps: Array, cells: Array, kernel: int) -> Array:
    """The same with steps of one cell, at the border of the map too."""
    logs = np.log(np.clip(blur(heatmaps, kernel), 1e-3, 50))
    logs = np.pad(logs, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    x, y = cells.astype(np.intp).transpose(2, 0, 1) + 1

    def at(dx: int, dy: int) -> Array:
        return _at(logs, x + dx, y + dy)

    gradient = np.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], axis=2) / 2
    tiny = np.finfo(np.float32).eps
    xx = at(1, 0) - 2 * at(0, 0) + at(-1, 0) + tiny
    yy = at(0, 1) - 2 * at(0, 0) + at(0, -1) + tiny
    xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    return np.asarray(cells - _solve(xx, xy, yy, gradient), np.float32)


def _at(maps: Array, x: NDArray[np.intp], y: NDArray[np.intp]) -> Array:
    """Heights (B, K) of maps (B, K, h, w) at one cell of each."""
    batch, joints = np.ogrid[: maps.shape[0], : maps.shape[1]]
    return np.asarray(maps[batch, joints, y, x], np.float32)


def _solve(xx: NDArray[Any], xy: NDArray[Any], yy: NDArray[Any], gradient: NDArray[Any]) -> NDArray[np.float64]:
    """The step (..., 2) from the peak: the inverse of the Hessian times the gradient, 0 where there is no inverse."""
    a, b, d = xx.astype(np.float64), xy.astype(np.float64), yy.astype(np.float64)
    determinant = a * d - b * b
    sound = determinant != 0
    x = (d * gradient[..., 0] - b * gradient[..., 1]) / np.where(sound, determinant, 1)
    y = (a * gradient[..., 1] - b * gradient[..., 0]) / np.where(sound, determinant, 1)
    step: NDArray[np.float64] = np.stack([x, y], axis=-1) * sound[..., None]
    return step
