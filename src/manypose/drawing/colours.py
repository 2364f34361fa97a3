"""The colours of joints, made from those of the limbs in their skeleton, and the few colours of all else."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.skeleton import Colour, Skeleton

EDGE: Colour = (16, 18, 24)
NEUTRAL: Colour = (236, 233, 226)


@functools.lru_cache(maxsize=64)
def joint_colours(skeleton: Skeleton) -> tuple[Colour, ...]:
    """A colour (RGB) for each joint: of the limb that ends there, else the mean of the limbs that touch it.

    Limbs from the left to the right side (shoulder to shoulder) colour neither; a joint without a limb is neutral.
    """
    mirrored = set(skeleton.pairs) | {(b, a) for a, b in skeleton.pairs}
    limbs = [(limb, c) for limb, c in zip(skeleton.limbs, skeleton.colours, strict=True) if limb not in mirrored]
    colours = []
    for joint in range(len(skeleton)):
        ending = [colour for (_, end), colour in limbs if end == joint][:1]
        touching = ending or [colour for limb, colour in limbs if joint in limb]
        colours.append(_mean(touching) if touching else NEUTRAL)
    return tuple(colours)


def lighten(colour: Colour, amount: float) -> Colour:
    """A colour on its way to white; 0 leaves it, 1 is white."""
    red, green, blue = (round(value + (255 - value) * amount) for value in colour)
    return red, green, blue


def _mean(colours: list[Colour]) -> Colour:
    red, green, blue = (round(float(value)) for value in np.mean(colours, axis=0))
    return red, green, blue


def direction_colours(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (..., 3), 0..255, of the directions of vectors: a wheel of hues that are equally light (CIE L*a*b*)."""
    length = np.maximum(np.hypot(x, y), np.float32(1e-9))
    lab = np.stack([np.full_like(x, 72), 48 * x / length, 48 * y / length], axis=-1)
    colours = cv2.cvtColor(lab.reshape(-1, 1, 3), cv2.COLOR_LAB2RGB).reshape(lab.shape)
    return np.asarray(colours, np.float32).clip(0, 1) * np.float32(255)
