"""MPII: JSON lists of people, and the .mat file in all its shapes; both count pixels from 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from small_sets import body, write_picture

from manypose.data.faults import Fault
from manypose.data.mpii import read_mpii_json, read_mpii_mat
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

MPII = load_skeleton("mpii16")
COCO = load_skeleton("coco17")


def person(**more: Any) -> dict[str, Any]:
    joints = body(16).tolist()
    joints[3] = [-1, -1]
    given = {
        "image": "a.jpg",
        "center": [81, 61],
        "scale": 0.5,
        "joints": joints,
        "joints_vis": [1] * 3 + [0] + [1] * 12,
    }
    return given | more


def write_json(folder: Path, people: list[Any], name: str = "train.json") -> Path:
    for picture in {row["image"] for row in people if isinstance(row, dict) and row.get("image")}:
        write_picture(folder / "images" / picture)
    (folder / "annot").mkdir(parents=True, exist_ok=True)
    (folder / "annot" / name).write_text(json.dumps(people))
    return folder / "annot" / name


def test_json_places_count_from_one(tmp_path: Path) -> None:
    file = write_json(tmp_path, [person(), person(image="b.jpg"), person(center=[41, 61], scale=0.25)])
    a, b = read_mpii_json(file, MPII)
    assert (a.name, b.name) == ("a.jpg", "b.jpg")
    assert a.archive == tmp_path / "images"
    assert (len(a), len(b)) == (2, 1)
    expected = body(16) - 1
    expected[3] = np.nan
    np.testing.assert_array_equal(a.keypoints[0], expected)
    np.testing.assert_array_equal(a.boxes, [[30, 10, 130, 110], [15, 35, 65, 85]])
    assert (a.size, a.head_boxes, a.person_ids.tolist()) == ((160, 120), None, [0, 2])


def test_json_joints_by_name(tmp_path: Path) -> None:
    (read,) = read_mpii_json(write_json(tmp_path, [person()]), COCO)
    np.testing.assert_array_equal(read.keypoints[0, COCO.index("left_wrist")], body(16)[15] - 1)
    assert {COCO.joints[k] for k in np.flatnonzero(read.unsure[0])} == set(COCO.joints[:5])


def test_head_boxes_come_from_the_file_of_the_evaluation(tmp_path: Path) -> None:
    file = write_json(tmp_path, [person(), person()], "valid.json")
    boxes = np.arange(8, dtype=float).reshape(2, 2, 2)  # corner, x or y, person
    scipy.io.savemat(file.parent / "gt_valid.mat", {"headboxes_src": boxes})
    (read,) = read_mpii_json(file, MPII)
    np.testing.assert_array_equal(read.head_boxes, [[-1, 1, 3, 5], [0, 2, 4, 6]])
    (alone,) = read_mpii_json(write_json(tmp_path, [person()]), MPII)  # of another length: another part's
    assert alone.head_boxes is None
    with pytest.raises(DataError, match=r"gt_valid\.mat: headboxes_src has shape \(2, 2, 2\), expected \(2, 2, 1\)"):
        read_mpii_json(tmp_path / "annot" / "train.json", MPII, heads=file.parent / "gt_valid.mat")


@pytest.mark.parametrize(
    ("more", "message", "left"),
    [
        ({"joints": body(15).tolist()}, r"joints of shape \(15, 2\) and joints_vis \(16,\), expected 16 x 2 and 16", 1),
        ({"joints": [[float("nan"), 3]] * 16}, "right_ankle is labelled, but its place is not a number", 1),
        ({"scale": 0}, "center .* and scale 0 make no box", 1),  # his joints say where he is
        ({"scale": 0, "joints": []}, "make no box", 0),  # nobody knows where he is
        ({"image": "../a.jpg"}, "not the name of a picture inside", 1),
        ({"image": None}, "not the name of a picture inside", 1),
    ],
)
def test_json_faults(tmp_path: Path, more: dict[str, Any], message: str, left: int) -> None:
    file = write_json(tmp_path, [person(image="a.jpg")])
    file.write_text(json.dumps([person(), person(**more)]))
    with pytest.raises(DataError, match=rf"train\.json: person 1.*{message}"):
        read_mpii_json(file, MPII)
    faults: list[Fault] = []
    assert len(read_mpii_json(file, MPII, on_fault="skip", faults=faults)) == left
    assert {fault.entry.split()[1] for fault in faults} == {"1"}


def test_json_missing_pictures_and_missing_fields(tmp_path: Path) -> None:
    file = write_json(tmp_path, [person()])
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"train\.json: image a\.jpg: its picture is not to be had"):
        read_mpii_json(file, MPII)
    (tmp_path / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"image a\.jpg: its picture .*a\.jpg is broken"):
        read_mpii_json(file, MPII)
    with pytest.raises(DataError, match=r"person 0 \(a\.jpg\): it has no center"):
        read_mpii_json(write_json(tmp_path, [{"image": "a.jpg"}]), MPII)
    with pytest.raises(DataError, match="not a list of MPII's people as JSON"):
        read_mpii_json(write_json(tmp_path, []), MPII, content={"images": []})


def structs(rows: list[dict[str, Any]]) -> Any:
    """A struct array, as Matlab saves it."""
    array = np.empty((1, len(rows)), [(key, object) for key in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def points(ids: range, **more: Any) -> Any:
    rows = [{"x": body(16)[k, 0], "y": body(16)[k, 1], "id": k, **{key: v[k] for key, v in more.items()}} for k in ids]
    return {"point": structs(rows)}


def rect(**more: Any) -> dict[str, Any]:
    given = {"x1": 11, "y1": 21, "x2": 31, "y2": 41, "annopoints": points(range(15, 2, -1)), "scale": 0.5}
    return given | {"objpos": {"x": 81.0, "y": 61.0}} | more


def write_mat(folder: Path, annolist: list[Any], train: list[int]) -> Path:
    rows = []
    for index, rects in enumerate(annolist, 1):
        write_picture(folder / "images" / f"{index:09d}.jpg")
        rows.append({"image": {"name": f"{index:09d}.jpg"}, "annorect": rects, "frame_sec": np.zeros((0, 0))})
    file = folder / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    file.parent.mkdir(exist_ok=True)
    scipy.io.savemat(file, {"RELEASE": {"annolist": structs(rows), "img_train": np.array([train])}})
    return file


def test_mat_points_are_found_by_their_id(tmp_path: Path) -> None:
    (read,) = read_mpii_mat(write_mat(tmp_path, [structs([rect()])], [1]), MPII)
    expected = body(16) - 1
    expected[:3] = np.nan
    np.testing.assert_array_equal(read.keypoints[0], expected)
    np.testing.assert_array_equal(read.boxes, [[30, 10, 130, 110]])
    np.testing.assert_array_equal(read.head_boxes, [[10, 20, 30, 40]])
    assert read.visible[0, 3:].all()  # it does not say, so they are


def test_mat_visibility_has_many_spellings(tmp_path: Path) -> None:
    spellings = ["1", "0", 1, 0, np.zeros((0, 0)), 1.0, 0.0, "1", *[1] * 8]
    (read,) = read_mpii_mat(
        write_mat(tmp_path, [structs([rect(annopoints=points(range(16), is_visible=spellings))])], [1]), MPII
    )
    assert np.flatnonzero(~read.visible[0]).tolist() == [1, 3, 6]
    assert not np.isnan(read.keypoints).any()


def test_mat_people_without_points_are_areas_to_ignore(tmp_path: Path) -> None:
    nothing = np.zeros((0, 0))
    rough = rect(annopoints=nothing, x1=nothing)
    nobody = rect(annopoints=nothing, objpos=nothing, scale=nothing)
    annolist = [structs([rect(), rough, nobody]), rough, nothing]  # several people, one alone, none
    a, b, c = read_mpii_mat(write_mat(tmp_path, annolist, [1, 0, 0]), MPII)
    assert [(len(p), len(p.ignore)) for p in (a, b, c)] == [(1, 1), (0, 1), (0, 0)]
    np.testing.assert_array_equal(b.ignore, [[30, 10, 130, 110]])


def test_mat_parts(tmp_path: Path) -> None:
    file = write_mat(tmp_path, [structs([rect()]), structs([rect()]), structs([rect()])], [1, 0, 1])
    assert [p.name for p in read_mpii_mat(file, MPII, part="train")] == ["000000001.jpg", "000000003.jpg"]
    assert [p.name for p in read_mpii_mat(file, MPII, part="test")] == ["000000002.jpg"]
    with pytest.raises(DataError, match="has no part 'val', only train and test; split a part off by picture"):
        read_mpii_mat(file, MPII, part="val")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"annopoints": {"point": structs([{"x": 1.0, "y": 2.0, "id": 16}])}}, "a point has the id 16"),
        ({"annopoints": {"point": structs([{"x": np.nan, "y": 2.0, "id": 6}])}}, "pelvis is labelled, but its place"),
        ({"objpos": np.zeros((0, 0))}, "a labelled person without objpos and scale"),
        ({"scale": -1.0}, "make no box"),
    ],
)
def test_mat_faults(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    file = write_mat(tmp_path, [structs([rect(), rect(**more)])], [1])
    with pytest.raises(DataError, match=rf"u12_1\.mat: annolist\(1\)\.annorect\(2\): .*{message}"):
        read_mpii_mat(file, MPII)
    faults: list[Fault] = []
    pictures = read_mpii_mat(file, MPII, on_fault="skip", faults=faults)
    assert len(faults) == 1
    assert all((len(p), len(p.ignore)) == (1, 1) for p in pictures)


def test_files_that_are_no_mat(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mat: .*give the path of a \.mat file"):
        read_mpii_mat(tmp_path / "none.mat", MPII)
    (tmp_path / "text.mat").write_text("no Matlab at all " * 20)
    with pytest.raises(DataError, match=r"text\.mat: not a \.mat file"):
        read_mpii_mat(tmp_path / "text.mat", MPII)
    scipy.io.savemat(tmp_path / "other.mat", {"a": 1})
    with pytest.raises(DataError, match=r"other\.mat: not MPII's annotations"):
        read_mpii_mat(tmp_path / "other.mat", MPII)
