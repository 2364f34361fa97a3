"""Many pictures on one sheet, in rows, with captions."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.drawing import labels
from manypose.drawing.colours import EDGE
from manypose.errors import ImageError
from manypose.images import check_rgb

Picture = NDArray[np.uint8]

_CAPTION_HEIGHT = 11  # pixels of a capital letter
_MOST_LENGTHY = 1.5  # height of a cell over its width


def contact_sheet(
    pictures: Sequence[Picture], *, columns: int | None = None, captions: Sequence[str] | None = None, width: int = 1600
) -> Picture:
    """One picture of `width` pixels that shows all `pictures` (RGB uint8) in rows, each with its caption below.

    Every picture is resized as a whole to the width of its column (or to half as much again in height, when it is
    that tall). Without `columns` there are about as many columns as rows. Captions too long for their column are cut.

    Raises `ImageError` without pictures, or when captions, columns and pictures do not fit together.
    """
    if not pictures:
        raise ImageError("a contact sheet needs at least one picture")
    if captions is not None and len(captions) != len(pictures):
        raise ImageError(f"{len(captions)} captions for {len(pictures)} pictures; give one for each")
    columns = int(np.ceil(np.sqrt(len(pictures)))) if columns is None else columns
    gap = max(4, width // 160)
    cell = (width - gap * (columns + 1)) // max(columns, 1)
    if columns < 1 or cell < 8:
        raise ImageError(f"{columns} columns do not fit on a sheet of {width} pixels")
    for picture in pictures:
        check_rgb(picture)
    rows = []
    for first in range(0, len(pictures), columns):
        part = slice(first, first + columns)
        rows.append(_row(pictures[part], captions[part] if captions is not None else (), cell, gap, width))
    return np.concatenate([*rows, _blank(gap, width)])


def _row(pictures: Sequence[Picture], captions: Sequence[str], cell: int, gap: int, width: int) -> Picture:
    small = [_resize(picture, cell) for picture in pictures]
    tallest = max(len(picture) for picture in small)
    row = _blank(gap + tallest + (3 * _CAPTION_HEIGHT if captions else 0), width)
    for column, picture in enumerate(small):
        left = gap + column * (cell + gap)
        inset = (cell - picture.shape[1]) // 2
        row[gap : gap + len(picture), left + inset : left + inset + picture.shape[1]] = picture
        if captions:
            below = row[gap + tallest :, left : left + cell]
            labels.draw_text(below, _shortened(captions[column], cell), 0, 0, _CAPTION_HEIGHT)
    return row


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), EDGE, np.uint8)


def _resize(picture: Picture, cell: int) -> Picture:
    height, width = picture.shape[:2]
    scale = min(cell / width, _MOST_LENGTHY * cell / height)
    size = max(1, min(cell, round(width * scale))), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=how)  # type: ignore[return-value]


def _shortened(caption: str, cell: int) -> str:
    """A caption cut in the middle, where names of files differ least, until it fits."""
    cut = caption
    for kept in range(len(caption) - 1, 0, -1):
        if labels.text_width(cut, _CAPTION_HEIGHT) <= cell:
            break
        cut = caption[: kept - kept // 2] + "..." + caption[len(caption) - kept // 2 :]
    return cut
