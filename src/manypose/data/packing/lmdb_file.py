"""LMDB files of the original training programs, read: under "0000000" ... a Caffe Datum with the array of `datum`.

They are opened read-only and without a lock file, so they may lie on a disk that cannot be written, and processes
may fork or spawn.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.data.packing import datum
from manypose.data.packing.contents import list_contents
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, require
from manypose.skeleton import Skeleton

CHANNELS, HEIGHT, WIDTH, DATA, ENCODED = 1, 2, 3, 4, 7  # fields of Caffe's message Datum
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def read_lmdb(place: Path, skeleton: Skeleton) -> list[LabelledPicture]:
    """The samples of an LMDB, the folder or its data.mdb, with joints mapped by name into `skeleton`.

    Masks come as the record's `masks`; a sample for each person may repeat its picture. Raises `DataError` that names
    place and key.
    """
    require("lmdb", extra="train")
    # One name for a file, since liblmdb opens each but once in a process.
    place = (place / "data.mdb" if place.is_dir() else place).resolve()
    keys = [entry["name"] for entry in list_contents(place, "lmdb")]
    if not keys:
        raise DataError(f"{place}: holds no samples")
    with _open(place).begin(buffers=True) as transaction:
        return [_read_sample(place, key, memoryview(transaction.get(key.encode())), skeleton) for key in keys]


def _read_sample(place: Path, key: str, value: memoryview, skeleton: Skeleton) -> LabelledPicture:
    try:
        shape, offset = parse_datum(value)
        plane = shape[1] * shape[2]
        rows = np.frombuffer(value, np.uint8, plane, offset + datum.LABELS * plane).reshape(shape[1:])
        labels = datum.read_labels(rows)
    except DataError as error:
        raise DataError(f"{place}: {key}: {error}") from None
    planes = functools.partial(_load_planes, key=key, shape=shape, offset=offset)
    return datum.to_record(labels, skeleton, place=place, key=key, planes=planes, channels=shape[0])


def _load_planes(
    place: Path, first: int, count: int, *, key: str, shape: tuple[int, int, int], offset: int
) -> NDArray[np.uint8]:
    plane = shape[1] * shape[2]
    with _open(place).begin(buffers=True) as transaction:
        value = transaction.get(key.encode())
        if value is None or len(value) < offset + (first + count) * plane:
            raise DataError(f"{place}: {key}: the file has changed since it was opened; start anew")
        pixels = np.frombuffer(value, np.uint8, count * plane, offset + first * plane)
        return pixels.reshape(count, *shape[1:]).copy()  # the file's pages are ours only within the transaction


@functools.cache
def _open(place: Path) -> Any:
    lmdb = require("lmdb", extra="train")
    # A forked child goes on with its parent's: without locks it is no more than a read-only map of the file, and lmdb
    # refuses to open the file once more.
    try:
        return lmdb.open(str(place), readonly=True, lock=False, subdir=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{place}: cannot be opened: {error}") from None


def parse_datum(message: memoryview) -> tuple[tuple[int, int, int], int]:
    """Shape (channels, height, width) and first byte of the array of bytes in a Datum.

    Raises `DataError`, without a name, when it is damaged or holds something else.
    """
    numbers = {CHANNELS: 0, HEIGHT: 0, WIDTH: 0, ENCODED: 0}
    place = (0, 0)
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(message, position)
            if field in numbers:
                numbers[field] = value
        elif wire == BYTES:
            length, position = _varint(message, position)
            if field == DATA:
                place = (position, length)
            position += length
        elif wire in (FIXED32, FIXED64):
            position += 4 if wire == FIXED32 else 8
        else:
            raise DataError("not a Caffe Datum, or damaged")
    shape = (numbers[CHANNELS], numbers[HEIGHT], numbers[WIDTH])
    if position != len(message) or numbers[ENCODED] or shape[0] not in (5, 6) or place[1] != np.prod(shape):
        raise DataError(f"not a Caffe Datum of (5 or 6, height, width) bytes, or damaged: {shape}, {place[1]} bytes")
    return shape, place[0]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DataError("not a Caffe Datum, or damaged: a number has no end")
