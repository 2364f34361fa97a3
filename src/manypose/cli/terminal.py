"""What the commands print: one line for an error, lines that no file name can spoil, bars and tables by rich."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NAME = "manypose"


def complain(message: str) -> None:
    """Print one line about what went wrong on stderr."""
    print(f"{NAME}: {one_line(message)}", file=sys.stderr, flush=True)


def one_line(text: str | PathLike[str]) -> str:
    """A text or path as one line that is safe on a terminal: what is not printable is escaped."""
    plain = fspath(text)
    return plain if plain.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in plain)


def literal(text: object) -> str:
    """A text of a file for a table of rich: no markup is found in it, and the terminal no commands."""
    from rich.markup import escape

    return escape(one_line(str(text)))


def say(text: str) -> None:
    """Print one line on stdout."""
    encoding = sys.stdout.encoding or "utf-8"
    print(one_line(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def counted(number: int, singular: str, plural: str) -> str:
    """ "1 person", "6 people"."""
    return f"{number} {singular if number == 1 else plural}"


def console() -> Console:
    """A console on stdout; colours only on a terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in `right` are set to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


@contextlib.contextmanager
def progress_bar(title: str, *, total: int | None = None, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal; gives a function to be called with what is done and the total."""
    if hidden or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Lines printed meanwhile go above the bar when both are on one terminal; never from a pipe into the terminal.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def bars_of_bytes() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each download on stderr, where that is a terminal.

    Gives a function to be called, from any thread, with a name, the bytes done, and the total or None.
    """
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks = {}
    lock = threading.Lock()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:

        def show(name: str, done: int, total: int | None) -> None:
            with lock:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
