"""`manypose export`: a checkpoint in, a model file out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, picture_size, whole_number
from manypose.cli.terminal import say
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "export",
        summary="Make an ONNX model of a checkpoint.",
        usage="CHECKPOINT -o FILE [options]",
        details="The file holds all that running needs. Needs the extra: pip install 'manypose[train]'.",
        examples=(
            "manypose export runs/ladder/last.ckpt -o ladder.onnx --licence CC-BY-4.0",
            "manypose export hrnet.safetensors -o hrnet.onnx --size 288x384 --half",
        ),
        run=run,
    )
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a .ckpt of `manypose train`, a .safetensors of `manypose convert`, or a recipe (.yaml) for its untrained "
        "network",
    )
    add("-o", "--out", type=Path, required=True, metavar="FILE", help="the model file, .onnx")
    add("--name", help="the model's name (default: that of a converted checkpoint, or of FILE without .onnx)")
    add("--licence", help="of the model (default: that of a converted checkpoint, or Apache-2.0)")
    add(
        "--long-side",
        type=whole_number(1, 16384),
        metavar="PIXELS",
        help="size at which a bottom-up model does best (default: 384)",
    )
    add("--size", type=picture_size, metavar="WxH", help="input of a model that takes crops, such as 288x384")
    add("--half", action="store_true", help="store in 16 bit: half the size, for GPUs")
    add("--overwrite", action="store_true", help="replace FILE when it is there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    for module in ("torch", "lightning", "onnx", "safetensors"):
        require(module, extra="train")
    from manypose.training.export import ExportOptions, export_model

    options = ExportOptions(
        name=arguments.name,
        licence=arguments.licence,
        long_side=arguments.long_side,
        size=arguments.size,
        half=arguments.half,
    )
    file: Path = arguments.out
    metadata = export_model(arguments.checkpoint, file, options, overwrite=arguments.overwrite)
    skeleton = metadata.skeleton if isinstance(metadata.skeleton, str) else metadata.skeleton["name"]
    say(f"{file}: {metadata.name}, {file.stat().st_size / 1e6:.1f} MB, {skeleton}")
    return 0
