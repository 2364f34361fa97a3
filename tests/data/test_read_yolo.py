"""YOLO pose labels: parts of the picture's sides, one text file for each picture, a data.yaml over all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_sets import body, write_picture

from manypose.data.faults import Fault
from manypose.data.yolo import describe_yolo, read_yolo
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
SIZE = np.array([160, 120])


def row(seed: int = 0, *, flags: Any = 2, kind: int = 0, count: int = 17, numbers: int = 3, box: str = "") -> str:
    """A person in the left half, as a row of a label file."""
    places = body(count, seed=seed) / SIZE
    joints = np.column_stack([places, np.broadcast_to(flags, count)])[:, :numbers]
    return f"{kind} {box or '0.25 0.5 0.5 1.0'} " + " ".join(f"{v:.7f}" for v in joints.ravel())


def write_yolo(folder: Path, labels: dict[str, str | None], part: str = "train", **more: Any) -> Path:
    """Pictures with label files; None: a picture without one."""
    for name, text in labels.items():
        write_picture(folder / "images" / part / f"{name}.jpg")
        if text is not None:
            file = folder / "labels" / part / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    content = {"path": "/somewhere/else", part: f"images/{part}", "kpt_shape": [17, 3], "names": {0: "person"}}
    (folder / "data.yaml").write_text(yaml.safe_dump(content | more))
    return folder / "data.yaml"


def test_places_are_parts_of_the_sides(tmp_path: Path) -> None:
    (read,) = read_yolo(write_yolo(tmp_path, {"a": row(flags=[0, 1] + [2] * 15)}), COCO)
    np.testing.assert_allclose(read.keypoints[0, 1:], body(17)[1:], atol=1e-4)
    assert np.isnan(read.keypoints[0, 0]).all()
    assert np.flatnonzero(~read.visible[0]).tolist() == [0, 1]
    np.testing.assert_allclose(read.boxes, [[-0.5, -0.5, 79.5, 119.5]], atol=1e-4)
    assert read.archive / read.name == tmp_path / "images" / "train" / "a.jpg"
    assert read.read().shape == (120, 160, 3)


def test_a_picture_without_a_label_file_shows_nobody(tmp_path: Path) -> None:
    a, b = read_yolo(write_yolo(tmp_path, {"a": None, "b": ""}), COCO)
    assert (len(a), len(a.ignore), len(b)) == (0, 0, 0)


def test_someone_without_joints_is_an_area_to_ignore(tmp_path: Path) -> None:
    (read,) = read_yolo(write_yolo(tmp_path, {"a": f"{row(flags=0)}\n{row(1)}\n"}), COCO)
    assert (len(read), len(read.ignore)) == (1, 1)


def test_rows_that_repeat_count_once_and_other_classes_are_no_people(tmp_path: Path) -> None:
    text = f"{row()}\n{row()}\n{row(2, kind=1)}\n"
    (read,) = read_yolo(write_yolo(tmp_path, {"a": text}, names=["person", "dog"]), COCO)
    assert (len(read), len(read.ignore)) == (1, 0)


def test_two_numbers_for_a_joint_are_labelled_unless_negative(tmp_path: Path) -> None:
    text = "0 0.25 0.5 0.5 1.0 0 0 0.5 0.5 -1 0.2"
    file = write_yolo(tmp_path, {"a": text}, kpt_shape=[3, 2], kpt_names={0: ["nose", "neck", "tail"]})
    (read,) = read_yolo(file)
    np.testing.assert_array_equal(read.keypoints[0], [[0, 0], [80, 60], [np.nan, np.nan]])


def test_joints_that_the_file_does_not_name(tmp_path: Path) -> None:
    assert describe_yolo(write_yolo(tmp_path, {}, kpt_shape=[17, 3])).skeleton == COCO
    assert describe_yolo(write_yolo(tmp_path, {}, kpt_shape=[21, 2])).skeleton == load_skeleton("hand21")
    skeleton = describe_yolo(write_yolo(tmp_path, {}, kpt_shape=[3, 2], flip_idx=[0, 2, 1])).skeleton
    assert skeleton.joints == ("joint_0", "joint_1", "joint_2")
    assert skeleton.pairs == ((1, 2),)


def test_parts_and_lists_of_pictures(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": row(), "b": row(1)}, "train")
    write_yolo(tmp_path, {"c": row(2)}, "val")
    (tmp_path / "train.txt").write_text("./images/train/b.jpg\n\n")
    file = write_yolo(tmp_path, {}, "val", train=["train.txt"])
    assert [p.name for p in read_yolo(file, COCO)] == ["images/train/b.jpg", "images/val/c.jpg"]
    assert [p.name for p in read_yolo(file, COCO, part="val")] == ["images/val/c.jpg"]
    with pytest.raises(DataError, match=r"data\.yaml: has no part 'test'; it has train, val"):
        read_yolo(file, COCO, part="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row(count=16), "53 numbers, expected 56"),
        (row().replace("0.5 0.5", "0.5 x"), "something that is not a number"),
        (row(box="nan 0.5 0.5 1"), r"a number that is none \(NaN or infinite\)"),
        (row(kind=1), "class 1, but there are 1 classes"),
        (row(box="0.25 0.5 0 1"), "its box .* has no size"),
        (row(box="0.25 0.5 0.5 1.02"), "a place outside of the picture: .* to 1.020"),
        (f"{' '.join(row().split()[:-3])} -0.2 0.5 2", "a place outside of the picture: -0.200 to 1.000"),
    ],
)
def test_a_picture_with_a_faulty_row_is_left_out(tmp_path: Path, text: str, message: str) -> None:
    file = write_yolo(tmp_path, {"a": f"{row(3)}\n{text}\n", "b": row(1)})
    with pytest.raises(DataError, match=rf"a\.txt: row 2: .*{message}"):
        read_yolo(file, COCO)
    faults: list[Fault] = []
    assert [p.name for p in read_yolo(file, COCO, on_fault="skip", faults=faults)] == ["images/train/b.jpg"]
    assert [fault.file.name for fault in faults] == ["a.txt"]


def test_broken_pictures_are_reported(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": row()})
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    with pytest.raises(DataError, match=r"data\.yaml: picture a\.jpg: its picture .* is broken"):
        read_yolo(file, COCO)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kpt_shape": None}, "not the data.yaml of a set of poses"),
        ({"kpt_shape": [17, 4]}, r"ValueError kpt_shape \[17, 4\]"),
        ({"kpt_names": {0: ["nose"]}}, "1 kpt_names, but kpt_shape says 17"),
        ({"train": "nowhere"}, "its part 'train', .*nowhere, does not exist"),
    ],
)
def test_files_that_are_no_set_of_poses(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_yolo(write_yolo(tmp_path, {}, **more), COCO)
