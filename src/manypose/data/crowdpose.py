"""Reads CrowdPose: 14 joints in COCO's layout, without areas.

Source: Jeff-sjtu/CrowdPose, crowdpose-api.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.coco import Layout, Row, read_layout
from manypose.data.faults import Fault, OnFault, load_json, make_log
from manypose.data.pictures import LabelledPicture
from manypose.data.records import AREA_OF_BOX, parse_joints
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

WHAT = "a CrowdPose file"
BODY_JOINTS = 12  # without head and neck


def read_crowdpose(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    check_files: bool = False,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
    content: Any = None,
) -> list[LabelledPicture]:
    """Pictures of a CrowdPose file with its 14 joints, mapped by name into `skeleton`; otherwise as `read_coco`.

    Areas are 0.53 x box, as in its evaluation. The file's `num_keypoints` leaves out head and neck, so joints are
    counted anew. Head and neck, whose flag is never above 1, count as visible.
    """
    content = load_json(file, WHAT) if content is None else content
    layout = Layout(load_skeleton("crowdpose14").joints, _parse, _count, _area)
    try:
        people = [row for row in content["categories"] if row.get("name", "person") == "person"][:1]
        return read_layout(file, content, layout, skeleton, people, images, check_files, make_log(on_fault, faults))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not {WHAT}: {type(error).__name__} {error}") from None


def _parse(row: Row) -> NDArray[np.float64]:
    joints = parse_joints(row.get("keypoints", []), load_skeleton("crowdpose14").joints)
    joints[BODY_JOINTS:, 2] = np.where(joints[BODY_JOINTS:, 2] > 0, 2, 0)
    return joints


def _count(row: Row) -> int:
    return sum(flag is not None and flag != 0 for flag in (row.get("keypoints") or [])[2::3])


def _area(row: Row) -> float:
    width, height = row["bbox"][2:]
    return float(AREA_OF_BOX * width * height)
