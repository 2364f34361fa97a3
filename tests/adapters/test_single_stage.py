"""Single-stage networks of other projects: what the network is given, and the people that come out, worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import TensorProto, write_file

import manypose
from manypose.errors import ModelError

PICTURE = np.full((32, 64, 3), (200, 100, 50), np.uint8)  # RGB; 64 wide and 32 high, so 16 rows are added on both sides
JOINTS = np.stack([10 + 2.0 * np.arange(17), 20 + np.arange(17)], axis=1)  # in the 64 x 64 input
POSE = {"task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'person'}", "imgsz": "[64, 64]"}


def with_scores(scores: Any = 0.5) -> Any:
    """The joints as x, y, score, one after the other."""
    return np.column_stack([JOINTS, np.full(17, scores)]).ravel()


def raw_rows() -> Any:
    """The raw output of YOLO pose: a person, the same person less sure, and somebody weak."""
    rows = np.zeros((1, 56, 84), np.float32)
    rows[0, :, 3] = [27, 28, 34, 16, 0.9, *with_scores()]
    rows[0, :, 4] = [27, 28, 34, 17, 0.8, *with_scores()]
    rows[0, :, 70] = [50, 28, 4, 4, 0.1, *with_scores()]
    return rows


def final_rows() -> Any:
    """The same after suppression: a person, and rows of zeros."""
    rows = np.zeros((1, 300, 57), np.float32)
    rows[0, 0] = [10, 20, 44, 36, 0.9, 0, *with_scores()]
    return rows


@pytest.mark.parametrize("properties", [POSE, {}], ids=["with properties", "by shape"])
@pytest.mark.parametrize("rows", [raw_rows(), final_rows()], ids=["raw", "end to end"])
def test_yolo_pose(tmp_path: Path, rows: Any, properties: dict[str, str]) -> None:
    file = write_file(tmp_path / "a.onnx", {"output0": rows}, name="images", properties=properties)
    people = manypose.load(file)(PICTURE)
    assert len(people) == 1
    np.testing.assert_allclose(people.boxes + 0.5, [[10, 4, 44, 20]])
    np.testing.assert_allclose(people.keypoints[0], JOINTS - (0, 16))
    assert people.scores[0].tolist() == [0.5] * 17
    assert people.person_scores.tolist() == pytest.approx([0.9])
    assert people.skeleton.name == "coco17"


def test_yolo_is_given_rgb_in_the_middle_of_grey(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    file = write_file(tmp_path / "a.onnx", {"output0": raw_rows()}, properties=POSE)
    batch, _ = given_to_network(manypose.load(file), PICTURE)
    np.testing.assert_allclose(batch[0, :, 16, 0] * 255, [200, 100, 50], rtol=1e-5)
    np.testing.assert_allclose(batch[0, :, [15, 48], 0] * 255, 114, rtol=1e-5)


def test_of_an_odd_number_of_pixels_the_greater_half_comes_below(
    tmp_path: Path, given_to_network: Callable[..., Any]
) -> None:
    file = write_file(tmp_path / "a.onnx", {"output0": raw_rows()}, properties=POSE)
    batch, _ = given_to_network(manypose.load(file), np.zeros((33, 64, 3), np.uint8))
    assert np.flatnonzero(batch[0, 0, :, 0] == 0).tolist() == list(range(15, 48))


def test_a_network_of_other_joints_is_told_by_its_properties(tmp_path: Path) -> None:
    rows = np.zeros((1, 4 + 2 + 21 * 2, 84), np.float32)
    rows[0, :, 0] = [30, 30, 20, 20, 0.1, 0.8, *np.tile([31.0, 33.0], 21)]
    properties = {"task": "pose", "kpt_shape": "[21, 2]", "names": "{0: 'glove', 1: 'person'}"}
    people = manypose.load(write_file(tmp_path / "a.onnx", {"output0": rows}, properties=properties))(PICTURE)
    assert people.skeleton.name == "hand21"
    assert people.keypoints[0, 7].tolist() == [31, 17]
    assert people.scores[0, 7] == 1  # joints without scores are certain


def test_joints_that_no_skeleton_has_need_a_yaml(tmp_path: Path) -> None:
    rows = np.zeros((1, 5 + 5 * 3, 84), np.float32)
    file = write_file(tmp_path / "a.onnx", {"o": rows}, properties=POSE | {"kpt_shape": "[5, 3]"})
    with pytest.raises(ModelError, match=r"a\.onnx: a network with 5 joints, .* write a\.yaml beside the file"):
        manypose.load(file)
    joints = ", ".join("abcde")
    (tmp_path / "a.yaml").write_text(f"skeleton: {{name: five, joints: [{joints}]}}")
    assert manypose.load(file).model.skeleton.joints == tuple("abcde")


@pytest.mark.parametrize("text", ["__import__('os').system('false')", "[17", "[" * 5000, "'a'", "[1, 2, 3]", "17"])
def test_properties_are_data_and_never_run(tmp_path: Path, text: str) -> None:
    """A property that is no literal tells nothing, and the shape decides."""
    file = write_file(tmp_path / "a.onnx", {"output0": raw_rows()}, properties=POSE | {"kpt_shape": text})
    assert manypose.load(file).model.metadata.task == "single-stage"


def test_rtmo(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    dets = np.array([[[10, 20, 44, 36, 0.9], [0, 0, 0, 0, 0]]], np.float32)
    keypoints = np.zeros((1, 2, 17, 3), np.float32)
    keypoints[0, 0] = with_scores().reshape(17, 3)
    estimator = manypose.load(write_file(tmp_path / "a.onnx", {"dets": dets, "keypoints": keypoints}))
    people = estimator(PICTURE)
    np.testing.assert_allclose(people.keypoints, [JOINTS - (0, 16)])
    np.testing.assert_allclose(people.boxes + 0.5, [[10, 4, 44, 20]])
    batch, _ = given_to_network(estimator, PICTURE)
    assert batch[0, :, 32, 0].tolist() == [50, 100, 200]  # BGR, 0..255
    assert batch[0, :, 0, 0].tolist() == [114, 114, 114]


def test_movenet_for_one_person(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    rows = np.zeros((1, 1, 17, 3), np.float32)
    rows[0, 0] = np.column_stack([JOINTS[:, ::-1] / 64, np.full(17, 0.6)])  # y first
    file = write_file(tmp_path / "a.onnx", {"output_0": rows}, picture=(1, 64, 64, 3), kind=TensorProto.INT32)
    estimator = manypose.load(file)
    people = estimator(PICTURE)
    np.testing.assert_allclose(people.keypoints[0], JOINTS - (0, 16), atol=1e-4)
    assert people.person_scores.tolist() == pytest.approx([0.6])
    batch, _ = given_to_network(estimator, PICTURE)
    assert batch.dtype == np.int32
    assert batch[0, 32, 0].tolist() == [200, 100, 50]  # RGB
    assert batch[0, 0, 0].tolist() == [0, 0, 0]


def test_movenet_for_several_people(tmp_path: Path) -> None:
    rows = np.zeros((1, 6, 56), np.float32)
    joints = np.column_stack([JOINTS[:, ::-1] / 64, np.full(17, 0.6)]).ravel()
    rows[0, 2] = [*joints, 20 / 64, 10 / 64, 36 / 64, 44 / 64, 0.7]
    people = manypose.load(write_file(tmp_path / "a.onnx", {"o": rows}, picture=(1, 64, 64, 3)))(PICTURE)
    np.testing.assert_allclose(people.boxes + 0.5, [[10, 4, 44, 20]], atol=1e-4)
    np.testing.assert_allclose(people.keypoints[0], JOINTS - (0, 16), atol=1e-4)


def test_joints_that_are_not_found_are_absent(tmp_path: Path) -> None:
    rows = final_rows()
    rows[0, 0, 8] = 0
    people = manypose.load(write_file(tmp_path / "a.onnx", {"o": rows}))(PICTURE)
    assert people.visible[0].tolist() == [False, *[True] * 16]
