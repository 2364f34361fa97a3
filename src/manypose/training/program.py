"""The one training program: a recipe in, checkpoints and logs out."""

from __future__ import annotations

import logging
import pickle
import signal
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch import callbacks, loggers
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.convert.checkpoint import Checkpoint, load_checkpoint
from manypose.convert.export import read_weights
from manypose.convert.layout import COUNTER, load_into
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import FieldSamples, Source
from manypose.errors import OutputError, RecipeError
from manypose.skeleton import Skeleton, load_skeleton
from manypose.training.module import BottomUpTraining
from manypose.training.recipe import DataSource, Recipe

LAST = "last.ckpt"
# What torch.load raises for a file that is no checkpoint, and what one without the right content does.
BROKEN = (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, struct.error, pickle.UnpicklingError)
logger = logging.getLogger(__name__)


def train(recipe: Recipe, *, progress: bool = True) -> Path:
    """Train by a recipe; gives the path of the last checkpoint (averaged weights in `state_dict`).

    Writes `recipe.yaml`, CSV and TensorBoard logs and checkpoints to the folder `out/name`. After SIGTERM or Ctrl-C the
    run ends with the step that it is at and is saved as usual; `resume` goes on from there as if nothing had happened.
    Raises `RecipeError`, `DataError`, and `OutputError` where a run of this name is there, before anything starts.
    """
    folder = recipe.out / recipe.name
    if recipe.resume and not recipe.resume.is_file():
        raise RecipeError(f"resume: {recipe.resume} is not there")
    resumed = recipe.resume is not None and recipe.resume.resolve().parent == folder.resolve()
    if (folder / "recipe.yaml").exists() and not resumed:
        raise OutputError(f"{folder}: a run of this name is there; choose another name, or resume a checkpoint of it")
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    module = BottomUpTraining(recipe)
    if recipe.init:
        _init(module, recipe.init)
    first_step = _step_of(recipe.resume) if recipe.resume else 0
    loader = make_loader(recipe, first_step=first_step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    trainer = _make_trainer(recipe, folder, progress, first_step)
    trainer.fit(module, loader, ckpt_path=recipe.resume, weights_only=True)
    return folder / LAST


def make_loader(recipe: Recipe, *, first_step: int = 0) -> DataLoader[Any]:
    """The batches of a recipe from a step on; see `FieldSamples`.

    There are always as many as the whole recipe has: Lightning counts on from the steps that were done, and ends the
    run by `max_steps`.
    """
    skeleton = load_skeleton(recipe.skeleton)
    codec = FieldsCodec(skeleton, stride=recipe.stride, sigma=recipe.sigma, limb_width=recipe.limb_width)
    sources = [
        Source(
            pictures=_pictures_with_people(recipe.root, s, skeleton),
            augmentation=Augmentation(
                person_size=recipe.person_size,
                rotation=recipe.rotation,
                mosaic=recipe.mosaic,
                colour=recipe.colour,
                any_rotation=s.any_rotation,
            ),
            weight=s.weight,
        )
        for s in recipe.data
    ]
    for source, given in zip(sources, recipe.data, strict=True):
        logger.info("%s: %d pictures with people", given.file, len(source.pictures))
    samples = FieldSamples(
        sources,
        codec,
        size=recipe.size,
        first=first_step * recipe.batch_size * recipe.devices,
        count=recipe.max_steps * recipe.batch_size * recipe.devices,
        seed=recipe.seed,
        longest=recipe.longest,
    )
    if recipe.preload:
        samples.preload()
    return DataLoader(
        samples,
        batch_size=recipe.batch_size,
        num_workers=recipe.workers,
        worker_init_fn=_single_thread,
        prefetch_factor=8 if recipe.workers else None,
    )


def _pictures_with_people(root: Path, source: DataSource, skeleton: Skeleton) -> list[LabelledPicture]:
    teacher = root / source.teacher if source.teacher else None
    return [picture for picture in read_coco(root / source.file, skeleton, teacher=teacher) if len(picture.keypoints)]


def _single_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _step_of(checkpoint: Path) -> int:
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except BROKEN as error:
        raise RecipeError(f"resume: {checkpoint} is not a checkpoint: {' '.join(str(error).split())}") from None


def _init(module: BottomUpTraining, file: Path) -> None:
    """Start from the averaged weights of a checkpoint, or of a model file, of the same network, or from a backbone.

    A backbone (`manypose convert`) brings only some of the tensors; which ones it does not is logged.
    """
    try:
        if file.suffix == ".safetensors":
            _start_from(module.network, load_checkpoint(file), file)
        elif file.suffix == ".onnx":
            counters = {k: v for k, v in module.network.state_dict().items() if k.endswith(COUNTER)}
            module.network.load_state_dict(counters | read_weights(file))
        else:
            module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state_dict"])
    except BROKEN as error:
        raise RecipeError(f"init: {file} does not fit: {' '.join(str(error).split())}") from None


def _start_from(network: torch.nn.Module, checkpoint: Checkpoint, file: Path) -> None:
    state = network.state_dict()
    unknown = [name for name in checkpoint.tensors if name not in state]
    if unknown:
        raise RecipeError(f"init: {file} holds weights of {checkpoint.header.network}: {unknown[0]} has no place here")
    absent = [name for name in state if name not in checkpoint.tensors and not name.endswith(COUNTER)]
    if absent and checkpoint.header.metadata is not None:
        raise RecipeError(f"init: {file} lacks {absent[0]} of the network")
    load_into(network, checkpoint.tensors, absent=absent)
    for name in absent:
        logger.info("init: %s is not in %s and starts anew", name, file)


def _make_trainer(recipe: Recipe, folder: Path, progress: bool, first_step: int) -> lightning.Trainer:
    # A CSV log is written anew by each run, so one that goes on has its own.
    part = f"from_step_{first_step}" if first_step else ""
    watchers: Sequence[callbacks.Callback] = [
        _SaveOnExit(folder / LAST),
        callbacks.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=recipe.checkpoint_every, save_top_k=1),
        callbacks.EMAWeightAveraging(decay=recipe.average**4, update_every_n_steps=4),
        callbacks.LearningRateMonitor("step"),
        *([callbacks.RichProgressBar(refresh_rate=10)] if progress else []),
    ]
    return lightning.Trainer(
        accelerator=recipe.device,
        devices=recipe.devices,
        # On a CPU several processes of one thread do more than one with several threads; forked, they share pictures.
        strategy="ddp_fork" if recipe.devices > 1 and recipe.device == "cpu" else "auto",
        precision=recipe.precision,
        max_steps=recipe.max_steps,
        max_epochs=-1,
        gradient_clip_val=recipe.gradient_norm,
        log_every_n_steps=recipe.log_every,
        logger=[
            loggers.CSVLogger(folder, name="", version=part),
            loggers.TensorBoardLogger(folder, name="", version=""),
        ],
        callbacks=list(watchers),
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


class _SaveOnExit(callbacks.Callback):
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
