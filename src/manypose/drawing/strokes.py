"""What is drawn of people, computed for all of them at once: the shapes of their limbs and joints, in layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose.drawing import shapes
from manypose.drawing.colours import EDGE, joint_colours, lighten
from manypose.people import People
from manypose.skeleton import Colour, Skeleton

Array = NDArray[np.float64]

_TOWARDS_WHITE = 0.4  # of joints, so that they stand out from the limbs of their colour
_LEAST_WITH_RIM = 2.6  # pixels of radius; smaller joints have no room for a rim


@dataclass(frozen=True)
class Strokes:
    """M polygons (M, P, 2) in fixed-point coordinates, their colours, and whose they are (M,)."""

    polygons: shapes.Fixed
    colours: Sequence[Colour]
    person: NDArray[np.intp]


@dataclass(frozen=True)
class Measures:
    """Pixels, (N,) each: how large each person is, half the width of a limb, and the dark edge around everything."""

    extent: Array
    half_width: Array
    edge: Array


def drawn_joints(people: People, threshold: float, joint: str | None) -> Array:
    """Joints (N, K, 2), with NaN for those that are not to be drawn."""
    shown = people.visible & (people.scores >= threshold)
    if joint is not None:
        shown &= np.arange(len(people.skeleton)) == people.skeleton.index(joint)
    return np.where(shown[..., None], people.keypoints, np.nan).astype(np.float64)


def measure(people: People, frame: tuple[int, int]) -> Measures:
    """Measures of people in a picture of (width, height).

    Lines grow with the person, though less than in proportion: small people stay recognisable under them, and large
    ones are not hidden. An enlarged picture gets enlarged lines.
    """
    diagonal = float(np.hypot(*frame))
    inside = np.clip(people.keypoints, 0, np.array(frame) - 1.0)
    there = people.visible[..., None]
    low = np.where(there, inside, np.inf).min(axis=1, initial=np.inf)
    high = np.where(there, inside, -np.inf).max(axis=1, initial=-np.inf)
    extent = np.linalg.norm(np.where(high >= low, high - low, 0), axis=1)
    width = np.clip(0.0145 * extent**0.8 * diagonal**0.2, max(1.7, 0.0012 * diagonal), max(1.7, 0.0125 * diagonal))
    return Measures(extent, width / 2, np.maximum(1.2, 0.18 * width))


def limb_strokes(people: People, joints: Array, measures: Measures, frame: tuple[int, int]) -> tuple[Strokes, Strokes]:
    """The dark edges, and the limbs, whose joints are both drawn; what lies far outside of the picture is cut off."""
    pairs = np.array(people.skeleton.limbs, np.intp).reshape(-1, 2)
    person, limb = np.nonzero(~np.isnan(joints[:, pairs, 0]).any(axis=2))
    starts, ends = joints[person, pairs[limb, 0]], joints[person, pairs[limb, 1]]
    length = np.linalg.norm(ends - starts, axis=1)
    half_width = np.clip(0.18 * length, 0.75, measures.half_width[person])  # short limbs, as in faces, are finer
    edge = measures.edge[person]
    margin = 2 * float(np.max(half_width + edge, initial=1.0))
    starts, ends, there = shapes.clip_segments(starts, ends, np.full(2, -margin), np.array(frame) + margin)
    starts, ends, half_width, edge, person = starts[there], ends[there], half_width[there], edge[there], person[there]
    colours = [people.skeleton.colours[i] for i in limb[there]]
    return (
        Strokes(shapes.limb_polygons(starts, ends, half_width + edge), [EDGE] * len(person), person),
        Strokes(shapes.limb_polygons(starts, ends, half_width), colours, person),
    )


def joint_strokes(
    people: People, joints: Array, measures: Measures, frame: tuple[int, int], *, scale: float
) -> tuple[Strokes, Strokes]:
    """The dark rims, and the joints that touch the picture; `scale` is above 1 when they are shown without limbs.

    A small joint where limbs meet has no rim: it would hide the limbs, whose edges go around it already.
    """
    alone = scale > 1
    longest = np.zeros(joints.shape[:2]) if alone else _longest_limbs(people.skeleton, joints)
    radii = scale * 1.35 * measures.half_width[:, None] + np.zeros_like(longest)
    radii = np.where(longest > 0, np.minimum(radii, 0.18 * longest + 1.1), radii)
    reach = (radii + measures.edge[:, None])[..., None]
    person, joint = np.nonzero(((joints > -reach) & (joints < np.array(frame) + reach)).all(axis=2))
    centres, radii, edge = joints[person, joint], radii[person, joint], measures.edge[person]
    colours = [lighten(colour, 0 if alone else _TOWARDS_WHITE) for colour in joint_colours(people.skeleton)]
    rimmed = (radii >= _LEAST_WITH_RIM) | (longest[person, joint] == 0)
    rims = shapes.disc_polygons(centres[rimmed], (radii + 0.8 * edge)[rimmed])
    return (
        Strokes(rims, [EDGE] * len(rims), person[rimmed]),
        Strokes(shapes.disc_polygons(centres, radii), [colours[i] for i in joint], person),
    )


def _longest_limbs(skeleton: Skeleton, joints: Array) -> Array:
    """Length (N, K) of the longest limb that is drawn from each joint; 0 where there is none."""
    pairs = np.array(skeleton.limbs, np.intp).reshape(-1, 2)
    lengths = np.nan_to_num(np.linalg.norm(joints[:, pairs[:, 0]] - joints[:, pairs[:, 1]], axis=2))
    longest = np.zeros(joints.shape[:2])
    for column in (0, 1):
        np.maximum.at(longest.T, pairs[:, column], lengths.T)
    return longest
