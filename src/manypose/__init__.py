"""manypose finds people in photos and video: body, face and hand joints.

    people = manypose.load()("photo.jpg")

Everything is loaded at first use, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manypose.api import load as load
    from manypose.errors import ManyposeError as ManyposeError
    from manypose.images import open_image as open_image
    from manypose.people import People as People
    from manypose.skeleton import Skeleton as Skeleton
    from manypose.skeleton import load_skeleton as load_skeleton

__version__ = "0.1.0"

_HOMES = {
    "ManyposeError": "manypose.errors",
    "People": "manypose.people",
    "Skeleton": "manypose.skeleton",
    "load": "manypose.api",
    "load_skeleton": "manypose.skeleton",
    "open_image": "manypose.images",
}
__all__ = ["ManyposeError", "People", "Skeleton", "load", "load_skeleton", "open_image"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'manypose' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
