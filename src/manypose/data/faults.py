"""Faults of data sets: each names its file and entry; a reader stops at the first one, or leaves it out and goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from manypose.errors import DataError

OnFault: TypeAlias = Literal["stop", "skip"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """What is wrong with an entry (such as "annotation 17") of a file."""

    file: Path
    entry: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.entry}: {self.text}"


class FaultyEntryError(DataError):
    """A reader stops at a fault, which is in `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.fault}; mend it, or leave such entries out with on_fault='skip'"


@dataclass(frozen=True)
class FaultLog:
    """Where a reader reports faults: it stops at the first, or collects them in `found` (and logs them)."""

    on_fault: OnFault = "stop"
    found: list[Fault] = field(default_factory=list)

    def add(self, file: Path, entry: str, text: str) -> None:
        """Report a fault; raises `FaultyEntryError` unless faults are to be skipped."""
        fault = Fault(file, entry, text)
        if self.on_fault == "stop":
            raise FaultyEntryError(fault)
        self.found.append(fault)
        _logger.warning("left out: %s", fault)


def make_log(on_fault: OnFault, found: list[Fault] | None) -> FaultLog:
    """A log that collects in the caller's own list, where he gave one; raises `DataError` for another wish."""
    if on_fault not in ("stop", "skip"):
        raise DataError(f"on_fault is {on_fault!r}; it must be 'stop' or 'skip'")
    return FaultLog(on_fault, [] if found is None else found)


def load_json(file: Path, what: str) -> Any:
    """The content of a JSON file; raises `DataError` that says that `file` is not `what`."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))  # a mark at its start is no fault
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: give the path of {what}") from None
    except (ValueError, RecursionError) as error:  # JSON, UTF-8, or lists in lists without end
        raise DataError(f"{file}: not {what}: {type(error).__name__} {error}") from None
