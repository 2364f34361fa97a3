"""PCK: the share of the labelled joints that were found within a part of the torso, with an interval over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.truth import Truth, read_truth
from manypose.people import People
from manypose.skeleton import load_skeleton

TORSO = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
COMMON_SKELETON = "openpose18"


class PckFigures(TypedDict):
    """PCK, 0..1, of all joints with its 95 % interval, of each joint that is labelled at all, and what was counted."""

    PCK: float
    PCK_low: float
    PCK_high: float
    joints: dict[str, float]
    labelled: int
    pictures: int
    left_out: int


def pck(
    truth: Truth | Path | str | Mapping[str, Any],
    predictions: Mapping[Any, People],
    *,
    threshold: float = 0.2,
    joints: Sequence[str] | None = None,
    image_ids: Sequence[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PckFigures:
    """Of all labelled joints, the share found within `threshold` of the torso.

    `truth` is a COCO-style file (or its parsed content) whose categories carry keypoints. `predictions` are the people
    found in each picture, by image id, of any skeleton: joints go by name, and a joint that the skeleton lacks but
    openpose18 derives (the neck) is derived; a picture that is not there has nobody. `joints` are the names that count;
    by default those that the truth shares with openpose18, whatever skeleton is measured, so that figures compare (13
    of Leeds Sports Pose: not the head top). With `image_ids` only these pictures count.

    The torso is the longer of the two diagonals from a shoulder to the opposite hip that are labelled; a labelled
    person without either (or with one of length 0) is left out. Each labelled person is compared with the one predicted
    person of the picture with the most hits; a joint not found is a miss. Distances are Euclidean, in pixels.

    `labelled` counts joints, `pictures` the pictures that count, `left_out` the people without a torso. The interval is
    the percentile bootstrap of `resamples` draws of pictures from `seed`.

    Raises `DataError` for a truth that cannot be measured against, and for predictions of pictures it does not have.
    Source: Y. Yang and D. Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", PAMI 2013; the torso
    as a measure as in B. Sapp and B. Taskar, "MODEC", CVPR 2013.
    """
    checked = read_truth(truth, image_ids=image_ids)
    unknown = set(predictions) - set(checked.image_ids) - checked.other_ids
    if unknown:
        raise DataError(f"predictions: picture {min(unknown, key=str)!r} is not in {checked.name}")
    names = _joint_names(checked, joints)
    people, left_out = _measured_people(checked, names)
    if not people:
        raise DataError(f"{checked.name}: no labelled person has a torso (a shoulder and the opposite hip)")
    labelled = np.array([person.labelled for person in people])
    hits = np.array([_best_hits(person, predictions.get(person.image_id), names, threshold) for person in people])
    total = labelled.sum(axis=0)
    pictures = {image_id: n for n, image_id in enumerate(sorted({person.image_id for person in people}, key=str))}
    rows = np.array([pictures[person.image_id] for person in people])
    draws = draw_counts(len(pictures), resamples=resamples, seed=seed)
    low, high = percentile_interval(_per_picture(hits, rows, draws) / _per_picture(labelled, rows, draws))
    return PckFigures(
        PCK=float(hits.sum() / total.sum()),
        PCK_low=low,
        PCK_high=high,
        joints={name: float(hits[:, k].sum() / total[k]) for k, name in enumerate(names) if total[k]},
        labelled=int(total.sum()),
        pictures=len(pictures),
        left_out=left_out,
    )


class _Person(NamedTuple):
    """A labelled person: (K, 2) places and (K,) flags of the joints that count, and the length of the torso."""

    image_id: Any
    places: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    torso: float


def _joint_names(truth: Truth, joints: Sequence[str] | None) -> tuple[str, ...]:
    if joints is None:
        joints = [name for name in truth.joints if name in load_skeleton(COMMON_SKELETON).joints]
    unknown = [name for name in joints if name not in truth.joints]
    if unknown or not joints:
        what = f"no joint {unknown[0]!r}" if unknown else f"no joint of {COMMON_SKELETON}"
        raise DataError(f"{truth.name}: {what}; it has {', '.join(truth.joints)}")
    return tuple(joints)


def _measured_people(truth: Truth, names: Sequence[str]) -> tuple[list[_Person], int]:
    """The labelled people who have a torso, and how many have joints but none."""
    people, left_out = [], 0
    rows = [truth.joints.index(name) for name in names]
    for annotation in truth.annotations:
        keypoints = truth.keypoints(annotation)
        labelled = keypoints[rows, 2] > 0
        if annotation.get("iscrowd") or not labelled.any():
            continue
        torso = _torso(truth, keypoints)
        if torso > 0:
            people.append(_Person(annotation["image_id"], keypoints[rows, :2], labelled, torso))
        else:
            left_out += 1
    return people, left_out


def _torso(truth: Truth, keypoints: NDArray[np.float64]) -> float:
    """The longer diagonal that is labelled; 0 where none is."""
    lengths = [0.0]
    for ends in TORSO:
        if not set(ends) <= set(truth.joints):
            continue
        (shoulder, hip) = keypoints[[truth.joints.index(joint) for joint in ends]]
        if shoulder[2] > 0 and hip[2] > 0:
            lengths.append(float(np.hypot(*(shoulder - hip)[:2])))
    return max(lengths)


def _best_hits(person: _Person, found: People | None, names: Sequence[str], threshold: float) -> NDArray[np.bool_]:
    """(K,) the hits of the predicted person with the most; of equal ones that with the higher score.

    Equal scores are decided by the hits themselves, so that the order of the people never matters.
    """
    if found is None or not len(found):
        return np.zeros(len(names), bool)
    distances = np.linalg.norm(_places(found, names) - person.places, axis=2)
    hits = (distances <= threshold * person.torso) & person.labelled  # NaN, not found, is no hit
    best = max(range(len(found)), key=lambda n: (hits[n].sum(), found.person_scores[n], *hits[n]))
    row: NDArray[np.bool_] = hits[best]
    return row


def _places(people: People, names: Sequence[str]) -> NDArray[np.float32]:
    """(N, K, 2) the joints of some names, NaN where the people do not have them."""
    common = people.to(COMMON_SKELETON)
    places = np.full((len(people), len(names), 2), np.nan, np.float32)
    for k, name in enumerate(names):
        source = people if name in people.skeleton.joints else common
        if name in source.skeleton.joints:
            places[:, k] = source.joint(name)
    return places


def _per_picture(joints: NDArray[np.bool_], rows: NDArray[np.intp], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) how many of the joints (N, K) of the people are true in each draw of pictures; `rows` are their pictures."""
    per_picture = np.zeros(draws.shape[1])
    np.add.at(per_picture, rows, joints.sum(axis=1))
    return draws @ per_picture
