"""What goes wrong in a run: numbers that are none, and too little memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks

from manypose.errors import TrainingError
from manypose.training.recipe import Recipe

BATCH, NORMS = "bad-batch.pt", "bad-norms.json"


class StopAtBadNumbers(callbacks.Callback):
    """Ends a run whose loss is NaN or infinite before the weights are spoilt.

    The batch is written to `bad-batch.pt` and the norms of all parameters and gradients to `bad-norms.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batch: Any = None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, index: int) -> None:
        self.batch = batch

    def on_before_backward(self, trainer: lightning.Trainer, module: Any, loss: torch.Tensor) -> None:
        if math.isfinite(value := float(loss.detach())):
            return
        rank = f"rank{trainer.global_rank}-" if trainer.world_size > 1 else ""
        batch, norms = self.folder / f"{rank}{BATCH}", self.folder / f"{rank}{NORMS}"
        torch.save({key: tensor.cpu() for key, tensor in self.batch.items()}, batch)
        norms.write_text(json.dumps(_norms(module), indent=1))
        raise TrainingError(
            f"the loss is {value} at step {trainer.global_step}: the batch is in {batch}, the norms of the parameters "
            f"in {norms}; the weights before it are in the last checkpoint: try a lower learning_rate"
        )


def _norms(module: Any) -> dict[str, Any]:
    def norm(tensor: torch.Tensor | None) -> float | None:
        return None if tensor is None else float(tensor.detach().float().norm())

    return {name: {"norm": norm(p), "gradient": norm(p.grad)} for name, p in module.network.named_parameters()}


def explain_memory(error: RuntimeError, recipe: Recipe) -> TrainingError | None:
    """What to change where there was too little memory; None for another error."""
    if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error).lower():
        return None
    half = max(1, recipe.batch_size // 2)
    ways = [f"batch_size={half} with accumulate={2 * recipe.accumulate} (the same steps)"] if half > 1 else []
    ways.append("a smaller size=")
    if recipe.precision == "32-true":
        ways.append("precision=bf16-mixed")
    if recipe.preload:
        ways.append("preload=false")
    return TrainingError(f"out of memory: {str(error).splitlines()[0]}; try {', or '.join(ways)}")
