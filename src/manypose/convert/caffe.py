"""Weights of Caffe (.caffemodel): protobuf's wire format read without Caffe and without generated code.

Both generations of layers are read (V1: field 2, V2: field 100), and every way in which a blob states its shape and
its values: BlobShape or the four legacy sizes, packed or unpacked, float or double.
Source: the messages NetParameter, LayerParameter, V1LayerParameter and BlobProto of caffe.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.convert.binary import as_array, as_float32, collect, decode_name, load_bytes, naming
from manypose.errors import ModelError

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}  # those of V1 that have weights
KERNELS = {"Convolution", "Deconvolution", "InnerProduct"}  # all others have one value for each channel
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
WIDTHS = {FIXED64: 8, FIXED32: 4}

# Fields by number.
V1_LAYERS, V2_LAYERS = 2, 100
V1_NAME, V1_TYPE, V1_BLOBS = 4, 5, 6
V2_NAME, V2_TYPE, V2_BLOBS = 1, 2, 7
LEGACY_SIZES = (1, 2, 3, 4)
DATA, SHAPE, DOUBLE_DATA = 5, 7, 8


def read(path: Path) -> Tensors:
    """Every blob by `<layer>/<type>/<number of the blob>`, as stored; the arrays are read-only.

    Raises `ModelError` when the file is no .caffemodel or is damaged.
    """
    with naming(path):
        return parse(load_bytes(path))


def parse(data: bytes) -> Tensors:
    """The same of the bytes of a file."""
    tensors = collect(_all_blobs(memoryview(data)))
    if not tensors:
        raise ModelError("no layer of it has weights; a trained .caffemodel is needed, not a solver's state")
    return tensors


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors by PyTorch's names in PyTorch's axes, float32.

    The first blob of a layer is its weight, the second its bias; a BatchNorm layer stores sums of the mean and the
    variance and by what to divide them.
    """
    layers: dict[tuple[str, str], list[NDArray[Any]]] = {}
    for key, tensor in tensors.items():
        name, kind, _ = key.rsplit("/", 2)
        layers.setdefault((name, kind), []).append(tensor)
    return collect(
        (f"{name}.{leaf}", as_float32(tensor))
        for (name, kind), blobs in layers.items()
        for leaf, tensor in _leaves(kind, blobs)
    )


def _leaves(kind: str, blobs: list[NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
    if kind == "BatchNorm" and len(blobs) == 3 and blobs[2].size == 1:
        factor = float(blobs[2].reshape(()))
        with np.errstate(all="ignore"):
            share = np.float64(0 if factor == 0 else 1 / factor)
            yield "running_mean", blobs[0].reshape(-1) * share
            yield "running_var", blobs[1].reshape(-1) * share
        return
    for number, blob in enumerate(blobs, start=1 if kind == "Bias" else 0):
        # Legacy files store n values as 1 x 1 x 1 x n, and the matrix of a dense layer as 1 x 1 x out x in.
        if number == 1 or (kind not in KERNELS and blob.shape[:-1] == (1, 1, 1)):
            blob = blob.reshape(-1)
        elif kind == "InnerProduct" and blob.shape[:-2] == (1, 1):
            blob = blob.reshape(blob.shape[2:])
        yield ("weight", "bias")[number] if number < 2 else f"blob_{number}", blob


def _all_blobs(net: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    for number, wire, value in _fields(net):
        if wire != BYTES or number not in (V1_LAYERS, V2_LAYERS):
            continue
        name, kind, blobs = _layer(value, is_v1=number == V1_LAYERS)
        for index, blob in enumerate(blobs):
            with naming(f"blob {index} of layer {name}"):
                yield f"{name}/{kind}/{index}", _blob(blob)


def _layer(message: memoryview, *, is_v1: bool) -> tuple[str, str, list[memoryview]]:
    name_field, type_field, blobs_field = (V1_NAME, V1_TYPE, V1_BLOBS) if is_v1 else (V2_NAME, V2_TYPE, V2_BLOBS)
    name, kind, blobs = "", "", []
    for number, wire, value in _fields(message):
        if number == name_field and wire == BYTES:
            name = decode_name(value)
        elif number == type_field and wire in (VARINT, BYTES):
            kind = V1_TYPES.get(value, f"type {value}") if wire == VARINT else decode_name(value)
        elif number == blobs_field and wire == BYTES:
            blobs.append(value)
    return name, kind, blobs


def _blob(message: memoryview) -> NDArray[Any]:
    legacy: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    values: dict[int, list[memoryview]] = {DATA: [], DOUBLE_DATA: []}
    for number, wire, value in _fields(message):
        if number in LEGACY_SIZES and wire == VARINT:
            legacy[number] = value
        elif number == SHAPE and wire == BYTES:
            shape = _shape(value)
        elif number in values and wire in (BYTES, FIXED32 if number == DATA else FIXED64):
            values[number].append(value)
    number, dtype = (DOUBLE_DATA, "<f8") if values[DOUBLE_DATA] else (DATA, "<f4")
    pieces = values[number]
    data = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
    if shape is None:
        shape = tuple(legacy.get(axis, 0) for axis in LEGACY_SIZES) if legacy else (len(data) // int(dtype[2]),)
    return as_array(data, dtype, shape)


def _shape(message: memoryview) -> tuple[int, ...]:
    sizes: list[int] = []
    for number, wire, value in _fields(message):
        if number == 1 and wire == VARINT:
            sizes.append(value)
        elif number == 1 and wire == BYTES:
            position = 0
            while position < len(value):
                size, position = _varint(value, position)
                sizes.append(size)
    return tuple(sizes)


def _fields(message: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message: number, wire type, and an integer or bytes.

    Numbers of four or eight bytes, of which an unpacked list has one field for each, come as the bytes of all that
    follow one another.
    """
    position = 0
    while position < len(message):
        key, after = _varint(message, position)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if number == 0 or wire not in (VARINT, FIXED64, BYTES, FIXED32):
            raise ModelError("not a .caffemodel, or damaged: it holds a field that protobuf does not have")
        if wire == VARINT:
            value, position = _varint(message, after)
        elif wire == BYTES:
            length, start = _varint(message, after)
            if length > len(message) - start:
                raise ModelError("not a .caffemodel, or cut off: a field is longer than the file; fetch it again")
            value, position = message[start : start + length], start + length
        else:
            value, position = _run(message, position, key_width=after - position, width=WIDTHS[wire])
        yield number, wire, value


def _run(message: memoryview, start: int, *, key_width: int, width: int) -> tuple[memoryview, int]:
    """The values of all fields with the same key that follow one another from `start`, and where they end."""
    step = key_width + width
    whole = (len(message) - start) // step
    if not whole:
        raise ModelError("not a .caffemodel, or cut off: a number ends after the file; fetch it again")
    records = np.frombuffer(message, np.uint8, whole * step, start).reshape(whole, step)
    key = records[0, :key_width]
    count, chunk = 1, 16
    while count < whole:  # in growing pieces, so that many short runs do not each look at all the rest
        same = (records[count : count + chunk, :key_width] == key).all(axis=1)
        if not same.all():
            count += int(same.argmin())
            break
        count += len(same)
        chunk *= 2
    return memoryview(records[:count, key_width:].tobytes()), start + count * step


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ModelError("not a .caffemodel, or cut off in the middle of a number; fetch it again")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ModelError("not a .caffemodel, or damaged: it holds a number of more than 64 bits")
