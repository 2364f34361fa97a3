"""What `manypose export` makes of a checkpoint: loaded again it gives the maps of the network that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kites import JOINTS, SIDE, write_kites

from manypose.codecs.targets import RULES
from manypose.estimators.top_down import TopDown
from manypose.model import Model, load_model
from manypose.training.export import export_model
from manypose.training.loaders import read_pictures
from manypose.training.module import Training, load_task, stages_of
from manypose.training.recipe_file import check_recipe
from manypose.training.task import Task, make_task
from manypose.training.validation import decode, make_validation

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
BOTTOM_UP: dict[str, Any] = {"network": "vgg_paf", "network_options": {"stages": 2}, "width": 0.05, "size": SIDE}
CROPS: dict[str, Any] = {"width": 0.05, "size": 64}
CASES: dict[str, dict[str, Any]] = {
    "fields-beside-heatmaps": BOTTOM_UP | {"target_rules": "cmu", "colours": "bgr"},
    "ladder-imagenet": BOTTOM_UP | {"network": "ladder_paf_small", "network_options": {}, "values": "imagenet"},
    "crops-rgb-imagenet": CROPS | {"network": "lpn_18", "size": (64, 96), "values": "imagenet"},
    "crops-bgr-udp": CROPS | {"network": "hrnet_w18_small_v1", "colours": "bgr", "udp": True, "padding": 1.1},
    "face": CROPS | {"network": "cpm_face"},
    "hand": CROPS | {"network": "cpm_hand", "colours": "bgr"},
}


def trained(folder: Path, settings: dict[str, Any]) -> tuple[Task, torch.nn.Module, Model]:
    """Task and network of a checkpoint with random weights and statistics, and the model that is exported from it."""
    write_kites(folder, pictures=2)
    recipe = check_recipe(
        settings | {"root": folder, "data": [{"file": "set.json"}], "max_steps": 1, "device": "cpu"}, "test"
    )
    torch.manual_seed(2)
    module = Training(make_task(recipe), steps=1, epoch_length=1.0)
    for buffer in module.network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    torch.save({"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}, folder / "last.ckpt")
    export_model(folder / "last.ckpt", folder / "model.onnx")
    task, network = load_task(torch.load(folder / "last.ckpt", weights_only=True))
    return task, network, load_model(folder / "model.onnx", device="cpu", threads=1)


@pytest.mark.parametrize("case", CASES)
def test_the_model_gives_the_maps_of_the_network(tmp_path: Path, case: str) -> None:
    task, network, model = trained(tmp_path, CASES[case])
    width, height = task.recipe.crop_size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        stages = stages_of(network, task.normalise(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]))
    outputs = model.infer(model.prepare([picture]))
    assert list(outputs) == ["heatmaps", "fields"][: len(outputs)]
    for maps, ours in zip(outputs.values(), stages, strict=False):
        expected = ours[-1].numpy()
        np.testing.assert_allclose(maps[0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert len(outputs) == sum(bool(of_meaning) for of_meaning in stages)
    assert model.skeleton.joints == JOINTS


@pytest.mark.parametrize("case", CASES)
def test_the_model_reads_its_maps_as_the_validation_does(tmp_path: Path, case: str) -> None:
    task, _, model = trained(tmp_path, CASES[case])
    validation = make_validation(task, read_pictures(task)[0])
    assert validation is not None
    targets = [validation.samples[0][name].numpy()[None] for name in ("heatmaps", "fields")[: 1 + task.is_bottom_up]]
    (expected,) = decode(task, *targets)
    assert len(expected) == 1
    if task.is_bottom_up:
        assert model.codec.field_offset == RULES[task.recipe.target_rules].offset
        (found,) = (
            model.codec.decode(*maps, image_size=task.recipe.crop_size).keypoints for maps in zip(*targets, strict=True)
        )
    else:
        found, _ = TopDown(model).crops.codec.decode(*targets)
    np.testing.assert_allclose(found, expected.keypoints, atol=1e-4)
