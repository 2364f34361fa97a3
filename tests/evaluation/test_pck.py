"""PCK: known answers for its rules one by one, and what must never matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.pck import PckFigures, pck
from manypose.people import People
from manypose.skeleton import load_skeleton

LSP, BODY, COCO = (load_skeleton(name) for name in ("lsp14", "openpose18", "coco17"))
SHARED = [joint for joint in LSP.joints if joint != "head_top"]

# A person of Leeds Sports Pose, his torso 100 pixels on both diagonals: 60 wide, 80 high.
POSE = {
    "right_ankle": (0, 220), "right_knee": (0, 150), "right_hip": (0, 80), "left_hip": (60, 80),
    "left_knee": (60, 150), "left_ankle": (60, 220), "right_wrist": (-40, 80), "right_elbow": (-40, 40),
    "right_shoulder": (0, 0), "left_shoulder": (60, 0), "left_elbow": (100, 40), "left_wrist": (100, 80),
    "neck": (30, 0), "head_top": (30, -50),
}  # fmt: skip


def labelled(image_id: int, pose: dict[str, Any] = POSE, *, flag: int = 2, **fields: Any) -> dict[str, Any]:
    """A labelled person; joints that `pose` lacks are not labelled."""
    keypoints = [value for joint in LSP.joints for value in ((*pose[joint], flag) if joint in pose else (0, 0, 0))]
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, **fields}


def dataset(*people: dict[str, Any], pictures: int = 1) -> dict[str, Any]:
    category = {"id": 1, "name": "person", "keypoints": list(LSP.joints)}
    return {"images": [{"id": n + 1} for n in range(pictures)], "annotations": list(people), "categories": [category]}


def found(*poses: dict[str, Any], scores: list[float] | None = None, skeleton: Any = BODY) -> People:
    """Predicted people; joints that a pose lacks were not found."""
    keypoints = [[pose.get(joint, (np.nan, np.nan)) for joint in skeleton.joints] for pose in poses]
    return People.build(np.reshape(keypoints, (-1, len(skeleton), 2)), skeleton=skeleton, person_scores=scores)


def moved(pose: dict[str, Any], joint: str, x: float, y: float = 0) -> dict[str, Any]:
    return pose | {joint: (pose[joint][0] + x, pose[joint][1] + y)}


def without(pose: dict[str, Any], *joints: str) -> dict[str, Any]:
    return {joint: place for joint, place in pose.items() if joint not in joints}


def test_the_person_himself_scores_one_on_thirteen_joints() -> None:
    ours = pck(dataset(labelled(1)), {1: found(POSE)})
    assert (ours["PCK"], ours["PCK_low"], ours["PCK_high"]) == (1, 1, 1)
    assert ours["joints"] == dict.fromkeys(SHARED, 1)
    assert (ours["labelled"], ours["pictures"], ours["left_out"]) == (13, 1, 0)


@pytest.mark.parametrize("predictions", [{}, {1: People.empty(BODY)}, {1: found({})}])
def test_nobody_found_scores_zero(predictions: dict[int, People]) -> None:
    ours = pck(dataset(labelled(1)), predictions)
    assert (ours["PCK"], ours["PCK_low"], ours["PCK_high"]) == (0, 0, 0)
    assert ours["joints"] == dict.fromkeys(SHARED, 0)


@pytest.mark.parametrize(
    ("x", "y", "hit"),
    [(19.9, 0, True), (20, 0, True), (20.1, 0, False), (12, 16, True), (15, 15, False), (0, -20.1, False)],
)
def test_a_joint_is_found_within_a_fifth_of_the_torso_in_any_direction(x: float, y: float, hit: bool) -> None:
    ours = pck(dataset(labelled(1)), {1: found(moved(POSE, "left_knee", x, y))})
    assert ours["joints"]["left_knee"] == hit
    assert ours["PCK"] == pytest.approx(1 if hit else 12 / 13)


def test_the_threshold_can_be_chosen() -> None:
    people = {1: found(moved(POSE, "neck", 30))}
    assert pck(dataset(labelled(1)), people, threshold=0.29)["joints"]["neck"] == 0
    assert pck(dataset(labelled(1)), people, threshold=0.31)["joints"]["neck"] == 1


def test_a_joint_not_found_is_a_miss_and_a_joint_not_labelled_does_not_count() -> None:
    ours = pck(dataset(labelled(1, without(POSE, "left_wrist"))), {1: found(without(POSE, "neck"))})
    assert ours["PCK"] == pytest.approx(11 / 12)
    assert ours["labelled"] == 12
    assert ours["joints"]["neck"] == 0
    assert "left_wrist" not in ours["joints"]


def test_a_hidden_joint_that_is_labelled_counts() -> None:
    assert pck(dataset(labelled(1, flag=1)), {1: found(POSE)})["labelled"] == 13


def test_the_torso_is_the_longer_diagonal() -> None:
    """The left shoulder 60 pixels further out: diagonals 100 and 144."""
    pose = moved(POSE, "left_shoulder", 60)
    truth = dataset(labelled(1, pose))
    assert pck(truth, {1: found(moved(pose, "neck", 28.8))})["joints"]["neck"] == 1
    assert pck(truth, {1: found(moved(pose, "neck", 28.9))})["joints"]["neck"] == 0


@pytest.mark.parametrize("joint", ["left_shoulder", "right_shoulder", "left_hip", "right_hip"])
def test_one_diagonal_suffices(joint: str) -> None:
    ours = pck(dataset(labelled(1, without(POSE, joint))), {1: found(moved(POSE, "neck", 19))})
    assert (ours["PCK"], ours["labelled"], ours["left_out"]) == (1, 12, 0)


@pytest.mark.parametrize(
    "pose",
    [
        without(POSE, "left_shoulder", "left_hip"),  # the right ones alone are a side, no diagonal
        without(POSE, "left_shoulder", "right_shoulder"),
        dict.fromkeys(POSE, (5, 5)),  # of length 0
    ],
)
def test_a_picture_without_a_torso_is_left_out(pose: dict[str, Any]) -> None:
    ours = pck(dataset(labelled(1), labelled(2, pose), pictures=2), {1: found(POSE)})
    assert (ours["PCK"], ours["labelled"], ours["pictures"], ours["left_out"]) == (1, 13, 1, 1)


def test_the_one_person_with_the_most_hits_counts_not_the_best_of_each_joint() -> None:
    arms = without(POSE, "left_knee", "left_ankle", "right_knee", "right_ankle")
    legs = {joint: POSE[joint] for joint in ("left_knee", "left_ankle", "right_knee", "right_ankle")}
    ours = pck(dataset(labelled(1)), {1: found(legs, arms, scores=[0.9, 0.1])})
    assert ours["PCK"] == pytest.approx(9 / 13)
    assert ours["joints"]["left_knee"] == 0


def test_of_two_people_with_equally_many_hits_the_higher_score_counts() -> None:
    one, other = without(POSE, "neck"), without(POSE, "left_knee")
    ours = pck(dataset(labelled(1)), {1: found(one, other, scores=[0.2, 0.8])})
    assert (ours["joints"]["neck"], ours["joints"]["left_knee"]) == (1, 0)


def test_all_joints_weigh_the_same_not_all_pictures() -> None:
    few = {joint: POSE[joint] for joint in ("left_shoulder", "right_hip")}
    ours = pck(dataset(labelled(1), labelled(2, few), pictures=2), {1: found(POSE)})
    assert ours["PCK"] == pytest.approx(13 / 15)


def test_the_neck_of_a_skeleton_without_one_is_between_the_shoulders() -> None:
    ours = pck(dataset(labelled(1)), {1: found(POSE, skeleton=COCO)})
    assert (ours["PCK"], ours["labelled"]) == (1, 13)


def test_other_joints_can_be_asked_for_by_name() -> None:
    ours = pck(dataset(labelled(1)), {1: found(POSE, skeleton=LSP)}, joints=["head_top", "neck"])
    assert ours["joints"] == {"head_top": 1, "neck": 1}
    assert pck(dataset(labelled(1)), {1: found(POSE)}, joints=["head_top"])["PCK"] == 0  # openpose18 has none


def test_crowds_and_people_without_joints_do_not_count() -> None:
    ours = pck(dataset(labelled(1), labelled(1, iscrowd=1), labelled(1, {})), {1: found(POSE)})
    assert (ours["labelled"], ours["left_out"]) == (13, 0)


def test_some_pictures_can_be_measured_alone() -> None:
    truth = dataset(labelled(1), labelled(2), pictures=2)
    ours = pck(truth, {1: found(POSE)}, image_ids=[1])
    assert (ours["PCK"], ours["pictures"]) == (1, 1)
    assert pck(truth, {1: found(POSE)}, image_ids=[2])["PCK"] == 0


def test_the_interval_is_that_of_a_share_of_pictures() -> None:
    """Half of 400 pictures hit, half missed: 1.96 times sqrt(0.25 / 400) either way."""
    truth = dataset(*(labelled(n) for n in range(1, 401)), pictures=400)
    ours = pck(truth, {n: found(POSE) for n in range(1, 201)})
    assert (ours["PCK_low"], ours["PCK_high"]) == pytest.approx((0.451, 0.549), abs=0.008)
    assert ours == pck(truth, {n: found(POSE) for n in range(1, 201)})


@pytest.mark.parametrize(
    ("truth", "options", "message"),
    [
        (dataset(labelled(1)), {"predictions": {5: found(POSE)}}, "predictions: picture 5 is not in the truth"),
        (dataset(labelled(1)), {"joints": ["nose"]}, "the truth: no joint 'nose'; it has right_ankle"),
        (dataset(), {}, "no labelled person has a torso"),
        (dataset(labelled(1)), {"image_ids": [4]}, "has no picture 4"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pck(truth, **{"predictions": {}, **options})


def test_a_truth_whose_joints_have_other_names_is_refused() -> None:
    truth = dataset()
    truth["categories"][0]["keypoints"] = ["thorax", "pelvis"]
    with pytest.raises(DataError, match="no joint of openpose18; it has thorax, pelvis"):
        pck(truth, {})


def plain_pck(truth: dict[str, Any], predictions: dict[int, People]) -> float:
    """The definition, written out joint by joint."""
    hits = count = 0
    for row in truth["annotations"]:
        joints = {name: row["keypoints"][3 * k : 3 * k + 3] for k, name in enumerate(LSP.joints)}
        place = {name: np.array(values[:2]) for name, values in joints.items() if values[2]}
        diagonals = [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")]
        torsos = [float(np.hypot(*(place[a] - place[b]))) for a, b in diagonals if a in place and b in place]
        if not torsos or max(torsos) == 0:
            continue
        names = [name for name in SHARED if name in place]
        count += len(names)
        hits += max(
            (
                sum(bool(np.hypot(*(one.joint(name)[0] - place[name])) <= 0.2 * max(torsos)) for name in names)
                for one in predictions.get(row["image_id"], [])
            ),
            default=0,
        )
    return hits / count


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[int, People], np.random.Generator]:
    """A few pictures of one person, some joints not labelled; up to three predictions, near or far, with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, predictions = [], {}
    pictures = draw(st.integers(1, 4))
    for image_id in range(1, pictures + 1):
        pose = {joint: tuple(np.array(place) + rng.normal(0, 20, 2)) for joint, place in POSE.items()}
        rows.append(labelled(image_id, {joint: place for joint, place in pose.items() if rng.random() < 0.9}))
        poses = []
        for _ in range(draw(st.integers(0, 3))):
            spread = rng.choice([3, 15, 60])
            guess = {joint: tuple(place + rng.normal(0, spread, 2)) for joint, place in pose.items()}
            poses.append({joint: place for joint, place in guess.items() if rng.random() < 0.8})
        if poses:
            predictions[image_id] = found(*poses, scores=rng.choice([0.2, 0.5, 0.9], len(poses)).tolist())
    rows.append(labelled(pictures + 1))  # somebody always has a torso
    return dataset(*rows, pictures=pictures + 1), predictions, rng


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_it_is_the_definition(scene: tuple[dict[str, Any], dict[int, People], np.random.Generator]) -> None:
    truth, predictions, _ = scene
    assert pck(truth, predictions, resamples=10)["PCK"] == pytest.approx(plain_pck(truth, predictions))


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_order_never_matters(scene: tuple[dict[str, Any], dict[int, People], np.random.Generator]) -> None:
    truth, predictions, rng = scene
    figures = pck(truth, predictions, resamples=10)
    turned = {image_id: predictions[image_id] for image_id in list(predictions)[::-1]}
    turned = {image_id: people[rng.permutation(len(people))] for image_id, people in turned.items()}
    shuffled = {
        field: [truth[field][n] for n in rng.permutation(len(truth[field]))] for field in ("images", "annotations")
    }
    assert pck(truth | shuffled, turned, resamples=10) == figures


