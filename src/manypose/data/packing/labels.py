"""The labels of one picture as a JSON text of its own, for packed sets: nothing is rounded, nothing is left out.

    {"format": "manypose labels", "version": 1, "name": "000000000139.jpg", "id": 139, "size": [640, 426],
     "joints": ["nose", ...],
     "people": [{"keypoints": [x, y, flag, ...], "unsure": [5], "box": [x1, y1, x2, y2], "area": 521.5,
                 "segment": [[x, y, ...], ...], "id": 230831, "head_box": null}],
     "ignore": [{"box": [x1, y1, x2, y2], "segment": {"size": [426, 640], "counts": "..."}}],
     "masks": ["missing", "people"]}

Pixels are manypose's (0 is the middle of the first). A flag is 0 where a joint is not labelled, 1 where it is hidden
and 2 where it is seen, as in COCO's files; `unsure` holds the indices of joints that may be there unlabelled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.joint_names import joint_sources, map_people
from manypose.data.pictures import Fetch, LabelledPicture, MaskFiles, Segment
from manypose.errors import DataError, PeopleError, SkeletonError
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]

FORMAT, VERSION = "manypose labels", 1
ABSENT, HIDDEN, SEEN = 0, 1, 2


def labels_to_json(picture: LabelledPicture, joints: Sequence[str]) -> bytes:
    """The labels of a picture whose joints have these names, UTF-8."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": picture.name,
        "id": picture.id,
        "size": list(picture.size),
        "joints": list(joints),
        "people": [_person_to_dict(picture, row) for row in range(len(picture))],
        "ignore": [
            {"box": _numbers(box), "segment": _segment_to_list(segment)}
            for box, segment in zip(picture.ignore, picture.ignore_segments, strict=True)
        ],
        "masks": mask_names(picture.masks),
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def mask_names(masks: MaskFiles | None) -> list[str]:
    """Which of the two masks there are: "missing", "people"."""
    return [name for name in ("missing", "people") if masks is not None and getattr(masks, name) is not None]


