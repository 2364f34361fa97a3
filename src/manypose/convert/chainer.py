"""Weights of Chainer (.npz): a zip file of arrays, `<link>/W` and `<link>/b`, read without unpickling anything."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.convert.binary import Budget, as_array, as_float32, check_file, collect, naming
from manypose.errors import ModelError

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

# numpy's own reader takes the memory that a header asks for before it looks at the bytes, and so it is not used here.
HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<>=|][A-Za-z]\d*)', 'fortran_order': (?P<columns>True|False), "
    rb"'shape': \((?P<shape>[\dL, ]*)\),? *\} *\n?"
)
NUMBERS = {"b", "i", "u", "f"}

LEAVES = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "avg_mean": "running_mean",
    "avg_var": "running_var",
    "N": "num_batches_tracked",
}
SNAPSHOT = "updater/model:main/"  # where a trainer's snapshot keeps the network, beside the optimiser's state


def read(path: Path) -> Tensors:
    """Every array of numbers by its name in the archive, as stored.

    Raises `ModelError` when the file is no .npz, is damaged, or needs unpickling.
    """
    with naming(path):
        budget = Budget(check_file(path))
        try:
            with zipfile.ZipFile(path) as archive:
                return collect(_arrays(archive, budget))
        except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError) as error:
            raise ModelError(f"not a .npz file, or damaged: {error}; fetch it again") from None
        except (ValueError, RuntimeError, LookupError) as error:  # encrypted, packed in another way, names not in UTF-8
            raise ModelError(f"not a .npz file that numpy or Chainer wrote: {error}") from None


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors by PyTorch's names, float32; the axes are the same. A trainer's snapshot gives its network only."""
    if any(name.startswith(SNAPSHOT) for name in tensors):
        tensors = {name.removeprefix(SNAPSHOT): tensors[name] for name in tensors if name.startswith(SNAPSHOT)}
    return collect((_torch_name(name), as_float32(tensor)) for name, tensor in tensors.items())


def _torch_name(name: str) -> str:
    *links, leaf = name.strip("/").split("/")
    return ".".join([*links, LEAVES.get(leaf, leaf) if links else leaf])


def _arrays(archive: zipfile.ZipFile, budget: Budget) -> Iterator[tuple[str, NDArray[Any]]]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    budget.spend(sum(member.file_size for member in members))
    for member in members:
        name = member.filename.removesuffix(".npy")
        with naming(f"array {name}"):
            yield name, _parse_npy(_unpack(archive, member))


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, as many as it states: asked for all, zipfile unpacks however much there is."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError("is packed in a way that numpy does not use; save it again with numpy.savez")
    with archive.open(member) as opened:
        return opened.read(member.file_size)


def _parse_npy(data: bytes) -> NDArray[Any]:
    """One .npy file: magic, version, length of the header, header, values."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise ModelError("not a .npy file")
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    if data[start:end].startswith(b"{'descr': '|O'"):
        raise ModelError("holds Python objects, which would have to be unpickled; save arrays of numbers only")
    match = HEADER.fullmatch(data[start:end])
    if match is None or match["dtype"][1:2].decode() not in NUMBERS:
        raise ModelError("not an array of numbers, or damaged")
    shape = tuple(int(size.strip("L ")) for size in match["shape"].decode().split(",") if size.strip("L "))
    try:
        dtype = np.dtype(match["dtype"].decode())
    except TypeError:
        raise ModelError("not an array of numbers, or damaged") from None
    if match["columns"] == b"True":
        return as_array(memoryview(data)[end:], dtype, shape[::-1]).T
    return as_array(memoryview(data)[end:], dtype, shape)
