"""Detectors of people: RTMDet, YOLOX, PicoDet, and YOLOv8 and its heirs."""

from __future__ import annotations

from typing import Any

from manypose.adapters.signature import Signature, input_of
from manypose.adapters.single_stage import letterbox, person_class
from manypose.metadata import IMAGENET_MEAN, IMAGENET_SCALE

COCO_CLASSES = 80


def mmdeploy(signature: Signature) -> dict[str, Any] | None:
    """`dets` (B, N, 5) and `labels` (B, N): RTMDet, or YOLOX where the head's layers or the size of 416 say so.

    Both take BGR at the top left on grey 114; RTMDet with ImageNet's mean and standard deviation, YOLOX raw pixels.
    """
    dets, labels = signature.output("dets"), signature.output("labels")
    if dets is None or labels is None or len(dets.shape) != 3 or len(labels.shape) != 2 or "masks" in signature.names:
        return None
    yolox = b"multi_level_conv_cls" in signature.content or signature.size == (416, 416)
    raw: dict[str, Any] = {"mean": (0, 0, 0), "scale": 1.0}
    own = raw if yolox else {"mean": IMAGENET_MEAN[::-1], "scale": IMAGENET_SCALE[::-1]}
    size = signature.size or ((640, 640) if yolox else (320, 320))
    pictures = input_of(signature, colours="bgr", fit="pad", fill=114, **own) | {"size": size}
    maps = {"kind": "boxes", "form": "dets"}
    return _metadata(pictures, {"dets": "boxes", "labels": "labels"}, maps)


def yolox(signature: Signature) -> dict[str, Any] | None:
    """One output (B, A, 5 + classes) in units of the grid: Megvii's own export; BGR, raw pixels, top left on 114."""
    size = signature.size
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 3 or size is None:
        return None
    output = signature.outputs[0]
    candidates, columns = output.shape[1:]
    strides = next((strides for strides in ((8, 16, 32), (8, 16, 32, 64)) if candidates == _cells(size, strides)), None)
    if strides is None or columns is None or columns < 6:
        return None
    pictures = input_of(signature, colours="bgr", fit="pad", fill=114, mean=(0, 0, 0), scale=1.0)
    maps = {"kind": "boxes", "form": "yolox", "iou": 0.45, "strides": strides}
    return _metadata(pictures, {output.name: "rows"}, maps)


def picodet_with_rows(signature: Signature) -> dict[str, Any] | None:
    """Rows (N, 6), and a count: PicoDet with its post-processing, which is told how the picture was resized."""
    factors = [value for value in signature.inputs if len(value.shape) == 2 and value.side(1) in (2, None)]
    rows = [value for value in signature.outputs if len(value.shape) == 2 and value.side(1) in (6, None)]
    if len(factors) != 1 or len(signature.inputs) != 2 or not rows:
        return None
    pictures = _paddle_input(signature) | {"resized_by": factors[0].name}
    return _metadata(pictures, {rows[0].name: "rows"}, {"kind": "boxes", "form": "paddle-rows"})


def picodet_candidates(signature: Signature) -> dict[str, Any] | None:
    """Boxes (B, A, 4) and scores (B, classes, A): PicoDet without suppression."""
    if len(signature.outputs) != 2 or any(len(value.shape) != 3 for value in signature.outputs):
        return None
    for boxes, scores in (signature.outputs, signature.outputs[::-1]):
        same = boxes.side(1) == scores.side(2)
        if boxes.side(2) == 4 and same and (scores.side(1) in (1, COCO_CLASSES) or boxes.side(1) != 4):
            maps = {"kind": "boxes", "form": "candidates", "iou": 0.6}
            return _metadata(_paddle_input(signature), {boxes.name: "boxes", scores.name: "scores"}, maps)
    return None


def picodet_heads(signature: Signature) -> dict[str, Any] | None:
    """For each of four strides scores (B, n, classes) and distances (B, n, 32): PicoDet's bare heads."""
    size, outputs = signature.size, signature.outputs
    strides = (8, 16, 32, 64)
    if size is None or len(outputs) != 2 * len(strides) or any(len(value.shape) != 3 for value in outputs):
        return None
    counts = [_cells(size, (stride,)) for stride in strides]
    distances = [value for value in outputs if value.side(2) == 32]
    scores = [value for value in outputs if value.side(2) != 32]
    if any(sorted(v.side(1) or 0 for v in group) != sorted(counts) for group in (scores, distances)):
        return None
    found = {value.name: "scores" for value in sorted(scores, key=lambda value: -(value.side(1) or 0))}
    found |= {value.name: "boxes" for value in sorted(distances, key=lambda value: -(value.side(1) or 0))}
    maps = {"kind": "boxes", "form": "picodet", "iou": 0.6, "strides": strides}
    return _metadata(_paddle_input(signature), found, maps)


def ultralytics_boxes(signature: Signature) -> dict[str, Any] | None:
    """YOLOv8, 11, 26 for boxes: (B, 4 + classes, A), or (B, N, 6) with suppression; told by the file's properties."""
    if signature.properties.get("task") != "detect" or len(signature.outputs) != 1:
        return None
    output = signature.outputs[0]
    if len(output.shape) != 3:
        return None
    rows = output.side(2) == 6
    maps: dict[str, Any] = {"kind": "boxes", "form": "yolo-rows" if rows else "yolo", "person": person_class(signature)}
    return _metadata(letterbox(signature), {output.name: "rows"}, maps | {"iou": None if rows else 0.7})


def _cells(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def _paddle_input(signature: Signature) -> dict[str, Any]:
    settings = {"fit": "stretch", "interpolation": "cubic", "mean": IMAGENET_MEAN, "scale": IMAGENET_SCALE}
    return input_of(signature, **settings) | {"size": signature.size or (320, 320)}


def _metadata(pictures: dict[str, Any], outputs: dict[str, str], maps: dict[str, Any]) -> dict[str, Any]:
    return {"task": "detector", "skeleton": "coco17", "input": pictures, "outputs": outputs, "maps": maps}
