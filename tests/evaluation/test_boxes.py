"""Boxes for top-down models: those of the truth, cleaned as the products do, and those of a detector's file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose import geometry
from manypose.errors import DataError, FormatError
from manypose.evaluation.boxes import read_detections, truth_boxes
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

JOINTS = list(load_skeleton("coco17").joints)
LABELLED = [10, 10, 2] * 17


def person(number: int, image_id: int, box: list[float] | None, **others: Any) -> dict[str, Any]:
    row = {"id": number, "image_id": image_id, "category_id": 1, "keypoints": LABELLED, "num_keypoints": 17}
    row |= {"iscrowd": 0, "area": 100} | ({} if box is None else {"bbox": box})
    return row | others


def truth_of(*annotations: dict[str, Any], image_ids: list[int] | None = None) -> Truth:
    images = [{"id": n, "width": 100, "height": 80, "file_name": f"{n}.jpg"} for n in (1, 2, 3)]
    categories = [{"id": 1, "name": "person", "keypoints": JOINTS}]
    content = {"images": images, "annotations": list(annotations), "categories": categories}
    return read_truth(content, image_ids=image_ids)


def test_labelled_people_count_and_no_others() -> None:
    truth = truth_of(
        person(1, 1, [10, 20, 30, 40]),
        person(2, 1, [0, 0, 50, 50], num_keypoints=0, keypoints=[0] * 51),
        person(3, 1, [0, 0, 50, 50], iscrowd=1),
        person(4, 2, [95, 70, 30, 30]),
        person(5, 2, [5, 6, 1, 1]),  # one pixel has no area when it is cleaned
    )
    boxes = truth_boxes(truth)
    assert list(boxes) == [1, 2, 3]
    assert boxes[1][0].tolist() == [[9.5, 19.5, 38.5, 58.5]]  # a pixel narrower and lower
    assert boxes[2][0].tolist() == [[94.5, 69.5, 98.5, 78.5]]  # up to the last pixel's edge before it
    assert (boxes[3][0].shape, boxes[3][1].shape) == ((0, 4), (0,))
    assert boxes[1][1].tolist() == [1.0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("hrnet", [-0.5, 9.5, 18.5, 78.5]),
        ("mmpose", [-0.5, 9.5, 14.5, 78.5]),
        ("as labelled", [-5.5, 9.5, 14.5, 99.5]),
    ],
)
def test_how_a_box_is_cleaned(rule: Any, expected: list[float]) -> None:
    """HRNet moves a box whose left edge lies outside; mmpose cuts it off."""
    boxes, _ = truth_boxes(truth_of(person(1, 1, [-5, 10, 20, 90])), rule=rule)[1]
    assert boxes.tolist() == [expected]


def test_of_a_picture_of_unknown_size_nothing_is_cut() -> None:
    truth = truth_of(person(1, 1, [90, 10, 20, 90]))
    bare = dataclasses.replace(truth, images=())
    assert truth_boxes(bare)[1][0].tolist() == [[89.5, 9.5, 108.5, 98.5]]


def test_a_person_without_a_box_and_a_rule_that_is_none() -> None:
    with pytest.raises(DataError, match="annotation 7 has no bbox, which a top-down model needs"):
        truth_boxes(truth_of(person(7, 1, None)))
    with pytest.raises(DataError, match="rule is 'guess', expected one of hrnet, mmpose, as labelled"):
        truth_boxes(truth_of(), rule="guess")  # type: ignore[arg-type]


@pytest.mark.golden
def test_the_squares_of_mpii_are_those_of_the_reference(goldens: Path) -> None:
    """Its centre is an index from 1, which the program moves down and takes for a place between pixels."""
    stored = np.load(goldens / "topdown" / "pieces" / "affine.npz")
    rows = np.flatnonzero(stored["mpii/center_in"][:, 0] != -1)
    for row in rows:
        centre, side = stored["mpii/center_in"][row] - 1, 200 * stored["mpii/scale_in"][row]
        box = [*(centre + 0.5 - side / 2).tolist(), float(side), float(side)]  # as the reader of MPII gives it
        truth = dataclasses.replace(truth_of(person(1, 1, box)), kind="mpii-json")
        ((found,), _) = truth_boxes(truth)[1]
        affine = geometry.box_affine(found, (256, 256))
        middle = geometry.transform_points(stored["mpii/center"][row], affine)
        np.testing.assert_allclose(middle, [128, 128], atol=0.01)
        assert 256 / affine[0, 0] == pytest.approx(200 * float(stored["mpii/scale"][row][0]), rel=1e-5)
    assert len(rows) == 2


# A detector's file


def entry(image_id: Any = 1, box: Any = (10, 20, 30, 40), score: Any = 0.5, category: Any = 1) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category, "bbox": box, "score": score}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes entries to a file and gives its path."""

    def write(*entries: Any) -> Path:
        file = tmp_path / "detections.json"
        file.write_text(json.dumps(list(entries)))
        return file

    return write


