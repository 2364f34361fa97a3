"""Every product's names for the tensors of networks with fields, faces and hands find their places in ours."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from namings import (
    VGG,
    beingjoey,
    hzzone_body,
    hzzone_hand,
    keras_a_second_time,
    keras_since_october_2017,
    mxnet_2018,
    mxnet_2019,
    mxnet_full,
    mxnet_full_of_another_session,
    same,
    tensorboy,
    tensorboy_body25,
    treb1en,
)

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.convert.layout import COUNTER, Tensors, load_into, recognise, try_layout  # noqa: E402
from manypose.convert.layouts_bottom_up import LAYOUTS, keep_stages  # noqa: E402
from manypose.errors import ModelError  # noqa: E402

pytestmark = pytest.mark.train


@dataclass(frozen=True)
class Naming:
    """A product's names for a small network of a family; `fits` are the layouts that fit, the one that counts first."""

    network: str
    layer: Callable[[str], str]
    fits: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    separator: str = "."
    said: dict[str, Any] = field(default_factory=dict)  # options that the layout adds

    def file_name(self, name: str) -> str:
        layer, _, parameter = name.rpartition(".")
        return f"{self.layer(layer)}{self.separator}{parameter}"

    @functools.cached_property
    def state(self) -> Tensors:
        """The tensors by our names; no two are equal."""
        torch.manual_seed(3)
        state = networks.build(self.network, **self.options).state_dict()
        return {name: value.numpy() + np.float32(i) for i, (name, value) in enumerate(state.items())}

    def file(self) -> Tensors:
        return {self.file_name(name): tensor for name, tensor in self.state.items() if not name.endswith(COUNTER)}


COCO = {"joints": 18, "fields": 38, "stages": 3, "width": 0.125}
MPI = {"joints": 15, "fields": 28, "stages": 4, "width": 0.125}
LINEAR = {**COCO, "linear_features": True}
NORM = {**LINEAR, "batch_norm": True}
BODY = {"joints": 25, "fields": 52, "width": 0.125}
FACE = {"joints": 70, "stages": 3, "width": 0.125}
HAND = {"joints": 21, "stages": 3, "width": 0.125}
MOBILE = {"joints": 18, "fields": 38, "refinements": 2, "width": 0.125}

CMU, MXNET = "CMU (Caffe)", "MXNet (full names)"
NAMINGS = {
    "caffe coco": Naming("vgg_paf", same, (CMU, "Keras"), COCO),
    "caffe mpi": Naming("vgg_paf", same, (CMU, "Keras"), MPI),
    "keras": Naming("vgg_paf", keras_since_october_2017, ("Keras",), COCO),
    "keras a second time": Naming("vgg_paf", keras_a_second_time, ("Keras",), COCO),
    "treb1en": Naming("vgg_paf", treb1en, ("TreB1eN",), COCO),
    "hzzone": Naming("vgg_paf", hzzone_body, ("Hzzone, xuexingyu24",), COCO),
    "tensorboy": Naming("vgg_paf", tensorboy, ("tensorboy (VGG)",), COCO),
    "mxnet 2018": Naming("vgg_paf", mxnet_2018, ("MXNet (2018)",), LINEAR),
    "mxnet 2019": Naming("vgg_paf", mxnet_2019, ("MXNet (2019, batch norm)",), NORM),
    "mxnet full": Naming("vgg_paf", mxnet_full, (MXNET,), LINEAR),
    "mxnet full, norm": Naming("vgg_paf", mxnet_full, (MXNET,), NORM),
    "mxnet full, as stored": Naming("vgg_paf", mxnet_full, (MXNET,), NORM, separator=""),
    "mxnet full, again": Naming("vgg_paf", mxnet_full_of_another_session, (MXNET,), NORM),
    "caffe body25": Naming("body25", same, (CMU,), BODY),
    "beingjoey": Naming("body25", beingjoey, ("beingjoey",), BODY),
    "tensorboy body25": Naming("body25", tensorboy_body25, ("tensorboy (BODY_25 style)",), BODY),
    "caffe face": Naming("cpm_face", same, ("CMU (Caffe), TreB1eN",), FACE),
    "caffe hand": Naming("cpm_hand", same, ("CMU (Caffe), TreB1eN",), HAND),
    "hzzone hand": Naming("cpm_hand", hzzone_hand, ("Hzzone",), HAND),
    "osokin": Naming("mobilenet_paf", same, ("Osokin",), MOBILE),
    "omz": Naming("mobilenet_paf", same, ("Open Model Zoo, human-pose-estimation-0001",), {**MOBILE, "context": "omz"}),
}


@pytest.fixture(params=NAMINGS)
def naming(request: pytest.FixtureRequest) -> Naming:
    return NAMINGS[request.param]


def test_every_layout_is_tested_and_has_a_name_of_its_own_in_its_family() -> None:
    tested = {(naming.network, name) for naming in NAMINGS.values() for name in naming.fits}
    names = [(layout.network, layout.name) for layout in LAYOUTS]
    assert sorted(names) == sorted(tested)


