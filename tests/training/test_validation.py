"""Validation: divided among the processes, gathered, and the same in all of them; what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kites import write_kites
from tiny_runs import IGNORED, TOP_DOWN, load, logged, recipe
from torch import Tensor

from manypose.data.datasets import picture_key
from manypose.errors import RecipeError
from manypose.training.loaders import read_pictures
from manypose.training.program import train
from manypose.training.task import make_task
from manypose.training.validation import Validation

pytestmark = [pytest.mark.train, *IGNORED]
BOTTOM_UP = {"average": 0.5, "learning_rate": 0.01}
FIVE = {"val_size": 5, "val_every": 2, "val_batch_size": 2, "checkpoint_every": 6, "example_pictures": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validation")


@pytest.mark.parametrize("network", [BOTTOM_UP, {**TOP_DOWN, "network_options": {}, "sigma": None}], ids=["paf", "lpn"])
def test_two_processes_find_what_one_finds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, network: dict[str, Any]
) -> None:
    """Every other picture is found as if the network gave its targets, so that there is something to count."""
    plain = Validation.add

    def add(self: Validation, stages: Any, batch: dict[str, Tensor], loss: float) -> None:
        known = (batch["index"] % 2 == 0).float()[:, None, None, None]
        targets = [[batch[name] * known] if name in batch else [] for name in ("heatmaps", "fields")]
        plain(self, targets, batch, loss)

    monkeypatch.setattr(Validation, "add", add)
    given = {**FIVE, **network}
    kind = given.get("network", "vgg_paf")
    one = train(recipe(folder, name=f"one_{kind}", batch_size=2, **given), progress=False).parent
    two = train(recipe(folder, name=f"two_{kind}", batch_size=1, devices=2, **given), progress=False).parent
    assert list(logged(one, "val_loss")) == [1, 3, 5]
    assert logged(two, "val_loss") == pytest.approx(logged(one, "val_loss"), rel=1e-4)
    assert logged(two, "val_metric") == pytest.approx(logged(one, "val_metric"), abs=1e-6)
    assert len(set(logged(one, "val_loss").values())) > 1
    assert 0 < min(logged(one, "val_metric").values()) < 1


def test_norms_and_shares_of_different_sizes_go_together(folder: Path) -> None:
    """Three batches for one process and two for the other, of a network whose norms have buffers."""
    given = {"network": "lpn_18", "width": 0.1, "size": (64, 64), "network_options": {}, "sigma": None}
    last = train(
        recipe(folder, name="norms", devices=2, max_steps=2, **{**FIVE, "val_batch_size": 1}, **given), progress=False
    )
    assert list(logged(last.parent, "val_loss")) == [1]


def test_one_picture_is_enough_for_two_processes_and_counts_once(folder: Path) -> None:
    given = {**FIVE, "val_size": 1, "max_steps": 2}
    one = train(recipe(folder, name="single", batch_size=2, **given), progress=False).parent
    two = train(recipe(folder, name="single2", batch_size=1, devices=2, **given), progress=False).parent
    assert logged(two, "val_loss") == pytest.approx(logged(one, "val_loss"), rel=1e-5)
    assert logged(two, "val_metric") == logged(one, "val_metric")


@pytest.mark.parametrize("devices", [1, 2])
def test_patience_ends_the_run_in_all_processes(folder: Path, devices: int) -> None:
    """With a rate of nothing no validation is better than the first."""
    given = {**FIVE, "learning_rate": 1e-12, "patience": 2, "monitor": "loss", "max_steps": 40, "val_every": 1}
    last = train(recipe(folder, name=f"patience{devices}", devices=devices, **given), progress=False)
    assert load(last)["global_step"] == 3
    best = [path.name for path in last.parent.glob("best-*")]
    assert len(best) == 1
    assert best[0].startswith("best-step-000001-loss-")


def test_the_best_checkpoint_is_named_by_the_metric(folder: Path) -> None:
    last = train(recipe(folder, name="metric", **FIVE, max_steps=2), progress=False)
    metric = logged(last.parent, "val_metric")[1]
    assert [path.name for path in last.parent.glob("best-*")] == [f"best-step-000002-metric-{metric:.4f}.ckpt"]


def test_a_picture_to_train_on_is_not_validated_on(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"val: \d\.png of set\.json is among the pictures to train on, too"):
        train(recipe(folder, name="overlap", val=[{"file": "set.json"}]), progress=False)


def test_the_part_that_is_split_off_is_always_the_same_and_written_down(folder: Path) -> None:
    given = recipe(folder, name="split", **FIVE, max_steps=1)
    last = train(given, progress=False)
    written = (last.parent / "val.txt").read_text().splitlines()
    train_sets, val_sets = read_pictures(make_task(given))
    val = {picture_key(picture) for group in val_sets for picture in group.pictures}
    rest = {picture_key(picture) for group in train_sets for picture in group.pictures}
    assert written == sorted(val)
    assert len(val) == 5
    assert len(rest) == 3
    assert not val & rest
    other_seed = recipe(folder, name="split", **FIVE, seed=9)
    again = {picture_key(picture) for group in read_pictures(make_task(other_seed))[1] for picture in group.pictures}
    assert again == val


def test_pictures_that_the_recipe_names_are_not_written_down(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    given = recipe(tmp_path, max_steps=1, val=[{"file": "val/set.json"}], val_every=1)
    write_kites(tmp_path / "val", pictures=2, seed=5)
    last = train(given, progress=False)
    assert list(logged(last.parent, "val_loss")) == [0]
    assert not (last.parent / "val.txt").exists()
