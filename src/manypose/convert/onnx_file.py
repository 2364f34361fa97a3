"""Weights inside ONNX files: the stored tensors of the graph by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.convert.binary import (
    Budget,
    as_float32,
    collect,
    count_values,
    decode_name,
    load_bytes,
    naming,
)
from manypose.convert.pytorch import without_prefix
from manypose.errors import ModelError, require

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

# What onnx raises of a tensor whose bits are wrong.
BROKEN = (ValueError, TypeError, LookupError, OSError, ArithmeticError, AttributeError, NotImplementedError)


def read(path: Path) -> Tensors:
    """Every initializer of the graph and every constant node's tensor, as stored.

    Equal tensors that are stored once come as one array by several names. Data outside of the file are read where they
    lie in the model's folder; anywhere else they are refused. Raises `ModelError` when the file is no ONNX model, is
    damaged, or states far more than it holds.
    """
    onnx = require("onnx", extra="train")
    message = require("google.protobuf.message", extra="train")
    with naming(path):
        content = load_bytes(path)
        try:
            graph = onnx.load_model_from_string(content).graph
        except (message.DecodeError, ValueError) as error:
            raise ModelError(f"not an ONNX file, or damaged: {error}") from None
        tensors = collect(_arrays(graph, path.parent, Budget(len(content)), onnx))
        if not tensors:
            raise ModelError("not an ONNX file, or one without weights")
        return tensors


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors with fractions in float32: whole numbers in a graph are shapes and axes.

    Names stay but for a prefix that all share. Exporters that keep the names of the state dict keep its axes too.
    """
    kept = {name: as_float32(tensor) for name, tensor in tensors.items() if tensor.dtype.kind == "f" and tensor.ndim}
    return without_prefix(kept)


def _arrays(graph: Any, folder: Path, budget: Budget, onnx: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    stored = {}
    for tensor in graph.initializer:
        stored[tensor.name] = _array(tensor, folder, budget, onnx)
        yield _text(tensor.name), stored[tensor.name]
    for node in graph.node:
        # PyTorch's exporter stores equal tensors once, and gives the others their names by such nodes.
        if node.op_type == "Identity" and node.output and node.input and node.input[0] in stored:
            same = stored[node.input[0]]
            budget.spend_on(same.shape, same.itemsize)  # each gets a copy as float32
            yield _text(node.output[0]), same
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and node.output:
                    yield _text(node.output[0]), _array(attribute.t, folder, budget, onnx)


def _array(tensor: Any, folder: Path, budget: Budget, onnx: Any) -> NDArray[Any]:
    with naming(f"tensor {_text(tensor.name)}"):
        count = count_values(tensor.dims)
        try:
            width = _width(tensor, onnx)
            if is_external := onnx.external_data_helper.uses_external_data(tensor):
                file, offset = _place(tensor, folder, count * width)
                budget.widen(file)
            budget.spend_on(tensor.dims, width)
            if is_external:
                tensor.raw_data = _bytes_of(file, offset, count * width)
                tensor.data_location = onnx.TensorProto.DEFAULT
            array = np.asarray(onnx.numpy_helper.to_array(tensor))
            return array if array.dtype.kind in "biuf" else array.astype(np.float32)
        except BROKEN as error:
            raise ModelError(f"damaged: {str(error)[:200]}") from None


def _text(value: str | bytes) -> str:
    """Protobuf gives the bytes of a string that is not UTF-8."""
    return value if isinstance(value, str) else decode_name(value)


def _width(tensor: Any, onnx: Any) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _place(tensor: Any, folder: Path, length: int) -> tuple[Path, int]:
    """The file beside the model that holds a tensor, and where in it."""
    entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
    file = (folder / entries.get("location", "")).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ModelError(f"its values are in {entries['location']!r}, outside of the model's folder, and are not read")
    offset = int(entries.get("offset", 0))
    if not file.is_file():
        raise ModelError(f"its values are in {file.name!r}, which is missing; put it beside the model")
    if offset < 0 or offset + length > file.stat().st_size:
        raise ModelError(f"its values are in {file.name!r}, which is too short; fetch it again")
    return file, offset


def _bytes_of(file: Path, offset: int, length: int) -> bytes:
    with open(file, "rb") as opened:
        opened.seek(offset)
        return opened.read(length)
