"""Augmentation moves labels with the pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_coco import BODY, COCO

from manypose import geometry
from manypose.data import augment
from manypose.data.augment import Augmentation
from manypose.data.pictures import LabelledPicture

COLOURS = np.array([(40 + 12 * k, 255 - 12 * k, 30 + 90 * (k % 3)) for k in range(17)], np.uint8)
STILL = Augmentation(
    person_size=(0.8, 0.8), rotation=0, shift=0, flip=0, mosaic=0, colour=0, grey=0, blur=0, any_rotation=0
)


def scene(size: tuple[int, int] = (240, 200)) -> tuple[LabelledPicture, NDArray[np.uint8]]:
    """A person whose joints are discs of their own colour, and a box without labels."""
    keypoints = (BODY * (90, 150) + (80, 25)).astype(np.float32)[None]
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for (x, y), colour in zip(keypoints[0], COLOURS, strict=True):
        cv2.circle(picture, (round(x * 16), round(y * 16)), 3 * 16, colour.tolist(), -1, shift=4)
    labels = LabelledPicture(
        archive=Path("none"),
        name="none",
        size=size,
        keypoints=keypoints,
        unsure=np.zeros((1, 17), bool),
        boxes=np.array([[80, 25, 170, 175]], np.float32),
        ignore=np.array([[0, 0, 30, 40]], np.float32),
    )
    return labels, picture


def found(picture: NDArray[np.uint8], joint: int) -> NDArray[np.float64] | None:
    """The middle of the pixels of a joint's colour, if there are enough of them."""
    rows, columns = np.nonzero((np.abs(picture.astype(int) - COLOURS[joint]) <= 3).all(axis=2))
    return np.array([columns.mean(), rows.mean()]) if len(rows) >= 8 else None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]))
def test_joints_move_with_the_pixels(seed: int, flip: float) -> None:
    labels, picture = scene()
    how = Augmentation(person_size=(0.6, 1.2), rotation=40, shift=0.1, flip=flip, any_rotation=0.3, colour=0)
    crop = augment.random_crop(labels, picture, (192, 160), how, COCO, np.random.default_rng(seed))
    assert crop.picture.shape == (160, 192, 3)
    order = COCO.flip if flip else np.arange(17)
    for k in range(5, 17):  # those of the face lie over each other
        x, y = crop.keypoints[0, k]
        inside = 4 <= x <= 187 and 4 <= y <= 155
        # In the mirrored picture the left wrist is what was drawn in the colour of the right one.
        place = found(crop.picture, int(order[k]))
        if inside and place is not None:
            assert np.hypot(*(place - (x, y))) < 1


def test_nothing_to_change_changes_nothing_but_the_crop() -> None:
    labels, picture = scene()
    crop = augment.random_crop(labels, picture, (160, 160), STILL, COCO, np.random.default_rng(0))
    places = [found(crop.picture, k) for k in range(17)]
    assert all(place is not None for place in places)
    np.testing.assert_allclose(np.array(places), crop.keypoints[0], atol=0.7)
    low, high = crop.keypoints[0].min(axis=0), crop.keypoints[0].max(axis=0)
    np.testing.assert_allclose((low + high) / 2, 79.5, atol=0.01)
    assert (high - low).max() == pytest.approx(0.8 * 160 * 1.0, rel=0.15)


def test_a_mirrored_person_keeps_his_own_left_and_right() -> None:
    labels, picture = scene()
    how = Augmentation(**{**vars(STILL), "flip": 1.0})
    straight = augment.random_crop(labels, picture, (160, 160), STILL, COCO, np.random.default_rng(0))
    mirrored = augment.random_crop(labels, picture, (160, 160), how, COCO, np.random.default_rng(0))
    expected = straight.keypoints[:, COCO.flip].copy()
    expected[..., 0] = 159 - expected[..., 0]
    np.testing.assert_allclose(mirrored.keypoints, expected, atol=1e-3)
    np.testing.assert_array_equal(mirrored.picture, straight.picture[:, ::-1])


def test_unsure_joints_change_sides_too() -> None:
    labels, picture = scene()
    labels.unsure[0, COCO.index("left_wrist")] = True
    how = Augmentation(**{**vars(STILL), "flip": 1.0})
    crop = augment.random_crop(labels, picture, (160, 160), how, COCO, np.random.default_rng(0))
    assert np.flatnonzero(crop.unsure[0]).tolist() == [COCO.index("right_wrist")]


