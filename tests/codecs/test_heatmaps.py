"""Decoding of heatmaps and SimCC vectors: the numbers of the programs that the networks come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from manypose import metadata
from manypose.codecs import heatmaps
from manypose.codecs.heatmaps import Decoding, Drawing, HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.errors import ModelError


@pytest.fixture
def stored(goldens: Path) -> Any:
    """Reads arrays of `goldens/topdown/pieces`."""
    return lambda name: np.load(goldens / "topdown" / "pieces" / f"{name}.npz")


@pytest.mark.golden
def test_the_highest_cell_and_a_quarter(stored: Any) -> None:
    golden = stored("argmax_quarter")
    maps = golden["heatmaps"].astype(np.float32)
    cells, scores = heatmaps.find_highest(maps)
    np.testing.assert_array_equal(cells, golden["argmax_xy"])
    np.testing.assert_allclose(scores, golden["maxval"][..., 0], atol=2e-5)
    np.testing.assert_array_equal(heatmaps.quarter_offset(maps, cells), golden["quarter_xy_heatmap"])


@pytest.mark.golden
def test_dark(stored: Any) -> None:
    golden = stored("dark")
    maps = golden["heatmaps"].astype(np.float32)
    sure = golden["maxval"] > 0.2
    np.testing.assert_allclose(heatmaps.blur(maps, int(golden["blur_kernel"]))[0, :4], golden["blurred_0_first4"])
    cells, _ = HeatmapCodec(decoding="dark").find(maps)
    np.testing.assert_allclose(cells[sure], golden["dark_xy_heatmap"][sure], atol=1e-3)
    places, _ = HeatmapCodec(decoding="dark").decode(maps)
    np.testing.assert_allclose(places[sure], golden["dark_xy_input"][sure], atol=4e-3)


@pytest.mark.golden
def test_udp_dark(stored: Any) -> None:
    golden = stored("dark")
    maps = golden["heatmaps"].astype(np.float32)
    sure = golden["maxval"] > 0.2
    codec = HeatmapCodec(decoding="udp-dark", udp=True)
    np.testing.assert_allclose(codec.find(maps)[0][sure], golden["udp_dark_xy_heatmap"][sure], atol=1e-3)
    # There in units of the input's size, here in its pixels, of which the last one is the size less one.
    expected = golden["udp_dark_xy_input"] * (np.array([191, 255]) / (192, 256))
    np.testing.assert_allclose(codec.decode(maps)[0][sure], expected[sure], atol=4e-3)


@pytest.mark.golden
@pytest.mark.parametrize("beta", [100, 160])
def test_soft_argmax(stored: Any, beta: int) -> None:
    golden = stored("softargmax")
    maps = golden["heatmaps"].astype(np.float32)
    told = maps.max(axis=(2, 3)) > 0  # the first map was rounded after it had been run, and has no peak
    cells, scores = heatmaps.find_soft(maps, beta)
    np.testing.assert_allclose(cells[told], golden[f"xy_beta{beta}"][told], atol=2e-3)
    np.testing.assert_allclose(scores, golden[f"maxval_beta{beta}"][..., 0], atol=5e-5)


@pytest.mark.golden
def test_soft_argmax_and_a_quarter(stored: Any) -> None:
    golden = stored("softargmax")
    maps = golden["heatmaps"].astype(np.float32)
    told = maps.max(axis=(2, 3)) > 0
    cells, _ = HeatmapCodec(decoding="soft-argmax+quarter").find(maps)
    np.testing.assert_allclose(cells[told], golden["xy_heatmap_beta160_with_quarter_offset"][told], atol=2e-3)


@pytest.mark.golden
@pytest.mark.parametrize("beta", [10, 100, 160])
def test_soft_argmax_of_a_networks_maps(goldens: Path, beta: int) -> None:
    golden = np.load(goldens / "topdown" / "models" / "hrnet_w18_small_v2_softargmax" / "io.npz")
    cells, scores = heatmaps.find_soft(golden["heatmaps"].astype(np.float32), beta)
    np.testing.assert_allclose(cells, golden[f"xy_beta{beta}"].reshape(cells.shape), atol=2e-3)
    np.testing.assert_allclose(scores, golden[f"score_beta{beta}"].reshape(scores.shape), atol=2e-3)


@pytest.mark.parametrize("decoding", ["argmax", "quarter", "dark", "udp-dark", "soft-argmax", "soft-argmax+quarter"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 3), (16, 24)])
def test_maps_of_every_size_and_of_nothing(decoding: Decoding, size: tuple[int, int]) -> None:
    maps = np.zeros((2, 3, size[1], size[0]), np.float32)
    maps[0, 0, -1, -1] = 1
    places, scores = HeatmapCodec(decoding=decoding).decode(maps)
    assert places.shape == (2, 3, 2)
    assert np.isnan(places[1]).all()
    assert not scores[1].any()
    assert np.isfinite(places[0, 0]).all()


def test_the_background_is_left_out() -> None:
    maps = np.zeros((1, 3, 8, 8), np.float32)
    maps[0, :, 2, 3] = [0.5, 0.25, 0.75]
    places, scores = HeatmapCodec(decoding="argmax", background=True).decode(maps)
    assert places.tolist() == [[[12, 8], [12, 8]]]
    assert scores.tolist() == [[0.5, 0.25]]


def test_maps_that_are_none() -> None:
    for maps in (np.zeros((1, 8, 8)), np.zeros((1, 2, 0, 8)), np.full((1, 1, 4, 4), np.nan)):
        with pytest.raises(ModelError, match=r"heatmaps have shape .*, expected finite numbers"):
            HeatmapCodec().decode(maps.astype(np.float32))


def test_simcc_scores() -> None:
    x, y = np.zeros((1, 2, 8), np.float32), np.zeros((1, 2, 6), np.float32)
    x[0, 0, 5], y[0, 0, 2], y[0, 1] = 0.5, 1.5, -1
    places, scores = SimccCodec().decode(x, y)
    assert places[0, 0].tolist() == [2.5, 1]
    assert np.isnan(places[0, 1]).all()
    assert scores.tolist() == [[0.5, 0]]
    assert SimccCodec(score="mean").decode(x, y)[1].tolist() == [[1.0, 0]]
    with pytest.raises(ModelError, match="simcc_x and simcc_y have shapes"):
        SimccCodec().decode(x, y[:, :1])


def encoded(codec: HeatmapCodec, golden: Any, name: str, size: tuple[int, int]) -> Any:
    there = golden[f"{name}/joints_vis"][:, :1] > 0
    return codec.encode(np.where(there, golden[f"{name}/joints"][:, :2], np.nan)[None], size)


@pytest.mark.golden
@pytest.mark.parametrize(("name", "size", "sigma"), [("192x256_s2", (192, 256), 2), ("288x384_s3", (288, 384), 3)])
def test_targets_of_hrnet(stored: Any, name: str, size: tuple[int, int], sigma: float) -> None:
    golden = stored("targets")
    maps, weights = encoded(HeatmapCodec(sigma=sigma, drawing="rounded"), golden, name, size)
    np.testing.assert_allclose(maps[0], golden[f"{name}/target"].astype(np.float32), atol=3e-4)  # kept as float16
    np.testing.assert_allclose(maps[0].sum(axis=(1, 2), dtype=np.float64), golden[f"{name}/target_sum"], rtol=1e-5)
    np.testing.assert_array_equal(weights[0], golden[f"{name}/target_weight"][:, 0])


@pytest.mark.golden
@pytest.mark.parametrize(
    ("codec", "rule"),
    [(HeatmapCodec(drawing="window", udp=True), "udp"), (HeatmapCodec(drawing="exact"), "dark_unbiased")],
    ids=["udp", "dark"],
)
def test_targets_without_rounding(stored: Any, codec: HeatmapCodec, rule: str) -> None:
    golden = stored("targets")
    maps, weights = encoded(codec, golden, "192x256_s2", (192, 256))
    np.testing.assert_allclose(maps[0], golden[f"192x256_s2/{rule}_target"].astype(np.float32), atol=3e-4)
    np.testing.assert_array_equal(weights[0], golden[f"192x256_s2/{rule}_weight"][0])


@pytest.mark.parametrize("udp", [False, True])
def test_what_is_encoded_is_decoded(udp: bool) -> None:
    codec = HeatmapCodec(udp=udp)
    places = np.random.default_rng(0).uniform((20, 20), (170, 230), (3, 17, 2)).astype(np.float32)
    decoded, scores = codec.decode(codec.encode(places, (192, 256))[0])
    np.testing.assert_allclose(decoded, places, atol=0.15)
    assert scores.min() > 0.85


@pytest.mark.parametrize("drawing", ["exact", "window"])
def test_an_offset_is_where_cell_0_lies(drawing: Drawing) -> None:
    """CMU's faces and hands: cell k lies at 8 k + 3.5."""
    codec = HeatmapCodec(stride=8, offset=3.5, sigma=0.875, decoding="udp-dark", drawing=drawing)
    places = np.random.default_rng(0).uniform(40, 320, (3, 21, 2)).astype(np.float32)
    maps, _ = codec.encode(places, (368, 368))
    y, x = 8 * np.mgrid[:46, :46] + 3.5
    distance = np.hypot(x - places[0, 0, 0], y - places[0, 0, 1])
    bell = np.where(distance < 14, np.exp(-(distance**2) / (2 * 7**2)), 0)
    np.testing.assert_allclose(np.where(distance < 14, maps[0, 0], 0), bell, atol=1e-5)
    np.testing.assert_allclose(codec.decode(maps)[0], places, atol=0.3)
    on_cells = np.full((1, 1, 2), 8 * 20 + 3.5, np.float32)
    highest = HeatmapCodec(stride=8, offset=3.5, decoding="argmax")
    np.testing.assert_array_equal(highest.decode(highest.encode(on_cells, (368, 368))[0])[0], on_cells)


def test_a_model_file_may_name_every_decoding() -> None:
    assert get_args(metadata.Decoding) == get_args(Decoding)


def test_absent_joints_weigh_nothing_and_have_no_peak() -> None:
    maps, weights = HeatmapCodec(background=True).encode(np.full((1, 3, 2), np.nan, np.float32), (64, 32))
    assert maps.shape == (1, 4, 8, 16)
    assert not maps[:, :3].any()
    assert (maps[:, 3] == 1).all()
    assert not weights.any()
