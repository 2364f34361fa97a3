"""Object keypoint similarity as COCO measures it, to the last bit: 1 where all joints are in their places, 0 far off.

Source: T.-Y. Lin et al., COCO's keypoint evaluation; pycocotools, COCOeval.computeOks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CHUNK = 2**22  # joints of pairs that are measured at once


def object_keypoint_similarity(
    found: ArrayLike, truth: ArrayLike, areas: ArrayLike, boxes: ArrayLike, sigmas: ArrayLike
) -> Floats:
    """(D, G) the similarity of each person found with each labelled one.

    `found` (D, K, 2 or more) holds x and y in pixels, `truth` (G, K, 3) x, y and flag; joints with a flag over 0 count,
    and a joint not found is where its numbers say (COCO: 0, 0). `areas` (G,) are in square pixels, `boxes` (G, 4) x, y,
    width, height, `sigmas` (K,). For somebody without labelled joints it is how far the joints lie outside of his box,
    grown by its own size on each side.
    """
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    rows, columns = np.divmod(np.arange(len(found) * len(truth)), max(len(truth), 1))
    values = similarity_of_pairs(found, truth, areas, boxes, sigmas, rows, columns)
    return values.reshape(len(found), len(truth))


def similarity_of_pairs(
    found: ArrayLike,
    truth: ArrayLike,
    areas: ArrayLike,
    boxes: ArrayLike,
    sigmas: ArrayLike,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> Floats:
    """(P,) the similarity of the person found `rows[p]` with the labelled person `columns[p]`, for each pair p."""
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    # Each operation in the order of pycocotools, so that the last bit is the same.
    variances = (np.asarray(sigmas, np.float64) * 2) ** 2
    extents = np.asarray(areas, np.float64) + np.spacing(1)
    edges = np.asarray(boxes, np.float64).reshape(-1, 4)
    labelled = truth[..., 2] > 0
    counts = labelled.sum(axis=1)
    values = np.zeros(len(rows))
    for count in np.unique(counts[columns]):
        members = np.flatnonzero(counts[columns] == count)
        for start in range(0, len(members), step := max(1, _CHUNK // max(len(variances), 1))):
            chosen = members[start : start + step]
            place, of = found[rows[chosen]], columns[chosen]
            if count:
                dx, dy = place[..., 0] - truth[of, :, 0], place[..., 1] - truth[of, :, 1]
            else:
                dx, dy = (_outside(place[..., axis], edges[of], axis) for axis in (0, 1))
            errors = (dx**2 + dy**2) / variances / extents[of, None] / 2
            if count:  # rows of equal length, next to each other, are summed as a row alone is
                errors = errors[labelled[of]].reshape(len(chosen), count)
            values[chosen] = np.sum(np.exp(-errors), axis=1) / errors.shape[1]
    return values


def joint_errors(found: ArrayLike, truth: ArrayLike, areas: ArrayLike, sigmas: ArrayLike) -> Floats:
    """(N, K) distances between persons found (N, K, 2 or more) and labelled (N, K, 3), in units of OKS.

    One unit is 2 sigma times the square root of the area, at which a joint's similarity is exp(-1/2) = 0.61; NaN where
    the joint is not labelled, or its place not finite.
    """
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    scale = np.sqrt(np.asarray(areas, np.float64) + np.spacing(1))[:, None] * np.asarray(sigmas, np.float64) * 2
    distances = np.hypot(found[..., 0] - truth[..., 0], found[..., 1] - truth[..., 1]) / scale
    return np.where((truth[..., 2] > 0) & np.isfinite(distances), distances, np.nan)


def _outside(places: Floats, boxes: Floats, axis: int) -> Floats:
    """How far places lie outside of boxes three times as large, on one axis."""
    first, extent = boxes[:, axis, None], boxes[:, axis + 2, None]
    low, high = first - extent, first + extent * 2
    return np.maximum(0, low - places) + np.maximum(0, places - high)
