"""Fetches published data sets: several files at once, resumed, checked, and unpacked as the readers expect them.

COCO and COCO-WholeBody: `annotations/*.json` beside `train2017/`, `val2017/` (or the zip files, left packed). MPII:
`images/`, `annotations/*.json` and `mpii_human_pose_v1_u12_2/*.mat`. LSP, LSP-extended: `joints.mat` and `images/`.
CrowdPose: `annotations/*.json` and `images/` (or `images.zip`).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from manypose.data.archives import unpack
from manypose.data.published_sets import SETS, Piece, PublishedSet
from manypose.download import SPARE, check_file, disk_faults, download, locked
from manypose.errors import DataError, DownloadError, ManyposeError
from manypose.files import write_bytes

Progress = Callable[[str, int, int | None], None]

NOTES = ".manypose"  # folder of the notes about what is there already
_SLACK = 3  # so many times the size that is known about comes out of an archive at most


@dataclass(frozen=True)
class Got:
    """What `get_dataset` did: names of the files fetched now, of those that were there, and pieces to get by hand."""

    folder: Path
    fetched: tuple[str, ...]
    present: tuple[str, ...]
    by_hand: tuple[Piece, ...]


def get_dataset(
    name: str,
    folder: Path,
    *,
    parts: Sequence[str] = (),
    sources: Sequence[Path] = (),
    mirror: str | None = None,
    packed: bool = False,
    keep: bool = False,
    overwrite: bool = False,
    jobs: int = 3,
    retries: int = 5,
    progress: Progress | None = None,
) -> Got:
    """Fetch a published data set into a folder, in the layout that the readers expect.

    `parts` ("train", "val", "test") limits it to them; by default all but the pictures without labels are fetched. Of a
    set whose parts are in the same files all is fetched for any of them.
    `sources` are files, or folders of files, that are there already: they are checked and used in place of a download,
    and never changed; the files of Google Drive can only come so. `mirror` replaces the start of all addresses.
    `packed` leaves zip files of pictures as they are; `keep` keeps the archives that were unpacked. `jobs` files are
    fetched at once. `progress` is called, from several threads, with a file's name, the bytes done, and the total.

    What is done is noted in the folder, so a second call does the rest only; `overwrite` does all anew. Files without
    an address that no source gives are left out and named in the result.

    Raises `DataError` for a name or part that does not exist; `DownloadError` when the disk is too small (nothing has
    been fetched then) or files could not be fetched (the others are complete); `OutputError` for files in the way.
    """
    published = _find(name)
    wanted = _choose(name, published, parts)
    given = _match(name, wanted, sources)
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
    job = _Job(name, folder, given, mirror, packed, keep, overwrite, retries, progress, threading.Event())
    with locked(folder / f"{NOTES}-{name}"):
        present = tuple(piece for piece in wanted if not overwrite and job.is_done(piece))
        open_pieces = [piece for piece in wanted if piece not in present]
        by_hand = tuple(piece for piece in open_pieces if piece.address is None and piece.name not in given)
        todo = [piece for piece in open_pieces if piece not in by_hand]
        _check_room(job, todo)
        _run(job, todo, jobs)
    return Got(folder, tuple(piece.name for piece in todo), tuple(piece.name for piece in present), by_hand)


def _find(name: str) -> PublishedSet:
    if name not in SETS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(SETS)}")
    return SETS[name]


def _choose(name: str, published: PublishedSet, parts: Sequence[str]) -> list[Piece]:
    for part in parts:
        if part not in published.parts:
            there = f"it has {', '.join(published.parts)}" if published.parts else "it comes as a whole"
            raise DataError(f"{name} has no part {part!r}: {there}")
    single = [part for part in parts if part not in published.together]  # the others need all that there is
    chosen = set(single or published.usual or published.parts) | {""}
    return [piece for piece in published.pieces if piece.part in chosen]


def _match(name: str, wanted: Sequence[Piece], sources: Sequence[Path]) -> dict[str, Path]:
    """The wanted files that are given, by the names under which they are published."""
    names = [piece.name for piece in wanted]
    found: dict[str, Path] = {}
    for source in sources:
        inside = {wanted: source / wanted for wanted in names if (source / wanted).is_file()}
        if source.is_file() and source.name in names:
            inside = {source.name: source}
        if not inside:
            what = "not there" if not source.exists() else f"none of the files of {name}"
            raise DataError(f"{source}: {what}; name it as it is published: {', '.join(names)}")
        found |= inside
    return found


@dataclass(frozen=True)
class _Job:
    name: str
    folder: Path
    given: dict[str, Path]
    mirror: str | None
    packed: bool
    keep: bool
    overwrite: bool
    retries: int
    progress: Progress | None
    stop: threading.Event

    def stays_packed(self, piece: Piece) -> bool:
        return not piece.unpacked or (self.packed and piece.pictures)

    def place(self, piece: Piece) -> Path:
        """Where the file itself lies: for good, or until it is unpacked."""
        folder = self.folder / piece.into if self.stays_packed(piece) else self.folder
        return folder / piece.name

    def note(self, piece: Piece) -> Path:
        return self.folder / NOTES / f"{piece.name}.json"

    def is_done(self, piece: Piece) -> bool:
        """Whether the piece was put there by an earlier call and the first and last of its files are still there."""
        try:
            note = json.loads(self.note(piece).read_bytes())
            same = note["packed"] == self.stays_packed(piece)
            return same and bool(note["files"]) and all((self.folder / file).is_file() for file in note["files"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return False

    def report(self, piece: Piece) -> Callable[[int, int | None], None]:
        def tell(done: int, total: int | None) -> None:
            if self.stop.is_set():
                raise DownloadError(f"{piece.name}: stopped; what has come is kept")
            if self.progress:
                self.progress(piece.name, done, total or piece.bytes or None)

        return tell


def _check_room(job: _Job, todo: Sequence[Piece]) -> None:
    """Raise `DownloadError` when the disk cannot hold what will come and what comes out of it."""
    needed = SPARE
    for piece in todo:
        part = job.place(piece).with_name(piece.name + ".part")
        here = next((file.stat().st_size for file in (job.place(piece), part) if file.is_file()), 0)
        if piece.name not in job.given or job.stays_packed(piece):
            needed += max(0, piece.bytes - here)
        if not job.stays_packed(piece):
            needed += piece.unpacked
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise DownloadError(
            f"{job.folder}: the disk is too small for {job.name}: about {needed / 1e9:.1f} GB needed (files, and what "
            f"comes out of them), {free / 1e9:.1f} GB free; make room, or ask for one part"
        )


def _run(job: _Job, todo: Sequence[Piece], jobs: int) -> None:
    """Get all pieces, several at once; those that can be had are complete before an error is raised."""
    failures: list[ManyposeError] = []
    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="get") as pool:
        running: set[Future[None]] = {pool.submit(_get, job, piece) for piece in todo}
        try:
            while running:
                done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, ManyposeError):
                        failures.append(error)
                    elif error is not None:
                        raise error
        except BaseException:
            job.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise DownloadError(f"{len(failures)} files could not be had: {'; '.join(map(str, failures))}")


def _get(job: _Job, piece: Piece) -> None:
    """Fetch a piece and put it into its place."""
    given = job.given.get(piece.name)
    file = job.place(piece)
    if given is not None:
        check_file(given, size=piece.size, md5=piece.md5)
        if job.stays_packed(piece):
            _copy(given, file, overwrite=job.overwrite)
    else:
        assert piece.address is not None  # those without one were left out
        address = piece.address if job.mirror is None else _mirrored(piece.address, job.mirror)
        download(
            address,
            file,
            size=piece.size,
            md5=piece.md5,
            retries=job.retries,
            progress=job.report(piece),
            overwrite=job.overwrite,
        )
    if job.stays_packed(piece):
        made = [file]
    else:
        limit = max(_SLACK * piece.unpacked, 10**9)
        made = unpack(
            given or file,
            job.folder / piece.into,
            limit=limit,
            flat=piece.flat,
            overwrite=job.overwrite,
            progress=job.report(replace(piece, name=f"unpack {piece.name}", size=None, about=piece.unpacked)),
        )
        if given is None and not job.keep:
            file.unlink()
    _write_note(job, piece, made)


def _copy(source: Path, file: Path, *, overwrite: bool) -> None:
    if file.exists() and (os.path.samefile(source, file) or not overwrite):
        check_file(file, size=source.stat().st_size)
        return
    part = file.with_name(file.name + ".part")
    with disk_faults(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        os.replace(part, file)


def _write_note(job: _Job, piece: Piece, made: Sequence[Path]) -> None:
    files = [file.relative_to(job.folder).as_posix() for file in (made[0], made[-1])]
    note = {"packed": job.stays_packed(piece), "number": len(made), "files": files}
    place = job.note(piece)
    with disk_faults(place):
        place.parent.mkdir(exist_ok=True)
    write_bytes(place, json.dumps(note, indent=1).encode(), overwrite=True)


def _mirrored(address: str, mirror: str) -> str:
    """An address with another start: the mirror, then the path of the original."""
    return mirror.rstrip("/") + urlsplit(address).path
