"""Writes a repaired copy of a data set and says what was changed. Suspected swaps of sides are left to people."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manypose.data.check import Checked
from manypose.data.check.findings import Finding
from manypose.data.check.labels import WHOLE_BODY_KEYS, Labels, labels_of_content
from manypose.data.check.mend import mend_annotation
from manypose.data.check.people import check_people
from manypose.data.check.pictures import Places
from manypose.errors import DataError, OutputError
from manypose.files import make_folder, write_bytes

ROUNDS = 5  # a repair may bring another fault to light: pictures that are joined may hold the same person twice

# Pictures with such faults are left out, with their people.
_LOST_PICTURES = {"picture-missing", "picture-damaged", "size-wrong", "same-in-splits", "unsafe-name", "field-missing"}
_LOST_PEOPLE = {"unknown-image", "unknown-category", "duplicate-person"}


@dataclass(frozen=True)
class Copy:
    """A repaired copy: its JSON files, what was changed, and the file that lists the changes."""

    files: tuple[Path, ...]
    changes: tuple[str, ...]
    note: Path


def repair(checked: Checked, folder: Path, *, overwrite: bool = False) -> Copy:
    """Write a repaired copy of a COCO-style data set into a folder, with its pictures as hard links or copies.

    Pictures that cannot be used, or are in several splits (they stay in the last one), go with their people; people of
    unknown pictures or categories and doubles go. Joints that are not finite or far outside lose their label, boxes are
    cut at the picture's edge or drawn around the joints anew, annotations whose box or joints cannot be saved lose them
    or go; ids that are taken are given anew, counts and areas are computed anew. changes.json lists all of it.

    Raises `DataError` for data sets of other kinds, `OutputError` where files are in the way.
    """
    names = [labels.file.name for labels in checked.labels]
    if any(labels.content is None for labels in checked.labels):
        raise DataError("only COCO-style files can be repaired; convert the data set first")
    if len(set(names)) < len(names):
        raise DataError(f"several files are called alike ({', '.join(names)}); repair them one by one")
    make_folder(folder)
    used = {folder / name for name in (*names, "changes.json") if (folder / name).exists()}
    if used and not overwrite:
        raise OutputError(f"{sorted(used)[0]}: the file exists; choose another folder, or allow overwriting")
    changes: list[str] = []
    files = []
    for labels, places in zip(checked.labels, checked.places, strict=True):
        found = [finding for finding in checked.report.findings if finding.file == labels.file]
        content = _repaired(labels, found, changes)
        _bring_pictures(labels, places, content, folder)
        files.append(folder / labels.file.name)
        write_bytes(files[-1], json.dumps(content, allow_nan=False).encode(), overwrite=overwrite)
    note = folder / "changes.json"
    write_bytes(note, json.dumps(changes, indent=1).encode(), overwrite=overwrite)
    return Copy(tuple(files), tuple(changes), note)


@dataclass
class _Work:
    """A file's content under repair: places to drop, and what the findings say about each annotation."""

    file: Path
    content: dict[str, Any]
    changes: list[str]
    lost_pictures: set[int] = field(default_factory=set)
    lost_people: set[int] = field(default_factory=set)

    def say(self, finding: Finding, what: str) -> None:
        self.changes.append(f"{self.file}: {finding.entry}: {what} ({finding.kind}: {finding.text})")


def _repaired(labels: Labels, findings: Sequence[Finding], changes: list[str]) -> dict[str, Any]:
    assert labels.content is not None
    content = copy.deepcopy(labels.content)
    for index, row in enumerate(content["images"]):
        if isinstance(row, dict):
            row["_place"] = index  # the pictures are found again by it
    for _ in range(ROUNDS):
        errors = [finding for finding in findings if finding.level == "error" or finding.kind in _MENDED_WARNINGS]
        if not errors:
            break
        content = _round(_Work(labels.file, content, changes), labels_of_content(labels.file, content), errors)
        findings = check_people(labels_of_content(labels.file, content))
    return content


_MENDED_WARNINGS = {"flag-odd", "count-wrong", "area-odd", "segment-odd", "box-beside"}


def _round(work: _Work, labels: Labels, findings: Sequence[Finding]) -> dict[str, Any]:
    rows: dict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.annotation is not None:
            rows[finding.annotation].append(finding)
        elif finding.kind in _LOST_PICTURES and finding.image is not None:
            work.lost_pictures.add(finding.image)
            work.say(finding, "left out")
        elif finding.kind in ("duplicate-image-id", "duplicate-picture") and finding.image is not None:
            _join_pictures(work, finding)
    _drop_people_of(work)
    people = {int(row): person for person, row in enumerate(labels.rows)}
    for index, found in rows.items():
        if index not in work.lost_people:
            _mend(work, labels, people.get(index), index, found)
    images, annotations = work.content["images"], work.content["annotations"]
    return work.content | {
        "images": [row for i, row in enumerate(images) if i not in work.lost_pictures],
        "annotations": [row for i, row in enumerate(annotations) if i not in work.lost_people],
    }


