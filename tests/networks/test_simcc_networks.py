"""SimCC's networks: vectors of crops of one size."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import Vectors, build  # noqa: E402
from manypose.networks.describe import describe_network  # noqa: E402
from manypose.networks.simcc import ENTRIES  # noqa: E402

pytestmark = pytest.mark.train
TINY: dict[str, Any] = {"joints": 5, "width": 0.05, "input_width": 64, "input_height": 96}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_pixel_has_as_many_bins_as_the_split_ratio_says(name: str) -> None:
    network = build(name, **TINY, split_ratio=1.5).eval()
    vectors = network(torch.zeros(2, 3, 96, 64))
    assert isinstance(vectors, Vectors)
    assert [tuple(part.shape) for part in vectors] == [(2, 5, 96), (2, 5, 144)]


def test_the_layers_are_those_of_the_network_of_heatmaps_and_two_more() -> None:
    options = {"joints": 5, "width": 0.05}
    vectors, heatmaps = build("simcc_resnet_18", **TINY).state_dict(), build("pose_resnet_18", **options).state_dict()
    more = set(vectors) - set(heatmaps)
    assert more == {"vectors.x.weight", "vectors.x.bias", "vectors.y.weight", "vectors.y.bias"}
    assert all(vectors[name].shape == value.shape for name, value in heatmaps.items())


def test_inputs_of_another_size_are_refused_even_of_as_many_pixels() -> None:
    network = build("simcc_resnet_18", **TINY)
    with pytest.raises(ModelError, match="takes inputs of 64x96, not of 96x64: set input_width and input_height"):
        network(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_width": 70}, "input_width is 70, expected a multiple of 32"),
        ({"input_height": 0}, "input_height is 0, expected a multiple of 32"),
        ({"split_ratio": 0.0}, "split_ratio is 0.0, expected bins for one pixel"),
        ({"joints": 0}, "joints is 0, expected at least 1"),
    ],
)
def test_options_that_make_no_network(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build("simcc_resnet_18", **options)


def test_a_description_names_both_vectors() -> None:
    described = describe_network("simcc_hrnet_w32", width=0.05)
    assert [(result.name, result.shape) for result in described.results] == [
        ("simcc_x", (17, 384)),
        ("simcc_y", (17, 512)),
    ]
    assert sum(layer.parameters for layer in described.layers) == described.parameters
