"""Writes data sets: COCO, YOLO pose labels, and MPII's people as JSON; with the pictures or without."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from manypose.data.mpii import FIRST_PIXEL, SCALE_UNIT
from manypose.data.pictures import LabelledPicture, Segment
from manypose.data.places import safe_name
from manypose.data.records import AREA_OF_BOX, HALF_PIXEL
from manypose.errors import DataError, OutputError
from manypose.files import write_bytes
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

DIGITS = 3  # of a pixel; YOLO's parts of a side get three more


@dataclass(frozen=True)
class Written:
    """What was written: the file of labels, how much is in it, and what the format could not hold, in words."""

    file: Path
    pictures: int
    people: int
    lost: tuple[str, ...] = ()


def write_dataset(
    pictures: Sequence[LabelledPicture],
    skeleton: Skeleton,
    folder: Path,
    *,
    to: str = "coco",
    part: str = "train",
    with_pictures: bool = True,
    overwrite: bool = False,
) -> Written:
    """Write `pictures` with joints of `skeleton` into `folder` as one of `FORMATS`; the folder is made.

    coco: `<part>.json` and `images`; mpii-json: the same; yolo: `data.yaml`, `images/<part>` and `labels/<part>`.
    Picture files are copied as they are (bare pixels of packed sets become PNG), unless `with_pictures` is false.
    Raises `OutputError`, or `DataError` when a picture cannot be had.
    """
    if to not in FORMATS:
        raise OutputError(f"no format is called {to!r}; there are {', '.join(FORMATS)}")
    names = _names(pictures)
    base = folder / "images" / part if to == "yolo" else folder / "images"
    try:
        base.mkdir(parents=True, exist_ok=True)
        if with_pictures:
            for index, picture in enumerate(pictures):
                content = picture.fetch(picture.archive, picture.name)
                if isinstance(content, np.ndarray):  # of a packed set that holds plain pixels
                    names[index] = str(PurePosixPath(names[index]).with_suffix(".png"))
                    content = cv2.imencode(".png", content[..., ::-1])[1].tobytes()
                file = base / names[index]
                file.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(file, content, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{base}: cannot be written: {error.strerror or error}") from None
    written = FORMATS[to](pictures, skeleton, folder, names, part, overwrite)
    masks = sum(picture.masks is not None for picture in pictures)
    return replace(written, lost=(*written.lost, f"the masks of {masks} pictures")) if masks else written


def write_coco(
    pictures: Sequence[LabelledPicture],
    skeleton: Skeleton,
    file: Path,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Written:
    """Write a COCO keypoint file with joints of `skeleton`; pictures are called `names` there (else as they are).

    Areas to ignore are annotations without joints, crowds where they are RLEs. An unknown area is 0.53 x box
    (`area_from` says so). Two keys of ours, `unsure` (indices of joints) and `head_box` (x, y, w, h), are added where
    a person has such; `read_coco` reads them.
    """
    names = names or [picture.name for picture in pictures]
    ids = _ids(pictures)
    images, rows = [], []
    used = {int(i) for picture in pictures for i in picture.person_ids}
    free = iter(i for i in range(1, len(used) + sum(len(p) + len(p.ignore) for p in pictures) + 2) if i not in used)
    given: set[int] = set()
    for picture, name, key in zip(pictures, names, ids, strict=True):
        images.append({"id": key, "file_name": name, "width": picture.size[0], "height": picture.size[1]})
        for index in range(len(picture)):
            own = int(picture.person_ids[index])
            row_id = next(free) if own < 0 or own in given else own
            given.add(row_id)
            rows.append({"id": row_id, "image_id": key, "category_id": 1, **_coco_person(picture, index)})
        for box, segment in zip(picture.ignore, picture.ignore_segments, strict=True):
            ignored = _coco_ignored(box, segment, len(skeleton))
            rows.append({"id": next(free), "image_id": key, "category_id": 1, **ignored})
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
    }
    content = {"images": images, "annotations": rows, "categories": [category]}
    write_bytes(file, json.dumps(content, ensure_ascii=False).encode(), overwrite=overwrite)
    return Written(file, len(pictures), sum(map(len, pictures)))


def _coco_person(picture: LabelledPicture, index: int) -> dict[str, Any]:
    there = ~np.isnan(picture.keypoints[index, :, 0])
    flags = np.where(there, np.where(picture.visible[index], 2, 1), 0)
    points = np.where(there[:, None], picture.keypoints[index], 0)
    keypoints = [v for (x, y), flag in zip(points, flags, strict=True) for v in (_pixel(x), _pixel(y), int(flag))]
    box = _file_box(picture.boxes[index])
    area = float(picture.areas[index])
    row = {
        "keypoints": keypoints,
        "num_keypoints": int(there.sum()),
        "bbox": box,
        "iscrowd": 0,
        "segmentation": _file_segment(picture.segments[index]),
        **({"area": area} if area > 0 else {"area": AREA_OF_BOX * box[2] * box[3], "area_from": "0.53 x bbox"}),
    }
    if picture.unsure[index].any():
        row["unsure"] = np.flatnonzero(picture.unsure[index]).tolist()
    if picture.head_boxes is not None and np.isfinite(picture.head_boxes[index]).all():
        row["head_box"] = _file_box(picture.head_boxes[index])
    return row


def _coco_ignored(box: Any, segment: Segment, joints: int) -> dict[str, Any]:
    corners = _file_box(box)
    return {
        "keypoints": [0] * 3 * joints,
        "num_keypoints": 0,
        "bbox": corners,
        "area": AREA_OF_BOX * corners[2] * corners[3],
        "iscrowd": int(isinstance(segment, Mapping)),
        "segmentation": _file_segment(segment),
    }


def write_yolo(
    pictures: Sequence[LabelledPicture],
    skeleton: Skeleton,
    folder: Path,
    *,
    names: Sequence[str] | None = None,
    part: str = "train",
    overwrite: bool = False,
) -> Written:
    """Write `labels/<part>` for pictures in `images/<part>`, and `data.yaml`, which keeps parts that it has already.

    Areas to ignore are people without a labelled joint; crowds (RLEs) are left out, as YOLO's own converter does.
    Boxes are cut at the picture's edges, joints outside of it are not labelled.
    """
    names = names or [picture.name for picture in pictures]
    crowds = outside = 0
    for picture, name in zip(pictures, names, strict=True):
        lines, gone = _yolo_rows(picture)
        crowds += sum(isinstance(segment, Mapping) for segment in picture.ignore_segments)
        outside += gone
        file = (folder / "labels" / part / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, "".join(f"{line}\n" for line in lines).encode(), overwrite=overwrite)
    lost = [f"{crowds} crowds"] if crowds else []
    lost += [f"{outside} joints outside of their picture"] if outside else []
    file = folder / "data.yaml"
    write_bytes(file, _yolo_yaml(file, skeleton, part), overwrite=True)
    return Written(file, len(pictures), sum(map(len, pictures)), tuple(lost))


def _yolo_rows(picture: LabelledPicture) -> tuple[list[str], int]:
    """The rows of a picture's label file, and how many joints they leave out."""
    size, gone, lines = np.array(picture.size, np.float64), 0, []
    crowd = [isinstance(segment, Mapping) for segment in picture.ignore_segments]
    nobody = np.full((len(crowd), *picture.keypoints.shape[1:]), np.nan)
    boxes = np.concatenate([picture.boxes, picture.ignore])
    joints = np.concatenate([picture.keypoints, nobody])
    visible = np.concatenate([picture.visible, np.zeros(nobody.shape[:2], bool)])
    skipped = [False] * len(picture) + crowd
    for box, places, seen, skip in zip(boxes, joints, visible, skipped, strict=True):
        corners = np.clip((box.reshape(2, 2) + HALF_PIXEL) / size, 0, 1)
        extent = corners[1] - corners[0]
        if skip or not (extent > 0).all():
            continue
        parts = places / size
        there = ~np.isnan(parts[:, 0])
        inside = there & ((parts >= 0) & (parts <= 1)).all(axis=1)
        gone += int((there & ~inside).sum())
        flags = np.where(inside, np.where(seen, 2, 1), 0)
        numbers = [*((corners[0] + corners[1]) / 2), *extent]
        text = " ".join(f"{value:.{DIGITS + 4}f}" for value in numbers)
        kept = (
            f"{x:.{DIGITS + 4}f} {y:.{DIGITS + 4}f} {flag}" if flag else "0 0 0"
            for (x, y), flag in zip(parts, flags, strict=True)
        )
        lines.append(f"0 {text} {' '.join(kept)}")
    return lines, gone


