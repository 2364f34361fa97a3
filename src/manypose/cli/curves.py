"""`manypose curves`: what training runs have logged, drawn side by side."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, number, whole_number
from manypose.cli.terminal import counted, say
from manypose.errors import OutputError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers

_DETAILS = """\
RUN is the folder that `manypose train` wrote, out/name of its recipe; one that was
resumed gives one curve. Drawn are the loss, its stages, AP on the validation pictures
and the learning rate. Of a run by the recipe of CMU's first network or of the Keras
product, the loss that these published is drawn beside it.
Needs the extra: pip install 'manypose[plot]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "curves",
        summary="Draw the losses, AP and learning rates of training runs.",
        usage="RUN... [options]",
        details=_DETAILS,
        examples=(
            "manypose curves runs/first runs/second -o curves.png",
            "manypose curves runs/first --metrics loss,val_metric --log",
        ),
        run=run,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("curves.png"), metavar="FILE", help="a PNG file (default: curves.png)"
    )
    parser.add_argument(
        "--metrics", type=_names, default=(), metavar="A,B", help="a panel for each of these columns of metrics.csv"
    )
    parser.add_argument(
        "--smooth", type=_share, metavar="S", help="0 (not at all) to below 1 (default: by the length of the run)"
    )
    parser.add_argument("--log", action="store_true", help="logarithmic axes for losses and rates")
    parser.add_argument("--width", type=whole_number(320, 16000), default=1600, metavar="PIXELS", help="default: 1600")
    parser.add_argument("--height", type=whole_number(240, 16000), default=900, metavar="PIXELS", help="default: 900")
    parser.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    file = arguments.output
    if file.exists() and not arguments.overwrite:
        raise OutputError(f"{file}: the file exists; choose another name, or allow overwriting (--overwrite)")
    from manypose.training.curves import Look, draw_curves

    look = Look(smoothing=arguments.smooth, log=arguments.log, size=(arguments.width, arguments.height))
    published = draw_curves(arguments.runs, file, metrics=arguments.metrics, look=look, overwrite=arguments.overwrite)
    for curve in published:
        say(f"dashed: {curve.label}: {curve.source}")
    say(f"{counted(len(arguments.runs), 'run', 'runs')} -> {file}")
    return 0


def _share(text: str) -> float:
    value = number(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text} is not 0 or more and below 1")
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ArgumentTypeError(f"{text!r} is not a list of names with commas between them, like loss,val_metric")
    return names
