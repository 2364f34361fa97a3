"""Reads training samples from sample servers, alone or as the data set of a torch `DataLoader`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from manypose.data.serving import classic, compact
from manypose.data.serving.access import Key, check_address
from manypose.data.serving.compact import End, Sample
from manypose.data.serving.server import MODES, Mode
from manypose.errors import DataError, require

if TYPE_CHECKING:
    from manypose.data.serving.connection import Connection

WAIT = 0.2  # seconds until we look again after connections and time


class ServedSamples(IterableDataset[dict[str, Tensor]]):
    """The samples of one or several servers; each iteration gives those of one epoch, or `count` of them.

    A finite compact stream ends an iteration when all servers have handed out their part of the epoch; the next one is
    that of the epoch after it. Without `count`, an endless or classic stream goes on for ever. Several clients, or
    workers of a `DataLoader`, share the samples of the servers: each goes to one of them. Call `set_epoch` before each
    epoch then, so that all mean the same one. Workers of a `DataLoader` share `count` as well.

    A server that dies is waited for; started again, it goes on with the epoch, and samples of a finite epoch that were
    read already are left out. Raises `DataError` when nothing comes for `timeout` seconds, when a message is malformed,
    when servers do not serve parts of one stream, or one of another `split`, and when a key is refused. `ahead` samples
    of each server are asked for, or taken in classic mode, before they are needed.
    """

    def __init__(
        self,
        addresses: Sequence[str] | str,
        *,
        mode: Mode = "compact",
        split: str | None = None,
        count: int | None = None,
        key: Key | None = None,
        timeout: float = 60.0,
        ahead: int = 8,
        heatmaps: int = classic.HEATMAPS,
    ) -> None:
        self.addresses = (addresses,) if isinstance(addresses, str) else tuple(addresses)
        if not self.addresses or len(set(self.addresses)) != len(self.addresses):
            raise DataError("give the address of each sample server once")
        if mode not in MODES:
            raise DataError(f"there is no mode {mode!r}; there are {', '.join(MODES)}")
        for address in self.addresses:
            check_address(address, key)
        require("zmq", extra="train")
        self.mode, self.split, self.count, self.key = mode, split, count, key
        self.timeout, self.ahead, self.heatmaps = timeout, ahead, heatmaps
        self._epoch: int | None = None
        self._seen: set[int] = set()
        self._over: int | None = None  # the number of epochs, once all of them are over
        self._servers: list[Connection] = []
        self._process = os.getpid()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        wanted = self._share()
        messages = self._classic(wanted) if self.mode == "classic" else (s.arrays for s in self.samples(wanted))
        for arrays in messages:
            yield {name: torch.from_numpy(array) for name, array in arrays.items()}

    def samples(self, count: int | None = None) -> Iterator[Sample]:
        """The samples of an epoch (or `count` of them) with their epoch and index; of compact streams alone."""
        if self.mode == "classic":
            raise DataError("classic messages do not say which sample they hold; iterate over the client itself")
        if self._over is not None and (self._epoch is None or self._epoch >= self._over):
            raise DataError(f"all {self._over} epochs that the sample servers have are over")
        self._connect()
        given = 0
        while count is None or given < count:
            received = self._receive()
            if received is None:
                self._seen.clear()
                return
            if self._is_new(received):
                given += 1
                yield received

    def set_epoch(self, epoch: int) -> None:
        """The next iteration gives the samples of this epoch, counted from 0."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._seen.clear()

    def close(self) -> None:
        """Leave the servers; iterating again connects anew."""
        for server in self._servers:
            server.close()
        self._servers = []

    def __del__(self) -> None:
        if getattr(self, "_process", None) == os.getpid():
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_servers": []}  # each process has connections of its own

    def _share(self) -> int | None:
        """How many samples this process reads of `count`."""
        worker = get_worker_info()
        if self.count is None or worker is None:
            return self.count
        return self.count // worker.num_workers + (worker.id < self.count % worker.num_workers)

    def _connect(self) -> None:
        from manypose.data.serving.connection import Connection

        if self._process != os.getpid():  # forked: the sockets are those of the other process
            self._servers, self._process = [], os.getpid()
        if not self._servers:
            self._servers = [
                Connection(address, mode=self.mode, key=self.key, ahead=self.ahead) for address in self.addresses
            ]

    def _classic(self, count: int | None) -> Iterator[Mapping[str, Any]]:
        self._connect()
        given = 0
        while count is None or given < count:
            server, frames = self._wait(self._servers)
            try:
                arrays = classic.unpack_sample(frames, heatmaps=self.heatmaps)
            except DataError as error:
                raise DataError(f"{server.address}: {error}") from None
            if arrays is None:
                return
            given += 1
            yield arrays

    def _receive(self) -> Sample | None:
        """The next sample; None when the epoch is over at all servers."""
        while True:
            open_servers = [server for server in self._servers if not self._has_ended(server)]
            if not open_servers:
                self._end_epoch()
                return None
            server, frames = self._wait(open_servers)
            try:
                message = compact.unpack(frames)
                self._check(server, message)
            except DataError as error:
                raise DataError(f"{server.address}: {error}") from None
            server.asked = max(0, server.asked - 1)
            if isinstance(message, Sample):
                return message
            server.ended = max(message.epoch, server.ended)
            if self._epoch is None:
                self._epoch = message.epoch

    def _has_ended(self, server: Connection) -> bool:
        return self._epoch is not None and server.ended >= self._epoch

    def _end_epoch(self) -> None:
        assert self._epoch is not None
        self._epoch += 1
        stream = self._servers[0].stream
        if stream is not None and stream.epochs is not None and self._epoch >= stream.epochs:
            self._over = stream.epochs

    def _is_new(self, sample: Sample) -> bool:
        """Whether the sample is of this epoch, or the first of a later one, and was not read before."""
        if self._epoch is None or sample.epoch > self._epoch:
            self._epoch = sample.epoch
            self._seen.clear()
        if sample.stream.epochs is None:  # in an endless stream nothing is counted
            return True
        if sample.epoch < self._epoch or sample.index in self._seen:
            return False
        self._seen.add(sample.index)
        return True

    def _check(self, server: Connection, message: Sample | End) -> None:
        """Refuse a message that is not of the stream that this client reads."""
        stream = message.stream
        if stream == server.stream:
            return
        if self.split is not None and stream.split != self.split:
            raise DataError(f"serves the split {stream.split!r}, not {self.split!r}")
        if server.stream is not None:
            raise DataError(f"serves another stream than before: {stream}, {server.stream}")
        for other in self._servers:
            if other.stream is None:
                continue
            ours, theirs = (
                (s.seed, s.length, s.epochs, s.parts, s.split) for s in (stream, other.stream)
            )  # all but the part
            if ours != theirs:
                raise DataError(f"serves another stream than {other.address}: {stream}, {other.stream}")
            if other.stream.part == stream.part:
                raise DataError(
                    f"serves part {stream.part}/{stream.parts}, as {other.address} does; give each server its own part"
                )
        server.stream = stream

    def _wait(self, servers: list[Connection]) -> tuple[Connection, list[memoryview]]:
        """The next message of any of the servers, and whose it is; each server takes its turn."""
        from zmq import Poller

        started = time.monotonic()
        poller: Poller | None = None
        while True:
            for server in servers:
                server.watch()
                if self.mode == "compact":
                    server.ask(self._epoch, self.ahead)
            for server in servers:
                frames = server.receive()
                if frames is not None:
                    self._servers.append(self._servers.pop(self._servers.index(server)))
                    return server, frames
            if time.monotonic() - started > self.timeout:
                names = ", ".join(f"{server.address} ({server.state})" for server in servers)
                raise DataError(f"no sample for {self.timeout:g} s from {names}: is the sample server running there?")
            if poller is None:
                poller = Poller()
                for server in servers:
                    server.register(poller)
            poller.poll(round(WAIT * 1000))
