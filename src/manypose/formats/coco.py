"""COCO results files: what pycocotools scores.

A row is one person of one picture: `image_id`, `category_id`, `keypoints` (x, y, score of each joint, flat), `score`
(of the person) and `bbox`.

- Joints are pixel indices, as manypose's own: nothing is added. A joint that was not found is 0, 0, 0; on reading, a
  joint whose third number is not above 0 is absent (OpenPose writes -1, -1, 0).
- `bbox` is x, y, width, height along the outer edges of the pixels, so its x is manypose's x1 + 0.5; a box whose
  left edge is at the left edge of the picture has x = 0 here and x1 = -0.5 there. A person without a box has none.
- People whose skeleton has all 17 joints of COCO (openpose18, body25 ...) are written as coco17. The others, such as
  crowdpose14, hand21 or a user's own, are written as they are: their data sets have a category of their own.
- wholebody133 becomes the five keys of COCO-WholeBody (`keypoints`, `foot_kpts`, `face_kpts`, `lefthand_kpts`,
  `righthand_kpts`); the score of a part is the mean of its joints found.
- Pixels have two decimals, joint scores four, person scores six, since average precision looks at their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from manypose import geometry
from manypose.errors import FormatError
from manypose.formats._documents import (
    MAX_BYTES,
    PIXEL_DECIMALS,
    FilePath,
    flat_joints,
    parse_json,
    parse_objects,
    read_bytes,
    rounded,
    write_text,
)
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    from manypose.formats._coco_document import Row

# COCO-WholeBody keeps its 133 joints in five lists: jin-s13/COCO-WholeBody, data_format.md.
_WHOLE_BODY_KEYS = {
    "keypoints": slice(0, 17),
    "foot_kpts": slice(17, 23),
    "face_kpts": slice(23, 91),
    "lefthand_kpts": slice(91, 112),
    "righthand_kpts": slice(112, 133),
}
_WHOLE_BODY_SCORES = {
    "foot_kpts": "foot_score",
    "face_kpts": "face_score",
    "lefthand_kpts": "lefthand_score",
    "righthand_kpts": "righthand_score",
}


def to_results(
    people: People, image_id: int, *, category_id: int = 1, skeleton: Skeleton | str | None = None
) -> list[dict[str, Any]]:
    """The people of one picture as rows of a results file, as plain data.

    `skeleton` is the one of the rows; without it the rule at the top of this module chooses.
    """
    people = people.to(skeleton or ("coco17" if _has_coco_joints(people.skeleton) else people.skeleton))
    edges = people.boxes.astype(np.float64)
    boxes = np.concatenate([edges[:, :2] + 0.5, edges[:, 2:] - edges[:, :2]], axis=1)
    rows = []
    for joints, score, box in zip(flat_joints(people), rounded(people.person_scores, 6), boxes, strict=True):
        row = {"image_id": int(image_id), "category_id": int(category_id)} | _joint_keys(joints, people.skeleton, score)
        rows.append(row | ({"bbox": rounded(box, PIXEL_DECIMALS)} if np.isfinite(box).all() else {}))
    return rows


def from_results(
    rows: Iterable[Mapping[str, Any]], *, skeleton: Skeleton | str = "coco17", source: str = "the results"
) -> dict[int, People]:
    """People by image id, in the order in which the ids appear, from rows as `json.load` gives them.

    Unknown keys are left alone, as every product adds its own. Raises `FormatError` with the row at fault, also when
    the rows do not have the joints of `skeleton`: what the joints are cannot be told from their number.
    """
    from manypose.formats._coco_document import ROWS

    return _from_rows(parse_objects(ROWS, [*rows], source=source), skeleton, source)


def dumps(rows: Iterable[Mapping[str, Any]]) -> str:
    """The JSON of rows of any number of pictures, one row a line."""
    return "[" + ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "]\n"


def write(path: FilePath, rows: Iterable[Mapping[str, Any]], *, overwrite: bool = False) -> None:
    """Write the rows of any number of pictures; raises `OutputError` when the file exists without `overwrite`."""
    write_text(path, dumps(rows), overwrite=overwrite)


def read(path: FilePath, *, skeleton: Skeleton | str = "coco17", max_bytes: int = MAX_BYTES) -> dict[int, People]:
    """People by image id from a results file; raises as `from_results` does, with the name of the file."""
    from manypose.formats._coco_document import ROWS

    content = read_bytes(path, max_bytes=max_bytes)
    return _from_rows(parse_json(ROWS, content, source=str(path)), skeleton, str(path))


def _has_coco_joints(skeleton: Skeleton) -> bool:
    if skeleton.name == "wholebody133":
        return False
    return set(load_skeleton("coco17").joints) <= set(skeleton.joints)


def _joint_keys(joints: list[float], skeleton: Skeleton, score: float) -> dict[str, Any]:
    """The keys that hold the joints and scores of one person: two, or eleven of COCO-WholeBody."""
    if skeleton.name != "wholebody133":
        return {"keypoints": joints, "score": score}
    lists = {key: joints[3 * part.start : 3 * part.stop] for key, part in _WHOLE_BODY_KEYS.items()}
    keys: dict[str, Any] = lists | {"score": score, "wholebody_score": score}
    for part, name in _WHOLE_BODY_SCORES.items():
        found = [joint_score for joint_score in lists[part][2::3] if joint_score > 0]
        keys[name] = round(sum(found) / max(len(found), 1), 6)
    return keys


def _from_rows(rows: list[Row], skeleton: Skeleton | str, source: str) -> dict[int, People]:
    target = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    flat = [_flat_joints(row, target, f"{source}: [{i}]") for i, row in enumerate(rows)]
    joints = np.array(flat, np.float64).reshape(-1, len(target), 3)
    keypoints = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan).astype(np.float32)
    boxes = geometry.keypoint_boxes(keypoints)
    places: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(row.image_id, []).append(i)
        if row.bbox is not None:
            x, y, width, height = row.bbox
            boxes[i] = x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5
    return {
        image_id: People.build(
            keypoints[members],
            joints[members, :, 2],
            skeleton=target,
            person_scores=[rows[i].score for i in members],
            boxes=boxes[members],
        )
        for image_id, members in places.items()
    }


def _flat_joints(row: Row, skeleton: Skeleton, place: str) -> list[float]:
    """x, y, score of all joints of one row, flat; raises `FormatError` when they are not those of the skeleton."""
    if skeleton.name != "wholebody133":
        return _of_length(row.keypoints, len(skeleton), f"{place}.keypoints", skeleton)
    joints: list[float] = []
    for key, part in _WHOLE_BODY_KEYS.items():
        count = part.stop - part.start
        joints += _of_length(getattr(row, key) or [0.0] * (3 * count), count, f"{place}.{key}", skeleton)
    return joints


def _of_length(values: list[float], count: int, place: str, skeleton: Skeleton) -> list[float]:
    if len(values) != 3 * count:
        raise FormatError(
            f"{place}: holds {len(values)} numbers, expected {3 * count}: x, y and score of {count} joints of "
            f"{skeleton.name!r}; pass skeleton= when the file has another"
        )
    return values
