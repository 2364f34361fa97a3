"""OpenPose's JSON: its keys in its order, and its files of every age."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_people import SIZE, assert_close, people_of

from manypose.errors import FormatError, OutputError
from manypose.formats import openpose
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

KEYS = [
    "person_id",
    "pose_keypoints_2d",
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
    "pose_keypoints_3d",
    "face_keypoints_3d",
    "hand_left_keypoints_3d",
    "hand_right_keypoints_3d",
]


def body(name: str = "openpose18", n: int = 1, **changes: Any) -> People:
    skeleton = load_skeleton(name)
    places = np.arange(2.0 * n * len(skeleton)).reshape(n, -1, 2)
    return People.build(places, np.full(places.shape[:2], 0.5), skeleton=skeleton, **changes)


# Round trips


@given(people=people_of("body25", "openpose18", "mpi15", parts=True, at_least=1))
@settings(deadline=None, max_examples=30)
def test_people_come_back_within_the_stated_rounding(people: People) -> None:
    back = openpose.loads(openpose.dumps(people), image_size=SIZE)
    assert_close(back, people, pixels=0.00051, score=0.000101)


@given(people=people_of("body25", "coco17", parts=True))
@settings(deadline=None, max_examples=30)
def test_the_text_is_always_the_same(people: People) -> None:
    text = openpose.dumps(people)
    assert text == openpose.dumps(people)
    assert json.loads(text) == people.to_openpose()


@given(people=people_of("wholebody133", ids=False, at_least=1))
@settings(deadline=None, max_examples=20)
def test_a_whole_body_becomes_body_face_and_hands(people: People) -> None:
    found = openpose.from_dict(people.to_openpose(), image_size=SIZE)
    assert_close(
        People.build(found.keypoints, found.scores, skeleton=found.skeleton, image_size=SIZE),
        people.to("body25"),
        pixels=0.00051,
        score=0.000101,
    )
    np.testing.assert_allclose(found.parts["face"].keypoints[:, :68], people.keypoints[:, 23:91], atol=0.00051)
    np.testing.assert_allclose(found.parts["left_hand"].keypoints, people.keypoints[:, 91:112], atol=0.00051)
    np.testing.assert_allclose(found.parts["right_hand"].keypoints, people.keypoints[:, 112:], atol=0.00051)
    assert not found.parts["face"].visible[:, 68:].any()  # COCO-WholeBody has no pupils


# What is written


def test_keys_stand_in_the_order_of_openpose() -> None:
    data = body(n=2).to_openpose()
    assert list(data) == ["version", "people"]
    assert data["version"] == 1.3
    assert [list(person) for person in data["people"]] == [KEYS, KEYS]


@pytest.mark.parametrize(
    ("name", "numbers", "written_as"),
    [
        ("body25", 75, "body25"),
        ("openpose18", 54, "openpose18"),
        ("mpi15", 45, "mpi15"),
        ("coco17", 54, "openpose18"),
        ("wholebody133", 75, "body25"),
        ("mpii16", 45, "mpi15"),
        ("lsp14", 45, "mpi15"),
        ("crowdpose14", 45, "mpi15"),
    ],
)
def test_every_body_is_written_as_one_of_openposes(name: str, numbers: int, written_as: str) -> None:
    (person,) = body(name).to_openpose()["people"]
    assert len(person["pose_keypoints_2d"]) == numbers
    expected = body(name).to(written_as).keypoints
    np.testing.assert_allclose(openpose.from_dict({"people": [person]}).keypoints, expected, atol=0.0005)


def test_another_body_can_be_asked_for() -> None:
    (person,) = openpose.to_dict(body("coco17"), skeleton="body25")["people"]
    assert len(person["pose_keypoints_2d"]) == 75


@pytest.mark.parametrize("skeleton", [load_skeleton("hand21"), Skeleton("dog", ("nose",))])
def test_what_is_no_body_of_openpose_is_refused(skeleton: Skeleton) -> None:
    reason = f"OpenPose has no body for the skeleton '{skeleton.name}'; pass skeleton= with one of body25, mpi15"
    with pytest.raises(FormatError, match=reason):
        People.empty(skeleton).to_openpose()


def test_a_joint_that_was_not_found_is_three_zeros_and_one_that_was_never_looks_so() -> None:
    keypoints = np.full((1, 18, 2), np.nan)
    keypoints[0, 17] = -0.0001, 0
    (person,) = People.build(keypoints, np.full((1, 18), 1e-9), skeleton=load_skeleton("openpose18")).to_openpose()[
        "people"
    ]
    assert person["pose_keypoints_2d"] == [0.0] * 51 + [0.0, 0.0, 0.0001]
    assert "-0.0" not in json.dumps(person)


def test_ids_are_the_persons_own_and_minus_one_without() -> None:
    assert [person["person_id"] for person in body(n=2).to_openpose()["people"]] == [[-1], [-1]]
    assert [person["person_id"] for person in body(n=2, ids=[12, 0]).to_openpose()["people"]] == [[12], [0]]


def test_a_part_fills_its_list_and_the_others_stay_empty() -> None:
    hand = People.build(np.ones((2, 21, 2)), skeleton=load_skeleton("hand21"))
    face = People.build(np.ones((2, 68, 2)), skeleton=load_skeleton("face68"))
    people = body(n=2, parts={"right_hand": hand, "face": face}).to_openpose()["people"]
    assert [[len(person[key]) for key in KEYS] for person in people] == [[1, 54, 210, 0, 63, 0, 0, 0, 0]] * 2
    assert people[0]["face_keypoints_2d"][-6:] == [0.0] * 6  # face68 has no pupils


def test_scaled_people_can_have_more_decimals() -> None:
    scaled = body().transform(np.array([[1 / 640, 0, 0], [0, 1 / 480, 0]]))
    (person,) = openpose.to_dict(scaled, decimals=6)["people"]
    assert person["pose_keypoints_2d"][3:5] == [0.003125, 0.00625]


def test_nobody_is_an_empty_list() -> None:
    people = People.empty(load_skeleton("openpose18"))
    assert openpose.dumps(people) == '{"version":1.3,"people":[]}\n'
    assert openpose.loads('{"version":1.3,"people":[]}') == People.empty(load_skeleton("body25"))
    assert openpose.loads('{"people":[]}', skeleton="openpose18") == people


# Files of every age


def test_files_from_before_2018_lack_the_2d() -> None:
    old = {
        "version": 0.1,
        "people": [
            {
                "pose_keypoints": [1, 2, 0.5] * 18,
                "face_keypoints": [3, 4, 0.5] * 70,
                "hand_left_keypoints": [5, 6, 0.5] * 21,
                "hand_right_keypoints": [],
            }
        ],
    }
    people = openpose.from_dict(old)
    assert people.skeleton.name == "openpose18"
    assert people.keypoints[0, 0].tolist() == [1, 2]
    assert sorted(people.parts) == ["face", "left_hand"]
    assert people.parts["left_hand"].keypoints[0, 0].tolist() == [5, 6]


def test_a_file_with_part_candidates_and_3d_is_read_without_them() -> None:
    data = body(n=2).to_openpose() | {"part_candidates": [{"0": [296.9, 258.9, 0.84, 1, 2, 0.3], "1": []}]}
    data["people"][0]["pose_keypoints_3d"] = [0.0] * 72
    assert openpose.from_dict(data) == body(n=2)


def test_a_person_without_the_list_of_others_is_absent_there() -> None:
    data = body(n=2).to_openpose()
    data["people"][0]["pose_keypoints_2d"] = []
    data["people"][1]["hand_left_keypoints_2d"] = [1, 2, 0.5] * 21
    people = openpose.from_dict(data)
    assert people.visible.all(axis=1).tolist() == [False, True]
    assert people.parts["left_hand"].visible.all(axis=1).tolist() == [False, True]


def test_ids_are_there_when_anybody_has_one() -> None:
    data = body(n=2, ids=[4, 5]).to_openpose()
    del data["people"][0]["person_id"]
    ids = openpose.from_dict(data).ids
    assert ids is not None
    assert ids.tolist() == [-1, 5]


def test_a_skeleton_of_ones_own_is_named() -> None:
    dog = Skeleton("dog", ("tail", "nose"))
    data = {"people": [{"pose_keypoints_2d": [1, 2, 0.5, 0, 0, 0]}]}
    assert openpose.from_dict(data, skeleton=dog).visible.tolist() == [[True, False]]


def person(**changes: Any) -> dict[str, Any]:
    return {"people": [{"pose_keypoints_2d": [1, 2, 0.5] * 25} | changes]}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "the document: Input should be an object"),
        ({"version": 1.3}, "people: Field required"),
        (person(pose_keypoints_2d=[1, 2, 3]), r"people\[0\]\.pose_keypoints: holds 3 numbers, expected 75 \(body25\)"),
        (
            person(pose_keypoints_2d=[1] * 51),
            r"expected 75 \(body25\), 54 \(openpose18\), 45 \(mpi15\); pass skeleton=",
        ),
        (person(face_keypoints_2d=[1] * 63), r"people\[0\]\.face_keypoints: holds 63 numbers, expected 210 \(face70\)"),
        (person(hand_left_keypoints_2d=[1] * 210), r"hand_left_keypoints: holds 210 numbers, expected 63 \(hand21\)"),
        (person(pose_keypoints_2d="none"), r"people\[0\]\.pose_keypoints_2d: .* valid array"),
        (person(pose_keypoints_2d=["1"] * 75), r"people\[0\]\.pose_keypoints_2d\[0\]: .* valid number"),
        (person(pose_keypoints_2d=[1] * 3001), r"people\[0\]\.pose_keypoints_2d: .* at most 3000 items"),
        (person(person_id=["a"]), r"people\[0\]\.person_id\[0\]: .* valid integer"),
        (person(person_id=[1, 2]), r"people\[0\]\.person_id: .* at most 1 item"),
        (
            {"people": [*person()["people"], {"pose_keypoints_2d": [1, 2, 0.5] * 18}]},
            r"people\[1\]\.pose_keypoints: holds 54 numbers, expected 75 for 'body25'",
        ),
    ],
)
def test_files_that_are_not_openposes_are_refused_by_place(tmp_path: Path, data: Any, reason: str) -> None:
    path = tmp_path / "frame_keypoints.json"
    path.write_text(json.dumps(data))
    with pytest.raises(FormatError, match=rf"frame_keypoints\.json: .*{reason}"):
        openpose.read(path)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "frame_keypoints.json"
    openpose.write(path, body(ids=[3], image_size=(64, 48)))
    assert openpose.read(path, image_size=(64, 48)) == body(ids=[3], image_size=(64, 48))
    with pytest.raises(OutputError, match="the file exists"):
        openpose.write(path, body())
    with pytest.raises(FormatError, match="is larger than 10 bytes"):
        openpose.read(path, max_bytes=10)
