"""One sample as the original training programs keep it: an array (5 or 6, h, w) with the labels among its pixels.

Channels 0-2 are the picture, blue, green, red; 3 holds the labels; 4 is 0 where people lack labels and 255 elsewhere
(`mask_miss`); 5, which may be absent, is 255 on all people (`mask_all`). The HDF5 files of the Keras product and the
LMDB files of the original hold the same array. Labels are rows of bytes, f = float32, little endian, n other people:

    0           name of the data set, ASCII, ended by 0
    1           f height, f width of the picture, which may be padded on the right and below
    2           u8 for validation, u8 n, u8 number of the person, f number of the picture, f of the sample, f of all
    3, 4        f x, f y of the main person's box's centre; f height of his box / 368
    5, 6, 7     17 f x; 17 f y; 17 f codes: 0 hidden, 1 visible, 2 absent, of COCO's joints
    8 .. 7+n    f x, f y of each other person's centre
    8+n         n f heights, where n > 0
    9+n+3p ...  joints of the other person p, like rows 5, 6, 7

A joint's row takes 68 bytes, but the Keras product padded pictures only to 64. We pad to what the rows need, the masks
too; of a narrower array the joints that did not fit are read as unsure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.packing.labels import map_joints
from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]
Planes = Callable[[Path, int, int], Picture]
"""Gives channels (count, h, w) by the file, the first of them, and their number."""

JOINTS = 17
HIDDEN, VISIBLE, ABSENT = 0, 1, 2
GREY = 128  # of the padding
UNIT = 368.0  # height in pixels of a person of scale 1
MOST_OTHERS = 255
LABELS, MISSING, PEOPLE = 3, 4, 5  # channels


@dataclass(frozen=True, eq=False)
class DatumLabels:
    """What the rows of channel 3 say; N people, the main person first, x and y of the joints in COCO's pixels.

    joints    (N, 17, 3) float32: x, y, code; NaN for joints that did not fit into the row
    centres   (N, 2) float32, of the boxes, in COCO's edges of pixels
    scales    (N,) float32, heights of the boxes / 368; NaN where they did not fit
    """

    dataset: str
    size: tuple[int, int]
    joints: Array
    centres: Array
    scales: Array
    validation: bool = False
    person: int = 0
    picture: int = 0
    index: int = 0
    total: int = 0


def rows_needed(others: int) -> tuple[int, int]:
    """The least (height, width) of an array that has room for the labels."""
    return 9 + 4 * others if others else 8, max(4 * JOINTS, 4 * others)


def write_labels(labels: DatumLabels, height: int, width: int) -> Picture:
    """Channel 3 (height, width) of an array; raises `DataError` when the labels need more room, or more than a byte."""
    others = len(labels.joints) - 1
    needed = rows_needed(others)
    if height < needed[0] or width < needed[1] or others > MOST_OTHERS:
        raise DataError(f"labels of {others + 1} people need {needed[0]} rows of {needed[1]} bytes, at most 256 people")
    plane = np.zeros((height, width), np.uint8)

    def put(row: int, values: Any, column: int = 0) -> None:
        content = np.frombuffer(np.asarray(values, "<f4").tobytes(), np.uint8)
        plane[row, column : column + len(content)] = content

    name = labels.dataset.encode("ascii", "replace")[: width - 1]
    plane[0, : len(name)] = np.frombuffer(name, np.uint8)
    put(1, labels.size[::-1])
    plane[2, :3] = labels.validation, others, labels.person % 256
    put(2, (labels.picture, labels.index, labels.total), column=3)
    put(3, labels.centres[0])
    put(4, labels.scales[:1])
    for person, first in enumerate((5, *range(9 + others, 9 + 4 * others, 3))):
        for axis in range(3):
            put(first + axis, labels.joints[person, :, axis])
    for other in range(others):
        put(8 + other, labels.centres[1 + other])
    if others:
        put(8 + others, labels.scales[1:])
    return plane


def read_labels(plane: Picture) -> DatumLabels:
    """What channel 3 (height, width) of an array says; raises `DataError`, without a name, when that cannot be."""
    height, width = plane.shape
    if height < 8 or width < 16:
        raise DataError(f"its array has {height} rows of {width} bytes; the labels need at least 8 of 68")

    def take(row: int, count: int, column: int = 0) -> Array:
        fitting = min(count, (width - column) // 4)
        values = np.frombuffer(plane[row, column : column + 4 * fitting].tobytes(), "<f4")
        return np.concatenate([values, np.full(count - fitting, np.nan)]).astype(np.float32)

    others = int(plane[2, 1])
    if height < rows_needed(others)[0]:
        raise DataError(f"its array has {height} rows, too few for the labels of {others + 1} people")
    firsts = (5, *range(9 + others, 9 + 4 * others, 3))
    size = take(1, 2)
    numbers = take(2, 3, column=3)
    if not (np.isfinite(size).all() and (size == size.round()).all() and (size >= 1).all()):
        raise DataError(f"it states a picture of {size[1]} x {size[0]} pixels")
    if size[0] > height or size[1] > width:
        raise DataError(f"it states a picture of {size[1]:g} x {size[0]:g} pixels in an array of {width} x {height}")
    labels = DatumLabels(
        dataset=plane[0].tobytes().partition(b"\0")[0].decode("ascii", "replace"),
        size=(int(size[1]), int(size[0])),
        joints=np.stack([np.stack([take(first + axis, JOINTS) for axis in range(3)], axis=-1) for first in firsts]),
        centres=np.stack([take(3, 2), *(take(8 + other, 2) for other in range(others))]),
        scales=np.concatenate([take(4, 1), take(8 + others, others) if others else take(4, 0)]),
        validation=bool(plane[2, 0]),
        person=int(plane[2, 2]),
        **{name: _whole(n) for name, n in zip(("picture", "index", "total"), numbers, strict=True)},
    )
    _check(labels, width)
    return labels


def _whole(number: np.float32) -> int:
    if not math.isfinite(number):
        raise DataError(f"one of its numbers is {number}")
    return int(number)


def _check(labels: DatumLabels, width: int) -> None:
    fitting = width // 4
    joints, codes = labels.joints[:, :fitting], labels.joints[:, :fitting, 2]
    if not np.isin(codes, (HIDDEN, VISIBLE, ABSENT)).all():
        wrong = codes[~np.isin(codes, (HIDDEN, VISIBLE, ABSENT))][0]
        raise DataError(f"the code of a joint is {wrong:g}; 0, 1 and 2 are known")
    if not np.isfinite(joints).all():
        raise DataError("a joint is no number")
    if not (np.isfinite(labels.centres).all() and np.isfinite(labels.scales[: 1 + fitting]).all()):
        raise DataError("the place or height of a person is no number")


@dataclass(frozen=True)
class Pixels:
    """Gives the picture and masks of a sample; `planes` knows where it lies. Fits `LabelledPicture.fetch`."""

    planes: Planes
    size: tuple[int, int]

    def picture(self, place: Path, name: str) -> Picture:
        """RGB (h, w, 3) without the padding."""
        blue, green, red = self.planes(place, 0, 3)[:, : self.size[1], : self.size[0]]
        return np.asarray(cv2.merge([red, green, blue]), np.uint8)  # many times as fast as NumPy's transpose

    def mask(self, place: Path, name: str) -> Picture:
        """(h, w): the mask "missing" or "people"."""
        channel = {"missing": MISSING, "people": PEOPLE}[name]
        return self.planes(place, channel, 1)[0, : self.size[1], : self.size[0]]


def to_record(
    labels: DatumLabels, skeleton: Skeleton, *, place: Path, key: str, planes: Planes, channels: int
) -> LabelledPicture:
    """The record of a sample that has no labels but these.

    The files do not tell how wide people's boxes are: they reach as far from their centre as the farthest joint.
    """
    pixels = Pixels(planes, labels.size)
    masks = MaskFiles(place, "missing", "people" if channels > PEOPLE else None, fetch=pixels.mask)
    picture = LabelledPicture(
        archive=place, name=key, size=labels.size, **people_of(labels), id=labels.picture, masks=masks,
        fetch=pixels.picture,
    )  # fmt: skip
    return map_joints(picture, load_skeleton("coco17").joints, skeleton)


def people_of(labels: DatumLabels) -> dict[str, Any]:
    """Joints and boxes as fields of `LabelledPicture`, in COCO's 17 joints; people without any joint are left out."""
    lost = np.isnan(labels.joints[..., 2])
    there = np.isin(labels.joints[..., 2], (HIDDEN, VISIBLE))
    keypoints = np.where(there[..., None], labels.joints[..., :2], np.float32(np.nan))
    centres = labels.centres - np.float32(0.5)
    reach = np.nan_to_num(np.abs(keypoints - centres[:, None]), nan=0.5).max(axis=1)
    high = np.where(np.isnan(labels.scales), reach[:, 1], labels.scales * np.float32(UNIT / 2))
    half = np.stack([reach[:, 0], high], axis=1)
    kept = there.any(axis=1)
    fields = {
        "keypoints": keypoints,
        "unsure": lost,
        "boxes": np.concatenate([centres - half, centres + half], axis=1).astype(np.float32),
        "ignore": np.zeros((0, 4), np.float32),
        "visible": labels.joints[..., 2] == VISIBLE,
    }
    return {name: value if name == "ignore" else value[kept] for name, value in fields.items()}


