"""The messages of manypose's own sample server: a JSON header, then one frame for each array of the sample.

How an array travels is chosen by what is in it, and said in the header:

raw     its bytes, little-endian: pictures, joints, whatever is not one of the others
bits    uint8 of zeros and ones (weights): one bit each
sparse  float32 within -1..1 (heatmaps, fields): a bit for each cell, 1 where it is not 0, then those cells as float16

So all is exact but maps, whose values are off by 2^-12 (0.00025) at most. Nothing is deflated: beside the picture that
would save a few percent, and cost more time than all of the rest. A header is read as data and checked against
its frames before memory is taken; nothing is unpickled.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from manypose.errors import DataError, describe_faults

VERSION = 1
ROUNDING = 2.0**-12  # of values within -1..1 as float16
MOST_BYTES = 2**28  # of a sample, unpacked
MOST_HEADER_BYTES = 2**14
MOST_ARRAYS = 16
DTYPES = ("uint8", "bool", "int32", "int64", "float32", "float64")

AnyArray = NDArray[Any]
Frame = bytes | memoryview
Count = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True)
class Stream:
    """What a server serves: numbers 0 .. `length` - 1 of `epochs` epochs (None: without end), made with `seed`.

    This server makes part `part` of `parts`: the numbers that leave `part` - 1 when divided by `parts`.
    """

    seed: int
    length: int
    epochs: int | None = None
    part: int = 1
    parts: int = 1
    split: str = "train"

    def __post_init__(self) -> None:
        if not 1 <= self.part <= self.parts:
            raise DataError(f"part {self.part}/{self.parts}: parts are counted from 1 to their number")
        if self.length < self.parts or (self.epochs is not None and self.epochs < 1):
            raise DataError(f"{self.length} samples, {self.epochs} epochs, {self.parts} parts: a part would be empty")


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: its arrays by name, and (seed of the stream, epoch, index), which it depends on alone."""

    stream: Stream
    epoch: int
    index: int
    arrays: dict[str, AnyArray]


@dataclass(frozen=True)
class End:
    """All samples of an epoch have been handed out by this server."""

    stream: Stream
    epoch: int


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Layout(_Strict):
    """How an array lies in its frame."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    dtype: Literal["uint8", "bool", "int32", "int64", "float32", "float64"]
    shape: tuple[Annotated[int, Field(ge=0, le=2**24)], ...] = Field(max_length=8)
    coding: Literal["raw", "bits", "sparse"]

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def bit_bytes(self) -> int:
        """Bytes that a bit for each value takes."""
        return -(-self.values // 8)


class _StreamHeader(_Strict):
    seed: Count
    length: int = Field(ge=1, lt=2**53)
    epochs: Annotated[int, Field(ge=1, lt=2**53)] | None
    part: int = Field(ge=1, lt=2**16)
    parts: int = Field(ge=1, lt=2**16)
    split: str = Field(max_length=64)


class _Header(_Strict):
    manypose: Literal[1]
    kind: Literal["sample", "end"]
    stream: _StreamHeader
    epoch: Count
    index: Count = 0
    arrays: list[_Layout] = Field(default=[], max_length=MOST_ARRAYS)


class _Request(_Strict):
    manypose: Literal[1]
    epoch: Count | None


_NAMES = {np.dtype(name): name for name in DTYPES}  # far quicker than dtype.name


def pack_sample(stream: Stream, epoch: int, index: int, arrays: Mapping[str, AnyArray]) -> list[bytes]:
    """The frames of a sample; raises `DataError` for arrays of a kind that is not sent."""
    packed = [_pack(name, np.asarray(array)) for name, array in arrays.items()]
    layouts = [layout for layout, _ in packed]
    header = _header("sample", stream, epoch) | {"index": index, "arrays": layouts}
    return [_encode(header), *(frame for _, frame in packed)]


def pack_end(stream: Stream, epoch: int) -> list[bytes]:
    """The frames that say that an epoch is over."""
    return [_encode(_header("end", stream, epoch))]


def pack_request(epoch: int | None) -> bytes:
    """A client's request for one sample of an epoch, or of the one that the server is at."""
    return _encode({"manypose": VERSION, "epoch": epoch})


def unpack_request(frame: bytes) -> int | None:
    """The epoch that a client asks for; raises `DataError` for what is no request."""
    try:
        return _Request.model_validate_json(frame).epoch
    except pydantic.ValidationError as error:
        raise DataError(f"not a request for a sample: {describe_faults(error, most=3)}") from None


