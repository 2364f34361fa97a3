"""A picture with labels: what every reader of a data set gives, and all that training needs to know."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, ImageError, require
from manypose.files import read_member
from manypose.images import open_image

Array = NDArray[np.float32]
Segment: TypeAlias = tuple[Array, ...] | Mapping[str, Any] | None
"""A person's area: polygons (n, 2) in pixels (0 is the middle of the first), COCO's RLE, or None where unknown."""
Fetch: TypeAlias = Callable[[Path, str], bytes | NDArray[np.uint8]]
"""What gives a picture by its archive and name: the bytes of an image file, or the pixels themselves, RGB (H, W, 3)."""


def _nothing() -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True)
class MaskFiles:
    """Masks of a picture that another product has made, 8 bit PNG files in a folder or zip file `archive`.

    `missing` is 0 where people lack labels and 255 elsewhere, `people` is 255 on all people; a name may be None.
    `fetch` gives the bytes of the PNG file, or the mask itself (h, w), where they are in an archive of another kind.
    """

    archive: Path
    missing: str | None = None
    people: str | None = None
    fetch: Fetch = read_member

    def read_missing(self, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """(h, w): where people lack labels, at `size` (w, h); None where no file says it."""
        mask = self._read(self.missing, size)
        return None if mask is None else ~mask

    def read_people(self, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """(h, w): where people are, at `size` (w, h); None where no file says it."""
        return self._read(self.people, size)

    def _read(self, name: str | None, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        if name is None:
            return None
        content = self.fetch(self.archive, name)
        mask = content if isinstance(content, np.ndarray) else _decode_mask(content)
        if mask is None:
            raise DataError(f"{self.archive / name}: not a mask: OpenCV cannot decode it")
        if abs(mask.shape[1] * size[1] - mask.shape[0] * size[0]) > max(*mask.shape, *size):
            found = f"{mask.shape[1]} x {mask.shape[0]}"
            raise DataError(f"{self.archive / name}: a mask of {found} pixels for a picture of {size[0]} x {size[1]}")
        return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 127


def _decode_mask(content: bytes) -> NDArray[np.uint8] | None:
    mask = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
    return None if mask is None else np.asarray(mask, np.uint8)


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture of a data set and the people in it, in pixels of the picture (0 is the middle of the first).

    keypoints   (N, K, 2) float32, NaN = not labelled
    unsure      (N, K) bool; the joint may be somewhere in the person's box, so nothing there can be called wrong
    boxes       (N, 4) float32, x1 y1 x2 y2
    ignore      (M, 4) float32, boxes of people without labels
    visible     (N, K) bool, False: not labelled, or labelled though hidden; left out: all labelled joints are visible
    areas       (N,) float32, square pixels that the person covers, NaN = unknown; left out: all unknown
    segments    N areas, see `Segment`; left out: all unknown
    ignore_segments  M areas, likewise
    id          the picture's, in its file
    person_ids  (N,) int64, -1 = none; left out: none
    head_boxes  (N, 4) float32 as `boxes`, NaN = unknown, or None where the data set has no such boxes
    masks       files of masks that came with the picture, or None
    fetch       how the picture is had where `archive` is neither a folder nor a zip file; it must pickle
    """

    archive: Path
    name: str
    size: tuple[int, int]
    keypoints: Array
    unsure: NDArray[np.bool_]
    boxes: Array
    ignore: Array
    visible: NDArray[np.bool_] = field(default_factory=_nothing)
    areas: Array = field(default_factory=_nothing)
    segments: tuple[Segment, ...] = ()
    ignore_segments: tuple[Segment, ...] = ()
    id: int | str = ""
    person_ids: NDArray[np.int64] = field(default_factory=_nothing)
    head_boxes: Array | None = None
    masks: MaskFiles | None = None
    fetch: Fetch = read_member

    def __post_init__(self) -> None:
        people, labelled = len(self.keypoints), ~np.isnan(self.keypoints[..., 0])
        for name, value in (
            ("visible", labelled),
            ("areas", np.full(people, np.nan, np.float32)),
            ("segments", (None,) * people),
            ("ignore_segments", (None,) * len(self.ignore)),
            ("person_ids", np.full(people, -1, np.int64)),
        ):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.keypoints)

    def select(self, people: Sequence[int] | NDArray[Any]) -> LabelledPicture:
        """The picture with some of its people, by index or as a boolean array (N,); what it ignores stays."""
        rows = np.arange(len(self))[np.asarray(people, bool if len(people) == 0 else None)] if len(self) else []
        chosen = np.asarray(rows, np.intp)
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[chosen] for name in _PER_PERSON},
            segments=tuple(self.segments[i] for i in chosen),
            head_boxes=None if self.head_boxes is None else self.head_boxes[chosen],
        )

    def read(self) -> NDArray[np.uint8]:
        """The picture, RGB (H, W, 3); raises `DataError` when it is missing, broken, or not as large as labelled."""
        content = self.fetch(self.archive, self.name)
        try:
            picture = open_image(content, name=str(self.archive / self.name))
        except ImageError as error:
            raise DataError(str(error)) from None
        if picture.shape[1::-1] != self.size:
            found = f"{picture.shape[1]} x {picture.shape[0]}"
            raise DataError(
                f"{self.archive / self.name}: {found} pixels, but its labels are for {self.size[0]} x {self.size[1]}"
            )
        return picture

    def scaled(self, size: tuple[int, int]) -> LabelledPicture:
        """The labels for the picture at another `size` (w, h); the files stay as they are, so `read` fits no more."""
        factor = np.array(size, np.float32) / self.size

        def move(points: Array) -> Array:
            return ((points + 0.5) * np.tile(factor, points.shape[-1] // 2) - 0.5).astype(np.float32)

        def move_segment(segment: Segment) -> Segment:
            if isinstance(segment, Mapping):
                return _scale_rle(segment, size)
            return None if segment is None else tuple(move(polygon) for polygon in segment)

        return dataclasses.replace(
            self,
            size=size,
            keypoints=move(self.keypoints),
            boxes=move(self.boxes),
            ignore=move(self.ignore),
            areas=(self.areas * factor.prod()).astype(np.float32),
            segments=tuple(map(move_segment, self.segments)),
            ignore_segments=tuple(map(move_segment, self.ignore_segments)),
            head_boxes=None if self.head_boxes is None else move(self.head_boxes),
        )

    def size_within(self, longest: int) -> tuple[int, int]:
        """The picture's (w, h) at a longer side of at most `longest` pixels."""
        scale = min(1.0, longest / max(self.size))
        return max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))

    def shrunk(self, longest: int) -> tuple[LabelledPicture, NDArray[np.uint8]]:
        """The labels and the picture at a longer side of at most `longest` pixels."""
        picture = self.read()
        size = self.size_within(longest)
        if size == self.size:
            return self, picture
        try:
            labels = self.scaled(size)
        except DataError as error:
            raise DataError(f"{self.archive / self.name}: the areas of its people cannot be drawn: {error}") from None
        return labels, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


