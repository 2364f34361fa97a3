"""`manypose data get`: published data sets, fetched, checked and unpacked as the readers expect them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.terminal import bars_of_bytes, complain, counted, say

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.get import Got

NAMES = ("coco2017", "coco2014", "wholebody", "mpii", "lsp", "lspet", "crowdpose")


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "get",
        summary="Fetch a published data set.",
        usage="NAME FOLDER [options]",
        group="data ",
        details="Goes on where an earlier call stopped. Files on Google Drive have no direct address: it says which "
        "they are,\nand takes them with --from once you have fetched them.",
        examples=("manypose data get coco2017 coco --part val", "manypose data get wholebody coco --from downloads"),
        run=run,
    )
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where it goes; made when it is not there")
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="PART",
        help="train, val, test or trainval; may be given several times",
    )
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a file that you have already, or a folder of such; may be given several times",
    )
    parser.add_argument("--mirror", metavar="URL", help="another server with the same paths")
    parser.add_argument("--packed", action="store_true", help="leave zip files of pictures packed; they are read so")
    parser.add_argument("--keep", action="store_true", help="keep the archives after unpacking")
    parser.add_argument("--overwrite", action="store_true", help="get everything anew")
    parser.add_argument(
        "--jobs", type=whole_number(1, 16), default=3, metavar="N", help="files fetched at once (default: 3)"
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command; 1 when files remain that have to be fetched by hand."""
    from manypose.data.get import get_dataset

    with bars_of_bytes() as progress:
        got = get_dataset(
            arguments.name,
            arguments.folder,
            parts=arguments.part,
            sources=arguments.sources,
            mirror=arguments.mirror,
            packed=arguments.packed,
            keep=arguments.keep,
            overwrite=arguments.overwrite,
            jobs=arguments.jobs,
            progress=progress,
        )
    return _report(arguments.name, got, arguments.part)


def _report(name: str, got: Got, parts: list[str]) -> int:
    from manypose.data.published_sets import SETS

    for file in got.present:
        say(f"{file}: is there already (--overwrite gets it again)")
    for file in got.fetched:
        say(f"{file}: done")
    say(f"terms: {SETS[name].terms}")
    for piece in got.by_hand:
        complain(f"{piece.name}: has no direct address; fetch it by hand from {piece.by_hand}")
    if got.by_hand:
        files = counted(len(got.by_hand), "file is", "files are")
        complain(f"{files} missing; then run this again with --from FILE (or the folder that holds them)")
        return 1
    together = [part for part in parts if part in SETS[name].together]
    if together:
        say(f"{name}: its files hold all parts: {', '.join(SETS[name].together)}")
    part = f" --part {together[0]}" if together else ""
    say(f"next: manypose data check {got.folder}{part}")
    return 0
