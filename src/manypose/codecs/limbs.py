"""Limbs between peaks: how well the part affinity fields support each possible pair of joints, all limbs at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import fields as columns_of
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.codecs.peaks import Index, Peaks
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]

SAMPLES = 8  # places along a limb where the field is read; twice as many tell no more
_ALONG = ((np.arange(SAMPLES) + 0.5) / SAMPLES).astype(np.float32)[:, None]
_BLOCK = 8192  # pairs worked on at once: what they need stays in the cache
_TALLEST = 32_766  # rows of the tallest picture that cv2.remap reads
_GLANCES = (np.float32(0.25), np.float32(0.5), np.float32(0.75))  # places where hopeless pairs are told apart first
NO_DIRECTION = 1.0  # cells; below this length the place of the peaks tells little about the direction of a limb


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
    lengths = skeleton.lengths or (None,) * len(skeleton.fields)
    return np.array([np.nan if length is None else length for length in lengths], np.float32)


def connect(
    peaks: Peaks, fields: Array, skeleton: Skeleton, *, threshold: float, support: float, free_length: float = 0.0
) -> Connections:
    """All pairs of `peaks` along which the part affinity fields (2L, h, w) point from the one to the other.

    The field is read at places along the segment, linearly between cells, and projected on its direction. A pair stays
    when at least the share `support` of the projections exceeds `threshold`; its score is the mean of all of them, so
    neither the size of the maps nor the length of the limb changes it. A limb shorter than a cell has hardly a
    direction (the eye and the ear of somebody far away): there the strength of the field counts instead. A limb of
    more than `free_length` cells scores free_length / length - 1 more, which is less; 0: length costs nothing.
    """
    height, width = fields.shape[1:]
    x, y = np.clip(peaks.x, 0, width - 1), np.clip(peaks.y, 0, height - 1)
    runs = _all_runs(peaks.starts, skeleton)
    parts = []
    for block in _blocks(runs, most_limbs=_TALLEST // max(2 * height, 1)):
        found = _glance(runs[block], x, y, fields, threshold)
        projected = _project(found, x, y, fields)
        scores = projected.mean(axis=0)
        if free_length:
            scores += np.minimum(np.float32(free_length) / np.maximum(found.lengths, np.float32(1e-6)) - 1, 0)
        hits = np.add.reduce(projected > threshold, axis=0, dtype=np.intp)
        kept = np.flatnonzero((hits >= support * SAMPLES - 1e-6) & (scores > 0))
        parts.append(replace(found, scores=np.minimum(scores, 1))[kept])
    return _concatenate(parts)


@dataclass(frozen=True)
class _Runs:
    """Pairs of peaks in runs: run r joins peak starts[r] by limb limbs[r] to counts[r] peaks from ends[r] on."""

    limbs: Index
    starts: Index
    ends: Index
    counts: Index

    def __len__(self) -> int:
        return len(self.limbs)

    def __getitem__(self, rows: slice) -> _Runs:
        return _Runs(self.limbs[rows], self.starts[rows], self.ends[rows], self.counts[rows])


def _all_runs(starts: Index, skeleton: Skeleton) -> _Runs:
    """Every pair of peaks that a limb could join; `starts` (K + 1,) is where the peaks of each joint begin."""
    joints = np.array(skeleton.fields, np.intp).reshape(-1, 2)
    sizes = np.diff(starts)
    runs = np.where(sizes[joints[:, 1]] > 0, sizes[joints[:, 0]], 0)
    limbs = np.repeat(np.arange(len(joints)), runs)
    first = starts[joints[limbs, 0]] + np.arange(len(limbs)) - np.repeat(np.cumsum(runs) - runs, runs)
    return _Runs(limbs, first, starts[joints[limbs, 1]], sizes[joints[limbs, 1]])


def _blocks(runs: _Runs, *, most_limbs: int) -> list[slice]:
    """Slices of runs that are worked on at once: not too many pairs, nor more limbs than cv2 reads as one picture."""
    pairs = np.cumsum(runs.counts)
    block = pairs // _BLOCK + (pairs[-1:].sum() // _BLOCK + 1) * (runs.limbs // max(most_limbs, 1))
    edges = [*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), len(runs)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _glance(runs: _Runs, x: Array, y: Array, fields: Array, threshold: float) -> Connections:
    """The pairs whose field points the right way at two of three cells between them and on the whole; not yet scored.

    Nearly all pairs are hopeless, and this finds out with a tenth of the work. The peaks lie at `x`, `y` in the map.
    """
    height, width = fields.shape[1:]
    counts = runs.counts
    ends = np.repeat(runs.ends - np.cumsum(counts) + counts, counts)
    ends += np.arange(len(ends))
    x_start, y_start = np.repeat(x[runs.starts], counts), np.repeat(y[runs.starts], counts)
    along_x, along_y = x.take(ends) - x_start, y.take(ends) - y_start
    x_start += 0.5  # so that cutting the fraction off rounds
    y_start += 0.5
    lengths = np.sqrt(along_x * along_x + along_y * along_y)
    least = threshold * lengths
    map_begins = np.repeat(runs.limbs * (2 * height * width), counts)
    flat = fields.reshape(-1)
    total, hits = np.zeros(len(ends), np.float32), np.zeros(len(ends), np.uint8)
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
    run = np.repeat(np.arange(len(runs)), counts)[kept]
    return Connections(runs.limbs[run], runs.starts[run], ends[kept], total[kept], lengths[kept])


def _project(pairs: Connections, x: Array, y: Array, fields: Array) -> Array:
    """Projections (samples, n) of the fields on the limbs; on a short one their length takes its place step by step."""
    x_start, y_start = x[pairs.starts], y[pairs.starts]
    along_x, along_y = x[pairs.ends] - x_start, y[pairs.ends] - y_start
    field_x, field_y = _read_fields(fields, pairs.limbs, x_start + _ALONG * along_x, y_start + _ALONG * along_y)
    unit: Array = np.maximum(pairs.lengths, np.float32(1e-6))
    projected: Array = field_x * (along_x / unit) + field_y * (along_y / unit)
    short = np.flatnonzero(pairs.lengths < NO_DIRECTION)
    if len(short):
        blend = pairs.lengths[short] / NO_DIRECTION
        strength = np.sqrt(field_x[:, short] ** 2 + field_y[:, short] ** 2)
        projected[:, short] = blend * projected[:, short] + (1 - blend) * strength
    return projected


def _read_fields(fields: Array, limbs: Index, x: Array, y: Array) -> tuple[Array, Array]:
    """Field vectors, x and y (samples, n), of ascending limbs (n,) at places in their maps, linear between cells.

    The maps of these limbs stand on each other as one picture that cv2 reads.
    """
    if not len(limbs):
        return x, y
    first, height = int(limbs[0]), fields.shape[1]
    stack = fields[2 * first : 2 * int(limbs[-1]) + 2].reshape(-1, fields.shape[2])
    y = y + ((limbs - first) * (2 * height)).astype(np.float32)
    field_x: Array = np.asarray(cv2.remap(stack, x, y, cv2.INTER_LINEAR), np.float32)
    field_y: Array = np.asarray(cv2.remap(stack[height:], x, y, cv2.INTER_LINEAR), np.float32)
    return field_x, field_y


def _concatenate(parts: list[Connections]) -> Connections:
    if not parts:
        none = np.zeros(0, np.intp)
        return Connections(none, none, none, np.zeros(0, np.float32), np.zeros(0, np.float32))
    columns = ([getattr(part, column.name) for part in parts] for column in columns_of(Connections))
    return Connections(*(np.concatenate(column) for column in columns))
