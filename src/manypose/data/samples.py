"""Training samples for bottom-up networks: an augmented picture, its target maps and the weight of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manypose import geometry
from manypose.codecs.fields import FieldsCodec
from manypose.data import augment
from manypose.data.augment import Augmentation, Crop
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures of one data set; `weight` is how often one of its pictures is drawn beside those of other sets."""

    pictures: Sequence[LabelledPicture]
    augmentation: Augmentation
    weight: float = 1.0


class FieldSamples(Dataset[dict[str, Tensor]]):
    """`count` samples from the one called `first` on; each depends on (seed, its number) alone, whoever makes it.

    A sample holds `picture` (3, size, size) uint8 RGB, `heatmaps` (K + 1, h, w) and `fields` (2L, h, w) float32, and
    `weights` (K + 1 + 2L, h, w) uint8: 0 where the labels cannot tell, else 1. Pictures are kept decoded, shrunk to
    `longest` pixels, so that a set of photos is read once. Raises `DataError` when no source has a picture.
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
    ) -> None:
        self.sources = tuple(sources)
        self.codec = codec
        self.size = size
        self.first = first
        self.count = count
        self.seed = seed
        self.longest = longest
        if not any(len(source.pictures) for source in self.sources):
            raise DataError("there are no pictures to make samples from; check the files of the data sets")
        self._chances = np.cumsum([source.weight * len(source.pictures) for source in self.sources])
        self._kept: dict[tuple[int, int], tuple[LabelledPicture, NDArray[np.uint8]]] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, self.first + index])
        source = self._draw_source(random)
        mosaic = random.uniform() < self.sources[source].augmentation.mosaic
        picture, heatmaps, fields, weights = self._mosaic(random) if mosaic else self._single(random, source)
        return {
            "picture": torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))),
            "heatmaps": torch.from_numpy(heatmaps),
            "fields": torch.from_numpy(fields),
            "weights": torch.from_numpy(weights),
        }

    def preload(self) -> None:
        """Read all pictures now: processes that are forked afterwards share them."""
        keys = [(s, i) for s, source in enumerate(self.sources) for i in range(len(source.pictures))]
        with ThreadPoolExecutor() as pool:  # decoding and shrinking release the interpreter's lock
            for _ in pool.map(lambda key: self._load(*key), keys):
                pass

    def _draw_source(self, random: np.random.Generator) -> int:
        return int(np.searchsorted(self._chances, random.uniform() * self._chances[-1], side="right"))

    def _single(
        self, random: np.random.Generator, source: int, size: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.uint8], Array, Array, NDArray[np.uint8]]:
        """Picture, heatmaps, fields and weights of one crop of `size` (w, h)."""
        size = size or (self.size, self.size)
        labels, picture = self._load(source, int(random.integers(len(self.sources[source].pictures))))
        settings = self.sources[source].augmentation
        crop = augment.random_crop(labels, picture, size, settings, self.codec.skeleton, random)
        heatmaps, fields = self.codec.encode(crop.keypoints, size)
        return augment.change_colours(crop.picture, settings, random), heatmaps, fields, self._weights(crop, size)

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

    def _load(self, source: int, index: int) -> tuple[LabelledPicture, NDArray[np.uint8]]:
        key = (source, index)
        if key not in self._kept:
            self._kept[key] = self.sources[source].pictures[index].shrunk(self.longest)
        return self._kept[key]

    def _weights(self, crop: Crop, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Weights (K + 1 + 2L, h, w): 0 in the areas of people without labels and, in the channels of a joint that may
        be there unlabelled, in the area of its person."""
        width, height = self.codec.grid(size)
        skeleton = self.codec.skeleton
        ends = np.array(skeleton.fields, np.intp).reshape(-1, 2)
        weights = np.ones((len(skeleton) + 1 + 2 * len(ends), height, width), np.uint8)
        area = np.zeros((height, width), np.uint8)
        for quad in crop.ignore:
            self._fill(area, quad)
        weights[:, area > 0] = 0
        for quad, unsure in zip(crop.quads, crop.unsure, strict=True):
            if unsure.any():
                area[:] = 0
                self._fill(area, quad)
                limbs = np.repeat(unsure[ends].any(axis=1), 2)
                channels = np.concatenate([unsure, [True], limbs])
                weights[np.ix_(channels)] *= 1 - area
        return weights

    def _fill(self, area: NDArray[np.uint8], quad: Array) -> None:
        corners = np.round(geometry.pixel_to_cell(quad, self.codec.stride) * 16)
        corners = np.clip(corners, -(2**15), 2**15).astype(np.int32)
        cv2.fillConvexPoly(area, corners, 1, lineType=cv2.LINE_8, shift=4)
