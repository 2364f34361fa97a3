"""People made up for tests, and how well decoded people answer to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.fields import FieldsCodec
from manypose.skeleton import load_skeleton

OPENPOSE18 = load_skeleton("openpose18")
CODEC = FieldsCodec(OPENPOSE18)
NEAR = 8.0  # pixels within which a joint counts as found

# A standing person with a torso (neck to hips) of length 1 around the origin, seen from the front.
UPRIGHT = {
    "nose": (0.0, -0.9),
    "neck": (0.0, -0.5),
    "right_shoulder": (-0.28, -0.5),
    "right_elbow": (-0.42, 0.0),
    "right_wrist": (-0.5, 0.42),
    "left_shoulder": (0.28, -0.5),
    "left_elbow": (0.42, 0.0),
    "left_wrist": (0.5, 0.42),
    "right_hip": (-0.17, 0.5),
    "right_knee": (-0.2, 1.22),
    "right_ankle": (-0.2, 1.95),
    "left_hip": (0.17, 0.5),
    "left_knee": (0.2, 1.22),
    "left_ankle": (0.2, 1.95),
    "right_eye": (-0.07, -0.97),
    "left_eye": (0.07, -0.97),
    "right_ear": (-0.2, -0.92),
    "left_ear": (0.2, -0.92),
}


def person(
    centre: tuple[float, float], torso: float, *, without: tuple[str, ...] = (), **moved: tuple[float, float]
) -> NDArray[np.float32]:
    """Keypoints (18, 2) in pixels of a person whose torso is so many pixels long.

    `without` are joints that are not there; `moved` are joints that lie elsewhere, in pixels.
    """
    keypoints = np.array([UPRIGHT[joint] for joint in OPENPOSE18.joints], np.float32) * torso + centre
    for joint in without:
        keypoints[OPENPOSE18.index(joint)] = np.nan
    for joint, place in moved.items():
        keypoints[OPENPOSE18.index(joint)] = place
    return keypoints.astype(np.float32)


def answers(found: NDArray[np.float32], truth: NDArray[np.float32]) -> tuple[int, int, float]:
    """People found (half of their joints or more are near), joints near, and the mean error of these in pixels.

    Found and true people are assigned one to one so that the most joints are near, as in the goldens' `quality.json`.
    """
    from scipy.optimize import linear_sum_assignment

    distances = np.linalg.norm(found[:, None].astype(np.float64) - truth[None], axis=-1)
    near = distances < NEAR  # NaN, an absent joint, is not near
    counts = near.sum(axis=-1)
    rows, columns = linear_sum_assignment(-counts)
    there = (~np.isnan(truth[..., 0])).sum(axis=1)
    people = int((counts[rows, columns] >= 0.5 * there[columns]).sum())
    errors = distances[rows, columns][near[rows, columns]]
    return people, int(counts[rows, columns].sum()), float(errors.mean()) if len(errors) else 0.0
