"""How the products name the tensors of the networks with fields, and of those for faces and hands.

The names are PyTorch's spelling of what the files hold, whatever their format: `<layer>.weight`, `<layer>.bias` and so
on. Sources: the products' own code, and the names and shapes of networks that were built with it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from manypose.convert.layout import Layout, Shapes, commonest, same_name
from manypose.errors import ModelError
from manypose.metadata import IMAGENET_MEAN, IMAGENET_SCALE, InputSettings
from manypose.networks.vgg_paf import layer_names, norm_name

Rename = Callable[[str], str | None]

BODY = InputSettings(colours="bgr", mean=(128.0, 128.0, 128.0), scale=1 / 256, stride=8, long_side=656)
BODY_255 = BODY.model_copy(update={"mean": (127.5, 127.5, 127.5), "scale": 1 / 255})
BODY_OMZ = BODY.model_copy(update={"scale": 1 / 255})
BODY_IMAGENET = InputSettings(
    colours="rgb",
    mean=IMAGENET_MEAN,
    scale=IMAGENET_SCALE,
    stride=8,
    long_side=656,
)
CROP = BODY.model_copy(update={"size": (368, 368), "long_side": 368, "fit": "crop", "fill": 0, "padding": 1.0})

# Heatmaps are drawn about the centres of the cells (8 i + 3.5), fields as if cell i lay at pixel 8 i.
CELL_CENTRE = 3.5

# Places of the convolutions in torchvision's and Gluon's VGG-19.
VGG_PLACES = {
    0: "conv1_1",
    2: "conv1_2",
    5: "conv2_1",
    7: "conv2_2",
    10: "conv3_1",
    12: "conv3_2",
    14: "conv3_3",
    16: "conv3_4",
    19: "conv4_1",
    21: "conv4_2",
}


# ---- names ----


def _by_rules(*rules: tuple[str, str]) -> Rename:
    """Rename layers by the first pattern that fits the whole name of the layer; the name of the parameter stays."""
    compiled = [(re.compile(pattern), new) for pattern, new in rules]

    def rename(name: str) -> str | None:
        layer, _, parameter = name.rpartition(".")
        for pattern, new in compiled:
            if match := pattern.fullmatch(layer):
                return f"{match.expand(new)}.{parameter}"
        return None

    return rename


def _by_places(*, last_feature: int, step: int) -> Rename:
    """Names that count layers: `model0.<place>` of the features, `model<stage>_<branch>.<place>` of the stages.

    Convolution j (from 0) of a branch is at place step * j; where there are batch norms, the next place is that of the
    one behind it.
    """
    features = VGG_PLACES | {23: "conv4_3_CPM", last_feature: "conv4_4_CPM"}

    def rename(name: str) -> str | None:
        match = re.fullmatch(r"model(\d{1,3})(?:_([12]))?\.(\d{1,3})\.(\w+)", name)
        if match is None:
            return None
        stage, branch, place, parameter = int(match[1]), match[2], int(match[3]), match[4]
        if branch is None:
            layer = features.get(place) if stage == 0 else None
        else:
            layer = _layer_at(layer_names(stage, int(branch)), *divmod(place, step), norms=step == 3)
        return layer and f"{layer}.{parameter}"

    return rename


def _layer_at(names: tuple[str, ...], number: int, rest: int, *, norms: bool) -> str | None:
    if number >= len(names) or rest > 1:
        return None
    if rest == 1:
        return norm_name(names[number]) if norms else None
    return names[number]


def _mxnet_full_name(name: str) -> str | None:
    """The names of Gluon's parameters, with counters of the session and nothing between layer and parameter."""
    match = re.fullmatch(r"(.+?)[._]?(weight|bias|gamma|beta|running_mean|running_var)", name)
    if match is None:
        return None
    layer, parameter = match[1], {"gamma": "weight", "beta": "bias"}.get(match[2], match[2])
    found = _mxnet_layer(layer)
    return found and f"{found}.{parameter}"


