"""Files in COCO's layout: where their pictures are, areas, own categories, WholeBody, CrowdPose, and every fault."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_sets import body, triples, write_picture
from tiny_coco import COCO, person, write_set

from manypose.data.coco import coco_skeleton, read_coco
from manypose.data.crowdpose import read_crowdpose
from manypose.data.faults import Fault
from manypose.data.wholebody import read_wholebody
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

WHOLE = load_skeleton("wholebody133")
CROWD = load_skeleton("crowdpose14")


def write_labels(file: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    """A file of labels for one picture 000000000001.jpg, which lies elsewhere."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = {"id": 1, "file_name": "000000000001.jpg", "width": 160, "height": 120, **more.pop("image", {})}
    category = {"id": 1, "name": "person", "keypoints": list(COCO.joints), **more.pop("category", {})}
    rows = [{"id": n, **row} for n, row in enumerate(rows, 1)]
    file.write_text(json.dumps({"images": [image], "annotations": rows, "categories": [category]} | more))
    return file


@pytest.mark.parametrize(
    "place", ["val2017/{}", "images/val2017/{}", "images/{}", "annotations/{}", "annotations/images/{}"]
)
def test_pictures_in_folders_of_coco(tmp_path: Path, place: str) -> None:
    picture = write_picture(tmp_path / place.format("000000000001.jpg"))
    file = write_labels(tmp_path / "annotations" / "person_keypoints_val2017.json", [person(5, 5, 40, 80)])
    (read,) = read_coco(file, COCO, check_files=True)
    assert read.archive / read.name == picture
    assert read.read().shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("archive", "member"),
    [("val2014.zip", "val2014/{}"), ("val2014.zip", "{}"), ("images.zip", "{}"), ("images/val2014.zip", "val2014/{}")],
)
def test_pictures_in_zip_files_of_coco(tmp_path: Path, archive: str, member: str) -> None:
    name = "COCO_val2014_000000000001.jpg"
    content = write_picture(tmp_path / "elsewhere" / name).read_bytes()
    (tmp_path / archive).parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(tmp_path / archive, "w") as opened:
        opened.writestr(member.format(name), content)
    file = tmp_path / "annotations" / "person_keypoints_val2014.json"
    write_labels(file, [person(5, 5, 40, 80)], image={"file_name": name})
    (read,) = read_coco(file, COCO, check_files=True)
    assert (read.archive, read.name) == (tmp_path / archive, member.format(name))
    assert read.read().shape == (120, 160, 3)


def test_pictures_at_a_place_that_is_given(tmp_path: Path) -> None:
    write_picture(tmp_path / "photos" / "000000000001.jpg")
    file = write_labels(tmp_path / "labels" / "some.json", [])
    (read,) = read_coco(file, COCO, images=tmp_path / "photos", check_files=True)
    assert read.archive == tmp_path / "photos"
    with pytest.raises(DataError, match="nowhere: does not exist; give the folder or zip file"):
        read_coco(file, COCO, images=tmp_path / "nowhere")


def test_what_a_file_says_beside_joints(tmp_path: Path) -> None:
    polygon = [10, 10, 30, 10, 30, 20]
    row = person(5, 5, 40, 80, segmentation=[polygon, [1, 1, 2, 2]], area=321.5)
    row["keypoints"][2] = 1  # the nose is hidden
    crowd = person(100, 5, 40, 80, iscrowd=1, segmentation={"size": [120, 160], "counts": [0, 120 * 160]})
    (read,) = read_coco(write_labels(tmp_path / "a.json", [row, crowd]), COCO)
    assert read.areas.tolist() == [321.5]
    assert (read.id, read.person_ids.tolist()) == (1, [1])
    assert np.flatnonzero(~read.visible[0]).tolist() == [0]
    assert not np.isnan(read.keypoints).any()
    assert read.segments[0] is not None
    assert len(read.segments[0]) == 1  # two points are no polygon
    np.testing.assert_array_equal(read.segments[0][0], [[9.5, 9.5], [29.5, 9.5], [29.5, 19.5]])
    assert read.ignore_segments == ({"size": [120, 160], "counts": [0, 120 * 160]},)


def test_the_skeleton_of_a_category_of_its_own(tmp_path: Path) -> None:
    category = {"name": "dog", "keypoints": ["left_ear", "right_ear", "tail"], "skeleton": [[1, 3], [2, 3]]}
    row = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 50, 50], "keypoints": [6, 7, 2, 8, 9, 1, 0, 0, 0]}
    file = write_labels(tmp_path / "dogs.json", [row], category=category)
    skeleton = coco_skeleton(file)
    assert skeleton.joints == ("left_ear", "right_ear", "tail")
    assert skeleton.limbs == ((0, 2), (1, 2))
    assert skeleton.pairs == ((0, 1),)
    (read,) = read_coco(file, skeleton)
    np.testing.assert_array_equal(read.keypoints[0], [[6, 7], [8, 9], [np.nan, np.nan]])
    assert coco_skeleton(write_labels(tmp_path / "people.json", [])) == COCO


