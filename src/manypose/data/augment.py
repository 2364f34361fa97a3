"""Augmentation: scale, rotation, crop and flip as one affine warp of picture and labels; colours and quality.

Every function takes a random generator and changes nothing that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.data.pictures import LabelledPicture
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]
LEAST_COVER = 0.9  # of the crop's shorter side, by the picture's longer one
GREY = 128  # fills what lies outside of the picture


@dataclass(frozen=True)
class ColourChanges:
    """How far the pixels may stray: strength of `colour`, and the shares of pictures that lose quality in some way.

    `grey` pictures have no colours, `blur` is Gaussian with a sigma of 0.5 to 1.5 pixels, `noise` Gaussian with 2 to 12
    levels, `jpeg` are packed at a quality of 30 to 80.
    """

    colour: float = 0.25
    grey: float = 0.08
    blur: float = 0.1
    noise: float = 0.0
    jpeg: float = 0.0


@dataclass(frozen=True)
class Augmentation(ColourChanges):
    """How far samples may stray; angles in degrees, sizes in parts of the crop.

    `person_size` bounds the longer side of the chosen person's joints; `rotation` is a normal deviation; a share
    `any_rotation` of the pictures is turned by any angle; `mosaic` is the share of samples made of four pictures.
    """

    person_size: tuple[float, float] = (0.25, 1.15)
    rotation: float = 25.0
    any_rotation: float = 0.0
    shift: float = 0.15
    flip: float = 0.5
    mosaic: float = 0.3


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a picture, RGB (h, w, 3), with its labels in its own pixels; as in `LabelledPicture`.

    Boxes have become quadrilaterals (N, 4, 2), since the picture may be turned. `matrix` (2, 3) took them here.
    """

    picture: NDArray[np.uint8]
    keypoints: Array
    unsure: NDArray[np.bool_]
    quads: Array
    matrix: NDArray[np.float64]


def random_crop(
    labels: LabelledPicture,
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    settings: Augmentation,
    skeleton: Skeleton,
    random: np.random.Generator,
) -> Crop:
    """A crop of `size` (w, h) around one of the people, scaled, turned, shifted and perhaps mirrored."""
    centre, extent = _choose_person(labels, random)
    scale = min(size) * random.uniform(*settings.person_size) / extent
    # A picture shrunk until most of the crop is grey teaches little; small people come from mosaics.
    scale = max(scale, LEAST_COVER * min(size) / max(labels.size))
    turned = random.uniform() < settings.any_rotation
    degrees = random.uniform(-180, 180) if turned else random.normal(0, settings.rotation)
    mirror = bool(random.uniform() < settings.flip)
    offset = random.uniform(-settings.shift, settings.shift, 2) * min(size) / scale
    x, y = centre + offset
    matrix = geometry.crop_affine((float(x), float(y)), scale, degrees, size, mirror=mirror)
    return warp_labels(labels, picture, matrix, size, skeleton if mirror else None)


def _choose_person(labels: LabelledPicture, random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """Centre and longer side of one person's joints, drawn at random; of the whole picture if nobody is labelled."""
    counts = (~np.isnan(labels.keypoints[..., 0])).sum(axis=1)
    candidates = np.flatnonzero(counts >= 5)
    if not len(candidates):
        return np.array(labels.size, np.float64) / 2, float(max(labels.size))
    joints = labels.keypoints[random.choice(candidates)].astype(np.float64)
    joints = joints[~np.isnan(joints[:, 0])]
    low, high = joints.min(axis=0), joints.max(axis=0)
    # A person seen only from the chest up, or lying towards the camera, is no reason to enlarge the picture a lot.
    return (low + high) / 2, max(float((high - low).max()), 0.1 * max(labels.size), 16.0)


def warp_labels(
    labels: LabelledPicture,
    picture: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    mirrored: Skeleton | None = None,
) -> Crop:
    """The part of a picture that an affine brings to `size` (w, h); `mirrored` is the skeleton where it mirrors."""
    shrinking = float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) < 0.6
    source, affine = picture, matrix
    if shrinking:  # halved first, so that the linear warp does not skip pixels
        half = (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
        source = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)
        to_half = geometry.resize_affine((picture.shape[1], picture.shape[0]), half)
        affine = geometry.compose_affines(matrix, geometry.invert_affine(to_half))
    order = slice(None) if mirrored is None else mirrored.flip
    return Crop(
        picture=np.asarray(
            cv2.warpAffine(source, affine, size, flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3), np.uint8
        ),
        keypoints=geometry.transform_points(labels.keypoints, matrix)[:, order],
        unsure=labels.unsure[:, order],
        quads=geometry.transform_points(geometry.box_corners(labels.boxes), matrix),
        matrix=matrix,
    )


def change_colours(
    picture: NDArray[np.uint8], settings: ColourChanges, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Brightness, contrast and the balance of the colours changed; at times grey, blurred, noisy or packed as JPEG."""
    strength = settings.colour
    if strength > 0:
        gain = (1 + random.uniform(-strength, strength)) * (1 + random.uniform(-strength, strength, 3) / 3)
        offset = 128 * random.uniform(-strength, strength)
        levels = (np.arange(256)[:, None] - 128) * gain + 128 + offset
        table = np.clip(levels, 0, 255).astype(np.uint8)[None]
        picture = np.asarray(cv2.LUT(picture, table), np.uint8)
    if random.uniform() < settings.grey:
        picture = np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    if random.uniform() < settings.blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 1.5)), np.uint8)
    if settings.noise > 0 and random.uniform() < settings.noise:
        picture = _add_noise(picture, random)
    if settings.jpeg > 0 and random.uniform() < settings.jpeg:
        picture = _pack_as_jpeg(picture, int(random.integers(30, 81)))
    return picture


def _add_noise(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    strength = np.float32(random.uniform(2, 12))
    noise = random.standard_normal(picture.shape, np.float32) * strength
    return np.clip(picture + noise + np.float32(0.5), 0, 255).astype(np.uint8)


def _pack_as_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB), np.uint8)
