"""The sample server and its client as processes over real sockets."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

zmq = pytest.importorskip("zmq", reason="needs the extra [train]")

from number_server import Numbers, Server, free_address, served  # noqa: E402
from tiny_coco import person, write_set  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from manypose.codecs.fields import FieldsCodec  # noqa: E402
from manypose.data.augment import Augmentation  # noqa: E402
from manypose.data.coco import read_coco  # noqa: E402
from manypose.data.samples import FieldSamples, Source  # noqa: E402
from manypose.data.serving import access, classic, compact  # noqa: E402
from manypose.data.serving.client import ServedSamples  # noqa: E402
from manypose.data.serving.compact import ROUNDING, Sample, Stream  # noqa: E402
from manypose.data.serving.server import ByNumber  # noqa: E402
from manypose.errors import DataError  # noqa: E402
from manypose.skeleton import load_skeleton  # noqa: E402

ONCE = Stream(seed=7, length=12, epochs=1)
ENDLESS = Stream(seed=7, length=12)


@pytest.fixture
def address() -> str:
    return free_address()


@pytest.fixture
def key(tmp_path: Path) -> access.Key:
    access.make_key(tmp_path / "samples.key")
    return access.read_key(tmp_path / "samples.key")


def places(samples: Iterator[Sample]) -> list[tuple[int, int]]:
    """Which samples these are; what is in them must be what belongs there."""
    found = []
    for sample in samples:
        np.testing.assert_array_equal(sample.arrays["picture"], Numbers()(sample.epoch, sample.index)["picture"])
        found.append((sample.epoch, sample.index))
    return found


def epoch(number: int, length: int = 12) -> list[tuple[int, int]]:
    return [(number, index) for index in range(length)]


def in_thread(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_comes_whole_and_in_order_for_any_number_of_workers(address: str, workers: int) -> None:
    with served(address, ONCE, workers=workers) as server:
        client = ServedSamples(address, timeout=60)
        assert places(client.samples()) == epoch(0)
        with pytest.raises(DataError, match="all 1 epochs that the sample servers have are over"):
            next(client.samples())
        assert server.said() == (12, False)  # ends by itself
        client.close()


def test_samples_are_those_of_the_data_set_within_the_rounding(address: str, tmp_path: Path) -> None:
    file = write_set(tmp_path, [person(20, 10, 60, 100, image_id=i) for i in (1, 2)], pictures=2)
    openpose = load_skeleton("openpose18")
    source = Source(read_coco(file, openpose), Augmentation(mosaic=0.5))
    samples = FieldSamples([source], FieldsCodec(openpose), size=96, count=4, seed=7)
    stream = Stream(seed=7, length=4, epochs=2)
    with served(address, stream, samples=ByNumber(samples, 4), workers=2):
        client = ServedSamples(address, timeout=60)
        for number in range(2):
            got = list(client)
            assert len(got) == 4
            for index, sample in enumerate(got):
                original = samples[number * 4 + index]
                assert list(sample) == list(original)
                for name, tensor in original.items():
                    assert sample[name].dtype == tensor.dtype
                    exact = name in ("picture", "weights")
                    np.testing.assert_allclose(sample[name], tensor, rtol=0, atol=0 if exact else ROUNDING)
        client.close()


def test_two_servers_and_two_clients_share_each_epoch(tmp_path: Path) -> None:
    addresses = [free_address(), free_address()]
    streams = [Stream(seed=7, length=25, epochs=2, part=part, parts=2) for part in (1, 2)]
    found: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    meet = threading.Barrier(2)

    def read(name: int) -> None:
        client = ServedSamples(addresses, timeout=60)
        for number in range(2):
            client.set_epoch(number)
            meet.wait(30)
            for sample in client.samples():
                time.sleep(0.01)
                found[name].append((sample.epoch, sample.index))
        client.close()

    numbers = Numbers(seconds=0.01)
    with served(addresses[0], streams[0], samples=numbers), served(addresses[1], streams[1], samples=numbers):
        threads = [in_thread(lambda name=name: read(name)) for name in found]
        for thread in threads:
            thread.join(40)
    assert Counter(found[0] + found[1]) == Counter(epoch(0, 25) + epoch(1, 25))
    assert min(map(len, found.values())) > 5  # nobody was left out


def test_a_server_that_is_killed_and_started_again_goes_on_with_the_epoch(address: str) -> None:
    stream = Stream(seed=7, length=20, epochs=3)
    client = ServedSamples(address, timeout=60)
    with served(address, stream):
        assert places(client.samples()) == epoch(0, 20)
        second = client.samples()
        begun = [next(second) for _ in range(13)]
        # the rest of this block ends the server with SIGKILL
    with served(address, stream):
        rest = list(second)
        assert sorted((s.epoch, s.index) for s in begun + rest) == epoch(1, 20)  # none twice
        assert places(client.samples()) == epoch(2, 20)
    client.close()


def test_other_servers_go_on_while_one_is_dead() -> None:
    addresses = [free_address(), free_address()]
    streams = [Stream(seed=7, length=1000, part=part, parts=2) for part in (1, 2)]
    client = ServedSamples(addresses, timeout=60)
    with served(addresses[0], streams[0], samples=Numbers(seconds=0.01)):
        with served(addresses[1], streams[1], samples=Numbers(seconds=0.01)):
            of_both = client.samples()
            while {next(of_both).index % 2, next(of_both).index % 2} != {0, 1}:
                pass
        alone = places(s for s, _ in zip(client.samples(), range(60), strict=False))
        assert {index % 2 for _, index in alone[30:]} == {0}
    client.close()


def test_a_client_that_vanishes_does_not_stop_the_others(address: str) -> None:
    with served(address, ENDLESS, samples=Numbers(seconds=0.01)):
        context = zmq.Context()
        rude = context.socket(zmq.DEALER)
        rude.setsockopt(zmq.LINGER, 100)
        rude.connect(address)
        for _ in range(30):
            rude.send(compact.pack_request(None))
        rude.recv_multipart()
        rude.close()
        context.term()
        client = ServedSamples(address, timeout=60, count=15)
        assert len(list(client)) == 15
        client.close()


def test_a_client_without_a_server_says_so_in_time(address: str) -> None:
    client = ServedSamples(address, timeout=0.5)
    started = time.monotonic()
    with pytest.raises(
        DataError, match=rf"no sample for 0\.5 s from {address} \(never reached\): is the sample server"
    ):
        next(iter(client))
    assert time.monotonic() - started < 3
    client.close()


def test_a_client_whose_server_is_gone_for_good_says_so(address: str) -> None:
    client = ServedSamples(address, timeout=1.5)
    with served(address, ENDLESS, samples=Numbers(seconds=0.05)):
        stream = client.samples()
        next(stream)
    with pytest.raises(DataError, match=r"no sample for 1\.5 s from .* \(lost\)"):
        list(stream)
    client.close()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to see processes")
def test_the_processes_of_a_server_that_is_killed_end_too(address: str) -> None:
    with served(address, ENDLESS, samples=Numbers(side=400), workers=3) as server:
        client = ServedSamples(address, timeout=60)
        next(iter(client))
        client.close()
        pid = server.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(workers) == 3
    for _ in range(100):
        running = [worker for worker in workers if is_running(worker)]
        if not running:
            break
        time.sleep(0.1)
    assert running == []


def is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_sigterm_ends_a_server_cleanly(address: str) -> None:
    with served(address, ENDLESS, workers=2) as server:
        client = ServedSamples(address, timeout=60)
        next(iter(client))
        os.kill(server.process.pid or 0, signal.SIGTERM)
        samples, asked = server.said(10)
        assert asked
        assert samples >= 1
        assert server.process.exitcode == 0
        client.close()


@pytest.mark.parametrize("mode", ["compact", "classic"])
def test_no_more_is_made_than_clients_take(address: str, tmp_path: Path, mode: Any) -> None:
    log = tmp_path / "made"
    # 10 are read, 4 on their way, some made by the worker; in classic mode queues of 4 and 5 too, and what lies in the
    # machine's buffers: pictures of 2 MB, that these be few.
    with served(address, ENDLESS, samples=Numbers(log=log, side=800), mode=mode, high_water=5):
        client = ServedSamples(address, timeout=60, mode=mode, count=10, ahead=4, heatmaps=3)
        assert len(list(client)) == 10
        made = 0
        while made < (made := log.stat().st_size):  # until it stops, though the stream has no end
            assert made <= 40
            time.sleep(1)
        client.close()


def test_a_data_loader_shares_the_samples_among_its_workers(address: str) -> None:
    with served(address, Stream(seed=7, length=12, epochs=2)):
        client = ServedSamples(address, timeout=60)
        for number in range(2):
            client.set_epoch(number)
            batches = list(DataLoader(client, batch_size=2, num_workers=2, multiprocessing_context="forkserver"))
            seen = sorted(tuple(p[0, 0, :2].tolist()) for batch in batches for p in batch["picture"])
            assert seen == epoch(number)


def test_a_count_is_shared_by_the_workers(address: str) -> None:
    with served(address, ENDLESS):
        client = ServedSamples(address, timeout=60, count=7)
        loader = DataLoader(client, batch_size=None, num_workers=2, multiprocessing_context="forkserver")
        assert len(list(loader)) == 7


def test_a_sample_that_cannot_be_made_ends_the_server_with_its_error(address: str) -> None:
    with served(address, ONCE, samples=Numbers(broken=3), workers=1) as server:
        client = ServedSamples(address, timeout=2)
        with pytest.raises(DataError, match="no sample for 2 s"):
            list(client)
        assert server.said() == "photos/3.jpg: broken"
        client.close()


def test_an_address_that_is_taken_is_refused(address: str) -> None:
    with served(address, ENDLESS):
        client = ServedSamples(address, timeout=60)
        next(iter(client))
        second = Server(address, ENDLESS)
        assert second.said().startswith(f"{address}: cannot be bound: address already in use")
        client.close()


# Who may read


def test_a_key_opens_a_server(address: str, key: access.Key) -> None:
    with served(address, ONCE, key=(key.public, key.secret)):
        client = ServedSamples(address, timeout=60, key=key)
        assert places(client.samples()) == epoch(0)
        client.close()


def test_a_wrong_key_or_none_opens_nothing(address: str, key: access.Key, tmp_path: Path) -> None:
    access.make_key(tmp_path / "other.key")
    other = access.read_key(tmp_path / "other.key")
    # knows the server by its public half, but has no right to read
    half = access.Key(key.public, other.secret)
    with served(address, ONCE, key=(key.public, key.secret)):
        for wrong in (other, half, None):
            client = ServedSamples(address, timeout=1.5, key=wrong)
            with pytest.raises(DataError, match="key"):
                next(iter(client))
            client.close()
        right = ServedSamples(address, timeout=60, key=key)  # the server has not been harmed
        assert len(list(right)) == 12
        right.close()


@pytest.mark.parametrize(
    "address", ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.0.2.1:5555", "tcp://trainer:5555"]
)
def test_other_machines_are_not_served_without_a_key(address: str) -> None:
    with pytest.raises(DataError, match="reaches other machines, so a key is needed"):
        ServedSamples(address)
    server = Server(address, ONCE)
    assert server.said().startswith(f"{address}: reaches other machines, so a key is needed")


# Malformed messages over the socket


def answer(address: str, frames: list[bytes], kind: int) -> threading.Thread:
    """A false server that sends the same frames once."""

    def run() -> None:
        with zmq.Context() as context, context.socket(kind) as socket:
            socket.setsockopt(zmq.LINGER, 1000)
            socket.bind(address)
            if kind == zmq.ROUTER:
                frames.insert(0, socket.recv_multipart()[0])
            socket.send_multipart(frames)

    return in_thread(run)


def test_a_malformed_answer_is_refused(address: str) -> None:
    good = compact.pack_sample(ENDLESS, 0, 0, Numbers()(0, 0))
    thread = answer(address, [good[0], b"short", *good[2:]], zmq.ROUTER)
    client = ServedSamples(address, timeout=10)
    with pytest.raises(DataError, match=rf"{address}: picture: 5 bytes, but uint8 \(3, 16, 16\) in the header"):
        next(iter(client))
    client.close()
    thread.join(10)


def test_a_malformed_classic_message_is_refused(address: str) -> None:
    thread = answer(address, [b"{}"], zmq.PUSH)
    client = ServedSamples(address, timeout=10, mode="classic")
    with pytest.raises(DataError, match=rf"{address}: a message whose header is not that of a picture, a mask"):
        next(iter(client))
    client.close()
    thread.join(10)


def test_a_malformed_request_gets_no_answer_and_does_no_harm(address: str) -> None:
    with served(address, ONCE, patience=1.0), zmq.Context() as context, context.socket(zmq.DEALER) as rude:
        rude.setsockopt(zmq.LINGER, 0)
        rude.connect(address)
        for frames in ([b""], [b"{"], [b'{"manypose":1,"epoch":-1}'], [b'{"manypose":2,"epoch":0}'], [b"a", b"b"]):
            rude.send_multipart(frames)
        rude.send(compact.pack_request(10**12))  # of an epoch that there will never be
        assert json.loads(rude.recv())["kind"] == "end"
        client = ServedSamples(address, timeout=60)
        assert places(client.samples()) == epoch(0)
        client.close()


def test_servers_of_different_streams_are_refused() -> None:
    addresses = [free_address(), free_address()]
    one = Stream(seed=7, length=12, parts=2)
    for other, message in [
        (Stream(seed=8, length=12, part=2, parts=2), "serves another stream than"),
        (one, "serves part 1/2, as .* does; give each server its own part"),
    ]:
        slow = Numbers(seconds=0.01)
        with served(addresses[0], one, samples=slow), served(addresses[1], other, samples=slow):
            client = ServedSamples(addresses, timeout=60, count=3000)
            with pytest.raises(DataError, match=message):
                list(client)
            client.close()


def test_a_stream_of_another_split_is_refused(address: str) -> None:
    with served(address, Stream(seed=7, length=12, split="val")):
        client = ServedSamples(address, timeout=60, split="train")
        with pytest.raises(DataError, match="serves the split 'val', not 'train'"):
            next(iter(client))
        client.close()


# Classic mode


def test_the_classic_mode_sends_the_messages_of_the_old_server(address: str) -> None:
    with (
        served(address, ENDLESS, mode="classic"),
        zmq.Context() as context,
        context.socket(zmq.PULL) as old_trainer,
    ):
        old_trainer.connect(address)
        assert old_trainer.poll(20000)
        assert old_trainer.recv_multipart() == classic.pack_sample(Numbers()(0, 0))


def test_a_classic_client_counts_samples_and_outlives_its_server(address: str) -> None:
    client = ServedSamples(address, mode="classic", count=8, heatmaps=3, timeout=60)
    for _ in range(2):  # the second time after SIGKILL
        with served(address, ENDLESS, mode="classic"):
            got = list(client)
        assert len(got) == 8
    expected = Numbers()(0, 0)
    assert list(got[0]) == list(expected)
    assert got[0]["weights"].sum() == 15  # one cell is masked out of all five channels
    client.close()


def test_a_finite_classic_server_delivers_all_before_it_ends(address: str) -> None:
    with served(address, ONCE, mode="classic") as server:
        client = ServedSamples(address, mode="classic", count=12, heatmaps=3, timeout=60)
        assert len(list(client)) == 12
        assert server.said() == (12, False)
        client.close()
