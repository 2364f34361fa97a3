"""Labelled and found people of all pictures as arrays, and who was found as whom.

The rules of matching are those of COCO's keypoint evaluation, see `coco_matching`; here all categories are matched at
once, as groups of people of one picture and one category, and the people found may get other places and scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.coco_ap import choose_sigmas
from manypose.evaluation.coco_matching import THRESHOLDS, Found, Labelled, Matches, match_people, precision_and_recall
from manypose.evaluation.oks import similarity_of_pairs
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.truth import Truth
from manypose.skeleton import Skeleton, skeleton_of_joints

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Sigmas = Sequence[float] | Mapping[str, float]

_ALL_SIZES = ((0.0, 1e10),)
BEYOND = -2  # a person found who does not count: 20 of his picture score more


@dataclass(frozen=True, eq=False)
class Scene:
    """G labelled and D found people; `pictures` of both are the numbers of their groups, of one picture and category.

    `rows` (D,) are the places of the found people in their results; `sigmas` and `flip` (K,) those of the joints.
    Group n is of the picture `image_ids[n // categories]`.
    """

    labelled: Labelled
    found: Found
    rows: Indices
    sigmas: Floats
    flip: Indices
    image_ids: tuple[Any, ...]
    categories: int

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(D, K): joints that were not found, which stand as 0, 0, 0 in a results file."""
        return ~self.found.joints[..., :2].any(axis=2) & (self.found.joints[..., 2] <= 0)

    def change(self, *, joints: Floats | None = None, scores: Floats | None = None) -> Scene:
        """The same with the people found at other places, or with other scores."""
        joints = self.found.joints if joints is None else joints
        scores = self.found.scores if scores is None else scores
        return dataclasses.replace(self, found=dataclasses.replace(self.found, joints=joints, scores=scores))


def read_scene(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str | None = None,
    sigmas: Sigmas | None = None,
) -> Scene:
    """The people of a truth and of rows of COCO's results format, in the pictures that count.

    Sigmas are chosen as in `coco_ap.keypoint_average_precision`; left and right are known by the names of the joints.
    Raises `DataError` for a truth without sigmas, areas or boxes, `FormatError` for results that do not fit it.
    """
    ordered = tuple(sorted(truth.image_ids, key=lambda image_id: (isinstance(image_id, str), image_id)))
    place = {image_id: n for n, image_id in enumerate(ordered)}
    number = np.array([place[image_id] for image_id in truth.image_ids], np.intp)
    category = {category_id: n for n, category_id in enumerate(truth.category_ids)}
    table = tabulate(results, truth)
    groups = [place[row["image_id"]] * len(category) + category[row["category_id"]] for row in truth.annotations]
    return Scene(
        labelled=_read_labelled(truth, np.array(groups, np.intp)),
        found=Found(number[table.pictures] * len(category) + table.categories, table.joints, table.scores, table.areas),
        rows=table.rows,
        sigmas=choose_sigmas(truth, skeleton, sigmas),
        flip=skeleton_of_joints(truth.joints).flip,
        image_ids=ordered,
        categories=len(category),
    )


def _read_labelled(truth: Truth, groups: Indices) -> Labelled:
    rows = truth.annotations
    for row in rows:
        for field in ("area", "bbox"):
            if row.get(field) is None:
                raise DataError(f"{truth.name}: annotation {row.get('id')} has no {field}; OKS needs it")
    joints = np.array([truth.keypoints(row) for row in rows], np.float64).reshape(-1, len(truth.joints), 3)
    counts = (joints[..., 2] > 0).sum(axis=1).tolist()
    crowd = np.array([bool(row.get("iscrowd")) for row in rows], bool)
    numbers = [row.get("num_keypoints", count) for row, count in zip(rows, counts, strict=True)]
    return Labelled(
        pictures=groups,
        joints=joints,
        areas=np.array([row["area"] for row in rows], np.float64),
        boxes=np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4),
        ignored=crowd | (np.array(numbers, np.int64) == 0),
        crowd=crowd,
    )


def pair_up(first: Indices, second: Indices) -> tuple[Indices, Indices]:
    """All (i, j) with first[i] == second[j], ordered by i, then j."""
    order = np.argsort(second, kind="stable")
    starts, ends = (np.searchsorted(second[order], first, side=side) for side in ("left", "right"))
    counts = ends - starts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(first)), counts), order[np.repeat(starts, counts) + within]


def joint_similarities(places: Floats, labelled: Floats, areas: Floats, sigmas: Floats) -> Floats:
    """COCO's similarity of joints: exp(-d^2 / (2 area (2 sigma)^2)); places (..., K, 2), areas (...,) -> (..., K)."""
    x, y = places[..., 0] - labelled[..., 0], places[..., 1] - labelled[..., 1]
    return np.asarray(np.exp((x**2 + y**2) / -((2 * sigmas) ** 2) / (areas[..., None] + np.spacing(1)) / 2), np.float64)


def best_similarities(scene: Scene) -> Floats:
    """(D,) the highest OKS of each person found with a labelled one of his group who counts; 0 where nobody does."""
    labelled = scene.labelled
    i, j = pair_up(scene.found.pictures, labelled.pictures)
    i, j = i[~labelled.ignored[j]], j[~labelled.ignored[j]]
    values = similarity_of_pairs(
        scene.found.joints, labelled.joints, labelled.areas, labelled.boxes, scene.sigmas, i, j
    )
    best = np.zeros(len(scene.rows))
    np.maximum.at(best, i, values)
    return best


def match(scene: Scene, thresholds: Floats = THRESHOLDS) -> Matches:
    """The matches of the people of a scene, of all sizes, at thresholds (T,) of OKS."""
    groups = len(scene.image_ids) * scene.categories
    return match_people(
        scene.labelled, scene.found, scene.sigmas, groups, areas=_ALL_SIZES, thresholds=np.asarray(thresholds)
    )[0]


def matched_with(scene: Scene, threshold: float) -> Indices:
    """(D,) the labelled person as whom each was found, -1 for nobody, `BEYOND` for who does not count."""
    whom = np.full(len(scene.rows), BEYOND, np.intp)
    matches = match(scene, np.array([threshold]))
    whom[matches.rows] = matches.matches[0]
    return whom


def average_precision(scene: Scene, matches: Matches, *, clean: bool = False) -> float:
    """COCO's AP of `match`, the mean over its thresholds and the categories; -1 where nobody counts.

    With `clean`, people found who match nobody do not count.
    """
    ignored = matches.ignored | (matches.matches < 0) if clean else matches.ignored
    curves = []
    for category in range(scene.categories):
        rows = np.flatnonzero(matches.pictures % scene.categories == category)
        part = dataclasses.replace(
            matches,
            rows=matches.rows[rows],
            pictures=matches.pictures[rows],
            matches=matches.matches[:, rows],
            ignored=ignored[:, rows],
            people=matches.people[category :: scene.categories],
        )
        if part.people.any():
            curves.append(precision_and_recall(part)[0])
    return float(np.mean(np.stack(curves, axis=-1))) if curves else -1.0
