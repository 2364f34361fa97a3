"""Reads Leeds Sports Pose and its extension: `joints.mat`, one person in each picture, two layouts.

Sources: bearpaw/pytorch-pose, miscs/gen_lsp.m; the extension's own file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manypose.data.faults import Fault, OnFault, make_log
from manypose.data.matlab import load_mat
from manypose.data.pictures import LabelledPicture
from manypose.data.places import PicturePlaces, picture_size
from manypose.data.records import Person, make_picture
from manypose.errors import DataError
from manypose.skeleton import Skeleton, load_skeleton

JOINTS = 14
TRAIN = 1000  # the first pictures of Leeds Sports Pose; the rest are its test part
MARGIN = 0.1  # added to the joints' box on each side, in parts of its longer side


def read_lsp(
    file: Path,
    skeleton: Skeleton,
    *,
    images: Path | None = None,
    part: str | None = None,
    on_fault: OnFault = "stop",
    faults: list[Fault] | None = None,
) -> list[LabelledPicture]:
    """Pictures of the `joints.mat` of Leeds Sports Pose (3, 14, N) or of its extension (14, 3, N), told by the shape.

    The third number is 1 for a hidden joint in the first, where all are labelled, and 1 for a labelled one in the
    extension. `part` "train" are the first 1000 pictures of the first and all of the extension, "test" the rest.
    Pictures are images/im0001.jpg (im00001.jpg in the extension). Boxes are those of the joints, wider by a tenth.
    Places are taken as the file has them: whether they count from 0 or 1 is documented nowhere. Needs scipy.

    Raises `DataError`, or skips, as `read_coco`. Only one person of a picture is labelled, bystanders are not listed.
    """
    log = make_log(on_fault, faults)
    joints, digits = _read_joints(file)
    is_extension = digits == 5
    if part not in (None, "train", "test"):
        raise DataError(f"{file}: has no part {part!r}; give train or test")
    first = TRAIN if part == "test" and not is_extension else 0
    last = TRAIN if part == "train" and not is_extension else len(joints)
    places, pictures = PicturePlaces(file, images), []
    for index in range(first, 0 if part == "test" and is_extension else min(last, len(joints))):
        name = f"im{index + 1:0{digits}d}.jpg"
        place = places.find(name)
        try:
            size = picture_size(*place)
            people = [_read_person(joints[index], index + 1)]
        except ValueError as error:
            log.add(file, f"joints(:, :, {index + 1})", str(error))
            continue
        names = load_skeleton("lsp14").joints
        pictures.append(make_picture(place, size, people, [], joints=names, skeleton=skeleton, id=index + 1))
    return pictures


def _read_joints(file: Path) -> tuple[NDArray[np.float64], int]:
    """(N, 14, 3) x, y, flag as in COCO, and the digits of the pictures' names."""
    try:
        joints = np.asarray(load_mat(file)["joints"], np.float64)
    except KeyError:
        raise DataError(f"{file}: not the joints of Leeds Sports Pose: it has no variable joints") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: not the joints of Leeds Sports Pose: {error}") from None
    joints = joints[..., None] if joints.ndim == 2 else joints  # of a single picture
    if joints.shape[:2] == (3, JOINTS):
        rows = joints.transpose(2, 1, 0).copy()
        rows[..., 2] = np.where(rows[..., 2] == 1, 1, 2)
        return rows, 4
    if joints.shape[:2] == (JOINTS, 3):
        rows = joints.transpose(2, 0, 1).copy()
        rows[..., 2] = np.where(rows[..., 2] == 1, 2, 0)
        return rows, 5
    raise DataError(f"{file}: joints have shape {joints.shape}, expected (3, 14, N) or (14, 3, N)")


def _read_person(joints: NDArray[np.float64], number: int) -> Person:
    labelled = joints[joints[:, 2] > 0, :2]
    if not len(labelled):
        raise ValueError("no joint is labelled")
    if not np.isfinite(labelled).all():
        raise ValueError("a labelled joint is not a number")
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    margin = MARGIN * float((high - low).max())
    if margin <= 0:
        raise ValueError("all joints lie in one place")
    box = np.concatenate([low - margin, high + margin]).astype(np.float32)
    return Person(joints, box, id=number)
