"""What is saved survives: runs go on bit for bit as if they had never stopped, full disks lose nothing."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import loggers
from tiny_runs import IGNORED, assert_same_weights, load, logged, recipe

from manypose.data.samples import FieldSamples
from manypose.errors import OutputError
from manypose.training.program import train
from manypose.training.saving import LAST, SafeCheckpoints

pytestmark = [pytest.mark.train, *IGNORED]
# Eight pictures in batches of three: checkpoints lie within an epoch. Weights are averaged after steps 1, 5 and 9.
AVERAGED = {"batch_size": 3, "average": 0.9, "workers": 2, "max_steps": 7, "checkpoint_every": 3}
# Validations after steps 2, 4 and 6, each of which may let the rate fall.
WATCHED = {
    "val_size": 2, "val_every": 2, "monitor": "loss", "patience": 5, "checkpoint_every": 1, "max_steps": 7,
    "schedule": "plateau", "plateau_patience": 0, "factor": 0.5, "learning_rate": 0.02, "average": 0.5,
    "network": "lpn_18", "width": 0.1, "size": (64, 64), "network_options": {}, "sigma": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saving")


@pytest.fixture(scope="module")
def averaged(folder: Path) -> Path:
    return train(recipe(folder, name="averaged", **AVERAGED), progress=False)


@pytest.fixture(scope="module")
def watched(folder: Path) -> Path:
    return train(recipe(folder, name="watched", **WATCHED), progress=False)


def assert_same_end(run: Path, whole: Path, *, of: int) -> None:
    """The same weights, losses and validations from a step on, and the same state of schedule and early stop."""
    assert_same_weights(run, whole)
    for name in ("loss", "val_loss", "val_metric"):
        ours, theirs = logged(run.parent, name), logged(whole.parent, name)
        assert ours == {step: value for step, value in theirs.items() if step >= of}
    a, b = load(run), load(whole)
    assert a["lr_schedulers"] == b["lr_schedulers"]
    for key in a["callbacks"]:
        if key.startswith("EarlyStopping"):
            assert a["callbacks"][key] == b["callbacks"][key]


def test_averaged_weights_and_workers_go_on_within_an_epoch(folder: Path, averaged: Path) -> None:
    middle = averaged.parent / "step-000003.ckpt"
    run = train(recipe(folder, name="averaged_on", resume=middle, **AVERAGED), progress=False)
    assert_same_weights(run, averaged)
    assert logged(run.parent) == {step: loss for step, loss in logged(averaged.parent).items() if step >= 3}


@pytest.mark.parametrize("step", [2, 3])
def test_a_validation_leaves_its_mark_on_what_goes_on(folder: Path, watched: Path, step: int) -> None:
    rates = logged(watched.parent, "lr-Adam/pg1") or logged(watched.parent, "lr-Adam")
    assert rates[6] < rates[2], "the schedule has heeded no validation"
    middle = watched.parent / f"step-{step:06d}.ckpt"
    run = train(recipe(folder, name=f"watched_{step}", resume=middle, **WATCHED), progress=False)
    assert_same_end(run, watched, of=step)


@pytest.mark.parametrize("step", [3, 4])
def test_a_signal_between_validations_changes_nothing(
    folder: Path, watched: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    from manypose.training.module import Training

    plain = Training.training_step

    def interrupted(self: Training, batch: Any, index: int) -> Any:
        if self.trainer.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, index)

    monkeypatch.setattr(Training, "training_step", interrupted)
    stopped = train(recipe(folder, name=f"signal_{step}", **WATCHED), progress=False)
    monkeypatch.undo()
    assert load(stopped)["global_step"] == step
    seen = logged(stopped.parent, "val_loss")
    assert list(seen) == [n for n in logged(watched.parent, "val_loss") if n < step]
    run = train(recipe(folder, name=f"signal_{step}_on", resume=stopped, **WATCHED), progress=False)
    assert_same_end(run, watched, of=step)


def test_a_signal_waits_for_the_end_of_a_step_of_several_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, made = FieldSamples.__getitem__, []

    def interrupted(self: FieldSamples, index: int) -> Any:
        made.append(index)
        if len(made) == 7:  # the first batch of the second step
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, index)

    settings = {"batch_size": 2, "accumulate": 3, "max_steps": 4}
    whole = train(recipe(folder, name="steps", **settings), progress=False)
    monkeypatch.setattr(FieldSamples, "__getitem__", interrupted)
    stopped = train(recipe(folder, name="steps_1", **settings), progress=False)
    monkeypatch.undo()
    assert load(stopped)["global_step"] in (1, 2)  # a batch is made ahead
    on = train(recipe(folder, name="steps_2", resume=stopped, **settings), progress=False)
    assert_same_weights(on, whole)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.ckpt")} | {path.name for path in folder.glob(".*")}


def test_the_newest_checkpoints_are_kept_and_the_best_is_named_by_its_figure(folder: Path) -> None:
    settings = {**WATCHED, "keep": 2, "checkpoint_every": 2, "schedule": "constant", "patience": None}
    last = train(recipe(folder, name="kept", **settings), progress=False)
    figures = logged(last.parent, "val_loss")
    step, best = min(figures.items(), key=lambda item: item[1])
    assert names(last.parent) == {
        LAST, "step-000004.ckpt", "step-000006.ckpt", f"best-step-{step + 1:06d}-loss-{best:.4f}.ckpt",
    }  # fmt: skip


def full_disk(monkeypatch: pytest.MonkeyPatch, *which: str, error: OSError | None = None) -> None:
    """Let there be no room for these files."""
    plain = os.replace

    def replace(source: Any, place: Any) -> None:
        if Path(place).name in which:
            raise error or OSError(errno.ENOSPC, "No space left on device")
        plain(source, place)

    monkeypatch.setattr(os, "replace", replace)


def test_a_full_disk_does_not_cost_the_last_good_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk(monkeypatch, "step-000004.ckpt", "step-000006.ckpt")
    last = train(recipe(folder, name="full", keep=1), progress=False)
    assert names(last.parent) == {LAST, "step-000002.ckpt"}
    assert load(last.parent / "step-000002.ckpt")["global_step"] == 2
    assert "step-000004.ckpt: not saved: the disk is full; what was saved before is still there" in caplog.text


def test_when_there_is_room_again_only_the_newest_checkpoint_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, "step-000004.ckpt")
    last = train(recipe(folder, name="room", keep=1), progress=False)
    assert names(last.parent) == {LAST, "step-000006.ckpt"}


def test_a_run_whose_end_could_not_be_saved_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, LAST)
    with pytest.raises(OutputError, match=r"last\.ckpt: the end of the run could not be saved.*step-000006\.ckpt"):
        train(recipe(folder, name="unsaved"), progress=False)


def test_a_folder_that_cannot_be_written_to_ends_the_run_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, "step-000002.ckpt", error=PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(OutputError, match=r"step-000002\.ckpt: the checkpoint cannot be written: Permission denied$"):
        train(recipe(folder, name="denied"), progress=False)
    (folder / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/tiny: cannot be written to: Not a directory$"):
        train(recipe(folder, out=folder / "file"), progress=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_what_the_system_says_of_a_full_disk_is_understood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saver, place = SafeCheckpoints(), tmp_path / "step-000002.ckpt"
    saver.save_checkpoint({"weights": torch.ones(3)}, place)
    (tmp_path / f".{place.name}.{os.getpid()}.part").symlink_to("/dev/full")
    saver.save_checkpoint({"weights": torch.zeros(300_000)}, place)
    assert torch.equal(load(place)["weights"], torch.ones(3))
    assert os.listdir(tmp_path) == [place.name]
    assert "the disk is full" in caplog.text


def test_nothing_half_written_stands_in_a_checkpoints_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / LAST
    SafeCheckpoints().save_checkpoint({"weights": torch.ones(3)}, place)

    def broken(_: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        SafeCheckpoints().save_checkpoint({"weights": torch.zeros(3)}, place)
    monkeypatch.undo()
    assert torch.equal(load(place)["weights"], torch.ones(3))
    assert os.listdir(tmp_path) == [LAST]


def test_a_full_disk_ends_the_logs_and_not_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loggers.CSVLogger, "save", save)
    assert load(train(recipe(folder, name="unlogged", max_steps=2), progress=False))["global_step"] == 2
    assert caplog.text.count("CsvLog: the disk is full: nothing more is logged") == 1
