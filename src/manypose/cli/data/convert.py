"""`manypose data convert`: a data set of any kind in; COCO, YOLO or MPII's JSON out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, positive, whole_number
from manypose.cli.data.skipping import add_skip, faults_in_own_words, readers_silent, tell_left_out
from manypose.cli.terminal import complain, say

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.faults import Fault
    from manypose.data.writers import Written

KINDS = ("coco", "wholebody", "crowdpose", "mpii-json", "mpii-mat", "lsp", "openpose-json", "yolo")
PACKED = ("hdf5", "lmdb", "webdataset")
FORMATS = ("coco", "yolo", "mpii-json")


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "convert",
        summary="Turn a data set into another format.",
        usage="SOURCE -o FOLDER [options]",
        group="data ",
        details="SOURCE is a file of labels, or a folder with one; its kind is told from the content. Pictures are "
        "copied as they are.",
        examples=(
            "manypose data convert mpii/annotations/train.json -o mpii-coco",
            "manypose data convert coco --part val --to yolo -o coco-yolo",
        ),
        run=run,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="the data set")
    add("-o", "--out", type=Path, metavar="FOLDER", required=True, help="where it goes; made when it is not there")
    add("--to", choices=FORMATS, default="coco", help="the format that comes out (default: coco)")
    add("--kind", choices=(*KINDS, *PACKED), help="what SOURCE is, where its content does not tell")
    add("--part", choices=("train", "val", "test", "trainval"), help="only this part of SOURCE")
    add("--images", type=Path, metavar="PLACE", help="folder or zip file of the pictures, when it is no usual one")
    add("--skeleton", metavar="NAME|YAML", help="joints that come out, by name (default: those of SOURCE)")
    add("--val-size", type=positive, metavar="N", help="split a part off: a share below 1, or a number of pictures")
    add("--seed", type=whole_number(0), default=0, metavar="N", help="of the split (default: 0)")
    add_skip(parser)
    add("--labels-only", action="store_true", help="do not copy the pictures")
    add("--overwrite", action="store_true", help="replace files that are there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.data.datasets import dataset_skeleton, read_dataset, split, write_split
    from manypose.data.writers import write_dataset
    from manypose.skeleton import load_skeleton

    source, part = arguments.source, arguments.part
    skeleton = (
        load_skeleton(arguments.skeleton)
        if arguments.skeleton
        else dataset_skeleton(source, kind=arguments.kind, part=part)
    )
    faults: list[Fault] = []
    with readers_silent(), faults_in_own_words(skip=arguments.skip):  # what is left out is told below
        pictures = read_dataset(
            source,
            skeleton,
            kind=arguments.kind,
            part=part,
            images=arguments.images,
            on_fault="skip" if arguments.skip else "stop",
            faults=faults,
        )
    parts = {part or "train": pictures}
    if arguments.val_size:
        train, val = split(pictures, arguments.val_size, arguments.seed)
        parts = {"train": train, "val": val}
    for name, chosen in parts.items():
        _report(
            write_dataset(
                chosen,
                skeleton,
                arguments.out,
                to=arguments.to,
                part=name,
                with_pictures=not arguments.labels_only,
                overwrite=arguments.overwrite,
            )
        )
    if arguments.val_size:
        write_split(arguments.out / "split.json", train, val, overwrite=arguments.overwrite)
    tell_left_out(faults)
    return 0


def _report(written: Written) -> None:
    say(f"{written.file}: {written.pictures} pictures, {written.people} people with labels")
    if written.lost:
        complain(f"the format cannot hold {', '.join(written.lost)}; they are left out")
