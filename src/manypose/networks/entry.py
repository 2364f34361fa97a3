"""What `networks.build` knows of a network beside how it is made: its task, its size and the published figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

Task = Literal["bottom-up", "top-down", "face", "hand"]
Kind = Literal["bottom-up", "crops", "simcc"]


@dataclass(frozen=True)
class Entry:
    """A network by name.

    `make` takes its options as keywords and gives it with random weights. `size` (width, height) is that of the input
    which the figures hold for. `parameters` and `multiply_adds` are those of the product that the network comes from,
    None where nobody published any; `source` names the paper and the product. `vectors`: it gives `Vectors`, of inputs
    of its options `input_width` and `input_height` alone.
    """

    make: Callable[..., nn.Module]
    task: Task
    size: tuple[int, int]
    source: str
    parameters: int | None = None
    multiply_adds: int | None = None
    vectors: bool = False

    @property
    def kind(self) -> Kind:
        """What it gives: maps of whole pictures, or heatmaps or SimCC's vectors of one person's crop."""
        if self.vectors:
            return "simcc"
        return "bottom-up" if self.task == "bottom-up" else "crops"
