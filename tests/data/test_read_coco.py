"""COCO-style files: whom they label, whom they do not, and what a teacher adds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_coco import BODY, COCO, person, write_set

from manypose.data.coco import read_coco
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

OPENPOSE = load_skeleton("openpose18")
LSP = load_skeleton("lsp14")


def teacher_row(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    scores = {"score": 0.9} | {k: v for k, v in more.items() if k == "score"}
    places = BODY * (width, height) + (x, y)
    values = np.column_stack([places, np.full(17, scores["score"])])
    for joint, score in more.get("joint_scores", {}).items():
        values[COCO.index(joint), 2] = score
    return {
        "image_id": 1,
        "bbox": [x, y, width, height],
        "box_score": more.get("box_score", 0.9),
        "keypoints": values.ravel().tolist(),
    }


def write_teacher(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "teacher.json.gz"
    file.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return file


def test_joints_go_by_name_and_the_neck_is_derived(tmp_path: Path) -> None:
    (picture,) = read_coco(write_set(tmp_path, [person(10, 20, 50, 90)]), OPENPOSE)
    assert picture.keypoints.shape == (1, 18, 2)
    np.testing.assert_allclose(picture.keypoints[0, OPENPOSE.index("left_wrist")], (10 + 44, 20 + 46.8), atol=1e-4)
    np.testing.assert_allclose(picture.keypoints[0, OPENPOSE.index("neck")], (10 + 25, 20 + 19.8), atol=1e-4)
    assert not picture.unsure.any()
    assert picture.size == (160, 120)


def test_boxes_of_files_lie_along_the_edges_of_pixels(tmp_path: Path) -> None:
    (picture,) = read_coco(write_set(tmp_path, [person(10, 20, 50, 90)]), OPENPOSE)
    np.testing.assert_array_equal(picture.boxes, [[9.5, 19.5, 59.5, 109.5]])


def test_joints_without_a_flag_are_absent(tmp_path: Path) -> None:
    (picture,) = read_coco(write_set(tmp_path, [person(10, 20, 50, 90, absent=("left_shoulder",))]), OPENPOSE)
    absent = {OPENPOSE.joints[k] for k in np.flatnonzero(np.isnan(picture.keypoints[0, :, 0]))}
    assert absent == {"left_shoulder", "neck"}


def test_people_without_joints_and_crowds_are_areas_to_ignore(tmp_path: Path) -> None:
    rows = [
        person(5, 5, 40, 80),
        person(50, 5, 40, 80, absent=COCO.joints),
        person(100, 5, 50, 100, iscrowd=1),
    ]
    (picture,) = read_coco(write_set(tmp_path, rows), OPENPOSE)
    assert len(picture.keypoints) == len(picture.boxes) == 1
    np.testing.assert_array_equal(picture.ignore[:, 0], [49.5, 99.5])


def test_the_number_of_joints_is_counted_where_the_file_does_not_say_it(tmp_path: Path) -> None:
    row = person(5, 5, 40, 80)
    del row["num_keypoints"]
    (picture,) = read_coco(write_set(tmp_path, [row]), OPENPOSE)
    assert (len(picture.keypoints), len(picture.ignore)) == (1, 0)


def test_annotations_of_other_things_are_not_people(tmp_path: Path) -> None:
    dog = person(60, 5, 40, 80, absent=COCO.joints, category_id=18)
    (picture,) = read_coco(write_set(tmp_path, [person(5, 5, 40, 80), dog]), OPENPOSE)
    assert len(picture.ignore) == 0


def test_a_file_without_joints_has_only_areas(tmp_path: Path) -> None:
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 20], "keypoints": [], "num_keypoints": 0}]
    file = write_set(tmp_path, [], annotations=boxes, categories=[{"id": 1, "name": "person", "keypoints": []}])
    (picture,) = read_coco(file, OPENPOSE)
    assert picture.keypoints.shape == (0, 18, 2)
    np.testing.assert_array_equal(picture.ignore, [[-0.5, -0.5, 9.5, 19.5]])


def test_joints_that_the_file_does_not_know_are_unsure(tmp_path: Path) -> None:
    (picture,) = read_coco(lsp_set(tmp_path), OPENPOSE)
    unsure = {OPENPOSE.joints[k] for k in np.flatnonzero(picture.unsure[0])}
    assert unsure == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}


def lsp_set(folder: Path) -> Path:
    """One person with the joints of Leeds Sports Pose, at the place of `person(10, 10, 50, 100)`."""
    places = {joint: BODY[COCO.index(joint)] * (50, 100) + 10 for joint in LSP.joints if joint in COCO.joints}
    shoulders = (places["left_shoulder"] + places["right_shoulder"]) / 2
    keypoints = [v for joint in LSP.joints for v in (*places.get(joint, shoulders), 2)]
    row = person(10, 10, 50, 100) | {"keypoints": keypoints, "num_keypoints": 14}
    category = {"id": 1, "name": "person", "keypoints": list(LSP.joints)}
    file = write_set(folder, [], categories=[category])
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": [{"id": 1, **row}]}))
    return file


def test_a_teachers_people_are_added(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path, [teacher_row(100, 10, 40, 90)])
    (picture,) = read_coco(write_set(tmp_path, [person(5, 5, 40, 80)]), OPENPOSE, teacher=teacher)
    assert len(picture.keypoints) == 2
    np.testing.assert_allclose(picture.keypoints[1, 0], (120, 17.2), atol=1e-4)
    assert not picture.unsure.any()


def test_a_teachers_person_who_is_labelled_is_not_added_again(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path, [teacher_row(8, 8, 40, 76), teacher_row(8, 5, 34, 40)])
    (picture,) = read_coco(write_set(tmp_path, [person(5, 5, 40, 80)]), OPENPOSE, teacher=teacher)
    assert (len(picture.keypoints), len(picture.ignore)) == (1, 0)


@pytest.mark.parametrize("doubt", [{"box_score": 0.4}, {"score": 0.2}])
def test_a_teachers_doubtful_person_is_an_area_to_ignore(tmp_path: Path, doubt: dict[str, float]) -> None:
    teacher = write_teacher(tmp_path, [teacher_row(100, 10, 40, 90, **doubt)])
    (picture,) = read_coco(write_set(tmp_path, [person(5, 5, 40, 80)]), OPENPOSE, teacher=teacher)
    assert len(picture.keypoints) == 1
    np.testing.assert_array_equal(picture.ignore, [[99.5, 9.5, 139.5, 99.5]])


def test_a_teachers_doubtful_joint_is_unsure_and_a_hopeless_one_absent(tmp_path: Path) -> None:
    row = teacher_row(100, 10, 40, 90, joint_scores={"left_wrist": 0.2, "right_wrist": 0.05})
    (picture,) = read_coco(write_set(tmp_path, []), OPENPOSE, teacher=write_teacher(tmp_path, [row]))
    absent = np.flatnonzero(np.isnan(picture.keypoints[0, :, 0]))
    assert {OPENPOSE.joints[k] for k in absent} == {"left_wrist", "right_wrist"}
    assert {OPENPOSE.joints[k] for k in np.flatnonzero(picture.unsure[0])} == {"left_wrist"}


def test_an_unlabelled_person_whom_the_teacher_knows_is_no_area_any_more(tmp_path: Path) -> None:
    rows = [person(100, 10, 40, 90, absent=COCO.joints), person(10, 10, 30, 60, absent=COCO.joints)]
    teacher = write_teacher(tmp_path, [teacher_row(101, 11, 40, 90)])
    (picture,) = read_coco(write_set(tmp_path, rows), OPENPOSE, teacher=teacher)
    assert len(picture.keypoints) == 1
    np.testing.assert_array_equal(picture.ignore[:, 0], [9.5])


def test_unknown_joints_come_from_a_teacher_who_agrees(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path, [teacher_row(11, 11, 50, 100)])
    (picture,) = read_coco(lsp_set(tmp_path), OPENPOSE, teacher=teacher)
    assert len(picture.keypoints) == 1
    np.testing.assert_allclose(picture.keypoints[0, OPENPOSE.index("nose")], (36, 19), atol=1e-4)
    np.testing.assert_allclose(picture.keypoints[0, OPENPOSE.index("left_knee")], (42, 84), atol=1e-4)  # the label's
    assert not picture.unsure.any()


def test_unknown_joints_stay_unsure_where_the_teacher_disagrees(tmp_path: Path) -> None:
    upside_down = teacher_row(10, 110, 50, -100) | {"bbox": [10, 10, 50, 100]}
    (picture,) = read_coco(lsp_set(tmp_path), OPENPOSE, teacher=write_teacher(tmp_path, [upside_down]))
    assert picture.unsure[0, OPENPOSE.index("nose")]
    assert np.isnan(picture.keypoints[0, OPENPOSE.index("nose")]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"set\.json: No such file or directory: give the path"),
        ("{", r"set\.json: not a COCO-style keypoint file: JSONDecodeError"),
        ("[]", r"set\.json: not a COCO-style keypoint file"),
        ('{"images": []}', r"set\.json: not a COCO-style keypoint file: KeyError 'annotations'"),
    ],
)
def test_files_that_are_no_coco(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "set.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_coco(tmp_path / "set.json", OPENPOSE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"t\.json\.gz: No such file or directory: give the path of a teacher's labels"),
        (b"[]", r"t\.json\.gz: not a gzip file"),
        (gzip.compress(b"[" * 1000, mtime=0)[:-20], r"t\.json\.gz: not a teacher's labels"),
        (gzip.compress(b'[{"bbox": 1}]', mtime=0), r"t\.json\.gz: not a teacher's labels: KeyError 'image_id'"),
    ],
)
def test_faults_of_a_teachers_file_name_that_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "t.json.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_coco(write_set(tmp_path, []), OPENPOSE, teacher=tmp_path / "t.json.gz")


def test_pictures_are_read_out_of_the_zip_and_shrunk_with_their_labels(tmp_path: Path) -> None:
    (picture,) = read_coco(write_set(tmp_path, [person(10, 20, 50, 90)]), OPENPOSE)
    assert picture.read().shape == (120, 160, 3)
    small, pixels = picture.shrunk(80)
    assert pixels.shape == (60, 80, 3)
    assert small.size == (80, 60)
    np.testing.assert_allclose(small.keypoints, (picture.keypoints + 0.5) / 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(small.boxes, (picture.boxes + 0.5) / 2 - 0.5, atol=1e-4)
    same, _ = picture.shrunk(400)
    assert same is picture


def test_pictures_that_cannot_be_had(tmp_path: Path) -> None:
    file = write_set(tmp_path, [])
    content = json.loads(file.read_text())
    image = content["images"][0]
    for change, message in (
        ({"file_name": "7.png"}, r"cannot read 7\.png: the zip file does not hold it"),
        ({"zip": "none.zip"}, r"none\.zip: cannot read 1\.png: No such file"),
        ({"width": 150}, r"1\.png: 160 x 120 pixels, but its labels are for 150 x 120"),
        ({"zip": "set.json"}, r"set\.json: cannot read 1\.png: File is not a zip file"),
    ):
        file.write_text(json.dumps(content | {"images": [image | change]}))
        (picture,) = read_coco(file, OPENPOSE)
        with pytest.raises(DataError, match=message):
            picture.read()


@pytest.mark.shared
def test_the_shared_set_is_read(shared_data: Path) -> None:
    folder = shared_data / "coco"
    pictures = read_coco(folder / "train.json", OPENPOSE, teacher=folder / "teacher.json.gz")
    assert len(pictures) == 365
    assert sum(len(picture.keypoints) for picture in pictures) > 779
    assert pictures[0].read().shape[1::-1] == pictures[0].size
