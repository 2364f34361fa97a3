"""Masks of a picture: where people are, and where people lack labels, so that nothing there can be called wrong.

The products disagree on whom they leave out (`RULES`). Ours leaves out everybody without labels and all crowds, each
with all his polygons, but never a pixel of a labelled person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.pictures import LabelledPicture, Segment, draw_segment
from manypose.drawing.sheet import contact_sheet
from manypose.errors import DataError
from manypose.files import write_bytes

Mask = NDArray[np.bool_]
Areas = tuple[NDArray[np.float32], list[Segment]]


@dataclass(frozen=True)
class MaskRule:
    """Who is left out. A crowd is an area to ignore that is given as an RLE, as COCO gives them and only them.

    unlabelled     people without any labelled joint
    least_joints   labelled people with fewer joints are left out too
    small          labelled people of at most this area, in square pixels, are left out too
    first_polygon  of a person in several parts only the first is known
    crowds         "all", or "one": of a picture with several crowds none is left out
    spare          whose pixels are taken out of the mask: "labelled" people's out of all of it; "people": everybody's
                   else out of the crowds; "nobody"
    dilation       side of the square, in pixels, by which the mask is enlarged
    """

    unlabelled: bool = True
    least_joints: int = 1
    small: float = 0.0
    first_polygon: bool = False
    crowds: Literal["all", "one"] = "all"
    spare: Literal["labelled", "people", "nobody"] = "labelled"
    dilation: int = 0


# The products' own; crowds stand last in COCO's files, so "all people before the crowd" are all people.
RULES: dict[str, MaskRule] = {
    "manypose": MaskRule(),
    "cmu": MaskRule(first_polygon=True, crowds="one", spare="people"),  # CMU's Matlab tools, 2017
    "keras": MaskRule(spare="people"),  # it stops with an error at several crowds
    "treb1en": MaskRule(least_joints=5, small=32 * 32, spare="people"),  # also Chainer's, where it dilates by 16 later
    "daniil": MaskRule(unlabelled=False, spare="nobody"),  # people without labels are trained as background
}


def find_rule(name: str) -> MaskRule:
    """The rule of this name; raises `DataError` that lists those there are."""
    if name not in RULES:
        raise DataError(f"there is no rule {name!r} for masks; there are {', '.join(RULES)}")
    return RULES[name]


def people_mask(picture: LabelledPicture, rule: MaskRule = RULES["manypose"]) -> Mask:
    """(h, w): pixels of all people, labelled or not, and of crowds (`mask_all`); boxes where no area is known.

    A mask that came with the picture is taken as it is.
    """
    given = picture.masks.read_people(picture.size) if picture.masks else None
    if given is not None:
        return given
    mask = _union(picture, picture.boxes, picture.segments, rule)
    return mask | _union(picture, picture.ignore, picture.ignore_segments, rule)


def missing_mask(picture: LabelledPicture, rule: MaskRule = RULES["manypose"]) -> Mask:
    """(h, w): pixels of people without usable labels, to be left out of the loss (0 in the products' `mask_miss`).

    Boxes stand for people whose area is not known. A mask that came with the picture counts beside them.
    """
    given = picture.masks.read_missing(picture.size) if picture.masks else None
    crowds = [isinstance(segment, Mapping) for segment in picture.ignore_segments]
    usable = _usable(picture, rule)
    labelled = _rows(picture, np.flatnonzero(usable))
    unlabelled = _rows(picture, np.flatnonzero(~usable))
    others = [i for i, is_crowd in enumerate(crowds) if not is_crowd]
    rest = _union(picture, *unlabelled, rule) | _union(picture, *_ignored_rows(picture, others), rule)
    crowd = _crowds(picture, [i for i, is_crowd in enumerate(crowds) if is_crowd], rule)
    if rule.spare == "labelled":
        known = np.array([i for i in np.flatnonzero(usable) if picture.segments[i] is not None], np.intp)
        mask = (crowd | rest) & ~_union(picture, *_rows(picture, known), rule)
    else:
        everybody = rest | _union(picture, *labelled, rule)
        left_out = rest if rule.unlabelled else np.zeros_like(rest)
        mask = (crowd & ~everybody if rule.spare == "people" else crowd) | left_out
    return _dilate(mask if given is None else mask | given, rule.dilation)


def _usable(picture: LabelledPicture, rule: MaskRule) -> Mask:
    """(N,): whose labels are used."""
    joints = (~np.isnan(picture.keypoints[..., 0])).sum(axis=1)
    boxes = (picture.boxes[:, 2:] - picture.boxes[:, :2]).prod(axis=1)
    areas = np.where(np.isnan(picture.areas), boxes, picture.areas)
    large = areas > rule.small if rule.small else np.ones(len(areas), bool)
    return np.asarray(large & (joints >= rule.least_joints))


def _rows(picture: LabelledPicture, chosen: NDArray[np.intp]) -> Areas:
    return picture.boxes[chosen], [picture.segments[i] for i in chosen]


def _ignored_rows(picture: LabelledPicture, rows: list[int]) -> Areas:
    return picture.ignore[rows], [picture.ignore_segments[i] for i in rows]


def _crowds(picture: LabelledPicture, rows: list[int], rule: MaskRule) -> Mask:
    if rule.crowds == "one" and len(rows) > 1:
        rows = []
    return _union(picture, *_ignored_rows(picture, rows), rule)


def _union(picture: LabelledPicture, boxes: NDArray[np.float32], segments: Iterable[Segment], rule: MaskRule) -> Mask:
    mask = np.zeros(picture.size[::-1], bool)
    for box, segment in zip(boxes, segments, strict=True):
        if rule.first_polygon and isinstance(segment, tuple):
            segment = segment[:1]
        try:
            drawn = draw_segment(segment, picture.size)
        except (DataError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{picture.archive / picture.name}: the area of a person cannot be drawn: {error}"
            ) from None
        if drawn is not None:
            mask |= drawn
        elif np.isfinite(box).all():
            left, top = np.maximum(np.ceil(box[:2]), 0).astype(int)
            right, bottom = np.maximum(np.floor(box[2:]) + 1, 0).astype(int)
            mask[top:bottom, left:right] = True
    return mask


def _dilate(mask: Mask, side: int) -> Mask:
    if side < 2:
        return mask
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def show_masks(rgb: NDArray[np.uint8], missing: Mask, people: Mask) -> NDArray[np.uint8]:
    """The picture (h, w, 3) with people in green and people without labels in red, for a look at them."""
    shown = rgb.astype(np.float32)
    for mask, colour in ((people & ~missing, (0, 200, 80)), (missing, (255, 40, 40))):
        shown[mask] = 0.5 * shown[mask] + 0.5 * np.array(colour, np.float32)
    return shown.astype(np.uint8)


def write_masks(
    pictures: Sequence[LabelledPicture],
    folder: Path,
    *,
    rule: MaskRule = RULES["manypose"],
    overwrite: bool = False,
    on_fault: Callable[[DataError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write `mask_miss/NAME.png` (0: left out, 255: used) and `mask_all/NAME.png` (255: people) of all pictures.

    NAME is that of the picture without its suffix, in the same folders. Gives the files of `mask_miss`. Raises
    `DataError` for areas that cannot be drawn, unless `on_fault` takes it and the picture is left out; for two pictures
    of one name; and `OutputError` for the files.
    """
    names = [_mask_name(picture) for picture in pictures]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice:
        raise DataError(f"two pictures of the set would have the mask {twice}; give their files different names")
    written = []
    for done, (picture, name) in enumerate(zip(pictures, names, strict=True), start=1):
        try:
            masks = {"mask_all": people_mask(picture, rule), "mask_miss": ~missing_mask(picture, rule)}
        except DataError as error:
            if on_fault is None:
                raise
            on_fault(error)
            continue
        for kind, mask in masks.items():
            file = folder / kind / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes(), overwrite=overwrite)
        written.append(folder / "mask_miss" / name)
        if progress:
            progress(done, len(pictures))
    return written


def _mask_name(picture: LabelledPicture) -> str:
    path = PurePosixPath(picture.name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise DataError(f"{picture.archive}: {picture.name!r} is not the name of a picture inside of the data set")
    return str(path.with_suffix(".png"))


def sheet_of_masks(
    pictures: Sequence[LabelledPicture],
    *,
    most: int = 24,
    rule: MaskRule = RULES["manypose"],
    on_fault: Callable[[DataError], None] | None = None,
) -> NDArray[np.uint8]:
    """A sheet of up to `most` pictures with their masks over them; those where somebody is left out come first.

    Raises `DataError` for a picture that cannot be read, unless `on_fault` takes it and another one is shown; and when
    there is no picture to show.
    """
    drawn: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for one in sorted(pictures, key=lambda picture: len(picture.ignore) == 0):
        if len(drawn) == most:
            break
        try:
            drawn.append(show_masks(one.read(), missing_mask(one, rule), people_mask(one, rule)))
            names.append(one.name)
        except DataError as error:
            if on_fault is None:
                raise
            on_fault(error)
    if not drawn:
        raise DataError("there is no picture whose masks can be shown; check the data set")
    return contact_sheet(drawn, captions=names)
