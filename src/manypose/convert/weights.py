"""A file of weights in any format: what it is, the tensors as it stores them, and the same as PyTorch would."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from manypose.convert import caffe, chainer, keras, mxnet, onnx_file, pytorch, safetensors_file
from manypose.convert.binary import check_file, naming
from manypose.errors import ModelError
from manypose.files import sha256_of

if TYPE_CHECKING:
    from manypose.convert.layout import Tensors

Format = Literal["caffe", "keras", "mxnet", "chainer", "pytorch", "safetensors", "onnx"]

MODULES: dict[Format, ModuleType] = {
    "caffe": caffe,
    "keras": keras,
    "mxnet": mxnet,
    "chainer": chainer,
    "pytorch": pytorch,
    "safetensors": safetensors_file,
    "onnx": onnx_file,
}
SUFFIXES: dict[str, Format] = {
    ".caffemodel": "caffe",
    ".h5": "keras",
    ".hdf5": "keras",
    ".params": "mxnet",
    ".npz": "chainer",
    ".pth": "pytorch",
    ".pt": "pytorch",
    ".ckpt": "pytorch",
    ".tar": "pytorch",  # .pth.tar, which is no tar file
    ".safetensors": "safetensors",
    ".onnx": "onnx",
}
ZIP = b"PK\x03\x04"


@dataclass(frozen=True, eq=False)
class WeightFile:
    """The tensors of a file: `stored` by the file's own names in its own axes, `tensors` as PyTorch has them.

    `tensors` are float32 by `<layer>.weight`, `.bias`, `.running_mean` and `.running_var`, kernels (out, in, kh, kw).
    `sha256` is that of the file, in hexadecimal digits.
    """

    path: Path
    format: Format
    stored: Tensors
    tensors: Tensors
    sha256: str


def read_weight_file(path: str | Path, *, format: Format | None = None) -> WeightFile:
    """Read a file of weights; its format is told by its content, where that tells nothing by its suffix.

    Raises `ModelError` that names the file when it is not to be had, is of no known format, is damaged, or would have
    to run what a stranger wrote.
    """
    path = Path(path)
    with naming(path):
        check_file(path)
        chosen = format or tell_format(path)
        if chosen not in MODULES:
            raise ModelError(f"no format is called {chosen!r}; there are {', '.join(MODULES)}")
    try:
        stored: Tensors = MODULES[chosen].read(path)
        with naming(path):
            return WeightFile(path, chosen, stored, MODULES[chosen].to_torch(stored), sha256_of(path))
    except MemoryError:  # the readers refuse what is out of proportion to the file; this machine may have still less
        raise ModelError(f"{path}: its tensors take more memory than this machine has left; free some") from None


def tell_format(path: Path) -> Format:
    """The format of a file; raises `ModelError` where neither its content nor its suffix is known."""
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(keras.SIGNATURE):
        return "keras"
    if start.startswith(mxnet.START):
        return "mxnet"
    if start.startswith(pytorch.LEGACY_MAGIC):
        return "pytorch"
    if start.startswith(ZIP):
        return _tell_archive(path)
    # The length of a header, and the header: JSON.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelError(f"no known file of weights by content or suffix; known are {', '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


def _tell_archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, LookupError) as error:
        raise ModelError(f"a zip file that is damaged or cut off: {error}; fetch it again") from None
    if any(name.endswith("data.pkl") for name in names):
        return "pytorch"
    if any(name.endswith(".npy") for name in names):
        return "chainer"
    if "model.weights.h5" in names:
        raise ModelError("a file of Keras 3's own kind; save it as a legacy one: model.save('weights.h5')")
    seen = ", ".join(names[:6]) or "nothing"
    raise ModelError(f"a zip file that holds neither arrays nor tensors; it holds {seen}; unpack it first")