def test_a_category_can_be_named(tmp_path: Path) -> None:
    hand = {"id": 2, "name": "hand", "keypoints": ["wrist"]}
    body_category = {"id": 1, "name": "person", "keypoints": list(COCO.joints)}
    rows = [
        person(5, 5, 40, 80),
        {"image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9], "keypoints": [4, 5, 2], "num_keypoints": 1},
    ]
    file = write_labels(tmp_path / "two.json", rows, categories=[body_category, hand])
    wrist = coco_skeleton(file, category="hand")
    (read,) = read_coco(file, wrist, category="hand")
    np.testing.assert_array_equal(read.keypoints, [[[4, 5]]])
    with pytest.raises(DataError, match=r"two\.json: has no category 'foot' with keypoints; .*: person, hand"):
        read_coco(file, wrist, category="foot")


def whole_row(**more: Any) -> dict[str, Any]:
    places = body(133)
    row = person(5, 5, 100, 100)
    row |= {
        "keypoints": triples(places[:17]),
        "foot_kpts": triples(places[17:23], [2, 1, 2, 0, 2, 2]),
        "face_kpts": triples(places[23:91], 1),
        "lefthand_kpts": triples(places[91:112], 0.038),
        "righthand_kpts": [0.0] * 63,
        "foot_valid": True,
        "face_valid": True,
        "lefthand_valid": True,
        "righthand_valid": False,
    }
    return row | more


def test_whole_bodies_are_joined_from_their_parts(tmp_path: Path) -> None:
    (read,) = read_wholebody(write_labels(tmp_path / "whole.json", [whole_row()]), WHOLE)
    expected = body(133)
    expected[[20, *range(112, 133)]] = np.nan
    np.testing.assert_array_equal(read.keypoints[0], expected)
    assert np.flatnonzero(read.unsure[0]).tolist() == list(range(112, 133))  # the hand that nobody labelled
    hidden = ~read.visible[0] & ~np.isnan(expected[:, 0])
    assert np.flatnonzero(hidden).tolist() == [18]  # a face's 1 and a hand's fraction mean labelled


def test_whole_bodies_into_a_body_skeleton(tmp_path: Path) -> None:
    (read,) = read_wholebody(write_labels(tmp_path / "whole.json", [whole_row()]), COCO)
    np.testing.assert_array_equal(read.keypoints[0], body(133)[:17])
    assert not read.unsure.any()


def test_a_short_part_of_a_whole_body_is_named(tmp_path: Path) -> None:
    file = write_labels(tmp_path / "whole.json", [whole_row(foot_kpts=[1.0] * 17)])
    with pytest.raises(DataError, match="annotation 1 of image 1: 17 numbers in foot_kpts, expected 18"):
        read_wholebody(file, WHOLE)


def crowd_file(folder: Path, flags: Any) -> Path:
    row = {
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 20, 100, 50],
        "iscrowd": 0,
        "keypoints": triples(body(14), flags),
        "num_keypoints": int((np.broadcast_to(flags, 14)[:12] > 0).sum()),
    }
    # The published files have COCO's limbs, which do not fit, and call the top of the head so.
    category = {"keypoints": [*CROWD.joints[:12], "head", "neck"], "skeleton": [[16, 14], [14, 12]]}
    return write_labels(folder / "crowd.json", [row], category=category, image={"crowdIndex": 0.3})


def test_crowdpose_has_areas_of_boxes_and_a_neck(tmp_path: Path) -> None:
    (read,) = read_crowdpose(crowd_file(tmp_path, [2] * 11 + [1] * 3), CROWD)
    assert read.areas[0] == pytest.approx(0.53 * 100 * 50)
    np.testing.assert_array_equal(read.keypoints[0], body(14))
    assert np.flatnonzero(~read.visible[0]).tolist() == [11]  # head and neck have no 2


def test_crowdpose_counts_head_and_neck(tmp_path: Path) -> None:
    (read,) = read_crowdpose(crowd_file(tmp_path, [0] * 12 + [1, 1]), CROWD)
    assert (len(read), len(read.ignore)) == (1, 0)


def broken(row: dict[str, Any], *, nose: Any = None, **more: Any) -> dict[str, Any]:
    row = {**row, "keypoints": list(row["keypoints"]), **more}
    if nose is not None:
        row["keypoints"][0] = nose
    return row


GOOD = person(5, 5, 40, 80)


