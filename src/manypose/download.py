"""Files fetched from the web: resumed where they broke off, checked, and never seen half done; the user's cache."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from manypose.errors import DownloadError
from manypose.web import Answer, Broken, Stream, check_address, open_address, why

Progress = Callable[[int, int | None], None]

CHUNK = 1 << 18
LARGEST = 1 << 37  # bytes; the largest archive of a data set that we know takes a seventh of it
SPARE = 1 << 26  # bytes that a disk keeps free
ENOUGH = 1 << 20  # bytes that make an attempt count as a good one although it broke off
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts, doubled each time
LOCK_WAIT = 0.1  # seconds between two looks at a lock

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder of what manypose fetches: MANYPOSE_CACHE, or `manypose` in the system's folder for caches.

    Raises `DownloadError` where the user has no home folder. The folder may not exist yet.
    """
    if given := os.environ.get("MANYPOSE_CACHE"):
        return Path(given).expanduser().absolute()
    system = sys.platform
    try:
        if system == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif system == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            named = os.environ.get("XDG_CACHE_HOME", "")
            base = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    except RuntimeError:
        raise DownloadError("this user has no home folder; name a folder for the cache in MANYPOSE_CACHE") from None
    return base / "manypose"


def download(
    url: str,
    file: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    sha256_prefix: str | tuple[str, ...] | None = None,
    progress: Progress | None = None,
    retries: int = 5,
    timeout: float = 30.0,
    limit: int = LARGEST,
    overwrite: bool = False,
) -> Path:
    """Fetch a file by http, https or file address and give its path; its folder is made.

    `size` is in bytes; the hashes are hexadecimal digits, `sha256_prefix` the first ones (or several such, of which
    one must fit). `progress` is called with the bytes done and the total or None. `retries` attempts in a row may fail,
    with growing pauses; `timeout` is the longest silence, in seconds; `limit` the most bytes that are taken.

    What has come stays in `<file>.part` when the connection breaks, and the next attempt, or the next call, goes on
    from there if the server can and if an ETag, a date or a hash vouches for the two halves belonging together. A file
    that is there already is checked and given back, unless `overwrite`. Two calls for one file wait for each other.

    Raises `DownloadError`: the address, the server, the disk, or a file that is not the expected one (it is removed).
    """
    expected = _Expected(size, sha256, md5, sha256_prefix)
    check_address(url)
    with disk_faults(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file):
        if file.exists() and not overwrite:
            check_file(file, size=size, sha256=sha256, md5=md5, sha256_prefix=sha256_prefix)
            return file
        limit = limit if size is None else min(limit, size)
        job = _Job(url, file, expected, progress or (lambda done, total: None), retries, timeout, limit)
        with disk_faults(file):
            _fetch_checked(job)
            os.replace(job.part, file)
            job.drop()
    return file


def check_file(
    file: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    sha256_prefix: str | tuple[str, ...] | None = None,
) -> None:
    """Raise `DownloadError` when a file does not have the size and hashes that are given (see `download`)."""
    try:
        fault = _Expected(size, sha256, md5, sha256_prefix).fault(file)
    except OSError as error:
        raise DownloadError(f"{file}: cannot be read: {error.strerror or error}") from None
    if fault:
        raise DownloadError(f"{file}: not the expected file: {fault}")


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file, `<file>.lock`, which goes with the process; waits while another holds it."""
    path = file.with_name(file.name + ".lock")
    handle = _lock(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open; an old lock file does no harm
            path.unlink()
        handle.close()


@dataclass(frozen=True)
class _Expected:
    """What is known of a file before it comes."""

    size: int | None
    sha256: str | None
    md5: str | None
    sha256_prefix: str | tuple[str, ...] | None

    @property
    def hashed(self) -> bool:
        return bool(self.sha256 or self.md5 or self.sha256_prefix)

    def fault(self, file: Path) -> str:
        """What is wrong with a file, or nothing."""
        found = file.stat().st_size
        if self.size is not None and found != self.size:
            return f"it has {found} bytes, expected {self.size}"
        if self.md5:
            digest = _digest(file, "md5")
            if digest != self.md5.lower():
                return f"its MD5 is {digest}, expected {self.md5}"
        starts = tuple(start for start in (self.sha256, self.sha256_prefix) if start)
        if starts:
            digest = _digest(file, "sha256")
            for start in starts:
                if not digest.startswith(start if isinstance(start, tuple) else start.lower()):
                    shown = " or ".join(start) if isinstance(start, tuple) else start
                    return f"its SHA-256 is {digest}, expected {shown}{'' if len(shown) == 64 else ' at its start'}"
        return ""


@dataclass(frozen=True)
class _Job:
    url: str
    file: Path
    expected: _Expected
    progress: Progress
    retries: int
    timeout: float
    limit: int

    @property
    def part(self) -> Path:
        return self.file.with_name(self.file.name + ".part")

    @property
    def note(self) -> Path:
        """What the part is a part of: the address and what the server called the version."""
        return self.file.with_name(self.file.name + ".part.json")

    def kept(self) -> tuple[int, str | None]:
        """How many bytes of an earlier attempt can be gone on from, and what names their version."""
        size = self.part.stat().st_size if self.part.is_file() else 0
        try:
            note = json.loads(self.note.read_bytes())
            version = note["version"] if note["url"] == self.url else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            version = None
        version = version if isinstance(version, str) and version.isprintable() else None
        too_long = self.expected.size is not None and size > self.expected.size
        return (0, None) if too_long or not (version or self.expected.hashed) else (size, version)

    def drop(self) -> None:
        """Remove the part and its note."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _fetch_checked(job: _Job) -> None:
    """Fill the part and check it; one that was put together from pieces and is wrong is fetched once more in one."""
    for _ in range(2):
        resumed = _fetch(job)
        fault = job.expected.fault(job.part)
        if not fault:
            return
        job.drop()
        if not resumed:
            break
    raise DownloadError(f"{job.url}: what came is not the expected file and was removed: {fault}")


