"""The names that other projects give to the weights of top-down networks, and what they tell of the network.

HRNet, humanpose, LPN and Simple Baselines share one lineage of names, which are our networks' own; mmpose puts
`backbone.` and `head.` in front. Weights of ImageNet classifiers are in `layouts_imagenet`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from manypose.convert.layout import Layout, Shapes, commonest, same_name
from manypose.metadata import IMAGENET_MEAN, IMAGENET_SCALE, Decoding, InputSettings
from manypose.networks import hrnet, lpn, pose_resnet

_NORMALISED: dict[str, Any] = {"mean": IMAGENET_MEAN, "scale": IMAGENET_SCALE, "long_side": 256}
RGB = InputSettings(colours="rgb", **_NORMALISED)
# The recipes of Simple Baselines feed blue first, yet normalise it as if it were red.
BGR = InputSettings(colours="bgr", **_NORMALISED)

_HEADS = ("head.", "keypoint_head.")  # mmpose from 1.0 on, and before


def hrnet_options(shapes: Shapes, *, network: str) -> dict[str, Any]:
    """Options of an HRNet; raises ValueError when the tensors are those of another one."""
    plan = hrnet.PLANS[network]
    channels = commonest(shapes, r"(transition1\.0\.0|stage[234]\.0\.branches\.0\.\d+\.conv\d)\.weight")
    if channels != plan.channels[0]:
        raise ValueError(f"{channels} channels on the finest branch")
    blocks = len(_indices(shapes, r"layer1\.(\d+)\."))
    inner = commonest(shapes, r"layer1\.\d+\.conv[12]\.weight")
    options = _joints(shapes)
    if network.startswith("hrnet_w18_small"):
        return options | {"layer1_channels": inner, "layer1_blocks": blocks}
    return options


def lpn_options(shapes: Shapes, *, network: str) -> dict[str, Any]:
    """Options of an LPN; raises ValueError when the tensors are those of another network."""
    _expect_blocks(shapes, lpn.BLOCKS[network])
    basic = network in lpn.GROUPS
    if basic != (not _has_third_convolution(shapes)):
        raise ValueError("blocks of another kind")
    # A depthwise or grouped convolution has 1 or 2 channels where pose_resnet has all of them.
    grouped = commonest(shapes, rf"layer\d\.\d+\.conv{'[12]' if basic else '2'}\.weight", axis=1)
    if grouped != lpn.GROUPS.get(network, 1):
        raise ValueError(f"{grouped} channels in a group")
    kinds = {"gc": ".att.conv_mask.", "se": ".att.fc."}
    attention = [kind for kind, part in kinds.items() if any(part in name for name in shapes)]
    return _joints(shapes) | {"attention": attention[0] if attention else "none"}


def pose_resnet_options(shapes: Shapes, *, network: str) -> dict[str, Any]:
    """Options of a pose_resnet; raises ValueError when the tensors are those of another network."""
    check_resnet(shapes, network=network)
    kernel = commonest(shapes, r"deconv_layers\.[036]\.weight", axis=2)
    return _joints(shapes) | {"kernel": kernel}


def check_resnet(shapes: Shapes, *, network: str) -> None:
    """Raise ValueError when the blocks are not those of the ResNet in that pose_resnet."""
    _expect_blocks(shapes, pose_resnet.BLOCKS[network])
    if (network in pose_resnet.BASIC) == _has_third_convolution(shapes):
        raise ValueError("blocks of another kind")
    if commonest(shapes, r"layer\d\.\d+\.conv2\.weight", axis=1) < 8:
        raise ValueError("grouped convolutions")


def _joints(shapes: Shapes) -> dict[str, Any]:
    """One tensor may be missing or faulty, which is to be named, so no single one decides where there are several."""
    return {"joints": commonest(shapes, r"final_layer\.(weight|bias)")}


def _indices(shapes: Iterable[str], pattern: str) -> set[str]:
    """What several names have in the place of the pattern's group; what a single one has is a stray."""
    found = Counter(match[1] for name in shapes if (match := re.match(pattern, name)))
    return {index for index, count in found.items() if count > 1}


def _expect_blocks(shapes: Shapes, blocks: tuple[int, ...]) -> None:
    seen = tuple(len(_indices(shapes, rf"layer{layer}\.(\d+)\.")) for layer in (1, 2, 3, 4))
    if seen != blocks:
        raise ValueError(f"{seen} blocks")


def _has_third_convolution(shapes: Shapes) -> bool:
    return len(_indices(shapes, r"layer\d\.\d+\.(conv3)\.weight")) > 0


def mmpose_name(name: str) -> str | None:
    """Our name for a tensor of an mmpose checkpoint, None where there is none."""
    if name.startswith("backbone."):
        return name.removeprefix("backbone.")
    for head in _HEADS:
        rest = name.removeprefix(head)
        if rest != name and rest.startswith(("final_layer.", "deconv_layers.")):
            return rest
    return None


_MMPOSE_NOTES = (
    "All recipes of mmpose feed RGB. Those called UDP or DARK have maps of another meaning: give --decoding udp-dark "
    "or dark for them."
)
_LPN_NOTES = (
    "humanpose feeds RGB; LPN's own program feeds BGR to lpn_50, lpn_101 and lpn_152 for COCO, in the same names."
)
_RESNET_NOTES = (
    "The recipes feed BGR, normalised with ImageNet's figures for RGB in that order. Files in the style of Caffe's "
    "ResNet have the same names and are taken for PyTorch's."
)


def _family(
    entries: Iterable[str],
    options: Callable[..., dict[str, Any]],
    product: str,
    settings: InputSettings,
    notes: str,
    rename: Callable[[str], str | None] = same_name,
    decoding: Decoding = "quarter",
) -> list[Layout]:
    return [
        Layout(
            name=product,
            network=network,
            rename=rename,
            options=partial(options, network=network),
            input=settings,
            decoding=decoding,
            notes=notes,
        )
        for network in entries
    ]


LAYOUTS: tuple[Layout, ...] = (
    *_family(hrnet.ENTRIES, hrnet_options, "HRNet and humanpose", RGB, ""),
    # All recipes of LPN have TEST.SOFT_ARGMAX and TEST.POST_PROCESS, those of the others the latter alone.
    *_family(lpn.ENTRIES, lpn_options, "LPN and humanpose", RGB, _LPN_NOTES, decoding="soft-argmax+quarter"),
    *_family(pose_resnet.ENTRIES, pose_resnet_options, "Simple Baselines and HRNet", BGR, _RESNET_NOTES),
    *_family(hrnet.ENTRIES, hrnet_options, "mmpose", RGB, _MMPOSE_NOTES, mmpose_name),
    *_family(pose_resnet.ENTRIES, pose_resnet_options, "mmpose", RGB, _MMPOSE_NOTES, mmpose_name),
)
