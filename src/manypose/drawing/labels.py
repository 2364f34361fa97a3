"""Words on pictures: tags of people, captions, and the boxes that the tags belong to."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.drawing import shapes
from manypose.drawing.colours import EDGE, NEUTRAL
from manypose.people import People

Picture = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT = 22  # pixels of a capital letter at scale 1
_PLATE_OPACITY = 0.72


def text_height(frame: tuple[int, int]) -> float:
    """Height in pixels of capital letters that are legible on a picture of (width, height) seen as a whole."""
    return float(np.clip(0.0125 * np.hypot(*frame), 8, 80))


def draw_text(picture: Picture, text: str, left: float, top: float, height: float) -> tuple[int, int, int, int]:
    """Write a line of text on a dark plate whose corner is at (left, top), moved into the picture where it sticks out.

    `height` is that of a capital letter in pixels. The plate is returned as left, top, right, bottom. OpenCV's letters
    are ASCII; others are shown as question marks.
    """
    text, scale, thickness, pad = text.encode("ascii", "replace").decode(), *_font(height)
    plate_width, plate_height = text_width(text, height), round(height) + 2 * pad
    x = round(min(max(left, 0), max(picture.shape[1] - plate_width, 0)))
    y = round(min(max(top, 0), max(picture.shape[0] - plate_height, 0)))
    plate = picture[y : y + plate_height, x : x + plate_width]
    dark = np.empty_like(plate)
    dark[:] = EDGE
    plate[:] = cv2.addWeighted(dark, _PLATE_OPACITY, plate, 1 - _PLATE_OPACITY, 0)
    at = (x + pad, y + pad + round(height))
    cv2.putText(picture, text, at, _FONT, scale, NEUTRAL, thickness, cv2.LINE_AA)
    return x, y, x + plate_width, y + plate_height


def text_width(text: str, height: float) -> int:
    """Width in pixels of a line of text with its plate, when its capital letters are `height` pixels high."""
    scale, thickness, pad = _font(height)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    return width + 2 * pad


def _font(height: float) -> tuple[float, int, int]:
    """OpenCV's scale, the thickness of the lines, and the border of the plate."""
    return height / _FONT_HEIGHT, max(1, round(height / 9)), round(0.45 * height) + 1


def draw_tags(picture: Picture, people: People, order: Sequence[int], *, boxes: bool, ids: bool, scores: bool) -> None:
    """Draw the boxes of people, and a tag with id and score at the top left of each, into the picture."""
    frame = (picture.shape[1], picture.shape[0])
    height = text_height(frame)
    around = np.where(np.isnan(people.boxes), geometry.keypoint_boxes(people.keypoints), people.boxes)
    around = np.clip(around.astype(np.float64), -4.0 * max(frame), 4.0 * max(frame))
    # Nobody whose box is not known (NaN) or lies outside of the picture.
    seen = np.flatnonzero(((around[:, :2] < frame) & (around[:, 2:] > -1)).all(axis=1)).tolist()
    known = [person for person in order if person in seen]
    for person in known if boxes else ():
        _draw_box(picture, around[person], width=max(1, round(height / 9)))
    for person in known:
        words = [f"#{people.ids[person]}"] if ids and people.ids is not None else []
        words += [f"{people.person_scores[person]:.2f}"] if scores else []
        if words:
            draw_text(picture, " ".join(words), around[person, 0], around[person, 1] - 1.9 * height - 3, height)


def _draw_box(picture: Picture, box: NDArray[np.float64], *, width: int) -> None:
    corners = shapes.to_fixed(box[[[0, 1], [2, 1], [2, 3], [0, 3]]])
    for colour, thickness in ((EDGE, width + 2), (NEUTRAL, width)):
        cv2.polylines(picture, [corners], True, colour, thickness, cv2.LINE_AA, shapes.SHIFT)
