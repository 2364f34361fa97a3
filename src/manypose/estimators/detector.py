"""Detector: a picture in, the boxes of the people in it out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.boxes import BoxCodec
from manypose.estimators.inputs import Fitted, WholePictures
from manypose.metadata import BoxSettings
from manypose.people import People

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detector(WholePictures):
    """Finds the boxes of people: `People` with boxes and scores, in which no joint is found."""

    @cached_property
    def codec(self) -> BoxCodec:
        """Meaning of the network's outputs, with the threshold of the options."""
        return BoxCodec(**self._settings(BoxSettings, "a detector"))

    def _decode(self, outputs: dict[str, list[Array]], fitted: Fitted) -> People:
        boxes, scores = self.codec.decode(outputs, fitted.size)
        if not self.codec.in_picture:
            boxes = fitted.restore(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        skeleton = self.model.skeleton
        return People.build(
            np.full((len(boxes), len(skeleton), 2), np.nan),
            skeleton=skeleton,
            person_scores=scores,
            boxes=boxes - np.float32(0.5),  # from the outer edges of pixels to their centres
            image_size=fitted.image_size,
        )
