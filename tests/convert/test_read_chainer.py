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


def test_members_that_unpack_to_far_more_than_the_file_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", **{"conv/W": np.zeros(1 << 24, np.float64)})
    with pytest.raises(ModelError, match=r"x\.npz: damaged or unsafe: it states 134,\d+,\d+ bytes"):
        chainer.read(tmp_path / "x.npz")


def test_members_are_unpacked_no_further_than_they_state(tmp_path: Path) -> None:
    file = member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes(8), tmp_path)
    with zipfile.ZipFile(file) as archive:
        packed = archive.read("conv/W.npy")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conv/W.npy", packed + bytes(1 << 20))
    content, stated = file.read_bytes(), (len(packed) + (1 << 20)).to_bytes(4, "little")
    file.write_bytes(content.replace(stated, len(packed).to_bytes(4, "little")))
    with pytest.raises(ModelError, match=r"x\.npz: not a \.npz file, or damaged: Bad CRC-32"):
        chainer.read(file)


def test_ways_of_packing_that_know_no_bound_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("conv/W.npy", bytes(1 << 16))
    with pytest.raises(ModelError, match=r"array conv/W: is packed in a way that numpy does not use"):
        chainer.read(tmp_path / "x.npz")
