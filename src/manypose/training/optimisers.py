"""Optimisers by the names that recipes call them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from manypose.training.muon import Muon
from manypose.training.parameters import Group

Kind = Literal["adam", "adamw", "sgd", "muon"]


def make_optimiser(
    kind: Kind,
    groups: Sequence[Group],
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """An optimiser for `parameter_groups(..., optimiser=kind)`, whose rates and decays count before the ones given.

    adam: the decay is part of the gradient, as in Caffe and PyTorch; adamw: it is not (arXiv 1711.05101). sgd: with
    `momentum`, and `nesterov` if wanted; the decay is part of the gradient. muon: see `Muon`; the decay is not. Betas
    and epsilon of Adam are PyTorch's: 0.9, 0.999 and 1e-8.
    """
    parts = [dict(group) for group in groups]
    if kind == "sgd":
        return torch.optim.SGD(parts, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    if kind == "adam":
        return torch.optim.Adam(parts, lr=learning_rate, weight_decay=weight_decay)
    if kind == "adamw":
        return torch.optim.AdamW(parts, lr=learning_rate, weight_decay=weight_decay)
    return Muon(parts, learning_rate=learning_rate, weight_decay=weight_decay)
