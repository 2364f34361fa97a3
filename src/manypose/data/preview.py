"""Training samples as pictures: what a network is shown, what it shall answer, and where its answer does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.drawing import contact_sheet, draw_maps
from manypose.errors import DataError
from manypose.skeleton import Skeleton

Picture = NDArray[np.uint8]

_SHOWN = 480  # pixels of the shorter side in which a sample is drawn
_NOWHERE = (235, 60, 50)  # colour of cells that count for no map
_PARTLY = (245, 180, 40)  # and of those that count for some


def draw_samples(samples: Sequence[Mapping[str, Any]], skeleton: Skeleton, *, width: int = 1920) -> Picture:
    """A sheet with a line for each sample, or half a line; RGB, `width` pixels wide.

    A sample is what a data set of ours gives, tensors or arrays: `picture` (3, h, w) uint8 RGB and `heatmaps` (K or
    more, h', w'), beside it `fields` (2L, h', w') and `weights` (C, h', w') or (K,). Its line shows the picture, the
    heatmaps and the fields over it, and in red where no map counts, in yellow where some do not.

    Raises `DataError` for no samples, or one without picture or heatmaps; `SkeletonError` for maps of other joints.
    """
    if not samples:
        raise DataError("there are no samples to show; the data set is empty")
    lines = [_draw_sample(number, sample, skeleton) for number, sample in enumerate(samples)]
    tiles = [tile for line in lines for tile in line.items()]
    parts = max(len(line) for line in lines)
    columns = parts if len(samples) < 4 else 2 * parts
    return contact_sheet(
        [picture for _, picture in tiles], captions=[name for name, _ in tiles], columns=columns, width=width
    )


def _draw_sample(number: int, sample: Mapping[str, Any], skeleton: Skeleton) -> dict[str, Picture]:
    """Pictures of one sample by their captions."""
    arrays = {name: np.asarray(value) for name, value in sample.items()}
    if "picture" not in arrays or "heatmaps" not in arrays:
        raise DataError(f"sample {number} has {', '.join(arrays) or 'nothing'}; expected a picture and heatmaps")
    rgb = _enlarged(np.ascontiguousarray(arrays["picture"].transpose(1, 2, 0), np.uint8))
    heatmaps = arrays["heatmaps"].astype(np.float32)
    joints = int((heatmaps[: len(skeleton)].max(axis=(1, 2)) > 0.5).sum())
    drawn = {f"sample {number}": rgb, f"heatmaps: {joints} joints": draw_maps(rgb, heatmaps, None, skeleton)}
    if "fields" in arrays and len(arrays["fields"]):  # a skeleton may have none
        fields = arrays["fields"].astype(np.float32)
        drawn["fields"] = draw_maps(rgb, None, fields, skeleton, show="fields")
    weights = arrays.get("weights")
    if weights is not None and weights.ndim == 3:
        nowhere = (weights == 0).all(axis=0)
        partly = (weights == 0).any(axis=0) & ~nowhere
        drawn[f"not counted: {nowhere.mean():.0%}, in part {partly.mean():.0%}"] = _tint(rgb, nowhere, partly)
    return drawn


def _enlarged(rgb: Picture) -> Picture:
    scale = _SHOWN / min(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA), np.uint8)


def _tint(rgb: Picture, nowhere: NDArray[np.bool_], partly: NDArray[np.bool_]) -> Picture:
    """The picture with cells (h', w') in the colours of what does not count."""
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    size = (rgb.shape[1], rgb.shape[0])
    for cells, colour in ((partly, _PARTLY), (nowhere, _NOWHERE)):
        place = cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        grey[place] = 0.45 * grey[place] + 0.55 * np.array(colour, np.float32)
    return np.rint(grey).astype(np.uint8)
