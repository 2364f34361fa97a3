"""Samples of one person each: the crop, the joints and the weights fit together, whatever was changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coco import COCO, person, write_set
from torch.utils.data import DataLoader

from manypose import geometry
from manypose.codecs.heatmaps import HeatmapCodec
from manypose.data.coco import read_coco
from manypose.data.top_down import (
    HALF_BODY_PADDING,
    HRNET_JOINT_WEIGHTS,
    TopDownAugmentation,
    TopDownSamples,
    half_body_box,
)
from manypose.errors import DataError

SIZE = (96, 128)
STILL = TopDownAugmentation(scale=0, rotation=0, flip=0, half_body=0, colour=0, grey=0, blur=0)


@pytest.fixture
def people_file(tmp_path: Path) -> Path:
    rows = [
        person(20, 10, 60, 100, image_id=1),
        person(90, 20, 40, 80, image_id=1, absent=("nose", "left_eye")),
        person(60, 10, 50, 90, image_id=2),
    ]
    return write_set(tmp_path, rows, pictures=2)


def samples(file: Path, augmentation: TopDownAugmentation | None = None, **more: Any) -> TopDownSamples:
    codec = more.pop("codec", HeatmapCodec())
    return TopDownSamples(
        read_coco(file, COCO), COCO, codec, **{"size": SIZE, "seed": 0, "augmentation": augmentation} | more
    )


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.golden
@pytest.mark.parametrize(("half", "upper"), [("upper", True), ("lower", False)])
def test_half_bodies_are_those_of_hrnet(goldens: Path, half: str, upper: bool) -> None:
    golden = np.load(goldens / "topdown" / "pieces" / "half_body.npz")
    joints = np.where(golden["joints_vis"][:, :1] > 0, golden["joints"][:, :2], np.nan).astype(np.float32)
    box = half_body_box(joints, COCO, upper=upper)
    assert box is not None
    size = (192, 256)
    centre, (width, _) = golden[f"{half}_center"], golden[f"{half}_scale"] * 200
    affine = geometry.box_affine(box, size, padding=HALF_BODY_PADDING)
    np.testing.assert_allclose(geometry.transform_points(centre, affine), (96, 128), atol=1e-3)
    assert affine[0, 0] == pytest.approx(192 / width, rel=1e-5)


def test_a_half_of_which_too_little_is_known_is_the_other_one() -> None:
    joints = np.full((17, 2), np.nan, np.float32)
    joints[:5] = np.arange(10).reshape(5, 2)
    joints[15:] = 80
    np.testing.assert_array_equal(half_body_box(joints, COCO, upper=False), half_body_box(joints, COCO, upper=True))
    joints[1:] = np.nan
    assert half_body_box(joints, COCO, upper=True) is None


def test_shapes_and_types(people_file: Path) -> None:
    made = samples(people_file)
    assert len(made) == 3
    assert {key: (tuple(value.shape), value.dtype) for key, value in made[0].items()} == {
        "picture": ((3, 128, 96), torch.uint8),
        "heatmaps": ((17, 32, 24), torch.float32),
        "weights": ((17,), torch.float32),
    }


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_joints_move_with_the_pixels(people_file: Path, flip: float, udp: bool) -> None:
    """Every joint was drawn as a white disc."""
    how = dataclasses.replace(STILL, scale=0.3, rotation=40, rotated=1.0, shift=0.1, shifted=1.0, flip=flip)
    made = samples(people_file, how, codec=HeatmapCodec(udp=udp))
    seen = 0
    for index in range(12):
        sample = made[index]
        places, scores = made.codec.decode(sample["heatmaps"].numpy()[None])
        for (x, y), score in zip(places[0], scores[0], strict=True):
            if score > 0.8 and 4 <= x < SIZE[0] - 4 and 4 <= y < SIZE[1] - 4:
                assert sample["picture"][:, round(float(y)), round(float(x))].min() > 200
                seen += 1
    assert seen > 100


def test_a_mirrored_person_keeps_his_own_left_and_right(people_file: Path) -> None:
    straight = samples(people_file, STILL)[0]
    mirrored = samples(people_file, dataclasses.replace(STILL, flip=1.0))[0]
    codec = HeatmapCodec()
    (a, _), (b, _) = (codec.decode(sample["heatmaps"].numpy()[None]) for sample in (straight, mirrored))
    expected = a[:, COCO.flip].copy()
    expected[..., 0] = SIZE[0] - expected[..., 0]  # about the place to which the middle of a box comes
    np.testing.assert_allclose(b, expected, atol=0.5)


def test_joints_without_labels_weigh_nothing_and_some_weigh_more(people_file: Path) -> None:
    sample = samples(people_file, STILL, joint_weights=HRNET_JOINT_WEIGHTS)[1]
    weights = dict(zip(COCO.joints, sample["weights"].tolist(), strict=True))
    assert weights["nose"] == weights["left_eye"] == 0
    assert weights["left_wrist"] == weights["right_ankle"] == pytest.approx(1.5)
    assert weights["left_knee"] == weights["right_elbow"] == pytest.approx(1.2)
    assert weights["left_hip"] == 1
    assert not sample["heatmaps"][COCO.index("nose")].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_same_for_any_number_of_workers(people_file: Path, workers: int) -> None:
    made = samples(people_file)
    made.set_epoch(2)
    loader = DataLoader(made, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None)
    alone = samples(people_file)
    for index, sample in enumerate(loader):
        assert same(sample, alone[2 * len(alone) + index])
        assert not same(sample, alone[index])


def test_boxes_without_size_and_people_without_joints_are_left_out(people_file: Path) -> None:
    pictures = read_coco(people_file, COCO)
    pictures[0].boxes[0, 2] = pictures[0].boxes[0, 0]
    pictures[0].keypoints[1] = np.nan
    assert TopDownSamples(pictures, COCO, HeatmapCodec(), size=SIZE, seed=0).people == [(1, 0)]
    with pytest.raises(DataError, match="no labelled people"):
        TopDownSamples(pictures[:1], COCO, HeatmapCodec(), size=SIZE, seed=0)


def test_a_broken_picture_is_an_error_or_skipped(people_file: Path) -> None:
    pictures = read_coco(people_file, COCO)
    pictures[0] = dataclasses.replace(pictures[0], name="gone.png")
    with pytest.raises(DataError, match=r"cannot read gone\.png"):
        TopDownSamples(pictures, COCO, HeatmapCodec(), size=SIZE, seed=0)[0]
    lenient = TopDownSamples(pictures, COCO, HeatmapCodec(), size=SIZE, seed=0, skip_broken=True)
    assert lenient[0]["heatmaps"].any()
    assert same(lenient[0], lenient[0])
