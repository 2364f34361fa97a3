"""The same tensors come out of every format, and what is no file of weights is refused with what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.errors import ModelError

for package in ("torch", "h5py", "safetensors", "onnx"):
    pytest.importorskip(package, reason="needs the extra [train]")

from manypose.convert.weights import read_weight_file  # noqa: E402

pytestmark = pytest.mark.train

TENSORS = writers.some_tensors()


def write(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("way", writers.WAYS)
def test_every_format_gives_the_same_tensors(way: str, tmp_path: Path) -> None:
    content = writers.WAYS[way](TENSORS)
    file = read_weight_file(write(tmp_path, way, content))
    assert file.format == writers.format_of(way)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert sorted(file.tensors) == sorted(TENSORS)
    for name, tensor in file.tensors.items():
        np.testing.assert_array_equal(tensor, TENSORS[name], strict=True, err_msg=name)
        assert tensor.flags.c_contiguous
        assert tensor.flags.writeable


@pytest.mark.parametrize("way", [way for way in writers.WAYS if not way.endswith("caffemodel")])
def test_batch_norms_come_with_their_running_statistics(way: str, tmp_path: Path) -> None:
    tensors = writers.with_batch_norm(TENSORS)
    file = read_weight_file(write(tmp_path, way, writers.WAYS[way](tensors)))
    assert sorted(file.tensors) == sorted(tensors)
    for name, tensor in file.tensors.items():
        np.testing.assert_array_equal(tensor, tensors[name], strict=True, err_msg=name)


# caffemodel and ONNX are both protobuf without a magic number: those two go by their suffix.
@pytest.mark.parametrize("way", [way for way in writers.WAYS if not way.endswith(("caffemodel", "onnx"))])
def test_the_content_tells_the_format_whatever_the_name(way: str, tmp_path: Path) -> None:
    file = write(tmp_path, "weights.bin", writers.WAYS[way](TENSORS))
    assert read_weight_file(file).format == writers.format_of(way)


def test_a_format_that_is_given_overrides_the_name(tmp_path: Path) -> None:
    file = write(tmp_path, "pose_iter_440000.binary", writers.caffe(TENSORS))
    assert sorted(read_weight_file(file, format="caffe").tensors) == sorted(TENSORS)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    halves = {name: tensor.astype(np.float16) for name, tensor in TENSORS.items()}
    file = read_weight_file(write(tmp_path, "half.safetensors", writers.safetensors(halves)))
    assert {tensor.dtype for tensor in file.stored.values()} == {np.dtype(np.float16)}
    assert {tensor.dtype for tensor in file.tensors.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.pth", b"", "empty; fetch it again"),
        ("page.html", b"<!DOCTYPE html>", r"no known file of weights.*\.caffemodel"),
        ("page.caffemodel", b"<!DOCTYPE html>", "not a .caffemodel"),
        ("page.pth", b"<!DOCTYPE html>", "not a file that torch.save wrote"),
        ("page.onnx", b"<!DOCTYPE html>", "not an ONNX file"),
        ("page.npz", b"<!DOCTYPE html>", "not a .npz file"),
        ("page.h5", b"<!DOCTYPE html>", "not an HDF5 file"),
        ("page.params", b"<!DOCTYPE html>", "not a .params file"),
        ("page.safetensors", b"<!DOCTYPE html>", "not a safetensors file"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_by_name(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{name}: .*{said}"):
        read_weight_file(write(tmp_path, name, content))


def test_a_missing_file_a_folder_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth: there is no such file"):
        read_weight_file(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="is a folder"):
        read_weight_file(tmp_path)
    with pytest.raises(ModelError, match="no format is called 'darknet'; there are caffe, keras"):
        read_weight_file(write(tmp_path, "x.weights", b"1"), format="darknet")  # type: ignore[arg-type]


def test_a_zip_file_of_something_else_says_what_it_holds(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.writestr("pose_iter_440000.caffemodel", b"1")
    with pytest.raises(ModelError, match=r"it holds pose_iter_440000\.caffemodel; unpack it first"):
        read_weight_file(tmp_path / "weights.zip")
