"""Where the pictures of a data set lie, and how large they are."""

from __future__ import annotations

import functools
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from manypose.data.faults import FaultLog
from manypose.errors import DataError
from manypose.files import picture_place, read_member
from manypose.image_headers import HeaderError, read_header

_SPLIT = re.compile(r"(train|val|test)(2014|2017)?")
LONGEST_NAME = 255  # bytes of a file's or folder's name; asked for longer ones, operating systems fail
_YEARS = ("2017", "2014", "")


@dataclass
class PicturePlaces:
    """Finds the pictures that a file of labels names.

    They are in `images` (a folder or zip file) where it is given; else where the file says, beside the file or in
    `images` there, or as COCO lays them out: folders or zip files such as `val2017`, `images` and `images/val2017`,
    beside the file or its folder.
    """

    file: Path
    images: Path | None = None
    _candidates: list[tuple[Path, str]] = field(init=False)
    _folders: set[Path] = field(init=False)
    _listed: dict[tuple[Path, str], frozenset[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.images is not None and not self.images.exists():
            raise DataError(
                f"{self.images}: does not exist; give the folder or zip file of the pictures of {self.file}"
            )
        if self.images is not None and self.images.is_file() and not zipfile.is_zipfile(self.images):
            raise DataError(f"{self.images}: neither a folder nor a zip file of pictures, or a damaged one")
        found = _usual_places(self.file) if self.images is None else _with_parts(self.images, self.file)
        self._candidates = [place for place in dict.fromkeys(found) if place[0].exists()]
        self._folders = {archive for archive, _ in self._candidates if archive.is_dir()}

    def find(self, name: str, image: Mapping[str, Any] | None = None) -> tuple[Path, str]:
        """Folder or zip file, and name in it, of a picture; where it would be, when it is not there."""
        usual = picture_place(self.file, image or {})
        if self.images is None and image is not None and "zip" in image:
            return usual, name
        if self.images is None and _holds(usual, name):
            return usual, name
        last = PurePosixPath(name).name
        for position, (archive, prefix) in enumerate(self._candidates):
            for inside in dict.fromkeys((prefix + name, prefix + last)):
                if self._lists(archive, inside):
                    self._candidates.insert(0, self._candidates.pop(position))  # the next one is likely there, too
                    return archive, inside
        return self.images or usual, name

    def _lists(self, archive: Path, name: str) -> bool:
        """Whether a place holds a picture; each folder is listed once, since asking for every name takes far longer."""
        is_zip = archive not in self._folders
        folder, _, last = ("", "", name) if is_zip else name.rpartition("/")
        if (archive, folder) not in self._listed:
            found = _members(archive, archive.stat().st_mtime_ns) if is_zip else _files_in(archive / folder)
            self._listed[archive, folder] = found
        return last in self._listed[archive, folder]


def safe_name(name: Any) -> str:
    """A picture's name if it stays inside of its folder; raises `ValueError` otherwise."""
    text = str(name).replace("\\", "/") if name else ""
    if not text or text.startswith("/") or ".." in PurePosixPath(text).parts or ":" in text.split("/")[0]:
        raise ValueError(f"{name!r} is not the name of a picture inside of the data set")
    if max(len(part.encode("utf-8", "replace")) for part in text.split("/")) > LONGEST_NAME:
        raise ValueError(f"{text[:40]}... is too long for the name of a picture: {len(text)} letters")
    return text


def is_there(archive: Path, name: str) -> bool:
    """Whether a folder or zip file holds a picture."""
    return _holds(archive, name)


def picture_size(archive: Path, name: str) -> tuple[int, int]:
    """Width and height of an upright picture, from its header; raises `ValueError` when it is missing or broken."""
    try:
        header = read_header(read_member(archive, name))
    except DataError as error:
        raise ValueError(f"its picture is not to be had: {error}") from None
    except HeaderError as error:
        raise ValueError(f"its picture {archive / name} is broken: {error}") from None
    turned = header.orientation >= 5
    return (header.height, header.width) if turned else (header.width, header.height)


def check_there(faults: FaultLog, file: Path, entry: str, archive: Path, name: str) -> bool:
    """Whether a picture is there; its absence is reported."""
    if _holds(archive, name):
        return True
    faults.add(file, entry, f"its picture {name} is not in {archive}")
    return False


def _usual_places(file: Path) -> list[tuple[Path, str]]:
    found = []
    for folder in (file.parent, file.parent.parent):
        for base in (folder / "images", folder):
            found += _with_parts(base, file)
        found += _as_places(folder / "images.zip", "images/")
    return found


def _with_parts(base: Path, file: Path) -> list[tuple[Path, str]]:
    """A folder or zip file, and the parts of COCO in it that the name of the labels' file speaks of."""
    match = _SPLIT.search(file.stem)
    parts: list[str] = []
    if match:
        parts = [match[0]] if match[2] else [match[1] + year for year in _YEARS]
    if base.is_file():
        return [(base, prefix) for prefix in ("", *(f"{part}/" for part in parts), f"{base.stem}/")]
    places = [(base / part, "") for part in parts]
    for part in parts:
        places += _as_places(base / f"{part}.zip", f"{part}/")
    return [place for place in places if place[0].exists()] + [(base, "")]


def _as_places(archive: Path, prefix: str) -> list[tuple[Path, str]]:
    return [(archive, prefix), (archive, "")] if archive.is_file() else []


def _files_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def _holds(archive: Path, name: str) -> bool:
    if archive.is_dir():
        return (archive / name).is_file()
    return archive.is_file() and name in _members(archive, archive.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _members(archive: Path, _changed: int) -> frozenset[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return frozenset(opened.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset()