def _fetch(job: _Job) -> bool:
    """Fill the part, in as many attempts as it takes; whether it was put together from pieces."""
    failures, resumed = 0, False
    while True:
        start, version = job.kept()
        if start and start == job.expected.size:
            return True
        try:
            answer = open_address(job.url, start, version, timeout=job.timeout)
            if answer is None and start:
                answer = open_address(job.url, timeout=job.timeout)
            if answer is None:
                raise DownloadError(f"{job.url}: the server sends a part of the file, which nobody asked for")
            resumed = answer.start > 0
            with contextlib.closing(answer.stream):
                _store(job, answer)
            return resumed
        except Broken as broken:
            failures = 0 if job.kept()[0] - start >= ENOUGH else failures + 1
            if failures > job.retries:
                kept = f"; what has come is kept in {job.part}, try again later" if job.part.exists() else ""
                raise DownloadError(f"{job.url}: {broken}, in {failures} attempts{kept}") from None
            time.sleep(min(max(FIRST_WAIT * 2 ** max(failures - 1, 0), broken.wait), LONGEST_WAIT))


def _store(job: _Job, answer: Answer) -> None:
    """Write what comes to the part; raises `Broken` when it ends too early."""
    total = answer.total if answer.total is not None else job.expected.size
    _check_room(job, total, answer.start)
    done = answer.start
    with open(job.part, "ab" if answer.start else "wb") as part:
        job.note.write_text(json.dumps({"url": job.url, "version": answer.version}), encoding="utf-8")
        job.progress(done, total)
        while chunk := _read(answer.stream):
            done += len(chunk)
            if done > job.limit:
                break
            part.write(chunk)
            job.progress(done, total)
        part.flush()
        os.fsync(part.fileno())
    if done > job.limit:
        job.drop()
        raise DownloadError(f"{job.url}: larger than {job.limit} bytes, which is the most that is taken")
    if not answer.whole or (total is not None and done < total):
        raise Broken(f"the connection broke off after {done} of {total} bytes")
    if total is None and not answer.bounded and not job.expected.hashed:
        raise DownloadError(f"{job.url}: the server does not say how long the file is; give its size or a hash of it")


def _read(stream: Stream) -> bytes:
    try:
        return stream.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection broke off: {why(error)}") from None


def _check_room(job: _Job, total: int | None, start: int) -> None:
    """Raise `DownloadError` for a file that is too large for its limit, another than expected, or for the disk."""
    if total is None:
        return
    if job.expected.size not in (None, total):
        raise DownloadError(f"{job.url}: not the expected file: it has {total} bytes, expected {job.expected.size}")
    if total > job.limit:
        raise DownloadError(f"{job.url}: {total} bytes, more than the {job.limit} that are taken at most")
    taken = job.part.stat().st_size if start == 0 and job.part.exists() else 0  # will be written over
    free = shutil.disk_usage(job.part.parent).free + taken
    if free < total - start + SPARE:
        needed = (total - start + SPARE) / 1e6
        raise DownloadError(f"{job.file}: the disk is full: {needed:.0f} MB needed, {free / 1e6:.0f} MB free")


@contextlib.contextmanager
def disk_faults(file: Path) -> Iterator[None]:
    """Turn errors of the disk into a `DownloadError` that names the file."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))  # Windows has no EDQUOT
        reason = "the disk is full; what has come is kept, make room and try again" if full else why(error)
        raise DownloadError(f"{file}: cannot be written: {reason}") from None


def _digest(file: Path, kind: str) -> str:
    with open(file, "rb") as stream:
        # Told so, a Python that refuses MD5 for security's sake lets it pass for a checksum.
        return hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _lock(path: Path) -> IO[bytes]:
    """Open and lock a file, which is the one at that path: it may have been removed while we waited."""
    told = False
    while True:
        with disk_faults(path):
            handle = open(path, "ab")  # noqa: SIM115 - it stays open as long as the lock is held
            try:
                if _try_lock(handle):
                    if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                        return handle
                elif not told:
                    _log.warning("waiting for another program that is making %s", path.with_suffix(""))
                    told = True
            except FileNotFoundError:
                pass
            except BaseException:
                handle.close()
                raise
            handle.close()
        time.sleep(LOCK_WAIT)


def _try_lock(handle: IO[bytes]) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
