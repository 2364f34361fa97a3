"""CMU's six-stage network: the reference ports, the layer tables of the variants, and the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from golden_network import GoldenNetwork  # noqa: E402

from manypose.errors import ModelError  # noqa: E402
from manypose.networks.count import count_multiply_adds, count_parameters  # noqa: E402
from manypose.networks.maps import Maps  # noqa: E402
from manypose.networks.vgg_paf import ENTRIES, VggPaf, layer_names, norm_name, vgg_paf  # noqa: E402

pytestmark = pytest.mark.train

LAYOUTS = {
    "treb1en_posenet": "TreB1eN",
    "tensorboy_vgg": "tensorboy (VGG)",
    "hzzone_body": "Hzzone, xuexingyu24",
}


def run(name: str, network: VggPaf, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    stages = network(pictures)
    if name == "hzzone_body":  # this port gives the last stage, and has a ReLU behind its heatmaps
        return {"pafs": stages[-1].fields, "heatmaps": stages[-1].heatmaps.clamp(min=0)}
    outputs = {}
    for number, maps in enumerate(stages, start=1):
        outputs[f"stage{number}_pafs"] = maps.fields
        outputs[f"stage{number}_heatmaps"] = maps.heatmaps
    return outputs


@pytest.fixture(scope="module", params=LAYOUTS)
def golden(request: pytest.FixtureRequest, goldens: Path) -> GoldenNetwork:
    name = request.param
    return GoldenNetwork(goldens / "nets" / name, lambda network, pictures: run(name, network, pictures))


@pytest.mark.golden
def test_the_names_of_each_port_are_recognised(golden: GoldenNetwork) -> None:
    assert (golden.fit.layout.network, golden.fit.layout.name) == ("vgg_paf", LAYOUTS[golden.manifest["name"]])
    assert golden.fit.options == {
        "joints": 18,
        "fields": 38,
        "stages": 6,
        "batch_norm": False,
        "linear_features": False,
        "width": 1.0,
    }


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


def on_meta(**options: Any) -> VggPaf:
    with torch.device("meta"):
        return vgg_paf(**options)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 52_311_446),
        ({"stages": 4}, 34_741_796),
        ({"joints": 15, "fields": 28}, 51_481_032),
        ({"joints": 15, "fields": 28, "stages": 4}, 34_240_880),
        ({"linear_features": True}, 52_311_446),
    ],
)
def test_the_variants_have_as_many_parameters_as_published(options: dict[str, Any], parameters: int) -> None:
    assert count_parameters(on_meta(**options)) == parameters


def test_with_batch_norm_there_are_as_many_arrays_and_numbers_as_in_the_mxnet_product() -> None:
    state = on_meta(batch_norm=True, linear_features=True).state_dict()
    arrays = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(arrays) == 456
    assert sum(value.numel() for value in arrays.values()) == 52_349_334


def test_the_entry_states_the_published_figures() -> None:
    entry = ENTRIES["vgg_paf"]
    network = on_meta()
    assert count_parameters(network) == entry.parameters
    assert count_multiply_adds(network, entry.size) == entry.multiply_adds


@pytest.mark.parametrize(("joints", "fields", "seen"), [(18, 38, 185), (15, 28, 172)])
def test_the_layers_are_those_of_the_table(joints: int, fields: int, seen: int) -> None:
    state = shapes(on_meta(joints=joints, fields=fields, stages=3))
    trunk = {"conv1_1": (64, 3), "conv2_2": (128, 128), "conv3_4": (256, 256), "conv4_1": (512, 256)}
    for name, channels in (trunk | {"conv4_3_CPM": (256, 512), "conv4_4_CPM": (128, 256)}).items():
        assert state[f"{name}.weight"] == (*channels, 3, 3)
    for branch, maps in ((1, fields), (2, joints + 1)):
        first = [state[f"{name}.weight"] for name in layer_names(1, branch)]
        assert first == [*3 * [(128, 128, 3, 3)], (512, 128, 1, 1), (maps, 512, 1, 1)]
        for stage in (2, 3):
            later = [state[f"{name}.weight"] for name in layer_names(stage, branch)]
            seven = [(128, seen, 7, 7), *4 * [(128, 128, 7, 7)]]
            assert later == [*seven, (128, 128, 1, 1), (maps, 128, 1, 1)]
    assert len(state) == 2 * (12 + 2 * (5 + 7 + 7))


def tiny(**options: Any) -> VggPaf:
    torch.manual_seed(1)
    return vgg_paf(**{"width": 0.125, "stages": 2, **options}).eval()


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_each_stage_gives_maps_with_a_cell_for_each_eight_pixels(stages: int) -> None:
    with torch.no_grad():
        maps = tiny(stages=stages, joints=14, fields=26)(torch.zeros(2, 3, 16, 24))
    assert len(maps) == stages
    assert all(isinstance(stage, Maps) for stage in maps)
    sizes = {(tuple(stage.heatmaps.shape), tuple(stage.fields.shape)) for stage in maps}
    assert sizes == {((2, 15, 2, 3), (2, 26, 2, 3))}


def test_fewer_stages_give_the_first_maps_of_more() -> None:
    """So the four-stage MPI network runs on the file of the six-stage one."""
    long, short = tiny(stages=3), tiny(stages=2)
    short.load_state_dict({name: long.state_dict()[name] for name in short.state_dict()})
    pictures = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        for ours, theirs in zip(short(pictures), long(pictures)[:2], strict=True):
            torch.testing.assert_close(ours, theirs)


def test_linear_features_are_those_without_the_relu() -> None:
    network = tiny(linear_features=True)
    with_relu = tiny()
    with_relu.load_state_dict(network.state_dict())
    seen: dict[str, torch.Tensor] = {}
    for name, model in (("linear", network), ("relu", with_relu)):
        model.get_submodule("conv5_1_CPM_L1").register_forward_hook(
            lambda layer, inputs, output, name=name: seen.update({name: inputs[0].clone()})
        )
        with torch.no_grad():
            model(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)))
    assert seen["linear"].min() < 0
    assert seen["relu"].min() == 0


def test_the_batch_norm_comes_behind_the_relu_and_in_front_of_the_next_convolution() -> None:
    network = tiny(batch_norm=True, linear_features=True)
    order: list[str] = []
    for name, module in network.named_modules():
        if "_L1" in name:
            module.register_forward_hook(lambda layer, inputs, output, name=name: order.append(name))
    negative: dict[str, bool] = {}
    network.get_submodule("Mconv1_stage2_L1_norm").register_forward_pre_hook(
        lambda layer, inputs: negative.update(norm=bool(inputs[0].min() < 0))
    )
    with torch.no_grad():
        network(torch.randn(1, 3, 16, 16))
    names = [*layer_names(1, 1), *layer_names(2, 1)]
    last = (names[4], names[11])
    assert order == [part for name in names for part in ((name,) if name in last else (name, norm_name(name)))]
    assert negative == {"norm": False}


def test_with_batch_norm_a_fifth_of_the_features_is_dropped_in_training_only() -> None:
    network = tiny(batch_norm=True, stages=1)
    torch.nn.init.ones_(network.get_parameter("conv5_1_CPM_L1_norm.bias"))  # so that no other feature is zero
    zeros: list[float] = []
    network.get_submodule("conv5_2_CPM_L1").register_forward_pre_hook(
        lambda layer, inputs: zeros.append(float((inputs[0] == 0).double().mean()))
    )
    pictures = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        network.train()(pictures)
        network.eval()(pictures)
    assert zeros[0] == pytest.approx(0.2, abs=0.05)
    assert zeros[1] == 0


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_parameter_is_trained_by_a_loss_over_all_stages(batch_norm: bool) -> None:
    network = tiny(batch_norm=batch_norm).train()
    sum(values.square().mean() for maps in network(torch.randn(2, 3, 16, 16)) for values in maps).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("width", [0.125, 0.5, 1.5])
def test_the_width_multiplies_the_channels_but_not_the_maps(width: float) -> None:
    state = shapes(on_meta(width=width, stages=2))
    assert state["conv1_1.weight"] == (64 * width, 3, 3, 3)
    assert state["conv5_5_CPM_L2.weight"] == (19, 512 * width, 1, 1)
    assert state["Mconv1_stage2_L1.weight"] == (128 * width, 128 * width + 57, 7, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "vgg_paf: joints is 0"),
        ({"fields": 37}, "vgg_paf: fields is 37, expected an even number"),
        ({"fields": 0}, "vgg_paf: fields is 0"),
        ({"stages": 0}, "vgg_paf: stages is 0"),
        ({"width": 0.0}, "vgg_paf: width is 0.0"),
        ({"width": float("nan")}, "vgg_paf: width is nan"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vgg_paf(**options)
