"""Optimisers: what one step does, by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from manypose import networks
from manypose.training.losses import LOSSES
from manypose.training.muon import ADAM_RATE, Muon
from manypose.training.optimisers import make_optimiser
from manypose.training.parameters import parameter_groups
from manypose.training.recipe import ParameterRule


def make(network: nn.Module, kind: Any, *rules: ParameterRule, **options: Any) -> torch.optim.Optimizer:
    rates = {"learning_rate": 0.1, "weight_decay": 0.0} | {k: v for k, v in options.items() if k.endswith(("e", "y"))}
    groups = parameter_groups(network, rules, optimiser=kind, **rates)
    return make_optimiser(kind, groups, **{**rates, **options})


def one_weight(value: float = 1.0) -> nn.Module:
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def steps(network: nn.Module, optimiser: torch.optim.Optimizer, *gradients: float) -> list[float]:
    """The weight after steps with given gradients."""
    (parameter,) = network.parameters()
    values = []
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimiser.step()
        values.append(parameter.item())
    return values


def test_adams_decay_is_part_of_the_gradient_and_adamws_is_not() -> None:
    network = one_weight()
    assert steps(network, make(network, "adam", weight_decay=0.5), 0.0) == pytest.approx([0.9])  # the sign of 0.5
    network = one_weight()
    assert steps(network, make(network, "adamw", weight_decay=0.5), 0.0) == pytest.approx([1 - 0.1 * 0.5])
    network = one_weight()
    assert steps(network, make(network, "adam"), 0.0) == [1.0]


def test_sgd_has_momentum_and_nesterovs_looks_ahead() -> None:
    network = one_weight(0.0)
    assert steps(network, make(network, "sgd", momentum=0.9), 1.0, 1.0) == pytest.approx([-0.1, -0.1 - 0.19])
    network = one_weight(0.0)
    nesterov = make(network, "sgd", momentum=0.9, nesterov=True)
    assert steps(network, nesterov, 1.0, 1.0) == pytest.approx([-0.19, -0.19 - 0.271])


def test_caffes_factors_of_rate_and_decay() -> None:
    """Caffe: v = momentum v + rate * rate factor * (g + decay * decay factor * w)."""
    network = one_weight(2.0)
    optimiser = make(
        network, "sgd", ParameterRule(rate=4, decay=0.5), learning_rate=0.01, weight_decay=0.1, momentum=0.9
    )
    first = 0.04 * (1 + 0.05 * 2.0)
    second = 0.9 * first + 0.04 * (1 + 0.05 * (2 - first))
    assert steps(network, optimiser, 1.0, 1.0) == pytest.approx([2 - first, 2 - first - second])


def test_muons_others_take_adams_steps_at_their_own_rate() -> None:
    network = networks.build("ladder_paf_small", width=0.25)
    optimiser = make(network, "muon", ParameterRule(names="heatmaps.*", rate=2), weight_decay=0.5)
    assert isinstance(optimiser, Muon)
    found = {name: group for group in optimiser.param_groups for name in group["names"]}
    assert found["down.0.0.0.weight"]["orthogonal"]
    assert (found["down.0.0.0.weight"]["lr"], found["down.0.0.0.weight"]["weight_decay"]) == (0.1, 0.5)
    assert found["heatmaps.bias"]["lr"] == pytest.approx(0.2 * ADAM_RATE)
    assert found["fields.weight"]["lr"] == pytest.approx(0.1 * ADAM_RATE)
    assert found["fields.weight"]["weight_decay"] == 0


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "muon"])
def test_a_resumed_optimiser_goes_on_as_if_it_had_not_ended(kind: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    optimiser = make(network, kind, ParameterRule(kind="bias", rate=2), learning_rate=0.01)
    x = torch.randn(2, 3, 8, 8)

    def train(network: nn.Module, optimiser: torch.optim.Optimizer) -> float:
        optimiser.zero_grad()
        loss = (network(x) - 1).square().mean()
        loss.backward()
        optimiser.step()
        return loss.item()

    for _ in range(2):
        train(network, optimiser)
    twin = copy.deepcopy(network)
    resumed = make(twin, kind, ParameterRule(kind="bias", rate=2), learning_rate=0.01)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert [train(twin, resumed) for _ in range(3)] == [train(network, optimiser) for _ in range(3)]
    assert [group["names"] for group in resumed.param_groups] == [group["names"] for group in optimiser.param_groups]


def test_the_callers_groups_are_not_changed() -> None:
    groups = parameter_groups(
        networks.build("ladder_paf_small", width=0.25), [], optimiser="muon", learning_rate=0.1, weight_decay=0.0
    )
    rates = [group["lr"] for group in groups]
    make_optimiser("muon", groups, learning_rate=0.1, weight_decay=0.0)
    assert [group["lr"] for group in groups] == rates


@pytest.mark.golden
def test_the_first_steps_of_hrnets_recipe_are_the_references(goldens: Path) -> None:
    from networks.top_down_golden import golden_weights

    folder = goldens / "topdown" / "models" / "hrnet_w18_small_v1"
    expected = json.loads((folder / "train_step.json").read_text())["runs"]["float64"]["loss_per_step"]
    arrays = {name: torch.from_numpy(value).double() for name, value in np.load(folder / "train_step.npz").items()}
    network = networks.build("hrnet_w18_small_v1").double().train()
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    network.load_state_dict({name: torch.from_numpy(value) for name, value in golden_weights(shapes).items()})
    optimiser = make(network, "adam", learning_rate=1e-3)
    batch = {"heatmaps": arrays["target"], "weights": arrays["target_weight"].reshape(len(arrays["target"]), -1)}
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = LOSSES["joint-mse"].function([network(arrays["input"])], [], batch)["heatmaps_1"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-5)
