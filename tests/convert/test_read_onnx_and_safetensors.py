"""Weights in ONNX files, inside and beside them, and in safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.errors import ModelError

torch = pytest.importorskip("torch", reason="needs the extra [train]")
onnx = pytest.importorskip("onnx", reason="needs the extra [train]")

from manypose.convert import onnx_file, safetensors_file  # noqa: E402

pytestmark = pytest.mark.train


def model_with_outside_weights(folder: Path, location: str, length: int = 24) -> Path:
    tensor = onnx.TensorProto(name="conv.weight", dims=[2, 3], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "8"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    file = folder / "model" / "x.onnx"
    file.parent.mkdir(exist_ok=True)
    graph = onnx.helper.make_graph([], "net", [], [], [tensor])
    file.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return file


def test_weights_beside_an_onnx_file_are_read(tmp_path: Path) -> None:
    file = model_with_outside_weights(tmp_path, "weights.bin")
    values = np.arange(6, dtype="f4").reshape(2, 3)
    (file.parent / "weights.bin").write_bytes(bytes(8) + values.tobytes())
    np.testing.assert_array_equal(onnx_file.read(file)["conv.weight"], values, strict=True)


@pytest.mark.parametrize("location", ["../secret", "{}/secret"])
def test_weights_outside_of_the_models_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    file = model_with_outside_weights(tmp_path, location.format(tmp_path))
    with pytest.raises(ModelError, match=r"x\.onnx: tensor conv\.weight: .*outside of the model's folder"):
        onnx_file.read(file)


def test_weights_beside_an_onnx_file_that_are_missing_or_short_are_refused(tmp_path: Path) -> None:
    file = model_with_outside_weights(tmp_path, "weights.bin")
    with pytest.raises(ModelError, match=r"'weights\.bin', which is missing"):
        onnx_file.read(file)
    (file.parent / "weights.bin").write_bytes(bytes(31))
    with pytest.raises(ModelError, match=r"'weights\.bin', which is too short"):
        onnx_file.read(file)


def test_shapes_and_axes_in_a_graph_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(writers.onnx(writers.some_tensors()))
    stored = onnx_file.read(tmp_path / "x.onnx")
    assert set(stored) - set(onnx_file.to_torch(stored)) == {"shape"}


def test_bfloat16_in_safetensors_is_read_as_float32(tmp_path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.tensor([1.5, -2], dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    array = safetensors_file.read(tmp_path / "x.safetensors")["a"]
    np.testing.assert_array_equal(array, np.array([1.5, -2], "f4"), strict=True)


@pytest.mark.shared
def test_real_files_list_every_tensor(shared_data: Path) -> None:
    teachers = shared_data / "teachers"
    lightweight = safetensors_file.read(teachers / "lwop" / "lightweight_openpose_omz.safetensors")
    assert len(lightweight) == 255
    assert {array.dtype for name, array in lightweight.items() if "tracked" not in name} == {np.dtype("f2")}
    detector = onnx_file.read(teachers / "detectors" / "rtmdet_nano.onnx")
    assert len(onnx.load(teachers / "detectors" / "rtmdet_nano.onnx").graph.initializer) <= len(detector)
    assert detector["backbone.stage1.1.attention.fc.weight"].ndim == 4
