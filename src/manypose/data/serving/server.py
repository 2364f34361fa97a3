"""The sample server: processes that make samples, and one socket that hands them out.

In compact mode clients ask for each sample (DEALER to ROUTER), so that a sample goes only to who has room for it, each
client is told the end of an epoch, and a server that is started again goes on in the epoch that is asked for. The
classic mode pushes samples to whoever is connected, as the old servers did, and stops making them when clients have
`high_water` samples lying in wait.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from manypose.data.serving import classic, compact
from manypose.data.serving.access import Key, check_address
from manypose.data.serving.compact import Stream
from manypose.errors import DataError, ManyposeError, require

MODES = ("compact", "classic")
WAIT = 200  # milliseconds until we look again whether to stop
FAREWELL = 30.0  # seconds for clients to fetch the last samples of a classic stream

Mode = Literal["compact", "classic"]
MakeSample = Callable[[int, int], Mapping[str, Any]]
_Made = tuple[int, int, list[bytes]]  # epoch, index, frames
logger = logging.getLogger(__name__)


class Numbered(Protocol):
    """A data set that makes its sample of any number, on and on, such as `FieldSamples`."""

    def __getitem__(self, number: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class ByNumber:
    """Makes sample `index` of epoch `epoch` as the sample `epoch * length + index` of a data set."""

    samples: Numbered
    length: int

    def __call__(self, epoch: int, index: int) -> Mapping[str, Any]:
        return self.samples[epoch * self.length + index]


@dataclass(frozen=True)
class Status:
    """What a server has done since it started."""

    samples: int
    size: int  # bytes of all samples
    seconds: float
    clients: int | None  # who asked within the last minute; not known in classic mode


def serve(
    make_sample: MakeSample,
    bind: str,
    stream: Stream,
    *,
    mode: Mode = "compact",
    key: Key | None = None,
    workers: int = 1,
    high_water: int = 160,
    patience: float = 60.0,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Status], None] = lambda status: None,
) -> Status:
    """Serve samples until all epochs of the stream are handed out, or `stop` says so.

    `make_sample(epoch, index)` gives a dict of tensors or arrays and runs in `workers` processes (0: in this one). A
    finite compact stream ends when all clients have been told so, or have been silent for `patience` seconds. `report`
    is called about once in a second. Raises `DataError` for an address that cannot be used, one beyond this machine
    without `key`, and whatever error `make_sample` raises.
    """
    check_address(bind, key)
    zmq = require("zmq", extra="train")
    supply = _Supply(make_sample, stream, mode, workers, stop)
    tally = _Tally(report)
    # The worker processes are forked before there are threads and sockets of ZeroMQ, which they must not share.
    supply.start()
    context = zmq.Context()
    linger = 0
    try:
        with _guard(context, key), _bound(context, bind, mode, key, high_water) as socket:
            if mode == "compact":
                _hand_out(socket, supply, tally, patience)
            else:
                _push(socket, supply, tally)
                linger = 0 if stop() else round(FAREWELL * 1000)
            socket.close(linger=linger)
    finally:
        context.term()
        supply.close()
    return tally.status()


@dataclass
class _Tally:
    """Counts what was handed out, and tells `report`."""

    report: Callable[[Status], None]
    samples: int = 0
    size: int = 0
    started: float = field(default_factory=time.monotonic)
    reported: float = field(default_factory=time.monotonic)
    clients: dict[bytes, float] | None = None

    def add(self, frames: list[bytes]) -> None:
        self.samples += 1
        self.size += sum(map(len, frames))

    def tell(self) -> None:
        now = time.monotonic()
        if now - self.reported >= 1:
            self.reported = now
            self.report(self.status())

    def status(self) -> Status:
        clients = None if self.clients is None else len(self.clients)
        return Status(self.samples, self.size, time.monotonic() - self.started, clients)


class _Supply:
    """The packed samples of a stream in order, made ahead by worker processes; `head` is the next one."""

    def __init__(
        self, make_sample: MakeSample, stream: Stream, mode: Mode, workers: int, stop: Callable[[], bool]
    ) -> None:
        self.stream = stream
        self.stop = stop
        self._schedule = _Schedule(stream)
        packed = _Packed(make_sample, stream, mode)
        self._source: Iterable[_Made | ManyposeError] = (
            _in_workers(packed, self._schedule, workers) if workers else map(packed.__getitem__, self._schedule)
        )
        self._made: Iterator[_Made | ManyposeError] = iter(())
        self._head: _Made | None = None

    def start(self) -> None:
        self._made = iter(self._source)

    def close(self) -> None:
        self._made = iter(())  # ends the processes

    def head(self, epoch: int | None = None) -> _Made | None:
        """The next sample, of epoch `epoch` or a later one; None where there are no more."""
        if epoch is not None:
            self._schedule.first_epoch = max(self._schedule.first_epoch, epoch)
        while self._head is None or (epoch is not None and self._head[0] < epoch):
            try:
                made = next(self._made, None)
            except RuntimeError as error:
                if self.stop():  # a signal to all of our processes
                    return None
                raise DataError(f"a process that makes samples has failed: {' '.join(str(error).split())}") from None
            if made is None:
                return None
            if isinstance(made, ManyposeError):
                raise made
            self._head = made
        return self._head

    def take(self) -> None:
        """The next sample has been handed out."""
        self._head = None


class _Schedule:
    """Which samples are to be made, in order; skips to `first_epoch` where that is later."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.first_epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        stream, epoch = self.stream, 0
        while stream.epochs is None or epoch < stream.epochs:
            for index in range(stream.part - 1, stream.length, stream.parts):
                if epoch < self.first_epoch:
                    break
                yield epoch, index
            epoch = max(epoch + 1, self.first_epoch)


