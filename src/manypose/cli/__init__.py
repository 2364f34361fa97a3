"""The command line: one file per command, which parses, calls the library and prints.

argparse and not Typer, since `--help` must come at once: Typer alone takes four times the CPU time to import. Commands
import the library in `run`, after the arguments are parsed.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from manypose import __version__
from manypose.cli import (
    calibrate,
    compare,
    convert,
    curves,
    data,
    doctor,
    evaluate,
    export,
    models,
    predict,
    recipes,
    repro,
    train,
    visualize,
)
from manypose.cli.arguments import HelpLayout
from manypose.cli.terminal import complain
from manypose.errors import ManyposeError

COMMANDS = {
    "predict": predict,
    "eval": evaluate,
    "visualize": visualize,
    "compare": compare,
    "calibrate": calibrate,
    "repro": repro,
    "models": models,
    "recipes": recipes,
    "train": train,
    "curves": curves,
    "export": export,
    "convert": convert,
    "data": data,
    "doctor": doctor,
}

FAILED, WRONG_USE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141

_EPILOG = """examples:
  manypose predict photo.jpg                draws the people and writes them as JSON, to the folder out
  manypose predict photos --json > people   one line of JSON for each photo
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (without the program's name); gives the exit code.

    0: all is well. 1: something could not be done, one line on stderr says what. 2: wrong use (raised as SystemExit by
    argparse, as is 0 for --help). 130: Ctrl-C. 141: whoever read our output has closed it.
    """
    try:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv))
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except ManyposeError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted; what is written stays")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which would print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser of the whole command line, and those of the commands by name."""
    parser = ArgumentParser(
        prog="manypose",
        description="Finds people in photos and trains, exports and measures the networks that do it.",
        epilog=_EPILOG,
        formatter_class=HelpLayout,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"manypose {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    return parser, {name: command.add_parser(subparsers) for name, command in COMMANDS.items()}


def _parse(argv: list[str]) -> Namespace:
    parser, commands = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        raise SystemExit(WRONG_USE)
    command, rest = commands.get(argv[0]), argv[1:]
    while command and rest and rest[0] in (inner := command.get_default("inner") or {}):
        command, rest = inner[rest[0]], rest[1:]
    if command and not command.get_default("inner") and "--" not in argv:
        # Intermixed, so that options may stand between inputs; it cannot deal with "--" and with commands.
        return command.parse_intermixed_args(rest)
    return parser.parse_args(argv)
