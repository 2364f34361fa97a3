"""Results drawn on their pictures: who was found, beside who is labelled where a truth is given."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose import images
from manypose.data.places import PicturePlaces, is_there, safe_name
from manypose.errors import DataError
from manypose.evaluation import panels
from manypose.evaluation.results_file import read_results, tabulate
from manypose.evaluation.truth import Truth
from manypose.files import read_member
from manypose.formats import coco
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

Picture = NDArray[np.uint8]

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
_DIGITS = re.compile(r"([0-9]+)$")


@dataclass(frozen=True)
class Found:
    """The people of one picture, which is `name` in `place`, a folder or zip file; `labelled` is None without truth."""

    image_id: Any
    place: Path
    name: str
    people: People
    labelled: People | None = field(default=None)

    @property
    def caption(self) -> str:
        """The file's name and how many people there are."""
        words = f"{PurePosixPath(self.name).name}: {len(self.people)} found"
        return words if self.labelled is None else f"{words}, {len(self.labelled)} labelled"


def read_found(
    results: Path,
    pictures: Path,
    *,
    truth: Truth | None = None,
    skeleton: Skeleton | str = "coco17",
    threshold: float | None = None,
    limit: int | None = None,
) -> list[Found]:
    """The people of a COCO results file, picture by picture, and where in a folder or zip file these pictures are.

    With a truth all of its pictures come, in its order, under the names that it gives them, and the results are checked
    against it; its joints are those of the results. Without one those with results come, in the order of the file, and
    a picture is known by the number at the end of its name (`000000000139.jpg`, `COCO_val2014_000000000139.jpg`).
    People who score less than `threshold` are left out, as is who is not among the 60 best of a picture.

    Raises `FormatError` for results that are not sound or do not fit, `DataError` for a picture that is not there.
    """
    if truth is None:
        return _without_truth(results, pictures, skeleton, threshold, limit)
    rows = read_results(results, truth)
    found = panels.found_people(truth, tabulate(rows, truth, source=str(results)))
    labelled = panels.labelled_people(truth)
    places = PicturePlaces(truth.file or pictures, pictures)
    names = {row["id"]: row for row in truth.images}
    chosen = []
    for image_id in truth.image_ids[:limit]:
        row = names.get(image_id, {})
        try:
            place, name = places.find(safe_name(row.get("file_name")), row)
        except ValueError as error:
            raise DataError(f"{truth.name}: image {image_id!r}: {error}") from None
        if not is_there(place, name):
            raise DataError(f"{pictures}: does not hold {name}, the picture of image {image_id!r} of {truth.name}")
        people = panels.best_people(found[image_id], threshold)
        chosen.append(Found(image_id, place, name, people, labelled[image_id]))
    return chosen


def draw_found(found: Found, *, long_side: int | None = None, scores: bool = False) -> Picture:
    """A picture with the people found on it; where there is a truth, the labelled ones on a copy to the left.

    With `long_side` each copy is made that large. Raises `ImageError` for a picture that cannot be opened.
    """
    rgb = images.open_image(read_member(found.place, found.name), name=str(found.place / found.name))
    drawn = [panels.panel(rgb, found.people, long_side=long_side, scores=scores)]
    if found.labelled is not None:
        drawn.insert(0, panels.panel(rgb, found.labelled, long_side=long_side))
    return panels.side_by_side(drawn)


def output_names(found: Sequence[Found]) -> list[str]:
    """A file name for each picture, that of its own file as .jpg; where two are the same, the image id follows."""
    stems = [PurePosixPath(one.name).stem for one in found]
    twice = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    return [
        f"{stem}-{one.image_id}.jpg" if stem in twice else f"{stem}.jpg" for stem, one in zip(stems, found, strict=True)
    ]


def _without_truth(
    results: Path, pictures: Path, skeleton: Skeleton | str, threshold: float | None, limit: int | None
) -> list[Found]:
    skeleton = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    people = coco.read(results, skeleton=skeleton)
    names = _numbered_pictures(pictures)
    chosen = []
    for image_id, everyone in list(people.items())[:limit]:
        here = names.get(image_id, [])
        if len(here) != 1:
            what = f"both {here[0]} and {here[1]} may be" if here else "no picture whose name ends with its number is"
            raise DataError(f"{pictures}: {what} image {image_id} of {results}; give the labels' file (--truth)")
        chosen.append(Found(image_id, pictures, here[0], panels.best_people(everyone, threshold)))
    return chosen


def _numbered_pictures(place: Path) -> dict[int, list[str]]:
    """The pictures of a folder or zip file by the number at the end of their names."""
    numbered: dict[int, list[str]] = {}
    for name in sorted(_names(place)):
        path = PurePosixPath(name)
        digits = _DIGITS.search(path.stem)
        if path.suffix.lower() in _PICTURES and digits and len(digits[1]) < 20:
            numbered.setdefault(int(digits[1]), []).append(name)
    return numbered


def _names(place: Path) -> Iterator[str]:
    try:
        if place.is_dir():
            yield from (file.name for file in place.iterdir() if file.is_file())
            return
        with zipfile.ZipFile(place) as archive:
            yield from archive.namelist()
    except zipfile.BadZipFile:
        raise DataError(f"{place}: is neither a folder nor a zip file of pictures") from None
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror}") from None
