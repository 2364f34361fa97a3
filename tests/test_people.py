"""People: a value of arrays that fit together, checked once, changed never."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manypose import geometry
from manypose.errors import PeopleError, SkeletonError
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

LIMB = Skeleton("limb", ("elbow", "wrist"), limbs=((0, 1),), colours=((255, 0, 0),))
COCO, HAND = load_skeleton("coco17"), load_skeleton("hand21")
ABSENT = (np.nan, np.nan)


@st.composite
def groups(draw: st.DrawFn, skeleton: Skeleton = COCO) -> People:
    """Zero to four people with some joints absent, with or without ids, states and a hand."""
    n = draw(st.integers(0, 4))

    def joints(count: int) -> Any:
        keypoints = draw(arrays.arrays(np.float32, (n, count, 2), elements=st.floats(-500, 4000, width=32)))
        absent = draw(arrays.arrays(np.bool_, (n, count)))
        return np.where(absent[..., None], np.float32(np.nan), keypoints)

    return People.build(
        joints(len(skeleton)),
        draw(arrays.arrays(np.float32, (n, len(skeleton)), elements=st.floats(0, 1, width=32))),
        skeleton=skeleton,
        ids=range(n) if draw(st.booleans()) else None,
        states=np.ones((n, len(skeleton)), np.uint8) if draw(st.booleans()) else None,
        image_size=(640, 480),
        parts={"left_hand": People.build(joints(len(HAND)), skeleton=HAND)} if draw(st.booleans()) else None,
    )


def pair(**changes: Any) -> People:
    """Two people with two joints; the second lacks his wrist."""
    given: dict[str, Any] = {"skeleton": LIMB, "image_size": (100, 80)} | changes
    return People.build([[(1, 2), (3, 8)], [(5, 6), ABSENT]], [[0.9, 0.7], [0.5, 0.4]], **given)


# Building


def test_what_is_not_given_is_filled_in() -> None:
    people = pair()
    assert people.visible.tolist() == [[True, True], [True, False]]
    np.testing.assert_allclose(people.scores, [[0.9, 0.7], [0.5, 0]])
    np.testing.assert_allclose(people.person_scores, [0.8, 0.5])  # the mean of the joints found
    assert people.boxes.tolist() == [[1, 2, 3, 8], [5, 6, 5, 6]]
    assert (people.ids, people.states, people.parts) == (None, None, {})


def test_arrays_have_the_types_of_the_design() -> None:
    people = pair(ids=[3, 4], states=[[1, 1], [1, 0]], person_scores=[1, 2], boxes=[[0, 0, 9, 9]] * 2)
    types = {name: getattr(people, name).dtype.name for name in ("keypoints", "scores", "person_scores", "boxes")}
    assert set(types.values()) == {"float32"}
    assert people.ids is not None
    assert people.states is not None
    assert (people.ids.dtype, people.states.dtype) == (np.int64, np.uint8)


def test_scores_are_clipped_and_those_of_absent_joints_are_zero() -> None:
    people = People.build([[(1, 1), (2, 2)], [ABSENT, (3, np.inf)]], [[1.7, -0.2], [0.9, 0.9]], skeleton=LIMB)
    assert people.scores.tolist() == [[1, 0], [0, 0]]
    assert people.visible.tolist() == [[True, True], [False, False]]
    assert np.isnan(people.keypoints[1]).all()
    assert np.isnan(people.boxes[1]).all()


def test_building_copies_what_it_is_given() -> None:
    keypoints = np.ones((1, 2, 2), np.float32)
    people = People.build(keypoints, skeleton=LIMB)
    keypoints[:] = 7
    assert (people.keypoints == 1).all()


@pytest.mark.parametrize("people", [People.empty(LIMB, (100, 80)), People.build([], [], boxes=[], skeleton=LIMB)])
def test_nobody_is_a_normal_result(people: People) -> None:
    assert len(people) == 0
    assert list(people) == []
    assert people.keypoints.shape == (0, 2, 2)
    assert people.boxes.shape == (0, 4)
    assert len(people[[]]) == len(people.to("coco17")) == len(people.transform(np.eye(2, 3))) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"person_scores": [1.0]}, r"person_scores has shape \(1,\), expected \(2,\)"),
        ({"person_scores": [1.0, np.nan]}, "person_scores must be finite numbers"),
        ({"boxes": [[0, 0, 1, 1]]}, r"boxes has shape \(1, 4\), expected \(2, 4\)"),
        ({"boxes": ["a", "b"]}, "boxes cannot be made an array of float32: could not convert string to float"),
        ({"ids": [1]}, r"ids has shape \(1,\), expected \(2,\)"),
        ({"ids": [None, 1]}, "ids cannot be made an array of int64"),
        ({"states": [[1, 1]]}, r"states has shape \(1, 2\), expected \(2, 2\)"),
        ({"states": [[1, 4], [0, 0]]}, "states hold 4, expected 0 to 3: absent, measured, filled in, set"),
        ({"states": [[1, -1], [0, 0]]}, "states cannot be made an array of uint8"),
        ({"parts": {"hand": People.empty(HAND)}}, r"parts\['hand'\] has 0 rows, expected 2: one for each person"),
        ({"skeleton": COCO}, r"keypoints have shape \(2, 2, 2\), expected \(people, 17, 2\) for .* 'coco17'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(PeopleError, match=reason):
        pair(**changes)


def test_scores_of_another_shape_and_ragged_joints_are_refused() -> None:
    with pytest.raises(PeopleError, match=r"scores has shape \(2,\), expected \(1, 2\)"):
        People.build([[(1, 1), (2, 2)]], [0.5, 0.5], skeleton=LIMB)
    with pytest.raises(PeopleError, match="keypoints cannot be made an array of float32"):
        People.build([[(1, 1), (2, 2)], [(1, 1)]], skeleton=LIMB)


@pytest.mark.parametrize("place", [(np.nan, 1), (np.inf, 1)])
def test_half_a_place_is_refused(place: tuple[float, float]) -> None:
    people = pair()
    keypoints = people.keypoints.copy()
    keypoints[0, 0] = place
    with pytest.raises(PeopleError, match="keypoints must be finite, or NaN in both x and y"):
        dataclasses.replace(people, keypoints=keypoints)


# As a value


def test_nothing_can_be_assigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair().ids = np.array([1, 2])  # type: ignore[misc]


def test_equal_people_are_equal_whatever_is_absent() -> None:
    assert pair() == pair()
    assert pair(ids=[1, 2]) != pair()
    assert pair(ids=[1, 2]) != pair(ids=[1, 3])
    assert pair(image_size=None) != pair()
    assert pair(person_scores=[0, 0]) != pair()
    assert pair() != "people"


# Choosing people


@given(people=groups(), data=st.data())
@settings(deadline=None, max_examples=50)
def test_a_mask_a_list_and_a_loop_choose_the_same_people(people: People, data: st.DataObject) -> None:
    mask = data.draw(arrays.arrays(np.bool_, len(people)))
    chosen = people[mask]
    assert chosen == people[np.flatnonzero(mask).tolist()] == people[mask.tolist()]
    assert list(chosen) == [people[int(i)] for i in np.flatnonzero(mask)]


@given(people=groups())
@settings(deadline=None, max_examples=50)
def test_concatenate_undoes_the_loop(people: People) -> None:
    assert people == People.concatenate([*people, people[[]]])


def test_an_index_keeps_ids_states_and_parts_together() -> None:
    hands = People.build(np.arange(84).reshape(2, 21, 2), skeleton=HAND)
    people = pair(ids=[7, 8], states=[[1, 2], [3, 0]], parts={"left_hand": hands})
    second = people[-1]
    assert len(second) == 1
    assert second.ids == [8]
    assert second.states is not None
    assert second.states.tolist() == [[3, 0]]
    assert second.parts["left_hand"] == hands[1]
    assert people[(1, 0)] == people[::-1]


def test_an_index_beyond_the_people_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        pair()[2]


def test_a_joint_is_asked_for_by_name() -> None:
    np.testing.assert_array_equal(pair().joint("wrist"), [(3, 8), ABSENT])
    with pytest.raises(SkeletonError, match="'limb' has no joint 'hand'; it has elbow, wrist"):
        pair().joint("hand")


# Putting groups together


def test_only_people_of_one_skeleton_can_be_put_together() -> None:
    with pytest.raises(PeopleError, match="different skeletons: coco17, limb"):
        People.concatenate([pair(), People.empty(COCO)])
    with pytest.raises(PeopleError, match="needs at least one People"):
        People.concatenate([])


def test_ids_and_parts_stay_only_when_everybody_has_them() -> None:
    hand = {"left_hand": People.build(np.ones((2, 21, 2)), skeleton=HAND)}
    both = People.concatenate([pair(ids=[1, 2], parts=hand), People.empty(LIMB), pair(ids=[3, 4], parts=hand)])
    assert both.ids is not None
    assert both.ids.tolist() == [1, 2, 3, 4]
    assert len(both.parts["left_hand"]) == 4
    mixed = People.concatenate([pair(ids=[1, 2], parts=hand), pair()])
    assert (mixed.ids, mixed.parts, len(mixed)) == (None, {}, 4)


# Moving to other pixels


@given(people=groups(), degrees=st.floats(-180, 180), scale=st.floats(0.25, 4), mirror=st.booleans())
@settings(deadline=None, max_examples=50)
def test_transform_and_its_inverse_bring_joints_back(
    people: People, degrees: float, scale: float, mirror: bool
) -> None:
    matrix = geometry.crop_affine((300, 200), scale, degrees, (400, 300), mirror=mirror)
    back = people.transform(matrix, (400, 300)).transform(geometry.invert_affine(matrix), people.image_size)
    np.testing.assert_allclose(back.keypoints, people.keypoints, atol=0.05)
    assert back.image_size == people.image_size
    for name, part in people.parts.items():
        np.testing.assert_allclose(back.parts[name].keypoints, part.keypoints, atol=0.05)


def test_a_turned_box_is_the_box_around_its_corners() -> None:
    quarter = geometry.crop_affine((0, 0), 1, 90, (1, 1))
    turned = pair(boxes=[[0, 0, 4, 2], [np.nan] * 4]).transform(quarter, (80, 100))
    np.testing.assert_allclose(turned.boxes, [[-2, 0, 0, 4], [np.nan] * 4], atol=1e-6)
    assert turned.image_size == (80, 100)


@pytest.mark.golden
def test_people_in_a_mirrored_picture_are_those_of_the_reference_products(goldens: Path) -> None:
    data = np.load(goldens / "topdown" / "pieces" / "flip.npz")
    width = int(data["image_width"])
    there = data["joints_vis"][:, 0] > 0
    people = People.build(np.where(there[:, None], data["joints"][:, :2], np.nan)[None], skeleton=COCO)
    mirrored = people.transform(np.array([[-1, 0, width - 1], [0, 1, 0]])).keypoints[0, COCO.flip]
    assert np.array_equal(~np.isnan(mirrored[:, 0]), data["joints_vis_flipped"][:, 0] > 0)
    np.testing.assert_allclose(np.nan_to_num(mirrored), data["joints_flipped"][:, :2], atol=1e-3)


# Other skeletons


def test_a_joint_goes_to_the_joint_of_the_same_name_with_score_and_state() -> None:
    arm = Skeleton("arm", ("wrist", "shoulder", "elbow"))
    people = pair(states=[[1, 2], [3, 0]]).to(arm)
    np.testing.assert_array_equal(people.keypoints[0], [(3, 8), ABSENT, (1, 2)])
    np.testing.assert_allclose(people.scores, [[0.7, 0, 0.9], [0, 0, 0.5]])
    assert people.states is not None
    assert people.states.tolist() == [[2, 0, 1], [0, 0, 3]]
    assert people.skeleton == arm


def test_a_derived_joint_needs_all_joints_that_it_lies_between() -> None:
    middle = Skeleton("middle", ("middle",), derived={"middle": ("elbow", "wrist")})
    people = pair(states=[[1, 2], [3, 0]]).to(middle)
    np.testing.assert_array_equal(people.keypoints[:, 0], [(2, 5), ABSENT])
    np.testing.assert_allclose(people.scores[:, 0], [0.7, 0])  # the least of the two
    assert people.states is not None
    assert people.states[:, 0].tolist() == [2, 0]


@given(people=groups())
@settings(deadline=None, max_examples=50)
def test_there_and_back_to_a_larger_skeleton_changes_nothing(people: People) -> None:
    for larger in ("openpose18", "body25", "wholebody133"):
        assert people.to(larger).to(COCO) == people


def test_mapping_keeps_the_person_himself() -> None:
    people = pair(ids=[1, 2]).to("hand21")
    assert not people.visible[:, 1:].any()
    assert people.joint("wrist")[0].tolist() == [3, 8]
    assert np.array_equal(people.boxes, pair().boxes)
    assert np.array_equal(people.person_scores, pair().person_scores)
    assert people.ids is not None
