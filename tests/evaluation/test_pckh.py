"""PCKh: the reference's figures, its rules one by one, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError
from manypose.evaluation.pckh import GROUPS, HeadTruth, head_truth, pckh, read_head_truth
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

pytest.importorskip("scipy", reason="needs scipy, which reads .mat files")

MPII = load_skeleton("mpii16").joints
THORAX, ANKLE = MPII.index("thorax"), MPII.index("left_ankle")


def people(count: int = 2, *, head: float = 60.0) -> HeadTruth:
    """People with all joints on a grid, one in each picture, whose heads are `head` pixels large."""
    places = np.stack([np.stack([np.arange(16) * 10.0, np.arange(16) * 20.0], axis=1) + 100 * n for n in range(count)])
    return HeadTruth("the truth", places, np.ones((count, 16), bool), np.full(count, head), np.arange(count))


def as_truth(heads: HeadTruth, **change: Any) -> Truth:
    """The same people as rows of a COCO-style file with boxes of heads."""
    side = heads.heads / 0.6 / np.sqrt(2)
    rows = [
        {
            "id": n,
            "image_id": int(heads.pictures[n]),
            "category_id": 1,
            "keypoints": np.column_stack([heads.places[n], 2 * heads.labelled[n]]).ravel().tolist(),
            "head_box": [0.0, 0.0, side[n], side[n]],
            **change,
        }
        for n in range(len(heads.heads))
    ]
    images = [{"id": int(n)} for n in np.unique(heads.pictures)]
    return read_truth({"images": images, "annotations": rows, "categories": [{"id": 1, "keypoints": list(MPII)}]})


def row(image_id: int, places: Any, score: float = 0.5, **fields: Any) -> dict[str, Any]:
    joints = np.column_stack([places, np.ones(16)])
    joints = np.where(np.isnan(joints).any(axis=1, keepdims=True), 0, joints)
    return {"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": score, **fields}


@pytest.mark.golden
def test_figures_of_the_reference_are_met(goldens: Path) -> None:
    folder = goldens / "topdown" / "eval" / "mpii"
    expected = json.loads((folder / "expected.json").read_text())
    found = np.load(folder / "predictions.npz")["preds_zero_based"]
    heads = read_head_truth(folder / "gt_valid.mat")
    for truth, tolerance in ((heads, 1e-9), (as_truth(heads), 1e-6)):
        ours = pckh(truth, found, resamples=50)
        assert ours["PCKh@0.5"]["Mean"] == pytest.approx(expected["mean_at_0_5"], abs=tolerance)
        assert ours["PCKh@0.1"]["Mean"] == pytest.approx(expected["mean_at_true_0_10"], abs=tolerance)
        assert ours["PCKh@0.11"]["Mean"] == pytest.approx(expected["reference"]["Mean@0.1"], abs=tolerance)
        groups = {name: expected["reference"][name] for name in GROUPS}
        assert ours["PCKh@0.5"]["groups"] == pytest.approx(groups, abs=tolerance)
        for key, name in (("per_joint_at_0_5", "PCKh@0.5"), ("per_joint_at_0_11", "PCKh@0.11")):
            assert list(ours[name]["joints"].values()) == pytest.approx(list(expected[key].values()), abs=tolerance)
        assert list(ours["labelled"].values()) == expected["visible_counts"]
        assert ours["PCKh@0.5"]["Mean_low"] < ours["PCKh@0.5"]["Mean"] < ours["PCKh@0.5"]["Mean_high"]


def test_people_in_their_places_score_a_hundred_and_nobody_zero() -> None:
    heads = people()
    for found, expected in ((heads.places, 100), (np.full((2, 16, 2), np.nan), 0)):
        ours = pckh(heads, found)
        for name in ("PCKh@0.5", "PCKh@0.1", "PCKh@0.11"):
            assert [ours[name][key] for key in ("Mean", "Mean_low", "Mean_high")] == [expected] * 3
            assert set(ours[name]["groups"].values()) == set(ours[name]["joints"].values()) == {expected}


@pytest.mark.parametrize(("far", "hits"), [(5.9, 3), (6.0, 3), (6.1, 2), (6.59, 2), (6.7, 1), (30.0, 1), (30.1, 0)])
def test_a_joint_counts_up_to_the_threshold_itself(far: float, hits: int) -> None:
    """Heads of 60 pixels: 0.1 is 6, 0.11 is 6.6 and 0.5 is 30."""
    heads = people(1)
    found = heads.places.copy()
    found[0, ANKLE, 0] -= far
    ours = pckh(heads, found)
    counted = [ours[name]["joints"]["left_ankle"] for name in ("PCKh@0.1", "PCKh@0.11", "PCKh@0.5")]
    assert counted == [100.0 * (n < hits) for n in (2, 1, 0)]


def test_a_group_is_the_plain_mean_of_its_sides_and_mean_weighs_by_joints() -> None:
    heads = people(4)
    heads.labelled[1:, ANKLE] = False
    found = heads.places.copy()
    found[0, ANKLE] += 1000
    ours = pckh(heads, found)["PCKh@0.5"]
    assert ours["groups"]["Ankle"] == 50
    assert ours["Mean"] == pytest.approx(100 * (14 * 4 - 3 - 1) / (14 * 4 - 3))


def test_pelvis_and_thorax_stay_out_of_the_mean() -> None:
    heads = people()
    found = heads.places.copy()
    found[:, [MPII.index("pelvis"), THORAX]] += 1000
    ours = pckh(heads, found)["PCKh@0.5"]
    assert (ours["Mean"], ours["joints"]["thorax"], ours["joints"]["pelvis"]) == (100, 0, 0)


def test_a_joint_that_nobody_has_labelled_is_left_out_with_its_group() -> None:
    heads = people()
    heads.labelled[:, ANKLE] = False
    ours = pckh(heads, heads.places)
    assert "left_ankle" not in ours["PCKh@0.5"]["joints"]
    assert "Ankle" not in ours["PCKh@0.5"]["groups"]
    assert (ours["PCKh@0.5"]["Mean"], ours["labelled"]["left_ankle"]) == (100, 0)


def test_the_row_of_the_reference_is_labelled_as_what_it_is() -> None:
    assert "call this row Mean@0.1" in pckh(people(), people().places)["rows"]["PCKh@0.11"]


def test_results_are_taken_by_the_annotation_that_they_name() -> None:
    heads = people()
    heads.pictures[:] = 0
    truth = as_truth(heads)
    rows = [row(0, heads.places[0], annotation_id=1), row(0, heads.places[1], annotation_id=0)]
    assert pckh(truth, rows)["PCKh@0.5"]["Mean"] == 0
    assert pckh(truth, [row(0, heads.places[n], annotation_id=n) for n in (1, 0)])["PCKh@0.5"]["Mean"] == 100


def test_without_such_names_the_person_with_the_most_hits_is_taken() -> None:
    heads = people()
    half = heads.places[0].copy()
    half[8:] = np.nan
    rows = [row(0, half, 0.9), row(0, heads.places[0], 0.1), row(1, heads.places[1] + 1000)]
    assert pckh(as_truth(heads), rows)["PCKh@0.5"]["Mean"] == 50
    assert pckh(as_truth(heads), rows[:1])["PCKh@0.5"]["joints"]["right_knee"] == 50
    assert pckh(as_truth(heads), [])["PCKh@0.5"]["Mean"] == 0


def test_people_without_a_head_do_not_count() -> None:
    truth = as_truth(people(), head_box=None)
    with pytest.raises(DataError, match="nobody has the box of a head"):
        head_truth(truth)


def test_faults_are_named() -> None:
    heads = people()
    flat = as_truth(HeadTruth("t", heads.places, heads.labelled, np.array([60.0, 0.0]), heads.pictures))
    with pytest.raises(DataError, match="person 1: the box of the head has no size"):
        pckh(flat, heads.places)
    other = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "keypoints": ["a", "b"]}]}
    with pytest.raises(DataError, match="has not the joints of MPII"):
        pckh(read_truth(other), [])


def test_places_of_other_people_and_faulty_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"places of shape \(3, 16, 2\), expected \(2, 16, 2\)"):
        pckh(people(), np.zeros((3, 16, 2)))
    with pytest.raises(FormatError, match=r"results, row 0: .* no picture with image_id 9"):
        pckh(as_truth(people()), [row(9, np.zeros((16, 2)))])
    with pytest.raises(DataError, match="need MPII's own annotations"):
        pckh(people(), [row(0, np.zeros((16, 2)))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jnt_missing": None}, "has no jnt_missing"),
        ({"pos_gt_src": np.zeros((16, 3, 2))}, r"have shapes \(16, 3, 2\), \(16, 2\) and \(2, 2, 2\)"),
        ({"headboxes_src": np.zeros((2, 2, 2))}, "person 0: the box of the head has no size"),
        ({"pos_gt_src": np.full((16, 2, 2), np.nan)}, "person 0: right_ankle is labelled, but its place is not"),
        ({"dataset_joints": np.array(["a"] * 16, object)}, "dataset_joints are a a"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    from scipy.io import savemat

    held = {"jnt_missing": np.zeros((16, 2)), "pos_gt_src": np.ones((16, 2, 2))}
    held |= {"headboxes_src": np.arange(8.0).reshape(2, 2, 2)}
    held = {key: value for key, value in (held | change).items() if value is not None}
    savemat(tmp_path / "gt.mat", held)
    with pytest.raises(DataError, match=rf"gt\.mat.*{message}"):
        read_head_truth(tmp_path / "gt.mat")
