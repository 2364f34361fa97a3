"""NME of faces and PCK of hands: known answers for their rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError
from manypose.evaluation.nme import box_pck, normalised_mean_error
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

FACE, HAND = load_skeleton("face68").joints, load_skeleton("hand21").joints
SHAPE = np.random.default_rng(0).uniform(0, 100, (68, 2))
SHAPE[36], SHAPE[45] = (20, 30), (80, 30)  # outer corners of the eyes: 60 apart
FINGERS = np.random.default_rng(1).uniform(0, 50, (21, 2))
FINGERS[0], FINGERS[1] = (0, 0), (50, 40)  # a box of 50 x 40 and more


def truth_of(*shapes: Any, joints: tuple[str, ...] = FACE, unlabelled: tuple[int, ...] = ()) -> Truth:
    """One picture for each shape."""
    rows = []
    for n, shape in enumerate(shapes):
        flags = np.array([0 if k in unlabelled else 2 for k in range(len(shape))])
        keypoints = np.column_stack([shape, flags]).ravel().tolist()
        rows.append({"id": n, "image_id": n, "category_id": 1, "keypoints": keypoints, "bbox": [0, 0, 9, 9]})
    images, category = [{"id": n} for n in range(len(shapes))], {"id": 1, "keypoints": list(joints)}
    return read_truth({"images": images, "annotations": rows, "categories": [category]})


def row(image_id: int, shape: Any, *, absent: tuple[int, ...] = (), score: float = 1.0) -> dict[str, Any]:
    joints = np.column_stack([shape, np.ones(len(shape))])
    joints[list(absent)] = 0
    return {"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": score}


def test_a_face_in_its_place_has_no_error() -> None:
    ours = normalised_mean_error(truth_of(SHAPE), [row(0, SHAPE)])
    assert [ours[key] for key in ("NME", "NME_low", "NME_high", "NME_51", "failures", "missed")] == [0] * 6
    assert ours["faces"] == 1


def test_the_error_is_in_parts_of_the_distance_of_the_outer_eye_corners() -> None:
    ours = normalised_mean_error(truth_of(SHAPE), [row(0, SHAPE + np.array([3, 0]))])
    assert (ours["NME"], ours["NME_51"]) == pytest.approx((0.05, 0.05))


def test_the_jaw_can_be_left_out() -> None:
    moved = SHAPE.copy()
    moved[:17, 0] += 6
    ours = normalised_mean_error(truth_of(SHAPE), [row(0, moved)])
    assert ours["NME"] == pytest.approx(0.1 * 17 / 68)
    assert ours["NME_51"] == 0


def test_each_face_weighs_the_same_and_failures_are_over_a_tenth() -> None:
    ours = normalised_mean_error(truth_of(SHAPE, SHAPE * 2), [row(0, SHAPE), row(1, SHAPE * 2 + np.array([0, 24]))])
    assert ours["NME"] == pytest.approx((0 + 24 / 120) / 2)
    assert ours["failures"] == 0.5


def test_the_nearest_face_of_the_picture_is_taken_and_a_missed_one_counts() -> None:
    found = [row(0, SHAPE + 200, score=0.9), row(0, SHAPE + np.array([6, 0]), score=0.1)]
    ours = normalised_mean_error(truth_of(SHAPE, SHAPE), found)
    assert ours["NME"] == pytest.approx(0.1)
    assert (ours["missed"], ours["failures"], ours["faces"]) == (1, 0.5, 2)


def test_a_point_that_was_not_found_stands_in_the_middle_of_the_others() -> None:
    middle = np.delete(SHAPE, 8, axis=0).mean(axis=0)
    ours = normalised_mean_error(truth_of(SHAPE), [row(0, SHAPE, absent=(8,))])
    assert ours["NME"] == pytest.approx(np.linalg.norm(middle - SHAPE[8]) / 60 / 68)


def test_points_without_label_do_not_count_and_a_face_without_eye_corners_is_left_out() -> None:
    moved = SHAPE.copy()
    moved[5] += 50
    assert normalised_mean_error(truth_of(SHAPE, unlabelled=(5,)), [row(0, moved)])["NME"] == 0
    with pytest.raises(DataError, match="nobody has the labelled joints that errors are measured by"):
        normalised_mean_error(truth_of(SHAPE, unlabelled=(36,)), [])


def test_with_no_face_found_there_is_no_error() -> None:
    ours = normalised_mean_error(truth_of(SHAPE), [])
    assert math.isnan(ours["NME"])
    assert (ours["missed"], ours["failures"]) == (1, 1)


def test_another_set_of_points_and_faulty_rows_are_refused() -> None:
    with pytest.raises(DataError, match="has 21 joints; NME is measured on faces with 68 or 70 points"):
        normalised_mean_error(truth_of(FINGERS, joints=HAND), [])
    with pytest.raises(FormatError, match="results, row 0: keypoints must be 204 finite numbers"):
        normalised_mean_error(truth_of(SHAPE), [row(0, FINGERS)])


@pytest.mark.parametrize(("part", "hits"), [(0.19, 21), (0.21, 20)])
def test_a_joint_of_a_hand_counts_within_a_fifth_of_the_longer_side(part: float, hits: int) -> None:
    longer = np.ptp(FINGERS, axis=0).max()
    moved = FINGERS.copy()
    moved[7, 0] += part * longer
    ours = box_pck(truth_of(FINGERS, joints=HAND), [row(0, moved)])
    assert ours["PCK"] == pytest.approx(hits / 21)
    assert ours["joints"][HAND[7]] == hits - 20
    assert ours["error"] == pytest.approx(part / 21)


def test_the_hand_with_the_most_hits_counts_and_a_joint_not_found_is_a_miss() -> None:
    found = [row(0, FINGERS + 500), row(0, FINGERS, absent=(3, 4), score=0.1)]
    ours = box_pck(truth_of(FINGERS, FINGERS, joints=HAND), found)
    assert ours["PCK"] == pytest.approx(19 / 42)
    assert (ours["labelled"], ours["pictures"], ours["left_out"]) == (42, 2, 0)
    assert ours["PCK_low"] == 0
    assert ours["PCK_high"] == pytest.approx(19 / 21)


def test_the_threshold_of_hands_can_be_chosen() -> None:
    shift = np.array([0.15 * np.ptp(FINGERS, axis=0).max(), 0])
    truth, found = truth_of(FINGERS, joints=HAND), [row(0, FINGERS + shift)]
    assert box_pck(truth, found, threshold=0.1)["PCK"] == 0
    assert box_pck(truth, found, threshold=0.2)["PCK"] == 1