def unpack(frames: Sequence[Frame]) -> Sample | End:
    """What is in the frames of a message; the arrays are the caller's own, to write in as well.

    The memory of a frame that may be written to becomes that of its array.

    Raises `DataError` for a message that is not exactly what its header says, or larger than `MOST_BYTES`.
    """
    header = _read_header(frames[0] if frames else b"")
    stream = _stream(header.stream)
    if len(frames) != 1 + len(header.arrays):
        raise DataError(f"a message of {len(frames)} frames, where its header has {len(header.arrays)} arrays")
    if header.kind == "end":
        return End(stream, header.epoch)
    if len({layout.name for layout in header.arrays}) != len(header.arrays):
        raise DataError("a message with two arrays of one name")
    if sum(layout.values * np.dtype(layout.dtype).itemsize for layout in header.arrays) > MOST_BYTES:
        raise DataError(f"a message with arrays of more than {MOST_BYTES >> 20} MiB")
    arrays = {layout.name: _unpack(layout, frame) for layout, frame in zip(header.arrays, frames[1:], strict=True)}
    return Sample(stream, header.epoch, header.index, arrays)


def _header(kind: str, stream: Stream, epoch: int) -> dict[str, Any]:
    return {"manypose": VERSION, "kind": kind, "stream": _stream_row(stream), "epoch": epoch}


@functools.lru_cache(maxsize=8)
def _stream_row(stream: Stream) -> dict[str, Any]:
    return asdict(stream)


@functools.lru_cache(maxsize=64)
def _stream(row: _StreamHeader) -> Stream:
    try:
        return Stream(**row.model_dump())
    except DataError as error:
        raise DataError(f"a message with a false header: {error}") from None


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _read_header(frame: Frame) -> _Header:
    if len(frame) > MOST_HEADER_BYTES:
        raise DataError(f"a message with a header of {len(frame)} bytes; at most {MOST_HEADER_BYTES} are read")
    try:
        return _Header.model_validate_json(bytes(frame))
    except pydantic.ValidationError as error:
        raise DataError(f"a message with a false header: {describe_faults(error, most=3)}") from None


def _pack(name: str, array: AnyArray) -> tuple[dict[str, Any], bytes]:
    """The layout and the frame of an array."""
    dtype = _NAMES.get(array.dtype)
    if dtype is None:
        raise DataError(f"{name}: arrays of {array.dtype} are not sent; use one of {', '.join(DTYPES)}")
    layout = {"name": name, "dtype": dtype, "shape": array.shape}
    if dtype == "uint8" and array.max(initial=0) <= 1:
        return layout | {"coding": "bits"}, np.packbits(array).tobytes()
    if dtype == "float32":
        drawn = array != 0
        values = array[drawn]
        if np.abs(values).max(initial=0) <= 1:  # False for NaN
            return layout | {"coding": "sparse"}, np.packbits(drawn).tobytes() + values.astype("<f2").tobytes()
    return layout | {"coding": "raw"}, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _unpack(layout: _Layout, frame: Frame) -> AnyArray:
    dtype = np.dtype(layout.dtype)
    if layout.coding == "raw":
        if len(frame) != layout.values * dtype.itemsize:
            raise DataError(f"{layout.name}: {len(frame)} bytes, but {layout.dtype} {layout.shape} in the header")
        content = np.frombuffer(frame, dtype.newbyteorder("<")).reshape(layout.shape)
        if dtype == np.bool_ and (content.view(np.uint8) > 1).any():
            raise DataError(f"{layout.name}: bytes that are neither true nor false")
        # In the machine's own order, and a copy of what may not be written to, or not be used as it lies.
        return content.astype(dtype, copy=not (content.flags.writeable and content.flags.aligned))
    if layout.coding == "bits":
        if dtype != np.uint8:
            raise DataError(f"{layout.name}: bits of {layout.dtype}; only uint8 is sent so")
        if len(frame) != layout.bit_bytes:
            raise DataError(f"{layout.name}: {len(frame)} bytes for {layout.values} bits")
        return _bits(layout, frame).reshape(layout.shape)
    return _unpack_sparse(layout, frame)


def _unpack_sparse(layout: _Layout, frame: Frame) -> NDArray[np.float32]:
    if layout.dtype != "float32" or len(frame) < layout.bit_bytes:
        raise DataError(f"{layout.name}: {len(frame)} bytes that are not what the header says")
    drawn = np.flatnonzero(_bits(layout, frame[: layout.bit_bytes]).view(np.bool_))  # quicker than of uint8
    if len(frame) - layout.bit_bytes != 2 * len(drawn):
        raise DataError(f"{layout.name}: {len(frame) - layout.bit_bytes} bytes for {len(drawn)} values")
    values = np.frombuffer(frame, "<f2", offset=layout.bit_bytes).astype(np.float32)
    if not (np.abs(values) <= 1).all():
        raise DataError(f"{layout.name}: values that are not within -1..1")
    array = np.zeros(layout.values, np.float32)
    array[drawn] = values
    return array.reshape(layout.shape)


def _bits(layout: _Layout, content: Frame) -> NDArray[np.uint8]:
    """The zeros and ones (values,) of bits."""
    return np.unpackbits(np.frombuffer(content, np.uint8), count=layout.values)
