"""The one conversion program: a weight file of any product in; our checkpoint, a model file, or bare arrays out."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from manypose import __version__, networks
from manypose.convert.checkpoint import Checkpoint, Header, is_checkpoint, load_checkpoint, save_checkpoint
from manypose.convert.export import export_onnx, read_metadata, read_weights
from manypose.convert.layout import Fit, Layout, recognise
from manypose.convert.layouts_bottom_up import CELL_CENTRE, STAGED, keep_stages
from manypose.convert.layouts_bottom_up import LAYOUTS as BOTTOM_UP_LAYOUTS
from manypose.convert.layouts_imagenet import LAYOUTS as IMAGENET_LAYOUTS
from manypose.convert.layouts_top_down import LAYOUTS as TOP_DOWN_LAYOUTS
from manypose.convert.weights import Format, WeightFile, read_weight_file
from manypose.errors import ModelError, OutputError, SkeletonError, describe_faults
from manypose.files import write_bytes
from manypose.metadata import (
    CROP_SKELETONS,
    Decoding,
    FieldSettings,
    HeatmapSettings,
    InputSettings,
    MapSettings,
    Metadata,
    crop_sigma,
)
from manypose.skeleton import load_skeleton, read_skeleton, skeleton_names

LAYOUTS: tuple[Layout, ...] = (*BOTTOM_UP_LAYOUTS, *TOP_DOWN_LAYOUTS, *IMAGENET_LAYOUTS)
SUFFIXES = {".safetensors": "a checkpoint", ".onnx": "a model file", ".npz": "the bare arrays"}

# The skeletons of the published networks with fields, by their numbers of joints and of field channels.
_FIELD_SKELETONS = {(18, 38): "openpose18", (15, 28): "mpi15", (25, 52): "body25"}


@dataclass(frozen=True)
class Wishes:
    """What a user may know better than the file: None leaves it to what the product publishes.

    `skeleton` is one of ours by name, or a YAML file; `size` (w, h) is the input of a top-down network; `colours` is
    the order in which it was trained, `decoding` how the joint of a heatmap is found ("udp-dark" also means the crops
    of UDP).
    """

    name: str | None = None
    skeleton: str | None = None
    size: tuple[int, int] | None = None
    colours: Literal["rgb", "bgr"] | None = None
    licence: str = ""
    decoding: Decoding | None = None


@dataclass(frozen=True, eq=False)
class Conversion:
    """What was converted: the file's format and product, the network and its options, and what the file says now."""

    file: Path
    format: str
    tensors: int
    layout: str = ""
    network: str = ""
    options: dict[str, Any] | None = None
    metadata: Metadata | None = None
    missing: tuple[str, ...] = ()
    notes: str = ""


