"""HDF5 files of samples: the layout of the Keras product (`generate_hdf5`), read and written, and a fork's, read.

`datum/0000000` ... are arrays uint8 (5 or 6, h, w) as in `datum`, in one piece and not compressed, perhaps with the
labels once more as JSON in the attribute `meta`. Files of ours hold the same, so that the old programs train from
them, and beside them `labels/0000000` ..., the labels in full (see `labels`), from which manypose reads them back
without loss. In the fork's later layout `dataset/0000000` ... are JSON texts, `images` and `masks` image files.

Pictures are read by their place in the file, without libhdf5: many processes may do so at once.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manypose.data import masks
from manypose.data.packing import datum
from manypose.data.packing.contents import list_contents
from manypose.data.packing.labels import joints_in, labels_from_json, labels_to_json, map_joints
from manypose.data.packing.spans import read_planes, read_span
from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.errors import DataError, OutputError, require
from manypose.files import new_file
from manypose.skeleton import Skeleton, load_skeleton

Entries = dict[str, dict[str, Any]]

LARGEST_META = 60_000  # bytes; libhdf5 takes no attribute of 64 KiB
SPARE = 1 << 26  # bytes that a disk keeps free
BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def read_hdf5(place: Path, skeleton: Skeleton) -> list[LabelledPicture]:
    """The samples of an HDF5 file of any of the three kinds, with joints mapped by name into `skeleton`.

    Files of others hold COCO's 17 joints; their masks come as the record's `masks`, and a sample for each person may
    repeat its picture. Raises `DataError` that names file and entry.
    """
    require("h5py", extra="train")
    entries = {entry["name"]: entry for entry in list_contents(place, "hdf5")}
    keys = [name.partition("/")[2] for name in entries if name.startswith("datum/")]
    if keys:
        return [_read_sample(place, entries, key, skeleton) for key in keys]
    keys = [name.partition("/")[2] for name in entries if name.startswith("dataset/")]
    if keys:
        return [_read_fork_sample(place, entries, key, skeleton) for key in keys]
    raise DataError(f"{place}: holds no samples: it has neither a group `datum` nor a group `dataset`")


def hdf5_joints(place: Path) -> tuple[str, ...] | None:
    """The names of the joints in a file of ours; None for files of others, which hold COCO's 17."""
    require("h5py", extra="train")
    first = next((entry for entry in list_contents(place, "hdf5") if entry["name"].startswith("labels/")), None)
    return joints_in(_load(place, first), archive=place, entry=first["name"]) if first else None


def _read_sample(place: Path, entries: Entries, key: str, skeleton: Skeleton) -> LabelledPicture:
    entry = entries[f"datum/{key}"]
    shape = tuple(entry.get("shape", ()))
    if len(shape) != 3 or shape[0] not in (5, 6):
        raise DataError(f"{place}: datum/{key}: not an array uint8 (5 or 6, height, width) but {shape or 'another'}")
    planes = _planes_of(place, entry)
    if f"labels/{key}" in entries:
        content = _load(place, entries[f"labels/{key}"])
        width, height = _size_in(content, place, key, shape)
        pixels = datum.Pixels(planes, (width, height))
        return labels_from_json(content, skeleton, archive=place, entry=key, fetch=pixels.picture, masks=pixels.mask)
    try:
        labels = datum.read_labels(planes(place, datum.LABELS, 1)[0])
    except DataError as error:
        raise DataError(f"{place}: datum/{key}: {error}") from None
    return datum.to_record(labels, skeleton, place=place, key=key, planes=planes, channels=shape[0])


def _size_in(content: bytes, place: Path, key: str, shape: tuple[int, ...]) -> tuple[int, int]:
    try:
        width, height = json.loads(content)["size"]
        if not (0 < width <= shape[2] and 0 < height <= shape[1]):
            raise ValueError(f"a picture of {width} x {height} in an array of {shape[2]} x {shape[1]}")
        return int(width), int(height)
    except BROKEN as error:
        raise DataError(f"{place}: labels/{key}: not labels of manypose: {type(error).__name__} {error}") from None


def _read_fork_sample(place: Path, entries: Entries, key: str, skeleton: Skeleton) -> LabelledPicture:
    entry = entries[f"dataset/{key}"]
    try:
        row = json.loads(entry["text"])
        labels = datum.labels_of_meta(json.loads(entry["meta"]) | row)
        name = str(row["image"])
        image, mask = entries[f"images/{name}"], entries.get(f"masks/{name}")
    except (*BROKEN, DataError) as error:
        raise DataError(f"{place}: dataset/{key}: not a sample: {type(error).__name__} {error}") from None
    picture = LabelledPicture(
        archive=place,
        name=name,
        size=labels.size,
        **datum.people_of(labels),
        id=labels.picture,
        masks=MaskFiles(place, name, fetch=_bytes_of(place, mask)) if mask else None,
        fetch=_bytes_of(place, image),
    )
    return map_joints(picture, load_skeleton("coco17").joints, skeleton)


def _bytes_of(place: Path, entry: dict[str, Any]) -> Callable[[Path, str], bytes]:
    if "shape" not in entry:
        raise DataError(f"{place}: {entry['name']}: not the bytes of an image file")
    if entry["offset"] is None:
        return functools.partial(_load_named, entry=entry["name"])
    return functools.partial(read_span, offset=entry["offset"], length=int(np.prod(entry["shape"])))