def test_the_names_are_recognised_and_every_tensor_finds_its_place(naming: Naming) -> None:
    fit = recognise(naming.file(), LAYOUTS, where="some.file")
    assert (fit.layout.network, fit.layout.name) == (naming.network, naming.fits[0])
    assert {name: fit.options[name] for name in naming.options} == naming.options
    expected = {name: tensor for name, tensor in naming.state.items() if not name.endswith(COUNTER)}
    assert list(fit.tensors) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(fit.tensors[name], tensor, err_msg=name)


def test_the_network_of_the_options_takes_the_tensors(naming: Naming) -> None:
    fit = recognise(naming.file(), LAYOUTS, where="some.file")
    network = networks.build(fit.layout.network, **fit.options)
    load_into(network, fit.tensors)
    for name, tensor in naming.state.items():
        if not name.endswith(COUNTER):
            np.testing.assert_array_equal(network.state_dict()[name].numpy(), tensor, err_msg=name)


def test_no_other_layout_fits(naming: Naming) -> None:
    fits = [try_layout(layout, naming.file()) for layout in LAYOUTS]
    exact = [(fit.layout.network, fit.layout.name) for fit in fits if fit is not None and not fit.faults]
    assert exact == [(naming.network, name) for name in naming.fits]


def victims(naming: Naming) -> list[str]:
    """A few of our names, among them those that the options are read from."""
    names = [name for name in naming.state if not name.endswith(COUNTER)]
    return [names[0], names[len(names) // 2], names[-2], names[-1]]


def test_a_tensor_that_is_missing_is_named(naming: Naming) -> None:
    for victim in victims(naming):
        file = naming.file()
        del file[naming.file_name(victim)]
        message = rf"^some\.file: nearly {naming.network} as {re.escape(naming.fits[0])} names it, but missing: "
        with pytest.raises(ModelError, match=f"{message}{re.escape(victim)}$"):
            recognise(file, LAYOUTS, where="some.file")


@pytest.mark.parametrize("name", ["strange.weight", "fc6.bias", "Mconv1_stage999999999_L1.weight"])
def test_a_tensor_that_is_left_over_is_named_as_in_the_file(naming: Naming, name: str) -> None:
    file = {**naming.file(), name: np.zeros((8, 8, 1, 1), np.float32)}
    with pytest.raises(ModelError, match=rf"nearly {naming.network} as .*but (missing: .*; )?left over: .*{name}"):
        recognise(file, LAYOUTS, where="some.file")


def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes(naming: Naming) -> None:
    for victim in victims(naming):
        file = naming.file()
        right = file[naming.file_name(victim)].shape
        file[naming.file_name(victim)] = np.zeros((5, *right[1:]), np.float32)
        message = f"of another shape: {victim} is {(5, *right[1:])}, expected {right}"
        with pytest.raises(ModelError, match=f"but {re.escape(message)}$"):
            recognise(file, LAYOUTS, where="some.file")


def test_two_tensors_for_one_place_are_one_too_many() -> None:
    """A Keras file in which both names of stage 1 stand is not guessed at."""
    file = {**NAMINGS["keras"].file(), **NAMINGS["caffe coco"].file()}
    with pytest.raises(ModelError, match=r"left over: .*Mconv1_stage1_L1\.weight"):
        recognise(file, LAYOUTS, where="some.file")


def test_counters_of_batch_norms_may_be_there_or_not() -> None:
    file = {**NAMINGS["osokin"].file(), "model.0.1.num_batches_tracked": np.zeros((), np.int64)}
    assert recognise(file, LAYOUTS, where="some.file").layout.name == "Osokin"


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        ({}, "no tensors"),
        ({"features.0.weight": (64, 3, 3, 3), "classifier.6.bias": (1000,)}, r"2 tensors: features.0.weight \(64, 3"),
        ({f"conv{name}.weight": (8, 8, 3, 3) for name in VGG}, "10 tensors: conv1_1.weight"),
        ({"conv1_1.weight": ()}, "1 tensors"),
    ],
)
def test_a_file_of_no_known_network_is_refused_with_what_was_seen(file: dict[str, Any], seen: str) -> None:
    tensors = {name: np.zeros(shape, np.float32) for name, shape in file.items()}
    with pytest.raises(ModelError, match=f"some.file: the weights of no network that is known here; it holds {seen}"):
        recognise(tensors, LAYOUTS, where="some.file")


@pytest.mark.parametrize(
    ("joints", "network"), [(21, "cpm_hand"), (42, "cpm_hand"), (43, "cpm_face"), (70, "cpm_face")]
)
def test_a_face_is_told_from_a_hand_by_the_number_of_joints(joints: int, network: str) -> None:
    file = Naming("cpm_face", same, (), {"joints": joints, "stages": 2, "width": 0.125}).file()
    assert recognise(file, LAYOUTS, where="some.file").layout.network == network


