"""How large a network is and how much it computes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Trained numbers of a network, frozen ones included; running statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(module: nn.Module, size: tuple[int, int], *, channels: int = 3) -> int:
    """Multiply-adds that one picture of `size` (width, height) costs in eval mode.

    Convolutions, transposed convolutions and linear layers count; biases, normalisation and activations do not. Only
    shapes are computed, on a copy: no time is spent and the module stays as it is.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += _multiply_adds(layer, inputs[0], output)

    shadow = copy.deepcopy(module).to("meta").eval()
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        shadow(torch.zeros(1, channels, size[1], size[0], device="meta"))
    return total


def _multiply_adds(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Each weight is used once for each place: of the output, or of the input where the convolution is transposed."""
    if isinstance(layer, nn.Linear):
        places = output.numel() // layer.out_features
    else:
        places = (inputs if isinstance(layer, nn.ConvTranspose2d) else output).shape[-2:].numel()
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return places * weight.numel()
