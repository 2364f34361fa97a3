"""Many pictures of different shapes on one sheet: rows as wide as the sheet, in each of which all are equally high."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.drawing import labels
from manypose.drawing.colours import EDGE
from manypose.drawing.sheet import _shortened
from manypose.errors import ImageError
from manypose.images import check_rgb

Picture = NDArray[np.uint8]

_CAPTION_HEIGHT = 11  # pixels of a capital letter
_BELOW = 3 * _CAPTION_HEIGHT  # pixels below a row for its captions
_LEAST = 8  # pixels of a picture's side


def row_sheet(
    pictures: Sequence[Picture], *, captions: Sequence[str] | None = None, width: int = 1920, height: int = 300
) -> Picture:
    """One picture of `width` pixels that shows all `pictures` (RGB uint8) in rows, each with its caption below.

    Rows are about `height` pixels high: as many pictures stand in one as fit, and then it is made as wide as the sheet.
    The last one stays as high as it is. Captions too long for their picture are cut.

    Raises `ImageError` without pictures, or when captions and pictures do not fit together.
    """
    if not pictures:
        raise ImageError("a sheet needs at least one picture")
    if captions is not None and len(captions) != len(pictures):
        raise ImageError(f"{len(captions)} captions for {len(pictures)} pictures; give one for each")
    for picture in pictures:
        check_rgb(picture)
    gap = max(4, width // 160)
    rows = []
    for members, tall in _fill_rows([picture.shape[1] / picture.shape[0] for picture in pictures], width, height, gap):
        words = [captions[n] for n in members] if captions is not None else []
        rows.append(_row([pictures[n] for n in members], words, width, tall, gap))
    return np.concatenate([*rows, _blank(gap, width)])


def _fill_rows(shapes: Sequence[float], width: int, height: int, gap: int) -> list[tuple[list[int], int]]:
    """The pictures of each row, and its height; `shapes` are widths over heights."""
    rows: list[tuple[list[int], int]] = []
    members: list[int] = []
    for n in range(len(shapes)):
        members.append(n)
        free = width - gap * (len(members) + 1)
        tall = free / sum(shapes[m] for m in members)
        if tall <= height or free < _LEAST * (len(members) + 1):
            rows.append((members, max(_LEAST, int(tall))))
            members = []
        elif n == len(shapes) - 1:
            rows.append((members, height))
    return rows


def _row(pictures: Sequence[Picture], captions: Sequence[str], width: int, tall: int, gap: int) -> Picture:
    row = _blank(gap + tall + (_BELOW if captions else 0), width)
    left = gap
    for n, picture in enumerate(pictures):
        wide = min(max(_LEAST, int(tall * picture.shape[1] / picture.shape[0])), width - gap - left)
        if wide < 1:
            break
        how = cv2.INTER_AREA if tall < picture.shape[0] else cv2.INTER_CUBIC
        row[gap : gap + tall, left : left + wide] = cv2.resize(picture, (wide, tall), interpolation=how)
        if captions:
            below = row[gap + tall :, left : left + wide]
            labels.draw_text(below, _shortened(captions[n], wide), 0, 0, _CAPTION_HEIGHT)
        left += wide + gap
    return row


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), EDGE, np.uint8)
