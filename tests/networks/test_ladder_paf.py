"""The network that manypose ships: its maps, its size, and networks made by name."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.errors import ModelError  # noqa: E402
from manypose.networks import build  # noqa: E402
from manypose.networks.count import count_parameters  # noqa: E402
from manypose.networks.ladder_paf import LadderPaf, ladder_paf, ladder_paf_small  # noqa: E402
from manypose.networks.maps import Maps  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize("name", ["ladder_paf", "ladder_paf_small", "mobilenet_paf"])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (2, 32, 96)])
def test_maps_have_one_cell_for_eight_pixels(name: str, batch: int, height: int, width: int) -> None:
    network = build(name, joints=14, fields=26, width=0.25).eval()
    with torch.no_grad():
        maps = network(torch.zeros(batch, 3, height, width))[-1]
    assert isinstance(maps, Maps)
    assert maps.heatmaps.shape == (batch, 15, height // 8, width // 8)
    assert maps.fields.shape == (batch, 26, height // 8, width // 8)


def test_the_maps_start_flat() -> None:
    """The last layers begin with zeros, so the first steps do not fight random maps."""
    with torch.no_grad():
        (maps,) = ladder_paf_small(width=0.25).eval()(torch.randn(1, 3, 32, 32))
    assert max(part.std(dim=(2, 3)).max() for part in maps) < 1e-6


def test_every_place_of_the_picture_is_seen_from_afar() -> None:
    torch.manual_seed(0)
    network = ladder_paf_small(width=0.5).eval()
    torch.nn.init.normal_(network.heatmaps.weight)
    picture = torch.randn(1, 3, 128, 128, requires_grad=True)
    network(picture)[0].heatmaps[0, 0, 8, 8].backward()
    assert picture.grad is not None
    rows = picture.grad[0].abs().sum(dim=(0, 2)).nonzero()
    assert rows.max() - rows.min() > 64


def test_width_scales_the_channels_to_multiples_of_eight() -> None:
    for width in (0.1, 0.3, 0.5, 1.0):
        convolutions = [m for m in ladder_paf(width=width).modules() if isinstance(m, torch.nn.Conv2d)]
        hidden = {m.out_channels for m in convolutions} - {19, 38}
        assert all(channels % 8 == 0 for channels in hidden)
    sizes = [count_parameters(ladder_paf(width=width)) for width in (0.25, 0.5, 1.0)]
    assert sizes == sorted(sizes)
    assert count_parameters(ladder_paf_small()) < count_parameters(ladder_paf()) / 3


def test_a_shipped_model_stays_below_ten_megabytes() -> None:
    assert count_parameters(ladder_paf()) * 4 < 10e6


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ladder", {}, "no network is called 'ladder'; there are body25, .*ladder_paf, ladder_paf_small"),
        ("ladder_paf", {"depth": 3}, "network 'ladder_paf': .*unexpected keyword argument 'depth'"),
        ("ladder_paf", {"joints": 0}, "joints is 0, expected at least 1"),
        ("ladder_paf", {"fields": 37}, "fields is 37, expected an even number: x and y of each limb"),
        ("ladder_paf_small", {"width": 0}, "width is 0, expected a factor over 0"),
        ("ladder_paf_small", {"width": float("nan")}, "width is nan, expected a factor over 0"),
    ],
)
def test_networks_that_cannot_be_made(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, **options)


def test_networks_by_name() -> None:
    assert isinstance(build("ladder_paf_small", width=0.25), LadderPaf)
