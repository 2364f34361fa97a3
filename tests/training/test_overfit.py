"""The pipeline can learn: eight pictures by heart, bottom-up and top-down, of joints that nobody knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kites import JOINTS, write_kites

import manypose
from manypose.errors import DataError, RecipeError
from manypose.training.export import export_model
from manypose.training.overfit import overfit
from manypose.training.program import train
from manypose.training.recipe import Recipe
from manypose.training.recipe_file import check_recipe

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
BOTTOM_UP = {"network": "ladder_paf_small", "width": 0.5, "size": 160, "sigma": 5.0, "limb_width": 6.0}
TOP_DOWN = {"network": "lpn_18", "width": 0.25, "size": (64, 64)}


def recipe(folder: Path, **changes: Any) -> Recipe:
    settings = {
        "name": "kites", "root": folder, "data": [{"file": "set.json"}], "batch_size": 8, "max_steps": 4,
        "learning_rate": 3e-3, "device": "cpu", "threads": 1, "workers": 0, "out": folder / "runs",
    }  # fmt: skip
    return check_recipe(settings | changes, "test")


@pytest.fixture(scope="module")
def kites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kites")
    write_kites(folder)
    return folder


@pytest.mark.parametrize("network", [BOTTOM_UP, TOP_DOWN], ids=["bottom-up", "top-down"])
def test_eight_pictures_are_learnt_by_heart(kites: Path, network: dict[str, Any]) -> None:
    result = overfit(recipe(kites, **network), 8, most_steps=800)
    assert result.pictures == 8
    assert result.has_learnt, result
    assert result.average_precision > 0.9
    assert not (kites / "runs").exists()


def test_too_few_steps_do_not_pass_for_learning(kites: Path) -> None:
    result = overfit(recipe(kites, **TOP_DOWN), 4, most_steps=25)
    assert result.pictures == 4
    assert result.steps == 25
    assert not result.has_learnt


def test_labels_without_joints_are_nothing_to_learn(tmp_path: Path) -> None:
    write_kites(tmp_path, pictures=2)
    empty = (
        (tmp_path / "set.json")
        .read_text()
        .replace('"num_keypoints": 5', '"num_keypoints": 0')
        .replace(", 2.0", ", 0.0")
    )
    (tmp_path / "set.json").write_text(empty)
    with pytest.raises(DataError, match="no pictures with people"):
        overfit(recipe(tmp_path, **TOP_DOWN), 2, most_steps=5)


@pytest.mark.parametrize("network", [BOTTOM_UP, TOP_DOWN], ids=["bottom-up", "top-down"])
def test_a_model_of_ones_own_joints_is_trained_exported_and_used(
    kites: Path, tmp_path: Path, network: dict[str, Any]
) -> None:
    last = train(recipe(kites, out=tmp_path, **network), progress=False)
    file = tmp_path / "kites.onnx"
    export_model(last, file)
    estimator = manypose.load(file)
    assert estimator.model.skeleton.joints == JOINTS
    assert estimator.model.skeleton.pairs == ((2, 3),)
    people = estimator(np.full((160, 160, 3), 90, np.uint8))
    assert people.keypoints.shape[1:] == (5, 2)


def test_joints_without_limbs_need_a_top_down_network(tmp_path: Path) -> None:
    write_kites(tmp_path, pictures=2, limbs=False)
    with pytest.raises(RecipeError, match=r"skeleton: 'kite' has no limbs.*or train a top-down network"):
        train(recipe(tmp_path, **BOTTOM_UP), progress=False)
    assert train(recipe(tmp_path, **TOP_DOWN), progress=False).is_file()


def test_weights_of_other_joints_start_a_run_but_for_the_last_layers(kites: Path, tmp_path: Path) -> None:
    first = train(recipe(kites, out=tmp_path, name="first", **TOP_DOWN), progress=False)
    people = kites / "people.json"
    people.write_text(
        (kites / "set.json").read_text().replace('"top"]', '"top", "end"]').replace(", 2.0], ", ", 2.0, 0, 0, 0], ")
    )
    second = train(
        recipe(kites, out=tmp_path, name="second", data=[{"file": "people.json"}], init=str(first), **TOP_DOWN),
        progress=False,
    )
    said = (second.parent / "init.txt").read_text()
    assert "refused 2\n" in said
    assert "final_layer.weight: it is (5, " in said
    assert torch.load(second, weights_only=True)["state_dict"]["network.final_layer.weight"].shape[0] == 6
