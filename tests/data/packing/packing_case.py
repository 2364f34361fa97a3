"""Records with everything that a record can hold, their pictures in a folder, for the tests of packed sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
FIELDS = ("keypoints", "unsure", "boxes", "ignore", "visible", "areas", "person_ids")


def make_record(
    folder: Path, number: int, *, people: int = 2, size: tuple[int, int] = (96, 80), suffix: str = ".png", **more: Any
) -> LabelledPicture:
    """A noisy picture in `folder` with people whose numbers are all random; the last joint of each is not labelled."""
    random = np.random.default_rng(number)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number}{suffix}"
    pixels = cv2.resize(random.integers(0, 256, (9, 9, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    (folder / name).write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    keypoints = random.uniform(0, size, (people, 17, 2)).astype(np.float32)
    keypoints[:, 16] = np.nan
    visible = random.uniform(size=(people, 17)) < 0.7
    unsure = np.zeros((people, 17), bool)
    unsure[:, 16] = True
    corners = random.uniform(0, 30, (people, 4)).astype(np.float32)
    polygons = tuple(tuple(random.uniform(0, 70, (n, 2)).astype(np.float32) for n in (3, 5)) for _ in range(people))
    rle = {"size": [size[1], size[0]], "counts": [size[1] * 10, 30, size[0] * size[1] - size[1] * 10 - 30]}
    return LabelledPicture(
        **{
            "archive": folder,
            "name": name,
            "size": size,
            "keypoints": keypoints,
            "unsure": unsure,
            "boxes": corners + np.float32([0, 0, 40, 45]),
            "ignore": np.float32([[-0.5, -0.5, 9.5, 19.5], [10, 20, 30.25, 40.125]]),
            "visible": visible & ~np.isnan(keypoints[..., 0]),
            "areas": np.where(np.arange(people) % 2, np.nan, random.uniform(1100, 1800, people)).astype(np.float32),
            "segments": tuple(None if i % 3 == 2 else polygon for i, polygon in enumerate(polygons)),
            "ignore_segments": (rle, None),
            "id": number,
            "person_ids": np.arange(people, dtype=np.int64) + 900_100_000_000,
        }
        | more
    )


def make_set(folder: Path, count: int = 3) -> list[LabelledPicture]:
    """Pictures of different sizes, people, ids and kinds of files; one is too narrow for labels among its pixels."""
    heads = np.float32([[1, 2, 3, 4], [np.nan] * 4])
    kinds: list[dict[str, Any]] = [
        {"head_boxes": heads},
        {"people": 0, "suffix": ".jpg", "id": "a picture", "size": (40, 7), "ignore_segments": (None, None)},
        {"people": 25, "suffix": ".webp", "size": (70, 50), "masks": write_mask_files(folder, (70, 50))},
    ]
    return [make_record(folder, number, **kinds[number % 3]) for number in range(count)]


def write_mask_files(folder: Path, size: tuple[int, int]) -> MaskFiles:
    folder.mkdir(parents=True, exist_ok=True)
    for name, first in (("missing", 0), ("people", 255)):
        mask = np.full(size[::-1], first, np.uint8)
        mask[10:, 5:] = 255 - first
        cv2.imwrite(str(folder / f"mask_{name}.png"), mask)
    return MaskFiles(folder, "mask_missing.png", "mask_people.png")


def assert_same(found: LabelledPicture, expected: LabelledPicture) -> None:
    """All labels and all pixels are equal; only where the picture lies may differ."""
    assert (found.name, found.size, found.id) == (expected.name, expected.size, expected.id)
    for name in FIELDS:
        own, wanted = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(own, wanted, err_msg=name)
        assert own.dtype == wanted.dtype, name
    for a, b in zip(found.segments + found.ignore_segments, expected.segments + expected.ignore_segments, strict=True):
        if isinstance(b, tuple):
            assert isinstance(a, tuple)
            for mine, theirs in zip(a, b, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        else:
            assert a == b
    assert (found.head_boxes is None) == (expected.head_boxes is None)
    if expected.head_boxes is not None:
        np.testing.assert_array_equal(found.head_boxes, expected.head_boxes)
    assert (found.masks is None) == (expected.masks is None)
    np.testing.assert_array_equal(found.read(), expected.read())


def read_pixels(picture: LabelledPicture) -> NDArray[np.uint8]:
    """For another process."""
    return picture.read()


def read_missing(picture: LabelledPicture) -> NDArray[np.bool_]:
    """For another process."""
    assert picture.masks is not None
    mask = picture.masks.read_missing(picture.size)
    assert mask is not None
    return mask
