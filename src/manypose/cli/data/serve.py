"""`manypose data serve`: makes the samples of a recipe and hands them to trainers, here or on other machines."""

from __future__ import annotations

import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.data.skipping import add_skip, faults_in_own_words
from manypose.cli.terminal import counted, say

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.samples import FieldSamples
    from manypose.data.serving.server import Status
    from manypose.training.recipe import Recipe

BIND = "tcp://127.0.0.1:5555"
_DETAILS = """\
In mode compact clients ask for samples and are told the end of an epoch; mode classic
pushes the messages of the Keras product's server of 2017 and suits its trainers.
An address that other machines reach needs --key FILE, on both sides.
Ctrl-C and SIGTERM end it. Needs the extra: pip install 'manypose[train]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "serve",
        summary="Make the samples of a recipe and serve them to trainers.",
        usage="RECIPE [key=value...] [options]\n--make-key FILE",
        group="data ",
        details=_DETAILS,
        examples=(
            "manypose data serve recipes/ladder.yaml root=DATA --workers 8",
            "manypose data serve recipes/ladder.yaml --bind 'tcp://*:5555' --key samples.key --part 1/3",
        ),
        run=run,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", nargs="?", help="a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings in place of those in the recipe")
    group = parser.add_argument_group("what is served")
    group.add_argument("--split", choices=("train", "val"), default="train", help="(default: train)")
    group.add_argument(
        "--val-size",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share of the pictures that train leaves out and val is made of, the same on all servers (default: as "
        "the recipe says)",
    )
    group.add_argument("--epochs", type=whole_number(1), metavar="N", help="end after N epochs (default: never)")
    group.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="I/N",
        help="make the I-th of N parts of each epoch (default: 1/1)",
    )
    add_skip(group)
    group = parser.add_argument_group("how it is served")
    group.add_argument("--bind", default=BIND, metavar="ADDRESS", help=f"(default: {BIND})")
    group.add_argument("--mode", choices=("compact", "classic"), default="compact", help="(default: compact)")
    group.add_argument("--key", type=Path, metavar="FILE", help="only clients with this key may read")
    group.add_argument("--make-key", type=Path, metavar="FILE", help="make a key for servers and clients, and end")
    group.add_argument(
        "--workers", type=whole_number(0, 1024), default=1, metavar="N", help="processes that make samples (default: 1)"
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    if (arguments.make_key is None) == (arguments.recipe is None):
        arguments.parser.error("give either a RECIPE, or --make-key FILE")
    from manypose.data.serving.access import check_address, make_key, read_key

    if arguments.make_key is not None:
        make_key(arguments.make_key)
        say(f"{arguments.make_key}: a new key; servers and clients need a copy of it, and nobody else")
        return 0
    key = read_key(arguments.key) if arguments.key is not None else None
    check_address(arguments.bind, key)  # before pictures are read
    return _serve(arguments, key)


def _serve(arguments: Namespace, key: Any) -> int:
    from manypose.data.serving.compact import Stream
    from manypose.data.serving.server import ByNumber, serve
    from manypose.errors import require
    from manypose.training.library import find_recipe
    from manypose.training.recipe_file import read_recipe

    for module in ("torch", "lightning", "zmq"):
        require(module, extra="train")
    recipe = read_recipe(find_recipe(arguments.recipe), arguments.overrides)
    with faults_in_own_words(skip=arguments.skip):
        samples = make_samples(recipe, split=arguments.split, val_size=arguments.val_size, skip=arguments.skip)
    part, parts = arguments.part
    stream = Stream(
        seed=recipe.seed,
        length=len(samples),
        epochs=arguments.epochs,
        part=part,
        parts=parts,
        split=arguments.split,
    )
    pictures = counted(len(samples), "picture", "pictures")
    say(f"{arguments.bind}: {arguments.split} samples of {pictures}, mode {arguments.mode}; Ctrl-C ends it")
    stop = _stop_on_signals()
    line = _StatusLine()
    status = serve(
        ByNumber(samples, len(samples)),
        arguments.bind,
        stream,
        mode=arguments.mode,
        key=key,
        workers=arguments.workers,
        stop=stop,
        report=line.show,
    )
    line.clear()
    say(_describe(status))
    return 0


def make_samples(recipe: Recipe, *, split: str, val_size: float = 0.0, skip: bool = False) -> FieldSamples:
    """The samples that training by a recipe sees, or, of the split `val`, such samples of the pictures it leaves out.

    `val_size` above 0 counts in place of the recipe's own. With `skip`, labels and pictures at fault are left out, also
    where the recipe does not say so. Raises `DataError` as the readers do, and for recipes without such samples.
    """
    from manypose.data.samples import FieldSamples
    from manypose.errors import DataError
    from manypose.training import loaders
    from manypose.training.task import make_task

    if any(source.file is None for source in recipe.data):
        raise DataError("this recipe has its samples from a server; serve the recipe of a data set")
    changes = {"val_size": val_size} if val_size else {}
    task = make_task(recipe.model_copy(update=changes | ({"skip_broken": True} if skip else {})))
    train, val = loaders.read_pictures(task)
    if split == "val" and not val:
        raise DataError("the recipe has no pictures for validation; split some off with --val-size SHARE")
    samples = loaders.make_samples(task, train if split == "train" else val)
    if not isinstance(samples, FieldSamples):
        raise DataError("samples of single people cannot be served, only those of bottom-up networks")
    return samples


def _stop_on_signals() -> Callable[[], bool]:
    asked: list[int] = []

    def stop(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return lambda: bool(asked)


class _StatusLine:
    """One line on a terminal that is written over; a line each minute where stderr is none."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.shown = time.monotonic()

    def show(self, status: Status) -> None:
        if self.terminal:
            print(f"\r\x1b[K{_describe(status)}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.shown >= 60:
            self.shown = time.monotonic()
            print(_describe(status), file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _describe(status: Status) -> str:
    rate = status.samples / max(status.seconds, 1e-9)
    size = status.size / max(status.samples, 1)
    clients = "" if status.clients is None else f", {counted(status.clients, 'client', 'clients')}"
    return f"{counted(status.samples, 'sample', 'samples')}, {rate:.1f} a second, {size:,.0f} bytes each{clients}"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text!r} is not a share from 0 to below 1")
    return value


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) < 2**16):
        raise ArgumentTypeError(f"{text!r} is not a part like 1/3")
    return int(part), int(parts)