def test_naming_the_network_narrows_the_choice() -> None:
    with pytest.raises(ModelError, match="the weights of no network that is known here"):
        recognise(NAMINGS["caffe coco"].file(), LAYOUTS, where="some.file", network="cpm_face")
    assert recognise(NAMINGS["caffe coco"].file(), LAYOUTS, where="some.file", network="vgg_paf").layout.name == CMU


# ---- the first stages of a network ----


@pytest.mark.parametrize("name", ["caffe mpi", "keras", "treb1en", "tensorboy", "mxnet 2019", "hzzone hand"])
def test_the_first_stages_can_be_taken_from_a_file_of_more(name: str) -> None:
    """CMU's four-stage MPI network uses the file of the six-stage one."""
    naming = NAMINGS[name]
    fit = recognise(
        naming.file(),
        [keep_stages(layout, 2) for layout in LAYOUTS if layout.network == naming.network],
        where="some.file",
    )
    assert fit.options["stages"] == 2
    assert fit.layout.name == f"{naming.fits[0]}, 2 stages"
    for name, tensor in fit.tensors.items():
        np.testing.assert_array_equal(tensor, naming.state[name])


def test_the_first_refinements_can_be_taken_from_a_file_of_more() -> None:
    """Osokin's demonstration has one refinement, the checkpoint that he published has three."""
    osokin = next(layout for layout in LAYOUTS if layout.name == "Osokin")
    fit = recognise(NAMINGS["osokin"].file(), [keep_stages(osokin, 2)], where="some.file")
    assert fit.options["refinements"] == 1


def test_a_tensor_of_the_stages_that_are_kept_must_still_be_there() -> None:
    file = NAMINGS["caffe mpi"].file()
    del file["Mconv3_stage2_L1.bias"]
    with pytest.raises(ModelError, match=r"missing: Mconv3_stage2_L1\.bias$"):
        recognise(file, [keep_stages(LAYOUTS[0], 2)], where="some.file")


@pytest.mark.parametrize(
    ("network", "stages", "message"),
    [("body25", 2, "the first stages of body25 are of no use alone"), ("vgg_paf", 0, "stages is 0")],
)
def test_stages_that_cannot_be_cut_are_refused(network: str, stages: int, message: str) -> None:
    layout = next(layout for layout in LAYOUTS if layout.network == network)
    with pytest.raises(ModelError, match=message):
        keep_stages(layout, stages)


# ---- how the products feed pictures ----


@pytest.mark.parametrize(
    ("name", "colours", "black", "white"),
    [
        ("caffe coco", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("keras", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("tensorboy", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("caffe body25", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("caffe hand", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("osokin", "bgr", (-0.5,) * 3, (255 / 256 - 0.5,) * 3),
        ("treb1en", "bgr", (-0.5,) * 3, (0.5,) * 3),
        ("omz", "bgr", (-128 / 255,) * 3, (127 / 255,) * 3),
        (
            "mxnet 2018",
            "rgb",
            (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
            (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225),
        ),
        (
            "mxnet 2019",
            "rgb",
            (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
            (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225),
        ),
    ],
)
def test_black_and_white_become_what_the_product_gives_its_network(
    name: str, colours: str, black: tuple[float, ...], white: tuple[float, ...]
) -> None:
    settings = recognise(NAMINGS[name].file(), LAYOUTS, where="some.file").layout.input
    assert (settings.colours, settings.stride) == (colours, 8)
    values = (np.array([[0] * 3, [255] * 3]) - settings.mean) * np.array(settings.scales)
    np.testing.assert_allclose(values, [black, white], atol=1e-6)


def test_faces_and_hands_are_square_crops() -> None:
    for layout in LAYOUTS:
        square = layout.network in ("cpm_face", "cpm_hand")
        assert (layout.input.size, layout.input.fit) == (((368, 368), "crop") if square else (None, "pad"))


def test_fields_lie_beside_the_heatmaps_but_where_they_were_drawn_at_full_size() -> None:
    aligned = {(layout.network, layout.name) for layout in LAYOUTS if layout.field_offset == 0}
    crops = {(layout.network, layout.name) for layout in LAYOUTS if layout.network in ("cpm_face", "cpm_hand")}
    assert aligned == {("vgg_paf", "TreB1eN"), *crops}
    assert {layout.field_offset for layout in LAYOUTS} == {0.0, 3.5}


# ---- a real file ----


@pytest.mark.shared
def test_the_weights_of_open_model_zoo_are_recognised(shared_data: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(shared_data / "teachers" / "lwop" / "lightweight_openpose_omz.safetensors")
    fit = recognise(tensors, LAYOUTS, where="lightweight_openpose_omz.safetensors")
    assert fit.layout.name == "Open Model Zoo, human-pose-estimation-0001"
    assert fit.options == {"joints": 18, "fields": 38, "refinements": 1, "width": 1.0, "context": "omz"}
