"""Whether this machine has what a recipe wants to run on."""

from __future__ import annotations

import torch

from manypose.errors import RecipeError
from manypose.training.recipe import Recipe


def runs_on_cpu(recipe: Recipe) -> bool:
    """Whether a run takes the CPU, by choice or for want of a GPU."""
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return recipe.device == "cpu" or (recipe.device == "auto" and not has_gpu)


def check_devices(recipe: Recipe) -> None:
    """Raise `RecipeError` for devices that this machine does not have."""
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device: PyTorch finds no GPU here; take device=cpu, or a build of PyTorch for this GPU")
    if runs_on_cpu(recipe):
        if isinstance(recipe.devices, tuple):
            raise RecipeError("devices: there is no GPU to choose here: say how many processes there shall be")
        return
    there = torch.cuda.device_count()
    wanted = recipe.devices if isinstance(recipe.devices, int) else max(recipe.devices) + 1
    if torch.cuda.is_available() and wanted > there:
        numbers = ", ".join(map(str, range(there)))
        raise RecipeError(f"devices: this machine has {there} of them, with the numbers {numbers}")
