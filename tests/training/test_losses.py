"""Losses: known answers by hand."""

from __future__ import annotations

import pytest
import torch

from manypose.networks.maps import Maps
from manypose.training.losses import focused_map_loss


def zeros(channels: int) -> torch.Tensor:
    return torch.zeros(1, channels, 2, 2)


def test_exact_maps_cost_nothing() -> None:
    maps = Maps(torch.rand(1, 3, 2, 2), torch.rand(1, 4, 2, 2))
    assert [float(x) for x in focused_map_loss(maps, *maps, torch.ones(1, 7, 2, 2, dtype=torch.uint8))] == [0, 0]


def test_cells_with_people_count_more_and_the_background_does_not() -> None:
    heatmaps, fields = zeros(3), zeros(4)
    heatmaps[0, 0, 0, 0] = 1  # a joint: counts seven times
    fields[0, 1, 0, 0] = -1  # a limb: three times
    ones = torch.ones(1, 7, 2, 2, dtype=torch.uint8)
    of_heatmaps, of_fields = focused_map_loss(Maps(zeros(3), zeros(4)), heatmaps, fields, ones)
    assert float(of_heatmaps) == pytest.approx(100 * 1.5 * 7 / 12)
    assert float(of_fields) == pytest.approx(100 * 3 / 16)
    background = zeros(3)
    background[0, 2] = 1
    assert float(focused_map_loss(Maps(zeros(3), zeros(4)), background, fields, ones)[0]) == pytest.approx(150 * 4 / 12)


def test_cells_that_the_labels_cannot_tell_cost_nothing() -> None:
    weights = torch.zeros(1, 7, 2, 2, dtype=torch.uint8)
    weights[0, 3] = 1  # only the first field channel
    losses = focused_map_loss(Maps(zeros(3) + 9, zeros(4) + 1), zeros(3), zeros(4), weights)
    assert [float(x) for x in losses] == [0, pytest.approx(100 * 4 / 16)]


def test_the_targets_are_not_changed() -> None:
    heatmaps = torch.rand(1, 3, 2, 2)
    before = heatmaps.clone()
    focused_map_loss(Maps(zeros(3), zeros(4)), heatmaps, zeros(4), torch.ones(1, 7, 2, 2))
    assert torch.equal(heatmaps, before)
