"""Labels as the checks see them: arrays of all people of a file, read leniently so that every fault can be named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.check.findings import Finding
from manypose.data.coco import same_joints
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

Array = NDArray[np.float64]
Row = dict[str, Any]

WHOLE_BODY_KEYS = ("foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a file: its place in the file's list, id, name, and size (0, 0 where the file does not say)."""

    index: int
    id: Any
    name: str
    size: tuple[int, int]
    row: Row

    @property
    def entry(self) -> str:
        """How the findings call it."""
        return f"images[{self.index}] (id {self.id}, {self.name})"


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a file: N people with K joints.

    keypoints  (N, K, 3) float64: x, y in pixels, and the flag; flag 0 where there is no label that can be used
    boxes      (N, 4) float64, x y w h along the edges of pixels, NaN without a good one
    pictures   by place in the file; `where` (N,) is the person's picture there, -1 where it is not listed
    rows       (N,) places of the annotations in the file; `ids` their ids
    crowd      (N,) bool
    flip       (K,) the joints of a mirrored picture
    faults     what was found while reading
    content    the file itself, None for what is no COCO-style file
    """

    file: Path
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip: NDArray[np.intp]
    pictures: tuple[Picture, ...]
    where: NDArray[np.intp]
    keypoints: Array
    boxes: Array
    crowd: NDArray[np.bool_]
    rows: NDArray[np.intp]
    ids: tuple[Any, ...]
    faults: list[Finding] = field(default_factory=list)
    content: dict[str, Any] | None = None

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N, K): which joints have a label."""
        return self.keypoints[..., 2] > 0

    def entry(self, person: int) -> str:
        """How the findings call a person."""
        picture = f", {self.pictures[self.where[person]].name}" if self.where[person] >= 0 else ""
        return f"annotations[{self.rows[person]}] (id {self.ids[person]}{picture})"

    def finding(self, kind: str, person: int, text: str) -> Finding:
        """A finding about a person."""
        image = int(self.where[person])
        return Finding(kind, self.file, self.entry(person), text, image if image >= 0 else None, int(self.rows[person]))


def read_labels(file: Path) -> Labels:
    """The labels of a COCO-style file with all that can be read; its faults are in `faults`.

    The first category with keypoints counts, or, without any, all boxes. Of COCO-WholeBody all 133 joints are read.
    Raises `DataError` when the file is no JSON, or has no list of images and of annotations.
    """
    return labels_of_content(file, _load(file))


def labels_of_content(file: Path, content: dict[str, Any]) -> Labels:
    """The same, of what has been read already; the findings name `file`."""
    faults: list[Finding] = []
    images = _dicts(file, content, "images", faults)
    annotations = _dicts(file, content, "annotations", faults)
    categories = [c for c in content.get("categories") or [] if isinstance(c, dict)]
    category = next((c for c in categories if c.get("keypoints")), None)
    joints, limbs, flip = _skeleton(category, whole=any(WHOLE_BODY_KEYS[0] in row for _, row in annotations[:100]))
    pictures = tuple(_picture(file, index, row, faults) for index, row in images)
    by_id = {picture.id: place for place, picture in reversed(list(enumerate(pictures)))}
    kept = _of_category(file, annotations, categories, category, faults)
    reader = _Reader(file, joints, pictures, faults)
    people = [reader.person(index, row, by_id) for index, row in kept]
    count = len(people)
    return Labels(
        file=file,
        joints=joints,
        limbs=limbs,
        flip=flip,
        pictures=pictures,
        where=np.array([place for place, _, _ in people], np.intp),
        keypoints=np.array([points for _, points, _ in people], np.float64).reshape(count, len(joints), 3),
        boxes=np.array([box for _, _, box in people], np.float64).reshape(count, 4),
        crowd=np.array([bool(row.get("iscrowd")) for _, row in kept], np.bool_),
        rows=np.array([index for index, _ in kept], np.intp),
        ids=tuple(row.get("id") for _, row in kept),
        faults=faults,
        content=content,
    )


