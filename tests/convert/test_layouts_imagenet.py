"""Weights of ImageNet classifiers: which network they are a start for, and what they leave to training."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.convert.layout import COUNTER, Tensors, load_into, recognise  # noqa: E402
from manypose.convert.layouts_bottom_up import VGG_PLACES  # noqa: E402
from manypose.convert.layouts_imagenet import LAYOUTS as IMAGENET_LAYOUTS  # noqa: E402
from manypose.convert.layouts_top_down import LAYOUTS as TOP_DOWN_LAYOUTS  # noqa: E402
from manypose.errors import ModelError  # noqa: E402

pytestmark = pytest.mark.train

LAYOUTS = (*TOP_DOWN_LAYOUTS, *IMAGENET_LAYOUTS)


def zeros(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@cache
def trunk_of(network: str, **options: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = networks.build(network, **options).state_dict()
    head = ("final_layer.", "deconv_layers.")
    return {name: tuple(value.shape) for name, value in state.items() if not name.startswith(head)}


def resnet(depth: int) -> Tensors:
    """As torchvision stores one."""
    inputs = 512 if depth < 50 else 2048
    return zeros(trunk_of(f"pose_resnet_{depth}") | {"fc.weight": (1000, inputs), "fc.bias": (1000,)})


def hrnet_classifier(network: str, last: int, **options: Any) -> Tensors:
    """As HRNet's program for ImageNet stores one; `last` is the last module of stage 4."""
    return zeros(
        trunk_of(network, **options)
        | {
            f"stage4.{last}.fuse_layers.1.0.0.0.weight": (64, 32, 3, 3),
            f"stage4.{last}.fuse_layers.3.2.0.1.bias": (256,),
            "incre_modules.0.0.conv1.weight": (32, 32, 1, 1),
            "downsamp_modules.0.0.weight": (256, 128, 3, 3),
            "final_layer.0.weight": (2048, 1024, 1, 1),
            "final_layer.1.running_mean": (2048,),
            "classifier.weight": (1000, 2048),
            "classifier.bias": (1000,),
        }
    )


def vgg19() -> Tensors:
    """As torchvision stores it."""
    shapes: dict[str, tuple[int, ...]] = {}
    place, inputs = 0, 3
    for channels, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            shapes |= {f"features.{place}.weight": (channels, inputs, 3, 3), f"features.{place}.bias": (channels,)}
            place, inputs = place + 2, channels
        place += 1
    for place, inputs, outputs in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        shapes |= {f"classifier.{place}.weight": (outputs, inputs), f"classifier.{place}.bias": (outputs,)}
    return zeros(shapes)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_a_resnet_of_torchvision_is_the_trunk_of_a_pose_resnet(depth: int) -> None:
    fit = recognise(resnet(depth), LAYOUTS, where="resnet.pth")
    assert (fit.layout.network, fit.options) == (f"pose_resnet_{depth}", {})
    assert {name.split(".")[0] for name in fit.absent} == {"deconv_layers", "final_layer"}
    assert fit.layout.input.colours == "rgb"


def test_old_files_of_torchvision_have_no_counters() -> None:
    tensors = {name: value for name, value in resnet(18).items() if not name.endswith(COUNTER)}
    assert recognise(tensors, LAYOUTS, where="resnet.pth").layout.network == "pose_resnet_18"


@pytest.mark.parametrize(
    ("network", "last", "options"),
    [
        ("hrnet_w18_small_v1", 0, {"layer1_channels": 32, "layer1_blocks": 1}),
        ("hrnet_w18_small_v2", 1, {"layer1_channels": 64, "layer1_blocks": 2}),
        ("hrnet_w32", 2, {}),
        ("hrnet_w48", 2, {}),
    ],
)
def test_a_classifier_of_hrnet_is_all_but_the_last_layer(network: str, last: int, options: dict[str, int]) -> None:
    fit = recognise(hrnet_classifier(network, last, **options), LAYOUTS, where="hrnet.pth")
    assert (fit.layout.network, fit.options) == (network, options)
    assert fit.absent == ("final_layer.weight", "final_layer.bias")
    assert set(fit.tensors) == {name for name in trunk_of(network, **options) if not name.endswith(COUNTER)}


def test_a_fusion_that_a_pose_network_reads_is_not_spare() -> None:
    tensors = hrnet_classifier("hrnet_w18_small_v2", last=1, layer1_blocks=2)
    missing = "stage4.0.fuse_layers.1.0.0.0.weight"
    del tensors[missing]
    with pytest.raises(ModelError, match=f"nearly hrnet_w18_small_v2 as HRNet .ImageNet. .* but missing: {missing}$"):
        recognise(tensors, LAYOUTS, where="hrnet.pth")


def test_vgg19_is_the_front_of_the_first_network_with_fields() -> None:
    fit = recognise(vgg19(), LAYOUTS, where="vgg19.pth")
    assert (fit.layout.network, fit.options) == ("vgg_paf", {})
    assert {name.rpartition(".")[0] for name in fit.tensors} == set(VGG_PLACES.values())
    assert fit.tensors["conv4_2.weight"].shape == (512, 512, 3, 3)
    assert "conv4_3_CPM.weight" in fit.absent


@pytest.mark.parametrize("name", ["features.0.weight", "features.16.bias"])
def test_a_missing_layer_of_vgg19_is_named(name: str) -> None:
    tensors = vgg19()
    del tensors[name]
    place, kind = name.split(".")[1:]
    with pytest.raises(ModelError, match=f"nearly vgg_paf .* but missing: {VGG_PLACES[int(place)]}.{kind}$"):
        recognise(tensors, LAYOUTS, where="vgg19.pth")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ({"layer1.0.conv1.weight": None}, "nearly pose_resnet_18 as torchvision .* missing: layer1.0.conv1.weight$"),
        ({"head.weight": np.zeros(3)}, "nearly pose_resnet_18 as torchvision .* left over: head.weight$"),
        ({"conv1.weight": np.zeros((64, 1, 7, 7))}, r"of another shape: conv1.weight is \(64, 1, 7, 7\)"),
    ],
)
def test_a_damaged_classifier_is_refused(damaged: Tensors, message: str) -> None:
    tensors = {name: value for name, value in (resnet(18) | damaged).items() if value is not None}
    with pytest.raises(ModelError, match=message):
        recognise(tensors, LAYOUTS, where="resnet.pth")


def test_a_whole_pose_network_is_no_classifier() -> None:
    with torch.device("meta"):
        state = networks.build("pose_resnet_18").state_dict()
    tensors = zeros({name: tuple(value.shape) for name, value in state.items()})
    assert recognise(tensors, LAYOUTS, where="pose.pth").absent == ()
    del tensors["final_layer.bias"]
    with pytest.raises(ModelError, match=r"nearly pose_resnet_18 as Simple Baselines .* missing: final_layer.bias$"):
        recognise(tensors, LAYOUTS, where="pose.pth")


def test_what_is_absent_stays_as_it_was() -> None:
    fit = recognise(resnet(18), LAYOUTS, where="resnet.pth")
    network = networks.build(fit.layout.network, **fit.options)
    before = network.state_dict()["final_layer.weight"].clone()
    load_into(network, fit.tensors, absent=fit.absent)
    after = network.state_dict()
    assert torch.equal(after["final_layer.weight"], before)
    assert not after["layer1.0.conv1.weight"].any()
    with pytest.raises(RuntimeError, match="Missing key"):
        load_into(network, fit.tensors)
