from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CODEC, OPENPOSE18, answers, person

from manypose.codecs.fields import FieldsCodec
from manypose.codecs.grouping import DecoderSettings, decode
from manypose.errors import ModelError
from manypose.people import People

SIZE = (960, 480)  # width, height
SLOT = 240  # pixels; in its slot a random person meets nobody
MAY_LACK = ("right_wrist", "left_wrist", "right_ankle", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear")


HOLDING_HANDS = [person((x, 150), 60, left_wrist=(275, 180)) for x in (210, 290)]


def there_and_back(*people: np.ndarray, size: tuple[int, int] = SIZE, noise: float = 0.0) -> People:
    heatmaps, fields = CODEC.encode(np.stack(people) if people else np.zeros((0, 18, 2), np.float32), size)
    if noise:
        random = np.random.default_rng(5)
        heatmaps = heatmaps + random.normal(0, noise, heatmaps.shape).astype(np.float32)
        fields = fields + random.normal(0, noise, fields.shape).astype(np.float32)
    return CODEC.decode(heatmaps, fields, size)


def assert_same_people(found: np.ndarray, truth: np.ndarray, *, within: float) -> None:
    """The same people in any order: the same joints, none farther than `within` pixels from its place."""
    assert len(found) == len(truth)
    for keypoints in truth:
        distances = np.nan_to_num(np.linalg.norm(found - keypoints, axis=2), nan=100)
        closest = found[np.median(distances, axis=1).argmin()]
        np.testing.assert_array_equal(np.isnan(closest), np.isnan(keypoints))
        np.testing.assert_allclose(closest, keypoints, atol=within)


@st.composite
def scattered_people(draw: st.DrawFn) -> np.ndarray:
    """People (N, 18, 2) of any size, bent and leaning at random, each in its own slot, some without some joints."""
    slots = draw(st.lists(st.integers(0, 7), max_size=5, unique=True))
    people = []
    for slot in slots:
        random = np.random.default_rng(draw(st.integers(0, 10**6)))
        centre = (slot % 4 * SLOT + SLOT / 2, slot // 4 * SLOT + 100)
        missing = tuple(draw(st.lists(st.sampled_from(MAY_LACK), max_size=3, unique=True)))
        keypoints = person((0, 0), draw(st.floats(20, 56)), without=missing)
        keypoints += random.normal(0, 0.06, (18, 2)) * np.nanmax(np.abs(keypoints)) * 0.5
        angle = random.uniform(-0.5, 0.5)
        turned = keypoints @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        people.append(turned + centre)
    return np.array(people, np.float32).reshape(-1, 18, 2)


@given(people=scattered_people())
@settings(max_examples=60, deadline=None)
def test_random_people_come_back(people: np.ndarray) -> None:
    assert_same_people(there_and_back(*people).keypoints, people, within=0.5)


@given(people=scattered_people())
@settings(max_examples=25, deadline=None)
def test_mirrored_maps_give_mirrored_people(people: np.ndarray) -> None:
    heatmaps, fields = CODEC.encode(people, SIZE)
    fields = fields + np.random.default_rng(1).normal(0, 0.05, fields.shape).astype(np.float32)
    there = CODEC.decode(heatmaps, fields, SIZE).keypoints
    channels, signs = OPENPOSE18.field_flip
    joints = [*OPENPOSE18.flip, 18]
    back = CODEC.decode(heatmaps[joints, :, ::-1], signs[:, None, None] * fields[channels, :, ::-1], SIZE).keypoints
    expected = np.array([SIZE[0] - 1, 0]) + there[:, OPENPOSE18.flip] * (-1, 1)
    assert_same_people(back, expected.astype(np.float32), within=0.05)


def test_the_order_of_the_fields_does_not_matter() -> None:
    people = np.stack([person((150, 150), 50), person((230, 160), 55), person((420, 200), 30)])
    turned = dataclasses.replace(OPENPOSE18, fields=OPENPOSE18.fields[::-1], lengths=OPENPOSE18.lengths[::-1])
    codec = FieldsCodec(turned)
    found = codec.decode(*codec.encode(people, SIZE))
    assert_same_people(found.keypoints, there_and_back(*people).keypoints, within=1e-3)


def test_nobody_is_an_empty_people() -> None:
    people = there_and_back()
    assert people == People.empty(OPENPOSE18, SIZE)


def test_noise_alone_is_nobody() -> None:
    assert len(there_and_back(noise=0.03)) == 0


def test_the_best_person_comes_first_and_scores_are_shares() -> None:
    half = person((420, 150), 50, without=("right_knee", "right_ankle", "left_knee", "left_ankle", "left_wrist"))
    people = there_and_back(half, person((150, 150), 50))
    assert 1 > people.person_scores[0] > people.person_scores[1] > 0.3
    assert people.scores.max() <= 1


def test_the_same_person_scores_more_the_larger_he_is() -> None:
    scores = [float(there_and_back(person((200, 160), torso)).person_scores[0]) for torso in (20, 40, 80)]
    assert scores == sorted(scores)
    assert scores[0] > 0.4


def test_maps_without_the_background_give_the_same() -> None:
    heatmaps, fields = CODEC.encode(person((150, 150), 50)[None], SIZE)
    assert CODEC.decode(heatmaps[:18], fields) == CODEC.decode(heatmaps, fields)


def test_a_joint_that_two_people_hold_belongs_to_both() -> None:
    people = there_and_back(*HOLDING_HANDS)
    assert_same_people(people.keypoints, np.stack(HOLDING_HANDS), within=0.5)


def test_a_joint_has_one_owner_where_sharing_is_off() -> None:
    maps = CODEC.encode(np.stack(HOLDING_HANDS), SIZE)
    alone = dataclasses.replace(CODEC, decoder=DecoderSettings(shared_joint=2))
    assert alone.decode(*maps).visible.sum() == 35


def test_three_people_who_meet_in_one_limb_stay_three() -> None:
    elbow, wrist = (250.0, 170.0), (250.0, 210.0)
    three = [person((x, 150), 60, left_elbow=elbow, left_wrist=wrist) for x in (130, 250, 370)]
    people = there_and_back(*three)
    assert len(people) == 3
    found, joints, _ = answers(people.keypoints, np.stack(three))
    assert found == 3
    assert joints >= 3 * 16 + 2  # the arm that all three share is somebody's


def test_two_wrists_one_and_a_half_cells_apart_are_two() -> None:
    left = person((210, 150), 60, left_wrist=(273.0, 180.0))
    right = person((290, 150), 60, left_wrist=(278.0, 191.0))
    people = there_and_back(left, right)
    _, joints, error = answers(people.keypoints, np.stack([left, right]))
    assert joints == 36
    assert error < 0.5


def test_a_person_without_a_neck_side_is_merged_from_its_parts() -> None:
    # Head and trunk are joined by the shoulder-to-ear limb alone, which comes after both have grown.
    someone = person((200, 150), 60, without=("nose", "left_ear", "left_eye"))
    people = there_and_back(someone)
    assert_same_people(people.keypoints, someone[None], within=0.5)


def test_an_arm_alone_is_nobody() -> None:
    arm = ("right_shoulder", "right_elbow", "right_wrist")
    rest = tuple(joint for joint in OPENPOSE18.joints if joint not in arm)
    assert len(there_and_back(person((200, 150), 60, without=rest))) == 0


def test_joints_at_the_border_count() -> None:
    someone = person((35, 90), 60, right_elbow=(16, 20), right_wrist=(0, 0), left_hip=(45, 119), right_ankle=(23, 119))
    someone[[OPENPOSE18.index(joint) for joint in ("right_knee", "left_knee", "left_ankle")]] = np.nan
    people = there_and_back(someone, size=(120, 120))
    np.testing.assert_allclose(people.joint("right_wrist")[0], (0, 0), atol=0.25)
    np.testing.assert_allclose(people.joint("left_hip")[0], (45, 119), atol=0.25)


def test_a_tiny_face_whose_joints_fall_into_one_cell_keeps_them() -> None:
    someone = person((200, 200), 18)
    someone[OPENPOSE18.index("right_eye")] = someone[OPENPOSE18.index("right_ear")] + 0.01
    people = there_and_back(someone)
    assert people.visible.all()


def test_a_face_near_the_camera_stays_with_its_body() -> None:
    someone = person((200, 200), 40)
    face = [OPENPOSE18.index(joint) for joint in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]
    someone[face] = someone[face[0]] + (0, -20) + 4 * (someone[face] - someone[face[0]])
    assert_same_people(there_and_back(someone).keypoints, someone[None], within=0.5)


def test_a_limb_far_too_long_for_the_person_is_refused() -> None:
    size = (960, 480)
    someone = person((150, 150), 40, without=("left_ankle",))
    stray = person((150, 150), 40, left_ankle=(900.0, 230.0))
    heatmaps, _ = CODEC.encode(np.stack([someone, stray]), size)
    _, fields = CODEC.encode(stray[None], size)
    strict = CODEC.decode(heatmaps, fields)
    free = dataclasses.replace(CODEC, decoder=DecoderSettings(longest_limb=0)).decode(heatmaps, fields)
    ankle = OPENPOSE18.index("left_ankle")
    assert not strict.visible[0, ankle]
    assert free.visible[0, ankle]


@pytest.mark.parametrize("factor", [0.4, 0.8])
def test_weak_maps_give_the_same_joints_and_lower_scores(factor: float) -> None:
    heatmaps, fields = CODEC.encode(person((150, 150), 50)[None], SIZE)
    strong = CODEC.decode(heatmaps, fields)
    weak = CODEC.decode(heatmaps * np.float32(factor), fields * np.float32(factor))
    np.testing.assert_allclose(weak.keypoints, strong.keypoints, atol=0.1)
    np.testing.assert_allclose(weak.scores, factor, rtol=0.05)
    assert weak.person_scores[0] == pytest.approx(factor * strong.person_scores[0], rel=0.05)


@pytest.mark.parametrize("size", [(8, 8), (8, 16), (16, 8), (24, 24)])
def test_the_smallest_maps_decode(size: tuple[int, int]) -> None:
    heatmaps, fields = CODEC.encode(np.full((1, 18, 2), 3.5, np.float32), size)
    people = CODEC.decode(heatmaps, fields)
    assert len(people) <= 1
    np.testing.assert_allclose(people.keypoints[people.visible], 3.5, atol=1)


def test_maps_without_a_cell_are_nobody() -> None:
    assert len(CODEC.decode(np.zeros((19, 0, 0), np.float32), np.zeros((38, 0, 0), np.float32))) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", ["heatmaps", "fields"])
def test_maps_that_are_not_finite_are_refused(broken: str, value: float) -> None:
    maps = dict(zip(("heatmaps", "fields"), CODEC.encode(person((150, 150), 50)[None], SIZE), strict=True))
    maps[broken][3, 2, 1] = value
    with pytest.raises(ModelError, match=f"the {broken} are not finite"):
        CODEC.decode(**maps)


def test_maps_of_another_skeleton_are_refused() -> None:
    heatmaps, fields = CODEC.encode(person((150, 150), 50)[None], SIZE)
    with pytest.raises(ModelError, match=r"heatmaps have shape \(26, 60, 120\), expected \(18 or 19, h, w\)"):
        CODEC.decode(np.zeros((26, 60, 120), np.float32), fields)
    with pytest.raises(ModelError, match=r"fields have shape \(36, 60, 120\), expected \(38, 60, 120\)"):
        CODEC.decode(heatmaps, fields[:36])


@pytest.mark.parametrize("hostile", ["uniform", "checkers", "constant"])
def test_hostile_maps_take_bounded_time(hostile: str) -> None:
    random = np.random.default_rng(0)
    fields = random.uniform(-1, 1, (38, 46, 82)).astype(np.float32)
    rows, columns = np.mgrid[:46, :82]
    heatmaps = {
        "uniform": random.uniform(0, 1, (18, 46, 82)),
        "checkers": np.broadcast_to((rows % 2 == 0) & (columns % 2 == 0), (18, 46, 82)) * 0.9,
        "constant": np.full((18, 46, 82), 0.5),
    }[hostile].astype(np.float32)
    began = time.process_time()
    people = decode(heatmaps, fields, skeleton=OPENPOSE18, stride=8, settings=DecoderSettings())
    assert time.process_time() - began < 10  # half a second on an idle core
    assert np.isfinite(people.person_scores).all()
