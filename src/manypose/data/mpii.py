"""Reads MPII Human Pose: its own .mat file, and the JSON lists that were made of it for top-down networks.

Sources: the official description of `mpii_human_pose_v1_u12_1.mat`; leoxiaobin/deep-high-resolution-net.pytorch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.faults import Fault, FaultLog, OnFault, load_json, make_log
from manypose.data.matlab import entries, get, load_mat, number
from manypose.data.pictures import LabelledPicture
from manypose.data.places import PicturePlaces, picture_size, safe_name
from manypose.data.records import Person, Unlabelled, make_picture, parse_joints, unlabelled_instead
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

Array = NDArray[np.float32]
WHAT = "a list of MPII's people as JSON"
JOINTS = 16
SCALE_UNIT = 200.0  # pixels of a person's height at scale 1
FIRST_PIXEL = 1.0  # of Matlab
HEAD_FILES = ("gt_valid.mat", "mpii_gt_val.mat")


def read_mpii_json(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    heads: Path | None = None,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
    content: Any = None,
) -> list[LabelledPicture]:
    """Pictures of a JSON list of {image, center, scale, joints (16, 2), joints_vis (16)}, one entry for each person.

    Coordinates of the file count from 1, absent joints are -1, -1. Boxes are squares of 200 x scale pixels around the
    centre, as the product's networks see people. `heads` is a file like gt_valid.mat with the people's head boxes, in
    the same order; such a file beside a list of its length is found. Sizes are those of the picture files.

    Raises `DataError`, or skips, as `read_coco`.
    """
    log = make_log(on_fault, faults)
    content = load_json(file, WHAT) if content is None else content
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(f"{file}: not {WHAT}: expected a list of people")
    boxes = _read_heads(file, heads, len(content))
    people: dict[str, list[Person | Unlabelled | None]] = {}
    for index, row in enumerate(content):
        try:
            name = safe_name(row.get("image"))
        except ValueError as error:
            log.add(file, f"person {index}", str(error))
            continue
        head = None if boxes is None else boxes[index]
        people.setdefault(name, []).append(_read_row(file, log, index, row, head))
    return _pictures(file, people, skeleton, images, log)


def read_mpii_mat(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    part: str | None = None,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
) -> list[LabelledPicture]:
    """Pictures of `mpii_human_pose_v1_u12_1.mat`; `part` is "train" (img_train 1) or "test" (0), None for all.

    The file has no validation part: products split one off the first and keep it in JSON lists (see `read_mpii_json`).

    People of whom only a rough place is known (all of the test part) are areas to ignore. Lenient as the file demands:
    annorect, annopoints and objpos may be missing or empty, a person may stand alone, is_visible may be a number, text,
    or missing (which means visible). Boxes as in `read_mpii_json`; `head_boxes` are the file's. Needs scipy.

    Raises `DataError`, or skips, as `read_coco`.
    """
    log = make_log(on_fault, faults)
    if part not in (None, "train", "test"):
        raise DataError(
            f"{file}: has no part {part!r}, only train and test; split a part off by picture, or read the list of one "
            "(annot/valid.json)"
        )
    release = load_mat(file).get("RELEASE")
    if release is None or not hasattr(release, "annolist"):
        raise DataError(f"{file}: not MPII's annotations: it has no RELEASE.annolist")
    flags = np.atleast_1d(get(release, "img_train", []))
    people: dict[str, list[Person | Unlabelled | None]] = {}
    for index, row in enumerate(entries(release, "annolist"), 1):
        is_train = index > len(flags) or bool(flags[index - 1])
        if part is not None and is_train != (part == "train"):
            continue
        entry = f"annolist({index})"
        try:
            name = safe_name(get(get(row, "image"), "name"))
            if name in people:
                raise ValueError(f"its picture {name} has been listed before")
        except ValueError as error:
            log.add(file, entry, str(error))
            continue
        rects = enumerate(entries(row, "annorect"), 1)
        people[name] = [
            someone
            for r, rect in rects
            if (someone := _read_rect(file, log, f"{entry}.annorect({r})", rect)) != "nobody"
        ]
    return _pictures(file, people, skeleton, images, log)


def square_box(centre: Iterable[float], scale: float) -> Array:
    """x1 y1 x2 y2 in pixels of the square that MPII's 1-based centre and scale stand for; raises `ValueError`."""
    x, y = (float(value) - FIRST_PIXEL for value in centre)
    half = float(scale) * SCALE_UNIT / 2
    if not (np.isfinite([x, y, half]).all() and half > 0):
        raise ValueError(f"center {[x + 1, y + 1]} and scale {scale} make no box")
    return np.array([x - half, y - half, x + half, y + half], np.float32)


