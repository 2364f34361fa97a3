"""Labels joined with those of a better network, a teacher, for people and joints that a data set leaves out."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.joint_names import map_people
from manypose.data.pictures import LabelledPicture
from manypose.data.records import HALF_PIXEL
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

Array = NDArray[np.float32]

SURE_JOINT, POSSIBLE_JOINT = 0.35, 0.15  # a teacher's joint scores: taken as a label; neither taken nor denied
SURE_PERSON = 0.55  # a teacher's box score under which a person is an area to ignore
SAME_PERSON = 0.6  # share of the smaller box inside the other from which a teacher's person is a labelled one
SAME_BOX = 0.5  # intersection over union from which an unlabelled box is the person that the teacher found
AGREEING = 0.1  # median distance, in parts of the box, up to which a teacher's body agrees with the labels


def read_teacher(file: Path) -> Mapping[Any, list[dict[str, Any]]]:
    """The people that a network found, by the id of their picture, from a JSON file (.json or .json.gz).

    Each is {image_id, bbox, box_score, 17 COCO keypoints with scores}. Raises `DataError` that names the file.
    """
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


def with_teacher(picture: LabelledPicture, found: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> LabelledPicture:
    """Labels joined with a teacher's people: unlabelled ones are added, or ignored where the teacher is in doubt."""
    if not found:
        return picture
    coco = load_skeleton("coco17")
    data = np.array([row["keypoints"] for row in found], np.float32).reshape(len(found), len(coco), 3)
    keypoints, scores = map_people(data[..., :2], data[..., 2], coco.joints, skeleton)
    found_boxes = _corners([row["bbox"] for row in found])
    sure = np.array([row["box_score"] for row in found]) >= SURE_PERSON
    place = np.where(scores[..., None] >= SURE_JOINT, keypoints, np.float32(np.nan))
    doubtful = (scores >= POSSIBLE_JOINT) & np.isnan(place[..., 0])

    inside = _shared_part(picture.boxes, found_boxes)  # (labelled, found)
    filled = _fill_unknown(picture.keypoints, picture.unsure, picture.boxes, place, inside)
    new = inside.max(axis=0, initial=0) < SAME_PERSON
    taken = new & sure & ((~np.isnan(place[..., 0])).sum(axis=1) >= 4)
    still_unknown = _overlap(picture.ignore, found_boxes[taken]).max(axis=1, initial=0) < SAME_BOX
    ignored = found_boxes[new & ~taken]
    return _joined(picture, filled, place[taken], doubtful[taken], found_boxes[taken], still_unknown, ignored)


def _joined(
    picture: LabelledPicture,
    filled: Array,
    place: Array,
    doubtful: NDArray[np.bool_],
    boxes: Array,
    still_unknown: NDArray[np.bool_],
    ignored: Array,
) -> LabelledPicture:
    """The picture with its own joints filled, new people at `place`, and `ignored` areas beside those that stay."""
    keypoints = np.concatenate([filled, place]).astype(np.float32)
    there, count = ~np.isnan(keypoints[..., 0]), len(place)
    was_hidden = ~np.isnan(picture.keypoints[..., 0]) & ~picture.visible
    nobody = np.full(count, np.nan, np.float32)
    heads = picture.head_boxes
    return dataclasses.replace(
        picture,
        keypoints=keypoints,
        unsure=np.concatenate([picture.unsure, doubtful]) & ~there,
        boxes=np.concatenate([picture.boxes, boxes]),
        ignore=np.concatenate([picture.ignore[still_unknown], ignored]),
        visible=there & ~np.concatenate([was_hidden, np.zeros(doubtful.shape, bool)]),
        areas=np.concatenate([picture.areas, nobody]),
        segments=(*picture.segments, *(None,) * count),
        ignore_segments=(
            *(segment for segment, stays in zip(picture.ignore_segments, still_unknown, strict=True) if stays),
            *(None,) * len(ignored),
        ),
        person_ids=np.concatenate([picture.person_ids, np.full(count, -1, np.int64)]),
        head_boxes=None if heads is None else np.concatenate([heads, np.tile(nobody[:, None], (1, 4))]),
    )


def _corners(boxes: list[list[float]]) -> Array:
    """Boxes x y w h of a file, which lie along the edges of pixels, as x1 y1 x2 y2 (M, 4) in pixels."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1) - np.float32(HALF_PIXEL)


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
