"""A checkpoint gives back its network with the very same weights, and what it means; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import ModelError, OutputError
from manypose.metadata import Metadata

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("safetensors", reason="needs the extra [train]")

from safetensors.numpy import load_file, save_file  # noqa: E402

from manypose.convert.checkpoint import (  # noqa: E402
    Checkpoint,
    Header,
    is_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from manypose.networks import build  # noqa: E402

pytestmark = pytest.mark.train

OPTIONS: dict[str, Any] = {"joints": 18, "fields": 38, "width": 0.25}
METADATA = Metadata(
    name="tiny",
    task="bottom-up",
    skeleton="openpose18",
    outputs={"heatmaps": "heatmaps", "fields": "fields"},
    licence="CC0",
)


def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    state = build("mobilenet_paf", **OPTIONS).state_dict()
    tensors = {name: value.numpy() for name, value in state.items() if value.ndim}
    return Checkpoint(Header(network="mobilenet_paf", options=OPTIONS, metadata=METADATA), tensors)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_checkpoint(checkpoint(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_header_and_tensors_come_back(file: Path) -> None:
    again = load_checkpoint(file)
    assert again.header == checkpoint().header
    assert set(again.tensors) == set(checkpoint().tensors)
    for name, tensor in checkpoint().tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_the_network_is_built_with_its_weights_and_ready_to_run(file: Path) -> None:
    network = load_checkpoint(file).build()
    assert not network.training
    for name, tensor in checkpoint().tensors.items():
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), tensor)


def test_it_is_a_plain_safetensors_file_for_others(file: Path) -> None:
    assert set(load_file(file)) == set(checkpoint().tensors)
    assert is_checkpoint(file)


def test_a_safetensors_file_of_others_is_none(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "others.safetensors")
    assert not is_checkpoint(tmp_path / "others.safetensors")
    with pytest.raises(ModelError, match=r"others\.safetensors: not a checkpoint of manypose; `manypose convert`"):
        load_checkpoint(tmp_path / "others.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "its header is faulty"),
        ("[" * 100_000, "its header is faulty"),
        (json.dumps({"network": "mobilenet_paf"}), "options: field required"),
        (json.dumps({"network": "x", "options": {}, "metadata": {"name": ""}}), "metadata"),
    ],
)
def test_a_faulty_header_is_named(tmp_path: Path, header: str, message: str) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "bad.safetensors", metadata={"manypose": header})
    with pytest.raises(ModelError, match=message):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    given = checkpoint()
    less = {name: tensor for name, tensor in given.tensors.items() if name != "cpm.conv.0.bias"}
    save_checkpoint(Checkpoint(given.header, less), tmp_path / "less.safetensors")
    with pytest.raises(ModelError, match=r"weights of mobilenet_paf: .*cpm\.conv\.0\.bias"):
        load_checkpoint(tmp_path / "less.safetensors").build()


@pytest.mark.parametrize("content", [b"", b"\x10", b"\xff" * 64, b"PK\x03\x04" * 20])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.safetensors: not a safetensors file"):
        load_checkpoint(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"nowhere\.safetensors: not a safetensors file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_a_file_that_is_there_is_kept(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(OutputError, match=r"tiny\.safetensors: the file exists"):
        save_checkpoint(checkpoint(), file)
    assert file.read_bytes() == before
