"""Reading truth: what counts of a COCO-style file, and each fault by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError
from manypose.evaluation.truth import read_truth


def small_truth() -> dict[str, Any]:
    """Two pictures; a person in each, and a dog, whose category has no keypoints, in the first."""
    return {
        "images": [{"id": 7}, {"id": 3}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["head", "tail"]}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 0]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]},
            {"id": 3, "image_id": 3, "category_id": 1, "keypoints": [5, 6, 1, 7, 8, 2]},
        ],
    }


def test_only_categories_with_keypoints_count() -> None:
    truth = read_truth(small_truth())
    assert truth.joints == ("head", "tail")
    assert truth.category_ids == (1,)
    assert [row["id"] for row in truth.annotations] == [1, 3]


def test_a_file_and_its_parsed_content_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(small_truth()))
    from_file, from_text, parsed = read_truth(path), read_truth(str(path)), read_truth(small_truth())
    assert from_file == from_text
    assert from_file.name == str(path)
    assert (from_file.image_ids, from_file.annotations) == (parsed.image_ids, parsed.annotations)


def test_some_pictures_can_be_chosen() -> None:
    truth = read_truth(small_truth(), image_ids=[3])
    assert truth.image_ids == (3,)
    assert truth.other_ids == {7}
    assert [row["id"] for row in truth.annotations] == [3]


def test_keypoints_are_rows_of_x_y_and_flag_and_zeros_where_a_person_has_none() -> None:
    truth = read_truth(small_truth())
    assert truth.keypoints(truth.annotations[0]).tolist() == [[1, 2, 2], [3, 4, 0]]
    assert np.array_equal(truth.keypoints({"id": 9}), np.zeros((2, 3)))


def test_keypoints_of_another_length_are_refused() -> None:
    truth = read_truth(small_truth())
    with pytest.raises(DataError, match=r"annotation 4 has 3 numbers in keypoints, expected 6: .* of 2 joints"):
        truth.keypoints({"id": 4, "keypoints": [1, 2, 3]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "the truth: no list 'annotations'"),
        ({"images": []}, "holds no pictures"),
        ({"categories": [{"id": 2, "name": "dog"}]}, "no category has keypoints"),
        (
            {"categories": [{"id": 1, "keypoints": ["head", "tail"]}, {"id": 2, "keypoints": ["tail"]}]},
            "categories have different keypoints",
        ),
        ({"annotations": [{"id": 5, "category_id": 1}]}, "annotation 5 has no image_id"),
        ({"annotations": [{"image_id": 7}]}, "annotation without id has no category_id"),
        ({"images": [{"file_name": "a.png"}]}, "image without id has no id"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_truth(small_truth() | change)


@pytest.mark.parametrize(("image_ids", "message"), [([3, 8], "has no picture 8"), ([], "image_ids is empty")])
def test_pictures_that_are_not_there_are_refused(image_ids: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_truth(small_truth(), image_ids=image_ids)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "truth.json: not a JSON file"), ("[]", "truth.json: holds a list, expected a COCO")]
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_truth(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: cannot be read: No such file"):
        read_truth(tmp_path / "nowhere.json")
