"""The targets of the bottom-up products, each by its own rules: for networks that shall learn what theirs have learned.

Our own rule is the first of `RULES` and is drawn by `FieldsCodec.encode`; the others differ from it and from each other
in what happens where people meet, where a Gaussian or a limb ends, and what place a cell of the fields stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.fields import CUT_OFF, FieldsCodec
from manypose.errors import SkeletonError
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class TargetRules:
    """How the targets of a bottom-up network are drawn.

    joints      "exact"; "cut": whole pixels, rounded towards 0; "derived-rounded": only the derived ones (the neck)
                are rounded to whole pixels. `outside` False leaves joints outside of the picture out
    meet        where Gaussians meet: their "max", or their "sum" up to 1
    cut_off     exponent at which a Gaussian ends; None: nowhere
    window      a Gaussian ends with the last whole cell within so many pixels of its joint; None: it does not
    ends        a limb "half-cell" past its joints; "joints": from joint to joint; "box-rounded", "box-cut": in the
                box around its joints grown by the limb's width, in cells, rounded or rounded towards 0
    edge        whether cells exactly `limb_width` beside a limb belong to it
    overlap     where limbs meet: the "mean" of the vectors, or the "last" person's
    offset      pixels by which the fields lie to the right of and below the heatmaps (3.5 where a cell i of the fields,
                not of the heatmaps, stands for the pixel 8i)
    full_size   drawn with a cell for each pixel and then shrunk, corner to corner
    redirected  fields (from, to) that are drawn to another joint: (from, to, drawn to), by name
    """

    joints: Literal["exact", "cut", "derived-rounded"] = "exact"
    outside: bool = True
    meet: Literal["max", "sum"] = "max"
    cut_off: float | None = CUT_OFF
    window: float | None = None
    ends: Literal["half-cell", "joints", "box-rounded", "box-cut"] = "half-cell"
    edge: bool = True
    overlap: Literal["mean", "last"] = "mean"
    offset: float = 0.0
    full_size: bool = False
    redirected: tuple[tuple[str, str, str], ...] = ()


OURS = TargetRules()

RULES = {
    "ours": OURS,
    # openpose_train; CMU's release of 2017 summed the Gaussians.
    "cmu": TargetRules(ends="box-rounded", offset=3.5),
    "cmu-2017": TargetRules(meet="sum", ends="box-rounded", offset=3.5),
    # rmpe_dataset_server, from which the Keras product gets its samples: it never takes the mean.
    "keras": TargetRules(meet="sum", ends="box-rounded", overlap="last", offset=3.5),
    # Pytorch0.4.1_Openpose and the Chainer program that it follows.
    "treb1en": TargetRules(joints="cut", cut_off=None, ends="joints", full_size=True),
    # pytorch_Realtime_Multi-Person_Pose_Estimation: its fields from the shoulders to the ears go to the eyes.
    "tensorboy": TargetRules(
        joints="derived-rounded",
        outside=False,
        meet="sum",
        ends="box-rounded",
        edge=False,
        offset=3.5,
        redirected=(("right_shoulder", "right_ear", "right_eye"), ("left_shoulder", "left_ear", "left_eye")),
    ),
    # The MXNet product, which comes from the one above.
    "mxnet": TargetRules(
        joints="derived-rounded", outside=False, meet="sum", ends="box-rounded", edge=False, offset=3.5
    ),
    # lightweight-human-pose-estimation.pytorch
    "daniil": TargetRules(meet="sum", window=28.0, ends="box-cut", overlap="last", offset=3.5),
}


def encode_targets(
    keypoints: Array, size: tuple[int, int], codec: FieldsCodec, rules: TargetRules = OURS
) -> tuple[Array, Array]:
    """Targets for people (N, K, 2) in a picture of `size` (w, h): heatmaps (K + 1, h, w) and fields (2L, h, w).

    NaN marks absent joints. With `OURS` it is `codec.encode`, whose `field_offset` counts; with other rules theirs
    does. Raises `SkeletonError` when `rules.redirected` names a joint or field that the skeleton does not have.
    """
    if rules == OURS:
        return codec.encode(keypoints, size)
    places = _settle(np.asarray(keypoints, np.float64), size, codec.skeleton, rules)
    stride = 1 if rules.full_size else codec.stride
    grid = (size[0] // stride, size[1] // stride)
    cells = (places - (stride - 1) / 2) / stride  # geometry.pixel_to_cell, in double precision
    heatmaps = _draw_heatmaps(places, cells, grid, stride, codec.sigma, rules)
    limbs = _drawn_limbs(codec.skeleton, rules)
    fields = _draw_fields(cells + rules.offset / stride, grid, limbs, codec.limb_width / stride, rules)
    if rules.full_size:
        heatmaps, fields = (shrink_corners(maps, codec.grid(size)) for maps in (heatmaps, fields))
    return heatmaps.astype(np.float32), fields.astype(np.float32)


def shrink_corners(maps: Doubles, grid: tuple[int, int]) -> Doubles:
    """Maps (C, h, w) resized to `grid` (w, h) so that the centres of the corner cells stay where they are, bilinear."""
    rows, columns = (_between(maps.shape[axis], cells) for axis, cells in ((1, grid[1]), (2, grid[0])))
    return np.asarray(rows @ maps @ columns.T, np.float64)


def _between(size: int, cells: int) -> Doubles:
    """(cells, size): how much of each old cell goes into each new one."""
    place = np.arange(cells) * ((size - 1) / max(cells - 1, 1))
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size))), np.float64)


def _settle(places: Doubles, size: tuple[int, int], skeleton: Skeleton, rules: TargetRules) -> Doubles:
    """The joints (N, K, 2) as a product has them: on whole pixels, or without those outside of the picture."""
    if rules.joints == "cut":
        places = np.trunc(places)
    elif rules.joints == "derived-rounded":
        derived = np.array([joint in skeleton.derived for joint in skeleton.joints])
        places = np.where(derived[:, None], np.round(places), places)
    if not rules.outside:
        inside = ((places >= 0) & (places < size)).all(axis=-1, keepdims=True)
        places = np.where(inside, places, np.nan)
    return places


def _draw_heatmaps(
    places: Doubles, cells: Doubles, grid: tuple[int, int], stride: int, sigma: float, rules: TargetRules
) -> Doubles:
    width, height = grid
    heatmaps = np.zeros((places.shape[1] + 1, height, width))
    joints = heatmaps[:-1]
    for person, cell in zip(places, cells, strict=True):
        across = (np.arange(width) - cell[:, :1]) * stride
        down = (np.arange(height) - cell[:, 1:]) * stride
        exponents = (across[:, None, :] ** 2 + down[:, :, None] ** 2) / 2 / sigma**2
        drawn = np.exp(-np.where(np.isnan(exponents), np.inf, exponents))
        if rules.cut_off is not None:
            drawn[exponents > rules.cut_off] = 0
        if rules.window is not None:
            drawn *= _window(person[:, 0], rules.window, width, stride)[:, None, :]
            drawn *= _window(person[:, 1], rules.window, height, stride)[:, :, None]
        if rules.meet == "max":
            np.maximum(joints, drawn, out=joints)
        else:
            np.minimum(joints + drawn, 1, out=joints)
    heatmaps[-1] = 1 - joints.max(axis=0, initial=0)
    return heatmaps


def _window(places: Doubles, reach: float, cells: int, stride: int) -> NDArray[np.bool_]:
    """(K, cells): the cells from that of the pixel `reach` before a joint to the last whole one before that after."""
    first = np.maximum(np.trunc(places - reach), 0) // stride
    end = np.minimum(np.trunc(places + reach), cells * stride) // stride
    index = np.arange(cells)
    return np.asarray((index >= first[:, None]) & (index < end[:, None]))


def _drawn_limbs(skeleton: Skeleton, rules: TargetRules) -> NDArray[np.intp]:
    """(L, 2): joints between which each field is drawn."""
    limbs = [list(limb) for limb in skeleton.fields]
    for start, end, drawn in rules.redirected:
        limb = [skeleton.index(start), skeleton.index(end)]
        if limb not in limbs:
            raise SkeletonError(f"skeleton {skeleton.name!r} has no field {start}-{end}; these rules redirect it")
        limbs[limbs.index(limb)] = [limb[0], skeleton.index(drawn)]
    return np.array(limbs, np.intp).reshape(-1, 2)


def _draw_fields(
    cells: Doubles, grid: tuple[int, int], limbs: NDArray[np.intp], width: float, rules: TargetRules
) -> Doubles:
    columns, rows = np.arange(grid[0]), np.arange(grid[1])[:, None]
    fields = np.zeros((len(limbs), 2, grid[1], grid[0]))
    counts = np.zeros((len(limbs), 1, grid[1], grid[0]))
    for person in cells:
        start, end = person[limbs[:, 0]], person[limbs[:, 1]]
        length = np.linalg.norm(end - start, axis=1)
        drawn = np.flatnonzero(length > 1e-7)  # False for NaN too
        start, end, length = start[drawn], end[drawn], length[drawn, None, None]
        unit = (end - start)[:, :, None, None] / length[:, None]
        x, y = columns - start[:, 0, None, None], rows - start[:, 1, None, None]
        sideways = np.abs(x * unit[:, 1] - y * unit[:, 0])
        inside = sideways <= width if rules.edge else sideways < width
        if rules.ends in ("half-cell", "joints"):
            more = 0.5 if rules.ends == "half-cell" else 0
            forward = x * unit[:, 0] + y * unit[:, 1]
            inside &= (forward >= -more) & (forward <= length + more)
        else:
            inside &= _box(start, end, width, grid, rounded=rules.ends == "box-rounded")
        if rules.overlap == "last":
            fields[drawn] = np.where(inside[:, None], unit, fields[drawn])
        else:
            fields[drawn] += unit * inside[:, None]
            counts[drawn] += inside[:, None]
    fields /= np.maximum(counts, 1)
    return fields.reshape(2 * len(limbs), grid[1], grid[0])


def _box(start: Doubles, end: Doubles, width: float, grid: tuple[int, int], *, rounded: bool) -> NDArray[np.bool_]:
    """(n, h, w): the cells of the grown boxes around limbs from `start` to `end` (n, 2), without the last ones."""
    low, high = np.minimum(start, end) - width, np.maximum(start, end) + width
    low, high = (np.round(low), np.round(high)) if rounded else (np.trunc(low), np.trunc(high))
    (left, top), (right, bottom) = low.T[:, :, None, None], high.T[:, :, None, None]
    columns, rows = np.arange(grid[0]), np.arange(grid[1])[:, None]
    return np.asarray((columns >= left) & (columns < right) & (rows >= top) & (rows < bottom))
