"""Limbs between peaks: how well the part affinity fields support each possible pair of joints, all limbs at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.codecs.peaks import Index, Peaks
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]

SAMPLES = 8  # places along a limb where the field is read; twice as many tell no more
_ALONG = ((np.arange(SAMPLES) + 0.5) / SAMPLES).astype(np.float32)[:, None]
_BLOCK = 1024  # pairs read at once: what they need stays in the cache
_TALLEST = 32_766  # rows of the tallest picture that cv2.remap reads
_GLANCES = (np.float32(0.25), np.float32(0.5), np.float32(0.75))  # places where hopeless pairs are told apart first
NO_DIRECTION = 1.0  # cells; below this length the place of the peaks tells little about the direction of a limb

# Medians over the people of COCO's training labels, in units of neck to hip; sides left out of the names.
TYPICAL_LENGTHS = {
    ("neck", "hip"): 1.0,
    ("hip", "knee"): 0.75,
    ("knee", "ankle"): 0.77,
    ("neck", "shoulder"): 0.28,
    ("shoulder", "elbow"): 0.54,
    ("elbow", "wrist"): 0.43,
    ("shoulder", "ear"): 0.41,
    ("neck", "nose"): 0.39,
    ("nose", "eye"): 0.1,
    ("eye", "ear"): 0.165,
}


@dataclass(frozen=True)
class Connections:
    """Pairs of peaks that may be one limb.

    limbs    (n,) intp, index into the skeleton's `fields`
    starts   (n,) intp, row of the peak at its first joint
    ends     (n,) intp, row of the peak at its second joint
    scores   (n,) float32, mean of the field along the limb, at most 1
    lengths  (n,) float32, in cells
    """

    limbs: Index
    starts: Index
    ends: Index
    scores: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.limbs)

    def __getitem__(self, rows: Index | slice) -> Connections:
        return Connections(self.limbs[rows], self.starts[rows], self.ends[rows], self.scores[rows], self.lengths[rows])


def typical_lengths(skeleton: Skeleton) -> Array:
    """Lengths (L,) of the limbs in `skeleton.fields` beside each other; NaN where nobody measured them."""

    def plain(joint: int) -> str:
        return skeleton.joints[joint].removeprefix("left_").removeprefix("right_")

    known = TYPICAL_LENGTHS | {(b, a): length for (a, b), length in TYPICAL_LENGTHS.items()}
    return np.array([known.get((plain(a), plain(b)), np.nan) for a, b in skeleton.fields], np.float32)


def connect(peaks: Peaks, fields: Array, skeleton: Skeleton, *, threshold: float, support: float) -> Connections:
    """All pairs of `peaks` along which the part affinity fields (2L, h, w) point from the one to the other.

    The field is read at places along the segment, linearly between cells, and projected on its direction. A pair stays
    when at least the share `support` of the projections exceeds `threshold`; its score is the mean of all of them, so
    neither the size of the maps nor the length of the limb changes it. A limb shorter than a cell has hardly a
    direction (the eye and the ear of somebody far away): there the strength of the field counts instead.
    """
    height, width = fields.shape[1:]
    x, y = np.clip(peaks.x, 0, width - 1), np.clip(peaks.y, 0, height - 1)
    found = _glance(_all_pairs(peaks.starts, skeleton), x, y, fields, threshold)
    scores, hits = np.empty(len(found), np.float32), np.empty(len(found), np.intp)
    for block in _blocks(found.limbs, most_limbs=_TALLEST // (2 * height)):
        projected = _project(found[block], x, y, fields)
        scores[block] = projected.mean(axis=0)
        hits[block] = (projected > threshold).sum(axis=0)
    kept = np.flatnonzero((hits >= support * SAMPLES - 1e-6) & (scores > 0))
    return replace(found, scores=np.minimum(scores, 1))[kept]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of peaks in runs: run r joins peak starts[r] by limb limbs[r] to counts[r] peaks, the next of `ends`."""

    limbs: Index
    starts: Index
    counts: Index
    ends: Index


