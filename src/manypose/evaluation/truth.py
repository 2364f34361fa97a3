"""Truth: the labelled people of a COCO-style file, checked, whatever else the file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError


@dataclass(frozen=True)
class Truth:
    """The part of a COCO-style file that metrics of keypoints need.

    `name` is the file's, for messages. `image_ids` are the pictures that count, `other_ids` the rest of the file's.
    `joints` are the names that all categories with keypoints have. `annotations` are the rows of these categories in
    the pictures that count, as they stand in the file.
    """

    name: str
    image_ids: tuple[Any, ...]
    other_ids: frozenset[Any]
    category_ids: tuple[Any, ...]
    joints: tuple[str, ...]
    annotations: tuple[Mapping[str, Any], ...]

    def keypoints(self, annotation: Mapping[str, Any]) -> NDArray[np.float64]:
        """(K, 3) x, y in pixels and COCO's flag (over 0: labelled); zeros where the row has no keypoints."""
        values = annotation.get("keypoints") or [0] * 3 * len(self.joints)
        if len(values) != 3 * len(self.joints):
            raise DataError(
                f"{self.name}: annotation {annotation.get('id')} has {len(values)} numbers in keypoints, "
                f"expected {3 * len(self.joints)}: x, y, flag of {len(self.joints)} joints"
            )
        return np.array(values, np.float64).reshape(-1, 3)


def read_truth(source: Path | str | Mapping[str, Any], *, image_ids: Sequence[Any] | None = None) -> Truth:
    """The truth of a COCO-style file, or of its parsed content; with `image_ids` only that of these pictures.

    Raises `DataError` that names the file and what is wrong in it.
    """
    name = "the truth" if isinstance(source, Mapping) else str(source)
    data = source if isinstance(source, Mapping) else _load(Path(source))
    for field in ("images", "annotations", "categories"):
        if not isinstance(data.get(field), list):
            raise DataError(f"{name}: no list {field!r}; expected a COCO-style keypoint file")
    categories = [category for category in data["categories"] if category.get("keypoints")]
    if not categories:
        raise DataError(f"{name}: no category has keypoints, so there is nothing to measure joints against")
    if any(category["keypoints"] != categories[0]["keypoints"] for category in categories):
        raise DataError(f"{name}: its categories have different keypoints; measure them one file at a time")
    known = tuple(dict.fromkeys(_field(name, "image", image, "id") for image in data["images"]))
    counted = _select_pictures(name, known, image_ids)
    counted_ids = frozenset(counted)
    category_ids = tuple(_field(name, "category", category, "id") for category in categories)
    return Truth(
        name=name,
        image_ids=counted,
        other_ids=frozenset(known) - counted_ids,
        category_ids=category_ids,
        joints=tuple(categories[0]["keypoints"]),
        annotations=tuple(
            row
            for row in data["annotations"]
            if _field(name, "annotation", row, "category_id") in category_ids
            and _field(name, "annotation", row, "image_id") in counted_ids
        ),
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(data, dict):
        raise DataError(f"{path}: holds a {type(data).__name__}, expected a COCO-style keypoint file")
    return data


def _field(name: str, what: str, row: Mapping[str, Any], field: str) -> Any:
    if field not in row:
        raise DataError(f"{name}: {what} {row.get('id', 'without id')} has no {field}")
    return row[field]


def _select_pictures(name: str, known: tuple[Any, ...], wanted: Sequence[Any] | None) -> tuple[Any, ...]:
    if not known:
        raise DataError(f"{name}: holds no pictures")
    if wanted is None:
        return known
    if not len(wanted):
        raise DataError("image_ids is empty: leave it out to measure all pictures")
    unknown = set(wanted) - set(known)
    if unknown:
        raise DataError(f"{name}: has no picture {min(unknown, key=str)!r}, which image_ids asks for")
    return tuple(dict.fromkeys(wanted))
