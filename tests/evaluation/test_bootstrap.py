"""The bootstrap over pictures: draws and intervals with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from manypose.evaluation.bootstrap import draw_counts, percentile_interval


def test_each_resample_holds_as_many_pictures_as_there_are() -> None:
    counts = draw_counts(7, resamples=50, seed=0)
    assert counts.shape == (50, 7)
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == 7).all()
    assert (counts != 1).any()


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others() -> None:
    assert np.array_equal(draw_counts(20, resamples=5, seed=3), draw_counts(20, resamples=5, seed=3))
    assert not np.array_equal(draw_counts(20, resamples=5, seed=3), draw_counts(20, resamples=5, seed=4))


def test_the_interval_is_the_middle_share_of_the_figures() -> None:
    assert percentile_interval(np.arange(101)) == pytest.approx((2.5, 97.5))
    assert percentile_interval(np.arange(101), confidence=0.5) == pytest.approx((25, 75))


def test_a_resample_without_anything_to_measure_does_not_count() -> None:
    assert percentile_interval([math.nan, 0.25, math.nan]) == (0.25, 0.25)
    assert all(math.isnan(end) for end in percentile_interval([math.nan]))


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    """Half of 400 pictures score 1, half 0: the standard error is sqrt(0.25 / 400) = 0.025."""
    figures = np.repeat([0.0, 1.0], 200)
    low, high = percentile_interval(draw_counts(400, resamples=2000, seed=0) @ figures / 400)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)
