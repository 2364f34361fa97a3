"""A self-test: can the pipeline, from labels to decoded joints, learn a handful of pictures by heart?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from manypose.errors import DataError
from manypose.training.devices import check_devices
from manypose.training.loaders import SampleStream, read_pictures
from manypose.training.module import Training
from manypose.training.recipe import Recipe
from manypose.training.task import make_task
from manypose.training.validation import Validation, make_validation

GOAL = 0.9  # AP from which on the pictures count as learnt
LOOK_EVERY = 25  # steps


@dataclass(frozen=True)
class Overfit:
    """How well a number of pictures was learnt by heart: AP, the loss, and the steps that it took."""

    pictures: int
    average_precision: float
    loss: float
    steps: int

    @property
    def has_learnt(self) -> bool:
        """Whether the pipeline can learn at all."""
        return self.average_precision > GOAL


def overfit(recipe: Recipe, count: int, *, most_steps: int = 1500, progress: bool = False) -> Overfit:
    """Train on the first `count` pictures with people, as they are, until their AP is above 0.9, or for `most_steps`.

    Network, targets, loss, optimiser and decoder are those of the recipe; augmentation, averaged weights, schedule and
    freezing are left out, since they only stand in the way here. Nothing is written. Raises `DataError` when there are
    no pictures, and what training raises.
    """
    steady = recipe.model_copy(
        update={
            "schedule": "constant",
            "warmup_steps": 20,
            "max_steps": most_steps,
            "max_epochs": None,
            "average": 0.0,
            "parameters": [],
            "frozen_norms": False,
            "weight_decay": 0.0,
            "accumulate": 1,
            "devices": 1,
            "val_size": 0.0,
            "val": [],
            "val_batch_size": count,
            "workers": 0,
            "example_pictures": 0,
        }
    )
    check_devices(steady)
    lightning.seed_everything(recipe.seed, verbose=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    task = make_task(steady)
    validation = make_validation(task, _first(read_pictures(task)[0], count))
    if validation is None:
        raise DataError("there are no pictures with people to learn; check the files of the data sets")
    pictures = len({picture.name for picture in _pictures(validation)})
    samples = _Again(validation.samples)
    batch = min(recipe.batch_size, len(samples))
    stream = SampleStream(len(samples), seed=recipe.seed, batch_size=batch, first=0, batches=most_steps)
    module = Training(task, steps=most_steps, epoch_length=len(samples) / batch, validation=validation)
    stop = _StopWhenLearnt()
    trainer = lightning.Trainer(
        accelerator=recipe.device,
        devices=1,
        max_steps=most_steps,
        max_epochs=-1,
        gradient_clip_val=recipe.gradient_norm,
        precision=recipe.precision,
        val_check_interval=LOOK_EVERY,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        callbacks=[stop],
    )
    trainer.fit(module, DataLoader(samples, batch_size=batch, sampler=stream), validation.loader())
    return Overfit(
        pictures, stop.figures.get("val_metric", 0.0), stop.figures.get("val_loss", 0.0), trainer.global_step
    )


def _first(sets: list[Any], count: int) -> list[Any]:
    """The first `count` pictures of all sets together."""
    taken = []
    for group in sets:
        taken.append(dataclasses.replace(group, pictures=group.pictures[:count]))
        count -= len(taken[-1].pictures)
    return taken


def _pictures(validation: Validation) -> list[Any]:
    samples = validation.samples
    return list(samples.pictures if hasattr(samples, "pictures") else samples.samples.pictures)


class _Again(Dataset[dict[str, Tensor]]):
    """The same few samples for every epoch."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples
        self.kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        place = index % len(self.samples)
        if place not in self.kept:
            self.kept[place] = self.samples[place]
        return self.kept[place]


class _StopWhenLearnt(callbacks.Callback):
    """Ends the run once the pictures are learnt, and keeps the last figures."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def on_validation_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.figures.get("val_metric", 0.0) > GOAL:
            trainer.should_stop = True
