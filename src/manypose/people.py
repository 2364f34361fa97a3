"""People: the one result type. Estimators return it, painters draw it, formats save it, metrics read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manypose import geometry
from manypose.errors import PeopleError
from manypose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    import pandas
    import supervision

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class People:
    """N people with K joints each; a value that nothing changes.

    keypoints      (N, K, 2) float32, x and y in pixels of the picture that was given; NaN = not found
    scores         (N, K) float32, 0..1; 0 where the joint was not found
    person_scores  (N,) float32; how sure the whole person is, higher is surer
    boxes          (N, 4) float32, x1 y1 x2 y2 in pixels
    ids            (N,) int64 or None; the same person has the same id in all frames
    states         (N, K) uint8 or None; 0 absent, 1 measured, 2 filled in, 3 set by a person
    image_size     (width, height) of the picture, or None when it is not known
    parts          name -> People of the same N (face, left_hand, right_hand); all-NaN rows where there is none

    Raises `PeopleError` when the arrays do not fit together.
    """

    keypoints: Array
    scores: Array
    person_scores: Array
    boxes: Array
    skeleton: Skeleton
    image_size: tuple[int, int] | None = None
    ids: NDArray[np.int64] | None = None
    states: NDArray[np.uint8] | None = None
    parts: Mapping[str, People] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), len(self.skeleton)
        _expect("keypoints", self.keypoints, (n, k, 2))
        _expect("scores", self.scores, (n, k))
        _expect("person_scores", self.person_scores, (n,))
        _expect("boxes", self.boxes, (n, 4))
        if self.ids is not None:
            _expect("ids", self.ids, (n,))
        if self.states is not None:
            _expect("states", self.states, (n, k))
            if self.states.size and self.states.max() > 3:
                raise PeopleError(f"states hold {self.states.max()}, expected 0 to 3: absent, measured, filled in, set")
        if np.isinf(self.keypoints).any() or (np.diff(np.isnan(self.keypoints), axis=2)).any():
            raise PeopleError("keypoints must be finite, or NaN in both x and y where a joint was not found")
        if not np.isfinite(self.person_scores).all():
            raise PeopleError("person_scores must be finite numbers")
        for name, part in self.parts.items():
            if len(part) != n:
                raise PeopleError(f"parts[{name!r}] has {len(part)} rows, expected {n}: one for each person")

    @classmethod
    def empty(cls, skeleton: Skeleton, image_size: tuple[int, int] | None = None) -> People:
        """Nobody: a normal result."""
        return cls.build(np.zeros((0, len(skeleton), 2)), skeleton=skeleton, image_size=image_size)

    @classmethod
    def build(
        cls,
        keypoints: ArrayLike,
        scores: ArrayLike | None = None,
        *,
        skeleton: Skeleton,
        person_scores: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        states: ArrayLike | None = None,
        image_size: tuple[int, int] | None = None,
        parts: Mapping[str, People] | None = None,
    ) -> People:
        """People from array-likes: dtypes are converted, scores clipped to 0..1, what is absent is filled in.

        Without `scores` every joint that is there scores 1; without `person_scores` a person scores the mean of the
        joints found; without `boxes` the boxes enclose the joints. Joints with NaN score 0. Raises `PeopleError` that
        names the array at fault.
        """
        keypoints = _array("keypoints", keypoints, np.float32, (0, len(skeleton), 2))
        if keypoints.ndim != 3 or keypoints.shape[1:] != (len(skeleton), 2):
            raise PeopleError(
                f"keypoints have shape {keypoints.shape}, expected (people, {len(skeleton)}, 2) for the skeleton "
                f"{skeleton.name!r}"
            )
        there = np.isfinite(keypoints).all(axis=2)
        keypoints[~there] = np.nan
        given = (
            np.ones(there.shape, np.float32) if scores is None else _array("scores", scores, np.float32, there.shape)
        )
        _expect("scores", given, there.shape)
        given = np.where(there, np.clip(np.nan_to_num(given), 0, 1), 0).astype(np.float32)
        if person_scores is None:
            person_scores = given.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        return cls(
            keypoints=keypoints,
            scores=given,
            person_scores=_array("person_scores", person_scores, np.float32),
            boxes=geometry.keypoint_boxes(keypoints) if boxes is None else _array("boxes", boxes, np.float32, (0, 4)),
            skeleton=skeleton,
            image_size=image_size,
            ids=None if ids is None else _array("ids", ids, np.int64),
            states=None if states is None else _array("states", states, np.uint8, there.shape),
            parts=dict(parts or {}),
        )

    def __len__(self) -> int:
        return len(self.keypoints)

    def __iter__(self) -> Iterator[People]:
        """One `People` of length 1 for each person."""
        return (self[[i]] for i in range(len(self)))

    def __getitem__(self, rows: int | slice | Sequence[int] | NDArray[Any]) -> People:
        """The people of some rows: an index, a slice, a list of indices or a mask (N,) of bool."""
        if isinstance(rows, (int, np.integer)):
            rows = [int(rows)]
        elif not isinstance(rows, (slice, np.ndarray)):
            rows = list(rows)
        return dataclasses.replace(
            self,
            keypoints=self.keypoints[rows],
            scores=self.scores[rows],
            person_scores=self.person_scores[rows],
            boxes=self.boxes[rows],
            ids=None if self.ids is None else self.ids[rows],
            states=None if self.states is None else self.states[rows],
            parts={name: part[rows] for name, part in self.parts.items()},
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, People):
            return NotImplemented
        same = (self.skeleton, self.image_size, self.parts) == (other.skeleton, other.image_size, other.parts)
        arrays = ("keypoints", "scores", "person_scores", "boxes", "ids", "states")
        return same and all(_same_array(getattr(self, name), getattr(other, name)) for name in arrays)

    __hash__ = None  # type: ignore[assignment]  # a value of arrays, compared by content

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N, K): which joints were found; the one way to ask."""
        return ~np.isnan(self.keypoints[..., 0])

    def joint(self, name: str) -> Array:
        """(N, 2) places of one joint; raises `SkeletonError` that lists the names."""
        return self.keypoints[:, self.skeleton.index(name)]

    def transform(self, matrix: NDArray[np.float64], image_size: tuple[int, int] | None = None) -> People:
        """The same people under an affine (2, 3), as in a resized, cropped or padded picture of `image_size`."""
        corners = geometry.box_corners(self.boxes)
        moved = geometry.transform_points(corners, matrix)
        boxes = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
        return dataclasses.replace(
            self,
            keypoints=geometry.transform_points(self.keypoints, matrix),
            boxes=boxes,
            image_size=image_size,
            parts={name: part.transform(matrix, image_size) for name, part in self.parts.items()},
        )

    def to(self, skeleton: Skeleton | str) -> People:
        """The same people with the joints of another skeleton, mapped by name.

        A joint that is not here is the midpoint of others where the skeleton's `derived` rule says so (all must be
        there; it scores the least of them), else it is absent.
        """
        target = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
        rows = np.array([_row(self.skeleton, joint) for joint in target.joints])
        keypoints = np.where(rows[:, None] >= 0, self.keypoints[:, rows], np.nan)
        scores = np.where(rows >= 0, self.scores[:, rows], 0)
        states = None if self.states is None else np.where(rows >= 0, self.states[:, rows], 0).astype(np.uint8)
        for joint, names in target.derived.items():
            if joint in self.skeleton.joints or not set(names) <= set(self.skeleton.joints):
                continue
            k, parts = target.index(joint), [self.skeleton.index(name) for name in names]
            keypoints[:, k] = self.keypoints[:, parts].mean(axis=1)
            scores[:, k] = self.scores[:, parts].min(axis=1)
            if states is not None and self.states is not None:
                given = self.states[:, parts]
                states[:, k] = np.where(given.min(axis=1) > 0, given.max(axis=1), 0)
        return dataclasses.replace(self, keypoints=keypoints, scores=scores, states=states, skeleton=target)

    @staticmethod
    def concatenate(groups: Sequence[People]) -> People:
        """All people of several groups of one skeleton, in order; the picture size is that of the first group.

        Ids, states and parts stay when every group that holds anybody has them. Raises `PeopleError` when the skeletons
        differ.
        """
        if not groups:
            raise PeopleError("concatenate needs at least one People, for the skeleton")
        first = groups[0]
        if any(group.skeleton != first.skeleton for group in groups):
            names = sorted({group.skeleton.name for group in groups})
            raise PeopleError(f"cannot concatenate people of different skeletons: {', '.join(names)}")
        groups = [group for group in groups if len(group)] or [first]

        def join(name: str) -> Any:
            arrays = [getattr(group, name) for group in groups]
            return None if any(array is None for array in arrays) else np.concatenate(arrays)

        shared = set.intersection(*(set(group.parts) for group in groups))
        return dataclasses.replace(
            first,
            **{name: join(name) for name in ("keypoints", "scores", "person_scores", "boxes", "ids", "states")},
            parts={name: People.concatenate([group.parts[name] for group in groups]) for name in sorted(shared)},
        )

    def to_json(self) -> str:
        """The people as JSON of manypose's own schema; `manypose.formats.plain` reads it back."""
        from manypose.formats import plain

        return plain.dumps(self)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The people as rows of a COCO results file; see `manypose.formats.coco`."""
        from manypose.formats import coco

        return coco.to_results(self, image_id)

    def to_openpose(self) -> dict[str, Any]:
        """The people as OpenPose's JSON; see `manypose.formats.openpose`."""
        from manypose.formats import openpose

        return openpose.to_dict(self)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each person and joint; see `manypose.formats.table`. Needs pandas."""
        from manypose.formats import table

        return table.to_pandas(self)

    def to_supervision(self) -> supervision.KeyPoints:
        """The people as `supervision.KeyPoints`. Needs supervision."""
        from manypose.formats import supervision as adapter

        return adapter.to_keypoints(self)


def _row(skeleton: Skeleton, joint: str) -> int:
    return skeleton.joints.index(joint) if joint in skeleton.joints else -1


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise PeopleError(f"{name} has shape {array.shape}, expected {shape}")


def _array(name: str, values: ArrayLike, dtype: type[Any], empty_shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """A new array of `values`; an empty list takes `empty_shape`, which it cannot say itself."""
    try:
        array = np.array(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise PeopleError(f"{name} cannot be made an array of {np.dtype(dtype).name}: {error}") from None
    return array.reshape(empty_shape) if array.shape == (0,) and empty_shape and empty_shape[0] == 0 else array


def _same_array(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
