"""The messages of sample servers: what goes in comes out, and what is malformed is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from manypose.data.serving import access, classic, compact
from manypose.data.serving.compact import ROUNDING, End, Sample, Stream
from manypose.errors import DataError, OutputError

STREAM = Stream(seed=3, length=100, epochs=5, part=2, parts=3, split="val")
SIDES = arrays_of.array_shapes(max_dims=4, min_side=0, max_side=5)


def sample() -> dict[str, Any]:
    random = np.random.default_rng(0)
    heatmaps = random.uniform(0, 1, (3, 4, 5)).astype(np.float32)
    heatmaps[:, :2] = 0
    return {
        "picture": random.integers(0, 256, (3, 32, 40)).astype(np.uint8),
        "heatmaps": heatmaps,
        "fields": random.uniform(-1, 1, (4, 4, 5)).astype(np.float32),
        "weights": random.integers(0, 2, (7, 4, 5)).astype(np.uint8),
    }


def back(arrays: dict[str, Any]) -> dict[str, Any]:
    received = compact.unpack(compact.pack_sample(STREAM, 4, 7, arrays))
    assert isinstance(received, Sample)
    return received.arrays


# Compact messages


def test_a_sample_says_which_it_is() -> None:
    received = compact.unpack(compact.pack_sample(STREAM, 4, 7, sample()))
    assert isinstance(received, Sample)
    assert (received.stream, received.epoch, received.index) == (STREAM, 4, 7)
    assert list(received.arrays) == ["picture", "heatmaps", "fields", "weights"]
    assert all(array.flags.writeable for array in received.arrays.values())  # torch asks for it
    assert compact.unpack(compact.pack_end(STREAM, 4)) == End(STREAM, 4)


@given(arrays_of.arrays(st.sampled_from(compact.DTYPES), SIDES))
def test_every_array_comes_back(array: Any) -> None:
    got = back({"array": array})["array"]
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    within = array.dtype == np.float32 and (np.abs(array) <= 1).all()
    np.testing.assert_allclose(got, array, rtol=0, atol=ROUNDING if within else 0)


def test_only_maps_are_rounded() -> None:
    joints = np.array([[300.3, 17.123456], [np.nan, np.inf]], np.float32)
    np.testing.assert_array_equal(back({"joints": joints})["joints"], joints)
    got = back(sample())
    for name, array in sample().items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=ROUNDING if array.dtype == np.float32 else 0)


def test_other_kinds_of_arrays_are_refused() -> None:
    with pytest.raises(DataError, match="names: arrays of object are not sent; use one of uint8"):
        compact.pack_sample(STREAM, 0, 0, {"names": np.array(["a", None], object)})


@pytest.mark.golden
def test_bytes_of_a_sample(goldens: Path) -> None:
    """A sample of 368 x 368 takes a third of the old server's 1,388,275 bytes; nine tenths of it are the picture."""
    stored = np.load(goldens / "formats" / "server_sample" / "frames_1_2_3.npz")
    arrays = classic.unpack_sample(
        classic.pack_arrays(stored["frame1_data"], stored["frame2_mask"], stored["frame3_label"])
    )
    assert arrays is not None
    size = sum(map(len, compact.pack_sample(STREAM, 0, 0, arrays)))
    assert 406_272 < size < 450_000


def change_header(**changes: Any) -> list[bytes]:
    frames = compact.pack_sample(STREAM, 4, 7, sample())
    return [json.dumps(json.loads(frames[0]) | changes).encode(), *frames[1:]]


def change_array(number: int, frame: bytes | None = None, **changes: Any) -> list[bytes]:
    frames = compact.pack_sample(STREAM, 4, 7, sample())
    header = json.loads(frames[0])
    header["arrays"][number].update(changes)
    if frame is not None:
        frames[1 + number] = frame
    return [json.dumps(header).encode(), *frames[1:]]


def change_stream(**changes: Any) -> list[bytes]:
    frames = compact.pack_end(STREAM, 4)
    header = json.loads(frames[0])
    header["stream"].update(changes)
    return [json.dumps(header).encode()]


