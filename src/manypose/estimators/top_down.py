"""TopDown: the boxes of people first, then the joints of each, by a network that sees one person at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose import images
from manypose.codecs import oks_nms
from manypose.codecs.heatmaps import Decoding
from manypose.codecs.oks_nms import Suppression
from manypose.errors import ManyposeError, ModelError, PeopleError
from manypose.estimators import scores as score_curves
from manypose.estimators.crops import Crops
from manypose.estimators.detector import Detector
from manypose.estimators.inputs import Clock, Estimator, FoundOptions, StageTimes
from manypose.model import Model
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TopDownOptions:
    """How people are read off their boxes; the defaults are those of HRNet's evaluation, but for the flip test.

    `threshold`       least score of a person; None keeps all
    `flip`            average with the mirrored crops, which takes twice the time
    `flip_shift`      move what they give onto the cells of the others, where it lies beside them (HRNet's
                      SHIFT_HEATMAP); False as in programs that do not
    `decoding`        how joints are read off heatmaps; None for the way that the model says of itself
    `rescore`         a person scores his box times the mean of his joints above `joint_threshold`; False for the
                      score of the box alone
    `suppression`     people found twice: "hard" leaves out who is more similar than `similarity` (OKS) to somebody
                      better, "soft" keeps the best `most_people` of scores that fall with similarity, "none" all
    `padding`         how much larger than the box a crop is; None for the model's own
    `box_threshold`   boxes that score less are left out; None keeps all that are given, and has a detector take its
                      own threshold
    `most_boxes`      how many boxes of a picture count, the best; None for all

    Raises `ManyposeError` that names the option.
    """

    threshold: float | None = None
    flip: bool = False
    flip_shift: bool = True
    decoding: Decoding | None = None
    rescore: bool = True
    joint_threshold: float = 0.2
    suppression: Suppression = "hard"
    similarity: float = 0.9
    most_people: int = 20
    padding: float | None = None
    box_threshold: float | None = None
    most_boxes: int | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and np.isnan(self.threshold):
            raise ManyposeError("threshold is nan, expected a number: the least score of a person")
        for name, allowed in (("decoding", (None, *get_args(Decoding))), ("suppression", get_args(Suppression))):
            if getattr(self, name) not in allowed:
                choices = ", ".join(str(choice) for choice in allowed)
                raise ManyposeError(f"{name} is {getattr(self, name)!r}, expected one of {choices}")
        for name in ("joint_threshold", "box_threshold"):
            if not np.isfinite(getattr(self, name) or 0.0):
                raise ManyposeError(f"{name} is {getattr(self, name)}, expected a finite number")
        for name in ("similarity", "padding"):
            if not 0 < (1.0 if getattr(self, name) is None else getattr(self, name)) <= 10:
                raise ManyposeError(f"{name} is {getattr(self, name)}, expected a number above 0, at most 10")
        for name in ("most_people", "most_boxes"):
            if (1 if getattr(self, name) is None else getattr(self, name)) < 1:
                raise ManyposeError(f"{name} is {getattr(self, name)}, expected 1 or more")


@dataclass(frozen=True, eq=False)
class TopDown:
    """Finds people with a top-down model, in boxes that are given (`in_boxes`) or that `detector` finds.

    Call it with a picture (path, bytes, PIL image or array), or use `batch` for several; without a detector the whole
    picture is taken for one person. `times` adds up what the stages took; threads may share an estimator, and each has
    its own times.

    Raises `ModelError` for a model that takes no crops, and when the detector is none.
    """

    model: Model
    options: TopDownOptions = field(default_factory=TopDownOptions)
    detector: Estimator | None = None
    clock: Clock = field(default_factory=Clock, init=False, repr=False)

    def __post_init__(self) -> None:
        _ = self.crops
        if self.detector is not None:
            check_detector(self.detector.model)

    def __call__(self, image: Any) -> People:
        """The people in a picture, in its own pixels; raises `ImageError` when it cannot be opened."""
        picture = images.open_image(image)
        finder = self._finder
        if finder is None:
            height, width = picture.shape[:2]
            return self.in_boxes(picture, [[-0.5, -0.5, width - 0.5, height - 0.5]])
        with self.times.measure("detect"):
            found = finder(picture)
        return self.in_boxes(picture, found.boxes, found.person_scores)

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The people of several pictures, one after the other; those of one picture run together."""
        return [self(picture) for picture in pictures]

    def in_boxes(self, image: Any, boxes: ArrayLike, scores: ArrayLike | None = None) -> People:
        """The people in boxes (N, 4), x1 y1 x2 y2 as in `People`, of a picture, in the order of their boxes.

        `scores` (N,) are those of the boxes, 1 where none are given. Joints may lie outside of the box and of the
        picture, where the network takes them to be. With "none" for `suppression` and without thresholds there is one
        person for each box.

        Raises `PeopleError` for boxes that are not finite or have no area, `ImageError` for no picture.
        """
        picture = images.open_image(image)
        around, box_scores = _check_boxes(boxes, scores)
        rows = self._best_boxes(box_scores)
        around, box_scores = around[rows], box_scores[rows]
        keypoints, joint_scores = self.crops.find(picture, around)
        with self.times.measure("decode"):
            options = self.options
            person_scores = box_scores
            if options.rescore:
                person_scores = rescore(joint_scores, box_scores, threshold=options.joint_threshold)
            people = People.build(
                keypoints,
                joint_scores,
                skeleton=self.model.skeleton,
                person_scores=person_scores,
                boxes=around,
                image_size=(picture.shape[1], picture.shape[0]),
            )
            people = score_curves.calibrate(people[self._without_doubles(people)], self.model.metadata)
            return people if options.threshold is None else people[people.person_scores >= options.threshold]

    @property
    def times(self) -> StageTimes:
        """What the stages took so far in this thread."""
        return self.clock.times

    @cached_property
    def crops(self) -> Crops:
        """The network and the meaning of its outputs."""
        given = {name: getattr(self.options, name) for name in ("padding", "decoding", "flip", "flip_shift")}
        return Crops(self.model, **given, clock=self.clock)

    @cached_property
    def _finder(self) -> Estimator | None:
        """The detector; one without a threshold of its own takes that of the boxes, which may be below its model's."""
        found, threshold = self.detector, self.options.box_threshold
        if threshold is None or not isinstance(found, Detector) or found.options.threshold is not None:
            return found
        return dataclasses.replace(found, options=FoundOptions(threshold=threshold))

    def _best_boxes(self, scores: Array) -> NDArray[np.intp]:
        """Rows of the boxes that count, in their order."""
        rows = np.arange(len(scores))
        if self.options.box_threshold is not None:
            rows = rows[scores >= self.options.box_threshold]
        if self.options.most_boxes is not None:
            rows = rows[np.sort(np.argsort(-scores[rows], kind="stable")[: self.options.most_boxes])]
        return rows

    def _without_doubles(self, people: People) -> NDArray[np.intp]:
        """Rows of the people who stay, in their order."""
        options = self.options
        if options.suppression == "none":
            return np.arange(len(people))
        areas = [self.crops.area(box) for box in people.boxes]
        similar = oks_nms.pair_similarity(people.keypoints, areas, _sigmas(people.skeleton))
        if options.suppression == "hard":
            return np.sort(oks_nms.suppress_hard(people.person_scores, similar, options.similarity))
        return np.sort(
            oks_nms.suppress_soft(people.person_scores, similar, options.similarity, most=options.most_people)
        )


