"""The original training file with jsonlab's quirks, and the mask files that belong to it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_sets import body, write_picture

from manypose.data.coco import read_coco
from manypose.data.faults import Fault
from manypose.data.openpose_json import read_openpose_json
from manypose.data.product_masks import attach_masks
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
NAME = "train2014/COCO_train2014_000000262145.jpg"
EMPTY = {"_ArrayType_": "double", "_ArraySize_": [0, 0], "_ArrayData_": None}


def joints(seed: int) -> list[list[float]]:
    """Joints as the file has them: 1 visible, 0 hidden (the nose), 2 absent (the left eye)."""
    rows = np.column_stack([body(17, seed=seed), np.full(17, 1.0)])
    rows[0, 2] = 0
    rows[1] = [0, 0, 2]
    return rows.tolist()


def box(seed: int) -> list[float]:
    return [10.0 + seed, 20.0, 50.0, 60.0]


def sample(main: int, others: list[int], **more: Any) -> dict[str, Any]:
    """One entry of the file: a main person and others, their lists collapsed as jsonlab does."""

    def collapse(values: list[Any]) -> Any:
        return values[0] if len(values) == 1 else values or EMPTY

    return {
        "dataset": "COCO",
        "isValidation": 0.0,
        "img_paths": NAME,
        "img_width": 160.0,
        "img_height": 120.0,
        "image_id": 262145.0,
        "bbox": box(main),
        "segment_area": 1000.0 + main,
        "joint_self": joints(main),
        "numOtherPeople": float(len(others)),
        "joint_others": collapse([joints(k) for k in others]) if others else [],
        "bbox_other": collapse([box(k) for k in others]),
        "segment_area_other": collapse([1000.0 + k for k in others]),
    } | more


def write_file(folder: Path, root: Any) -> Path:
    write_picture(folder / "images" / NAME)
    (folder / "COCO.json").write_text(json.dumps({"root": root}))
    return folder / "COCO.json"


@pytest.mark.parametrize("others", [[], [1], [1, 2], [1, 2, 3]])
def test_others_are_read_however_many_they_are(tmp_path: Path, others: list[int]) -> None:
    (read,) = read_openpose_json(write_file(tmp_path, [sample(0, others)]), COCO, check_files=True)
    assert (len(read), read.size, read.id) == (1 + len(others), (160, 120), 262145)
    for index, seed in enumerate([0, *others]):
        np.testing.assert_array_equal(read.keypoints[index, 2:], body(17, seed=seed)[2:])
        assert np.isnan(read.keypoints[index, 1]).all()
        assert np.flatnonzero(~read.visible[index]).tolist() == [0, 1]
        assert read.areas[index] == 1000 + seed
        np.testing.assert_array_equal(read.boxes[index], [9.5 + seed, 19.5, 59.5 + seed, 79.5])
    assert read.read().shape == (120, 160, 3)


def test_each_picture_comes_once_with_everybody(tmp_path: Path) -> None:
    root = [sample(0, [1, 2]), sample(1, [0, 2]), sample(3, [0])]
    (read,) = read_openpose_json(write_file(tmp_path, root), COCO)
    assert read.areas.tolist() == [1000, 1001, 1002, 1003]


def test_a_single_entry_is_not_wrapped(tmp_path: Path) -> None:
    (read,) = read_openpose_json(write_file(tmp_path, sample(0, [1])), COCO)
    assert len(read) == 2


def test_parts(tmp_path: Path) -> None:
    other = sample(1, [], isValidation=1.0, img_paths="val2014/COCO_val2014_000000000042.jpg")
    file = write_file(tmp_path, [sample(0, []), other])
    assert [p.name for p in read_openpose_json(file, COCO, part="train")] == [NAME]
    assert [p.name for p in read_openpose_json(file, COCO, part="val")] == [other["img_paths"]]
    with pytest.raises(DataError, match="has no part 'test'"):
        read_openpose_json(file, COCO, part="test")


@pytest.mark.parametrize(
    ("more", "message", "left"),
    [
        ({"bbox": [1, 2, 0, 4]}, "has no size", 1),
        ({"joint_self": [["_NaN_", 3.0, 1.0]] * 17}, "nose is labelled, but its place is not a number", 1),
        ({"joint_self": joints(0)[:16]}, "48 numbers in keypoints, expected 51", 1),
        ({"joint_self": [[1.0, 2.0, 3.0]] * 17}, "a joint's code is not 0", 1),
        ({"numOtherPeople": 3.0}, "joint_others holds 2 people, but numOtherPeople is 3", 0),
        ({"img_paths": "../a.jpg"}, "not the name of a picture inside", 0),
    ],
)
def test_faults(tmp_path: Path, more: dict[str, Any], message: str, left: int) -> None:
    file = write_file(tmp_path, [sample(0, [1, 2], **more)])
    with pytest.raises(DataError, match=rf"COCO\.json: root\(1\): .*{message}"):
        read_openpose_json(file, COCO)
    faults: list[Fault] = []
    assert len(read_openpose_json(file, COCO, on_fault="skip", faults=faults)) == left
    assert len(faults) == 1


def test_missing_pictures_and_other_files(tmp_path: Path) -> None:
    file = write_file(tmp_path, [sample(0, [])])
    (tmp_path / "images" / NAME).unlink()
    with pytest.raises(DataError, match=r"root\(1\): its picture train2014/.* is not in"):
        read_openpose_json(file, COCO, check_files=True)
    with pytest.raises(DataError, match="not the original training file"):
        read_openpose_json(file, COCO, content=[])


def write_masks(folder: Path, names: tuple[str, str]) -> None:
    for name, level in zip(names, (0, 255), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        mask = np.full((120, 160), 255 - level, np.uint8)
        mask[:, :40] = level
        cv2.imwrite(str(folder / name), mask)


MASK_NAMES = [
    ("mask2014/train2014_mask_miss_000000262145.png", "mask2014/train2014_mask_all_000000262145.png"),
    ("mask_miss_000000262145.png", "mask_all_000000262145.png"),
    ("mask_miss/000000262145.png", "mask_all/000000262145.png"),
    ("mask_miss/COCO_train2014_000000262145.png", "mask_all/COCO_train2014_000000262145.png"),
]


@pytest.mark.parametrize("names", MASK_NAMES)
def test_masks_of_the_products_belong_to_pictures(tmp_path: Path, names: tuple[str, str]) -> None:
    write_masks(tmp_path / "masks", names)
    (read,) = read_openpose_json(write_file(tmp_path, [sample(0, [])]), COCO, masks=tmp_path / "masks")
    assert read.masks is not None
    missing, people = read.masks.read_missing(read.size), read.masks.read_people(read.size)
    assert missing is not None
    assert people is not None
    np.testing.assert_array_equal(missing, people)
    assert np.flatnonzero(missing.all(axis=0)).tolist() == list(range(40))


def test_masks_in_a_tar_file_are_unpacked_beside_it(tmp_path: Path) -> None:
    write_masks(tmp_path / "in", MASK_NAMES[0])
    with tarfile.open(tmp_path / "mask.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in" / "mask2014", "mask2014")
    pictures = read_openpose_json(write_file(tmp_path, [sample(0, [])]), COCO)
    for _ in range(2):  # the second time it is there
        (read,) = attach_masks(pictures, tmp_path / "mask.tar.gz")
        assert read.masks is not None
        assert read.masks.archive == tmp_path / "mask"
        assert read.masks.read_missing(read.size) is not None


def test_masks_of_another_split_are_not_taken(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", tuple(name.replace("train", "val") for name in MASK_NAMES[0]))  # type: ignore[arg-type]
    pictures = read_openpose_json(write_file(tmp_path, [sample(0, [])]), COCO)
    with pytest.raises(DataError, match="none of its 1 masks is of one of the 1 pictures"):
        attach_masks(pictures, tmp_path / "masks")
    with pytest.raises(DataError, match="holds no masks; expected files such as mask_miss_"):
        attach_masks(pictures, tmp_path / "images")
    (tmp_path / "bad.tar.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.tar\.gz: cannot be unpacked"):
        attach_masks(pictures, tmp_path / "bad.tar.gz")


def test_a_picture_without_a_mask_has_none(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", MASK_NAMES[1])
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 120} for i in (262145, 7)]
    content = {"images": images, "annotations": [], "categories": []}
    first, second = attach_masks(read_coco(tmp_path / "a.json", COCO, content=content), tmp_path / "masks")
    assert first.masks is not None
    assert second.masks is None
