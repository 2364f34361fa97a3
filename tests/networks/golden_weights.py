"""Weights drawn from the name and shape of a tensor: tests/goldens/README.md, "Deterministic weights"."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def golden_tensor(name: str, shape: Sequence[int], *, normalised: bool) -> NDArray[np.generic]:
    """The value of one tensor; `normalised`: it belongs to a batch normalisation."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode("utf-8"))))
    if leaf == "weight" and len(shape) >= 2:
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    low, high = {
        ("weight", True): (0.8, 1.2),
        ("weight", False): (0.05, 0.35),
        ("bias", True): (-0.1, 0.1),
        ("bias", False): (-0.05, 0.05),
        ("running_mean", True): (-0.1, 0.1),
        ("running_var", True): (0.8, 1.2),
    }[leaf, normalised]
    return rng.uniform(low, high, shape).astype(np.float32)


def golden_weights(entries: Iterable[tuple[str, Sequence[int]]]) -> dict[str, NDArray[np.generic]]:
    """The values of a whole state dict, given as (name, shape)."""
    entries = list(entries)
    normalised = {name.removesuffix(".running_var") for name, _ in entries if name.endswith(".running_var")}
    return {
        name: golden_tensor(name, shape, normalised=name.rpartition(".")[0] in normalised) for name, shape in entries
    }
