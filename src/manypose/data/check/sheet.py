"""Contact sheets of a data set: a random sample with its labels drawn, and the pictures with findings."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.check.findings import Finding, Report
from manypose.data.check.labels import Labels
from manypose.data.check.pictures import Places
from manypose.drawing.people import draw_people
from manypose.drawing.sheet import contact_sheet
from manypose.errors import DataError, ImageError, SkeletonError
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names

RGB = NDArray[np.uint8]

_LONG_SIDE = 480  # pixels to which small pictures are enlarged, so that the lines do not hide them
_AROUND = 0.35  # parts of a suspect's box that are shown around it


def draw_sheets(
    all_labels: Sequence[Labels], all_places: Sequence[Places], report: Report, *, samples: int, seed: int
) -> dict[str, RGB]:
    """Sheets by file name: sheet.png with `samples` random pictures; suspects.png with as many pictures with faults.

    Of the suspects every kind of error and warning gets its turn. Pictures that cannot be read are left out; a sheet
    without any picture is not made. The widest pictures come first, so that those of a row are about as high.
    """
    sets = list(zip(all_labels, all_places, strict=True))
    tasks = [(f, i) for f, labels in enumerate(all_labels) for i in range(len(labels.pictures))]
    order = np.random.default_rng(seed).permutation(len(tasks))
    sheets = {}
    chosen = [(tasks[i], "", None) for i in order[: samples * 2]]
    if sheet := _sheet(sets, chosen, samples):
        sheets["sheet.png"] = sheet[0]
    if sheet := _sheet(sets, _suspects(all_labels, report), samples):
        sheets["suspects.png"] = sheet[0]
    return sheets


def known_skeleton(labels: Labels) -> Skeleton:
    """A skeleton to draw with: one of ours with these joints, or as many of a face; else the file's own limbs.

    A file without joints gets some skeleton, of which nothing is drawn.
    """
    if not labels.joints:
        return load_skeleton("coco17")
    for name in skeleton_names():
        skeleton = load_skeleton(name)
        if skeleton.joints == labels.joints or (name == "face68" and len(labels.joints) == 68):
            return skeleton
    count = max(len(labels.limbs), 1)
    hues = [colorsys.hsv_to_rgb(i / count, 0.7, 1.0) for i in range(count)]
    colours = tuple((int(255 * r), int(255 * g), int(255 * b)) for r, g, b in hues)
    try:
        return Skeleton("file", labels.joints, labels.limbs, colours[: len(labels.limbs)])
    except SkeletonError:  # names twice, or limbs that make no sense: dots will do
        return Skeleton("file", tuple(f"joint {i}" for i in range(len(labels.joints))))


Choice = tuple[tuple[int, int], str, int | None]  # file and picture, caption, place of the annotation


def _suspects(all_labels: Sequence[Labels], report: Report) -> list[Choice]:
    files = {labels.file: f for f, labels in enumerate(all_labels)}
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.level != "note" and finding.image is not None:
            kinds[finding.kind].append(finding)
    most = max(map(len, kinds.values()), default=0)
    turns = [found[i] for i in range(most) for found in kinds.values() if i < len(found)]
    places = [{picture.index: i for i, picture in enumerate(labels.pictures)} for labels in all_labels]
    return [
        ((files[f.file], places[files[f.file]][f.image]), f"{f.kind}: ", f.annotation)
        for f in turns
        if f.image is not None and f.image in places[files[f.file]]
    ]


def _sheet(sets: Sequence[tuple[Labels, Places]], choices: Sequence[Choice], most: int) -> tuple[RGB] | None:
    drawn: list[RGB] = []
    captions: list[str] = []
    for (file, index), caption, annotation in choices:
        if len(drawn) == most:
            break
        labels, places = sets[file]
        try:
            rgb = places.read(index)
        except (DataError, ImageError):
            continue
        drawn.append(_draw(labels, index, rgb, annotation))
        captions.append(f"{caption}{labels.file.stem} {labels.pictures[index].id}")
    if not drawn:
        return None
    columns = 6 if len(drawn) > 9 else None
    order = sorted(range(len(drawn)), key=lambda i: drawn[i].shape[0] / drawn[i].shape[1])  # or rows would have gaps
    return (
        contact_sheet([drawn[i] for i in order], columns=columns, captions=[captions[i] for i in order], width=1800),
    )


def _draw(labels: Labels, index: int, rgb: RGB, annotation: int | None) -> RGB:
    people = np.flatnonzero(labels.where == index)
    origin = np.zeros(2)
    suspect = people[labels.rows[people] == annotation] if annotation is not None else people[:0]
    if len(suspect):
        rgb, origin = _crop(rgb, labels, int(suspect[0]))
    scale = max(1.0, _LONG_SIDE / max(rgb.shape[:2]))
    if scale > 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    points = np.where(labels.labelled[people, :, None], labels.keypoints[people, :, :2], np.nan)
    boxes = labels.boxes[people]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) - 0.5
    corners[(boxes[:, 2:] <= 0).any(axis=1)] = np.nan
    skeleton = known_skeleton(labels)
    if not labels.joints:  # boxes alone
        points = np.full((len(people), len(skeleton), 2), np.nan)
    drawn = People.build(
        (points - origin + 0.5) * scale - 0.5,
        skeleton=skeleton,
        boxes=(corners - np.tile(origin, 2) + 0.5) * scale - 0.5,
    )
    return draw_people(rgb, drawn, boxes=True)


def _crop(rgb: RGB, labels: Labels, person: int) -> tuple[RGB, NDArray[np.float64]]:
    """The picture around a person, and where its corner is; all of it where the person has no good box in it."""
    x, y, width, height = labels.boxes[person]
    if not (width > 0 and height > 0):
        return rgb, np.zeros(2)
    margin = _AROUND * max(width, height) + 8
    limit = np.array(rgb.shape[1::-1])
    low = np.clip([x - margin, y - margin], 0, limit).astype(int)
    high = np.clip([x + width + margin, y + height + margin], 0, limit).astype(int)
    if (high - low < 8).any():
        return rgb, np.zeros(2)
    return np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]]), low.astype(np.float64)
