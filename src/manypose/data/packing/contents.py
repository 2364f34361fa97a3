"""What an HDF5 or LMDB file holds, found out in a process of its own.

libhdf5 and liblmdb trust their files: a few flipped bits make libhdf5 run for ever or crash, and a file of LMDB that
was cut short crashes whoever touches the missing end. Here that is a `DataError`. The child goes through everything
that is needed later and writes down where in the file it lies, so that HDF5's arrays are read without libhdf5.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manypose.child import read_in_child, refuse
from manypose.errors import DataError

LARGEST_TEXT = 1 << 24

# What h5py and lmdb raise where bits of a file are wrong.
BROKEN = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


def list_contents(place: Path, kind: str) -> list[dict[str, Any]]:
    """The entries of a file, in the order of their names; `kind` is "hdf5" or "lmdb".

    Of HDF5: `name`; `shape` and, of arrays of bytes that lie in one piece, `offset`; `text` of texts; `meta`, the
    attribute. Of LMDB: `name` and `length`. Raises `DataError` for what is not such a file, or is damaged.
    """
    if not place.exists():
        raise DataError(f"{place}: there is no such file")
    size = place.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "contents.jsonl"
        try:
            read_in_child(
                __name__,
                kind,
                str(place.absolute()),
                str(target),
                size=size,
                error=DataError,
                advice="pack or fetch it anew",
            )
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
        with target.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def list_hdf5(place: Path) -> Iterator[dict[str, Any]]:
    """Entries of the groups of an HDF5 file, two levels deep; links to other files are not followed."""
    import h5py

    with h5py.File(place, "r") as file:
        for group_name in sorted(file):
            group = _hard_linked(file, group_name, h5py)
            if not isinstance(group, h5py.Group):
                continue
            for name in sorted(group):
                dataset = _hard_linked(group, name, h5py)
                if isinstance(dataset, h5py.Dataset):
                    yield {"name": f"{group_name}/{name}", **_describe(dataset, h5py)}


def _hard_linked(group: Any, name: str, h5py: Any) -> Any:
    return group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None


def _describe(dataset: Any, h5py: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if dataset.dtype == "u1":
        if dataset.external:
            raise ValueError(f"{dataset.name} keeps its bytes in another file")
        found = {"shape": list(dataset.shape), "offset": dataset.id.get_offset()}
    elif dataset.shape == () and h5py.check_string_dtype(dataset.dtype):
        found = {"text": _as_text(dataset[()])}
    if "meta" in dataset.attrs:
        found["meta"] = _as_text(dataset.attrs["meta"])
    return found


def _as_text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"a text of {len(text)} characters")
    return text


def list_lmdb(place: Path) -> Iterator[dict[str, Any]]:
    """Keys and lengths of the values of an LMDB; both ends of each value are touched."""
    import lmdb

    try:
        with (
            lmdb.open(str(place), readonly=True, lock=False, subdir=False, readahead=False) as environment,
            environment.begin(buffers=True) as transaction,
        ):
            for key, value in transaction.cursor():
                ends = bytes(value[:1]) + bytes(value[-1:])
                yield {"name": bytes(key).decode("ascii"), "length": len(value) if ends else 0}
    except lmdb.Error as error:
        raise ValueError(str(error)) from None


def main(kind: str, source: str, target: str) -> int:
    """List a file for another process, which `list_contents` started."""
    walk = {"hdf5": list_hdf5, "lmdb": list_lmdb}[kind]
    try:
        with open(target, "w", encoding="utf-8") as lines:
            for entry in walk(Path(source)):
                lines.write(json.dumps(entry) + "\n")
    except BROKEN as error:
        return refuse(f"not a file of {kind.upper()}, or damaged: {str(error)[:200]}; pack or fetch it anew")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
