"""The doctor of data sets: planted faults are found and named; a clean set passes; so does a repaired one."""

from __future__ import annotations

import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_coco import BODY, COCO, person, write_set

from manypose.data.check import Checked, check_dataset, check_pictures_read, write_report
from manypose.data.check.findings import KINDS
from manypose.data.check.repair import repair
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, OutputError

Row = dict[str, Any]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Three pictures with four people without any fault."""
    people = [
        person(10, 10, 40, 90),
        person(80, 20, 50, 80),
        person(30, 15, 60, 100, image_id=2, absent=("left_ankle",)),
        person(5, 5, 60, 100, image_id=3),
    ]
    return write_set(tmp_path / "clean", people, pictures=3)


def change(file: Path, **lists: Any) -> Path:
    """Edit the rows of a file: `annotations={0: {...}}` updates a row, None deletes a field, a list appends rows."""
    content = json.loads(file.read_text())
    for key, edits in lists.items():
        if isinstance(edits, list):
            content[key] += edits
            continue
        for index, fields in edits.items():
            row = content[key][index] | fields
            content[key][index] = {name: value for name, value in row.items() if value is not None}
    file.write_text(json.dumps(content))
    return file


def kinds(checked: Checked) -> set[str]:
    """What was found, without the notes."""
    return {kind for kind in checked.report.by_kind() if KINDS[kind][0] != "note"}


def joints(row: int, file: Path, edits: dict[int, list[Any]]) -> Row:
    """The keypoints of a row with some joints replaced."""
    values = json.loads(file.read_text())["annotations"][row]["keypoints"]
    for joint, triple in edits.items():
        values[3 * joint : 3 * joint + 3] = triple
    return {"keypoints": values}


def test_a_clean_set_has_no_findings(clean: Path) -> None:
    checked = check_dataset([clean])
    assert checked.report.findings == ()
    counts = checked.report.counts[str(clean)]
    assert (counts["pictures"], counts["annotations"], counts["people_with_joints"]) == (3, 4, 4)
    assert counts["joints"] == 4 * 17 - 1
    assert counts["joint_flags"]["left_ankle"] == {"visible": 3, "hidden": 0, "absent": 1}
    assert checked.report.histograms["joints per person"] == {"values": [16, 17], "counts": [1, 3]}
    assert checked.report.histograms["people per picture"] == {"values": [1, 2], "counts": [2, 1]}


PLANTED: list[tuple[str, str, dict[str, Any]]] = [
    ("field-missing", r"annotations\[1\] .*: bbox is None", {"annotations": {1: {"bbox": None}}}),
    ("field-missing", r"annotations\[4\]: not an object but 'text'", {"annotations": ["text"]}),
    ("field-missing", r"images\[1\] .*: no good width or height", {"images": {1: {"width": None}}}),
    ("duplicate-annotation-id", r"annotations\[3\] .*has the id of annotations\[0\]", {"annotations": {3: {"id": 0}}}),
    ("unknown-image", r"annotations\[3\] .*: image_id 77 is no picture", {"annotations": {3: {"image_id": 77}}}),
    ("unknown-category", r"annotations\[0\] .*: category_id 9", {"annotations": {0: {"category_id": 9}}}),
    ("joint-count", r"annotations\[2\] .*: 6 numbers, expected 51", {"annotations": {2: {"keypoints": [1, 1, 2] * 2}}}),
    ("not-a-number", r"annotations\[0\] .*: bbox is", {"annotations": {0: {"bbox": [1, 1, float("nan"), 4]}}}),
    ("box-empty", r"annotations\[0\] .*: the box 10, 10, 0, 90 has", {"annotations": {0: {"bbox": [10, 10, 0, 90]}}}),
    ("box-outside", r"annotations\[0\] .*200, 10, 20, 20 lies", {"annotations": {0: {"bbox": [200, 10, 20, 20]}}}),
    ("box-beside", r"annotations\[0\] .*reaches over", {"annotations": {0: {"bbox": [-5, 10, 60, 90]}}}),
    ("count-wrong", r"annotations\[0\] .*num_keypoints is 3, but 17", {"annotations": {0: {"num_keypoints": 3}}}),
    ("area-odd", r"annotations\[0\] .*area is -1", {"annotations": {0: {"area": -1}}}),
    ("segment-odd", r"annotations\[0\] .*a polygon is \[1, 2\]", {"annotations": {0: {"segmentation": [[1, 2]]}}}),
    ("segment-odd", r"mask is for \[1, 2\]", {"annotations": {0: {"segmentation": {"size": [1, 2], "counts": ""}}}}),
    ("unsafe-name", r"images\[0\]: file_name '\.\./1\.png' leads out", {"images": {0: {"file_name": "../1.png"}}}),
    ("picture-missing", r"images\[2\] \(id 3, no\.png\): .*cannot read", {"images": {2: {"file_name": "no.png"}}}),
    ("size-wrong", r"images\[1\] .*: it has 160 x 120 .* 160 x 121", {"images": {1: {"height": 121}}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "edits"), PLANTED, ids=[f"{p[0]}-{i}" for i, p in enumerate(PLANTED)])
def test_a_planted_fault_is_found_named_and_repaired(
    clean: Path, tmp_path: Path, kind: str, message: str, edits: dict[str, Any]
) -> None:
    checked = check_dataset([change(clean, **edits)])
    texts = [str(finding) for finding in checked.report.findings if finding.kind == kind]
    assert any(re.search(message, text) for text in texts), checked.report.findings
    assert all(text.startswith(f"{clean}: ") for text in texts)
    assert bool(checked.report.errors) == (KINDS[kind][0] == "error")
    copied = repair(checked, tmp_path / "fixed")
    assert copied.changes
    again = check_dataset(copied.files)
    assert again.report.errors == ()
    assert kind not in again.report.by_kind()


@pytest.mark.parametrize(
    ("kind", "message", "edits"),
    [
        ("not-a-number", "joint left_eye is not finite", {1: [float("nan"), 5, 2]}),
        ("not-a-number", "joint left_eye, right_eye is not finite", {1: ["x", 5, 2], 2: [None, 1, 1]}),
        ("flag-odd", "the flag of nose is 7", {0: [30, 17, 7]}),
        ("joint-outside", "nose at 300, 10 is far outside of the picture", {0: [300, 10, 2]}),
        ("joint-beside", "nose at 30, -4 is outside of the picture", {0: [30, -4, 2]}),
        ("joint-far-from-box", "nose at 150, 17 is far outside of the person's box", {0: [150, 17, 2]}),
    ],
)
def test_faults_of_single_joints(
    clean: Path, tmp_path: Path, kind: str, message: str, edits: dict[int, list[Any]]
) -> None:
    checked = check_dataset([change(clean, annotations={0: joints(0, clean, edits)})])
    texts = [str(finding) for finding in checked.report.findings if finding.kind == kind]
    assert len(texts) == 1
    assert re.search(rf"annotations\[0\] \(id 0, 1\.png\): {message}", texts[0])
    if KINDS[kind][0] == "error":
        again = check_dataset(repair(checked, tmp_path / "fixed").files)
        assert again.report.errors == ()
        assert again.report.counts[str(tmp_path / "fixed" / "set.json")]["joints"] == 67 - len(edits)


def test_joints_in_one_place(clean: Path) -> None:
    piled = {"keypoints": [30, 40, 2] * 17}
    assert kinds(check_dataset([change(clean, annotations={0: piled})])) == {"joints-piled"}


def test_a_joint_on_the_corner_of_its_box_was_never_set(clean: Path) -> None:
    corner = joints(0, clean, {16: [10, 10, 2]})  # of a box that is larger than the joints
    checked = check_dataset([change(clean, annotations={0: corner, 1: {"keypoints": None, "num_keypoints": 0}})])
    (finding,) = [finding for finding in checked.report.findings if finding.kind == "joint-at-corner"]
    assert finding.annotation == 0
    assert "right_ankle at 10, 10 is the corner of the person's box" in finding.text
    places = np.array(corner["keypoints"]).reshape(17, 3)[:, :2]
    tight = [10, 10, *(places.max(axis=0) - 10).tolist()]
    assert "joint-at-corner" not in kinds(check_dataset([change(clean, annotations={0: {"bbox": tight}})]))


def test_a_person_annotated_twice(clean: Path, tmp_path: Path) -> None:
    twin = json.loads(clean.read_text())["annotations"][0] | {"id": 50}
    near = person(80.2, 20, 50, 80) | {"id": 51}
    checked = check_dataset([change(clean, annotations=[twin, near])])
    assert kinds(checked) == {"duplicate-person", "person-twice"}
    assert [f.annotation for f in checked.report.findings] == [4, 5]
    copied = repair(checked, tmp_path / "fixed")
    assert [row["id"] for row in json.loads(copied.files[0].read_text())["annotations"]] == [0, 1, 2, 3, 51]


def test_boxes_alone_are_compared_by_themselves(tmp_path: Path) -> None:
    bare = {"keypoints": [], "num_keypoints": 0}
    people = [person(10, 10, 40, 90, **bare), person(10, 10, 40, 90, **bare), person(60, 10, 40, 90, **bare)]
    file = write_set(tmp_path, people, categories=[{"id": 1, "name": "person"}])
    checked = check_dataset([file])
    assert kinds(checked) == {"duplicate-person"}
    assert "3 annotations have no joints, 0 of them crowds" in str(checked.report.findings[-1])
    assert "sheet.png" in {made.name for made in write_report(checked, tmp_path / "out")}


def test_pictures_without_people_and_crowds_are_noted(tmp_path: Path) -> None:
    crowd = person(60, 10, 40, 90, iscrowd=1, keypoints=[0] * 51, num_keypoints=0)
    checked = check_dataset([write_set(tmp_path, [person(10, 10, 40, 90), crowd], pictures=3)], pictures=False)
    assert kinds(checked) == set()
    assert [finding.text for finding in checked.report.findings] == [
        "1 annotations have no joints, 1 of them crowds",
        "2 pictures have no annotation",
    ]


# Ids of pictures


def test_two_pictures_with_one_id_go_and_their_people_with_them(clean: Path, tmp_path: Path) -> None:
    checked = check_dataset([change(clean, images={1: {"id": 1}}, annotations={2: {"image_id": 1}})])
    assert "images[1] (id 1, 2.png): has the id of images[0]" in str(checked.report.errors[0])
    content = json.loads(repair(checked, tmp_path / "fixed").files[0].read_text())
    assert [row["file_name"] for row in content["images"]] == ["3.png"]
    assert [row["id"] for row in content["annotations"]] == [3]


def test_a_picture_listed_twice_becomes_one(clean: Path, tmp_path: Path) -> None:
    again = json.loads(clean.read_text())["images"][0] | {"id": 9}
    twin = json.loads(clean.read_text())["annotations"][0] | {"id": 50, "image_id": 9}
    checked = check_dataset([change(clean, images=[again], annotations=[twin])])
    assert kinds(checked) == {"duplicate-picture"}
    copied = repair(checked, tmp_path / "fixed")  # joined, the same person is there twice
    content = json.loads(copied.files[0].read_text())
    assert (len(content["images"]), len(content["annotations"])) == (3, 4)
    assert check_dataset(copied.files).report.findings == ()


# Left and right

SWAPS = {
    "face": ("the eyes are in the wrong order", ("left_eye", "right_eye", "left_ear", "right_ear")),
    "ears": ("the ears run against the eyes", ("left_ear", "right_ear")),
    "torso": ("the shoulders run against the hips", ("left_hip", "right_hip")),
    "back": ("the shoulders run against a face", ("left_shoulder", "right_shoulder", "left_hip", "right_hip")),
    "knees": ("the knees are swapped", ("left_knee", "right_knee")),
}


@pytest.mark.parametrize("rule", SWAPS)
@pytest.mark.parametrize("turn", [0, 130])
def test_swapped_sides_are_suspected_however_the_picture_is_turned(tmp_path: Path, rule: str, turn: int) -> None:
    text, names = SWAPS[rule]
    places = BODY * (300, 500) + (100, 50)
    pairs = [COCO.index(name) for name in names]
    swapped = places.copy()
    swapped[pairs] = swapped[COCO.flip[pairs]]
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    rows = []
    for points in (places, swapped):
        turned = (points - (250, 300)) @ np.array([[cosine, sine], [-sine, cosine]]) + (400, 400)
        keypoints = np.column_stack([turned, np.full(17, 2)]).ravel().tolist()
        rows.append(person(50, 50, 700, 700, keypoints=keypoints, image_id=len(rows) + 1))
    checked = check_dataset([write_set(tmp_path, rows, size=(800, 800), pictures=2)], pictures=False)
    suspects = [finding for finding in checked.report.findings if finding.kind == "sides-swapped"]
    assert [finding.annotation for finding in suspects] == [1]
    assert text in suspects[0].text
    assert checked.report.counts[str(tmp_path / "set.json")]["sides"][rule] == {"judged": 2, "suspected": 1}


def test_a_whole_file_with_left_and_right_swapped_is_an_error(tmp_path: Path) -> None:
    people = []
    for number in range(1, 31):
        row = person(10, 10, 100, 100, image_id=number)
        row["keypoints"] = np.array(row["keypoints"]).reshape(17, 3)[COCO.flip].ravel().tolist()
        people.append(row)
    checked = check_dataset([write_set(tmp_path, people, pictures=30)], pictures=False)
    assert [error.kind for error in checked.report.errors] == ["sides-swapped-all"]
    assert "30 of the 30 people" in checked.report.errors[0].text


def test_mirrored_faces_are_suspected_by_their_shape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    half = rng.uniform(10, 90, (10, 2)) * (0.5, 1)
    names = [f"{side}_{i}" for side in ("left", "right") for i in range(10)]
    rows = []
    for number in range(1, 6):
        face = np.concatenate([half, half * (-1, 1) + (100, 0)])
        face += rng.normal(0, 0.5, face.shape)
        if number == 4:
            face = np.concatenate([face[10:], face[:10]])
        keypoints = np.column_stack([face, np.full(20, 2)]).ravel().tolist()
        rows.append(person(0, 0, 110, 110, keypoints=keypoints, num_keypoints=20, image_id=number))
    category = [{"id": 1, "name": "face", "keypoints": names}]
    checked = check_dataset([write_set(tmp_path, rows, pictures=5, categories=category)], pictures=False)
    assert [f.annotation for f in checked.report.findings if f.kind == "sides-swapped"] == [3]


# Pictures


def rewrite(archive: Path, **members: bytes | None) -> None:
    """Replace members of a zip file, by their names without ending; None removes one."""
    with zipfile.ZipFile(archive) as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(archive, "w") as made:
        for name, data in content.items():
            new = members.get(name[0] and f"_{name.split('.')[0]}", data)
            if new is not None:
                made.writestr(name, new)


def test_damaged_pictures(clean: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(clean.parent / "images.zip") as opened:
        half = opened.read("1.png")[:200]
    rewrite(clean.parent / "images.zip", _1=half, _2=b"no picture", _3=None)
    checked = check_dataset([clean])
    assert [(error.kind, error.image) for error in checked.report.errors] == [
        ("picture-missing", 2),
        ("picture-damaged", 0),
        ("picture-damaged", 1),
    ]
    content = json.loads(repair(checked, tmp_path / "fixed").files[0].read_text())
    assert (content["images"], content["annotations"]) == ([], [])


def noise(seed: int, *, quality: int | None = None) -> bytes:
    """A smooth picture of 160 x 120; as JPEG with a quality."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    large = cv2.resize(small, (160, 120), interpolation=cv2.INTER_CUBIC)
    if quality is None:
        return cv2.imencode(".png", large)[1].tobytes()
    return cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """A folder with train.json and val.json of three pictures each, all different."""
    for seed, name in ((0, "train"), (10, "val")):
        people = [person(10, 10, 40, 90, image_id=number) for number in (1, 2, 3)]
        file = write_set(tmp_path / "splits", people, pictures=3, split=name)
        file.rename(file.with_name(f"{name}.json"))
        archive = (tmp_path / "splits" / "images.zip").rename(tmp_path / "splits" / f"{name}.zip")
        rewrite(archive, **{f"_{n}": noise(seed + n) for n in (1, 2, 3)})
        change(file.with_name(f"{name}.json"), images={n: {"zip": archive.name} for n in range(3)})
    return tmp_path / "splits"


