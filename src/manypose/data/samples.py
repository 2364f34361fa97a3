"""Training samples for bottom-up networks: an augmented picture, its target maps and the weight of every cell."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manypose import geometry
from manypose.codecs.fields import FieldsCodec
from manypose.codecs.targets import OURS, TargetRules, encode_targets
from manypose.data import areas, augment
from manypose.data.augment import Augmentation, Crop
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError

Array = NDArray[np.float32]
MOST_TRIES = 100  # pictures that cannot be read one after another, after which the data set is taken for broken
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures of one data set; `weight` is how often one of its pictures is drawn beside those of other sets."""

    pictures: Sequence[LabelledPicture]
    augmentation: Augmentation
    weight: float = 1.0


class NumberedSamples(Dataset[dict[str, Tensor]]):
    """Samples that depend on (seed, epoch, index) alone: whoever makes them, in whatever order, they are the same.

    The samples of an epoch follow those of the one before in one row of numbers, first + epoch * count + index, and an
    index above the epoch's simply goes on in that row. Raises `DataError` for a picture that cannot be read; with
    `skip_broken` it is logged and another one is drawn in its place, the same one each time.
    """

    def __init__(self, *, count: int, seed: int, first: int, skip_broken: bool) -> None:
        self.count = count
        self.seed = seed
        self.first = first
        self.skip_broken = skip_broken
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # worker processes see it change

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """The samples from now on are those of this epoch, counted from 0; call it before a loader begins with it."""
        self._epoch.fill_(epoch)

    def random(self, index: int) -> np.random.Generator:
        """The generator of all that is random in a sample of the present epoch."""
        return np.random.default_rng([self.seed, self.first + int(self._epoch) * self.count + index])

    def skip(self, error: DataError, tries: int) -> None:
        """Go on after a broken picture, or raise `error`."""
        if not self.skip_broken or tries >= MOST_TRIES:
            raise error
        logger.warning("skipped: %s", error)


