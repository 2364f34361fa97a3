"""Weights of Keras (.h5, .hdf5): `save_weights` and `save` of Keras 1 and 2, and the legacy files of Keras 3."""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.child import read_in_child, refuse
from manypose.convert.binary import (
    Budget,
    Cursor,
    as_float32,
    check_file,
    collect,
    count_values,
    load_bytes,
    most_memory,
    naming,
)
from manypose.errors import ModelError, require

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = re.compile(rb"GCOL\x01\0\0\0")
LARGEST_NAMES = 1 << 24  # bytes of an attribute
MOST_PACKED = 1032  # by how much gzip can shrink values at best
FOR_THE_READER = 1 << 28  # bytes that libhdf5 may take beside the file and its tensors

LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "alpha": "weight",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
}

# What h5py raises where bits of a file are wrong.
BROKEN = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


def read(path: Path) -> Tensors:
    """Every weight by `<layer>/<name of the weight>`, which is its place in the file, as stored.

    A whole model's file (`model.save`) keeps the same tree below `model_weights`, which the names leave out. The file
    is opened in a process of its own: a few flipped bits are enough to crash libhdf5 2.0, and must not crash more.
    Raises `ModelError` when the file is not one of Keras or is damaged.
    """
    require("h5py", extra="train")
    with naming(path):
        size = check_file(path)
        with tempfile.TemporaryDirectory() as folder:
            arrays = Path(folder) / "arrays.npz"
            read_in_child(
                __name__, str(path.absolute()), str(arrays), size=size, error=ModelError, advice="fetch it again"
            )
            return _read_npz(arrays)


def _read_npz(file: Path) -> Tensors:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_in_this_process(path: Path) -> Tensors:
    """The same without the protection; errors do not name the file."""
    import h5py

    content = load_bytes(path)
    _check_heaps(content)
    try:
        with h5py.File(path, "r") as file:
            tensors = collect(_weights(_root(file, h5py), Budget(len(content)), h5py))
    except BROKEN as error:
        raise ModelError(f"not an HDF5 file of Keras, or damaged: {str(error)[:200]}; fetch it again") from None
    if not tensors:
        raise ModelError("no layer of it has weights")
    return tensors


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors by PyTorch's names in PyTorch's axes, float32.

    Kernels (kh, kw, in, out) become (out, in, kh, kw), those of depthwise convolutions (kh, kw, in, n) become
    (in * n, 1, kh, kw), dense ones (out, in). A layer's weights go by the layer's name, whatever a counter of the
    session has made of it in theirs; weights of a model inside a model go by their own.
    """
    owners: dict[str, set[str]] = {}
    for key in tensors:
        layer, inner, _ = _parts(key)
        owners.setdefault(layer, set()).add(inner)
    pairs = []
    for key, tensor in tensors.items():
        layer, inner, leaf = _parts(key)
        name = layer if len(owners[layer]) == 1 or not inner else inner
        is_separable = f"{key[: -len(leaf)]}{leaf.replace('depthwise', 'pointwise')}" in tensors
        torch_leaf = "weight" if leaf.startswith("depthwise") and not is_separable else _torch_leaf(leaf)
        pairs.append((f"{name.replace('/', '.')}.{torch_leaf}", as_float32(_torch_axes(leaf, tensor))))
    return collect(pairs)


def _parts(key: str) -> tuple[str, str, str]:
    """Layer, path of the weight inside its group, and what the weight is: ("conv1", "conv1_1", "kernel:0")."""
    *path, leaf = key.split("/")
    half = len(path) // 2
    if path[:half] == path[half:]:  # of a layer whose name holds slashes
        return "/".join(path[:half]), "/".join(path[half:]), leaf
    return path[0] if path else "", "/".join(path[1:]), leaf


def _torch_leaf(leaf: str) -> str:
    plain = leaf.partition(":")[0]
    return LEAVES.get(plain, plain)


def _torch_axes(leaf: str, tensor: NDArray[Any]) -> NDArray[Any]:
    kind = leaf.partition(":")[0]
    if kind == "depthwise_kernel" and tensor.ndim == 4:
        height, width, channels, each = tensor.shape
        return tensor.transpose(2, 3, 0, 1).reshape(channels * each, 1, height, width)
    if kind.endswith("kernel") and tensor.ndim >= 2:
        return tensor.transpose(tensor.ndim - 1, tensor.ndim - 2, *range(tensor.ndim - 2))
    if kind == "alpha" and tensor.ndim == 3:
        return tensor.reshape(-1) if tensor.shape[:2] == (1, 1) else tensor.transpose(2, 0, 1)
    return tensor


def _root(file: Any, h5py: Any) -> Any:
    """The group that holds one group for each layer."""
    for place in (file, file.get("model_weights")):
        if isinstance(place, h5py.Group) and ("layer_names" in place.attrs or "layer_names0" in place.attrs):
            return place
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        raise ModelError("a file of Keras 3's own kind; save it as a legacy one: model.save_weights('weights.h5')")
    seen = ", ".join(list(file)[:8]) or "nothing"
    raise ModelError(f"an HDF5 file, but not one of Keras: it has no layer_names; it holds {seen}")


def _weights(root: Any, budget: Budget, h5py: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for layer in _names(root, "layer_names"):
        group = root.get(layer)
        if not isinstance(group, h5py.Group):
            raise ModelError(f"damaged: there is no group of the layer {layer!r}")
        for weight in _names(group, "weight_names"):
            with naming(f"weight {layer}/{weight}"):
                yield f"{layer}/{weight}", _dataset(group, weight, budget, h5py)


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names; one that is longer than HDF5 allows is kept in several attributes with numbers."""
    keys = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(keys)}" in group.attrs and attribute not in keys:
        keys.append(f"{attribute}{len(keys)}")
    names: list[str] = []
    for key in keys:
        stored = group.attrs.get_id(key)
        if count_values(stored.shape or ()) * stored.dtype.itemsize > LARGEST_NAMES:
            raise ModelError(f"damaged: the attribute {key} is too long")
        names += [_text(name) for name in np.ravel(group.attrs[key]).tolist()]
    return names


