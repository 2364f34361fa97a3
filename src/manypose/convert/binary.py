"""Bytes of a stranger's file taken one by one: no length that the file states is believed before it is checked."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manypose.errors import ModelError

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

LARGEST_FILE = 4 << 30  # bytes; the largest of the published weights has 0.6 GB
MOST_EXPANDED = 8  # by how many times tensors may exceed their file: some share values, some are packed or have 4 bits
ALWAYS_ALLOWED = 1 << 26  # bytes that tensors may take however small their file is
MOST_AXES = 16
LARGEST_AXIS = 1 << 40

Bytes = bytes | memoryview


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Put the name of the file, or of a part of it, in front of what is said about it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_file(path: Path) -> int:
    """Size of a file in bytes; raises `ModelError` when it is none, is empty or too large."""
    if not path.is_file():
        raise ModelError("is a folder; give the file of weights" if path.is_dir() else "there is no such file")
    size = path.stat().st_size
    if not size:
        raise ModelError("the file is empty; fetch it again")
    if size > LARGEST_FILE:
        raise ModelError(f"has {size:,} bytes; weights of more than {LARGEST_FILE:,} bytes are not read")
    return size


def load_bytes(path: Path) -> bytes:
    """The whole file; raises `ModelError` when it cannot be had."""
    check_file(path)
    return path.read_bytes()


def most_memory(file_size: int) -> int:
    """Bytes that the tensors of a file may take."""
    return min(MOST_EXPANDED * file_size, 2 * LARGEST_FILE) + ALWAYS_ALLOWED


class Budget:
    """The memory that the tensors of one file may take: a file that states much more than it holds is refused.

    `file_size` in bytes. Tensors may share values, be packed or left out where they are zero, and so there is no limit
    to what a small file can ask for but this one.
    """

    def __init__(self, file_size: int) -> None:
        self._file_size = file_size
        self._stated = 0
        self._further: set[Path] = set()

    def widen(self, file: Path) -> None:
        """Count a further file, once, that holds some of the tensors."""
        if file not in self._further:
            self._further.add(file)
            self._file_size += file.stat().st_size

    def spend(self, size: int) -> None:
        """Count the bytes of a tensor, before it is made; raises `ModelError` when it is too much altogether."""
        self._stated += size
        if self._stated > most_memory(self._file_size):
            raise ModelError(
                f"damaged or unsafe: it states {self._stated:,} bytes of tensors or more, the file has "
                f"{self._file_size:,}; save the weights dense, unpacked and each of them once"
            )

    def spend_on(self, shape: Iterable[int], itemsize: int) -> None:
        """Count a tensor by its shape and the bytes of a value, which take 4 as soon as they are float32."""
        self.spend(count_values(shape) * max(itemsize, 4))


def count_values(shape: Iterable[int]) -> int:
    """How many values an array of this shape holds; raises `ModelError` for what is no shape."""
    shape = tuple(shape)
    if len(shape) > MOST_AXES or any(not 0 <= size <= LARGEST_AXIS for size in shape):
        raise ModelError(f"damaged: it states an array of shape {shape[:MOST_AXES]}")
    return math.prod(shape)


def as_array(data: Bytes, dtype: DTypeLike, shape: Iterable[int]) -> NDArray[Any]:
    """A read-only array over bytes; raises `ModelError` unless they are exactly those of the shape."""
    shape = tuple(shape)
    needed = count_values(shape) * np.dtype(dtype).itemsize
    if len(data) != needed:
        raise ModelError(f"damaged: an array of shape {shape} takes {needed:,} bytes, there are {len(data):,}")
    try:
        return np.frombuffer(data, dtype).reshape(shape) if needed else np.empty(shape, dtype)
    except ValueError:  # numpy multiplies the axes without the zeros among them
        raise ModelError(f"damaged: it states an array of shape {shape}") from None


def bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Values of bfloat16, which are the upper halves of float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Cursor:
    """A place in a file that moves forward; whatever would pass the end raises `ModelError`."""

    def __init__(self, data: Bytes) -> None:
        self._data = memoryview(data)
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise ModelError(
                f"damaged or cut off: {count:,} bytes should follow, {self.left:,} are left; fetch it again"
            )
        start = self._position
        self._position += count
        return self._data[start : self._position]

    def number(self, kind: str) -> int:
        """The next integer, little endian, by the letter of `struct`."""
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0])

    def array(self, dtype: DTypeLike, shape: Iterable[int]) -> NDArray[Any]:
        """The next array, read-only."""
        shape = tuple(shape)
        return as_array(self.take(count_values(shape) * np.dtype(dtype).itemsize), dtype, shape)


def decode_name(data: Bytes) -> str:
    """A name in UTF-8."""
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise ModelError(f"damaged: a name reads {bytes(data)[:40]!r}") from None


def collect(pairs: Iterable[tuple[str, NDArray[Any]]]) -> Tensors:
    """Tensors by name; raises `ModelError` where two have the same."""
    tensors: Tensors = {}
    for name, tensor in pairs:
        if name in tensors:
            raise ModelError(f"holds two tensors that are called {name!r}")
        tensors[name] = tensor
    return tensors


def as_float32(tensor: NDArray[Any]) -> NDArray[Any]:
    """A copy in row order and the machine's byte order, in float32 where the tensor has fractions."""
    with np.errstate(all="ignore"):  # a double beyond float32 becomes infinite, as everywhere else
        dtype = np.float32 if tensor.dtype.kind == "f" else tensor.dtype.newbyteorder("=")
        return np.array(tensor, dtype, order="C")
