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

from manypose.errors import ModelError
from manypose.files import write_bytes
from manypose.model import METADATA_KEY, Metadata
from manypose.networks.maps import Maps

OPSET = 17


class _LastStage(nn.Module):
    """A network as its model file runs it: only the result of the last stage."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        result = self.network(picture)
        last = result[-1] if isinstance(result, tuple) else result
        return tuple(last) if isinstance(last, Maps) else (last,)


def export_onnx(
    network: nn.Module, metadata: Metadata, file: Path, *, half: bool = False, overwrite: bool = False
) -> None:
    """Write a network as a model file; raises `OutputError` when the file is there already.

    The input (B, 3, h, w) and the outputs have dynamic batch, height and width. `half` computes in 16 bit where the
    device can (inputs and outputs stay float32), and halves the file.
    """
    names = sorted(metadata.outputs, key=lambda name: metadata.outputs[name] != "heatmaps")  # as the network gives them
    dynamic = {name: {0: "batch", 2: "height", 3: "width"} for name in [metadata.input.name, *names]}
    width, height = metadata.input.size or (2 * metadata.input.stride,) * 2
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _LastStage(network).eval(),
            (torch.zeros(1, 3, height, width),),
            f"{folder}/model.onnx",
            input_names=[metadata.input.name],
            output_names=names,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            # Batch norms stay, and every tensor keeps its name, so that training can go on from a model file; the
            # runtime folds them into the convolutions when it loads the file.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,  # the newer exporter needs one more package and writes the same graph for these networks
        )
        model = onnx.load(f"{folder}/model.onnx")
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16  # slow to import

        model = convert_float_to_float16(model, keep_io_types=True)
    set_metadata(model, metadata)
    onnx.checker.check_model(model)
    write_bytes(file, model.SerializeToString(), overwrite=overwrite)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a model file that `export_onnx` wrote, by their names in the network.

    Counters of batch norms are not in the file. Raises `ModelError` when it is not a model file of ours.
    """
    try:
        graph = onnx.load(file, load_external_data=False).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}; give a model file") from None
    except (ValueError, TypeError, RuntimeError, DecodeError) as error:
        raise ModelError(f"{file}: not a model file: {' '.join(str(error).split())[:200]}") from None
    for node in graph.node:  # equal tensors, such as the zeros of a fresh network, are stored once
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    prefix = "network."
    weights = {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    if not weights:
        raise ModelError(f"{file}: its tensors have no names of a network; was it written by `manypose export`?")
    return weights


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
