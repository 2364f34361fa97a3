"""Keras's HDF5 files: both namings of stage 1, every way of saving, and what looks like one and is none."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.errors import ModelError

h5py = pytest.importorskip("h5py", reason="needs the extra [train]")

from manypose.convert import keras  # noqa: E402

pytestmark = pytest.mark.train

GOLDENS = Path(__file__).parents[1] / "goldens" / "formats"


def neutral(name: str) -> str:
    """The goldens' name for a layer of stage 1, which two products name differently."""
    name = re.sub(r"^conv5_(\d)_CPM_L(\d)", r"S1_\1_L\2", name)
    name = re.sub(r"^Mconv(\d)_stage1_L(\d)", r"S1_\1_L\2", name)
    return name.replace(".weight", ".W").replace(".bias", ".b")


def read_bytes(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    (folder / "x.h5").write_bytes(content)
    return keras.read(folder / "x.h5")


@pytest.mark.golden
@pytest.mark.parametrize("name", ["keras_tiny_caffe_names.h5", "keras_tiny_stage_names.h5"])
def test_goldens_of_both_namings_are_read_exactly(name: str) -> None:
    expected = np.load(GOLDENS / "keras_tiny_expected.npz")
    tensors = {neutral(key): tensor for key, tensor in keras.to_torch(keras.read(GOLDENS / name)).items()}
    assert sorted(tensors) == sorted(expected.files)
    for key in expected.files:
        np.testing.assert_array_equal(tensors[key], expected[key], strict=True)


def test_stored_arrays_keep_their_place_and_axes() -> None:
    stored = keras.read(GOLDENS / "keras_tiny_caffe_names.h5")
    assert stored["Mconv1_stage2_L1/Mconv1_stage2_L1/kernel:0"].shape == (7, 7, 10, 2)


def test_the_counter_of_a_session_in_the_names_of_weights_is_ignored() -> None:
    tensors = {"conv1_1/conv1_1_3/kernel:0": np.zeros((3, 3, 1, 2)), "conv1_1/conv1_1_3/bias:0": np.zeros(2)}
    assert sorted(keras.to_torch(tensors)) == ["conv1_1.bias", "conv1_1.weight"]


def test_weights_of_a_model_inside_a_model_go_by_their_own_names() -> None:
    tensors = {
        "vgg19/block1_conv1/kernel:0": np.zeros((3, 3, 1, 2)),
        "vgg19/block1_conv2/kernel:0": np.zeros((1, 1, 2, 2)),
    }
    assert sorted(keras.to_torch(tensors)) == ["block1_conv1.weight", "block1_conv2.weight"]


def test_kernels_of_depthwise_separable_and_transposed_convolutions() -> None:
    depthwise = np.arange(3 * 2 * 4 * 2.0).reshape(3, 2, 4, 2)  # (kh, kw, in, how many for each)
    tensors = keras.to_torch(
        {
            "dw/dw/depthwise_kernel:0": depthwise,
            "sep/sep/depthwise_kernel:0": depthwise,
            "sep/sep/pointwise_kernel:0": np.zeros((1, 1, 8, 5)),
            "up/up/kernel:0": np.zeros((4, 4, 3, 2)),  # (kh, kw, out, in)
        }
    )
    assert tensors["dw.weight"].shape == (8, 1, 3, 2)
    assert tensors["dw.weight"][5, 0].tolist() == depthwise[:, :, 2, 1].tolist()
    assert tensors["sep.depthwise.weight"].shape == (8, 1, 3, 2)
    assert tensors["sep.pointwise.weight"].shape == (5, 8, 1, 1)
    assert tensors["up.weight"].shape == (2, 3, 4, 4)


def test_an_hdf5_file_of_something_else_says_what_it_holds() -> None:
    with pytest.raises(ModelError, match=r"1sample\.h5: an HDF5 file, but not one of Keras.*it holds datum"):
        keras.read(GOLDENS / "train_dataset_1sample.h5")


def test_a_layer_that_is_listed_and_missing_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO(writers.keras(writers.some_tensors()))
    with h5py.File(content, "a") as file:
        del file["conv1_1"]
    with pytest.raises(ModelError, match=r"x\.h5: damaged: there is no group of the layer 'conv1_1'"):
        read_bytes(content.getvalue(), tmp_path)


@pytest.mark.parametrize("kind", ["external link", "external values", "claims more than the file has"])
def test_values_outside_of_the_file_or_beyond_it_are_not_taken(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"conv"])
        group = file.create_group("conv")
        group.attrs["weight_names"] = np.array([b"kernel:0"])
        if kind == "external link":
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["secret"] = np.zeros(3)
            group["kernel:0"] = h5py.ExternalLink("other.h5", "secret")
        elif kind == "external values":
            (tmp_path / "secret").write_bytes(bytes(12))
            group.create_dataset("kernel:0", (3,), "f4", external=[(str(tmp_path / "secret"), 0, 12)])
        else:
            group.create_dataset("kernel:0", (1 << 32,), "f4", chunks=(1024,))
    with pytest.raises(ModelError, match=r"weight conv/kernel:0: (damaged|its values are in another file)"):
        keras.read(tmp_path / "x.h5")


def test_a_broken_heap_of_names_is_refused_before_libhdf5_walks_it_for_ever(tmp_path: Path) -> None:
    content = bytearray(writers.keras(writers.some_tensors(), legacy_of_3=True))
    size = content.index(b"GCOL") + 8
    content[size : size + 8] = (4096 + 1024).to_bytes(8, "little")
    with pytest.raises(ModelError, match="damaged"):
        read_bytes(bytes(content), tmp_path)


@pytest.mark.shared
def test_a_real_file_of_keras_2_2_4_lists_every_tensor(shared_data: Path) -> None:
    file = shared_data / "teachers" / "formats" / "EfficientPoseRT.h5"
    stored = keras.read(file)
    tensors = keras.to_torch(stored)
    with h5py.File(file) as opened:
        datasets = []
        opened["model_weights"].visititems(lambda name, item: datasets.append(name) if hasattr(item, "shape") else None)
        assert sorted(stored) == sorted(datasets)
        for name, tensor in stored.items():
            np.testing.assert_array_equal(tensor, opened["model_weights"][name][()])
    assert len(tensors) == len(stored) == 278
    assert sum(tensor.size for tensor in tensors.values()) == 465608
    assert tensors["stem_conv_res1.weight"].shape == (32, 3, 3, 3)
    assert tensors["block1a_dwconv_res1.weight"].shape == (32, 1, 3, 3)
    assert tensors["block1a_bn_res1.running_var"].shape == (32,)
