"""SingleStage: a picture in, the people in it out, by a network that gives them with their joints at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from manypose import images
from manypose.codecs.single_stage import Found, PeopleCodec
from manypose.errors import ModelError
from manypose.estimators.inputs import Fitted, FoundOptions, StageTimes, boxes_in_picture, fit_input
from manypose.metadata import PeopleSettings
from manypose.model import Model
from manypose.people import People


@dataclass(frozen=True, eq=False)
class SingleStage:
    """Finds people with a single-stage model (YOLO-pose, RTMO, MoveNet).

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
            outputs = self.model.infer(batch)
        with self.times.measure("decode"):
            return self._people(self.codec.decode(outputs, fitted.size), fitted)

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The people of several pictures, one after the other."""
        return [self(picture) for picture in pictures]

    @cached_property
    def codec(self) -> PeopleCodec:
        """Meaning of the network's outputs, with the threshold of the options."""
        settings = self.model.metadata.maps
        if not isinstance(settings, PeopleSettings):
            raise ModelError(f"{self.model.path}: a {self.model.metadata.task} model, not a single-stage one")
        given = settings.model_dump(exclude={"kind"})
        if self.options.threshold is not None:
            given["threshold"] = self.options.threshold
        return PeopleCodec(joints=len(self.model.skeleton), **given)

    def _people(self, found: Found, fitted: Fitted) -> People:
        # Joints of COCO are the indices of pixels, and these networks have learned them times the factor.
        keypoints = np.clip(fitted.restore(found.keypoints), 0, np.array(fitted.image_size, np.float32) - 1)
        boxes = fitted.restore(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return People.build(
            np.where((found.scores > 0)[..., None], keypoints, np.nan),
            found.scores,
            skeleton=self.model.skeleton,
            person_scores=np.minimum(found.person_scores, 1),
            boxes=boxes_in_picture(boxes, fitted.image_size),
            image_size=fitted.image_size,
        )