def _join_pictures(work: _Work, finding: Finding) -> None:
    """One file listed twice becomes one entry; different files under one id go, since nobody knows whose people."""
    images = work.content["images"]
    assert finding.image is not None
    row = images[finding.image]
    if finding.kind == "duplicate-image-id":
        same = [i for i, other in enumerate(images) if isinstance(other, dict) and other.get("id") == row.get("id")]
        if len({_file_of(images[i]) for i in same}) == 1:
            work.lost_pictures.add(finding.image)
            work.say(finding, "entry left out, the same file is listed before")
        else:
            work.lost_pictures.update(same)
            work.say(finding, "all pictures of this id left out")
        return
    first = next(other for other in images if isinstance(other, dict) and _file_of(other) == _file_of(row))
    for annotation in work.content["annotations"]:
        if isinstance(annotation, dict) and annotation.get("image_id") == row.get("id"):
            annotation["image_id"] = first.get("id")
    work.lost_pictures.add(finding.image)
    work.say(finding, "joined with the entry before")


def _file_of(row: dict[str, Any]) -> tuple[str, str]:
    return str(row.get("zip", "")), str(row.get("file_name"))


def _drop_people_of(work: _Work) -> None:
    """People whose picture is left out go with it; not those of an id that another entry still has."""
    images = work.content["images"]
    kept = {row.get("id") for i, row in enumerate(images) if i not in work.lost_pictures and isinstance(row, dict)}
    gone = {images[i].get("id") for i in work.lost_pictures if isinstance(images[i], dict)} - kept
    for index, row in enumerate(work.content["annotations"]):
        if isinstance(row, dict) and row.get("image_id") in gone:
            work.lost_people.add(index)


def _mend(work: _Work, labels: Labels, person: int | None, index: int, found: list[Finding]) -> None:
    row = work.content["annotations"][index]
    kinds = {finding.kind for finding in found}
    lost = _LOST_PEOPLE & kinds
    if lost or person is None or not isinstance(row, dict):
        work.lost_people.add(index)
        work.say(next((f for f in found if f.kind in lost), found[0]), "left out")
        return
    if "duplicate-annotation-id" in kinds or "id" not in row:
        numbers = [other.get("id") for other in work.content["annotations"] if isinstance(other, dict)]
        row["id"] = max((number for number in numbers if isinstance(number, int)), default=0) + 1
        work.say(found[0], f"is given the id {row['id']}")
    size = labels.pictures[labels.where[person]].size
    keys = ("keypoints", *WHOLE_BODY_KEYS) if len(labels.joints) == 133 else ("keypoints",)
    done = mend_annotation(row, kinds, joints=len(labels.joints), size=size, keys=keys)
    if done is None:
        work.lost_people.add(index)
        work.say(found[0], "left out, neither its box nor its joints can be saved")
    for what in done or ():
        work.say(found[0], what)


def _bring_pictures(labels: Labels, places: Places, content: dict[str, Any], folder: Path) -> None:
    """Link the pictures of the copy into its folder and write down where: zip files beside it, others in `images`."""
    rows = {picture.index: place for place, picture in enumerate(labels.pictures)}
    brought: dict[Path, str] = {}
    for row in content["images"]:
        place = rows[row.pop("_place")]
        archive, name = places.archives[place], places.names[place]
        if archive.is_dir():
            below = "" if archive.name == "images" or archive == labels.file.parent else archive.name
            row["file_name"] = str(Path(below) / name)
            _link(archive / name, folder / "images" / row["file_name"])
            continue
        if archive not in brought:
            brought[archive] = _link_free(archive, folder)
        row["zip"], row["file_name"] = brought[archive], name


def _link_free(source: Path, folder: Path) -> str:
    """Link a file under its name, or, where another has that name, under a new one."""
    for number in range(1000):
        target = folder / (source.name if not number else f"{source.stem}-{number}{source.suffix}")
        if not target.exists() or os.path.samefile(source, target):
            break
    _link(source, target)
    return target.name


def _link(source: Path, target: Path) -> None:
    try:
        if target.exists():
            if not os.path.samefile(source, target) and source.stat().st_size != target.stat().st_size:
                raise OutputError(f"{target}: something else is there already; choose another folder")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from None
