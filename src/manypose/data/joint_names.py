"""Joints of files in those of a skeleton, by name: what `People.build(...).to(...)` gives, without its checks.

Files hold thousands of pictures with a person or two each, so what is the same for all of them is found out once.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose.skeleton import Skeleton, skeleton_of_joints

Array = NDArray[np.float32]


@functools.lru_cache(maxsize=256)
def joint_sources(names: tuple[str, ...], skeleton: Skeleton) -> tuple[tuple[int, ...], ...]:
    """For each joint of `skeleton`, the indices in `names` of what it is made of; empty when it cannot be had.

    That is the joint of its name, or all parts of one that `skeleton` derives.
    """

    def find(joint: str) -> tuple[int, ...]:
        parts = (joint,) if joint in names else skeleton.derived.get(joint, ())
        return tuple(names.index(part) for part in parts) if set(parts) <= set(names) else ()

    return tuple(find(joint) for joint in skeleton.joints)


@functools.lru_cache(maxsize=256)
def _check(names: tuple[str, ...]) -> None:
    skeleton_of_joints(names)


def map_people(
    keypoints: ArrayLike, scores: ArrayLike, names: tuple[str, ...], skeleton: Skeleton
) -> tuple[Array, Array]:
    """Keypoints (N, K, 2) and scores (N, K) of people (N, k, 2), (N, k) whose joints have these names.

    What is not finite is absent: NaN, with a score of 0. Other scores are clipped to 0..1. A derived joint is the
    middle of its parts, which must all be there, and has the least of their scores. Raises `SkeletonError` for people
    with names of joints that no skeleton can have.
    """
    given = np.array(keypoints, np.float32)
    mapped = np.full((len(given), len(skeleton), 2), np.nan, np.float32)
    mapped_scores = np.zeros(mapped.shape[:2], np.float32)
    if not len(given):
        return mapped, mapped_scores
    _check(names)
    there = np.isfinite(given).all(axis=2)
    given[~there] = np.nan
    sure = np.where(there, np.clip(np.nan_to_num(np.asarray(scores, np.float32)), 0, 1), np.float32(0))
    sources = joint_sources(names, skeleton)
    single = [k for k, parts in enumerate(sources) if len(parts) == 1]
    rows = [sources[k][0] for k in single]
    mapped[:, single], mapped_scores[:, single] = given[:, rows], sure[:, rows]
    for k, parts in enumerate(sources):
        if len(parts) > 1:
            mapped[:, k] = given[:, parts].mean(axis=1)
            mapped_scores[:, k] = sure[:, parts].min(axis=1)
    return mapped, mapped_scores
