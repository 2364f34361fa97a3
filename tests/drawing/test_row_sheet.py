"""Sheets of rows: every picture is there as a whole, in its shape, none twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manypose.drawing.rows import row_sheet
from manypose.errors import ImageError


def plain(width: int, height: int, colour: int) -> np.ndarray:
    return np.full((height, width, 3), (colour, 255 - colour, 200), np.uint8)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=9))
def test_every_picture_is_shown_once_and_nothing_sticks_out(sizes: list[tuple[int, int]]) -> None:
    pictures = [plain(width, height, 20 * n) for n, (width, height) in enumerate(sizes)]
    sheet = row_sheet(pictures, width=640, height=80)
    assert sheet.shape[1] == 640
    for picture in pictures:
        rows, columns = np.nonzero((sheet == picture[0, 0]).all(axis=2))
        shown = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == shown[0] * shown[1]  # one rectangle


def test_pictures_keep_their_shape_and_rows_their_width() -> None:
    pictures = [plain(300, 200, 0), plain(200, 300, 50), plain(300, 200, 100), plain(400, 200, 150)]
    sheet = row_sheet(pictures, width=800, height=200)
    for picture in pictures:
        rows, columns = np.nonzero((sheet == picture[0, 0]).all(axis=2))
        shape = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
        assert shape == pytest.approx(picture.shape[1] / picture.shape[0], rel=0.02)
    right = np.nonzero((sheet == pictures[3][0, 0]).all(axis=2))[1].max()
    assert 785 <= right < 800


def test_captions_stand_below() -> None:
    bare, named = (row_sheet([plain(90, 60, 0)], captions=c, width=400, height=100) for c in (None, ["a" * 200]))
    assert len(named) > len(bare)
    assert named[len(bare) :].max() > 150


def test_wrong_use() -> None:
    with pytest.raises(ImageError, match="at least one picture"):
        row_sheet([])
    with pytest.raises(ImageError, match="2 captions for 1 pictures"):
        row_sheet([plain(9, 9, 0)], captions=["a", "b"])
