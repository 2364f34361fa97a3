"""Checkpoints that survive: written beside and renamed, saved at the end and on a signal, not lost to a full disk."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import callbacks

LAST = "last.ckpt"
logger = logging.getLogger(__name__)


class SafeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that what stands there is always whole.

    On a full disk it says so and the run goes on: the checkpoint before is still there, and the next one may fit.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        place = Path(path)
        beside = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, place)
        except (OSError, RuntimeError) as error:
            beside.unlink(missing_ok=True)
            # PyTorch's own writer hides the number of the error in its text.
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
            if not full and not isinstance(error.__context__, OSError):
                raise
            logger.error("%s: not saved: the disk is full; what was saved before is still there", place)


class SaveOnExit(callbacks.Callback):
    """Saves the run at its end, also when SIGTERM or Ctrl-C ends it after the step that it is at."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.asked = False
        self.handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        def stop(number: int, *_: Any) -> None:
            self.asked = True
            signal.signal(number, self.handlers[signal.Signals(number)])  # asked twice, it ends at once

        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self.handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        # All processes stop after the same step, or the others would wait for one for ever.
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self._restore_handlers()
        trainer.save_checkpoint(self.file)

    def on_exception(self, *_: Any) -> None:
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


def make_savers(folder: Path, *, every: int, keep: int, best: str | None, mode: str) -> list[callbacks.Callback]:
    """Callbacks that save every so many steps (step-001500.ckpt), the best by a figure, and the end of the run."""
    savers: list[callbacks.Callback] = [
        SaveOnExit(folder / LAST),
        callbacks.ModelCheckpoint(
            folder,
            filename="step-{step:06.0f}",
            auto_insert_metric_name=False,
            every_n_train_steps=every,
            monitor="step",
            mode="max",
            save_top_k=keep,
        ),
    ]
    if best is not None:
        savers.append(
            callbacks.ModelCheckpoint(
                folder,
                filename=f"best-step-{{step:06.0f}}-{best.removeprefix('val_')}-{{{best}:.4f}}",
                auto_insert_metric_name=False,
                monitor=best,
                mode=mode,
                save_top_k=1,
            )
        )
    return savers
