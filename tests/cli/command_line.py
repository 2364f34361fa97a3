"""What the tests of the command line share: what a command leaves behind, its smallest network, pictures of noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SMALL = ("--long-side", "128", "--threads", "1", "--device", "cpu")


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def make_picture(file: Path, *, seed: int = 0) -> Path:
    """Write a picture of noise and give its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    suffix = file.suffix if file.suffix in (".png", ".jpg") else ".png"
    data = cv2.imencode(suffix, np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8))[1]
    file.write_bytes(data.tobytes())
    return file