def _text(name: object) -> str:
    if isinstance(name, bytes):
        return name.decode()
    if isinstance(name, str):
        return name
    raise ModelError(f"damaged: {name!r} stands where a name should")


def _dataset(group: Any, name: str, budget: Budget, h5py: Any) -> NDArray[Any]:
    link = group.get(name, getlink=True)
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or isinstance(link, h5py.ExternalLink):
        raise ModelError("damaged: it is not in the file")
    if dataset.is_virtual or dataset.external:
        raise ModelError("its values are in another file, which is not opened")
    if dataset.dtype.kind not in "biuf" or dataset.shape is None:
        raise ModelError("holds no numbers")
    # Chunks that were never written take no bytes of the file, and read as zeros.
    most = dataset.id.get_storage_size() * (MOST_PACKED if dataset.chunks else 1)
    if count_values(dataset.shape) * dataset.dtype.itemsize > most:
        raise ModelError(f"damaged: it states an array of shape {dataset.shape}, most of which was never written")
    budget.spend_on(dataset.shape, dataset.dtype.itemsize)
    budget.spend_on(dataset.chunks or (0,), dataset.dtype.itemsize)  # unpacked whole, even for a single value
    return np.asarray(dataset[()])


def _check_heaps(content: bytes) -> None:
    """Follow the heaps that hold strings of variable length: libhdf5 2.0 walks a broken one for ever."""
    for match in HEAP.finditer(content):
        cursor = Cursor(memoryview(content)[match.end() :])
        objects = Cursor(cursor.take(max(0, cursor.number("Q") - 16)))
        while objects.left >= 16:
            index = objects.number("H")
            objects.take(6)  # how often it is used
            size = objects.number("Q")
            if index == 0 and size < 16:  # free space, counted with these 16 bytes
                raise ModelError("damaged: its names cannot be found; fetch it again")
            objects.take(size - 16 if index == 0 else size + -size % 8)


def _limit_memory(file_size: int) -> None:
    """Bound what this process may take: packed values can unpack to more than their chunk states."""
    if sys.platform != "linux":  # elsewhere the limit is not kept, or what the libraries take cannot be told
        return
    import resource

    import h5py  # noqa: F401  # whatever it takes is taken before

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = taken + file_size + 2 * most_memory(file_size) + FOR_THE_READER
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *bounds]), hard))


def main(source: str, target: str) -> int:
    """Read a file for another process, which `read` started."""
    _limit_memory(Path(source).stat().st_size)
    try:
        tensors = read_in_this_process(Path(source))
    except ModelError as error:
        return refuse(str(error))
    with zipfile.ZipFile(target, "w") as archive:
        for name, tensor in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, tensor, allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
