"""The messages of the sample server of 2017's Keras product, byte for byte, so that its trainers and ours mix.

A sample is one multipart message: a JSON header, the picture uint8 (3, h, w) with planes B, G, R, a mask float64
(h', w') of 0..1, and labels float64 (2L + K + 1, h', w'), fields before heatmaps, already multiplied by the mask.
Nothing says which sample it is, or that an epoch ends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError

HEATMAPS = 19  # of 18 joints and the background
MOST_SIDE = 2**14
MOST_HEADER_BYTES = 2**12
_KINDS = (("picture", ("uint8", "|u1"), 3), ("mask", ("<f8", "<f4"), 2), ("labels", ("<f8", "<f4"), 3))

AnyArray = NDArray[Any]
Doubles = NDArray[np.float64]
Frame = bytes | memoryview


def pack_sample(arrays: Mapping[str, AnyArray]) -> list[bytes]:
    """The frames of a bottom-up sample (see `FieldSamples`); raises `DataError` when it is another kind of sample.

    The format has one mask for all channels: a cell that is unsure in one channel is masked out of all of them.
    """
    missing = [name for name in ("picture", "heatmaps", "fields", "weights") if name not in arrays]
    if missing:
        raise DataError(f"the classic messages need {', '.join(missing)}, which these samples lack; use mode compact")
    mask = arrays["weights"].min(axis=0).astype(np.float64)
    labels = np.concatenate([arrays["fields"], arrays["heatmaps"]]).astype(np.float64) * mask
    return pack_arrays(arrays["picture"][::-1], mask, labels)


def pack_arrays(picture: NDArray[np.uint8], mask: Doubles, labels: Doubles) -> list[bytes]:
    """The frames of arrays that are as the message has them; `picture` in B, G, R."""
    # The uneven blanks are the product's own.
    shapes = ("({}, {},{})".format(*picture.shape), "({},{})".format(*mask.shape), "({},{},{})".format(*labels.shape))
    parts = [
        f'{{"descr":"{kind}","shape":"{shape}","fortran_order":false}}'
        for kind, shape in zip(("uint8", "<f8", "<f8"), shapes, strict=True)
    ]
    arrays = (picture.astype(np.uint8, copy=False), mask.astype("<f8"), labels.astype("<f8"))
    return [f"[{','.join(parts)}]".encode(), *(array.tobytes() for array in arrays)]


def unpack_arrays(frames: Sequence[Frame]) -> tuple[NDArray[np.uint8], Doubles, Doubles] | None:
    """Picture in B, G, R, mask and labels of a message; None where it says that there are no more.

    Raises `DataError` for a message that is not exactly what its header says.
    """
    headers = _read_header(frames[0] if frames else b"")
    if headers is None:
        return None
    if len(frames) != 4:
        raise DataError(f"a message of {len(frames)} frames; a sample has 4")
    arrays = [
        _unpack(name, kinds, dimensions, header, frame)
        for (name, kinds, dimensions), header, frame in zip(_KINDS, headers, frames[1:], strict=True)
    ]
    picture, mask, labels = arrays
    if picture.shape[0] != 3 or labels.shape[1:] != mask.shape:
        raise DataError(f"a message of shapes that do not fit: {', '.join(str(array.shape) for array in arrays)}")
    return picture, mask.astype(np.float64), labels.astype(np.float64)


def unpack_sample(frames: Sequence[Frame], *, heatmaps: int = HEATMAPS) -> dict[str, AnyArray] | None:
    """The sample of a message, as `FieldSamples` has it; the last `heatmaps` channels of the labels are heatmaps.

    Cells under a mask below 1 weigh nothing, since their labels were multiplied by it. None where the message says that
    there are no more; raises `DataError` as `unpack_arrays`.
    """
    arrays = unpack_arrays(frames)
    if arrays is None:
        return None
    picture, mask, labels = arrays
    if len(labels) < heatmaps or (len(labels) - heatmaps) % 2:
        raise DataError(f"labels of {len(labels)} channels, where {heatmaps} heatmaps and pairs of fields are expected")
    split = len(labels) - heatmaps
    known = np.broadcast_to(mask >= 1, labels.shape)
    return {
        "picture": np.ascontiguousarray(picture[::-1]),
        "heatmaps": labels[split:].astype(np.float32),
        "fields": labels[:split].astype(np.float32),
        "weights": known.astype(np.uint8),
    }


def _read_header(frame: Frame) -> list[dict[str, Any]] | None:
    """The headers of the three arrays; None for the message that ends a stream."""
    if len(frame) > MOST_HEADER_BYTES:
        raise DataError(f"a message with a header of {len(frame)} bytes; at most {MOST_HEADER_BYTES} are read")
    try:
        headers = json.loads(bytes(frame))
    except (ValueError, RecursionError):
        raise DataError("a message whose header is not JSON; is this a classic sample server?") from None
    if headers == {"stop": True}:
        return None
    if not isinstance(headers, list) or len(headers) != 3 or not all(isinstance(header, dict) for header in headers):
        raise DataError("a message whose header is not that of a picture, a mask and labels")
    return headers


def _unpack(name: str, kinds: tuple[str, ...], dimensions: int, header: dict[str, Any], frame: Frame) -> AnyArray:
    kind, shape = header.get("descr"), _read_shape(header.get("shape"))
    if kind not in kinds or header.get("fortran_order") is not False:
        raise DataError(f"{name}: of type {kind!r}, where {' or '.join(kinds)} in C order is expected")
    if shape is None or len(shape) != dimensions or not all(0 < side <= MOST_SIDE for side in shape):
        raise DataError(f"{name}: its shape {header.get('shape')!r} is not that of {dimensions} dimensions")
    dtype = np.dtype(kind)
    if len(frame) != math.prod(shape) * dtype.itemsize:
        raise DataError(f"{name}: {len(frame)} bytes, but {kind} {shape} in the header")
    return np.frombuffer(frame, dtype).reshape(shape)


def _read_shape(given: Any) -> tuple[int, ...] | None:
    """A shape of the C++ server, a string that holds a tuple, or of the Python one, a list."""
    if isinstance(given, str) and len(given) <= 64 and re.fullmatch(r"\( *\d+ *(, *\d+ *)*\)", given, re.ASCII):
        return tuple(int(side) for side in re.findall(r"\d+", given))
    if isinstance(given, list) and all(type(side) is int for side in given):
        return tuple(given)
    return None