def _planes_of(place: Path, entry: dict[str, Any]) -> datum.Planes:
    if entry["offset"] is None:  # somebody has compressed the file
        return functools.partial(_load_planes, entry=entry["name"])
    if entry["offset"] + int(np.prod(entry["shape"])) > place.stat().st_size:
        raise DataError(f"{place}: {entry['name']}: the file has been cut short; pack or fetch it anew")
    return functools.partial(read_planes, offset=entry["offset"], shape=tuple(entry["shape"]))


def _load(place: Path, entry: dict[str, Any]) -> bytes:
    return _bytes_of(place, entry)(place, entry["name"])


def _load_named(place: Path, name: str, *, entry: str) -> bytes:
    return np.asarray(_stored(place, entry)[()], np.uint8).tobytes()


def _load_planes(place: Path, first: int, count: int, *, entry: str) -> NDArray[np.uint8]:
    return np.asarray(_stored(place, entry)[first : first + count], np.uint8)


def _stored(place: Path, entry: str) -> Any:
    try:
        return _open(place, os.getpid())[entry]
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{place}: cannot read {entry}: {error}") from None


@functools.cache
def _open(place: Path, process: int) -> Any:
    return require("h5py", extra="train").File(place, "r")  # a process that is forked opens its own


def write_hdf5(
    pictures: Sequence[LabelledPicture],
    file: Path,
    skeleton: Skeleton,
    *,
    longest: int | None = None,
    channels: Literal[5, 6] = 6,
    validation: bool = False,
    overwrite: bool = False,
    on_fault: Callable[[DataError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Pack pictures whose joints are those of `skeleton` into an HDF5 file, in one step; gives how many there are.

    Pictures are stored as they are, or at a longer side of at most `longest` pixels; of the two masks that of all
    people is left out with 5 `channels`. A picture that cannot be read stops the packing, unless `on_fault` takes the
    error: then the picture is left out. `progress` is called with the number done and that of all.

    Raises `DataError` for pictures, `OutputError` when the disk lacks room or `file` exists without `overwrite`.
    """
    h5py = require("h5py", extra="train")
    _check_room(pictures, file, longest, channels)
    with new_file(file, overwrite=overwrite) as temporary:
        try:
            with h5py.File(temporary, "x") as target:
                written = 0
                for labels, rgb in _prepared(pictures, longest, on_fault, progress):
                    _write_sample(target, labels, rgb, skeleton, channels, validation, written, len(pictures))
                    written += 1
        except (OSError, RuntimeError) as error:  # libhdf5's errors are long and name no path
            raise OutputError(f"{file}: cannot be written, perhaps the disk is full: {str(error)[:160]}") from None
        if not written:
            raise DataError(f"{file}: there is no picture to pack")
    return written


def _check_room(pictures: Sequence[LabelledPicture], file: Path, longest: int | None, channels: int) -> None:
    if not file.parent.is_dir():
        return  # `new_file` says so
    needed = sum(_array_size(picture, longest) for picture in pictures) * channels
    free = shutil.disk_usage(file.parent).free - SPARE
    if needed > free:
        raise OutputError(
            f"{file}: needs {needed / 1e9:.1f} GB, but only {max(free, 0) / 1e9:.1f} GB are free; pack smaller "
            "pictures, or a .tar, which keeps the pictures' own compression"
        )


def _array_size(picture: LabelledPicture, longest: int | None) -> int:
    scale = min(1.0, longest / max(picture.size)) if longest else 1.0
    return int(picture.size[0] * picture.size[1] * scale * scale)


def _prepared(
    pictures: Sequence[LabelledPicture],
    longest: int | None,
    on_fault: Callable[[DataError], None] | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[LabelledPicture, NDArray[np.uint8]]]:
    for done, picture in enumerate(pictures, start=1):
        try:
            prepared = picture.shrunk(longest) if longest else (picture, picture.read())
        except DataError as error:
            if on_fault is None:
                raise
            on_fault(error)
        else:
            yield prepared
        if progress:
            progress(done, len(pictures))


def _write_sample(
    target: Any,
    picture: LabelledPicture,
    rgb: NDArray[np.uint8],
    skeleton: Skeleton,
    channels: int,
    validation: bool,
    index: int,
    total: int,
) -> None:
    rows = datum.from_record(picture, skeleton.joints, index=index, total=total, validation=validation)
    people = masks.people_mask(picture) if channels == 6 else None
    array = datum.to_array(rows, rgb, masks.missing_mask(picture), people)
    dataset = target.create_dataset(f"datum/{index:07d}", data=array)
    meta = json.dumps(datum.meta_of(rows, picture.name)).encode()
    if len(meta) <= LARGEST_META:
        dataset.attrs["meta"] = np.bytes_(meta)  # of fixed length: texts of any length are libhdf5's weak side
    if channels == 5 and picture.masks:
        picture = dataclasses.replace(picture, masks=dataclasses.replace(picture.masks, people=None))
    labels = labels_to_json(picture, skeleton.joints)
    target.create_dataset(f"labels/{index:07d}", data=np.frombuffer(labels, np.uint8))
