"""Heatmaps and fields as pictures: in the right colours, at the right places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manypose import geometry, images
from manypose.drawing import draw_maps
from manypose.drawing.colours import direction_colours
from manypose.errors import ImageError, SkeletonError
from manypose.skeleton import Skeleton

SKELETON = Skeleton(
    "stick", ("top", "middle", "bottom"), ((0, 1), (1, 2)), ((255, 40, 0), (0, 120, 255)), fields=((0, 1), (1, 2))
)
PICTURE = np.random.default_rng(0).integers(60, 200, (240, 320, 3), np.uint8)
STRIDE = 8


def blobs(*places: tuple[float, float], size: tuple[int, int] = (320, 240), sigma: float = 10) -> np.ndarray:
    """Heatmaps (K, h, w) with a Gaussian each, at places in pixels of the picture that the network saw."""
    rows, columns = np.indices((size[1] // STRIDE, size[0] // STRIDE))
    x, y = geometry.cell_to_pixel(columns, STRIDE), geometry.cell_to_pixel(rows, STRIDE)
    maps = [np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2)) for place in places]
    return np.array(maps, np.float32)


def colourfulness(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2)


def centre_of(weight: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(weight.shape)
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


def test_the_picture_given_stays_as_it_is_and_the_same_comes_out_each_time() -> None:
    before, maps = PICTURE.copy(), blobs((80, 60), (160, 120), (240, 180))
    kept = maps.copy()
    drawn = draw_maps(PICTURE, maps, None, SKELETON)
    assert drawn.shape == PICTURE.shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(PICTURE, before)
    assert np.array_equal(maps, kept)
    assert np.array_equal(drawn, draw_maps(PICTURE, maps, None, SKELETON))


def test_empty_maps_leave_the_picture_in_dark_grey() -> None:
    drawn = draw_maps(PICTURE, np.zeros((3, 30, 40), np.float32), None, SKELETON)
    assert colourfulness(drawn).max() == 0
    assert drawn.mean() == pytest.approx(PICTURE.mean() / 2, rel=0.1)


def test_each_joint_glows_in_its_colour_where_it_is() -> None:
    drawn = draw_maps(PICTURE, blobs((80, 60), (160, 120), (240, 180)), None, SKELETON)
    assert np.abs(drawn[60, 80].astype(int) - (255, 40, 0)).max() < 60
    assert np.abs(drawn[180, 240].astype(int) - (0, 120, 255)).max() < 60


@pytest.mark.parametrize("x", [100.0, 103.5, 107.0])
def test_maps_are_enlarged_by_half_pixels(x: float) -> None:
    drawn = draw_maps(np.zeros_like(PICTURE), blobs((0, 0), (x, 90.0), (0, 0)), None, SKELETON, joint="middle")
    assert centre_of(drawn[..., 0].astype(float)) == pytest.approx((x, 90.0), abs=0.3)


def test_maps_of_a_resized_and_padded_picture_come_back_to_their_places() -> None:
    fitted, affine = images.fit(np.zeros((215, 301, 3), np.uint8), long_side=400, stride=32)
    place = geometry.transform_points(np.array([150.0, 100.0]), affine)
    maps = blobs((0, 0), tuple(place), (0, 0), size=(fitted.shape[1], fitted.shape[0]))
    drawn = draw_maps(
        np.zeros((215, 301, 3), np.uint8), maps, None, SKELETON, joint="middle", affine=affine, stride=STRIDE
    )
    assert centre_of(drawn[..., 0].astype(float)) == pytest.approx((150, 100), abs=0.4)


def test_one_joint_by_name_and_a_background_channel_that_is_not_shown() -> None:
    maps = np.concatenate([blobs((80, 60), (160, 120), (240, 180)), np.ones((1, 30, 40), np.float32)])
    drawn = colourfulness(draw_maps(PICTURE, maps, None, SKELETON, joint="bottom"))
    assert drawn[180, 240] > 100
    assert drawn[60, 80] == 0


def field(x: float, y: float, *, half: str = "left") -> np.ndarray:
    maps = np.zeros((2, 30, 40), np.float32)
    part = maps[:, :, :20] if half == "left" else maps[:, :, 20:]
    part[:] = np.array([x, y], np.float32)[:, None, None]
    return maps


def test_fields_have_the_colour_of_their_direction() -> None:
    fields = np.concatenate([field(1, 0), field(0, -1, half="right")])
    drawn = draw_maps(PICTURE, None, fields, SKELETON, show="fields")
    expected = direction_colours(np.array([1, 0], np.float32), np.array([0, -1], np.float32))
    for columns, colour in ((slice(10, 150), expected[0]), (slice(170, 230), expected[1])):
        median = np.median(drawn[:, columns].reshape(-1, 3), axis=0)
        assert np.abs(median - colour).max() < 45


def test_directions_that_differ_have_colours_that_differ() -> None:
    angles = np.arange(0, 2 * np.pi, np.pi / 4, dtype=np.float32)
    colours = direction_colours(np.cos(angles), np.sin(angles))
    apart = np.abs(colours[:, None] - colours[None]).max(axis=2) + 999 * np.eye(len(angles))
    assert apart.min() > 30
    grey = colours @ [0.299, 0.587, 0.114]
    assert np.ptp(grey) < 50  # about equally light


def test_arrows_point_along_the_field() -> None:
    def white_runs(x: float, y: float) -> tuple[int, int]:
        fields = np.concatenate([field(x, y), field(0, 0)])
        drawn = draw_maps(np.zeros_like(PICTURE), None, fields, SKELETON, show="fields")
        white = drawn[:, :150].min(axis=2) > 200
        return (white[:, 1:] & white[:, :-1]).sum(), (white[1:] & white[:-1]).sum()

    across, down = white_runs(1, 0)
    assert across > 1.2 * down > 0
    across, down = white_runs(0, 1)
    assert down > 1.2 * across > 0


@pytest.mark.parametrize(
    ("options", "left", "right"),
    [
        ({"joint": "top"}, True, False),
        ({"joint": "middle"}, True, True),
        ({"limb": ("middle", "bottom")}, False, True),
        ({"limb": ("bottom", "middle")}, False, True),
    ],
)
def test_fields_of_one_joint_or_one_limb(options: dict[str, Any], left: bool, right: bool) -> None:
    fields = np.concatenate([field(1, 0), field(1, 0, half="right")])
    drawn = colourfulness(draw_maps(PICTURE, None, fields, SKELETON, show="fields", **options))
    assert (drawn[:120, 20:140].mean() > 50) == left
    assert (drawn[:120, 180:300].mean() > 50) == right


def test_the_longest_vector_is_shown_where_fields_meet() -> None:
    fields = np.concatenate([field(0.3, 0), field(0, 0.9)])
    alone = np.concatenate([field(0, 0), field(0, 0.9)])
    assert np.array_equal(
        draw_maps(PICTURE, None, fields, SKELETON, show="fields"),
        draw_maps(PICTURE, None, alone, SKELETON, show="fields"),
    )


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (3, 500), (9000, 40)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 100, np.uint8)
    fields = np.concatenate([field(1, 0), field(0, 1)])
    assert draw_maps(picture, None, fields, SKELETON, show="fields").shape == picture.shape
    assert draw_maps(picture, blobs((0, 0), (9, 9), (80, 80)), None, SKELETON).shape == picture.shape


def test_a_picture_drawn_in_tiles_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = blobs((80, 60), (160, 120), (240, 180))
    whole = draw_maps(PICTURE, maps, None, SKELETON)
    monkeypatch.setattr("manypose.drawing.maps._TILE", 100)
    assert np.abs(draw_maps(PICTURE, maps, None, SKELETON).astype(int) - whole).max() <= 2


def test_values_outside_of_0_to_1_and_nan_do_no_harm() -> None:
    maps = blobs((80, 60), (160, 120), (240, 180)) * 3 - 1
    maps[0, 0, 0] = np.nan
    assert draw_maps(PICTURE, maps, None, SKELETON).shape == PICTURE.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"show": "pafs"}, "show is 'pafs', expected one of heatmaps, fields"),
        ({"joint": "tail"}, "'stick' has no joint 'tail'"),
        ({"show": "fields", "limb": ("top", "bottom")}, "'stick' has no field top-bottom"),
        ({"heatmaps": None}, "heatmaps cannot be shown: none are given"),
        (
            {"heatmaps": np.zeros((2, 30, 40), np.float32)},
            r"shape \(2, 30, 40\), expected \(3, h, w\) for skeleton 'stick'",
        ),
        (
            {"show": "fields", "fields": np.zeros((6, 3, 4), np.float32)},
            r"fields have shape \(6, 3, 4\), expected \(4, h, w\)",
        ),
        ({"show": "fields", "skeleton": Skeleton("bare", ("a",))}, "fields cannot be shown: the skeleton has none"),
    ],
)
def test_maps_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"heatmaps": blobs((0, 0), (9, 9), (80, 80)), "fields": np.zeros((4, 30, 40), np.float32)}
    given |= {"skeleton": SKELETON, **options}
    with pytest.raises(SkeletonError, match=message):
        draw_maps(PICTURE, **given)


def test_only_rgb_is_drawn_on() -> None:
    with pytest.raises(ImageError, match="expected a picture of RGB uint8"):
        draw_maps(PICTURE[..., 0], blobs((0, 0), (9, 9), (80, 80)), None, SKELETON)
