"""Limbs joined to people: one list of limbs of all sorts, the clearest first; a joint has one owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.limbs import Connections
from manypose.codecs.peaks import Index, Peaks

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]

DOUBT = 0.5  # share of its best rival's score by which a connection has to wait
HEIGHT = 0.1  # share of the heights of both peaks in the clearness of a connection
HOPELESS = 0.2
MOST_TRIES = 20_000
SURE_SIZES = 2  # limbs of a person from which on the length of the next is judged
MANY_SIZES = 5  # limbs of a person from which on the length of each of them is judged in the end
LOOKS_BACK = 1  # times that joining begins again without the limbs that turned out too long
MEASURABLE = 1.0  # cells; the length of a shorter limb says nothing about the size of a person
TELLING = 0.2  # times neck to hip; nor does that of limbs that are usually shorter: faces turn, and lie nearer
SLACK = 1.0  # cells by which a limb may be longer because its ends are found inexactly


@dataclass(slots=True)
class Group:
    """One person in the making: rows of its peaks and of its limbs, its joints as bits, and its sizes in order.

    A size is what the length of one limb tells of the size of the person.
    """

    peaks: tuple[int, ...]
    limbs: tuple[int, ...]
    joints: int
    sizes: tuple[float, ...]


def order_by_clearness(peaks: Peaks, connections: Connections) -> Connections:
    """The connections, the clearest first.

    Clear is what scores high and has no rival at either end: of two limbs of the same sort at one peak the better one
    waits too, until what is certain around them has been settled. Of a map of pure noise the clearest 20,000 are tried.
    """
    if not len(connections):
        return connections
    values = connections.scores + HEIGHT * (peaks.scores[connections.starts] + peaks.scores[connections.ends])
    sorts = connections.limbs * len(peaks)
    rivals = np.maximum(
        _best_rivals(sorts + connections.starts, values), _best_rivals(sorts + connections.ends, values)
    )
    rows = np.flatnonzero(values > HOPELESS * rivals)
    order = np.argsort(DOUBT * rivals[rows] - values[rows], kind="stable")
    return connections[rows[order[:MOST_TRIES]]]


def _best_rivals(keys: Index, values: Array) -> Array:
    """The highest of the values of the others with the same key; 0 where there are none."""
    order = np.argsort(keys)
    values = values[order]
    begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
    sizes = np.diff(begins, append=len(keys))
    best = np.maximum.reduceat(values, begins)
    is_best = values == np.repeat(best, sizes)
    second = np.maximum.reduceat(np.where(is_best, 0, values), begins)
    second = np.where(np.add.reduceat(is_best, begins, dtype=np.intp) > 1, best, second)
    rivals = np.empty_like(values)
    rivals[order] = np.where(is_best, np.repeat(second, sizes), np.repeat(best, sizes))
    return rivals


def assemble(
    peaks: Peaks,
    connections: Connections,
    typical: Array,
    *,
    longest_limb: float,
    min_joints: int,
    sure_joint: float,
) -> tuple[list[Group], Connections]:
    """People: groups with at least `min_joints` peaks of height `sure_joint`, and the connections whose rows they name.

    `typical` (L,) are lengths of the limbs beside each other, NaN where unknown. A limb more than `longest_limb` times
    longer than the others of its person let expect may have been joined before these: then it is taken out and all
    begins again. With `longest_limb` 0 any length will do.
    """
    sure = (peaks.scores >= sure_joint).tolist()
    for look in range(LOOKS_BACK + 1):
        groups = _join(peaks, connections, typical[connections.limbs], longest_limb)
        groups = [group for group in groups if sum([sure[peak] for peak in group.peaks]) >= min_joints]
        fits = _find_fitting(groups, connections, typical[connections.limbs], longest_limb)
        if fits.all() or look == LOOKS_BACK:
            break
        connections = connections[np.flatnonzero(fits)]
    return groups, connections


def _find_fitting(groups: list[Group], connections: Connections, typical: Array, longest_limb: float) -> Bools:
    """Which connections (n,) are not too long beside the other limbs of the person that they went to."""
    fits = np.ones(len(connections), bool)
    judged = [group for group in groups if longest_limb and len(group.sizes) >= MANY_SIZES]
    if judged:
        middles = np.array([group.sizes[len(group.sizes) // 2] for group in judged])
        person, rows = flatten([group.limbs for group in judged])
        fits[rows] = ~(connections.lengths[rows] - SLACK > longest_limb * middles[person] * typical[rows])
    return fits


def _join(peaks: Peaks, connections: Connections, typical: Array, longest_limb: float) -> list[Group]:
    """Groups from connections in the order in which they are tried; `typical` (n,) is the usual length of each.

    At first every peak is a group of its own. A connection within a group adds evidence; between two groups it makes
    them one when no joint is in both and their limbs suit each other: neither the new limb nor the limbs of the one
    group are more than `longest_limb` times longer than those of the other let expect.
    """
    groups = [Group((row,), (), 1 << joint, ()) for row, joint in enumerate(peaks.joints.tolist())]
    telling = (connections.lengths >= MEASURABLE) & (typical >= TELLING)
    sizes = np.where(telling, connections.lengths / typical, np.nan)
    limits = (connections.lengths - SLACK) / typical / longest_limb if longest_limb else np.zeros(len(typical))
    tries = zip(connections.starts.tolist(), connections.ends.tolist(), sizes.tolist(), limits.tolist(), strict=True)
    for row, (a, b, size, least) in enumerate(tries):
        one, other = groups[a], groups[b]
        if one is not other:
            if one.joints & other.joints:
                continue
            if (one.sizes or other.sizes) and not _suit(one.sizes, other.sizes, least, longest_limb):
                continue
            if len(one.peaks) < len(other.peaks):
                one, other = other, one
            for peak in other.peaks:
                groups[peak] = one
            one.peaks += other.peaks
            one.limbs += other.limbs
            one.joints |= other.joints
            one.sizes += other.sizes
        one.limbs += (row,)
        known = (size,) if size == size else ()  # NaN is no size
        one.sizes = tuple(sorted(one.sizes + known))
    return [group for group in {id(group): group for group in groups}.values() if group.limbs]


def _suit(sizes: tuple[float, ...], other_sizes: tuple[float, ...], least: float, longest: float) -> bool:
    """Whether groups of these sizes may be one person, and are not smaller than `least`, as the new limb tells."""
    middle = sizes[len(sizes) // 2] if len(sizes) >= SURE_SIZES else None
    other = other_sizes[len(other_sizes) // 2] if len(other_sizes) >= SURE_SIZES else None
    if (middle is not None and middle < least) or (other is not None and other < least):
        return False
    return middle is None or other is None or not longest or max(middle, other) <= longest * min(middle, other)


def share_joints(groups: list[Group], peaks: Peaks, connections: Connections, *, least_score: float) -> None:
    """Give a joint to a second person too where both limbs that end in it score at least `least_score`.

    Two people who hold hands have one peak for both wrists. The limbs must come from different places (at least half a
    limb apart), else they are two answers for one limb.
    """
    person, peak = flatten([group.peaks for group in groups])
    owner = np.full(len(peaks), -1)
    owner[peak] = person
    used = np.zeros(len(connections), bool)
    used[flatten([group.limbs for group in groups])[1]] = True
    first, second = owner[connections.starts], owner[connections.ends]
    strong = (connections.scores >= least_score) & (first >= 0) & (second >= 0)
    for row in np.flatnonzero(strong & (first != second) & ~used).tolist():
        pair = int(connections.starts[row]), int(connections.ends[row])
        for near, shared in (pair, pair[::-1]):
            group, bit = groups[owner[near]], 1 << int(peaks.joints[shared])
            side = connections.starts if shared == pair[0] else connections.ends
            other = np.flatnonzero(strong & used & (side == shared) & (connections.limbs == connections.limbs[row]))
            if group.joints & bit or not len(other):
                continue
            far = int(connections.starts[other[0]] + connections.ends[other[0]]) - shared
            apart = np.hypot(peaks.x[far] - peaks.x[near], peaks.y[far] - peaks.y[near])
            if apart >= 0.5 * connections.lengths[row]:
                group.peaks += (shared,)
                group.limbs += (row,)
                group.joints |= bit
                break


def flatten(lists: Sequence[Sequence[int]]) -> tuple[Index, Index]:
    """Row of the list and value, for all values of all lists."""
    rows = np.repeat(np.arange(len(lists)), [len(values) for values in lists])
    return rows, np.fromiter(chain.from_iterable(lists), np.intp, len(rows))