class _Packed(Dataset[Any]):
    """Makes samples and packs them; an error of ours comes as a value, so that torch adds no traceback to it."""

    def __init__(self, make_sample: MakeSample, stream: Stream, mode: Mode) -> None:
        self.make_sample = make_sample
        self.stream = stream
        self.mode = mode

    def __getitem__(self, place: tuple[int, int]) -> _Made | ManyposeError:
        epoch, index = place
        try:
            arrays = {name: _as_array(value) for name, value in self.make_sample(epoch, index).items()}
            if self.mode == "classic":
                return epoch, index, classic.pack_sample(arrays)
            return epoch, index, compact.pack_sample(self.stream, epoch, index, arrays)
        except ManyposeError as error:
            return error


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)  # asarray of tensors is slow


def _in_workers(packed: _Packed, schedule: _Schedule, workers: int) -> DataLoader[Any]:
    """Each item is one sample, already packed by the worker; torch starts, feeds and ends the processes."""
    return DataLoader(
        packed,
        batch_size=None,
        sampler=schedule,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_set_up_worker,
        prefetch_factor=4,
        # Forked processes share the pictures that are in memory already.
        multiprocessing_context="fork" if "fork" in multiprocessing.get_all_start_methods() else None,
    )


def _as_it_is(made: Any) -> Any:
    return made


def _set_up_worker(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Torch's own watch over the parent fails when samples lie in the pipe: the worker would wait for ever to send them.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A fork has the server's handlers, which would only note that it shall stop. Success, or torch would raise an error
    # in the server at any place.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _guard(context: Any, key: Key | None) -> Iterator[None]:
    """Admits only clients that prove to have the key."""
    if key is None:
        yield
        return
    from zmq.auth.thread import ThreadAuthenticator

    guard = ThreadAuthenticator(context, log=logger)
    guard.start()
    guard.configure_curve_callback(domain="*", credentials_provider=_Holders(key))
    try:
        yield
    finally:
        guard.stop()


@dataclass(frozen=True)
class _Holders:
    key: Key

    def callback(self, domain: str, public: bytes) -> bool:
        return public.decode() == self.key.public


@contextmanager
def _bound(context: Any, bind: str, mode: Mode, key: Key | None, high_water: int) -> Iterator[Any]:
    import zmq

    socket = context.socket(zmq.ROUTER if mode == "compact" else zmq.PUSH)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.IPV6, bind.startswith("tcp://["))
        if mode == "compact":
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # tells when a client has gone
            socket.setsockopt(zmq.MAXMSGSIZE, compact.MOST_HEADER_BYTES)
            socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # ends connections to machines that have gone
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20000)
        if key is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = key.public.encode(), key.secret.encode()
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            raise DataError(f"{bind}: cannot be bound: {error.strerror.lower()}; choose another address") from None
        yield socket
    finally:
        if not socket.closed:
            socket.close(linger=0)


def _push(socket: Any, supply: _Supply, tally: _Tally) -> None:
    """Classic: samples for whoever is connected, as long as they have room."""
    import zmq

    while not supply.stop():
        tally.tell()
        if not socket.poll(WAIT, zmq.POLLOUT):
            continue
        head = supply.head()
        if head is None:
            return
        socket.send_multipart(head[2], copy=False)
        tally.add(head[2])
        supply.take()


def _hand_out(socket: Any, supply: _Supply, tally: _Tally, patience: float) -> None:
    """Compact: one sample for each request."""
    import zmq

    socket.setsockopt(zmq.RCVTIMEO, WAIT)
    tally.clients = {}
    untold: set[bytes] = set()  # clients that may not know that all is over
    over = False
    last = time.monotonic()
    while not supply.stop():
        tally.tell()
        tally.clients = {name: seen for name, seen in tally.clients.items() if time.monotonic() - seen < 60}
        if over and (not untold or time.monotonic() - last > patience):
            time.sleep(0.2)  # what was sent last is on its way
            return
        try:
            client, *body = socket.recv_multipart()
        except zmq.Again:
            continue
        last = tally.clients[client] = time.monotonic()
        try:
            wanted = compact.unpack_request(body[0] if len(body) == 1 else b"")
        except DataError as error:
            logger.warning("a client sent %s; it gets no answer", error)
            continue
        untold.add(client)
        if _answer(socket, client, supply, tally, wanted):
            over = True
            untold.discard(client)


def _answer(socket: Any, client: bytes, supply: _Supply, tally: _Tally, wanted: int | None) -> bool:
    """Send a client a sample, or word that the epoch is over; True where that was the last epoch."""
    stream = supply.stream
    final = (stream.epochs or 2**53) - 1
    head = supply.head(None if wanted is None or wanted > final else wanted)
    if supply.stop():
        return False
    if head is not None and (stream.epochs is None or wanted is None or head[0] == wanted):
        if _send(socket, client, head[2]):
            tally.add(head[2])
            supply.take()
        return False
    ended = final if wanted is None else min(wanted, final)
    _send(socket, client, compact.pack_end(stream, ended))
    return head is None and ended == final


def _send(socket: Any, client: bytes, frames: list[bytes]) -> bool:
    """Whether the client is still there, and has room for what it asked for."""
    import zmq

    try:
        socket.send_multipart([client, *frames], flags=zmq.DONTWAIT, copy=False)
    except zmq.ZMQError as error:
        if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
            raise
        logger.info("a client has gone, or asks for more than it takes")
        return False
    return True