def test_boxes_become_quadrilaterals_around_the_same_pixels() -> None:
    labels, picture = scene()
    how = Augmentation(**{**vars(STILL), "rotation": 30.0})
    crop = augment.random_crop(labels, picture, (160, 160), how, COCO, np.random.default_rng(4))
    assert crop.quads.shape == (1, 4, 2)
    quad = crop.quads[0]
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    assert sides[0] / sides[1] == pytest.approx(90 / 150, rel=1e-3)
    for place in crop.keypoints[0]:
        assert cv2.pointPolygonTest(quad, place.tolist(), True) > -0.01


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_matrix_took_the_joints_and_boxes_to_their_places(seed: int) -> None:
    labels, picture = scene()
    how = Augmentation(rotation=40, flip=0, any_rotation=0.3)
    crop = augment.random_crop(labels, picture, (160, 128), how, COCO, np.random.default_rng(seed))
    for moved, given_places in ((crop.keypoints, labels.keypoints), (crop.quads, geometry.box_corners(labels.boxes))):
        np.testing.assert_allclose(moved, geometry.transform_points(given_places, crop.matrix), atol=1e-3)


def test_outside_of_the_picture_all_is_grey() -> None:
    labels, picture = scene((200, 60))
    crop = augment.random_crop(labels, picture, (160, 160), STILL, COCO, np.random.default_rng(0))
    assert (crop.picture[-1] == 128).all()


def test_a_picture_of_nobody_is_shown_whole() -> None:
    labels, picture = scene()
    nobody = LabelledPicture(
        **{**vars(labels), "keypoints": labels.keypoints[:0], "unsure": labels.unsure[:0], "boxes": labels.boxes[:0]}
    )
    crop = augment.random_crop(nobody, picture, (160, 160), STILL, COCO, np.random.default_rng(0))
    assert crop.keypoints.shape == (0, 17, 2)
    assert (crop.picture > 200).any()


def test_nothing_that_is_given_is_changed() -> None:
    labels, picture = scene()
    before = (labels.keypoints.copy(), picture.copy())
    random = np.random.default_rng(1)
    crop = augment.random_crop(labels, picture, (160, 160), Augmentation(flip=1), COCO, random)
    augment.change_colours(crop.picture, Augmentation(grey=1, blur=1), random)
    np.testing.assert_array_equal(labels.keypoints, before[0])
    np.testing.assert_array_equal(picture, before[1])


def test_colours_change_and_grey_is_grey() -> None:
    _, picture = scene()
    changed = augment.change_colours(picture, Augmentation(colour=0.3, grey=0, blur=0), np.random.default_rng(0))
    assert changed.shape == picture.shape
    assert (changed != picture).any()
    grey = augment.change_colours(picture, Augmentation(colour=0, grey=1, blur=0), np.random.default_rng(0))
    assert (grey[..., 0] == grey[..., 2]).all()
    still = augment.change_colours(picture, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(still, picture)


def test_noise_and_jpeg_change_pixels_a_little_and_only_where_they_are_asked_for() -> None:
    _, picture = scene()
    for loss in ("noise", "jpeg"):
        changed = augment.change_colours(picture, Augmentation(**{**vars(STILL), loss: 1.0}), np.random.default_rng(0))
        difference = np.abs(changed.astype(int) - picture)
        assert changed.dtype == np.uint8
        assert 0.2 < difference.mean() < 12
    again = augment.change_colours(picture, Augmentation(**{**vars(STILL), "noise": 1.0}), np.random.default_rng(0))
    first = augment.change_colours(picture, Augmentation(**{**vars(STILL), "noise": 1.0}), np.random.default_rng(0))
    np.testing.assert_array_equal(first, again)


def test_jpeg_keeps_the_colours() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 230
    packed = augment.change_colours(red, Augmentation(**{**vars(STILL), "jpeg": 1.0}), np.random.default_rng(0))
    np.testing.assert_allclose(packed.mean(axis=(0, 1)), (230, 0, 0), atol=6)


def test_noise_and_jpeg_that_are_off_take_nothing_from_the_random_numbers() -> None:
    """So that adding them has not changed the samples of recipes from before."""
    _, picture = scene()
    random = np.random.default_rng(3)
    augment.change_colours(picture, STILL, random)
    expected = np.random.default_rng(3)
    expected.uniform(size=2)  # grey and blur
    assert random.uniform() == expected.uniform()
