"""Skeleton: a value whose parts agree, or a reason why they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manypose.errors import SkeletonError
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict

# Fields in a mirrored picture


@pytest.mark.parametrize("name", ["body25", "mpi15", "openpose18"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_flipped_fields_are_the_fields_of_the_mirrored_person(name: str, seed: int) -> None:
    skeleton = load_skeleton(name)
    person = np.random.default_rng(seed).uniform(0, 100, (len(skeleton), 2))
    mirrored = (person * [-1, 1])[skeleton.flip]

    def vectors(joints: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.concatenate([joints[b] - joints[a] for a, b in skeleton.fields])

    permutation, signs = skeleton.field_flip
    np.testing.assert_allclose(signs * vectors(person)[permutation], vectors(mirrored))


def test_a_field_that_points_the_other_way_in_the_mirror_keeps_x_and_negates_y() -> None:
    skeleton = Skeleton("hips", ("left_hip", "right_hip"), fields=((0, 1),), pairs=((0, 1),))
    permutation, signs = skeleton.field_flip
    assert permutation.tolist() == [0, 1]
    assert signs.tolist() == [1, -1]


def test_a_field_without_mirror_image_is_refused_when_it_is_flipped() -> None:
    skeleton = Skeleton("one arm", ("neck", "left_hand", "right_hand"), fields=((0, 1),), pairs=((1, 2),))
    with pytest.raises(SkeletonError, match="'one arm': the field neck-left_hand has no mirror image"):
        _ = skeleton.field_flip


# Lengths of the fields


def test_the_usual_lengths_of_limbs_are_the_same_on_both_sides() -> None:
    skeleton = load_skeleton("openpose18")
    of = dict(zip(skeleton.fields, skeleton.lengths, strict=True))
    for (a, b), length in of.items():
        mirrored = (int(skeleton.flip[a]), int(skeleton.flip[b]))
        assert of.get(mirrored, length) == length


def test_lengths_survive_the_way_through_plain_data_and_may_be_unknown() -> None:
    data = {"name": "arm", "joints": ["a", "b", "c"], "fields": [["a", "b", 0.5], ["b", "c"]]}
    skeleton = skeleton_from_dict(data)
    assert skeleton.lengths == (0.5, None)
    assert skeleton_from_dict(skeleton.to_dict()) == skeleton


@pytest.mark.parametrize(
    ("lengths", "message"), [((1.0,), "2 fields but 1 lengths"), ((1.0, 0.0), "must be positive numbers")]
)
def test_lengths_that_fit_no_limb_are_refused(lengths: tuple[float, ...], message: str) -> None:
    with pytest.raises(SkeletonError, match=message):
        Skeleton("arm", ("a", "b", "c"), fields=((0, 1), (1, 2)), lengths=lengths)


# As a value


def test_a_skeleton_is_a_key_and_its_permutations_cannot_be_changed() -> None:
    skeleton = load_skeleton("openpose18")
    assert {skeleton: 1}[load_skeleton("openpose18")] == 1
    with pytest.raises(ValueError, match="read-only"):
        skeleton.flip[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        skeleton.field_flip[1][0] = 3


def test_an_unknown_skeleton_is_answered_with_those_there_are() -> None:
    with pytest.raises(SkeletonError, match="no skeleton is called 'coco'; there are body25, coco17, crowdpose14"):
        load_skeleton("coco")


def test_an_unknown_joint_is_answered_with_those_there_are() -> None:
    with pytest.raises(SkeletonError, match="'lsp14' has no joint 'nose'; it has right_ankle, right_knee"):
        load_skeleton("lsp14").index("nose")


# What is refused, and why


def minimal(**changes: Any) -> dict[str, Any]:
    data = {
        "name": "mine",
        "joints": ["head", "left_hand", "right_hand"],
        "limbs": [["head", "left_hand", "#00ff00"], ["head", "right_hand", "#ff0000"]],
        "fields": [["head", "left_hand"], ["head", "right_hand"]],
        "pairs": [["left_hand", "right_hand"]],
        "sigmas": [0.1, 0.2, 0.2],
        "derived": {"head": ["nose"]},
    }
    return data | changes


def test_the_skeleton_that_the_faults_start_from_is_sound() -> None:
    assert skeleton_from_dict(minimal()).colours == ((0, 255, 0), (255, 0, 0))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # sides
        ({"pairs": []}, r"joint 'left_hand' must be paired with 'right_hand', but pairs has None for it"),
        ({"pairs": [["left_hand", "head"]]}, r"'left_hand' must be paired with 'right_hand', but pairs has 'head'"),
        ({"joints": ["head", "left_hand", "right_foot"]}, r"no joint is called 'right_hand'"),
        ({"pairs": [["right_hand", "left_hand"]]}, r"pair \(right_hand, left_hand\) must be written left first"),
        ({"pairs": [["left_hand", "right_hand"], ["left_hand", "head"]]}, "a joint stands in two pairs"),
        ({"pairs": [["left_hand", "right_hand"], ["head", "head"]]}, r"pair \(0, 0\) does not join two"),
        ({"pairs": [["left_hand"]]}, r"pairs must hold \[joint, joint\], not \['left_hand'\]"),
        # joints
        ({"joints": []}, "it has no joints|no joint is called"),
        ({"joints": None}, "joints must be a list of names, not None"),
        ({"joints": "head"}, "joints must be a list of names, not 'head'"),
        ({"joints": ["head", "left_hand", "right_hand", "head"]}, "joint 'head' appears twice"),
        # limbs and colours
        ({"limbs": [["head", "nose", "#00ff00"]]}, r"limb \['head', 'nose'\]: no joint is called 'nose'"),
        ({"limbs": [["head", "left_hand"]]}, r"limbs must hold \[joint, joint, colour\], not \['head', 'left_hand'\]"),
        ({"limbs": [["head", "left_hand", "green"]]}, "'green' is not a colour like '#ff8000'"),
        ({"limbs": [["head", "head", "#00ff00"]]}, r"limb \(0, 0\) does not join two of its 3 joints"),
        ({"limbs": ["head"]}, r"limbs must hold \[joint, joint, colour\], not 'head'"),
        # fields
        ({"fields": [["head", "nose"]]}, r"field \['head', 'nose'\]: no joint is called 'nose'"),
        ({"fields": [["head", "left_hand"], ["head", "left_hand"]]}, "a field appears twice"),
        # sigmas
        ({"sigmas": [0.1, 0.2]}, "sigmas must be 3 positive numbers, one for each joint"),
        ({"sigmas": []}, "sigmas must be 3 positive numbers"),
        ({"sigmas": [0.1, 0.2, 0]}, "sigmas must be 3 positive numbers"),
        ({"sigmas": [0.1, 0.2, float("nan")]}, "sigmas must be 3 positive numbers"),
        ({"sigmas": [0.1, 0.2, "wide"]}, "could not convert string to float: 'wide'"),
        # derived
        ({"derived": {"neck": ["head"]}}, "derived 'neck' must be one of its joints"),
        ({"derived": {"head": []}}, "derived 'head' must be one of its joints, followed by the names"),
        ({"derived": {"head": "nose"}}, "derived head must be a list of names, not 'nose'"),
        # the mapping itself
        ({"limb": []}, "unknown field limb"),
    ],
)
def test_contradictions_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SkeletonError, match=f"^skeleton 'mine': .*({reason})"):
        skeleton_from_dict(minimal(**changes))


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(SkeletonError, match="a skeleton is a mapping with name, joints"):
        skeleton_from_dict(["head"])  # type: ignore[arg-type]


@pytest.mark.parametrize("joint", ["left_eye", "eye_left_1", "Left Eye", "eye-LEFT"])
def test_sides_are_seen_wherever_they_stand_in_a_name(joint: str) -> None:
    with pytest.raises(SkeletonError, match=f"joint {joint!r} must be paired with .*right"):
        Skeleton("mine", ("nose", joint))


@pytest.mark.parametrize("joint", ["leftover", "upright", "bright_spot"])
def test_words_that_only_contain_a_side_are_no_side(joint: str) -> None:
    assert Skeleton("mine", (joint,)).flip.tolist() == [0]


def test_a_limb_beyond_the_joints_and_a_missing_colour_are_refused() -> None:
    with pytest.raises(SkeletonError, match=r"limb \(0, 7\) does not join two of its 2 joints"):
        Skeleton("mine", ("a", "b"), limbs=((0, 7),), colours=((0, 0, 0),))
    with pytest.raises(SkeletonError, match="1 limbs but 0 colours"):
        Skeleton("mine", ("a", "b"), limbs=((0, 1),))