_PER_PERSON = ("keypoints", "unsure", "boxes", "visible", "areas", "person_ids")


def draw_segment(segment: Segment, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(h, w): the pixels of a person's area in a picture of `size` (w, h), as COCO's tools draw it; None if unknown.

    Several polygons are joined. Needs pycocotools. Raises `DataError` for an RLE of another size, or a broken one.
    """
    if segment is None:
        return None
    masks = require("pycocotools.mask", extra="train")
    if isinstance(segment, Mapping):
        if tuple(segment["size"]) != size[::-1]:
            found = " x ".join(map(str, segment["size"][::-1]))
            raise DataError(f"an RLE of {found} pixels for a picture of {size[0]} x {size[1]}")
        rle = _compressed(segment)
    else:
        # Polygons of files lie along the edges of pixels.
        rows = [((polygon + np.float32(0.5)).astype(np.float64)).ravel().tolist() for polygon in segment]
        if not rows:
            return np.zeros(size[::-1], bool)
        rle = masks.merge(masks.frPyObjects(rows, size[1], size[0]))
    with warnings.catch_warnings():  # pycocotools hands NumPy arrays in a way that NumPy 2 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return np.asarray(masks.decode(rle), bool)
        except ValueError as error:
            raise DataError(f"a broken RLE: {error}") from None


def _compressed(rle: Mapping[str, Any]) -> dict[str, Any]:
    """An RLE as pycocotools wants it, from one with plain counts, with text, or with bytes."""
    masks = require("pycocotools.mask", extra="train")
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        return {"size": list(rle["size"]), "counts": counts.encode() if isinstance(counts, str) else counts}
    try:
        return cast("dict[str, Any]", masks.frPyObjects(dict(rle), *rle["size"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"a broken RLE: {error}") from None


def _scale_rle(rle: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    height, width = rle["size"]
    drawn = draw_segment(rle, (width, height))
    small = cv2.resize(np.asarray(drawn, np.uint8), size, interpolation=cv2.INTER_NEAREST)
    masks = require("pycocotools.mask", extra="train")
    encoded = masks.encode(np.asfortranarray(small))
    return {"size": [size[1], size[0]], "counts": encoded["counts"].decode()}
