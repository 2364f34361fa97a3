"""Pictures of the validation with what the network finds in them, for TensorBoard."""

from __future__ import annotations

from typing import Any

import cv2
import lightning
import numpy as np
from lightning.pytorch import callbacks, loggers

from manypose.drawing.people import draw_people
from manypose.training.validation import Validation

TALLEST = 256  # pixels of an example in the log


class ExamplePictures(callbacks.Callback):
    """Logs the first pictures of each validation with the joints found in them."""

    def __init__(self, validation: Validation) -> None:
        self.validation = validation

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        examples, self.validation.examples = self.validation.examples, []
        if trainer.sanity_checking or not trainer.is_global_zero or not examples:
            return
        drawn = [draw_people(np.ascontiguousarray(picture), people) for picture, people in examples]
        scale = min(1.0, TALLEST / drawn[0].shape[0])
        row = np.hstack([cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for one in drawn])
        for logger in trainer.loggers:
            if isinstance(logger, loggers.TensorBoardLogger):
                logger.experiment.add_image("examples", row, trainer.global_step, dataformats="HWC")
