"""Detector: a picture in, the boxes of the people in it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose import images
from manypose.codecs.boxes import BoxCodec
from manypose.errors import ModelError
from manypose.estimators.inputs import Fitted, FoundOptions, StageTimes, fit_input
from manypose.metadata import BoxSettings
from manypose.model import Model
from manypose.people import People

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Detector:
    """Finds the boxes of people: `People` with boxes and scores, in which no joint is found.

    Call it with a picture (path, bytes, PIL image or array), or use `batch` for several. `times` adds up what the
    stages took.
    """

    model: Model
    options: FoundOptions = field(default_factory=FoundOptions)
    times: StageTimes = field(default_factory=StageTimes)

    def __call__(self, image: Any) -> People:
        """The people in a picture, in its own pixels, the highest score first; raises `ImageError` for no picture."""
        picture = images.open_image(image)
        with self.times.measure("prepare"):
            fitted = fit_input(picture, self.model.metadata.input)
            batch = self.model.prepare([fitted.picture])
        with self.times.measure("network"):
            outputs = self.model.infer(batch, **self._others(fitted))
        with self.times.measure("decode"):
            return self._people(*self.codec.decode(outputs, fitted.size), fitted)

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The people of several pictures, one after the other."""
        return [self(picture) for picture in pictures]

    @cached_property
    def codec(self) -> BoxCodec:
        """Meaning of the network's outputs, with the threshold of the options."""
        settings = self.model.metadata.maps
        if not isinstance(settings, BoxSettings):
            raise ModelError(f"{self.model.path}: a {self.model.metadata.task} model, not a detector")
        given = settings.model_dump(exclude={"kind"})
        if self.options.threshold is not None:
            given["threshold"] = self.options.threshold
        return BoxCodec(**given)

    def _others(self, fitted: Fitted) -> dict[str, NDArray[Any]]:
        name = self.model.metadata.input.resized_by
        return {} if name is None else {name: fitted.factors[None, ::-1].astype(np.float32)}

    def _people(self, boxes: Array, scores: Array, fitted: Fitted) -> People:
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
