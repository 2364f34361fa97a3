from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manypose.codecs.peaks import Peaks, find_peaks

HEIGHT, WIDTH = 16, 20
QUARTER_PIXEL = 0.25 / 8  # in cells of stride 8


def gaussians(*places: tuple[float, float], sigma: float = 0.875, height: float = 1.0) -> np.ndarray:
    """A heatmap (h, w) with Gaussians at places (x, y) in cells, cut off like the targets of training."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    exponents = [((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2) for x, y in places]
    lowest = np.min(exponents, axis=0)
    return np.where(lowest > 4.6052, 0, height * np.exp(-lowest)).astype(np.float32)


def peaks_of(*heatmaps: np.ndarray, threshold: float = 0.05, limit: int = 256) -> Peaks:
    return find_peaks(np.stack(heatmaps), threshold=threshold, limit=limit)


def places(peaks: Peaks) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(peaks.x, peaks.y, strict=True)]


inside_x, inside_y = st.floats(-0.45, WIDTH - 0.55), st.floats(-0.45, HEIGHT - 0.55)


@given(x=inside_x, y=inside_y, height=st.floats(0.3, 1))
@settings(max_examples=300, deadline=None)
def test_a_gaussian_anywhere_on_the_map_comes_back_within_a_quarter_of_a_pixel(
    x: float, y: float, height: float
) -> None:
    peaks = peaks_of(gaussians((x, y), height=height))
    assert places(peaks) == [(pytest.approx(x, abs=QUARTER_PIXEL), pytest.approx(y, abs=QUARTER_PIXEL))]
    assert peaks.scores[0] == pytest.approx(height, rel=0.03)


@given(x=st.floats(3, 15), y=st.floats(3, 12), sigma=st.floats(0.7, 1.6))
@settings(max_examples=100, deadline=None)
def test_the_width_of_the_gaussian_need_not_be_known(x: float, y: float, sigma: float) -> None:
    peaks = peaks_of(gaussians((x, y), sigma=sigma))
    assert places(peaks) == [(pytest.approx(x, abs=QUARTER_PIXEL), pytest.approx(y, abs=QUARTER_PIXEL))]


@given(x=st.floats(3, 15), y=st.floats(3, 12))
@settings(max_examples=100, deadline=None)
def test_half_precision_costs_less_than_a_tenth_of_a_pixel(x: float, y: float) -> None:
    peaks = peaks_of(gaussians((x, y)).astype(np.float16).astype(np.float32))
    assert places(peaks) == [(pytest.approx(x, abs=0.1 / 8), pytest.approx(y, abs=0.1 / 8))]


@given(x=st.floats(3, 15), y=st.floats(3, 12))
@settings(max_examples=100, deadline=None)
def test_a_gaussian_cut_at_one_has_its_peak_where_its_flanks_say(x: float, y: float) -> None:
    peaks = peaks_of(np.minimum(gaussians((x, y), height=1.4), 1))
    assert places(peaks) == [(pytest.approx(x, abs=QUARTER_PIXEL), pytest.approx(y, abs=QUARTER_PIXEL))]


@pytest.mark.parametrize(
    "place",
    [
        (7.0, 5.0),  # on the centre of a cell: no neighbour is equal
        (7.5, 5.0),  # between two cells
        (7.0, 5.5),
        (7.5, 5.5),  # between four
        (0.5, 0.5),  # between four in the corner of the map
        (WIDTH - 1.5, HEIGHT - 1.5),
    ],
)
def test_equal_neighbours_give_one_peak_in_their_middle(place: tuple[float, float]) -> None:
    assert places(peaks_of(gaussians(place))) == [pytest.approx(place, abs=0.01)]


def test_a_wide_plateau_gives_one_peak_in_its_middle() -> None:
    heatmap = np.zeros((HEIGHT, WIDTH), np.float32)
    heatmap[4:9, 6:13] = 1
    assert places(peaks_of(heatmap)) == [pytest.approx((9, 6), abs=0.1)]


def test_ripples_on_a_saturated_plateau_are_no_peaks_of_their_own() -> None:
    heatmap = np.zeros((HEIGHT, WIDTH), np.float32)
    heatmap[4:9, 6:13] = 1 + 0.001 * np.random.default_rng(0).uniform(-0.5, 0.5, (5, 7))
    assert places(peaks_of(heatmap)) == [pytest.approx((9, 6), abs=0.1)]


def test_a_terrace_on_a_slope_is_no_peak() -> None:
    heatmap = np.zeros((HEIGHT, WIDTH), np.float32)
    heatmap[5, 3:9] = 0.5  # six equal cells, then up to the summit
    heatmap[5, 9], heatmap[5, 10] = 0.7, 0.9
    assert [round(x) for x, _ in places(peaks_of(heatmap))] == [10]


def test_a_map_of_one_value_has_at_most_one_peak() -> None:
    assert len(peaks_of(np.full((HEIGHT, WIDTH), 0.5, np.float32))) == 1
    assert len(peaks_of(np.zeros((HEIGHT, WIDTH), np.float32))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_the_smallest_maps_have_peaks_too(shape: tuple[int, int]) -> None:
    heatmap = np.zeros(shape, np.float32)
    heatmap[-1, -1] = 0.8
    peaks = peaks_of(heatmap)
    assert places(peaks) == [pytest.approx((shape[1] - 1, shape[0] - 1), abs=0.76)]


@given(angle=st.floats(0, 6.2832), distance=st.floats(3, 8))
@settings(max_examples=100, deadline=None)
def test_near_joints_of_two_people_keep_two_peaks(angle: float, distance: float) -> None:
    first = (10.0, 8.0)
    second = (first[0] + distance * np.cos(angle), first[1] + distance * np.sin(angle) * 0.8)
    found = sorted(places(peaks_of(gaussians(first, second))))
    expected = sorted([first, second])
    assert len(found) == 2
    assert np.abs(np.array(found) - expected).max() < 0.3


def test_joints_keep_their_own_peaks_in_order() -> None:
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    peaks = peaks_of(gaussians((3, 3)), nothing, gaussians((5, 9), (12, 4)))
    assert peaks.joints.tolist() == [0, 2, 2]
    assert peaks.starts.tolist() == [0, 1, 1, 3]


def test_nothing_under_the_threshold_is_a_peak() -> None:
    heatmap = np.maximum(gaussians((4, 4), height=0.3), gaussians((14, 10), height=0.6))
    assert [round(x) for x, _ in places(peaks_of(heatmap, threshold=0.4))] == [14]


def test_the_highest_peaks_stay_where_there_are_more_than_the_limit() -> None:
    centres = [(x, y) for x in range(2, 18, 4) for y in range(2, 14, 4)]
    heights = np.linspace(0.3, 0.9, len(centres))
    heatmap = np.max([gaussians(c, height=float(h)) for c, h in zip(centres, heights, strict=True)], axis=0)
    peaks = peaks_of(heatmap, gaussians((3, 3), height=0.2), limit=5)
    assert peaks.starts.tolist() == [0, 5, 6]  # the limit is for each joint alone
    assert sorted(peaks.scores[:5]) == pytest.approx(heights[-5:], abs=0.01)


def test_peaks_of_a_mirrored_map_are_mirrored() -> None:
    heatmap = np.random.default_rng(3).uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
    there, mirrored = peaks_of(heatmap), peaks_of(heatmap[:, ::-1])
    expected = sorted((WIDTH - 1 - x, y) for x, y in places(there))
    assert np.abs(np.array(sorted(places(mirrored))) - expected).max() < 1e-4
