"""What `networks.build` knows of a network beside how it is made: its task, its size and the published figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

Task = Literal["bottom-up", "top-down", "face", "hand"]


@dataclass(frozen=True)
class Entry:
    """A network by name.

    `make` takes its options as keywords and gives it with random weights. `size` (width, height) is that of the input
    which the figures hold for. `parameters` and `multiply_adds` are those of the product that the network comes from,
    None where nobody published any; `source` names the paper and the product.
    """

    make: Callable[..., nn.Module]
    task: Task
    size: tuple[int, int]
    source: str
    parameters: int | None = None
    multiply_adds: int | None = None