def _pictures(
    file: Path,
    people: dict[str, list[Any]],
    skeleton: Skeleton,
    images: Path | None,
    log: FaultLog,
) -> list[LabelledPicture]:
    names, places, pictures = load_skeleton("mpii16").joints, PicturePlaces(file, images), []
    for name, group in people.items():
        place = places.find(name)
        try:
            size = picture_size(*place)
        except ValueError as error:
            log.add(file, f"image {name}", str(error))
            continue
        if any(someone is None for someone in group):  # somebody is there, and nobody knows where
            continue
        labelled = [someone for someone in group if isinstance(someone, Person)]
        unlabelled = [someone for someone in group if isinstance(someone, Unlabelled)]
        pictures.append(make_picture(place, size, labelled, unlabelled, joints=names, skeleton=skeleton, id=name))
    return pictures


def _read_row(file: Path, log: FaultLog, index: int, row: dict[str, Any], head: Array | None) -> Any:
    """A person of a JSON list, an area to ignore, or None where neither is known."""
    box, joints, texts = None, None, []
    try:
        box = square_box(row["center"], row["scale"])
    except (KeyError, TypeError, ValueError) as error:
        texts.append(_describe(error))
    try:
        joints = _read_joints(row)
    except (KeyError, TypeError, ValueError) as error:
        texts.append(_describe(error))
    for text in texts:
        log.add(file, f"person {index} ({row.get('image')})", text)
    if texts or joints is None or box is None:
        return unlabelled_instead(joints, box)
    return Person(joints, box, id=index, head_box=head) if joints[:, 2].any() else Unlabelled(box)


def _describe(error: Exception) -> str:
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _read_joints(row: dict[str, Any]) -> NDArray[np.float64]:
    """(16, 3) x, y, flag of an entry of a JSON list."""
    places = np.array(row["joints"], np.float64)
    flags = np.array(row["joints_vis"], np.float64)
    if places.shape != (JOINTS, 2) or flags.shape != (JOINTS,):
        raise ValueError(f"joints of shape {places.shape} and joints_vis {flags.shape}, expected 16 x 2 and 16")
    joints = np.column_stack([places - FIRST_PIXEL, np.where(flags > 0, 2, flags)])
    return parse_joints(joints, load_skeleton("mpii16").joints)


def _read_rect(file: Path, log: FaultLog, entry: str, rect: Any) -> Any:
    """A person of the .mat file, an area to ignore, None where a fault hides even that, or "nobody"."""
    points = list(entries(get(rect, "annopoints"), "point"))
    centre, scale = get(rect, "objpos"), number(get(rect, "scale"))
    box, joints, texts = None, None, []
    try:
        if centre is not None and scale is not None:
            box = square_box([number(get(centre, axis)) or np.nan for axis in "xy"], scale)
    except ValueError as error:
        texts.append(str(error))
    try:
        joints = parse_joints(_read_points(points), load_skeleton("mpii16").joints)
        if joints[:, 2].any() and box is None and not texts:
            texts.append("a labelled person without objpos and scale")
    except ValueError as error:
        texts.append(str(error))
    for text in texts:
        log.add(file, entry, text)
    if texts or joints is None:
        return unlabelled_instead(joints, box)
    if box is None:
        return "nobody"
    return Person(joints, box, head_box=_head_box(rect)) if joints[:, 2].any() else Unlabelled(box)


def _read_points(points: list[Any]) -> NDArray[np.float64]:
    joints = np.zeros((JOINTS, 3))
    for point in points:
        joint = number(get(point, "id"), -1)
        if joint is None or joint not in range(JOINTS):
            raise ValueError(f"a point has the id {joint}, expected 0 to 15")
        seen = number(get(point, "is_visible"), 1)
        place = [number(get(point, axis), np.nan) for axis in "xy"]
        joints[int(joint)] = [*(np.array(place, np.float64) - FIRST_PIXEL), 2 if seen else 1]
    return joints


def _head_box(rect: Any) -> Array | None:
    corners = [number(get(rect, key)) for key in ("x1", "y1", "x2", "y2")]
    return None if any(c is None for c in corners) else np.array(corners, np.float32) - np.float32(FIRST_PIXEL)


def _read_heads(file: Path, heads: Path | None, count: int) -> NDArray[np.float32] | None:
    """(count, 4) head boxes of a file like gt_valid.mat; None where there is no such file for this list."""
    beside = [file.with_name(name) for name in HEAD_FILES if file.with_name(name).is_file()]
    chosen = heads or next(iter(beside), None)
    if chosen is None:
        return None
    boxes = np.asarray(load_mat(chosen).get("headboxes_src", np.zeros(0)), np.float32)
    if boxes.ndim == 3 and boxes.shape == (2, 2, count):
        return boxes.transpose(2, 0, 1).reshape(count, 4) - np.float32(FIRST_PIXEL)
    if heads is None:  # that of another part
        return None
    raise DataError(f"{heads}: headboxes_src has shape {boxes.shape}, expected (2, 2, {count}) as {file} has people")