def _yolo_yaml(file: Path, skeleton: Skeleton, part: str) -> bytes:
    known = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    parts = {name: known[name] for name in ("train", "val", "test") if isinstance(known, dict) and name in known}
    if parts and known.get("kpt_shape") != [len(skeleton), 3]:
        raise OutputError(f"{file}: is of another set, of kpt_shape {known.get('kpt_shape')}; choose another folder")
    content = {
        "path": ".",
        **parts,
        part: f"images/{part}",
        "kpt_shape": [len(skeleton), 3],
        "flip_idx": [int(k) for k in skeleton.flip],
        "names": {0: "person"},
        "kpt_names": {0: list(skeleton.joints)},
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True).encode()


def write_mpii_json(
    pictures: Sequence[LabelledPicture],
    skeleton: Skeleton,
    file: Path,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Written:
    """Write a list of {image, center, scale, joints, joints_vis}, 1-based, with joints mapped to MPII's 16 by name.

    The scale is the longer side of the box / 200. Someone with labels, but none that MPII has, is listed without a
    joint, which readers take for an area to ignore. People to ignore, joints that MPII does not have, and which joints
    are hidden cannot be written. Raises `DataError` when the skeletons share no joint.
    """
    mpii, rows = load_skeleton("mpii16"), []
    names = names or [picture.name for picture in pictures]
    if not set(mpii.joints) & set(skeleton.joints):
        raise DataError(f"the skeleton {skeleton.name!r} shares no joint with MPII's")
    bare = 0
    for picture, name in zip(pictures, names, strict=True):
        places = People.build(picture.keypoints, skeleton=skeleton).to(mpii).keypoints
        for joints, box in zip(places, picture.boxes.astype(np.float64), strict=True):
            there = ~np.isnan(joints[:, 0])
            bare += not there.any()
            shown = np.where(there[:, None], joints + FIRST_PIXEL, -1)
            centre = (box[:2] + box[2:]) / 2 + FIRST_PIXEL
            rows.append(
                {
                    "image": name,
                    "center": [_pixel(v) for v in centre],
                    "scale": round(float((box[2:] - box[:2]).max()) / SCALE_UNIT, DIGITS + 3),
                    "joints": [[_pixel(x), _pixel(y)] for x, y in shown],
                    "joints_vis": there.astype(int).tolist(),
                }
            )
    write_bytes(file, json.dumps(rows, ensure_ascii=False).encode(), overwrite=overwrite)
    empty = sum(not len(picture) for picture in pictures)
    lost = _lost_by_mpii(pictures, np.array([joint not in mpii.joints for joint in skeleton.joints]), bare)
    return Written(file, len(pictures) - empty, len(rows) - bare, lost)


def _lost_by_mpii(pictures: Sequence[LabelledPicture], unknown: NDArray[np.bool_], bare: int) -> tuple[str, ...]:
    """In words, what MPII's lists cannot hold; `unknown` (K,) are the joints that they do not have."""
    counts = [0, 0]
    for picture in pictures:
        labelled = ~np.isnan(picture.keypoints[..., 0])
        counts[0] += int(labelled[:, unknown].sum())
        counts[1] += int((labelled & ~picture.visible)[:, ~unknown].sum())
    words = {
        "{} people without labels": sum(len(picture.ignore) for picture in pictures),
        "{} pictures of nobody with labels": sum(not len(picture) for picture in pictures),
        "{} joints that MPII does not have": counts[0],
        "the labels of {} people, who are listed without a joint": bare,
        "that {} joints are hidden": counts[1],
    }
    return tuple(text.format(count) for text, count in words.items() if count)


FORMATS: dict[str, Callable[..., Written]] = {
    "coco": lambda pictures, skeleton, folder, names, part, overwrite: write_coco(
        pictures, skeleton, folder / f"{part}.json", names=names, overwrite=overwrite
    ),
    "yolo": lambda pictures, skeleton, folder, names, part, overwrite: write_yolo(
        pictures, skeleton, folder, names=names, part=part, overwrite=overwrite
    ),
    "mpii-json": lambda pictures, skeleton, folder, names, part, overwrite: write_mpii_json(
        pictures, skeleton, folder / f"{part}.json", names=names, overwrite=overwrite
    ),
}


def _names(pictures: Sequence[LabelledPicture]) -> list[str]:
    """Names that no two pictures share, also without their suffix; those of several archives may clash."""
    given: dict[str, int] = {}
    names = []
    for picture in pictures:
        try:
            name = safe_name(picture.name)
        except ValueError as error:
            raise DataError(f"{picture.archive}: {error}") from None
        stem = name.rpartition(".")[0] or name
        given[stem] = given.get(stem, 0) + 1
        names.append(name if given[stem] == 1 else f"{stem}-{given[stem]}{name[len(stem) :]}")
    return names


def _ids(pictures: Sequence[LabelledPicture]) -> list[int]:
    """The pictures' own ids where all are different whole numbers, as COCO wants them; else 1, 2 ..."""
    own = [picture.id for picture in pictures]
    whole = [value for value in own if isinstance(value, int)]
    return whole if len(set(whole)) == len(own) else list(range(1, len(own) + 1))


def _file_box(box: Any) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [_pixel(x1 + HALF_PIXEL), _pixel(y1 + HALF_PIXEL), _pixel(x2 - x1), _pixel(y2 - y1)]


def _file_segment(segment: Segment) -> Any:
    if segment is None:
        return []
    if isinstance(segment, Mapping):
        counts = segment["counts"]
        return {**segment, "counts": counts.decode() if isinstance(counts, bytes) else counts}
    return [[_pixel(value) for value in (polygon + HALF_PIXEL).ravel()] for polygon in segment]


def _pixel(value: Any) -> float:
    return round(float(value), DIGITS)
