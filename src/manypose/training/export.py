"""Checkpoint or recipe -> model file."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import nn

from manypose import __version__, networks
from manypose.codecs.fields import FieldsCodec
from manypose.codecs.grouping import DecoderSettings
from manypose.codecs.simcc import SimccCodec
from manypose.codecs.targets import RULES
from manypose.convert.checkpoint import load_checkpoint
from manypose.convert.export import export_onnx
from manypose.convert.program import model_metadata
from manypose.errors import ModelError, OutputError, describe_faults
from manypose.metadata import HeatmapSettings, SimccSettings, crop_sigma
from manypose.model import FieldSettings, InputSettings, Metadata
from manypose.networks.entry import Kind
from manypose.skeleton import skeleton_names
from manypose.training.module import load_task
from manypose.training.recipe_file import read_recipe
from manypose.training.task import Task, make_task

SUFFIXES = {
    ".ckpt": "a checkpoint of `manypose train`",
    ".safetensors": "one of `manypose convert`",
    ".yaml": "a recipe for its untrained network",
}
OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "bottom-up": ("heatmaps", "fields"),
    "crops": ("heatmaps",),
    "simcc": ("simcc_x", "simcc_y"),
}
_KINDS = ", ".join(f"{suffix} ({what})" for suffix, what in SUFFIXES.items())


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What the model file says of itself where the source does not, or should not: None leaves it as it is.

    `long_side` is the size in pixels at which a bottom-up model does best; `size` (w, h) is the input of a model that
    takes crops. Without a name the model is called as a converted checkpoint is, or as the file. `half` stores it in
    16 bit.
    """

    name: str | None = None
    licence: str | None = None
    long_side: int | None = None
    size: tuple[int, int] | None = None
    half: bool = False


def export_model(
    source: Path, file: Path, options: ExportOptions | None = None, *, overwrite: bool = False
) -> Metadata:
    """Write the network of a source (see `SUFFIXES`) as a model file, .onnx; gives its metadata.

    Of a training checkpoint the averaged weights are taken, and what the maps mean comes from its recipe. A recipe in
    its place gives the network untrained: what a trained one is measured against.

    Raises `ModelError` for a source that is missing, broken or of another kind, for a backbone, which finds no people
    yet, and for a size that the network does not take; `OutputError` when the file is there already or no .onnx.
    """
    options = options or ExportOptions()
    if file.suffix != ".onnx":
        raise OutputError(f"{file}: a model file ends in .onnx")
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: the file exists; choose another name, or allow overwriting")
    suffix = ".yaml" if source.suffix == ".yml" else source.suffix
    if suffix not in SUFFIXES:
        hint = "it is a model file already" if suffix == ".onnx" else "`manypose convert` takes other products' weights"
        raise ModelError(f"{source}: expected {_KINDS}; {hint}")
    if not source.is_file():
        raise ModelError(f"{source}: no such file; give {_KINDS}")
    network, settings = (
        _converted(source, file, options) if suffix == ".safetensors" else _trained(source, file, options)
    )
    try:
        metadata = Metadata(**settings)
    except pydantic.ValidationError as error:
        raise ModelError(f"{file}: its metadata would be faulty: {describe_faults(error)}") from None
    export_onnx(network, metadata, file, half=options.half, overwrite=overwrite)
    return metadata


def _converted(source: Path, file: Path, options: ExportOptions) -> tuple[nn.Module, dict[str, Any]]:
    """Network and metadata of a converted checkpoint, with what the options say."""
    checkpoint = load_checkpoint(source)
    metadata = model_metadata(checkpoint, source)
    _check_options(metadata.task, source, options)
    settings = metadata.model_dump()
    given = {"name": options.name, "licence": options.licence}
    settings |= {key: value for key, value in given.items() if value is not None}
    if options.long_side is not None:
        settings["input"]["long_side"] = options.long_side
    if options.size is not None:
        settings["input"]["size"] = options.size
        if metadata.task == "top-down":
            settings["maps"]["sigma"] = crop_sigma(options.size)
    return checkpoint.build(), settings


def _trained(source: Path, file: Path, options: ExportOptions) -> tuple[nn.Module, dict[str, Any]]:
    """Network and metadata of a training checkpoint or a recipe."""
    try:
        task, network = _load(source)
    except OSError as error:
        raise ModelError(f"{source}: {error.strerror or error}; give a checkpoint of `manypose train`") from None
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"{source}: not a checkpoint of `manypose train`: {type(error).__name__}: {why}") from None
    kind = networks.ENTRIES[task.recipe.network].task
    _check_options(kind, source, options)
    if options.size not in (None, task.recipe.crop_size) and not task.is_bottom_up:
        raise ModelError(f"{source}: was trained on crops of {task.recipe.crop_size}: leave the size out")
    own = task.skeleton.name if task.skeleton.name in skeleton_names() else task.skeleton.to_dict()
    return network, {
        "name": options.name or file.stem,
        "task": kind,
        "skeleton": own,
        "input": _input(task, options),
        "outputs": {name: name for name in OUTPUTS[task.kind]},
        "maps": _maps(task),
        "licence": "Apache-2.0" if options.licence is None else options.licence,
        "origin": {"recipe": task.recipe.model_dump(mode="json", exclude={"root", "out", "init", "resume"})},
        "manypose_version": __version__,
    }


def _input(task: Task, options: ExportOptions) -> InputSettings:
    if options.long_side is None:
        return task.input
    return task.input.model_copy(update={"long_side": options.long_side})


def _maps(task: Task) -> FieldSettings | HeatmapSettings | SimccSettings:
    codec = task.codec
    if isinstance(codec, FieldsCodec):
        return FieldSettings(
            stride=codec.stride,
            sigma=codec.sigma,
            limb_width=codec.limb_width,
            field_offset=RULES[task.recipe.target_rules].offset,
            decoder=dataclasses.asdict(DecoderSettings()),
        )
    if isinstance(codec, SimccCodec):
        return SimccSettings(split_ratio=codec.split_ratio, score=codec.score)
    settings = {key: getattr(codec, key) for key in HeatmapSettings.model_fields if hasattr(codec, key)}
    return HeatmapSettings(**settings)


def _check_options(task: str, source: Path, options: ExportOptions) -> None:
    """Raise `ModelError` for a size that has no effect."""
    if task == "bottom-up" and options.size is not None:
        raise ModelError(f"{source}: a bottom-up network takes pictures of any size: leave the size out")
    if task != "bottom-up" and options.long_side is not None:
        raise ModelError(f"{source}: a {task} network takes crops of one size: give the size, not the long side")


def _load(source: Path) -> tuple[Task, nn.Module]:
    if source.suffix in (".yaml", ".yml"):
        task = make_task(read_recipe(source))
        torch.manual_seed(task.recipe.seed)
        return task, task.build_network().eval()
    return load_task(torch.load(source, map_location="cpu", weights_only=True))
