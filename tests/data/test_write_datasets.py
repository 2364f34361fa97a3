"""What is written can be read again: COCO, YOLO and MPII's JSON, with pictures or without."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_sets import assert_same
from test_read_coco_style import whole_row, write_labels
from test_read_mpii import person as mpii_person
from test_read_mpii import write_json
from tiny_coco import COCO, person, write_set

from manypose.data.coco import read_coco
from manypose.data.datasets import read_dataset
from manypose.data.mpii import read_mpii_json
from manypose.data.pictures import LabelledPicture
from manypose.data.wholebody import read_wholebody
from manypose.data.writers import FORMATS, write_coco, write_dataset
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton

MPII = load_skeleton("mpii16")
RLE = {"size": [120, 160], "counts": [0, 120 * 40, 120 * 120]}


def scene(folder: Path) -> list[LabelledPicture]:
    """Three pictures in a zip file: people with hidden and absent joints, one without joints, a crowd, nobody."""
    first = person(5, 5, 40, 80, absent=("left_wrist",), segmentation=[[6, 6, 40, 6, 40, 80.5]], area=1200.5)
    first["keypoints"][2] = 1
    rows = [
        first,
        person(50, 5, 40, 80, absent=COCO.joints, segmentation=[[50, 5, 90, 5, 90, 85]]),
        person(100, 5, 40, 80, iscrowd=1, segmentation=RLE),
        person(20, 10, 60, 90, image_id=2, area=0),
    ]
    return read_coco(write_set(folder, rows, pictures=3), COCO)


def test_coco_again_is_the_same(tmp_path: Path) -> None:
    pictures = scene(tmp_path / "in")
    written = write_dataset(pictures, COCO, tmp_path / "out", part="val")
    assert (written.file, written.pictures, written.people) == (tmp_path / "out" / "val.json", 3, 2)
    again = read_dataset(tmp_path / "out")
    for a, b in zip(pictures, again, strict=True):
        assert_same(a, b)
        assert (a.id, a.name) == (b.id, b.name)
        np.testing.assert_array_equal(a.person_ids, b.person_ids)
        np.testing.assert_array_equal(a.read(), b.read())
    assert again[0].areas[0] == 1200.5
    assert again[1].areas[0] == pytest.approx(0.53 * 60 * 90)  # where it was unknown
    assert again[0].ignore_segments[1] == RLE
    np.testing.assert_array_equal(again[0].segments[0][0], pictures[0].segments[0][0])  # type: ignore[index]
    np.testing.assert_array_equal(again[0].ignore_segments[0][0], pictures[0].ignore_segments[0][0])  # type: ignore[index]


def test_coco_is_what_its_own_tools_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO as Tools

    file = write_dataset(scene(tmp_path / "in"), COCO, tmp_path / "out").file
    tools = Tools(str(file))
    capsys.readouterr()
    assert len(tools.getAnnIds(iscrowd=False)) == 3
    assert tools.loadCats(1)[0]["skeleton"] == [[a + 1, b + 1] for a, b in COCO.limbs]
    row = tools.loadAnns(tools.getAnnIds(imgIds=[1], iscrowd=False))[0]
    assert row["num_keypoints"] == 16
    assert row["keypoints"][2] == 1
    assert {"area", "bbox", "segmentation"} <= set(row)


def test_coco_keeps_what_it_has_no_field_for(tmp_path: Path) -> None:
    picture = read_wholebody(write_labels(tmp_path / "whole.json", [whole_row()]), load_skeleton("wholebody133"))[0]
    picture = dataclasses.replace(picture, head_boxes=np.array([[9.5, 10.5, 19.5, 30.5]], np.float32))
    write_coco([picture], load_skeleton("wholebody133"), tmp_path / "out.json")
    (again,) = read_coco(tmp_path / "out.json", load_skeleton("wholebody133"))
    assert_same(picture, again)
    np.testing.assert_array_equal(again.head_boxes, picture.head_boxes)
    assert again.unsure[0].any()


def test_ids_of_several_sets_are_given_anew(tmp_path: Path) -> None:
    pictures = scene(tmp_path / "a") + scene(tmp_path / "b")
    file = write_dataset(pictures, COCO, tmp_path / "out").file
    again = read_dataset(file)
    assert [p.id for p in again] == [1, 2, 3, 4, 5, 6]
    assert [p.name for p in again] == ["1.png", "2.png", "3.png", "1-2.png", "2-2.png", "3-2.png"]
    ids = [row["id"] for row in json.loads(file.read_text())["annotations"]]
    assert len(set(ids)) == len(ids) == 8


def test_yolo_again_is_the_same_but_for_crowds(tmp_path: Path) -> None:
    pictures = scene(tmp_path / "in")
    written = write_dataset(pictures, COCO, tmp_path / "out", to="yolo", part="val")
    assert written.lost == ("1 crowds",)
    again = read_dataset(tmp_path / "out", part="val")
    for a, b in zip(pictures, again, strict=True):
        keep = np.array([not isinstance(segment, dict) for segment in a.ignore_segments], bool)
        assert_same(dataclasses.replace(a, ignore=a.ignore[keep]), b)
        np.testing.assert_array_equal(a.read(), b.read())
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert content["flip_idx"] == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert content["kpt_shape"] == [17, 3]
    assert "train" not in content


def test_yolo_parts_share_a_file(tmp_path: Path) -> None:
    pictures = scene(tmp_path / "in")
    write_dataset(pictures[:2], COCO, tmp_path / "out", to="yolo", part="train")
    write_dataset(pictures[2:], COCO, tmp_path / "out", to="yolo", part="val")
    assert [len(read_dataset(tmp_path / "out", part=part)) for part in ("train", "val", None)] == [2, 1, 3]
    with pytest.raises(OutputError, match=r"data\.yaml: is of another set, of kpt_shape \[17, 3\]"):
        write_dataset([], MPII, tmp_path / "out", to="yolo", part="test")


def test_yolo_cuts_what_lies_outside(tmp_path: Path) -> None:
    row = person(-20, 10, 60, 90)
    pictures = read_coco(write_set(tmp_path / "in", [row]), COCO)
    written = write_dataset(pictures, COCO, tmp_path / "out", to="yolo")
    outside = int((pictures[0].keypoints[0, :, 0] < 0).sum())
    assert outside > 0
    assert written.lost == (f"{outside} joints outside of their picture",)
    (again,) = read_dataset(tmp_path / "out")
    np.testing.assert_allclose(again.boxes, [[-0.5, 9.5, 39.5, 99.5]], atol=1e-3)
    assert int(np.isnan(again.keypoints[0, :, 0]).sum()) == outside


def test_mpii_json_again_is_the_same(tmp_path: Path) -> None:
    people = [mpii_person(), mpii_person(center=[41.5, 61], scale=0.25), mpii_person(image="b.jpg")]
    pictures = read_mpii_json(write_json(tmp_path / "in", people), MPII)
    written = write_dataset(pictures, MPII, tmp_path / "out", to="mpii-json")
    assert (written.pictures, written.people, written.lost) == (2, 3, ())
    for a, b in zip(pictures, read_dataset(written.file), strict=True):
        assert_same(a, b)
    assert json.loads(written.file.read_text()) == people


def test_mpii_json_says_what_it_cannot_hold(tmp_path: Path) -> None:
    written = write_dataset(scene(tmp_path / "in"), COCO, tmp_path / "out", to="mpii-json")
    assert (written.people, written.lost) == (
        2,
        (
            "2 people without labels",
            "1 pictures of nobody with labels",
            "10 joints that MPII does not have",  # five of the face of each
        ),
    )
    again = read_dataset(written.file)
    wrist = MPII.index("right_wrist")
    np.testing.assert_allclose(again[0].keypoints[0, wrist], scene(tmp_path / "in")[0].keypoints[0, 10], atol=1e-3)
    with pytest.raises(DataError, match="the skeleton 'hand21' shares no joint with MPII's"):
        write_dataset([], load_skeleton("hand21"), tmp_path / "hands", to="mpii-json")


def test_people_without_a_joint_of_mpii_stay_as_areas_to_ignore(tmp_path: Path) -> None:
    hidden = person(60, 5, 40, 80)
    hidden["keypoints"][3 * COCO.index("left_knee") + 2] = 1
    rows = [person(5, 5, 40, 80, absent=COCO.joints[5:]), hidden]
    pictures = read_coco(write_set(tmp_path / "in", rows), COCO)
    written = write_dataset(pictures, COCO, tmp_path / "out", to="mpii-json")
    assert written.people == 1
    assert written.lost == (
        "10 joints that MPII does not have",
        "the labels of 1 people, who are listed without a joint",
        "that 1 joints are hidden",
    )
    (again,) = read_dataset(written.file)
    assert (len(again), len(again.ignore)) == (1, 1)
    np.testing.assert_allclose(again.ignore[0, [1, 3]], pictures[0].boxes[0, [1, 3]], atol=1e-3)  # now a square


@pytest.mark.parametrize("to", FORMATS)
def test_files_are_not_replaced_unasked(tmp_path: Path, to: str) -> None:
    pictures = scene(tmp_path / "in")
    write_dataset(pictures, COCO, tmp_path / "out", to=to)
    with pytest.raises(OutputError, match="the file exists"):
        write_dataset(pictures, COCO, tmp_path / "out", to=to)
    write_dataset(pictures, COCO, tmp_path / "out", to=to, overwrite=True)


def test_labels_alone(tmp_path: Path) -> None:
    written = write_dataset(scene(tmp_path / "in"), COCO, tmp_path / "out", with_pictures=False)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["train.json"]
    again = read_dataset(written.file, images=tmp_path / "in" / "images.zip")
    assert again[0].read().shape == (120, 160, 3)


def test_unknown_formats_and_names_that_lead_out(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no format is called 'voc'; there are coco, yolo, mpii-json"):
        write_dataset([], COCO, tmp_path, to="voc")
    bad = dataclasses.replace(scene(tmp_path / "in")[0], name="../../a.png")
    with pytest.raises(DataError, match="is not the name of a picture inside of the data set"):
        write_dataset([bad], COCO, tmp_path / "out")


def test_the_shared_coco_set_survives_a_round_trip(shared_data: Path, tmp_path: Path) -> None:
    pictures = read_dataset(shared_data / "coco" / "val.json")
    written = write_dataset(pictures, COCO, tmp_path, with_pictures=False)
    again = read_dataset(written.file, images=shared_data / "coco" / "images-val-000.zip")
    for a, b in zip(pictures, again, strict=True):
        assert_same(a, b)
        for before, after in zip(a.ignore_segments, b.ignore_segments, strict=True):
            assert isinstance(before, dict) == isinstance(after, dict)
            assert not isinstance(before, dict) or before == after
