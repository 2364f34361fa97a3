"""`manypose data masks`: where people are in the pictures of a data set, and where they lack labels, as files."""

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

RULES = ("manypose", "cmu", "keras", "treb1en", "daniil")


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "masks",
        summary="Write masks of people, and of people without labels.",
        usage="SOURCE -o FOLDER [options]",
        group="data ",
        details="Writes mask_miss/NAME.png (0 where people lack labels and nothing is to be learned, 255 elsewhere) "
        "and\nmask_all/NAME.png (255 on all people). Training needs no such files: it draws the masks as it goes.",
        examples=(
            "manypose data masks coco/val.json -o masks --vis",
            "manypose data masks person_keypoints_val2017.json -o masks --rule cmu",
        ),
        run=run,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="file or folder of the data set")
    add("-o", "--out", type=Path, metavar="FOLDER", required=True, help="where they go; made when it is not there")
    add("--kind", metavar="KIND", help="kind of the data set (default: seen from its content)")
    add("--part", metavar="PART", help="of a folder with several: train, val, test")
    add("--images", type=Path, metavar="PLACE", help="folder or zip file of the pictures, where it is not a usual one")
    add("--rule", choices=RULES, default="manypose", help="whose rule says who is left out (default: manypose)")
    add("--vis", action="store_true", help="also write masks.png: pictures with people green, left out red")
    add("--samples", type=whole_number(1, 200), default=24, metavar="N", help="pictures on masks.png (default: 24)")
    add_skip(parser)
    add("--overwrite", action="store_true", help="replace files that are there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.data.datasets import read_dataset
    from manypose.data.masks import find_rule, sheet_of_masks, write_masks
    from manypose.images import write_image

    rule = find_rule(arguments.rule)
    faults: list[Fault] = []
    broken: list[DataError] = []
    on_fault = broken.append if arguments.skip else None
    with readers_silent(), faults_in_own_words(skip=arguments.skip):  # what is left out is told below
        pictures = read_dataset(
            arguments.source,
            kind=arguments.kind,
            part=arguments.part,
            images=arguments.images,
            on_fault="skip" if arguments.skip else "stop",
            faults=faults,
        )
    with progress_bar("pictures", total=len(pictures)) as progress:
        files = write_masks(
            pictures, arguments.out, rule=rule, overwrite=arguments.overwrite, on_fault=on_fault, progress=progress
        )
    say(f"{arguments.out}: mask_miss and mask_all of {counted(len(files), 'picture', 'pictures')}")
    if arguments.vis:
        sheet = arguments.out / "masks.png"
        drawn = sheet_of_masks(pictures, most=arguments.samples, rule=rule, on_fault=on_fault)
        write_image(sheet, drawn, overwrite=arguments.overwrite)
        say(f"written: {sheet}")
    tell_left_out([*faults, *dict.fromkeys(map(str, broken))])
    return 0
