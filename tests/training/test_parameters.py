"""Parameter groups: the tables of the products' programs, on small networks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from manypose import networks
from manypose.errors import RecipeError
from manypose.training.parameters import (
    freeze,
    freeze_norms,
    hidden_matrices,
    hold_frozen,
    parameter_groups,
    treatments,
)
from manypose.training.recipe import ParameterRule

# openpose.md 4.7 and keras_mxnet.md 5: the first 22 layers 1/2, the 70 of the stages from 2 on 4/8; biases not decayed
CMU = [
    {"kind": "bias", "rate": 2, "decay": 0},
    {"names": "Mconv.*", "kind": "weight", "rate": 4},
    {"names": "Mconv.*", "kind": "bias", "rate": 8},
]
TREB1EN = [{"names": r"conv[1-4]_\d\..*", "frozen_steps": 2000}, {"names": r"conv[1-4]_.*", "rate": 0.25}]
TENSORBOY = [{"names": r"conv([123]_\d|4_1)\..*", "frozen_epochs": 5}]
DANIIL = [
    {"kind": "bias", "rate": 2, "decay": 0},
    {"kind": "depthwise", "decay": 0},
    {"kind": "norm", "decay": 0},
    {"kind": "norm-bias", "rate": 2},
    {"names": "refinement_stages.*", "kind": "weight", "rate": 4},
    {"names": "refinement_stages.*", "kind": "bias", "rate": 8},
]
BODY25 = [
    {"kind": "bias", "rate": 2, "decay": 0},
    {"names": "Mconv.*", "kind": "weight", "rate": 4},
    {"names": "Mconv.*", "kind": "bias", "rate": 8},
]


def build(name: str, **options: Any) -> nn.Module:
    return networks.build(name, **{"width": 0.125, **options})


def rules(settings: Sequence[dict[str, Any]]) -> list[ParameterRule]:
    return [ParameterRule(**setting) for setting in settings]


def groups(network: nn.Module, settings: Sequence[dict[str, Any]] = (), **options: Any) -> list[dict[str, Any]]:
    return parameter_groups(network, rules(settings), learning_rate=1.0, weight_decay=1.0, **options)


def table(found: list[dict[str, Any]]) -> dict[tuple[float, float], int]:
    """(rate, decay): how many parameters."""
    return {(group["lr"], group["weight_decay"]): len(group["params"]) for group in found}


def group_of(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (group,) = (group for group in found if name in group["names"])
    return group


def test_without_rules_all_are_one_group_in_the_order_of_the_network() -> None:
    network = build("hrnet_w18_small_v1", width=0.25)
    (group,) = parameter_groups(network, [], learning_rate=1e-3, weight_decay=0.0)
    assert group["names"] == [name for name, _ in network.named_parameters()]
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert (group["lr"], group["weight_decay"], group["frozen_steps"], group["frozen_epochs"]) == (1e-3, 0.0, 0, 0)


def test_cmus_of_2017() -> None:
    found = groups(build("vgg_paf"), CMU)
    assert table(found) == {(1, 1): 22, (2, 0): 22, (4, 1): 70, (8, 0): 70}
    assert "conv5_5_CPM_L2.weight" in found[0]["names"]
    scaled = parameter_groups(build("vgg_paf"), rules(CMU), learning_rate=4e-5, weight_decay=5e-4)
    late = group_of(scaled, "Mconv1_stage2_L1.bias")
    assert (late["lr"], late["weight_decay"]) == (pytest.approx(3.2e-4), 0)


def test_treb1ens_trunk_waits_two_thousand_steps() -> None:
    found = groups(build("vgg_paf"), TREB1EN)
    assert [(g["lr"], g["frozen_steps"], len(g["params"])) for g in found] == [
        (0.25, 2000, 20),
        (0.25, 0, 4),
        (1, 0, 160),
    ]
    assert found[1]["names"][0] == "conv4_3_CPM.weight"


def test_tensorboys_first_nine_layers_wait_five_epochs() -> None:
    found = groups(build("vgg_paf"), TENSORBOY)
    assert [(g["frozen_epochs"], len(g["params"])) for g in found] == [(5, 18), (0, 166)]
    assert found[1]["names"][0] == "conv4_2.weight"


def test_daniils() -> None:
    found = groups(build("mobilenet_paf"), DANIIL)
    assert set(table(found)) == {(1, 1), (1, 0), (2, 0), (4, 1), (8, 0)}
    expected = {
        "model.0.0.weight": (1, 1),
        "model.0.1.weight": (1, 0),
        "model.0.1.bias": (2, 0),
        "model.1.0.weight": (1, 0),  # depthwise
        "model.1.3.weight": (1, 1),
        "cpm.trunk.0.0.weight": (1, 0),
        "cpm.align.0.bias": (2, 0),
        "initial_stage.heatmaps.1.0.weight": (1, 1),
        "refinement_stages.0.trunk.0.initial.0.weight": (4, 1),
        "refinement_stages.0.trunk.0.initial.0.bias": (8, 0),
        "refinement_stages.0.trunk.0.trunk.0.1.weight": (1, 0),
        "refinement_stages.0.trunk.0.trunk.0.1.bias": (2, 0),
    }
    for name, (rate, decay) in expected.items():
        assert (group_of(found, name)["lr"], group_of(found, name)["weight_decay"]) == (rate, decay), name


def test_body25s_slopes_have_the_plain_rate() -> None:
    network = build("body25")
    found = groups(network, [*BODY25, {"kind": "prelu", "decay": 0}])
    stages = sum(
        1 for name, module in network.named_modules() if name.startswith("Mconv") and hasattr(module, "weight")
    )
    slopes = sum(isinstance(module, nn.PReLU) for module in network.modules())
    assert table(found) == {(1, 1): 12, (2, 0): 12, (1, 0): slopes, (4, 1): stages, (8, 0): stages}
    assert "Mprelu1_stage0_L2_0.weight" in group_of(found, "prelu4_2.weight")["names"]


def test_a_later_rule_changes_only_what_it_says() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    said = [{"rate": 2, "decay": 0, "frozen_steps": 7}, {"names": r"1\..*", "rate": 5}, {"kind": "bias", "decay": 3}]
    found = {
        name: (treatment.rate, treatment.decay, treatment.frozen_steps)
        for name, (_, treatment) in treatments(network, rules(said)).items()
    }
    assert found == {"0.weight": (2, 0, 7), "0.bias": (2, 3, 7), "1.weight": (5, 0, 7), "1.bias": (5, 3, 7)}


def test_a_rule_that_fits_nothing_is_an_error_that_names_some_that_there_are() -> None:
    network = build("vgg_paf")
    with pytest.raises(
        RecipeError, match=r"no parameter has a name like 'vgg19_\.\*'; some of the 184 names are conv1_1"
    ):
        groups(network, [{"names": "vgg19_.*", "rate": 0.1}])
    with pytest.raises(RecipeError, match=r"with a name like 'conv1_1\.\*' is of kind 'norm'; .*conv1_1\.bias"):
        groups(network, [{"names": "conv1_1.*", "kind": "norm"}])


def test_names_are_matched_as_a_whole() -> None:
    with pytest.raises(RecipeError, match="no parameter has a name like 'conv1_1'"):
        groups(build("vgg_paf"), [{"names": "conv1_1"}])


def test_what_is_frozen_for_good_has_no_gradient_and_no_group() -> None:
    network = build("vgg_paf")
    found = groups(network, [{"names": r"conv[1-4]_\d\..*", "frozen": True}, {"names": "conv4_2.*", "frozen": False}])
    names = [name for group in found for name in group["names"]]
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert len(frozen) == 18
    assert not set(frozen) & set(names)
    assert names[0] == "conv4_2.weight"
    with pytest.raises(RecipeError, match="nothing is left to train"):
        freeze(network, rules([{"frozen": True}]))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_adamw_and_muon_do_not_decay_norms_and_biases_unless_told(optimiser: str) -> None:
    network = build("ladder_paf")
    found = groups(network, optimiser=optimiser)
    decayed = {name for group in found if group["weight_decay"] for name in group["names"]}
    matrices = {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    outer = {"stem.0.0.weight", "heatmaps.weight", "fields.weight"}
    assert decayed == (matrices if optimiser == "adamw" else matrices - outer)
    told = groups(network, [{"kind": "norm", "decay": 0.5}], optimiser=optimiser)
    assert group_of(told, "stem.0.1.bias")["weight_decay"] == 0.5
    assert group_of(told, "heatmaps.bias")["weight_decay"] == 0


def test_adam_and_sgd_decay_everything() -> None:
    network = build("ladder_paf")
    assert table(groups(network, optimiser="sgd")) == {(1, 1): len(list(network.parameters()))}


def test_muons_hidden_matrices_come_first() -> None:
    network = build("ladder_paf")
    hidden, others = groups(network, optimiser="muon")
    assert (hidden["orthogonal"], others["orthogonal"]) == (True, False)
    assert set(hidden["names"]) == hidden_matrices(network)


@pytest.mark.parametrize(
    ("name", "outer"),
    [
        ("ladder_paf", {"stem.0.0", "heatmaps", "fields"}),
        ("hrnet_w18_small_v1", {"conv1", "final_layer"}),
        ("pose_resnet_18", {"conv1", "final_layer"}),
        ("resnet_paf_18", {"conv1", "final_layer"}),  # one layer gives both maps
        ("cpm_hand", {"conv1_1", "conv6_2_CPM", *(f"Mconv7_stage{n}" for n in range(2, 7))}),
        (
            "vgg_paf",
            {
                "conv1_1",
                *(f"conv5_5_CPM_L{b}" for b in "12"),
                *(f"Mconv7_stage{n}_L{b}" for n in "23456" for b in "12"),
            },
        ),
        (
            "mobilenet_paf",
            {
                "model.0.0",
                *(f"{s}.{b}.1.0" for s in ("initial_stage", "refinement_stages.0") for b in ("heatmaps", "pafs")),
            },
        ),
        ("body25", {"conv1_1", *(f"Mconv7_stage{n}_L2" for n in range(4)), *(f"Mconv7_stage{n}_L1" for n in range(2))}),
    ],
)
def test_the_first_and_the_last_layers_are_not_hidden(name: str, outer: set[str]) -> None:
    network = build(name)
    matrices = {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    assert matrices - hidden_matrices(network) == {f"{layer}.weight" for layer in outer}


def test_looking_for_hidden_matrices_leaves_the_network_alone() -> None:
    network = build("ladder_paf").train()
    before = copy.deepcopy(network.state_dict())
    hidden_matrices(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.LayerNorm(4))


@pytest.mark.parametrize("held", [{"frozen_steps": 2}, {"frozen_epochs": 2}])
@pytest.mark.parametrize("make", [torch.optim.Adam, lambda parts: torch.optim.SGD(parts, lr=0.1, momentum=0.9)])
def test_neither_weights_nor_moments_move_while_a_group_is_frozen(make: Any, held: dict[str, int]) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimiser = make(groups(network, [{"names": r"0\..*", **held}]))
    first, second = network[0].weight, network[1].weight
    for step in range(4):
        before = first.detach().clone(), second.detach().clone()
        optimiser.zero_grad()
        network(torch.randn(5, 3)).square().sum().backward()
        hold_frozen(optimiser, step, epoch=step)
        optimiser.step()
        assert torch.equal(first, before[0]) == (step < 2)
        assert not torch.equal(second, before[1])
        assert (first in optimiser.state) == (step >= 2)  # no moments, not even a count of steps


def test_frozen_norms_stay_frozen_in_training() -> None:
    network = small().train()
    assert freeze_norms(network) == 2
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 3, 6, 6)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [name for name, p in network.named_parameters() if p.grad is not None] == [
        *("0.weight", "0.bias", "2.weight", "2.bias")
    ]
    assert network.training
    assert network[0].training
    assert [name for group in groups(network) for name in group["names"]] == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]


def test_frozen_norms_are_copied_and_pickled_as_they_are() -> None:
    network = small()
    freeze_norms(network)
    freeze_norms(network)  # twice is no harm
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert not twin.train()[1].training
        assert list(twin.state_dict()) == list(small().state_dict())


def test_frozen_norms_need_norms() -> None:
    with pytest.raises(RecipeError, match="frozen_norms: the network has no norms"):
        freeze_norms(build("vgg_paf"))
