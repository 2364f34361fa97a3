"""Truth: the labelled people of a data set, checked, in COCO's layout whatever the set's own is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.truth_rows import (
    LARGEST_FILE,
    check_annotations,
    check_images,
    complete_rows,
    detect_kind,
    parse_file,
    rows_of_pictures,
)
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names, skeleton_of_joints

if TYPE_CHECKING:
    from manypose.data.pictures import LabelledPicture

COCO_STYLE = ("coco", "wholebody", "crowdpose")
# Skeletons whose sigmas stand in for joints of these names, where no skeleton has exactly the joints of a set.
_SIGMAS_BY_NAME = ("coco17", "crowdpose14", "openpose18", "body25", "wholebody133")


@dataclass(frozen=True)
class Truth:
    """What metrics of joints need to know of a data set, in COCO's layout.

    `name` is the file's, for messages; `file` its path, None for content. `image_ids` are the pictures that count, and
    `images` their rows (id, file_name, width, height ... as far as known); `other_ids` are the rest of the set's.
    `joints` are the names that all categories with keypoints have, `sigmas` those of OKS in the same order (None where
    nobody published any), `skeleton` one with these joints. `annotations` are the rows of these categories in the
    pictures that count; each has num_keypoints and iscrowd, and area and bbox where the set knows them. `kind` is one
    of `data.datasets.KINDS`.
    """

    name: str
    image_ids: tuple[Any, ...]
    other_ids: frozenset[Any]
    category_ids: tuple[Any, ...]
    joints: tuple[str, ...]
    annotations: tuple[Mapping[str, Any], ...]
    images: tuple[Mapping[str, Any], ...] = ()
    sigmas: tuple[float, ...] | None = None
    kind: str = "coco"
    file: Path | None = None
    pictures: Mapping[Any, LabelledPicture] = field(default_factory=dict, repr=False, compare=False)

    @property
    def skeleton(self) -> Skeleton:
        """The published skeleton with exactly these joints, else one of their bare names."""
        return _published(self.joints) or skeleton_of_joints(self.joints)

    @property
    def has_people(self) -> bool:
        """Whether anybody has labelled joints; False for test sets, whose truth their servers keep."""
        return any(row["num_keypoints"] and not row["iscrowd"] for row in self.annotations)

    @property
    def content(self) -> dict[str, Any]:
        """The truth of the pictures that count as pycocotools takes it; new containers, so it may be changed."""
        category: dict[str, Any] = {"name": "person", "keypoints": list(self.joints)}
        category |= {} if self.sigmas is None else {"sigmas": list(self.sigmas)}
        return {
            "images": [dict(row) for row in self.images] or [{"id": image_id} for image_id in self.image_ids],
            "annotations": [{**row, "id": n} for n, row in enumerate(self.annotations, start=1)],
            "categories": [{"id": category_id, **category} for category_id in self.category_ids],
        }

    def keypoints(self, annotation: Mapping[str, Any]) -> NDArray[np.float64]:
        """(K, 3) x, y in pixels and COCO's flag (over 0: labelled); zeros where the row has no keypoints."""
        values = annotation.get("keypoints") or [0] * 3 * len(self.joints)
        if len(values) != 3 * len(self.joints):
            raise DataError(
                f"{self.name}: annotation {annotation.get('id')} has {len(values)} numbers in keypoints, "
                f"expected {3 * len(self.joints)}: x, y, flag of {len(self.joints)} joints"
            )
        return np.array(values, np.float64).reshape(-1, 3)

    def all_keypoints(self) -> NDArray[np.float64]:
        """(N, K, 3) the keypoints of all annotations, in their order."""
        if not self.annotations:
            return np.zeros((0, len(self.joints), 3))
        return np.stack([self.keypoints(row) for row in self.annotations])

    def read_picture(self, image_id: Any) -> NDArray[np.uint8]:
        """The picture of an id, RGB (H, W, 3); raises `DataError` when it cannot be had."""
        from manypose.errors import ImageError
        from manypose.files import picture_place, read_member
        from manypose.images import open_image

        if image_id in self.pictures:
            return self.pictures[image_id].read()
        row = next((row for row in self.images if row["id"] == image_id), None)
        if row is None or self.file is None or not isinstance(row.get("file_name"), str):
            raise DataError(f"{self.name}: image {image_id!r} has no file_name, so it cannot be opened")
        place = picture_place(self.file, row)
        try:
            return open_image(read_member(place, row["file_name"]), name=str(place / row["file_name"]))
        except ImageError as error:
            raise DataError(str(error)) from None