def labels_of_pictures(file: Path, pictures: Sequence[LabelledPicture], skeleton: Skeleton) -> Labels:
    """The labels that another reader gave, in the same form; entries are counted in the order that it gave them.

    An area to ignore is a crowd where it is an RLE, as COCO has them, and else a person without joints.
    """
    keypoints, boxes = [], []
    where: list[int] = []
    crowd: list[bool] = []
    ids: list[int | None] = []
    for place, picture in enumerate(pictures):
        flags = np.where(np.isnan(picture.keypoints[..., :1]), 0, 2)
        flags = np.where((flags > 0) & ~picture.visible[..., None], 1, flags)
        keypoints.append(np.concatenate([np.nan_to_num(picture.keypoints), flags], axis=2))
        keypoints.append(np.zeros((len(picture.ignore), len(skeleton), 3)))
        for corners in (picture.boxes, picture.ignore):
            boxes.append(np.concatenate([corners[:, :2] + 0.5, corners[:, 2:] - corners[:, :2]], axis=1))
        where += [place] * (len(picture.boxes) + len(picture.ignore))
        crowd += [False] * len(picture.boxes) + [isinstance(area, Mapping) for area in picture.ignore_segments]
        ids += [int(number) if number >= 0 else None for number in picture.person_ids] + [None] * len(picture.ignore)
    count = len(where)
    return Labels(
        file=file,
        joints=skeleton.joints,
        limbs=skeleton.limbs,
        flip=skeleton.flip,
        pictures=tuple(Picture(i, p.id, p.name, p.size, {"zip": str(p.archive)}) for i, p in enumerate(pictures)),
        where=np.array(where, np.intp),
        keypoints=np.concatenate([np.zeros((0, len(skeleton), 3)), *keypoints]).astype(np.float64),
        boxes=np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float64),
        crowd=np.array(crowd, np.bool_),
        rows=np.arange(count),
        ids=tuple(ids),
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: give a COCO-style JSON file, or a folder of such") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not valid JSON: {error}") from None
    lists = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))
    if not lists:
        raise DataError(f"{file}: not a COCO-style file: it needs the lists images and annotations")
    return dict(content)


def _dicts(file: Path, content: dict[str, Any], key: str, faults: list[Finding]) -> list[tuple[int, Row]]:
    for index, row in enumerate(content[key]):
        if not isinstance(row, dict):
            faults.append(_about(file, "field-missing", key, index, f"not an object but {row!r:.40}"))
    return [(index, row) for index, row in enumerate(content[key]) if isinstance(row, dict)]


def _about(file: Path, kind: str, key: str, index: int, text: str, name: str = "") -> Finding:
    image, annotation = (index, None) if key == "images" else (None, index)
    return Finding(kind, file, f"{key}[{index}]{f' ({name})' if name else ''}", text, image, annotation)


def _skeleton(
    category: Row | None, *, whole: bool
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...], NDArray[np.intp]]:
    """Joints, limbs and mirrored joints of a category."""
    names = tuple(str(name) for name in category["keypoints"]) if category else ()
    if whole and len(names) in (17, 133):
        skeleton = load_skeleton("wholebody133")
        return skeleton.joints, skeleton.limbs, skeleton.flip
    flip = np.arange(len(names))
    given = category.get("flip_index") if category else None
    if isinstance(given, list) and sorted(map(str, given)) == sorted(map(str, range(len(names)))):
        flip = np.array(given, np.intp)
    else:
        for index, name in enumerate(names):
            twin = _mirrored(name)
            if twin in names:
                flip[index] = names.index(twin)
    limbs = [
        (a - 1, b - 1) for a, b in (category or {}).get("skeleton") or () if 0 < min(a, b) <= max(a, b) <= len(names)
    ]
    return names, tuple(limbs), flip


