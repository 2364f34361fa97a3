"""The one training program: a recipe in, checkpoints and logs out."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch import callbacks, loggers
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.samples import FieldSamples, Source
from manypose.errors import RecipeError
from manypose.skeleton import load_skeleton
from manypose.training.module import BottomUpTraining
from manypose.training.recipe import Recipe

LAST = "last.ckpt"
logger = logging.getLogger(__name__)


def train(recipe: Recipe, *, progress: bool = True) -> Path:
    """Train by a recipe; gives the path of the last checkpoint (averaged weights in `state_dict`).

    Writes `recipe.yaml`, CSV and TensorBoard logs and checkpoints to the folder `out/name`. SIGTERM and Ctrl-C save
    the run before it ends. Raises `RecipeError` and `DataError` before anything starts.
    """
    folder = recipe.out / recipe.name
    if recipe.resume and not recipe.resume.is_file():
        raise RecipeError(f"resume: {recipe.resume} is not there")
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    module = BottomUpTraining(recipe)
    if recipe.init:
        _init(module, recipe.init)
    loader = make_loader(recipe, first_step=_step_of(recipe.resume) if recipe.resume else 0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    trainer = _make_trainer(recipe, folder, progress)
    trainer.fit(module, loader, ckpt_path=recipe.resume, weights_only=True)
    return folder / LAST


def make_loader(recipe: Recipe, *, first_step: int = 0) -> DataLoader[Any]:
    """The batches of a recipe from a step on to its last; see `FieldSamples`."""
    skeleton = load_skeleton(recipe.skeleton)
    codec = FieldsCodec(skeleton, stride=recipe.stride, sigma=recipe.sigma, limb_width=recipe.limb_width)
    sources = [
        Source(
            pictures=[p for p in read_coco(recipe.root / s.file, skeleton, teacher=recipe.root / s.teacher if s.teacher else None) if len(p.keypoints)],
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
        count=max(0, recipe.max_steps - first_step) * recipe.batch_size * recipe.devices,
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


def _single_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


def _init(module: BottomUpTraining, file: Path) -> None:
    """Start from the averaged weights of a checkpoint of the same network."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    except (OSError, KeyError, RuntimeError) as error:
        raise RecipeError(f"init: {file} does not fit: {' '.join(str(error).split())}") from None


def _make_trainer(recipe: Recipe, folder: Path, progress: bool) -> lightning.Trainer:
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
        # On a CPU several single-threaded processes do more than one with several threads; forked, they share pictures.
        strategy="ddp_fork" if recipe.devices > 1 and recipe.device == "cpu" else "auto",
        precision=recipe.precision,
        max_steps=recipe.max_steps,
        max_epochs=1,
        gradient_clip_val=recipe.gradient_norm,
        log_every_n_steps=recipe.log_every,
        logger=[loggers.CSVLogger(folder, name="", version=""), loggers.TensorBoardLogger(folder, name="", version="")],
        callbacks=list(watchers),
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


class _SaveOnExit(callbacks.Callback):
    """Saves the run at its end, also when the end is SIGTERM."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        def stop(*_: Any) -> None:
            trainer.should_stop = True

        signal.signal(signal.SIGTERM, stop)

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.file)
