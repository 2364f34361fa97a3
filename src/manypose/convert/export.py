"""Network -> model file: ONNX with dynamic batch, height and width, and everything that running needs inside."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from manypose.convert.binary import Budget, naming
from manypose.errors import ModelError
from manypose.files import write_bytes
from manypose.metadata import SimccSettings
from manypose.model import METADATA_KEY, Metadata
from manypose.networks.maps import Maps, Vectors

OPSET = 17
FIRST = ("heatmaps", "simcc_x")  # of the outputs, as the networks give them
STORED_HALF = ".half"  # ends the names of tensors that are stored in 16 bit and widened by the graph
LARGEST_HALF = 65504.0  # the largest number of 16 bit


class _LastStage(nn.Module):
    """A network as its model file runs it: only the result of the last stage."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        result = self.network(picture)
        last = result[-1] if isinstance(result, tuple) and not isinstance(result, Vectors) else result
        return tuple(last) if isinstance(last, Maps | Vectors) else (last,)


def export_onnx(
    network: nn.Module, metadata: Metadata, file: Path, *, half: bool = False, overwrite: bool = False
) -> None:
    """Write a network as a model file; raises `OutputError` when the file is there already.

    The input (B, 3, h, w) and the outputs have dynamic batch, height and width; of SimCC
    the batch alone is. `half` stores the weights in 16 bit,
    batch norms folded into the convolutions, and computes so where the device can; inputs and outputs stay float32. A
    training cannot go on from such a file.

    Raises `ModelError` when the network does not take the size that the metadata give, or its maps have another stride,
    and for `half` when a weight is too large for 16 bit.
    """
    traced = _LastStage(network).eval()
    picture = _check_size(traced, metadata, file)
    model = _trace(traced, picture, metadata, fold=half)
    if half:
        model = _halve(model, file)
    set_metadata(model, metadata)
    onnx.checker.check_model(model)
    write_bytes(file, model.SerializeToString(), overwrite=overwrite)


def _check_size(network: _LastStage, metadata: Metadata, file: Path) -> Tensor:
    """An empty picture of the size that the metadata give; raises `ModelError` when the maps do not come out whole."""
    width, height = metadata.input.size or (2 * metadata.input.stride,) * 2
    picture = torch.zeros(1, 3, height, width)
    stride = getattr(metadata.maps, "stride", 1)
    if isinstance(metadata.maps, SimccSettings):
        return _check_vectors(network, picture, metadata.maps.split_ratio, file)
    try:
        with torch.no_grad():
            sizes = {(maps.shape[3] * stride, maps.shape[2] * stride) for maps in network(picture)}
        fits = sizes == {(width, height)}
    except RuntimeError:  # branches of different sizes cannot be added
        fits = False
    if not fits:
        raise ModelError(
            f"{file}: the network does not turn an input of {width}x{height} into maps at stride {stride}; give a size "
            "in multiples of 32"
        )
    return picture


def _check_vectors(network: _LastStage, picture: Tensor, split_ratio: float, file: Path) -> Tensor:
    """The picture; raises `ModelError` when the network's vectors have another number of bins than its pixels ask."""
    height, width = picture.shape[2:]
    with torch.no_grad():
        bins = tuple(vectors.shape[2] for vectors in network(picture))
    if bins != (round(width * split_ratio), round(height * split_ratio)):
        raise ModelError(
            f"{file}: the network gives {bins} bins for {width}x{height} pixels, not {split_ratio} for each"
        )
    return picture


def _trace(network: _LastStage, picture: Tensor, metadata: Metadata, *, fold: bool) -> Any:
    """The network as an ONNX graph; `fold` puts batch norms into the convolutions, which then lose their names."""
    names = sorted(metadata.outputs, key=lambda name: metadata.outputs[name] not in FIRST)
    axes = {0: "batch"} | ({} if isinstance(metadata.maps, SimccSettings) else {2: "height", 3: "width"})
    mode = torch.onnx.TrainingMode
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (picture,),
            f"{folder}/model.onnx",
            input_names=[metadata.input.name],
            output_names=names,
            dynamic_axes=dict.fromkeys([metadata.input.name, *names], axes),
            opset_version=OPSET,
            # Batch norms stay, and every tensor keeps its name, so that training can go on from a model file; the
            # runtime folds them into the convolutions when it loads the file. Not in 16 bit, where their variances
            # would lose digits.
            training=mode.EVAL if fold else mode.PRESERVE,
            do_constant_folding=fold,
            dynamo=False,  # the newer exporter needs one more package and writes the same graph for these networks
        )
        return onnx.load(f"{folder}/model.onnx")


