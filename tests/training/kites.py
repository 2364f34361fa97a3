"""A drawn data set of things that are not people: kites with five joints of their own, in the layout of COCO."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

JOINTS = ("nose", "tail", "left_wing", "right_wing", "top")
LIMBS = [[1, 2], [1, 3], [1, 4], [1, 5]]  # counted from 1, as in COCO's files
SHAPE = np.array([[22, 0], [-22, 0], [0, -18], [0, 18], [8, 8]])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
SIDE = 160


def write_kites(folder: Path, *, pictures: int = 8, limbs: bool = True, seed: int = 0) -> Path:
    """Pictures with one or two kites each and `set.json`, whose category names the joints and, if asked, the limbs."""
    random = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(pictures):
        picture = np.full((SIDE, SIDE, 3), 90, np.uint8) + random.integers(0, 20, (SIDE, SIDE, 3), dtype=np.uint8)
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        for kite in range(1 + number % 2):
            joints = _turned(random) + np.array([45 + 70 * kite, 80]) + random.uniform(-8, 8, 2)
            _draw(picture, joints)
            annotations.append(_annotation(len(annotations) + 1, number, joints))
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    category = {"id": 1, "name": "kite", "keypoints": list(JOINTS), "skeleton": LIMBS if limbs else []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def _turned(random: np.random.Generator) -> np.ndarray:
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return SHAPE @ turn.T


def _draw(picture: np.ndarray, joints: np.ndarray) -> None:
    places = [tuple(map(int, np.round(joint))) for joint in joints]
    for place in places[1:]:
        cv2.line(picture, places[0], place, (200, 200, 200), 2)
    for place, colour in zip(places, COLOURS, strict=True):
        cv2.circle(picture, place, 4, colour, -1)


def _annotation(number: int, image: int, joints: np.ndarray) -> dict[str, object]:
    low, high = joints.min(axis=0) - 5, joints.max(axis=0) + 5
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": np.column_stack([joints, np.full(len(joints), 2)]).ravel().tolist(),
        "num_keypoints": len(joints),
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float((high - low).prod()),
        "iscrowd": 0,
    }
