"""eval on sets of every sort: MPII in true boxes, CrowdPose, COCO-WholeBody, faces, hands, and files of results."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SMALL, Run, make_picture
from numpy.typing import NDArray

from manypose.skeleton import load_skeleton

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set

SIZE = 64  # pixels of the crops of `write_crop_model`


def write_crop_model(file: Path, joints: int, skeleton: str) -> Path:
    """A top-down model that takes the middle of each crop for every joint, whatever is there."""
    onnx = pytest.importorskip("onnx", reason="needs the extra [eval]")
    from onnx import TensorProto, helper, numpy_helper

    heatmaps = np.zeros((1, joints, SIZE // 4, SIZE // 4), np.float32)
    heatmaps[..., SIZE // 8, SIZE // 8] = 0.9
    constants = {"one": heatmaps, "rest": np.array([1, 1, 1]), "first": np.array([0]), "end": np.array([1])}
    nodes = [
        helper.make_node("Shape", ["picture"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "end"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Expand", ["one", "target"], ["heatmaps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "middle",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ("n", 3, SIZE, SIZE))],
        [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ("n", joints, SIZE // 4, SIZE // 4))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    metadata = {
        "name": "middle",
        "task": "top-down",
        "skeleton": skeleton,
        "input": {"size": [SIZE, SIZE], "fit": "crop"},
        "outputs": {"heatmaps": "heatmaps"},
        "maps": {"kind": "heatmaps", "decoding": "argmax"},
    }
    helper.set_model_props(model, {"manypose": json.dumps(metadata)})
    onnx.save(model, file)
    return file


def write_mpii(folder: Path) -> Path:
    """Three people in one picture: one with his joints where his box is, one with the same ones, the first again."""
    from scipy.io import savemat

    make_picture(folder / "images" / "a.png")
    middle = [41.0, 61.0 + 7.5]  # 15 pixels at scale 1 below the centre, where the box is moved to
    entry = {"image": "a.png", "center": [41, 61], "scale": 0.5, "joints": [middle] * 16, "joints_vis": [1] * 16}
    people = [entry, entry | {"center": [141, 61]}, entry]
    (folder / "annot").mkdir()
    file = folder / "annot" / "valid.json"
    file.write_text(json.dumps(people))
    corners = np.array([[11.0, 11.0], [41.0, 51.0]])[..., None]  # 50 across: a head of 30 pixels
    savemat(folder / "annot" / "gt_valid.mat", {"headboxes_src": np.repeat(corners, 3, axis=2)})
    return file


@pytest.mark.parametrize("like", [(), ("--like", "hrnet")])
def test_people_of_mpii_are_measured_in_their_own_boxes(run: Run, tmp_path: Path, like: tuple[str, ...]) -> None:
    """The second has nobody else's joints, and the third, who is the first again, is not left out as found twice."""
    pytest.importorskip("scipy", reason="needs the extra [eval]")
    model = write_crop_model(tmp_path / "middle.onnx", 16, "mpii16")
    ran = run("eval", model, "--data", write_mpii(tmp_path), "--out", tmp_path / "out", *like, *SMALL[2:])
    assert (ran.code, ran.err) == (0, "")
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"]
    assert figures["pckh"]["PCKh@0.5"]["Mean"] == pytest.approx(200 / 3)
    assert "PCKh@0.11" in ran.out
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["annotation_id"] for row in rows] == [0, 1, 2]
    assert run("compare", tmp_path / "out", tmp_path / "out").out.count("PCKh@0.5") == 1


def test_who_was_left_out_leaves_the_others_their_boxes(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="needs the extra [eval]")
    model = write_crop_model(tmp_path / "middle.onnx", 16, "mpii16")
    options = ("--suppression", "hard", *SMALL[2:])
    ran = run("eval", model, "--data", write_mpii(tmp_path), "--out", tmp_path / "out", *options)
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["annotation_id"] for row in rows] == [0, 1]


def write_json(file: Path, content: Any) -> Path:
    file.write_text(json.dumps(content))
    return file


