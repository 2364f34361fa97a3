"""Our own checkpoints: a safetensors file of the tensors by the network's names, and in its header what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from manypose import networks
from manypose.convert.layout import Tensors, load_into
from manypose.errors import ModelError, describe_faults
from manypose.files import write_bytes
from manypose.model import METADATA_KEY, Metadata


class Header(BaseModel):
    """What a checkpoint says about itself; `metadata` is None for a backbone, which is a start for training only."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    network: str
    options: dict[str, Any]
    metadata: Metadata | None
    origin: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a network, float32 by its own names, with the header of the file."""

    header: Header
    tensors: Tensors

    def build(self) -> torch.nn.Module:
        """The network with its weights, in eval mode; raises `ModelError` when they do not fit it."""
        network = networks.build(self.header.network, **self.header.options)
        try:
            load_into(network, self.tensors)
        except RuntimeError as error:
            raise ModelError(f"weights of {self.header.network}: {' '.join(str(error).split())[:300]}") from None
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, file: Path, *, overwrite: bool = False) -> None:
    """Write a checkpoint; raises `OutputError` when the file is there already."""
    tensors = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in checkpoint.tensors.items()}
    content = save(tensors, metadata={METADATA_KEY: checkpoint.header.model_dump_json()})
    write_bytes(file, content, overwrite=overwrite)


def is_checkpoint(file: Path) -> bool:
    """Whether a safetensors file is one of ours; raises `ModelError` when it cannot be read."""
    return METADATA_KEY in _read_notes(file)


def load_checkpoint(file: Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote; raises `ModelError` for anything else."""
    text = _read_notes(file).get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{file}: not a checkpoint of manypose; `manypose convert` makes one of it")
    try:
        header = Header.model_validate(json.loads(text))
    except pydantic.ValidationError as error:
        raise ModelError(f"{file}: its header is faulty: {describe_faults(error, most=5)}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: its header is faulty: {error}") from None
    try:
        with safe_open(file, framework="numpy") as opened:
            return Checkpoint(header, {name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelError(f"{file}: not a safetensors file: {error}") from None


def _read_notes(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: not a safetensors file: {error}") from None
