"""Reads a data set of any kind by one call, and splits a validation part off."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manypose.data.coco import coco_skeleton, read_coco
from manypose.data.crowdpose import read_crowdpose
from manypose.data.faults import Fault, OnFault, load_json
from manypose.data.lsp import read_lsp
from manypose.data.matlab import variables
from manypose.data.mpii import read_mpii_json, read_mpii_mat
from manypose.data.openpose_json import read_openpose_json
from manypose.data.packing.program import READERS as PACKED
from manypose.data.packing.program import packed_kind, packed_skeleton
from manypose.data.pictures import LabelledPicture
from manypose.data.product_masks import attach_masks
from manypose.data.wholebody import read_wholebody
from manypose.data.yolo import describe_yolo, read_yolo
from manypose.errors import DataError
from manypose.files import write_bytes
from manypose.skeleton import Skeleton, load_skeleton


@dataclass(frozen=True)
class _Request:
    """What a reader may be told; each takes what its format has."""

    file: Path
    skeleton: Skeleton
    content: Any
    images: Path | None
    part: str | None
    teacher: Path | None
    on_fault: OnFault
    faults: list[Fault] | None


@dataclass(frozen=True)
class _Kind:
    read: Callable[[_Request], list[LabelledPicture]]
    skeleton: Callable[[Path, Any], Skeleton]


def _fixed(name: str) -> Callable[[Path, Any], Skeleton]:
    return lambda _file, _content: load_skeleton(name)


def _common(request: _Request) -> dict[str, Any]:
    return {"images": request.images, "on_fault": request.on_fault, "faults": request.faults}


def _json(request: _Request) -> dict[str, Any]:
    return {**_common(request), "content": request.content, "check_files": True}


def _packed(name: str) -> _Kind:
    return _Kind(
        lambda request: PACKED[name](request.file, request.skeleton),
        lambda file, _content: packed_skeleton(file, kind=name),
    )


_KINDS: dict[str, _Kind] = {
    "coco": _Kind(
        lambda r: read_coco(r.file, r.skeleton, teacher=r.teacher, **_json(r)),
        lambda file, content: coco_skeleton(file, content=content),
    ),
    "wholebody": _Kind(lambda r: read_wholebody(r.file, r.skeleton, **_json(r)), _fixed("wholebody133")),
    "crowdpose": _Kind(lambda r: read_crowdpose(r.file, r.skeleton, **_json(r)), _fixed("crowdpose14")),
    "mpii-json": _Kind(lambda r: read_mpii_json(r.file, r.skeleton, content=r.content, **_common(r)), _fixed("mpii16")),
    "mpii-mat": _Kind(lambda r: read_mpii_mat(r.file, r.skeleton, part=r.part, **_common(r)), _fixed("mpii16")),
    "lsp": _Kind(lambda r: read_lsp(r.file, r.skeleton, part=r.part, **_common(r)), _fixed("lsp14")),
    "openpose-json": _Kind(lambda r: read_openpose_json(r.file, r.skeleton, part=r.part, **_json(r)), _fixed("coco17")),
    "yolo": _Kind(
        lambda r: read_yolo(r.file, r.skeleton, part=r.part, on_fault=r.on_fault, faults=r.faults),
        lambda file, _content: describe_yolo(file).skeleton,
    ),
    **{name: _packed(name) for name in PACKED},
}
KINDS = tuple(_KINDS)


def read_dataset(
    place: Path,
    skeleton: Skeleton | None = None,
    *,
    kind: str | None = None,
    part: str | None = None,
    images: Path | None = None,
    teacher: Path | None = None,
    masks: Path | None = None,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
) -> list[LabelledPicture]:
    """Pictures of the data set at `place` with the joints of `skeleton` (None: its own, see `dataset_skeleton`).

    `place` is the file of labels, or a folder with one, of the `part` that is asked for (train, val, test). `kind` is
    one of `KINDS`; without it, it is told from the content. `images` is the folder or zip file of the pictures, where
    they are not at a usual place; all must be there. `teacher` is as in `read_coco`, `masks` as in `attach_masks`.

    Faults (missing pictures, boxes of no size, joints that are no numbers or too few, ids that appear twice) raise
    `DataError`; with `on_fault` "skip" they are left out, logged, and added to the list `faults`.
    """
    file, name, content = _open(place, kind, part)
    if teacher is not None and name != "coco":
        raise DataError(f"{teacher}: a teacher's labels go with COCO-style files only, and {file} is {name}")
    chosen = skeleton or _KINDS[name].skeleton(file, content)
    request = _Request(file, chosen, content, images, part, teacher, on_fault, faults)
    pictures = _KINDS[name].read(request)
    return attach_masks(pictures, masks) if masks else pictures


def dataset_skeleton(place: Path, *, kind: str | None = None, part: str | None = None) -> Skeleton:
    """The skeleton of a data set's own joints; raises `DataError` when it has none."""
    file, name, content = _open(place, kind, part)
    return _KINDS[name].skeleton(file, content)


def detect_kind(file: Path) -> str:
    """The kind of data set, one of `KINDS`, that a file of labels is; raises `DataError` when it is none."""
    return _detect(file)[0]


