"""OpenPose's BODY_25 network: the reference ports, the layer table, and the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from golden_network import GoldenNetwork  # noqa: E402

from manypose.errors import ModelError  # noqa: E402
from manypose.networks.body25 import ENTRIES, Body25, body25  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402
from manypose.networks.maps import Maps  # noqa: E402

pytestmark = pytest.mark.train

LAYOUTS = {
    "body25": "beingjoey",
    "body25_tensorboy": "tensorboy (BODY_25 style)",
    "tensorboy_openpose_coco": "tensorboy (BODY_25 style)",
}


def run(name: str, network: Body25, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    if name == "body25":  # this port gives the results alone
        (maps,) = network(pictures)
        return {"heatmaps": maps.heatmaps, "pafs": maps.fields}
    heatmaps, fields = network.stages(pictures)
    outputs = {f"paf_stage{number}": value for number, value in enumerate(fields)}
    return outputs | {f"heat_stage{number}": value for number, value in enumerate(heatmaps)}


@pytest.fixture(scope="module", params=LAYOUTS)
def golden(request: pytest.FixtureRequest, goldens: Path) -> GoldenNetwork:
    name = request.param
    return GoldenNetwork(goldens / "nets" / name, lambda network, pictures: run(name, network, pictures))


@pytest.mark.golden
def test_the_names_of_each_port_are_recognised(golden: GoldenNetwork) -> None:
    name = golden.manifest["name"]
    maps = {"joints": 18, "fields": 38} if name == "tensorboy_openpose_coco" else {"joints": 25, "fields": 52}
    assert (golden.fit.layout.network, golden.fit.layout.name) == ("body25", LAYOUTS[name])
    assert golden.fit.options == {**maps, "field_stages": 4, "heatmap_stages": 2, "width": 1.0}


@pytest.mark.golden
def test_the_network_is_as_large_and_as_costly_as_the_reference(golden: GoldenNetwork) -> None:
    golden.check_size()


@pytest.mark.golden
def test_the_outputs_that_are_stored_are_met_everywhere(golden: GoldenNetwork) -> None:
    golden.check_stored_outputs()


@pytest.mark.golden
def test_the_outputs_of_all_stages_have_the_probes_and_statistics_of_the_reference(golden: GoldenNetwork) -> None:
    golden.check_probes_and_statistics()


def on_meta(**options: Any) -> Body25:
    with torch.device("meta"):
        return body25(**options)


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize(("options", "parameters"), [({}, 26_166_084), ({"joints": 18, "fields": 38}, 26_050_878)])
def test_the_variants_have_as_many_parameters_as_published(options: dict[str, Any], parameters: int) -> None:
    assert count_parameters(on_meta(**options)) == parameters


def test_the_entry_states_the_published_figures() -> None:
    entry = ENTRIES["body25"]
    network = on_meta()
    assert count_parameters(network) == entry.parameters
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds


@pytest.mark.parametrize(
    ("stage", "seen", "channels", "wide", "maps"),
    [
        ("stage0_L2", 128, 96, 256, 52),
        ("stage1_L2", 180, 128, 512, 52),
        ("stage3_L2", 180, 128, 512, 52),
        ("stage0_L1", 180, 96, 256, 26),
        ("stage1_L1", 206, 128, 512, 26),
    ],
)
def test_the_stages_are_those_of_the_table(stage: str, seen: int, channels: int, wide: int, maps: int) -> None:
    state = shapes(on_meta())
    for block in range(1, 6):
        inputs = seen if block == 1 else 3 * channels
        for part in range(3):
            name = f"{block}_{stage}_{part}"
            assert state[f"Mconv{name}.weight"] == (channels, channels if part else inputs, 3, 3)
            assert state[f"Mprelu{name}.weight"] == (channels,)
    assert state[f"Mconv6_{stage}.weight"] == (wide, 3 * channels, 1, 1)
    assert state[f"Mprelu6_{stage}.weight"] == (wide,)
    assert state[f"Mconv7_{stage}.weight"] == (maps, wide, 1, 1)


def tiny(**options: Any) -> Body25:
    torch.manual_seed(1)
    return body25(**{"width": 0.125, **options}).eval()


def test_the_result_is_the_last_heatmaps_and_the_last_fields() -> None:
    network, pictures = tiny(), torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        result = network(pictures)
        heatmaps, fields = network.stages(pictures)
    assert (len(result), len(heatmaps), len(fields)) == (1, 2, 4)
    assert isinstance(result[0], Maps)
    assert result[0].heatmaps.shape == (2, 26, 2, 3)
    assert result[0].fields.shape == (2, 52, 2, 3)
    torch.testing.assert_close(result[0], Maps(heatmaps[-1], fields[-1]))


@pytest.mark.parametrize(("field_stages", "heatmap_stages"), [(1, 1), (2, 3)])
def test_the_number_of_stages_is_free(field_stages: int, heatmap_stages: int) -> None:
    with torch.no_grad():
        heatmaps, fields = tiny(field_stages=field_stages, heatmap_stages=heatmap_stages).stages(
            torch.zeros(1, 3, 8, 8)
        )
    assert (len(heatmaps), len(fields)) == (heatmap_stages, field_stages)


def test_every_parameter_is_trained_by_a_loss_over_all_stages() -> None:
    network = tiny()
    heatmaps, fields = network.stages(torch.randn(2, 3, 16, 16))
    sum(values.square().mean() for values in (*heatmaps, *fields)).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("width", [0.125, 0.5, 1.5])
def test_the_width_multiplies_the_channels_but_not_the_maps(width: float) -> None:
    state = shapes(on_meta(width=width))
    assert state["conv1_1.weight"] == (64 * width, 3, 3, 3)
    first = 8 * round(96 * width / 8)
    assert state["Mconv2_stage0_L2_0.weight"] == (first, 3 * first, 3, 3)
    assert state["Mconv7_stage1_L1.weight"] == (26, 512 * width, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "body25: joints is 0"),
        ({"fields": 37}, "body25: fields is 37, expected an even number"),
        ({"field_stages": 0}, "body25: field_stages is 0"),
        ({"heatmap_stages": 0}, "body25: heatmap_stages is 0"),
        ({"width": -1.0}, "body25: width is -1.0"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        body25(**options)
