"""Counting parameters and multiply-adds: known answers for single layers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from torch import nn  # noqa: E402

from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize(
    ("layer", "multiply_adds"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), 6 * 10 * 4 * 3 * 9),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), 3 * 5 * 4 * 3 * 9),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 6 * 10 * 6 * 9),  # each output channel sees one input channel
        (nn.ConvTranspose2d(3, 4, 2, stride=2), 6 * 10 * 3 * 4 * 4),  # each input pixel is written 4 times
        (nn.Linear(10, 7), 3 * 6 * 10 * 7),  # on the last dimension of (1, 3, 6, 10)
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), 0),
    ],
)
def test_each_weight_counts_once_for_each_place(layer: nn.Module, multiply_adds: int) -> None:
    assert count_multiply_adds(layer, (10, 6)) == multiply_adds


def test_a_layer_that_is_used_twice_counts_twice() -> None:
    layer = nn.Conv2d(3, 3, 1)
    assert count_multiply_adds(nn.Sequential(layer, layer), (10, 6)) == 2 * 60 * 9


def test_the_number_of_input_channels_may_differ() -> None:
    assert count_multiply_adds(nn.Conv2d(1, 2, 1), (10, 6), channels=1) == 60 * 2


def test_counting_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    count_multiply_adds(module, (10, 6))
    assert module.training
    assert not any(layer._forward_hooks for layer in module.modules())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_parameters_count_frozen_or_not_but_running_statistics_do_not() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module[0].weight.requires_grad_(False)
    assert count_parameters(module) == 4 * 3 * 9 + 4 + 4 + 4
