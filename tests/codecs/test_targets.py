"""The targets of the bottom-up products, cell by cell."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from manypose.codecs.fields import FieldsCodec
from manypose.codecs.targets import OURS, RULES, TargetRules, encode_targets
from manypose.errors import SkeletonError
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

OPENPOSE = load_skeleton("openpose18")
CODEC = FieldsCodec(OPENPOSE)
SIZE = (368, 368)


@pytest.fixture(scope="module")
def stored(goldens: Path) -> Any:
    return np.load(goldens / "train_and_crop" / "targets_2people_368.npz")


@pytest.fixture(scope="module")
def people(goldens: Path) -> NDArray[np.float32]:
    """Two whole people and one of four joints."""
    text = json.loads((goldens / "train_and_crop" / "targets_2people_368.json").read_text())
    coco = np.array([row["keypoints"] for row in text["coco"]["annotations"][:3]], np.float32).reshape(3, 17, 3)
    places = np.where(coco[..., 2:] > 0, coco[..., :2], np.nan)
    return People.build(places, skeleton=load_skeleton("coco17")).to(OPENPOSE).keypoints


@pytest.mark.golden
def test_tensorboy(people: Any, stored: Any) -> None:
    heatmaps, fields = encode_targets(people[:2], SIZE, CODEC, RULES["tensorboy"])
    np.testing.assert_array_equal(heatmaps, stored["tensorboy_heatmaps"])
    np.testing.assert_array_equal(fields, stored["tensorboy_pafs"])


@pytest.mark.golden
def test_tensorboys_fields_from_shoulder_to_ear_go_to_the_eye(people: Any, stored: Any) -> None:
    honest = dataclasses.replace(RULES["tensorboy"], redirected=())
    _, fields = encode_targets(people[:2], SIZE, CODEC, honest)
    wrong = np.flatnonzero((fields != stored["tensorboy_pafs"]).any(axis=(1, 2)))
    assert wrong.tolist() == [18, 19, 26, 27]


@pytest.mark.golden
def test_daniil(people: Any, stored: Any) -> None:
    heatmaps, fields = encode_targets(people, SIZE, CODEC, RULES["daniil"])
    np.testing.assert_allclose(heatmaps, stored["daniil_heatmaps"], atol=1e-7)
    np.testing.assert_array_equal(fields, stored["daniil_pafs"])


@pytest.mark.golden
def test_treb1en(people: Any, stored: Any) -> None:
    heatmaps, fields = encode_targets(people[:2], SIZE, CODEC, RULES["treb1en"])
    np.testing.assert_allclose(heatmaps, stored["treb_heatmaps_46"], atol=2e-5)
    np.testing.assert_allclose(fields, stored["treb_pafs_46"], atol=2e-5)


@pytest.mark.golden
def test_treb1en_before_the_maps_are_shrunk(people: Any, stored: Any) -> None:
    rules = dataclasses.replace(RULES["treb1en"], full_size=False)
    heatmaps, fields = encode_targets(people[:2], SIZE, FieldsCodec(OPENPOSE, stride=1), rules)
    np.testing.assert_allclose(heatmaps[stored["treb_heatmaps_full_channels"]], stored["treb_heatmaps_full"], atol=5e-4)
    difference = np.abs(fields - stored["treb_pafs_full"].astype(np.float32)) > 1e-3
    # The reference loses half of a column exactly 8 px beside an upright limb by rounding of cos(pi / 2).
    limb = OPENPOSE.fields.index((OPENPOSE.index("neck"), OPENPOSE.index("nose")))
    assert set(np.flatnonzero(difference.any(axis=(1, 2)))) == {2 * limb + 1}
    assert difference.sum() == 12


def some_people(seed: int, count: int, low: float = -20, high: float = 150) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    people = random.uniform(low, high, (count, 18, 2))
    people[random.uniform(size=(count, 18)) < 0.3] = np.nan
    return people.astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_our_rules_are_those_of_the_codec(seed: int, count: int) -> None:
    people = some_people(seed, count)
    for ours, codecs in zip(encode_targets(people, (128, 96), CODEC), CODEC.encode(people, (128, 96)), strict=True):
        np.testing.assert_array_equal(ours, codecs)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_our_rules_drawn_as_options_are_the_same(seed: int, count: int) -> None:
    """The general drawing agrees with the fast one where both can draw."""
    people = some_people(seed, count)
    options = dataclasses.replace(OURS, joints="derived-rounded")  # not ours, but all else is
    people[:, OPENPOSE.index("neck")] = np.round(people[:, OPENPOSE.index("neck")])
    for general, fast in zip(
        encode_targets(people, (128, 96), CODEC, options), CODEC.encode(people, (128, 96)), strict=True
    ):
        assert (np.abs(general - fast) > 1e-4).sum() <= 2  # a cell on the very edge may fall on either side


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_maps_of_the_same_shape_in_their_range(name: str) -> None:
    heatmaps, fields = encode_targets(some_people(1, 3), (128, 96), CODEC, RULES[name])
    assert (heatmaps.shape, fields.shape) == ((19, 12, 16), (38, 12, 16))
    assert heatmaps.dtype == fields.dtype == np.float32
    assert heatmaps.min() >= 0
    assert heatmaps.max() <= 1
    assert np.hypot(fields[::2], fields[1::2]).max() <= 1 + 1e-5
    assert heatmaps[:18].any()
    assert fields.any()


@pytest.mark.parametrize("name", RULES)
def test_nobody_is_all_background_by_every_rule(name: str) -> None:
    heatmaps, fields = encode_targets(np.full((1, 18, 2), np.nan, np.float32), (128, 96), CODEC, RULES[name])
    assert (heatmaps[:18] == 0).all()
    assert (heatmaps[18] == 1).all()
    assert not fields.any()


def pair(distance: float) -> NDArray[np.float32]:
    people = np.full((2, 18, 2), np.nan, np.float32)
    people[:, 0] = [(51.5, 51.5), (51.5 + distance, 51.5)]
    return people


def test_a_sum_makes_a_ridge_where_the_maximum_keeps_two_peaks() -> None:
    by_sum = encode_targets(pair(16), (128, 96), CODEC, RULES["cmu-2017"])[0][0, 6]
    by_maximum = encode_targets(pair(16), (128, 96), CODEC, RULES["cmu"])[0][0, 6]
    assert by_maximum[7] < 0.6 < by_maximum[6]
    assert by_sum[6] == by_sum[7] == by_sum[8] == 1


def test_the_last_person_wins_or_the_mean_counts() -> None:
    people = np.full((2, 18, 2), np.nan, np.float32)
    people[0, :2], people[1, :2] = [(80, 40), (16, 40)], [(48, 8), (48, 72)]  # nose and neck
    limb = OPENPOSE.fields.index((OPENPOSE.index("neck"), OPENPOSE.index("nose")))
    last, mean = (encode_targets(people, (128, 96), CODEC, RULES[name])[1] for name in ("daniil", "cmu"))
    np.testing.assert_allclose(last[2 * limb : 2 * limb + 2, 5, 6], (0, -1))
    np.testing.assert_allclose(mean[2 * limb : 2 * limb + 2, 5, 6], (0.5, -0.5))


def test_joints_outside_of_the_picture_are_left_out_where_the_rule_says_so() -> None:
    person = np.full((1, 18, 2), np.nan, np.float32)
    person[0, :2] = [(-4, 40), (40, 40)]
    assert not encode_targets(person, (128, 96), CODEC, RULES["tensorboy"])[1].any()
    assert encode_targets(person, (128, 96), CODEC, RULES["cmu"])[1].any()


def test_a_field_that_the_skeleton_does_not_have_cannot_be_redirected() -> None:
    skeleton = Skeleton("stick", joints=("a", "b", "c"), fields=((0, 1),))
    rules = TargetRules(redirected=(("a", "c", "b"),))
    with pytest.raises(SkeletonError, match="'stick' has no field a-c"):
        encode_targets(np.zeros((1, 3, 2), np.float32), (64, 64), FieldsCodec(skeleton), rules)