HUGE = {"dtype": "float64", "shape": [2**20, 2**20], "coding": "raw"}


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "false header"),
        ([b""], "false header"),
        ([b"\x80\x04."], "false header"),  # a pickle
        ([b"[" * 10000], "false header"),
        ([b"x" * 2**15], "a header of 32768 bytes"),
        ([b'{"manypose":1}'], "false header: kind: field required"),
        (change_header(manypose=2), "false header: manypose: input should be 1"),
        (change_header(kind="stop"), "false header: kind"),
        (change_header(epoch=-1), "false header: epoch"),
        (change_header(epoch=True), "false header: epoch"),
        (change_header(index=10**30), "false header: index"),
        (change_header(more=1), "false header: more"),
        (change_header(arrays=[]), "5 frames, where its header has 0 arrays"),
        (change_stream(part=4), "false header: part 4/3"),
        (change_stream(length=0), "false header"),
        (compact.pack_sample(STREAM, 4, 7, sample())[:-1], "4 frames, where its header has 4 arrays"),
        (change_array(0, name="../x"), "false header"),
        (change_array(0, name="fields"), "two arrays of one name"),
        (change_array(0, dtype="object"), "false header"),
        (change_array(0, shape=[-3, 32, 40]), "false header"),
        (change_array(0, shape=[3, 32, 41]), r"picture: 3840 bytes, but uint8 \(3, 32, 41\)"),
        (change_array(0, **HUGE), "arrays of more than 256 MiB"),  # before memory is taken
        (change_array(3, shape=[7, 4, 6]), "weights: 18 bytes for 168 bits"),
        (change_array(3, b""), "weights: 0 bytes for 140 bits"),
        (change_array(3, bytes(10**7)), "weights: 10000000 bytes for 140 bits"),
        (change_array(3, dtype="int64"), "weights: bits of int64"),
        (change_array(1, dtype="uint8"), "heatmaps: .* bytes that are not what the header says"),
        (change_array(1, b""), "heatmaps: 0 bytes that are not what the header says"),
        (change_array(1, bytes(8) + b"\0\0"), "heatmaps: 2 bytes for 0 values"),
        (change_array(1, bitmap=8), "false header: arrays.*bitmap"),
        (change_array(0, b"\x02" * 3840, dtype="bool"), "neither true nor false"),
    ],
)
def test_malformed_messages_are_refused(frames: list[bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compact.unpack(frames)


def test_values_of_maps_are_within_their_bounds() -> None:
    bits = np.packbits(np.ones(60, np.uint8)).tobytes()
    for wrong in (np.nan, np.inf, 1.5):
        frame = bits + np.full(60, wrong, "<f2").tobytes()
        with pytest.raises(DataError, match=r"heatmaps: values that are not within -1\.\.1"):
            compact.unpack(change_array(1, frame))


def test_memory_that_may_be_written_to_becomes_that_of_the_picture() -> None:
    """So that what comes out of a socket is not copied once more."""
    frames = [memoryview(bytearray(frame)) for frame in compact.pack_sample(STREAM, 4, 7, sample())]
    received = compact.unpack(frames)
    assert isinstance(received, Sample)
    assert np.shares_memory(received.arrays["picture"], np.frombuffer(frames[1], np.uint8))
    np.testing.assert_array_equal(received.arrays["picture"], sample()["picture"])


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_no_bytes_raise_anything_but_our_error(frames: list[bytes]) -> None:
    with pytest.raises(DataError):
        compact.unpack(frames)
    with pytest.raises(DataError):
        classic.unpack_arrays(frames)


@given(st.binary(max_size=300), st.integers(0, 4), st.integers(0, 400))
def test_a_message_with_some_bytes_changed_raises_nothing_else(change: bytes, frame: int, place: int) -> None:
    frames = compact.pack_sample(STREAM, 4, 7, sample())
    frames[frame] = frames[frame][:place] + change + frames[frame][place + len(change) :]
    with contextlib.suppress(DataError):
        compact.unpack(frames)


def test_parts_of_a_stream() -> None:
    for part, parts in ((0, 1), (2, 1), (-1, 3)):
        with pytest.raises(DataError, match=rf"part {part}/{parts}: parts are counted from 1"):
            Stream(seed=0, length=10, part=part, parts=parts)
    with pytest.raises(DataError, match="a part would be empty"):
        Stream(seed=0, length=2, part=1, parts=3)


# Classic messages


@pytest.mark.golden
def test_classic_messages_are_those_of_the_old_server(goldens: Path) -> None:
    folder = goldens / "formats" / "server_sample"
    stored = np.load(folder / "frames_1_2_3.npz")
    picture, mask, labels = stored["frame1_data"], stored["frame2_mask"], stored["frame3_label"]
    header = (folder / "frame0_header.json").read_bytes()
    frames = [header, picture.tobytes(), mask.tobytes(), labels.tobytes()]
    assert classic.pack_arrays(picture, mask, labels) == frames
    assert sum(map(len, frames)) == 1_388_275
    got = classic.unpack_arrays(frames)
    assert got is not None
    for array, expected in zip(got, (picture, mask, labels), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.golden
def test_a_classic_sample_as_ours(goldens: Path) -> None:
    stored = np.load(goldens / "formats" / "server_sample" / "frames_1_2_3.npz")
    truth = np.load(goldens / "formats" / "server_sample" / "truth.npz")
    got = classic.unpack_sample(
        classic.pack_arrays(stored["frame1_data"], stored["frame2_mask"], stored["frame3_label"])
    )
    assert got is not None
    np.testing.assert_array_equal(got["picture"], stored["frame1_data"][::-1])  # red first
    assert {name: array.dtype.name for name, array in got.items()} == {
        "picture": "uint8", "heatmaps": "float32", "fields": "float32", "weights": "uint8"
    }  # fmt: skip
    known = got["weights"][0] == 1
    assert 0 < known.sum() < known.size
    # Where a cell weighs, its label is the unmasked one.
    unmasked = truth["label_unmasked"].astype(np.float32)
    np.testing.assert_array_equal(got["fields"][:, known], unmasked[:38, known])
    np.testing.assert_array_equal(got["heatmaps"][:, known], unmasked[38:, known])


def test_our_samples_as_classic_messages() -> None:
    arrays = sample()
    picture, mask, labels = classic.unpack_arrays(classic.pack_sample(arrays)) or (None, None, None)
    assert picture is not None
    assert mask is not None
    assert labels is not None
    np.testing.assert_array_equal(picture, arrays["picture"][::-1])
    np.testing.assert_array_equal(mask, arrays["weights"].min(axis=0))  # unsure in one channel is unsure in all
    np.testing.assert_array_equal(labels[:4], arrays["fields"].astype(float) * mask)
    np.testing.assert_array_equal(labels[4:], arrays["heatmaps"].astype(float) * mask)


def test_samples_of_another_kind_have_no_classic_message() -> None:
    with pytest.raises(DataError, match="the classic messages need fields, weights, which these samples lack"):
        classic.pack_sample({"picture": np.zeros((3, 8, 8), np.uint8), "heatmaps": np.zeros((2, 1, 1), np.float32)})


def classic_frames(change: Any = None, **frames: bytes) -> list[bytes]:
    made = classic.pack_sample(sample())
    header = json.loads(made[0])
    if change is not None:
        change(header)
    return [json.dumps(header).encode(), *made[1:]]


def test_a_classic_shape_may_be_a_list() -> None:
    got = classic.unpack_arrays(classic_frames(lambda header: header[0].update(shape=[3, 32, 40])))
    assert got is not None
    assert got[0].shape == (3, 32, 40)


def test_the_end_of_a_classic_stream() -> None:
    assert classic.unpack_arrays([b'{"stop":true}']) is None


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "header is not JSON"),
        ([b"[" * 5000], "a header of 5000 bytes"),
        ([b"{}"], "not that of a picture, a mask and labels"),
        (classic_frames()[:3], "a message of 3 frames; a sample has 4"),
        ([*classic_frames(), b""], "a message of 5 frames"),
        (classic_frames(lambda h: h.pop()), "not that of a picture, a mask and labels"),
        (classic_frames(lambda h: h[0].update(descr="O")), "picture: of type 'O'"),
        (classic_frames(lambda h: h[1].update(fortran_order=True)), "mask: of type '<f8'"),
        (classic_frames(lambda h: h[0].update(shape="(3, 32,41)")), r"picture: 3840 bytes, but uint8 \(3, 32, 41\)"),
        (classic_frames(lambda h: h[0].update(shape="__import__('os')")), "picture: its shape"),
        (classic_frames(lambda h: h[0].update(shape="(3, 99999999,9)")), "picture: its shape"),
        (classic_frames(lambda h: h[0].update(shape=[3, 32, True])), "picture: its shape"),
        (classic_frames(lambda h: h[2].update(shape="(7,5,4)")), "shapes that do not fit"),
    ],
)
def test_malformed_classic_messages_are_refused(frames: list[bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        classic.unpack_arrays(frames)


def test_labels_of_another_skeleton_are_refused() -> None:
    with pytest.raises(DataError, match="labels of 7 channels, where 19 heatmaps"):
        classic.unpack_sample(classic_frames())


# Keys and addresses


def test_a_key_is_read_back_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "samples.key"
    access.make_key(file)
    key = access.read_key(file)
    assert len(key.public) == len(key.secret) == 40
    assert key.secret not in repr(key)
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(OutputError, match=r"samples\.key: is there already; a key is not overwritten"):
        access.make_key(file)
    file.chmod(0o644)
    with pytest.raises(DataError, match=r"samples\.key: others may read this key: `chmod 600"):
        access.read_key(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"public": "a", "secret": "b"}', '{"public": 1}', "\xff"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "samples.key"
    file.write_bytes(content.encode("latin-1"))
    file.chmod(0o600)
    with pytest.raises(DataError, match=r"samples\.key: not a key; make one with"):
        access.read_key(file)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"samples\.key: No such file or directory: make a key with"):
        access.read_key(tmp_path / "samples.key")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://127.3.2.1:5555", "tcp://localhost:1", "tcp://[::1]:5555", "ipc:///tmp/x"]
)
def test_this_machine_needs_no_key(address: str) -> None:
    access.check_address(address, None)


@pytest.mark.parametrize("address", ["", "127.0.0.1:5555", "tcp://127.0.0.1", "tcp://127.0.0.1:65536", "inproc://x"])
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(DataError, match="not an address like tcp://127"):
        access.check_address(address, None)
