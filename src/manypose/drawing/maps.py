"""The maps of a network laid over its picture: heatmaps in the colours of the joints, fields coloured by direction."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.drawing import shapes
from manypose.drawing.colours import EDGE, NEUTRAL, direction_colours, joint_colours
from manypose.errors import SkeletonError
from manypose.images import check_rgb
from manypose.skeleton import Colour, Skeleton

Picture = NDArray[np.uint8]
Maps = NDArray[np.float32]
Show = Literal["heatmaps", "fields"]

_DIM = 0.5  # brightness of the picture below, which is shown in grey
_OPACITY = 0.9
_ARROWS_ACROSS = 60  # along the diagonal of a picture
_LEAST_FIELD = 0.3  # of what is shown as an arrow
_TILE = 4096  # pixels; OpenCV warps no picture with a side above 32,767


def draw_maps(
    rgb: Picture,
    heatmaps: Maps | None,
    fields: Maps | None,
    skeleton: Skeleton,
    *,
    show: Show = "heatmaps",
    joint: str | None = None,
    limb: tuple[str, str] | None = None,
    affine: NDArray[np.float64] | None = None,
    stride: float = 8,
) -> Picture:
    """A new picture, grey and dimmed, with heatmaps or part affinity fields over it.

    `rgb` is RGB uint8 (H, W, 3); `heatmaps` (K or more, h, w) and `fields` (2L, h, w) are those of one picture, in the
    order of the skeleton's joints and fields (limb k owns channels 2k, x, and 2k + 1, y). Only what is shown must be
    given. `joint` shows one heatmap, or the fields of the limbs that touch this joint; `limb` one field. `affine`
    (2, 3) takes points of `rgb` to the picture that the network saw (`images.fit` returns it), whose maps have this
    `stride`; without it the maps cover exactly `rgb`.

    Heatmaps have the colours of their joints. Fields have the colour of their direction, as the wheel in the corner
    says, and arrows.

    Raises `SkeletonError` for maps that do not fit the skeleton, or an unknown `show`, joint or limb, `ImageError` for
    `rgb`.
    """
    if show not in get_args(Show):
        raise SkeletonError(f"show is {show!r}, expected one of {', '.join(get_args(Show))}")
    check_rgb(rgb)
    frame = (rgb.shape[1], rgb.shape[0])
    if show == "heatmaps":
        maps = _check_maps(heatmaps, "heatmaps", len(skeleton), skeleton)
        chosen = list(range(len(skeleton))) if joint is None else [skeleton.index(joint)]
        colours = np.array(joint_colours(skeleton), np.float32)[chosen]
        return _overlay(rgb, *_mix(maps[chosen], colours), _to_cells(frame, maps, affine, stride))
    maps = _check_maps(fields, "fields", 2 * len(skeleton.fields), skeleton)
    vectors = _strongest(maps, _chosen_fields(skeleton, joint, limb))
    to_cells = _to_cells(frame, maps, affine, stride)
    strength = np.linalg.norm(vectors, axis=0).clip(0, 1)
    drawn = _overlay(rgb, direction_colours(vectors[0], vectors[1]), strength, to_cells)
    _draw_arrows(drawn, vectors, to_cells)
    _draw_wheel(drawn)
    return drawn


def _check_maps(maps: Maps | None, name: str, channels: int, skeleton: Skeleton) -> Maps:
    if maps is None or channels == 0:
        raise SkeletonError(f"{name} cannot be shown: {'none are given' if channels else 'the skeleton has none'}")
    enough = maps.ndim == 3 and (len(maps) >= channels if name == "heatmaps" else len(maps) == channels)
    if not enough or maps.size == 0:
        raise SkeletonError(
            f"{name} have shape {maps.shape}, expected ({channels}, h, w) for skeleton {skeleton.name!r}"
        )
    return np.nan_to_num(maps[:channels].astype(np.float32))


def _chosen_fields(skeleton: Skeleton, joint: str | None, limb: tuple[str, str] | None) -> list[int]:
    wanted = None if joint is None else skeleton.index(joint)
    ends = None if limb is None else {skeleton.index(name) for name in limb}
    chosen = [
        k
        for k, field in enumerate(skeleton.fields)
        if (wanted is None or wanted in field) and (ends is None or ends == set(field))
    ]
    if not chosen:
        asked = "-".join(limb) if limb is not None else joint
        raise SkeletonError(f"skeleton {skeleton.name!r} has no field {asked}")
    return chosen


def _to_cells(
    frame: tuple[int, int], maps: Maps, affine: NDArray[np.float64] | None, stride: float
) -> NDArray[np.float64]:
    """Affine (2, 3) from points of the picture to (fractional) cells of the maps."""
    if affine is None:
        return geometry.resize_affine(frame, (maps.shape[2], maps.shape[1]))
    cells = np.asarray(affine, np.float64).copy()
    cells[:, 2] -= (stride - 1) / 2
    return cells / stride


def _mix(maps: Maps, colours: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (h, w, 3) and strength (h, w) of several heatmaps together; the strongest prevails where they meet."""
    values = maps.clip(0, 1)
    weights = values**2
    mixed = np.einsum("khw,kc->hwc", weights, colours) / np.maximum(weights.sum(axis=0), 1e-9)[..., None]
    return mixed.astype(np.float32), values.max(axis=0)


