"""`manypose export`: a checkpoint in, a model file out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
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
            "manypose export runs/ladder/last.ckpt -o ladder.onnx",
            "manypose export runs/ladder/last.ckpt -o mine.onnx --name mine --licence CC-BY-4.0",
        ),
        run=run,
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a file that `manypose train` wrote, or a recipe for its untrained network",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the model file, .onnx")
    parser.add_argument("--name", help="the model's name (default: that of FILE without .onnx)")
    parser.add_argument("--licence", default="Apache-2.0", help="of the model (default: Apache-2.0)")
    parser.add_argument(
        "--long-side",
        type=whole_number(1, 16384),
        metavar="PIXELS",
        help="size at which the model does best (default: 384)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE when it is there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    for module in ("torch", "lightning", "onnx"):
        require(module, extra="train")
    from manypose.training.export import export_checkpoint

    file: Path = arguments.out
    metadata = export_checkpoint(
        arguments.checkpoint,
        file,
        name=arguments.name or file.stem,
        licence=arguments.licence,
        long_side=arguments.long_side,
        overwrite=arguments.overwrite,
    )
    say(f"{file}: {metadata.name}, {file.stat().st_size / 1e6:.1f} MB, {metadata.skeleton}")
    return 0
