"""What the commands that read data sets share: `--skip`, and how they tell of faults."""

from __future__ import annotations

import contextlib
import logging
from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Iterator, Sequence

from manypose.cli.terminal import complain

MOST_FAULTS = 20  # printed


def add_skip(parser: ArgumentParser | _ArgumentGroup) -> None:
    """The option `--skip`."""
    parser.add_argument(
        "--skip",
        action="store_true",
        help="leave out what is at fault, say so on stderr, and go on; the exit code stays 0",
    )


@contextlib.contextmanager
def readers_silent() -> Iterator[None]:
    """Keep the readers from logging what the command tells anyhow."""
    logger = logging.getLogger("manypose.data.faults")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def faults_in_own_words(*, skip: bool, option: str | None = "--skip") -> Iterator[None]:
    """Advise the command's `option` (None: it has none), not the library's argument, for a fault that stops it."""
    from manypose.data.faults import FaultyEntryError
    from manypose.errors import DataError

    try:
        yield
    except FaultyEntryError as error:
        advice = "" if skip or option is None else f", or leave such entries out with {option}"
        raise DataError(f"{error.fault}; mend it (`manypose data check` finds all){advice}") from None


def tell_left_out(faults: Sequence[object]) -> None:
    """Print what was left out."""
    for fault in faults[:MOST_FAULTS]:
        complain(f"left out: {fault}")
    if len(faults) > MOST_FAULTS:
        complain(f"... and {len(faults) - MOST_FAULTS} more; `manypose data check` lists all")