def convert(
    source: Path,
    out: Path,
    *,
    network: str | None = None,
    stages: int | None = None,
    file_format: Format | None = None,
    wishes: Wishes | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Convert a weight file of any product; the suffix of `out` decides into what (see `SUFFIXES`).

    The network is recognised from the tensors, `network` overrides; every tensor must find its place. `stages` takes
    the first stages of a network alone. `file_format` says what the source is where its content does not. `half`
    stores a model file in 16 bit.

    Raises `ModelError` that names the tensors at fault, `OutputError` when `out` is there already.
    """
    wishes = wishes or Wishes()
    if out.suffix.lower() not in SUFFIXES:
        kinds = ", ".join(f"{suffix} ({what})" for suffix, what in SUFFIXES.items())
        raise OutputError(f"{out}: its suffix must be one of {kinds}")
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: the file exists; choose another name, or allow overwriting")
    _refuse_unused(out, network=network, stages=stages, wishes=wishes, half=half)
    ours = _own_checkpoint(source)
    if ours is not None:
        if stages or network not in (None, ours.header.network):
            raise ModelError(f"{source}: is {ours.header.network} already; give the product's file to choose from it")
        return _rewrite(_adjusted(ours, wishes, source), out, half=half, overwrite=overwrite)
    weights = read_weight_file(source, format=file_format)
    if out.suffix.lower() == ".npz":
        _dump_arrays(weights.stored, out, overwrite=overwrite)
        return Conversion(out, weights.format, len(weights.stored))
    fit = _recognise(weights, source, network, stages)
    metadata = None if fit.absent else describe(fit, weights, wishes, out)
    origin = _origin(fit, weights)
    header = Header(network=fit.layout.network, options=fit.options, metadata=metadata, origin=origin)
    _write(Checkpoint(header, fit.tensors), out, half=half, overwrite=overwrite)
    return Conversion(
        out,
        weights.format,
        len(fit.tensors),
        fit.layout.name,
        fit.layout.network,
        fit.options,
        metadata,
        fit.absent,
        fit.layout.notes,
    )


def _refuse_unused(out: Path, *, network: str | None, stages: int | None, wishes: Wishes, half: bool) -> None:
    """What is asked for is done or refused: `ModelError` for what has no effect on a file like `out`."""
    suffix = out.suffix.lower()
    if half and suffix != ".onnx":
        raise ModelError(f"{out}: 16 bit is for model files: write an .onnx, or leave half out")
    if suffix == ".npz" and (network or stages or wishes != Wishes()):
        raise ModelError(f"{out}: the bare arrays are written as the file stores them: leave the options out")


def _recognise(weights: WeightFile, source: Path, network: str | None, stages: int | None) -> Fit:
    """The layout that fits a file, with the wanted network and stages; raises `ModelError` that says what it is."""
    known = {layout.network for layout in LAYOUTS}
    if network not in known | {None}:
        raise ModelError(f"no weights are known for a network called {network!r}; there are {', '.join(sorted(known))}")
    layouts = [keep_stages(layout, stages) for layout in LAYOUTS if layout.network in STAGED] if stages else LAYOUTS
    try:
        fit = recognise(weights.tensors, layouts, where=str(source), network=network)
    except ModelError:
        if not (network or stages):
            raise
        fits = recognise(weights.tensors, LAYOUTS, where=str(source))
        asked = f"{network or ''} {f'with {stages} stages' if stages else ''}".strip()
        raise ModelError(
            f"{source}: holds {fits.layout.network} as {fits.layout.name} names it, not what was asked for: {asked}"
        ) from None
    _check_stages(fit, stages, source)
    return fit


def _check_stages(fit: Fit, wanted: int | None, source: Path) -> None:
    given = fit.options.get("stages", fit.options.get("refinements", 0) + 1)
    if wanted and given < wanted:
        raise ModelError(f"{source}: {wanted} stages are wanted, and its network has {given}")


def describe(fit: Fit, weights: WeightFile, wishes: Wishes, out: Path) -> Metadata:
    """What running the converted network needs; raises `ModelError` where the file does not tell and nobody said it."""
    entry = networks.ENTRIES[fit.layout.network]
    settings = fit.layout.input.model_dump() | ({"colours": wishes.colours} if wishes.colours else {})
    maps: MapSettings
    outputs: dict[str, Any] = {"heatmaps": "heatmaps"}
    decoding = decoding_settings(wishes.decoding or fit.layout.decoding)
    if entry.task == "bottom-up":
        if wishes.size:
            raise ModelError("a bottom-up network takes pictures of any size: leave the size out")
        if wishes.decoding:
            raise ModelError("a bottom-up network has a decoder of its own: leave the decoding out")
        maps = FieldSettings(field_offset=fit.layout.field_offset)
        outputs["fields"] = "fields"
    elif entry.task == "top-down":
        size = wishes.size or ((256, 256) if fit.options.get("joints") == 16 else entry.size)
        settings |= {"size": size, "fit": "crop"}
        maps = HeatmapSettings(sigma=crop_sigma(size), **decoding)
    else:  # faces and hands: the box is the crop
        settings |= {"size": wishes.size or entry.size, "fit": "crop", "padding": 1.0}
        maps = HeatmapSettings(stride=8, offset=CELL_CENTRE, sigma=0.875, background=True, **decoding)
    try:
        return Metadata(
            name=wishes.name or out.stem,
            task=entry.task,
            skeleton=_skeleton(fit.options, entry.task, wishes),
            input=InputSettings(**settings),
            outputs=outputs,
            maps=maps,
            licence=wishes.licence,
            origin=_origin(fit, weights),
            manypose_version=__version__,
        )
    except pydantic.ValidationError as error:
        raise ModelError(f"{out}: its metadata would be faulty: {describe_faults(error)}") from None


def decoding_settings(decoding: Decoding) -> dict[str, Any]:
    """Settings of heatmaps for a decoding; that of UDP belongs to its crops."""
    return {"decoding": decoding, "udp": decoding == "udp-dark"}


def _skeleton(options: dict[str, Any], task: str, wishes: Wishes) -> str | dict[str, Any]:
    """The skeleton of a network by name, or its definition; it must have the network's numbers of joints and fields."""
    joints, fields = options.get("joints", 0), options.get("fields", 0)
    if wishes.skeleton is not None:
        ours = wishes.skeleton in skeleton_names()
        skeleton = load_skeleton(wishes.skeleton) if ours else read_skeleton(Path(wishes.skeleton))
        if len(skeleton) != joints or (fields and 2 * len(skeleton.fields) != fields):
            counts = f"{joints} joints" + (f" and {fields} field channels" if fields else "")
            raise SkeletonError(f"skeleton {skeleton.name!r} does not fit: the network has {counts}")
        return wishes.skeleton if ours else skeleton.to_dict()
    name = _FIELD_SKELETONS.get((joints, fields)) if task == "bottom-up" else CROP_SKELETONS[task].get(joints)
    if name is None:
        raise ModelError(f"the network has {joints} joints, and no published skeleton does: name the skeleton")
    return name


def _origin(fit: Fit, weights: WeightFile) -> dict[str, Any]:
    origin = {"file": weights.path.name, "format": weights.format, "sha256": weights.sha256, "names": fit.layout.name}
    return origin | {"network": fit.layout.network, "options": fit.options, "notes": fit.layout.notes}


def _write(checkpoint: Checkpoint, out: Path, *, half: bool, overwrite: bool) -> None:
    if out.suffix.lower() == ".safetensors":
        save_checkpoint(checkpoint, out, overwrite=overwrite)
        return
    metadata = model_metadata(checkpoint, out)
    export_onnx(checkpoint.build(), metadata, out, half=half, overwrite=overwrite)


def model_metadata(checkpoint: Checkpoint, file: Path) -> Metadata:
    """What running a checkpoint's network needs; raises `ModelError`, which names the file, for a backbone."""
    if checkpoint.header.metadata is None:
        raise ModelError(
            f"{file}: the weights are those of a backbone for {checkpoint.header.network}, which finds no people "
            "before it is trained; write a .safetensors file and start a training from it with init="
        )
    return checkpoint.header.metadata


def _own_checkpoint(source: Path) -> Checkpoint | None:
    """What a checkpoint or model file of ours holds; None for the files of others."""
    suffix = source.suffix.lower()
    if suffix == ".safetensors" and source.is_file() and is_checkpoint(source):
        return load_checkpoint(source)
    if suffix == ".onnx" and (metadata := read_metadata(source)) is not None:
        return _checkpoint_of(source, metadata)
    return None


def _adjusted(checkpoint: Checkpoint, wishes: Wishes, source: Path) -> Checkpoint:
    """A checkpoint that says of itself what the user wishes; raises `ModelError` where that cannot be."""
    metadata = checkpoint.header.metadata
    if wishes == Wishes():
        return checkpoint
    if metadata is None:
        raise ModelError(f"{source}: is a backbone, of which nothing can be said: leave the options out")
    if wishes.size and metadata.task == "bottom-up":
        raise ModelError("a bottom-up network takes pictures of any size: leave the size out")
    settings = metadata.model_dump()
    settings |= {key: value for key, value in {"name": wishes.name, "licence": wishes.licence}.items() if value}
    settings["input"] |= {k: v for k, v in {"colours": wishes.colours, "size": wishes.size}.items() if v}
    if wishes.size and metadata.task == "top-down":
        settings["maps"]["sigma"] = crop_sigma(wishes.size)
    if wishes.decoding:
        if metadata.task == "bottom-up":
            raise ModelError("a bottom-up network has a decoder of its own: leave the decoding out")
        settings["maps"] |= decoding_settings(wishes.decoding)
    if wishes.skeleton:
        settings["skeleton"] = _skeleton(checkpoint.header.options, metadata.task, wishes)
    try:
        changed = Metadata(**settings)
    except pydantic.ValidationError as error:
        raise ModelError(f"{source}: its metadata would be faulty: {describe_faults(error)}") from None
    return Checkpoint(checkpoint.header.model_copy(update={"metadata": changed}), checkpoint.tensors)


def _rewrite(checkpoint: Checkpoint, out: Path, *, half: bool, overwrite: bool) -> Conversion:
    """A checkpoint of ours in another form."""
    if out.suffix.lower() == ".npz":
        _dump_arrays(checkpoint.tensors, out, overwrite=overwrite)
    else:
        _write(checkpoint, out, half=half, overwrite=overwrite)
    header = checkpoint.header
    count = len(checkpoint.tensors)
    return Conversion(out, "manypose", count, "manypose", header.network, header.options, header.metadata)


def _checkpoint_of(file: Path, metadata: Metadata) -> Checkpoint:
    """The network of a model file of ours, converted or trained."""
    origin = metadata.origin
    recipe = origin.get("recipe")
    try:
        network, options = (recipe["network"], options_of(recipe)) if recipe else (origin["network"], origin["options"])
    except (KeyError, TypeError, SkeletonError):
        raise ModelError(f"{file}: its metadata do not say of which network it is") from None
    tensors = {name: tensor.numpy() for name, tensor in read_weights(file).items()}
    return Checkpoint(Header(network=network, options=options, metadata=metadata, origin=origin), tensors)


def options_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """The options of `networks.build` with which a recipe trains its network."""
    skeleton = load_skeleton(recipe["skeleton"])
    return {"joints": len(skeleton), "fields": 2 * len(skeleton.fields), "width": recipe["width"]}


def _dump_arrays(tensors: dict[str, Any], out: Path, *, overwrite: bool) -> None:
    content = io.BytesIO()
    np.savez(content, **tensors)
    write_bytes(out, content.getvalue(), overwrite=overwrite)
