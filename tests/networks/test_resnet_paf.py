"""The MXNet product's network with deconvolutions: its layer table, and which channels are what."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks.count import count_parameters  # noqa: E402
from manypose.networks.resnet_paf import ENTRIES, resnet_paf  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize(("depth", "trunk", "channels"), [(18, 11_176_512, 512), (50, 23_508_032, 2048)])
def test_the_head_has_three_deconvolutions_without_bias_and_a_last_layer(depth: int, trunk: int, channels: int) -> None:
    deconvolutions = (channels + 256 + 256) * 256 * 4 * 4
    norms, last = 3 * 2 * 256, (256 + 1) * 57
    with torch.device("meta"):
        assert count_parameters(resnet_paf(depth=depth)) == trunk + deconvolutions + norms + last


def test_resnet50_differs_from_simple_baselines_in_its_last_layer_only() -> None:
    """34.0 million parameters are published for 17 maps: 33,999,697."""
    with torch.device("meta"):
        assert count_parameters(resnet_paf(depth=50)) == 33_999_697 + (57 - 17) * 257


def test_the_head_has_the_names_of_simple_baselines() -> None:
    state = {name: tuple(value.shape) for name, value in resnet_paf(width=0.125).state_dict().items()}
    assert state["deconv_layers.0.weight"] == (64, 32, 4, 4)
    assert state["deconv_layers.7.running_var"] == (32,)
    assert state["final_layer.weight"] == (57, 32, 1, 1)


def test_the_maps_have_a_cell_for_four_pixels_and_the_fields_come_first_in_the_last_layer() -> None:
    network = resnet_paf(joints=14, fields=26, width=0.125).eval()
    torch.nn.init.zeros_(network.final_layer.weight)
    network.final_layer.bias.data = torch.arange(41.0)
    with torch.no_grad():
        (maps,) = network(torch.zeros(2, 3, 64, 96))
    assert maps.heatmaps.shape == (2, 15, 16, 24)
    assert maps.fields.shape == (2, 26, 16, 24)
    assert maps.fields[0, :, 3, 3].tolist() == list(range(26))
    assert maps.heatmaps[0, :, 3, 3].tolist() == list(range(26, 41))


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_is_trained(name: str) -> None:
    network = ENTRIES[name].make(width=0.125).train()
    sum(values.square().mean() for maps in network(torch.randn(2, 3, 64, 64)) for values in maps).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "joints is 0, expected at least 1"),
        ({"fields": 3}, "fields is 3, expected an even number: x and y of each limb"),
        ({"width": 9}, "width is 9, expected a factor over 0 and up to 8"),
        ({"depth": 20}, "depth is 20, expected one of 18, 34, 50, 101, 152"),
    ],
)
def test_networks_that_cannot_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resnet_paf(**options)