def _strongest(maps: Maps, chosen: list[int]) -> Maps:
    """The longest vector (2, h, w) of the chosen fields in each cell."""
    vectors = maps.reshape(-1, 2, *maps.shape[1:])[chosen]
    best = (vectors**2).sum(axis=1).argmax(axis=0)
    rows, columns = np.indices(best.shape)
    return np.stack([vectors[best, 0, rows, columns], vectors[best, 1, rows, columns]])


def _overlay(
    rgb: Picture, colours: NDArray[np.float32], strength: NDArray[np.float32], to_cells: NDArray[np.float64]
) -> Picture:
    """The picture in dark grey, with a map of colours (h, w, 3) over it where `strength` (h, w) is above 0.

    The map is enlarged with its colours multiplied by their strength, so that weak cells do not colour strong ones.
    """
    alpha = (_OPACITY * strength)[..., None]
    cells = np.rint(np.concatenate([colours * alpha, 255 * alpha], axis=2)).astype(np.uint8)
    grey = cv2.convertScaleAbs(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), alpha=_DIM)
    drawn = np.empty_like(rgb)
    for top in range(0, rgb.shape[0], _TILE):
        for left in range(0, rgb.shape[1], _TILE):
            tile = grey[top : top + _TILE, left : left + _TILE]
            matrix = np.column_stack([to_cells[:, :2], to_cells @ [left, top, 1]])
            large = _enlarge(cells, matrix, tile.shape)
            below = cv2.multiply(tile, 255 - large[..., 3], scale=1 / 255)
            above = np.ascontiguousarray(large[..., :3])
            drawn[top : top + _TILE, left : left + _TILE] = cv2.add(cv2.cvtColor(below, cv2.COLOR_GRAY2RGB), above)
    return drawn


def _enlarge(cells: Picture, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Picture:
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (shape[1], shape[0])
    return cv2.warpAffine(cells, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _draw_arrows(drawn: Picture, vectors: Maps, to_cells: NDArray[np.float64]) -> None:
    """Arrows on an even grid of the picture, as long as the field is strong."""
    height, width = drawn.shape[:2]
    step = max(9.0, float(np.hypot(width, height)) / _ARROWS_ACROSS)
    columns, rows = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    places = np.stack([columns, rows], axis=-1)
    if places.size == 0:  # a picture too small for any arrow
        return
    cells = geometry.transform_points(places, to_cells)
    x, y = np.ascontiguousarray(cells[..., 0]), np.ascontiguousarray(cells[..., 1])
    here = np.stack([cv2.remap(v, x, y, cv2.INTER_LINEAR) for v in vectors], axis=-1).astype(np.float64)
    strong = np.linalg.norm(here, axis=-1) >= _LEAST_FIELD
    places, here = places[strong], here[strong]
    here /= np.maximum(np.linalg.norm(here, axis=1, keepdims=True), 1)
    tails, tips = places - 0.42 * step * here, places + 0.42 * step * here
    half = np.full(len(places), max(0.7, 0.035 * step))
    across = np.stack([-here[:, 1], here[:, 0]], axis=1)
    necks = tips - 0.45 * (tips - tails)
    heads = shapes.to_fixed(np.stack([tips, necks + 0.2 * step * across, necks - 0.2 * step * across], axis=1))
    for shaft, head in zip(shapes.limb_polygons(tails, necks, half), heads, strict=True):
        shapes.fill(drawn, shaft, NEUTRAL)
        shapes.fill(drawn, head, NEUTRAL)


def _draw_wheel(drawn: Picture) -> None:
    """The colour of each direction, in the lower right corner."""
    height, width = drawn.shape[:2]
    radius = float(min(max(0.045 * np.hypot(width, height), 10), min(height, width) / 4))
    if radius < 8:  # a picture too small for it
        return
    centre = np.array([width - 1.5 * radius, height - 1.5 * radius])
    _fill_disc(drawn, centre, radius * 1.08, EDGE)
    left, top = np.floor(centre - radius).astype(int)
    right, bottom = np.ceil(centre + radius).astype(int) + 1
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    x, y = columns - np.float32(centre[0]), rows - np.float32(centre[1])
    distance = np.hypot(x, y)
    cover = np.clip(radius - distance, 0, 1) * np.clip(distance - 0.45 * radius, 0, 1)
    patch = drawn[top:bottom, left:right]
    wheel = direction_colours(x, y)
    patch[:] = np.rint(patch + cover[..., None] * (wheel - patch)).astype(np.uint8)


def _fill_disc(drawn: Picture, centre: NDArray[np.float64], radius: float, colour: Colour) -> None:
    shapes.fill(drawn, shapes.disc_polygons(centre[None], np.array([radius]))[0], colour)
