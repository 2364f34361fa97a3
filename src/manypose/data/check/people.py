"""Checks of the labels alone: ids, boxes, joints, people annotated twice. All are vectorised over the people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.check.findings import Finding
from manypose.data.check.labels import Labels

EDGE = 1.0  # pixels that a box or joint may reach over the picture's edge: files count pixels in two ways
FAR_OUTSIDE = 0.1  # parts of the picture's longer side: a joint farther out is an error
FAR_FROM_BOX = 0.5  # parts of the box's longer side: a joint farther out belongs to somebody else
PILED = 0.02  # parts of the box's longer side that at least four joints spread over
CORNER = 0.05  # pixels between a joint and the corner of the box that it lies on
LOOSE = 0.01  # parts of the side of a box between its lower or right edge and the next joint
SAME_BOX = 0.98  # intersection over union of two boxes without joints
SAME_JOINTS = 0.02  # mean distance of common joints, in parts of the box's longer side


def check_people(labels: Labels) -> list[Finding]:
    """All faults of the labels themselves, in the order of `KINDS` within a file."""
    found = [*labels.faults, *_duplicate_ids(labels), *_boxes(labels), *_joints(labels), *_twice(labels)]
    found += [*_details(labels), *_without(labels)]
    return found


def _duplicate_ids(labels: Labels) -> Iterator[Finding]:
    seen: dict[Any, int] = {}
    for picture in labels.pictures:
        if picture.id in seen:
            text = f"has the id of {labels.pictures[seen[picture.id]].entry}"
            yield Finding("duplicate-image-id", labels.file, picture.entry, text, picture.index)
        seen.setdefault(picture.id, picture.index)
    names: dict[tuple[str, str], str] = {}
    for picture in labels.pictures:
        key = (str(picture.row.get("zip", "")), picture.name)
        if key in names and picture.name:
            text = f"is the same file as {names[key]}"
            yield Finding("duplicate-picture", labels.file, picture.entry, text, picture.index)
        names.setdefault(key, picture.entry)
    people: dict[Any, int] = {}
    for person, key in enumerate(labels.ids):
        if key is None or isinstance(key, (list, dict)):
            continue
        if key in people:
            text = f"has the id of annotations[{labels.rows[people[key]]}]"
            yield labels.finding("duplicate-annotation-id", person, text)
        people.setdefault(key, person)


def sizes_of(labels: Labels) -> NDArray[np.float64]:
    """(N, 2): width and height of each person's picture, NaN where it is not known."""
    sizes = np.array([*(p.size for p in labels.pictures), (0, 0)], np.float64)[labels.where]
    sizes[(sizes == 0).any(axis=1)] = np.nan
    return sizes


def _boxes(labels: Labels) -> Iterator[Finding]:
    boxes, sizes = labels.boxes, sizes_of(labels)
    empty = (boxes[:, 2:] <= 0).any(axis=1)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = ((high <= 0) | (low >= sizes)).any(axis=1) & ~empty
    beside = ((low < -EDGE) | (high > sizes + EDGE)).any(axis=1) & ~outside & ~empty
    for kind, chosen, what in (
        ("box-empty", empty, "has no size"),
        ("box-outside", outside, "lies outside of the picture"),
        ("box-beside", beside, "reaches over the picture's edge"),
    ):
        for person in np.flatnonzero(chosen).tolist():
            box = ", ".join(f"{value:g}" for value in boxes[person])
            yield labels.finding(kind, person, f"the box {box} {what}{_of(sizes[person])}")


def _of(size: NDArray[np.float64]) -> str:
    return "" if np.isnan(size).any() else f" of {size[0]:g} x {size[1]:g} pixels"


def _joints(labels: Labels) -> Iterator[Finding]:
    if not labels.joints:
        return
    points, labelled, sizes = labels.keypoints[..., :2], labels.labelled, sizes_of(labels)[:, None]
    over = np.maximum(-points, points - (sizes - 1)).max(axis=2)  # the last pixel's centre is at the size less one
    over = np.where(labelled, over, 0)
    far = over > FAR_OUTSIDE * sizes.max(axis=2)
    yield from _named(labels, "joint-outside", far, points, "is far outside of the picture")
    yield from _named(labels, "joint-beside", (over > EDGE) & ~far, points, "is outside of the picture")
    low, high = labels.boxes[:, None, :2], labels.boxes[:, None, :2] + labels.boxes[:, None, 2:]
    beyond = np.where(labelled, np.maximum(low - points, points - high).max(axis=2), 0)
    side = labels.boxes[:, None, 2:].max(axis=2)
    lost = (beyond > FAR_FROM_BOX * side) & (labels.boxes[:, None, 2:] > 0).all(axis=2)
    yield from _named(labels, "joint-far-from-box", lost, points, "is far outside of the person's box")
    yield from _named(labels, "joint-at-corner", _at_corner(labels), points, "is the corner of the person's box")
    several = labelled.sum(axis=1) >= 4
    blank = np.where(labelled[..., None], points, np.nan)[several]
    if len(blank):
        spread = (np.nanmax(blank, axis=1) - np.nanmin(blank, axis=1)).max(axis=1)
        for person in np.flatnonzero(several)[
            spread <= PILED * np.maximum(labels.boxes[several, 2:].max(axis=1), 1)
        ].tolist():
            yield labels.finding("joints-piled", person, f"{labelled[person].sum()} joints lie in one place")


