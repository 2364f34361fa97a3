"""Reads COCO-style keypoint files: people's labels, and a better network's labels for people without any."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError
from manypose.files import picture_place
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_of_joints

Array = NDArray[np.float32]

SURE_JOINT, POSSIBLE_JOINT = 0.35, 0.15  # a teacher's joint scores: taken as a label; neither taken nor denied
SURE_PERSON = 0.55  # a teacher's box score under which a person is an area to ignore
SAME_PERSON = 0.6  # share of the smaller box inside the other from which a teacher's person is a labelled one
SAME_BOX = 0.5  # intersection over union from which an unlabelled box is the person that the teacher found
AGREEING = 0.1  # median distance, in parts of the box, up to which a teacher's body agrees with the labels


def read_coco(file: Path, skeleton: Skeleton, *, teacher: Path | None = None) -> list[LabelledPicture]:
    """Pictures of a COCO-style keypoint file with their people, joints mapped by name into `skeleton`.

    The pictures are in a zip file named by the image's `zip`, or in the folder of `file` (or its `images`). People
    without joints and crowds become areas to ignore. Joints that the file's own skeleton does not have are unsure.
    `teacher` is a JSON file (.json or .json.gz) of people that a network found ({image_id, bbox, box_score, 17 COCO
    keypoints with scores}); they stand in for people without labels, and fill joints that the file does not know.

    Raises `DataError` that names the file and what is wrong with it.
    """
    found = _read_teacher(teacher) if teacher else {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in content["annotations"]:
            rows[row["image_id"]].append(row)
        category = next((c for c in content["categories"] if c.get("keypoints")), None)
        names = tuple(category["keypoints"]) if category else ()
        if category:  # of a file without keypoints all boxes are people's
            rows = defaultdict(list, {key: [r for r in own if _is_of(r, category)] for key, own in rows.items()})
        return [
            _read_picture(file, image, rows[image["id"]], names, skeleton, found.get(image["id"], []))
            for image in content["images"]
        ]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: give the path of a COCO-style JSON file") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not a COCO-style keypoint file: {type(error).__name__} {error}") from None


def _read_teacher(file: Path) -> dict[int, list[dict[str, Any]]]:
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    try:
        content = file.read_bytes()
        for row in json.loads(gzip.decompress(content) if file.suffix == ".gz" else content):
            rows[row["image_id"]].append(row)
    except gzip.BadGzipFile as error:
        raise DataError(f"{file}: not a gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: give the path of a teacher's labels") from None
    except (KeyError, TypeError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: not a teacher's labels: {type(error).__name__} {error}") from None
    return rows


def _is_of(row: dict[str, Any], category: dict[str, Any]) -> bool:
    """Whether an annotation is of a category; one that does not say is."""
    return bool(row.get("category_id", category.get("id")) == category.get("id"))


def _count_joints(row: dict[str, Any]) -> int:
    """How many joints an annotation labels; not every file says it."""
    return int(row["num_keypoints"]) if "num_keypoints" in row else sum(f > 0 for f in row.get("keypoints", [])[2::3])


def _read_picture(
    file: Path,
    image: dict[str, Any],
    rows: list[dict[str, Any]],
    names: tuple[str, ...],
    skeleton: Skeleton,
    found: list[dict[str, Any]],
) -> LabelledPicture:
    labelled = [row for row in rows if _count_joints(row) > 0 and not row.get("iscrowd")]
    unlabelled = [row for row in rows if _count_joints(row) == 0 or row.get("iscrowd")]
    keypoints, boxes = _labels(labelled, names, skeleton)
    unsure = np.tile(_unknown_joints(names, skeleton), (len(labelled), 1))
    ignore = _corners([row["bbox"] for row in unlabelled])
    if found:
        keypoints, unsure, boxes, ignore = _with_teacher(keypoints, unsure, boxes, ignore, found, skeleton)
    return LabelledPicture(
        archive=picture_place(file, image),
        name=image["file_name"],
        size=(image["width"], image["height"]),
        keypoints=keypoints,
        unsure=unsure & np.isnan(keypoints[..., 0]),
        boxes=boxes,
        ignore=ignore,
    )


def _labels(rows: list[dict[str, Any]], names: tuple[str, ...], skeleton: Skeleton) -> tuple[Array, Array]:
    if not rows:
        return np.zeros((0, len(skeleton), 2), np.float32), np.zeros((0, 4), np.float32)
    data = np.array([row["keypoints"] for row in rows], np.float32).reshape(len(rows), len(names), 3)
    keypoints = np.where(data[..., 2:] > 0, data[..., :2], np.nan)
    people = People.build(keypoints, skeleton=skeleton_of_joints(names)).to(skeleton)
    return people.keypoints, _corners([row["bbox"] for row in rows])


def _unknown_joints(names: tuple[str, ...], skeleton: Skeleton) -> NDArray[np.bool_]:
    """(K,): joints that a file with these names cannot label."""

    def known(joint: str) -> bool:
        parts = skeleton.derived.get(joint, ())
        return joint in names or (bool(parts) and set(parts) <= set(names))

    return np.array([not known(joint) for joint in skeleton.joints])


def _corners(boxes: list[list[float]]) -> Array:
    """Boxes x y w h of a file, which lie along the edges of pixels, as x1 y1 x2 y2 (M, 4) in pixels."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1) - np.float32(0.5)


