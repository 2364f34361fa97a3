"""Checkpoints that survive: written beside and renamed, saved at the end and on a signal, not lost to a full disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import callbacks, loggers

from manypose.errors import OutputError

LAST, PART = "last.ckpt", ".part"
FULL = (errno.ENOSPC, errno.EDQUOT)
logger = logging.getLogger(__name__)


class SafeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that what stands there is always whole.

    On a full disk it says so and the run goes on: the checkpoint before stays until one of its kind could be saved.
    Raises `OutputError` where the folder cannot be written to for another reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[str] = set()  # kinds whose newest checkpoint could not be saved: "step", "best"
        self.held: list[Path] = []  # older ones of these, which have had their day but for that

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        place = Path(path)
        beside = place.with_name(f".{place.name}.{os.getpid()}{PART}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, place)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            self._judge(error, place)
            self.failed.add(_kind(place))
        else:
            self.failed.discard(_kind(place))
            self._let_go(_kind(place))

    def remove_checkpoint(self, path: Any) -> None:
        if _kind(Path(path)) in self.failed:
            self.held.append(Path(path))
        else:
            Path(path).unlink(missing_ok=True)

    def _let_go(self, kind: str) -> None:
        for file in [file for file in self.held if _kind(file) == kind]:
            file.unlink(missing_ok=True)
            self.held.remove(file)

    @staticmethod
    def _judge(error: OSError | RuntimeError, place: Path) -> None:
        """Report a full disk; raise what else it is."""
        # PyTorch's own writer raises a RuntimeError while it handles that of the system.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise error
        if cause.errno not in FULL:
            raise OutputError(f"{place}: the checkpoint cannot be written: {cause.strerror}") from None
        logger.error("%s: not saved: the disk is full; what was saved before is still there", place)


def _kind(file: Path) -> str:
    return file.name.split("-")[0]


class _Patient:
    """A log that a full disk does not end the run for: what it could not write is left out."""

    full = False

    def log_metrics(self, *arguments: Any, **more: Any) -> None:
        self._try("log_metrics", *arguments, **more)

    def save(self) -> None:
        self._try("save")

    def finalize(self, status: str) -> None:
        self._try("finalize", status)

    def _try(self, name: str, *arguments: Any, **more: Any) -> None:
        try:
            getattr(super(), name)(*arguments, **more)
        except OSError as error:
            if error.errno not in FULL:
                raise
            if not self.full:
                logger.error("%s: the disk is full: nothing more is logged", type(self).__name__)
            self.full = True


class CsvLog(_Patient, loggers.CSVLogger):
    """The figures as a table, metrics.csv."""


class TensorBoardLog(_Patient, loggers.TensorBoardLogger):
    """The figures and pictures for TensorBoard."""


def remove_parts(folder: Path) -> None:
    """Delete what a run that was killed while it saved has left half written."""
    for part in folder.glob(f".*{PART}"):
        part.unlink(missing_ok=True)


class SaveOnExit(callbacks.Callback):
    """Saves the run at its end, also when SIGTERM or Ctrl-C ends it after the step that it is at."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._asked = torch.zeros((), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
        self.handlers: dict[signal.Signals, Any] = {}

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Take signals to a process for those that it forks meanwhile and that do the work: they stop, it waits."""
        self._set_handlers()
        try:
            yield
        finally:
            self._restore_handlers()

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self._set_handlers()

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        # Lightning's logs count one too many from where a run goes on after a validation that was its end.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if (index + 1) % trainer.accumulate_grad_batches:
            return  # a step that was half done could not be gone on with
        # All processes stop after the same step, or the others would wait for one for ever.
        if not trainer.strategy.reduce_boolean_decision(bool(self._asked), all=False):
            return
        trainer.should_stop = True
        if not _validates_now(trainer):
            trainer.limit_val_batches = 0  # Lightning would validate once more: it takes time, and schedules heed it

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self._restore_handlers()
        trainer.save_checkpoint(self.file, weights_only=False)

    def on_exception(self, *_: Any) -> None:
        self._restore_handlers()

    def _set_handlers(self) -> None:
        def stop(number: int, *_: Any) -> None:
            self._asked.fill_(True)
            signal.signal(number, handlers[signal.Signals(number)])  # asked twice, it ends at once

        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
            self.handlers = handlers

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


def _validates_now(trainer: lightning.Trainer) -> bool:
    """Whether the validation is due after the step that was just done."""
    batches = trainer.val_check_batch
    done = trainer.global_step * trainer.accumulate_grad_batches
    return trainer.enable_validation and batches is not None and done % batches == 0


class StepCheckpoints(callbacks.ModelCheckpoint):
    """Saves every so many steps; where a validation is due, after it, since it is not made up for by a resumed run."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        if not _validates_now(trainer):
            super().on_train_batch_end(trainer, *arguments)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            super().on_train_batch_end(trainer, module, None, None, 0)


def make_savers(folder: Path, *, every: int, keep: int, best: str | None, mode: str) -> list[callbacks.Callback]:
    """Callbacks that save every so many steps (step-001500.ckpt), the best by a figure, and the end of the run."""
    savers: list[callbacks.Callback] = [
        SaveOnExit(folder / LAST),
        StepCheckpoints(
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
