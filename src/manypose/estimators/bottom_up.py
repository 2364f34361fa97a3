"""BottomUp: a picture of any size in, the people in it out, found by one network for everybody at once."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import geometry, images
from manypose.codecs.fields import FieldsCodec
from manypose.errors import ManyposeError, ModelError
from manypose.estimators import scores
from manypose.estimators.inputs import Clock, StageTimes, fit_input
from manypose.model import Model
from manypose.people import People

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]
Interpolation = Literal["auto", "linear", "cubic"]
LARGEST_INPUT = 40_000_000  # pixels of one prepared picture; a scale by mistake must not take all memory
PICTURES_AT_ONCE = 16  # pictures of a batch that are in memory together with their maps
INPUTS_AT_ONCE = 8_000_000  # pixels that one run of the network takes, unless one picture has more
_HOW = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_SIZES = ("long_side", "short_side", "height", "scale")


@dataclass(frozen=True)
class BottomUpOptions:
    """How pictures are shown to the network.

    At most one of `long_side`, `short_side`, `height` (pixels) and `scale` (of the picture) sets the size; without any
    it is the one at which the model does best. `scales` are multiples of that size whose maps are averaged on the
    finest grid, `flip` adds the mirrored picture to each. `threshold` is the least score of a person, None for the
    model's own.

    The others are for comparing with other programs: `interpolation` of the resizing ("auto": by area when a side
    shrinks to less than half, else linear), `fill`, the grey value of the padding (None: the model's own), and
    `decoder`, settings of `DecoderSettings` that replace those of the model.
    """

    long_side: int | None = None
    scale: float | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    threshold: float | None = None
    short_side: int | None = None
    height: int | None = None
    interpolation: Interpolation = "auto"
    fill: int | None = None
    decoder: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _SIZES if getattr(self, name) is not None}
        if len(given) > 1:
            raise ManyposeError(f"{' and '.join(given)} are two ways to set one size: give only one of them")
        if not all(0 < value < float("inf") for value in given.values()):
            raise ManyposeError("long_side and scale must be positive")
        if self.interpolation not in get_args(Interpolation):
            raise ManyposeError(f"interpolation is {self.interpolation!r}, expected auto, linear or cubic")
        if self.fill is not None and not 0 <= self.fill <= 255:
            raise ManyposeError(f"fill is {self.fill}, expected a grey value, 0 to 255")
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ManyposeError(f"scales are {self.scales}, expected one or more positive numbers")
        if self.threshold is not None and np.isnan(self.threshold):
            raise ManyposeError("threshold is nan, expected a number: the least score of a person")


@dataclass(frozen=True, eq=False)
class PictureMaps:
    """The maps of one picture: heatmaps (K + 1, h, w), fields (2L, h, w), and the affine from the picture to their
    network input, whose pixel stride * i + (stride - 1) / 2 is cell i."""

    heatmaps: Array
    fields: Array
    affine: NDArray[np.float64]
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _View:
    """One way in which the network sees a picture: scaled, padded, perhaps mirrored."""

    picture: Picture
    affine: NDArray[np.float64]
    size: tuple[int, int]  # of the content, without the padding
    mirrored: bool


@dataclass(frozen=True, eq=False)
class BottomUp:
    """Finds people in pictures with a bottom-up model.

    Call it with a picture (path, bytes, PIL image or array), or use `batch` for several. Threads may share it.
    """

    model: Model
    options: BottomUpOptions = field(default_factory=BottomUpOptions)
    clock: Clock = field(default_factory=Clock, repr=False)

    @property
    def times(self) -> StageTimes:
        """What the stages took so far, added up; each thread has its own."""
        return self.clock.times

    @cached_property
    def codec(self) -> FieldsCodec:
        """Meaning and decoding of the maps: the model's, with the settings of the options.

        Raises `ModelError` for settings that do not exist.
        """
        codec = self.model.codec
        if not self.options.decoder:
            return codec
        known = dataclasses.asdict(codec.decoder)
        unknown = sorted(set(self.options.decoder) - set(known))
        if unknown:
            raise ModelError(f"the decoder has no setting {unknown[0]!r}; there are {', '.join(known)}")
        changed = {name: type(known[name])(value) for name, value in self.options.decoder.items()}
        return dataclasses.replace(codec, decoder=dataclasses.replace(codec.decoder, **changed))

    def __call__(self, image: Any) -> People:
        """The people in a picture, in its own pixels; raises `ImageError` when it cannot be opened."""
        return self.batch([image])[0]

    def batch(self, pictures: Sequence[Any]) -> list[People]:
        """The people of several pictures, which may differ in size; those of one size run together."""
        people: list[People] = []
        for start in range(0, len(pictures), PICTURES_AT_ONCE):
            people += [self.decode(maps) for maps in self.maps(pictures[start : start + PICTURES_AT_ONCE])]
        return people

    def decode(self, maps: PictureMaps) -> People:
        """The people in the maps of a picture, in pixels of that picture."""
        started = time.perf_counter()
        people = scores.calibrate(self.codec.decode(maps.heatmaps, maps.fields), self.model.metadata)
        if self.options.threshold is not None:
            people = people[people.person_scores >= self.options.threshold]
        people = people.transform(geometry.invert_affine(maps.affine), maps.image_size)
        people = _within(people, maps.image_size)
        self.times.decode += time.perf_counter() - started
        return people

    def maps(self, pictures: Iterable[Any]) -> list[PictureMaps]:
        """The network's maps of pictures, averaged over the views of each."""
        opened = [images.open_image(picture) for picture in pictures]
        started = time.perf_counter()
        views = [self._views(picture) for picture in opened]
        self.times.prepare += time.perf_counter() - started
        results = self._run([view for group in views for view in group])
        gathered = []
        for picture, group in zip(opened, views, strict=True):
            own, results = results[: len(group)], results[len(group) :]
            heatmaps, fields = self._average(group, own)
            gathered.append(PictureMaps(heatmaps, fields, group[0].affine, (picture.shape[1], picture.shape[0])))
        return gathered

    def __post_init__(self) -> None:
        settings, options = self.model.metadata.input, self.options
        if settings.size is not None and (options.scales != (1.0,) or any(getattr(options, n) for n in _SIZES)):
            raise ManyposeError(
                f"{self.model.path}: its network takes pictures of {settings.size[0]} x {settings.size[1]} only; leave "
                "long_side, scale and scales out"
            )
        if self.options.decoder:
            _ = self.codec  # refuses now what it does not know, and not at the first picture

    def _views(self, picture: Picture) -> list[_View]:
        height, width = picture.shape[:2]
        if self.model.metadata.input.size is not None:
            fitted = fit_input(picture, self.model.metadata.input)
            # The maps are used up to the right and lower end of the picture; what is before it has no joints.
            end = np.rint(fitted.offset + fitted.factors * (width, height)).astype(int).tolist()
            view = _View(fitted.picture, fitted.affine, (end[0], end[1]), mirrored=False)
            return [view, _mirror(view)] if self.options.flip else [view]
        base = self._base_scale(width, height)
        views = []
        for scale in sorted(self.options.scales, reverse=True):  # maps are averaged on the finest grid
            shown, affine = self._fit(picture, base * scale)
            # The size without padding, from where the affine takes the last pixel.
            size = tuple(round(float(affine[i, i] * (width, height)[i])) for i in (0, 1))
            views.append(_View(shown, affine, (size[0], size[1]), mirrored=False))
            if self.options.flip:
                views.append(_mirror(views[-1]))
        return views

    def _base_scale(self, width: int, height: int) -> float:
        options = self.options
        if options.scale is not None:
            return options.scale
        if options.short_side is not None:
            return options.short_side / min(height, width)
        if options.height is not None:
            return options.height / height
        return (options.long_side or self.model.metadata.input.long_side) / max(height, width)

    def _fit(self, picture: Picture, scale: float) -> tuple[Picture, NDArray[np.float64]]:
        settings, options = self.model.metadata.input, self.options
        fill = settings.fill if options.fill is None else options.fill
        size = picture.shape[1], picture.shape[0]
        resized, wanted = picture, tuple(max(1, round(scale * side)) for side in size)
        if options.interpolation != "auto" and wanted != size and wanted[0] * wanted[1] <= LARGEST_INPUT:
            how = _HOW[options.interpolation]
            resized, scale = np.asarray(cv2.resize(picture, wanted, interpolation=how), np.uint8), 1.0
        shown, affine = images.fit(resized, scale=scale, stride=settings.stride, fill=fill, max_pixels=LARGEST_INPUT)
        if resized is not picture:
            affine = geometry.resize_affine(size, (wanted[0], wanted[1]))
        return shown, affine

    def _run(self, views: list[_View]) -> list[tuple[Array, Array]]:
        """Heatmaps and fields of each view; views of one size run as one batch."""
        results: list[tuple[Array, Array]] = [(np.empty(0, np.float32),) * 2] * len(views)
        sizes = defaultdict(list)
        for i, view in enumerate(views):
            sizes[view.picture.shape].append(i)
        pieces = [
            rows[start : start + step]
            for shape, rows in sizes.items()
            for step in [max(1, INPUTS_AT_ONCE // (shape[0] * shape[1]))]
            for start in range(0, len(rows), step)
        ]
        for rows in pieces:
            started = time.perf_counter()
            batch = self.model.prepare([views[i].picture for i in rows])
            prepared = time.perf_counter()
            maps = self.model.run(batch)
            self.times.prepare += prepared - started
            self.times.network += time.perf_counter() - prepared
            for k, i in enumerate(rows):
                results[i] = (maps["heatmaps"][k], maps["fields"][k])
        return results

    def _average(self, views: list[_View], maps: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """The mean of the maps of all views, on the grid of the first one and without its padding."""
        stride = self.model.codec.stride
        grid = (-(-views[0].size[0] // stride), -(-views[0].size[1] // stride))
        if len(views) == 1:
            return tuple(m[:, : grid[1], : grid[0]] for m in maps[0])  # type: ignore[return-value]
        totals = [np.zeros((len(m), grid[1], grid[0]), np.float32) for m in maps[0]]
        for view, (heatmaps, fields) in zip(views, maps, strict=True):
            if view.mirrored:
                heatmaps, fields = _swap_sides(heatmaps, fields, self.model)
            affine = _between_grids(views[0].affine, view.affine, stride)
            beside = self.model.codec.field_offset / stride
            moved = affine.copy()
            moved[:, 2] += beside - affine[:, :2] @ [beside, beside]
            for total, own, to in zip(totals, (heatmaps, fields), (affine, moved), strict=True):
                total += _sample(own, to, grid) / np.float32(len(views))
        return totals[0], totals[1]


def _mirror(view: _View) -> _View:
    """The mirror image of a view, padding and all: so its cells are those of the view, and averaging blurs nothing."""
    affine = view.affine.copy()
    affine[0] = -affine[0]
    affine[0, 2] += view.picture.shape[1] - 1
    return _View(np.ascontiguousarray(view.picture[:, ::-1]), affine, view.size, mirrored=True)


def _swap_sides(heatmaps: Array, fields: Array, model: Model) -> tuple[Array, Array]:
    """Channels of a mirrored picture renamed, and its fields' x turned round; the columns stay mirrored."""
    skeleton = model.skeleton
    order = [*skeleton.flip.tolist(), *range(len(skeleton), len(heatmaps))]
    channels, signs = skeleton.field_flip
    return heatmaps[order], fields[channels] * signs[:, None, None]


def _between_grids(base: NDArray[np.float64], other: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Affine from the cells of one view's maps to those of another's."""
    between = geometry.compose_affines(other, geometry.invert_affine(base))
    linear, offset = between[:, :2], between[:, 2]
    half = (stride - 1) / 2
    return np.column_stack([linear, (linear @ [half, half] + offset - half) / stride])


def _sample(maps: Array, affine: NDArray[np.float64], grid: tuple[int, int]) -> Array:
    """Maps (C, h, w) read at the places that `affine` gives for the cells of `grid` (w, h), linearly."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(m, affine, grid, flags=flags, borderMode=cv2.BORDER_REPLICATE) for m in maps])


def _within(people: People, size: tuple[int, int]) -> People:
    """The same people with joints and boxes moved to the border where they lie just outside of the picture."""
    limit = np.array(size, np.float32) - 1
    keypoints = np.clip(people.keypoints, 0, limit)
    return dataclasses.replace(people, keypoints=keypoints, boxes=geometry.keypoint_boxes(keypoints))
