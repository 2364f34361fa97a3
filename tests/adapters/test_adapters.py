"""PAF and top-down files of other projects; the YAML beside a file; files that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import write_file

import manypose
from manypose.errors import ManyposeError, ModelError
from manypose.estimators.bottom_up import BottomUp
from manypose.estimators.top_down import TopDown
from manypose.model import load_model

PICTURE = np.full((96, 64, 3), (200, 100, 50), np.uint8)
ZEROS = np.zeros((1, 19, 12, 8), np.float32)
FIELDS = np.zeros((1, 38, 12, 8), np.float32)
FIXED = (1, 3, 96, 64)


def heatmaps_of_crop() -> Any:
    """Maps (1, 17, 24, 16) of a 64 x 96 input, a peak for each joint at the cell (4 + k // 4, 6 + k % 4)."""
    maps = np.zeros((1, 17, 24, 16), np.float32)
    for k in range(17):
        maps[0, k, 6 + k % 4, 4 + k // 4] = 0.8
    return maps


@pytest.mark.parametrize("name", ["stage_1_output_1_heatmaps", "Mconv7_stage2_L2"])
def test_two_outputs_of_maps_at_a_fixed_size(tmp_path: Path, given_to_network: Callable[..., Any], name: str) -> None:
    heatmaps = ZEROS.copy()
    heatmaps[0, 0, 3, 4] = 0.9
    outputs = {"stage_0_output_1_heatmaps": ZEROS, name: heatmaps, "pafs": FIELDS}
    estimator = manypose.load(write_file(tmp_path / "a.onnx", outputs, picture=FIXED, name="data"))
    assert isinstance(estimator, BottomUp)
    batch, _ = given_to_network(estimator, PICTURE)
    inside = name.startswith("Mconv7")  # OpenVINO's files have the mean and the scale inside
    bgr = np.array([50, 100, 200])
    np.testing.assert_allclose(batch[0, :, 0, 0], bgr if inside else (bgr - 128) / 256, atol=1e-6)
    (maps,) = estimator.maps([PICTURE])
    assert maps.heatmaps[0, 3, 4] == np.float32(0.9)  # the last stage's
    with pytest.raises(ManyposeError, match="takes pictures of 64 x 96 only; leave long_side, scale and scales out"):
        manypose.load(tmp_path / "a.onnx", scale=2.0)


def test_one_output_of_heatmaps_and_fields(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    joined = np.concatenate([ZEROS, FIELDS + 0.5], axis=1)
    estimator = manypose.load(write_file(tmp_path / "a.onnx", {"net_output": joined}, picture=FIXED))
    assert isinstance(estimator, BottomUp)
    (maps,) = estimator.maps([np.zeros((48, 32, 3), np.uint8)])
    assert (maps.heatmaps.shape, maps.fields.shape) == ((19, 12, 8), (38, 12, 8))
    assert maps.fields.min() == 0.5
    np.testing.assert_allclose(maps.affine, [[2, 0, 0.5], [0, 2, 0.5]])
    batch, _ = given_to_network(estimator, PICTURE)
    np.testing.assert_allclose(batch[0, :, 0, 0], (np.array([50, 100, 200]) - 128) / 256, atol=1e-6)


def test_heatmaps_of_one_person(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    estimator = manypose.load(write_file(tmp_path / "a.onnx", {"output": heatmaps_of_crop()}, picture=FIXED))
    assert isinstance(estimator, TopDown)
    people = estimator.in_boxes(PICTURE, [[-0.5, -0.5, 63.5, 95.5], [9.5, 9.5, 41.5, 57.5]], scores=[1.0, 0.5])
    # The crop is 1.25 times the box, and cell k its place 4 k: (4 k - w / 2) * 1.25 * box / w + centre.
    np.testing.assert_allclose(people.keypoints[0, 0], [(16 - 32) * 1.25 + 32, (24 - 48) * 1.25 + 48], atol=1e-3)
    np.testing.assert_allclose(people.keypoints[1, 5], [(20 - 32) * 0.625 + 26, (28 - 48) * 0.625 + 34], atol=1e-3)
    np.testing.assert_allclose(people.person_scores, [0.8, 0.4])
    np.testing.assert_allclose(people.boxes[1], [9.5, 9.5, 41.5, 57.5])
    batch, _ = given_to_network(estimator, PICTURE)
    statistics = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(
        batch[0, :, 48, 32], (np.array([200, 100, 50]) - statistics[0]) / statistics[1], atol=0.02
    )
    np.testing.assert_allclose(batch[0, :, 0, 0], -statistics[0] / statistics[1], atol=1e-5)  # black around the picture


def test_boxes_that_are_none(tmp_path: Path) -> None:
    estimator = manypose.load(write_file(tmp_path / "a.onnx", {"output": heatmaps_of_crop()}, picture=FIXED))
    assert isinstance(estimator, TopDown)
    assert len(estimator.in_boxes(PICTURE, np.zeros((0, 4)))) == 0
    with pytest.raises(ManyposeError, match=r"box 0 is \[5\.0, 5\.0, 5\.0, 9\.0\], expected x1 y1 x2 y2 with x1 < x2"):
        estimator.in_boxes(PICTURE, [[5, 5, 5, 9]])
    with pytest.raises(ManyposeError, match=r"scores have shape \(2,\), expected \(1,\)"):
        estimator.in_boxes(PICTURE, [[5, 5, 6, 9]], scores=[1, 1])


def test_simcc(tmp_path: Path) -> None:
    x, y = np.zeros((1, 17, 128), np.float32), np.zeros((1, 17, 192), np.float32)
    x[0, :16, 32], y[0, :16, 48] = 0.7, 1.4  # the pixel (16, 24); the last joint has nothing above 0
    people = manypose.load(write_file(tmp_path / "a.onnx", {"simcc_x": x, "simcc_y": y}, picture=FIXED))(PICTURE)
    np.testing.assert_allclose(people.keypoints[0, 3], [12, 18], atol=1e-3)
    assert people.scores[0, 3] == np.float32(0.7)  # the smaller of the two
    assert people.visible[0].tolist() == [True] * 16 + [False]


def test_a_file_that_nobody_knows_says_what_was_seen_and_how_to_describe_it(tmp_path: Path) -> None:
    file = write_file(tmp_path / "odd.onnx", {"first": np.zeros((1, 7), np.float32), "second": np.zeros(3, np.int64)})
    with pytest.raises(ModelError, match="of no kind that is known") as caught:
        load_model(file)
    text = str(caught.value)
    assert "Inputs: input tensor(float) [1, 3, 64, 64]. Outputs: first tensor(float) [1, 7]; second " in text
    assert "Describe it in odd.yaml beside it, for example: {task: top-down, " in text
    assert "\n" not in text
    # What it proposes is what the loader reads, for a network that fits.
    example = text.split("for example: ")[1].split(" (the docs")[0]
    other = write_file(tmp_path / "odd.onnx", {"first": np.zeros((1, 17, 16, 16), np.float32)})
    (tmp_path / "odd.yaml").write_text(example)
    assert load_model(other).metadata.input.scale == pytest.approx(1 / 255)


def test_a_yaml_changes_what_was_recognised(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"output": heatmaps_of_crop()}, picture=FIXED)
    (tmp_path / "a.yaml").write_text("input: {colours: bgr, scale: [1, 2, 3]}\nmaps: {decoding: dark}\nlicence: MIT\n")
    metadata = load_model(file).metadata
    assert (metadata.input.colours, metadata.input.scale, metadata.licence) == ("bgr", (1, 2, 3), "MIT")
    assert metadata.input.mean == (123.675, 116.28, 103.53)
    assert metadata.input.size == (64, 96)
    assert metadata.maps.model_dump()["decoding"] == "dark"
    assert (metadata.name, metadata.skeleton) == ("a", "coco17")


def test_a_yaml_of_another_task_stands_for_itself(tmp_path: Path) -> None:
    file = write_file(
        tmp_path / "a.onnx", {"dets": np.zeros((1, 2, 5), np.float32), "labels": np.zeros((1, 2), np.int64)}
    )
    (tmp_path / "a.yaml").write_text(
        "task: single-stage\nskeleton: coco17\ninput: {name: input}\noutputs: {dets: rows}\nmaps: {form: yolo-rows}\n"
    )
    assert load_model(file).metadata.task == "single-stage"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [", r"a\.yaml: not YAML: "),
        ("\0", r"a\.yaml: not YAML: "),
        ("just words", r"a\.yaml: expected keys and values"),
        ("1: 2", r"a\.yaml: expected keys and values"),
        ("input: &a {fill: 1}\norigin: *a", r"a\.yaml: YAML with aliases"),
        ("colour: red", r"a\.yaml: the description of a\.onnx is faulty: colour: extra inputs are not permitted"),
        ("input: {colours: green}", r"a\.yaml: .* input\.colours: input should be 'rgb' or 'bgr'"),
        ("maps: {decoding: guess}", r"a\.yaml: .* maps\.decoding: input should be 'argmax', "),
        ("maps: 3", r"a\.yaml: .* maps: "),
        ("input: {mean: [0, 0, .nan]}", r"a\.yaml: .* input\.mean\.2: input should be a finite number"),
        ("input: {name: picture}", r"a\.onnx: its metadata name inputs or outputs that the network does not have"),
        ("skeleton: mpii16", r"a\.onnx: output is tensor\(float\) \[1, 17, 24, 16\], expected tensor\(float\) .*16"),
        ("skeleton: octopus", r"a\.onnx: its metadata are faulty: no skeleton is called 'octopus'"),
        ("task: juggling", r"a\.yaml: .* task: input should be 'bottom-up', "),
        ("task: detector", r"a\.yaml: .* outputs: field required"),
        ("input: {size: [96, 64]}", r"a\.onnx: input is .* \[1, 3, 96, 64\], expected tensor\(float\) .*64, 96"),
        ("a: " + "x" * 300_000, r"a\.yaml: larger than 200 kB"),
    ],
)
def test_a_faulty_yaml(tmp_path: Path, text: str, message: str) -> None:
    file = write_file(tmp_path / "a.onnx", {"output": heatmaps_of_crop()}, picture=FIXED)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(file)
    assert "\n" not in str(caught.value)
