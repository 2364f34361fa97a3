"""simcc: a network of crops whose heatmaps two linear layers turn into vectors, of the places along x and along y.

Source: Y. Li and others, "SimCC: a Simple Coordinate Classification Perspective", ECCV 2022 (arXiv 2107.03332). The
names of the parameters are those of the network of heatmaps, so that its weights start a training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from manypose.errors import ModelError
from manypose.networks.entry import Entry
from manypose.networks.hrnet import PLANS, Hrnet
from manypose.networks.maps import Vectors
from manypose.networks.options import check_options
from manypose.networks.pose_resnet import PoseResnet
from manypose.networks.residual import BOTTLENECKS_FROM, RESNET_BLOCKS, BasicBlock, Bottleneck

CELL = 4  # pixels of the input for one cell of the heatmaps
MULTIPLE = 32  # of pixels that the networks of heatmaps take
MOST_PIXELS = 4096


class VectorHead(nn.Module):
    """Heatmaps (B, K, h, w) of an input of `size` (w, h) pixels to vectors of size * `split_ratio` bins."""

    def __init__(self, size: tuple[int, int], split_ratio: float) -> None:
        super().__init__()
        self.size, self.split_ratio = size, split_ratio
        cells = (size[0] // CELL) * (size[1] // CELL)
        self.x = nn.Linear(cells, round(size[0] * split_ratio))
        self.y = nn.Linear(cells, round(size[1] * split_ratio))

    def forward(self, heatmaps: Tensor) -> Vectors:
        if not torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            # Of as many cells in another order the layers would make something.
            found = (CELL * heatmaps.shape[3], CELL * heatmaps.shape[2])
            if found != self.size:
                given, own = (f"{width}x{height}" for width, height in (found, self.size))
                raise ModelError(f"the network takes inputs of {own}, not of {given}: set input_width and input_height")
        cells = heatmaps.flatten(2)
        return Vectors(self.x(cells), self.y(cells))


class SimccResnet(PoseResnet):
    """`PoseResnet` with a `VectorHead`: crops (B, 3, H, W) of one size to `Vectors`."""

    def __init__(self, depth: int, *, joints: int, width: float, size: tuple[int, int], split_ratio: float) -> None:
        block = BasicBlock if depth < BOTTLENECKS_FROM else Bottleneck
        blocks = RESNET_BLOCKS[depth]
        super().__init__(block, block.expansion, blocks, joints=joints, width=width, kernel=4)
        self.vectors = VectorHead(size, split_ratio)

    def forward(self, crops: Tensor) -> Vectors:  # type: ignore[override]  # shares the layers, not what they give
        vectors: Vectors = self.vectors(super().forward(crops))
        return vectors


class SimccHrnet(Hrnet):
    """`Hrnet` with a `VectorHead`: crops (B, 3, H, W) of one size to `Vectors`."""

    def __init__(self, name: str, *, joints: int, width: float, size: tuple[int, int], split_ratio: float) -> None:
        super().__init__(PLANS[name], joints=joints, width=width)
        self.vectors = VectorHead(size, split_ratio)

    def forward(self, crops: Tensor) -> Vectors:  # type: ignore[override]  # shares the layers, not what they give
        vectors: Vectors = self.vectors(super().forward(crops))
        return vectors


def simcc_resnet_18(
    *, joints: int = 17, width: float = 1.0, input_width: int = 192, input_height: int = 256, split_ratio: float = 2.0
) -> SimccResnet:
    """`pose_resnet_18` for crops of `input_width` x `input_height`, with `split_ratio` bins for one pixel of them.

    `width` multiplies the channels of all hidden layers, rounded to multiples of 8. Raises `ModelError` that names the
    option at fault.
    """
    size = _check("simcc_resnet_18", joints, width, (input_width, input_height), split_ratio)
    return SimccResnet(18, joints=joints, width=width, size=size, split_ratio=split_ratio)


def simcc_resnet_50(
    *, joints: int = 17, width: float = 1.0, input_width: int = 192, input_height: int = 256, split_ratio: float = 2.0
) -> SimccResnet:
    """`pose_resnet_50` with vectors; options and errors are those of `simcc_resnet_18`."""
    size = _check("simcc_resnet_50", joints, width, (input_width, input_height), split_ratio)
    return SimccResnet(50, joints=joints, width=width, size=size, split_ratio=split_ratio)


def simcc_hrnet_w32(
    *, joints: int = 17, width: float = 1.0, input_width: int = 192, input_height: int = 256, split_ratio: float = 2.0
) -> SimccHrnet:
    """`hrnet_w32` with vectors; options and errors are those of `simcc_resnet_18`."""
    size = _check("simcc_hrnet_w32", joints, width, (input_width, input_height), split_ratio)
    return SimccHrnet("hrnet_w32", joints=joints, width=width, size=size, split_ratio=split_ratio)


def _check(name: str, joints: int, width: float, size: tuple[int, int], split_ratio: float) -> tuple[int, int]:
    """The size; raises `ModelError` that names the option at fault."""
    check_options(name, joints=joints, width=width)
    for option, side in zip(("input_width", "input_height"), size, strict=True):
        if side % MULTIPLE or not 0 < side <= MOST_PIXELS:
            raise ModelError(f"{name}: {option} is {side}, expected a multiple of {MULTIPLE} up to {MOST_PIXELS}")
    if not 0.5 <= split_ratio <= 16:
        raise ModelError(f"{name}: split_ratio is {split_ratio}, expected bins for one pixel: 0.5 to 16")
    return size


def _entry(make: Callable[..., nn.Module]) -> Entry:
    return Entry(make, "top-down", (192, 256), "Y. Li and others, arXiv 2107.03332", vectors=True)


ENTRIES = {
    "simcc_resnet_18": _entry(simcc_resnet_18),
    "simcc_resnet_50": _entry(simcc_resnet_50),
    "simcc_hrnet_w32": _entry(simcc_hrnet_w32),
}
