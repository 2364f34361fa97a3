"""Weights of MXNet (.params), every version of the list of arrays, without MXNet.

Little endian: u64 0x112, u64 0, u64 N, N records, u64 M (0 or N), M names (u64 length, bytes). A record begins with the
number of its version, or, before there were versions, with the number of its axes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.convert.binary import Budget, Cursor, as_float32, bfloat16, collect, decode_name, load_bytes, naming
from manypose.errors import ModelError

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

MAGIC = 0x112
START = MAGIC.to_bytes(8, "little")
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE, ROW_SPARSE, CSR = 0, 1, 2
AUXILIARY = {DENSE: 0, ROW_SPARSE: 1, CSR: 2}  # arrays of indices beside the values
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?", 8: "<i2"}
BFLOAT16 = 12

LEAVES = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
# Gluon writes `model0.0.weight`, symbols `conv1_weight`; the older product has no mark at all: `conv4_3_CPMweight`.
NAME = re.compile(rf"(?:arg:|aux:)?(?P<layer>.+?)[._]?(?P<leaf>{'|'.join(LEAVES)})")


def read(path: Path) -> Tensors:
    """Every array by its name in the file (`arg:` and `aux:` too), or by its number where the list has no names.

    Sparse arrays are written out; records without an array are left out. Dense arrays are read-only. Raises
    `ModelError` when the file is no .params file or is damaged.
    """
    with naming(path):
        return parse(load_bytes(path))


def parse(data: bytes) -> Tensors:
    """The same of the bytes of a file."""
    cursor = Cursor(data)
    if cursor.number("Q") != MAGIC:
        raise ModelError("not a .params file of MXNet: it does not begin with 0x112")
    cursor.number("Q")
    budget = Budget(len(data))
    arrays = [_record(cursor, budget) for _ in range(_count(cursor, smallest=4))]
    names = [decode_name(cursor.take(cursor.number("Q"))) for _ in range(_count(cursor, smallest=8))]
    if names and len(names) != len(arrays):
        raise ModelError(f"damaged: it has {len(arrays)} arrays and {len(names)} names")
    if cursor.left:
        raise ModelError(f"damaged: {cursor.left:,} bytes follow the last name")
    names = names or [str(number) for number in range(len(arrays))]
    return collect((name, array) for name, array in zip(names, arrays, strict=True) if array is not None)


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors by PyTorch's names, float32; the axes are the same."""
    return collect((_torch_name(name), as_float32(tensor)) for name, tensor in tensors.items())


def _torch_name(name: str) -> str:
    match = NAME.fullmatch(name)
    return f"{match['layer']}.{LEAVES[match['leaf']]}" if match else name.removeprefix("arg:").removeprefix("aux:")


def _count(cursor: Cursor, *, smallest: int) -> int:
    count = cursor.number("Q")
    if count > cursor.left // smallest:
        raise ModelError(f"damaged or cut off: {count:,} records should follow, {cursor.left:,} bytes are left")
    return count


def _record(cursor: Cursor, budget: Budget) -> NDArray[Any] | None:
    version = cursor.number("I")
    if version not in (V1, V2, V3):  # the number of axes itself
        shape = tuple(cursor.array("<u4", (version,)).tolist())
        return _dense(cursor, shape) if shape else None
    if version == V1:
        shape = _shape(cursor) or ()
        return _dense(cursor, shape) if shape else None
    storage = cursor.number("i")
    if storage in (ROW_SPARSE, CSR) and version == V2:
        return _sparse(cursor, storage, budget)
    known = _shape(cursor)
    if known is None or (known == () and version == V2):
        return None
    if storage != DENSE:
        raise ModelError(f"damaged: an array is stored in way {storage}, of which there is none")
    return _dense(cursor, known)


def _shape(cursor: Cursor) -> tuple[int, ...] | None:
    """None where the number of axes, or a size, is not known."""
    axes = cursor.number("i")
    if axes == -1:
        return None
    shape = tuple(cursor.array("<i8", (axes,)).tolist())
    return None if -1 in shape else shape


def _dense(cursor: Cursor, shape: tuple[int, ...]) -> NDArray[Any]:
    cursor.take(8)  # the device it lay on, and its number
    return _values(cursor, cursor.number("i"), shape)


def _values(cursor: Cursor, code: int, shape: tuple[int, ...]) -> NDArray[Any]:
    if code == BFLOAT16:
        return bfloat16(cursor.array("<u2", shape))
    if code not in DTYPES:
        raise ModelError(f"damaged: an array has the type {code}, of which there is none")
    return cursor.array(DTYPES[code], shape)


def _sparse(cursor: Cursor, storage: int, budget: Budget) -> NDArray[Any] | None:
    stored, shape = _shape(cursor), _shape(cursor)
    if not shape or stored is None:
        return None
    cursor.take(8)
    code = cursor.number("i")
    auxiliary = [(cursor.number("i"), _shape(cursor) or ()) for _ in range(AUXILIARY[storage])]
    values = _values(cursor, code, stored)
    indices = [_values(cursor, kind, size) for kind, size in auxiliary]
    budget.spend_on(shape, values.itemsize)  # the only arrays that take more memory than they have bytes in the file
    if any(index.dtype.kind != "i" for index in indices):
        raise ModelError(f"damaged: it states a sparse array of shape {shape}")
    places = _places_of_rows(indices[0]) if storage == ROW_SPARSE else _places_of_cells(*indices, rows=shape[0])
    inside = all(((place >= 0) & (place < size)).all() for place, size in zip(places, shape, strict=False))
    expected = (len(places[0]), *shape[len(places) :])
    if len(places) > len(shape) or values.shape != expected or not inside:
        raise ModelError(f"damaged: the indices of a sparse array do not fit its shape {shape}")
    dense = np.zeros(shape, values.dtype)
    dense[places] = values
    return dense


def _places_of_rows(rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return (rows.reshape(-1),)


def _places_of_cells(starts: NDArray[Any], columns: NDArray[Any], *, rows: int) -> tuple[NDArray[Any], ...]:
    starts = starts.reshape(-1)
    is_ordered = len(starts) == rows + 1 and starts[0] == 0 and starts[-1] == columns.size
    if not is_ordered or (starts[1:] < starts[:-1]).any():
        raise ModelError("damaged: the rows of a sparse array do not follow one another")
    return np.repeat(np.arange(rows), np.diff(starts)), columns.reshape(-1)
