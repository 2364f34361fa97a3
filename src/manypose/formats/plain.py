"""manypose's own JSON: everything that `People` holds, of one picture or of many.

    {"format": "manypose people", "schema_version": 1, "pictures": [
    {"file_name": "beach.jpg", "image_size": [640, 480], "skeleton": "coco17", "people": [
    {"id": 3, "score": 0.91, "box": [12.0, 30.5, 99.0, 210.0], "keypoints": [[55.1, 40.0, 0.97], null, ...]}
    ]}
    ]}

- `keypoints` are [x, y, score] in the order of the skeleton's joints, null where a joint was not found; `states`, when
  there are any, follow the same order.
- x and y are manypose's own: pixels of the picture, the centre of the top-left pixel is (0, 0). `box` is x1, y1, x2,
  y2 in the same pixels; null or absent: the box around the joints. `score` absent: the mean of the joints found.
- `skeleton` is the name of one that comes with manypose, or a full definition as `Skeleton.to_dict` gives it.
- `parts` of a picture says which skeleton each part has; `parts` of a person holds those that were found, without
  ids, since they are the person's.
- Pixels have two decimals, scores four, so what is read back differs by at most 0.005 pixels and 0.00005.

The JSON Schema is `schema/people-1.json` in this folder (`json_schema()`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from manypose.errors import FormatError, SkeletonError
from manypose.formats._documents import (
    MAX_BYTES,
    PIXEL_DECIMALS,
    SCORE_DECIMALS,
    FilePath,
    parse_json,
    read_bytes,
    rounded,
    write_text,
)
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict, skeleton_names

if TYPE_CHECKING:
    from manypose.formats._plain_document import Joints, PictureEntry, SkeletonDefinition


@dataclass(frozen=True)
class Picture:
    """The people of one picture and the name of its file, None when it has none."""

    people: People
    file_name: str | None = None


Pictures = People | Picture | Iterable[Picture]


def dumps(pictures: Pictures) -> str:
    """JSON of the people of one picture or of many, one person a line; the same people give the same text."""
    if isinstance(pictures, People):
        pictures = Picture(pictures)
    if isinstance(pictures, Picture):
        pictures = [pictures]
    body = ",\n".join(_picture_text(picture) for picture in pictures)
    return f'{{"format": "manypose people", "schema_version": 1, "pictures": [\n{body}\n]}}\n'


def loads(text: str | bytes, *, source: str = "the JSON") -> list[Picture]:
    """The pictures of a JSON text, in order.

    Raises `FormatError` with `source` and the path inside of the text, such as `pictures[0].people[2].box`.
    """
    from manypose.formats._plain_document import PEOPLE_FILE

    file = parse_json(PEOPLE_FILE, text, source=source)
    return [
        Picture(_people(entry, f"{source}: pictures[{i}]"), entry.file_name) for i, entry in enumerate(file.pictures)
    ]


def from_json(text: str | bytes, *, source: str = "the JSON") -> People:
    """The people of a JSON text of exactly one picture, as `People.to_json` writes it; raises as `loads` does."""
    pictures = loads(text, source=source)
    if len(pictures) != 1:
        raise FormatError(f"{source}: holds {len(pictures)} pictures, expected one; plain.loads reads any number")
    return pictures[0].people


def write(path: FilePath, pictures: Pictures, *, overwrite: bool = False) -> None:
    """Write a JSON file; raises `OutputError` when it exists and `overwrite` is not set."""
    write_text(path, dumps(pictures), overwrite=overwrite)


def read(path: FilePath, *, max_bytes: int = MAX_BYTES) -> list[Picture]:
    """The pictures of a JSON file, in order; raises `FormatError` with the file and the path inside of it."""
    return loads(read_bytes(path, max_bytes=max_bytes), source=str(path))


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of these files."""
    file = resources.files("manypose.formats").joinpath("schema").joinpath("people-1.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def _picture_text(picture: Picture) -> str:
    people = picture.people
    head: dict[str, Any] = {}
    if picture.file_name is not None:
        # A file name that is not UTF-8 reaches Python with lone surrogates, which JSON cannot hold.
        head["file_name"] = str(picture.file_name).encode("utf-8", "replace").decode("utf-8")
    if people.image_size is not None:
        head["image_size"] = [int(side) for side in people.image_size]
    head["skeleton"] = _skeleton_entry(people.skeleton)
    if people.parts:
        head["parts"] = {name: _skeleton_entry(part.skeleton) for name, part in sorted(people.parts.items())}
    lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in _person_entries(people)]
    body = "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "people": {body}}}'


def _skeleton_entry(skeleton: Skeleton) -> str | dict[str, Any]:
    known = skeleton.name in skeleton_names() and load_skeleton(skeleton.name) == skeleton
    return skeleton.name if known else skeleton.to_dict()


