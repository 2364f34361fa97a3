"""Training targets: Gaussians at the joints and unit vectors along the limbs, on the grid that the decoder reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from manypose.codecs.fields import CUT_OFF, FieldsCodec
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

OPENPOSE = load_skeleton("openpose18")
CODEC = FieldsCodec(OPENPOSE)
SIZE = (96, 64)
NOBODY = np.zeros((0, 18, 2), np.float32)


def one_joint(joint: str, x: float, y: float) -> NDArray[np.float32]:
    person = np.full((1, 18, 2), np.nan, np.float32)
    person[0, OPENPOSE.index(joint)] = x, y
    return person


def one_limb(start: tuple[float, float], end: tuple[float, float]) -> NDArray[np.float32]:
    """A person of a neck and a nose."""
    person = one_joint("neck", *start)
    person[0, OPENPOSE.index("nose")] = end
    return person


def field_of(fields: NDArray[np.float32], start: str, end: str) -> NDArray[np.float32]:
    k = OPENPOSE.fields.index((OPENPOSE.index(start), OPENPOSE.index(end)))
    return fields[2 * k : 2 * k + 2]


def golden_people(goldens: Path, case: str) -> tuple[NDArray[np.float32], Any]:
    text = json.loads((goldens / "decode" / f"{case}.json").read_text())
    people = np.array(text["people"], np.float32)
    return np.where(people[..., 2:] > 0, people[..., :2], np.nan), np.load(goldens / "decode" / f"{case}.npz")


@pytest.mark.golden
@pytest.mark.parametrize("case", ["cmu_0", "cmu_1", "cmu_3", "cmu_8", "cmu_20", "cmu_12_crowd", "cmu_1_tie"])
def test_targets_are_those_of_the_goldens(goldens: Path, case: str) -> None:
    people, stored = golden_people(goldens, case)
    heatmaps, fields = CODEC.encode(people.reshape(-1, 18, 2), (656, 368))
    # Cells whose centre lies on the edge of the rule may fall on either side of it, since the places were rounded.
    for ours, theirs, most in ((heatmaps, stored["heatmaps"], 0.012), (fields, stored["pafs"], 1.0)):
        difference = np.abs(ours - theirs.astype(np.float32))
        assert difference.shape == theirs.shape
        assert difference.max() <= most
        assert (difference > 2e-3).sum() <= 30


@pytest.mark.golden
def test_heatmaps_are_those_of_the_reference_where_people_stand_apart(goldens: Path) -> None:
    text = json.loads((goldens / "train_and_crop" / "targets_2people_368.json").read_text())
    coco = np.array([row["keypoints"] for row in text["coco"]["annotations"][:2]], np.float32).reshape(2, 17, 3)
    people = People.build(np.where(coco[..., 2:] > 0, coco[..., :2], np.nan), skeleton=load_skeleton("coco17")).to(
        OPENPOSE
    )
    heatmaps, _ = CODEC.encode(people.keypoints, (368, 368))
    stored = np.load(goldens / "train_and_crop" / "targets_2people_368.npz")["tensorboy_heatmaps"]
    alone = (CODEC.encode(people.keypoints[:1], (368, 368))[0] == 0) | (
        CODEC.encode(people.keypoints[1:], (368, 368))[0] == 0
    )
    joints = [k for k in range(18) if k != OPENPOSE.index("neck")]  # the reference rounds its neck to a whole pixel
    assert alone[joints].mean() > 0.9
    np.testing.assert_allclose(heatmaps[joints][alone[joints]], stored[joints][alone[joints]], atol=2e-3)


def test_nobody_is_all_background() -> None:
    heatmaps, fields = CODEC.encode(NOBODY, SIZE)
    assert heatmaps.shape == (19, 8, 12)
    assert fields.shape == (38, 8, 12)
    assert heatmaps.dtype == fields.dtype == np.float32
    assert (heatmaps[:18] == 0).all()
    assert (heatmaps[18] == 1).all()
    assert (fields == 0).all()


def test_a_person_without_joints_is_nobody() -> None:
    person = np.full((1, 18, 2), np.nan, np.float32)
    for given_maps, expected in zip(CODEC.encode(person, SIZE), CODEC.encode(NOBODY, SIZE), strict=True):
        assert np.array_equal(given_maps, expected)


def test_the_centre_of_a_cell_is_the_centre_of_its_pixels() -> None:
    """Cell 2 of stride 8 covers the pixels 16 .. 23, whose middle is 19.5."""
    heatmap = CODEC.encode(one_joint("nose", 19.5, 27.5), SIZE)[0][0]
    assert heatmap[3, 2] == 1
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (3, 2)
    assert heatmap[3, 1] == heatmap[3, 3] == heatmap[2, 2] == heatmap[4, 2]
    assert heatmap[3, 3] == pytest.approx(np.exp(-(8**2) / (2 * 7**2)), abs=1e-6)


def test_a_gaussian_ends_at_a_hundredth() -> None:
    heatmap = CODEC.encode(one_joint("nose", 47.5, 31.5), SIZE)[0][0]
    assert pytest.approx(np.log(100), abs=1e-4) == CUT_OFF
    assert heatmap[heatmap > 0].min() >= 0.0099
    far = np.hypot(8 * np.arange(12) + 3.5 - 47.5, (8 * np.arange(8) + 3.5 - 31.5)[:, None]) > 7 * np.sqrt(2 * CUT_OFF)
    assert np.array_equal(heatmap == 0, far)


def test_the_background_is_what_the_joints_leave() -> None:
    person = one_limb((20, 40), (60, 12))
    heatmaps, _ = CODEC.encode(person, SIZE)
    np.testing.assert_allclose(heatmaps[18], 1 - heatmaps[:18].max(axis=0), atol=1e-7)


def test_two_near_joints_take_the_maximum() -> None:
    both = np.concatenate([one_joint("nose", 30, 30), one_joint("nose", 44, 30)])
    together = CODEC.encode(both, SIZE)[0]
    apart = [CODEC.encode(person[None], SIZE)[0] for person in both]
    np.testing.assert_array_equal(together[:18], np.maximum(*apart)[:18])


def test_a_joint_outside_of_the_picture_reaches_into_it() -> None:
    heatmap = CODEC.encode(one_joint("nose", -6, 27.5), SIZE)[0][0]
    assert heatmap[3, 0] == pytest.approx(np.exp(-(9.5**2) / (2 * 7**2)), abs=1e-6)
    assert heatmap[:, 3:].max() == 0
    assert CODEC.encode(one_joint("nose", -500, 1e4), SIZE)[0][:18].max() == 0


def test_a_field_points_along_its_limb() -> None:
    """Along 3-4-5: neck (16, 16) to nose (52, 64)."""
    x, y = field_of(CODEC.encode(one_limb((16, 8), (52, 56)), SIZE)[1], "neck", "nose")
    inside = np.hypot(x, y) > 0
    np.testing.assert_allclose(x[inside], 0.6, atol=1e-6)
    np.testing.assert_allclose(y[inside], 0.8, atol=1e-6)
    assert inside.sum() > 10


def test_a_field_is_one_cell_wide_on_each_side_and_half_a_cell_longer_at_each_end() -> None:
    """A limb along row 4 from cell 3 to cell 7."""
    x, y = field_of(CODEC.encode(one_limb((27.5, 35.5), (59.5, 35.5)), SIZE)[1], "neck", "nose")
    expected = np.zeros((8, 12))
    expected[3:6, 3:8] = 1  # half a cell past the end lies between cells 7 and 8
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(y, 0)
    longer, _ = field_of(CODEC.encode(one_limb((24, 35.5), (63, 35.5)), SIZE)[1], "neck", "nose")
    expected[3:6, 3:8] = 1
    np.testing.assert_array_equal(longer, expected)
    longest, _ = field_of(CODEC.encode(one_limb((23.5, 35.5), (63.5, 35.5)), SIZE)[1], "neck", "nose")
    expected[3:6, 2:9] = 1
    np.testing.assert_array_equal(longest, expected)


def test_only_the_field_of_the_limb_is_drawn() -> None:
    _, fields = CODEC.encode(one_limb((27.5, 35.5), (59.5, 35.5)), SIZE)
    k = OPENPOSE.fields.index((OPENPOSE.index("neck"), OPENPOSE.index("nose")))
    assert set(np.flatnonzero(fields.any(axis=(1, 2)))) == {2 * k}


def test_fields_of_two_people_are_averaged_where_they_meet() -> None:
    across, down = one_limb((19.5, 35.5), (67.5, 35.5)), one_limb((43.5, 11.5), (43.5, 59.5))
    x, y = field_of(CODEC.encode(np.concatenate([across, down]), SIZE)[1], "neck", "nose")
    assert (x[4, 5], y[4, 5]) == (0.5, 0.5)
    assert (x[4, 2], y[4, 2]) == (1, 0)
    assert (x[1, 5], y[1, 5]) == (0, 1)


@pytest.mark.parametrize(
    "person",
    [one_joint("neck", 30, 30), one_limb((30, 30), (30, 30))],
    ids=["a limb without one end", "a limb without length"],
)
def test_no_field_is_drawn_for(person: NDArray[np.float32]) -> None:
    assert not CODEC.encode(person, SIZE)[1].any()


def test_a_skeleton_without_fields_has_none() -> None:
    dots = Skeleton("dots", joints=("a", "b"))
    heatmaps, fields = FieldsCodec(dots).encode(np.array([[[4, 4], [20, 20]]], np.float32), SIZE)
    assert (heatmaps.shape, fields.shape) == ((3, 8, 12), (0, 8, 12))


def test_the_grid_follows_the_stride() -> None:
    codec = FieldsCodec(OPENPOSE, stride=4)
    assert codec.grid((96, 64)) == (24, 16)
    assert codec.encode(NOBODY, (96, 64))[0].shape == (19, 16, 24)
    assert codec.encode(one_joint("nose", 17.5, 9.5), (96, 64))[0][0, 2, 4] == 1


@st.composite
def several_people(draw: st.DrawFn) -> NDArray[np.float32]:
    """Up to three people with some joints, on quarters of a pixel off every edge of the rules."""
    count = draw(st.integers(0, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people = random.uniform((-20, -20), (116, 84), (count, 18, 2))
    people[random.uniform(size=(count, 18)) < 0.3] = np.nan
    return people.astype(np.float32)


@given(several_people())
def test_mirrored_people_have_mirrored_maps(people: NDArray[np.float32]) -> None:
    mirrored = people[:, OPENPOSE.flip].copy()
    mirrored[..., 0] = SIZE[0] - 1 - mirrored[..., 0]
    heatmaps, fields = CODEC.encode(people, SIZE)
    other_heatmaps, other_fields = CODEC.encode(mirrored, SIZE)
    order = [*OPENPOSE.flip, 18]
    channels, signs = OPENPOSE.field_flip
    for ours, theirs in (
        (heatmaps[order, :, ::-1], other_heatmaps),
        (signs[:, None, None] * fields[channels, :, ::-1], other_fields),
    ):
        assert (np.abs(ours - theirs) > 1e-4).sum() <= 2  # a cell on the very edge may fall on either side


@given(several_people())
def test_targets_stay_in_their_range_and_the_order_of_people_does_not_matter(people: NDArray[np.float32]) -> None:
    heatmaps, fields = CODEC.encode(people, SIZE)
    assert heatmaps.min(initial=0) >= 0
    assert heatmaps.max() <= 1
    lengths = np.hypot(fields[::2], fields[1::2])
    assert lengths.max(initial=0) <= 1 + 1e-5
    turned_heatmaps, turned_fields = CODEC.encode(people[::-1], SIZE)
    np.testing.assert_array_equal(heatmaps, turned_heatmaps)
    np.testing.assert_allclose(fields, turned_fields, atol=1e-6)


def test_fields_beside_the_heatmaps_are_drawn_and_read_there() -> None:
    """With an offset of a whole cell the fields are those without, one cell further; and people are found as before."""
    keypoints = np.full((1, len(OPENPOSE), 2), np.nan, np.float32)
    keypoints[0, :8] = 40 + 16 * np.array([[2, 0], [2, 2], [1, 2], [0, 4], [0, 6], [3, 2], [4, 4], [4, 6]])
    beside = FieldsCodec(OPENPOSE, field_offset=8.0)
    heatmaps, fields = beside.encode(keypoints, (160, 192))
    plain_heatmaps, plain_fields = CODEC.encode(keypoints, (160, 192))
    np.testing.assert_array_equal(heatmaps, plain_heatmaps)
    np.testing.assert_allclose(fields[:, 1:, 1:], plain_fields[:, :-1, :-1], atol=1e-6)
    people = beside.decode(heatmaps, fields)
    expected = CODEC.decode(plain_heatmaps, plain_fields)
    np.testing.assert_allclose(people.keypoints, expected.keypoints, atol=1e-4)
    np.testing.assert_allclose(people.person_scores, expected.person_scores, atol=1e-3)


def draw_each_cell(cells: NDArray[np.float32], grid: tuple[int, int], codec: FieldsCodec) -> list[NDArray[np.float32]]:
    """The rule of the targets applied to every cell of every map, person by person, in single precision."""
    width, height = grid
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    heatmaps = np.zeros((len(OPENPOSE), height, width), np.float32)
    for joint in range(len(OPENPOSE)):
        for place in cells[~np.isnan(cells[:, joint, 0]), joint]:
            exponents = ((y - place[1]) ** 2 + (x - place[0]) ** 2) / np.float32(2 * (codec.sigma / codec.stride) ** 2)
            drawn = np.where(exponents > CUT_OFF, np.float32(0), np.exp(-exponents))
            heatmaps[joint] = np.maximum(heatmaps[joint], drawn)
    fields, reach = [], codec.limb_width / codec.stride
    for first, second in OPENPOSE.fields:
        total, count = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.float32)
        for person in cells:
            along = person[second] - person[first]
            length = np.hypot(*along)
            if length > 1e-3:  # False for NaN too
                unit = along / length
                right, down = x - person[first, 0], y - person[first, 1]
                forward, sideways = right * unit[0] + down * unit[1], right * unit[1] - down * unit[0]
                inside = (np.abs(sideways) <= reach) & (forward >= -0.5) & (forward <= length + np.float32(0.5))
                total += unit[:, None, None] * inside
                count += inside
        fields.append(total / np.maximum(count, 1))
    return [heatmaps, np.concatenate(fields)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.sampled_from([8.0, 2.0, 20.0]), st.booleans())
def test_only_touched_cells_are_drawn_but_all_are_right(seed: int, people: int, width: float, whole: bool) -> None:
    random = np.random.default_rng(seed)
    codec = FieldsCodec(OPENPOSE, limb_width=width)
    places = random.uniform(-60, 160, (people, 1, 2)) + random.normal(0, 40, (people, 18, 2))
    places[random.uniform(size=places.shape[:2]) < 0.2] = np.nan
    keypoints = (8 * np.round(places / 8) + 3.5 if whole else places).astype(np.float32)  # on the edges of the rule
    heatmaps, fields = codec.encode(keypoints, SIZE)
    drawn = draw_each_cell((keypoints - np.float32(3.5)) / 8, (12, 8), codec)
    np.testing.assert_array_equal(heatmaps[:18], drawn[0])
    np.testing.assert_array_equal(fields, drawn[1])
