"""Result files: what is read, and each fault with its file and row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import FormatError
from manypose.evaluation.results_file import check_results, read_results, tabulate
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton


def truth(image_ids: list[Any] | None = None) -> Truth:
    content = {
        "images": [{"id": 7}, {"id": 3}, {"id": 5}],
        "categories": [{"id": 1, "keypoints": ["head", "tail"]}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    return read_truth(content, image_ids=image_ids)


def row(**change: Any) -> dict[str, Any]:
    return {"image_id": 3, "category_id": 1, "keypoints": [1, 2, 0.5, 3, 4.5, 0.25], "score": 0.75, **change}


def written(folder: Path, content: Any) -> Path:
    file = folder / "results.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_rows_are_given_as_they_stand(tmp_path: Path) -> None:
    rows = [row(), row(image_id=7, extra="kept")]
    assert read_results(written(tmp_path, rows), truth()) == rows
    assert read_results(written(tmp_path, []), truth()) == []


def test_a_table_holds_the_rows_of_pictures_that_count() -> None:
    table = tabulate([row(image_id=7), row(score=1), row(image_id=5)], truth([3, 5]))
    assert table.rows.tolist() == [1, 2]
    assert table.pictures.tolist() == [0, 1]
    assert table.scores.tolist() == [1, 0.75]
    assert table.joints.tolist() == [[[1, 2, 0.5], [3, 4.5, 0.25]]] * 2
    assert table.boxes is None
    assert table.areas.tolist() == [2 * 2.5] * 2


def test_boxes_count_when_all_rows_have_one() -> None:
    boxed = row(bbox=[0, 0, 4, 5])
    assert tabulate([boxed, boxed], truth()).areas.tolist() == [20, 20]
    assert tabulate([boxed, row()], truth()).boxes is None


def test_the_official_layout_of_whole_bodies_is_read() -> None:
    names = list(load_skeleton("wholebody133").joints)
    whole = read_truth({"images": [{"id": 3}], "annotations": [], "categories": [{"id": 1, "keypoints": names}]})
    values = np.arange(399.0).tolist()
    keys = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
    cuts = [0, 51, 69, 273, 336, 399]
    parts = {key: values[a:b] for key, a, b in zip(keys, cuts[:-1], cuts[1:], strict=True)}
    table = tabulate([row(**parts), row(keypoints=values)], whole)
    assert np.array_equal(table.joints[0], table.joints[1])
    with pytest.raises(FormatError, match=r"row 0: keypoints must be 399 finite numbers.*; it has 398"):
        tabulate([row(**{**parts, "foot_kpts": [1.0] * 17})], whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "has no picture with image_id 9"),
        ({"image_id": "3"}, "has no picture with image_id '3'"),
        ({"image_id": [3]}, r"has no picture with image_id \[3\]"),
        ({"category_id": 2}, "has no category with keypoints of category_id 2"),
        ({"keypoints": [1, 2, 3]}, "keypoints must be 6 finite numbers: .*; it has 3"),
        ({"keypoints": None}, "keypoints must be 6 .*; it is a NoneType"),
        ({"keypoints": [1, 2, 3, 4, math.nan, 6]}, "the y of tail is nan"),
        ({"keypoints": [math.inf, 2, 3, 4, 5, 6]}, "the x of head is inf"),
        ({"keypoints": [1, 2, "3", 4, 5, 6]}, "the score of head is '3'"),
        ({"keypoints": [1, 2, True, 4, None, 6]}, "the score of head is True"),
        ({"keypoints": [1, 2, [3], 4, 5, 6]}, r"the score of head is \[3\]"),
        ({"keypoints": [10**400, 2, 3, 4, 5, 6]}, "the x of head is 1000"),
        ({"score": math.nan}, "score is nan, expected a finite number"),
        ({"score": "high"}, "score is 'high'"),
        ({"score": None}, "score is None"),
    ],
)
def test_a_fault_names_file_row_and_reason(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [row(), row(image_id=7), row(image_id=5) | change]
    with pytest.raises(FormatError, match=rf"results\.json, row 2: .*{message}"):
        read_results(written(tmp_path, rows), truth())


@pytest.mark.parametrize("field", ["image_id", "category_id", "keypoints", "score"])
def test_a_missing_field_is_named(field: str) -> None:
    broken = row()
    del broken[field]
    with pytest.raises(FormatError, match=f"results, row 1: no {field}"):
        tabulate([row(), broken], truth())


@pytest.mark.parametrize("broken", [None, 3, "row", [1, 2]])
def test_a_row_of_another_kind_is_named(broken: Any) -> None:
    with pytest.raises(FormatError, match=f"row 1: is a {type(broken).__name__}, expected an object with image_id"):
        tabulate([row(), broken], truth())


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, math.nan], "box", [1, 2, 3, None]])
def test_a_faulty_box_is_named(box: Any) -> None:
    with pytest.raises(FormatError, match=r"row 1: bbox is .*, expected four finite numbers"):
        tabulate([row(bbox=[1, 2, 3, 4]), row(bbox=box)], truth())


def test_results_of_another_set_are_told(tmp_path: Path) -> None:
    rows = [row(image_id=n) for n in (3, 100, 101, 102)]
    with pytest.raises(FormatError, match=r"3 of 4 rows are of pictures that .* \(row 1: image_id 100\).*another set"):
        read_results(written(tmp_path, rows), truth())


def test_a_row_that_stands_there_twice_is_refused_unless_allowed(tmp_path: Path) -> None:
    rows = [row(), row(score=0.5), row()]
    file = written(tmp_path, rows)
    with pytest.raises(FormatError, match=r"results\.json, row 2: stands there twice, as row 0"):
        read_results(file, truth())
    assert read_results(file, truth(), duplicates=True) == rows
    assert len(check_results(rows[:2], truth()).rows) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "not a JSON file"),
        ("{}", "holds a dict, expected a list of rows"),
        ("[" * 100_000, "not a JSON file"),
        ("\udcff", "not a JSON file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=rf"results\.json: {message}"):
        read_results(file, truth())


def test_a_missing_file_and_one_that_is_too_large_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere\.json: cannot be read: No such file"):
        read_results(tmp_path / "nowhere.json", truth())
    with pytest.raises(FormatError, match=r"is larger than 10 bytes; pass a higher max_bytes"):
        read_results(written(tmp_path, "not even JSON"), truth(), max_bytes=10)
