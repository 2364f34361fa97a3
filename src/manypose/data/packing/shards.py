"""Shards: plain tar files for object stores and for the package webdataset, read and written with the standard library.

A sample is `000000000.jpg` (or .png, .webp), `000000000.json`, the labels in full (see `labels`), and, where the
source came with masks of another product, `000000000.missing.png` and `.people.png`. A set is one .tar, a folder of
them, or a pattern like `train-{000..}.tar` or `train-{000..041}.tar`.

Pictures are read by their place in the file: many processes may do so at once.
"""

from __future__ import annotations

import functools
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.packing.labels import joints_in, labels_from_json, labels_to_json, mask_names
from manypose.data.packing.spans import read_span
from manypose.data.pictures import Fetch, LabelledPicture
from manypose.errors import DataError, OutputError
from manypose.files import new_file
from manypose.image_headers import HeaderError, read_header
from manypose.skeleton import Skeleton

PATTERN = re.compile(r"\{(\d+)\.\.(\d*)\}")
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WebP": "webp"}
PICTURES = ("jpg", "jpeg", "png", "webp", "bmp")
END = bytes(1024)
SHARD_SIZE = 2000


def read_shards(place: Path, skeleton: Skeleton) -> list[LabelledPicture]:
    """The samples of a set of shards, with joints mapped by name into `skeleton`.

    Raises `DataError` that names the shard and the sample.
    """
    return [picture for shard in find_shards(place) for picture in _read_shard(shard, skeleton)]


def shard_joints(place: Path) -> tuple[str, ...]:
    """The names of the joints in a set of shards; raises `DataError`."""
    shard = find_shards(place)[0]
    for key, members in _list_samples(shard).items():
        if "json" in members:
            content = read_span(shard, key, offset=members["json"][0], length=members["json"][1])
            return joints_in(content, archive=shard, entry=key)
    raise DataError(f"{shard}: holds no samples")


def find_shards(place: Path) -> list[Path]:
    """The files of a set in order; raises `DataError` when there are none, or one of a numbered set is missing."""
    numbers = PATTERN.search(place.name)
    if numbers and numbers[2]:
        shards = [shard_path(place, number) for number in range(int(numbers[1]), int(numbers[2]) + 1)]
        missing = next((shard for shard in shards if not shard.is_file()), None)
        if missing:
            raise DataError(f"{missing}: there is no such file; it belongs to {place.name}")
    elif numbers:
        before, after = place.name[: numbers.start()], place.name[numbers.end() :]
        name = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        shards = sorted(file for file in place.parent.glob("*") if name.fullmatch(file.name))
    elif place.is_dir():
        shards = sorted(place.glob("*.tar"))
    else:
        shards = [place] if place.is_file() else []
    if not shards:
        raise DataError(f"{place}: there are no shards; give a .tar, a folder of them, or a name with {{000..}}")
    return shards


def shard_path(place: Path, number: int) -> Path:
    """A shard by its number, which replaces the braces of the name."""
    return place.with_name(PATTERN.sub(lambda found: f"{number:0{len(found[1])}d}", place.name))


def _read_shard(shard: Path, skeleton: Skeleton) -> Iterator[LabelledPicture]:
    for key, members in _list_samples(shard).items():
        kind = next((kind for kind in PICTURES if kind in members), None)
        if kind is None or "json" not in members:
            raise DataError(f"{shard}: {key}: a sample needs a picture and a .json; it has {', '.join(members)}")
        content = read_span(shard, key, offset=members["json"][0], length=members["json"][1])
        masks = {name: members[f"{name}.png"] for name in ("missing", "people") if f"{name}.png" in members}
        yield labels_from_json(
            content, skeleton, archive=shard, entry=key, fetch=_fetch(*members[kind]), masks=Masks(masks)
        )


def _fetch(offset: int, length: int) -> Fetch:
    return functools.partial(read_span, offset=offset, length=length)


@dataclass(frozen=True)
class Masks:
    """Gives the PNG files of a sample's masks by their names, from (offset, length)."""

    places: dict[str, tuple[int, int]]

    def __call__(self, place: Path, name: str) -> bytes:
        if name not in self.places:
            raise DataError(f"{place}: the mask {name} of a sample is missing")
        offset, length = self.places[name]
        return read_span(place, name, offset=offset, length=length)


