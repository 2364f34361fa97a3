"""`manypose compare`: two runs of `manypose eval` beside each other."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.terminal import console, counted, literal, say, table
from manypose.errors import OutputError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.evaluation.compare import Comparison

_SHEETS = (".png", ".jpg", ".jpeg", ".webp")

_DETAILS = """\
A and B are folders that `manypose eval --out` has written, of the same labels and
pictures. Prints each figure of both, the difference A - B, and its 95 % interval: the
same pictures are drawn again for both, so it is narrower than those of the figures.
A * marks the differences whose interval leaves out 0."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "compare",
        summary="Put two evaluations side by side.",
        usage="A B [options]",
        details=_DETAILS,
        examples=(
            "manypose compare measured/new measured/old",
            "manypose compare measured/flip measured/plain --out difference.html --top 20",
        ),
        run=run,
    )
    parser.add_argument("first", type=Path, metavar="A", help="folder of a run")
    parser.add_argument("second", type=Path, metavar="B", help="folder of another run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a page (.html) or contact sheet (.png, .jpg, .webp) with pictures"
    )
    parser.add_argument(
        "--top",
        type=whole_number(0, 200),
        default=12,
        metavar="N",
        help="the N pictures that differ most (default: 12)",
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="the labels, where they have moved")
    parser.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    out: Path | None = arguments.out
    if out is not None:
        if out.suffix.lower() not in (".html", *_SHEETS):
            raise OutputError(f"{out}: written as .html or as a picture ({', '.join(_SHEETS)}); give such a name")
        if out.exists() and not arguments.overwrite:
            raise OutputError(f"{out}: the file exists; choose another name, or allow overwriting (--overwrite)")
    from manypose.evaluation.compare import compare_runs
    from manypose.evaluation.run_folder import read_run

    names = _names(arguments.first, arguments.second)
    first, second = read_run(arguments.first), read_run(arguments.second)
    comparison = compare_runs(first, second, names=names, data=arguments.data)
    _print(comparison, arguments.top)
    if out is not None:
        _write(comparison, out, arguments)
        say(f"-> {out}")
    return 0


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The last parts of the folders' paths by which they differ."""
    ends = [path.absolute().parts for path in (first, second)]
    for count in range(1, max(map(len, ends)) + 1):
        names = [str(Path(*end[-count:])) for end in ends]
        if names[0] != names[1]:
            return names[0], names[1]
    return f"{first.name} (A)", f"{second.name} (B)"


def _print(comparison: Comparison, top: int) -> None:
    from manypose.evaluation.compare_page import figure_name
    from manypose.evaluation.report import describe_picture

    first, second = map(literal, comparison.names)
    shown = table("figure", first, second, "A - B", "95 % interval", "", right=(first, second, "A - B"))
    for one in comparison.differences:
        interval = f"{one.low:+.3f} to {one.high:+.3f}" if math.isfinite(one.low) else "-"
        mark = "*" if one.is_clear else ""
        figures = (f"{one.first:.3f}", f"{one.second:.3f}", f"{one.difference:+.3f}")
        shown.add_row(literal(figure_name(one.name)), *figures, interval, mark)
    pictures = counted(len(comparison.truth.image_ids), "picture", "pictures")
    say(f"A = {comparison.names[0]}, B = {comparison.names[1]}, on {pictures} of {comparison.truth.name}")
    console().print(shown)
    different = comparison.most_different(top)
    if different and comparison.scores is not None:
        shown = table("pictures that differ most", first, second, "A - B", right=(first, second, "A - B"))
        for image_id, a, b in different:
            shown.add_row(
                literal(describe_picture(comparison.truth, image_id)), f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}"
            )
        say(f"{comparison.scores[0].measure} of the labelled people, picture by picture")
        console().print(shown)


def _write(comparison: Comparison, out: Path, arguments: Namespace) -> None:
    from manypose.evaluation.compare_page import draw_comparison_sheet, make_comparison_page
    from manypose.files import write_bytes
    from manypose.images import write_image

    pictures = comparison.truth.read_picture
    if out.suffix.lower() == ".html":
        page = make_comparison_page(comparison, pictures=pictures, most=arguments.top)
        write_bytes(out, page, overwrite=arguments.overwrite)
        return
    sheet = draw_comparison_sheet(comparison, pictures=pictures, most=arguments.top)
    write_image(out, sheet, overwrite=arguments.overwrite)
