"""How far scores can be believed: of the joints and people that score 0.8, are four of five right?

A **joint** is right when it lies within the stated distance of that joint of the person it was found on: its similarity
(COCO's, of one joint) is at least 0.5, or it is within a given share of the square root of the person's area. People
found are matched with labelled ones at an OKS of 0.1 for that. Labelled joints that were found count. All joints of
somebody who matches nobody are wrong.

A **person** is right when COCO's matching gives him a labelled person at an OKS of 0.5.

Who matches somebody to be ignored (a crowd, somebody without labelled joints) does not count, as in COCO's AP. Nor do
pictures whose row says `"people_complete": false`: not everybody is labelled there, so nobody knows who is wrong, and
to count only who is right would flatter.

The expected calibration error (ECE) is the mean distance between score and share of right ones over groups of equally
many. Source: M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
Binning", AAAI 2015; groups of equal mass as in J. Nixon et al., "Measuring Calibration in Deep Learning", 2019. The
curves are isotonic regressions: B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass
Probability Estimates", KDD 2002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, require
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.pairs import Floats, Indices, Scene, Sigmas, joint_similarities, matched_with, read_scene
from manypose.evaluation.truth import Truth
from manypose.metadata import ScoreCurve
from manypose.skeleton import Skeleton

LOCALISED = 0.1  # least OKS with a labelled person for joints to be compared with his
SIMILAR = 0.5  # least similarity of a joint, and OKS of a person, that is right
GROUPS = 10
MOST_KNOTS = 32
LEAST_IN_GROUP = 10  # scores between two knots, at least
LEAST_SLOPE = 0.01  # of a curve, so that no two scores become one and the order of people stays
NEAREST_KNOTS = 1e-3


@dataclass(frozen=True, eq=False)
class Judged:
    """n scores, which of them are of something right, and the places of their pictures in `Scene.image_ids`."""

    scores: Floats
    right: NDArray[np.bool_]
    pictures: Indices

    def __len__(self) -> int:
        return len(self.scores)

    def only(self, pictures: NDArray[np.bool_]) -> Judged:
        """Those of some pictures, given as flags of all."""
        chosen = pictures[self.pictures]
        return Judged(self.scores[chosen], self.right[chosen], self.pictures[chosen])


def calibration_figures(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str | None = None,
    sigmas: Sigmas | None = None,
    distance: float | None = None,
    groups: int = GROUPS,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Reliability of the scores of joints and people of COCO result rows: plain numbers, ready for JSON.

    With `distance`, a joint is right within this share of the square root of the person's area, else at a similarity of
    0.5. Sigmas as in `coco_ap.keypoint_average_precision`. Gives `right` (in words, when a joint is) and, for `joints`
    and `people`, what `reliability` gives; a part is left out where nothing can be judged, or where scores are outside
    of 0..1, as the sums are that some products give.

    Raises `DataError` for a truth without sigmas, areas or boxes, `FormatError` for results that do not fit it.
    """
    scene = read_scene(truth, results, skeleton=skeleton, sigmas=sigmas)
    incomplete = incomplete_pictures(truth, scene)
    figures: dict[str, Any] = {"right": describe_right(distance)}
    judged = {
        "joints": judge_joints(scene, incomplete, distance=distance),
        "people": judge_people(scene, incomplete),
    }
    for name, scores in judged.items():
        if len(scores) and scores.scores.min() >= 0 and scores.scores.max() <= 1:
            figures[name] = reliability(scores, len(scene.image_ids), groups=groups, resamples=resamples, seed=seed)
    return figures


def describe_right(distance: float | None) -> str:
    """When a joint is right, in words."""
    if distance is None:
        return f"a joint at a similarity of {SIMILAR}, a person at an OKS of {SIMILAR}"
    return f"a joint within {distance:g} of the root of the person's area, a person at an OKS of {SIMILAR}"


def incomplete_pictures(truth: Truth, scene: Scene) -> NDArray[np.bool_]:
    """(N,) the pictures, in the order of the scene, whose rows say that not everybody is labelled."""
    partial = {row["id"] for row in truth.images if row.get("people_complete") is False}
    return np.array([image_id in partial for image_id in scene.image_ids], bool)


def judge_people(scene: Scene, incomplete: NDArray[np.bool_]) -> Judged:
    """The people found who count; nobody does in the `incomplete` pictures (N,)."""
    matched = matched_with(scene, SIMILAR)
    pictures = scene.found.pictures // scene.categories
    chosen = np.flatnonzero(_counted(scene, matched, incomplete[pictures]))
    return Judged(scene.found.scores[chosen], matched[chosen] >= 0, pictures[chosen])


def judge_joints(scene: Scene, incomplete: NDArray[np.bool_], *, distance: float | None = None) -> Judged:
    """The joints found of the people who count: of somebody who matches nobody all, of the others the labelled ones."""
    matched = matched_with(scene, LOCALISED)
    pictures = scene.found.pictures // scene.categories
    chosen = np.flatnonzero(_counted(scene, matched, incomplete[pictures]))
    whom = matched[chosen]
    right, counted = np.zeros(scene.absent[chosen].shape, bool), ~scene.absent[chosen]
    met = whom >= 0
    labelled, areas = scene.labelled.joints[whom[met]], scene.labelled.areas[whom[met]]
    places = scene.found.joints[chosen[met], :, :2]
    if distance is None:
        right[met] = joint_similarities(places, labelled[..., :2], areas, scene.sigmas) >= SIMILAR
    else:
        right[met] = np.hypot(*np.moveaxis(places - labelled[..., :2], 2, 0)) <= distance * np.sqrt(areas)[:, None]
    counted[met] &= labelled[..., 2] > 0
    rows, _ = np.nonzero(counted)
    return Judged(scene.found.joints[chosen][..., 2][counted], right[counted], pictures[chosen[rows]])


