"""supervision's KeyPoints: absent joints in its way, and back in ours."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from random_people import SIZE, people_of

from manypose.errors import FormatError, MissingExtraError
from manypose.formats import supervision as adapter
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

sv = pytest.importorskip("supervision", minversion="0.29", reason="needs the extra [supervision]")

ARM = Skeleton("arm", ("shoulder", "elbow", "wrist"), limbs=((0, 1), (1, 2)), colours=((0, 0, 0), (9, 9, 9)))


def someone() -> People:
    """One person whose elbow was not found and whose wrist is in the corner of the picture."""
    return People.build([[(30, 40), (np.nan, np.nan), (0, 0)]], [[0.9, 0, 0.5]], skeleton=ARM, ids=[4])


@given(people=people_of("coco17", "body25", boxes=True))
@settings(deadline=None, max_examples=25)
def test_people_come_back_as_they_were(people: People) -> None:
    back = adapter.from_keypoints(people.to_supervision(), skeleton=people.skeleton, image_size=SIZE)
    lost = (people.keypoints == 0).all(axis=2) & (people.scores == 0)  # there it is supervision's word for absent
    assert back == replace(people, keypoints=np.where(lost[..., None], np.float32(np.nan), people.keypoints))


def test_an_absent_joint_is_at_the_origin_without_confidence_and_not_visible() -> None:
    key_points = someone().to_supervision()
    assert key_points.xy.tolist() == [[[30, 40], [0, 0], [0, 0]]]
    assert key_points.visible.tolist() == [[True, False, True]]
    np.testing.assert_allclose(key_points.keypoint_confidence, [[0.9, 0, 0.5]])
    np.testing.assert_allclose(key_points.detection_confidence, [0.7])
    assert key_points.class_id.tolist() == [0]
    assert key_points.data["tracker_id"].tolist() == [4]


def test_its_painters_pass_over_absent_joints() -> None:
    people = replace(someone(), keypoints=np.array([[(30, 40), (np.nan, np.nan), (60, 20)]], np.float32))
    scene = np.zeros((80, 80, 3), np.uint8)
    drawn = sv.VertexAnnotator(radius=3).annotate(scene.copy(), people.to_supervision())
    assert drawn[40, 30].any()
    assert drawn[20, 60].any()
    assert not drawn[:10, :10].any()
    edges = sv.EdgeAnnotator(edges=adapter.edges(ARM)).annotate(scene.copy(), people.to_supervision())
    assert not edges.any()  # both limbs end at the elbow
    assert people.to_supervision().as_detections().xyxy.tolist() == [[30, 20, 60, 40]]


def test_edges_count_from_one() -> None:
    assert adapter.edges(ARM) == [(1, 2), (2, 3)]


def test_nobody_is_nobody() -> None:
    nobody = People.empty(load_skeleton("coco17"), SIZE)
    assert nobody.to_supervision().is_empty()
    assert adapter.from_keypoints(sv.KeyPoints.empty(), skeleton="coco17", image_size=SIZE) == nobody


def test_what_other_products_give_is_read_by_its_own_rules() -> None:
    xy = np.array([[(30, 40), (0, 0), (np.nan, 3)]], np.float32)
    people = adapter.from_keypoints(sv.KeyPoints(xy=xy), skeleton=ARM)  # nothing but places
    assert people.visible.tolist() == [[True, False, False]]
    assert people.scores.tolist() == [[1, 0, 0]]
    hidden = sv.KeyPoints(xy=np.ones((1, 3, 3), np.float32), visible=np.array([[True, False, True]]))
    assert adapter.from_keypoints(hidden, skeleton=ARM).visible.tolist() == [[True, False, True]]


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(FormatError, match="the KeyPoints have 3 joints, expected 17 for 'coco17'"):
        adapter.from_keypoints(someone().to_supervision(), skeleton="coco17")


def test_without_supervision_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"needs supervision, .* pip install 'manypose\[supervision\]'"):
        someone().to_supervision()
