"""`manypose visualize`: the people of a results file drawn on their pictures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, number, whole_number
from manypose.cli.terminal import counted, progress_bar, say
from manypose.errors import OutputError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.evaluation.visualize import Found

MOST_ON_SHEET = 400
_ON_SHEET = 24  # without --limit
_CELL = 480  # pixels of the longer side of a picture on a sheet, before it is fitted in
_WIDTH, _HEIGHT = 1920, 320  # pixels of a sheet, and of a row of it

_DETAILS = """\
RESULTS is a COCO results file, such as `manypose eval --out` writes. With --truth the
labelled people stand on the left of each picture and those found on the right, and the
results are checked against the file; without it pictures are known by the number that
their names end with."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "visualize",
        summary="Draw the people of a results file on their pictures.",
        usage="RESULTS --images DIR (--sheet FILE | --out DIR) [options]",
        details=_DETAILS,
        examples=(
            "manypose visualize measured/results.json --images coco --truth coco/val.json --sheet sheet.png",
            "manypose visualize results.json --images val2017 --out drawn --threshold 0.3",
        ),
        run=run,
    )
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a COCO results file (JSON)")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder or zip file of the pictures")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="the labels, to be drawn on the left")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="a contact sheet, .png, .jpg or .webp")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for one picture (.jpg) each")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="the first N pictures (sheets: 24)")
    parser.add_argument("--threshold", type=number, metavar="SCORE", help="leave out people who score less")
    parser.add_argument("--scores", action="store_true", help="write the score at each person found")
    parser.add_argument(
        "--skeleton",
        metavar="NAME",
        help="joints of the results, ours or a YAML file (default: coco17, or the truth's)",
    )
    parser.add_argument("--overwrite", action="store_true", help="write over files that are there")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    sheet, out = arguments.sheet, arguments.out
    if sheet is None and out is None:
        arguments.parser.error("say where to: --sheet FILE for a contact sheet, --out DIR for single pictures")
    if arguments.truth is not None and arguments.skeleton is not None:
        arguments.parser.error("--skeleton: the joints are those of --truth; leave one of them out")
    if sheet is not None and sheet.exists() and not arguments.overwrite:
        raise OutputError(f"{sheet}: the file exists; choose another name, or allow overwriting (--overwrite)")
    found = _read(arguments)
    if not found:
        say(f"{arguments.results}: holds nobody, so there is nothing to draw")
        return 0
    if out is not None:
        _write_pictures(found, arguments)
    if sheet is not None:
        _write_sheet(found[: arguments.limit or _ON_SHEET], arguments)
    return 0


def _read(arguments: Namespace) -> list[Found]:
    from manypose.evaluation.truth import read_truth
    from manypose.evaluation.visualize import read_found
    from manypose.skeleton import load_skeleton, read_skeleton, skeleton_names

    name = arguments.skeleton or "coco17"
    limit = arguments.limit
    if arguments.out is None:
        limit = min(limit or _ON_SHEET, MOST_ON_SHEET)
    return read_found(
        arguments.results,
        arguments.images,
        truth=None if arguments.truth is None else read_truth(arguments.truth),
        skeleton=load_skeleton(name) if name in skeleton_names() else read_skeleton(Path(name)),
        threshold=arguments.threshold,
        limit=limit,
    )


def _write_pictures(found: list[Found], arguments: Namespace) -> None:
    from manypose.evaluation.visualize import draw_found, output_names
    from manypose.images import write_image

    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{arguments.out}: cannot be made: {error.strerror}") from None
    with progress_bar("pictures") as progress:
        for done, (one, name) in enumerate(zip(found, output_names(found), strict=True), start=1):
            write_image(arguments.out / name, draw_found(one, scores=arguments.scores), overwrite=arguments.overwrite)
            progress(done, len(found))
    say(f"{counted(len(found), 'picture', 'pictures')} -> {arguments.out}")


def _write_sheet(found: list[Found], arguments: Namespace) -> None:
    from manypose.drawing.rows import row_sheet
    from manypose.evaluation.visualize import draw_found
    from manypose.images import write_image

    found = found[:MOST_ON_SHEET]
    drawn = []
    with progress_bar("pictures") as progress:
        for one in found:
            drawn.append(draw_found(one, long_side=_CELL, scores=arguments.scores))
            progress(len(drawn), len(found))
    sheet = row_sheet(drawn, captions=[one.caption for one in found], width=_WIDTH, height=_HEIGHT)
    write_image(arguments.sheet, sheet, overwrite=arguments.overwrite)
    say(f"{counted(len(drawn), 'picture', 'pictures')} -> {arguments.sheet}")
