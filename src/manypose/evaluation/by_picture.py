"""How well the people of each picture were found: for the worst pictures, and for two runs beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.coco_ap import choose_sigmas
from manypose.evaluation.coco_matching import MOST_PEOPLE
from manypose.evaluation.nme import FACE_POINTS, face_errors
from manypose.evaluation.oks import object_keypoint_similarity
from manypose.evaluation.pck import TORSO, pck
from manypose.evaluation.results_file import ResultTable
from manypose.evaluation.truth import Truth
from manypose.people import People

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PictureScores:
    """How well each picture with labelled people was found, 0 to 1, by image id; `measure` says by what."""

    measure: str
    values: Mapping[Any, float]


def score_pictures(truth: Truth, table: ResultTable, people: Mapping[Any, People]) -> PictureScores | None:
    """The mean OKS of the labelled people of each picture; without sigmas, areas or boxes the share of joints found.

    Found is within 0.2 of the torso, as in `pck`. Of faces it is 1 less their NME, 0 for who was missed or has an NME
    over 1. `people` are those of `table`. None for joints that have nothing of this.
    """
    if truth.sigmas is not None and all(row.get(key) for row in truth.annotations for key in ("area", "bbox")):
        found = picture_similarities(truth, table)
        return PictureScores("mean OKS", {key: float(np.mean(values)) for key, values in found.items() if values})
    if has_torso(truth):
        hits = picture_hits(truth, people)
        return PictureScores("PCK at 0.2", {key: hit / count for key, (hit, count) in hits.items() if count})
    if len(truth.joints) in FACE_POINTS and truth.has_people:
        return PictureScores("1 - NME", _face_scores(truth, table))
    return None


def _face_scores(truth: Truth, table: ResultTable) -> dict[Any, float]:
    scores: dict[Any, list[float]] = {}
    try:
        faces = face_errors(truth, table)
    except DataError:  # nobody has both eyes
        return {}
    for image_id, errors in faces:
        scores.setdefault(image_id, []).append(0.0 if errors is None else max(0.0, 1 - float(np.nanmean(errors))))
    return {image_id: float(np.mean(values)) for image_id, values in scores.items()}


def has_torso(truth: Truth) -> bool:
    """Whether the joints hold those that PCK measures the torso with."""
    return {joint for ends in TORSO for joint in ends} <= set(truth.joints)


def picture_similarities(truth: Truth, table: ResultTable) -> dict[Any, tuple[float, ...]]:
    """The OKS of the labelled people of each picture with whom was found in their place, 0 for who was not found.

    People are paired one to one, the most similar first, with the 20 best found of each picture and category. Pictures
    where nobody counts have none. Raises `DataError` for a truth without sigmas.
    """
    sigmas = choose_sigmas(truth)
    found: dict[tuple[Any, Any], list[int]] = {}
    for n in np.argsort(-table.scores, kind="stable"):
        key = truth.image_ids[table.pictures[n]], truth.category_ids[table.categories[n]]
        found.setdefault(key, []).append(int(n))
    similarities: dict[Any, tuple[float, ...]] = dict.fromkeys(truth.image_ids, ())
    labelled: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for row in truth.annotations:
        if row["num_keypoints"] and not row["iscrowd"]:
            labelled.setdefault((row["image_id"], row["category_id"]), []).append(row)
    for key, rows in labelled.items():
        joints = table.joints[found.get(key, [])[:MOST_PEOPLE]]
        keypoints = np.stack([truth.keypoints(row) for row in rows])
        areas, boxes = [row["area"] for row in rows], [row["bbox"] for row in rows]
        similarities[key[0]] += _paired(object_keypoint_similarity(joints, keypoints, areas, boxes, sigmas))
    return similarities


def picture_hits(truth: Truth, people: Mapping[Any, People]) -> dict[Any, tuple[int, int]]:
    """How many labelled joints of each picture were found within 0.2 of the torso, and how many there are.

    Both are 0 where nobody has a torso.
    """
    rows: dict[Any, list[Mapping[str, Any]]] = {image_id: [] for image_id in truth.image_ids}
    for row in truth.annotations:
        rows[row["image_id"]].append(row)
    hits = {}
    for image_id, members in rows.items():
        one = dataclasses.replace(
            truth, image_ids=(image_id,), images=(), annotations=tuple(members), other_ids=frozenset()
        )
        try:
            figures = pck(one, {image_id: people[image_id]} if image_id in people else {}, resamples=1)
        except DataError:  # nobody with a torso
            hits[image_id] = (0, 0)
            continue
        hits[image_id] = (round(figures["PCK"] * figures["labelled"]), figures["labelled"])
    return hits


def _paired(similarities: Floats) -> tuple[float, ...]:
    """The similarity of each labelled person (G,) from that of all pairs (D, G)."""
    table = similarities.copy()
    best = np.zeros(table.shape[1])
    while table.size and table.max() > 0:
        row, column = np.unravel_index(table.argmax(), table.shape)
        best[column] = table[row, column]
        table[row], table[:, column] = 0, 0
    return tuple(best.tolist())
