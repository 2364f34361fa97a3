"""Truncated and bit-flipped files of weights give their tensors or a `ManyposeError`, and nothing else ever."""

from __future__ import annotations

import contextlib
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import writers
from forked_reader import forked_readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manypose.errors import ManyposeError

for package in ("torch", "h5py", "safetensors", "onnx"):
    pytest.importorskip(package, reason="needs the extra [train]")

from manypose.convert.export import read_weights  # noqa: E402
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
MOST_MEMORY = 256 << 20  # bytes by which one format's mutations may raise the peak of the process that reads them


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

    before = peak_memory(kind)
    with forked_readers("manypose.convert.keras") if kind == "keras" else contextlib.nullcontext():
        check()
    assert peak_memory(kind) - before < MOST_MEMORY
    assert sum(answers.values()) >= mutations  # every refusal names the file
    assert answers["refused"] > mutations // 10


def peak_memory(kind: Format) -> int:
    """Bytes of this process, or of the largest of the processes that read Keras's files; Linux counts in kilobytes."""
    whose = resource.RUSAGE_CHILDREN if kind == "keras" else resource.RUSAGE_SELF
    return resource.getrusage(whose).ru_maxrss * 1024


@pytest.mark.parametrize("kind", GOLDENS)
def test_damaged_files_are_read_or_refused(kind: Format, tmp_path: Path) -> None:
    check_damaged_files(kind, tmp_path, mutations=200)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", GOLDENS)
def test_ten_times_as_many_damaged_files_are_read_or_refused(kind: Format, tmp_path: Path) -> None:
    check_damaged_files(kind, tmp_path, mutations=2000)


# Files that are well formed, small, and ask for much memory ---------------------------------------------------------

LIMIT = 768 << 20  # bytes that reading one of them may take, its libraries among them
READ_WITHIN_THE_LIMIT = """
import resource, sys
import onnx, manypose.convert.weights as weights
from manypose.errors import ModelError
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    weights.read_weight_file(sys.argv[1])
except ModelError as error:
    print(error)
"""


def sparse_of_mxnet(folder: Path) -> Path:
    """400 arrays of 64 MB, of which no row is stored."""
    head = struct.pack("<Ii iqq iqq ii i iiq", 0xF993FAC9, 1, 2, 0, 1 << 12, 2, 1 << 12, 1 << 12, 1, 0, 0, 6, 1, 0)
    file = folder / "x.params"
    file.write_bytes(writers.mxnet_list([head] * 400, [f"layer{number}_weight" for number in range(400)]))
    return file


def keras_file(folder: Path, datasets: int, **settings: object) -> Path:
    import h5py

    file = folder / "x.h5"
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = np.array([b"conv"])
        group = opened.create_group("conv")
        group.attrs["weight_names"] = np.array([f"kernel{number}:0".encode() for number in range(datasets)])
        for number in range(datasets):
            group.create_dataset(f"kernel{number}:0", **settings)
    return file


def unwritten_chunks_of_keras(folder: Path) -> Path:
    """100 arrays of 256 MB, of which one value in the first chunk is stored."""
    file = keras_file(folder, 100, shape=(1 << 26,), dtype="f4", chunks=(1 << 16,), compression="gzip")
    import h5py

    with h5py.File(file, "a") as opened:
        for dataset in opened["conv"].values():
            dataset[0] = 1
    return file


def packed_zeros_of_keras(folder: Path) -> Path:
    zeros = np.zeros(10 << 20, "f4")
    return keras_file(folder, 3, data=zeros, chunks=(1 << 20,), compression="gzip")


def chunk_of_keras_that_unpacks_to_more_than_it_states(folder: Path) -> Path:
    import h5py

    file = keras_file(folder, 1, shape=(1024,), dtype="f4", chunks=(1024,), compression="gzip")
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    with h5py.File(file, "a") as opened:
        opened["conv/kernel0:0"].id.write_direct_chunk((0,), packed)
    return file


def names_of_one_onnx_tensor(folder: Path) -> Path:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.zeros(1 << 20, "f4"), "network.first.weight")
    names = [f"network.layer{number}.weight" for number in range(2000)]
    nodes = [onnx.helper.make_node("Identity", ["network.first.weight"], [name]) for name in names]
    file = folder / "x.onnx"
    file.write_bytes(onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", [], [], [tensor])).SerializeToString())
    return file


def onnx_tensors_over_the_same_bytes(folder: Path) -> Path:
    import onnx

    (folder / "values.bin").write_bytes(bytes(4 << 20))
    tensors = []
    for number in range(2000):
        tensor = onnx.TensorProto(name=f"network.layer{number}.weight", dims=[1 << 20], data_type=1, data_location=1)
        tensor.external_data.add(key="location", value="values.bin")
        tensors.append(tensor)
    file = folder / "x.onnx"
    file.write_bytes(onnx.helper.make_model(onnx.helper.make_graph([], "net", [], [], tensors)).SerializeToString())
    return file


def packed_zeros_of_chainer(folder: Path) -> Path:
    np.savez_compressed(folder / "x.npz", **{f"conv{number}/W": np.zeros(1 << 24, "f4") for number in range(4)})
    return folder / "x.npz"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to a limit of memory")
@pytest.mark.parametrize(
    ("craft", "said"),
    [
        (sparse_of_mxnet, "damaged or unsafe: it states"),
        (unwritten_chunks_of_keras, "most of which was never written"),
        (packed_zeros_of_keras, "damaged or unsafe: it states"),
        (chunk_of_keras_that_unpacks_to_more_than_it_states, "cannot be read"),
        (names_of_one_onnx_tensor, "damaged or unsafe: it states"),
        (onnx_tensors_over_the_same_bytes, "damaged or unsafe: it states"),
        (packed_zeros_of_chainer, "damaged or unsafe: it states"),
    ],
)
def test_small_files_that_ask_for_much_memory_are_refused_before_they_get_it(
    craft: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    file = craft(tmp_path)
    assert file.stat().st_size < 6 << 20
    answer = subprocess.run(
        [sys.executable, "-c", READ_WITHIN_THE_LIMIT, str(file), str(LIMIT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.stdout.startswith(f"{file}: "), answer.stderr
    assert said in answer.stdout


@pytest.mark.parametrize(
    ("craft", "said"),
    [
        (names_of_one_onnx_tensor, "damaged or unsafe: it states"),
        (onnx_tensors_over_the_same_bytes, "its weights are in other files"),
    ],
)
def test_a_model_file_that_asks_for_much_memory_is_refused(
    craft: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ManyposeError, match=rf"x\.onnx: {said}"):
        read_weights(craft(tmp_path))


def test_equal_tensors_that_a_graph_stores_once_are_read_by_all_their_names(tmp_path: Path) -> None:
    import onnx

    zeros = onnx.numpy_helper.from_array(np.zeros(512, "f4"), "network.0.bias")
    nodes = [onnx.helper.make_node("Identity", ["network.0.bias"], [f"network.{layer}.bias"]) for layer in range(1, 60)]
    graph = onnx.helper.make_graph(nodes, "net", [], [], [zeros])
    (tmp_path / "x.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert len(read_weight_file(tmp_path / "x.onnx").tensors) == 60
    assert len(read_weights(tmp_path / "x.onnx")) == 60


def test_tensors_beyond_the_memory_of_the_machine_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    (tmp_path / "x.params").write_bytes(writers.mxnet(writers.some_tensors()))
    monkeypatch.setattr("manypose.convert.mxnet.read", fail)
    with pytest.raises(ManyposeError, match=r"x\.params: its tensors take more memory than this machine has left"):
        read_weight_file(tmp_path / "x.params")
