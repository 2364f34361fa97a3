"""Object keypoint similarity: known answers, and pycocotools' own numbers to the last bit."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manypose.evaluation import oks
from manypose.evaluation.oks import joint_errors, object_keypoint_similarity, similarity_of_pairs

SIGMAS = np.array([0.026, 0.1, 0.05])
PERSON = np.array([[[10.0, 10, 2], [50, 10, 1], [30, 60, 2]]])
BOX = [[10.0, 10, 40, 50]]


def test_a_person_is_like_himself() -> None:
    assert object_keypoint_similarity(PERSON[..., :2], PERSON, [1000], BOX, SIGMAS).tolist() == [[1.0]]


def test_two_sigma_times_the_root_of_the_area_is_worth_the_root_of_e() -> None:
    far = PERSON[..., :2] + [[[2 * 0.026 * math.sqrt(1000), 0], [0, 0], [0, 0]]]
    value = object_keypoint_similarity(far, PERSON, [1000], BOX, SIGMAS)[0, 0]
    assert value == pytest.approx((math.exp(-0.5) + 2) / 3)
    assert joint_errors(far, PERSON, [1000], SIGMAS)[0] == pytest.approx([1, 0, 0])


def test_joints_that_are_not_labelled_do_not_count() -> None:
    truth = PERSON.copy()
    truth[0, 1] = 0
    far = PERSON[..., :2] + [[[0, 0], [500, 500], [0, 0]]]
    assert object_keypoint_similarity(far, truth, [1000], BOX, SIGMAS)[0, 0] == 1
    assert math.isnan(joint_errors(far, truth, [1000], SIGMAS)[0, 1])


@pytest.mark.parametrize(("x", "y", "expected"), [(10, 10, 1), (-30, -40, 1), (90, 110, 1), (-31, 10, None)])
def test_somebody_without_joints_is_found_in_his_box_grown_by_its_size(x: float, y: float, expected: Any) -> None:
    found = np.full((1, 3, 2), [x, y])
    value = object_keypoint_similarity(found, np.zeros((1, 3, 3)), [1000], BOX, SIGMAS)[0, 0]
    outside = np.exp(-1 / (2 * SIGMAS) ** 2 / 1000 / 2).mean()
    assert value == pytest.approx(outside if expected is None else expected)


def test_nobody_is_like_nobody() -> None:
    assert object_keypoint_similarity(np.zeros((0, 3, 2)), PERSON, [1000], BOX, SIGMAS).shape == (0, 1)
    assert object_keypoint_similarity(PERSON, np.zeros((0, 3, 3)), [], np.zeros((0, 4)), SIGMAS).shape == (1, 0)


def by_pycocotools(found: Any, truth: Any, areas: Any, boxes: Any, sigmas: Any) -> Any:
    coco = pytest.importorskip("pycocotools.cocoeval", reason="needs pycocotools")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = coco.COCOeval(iouType="keypoints")
    evaluator.params.kpt_oks_sigmas = sigmas
    evaluator.params.maxDets = [1000]
    rows = zip(truth, areas, boxes, strict=True)
    evaluator._gts = {
        (1, 1): [{"keypoints": t.ravel().tolist(), "area": float(a), "bbox": b.tolist()} for t, a, b in rows]
    }
    evaluator._dts = {(1, 1): [{"keypoints": d.ravel().tolist(), "score": 1.0} for d in found]}
    return evaluator.computeOks(1, 1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), joints=st.sampled_from([1, 5, 14, 17, 68, 133]), whole=st.booleans())
def test_every_bit_is_that_of_pycocotools(seed: int, joints: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([rng.uniform(0, 300, (4, joints, 2)), rng.integers(0, 3, (4, joints, 1))], axis=2)
    truth[0, :, 2] = 0
    found = rng.uniform(0, 300, (3, joints, 3))
    if whole:
        truth, found = truth.round(), found.round()
    found[1, :, :2] = truth[1, :, :2] + rng.normal(0, 3, (joints, 2))
    areas, boxes = rng.uniform(10, 1e5, 4), rng.uniform(1, 200, (4, 4))
    sigmas = rng.uniform(0.01, 0.11, joints)
    ours = object_keypoint_similarity(found, truth, areas, boxes, sigmas)
    assert np.array_equal(ours, by_pycocotools(found, truth, areas, boxes, sigmas))


def test_many_pairs_are_measured_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.uniform(0, 99, (5, 3, 2)), np.full((5, 3, 1), 2)], axis=2)
    found, rows, columns = rng.uniform(0, 99, (8, 3, 2)), rng.integers(0, 8, 50), rng.integers(0, 5, 50)
    whole = similarity_of_pairs(found, truth, np.full(5, 900.0), np.ones((5, 4)), SIGMAS, rows, columns)
    monkeypatch.setattr(oks, "_CHUNK", 10)
    pieces = similarity_of_pairs(found, truth, np.full(5, 900.0), np.ones((5, 4)), SIGMAS, rows, columns)
    assert np.array_equal(whole, pieces)
