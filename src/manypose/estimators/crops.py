"""Crops: the surroundings of boxes in a picture, shown to a network that sees one person at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose import geometry
from manypose.codecs.heatmaps import Decoding, HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.errors import ModelError
from manypose.estimators.inputs import Clock
from manypose.metadata import HeatmapSettings, SimccSettings
from manypose.model import Model

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]
Affine = NDArray[np.float64]

MOST_AT_ONCE = 64  # crops in one run of the network: more gain no speed and need memory


@dataclass(frozen=True, eq=False)
class Crops:
    """The joints of people in crops, by a top-down model: what `TopDown` does with the pixels.

    `padding` is how much larger than the box the crop is and `decoding` how joints are read off heatmaps, None for the
    model's own. `flip` averages with the mirrored crops; `flip_shift` moves what these give onto the cells of the
    others, where they lie beside them. `clock` measures the stages.

    Raises `ModelError` for a model that takes no crops, or whose outputs know no such decoding.
    """

    model: Model
    padding: float | None = None
    decoding: Decoding | None = None
    flip: bool = False
    flip_shift: bool = True
    clock: Clock = field(default_factory=Clock, repr=False)

    def __post_init__(self) -> None:
        _ = self.codec, self.size

    def find(self, picture: Picture, boxes: Sequence[ArrayLike] | Array) -> tuple[Array, Array]:
        """Joints (N, K, 2) in the picture (RGB uint8), NaN where there is none, and their scores (N, K).

        `boxes` (N, 4) are x1 y1 x2 y2 as in `People`. All crops of a picture run in one batch, up to `MOST_AT_ONCE`.
        """
        affines = [self.affine(box) for box in boxes]
        count, step = len(self.model.skeleton), MOST_AT_ONCE // (2 if self.flip else 1)
        keypoints, scores = [np.zeros((0, count, 2), np.float32)], [np.zeros((0, count), np.float32)]
        for start in range(0, len(affines), step):
            own = affines[start : start + step]
            outputs = self.outputs(picture, own)
            with self.clock.times.measure("decode"):
                places, heights = self._decode(outputs)
                back = [geometry.invert_affine(affine) for affine in own]
                pairs = zip(places, back, strict=True)
                keypoints.append(np.stack([geometry.transform_points(joints, matrix) for joints, matrix in pairs]))
                scores.append(heights)
        return np.concatenate(keypoints), np.concatenate(scores)

    def affine(self, box: ArrayLike) -> Affine:
        """Affine (2, 3) from the picture to the crop of a box."""
        padding = self.model.metadata.input.padding if self.padding is None else self.padding
        return geometry.box_affine(box, self.size, padding=padding, udp=self._udp)

    def area(self, box: ArrayLike) -> float:
        """Square pixels of the picture that the crop of a box shows, as the reference programs count them."""
        width, height = np.array(self.size) - (1 if self._udp else 0)
        affine = self.affine(box)
        return float(width * height / (affine[0, 0] * affine[1, 1]))

    def outputs(self, picture: Picture, affines: Sequence[Affine]) -> dict[str, Array]:
        """The network's outputs (N, ...) by meaning for the crops that the affines cut out of the picture."""
        with self.clock.times.measure("prepare"):
            batch = self.model.prepare([self._warp(picture, affine) for affine in affines])
            if self.flip:
                across = 2 if self.model.metadata.input.layout == "nhwc" else 3
                batch = np.concatenate([batch, np.flip(batch, across)])
        with self.clock.times.measure("network"):
            found = self.model.infer(batch)
        with self.clock.times.measure("decode"):
            return {meaning: self._average(meaning, self._in_order(maps)) for meaning, (maps,) in found.items()}

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
            given = maps.model_dump(exclude={"kind", "layout"})
            return HeatmapCodec(**given | ({} if self.decoding is None else {"decoding": self.decoding}))
        if not isinstance(maps, SimccSettings):
            raise ModelError(f"{self.model.path}: a {self._task} model, which takes no crops")
        if self.decoding is not None:
            raise ModelError(f"{self.model.path}: gives SimCC vectors, which have one decoding: leave decoding out")
        return SimccCodec(**maps.model_dump(exclude={"kind"}))

    @property
    def _task(self) -> str:
        return self.model.metadata.task

    @property
    def _udp(self) -> bool:
        maps = self.model.metadata.maps
        return isinstance(maps, HeatmapSettings) and maps.udp

    def _in_order(self, maps: Array) -> Array:
        """Outputs as (N, K, ...), whatever their layout is; raises `ModelError` for another number of joints."""
        nhwc = getattr(self.model.metadata.maps, "layout", "nchw") == "nhwc" and maps.ndim == 4
        turned = maps.transpose(0, 3, 1, 2) if nhwc else maps
        skeleton, background = self.model.skeleton, getattr(self.codec, "background", False)
        if turned.ndim < 3 or turned.shape[1] - background != len(skeleton):
            raise ModelError(
                f"{self.model.path}: an output has shape {maps.shape}, but the skeleton {skeleton.name!r} has "
                f"{len(skeleton)} joints{' and the background is a map' if background else ''}"
            )
        return turned

    def _average(self, meaning: str, maps: Array) -> Array:
        """The mean of the first half, and of the second half turned back; the maps themselves without `flip`."""
        if not self.flip:
            return maps
        joints = self.model.skeleton.flip
        order = np.concatenate([joints, np.arange(len(joints), maps.shape[1])])  # behind the joints is the background
        half = len(maps) // 2
        plain, mirrored = maps[:half], maps[half:]
        if meaning == "simcc_y":
            return np.asarray((plain + mirrored[:, order]) * np.float32(0.5))
        shift = self.codec.mirror_shift if self.flip_shift else 0
        return np.asarray((plain + turn_back(mirrored, order, shift=shift)) * np.float32(0.5))

    def _decode(self, outputs: dict[str, Array]) -> tuple[Array, Array]:
        codec = self.codec
        if isinstance(codec, SimccCodec):
            return codec.decode(outputs["simcc_x"], outputs["simcc_y"])
        return codec.decode(outputs["heatmaps"])

    def _warp(self, picture: Picture, affine: Affine) -> Picture:
        fill = (self.model.metadata.input.fill,) * 3
        return np.asarray(
            cv2.warpAffine(picture, affine, self.size, flags=cv2.INTER_LINEAR, borderValue=fill), np.uint8
        )


def turn_back(maps: Array, order: NDArray[np.intp], *, shift: int = 0) -> Array:
    """Maps (N, K, ..., w) of mirrored crops as those of the crops: joints in `order`, columns turned round.

    Then all move `shift` columns to the right; a column into which none comes keeps what it has.
    """
    back = maps[:, order][..., ::-1]
    columns = np.arange(maps.shape[-1])
    return back if not shift else back[..., np.clip(columns - shift, 0, len(columns) - 1)]
