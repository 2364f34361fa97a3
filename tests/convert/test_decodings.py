"""How the joints of a converted network for crops are found: as its product finds them, or as the user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import onnx
import pytest
import writers

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.api import load  # noqa: E402
from manypose.convert.program import Wishes, convert  # noqa: E402
from manypose.errors import ModelError  # noqa: E402
from manypose.estimators.top_down import TopDown  # noqa: E402
from manypose.metadata import Decoding, HeatmapSettings  # noqa: E402
from manypose.model import load_model  # noqa: E402

pytestmark = pytest.mark.train


def stored(folder: Path, network: str, *, mmpose: bool = False, **options: Any) -> Path:
    """The state dict of a network as its product stores it, or mmpose."""
    state = networks.build(network, **options).state_dict()
    if mmpose:
        parts = {name: "head." if name.startswith("final_layer.") else "backbone." for name in state}
        state = {parts[name] + name: value for name, value in state.items()}
    torch.save(state, folder / "theirs.pth")
    return folder / "theirs.pth"


def maps_of(source: Path, out: Path, **wishes: Any) -> HeatmapSettings:
    metadata = convert(source, out, wishes=Wishes(**wishes), overwrite=True).metadata
    assert metadata is not None
    assert isinstance(metadata.maps, HeatmapSettings)
    return metadata.maps


@pytest.mark.parametrize(
    ("network", "mmpose", "decoding"),
    [
        ("hrnet_w18_small_v1", False, "quarter"),
        ("hrnet_w18_small_v1", True, "quarter"),
        ("pose_resnet_18", False, "quarter"),
        ("lpn_18", False, "soft-argmax+quarter"),
    ],
)
def test_joints_are_found_as_the_product_finds_them(tmp_path: Path, network: str, mmpose: bool, decoding: str) -> None:
    maps = maps_of(stored(tmp_path, network, mmpose=mmpose), tmp_path / "t.safetensors")
    assert (maps.decoding, maps.udp, maps.offset, maps.stride) == (decoding, False, 0, 4)


def test_a_network_is_decoded_the_same_way_whether_converted_or_only_run(tmp_path: Path) -> None:
    """The same weights with our metadata, and as an export of others without any."""
    converted = convert(stored(tmp_path, "hrnet_w18_small_v1"), tmp_path / "a.onnx").metadata
    bare = onnx.load(tmp_path / "a.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    run_as_it_is = load_model(tmp_path / "bare.onnx", device="cpu").metadata
    assert converted is not None
    assert (run_as_it_is.maps, run_as_it_is.skeleton) == (converted.maps, converted.skeleton)
    assert run_as_it_is.input.size == converted.input.size


def test_the_decoding_can_be_chosen(tmp_path: Path) -> None:
    source = stored(tmp_path, "hrnet_w18_small_v1")
    for decoding in get_args(Decoding):
        maps = maps_of(source, tmp_path / "a.safetensors", decoding=decoding)
        assert (maps.decoding, maps.udp) == (decoding, decoding == "udp-dark")
    with pytest.raises(ModelError, match="a bottom-up network has a decoder of its own: leave the decoding out"):
        convert(stored(tmp_path, "mobilenet_paf", width=0.25), tmp_path / "b.onnx", wishes=Wishes(decoding="dark"))


@pytest.mark.parametrize(("network", "joints"), [("cpm_face", 70), ("cpm_hand", 21)])
def test_faces_and_hands_are_found_where_cmu_draws_them(tmp_path: Path, network: str, joints: int) -> None:
    """A joint at p has a Gaussian of 7 pixels around p, and cell k of the map is the place 8 k + 3.5 of the crop."""
    state = networks.build(network, joints=joints, width=0.125).state_dict()
    (tmp_path / "c.caffemodel").write_bytes(writers.caffe({name: value.numpy() for name, value in state.items()}))
    maps = maps_of(tmp_path / "c.caffemodel", tmp_path / "c.onnx")
    estimator = load(tmp_path / "c.onnx", device="cpu", threads=1)
    assert isinstance(estimator, TopDown)
    places = np.random.default_rng(0).uniform(40, 320, (1, joints, 2))
    cells = 8 * np.arange(46) + 3.5
    across, down = (np.exp(-((cells - places[..., axis, None]) ** 2) / (2 * 7**2)) for axis in (0, 1))
    drawn = (down[..., :, None] * across[..., None, :]).astype(np.float32)
    found, _ = estimator.crops.codec.decode(np.concatenate([drawn, 1 - drawn.max(axis=1, keepdims=True)], axis=1))
    assert np.abs(found - places).max() < 0.5
    enlarged = cv2.resize(drawn[0].transpose(1, 2, 0)[..., :4], (368, 368), interpolation=cv2.INTER_CUBIC)
    y, x = np.unravel_index(enlarged.reshape(-1, 4).argmax(axis=0), (368, 368))
    assert np.hypot(*(found[0, :4] - np.column_stack([x, y])).T).max() < 2  # OpenPose's own place, to its whole pixels
    assert (maps.offset, maps.stride, maps.background) == (3.5, 8, True)
