"""HRNet, LPN and pose_resnet against the reference programs: names, weights, sizes, costs, and outputs on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from top_down_golden import GOLDENS, Golden, golden_weights, weights_hash  # noqa: E402

from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402
from manypose.networks.hrnet import hrnet_w18_small_v1  # noqa: E402
from manypose.networks.lpn import lpn_18  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.golden]


@pytest.fixture(scope="module", params=GOLDENS)
def golden(request: pytest.FixtureRequest, goldens: Path) -> Golden:
    return Golden(goldens / "topdown" / "models" / request.param)


def test_the_state_dict_has_the_names_and_shapes_of_the_reference_in_its_order(golden: Golden) -> None:
    assert golden.entries == golden.manifest["state_dict"]
    assert len(golden.entries) == golden.manifest["state_dict_entries"]


def test_the_weights_that_the_tests_draw_are_those_of_the_reference(golden: Golden) -> None:
    assert weights_hash(golden.weights) == golden.manifest["weights_sha256"]


def test_the_output_is_that_of_the_reference(golden: Golden) -> None:
    tolerance = golden.manifest["tolerance"]
    np.testing.assert_allclose(golden.output, golden.expected, rtol=tolerance["rtol"], atol=tolerance["atol"])


def test_every_part_of_the_network_gives_what_it_gives_in_the_reference(golden: Golden) -> None:
    assert set(golden.seen) == set(golden.manifest["probes"])
    for part, probes in golden.manifest["probes"].items():
        for ours, probe in zip(golden.seen[part], probes, strict=True):
            assert list(ours.shape) == probe["shape"], part
            near = 1e-4 * probe["std"]
            assert ours.mean() == pytest.approx(probe["mean"], abs=near), part
            assert ours.std(ddof=1) == pytest.approx(probe["std"], abs=near), part
            np.testing.assert_allclose(ours.ravel()[:4], probe["first"], rtol=1e-4, atol=near, err_msg=part)


def test_there_are_as_many_parameters_as_in_the_reference(golden: Golden) -> None:
    normalising = sum(count_parameters(m) for m in golden.network.modules() if isinstance(m, torch.nn.LayerNorm))
    assert count_parameters(golden.network) == golden.manifest["parameters"]
    assert count_parameters(golden.network) - normalising == golden.manifest["parameters_without_layernorm"]


@pytest.mark.parametrize(("key", "size"), [("input_256x192", (192, 256)), ("input_96x64", (64, 96))])
def test_a_crop_costs_as_many_multiply_adds_as_in_the_reference(
    golden: Golden, key: str, size: tuple[int, int]
) -> None:
    expected = golden.manifest["multiply_adds"][key]
    assert count_multiply_adds(golden.network, size) == expected["true"]
    assert count_multiply_adds(golden.network, size, transposed_at="output") == expected["reference_tool"]


def joint_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Half the mean squared error, after both maps were multiplied by the weight (B, K, 1) of their joint."""
    return 0.5 * ((output - target) * weight[..., None]).square().mean()


def test_the_loss_of_the_training_steps_is_that_of_the_reference(goldens: Path) -> None:
    arrays = np.load(goldens / "topdown" / "pieces" / "loss_acc.npz")
    pred, target = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("pred", "target"))
    for key, weight in (("mse", arrays["weight"]), ("mse_joint_weight", arrays["weight_joint"])):
        weights = torch.from_numpy(np.asarray(weight, np.float32)).reshape(*pred.shape[:2], 1)
        assert joint_loss(pred, target, weights).item() == pytest.approx(float(arrays[key]), rel=1e-5), key


@pytest.mark.parametrize("make", [hrnet_w18_small_v1, lpn_18])
def test_four_steps_of_adam_go_as_in_the_reference(make: type, goldens: Path) -> None:
    folder = goldens / "topdown" / "models" / make.__name__
    expected = json.loads((folder / "train_step.json").read_text())["runs"]["float64"]
    arrays = {name: torch.from_numpy(value).double() for name, value in np.load(folder / "train_step.npz").items()}
    network = make().double().train()
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    network.load_state_dict({name: torch.from_numpy(value) for name, value in golden_weights(shapes).items()})
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for step in range(4):
        output = network(arrays["input"])
        loss = joint_loss(output, arrays["target"], arrays["target_weight"])
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            np.testing.assert_allclose(
                output.detach().numpy(), arrays["output_train_mode_step0"].numpy(), rtol=1e-4, atol=1e-4
            )
            check_first_step(network, expected)
        optimiser.step()
    assert losses[0] == pytest.approx(expected["loss_per_step"][0], rel=1e-5)
    assert losses == pytest.approx(expected["loss_per_step"], rel=2e-2)


def check_first_step(network: torch.nn.Module, expected: dict[str, dict[str, object]]) -> None:
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, norm in expected["grad_norm_step0"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-3), name
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
    assert total == pytest.approx(expected["total_grad_norm_step0"], rel=1e-3)
    for name, first in expected["running_stats_after_first_forward_first3"].items():
        assert network.get_buffer(name)[:3].tolist() == pytest.approx(first, rel=1e-3), name


def test_soft_argmax_of_the_maps_of_hrnet_w18_small_v2(goldens: Path) -> None:
    """It is no network of its own: the same weights, decoded otherwise."""
    manifest = json.loads((goldens / "topdown/models/hrnet_w18_small_v2_softargmax/manifest.json").read_text())
    arrays = np.load(goldens / "topdown/models/hrnet_w18_small_v2_softargmax/io.npz")
    maps = torch.from_numpy(np.load(goldens / "topdown/models/hrnet_w18_small_v2/io.npz")["output"])
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    heatmaps = arrays["heatmaps"].astype(np.float32)
    assert manifest["same_network_as"] == "hrnet_w18_small_v2"
    np.testing.assert_allclose(((maps - low) / (high - low)).numpy(), heatmaps, atol=1e-3)
    for beta in (10, 100, 160):
        shares = (beta * torch.from_numpy(heatmaps).double()).flatten(2).softmax(dim=2).reshape(heatmaps.shape)
        x = (shares.sum(dim=2) * torch.arange(heatmaps.shape[3])).sum(dim=2)
        y = (shares.sum(dim=3) * torch.arange(heatmaps.shape[2])).sum(dim=2)
        np.testing.assert_allclose(
            torch.stack([x, y], dim=2).numpy(), arrays[f"xy_beta{beta}"], rtol=0, atol=manifest["tolerance"]["atol"]
        )
