"""The original programs' arrays: labels in rows of bytes among the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_case import COCO, make_record

from manypose.data.packing import datum
from manypose.data.packing.datum import DatumLabels
from manypose.errors import DataError


def labels_of(people: int, seed: int = 0, size: tuple[int, int] = (90, 70)) -> DatumLabels:
    random = np.random.default_rng(seed)
    places = random.uniform(-20, 200, (people, 17, 2))
    codes = random.integers(0, 3, (people, 17, 1))
    return DatumLabels(
        dataset="COCO",
        size=size,
        joints=np.concatenate([places, codes], axis=-1).astype(np.float32),
        centres=random.uniform(0, 90, (people, 2)).astype(np.float32),
        scales=random.uniform(0.1, 2, people).astype(np.float32),
        validation=bool(seed % 2),
        person=seed % 5,
        picture=391895,
        index=seed,
        total=52597,
    )


def assert_same_rows(found: DatumLabels, expected: DatumLabels) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_rows_come_back_as_they_were_written(people: int, seed: int) -> None:
    labels = labels_of(people, seed)
    height, width = datum.rows_needed(people - 1)
    height, width = max(height, 70), max(width, 90)
    assert_same_rows(datum.read_labels(datum.write_labels(labels, height, width)), labels)


@pytest.mark.golden
def test_rows_are_those_of_the_product(goldens: Path) -> None:
    expected = np.load(goldens / "formats" / "train_dataset_expected.npz")
    content = (goldens / "formats" / "caffe_datum_0000000.bin").read_bytes()
    array = np.frombuffer(content[10 : 10 + 6 * 80 * 96], np.uint8).reshape(6, 80, 96)
    labels = datum.read_labels(array[3])
    np.testing.assert_array_equal(labels.joints, expected["joints"])
    np.testing.assert_array_equal(labels.centres, expected["objpos"])
    np.testing.assert_array_equal(labels.scales, expected["scale"])
    head = (*labels.size[::-1], labels.validation, 2, labels.person, labels.picture, labels.index, labels.total)
    np.testing.assert_array_equal(head, expected["head"])
    np.testing.assert_array_equal(datum.write_labels(labels, 80, 96), array[3])


@pytest.mark.parametrize(("others", "needed"), [(0, (8, 68)), (1, (13, 68)), (17, (77, 68)), (18, (81, 72))])
def test_the_room_that_labels_need(others: int, needed: tuple[int, int]) -> None:
    assert datum.rows_needed(others) == needed
    with pytest.raises(DataError, match=f"labels of {others + 1} people need {needed[0]} rows of {needed[1]} bytes"):
        datum.write_labels(labels_of(others + 1), needed[0], needed[1] - 1)


def test_a_picture_that_is_too_small_is_padded_with_its_masks(tmp_path: Path) -> None:
    picture = make_record(tmp_path, 1, people=2, size=(64, 9))
    rows = datum.from_record(picture, COCO.joints)
    nobody = np.zeros((9, 64), bool)
    array = datum.to_array(rows, picture.read(), nobody, ~nobody)
    assert array.shape == (6, 13, 68)
    np.testing.assert_array_equal(array[:3, :9, :64], picture.read()[..., ::-1].transpose(2, 0, 1))
    assert (array[:3, 9:] == 128).all()
    assert (array[:3, :, 64:] == 128).all()
    assert (array[4, :9, :64] == 255).all()
    assert array[4].sum() == 255 * 9 * 64  # the padding is nothing to learn from
    assert array[5].sum() == 255 * 9 * 64
    assert datum.read_labels(array[3]).size == (64, 9)


def test_of_a_row_that_was_too_narrow_the_last_joint_is_unsure() -> None:
    labels = labels_of(1, size=(64, 70))
    narrow = datum.write_labels(labels, 70, 90)[:, :64]
    found = datum.read_labels(narrow)
    np.testing.assert_array_equal(found.joints[:, :16], labels.joints[:, :16])
    people = datum.people_of(found)
    assert people["unsure"][0].tolist() == [False] * 16 + [True]
    assert np.isnan(people["keypoints"][0, 16]).all()


def test_boxes_are_as_high_as_stated_and_as_wide_as_their_joints() -> None:
    labels = labels_of(1)
    labels.joints[0, :, 2] = 2
    labels.joints[0, 3] = (30, 40, 1)
    labels.joints[0, 4] = (5, 45, 0)
    labels.centres[0], labels.scales[0] = (20.5, 40.5), 100 / 368
    people = datum.people_of(labels)
    np.testing.assert_allclose(people["boxes"], [[5, -10, 35, 90]], atol=1e-4)
    assert people["visible"][0].nonzero()[0].tolist() == [3]


def test_the_main_person_has_five_joints_and_is_not_small(tmp_path: Path) -> None:
    picture = make_record(tmp_path, 1, people=3, areas=np.float32([2000, 900, 1500]))
    picture.keypoints[0, 4:] = np.nan
    rows = datum.from_record(picture, COCO.joints)
    assert rows.person == 2
    np.testing.assert_array_equal(rows.joints[0, :16, :2], picture.keypoints[2, :16])
    np.testing.assert_array_equal(rows.joints[1, :4, :2], picture.keypoints[0, :4])
    middle = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 + 0.5
    np.testing.assert_allclose(rows.centres, middle[[2, 0, 1]], atol=1e-4)


def test_where_nobody_is_labelled_a_person_without_joints_stands_in_the_middle(tmp_path: Path) -> None:
    rows = datum.from_record(make_record(tmp_path, 1, people=0), COCO.joints)
    np.testing.assert_array_equal(rows.centres, [[48, 40]])
    assert (rows.joints[..., 2] == datum.ABSENT).all()
    assert len(datum.people_of(rows)["keypoints"]) == 0


def test_of_too_many_people_the_smallest_are_left_out(tmp_path: Path) -> None:
    areas = np.arange(300, dtype=np.float32) + 2000
    rows = datum.from_record(make_record(tmp_path, 1, people=300, areas=areas), COCO.joints)
    assert len(rows.joints) == 256


def broken(row: int, column: int, value: float) -> np.ndarray:
    plane = datum.write_labels(labels_of(2), 70, 90)
    plane[row, 4 * column : 4 * column + 4] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
    return plane


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        (broken(1, 0, 7.5), "it states a picture of 90.0 x 7.5 pixels"),
        (broken(1, 1, 91), "it states a picture of 91 x 70 pixels in an array of 90 x 70"),
        (broken(1, 1, np.nan), "it states a picture of nan x 70"),
        (broken(3, 0, np.inf), "the place or height of a person is no number"),
        (broken(4, 0, np.nan), "the place or height of a person is no number"),
        (broken(5, 3, np.nan), "a joint is no number"),
        (broken(7, 3, 5), "the code of a joint is 5; 0, 1 and 2 are known"),
        (broken(0, 0, 0)[:12], "its array has 12 rows, too few for the labels of 2 people"),
        (np.zeros((7, 90), np.uint8), "its array has 7 rows of 90 bytes; the labels need at least 8 of 68"),
        (np.full((70, 90), 255, np.uint8), "too few for the labels of 256 people"),
    ],
)
def test_rows_that_cannot_be_are_refused(plane: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        datum.read_labels(plane)
