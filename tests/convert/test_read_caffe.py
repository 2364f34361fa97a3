"""Caffe's files: what a stranger's Caffe, OpenCV and the goldens say is in them, and layers that need a second look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.convert import caffe, mxnet
from manypose.errors import ModelError

GOLDENS = Path(__file__).parents[1] / "goldens" / "formats"
FILES = sorted(file.name for file in GOLDENS.glob("*.caffemodel"))


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_goldens_are_read_exactly(name: str) -> None:
    expected = np.load(GOLDENS / "caffe_expected.npz")
    tensors = caffe.to_torch(caffe.read(GOLDENS / name))
    leaves = {"W": "weight", "b": "bias"}
    names = {key: f"{key[:-2]}.{leaves[key[-1]]}" for key in expected.files}
    assert sorted(tensors) == sorted(names.values())
    for key, named in names.items():
        np.testing.assert_array_equal(tensors[named], expected[key], strict=True)


@pytest.mark.golden
@pytest.mark.train
@pytest.mark.parametrize("name", FILES)
def test_the_net_of_the_goldens_computes_what_opencv_computed(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    io = np.load(GOLDENS / "caffe_tiny_io.npz")
    tensors = {key: torch.from_numpy(value) for key, value in caffe.to_torch(caffe.read(GOLDENS / name)).items()}
    maps = torch.from_numpy(io["x"])
    for layer in ("conv1_1", "conv5_1_CPM_L1", "conv5_5_CPM_L1"):
        maps = torch.conv2d(maps, tensors[f"{layer}.weight"], tensors[f"{layer}.bias"], padding="same").relu()
    np.testing.assert_allclose(maps.numpy(), io["y"], rtol=1e-5, atol=1e-4)


def test_stored_arrays_keep_their_layer_its_type_and_their_axes() -> None:
    stored = caffe.parse(writers.caffe(writers.some_tensors(), legacy=True))
    assert stored["conv1_1/Convolution/1"].shape == (1, 1, 1, 4)
    assert stored["fc6/InnerProduct/0"].shape == (1, 1, 5, 7)


def test_batch_norms_are_divided_by_their_factor_and_scales_are_weights() -> None:
    mean, variance = np.array([2, 4], "f4"), np.array([6, 8], "f4")
    content = writers.caffe_layer("bn", "BatchNorm", map(writers.blob, (mean, variance, np.array([2], "f4"))))
    content += writers.caffe_layer("scale", "Scale", map(writers.blob, (mean, variance)))
    content += writers.caffe_layer("shift", "Bias", map(writers.blob, (mean,)))
    tensors = caffe.to_torch(caffe.parse(content))
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "bn.running_mean": [1, 2],
        "bn.running_var": [3, 4],
        "scale.weight": [2, 4],
        "scale.bias": [6, 8],
        "shift.bias": [2, 4],
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (writers.field(1, b"net"), "no layer of it has weights"),
        (writers.field(100, b"\x0a\xff\xff\x7f"), "longer than the file"),
        (
            writers.caffe_layer("c", "Convolution", [writers.field(7, writers.field(1, 9))]),
            "blob 0 of layer c: damaged",
        ),
        (b"\x0b", "a field that protobuf does not have"),
        (b"\x08" + b"\xff" * 11, "more than 64 bits"),
        (b"\x2d\x00", "a number ends after the file"),
        (writers.caffe(writers.some_tensors()) * 2, "two tensors that are called 'conv1_1/Convolution/0'"),
    ],
)
def test_damaged_files_are_refused_with_the_place(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.caffemodel").write_bytes(content)
    with pytest.raises(ModelError, match=rf"x\.caffemodel: .*{said}"):
        caffe.read(tmp_path / "x.caffemodel")


@pytest.mark.shared
def test_a_real_file_is_read_exactly_and_equals_its_mxnet_twin(shared_data: Path) -> None:
    folder = shared_data / "teachers" / "formats"
    tensors = caffe.to_torch(caffe.read(folder / "det2.caffemodel"))
    twin = mxnet.to_torch(mxnet.read(folder / "det2-0001.params"))
    layers = {name: tensor.shape for name, tensor in tensors.items() if not name.endswith("bias")}
    assert layers == {
        "conv1.weight": (28, 3, 3, 3),
        "prelu1.weight": (28,),
        "conv2.weight": (48, 28, 3, 3),
        "prelu2.weight": (48,),
        "conv3.weight": (64, 48, 2, 2),
        "prelu3.weight": (64,),
        "conv4.weight": (128, 576),
        "prelu4.weight": (128,),
        "conv5-1.weight": (2, 128),
        "conv5-2.weight": (4, 128),
        "conv5-3.weight": (10, 128),
    }
    biases = {name: tensor.shape for name, tensor in tensors.items() if name.endswith("bias")}
    kernels = {name: shape for name, shape in layers.items() if name.startswith("conv")}
    assert biases == {name.replace("weight", "bias"): shape[:1] for name, shape in kernels.items()}
    # Matlab wrote the Caffe file: columns before rows; the MXNet file takes RGB instead of BGR.
    swapped = {name: tensor.swapaxes(2, 3) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}
    swapped["conv1.weight"] = swapped["conv1.weight"][:, ::-1]
    swapped["conv4.weight"] = tensors["conv4.weight"].reshape(128, 64, 3, 3).swapaxes(2, 3).reshape(128, 576)
    for name, tensor in twin.items():
        np.testing.assert_array_equal(tensor, swapped[name.replace("5_", "5-")], err_msg=name)
    assert {name.replace("5_", "5-") for name in twin} == set(tensors) - {"conv5-3.weight", "conv5-3.bias"}
