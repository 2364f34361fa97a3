"""Pixel conventions and the formulas that stand on them, each against a case that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manypose import geometry
from manypose.skeleton import load_skeleton

SIGMAS = load_skeleton("coco17").sigmas

places = st.floats(-2000, 2000, width=32)
points = st.lists(st.tuples(places, places), min_size=1, max_size=5)
crops = st.builds(
    geometry.crop_affine,
    st.tuples(places, places),
    st.floats(0.1, 8),
    st.floats(-180, 180),
    st.tuples(st.integers(1, 512), st.integers(1, 512)),
    mirror=st.booleans(),
)

# Cells and pixels


@pytest.mark.parametrize(
    ("stride", "cell", "pixel"),
    [
        (1, 5, 5),  # a map as large as the picture: nothing moves
        (2, 0, 0.5),  # the first cell covers pixels 0 and 1
        (8, 0, 3.5),
        (8, 45, 363.5),  # the last cell of a 368 pixel input covers 360 .. 367
        (8, 0.5, 7.5),  # the edge between the first two cells lies between pixels 7 and 8
    ],
)
def test_a_cell_is_centred_on_the_pixels_that_it_covers(stride: float, cell: float, pixel: float) -> None:
    assert geometry.cell_to_pixel(cell, stride) == pixel
    assert geometry.pixel_to_cell(pixel, stride) == cell


@given(cell=st.floats(-100, 1000), stride=st.integers(1, 64))
def test_cell_to_pixel_and_back(cell: float, stride: int) -> None:
    assert geometry.pixel_to_cell(geometry.cell_to_pixel(cell, stride), stride) == pytest.approx(cell, abs=1e-9)


# Affines


@pytest.mark.parametrize(("size", "new_size"), [((40, 30), (80, 60)), ((40, 30), (97, 41)), ((64, 48), (32, 40))])
def test_resize_affine_is_where_opencv_puts_the_pixels(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    columns, rows = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    resized = cv2.resize(np.dstack([columns, rows]), new_size, interpolation=cv2.INTER_LINEAR)
    there = np.stack(np.meshgrid(np.arange(new_size[0]), np.arange(new_size[1])), axis=2)
    origin = geometry.transform_points(there, geometry.invert_affine(geometry.resize_affine(size, new_size)))
    inside = ((origin >= 0) & (origin <= np.array(size) - 1)).all(axis=2)  # outside OpenCV repeats the border
    np.testing.assert_allclose(origin[inside], resized[inside], atol=2e-3)


def test_resizing_to_the_same_size_moves_nothing() -> None:
    np.testing.assert_array_equal(geometry.resize_affine((7, 5), (7, 5)), np.eye(2, 3))


@pytest.mark.parametrize(
    ("degrees", "mirror", "expected"),
    [
        (0, False, (14, 9.5)),  # two pixels right of the centre, doubled
        (90, False, (10, 13.5)),  # a clockwise quarter turn on the screen: below the centre
        (-90, False, (10, 5.5)),
        (180, False, (6, 9.5)),
        (0, True, (6, 9.5)),
        (90, True, (10, 13.5)),  # mirrored after the turn: still below
    ],
)
def test_crop_affine_scales_turns_and_mirrors_about_the_middle(
    degrees: float, mirror: bool, expected: tuple[float, float]
) -> None:
    matrix = geometry.crop_affine((50, 60), 2, degrees, (21, 20), mirror=mirror)
    moved = geometry.transform_points([[50, 60], [52, 60]], matrix)
    np.testing.assert_allclose(moved, [(10, 9.5), expected], atol=1e-5)


@given(matrix=crops, where=points)
@settings(deadline=None)
def test_an_affine_and_its_inverse_change_nothing(matrix: np.ndarray, where: list[tuple[float, float]]) -> None:
    both = geometry.transform_points(where, matrix)
    np.testing.assert_allclose(geometry.transform_points(both, geometry.invert_affine(matrix)), where, atol=0.05)


def test_transform_keeps_the_shape_and_what_is_absent() -> None:
    moved = geometry.transform_points(np.full((2, 3, 2), np.nan), np.eye(2, 3))
    assert moved.shape == (2, 3, 2)
    assert moved.dtype == np.float32
    assert np.isnan(moved).all()


# Boxes


def test_boxes_enclose_the_joints_that_are_there() -> None:
    keypoints = np.array([[[3, 9], [np.nan, np.nan], [7, 1]], [[5, 5]] * 3, [[np.nan, np.nan]] * 3], np.float32)
    boxes = geometry.keypoint_boxes(keypoints)
    np.testing.assert_array_equal(boxes, [[3, 1, 7, 9], [5, 5, 5, 5], [np.nan] * 4])
    assert boxes.dtype == np.float32


def test_nobody_has_no_boxes() -> None:
    assert geometry.keypoint_boxes(np.zeros((0, 17, 2), np.float32)).shape == (0, 4)


# Object keypoint similarity


def person(*joints: tuple[float, float] | None) -> np.ndarray:
    return np.array([[joint or (np.nan, np.nan) for joint in joints]], np.float32)


def test_similarity_of_one_joint_is_cocos_formula() -> None:
    # exp(-d^2 / (2 area (2 sigma)^2)) with d = 2 sigma sqrt(area) = 2 * .1 * 50 = 10 pixels
    similarity = geometry.keypoint_similarity(person((13, 4)), person((3, 4)), [2500], [0.1])
    assert similarity.item() == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        (person((0, 0), (5, 5)), person((0, 0), (5, 5)), 1),
        (person((0, 0), (5, 5)), person((0, 0), None), 1),  # not labelled: does not count
        (person((0, 0), None), person((0, 0), (5, 5)), 0.5),  # labelled but not found: counts as 0
        (person((0, 0), (9999, 5)), person((0, 0), (5, 5)), 0.5),
        (person(None, None), person((0, 0), (5, 5)), 0),
        (person((0, 0), (5, 5)), person(None, None), 0),  # nothing labelled
    ],
)
def test_absent_joints_count_on_one_side_only(found: np.ndarray, truth: np.ndarray, expected: float) -> None:
    assert geometry.keypoint_similarity(found, truth, [100], [0.1, 0.1]).item() == pytest.approx(expected)


def test_similarity_is_a_table_of_found_by_true() -> None:
    found, truth = np.zeros((3, 17, 2), np.float32), np.zeros((2, 17, 2), np.float32)
    truth[1] += 1000
    table = geometry.keypoint_similarity(found, truth, [100, 100], SIGMAS)
    assert table.dtype == np.float32
    assert table.tolist() == [[1, 0]] * 3
    assert geometry.keypoint_similarity(found[:0], truth, [100, 100], SIGMAS).shape == (0, 2)


@pytest.mark.golden
def test_similarity_is_that_of_the_reference_products(goldens: Path) -> None:
    data = np.load(goldens / "topdown" / "pieces" / "oks_nms.npz")
    keypoints, area = data["keypoints"][..., :2].astype(np.float32), data["area"]
    for i in range(len(keypoints)):  # they take the mean of the two areas
        table = geometry.keypoint_similarity(keypoints[i : i + 1], keypoints, (area[i] + area) / 2, SIGMAS)
        np.testing.assert_allclose(table[0], data["oks"][i], atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("size", [(192, 256), (288, 384), (256, 256)])
def test_the_crop_of_a_box_is_that_of_the_reference_programs(goldens: Path, size: tuple[int, int]) -> None:
    stored = np.load(goldens / "topdown" / "pieces" / "affine.npz")
    name = f"{size[0]}x{size[1]}"
    for row, (x, y, width, height) in enumerate(stored["boxes_xywh"]):
        box = np.array([x, y, x + width, y + height]) - 0.5
        turn = stored["rotation_deg"][row]  # the one program turns to the left, the other to the right
        plain = geometry.box_affine(box, size, degrees=-turn)
        np.testing.assert_allclose(plain, stored[f"{name}/matrix"][row], atol=2e-4)
        udp = geometry.box_affine(box, size, degrees=turn, udp=True)
        # That program has the centre in float32, which a scale of 150 shows.
        np.testing.assert_allclose(udp, stored[f"{name}/udp_matrix"][row], atol=1e-2)


@pytest.mark.golden
def test_a_crop_has_the_pixels_of_the_reference_program(goldens: Path) -> None:
    stored = np.load(goldens / "topdown" / "pieces" / "crop.npz")
    for row, (x, y, width, height) in enumerate(stored["boxes_xywh"]):
        box = np.array([x, y, x + width, y + height]) - 0.5
        affine = geometry.box_affine(box, (48, 64), degrees=-stored["rotation_deg"][row])
        crop = cv2.warpAffine(stored["image_bgr"], affine, (48, 64), flags=cv2.INTER_LINEAR)
        assert np.abs(crop.astype(int) - stored["crop_bgr"][row]).max() <= 4
