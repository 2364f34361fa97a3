"""Addresses opened for reading: http and https from any byte on, and local files."""

from __future__ import annotations

import http
import http.client
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from manypose import __version__
from manypose.errors import DownloadError

SCHEMES = ("http", "https", "file")
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be better the next time

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Stream(Protocol):
    """What bytes are read from; `read1` gives what is there, at most `size` bytes, and nothing at the end."""

    def read1(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Answer:
    """An open stream of the bytes from `start` on.

    `total` is the size of the whole file, None where the server does not say; `version` is its ETag or date; `whole`
    is False where the stream ends before the file does; `bounded` tells that an end too early would be noticed.
    """

    stream: Stream
    start: int
    total: int | None
    version: str | None = None
    whole: bool = True
    bounded: bool = True


class Broken(Exception):
    """A failure that may pass; `wait` is how many seconds the server asks for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def open_address(url: str, start: int = 0, version: str | None = None, *, timeout: float) -> Answer | None:
    """Open an address from a byte on; the answer may begin earlier than that, see its `start`.

    With a `version`, the server goes on only in that version of the file. None when it cannot go on at `start`.
    Ranges and versions as in RFC 9110, sections 8.8, 13.1.5 and 14.

    Raises `Broken` for what may pass, `DownloadError` for the rest.
    """
    if check_address(url) == "file":
        return _open_local(url)
    request = urllib.request.Request(url, headers={"User-Agent": f"manypose/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if version:
            request.add_header("If-Range", version)
    response = _send(request, timeout)
    if response is None:
        return None
    try:
        answer = _understand(url, response, start, version)
    except DownloadError:
        response.close()
        raise
    if answer is None:
        response.close()
    return answer


def check_address(url: str, *, before: str = "") -> str:
    """The scheme of an address; raises `DownloadError` for one that is not opened, or not after a redirection.

    `before` is the address that leads to this one: never from the web to a local file, nor from https to http.
    """
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
    except ValueError as error:
        raise DownloadError(f"{url}: not an address: {error}") from None
    if scheme not in SCHEMES or (host not in (None, "localhost") if scheme == "file" else not host):
        raise DownloadError(f"{url}: not an address of http, https or a local file")
    if before and scheme != "https" and (scheme == "file" or before.lower().startswith("https:")):
        raise DownloadError(f"{before}: leads to {url}, which is not followed: it is not https")
    return scheme


def why(error: BaseException | str) -> str:
    """What an error of the system or the web says, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def _open_local(url: str) -> Answer:
    path = Path(urllib.request.url2pathname(urlsplit(url).path))
    try:
        return Answer(open(path, "rb"), 0, path.stat().st_size)
    except (OSError, ValueError) as error:
        raise DownloadError(f"{url}: cannot be read: {why(error)}") from None


class _Redirections(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl, before=req.full_url)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Put together by hand: urllib's own would also open ftp, data and file addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirections(),
    ):
        opener.add_handler(handler)
    return opener


def _send(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse | None:
    """Send a request; None when the server cannot go on at its range."""
    url = request.full_url
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=timeout)
        return response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and request.has_header("Range"):
                return None
            said = f"the server says {error.code} {why(error.reason)}"
            if error.code in PASSING:
                wait = error.headers.get("Retry-After", "")
                raise Broken(said, float(wait) if re.fullmatch("[0-9]{1,5}", wait) else 0.0) from None
        raise DownloadError(f"{url}: {said}") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url}: not an address: {why(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: the server cannot prove who it is: {why(reason)}") from None
        raise Broken(f"no connection: {why(reason)}") from None


def _understand(url: str, response: http.client.HTTPResponse, start: int, version: str | None) -> Answer | None:
    """What an answer to a request of the bytes from `start` on gives; None when it is not those, nor the whole file."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{url}: is a web page, not a file; open it in a browser and give the file itself")
    found = _version(response)
    if response.status == http.HTTPStatus.OK:
        total = response.length
        return Answer(response, 0, total, found, bounded=total is not None or response.chunked)
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        raise DownloadError(f"{url}: the server says {response.status} {response.reason}")
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not start or not match or (version and found and version != found):
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first != start or response.length not in (None, last + 1 - first) or (total is not None and last >= total):
        return None
    whole = total is None or last + 1 == total
    return Answer(response, first, total, found or version, whole=whole, bounded=total is not None)


def _version(response: http.client.HTTPResponse) -> str | None:
    """What a server calls this version of the file: an ETag that vouches for every byte, or the date of change."""
    tag: str = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")
