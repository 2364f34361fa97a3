"""Two processes train as one does with twice the batch: forked, by the command, by torchrun; killed and resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import IGNORED, LONGEST, assert_same_weights, load, logged, recipe, started, wait_for

from manypose.data.samples import FieldSamples
from manypose.errors import RecipeError
from manypose.training.loaders import rank_of_all
from manypose.training.program import train
from manypose.training.saving import LAST

pytestmark = [pytest.mark.train, *IGNORED]
STEPS, PICTURES = 12, 8
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The last checkpoint of one process with a batch of 4."""
    return train(recipe(folder, name="alone", batch_size=4, max_steps=STEPS), progress=False)


def assert_same_losses(run: Path, alone: Path, *, steps: int = STEPS) -> None:
    one, other = logged(alone.parent), logged(run)
    assert set(other) == set(range(steps))
    assert other == pytest.approx({step: one[step] for step in range(steps)}, rel=1e-4)
    for stage in ("heatmaps_1", "fields_2"):
        parts = logged(alone.parent, f"losses/{stage}")
        assert logged(run, f"losses/{stage}") == pytest.approx({n: parts[n] for n in range(steps)}, rel=1e-4)


def test_two_processes_do_what_one_does_with_twice_the_batch(folder: Path, alone: Path) -> None:
    last = train(recipe(folder, name="two", devices=2, max_steps=STEPS), progress=False)
    assert_same_losses(last.parent, alone)
    assert_same_weights(last, alone, tolerance=1e-4)


def test_batches_that_are_gathered_do_what_a_large_one_does(folder: Path, alone: Path) -> None:
    last = train(recipe(folder, name="gathered", batch_size=1, accumulate=4, max_steps=STEPS), progress=False)
    assert_same_losses(last.parent, alone)
    both = train(recipe(folder, name="both", batch_size=1, accumulate=2, devices=2, max_steps=STEPS), progress=False)
    assert_same_losses(both.parent, alone)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(folder: Path, alone: Path) -> None:
    run = folder / "runs" / "killed"
    with started(folder, name="killed", devices=2, max_steps=STEPS) as process:
        wait_for(run / "step-000002.ckpt", process)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(LONGEST) == -signal.SIGKILL
    assert not (run / LAST).exists()
    (run / f".{LAST}.4711.part").write_bytes(b"half")
    newest = max(run.glob("step-*.ckpt"))
    with started(folder, name="killed", devices=2, max_steps=STEPS, resume=newest) as process:
        out, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, error
    assert str(run / LAST) in out
    before = load(newest)["global_step"]
    went_on = logged(run / f"from_step_{before}")
    ours = logged(alone.parent)
    assert went_on == pytest.approx({step: ours[step] for step in range(before, STEPS)}, rel=1e-4)
    assert_same_weights(run / LAST, alone, tolerance=1e-4)
    assert written_by_one(run)


def test_a_signal_to_all_processes_saves_the_run(folder: Path, alone: Path) -> None:
    run = folder / "runs" / "ended"
    with started(folder, name="ended", devices=2, max_steps=STEPS) as process:
        wait_for(run / "step-000002.ckpt", process)
        os.killpg(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, error
    done = load(run / LAST)["global_step"]
    assert 2 <= done < STEPS
    train(recipe(folder, name="ended", devices=2, max_steps=STEPS, resume=run / LAST), progress=False)
    assert_same_weights(run / LAST, alone, tolerance=1e-4)


def test_a_signal_to_the_process_that_waits_saves_the_run(folder: Path) -> None:
    run = folder / "runs" / "asked"
    with started(folder, name="asked", devices=2, max_steps=STEPS) as process:
        wait_for(run / "step-000002.ckpt", process)
        os.kill(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, error
    assert str(run / LAST) in out
    assert 2 <= load(run / LAST)["global_step"] < STEPS


def test_torchrun_may_start_the_processes(folder: Path, alone: Path) -> None:
    run = folder / "runs" / "torchrun"
    with started(folder, launcher=TORCHRUN, name="torchrun", devices=2, max_steps=4, cooldown_steps=0) as process:
        _, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, error
    assert_same_losses(run, alone, steps=4)
    assert written_by_one(run)


def test_as_many_processes_as_torchrun_has_started_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(RecipeError, match=r"devices: torchrun has started 2 processes, the recipe has 1 "):
        train(recipe(tmp_path), progress=False)


def test_a_sample_is_seen_once_in_an_epoch_by_one_of_the_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = folder / "seen.txt"
    plain = FieldSamples.__getitem__

    def recorded(self: FieldSamples, index: int) -> Any:
        with open(record, "a") as file:
            file.write(f"{rank_of_all()[0]} {index}\n")
        return plain(self, index)

    monkeypatch.setattr(FieldSamples, "__getitem__", recorded)
    train(recipe(folder, name="seen", devices=2, batch_size=1, accumulate=2, max_steps=4), progress=False)
    seen = [tuple(map(int, line.split())) for line in record.read_text().splitlines()]
    assert {rank for rank, _ in seen} == {0, 1}
    numbers = sorted(number for _, number in seen)
    assert numbers == list(range(2 * PICTURES))


def written_by_one(run: Path) -> bool:
    """Whether a run's folder holds what one process writes, and nothing half written."""
    parts = [path for path in run.rglob("*") if path.is_file()]
    events = [path for path in parts if path.name.startswith("events")]
    logs = [path for path in parts if path.name == "metrics.csv"]
    others = {path.name for path in parts if path not in events and path.suffix != ".ckpt"}
    assert len(events) == len(logs)
    return others == {"metrics.csv", "hparams.yaml", "recipe.yaml", "provenance.yaml"}
