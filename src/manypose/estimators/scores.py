"""Scores as probabilities: the curves that `manypose calibrate` has stored in a model file, applied to what is found.

What a network calls a score is high where it is sure, and no more. The curves rise everywhere, so the order of people
and joints stays as it is; thresholds in the metadata are about the scores before, those that a user gives about the
scores after, which are the ones that he sees.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from manypose.metadata import Metadata, ScoreCurve
from manypose.people import People

Array = NDArray[np.float32]


def apply_curve(scores: Array, curve: ScoreCurve) -> Array:
    """The share of right ones among those with these scores, of any shape."""
    return np.interp(scores, curve.raw, curve.right).astype(np.float32)


def calibrate(people: People, metadata: Metadata) -> People:
    """The same people with calibrated scores; joints that were not found keep 0.

    They are given back as they are where the metadata know no calibration.
    """
    calibration = metadata.calibration
    if calibration is None:
        return people
    scores, person_scores = people.scores, people.person_scores
    if calibration.joints is not None:
        scores = np.where(people.visible, apply_curve(scores, calibration.joints), 0).astype(np.float32)
    if calibration.people is not None:
        person_scores = apply_curve(person_scores, calibration.people)
    return dataclasses.replace(people, scores=scores, person_scores=person_scores)


def raw_threshold(threshold: float | None, metadata: Metadata) -> float | None:
    """The score before calibration that a threshold of a user, which is about scores after it, stands for.

    For decoders that leave people out themselves. None stays None: the model's own threshold, which is raw already.
    """
    curve = None if metadata.calibration is None else metadata.calibration.people
    if threshold is None or curve is None:
        return threshold
    if threshold > curve.right[-1]:
        return float("inf")  # nobody is as sure as that
    return 0.0 if threshold <= curve.right[0] else float(np.interp(threshold, curve.right, curve.raw))
