"""What a run starts from: an earlier run of its own, other weights of the same network, or a backbone."""

from __future__ import annotations

import logging
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from manypose import published
from manypose.convert.checkpoint import load_checkpoint
from manypose.convert.export import read_weights
from manypose.convert.layout import COUNTER
from manypose.errors import ManyposeError, RecipeError
from manypose.model import shipped_models

# What torch.load raises for a file that is no checkpoint, and what one without the right content does.
BROKEN = (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, struct.error, pickle.UnpicklingError)
SUFFIXES = (".ckpt", ".safetensors", ".onnx")
logger = logging.getLogger(__name__)


def read_step(checkpoint: Path) -> int:
    """The steps that a checkpoint's run had done; raises `RecipeError` when it is none."""
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except BROKEN as error:
        raise RecipeError(f"resume: {checkpoint} is not a checkpoint: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Taken:
    """What became of the tensors of `source`: those `taken`, those that were `refused` and why, those of the network
    that it does not have and that start `anew`."""

    source: str
    taken: tuple[str, ...]
    refused: Mapping[str, str]
    anew: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.source}: took {len(self.taken)} tensors", *(f"  {name}" for name in self.taken)]
        lines += [f"refused {len(self.refused)}", *(f"  {name}: {why}" for name, why in self.refused.items())]
        return "\n".join([*lines, f"{len(self.anew)} start anew", *(f"  {name}" for name in self.anew), ""])


def start_from(network: nn.Module, init: str) -> Taken:
    """Give a network the weights that a recipe's `init` names: a file, or a model by name.

    Tensors go by name and shape. Raises `RecipeError` for a file that cannot be read, and for one that fits nothing.
    """
    path = _find(init)
    taken = take(network, _read(path), str(path))
    logger.info("init: took %d tensors of %s", len(taken.taken), path)
    for name, why in taken.refused.items():
        logger.warning("init: %s was not taken: %s", name, why)
    for name in taken.anew:
        logger.warning("init: %s is not in the file and starts anew", name)
    return taken


def take(network: nn.Module, tensors: Mapping[str, Any], source: str) -> Taken:
    """Copy the tensors that the network has by name and shape, and say what became of all."""
    state = network.state_dict()
    given = {name: torch.as_tensor(np.asarray(value)) for name, value in tensors.items()}
    refused = {name: "there is no such tensor here" for name in given if name not in state}
    for name, value in given.items():
        if name in state and state[name].shape != value.shape:
            refused[name] = f"it is {tuple(value.shape)}, here {tuple(state[name].shape)}"
    fitting = {name: value for name, value in given.items() if name not in refused}
    if all(name.endswith(COUNTER) for name in fitting):  # a counter of batches is no weight
        known = ", ".join(list(given)[:3]) or "nothing"
        raise RecipeError(f"init: nothing in {source} fits: it has {known} ..., the network {next(iter(state))} ...")
    network.load_state_dict(state | {name: value.to(state[name].dtype) for name, value in fitting.items()})
    anew = tuple(name for name in state if name not in fitting and not name.endswith(COUNTER))
    return Taken(source, tuple(fitting), refused, anew)


def _find(init: str) -> Path:
    path = Path(init)
    if path.suffix in SUFFIXES:
        return path
    named = shipped_models() | published.cached_weights()
    if init in named:
        return named[init]
    if init in published.PUBLISHED:
        raise RecipeError(f"init: {init} was not fetched yet: `manypose models get {init}` does it")
    raise RecipeError(f"init: {init} is neither a file ({', '.join(SUFFIXES)}) nor a model: {', '.join(named)}")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        if file.suffix == ".safetensors":
            return load_checkpoint(file).tensors
        if file.suffix == ".onnx":
            return read_weights(file)
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except (*BROKEN, ManyposeError) as error:
        raise RecipeError(f"init: {file} cannot be read: {' '.join(str(error).split())}") from None
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
