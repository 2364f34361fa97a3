"""Where people without labels are in a crop: drawn on the fly from polygons, RLE, mask files and boxes, all of them."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.data.pictures import LabelledPicture, Segment, draw_segment
from manypose.errors import DataError

Array = NDArray[np.float32]
Mask = NDArray[np.uint8]
_FINE = 4  # bits below a cell in which OpenCV draws corners


def unlabelled_cells(labels: LabelledPicture, matrix: NDArray[np.float64], grid: tuple[int, int], stride: int) -> Mask:
    """(h, w) of `grid` (w, h): 1 where nothing can be called wrong, since people there have no labels; else 0.

    `matrix` (2, 3) takes pixels of the picture to those of the crop, `stride` of which are a cell. Areas whose shape is
    known (polygons, RLE, also crowds; several of each) grow by a cell, as far as a joint's Gaussian reaches out, and
    leave out labelled people of known shape who stand in them. Of the others the whole box counts. A mask file of the
    data set counts beside them.

    Raises `DataError` for an RLE that is not as large as the picture or broken, or a mask file that cannot be read.
    """
    try:
        return _unlabelled_cells(labels, matrix, grid, stride)
    except DataError as error:
        raise DataError(f"{labels.archive / labels.name}: the areas of its people cannot be drawn: {error}") from None


def _unlabelled_cells(labels: LabelledPicture, matrix: NDArray[np.float64], grid: tuple[int, int], stride: int) -> Mask:
    to_cells = matrix.copy()
    to_cells[:, 2] -= (stride - 1) / 2
    to_cells /= stride
    area: Mask = np.zeros(grid[::-1], np.uint8)
    if any(segment is not None for segment in labels.ignore_segments) or labels.masks is not None:
        for segment in labels.ignore_segments:
            _draw(area, segment, labels.size, to_cells, 1)
        missing = labels.masks.read_missing(labels.size) if labels.masks is not None else None
        if missing is not None:
            _draw_mask(area, missing, to_cells, 1)
        if area.any():
            area = np.asarray(cv2.dilate(area, np.ones((3, 3), np.uint8)), np.uint8)
            for segment in labels.segments:
                _draw(area, segment, labels.size, to_cells, 0)
    boxes = np.array([segment is None for segment in labels.ignore_segments], bool)
    if boxes.any():
        for corners in geometry.transform_points(geometry.box_corners(labels.ignore[boxes]), to_cells):
            fill(area, corners, 1)
    return area


def fill(area: Mask, corners: Array, value: int) -> None:
    """Fill a polygon (n, 2), in cells, of a map."""
    fixed = np.clip(np.round(corners * 2**_FINE), -(2**15), 2**15).astype(np.int32)
    cv2.fillPoly(area, [fixed], value, lineType=cv2.LINE_8, shift=_FINE)


def _draw(area: Mask, segment: Segment, size: tuple[int, int], to_cells: NDArray[np.float64], value: int) -> None:
    if isinstance(segment, Mapping):
        drawn = draw_segment(segment, size)
        if drawn is not None:
            _draw_mask(area, drawn, to_cells, value)
    elif segment is not None:
        for polygon in segment:  # each alone: together OpenCV would leave out where they overlap
            if len(polygon) >= 3:
                fill(area, geometry.transform_points(polygon, to_cells), value)


def _draw_mask(area: Mask, mask: NDArray[np.bool_], to_cells: NDArray[np.float64], value: int) -> None:
    cells = cv2.warpAffine(mask.astype(np.uint8), to_cells, area.shape[::-1], flags=cv2.INTER_NEAREST)
    area[np.asarray(cells) > 0] = value
