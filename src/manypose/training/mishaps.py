"""What goes wrong in a run: numbers that are none, too little memory, processes that end."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.optim import Optimizer

from manypose.errors import ManyposeError, TrainingError
from manypose.training.recipe import Recipe

BATCH, NORMS = "bad-batch.pt", "bad-norms.json"
# What PyTorch says of memory that it does not get on a CPU, or on a GPU without its own error.
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "Cannot allocate memory")
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # by gloo


class StopAtBadNumbers(callbacks.Callback):
    """Ends a run whose loss or gradients are NaN or infinite before the weights are spoilt.

    The batch is written to `bad-batch.pt` and the norms of all parameters and gradients to `bad-norms.json`, of several
    processes by the first one that has such numbers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batch: Any = None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, index: int) -> None:
        self.batch = batch

    def on_before_backward(self, trainer: lightning.Trainer, module: Any, loss: Tensor) -> None:
        of_all = module.batch_losses[-1]  # the same in all processes: if one must stop, all do
        if not of_all.isfinite().all():
            self._stop(trainer, module, "the loss", float(of_all.sum()), own=loss)

    def on_before_optimizer_step(self, trainer: lightning.Trainer, module: Any, optimizer: Optimizer) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return  # with 16 bit there are such gradients now and then, and their steps are left out
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        if not norm.isfinite():
            self._stop(trainer, module, "the norm of the gradients", float(norm), own=norm)

    def _stop(self, trainer: lightning.Trainer, module: Any, what: str, value: float, *, own: Tensor) -> None:
        batch, norms = self.folder / BATCH, self.folder / NORMS
        rank = trainer.global_rank if not own.isfinite() else trainer.world_size
        writer = trainer.strategy.reduce(torch.tensor(rank, device=own.device), reduce_op="min")
        if trainer.global_rank == int(writer):
            torch.save({key: tensor.cpu() for key, tensor in self.batch.items()}, batch)
            norms.write_text(json.dumps(_norms(module), indent=1))
        trainer.strategy.barrier()  # the first process to fail takes the others with it
        raise TrainingError(
            f"{what} is {value} at step {trainer.global_step}: the batch is in {batch}, the norms of the parameters in "
            f"{norms}; the weights before it are in the last checkpoint: try a lower learning_rate"
        )


def _norms(module: Any) -> dict[str, Any]:
    def norm(tensor: Tensor | None) -> float | None:
        return None if tensor is None else float(tensor.detach().float().norm())

    return {name: {"norm": norm(p), "gradient": norm(p.grad)} for name, p in module.network.named_parameters()}


class ForkingTrainer(lightning.Trainer):
    """A trainer whose forked processes hand their errors to this one, which would see the text of a traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.errors: Any = multiprocessing.SimpleQueue()

    def _fit_impl(self, *arguments: Any, **settings: Any) -> None:  # what Lightning runs in each process
        try:
            super()._fit_impl(*arguments, **settings)
        except (ManyposeError, RuntimeError, MemoryError) as error:
            explained = explain(error, self.lightning_module.recipe)  # type: ignore[arg-type]
            if explained is not None and not _is_of_another(error):
                self.errors.put(explained)
            raise

    def first_error(self) -> ManyposeError | None:
        """What the first process that failed has said."""
        error: ManyposeError | None = None if self.errors.empty() else self.errors.get()
        return error


def explain(error: BaseException, recipe: Recipe) -> ManyposeError | None:
    """The error as a user should read it: what happened and what to do; None for one that nobody foresaw."""
    if isinstance(error, ManyposeError):
        return _without_traceback(error)
    text = str(error)
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        first = text.splitlines()[0]
        return TrainingError(f"{first}: try fewer workers, or more shared memory (/dev/shm) for workers=1 and above")
    if isinstance(error, ProcessExitedException) or _is_of_another(error):
        how = getattr(error, "signal_name", None)
        return TrainingError(
            f"a process of the run was ended{f' by {how}' if how else ''}, often for want of memory: look for what it "
            "said; `resume` goes on from the last checkpoint"
        )
    return explain_memory(error, recipe)


def _is_of_another(error: BaseException) -> bool:
    """Whether a process fails only because another one is gone."""
    return isinstance(error, RuntimeError | ProcessRaisedException) and any(sign in str(error) for sign in LOST)


def _without_traceback(error: ManyposeError) -> ManyposeError:
    """The error of a loader's worker, which PyTorch raises anew with the whole traceback in its message."""
    text = str(error).rstrip()
    if "Original Traceback" not in text:
        return error
    return type(error)(text.splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: "))


def explain_memory(error: BaseException, recipe: Recipe) -> TrainingError | None:
    """What to change where there was too little memory; None for another error."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not known and not (isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY)):
        return None
    half = max(1, recipe.batch_size // 2)
    ways = [f"batch_size={half} with accumulate={2 * recipe.accumulate} (the same steps)"] if half > 1 else []
    ways.append("a smaller size=")
    if recipe.precision == "32-true":
        ways.append("precision=bf16-mixed")
    if recipe.preload:
        ways.append("preload=false")
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return TrainingError(f"out of memory: {reason}; try {', or '.join(ways)}")
