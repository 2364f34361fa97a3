"""The pictures of a recipe, the samples made of them, and the order in which the processes of a run see these."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Sampler, default_collate

from manypose.codecs.fields import FieldsCodec
from manypose.codecs.targets import RULES
from manypose.data.augment import Augmentation
from manypose.data.datasets import read_dataset, split
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import FieldSamples, NumberedSamples, Source
from manypose.data.top_down import TopDownAugmentation, TopDownSamples
from manypose.errors import DataError
from manypose.training.recipe import DataSource, Recipe
from manypose.training.task import Task

Samples = FieldSamples | TopDownSamples
BOTTOM_UP_SHIFT = 0.15  # of the crop; networks of one person's crops are not shifted unless a recipe says so
COLOURS = ("colour", "grey", "blur", "noise", "jpeg")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PictureSet:
    """The pictures of one data set of a recipe."""

    source: DataSource
    pictures: Sequence[LabelledPicture]


def read_pictures(task: Task, *, train: bool = True) -> tuple[list[PictureSet], list[PictureSet]]:
    """The sets to train on (unless `train` is False) and those to validate on, with the joints of the task's skeleton.

    What `val` names, or what `val_size` splits off each set, is validated on. Raises `DataError` as the readers do.
    """
    recipe = task.recipe
    val = [_read(task, source) for source in recipe.val]
    if not train:
        return [], val
    train_sets = [_read(task, source) for source in recipe.data]
    if recipe.val_size:
        parts = [split(group.pictures, recipe.val_size) for group in train_sets]
        val = [PictureSet(group.source, part[1]) for group, part in zip(train_sets, parts, strict=True)]
        train_sets = [PictureSet(group.source, part[0]) for group, part in zip(train_sets, parts, strict=True)]
    return train_sets, val


def _read(task: Task, source: DataSource) -> PictureSet:
    recipe = task.recipe
    assert source.file is not None
    places = {key: getattr(source, key) for key in ("images", "masks", "teacher")}
    pictures = read_dataset(
        recipe.root / source.file,
        task.skeleton,
        kind=source.kind,
        part=source.part,
        on_fault="skip" if recipe.skip_broken else "stop",
        **{key: recipe.root / place for key, place in places.items() if place is not None},
    )
    with_people = [picture for picture in pictures if len(picture)]
    logger.info("%s: %d pictures, %d with people", source.name, len(pictures), len(with_people))
    return PictureSet(source, with_people)


def make_samples(task: Task, sets: Sequence[PictureSet], *, preload: bool | None = None) -> Samples:
    """The augmented training samples of picture sets; an epoch has one for each picture, or each person of crops.

    `preload` keeps the decoded pictures in memory, None as the recipe says. Raises `DataError` when there are none.
    """
    recipe = task.recipe
    if isinstance(task.codec, FieldsCodec):
        samples = FieldSamples(
            [Source(group.pictures, augmentation(recipe, group.source), group.source.weight) for group in sets],
            task.codec,
            size=recipe.crop_size[0],
            count=recipe.epoch_samples or max(1, sum(len(group.pictures) for group in sets)),
            seed=recipe.seed,
            longest=recipe.longest,
            rules=RULES[recipe.target_rules],
            skip_broken=recipe.skip_broken,
        )
        if recipe.preload if preload is None else preload:
            samples.preload()
        return samples
    return TopDownSamples(
        [picture for group in sets for picture in _repeated(group)],
        task.skeleton,
        task.codec,
        size=recipe.crop_size,
        seed=recipe.seed,
        augmentation=crop_augmentation(recipe),
        joint_weights=recipe.joint_weights,
        skip_broken=recipe.skip_broken,
    )


def _repeated(group: PictureSet) -> list[LabelledPicture]:
    """The pictures as often as their set weighs; what is left after whole times goes to evenly chosen ones."""
    whole, rest = divmod(group.source.weight, 1)
    extra = np.linspace(0, len(group.pictures), round(rest * len(group.pictures)), endpoint=False).astype(int)
    return [*group.pictures] * int(whole) + [group.pictures[i] for i in extra]


def augmentation(recipe: Recipe, source: DataSource) -> Augmentation:
    """How far the samples of a bottom-up network may stray."""
    return Augmentation(
        person_size=recipe.person_size,
        rotation=recipe.rotation,
        any_rotation=source.any_rotation,
        shift=BOTTOM_UP_SHIFT if recipe.shift is None else recipe.shift,
        flip=recipe.flip,
        mosaic=recipe.mosaic,
        **{key: getattr(recipe, key) for key in COLOURS},
    )


def crop_augmentation(recipe: Recipe) -> TopDownAugmentation:
    """How far the samples of a top-down network may stray."""
    keys = ("padding", "scale", "rotation", "rotated", "shifted", "flip", "half_body", "half_body_joints", *COLOURS)
    values = {key: getattr(recipe, key) for key in keys}
    return TopDownAugmentation(shift=recipe.shift or 0.0, upper=recipe.half_body_upper, **values)


def make_loader(recipe: Recipe, samples: NumberedSamples, *, first_step: int = 0) -> DataLoader[Any]:
    """The batches of one process from an optimiser's step on, to the end of the run and as many again as were done.

    Lightning counts on from the steps that were done and ends the run by itself.
    """
    stream = SampleStream(
        len(samples),
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        first=first_step * recipe.samples_per_step,
        batches=steps_of(recipe, len(samples)) * recipe.accumulate,
    )
    return DataLoader(
        samples,
        batch_size=recipe.batch_size,
        sampler=stream,
        num_workers=recipe.workers,
        worker_init_fn=single_thread,
        prefetch_factor=8 if recipe.workers else None,
        persistent_workers=recipe.workers > 0,
    )


def make_served_loader(task: Task) -> DataLoader[Any]:
    """The batches that sample servers have made; raises `DataError` for samples of another recipe as they come."""
    from manypose.data.serving.access import read_key
    from manypose.data.serving.client import ServedSamples

    recipe = task.recipe
    (source,) = recipe.data
    key = None if source.server_key is None else read_key(recipe.root / source.server_key)
    heatmaps = len(task.skeleton) + 1
    served = ServedSamples(source.server, mode=source.server_mode, split="train", key=key, heatmaps=heatmaps)
    collate = functools.partial(_batch_of_served, shapes=_sample_shapes(task), server=source.name)
    return DataLoader(
        served, batch_size=recipe.batch_size, num_workers=recipe.workers, drop_last=True, collate_fn=collate
    )


def _sample_shapes(task: Task) -> dict[str, tuple[int, ...]]:
    width, height = task.recipe.crop_size
    assert isinstance(task.codec, FieldsCodec)  # servers make no others
    grid = (height // task.codec.stride, width // task.codec.stride)
    heatmaps, fields = len(task.skeleton) + 1, 2 * len(task.skeleton.fields)
    channels = {"heatmaps": heatmaps, "fields": fields, "weights": heatmaps + fields}
    return {"picture": (3, height, width), **{name: (count, *grid) for name, count in channels.items()}}


def _batch_of_served(
    samples: list[dict[str, torch.Tensor]], *, shapes: dict[str, tuple[int, ...]], server: str
) -> dict[str, torch.Tensor]:
    for sample in samples:
        for name, shape in shapes.items():
            found = tuple(sample[name].shape) if name in sample else "none"
            if found != shape:
                raise DataError(
                    f"data: {server} sends {name} of shape {found}, where this recipe has {shape}: serve a recipe of "
                    "the same skeleton, size and network"
                )
    batch: dict[str, torch.Tensor] = default_collate([{name: sample[name] for name in shapes} for sample in samples])
    return batch


def steps_of(recipe: Recipe, epoch_samples: int) -> int:
    """Steps of the optimiser in the whole run; an epoch that ends within one is counted as whole."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    assert recipe.max_epochs is not None
    return math.ceil(recipe.max_epochs * epoch_length(recipe, epoch_samples))


