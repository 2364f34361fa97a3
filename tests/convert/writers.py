"""Small writers of every format of weights, from tensors by PyTorch's names in PyTorch's axes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]


def some_tensors(seed: int = 0) -> Tensors:
    """Two convolutions, a PReLU and a dense layer."""
    random = np.random.default_rng(seed)
    shapes = {
        "conv1_1.weight": (4, 3, 3, 3),
        "conv1_1.bias": (4,),
        "prelu1_1.weight": (4,),
        "Mconv7_stage2_L1.weight": (2, 4, 1, 1),
        "Mconv7_stage2_L1.bias": (2,),
        "fc6.weight": (5, 7),
        "fc6.bias": (5,),
    }
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def with_batch_norm(tensors: Tensors) -> Tensors:
    random = np.random.default_rng(9)
    leaves = ("weight", "bias", "running_mean", "running_var")
    return tensors | {f"bn1.{leaf}": random.uniform(0.5, 1.5, 4).astype(np.float32) for leaf in leaves}


def layers_of(tensors: Tensors) -> dict[str, Tensors]:
    layers: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        layer, leaf = name.rsplit(".", 1)
        layers.setdefault(layer, {})[leaf] = tensor
    return layers


# Caffe --------------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(
    tensor: NDArray[Any], *, legacy: bool = False, packed: bool = True, double: bool = False, diff: bool = False
) -> bytes:
    number, dtype, wire = (8, "<f8", 1) if double else (5, "<f4", 5)
    values = tensor.astype(dtype)
    if legacy:
        sizes = (1,) * (4 - tensor.ndim) + tensor.shape
        message = b"".join(field(axis, size) for axis, size in enumerate(sizes, 1))
    elif packed:
        message = field(7, field(1, b"".join(map(varint, tensor.shape))))
    else:
        message = field(7, b"".join(field(1, size) for size in tensor.shape))
    if packed:
        message += field(number, values.tobytes())
    else:
        message += b"".join(varint(number << 3 | wire) + value.tobytes() for value in values.ravel())
    return message + (field(6, np.zeros(tensor.size, "<f4").tobytes()) if diff else b"")


def caffe_layer(name: str, kind: str, blobs: Iterable[bytes], *, v1: bool = False) -> bytes:
    types = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18, "PReLU": 100}
    if v1:
        message = field(2, b"in") + field(4, name.encode()) + field(5, types[kind])
        return field(2, message + b"".join(field(6, item) for item in blobs))
    message = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"in")
    return field(100, message + b"".join(field(7, item) for item in blobs) + field(10, 1))


def caffe(tensors: Tensors, *, v1: bool = False, **ways: bool) -> bytes:
    kinds = {4: "Convolution", 2: "InnerProduct", 1: "PReLU"}
    net = field(1, b"net") + field(3, b"data") + caffe_layer("relu1_1", "ReLU", (), v1=v1)
    for layer, leaves in layers_of(tensors).items():
        blobs = [blob(tensor, **ways) for tensor in leaves.values()]
        net += caffe_layer(layer, kinds[leaves["weight"].ndim], blobs, v1=v1)
    return net


# Keras --------------------------------------------------------------------------------------------------------------

KERAS_LEAVES = {"running_mean": "moving_mean", "running_var": "moving_variance", "bias": "bias"}


def keras_leaves(leaves: Tensors) -> dict[str, NDArray[Any]]:
    is_norm = "running_var" in leaves
    names = {leaf: KERAS_LEAVES.get(leaf, "kernel") for leaf in leaves}
    if is_norm:
        names |= {"weight": "gamma", "bias": "beta"}
    elif leaves["weight"].ndim == 1:
        names["weight"] = "alpha"
    axes = {"alpha": lambda tensor: tensor.reshape(1, 1, -1)}
    axes["kernel"] = lambda tensor: tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return {name: axes.get(name, np.asarray)(leaves[leaf]) for leaf, name in names.items()}


def keras(
    tensors: Tensors, *, whole: bool = False, legacy_of_3: bool = False, split: bool = False, packed: bool = False
) -> bytes:
    import h5py

    layers = {name: keras_leaves(leaves) for name, leaves in layers_of(tensors).items()} | {"pool1": {}}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = "{}"
            file.create_dataset("optimizer_weights/Adam/iterations:0", data=3)
        names = list(layers) if legacy_of_3 else np.array([name.encode() for name in layers])
        pieces = {"layer_names0": names[:2], "layer_names1": names[2:]} if split else {"layer_names": names}
        for key, piece in pieces.items():
            root.attrs[key] = piece
        for layer, leaves in layers.items():
            ending = "" if legacy_of_3 else ":0"
            stored = {f"{layer}/{leaf}{ending}": value for leaf, value in leaves.items()}
            group = root.create_group(layer)
            listed = list(stored) if legacy_of_3 else np.array([key.encode() for key in stored])
            group.attrs["weight_names"] = listed if stored else np.zeros(0)
            for key, value in stored.items():
                group.create_dataset(key, data=value, **({"compression": "gzip"} if packed else {}))
    return content.getvalue()


# MXNet --------------------------------------------------------------------------------------------------------------

MXNET_CODES = {"<f4": 0, "<f8": 1, "<f2": 2, "|u1": 3, "<i4": 4, "|i1": 5, "<i8": 6}


def mxnet_record(tensor: NDArray[Any], version: int) -> bytes:
    magic = b"" if version == 0 else struct.pack("<I", 0xF993FAC8 + version - 1)
    storage = struct.pack("<i", 0) if version >= 2 else b""
    sizes = "I" if version == 0 else "q"
    shape = struct.pack(f"<I{tensor.ndim}{sizes}", tensor.ndim, *tensor.shape)
    return magic + storage + shape + struct.pack("<iii", 1, 0, MXNET_CODES[tensor.dtype.str]) + tensor.tobytes()


def mxnet_list(records: list[bytes], names: list[str]) -> bytes:
    named = [struct.pack("<Q", len(name)) + name.encode() for name in names]
    return struct.pack("<QQQ", 0x112, 0, len(records)) + b"".join(
        chain(records, [struct.pack("<Q", len(names))], named)
    )


def mxnet(tensors: Tensors, *, version: int = 2, prefixes: bool = False) -> bytes:
    norms = {name.rsplit(".", 1)[0] for name in tensors if name.endswith("running_var")}
    names = []
    for name in tensors:
        layer, leaf = name.rsplit(".", 1)
        spelt = {"weight": "gamma", "bias": "beta"}.get(leaf, leaf) if layer in norms else leaf
        prefix = ("aux:" if leaf.startswith("running") else "arg:") if prefixes else ""
        names.append(f"{prefix}{layer}_{spelt}")
    return mxnet_list([mxnet_record(tensor, version) for tensor in tensors.values()], names)


# The others ---------------------------------------------------------------------------------------------------------


def chainer(tensors: Tensors, *, packed: bool = True, where: str = "") -> bytes:
    norms = {name.rsplit(".", 1)[0] for name in tensors if name.endswith("running_var")}
    plain = {"weight": "W", "bias": "b"}
    norm = {"weight": "gamma", "bias": "beta", "running_mean": "avg_mean", "running_var": "avg_var"}
    arrays = {}
    for name, tensor in tensors.items():
        layer, leaf = name.rsplit(".", 1)
        arrays[f"{where}{layer.replace('.', '/')}/{(norm if layer in norms else plain)[leaf]}"] = tensor
    content = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(content, **arrays)
    return content.getvalue()


def as_torch(tensors: Tensors, prefix: str = "") -> dict[str, Any]:
    import torch

    return {f"{prefix}{name}": torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}


def pytorch(checkpoint: object, *, legacy: bool = False) -> bytes:
    import torch

    content = io.BytesIO()
    torch.save(checkpoint, content, _use_new_zipfile_serialization=not legacy)
    return content.getvalue()


def safetensors(tensors: Tensors) -> bytes:
    from safetensors.numpy import save

    return save(tensors)


def onnx(tensors: Tensors) -> bytes:
    import onnx as package

    initializers = [package.numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()]
    initializers.append(package.numpy_helper.from_array(np.array([1, -1]), "shape"))
    graph = package.helper.make_graph([], "net", [], [], initializers)
    return package.helper.make_model(graph).SerializeToString()


WAYS: dict[str, Callable[[Tensors], bytes]] = {
    "v1_legacy.caffemodel": lambda tensors: caffe(tensors, v1=True, legacy=True),
    "v2_legacy.caffemodel": lambda tensors: caffe(tensors, legacy=True),
    "v2_shape.caffemodel": lambda tensors: caffe(tensors, diff=True),
    "v2_unpacked.caffemodel": lambda tensors: caffe(tensors, packed=False),
    "v2_double.caffemodel": lambda tensors: caffe(tensors, double=True),
    "v2_double_unpacked.caffemodel": lambda tensors: caffe(tensors, double=True, packed=False),
    "plain.h5": keras,
    "whole.h5": lambda tensors: keras(tensors, whole=True),
    "legacy_of_3.h5": lambda tensors: keras(tensors, legacy_of_3=True),
    "split.h5": lambda tensors: keras(tensors, split=True),
    "packed.hdf5": lambda tensors: keras(tensors, packed=True),
    "v0.params": lambda tensors: mxnet(tensors, version=0),
    "v1.params": lambda tensors: mxnet(tensors, version=1),
    "v2.params": lambda tensors: mxnet(tensors, version=2, prefixes=True),
    "v3.params": lambda tensors: mxnet(tensors, version=3),
    "packed.npz": chainer,
    "plain.npz": lambda tensors: chainer(tensors, packed=False),
    "snapshot.npz": lambda tensors: chainer(tensors, where="updater/model:main/"),
    "bare.pth": lambda tensors: pytorch(as_torch(tensors)),
    "legacy.pth": lambda tensors: pytorch(as_torch(tensors), legacy=True),
    "state_dict.pth.tar": lambda tensors: pytorch({"epoch": 3, "state_dict": as_torch(tensors, "module.")}),
    "model.pt": lambda tensors: pytorch({"model": as_torch(tensors, "network."), "iter": 7, "loss": 0.5}),
    "lightning.ckpt": lambda tensors: pytorch({"state_dict": as_torch(tensors, "model."), "callbacks": {}}),
    "plain.safetensors": safetensors,
    "plain.onnx": onnx,
}


def format_of(name: str) -> str:
    """The format of a file of `WAYS`."""
    suffixes = {"caffemodel": "caffe", "h5": "keras", "hdf5": "keras", "params": "mxnet", "npz": "chainer"}
    suffix = name.rsplit(".", 1)[1]
    return suffixes.get(suffix, suffix if suffix in ("safetensors", "onnx") else "pytorch")
