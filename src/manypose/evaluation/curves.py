"""Precision over recall, and the score that parts people found from not found best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose.evaluation.coco_ap import Measured, choose_sigmas, measure
from manypose.evaluation.coco_matching import RECALLS, THRESHOLDS, precision_and_recall
from manypose.evaluation.results_file import ResultTable
from manypose.evaluation.truth import Truth

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Precision (T, R) at each of `recalls` (R,) for each of `thresholds` (T,) of OKS; `highest` (T,) recall.

    All are the mean over the categories that have people. `best_score` is the score from which people count as found
    with the best F1 at OKS 0.50; None when nobody was found.
    """

    thresholds: Floats
    recalls: Floats
    precision: Floats
    highest: Floats
    best_score: float | None


def precision_curves(truth: Truth, table: ResultTable) -> Curves:
    """The curves of results, with people of all sizes, as COCO's AP averages them.

    Raises `DataError` for a truth that has no sigmas or in which nobody counts.
    """
    measured = measure(truth, table, choose_sigmas(truth))
    found = [precision_and_recall(category[0]) for category in measured.categories if category[0].people.any()]
    return Curves(
        thresholds=THRESHOLDS,
        recalls=RECALLS,
        precision=np.mean([precision for precision, _ in found], axis=0),
        highest=np.mean([highest for _, highest in found], axis=0),
        best_score=_best_score(measured, table),
    )


def _best_score(measured: Measured, table: ResultTable) -> float | None:
    parts = [(table.scores[table.categories == n], category[0]) for n, category in enumerate(measured.categories)]
    scores = np.concatenate([own[matches.rows] for own, matches in parts])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(np.concatenate([matches.hits[0] for _, matches in parts])[order])
    misses = np.cumsum(np.concatenate([matches.misses[0] for _, matches in parts])[order])
    if not len(hits) or not hits[-1]:
        return None
    people = measured.counts()["people"]
    return float(scores[order][np.argmax(2 * hits / (hits + misses + people))])