def from_record(
    picture: LabelledPicture, joints: tuple[str, ...], *, index: int = 0, total: int = 1, validation: bool = False
) -> DatumLabels:
    """What the rows say of a picture whose joints have these names.

    The main person is the first with 5 joints and 32 x 32 pixels, else the largest, as in the original; where nobody
    has joints it is a person without any in the middle of the picture. Of more than 256 people the smallest are left
    out (their labels are kept beside the array, see `hdf5`).
    """
    own = map_joints(picture, joints, load_skeleton("coco17"))
    size = own.boxes[:, 2:] - own.boxes[:, :2]
    areas = np.where(np.isnan(own.areas), size.prod(axis=1), own.areas)
    labelled = (~np.isnan(own.keypoints[..., 0])).sum(axis=1)
    order = [int(i) for i in np.argsort(-areas, kind="stable") if labelled[i]]
    main = next((i for i in range(len(own)) if labelled[i] >= 5 and areas[i] >= 32 * 32), order[0] if order else None)
    if main is None:
        nobody = np.zeros((1, JOINTS, 3), np.float32) + np.array([0, 0, ABSENT], np.float32)
        middle = np.array([own.size], np.float32) / np.float32(2)
        people = (nobody, middle, np.array([own.size[1] / UNIT], np.float32))
    else:
        kept = set(order[: 1 + MOST_OTHERS]) - {main}
        rows = [main, *sorted(kept)][: 1 + MOST_OTHERS]
        codes = np.where(np.isnan(own.keypoints[..., 0]), ABSENT, np.where(own.visible, VISIBLE, HIDDEN))
        all_joints = np.concatenate([np.nan_to_num(own.keypoints), codes[..., None]], axis=-1).astype(np.float32)
        centres = ((own.boxes[:, :2] + own.boxes[:, 2:]) / 2 + 0.5).astype(np.float32)
        people = (all_joints[rows], centres[rows], (size[rows, 1] / UNIT).astype(np.float32))
    number = own.id if isinstance(own.id, int) and 0 <= own.id < 1 << 24 else index
    return DatumLabels(
        "COCO_val" if validation else "COCO", own.size, *people,
        validation=validation, person=main or 0, picture=number, index=index, total=total,
    )  # fmt: skip


