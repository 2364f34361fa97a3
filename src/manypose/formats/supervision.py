"""`supervision.KeyPoints`, for its painters, trackers and zones. Needs it: pip install 'manypose[supervision]'.

supervision (0.29 and newer) has no missing joints: it passes over a joint that is not `visible`, and older code over
one at (0, 0). So an absent joint is written with all three: (0, 0), confidence 0, not visible. NaN is not written:
its older painters hand it to OpenCV. Boxes and ids travel in `data`, as "box" (x1, y1, x2, y2) and "tracker_id".
supervision counts the ends of edges from 1: see `edges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from manypose.errors import FormatError, require
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    import supervision


def to_keypoints(people: People) -> supervision.KeyPoints:
    """The people as `KeyPoints`, all of the class 0, "person"; parts, states and the picture size do not go along.

    Raises `MissingExtraError` without supervision.
    """
    sv = require("supervision", extra="supervision")
    if not len(people):
        empty: supervision.KeyPoints = sv.KeyPoints.empty()
        return empty
    data = {"class_name": np.full(len(people), "person"), "box": people.boxes.copy()}
    if people.ids is not None:
        data["tracker_id"] = people.ids.copy()
    key_points: supervision.KeyPoints = sv.KeyPoints(
        xy=np.nan_to_num(people.keypoints, nan=0.0),
        class_id=np.zeros(len(people), np.int64),
        keypoint_confidence=people.scores.copy(),
        detection_confidence=people.person_scores.copy(),
        visible=people.visible,
        data=data,
    )
    return key_points


def from_keypoints(
    key_points: supervision.KeyPoints, *, skeleton: Skeleton | str, image_size: tuple[int, int] | None = None
) -> People:
    """People from `KeyPoints` with the joints of `skeleton`, in its order.

    A joint is absent when it is not visible, not finite, or at (0, 0) without confidence. Without confidences every
    other joint scores 1. Boxes and ids are taken from `data`, where `to_keypoints` puts them.
    Raises `FormatError` when there are not as many joints as the skeleton has.
    """
    target = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    if not len(key_points):
        return People.empty(target, image_size)
    xy = np.asarray(key_points.xy, np.float32)[..., :2]
    if xy.shape[1] != len(target):
        raise FormatError(f"the KeyPoints have {xy.shape[1]} joints, expected {len(target)} for {target.name!r}")
    confidence = key_points.keypoint_confidence
    there = np.isfinite(xy).all(axis=2)
    there &= (xy != 0).any(axis=2) | (False if confidence is None else np.asarray(confidence) > 0)
    if key_points.visible is not None:
        there &= key_points.visible
    return People.build(
        np.where(there[..., None], xy, np.nan),
        confidence,
        skeleton=target,
        person_scores=key_points.detection_confidence,
        boxes=key_points.data.get("box"),
        ids=key_points.data.get("tracker_id"),
        image_size=image_size,
    )


def edges(skeleton: Skeleton) -> list[tuple[int, int]]:
    """The limbs of a skeleton as supervision's `EdgeAnnotator(edges=...)` wants them, counted from 1."""
    return [(a + 1, b + 1) for a, b in skeleton.limbs]
