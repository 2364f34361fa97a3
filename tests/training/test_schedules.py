"""Schedules: the rates of the products' tables at the steps where they change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manypose.training.recipe import Recipe
from manypose.training.schedules import RateSchedule, make_schedule, rate_at, run_length


def recipe(**settings: Any) -> Recipe:
    return Recipe(**{"data": [{"file": "labels.json"}], "warmup_steps": 0, "max_steps": 1000, **settings})


def optimiser(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def test_constant() -> None:
    assert {rate_at(recipe(schedule="constant"), step, 10.0) for step in (0, 999, 10**6)} == {1.0}


def test_linear_warms_up_stays_and_falls_to_a_hundredth() -> None:
    linear = recipe(schedule="linear", warmup_steps=10, cooldown_steps=200)
    assert [rate_at(linear, step, 10.0) for step in (0, 4, 9, 10, 800, 900, 990, 999)] == pytest.approx(
        [0.1, 0.5, 1, 1, 1, 0.5, 0.05, 0.01]
    )
    assert rate_at(linear, 900, 10.0, steps=1100) == 1  # a given length counts, not the recipe's


def test_cosine_falls_to_a_fiftieth_over_the_rest_of_the_run() -> None:
    cosine = recipe(schedule="cosine", warmup_steps=200)
    assert [rate_at(cosine, step, 10.0) for step in (0, 99, 200, 600, 1000)] == pytest.approx(
        [0.005, 0.5, 1, 0.51, 0.02]
    )


CMU_2017 = {"schedule": "every", "every": 136_106, "factor": 0.333}
BODY25 = {
    "schedule": "milestones",
    "milestones": [1000 * n for n in (200, 300, 360, 420, 480, 540, 600, 700, 800, 900)],
    "factor": 0.5,
}
DANIIL = {"schedule": "milestones", "milestones": [100, 200, 260], "factor": 0.333, "schedule_unit": "epochs"}
TREB1EN = {"schedule": "milestones", "milestones": [100_000, 200_000]}
HRNET = {"schedule": "milestones", "milestones": [170, 200], "schedule_unit": "epochs"}
MPII_140 = {"schedule": "milestones", "milestones": [90, 120], "schedule_unit": "epochs"}


@pytest.mark.parametrize(
    ("settings", "base", "epoch_length", "rates"),
    [
        (CMU_2017, 4e-5, 5259.7, {0: 4e-5, 136_105: 4e-5, 136_106: 1.332e-5, 272_212: 4e-5 * 0.333**2}),
        (
            BODY25,
            1e-4,
            100.0,
            {
                199_999: 1e-4,
                200_000: 5e-5,
                359_999: 2.5e-5,
                360_000: 1.25e-5,
                584_000: 1e-4 / 2**6,
                999_999: 1e-4 / 2**10,
            },
        ),
        (DANIIL, 4e-5, 400.0, {39_999: 4e-5, 40_000: 4e-5 * 0.333, 80_000: 4e-5 * 0.333**2, 104_000: 4e-5 * 0.333**3}),
        (TREB1EN, 1e-4, 100.0, {99_999: 1e-4, 100_000: 1e-5, 200_000: 1e-6}),
        (HRNET, 1e-3, 1170.5, {0: 1e-3, 198_984: 1e-3, 198_985: 1e-4, 234_099: 1e-4, 234_100: 1e-5}),
        (MPII_140, 1e-3, 173.25, {15_592: 1e-3, 15_593: 1e-4, 20_789: 1e-4, 20_790: 1e-5}),
    ],
)
def test_the_tables_of_the_products(
    settings: dict[str, Any], base: float, epoch_length: float, rates: dict[int, float]
) -> None:
    found = {step: base * rate_at(recipe(**settings), step, epoch_length) for step in rates}
    assert found == pytest.approx(rates)


def test_the_keras_product_sets_the_rate_once_per_epoch_and_drops_it_first_at_epoch_26() -> None:
    """52,597 samples in batches of 10; the drop is due within epoch 25."""
    keras = recipe(**CMU_2017, once_per_epoch=True)
    epoch = 5259.7
    rates = [rate_at(keras, step, epoch) for step in (0, 136_106, 136_752, 136_753, 26 * 5260)]
    assert rates == [1, 1, 1, 0.333, 0.333]


@pytest.mark.parametrize("epoch_length", [1 / 3, 0.1, 3.7, 1169.13, 7.0])
def test_epochs_begin_with_the_first_step_that_is_wholly_in_them(epoch_length: float) -> None:
    hrnet = recipe(schedule="milestones", milestones=[30], schedule_unit="epochs")
    first = next(step for step in range(10**6) if rate_at(hrnet, step, epoch_length) < 1)
    assert first - 1 < 30 * epoch_length <= first + 1e-6


def test_every_few_epochs() -> None:
    halved = recipe(schedule="every", every=2, factor=0.5, schedule_unit="epochs")
    assert [rate_at(halved, step, 10.0) for step in (0, 19, 20, 40)] == [1, 1, 0.5, 0.25]


def test_mmposes_warm_up_goes_before_milestones() -> None:
    warm = recipe(**HRNET, warmup_steps=500)
    assert [rate_at(warm, step, 100.0) for step in (0, 249, 499, 500, 17_000)] == pytest.approx([0.002, 0.5, 1, 1, 0.1])


def test_a_run_is_as_long_as_its_steps_or_epochs() -> None:
    assert run_length(recipe(), 7.5) == 1000
    assert run_length(recipe(max_steps=None, max_epochs=3), 7.5) == 23
    assert run_length(recipe(max_steps=None, max_epochs=10), 0.1) == 1


def test_each_group_keeps_its_own_base_rate() -> None:
    weights = optimiser(4e-5, 3.2e-4)
    settings = make_schedule(recipe(schedule="every", every=2, factor=0.333), weights, steps=10, epoch_length=5.0)
    assert (settings["interval"], settings["frequency"]) == ("step", 1)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in weights.param_groups])
        weights.step()
        settings["scheduler"].step()
    assert seen == [pytest.approx([4e-5 * f, 3.2e-4 * f]) for f in (1, 1, 0.333, 0.333)]


# tensorboy: ReduceLROnPlateau x0.8, patience 5, cooldown 3, from a rate of 1
TENSORBOY = {"schedule": "plateau", "factor": 0.8, "plateau_patience": 5, "plateau_cooldown": 3}


def observed(schedule: RateSchedule, losses: list[float]) -> list[float]:
    rates = []
    for loss in losses:
        schedule.observe(loss)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    return rates


def test_tensorboys_rate_falls_at_plateaus() -> None:
    schedule = RateSchedule(recipe(**TENSORBOY), optimiser(1.0), steps=1000, epoch_length=100.0)
    rates = observed(schedule, [3.0, 2.0] + 15 * [2.0] + [1.0])
    # the sixth in a row that is no better; then three to cool down and six more
    assert rates == pytest.approx([1, 1, *5 * [1], 0.8, *8 * [0.8], 0.64, 0.64])
    schedule.optimizer.step()
    schedule.step()
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(0.64)


def test_a_plateau_while_warming_up_counts_as_well() -> None:
    schedule = RateSchedule(
        recipe(**TENSORBOY | {"plateau_patience": 0}, warmup_steps=10),
        optimiser(1.0),
        steps=10,
        epoch_length=1.0,
    )
    assert observed(schedule, [1.0, 1.0]) == pytest.approx([0.1, 0.08])


def test_a_resumed_schedule_goes_on_as_if_it_had_not_ended() -> None:
    losses = [3.0, 2.0] + 15 * [2.0]
    whole = RateSchedule(recipe(**TENSORBOY), optimiser(1.0), steps=1000, epoch_length=100.0)
    expected = observed(whole, losses)
    before = RateSchedule(recipe(**TENSORBOY), optimiser(1.0), steps=1000, epoch_length=100.0)
    observed(before, losses[:10])
    state = before.state_dict()
    weights = optimiser(1.0)
    after = RateSchedule(recipe(**TENSORBOY), weights, steps=1000, epoch_length=100.0)
    after.load_state_dict(state)
    weights.load_state_dict(before.optimizer.state_dict())
    assert after.plateau_factor == pytest.approx(0.8)
    assert observed(after, losses[10:]) == expected[10:]


def test_its_state_can_be_loaded_without_trusting_the_file(tmp_path: Any) -> None:
    schedule = RateSchedule(recipe(**TENSORBOY), optimiser(1.0), steps=1000, epoch_length=100.0)
    torch.save(schedule.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["plateau_factor"] == 1


def test_other_schedules_do_not_heed_the_loss() -> None:
    schedule = RateSchedule(recipe(schedule="constant"), optimiser(1.0), steps=1000, epoch_length=100.0)
    assert observed(schedule, 30 * [1.0]) == 30 * [1.0]
