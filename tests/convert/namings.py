"""How each product calls the layer that we call by its Caffe name: written down a second time, from the facts."""

from __future__ import annotations

import re

VGG = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1", "4_2"]
VGG_PLACES = dict(zip(VGG, [0, 2, 5, 7, 10, 12, 14, 16, 19, 21], strict=True))


def same(layer: str) -> str:
    return layer


def keras_since_october_2017(layer: str) -> str:
    return re.sub(r"^conv5_(\d)_CPM_(L\d)$", r"Mconv\1_stage1_\2", layer)


def keras_a_second_time(layer: str) -> str:
    return f"{keras_since_october_2017(layer)}_1"


def treb1en(layer: str) -> str:
    if match := re.match(r"conv5_(\d)_CPM_(L\d)", layer):
        return f"stage_1.conv{match[1]}_CPM_{match[2]}"
    if match := re.match(r"Mconv(\d)_stage(\d)_(L\d)", layer):
        return f"stage_{match[2]}.conv{match[1]}_{match[3]}"
    return f"base.{layer}" if layer.endswith("CPM") else f"base.vgg_base.{layer}"


def hzzone_body(layer: str) -> str:
    if match := re.match(r"conv5_\d_CPM_L(\d)|Mconv\d_stage(\d)_L(\d)", layer):
        return f"model{match[2] or 1}_{match[3] or match[1]}.{layer}"
    return f"model0.{layer}"


def hzzone_hand(layer: str) -> str:
    if match := re.match(r"Mconv\d_stage(\d)", layer):
        return f"model{match[1]}.{layer}"
    return f"model1_{1 if layer.startswith('conv6') else 0}.{layer}"


def counted(layer: str, *, last_feature: int, step: int) -> str:
    if match := re.match(r"conv5_(\d)_CPM_L(\d)(_norm)?|Mconv(\d)_stage(\d)_L(\d)(_norm)?", layer):
        number = int(match[1] or match[4]) - 1
        norm = bool(match[3] or match[7])
        return f"model{match[5] or 1}_{match[2] or match[6]}.{step * number + norm}"
    features = {f"conv{name}": place for name, place in VGG_PLACES.items()}
    return f"model0.{(features | {'conv4_3_CPM': 23, 'conv4_4_CPM': last_feature})[layer]}"


def tensorboy(layer: str) -> str:
    return counted(layer, last_feature=25, step=2)


def mxnet_2018(layer: str) -> str:
    return counted(layer, last_feature=24, step=1)


def mxnet_2019(layer: str) -> str:
    return counted(layer, last_feature=24, step=3)


def mxnet_full(layer: str) -> str:
    if match := re.match(r"conv5_(\d)_CPM_L(\d)(_norm)?|Mconv(\d)_stage(\d)_L(\d)(_norm)?", layer):
        block = f"block{match[5] or 1}_{match[2] or match[6]}"
        norm = match[3] or match[7]
        return f"{block}_batchnorm{int(match[1] or match[4]) - 1}" if norm else f"{block}_{layer}"
    if layer.endswith("CPM"):
        return f"vgg_19_{layer}"
    return f"vgg0_conv{VGG.index(layer.removeprefix('conv'))}"


def mxnet_full_of_another_session(layer: str) -> str:
    return "rtpose3_" + mxnet_full(layer).replace("vgg0", "vgg7")


def beingjoey(layer: str) -> str:
    if match := re.match(r"M(?:conv|prelu)([1-5])_(stage\d_L\d)_(\d)", layer):
        return f"models.Mconv{match[1]}_{match[2]}.{match[3]}.{layer}"
    if match := re.match(r"M(?:conv|prelu)([67])_(stage\d_L\d)", layer):
        return f"models.Mconv6_7_{match[2]}.{int(match[1]) - 6}.{layer}"
    return f"model0.{layer}"


def tensorboy_body25(layer: str) -> str:
    if match := re.match(r"M(conv|prelu)([1-5])_stage(\d)_L(\d)_(\d)", layer):
        kind = {"conv": "Mconv", "prelu": "MPrelu"}[match[1]]
        return f"l{match[4]}_stages.{match[3]}.Mconv{match[2]}_{match[5]}.{kind}"
    if match := re.match(r"M(conv6|prelu6|conv7)_stage(\d)_L(\d)", layer):
        kind = {"conv6": "Mconv6.Mconv", "prelu6": "Mconv6.MPrelu", "conv7": "Mconv7"}[match[1]]
        return f"l{match[3]}_stages.{match[2]}.{kind}"
    features = {f"conv{name}": place for name, place in VGG_PLACES.items()}
    features |= {"prelu4_2": 22, "conv4_3_CPM": 23, "prelu4_3_CPM": 24, "conv4_4_CPM": 25, "prelu4_4_CPM": 26}
    return f"feature_extractor.{features[layer]}"
