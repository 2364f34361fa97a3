"""Many pictures on one sheet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manypose.drawing import contact_sheet
from manypose.errors import ImageError


def plain(colour: tuple[int, int, int], width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)
PICTURES = [plain(RED, 400, 300), plain(GREEN, 90, 120), plain(BLUE, 3000, 100)]


def where(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((np.abs(sheet.astype(int) - colour) < 9).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_pictures_stand_in_rows_and_keep_their_shape() -> None:
    sheet = contact_sheet(PICTURES, columns=2, width=800)
    assert sheet.shape[1] == 800
    red, green, blue = where(sheet, RED), where(sheet, GREEN), where(sheet, BLUE)
    assert red[2] <= green[0]  # side by side
    assert red[1] == green[1]
    assert max(red[3], green[3]) <= blue[1]  # below
    for box, shape in ((red, 4 / 3), (green, 3 / 4), (blue, 30)):
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(shape, rel=0.05)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3)])
def test_without_a_number_of_columns_the_sheet_is_about_square(count: int, columns: int) -> None:
    sheet = contact_sheet([plain(RED, 100, 100)] * count, width=600)
    middle = (np.abs(sheet[sheet.shape[0] // columns // 2 + 4].astype(int) - RED) < 9).all(axis=1)
    assert np.count_nonzero(np.diff(middle.astype(int)) == 1) == columns


def test_captions_are_written_below_their_pictures() -> None:
    bare = contact_sheet(PICTURES[:2], columns=2, width=800)
    captioned = contact_sheet(PICTURES[:2], columns=2, width=800, captions=["first", ""])
    assert captioned.shape[0] > bare.shape[0]
    below = captioned[where(captioned, GREEN)[3] :]
    assert below[:, :400].max() > 150
    assert below[:, 420:].max() < 60


def test_a_long_caption_is_cut_and_other_letters_do_no_harm() -> None:
    captions = ["a_very_long_name_of_a_photo_that_fits_in_no_column_whatever_one_does_0001.jpg", "Fußgänger 歩行者"]
    sheet = contact_sheet(PICTURES[:2], columns=2, width=300, captions=captions)
    assert sheet.shape[1] == 300
    assert sheet[-40:, 148:152].max() < 60  # nothing runs over the gap


def test_the_same_sheet_each_time_and_the_pictures_stay_as_they_are() -> None:
    before = [picture.copy() for picture in PICTURES]
    assert np.array_equal(contact_sheet(PICTURES), contact_sheet(PICTURES))
    assert all(np.array_equal(a, b) for a, b in zip(before, PICTURES, strict=True))


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, "needs at least one picture"),
        (PICTURES, {"captions": ["one"]}, "1 captions for 3 pictures; give one for each"),
        (PICTURES, {"columns": 0}, "0 columns do not fit on a sheet of 1600 pixels"),
        (PICTURES, {"columns": 3, "width": 30}, "3 columns do not fit on a sheet of 30 pixels"),
        ([PICTURES[0][..., 0]], {}, "expected a picture of RGB uint8"),
    ],
)
def test_what_is_refused(pictures: list[np.ndarray], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        contact_sheet(pictures, **options)
