"""Joints by name: the same places and scores as those of `People`, for all people of a picture at once."""

from __future__ import annotations

import numpy as np
import pytest

from manypose.data.joint_names import joint_sources, map_people
from manypose.errors import SkeletonError
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

COCO, OPENPOSE, LSP = (load_skeleton(name) for name in ("coco17", "openpose18", "lsp14"))


@pytest.mark.parametrize("source", [COCO, OPENPOSE, LSP], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("target", [COCO, OPENPOSE, LSP], ids=lambda skeleton: skeleton.name)
def test_people_are_those_that_people_itself_maps(source: Skeleton, target: Skeleton) -> None:
    random = np.random.default_rng(0)
    places = random.uniform(0, 300, (5, len(source), 2)).astype(np.float32)
    places[random.uniform(size=places.shape[:2]) < 0.3] = np.nan
    scores = random.uniform(-0.5, 1.5, places.shape[:2]).astype(np.float32)
    expected = People.build(places, scores, skeleton=source).to(target)
    keypoints, mapped = map_people(places, scores, source.joints, target)
    np.testing.assert_array_equal(keypoints, expected.keypoints)
    np.testing.assert_array_equal(mapped, expected.scores)
    assert keypoints.dtype == mapped.dtype == np.float32


def test_a_joint_is_made_of_its_own_or_of_all_its_parts() -> None:
    neck = OPENPOSE.index("neck")
    shoulders = {COCO.index("left_shoulder"), COCO.index("right_shoulder")}
    assert set(joint_sources(COCO.joints, OPENPOSE)[neck]) == shoulders
    assert joint_sources(("neck", "nose"), OPENPOSE)[neck] == (0,)
    assert joint_sources(("left_shoulder",), OPENPOSE)[neck] == ()


def test_nobody_has_no_joints_whatever_the_names() -> None:
    keypoints, scores = map_people(np.zeros((0, 0, 2)), np.zeros((0, 0)), (), OPENPOSE)
    assert keypoints.shape == (0, 18, 2)
    assert scores.shape == (0, 18)


def test_names_that_no_skeleton_can_have_are_refused() -> None:
    with pytest.raises(SkeletonError, match="nose"):
        map_people(np.zeros((1, 2, 2)), np.ones((1, 2)), ("nose", "nose"), OPENPOSE)
