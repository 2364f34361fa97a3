"""`manypose data pack`: a data set in one file, or in shards."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.data.skipping import add_skip, faults_in_own_words, readers_silent, tell_left_out
from manypose.cli.terminal import counted, progress_bar, say

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.faults import Fault
    from manypose.errors import DataError


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "pack",
        summary="Pack a data set into an HDF5 file or into tar files.",
        usage="SOURCE -o FILE [options]",
        group="data ",
        details="A packed set gives the same samples as its folder. FILE is name.h5, in the layout "
        "of the\nKeras re-implementation, whose programs can train from it (plain pixels: large and fast); or "
        "name.tar, or\nname-{000..}.tar for several, which the package webdataset reads too (the pictures' own files).",
        examples=(
            "manypose data pack coco/train.json -o 'packed/train-{000..}.tar' --shard-size 5000",
            "manypose data pack coco/train.json -o train.h5 --longest 640",
        ),
        run=run,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="file or folder of the data set")
    add(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        required=True,
        help="its ending decides: .h5, .tar, -{000..}.tar; its folder is made",
    )
    add("--kind", metavar="KIND", help="kind of the data set (default: seen from its content)")
    add("--part", metavar="PART", help="of a folder with several: train, val, test")
    add("--images", type=Path, metavar="PLACE", help="folder or zip file of the pictures, where it is not a usual one")
    add("--skeleton", metavar="NAME", help="joints to keep (default: those of the data set)")
    add("--longest", type=whole_number(16), metavar="PIXELS", help="shrink pictures to this longer side")
    add("--quality", type=whole_number(1, 100), metavar="N", help="store all as JPEG (default: nothing is lost)")
    add("--shard-size", type=whole_number(1), default=2000, metavar="N", help="pictures of a shard (default: 2000)")
    add("--channels", type=int, choices=(5, 6), default=6, help=".h5: 5 leaves out the mask of all people")
    add("--validation", action="store_true", help=".h5: mark the samples as those of a validation set")
    add_skip(parser)
    add("--resume", action="store_true", help="keep the shards that an interrupted run has written")
    add("--overwrite", action="store_true", help="replace files that are there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.data.datasets import dataset_skeleton, read_dataset
    from manypose.data.packing.program import pack
    from manypose.files import make_folder
    from manypose.skeleton import load_skeleton

    named, source = arguments.skeleton, {"kind": arguments.kind, "part": arguments.part}
    skeleton = load_skeleton(named) if named else dataset_skeleton(arguments.source, **source)
    faults: list[Fault | DataError] = []
    unread: list[Fault] = []
    with readers_silent(), faults_in_own_words(skip=arguments.skip):  # what is left out is told below
        pictures = read_dataset(
            arguments.source,
            skeleton,
            images=arguments.images,
            on_fault="skip" if arguments.skip else "stop",
            faults=unread,
            **source,
        )
    faults += unread
    make_folder(arguments.out.parent)
    with progress_bar("pictures", total=len(pictures)) as progress:
        files = pack(
            pictures,
            arguments.out,
            skeleton,
            longest=arguments.longest,
            quality=arguments.quality,
            shard_size=arguments.shard_size,
            channels=arguments.channels,
            validation=arguments.validation,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            on_fault=faults.append if arguments.skip else None,
            progress=progress,
        )
    tell_left_out(faults)
    size = sum(file.stat().st_size for file in files)
    packed = counted(len(pictures) + len(unread) - len(faults), "picture", "pictures")
    where = str(files[0]) if len(files) == 1 else f"{len(files)} shards, {files[0]} to {files[-1].name}"
    say(f"{where}: {packed}, {size / 1e6:.1f} MB")
    return 0
