"""The one training program: a recipe in, checkpoints and logs out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch import callbacks
from torch.multiprocessing.spawn import ProcessException

from manypose.errors import ManyposeError, OutputError, RecipeError
from manypose.training.devices import check_devices, runs_on_cpu
from manypose.training.examples import ExamplePictures
from manypose.training.loaders import (
    PictureSet,
    epoch_length,
    make_loader,
    make_samples,
    make_served_loader,
    read_pictures,
    steps_of,
)
from manypose.training.mishaps import ForkingTrainer, StopAtBadNumbers, explain
from manypose.training.module import Training
from manypose.training.provenance import describe_run
from manypose.training.recipe import Recipe
from manypose.training.saving import (
    LAST,
    CsvLog,
    SafeCheckpoints,
    SaveOnExit,
    TensorBoardLog,
    make_savers,
    remove_parts,
)
from manypose.training.start import Taken, read_step, start_from
from manypose.training.task import Task, make_task
from manypose.training.validation import Validation, make_validation, names_of

FORKED = "ddp_fork"


def train(recipe: Recipe, *, progress: bool = True, watchers: Sequence[callbacks.Callback] = ()) -> Path:
    """Train by a recipe; gives the path of the last checkpoint (averaged weights in `state_dict`).

    Writes `recipe.yaml`, `provenance.yaml`, `init.txt` (which tensors `init` gave), `val.txt` (what `val_size` has
    split off), CSV and TensorBoard logs and checkpoints to the folder `out/name`. After SIGTERM or Ctrl-C the run
    ends with the step that it is at and is saved as usual; `resume` goes on from there as if nothing had happened.
    `watchers` are callbacks of Lightning that see the run beside our own.

    Raises `RecipeError`, `DataError`, and `OutputError` where a run of this name is there, before anything starts;
    `TrainingError` for a loss that is no number and for too little memory.
    """
    check_devices(recipe)
    _check_launch(recipe)
    is_first = not _get_rank()  # of several processes that were each started with this command
    folder = _check_folder(recipe, is_first=is_first)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    first_step = read_step(recipe.resume) if recipe.resume else 0
    task = make_task(recipe)
    loader, count, validation = _open_data(task, first_step)
    steps = steps_of(recipe, count)
    module = Training(task, steps=steps, epoch_length=epoch_length(recipe, count), validation=validation)
    taken = start_from(module.network, recipe.init) if recipe.init and not recipe.resume else None
    module.provenance = provenance = describe_run(recipe)
    if is_first:
        _describe(folder, recipe, provenance, taken, validation)
    trainer = _make_trainer(recipe, folder, progress, first_step, steps, validation, watchers)
    before = _changed(folder / LAST)
    _fit(trainer, module, loader, recipe)
    if is_first and _changed(folder / LAST) == before:
        newest = max(folder.glob("step-*.ckpt"), default=None)
        rest = f"make room and `resume` {newest}, the newest checkpoint" if newest else "there is no checkpoint of it"
        raise OutputError(f"{folder / LAST}: the end of the run could not be saved, since the disk is full; {rest}")
    return folder / LAST


def _changed(file: Path) -> int | None:
    """When a file was written; None where there is none."""
    return file.stat().st_mtime_ns if file.exists() else None


def _describe(
    folder: Path, recipe: Recipe, provenance: dict[str, Any], taken: Taken | None, validation: Validation | None
) -> None:
    """Write what the run is to its folder, before it starts."""
    texts = {
        "init.txt": None if taken is None else str(taken),
        "recipe.yaml": yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False),
        "provenance.yaml": yaml.safe_dump(provenance, sort_keys=False),
        "val.txt": names_of(validation) if recipe.val_size and validation is not None else None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_parts(folder)
        for name, text in texts.items():
            if text is not None:
                (folder / name).write_text(text)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to: {error.strerror}") from None


def _fit(trainer: lightning.Trainer, module: Training, loader: Any, recipe: Recipe) -> None:
    """Run it, in the processes that it takes; raises what a user can do something about as `ManyposeError`."""
    saver = next(watcher for watcher in trainer.callbacks if isinstance(watcher, SaveOnExit))  # type: ignore[attr-defined]
    val = None if module.validation is None else module.validation.loader()
    try:
        with saver.listen() if isinstance(trainer, ForkingTrainer) else contextlib.nullcontext():
            trainer.fit(module, loader, val, ckpt_path=recipe.resume, weights_only=True)
    except (ManyposeError, RuntimeError, MemoryError, ProcessException) as error:
        explained = (trainer.first_error() if isinstance(trainer, ForkingTrainer) else None) or explain(error, recipe)
        if explained is None:
            raise
        raise explained from None


def _check_launch(recipe: Recipe) -> None:
    """Raise `RecipeError` where a launcher has started another number of processes than the recipe says."""
    started = int(os.environ.get("WORLD_SIZE", 1)) if TorchElasticEnvironment.detect() else recipe.processes
    if started != recipe.processes:
        raise RecipeError(
            f"devices: torchrun has started {started} processes, the recipe has {recipe.processes} (devices x nodes): "
            "make them the same"
        )


def _check_folder(recipe: Recipe, *, is_first: bool) -> Path:
    folder = recipe.out / recipe.name
    if recipe.resume and not recipe.resume.is_file():
        raise RecipeError(f"resume: {recipe.resume} is not there")
    resumed = recipe.resume is not None and recipe.resume.resolve().parent == folder.resolve()
    if is_first and (folder / "recipe.yaml").exists() and not resumed:
        raise OutputError(f"{folder}: a run of this name is there; choose another name, or resume a checkpoint of it")
    return folder


def _open_data(task: Task, first_step: int) -> tuple[Any, int, Validation | None]:
    """The batches from a step on, the samples of an epoch, and what is validated on."""
    recipe = task.recipe
    if recipe.data[0].server:
        if recipe.epoch_samples is None and (recipe.max_steps is None or recipe.schedule_unit == "epochs"):
            raise RecipeError("epoch_samples: say how many samples of the server make an epoch")
        count = recipe.epoch_samples or recipe.samples_per_step
        val = read_pictures(task, train=False)[1]
        return make_served_loader(task), count, make_validation(task, val)
    train, val = read_pictures(task)
    _refuse_overlap(train, val)
    samples = make_samples(task, train)
    return make_loader(recipe, samples, first_step=first_step), len(samples), make_validation(task, val)


def _refuse_overlap(train: Sequence[PictureSet], val: Sequence[PictureSet]) -> None:
    """Raise `RecipeError` for a picture that is trained on and validated on."""
    seen = {(picture.archive.resolve(), picture.name) for group in train for picture in group.pictures}
    for group in val:
        for picture in group.pictures:
            if (picture.archive.resolve(), picture.name) in seen:
                raise RecipeError(f"val: {picture.name} of {group.source.name} is among the pictures to train on, too")


def _make_trainer(
    recipe: Recipe,
    folder: Path,
    progress: bool,
    first_step: int,
    steps: int,
    validation: Validation | None,
    more: Sequence[callbacks.Callback],
) -> lightning.Trainer:
    # A CSV log is written anew by each run, so one that goes on has its own.
    part = f"from_step_{first_step}" if first_step else ""
    monitor = None if validation is None else f"val_{recipe.monitor}"
    mode = "max" if recipe.monitor == "metric" else "min"
    watchers: list[callbacks.Callback] = [
        *make_savers(folder, every=recipe.checkpoint_every, keep=recipe.keep, best=monitor, mode=mode),
        StopAtBadNumbers(folder),
        callbacks.LearningRateMonitor("step"),
    ]
    if recipe.average:
        watchers.append(callbacks.EMAWeightAveraging(decay=recipe.average**4, update_every_n_steps=4))
    if recipe.patience is not None and monitor is not None:
        watchers.append(callbacks.EarlyStopping(monitor, patience=recipe.patience, mode=mode))
    if validation is not None and recipe.example_pictures:
        watchers.append(ExamplePictures(validation))
    if progress:
        watchers.append(callbacks.RichProgressBar(refresh_rate=10))
    watchers += more
    strategy = _strategy(recipe)
    return (ForkingTrainer if strategy == FORKED else lightning.Trainer)(
        accelerator=recipe.device,
        devices=list(recipe.devices) if isinstance(recipe.devices, tuple) else recipe.devices,
        num_nodes=recipe.nodes,
        strategy=strategy,
        precision=recipe.precision,
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=recipe.gradient_norm,
        accumulate_grad_batches=recipe.accumulate,
        val_check_interval=None if validation is None else recipe.val_every * recipe.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0 if validation is None else 1,
        limit_val_batches=None if validation is not None else 0,
        use_distributed_sampler=False,
        log_every_n_steps=recipe.log_every,
        logger=[
            CsvLog(folder, name="", version=part),
            TensorBoardLog(folder, name="", version="", default_hp_metric=False),
        ],
        callbacks=watchers,
        plugins=[SafeCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def _strategy(recipe: Recipe) -> str:
    if recipe.processes == 1:
        return "auto"
    # On a CPU several processes of one thread do more than one with several threads; forked, they share pictures.
    is_launched = TorchElasticEnvironment.detect() or SLURMEnvironment.detect()
    return FORKED if runs_on_cpu(recipe) and recipe.nodes == 1 and not is_launched else "ddp"
