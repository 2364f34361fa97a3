"""The names in weights of ImageNet classifiers that training starts from: HRNet's and torchvision's.

They are no whole network: `Layout.head` names what they lack, and `Layout.spare` the classifier that is left out.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from manypose.convert.layout import Layout, Shapes, same_name
from manypose.convert.layouts_bottom_up import VGG_PLACES
from manypose.convert.layouts_top_down import RGB, check_resnet, hrnet_options
from manypose.networks import hrnet, pose_resnet, resnet_paf

_VGG19_LATER = re.compile(r"features\.(23|25|28|30|32|34)\.(weight|bias)|classifier\.[036]\.(weight|bias)")
_HRNET_CLASSIFIER = re.compile(r"(incre_modules|downsamp_modules|final_layer\.[01]|classifier)\..*")


def _vgg19_name(name: str) -> str | None:
    match = re.fullmatch(r"features\.(0|[1-9][0-9]?)\.(weight|bias)", name)
    layer = VGG_PLACES.get(int(match[1])) if match else None
    return f"{layer}.{match[2]}" if match and layer else None


def _vgg19_options(shapes: Shapes) -> dict[str, Any]:
    if len(shapes) < len(VGG_PLACES):
        raise ValueError("a few layers that are called as in VGG-19")
    return {}


def _is_vgg19_spare(name: str) -> bool:
    return _VGG19_LATER.fullmatch(name) is not None


def _is_vgg_paf_head(name: str) -> bool:
    return name.rpartition(".")[0] not in VGG_PLACES.values()


def _hrnet_options(shapes: Shapes, *, network: str) -> dict[str, Any]:
    """As of a pose network with the first layer of the classifier; the joints are the trainer's to choose."""
    options = hrnet_options({**shapes, "final_layer.bias": (17,)}, network=network)
    return {name: value for name, value in options.items() if name != "joints"}


def _is_hrnet_spare(name: str, *, modules: int) -> bool:
    """A classifier reads all branches, a pose network the finest alone: its last module feeds no other."""
    unread = re.match(rf"stage4\.{modules - 1}\.fuse_layers\.[123]\.", name)
    return unread is not None or _HRNET_CLASSIFIER.fullmatch(name) is not None


def _resnet_options(shapes: Shapes, *, network: str) -> dict[str, Any]:
    check_resnet(shapes, network=network)
    return {}


_NOTES = "Trained on ImageNet: a start for training, which gives the rest of the network random weights."

LAYOUTS: tuple[Layout, ...] = (
    *(
        Layout(
            name="HRNet (ImageNet)",
            network=network,
            rename=same_name,
            options=partial(_hrnet_options, network=network),
            input=RGB,
            spare=partial(_is_hrnet_spare, modules=plan.modules[-1]),
            head=lambda name: name.startswith("final_layer."),
            notes=_NOTES,
        )
        for network, plan in hrnet.PLANS.items()
    ),
    *(
        Layout(
            name="torchvision ResNet (ImageNet)",
            network=network,
            rename=same_name,
            options=partial(_resnet_options, network=network.replace("resnet_paf", "pose_resnet")),
            input=RGB,
            spare=lambda name: name in ("fc.weight", "fc.bias"),
            head=lambda name: name.startswith(("deconv_layers.", "final_layer.")),
            notes=_NOTES,
        )
        # The second have the same trunk: chosen by name alone, since the tensors cannot tell.
        for network in (*pose_resnet.ENTRIES, *resnet_paf.ENTRIES)
    ),
    Layout(
        name="torchvision VGG-19 (ImageNet)",
        network="vgg_paf",
        rename=_vgg19_name,
        options=_vgg19_options,
        input=RGB,
        spare=_is_vgg19_spare,
        head=_is_vgg_paf_head,
        notes=_NOTES,
    ),
)
