"""The doctor of data sets: checks labels and pictures, shows them on a sheet and a page, and writes a repaired copy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from manypose.data.check.figures import count_file, histograms
from manypose.data.check.findings import KINDS, Finding, Report
from manypose.data.check.labels import Labels, labels_of_pictures, read_labels
from manypose.data.check.page import make_page
from manypose.data.check.people import check_people
from manypose.data.check.pictures import Places, check_pictures, find_places
from manypose.data.check.sheet import draw_sheets
from manypose.data.check.sides import check_sides
from manypose.data.datasets import dataset_skeleton, detect_kind, is_of_part, read_dataset
from manypose.data.faults import Fault
from manypose.data.packing.program import packed_kind
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError
from manypose.files import make_folder, write_bytes
from manypose.images import write_image
from manypose.skeleton import Skeleton, load_skeleton

__all__ = ["Checked", "Finding", "Report", "check_dataset", "check_pictures_read", "write_report"]

Progress = Callable[[int, int | None], None]
SPLITS = ("train.json", "val.json", "test.json")
COCO_STYLE = ("coco", "wholebody", "crowdpose")


@dataclass(frozen=True)
class Checked:
    """A checked data set: what was found, the labels, and where the pictures lie."""

    report: Report
    labels: tuple[Labels, ...]
    places: tuple[Places, ...]


def check_dataset(
    places: Sequence[Path],
    *,
    images: Path | None = None,
    kind: str | None = None,
    part: str | None = None,
    skeleton: str | None = None,
    pictures: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Check data sets: COCO-style JSON files, folders that hold such, or whatever `read_dataset` reads.

    Of a folder train.json, val.json, test.json are taken, or annotations/*.json (with keypoints, where some have).
    Several files are splits of one data set: no picture may be in two of them. `part` limits it to one. `images` is the
    folder or zip file of the pictures where they are not at a usual place. With `pictures` all are decoded, by `jobs`
    threads. Sets that are not COCO-style are read into `skeleton` (default: their own); what their reader refuses is an
    error each. `kind` is one of `manypose.data.datasets.KINDS`, by default it is seen from the content.

    Raises `DataError` for what cannot be read at all.
    """
    read: list[tuple[Labels, Places]] = []
    for place in places:
        read += _read_coco_style(place, images, kind, part) or [_read_other(place, images, kind, part, skeleton)]
    if len({labels.file for labels, _ in read}) < len(read):
        raise DataError("a file is given twice; give each split once")
    labels, found = zip(*read, strict=True)
    return _check(tuple(labels), tuple(found), pictures=pictures, jobs=jobs, progress=progress)


def check_pictures_read(
    sets: Sequence[tuple[Path, Sequence[LabelledPicture]]],
    skeleton: Skeleton,
    *,
    pictures: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Check data sets that a reader has read, each with the path that the findings name."""
    labels = tuple(labels_of_pictures(place, read, skeleton) for place, read in sets)
    found = tuple(_places_of(read) for _, read in sets)
    return _check(labels, found, pictures=pictures, jobs=jobs, progress=progress)


def write_report(
    checked: Checked, folder: Path, *, samples: int = 24, seed: int = 0, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write check.json, check.html, sheet.png (a random sample) and suspects.png (where there are any) into a folder.

    Raises `OutputError` when a file is there already and `overwrite` is false.
    """
    make_folder(folder)
    made = []
    for name, picture in draw_sheets(
        checked.labels, checked.places, checked.report, samples=samples, seed=seed
    ).items():
        made.append(folder / name)
        write_image(made[-1], picture, overwrite=overwrite)
    for name, text in (
        ("check.html", make_page(checked.report)),
        ("check.json", json.dumps(checked.report.to_dict(), indent=1, allow_nan=False)),
    ):
        made.append(folder / name)
        write_bytes(made[-1], text.encode(), overwrite=overwrite)
    return tuple(made)


def _files(place: Path) -> list[Path]:
    """The JSON files of a data set: the file itself, or the splits in a folder; none where it is of another kind."""
    if not place.exists():
        raise DataError(f"{place}: No such file or folder")
    if not place.is_dir():
        return [place] if place.suffix == ".json" else []
    if splits := [place / name for name in SPLITS if (place / name).is_file()]:
        return splits
    annotations = place / "annotations"
    wanted = sorted(annotations.glob("*.json")) if annotations.is_dir() else sorted(place.glob("*.json"))
    people = [file for file in wanted if "keypoints" in file.name or "wholebody" in file.name]
    return people or wanted


def _read_coco_style(
    place: Path, images: Path | None, kind: str | None, part: str | None
) -> list[tuple[Labels, Places]]:
    """The COCO-style files of a data set; none where it is of another kind."""
    if kind not in (None, *COCO_STYLE) or (kind is None and packed_kind(place) is not None):
        return []
    files = _files(place)
    if place.is_dir() and part is not None:
        files = [file for file in files if is_of_part(file, part)]
    elif place.is_dir() and len(files) > 1:  # one that joins two others is no split beside them
        files = [file for file in files if not is_of_part(file, "trainval")]
    try:
        return [(labels, find_places(labels, images)) for labels in map(read_labels, files)]
    except DataError:
        if kind is None and any(map(_is_of_another_kind, files)):
            return []
        raise


def _is_of_another_kind(file: Path) -> bool:
    try:
        return detect_kind(file) not in COCO_STYLE
    except DataError:
        return False


def _read_other(
    place: Path, images: Path | None, kind: str | None, part: str | None, skeleton: str | None
) -> tuple[Labels, Places]:
    own = load_skeleton(skeleton) if skeleton else dataset_skeleton(place, kind=kind, part=part)
    faults: list[Fault] = []
    read = read_dataset(place, own, kind=kind, part=part, images=images, on_fault="skip", faults=faults)
    labels = labels_of_pictures(place, read, own)
    labels.faults.extend(Finding("entry-refused", fault.file, fault.entry, fault.text) for fault in faults)
    return labels, _places_of(read)


def _places_of(read: Sequence[LabelledPicture]) -> Places:
    archives, names, fetches = zip(*((p.archive, p.name, p.fetch) for p in read), strict=True) if read else ((), (), ())
    return Places(archives, names, fetches)


def _check(
    labels: tuple[Labels, ...],
    places: tuple[Places, ...],
    *,
    pictures: bool,
    jobs: int | None,
    progress: Progress | None,
) -> Checked:
    findings, counts = [], {}
    for one in labels:
        findings += check_people(one)
        suspects, sides = check_sides(one)
        findings += suspects
        counts[str(one.file)] = count_file(one) | {"sides": sides}
    if pictures:
        workers = jobs or min(4, os.cpu_count() or 1)
        findings += check_pictures(labels, places, jobs=workers, progress=progress)
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    report = Report(tuple(one.file for one in labels), tuple(findings), counts, histograms(labels))
    return Checked(report, labels, places)
