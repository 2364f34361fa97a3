"""Which of our networks an experiment file of HRNet's programs builds."""

from __future__ import annotations

from typing import Any

from manypose.networks.hrnet import PLANS
from manypose.networks.lpn import BLOCKS as LPNS
from manypose.training.experiment_file import Extra, Model

RESNETS = (18, 34, 50, 101, 152)


def find_network(model: Model, notes: list[str]) -> dict[str, Any]:
    """`network` and its options as a recipe has them; adds to `notes` where the file does not say what it builds.

    Raises `ValueError` "KEY: what is the matter" for a network that is none of ours.
    """
    extra = model.EXTRA
    if model.NAME == "pose_hrnet":
        return _hrnet(extra, notes)
    if model.NAME == "lpn":
        return _lpn(extra, notes)
    if model.NAME == "pose_resnet":
        return _pose_resnet(extra, caffe=model.STYLE == "caffe")
    raise ValueError(f"MODEL.NAME: {model.NAME!r} is none of pose_hrnet, lpn, pose_resnet")


def _hrnet(extra: Extra, notes: list[str]) -> dict[str, Any]:
    stages = (extra.STAGE2, extra.STAGE3, extra.STAGE4)
    if any(stage is None for stage in stages):
        raise ValueError("MODEL.EXTRA: pose_hrnet needs STAGE2, STAGE3 and STAGE4")
    whole = [stage for stage in stages if stage is not None]
    modules = tuple(stage.NUM_MODULES for stage in whole)
    for name, plan in PLANS.items():
        shapes = [
            (plan.channels[:count], (plan.blocks,) * count) == (stage.NUM_CHANNELS, stage.NUM_BLOCKS)
            for count, stage in enumerate(whole, 2)
        ]
        if all(shapes) and modules == plan.modules:
            if name != "hrnet_w18_small_v1":
                return {"network": name}
            notes.append("MODEL.EXTRA: the program builds layer1 of 64 channels, not of the 32 of the published size")
            return {"network": name, "network_options": {"layer1_channels": 64}}
    raise ValueError(f"MODEL.EXTRA: no network of ours has these channels, blocks and modules: {', '.join(PLANS)}")


def _lpn(extra: Extra, notes: list[str]) -> dict[str, Any]:
    name = f"lpn_{extra.NUM_LAYERS}"
    if name not in LPNS:
        raise ValueError(f"MODEL.EXTRA.NUM_LAYERS: {extra.NUM_LAYERS} is none of {', '.join(LPNS)}")
    _check_head(extra, layers=2)
    if f"{name}h" in LPNS:
        notes.append(f"MODEL.EXTRA.NUM_LAYERS: the released program builds {name}h of it; network={name} is the other")
        name += "h"
    attention = extra.ATTENTION.lower()
    if attention == "gc":
        return {"network": name}
    return {"network": name, "network_options": {"attention": "se" if attention == "se" else "none"}}


def _pose_resnet(extra: Extra, *, caffe: bool) -> dict[str, Any]:
    if extra.NUM_LAYERS not in RESNETS:
        raise ValueError(f"MODEL.EXTRA.NUM_LAYERS: {extra.NUM_LAYERS} is none of {', '.join(map(str, RESNETS))}")
    kernel = _check_head(extra, layers=3)
    options: dict[str, Any] = {} if kernel == 4 else {"kernel": kernel}
    if caffe and extra.NUM_LAYERS >= 50:
        options["caffe"] = True
    named = {"network": f"pose_resnet_{extra.NUM_LAYERS}"}
    return named | ({"network_options": options} if options else {})


def _check_head(extra: Extra, *, layers: int) -> int:
    """The kernel of the transposed convolutions."""
    count = extra.NUM_DECONV_LAYERS or layers
    kernels = extra.NUM_DECONV_KERNELS or (4,) * count
    filters = extra.NUM_DECONV_FILTERS or (256,) * count
    if count != layers or filters != (256,) * layers or len(set(kernels)) != 1 or len(kernels) != layers:
        raise ValueError(f"MODEL.EXTRA.NUM_DECONV_LAYERS: ours have {layers} of 256 channels and one size of kernel")
    return kernels[0]
