"""OpenPose's JSON (`--write_json`): one file for each picture, x, y, score of every joint flat in one list.

- The keys, in their order: `version`, `people`; of a person `person_id`, `pose_keypoints_2d`, `face_keypoints_2d`,
  `hand_left_keypoints_2d`, `hand_right_keypoints_2d` and the same four with `_3d`, which stay empty. Files from before
  2018 lack the `_2d`; they are read as well, and so is `part_candidates`, which is then left alone.
- `pose_keypoints_2d` has 75 numbers for body25, 54 for openpose18, 45 for mpi15. People of other skeletons are
  written as the one of these that suits them (`skeleton=` says otherwise). A joint that was not found is 0, 0, 0.
- The parts `face` (face70), `left_hand` and `right_hand` (hand21) fill their lists; those of wholebody133 come from
  its own joints. A part that nobody has is an empty list.
- `person_id` is the person's id, [-1] without ids. A file holds no scores of persons, no boxes and no picture size: on
  reading a person scores the mean of his joints and his box encloses them.
- x and y are pixels of the picture, as manypose's own; nothing is added. OpenPose's option `--keypoint_scale` can
  write them in pixels of the network's input, or as 0..1 or -1..1, and the file does not say so: with such files
  bring the people to pixels with `People.transform`, and before writing scaled people raise `decimals`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manypose.errors import FormatError
from manypose.formats._documents import (
    MAX_BYTES,
    FilePath,
    flat_joints,
    parse_json,
    parse_objects,
    read_bytes,
    write_text,
)
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    from manypose.formats._openpose_document import OpenPoseFile

VERSION = 1.3
DECIMALS = 3

_WRITTEN_AS = {
    "body25": "body25",
    "openpose18": "openpose18",
    "mpi15": "mpi15",
    "coco17": "openpose18",
    "wholebody133": "body25",
    "mpii16": "mpi15",
    "lsp14": "mpi15",
    "crowdpose14": "mpi15",
}
_READ_AS = {75: "body25", 54: "openpose18", 45: "mpi15"}
_PARTS = {"face": "face70", "left_hand": "hand21", "right_hand": "hand21"}
_PART_KEYS = {
    "face": "face_keypoints",
    "left_hand": "hand_left_keypoints",
    "right_hand": "hand_right_keypoints",
}
_FACES_READ_AS = {210: "face70", 204: "face68"}
_HANDS_READ_AS = {63: "hand21"}


def to_dict(people: People, *, skeleton: Skeleton | str | None = None, decimals: int = DECIMALS) -> dict[str, Any]:
    """The people of one picture as OpenPose's file holds them.

    Raises `FormatError` when the people's skeleton is not a body that OpenPose writes and `skeleton` names none.
    """
    body = people.to(skeleton or _written_as(people.skeleton))
    lists = {"pose_keypoints": flat_joints(body, decimals)}
    for name, key in _PART_KEYS.items():
        part = _part(people, name)
        lists[key] = [[] for _ in range(len(people))] if part is None else flat_joints(part, decimals)
    identities = [-1] * len(people) if people.ids is None else people.ids.tolist()
    entries = []
    for i, identity in enumerate(identities):
        entry: dict[str, Any] = {"person_id": [identity]}
        entry |= {f"{key}_2d": rows[i] for key, rows in lists.items()}
        entries.append(entry | {f"{key}_3d": [] for key in lists})
    return {"version": VERSION, "people": entries}


def from_dict(
    data: Mapping[str, Any],
    *,
    skeleton: Skeleton | str | None = None,
    image_size: tuple[int, int] | None = None,
    source: str = "the OpenPose data",
) -> People:
    """The people of one picture from OpenPose's data, as `json.load` gives them.

    Without `skeleton` it is told by the length of the lists; body25 where nobody has a body. Raises `FormatError` with
    the path of the fault, such as `people[2].pose_keypoints`.
    """
    from manypose.formats._openpose_document import OPENPOSE_FILE

    return _from_file(parse_objects(OPENPOSE_FILE, data, source=source), skeleton, image_size, source)


def dumps(people: People, *, skeleton: Skeleton | str | None = None, decimals: int = DECIMALS) -> str:
    """The JSON of the people of one picture; raises as `to_dict` does."""
    return json.dumps(to_dict(people, skeleton=skeleton, decimals=decimals), separators=(",", ":")) + "\n"


def loads(
    text: str | bytes,
    *,
    skeleton: Skeleton | str | None = None,
    image_size: tuple[int, int] | None = None,
    source: str = "the OpenPose JSON",
) -> People:
    """The people of one picture from JSON; as `from_dict`."""
    from manypose.formats._openpose_document import OPENPOSE_FILE

    return _from_file(parse_json(OPENPOSE_FILE, text, source=source), skeleton, image_size, source)


def write(
    path: FilePath,
    people: People,
    *,
    skeleton: Skeleton | str | None = None,
    decimals: int = DECIMALS,
    overwrite: bool = False,
) -> None:
    """Write the file of one picture; OpenPose calls it `<picture>_keypoints.json`.

    Raises `OutputError` when the file exists and `overwrite` is not set, `FormatError` as `to_dict` does.
    """
    write_text(path, dumps(people, skeleton=skeleton, decimals=decimals), overwrite=overwrite)


def read(
    path: FilePath,
    *,
    skeleton: Skeleton | str | None = None,
    image_size: tuple[int, int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> People:
    """The people of one picture from a file; as `from_dict`."""
    content = read_bytes(path, max_bytes=max_bytes)
    return loads(content, skeleton=skeleton, image_size=image_size, source=str(path))


def _written_as(skeleton: Skeleton) -> str:
    if skeleton.name not in _WRITTEN_AS:
        bodies = ", ".join(sorted(set(_WRITTEN_AS.values())))
        raise FormatError(
            f"OpenPose has no body for the skeleton {skeleton.name!r}; pass skeleton= with one of {bodies}"
        )
    return _WRITTEN_AS[skeleton.name]


def _part(people: People, name: str) -> People | None:
    """A part in OpenPose's skeleton, from `parts` or from the joints of a whole body; None when there is none."""
    skeleton = load_skeleton(_PARTS[name])
    if name in people.parts:
        return people.parts[name].to(skeleton)
    prefix = "" if name == "face" else f"{name}_"
    joints = [prefix + joint for joint in skeleton.joints]
    rows = [people.skeleton.joints.index(joint) if joint in people.skeleton.joints else -1 for joint in joints]
    if max(rows) < 0:
        return None
    there = np.array(rows) >= 0
    keypoints = np.where(there[None, :, None], people.keypoints[:, rows], np.nan)
    return People.build(keypoints, people.scores[:, rows], skeleton=skeleton)


