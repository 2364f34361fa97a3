"""The outputs of detectors -> boxes with scores: each layout that common exports have, and non-maximum suppression.

Boxes are (N, 4) float32, x1 y1 x2 y2 along the outer edges of pixels of the network's input, except for "paddle-rows",
whose boxes are in those of the picture. Scores are (N,), the highest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.errors import ModelError

Array = NDArray[np.float32]
Outputs = Mapping[str, Sequence[NDArray[np.generic]]]  # meaning -> the outputs with it, in the order of the file

MOST_CANDIDATES = 3000  # of which the best are kept before suppression: it bounds the time that noise takes


@dataclass(frozen=True)
class BoxCodec:
    """What the outputs of a detector mean; the fields are those of `metadata.BoxSettings`."""

    form: str = "dets"
    person: int = 0
    threshold: float = 0.3
    iou: float | None = None
    most: int = 100
    strides: tuple[int, ...] = (8, 16, 32)
    decoded: bool = False

    @property
    def in_picture(self) -> bool:
        """Whether the boxes are in pixels of the picture, not of the network's input."""
        return self.form == "paddle-rows"

    def decode(self, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
        """Boxes (N, 4) and scores (N,) of the people in one picture, from its outputs (with a batch axis of 1).

        `size` (w, h) is that of the network's input. Rows that are no boxes, as some exports fill up with zeros, and
        boxes of other classes are left out. Raises `ModelError` when the outputs have other shapes than `form` has.
        """
        boxes, scores = _DECODERS[self.form](self, outputs, size)
        with np.errstate(invalid="ignore"):
            sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            rows = np.flatnonzero(sound & (scores >= self.threshold) & (scores > 0))
        kept = rows[suppress(boxes[rows], scores[rows], self.iou)[: self.most]]
        return boxes[kept].astype(np.float32), np.minimum(scores[kept], 1).astype(np.float32)


def suppress(boxes: Array, scores: Array, iou: float | None) -> NDArray[np.intp]:
    """Rows (M,) of boxes (N, 4), the highest score first, without those that overlap a better one by more than `iou`.

    The overlap is the intersection over the union; None keeps all.
    """
    order = np.argsort(-scores, kind="stable")
    if iou is None or len(order) < 2:
        return order
    order = order[:MOST_CANDIDATES]
    corners = np.concatenate([boxes[order, :2], boxes[order, 2:] - boxes[order, :2]], axis=1)
    # OpenCV takes the scores for its own order; ranks keep equal scores in ours.
    ranks = np.linspace(1, 0.5, len(order)).astype(np.float32)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), ranks.tolist(), 0.0, iou)
    return order[np.asarray(kept, np.intp).reshape(-1)]


def corners_of(centres: Array) -> Array:
    """Boxes (N, 4) given as centre x, centre y, width, height, as x1 y1 x2 y2."""
    half = centres[:, 2:4] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)


def of_one(outputs: Outputs, meaning: str, shape: str, *, axes: int, columns: int | None = None) -> Array:
    """The output with this meaning, without its batch axis of 1; `shape` is what an error says that was expected."""
    (array,) = outputs[meaning]
    if array.ndim != axes + 1 or array.shape[0] != 1 or (columns is not None and array.shape[-1] != columns):
        raise ModelError(f"the {meaning} have shape {array.shape}, expected {shape}")
    return np.asarray(array[0], np.float32)


