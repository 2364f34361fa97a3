"""People found twice: similarity and suppression are those of the reference programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.codecs import oks_nms
from manypose.estimators.top_down import rescore
from manypose.skeleton import load_skeleton

SIGMAS = np.array(load_skeleton("coco17").sigmas)
PAIR = np.array([[1.0, 0.95], [0.95, 1.0]])


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Any:
    return np.load(goldens / "topdown" / "pieces" / "oks_nms.npz")


@pytest.mark.golden
def test_similarity_of_people_with_each_other(golden: Any) -> None:
    similar = oks_nms.pair_similarity(golden["keypoints"][..., :2], golden["area"], SIGMAS)
    np.testing.assert_allclose(similar, golden["oks"], atol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
def test_who_stays_and_in_which_order(golden: Any, threshold: float) -> None:
    hard = oks_nms.suppress_hard(golden["score"], golden["oks"], threshold)
    assert hard.tolist() == golden[f"keep_hard_{threshold}"].tolist()
    soft = oks_nms.suppress_soft(golden["score"], golden["oks"], threshold)
    assert soft.tolist() == golden[f"keep_soft_{threshold}"].tolist()


@pytest.mark.golden
def test_the_people_of_whole_pictures_are_those_that_the_reference_keeps(goldens: Path) -> None:
    raw = np.load(goldens / "topdown" / "eval" / "coco" / "raw_predictions.npz")
    boxes = raw["center_scale_area_score"]
    scores = rescore(raw["preds"][..., 2], boxes[:, 5])
    kept = []
    for image_id in dict.fromkeys(raw["image_id"].tolist()):
        rows = np.flatnonzero(raw["image_id"] == image_id)
        similar = oks_nms.pair_similarity(raw["preds"][rows, :, :2], boxes[rows, 4], SIGMAS)
        kept += rows[oks_nms.suppress_hard(scores[rows], similar)].tolist()
    assert kept == raw["kept_index_hard_0_9"].tolist()
    np.testing.assert_allclose(scores[kept], raw["kept_score_hard_0_9"], rtol=1e-6)


def test_absent_joints_do_not_count_where_both_lack_them() -> None:
    places = np.zeros((2, 2, 2))
    places[:, 1] = np.nan
    np.testing.assert_allclose(oks_nms.pair_similarity(places, [100, 100], [0.1, 0.1]), 1)
    places[0, 1] = 0
    np.testing.assert_allclose(oks_nms.pair_similarity(places, [100, 100], [0.1, 0.1])[0], [1, 0.5])
    places[:] = np.nan
    assert not oks_nms.pair_similarity(places, [100, 100], [0.1, 0.1]).any()


def test_the_better_of_two_stays_and_of_two_alike_the_first() -> None:
    assert oks_nms.suppress_hard([0.5, 0.8], PAIR).tolist() == [1]
    assert oks_nms.suppress_hard([0.5, 0.5], PAIR).tolist() == [0]
    assert oks_nms.suppress_hard([0.5, 0.8], PAIR, 0.95).tolist() == [1, 0]  # only above it are they one
    assert oks_nms.suppress_soft([0.5, 0.8], PAIR).tolist() == [1, 0]
    assert oks_nms.suppress_soft([0.5, 0.8], PAIR, most=1).tolist() == [1]


def test_nobody() -> None:
    nobody = oks_nms.pair_similarity(np.zeros((0, 17, 2)), [], SIGMAS)
    assert nobody.shape == (0, 0)
    assert len(oks_nms.suppress_hard([], nobody)) == 0
    assert len(oks_nms.suppress_soft([], nobody)) == 0
