"""Why joints and people were not found where they are: jitter, inversion, swap, miss, wrong scores, background.

Source: M. R. Ronchi and P. Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017,
and the program of its authors, matteorr/coco-analyze. A person found is compared with the labelled person that COCO's
matching gives him at an OKS of 0.1. The similarity of each of his joints (COCO's, of one joint) is taken with the same
joint of every labelled person in the picture, and with the joint on the other side of the body. Where the best one is

- the right joint of the right person, at 0.85 or more: the joint is **good**; from 0.5 it is a **jitter**;
- from 0.5, the other side of the right person: an **inversion** (left and right changed over);
- from 0.5, any joint like it, of either side, of somebody else: a **swap**;
- below 0.5: a **miss**, and so is a joint that was not found.

Only labelled joints count. What an error costs is the AP that is gained where errors of one type after the other are
put right: a miss is moved to where its similarity is 0.5, a jitter to 0.85, an inversion and a swap as far from the
right joint as they lay from the wrong one. Then people get the score that is best for AP (their highest OKS with
anybody labelled, those alike lowered by soft non-maximum suppression), then those who still match nobody, the false
positives of the background, are taken away, then labelled people whom nobody matches, the false negatives.

One thing differs from the program: when it moves joints it leaves out the factor 2 that OKS has with sigma, so that
they come nearer (to similarities of 0.96 and 0.84) than the paper says and than they do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.evaluation.pairs import (
    Floats,
    Indices,
    Scene,
    Sigmas,
    average_precision,
    best_similarities,
    joint_similarities,
    match,
    matched_with,
    pair_up,
    read_scene,
)
from manypose.evaluation.truth import Truth
from manypose.skeleton import Skeleton

KINDS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(len(KINDS))
UNLABELLED = -1
CORRECTED = ("miss", "swap", "inversion", "jitter")  # in this order
LOCALISED = 0.1  # least OKS of a person found and a labelled one for their joints to be compared
NEAR, RIGHT = 0.5, 0.85  # least similarities of a jitter and of a good joint
_INSIDE = 1 - 1e-9  # of a distance, so that what is moved to a threshold does not fall below it by rounding
_AT_ONCE = 20_000  # people whose joints are compared with all of their pictures


@dataclass(frozen=True, eq=False)
class JointErrors:
    """What is wrong with the joints of the M people found who were matched with a labelled one.

    `rows` (M,) are their rows in the results, `people` (M,) the truth's annotations; `kinds` (M, K) are places in
    `KINDS`, `UNLABELLED` where the joint is not labelled; `absent` (M, K) bool: the joint was not found, which is a
    miss. `similarity` (M, K) is the highest that the joint has with any joint of its sort in the picture.
    """

    rows: Indices
    people: Indices
    kinds: NDArray[np.int8]
    absent: NDArray[np.bool_]
    similarity: Floats


def analyse_errors(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str | None = None,
    sigmas: Sigmas | None = None,
) -> dict[str, Any]:
    """Counts of every type of error, per joint and in all, and what each costs; plain numbers, ready for JSON.

    `results` are rows of COCO's results format. Sigmas are the truth's, those given, or those of `skeleton`, as in
    `coco_ap.keypoint_average_precision`. Left and right are known by the names of the joints.

    - `matched`: people found whose joints were compared;
    - `joints`: `total` labelled joints of theirs and how many of them are of each of `KINDS`; of the misses, `absent`
      were not found at all. `shares`: the same as shares of the total (0 where there are no joints);
      `by_joint`: the counts of each joint by name;
    - `background`: `false_positives` and `false_negatives` at an OKS of 0.5 that are left when joints and scores are
      put right, and how many people were `found` (at most 20 in a picture count) and are `labelled`;
    - `average_precision`: AP as it is (`baseline`) and when all errors up to each type are put right, in the order of
      its keys; `gain`: by how much each type raises it. With all put right it is 1. AP is -1 where nobody counts.

    Raises `DataError` for a truth without sigmas, areas or boxes, `FormatError` for results that do not fit it.
    """
    scene = read_scene(truth, results, skeleton=skeleton, sigmas=sigmas)
    errors = _find(scene)
    precision, background = _costs(scene, errors)
    values = list(precision.values())
    counts = {kind: int((errors.kinds == n).sum()) for n, kind in enumerate(KINDS)}
    total = sum(counts.values())
    absent = errors.absent & (errors.kinds == MISS)
    return {
        "matched": len(errors.rows),
        "joints": {"total": total, **counts, "absent": int(absent.sum())},
        "shares": {kind: count / total if total else 0.0 for kind, count in counts.items()},
        "by_joint": {
            joint: {
                "total": int((errors.kinds[:, k] != UNLABELLED).sum()),
                **{kind: int((errors.kinds[:, k] == n).sum()) for n, kind in enumerate(KINDS)},
                "absent": int(absent[:, k].sum()),
            }
            for k, joint in enumerate(truth.joints)
        },
        "background": background,
        "average_precision": precision,
        "gain": {
            name: after - before for name, before, after in zip([*precision][1:], values[:-1], values[1:], strict=True)
        },
    }


def find_joint_errors(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str | None = None,
    sigmas: Sigmas | None = None,
) -> JointErrors:
    """The type of every labelled joint of the people found; parameters and errors as of `analyse_errors`."""
    return _find(read_scene(truth, results, skeleton=skeleton, sigmas=sigmas))


def _find(scene: Scene) -> JointErrors:
    matched = matched_with(scene, LOCALISED)
    found = np.flatnonzero(matched >= 0)
    found = found[~scene.labelled.ignored[matched[found]]]
    people = matched[found]
    absent = scene.absent[found]
    kinds, similarity = np.zeros(absent.shape, np.int8), np.zeros(absent.shape)
    for start in range(0, len(found), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        kinds[part], similarity[part] = _compare(scene, found[part], people[part], absent[part])
    kinds[scene.labelled.joints[people, :, 2] <= 0] = UNLABELLED
    return JointErrors(scene.rows[found], people, kinds, absent, similarity)


def _compare(
    scene: Scene, found: Indices, people: Indices, absent: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], Floats]:
    """Kinds and highest similarities (M, K) of the joints of people found, each the match of a labelled person."""
    if not len(found):
        return np.zeros(absent.shape, np.int8), np.zeros(absent.shape)
    i, j = pair_up(scene.found.pictures[found], scene.labelled.pictures)
    straight = _alike(scene, found[i], j, np.arange(absent.shape[1]))
    turned = _alike(scene, found[i], j, scene.flip)
    starts = np.flatnonzero(np.diff(i, prepend=-1))
    mine = (j == people[i])[:, None]

    def highest(values: Floats, rows: NDArray[np.bool_]) -> Floats:
        return np.where(absent, 0, np.maximum.reduceat(np.where(rows, values, 0), starts, axis=0))

    own, inverted = highest(straight, mine), highest(turned, mine)
    other, other_inverted = highest(straight, ~mine), highest(turned, ~mine)
    best = np.maximum.reduce([own, inverted, other, other_inverted])
    right = own == best  # of equals the joint itself comes first, then somebody else's, then the other side
    wrong = np.where((inverted == best) & (other < best), INVERSION, SWAP)
    kinds = np.where(right, np.where(own >= RIGHT, GOOD, JITTER), wrong)
    return np.where(best < NEAR, MISS, kinds).astype(np.int8), best


def _alike(scene: Scene, found: Indices, people: Indices, order: Indices) -> Floats:
    """Similarities (P, K) of joints with those of labelled people in another order; 0 where these are not labelled."""
    labelled = scene.labelled.joints[people][:, order]
    alike = joint_similarities(
        scene.found.joints[found, :, :2], labelled[..., :2], scene.labelled.areas[people], scene.sigmas
    )
    return np.where(labelled[..., 2] > 0, alike, 0)


def _costs(scene: Scene, errors: JointErrors) -> tuple[dict[str, float], dict[str, int]]:
    """AP when errors are put right one type after the other, and what is left of the background at the end."""
    joints, places = scene.found.joints.copy(), _right_places(scene, errors)
    changed = np.searchsorted(scene.rows, errors.rows)
    precision = {"baseline": average_precision(scene, match(scene))}
    for kind in CORRECTED:
        m, k = np.nonzero(errors.kinds == KINDS.index(kind))
        joints[changed[m], k, :2] = places[m, k]
        precision[kind] = average_precision(scene, match(scene.change(joints=joints)))
    scene = scene.change(joints=joints)
    scene = scene.change(scores=_best_scores(scene))
    matches = match(scene)
    precision["score"] = average_precision(scene, matches)
    precision["false_positives"] = average_precision(scene, matches, clean=True)
    precision["false_negatives"] = 1.0 if matches.counted.any() else -1.0
    met = np.isin(np.arange(len(matches.counted)), matches.matches[0])
    return precision, {
        "found": len(matches.rows),
        "labelled": int(matches.counted.sum()),
        "false_positives": int(matches.misses[0].sum()),
        "false_negatives": int((matches.counted & ~met).sum()),
    }


def _right_places(scene: Scene, errors: JointErrors) -> Floats:
    """(M, K, 2) where joints lie once they are put right: to the right of the labelled place."""
    kept = {MISS: NEAR, JITTER: RIGHT}
    alike = np.clip(errors.similarity, NEAR, 1)
    for kind, value in kept.items():
        alike[errors.kinds == kind] = value
    areas = scene.labelled.areas[errors.people] + np.spacing(1)
    distances = np.sqrt(-2 * np.log(alike) * areas[:, None]) * 2 * scene.sigmas * _INSIDE
    places = scene.labelled.joints[errors.people, :, :2].copy()
    places[..., 0] += distances
    return places


def _best_scores(scene: Scene) -> Floats:
    """Scores (D,) that are best for AP: the highest OKS with anybody who counts, those alike lowered.

    They have six decimals, as in a results file: joints are moved to the same few similarities, and the order of people
    who score the same must not hang on the last bits.
    """
    scores, absent, groups = best_similarities(scene), scene.absent, scene.found.pictures
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(rows) > 1:
            alike = _alike_found(scene.found.joints[rows, :, :2], ~absent[rows], scene.sigmas)
            scores[rows] = _suppress(scores[rows], alike)
    return scores.round(6)


def _suppress(scores: Floats, alike: Floats) -> Floats:
    """Soft non-maximum suppression: each person, the best first, lowers those like him by exp(-2 OKS^2)."""
    scores, waiting, decay = scores.copy(), np.ones(len(scores), bool), np.exp(-2 * alike**2)
    for _ in range(len(scores)):
        best = int(np.where(waiting, scores, -1).argmax())
        waiting[best] = False
        scores[waiting] *= decay[best, waiting]
    return scores


def _alike_found(places: Floats, there: NDArray[np.bool_], sigmas: Floats) -> Floats:
    """OKS (n, n) of people found with each other, of the joints that both have; the area is that of their boxes."""
    low = np.where(there[..., None], places, np.inf).min(axis=1)
    high = np.where(there[..., None], places, -np.inf).max(axis=1)
    areas = np.maximum(high - low, 0).prod(axis=1)
    common = there[:, None] & there[None]
    alike = joint_similarities(places[:, None], places[None], (areas[:, None] + areas[None]) / 2, sigmas)
    return np.asarray((alike * common).sum(axis=2) / np.maximum(common.sum(axis=2), 1), np.float64)
