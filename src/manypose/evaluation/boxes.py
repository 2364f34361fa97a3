"""Boxes for top-down models to be measured in: the true ones of a set, or those of a detector's file.

Both come as image id -> (boxes (N, 4) x1 y1 x2 y2 as in `People`, scores (N,)), with every picture that counts.
Source: the COCO and MPII data sets of HRNet and Simple Baselines, and of mmpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, FormatError
from manypose.evaluation.results_file import load_rows
from manypose.evaluation.truth import Truth
from manypose.evaluation.truth_rows import LARGEST_FILE, is_finite

Array = NDArray[np.float32]
Boxes = dict[Any, tuple[Array, Array]]
Edges = tuple[float, float, float, float]  # x1 y1 x2 y2 along the outer edges of pixels
Rule = Literal["hrnet", "mmpose", "as labelled"]

PERSON = 1  # the category of people in COCO
MPII_UNIT, MPII_SHIFT = 200.0, 15.0  # pixels at scale 1: side of a person's square, and how far it is moved down
_FIELDS = ("image_id", "category_id", "bbox", "score")


def truth_boxes(truth: Truth, *, rule: Rule = "hrnet") -> Boxes:
    """The boxes of all labelled people; crowds, and people without labelled joints, are left out.

    `rule` is how a box is cleaned: as "hrnet" does it, cut to the picture and a pixel narrower and lower, as "mmpose",
    whose last edges are at most those of the last pixel, or "as labelled". What has no area then is left out. The
    squares of MPII are moved down by 15 pixels at scale 1 and never cut, whatever the rule. All score 1.

    Raises `DataError` for a person without a box.
    """
    found = _labelled_edges(truth, rule)
    return _as_arrays({image_id: [(edges, 1.0) for edges, _ in rows] for image_id, rows in found.items()})


def box_owners(truth: Truth, *, rule: Rule = "hrnet") -> dict[Any, tuple[Any, ...]]:
    """Whose the boxes of `truth_boxes` are: the ids of the annotations, in the same order."""
    return {image_id: tuple(owner for _, owner in rows) for image_id, rows in _labelled_edges(truth, rule).items()}


def read_detections(
    file: Path | str,
    truth: Truth,
    *,
    threshold: float | None = None,
    category_id: int = PERSON,
    max_bytes: int = LARGEST_FILE,
) -> Boxes:
    """The boxes of a detector's file: a JSON list of image_id, category_id, bbox (x, y, width, height) and score.

    So COCO's detection results are, and HRNet's COCO_val2017_detections_AP_H_56_person.json. Entries of other
    categories, of pictures of the set that do not count, with a score below `threshold` and without area are left out;
    the others stay as they are, also where they reach out of the picture, in the order of the file.

    Raises `FormatError` that names the file, the entry and what is wrong with it: a field that is missing or no number,
    NaN, a negative size, or a picture that the set does not have.
    """
    counted = frozenset(truth.image_ids)
    found: dict[Any, list[tuple[Edges, float]]] = {image_id: [] for image_id in truth.image_ids}
    for n, row in enumerate(load_rows(file, max_bytes=max_bytes)):
        fault = _find_fault(row, truth, counted)
        if fault:
            raise FormatError(f"{file}: entry {n}: {fault}")
        x, y, width, height = row["bbox"]
        person = row["category_id"] == category_id and row["image_id"] in counted
        if person and width > 0 and height > 0 and (threshold is None or row["score"] >= threshold):
            found[row["image_id"]].append(((x, y, x + width, y + height), float(row["score"])))
    return _as_arrays(found)


def _labelled_edges(truth: Truth, rule: Rule) -> dict[Any, list[tuple[Edges, Any]]]:
    """The edges of the boxes of all labelled people, and the ids of their annotations."""
    if rule not in get_args(Rule):
        raise DataError(f"rule is {rule!r}, expected one of {', '.join(get_args(Rule))}")
    sizes = {row["id"]: (row.get("width"), row.get("height")) for row in truth.images}
    found: dict[Any, list[tuple[Edges, Any]]] = {image_id: [] for image_id in truth.image_ids}
    for row in truth.annotations:
        if row["iscrowd"] or not row["num_keypoints"]:
            continue
        if row.get("bbox") is None:
            raise DataError(f"{truth.name}: annotation {row.get('id')} has no bbox, which a top-down model needs")
        if truth.kind.startswith("mpii"):
            edges = _mpii_edges(row["bbox"])
        else:
            edges = _clean(row["bbox"], sizes.get(row["image_id"], (None, None)), rule)
        if edges[2] > edges[0] and edges[3] > edges[1]:
            found[row["image_id"]].append((edges, row.get("id")))
    return found


def _find_fault(row: Any, truth: Truth, counted: frozenset[Any]) -> str | None:
    if not isinstance(row, Mapping):
        return f"is a {type(row).__name__}, expected an object with {', '.join(_FIELDS)}"
    absent = [name for name in _FIELDS if name not in row]
    if absent:
        return f"has no {', '.join(absent)}"
    box, image_id = row["bbox"], row["image_id"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)):
        return f"bbox is {str(box)[:60]}, expected four finite numbers x, y, width, height"
    if box[2] < 0 or box[3] < 0:
        return f"bbox is {box}, and no width or height is negative"
    if not is_finite(row["score"]):
        return f"score is {str(row['score'])[:60]}, expected a finite number"
    if not isinstance(row["category_id"], int) or isinstance(row["category_id"], bool):
        return f"category_id is {str(row['category_id'])[:60]}, expected a whole number"
    if not isinstance(image_id, (int, str)) or isinstance(image_id, bool):
        return f"image_id is {str(image_id)[:60]}, expected a whole number or a text"
    if image_id not in counted and image_id not in truth.other_ids:
        return f"{truth.name} has no picture with image_id {image_id!r}; is it the file of another set?"
    return None


def _clean(box: Iterable[float], size: tuple[float | None, float | None], rule: Rule) -> Edges:
    """The edges of a box x, y, width, height; of an unknown size of the picture nothing is cut."""
    x, y, width, height = box
    right, bottom = (float("inf") if side is None else side - 1 for side in size)
    if rule == "as labelled":
        return x, y, x + width, y + height
    if rule == "mmpose":
        ends = min(right, x + width), min(bottom, y + height)
        return min(right, max(0.0, x)), min(bottom, max(0.0, y)), max(0.0, ends[0]), max(0.0, ends[1])
    left, top = max(0.0, x), max(0.0, y)
    return left, top, min(right, left + max(0.0, width - 1)), min(bottom, top + max(0.0, height - 1))


def _mpii_edges(box: Iterable[float]) -> Edges:
    """Edges of MPII's square; the program takes its centre, the index of a pixel, for a place between pixels."""
    x, y, width, height = (float(value) for value in box)
    left, top = x - 0.5, y - 0.5 + MPII_SHIFT * height / MPII_UNIT
    return left, top, left + width, top + height


def _as_arrays(found: Mapping[Any, list[tuple[Edges, float]]]) -> Boxes:
    """Edges of pixels as the boxes of `People`, half a pixel before them."""
    return {
        image_id: (
            (np.array([edges for edges, _ in rows], np.float64).reshape(-1, 4) - 0.5).astype(np.float32),
            np.array([score for _, score in rows], np.float32),
        )
        for image_id, rows in found.items()
    }
