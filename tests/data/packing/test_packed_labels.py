"""The labels of a packed picture say all that its record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packing_case import COCO, assert_same, make_record, make_set

from manypose.data.packing.labels import labels_from_json, labels_to_json, map_joints
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError
from manypose.files import read_member
from manypose.skeleton import Skeleton, load_skeleton


def read_back(content: bytes, folder: Path, skeleton: Skeleton = COCO) -> LabelledPicture:
    return labels_from_json(content, skeleton, archive=folder, entry="7", fetch=read_member, masks=read_member)


def test_nothing_is_lost(tmp_path: Path) -> None:
    for picture in make_set(tmp_path):
        assert_same(read_back(labels_to_json(picture, COCO.joints), tmp_path), picture)


def test_an_rle_in_bytes_comes_back_as_text(tmp_path: Path) -> None:
    rle = {"size": [80, 96], "counts": b"`0P2"}
    picture = make_record(tmp_path, 1, ignore_segments=(rle, None))
    found = read_back(labels_to_json(picture, COCO.joints), tmp_path)
    assert found.ignore_segments[0] == {"size": [80, 96], "counts": "`0P2"}


def test_joints_of_another_skeleton_go_by_name(tmp_path: Path) -> None:
    openpose = load_skeleton("openpose18")
    picture = make_record(tmp_path, 1)
    picture.visible[0, COCO.index("left_shoulder")] = False
    found = map_joints(picture, COCO.joints, openpose)
    nose, neck = openpose.index("nose"), openpose.index("neck")
    np.testing.assert_array_equal(found.keypoints[:, nose], picture.keypoints[:, 0])
    np.testing.assert_allclose(found.keypoints[:, neck], picture.keypoints[:, 5:7].mean(axis=1), atol=1e-4)
    assert not found.visible[0, neck]
    # The ankle was unsure and stays so; nothing else of COCO's joints is unknown.
    assert {openpose.joints[k] for k in np.flatnonzero(found.unsure.any(axis=0))} == {"right_ankle"}


def test_joints_without_a_source_are_unsure(tmp_path: Path) -> None:
    found = map_joints(make_record(tmp_path, 1), COCO.joints, load_skeleton("lsp14"))
    lsp = load_skeleton("lsp14")
    assert found.unsure[:, lsp.index("head_top")].all()
    assert not found.visible[:, lsp.index("head_top")].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, "7: not labels of manypose: ValueError the format is 'something'"),
        ({"version": 2}, "7: labels of version 2, of which this manypose knows only 1: update manypose"),
        ({"size": [0, 5]}, "the picture's size is"),
        ({"joints": ["nose"]}, "7: not labels of manypose"),
        ({"people": [{}]}, "KeyError 'keypoints'"),
        ({"people": None}, "7: not labels of manypose: TypeError"),
        ({"ignore": [{"box": [1, 2, 3], "segment": None}]}, "rows of .* values where 4 are expected"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    document = json.loads(labels_to_json(make_record(tmp_path, 1), COCO.joints)) | change
    with pytest.raises(DataError, match=message):
        read_back(json.dumps(document).encode(), tmp_path)


def test_a_flag_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    document = json.loads(labels_to_json(make_record(tmp_path, 1), COCO.joints))
    document["people"][0]["keypoints"][2] = 3
    with pytest.raises(DataError, match="a joint's flag is not 0, 1 or 2"):
        read_back(json.dumps(document).encode(), tmp_path)
