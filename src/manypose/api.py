"""The one way in: `load` a model by name or file and get an estimator for what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manypose.errors import ManyposeError
from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.estimators.detector import Detector
from manypose.estimators.inputs import Estimator, FoundOptions
from manypose.estimators.single_stage import SingleStage
from manypose.estimators.top_down import TopDown, TopDownOptions, check_detector
from manypose.model import load_model

TOP_DOWN = ("top-down", "face", "hand")
WHOLE_PICTURES = {"detector": Detector, "single-stage": SingleStage}


def load(
    model: str | Path = "default",
    *,
    detector: str | Path | Estimator | None = None,
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
    many of the CPU's threads the network may use, 0 for all. `detector` finds the boxes for a top-down model: a file
    or name too, or an estimator that has been loaded (to set its threshold, say). The other options are those of
    `BottomUpOptions`, of which a top-down model takes `flip` and `threshold`, and the others `threshold` only.

    Raises `ModelError` and `DeviceError`, see `model.load_model`, and `ManyposeError` for an option that has no effect
    on the model.
    """
    options = BottomUpOptions(long_side=long_side, scale=scale, scales=scales, flip=flip, threshold=threshold)
    opened = load_model(model, device=device, threads=threads)
    task = opened.metadata.task
    if detector is not None and task not in TOP_DOWN:
        raise ManyposeError(f"{opened.path}: a {task} model needs no detector: leave it out")
    if task == "bottom-up":
        return BottomUp(opened, options)
    given: dict[str, Any] = {"long_side": long_side, "scale": scale}
    given["scales"] = scales if tuple(scales) != (1.0,) else None
    given["flip"] = True if flip and task not in TOP_DOWN else None
    idle = [name for name, value in given.items() if value is not None]
    if idle:
        raise ManyposeError(f"{opened.path}: {', '.join(idle)} has no effect on a {task} model; leave it out")
    if task in TOP_DOWN:
        finder = load_detector(detector, device, threads) if isinstance(detector, (str, Path)) else detector
        return TopDown(opened, TopDownOptions(flip=flip, threshold=threshold), detector=finder)
    return WHOLE_PICTURES[task](opened, FoundOptions(threshold=threshold))


def load_detector(detector: str | Path, device: str = "auto", threads: int = 0) -> Detector:
    """The detector of a file or name; raises as `load` does, and `ModelError` for a model that is no detector."""
    opened = load_model(detector, device=device, threads=threads)
    check_detector(opened)
    return Detector(opened)
