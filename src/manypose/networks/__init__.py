"""Networks: one file per family, variants as small named functions; `build` makes one by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from manypose.errors import ModelError
from manypose.networks import (
    body25,
    cpm,
    hrnet,
    ladder_paf,
    lpn,
    mobilenet_paf,
    pose_resnet,
    resnet_paf,
    simcc,
    vgg_paf,
)
from manypose.networks.entry import Entry
from manypose.networks.maps import Maps, Vectors

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}

__all__ = ["ENTRIES", "Entry", "Maps", "Vectors", "build"]

ENTRIES: dict[str, Entry] = (
    ladder_paf.ENTRIES
    | mobilenet_paf.ENTRIES
    | vgg_paf.ENTRIES
    | body25.ENTRIES
    | resnet_paf.ENTRIES
    | cpm.ENTRIES
    | hrnet.ENTRIES
    | lpn.ENTRIES
    | pose_resnet.ENTRIES
    | simcc.ENTRIES
)


def build(name: str, **options: Any) -> nn.Module:
    """A network by name, with its options as keyword arguments; weights are random.

    Raises `ModelError` that lists the names, or says which option the network does not take.
    """
    if name not in ENTRIES:
        raise ModelError(f"no network is called {name!r}; there are {', '.join(sorted(ENTRIES))}")
    make = ENTRIES[name].make
    _check_options(name, make, options)
    try:
        return make(**options)
    except (TypeError, RuntimeError) as error:  # PyTorch's, of numbers beyond all measure; the rest are traces of C++
        raise ModelError(f"network {name!r}: {str(error).splitlines()[0]}") from None


def _check_options(name: str, make: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    """Raise `ModelError` for an option that there is not, or whose value is not of the kind that it is written with."""
    signature = inspect.signature(make, eval_str=True)
    try:
        signature.bind(**options)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise ModelError(f"network {name!r}: {error}; its options are {names}") from None
    for option, value in options.items():
        kind = signature.parameters[option].annotation
        kind = kind if kind in _KINDS else str  # the others are words to choose from, which the network itself knows
        # A bool is an int to Python, and an int does for a float.
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ModelError(f"network {name!r}: option {option} is {value!r}, expected {_KINDS[kind]}")