def _person_entries(people: People) -> list[dict[str, Any]]:
    entries = _joints_entries(people)
    if people.ids is not None:
        entries = [{"id": int(identity)} | entry for identity, entry in zip(people.ids, entries, strict=True)]
    for name, part in sorted(people.parts.items()):
        if part.parts:
            raise FormatError(f"parts[{name!r}] has parts of its own, which this format does not hold; drop them")
        for entry, part_entry in zip(entries, _joints_entries(part), strict=True):
            if part_entry["box"] or any(part_entry["keypoints"]):
                entry.setdefault("parts", {})[name] = part_entry
    return entries


def _joints_entries(people: People) -> list[dict[str, Any]]:
    places, scores = rounded(people.keypoints, PIXEL_DECIMALS), rounded(people.scores, SCORE_DECIMALS)
    boxes = rounded(people.boxes, PIXEL_DECIMALS)
    boxed = np.isfinite(people.boxes.sum(axis=1))
    there = people.visible
    entries: list[dict[str, Any]] = []
    for i, score in enumerate(rounded(people.person_scores, SCORE_DECIMALS)):
        joints = zip(places[i], scores[i], there[i], strict=True)
        keypoints = [[*place, joint_score] if found else None for place, joint_score, found in joints]
        entry = {"score": score, "box": boxes[i] if boxed[i] else None, "keypoints": keypoints}
        entries.append(entry if people.states is None else entry | {"states": people.states[i].tolist()})
    return entries


def _people(entry: PictureEntry, place: str) -> People:
    for i, person in enumerate(entry.people):
        for name in person.parts:
            if name not in entry.parts:
                raise FormatError(f"{place}.people[{i}].parts.{name}: its skeleton is missing in {place}.parts")
    parts = {
        name: _group(
            [person.parts.get(name) for person in entry.people],
            skeleton=_skeleton(skeleton, f"{place}.parts.{name}"),
            image_size=entry.image_size,
            place=f"{place}.people",
            part=f".parts.{name}",
        )
        for name, skeleton in entry.parts.items()
    }
    people = _group(
        entry.people,
        skeleton=_skeleton(entry.skeleton, f"{place}.skeleton"),
        image_size=entry.image_size,
        place=f"{place}.people",
    )
    ids = [person.id for person in entry.people]
    if ids and None not in ids:
        return replace(people, parts=parts, ids=np.array(ids, np.int64))
    if any(identity is not None for identity in ids):
        raise FormatError(f"{place}.people[{ids.index(None)}].id: is missing, though other people have one")
    return replace(people, parts=parts)


def _group(
    rows: Sequence[Joints | None],
    *,
    skeleton: Skeleton,
    image_size: tuple[int, int] | None,
    place: str,
    part: str = "",
) -> People:
    """People of one skeleton from checked entries; a row that is None is all-absent.

    Row i stands at `place[i]` of the file, or at its `part`.
    """
    joints = np.full((len(rows), len(skeleton), 3), np.nan)
    states = np.zeros((len(rows), len(skeleton)), np.uint8)
    stated = any(row is not None and row.states is not None for row in rows)
    for i, row in enumerate(rows):
        if row is None:
            continue
        if stated and row.states is None:
            raise FormatError(f"{place}[{i}]{part}.states: are missing, though other people have them")
        for name, values in (("keypoints", row.keypoints), ("states", row.states)):
            if values is not None and len(values) != len(skeleton):
                expected = f"expected {len(skeleton)}, one for each joint of {skeleton.name!r}"
                raise FormatError(f"{place}[{i}]{part}.{name}: holds {len(values)} values, {expected}")
        joints[i] = [joint or (np.nan, np.nan, 0) for joint in row.keypoints]
        states[i] = row.states or 0
    people = People.build(
        joints[..., :2],
        joints[..., 2],
        skeleton=skeleton,
        states=states if stated else None,
        image_size=image_size,
    )
    return _with_given(people, rows)


def _with_given(people: People, rows: Sequence[Joints | None]) -> People:
    """The people with the person scores and boxes that their entries give in place of those made from the joints."""
    scores, boxes = people.person_scores.copy(), people.boxes.copy()
    for i, row in enumerate(rows):
        if row is not None and row.score is not None:
            scores[i] = row.score
        if row is not None and row.box is not None:
            boxes[i] = row.box
    return replace(people, person_scores=scores, boxes=boxes)


def _skeleton(entry: str | SkeletonDefinition, place: str) -> Skeleton:
    try:
        return load_skeleton(entry) if isinstance(entry, str) else skeleton_from_dict(entry.model_dump())
    except SkeletonError as error:
        raise FormatError(f"{place}: {error}") from None
