"""OpenPose's networks for faces and hands: the reference ports, the layer table, and the options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from golden_network import GoldenNetwork  # noqa: E402

from manypose.errors import ModelError  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402
from manypose.networks.cpm import ENTRIES, Cpm, cpm_face, cpm_hand, layer_names  # noqa: E402

pytestmark = pytest.mark.train

LAYOUTS = {
    "treb1en_facenet": ("cpm_face", "CMU (Caffe), TreB1eN"),
    "treb1en_handnet": ("cpm_hand", "CMU (Caffe), TreB1eN"),
    "hzzone_hand": ("cpm_hand", "Hzzone"),
}


def run(name: str, network: Cpm, crops: torch.Tensor) -> dict[str, torch.Tensor]:
    outputs = {f"stage{number}": maps for number, maps in enumerate(network(crops), start=1)}
    return {"stage6": outputs["stage6"]} if name == "hzzone_hand" else outputs  # this port gives the result alone


@pytest.fixture(scope="module", params=LAYOUTS)
def golden(request: pytest.FixtureRequest, goldens: Path) -> GoldenNetwork:
    name = request.param
    return GoldenNetwork(goldens / "nets" / name, lambda network, crops: run(name, network, crops))


@pytest.mark.golden
def test_the_names_of_each_port_are_recognised(golden: GoldenNetwork) -> None:
    network, layout = LAYOUTS[golden.manifest["name"]]
    assert (golden.fit.layout.network, golden.fit.layout.name) == (network, layout)
    assert golden.fit.options == {"joints": 70 if network == "cpm_face" else 21, "stages": 6, "width": 1.0}


@pytest.mark.golden
def test_the_network_is_as_large_and_as_costly_as_the_reference(golden: GoldenNetwork) -> None:
    golden.check_size()


@pytest.mark.golden
def test_the_outputs_that_are_stored_are_met_everywhere(golden: GoldenNetwork) -> None:
    golden.check_stored_outputs()


@pytest.mark.golden
def test_the_outputs_of_all_stages_have_the_probes_and_statistics_of_the_reference(golden: GoldenNetwork) -> None:
    golden.check_probes_and_statistics()


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_entries_state_the_published_figures(name: str) -> None:
    entry = ENTRIES[name]
    with torch.device("meta"):
        network = entry.make()
    assert count_parameters(network) == entry.parameters == {"cpm_face": 38_425_706, "cpm_hand": 36_832_324}[name]
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds


@pytest.mark.parametrize(("make", "maps", "seen"), [(cpm_face, 71, 199), (cpm_hand, 22, 150)])
def test_the_layers_are_those_of_the_table(make: Callable[..., Cpm], maps: int, seen: int) -> None:
    with torch.device("meta"):
        state = shapes(make())
    assert state["conv4_1.weight"] == (512, 256, 3, 3)
    for name in ("conv4_2", "conv4_3", "conv4_4", "conv5_1", "conv5_2"):
        assert state[f"{name}.weight"] == (512, 512, 3, 3)
    assert state["conv5_3_CPM.weight"] == (128, 512, 3, 3)
    assert state["conv6_1_CPM.weight"] == (512, 128, 1, 1)
    assert state["conv6_2_CPM.weight"] == (maps, 512, 1, 1)
    for stage in range(2, 7):
        layers = [state[f"{name}.weight"] for name in layer_names(stage)]
        assert layers == [(128, seen, 7, 7), *4 * [(128, 128, 7, 7)], (128, 128, 1, 1), (maps, 128, 1, 1)]
    assert len(state) == 2 * (17 + 5 * 7)


@pytest.mark.parametrize("stages", [1, 3])
def test_each_stage_gives_a_heatmap_for_each_joint_and_the_background(stages: int) -> None:
    network = cpm_hand(width=0.125, stages=stages).eval()
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, 16, 24))
    assert [tuple(stage.shape) for stage in maps] == stages * [(2, 22, 2, 3)]


def test_every_parameter_is_trained_by_a_loss_over_all_stages() -> None:
    network = cpm_face(width=0.125, stages=3)
    sum(maps.square().mean() for maps in network(torch.randn(1, 3, 16, 16))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"joints": 0}, "joints is 0"), ({"stages": 0}, "stages is 0"), ({"width": 9.0}, "width is 9.0")],
)
@pytest.mark.parametrize("make", [cpm_face, cpm_hand])
def test_an_option_out_of_range_is_named(make: Callable[..., Cpm], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"{make.__name__}: {message}"):
        make(**options)
