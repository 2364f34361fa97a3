"""Mends one annotation of a COCO-style file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from manypose.data.check.people import FAR_OUTSIDE

BOX_AREA = 0.53  # usual share of a person's area in the box (CrowdPose's evaluator)
MARGIN = 0.1  # parts of the size that a box around joints is larger, half of it on each side

_JOINT_FAULTS = {"not-a-number", "joint-outside", "flag-odd"}
_BOX_FAULTS = {"box-empty", "box-outside", "box-beside", "field-missing", "not-a-number"}


def mend_annotation(
    row: dict[str, Any], kinds: set[str], *, joints: int, size: tuple[int, int], keys: Sequence[str] = ("keypoints",)
) -> list[str] | None:
    """Change an annotation so that the faults of these kinds are gone; what was done, or None where nothing helps.

    `size` is the picture's width and height in pixels; `keys` are the fields of x, y, flag.
    """
    done = []
    if "joint-count" in kinds:
        for key in keys:
            row.pop(key, None)
        done.append("its joints are left out, the box stays")
    if kinds & _JOINT_FAULTS and (dropped := sum(_mend_joints(row.get(key) or [], size) for key in keys)):
        done.append(f"{dropped} joints are no longer labelled, or have another flag")
    if kinds & _BOX_FAULTS:
        box = _good_box(row.get("bbox"), size) or _box_around([row.get(key) or [] for key in keys], size)
        if box is None:
            return None
        if box != row.get("bbox"):
            row["bbox"] = box
            done.append(f"its box is now {box}")
    if "segment-odd" in kinds:
        polygons = row.pop("segmentation", None)
        good = (
            [p for p in polygons if isinstance(p, list) and len(p) >= 6 and not len(p) % 2]
            if (isinstance(polygons, list))
            else []
        )
        if good:
            row["segmentation"] = good
        done.append("polygons or mask that cannot be used are left out")
    done += _count_anew(row, kinds)
    return done


def _count_anew(row: dict[str, Any], kinds: set[str]) -> list[str]:
    done = []
    flags = (row.get("keypoints") or [])[2::3]
    count = sum(flag > 0 for flag in flags)
    if (
        "num_keypoints" in row
        and row["num_keypoints"] != count
        and kinds & (_JOINT_FAULTS | {"count-wrong", "joint-count"})
    ):
        row["num_keypoints"] = count
        done.append(f"num_keypoints is now {count}")
    box, area = row["bbox"], row.get("area")
    largest = 1.05 * max(box[2] * box[3], 1)
    good = isinstance(area, (int, float)) and 0 < area <= largest
    if "area" in row and not good:
        row["area"] = round(BOX_AREA * box[2] * box[3], 2)
        done.append(f"area is now {row['area']:g}, {BOX_AREA} of the box")
    return done


def _mend_joints(values: list[Any], size: tuple[int, int]) -> int:
    """Take the label from joints that are not finite or far outside, and bring flags to 0, 1, 2; how many changed."""
    changed = 0
    far = FAR_OUTSIDE * max(size)
    for at in range(0, len(values) - 2, 3):
        x, y, flag = values[at : at + 3]
        if flag == 0 and _finite(x, y):
            continue
        inside = (
            _finite(x, y, flag)
            and flag > 0
            and (not all(size) or (-far <= x <= size[0] - 1 + far and -far <= y <= size[1] - 1 + far))
        )
        better = [x, y, flag if flag in (1, 2) or 0 < flag < 2 else 2] if inside else [0, 0, 0]
        if better != [x, y, flag]:
            values[at : at + 3] = better
            changed += 1
    return changed


def _finite(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _good_box(box: Any, size: tuple[int, int]) -> list[float] | None:
    """A box cut at the picture's edge; None when nothing is left of it."""
    if not (isinstance(box, list) and len(box) == 4 and _finite(*box) and min(box[2:]) > 0):
        return None
    if not all(size):
        return box
    left, top = max(box[0], 0), max(box[1], 0)
    width, height = min(box[0] + box[2], size[0]) - left, min(box[1] + box[3], size[1]) - top
    if min(width, height) <= 0:
        return None
    cut = [round(value, 2) for value in (left, top, width, height)]
    same = all(abs(a - b) <= 0.01 for a, b in zip(cut, box, strict=True))
    return box if same else cut


def _box_around(parts: Sequence[list[Any]], size: tuple[int, int]) -> list[float] | None:
    """A box around the labelled joints; None without two that are apart."""
    points = [(v[at], v[at + 1]) for v in parts for at in range(0, len(v) - 2, 3) if v[at + 2] > 0]
    if len(points) < 2:
        return None
    (x1, x2), (y1, y2) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    margin = MARGIN / 2 * max(x2 - x1, y2 - y1)
    if margin <= 0:
        return None
    return _good_box([x1 - margin, y1 - margin, x2 - x1 + 2 * margin, y2 - y1 + 2 * margin], size)
