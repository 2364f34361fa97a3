"""People on pictures: where, in which colours, how thick, and what is left out."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manypose.drawing import draw_people
from manypose.drawing.colours import EDGE, joint_colours
from manypose.errors import ImageError, PeopleError, SkeletonError
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names

STICK = Skeleton("stick", ("top", "middle", "bottom"), ((0, 1), (1, 2)), ((255, 40, 0), (0, 120, 255)))
GREY = np.full((240, 320, 3), 128, np.uint8)
STANDING = np.array([[160.0, 20.0], [160.0, 120.0], [160.0, 220.0]])
BESIDE = STANDING + np.array([80, 0])


def stick(*figures: np.ndarray, **more: Any) -> People:
    return People.build(np.array(figures), skeleton=STICK, **more)


def changed(drawn: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.abs(drawn.astype(int) - before).max(axis=2) > 8


def close(pixel: np.ndarray, colour: tuple[int, int, int], *, tolerance: int = 20) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


def test_the_picture_given_stays_as_it_is_and_the_same_comes_out_each_time() -> None:
    before = GREY.copy()
    before.flags.writeable = False
    first = draw_people(before, stick(STANDING), boxes=True, scores=True)
    assert np.array_equal(before, GREY)
    assert np.array_equal(draw_people(before, stick(STANDING), boxes=True, scores=True), first)
    assert not np.array_equal(first, GREY)


def test_nobody_changes_nothing() -> None:
    for people in (People.empty(STICK), stick(np.full((3, 2), np.nan)), stick(STANDING + 10_000)):
        drawn = draw_people(GREY, people, boxes=True, ids=True, scores=True)
        assert np.array_equal(drawn, GREY)
        assert drawn is not GREY


def test_limbs_have_the_colours_of_the_skeleton() -> None:
    drawn = draw_people(GREY, stick(STANDING))
    assert close(drawn[70, 160], STICK.colours[0])
    assert close(drawn[170, 160], STICK.colours[1])
    assert not changed(drawn, GREY)[:, :150].any()


def test_joints_alone_have_the_colour_of_the_limb_that_ends_there() -> None:
    drawn = draw_people(GREY, stick(STANDING), show="joints")
    for (x, y), colour in zip(
        STANDING.astype(int), (STICK.colours[0], STICK.colours[0], STICK.colours[1]), strict=True
    ):
        assert close(drawn[y, x], colour)
    assert not changed(drawn, GREY)[60:80].any()


@pytest.mark.parametrize("background", [0, 128, 255])
def test_every_limb_stands_out_from_dark_and_light(background: int) -> None:
    picture = np.full_like(GREY, background)
    drawn = draw_people(picture, stick(STANDING))
    for y in (70, 170):
        across = drawn[y, 145:176].astype(int)
        assert np.abs(across - background).max() >= 90
        assert (across.sum(axis=1) < 240).any() or background == 0  # the dark edge
        assert across.max() >= 180  # and the bright colour inside of it


def test_a_limb_of_the_colour_of_the_picture_is_seen_by_its_edge() -> None:
    drawn = draw_people(np.full_like(GREY, 0) + np.array(STICK.colours[0], np.uint8), stick(STANDING))
    assert any(close(pixel, EDGE, tolerance=90) for pixel in drawn[70, 150:171])


@settings(max_examples=25, deadline=None)
@given(x=st.floats(100, 200), y=st.floats(80, 160), size=st.sampled_from([30.0, 60.0, 120.0]))
def test_a_joint_is_drawn_where_it_is_to_a_fraction_of_a_pixel(x: float, y: float, size: float) -> None:
    people = stick(np.array([[x, y], [x + size, y], [x, y + size]]))
    drawn = draw_people(GREY, people, joint="top").astype(float)
    weight = np.abs(drawn - GREY).sum(axis=2)
    rows, columns = np.indices(weight.shape)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=0.15)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=0.15)


def test_a_joint_that_is_absent_takes_its_limbs_along() -> None:
    figure = STANDING.copy()
    figure[1] = np.nan
    drawn = changed(draw_people(GREY, stick(figure)), GREY)
    assert drawn[20, 160]
    assert drawn[220, 160]
    assert not drawn[40:200].any()


def test_joints_below_the_threshold_are_left_out() -> None:
    people = stick(STANDING, scores=[[0.9, 0.8, 0.3]])
    assert changed(draw_people(GREY, people, threshold=0.3), GREY)[200, 160]
    drawn = changed(draw_people(GREY, people, threshold=0.31), GREY)
    assert drawn[70, 160]
    assert not drawn[140:].any()


def test_one_joint_by_name() -> None:
    drawn = changed(draw_people(GREY, stick(STANDING, BESIDE), joint="middle"), GREY)
    assert drawn[120, 160]
    assert drawn[120, 240]
    assert not drawn[:105].any()
    assert not drawn[135:].any()


def test_lines_grow_with_the_person_but_never_vanish() -> None:
    def width(size: float, scale: int = 1) -> int:
        picture = np.full((480 * scale, 640 * scale, 3), 128, np.uint8)
        figure = np.array([[300, 100], [300, 100 + size / 2], [300, 100 + size]]) * scale
        row = int((100 + 0.3 * size) * scale)
        return int(changed(draw_people(picture, stick(figure)), picture)[row].sum())

    widths = [width(size) for size in (10, 40, 120, 360)]
    assert widths == sorted(widths)
    assert widths[0] >= 2
    assert widths[1] <= 6
    assert widths[3] >= 1.6 * widths[1]
    assert width(300, scale=6) == pytest.approx(6 * width(300), rel=0.25)


def test_an_enlarged_picture_looks_as_the_small_one() -> None:
    small = draw_people(GREY, stick(STANDING))
    large = cv2.resize(GREY, None, fx=6, fy=6)
    drawn = draw_people(large, stick(STANDING).transform(np.array([[6, 0, 2.5], [0, 6, 2.5]])))
    shrunk = cv2.resize(drawn, (320, 240), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - small).mean() < 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (16, 16), (3000, 4000)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    figure = STANDING / (320, 240) * (size[1], size[0])
    drawn = draw_people(picture, stick(figure), boxes=True, scores=True)
    assert drawn.shape == picture.shape
    assert not np.array_equal(drawn, picture)


ANY_PLACE = st.floats(width=32) | st.floats(-50, 400, width=32)


@settings(max_examples=80, deadline=None)
@given(arrays.arrays(np.float32, (2, 3, 2), elements=ANY_PLACE), st.sampled_from(["skeleton", "joints"]))
def test_joints_anywhere_cause_no_crash(figures: np.ndarray, show: Any) -> None:
    with np.errstate(over="ignore"):  # in the making of the boxes of such people
        people = stick(*figures)
    drawn = draw_people(GREY, people, show=show, boxes=True, ids=True, scores=True)
    assert drawn.shape == GREY.shape


def test_a_limb_to_a_joint_far_away_keeps_its_direction() -> None:
    drawn = draw_people(GREY, stick(np.array([[20.0, 20.0], [2e6 + 20, 1e6 + 20], [np.nan, np.nan]])))
    assert close(drawn[120, 220], STICK.colours[0], tolerance=40)
    assert not changed(drawn, GREY)[200:].any()


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton(name: str) -> None:
    skeleton = load_skeleton(name)
    places = np.random.default_rng(0).uniform((20, 20), (300, 220), (1, len(skeleton), 2))
    for show in ("skeleton", "joints"):
        assert changed(draw_people(GREY, People.build(places, skeleton=skeleton), show=show), GREY).any()


def with_part() -> People:
    hand = Skeleton("paw", ("palm", "claw"), ((0, 1),), ((90, 255, 90),))
    rows = np.array([[[40.0, 40.0], [80.0, 40.0]], [[np.nan, np.nan], [np.nan, np.nan]]])
    return stick(STANDING, BESIDE, parts={"left_hand": People.build(rows, skeleton=hand)})


def test_parts_are_drawn_with_their_own_skeleton() -> None:
    drawn = draw_people(GREY, with_part())
    assert close(drawn[40, 60], (90, 255, 90), tolerance=25)
    assert close(drawn[70, 160], STICK.colours[0])


def test_one_joint_of_a_part() -> None:
    drawn = changed(draw_people(GREY, with_part(), joint="claw"), GREY)
    assert drawn[40, 80]
    assert not drawn[:, 100:].any()


def test_small_people_are_drawn_over_large_ones() -> None:
    small, large = (STANDING - [160, 120]) * 0.2 + [160, 70], STANDING
    other = Skeleton("other", STICK.joints, STICK.limbs, ((0, 255, 0), (0, 255, 0)))
    for figures in ([small, large], [large, small]):
        drawn = draw_people(GREY, People.build(np.array(figures), skeleton=other))
        assert changed(drawn, draw_people(GREY, People.build(large[None], skeleton=other)))[60:80, 150:170].any()


def test_boxes_ids_and_scores_are_added_when_asked_for() -> None:
    people = stick(STANDING, boxes=[[100, 50, 220, 230]], ids=[7])
    plain = draw_people(GREY, people)
    assert changed(draw_people(GREY, people, boxes=True), plain)[140, 100]
    for option in ("ids", "scores"):
        tagged = changed(draw_people(GREY, people, **{option: True}), plain)
        assert tagged[20:50, 95:140].any()
        assert not tagged[60:].any()
    without_ids = dataclasses.replace(people, ids=None)
    assert np.array_equal(draw_people(GREY, without_ids, ids=True), plain)


def test_tags_of_people_at_the_border_stay_in_the_picture() -> None:
    people = stick(STANDING, boxes=[[-90, -90, 400, 300]], ids=[7])
    assert changed(draw_people(GREY, people, ids=True), draw_people(GREY, people))[:30, :60].any()


def test_what_is_refused() -> None:
    with pytest.raises(PeopleError, match="show is 'bones', expected one of skeleton, joints"):
        draw_people(GREY, stick(STANDING), show="bones")  # type: ignore[arg-type]
    with pytest.raises(SkeletonError, match="'stick' has no joint 'tail'; it has top, middle, bottom"):
        draw_people(GREY, stick(STANDING), joint="tail")
    with pytest.raises(ImageError, match=r"expected a picture of RGB uint8 .*, got float64 \(240, 320, 3\)"):
        draw_people(GREY / 255, stick(STANDING))


def test_a_crowd_takes_milliseconds() -> None:
    skeleton = load_skeleton("openpose18")
    random = np.random.default_rng(3)
    crowd = random.uniform(0, 1, (20, 1, 2)) * (560, 330) + random.uniform(0, 1, (20, 18, 2)) * (80, 150)
    people, picture = People.build(crowd, skeleton=skeleton), np.zeros((480, 640, 3), np.uint8)
    draw_people(picture, people)
    times = []
    for _ in range(5):
        started = time.process_time()
        draw_people(picture, people)
        times.append(time.process_time() - started)
    assert min(times) < 0.15  # about 15 ms on a busy core


def test_colours_of_joints() -> None:
    colours = dict(zip(load_skeleton("coco17").joints, joint_colours(load_skeleton("coco17")), strict=True))
    limbs = load_skeleton("coco17").limbs
    at = dict(zip(limbs, load_skeleton("coco17").colours, strict=True))
    joints = load_skeleton("coco17").joints
    assert colours["left_wrist"] == at[joints.index("left_elbow"), joints.index("left_wrist")]
    # The limb from shoulder to shoulder, in the colour of neither side, colours neither.
    assert colours["right_shoulder"] == at[joints.index("right_ear"), joints.index("right_shoulder")]
    assert colours["left_hip"] != colours["right_hip"]
    assert joint_colours(Skeleton("points", ("a", "b"))) == ((236, 233, 226),) * 2
