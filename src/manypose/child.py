"""Reading a file in a process of its own, for libraries that a few flipped bits make crash or run for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from manypose.errors import ManyposeError

PATIENCE = 60  # seconds, and for each byte as long as this slowest reader takes:
SLOWEST = 1 << 20  # bytes a second
REFUSED = 3  # exit code of the reading process when it has said on stdout what is wrong with the file


def read_in_child(module: str, *arguments: str, size: int, error: type[ManyposeError], advice: str) -> None:
    """Run `python -m module arguments` to its end; it reads a file of `size` bytes and leaves what it found in another.

    Raises `error`, without the name of the file, when the process calls `refuse`, fails, crashes, or takes more than a
    minute and a second for each MB; `advice` ends what is said about a damaged file.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]
    try:
        answer = subprocess.run(
            command, capture_output=True, timeout=PATIENCE + size / SLOWEST, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise error(f"damaged: reading it comes to no end; {advice}") from None
    if answer.returncode == REFUSED:
        raise error(answer.stdout.decode(errors="replace"))
    said = answer.stderr.decode(errors="replace").strip()
    if answer.returncode > 0:
        raise error(f"the process that reads it failed: {said[-300:] or answer.returncode}")
    if answer.returncode:
        last = said.rpartition("\n")[2]
        raise error(f"damaged: reading it crashes ({last or answer.returncode}); {advice}")


def refuse(message: str) -> int:
    """Say in the reading process what is wrong with the file; gives its exit code."""
    sys.stdout.buffer.write(message.encode())
    return REFUSED


def _environment() -> dict[str, str]:
    """That of this process, in which the reading process finds the same manypose."""
    package = str(Path(__file__).resolve().parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
