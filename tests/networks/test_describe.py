"""Descriptions of networks: every layer with its shape and costs, and which block takes what from which."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from torch import Tensor, nn  # noqa: E402

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import build  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402
from manypose.networks.describe import (  # noqa: E402
    PICTURE,
    Description,
    Layer,
    count_network,
    describe_module,
    describe_network,
)

pytestmark = pytest.mark.train

NARROW = {"mobilenet_paf": 0.125, "ladder_paf": 0.25, "vgg_paf": 0.125, "body25": 0.125, "hrnet_w32": 0.25}


def inputs(description: Description) -> dict[str, tuple[str, ...]]:
    return {block.name: block.inputs for block in description.blocks}


def test_a_layer_has_its_shape_and_its_costs() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2)), nn.BatchNorm2d(8), nn.ReLU())
    convolution, norm = describe_module(network, (20, 12), name="tiny").layers
    assert convolution == Layer(
        "0", "convolution", (3, 5), (2, 2), (1, 1), 1, (8, 6, 10), 8 * 3 * 15 + 8, 8 * 3 * 15 * 60
    )
    assert norm == Layer("1", "batch norm", None, None, None, 0, (8, 6, 10), 16, 0)


def test_a_layer_that_is_used_twice_counts_its_work_twice_and_its_parameters_once() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    description = describe_module(nn.Sequential(layer, nn.ReLU(), layer), (10, 6), name="twice")
    (only,) = description.layers
    assert (only.parameters, only.multiply_adds) == (9, 2 * 9 * 60)
    assert (description.parameters, description.multiply_adds) == (9, 2 * 9 * 60)


@pytest.mark.parametrize("name", NARROW)
def test_the_sums_are_those_of_counting(name: str) -> None:
    options: dict[str, Any] = {"width": NARROW[name]}
    description = describe_network(name, size=(64, 96), **options)
    network = build(name, **options)
    expected = count_parameters(network), count_multiply_adds(network, (64, 96))
    assert (description.parameters, description.multiply_adds) == expected
    assert count_network(name, size=(64, 96), **options) == expected
    assert sum(block.parameters for block in description.blocks) == expected[0]
    assert sum(block.multiply_adds for block in description.blocks) == expected[1]
    names = [layer.name for block in description.blocks for layer in block.layers]
    assert sorted(names) == sorted(layer.name for layer in description.layers)


def test_stages_take_the_features_and_the_maps_of_the_stage_before() -> None:
    description = describe_network("vgg_paf", size=(64, 64), stages=3, width=0.125)
    flow = inputs(description)
    assert flow["conv1"] == (PICTURE,)
    assert set(flow["stage1_L1"]) == {"conv4_CPM"}
    for branch in ("L1", "L2"):
        assert set(flow[f"stage3_{branch}"]) == {"conv4_CPM", "stage2_L1", "stage2_L2"}
    assert [(result.name, result.shape, result.inputs) for result in description.results] == [
        ("heatmaps", (19, 8, 8), ("stage3_L2",)),
        ("fields", (38, 8, 8), ("stage3_L1",)),
    ]


def test_the_second_branch_of_body25_begins_where_the_first_ends() -> None:
    flow = inputs(describe_network("body25", size=(64, 64), width=0.125))
    assert set(flow["stage0_L1"]) == {"conv4_CPM", "stage3_L2"}
    assert set(flow["stage1_L1"]) == {"conv4_CPM", "stage3_L2", "stage0_L1"}


def test_the_way_up_of_the_ladder_adds_the_levels_of_the_way_down() -> None:
    description = describe_network("ladder_paf", size=(64, 64), width=0.25)
    flow = inputs(description)
    assert set(flow["merge.0"]) == {"merge.1", "lateral.0"}
    assert flow["lateral.0"] == ("down.0",)
    blocks = {block.name: block for block in description.blocks}
    assert blocks["down.1"].joins
    assert not blocks["merge.0"].joins
    assert blocks["down.1"].outputs == ((32, 4, 4),)


def test_a_trunk_is_one_block_for_each_size_of_its_maps() -> None:
    description = describe_network("mobilenet_paf", size=(64, 64), width=0.125)
    names = [block.name for block in description.blocks]
    assert names == ["model.0-1", "model.2-3", "model.4-11", "cpm", "initial_stage", "refinement_stages.0"]
    assert description.blocks[-1].inputs == ("cpm", "initial_stage")
    assert description.blocks[-1].outputs == ((19, 8, 8), (38, 8, 8))


def test_the_branches_of_hrnet_stand_in_a_row_and_exchange_their_maps() -> None:
    description = describe_network("hrnet_w32", size=(64, 64), width=0.25)
    branches = [block for block in description.blocks if block.row == "stage3"]
    assert [block.name for block in branches] == [f"stage3.branches.{n}" for n in range(3)]
    for block in branches:
        assert {other.name for other in branches} - {block.name} <= set(block.inputs)
    assert inputs(description)["stage3.branches.2"][0] == "transition2.2"
    assert inputs(description)["final_layer"] == ("stage4.branches.0",)


def test_describing_leaves_the_network_as_it_was() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    network = Doubled().train()
    pictures = torch.randn(2, 3, 4, 4)
    before = network(pictures)
    describe_module(network, (4, 4), name="doubled")
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    torch.testing.assert_close(network(pictures), before)


def test_networks_that_cannot_be_described() -> None:
    with pytest.raises(ModelError, match="no network is called 'venus'; there are"):
        describe_network("venus")
    with pytest.raises(ModelError, match="unexpected keyword argument 'depth'"):
        describe_network("ladder_paf", depth=3)


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("vgg_paf", "stages", "four", "option stages is 'four', expected a whole number"),
        ("vgg_paf", "stages", True, "option stages is True, expected a whole number"),
        ("vgg_paf", "batch_norm", "no-string", "option batch_norm is 'no-string', expected true or false"),
        ("vgg_paf", "batch_norm", 1, "option batch_norm is 1, expected true or false"),
        ("vgg_paf", "width", "wide", "option width is 'wide', expected a number"),
        ("vgg_paf", "width", None, "option width is None, expected a number"),
        ("hrnet_w32", "joints", 18.5, r"option joints is 18\.5, expected a whole number"),
        ("hrnet_w32", "joints", 10**25, "network 'hrnet_w32': "),
        ("resnet_paf_34", "depth", "34", "option depth is '34', expected a whole number"),
        ("lpn_18", "attention", ["gc"], r"option attention is \['gc'\], expected a word"),
        ("lpn_18", "attention", "much", "attention is 'much', expected 'gc', 'se' or 'none'"),
    ],
)
def test_values_of_another_kind_than_the_option_has(name: str, option: str, value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        describe_network(name, **{option: value})
    assert "\n" not in str(caught.value)


def test_a_whole_number_does_for_a_factor() -> None:
    assert describe_network("ladder_paf", size=(32, 32), width=1) == describe_network("ladder_paf", size=(32, 32))


@pytest.mark.parametrize(("name", "size"), [("hrnet_w32", (190, 250)), ("vgg_paf", (3, 3))])
@pytest.mark.parametrize("ask", [describe_network, count_network])
def test_sizes_that_a_network_does_not_take(ask: Any, name: str, size: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=f"^{name} takes no input of {size[0]}x{size[1]}; give multiples of 32$"):
        ask(name, size=size, width=0.25)
