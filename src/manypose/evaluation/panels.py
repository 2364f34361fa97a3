"""Labelled and found people drawn on their pictures, side by side, for pages and contact sheets."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.drawing.people import draw_people
from manypose.evaluation.results_file import ResultTable
from manypose.evaluation.truth import Truth
from manypose.people import People

Picture = NDArray[np.uint8]

MOST_PEOPLE = 60  # drawn of those found in one picture; a detector's list goes on for hundreds of bad ones
_GAP = 6  # pixels between panels on a sheet
_GAP_GREY = 128


def labelled_people(truth: Truth) -> dict[Any, People]:
    """The people with labelled joints in every picture that counts, by image id; crowds are left out."""
    rows: dict[Any, list[Mapping[str, Any]]] = {image_id: [] for image_id in truth.image_ids}
    for annotation in truth.annotations:
        if not annotation.get("iscrowd"):
            rows[annotation["image_id"]].append(annotation)
    return {image_id: _people(truth, members) for image_id, members in rows.items()}


def found_people(truth: Truth, table: ResultTable) -> dict[Any, People]:
    """The people found in every picture that counts, by image id; in some that may be nobody."""
    keypoints = np.where(table.joints[..., 2:] > 0, table.joints[..., :2], np.nan)
    everyone = People.build(
        keypoints, table.joints[..., 2], skeleton=truth.skeleton, person_scores=table.scores.astype(np.float32)
    )
    order = np.argsort(table.pictures, kind="stable")
    ends = np.searchsorted(table.pictures[order], np.arange(len(truth.image_ids) + 1))
    return {image_id: everyone[order[ends[n] : ends[n + 1]]] for n, image_id in enumerate(truth.image_ids)}


def best_people(people: People, threshold: float | None) -> People:
    """The 60 best people, those of the highest score first, whose score reaches the threshold where there is one."""
    order = np.argsort(-people.person_scores, kind="stable")
    if threshold is not None:
        order = order[people.person_scores[order] >= np.float32(threshold)]
    return people[order[:MOST_PEOPLE]]


def panel(rgb: Picture, people: People, *, long_side: int | None = None, scores: bool = False) -> Picture:
    """A picture with people drawn on it; with `long_side` it is made that large first, so that the lines stay fine."""
    if long_side is not None:
        height, width = rgb.shape[:2]
        scale = long_side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=how), np.uint8)
        people = people.transform(geometry.resize_affine((width, height), size), size)
    return draw_people(rgb, people, scores=scores)


def side_by_side(panels: Sequence[Picture]) -> Picture:
    """Panels of one height in a row, with a grey line between them."""
    bar = np.full((len(panels[0]), _GAP, 3), _GAP_GREY, np.uint8)
    row = [part for one in panels for part in (bar, one)][1:]
    return np.concatenate(row, axis=1)


def as_data(rgb: Picture, *, quality: int = 82) -> str:
    """A picture as a `data:` address of a JPEG, which stands in a page."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _people(truth: Truth, rows: Sequence[Mapping[str, Any]]) -> People:
    values = np.array([truth.keypoints(row) for row in rows], np.float64).reshape(-1, len(truth.joints), 3)
    labelled = values[..., 2:] > 0
    someone = labelled.any(axis=(1, 2))
    return People.build(np.where(labelled, values[..., :2], np.nan)[someone], skeleton=truth.skeleton)
