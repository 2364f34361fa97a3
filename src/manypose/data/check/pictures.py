"""Checks of the pictures: there, whole, of the size that the labels say, and in one split only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.check.findings import Finding
from manypose.data.check.hashes import alike_pairs, mirrored_pairs, perceptual_hash
from manypose.data.check.labels import Labels
from manypose.data.pictures import Fetch
from manypose.data.places import PicturePlaces, safe_name
from manypose.errors import DataError, ImageError
from manypose.files import read_member
from manypose.images import open_image

Progress = Callable[[int, int | None], None]
_BITS = ("bits", "mirrored")


@dataclass(frozen=True)
class Places:
    """Where the pictures of a file lie: `archives` and the names in them, by place in the list of pictures.

    `fetches` are how they are had; left out: from folders and zip files.
    """

    archives: tuple[Path, ...]
    names: tuple[str, ...]
    fetches: tuple[Fetch, ...] = ()

    def read(self, index: int) -> NDArray[np.uint8]:
        """A picture, RGB; raises `DataError` or `ImageError`."""
        return open_image(self.read_bytes(index), name=str(self.archives[index] / self.names[index]))

    def read_bytes(self, index: int) -> bytes:
        """A picture's file; raises `DataError`."""
        if not self.names[index]:
            raise DataError(f"{self.archives[index]}: the picture has no name")
        fetch = self.fetches[index] if self.fetches else read_member
        content = fetch(self.archives[index], self.names[index])
        if isinstance(content, np.ndarray):  # a packed set that holds plain pixels
            return cv2.imencode(".png", content[..., ::-1])[1].tobytes()
        return content


@dataclass(frozen=True)
class _Seen:
    """A picture that could be decoded: digest of its file, hash, hash of its mirror image, small grey picture."""

    digest: bytes
    bits: int
    mirrored: int
    small: NDArray[np.float32]


def find_places(labels: Labels, images: Path | None = None) -> Places:
    """Where the pictures lie: in `images` (a folder or zip file), as the file says, or as COCO lays them out.

    A picture without a name, or with one that leads out of the data set, gets the name "".
    """
    finder = PicturePlaces(labels.file, images)
    archives, names = [], []
    for picture in labels.pictures:
        try:
            archive, name = finder.find(safe_name(picture.name), picture.row)
        except ValueError:
            archive, name = labels.file.parent, ""
        archives.append(archive)
        names.append(name)
    return Places(tuple(archives), tuple(names))


def check_pictures(
    all_labels: Sequence[Labels], all_places: Sequence[Places], *, jobs: int = 1, progress: Progress | None = None
) -> list[Finding]:
    """Decode all pictures of all files, and compare them with their labels and with each other."""
    tasks = [(f, i) for f, labels in enumerate(all_labels) for i in range(len(labels.pictures))]
    findings: list[Finding] = []
    seen: dict[tuple[int, int], _Seen] = {}
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        looks = pool.map(lambda task: _look(all_labels[task[0]], all_places[task[0]], task[1]), tasks)
        for done, (task, look) in enumerate(zip(tasks, looks, strict=True), 1):
            if isinstance(look, Finding):
                findings.append(look)
            elif look is not None:
                seen[task] = look
            if progress:
                progress(done, len(tasks))
    return [*findings, *_same(all_labels, seen), *_alike(all_labels, seen)]


def _look(labels: Labels, places: Places, index: int) -> _Seen | Finding | None:
    picture = labels.pictures[index]

    def finding(kind: str, text: str) -> Finding:
        return Finding(kind, labels.file, picture.entry, text, picture.index)

    if not places.names[index]:
        return None  # named already: it has no name, or one that leads elsewhere
    try:
        content = places.read_bytes(index)
    except DataError as error:
        return finding("picture-missing", str(error))
    try:
        rgb = open_image(content, name=str(places.archives[index] / places.names[index]))
    except ImageError as error:
        return finding("picture-damaged", str(error))
    size = rgb.shape[1::-1]
    if picture.size != size and all(picture.size):
        turned = "; it is turned by its Exif orientation" if picture.size == size[::-1] else ""
        said = f"{picture.size[0]} x {picture.size[1]}"
        return finding("size-wrong", f"it has {size[0]} x {size[1]} pixels, its labels are for {said}{turned}")
    return _Seen(hashlib.sha256(content).digest(), *perceptual_hash(rgb))


def _same(all_labels: Sequence[Labels], seen: dict[tuple[int, int], _Seen]) -> Iterator[Finding]:
    """Pictures whose files are equal byte for byte, in one split or in several."""
    groups = defaultdict(list)
    for task, look in seen.items():
        groups[look.digest].append(task)
    for tasks in groups.values():
        last_file = tasks[-1][0]  # its pictures stay: a validation part, named after the training part, is the rarer
        for place, (file, index) in enumerate(tasks):
            labels, picture = all_labels[file], all_labels[file].pictures[index]
            if file != last_file:
                other = all_labels[last_file].pictures[tasks[-1][1]]
                text = f"equals {other.entry} of {all_labels[last_file].file}"
                yield Finding("same-in-splits", labels.file, picture.entry, text, picture.index)
            elif place and tasks[place - 1][0] == file:
                before = labels.pictures[tasks[place - 1][1]]
                if (picture.name, picture.row.get("zip")) != (before.name, before.row.get("zip")):
                    yield Finding("same-picture", labels.file, picture.entry, f"equals {before.entry}", picture.index)


def _alike(all_labels: Sequence[Labels], seen: dict[tuple[int, int], _Seen]) -> Iterator[Finding]:
    tasks = list(seen)
    if len(tasks) < 2:
        return
    bits, mirrored = (np.array([getattr(seen[task], name) for task in tasks], np.uint64) for name in _BITS)
    small = np.stack([seen[task].small for task in tasks])
    alike = alike_pairs(bits, small)
    known = {pair[:2] for pair in alike}  # one that is symmetric looks like its mirror image, too
    alike += [pair for pair in mirrored_pairs(bits, mirrored, small) if pair[:2] not in known]
    for i, j, apart, share in alike:
        (first_file, first_index), (file, index) = tasks[i], tasks[j]
        if seen[tasks[i]].digest == seen[tasks[j]].digest:
            continue
        first, picture = all_labels[first_file].pictures[first_index], all_labels[file].pictures[index]
        kind = "alike-pictures" if file == first_file else "alike-in-splits"
        other = "" if file == first_file else f" of {all_labels[first_file].file}"
        what = "" if (i, j) in known else "the mirror image of "
        text = f"looks like {what}{first.entry}{other} ({apart} of 64 bits apart, correlation {share:.3f})"
        yield Finding(kind, all_labels[file].file, picture.entry, text, picture.index)
