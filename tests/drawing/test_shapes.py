"""Shapes at fractions of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manypose.drawing import shapes


def painted(polygon: np.ndarray) -> np.ndarray:
    picture = np.zeros((64, 64, 3), np.uint8)
    shapes.fill(picture, polygon, (255, 255, 255))
    return picture[..., 0] / 255


@pytest.mark.parametrize("radius", [1.0, 1.5, 3.0, 8.0, 20.0])
@pytest.mark.parametrize("centre", [(32.0, 32.0), (31.5, 32.25), (30.3, 33.9)])
def test_a_disc_has_its_area_and_its_place(radius: float, centre: tuple[float, float]) -> None:
    cover = painted(shapes.disc_polygons(np.array([centre]), np.array([radius]))[0])
    rows, columns = np.indices(cover.shape)
    assert np.sqrt(cover.sum() / np.pi) == pytest.approx(radius, abs=0.2)
    assert (cover * columns).sum() / cover.sum() == pytest.approx(centre[0], abs=0.12)
    assert (cover * rows).sum() / cover.sum() == pytest.approx(centre[1], abs=0.12)


@pytest.mark.parametrize("half_width", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("end", [(50.0, 20.0), (20.0, 50.0), (45.0, 48.0)])
def test_a_limb_has_its_width_to_less_than_a_pixel(half_width: float, end: tuple[float, float]) -> None:
    start = np.array([[20.0, 20.0]])
    cover = painted(shapes.limb_polygons(start, np.array([end]), np.array([half_width]))[0])
    length = float(np.hypot(end[0] - 20, end[1] - 20))
    assert cover.sum() == pytest.approx(2 * half_width * length + np.pi * half_width**2, abs=0.75 * length)


def test_a_limb_of_no_length_is_a_dot() -> None:
    cover = painted(shapes.limb_polygons(np.full((1, 2), 30.0), np.full((1, 2), 30.0), np.array([4.0]))[0])
    assert cover.sum() == pytest.approx(np.pi * 16, rel=0.15)


LOW, HIGH = np.array([0.0, 0.0]), np.array([10.0, 20.0])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((1, 1), (9, 9), ((1, 1), (9, 9))),  # inside
        ((-5, 5), (15, 5), ((0, 5), (10, 5))),  # across
        ((5, 5), (5, 99), ((5, 5), (5, 20))),  # out
        ((5, 5), (5, 5), ((5, 5), (5, 5))),  # a point
        ((-10, 0), (10, 20), ((0, 10), (10, 20))),  # through a corner
        ((-1, 5), (-1, 9), None),  # beside
        ((-5, 5), (5, 45), None),  # past the corner
        ((12, 12), (12, 12), None),  # a point outside
    ],
)
def test_segments_are_cut_at_the_rectangle(
    start: tuple[float, float], end: tuple[float, float], expected: tuple[tuple[float, float], ...] | None
) -> None:
    starts, ends, there = shapes.clip_segments(np.array([start], float), np.array([end], float), LOW, HIGH)
    assert there.tolist() == [expected is not None]
    if expected is not None:
        np.testing.assert_allclose([starts[0], ends[0]], expected, atol=1e-9)


@given(st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4))
def test_whatever_comes_the_pieces_lie_in_the_rectangle(places: list[float]) -> None:
    starts, ends, there = shapes.clip_segments(np.array([places[:2]]), np.array([places[2:]]), LOW, HIGH)
    if there[0]:
        assert ((starts >= LOW) & (starts <= HIGH) & (ends >= LOW) & (ends <= HIGH)).all()


def test_no_segments_at_all() -> None:
    none = np.zeros((0, 2))
    starts, ends, there = shapes.clip_segments(none, none, LOW, HIGH)
    assert len(starts) == len(ends) == len(there) == 0
    assert shapes.limb_polygons(none, none, np.zeros(0)).shape[0] == 0