def _mxnet_layer(layer: str) -> str | None:
    if match := re.search(r"(?:^|_)vgg\d+_conv(\d)$", layer):
        return tuple(VGG_PLACES.values())[int(match[1])]
    if match := re.search(r"(?:^|_)vgg_19_(conv4_[34]_CPM)$", layer):
        return match[1]
    match = re.search(r"(?:^|_)block(\d{1,3})_([12])_(?:batchnorm(\d)|(\w+))$", layer)
    if match is None:
        return None
    names = layer_names(int(match[1]), int(match[2]))
    if match[4] is not None:
        return match[4] if match[4] in names else None
    return norm_name(names[int(match[3])]) if int(match[3]) < len(names) else None


_KERAS_AGAIN = r"(?:_\d+)?"  # of a model that was made a second time in one session

keras_name = _by_rules(
    (rf"(conv\d_\d(?:_CPM(?:_L[12])?)?){_KERAS_AGAIN}", r"\1"),
    (rf"Mconv([1-5])_stage1_(L[12]){_KERAS_AGAIN}", r"conv5_\1_CPM_\2"),
    (rf"(Mconv\d_stage\d+_L[12]){_KERAS_AGAIN}", r"\1"),
)

treb1en_name = _by_rules(
    (r"base\.vgg_base\.(conv[1-4]_\d)", r"\1"),
    (r"base\.(conv4_[34]_CPM)", r"\1"),
    (r"stage_1\.conv(\d)_CPM_(L[12])", r"conv5_\1_CPM_\2"),
    (r"stage_(\d+)\.conv(\d)_(L[12])", r"Mconv\2_stage\1_\3"),
)

hzzone_body_name = _by_rules(
    (r"model0\.(conv[1-4]_\d(?:_CPM)?)", r"\1"),
    (r"model1_([12])\.(conv5_\d_CPM_L\1)", r"\2"),
    (r"model(\d+)_([12])\.(Mconv\d_stage\1_L\2)", r"\3"),
)

hzzone_hand_name = _by_rules(
    (r"model1_0\.(conv[1-5]_\d(?:_CPM)?)", r"\1"),
    (r"model1_1\.(conv6_[12]_CPM)", r"\1"),
    (r"model(\d+)\.(Mconv\d_stage\1)", r"\2"),
)

beingjoey_name = _by_rules(
    (r"model0\.((?:conv[1-4]|prelu4)_\d(?:_CPM)?)", r"\1"),
    (r"models\.Mconv([1-5]_stage\d+_L[12])\.([012])\.(M(?:conv|prelu)\1_\2)", r"\3"),
    (r"models\.Mconv6_7_(stage\d+_L[12])\.0\.(M(?:conv|prelu)6_\1)", r"\2"),
    (r"models\.Mconv6_7_(stage\d+_L[12])\.1\.(Mconv7_\1)", r"\2"),
)

_ACTIVE = {22: "prelu4_2", 23: "conv4_3_CPM", 24: "prelu4_3_CPM", 25: "conv4_4_CPM", 26: "prelu4_4_CPM"}

tensorboy_body25_name = _by_rules(
    *((rf"feature_extractor\.{place}", layer) for place, layer in (VGG_PLACES | _ACTIVE).items()),
    (r"l([12])_stages\.(\d+)\.Mconv([1-5])_([012])\.Mconv", r"Mconv\3_stage\2_L\1_\4"),
    (r"l([12])_stages\.(\d+)\.Mconv([1-5])_([012])\.MPrelu", r"Mprelu\3_stage\2_L\1_\4"),
    (r"l([12])_stages\.(\d+)\.Mconv6\.Mconv", r"Mconv6_stage\2_L\1"),
    (r"l([12])_stages\.(\d+)\.Mconv6\.MPrelu", r"Mprelu6_stage\2_L\1"),
    (r"l([12])_stages\.(\d+)\.Mconv7", r"Mconv7_stage\2_L\1"),
)


