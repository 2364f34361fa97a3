"""The rows of a truth: images and annotations of COCO-style files checked, those of other sets made of their readers'.

Nothing here is guessed: a row that cannot be measured against is named, with what is wrong in it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manypose.errors import DataError, ManyposeError

if TYPE_CHECKING:
    from manypose.data.pictures import LabelledPicture

LARGEST_FILE = 2**31
"""Bytes of the largest file that is parsed unless the caller says otherwise; COCO's training set has 0.24 * 10^9."""

AREA_OF_BOX = 0.53  # crowdposetools, cocoeval.py: CrowdPose has no areas
WHOLE_BODY_PARTS = {  # key of the joints, and which of the 133 they are; jin-s13/COCO-WholeBody, data_format.md
    "keypoints": slice(0, 17),
    "foot_kpts": slice(17, 23),
    "face_kpts": slice(23, 91),
    "lefthand_kpts": slice(91, 112),
    "righthand_kpts": slice(112, 133),
}
_LARGEST = sys.float_info.max
_NUMBERS = (int, float, np.integer, np.floating)
HALF_PIXEL = 0.5  # boxes of files lie along the edges of pixels, ours run through their middles


def parse_file(path: Path, max_bytes: int, *, raises: type[ManyposeError] = DataError) -> Any:
    """The content of a JSON file; `raises` for one that is missing, no JSON, or over `max_bytes` (then unread)."""
    try:
        if path.stat().st_size > max_bytes:
            raise raises(f"{path}: is larger than {max_bytes} bytes; pass a higher max_bytes if you trust it")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise raises(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise raises(f"{path}: not a JSON file: {error}") from None


def detect_kind(data: Mapping[str, Any]) -> str:
    """Which COCO-style kind the content of a file is: wholebody, crowdpose or coco."""
    first = next(iter(data["annotations"]), None)
    if isinstance(first, Mapping) and ("lefthand_kpts" in first or "foot_kpts" in first):
        return "wholebody"
    image = next(iter(data["images"]), None)
    return "crowdpose" if isinstance(image, Mapping) and "crowdIndex" in image else "coco"


def check_images(name: str, rows: Sequence[Any]) -> dict[Any, Mapping[str, Any]]:
    """The rows of a file's images by id; raises `DataError` for one without a usable id, or an id used twice."""
    images: dict[Any, Mapping[str, Any]] = {}
    for n, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: images[{n}] is a {type(row).__name__}, expected an object with an id")
        image_id = _field(name, "image", row, "id")
        if not _is_id(image_id):
            raise DataError(f"{name}: images[{n}] has the id {image_id!r}, expected a whole number or a text")
        if image_id in images:
            raise DataError(f"{name}: image {image_id!r} is listed twice")
        images[image_id] = row
    return images


def check_annotations(
    name: str, rows: Sequence[Any], category_ids: tuple[Any, ...], image_ids: frozenset[Any]
) -> list[Mapping[str, Any]]:
    """The annotations of some categories in some pictures; raises `DataError` for the first that cannot be one."""
    kept, ids = [], set()
    for n, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: annotations[{n}] is a {type(row).__name__}, expected an object")
        category, image = _field(name, "annotation", row, "category_id"), _field(name, "annotation", row, "image_id")
        if not _is_id(category) or not _is_id(image):
            raise DataError(
                f"{name}: annotation {row.get('id', f'[{n}]')} has category_id {category!r} and image_id {image!r}, "
                "expected whole numbers or texts"
            )
        if category not in category_ids or image not in image_ids:
            continue
        key = row.get("id")
        if key is not None:
            if not _is_id(key) or key in ids:
                what = "is used twice" if _is_id(key) else "is no number"
                raise DataError(
                    f"{name}: annotations[{n}]: its id {key!r} {what}; `manypose data check` finds all such"
                )
            ids.add(key)
        kept.append(row)
    return kept


def complete_rows(
    name: str, rows: Sequence[Mapping[str, Any]], kind: str, joints: int
) -> tuple[Mapping[str, Any], ...]:
    """Annotations with all that scoring reads: num_keypoints, iscrowd, and the areas and joints of their kind.

    Rows that need nothing are the same objects. Raises `DataError` for the first with numbers that are none.
    """
    return tuple(_complete(name, row, kind, joints) for row in rows)


def _complete(name: str, row: Mapping[str, Any], kind: str, joints: int) -> Mapping[str, Any]:
    entry = f"{name}: annotation {row.get('id', 'without id')}"
    added: dict[str, Any] = {}
    if kind == "wholebody":
        added["keypoints"] = _whole_body(entry, row)
    keypoints = added.get("keypoints", row.get("keypoints"))
    labelled = _check_keypoints(entry, keypoints, joints)
    box = row.get("bbox")
    if box is not None and not (isinstance(box, (Sequence, np.ndarray)) and len(box) == 4 and all(map(is_finite, box))):
        raise DataError(f"{entry}: bbox is {str(box)[:60]}, expected four finite numbers x, y, width, height")
    if row.get("area") is not None and not (is_finite(row["area"]) and row["area"] >= 0):
        raise DataError(f"{entry}: area is {row['area']!r}, expected a finite number of square pixels")
    if row.get("iscrowd", 0) not in (0, 1):
        raise DataError(f"{entry}: iscrowd is {row['iscrowd']!r}, expected 0 or 1")
    count = row.get("num_keypoints")
    if count is not None and not (is_finite(count) and count >= 0):
        raise DataError(f"{entry}: num_keypoints is {count!r}, expected how many joints are labelled")
    if count is None or kind == "wholebody":  # whose own count is that of the body alone
        added["num_keypoints"] = labelled
    if "iscrowd" not in row:
        added["iscrowd"] = 0
    if kind == "crowdpose" and row.get("area") is None and box is not None:
        added["area"] = AREA_OF_BOX * box[2] * box[3]
    return {**row, **added} if added else row


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number that float64 can hold; True and False are none."""
    kind = type(value)
    is_number = kind is float or kind is int or (isinstance(value, _NUMBERS) and kind is not bool)
    return is_number and -_LARGEST <= value <= _LARGEST


def _check_keypoints(entry: str, values: Any, joints: int) -> int:
    """How many joints are labelled; 0 where the row has no keypoints at all."""
    if values is None:
        return 0
    if not isinstance(values, (Sequence, np.ndarray)) or isinstance(values, str):
        raise DataError(f"{entry}: keypoints is a {type(values).__name__}, expected a list of numbers")
    if not len(values):
        return 0
    if len(values) != 3 * joints:
        raise DataError(
            f"{entry} has {len(values)} numbers in keypoints, expected {3 * joints}: x, y, flag of {joints} joints"
        )
    for n, value in enumerate(values):
        if not is_finite(value):
            raise DataError(f"{entry}: keypoints[{n}] is {value!r}, expected a finite number")
    return sum(flag > 0 for flag in values[2::3])


def _whole_body(entry: str, row: Mapping[str, Any]) -> list[Any]:
    """The 133 joints of a row of COCO-WholeBody, of its five lists."""
    joints: list[Any] = []
    for key, part in WHOLE_BODY_PARTS.items():
        count = 3 * (part.stop - part.start)
        values = row.get(key) or [0] * count
        if not isinstance(values, list) or len(values) != count:
            length = len(values) if isinstance(values, list) else type(values).__name__
            raise DataError(f"{entry} has {length} numbers in {key}, expected {count}")
        joints += values
    return joints


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _field(name: str, what: str, row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise DataError(f"{name}: {what} {row.get('id', 'without id')} has no {key}")
    return row[key]


def rows_of_pictures(
    pictures: Sequence[LabelledPicture],
) -> tuple[dict[Any, Mapping[str, Any]], list[dict[str, Any]], dict[Any, LabelledPicture]]:
    """COCO rows of the images (by id) and annotations of any reader's pictures, and the pictures by id.

    Ids are the set's own where all are different whole numbers, else 1, 2 ...; `zip` is where a picture lies. Areas to
    ignore are annotations without joints, crowds where they are RLEs. An unknown area is 0.53 x box (`area_from` says
    so). `head_box` (x, y, width, height) is MPII's.
    """
    own = [picture.id for picture in pictures]
    is_whole = all(isinstance(key, int) for key in own) and len(set(own)) == len(own)
    keys = own if is_whole else list(range(1, len(own) + 1))
    people = [int(key) for picture in pictures for key in picture.person_ids]
    keep_ids = all(key >= 0 for key in people) and len(set(people)) == len(people)
    images: dict[Any, Mapping[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    free = max(people, default=-1) + 1 if keep_ids else 0
    for key, picture in zip(keys, pictures, strict=True):
        width, height = picture.size
        place = {"file_name": picture.name, "zip": str(picture.archive.resolve())}
        images[key] = {"id": key, **place, "width": width, "height": height}
        for n in range(len(picture)):
            row_id = int(picture.person_ids[n]) if keep_ids else free
            free += 0 if keep_ids else 1
            rows.append({"id": row_id, "image_id": key, "category_id": 1, **_person(picture, n)})
        for box, segment in zip(picture.ignore, picture.ignore_segments, strict=True):
            crowd = {"iscrowd": int(isinstance(segment, Mapping)), "num_keypoints": 0, "keypoints": []}
            rows.append({"id": free, "image_id": key, "category_id": 1, **crowd, **_box(box)})
            free += 1
    return images, rows, dict(zip(keys, pictures, strict=True))


def _person(picture: LabelledPicture, n: int) -> dict[str, Any]:
    places = picture.keypoints[n].astype(np.float64)
    labelled = ~np.isnan(places[:, 0])
    flags = np.where(labelled, np.where(picture.visible[n], 2, 1), 0)
    joints = np.column_stack([np.where(labelled[:, None], places, 0), flags])
    row = {"iscrowd": 0, "num_keypoints": int(labelled.sum()), "keypoints": joints.ravel().tolist()}
    row |= _box(picture.boxes[n])
    if not math.isnan(picture.areas[n]):
        row["area"] = float(picture.areas[n])
        del row["area_from"]
    if picture.head_boxes is not None and not np.isnan(picture.head_boxes[n]).any():
        row["head_box"] = _box(picture.head_boxes[n])["bbox"]
    return row


def _box(box: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(value) for value in box)
    width, height = x2 - x1, y2 - y1
    return {
        "bbox": [x1 + HALF_PIXEL, y1 + HALF_PIXEL, width, height],
        "area": AREA_OF_BOX * width * height,
        "area_from": "box",
    }
