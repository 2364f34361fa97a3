"""The training program, on a few drawn pictures and a tiny network."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from manypose.convert.checkpoint import Checkpoint, Header, save_checkpoint
from manypose.data.samples import FieldSamples
from manypose.errors import DataError, OutputError, RecipeError
from manypose.training.devices import check_devices, runs_on_cpu
from manypose.training.module import load_task
from manypose.training.program import train
from manypose.training.recipe import Recipe
from manypose.training.recipe_file import check_recipe
from manypose.training.saving import LAST
from manypose.training.start import start_from
from manypose.training.task import make_task

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def recipe(folder: Path, **changes: Any) -> Recipe:
    if not (folder / "set.json").exists():
        write_set(folder, [person(20, 10, 60, 100, image_id=n) for n in (1, 2)], pictures=2)
    settings = {
        "name": "tiny", "network": "ladder_paf_small", "width": 0.25, "skeleton": "openpose18",
        "root": folder, "data": [{"file": "set.json"}],
        "size": 64, "batch_size": 2, "max_steps": 4, "warmup_steps": 2, "cooldown_steps": 2, "optimiser": "muon",
        "device": "cpu", "workers": 0, "threads": 1, "log_every": 1, "checkpoint_every": 3, "out": folder / "runs",
    }  # fmt: skip
    return check_recipe(settings | changes, "test")


def load(file: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return checkpoint


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = load(a), load(b)
    assert first["global_step"] == second["global_step"]
    for key in ("state_dict", "current_model_state"):
        for name, value in first[key].items():
            torch.testing.assert_close(value, second[key][name], rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four steps at once: the folder, and the last checkpoint."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(recipe(folder), progress=False)


def test_a_run_leaves_checkpoints_logs_and_its_recipe(straight: tuple[Path, Path]) -> None:
    folder, last = straight
    assert last == folder / "runs" / "tiny" / LAST
    assert load(last)["global_step"] == 4
    names = os.listdir(last.parent)
    assert {"recipe.yaml", "metrics.csv", LAST} <= set(names)
    assert any(name.startswith("events.out.tfevents") for name in names)
    steps = (last.parent / "metrics.csv").read_text().splitlines()
    assert "loss" in steps[0]


def test_a_checkpoint_gives_the_network_ready_for_use(straight: tuple[Path, Path]) -> None:
    task, network = load_task(load(straight[1]))
    assert task.recipe.name == "tiny"
    assert task.skeleton.name == "openpose18"
    assert not network.training
    assert network(torch.zeros(1, 3, 64, 64))[-1].heatmaps.shape == (1, 19, 8, 8)


def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(straight: tuple[Path, Path], tmp_path: Path) -> None:
    folder, last = straight
    middle = last.parent / "step-000003.ckpt"
    assert load(middle)["global_step"] == 3
    assert_same_weights(train(recipe(folder, out=tmp_path, resume=middle), progress=False), last)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_it_can_go_on(
    straight: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    folder, last = straight
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    plain, made = FieldSamples.__getitem__, []

    def interrupted(self: FieldSamples, index: int) -> Any:
        made.append(index)
        if len(made) == 4:
            os.kill(os.getpid(), number)
        return plain(self, index)

    monkeypatch.setattr(FieldSamples, "__getitem__", interrupted)
    stopped = train(recipe(folder, out=tmp_path), progress=False)
    monkeypatch.undo()
    assert 1 <= load(stopped)["global_step"] < 4
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert_same_weights(train(recipe(folder, out=tmp_path, resume=stopped), progress=False), last)


def test_a_run_that_was_done_can_be_made_longer(straight: tuple[Path, Path], tmp_path: Path) -> None:
    folder, last = straight
    longer = train(recipe(folder, out=tmp_path, resume=last, max_steps=6), progress=False)
    assert load(longer)["global_step"] == 6


def test_a_run_can_start_from_the_weights_of_another(straight: tuple[Path, Path], tmp_path: Path) -> None:
    folder, last = straight
    end = train(recipe(folder, out=tmp_path, init=str(last), max_steps=1, learning_rate=1e-9), progress=False)
    before, after = load(last)["state_dict"], load(end)["state_dict"]
    name = "network.lateral.0.weight"
    torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)


def test_a_run_of_that_name_is_not_overwritten(straight: tuple[Path, Path]) -> None:
    with pytest.raises(OutputError, match=r"a run of this name is there; choose another name, or resume"):
        train(recipe(straight[0]), progress=False)


def test_faults_are_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    for changes, error, message in (
        ({"resume": tmp_path / "none.ckpt"}, RecipeError, r"resume: .*none\.ckpt is not there"),
        ({"resume": tmp_path / "junk.ckpt"}, RecipeError, r"resume: .*junk\.ckpt is not a checkpoint"),
        ({"init": str(tmp_path / "none.ckpt")}, RecipeError, r"init: .*none\.ckpt cannot be read"),
        ({"init": str(tmp_path / "junk.ckpt")}, RecipeError, r"init: .*junk\.ckpt cannot be read"),
        ({"teacher": "none.onnx"}, RecipeError, r"teacher: none\.onnx: no such file"),
        ({"data": [{"file": "no.json"}]}, DataError, r"no\.json: No such file"),
    ):
        with pytest.raises(error, match=message):
            train(recipe(tmp_path, **changes), progress=False)
    assert not (tmp_path / "runs").exists()


def test_devices_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="device: PyTorch finds no GPU here; take device=cpu"):
        train(recipe(tmp_path, device="cuda"), progress=False)
    with pytest.raises(RecipeError, match="devices: there is no GPU to choose here"):
        train(recipe(tmp_path, device="auto", devices="0,2"), progress=False)
    assert runs_on_cpu(recipe(tmp_path, device="auto"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(recipe(tmp_path, device="auto", devices="0,1"))
    with pytest.raises(RecipeError, match="devices: this machine has 2 of them, with the numbers 0, 1"):
        train(recipe(tmp_path, device="cuda", devices="0,2"), progress=False)


def test_weights_of_joints_that_are_not_there_are_refused(tmp_path: Path) -> None:
    crops = recipe(tmp_path, network="lpn_18", optimiser="adam", joint_weights={"elbow": 2})
    with pytest.raises(RecipeError, match="joint_weights: there is no joint 'elbow'; there are nose, "):
        make_task(crops)


def test_tensorboard_shows_losses_rates_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    last = train(recipe(tmp_path, val_size=1, val_every=2, max_steps=2), progress=False)
    events = accumulator.EventAccumulator(str(last.parent))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"loss", "losses/heatmaps_1", "losses/fields_1", "val_loss", "val_metric"} <= scalars
    assert any(name.startswith("lr-") for name in scalars)
    assert "hp_metric" not in scalars
    (picture,) = events.Images("examples")
    assert (picture.width, picture.height) == (64, 64)


def test_a_backbone_starts_a_network_and_says_what_it_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(3)
    settings = recipe(tmp_path)
    network = make_task(settings).build_network()
    state = network.state_dict()
    trunk = {k: torch.randn_like(v).numpy() for k, v in state.items() if k.startswith("stem") and v.is_floating_point()}
    file = tmp_path / "backbone.safetensors"
    content = {**trunk, "heatmaps.bias": np.zeros(3, np.float32), "head.weight": np.zeros(2, np.float32)}
    save_checkpoint(Checkpoint(Header(network=settings.network, options={}, metadata=None), content), file)
    with caplog.at_level("INFO"):
        taken = start_from(network, str(file))
    for name, tensor in trunk.items():
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), tensor)
    assert set(taken.taken) == set(trunk)
    assert taken.refused == {"heatmaps.bias": "it is (3,), here (19,)", "head.weight": "there is no such tensor here"}
    assert set(taken.anew) == {k for k in state if k not in trunk and not k.endswith("num_batches_tracked")}
    for line in (f"took {len(trunk)} tensors", "heatmaps.bias was not taken", "heatmaps.weight is not in the file"):
        assert line in caplog.text

    strange = Checkpoint(Header(network="x", options={}, metadata=None), {"other.weight": np.zeros(2, np.float32)})
    save_checkpoint(strange, file, overwrite=True)
    with pytest.raises(RecipeError, match=r"init: nothing in .*backbone\.safetensors fits: it has other\.weight"):
        start_from(network, str(file))
    with pytest.raises(RecipeError, match=r"init: nobody is neither a file \(\.ckpt, .*\) nor a model: "):
        start_from(network, "nobody")
    with pytest.raises(RecipeError, match=r"init: vgg19 was not fetched yet: `manypose models get vgg19` does it"):
        start_from(network, "vgg19")


def test_a_run_says_where_it_comes_from(straight: tuple[Path, Path]) -> None:
    _, last = straight
    said = yaml.safe_load((last.parent / "provenance.yaml").read_text())
    assert load(last)["provenance"] == said
    assert said["packages"]["torch"] == torch.__version__
    assert said["data"]["set.json"].startswith("sha256:")
