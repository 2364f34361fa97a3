"""SimCC's targets: two vectors for each joint, and what is decoded of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manypose.codecs.simcc import SimccCodec

SIZE = (192, 256)


@given(st.floats(0, 191), st.floats(0, 255), st.sampled_from([1.0, 2.0, 3.0]))
def test_targets_decode_to_their_joints_within_half_a_bin(x: float, y: float, split_ratio: float) -> None:
    codec = SimccCodec(split_ratio)
    *targets, weights = codec.encode(np.array([[[x, y]]], np.float32), SIZE)
    keypoints, scores = codec.decode(*targets)
    assert np.abs(keypoints[0, 0] - (x, y)).max() <= 0.5 / split_ratio + 1e-4
    assert (weights.tolist(), scores.tolist()) == ([[1.0]], [[1.0]])


def test_gaussians_are_as_wide_as_rtmposes() -> None:
    x, y, _ = SimccCodec().encode(np.array([[[50, 100]]], np.float32), SIZE)
    assert (x.shape, y.shape, x.dtype) == ((1, 1, 384), (1, 1, 512), np.float32)
    assert x[0, 0, 110] == pytest.approx(np.exp(-(10**2) / 2 / 4.9**2), rel=2e-3)
    assert y[0, 0, 190] == pytest.approx(np.exp(-(10**2) / 2 / 5.66**2), rel=2e-3)
    assert SimccCodec(sigma=6).encode(np.array([[[50, 100]]], np.float32), SIZE)[0][0, 0, 106] == pytest.approx(
        np.exp(-0.5)
    )


def test_absent_joints_and_those_far_outside_weigh_nothing() -> None:
    keypoints = np.array([[[np.nan, np.nan], [-2, 10], [-9, 10], [10, 500]]], np.float32)
    x, y, weights = SimccCodec().encode(keypoints, SIZE)
    assert weights.tolist() == [[0, 1, 0, 0]]
    assert x[0, 1].argmax() == 0  # a little outside: the slope of its Gaussian is seen
    for vectors in (x, y):
        assert (vectors.any(axis=2)[0] == [False, True, False, False]).all()


def test_smoothed_labels_are_shares() -> None:
    keypoints = np.array([[[3.2, 7], [-0.4, 7]]], np.float32)
    x, y, weights = SimccCodec(smoothing=0.1).encode(keypoints, (8, 10))
    assert x[0, 0].tolist() == pytest.approx([0.1 / 15] * 6 + [0.9] + [0.1 / 15] * 9)
    assert y.sum(axis=2)[0].tolist() == pytest.approx([1, 0])
    assert weights.tolist() == [[1, 0]]
