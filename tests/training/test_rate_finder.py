"""The search for a learning rate: what is suggested for curves of known shape, and the ramp of a real run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kites import write_kites
from numpy.typing import NDArray

from manypose.errors import RecipeError, TrainingError
from manypose.training import rate_finder
from manypose.training.rate_finder import HIGHEST, LOWEST, draw_rates, find_rate, suggest_rate
from manypose.training.recipe import Recipe
from manypose.training.recipe_file import check_recipe

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
RATES = np.logspace(-6, 0, 120)


def curve(*, fastest: float = 1e-3, width: float = 0.3, end: float = 1e-1, noise: float = 0.0) -> NDArray[np.float64]:
    """A loss that falls from 2 to 1, fastest at a rate, and goes up behind another."""
    x = np.log10(RATES)
    falls = 2 - 1 / (1 + np.exp(-(x - math.log10(fastest)) / width))
    losses = falls + np.exp(8 * (x - math.log10(end)))
    return np.asarray(losses + np.random.default_rng(0).normal(scale=noise, size=len(x)))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.08])
@pytest.mark.parametrize("fastest", [1e-4, 1e-3, 6e-3])
def test_the_rate_is_where_the_loss_falls_fastest(fastest: float, noise: float) -> None:
    found = suggest_rate(RATES, curve(fastest=fastest, noise=noise))
    assert abs(math.log10(found.rate / fastest)) < (0.1 if noise < 0.05 else 0.35)
    assert found.low <= found.rate <= found.high
    assert found.rate < found.limit < 1e-1


def test_the_interval_is_where_it_falls_at_least_half_as_fast() -> None:
    found = suggest_rate(RATES, curve(width=0.5, end=10))
    # The slope of a logistic curve is half its steepest at ln(3 + 2 sqrt 2) = 1.763 widths to either side; smoothing
    # over 0.3 decades widens that of 0.88 decades by a few hundredths.
    assert math.log10(found.rate / found.low) == pytest.approx(0.93, abs=0.05)
    assert math.log10(found.high / found.rate) == pytest.approx(0.93, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-6, 1e6), shift=st.floats(-3, 3), add=st.floats(0, 10))
def test_neither_the_scale_of_the_loss_nor_that_of_the_rates_matters(factor: float, shift: float, add: float) -> None:
    losses = curve(noise=0.02)
    plain = suggest_rate(RATES, losses)
    other = suggest_rate(RATES * 10**shift, factor * (losses + add))
    assert other.rate == pytest.approx(plain.rate * 10**shift)
    assert (other.low, other.high) == pytest.approx((plain.low * 10**shift, plain.high * 10**shift))


def test_what_comes_after_a_loss_that_is_no_number_does_not_count() -> None:
    losses = curve()
    plain = suggest_rate(RATES, losses)
    for broken in (math.nan, math.inf):
        found = suggest_rate(RATES, np.append(losses[:100], [broken, *[-1e9] * 19]))
        assert found.rate == plain.rate
        assert len(found.smoothed) == 100


def test_a_later_dive_after_the_loss_went_up_does_not_count() -> None:
    losses = curve()
    losses[-15:] = np.linspace(losses[-16], 1.2, 15)
    assert suggest_rate(RATES, losses).rate == suggest_rate(RATES, curve()).rate


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([1.0] * 120, "does not fall at any learning rate from 1e-06 to 1: try another learning_rate"),
        (np.linspace(1, 2, 120), "does not fall"),
        (np.random.default_rng(1).normal(5, 1, 120), "does not fall"),
        ([1.0, 0.9, math.nan, 0.8] + [0.7] * 116, "no number after 2 steps, at a learning rate of 1.3e-06: begin with"),
        ([math.nan], "no number after 0 steps"),
        ([3.0, 2.0, 1.0], "no number after 3 steps"),
        ([3.0] * 4 + [math.inf] * 116, "no number after 4 steps"),
    ],
)
def test_without_a_fall_there_is_no_suggestion(losses: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        suggest_rate(RATES[: len(losses)], losses)


def recipe(folder: Path, **changes: Any) -> Recipe:
    if not (folder / "set.json").exists():
        write_kites(folder, pictures=6)
    values = {
        "name": "kites", "root": folder, "data": [{"file": "set.json"}], "network": "lpn_18", "width": 0.25,
        "size": (64, 64), "batch_size": 6, "max_steps": 4000, "optimiser": "adam", "learning_rate": 1e-3,
        "device": "cpu", "threads": 1, "workers": 0, "out": folder / "runs",
    }  # fmt: skip
    return check_recipe(values | changes, "test")


def test_a_rate_is_found_for_a_network_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[list[float]] = []
    step = torch.optim.Adam.step

    def spied(self: torch.optim.Adam, *arguments: Any, **options: Any) -> Any:
        rates.append(sorted(group["lr"] for group in self.param_groups))
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    settings = recipe(tmp_path, parameters=[{"kind": "norm", "rate": 4}], warmup_steps=300)
    found = find_rate(settings, steps=40)
    assert not settings.out.exists()
    assert found.low <= found.rate <= found.high
    assert 1e-3 * LOWEST < found.rate < 1e-3 * HIGHEST
    np.testing.assert_allclose(found.rates[[0, -1]], [1e-6, 1e-1])
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(HIGHEST / LOWEST) / 39)
    # Each group keeps its own factor, from the first step on and without a warm-up.
    assert len(rates) == len(found.losses)
    np.testing.assert_allclose(rates, [(rate, 4 * rate) for rate in found.rates[: len(rates)]])


def test_it_ends_where_the_loss_goes_up(tmp_path: Path) -> None:
    settings = recipe(tmp_path, optimiser="sgd", learning_rate=3.0, gradient_norm=None)
    found = find_rate(settings, steps=40)
    assert len(found.losses) < 40
    assert found.rate < found.rates[len(found.losses) - 1] / 3


def test_a_step_has_the_samples_of_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spied(self: Any, batch: Any, number: int) -> Any:
        seen.append(len(batch["picture"]))
        return plain(self, batch, number)

    plain = rate_finder._Ramp.training_step
    monkeypatch.setattr(rate_finder._Ramp, "training_step", spied)
    found = find_rate(recipe(tmp_path, devices=2, batch_size=2, accumulate=2, learning_rate=3e-3), steps=24)
    assert seen[: 4 * len(found.losses)] == [2] * 4 * len(found.losses)


def test_it_is_for_the_start_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="resume: the rate is sought for the start of a run"):
        find_rate(recipe(tmp_path, resume=tmp_path / "last.ckpt"))


def test_the_curve_is_drawn_with_the_suggestion(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    import cv2

    losses = curve(noise=0.02)
    losses[110:] = math.nan
    draw_rates(suggest_rate(RATES, losses), tmp_path / "rates.png")
    assert cv2.imread(str(tmp_path / "rates.png")).shape == (700, 1200, 3)