def labels_from_json(
    content: bytes, skeleton: Skeleton, *, archive: Path, entry: str, fetch: Fetch, masks: Fetch | None = None
) -> LabelledPicture:
    """The record of a picture in a packed set, its joints mapped by name into `skeleton`.

    `entry` names the sample inside of `archive`; `fetch` gives the picture, `masks` the masks "missing" and "people".
    Raises `DataError` that names archive and entry when the text is not what `labels_to_json` writes.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"the format is {document['format']!r}")
        if document["version"] != VERSION:
            raise DataError(
                f"{archive}: {entry}: labels of version {document['version']!r}, of which this manypose knows only "
                f"{VERSION}: update manypose, or pack the set anew"
            )
        picture = _from_document(document, archive, fetch, masks)
        return map_joints(picture, tuple(document["joints"]), skeleton)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, PeopleError, SkeletonError) as error:
        raise DataError(f"{archive}: {entry}: not labels of manypose: {type(error).__name__} {error}") from None


def joints_in(content: bytes, *, archive: Path, entry: str) -> tuple[str, ...]:
    """The names of the joints that labels of `labels_to_json` are in; raises `DataError`."""
    try:
        return tuple(str(name) for name in json.loads(content)["joints"])
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"{archive}: {entry}: not labels of manypose: {type(error).__name__} {error}") from None


def map_joints(picture: LabelledPicture, joints: tuple[str, ...], skeleton: Skeleton) -> LabelledPicture:
    """A picture whose joints have these names, in the joints of `skeleton`.

    Joints go by name; those that `skeleton` derives are midpoints, labelled, seen and sure where all their parts are.
    Joints that have no source are unsure.
    """
    if joints == skeleton.joints:
        return picture
    keypoints, _ = map_people(picture.keypoints, np.ones(picture.keypoints.shape[:2]), joints, skeleton)
    unsure = np.ones(keypoints.shape[:2], bool)
    visible = np.zeros(keypoints.shape[:2], bool)
    for k, rows in enumerate(joint_sources(joints, skeleton)):
        if rows:
            unsure[:, k] = picture.unsure[:, rows].any(axis=1)
            visible[:, k] = picture.visible[:, rows].all(axis=1)
    absent = np.isnan(keypoints[..., 0])
    return dataclasses.replace(picture, keypoints=keypoints, unsure=unsure & absent, visible=visible & ~absent)


def _person_to_dict(picture: LabelledPicture, row: int) -> dict[str, Any]:
    keypoints: list[float] = []
    for (x, y), seen in zip(picture.keypoints[row].tolist(), picture.visible[row], strict=True):
        keypoints += (0, 0, ABSENT) if x != x else (x, y, SEEN if seen else HIDDEN)
    head = None if picture.head_boxes is None else _numbers(picture.head_boxes[row])
    return {
        "keypoints": keypoints,
        "unsure": np.flatnonzero(picture.unsure[row]).tolist(),
        "box": _numbers(picture.boxes[row]),
        "area": _numbers(picture.areas[row : row + 1])[0],
        "segment": _segment_to_list(picture.segments[row]),
        "id": int(picture.person_ids[row]),
    } | ({} if picture.head_boxes is None else {"head_box": head})


def _numbers(values: Array) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _segment_to_list(segment: Segment) -> Any:
    if isinstance(segment, Mapping):
        counts = segment["counts"]
        plain = counts.decode() if isinstance(counts, bytes) else counts
        return {"size": [int(n) for n in segment["size"]], "counts": plain if isinstance(plain, str) else list(plain)}
    return None if segment is None else [polygon.ravel().tolist() for polygon in segment]


def _from_document(document: dict[str, Any], archive: Path, fetch: Fetch, masks: Fetch | None) -> LabelledPicture:
    people, ignore = document["people"], document["ignore"]
    joints = len(document["joints"])
    flat = _array([row["keypoints"] for row in people], 3 * joints).reshape(len(people), joints, 3)
    if not np.isin(flat[..., 2], (ABSENT, HIDDEN, SEEN)).all():
        raise ValueError("a joint's flag is not 0, 1 or 2")
    unsure = np.zeros(flat.shape[:2], bool)
    for row, person in zip(unsure, people, strict=True):
        row[person["unsure"]] = True
    width, height = document["size"]
    if not (isinstance(width, int) and isinstance(height, int) and min(width, height) > 0):
        raise ValueError(f"the picture's size is {document['size']}")
    heads = [row["head_box"] for row in people if "head_box" in row]
    return LabelledPicture(
        archive=archive,
        name=str(document["name"]),
        size=(width, height),
        keypoints=np.where(flat[..., 2:] > 0, flat[..., :2], np.float32(np.nan)),
        unsure=unsure,
        boxes=_array([row["box"] for row in people], 4),
        ignore=_array([row["box"] for row in ignore], 4),
        visible=flat[..., 2] == SEEN,
        areas=_array([[row["area"]] for row in people], 1)[:, 0],
        segments=tuple(_segment(row["segment"]) for row in people),
        ignore_segments=tuple(_segment(row["segment"]) for row in ignore),
        id=document["id"],
        person_ids=np.array([row["id"] for row in people], np.int64),
        head_boxes=_array(heads, 4) if heads else None,
        masks=_masks(document["masks"], archive, masks),
        fetch=fetch,
    )


def _masks(names: list[str], archive: Path, fetch: Fetch | None) -> MaskFiles | None:
    missing, people = (name if name in names else None for name in ("missing", "people"))
    return MaskFiles(archive, missing, people, fetch) if fetch and (missing or people) else None


def _array(rows: list[list[float | None]], columns: int) -> Array:
    """(len(rows), columns) float32, NaN for None; raises `ValueError` for rows of another length."""
    array = np.array(rows, np.float32) if rows else np.zeros((0, columns), np.float32)
    if array.shape != (len(rows), columns):
        raise ValueError(f"rows of {array.shape[1:]} values where {columns} are expected")
    return array


def _segment(stored: Any) -> Segment:
    if isinstance(stored, dict):
        return {"size": stored["size"], "counts": stored["counts"]}
    return None if stored is None else tuple(np.array(polygon, np.float32).reshape(-1, 2) for polygon in stored)
