"""Model: one ONNX file with everything that running it needs in its metadata, and the list of shipped models."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from manypose import adapters, published
from manypose.codecs.fields import FieldsCodec
from manypose.codecs.grouping import DecoderSettings
from manypose.errors import DeviceError, ModelError, SkeletonError
from manypose.files import sha256_of
from manypose.metadata import FieldSettings, InputSettings, Metadata, faults_of
from manypose.sessions import EXTRAS, PROVIDERS, available_devices, device_of, open_session, providers_of
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict

Array = NDArray[np.float32]

__all__ = [
    "EXTRAS",
    "PROVIDERS",
    "FieldSettings",
    "InputSettings",
    "Metadata",
    "Model",
    "available_devices",
    "find_model",
    "load_model",
    "named_models",
    "shipped_models",
]

METADATA_KEY = "manypose"
DEFAULT = "ladder"
LONGEST_METADATA = 1_000_000  # characters; ours take a few thousand
MAX_BYTES = 2**31 - 1  # what one ONNX file can hold
_KINDS = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int32": "tensor(int32)"}


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
        """Meaning and decoding of a bottom-up model's maps; raises `ModelError` for settings that do not exist."""
        maps = self._field_settings
        known = dataclasses.asdict(DecoderSettings())
        unknown = sorted(set(maps.decoder) - set(known))
        if unknown:
            names = ", ".join(known)
            raise ModelError(f"{self.path}: metadata, maps.decoder: unknown setting {unknown[0]!r}; there are {names}")
        try:
            decoder = DecoderSettings(**{name: type(known[name])(value) for name, value in maps.decoder.items()})
        except ModelError as error:
            raise ModelError(f"{self.path}: metadata, maps.decoder: {error}") from None
        settings = maps.model_dump(include={"stride", "sigma", "limb_width", "field_offset"})
        return FieldsCodec(self.skeleton, decoder=decoder, **settings)

    @property
    def _field_settings(self) -> FieldSettings:
        if not isinstance(self.metadata.maps, FieldSettings):
            raise ModelError(f"{self.path}: a {self.metadata.task} model, which has no part affinity fields")
        return self.metadata.maps

    @cached_property
    def sha256(self) -> str:
        """Hash of the model file."""
        return sha256_of(self.path)

    @cached_property
    def batch_size(self) -> int | None:
        """How many pictures the network takes at once; None for any number."""
        shapes = {value.name: value.shape for value in self.session.get_inputs()}
        size = shapes[self.metadata.input.name][0]
        return size if isinstance(size, int) else None

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> NDArray[Any]:
        """Pictures of one size, RGB (h, w, 3), as the network's input: (B, 3, h, w), or (B, h, w, 3) for "nhwc"."""
        settings = self.metadata.input
        single = not isinstance(settings.scale, tuple)
        # OpenCV takes the mean in the order of the colours that come out, as the metadata give it.
        batch = cv2.dnn.blobFromImages(
            pictures,
            scalefactor=settings.scales[0] if single else 1.0,
            mean=settings.mean,
            swapRB=settings.colours == "bgr",
            crop=False,
        )
        if not single:
            batch = batch * np.array(settings.scales, np.float32)[:, None, None]
        if settings.layout == "nhwc":
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        return np.asarray(batch, np.dtype(settings.dtype))

    def run(self, batch: NDArray[Any]) -> dict[str, Array]:
        """A bottom-up network's maps by meaning ("heatmaps", "fields"), each (B, channels, h, w).

        Raises `ModelError` when the runtime fails, for example for want of memory on the device, and when the maps do
        not have the stride that the metadata give.
        """
        settings = self._field_settings
        maps: dict[str, Array] = {}
        for meaning, (array,) in self.infer(batch).items():
            array = array.transpose(0, 3, 1, 2) if settings.layout == "nhwc" and array.ndim == 4 else array
            self._check_grid(meaning, array, batch)
            joined = meaning.split("+")
            first = len(self.skeleton) + 1 if joined[0] == "heatmaps" else 2 * len(self.skeleton.fields)
            parts = (array,) if len(joined) == 1 else (array[:, :first], array[:, first:])
            maps |= dict(zip(joined, parts, strict=True))
        return maps

    def infer(self, batch: NDArray[Any], **others: NDArray[Any]) -> dict[str, list[Array]]:
        """The network's outputs by meaning, those of one meaning in the order of the metadata, as they come.

        `others` are further inputs by name. A batch of another size than the network takes is run in pieces; the last
        one is filled up. Raises `ModelError` when the runtime fails.
        """
        size = self.batch_size or len(batch)
        pieces = []
        for start in range(0, len(batch), size):
            piece = batch[start : start + size]
            missing = size - len(piece)
            filled = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
            results = self._run_session(filled, others)
            pieces.append([array[: len(piece)] for array in results] if missing else results)
        outputs: dict[str, list[Array]] = {}
        for meaning, arrays in zip(self.metadata.outputs.values(), zip(*pieces, strict=True), strict=True):
            outputs.setdefault(meaning, []).append(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        return outputs

    def _run_session(self, batch: NDArray[Any], others: dict[str, NDArray[Any]]) -> list[Array]:
        try:
            results = self.session.run(list(self.metadata.outputs), {self.metadata.input.name: batch, **others})
        except Exception as error:  # the runtime's own errors have no common base but Exception
            why = " ".join(str(error).split())[:300]
            raise ModelError(f"{self.path}: cannot run pictures of shape {batch.shape}: {why}") from None
        return [np.asarray(result) for result in results]

    def _check_grid(self, name: str, array: Array, batch: NDArray[Any]) -> None:
        stride = self._field_settings.stride
        sides = batch.shape[1:3] if self.metadata.input.layout == "nhwc" else batch.shape[2:]
        grid = tuple(-(-side // stride) for side in sides)
        if array.ndim != 4 or (len(array), *array.shape[2:]) != (len(batch), *grid):
            expected = f"({len(batch)}, channels, {grid[0]}, {grid[1]})"
            raise ModelError(
                f"{self.path}: the {name} have shape {array.shape}, expected {expected} for the stride of "
                f"{stride} that its metadata give"
            )


def load_model(model: str | Path = "default", *, device: str = "auto", threads: int = 0) -> Model:
    """Open a model: the path of an ONNX file, the name of a shipped model, or "default".

    `device` is "auto" or one of `PROVIDERS`; one that is asked for and cannot be had is refused, never replaced.
    `threads` is how many of the CPU's are used, 0 for all; they do not spin while they wait.

    A file of another project, without our metadata, is described by the YAML beside it or recognised by its inputs and
    outputs, see `adapters.describe`.

    Weights beside the file, as PyTorch's exporter writes them, are read where they lie in its own folder.

    Raises `ModelError` for a file that is missing, broken or not known, `DeviceError` for the device.
    """
    path = find_model(model)
    providers = providers_of(device)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than an ONNX file can be")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    session = open_session(path, content, providers, threads)
    if session is None:
        raise DeviceError(
            f"device {device!r}: {providers[0]} is installed but does not start here; try `manypose doctor`"
        )
    started = device_of(session.get_providers()[0])
    opened = Model(path=path, metadata=_read_metadata(path, content, session), session=session, device=started)
    _check_meaning(opened)
    return opened


def find_model(model: str | Path) -> Path:
    """The file of a model by path, by shipped name or by that of a published one which was fetched.

    Raises `ModelError` that lists the names.
    """
    shipped = shipped_models()
    name = DEFAULT if model == "default" else str(model)
    if name in shipped:
        return shipped[name]
    file = published.cached_model(name)
    if file is not None:
        return file
    path = Path(model)
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the ONNX file in it")
    if not path.is_file():
        names = ", ".join(shipped) or "none"
        cached = ", ".join(published.cached_models())
        fetched = f", the fetched ones {cached}" if cached else ""
        raise ModelError(
            f"{path}: no such file, and no shipped model is called that; the shipped ones are {names}{fetched}"
            f"{published.hint(name)}"
        )
    return path


def shipped_models() -> dict[str, Path]:
    """The models that come with manypose: name -> file."""
    folder = Path(str(resources.files("manypose").joinpath("zoo")))
    return {file.stem: file for file in sorted(folder.glob("*.onnx"))}


def named_models() -> dict[str, Path]:
    """All that go by name: the shipped ones, then the published ones that this user has fetched: name -> file."""
    return shipped_models() | published.cached_models()


def _read_metadata(path: Path, content: bytes, session: onnxruntime.InferenceSession) -> Metadata:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        metadata = adapters.describe(path, _signature(session, content))
    else:
        try:
            if len(text) > LONGEST_METADATA:
                raise ValueError(f"{len(text)} characters long")
            metadata = Metadata.model_validate(json.loads(text))
        except (ValueError, RecursionError) as error:  # pydantic's and json's errors are ValueErrors
            raise ModelError(f"{path}: its metadata are faulty: {faults_of(error)}") from None
    inputs, outputs = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
    named = {metadata.input.name} | ({metadata.input.resized_by} - {None})
    if not named <= inputs or not set(metadata.outputs) <= outputs:
        raise ModelError(f"{path}: its metadata name inputs or outputs that the network does not have")
    return metadata


def _signature(session: onnxruntime.InferenceSession, content: bytes) -> adapters.Signature:
    def values(given: Any) -> tuple[adapters.Value, ...]:
        return tuple(
            adapters.Value(v.name, v.type, tuple(side if isinstance(side, int) else None for side in v.shape))
            for v in given
        )

    properties = session.get_modelmeta().custom_metadata_map
    return adapters.Signature(values(session.get_inputs()), values(session.get_outputs()), properties, content)


def _check_meaning(model: Model) -> None:
    """Raise `ModelError` where the metadata mean nothing here or the network takes no pictures of their size."""
    metadata = model.metadata
    try:
        skeleton = model.skeleton
        if isinstance(metadata.maps, FieldSettings):
            _ = model.codec
    except SkeletonError as error:
        raise ModelError(f"{model.path}: its metadata are faulty: {error}") from None
    given = {value.name: value for value in [*model.session.get_inputs(), *model.session.get_outputs()]}
    size = metadata.input.size
    width, height = size if size is not None else ("width", "height")
    kind = _KINDS[metadata.input.dtype]
    shape = _in_layout(metadata.input.layout, "batch", 3, height, width)
    _check_value(model, given[metadata.input.name], kind, shape, ", height and width" if size is None else "")
    fields = 2 * len(skeleton.fields)
    for name, meaning in metadata.outputs.items():
        layout = getattr(metadata.maps, "layout", "nchw")
        background = getattr(metadata.maps, "background", metadata.task == "bottom-up")
        heatmaps = len(skeleton) + bool(background)
        channels = {"heatmaps": heatmaps, "fields": fields}
        if set(meaning.split("+")) <= set(channels):
            count = sum(channels[part] for part in meaning.split("+"))
            # An output's size follows from the input's, and may be unknown to the runtime or not.
            shape = _in_layout(layout, "batch", count, *(("height", "width") if size is None else (None, None)))
            _check_value(model, given[name], "tensor(float)", shape, ", height and width" if size is None else "")


def _in_layout(layout: str, batch: Any, channels: Any, height: Any, width: Any) -> list[Any]:
    return [batch, height, width, channels] if layout == "nhwc" else [batch, channels, height, width]


def _check_value(model: Model, value: Any, kind: str, shape: list[Any], dynamic: str) -> None:
    """An input or output against what is expected: numbers, names for sides that must be free, None for any."""
    fits = len(value.shape) == len(shape) and value.type == kind
    for seen, wanted in zip(value.shape, shape, strict=False):
        if not isinstance(seen, int):
            continue  # a side may be unknown to the runtime; the decoder looks at it again
        # Only networks that take one size, as others export them, may take one batch.
        fits &= seen == wanted if isinstance(wanted, int) else wanted is None or (wanted == "batch" and not dynamic)
    if not fits:
        hint = f"; export the model with dynamic batch{dynamic}" if dynamic else ""
        expected = ["any" if side is None else side for side in shape]
        raise ModelError(f"{model.path}: {value.name} is {value.type} {value.shape}, expected {kind} {expected}{hint}")