def _mirrored(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def _picture(file: Path, index: int, row: Row, faults: list[Finding]) -> Picture:
    name = row.get("file_name")
    size = tuple(
        value if isinstance(value, int) and value > 0 else 0 for value in (row.get("width"), row.get("height"))
    )
    missing = [key for key, good in (("id", "id" in row), ("file_name", isinstance(name, str) and name)) if not good]
    missing += [] if all(size) else ["width or height"]
    if missing:
        faults.append(
            _about(file, "field-missing", "images", index, f"no good {', '.join(missing)}", str(row.get("id")))
        )
    text = name if isinstance(name, str) else ""
    for key, value in (("file_name", text), ("zip", str(row.get("zip", "")))):
        path = PurePosixPath(value.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            faults.append(_about(file, "unsafe-name", "images", index, f"{key} {value!r} leads out of the data set"))
    return Picture(index, row.get("id"), text, (size[0], size[1]) if all(size) else (0, 0), row)


def _of_category(
    file: Path,
    annotations: list[tuple[int, Row]],
    categories: list[Row],
    category: Row | None,
    faults: list[Finding],
) -> list[tuple[int, Row]]:
    """The annotations of the people: those of the category with joints and of others with the same, or all."""
    known = {c.get("id") for c in categories}
    for index, row in annotations:
        if known and "category_id" in row and row["category_id"] not in known:
            text = f"category_id {row['category_id']!r} is not among {sorted(map(str, known))}"
            faults.append(_about(file, "unknown-category", "annotations", index, text, f"id {row.get('id')}"))
    if category is None:
        return annotations
    wanted = [c.get("id") for c in categories if same_joints(c, category)]
    return [(index, row) for index, row in annotations if row.get("category_id", wanted[0]) in wanted]


@dataclass(frozen=True)
class _Reader:
    file: Path
    joints: tuple[str, ...]
    pictures: tuple[Picture, ...]
    faults: list[Finding]

    def person(self, index: int, row: Row, by_id: dict[Any, int]) -> tuple[int, Array, Array]:
        """Place of the picture, (K, 3) joints, and box of an annotation; what cannot be used is 0 or NaN."""
        image_id = row.get("image_id")
        place = by_id.get(image_id, -1) if isinstance(image_id, (int, str)) else -1
        name = f"id {row.get('id')}" + (f", {self.pictures[place].name}" if place >= 0 else "")

        def fault(kind: str, text: str) -> None:
            image = self.pictures[place].index if place >= 0 else None
            self.faults.append(Finding(kind, self.file, f"annotations[{index}] ({name})", text, image, index))

        if "id" not in row:
            fault("field-missing", "no id")
        if place < 0:
            fault("unknown-image", f"image_id {image_id!r} is no picture of this file")
        return place, self._joints(row, fault), self._box(row, fault)

    def _joints(self, row: Row, fault: Any) -> Array:
        empty = np.zeros((len(self.joints), 3))
        given = row.get("keypoints") or []
        if len(self.joints) == 133 and len(given) == 51:
            given = [value for key in ("keypoints", *WHOLE_BODY_KEYS) for value in row.get(key) or ()]
        if len(given) == 0 or not self.joints:
            if not row.get("iscrowd") and isinstance(row.get("num_keypoints"), int) and row["num_keypoints"] > 0:
                fault("count-wrong", f"num_keypoints is {row['num_keypoints']}, but there are no joints")
            return empty
        if len(given) != 3 * len(self.joints):
            fault("joint-count", f"{len(given)} numbers, expected {3 * len(self.joints)} ({len(self.joints)} joints)")
            return empty
        values = _numbers(given).reshape(-1, 3)
        flags = values[:, 2]
        bad = ~np.isfinite(values).all(axis=1) & ~(flags == 0)
        if bad.any():
            fault("not-a-number", f"joint {self._names(bad)} is not finite: {values[bad][0].tolist()}")
        odd = ~bad & (~np.isin(flags, (0, 1, 2)) if len(self.joints) != 133 else (flags < 0) | (flags > 2))
        if odd.any():
            fault("flag-odd", f"the flag of {self._names(odd)} is {flags[odd][0]:g}, expected 0, 1 or 2")
        values[bad] = 0
        labelled = int((values[:17, 2] > 0).sum() if len(self.joints) == 133 else (flags > 0).sum())
        said = row.get("num_keypoints")
        if said is not None and said != labelled and not (bad.any() or self._is_crowdpose(values, said)):
            fault("count-wrong", f"num_keypoints is {said}, but {labelled} joints are labelled")
        return np.where(values[:, 2:] > 0, values, 0)

    def _is_crowdpose(self, values: Array, said: Any) -> bool:
        """Whether the count leaves out head and neck, as CrowdPose's does."""
        return len(self.joints) == 14 and said == int((values[:12, 2] > 0).sum())

    def _names(self, chosen: NDArray[np.bool_]) -> str:
        names = [self.joints[i] for i in np.flatnonzero(chosen)]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _box(self, row: Row, fault: Any) -> Array:
        given = row.get("bbox")
        box = _numbers(given) if isinstance(given, list) else np.zeros(0)
        if len(box) != 4:
            fault("field-missing", f"bbox is {given!r:.40}, expected four numbers")
            return np.full(4, np.nan)
        if not np.isfinite(box).all():
            fault("not-a-number", f"bbox is {given}")
            return np.full(4, np.nan)
        return box


def _numbers(values: Sequence[Any]) -> Array:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value) for value in values])


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else float("nan")
