"""Average precision as COCO-WholeBody and CrowdPose have it: by parts of the body, and by how crowded pictures are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from manypose.errors import DataError, FormatError
from manypose.evaluation.coco_ap import choose_sigmas, keypoint_average_precision, measure
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

# Part, its joints of the 133, and what the score of its own is called in rows of results.
PARTS = {
    "body": (slice(0, 17), "score"),
    "foot": (slice(17, 23), "foot_score"),
    "face": (slice(23, 91), "face_score"),
    "left_hand": (slice(91, 112), "lefthand_score"),
    "right_hand": (slice(112, 133), "righthand_score"),
    "whole": (slice(0, 133), "wholebody_score"),
}
CROWDING = {"easy": (-np.inf, 0.2), "medium": (0.2, 0.8), "hard": (0.8, np.inf)}


def whole_body_average_precision(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    image_ids: Sequence[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """The ten figures with their intervals for each of `PARTS` of COCO-WholeBody, each measured on its own.

    Rows hold 133 joints in `keypoints`, or the five lists of the official layout; a part's own score counts for it
    where all rows have one, else `score`. Areas and boxes are always those of the person (found: of the box, else of
    the body's joints). People without labelled joints of a part are ignored for it, and results without any joint of it
    (score over 0) are not there. The published "hand" is one number; how it is made of the two hands is documented
    nowhere, so none is made here. A part that nobody has labelled is left out.

    Raises `DataError` for a truth of other joints, otherwise as `keypoint_average_precision`.
    Source: jin-s13/COCO-WholeBody, evaluation_wholebody.py and myeval_*.py; jin-s13/xtcocoapi, xtcocotools/coco.py.
    """
    truth = read_truth(truth, image_ids=image_ids)
    if truth.joints != load_skeleton("wholebody133").joints:
        raise DataError(f"{truth.name}: has {len(truth.joints)} joints, and not the 133 of COCO-WholeBody")
    sigmas = choose_sigmas(truth)
    table = tabulate(results, truth)
    body = dataclasses.replace(table, joints=table.joints[:, PARTS["body"][0]])
    areas = body.areas  # of every part, as xtcocotools loads results
    figures: dict[str, dict[str, float]] = {}
    for part, (joints, key) in PARTS.items():
        rows = [results[n] for n in table.rows]
        own = all(isinstance(row.get(key), (int, float)) for row in rows)
        scores = np.array([row[key] for row in rows], np.float64) if own else table.scores
        if not np.isfinite(scores).all():
            raise FormatError(f"results: a {key} is not finite")
        try:
            measured = measure(
                truth, dataclasses.replace(table, scores=scores), sigmas[joints], joints=joints, areas=areas
            )
        except DataError:
            if not _labelled_joints(truth, joints):
                continue
            raise
        figures[part] = measured.figures() | measured.intervals(resamples=resamples, seed=seed) | measured.counts()
    if not figures:
        raise DataError(f"{truth.name}: no person with labelled joints in the {len(truth.image_ids)} pictures")
    return figures


def crowdpose_average_precision(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    image_ids: Sequence[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The ten figures, and AP_easy, AP_medium and AP_hard with their intervals: pictures by their crowdIndex.

    Easy is below 0.2, medium below 0.8, hard the rest. Areas are 0.53 x box, and who has no labelled joint but head and
    neck (num_keypoints 0) is ignored. The original rounds the three to four places; here nothing is rounded. One of
    which there are no people is left out.

    Raises `DataError` for pictures without a crowdIndex, otherwise as `keypoint_average_precision`.
    Source: Jeff-sjtu/CrowdPose, crowdpose-api, crowdposetools/cocoeval.py.
    """
    truth = read_truth(truth, image_ids=image_ids)
    indices: dict[Any, float] = {}
    for row in truth.images:
        index = row.get("crowdIndex")
        if not isinstance(index, (int, float)):
            raise DataError(f"{truth.name}: image {row['id']!r} has no crowdIndex; expected a CrowdPose file")
        indices[row["id"]] = float(index)
    # Boxes of results do not count: CrowdPose sizes people found by their joints.
    rows = [{key: value for key, value in row.items() if key != "bbox"} for row in results]
    figures = keypoint_average_precision(truth, rows, resamples=resamples, seed=seed)
    for name, (low, high) in CROWDING.items():
        chosen = [image_id for image_id in truth.image_ids if low <= indices[image_id] < high]
        some = read_truth(truth, image_ids=chosen) if chosen else None
        if some is None or not some.has_people:
            continue
        part = keypoint_average_precision(some, rows, resamples=resamples, seed=seed)
        figures |= {f"AP_{name}{end}": part[f"AP{end}"] for end in ("", "_low", "_high")}
        figures[f"pictures_{name}"] = part["pictures"]
    return figures


def _labelled_joints(truth: Truth, joints: slice) -> bool:
    """Whether anybody who is no crowd has labelled joints of a part."""
    rows = [n for n, row in enumerate(truth.annotations) if not row["iscrowd"]]
    return bool((truth.all_keypoints()[rows][:, joints, 2] > 0).any())
