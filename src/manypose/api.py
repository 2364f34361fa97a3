"""The one way in: `load` a model by name or file and get an estimator for what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from manypose.errors import ManyposeError
from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.estimators.crops import Crops
from manypose.estimators.detector import Detector
from manypose.estimators.inputs import Estimator, FoundOptions
from manypose.estimators.single_stage import SingleStage
from manypose.model import Model, load_model

ESTIMATORS: dict[str, Callable[[Model, FoundOptions], Estimator]] = {
    "top-down": Crops,
    "face": Crops,
    "hand": Crops,
    "detector": Detector,
    "single-stage": SingleStage,
}


def load(
    model: str | Path = "default",
    *,
    device: str = "auto",
    threads: int = 0,
    long_side: int | None = None,
    scale: float | None = None,
    scales: tuple[float, ...] = (1.0,),
    flip: bool = False,
    threshold: float | None = None,
) -> Estimator:
    """An estimator: call it with a picture (path, bytes, PIL image or array) to get `People`.

    `model` is the path of an ONNX file or a shipped model's name; `device` is auto, cpu, cuda ...; `threads` is how
    many of the CPU's threads the network may use, 0 for all. The other options are those of `BottomUpOptions`, of
    which a model of another task takes `threshold` only.

    Raises `ModelError` and `DeviceError`, see `model.load_model`, and `ManyposeError` for an option that has no effect
    on the model.
    """
    options = BottomUpOptions(long_side=long_side, scale=scale, scales=scales, flip=flip, threshold=threshold)
    opened = load_model(model, device=device, threads=threads)
    task = opened.metadata.task
    if task == "bottom-up":
        return BottomUp(opened, options)
    given: dict[str, Any] = {"long_side": long_side, "scale": scale, "flip": flip or None}
    given["scales"] = scales if tuple(scales) != (1.0,) else None
    idle = [name for name, value in given.items() if value is not None]
    if idle:
        raise ManyposeError(f"{opened.path}: {', '.join(idle)} has no effect on a {task} model; leave it out")
    return ESTIMATORS[task](opened, FoundOptions(threshold=threshold))
