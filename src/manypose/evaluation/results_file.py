"""Rows of COCO's results format, read and checked against the truth they are of; each fault names its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import FormatError
from manypose.evaluation.truth import Truth
from manypose.evaluation.truth_rows import LARGEST_FILE, WHOLE_BODY_PARTS, is_finite, parse_file

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
FIELDS = ("image_id", "category_id", "keypoints", "score")


@dataclass(frozen=True)
class ResultTable:
    """The rows that are of pictures that count: D people.

    `rows` (D,) are their places in the list, `pictures` (D,) those of their pictures in `truth.image_ids`, `categories`
    (D,) those in `truth.category_ids`; `joints` (D, K, 3) x, y, score, `scores` (D,), and `boxes` (D, 4) x, y, width,
    height, None unless all rows have one.
    """

    rows: NDArray[np.intp]
    pictures: NDArray[np.intp]
    categories: NDArray[np.intp]
    joints: Floats
    scores: Floats
    boxes: Floats | None

    @property
    def areas(self) -> Floats:
        """(D,) what COCO takes for the size of a person found: of the box, else of the joints, 0, 0 among them."""
        if self.boxes is not None:
            return np.asarray(self.boxes[:, 2] * self.boxes[:, 3])
        low, high = self.joints[..., :2].min(axis=1), self.joints[..., :2].max(axis=1)
        return np.asarray((high[:, 0] - low[:, 0]) * (high[:, 1] - low[:, 1]))


def read_results(
    file: Path | str, truth: Truth, *, duplicates: bool = False, max_bytes: int = LARGEST_FILE
) -> list[dict[str, Any]]:
    """The rows of a COCO results file, checked against the truth: also those of its pictures that do not count.

    Rows of COCO-WholeBody in their official layout (five lists of joints) are read too, as they stand.

    Raises `FormatError` that names the file, the row and what is wrong: a file that is missing, not JSON or over
    `max_bytes` (then unread); a row without image_id, category_id, keypoints or score; a picture or category that the
    truth does not have, or results of another set; a wrong number of joints, NaN; a row that stands there twice (the
    same picture, joints and score), unless `duplicates` are allowed.
    """
    rows = load_rows(file, max_bytes=max_bytes)
    check_results(rows, truth, source=str(file), duplicates=duplicates)
    return rows


def load_rows(file: Path | str, *, max_bytes: int = LARGEST_FILE) -> list[dict[str, Any]]:
    """The list in a file, its rows unchecked; raises `FormatError` for a file that holds none, or is too large."""
    path = Path(file)
    rows = parse_file(path, max_bytes, raises=FormatError)
    if not isinstance(rows, list):
        raise FormatError(f"{path}: holds a {type(rows).__name__}, expected a list of rows of COCO's results format")
    return rows


def check_results(
    rows: Sequence[Row], truth: Truth, *, source: str = "results", duplicates: bool = False
) -> ResultTable:
    """The rows as arrays; raises `FormatError` as `read_results` does, naming `source` and the row."""
    table = tabulate(rows, truth, source=source)
    if not duplicates:
        _refuse_duplicates(rows, source)
    return table


def tabulate(rows: Sequence[Row], truth: Truth, *, source: str = "results") -> ResultTable:
    """The rows as arrays; raises `FormatError` that names the row at fault. Rows that are equal are all kept."""
    place = {image_id: n for n, image_id in enumerate(truth.image_ids)}
    category = {category_id: n for n, category_id in enumerate(truth.category_ids)}
    values = _read_fast(rows, truth, place, category)
    if values is None:
        raise FormatError(_describe(rows, truth, source))
    pictures, categories, joints, scores = values
    kept = np.flatnonzero(pictures >= 0)
    return ResultTable(
        rows=kept,
        pictures=pictures[kept],
        categories=categories[kept],
        joints=joints[kept],
        scores=scores[kept],
        boxes=_read_boxes(rows, kept, source),
    )


def row_joints(row: Row, joints: int) -> Any:
    """The flat keypoints of a row; those of COCO-WholeBody's five lists together, where 133 joints are measured."""
    if joints == 133 and ("face_kpts" in row or "foot_kpts" in row or "lefthand_kpts" in row):
        parts = ((row.get(key) or [0] * 3 * (part.stop - part.start)) for key, part in WHOLE_BODY_PARTS.items())
        return [value for part in parts for value in part]
    return row["keypoints"]


