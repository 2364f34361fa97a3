"""MXNet's .params files of every version, against what MXNet 1.9.1 itself wrote, read and computed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import writers

from manypose.convert import mxnet
from manypose.errors import ModelError

GOLDENS = Path(__file__).parents[1] / "goldens" / "formats"
EXPECTED = np.load(GOLDENS / "mx_expected.npz")
ONLY_V3 = ("scalar0d", "empty")
NOT_V0 = (*ONLY_V3, "i8", "i64")


@pytest.mark.golden
@pytest.mark.parametrize("version", ["v0", "v1", "v2", "v2_gpu3_ctx", "v2_argaux", "v3"])
def test_goldens_are_read_exactly(version: str) -> None:
    stored = mxnet.read(GOLDENS / f"mx_{version}.params")
    bare = {name.removeprefix("arg:").removeprefix("aux:"): array for name, array in stored.items()}
    absent = {"v0": NOT_V0, "v3": ()}.get(version, ONLY_V3)
    if version == "v2_argaux":
        absent = tuple(name for name in EXPECTED.files if not name.startswith("model"))
    assert set(bare) == set(EXPECTED.files) - set(absent)
    for name, array in bare.items():
        np.testing.assert_array_equal(array, EXPECTED[name], strict=True, err_msg=name)


@pytest.mark.golden
def test_a_list_without_names_goes_by_numbers() -> None:
    stored = mxnet.read(GOLDENS / "mx_v2_noname.params")
    assert list(stored) == ["0", "1", "2"]
    for array, name in zip(stored.values(), EXPECTED.files, strict=False):
        np.testing.assert_array_equal(array, EXPECTED[name], strict=True)


@pytest.mark.golden
def test_records_without_an_array_are_left_out() -> None:
    assert list(mxnet.read(GOLDENS / "mx_v2_none.params")) == ["a", "b"]


@pytest.mark.golden
def test_sparse_arrays_are_written_out() -> None:
    expected = np.load(GOLDENS / "mx_sparse_expected.npz")
    stored = mxnet.read(GOLDENS / "mx_v2_sparse.params")
    assert sorted(stored) == sorted(expected.files)
    for name, array in stored.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


@pytest.mark.golden
@pytest.mark.train
def test_the_net_of_the_goldens_computes_what_gluon_computed() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    functional = torch.nn.functional
    io = np.load(GOLDENS / "mx_gluon_stage_io.npz")
    read = mxnet.to_torch(mxnet.read(GOLDENS / "mx_gluon_stage.params"))
    t = {name: torch.from_numpy(tensor) for name, tensor in read.items()}

    def norm(maps: object, layer: str) -> object:
        leaves = [t[f"{layer}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(maps, *leaves, eps=1e-5)

    def convolve(maps: object, layer: str) -> object:
        return torch.conv2d(maps, t[f"{layer}.weight"], t[f"{layer}.bias"], padding="same")

    maps = convolve(torch.from_numpy(io["x"]), "model0.0").relu()
    maps = norm(convolve(maps, "model1_1.0").relu(), "model1_1.1")
    maps = norm(convolve(maps, "model1_1.3").relu(), "model1_1.4")
    maps = convolve(maps, "model1_1.6")
    np.testing.assert_allclose(maps.numpy(), io["stage"], atol=5e-6)
    larger = functional.conv_transpose2d(maps, t["dec.weight"], stride=2, padding=1)
    np.testing.assert_allclose(larger.numpy(), io["deconv"], atol=5e-6)


@pytest.mark.golden
def test_the_same_net_with_full_names_holds_the_same_arrays() -> None:
    structural = mxnet.read(GOLDENS / "mx_gluon_stage.params")
    full = mxnet.read(GOLDENS / "mx_gluon_stage_fullnames.params")
    assert len(full) == len(structural)
    for one, other in zip(structural.values(), full.values(), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize(
    ("name", "torch_name"),
    [
        ("arg:conv1_1_weight", "conv1_1.weight"),
        ("aux:bn1_moving_var", "bn1.running_var"),
        ("model1_1.1.gamma", "model1_1.1.weight"),
        ("vgg0_conv3_bias", "vgg0_conv3.bias"),
        ("block1_1_conv5_1_CPM_L1weight", "block1_1_conv5_1_CPM_L1.weight"),
        ("block1_1_batchnorm0_beta", "block1_1_batchnorm0.bias"),
        ("prelu1_gamma", "prelu1.weight"),
        ("scale", "scale"),
    ],
)
def test_names_of_symbols_of_gluon_and_of_the_older_product(name: str, torch_name: str) -> None:
    assert list(mxnet.to_torch({name: np.zeros(1, np.float32)})) == [torch_name]


def test_bfloat16_is_read_as_float32() -> None:
    record = struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, 2, 1, 0, 12) + struct.pack("<HH", 0x3F80, 0xC000)
    assert mxnet.parse(writers.mxnet_list([record], ["x"]))["x"].tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "records should follow"),
        (struct.pack("<QQQIi", 0x112, 0, 1, 0xF993FAC8, 1 << 30), "bytes should follow"),
        (struct.pack("<QQQIQQ", 0x112, 0, 1, 2, 1 << 31, 1 << 31), "damaged"),
        (writers.mxnet({"a.weight": np.zeros(3, "f4")}) + b"1", "1 bytes follow the last name"),
        (writers.mxnet({"a.weight": np.zeros(3, "f4")})[:-1], "cut off"),
    ],
)
def test_lengths_beyond_the_file_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.params").write_bytes(content)
    with pytest.raises(ModelError, match=rf"x\.params: .*({said})"):
        mxnet.read(tmp_path / "x.params")


@pytest.mark.shared
def test_a_real_file_from_before_versions_lists_every_tensor(shared_data: Path) -> None:
    stored = mxnet.read(shared_data / "teachers" / "formats" / "det2-0001.params")
    assert len(stored) == 16
    assert all(name.startswith("arg:") for name in stored)
    assert sum(array.size for array in stored.values()) == 100178
