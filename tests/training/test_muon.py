"""Muon: orthogonal updates of matrices, Adam's of the rest."""

from __future__ import annotations

import pytest
import torch

from manypose.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (4, 50), (50, 4), (1, 9)])
def test_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = orthogonalise(matrix)
    assert result.shape == matrix.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ result @ right.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-3


def test_size_does_not_matter_and_zero_stays_zero() -> None:
    matrix = torch.randn(6, 12)
    torch.testing.assert_close(orthogonalise(matrix), orthogonalise(1000 * matrix), atol=1e-4, rtol=1e-3)
    assert torch.equal(orthogonalise(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_a_small_regression_converges() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 2, 1))
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "orthogonal": True}, {"params": others, "orthogonal": False}]
    optimiser = Muon(groups, learning_rate=0.02, weight_decay=0.0)
    x = torch.randn(8, 3, 6, 6)
    y = torch.stack([x[:, 0].abs(), x[:, 1] + 0.5], dim=1)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = ((network(x) - y) ** 2).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


def test_the_first_step_of_the_rest_is_adams() -> None:
    bias = torch.nn.Parameter(torch.zeros(3))
    group = {"params": [bias], "orthogonal": False, "weight_decay": 0.0}
    optimiser = Muon([group], learning_rate=1.0, weight_decay=0.1)
    bias.grad = torch.tensor([5.0, -0.1, 0.0])
    optimiser.step()
    torch.testing.assert_close(bias.detach(), torch.tensor([-0.15, 0.15, 0.0]))