def _counted(scene: Scene, matched: Indices, incomplete: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(D,) who counts: matched or not, but not with somebody to be ignored, nor where not all are labelled."""
    counted: NDArray[np.bool_] = (matched >= -1) & ~incomplete
    met = np.flatnonzero(matched >= 0)
    counted[met] &= ~scene.labelled.ignored[matched[met]]
    return counted


def reliability(
    judged: Judged, pictures: int, *, groups: int = GROUPS, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """ECE and the curve of reliability over at most `groups` groups of equally many scores; equal scores stay together.

    Gives `count`, `right` (the share), `ECE`, `ECE_low`, `ECE_high`, and `curve`: for each group its `count`, mean
    `score`, and share `right` with `low` and `high`. The intervals are the 95 % percentile bootstrap of `resamples`
    draws of the `pictures`, with the groups as they are; that of the ECE lies a little high, since every draw adds its
    own scatter. Raises `DataError` when there are no scores.
    """
    if not len(judged):
        raise DataError("no score can be judged: nothing was found, or nobody is labelled")
    group = _group(judged.scores, groups)
    sums = np.zeros((3, pictures, group.max() + 1))
    for table, values in zip(sums, (np.ones(len(judged)), judged.scores, judged.right), strict=True):
        np.add.at(table, (judged.pictures, group), values)
    draws = draw_counts(pictures, resamples=resamples, seed=seed)
    counts, scores, right = sums.sum(axis=1)
    drawn_counts, drawn_scores, drawn_right = (draws @ table for table in sums)
    shares = drawn_right / np.where(drawn_counts, drawn_counts, np.nan)
    errors = np.abs(drawn_scores - drawn_right).sum(axis=1) / np.maximum(drawn_counts.sum(axis=1), 1)
    low, high = percentile_interval(np.where(drawn_counts.sum(axis=1), errors, np.nan))
    intervals = [percentile_interval(column) for column in shares.T]
    return {
        "count": len(judged),
        "right": float(judged.right.mean()),
        "ECE": float(np.abs(scores - right).sum() / counts.sum()),
        "ECE_low": low,
        "ECE_high": high,
        "curve": [
            {
                "count": int(counts[n]),
                "score": float(scores[n] / counts[n]),
                "right": float(right[n] / counts[n]),
                "low": intervals[n][0],
                "high": intervals[n][1],
            }
            for n in range(len(counts))
        ],
    }


def _group(scores: Floats, groups: int) -> Indices:
    """(n,) numbers 0, 1, 2 ... of groups by rising score, as equal as ties allow."""
    edges = np.quantile(scores, np.arange(1, groups) / groups, method="higher") if groups > 1 else np.zeros(0)
    return np.unique(np.searchsorted(edges, scores, side="right"), return_inverse=True)[1].reshape(-1)


def fit_curve(judged: Judged) -> ScoreCurve:
    """The rising curve that makes scores (0..1) the share of right ones among those who score the same.

    The isotonic regression of the shares in up to 30 groups of equally many scores, with a knot in the middle of each
    of its steps, from 0 up to the first and level after the last; 0.01 of the raw score is mixed in, so that the curve
    rises everywhere.

    Raises `DataError` for scores outside of 0..1, and for fewer than 20 of them. Needs SciPy 1.12.
    """
    if len(judged) < 2 * LEAST_IN_GROUP:
        raise DataError(f"{len(judged)} scores are too few for a curve; at least {2 * LEAST_IN_GROUP} are needed")
    if judged.scores.min() < 0 or judged.scores.max() > 1:
        raise DataError(f"scores reach from {judged.scores.min():g} to {judged.scores.max():g}, expected 0 to 1")
    isotonic_regression = require("scipy.optimize", extra="eval").isotonic_regression
    group = _group(judged.scores, min(MOST_KNOTS - 2, len(judged) // LEAST_IN_GROUP))
    counts = np.bincount(group)
    scores, shares = np.bincount(group, judged.scores) / counts, np.bincount(group, judged.right) / counts
    steps = isotonic_regression(shares, weights=counts)
    starts = steps.blocks[:-1]
    weights = np.add.reduceat(counts, starts)
    middles, levels = np.add.reduceat(scores * counts, starts) / weights, steps.x[starts]
    knots = [(0.0, 0.0)]
    for middle, level in zip(middles.tolist(), levels.tolist(), strict=True):
        if middle > knots[-1][0] + NEAREST_KNOTS and middle < 1 - NEAREST_KNOTS:
            knots.append((middle, level))
    knots.append((1.0, float(levels[-1])))
    raw = np.array([knot[0] for knot in knots]).round(6)
    right = (1 - LEAST_SLOPE) * np.array([knot[1] for knot in knots]) + LEAST_SLOPE * raw
    return ScoreCurve(raw=tuple(raw.tolist()), right=tuple(right.round(6).tolist()))
