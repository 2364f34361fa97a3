"""Weights of PyTorch (.pth, .pt, .ckpt, .pth.tar): tensors only; what else a file would have run is refused.

Checkpoints wrap the state dict in another one, beside the optimiser's state and counters, and add prefixes to its
names; both are taken off here.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.convert.binary import Budget, as_float32, check_file, collect, load_bytes, naming
from manypose.errors import ModelError, require

if TYPE_CHECKING:
    import torch

    from manypose.convert.layout import Tensors

# Before 2020: no zip file but several pickles one after the other, of which the first is this number.
LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
WRAPPERS = ("state_dict", "model_state_dict", "best_state_dict", "model_state", "model", "network", "net", "generator")
PREFIXES = ("module.", "model.", "network.", "net.", "_orig_mod.")
DEEPEST = 4  # dicts inside one another until the tensors

# Whatever torch.load raises where bits of a file are wrong.
BROKEN = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    OSError,
    MemoryError,
    ImportError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)


def read(path: Path) -> Tensors:
    """Every tensor of the file's state dict by its name there; those of bfloat16, which numpy lacks, in float32.

    Raises `ModelError` when the file is not PyTorch's, is damaged, holds no state dict or several, or needs more
    than tensors and plain values, in which case the message names the class that it asks for.
    """
    require("torch", extra="train")
    with naming(path):
        size = check_file(path)
        state = find_state(_load(path))
        with _tensors_only_faults():
            _check_sizes(state, size)
            return collect((name, as_numpy(tensor)) for name, tensor in state.items())


def to_torch(tensors: Tensors) -> Tensors:
    """The tensors in float32, without a prefix that all names share."""
    return {name: as_float32(tensor) for name, tensor in without_prefix(tensors).items()}


def without_prefix(tensors: Tensors) -> Tensors:
    """The tensors without what wrappers put in front of all names: `module.`, `model.`, `network.` ...

    A prefix that only some names have stays, and so does one before a number: `model.0.weight` is the layer 0 of a
    sequence that the network calls `model`.
    """
    while prefix := next((prefix for prefix in PREFIXES if _is_shared(prefix, tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _is_shared(prefix: str, names: Iterable[str]) -> bool:
    rests = [name.removeprefix(prefix) if name.startswith(prefix) else "" for name in names]
    return bool(rests) and all(rest and not rest[0].isdigit() for rest in rests)


def as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """A copy of a tensor's values; types that numpy does not have become float32."""
    import torch

    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return np.array(tensor.detach().numpy())


def find_state(loaded: object) -> dict[str, torch.Tensor]:
    """The state dict inside of what a checkpoint holds; raises `ModelError` when there is none, or no telling which."""
    found = _search(loaded, depth=0)
    if not found:
        raise ModelError(f"holds no state dict, only {_describe(loaded)}; save model.state_dict()")
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise ModelError(f"holds several state dicts ({names}); save the one of the network alone")
    return next(iter(found.values()))


def _search(loaded: object, *, depth: int) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts by the key that they stand under."""
    if not isinstance(loaded, Mapping) or depth == DEEPEST:
        return {}
    for wrapper in WRAPPERS:
        inner = _search(loaded.get(wrapper), depth=depth + 1)
        if inner:
            return inner if len(inner) > 1 else {wrapper: next(iter(inner.values()))}
    own = _tensors_of(loaded)
    if own:
        return {"": own}
    # Steps of an optimiser are tensors too, but their keys are numbers.
    return {str(key): state for key, value in loaded.items() if (state := _tensors_of(value))}


def _tensors_of(value: object) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(value, Mapping):
        return {}
    return {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, torch.Tensor)}


def _describe(loaded: object, most: int = 8) -> str:
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    keys = ", ".join(repr(key)[:40] for key in list(loaded)[:most])
    return f"a dict of {keys}{' ...' if len(loaded) > most else ''}" if loaded else "an empty dict"


def _load(path: Path) -> object:
    import torch

    with open(path, "rb") as file:
        is_legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
    if not is_legacy:
        _check_archive(path)
    with warnings.catch_warnings(), _tensors_only_faults():
        warnings.simplefilter("ignore")  # about TorchScript and old storages; whatever matters is raised
        if is_legacy:
            return torch.load(io.BytesIO(load_bytes(path)), weights_only=True, map_location="cpu")
        # Mapped storages cannot grow: a size that a damaged file states is refused and never allocated.
        return torch.load(path, weights_only=True, map_location="cpu", mmap=True)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, LookupError, struct.error, EOFError) as error:
        raise ModelError(f"not a file that torch.save wrote, or cut off: {error}; fetch it again") from None
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ModelError("has been packed again; torch.save stores tensors unpacked: unzip it, or fetch it again")
    if any(member.filename.endswith("constants.pkl") for member in members):
        raise ModelError("a TorchScript program, not weights; save its state_dict() where it can be run")


@contextlib.contextmanager
def _tensors_only_faults() -> Iterator[None]:
    """What torch says of a faulty file, in one line."""
    try:
        yield
    except ModelError:
        raise
    except BROKEN as error:
        text = str(error)
        asked = re.search(r"(?:GLOBAL|class|Unsupported (?:global|class)[^\n]*?) ([\w.]+\.[\w]+)", text)
        if isinstance(error, pickle.UnpicklingError) and asked:
            raise ModelError(
                f"holds Python objects beside tensors ({asked[1]}), and a stranger's objects are not run; "
                "where the file was made, save model.state_dict() alone"
            ) from None
        raise ModelError(f"not a file that torch.save wrote, or damaged: {' '.join(text.split())[:200]}") from None


def _check_sizes(state: Mapping[str, torch.Tensor], file_size: int) -> None:
    """Strides may spread few bytes over a tensor of any size, and many tensors may share the same ones."""
    import torch

    budget = Budget(file_size)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise ModelError(f"the tensor {name} is sparse, quantised, complex or without values; save it dense")
        budget.spend_on(tensor.shape, tensor.element_size())