def test_splits_of_different_pictures_have_no_findings(splits: Path) -> None:
    assert check_dataset([splits]).report.findings == ()


def test_the_splits_of_a_folder_are_compared(splits: Path, tmp_path: Path) -> None:
    rewrite(splits / "val.zip", _1=noise(2), _2=noise(3, quality=60))
    checked = check_dataset([splits])
    assert [(f.kind, f.file.name, f.image) for f in checked.report.findings] == [
        ("same-in-splits", "train.json", 1),
        ("alike-in-splits", "val.json", 1),
    ]
    assert "equals images[0] (id 1, 1.png)" in checked.report.findings[0].text
    assert re.search(r"looks like images\[2\] .*train\.json \(\d of 64 bits apart", checked.report.findings[1].text)
    copied = repair(checked, tmp_path / "fixed")
    assert [len(json.loads(file.read_text())["images"]) for file in copied.files] == [2, 3]
    assert check_dataset([tmp_path / "fixed"]).report.errors == ()


def test_mirror_images_are_found_too(splits: Path) -> None:
    mirrored = cv2.imdecode(np.frombuffer(noise(2, quality=95), np.uint8), cv2.IMREAD_COLOR)[:, ::-1]
    rewrite(splits / "val.zip", _3=cv2.imencode(".jpg", mirrored, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes())
    (finding,) = check_dataset([splits]).report.findings
    assert (finding.kind, finding.file.name, finding.image) == ("alike-in-splits", "val.json", 2)
    assert re.search(r"looks like the mirror image of images\[1\] .*train\.json \(\d of 64 bits apart", finding.text)


def test_a_symmetric_picture_and_its_copy_are_one_finding(splits: Path) -> None:
    half = cv2.imdecode(np.frombuffer(noise(7), np.uint8), cv2.IMREAD_COLOR)[:, :80]
    symmetric = np.concatenate([half, half[:, ::-1]], axis=1)
    for name, level in (("_1", 1), ("_2", 9)):
        data = cv2.imencode(".png", symmetric, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()
        rewrite(splits / "train.zip", **{name: data})
    (finding,) = check_dataset([splits / "train.json"]).report.findings
    assert finding.kind == "alike-pictures"
    assert "looks like images[0]" in finding.text


def test_the_same_picture_under_two_names_in_one_file(splits: Path) -> None:
    rewrite(splits / "train.zip", _1=noise(2), _3=noise(2, quality=60))
    found = check_dataset([splits / "train.json"]).report.findings
    assert {(f.kind, f.image) for f in found} == {("same-picture", 1), ("alike-pictures", 2)}


def test_the_layout_of_coco_is_found_packed_and_unpacked(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    content = json.loads(clean.read_text())
    for row in content["images"]:
        del row["zip"]
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    with zipfile.ZipFile(clean.parent / "images.zip") as opened:
        opened.extractall(root / "val2017")
        with zipfile.ZipFile(root / "packed.zip", "w") as packed:
            for name in opened.namelist():
                packed.writestr(f"val2017/{name}", opened.read(name))
    checked = check_dataset([root])
    assert checked.report.findings == ()
    assert check_dataset(repair(checked, tmp_path / "fixed").files).report.findings == ()
    (root / "val2017").rename(tmp_path / "elsewhere")
    assert kinds(check_dataset([root])) == {"picture-missing"}
    assert check_dataset([root], images=tmp_path / "elsewhere").report.findings == ()
    (root / "packed.zip").rename(root / "val2017.zip")
    packed_set = check_dataset([root])
    assert packed_set.report.findings == ()
    assert check_dataset(repair(packed_set, tmp_path / "fixed2").files).report.findings == ()


# What comes out


def test_the_report_is_written(clean: Path, tmp_path: Path) -> None:
    checked = check_dataset([change(clean, annotations={0: {"bbox": [0, 0, 0, 0]}}, images={0: {"note": "<b>"}})])
    made = write_report(checked, tmp_path / "out", samples=2)
    assert [file.name for file in made] == ["sheet.png", "suspects.png", "check.html", "check.json"]
    assert cv2.imread(str(made[0])).shape[1] == 1800
    report = json.loads(made[3].read_text())
    assert (report["good"], report["errors"], report["kinds"]["box-empty"]) == (False, 1, 1)
    assert report["findings"][0] | {"text": "", "file": ""} == {
        "kind": "box-empty", "level": "error", "file": "", "entry": "annotations[0] (id 0, 1.png)", "text": "",
        "image": 0, "annotation": 0,
    }  # fmt: skip
    page = made[2].read_text()
    assert page.count("<svg") == 6 + 17
    assert "src=" not in page
    assert "href=" not in page
    with pytest.raises(OutputError, match=r"sheet\.png: the file exists"):
        write_report(checked, tmp_path / "out")
    write_report(checked, tmp_path / "out", overwrite=True)


def test_texts_of_the_file_do_not_become_html(tmp_path: Path) -> None:
    file = write_set(tmp_path, [person(10, 10, 0, 90)])
    change(file, images={0: {"file_name": "<script>alert(1)</script>"}})
    page = write_report(check_dataset([file], pictures=False), tmp_path / "out")[-2].read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for content, message in (
        ("{", "not valid JSON"),
        ("[]", "not a COCO-style file"),
        ("[" * 100_000, "not valid JSON"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=rf"x\.json: {message}"):
            check_dataset([file])
    with pytest.raises(DataError, match="absent: No such file or folder"):
        check_dataset([tmp_path / "absent"])


def test_a_copy_writes_over_nothing(clean: Path, tmp_path: Path) -> None:
    checked = check_dataset([change(clean, annotations={0: {"bbox": [0, 0, 0, 0]}})])
    before = clean.read_bytes()
    with pytest.raises(OutputError, match=r"set\.json: the file exists"):
        repair(checked, clean.parent)
    copied = repair(checked, tmp_path / "fixed")
    assert clean.read_bytes() == before
    assert json.loads(copied.note.read_text()) == list(copied.changes)
    assert re.search(r"set\.json: annotations\[0\] .*: its box is now \[", copied.changes[0])


def test_what_another_reader_gives_is_checked_too(clean: Path) -> None:
    from manypose.data.coco import read_coco

    pictures = read_coco(clean, COCO)
    assert check_pictures_read([(clean, pictures)], COCO).report.findings == ()
    first = pictures[0]
    broken = {name: getattr(first, name) for name in LabelledPicture.__dataclass_fields__}
    broken["boxes"] = first.boxes.copy()
    broken["boxes"][0] = (5, 5, 5, 40)
    found = check_pictures_read([(clean, [LabelledPicture(**broken), *pictures[1:]])], COCO).report.findings
    assert [finding.kind for finding in found] == ["box-empty"]


def test_sets_of_other_kinds_are_read_and_their_refused_entries_are_errors(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(noise(ord(name[0])))
    row = {"image": "a.png", "center": [80.0, 60.0], "scale": 0.5, "joints_vis": [1] * 16}
    good = row | {"joints": [[20.0 + 6 * k, 30.0 + 4 * k] for k in range(16)]}
    bad = row | {"image": "b.png", "joints": [[1.0, 1.0]] * 3, "joints_vis": [1] * 3}
    (tmp_path / "train.json").write_text(json.dumps([good, bad]))
    report = check_dataset([tmp_path / "train.json"]).report
    assert [error.kind for error in report.errors] == ["entry-refused"]
    counts = report.counts[str(tmp_path / "train.json")]
    assert (counts["people_with_joints"], counts["joints"]) == (1, 16)


def test_people_of_other_kinds_are_counted_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "a.png").write_bytes(noise(1))
    (tmp_path / "labels" / "train").mkdir(parents=True)
    bare = " ".join(["0 0 0"] * 17)
    places = " ".join(f"{0.2 + x / 2:.3f} {0.1 + y / 2:.3f} 2" for x, y in BODY)
    rows = f"0 0.45 0.35 0.5 0.5 {places}\n0 0.85 0.5 0.2 0.4 {bare}\n0 0.85 0.8 0.1 0.2 {bare}\n"
    (tmp_path / "labels" / "train" / "a.txt").write_text(rows)
    (tmp_path / "data.yaml").write_text("train: images/train\nkpt_shape: [17, 3]\nnames: {0: person}\n")
    report = check_dataset([tmp_path]).report
    counts = report.counts[str(tmp_path)]
    assert {key: counts[key] for key in ("annotations", "people_with_joints", "boxes_only", "crowds")} == {
        "annotations": 3,
        "people_with_joints": 1,
        "boxes_only": 2,
        "crowds": 0,
    }
    assert [finding.text for finding in report.findings] == ["2 annotations have no joints, 0 of them crowds"]


# Whole bodies: 133 joints in five fields

PARTS = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A picture with a person of 133 joints: a face of flag 1, one hand of fractions, one without labels."""
    rng = np.random.default_rng(0)
    row = person(10, 10, 60, 100, category_id=1)
    for key, count in PARTS.items():
        flag = {"foot_kpts": 2.0, "face_kpts": 1.0, "lefthand_kpts": 0.4, "righthand_kpts": 0.0}[key]
        places = np.round(rng.uniform((12, 12), (68, 108), (count, 2)), 1) * (flag > 0)
        row[key] = np.column_stack([places, np.full(count, flag)]).ravel().tolist()
    return write_set(tmp_path / "whole", [row])


def test_a_clean_whole_body(whole: Path) -> None:
    report = check_dataset([whole]).report
    assert report.findings == ()
    counts = report.counts[str(whole)]
    assert (counts["joints"], len(counts["joint_flags"])) == (17 + 6 + 68 + 21, 133)
    assert report.histograms["joints per person"] == {"values": [112], "counts": [1]}


@pytest.mark.parametrize(
    ("kind", "message", "edits", "joints_left"),
    [
        ("not-a-number", "joint face_4 is not finite", {"face_kpts": {4: [float("nan"), 5, 1]}}, 111),
        ("joint-outside", "left_hand_thumb_mcp at 900, 10 is far outside", {"lefthand_kpts": {2: [900, 10, 0.5]}}, 111),
        ("flag-odd", "the flag of left_big_toe is 9", {"foot_kpts": {0: [20, 90, 9]}}, 112),
        ("flag-odd", "the flag of right_hand_wrist is -1", {"righthand_kpts": {0: [20, 90, -1]}}, 112),
    ],
)
def test_faults_of_the_parts_of_a_whole_body(
    whole: Path, tmp_path: Path, kind: str, message: str, edits: dict[str, dict[int, list[Any]]], joints_left: int
) -> None:
    row = json.loads(whole.read_text())["annotations"][0]
    for key, joints_of in edits.items():
        for joint, triple in joints_of.items():
            row[key][3 * joint : 3 * joint + 3] = triple
    checked = check_dataset([change(whole, annotations={0: row})])
    first = checked.report.findings[0]
    assert first.kind == kind
    assert message in first.text
    copied = repair(checked, tmp_path / "fixed")
    again = check_dataset(copied.files).report
    assert again.findings == ()
    assert again.counts[str(copied.files[0])]["joints"] == joints_left
    mended = json.loads(copied.files[0].read_text())["annotations"][0]
    assert mended["num_keypoints"] == 17  # of the body, as the published files count
    assert all(mended[key] == row[key] for key in PARTS if key not in edits)


def test_a_whole_body_with_a_part_missing_loses_its_joints(whole: Path, tmp_path: Path) -> None:
    checked = check_dataset([change(whole, annotations={0: {"lefthand_kpts": None}})])
    assert [error.kind for error in checked.report.errors] == ["joint-count"]
    assert "336 numbers, expected 399 (133 joints)" in checked.report.errors[0].text
    copied = repair(checked, tmp_path / "fixed")
    (row,) = json.loads(copied.files[0].read_text())["annotations"]
    assert not {"keypoints", *PARTS} & set(row)
    assert row["bbox"] == [10, 10, 60, 100]
    assert check_dataset(copied.files).report.errors == ()


def test_ten_thousand_annotations_take_seconds(tmp_path: Path) -> None:
    people = [person(10 + n % 7, 10, 40, 90, image_id=n) for n in range(1, 10_001)]
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "zip": "images.zip", "width": 160, "height": 120}
            for n in range(1, 10_001)
        ],
        "annotations": [{"id": n, **row} for n, row in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    start = time.process_time()
    checked = check_dataset([tmp_path / "set.json"], pictures=False)
    assert time.process_time() - start < 10
    assert checked.report.findings == ()


@pytest.mark.shared
def test_the_shared_sets_have_no_errors(shared_data: Path) -> None:
    for name in ("coco", "fashion", "people_unlabelled"):
        assert check_dataset([shared_data / name], pictures=False).report.errors == ()