def read_truth(
    place: Path | str | Mapping[str, Any] | Truth,
    *,
    kind: str | None = None,
    part: str | None = None,
    image_ids: Sequence[Any] | None = None,
    sigmas: Sequence[float] | Mapping[str, float] | None = None,
    max_bytes: int = LARGEST_FILE,
) -> Truth:
    """The truth of a data set of any kind that `data.datasets.read_dataset` reads, or of a COCO-style file's content.

    `place` is the file of labels, a folder with one (of the `part` asked for), the parsed content of a COCO-style file,
    or a truth, which is given back. `kind` is one of `data.datasets.KINDS`, told from the content without it. With
    `image_ids` only these pictures count. `sigmas` are those of OKS, in the order of the joints or by their names;
    without them those of the category's own "sigmas" (as in files of xtcocotools), else those published for the joints.

    COCO-style files are read as they stand, and their pictures need not be there. COCO-WholeBody's five lists become
    133 joints; CrowdPose, which has no areas, gets 0.53 x box as in its evaluation (crowdposetools, cocoeval.py). A
    file without annotations, such as image_info_test-dev2017.json, is a test set of COCO's joints.

    Raises `DataError` that names the file and the entry at fault, also for a file over `max_bytes`, unread.
    """
    if isinstance(place, Truth):
        return place if image_ids is None else _select(place, image_ids)
    if isinstance(place, Mapping):
        return _coco_truth("the truth", place, kind=kind, image_ids=image_ids, sigmas=sigmas, file=None)
    if not Path(place).exists():
        raise DataError(f"{place}: cannot be read: No such file; give a data set's file of labels, or its folder")
    file = _find_file(Path(place), kind, part)
    if kind in COCO_STYLE or (kind is None and _starts_as_object(file)):
        content = _load(file, max_bytes)
        if kind is not None or "root" not in content:  # a list of OpenPose's own has a root
            return _coco_truth(str(file), content, kind=kind, image_ids=image_ids, sigmas=sigmas, file=file)
    return _converted_truth(file, kind, part, image_ids, sigmas)


