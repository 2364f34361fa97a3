"""HRNet: the published sizes, any crop of multiples of 32, and the options."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import hrnet  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402

pytestmark = pytest.mark.train


def without_memory(name: str, **options: Any) -> hrnet.Hrnet:
    with torch.device("meta"):
        network: hrnet.Hrnet = hrnet.ENTRIES[name].make(**options)
    return network


@pytest.mark.parametrize("name", hrnet.ENTRIES)
def test_each_network_is_as_large_as_its_entry_says(name: str) -> None:
    entry = hrnet.ENTRIES[name]
    network = without_memory(name)
    assert count_parameters(network) == entry.parameters
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds


@pytest.mark.parametrize(
    ("name", "options", "parameters", "entries"),
    [
        ("hrnet_w18_small_v1", {"layer1_channels": 64}, 1_602_273, 404),
        ("hrnet_w18_small_v1", {"layer1_blocks": 1}, 1_284_961, 350),
        ("hrnet_w18_small_v2", {"layer1_blocks": 2}, 3_616_675, 788),
        ("hrnet_w32", {"joints": 16}, 28_536_080, 1754),
        ("hrnet_w48", {"joints": 16}, 63_595_696, 1754),
    ],
)
def test_the_published_variants(name: str, options: dict[str, int], parameters: int, entries: int) -> None:
    network = without_memory(name, **options)
    assert count_parameters(network) == parameters
    assert len(network.state_dict()) == entries


@pytest.mark.parametrize(
    ("name", "options", "size", "multiply_adds"),
    [
        ("hrnet_w32", {}, (288, 384), 17_201_258_496),
        ("hrnet_w32", {"joints": 16}, (256, 256), 10_193_207_296),
        ("hrnet_w48", {}, (288, 384), 35_306_606_592),
        ("hrnet_w48", {"joints": 16}, (256, 256), 20_922_236_928),
    ],
)
def test_the_cost_of_other_sizes(name: str, options: dict[str, int], size: tuple[int, int], multiply_adds: int) -> None:
    assert count_multiply_adds(without_memory(name, **options), size) == multiply_adds


def test_the_parts_of_the_network_have_the_parameters_of_the_paper() -> None:
    counts = {name: count_parameters(part) for name, part in without_memory("hrnet_w32").named_children()}
    parts = ("layer1", "transition1", "stage2", "transition2", "stage3", "transition3", "stage4", "final_layer")
    expected = (286_208, 221_376, 390_848, 73_984, 6_821_632, 295_424, 20_407_232, 561)
    assert tuple(counts[part] for part in parts) == expected


@pytest.mark.parametrize("name", ["hrnet_w18_small_v1", "hrnet_w18_small_v2"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 32)])
def test_there_is_a_map_for_each_joint_at_a_quarter_of_the_size(name: str, height: int, width: int) -> None:
    network = hrnet.ENTRIES[name].make(joints=5, width=0.25).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 5, height // 4, width // 4)


def test_every_parameter_is_trained() -> None:
    network = hrnet.hrnet_w18_small_v2(width=0.25).train()
    network(torch.randn(2, 3, 64, 32)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_the_width_multiplies_all_hidden_channels() -> None:
    state = {name: tuple(value.shape) for name, value in without_memory("hrnet_w32", width=0.5).state_dict().items()}
    assert state["conv2.weight"] == (32, 32, 3, 3)
    assert state["layer1.0.conv3.weight"] == (128, 32, 1, 1)
    assert state["stage4.0.branches.3.0.conv1.weight"] == (128, 128, 3, 3)
    assert state["final_layer.weight"] == (17, 16, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "hrnet_w18_small_v1: joints is 0, expected at least 1"),
        ({"width": 0.0}, "hrnet_w18_small_v1: width is 0.0, expected a factor over 0"),
        ({"width": float("nan")}, "hrnet_w18_small_v1: width is nan"),
        ({"layer1_channels": 0}, "hrnet_w18_small_v1: layer1_channels is 0, expected at least 1"),
        ({"layer1_blocks": -1}, "hrnet_w18_small_v1: layer1_blocks is -1, expected at least 1"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        hrnet.hrnet_w18_small_v1(**options)