class FieldSamples(NumberedSamples):
    """`count` samples from the one called `first` on, for networks with heatmaps and fields; see `NumberedSamples`.

    A sample holds `picture` (3, size, size) uint8 RGB, `heatmaps` (K + 1, h, w) and `fields` (2L, h, w) float32, and
    `weights` (K + 1 + 2L, h, w) uint8: 0 where the labels cannot tell, else 1. `rules` are those of the targets.
    Pictures are read each time, unless `preload` has kept them, shrunk to `longest` pixels. Raises `DataError` when no
    source has a picture.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        codec: FieldsCodec,
        *,
        size: int,
        count: int,
        seed: int,
        first: int = 0,
        longest: int = 400,
        rules: TargetRules = OURS,
        skip_broken: bool = False,
    ) -> None:
        super().__init__(count=count, seed=seed, first=first, skip_broken=skip_broken)
        self.sources = tuple(sources)
        self.codec = codec
        self.size = size
        self.longest = longest
        self.rules = rules
        if not any(len(source.pictures) for source in self.sources):
            raise DataError("there are no pictures to make samples from; check the files of the data sets")
        self._chances = np.cumsum([source.weight * len(source.pictures) for source in self.sources])
        self._kept: dict[tuple[int, int], tuple[LabelledPicture, NDArray[np.uint8]]] = {}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = self.random(index)
        source = self._draw_source(random)
        mosaic = random.uniform() < self.sources[source].augmentation.mosaic
        picture, heatmaps, fields, weights = self._mosaic(random) if mosaic else self._single(random, source)
        return {
            "picture": torch.from_numpy(to_planes(picture)),
            "heatmaps": torch.from_numpy(heatmaps),
            "fields": torch.from_numpy(fields),
            "weights": torch.from_numpy(weights),
        }

    def preload(self, most_bytes: int | None = None) -> None:
        """Read pictures now and keep them decoded: processes that are forked afterwards share them.

        How much memory all of them take is logged before any is read. They are kept as far as `most_bytes` go (half of
        the memory that is free, if not given); the others are read each time, as without, which a warning says. The
        samples are the same.
        """
        keys = [(s, i) for s, source in enumerate(self.sources) for i in range(len(source.pictures))]
        sizes = np.cumsum([3 * math.prod(self.sources[s].pictures[i].size_within(self.longest)) for s, i in keys])
        most = free_memory() // 2 if most_bytes is None else most_bytes
        kept = keys[: int(np.searchsorted(sizes, most, side="right"))]
        logger.info("%d pictures of at most %d pixels take %.1f GB", len(keys), self.longest, sizes[-1] / 1e9)
        if len(kept) < len(keys):
            text = "only %d of %d pictures are kept in memory: all take %.1f GB of the %.1f GB that may be used; set "
            text += "preload: false, or make longest smaller"
            logger.warning(text, len(kept), len(keys), sizes[-1] / 1e9, most / 1e9)
        with ThreadPoolExecutor() as pool:  # decoding and shrinking release the interpreter's lock
            for key, picture in zip(kept, pool.map(self._read, kept), strict=True):
                if picture is not None:
                    self._kept[key] = picture

    def _read(self, key: tuple[int, int]) -> tuple[LabelledPicture, NDArray[np.uint8]] | None:
        source, index = key
        try:
            return self.sources[source].pictures[index].shrunk(self.longest)
        except DataError as error:
            self.skip(error, 0)
            return None

    def _draw_source(self, random: np.random.Generator) -> int:
        return int(np.searchsorted(self._chances, random.uniform() * self._chances[-1], side="right"))

    def _single(
        self, random: np.random.Generator, source: int, size: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.uint8], Array, Array, NDArray[np.uint8]]:
        """Picture, heatmaps, fields and weights of one crop of `size` (w, h)."""
        size = size or (self.size, self.size)
        labels, picture = self._draw_picture(random, source)
        settings = self.sources[source].augmentation
        crop = augment.random_crop(labels, picture, size, settings, self.codec.skeleton, random)
        heatmaps, fields = encode_targets(crop.keypoints, size, self.codec, self.rules)
        try:
            weights = cell_weights(labels, crop, size, self.codec)
        except DataError as error:
            self.skip(error, 0)
            weights = np.zeros((len(heatmaps) + len(fields), *heatmaps.shape[1:]), np.uint8)  # nothing can be learned
        return augment.change_colours(crop.picture, settings, random), heatmaps, fields, weights

    def _mosaic(self, random: np.random.Generator) -> tuple[NDArray[np.uint8], Array, Array, NDArray[np.uint8]]:
        """Four crops side by side; they meet at a random place, on a border of cells."""
        stride, size = self.codec.stride, self.size
        x, y = (stride * int(random.integers(size // (3 * stride), 2 * size // (3 * stride) + 1)) for _ in "xy")
        picture = np.empty((size, size, 3), np.uint8)
        cells = size // stride
        limbs = 2 * len(self.codec.skeleton.fields)
        joints = len(self.codec.skeleton) + 1
        heatmaps = np.empty((joints, cells, cells), np.float32)
        fields = np.empty((limbs, cells, cells), np.float32)
        weights = np.empty((joints + limbs, cells, cells), np.uint8)
        for left, right in ((0, x), (x, size)):
            for top, bottom in ((0, y), (y, size)):
                part = self._single(random, self._draw_source(random), (right - left, bottom - top))
                picture[top:bottom, left:right] = part[0]
                place = np.s_[:, top // stride : bottom // stride, left // stride : right // stride]
                heatmaps[place], fields[place], weights[place] = part[1:]
        return picture, heatmaps, fields, weights

    def _draw_picture(self, random: np.random.Generator, source: int) -> tuple[LabelledPicture, NDArray[np.uint8]]:
        pictures = self.sources[source].pictures
        for tries in range(1, MOST_TRIES + 1):
            index = int(random.integers(len(pictures)))
            try:
                return self._kept.get((source, index)) or pictures[index].shrunk(self.longest)
            except DataError as error:
                self.skip(error, tries)
        raise AssertionError("the last try raises")


def to_planes(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h, w, 3) as (3, h, w): twice as fast as a transposed copy of NumPy's."""
    planes = np.empty((3, *picture.shape[:2]), np.uint8)
    cv2.split(picture, list(planes))
    return planes


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has free, and what its control group allows (Linux).

    Where neither is known, 4 GiB are assumed.
    """
    free = [int(row.split()[1]) * 1024 for row in _lines("/proc/meminfo") if row.startswith("MemAvailable:")]
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdigit() and used[0].isdigit():
        free.append(max(0, int(limit[0]) - int(used[0])))
    return min(free, default=2**32)


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []


def cell_weights(labels: LabelledPicture, crop: Crop, size: tuple[int, int], codec: FieldsCodec) -> NDArray[np.uint8]:
    """Weights (K + 1 + 2L, h, w): 0 in the areas of people without labels and, in the channels of a joint that may
    be there unlabelled, in the area of its person."""
    width, height = codec.grid(size)
    skeleton = codec.skeleton
    ends = np.array(skeleton.fields, np.intp).reshape(-1, 2)
    known = 1 - areas.unlabelled_cells(labels, crop.matrix, (width, height), codec.stride)
    weights = np.repeat(known[None], len(skeleton) + 1 + 2 * len(ends), axis=0)
    area = np.zeros((height, width), np.uint8)
    for quad, unsure in zip(crop.quads, crop.unsure, strict=True):
        if unsure.any():
            area[:] = 0
            areas.fill(area, np.asarray(geometry.pixel_to_cell(quad, codec.stride), np.float32), 1)
            limbs = np.repeat(unsure[ends].any(axis=1), 2)
            channels = np.concatenate([unsure, [True], limbs])
            weights[np.ix_(channels)] *= 1 - area
    return weights
