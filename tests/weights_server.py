"""A server on this machine whose answers go wrong as a test wants it, and which counts the bytes that it sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Turn:
    """What one request gets; requests after the last turn get the last."""

    status: int = 200
    cut: int | None = None  # break the connection after so many bytes
    body: bytes | None = None  # other bytes than the file's
    ranges: bool = True  # whether Range is honoured
    content_range: str | None = None  # a wrong one
    length: bool = True  # whether Content-Length is sent
    chunked: bool = False
    pause: float = 0.0  # seconds of silence after half of the bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """`requests` has the headers of each request; `sent` the bytes of each answer."""

    address: str
    content: bytes
    turns: list[Turn] = field(default_factory=lambda: [Turn()])
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def url(self, name: str = "weights.bin") -> str:
        return f"{self.address}/{name}"


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """Serve `content` under every path of an address on this machine."""
    server = Server("", content)
    counting = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with counting:
                turn = server.turns[min(len(server.requests), len(server.turns) - 1)]
                server.requests.append({name.lower(): value for name, value in self.headers.items()})
                place = len(server.sent)
                server.sent.append(0)
            self.close_connection = True
            body, start = self._begin(turn)
            rest = body[start:]
            for at in range(0, len(rest), 1000):
                if turn.cut is not None and at >= turn.cut:
                    return
                if turn.pause and at >= len(rest) // 2:
                    time.sleep(turn.pause)
                piece = rest[at : at + 1000]
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if turn.chunked else piece)
                except OSError:  # the client had enough
                    return
                server.sent[place] += len(piece)
            if turn.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def _begin(self, turn: Turn) -> tuple[bytes, int]:
            body = server.content if turn.body is None else turn.body
            wanted = self.headers.get("Range")
            same = self.headers.get("If-Range") in (None, turn.headers.get("ETag"))
            start = int(wanted[6:-1]) if wanted and turn.ranges and same else 0
            status = turn.status
            if start and status == 200:
                status = 206 if start < len(body) else 416
            if status not in (200, 206):
                body, start = b"", 0
            self.send_response(status)
            for name, value in turn.headers.items():
                self.send_header(name, value)
            if turn.content_range or status == 206:
                self.send_header("Content-Range", turn.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}")
            if turn.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif turn.length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            return body, start

        def log_message(self, *arguments: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
