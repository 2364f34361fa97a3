"""LPN: the published sizes, the kinds of attention, groups, and the options."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import lpn  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402

pytestmark = pytest.mark.train

ENTRIES_IN_STATE_DICT = {
    "lpn_18": 210,
    "lpn_18h": 210,
    "lpn_34": 370,
    "lpn_34h": 370,
    "lpn_50": 466,
    "lpn_100": 1324,
    "lpn_101": 908,
    "lpn_152": 1350,
}
BY_TOOL = {"lpn_101": 1_518_614_528, "lpn_152": 1_956_878_336}


def without_memory(name: str, **options: Any) -> lpn.Lpn:
    with torch.device("meta"):
        network: lpn.Lpn = lpn.ENTRIES[name].make(**options)
    return network


@pytest.mark.parametrize("name", lpn.ENTRIES)
def test_each_network_is_as_large_as_its_entry_says(name: str) -> None:
    entry = lpn.ENTRIES[name]
    network = without_memory(name)
    assert count_parameters(network) == entry.parameters
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds
    assert len(network.state_dict()) == ENTRIES_IN_STATE_DICT[name]


@pytest.mark.parametrize("name", BY_TOOL)
def test_the_published_figures_count_transposed_convolutions_at_their_output(name: str) -> None:
    assert count_multiply_adds(without_memory(name), (192, 256), transposed_at="output") == BY_TOOL[name]


@pytest.mark.parametrize(
    ("name", "attention", "parameters"),
    [
        ("lpn_18h", "se", 504_145),
        ("lpn_50", "se", 2_902_673),
        ("lpn_100", "se", 6_686_225),
        ("lpn_18h", "none", 409_937),
        ("lpn_50", "none", 2_732_689),
        ("lpn_100", "none", 6_282_769),
    ],
)
def test_other_kinds_of_attention(name: str, attention: str, parameters: int) -> None:
    assert count_parameters(without_memory(name, attention=attention)) == parameters


def test_a_network_for_mpii() -> None:
    network = without_memory("lpn_50", joints=16)
    assert count_parameters(network) == 2_910_896
    assert count_multiply_adds(network, (256, 256)) == 1_423_087_616


def test_h_means_two_channels_in_each_group() -> None:
    for name, channels in (("lpn_18", 1), ("lpn_18h", 2), ("lpn_34", 1), ("lpn_34h", 2)):
        state = without_memory(name).state_dict()
        assert state["layer2.0.conv1.weight"].shape == (128, channels, 3, 3), name
        assert state["layer4.1.conv2.weight"].shape == (512, channels, 3, 3), name


@pytest.mark.parametrize("name", ["lpn_18", "lpn_34h", "lpn_50"])
@pytest.mark.parametrize("attention", ["gc", "se", "none"])
def test_there_is_a_map_for_each_joint_at_a_quarter_of_the_size(name: str, attention: str) -> None:
    network = lpn.ENTRIES[name].make(joints=5, width=0.125, attention=attention).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 48, 32)).shape == (2, 5, 12, 8)


def test_global_context_adds_the_same_to_every_place() -> None:
    x = torch.randn(2, 32, 3, 4)
    added = lpn.GlobalContext(32)(x) - x
    assert added.abs().max() > 0
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))


def test_squeeze_and_excite_multiplies_every_place_by_the_same() -> None:
    x = torch.rand(2, 32, 3, 4) + 1
    factor = lpn.SqueezeExcite(32)(x) / x
    assert 0 < factor.min() < factor.max() < 1
    torch.testing.assert_close(factor, factor[:, :, :1, :1].expand_as(factor))


def test_convolutions_start_small_since_no_weights_are_there_to_start_from() -> None:
    network = lpn.lpn_18(width=0.5)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4 and parameter.numel() > 500:
            assert 0.0005 < parameter.std() < 0.0015, name
    assert network.final_layer.bias is not None
    assert not network.final_layer.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "lpn_18: joints is 0, expected at least 1"),
        ({"width": -1.0}, "lpn_18: width is -1.0, expected a factor over 0"),
        ({"attention": "GC"}, "lpn_18: attention is 'GC', expected 'gc', 'se' or 'none'"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        lpn.lpn_18(**options)
