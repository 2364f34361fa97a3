"""How large a network is and how much it computes."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Trained numbers of a network, frozen ones included; running statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(
    module: nn.Module, size: tuple[int, int], *, channels: int = 3, transposed_at: Literal["input", "output"] = "input"
) -> int:
    """Multiply-adds that one picture of `size` (width, height) costs in eval mode.

    Convolutions, transposed convolutions and linear layers count; biases, normalisation and activations do not. Only
    shapes are computed, on a copy: no time is spent and the module stays as it is. `transposed_at="output"` takes each
    weight of a transposed convolution once for each place of its output, which is too often: so count the tools that
    the published figures of HRNet, LPN and pose_resnet come from.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += multiply_adds_of(layer, inputs[0] if transposed_at == "input" else output, output)

    shadow = copy.deepcopy(module).to("meta").eval()
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(add)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.forward = _same  # type: ignore[assignment]  # it keeps the shape, and "meta" is slow at it
    with torch.no_grad():
        shadow(torch.zeros(1, channels, size[1], size[0], device="meta"))
    return total


def _same(x: Tensor) -> Tensor:
    return x


def multiply_adds_of(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Each weight is used once for each place: of the output, or of the input where the convolution is transposed."""
    if isinstance(layer, nn.Linear):
        places = output.numel() // layer.out_features
    else:
        places = (inputs if isinstance(layer, nn.ConvTranspose2d) else output).shape[-2:].numel()
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return places * weight.numel()
