"""Networks that give people with their joints: YOLO-pose, RTMO, MoveNet."""

from __future__ import annotations

from typing import Any

from manypose.adapters.signature import Signature, input_of

NUMBERS = 3  # of a joint: x, y, score


def ultralytics_pose(signature: Signature) -> dict[str, Any] | None:
    """YOLOv8, 11, 26 pose by the file's properties: (B, 4 + classes + K * dims, A), or rows with suppression."""
    shape = signature.literal("kpt_shape")
    known = isinstance(shape, (list, tuple)) and len(shape) == 2 and all(isinstance(side, int) for side in shape)
    if signature.properties.get("task") != "pose" or not known or len(signature.outputs) != 1:
        return None
    joints, dims = shape
    names = signature.literal("names")
    classes = len(names) if isinstance(names, (dict, list)) and names else 1
    return _yolo(signature, joints, dims, classes)


def yolo_pose(signature: Signature) -> dict[str, Any] | None:
    """The same layouts without properties, for COCO's 17 joints and one class: 56 channels, or rows of 57."""
    if len(signature.outputs) != 1:
        return None
    return _yolo(signature, 17, NUMBERS, 1)


def rtmo(signature: Signature) -> dict[str, Any] | None:
    """`dets` (B, N, 5) and `keypoints` (B, N, K, 3): RTMO; BGR, raw pixels, on grey 114, in the middle as trained."""
    dets, keypoints = signature.output("dets"), signature.output("keypoints")
    if dets is None or keypoints is None or len(dets.shape) != 3 or len(keypoints.shape) != 4:
        return None
    size = signature.size or (640, 640)
    pictures = input_of(signature, colours="bgr", fit="letterbox", fill=114, mean=(0, 0, 0), scale=1.0)
    maps = {"kind": "people", "form": "rtmo"}
    return _metadata(
        pictures | {"size": size}, keypoints.side(2) or 17, {"dets": "boxes", "keypoints": "keypoints"}, maps
    )


def movenet(signature: Signature) -> dict[str, Any] | None:
    """(1, 1, 17, 3) for one person, (1, 6, 56) for several: MoveNet; RGB, raw pixels, in the middle on black."""
    if len(signature.outputs) != 1 or signature.picture is None:
        return None
    output = signature.outputs[0]
    single = len(output.shape) == 4 and output.shape[1:] == (1, 17, NUMBERS)
    several = len(output.shape) == 3 and output.shape[2] == 56 and output.shape[1] in (6, None)
    if not single and not several:
        return None
    size = signature.size or ((192, 192) if single else (256, 256))
    settings: dict[str, Any] = {"mean": (0, 0, 0), "scale": 1.0, "fit": "letterbox", "fill": 0}
    maps = {"kind": "people", "form": "movenet" if single else "movenet-multi"}
    return _metadata(input_of(signature, **settings) | {"size": size}, 17, {output.name: "rows"}, maps)


def letterbox(signature: Signature) -> dict[str, Any]:
    """How Ultralytics' networks take pictures: RGB in 0..1, in the middle on grey 114."""
    size = signature.size
    if size is None:
        given = signature.literal("imgsz")
        sides = given if isinstance(given, (list, tuple)) else (given, given)
        whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
        size = (sides[1], sides[0]) if whole else (640, 640)
    settings = {"fit": "letterbox", "fill": 114, "mean": (0, 0, 0), "scale": 1 / 255}
    return input_of(signature, **settings) | {"size": size}


def person_class(signature: Signature) -> int:
    """Which class is a person, by the names in the file's properties; 0 where they do not say."""
    names = signature.literal("names")
    pairs = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else ())
    found = [number for number, name in pairs if str(name).lower() == "person" and isinstance(number, int)]
    return found[0] if found else 0


def _yolo(signature: Signature, joints: int, dims: int, classes: int) -> dict[str, Any] | None:
    output = signature.outputs[0]
    if len(output.shape) != 3 or signature.layout != "nchw":
        return None
    maps: dict[str, Any] = {"kind": "people", "dims": dims, "classes": classes, "person": person_class(signature)}
    if output.side(2) == 6 + joints * dims:
        maps |= {"form": "yolo-rows"}
    elif output.side(1) == 4 + classes + joints * dims:
        maps |= {"form": "yolo", "iou": 0.7}
    else:
        return None
    return _metadata(letterbox(signature), joints, {output.name: "rows"}, maps)


def _metadata(pictures: dict[str, Any], joints: int, outputs: dict[str, str], maps: dict[str, Any]) -> dict[str, Any]:
    return {"task": "single-stage", "skeleton": joints, "input": pictures, "outputs": outputs, "maps": maps}
