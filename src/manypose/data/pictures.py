"""A picture with labels: what every reader of a data set gives, and all that training needs to know."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, ImageError
from manypose.files import read_member
from manypose.images import open_image

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture of a data set and the people in it, in pixels of the picture.

    keypoints  (N, K, 2) float32, NaN = not labelled
    unsure     (N, K) bool; the joint may be somewhere in the person's box, so nothing there can be called wrong
    boxes      (N, 4) float32, x1 y1 x2 y2
    ignore     (M, 4) float32, boxes of people without labels
    """

    archive: Path
    name: str
    size: tuple[int, int]
    keypoints: Array
    unsure: NDArray[np.bool_]
    boxes: Array
    ignore: Array

    def read(self) -> NDArray[np.uint8]:
        """The picture, RGB (H, W, 3); raises `DataError` when it is missing, broken, or not as large as labelled."""
        content = read_member(self.archive, self.name)
        try:
            picture = open_image(content, name=str(self.archive / self.name))
        except ImageError as error:
            raise DataError(str(error)) from None
        if picture.shape[1::-1] != self.size:
            found = f"{picture.shape[1]} x {picture.shape[0]}"
            raise DataError(
                f"{self.archive / self.name}: {found} pixels, but its labels are for {self.size[0]} x {self.size[1]}"
            )
        return picture

    def shrunk(self, longest: int) -> tuple[LabelledPicture, NDArray[np.uint8]]:
        """The labels and the picture at a longer side of at most `longest` pixels."""
        picture = self.read()
        scale = longest / max(self.size)
        if scale >= 1:
            return self, picture
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        factor = np.array(size, np.float32) / self.size
        small = dataclasses.replace(
            self,
            size=size,
            keypoints=((self.keypoints + 0.5) * factor - 0.5).astype(np.float32),
            boxes=((self.boxes + 0.5) * np.tile(factor, 2) - 0.5).astype(np.float32),
            ignore=((self.ignore + 0.5) * np.tile(factor, 2) - 0.5).astype(np.float32),
        )
        return small, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
