"""Truncated and bit-flipped files of weights give their tensors or a `ManyposeError`, and nothing else ever."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import writers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manypose.errors import ManyposeError

for package in ("torch", "h5py", "safetensors", "onnx"):
    pytest.importorskip(package, reason="needs the extra [train]")

from manypose.convert.weights import Format, read_weight_file  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.golden]

FORMATS = Path(__file__).parents[1] / "goldens" / "formats"
GOLDENS: dict[Format, tuple[str, ...]] = {
    "caffe": ("caffe_*.caffemodel",),
    "keras": ("keras_*.h5",),
    "mxnet": ("mx_*.params",),
    "chainer": ("chainer_tiny.npz",),
    "pytorch": (),
    "safetensors": (),
    "onnx": (),
}
MOST_MEMORY = 256 << 20  # bytes by which one format's mutations may raise the peak of the process


def seeds_of(kind: Format) -> list[bytes]:
    """Every golden of a format, and a file of each way to write it."""
    tensors = writers.with_batch_norm(writers.some_tensors())
    tensors = writers.some_tensors() if kind == "caffe" else tensors
    written = [write(tensors) for way, write in writers.WAYS.items() if writers.format_of(way) == kind]
    return written + [file.read_bytes() for pattern in GOLDENS[kind] for file in sorted(FORMATS.glob(pattern))]


@st.composite
def damaged(draw: Callable[..., object], seeds: list[bytes]) -> bytes:
    """A file with a few bits or bytes changed, mostly near its start where the lengths are, or cut off, or grown."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.one_of(st.integers(0, min(len(content), 2048) - 1), st.integers(0, len(content) - 1)))
        flipped = content[place] ^ 1 << draw(st.integers(0, 7))
        content[place] = draw(st.one_of(st.just(flipped), st.sampled_from((0, 1, 0x7F, 0xFF)), st.integers(0, 255)))
    how = draw(st.sampled_from(("keep", "keep", "keep", "cut off", "take out", "put in")))
    place = draw(st.integers(0, len(content)))
    if how == "cut off":
        del content[place:]
    elif how == "take out":
        del content[place : place + draw(st.integers(1, 64))]
    elif how == "put in":
        content[place:place] = draw(st.binary(min_size=1, max_size=32))
    return bytes(content)


def check_damaged_files(kind: Format, folder: Path, *, mutations: int) -> None:
    seeds = seeds_of(kind)
    file = folder / "weights.bin"
    for seed in seeds:
        file.write_bytes(seed)
        assert read_weight_file(file, format=kind).tensors
    answers = {"read": 0, "refused": 0}

    @settings(
        max_examples=mutations,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(seeds))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            tensors = read_weight_file(file, format=kind).tensors
        except ManyposeError as error:
            answers["refused"] += str(file) in str(error)
        else:
            assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())
            answers["read"] += 1

    before = peak_memory()
    check()
    assert peak_memory() - before < MOST_MEMORY
    assert sum(answers.values()) >= mutations  # every refusal names the file
    assert answers["refused"] > mutations // 10


def peak_memory() -> int:
    """Bytes; Linux counts in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", GOLDENS)
def test_damaged_files_are_read_or_refused(kind: Format, tmp_path: Path) -> None:
    check_damaged_files(kind, tmp_path, mutations=200)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", GOLDENS)
def test_ten_times_as_many_damaged_files_are_read_or_refused(kind: Format, tmp_path: Path) -> None:
    check_damaged_files(kind, tmp_path, mutations=2000)
