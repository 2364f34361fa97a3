"""`manypose data`: everything about data sets, one file for each thing that can be done with them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command
from manypose.cli.data import check, convert, get, masks, pack, preview, serve

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers

COMMANDS = {
    "get": get,
    "check": check,
    "convert": convert,
    "masks": masks,
    "pack": pack,
    "preview": preview,
    "serve": serve,
}


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command, with its own commands, to the command line."""
    parser = add_command(
        subparsers,
        "data",
        summary="Get, check, convert, pack, look at and serve data sets.",
        usage="COMMAND ...",
        examples=("manypose data get coco2017 coco --part val", "manypose data check coco --out checked"),
        run=_never,
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser.set_defaults(inner={name: command.add_parser(inner) for name, command in COMMANDS.items()})
    return parser


def _never(_: Namespace) -> int:
    raise AssertionError("the parser asks for one of the commands inside")
