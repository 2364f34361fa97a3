"""Any data set by one call, told by its content; and a validation part that stays the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_sets import write_picture
from test_read_coco_style import crowd_file, whole_row, write_labels
from test_read_lsp import write_lsp
from test_read_mpii import person as mpii_person
from test_read_mpii import rect, structs, write_json, write_mat
from test_read_openpose_json import sample, write_file
from test_read_yolo import row as yolo_row
from test_read_yolo import write_yolo
from tiny_coco import COCO, person, write_set

from manypose.data.datasets import (
    KINDS,
    dataset_skeleton,
    detect_kind,
    read_dataset,
    read_split,
    split,
    write_split,
)
from manypose.data.faults import Fault
from manypose.data.packing.program import READERS as PACKED
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, OutputError


def one_of_each(folder: Path) -> dict[str, tuple[Path, str]]:
    """A file of every kind, with the skeleton of its joints."""
    for name in ("coco", "whole", "crowd"):
        write_picture(folder / name / "images" / "000000000001.jpg")
    return {
        "coco": (write_labels(folder / "coco" / "a.json", [person(5, 5, 40, 80)]), "coco17"),
        "wholebody": (write_labels(folder / "whole" / "a.json", [whole_row()]), "wholebody133"),
        "crowdpose": (crowd_file(folder / "crowd", 2), "crowdpose14"),
        "mpii-json": (write_json(folder / "mpii", [mpii_person()]), "mpii16"),
        "mpii-mat": (write_mat(folder / "mat", [structs([rect()])], [1]), "mpii16"),
        "lsp": (write_lsp(folder, 1, 5, [1] * 14), "lsp14"),
        "openpose-json": (write_file(folder / "openpose", [sample(0, [1])]), "coco17"),
        "yolo": (write_yolo(folder / "yolo", {"a": yolo_row()}), "coco17"),
    }


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PACKED])  # see packing/
def test_every_kind_is_told_by_its_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mat" / "mpii_human_pose_v1_u12_2").mkdir(parents=True)
    file, skeleton = one_of_each(tmp_path)[kind]
    assert detect_kind(file) == kind
    assert dataset_skeleton(file).name == skeleton
    (picture,) = read_dataset(file)
    assert len(picture) == (2 if kind == "openpose-json" else 1)
    assert picture.read().shape == (120, 160, 3)
    (body_only,) = read_dataset(file, COCO, kind=kind)
    assert body_only.keypoints.shape[1:] == (17, 2)


def test_folders_are_searched_for_their_labels(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_labels(tmp_path / "annotations" / f"person_keypoints_{part}2017.json", [person(5, 5, 40, 80)])
        write_labels(tmp_path / "annotations" / f"captions_{part}2017.json", [])
    write_picture(tmp_path / "val2017" / "000000000001.jpg")
    (picture,) = read_dataset(tmp_path, part="val")
    assert picture.archive == tmp_path / "val2017"
    with pytest.raises(DataError, match=r"cannot tell the file of labels .*person_keypoints_train2017"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match=r"cannot tell the file of labels \(none\)"):
        read_dataset(tmp_path, part="test")


def test_folders_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "mat" / "mpii_human_pose_v1_u12_2").mkdir(parents=True)
    one_of_each(tmp_path)
    assert dataset_skeleton(tmp_path / "yolo").name == "coco17"
    assert dataset_skeleton(tmp_path / "mat").name == "mpii16"
    assert dataset_skeleton(tmp_path).name == "lsp14"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", r"a\.json: not a data set that is known by its content"),
        ("a.json", '{"a": 1}', r"a\.json: no data set that is known by its content; name its kind: coco"),
        ("a.json", "[1, 2]", "no data set that is known by its content"),
        ("a.mat", "text", r"a\.mat: not a \.mat file"),
        ("b.json", None, "No such file"),
    ],
)
def test_files_of_no_kind(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path / name)


def test_wrong_wishes(tmp_path: Path) -> None:
    file = write_set(tmp_path, [person(5, 5, 40, 80)])
    with pytest.raises(DataError, match="no kind of data set is called 'voc'; there are coco, "):
        read_dataset(file, kind="voc")
    yolo = write_yolo(tmp_path / "yolo", {"a": yolo_row()})
    with pytest.raises(DataError, match="a teacher's labels go with COCO-style files only"):
        read_dataset(yolo, teacher=tmp_path / "teacher.json")


def test_all_pictures_must_be_there(tmp_path: Path) -> None:
    file = write_labels(tmp_path / "a.json", [person(5, 5, 40, 80)])
    with pytest.raises(DataError, match=r"a\.json: image 1: its picture 000000000001\.jpg is not in"):
        read_dataset(file)
    faults: list[Fault] = []
    assert read_dataset(file, on_fault="skip", faults=faults) == []
    assert len(faults) == 1


def pictures_of(folder: Path, count: int) -> list[LabelledPicture]:
    return read_dataset(write_set(folder, [person(5, 5, 40, 80)], pictures=count))


def test_a_split_depends_on_names_and_seed_alone(tmp_path: Path) -> None:
    pictures = pictures_of(tmp_path / "a", 40)
    train, val = split(pictures, 0.25, seed=3)
    assert (len(train), len(val)) == (30, 10)
    assert {id(p) for p in (*train, *val)} == {id(p) for p in pictures}
    elsewhere = pictures_of(tmp_path / "b", 40)[::-1]
    assert {p.name for p in split(elsewhere, 10, seed=3)[1]} == {p.name for p in val}
    assert {p.name for p in split(pictures, 10, seed=4)[1]} != {p.name for p in val}


def test_most_pictures_stay_in_their_part_when_some_are_added(tmp_path: Path) -> None:
    val = {p.name for p in split(pictures_of(tmp_path / "a", 40), 0.25)[1]}
    more = {p.name for p in split(pictures_of(tmp_path / "b", 48), 0.25)[1]}
    assert len(val & more) >= 7


@pytest.mark.parametrize("val_size", [0.0, 0.001, 1.0, 4, 9])
def test_both_parts_of_a_split_hold_pictures(tmp_path: Path, val_size: float) -> None:
    pictures = pictures_of(tmp_path, 4)
    if val_size == 1:
        assert len(split(pictures, val_size)[1]) == 1  # one picture
        return
    with pytest.raises(DataError, match=f"a validation part of {val_size} leaves"):
        split(pictures, val_size)


def test_a_split_is_written_down_and_read(tmp_path: Path) -> None:
    pictures = pictures_of(tmp_path, 8)
    train, val = split(pictures, 2)
    write_split(tmp_path / "split.json", train, val)
    again = read_split(tmp_path / "split.json", pictures)
    assert [p.name for p in again[0]] == [p.name for p in train]
    assert [p.name for p in again[1]] == [p.name for p in val]
    with pytest.raises(OutputError, match="the file exists"):
        write_split(tmp_path / "split.json", train, val)
    with pytest.raises(DataError, match=r"images\.zip/9\.png is in neither part; split anew"):
        read_split(tmp_path / "split.json", pictures_of(tmp_path, 9))
    write_split(tmp_path / "split.json", pictures, val, overwrite=True)
    with pytest.raises(DataError, match="is in both parts"):
        read_split(tmp_path / "split.json", pictures)
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(DataError, match="not a split as JSON"):
        read_split(tmp_path / "split.json", pictures)


@pytest.mark.parametrize(
    ("name", "people", "ignored"),
    [("coco", 335, 131), ("lsp_extended", 500, 0), ("fashion", 80, 0), ("hands", 300, 0), ("faces", 300, 0)],
)
def test_the_shared_sets(shared_data: Path, name: str, people: int, ignored: int) -> None:
    pictures = read_dataset(shared_data / name / "val.json")
    assert sum(map(len, pictures)) == people
    assert sum(len(picture.ignore) for picture in pictures) == ignored
    content = json.loads((shared_data / name / "val.json").read_text())
    labels = {row["id"]: row for row in content["annotations"]}
    for picture in pictures[:5]:
        for index, key in enumerate(picture.person_ids):
            there = ~np.isnan(picture.keypoints[index, :, 0])
            expected = np.array(labels[int(key)]["keypoints"]).reshape(-1, 3)
            np.testing.assert_allclose(picture.keypoints[index][there], expected[there, :2], rtol=1e-6)
            np.testing.assert_array_equal(expected[:, 2] > 0, there)
    assert pictures[0].read().shape[1::-1] == pictures[0].size