def to_array(
    labels: DatumLabels, rgb: Picture, missing: NDArray[np.bool_], people: NDArray[np.bool_] | None
) -> Picture:
    """The array (5 or 6, h, w): `missing` is true where people lack labels, `people` on all people, if it is given.

    Pictures too small for the labels are padded by grey, masks by "people lack labels".
    """
    needed = rows_needed(len(labels.joints) - 1)
    height, width = (max(own, least) for own, least in zip(rgb.shape[:2], needed, strict=True))
    array = np.zeros((5 if people is None else 6, height, width), np.uint8)
    inside = np.s_[: rgb.shape[0], : rgb.shape[1]]
    array[:3] = GREY
    array[:3, *inside] = rgb[..., ::-1].transpose(2, 0, 1)
    array[LABELS] = write_labels(labels, height, width)
    array[MISSING, *inside] = np.where(missing, 0, 255)
    if people is not None:
        array[PEOPLE, *inside] = np.where(people, 255, 0)
    return array


def meta_of(labels: DatumLabels, name: str) -> dict[str, Any]:
    """The same labels as the attribute `meta` of a later fork, to be written as JSON."""
    return {
        "dataset": labels.dataset,
        "img_height": labels.size[1],
        "img_width": labels.size[0],
        "isValidation": int(labels.validation),
        "numOtherPeople": len(labels.joints) - 1,
        "people_index": labels.person,
        "annolist_index": labels.picture,
        "count": labels.index,
        "total_count": labels.total,
        "objpos": labels.centres.tolist(),
        "scale_provided": labels.scales.tolist(),
        "joints": labels.joints.tolist(),
        "img_path": name,
    }


def labels_of_meta(meta: dict[str, Any]) -> DatumLabels:
    """What an attribute `meta` says; raises `LookupError`, `TypeError`, `ValueError` or `DataError` when it is none."""
    joints = np.array(meta["joints"], np.float32).reshape(-1, JOINTS, 3)
    labels = DatumLabels(
        dataset=str(meta["dataset"]),
        size=(int(meta["img_width"]), int(meta["img_height"])),
        joints=joints,
        centres=np.array(meta["objpos"], np.float32).reshape(len(joints), 2),
        scales=np.array(meta["scale_provided"], np.float32).reshape(len(joints)),
        validation=bool(meta.get("isValidation")),
        person=int(meta.get("people_index", 0)),
        picture=int(meta.get("annolist_index", 0)),
        index=int(meta.get("count", 0)),
        total=int(meta.get("total_count", 0)),
    )
    _check(labels, 4 * JOINTS)
    return labels