def grid_places(size: tuple[int, int], strides: Sequence[int]) -> tuple[Array, Array]:
    """Cells (A, 2) as x, y and strides (A, 1) of the candidates of a detector, finest grid first, row by row."""
    cells, steps = [], []
    for stride in strides:
        width, height = -(-size[0] // stride), -(-size[1] // stride)
        y, x = np.divmod(np.arange(width * height), max(width, 1))
        cells.append(np.stack([x, y], axis=1))
        steps.append(np.full((len(x), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def yolo_rows(rows: Array, what: str) -> Array:
    """The raw output of YOLOv8 and its heirs, one column for each candidate, turned: one row for each."""
    if rows.shape[0] >= rows.shape[1]:
        raise ModelError(f"{what} has shape (1, {rows.shape[0]}, {rows.shape[1]}), expected (1, channels, candidates)")
    return np.ascontiguousarray(rows.T)


def _dets(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """mmdeploy: boxes (1, N, 5) with the score last, and labels (1, N) where there are several classes."""
    rows = of_one(outputs, "boxes", "(1, boxes, 5)", axes=2, columns=5)
    scores = rows[:, 4]
    if "labels" in outputs:
        labels = of_one(outputs, "labels", "(1, boxes)", axes=1)
        if len(labels) != len(rows):
            raise ModelError(f"{len(rows)} boxes and {len(labels)} labels, expected as many")
        scores = np.where(labels == codec.person, scores, 0)
    return rows[:, :4], scores


def _yolox(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """YOLOX: (1, A, 5 + classes) of centre, size, objectness and class scores, in units of the grid or in pixels."""
    rows = of_one(outputs, "rows", "(1, candidates, 5 + classes)", axes=2)
    _check_class(codec, rows.shape[1] - 5, "rows")
    centres = rows[:, :4]
    if not codec.decoded:
        cells, strides = grid_places(size, codec.strides)
        if len(cells) != len(rows):
            raise ModelError(f"{len(rows)} candidates, expected {len(cells)} for the strides {codec.strides} at {size}")
        with np.errstate(over="ignore"):
            centres = np.concatenate([(centres[:, :2] + cells) * strides, np.exp(centres[:, 2:]) * strides], axis=1)
    return corners_of(centres), rows[:, 4] * rows[:, 5 + codec.person]


def _yolo(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """YOLOv8, 11, 26 without suppression: (1, 4 + classes, A) of centre, size and class scores in pixels."""
    rows = yolo_rows(of_one(outputs, "rows", "(1, 4 + classes, candidates)", axes=2), "the output")
    _check_class(codec, rows.shape[1] - 4, "rows")
    return corners_of(rows), rows[:, 4 + codec.person]


def _yolo_rows(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """The same with suppression: (1, N, 6) of corners, score and class."""
    rows = of_one(outputs, "rows", "(1, boxes, 6)", axes=2, columns=6)
    return rows[:, :4], np.where(np.rint(rows[:, 5]) == codec.person, rows[:, 4], 0)


def _paddle_rows(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """PaddleDetection with its post-processing: (N, 6) of class, score and corners in pixels of the picture."""
    (rows,) = outputs["rows"]
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise ModelError(f"the rows have shape {rows.shape}, expected (boxes, 6)")
    found: Array = np.asarray(rows, np.float32)
    scores: Array = np.where(found[:, 0] == codec.person, found[:, 1], np.float32(0))
    return found[:, 2:6], scores


def _candidates(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """PicoDet without suppression: boxes (1, A, 4) in pixels of the input, scores (1, classes, A)."""
    boxes = of_one(outputs, "boxes", "(1, candidates, 4)", axes=2, columns=4)
    scores = of_one(outputs, "scores", "(1, classes, candidates)", axes=2, columns=len(boxes))
    _check_class(codec, len(scores), "scores")
    return boxes, scores[codec.person]


def _picodet(codec: BoxCodec, outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """PicoDet's bare heads: for each stride scores (1, n, classes) and distances to the sides, (1, n, 4 * bins)."""
    scores, sides = (np.concatenate([np.asarray(a[0]) for a in outputs[name]]) for name in ("scores", "boxes"))
    cells, strides = grid_places(size, codec.strides)
    if len(scores) != len(cells) or len(sides) != len(cells) or sides.shape[1] % 4:
        raise ModelError(
            f"{len(scores)} scores and {len(sides)} boxes, expected {len(cells)} for the strides {codec.strides}"
        )
    _check_class(codec, scores.shape[1], "scores")
    bins = sides.reshape(len(sides), 4, -1).astype(np.float64)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    distances = (weights / weights.sum(axis=2, keepdims=True)) @ np.arange(bins.shape[2]) * strides
    centres = (cells + 0.5) * strides
    boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
    return boxes.astype(np.float32), np.asarray(scores[:, codec.person], np.float32)


def _check_class(codec: BoxCodec, classes: int, name: str) -> None:
    if not 0 <= codec.person < classes:
        raise ModelError(f"the person is class {codec.person}, but the {name} have {max(classes, 0)} classes")


_DECODERS: dict[str, Callable[[BoxCodec, Outputs, tuple[int, int]], tuple[Array, Array]]] = {
    "dets": _dets,
    "yolox": _yolox,
    "yolo": _yolo,
    "yolo-rows": _yolo_rows,
    "paddle-rows": _paddle_rows,
    "candidates": _candidates,
    "picodet": _picodet,
}
