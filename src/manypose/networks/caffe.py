"""What the networks of the CMU family share: layers under the names of their Caffe models, and the first of VGG-19."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from manypose.networks.options import scaled

# Convolutions of VGG-19 as far as conv3_4; a pool halves the sides after each block.
VGG_BLOCKS = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3", "conv3_4"),
)
VGG_CHANNELS = (64, 128, 256)


class CaffeNetwork(nn.Module):
    """A network whose layers stand side by side, called as in the Caffe model: `conv1_1.weight`, `conv1_1.bias` ...

    `width` multiplies the channels of all hidden layers.
    """

    stride = 8

    def __init__(self, *, width: float) -> None:
        super().__init__()
        self.width = width
        inputs = 3
        for names, channels in zip(VGG_BLOCKS, VGG_CHANNELS, strict=True):
            self.add_convolutions(names, inputs, self.scaled(channels))
            inputs = self.scaled(channels)

    def scaled(self, channels: int) -> int:
        """Channels of a hidden layer: a multiple of 8."""
        return scaled(channels, self.width)

    def add_convolutions(self, names: Sequence[str], inputs: int, outputs: int, *, kernel: int = 3) -> None:
        """Convolutions in a row, "same" padding; only the first has `inputs` channels."""
        for name in names:
            self.add_module(name, nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
            inputs = outputs

    def apply_layer(self, name: str, x: Tensor) -> Tensor:
        """What the layer of that name makes of x."""
        return cast(Tensor, self.get_submodule(name)(x))

    def convolve(self, names: Sequence[str], x: Tensor) -> Tensor:
        """Convolutions in a row, each with a ReLU."""
        for name in names:
            x = functional.relu(self.apply_layer(name, x), inplace=True)
        return x

    def extract(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to the features of conv3_4, pooled to (H / 8, W / 8)."""
        for names in VGG_BLOCKS:
            pictures = functional.max_pool2d(self.convolve(names, pictures), 2)
        return pictures
