"""Muon: momentum whose updates of weight matrices are made orthogonal.

On a budget of an hour of CPU it learns from fewer pictures than AdamW (figures in `docs/train.md`).
Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the coefficients of the
iteration are theirs. torch.optim.Muon takes matrices only; here kernels (out, in, h, w) are matrices out x (in h w).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ADAM_RATE = 0.15  # of the rate of the matrices: what the vectors, the first and the last layers take


class Muon(torch.optim.Optimizer):
    """Orthogonal updates for groups of matrices (kernels included), Adam's for the others, in one optimiser.

    A group says by `orthogonal` which it is; one that is not takes `ADAM_RATE` of the rate that it says, or of
    `learning_rate`. The decay is no part of the gradient.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, learning_rate: float, weight_decay: float) -> None:
        parts = [dict(group) for group in groups]
        for group in parts:
            if not group["orthogonal"]:
                group["lr"] = ADAM_RATE * group.get("lr", learning_rate)
        super().__init__(parts, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = _orthogonal_step if group["orthogonal"] else _adam_step
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, self.state[parameter], group["lr"], group["weight_decay"])
        return loss


def _orthogonal_step(parameter: Tensor, state: dict[str, Any], rate: float, decay: float) -> None:
    gradient = parameter.grad
    if gradient is None:
        return
    momentum = state.setdefault("momentum", torch.zeros_like(gradient))
    momentum.lerp_(gradient, 0.05)
    nesterov = gradient.lerp(momentum, 0.95)
    update = orthogonalise(nesterov.flatten(1)).view_as(parameter)
    scale = max(1.0, parameter.shape[0] / parameter[0].numel()) ** 0.5
    parameter.mul_(1 - rate * decay).add_(update, alpha=-rate * scale)


def _adam_step(parameter: Tensor, state: dict[str, Any], rate: float, decay: float) -> None:
    gradient = parameter.grad
    if gradient is None:
        return
    first = state.setdefault("first", torch.zeros_like(gradient))
    second = state.setdefault("second", torch.zeros_like(gradient))
    step = state["step"] = state.get("step", 0) + 1
    first.lerp_(gradient, 0.1)
    second.lerp_(gradient.square(), 0.01)
    spread = (second / (1 - 0.99**step)).sqrt().add_(1e-8)
    parameter.mul_(1 - rate * decay).addcdiv_(first, spread, value=-rate / (1 - 0.9**step))


def orthogonalise(matrix: Tensor, *, iterations: int = 5) -> Tensor:
    """The nearest matrix (m, n) with singular values near 1, by a quintic Newton-Schulz iteration.

    Every factor is a polynomial in X X^T, so the iteration runs on the small square matrices and the large one is
    multiplied only twice: a third of the work for kernels, which are nine times wider than tall.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    identity = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    product = identity
    for _ in range(iterations):
        factor = 3.4445 * identity - 4.7750 * gram + 2.0315 * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    result: Tensor = product @ x
    return result.T if tall else result
