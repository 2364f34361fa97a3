"""Writes pictures, numbers and structs of small data sets in other formats than COCO's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.pictures import LabelledPicture


def write_picture(file: Path, size: tuple[int, int] = (160, 120)) -> Path:
    """A grey picture of `size` (w, h)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((size[1], size[0], 3), 90, np.uint8))
    return file


def body(count: int, size: tuple[int, int] = (160, 120), seed: int = 0) -> NDArray[np.float64]:
    """(count, 2) places inside of a picture, in quarters of a pixel."""
    return np.round(np.random.default_rng(seed).uniform(10, np.array(size) - 10, (count, 2)) * 4) / 4


def triples(places: NDArray[np.float64], flags: Any = 2) -> list[float]:
    """x, y, flag of each joint in one list."""
    flags = np.broadcast_to(flags, len(places))
    return [float(v) for (x, y), flag in zip(places, flags, strict=True) for v in (x, y, flag)]


def assert_same(a: LabelledPicture, b: LabelledPicture, atol: float = 2e-3) -> None:
    """That two pictures say the same of their people, in the same order."""
    assert (a.size, len(a), len(a.ignore)) == (b.size, len(b), len(b.ignore))
    np.testing.assert_allclose(a.keypoints, b.keypoints, atol=atol)
    np.testing.assert_array_equal(a.visible, b.visible)
    np.testing.assert_array_equal(a.unsure, b.unsure)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=atol)
    np.testing.assert_allclose(a.ignore, b.ignore, atol=atol)
