"""Finds people whose left and right were probably swapped by the labeller. Nothing here is certain.

The rules hold for any turn of the picture; all use distances that must be clear, so noise does not trip them:

face        The visible nose lies on the wrong side of the line between the visible eyes. Whoever shows his face to the
            camera has nose, left eye and right eye in one sense of turn.
ears        The line between the ears runs against the line between the eyes.
torso       The shoulders run against the hips, both clearly wide: a twist of more than about 60 degrees.
back        Shoulders run against the eyes of a face seen from the front, and are more than 3 times as wide.
knees, elbows  Both upper parts cross each other and both lower parts cross back, with all three pairs clearly apart:
            the middle joints are swapped.
shape       For faces and other rigid shapes: the mirrored labels fit the mean shape of the file much better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose.data.check.findings import Finding
from manypose.data.check.labels import Labels

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHORTEST = 3.0  # pixels between two joints from which their direction says something
NOSE = 0.2  # parts of the distance of the eyes that the nose is off their line
AGAINST = -0.5  # cosine between two directions that run against each other
WIDE_SHOULDERS, WIDE_HIPS = 0.35, 0.2  # parts of the torso's length
APART = 0.12  # parts of the limb's length between left and right
BROAD = 3.0  # shoulders over eyes, where 5.7 is usual
STRAIGHT = 0.3  # parts of the distance of the eyes that the nose of a face seen from the front is off the middle
BETTER = 0.5  # error of the mirrored shape over that of the shape as it is labelled
ENOUGH = 20  # people from which a share says something about the whole file


@dataclass(frozen=True)
class _Rule:
    name: str
    text: str
    judged: Mask
    suspected: Mask


def check_sides(labels: Labels) -> tuple[list[Finding], dict[str, dict[str, int]]]:
    """The suspects, and for each rule that the joints allow how many people it could judge and suspects."""
    rules = _rules(labels)
    findings = []
    suspects = np.zeros(len(labels.where), np.bool_)
    for rule in rules:
        suspects |= rule.suspected
    for person in np.flatnonzero(suspects).tolist():
        reasons = "; ".join(rule.text for rule in rules if rule.suspected[person])
        findings.append(labels.finding("sides-swapped", person, reasons))
    certain = [rule for rule in rules if rule.name in ("face", "shape")]
    judged = sum(int(rule.judged.sum()) for rule in certain)
    wrong = sum(int(rule.suspected.sum()) for rule in certain)
    if judged >= ENOUGH and wrong > judged / 2:
        text = f"{wrong} of the {judged} people whose face can be judged; the names left and right are probably swapped"
        findings.append(Finding("sides-swapped-all", labels.file, "", text))
    counts = {
        rule.name: {"judged": int(rule.judged.sum()), "suspected": int(rule.suspected.sum())}
        for rule in rules
        if rule.judged.any()
    }
    return findings, counts


def _rules(labels: Labels) -> list[_Rule]:
    find = _Finder(labels)
    rules = []
    if find.has("nose", "eye"):
        rules.append(_face(find))
    if find.has("eye", "ear"):
        rules.append(_ears(find))
    if find.has("shoulder", "hip"):
        rules.append(_torso(find))
    if find.has("nose", "eye", "shoulder"):
        rules.append(_back(find))
    for middle, chain in (("knee", ("hip", "knee", "ankle")), ("elbow", ("shoulder", "elbow", "wrist"))):
        if find.has(*chain):
            rules.append(_crossed(find, f"{middle}s", chain))
    mirrored = labels.flip != np.arange(len(labels.flip))
    if not find.has("shoulder") and mirrored.sum() >= 10:
        rules.append(_shape(labels))
    return rules


@dataclass(frozen=True)
class _Finder:
    """Joints by name: `pair("hip")` are left and right with a mask of the people who have both."""

    labels: Labels

    def has(self, *names: str) -> bool:
        joints = self.labels.joints
        return all(name in joints or {f"left_{name}", f"right_{name}"} <= set(joints) for name in names)

    def one(self, name: str) -> tuple[Array, NDArray[np.float64]]:
        index = self.labels.joints.index(name)
        return self.labels.keypoints[:, index, :2], self.labels.keypoints[:, index, 2]

    def pair(self, name: str) -> tuple[Array, Array, NDArray[np.float64]]:
        left, flag_left = self.one(f"left_{name}")
        right, flag_right = self.one(f"right_{name}")
        return left, right, np.minimum(flag_left, flag_right)


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _length(a: Array) -> Array:
    return np.asarray(np.hypot(a[..., 0], a[..., 1]))


def _face(find: _Finder) -> _Rule:
    left, right, seen = find.pair("eye")
    nose, nose_seen = find.one("nose")
    across = left - right
    width = np.maximum(_length(across), 1e-9)
    depth = _cross(across, nose - (left + right) / 2) / width**2
    judged = (np.minimum(seen, nose_seen) >= 2) & (width >= SHORTEST) & (np.abs(depth) > NOSE)
    text = "the eyes are in the wrong order for a face that shows its nose"
    return _Rule("face", text, judged, judged & (depth < 0))


def _against(a: Array, b: Array) -> tuple[Mask, Mask]:
    """Whether two directions are long enough, and run against each other."""
    lengths = _length(a), _length(b)
    long = (lengths[0] >= SHORTEST) & (lengths[1] >= SHORTEST)
    cosine = (a * b).sum(axis=-1) / np.maximum(lengths[0] * lengths[1], 1e-9)
    return long, long & (cosine < AGAINST)


def _ears(find: _Finder) -> _Rule:
    left_eye, right_eye, eyes = find.pair("eye")
    left_ear, right_ear, ears = find.pair("ear")
    long, against = _against(left_eye - right_eye, left_ear - right_ear)
    judged = long & (np.minimum(eyes, ears) > 0)
    return _Rule("ears", "the ears run against the eyes", judged, judged & against)


def _torso(find: _Finder) -> _Rule:
    left_shoulder, right_shoulder, shoulders = find.pair("shoulder")
    left_hip, right_hip, hips = find.pair("hip")
    axis = (left_shoulder + right_shoulder - left_hip - right_hip) / 2
    length = np.maximum(_length(axis), 1e-9)
    upper = _cross(axis, left_shoulder - right_shoulder) / length**2
    lower = _cross(axis, left_hip - right_hip) / length**2
    known = (np.minimum(shoulders, hips) > 0) & (length >= 2 * SHORTEST)
    judged = known & (np.abs(upper) > WIDE_SHOULDERS) & (np.abs(lower) > WIDE_HIPS)
    return _Rule("torso", "the shoulders run against the hips", judged, judged & (upper * lower < 0))


def _back(find: _Finder) -> _Rule:
    left_eye, right_eye, eyes = find.pair("eye")
    nose, nose_seen = find.one("nose")
    left, right, shoulders = find.pair("shoulder")
    across = left_eye - right_eye
    width = np.maximum(_length(across), 1e-9)
    aside = ((nose - (left_eye + right_eye) / 2) * across).sum(axis=-1) / width**2
    frontal = (np.minimum(eyes, nose_seen) >= 2) & (width >= SHORTEST) & (np.abs(aside) < STRAIGHT)
    broad = ((left - right) * across).sum(axis=-1) / width**2
    judged = frontal & (shoulders > 0) & (np.abs(broad) > BROAD)
    return _Rule("back", "the shoulders run against a face seen from the front", judged, judged & (broad < 0))


def _crossed(find: _Finder, name: str, chain: tuple[str, str, str]) -> _Rule:
    joints = [find.pair(joint) for joint in chain]
    known = np.min([flags for _, _, flags in joints], axis=0) > 0
    (left_top, right_top, _), (left_mid, right_mid, _), (left_end, right_end, _) = joints
    upper = _segments_cross(left_top, left_mid, right_top, right_mid)
    lower = _segments_cross(left_mid, left_end, right_mid, right_end)
    left_length = _length(left_top - left_mid) + _length(left_mid - left_end)
    right_length = _length(right_top - right_mid) + _length(right_mid - right_end)
    narrow = np.min([_length(left - right) for left, right, _ in joints], axis=0)
    judged = known & (narrow > APART * (left_length + right_length) / 2) & (narrow >= SHORTEST)
    return _Rule(name, f"the {name} are swapped: the limbs cross there and back", judged, judged & upper & lower)


def _segments_cross(a: Array, b: Array, c: Array, d: Array) -> Mask:
    first = _cross(b - a, c - a) * _cross(b - a, d - a)
    second = _cross(d - c, a - c) * _cross(d - c, b - c)
    return np.asarray((first < 0) & (second < 0))


def _shape(labels: Labels) -> _Rule:
    """Faces: compared with the mean shape after the best shift, turn and size (ordinary Procrustes)."""
    judged: Mask = np.asarray(labels.labelled.all(axis=1))
    suspected: Mask = np.zeros(len(labels.where), np.bool_)
    if judged.sum() >= 3:
        shapes = _normal(labels.keypoints[judged, :, 0] + 1j * labels.keypoints[judged, :, 1])
        mean = _mean_shape(shapes)
        as_labelled, mirrored = (1 - np.abs(s @ mean.conj()) ** 2 for s in (shapes, shapes[:, labels.flip]))
        suspected[judged] = mirrored < BETTER * as_labelled
    return _Rule("shape", "the mirrored labels fit the mean shape better", judged, suspected)


def _normal(shapes: NDArray[np.complex128]) -> NDArray[np.complex128]:
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _mean_shape(shapes: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The unit shape that all are nearest to: the first eigenvector (Kent, The Complex Bingham Distribution, 1994)."""
    _, vectors = np.linalg.eigh(shapes.T @ shapes.conj())
    return np.asarray(vectors[:, -1])