# ---- options, read off the shapes of the renamed tensors ----


def _outputs(shapes: Shapes, layers: str) -> int:
    """Outputs of the layers of that pattern."""
    return commonest(shapes, rf"{layers}\.(?:weight|bias)")


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand in the names where the group of the pattern is."""
    return len({match[1] for name in shapes if (match := re.search(pattern, name))})


def vgg_paf_options(shapes: Shapes, *, linear_features: bool = False) -> dict[str, Any]:
    """Options of `networks.vgg_paf`."""
    last = r"(?:conv5_5_CPM|Mconv7_stage\d+)"
    return {
        "joints": _outputs(shapes, rf"{last}_L2") - 1,
        "fields": _outputs(shapes, rf"{last}_L1"),
        "stages": 1 + _count(shapes, r"_stage(?!1_)(\d+)_L[12]"),
        "batch_norm": any(name.endswith(".running_var") for name in shapes),
        "linear_features": linear_features,
        "width": _outputs(shapes, r"(?:conv4_[12]|conv5_4_CPM_L[12])") / 512,
    }


def body25_options(shapes: Shapes) -> dict[str, Any]:
    """Options of `networks.body25`."""
    return {
        "joints": _outputs(shapes, r"Mconv7_stage\d+_L1") - 1,
        "fields": _outputs(shapes, r"Mconv7_stage\d+_L2"),
        "field_stages": _count(shapes, r"_stage(\d+)_L2"),
        "heatmap_stages": _count(shapes, r"_stage(\d+)_L1"),
        "width": _outputs(shapes, r"(?:conv4_[12]|Mconv6_stage[1-9]_L[12])") / 512,
    }


MOST_JOINTS_OF_HANDS = 42


def cpm_options(shapes: Shapes, *, hand: bool) -> dict[str, Any]:
    """Options of `networks.cpm_hand` or `cpm_face`, which differ in nothing but the number of joints."""
    joints = _outputs(shapes, r"(?:conv6_2_CPM|Mconv7_stage\d+)") - 1
    if hand != (joints <= MOST_JOINTS_OF_HANDS):
        raise ValueError(f"{joints} joints")
    return {
        "joints": joints,
        "stages": 1 + _count(shapes, r"_stage(\d+)\."),
        "width": _outputs(shapes, r"(?:conv4_[1-4]|conv5_[12]|conv6_1_CPM)") / 512,
    }


def mobilenet_paf_options(shapes: Shapes, *, context: str) -> dict[str, Any]:
    """Options of `networks.mobilenet_paf`; the context block of Open Model Zoo has a layer `cpm.reduce`."""
    if (context == "omz") != any(name.startswith("cpm.reduce.") for name in shapes):
        raise ValueError("the other context block")
    stage = r"(?:initial_stage|refinement_stages\.\d+)"
    return {
        "joints": _outputs(shapes, rf"{stage}\.heatmaps\.1\.0") - 1,
        "fields": _outputs(shapes, rf"{stage}\.pafs\.1\.0"),
        "refinements": _count(shapes, r"^refinement_stages\.(\d+)\."),
        "width": _outputs(shapes, r"model\.(?:[6-9]|10|11)\.3") / 512,
        "context": context,
    }


STAGED = ("vgg_paf", "cpm_face", "cpm_hand", "mobilenet_paf")  # whose first stages give all maps


def keep_stages(layout: Layout, stages: int) -> Layout:
    """The same layout for the first stages of a network alone; what a file holds of later ones is left in it.

    CMU's four-stage MPI network uses the file of the six-stage one in this way, and Osokin's demonstration, with two
    stages, that of four. Raises `ModelError` for a network that cannot be cut.
    """
    if layout.network not in STAGED:
        raise ModelError(
            f"the first stages of {layout.network} are of no use alone: each gives only a part of the maps"
        )
    if stages < 1:
        raise ModelError(f"stages is {stages}, expected at least 1")

    def spare(name: str) -> bool:
        new = layout.rename(name)
        return layout.spare(name) or (new is not None and _stage_of(new) > stages)

    return dataclasses.replace(layout, name=f"{layout.name}, {stages} stages", spare=spare)


def _stage_of(name: str) -> int:
    if match := re.search(r"_stage(\d+)", name):
        return int(match[1])
    match = re.match(r"refinement_stages\.(\d+)\.", name)
    return int(match[1]) + 2 if match else 1


# ---- the layouts; of two that fit, the first counts ----

_vgg_paf = partial(Layout, network="vgg_paf", options=vgg_paf_options, input=BODY, field_offset=CELL_CENTRE)
_mxnet = partial(
    Layout,
    network="vgg_paf",
    options=partial(vgg_paf_options, linear_features=True),
    input=BODY_IMAGENET,
    field_offset=CELL_CENTRE,
)
_body25 = partial(Layout, network="body25", options=body25_options, input=BODY, field_offset=CELL_CENTRE)
# OpenPose takes the maximum of a map that it enlarges eight times; DARK finds the same place without that, to half a
# pixel of the input, and the highest cell alone is 3 pixels away.
_crop = partial(Layout, input=CROP, decoding="dark")
_face = partial(_crop, network="cpm_face", options=partial(cpm_options, hand=False))
_hand = partial(_crop, network="cpm_hand", options=partial(cpm_options, hand=True))

LAYOUTS: tuple[Layout, ...] = (
    _vgg_paf(
        name="CMU (Caffe)",
        rename=same_name,
    ),
    _vgg_paf(name="Keras", rename=keras_name, notes="Mconv<i>_stage1_L<b> for stage 1 since October 2017."),
    Layout(
        name="TreB1eN",
        network="vgg_paf",
        rename=treb1en_name,
        options=vgg_paf_options,
        input=BODY_255,
        notes="Trained on fields at full size, so without offset; converted weights of CMU expect / 256 and have it.",
    ),
    _vgg_paf(name="Hzzone, xuexingyu24", rename=hzzone_body_name),
    _vgg_paf(
        name="tensorboy (VGG)",
        rename=_by_places(last_feature=25, step=2),
        notes="The input is that of the published file; what the product trains itself gets RGB normalised as for "
        "ImageNet, and has shoulder-eye limbs in place of shoulder-ear.",
    ),
    _mxnet(name="MXNet (2018)", rename=_by_places(last_feature=24, step=1)),
    _mxnet(name="MXNet (2019, batch norm)", rename=_by_places(last_feature=24, step=3)),
    _mxnet(name="MXNet (full names)", rename=_mxnet_full_name),
    _body25(name="CMU (Caffe)", rename=same_name),
    _body25(name="beingjoey", rename=beingjoey_name),
    _body25(name="tensorboy (BODY_25 style)", rename=tensorboy_body25_name),
    _face(name="CMU (Caffe), TreB1eN", rename=same_name),
    _hand(name="CMU (Caffe), TreB1eN", rename=same_name, notes="Also Hzzone's hand_pose_model.pth. For right hands."),
    _hand(name="Hzzone", rename=hzzone_hand_name, notes="For right hands."),
    Layout(
        name="Osokin",
        network="mobilenet_paf",
        rename=same_name,
        options=partial(mobilenet_paf_options, context="osokin"),
        input=BODY,
        field_offset=CELL_CENTRE,
    ),
    Layout(
        name="Open Model Zoo, human-pose-estimation-0001",
        network="mobilenet_paf",
        rename=same_name,
        options=partial(mobilenet_paf_options, context="omz"),
        input=BODY_OMZ,
        field_offset=CELL_CENTRE,
    ),
)