def _list_samples(shard: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Offset and length of the members by key and ending; both as webdataset takes them."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isreg() or member.issparse():
                    continue
                folder, _, name = member.name.rpartition("/")
                key, _, kind = name.partition(".")
                own = samples.setdefault(f"{folder}/{key}" if folder else key, {})
                if kind in own:
                    raise DataError(f"{shard}: {member.name}: is there twice")
                own[kind.lower()] = (member.offset_data, member.size)
            file.seek(max(0, archive.offset))
            if len(file.read(512)) < 512:  # a file that ends right after a member looks whole to tarfile
                raise DataError(f"{shard}: has been cut short; pack or fetch it anew")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        hint = "; unpack its compression first" if shard.suffix in (".gz", ".tgz", ".xz", ".bz2", ".zst") else ""
        raise DataError(f"{shard}: not a tar file, or damaged: {error}{hint}") from None
    return samples


def write_shards(
    pictures: Sequence[LabelledPicture],
    place: Path,
    skeleton: Skeleton,
    *,
    longest: int | None = None,
    quality: int | None = None,
    shard_size: int = SHARD_SIZE,
    overwrite: bool = False,
    resume: bool = False,
    on_fault: Callable[[DataError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Pack pictures whose joints are those of `skeleton` into tar files; gives the files.

    A name with braces, `train-{000..}.tar`, makes shards of `shard_size` pictures, another one file of all. Each is
    written in one step; with `resume` those that an interrupted run has left are kept. Files of pictures are copied
    as they are; pictures that become smaller are stored without loss as PNG, or all as JPEG of a `quality` 1..100.
    A picture that cannot be read stops the packing, unless `on_fault` takes the error. `progress` is called with the
    number done and that of all.

    Raises `DataError` for pictures, `OutputError` when the disk is full or a file exists.
    """
    size = shard_size if PATTERN.search(place.name) else max(1, len(pictures))
    if not pictures:
        raise DataError(f"{place}: there is no picture to pack")
    shards = []
    for number, first in enumerate(range(0, len(pictures), size)):
        shard, part = shard_path(place, number), pictures[first : first + size]
        if not (resume and shard.exists() and _is_of(shard, part, skeleton, longest, lossy=on_fault is not None)):
            with new_file(shard, overwrite=overwrite) as temporary, tarfile.open(temporary, "x") as archive:
                for index, picture in enumerate(part, start=first):
                    try:
                        members = list(_members(picture, skeleton, longest, quality))
                    except DataError as error:
                        if on_fault is None:
                            raise
                        on_fault(error)
                        continue
                    for ending, content in members:
                        _add(archive, f"{index:09d}.{ending}", content)
                    if progress:
                        progress(index + 1, len(pictures))
        shards.append(shard)
    return shards


def _is_of(
    shard: Path, pictures: Sequence[LabelledPicture], skeleton: Skeleton, longest: int | None, *, lossy: bool
) -> bool:
    """True; raises `OutputError` when a shard that is there does not hold these pictures."""
    there = list(_read_shard(shard, skeleton))
    names, expected = [picture.name for picture in there], [picture.name for picture in pictures]
    same = set(names) <= set(expected) if lossy else names == expected
    if not same or any(longest and max(picture.size) > longest for picture in there):
        raise OutputError(f"{shard}: holds other pictures than those to be packed; choose another name, or overwrite")
    return True


def _members(
    picture: LabelledPicture, skeleton: Skeleton, longest: int | None, quality: int | None
) -> Iterator[tuple[str, bytes]]:
    labels, rgb = picture.shrunk(longest) if longest else (picture, picture.read())
    yield _image_file(picture, rgb, quality) if labels is picture else _encode(rgb, quality)
    yield "json", labels_to_json(labels, skeleton.joints)
    for name in mask_names(labels.masks):
        assert labels.masks is not None
        mask = labels.masks.read_missing(labels.size) if name == "missing" else labels.masks.read_people(labels.size)
        assert mask is not None
        stored = np.where(mask, 0, 255) if name == "missing" else np.where(mask, 255, 0)
        yield f"{name}.png", cv2.imencode(".png", stored.astype(np.uint8))[1].tobytes()


def _image_file(picture: LabelledPicture, rgb: NDArray[np.uint8], quality: int | None) -> tuple[str, bytes]:
    """The picture's own file where there is one that everybody decodes in the same way."""
    content = picture.fetch(picture.archive, picture.name) if quality is None else None
    if isinstance(content, bytes):
        try:
            header = read_header(content)
        except HeaderError:
            return _encode(rgb, quality)
        if header.format in SUFFIXES and header.orientation == 1:
            return SUFFIXES[header.format], content
    return _encode(rgb, quality)


def _encode(rgb: NDArray[np.uint8], quality: int | None) -> tuple[str, bytes]:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    if quality is None:
        return "png", cv2.imencode(".png", bgr)[1].tobytes()
    return "jpg", cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
