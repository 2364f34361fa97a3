"""The outputs of networks that find people and their joints at once -> joints, scores and boxes.

Places are in pixels of the network's input, boxes x1 y1 x2 y2 along the outer edges of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.boxes import Outputs, corners_of, of_one, suppress, yolo_rows
from manypose.errors import ModelError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Found:
    """N people: joints (N, K, 2), their scores (N, K), boxes (N, 4) and scores of the people (N,)."""

    keypoints: Array
    scores: Array
    boxes: Array
    person_scores: Array

    def __getitem__(self, rows: NDArray[np.intp]) -> Found:
        return Found(self.keypoints[rows], self.scores[rows], self.boxes[rows], self.person_scores[rows])


@dataclass(frozen=True)
class PeopleCodec:
    """What the outputs of a single-stage network mean; the fields are those of `metadata.PeopleSettings`."""

    joints: int
    form: str = "yolo"
    person: int = 0
    classes: int = 1
    dims: int = 3
    threshold: float = 0.3
    iou: float | None = None
    most: int = 100

    def decode(self, outputs: Outputs, size: tuple[int, int]) -> Found:
        """The people in one picture, the highest score first, from its outputs (with a batch axis of 1).

        `size` (w, h) is that of the network's input. Rows of zeros, which some exports fill up with, are left out.
        Raises `ModelError` when the outputs have other shapes than `form` has.
        """
        found = _DECODERS[self.form](self, outputs, size)
        with np.errstate(invalid="ignore"):
            sound = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.keypoints).all(axis=(1, 2))
            sound &= (found.boxes[:, 2] > found.boxes[:, 0]) & (found.boxes[:, 3] > found.boxes[:, 1])
            sound &= (found.person_scores >= self.threshold) & (found.person_scores > 0)
        found = found[np.flatnonzero(sound)]
        return found[suppress(found.boxes, found.person_scores, self.iou)[: self.most]]


def _joints(codec: PeopleCodec, flat: Array) -> tuple[Array, Array]:
    """Joints (N, K, 2) and scores (N, K) of rows (N, K * dims); those without scores score 1."""
    numbers = flat.reshape(len(flat), codec.joints, codec.dims)
    scores = numbers[..., 2] if codec.dims == 3 else np.ones(numbers.shape[:2], np.float32)
    return numbers[..., :2], scores


def _yolo(codec: PeopleCodec, outputs: Outputs, size: tuple[int, int]) -> Found:
    """YOLOv8, 11, 26: (1, 4 + classes + K * dims, A) of centre, size, class scores and joints."""
    rows = yolo_rows(of_one(outputs, "rows", "(1, channels, candidates)", axes=2), "the output")
    expected = 4 + codec.classes + codec.joints * codec.dims
    if rows.shape[1] != expected or codec.person >= codec.classes:
        raise ModelError(
            f"the output has {rows.shape[1]} channels, expected {expected}: a box, {codec.classes} classes and "
            f"{codec.joints} joints of {codec.dims} numbers"
        )
    keypoints, scores = _joints(codec, rows[:, 4 + codec.classes :])
    return Found(keypoints, scores, corners_of(rows), rows[:, 4 + codec.person])


def _yolo_rows(codec: PeopleCodec, outputs: Outputs, size: tuple[int, int]) -> Found:
    """The same with suppression inside: (1, N, 6 + K * dims) of corners, score, class and joints."""
    columns = 6 + codec.joints * codec.dims
    rows = of_one(outputs, "rows", f"(1, people, {columns})", axes=2, columns=columns)
    keypoints, scores = _joints(codec, rows[:, 6:])
    person_scores = np.where(np.rint(rows[:, 5]) == codec.person, rows[:, 4], 0)
    return Found(keypoints, scores, rows[:, :4], person_scores)


def _rtmo(codec: PeopleCodec, outputs: Outputs, size: tuple[int, int]) -> Found:
    """RTMO: boxes (1, N, 5) with the score last, joints (1, N, K, 3)."""
    rows = of_one(outputs, "boxes", "(1, people, 5)", axes=2, columns=5)
    numbers = of_one(outputs, "keypoints", "(1, people, joints, 3)", axes=3, columns=3)
    if numbers.shape[:2] != (len(rows), codec.joints):
        raise ModelError(
            f"the keypoints have shape {(1, *numbers.shape)}, expected (1, {len(rows)}, {codec.joints}, 3)"
        )
    return Found(numbers[..., :2], numbers[..., 2], rows[:, :4], rows[:, 4])


def _movenet(codec: PeopleCodec, outputs: Outputs, size: tuple[int, int]) -> Found:
    """MoveNet for one person: (1, 1, K, 3) of y, x and score, y and x in 0..1 of the input."""
    numbers = of_one(outputs, "rows", f"(1, 1, {codec.joints}, 3)", axes=3, columns=3)
    if numbers.shape[:2] != (1, codec.joints):
        raise ModelError(f"the output has shape {(1, *numbers.shape)}, expected (1, 1, {codec.joints}, 3)")
    keypoints = numbers[..., 1::-1] * np.array(size, np.float32)
    scores = numbers[..., 2]
    boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
    return Found(keypoints, scores, boxes, scores.mean(axis=1))


def _movenet_multi(codec: PeopleCodec, outputs: Outputs, size: tuple[int, int]) -> Found:
    """MoveNet for several: (1, N, 3K + 5) of y, x, score for each joint, then ymin, xmin, ymax, xmax, score."""
    columns = 3 * codec.joints + 5
    rows = of_one(outputs, "rows", f"(1, people, {columns})", axes=2, columns=columns)
    numbers = rows[:, :-5].reshape(len(rows), codec.joints, 3)
    scale = np.array(size, np.float32)
    boxes = rows[:, [-4, -5, -2, -3]] * np.tile(scale, 2)
    return Found(numbers[..., 1::-1] * scale, numbers[..., 2], boxes, rows[:, -1])


_DECODERS: dict[str, Callable[[PeopleCodec, Outputs, tuple[int, int]], Found]] = {
    "yolo": _yolo,
    "yolo-rows": _yolo_rows,
    "rtmo": _rtmo,
    "movenet": _movenet,
    "movenet-multi": _movenet_multi,
}
