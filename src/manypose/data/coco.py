"""Reads COCO-style keypoint files: COCO itself (2014, 2017), and any other file with joints of its own category."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.faults import Fault, FaultLog, OnFault, load_json, make_log
from manypose.data.pictures import LabelledPicture
from manypose.data.places import PicturePlaces, check_there, safe_name
from manypose.data.records import (
    Person,
    Unlabelled,
    make_picture,
    parse_box,
    parse_joints,
    parse_segment,
    unlabelled_instead,
)
from manypose.data.teacher import read_teacher, with_teacher
from manypose.errors import DataError, SkeletonError
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names, skeleton_of_joints

_logger = logging.getLogger(__name__)
Row = Mapping[str, Any]
WHAT = "a COCO-style keypoint file"


@dataclass(frozen=True)
class Layout:
    """How the annotations of a kind of file hold joints: names, the numbers of a row, how many of them are labelled."""

    joints: tuple[str, ...]
    parse: Callable[[Row], NDArray[np.float64]]
    count: Callable[[Row], int]
    area: Callable[[Row], float]
    unsure: Callable[[Row], NDArray[np.bool_] | None] = lambda row: None


@dataclass(frozen=True)
class _Job:
    """What all pictures of a file are read with."""

    file: Path
    layout: Layout
    skeleton: Skeleton
    faults: FaultLog
    places: PicturePlaces
    check_files: bool


def read_coco(
    file: Path,
    skeleton: Skeleton,
    *,
    teacher: Path | None = None,
    images: Path | None = None,
    category: str | None = None,
    check_files: bool = False,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
    content: Any = None,
) -> list[LabelledPicture]:
    """Pictures of a COCO-style keypoint file with their people, joints mapped by name into `skeleton`.

    The pictures are in a zip file named by the image's `zip`, in the folder or zip file `images`, or where
    `PicturePlaces` finds them. People without joints and crowds become areas to ignore. Joints that the file's own
    skeleton does not have are unsure. Joints are those of the first category that has any, and people those of all
    categories with the same joints; or both are those of the one category so called.
    `teacher` is a JSON file (.json or .json.gz) of people that a network found (see `read_teacher`); they stand in for
    people without labels, and fill joints that the file does not know. `check_files` looks for every picture.
    `content` is what the file holds, where it is read already.

    Raises `DataError` that names the file and what is wrong with it. With `on_fault` "skip", people with faulty labels
    become areas to ignore, pictures that are missing are left out, and each fault is added to the list `faults`.
    """
    found = read_teacher(teacher) if teacher else {}
    content = load_json(file, WHAT) if content is None else content
    try:
        _, categories = content["annotations"], content["categories"]
        chosen = _choose_category(file, categories, category)
        layout = coco_layout(tuple(chosen["keypoints"]) if chosen else ())
        alike = [row for row in categories if row is chosen or (category is None and same_joints(row, chosen))]
        pictures = read_layout(file, content, layout, skeleton, alike, images, check_files, make_log(on_fault, faults))
        return (
            [with_teacher(picture, found.get(picture.id, []), skeleton) for picture in pictures] if found else pictures
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not {WHAT}: {type(error).__name__} {error}") from None


def coco_layout(names: tuple[str, ...]) -> Layout:
    """The layout of plain COCO annotations with joints of these names."""
    return Layout(
        joints=names,
        parse=lambda row: parse_joints(row.get("keypoints", []), names),
        count=_count_joints,
        area=stated_area,
        unsure=lambda row: np.isin(np.arange(len(names)), row["unsure"]) if row.get("unsure") else None,
    )


def stated_area(row: Row) -> float:
    """The area of an annotation, NaN where it says none."""
    area = row.get("area")
    return float(area) if isinstance(area, (int, float)) and area > 0 else float("nan")


def coco_skeleton(file: Path, *, content: Any = None, category: str | None = None) -> Skeleton:
    """The skeleton of a COCO-style file's own joints: a published one where the names are its, else that of the file.

    Limbs are the category's `skeleton`, which counts from 1. Raises `DataError` when the file has no joints.
    """
    content = load_json(file, WHAT) if content is None else content
    try:
        chosen = _choose_category(file, content["categories"], category)
        if chosen is None:
            raise DataError(f"{file}: no category has keypoints; name a skeleton")
        names = tuple(str(name) for name in chosen["keypoints"])
        limbs = tuple((int(a) - 1, int(b) - 1) for a, b in chosen.get("skeleton") or ())
        return named_skeleton(names, limbs, name=str(chosen.get("name", "file")))
    except (KeyError, TypeError, ValueError, AttributeError, SkeletonError) as error:
        raise DataError(f"{file}: its categories are not COCO's: {type(error).__name__} {error}") from None


def named_skeleton(names: tuple[str, ...], limbs: tuple[tuple[int, int], ...] = (), *, name: str = "file") -> Skeleton:
    """The published skeleton with exactly these joints, or one of these joints and limbs, pairs told by their names."""
    for known in skeleton_names():
        if load_skeleton(known).joints == names:
            return load_skeleton(known)
    grey = ((180, 180, 180),) * len(limbs)
    return Skeleton(name, names, limbs=limbs, colours=grey, pairs=skeleton_of_joints(names).pairs)


def read_layout(
    file: Path,
    content: Any,
    layout: Layout,
    skeleton: Skeleton,
    categories: Sequence[Row],
    images: Path | None,
    check_files: bool,
    faults: FaultLog,
) -> list[LabelledPicture]:
    """Pictures of a COCO-style file whose annotations are of `categories` (any, if empty) and hold joints as `layout`.

    Raises `DataError` for faults, or KeyError, TypeError, ValueError where it is not such a file at all.
    """
    wanted = [category.get("id") for category in categories]
    rows: dict[Any, list[Row]] = defaultdict(list)
    seen: dict[Any, Row] = {}
    for row in content["annotations"]:
        if wanted and row.get("category_id", wanted[0]) not in wanted:
            continue
        key = row.get("id")
        if key is not None and key in seen:
            faults.add(file, f"annotation {key}", "its id appears twice")
            if seen[key] == row:
                continue
            row = {**row, "twice": True}
        seen[key] = row
        rows[row["image_id"]].append(row)
    job = _Job(file, layout, skeleton, faults, PicturePlaces(file, images), check_files)
    pictures, ids = [], set()
    for image in content["images"]:
        if image["id"] in ids:
            faults.add(file, f"image {image['id']}", "its id appears twice")
            continue
        ids.add(image["id"])
        picture = _read_picture(job, image, rows[image["id"]])
        pictures += [] if picture is None else [picture]
    _look_for_strays(file, rows, ids)
    return pictures


def _look_for_strays(file: Path, rows: Mapping[Any, Sequence[Row]], ids: Collection[Any]) -> None:
    """Warn of annotations of pictures that the file does not have; where it has none of them, its ids do not match."""
    strays = [key for key in rows if key not in ids]
    if not strays:
        return
    text = f"{file}: {sum(len(rows[key]) for key in strays)} annotations are of pictures that it does not list"
    if ids and len(strays) == len(rows) - sum(not rows[key] for key in ids):
        raise DataError(
            f"{text}, as all of them are: image_id {strays[0]!r}, where images have ids like {next(iter(ids))!r}"
        )
    _logger.warning("%s, such as image_id %r; they are left out", text, strays[0])


def _read_picture(job: _Job, image: Row, rows: list[Row]) -> LabelledPicture | None:
    entry = f"image {image['id']}"
    size = (image["width"], image["height"])
    try:
        name = safe_name(image["file_name"])
        if not all(isinstance(side, (int, float)) and 1 <= side < 2**31 for side in size):
            raise ValueError(f"its size is {size[0]} x {size[1]}")
    except ValueError as error:
        job.faults.add(job.file, entry, str(error))
        return None
    place = job.places.find(name, image)
    if job.check_files and not check_there(job.faults, job.file, entry, *place):
        return None
    people: list[Person] = []
    unlabelled: list[Unlabelled] = []
    for row in rows:
        someone = _read_person(job, row, (int(size[0]), int(size[1])))
        if isinstance(someone, Person):
            people.append(someone)
        elif isinstance(someone, Unlabelled):
            unlabelled.append(someone)
        elif someone == "lost":
            return None
    return make_picture(
        place,
        (int(size[0]), int(size[1])),
        people,
        unlabelled,
        joints=job.layout.joints,
        skeleton=job.skeleton,
        id=image["id"],
    )


def _read_person(job: _Job, row: Row, size: tuple[int, int]) -> Person | Unlabelled | str:
    """A person, or an area to ignore; "nobody" where there is neither, "lost" where nobody knows which area."""
    entry = f"annotation {row.get('id', 'without id')} of image {row['image_id']}"
    box, joints, segment, texts = None, None, None, []
    is_labelled = not row.get("iscrowd")
    try:
        is_labelled = is_labelled and job.layout.count(row) > 0
    except (TypeError, ValueError):
        texts.append(f"num_keypoints is {row.get('num_keypoints')!r}, expected a number")
    try:
        box = parse_box(row.get("bbox"))
    except ValueError as error:
        texts.append(str(error))
    try:
        segment = parse_segment(row.get("segmentation"), size)
    except ValueError as error:
        texts.append(str(error))
    try:
        joints = job.layout.parse(row) if is_labelled else None
    except ValueError as error:
        texts.append(str(error))
    for text in texts:
        job.faults.add(job.file, entry, text)
    if texts or row.get("twice") or joints is None or not joints[:, 2].any():
        return unlabelled_instead(joints, box, segment) or ("lost" if is_labelled else "nobody")
    assert box is not None
    return Person(
        joints=joints,
        box=box,
        area=job.layout.area(row),
        segment=segment,
        id=row["id"] if isinstance(row.get("id"), int) else -1,
        head_box=parse_box(row["head_box"], "head_box") if row.get("head_box") else None,
        unsure=job.layout.unsure(row),
    )


def _choose_category(file: Path, categories: list[Row], name: str | None) -> Row | None:
    """The category that is called so, or the first that has joints; None when there is no such, and none is named."""
    with_joints = [category for category in categories if category.get("keypoints")]
    if name is None:
        return next(iter(with_joints), None)
    chosen = next((category for category in with_joints if category.get("name") == name), None)
    if chosen is None:
        known = ", ".join(str(category.get("name")) for category in with_joints) or "none"
        raise DataError(f"{file}: has no category {name!r} with keypoints; those with keypoints: {known}")
    return chosen


def same_joints(category: Row, other: Row | None) -> bool:
    """Whether two categories have the same joints."""
    return bool(other and category.get("keypoints")) and category.get("keypoints") == (other or {}).get("keypoints")


def _count_joints(row: Row) -> int:
    """How many joints an annotation labels; not every file says it."""
    if "num_keypoints" in row:
        return int(row["num_keypoints"])
    return sum(flag is not None and flag != 0 for flag in (row.get("keypoints") or [])[2::3])
