"""Files written so that nobody ever sees half of one and nobody's is overwritten unasked; files read out of zips."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manypose.errors import DataError, OutputError


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write a file in one step: under another name first, then renamed.

    Raises `OutputError` when the file exists and `overwrite` is false, when its folder is not there, or when the disk
    refuses it; whatever happens, no half-written file is left.
    """
    with new_file(path, overwrite=overwrite) as temporary, open(temporary, "xb") as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """The same for a file that is written piece by piece: gives the path to write to, which is renamed at the end."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: the file exists; choose another name, or allow overwriting")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        _rename(temporary, path, overwrite=overwrite)
    except FileExistsError:
        raise OutputError(f"{path}: somebody else has just written that file; choose another name") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # unlike a rename, it fails where a file has appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.replace(temporary, path)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there; raises `OutputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from None


def read_member(place: Path, name: str) -> bytes:
    """A file of a folder or of a zip file; raises `DataError` when it cannot be had."""
    try:
        return (place / name).read_bytes() if place.is_dir() else _open_zip(place).read(name)
    except KeyError:
        raise DataError(f"{place}: cannot read {name}: the zip file does not hold it") from None
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{place}: cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


_zips: dict[Path, tuple[tuple[int, int, int], zipfile.ZipFile]] = {}


def _open_zip(place: Path) -> zipfile.ZipFile:
    """The zip file, kept open until another one is in its place."""
    status = place.stat()
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = _zips.get(place)
    if known is None or known[0] != stamp:
        known = _zips[place] = (stamp, zipfile.ZipFile(place))
    return known[1]


if hasattr(os, "register_at_fork"):  # processes that share a handle would share its place in the file
    os.register_at_fork(after_in_child=_zips.clear)


def picture_place(file: Path, image: Mapping[str, Any]) -> Path:
    """Where the picture of an `images` row of a COCO-style file lies: its `zip`, or the file's folder or `images`."""
    if "zip" in image:
        return file.parent / str(image["zip"])
    return file.parent / "images" if (file.parent / "images").is_dir() else file.parent


def sha256_of(file: Path) -> str:
    """Hash of a file, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
