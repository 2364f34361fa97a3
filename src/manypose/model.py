"""Model: one ONNX file with everything that running it needs in its metadata, and the list of shipped models."""

from __future__ import annotations

import dataclasses
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
from manypose.errors import DeviceError, ModelError, SkeletonError, describe_faults
from manypose.files import sha256_of
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict

Array = NDArray[np.float32]

METADATA_KEY = "manypose"
DEFAULT = "ladder"
LONGEST_METADATA = 1_000_000  # characters; ours take a few thousand
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
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


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
        known = dataclasses.asdict(DecoderSettings())
        unknown = sorted(set(maps.decoder) - set(known))
        if unknown:
            names = ", ".join(known)
            raise ModelError(f"{self.path}: metadata, maps.decoder: unknown setting {unknown[0]!r}; there are {names}")
        try:
            decoder = DecoderSettings(**{name: type(known[name])(value) for name, value in maps.decoder.items()})
        except ModelError as error:
            raise ModelError(f"{self.path}: metadata, maps.decoder: {error}") from None
        return FieldsCodec(
            self.skeleton, stride=maps.stride, sigma=maps.sigma, limb_width=maps.limb_width, decoder=decoder
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the model file."""
        return sha256_of(self.path)

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> Array:
        """Pictures of one size, RGB (h, w, 3), as the network's input (B, 3, h, w)."""
        settings = self.metadata.input
        # OpenCV takes the mean in the order of the colours that come out, as the metadata give it.
        blob = cv2.dnn.blobFromImages(
            pictures, scalefactor=settings.scale, mean=settings.mean, swapRB=settings.colours == "bgr", crop=False
        )
        return np.asarray(blob, np.float32)

    def run(self, batch: Array) -> dict[str, Array]:
        """The network's maps by meaning ("heatmaps", "fields"), each (B, channels, h, w).

        Raises `ModelError` when the runtime fails, for example for want of memory on the device, and when the maps do
        not have the stride that the metadata give.
        """
        names = {meaning: name for name, meaning in self.metadata.outputs.items()}
        try:
            results = self.session.run(list(names.values()), {self.metadata.input.name: batch})
        except Exception as error:  # the runtime's own errors have no common base but Exception
            why = " ".join(str(error).split())[:300]
            raise ModelError(f"{self.path}: cannot run pictures of shape {batch.shape}: {why}") from None
        maps = dict(zip(names, results, strict=True))
        stride = self.metadata.maps.stride
        grid = tuple(-(-side // stride) for side in batch.shape[2:])
        for name, array in maps.items():
            if array.ndim != 4 or (len(array), *array.shape[2:]) != (len(batch), *grid):
                expected = f"({len(batch)}, channels, {grid[0]}, {grid[1]})"
                raise ModelError(
                    f"{self.path}: the {name} have shape {array.shape}, expected {expected} for the stride of "
                    f"{stride} that its metadata give"
                )
        return maps


def load_model(model: str | Path = "default", *, device: str = "auto", threads: int = 0) -> Model:
    """Open a model: the path of an ONNX file, the name of a shipped model, or "default".

    `device` is "auto" or one of `PROVIDERS`; one that is asked for and cannot be had is refused, never replaced.
    `threads` is how many of the CPU's are used, 0 for all; they do not spin while they wait.

    Raises `ModelError` for a file that is missing, broken or without our metadata, `DeviceError` for the device.
    """
    path = find_model(model)
    providers = _providers(device)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than an ONNX file can be")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    session = _open_session(path, content, providers, threads)
    if session is None:
        raise DeviceError(
            f"device {device!r}: {providers[0]} is installed but does not start here; try `manypose doctor`"
        )
    started = _device_of(session.get_providers()[0])
    opened = Model(path=path, metadata=_read_metadata(path, session), session=session, device=started)
    _check_meaning(opened)
    return opened


def find_model(model: str | Path) -> Path:
    """The file of a model by path or by shipped name; raises `ModelError` that lists the names."""
    shipped = shipped_models()
    name = DEFAULT if model == "default" else str(model)
    if name in shipped:
        return shipped[name]
    path = Path(model)
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the ONNX file in it")
    if not path.is_file():
        names = ", ".join(shipped) or "none"
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


def _providers(device: str) -> list[str]:
    """The one provider of a device; for "auto" those that are tried, one after the other."""
    if device != "auto" and device not in PROVIDERS:
        raise DeviceError(f"device {device!r} is not one of auto, {', '.join(PROVIDERS)}")
    available = available_devices()
    if device == "auto":
        return [PROVIDERS[name] for name in FASTEST_FIRST if name in available]
    if device not in available:
        extra = f": pip install 'manypose[{EXTRAS[device]}]'" if device in EXTRAS else ""
        here = ", ".join(available)
        raise DeviceError(f"device {device!r}: the installed ONNX Runtime has only {here}{extra}")
    return [PROVIDERS[device]]


def _open_session(
    path: Path, content: bytes, providers: list[str], threads: int
) -> onnxruntime.InferenceSession | None:
    """A session with the first of the providers that starts; None when the runtime put another in its place."""
    fault: Exception | None = None
    for provider in providers:
        try:
            # The runtime's own way back to the CPU is silent for the caller and loud on stdout.
            session = onnxruntime.InferenceSession(
                content, _session_options(path, threads), providers=[provider], enable_fallback=0
            )
        except Exception as error:  # the runtime's own errors have no common base but Exception
            fault = error
        else:
            if session.get_providers()[0] == provider:
                return session
    if fault:
        where = _device_of(providers[-1])
        reason = " ".join(str(fault).split())[:300]
        raise ModelError(f"{path}: not an ONNX model that can be run on the device {where}: {reason}") from None
    return None


def _device_of(provider: str) -> str:
    return next(device for device, name in PROVIDERS.items() if name == provider)


def _session_options(path: Path, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    # Threads that spin while they wait burn several times the CPU on a shared machine for no gain in speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # A model could name other files as the place of its weights; below a file there is none that it could read.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.absolute()))
    return options


def _read_metadata(path: Path, session: onnxruntime.InferenceSession) -> Metadata:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path}: an ONNX model without manypose's metadata; export it with `manypose export`")
    try:
        if len(text) > LONGEST_METADATA:
            raise ValueError(f"{len(text)} characters long")
        metadata = Metadata.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:  # pydantic's and json's errors are ValueErrors
        raise ModelError(f"{path}: its metadata are faulty: {_faults(error)}") from None
    inputs, outputs = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
    if metadata.input.name not in inputs or not set(metadata.outputs) <= outputs:
        raise ModelError(f"{path}: its metadata name inputs or outputs that the network does not have")
    if sorted(metadata.outputs.values()) != ["fields", "heatmaps"]:
        raise ModelError(f"{path}: its metadata must name one output of heatmaps and one of fields")
    return metadata


def _check_meaning(model: Model) -> None:
    """Raise `ModelError` where the metadata mean nothing here or the network takes no pictures of any size."""
    try:
        skeleton = model.codec.skeleton
    except SkeletonError as error:
        raise ModelError(f"{model.path}: its metadata are faulty: {error}") from None
    given = {value.name: value for value in [*model.session.get_inputs(), *model.session.get_outputs()]}
    expected = {"heatmaps": len(skeleton) + 1, "fields": 2 * len(skeleton.fields)}
    channels = {name: expected[meaning] for name, meaning in model.metadata.outputs.items()}
    for name, count in {model.metadata.input.name: 3, **channels}.items():
        kind, shape = given[name].type, given[name].shape
        free = len(shape) == 4 and not any(isinstance(shape[axis], int) for axis in (0, 2, 3))
        # An output's channels may be unknown to the runtime; the decoder looks at them again.
        if kind != "tensor(float)" or not free or (isinstance(shape[1], int) and shape[1] != count):
            raise ModelError(
                f"{model.path}: {name} is {kind} {shape}, expected tensor(float) ['batch', {count}, 'height', 'width'];"
                " export the model with dynamic batch, height and width"
            )


def _faults(error: Exception) -> str:
    return describe_faults(error, most=5) if isinstance(error, pydantic.ValidationError) else str(error)
