"""What goes wrong in a run ends it in one line, in all its processes, with what is needed to find the reason."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import IGNORED, load, recipe, settings
from torch import Tensor

from manypose import cli
from manypose.data.samples import FieldSamples
from manypose.errors import DataError, TrainingError
from manypose.training import module
from manypose.training.loaders import rank_of_all
from manypose.training.mishaps import BATCH, NORMS, explain, explain_memory
from manypose.training.program import train
from manypose.training.saving import LAST

pytestmark = [pytest.mark.train, *IGNORED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mishaps")


def spoil(monkeypatch: pytest.MonkeyPatch, change: Any, *, rank: int = 0, after: int = 4) -> None:
    """Let `change` do something to a sample of one process after it has made so many."""
    plain, made = FieldSamples.__getitem__, []

    def spoilt(self: FieldSamples, index: int) -> Any:
        sample = plain(self, index)
        made.append(index)
        if rank_of_all()[0] == rank and len(made) > after:
            change(sample)
        return sample

    monkeypatch.setattr(FieldSamples, "__getitem__", spoilt)


def make_infinite(sample: dict[str, Tensor]) -> None:
    sample["heatmaps"].fill_(torch.inf)


def assert_was_stopped(run: Path) -> None:
    """There are the batch and the norms, and every checkpoint is good."""
    batch = torch.load(run / BATCH, weights_only=True)
    assert not batch["heatmaps"].isfinite().all()
    assert batch["picture"].dtype == torch.uint8
    norms = json.loads((run / NORMS).read_text())
    assert norms["conv1_1.weight"]["norm"] > 0
    for file in run.glob("*.ckpt"):
        assert all(value.isfinite().all() for value in load(file)["state_dict"].values())
    assert not (run / LAST).exists()
    assert [path.name for path in run.glob("step-*")] == ["step-000002.ckpt"]


def test_a_loss_that_is_no_number_ends_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, make_infinite)
    with pytest.raises(
        TrainingError, match=r"the loss is (inf|nan) at step 2: the batch is in .*bad-batch\.pt"
    ) as caught:
        train(recipe(folder, name="infinite"), progress=False)
    assert "\n" not in str(caught.value)
    assert_was_stopped(folder / "runs" / "infinite")


def test_a_loss_that_is_no_number_in_one_process_ends_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, make_infinite, rank=1)
    with pytest.raises(TrainingError, match=r"the loss is (inf|nan) at step 2: the batch is in .*bad-batch\.pt"):
        train(recipe(folder, name="infinite2", devices=2), progress=False)
    assert_was_stopped(folder / "runs" / "infinite2")


def test_gradients_that_are_no_numbers_do_not_reach_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = module.make_loss

    def steep(*of: Any) -> Any:
        """Its value is good, and the slope of the root at 0 is not."""
        loss = plain(*of)
        return lambda stages, batch: loss(stages, batch) | {"root": (0 * stages[0][0]).abs().sum().sqrt()}

    monkeypatch.setattr(module, "make_loss", steep)
    with pytest.raises(TrainingError, match=r"the norm of the gradients is nan at step 0: the batch is in"):
        train(recipe(folder, name="steep", checkpoint_every=1), progress=False)
    run = folder / "runs" / "steep"
    assert torch.isnan(torch.tensor(json.loads((run / NORMS).read_text())["conv1_1.weight"]["gradient"]))
    assert (run / BATCH).exists()
    assert not list(run.glob("*.ckpt"))


def test_a_process_that_is_killed_ends_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda _: os.kill(os.getpid(), signal.SIGKILL), rank=1)
    with pytest.raises(TrainingError, match=r"a process of the run was ended by SIGKILL.*`resume` goes on"):
        train(recipe(folder, name="killed", devices=2), progress=False)


@pytest.mark.parametrize("changes", [{"workers": 1}, {"devices": 2}, {"workers": 1, "devices": 2}], ids=str)
def test_a_picture_that_is_gone_is_named_in_one_line_whoever_reads_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    given = recipe(tmp_path, **changes)
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    with pytest.raises(DataError, match=r"^[^\n]*\d\.png[^\n]*$"):
        train(given, progress=False)


def test_too_little_memory_is_explained_by_the_settings_to_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: Any) -> Any:
        return lambda *_: torch.empty(2**62, dtype=torch.uint8)

    monkeypatch.setattr(module, "make_loss", hungry)
    with pytest.raises(TrainingError) as caught:
        train(recipe(folder, name="hungry", batch_size=6, preload=True), progress=False)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("out of memory: ", "batch_size=3 with accumulate=2 (the same steps)", "size=", "preload=false"):
        assert part in message


def test_only_what_is_about_memory_is_taken_for_it(tmp_path: Path) -> None:
    given = recipe(tmp_path, batch_size=1)
    assert explain_memory(RuntimeError("unsupported memory format option Preserve"), given) is None
    assert explain(ValueError("out of memory"), given) is None
    for error in (torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError(), RuntimeError("std::bad_alloc")):
        said = explain_memory(error, given)
        assert said is not None
        assert "batch_size" not in str(said), "there is no smaller batch"
    worker = explain(RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. \nmore"), given)
    assert isinstance(worker, TrainingError)
    assert "try fewer workers" in str(worker)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_command_says_it_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], devices: int
) -> None:
    spoil(monkeypatch, make_infinite)
    file = folder / f"command{devices}.yaml"
    given = settings(folder, name=f"command{devices}", devices=devices)
    file.write_text(yaml.safe_dump({k: str(v) if isinstance(v, Path) else v for k, v in given.items()}))
    assert cli.main(["train", str(file), "--quiet"]) == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("manypose: the loss is ")
