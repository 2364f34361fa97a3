"""The sheet of samples shows what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from manypose.data.preview import draw_samples
from manypose.errors import DataError, SkeletonError
from manypose.skeleton import load_skeleton

OPENPOSE = load_skeleton("openpose18")


def sample(count: int = 57) -> dict[str, np.ndarray]:
    weights = np.ones((count, 12, 12), np.uint8)
    weights[:, :6] = 0
    weights[0, 6:9] = 0
    heatmaps = np.zeros((19, 12, 12), np.float32)
    heatmaps[0, 10, 10] = 1
    return {
        "picture": np.full((3, 96, 96), 120, np.uint8),
        "heatmaps": heatmaps,
        "fields": np.zeros((38, 12, 12), np.float32),
        "weights": weights,
    }


def test_a_line_shows_the_picture_its_maps_and_what_does_not_count() -> None:
    sheet = draw_samples([sample()], OPENPOSE, width=1000)
    assert sheet.shape[1] == 1000
    picture, heatmaps, _, weights = np.array_split(sheet[8:240], 4, axis=1)
    assert np.median(picture[60], axis=0).tolist() == [120, 120, 120]
    assert np.ptp(heatmaps[..., 0].astype(int)) > 80  # one bright joint on the dimmed picture
    red, yellow, plain = (np.median(weights[row], axis=0).astype(int) for row in (50, 150, 210))
    assert red[0] > red[1] + 60
    assert yellow[0] > yellow[2] + 60
    assert yellow[1] > red[1] + 30
    assert np.ptp(plain) == 0


def test_top_down_samples_have_no_fields_and_a_weight_for_each_joint() -> None:
    top_down = {"picture": np.zeros((3, 64, 48), np.uint8), "heatmaps": np.zeros((18, 16, 12)), "weights": np.ones(18)}
    one, two = (draw_samples([top_down] * count, OPENPOSE, width=800) for count in (1, 2))
    assert len(two) > 1.8 * len(one)


def test_what_cannot_be_shown_is_said() -> None:
    with pytest.raises(DataError, match="no samples to show"):
        draw_samples([], OPENPOSE)
    with pytest.raises(DataError, match="sample 0 has picture; expected a picture and heatmaps"):
        draw_samples([{"picture": np.zeros((3, 8, 8), np.uint8)}], OPENPOSE)
    with pytest.raises(SkeletonError, match="expected"):
        draw_samples([sample() | {"fields": np.zeros((4, 12, 12), np.float32)}], OPENPOSE)
