"""Reads COCO-WholeBody: COCO's annotations with feet, face and hands in lists of their own, 133 joints together.

Source: jin-s13/COCO-WholeBody, data_format.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.coco import Layout, Row, read_layout, stated_area
from manypose.data.faults import Fault, OnFault, load_json, make_log
from manypose.data.pictures import LabelledPicture
from manypose.data.records import parse_joints
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

WHAT = "a COCO-WholeBody file"
# Key of the joints, flag that they are labelled, number of joints; in the order of the 133.
PARTS = (
    ("keypoints", "", 17),
    ("foot_kpts", "foot_valid", 6),
    ("face_kpts", "face_valid", 68),
    ("lefthand_kpts", "lefthand_valid", 21),
    ("righthand_kpts", "righthand_valid", 21),
)


def read_wholebody(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    check_files: bool = False,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
    content: Any = None,
) -> list[LabelledPicture]:
    """Pictures of a COCO-WholeBody file (v1.0) with all 133 joints, mapped by name into `skeleton`; as `read_coco`.

    A joint is labelled where its flag is above 0: the hands' flags are confidences such as 0.038, the face's are 1.
    The joints of a part that nobody labelled (its `..._valid` is false, or it has no joint) are unsure.
    """
    content = load_json(file, WHAT) if content is None else content
    names = load_skeleton("wholebody133").joints
    layout = Layout(names, _parse, _count, stated_area, _unsure)
    try:
        people = [row for row in content["categories"] if row.get("name", "person") == "person"][:1]
        return read_layout(file, content, layout, skeleton, people, images, check_files, make_log(on_fault, faults))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not {WHAT}: {type(error).__name__} {error}") from None


def _parse(row: Row) -> NDArray[np.float64]:
    names = load_skeleton("wholebody133").joints
    joints, first = [], 0
    for key, _, count in PARTS:
        values = row.get(key) or [0] * 3 * count
        try:
            part = parse_joints(values, names[first : first + count])
        except ValueError as error:
            raise ValueError(str(error).replace("keypoints", key)) from None
        if key != "keypoints":  # 1 stands for a labelled joint there, or is a full confidence
            part[:, 2] = np.where(part[:, 2] > 0, 2, 0) if key != "foot_kpts" else part[:, 2]
        joints.append(part)
        first += count
    return np.concatenate(joints)


def _count(row: Row) -> int:
    return sum(flag is not None and flag != 0 for key, _, _ in PARTS for flag in (row.get(key) or [])[2::3])


def _unsure(row: Row) -> NDArray[np.bool_]:
    unsure = []
    for key, valid, count in PARTS:
        is_open = bool(valid) and (not row.get(valid, True) or not any((row.get(key) or [])[2::3]))
        unsure.append(np.full(count, is_open))
    return np.concatenate(unsure)