def split(
    pictures: Sequence[LabelledPicture], val_size: float, seed: int = 0
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Training and validation part; `val_size` is a share below 1, or a number of pictures.

    A picture's part depends on its name and the seed, not on the order or on where the set lies, so that nearly all
    stay where they are when pictures are added. Raises `DataError` when a part would be empty.
    """
    count = round(val_size * len(pictures)) if val_size < 1 else int(val_size)
    if not 0 < count < len(pictures):
        raise DataError(f"a validation part of {val_size} leaves {count} of {len(pictures)} pictures; choose another")

    def place(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/{picture_key(pictures[index])}".encode()).digest()

    chosen = set(sorted(range(len(pictures)), key=place)[:count])
    train = [picture for index, picture in enumerate(pictures) if index not in chosen]
    return train, [pictures[index] for index in sorted(chosen)]


def picture_key(picture: LabelledPicture) -> str:
    """What a split calls a picture: the name of its folder or zip file, and its name there."""
    return f"{picture.archive.name}/{picture.name}"


def write_split(
    file: Path, train: Sequence[LabelledPicture], val: Sequence[LabelledPicture], *, overwrite: bool = False
) -> None:
    """Write down a split as JSON, {"train": [...], "val": [...]}; raises `OutputError`."""
    lists = {"train": [picture_key(p) for p in train], "val": [picture_key(p) for p in val]}
    write_bytes(file, (json.dumps(lists, indent=1, ensure_ascii=False) + "\n").encode(), overwrite=overwrite)


def read_split(file: Path, pictures: Sequence[LabelledPicture]) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """The split that a file has written down; raises `DataError` when a picture is in none of its parts, or in both."""
    lists = load_json(file, "a split as JSON")
    try:
        train, val = (frozenset(lists[part]) for part in ("train", "val"))
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: not a split as JSON: {type(error).__name__} {error}") from None
    for picture in pictures:
        key = picture_key(picture)
        if (key in train) == (key in val):
            raise DataError(f"{file}: {key} is in {'both parts' if key in train else 'neither part'}; split anew")
    return [p for p in pictures if picture_key(p) in train], [p for p in pictures if picture_key(p) in val]


def _open(place: Path, kind: str | None, part: str | None) -> tuple[Path, str, Any]:
    """File of labels, kind, and its content where that has been read."""
    if kind is not None and kind not in _KINDS:
        raise DataError(f"no kind of data set is called {kind!r}; there are {', '.join(KINDS)}")
    packed = kind if kind in PACKED else packed_kind(place) if kind is None else None
    if packed is not None:
        return place, packed, None
    file = find_labels(place, kind, part) if place.is_dir() else place
    if kind is not None:
        return file, kind, None
    return (file, *_detect(file))


def _detect(file: Path) -> tuple[str, Any]:
    if not file.is_file():
        raise DataError(f"{file}: No such file: give the file of a data set's labels, or its folder")
    suffix = file.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return "yolo", None
    if suffix == ".mat":
        held = variables(file)
        if "RELEASE" in held or "joints" in held:
            return ("mpii-mat" if "RELEASE" in held else "lsp"), None
        raise DataError(f"{file}: neither MPII's nor Leeds Sports Pose's: it holds {', '.join(held) or 'nothing'}")
    content = load_json(file, "a data set that is known by its content; name its kind")
    found = _detect_json(content)
    if found is None:
        raise DataError(f"{file}: no data set that is known by its content; name its kind: {', '.join(KINDS)}")
    return found, content


def _detect_json(content: Any) -> str | None:
    if isinstance(content, list):
        is_mpii = content and isinstance(content[0], dict) and {"image", "joints", "center"} <= set(content[0])
        return "mpii-json" if is_mpii else None
    if not isinstance(content, dict):
        return None
    if "root" in content:
        return "openpose-json"
    if not isinstance(content.get("images"), list) or not isinstance(content.get("annotations"), list):
        return None
    if any("lefthand_kpts" in row or "foot_kpts" in row for row in content["annotations"][:1] if isinstance(row, dict)):
        return "wholebody"
    is_crowdpose = any("crowdIndex" in row for row in content["images"][:1] if isinstance(row, dict))
    return "crowdpose" if is_crowdpose else "coco"


def is_of_part(file: Path, part: str) -> bool:
    """Whether the name of a file of labels speaks of a part; "trainval" is a part of its own."""
    return re.search(rf"(?<![a-z]){re.escape(part)}(?![a-z])", file.stem.lower()) is not None


def find_labels(folder: Path, kind: str | None, part: str | None) -> Path:
    """The one file of labels in a folder, of a part where there are several."""
    whole = [path for name in ("data.yaml", "joints.mat") for path in [folder / name] if path.is_file()]
    whole += sorted(folder.glob("mpii_human_pose*.mat")) + sorted(folder.glob("*/mpii_human_pose*.mat"))
    found = [path for place in (folder, folder / "annotations") for path in sorted(place.glob("*.json"))]
    if part is not None:
        found = [path for path in found if is_of_part(path, part)]
    of_part = kind is None and part is not None and bool(found)  # of MPII, that has such files beside the whole
    if whole and kind in (None, "yolo", "lsp", "mpii-mat") and not of_part:
        return whole[0]
    keypoints = [path for path in found if "keypoint" in path.stem]  # of COCO, which has captions beside them
    found = keypoints if kind in (None, "coco") and keypoints else found
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:8]) or "none"
    raise DataError(f"{folder}: cannot tell the file of labels ({names}); name the file, or its part")
