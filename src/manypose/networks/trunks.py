"""Trunks of other people's classifiers: VGG-19 as far as its layer conv4_2, and the ResNets.

Sources: K. Simonyan and A. Zisserman, arXiv 1409.1556; K. He et al., arXiv 1512.03385, with the stride of a bottleneck
in its 3x3 convolution ("v1.5", "v1b"). The names of the parameters are those of torchvision's ImageNet weights, which
load after the prefix `features.` (VGG) is taken off and the layers that are not here are left out.
"""

from __future__ import annotations

from torch import Tensor, nn

from manypose.errors import ModelError
from manypose.networks.options import scaled
from manypose.networks.residual import BOTTLENECKS_FROM, RESNET_BLOCKS, BasicBlock, Bottleneck, stem


def vgg19_trunk(*, width: float = 1.0) -> nn.Sequential:
    """VGG-19 from conv1_1 to conv4_2: pictures (B, 3, H, W) to 512 * width channels at stride 8."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, count in ((64, 2), (128, 2), (256, 4), (512, 2)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(inputs, scaled(channels, width), 3, padding=1), nn.ReLU(inplace=True)]
            inputs = scaled(channels, width)
    return nn.Sequential(*layers)


class ResNetTrunk(nn.Module):
    """Pictures (B, 3, H, W) to `channels` features at stride 8, 16 or 32.

    `levels` of the layers 1..4 are kept. Where the next layer would pass `stride`, a dilation takes the place of its
    stride: it sees as much of the picture on a finer grid, with the same weights.

    Raises `ModelError` for a `depth` that there is not.
    """

    def __init__(self, depth: int, *, levels: int = 4, stride: int = 32, width: float = 1.0) -> None:
        super().__init__()
        if depth not in RESNET_BLOCKS:
            raise ModelError(f"depth is {depth}, expected one of {', '.join(map(str, RESNET_BLOCKS))}")
        first = scaled(64, width)
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        block = Bottleneck if depth >= BOTTLENECKS_FROM else BasicBlock
        inputs, reached, dilation = first, 4, 1
        for level, count in enumerate(RESNET_BLOCKS[depth][:levels]):
            step = 1 if level == 0 or reached == stride else 2
            before, dilation = dilation, dilation * (2 if level and step == 1 else 1)
            channels = scaled(64 * 2**level, width)
            layer = nn.Sequential(block(inputs, channels, stride=step, dilations=(before, dilation)))
            inputs = channels * block.expansion
            for _ in range(count - 1):
                layer.append(block(inputs, channels, dilations=(dilation, dilation)))
            self.add_module(f"layer{level + 1}", layer)
            reached *= step
        self.channels = inputs

    def forward(self, pictures: Tensor) -> Tensor:
        features = stem(self, pictures)
        for name, layer in self.named_children():
            if name.startswith("layer"):
                features = layer(features)
        return features
