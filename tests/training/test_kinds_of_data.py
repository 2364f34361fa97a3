"""Training from each kind of place: packed sets, several sets joined by weights, and sample servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kites import write_kites
from tiny_runs import IGNORED, load, logged, recipe, settings

from manypose.data.datasets import dataset_skeleton, read_dataset
from manypose.data.packing.program import pack
from manypose.errors import DataError, RecipeError
from manypose.training.loaders import make_samples, read_pictures
from manypose.training.program import train
from manypose.training.task import make_task

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from number_server import free_address

pytest.importorskip("h5py", reason="needs the extra [train]")
pytest.importorskip("zmq", reason="needs the extra [train]")
pytestmark = [
    pytest.mark.train,
    *IGNORED,
    # Warnings of pycocotools with NumPy 2, and of Lightning for an endless stream of samples.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


def packed(folder: Path, *names: str) -> None:
    """The kites of `folder` as packed sets beside their own file."""
    folder.mkdir(exist_ok=True)
    file = write_kites(folder, pictures=4)
    for name in names:
        pack(read_dataset(file), folder / name, dataset_skeleton(file), shard_size=2)


def test_a_run_takes_packed_sets_beside_others_by_their_weights(tmp_path: Path) -> None:
    packed(tmp_path, "kites.h5", "kites-{00..}.tar")
    sets = [{"file": "set.json"}, {"file": "kites.h5", "weight": 2}, {"file": "kites-{00..}.tar", "weight": 0.5}]
    last = train(recipe(tmp_path, data=sets, max_steps=2), progress=False)
    assert len(logged(tmp_path)) == 2
    prints = load(last)["provenance"]["data"]
    assert set(prints) == {"set.json", "kites.h5", "kites-{00..}.tar"}
    assert len(set(prints.values())) == 3
    (tmp_path / "kites-01.tar").write_bytes((tmp_path / "kites-01.tar").read_bytes() + bytes(512))
    again = train(recipe(tmp_path, data=sets, max_steps=1, name="again"), progress=False)
    changed = load(again)["provenance"]["data"]
    assert {name for name in prints if prints[name] != changed[name]} == {"kites-{00..}.tar"}


@pytest.mark.parametrize("network", ["vgg_paf", "lpn_18"])
def test_weights_say_how_often_a_picture_is_drawn(tmp_path: Path, network: str) -> None:
    packed(tmp_path, "kites.h5")
    sets = [{"file": "set.json", "weight": 3}, {"file": "kites.h5", "weight": 1}]
    options = {"network_options": {"stages": 2}} if network == "vgg_paf" else {"network_options": {}, "sigma": None}
    task = make_task(recipe(tmp_path, data=sets, network=network, epoch_samples=400, mosaic=0.3, **options))
    train_sets, _ = read_pictures(task)
    samples = make_samples(task, train_sets)
    assert [len(group.pictures) for group in train_sets] == [4, 4]
    if network == "lpn_18":  # a person for each place in an epoch, six of each set
        assert len(samples) == 3 * 6 + 6
    else:
        assert len(samples) == 400


@contextmanager
def served(folder: Path, *, mode: str = "compact", **changes: Any) -> Iterator[str]:
    """`manypose data serve` as a process; gives its address."""
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in settings(folder, **changes).items()}
    (folder / "serve.yaml").write_text(yaml.safe_dump(plain))
    address = free_address()
    words = ["data", "serve", str(folder / "serve.yaml"), "--bind", address, "--mode", mode, "--workers", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(
        [sys.executable, "-m", "manypose", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        assert address in server.stdout.readline()
        yield address
    finally:
        server.terminate()
        server.communicate(timeout=30)


def write_skeleton(folder: Path) -> str:
    """The kites' skeleton as a file, since a server does not say what its joints are."""
    kite = dataset_skeleton(write_kites(folder, pictures=4))
    (folder / "kite.yaml").write_text(yaml.safe_dump(kite.to_dict()))
    return "kite.yaml"


@pytest.mark.parametrize("mode", ["compact", "classic"])
def test_a_run_takes_its_samples_from_a_server(tmp_path: Path, mode: str) -> None:
    mine = {"skeleton": write_skeleton(tmp_path), "max_steps": 2}
    val = {"val": [{"file": "set.json"}], "val_every": 2}
    with served(tmp_path, mode=mode, **mine) as address:
        data = [{"server": address, "server_mode": mode}]
        last = train(recipe(tmp_path, data=data, epoch_samples=8, **mine, **val), progress=False)
        assert load(last)["global_step"] == 2
        assert all(np.isfinite(list(logged(tmp_path).values())))
        assert logged(tmp_path, "val_loss")
        with pytest.raises(DataError, match=r"data: tcp://.* sends picture of shape \(3, 64, 64\), .* \(3, 128, 128\)"):
            train(recipe(tmp_path, data=data, epoch_samples=8, size=128, name="other", **mine), progress=False)


def test_what_a_server_cannot_give_is_refused(tmp_path: Path) -> None:
    server = {"server": "tcp://127.0.0.1:5555"}
    for changes, message in (
        (
            {"data": [server], "network": "lpn_18", "network_options": {}},
            r"data\.0\.server: .* bottom-up networks alone",
        ),
        ({"val": [server]}, r"val\.0\.server: the validation needs pictures and labels: name a file here"),
        ({"data": [server], "val_size": 0.1}, r"val_size: a server's samples cannot be split here: name a file"),
    ):
        with pytest.raises(RecipeError, match=message):
            recipe(tmp_path, skeleton="openpose18", **changes)
