"""Who may speak to a sample server: this machine alone, or others that hold the same key file."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manypose.errors import DataError, OutputError, require

_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True)
class Key:
    """A key of ZeroMQ's CURVE, 40 letters for each half; servers and clients share one."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"Key(public={self.public!r})"  # a log must not give the secret away


def make_key(file: Path) -> None:
    """Write a new key to a file that only its owner may read; raises `OutputError` where there is a file already."""
    zmq = require("zmq", extra="train")
    public, secret = (half.decode() for half in zmq.curve_keypair())
    content = json.dumps({"kind": "manypose sample server key", "public": public, "secret": secret}, indent=1)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise OutputError(f"{file}: is there already; a key is not overwritten") from None
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content + "\n")


def read_key(file: Path) -> Key:
    """The key of a file; raises `DataError` when it is none, or when others on this machine may read it."""
    try:
        mode = file.stat().st_mode
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: make a key with `manypose data serve --make-key FILE`") from None
    except ValueError:
        content = None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DataError(f"{file}: others may read this key: `chmod 600 {file}`, or make a new one")
    halves = [str(content.get(name)) for name in ("public", "secret")] if isinstance(content, dict) else []
    if not halves or not all(_Z85.fullmatch(half) for half in halves):
        raise DataError(f"{file}: not a key; make one with `manypose data serve --make-key FILE`")
    return Key(halves[0], halves[1])


def check_address(address: str, key: Key | None) -> None:
    """Refuse an address that is malformed, or reaches beyond this machine without a key, with a `DataError`."""
    match = re.fullmatch(r"(tcp)://(.+):(\d{1,5}|\*)|(ipc)://.+", address, re.ASCII)
    if not match or (match[1] and match[3] != "*" and int(match[3]) > 65535):
        raise DataError(f"{address}: not an address like tcp://127.0.0.1:5555")
    if key is None and match[1] and not _is_loopback(match[2]):
        raise DataError(
            f"{address}: reaches other machines, so a key is needed: `manypose data serve --make-key FILE`, then "
            "give that file to servers and clients"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