def check_detector(model: Model) -> None:
    """Raise `ModelError` unless a model finds the boxes of people."""
    task = model.metadata.task
    if task != "detector":
        raise ModelError(f"{model.path}: a {task} model, not a detector, which a top-down model needs; give another")


def rescore(joint_scores: ArrayLike, box_scores: ArrayLike, *, threshold: float = 0.2) -> Array:
    """Scores (N,) of people: the box's times the mean of the joints (N, K) that score more than `threshold`.

    Somebody without any such joint scores 0. Source: the evaluation of HRNet and Simple Baselines.
    """
    joints = np.asarray(joint_scores, np.float32)  # compared as such, for a score may be just the threshold
    seen = joints > np.float32(threshold)
    means = np.where(seen, joints, 0).sum(axis=1, dtype=np.float64) / np.maximum(seen.sum(axis=1), 1)
    return np.asarray(means * np.asarray(box_scores, np.float64), np.float32)


def _sigmas(skeleton: Skeleton) -> NDArray[np.float64]:
    """The skeleton's own; where nobody published any, the mean of COCO's does to find somebody twice."""
    if skeleton.sigmas is not None:
        return np.array(skeleton.sigmas)
    return np.full(len(skeleton), np.mean(load_skeleton("coco17").sigmas or ()))


def _check_boxes(boxes: ArrayLike, scores: ArrayLike | None) -> tuple[Array, Array]:
    around = np.asarray(boxes, np.float32)
    around = around.reshape(0, 4) if around.size == 0 else around
    if around.ndim != 2 or around.shape[1] != 4:
        raise PeopleError(f"boxes have shape {around.shape}, expected (people, 4): x1 y1 x2 y2")
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(around).all(axis=1) & (around[:, 2:] > around[:, :2]).all(axis=1)
    if not sound.all():
        wrong = int(np.flatnonzero(~sound)[0])
        raise PeopleError(f"box {wrong} is {around[wrong].tolist()}, expected x1 y1 x2 y2 with x1 < x2 and y1 < y2")
    given = np.ones(len(around), np.float32) if scores is None else np.asarray(scores, np.float32)
    if given.shape != (len(around),):
        raise PeopleError(f"scores have shape {given.shape}, expected ({len(around)},): one for each box")
    if not np.isfinite(given).all():
        raise PeopleError(f"score {int(np.flatnonzero(~np.isfinite(given))[0])} of the boxes is no finite number")
    return around, given