def epoch_length(recipe: Recipe, epoch_samples: int) -> float:
    """Steps of the optimiser in which every sample is seen once."""
    return epoch_samples / recipe.samples_per_step


class SampleStream(Sampler[int]):
    """The numbers of the samples that one process sees; number n is sample n % count of epoch n // count.

    All processes together see the samples of an epoch once each, in an order of its own that (seed, epoch) alone
    decides, and then those of the next one: a batch may hold the end of an epoch and the start of another. Which
    samples make up a step depends only on how many it takes, so a run of two processes sees in each step what one with
    twice the batch does. `first` samples were seen before by all processes.
    """

    def __init__(self, count: int, *, seed: int, batch_size: int, first: int, batches: int) -> None:
        if count < 1:
            raise DataError("there are no samples to train on; check the files of the data sets")
        self.count, self.seed, self.batch_size, self.first, self.batches = count, seed, batch_size, first, batches

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rank, processes = rank_of_all()
        epoch, order = -1, np.zeros(0, np.int64)
        for batch in range(self.batches):
            start = self.first + (batch * processes + rank) * self.batch_size
            for place in range(start, start + self.batch_size):
                if place // self.count != epoch:
                    epoch = place // self.count
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
                yield epoch * self.count + int(order[place % self.count])


def rank_of_all() -> tuple[int, int]:
    """Which of how many processes this is."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def single_thread(_: int) -> None:
    """Keep a worker process to one thread: there are as many workers as are wanted."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def data_files(recipe: Recipe) -> dict[str, Path]:
    """The files of labels that a run is made from, by the name that the recipe gives them."""
    sources = [*recipe.data, *recipe.val]
    named = [path for source in sources for path in (source.file, source.teacher, source.masks) if path is not None]
    return {str(path): recipe.root / path for path in named}
