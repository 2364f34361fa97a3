"""COCO results: rows that pycocotools scores, boxes along pixel edges, and people who come back from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_people import assert_close, people_of

from manypose.errors import FormatError, OutputError
from manypose.formats import coco
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

COCO = load_skeleton("coco17")


def without_size(people: People) -> People:
    """Results files do not know the size of the picture, nor parts, nor ids."""
    return People.build(
        people.keypoints,
        people.scores,
        skeleton=people.skeleton,
        person_scores=people.person_scores,
        boxes=people.boxes,
    )


def someone(**changes: Any) -> People:
    """A person of whom only the nose was found."""
    keypoints = np.full((1, 17, 2), np.nan)
    keypoints[0, 0] = 10.004, 20
    return People.build(keypoints, np.full((1, 17), 0.75), skeleton=COCO, **changes)


# Round trips


@given(people=people_of("coco17", boxes=True))
@settings(deadline=None, max_examples=30)
def test_people_come_back_within_the_stated_rounding(people: People) -> None:
    found = coco.from_results(people.to_coco(42))
    assert list(found) == ([42] if len(people) else [])
    if len(people):
        expected = without_size(people)
        assert_close(found[42], expected, pixels=0.0051, score=0.000101)
        np.testing.assert_allclose(found[42].boxes, expected.boxes, atol=0.011, rtol=1e-6)
        np.testing.assert_allclose(found[42].person_scores, expected.person_scores, atol=1e-6)


@given(people=people_of("wholebody133", at_least=1))
@settings(deadline=None, max_examples=20)
def test_a_whole_body_comes_back_from_its_five_lists(people: People) -> None:
    found = coco.from_results(people.to_coco(1), skeleton="wholebody133")[1]
    assert_close(found, without_size(people), pixels=0.0051, score=0.000101)


@pytest.mark.parametrize("name", ["crowdpose14", "hand21", "face68", "lsp14"])
def test_a_skeleton_with_a_category_of_its_own_comes_back_when_it_is_named(name: str) -> None:
    skeleton = load_skeleton(name)
    people = People.build(np.arange(4.0 * len(skeleton)).reshape(2, -1, 2), skeleton=skeleton)
    assert coco.from_results(people.to_coco(5), skeleton=name) == {5: people}


# The rows


def test_a_row_is_this() -> None:
    (row,) = someone(person_scores=[1 / 3], boxes=[[-0.5, 9.5, 19.5, 29.5]]).to_coco(7)
    assert row == {
        "image_id": 7,
        "category_id": 1,
        "keypoints": [10.0, 20.0, 0.75] + [0.0] * 48,
        "score": 0.333333,
        "bbox": [0.0, 10.0, 20.0, 20.0],  # edges: pixel 0 begins at -0.5
    }
    assert list(row) == ["image_id", "category_id", "keypoints", "score", "bbox"]


def test_a_box_is_as_wide_as_the_file_says_and_centred_half_a_pixel_before_its_edges() -> None:
    row = someone().to_coco(1)[0] | {"bbox": [10, 20, 5, 8]}
    (x1, y1, x2, y2) = coco.from_results([row])[1].boxes[0]
    assert (x2 - x1, y2 - y1) == (5, 8)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == (10 + 5 / 2 - 0.5, 20 + 8 / 2 - 0.5)


def test_nobody_has_no_rows_and_a_person_without_joints_no_box() -> None:
    assert People.empty(COCO).to_coco(3) == []
    (row,) = People.build(np.full((1, 17, 2), np.nan), skeleton=COCO).to_coco(3)
    assert "bbox" not in row
    assert row["keypoints"] == [0.0] * 51
    assert not coco.from_results([row])[3].visible.any()


def test_a_joint_that_was_found_never_looks_absent() -> None:
    people = People.build(np.zeros((1, 17, 2)), np.full((1, 17), 1e-9), skeleton=COCO)
    assert coco.from_results(people.to_coco(1))[1].visible.all()


@pytest.mark.parametrize("name", ["openpose18", "body25"])
def test_bodies_that_have_cocos_joints_are_written_as_coco(name: str) -> None:
    people = People.build(np.random.default_rng(0).uniform(0, 99, (2, 17, 2)), skeleton=COCO)
    keypoints = [row["keypoints"] for row in people.to(name).to_coco(1)]
    assert keypoints == [row["keypoints"] for row in people.to_coco(1)]


def test_others_are_written_in_their_own_order_unless_another_is_asked_for() -> None:
    dog = Skeleton("dog", ("tail", "nose"))
    people = People.build([[(1, 2), (3, 4)]], skeleton=dog)
    assert coco.to_results(people, 1, category_id=17)[0]["keypoints"] == [1, 2, 1, 3, 4, 1]
    assert coco.to_results(people, 1, category_id=17)[0]["category_id"] == 17
    assert coco.to_results(people, 1, skeleton="coco17")[0]["keypoints"] == [3, 4, 1] + [0] * 48


def test_a_whole_body_has_the_keys_of_its_data_set_each_with_its_score() -> None:
    keypoints = np.full((1, 133, 2), np.nan)
    keypoints[0, [0, 17, 23, 24, 132]] = 5
    scores = np.zeros((1, 133))
    scores[0, [0, 17, 23, 24, 132]] = 0.9, 0.8, 0.2, 0.4, 0.5
    whole = People.build(keypoints, scores, skeleton=load_skeleton("wholebody133"), person_scores=[0.7])
    (row,) = whole.to_coco(1)
    lengths = {key: len(row[key]) for key in row if key.endswith(("_kpts", "keypoints"))}
    assert lengths == {"keypoints": 51, "foot_kpts": 18, "face_kpts": 204, "lefthand_kpts": 63, "righthand_kpts": 63}
    scores_by_key = {key: row[key] for key in row if key.endswith("score")}
    assert scores_by_key == {
        "score": 0.7,
        "wholebody_score": 0.7,
        "foot_score": 0.8,
        "face_score": 0.3,
        "lefthand_score": 0,
        "righthand_score": 0.5,
    }


# Reading what others write


def test_rows_are_gathered_by_picture_in_the_order_of_the_file() -> None:
    rows = [row | {"score": i / 4} for i, row in enumerate(someone().to_coco(9) + someone().to_coco(2) * 2)]
    rows.append(rows[0])
    found = coco.from_results(rows)
    assert list(found) == [9, 2]
    assert [people.person_scores.tolist() for people in found.values()] == [[0, 0], [0.25, 0.5]]


@pytest.mark.parametrize("absent", [[0, 0, 0], [-1, -1, 0], [3, 4, 0], [3, 4, -1]])
def test_a_joint_without_score_is_absent_wherever_it_stands(absent: list[float]) -> None:
    row = {"image_id": 1, "keypoints": [5, 5, 2] * 16 + absent, "score": 0.5, "center": [1, 1], "scale": [2, 2]}
    people = coco.from_results([row])[1]
    assert people.visible[0].tolist() == [True] * 16 + [False]
    assert people.scores[0, 0] == 1  # visibility 2, as some write, is not a score
    assert people.boxes.tolist() == [[5, 5, 5, 5]]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({}, "the document: Input should be a valid array"),
        ([[]], r"\[0\]: Input should be an object"),
        ([{"keypoints": [0] * 51, "score": 1}], r"\[0\]\.image_id: Field required"),
        ([{"image_id": "1", "keypoints": [0] * 51, "score": 1}], r"\[0\]\.image_id: .* valid integer"),
        ([{"image_id": 1, "keypoints": [0] * 51}], r"\[0\]\.score: Field required"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], r"\[0\]\.keypoints: Field required"),
        ([{"image_id": 1, "keypoints": ["0"] * 51, "score": 1}], r"\[0\]\.keypoints\[0\]: .* valid number"),
        ([{"image_id": 1, "keypoints": [1e99] * 51, "score": 1}], r"\[0\]\.keypoints\[0\]: .* less than or equal"),
        ([{"image_id": 1, "keypoints": [0] * 5000, "score": 1}], r"\[0\]\.keypoints: .* at most 3000 items"),
        ([{"image_id": 1, "keypoints": [0] * 51, "score": 1, "bbox": [1, 2]}], r"\[0\]\.bbox: .* at least 4 items"),
        (
            [{"image_id": 1, "keypoints": [0] * 42, "score": 1}],
            r"\[0\]\.keypoints: holds 42 numbers, expected 51: .* 17 joints of 'coco17'; pass skeleton=",
        ),
    ],
)
def test_rows_that_are_not_results_are_refused_by_place(tmp_path: Path, rows: Any, reason: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(FormatError, match=rf"results\.json: .*{reason}"):
        coco.read(path)


def test_a_list_of_a_whole_body_with_another_length_is_refused_by_name() -> None:
    row = {"image_id": 1, "keypoints": [0] * 51, "foot_kpts": [0] * 3, "score": 1}
    with pytest.raises(FormatError, match=r"\[0\]\.foot_kpts: holds 3 numbers, expected 18"):
        coco.from_results([row], skeleton="wholebody133")


def test_a_whole_body_whose_file_lacks_a_part_lacks_its_joints() -> None:
    row = {"image_id": 1, "keypoints": [5, 5, 1] * 17, "score": 1}
    assert coco.from_results([row], skeleton="wholebody133")[1].visible.sum() == 17


# Files


def test_files_of_several_pictures(tmp_path: Path) -> None:
    rows = someone().to_coco(9) + People.empty(COCO).to_coco(5) + someone().to_coco(2)
    coco.write(tmp_path / "results.json", rows)
    assert json.loads((tmp_path / "results.json").read_text()) == rows
    assert coco.read(tmp_path / "results.json") == coco.from_results(rows)
    with pytest.raises(OutputError, match=r"results\.json: the file exists"):
        coco.write(tmp_path / "results.json", [])
    coco.write(tmp_path / "results.json", [], overwrite=True)
    assert coco.read(tmp_path / "results.json") == {}


def test_pycocotools_scores_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = pytest.importorskip("pycocotools.coco", reason="needs the extra [eval]")
    evaluation = pytest.importorskip("pycocotools.cocoeval", reason="needs the extra [eval]")
    people = People.build(np.random.default_rng(1).uniform(0, 200, (1, 17, 2)), skeleton=COCO)
    labels = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 30_000.0}
    labels |= {"keypoints": [*people.to_coco(1)[0]["keypoints"]], "bbox": [0, 0, 200, 200]}
    truth = {"images": [{"id": 1}], "annotations": [labels], "categories": [{"id": 1, "name": "person"}], "info": {}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    coco.write(tmp_path / "results.json", people.to_coco(1))
    ground = api.COCO(str(tmp_path / "truth.json"))
    run = evaluation.COCOeval(ground, ground.loadRes(str(tmp_path / "results.json")), "keypoints")
    run.evaluate()
    run.accumulate()
    run.summarize()
    capsys.readouterr()
    assert run.stats[0] == pytest.approx(1)
