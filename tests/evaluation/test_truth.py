"""Reading truth: what counts of a COCO-style file, and each fault by name."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from manypose.data.packing.program import pack
from manypose.data.pictures import LabelledPicture
from manypose.data.writers import write_dataset
from manypose.errors import DataError
from manypose.evaluation.truth import read_image_ids, read_truth
from manypose.skeleton import load_skeleton


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
    ("content", "message"),
    [("{", "truth.json: not a JSON file"), ("[]", "truth.json: no data set that is known by its content")],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_truth(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: cannot be read: No such file"):
        read_truth(tmp_path / "nowhere.json")


def labelled(**change: Any) -> dict[str, Any]:
    """A person of the small truth with all that COCO says of one."""
    row = {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 0], "num_keypoints": 1}
    return row | {"iscrowd": 0, "area": 9.0, "bbox": [0, 0, 3, 3]} | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1, 2, 2, 3, 4]}, "annotation 1 has 5 numbers in keypoints, expected 6"),
        ({"keypoints": "123456"}, "annotation 1: keypoints is a str"),
        ({"keypoints": {"x": 1}}, "annotation 1: keypoints is a dict"),
        ({"keypoints": [1, 2, 2, math.nan, 4, 0]}, r"annotation 1: keypoints\[3\] is nan"),
        ({"keypoints": [1, 2, 2, None, 4, 0]}, r"annotation 1: keypoints\[3\] is None"),
        ({"keypoints": [1, 2, 2, "3", 4, 0]}, r"annotation 1: keypoints\[3\] is '3'"),
        ({"keypoints": [10**400, 2, 2, 3, 4, 0]}, r"annotation 1: keypoints\[0\] is 1000"),
        ({"bbox": [1, 2, 3]}, "annotation 1: bbox is .1, 2, 3., expected four finite numbers"),
        ({"bbox": "0 0 3 3"}, "annotation 1: bbox is 0 0 3 3"),
        ({"area": "9"}, "annotation 1: area is '9'"),
        ({"area": -1}, "annotation 1: area is -1"),
        ({"iscrowd": "no"}, "annotation 1: iscrowd is 'no'"),
        ({"num_keypoints": [2]}, r"annotation 1: num_keypoints is \[2\]"),
        ({"image_id": [7]}, r"annotation 1 has category_id 1 and image_id \[7\], expected whole numbers or texts"),
        ({"id": {}}, r"annotations\[0\]: its id \{\} is no number"),
    ],
)
def test_a_faulty_annotation_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_truth(small_truth() | {"annotations": [labelled(**change)]})


@pytest.mark.parametrize(
    ("field", "rows", "message"),
    [
        ("annotations", [labelled(), 5], r"annotations\[1\] is a int, expected an object"),
        ("annotations", [labelled(), labelled()], r"annotations\[1\]: its id 1 is used twice"),
        ("images", [{"id": 7}, [3]], r"images\[1\] is a list, expected an object"),
        ("images", [{"id": 7}, {"id": 7}], "image 7 is listed twice"),
        ("images", [{"id": None}], r"images\[0\] has the id None"),
        ("categories", ["person"], r"categories\[0\] is a str"),
        ("categories", [{"id": [1], "keypoints": ["a"]}], r"category \[1\] has no id that is a number"),
        ("categories", [{"id": 1, "keypoints": "head"}], "keypoints of category 1 must be a list"),
        ("categories", [{"id": 1, "keypoints": ["a", "a"]}], "category 1 has the joint 'a' twice"),
        (
            "categories",
            [{"id": 1, "keypoints": ["head", "tail"], "sigmas": [0.1]}],
            "sigmas must be 2 positive numbers",
        ),
    ],
)
def test_a_faulty_list_is_named(field: str, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_truth(small_truth() | {field: rows})


def test_rows_get_what_scoring_needs() -> None:
    rows = read_truth(small_truth()).annotations
    assert [(row["num_keypoints"], row["iscrowd"]) for row in rows] == [(1, 0), (2, 0)]
    complete = labelled()
    assert read_truth(small_truth() | {"annotations": [complete]}).annotations[0] is complete


def test_a_truth_is_given_back_and_can_be_narrowed() -> None:
    truth = read_truth(small_truth())
    assert read_truth(truth) is truth
    narrow = read_truth(truth, image_ids=[3])
    assert (narrow.image_ids, narrow.other_ids, [row["id"] for row in narrow.images]) == ((3,), {7}, [3])
    assert [row["image_id"] for row in narrow.annotations] == [3]
    with pytest.raises(DataError, match="has no picture 7"):
        read_truth(narrow, image_ids=[7])


def test_sigmas_are_those_given_or_the_files_or_those_published_for_the_joints() -> None:
    content = small_truth()
    assert read_truth(content).sigmas is None
    assert read_truth(content, sigmas=[0.1, 0.2]).sigmas == (0.1, 0.2)
    assert read_truth(content, sigmas={"tail": 0.2, "head": 0.1}).sigmas == (0.1, 0.2)
    content["categories"][0]["sigmas"] = [0.3, 0.4]
    assert read_truth(content).sigmas == (0.3, 0.4)
    assert read_truth(content, sigmas=[0.1, 0.2]).sigmas == (0.1, 0.2)
    coco = load_skeleton("coco17")
    for joints, sigmas in ((coco.joints, coco.sigmas), (coco.joints[2:0:-1], (0.025, 0.025))):
        body = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "keypoints": list(joints)}]}
        assert read_truth(body).sigmas == sigmas
    assert read_truth(body).skeleton.joints == joints
    with pytest.raises(DataError, match="no sigma is given for the joint 'tail'"):
        read_truth(content, sigmas={"head": 0.1})


def test_a_test_set_has_pictures_and_nobody_in_them() -> None:
    coco = load_skeleton("coco17")
    test_dev = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "person"}, {"id": 2}]}
    truth = read_truth(test_dev)
    assert (truth.joints, truth.category_ids, truth.has_people) == (coco.joints, (1,), False)
    assert truth.images == ({"id": 1, "file_name": "a.jpg"},)
    assert read_truth(small_truth()).has_people
    assert not read_truth(small_truth() | {"annotations": [labelled(iscrowd=1)]}).has_people


def test_its_content_is_what_pycocotools_takes() -> None:
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    from pycocotools.coco import COCO

    truth = read_truth(small_truth() | {"annotations": [labelled(id=0)]}, sigmas=[0.1, 0.2], image_ids=[7])
    content = truth.content
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
    assert coco.getImgIds() == [7]
    assert content["categories"] == [{"id": 1, "name": "person", "keypoints": ["head", "tail"], "sigmas": [0.1, 0.2]}]
    assert [row["id"] for row in coco.loadAnns(coco.getAnnIds())] == [1]  # an id of 0 is no match there
    assert read_truth(content).keypoints(truth.annotations[0]).tolist() == [[1, 2, 2], [3, 4, 0]]


def test_crowdpose_gets_areas_of_boxes_and_whole_bodies_all_their_joints(tmp_path: Path) -> None:
    keypoints = [5, 6, 2] * 14
    row = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "num_keypoints": 12, "iscrowd": 0}
    crowd = {"images": [{"id": 1, "crowdIndex": 0.5}], "annotations": [row | {"bbox": [0, 0, 10, 20]}]}
    file = tmp_path / "crowd.json"
    file.write_text(json.dumps(crowd | {"categories": [{"id": 1, "name": "person"}]}))
    truth = read_truth(file)
    assert (truth.kind, truth.joints) == ("crowdpose", load_skeleton("crowdpose14").joints)
    assert (truth.annotations[0]["area"], truth.annotations[0]["num_keypoints"]) == pytest.approx((0.53 * 200, 12))
    parts = {"keypoints": [1] * 51, "foot_kpts": [2] * 18, "face_kpts": [0] * 204, "lefthand_kpts": [], "area": 4.0}
    whole = {"images": [{"id": 1}], "annotations": [row | parts | {"num_keypoints": 17}]}
    truth = read_truth(whole | {"categories": [{"id": 1, "name": "person"}]})
    assert (truth.kind, truth.joints) == ("wholebody", load_skeleton("wholebody133").joints)
    assert truth.annotations[0]["keypoints"] == [1] * 51 + [2] * 18 + [0] * (399 - 69)
    assert truth.annotations[0]["num_keypoints"] == 23
    with pytest.raises(DataError, match="annotation 1 has 17 numbers in foot_kpts, expected 18"):
        read_truth(whole | {"annotations": [row | parts | {"foot_kpts": [2] * 17}], "categories": [{"id": 1}]})


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_text("{ no JSON")
    with pytest.raises(DataError, match=r"truth\.json: is larger than 5 bytes; pass a higher max_bytes"):
        read_truth(file, max_bytes=5)


def test_a_picture_is_read_beside_its_file(tmp_path: Path) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(small_truth() | {"images": [{"id": 7, "file_name": "a.png"}, {"id": 3}]}))
    truth = read_truth(file)
    assert np.array_equal(truth.read_picture(7), picture)
    for image_id in (3, 4):
        with pytest.raises(DataError, match=f"image {image_id} has no file_name"):
            truth.read_picture(image_id)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png"):
        truth.read_picture(7)


def mpii_people(folder: Path) -> list[LabelledPicture]:
    """A picture with a person of MPII, somebody to ignore and a crowd, as a reader gives them; its file is there."""
    cv2.imwrite(str(folder / "a.png"), np.full((60, 80, 3), 9, np.uint8))
    keypoints = np.random.default_rng(0).uniform(0, 50, (1, 16, 2)).astype(np.float32)
    keypoints[0, 3] = np.nan
    visible = ~np.isnan(keypoints[..., 0])
    visible[0, 5] = False
    return [
        LabelledPicture(
            archive=folder,
            name="a.png",
            size=(80, 60),
            keypoints=keypoints,
            unsure=np.zeros((1, 16), bool),
            boxes=np.array([[-0.5, -0.5, 39.5, 49.5]], np.float32),
            ignore=np.array([[50, 10, 60, 30], [0, 0, 5, 5]], np.float32),
            visible=visible,
            ignore_segments=(None, {"size": [60, 80], "counts": [4800]}),
            id="a.png",
            head_boxes=np.array([[10, 0, 13, 4]], np.float32),
        )
    ]


def test_the_people_of_any_reader_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = mpii_people(tmp_path)
    monkeypatch.setattr("manypose.data.datasets.read_dataset", lambda *_, **__: pictures)
    monkeypatch.setattr("manypose.data.datasets.dataset_skeleton", lambda *_, **__: load_skeleton("mpii16"))
    file = tmp_path / "valid.json"
    file.write_text("[]")
    truth = read_truth(file, kind="mpii-json")
    assert (truth.kind, truth.joints, truth.image_ids) == ("mpii-json", load_skeleton("mpii16").joints, (1,))
    someone, ignored, crowd = truth.annotations
    assert truth.keypoints(someone)[:, :2] == pytest.approx(np.nan_to_num(pictures[0].keypoints[0]))
    assert truth.keypoints(someone)[:, 2].tolist() == [2, 2, 2, 0, 2, 1] + [2] * 10
    assert (someone["bbox"], someone["area_from"]) == ([0, 0, 40, 50], "box")
    assert someone["area"] == pytest.approx(0.53 * 2000)
    assert (someone["head_box"], someone["num_keypoints"]) == ([10.5, 0.5, 3, 4], 15)
    assert [(row["iscrowd"], row["num_keypoints"], row["bbox"][2:]) for row in (ignored, crowd)] == [
        (0, 0, [10, 20]),
        (1, 0, [5, 5]),
    ]
    assert len({row["id"] for row in truth.annotations}) == 3
    assert truth.read_picture(1).shape == (60, 80, 3)
    assert read_truth(truth.content).annotations[0]["keypoints"] == someone["keypoints"]


@pytest.mark.parametrize("layout", [(3, 14, 2), (14, 3, 2)])
def test_leeds_sports_pose_is_read_as_it_is(tmp_path: Path, layout: tuple[int, int, int]) -> None:
    savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat
    joints = np.random.default_rng(0).uniform(1, 40, layout)
    joints[(2,) if layout[0] == 3 else (slice(None), 2)] = int(layout[0] == 14)
    savemat(tmp_path / "joints.mat", {"joints": joints})
    (tmp_path / "images").mkdir()
    for n in (1, 2):
        name = f"im{n:04d}.jpg" if layout[0] == 3 else f"im{n:05d}.jpg"
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((50, 50, 3), np.uint8))
    for place in (tmp_path, tmp_path / "joints.mat"):
        truth = read_truth(place)
        assert (truth.kind, truth.joints, len(truth.annotations)) == ("lsp", load_skeleton("lsp14").joints, 2)
        first = joints[..., 0].T if layout[0] == 3 else joints[..., 0]
        assert truth.keypoints(truth.annotations[0])[:, :2] == pytest.approx(first[:, :2], abs=1e-5)
        assert truth.has_people


@pytest.mark.golden
def test_the_list_of_1160_pictures_is_read(goldens: Path) -> None:
    ids = read_image_ids(goldens / "eval" / "image_info_val2014_1k.txt")
    assert (len(ids), ids[:3], ids[-1]) == (1160, [136, 192, 241], 71209)


def test_lists_of_ids_have_one_on_a_line_or_the_columns_of_the_product(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("# chosen\n136\n\n 192 \n")
    assert read_image_ids(file) == [136, 192]
    file.write_text(
        "1\t136\tCOCO_val2014_000000000136.jpg\t374\t500\n2\t192\tCOCO_val2014_000000000192.jpg\t480\t640\n"
    )
    assert read_image_ids(file) == [136, 192]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("136\n192\n136\n", "line 3: image id 136 stands on line 1 already"),
        ("136\na.jpg\n", "line 2: 'a.jpg'; expected an image id"),
        ("136 192\n", "line 1: '136 192'; expected an image id"),
        ("-3\n", "line 1: '-3'"),
        ("# nothing\n", "holds no image ids"),
    ],
)
def test_a_faulty_list_of_ids_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"ids\.txt: {message}"):
        read_image_ids(file)


def test_a_list_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_image_ids(tmp_path / "ids.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_image_ids(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("to", "kind"), [("coco", "coco"), ("yolo", "yolo"), ("mpii-json", "mpii-json"), ("set.tar", "webdataset")]
)
def test_every_kind_of_set_gives_the_same_people(tmp_path: Path, to: str, kind: str) -> None:
    skeleton = load_skeleton("mpii16")
    picture = mpii_people(tmp_path)[0]
    if to == "set.tar":
        place = tmp_path / to
        pack([picture], place, skeleton)
    else:
        place = tmp_path / "set"
        write_dataset([picture], skeleton, place, to=to)
    truth = read_truth(place)
    someone = next(row for row in truth.annotations if row["num_keypoints"])
    joints = truth.keypoints(someone)
    hidden_too = joints[:, 2] > 0
    expected = np.nan_to_num(picture.keypoints[0])[hidden_too]
    assert (truth.kind, truth.joints, truth.has_people) == (kind, skeleton.joints, True)
    assert joints[hidden_too, :2] == pytest.approx(expected, abs=2e-3)
    assert hidden_too.sum() == 15
    assert truth.read_picture(truth.image_ids[0]).shape == (60, 80, 3)
