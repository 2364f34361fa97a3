"""Trunks: sizes and names of torchvision's ImageNet weights, strides and what dilation changes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks.count import count_parameters  # noqa: E402
from manypose.networks.trunks import ResNetTrunk, vgg19_trunk  # noqa: E402

pytestmark = pytest.mark.train


def test_vgg19_has_twenty_tensors_under_torchvisions_numbers() -> None:
    """The published size of the first ten layers; openpose.md calls them conv1_1 to conv4_2."""
    trunk = vgg19_trunk()
    assert count_parameters(trunk) == 5_865_536
    layers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21)
    assert list(trunk.state_dict()) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    ("depth", "parameters", "classifier"),
    [
        (18, 11_689_512, 512_000 + 1000),
        (34, 21_797_672, 512_000 + 1000),
        (50, 25_557_032, 2_048_000 + 1000),
        (101, 44_549_160, 2_048_000 + 1000),
        (152, 60_192_808, 2_048_000 + 1000),
    ],
)
def test_resnets_have_the_published_sizes_without_the_classifier(depth: int, parameters: int, classifier: int) -> None:
    with torch.device("meta"):
        assert count_parameters(ResNetTrunk(depth)) == parameters - classifier


def test_resnets_have_torchvisions_names() -> None:
    names = set(ResNetTrunk(50, width=0.125).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} <= names
    assert "layer1.0.downsample.0.weight" not in ResNetTrunk(18, width=0.125).state_dict()


@pytest.mark.parametrize(("levels", "stride", "cells"), [(4, 32, 2), (4, 16, 4), (4, 8, 8), (3, 8, 8), (2, 8, 8)])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_dilation_holds_the_stride_and_needs_no_other_weights(
    depth: int, levels: int, stride: int, cells: int
) -> None:
    trunk = ResNetTrunk(depth, levels=levels, stride=stride, width=0.125).eval()
    with torch.no_grad():
        assert trunk(torch.zeros(1, 3, 64, 64)).shape == (1, trunk.channels, cells, cells)
    plain = ResNetTrunk(depth, levels=levels, width=0.125)
    plain.load_state_dict(trunk.state_dict())


@pytest.mark.parametrize("depth", [18, 50])
def test_dilated_layers_give_at_every_fourth_cell_what_the_strided_ones_give(depth: int) -> None:
    torch.manual_seed(0)
    strided = ResNetTrunk(depth, width=0.125).eval()
    dilated = ResNetTrunk(depth, stride=8, width=0.125).eval()
    dilated.load_state_dict(strided.state_dict())
    pictures = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(dilated(pictures)[..., ::4, ::4], strided(pictures), atol=1e-5, rtol=1e-5)


def test_depths_that_there_are_not() -> None:
    with pytest.raises(ModelError, match="depth is 20, expected one of 18, 34, 50, 101, 152"):
        ResNetTrunk(20)
