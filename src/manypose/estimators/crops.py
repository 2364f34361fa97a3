"""Crops: a picture and the boxes of people in it give their joints, by a network that sees one person at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose import geometry, images
from manypose.codecs.heatmaps import HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.errors import ModelError, PeopleError
from manypose.estimators.inputs import FoundOptions, StageTimes
from manypose.metadata import HeatmapSettings, SimccSettings
from manypose.model import Model
from manypose.people import People

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

MOST_AT_ONCE = 64  # crops in one run of the network: more gain no speed and need memory
SEEN = 0.2  # joints that score more count in the score of the person


@dataclass(frozen=True, eq=False)
class Crops:
    """Finds the joints of people whose boxes are known, with a top-down model.

    `crops` takes the boxes; called with a picture alone it takes the whole picture for one person. `times` adds up
    what the stages took.
    """

    model: Model
    options: FoundOptions = field(default_factory=FoundOptions)
    times: StageTimes = field(default_factory=StageTimes)

    def __call__(self, image: Any) -> People:
        """The one person who fills the picture; raises `ImageError` when it cannot be opened."""
        picture = images.open_image(image)
        height, width = picture.shape[:2]
        return self.crops(picture, [[-0.5, -0.5, width - 0.5, height - 0.5]])

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The person of each picture."""
        return [self(picture) for picture in pictures]

    def crops(self, picture: Picture, boxes: ArrayLike, *, scores: ArrayLike | None = None) -> People:
        """The people in boxes (N, 4), x1 y1 x2 y2 as in `People`, of a picture (RGB uint8), in that order.

        `scores` (N,) are those of the boxes. A person scores the mean of the joints above `SEEN`, times the score of
        his box. Joints may lie outside of the box and of the picture, where the network takes them to be.

        Raises `PeopleError` for boxes that are not finite or have no area.
        """
        images.check_rgb(picture)
        around = _check_boxes(boxes)
        size = (picture.shape[1], picture.shape[0])
        box_scores = np.ones(len(around), np.float32) if scores is None else np.asarray(scores, np.float32)
        if box_scores.shape != (len(around),):
            raise PeopleError(f"scores have shape {box_scores.shape}, expected ({len(around)},): one for each box")
        if not len(around):
            return People.empty(self.model.skeleton, size)
        affines = [self.affine(box) for box in around]
        keypoints, joint_scores = self._find(picture, affines)
        seen = joint_scores > SEEN
        means = (joint_scores * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        people = People.build(
            keypoints,
            joint_scores,
            skeleton=self.model.skeleton,
            person_scores=np.minimum(means * box_scores, 1),
            boxes=around,
            image_size=size,
        )
        least = self.options.threshold
        return people if least is None else people[people.person_scores >= least]

    def affine(self, box: ArrayLike) -> NDArray[np.float64]:
        """Affine (2, 3) from the picture to the crop of a box."""
        settings, maps = self.model.metadata.input, self.model.metadata.maps
        udp = isinstance(maps, HeatmapSettings) and maps.udp
        return geometry.box_affine(box, self.size, padding=settings.padding, udp=udp)

    def outputs(self, picture: Picture, affines: Sequence[NDArray[np.float64]]) -> dict[str, list[Array]]:
        """The network's outputs (N, ...) by meaning for the crops that the affines cut out of the picture."""
        with self.times.measure("prepare"):
            batch = self.model.prepare([self._warp(picture, affine) for affine in affines])
        with self.times.measure("network"):
            return self.model.infer(batch)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a crop; raises `ModelError` where the metadata do not say it."""
        size = self.model.metadata.input.size
        if size is None:
            raise ModelError(f"{self.model.path}: its metadata have no input.size, which a {self._task} model needs")
        return size

    @cached_property
    def codec(self) -> HeatmapCodec | SimccCodec:
        """Meaning of the network's outputs."""
        maps = self.model.metadata.maps
        if isinstance(maps, HeatmapSettings):
            return HeatmapCodec(**maps.model_dump(exclude={"kind", "layout"}))
        if isinstance(maps, SimccSettings):
            return SimccCodec(**maps.model_dump(exclude={"kind"}))
        raise ModelError(f"{self.model.path}: a {self._task} model, which takes no crops")

    @property
    def _task(self) -> str:
        return self.model.metadata.task

    def _find(self, picture: Picture, affines: list[NDArray[np.float64]]) -> tuple[Array, Array]:
        """Joints (N, K, 2) in the picture and scores (N, K)."""
        keypoints, scores = [], []
        for start in range(0, len(affines), MOST_AT_ONCE):
            outputs = self.outputs(picture, affines[start : start + MOST_AT_ONCE])
            with self.times.measure("decode"):
                places, heights = self._decode(outputs)
            keypoints.append(places)
            scores.append(heights)
        places, heights = np.concatenate(keypoints), np.concatenate(scores)
        if places.shape[1] != len(self.model.skeleton):
            raise ModelError(
                f"{self.model.path}: the network gives {places.shape[1]} joints, but the skeleton "
                f"{self.model.skeleton.name!r} has {len(self.model.skeleton)}"
            )
        back = [geometry.invert_affine(affine) for affine in affines]
        moved = [geometry.transform_points(own, matrix) for own, matrix in zip(places, back, strict=True)]
        return np.stack(moved), heights

    def _decode(self, outputs: dict[str, list[Array]]) -> tuple[Array, Array]:
        if isinstance(self.codec, SimccCodec):
            return self.codec.decode(outputs["simcc_x"][0], outputs["simcc_y"][0])
        (maps,) = outputs["heatmaps"]
        nhwc = getattr(self.model.metadata.maps, "layout", "nchw") == "nhwc" and maps.ndim == 4
        return self.codec.decode(maps.transpose(0, 3, 1, 2) if nhwc else maps)

    def _warp(self, picture: Picture, affine: NDArray[np.float64]) -> Picture:
        fill = (self.model.metadata.input.fill,) * 3
        return np.asarray(
            cv2.warpAffine(picture, affine, self.size, flags=cv2.INTER_LINEAR, borderValue=fill), np.uint8
        )


def _check_boxes(boxes: ArrayLike) -> Array:
    around = np.asarray(boxes, np.float32)
    around = around.reshape(0, 4) if around.size == 0 else around
    if around.ndim != 2 or around.shape[1] != 4:
        raise PeopleError(f"boxes have shape {around.shape}, expected (people, 4): x1 y1 x2 y2")
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(around).all(axis=1) & (around[:, 2:] > around[:, :2]).all(axis=1)
    if not sound.all():
        wrong = int(np.flatnonzero(~sound)[0])
        raise PeopleError(f"box {wrong} is {around[wrong].tolist()}, expected x1 y1 x2 y2 with x1 < x2 and y1 < y2")
    return around
