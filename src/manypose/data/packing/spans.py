"""Parts of a file read by their place in it: no handle outlives a read, so processes may fork or spawn as they like."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError


def read_span(place: Path, name: str = "", *, offset: int, length: int) -> bytes:
    """`length` bytes of the file `place` from `offset` on; `name` is whose they are, for the message of `DataError`."""
    try:
        content = _read(place, offset, length)
    except OSError as error:
        raise DataError(f"{place}: cannot read {name}: {error.strerror or error}") from None
    if len(content) != length:
        raise DataError(f"{place}: cannot read {name}: the file has been cut short; pack or fetch it anew")
    return content


def _read(place: Path, offset: int, length: int) -> bytes:
    if not hasattr(os, "pread"):  # Windows
        with open(place, "rb") as file:
            file.seek(offset)
            return file.read(length)
    number = os.open(place, os.O_RDONLY | os.O_CLOEXEC)  # a file object would take longer to make than to read
    try:
        return os.pread(number, length, offset)
    finally:
        os.close(number)


def read_planes(place: Path, first: int, count: int, *, offset: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Channels `first` .. `first + count - 1` of an array uint8 (C, h, w) that begins at `offset` of the file."""
    _, height, width = shape
    plane = height * width
    content = read_span(place, f"the array at byte {offset}", offset=offset + first * plane, length=count * plane)
    return np.frombuffer(content, np.uint8).reshape(count, height, width)
