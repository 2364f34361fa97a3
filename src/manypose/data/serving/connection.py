"""A client's connection to one sample server: it comes back by itself, and knows what has become of its requests."""

from __future__ import annotations

import logging
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from manypose.data.serving import compact
from manypose.data.serving.access import Key
from manypose.data.serving.compact import Stream
from manypose.errors import DataError

logger = logging.getLogger(__name__)
MOST_FRAMES = compact.MOST_ARRAYS + 1
_REFUSALS = {
    zmq.Event.HANDSHAKE_FAILED_AUTH: "refuses our key",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "does not speak with us: one of us has a key or a mode that the other has not",
}


class Connection:
    """The sockets of one server; `asked`: requests not yet answered; `ended`: the last epoch that is over there."""

    def __init__(self, address: str, *, mode: str, key: Key | None, ahead: int) -> None:
        self.address = address
        self.state = "never reached"
        self.stream: Stream | None = None
        self.asked = 0
        self.ended = -1
        self._context = zmq.Context()
        self.socket: Any = self._context.socket(zmq.DEALER if mode == "compact" else zmq.PULL)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 160 if mode == "compact" else ahead)
        self.socket.setsockopt(zmq.MAXMSGSIZE, compact.MOST_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self.socket.setsockopt(zmq.IPV6, address.startswith("tcp://["))
        if mode == "compact":  # old servers may not know these
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20000)
        if key is not None:
            self.socket.curve_serverkey = self.socket.curve_publickey = key.public.encode()
            self.socket.curve_secretkey = key.secret.encode()
        self._monitor: Any = self.socket.get_monitor_socket()
        self.socket.connect(address)

    def register(self, poller: zmq.Poller) -> None:
        """Have a poller wake up for messages and for changes of the connection."""
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)

    def watch(self) -> None:
        """Take note of what has happened to the connection; raises `DataError` when the server refuses us."""
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event = recv_monitor_message(self._monitor)["event"]
            if event in _REFUSALS:
                raise DataError(f"{self.address}: the server {_REFUSALS[event]}")
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                if self.state not in ("never reached", "connected"):
                    logger.warning("%s: the sample server is back", self.address)
                self.state = "connected"
            elif event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
                # Also of a server that has just died behind a tunnel, so we go on trying.
                self.state = "turns us away: has it our key, and our mode?"
            elif event == zmq.Event.DISCONNECTED:
                if self.state == "connected":
                    logger.warning("%s: the sample server is lost; waiting for it to come back", self.address)
                    self.state = "lost"
                self.asked = 0  # requests die with their server

    def ask(self, epoch: int | None, ahead: int) -> None:
        """Ask for samples until `ahead` are under way; for one, while we do not know the epoch."""
        if self.asked > ahead // 2:  # several requests at once wake fewer threads, here and at the server
            return
        while self.asked < (1 if epoch is None else ahead):
            try:
                self.socket.send(compact.pack_request(epoch), flags=zmq.DONTWAIT)
            except zmq.Again:
                return
            self.asked += 1

    def receive(self) -> list[memoryview] | None:
        """The frames of the next message, their memory our own; None where none has come."""
        try:
            frames = self.socket.recv_multipart(flags=zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        if len(frames) > MOST_FRAMES:
            raise DataError(f"{self.address}: a message of {len(frames)} frames; at most {MOST_FRAMES} are read")
        return [frame.buffer for frame in frames]

    def close(self) -> None:
        """Leave the server."""
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=0)
        self._context.term()
