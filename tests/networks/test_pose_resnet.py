"""pose_resnet: the published sizes, the kernels of its head, Caffe's strides, and the options."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import pose_resnet  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402

pytestmark = pytest.mark.train

# Of the reference: entries in the state dict, multiply-adds and those that its tool counts, in 10^9.
REFERENCE = {
    "pose_resnet_18": (140, 2.897, 6.219),
    "pose_resnet_34": (236, 4.709, 8.031),
    "pose_resnet_50": (338, 5.426, 9.654),
    "pose_resnet_101": (644, 9.063, 13.291),
    "pose_resnet_152": (950, 12.699, 16.927),
}


def without_memory(name: str, **options: Any) -> pose_resnet.PoseResnet:
    with torch.device("meta"):
        network: pose_resnet.PoseResnet = pose_resnet.ENTRIES[name].make(**options)
    return network


@pytest.mark.parametrize("name", pose_resnet.ENTRIES)
def test_each_network_is_as_large_as_its_entry_says(name: str) -> None:
    entry = pose_resnet.ENTRIES[name]
    network = without_memory(name)
    entries, cost, cost_by_tool = REFERENCE[name]
    assert count_parameters(network) == entry.parameters
    assert len(network.state_dict()) == entries
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds == pytest.approx(cost * 1e9, abs=5e5)
    by_tool = count_multiply_adds(network, entry.size, transposed_at="output")
    assert by_tool == pytest.approx(cost_by_tool * 1e9, abs=5e5)


@pytest.mark.parametrize("kernel", [4, 3, 2])
def test_every_kernel_of_the_head_doubles_the_size(kernel: int) -> None:
    network = pose_resnet.pose_resnet_18(joints=5, width=0.125, kernel=kernel).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 64, 32)).shape == (2, 5, 16, 8)
    assert network.state_dict()["deconv_layers.6.weight"].shape == (32, 32, kernel, kernel)


def test_the_style_of_caffe_moves_the_stride_and_keeps_names_and_shapes() -> None:
    plain, caffe = (pose_resnet.pose_resnet_50(width=0.125, caffe=caffe).eval() for caffe in (False, True))
    caffe.load_state_dict(plain.state_dict())
    crop = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        outputs = plain(crop), caffe(crop)
    assert outputs[0].shape == outputs[1].shape
    assert not torch.allclose(*outputs)
    strides = [network.get_submodule(f"layer2.0.conv{n}").stride for network in (plain, caffe) for n in (1, 2)]
    assert strides == [(1, 1), (2, 2), (2, 2), (1, 1)]


def test_every_parameter_is_trained() -> None:
    network = pose_resnet.pose_resnet_50(width=0.125).train()
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "pose_resnet_18: joints is 0, expected at least 1"),
        ({"width": 9.0}, "pose_resnet_18: width is 9.0, expected a factor over 0 and up to 8"),
        ({"kernel": 5}, "pose_resnet_18: kernel is 5, expected 4, 3 or 2"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pose_resnet.pose_resnet_18(**options)
