"""SingleStage: a picture in, the people in it out, by a network that gives them with their joints at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manypose.codecs.single_stage import PeopleCodec
from manypose.estimators.inputs import Fitted, WholePictures, boxes_in_picture
from manypose.metadata import PeopleSettings
from manypose.people import People

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SingleStage(WholePictures):
    """Finds people with a single-stage model (YOLO-pose, RTMO, MoveNet)."""

    @cached_property
    def codec(self) -> PeopleCodec:
        """Meaning of the network's outputs, with the threshold of the options."""
        return PeopleCodec(joints=len(self.model.skeleton), **self._settings(PeopleSettings, "a single-stage one"))

    def _decode(self, outputs: dict[str, list[Array]], fitted: Fitted) -> People:
        found = self.codec.decode(outputs, fitted.size)
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
