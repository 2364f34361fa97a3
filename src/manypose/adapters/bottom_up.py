"""Networks with part affinity fields: heatmaps of OpenPose's 18 joints and the background, and fields of 19 limbs."""

from __future__ import annotations

from typing import Any

from manypose.adapters.signature import Signature, Value, input_of

HEATMAPS, FIELDS = 19, 38


def joined_maps(signature: Signature) -> dict[str, Any] | None:
    """One output of 57 channels, heatmaps before fields: tf-pose-estimation (NHWC), OpenPose's `net_output` (NCHW).

    tf-pose takes raw pixels, OpenPose (pixel - 128) / 256; both BGR.
    """
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 4:
        return None
    output = signature.outputs[0]
    layout = _layout(output, HEATMAPS + FIELDS)
    if layout is None:
        return None
    raw = layout == "nhwc"
    settings = {"mean": (0, 0, 0), "scale": 1.0} if raw else {"mean": (128, 128, 128), "scale": 1 / 256}
    return _metadata(signature, {output.name: "heatmaps+fields"}, layout, stride=16 if raw else 8, **settings)


def two_maps(signature: Signature) -> dict[str, Any] | None:
    """Outputs of 19 and 38 channels, of which the last pair is taken: Osokin's and others' exports, BGR, / 256.

    OpenVINO's files (`Mconv7_stage2_L1`, `Mconv7_stage2_L2`) have the mean and the scale inside.
    """
    pairs: dict[int, tuple[Value, str]] = {}
    for output in signature.outputs:
        for channels in (HEATMAPS, FIELDS):
            layout = _layout(output, channels)
            if layout is not None:
                pairs[channels] = (output, layout)
    if len(pairs) < 2 or pairs[HEATMAPS][1] != pairs[FIELDS][1]:
        return None
    (heatmaps, layout), (fields, _) = pairs[HEATMAPS], pairs[FIELDS]
    inside = heatmaps.name.startswith("Mconv7_stage2")
    settings = {"mean": (0, 0, 0), "scale": 1.0} if inside else {"mean": (128, 128, 128), "scale": 1 / 256}
    return _metadata(signature, {heatmaps.name: "heatmaps", fields.name: "fields"}, layout, stride=8, **settings)


def _layout(output: Value, channels: int) -> str | None:
    if len(output.shape) != 4:
        return None
    return "nchw" if output.side(1) == channels else "nhwc" if output.side(3) == channels else None


def _metadata(
    signature: Signature, outputs: dict[str, str], layout: str, *, stride: int, **settings: Any
) -> dict[str, Any]:
    pictures = input_of(signature, colours="bgr", stride=stride, long_side=432, **settings)
    return {
        "task": "bottom-up",
        "skeleton": "openpose18",
        "input": pictures,
        "outputs": outputs,
        "maps": {"kind": "fields", "layout": layout, "stride": 8},
    }
