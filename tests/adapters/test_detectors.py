"""Detectors of other projects: what the network is given, and the boxes that come out, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import TensorProto, write_file

import manypose
from manypose.errors import ManyposeError, ModelError

MEAN = np.array([123.675, 116.28, 103.53])
DEVIATION = np.array([58.395, 57.12, 57.375])
RED = np.full((32, 64, 3), (200, 100, 50), np.uint8)  # RGB, 64 wide and 32 high
DETS = np.array([[[8, 4, 40, 20, 0.9], [10, 6, 20, 12, 0.8], [0, 0, 0, 0, 0], [2, 2, 30, 30, 0.2]]], np.float32)
LABELS = np.array([[0, 5, 0, 0]], np.int64)


def edges(people: manypose.People) -> list[list[float]]:
    """The boxes along the outer edges of pixels, as files and networks count them."""
    return (people.boxes + 0.5).tolist()


def test_rtmdet_takes_bgr_with_statistics_at_the_top_left(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    detector = manypose.load(write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS}))
    batch, _ = given_to_network(detector, RED)
    assert batch.shape == (1, 3, 64, 64)
    bgr = (np.array([200, 100, 50]) - MEAN)[::-1] / DEVIATION[::-1]
    np.testing.assert_allclose(batch[0, :, 10, 10], bgr, atol=1e-5)
    np.testing.assert_allclose(batch[0, :, 31, 63], bgr, atol=1e-5)
    np.testing.assert_allclose(batch[0, :, 32, 0], (114 - MEAN[::-1]) / DEVIATION[::-1], atol=1e-5)


def test_rtmdet_gives_the_boxes_of_people_in_the_pixels_of_the_picture(tmp_path: Path) -> None:
    detector = manypose.load(write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS}))
    people = detector(np.zeros((64, 128, 3), np.uint8))
    assert edges(people) == [[16, 8, 80, 40]]  # of the others one is no person, one is padding, one is weak
    assert people.person_scores.tolist() == pytest.approx([0.9])
    assert people.image_size == (128, 64)
    assert not people.visible.any()


def test_the_threshold_lets_weaker_boxes_in(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS})
    assert manypose.load(file, threshold=0.1)(RED).person_scores.tolist() == pytest.approx([0.9, 0.2])
    assert len(manypose.load(file, threshold=0.95)(RED)) == 0


def test_nobody_at_all_is_a_normal_result(tmp_path: Path) -> None:
    nothing = {"dets": np.zeros((1, 0, 5), np.float32), "labels": np.zeros((1, 0), np.int64)}
    people = manypose.load(write_file(tmp_path / "a.onnx", nothing))(RED)
    assert (len(people), people.image_size) == (0, (64, 32))


@pytest.mark.parametrize("options", [{"note": "multi_level_conv_cls"}, {"picture": (1, 3, 416, 416)}])
def test_yolox_of_mmdeploy_takes_raw_pixels(
    tmp_path: Path, given_to_network: Callable[..., Any], options: dict[str, Any]
) -> None:
    file = write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS}, **options)
    batch, _ = given_to_network(manypose.load(file), RED)
    assert batch[0, :, 0, 0].tolist() == [50, 100, 200]
    assert batch[0, :, -1, 0].tolist() == [114, 114, 114]


def yolox_rows() -> Any:
    """Raw YOLOX rows at 64 x 64, 64 + 16 + 4 candidates: one person at cell (3, 2) of stride 16, and a shadow of it."""
    rows = np.zeros((1, 84, 7), np.float32)
    rows[..., 2:4] = -10
    best = 64 + 2 * 4 + 3
    rows[0, best] = [0.5, 0.25, np.log(2), np.log(1), 0.9, 0.8, 0.1]
    rows[0, best - 1] = [1.5, 0.25, np.log(2), np.log(1.1), 0.9, 0.7, 0.1]  # nearly the same box
    rows[0, 5] = [0, 0, 1, 1, 0.9, 0.1, 0.95]  # of another class
    return rows


def test_yolox_in_units_of_its_grid(tmp_path: Path, given_to_network: Callable[..., Any]) -> None:
    detector = manypose.load(write_file(tmp_path / "a.onnx", {"output": yolox_rows()}, name="images"))
    people = detector(np.zeros((64, 64, 3), np.uint8))
    # Centre ((3 + 0.5) * 16, (2 + 0.25) * 16) = (56, 36), size (32, 16).
    np.testing.assert_allclose(edges(people), [[40, 28, 72, 44]], atol=1e-4)
    assert people.person_scores.tolist() == pytest.approx([0.72])
    batch, _ = given_to_network(detector, RED)
    assert batch[0, :, 0, 0].tolist() == [50, 100, 200]


def test_yolox_for_another_class_by_yaml(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"output": yolox_rows()})
    (tmp_path / "a.yaml").write_text("maps: {person: 1, iou: 0.5}")
    people = manypose.load(file)(np.zeros((64, 64, 3), np.uint8))
    assert people.person_scores.tolist() == pytest.approx([0.855])
    # Stride 8, cell (5, 0): centre (40, 0), size e * 8.
    np.testing.assert_allclose(edges(people), [[40 - 4 * np.e, -4 * np.e, 40 + 4 * np.e, 4 * np.e]], rtol=1e-5)


def test_picodet_with_post_processing_is_told_the_factors_and_answers_in_the_picture(
    tmp_path: Path, given_to_network: Callable[..., Any]
) -> None:
    rows = np.array([[0, 0.9, 5, 6, 25, 30], [-1, 0, 0, 0, 0, 0], [17, 0.95, 1, 1, 9, 9]], np.float32)
    outputs = {"rows": rows, "count": np.array([3], np.int32)}
    detector = manypose.load(write_file(tmp_path / "a.onnx", outputs, name="image", others={"scale_factor": (1, 2)}))
    people = detector(RED)
    assert edges(people) == [[5, 6, 25, 30]]
    batch, others = given_to_network(detector, RED)
    assert others["scale_factor"].tolist() == [[2, 1]]  # height first
    # Stretched: no padding anywhere; RGB in 0..1 with ImageNet's statistics.
    expected = ((np.array([200, 100, 50]) - MEAN) / DEVIATION)[:, None, None]
    np.testing.assert_allclose(batch[0], np.broadcast_to(expected, (3, 64, 64)), atol=1e-5)


def test_picodet_without_suppression(tmp_path: Path) -> None:
    boxes = np.array([[[0, 0, 32, 32], [1, 1, 32, 32], [32, 0, 64, 64]]], np.float32)
    scores = np.zeros((1, 80, 3), np.float32)
    scores[0, 0] = [0.8, 0.9, 0.5]
    people = manypose.load(write_file(tmp_path / "a.onnx", {"s": scores, "b": boxes}))(RED)
    assert edges(people) == [[1, 0.5, 32, 16], [32, 0, 64, 32]]  # stretched: y is halved
    assert people.person_scores.tolist() == pytest.approx([0.9, 0.5])


def test_picodet_bare_heads(tmp_path: Path) -> None:
    outputs: dict[str, Any] = {}
    for kind, columns in (("cls", 80), ("reg", 32)):
        for stride in (8, 16, 32, 64):
            outputs[f"{kind}{stride}"] = np.zeros((1, (64 // stride) ** 2, columns), np.float32)
    outputs["cls16"][0, 5, 0] = 0.75  # cell (1, 1): centre (24, 24)
    for side, bins in enumerate((1, 0, 2, 1)):  # left, top, right, bottom in strides
        outputs["reg16"][0, 5, 8 * side + bins] = 50
    people = manypose.load(write_file(tmp_path / "a.onnx", outputs))(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(edges(people), [[8, 24, 56, 40]], atol=1e-4)
    assert people.person_scores.tolist() == [0.75]


@pytest.mark.parametrize("suppressed", [False, True])
def test_yolo_for_boxes(tmp_path: Path, given_to_network: Callable[..., Any], suppressed: bool) -> None:
    if suppressed:
        rows = np.zeros((1, 300, 6), np.float32)
        rows[0, :2] = [[10, 20, 30, 40, 0.9, 1], [10, 20, 30, 40, 0.95, 0]]
    else:
        rows = np.zeros((1, 6, 84), np.float32)
        rows[0, :, 7] = [20, 30, 20, 20, 0.1, 0.9]  # centre and size, then cat and person
    properties = {"task": "detect", "names": "{0: 'cat', 1: 'person'}", "imgsz": "[64, 64]"}
    detector = manypose.load(write_file(tmp_path / "a.onnx", {"output0": rows}, name="images", properties=properties))
    assert edges(detector(RED)) == [[10, 4, 30, 24]]  # 16 rows of padding above
    batch, _ = given_to_network(detector, RED)
    np.testing.assert_allclose(batch[0, :, 20, 0] * 255, [200, 100, 50], rtol=1e-5)  # RGB, 0..1
    np.testing.assert_allclose(batch[0, :, [15, 48], 5] * 255, 114, rtol=1e-5)


def test_options_that_have_no_effect_are_refused(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS})
    with pytest.raises(ManyposeError, match=r"a\.onnx: scales has no effect on a detector model; leave it out"):
        manypose.load(file, scales=(1.0, 1.5))
    with pytest.raises(ManyposeError, match="long_side, flip has no effect"):
        manypose.load(file, long_side=100, flip=True)


def test_a_person_of_a_class_that_is_not_there(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"output": yolox_rows()})
    (tmp_path / "a.yaml").write_text("maps: {person: 2}")
    with pytest.raises(ModelError, match="the person is class 2, but the rows have 2 classes"):
        manypose.load(file)(RED)


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.onnx", {"dets": DETS, "labels": LABELS}, kind=TensorProto.FLOAT16)
    with pytest.raises(ModelError, match=r"input is tensor\(float16\) \[1, 3, 64, 64\], expected tensor\(float\)"):
        manypose.load(file)
