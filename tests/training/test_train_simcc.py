"""SimCC in training: targets, loss, validation, the exported model, and what a recipe may not ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_runs import IGNORED, load, logged, recipe

import manypose
from manypose.codecs.simcc import SimccCodec
from manypose.errors import RecipeError
from manypose.estimators.top_down import TopDown
from manypose.metadata import SimccSettings
from manypose.training.export import export_model
from manypose.training.loaders import make_samples, read_pictures
from manypose.training.losses import make_loss
from manypose.training.module import load_task, stages_of
from manypose.training.overfit import overfit
from manypose.training.program import train
from manypose.training.task import make_task
from manypose.training.validation import decode

pytestmark = [pytest.mark.train, *IGNORED]
SIMCC: dict[str, Any] = {
    "network": "simcc_resnet_18",
    "width": 0.1,
    "size": (64, 96),
    "sigma": None,
    "network_options": {},
}


def test_a_trained_network_exported_finds_the_joints_that_it_finds_in_training(tmp_path: Path) -> None:
    last = train(recipe(tmp_path, **SIMCC, max_steps=2, val_size=0.25, val_every=2), progress=False)
    assert all(value > 0 for value in logged(tmp_path / "runs").values())
    export_model(last, tmp_path / "kites.onnx")
    estimator = manypose.load(tmp_path / "kites.onnx", device="cpu", threads=1)
    assert isinstance(estimator, TopDown)
    assert estimator.model.metadata.maps == SimccSettings()
    assert set(estimator.model.metadata.outputs) == {"simcc_x", "simcc_y"}

    task, network = load_task(load(last))
    picture = cv2.resize(cv2.imread(str(tmp_path / "0.png"))[..., ::-1], (64, 96))
    with torch.no_grad():
        pixels = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())
        stages = stages_of(network, task.normalise(pixels))
    vectors = [maps[-1].numpy() for maps in stages]
    (expected,) = decode(task, *vectors)
    found = estimator.model.infer(estimator.model.prepare([picture]))
    for name, theirs in zip(("simcc_x", "simcc_y"), vectors, strict=True):
        np.testing.assert_allclose(found[name][0], theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    joints, scores = SimccCodec().decode(found["simcc_x"][0], found["simcc_y"][0])
    np.testing.assert_array_equal(joints[0], expected.keypoints[0])
    np.testing.assert_allclose(scores[0], expected.scores[0], rtol=1e-3)
    assert estimator(picture).keypoints.shape[1:] == (5, 2)


def test_four_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    result = overfit(
        recipe(tmp_path, **SIMCC | {"size": (64, 64)}, batch_size=6, learning_rate=3e-3), 4, most_steps=400
    )
    assert result.average_precision > 0.9, result


@pytest.mark.parametrize(("loss", "height"), [(None, 1.0), ("simcc-smooth", 0.9)])
def test_samples_hold_the_targets_of_the_loss(tmp_path: Path, loss: str | None, height: float) -> None:
    task = make_task(recipe(tmp_path, **SIMCC | {"loss": loss, "network_options": {"split_ratio": 3.0}}))
    sample = make_samples(task, read_pictures(task)[0])[0]
    assert {name: tuple(values.shape) for name, values in sample.items()} == {
        "picture": (3, 96, 64), "simcc_x": (5, 192), "simcc_y": (5, 288), "weights": (5,),
    }  # fmt: skip
    there = sample["weights"] > 0
    assert sample["simcc_x"].amax(dim=1)[there].numpy() == pytest.approx(height)


def test_the_loss_of_the_recipe_is_simcc_and_its_sigma_is_in_pixels(tmp_path: Path) -> None:
    task = make_task(recipe(tmp_path, **SIMCC | {"sigma": 3.0}))
    assert task.codec == SimccCodec(2.0, sigma=6.0)
    sample = make_samples(task, read_pictures(task)[0])[0]
    batch = {name: values[None] for name, values in sample.items()}
    losses = make_loss(task.recipe, task)(([batch["simcc_x"]], [batch["simcc_y"]]), batch)
    assert set(losses) == {"x_1", "y_1"}
    assert sum(losses.values()).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "joint-mse"}, "'joint-mse' is no loss of a SimCC network: simcc, simcc-smooth"),
        ({"network": "lpn_18", "loss": "simcc"}, "'simcc' is no loss of a top-down network"),
        ({"drawing": "window"}, "drawing: has no effect on simcc_resnet_18, which gives SimCC's vectors"),
        ({"decoding": "dark"}, "decoding: has no effect on simcc_resnet_18"),
        ({"udp": True}, "udp: has no effect on simcc_resnet_18"),
        ({"stride": 4}, "stride: has no effect on simcc_resnet_18"),
        ({"teacher": "better.onnx"}, "teacher: has no effect on simcc_resnet_18"),
        ({"sigma": 3.0, "loss": "simcc-smooth"}, "sigma: has no effect with loss=simcc-smooth"),
        ({"size": (64, 80)}, "size: 64 x 80 pixels do not divide"),
        ({"network_options": {"input_width": 64}}, "input_width: comes from the setting `size`"),
        ({"network_options": {"split_ratio": 0.0}}, "split_ratio is 0.0, expected bins for one pixel"),
        ({"limb_width": 3.0}, "limb_width: has no effect on simcc_resnet_18, a top-down network"),
    ],
)
def test_what_a_recipe_may_not_ask_of_simcc(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, **SIMCC | changes)
