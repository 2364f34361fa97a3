"""Networks: one file per family, variants as small named functions; `build` makes one by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from manypose.errors import ModelError
from manypose.networks.ladder_paf import ladder_paf, ladder_paf_small
from manypose.networks.maps import Maps
from manypose.networks.mobilenet_paf import mobilenet_paf

__all__ = ["NETWORKS", "Maps", "build"]

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "ladder_paf": ladder_paf,
    "ladder_paf_small": ladder_paf_small,
    "mobilenet_paf": mobilenet_paf,
}


def build(name: str, **options: Any) -> nn.Module:
    """A network by name, with its options as keyword arguments; weights are random.

    Raises `ModelError` that lists the names, or says which option the network does not take.
    """
    if name not in NETWORKS:
        raise ModelError(f"no network is called {name!r}; there are {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise ModelError(f"network {name!r}: {error}") from None
