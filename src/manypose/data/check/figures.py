"""Counts and histograms of a data set, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose.data.check.labels import Labels
from manypose.data.check.people import sizes_of

Histogram = dict[str, Any]

_PIXELS = (0, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
_SHARES = tuple(i / 10 for i in range(11))
_ASPECTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0, 5.0)


def count_file(labels: Labels) -> dict[str, Any]:
    """Pictures, people, joints of a file, and how each joint is labelled: visible, hidden, absent.

    `absent` counts only people who have any joint.
    """
    flags = labels.keypoints[..., 2]
    people = (flags > 0).any(axis=1)
    per_person = (flags > 0).sum(axis=1)[people]
    shown, known = flags[people] > 1, flags[people] > 0
    return {
        "pictures": len(labels.pictures),
        "pictures_with_people": len(set(labels.where.tolist()) - {-1}),
        "annotations": len(labels.where),
        "people_with_joints": int(people.sum()),
        "boxes_only": int((~people & ~labels.crowd).sum()),
        "crowds": int(labels.crowd.sum()),
        "joints": int(known.sum()),
        "joints_per_person": round(float(per_person.mean()), 2) if len(per_person) else 0.0,
        "joint_flags": {
            joint: {
                "visible": int(shown[:, k].sum()),
                "hidden": int((known & ~shown)[:, k].sum()),
                "absent": int((~known)[:, k].sum()),
            }
            for k, joint in enumerate(labels.joints)
        },
    }


def histograms(all_labels: Sequence[Labels]) -> dict[str, Histogram]:
    """Histograms over all files: `edges` (of the bins) and `counts`; of whole numbers `values` and `counts`."""
    joints, people, heights, shares, aspects, sides = [], [], [], [], [], []
    for labels in all_labels:
        joints.append(labels.labelled.sum(axis=1))
        people.append(np.bincount(labels.where[labels.where >= 0], minlength=len(labels.pictures)))
        good = (labels.boxes[:, 2:] > 0).all(axis=1)
        boxes = labels.boxes[good]
        heights.append(boxes[:, 3])
        shares.append(boxes[:, 3] / sizes_of(labels)[good, 1])
        aspects.append(boxes[:, 2] / boxes[:, 3])
        sides.append([max(picture.size) for picture in labels.pictures if all(picture.size)])
    return {
        "joints per person": _whole_numbers(joints),
        "people per picture": _whole_numbers(people),
        "height of people, pixels": _binned(heights, _PIXELS),
        "height of people, parts of the picture's": _binned(shares, _SHARES),
        "width of boxes over height": _binned(aspects, _ASPECTS),
        "longer side of pictures, pixels": _binned(sides, _PIXELS),
    }


def _whole_numbers(parts: Sequence[NDArray[np.intp]]) -> Histogram:
    counts = np.bincount(np.concatenate([np.zeros(0, np.intp), *parts]))
    used = np.flatnonzero(counts)
    return {"values": used.tolist(), "counts": counts[used].tolist()}


def _binned(parts: Sequence[ArrayLike], edges: Sequence[float]) -> Histogram:
    values = np.concatenate([np.zeros(0), *(np.asarray(part, np.float64) for part in parts)])
    clipped = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    return {"edges": list(edges), "counts": np.histogram(clipped, edges)[0].tolist()}
