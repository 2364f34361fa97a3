"""Sample servers in processes of their own, for the tests: their samples tell which they are."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manypose.data.serving.access import Key
from manypose.data.serving.compact import Stream
from manypose.data.serving.server import serve
from manypose.errors import DataError, ManyposeError


@dataclass(frozen=True)
class Numbers:
    """Bottom-up samples of `side` x `side` pixels, whose first pixels are epoch and index."""

    seconds: float = 0.0
    log: Path | None = None  # grows by a byte for each sample that is made
    broken: int = -1  # the index of a sample that cannot be made
    side: int = 16

    def __call__(self, epoch: int, index: int) -> dict[str, Any]:
        if index == self.broken:
            raise DataError(f"photos/{index}.jpg: broken")
        time.sleep(self.seconds)
        if self.log is not None:
            with self.log.open("ab") as stream:
                stream.write(b".")
        random = np.random.default_rng([7, epoch, index])
        picture = random.integers(0, 256, (3, self.side, self.side)).astype(np.uint8)
        picture[0, 0, :2] = epoch, index
        weights = np.ones((5, 2, 2), np.uint8)
        weights[1, 0, 0] = index % 2
        return {
            "picture": picture,
            "heatmaps": random.uniform(0, 1, (3, 2, 2)).astype(np.float32),
            "fields": random.uniform(-1, 1, (2, 2, 2)).astype(np.float32),
            "weights": weights,
        }


def free_address() -> str:
    """An address of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


class Server:
    """A server in its own process, which can be killed; `said` is what it ended with."""

    def __init__(self, address: str, stream: Stream, **options: Any) -> None:
        # Forked from a process that has imported torch but has no threads yet.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["manypose.data.serving.server", "zmq"])
        self._said = context.Queue()
        self.process = context.Process(target=_run, args=(self._said, address, stream, options))
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join(10)

    def said(self, seconds: float = 20) -> Any:
        said = self._said.get(timeout=seconds)
        self.process.join(seconds)
        return said


@contextlib.contextmanager
def served(address: str, stream: Stream, **options: Any) -> Iterator[Server]:
    """A server that is killed in the end, if it is still there."""
    server = Server(address, stream, **options)
    try:
        yield server
    finally:
        server.kill()


def _run(said: Any, address: str, stream: Stream, options: dict[str, Any]) -> None:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    samples = options.pop("samples", Numbers())
    key = options.pop("key", None)
    try:
        status = serve(
            samples, address, stream, key=None if key is None else Key(*key), stop=lambda: bool(asked), **options
        )
        said.put((status.samples, bool(asked)))
    except ManyposeError as error:
        said.put(str(error))
