"""Networks: one file per family, variants as small named functions; `build` makes one by name."""

from __future__ import annotations

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
    vgg_paf,
)
from manypose.networks.entry import Entry
from manypose.networks.maps import Maps

__all__ = ["ENTRIES", "Entry", "Maps", "build"]

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
)


def build(name: str, **options: Any) -> nn.Module:
    """A network by name, with its options as keyword arguments; weights are random.

    Raises `ModelError` that lists the names, or says which option the network does not take.
    """
    if name not in ENTRIES:
        raise ModelError(f"no network is called {name!r}; there are {', '.join(sorted(ENTRIES))}")
    try:
        return ENTRIES[name].make(**options)
    except TypeError as error:
        raise ModelError(f"network {name!r}: {error}") from None