def _with_teacher(
    keypoints: Array,
    unsure: NDArray[np.bool_],
    boxes: Array,
    ignore: Array,
    found: list[dict[str, Any]],
    skeleton: Skeleton,
) -> tuple[Array, NDArray[np.bool_], Array, Array]:
    """Labels joined with a teacher's people: unlabelled ones are added, or ignored where the teacher is in doubt."""
    coco = load_skeleton("coco17")
    data = np.array([row["keypoints"] for row in found], np.float32).reshape(len(found), len(coco), 3)
    people = People.build(data[..., :2], data[..., 2], skeleton=coco).to(skeleton)
    found_boxes = _corners([row["bbox"] for row in found])
    sure = np.array([row["box_score"] for row in found]) >= SURE_PERSON
    place = np.where(people.scores[..., None] >= SURE_JOINT, people.keypoints, np.nan)
    doubtful = (people.scores >= POSSIBLE_JOINT) & np.isnan(place[..., 0])

    inside = _shared_part(boxes, found_boxes)  # (labelled, found)
    filled = _fill_unknown(keypoints, unsure, boxes, place, inside)
    new = inside.max(axis=0, initial=0) < SAME_PERSON
    taken = new & sure & ((~np.isnan(place[..., 0])).sum(axis=1) >= 4)
    still_unknown = _overlap(ignore, found_boxes[taken]).max(axis=1, initial=0) < SAME_BOX
    return (
        np.concatenate([filled, place[taken]]).astype(np.float32),
        np.concatenate([unsure, doubtful[taken]]),
        np.concatenate([boxes, found_boxes[taken]]),
        np.concatenate([ignore[still_unknown], found_boxes[new & ~taken]]),
    )


def _fill_unknown(
    keypoints: Array, unsure: NDArray[np.bool_], boxes: Array, place: Array, inside: NDArray[np.float32]
) -> Array:
    """Joints that the labels cannot know, from the teacher's person where his body agrees with the labels."""
    filled = keypoints.copy()
    if not place.shape[0]:
        return filled
    size = np.hypot(*(boxes[:, 2:] - boxes[:, :2]).T)
    for i in np.flatnonzero(unsure.any(axis=1)):
        distance = np.linalg.norm(place - keypoints[i], axis=-1) / max(size[i], 1)
        known = ~np.isnan(distance)
        middle = np.array([np.median(d[k]) if k.sum() >= 5 else np.inf for d, k in zip(distance, known, strict=True)])
        best = int(np.argmin(np.where(inside[i] > 0, middle, np.inf)))
        if middle[best] < AGREEING and inside[i, best] > 0:
            filled[i, unsure[i]] = place[best, unsure[i]]
    return filled


def _shared_part(a: Array, b: Array) -> Array:
    """(N, M): the share of the smaller of two boxes that lies in the other."""
    shared, areas_a, areas_b = _intersect(a, b)
    return (shared / np.minimum(areas_a, areas_b)).astype(np.float32)


def _overlap(a: Array, b: Array) -> Array:
    """(N, M): intersection over union of boxes."""
    shared, areas_a, areas_b = _intersect(a, b)
    return (shared / (areas_a + areas_b - shared)).astype(np.float32)


def _intersect(a: Array, b: Array) -> tuple[Array, Array, Array]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    areas_a, areas_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 1e-6, None), axis=1) for x in (a, b))
    return np.prod(np.clip(high - low, 0, None), axis=2), areas_a[:, None], areas_b[None]
