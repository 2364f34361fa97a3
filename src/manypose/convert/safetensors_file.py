"""Weights in .safetensors files, of others and our own: names and axes are PyTorch's already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from manypose.convert.binary import Budget, as_float32, check_file, collect, naming
from manypose.convert.pytorch import as_numpy, without_prefix
from manypose.errors import ModelError, require

if TYPE_CHECKING:
    import torch

    from manypose.convert.layout import Tensors


def read(path: Path) -> Tensors:
    """Every tensor by its name; those of bfloat16 and of eight bits, which numpy does not have, in float32.

    Raises `ModelError` when the file is not one of safetensors or is damaged.
    """
    safetensors = require("safetensors", extra="train")
    require("torch", extra="train")
    with naming(path):
        budget = Budget(check_file(path))
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                return collect((name, _array(file.get_tensor(name), budget)) for name in file.keys())  # noqa: SIM118
        except (safetensors.SafetensorError, OSError, ValueError, TypeError, RuntimeError, LookupError) as error:
            raise ModelError(f"not a safetensors file, or damaged: {error}; fetch it again") from None


def _array(tensor: torch.Tensor, budget: Budget) -> NDArray[Any]:
    budget.spend_on(tensor.shape, tensor.element_size())
    return as_numpy(tensor)


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors in float32, without a prefix that all names share."""
    return {name: as_float32(tensor) for name, tensor in without_prefix(tensors).items()}