def _from_file(
    file: OpenPoseFile, skeleton: Skeleton | str | None, image_size: tuple[int, int] | None, source: str
) -> People:
    rows = _Rows([person.pose_keypoints for person in file.people], "pose_keypoints", source)
    people = rows.people(skeleton or rows.told_by_length(_READ_AS) or "body25", image_size)
    parts = {}
    for name, key in _PART_KEYS.items():
        rows = _Rows([getattr(person, key) for person in file.people], key, source)
        part = rows.told_by_length(_FACES_READ_AS if name == "face" else _HANDS_READ_AS)
        if part is not None:
            parts[name] = rows.people(part, image_size)
    identities = [person.person_id[0] if person.person_id else -1 for person in file.people]
    known = any(identity != -1 for identity in identities)
    return replace(people, parts=parts, ids=np.array(identities, np.int64) if known else None)


@dataclass(frozen=True)
class _Rows:
    """One kind of list (body, face, a hand) of all people of a file; empty where a person has none."""

    values: list[list[float]]
    key: str
    source: str

    def told_by_length(self, known: Mapping[int, str]) -> str | None:
        """The skeleton whose lists are as long as the first that is not empty; None when all are empty."""
        length = next((len(values) for values in self.values if values), None)
        if length is None or length in known:
            return None if length is None else known[length]
        lengths = ", ".join(f"{count} ({name})" for count, name in known.items())
        row = next(i for i, values in enumerate(self.values) if values)
        raise FormatError(f"{self._place(row)}: holds {length} numbers, expected {lengths}; pass skeleton= for another")

    def people(self, skeleton: Skeleton | str, image_size: tuple[int, int] | None) -> People:
        target = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
        joints = np.zeros((len(self.values), len(target), 3))
        for i, values in enumerate(self.values):
            if values and len(values) != 3 * len(target):
                expected = f"expected {3 * len(target)} for {target.name!r}"
                raise FormatError(f"{self._place(i)}: holds {len(values)} numbers, {expected}")
            if values:
                joints[i] = np.reshape(values, (-1, 3))
        keypoints = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan)
        return People.build(keypoints, joints[..., 2], skeleton=target, image_size=image_size)

    def _place(self, row: int) -> str:
        return f"{self.source}: people[{row}].{self.key}"