def rows_of(content: dict[str, Any], keys: tuple[str, ...] = ("keypoints",)) -> list[dict[str, Any]]:
    """The labelled people as if they had been found."""
    people = enumerate(content["annotations"])
    return [{key: row[key] for key in ("image_id", "category_id", *keys)} | {"score": 1 - n / 100} for n, row in people]


def places(count: int, seed: int = 0) -> NDArray[np.float64]:
    """(count, 3) joints in a box of 100 pixels, all visible."""
    return np.column_stack([np.random.default_rng(seed).uniform(0, 100, (count, 2)), np.full(count, 2)])


def content_of(joints: int, names: list[str], pictures: int = 3, **more: Any) -> dict[str, Any]:
    """A person in each picture."""
    people = [
        {"id": n, "image_id": n, "category_id": 1, "keypoints": places(joints, n).ravel().tolist(), "iscrowd": 0}
        | {"bbox": [0, 0, 100, 100], "area": 5300.0, "num_keypoints": joints}
        for n in range(1, pictures + 1)
    ]
    images = [{"id": n, "file_name": f"{n}.png", "width": 120, "height": 120} | more for n in range(1, pictures + 1)]
    categories = [{"id": 1, "name": "person", "keypoints": names}]
    return {"images": images, "annotations": people, "categories": categories}


