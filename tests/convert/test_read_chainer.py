"""Chainer's .npz files: names, the net that Chainer computed, and archives that are not what they say."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from manypose.convert import chainer
from manypose.errors import ModelError

GOLDENS = Path(__file__).parents[1] / "goldens" / "formats"


def member(header: bytes, values: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("conv/W.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values)
    return folder / "x.npz"


@pytest.mark.golden
def test_the_golden_is_read_exactly() -> None:
    expected = np.load(GOLDENS / "chainer_tiny.npz")
    stored = chainer.read(GOLDENS / "chainer_tiny.npz")
    assert list(stored) == expected.files
    for name, array in stored.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)
    assert "Mconv1_stage2_L1.weight" in chainer.to_torch(stored)


@pytest.mark.golden
@pytest.mark.train
def test_the_net_of_the_golden_computes_what_chainer_computed() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    io_arrays = np.load(GOLDENS / "chainer_tiny_io.npz")
    maps = torch.from_numpy(io_arrays["x"])
    tensors = chainer.to_torch(chainer.read(GOLDENS / "chainer_tiny.npz"))
    for layer in ("conv1_1", "conv4_4_CPM"):
        weight, bias = (torch.from_numpy(tensors[f"{layer}.{leaf}"]) for leaf in ("weight", "bias"))
        maps = torch.conv2d(maps, weight, bias, padding=1)
    np.testing.assert_allclose(maps.numpy(), io_arrays["y"], atol=1e-6)


def test_chains_inside_of_chains_and_batch_norms_get_their_names() -> None:
    names = ("child/conv/W", "bn/gamma", "bn/beta", "bn/avg_mean", "bn/avg_var", "bn/N")
    tensors = chainer.to_torch({name: np.zeros(1, np.float32) for name in names})
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert list(tensors) == ["child.conv.weight", *(f"bn.{leaf}" for leaf in leaves)]


def test_arrays_in_column_order_and_foreign_byte_order_come_out_right(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    np.savez(tmp_path / "x.npz", **{"conv/W": np.asfortranarray(array)})
    tensor = chainer.to_torch(chainer.read(tmp_path / "x.npz"))["conv.weight"]
    np.testing.assert_array_equal(tensor, array.astype("f4"), strict=True)


def test_arrays_of_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"conv/W": np.array([None])})
    with pytest.raises(ModelError, match=r"x\.npz: array conv/W: holds Python objects"):
        chainer.read(tmp_path / "x.npz")


def test_an_array_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n"
    with pytest.raises(ModelError, match=r"array conv/W: damaged: an array of shape \(1099511627776,\)"):
        chainer.read(member(header, bytes(8), tmp_path))


def test_an_archive_that_unpacks_to_more_than_is_ever_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", **{"conv/W": np.zeros(1000)})
    monkeypatch.setattr(chainer, "LARGEST_FILE", 8000)
    with pytest.raises(ModelError, match=r"x\.npz: unpacks to more than 8,000 bytes"):
        chainer.read(tmp_path / "x.npz")
