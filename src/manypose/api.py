"""The one way in: `load` a model by name or file and get an estimator for what it does."""

from __future__ import annotations

from pathlib import Path

from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.model import load_model


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
) -> BottomUp:
    """An estimator: call it with a picture (path, bytes, PIL image or array) to get `People`.

    `model` is the path of an ONNX file or a shipped model's name; `device` is auto, cpu, cuda ...; `threads` is how
    many of the CPU's threads the network may use, 0 for all. The other options are those of `BottomUpOptions`.

    Raises `ModelError` and `DeviceError`, see `model.load_model`.
    """
    options = BottomUpOptions(long_side=long_side, scale=scale, scales=scales, flip=flip, threshold=threshold)
    return BottomUp(load_model(model, device=device, threads=threads), options)