def read_image_ids(file: Path | str) -> list[int]:
    """The ids of a list of pictures: one on each line, or the tab-separated lines of `image_info_val2014_1k.txt`.

    Those hold a running number, the id, the file's name, height and width (caffe_rtpose_train). Empty lines and lines
    that begin with # are left out. Raises `DataError` that names the file and the line at fault.
    """
    path = Path(file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; expected one image id on each line") from None
    ids: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        text = words[1] if len(words) >= 3 else words[0]
        if len(words) == 2 or not (text.isascii() and text.isdigit()):
            raise DataError(
                f"{path}: line {number}: {line[:60]!r}; expected an image id, or number, id, file name, height, width"
            )
        if int(text) in ids:
            raise DataError(f"{path}: line {number}: image id {text} stands on line {ids[int(text)]} already")
        ids[int(text)] = number
    if not ids:
        raise DataError(f"{path}: holds no image ids")
    return list(ids)


def _find_file(place: Path, kind: str | None, part: str | None) -> Path:
    """The file of labels; a packed set may be a folder."""
    if not place.is_dir():
        return place
    from manypose.data.datasets import find_labels
    from manypose.data.packing.program import READERS, packed_kind

    is_packed = kind in READERS or (kind is None and packed_kind(place) is not None)
    return place if is_packed else find_labels(place, kind, part)


def _starts_as_object(file: Path) -> bool:
    """Whether a file may be a JSON object; a missing one is, so that reading it says what is wrong."""
    try:
        with open(file, "rb") as stream:
            start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return file.suffix.lower() == ".json"
    return start.startswith(b"{") or (file.suffix.lower() == ".json" and not start.startswith(b"["))


def _load(path: Path, max_bytes: int) -> Mapping[str, Any]:
    data = parse_file(path, max_bytes)
    if not isinstance(data, dict):
        raise DataError(f"{path}: holds a {type(data).__name__}, expected a COCO-style keypoint file")
    return data


def _coco_truth(
    name: str,
    data: Mapping[str, Any],
    *,
    kind: str | None,
    image_ids: Sequence[Any] | None,
    sigmas: Sequence[float] | Mapping[str, float] | None,
    file: Path | None,
) -> Truth:
    if "annotations" not in data and isinstance(data.get("images"), list):
        data = _as_test_set(data)
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f"{name}: no list {key!r}; expected a COCO-style keypoint file")
    kind = kind or detect_kind(data)
    joints, category_ids, own_sigmas = _joints(name, data["categories"], kind)
    images = check_images(name, data["images"])
    counted = _select_pictures(name, tuple(images), image_ids)
    rows = check_annotations(name, data["annotations"], category_ids, frozenset(counted))
    return Truth(
        name=name,
        image_ids=counted,
        other_ids=frozenset(images) - frozenset(counted),
        category_ids=category_ids,
        joints=joints,
        annotations=complete_rows(name, rows, kind, len(joints)),
        images=tuple(images[image_id] for image_id in counted),
        sigmas=_choose_sigmas(name, joints, sigmas if sigmas is not None else own_sigmas),
        kind=kind,
        file=file,
    )


def _as_test_set(data: Mapping[str, Any]) -> dict[str, Any]:
    """The pictures of a set whose truth its server keeps; its category is COCO's person where it names no joints."""
    categories = data.get("categories")
    own = (
        [c for c in categories if isinstance(c, Mapping) and c.get("keypoints")] if isinstance(categories, list) else []
    )
    person = {"id": 1, "name": "person", "keypoints": list(load_skeleton("coco17").joints)}
    return {**data, "annotations": [], "categories": own or [person]}


def _joints(name: str, rows: Sequence[Any], kind: str) -> tuple[tuple[str, ...], tuple[Any, ...], Any]:
    """Names of the joints, ids of the categories that have them, and their own sigmas or None."""
    for n, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: categories[{n}] is a {type(row).__name__}, expected an object with id and name")
    categories = [row for row in rows if row.get("keypoints")]
    if not categories and kind in ("wholebody", "crowdpose"):
        categories = [row for row in rows if row.get("name", "person") == "person"]
    if not categories:
        raise DataError(f"{name}: no category has keypoints, so there is nothing to measure joints against")
    if any(row.get("keypoints") != categories[0].get("keypoints") for row in categories):
        raise DataError(f"{name}: its categories have different keypoints; measure them one file at a time")
    for row in categories:
        if not isinstance(row.get("id"), (int, str)):
            raise DataError(f"{name}: category {row.get('id', 'without id')} has no id that is a number or a text")
    ids = tuple(row["id"] for row in categories)
    if kind in ("wholebody", "crowdpose"):
        return load_skeleton({"wholebody": "wholebody133", "crowdpose": "crowdpose14"}[kind]).joints, ids, None
    names = categories[0]["keypoints"]
    if not isinstance(names, list) or not all(isinstance(joint, str) for joint in names):
        raise DataError(f"{name}: the keypoints of category {ids[0]!r} must be a list of the joints' names")
    twice = next((joint for joint in names if names.count(joint) > 1), None)
    if twice is not None:
        raise DataError(f"{name}: category {ids[0]!r} has the joint {twice!r} twice")
    return tuple(names), ids, categories[0].get("sigmas")


