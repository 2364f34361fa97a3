"""Accuracy of faces and hands: NME in parts of the distance of the eyes, PCK in parts of the landmarks' box.

Sources: C. Sagonas et al., "300 Faces in-the-Wild: The First Facial Landmark Localization Challenge", ICCVW 2013 (the
outer corners of the eyes); T. Simon et al., "Hand Keypoint Detection in Single Images using Multiview Bootstrapping",
CVPR 2017 (PCK of hands).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.results_file import ResultTable, tabulate
from manypose.evaluation.truth import Truth, read_truth

Floats = NDArray[np.float64]

EYE_CORNERS = (36, 45)  # outer ones, of the 68 points of 300-W
JAW = 17  # the first so many points
FAILURE = 0.1  # a face with a larger mean error counts as failed
FACE_POINTS = (68, 70)


def normalised_mean_error(
    truth: Truth, results: Sequence[Mapping[str, Any]], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """NME of faces with 68 points (or 70, with pupils): the mean error in parts of the outer eye corners' distance.

    Each labelled face is compared with the found one of its picture whose error is least; each of its labelled points
    counts the same, then each face. A point that was not found stands in the middle of those found. Faces without both
    eye corners are left out; faces of which nothing was found are counted as `missed`, and are failures, but have no
    error.

    Returns NME with NME_low and NME_high (percentile bootstrap over pictures), NME_51 (without the jaw), failures (the
    share of faces over 0.1, missed ones among them), faces, missed, left_out. NaN where no face was found.

    Raises `DataError` for a truth of other points, `FormatError` for rows at fault.
    """
    truth = read_truth(truth)
    faces = face_errors(truth, tabulate(results, truth))
    labelled = [(image, errors) for image, errors in faces if errors is not None]
    whole = np.array([np.nanmean(errors) for _, errors in labelled])
    inner = np.array([np.nanmean(errors[JAW:]) for _, errors in labelled if not np.isnan(errors[JAW:]).all()])
    missed = len(faces) - len(labelled)
    low, high = _interval([image for image, _ in labelled], whole, np.ones(len(whole)), resamples, seed)
    return {
        "NME": float(whole.mean()) if len(whole) else float("nan"),
        "NME_low": low,
        "NME_high": high,
        "NME_51": float(inner.mean()) if len(inner) else float("nan"),
        "failures": (int((whole > FAILURE).sum()) + missed) / len(faces),
        "faces": len(faces),
        "missed": missed,
        "left_out": len(_people(truth)) - len(faces),
    }


def face_errors(truth: Truth, table: ResultTable) -> list[tuple[Any, Floats | None]]:
    """Of each labelled face with eye corners its picture and the errors (K,) of its points, None where it was missed.

    As in `normalised_mean_error`, which raises the same; NaN where a point is not labelled.
    """
    if len(truth.joints) not in FACE_POINTS:
        raise DataError(f"{truth.name}: has {len(truth.joints)} joints; NME is measured on faces with 68 or 70 points")
    faces: list[tuple[Any, Floats | None]] = []
    for row, size in _sizes(truth, _eye_distance):
        errors = _least_errors(truth, table, row)
        faces.append((row["image_id"], None if errors is None else errors / size))
    return faces


@dataclass(frozen=True)
class BoxHits:
    """P labelled people: their pictures, and of their joints (P, K) which are labelled, which were found near enough
    (`hits`), and the `errors` in parts of the longer side of the labelled joints' box, NaN where there are none."""

    images: list[Any]
    labelled: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    errors: Floats


def box_hits(truth: Truth, results: Sequence[Mapping[str, Any]], *, threshold: float = 0.2) -> BoxHits:
    """What `box_pck` counts, person by person; raises as that."""
    table = tabulate(results, truth)
    people = _sizes(truth, _longer_side)
    labelled, hits, errors = [], [], []
    for row, size in people:
        joints = truth.keypoints(row)
        distances = _distances(table, truth, row) / size
        near = distances <= threshold
        best = np.lexsort((-table.scores[_rows(table, truth, row)], -near.sum(axis=1)))[:1]
        labelled.append(joints[:, 2] > 0)
        hits.append(near[best[0]] if len(best) else np.zeros(len(joints), bool))
        errors.append(distances[best[0]] if len(best) else np.full(len(joints), np.nan))
    return BoxHits([row["image_id"] for row, _ in people], np.array(labelled), np.array(hits), np.array(errors))


