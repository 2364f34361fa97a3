"""Training samples for top-down networks: one person's surroundings, the targets of his joints and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manypose import geometry
from manypose.codecs.heatmaps import HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.data.augment import ColourChanges, change_colours
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import NumberedSamples, to_planes
from manypose.errors import DataError
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]
Random = np.random.Generator

LOWER_BODY = ("hip", "pelvis", "knee", "ankle", "heel", "toe")  # in the names of joints
# The weights that the HRNet programs offer: joints that move most count most. By the end of the joint's name.
HRNET_JOINT_WEIGHTS = {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}


@dataclass(frozen=True)
class TopDownAugmentation(ColourChanges):
    """How far samples may stray; the defaults are HRNet's for COCO, with colours beside them.

    `padding` is the size of the crop beside the person's box; it is multiplied by 1 + a normal deviation of `scale`,
    at most one of them. A share `rotated` is turned by a normal deviation of `rotation` degrees, at most two of them;
    a share `shifted` is moved by up to `shift` of the box. A share `half_body` of the people with more than
    `half_body_joints` labelled joints shows their upper or lower half alone, the upper one in `upper` of the cases.
    """

    padding: float = 1.25
    scale: float = 0.35
    rotation: float = 45.0
    rotated: float = 0.6
    shift: float = 0.0
    shifted: float = 0.3
    flip: float = 0.5
    half_body: float = 0.3
    half_body_joints: int = 8
    upper: float = 0.5


HALF_BODY_PADDING = 1.5


class TopDownSamples(NumberedSamples):
    """One sample for each labelled person of the pictures in an epoch; see `NumberedSamples`.

    A sample holds `picture` (3, h, w) uint8 RGB of the network's input `size` (w, h), black outside of the photo,
    `heatmaps` (K, h', w') float32, or of a `SimccCodec` `simcc_x` and `simcc_y` (K, bins), and `weights` (K,) float32,
    0 where a joint is not labelled, else 1 or that of
    `joint_weights` (by the end of a joint's name). Index i is always the same person; a person whose box has no size
    or who has no joint is left out. Raises `DataError` when nobody is left.
    """

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        skeleton: Skeleton,
        codec: HeatmapCodec | SimccCodec,
        *,
        size: tuple[int, int],
        seed: int,
        augmentation: TopDownAugmentation | None = None,
        joint_weights: dict[str, float] | None = None,
        first: int = 0,
        skip_broken: bool = False,
    ) -> None:
        self.pictures = pictures
        self.people = [(p, i) for p, picture in enumerate(pictures) for i in _usable(picture)]
        if not self.people:
            raise DataError("there are no labelled people to make samples from; check the files of the data sets")
        super().__init__(count=len(self.people), seed=seed, first=first, skip_broken=skip_broken)
        self.skeleton = skeleton
        self.codec = codec
        self.size = size
        self.augmentation = augmentation or TopDownAugmentation()
        ends = (joint_weights or {}).items()
        self.joint_weights = np.array(
            [next((weight for end, weight in ends if joint.endswith(end)), 1.0) for joint in skeleton.joints],
            np.float32,
        )

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = self.random(index)
        labels, person, photo = self._draw_person(index % self.count, random)
        joints = labels.keypoints[person]
        mirror = bool(random.uniform() < self.augmentation.flip)
        matrix = draw_affine(
            labels.boxes[person], joints, self.skeleton, self.size, self.augmentation, self.codec, random
        )
        if mirror:
            matrix = geometry.compose_affines(self._mirror(), matrix)
        moved = geometry.transform_points(joints, matrix)[self.skeleton.flip if mirror else slice(None)]
        targets, weights = _encode(self.codec, moved[None], self.size)
        picture = np.asarray(cv2.warpAffine(photo, matrix, self.size, flags=cv2.INTER_LINEAR), np.uint8)
        picture = change_colours(picture, self.augmentation, random)
        return {
            "picture": torch.from_numpy(to_planes(picture)),
            **{name: torch.from_numpy(values[0]) for name, values in targets.items()},
            "weights": torch.from_numpy(weights[0] * self.joint_weights),
        }

    def _draw_person(self, index: int, random: Random) -> tuple[LabelledPicture, int, NDArray[np.uint8]]:
        """The person called `index`, or another one for each time that a picture cannot be read."""
        tries = 0
        while True:
            picture, person = self.people[index]
            try:
                return self.pictures[picture], person, self.pictures[picture].read()
            except DataError as error:
                tries += 1
                self.skip(error, tries)
                index = int(random.integers(self.count))

    def _mirror(self) -> NDArray[np.float64]:
        """Mirrors the crop about its middle, which is where the box comes to (see `geometry.box_affine`)."""
        return np.array([[-1, 0, self.size[0] - (1 if self.codec.udp else 0)], [0, 1, 0]], np.float64)


def _encode(
    codec: HeatmapCodec | SimccCodec, keypoints: Array, size: tuple[int, int]
) -> tuple[dict[str, Array], Array]:
    """Targets by name and the joints' weights."""
    if isinstance(codec, SimccCodec):
        simcc_x, simcc_y, weights = codec.encode(keypoints, size)
        return {"simcc_x": simcc_x, "simcc_y": simcc_y}, weights
    heatmaps, weights = codec.encode(keypoints, size)
    return {"heatmaps": heatmaps}, weights


def _usable(picture: LabelledPicture) -> list[int]:
    sizes = picture.boxes[:, 2:] - picture.boxes[:, :2]
    sound = np.isfinite(sizes).all(axis=1) & (sizes > 0).all(axis=1)
    return [int(i) for i in np.flatnonzero(sound & ~np.isnan(picture.keypoints[..., 0]).all(axis=1))]


def draw_affine(
    box: Array,
    joints: Array,
    skeleton: Skeleton,
    size: tuple[int, int],
    settings: TopDownAugmentation,
    codec: HeatmapCodec | SimccCodec,
    random: Random,
) -> NDArray[np.float64]:
    """Affine (2, 3) from the photo to a crop of `size` (w, h) around a person's box, or around half of him.

    Source: HRNet's augmentation; the shift as in mmpose.
    """
    padding = settings.padding
    if (~np.isnan(joints[:, 0])).sum() > settings.half_body_joints and random.uniform() < settings.half_body:
        half = half_body_box(joints, skeleton, upper=bool(random.uniform() < settings.upper))
        if half is not None:
            box, padding = half, HALF_BODY_PADDING
    deviation = settings.scale * float(np.clip(random.standard_normal(), -1, 1))
    degrees = settings.rotation * float(np.clip(random.standard_normal(), -2, 2))
    turned = random.uniform() < settings.rotated
    if settings.shift > 0 and random.uniform() < settings.shifted:
        box = box + np.tile(random.uniform(-settings.shift, settings.shift, 2) * (box[2:] - box[:2]), 2)
    return geometry.box_affine(
        box, size, padding=padding * (1 + deviation), degrees=degrees if turned else 0.0, udp=codec.udp
    )


def half_body_box(joints: Array, skeleton: Skeleton, *, upper: bool) -> Array | None:
    """Box (4,), as `People.boxes`, as large as the upper or lower half of a person, around the mean of its joints.

    Where the half that is asked for has not more than two of the joints (K, 2), it is the other one; None when that
    has fewer than two.
    """
    there = ~np.isnan(joints[:, 0])
    low = np.array([any(word in joint for word in LOWER_BODY) for joint in skeleton.joints])
    above, below = np.flatnonzero(there & ~low), np.flatnonzero(there & low)
    chosen = above if (upper and len(above) > 2) or len(below) <= 2 else below
    if len(chosen) < 2:
        return None
    places = joints[chosen]
    half = np.maximum((places.max(axis=0) - places.min(axis=0)) / 2, 0.5)
    # A box's places are those of edges, half a pixel from those of joints; HRNet's programs take one for the other.
    middle = places.mean(axis=0) - 0.5
    return np.concatenate([middle - half, middle + half]).astype(np.float32)
