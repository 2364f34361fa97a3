"""Makes small COCO-style files with drawn pictures, for the tests of data and training."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
# x, y of the 17 joints of COCO in parts of a person's box.
BODY = np.array(
    [(50, 8), (55, 5), (45, 5), (60, 7), (40, 7), (70, 22), (30, 22), (80, 38), (20, 38), (88, 52), (12, 52),
     (62, 52), (38, 52), (64, 74), (36, 74), (66, 95), (34, 95)], np.float64
)  # fmt: skip
BODY /= 100


def person(
    x: float, y: float, width: float, height: float, *, image_id: int = 1, absent: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """An annotation of a whole person in a box x, y, width, height (edges)."""
    places = BODY * (width, height) + (x, y)
    flags = [0 if joint in absent else 2 for joint in COCO.joints]
    keypoints = [
        value for (px, py), flag in zip(places, flags, strict=True) for value in ((px, py, 2) if flag else (0, 0, 0))
    ]
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": keypoints,
        "num_keypoints": sum(flag > 0 for flag in flags),
        "bbox": [x, y, width, height],
        "area": width * height / 2,
        "iscrowd": 0,
    } | more


def draw(size: tuple[int, int], people: Sequence[dict[str, Any]]) -> NDArray[np.uint8]:
    """A grey picture with a white bar for each labelled joint."""
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    for row in people:
        for x, y, flag in np.array(row["keypoints"]).reshape(-1, 3):
            if flag:
                cv2.circle(picture, (round(x), round(y)), 3, (255, 255, 255), -1)
    return picture


def write_set(
    folder: Path,
    people: Sequence[dict[str, Any]],
    *,
    size: tuple[int, int] = (160, 120),
    pictures: int = 1,
    **more: Any,
) -> Path:
    """A COCO-style file with its pictures 1 .. `pictures` in a zip file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in range(1, pictures + 1):
            drawn = draw(size, [row for row in people if row["image_id"] == number])
            archive.writestr(f"{number}.png", cv2.imencode(".png", drawn)[1].tobytes())
            images.append(
                {"id": number, "file_name": f"{number}.png", "width": size[0], "height": size[1], "zip": "images.zip"}
            )
    content = {
        "images": images,
        "annotations": [{"id": n, **row} for n, row in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
    }
    file = folder / "set.json"
    file.write_text(json.dumps(content | more))
    return file
