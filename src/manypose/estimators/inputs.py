"""What all estimators share: their shape, the times of their stages, and pictures fitted to a network's input."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import images
from manypose.errors import ManyposeError, ModelError
from manypose.estimators.scores import calibrate, raw_threshold
from manypose.metadata import BoxSettings, InputSettings, PeopleSettings
from manypose.model import Model
from manypose.people import People

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


@dataclass
class StageTimes:
    """Seconds that the stages took, added up; `detect` is what a detector took before a top-down model, in all."""

    detect: float = 0.0
    prepare: float = 0.0
    network: float = 0.0
    decode: float = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what is done inside to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - started)


class Clock(threading.local):
    """The times of an estimator: every thread has its own."""

    def __init__(self) -> None:
        self.times = StageTimes()


@dataclass(frozen=True)
class FoundOptions:
    """What is kept of what a network finds: `threshold` is the least score of a person, None for the model's own."""

    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and np.isnan(self.threshold):
            raise ManyposeError("threshold is nan, expected a number: the least score of a person")


class Estimator(Protocol):
    """Called with a picture (path, bytes, PIL image or array), gives the people in it."""

    @property
    def model(self) -> Model: ...

    @property
    def options(self) -> Any: ...

    @property
    def times(self) -> StageTimes: ...

    def __call__(self, image: Any) -> People: ...


@dataclass(frozen=True, eq=False)
class Fitted:
    """A picture as a network takes it: a place p of the whole picture lies at p * factors + offset in the input.

    `factors` and `offset` are (x, y); places are counted from the outer edges of the first pixels.
    """

    picture: Picture
    factors: NDArray[np.float64]
    offset: NDArray[np.float64]
    image_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input."""
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine (2, 3) from the centres of the picture's pixels to those of the input."""
        return np.column_stack([np.diag(self.factors), self.offset + (self.factors - 1) / 2])

    def restore(self, places: Array) -> Array:
        """Places (..., 2) of the input, counted as `factors` does, in the whole picture."""
        return np.asarray((places - self.offset) / self.factors, np.float32)


@dataclass(frozen=True, eq=False)
class WholePictures:
    """What the estimators have in common whose network sees the whole picture once, at one size.

    Call one with a picture (path, bytes, PIL image or array), or use `batch` for several; the best come first.
    `times` adds up what the stages took; threads may share an estimator, and each has its own times.
    """

    model: Model
    options: FoundOptions = field(default_factory=FoundOptions)
    clock: Clock = field(default_factory=Clock, init=False, repr=False)

    def __call__(self, image: Any) -> People:
        """The people in a picture, in its own pixels; raises `ImageError` when it cannot be opened."""
        fitted, outputs = self._run(images.open_image(image))
        with self.times.measure("decode"):
            return calibrate(self._decode(outputs, fitted), self.model.metadata)

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The people of several pictures, one after the other."""
        return [self(picture) for picture in pictures]

    @property
    def times(self) -> StageTimes:
        """What the stages took so far in this thread."""
        return self.clock.times

    def _decode(self, outputs: dict[str, list[Array]], fitted: Fitted) -> People:
        """The people in a network's outputs, in pixels of the picture; each estimator has its own way."""
        raise NotImplementedError

    def _run(self, picture: Picture) -> tuple[Fitted, dict[str, list[Array]]]:
        """A picture as the network takes it, and the outputs by meaning."""
        settings = self.model.metadata.input
        with self.times.measure("prepare"):
            fitted = fit_input(picture, settings)
            batch = self.model.prepare([fitted.picture])
        with self.times.measure("network"):
            name = settings.resized_by
            others = {} if name is None else {name: fitted.factors[None, ::-1].astype(np.float32)}
            return fitted, self.model.infer(batch, **others)

    def _settings(self, kind: type[BoxSettings | PeopleSettings], name: str) -> dict[str, Any]:
        """What the model's outputs mean, with the threshold of the options; raises `ModelError` for another kind.

        `name` is what the message calls a model of this kind.
        """
        settings = self.model.metadata.maps
        if not isinstance(settings, kind):
            raise ModelError(f"{self.model.path}: a {self.model.metadata.task} model, not {name}")
        threshold = raw_threshold(self.options.threshold, self.model.metadata)
        given = {} if threshold is None else {"threshold": threshold}
        return settings.model_dump(exclude={"kind"}) | given


def fit_input(picture: Picture, settings: InputSettings) -> Fitted:
    """The whole picture resized and padded, or stretched, to the size of the network's input.

    Sizes in between are cut off to whole pixels for "pad" and rounded for "letterbox", as the networks that want these
    were trained. Without a size the input is a square of `long_side` pixels.
    """
    side = -(-settings.long_side // settings.stride) * settings.stride
    width, height = settings.size or (side, side)
    image_height, image_width = picture.shape[:2]
    inner = (width, height)
    if settings.fit != "stretch":
        factor = min(width / image_width, height / image_height)
        cut = round if settings.fit == "letterbox" else int
        inner = (max(1, cut(image_width * factor)), max(1, cut(image_height * factor)))
    resized = picture
    if inner != (image_width, image_height):
        resized = cv2.resize(picture, inner, interpolation=_INTERPOLATIONS[settings.interpolation])  # type: ignore[assignment]
    left, top = 0, 0
    if settings.fit == "letterbox":  # of an odd number of pixels the greater half comes after
        left, top = round((width - inner[0]) / 2 - 0.1), round((height - inner[1]) / 2 - 0.1)
    if inner != (width, height):
        whole = np.full((height, width, 3), settings.fill, np.uint8)
        whole[top : top + inner[1], left : left + inner[0]] = resized
        resized = whole
    factors = np.array(inner, np.float64) / (image_width, image_height)
    return Fitted(resized, factors, np.array([left, top], np.float64), (image_width, image_height))


def boxes_in_picture(edges: Array, image_size: tuple[int, int]) -> Array:
    """Boxes (N, 4) along the outer edges of pixels as those of `People`, cut off at the border of the picture."""
    limits = np.tile(np.array(image_size, np.float32), 2)
    return np.asarray(np.clip(edges, 0, limits) - np.float32(0.5), np.float32)
