"""Runs of a tiny network on drawn kites, here or as a process of its own, and the losses that they logged."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from kites import write_kites

from manypose.training.recipe import Recipe
from manypose.training.recipe_file import check_recipe

IGNORED = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
# Without norms, and with little to do: what several processes find is then what one does with their batches together.
NETWORK = {"network": "vgg_paf", "network_options": {"stages": 2}, "width": 0.05, "size": 64, "sigma": 5.0}
TOP_DOWN = {"network": "lpn_18", "width": 0.1, "size": (64, 64), "frozen_norms": True}
LONGEST = 240  # seconds that a run may take on a machine that is busy with other things


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe's settings for a run in `folder`, whose pictures it draws."""
    if not (folder / "set.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_kites(folder, pictures=8)
    given = {
        "name": "tiny", "root": folder, "data": [{"file": "set.json"}], "batch_size": 2, "max_steps": 6,
        "optimiser": "adam", "learning_rate": 1e-3, "average": 0.0, "warmup_steps": 2, "cooldown_steps": 2,
        "device": "cpu", "workers": 0, "threads": 1, "log_every": 1, "checkpoint_every": 2, "keep": -1,
        "out": folder / "runs", **NETWORK,
    }  # fmt: skip
    return given | changes


def recipe(folder: Path, **changes: Any) -> Recipe:
    return check_recipe(settings(folder, **changes), "test")


def logged(folder: Path, name: str = "loss") -> dict[int, float]:
    """A figure of a run's folder by step, of all parts of the run."""
    found: dict[int, float] = {}
    for file in sorted(folder.rglob("metrics.csv"), key=lambda file: file.stat().st_mtime):
        with open(file) as lines:
            found |= {int(row["step"]): float(row[name]) for row in csv.DictReader(lines) if row.get(name)}
    return found


def load(file: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return checkpoint


def assert_same_weights(a: Path, b: Path, *, tolerance: float = 0.0) -> None:
    first, second = load(a), load(b)
    assert first["global_step"] == second["global_step"]
    for key in {"state_dict", "current_model_state"} & set(first):
        for name, value in first[key].items():
            torch.testing.assert_close(
                value, second[key][name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


@contextmanager
def started(folder: Path, *, launcher: tuple[str, ...] = (), **changes: Any) -> Iterator[subprocess.Popen[str]]:
    """`manypose train` as a process with a group of its own, which is gone afterwards."""
    file = folder / f"{changes.get('name', 'tiny')}.yaml"
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in settings(folder, **changes).items()
    }
    file.write_text(yaml.safe_dump(plain))
    command = [sys.executable, *launcher, "-m", "manypose", "train", str(file), "--quiet"]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None or _lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Until a file is there; fails if the process ends before."""
    end = time.monotonic() + LONGEST
    while not file.exists():
        assert time.monotonic() < end, f"{file} did not come"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
