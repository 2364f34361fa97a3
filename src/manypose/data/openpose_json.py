"""Reads the training file of the original multi-person network, COCO.json, made with Matlab's jsonlab.

Source: ZheC/Realtime_Multi-Person_Pose_Estimation, training/genJSON.m.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.faults import Fault, FaultLog, OnFault, load_json, make_log
from manypose.data.pictures import LabelledPicture
from manypose.data.places import PicturePlaces, check_there, safe_name
from manypose.data.product_masks import attach_masks
from manypose.data.records import Person, Unlabelled, make_picture, parse_box, parse_joints, unlabelled_instead
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

Row = Mapping[str, Any]
WHAT = "the original training file COCO.json"
_FLAGS = {1: 2, 0: 1, 2: 0}  # the file's code: visible, hidden, absent -> COCO's


def read_openpose_json(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    masks: Path | None = None,
    part: str | None = None,
    check_files: bool = False,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
    content: Any = None,
) -> list[LabelledPicture]:
    """Pictures of a COCO.json ({"root": [...]}), joints mapped by name into `skeleton`.

    The file has one entry for each main person, with all others of the picture in it; here each picture comes once.
    Numbers have three decimals, ids too. With exactly one other person his lists are not wrapped in another list, and
    with none they are empty or objects, so `numOtherPeople` decides. `part` is "train" or "val" (isValidation).
    People without joints are not in the file but in its mask files: give their place as `masks`, see `attach_masks`.

    Raises `DataError`, or skips, as `read_coco`.
    """
    log = make_log(on_fault, faults)
    content = load_json(file, WHAT) if content is None else content
    rows = content.get("root") if isinstance(content, dict) else None
    rows = [rows] if isinstance(rows, dict) else rows  # jsonlab does not wrap a single one
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: not {WHAT}: expected an object with a list 'root'")
    if part not in (None, "train", "val"):
        raise DataError(f"{file}: has no part {part!r}; give train or val")
    groups: dict[Any, list[tuple[int, Row]]] = {}
    for index, row in enumerate(rows, 1):
        if part is None or bool(row.get("isValidation")) == (part == "val"):
            groups.setdefault(row.get("img_paths"), []).append((index, row))
    places = PicturePlaces(file, images)
    read = (_read_group(file, log, group, places, skeleton, check_files) for group in groups.values())
    pictures = [picture for picture in read if picture is not None]
    return attach_masks(pictures, masks) if masks else pictures


def _read_group(
    file: Path,
    log: FaultLog,
    group: list[tuple[int, Row]],
    places: PicturePlaces,
    skeleton: Skeleton,
    check_files: bool,
) -> LabelledPicture | None:
    """A picture from all entries that name it."""
    names = load_skeleton("coco17").joints
    index, first = group[0]
    entry = f"root({index})"
    try:
        name = safe_name(first.get("img_paths"))
        size = (round(float(first["img_width"])), round(float(first["img_height"])))
    except (KeyError, TypeError, ValueError) as error:
        log.add(file, entry, f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error))
        return None
    place = places.find(name)
    if check_files and not check_there(log, file, entry, *place):
        return None
    people: dict[Any, Person | Unlabelled] = {}
    for number, row in group:
        for key, someone in _read_people(file, log, f"root({number})", row, names):
            if someone is None:
                return None
            people.setdefault(key, someone)
    return make_picture(
        place,
        size,
        [someone for someone in people.values() if isinstance(someone, Person)],
        [someone for someone in people.values() if isinstance(someone, Unlabelled)],
        joints=names,
        skeleton=skeleton,
        id=_picture_id(first, name),
    )


def _read_people(
    file: Path, log: FaultLog, entry: str, row: Row, names: tuple[str, ...]
) -> list[tuple[Any, Person | Unlabelled | None]]:
    """The main person of an entry and the others, each with what makes him the same one in another entry."""
    try:
        count = int(row.get("numOtherPeople", 0))
        joints = [row["joint_self"], *_unwrap(row, "joint_others", count, 2)]
        boxes = [row["bbox"], *_unwrap(row, "bbox_other", count, 1)]
        areas = [row.get("segment_area"), *_unwrap(row, "segment_area_other", count, 0)]
    except (KeyError, TypeError, ValueError) as error:
        log.add(file, entry, f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error))
        return [(None, None)]
    people = []
    for values, box, area in zip(joints, boxes, areas, strict=True):
        people.append((repr((box, values)), _read_person(file, log, entry, values, box, area, names)))
    return people


def _unwrap(row: Row, key: str, count: int, depth: int) -> list[Any]:
    """The `count` entries of a list of others; `depth` lists are within each entry.

    Raises `ValueError` where there are not so many.
    """
    if count == 0:
        return []
    value = row.get(key)
    found, inner = 0, value
    while isinstance(inner, list) and inner:
        found, inner = found + 1, inner[0]
    entries = [value] if count == 1 and found == depth else value
    if not isinstance(entries, list) or len(entries) != count:
        held = len(entries) if isinstance(entries, list) else 0
        raise ValueError(f"{key} holds {held} people, but numOtherPeople is {count}")
    return entries


def _read_person(
    file: Path, log: FaultLog, entry: str, values: Any, box: Any, area: Any, names: tuple[str, ...]
) -> Person | Unlabelled | None:
    corners, joints, texts = None, None, []
    try:
        corners = parse_box(box)
    except ValueError as error:
        texts.append(str(error))
    try:
        joints = parse_joints(_recode(values), names)
    except ValueError as error:
        texts.append(str(error))
    for text in texts:
        log.add(file, entry, text)
    if joints is None or corners is None:
        return unlabelled_instead(joints, corners)
    if not joints[:, 2].any():
        return Unlabelled(corners)
    return Person(joints, corners, area=float(area) if isinstance(area, (int, float)) and area > 0 else np.nan)


def _recode(values: Any) -> NDArray[np.float64]:
    """Joints with COCO's flags; jsonlab writes numbers that are none as text, which are NaN here."""
    try:
        rows = np.array([[np.nan if isinstance(v, str) else v for v in row] for row in values], np.float64)
    except (TypeError, ValueError):
        raise ValueError("its joints are not rows of three numbers") from None
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"its joints have shape {rows.shape}, expected 17 x 3")
    codes = np.round(rows[:, 2])
    if not np.isin(codes, list(_FLAGS)).all():
        raise ValueError("a joint's code is not 0 (hidden), 1 (visible) or 2 (absent)")
    rows[:, 2] = [_FLAGS[int(code)] for code in codes]
    return rows


def _picture_id(row: Row, name: str) -> int | str:
    value = row.get("image_id")
    return round(value) if isinstance(value, (int, float)) else name
