"""The metadata of a file of another project: recognised, completed or replaced by the YAML beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from manypose.adapters import bottom_up, detectors, single_stage, top_down
from manypose.adapters.signature import Signature, input_of
from manypose.errors import ModelError
from manypose.metadata import Metadata, faults_of

LARGEST_YAML = 200_000  # bytes; a whole skeleton takes three thousand

# The surest ones first: what is told by names before what is told by shapes alone.
FAMILIES: dict[str, Callable[[Signature], dict[str, Any] | None]] = {
    "YOLO pose (Ultralytics)": single_stage.ultralytics_pose,
    "YOLO boxes (Ultralytics)": detectors.ultralytics_boxes,
    "RTMO": single_stage.rtmo,
    "RTMDet or YOLOX (mmdeploy)": detectors.mmdeploy,
    "SimCC (RTMPose)": top_down.simcc,
    "PAF network, two outputs": bottom_up.two_maps,
    "PAF network, one output": bottom_up.joined_maps,
    "PicoDet with post-processing": detectors.picodet_with_rows,
    "PicoDet heads": detectors.picodet_heads,
    "PicoDet without suppression": detectors.picodet_candidates,
    "YOLOX": detectors.yolox,
    "MoveNet": single_stage.movenet,
    "YOLO pose": single_stage.yolo_pose,
    "heatmaps of one person": top_down.heatmaps,
}

# On one line, which is YAML too, since errors are printed on one.
_EXAMPLE = (
    "{{task: top-down, skeleton: coco17, input: {{name: {name}, size: [{width}, {height}], fit: crop, colours: rgb, "
    "mean: [0, 0, 0], scale: 0.00392157}}, outputs: {{{output}: heatmaps}}, maps: {{stride: 4, decoding: dark}}}}"
)


def describe(path: Path, signature: Signature) -> Metadata:
    """The metadata of the file `path` with these inputs and outputs.

    The YAML beside it (`model.yaml` beside `model.onnx`) has the keys of `Metadata`. Where the file is recognised, it
    need only say what is different; with another `task` it stands for itself. Raises `ModelError` for a file that is
    neither known nor described: it lists what was seen and shows how to write that YAML.
    """
    beside = path.with_suffix(".yaml")
    told = _read_yaml(beside) if beside.is_file() else None
    family, found = recognise(signature)
    if found is None and told is None:
        raise ModelError(_unknown(path, beside, signature))
    if found is None or (told or {}).get("task", found["task"]) != found["task"]:
        family, found = "", {"input": input_of(signature)} if signature.picture else {}
    data = {"name": path.stem[:200], "origin": {"family": family}} | _merge(found, told or {})
    where = path if told is None else beside
    try:
        if isinstance(data.get("skeleton"), int):
            data["skeleton"] = top_down.skeleton_of(data["skeleton"])
        if data.get("task") == "detector":
            data.setdefault("skeleton", "coco17")  # a detector finds none of its joints
        return Metadata.model_validate(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; write {beside.name} beside the file") from None
    except (ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors
        raise ModelError(f"{where}: the description of {path.name} is faulty: {faults_of(error)}") from None


def recognise(signature: Signature) -> tuple[str, dict[str, Any] | None]:
    """The family of a file and its metadata as plain data; None for a file of none that is known.

    In the place of the skeleton's name may stand the number of its joints.
    """
    if signature.picture is not None:
        for family, adapter in FAMILIES.items():
            found = adapter(signature)
            if found is not None:
                return family, found
    return "", None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over` in place of its own, those of dictionaries one by one; outputs as a whole."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "outputs"
        merged[key] = base[key] | value if both else value
    return merged


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        if file.stat().st_size > LARGEST_YAML:
            raise ModelError(f"{file}: larger than {LARGEST_YAML // 1000} kB, which no description of a model is")
        text = file.read_text(encoding="utf-8")
        # A few aliases in each other stand for more than any memory holds.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ModelError(f"{file}: YAML with aliases (*name); write the values out")
        data = yaml.safe_load(text)
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ModelError(f"{file}: expected keys and values (task: ..., skeleton: ..., input: ..., outputs: ...)")
    return data


def _unknown(path: Path, beside: Path, signature: Signature) -> str:
    width, height = signature.size or (192, 256)
    name = signature.inputs[0].name if signature.inputs else "image"
    output = signature.outputs[0].name if signature.outputs else "output"
    example = _EXAMPLE.format(name=name, width=width, height=height, output=output)
    inputs, outputs = ("; ".join(map(str, values[:12])) or "none" for values in (signature.inputs, signature.outputs))
    return (
        f"{path}: an ONNX model without manypose's metadata, and of no kind that is known. Inputs: {inputs}. "
        f"Outputs: {outputs}. Describe it in {beside.name} beside it, for example: {example} (the docs page "
        '"ONNX files of other projects" explains the keys)'
    )
