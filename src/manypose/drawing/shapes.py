"""Smooth shapes at fractions of a pixel: limbs with round ends and discs, as polygons that OpenCV fills.

Places are (x, y) in pixels, the centre of the top-left pixel is (0, 0). Everything is drawn into the array given.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.skeleton import Colour

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Fixed = NDArray[np.int32]

SHIFT = 4  # bits behind the point of OpenCV's coordinates
_BLEED = 0.6  # OpenCV's smooth edges reach this far beyond a polygon (measured on discs of radius 1 to 8)


def to_fixed(values: Points) -> Fixed:
    """Pixels as the whole numbers that OpenCV's drawing takes together with `SHIFT`."""
    return np.rint(values * (1 << SHIFT)).astype(np.int32)


def limb_polygons(starts: Points, ends: Points, half_widths: Points) -> Fixed:
    """Polygons (M, P, 2) of M limbs with round ends, `half_widths` (M,) pixels to either side of their middle line."""
    along = ends - starts
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along = np.where(length > 0, along / np.maximum(length, 1e-9), [1.0, 0.0])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    angles = np.linspace(-np.pi / 2, np.pi / 2, _corners(half_widths) // 2)[:, None]
    cap = np.cos(angles) * along[:, None] + np.sin(angles) * across[:, None]
    reach = np.maximum(half_widths - _BLEED, 0.05)[:, None, None]
    return to_fixed(np.concatenate([ends[:, None] + reach * cap, starts[:, None] - reach * cap], axis=1))


def disc_polygons(centres: Points, radii: Points) -> Fixed:
    """Polygons (D, P, 2) of D discs; OpenCV's own circles are diamonds where they are small."""
    corners = _corners(radii)
    angles = 2 * np.pi * np.arange(corners) / corners
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return to_fixed(centres[:, None] + np.maximum(radii - _BLEED, 0.05)[:, None, None] * circle)


def _corners(radii: Points) -> int:
    """How many corners make circles of these radii look round: none is further than 0.15 pixels from its chord."""
    return max(12, int(np.ceil(6 * np.sqrt(np.max(radii, initial=0.0)))))


def clip_segments(starts: Points, ends: Points, low: Points, high: Points) -> tuple[Points, Points, NDArray[np.bool_]]:
    """The pieces of M segments inside of a rectangle, and which (M,) have any.

    Source: Liang and Barsky, A New Concept and Method for Line Clipping (1984).
    """
    along = ends - starts
    still = np.abs(along) < 1e-9  # it never crosses the two sides beside it: it lies between them or it does not
    step = np.where(still, 1.0, along)
    outside = (still & ((starts < low) | (starts > high))).any(axis=1)
    to_low, to_high = (low - starts) / step, (high - starts) / step
    enter = np.where(still, 0.0, np.minimum(to_low, to_high)).max(axis=1, initial=0.0)
    leave = np.where(still, 1.0, np.maximum(to_low, to_high)).min(axis=1, initial=1.0)
    there = (enter <= leave) & ~outside
    enter, leave = np.where(there, enter, 0.0)[:, None], np.where(there, leave, 1.0)[:, None]
    # Where a joint is absurdly far away, rounding alone could leave the rectangle.
    return (starts + enter * along).clip(low, high), (starts + leave * along).clip(low, high), there


def fill(picture: Picture, polygon: Fixed, colour: Colour) -> None:
    """Fill a convex polygon (P, 2) in fixed-point coordinates, with smooth edges."""
    cv2.fillConvexPoly(picture, polygon, colour, cv2.LINE_AA, SHIFT)
