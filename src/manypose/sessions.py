"""Sessions of ONNX Runtime: which devices there are, and a model file opened on one of them."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from manypose.errors import DeviceError, ModelError

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
EXTRAS = {"cuda": "gpu", "tensorrt": "gpu"}
HELPERS = {"TensorrtExecutionProvider": ["CUDAExecutionProvider"]}  # run, on the same device, what one cannot
WEIGHTS = (".caffemodel", ".h5", ".hdf5", ".params", ".npz", ".pth", ".pt", ".ckpt", ".tar", ".safetensors")
WEIGHTS_BEGIN = (b"PK\x03\x04", b"\x89HDF", b"\x80\x02")  # zip archives (PyTorch, NumPy), HDF5, pickles
CONFINES_FILES = (1, 24)  # the first ONNX Runtime that reads no file outside the folder that it is given
FASTEST_FIRST = ("cuda", "rocm", "directml", "cpu")  # those that "auto" tries; the others need settings to pay
INSIDE = "put the weights inside: onnx.save(onnx.load(FILE), NEW_FILE, save_as_external_data=False)"


def available_devices() -> list[str]:
    """The devices whose providers the installed ONNX Runtime has."""
    installed = onnxruntime.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in installed]


def providers_of(device: str) -> list[str]:
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


def open_session(path: Path, content: bytes, providers: list[str], threads: int) -> onnxruntime.InferenceSession | None:
    """A session with the first of the providers that starts; None when the runtime put another in its place.

    `path` is that of the file with this content; weights that it keeps in other files are read in its folder only.
    Raises `ModelError` for what is no model, or cannot be run.
    """
    _check_confined(path, content)
    fault: Exception | None = None
    for provider in providers:
        try:
            # The runtime's own way back to the CPU is silent for the caller and loud on stdout.
            session = onnxruntime.InferenceSession(
                content,
                _session_options(path, threads),
                providers=[provider, *HELPERS.get(provider, [])],
                enable_fallback=0,
            )
        except Exception as error:  # the runtime's own errors have no common base but Exception
            fault = error
        else:
            if session.get_providers()[0] == provider:
                return session
    if fault:
        raise ModelError(f"{path}: {_reason(path, content, str(fault), device_of(providers[-1]))}") from None
    return None


def _reason(path: Path, content: bytes, fault: str, device: str) -> str:
    """Why a file cannot be run, from what it is and what the runtime says."""
    header = content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)  # of safetensors
    if path.suffix.lower() in WEIGHTS or content.startswith(WEIGHTS_BEGIN) or header:
        return f"weights, not a model file; `manypose convert {path} -o NAME.onnx` makes one"
    lower = fault.lower()
    if "external data path does not exist" in lower:
        return f"its weights lie in another file, which is missing; put it into the folder {path.absolute().parent}"
    if any(words in lower for words in ("external data path", "external initializer", "data of tensorproto")):
        return f"its weights lie in another file, which is cut off or outside the model's own folder; {INSIDE}"
    return f"not an ONNX model that can be run on the device {device}: {' '.join(fault.split())[:300]}"


def _check_confined(path: Path, content: bytes) -> None:
    """Refuse weights in other files where the runtime would read them from anywhere."""
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    # No file can be named without the key "location", which lies in the content as it is.
    if version < CONFINES_FILES and b"location" in content:
        raise ModelError(
            f"{path}: may keep weights in other files, which ONNX Runtime {onnxruntime.__version__} would read from "
            f"anywhere; pip install 'onnxruntime>=1.24', or {INSIDE}"
        )


def device_of(provider: str) -> str:
    return next(device for device, name in PROVIDERS.items() if name == provider)


def _session_options(path: Path, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    # Threads that spin while they wait burn several times the CPU on a shared machine for no gain in speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # A model may keep its weights in files beside it; the runtime refuses those that lie outside this folder.
    folder = str(path.absolute().parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return options
