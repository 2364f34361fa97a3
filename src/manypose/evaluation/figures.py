"""All figures that a set allows, of the rows that were found in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from manypose.errors import DataError
from manypose.evaluation.breakdown import breakdown
from manypose.evaluation.calibration import calibration_figures
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.error_types import analyse_errors
from manypose.evaluation.nme import FACE_POINTS, box_pck, normalised_mean_error
from manypose.evaluation.pck import pck
from manypose.evaluation.pckh import pckh
from manypose.evaluation.results_file import row_joints
from manypose.evaluation.special_ap import crowdpose_average_precision, whole_body_average_precision
from manypose.evaluation.truth import Truth
from manypose.people import People

TORSO = {"left_shoulder", "right_shoulder", "left_hip", "right_hip"}
HAND_POINTS = 21
WHOLE_BODY = 133

Row = Mapping[str, Any]
Measure = Callable[[Truth, Sequence[Row]], Any]


def measure(truth: Truth, rows: Sequence[Row]) -> dict[str, Any]:
    """The figures by name, each as its function gives it; those that the set does not allow are left out.

    What a set should allow but does not (areas are missing, nobody has a head's box) is in "not_measured", with the
    reason. Raises `FormatError` for rows that do not fit the truth.
    """
    figures: dict[str, Any] = {"people_found": len(rows)}
    reasons: dict[str, str] = {}
    if truth.sigmas is None:
        reasons["average_precision"] = (
            "nobody has said how exactly these joints can be placed: put `sigmas` into the category of the labels"
        )
    for name, measured in _measures(truth):
        try:
            figures[name] = measured(truth, rows)
        except DataError as error:
            reasons[name] = str(error)
    return figures | ({"not_measured": reasons} if reasons else {})


def _measures(truth: Truth) -> Iterator[tuple[str, Measure]]:
    """Name and function of what can be measured on a set of these joints."""
    if truth.sigmas is not None:
        yield "average_precision", keypoint_average_precision
        if len(truth.joints) == WHOLE_BODY:
            yield "average_precision_of_parts", whole_body_average_precision
        if truth.kind == "crowdpose":
            yield "average_precision_by_crowding", crowdpose_average_precision
    if set(truth.joints) >= TORSO:
        yield "pck", lambda labelled, rows: pck(labelled, people_of(labelled, rows))
    if any("head_box" in row for row in truth.annotations):
        yield "pckh", pckh
    if len(truth.joints) in FACE_POINTS:
        yield "nme", normalised_mean_error
    if len(truth.joints) == HAND_POINTS:
        yield "box_pck", box_pck
    if truth.sigmas is not None:
        yield "by", breakdown
        yield "error_types", analyse_errors
        yield "calibration", calibration_figures


def people_of(truth: Truth, rows: Sequence[Row]) -> dict[Any, People]:
    """The people of each picture that has any, from rows of results with the joints of the truth."""
    members: dict[Any, list[Row]] = {}
    for row in rows:
        members.setdefault(row["image_id"], []).append(row)
    people = {}
    for image_id, own in members.items():
        joints = np.array([row_joints(row, len(truth.joints)) for row in own], np.float64)
        joints = joints.reshape(len(own), len(truth.joints), 3)
        people[image_id] = People.build(
            np.where(joints[..., 2:] > 0, joints[..., :2], np.nan),
            joints[..., 2],
            skeleton=truth.skeleton,
            person_scores=[row["score"] for row in own],
        )
    return people
