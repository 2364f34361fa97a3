"""Losses: those of the products, each against what its program gave, and known answers by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from manypose.codecs.simcc import SimccCodec
from manypose.networks.maps import Maps
from manypose.training.losses import (
    LOSSES,
    distillation_loss,
    euclidean_loss,
    focused_map_loss,
    hardest_joints_loss,
    make_loss,
    simcc_loss,
)

Batch = dict[str, Tensor]
Stages = list[Tensor]


def zeros(channels: int) -> Tensor:
    return torch.zeros(1, channels, 2, 2)


def bottom_up(seed: int, batch: int = 2) -> tuple[Stages, Stages, Batch]:
    """Two stages of heatmaps, three of fields, and what they shall be: 2 joints and 2 limbs on 4 x 3 cells."""
    random = torch.Generator().manual_seed(seed)

    def draw(channels: int) -> Tensor:
        return torch.randn(batch, channels, 4, 3, generator=random, dtype=torch.float64)

    weights = (torch.rand(batch, 7, 4, 3, generator=random) > 0.3).to(torch.uint8)
    targets = {"heatmaps": draw(3).abs().clamp(max=1), "fields": draw(4), "weights": weights}
    return [draw(3) for _ in range(2)], [draw(4) for _ in range(3)], targets


@pytest.fixture(scope="module")
def products(goldens: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((goldens / "train_and_crop" / "losses.json").read_text())
    return content


def inputs(products: dict[str, Any]) -> tuple[Stages, Stages, Batch]:
    arrays = {name: torch.tensor(value, dtype=torch.float64) for name, value in products["inputs"].items()}
    batch = {
        "heatmaps": arrays["target_heatmaps_4x4"],
        "fields": arrays["target_pafs_4x4"],
        "weights": arrays["weight_mask_4x4"].expand(-1, 7, -1, -1),
    }
    return list(arrays["heatmaps_pred"]), list(arrays["pafs_pred"]), batch


def interleaved(losses: Batch, branches: tuple[str, str]) -> list[float]:
    return [losses[f"{branch}_{stage}"].item() for stage in (1, 2) for branch in branches]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("product", "loss", "order"),
    [
        ("daniil", "euclidean", ("heatmaps", "fields")),
        ("caffe_euclidean", "euclidean", ("fields", "heatmaps")),
        ("tensorboy", "mean", ("fields", "heatmaps")),
    ],
)
def test_losses_are_those_of_the_product(
    product: str, loss: str, order: tuple[str, str], products: dict[str, Any]
) -> None:
    losses = LOSSES[loss].function(*inputs(products))
    assert interleaved(losses, order) == pytest.approx(products[product]["terms"], rel=1e-12)
    assert sum(losses.values()).item() == pytest.approx(products[product]["total"], rel=1e-12)


@pytest.mark.golden
def test_masked_cells_count_as_right_in_treb1ens(products: dict[str, Any]) -> None:
    arrays = {name: torch.tensor(value, dtype=torch.float64) for name, value in products["inputs"].items()}
    heatmaps, fields = (
        functional.interpolate(arrays[name], (4, 4), mode="bilinear", align_corners=True)
        for name in ("target_heatmaps_8x8", "target_pafs_8x8")
    )
    ignored = functional.interpolate(arrays["ignore_mask_8x8"][:, None], (4, 4)) > 0
    weights = (~ignored).to(torch.uint8).expand(-1, 7, -1, -1)
    batch = {"heatmaps": heatmaps, "fields": fields, "weights": weights}
    losses = LOSSES["treb1en"].function(list(arrays["heatmaps_pred"]), list(arrays["pafs_pred"]), batch)
    golden = products["treb1en_chainer"]
    assert [losses[f"fields_{n}"].item() for n in (1, 2)] == pytest.approx(golden["paf_per_stage"], rel=1e-6)
    assert [losses[f"heatmaps_{n}"].item() for n in (1, 2)] == pytest.approx(golden["heatmap_per_stage"], rel=1e-6)
    assert sum(losses.values()).item() == pytest.approx(golden["total"], rel=1e-6)


def test_masked_cells_have_no_gradient_in_treb1ens() -> None:
    heatmaps, fields, batch = bottom_up(0)
    heatmaps[0].requires_grad_()
    LOSSES["treb1en"].function(heatmaps, fields, batch)["heatmaps_1"].backward()
    assert heatmaps[0].grad is not None
    assert torch.equal(heatmaps[0].grad != 0, batch["weights"][:, :3] > 0)


def test_gluons_is_half_the_mean_of_each_sample_and_the_step_divides_by_the_batch() -> None:
    heatmaps, fields, batch = bottom_up(1)
    losses = LOSSES["gluon"].function(heatmaps, fields, batch)
    weights = batch["weights"].double()
    products = ((fields[2] * weights[:, 3:] - batch["fields"] * weights[:, 3:]) ** 2).flatten(1).mean(1) / 2
    assert losses["fields_3"].item() == pytest.approx(products.sum().item() / 2)
    # keras_mxnet.md: Caffe's loss is C h w times Gluon's, with weights of 0 and 1
    caffe = euclidean_loss(heatmaps, fields, batch)
    assert caffe["fields_3"].item() == pytest.approx(losses["fields_3"].item() * 4 * 4 * 3)
    assert caffe["heatmaps_1"].item() == pytest.approx(losses["heatmaps_1"].item() * 3 * 4 * 3)


def test_the_keras_product_divides_by_ten_whatever_its_batch_is() -> None:
    tens = bottom_up(2, batch=10)
    assert euclidean_loss(*tens, samples=10) == euclidean_loss(*tens)
    pair = bottom_up(2)
    assert euclidean_loss(*pair, samples=10)["fields_1"].item() == pytest.approx(
        euclidean_loss(*pair)["fields_1"].item() / 5
    )


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if "bottom-up" in loss.kinds])
def test_every_stage_and_branch_has_a_loss_that_is_a_mean_over_the_samples(name: str) -> None:
    heatmaps, fields, batch = bottom_up(3, batch=4)
    losses = LOSSES[name].function(heatmaps, fields, batch)
    assert list(losses) == ["heatmaps_1", "heatmaps_2", "fields_1", "fields_2", "fields_3"]
    halves = [
        LOSSES[name].function(
            [x[part] for x in heatmaps], [x[part] for x in fields], {k: v[part] for k, v in batch.items()}
        )
        for part in (slice(0, 2), slice(2, 4))
    ]
    for key, loss in losses.items():
        assert loss.item() == pytest.approx(sum(half[key].item() for half in halves) / 2), key


@pytest.mark.parametrize("name", ["focused", "euclidean", "treb1en", "gluon"])
def test_what_the_labels_cannot_tell_does_not_count(name: str) -> None:
    heatmaps, fields, batch = bottom_up(4)
    masked = batch["weights"] == 0
    before = LOSSES[name].function(heatmaps, fields, batch)
    changed = batch | {
        "heatmaps": torch.where(masked[:, :3], 5.0, batch["heatmaps"]),
        "fields": torch.where(masked[:, 3:], 5.0, batch["fields"]),
    }
    assert LOSSES[name].function(heatmaps, fields, changed) == before


def test_the_unmasked_mean_does_not_heed_weights() -> None:
    heatmaps, fields, batch = bottom_up(5)
    ones = batch | {"weights": torch.ones_like(batch["weights"])}
    assert LOSSES["mean"].function(heatmaps, fields, batch) == LOSSES["mean"].function(heatmaps, fields, ones)


@pytest.fixture(scope="module")
def crops(goldens: Path) -> dict[str, Tensor]:
    arrays = np.load(goldens / "topdown" / "pieces" / "loss_acc.npz")
    return {name: torch.from_numpy(np.asarray(arrays[name], np.float64)) for name in arrays}


@pytest.mark.golden
@pytest.mark.parametrize(
    ("loss", "weights", "golden"),
    [
        ("joint-mse", "weight", "mse"),
        ("joint-mse", None, "mse_no_weight"),
        ("joint-mse", "weight_joint", "mse_joint_weight"),  # 1.5 acts as 2.25
        ("joint-ohkm", "weight", "ohkm8"),
        ("joint-ohkm", None, "ohkm8_no_weight"),
    ],
)
def test_losses_of_crops_are_those_of_hrnet(
    loss: str, weights: str | None, golden: str, crops: dict[str, Tensor]
) -> None:
    of_joints = crops[weights][..., 0] if weights else torch.ones(3, 17)
    batch = {"heatmaps": crops["target"], "weights": of_joints}
    losses = LOSSES[loss].function([crops["pred"]], [], batch)
    assert list(losses) == ["heatmaps_1"]
    assert losses["heatmaps_1"].item() == pytest.approx(crops[golden].item(), rel=1e-6)


@pytest.mark.golden
def test_four_hardest_joints(crops: dict[str, Tensor]) -> None:
    batch = {"heatmaps": crops["target"], "weights": crops["weight"][..., 0]}
    losses = hardest_joints_loss([crops["pred"]], [], batch, hardest=4)
    assert losses["heatmaps_1"].item() == pytest.approx(crops["ohkm4"].item(), rel=1e-6)
    everything = hardest_joints_loss([crops["pred"]], [], batch, hardest=99)
    assert everything["heatmaps_1"].item() == pytest.approx(crops["mse"].item(), rel=1e-6)


@pytest.mark.golden
def test_the_gradient_of_joint_mse_is_that_of_hrnet(crops: dict[str, Tensor]) -> None:
    maps = crops["pred"].clone().requires_grad_()
    batch = {"heatmaps": crops["target"], "weights": crops["weight"][..., 0]}
    LOSSES["joint-mse"].function([maps], [], batch)["heatmaps_1"].backward()
    assert maps.grad is not None
    torch.testing.assert_close(maps.grad[0, 0], crops["mse_grad_0_0"], rtol=1e-5, atol=1e-9)
    assert maps.grad.norm().item() == pytest.approx(crops["mse_grad_norm"].item(), rel=1e-6)


def test_stages_of_crops_with_a_background_add_up_and_it_counts_fully() -> None:
    stages = [torch.ones(2, 4, 5, 5), 2 * torch.ones(2, 4, 5, 5)]
    batch = {"heatmaps": torch.zeros(2, 4, 5, 5), "weights": torch.tensor([[1.0, 0, 0], [1, 1, 0]])}
    losses = LOSSES["joint-mse"].function(stages, (), batch)
    assert {name: loss.item() for name, loss in losses.items()} == {"heatmaps_1": 5 / 16, "heatmaps_2": 20 / 16}


def test_exact_maps_cost_nothing() -> None:
    maps = Maps(torch.rand(1, 3, 2, 2), torch.rand(1, 4, 2, 2))
    assert [float(x) for x in focused_map_loss(maps, *maps, torch.ones(1, 7, 2, 2, dtype=torch.uint8))] == [0, 0]


def test_cells_with_people_count_more_and_the_background_does_not() -> None:
    heatmaps, fields = zeros(3), zeros(4)
    heatmaps[0, 0, 0, 0] = 1  # a joint: counts seven times
    fields[0, 1, 0, 0] = -1  # a limb: three times
    ones = torch.ones(1, 7, 2, 2, dtype=torch.uint8)
    of_heatmaps, of_fields = focused_map_loss(Maps(zeros(3), zeros(4)), heatmaps, fields, ones)
    assert float(of_heatmaps) == pytest.approx(100 * 1.5 * 7 / 12)
    assert float(of_fields) == pytest.approx(100 * 3 / 16)
    background = zeros(3)
    background[0, 2] = 1
    assert float(focused_map_loss(Maps(zeros(3), zeros(4)), background, fields, ones)[0]) == pytest.approx(150 * 4 / 12)


def test_cells_that_the_labels_cannot_tell_cost_nothing() -> None:
    weights = torch.zeros(1, 7, 2, 2, dtype=torch.uint8)
    weights[0, 3] = 1  # only the first field channel
    losses = focused_map_loss(Maps(zeros(3) + 9, zeros(4) + 1), zeros(3), zeros(4), weights)
    assert [float(x) for x in losses] == [0, pytest.approx(100 * 4 / 16)]


def test_the_targets_are_not_changed() -> None:
    heatmaps = torch.rand(1, 3, 2, 2)
    before = heatmaps.clone()
    focused_map_loss(Maps(zeros(3), zeros(4)), heatmaps, zeros(4), torch.ones(1, 7, 2, 2))
    assert torch.equal(heatmaps, before)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [(None, "bottom-up", "focused"), (None, "crops", "joint-mse"), ("euclidean", "bottom-up", "euclidean")],
)
def test_a_recipe_names_its_loss_or_takes_that_of_its_task(name: str | None, kind: str, expected: str) -> None:
    heatmaps, fields, batch = bottom_up(6)
    loss = make_loss(SimpleNamespace(loss=name), SimpleNamespace(kind=kind))  # type: ignore[arg-type]
    assert loss((heatmaps, fields), batch) == LOSSES[expected].function(heatmaps, fields, batch)


def simcc_batch(**options: Any) -> Batch:
    keypoints = np.array([[[3.2, 10], [np.nan, np.nan]], [[8, 1], [15, 15.4]]], np.float32)
    arrays = SimccCodec(**options).encode(keypoints, (16, 24))
    pairs = zip(("simcc_x", "simcc_y", "weights"), arrays, strict=True)
    return {name: torch.from_numpy(array) for name, array in pairs}


def test_simcc_is_rtmposes_divergence_for_each_sample() -> None:
    """mmpose: KLDivLoss of log_softmax(10 p) from softmax(10 t), mean over bins, weighted sum over joints / K."""
    batch = simcc_batch()
    x, y = torch.randn(2, 2, 32), torch.randn(2, 2, 48)
    expected = []
    for vectors, target in ((x, batch["simcc_x"]), (y, batch["simcc_y"])):
        total = torch.zeros(())
        for sample in range(2):
            for joint in range(2):
                p, t = (10 * vectors[sample, joint]).softmax(0), (10 * target[sample, joint]).softmax(0)
                total += batch["weights"][sample, joint] * (t * (t / p).log()).mean() / 2
        expected.append(total.item() / 2)  # ours is the mean over the two samples
    losses = LOSSES["simcc"].function([x], [y], batch)
    assert losses["x_1"].item() == pytest.approx(expected[0], rel=1e-5)
    assert losses["y_1"].item() == pytest.approx(expected[1], rel=1e-5)


def test_simcc_is_least_at_the_targets_and_does_not_heed_absent_joints() -> None:
    batch = simcc_batch()
    exact = simcc_loss([batch["simcc_x"]], [batch["simcc_y"]], batch)
    assert [loss.item() for loss in exact.values()] == pytest.approx([0, 0], abs=1e-6)
    changed = batch["simcc_x"].clone()
    changed[0, 1] += torch.randn(32)
    assert simcc_loss([changed], [batch["simcc_y"]], batch)["x_1"].item() == pytest.approx(0, abs=1e-6)


def test_smoothed_labels_are_shares_already() -> None:
    batch = simcc_batch(smoothing=0.1)
    # The softmax of their logarithms gives them back; the absent joint's vector is 0 and weighs nothing.
    x, y = batch["simcc_x"].clamp(min=1e-9).log(), batch["simcc_y"].clamp(min=1e-9).log()
    losses = LOSSES["simcc-smooth"].function([x], [y], batch)
    assert [loss.item() for loss in losses.values()] == pytest.approx([0, 0], abs=1e-6)


def test_only_what_the_teacher_has_is_distilled() -> None:
    ours, theirs = torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)
    theirs[:, 1] = 3
    channels = torch.tensor([False, True, False])
    assert distillation_loss(ours, theirs, channels).item() == 9
    weights = torch.ones(2, 3, 2, 2)
    weights[0] = 0
    assert distillation_loss(ours, theirs, channels, weights).item() == 4.5
    assert distillation_loss(ours, theirs, torch.zeros(3, dtype=torch.bool)).item() == 0
