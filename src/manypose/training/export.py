"""Checkpoint -> model file."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pydantic
import torch
from torch import nn

from manypose import __version__
from manypose.codecs.grouping import DecoderSettings
from manypose.convert.export import export_onnx
from manypose.errors import ModelError, OutputError, describe_faults
from manypose.model import FieldSettings, InputSettings, Metadata
from manypose.training.module import BottomUpTraining, load_network
from manypose.training.recipe import Recipe, read_recipe


def export_checkpoint(
    checkpoint: Path,
    file: Path,
    *,
    name: str,
    licence: str = "Apache-2.0",
    long_side: int | None = None,
    overwrite: bool = False,
) -> Metadata:
    """Write the network of a training checkpoint, with its averaged weights, as a model file; gives its metadata.

    A recipe (.yaml) in the place of a checkpoint gives its network untrained: what a trained one is measured against.

    What the maps mean comes from the recipe in the checkpoint; `long_side` is the size in pixels at which the model
    does best, None for `InputSettings`' own.

    Raises `ModelError` for a checkpoint that is missing, broken or not from `manypose train`, `OutputError` when the
    file is there already.
    """
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: the file exists; choose another name, or allow overwriting")
    try:
        recipe, network = _load(checkpoint)
    except OSError as error:
        raise ModelError(f"{checkpoint}: {error.strerror or error}; give a checkpoint of `manypose train`") from None
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"{checkpoint}: not a checkpoint of `manypose train`: {type(error).__name__}: {why}") from None
    try:
        metadata = Metadata(
            name=name,
            task="bottom-up",
            skeleton=recipe.skeleton,
            input=InputSettings() if long_side is None else InputSettings(long_side=long_side),
            outputs={"heatmaps": "heatmaps", "fields": "fields"},
            maps=FieldSettings(
                stride=recipe.stride,
                sigma=recipe.sigma,
                limb_width=recipe.limb_width,
                decoder=dataclasses.asdict(DecoderSettings()),
            ),
            licence=licence,
            origin={"recipe": recipe.model_dump(mode="json", exclude={"root", "out", "init", "resume"})},
            manypose_version=__version__,
        )
    except pydantic.ValidationError as error:
        raise ModelError(f"{file}: its metadata would be faulty: {describe_faults(error)}") from None
    export_onnx(network, metadata, file, overwrite=overwrite)
    return metadata


def _load(source: Path) -> tuple[Recipe, nn.Module]:
    if source.suffix in (".yaml", ".yml"):
        recipe = read_recipe(source)
        torch.manual_seed(recipe.seed)
        return recipe, BottomUpTraining(recipe).network.eval()
    return load_network(torch.load(source, map_location="cpu", weights_only=True))