def test_people_of_the_pictures_that_count(written: Any) -> None:
    file = written(
        entry(score=0.2),
        entry(category=18),
        entry(image_id=2),
        entry(box=[-3.5, 0, 200, 10], score=0.9),  # as it is, also outside of the picture
        entry(box=[1, 2, 0, 5]),
    )
    truth = truth_of(image_ids=[1, 3])
    boxes = read_detections(file, truth)
    assert list(boxes) == [1, 3]
    assert boxes[1][0].tolist() == [[9.5, 19.5, 39.5, 59.5], [-4.0, -0.5, 196.0, 9.5]]
    np.testing.assert_allclose(boxes[1][1], [0.2, 0.9])
    assert boxes[3][0].shape == (0, 4)
    assert len(read_detections(file, truth, threshold=0.2)[1][0]) == 2
    assert len(read_detections(file, truth, threshold=0.3)[1][0]) == 1
    assert len(read_detections(file, truth, category_id=18)[1][0]) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (entry(image_id=9), r"the truth has no picture with image_id 9; is it the file of another set\?"),
        (entry(image_id=1.0), r"image_id is 1\.0, expected a whole number or a text"),
        (entry(image_id=[1]), r"image_id is \[1\], expected a whole number or a text"),
        (entry(box=[1, 2, float("nan"), 3]), r"bbox is \[1, 2, nan, 3\], expected four finite numbers"),
        (entry(box=[1, 2, -3, 3]), r"bbox is \[1, 2, -3, 3\], and no width or height is negative"),
        (entry(box=[1, 2, 3]), r"bbox is \[1, 2, 3\], expected four finite numbers"),
        (entry(box="1234"), r"bbox is 1234, expected four finite numbers"),
        (entry(score=float("inf")), "score is inf, expected a finite number"),
        (entry(score="0.5"), r"score is 0\.5, expected a finite number"),
        (entry(score=True), "score is True, expected a finite number"),
        (entry(category="person"), "category_id is person, expected a whole number"),
        ({"image_id": 1, "bbox": [1, 2, 3, 4]}, "has no category_id, score"),
        ([1, 2, 3], r"is a list, expected an object with image_id, category_id, bbox, score"),
    ],
)
def test_an_entry_that_is_wrong_is_named(written: Any, wrong: Any, message: str) -> None:
    with pytest.raises(FormatError, match=rf"detections\.json: entry 1: {message}"):
        read_detections(written(entry(), wrong), truth_of())


@pytest.mark.parametrize(("text", "message"), [("{", "not a JSON file"), ("{}", "holds a dict, expected a list")])
def test_files_that_hold_no_list(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError, match=rf"a\.json: {message}"):
        read_detections(tmp_path / "a.json", truth_of())
    with pytest.raises(FormatError, match=r"gone\.json: cannot be read"):
        read_detections(tmp_path / "gone.json", truth_of())