@pytest.mark.parametrize(
    ("row", "message", "ignored"),
    [
        (broken(GOOD, bbox=[5, 5, 0, 80]), r"bbox \[5.0, 5.0, 0.0, 80.0\] has no size", True),
        (broken(GOOD, bbox=[5, 5, float("nan"), 80]), "expected four numbers x, y, width, height", True),
        (broken(GOOD, bbox=[5, 5, 40]), "expected four numbers x, y, width, height", True),
        (broken(GOOD, nose=float("nan")), "nose is labelled, but its place is not a number", True),
        (broken(GOOD, nose="left"), "keypoints holds something that is not a number", True),
        (broken(GOOD, keypoints=GOOD["keypoints"][:-1]), "50 numbers in keypoints, expected 51", True),
        (broken(GOOD, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "not made of x, y pairs", True),
        (broken(GOOD, segmentation={"counts": 3}), "an RLE without size or counts", True),
    ],
)
def test_faulty_people_stop_or_become_areas_to_ignore(
    tmp_path: Path, row: dict[str, Any], message: str, ignored: bool
) -> None:
    file = write_labels(tmp_path / "a.json", [person(90, 5, 40, 80), row])
    with pytest.raises(DataError, match=rf"a\.json: annotation 2 of image 1: .*{message}.*on_fault='skip'"):
        read_coco(file, COCO)
    faults: list[Fault] = []
    (read,) = read_coco(file, COCO, on_fault="skip", faults=faults)
    assert (len(read), len(read.ignore)) == (1, int(ignored))
    assert [fault.entry for fault in faults] == ["annotation 2 of image 1"]
    np.testing.assert_allclose(read.ignore[0].mean(), (24.5 + 44.5) / 2, atol=3)  # where he stands


def test_a_picture_with_someone_who_may_be_anywhere_is_left_out(tmp_path: Path) -> None:
    row = broken(GOOD, bbox=[5, 5, 0, 80], keypoints=GOOD["keypoints"][:-1])
    faults: list[Fault] = []
    assert read_coco(write_labels(tmp_path / "a.json", [row]), COCO, on_fault="skip", faults=faults) == []
    assert len(faults) == 2


def test_an_id_that_appears_twice(tmp_path: Path) -> None:
    rows = [{**person(5, 5, 40, 80), "id": 7}, {**person(90, 5, 40, 80), "id": 7}]
    file = write_labels(tmp_path / "a.json", rows)
    with pytest.raises(DataError, match=r"a\.json: annotation 7: its id appears twice"):
        read_coco(file, COCO)
    faults: list[Fault] = []
    (read,) = read_coco(file, COCO, on_fault="skip", faults=faults)
    assert (len(read), len(read.ignore), len(faults)) == (1, 1, 1)
    file = write_labels(tmp_path / "b.json", [rows[0], rows[0]])  # the same person again
    (read,) = read_coco(file, COCO, on_fault="skip", faults=faults)
    assert (len(read), len(read.ignore), len(faults)) == (1, 0, 2)


def test_a_picture_that_is_listed_twice(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "1.png", "width": 160, "height": 120}
    file = write_set(tmp_path, [person(5, 5, 40, 80)], images=[image, image])
    with pytest.raises(DataError, match=r"set\.json: image 1: its id appears twice"):
        read_coco(file, COCO)
    assert len(read_coco(file, COCO, on_fault="skip")) == 1


def test_a_missing_picture_is_reported(tmp_path: Path) -> None:
    file = write_labels(tmp_path / "a.json", [person(5, 5, 40, 80)])
    with pytest.raises(DataError, match=r"a\.json: image 1: its picture 000000000001\.jpg is not in"):
        read_coco(file, COCO, check_files=True)
    faults: list[Fault] = []
    assert read_coco(file, COCO, check_files=True, on_fault="skip", faults=faults) == []
    assert str(faults[0]).endswith(f"000000000001.jpg is not in {tmp_path}")


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.jpg", "a\\..\\..\\b.jpg", "", None])
def test_names_that_lead_out_of_the_data_set_are_refused(tmp_path: Path, name: str | None) -> None:
    file = write_labels(tmp_path / "a.json", [], image={"file_name": name})
    with pytest.raises(DataError, match=r"image 1: .* is not the name of a picture inside of the data set"):
        read_coco(file, COCO)


def test_a_size_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image 1: its size is 0 x 120"):
        read_coco(write_labels(tmp_path / "a.json", [], image={"width": 0}), COCO)


def test_skipped_faults_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_coco(write_labels(tmp_path / "a.json", [broken(GOOD, bbox=[5, 5, 0, 80])]), COCO, on_fault="skip")
    assert "left out" in caplog.text
    with pytest.raises(DataError, match="on_fault is 'ignore'; it must be 'stop' or 'skip'"):
        read_coco(tmp_path / "a.json", COCO, on_fault="ignore")  # type: ignore[arg-type]