def _read_fast(
    rows: Sequence[Row], truth: Truth, place: Mapping[Any, int], category: Mapping[Any, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, Floats] | None:
    """All rows at once: pictures (-1: does not count), categories, joints and scores; None where anything is wrong."""
    count = len(truth.joints)
    others = dict.fromkeys(truth.other_ids, -1)
    known = {**others, **place}
    try:
        pictures = np.array([known[row["image_id"]] for row in rows], np.intp)
        categories = np.array([category[row["category_id"]] for row in rows], np.intp)
        numbers = np.array([row_joints(row, count) for row in rows] or np.zeros((0, 3 * count)))
        scores = np.array([row["score"] for row in rows] or np.zeros(0))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if numbers.shape != (len(rows), 3 * count) or scores.shape != (len(rows),):
        return None
    if numbers.dtype.kind not in "iuf" or scores.dtype.kind not in "iuf":
        return None
    if not (np.isfinite(numbers).all() and np.isfinite(scores).all()):
        return None
    joints = numbers.astype(np.float64).reshape(len(rows), count, 3)
    return pictures, categories, joints, scores.astype(np.float64)


def _read_boxes(rows: Sequence[Row], kept: NDArray[np.intp], source: str) -> Floats | None:
    if not len(kept) or not all(rows[n].get("bbox") for n in kept):
        return None
    try:
        boxes = np.array([rows[n]["bbox"] for n in kept])
        if boxes.shape == (len(kept), 4) and boxes.dtype.kind in "iuf" and np.isfinite(boxes).all():
            return boxes.astype(np.float64)
    except (TypeError, ValueError):
        pass
    for n in kept:
        box = rows[n]["bbox"]
        if not (isinstance(box, Sequence) and len(box) == 4 and all(map(is_finite, box))):
            raise FormatError(f"{source}, row {n}: bbox is {_short(box)}, expected four finite numbers")
    raise FormatError(f"{source}: the boxes are no numbers")


def _describe(rows: Sequence[Row], truth: Truth, source: str) -> str:
    """What is wrong with the first row at fault, or with all of them together."""
    known = frozenset(truth.image_ids) | truth.other_ids
    strangers = [n for n, row in enumerate(rows) if isinstance(row, Mapping) and _is_stranger(row, known)]
    if 2 * len(strangers) > len(rows) and len(strangers) > 1:
        first = rows[strangers[0]]["image_id"]
        return (
            f"{source}: {len(strangers)} of {len(rows)} rows are of pictures that {truth.name} does not have (row "
            f"{strangers[0]}: image_id {first!r}); these are results of another set"
        )
    faults = ((n, _find_fault(truth, row, known)) for n, row in enumerate(rows))
    n, fault = next(((n, fault) for n, fault in faults if fault), (0, "its numbers are of different kinds"))
    return f"{source}, row {n}: {fault}"


def _is_stranger(row: Row, known: frozenset[Any]) -> bool:
    image_id = row.get("image_id")
    return isinstance(image_id, (int, str)) and image_id not in known


def _find_fault(truth: Truth, row: Any, known: frozenset[Any]) -> str | None:
    if not isinstance(row, Mapping):
        return f"is a {type(row).__name__}, expected an object with {', '.join(FIELDS)}"
    absent = [key for key in FIELDS if key not in row]
    if absent:
        return f"no {', '.join(sorted(absent))}"
    image_id, category = row["image_id"], row["category_id"]
    if not isinstance(image_id, (int, str)) or image_id not in known:
        return f"{truth.name} has no picture with image_id {_short(image_id)}"
    if not isinstance(category, (int, str)) or category not in truth.category_ids:
        return f"{truth.name} has no category with keypoints of category_id {_short(category)}"
    return _find_joint_fault(truth, row) or (
        None if is_finite(row["score"]) else f"score is {_short(row['score'])}, expected a finite number"
    )


def _find_joint_fault(truth: Truth, row: Row) -> str | None:
    length = 3 * len(truth.joints)
    expected = f"keypoints must be {length} finite numbers: x, y, score of each joint, 0, 0, 0 where it was not found"
    try:
        values = row_joints(row, len(truth.joints))
    except TypeError:
        return f"{expected}; one of the lists is none"
    if not isinstance(values, (list, tuple)) and not isinstance(values, np.ndarray):
        return f"{expected}; it is a {type(values).__name__}"
    if len(values) != length:
        return f"{expected}; it has {len(values)}"
    for n, value in enumerate(values):
        if not is_finite(value):
            return (
                f"{expected}; the {'xy'[n % 3] if n % 3 < 2 else 'score'} of {truth.joints[n // 3]} is {_short(value)}"
            )
    return None


def _short(value: Any) -> str:
    return repr(value)[:60]


def _refuse_duplicates(rows: Sequence[Row], source: str) -> None:
    seen: dict[Any, int] = {}
    for n, row in enumerate(rows):
        lists = (tuple(row[key]) if row.get(key) else () for key in WHOLE_BODY_PARTS)
        key = (row["image_id"], row["category_id"], row["score"], *lists)
        if key in seen:
            raise FormatError(
                f"{source}, row {n}: stands there twice, as row {seen[key]}: the same person of image_id "
                f"{row['image_id']!r} with the same joints and score; write each once"
            )
        seen[key] = n
