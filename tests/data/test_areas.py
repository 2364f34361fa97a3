"""Where people without labels are: all polygons, crowds and boxes of a picture, moved with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_coco import COCO

from manypose import geometry
from manypose.data import augment
from manypose.data.areas import unlabelled_cells
from manypose.data.augment import Augmentation
from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.errors import DataError

# pycocotools hands its masks to NumPy in a way that NumPy 2 will not take for ever.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

STRAIGHT = np.array([[1.0, 0, 0], [0, 1, 0]])
SIZE, GRID, STRIDE = (160, 128), (20, 16), 8


def square(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return geometry.box_corners(np.array([[left, top, right, bottom]], np.float32))[0]


def crowd(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """An RLE with plain counts, column by column, as COCO's crowds have it."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[top : bottom + 1, left : right + 1] = 1
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=0))
    return {"size": list(size[::-1]), "counts": np.diff([0, *edges, len(flat)]).tolist()}


def labels(*ignored: Any, people: tuple[Any, ...] = (), **more: Any) -> LabelledPicture:
    """A picture with areas to ignore (a box where there are four numbers) and people of known shape."""
    boxes = [part if isinstance(part, list) else [0, 0, 1, 1] for part in ignored]
    return LabelledPicture(
        archive=more.pop("archive", Path("none")),
        name="none.png",
        size=SIZE,
        keypoints=np.full((len(people), len(COCO), 2), 20, np.float32),
        unsure=np.zeros((len(people), len(COCO)), bool),
        boxes=np.tile(np.array([0, 0, 159, 127], np.float32), (len(people), 1)),
        ignore=np.array(boxes, np.float32).reshape(-1, 4),
        segments=people,
        ignore_segments=tuple(None if isinstance(part, list) else part for part in ignored),
        **more,
    )


def cells(picture: LabelledPicture, matrix: np.ndarray = STRAIGHT) -> np.ndarray:
    return unlabelled_cells(picture, matrix, GRID, STRIDE)


def rows_and_columns(area: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(area)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_where_all_are_labelled_nothing_is_ignored() -> None:
    area = cells(labels())
    assert area.shape == (16, 20)
    assert not area.any()


def test_a_box_covers_its_cells() -> None:
    area = cells(labels([39.5, 23.5, 71.5, 55.5]))  # the pixels 40 .. 71 and 24 .. 55: cells 5 .. 8 and 3 .. 6
    assert area[3:7, 5:9].all()
    top, bottom, left, right = rows_and_columns(area)
    assert min(top - 2, 7 - bottom, left - 4, 9 - right) >= 0  # and at most a cell more on each side


@pytest.mark.parametrize("shape", [(square(40, 24, 71, 55),), crowd(40, 24, 71, 55)], ids=["polygon", "RLE"])
def test_a_known_shape_grows_by_a_cell(shape: Any) -> None:
    area = cells(labels(shape))
    assert rows_and_columns(area) == (2, 7, 4, 9)


def test_all_polygons_and_all_crowds_count() -> None:
    """The reference takes the first polygon of a person alone, and no crowd where there are two."""
    person = (square(8, 8, 23, 23), square(120, 8, 135, 23))
    area = cells(labels(person, crowd(8, 96, 23, 111), crowd(120, 96, 135, 111)))
    for row, column in ((1, 1), (1, 15), (12, 1), (12, 15)):
        assert area[row : row + 2, column : column + 2].all()
    assert not area[6:10].any()


def test_polygons_of_one_person_that_overlap_are_joined() -> None:
    area = cells(labels((square(24, 24, 80, 80), square(40, 40, 100, 100))))
    assert area[6:9, 6:9].all()


def test_a_labelled_person_in_a_crowd_counts() -> None:
    area = cells(labels(crowd(16, 16, 143, 111), people=((square(64, 48, 95, 79),),)))
    assert not area[6:10, 8:12].any()
    assert area[4, 4] == area[12, 16] == 1


def test_a_crowd_without_shape_hides_who_stands_in_it() -> None:
    assert cells(labels([16, 16, 143, 111], people=((square(64, 48, 95, 79),),)))[6:10, 8:12].all()


def test_an_rle_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="RLE of 80 x 60 pixels for a picture of 160 x 128"):
        cells(labels(crowd(1, 1, 5, 5, size=(80, 60))))


def test_a_mask_file_counts_too(tmp_path: Path) -> None:
    mask = np.full(SIZE[::-1], 255, np.uint8)
    mask[24:56, 40:72] = 0
    (tmp_path / "mask.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    area = cells(labels(masks=MaskFiles(tmp_path, "mask.png")))
    assert rows_and_columns(area) == (2, 7, 4, 9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["polygon", "rle"]))
def test_areas_move_with_the_pixels(seed: int, kind: str) -> None:
    """A bright square is what is ignored: after every augmentation the mask lies on what is bright."""
    shape = (square(40, 24, 103, 87),) if kind == "polygon" else crowd(40, 24, 103, 87)
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[24:88, 40:104] = 255
    given_labels = labels(shape, people=(None,))
    how = Augmentation(person_size=(0.5, 1.0), rotation=40, any_rotation=0.3, colour=0)
    crop = augment.random_crop(given_labels, picture, SIZE, how, COCO, np.random.default_rng(seed))
    area = cells(given_labels, crop.matrix)
    bright = (crop.picture[..., 0] > 200).astype(np.uint8)
    share = cv2.resize(bright * 255, GRID, interpolation=cv2.INTER_AREA)
    assert area[share > 200].all()
    far = cv2.dilate(share, np.ones((5, 5), np.uint8)) == 0
    inner = np.s_[2:-2, 2:-2]  # what lies just outside of the crop reaches in by the cell that areas grow
    assert not area[inner][far[inner]].any()


def test_mirrored_twice_is_as_before() -> None:
    mirror = np.array([[-1.0, 0, SIZE[0] - 1], [0, 1, 0]])
    picture = labels((square(33, 20, 70, 61),), crowd(100, 90, 140, 120))
    once = cells(picture, mirror)
    assert np.array_equal(once[:, ::-1], cells(picture)) or (once[:, ::-1] != cells(picture)).sum() <= 6
    twice = geometry.compose_affines(mirror, mirror)
    np.testing.assert_array_equal(cells(picture, twice), cells(picture))