def box_pck(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    threshold: float = 0.2,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """PCK of hands (or any joints): the share of the labelled ones within `threshold` of their box's longer side.

    The box is that of the labelled joints themselves. Each labelled hand is compared with the found one of its picture
    with the most hits; a joint not found is a miss. Hands whose joints lie in one place are left out.

    Returns PCK with PCK_low and PCK_high (percentile bootstrap over pictures), joints by name, error (the mean of those
    found, in parts of the longer side), labelled, pictures, left_out. Raises as `normalised_mean_error`.
    """
    truth = read_truth(truth)
    counted = box_hits(truth, results, threshold=threshold)
    images, there, found, distance = counted.images, counted.labelled, counted.hits, counted.errors
    low, high = _interval(images, found.sum(axis=1), there.sum(axis=1), resamples, seed)
    return {
        "PCK": float(found.sum() / there.sum()),
        "PCK_low": low,
        "PCK_high": high,
        "joints": {
            name: float(found[:, k].sum() / there[:, k].sum())
            for k, name in enumerate(truth.joints)
            if there[:, k].any()
        },
        "error": float("nan") if np.isnan(distance).all() else float(np.nanmean(distance)),
        "labelled": int(there.sum()),
        "pictures": len(set(images)),
        "left_out": len(_people(truth)) - len(images),
    }


def _people(truth: Truth) -> list[Mapping[str, Any]]:
    return [row for row in truth.annotations if row["num_keypoints"] and not row["iscrowd"]]


def _sizes(truth: Truth, size_of: Any) -> list[tuple[Mapping[str, Any], float]]:
    """The labelled people with the length that their errors are measured in; those without one are left out."""
    sized = [(row, float(size_of(truth.keypoints(row)))) for row in _people(truth)]
    kept = [(row, size) for row, size in sized if size > 0]
    if not kept:
        raise DataError(f"{truth.name}: nobody has the labelled joints that errors are measured by")
    return kept


def _eye_distance(joints: Floats) -> float:
    right, left = joints[list(EYE_CORNERS)]
    return float(np.hypot(*(right - left)[:2])) if right[2] > 0 and left[2] > 0 else 0.0


def _longer_side(joints: Floats) -> float:
    places = joints[joints[:, 2] > 0, :2]
    return float(np.ptp(places, axis=0).max()) if len(places) else 0.0


def _rows(table: ResultTable, truth: Truth, row: Mapping[str, Any]) -> NDArray[np.intp]:
    """Who was found in the picture of an annotation, of its category."""
    picture = truth.image_ids.index(row["image_id"])
    category = truth.category_ids.index(row["category_id"])
    return np.flatnonzero((table.pictures == picture) & (table.categories == category))


def _distances(table: ResultTable, truth: Truth, row: Mapping[str, Any]) -> Floats:
    """(D, K) pixels from the labelled joints to those of each found one; NaN: not labelled, or not found."""
    joints, found = truth.keypoints(row), table.joints[_rows(table, truth, row)]
    distances = np.linalg.norm(found[..., :2] - joints[:, :2], axis=2)
    return np.where((joints[:, 2] > 0) & (found[..., 2] > 0), distances, np.nan)


def _least_errors(truth: Truth, table: ResultTable, row: Mapping[str, Any]) -> Floats | None:
    """(K,) pixels of the found face that is nearest; NaN where not labelled; None where nothing was found."""
    joints, found = truth.keypoints(row), table.joints[_rows(table, truth, row)]
    found = found[(found[..., 2] > 0).any(axis=1)]
    if not len(found):
        return None
    middle = np.nanmean(np.where(found[..., 2:] > 0, found[..., :2], np.nan), axis=1, keepdims=True)
    places = np.where(found[..., 2:] > 0, found[..., :2], middle)
    errors = np.where(joints[:, 2] > 0, np.linalg.norm(places - joints[:, :2], axis=2), np.nan)
    return np.asarray(errors[np.argmin(np.nanmean(errors, axis=1))])


def _interval(
    images: Sequence[Any], sums: NDArray[Any], weights: NDArray[Any], resamples: int, seed: int
) -> tuple[float, float]:
    """The interval of sums over weights, drawn by picture."""
    if not len(images):
        return float("nan"), float("nan")
    number = {image: n for n, image in enumerate(dict.fromkeys(images))}
    rows = np.array([number[image] for image in images])
    draws = draw_counts(len(number), resamples=resamples, seed=seed)
    return percentile_interval((draws @ np.bincount(rows, sums)) / (draws @ np.bincount(rows, weights)))
