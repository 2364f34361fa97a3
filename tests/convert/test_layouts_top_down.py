"""Weights of top-down networks in everybody's names: which network they are of, and that every tensor finds a place."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.convert.layout import COUNTER, Tensors, load_into, recognise  # noqa: E402
from manypose.convert.layouts_top_down import LAYOUTS  # noqa: E402
from manypose.errors import ModelError  # noqa: E402
from manypose.networks import hrnet, lpn, pose_resnet  # noqa: E402

pytestmark = pytest.mark.train

IN_MMPOSE = (*hrnet.ENTRIES, *pose_resnet.ENTRIES)


@cache
def shapes_of(network: str, **options: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in networks.build(network, **options).state_dict().items()}


def tensors_of(network: str, *, prefixes: tuple[str, str] = ("", ""), **options: Any) -> Tensors:
    """Zeros that take no memory; `prefixes` stand before the names of the trunk and of the head."""
    return {
        prefixes[name.startswith(("final_layer.", "deconv_layers."))] + name: np.broadcast_to(np.float32(0), shape)
        for name, shape in shapes_of(network, **options).items()
    }


def recognised(tensors: Tensors, **wishes: Any) -> tuple[str, str, dict[str, Any]]:
    fit = recognise(tensors, LAYOUTS, where="weights.pth", **wishes)
    assert fit.absent == ()
    return fit.layout.network, fit.layout.name, fit.options


@pytest.mark.parametrize("network", [*hrnet.ENTRIES, *lpn.ENTRIES, *pose_resnet.ENTRIES])
def test_every_network_is_told_from_all_others(network: str) -> None:
    tensors = tensors_of(network)
    fit = recognise(tensors, LAYOUTS, where="weights.pth")
    assert fit.layout.network == network
    assert fit.options["joints"] == 17
    assert set(fit.tensors) == {name for name in tensors if not name.endswith(COUNTER)}
    assert networks.ENTRIES[network].make is not None


@pytest.mark.parametrize("network", IN_MMPOSE)
def test_checkpoints_of_mmpose_have_a_trunk_and_a_head(network: str) -> None:
    names = []
    for head in ("head.", "keypoint_head."):
        tensors = tensors_of(network, prefixes=("backbone.", head))
        fit = recognise(tensors, LAYOUTS, where="weights.pth")
        assert (fit.layout.network, fit.layout.name) == (network, "mmpose")
        names.append(set(fit.tensors))
    assert names[0] == names[1] == {name for name in shapes_of(network) if not name.endswith(COUNTER)}


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("hrnet_w32", {"joints": 16}),
        ("hrnet_w18_small_v1", {"joints": 17, "layer1_channels": 64, "layer1_blocks": 4}),
        ("hrnet_w18_small_v1", {"joints": 5, "layer1_channels": 32, "layer1_blocks": 1}),
        ("hrnet_w18_small_v2", {"joints": 17, "layer1_channels": 64, "layer1_blocks": 2}),
        ("lpn_18h", {"joints": 16, "attention": "se"}),
        ("lpn_34", {"joints": 17, "attention": "none"}),
        ("lpn_50", {"joints": 17, "attention": "gc"}),
        ("lpn_50", {"joints": 17, "attention": "none"}),
        ("pose_resnet_18", {"joints": 16, "kernel": 3}),
        ("pose_resnet_50", {"joints": 17, "kernel": 2}),
    ],
)
def test_options_are_read_off_the_shapes(network: str, options: dict[str, Any]) -> None:
    assert recognised(tensors_of(network, **options))[::2] == (network, options)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("hrnet_w18_small_v1", "conv1.weight"),
        ("hrnet_w18_small_v1", "layer1.0.conv1.weight"),
        ("hrnet_w18_small_v1", "transition1.0.0.weight"),
        ("hrnet_w18_small_v1", "stage4.0.fuse_layers.0.3.1.running_var"),
        ("hrnet_w18_small_v1", "final_layer.bias"),
        ("hrnet_w18_small_v1", "final_layer.weight"),
        ("lpn_18", "layer1.1.att.conv_mask.bias"),
        ("lpn_18", "layer2.0.conv1.weight"),
        ("lpn_50", "layer3.5.conv3.weight"),
        ("pose_resnet_18", "deconv_layers.0.weight"),
        ("pose_resnet_18", "layer1.0.conv2.weight"),
    ],
)
def test_a_missing_tensor_is_named(network: str, name: str) -> None:
    tensors = tensors_of(network)
    del tensors[name]
    with pytest.raises(ModelError, match=rf"weights.pth: nearly {network} as .* but missing: {name}$"):
        recognise(tensors, LAYOUTS, where="weights.pth")
    wrong = tensors_of(network)
    wrong[name] = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(ModelError, match=rf"nearly {network} as .* but of another shape: {name} is \(1, 2, 3\)"):
        recognise(wrong, LAYOUTS, where="weights.pth")


@pytest.mark.parametrize("name", ["layer3.9.conv1.weight", "extra.weight", "layer1.0.att.fc.0.weight"])
def test_a_tensor_that_is_left_over_is_named(name: str) -> None:
    tensors = tensors_of("pose_resnet_18") | {name: np.zeros(3, np.float32)}
    with pytest.raises(ModelError, match=rf"nearly pose_resnet_18 as .* but left over: {name}$"):
        recognise(tensors, LAYOUTS, where="weights.pth")


def test_a_tensor_of_mmpose_that_is_neither_of_trunk_nor_of_head_is_left_over() -> None:
    tensors = tensors_of("pose_resnet_18", prefixes=("backbone.", "head."))
    tensors["head.conv_layers.0.weight"] = np.zeros((3, 3, 1, 1), np.float32)
    with pytest.raises(ModelError, match=r"nearly pose_resnet_18 as mmpose .* left over: head.conv_layers.0.weight$"):
        recognise(tensors, LAYOUTS, where="weights.pth")


def test_weights_of_nobody_are_no_network() -> None:
    with pytest.raises(ModelError, match=r"no network that is known here; it holds 1 tensors: a.weight"):
        recognise({"a.weight": np.zeros(3)}, LAYOUTS, where="weights.pth")


def test_a_network_that_was_asked_for_is_the_only_one_tried() -> None:
    tensors = tensors_of("lpn_18")
    assert recognised(tensors, network="lpn_18")[0] == "lpn_18"
    with pytest.raises(ModelError, match="the weights of no network"):
        recognise(tensors, LAYOUTS, where="weights.pth", network="hrnet_w32")


def test_the_weights_arrive_in_the_network() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        f"backbone.{name}" if not name.startswith(("final", "deconv")) else f"head.{name}": rng.random(
            shape, np.float32
        )
        for name, shape in shapes_of("pose_resnet_18").items()
        if not name.endswith(COUNTER)
    }
    network = networks.build("pose_resnet_18")
    load_into(network, recognise(tensors, LAYOUTS, where="weights.pth").tensors)
    state = network.state_dict()
    assert np.array_equal(state["layer4.1.bn2.running_var"].numpy(), tensors["backbone.layer4.1.bn2.running_var"])
    assert np.array_equal(state["deconv_layers.6.weight"].numpy(), tensors["head.deconv_layers.6.weight"])


@pytest.mark.parametrize(
    ("network", "prefixes", "colours"),
    [
        ("hrnet_w18_small_v1", ("", ""), "rgb"),
        ("lpn_18", ("", ""), "rgb"),
        ("pose_resnet_18", ("", ""), "bgr"),
        ("pose_resnet_18", ("backbone.", "head."), "rgb"),
    ],
)
def test_pictures_are_fed_as_the_product_feeds_them(network: str, prefixes: tuple[str, str], colours: str) -> None:
    settings = recognise(tensors_of(network, prefixes=prefixes), LAYOUTS, where="weights.pth").layout.input
    assert settings.colours == colours
    # The first channel has the figures of red, whichever colour it is.
    white = (255 - np.array(settings.mean)) * np.array(settings.scale)
    np.testing.assert_allclose(white, (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225])
