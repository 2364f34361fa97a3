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
FASTEST_FIRST = ("cuda", "rocm", "directml", "cpu")  # those that "auto" tries; the others need settings to pay


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
    """A session with the first of the providers that starts; None when the runtime put another in its place."""
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
        where = device_of(providers[-1])
        reason = " ".join(str(fault).split())[:300]
        raise ModelError(f"{path}: not an ONNX model that can be run on the device {where}: {reason}") from None
    return None


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
    # A model could name other files as the place of its weights; below a file there is none that it could read.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.absolute()))
    return options
