"""Networks that find the joints of one person in a crop: heatmaps (HRNet, TinyPose) and SimCC (RTMPose)."""

from __future__ import annotations

from typing import Any

from manypose.adapters.signature import Signature, input_of
from manypose.errors import ModelError
from manypose.metadata import CROP_SKELETONS, IMAGENET_MEAN, IMAGENET_SCALE, crop_sigma

# What the crop shows is not told by such a file, and no two of the skeletons have as many joints.
SKELETONS = dict(sorted(pair for skeletons in CROP_SKELETONS.values() for pair in skeletons.items()))


def heatmaps(signature: Signature) -> dict[str, Any] | None:
    """One output (B, K, h/4, w/4): PaddleDetection's TinyPose (DARK, 3 x 3), exports of HRNet and its kin (quarter).

    All take RGB with ImageNet's mean and standard deviation.
    """
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 4:
        return None
    output, size = signature.outputs[0], signature.size
    joints, rows, columns = output.shape[1:]
    if joints is None or joints > 200 or signature.layout != "nchw":
        return None
    if size is None:
        size = (4 * columns, 4 * rows) if rows and columns else (192, 256)
    elif rows is not None and columns is not None and (4 * columns, 4 * rows) != size:
        return None
    paddle = ".tmp_" in output.name
    maps = {"kind": "heatmaps", "decoding": "dark", "kernel": 3} if paddle else {"kind": "heatmaps"}
    if not paddle:
        maps |= {"decoding": "quarter"}
    return _metadata(signature, joints, {output.name: "heatmaps"}, maps | {"sigma": crop_sigma(size)}, size)


def simcc(signature: Signature) -> dict[str, Any] | None:
    """`simcc_x` (B, K, 2w) and `simcc_y` (B, K, 2h): RTMPose and the like; RGB, as their training has it."""
    x, y = signature.output("simcc_x"), signature.output("simcc_y")
    if x is None or y is None or len(x.shape) != 3 or len(y.shape) != 3:
        return None
    bins, size = (x.side(2), y.side(2)), signature.size
    ratio = bins[0] / size[0] if bins[0] and size else 2.0
    if size is None:
        size = (bins[0] // 2, bins[1] // 2) if bins[0] and bins[1] else (192, 256)
    maps = {"kind": "simcc", "split_ratio": ratio}
    return _metadata(signature, x.side(1) or y.side(1), {"simcc_x": "simcc_x", "simcc_y": "simcc_y"}, maps, size)


def skeleton_of(joints: int | None) -> str:
    """The skeleton with so many joints; raises `ModelError` where none is known."""
    if joints not in SKELETONS:
        known = ", ".join(map(str, SKELETONS))
        seen = "an unknown number of joints" if joints is None else f"{joints} joints"
        raise ModelError(
            f"a network with {seen}, and a skeleton is known for {known} only; name its skeleton in the YAML file "
            "(skeleton: a name, or its definition)"
        )
    return SKELETONS[joints]


def _metadata(
    signature: Signature, joints: int | None, outputs: dict[str, str], maps: dict[str, Any], size: tuple[int, int]
) -> dict[str, Any]:
    pictures = input_of(signature, fit="crop", mean=IMAGENET_MEAN, scale=IMAGENET_SCALE, fill=0) | {"size": size}
    return {"task": "top-down", "skeleton": joints, "input": pictures, "outputs": outputs, "maps": maps}