def _choose_sigmas(name: str, joints: tuple[str, ...], given: Any) -> tuple[float, ...] | None:
    if isinstance(given, Mapping):
        missing = [joint for joint in joints if joint not in given]
        if missing:
            raise DataError(f"{name}: no sigma is given for the joint {missing[0]!r}")
        given = [given[joint] for joint in joints]
    if given is not None:
        values = [float(s) for s in given if isinstance(s, (int, float))] if isinstance(given, Sequence) else []
        if len(values) != len(joints) or not all(0 < value < float("inf") for value in values):
            raise DataError(f"{name}: sigmas must be {len(joints)} positive numbers, one for each joint")
        return tuple(values)
    exact = _published(joints)
    if exact is not None and exact.sigmas is not None:
        return exact.sigmas
    for skeleton in map(load_skeleton, _SIGMAS_BY_NAME):
        if skeleton.sigmas is not None and set(joints) <= set(skeleton.joints):
            return tuple(skeleton.sigmas[skeleton.index(joint)] for joint in joints)
    return None


def _published(joints: tuple[str, ...]) -> Skeleton | None:
    return next((known for known in map(load_skeleton, skeleton_names()) if known.joints == joints), None)


def _select_pictures(name: str, known: tuple[Any, ...], wanted: Sequence[Any] | None) -> tuple[Any, ...]:
    if not known:
        raise DataError(f"{name}: holds no pictures")
    if wanted is None:
        return known
    if not len(wanted):
        raise DataError("image_ids is empty: leave it out to measure all pictures")
    unknown = set(wanted) - set(known)
    if unknown:
        raise DataError(f"{name}: has no picture {min(unknown, key=str)!r}, which image_ids asks for")
    return tuple(dict.fromkeys(wanted))


def _select(truth: Truth, wanted: Sequence[Any]) -> Truth:
    import dataclasses

    rows = {row["id"]: row for row in truth.images}
    counted = _select_pictures(truth.name, truth.image_ids, wanted)
    chosen = frozenset(counted)
    return dataclasses.replace(
        truth,
        image_ids=counted,
        other_ids=truth.other_ids | (frozenset(truth.image_ids) - chosen),
        annotations=tuple(row for row in truth.annotations if row["image_id"] in chosen),
        images=tuple(rows[image_id] for image_id in counted if image_id in rows),
    )


def _converted_truth(
    file: Path,
    kind: str | None,
    part: str | None,
    image_ids: Sequence[Any] | None,
    sigmas: Sequence[float] | Mapping[str, float] | None,
) -> Truth:
    """The truth of a set that is not COCO-style, by its reader, which may want its pictures for their sizes."""
    from manypose.data import datasets
    from manypose.data.packing.program import packed_kind

    kind = kind or packed_kind(file) or datasets.detect_kind(file)
    skeleton = datasets.dataset_skeleton(file, kind=kind, part=part)
    pictures = datasets.read_dataset(file, skeleton, kind=kind, part=part)
    images, rows, by_id = rows_of_pictures(pictures)
    name = str(file)
    counted = _select_pictures(name, tuple(images), image_ids)
    chosen = frozenset(counted)
    return Truth(
        name=name,
        image_ids=counted,
        other_ids=frozenset(images) - chosen,
        category_ids=(1,),
        joints=skeleton.joints,
        annotations=tuple(row for row in rows if row["image_id"] in chosen),
        images=tuple(images[image_id] for image_id in counted),
        sigmas=_choose_sigmas(name, skeleton.joints, sigmas if sigmas is not None else skeleton.sigmas),
        kind=kind,
        file=file,
        pictures=by_id,
    )
