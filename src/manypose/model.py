"""Model: one ONNX file with everything that running it needs in its metadata, and the list of shipped models."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime
import pydantic
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from manypose.codecs.fields import FieldsCodec
from manypose.codecs.grouping import DecoderSettings
from manypose.errors import DeviceError, ModelError
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict

Array = NDArray[np.float32]

METADATA_KEY = "manypose"
DEFAULT = "ladder"
MAX_BYTES = 2**31 - 1  # what one ONNX file can hold

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
EXTRAS = {"cuda": "gpu", "tensorrt": "gpu", "openvino": "openvino"}
FASTEST_FIRST = ("cuda", "rocm", "directml", "cpu")  # those that "auto" tries; the others need settings to pay


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InputSettings(_Frozen):
    """How a picture becomes the network's input (B, 3, h, w) float32: (pixel - mean) * scale, in this colour order.

    Height and width are multiples of `stride`. `long_side` is the size, in pixels, at which the model does best.
    """

    name: str = "picture"
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (128.0, 128.0, 128.0)
    scale: float = Field(1 / 256, gt=0)
    stride: int = Field(32, gt=0, le=1024)
    long_side: int = Field(384, gt=0, le=16384)


class FieldSettings(_Frozen):
    """What the maps mean (see `codecs.fields.FieldsCodec`) and how they are decoded (`DecoderSettings`)."""

    stride: int = Field(8, gt=0, le=1024)
    sigma: float = Field(7.0, gt=0)
    limb_width: float = Field(8.0, gt=0)
    decoder: dict[str, float] = Field(default_factory=dict)


class Metadata(_Frozen):
    """The JSON under the key `manypose` of a model file, schema version 1."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    task: Literal["bottom-up"]
    skeleton: str | dict[str, Any]
    input: InputSettings = InputSettings()
    outputs: dict[str, Literal["heatmaps", "fields"]]
    maps: FieldSettings = FieldSettings()
    licence: str = ""
    origin: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)
    manypose_version: str = ""


@dataclass(frozen=True)
class Model:
    """A model file that is ready to run on one device."""

    path: Path
    metadata: Metadata
    session: onnxruntime.InferenceSession
    device: str

    @cached_property
    def skeleton(self) -> Skeleton:
        """The joints that the model finds."""
        given = self.metadata.skeleton
        return load_skeleton(given) if isinstance(given, str) else skeleton_from_dict(given)

    @cached_property
    def codec(self) -> FieldsCodec:
        """Meaning and decoding of the model's maps; raises `ModelError` for decoder settings that do not exist."""
        maps = self.metadata.maps
        try:
            decoder = DecoderSettings(**maps.decoder)  # type: ignore[arg-type]
        except TypeError as error:
            raise ModelError(f"{self.path}: metadata, maps.decoder: {error}") from None
        return FieldsCodec(
            self.skeleton, stride=maps.stride, sigma=maps.sigma, limb_width=maps.limb_width, decoder=decoder
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the model file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> Array:
        """Pictures of one size, RGB (h, w, 3), as the network's input (B, 3, h, w)."""
        settings = self.metadata.input
        mean = settings.mean if settings.colours == "rgb" else settings.mean[::-1]
        blob = cv2.dnn.blobFromImages(
            pictures, scalefactor=settings.scale, mean=mean, swapRB=settings.colours == "bgr", crop=False
        )
        return np.asarray(blob, np.float32)

    def run(self, batch: Array) -> dict[str, Array]:
        """The network's maps by meaning ("heatmaps", "fields"), each (B, channels, h, w)."""
        names = {meaning: name for name, meaning in self.metadata.outputs.items()}
        results = self.session.run(list(names.values()), {self.metadata.input.name: batch})
        return dict(zip(names, results, strict=True))


def load_model(model: str | Path = "default", *, device: str = "auto", threads: int = 0) -> Model:
    """Open a model: the path of an ONNX file, the name of a shipped model, or "default".

    `device` is "auto" or one of `PROVIDERS`; one that is asked for and cannot be had is refused, never replaced.
    `threads` is how many of the CPU's are used, 0 for all; they do not spin while they wait.

    Raises `ModelError` for a file that is missing, broken or without our metadata, `DeviceError` for the device.
    """
    path = find_model(model)
    provider = _provider(device)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than an ONNX file can be")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    try:
        # From bytes, so that a file cannot make the runtime read others beside it.
        session = onnxruntime.InferenceSession(content, _session_options(threads), providers=[provider])
    except Exception as error:  # the runtime's own errors have no common base but Exception
        raise ModelError(f"{path}: not an ONNX model that can be run: {' '.join(str(error).split())[:300]}") from None
    if session.get_providers()[0] != provider:
        raise DeviceError(f"device {device!r}: {provider} is installed but does not start here; try `manypose doctor`")
    metadata = _read_metadata(path, session)
    return Model(path=path, metadata=metadata, session=session, device=_device_of(provider))


def find_model(model: str | Path) -> Path:
    """The file of a model by path or by shipped name; raises `ModelError` that lists the names."""
    shipped = shipped_models()
    name = DEFAULT if model == "default" else str(model)
    if name in shipped:
        return shipped[name]
    path = Path(model)
    if not path.is_file():
        names = ", ".join(shipped)
        raise ModelError(f"{path}: no such file, and no shipped model is called that; the shipped ones are {names}")
    return path


def shipped_models() -> dict[str, Path]:
    """The models that come with manypose: name -> file."""
    folder = Path(str(resources.files("manypose").joinpath("zoo")))
    return {file.stem: file for file in sorted(folder.glob("*.onnx"))}


def available_devices() -> list[str]:
    """The devices whose providers the installed ONNX Runtime has."""
    installed = onnxruntime.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in installed]


def _provider(device: str) -> str:
    if device != "auto" and device not in PROVIDERS:
        raise DeviceError(f"device {device!r} is not one of auto, {', '.join(PROVIDERS)}")
    available = available_devices()
    if device == "auto":
        return PROVIDERS[next(name for name in FASTEST_FIRST if name in available)]
    if device not in available:
        extra = f": pip install 'manypose[{EXTRAS[device]}]'" if device in EXTRAS else ""
        here = ", ".join(available)
        raise DeviceError(f"device {device!r}: the installed ONNX Runtime has only {here}{extra}")
    return PROVIDERS[device]


def _device_of(provider: str) -> str:
    return next(device for device, name in PROVIDERS.items() if name == provider)


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    # Threads that spin while they wait burn several times the CPU on a shared machine for no gain in speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _read_metadata(path: Path, session: onnxruntime.InferenceSession) -> Metadata:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path}: an ONNX model without manypose's metadata; export it with `manypose export`")
    try:
        metadata = Metadata.model_validate(json.loads(text))
    except (json.JSONDecodeError, pydantic.ValidationError) as error:
        raise ModelError(f"{path}: its metadata are faulty: {_faults(error)}") from None
    inputs, outputs = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
    if metadata.input.name not in inputs or not set(metadata.outputs) <= outputs:
        raise ModelError(f"{path}: its metadata name inputs or outputs that the network does not have")
    if set(metadata.outputs.values()) != {"heatmaps", "fields"}:
        raise ModelError(f"{path}: its metadata must name one output of heatmaps and one of fields")
    return metadata


def _faults(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()[:5])
    return str(error)
