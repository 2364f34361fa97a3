"""Network -> model file: ONNX with dynamic batch, height and width, and everything that running needs inside."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from manypose.files import write_bytes
from manypose.model import METADATA_KEY, Metadata

OPSET = 17


class _LastStage(nn.Module):
    """A network as its model file runs it: only the maps of the last stage."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network(picture)[-1]
        return maps.heatmaps, maps.fields


def export_onnx(network: nn.Module, metadata: Metadata, file: Path, *, overwrite: bool = False) -> None:
    """Write a network as a model file; raises `OutputError` when the file is there already.

    The input (B, 3, h, w) and the outputs have dynamic batch, height and width.
    """
    names = list(metadata.outputs)
    dynamic = {name: {0: "batch", 2: "height", 3: "width"} for name in [metadata.input.name, *names]}
    side = 2 * metadata.input.stride
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _LastStage(network).eval(),
            (torch.zeros(1, 3, side, side),),
            f"{folder}/model.onnx",
            input_names=[metadata.input.name],
            output_names=names,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs one more package and writes the same graph for these networks
        )
        model = onnx.load(f"{folder}/model.onnx")
    set_metadata(model, metadata)
    onnx.checker.check_model(model)
    write_bytes(file, model.SerializeToString(), overwrite=overwrite)


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
