"""`manypose.load` with a detector: two files that find people together, and combinations that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import write_file

import manypose
from manypose.errors import ManyposeError, ModelError

PICTURE = np.full((96, 64, 3), (200, 100, 50), np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A top-down network whose joints are all in the middle, a detector of two boxes and a bottom-up network."""
    heatmaps = np.zeros((1, 17, 24, 16), np.float32)
    heatmaps[:, :, 12, 8] = 0.5
    dets = np.array([[[2, 4, 30, 60, 0.9], [34, 40, 62, 90, 0.6], [0, 0, 9, 9, 0.1]]], np.float32)
    labels, fields = np.zeros((1, 3), np.int64), np.zeros((1, 57, 12, 8), np.float32)
    fixed = (1, 3, 96, 64)
    return {
        "crops": write_file(tmp_path / "crops.onnx", {"output": heatmaps}, picture=fixed),
        "boxes": write_file(tmp_path / "boxes.onnx", {"dets": dets, "labels": labels}, picture=fixed),
        "fields": write_file(tmp_path / "fields.onnx", {"net_output": fields}, picture=fixed),
    }


def test_a_detector_as_a_file_and_as_an_estimator(files: dict[str, Path]) -> None:
    people = manypose.load(files["crops"], detector=files["boxes"])(PICTURE)
    np.testing.assert_allclose(people.boxes, [[1.5, 3.5, 29.5, 59.5], [33.5, 39.5, 61.5, 89.5]])
    np.testing.assert_allclose(people.keypoints[:, 0], [[16, 32], [48, 65]], atol=1e-4)  # the middle between edges
    np.testing.assert_allclose(people.person_scores, [0.45, 0.3])
    detector = manypose.load(files["boxes"], threshold=0.05)
    assert len(manypose.load(files["crops"], detector=detector)(PICTURE)) == 3
    assert len(manypose.load(files["crops"], detector=str(files["boxes"]), threshold=0.4)(PICTURE)) == 1


def test_the_mirrored_crop_is_shown_too(files: dict[str, Path], given_to_network: Callable[..., Any]) -> None:
    estimator = manypose.load(files["crops"], flip=True)
    picture = PICTURE.copy()
    picture[:, :20] = 0
    batch, _ = given_to_network(estimator, picture)
    assert len(batch) == 2
    np.testing.assert_array_equal(batch[1], batch[0][..., ::-1])
    # Cell 8 of 16 is 7 from the other side, and the shift makes it 8 again.
    assert estimator(picture).scores.min() == np.float32(0.5)


@pytest.mark.parametrize(
    ("model", "detector", "error", "message"),
    [
        ("fields", "boxes", ManyposeError, r"fields\.onnx: a bottom-up model needs no detector: leave it out"),
        ("boxes", "boxes", ManyposeError, r"boxes\.onnx: a detector model needs no detector: leave it out"),
        ("crops", "fields", ModelError, r"fields\.onnx: a bottom-up model, not a detector, which a top-down model"),
        ("crops", "crops", ModelError, r"crops\.onnx: a top-down model, not a detector"),
    ],
)
def test_combinations_that_make_no_sense(
    files: dict[str, Path], model: str, detector: str, error: type[ManyposeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        manypose.load(files[model], detector=files[detector])


def test_an_estimator_that_is_no_detector(files: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"fields\.onnx: a bottom-up model, not a detector"):
        manypose.load(files["crops"], detector=manypose.load(files["fields"]))


def test_options_of_bottom_up_models_have_no_effect(files: dict[str, Path]) -> None:
    with pytest.raises(ManyposeError, match="long_side, scales has no effect on a top-down model; leave it out"):
        manypose.load(files["crops"], long_side=256, scales=(1.0, 2.0))
    with pytest.raises(ManyposeError, match="flip has no effect on a detector model; leave it out"):
        manypose.load(files["boxes"], flip=True)
