"""Mask files that the original products have made: which pictures they belong to."""

from __future__ import annotations

import dataclasses
import re
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.errors import DataError

# train2014_mask_miss_000000000009.png, mask_all_000000000009.png, mask_miss/000000000009.png, ...
_NAME = re.compile(r"mask_(miss|all)(?:_|/|/[^/]*?)0*(\d+)\.png$")
_SPLIT = re.compile(r"(train|val|test)\d{4}")


def attach_masks(pictures: Sequence[LabelledPicture], place: Path) -> list[LabelledPicture]:
    """The pictures with their mask files from `place`: a folder, a zip file, or a mask.tar.gz, which is unpacked.

    Files are called as the products do: `train2014_mask_miss_<id>.png`, `mask_all_<id>.png`, or lie in folders
    `mask_miss` and `mask_all`; they belong to the picture of that id (or number in its name) and, where both names
    say one, of the same split. Raises `DataError` when the place holds no mask, or none of these pictures.
    """
    place = _unpack(place) if place.is_file() and place.name.endswith((".tar.gz", ".tgz", ".tar")) else place
    found: dict[tuple[str, int], dict[str, str]] = {}
    for name in _names(place):
        match = _NAME.search(name)
        if match:
            found.setdefault((_split_of(name), int(match[2])), {})[match[1]] = name
    if not found:
        raise DataError(f"{place}: holds no masks; expected files such as mask_miss_000000000009.png")
    numbers = {number for _, number in found}
    joined = [_attach(picture, place, found, numbers) for picture in pictures]
    if pictures and not any(picture.masks for picture in joined):
        raise DataError(f"{place}: none of its {len(found)} masks is of one of the {len(pictures)} pictures")
    return joined


def _attach(
    picture: LabelledPicture, place: Path, found: dict[tuple[str, int], dict[str, str]], numbers: set[int]
) -> LabelledPicture:
    number = _number_of(picture)
    if number not in numbers:
        return picture
    split = _split_of(picture.name) or _split_of(picture.archive.name)
    keys = [key for key in found if key[1] == number] if not split else [(split, number), ("", number)]
    names = next((found[key] for key in keys if key in found), None)
    if names is None:
        return picture
    return dataclasses.replace(picture, masks=MaskFiles(place, names.get("miss"), names.get("all")))


def _number_of(picture: LabelledPicture) -> int:
    if isinstance(picture.id, int):
        return picture.id
    digits = re.findall(r"\d+", Path(picture.name).stem)
    return int(digits[-1]) if digits else -1


def _split_of(name: str) -> str:
    match = _SPLIT.search(name)
    return match[0] if match else ""


def _names(place: Path) -> list[str]:
    if place.is_dir():
        return sorted(file.relative_to(place).as_posix() for file in place.rglob("*.png"))
    try:
        with zipfile.ZipFile(place) as opened:
            return opened.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        text = getattr(error, "strerror", None) or error
        raise DataError(f"{place}: cannot be read: {text}; give a folder, a zip file or a mask.tar.gz") from None


def _unpack(archive: Path) -> Path:
    """The folder beside a tar file that holds what is in it, made when it is not there."""
    folder = archive.with_name(archive.name.split(".tar")[0].removesuffix(".tgz"))
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.part")
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(partial, filter="data")
        partial.rename(folder)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive}: cannot be unpacked beside itself: {error}") from None
    return folder
