"""Small truths and results by hand, for the tests of what is wrong with a model and of its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.skeleton import load_skeleton

SKELETON = load_skeleton("coco17")
JOINTS = SKELETON.joints
SIGMAS = np.array(SKELETON.sigmas)
AREA = 10_000.0
Rows = list[dict[str, Any]]
# Joints of one person, far from each other compared with what OKS forgives.
BODY = np.column_stack([np.arange(17) % 4, np.arange(17) // 4]) * 60.0 + 50


def apart(similarity: float, joint: str) -> float:
    """Distance in pixels at which a joint of a person of `AREA` has a similarity."""
    sigma = SIGMAS[JOINTS.index(joint)]
    return float(np.sqrt(-2 * np.log(similarity) * AREA) * 2 * sigma)


def labelled(places: NDArray[Any], image_id: Any = 1, absent: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    flags = np.array([0 if joint in absent else 2 for joint in JOINTS])
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": np.column_stack([places * (flags > 0)[:, None], flags]).ravel().tolist(),
        "num_keypoints": int((flags > 0).sum()),
        "bbox": [*places.min(axis=0).tolist(), *np.ptp(places, axis=0).tolist()],
        "area": AREA,
        "iscrowd": 0,
    } | more


def truth_of(people: Rows, pictures: int = 1, **images: dict[str, Any]) -> dict[str, Any]:
    rows = [{"id": n, "file_name": f"{n}.png", "width": 640, "height": 480} for n in range(1, pictures + 1)]
    return {
        "images": [row | images.get(f"image{row['id']}", {}) for row in rows],
        "annotations": [{"id": n, **row} for n, row in enumerate(people, start=1)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(JOINTS)}],
    }


def found(
    places: NDArray[Any], score: float = 0.9, image_id: Any = 1, scores: Any = 0.8, absent: tuple[str, ...] = ()
) -> dict[str, Any]:
    rows = np.column_stack([places, np.broadcast_to(scores, len(places))])
    rows[[JOINTS.index(joint) for joint in absent]] = 0
    return {"image_id": image_id, "category_id": 1, "keypoints": rows.ravel().tolist(), "score": score}


def shifted(places: NDArray[Any], x: float, y: float) -> NDArray[Any]:
    return places + np.array([x, y])


def moved(places: NDArray[Any], **offsets: Any) -> NDArray[Any]:
    """The places with some joints elsewhere: by so many pixels to the right, or at a place."""
    changed = places.copy()
    for joint, where in offsets.items():
        k = JOINTS.index(joint)
        changed[k] = (changed[k, 0] + where, changed[k, 1]) if np.isscalar(where) else where
    return changed
