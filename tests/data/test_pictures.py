"""The record of a labelled picture: what may be left out, and what a change of size does to all of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from manypose.data.pictures import LabelledPicture, MaskFiles, draw_segment
from manypose.errors import DataError

SQUARE = np.array([[9.5, 9.5], [29.5, 9.5], [29.5, 19.5], [9.5, 19.5]], np.float32)  # pixels 10..29 x 10..19
RLE = {"size": [40, 80], "counts": [40 * 10, 40 * 20, 40 * 50]}  # columns 10..29


def picture(**more: Any) -> LabelledPicture:
    given = {
        "archive": Path("none"),
        "name": "none.png",
        "size": (80, 40),
        "keypoints": np.array([[[10, 10], [np.nan, np.nan]], [[20, 30], [40, 20]]], np.float32),
        "unsure": np.zeros((2, 2), bool),
        "boxes": np.array([[-0.5, -0.5, 39.5, 39.5], [9.5, 9.5, 59.5, 39.5]], np.float32),
        "ignore": np.array([[59.5, -0.5, 79.5, 39.5]], np.float32),
    }
    return LabelledPicture(**{**given, **more})


def test_what_is_left_out_is_unknown() -> None:
    made = picture()
    np.testing.assert_array_equal(made.visible, [[True, False], [True, True]])
    assert np.isnan(made.areas).all()
    assert made.areas.shape == (2,)
    assert made.person_ids.tolist() == [-1, -1]
    assert (made.segments, made.ignore_segments) == ((None, None), (None,))
    assert made.head_boxes is None


def test_another_size_scales_everything() -> None:
    made = picture(
        areas=np.array([800, np.nan], np.float32),
        segments=((SQUARE,), None),
        ignore_segments=(RLE,),
        head_boxes=np.array([[-0.5, -0.5, 9.5, 9.5], [np.nan] * 4], np.float32),
    )
    small = made.scaled((40, 20))
    np.testing.assert_array_equal(small.boxes[0], [-0.5, -0.5, 19.5, 19.5])
    np.testing.assert_array_equal(small.ignore, [[29.5, -0.5, 39.5, 19.5]])
    np.testing.assert_array_equal(small.keypoints[0, 0], [4.75, 4.75])
    assert small.areas[0] == 200
    assert small.segments[0] is not None
    np.testing.assert_array_equal(small.segments[0][0], SQUARE / 2 - 0.25)
    np.testing.assert_array_equal(small.head_boxes, [[-0.5, -0.5, 4.5, 4.5], [np.nan] * 4])
    drawn = draw_segment(small.ignore_segments[0], (40, 20))
    assert drawn is not None
    assert np.flatnonzero(drawn.all(axis=0)).tolist() == list(range(5, 15))


def test_some_of_the_people() -> None:
    chosen = picture(segments=((SQUARE,), None), areas=np.array([1, 2], np.float32)).select([1])
    assert (len(chosen), len(chosen.ignore), chosen.segments) == (1, 1, (None,))
    assert chosen.areas.tolist() == [2]
    assert len(picture().select(np.array([False, False]))) == 0


def test_segments_are_drawn_on_whole_pixels() -> None:
    drawn = draw_segment((SQUARE,), (80, 40))
    assert drawn is not None
    expected = np.zeros((40, 80), bool)
    expected[10:20, 10:30] = True
    np.testing.assert_array_equal(drawn, expected)
    assert draw_segment(None, (80, 40)) is None


def test_several_polygons_are_one_area() -> None:
    drawn = draw_segment((SQUARE, SQUARE + np.float32(20)), (80, 40))
    assert drawn is not None
    assert drawn.sum() == 200 + 20 * 10


def test_an_rle_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="an RLE of 80 x 40 pixels for a picture of 60 x 40"):
        draw_segment(RLE, (60, 40))


def test_masks_of_products_are_read_at_the_size_of_the_picture(tmp_path: Path) -> None:
    mask = np.full((40, 80), 255, np.uint8)
    mask[:, :20] = 0
    cv2.imwrite(str(tmp_path / "miss.png"), mask)
    files = MaskFiles(tmp_path, "miss.png", None)
    missing = files.read_missing((40, 20))
    assert missing is not None
    assert missing.shape == (20, 40)
    assert np.flatnonzero(missing.all(axis=0)).tolist() == list(range(10))
    assert files.read_people((40, 20)) is None
    with pytest.raises(DataError, match=r"miss\.png: a mask of 80 x 40 pixels for a picture of 40 x 40"):
        files.read_missing((40, 40))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png: not a mask"):
        dataclasses.replace(files, people="bad.png").read_people((40, 20))
