"""Matching of people found with labelled people as pycocotools does it, for all pictures and thresholds at once.

Source: COCOeval.evaluateImg and COCOeval.accumulate of pycocotools; the rules are theirs, the loops are NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose.evaluation.oks import similarity_of_pairs

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_PEOPLE = 20  # people found that count in a picture
AREAS = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Labelled:
    """G labelled people of one category: (G,) their pictures (0 to N - 1), joints (G, K, 3), and what a row says.

    `areas` (G,), `boxes` (G, 4) x, y, width, height, `ignored` and `crowd` (G,) bool.
    """

    pictures: Indices
    joints: Floats
    areas: Floats
    boxes: Floats
    ignored: Flags
    crowd: Flags


@dataclass(frozen=True)
class Found:
    """D people found of one category: (D,) their pictures, joints (D, K, 2 or more), scores and areas (D,)."""

    pictures: Indices
    joints: Floats
    scores: Floats
    areas: Floats


@dataclass(frozen=True)
class Matches:
    """Who was found, of one category and range of areas: D detections by falling score, at T thresholds of OKS.

    `rows` (D,) are the detections' places in `Found`; `matches` (T, D) the labelled people they are matched with, -1
    for nobody; `ignored` (T, D) those that count neither way. `pictures` (D,) are theirs, `people` (N,) how many people
    count in each of the N pictures, `counted` (G,) who they are.
    """

    rows: Indices
    pictures: Indices
    matches: Indices
    ignored: Flags
    people: NDArray[np.int64]
    counted: Flags

    @property
    def hits(self) -> Flags:
        """(T, D) detections of people who count."""
        return (self.matches >= 0) & ~self.ignored

    @property
    def misses(self) -> Flags:
        """(T, D) detections of nobody."""
        return (self.matches < 0) & ~self.ignored


def match_people(
    labelled: Labelled,
    found: Found,
    sigmas: Floats,
    pictures: int,
    *,
    areas: Sequence[tuple[float, float]] = tuple(AREAS.values()),
    thresholds: Floats = THRESHOLDS,
    most: int = MOST_PEOPLE,
) -> list[Matches]:
    """The matches for each range of areas.

    Detections are taken by falling score, those of equal score in their order, the `most` best of each picture. Each
    takes the most similar labelled person who is not taken (a crowd never is) and at least as similar as the threshold;
    people who are ignored, or of another size, only where nobody else is. Unmatched detections of another size than the
    range do not count.
    """
    order = np.lexsort((-found.scores, found.pictures))
    rank = _rank_in_group(found.pictures[order])
    order, rank = order[rank < most], rank[rank < most]
    people = np.argsort(labelled.pictures, kind="stable")
    starts = np.searchsorted(labelled.pictures[people], np.arange(pictures + 1))
    size = np.diff(starts)  # labelled people of each picture

    here = found.pictures[order]
    pairs = np.repeat(np.arange(len(order)), size[here])
    column = np.arange(len(pairs)) - np.repeat(np.cumsum(size[here]) - size[here], size[here])
    partners = people[starts[here[pairs]] + column]
    values = similarity_of_pairs(
        found.joints, labelled.joints, labelled.areas, labelled.boxes, sigmas, order[pairs], partners
    )
    limits = np.minimum(thresholds, 1 - 1e-10)
    low, high = np.array(areas, np.float64).T[..., None]
    ignored = labelled.ignored | (labelled.areas < low) | (labelled.areas > high)  # (A, G)

    matched = np.full((len(areas), len(limits), len(order)), -1, np.intp)
    first = np.cumsum(size[here]) - size[here]  # of a detection's pairs
    for count in np.unique(size[here]):
        if not count:
            continue
        members = np.flatnonzero(size[here] == count)
        table = values[first[members][:, None] + np.arange(count)]
        group, cell = np.unique(here[members], return_inverse=True)
        rows = people[starts[group][:, None] + np.arange(count)]  # (C, G)
        matched[:, :, members] = _match_cells(
            table, rank[members], cell, rows, ignored[:, rows], labelled.crowd[rows], limits
        )
    sequence = np.argsort(-found.scores[order], kind="stable")  # order is by picture: ties fall as in pycocotools
    return [
        _collect(matched[a][:, sequence], order[sequence], ignored[a], labelled, found, span, pictures)
        for a, span in enumerate(areas)
    ]


def _match_cells(
    table: Floats, rank: Indices, cell: Indices, rows: Indices, ignored: Flags, crowd: Flags, limits: Floats
) -> Indices:
    """(A, T, D) whom each detection is matched with, in C pictures of G people each; -1: nobody.

    `table` (D, G) are similarities, `rank` (D,) the places of the detections in their pictures `cell` (D,), `rows`
    (C, G) the people, `ignored` (A, C, G), `crowd` (C, G). All pictures' first detections go at once, then the second.
    """
    spans, thresholds = len(ignored), len(limits)
    taken = np.zeros((spans, thresholds, *rows.shape), bool)
    matched = np.full((spans, thresholds, len(table)), -1, np.intp)
    for place in range(int(rank.max()) + 1):
        chosen = np.flatnonzero(rank == place)
        where = cell[chosen]
        values = table[chosen]
        free = ~taken[:, :, where] | crowd[where]
        free &= values >= limits[:, None, None]
        aside = ignored[:, None, where]
        index, any_regular = _last_best(np.where(free & ~aside, values, -1))
        other, any_other = _last_best(np.where(free & aside, values, -1))
        index = np.where(any_regular, index, other)
        a, t, d = np.nonzero(any_regular | any_other)
        column = index[a, t, d]
        taken[a, t, where[d], column] = True
        matched[a, t, chosen[d]] = rows[where[d], column]
    return matched


def _last_best(values: Floats) -> tuple[Indices, Flags]:
    """Of the last axis, the index of the largest value (of equal ones the last), and whether there is one over -1."""
    index = values.shape[-1] - 1 - np.argmax(values[..., ::-1], axis=-1)
    return index, np.take_along_axis(values, index[..., None], axis=-1)[..., 0] >= 0


def _collect(
    matched: Indices,
    rows: Indices,
    ignored: Flags,
    labelled: Labelled,
    found: Found,
    span: tuple[float, float],
    pictures: int,
) -> Matches:
    elsewhere = (found.areas[rows] < span[0]) | (found.areas[rows] > span[1])
    is_matched = matched >= 0
    aside = np.where(is_matched, ignored[matched] if len(ignored) else False, elsewhere)
    people = np.bincount(labelled.pictures[~ignored], minlength=pictures)
    return Matches(rows, found.pictures[rows], matched, aside, people.astype(np.int64), ~ignored)


def _rank_in_group(groups: Indices) -> Indices:
    """0, 1, 2 ... within each run of equal values."""
    if not len(groups):
        return np.zeros(0, np.intp)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


def precision_and_recall(matches: Matches, recalls: Floats = RECALLS) -> tuple[Floats, Floats]:
    """(T, R) the best precision at each recall or higher, 0 where it is not reached, and (T,) the highest recall.

    Both are -1 where nobody counts.
    """
    thresholds, total = len(matches.matches), int(matches.people.sum())
    if not total:
        return np.full((thresholds, len(recalls)), -1.0), np.full(thresholds, -1.0)
    if not len(matches.rows):
        return np.zeros((thresholds, len(recalls))), np.zeros(thresholds)
    hits = np.cumsum(matches.hits, axis=1).astype(np.float64)
    misses = np.cumsum(matches.misses, axis=1).astype(np.float64)
    precision = hits / (misses + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = hits / total
    padded = np.pad(precision, ((0, 0), (0, 1)))
    places = np.stack([np.searchsorted(row, recalls, side="left") for row in reached])
    return np.take_along_axis(padded, places, axis=1), reached[:, -1]


_AT_ONCE = 2**21  # weights of detections that are drawn at once


class Resampler:
    """Precision and recall of `matches` with pictures that count several times or not at all, without the copies."""

    def __init__(self, matches: Matches) -> None:
        self._people = matches.people
        self._pictures = matches.pictures
        # Precision is at its best just at a hit, so only hits are looked at: (where they are among those that count).
        self._counted = [np.flatnonzero(~row) for row in matches.ignored]
        self._hits = [np.flatnonzero(row[counted]) for row, counted in zip(matches.hits, self._counted, strict=True)]

    def __call__(self, draws: NDArray[np.int64], recalls: Floats = RECALLS) -> tuple[Floats, Floats]:
        """(R, T) the mean precision over `recalls` and the highest recall, if picture n stood `draws[r, n]` times.

        A single draw (N,) gives (T,) each. NaN where nobody counts. The arithmetic of COCOeval.accumulate, with a
        weight for each detection.
        """
        if draws.ndim == 1:
            precision, recall = self(draws[None], recalls)
            return precision[0], recall[0]
        people = draws @ self._people
        precisions, highest = (np.zeros((len(draws), len(self._hits))) for _ in range(2))
        step = max(1, _AT_ONCE // max(len(self._pictures), 1))
        for start in range(0, len(draws), step):
            rows = slice(start, start + step)
            for t, (counted, at) in enumerate(zip(self._counted, self._hits, strict=True)):
                if not len(at):
                    continue
                weights = draws[rows][:, self._pictures[counted[: at[-1] + 1]]]
                hits, everybody = np.cumsum(weights[:, at], axis=1), np.cumsum(weights, axis=1)[:, at]
                precision = hits / (everybody + np.spacing(1))
                precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
                reached = hits / np.maximum(people[rows, None], 1)
                # how many of the recalls are first reached at each hit
                steps = np.diff(np.searchsorted(recalls, reached, side="right"), axis=1, prepend=0)
                precisions[rows, t] = (precision * steps).sum(axis=1) / len(recalls)
                highest[rows, t] = reached[:, -1]
        precisions[people == 0] = highest[people == 0] = np.nan
        return precisions, highest
