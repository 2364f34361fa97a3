"""Pixel conventions, affines, boxes and object keypoint similarity: each formula once.

The centre of the top-left pixel is (0, 0). Cell i of a map with stride s covers the pixels s*i .. s*i + s - 1, so its
centre is s*i + (s - 1)/2. All resizing is "half-pixel" resizing, as cv2.resize and ONNX do it. Points are (x, y),
sizes (width, height), affines 2x3 arrays that act on column vectors (x, y, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]


def cell_to_pixel(cells: Array | float, stride: float) -> Array | float:
    """Centre in pixels of the (fractional) cell index of a map with this stride."""
    return cells * stride + (stride - 1) / 2


def pixel_to_cell(pixels: Array | float, stride: float) -> Array | float:
    """Fractional cell index of a place in pixels; the inverse of `cell_to_pixel`."""
    return (pixels - (stride - 1) / 2) / stride


def resize_affine(size: tuple[int, int], new_size: tuple[int, int]) -> NDArray[np.float64]:
    """Affine (2, 3) that takes points of a picture of `size` to the same picture resized to `new_size` (both w, h)."""
    scale_x, scale_y = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2]])


def crop_affine(
    centre: tuple[float, float],
    scale: float,
    degrees: float,
    new_size: tuple[int, int],
    *,
    mirror: bool = False,
) -> NDArray[np.float64]:
    """Affine (2, 3) that brings `centre` to the middle of a crop of `new_size` (w, h).

    The content is scaled by `scale` and turned by `degrees` (clockwise on the screen); `mirror` flips it left to right
    afterwards.
    """
    radians = np.deg2rad(degrees)
    cosine, sine = scale * np.cos(radians), scale * np.sin(radians)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    if mirror:
        linear[0] = -linear[0]
    middle = (np.array(new_size, np.float64) - 1) / 2
    return np.column_stack([linear, middle - linear @ np.asarray(centre, np.float64)])


def box_affine(
    box: ArrayLike, size: tuple[int, int], *, padding: float = 1.25, degrees: float = 0.0, udp: bool = False
) -> NDArray[np.float64]:
    """Affine (2, 3) that brings the surroundings of a box into the crop, of `size` (w, h), of a top-down network.

    The box (x1 y1 x2 y2, as in `People.boxes`) grows on its shorter side to the shape of the crop, then by `padding`
    around its centre; the content is turned by `degrees` (clockwise on the screen). Edges of pixels are taken for their
    places, as all networks of the HRNet family were trained: the middle of the box, half a pixel to its right and
    below, comes to (w/2, h/2). With `udp` that comes to ((w-1)/2, (h-1)/2), and the size of the box to that of the crop
    less one pixel.

    Source: HRNet's get_affine_transform; J. Huang et al., "The Devil is in the Details", CVPR 2020 (udp).
    """
    left, top, right, bottom = np.asarray(box, np.float64) + 0.5  # files count along the outer edges
    width, height = right - left, bottom - top
    if width < height * size[0] / size[1]:
        width = height * size[0] / size[1]
    else:
        height = width * size[1] / size[0]
    target = np.array(size, np.float64) - (1 if udp else 0)
    factors = target / (np.maximum((width, height), 1e-6) * padding)
    radians = np.deg2rad(degrees)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    linear = factors[:, None] * turn
    return np.column_stack([linear, target / 2 - linear @ [(left + right) / 2, (top + bottom) / 2]])


def invert_affine(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine (2, 3) that undoes `matrix`."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def compose_affines(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine (2, 3) that does `before` and then `after`."""
    return np.column_stack([after[:, :2] @ before[:, :2], after[:, :2] @ before[:, 2] + after[:, 2]])


def box_corners(boxes: Array) -> Array:
    """Corners (N, 4, 2) of boxes (N, 4), in order around each."""
    return boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def transform_points(points: ArrayLike, matrix: NDArray[np.float64]) -> Array:
    """Points (..., 2) under an affine (2, 3), as float32; NaN stays NaN."""
    points = np.asarray(points, np.float64)
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def keypoint_boxes(keypoints: Array) -> Array:
    """Smallest boxes (N, 4), x1 y1 x2 y2, around the joints that are there; NaN for a row without any.

    `keypoints` is (N, K, 2) with NaN for absent joints.
    """
    there = ~np.isnan(keypoints[..., :1])
    low = np.where(there, keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(there, keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan).astype(np.float32)


def keypoint_similarity(keypoints: Array, truth: Array, areas: ArrayLike, sigmas: ArrayLike) -> Array:
    """Object keypoint similarity (N, M), 0..1, of N people against M true ones (COCO's OKS).

    `keypoints` (N, K, 2) and `truth` (M, K, 2) hold NaN for absent joints; joints absent from the truth do not count,
    joints absent only from the prediction count as 0. `areas` (M,) are in square pixels.

    Source: COCO keypoint evaluation, exp(-d^2 / (2 * area * (2 * sigma)^2)).
    """
    squared = ((keypoints[:, None] - truth[None]) ** 2).sum(axis=-1)
    spread = 2 * np.asarray(areas, np.float64)[None, :, None] * (2 * np.asarray(sigmas)) ** 2 + np.spacing(1)
    similar = np.where(np.isnan(squared), 0.0, np.exp(-squared / spread))
    labelled = ~np.isnan(truth[..., 0])[None]
    similarity = (similar * labelled).sum(axis=-1) / np.maximum(labelled.sum(axis=-1), 1)
    return np.asarray(similarity, np.float32)