def measured(run: Run, folder: Path, content: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of `manypose eval --results`, which is the same again by --from and repro."""
    data, results = write_json(folder / "set.json", content), write_json(folder / "found.json", rows)
    ran = run("eval", "--results", results, "--data", data, "--out", folder / "out")
    assert (ran.code, ran.err) == (0, "")
    assert f"found.json on set.json: {len(content['images'])} photos, found before" in ran.out
    assert run("eval", "--from", folder / "out").out.endswith("the same figures again\n")
    assert run("repro", folder / "out").code == 0
    figures: dict[str, Any] = json.loads((folder / "out" / "metrics.json").read_text())["figures"]
    return figures


def test_crowdpose_has_figures_by_crowding(run: Run, tmp_path: Path) -> None:
    content = content_of(14, list(load_skeleton("crowdpose14").joints))
    for row, index in zip(content["images"], (0.05, 0.5, 0.9), strict=True):
        row["crowdIndex"] = index
    for row in content["annotations"]:
        del row["area"]
    rows = rows_of(content)
    rows[2]["keypoints"] = [value + 500 for value in rows[2]["keypoints"]]
    figures = measured(run, tmp_path, content, rows)["average_precision_by_crowding"]
    assert [figures[f"AP_{name}"] for name in ("easy", "medium", "hard")] == pytest.approx([1, 1, 0])


def test_whole_bodies_have_figures_by_part(run: Run, tmp_path: Path) -> None:
    """The hands of the first are somebody else's."""
    content = content_of(133, [])
    content["categories"][0]["keypoints"] = list(load_skeleton("coco17").joints)
    parts = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    for row in content["annotations"]:
        for n, (key, count) in enumerate(parts.items()):
            row[key] = places(count, 10 * row["id"] + n).ravel().tolist()
        row |= {f"{part}_valid": True for part in ("foot", "face", "lefthand", "righthand")}
        row |= {f"{part}_box": [0, 0, 100, 100] for part in ("face", "lefthand", "righthand")}
    rows = rows_of(content, tuple(parts))
    rows[0]["lefthand_kpts"] = [value + 500 for value in rows[0]["lefthand_kpts"]]
    figures = measured(run, tmp_path, content, rows)["average_precision_of_parts"]
    assert set(figures) == {"body", "foot", "face", "left_hand", "right_hand", "whole"}
    assert figures["body"]["AP"] == figures["right_hand"]["AP"] == pytest.approx(1)
    assert figures["left_hand"]["AR"] == pytest.approx(2 / 3)


def test_faces_and_hands_have_measures_of_their_own(run: Run, tmp_path: Path) -> None:
    for folder, joints, group, figure in (("face", 68, "nme", "NME"), ("hand", 21, "box_pck", "PCK")):
        (tmp_path / folder).mkdir()
        content = content_of(joints, list(load_skeleton(f"{folder}{joints}").joints))
        figures = measured(run, tmp_path / folder, content, rows_of(content))[group]
        assert figures[figure] == pytest.approx(1.0 if figure == "PCK" else 0.0)
        worse = rows_of(content)
        worse[0]["keypoints"] = [value + 30 if n % 3 == 0 else value for n, value in enumerate(worse[0]["keypoints"])]
        second = write_json(tmp_path / f"{folder}.json", worse)
        out = tmp_path / f"{folder}-worse"
        data = tmp_path / folder / "set.json"
        assert run("eval", "--results", second, "--data", data, "--out", out, "--no-report").code == 0
        before = json.loads((out / "metrics.json").read_text())["figures"][group][figure]
        ran = run("compare", tmp_path / folder / "out", out)
        assert ran.code == 0
        assert f"{before:.3f}" in ran.out


def test_results_of_pictures_that_do_not_count_are_left_out(run: Run, tmp_path: Path) -> None:
    """A list like image_info_val2014_1k.txt: a number, the id, the file's name, height and width."""
    content = content_of(17, list(load_skeleton("coco17").joints), pictures=4)
    data, results = write_json(tmp_path / "set.json", content), write_json(tmp_path / "found.json", rows_of(content))
    listed = tmp_path / "image_info_val2014_1k.txt"
    listed.write_text("1\t3\tCOCO_val2014_000000000003.jpg\t120\t120\n2\t1\tCOCO_val2014_000000000001.jpg\t120\t120\n")
    arguments = ("--results", results, "--data", data, "--image-ids", listed, "--out", tmp_path / "out")
    assert run("eval", *arguments).code == 0
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"]
    assert (figures["people_found"], figures["average_precision"]["people"]) == (2, 2)
    listed.write_text("1\t7\tCOCO_val2014_000000000007.jpg\t120\t120\n")
    ran = run("eval", *arguments[:-1], tmp_path / "other")
    assert "has no picture 7, which image_ids asks for" in ran.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "row 1: .* has no picture with image_id 9"),
        ({"keypoints": [1, 2, 3]}, "row 1: keypoints must be 51 finite numbers"),
        ({"score": float("nan")}, "row 1: score is nan"),
        ({"category_id": 7}, "row 1: .* of category_id 7"),
        (None, "row 2: stands there twice, as row 1"),
    ],
)
def test_results_at_fault_name_their_row_and_write_nothing(
    run: Run, tmp_path: Path, change: dict[str, Any] | None, message: str
) -> None:
    content = content_of(17, list(load_skeleton("coco17").joints))
    rows = rows_of(content)
    if change is None:
        rows[2] = rows[1]
    else:
        rows[1] |= change
    data, results = write_json(tmp_path / "größe é.json", content), write_json(tmp_path / "found.json", rows)
    ran = run("eval", "--results", results, "--data", data, "--out", tmp_path / "out")
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1
    assert re.search(message, ran.err)
    assert not (tmp_path / "out").exists()


def test_nobody_found_is_a_result_and_nobody_labelled_is_none(run: Run, tmp_path: Path) -> None:
    content = content_of(17, list(load_skeleton("coco17").joints))
    figures = measured(run, tmp_path, content, [])
    assert (figures["people_found"], figures["average_precision"]["AP"]) == (0, 0)
    empty = write_json(tmp_path / "empty.json", content | {"annotations": []})
    ran = run("eval", "--results", tmp_path / "found.json", "--data", empty)
    assert "empty.json: nobody is labelled, so" in ran.err


def test_a_picture_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", [person(10, 5, 60, 100, image_id=1, id=1)], pictures=1)
    content = json.loads(data.read_text())
    content["images"][0]["file_name"] = "nicht da é.png"
    write_json(data, content)
    ran = run("eval", "default", "--data", data, *SMALL)
    assert (ran.code, ran.out) == (1, "")
    assert "nicht da é.png" in ran.err
