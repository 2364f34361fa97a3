"""Reads YOLO pose labels: one text file for each picture, and a data.yaml.

Source: ultralytics/ultralytics, docs/en/datasets/pose and ultralytics/data/utils.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from manypose.data.coco import named_skeleton
from manypose.data.faults import Fault, FaultLog, OnFault, make_log
from manypose.data.pictures import LabelledPicture
from manypose.data.places import picture_size
from manypose.data.records import Person, Unlabelled, make_picture, parse_box
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

PARTS = ("train", "val", "test")
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
USUAL = {17: "coco17", 21: "hand21", 133: "wholebody133"}  # skeletons of files that do not name their joints
LEAST, MOST = -0.01, 1.01  # parts of the picture's sides; the product rejects what lies further out


@dataclass(frozen=True)
class YoloSet:
    """What a data.yaml says: its folder, pictures of each part, joints, numbers for each, classes that are people."""

    file: Path
    root: Path
    parts: Mapping[str, tuple[Path, ...]]
    skeleton: Skeleton
    numbers: int
    classes: int
    people: frozenset[int]


def read_yolo(
    file: Path,
    skeleton: Skeleton | None = None,
    *,
    part: str | None = None,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
) -> list[LabelledPicture]:
    """Pictures of a data.yaml with `kpt_shape`, joints mapped by name into `skeleton` (None: as they are).

    `part` is train, val or test; None reads all that the file names. Names of the joints are its `kpt_names`, else
    those of COCO, of a hand or of the whole body where their number is 17, 21 or 133. A picture without a label file
    shows nobody; a person without a labelled joint is an area to ignore. With two numbers for each joint it is labelled
    unless one is below 0. Sizes are those of the upright pictures.

    Raises `DataError`, or skips, as `read_coco`; a picture with any faulty row is left out, as by the product.
    """
    log = make_log(on_fault, faults)
    described = describe_yolo(file)
    if part is not None and part not in described.parts:
        raise DataError(f"{file}: has no part {part!r}; it has {', '.join(described.parts)}")
    pictures = []
    for name in [part] if part else described.parts:
        for path in _pictures(described, name):
            picture = _read_picture(described, log, path, skeleton or described.skeleton)
            pictures += [] if picture is None else [picture]
    return pictures


def describe_yolo(file: Path) -> YoloSet:
    """What a data.yaml says; raises `DataError` when it is none of poses."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        count, numbers = (int(value) for value in content["kpt_shape"])
        root = file.parent / str(content.get("path") or ".")
        root = root if root.is_dir() else file.parent  # `path` is that of another machine
        places = {part: content[part] for part in PARTS if content.get(part)}
        lists = {part: (value,) if isinstance(value, str) else tuple(value) for part, value in places.items()}
        names = content.get("names") or {0: "person"}
        classes = dict(enumerate(names)) if isinstance(names, list) else names
        people = frozenset(key for key, name in classes.items() if name == "person") or frozenset(classes)
        if numbers not in (2, 3) or count < 1 or not lists:
            raise ValueError(f"kpt_shape {content['kpt_shape']}, parts {list(lists)}")
        parts = {part: tuple(root / str(path) for path in paths) for part, paths in lists.items()}
        return YoloSet(file, root, parts, _skeleton(content, count, min(people)), numbers, len(classes), people)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: give the path of a data.yaml") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{file}: not the data.yaml of a set of poses: {type(error).__name__} {text}") from None


def _skeleton(content: Mapping[str, Any], count: int, person: int) -> Skeleton:
    listed = content.get("kpt_names") or {}
    names = tuple(str(name) for name in (listed.get(person, ()) if isinstance(listed, dict) else listed))
    if names:
        if len(names) != count:
            raise ValueError(f"{len(names)} kpt_names, but kpt_shape says {count}")
        return named_skeleton(names)
    if count in USUAL:
        return load_skeleton(USUAL[count])
    flip = [int(k) for k in content.get("flip_idx") or range(count)]
    pairs = tuple((a, b) for a, b in enumerate(flip) if a < b)
    return Skeleton("file", tuple(f"joint_{k}" for k in range(count)), pairs=pairs)


def _pictures(described: YoloSet, part: str) -> Iterator[Path]:
    for place in described.parts[part]:
        if place.is_dir():
            yield from sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
        elif place.is_file():
            lines = place.read_text(encoding="utf-8").split("\n")
            yield from (place.parent / line.strip() for line in lines if line.strip())
        else:
            raise DataError(f"{described.file}: its part {part!r}, {place}, does not exist")


def _label_file(picture: Path) -> Path:
    folder, found, rest = picture.as_posix().rpartition("/images/")
    return Path(f"{folder}/labels/{rest}" if found else picture.as_posix()).with_suffix(".txt")


def _read_picture(described: YoloSet, log: FaultLog, path: Path, skeleton: Skeleton) -> LabelledPicture | None:
    labels = _label_file(path)
    try:
        size = picture_size(path.parent, path.name)
    except ValueError as error:
        log.add(described.file, f"picture {path.name}", str(error))
        return None
    people: list[Person] = []
    unlabelled: list[Unlabelled] = []
    lines = labels.read_text(encoding="utf-8").splitlines() if labels.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line in lines[: number - 1]:  # as in the product, the same row counts once
            continue
        try:
            someone = _read_row(described, line, size)
        except ValueError as error:
            log.add(labels, f"row {number}", str(error))
            return None
        if isinstance(someone, Person):
            people.append(someone)
        elif someone:
            unlabelled.append(someone)
    root = described.root if path.is_relative_to(described.root) else path.parent
    name = path.relative_to(root).as_posix()
    joints = described.skeleton.joints
    return make_picture((root, name), size, people, unlabelled, joints=joints, skeleton=skeleton, id=name)


def _read_row(described: YoloSet, line: str, size: tuple[int, int]) -> Person | Unlabelled | None:
    try:
        values = np.array(line.split(), np.float64)
    except ValueError:
        raise ValueError(f"it holds something that is not a number: {line[:60]!r}") from None
    count = len(described.skeleton)
    if len(values) != 5 + count * described.numbers:
        raise ValueError(f"{len(values)} numbers, expected {5 + count * described.numbers}: class, box, {count} joints")
    if not np.isfinite(values).all():
        raise ValueError("it holds a number that is none (NaN or infinite)")
    if not 0 <= values[0] < described.classes:
        raise ValueError(f"class {values[0]:g}, but there are {described.classes} classes")
    rows = values[5:].reshape(count, described.numbers)
    flags = rows[:, 2] if described.numbers == 3 else np.where((rows[:, :2] < 0).any(axis=1), 0, 2)
    parts = np.concatenate([values[1:5], rows[flags > 0, :2].ravel()])
    if parts.min() < LEAST or parts.max() > MOST:
        raise ValueError(f"a place outside of the picture: {parts.min():.3f} to {parts.max():.3f} of its sides")
    centre, extent = values[1:3] * size, values[3:5] * size
    box = parse_box([*(centre - extent / 2), *extent], "its box")
    if int(values[0]) not in described.people:
        return None
    joints = np.column_stack([rows[:, :2] * size * (flags > 0)[:, None], np.where(flags <= 0, 0, np.clip(flags, 1, 2))])
    return Person(joints, box) if (flags > 0).any() else Unlabelled(box)