def _at_corner(labels: Labels) -> NDArray[np.bool_]:
    """(N, K): joints on the upper left corner of a box that is no box around the joints, where tools put unset ones."""
    low, high = labels.boxes[:, None, :2], labels.boxes[:, None, :2] + labels.boxes[:, None, 2:]
    points = np.where(labels.labelled[..., None], labels.keypoints[..., :2], np.inf)
    corner = (np.abs(points - low) <= CORNER).all(axis=2)
    points[~labels.labelled] = -np.inf
    loose = (high[:, 0] - points.max(axis=1) > LOOSE * labels.boxes[:, 2:]).any(axis=1)
    return np.asarray(corner & loose[:, None])


def _named(
    labels: Labels, kind: str, chosen: NDArray[np.bool_], points: NDArray[np.float64], what: str
) -> Iterator[Finding]:
    for person in np.flatnonzero(chosen.any(axis=1)).tolist():
        joints = np.flatnonzero(chosen[person])
        x, y = points[person, joints[0]]
        more = f" (and {len(joints) - 1} more)" if len(joints) > 1 else ""
        yield labels.finding(kind, person, f"{labels.joints[joints[0]]} at {x:g}, {y:g}{more} {what}")


def _twice(labels: Labels) -> Iterator[Finding]:
    """People who are annotated twice in one picture: the same joints, or without joints the same box."""
    groups: dict[int, list[int]] = defaultdict(list)
    for person in np.flatnonzero((labels.where >= 0) & ~labels.crowd).tolist():
        groups[int(labels.where[person])].append(person)
    for people in groups.values():
        for at, second in enumerate(people):
            for first in people[:at]:
                if kind := _same_person(labels, first, second):
                    yield labels.finding(kind, second, f"is the same person as {labels.entry(first)}")
                    break


def _same_person(labels: Labels, first: int, second: int) -> str | None:
    box_a, box_b = labels.boxes[first], labels.boxes[second]
    shared = np.minimum(box_a[:2] + box_a[2:], box_b[:2] + box_b[2:]) - np.maximum(box_a[:2], box_b[:2])
    if not (shared > 0).all():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = shared.prod() / (box_a[2:].prod() + box_b[2:].prod() - shared.prod())
    both = labels.labelled[first] & labels.labelled[second]
    if both.sum() >= 3:
        distances = np.linalg.norm(labels.keypoints[first, both, :2] - labels.keypoints[second, both, :2], axis=1)
        if distances.max() == 0:
            return "duplicate-person"
        return "person-twice" if distances.mean() < SAME_JOINTS * box_a[2:].max() else None
    if labels.labelled[[first, second]].any():
        return None
    return "duplicate-person" if (box_a == box_b).all() else "person-twice" if overlap > SAME_BOX else None


def _details(labels: Labels) -> Iterator[Finding]:
    """What evaluation and masks use: areas and segments."""
    if labels.content is None:
        return
    for person, index in enumerate(labels.rows):
        row = labels.content["annotations"][index]
        area, box = row.get("area"), labels.boxes[person]
        if "area" in row:
            number = isinstance(area, (int, float)) and area == area
            if not number or area <= 0 or area > 1.05 * max(box[2] * box[3], 1):
                yield labels.finding("area-odd", person, f"area is {area}, the box {box[2]:g} x {box[3]:g}")
        if fault := _segment_fault(row.get("segmentation"), labels, person):
            yield labels.finding("segment-odd", person, fault)


def _segment_fault(segment: Any, labels: Labels, person: int) -> str | None:
    if isinstance(segment, list):
        for polygon in segment:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                return f"a polygon is {polygon!r:.40}, expected at least three points"
    elif isinstance(segment, dict) and labels.where[person] >= 0:
        width, height = labels.pictures[labels.where[person]].size
        if width and segment.get("size") != [height, width]:
            return f"the mask is for {segment.get('size')}, the picture has height and width {[height, width]}"
    return None


def _without(labels: Labels) -> Iterable[Finding]:
    """One note for all annotations without joints, and one for all pictures without annotations."""
    bare = ~labels.labelled.any(axis=1)
    if count := int(bare.sum()):
        crowds = int((bare & labels.crowd).sum())
        text = f"{count} annotations have no joints, {crowds} of them crowds"
        yield Finding("people-unlabelled", labels.file, "", text)
    empty = len(labels.pictures) - len(set(labels.where.tolist()) - {-1})
    if empty:
        yield Finding("pictures-empty", labels.file, "", f"{empty} pictures have no annotation")