def _halve(model: Any, file: Path) -> Any:
    """The graph in 16 bit; raises `ModelError` when a weight does not fit, which the converter would cut off."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # slow to import
    from onnxruntime.transformers.onnx_model import OnnxModel

    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size and not np.abs(array).max() <= LARGEST_HALF:
            largest = float(np.abs(array).max())
            raise ModelError(f"{file}: weights up to {largest:.3g} in {tensor.name} do not fit 16 bit; leave half out")
    sorter = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    sorter.topological_sort()  # the converter puts its casts of the input last
    return sorter.model


def store_small(file: Path) -> None:
    """Store the large tensors of a model file in 16 bit; it still computes in 32, as the runtime widens them at start.

    Half the size for downloads and packages; unlike `half` at no cost on a CPU, and training can go on from it.
    """
    model = onnx.load(file)
    widened = []
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 1000 and np.abs(array).max() <= LARGEST_HALF:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), name + STORED_HALF))
            widened.append(onnx.helper.make_node("Cast", [name + STORED_HALF], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*widened, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    write_bytes(file, model.SerializeToString(), overwrite=True)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a model file that `export_onnx` wrote, by their names in the network.

    Counters of batch norms are not in the file. Raises `ModelError` when it is not a model file of ours, is in 16 bit,
    keeps values in other files, or states far more than it holds.
    """
    try:
        budget = Budget(file.stat().st_size)
        graph = onnx.load(file, load_external_data=False).graph
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in graph.initializer):
            raise ModelError(f"{file}: its weights are in other files; give a file that `manypose export` wrote")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}; give a model file") from None
    except (ValueError, TypeError, RuntimeError, DecodeError) as error:
        raise ModelError(f"{file}: not a model file: {' '.join(str(error).split())[:200]}") from None
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0].endswith(STORED_HALF) and node.input[0] in arrays:
            arrays[node.output[0]] = arrays.pop(node.input[0]).astype(np.float32)
    if any(array.dtype == np.float16 for array in arrays.values()):
        raise ModelError(f"{file}: its weights are in 16 bit; start from the checkpoint, or from a file in 32 bit")
    for node in graph.node:  # equal tensors, such as the zeros of a fresh network, are stored once
        if node.op_type == "Identity" and node.output and node.input and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    prefix = "network."
    weights = {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            with naming(file):
                budget.spend_on(array.shape, array.itemsize)
            weights[name.removeprefix(prefix)] = torch.from_numpy(np.array(array))
    if not weights:
        raise ModelError(f"{file}: its tensors have no names of a network; was it written by `manypose export`?")
    return weights


def read_metadata(file: Path) -> Metadata | None:
    """What a model file of ours says about itself; None for the files of others."""
    try:
        entries = {entry.key: entry.value for entry in onnx.load(file, load_external_data=False).metadata_props}
        return Metadata.model_validate_json(entries[METADATA_KEY]) if METADATA_KEY in entries else None
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}; give a model file") from None
    except (ValueError, TypeError, RuntimeError, DecodeError) as error:
        raise ModelError(f"{file}: not a model file: {' '.join(str(error).split())[:200]}") from None


def set_metadata(model: Any, metadata: Metadata) -> None:
    """Put manypose's metadata into an ONNX model, in the place of any that are there."""
    for entry in [entry for entry in model.metadata_props if entry.key == METADATA_KEY]:
        model.metadata_props.remove(entry)
    onnx.helper.set_model_props(
        model,
        {entry.key: entry.value for entry in model.metadata_props} | {METADATA_KEY: metadata.model_dump_json()},
    )


def rewrite_metadata(file: Path, metadata: Metadata) -> None:
    """Replace the metadata of a model file, for example with the figures that were measured on it."""
    model = onnx.load(file)
    set_metadata(model, metadata)
    write_bytes(file, model.SerializeToString(), overwrite=True)
