"""PyTorch's files: state dicts in whatever they are wrapped in, and no stranger's objects."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.errors import ModelError

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.convert import pytorch  # noqa: E402

pytestmark = pytest.mark.train

TENSORS = writers.some_tensors()


def save(checkpoint: object, folder: Path) -> Path:
    (folder / "x.pth").write_bytes(writers.pytorch(checkpoint))
    return folder / "x.pth"


def state(prefix: str = "") -> dict[str, torch.Tensor]:
    return writers.as_torch(TENSORS, prefix)


def checkpoint_with_optimiser() -> dict[str, object]:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 1, 4, 4)).sum().backward()
    optimiser.step()
    return {"state_dict": network.state_dict(), "optimizer": optimiser.state_dict(), "scheduler": {}, "iter": 370000}


def test_only_the_network_is_taken_from_a_checkpoint_with_the_optimisers_state(tmp_path: Path) -> None:
    stored = pytorch.read(save(checkpoint_with_optimiser(), tmp_path))
    norm = ("1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert list(stored) == ["0.weight", "0.bias", *norm]
    assert pytorch.to_torch(stored)["1.num_batches_tracked"].dtype == np.int64


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model_state_dict", "best_state_dict", "model", "generator", "weird"]
)
def test_state_dicts_are_found_in_what_wraps_them(wrapper: str, tmp_path: Path) -> None:
    checkpoint = {"epoch": 2, "best": torch.tensor(0.5), wrapper: OrderedDict(state())} if wrapper != "weird" else None
    stored = pytorch.read(save(checkpoint or {"epoch": 2, wrapper: state()}, tmp_path))
    assert sorted(stored) == sorted(TENSORS)


@pytest.mark.parametrize("prefix", ["module.", "model.", "network.", "module.model.", "_orig_mod.module."])
def test_a_prefix_that_all_names_share_is_taken_off(prefix: str, tmp_path: Path) -> None:
    stored = pytorch.read(save(state(prefix), tmp_path))
    assert all(name.startswith(prefix) for name in stored)
    assert sorted(pytorch.to_torch(stored)) == sorted(TENSORS)


@pytest.mark.parametrize(
    "names",
    [
        ("module.conv1.weight", "conv2.weight"),  # not of all
        ("model.0.0.weight", "model.1.0.weight"),  # a sequence of the network's own
        ("backbone.conv1.weight", "backbone.conv2.weight"),  # for the layouts to read
    ],
)
def test_other_prefixes_stay(names: tuple[str, ...]) -> None:
    assert tuple(pytorch.to_torch(dict.fromkeys(names, np.zeros(1)))) == names


def test_types_that_numpy_lacks_and_views_become_plain_arrays(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([1.5, -2], dtype=torch.bfloat16), "b": torch.arange(6.0).reshape(2, 3).T}
    stored = pytorch.read(save(tensors | {"c": torch.ones(1).expand(2, 3)}, tmp_path))
    assert stored["a"].tolist() == [1.5, -2]
    assert stored["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert stored["c"].shape == (2, 3)


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (np.float64(0.7), r"numpy\._core\.multiarray\.scalar|numpy\.core\.multiarray\.scalar"),
        (torch.nn.Conv2d(1, 1, 1), r"torch\.nn\.modules\.conv\.Conv2d"),
    ],
)
def test_a_file_that_needs_more_than_tensors_is_refused_and_says_for_what(
    value: object, asked: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=rf"x\.pth: holds Python objects beside tensors \(({asked})\)") as error:
        pytorch.read(save({"state_dict": state(), "extra": value}, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ({"epoch": 3}, "holds no state dict, only a dict of 'epoch'"),
        ([1, 2], "holds no state dict, only a list"),
        ({"first": state(), "second": state()}, r"several state dicts \(first, second\)"),
        ({"a": torch.ones(2, 2).to_sparse()}, "the tensor a is sparse"),
        ({"a": torch.ones(1).expand(1 << 20, 1 << 20)}, "it states .* bytes of tensors"),
    ],
)
def test_files_without_the_weights_of_one_network_are_refused(checkpoint: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        pytorch.read(save(checkpoint, tmp_path))


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(ModelError, match=r"x\.pt: a TorchScript program"):
        pytorch.read(tmp_path / "x.pt")


@pytest.mark.shared
def test_a_real_state_dict_lists_every_tensor(shared_data: Path) -> None:
    file = shared_data / "teachers" / "formats" / "blazepose.pth"
    stored = pytorch.read(file)
    expected = torch.load(file, weights_only=True)
    assert list(stored) == list(expected)
    assert len(stored) == 134
    assert all(np.array_equal(stored[name], tensor.numpy()) for name, tensor in expected.items())
    assert sum(tensor.size for tensor in stored.values()) == 818104
