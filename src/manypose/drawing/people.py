"""People drawn on a picture: coloured limbs with a dark edge, so that they stand out from light and dark alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.drawing import labels, shapes, strokes
from manypose.errors import PeopleError
from manypose.images import check_rgb
from manypose.people import People

Picture = NDArray[np.uint8]
Show = Literal["skeleton", "joints"]

_OPACITY = 0.88  # enough for clear colours, and the person is still seen through


def draw_people(
    rgb: Picture,
    people: People,
    *,
    show: Show = "skeleton",
    joint: str | None = None,
    threshold: float = 0.0,
    boxes: bool = False,
    ids: bool = False,
    scores: bool = False,
) -> Picture:
    """A new picture with people and their parts (face, hands) drawn on it, in the colours of their skeletons.

    `rgb` is RGB uint8 (H, W, 3) and stays as it is; without people the result equals it. `show` is "skeleton" (limbs
    and joints) or "joints"; `joint` shows that one joint of everybody, of the body or of a part. Joints that score
    below `threshold` are left out, with their limbs. `boxes`, `ids` and `scores` (of the person) are added when asked
    for. Small people are drawn over large ones.

    Raises `PeopleError` for an unknown `show`, `SkeletonError` for a joint that nobody has, `ImageError` for `rgb`.
    """
    if show not in get_args(Show):
        raise PeopleError(f"show is {show!r}, expected one of {', '.join(get_args(Show))}")
    check_rgb(rgb)
    frame = (rgb.shape[1], rgb.shape[0])
    order = np.argsort(-strokes.measure(people, frame).extent, kind="stable").tolist()
    with_limbs = show == "skeleton" and joint is None
    scale = 1.0 if with_limbs else 1.5 if joint is None else 2.2
    edges, fills = [], []
    for group in _groups_with(people, joint):
        measures = strokes.measure(group, frame)
        joints = strokes.drawn_joints(group, threshold, joint)
        if with_limbs:
            limb_edges, limbs = strokes.limb_strokes(group, joints, measures, frame)
            edges.append(limb_edges)
            fills.append(limbs)
        fills += strokes.joint_strokes(group, joints, measures, frame, scale=scale)
    drawn = rgb.copy()
    for person in order:
        _paint_person(drawn, [*edges, *fills], person)
    if boxes or ids or scores:
        labels.draw_tags(drawn, people, order, boxes=boxes, ids=ids, scores=scores)
    return drawn


def _groups_with(people: People, joint: str | None) -> list[People]:
    """The body and its parts; with a joint, only the one that has it."""
    groups = [people, *people.parts.values()]
    if joint is None:
        return groups
    return [group for group in groups if joint in group.skeleton.joints][:1] or [people]


def _paint_person(drawn: Picture, layers: Sequence[strokes.Strokes], person: int) -> None:
    """Paint one person as one half-transparent whole, so that his crossing limbs do not shine through each other."""
    mine = [(layer, np.flatnonzero(layer.person == person)) for layer in layers]
    corners = np.concatenate([layer.polygons[rows].reshape(-1, 2) for layer, rows in mine])
    if len(corners) == 0:
        return
    height, width = drawn.shape[:2]
    left, top = np.maximum((corners.min(axis=0) >> shapes.SHIFT) - 1, 0).tolist()
    right, bottom = np.minimum((corners.max(axis=0) >> shapes.SHIFT) + 3, (width, height)).tolist()
    if left >= right or top >= bottom:
        return
    below = drawn[top:bottom, left:right]
    above = below.copy()
    origin = np.array([left, top], np.int32) << shapes.SHIFT
    for layer, rows in mine:
        for row, polygon in zip(rows.tolist(), layer.polygons[rows] - origin, strict=True):
            cv2.fillConvexPoly(above, polygon, layer.colours[row], cv2.LINE_AA, shapes.SHIFT)
    cv2.addWeighted(above, _OPACITY, below, 1 - _OPACITY, 0, dst=below)
