"""One person found twice: people of one picture compared with each other, and the weaker ones of a pair left out.

Source: the evaluation of HRNet and Simple Baselines (oks_nms, soft_oks_nms), with its rules and its thresholds.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Suppression = Literal["none", "hard", "soft"]
Table = NDArray[np.float64]


def pair_similarity(keypoints: ArrayLike, areas: ArrayLike, sigmas: ArrayLike) -> Table:
    """Object keypoint similarity (N, N), 0..1, of N people with each other.

    `keypoints` (N, K, 2) hold NaN for absent joints: one that both have not does not count, one that only one has
    counts 0. `areas` (N,) are in square pixels; of a pair their mean counts.
    """
    places, sizes = np.asarray(keypoints, np.float64), np.asarray(areas, np.float64)
    squared = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    areas_of_pairs = (sizes[:, None] + sizes[None]) / 2 + np.spacing(1)
    spread = 2 * areas_of_pairs[..., None] * (2 * np.asarray(sigmas, np.float64)) ** 2
    there = ~np.isnan(places[..., 0])
    counted = (there[:, None] | there[None]).sum(axis=-1)
    similar = np.where(np.isnan(squared), 0.0, np.exp(-squared / spread))
    return np.asarray(similar.sum(axis=-1) / np.maximum(counted, 1), np.float64)


def suppress_hard(scores: ArrayLike, similarity: Table, threshold: float = 0.9) -> NDArray[np.intp]:
    """Rows (M,) of people, the highest score first, without those more similar than `threshold` to a better one."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, others = order[0], order[1:]
        kept.append(int(best))
        order = others[similarity[best, others] <= threshold]
    return np.array(kept, np.intp)


def suppress_soft(scores: ArrayLike, similarity: Table, threshold: float = 0.9, most: int = 20) -> NDArray[np.intp]:
    """Rows (M,) of the first `most` people when each one found lowers the scores of those who are similar to him.

    A score is multiplied by exp(-similarity^2 / threshold). Only the order comes out: the scores stay what they were.
    """
    left = np.asarray(scores, np.float64)
    order = np.argsort(-left, kind="stable")
    left = left[order]
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        left = left[1:] * np.exp(-(similarity[best, order] ** 2) / threshold)
        again = np.argsort(-left, kind="stable")
        order, left = order[again], left[again]
    return np.array(kept, np.intp)