@settings(max_examples=40, deadline=None)
@given(scenes(), st.floats(0.05, 0.5), st.floats(0.05, 0.5))
def test_a_wider_threshold_never_finds_less(
    scene: tuple[dict[str, Any], dict[int, People], np.random.Generator], one: float, other: float
) -> None:
    truth, predictions, _ = scene
    narrow, wide = (pck(truth, predictions, threshold=t, resamples=10)["PCK"] for t in sorted((one, other)))
    assert 0 <= narrow <= wide <= 1


@pytest.mark.shared
def test_the_labels_of_the_real_set_find_themselves(shared_data: Path) -> None:
    truth = json.loads((shared_data / "lsp_extended" / "val.json").read_text())
    keypoints: dict[int, NDArray[np.float64]] = {
        row["image_id"]: np.reshape(row["keypoints"], (14, 3)) for row in truth["annotations"]
    }
    predictions = {
        image_id: People.build(np.where(values[None, :, 2:] > 0, values[None, :, :2], np.nan), skeleton=LSP)
        for image_id, values in keypoints.items()
    }
    ours: PckFigures = pck(truth, predictions)
    assert ours["PCK"] == 1
    assert ours["pictures"] + ours["left_out"] == 500
    assert sorted(ours["joints"]) == sorted(SHARED)
    far = {image_id: people.transform(np.array([[1, 0, 1000], [0, 1, 0]])) for image_id, people in predictions.items()}
    assert pck(truth, far)["PCK"] == 0