def _all_pairs(starts: Index, skeleton: Skeleton) -> _Pairs:
    """Every pair of peaks that a limb could join; `starts` (K + 1,) is where the peaks of each joint begin."""
    joints = np.array(skeleton.fields, np.intp).reshape(-1, 2)
    sizes = np.diff(starts)
    runs = sizes[joints[:, 0]]
    limbs = np.repeat(np.arange(len(joints)), runs)
    first = starts[joints[limbs, 0]] + np.arange(len(limbs)) - np.repeat(np.cumsum(runs) - runs, runs)
    counts = sizes[joints[limbs, 1]]
    before = np.cumsum(counts) - counts
    ends = np.repeat(starts[joints[limbs, 1]] - before, counts)
    ends += np.arange(len(ends))
    return _Pairs(limbs, first, counts, ends)


def _glance(pairs: _Pairs, x: Array, y: Array, fields: Array, threshold: float) -> Connections:
    """The pairs whose field points the right way at two of three cells between them and on the whole; not yet scored.

    Nearly all pairs are hopeless, and this finds out with a tenth of the work. The peaks lie at `x`, `y` in the map.
    """
    height, width = fields.shape[1:]
    x_start, y_start = np.repeat(x[pairs.starts], pairs.counts), np.repeat(y[pairs.starts], pairs.counts)
    along_x, along_y = x.take(pairs.ends) - x_start, y.take(pairs.ends) - y_start
    x_start += 0.5  # so that cutting the fraction off rounds
    y_start += 0.5
    lengths = np.sqrt(along_x * along_x + along_y * along_y)
    least = threshold * lengths
    map_begins = np.repeat(pairs.limbs * (2 * height * width), pairs.counts)
    flat = fields.reshape(-1)
    total, hits = np.zeros(len(lengths), np.float32), np.zeros(len(lengths), np.uint8)
    for share in _GLANCES:
        cells = (y_start + share * along_y).astype(np.intp)
        cells *= width
        cells += map_begins
        cells += (x_start + share * along_x).astype(np.intp)
        projected = flat.take(cells) * along_x
        cells += height * width
        projected += flat.take(cells) * along_y
        total += projected
        hits += projected > least
    kept = np.flatnonzero(((hits >= 2) & (total > len(_GLANCES) * least)) | (lengths < 2 * NO_DIRECTION))
    runs = np.repeat(np.arange(len(pairs.starts)), pairs.counts)[kept]
    return Connections(pairs.limbs[runs], pairs.starts[runs], pairs.ends[kept], total[kept], lengths[kept])


def _blocks(limbs: Index, *, most_limbs: int) -> list[slice]:
    """Slices of ascending `limbs` (n,), none of them too long, nor with more limbs than cv2 reads as one picture."""
    long = np.arange(0, len(limbs), _BLOCK)
    tall = np.searchsorted(limbs, np.arange(0, limbs[-1] + 1 if len(limbs) else 0, max(most_limbs, 1)))
    edges = [*np.union1d(long, tall).tolist(), len(limbs)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _project(pairs: Connections, x: Array, y: Array, fields: Array) -> Array:
    """Projections (samples, n) of the fields on the limbs; on a short one their length takes its place step by step."""
    x_start, y_start = x[pairs.starts], y[pairs.starts]
    along_x, along_y = x[pairs.ends] - x_start, y[pairs.ends] - y_start
    first, last = int(pairs.limbs[0]), int(pairs.limbs[-1])
    height, width = fields.shape[1:]
    stack = fields[2 * first : 2 * last + 2].reshape(-1, width)
    places_x = x_start + _ALONG * along_x
    places_y = y_start + ((pairs.limbs - first) * (2 * height)).astype(np.float32) + _ALONG * along_y
    field_x = cv2.remap(stack, places_x, places_y, cv2.INTER_LINEAR)
    field_y = cv2.remap(stack[height:], places_x, places_y, cv2.INTER_LINEAR)
    unit = np.maximum(pairs.lengths, 1e-6)
    projected: Array = field_x * (along_x / unit) + field_y * (along_y / unit)
    short = np.flatnonzero(pairs.lengths < NO_DIRECTION)
    if len(short):
        blend = pairs.lengths[short] / NO_DIRECTION
        strength = np.sqrt(field_x[:, short] ** 2 + field_y[:, short] ** 2)
        projected[:, short] = blend * projected[:, short] + (1 - blend) * strength
    return projected
