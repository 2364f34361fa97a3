"""From what a file says of its people to a `LabelledPicture`: checked numbers, joints by name, boxes, areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.joint_names import joint_sources, map_people
from manypose.data.pictures import LabelledPicture, MaskFiles, Segment
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]
HALF_PIXEL = 0.5  # boxes and polygons of files lie along the edges of pixels, ours run through their middles
AREA_OF_BOX = 0.53  # CrowdPose's share of a box that a person covers


@dataclass(frozen=True)
class Person:
    """A labelled person as a file has him.

    joints   (k, 3) x, y in pixels and flag: 0 not labelled, 1 labelled though hidden, 2 visible
    box      x1 y1 x2 y2 in pixels
    unsure   (k,) joints that the file leaves open for this person, or None
    """

    joints: NDArray[np.float64]
    box: Array
    area: float = np.nan
    segment: Segment = None
    id: int = -1
    head_box: Array | None = None
    unsure: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Unlabelled:
    """Someone without labels, or a crowd: an area to ignore."""

    box: Array
    segment: Segment = None


def make_picture(
    place: tuple[Path, str],
    size: tuple[int, int],
    people: Sequence[Person],
    unlabelled: Sequence[Unlabelled],
    *,
    joints: tuple[str, ...],
    skeleton: Skeleton,
    id: int | str,
    masks: MaskFiles | None = None,
) -> LabelledPicture:
    """A picture at `place` (folder or zip file, name) with people whose `joints` are mapped by name to `skeleton`.

    Joints that the file cannot label are unsure.
    """
    data = np.array([person.joints for person in people], np.float64).reshape(len(people), len(joints), 3)
    places = np.where(data[..., 2:] > 0, data[..., :2], np.nan)
    keypoints, scores = map_people(places, data[..., 2] / 2, joints, skeleton)
    unsure = np.tile(unknown_joints(joints, skeleton), (len(people), 1)) if people else np.zeros(scores.shape, bool)
    for row, person in zip(unsure, people, strict=True):
        if person.unsure is not None and person.unsure.any():
            row |= _map_unsure(person.unsure, joints, skeleton)
    heads = [person.head_box for person in people]
    none = np.full(4, np.nan, np.float32)
    return LabelledPicture(
        archive=place[0],
        name=place[1],
        size=size,
        keypoints=keypoints,
        unsure=unsure & np.isnan(keypoints[..., 0]),
        boxes=np.array([person.box for person in people], np.float32).reshape(-1, 4),
        ignore=np.array([someone.box for someone in unlabelled], np.float32).reshape(-1, 4),
        visible=scores > 0.75,  # a hidden joint has half of the score, and a derived one its parts' least
        areas=np.array([person.area for person in people], np.float32),
        segments=tuple(person.segment for person in people),
        ignore_segments=tuple(someone.segment for someone in unlabelled),
        id=id,
        person_ids=np.array([person.id for person in people], np.int64),
        head_boxes=None
        if all(head is None for head in heads)
        else np.array([none if head is None else head for head in heads], np.float32),
        masks=masks,
    )


def unknown_joints(names: tuple[str, ...], skeleton: Skeleton) -> NDArray[np.bool_]:
    """(K,): joints that a file with these names cannot label."""
    return np.array([not parts for parts in joint_sources(names, skeleton)])


def _map_unsure(unsure: NDArray[np.bool_], names: tuple[str, ...], skeleton: Skeleton) -> NDArray[np.bool_]:
    open_names = {name for name, is_open in zip(names, unsure, strict=True) if is_open}

    def is_unsure(joint: str) -> bool:
        parts = (joint,) if joint in names else skeleton.derived.get(joint, ())
        return bool(open_names & set(parts))

    return np.array([is_unsure(joint) for joint in skeleton.joints])


def parse_joints(values: Any, names: tuple[str, ...]) -> NDArray[np.float64]:
    """(k, 3) x, y, flag of a flat list or of rows; raises `ValueError` for a wrong count or joints that are no numbers.

    Any flag above 0 says that the joint is labelled: 1 hidden, more visible; WholeBody's hands hold fractions.
    """
    data = _numbers(values, "keypoints").ravel()
    if len(data) != 3 * len(names):
        raise ValueError(f"{len(data)} numbers in keypoints, expected {3 * len(names)}: x, y, flag of {len(names)}")
    rows = data.reshape(-1, 3).copy()
    if np.isnan(rows[:, 2]).any():
        raise ValueError(f"the flag of {names[int(np.flatnonzero(np.isnan(rows[:, 2]))[0])]} is not a number")
    flags = rows[:, 2]
    lost = (flags > 0) & ~np.isfinite(rows[:, :2]).all(axis=1)
    if lost.any():
        raise ValueError(f"{names[int(np.flatnonzero(lost)[0])]} is labelled, but its place is not a number")
    rows[:, 2] = np.where(flags <= 0, 0, np.where((flags > 1) | (flags < 1), 2, 1))
    rows[flags <= 0, :2] = 0
    return rows


def parse_box(values: Any, what: str = "bbox") -> Array:
    """x1 y1 x2 y2 (4,) in pixels of a file's x, y, w, h along the edges of pixels.

    Raises `ValueError` when it has no size, or is not four finite numbers.
    """
    box = _numbers(values, what)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"{what} is {values!r}, expected four numbers x, y, width, height")
    if not (box[2:] > 0).all():
        raise ValueError(f"{what} {box.tolist()} has no size")
    corners = np.concatenate([box[:2], box[:2] + box[2:]]) - HALF_PIXEL
    return corners.astype(np.float32)


def parse_segment(value: Any, size: tuple[int, int]) -> Segment:
    """An area as COCO has it: polygons along the edges of pixels, or an RLE, in a picture of `size` (w, h).

    Raises `ValueError` for anything else.
    """
    if not value:
        return None
    if isinstance(value, Mapping):
        return _parse_rle(value, size)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"segmentation is {value!r}, expected polygons or an RLE")
    rows = value if isinstance(value[0], (list, tuple)) else [value]
    polygons = [_numbers(row, "segmentation").ravel() for row in rows]
    if any(len(row) % 2 or not np.isfinite(row).all() for row in polygons):
        raise ValueError("a polygon of segmentation is not made of x, y pairs")
    kept = tuple((row.reshape(-1, 2) - HALF_PIXEL).astype(np.float32) for row in polygons if len(row) >= 6)
    return kept or None


def _parse_rle(value: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """An RLE whose plain counts cover the picture; those in a text are looked at when they are drawn."""
    sides, counts = value.get("size"), value.get("counts")
    if not isinstance(sides, (list, tuple)) or not isinstance(counts, (list, str, bytes)):
        raise ValueError("segmentation is an RLE without size or counts")
    if tuple(sides) != size[::-1]:
        raise ValueError(f"segmentation is an RLE of size {list(sides)}, for one of height and width {size[::-1]}")
    pixels = size[0] * size[1]
    if isinstance(counts, list) and not (all(type(n) is int and n >= 0 for n in counts) and sum(counts) == pixels):
        raise ValueError("segmentation is an RLE whose counts do not make up the picture")
    return dict(value)


def unlabelled_instead(joints: NDArray[Any] | None, box: Array | None, segment: Segment = None) -> Unlabelled | None:
    """The area of someone whose labels are at fault: his box, or that around his joints; None where nobody knows."""
    if box is not None:
        return Unlabelled(box, segment)
    if joints is None:
        return None
    places = joints[np.isfinite(joints).all(axis=1) & (joints[:, 2] > 0), :2]
    if len(places) < 2:
        return None
    margin = 0.1 * np.ptp(places, axis=0).max()
    return Unlabelled(np.concatenate([places.min(axis=0) - margin, places.max(axis=0) + margin]).astype(np.float32))


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} holds something that is not a number") from None
