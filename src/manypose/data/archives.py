"""Unpacks zip and tar files of strangers: nothing outside of the folder, no links, no more bytes than allowed."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from manypose.errors import DataError, OutputError

Progress = Callable[[int, int | None], None]

CHUNK = 1 << 20
MOST_FILES = 2_000_000
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)
SPARE = 1 << 26  # bytes that a disk keeps free


@dataclass(frozen=True)
class _Member:
    """A file of an archive: its name there, its declared size, and how to open it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    *,
    limit: int,
    flat: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Unpack a zip or tar file (also .gz, .bz2, .xz) into a folder and give the files' paths.

    At most `limit` bytes and 2,000,000 files come out. `flat` drops the folders of the archive. A file that is there
    already with the same content stays; with another content it is refused, unless `overwrite`. Every file appears in
    one step, so unpacking that was interrupted is simply done again; what came out of a damaged archive is removed.
    What macOS adds to zip files is left out. `progress` is called with the bytes done and the total, or None where
    the archive does not say.

    Raises `DataError` for a damaged or locked archive, one that is too large, or members that are links, devices, or
    would lie outside of the folder; `OutputError` where the disk is full, or another file of that name is there.
    """
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(archive):
                opened = stack.enter_context(zipfile.ZipFile(archive))
                total: int | None = sum(info.file_size for info in opened.infolist())
                members = _zip_members(archive, opened)
            else:
                total = None
                members = _tar_members(archive, stack.enter_context(tarfile.open(archive, "r:*")))
            _check_total(archive, folder, total, limit)
            return _unpack(_Job(archive, folder, limit, flat, overwrite, progress, total), members)
    except _DAMAGED as error:
        raise DataError(f"{archive}: damaged, or no zip or tar file: {error}; download it anew") from None
    except OSError as error:
        if error.errno is None:  # bz2 says so that its data are wrong
            raise DataError(f"{archive}: damaged: {error}; download it anew") from None
        raise OutputError(f"{archive}: cannot be unpacked into {folder}: {error.strerror or error}") from None


@dataclass(frozen=True)
class _Job:
    archive: Path
    folder: Path
    limit: int
    flat: bool
    overwrite: bool
    progress: Progress | None
    total: int | None


def _unpack(job: _Job, members: Iterator[_Member]) -> list[Path]:
    made: list[Path] = []
    try:
        _unpack_all(job, members, made)
    except (DataError, *_DAMAGED):
        for file in made:
            file.unlink(missing_ok=True)
        raise
    return made


def _unpack_all(job: _Job, members: Iterator[_Member], made: list[Path]) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    root = job.folder.resolve()
    done = 0
    for member in members:
        parts = _safe_parts(job.archive, member.name)
        if "__MACOSX" in parts or parts[-1].startswith("._"):
            continue
        file = job.folder / (parts[-1] if job.flat else Path(*parts))
        if not file.parent.resolve().is_relative_to(root):
            raise DataError(f"{job.archive}: {member.name} would lie outside of {job.folder}, behind a link")
        file.parent.mkdir(parents=True, exist_ok=True)
        done = _write(job, member, file, done)
        made.append(file)
        if len(made) > MOST_FILES:
            raise DataError(f"{job.archive}: more than {MOST_FILES} files")
    if not made:
        raise DataError(f"{job.archive}: there is no file in it")


def _write(job: _Job, member: _Member, file: Path, done: int) -> int:
    """Write a member beside its place, then put it there; gives the bytes that have come out so far."""
    part = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with member.open() as source, open(part, "xb") as target:
            while chunk := source.read(CHUNK):
                done += len(chunk)
                if done > job.limit:
                    raise DataError(f"{job.archive}: more than {job.limit} bytes come out of it, which is too much")
                target.write(chunk)
                if job.progress:
                    job.progress(done, job.total)
        if part.stat().st_size != member.size:
            raise DataError(f"{job.archive}: {member.name} is cut off; download the archive anew")
        if file.is_symlink() or file.is_dir() or (file.exists() and not job.overwrite and not _same(part, file)):
            raise OutputError(f"{file}: something else is there already; remove it, or allow overwriting")
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return done


def _same(a: Path, b: Path) -> bool:
    if a.stat().st_size != b.stat().st_size:
        return False
    with open(a, "rb") as one, open(b, "rb") as other:
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = info.external_attr >> 16
        if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{archive}: {info.filename} is a link or device, which is not unpacked")
        if info.flag_bits & 1:
            raise DataError(f"{archive}: {info.filename} is locked with a password; unpack it by hand")
        if not info.is_dir():
            yield _Member(info.orig_filename, info.file_size, lambda info=info: opened.open(info))  # type: ignore[misc]


def _tar_members(archive: Path, opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise DataError(f"{archive}: {info.name} is a link or device, which is not unpacked")

        def extract(info: tarfile.TarInfo = info) -> IO[bytes]:
            stream = opened.extractfile(info)
            assert stream is not None  # it is a regular file
            return stream

        yield _Member(info.name, info.size, extract)
    while opened.fileobj is not None and opened.fileobj.read(CHUNK):
        pass  # to the end of the compressed data, where their checksum is


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """The folders and the name of a member; raises `DataError` when they lead elsewhere."""
    path = PurePosixPath(name)
    bad = path.is_absolute() or not path.parts or ".." in path.parts
    if bad or "\\" in name or ":" in path.parts[0] or not name.isprintable():
        raise DataError(f"{archive}: the member {name!r} does not name a place inside of the folder")
    return path.parts


def _check_total(archive: Path, folder: Path, total: int | None, limit: int) -> None:
    if total is None:
        return
    if total > limit:
        raise DataError(f"{archive}: {total} bytes would come out of it, more than the {limit} that are allowed")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < total + SPARE:
        raise OutputError(f"{folder}: the disk is full: {(total + SPARE) / 1e6:.0f} MB needed, {free / 1e6:.0f} free")
