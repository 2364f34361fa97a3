"""The results of many pictures as files: drawn pictures beside JSON, COCO's or OpenPose's format."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from manypose import drawing, images
from manypose.errors import FormatError, ModelError, OutputError
from manypose.estimators.folder import Failure, Prediction, Source
from manypose.files import write_bytes
from manypose.formats import coco, openpose, plain

Format = Literal["json", "coco", "openpose"]
Show = Literal["skeleton", "joints", "heatmaps", "fields"]

COCO_RESULTS = "coco_results.json"
COCO_IMAGES = "coco_images.json"
_JPEG = (".jpg", ".jpeg", ".jpe")


@dataclass(frozen=True)
class ResultOptions:
    """What is written, and how.

    `format` is json (manypose's own), coco or openpose. `picture` says whether people are drawn, `show` what of them;
    `joint` shows one joint alone, and joints that score below `joint_threshold` are not drawn.
    """

    format: Format = "json"
    picture: bool = True
    show: Show = "skeleton"
    joint: str | None = None
    joint_threshold: float = 0.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise FormatError(f"format is {self.format!r}, expected one of {', '.join(get_args(Format))}")


def image_ids(sources: Iterable[Source | Failure]) -> dict[Source, int]:
    """The ids of pictures in COCO's results: the last digits of their names, as in COCO_val2014_000000000139.

    When a name has none, or two have the same, all pictures are numbered from 1 in their order instead.
    """
    own = [source for source in sources if isinstance(source, Source)]
    digits = [re.findall(r"[0-9]+", source.path.stem) for source in own]
    numbers = [int(found[-1]) for found in digits if found and len(found[-1]) <= 18]  # more do not fit 64 bits
    if len(set(numbers)) != len(own):
        numbers = list(range(1, len(own) + 1))
    return dict(zip(own, numbers, strict=True))


def result_line(prediction: Prediction, *, format: Format = "json", image_id: int = 1) -> str:
    """The people of one picture as one line of JSON, ASCII, without its end.

    For json it is a whole document of `formats.plain`, for openpose one of `formats.openpose` with the key `file_name`
    before the others, for coco a list of results rows.
    """
    data: Any
    if format == "coco":
        data = coco.to_results(prediction.people, image_id)
    elif format == "openpose":
        data = {"file_name": file_name(prediction.source)} | openpose.to_dict(prediction.people)
    else:
        data = json.loads(plain.dumps(plain.Picture(prediction.people, file_name(prediction.source))))
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def file_name(source: Source) -> str:
    """The path of a source as it was given, as text that JSON can hold; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(source.path).decode("utf-8", "replace")


def draw_prediction(prediction: Prediction, options: ResultOptions) -> NDArray[np.uint8]:
    """A new picture (RGB uint8) with what `options` ask for drawn on it."""
    picture, people, maps = prediction.picture, prediction.people, prediction.maps
    if options.show == "heatmaps" or options.show == "fields":
        if maps is None:
            raise ModelError(f"show is {options.show!r}, but a {prediction.task} model has no such maps to be drawn")
        return drawing.draw_maps(
            picture,
            maps.heatmaps,
            maps.fields,
            people.skeleton,
            show=options.show,
            joint=options.joint,
            affine=maps.affine,
            stride=prediction.stride,
        )
    boxes = prediction.task == "detector"  # which finds nothing else
    return drawing.draw_people(
        picture,
        people,
        show=options.show,
        joint=options.joint,
        threshold=options.joint_threshold,
        boxes=boxes,
        scores=boxes,
    )


@dataclass
class ResultWriter:
    """Writes results below a folder as they come; use it as a context manager.

    Of a source called `beach` come `beach_people.jpg` (of a JPEG; .png otherwise) and `beach.json`, for openpose
    `beach_keypoints.json`. For coco `coco_results.json` with all people, and `coco_images.json` with the id, file name
    and size of every picture, are written at the end, also when the end is an error or Ctrl-C. `stride` is that of the
    network's maps. `written` are the files that are there by now.

    Making one raises `OutputError` when a file to be written is there already and may not be overwritten, or is itself
    one of the pictures to be read; then nothing has been written.
    """

    folder: Path
    sources: Sequence[Source | Failure]
    options: ResultOptions = ResultOptions()
    written: list[Path] = field(default_factory=list, init=False)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _images: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = [source for source in self.sources if isinstance(source, Source)]
        self._ids = image_ids(own)
        shared = [self.folder / COCO_RESULTS, self.folder / COCO_IMAGES] if self.options.format == "coco" else []
        files = [file for source in own for file in self.files_of(source)] + shared
        _check_folder(self.folder)
        _check_files(files, own, overwrite=self.options.overwrite)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._images:
            self._write_text(self.folder / COCO_RESULTS, coco.dumps(self._rows))
            rows = ",\n".join(json.dumps(row) for row in self._images)
            self._write_text(self.folder / COCO_IMAGES, f'{{"images": [\n{rows}\n]}}\n')

    def files_of(self, source: Source) -> list[Path]:
        """The files of one source: the drawn picture, if any, first."""
        suffix = ".jpg" if source.path.suffix.lower() in _JPEG else ".png"
        pictures = [self.folder / f"{source.name}_people{suffix}"] if self.options.picture else []
        ending = {"json": ".json", "openpose": "_keypoints.json", "coco": None}[self.options.format]
        return pictures + ([] if ending is None else [self.folder / f"{source.name}{ending}"])

    def write(self, prediction: Prediction) -> dict[str, float]:
        """Write the files of one picture; gives the seconds of the stages draw and write.

        Raises `OutputError` when one cannot be written.
        """
        started = time.perf_counter()
        drawn = draw_prediction(prediction, self.options) if self.options.picture else None
        painted = time.perf_counter()
        try:
            self._write_people(prediction)  # first: a picture is soon drawn again
            if drawn is not None:
                target = self.files_of(prediction.source)[0]
                _make_folder(target.parent)
                images.write_image(target, drawn, overwrite=self.options.overwrite)
                self.written.append(target)
        except OSError as error:  # such as a name that is too long with its ending
            raise OutputError(f"{prediction.source.path}: cannot write its results: {error.strerror}") from None
        return {"draw": painted - started, "write": time.perf_counter() - painted}

    def _write_people(self, prediction: Prediction) -> None:
        source, people = prediction.source, prediction.people
        if self.options.format == "coco":
            width, height = prediction.picture.shape[1], prediction.picture.shape[0]
            image = {"id": self._ids[source], "file_name": file_name(source), "width": width, "height": height}
            self._images.append(image)
            self._rows += coco.to_results(people, self._ids[source])
        elif self.options.format == "openpose":
            self._write_text(self.files_of(source)[-1], openpose.dumps(people))
        else:
            text = plain.dumps(plain.Picture(people, file_name(source)))
            self._write_text(self.files_of(source)[-1], text)

    def _write_text(self, target: Path, text: str) -> None:
        _make_folder(target.parent)
        write_bytes(target, text.encode("utf-8"), overwrite=self.options.overwrite)
        self.written.append(target)


def _check_folder(folder: Path) -> None:
    """Raise `OutputError` when the folder cannot be made because a file is in its way."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if there is not None and not there.is_dir():
        raise OutputError(f"{there}: is a file, and the results need a folder; choose another folder")


def _check_files(files: list[Path], sources: list[Source], *, overwrite: bool) -> None:
    inputs = {os.path.realpath(source.path) for source in sources}
    for file in files:
        if os.path.realpath(file) in inputs:
            raise OutputError(f"{file}: would be written over a picture that is to be read; choose another folder")
    there = [] if overwrite else [file for file in files if os.path.lexists(file)]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputError(
            f"{there[0]}{more}: the file exists; choose another folder, or allow overwriting (--overwrite)"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made: {error.strerror}") from None
