"""Peaks of heatmaps: all joints at once, on the network's own grid, to a small fraction of a cell.

A summit is a cell, or a plateau of cells, that nothing around it exceeds; the border counts. Its place comes from a
Gaussian fitted to the logarithm of the nine cells around it, each weighted by how far it can be trusted, so no map is
enlarged. Cells beyond the border and saturated ones take no part; where too little is left (the corner of the map, the
middle of a plateau) the next ring helps, and a weak prior on the width of the Gaussian decides. Where the cells
are no Gaussian, skewed or with another one beside it, the place is that of the top of the map enlarged eight times.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]
Index = NDArray[np.intp]

SATURATION = 1 - 1e-3  # cells from here on may have been cut, so they say nothing about the shape
FAINT = 0.02  # cells below this share of the summit are noise, or where a target Gaussian was cut off
EXPECTED_SIGMA = 0.9  # cells; targets have 0.875 (7 px at stride 8), networks answer a little broader
CURVATURE_SPREAD = 0.25  # standard deviation of the curvature around the one that EXPECTED_SIGMA has
ROUNDNESS = 0.1  # standard deviation of the difference between the curvatures along x and y
NOISE = 0.01  # standard deviation of a heatmap's noise, against which the prior is weighed
FALL = 0.8  # a cell two away from the summit is of another peak unless it is lower than this share of the next
LEAST_HIDDEN = 0.15  # least height of a peak that falls between cells; such bumps of less are noise
OUTSIDE = -1.0  # what stands beyond the border of a map
FARTHEST = 0.75  # cells; a summit's place is never moved farther from its cell
MISFIT = 0.06  # shares of the summit; from here on that a cell is off, the cells are no Gaussian

_PAD = 2
_NEIGHBOURHOOD = np.ones((3, 3), np.uint8)
_AROUND = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy])
_ROWS, _COLUMNS = (axis.reshape(-1, 1) for axis in np.mgrid[-_PAD : _PAD + 1, -_PAD : _PAD + 1])
_CENTRE = len(_ROWS) // 2
_RING = np.maximum(np.abs(_ROWS), np.abs(_COLUMNS))
_TOWARDS_CENTRE = (_CENTRE + 5 * (_ROWS - np.sign(_ROWS)) + _COLUMNS - np.sign(_COLUMNS)).ravel()
_TERMS = np.hstack([np.ones((25, 1)), _COLUMNS, _ROWS, -(_COLUMNS**2), -(_ROWS**2)])
# Weights (16, 25) of a window of cells in the middle 4 x 4 cells of a map twice as fine: cubic, as cv2.resize has it.
_CUBIC = np.array([[-27, 225, 67, -9, 0], [-9, 67, 225, -27, 0], [0, -27, 225, 67, -9], [0, -9, 67, 225, -27]]) / 256
_TWICE_AS_FINE = np.kron(_CUBIC, _CUBIC)
_FINE_MIDDLE = np.array([5, 6, 9, 10])
_FINE_AROUND = _FINE_MIDDLE + (4 * _AROUND[:, :1] + _AROUND[:, 1:])
# More of the corners would draw skewed peaks off their tops.
_CORNERS_LESS = np.where((np.abs(_ROWS) == 1) & (np.abs(_COLUMNS) == 1), 0.5, 1.0)


def _cubic_weights(places: Doubles) -> Doubles:
    """Weights (n, 5) of the cells -2..2 at places between them: the cubic of `cv2.resize`, its a = -0.75."""
    away = np.abs(places[:, None] - np.arange(-_PAD, _PAD + 1))
    near = (1.25 * away - 2.25) * away**2 + 1
    far = ((-0.75 * away + 3.75) * away - 6) * away + 3
    return np.where(away <= 1, near, np.where(away < 2, far, 0.0))


_FINE = np.arange(-13, 14, 2) / 16  # the places of a map eight times as fine, up to FARTHEST and one beyond
_EIGHT_TIMES_AS_FINE = np.kron(_cubic_weights(_FINE), _cubic_weights(_FINE))
_PRODUCTS = (_TERMS[:, :, None] * _TERMS[:, None, :]).reshape(25, 25)


@dataclass(frozen=True)
class Peaks:
    """Candidates for joints, ordered by joint.

    joints  (n,) intp, index of the joint, ascending
    x, y    (n,) float32, place in cells; the centre of the first cell is 0
    scores  (n,) float32, height of the fitted peak, 0..1
    starts  (K + 1,) intp; the peaks of joint k are starts[k] : starts[k + 1]
    """

    joints: Index
    x: Array
    y: Array
    scores: Array
    starts: Index

    def __len__(self) -> int:
        return len(self.joints)


def find_peaks(heatmaps: Array, *, threshold: float, limit: int = 256) -> Peaks:
    """The peaks of heatmaps (K, h, w) float32 that rise above `threshold`, at most the `limit` highest of each joint.

    Equal neighbours (a joint midway between two cells, a map cut at 1) give one peak in their middle; a terrace on the
    slope of a higher peak gives none. The heatmaps must be finite.
    """
    joints, height, width = heatmaps.shape
    stride = width + 2 * _PAD
    padded = np.full((joints, height + 2 * _PAD, stride), OUTSIDE, np.float32)
    # Cut, a saturated plateau is flat: ripples on it are no summits.
    np.minimum(heatmaps, np.float32(SATURATION), out=padded[:, _PAD:-_PAD, _PAD:-_PAD])
    stack = padded.reshape(-1, stride)
    marked = (stack == cv2.dilate(stack, _NEIGHBOURHOOD)) & (stack > threshold)
    summits = _one_for_each(stack, marked)
    fitted = _fit_gaussians(padded.reshape(-1).take(summits + (_ROWS * stride + _COLUMNS)))
    hidden, places = _find_hidden(stack, marked, max(threshold, LEAST_HIDDEN))
    cells = np.concatenate([summits, hidden])
    order = np.argsort(cells)
    cells = cells[order]
    moved_x, moved_y, scores = np.concatenate([fitted, places], axis=1)[:, order].astype(np.float32)
    joint, inside = np.divmod(cells, (height + 2 * _PAD) * stride)
    row, column = np.divmod(inside, stride)
    kept = _highest(joint, scores, limit)
    return Peaks(
        joints=joint[kept],
        x=(column - _PAD + moved_x).astype(np.float32)[kept],
        y=(row - _PAD + moved_y).astype(np.float32)[kept],
        scores=scores[kept],
        starts=np.searchsorted(joint[kept], np.arange(joints + 1)),
    )


def _one_for_each(stack: Array, marked: NDArray[np.bool_]) -> Index:
    """Flat indices, ascending, of one of the marked cells for each summit: the middle of a plateau, none for a terrace.

    `stack` are maps on each other with a margin around each; marked are the cells that no neighbour exceeds.
    """
    cells = np.flatnonzero(marked)
    neighbours = cells[:, None] + (_AROUND[:, 0] * stack.shape[1] + _AROUND[:, 1])
    flat = stack.reshape(-1)
    equal = flat.take(neighbours) == flat.take(cells)[:, None]
    tied = equal.any(axis=1)
    if not tied.any():
        return cells
    plateau = cells[tied]
    place = np.minimum(np.searchsorted(plateau, neighbours[tied]), len(plateau) - 1)
    joined = equal[tied] & (plateau[place] == neighbours[tied])
    label = _label(np.where(joined, place, np.arange(len(plateau))[:, None]))
    terrace = np.bincount(label, (equal[tied] & ~joined).any(axis=1)) > 0
    middles = plateau[_middles(label, *np.divmod(plateau, stack.shape[1]))]
    return np.sort(np.concatenate([cells[~tied], middles[~terrace[np.unique(label)]]]))


def _label(neighbours: Index) -> Index:
    """For each of n cells the lowest row that it is connected to; `neighbours` (n, 8) are rows, its own for none."""
    label = np.arange(len(neighbours))
    while True:
        lowest = np.minimum(label, label[neighbours].min(axis=1))
        lowest = lowest[lowest]
        if (lowest == label).all():
            return label
        label = lowest


def _middles(label: Index, row: Index, column: Index) -> Index:
    """The cell nearest to the middle of each group of cells with the same label, by ascending label."""
    size = np.maximum(np.bincount(label), 1)
    away_y = row - (np.bincount(label, row) / size)[label]
    away_x = column - (np.bincount(label, column) / size)[label]
    order = np.lexsort((away_x**2 + away_y**2, label))
    return order[np.diff(label[order], prepend=-1) > 0]


def _find_hidden(stack: Array, marked: NDArray[np.bool_], threshold: float) -> tuple[Index, Doubles]:
    """Peaks that fall between the cells beside a higher one: cells (n,), and offsets x, y from them and heights (3, n).

    Two joints one and a half cells apart are a ridge with one summit on the map's own grid, but two on one twice as
    fine. That one is made (as `cv2.resize` would, cubic) where a cell is high and not beside a summit, and only there.
    """
    beside_summits = cv2.dilate(marked.view(np.uint8), _NEIGHBOURHOOD)
    cells = np.flatnonzero((stack > threshold) & (beside_summits == 0))
    windows = stack.reshape(-1).take(cells + (_ROWS * stack.shape[1] + _COLUMNS))
    fine = _TWICE_AS_FINE @ np.maximum(windows, 0)
    heights = fine[_FINE_MIDDLE]
    place, found = np.nonzero((heights > fine[_FINE_AROUND].max(axis=0)) & (heights > threshold))
    height, around = heights[place, found], fine[_FINE_AROUND[:, place], found]
    left, right, up, down = around[3], around[4], around[1], around[6]  # as in _AROUND
    # The top of a parabola through three of the finer cells, which lie half a cell apart.
    x = (place % 2 - 0.5) / 2 + (right - left) / (4 * (2 * height - left - right))
    y = (place // 2 - 0.5) / 2 + (down - up) / (4 * (2 * height - up - down))
    return cells[found], np.stack([x, y, np.clip(height, 0, 1)])


def _fit_gaussians(windows: Array) -> Doubles:
    """Offsets x, y in cells from the middle of windows (25, n) and heights of the Gaussians fitted there, (3, n).

    Weighted least squares on ln(value) = a + b x + c y - p x^2 - q y^2; the weight of a cell is its value squared,
    since equal noise on a value v is noise / v on its logarithm; corners count half. p and q have a Gaussian prior
    each and are drawn together, b and c are weakly drawn to 0, which decides only what the cells leave open.
    """
    summit = windows[_CENTRE].astype(np.float64)
    relative = windows / summit
    saturated = windows >= SATURATION
    cut = ((saturated | (windows == OUTSIDE)) & (_RING == 1)).any(axis=0)
    falling = windows < FALL * windows[_TOWARDS_CENTRE]
    usable = (relative > FAINT) & ~saturated & ((_RING <= 1) | (cut & falling))
    weights = np.where(usable, relative, 0) ** 2 * _CORNERS_LESS
    logarithms = np.log(np.maximum(relative, FAINT))

    prior = (NOISE / summit) ** 2
    curvature = prior / CURVATURE_SPREAD**2
    together = prior / ROUNDNESS**2
    equations = np.empty((5, 6, len(summit)))
    equations[:, :5] = (_PRODUCTS.T @ weights).reshape(5, 5, -1)
    equations[:, 5] = _TERMS.T @ (weights * logarithms)
    equations[0, 0] += 1e-6
    for k in (1, 2):
        equations[k, k] += prior + 1e-6
    for k in (3, 4):
        equations[k, k] += curvature + together
        equations[k, 7 - k] -= together
        equations[k, 5] += curvature / (2 * EXPECTED_SIGMA**2)
    a, b, c, p, q = solved = _solve(equations)
    p, q = np.maximum(p, 0.05), np.maximum(q, 0.05)
    x = np.clip(b / (2 * p), -FARTHEST, FARTHEST)
    y = np.clip(c / (2 * q), -FARTHEST, FARTHEST)
    rise = np.clip(a + x * (b - p * x) + y * (c - q * y), 0, 0.4)
    fitted = np.stack([x, y, np.clip(summit * np.exp(rise), 0, 1)])
    misfit = np.where(usable & ~cut, np.abs(np.exp(_TERMS @ solved) - relative), 0).max(axis=0)
    others = np.flatnonzero(misfit > MISFIT)
    fitted[:2, others] = _enlarge(windows[:, others])
    return fitted


def _enlarge(windows: Array) -> Doubles:
    """Offsets x, y in cells (2, n) from the middle of windows (25, n) of the highest place of an enlarged map."""
    fine = _EIGHT_TIMES_AS_FINE @ np.maximum(windows, 0)
    side = len(_FINE)
    inner = fine.reshape(side, side, -1)[1:-1, 1:-1].reshape((side - 2) ** 2, -1).argmax(axis=0)
    row, column = (place + 1 for place in np.divmod(inner, side - 2))
    top = np.arange(windows.shape[1])

    def moved(place: Index, before: Doubles, here: Doubles, after: Doubles) -> Doubles:
        """The top of a parabola through three finer places, which lie an eighth of a cell apart."""
        bend = np.maximum(2 * here - before - after, 1e-9)
        offset = np.clip((after - before) / (2 * bend), -0.5, 0.5) / 8
        return np.asarray(np.clip(_FINE[place] + offset, -FARTHEST, FARTHEST), np.float64)

    def at(down: int, right: int) -> Doubles:
        heights: Doubles = fine[(row + down) * side + column + right, top]
        return heights

    here = at(0, 0)
    return np.stack([moved(column, at(0, -1), here, at(0, 1)), moved(row, at(-1, 0), here, at(1, 0))])


def _solve(equations: Doubles) -> Doubles:
    """Solutions (m, n) of n positive definite systems (m, m + 1, n), each with its right side last; destroys them.

    Gauss and Jordan's elimination for all systems at once: a quarter of the time of `np.linalg.solve`, which takes
    small systems one by one.
    """
    for k in range(len(equations)):
        equations[k] /= equations[k, k].copy()
        factors = equations[:, k].copy()
        factors[k] = 0
        equations -= factors[:, None] * equations[k]
    return equations[:, -1]


def _highest(joint: Index, scores: Array, limit: int) -> Index | slice:
    """Rows, in order, of the `limit` highest scores of each joint."""
    if len(joint) <= limit or np.bincount(joint).max() <= limit:
        return slice(None)
    order = np.lexsort((-scores, joint))
    first = np.searchsorted(joint, joint[order])
    return np.sort(order[np.arange(len(order)) - first < limit])
