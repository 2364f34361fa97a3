"""PCKh: the share of MPII's labelled joints that were found within a part of the head's size.

Source: M. Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014; the
rules of the figures as leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/mpii.py, prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

HEAD_SHARE = 0.6  # of the diagonal of the head's box
LEFT_OUT = ("pelvis", "thorax")  # of Mean
_COUNTED = [k for k, name in enumerate(load_skeleton("mpii16").joints) if name not in LEFT_OUT]
GROUPS = {
    "Head": ("head_top",),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
THRESHOLDS = {"PCKh@0.5": 0.5, "PCKh@0.1": 0.1, "PCKh@0.11": np.arange(0, 0.51, 0.01)[11]}
"""The reference's row "Mean@0.1" takes element 11 of its list of thresholds, which is 0.11: it compares with ours so
called, and not with the true 0.10."""

# fmt: off
_MATLAB_NAMES = [
    "rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head", "rwri", "relb", "rsho", "lsho",
    "lelb", "lwri",
]
# fmt: on


@dataclass(frozen=True)
class HeadTruth:
    """P labelled people of MPII: places (P, 16, 2) in pixels (0: the middle of the first), `labelled` (P, 16), and the
    sizes of their heads (P,). `pictures` (P,) tell which of them stand in one picture."""

    name: str
    places: Floats
    labelled: Flags
    heads: Floats
    pictures: NDArray[np.intp]


def pckh(
    truth: Truth | HeadTruth,
    found: Sequence[Mapping[str, Any]] | NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """PCKh at 0.5 and 0.1 of the head, 0..100 as published, and the reference's row for 0.1, which is 0.11.

    `found` are places (P, 16, 2) in the order of the truth's people (pixels, 0: the middle of the first; NaN: not
    found), or rows of COCO's results format, of which each person has the one whose `annotation_id` is his, else the
    one of his picture with the most joints within half a head. The head's size is 0.6 x the diagonal of its box; a
    distance of just the threshold is a hit. The reference has 1-based places, as gt_valid.mat; `read_head_truth` and
    this function count from 0.

    Gives {"PCKh@0.5": {Mean, Mean_low, Mean_high, groups: {Head, Shoulder ...}, joints: {...}}, "PCKh@0.1": ...,
    "PCKh@0.11": ..., "people", "labelled": {joint: count}, "rows": what each of the three is}. A group is the plain
    mean of left and right; Mean is weighted by the labelled joints, without pelvis and thorax. Joints that nobody has
    labelled are left out, with their groups (the reference prints NaN). The interval is the percentile bootstrap of
    `resamples` draws of pictures from `seed`.

    Raises `DataError` for a truth without heads, and for places of other people; `FormatError` for rows at fault.
    """
    heads, errors = _head_errors(truth, found)
    rows = {
        name: _figures(heads, errors <= threshold, resamples=resamples, seed=seed)
        for name, threshold in THRESHOLDS.items()
    }
    names, counts = load_skeleton("mpii16").joints, heads.labelled.sum(axis=0)
    return {
        **rows,
        "people": len(heads.heads),
        "labelled": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "rows": {
            "PCKh@0.5": "within 0.5 of the head",
            "PCKh@0.1": "within 0.10 of the head",
            "PCKh@0.11": "within 0.11 of the head; tables of HRNet and Simple Baselines call this row Mean@0.1",
        },
    }


def mean_hits(truth: Truth, found: Sequence[Mapping[str, Any]]) -> dict[Any, tuple[int, int]]:
    """Of each picture the joints that count for Mean: how many are within 0.5 of the head, and how many are labelled.

    Raises as `pckh`.
    """
    heads, errors = _head_errors(truth, found)
    labelled = heads.labelled[:, _COUNTED]
    hits = labelled & (errors[:, _COUNTED] <= THRESHOLDS["PCKh@0.5"])
    sums = dict.fromkeys(truth.image_ids, (0, 0))
    for number in np.unique(heads.pictures):
        chosen = heads.pictures == number
        sums[truth.image_ids[number]] = int(hits[chosen].sum()), int(labelled[chosen].sum())
    return sums


def read_head_truth(file: Path) -> HeadTruth:
    """The people of a file like gt_valid.mat (mpii_gt_val.mat); needs scipy.

    It holds dataset_joints (16 names), jnt_missing (16, P), pos_gt_src (16, 2, P) and headboxes_src (2, 2, P), counted
    from 1. Which people stand in one picture it does not say, so each counts as one of his own in intervals.

    Raises `DataError` that names the file and the variable at fault.
    """
    from manypose.data.matlab import load_mat

    held = load_mat(file)
    missing = [key for key in ("jnt_missing", "pos_gt_src", "headboxes_src") if key not in held]
    if missing:
        raise DataError(f"{file}: has no {missing[0]}; expected a file like MPII's gt_valid.mat")
    names = [str(name) for name in np.ravel(held.get("dataset_joints", _MATLAB_NAMES))]
    if names != _MATLAB_NAMES:
        raise DataError(f"{file}: dataset_joints are {' '.join(names)}, expected {' '.join(_MATLAB_NAMES)}")
    try:
        absent = np.atleast_2d(np.asarray(held["jnt_missing"], np.float64).T).T
        places = np.asarray(held["pos_gt_src"], np.float64)
        boxes = np.asarray(held["headboxes_src"], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: its numbers are none: {error}") from None
    places = places[..., None] if places.ndim == 2 else places  # of a single person
    boxes = boxes[..., None] if boxes.ndim == 2 else boxes
    count = places.shape[-1]
    if places.shape != (16, 2, count) or absent.shape != (16, count) or boxes.shape != (2, 2, count):
        raise DataError(
            f"{file}: pos_gt_src, jnt_missing and headboxes_src have shapes {places.shape}, {absent.shape} and "
            f"{boxes.shape}, expected (16, 2, P), (16, P) and (2, 2, P)"
        )
    sizes = HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    labelled = (absent == 0).T
    _check_people(str(file), places.transpose(2, 0, 1), labelled, sizes)
    return HeadTruth(str(file), places.transpose(2, 0, 1) - 1, labelled, sizes, np.arange(count))


def head_truth(truth: Truth) -> HeadTruth:
    """The labelled people of MPII's own annotations (`head_box` of each row) who have a head's box.

    Raises `DataError` for a set of other joints, or without boxes of heads.
    """
    truth = read_truth(truth)
    if truth.joints != load_skeleton("mpii16").joints:
        raise DataError(f"{truth.name}: has not the joints of MPII, of which PCKh is defined")
    rows = _people(truth)
    if not rows:
        raise DataError(f"{truth.name}: nobody has the box of a head; give MPII's own .mat file, or gt_valid.mat")
    joints = np.stack([truth.keypoints(row) for row in rows])
    sizes = HEAD_SHARE * np.array([np.hypot(*row["head_box"][2:]) for row in rows])
    place = {image_id: n for n, image_id in enumerate(truth.image_ids)}
    labelled = joints[..., 2] > 0
    _check_people(truth.name, joints[..., :2], labelled, sizes)
    return HeadTruth(
        truth.name, joints[..., :2], labelled, sizes, np.array([place[row["image_id"]] for row in rows], np.intp)
    )


def _head_errors(
    truth: Truth | HeadTruth, found: Sequence[Mapping[str, Any]] | NDArray[Any]
) -> tuple[HeadTruth, Floats]:
    """The labelled people, and the distances (P, 16) of their joints in sizes of their heads; NaN: not found."""
    heads = head_truth(truth) if isinstance(truth, Truth) else truth
    if not isinstance(found, np.ndarray):
        if not isinstance(truth, Truth):
            raise DataError(f"{heads.name}: rows of results need MPII's own annotations; give places in its order")
        places = _assign(truth, heads, found)
    else:
        places = np.asarray(found, np.float64)
    if places.shape != heads.places.shape:
        raise DataError(f"{heads.name}: places of shape {places.shape}, expected {heads.places.shape}")
    if not heads.labelled.any():
        raise DataError(f"{heads.name}: nobody has a labelled joint")
    with np.errstate(invalid="ignore"):
        return heads, np.linalg.norm(places - heads.places, axis=2) / heads.heads[:, None]


def _people(truth: Truth) -> list[Mapping[str, Any]]:
    return [row for row in truth.annotations if row.get("head_box") and row["num_keypoints"] and not row["iscrowd"]]


def _check_people(name: str, places: Floats, labelled: Flags, sizes: Floats) -> None:
    faults = np.flatnonzero(~(np.isfinite(sizes) & (sizes > 0)))
    if len(faults):
        raise DataError(f"{name}: person {faults[0]}: the box of the head has no size")
    lost = np.argwhere(labelled & ~np.isfinite(places).all(axis=2))
    if len(lost):
        joint = load_skeleton("mpii16").joints[lost[0][1]]
        raise DataError(f"{name}: person {lost[0][0]}: {joint} is labelled, but its place is not a number")


def _figures(heads: HeadTruth, near: Flags, *, resamples: int, seed: int) -> dict[str, Any]:
    names = load_skeleton("mpii16").joints
    hits, labelled = (near & heads.labelled).astype(np.int64), heads.labelled.astype(np.int64)
    total = labelled.sum(axis=0)
    joints = {name: 100.0 * float(hits[:, k].sum()) / float(total[k]) for k, name in enumerate(names) if total[k]}
    groups = {
        group: float(np.mean([joints[name] for name in members]))
        for group, members in GROUPS.items()
        if all(name in joints for name in members)
    }
    _, rows = np.unique(heads.pictures, return_inverse=True)
    draws = draw_counts(int(rows.max()) + 1, resamples=resamples, seed=seed)
    of, out_of = (np.bincount(rows, table[:, _COUNTED].sum(axis=1)) for table in (hits, labelled))
    with np.errstate(invalid="ignore"):
        low, high = percentile_interval(100 * (draws @ of) / (draws @ out_of))
    mean = 100.0 * float(of.sum() / out_of.sum()) if out_of.any() else float("nan")
    return {"Mean": mean, "Mean_low": low, "Mean_high": high, "groups": groups, "joints": joints}


def _assign(truth: Truth, heads: HeadTruth, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """(P, 16, 2) the places of the result of each person: by `annotation_id`, else that with the most hits."""
    table = tabulate(rows, truth)
    people = _people(truth)
    places = np.full(heads.places.shape, np.nan)
    joints = np.where(table.joints[..., 2:] > 0, table.joints[..., :2], np.nan)
    named = {rows[n].get("annotation_id"): k for k, n in enumerate(table.rows) if "annotation_id" in rows[n]}
    for n, person in enumerate(people):
        if person.get("id") in named:
            places[n] = joints[named[person["id"]]]
            continue
        there = np.flatnonzero(table.pictures == heads.pictures[n])
        if not len(there) or named:
            continue
        with np.errstate(invalid="ignore"):
            near = np.linalg.norm(joints[there] - heads.places[n], axis=2) <= 0.5 * heads.heads[n]
        hits = (near & heads.labelled[n]).sum(axis=1)
        places[n] = joints[there[np.lexsort((-table.scores[there], -hits))[0]]]
    return places
