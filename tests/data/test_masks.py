"""Masks of people and of those without labels, by our rule and by the products'."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from manypose.cli.data import masks as command
from manypose.data.coco import read_coco
from manypose.data.masks import (
    RULES,
    MaskRule,
    find_rule,
    missing_mask,
    people_mask,
    sheet_of_masks,
    show_masks,
    write_masks,
)
from manypose.data.pictures import LabelledPicture, MaskFiles
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton

# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
COCO = load_skeleton("coco17")


def square(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """A polygon around whole pixels left .. right - 1, top .. bottom - 1."""
    return np.float32([(left, top), (right, top), (right, bottom), (left, bottom)]) - np.float32(0.5)


def crowd(left: int, right: int) -> dict[str, Any]:
    """An RLE of columns of a picture of 40 x 30."""
    return {"size": [30, 40], "counts": [30 * left, 30 * (right - left), 30 * (40 - right)]}


def record(folder: Path, *, joints: int = 17, **more: Any) -> LabelledPicture:
    """A picture with one labelled person in columns 0..9."""
    keypoints = np.full((1, 17, 2), np.nan, np.float32)
    keypoints[0, :joints] = 5
    fields: dict[str, Any] = {
        "archive": folder,
        "name": "a.png",
        "size": (40, 30),
        "keypoints": keypoints,
        "unsure": np.zeros((1, 17), bool),
        "boxes": np.float32([[-0.5, -0.5, 9.5, 29.5]]),
        "ignore": np.zeros((0, 4), np.float32),
        "segments": ((square(0, 0, 10, 30),),),
    }
    return LabelledPicture(**fields | more)


def columns(mask: np.ndarray) -> list[int]:
    """The columns that are whole in a mask; all others must be empty."""
    assert (mask.all(axis=0) == mask.any(axis=0)).all()
    return np.flatnonzero(mask.all(axis=0)).tolist()


def boxes(count: int) -> np.ndarray:
    return np.tile(np.float32([30, 0, 34, 29]), (count, 1))


@pytest.fixture(scope="module")
def golden_picture(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledPicture:
    folder = tmp_path_factory.mktemp("golden")
    content = json.loads((goldens / "train_and_crop" / "targets_2people_368.json").read_text())["coco"]
    content["categories"][0]["keypoints"] = list(COCO.joints)
    cv2.imwrite(str(folder / "000000000001.png"), np.zeros((368, 368, 3), np.uint8))
    (folder / "set.json").write_text(json.dumps(content))
    (picture,) = read_coco(folder / "set.json", COCO)
    return picture


@pytest.fixture(scope="module")
def golden_masks(goldens: Path) -> Any:
    return np.load(goldens / "train_and_crop" / "targets_2people_368.npz")


@pytest.mark.golden
def test_masks_of_treb1en(golden_picture: LabelledPicture, golden_masks: Any) -> None:
    rule = RULES["treb1en"]
    np.testing.assert_array_equal(people_mask(golden_picture, rule), golden_masks["treb_mask_all"])
    np.testing.assert_array_equal(missing_mask(golden_picture, rule), golden_masks["treb_mask_miss"])
    enlarged = missing_mask(golden_picture, dataclasses.replace(rule, dilation=16))
    np.testing.assert_array_equal(enlarged, golden_masks["treb_mask_dilated"])


@pytest.mark.golden
def test_mask_of_daniil(golden_picture: LabelledPicture, golden_masks: Any) -> None:
    used = 1 - missing_mask(golden_picture, RULES["daniil"]).astype(np.float32)
    small = cv2.resize(used, (46, 46), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small, golden_masks["daniil_mask_46"], atol=1e-6)


@pytest.mark.golden
def test_ours_leaves_out_everybody_without_labels(golden_picture: LabelledPicture) -> None:
    mask = missing_mask(golden_picture)
    assert mask[320, 40]  # the person without joints
    assert mask[250, 300]  # the crowd
    assert not mask[35, 320]  # the person with four joints
    assert mask.sum() == 50 * 50 + 70 * 100


def test_all_polygons_and_all_crowds_count(tmp_path: Path) -> None:
    parts = (square(12, 0, 14, 30), square(16, 0, 18, 30))
    picture = record(tmp_path, ignore=boxes(3), ignore_segments=(parts, crowd(20, 22), crowd(24, 26)))
    assert columns(missing_mask(picture)) == [12, 13, 16, 17, 20, 21, 24, 25]
    assert columns(people_mask(picture)) == [*range(10), 12, 13, 16, 17, 20, 21, 24, 25]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("manypose", [10, 11, 14, 20, 21, 24]),  # never a labelled person
        ("cmu", [8, 9, 10, 11]),  # the first polygon only, no crowd where there are two
        ("keras", [8, 9, 10, 11, 14, 20, 21, 24]),
        ("treb1en", [*range(12), 14, 20, 21, 24]),  # a person of 4 joints is left out
        ("daniil", [9, 10, 11, 20, 21, 24]),  # crowds only, whoever stands in them
    ],
)
def test_the_rules_of_the_products(tmp_path: Path, rule: str, expected: list[int]) -> None:
    parts = (square(8, 0, 12, 30), square(14, 0, 15, 30))
    two_crowds = {"size": [30, 40], "counts": [30 * 9, 30 * 3, 30 * 8, 30 * 2, 30 * 18]}
    picture = record(tmp_path, joints=4, ignore=boxes(3), ignore_segments=(parts, two_crowds, crowd(24, 25)))
    assert columns(missing_mask(picture, RULES[rule])) == expected


def test_small_people_are_left_out_by_their_area_or_box(tmp_path: Path) -> None:
    rule = MaskRule(small=300)
    assert columns(missing_mask(record(tmp_path), rule)) == list(range(10))  # a box of 10 x 30
    assert columns(missing_mask(record(tmp_path, areas=np.float32([301])), rule)) == []


def test_boxes_stand_for_people_of_unknown_shape(tmp_path: Path) -> None:
    picture = record(tmp_path, segments=(None,), ignore=np.float32([[29.5, -5, 33.5, 40], [38.5, -0.5, 50, 29.5]]))
    assert columns(missing_mask(picture)) == [30, 31, 32, 33, 39]
    assert columns(people_mask(picture)) == [*range(10), 30, 31, 32, 33, 39]


def test_masks_that_came_with_the_picture_count(tmp_path: Path) -> None:
    given = np.full((30, 40), 255, np.uint8)
    given[:, 30:] = 0
    cv2.imwrite(str(tmp_path / "missing.png"), given)
    picture = record(
        tmp_path, ignore=boxes(1), ignore_segments=(crowd(20, 22),), masks=MaskFiles(tmp_path, "missing.png")
    )
    assert columns(missing_mask(picture)) == [20, 21, *range(30, 40)]


def test_an_area_that_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    picture = record(tmp_path, ignore=boxes(1), ignore_segments=({"size": [3, 4], "counts": [12]},))
    with pytest.raises(DataError, match=r"a\.png: the area of a person cannot be drawn: an RLE of 4 x 3 pixels"):
        missing_mask(picture)


def test_files_are_those_of_the_products(tmp_path: Path) -> None:
    picture = record(tmp_path, name="val/a.jpg", ignore=boxes(1), ignore_segments=(crowd(20, 22),))
    (file,) = write_masks([picture], tmp_path / "masks")
    assert file == tmp_path / "masks" / "mask_miss" / "val" / "a.png"
    missing = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    people = cv2.imread(str(tmp_path / "masks" / "mask_all" / "val" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(missing, np.where(missing_mask(picture), 0, 255))
    np.testing.assert_array_equal(people, np.where(people_mask(picture), 255, 0))
    with pytest.raises(OutputError, match="the file exists"):
        write_masks([picture], tmp_path / "masks")
    write_masks([picture], tmp_path / "masks", overwrite=True)


def test_names_that_would_leave_the_folder_or_meet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the name of a picture inside of the data set"):
        write_masks([record(tmp_path, name="../a.png")], tmp_path / "masks")
    twice = [record(tmp_path, name="a.png"), record(tmp_path, name="a.jpg")]
    with pytest.raises(DataError, match=r"two pictures of the set would have the mask a\.png"):
        write_masks(twice, tmp_path / "masks")


def test_the_viewer_shows_people_green_and_the_left_out_red(tmp_path: Path) -> None:
    rgb = np.full((30, 40, 3), 100, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), rgb)
    picture = record(tmp_path, ignore=boxes(1), ignore_segments=(crowd(20, 22),))
    shown = show_masks(rgb, missing_mask(picture), people_mask(picture))
    assert shown[0, 5].argmax() == 1
    assert shown[0, 20].argmax() == 0
    assert (shown[0, 15] == 100).all()
    assert sheet_of_masks([picture], most=3).ndim == 3


def test_the_command_knows_all_rules() -> None:
    assert tuple(RULES) == command.RULES
    with pytest.raises(DataError, match="no rule 'mine' for masks; there are manypose, cmu"):
        find_rule("mine")
