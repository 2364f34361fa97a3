"""Every network, exported, computes in ONNX Runtime what it computes in PyTorch, at other sizes than the traced one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from manypose.codecs.heatmaps import HeatmapCodec
from manypose.codecs.peaks import find_peaks
from manypose.metadata import FieldSettings, HeatmapSettings, InputSettings, Metadata, SimccSettings
from manypose.model import Model, load_model

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnx", reason="needs the extra [train]")

from manypose.convert.export import export_onnx  # noqa: E402
from manypose.networks import ENTRIES, build  # noqa: E402

pytestmark = pytest.mark.train

SIZES = ((64, 96), (96, 64))  # height, width
# More of the blocks that others of their families have, and slow to convert to 16 bit.
DEEP = (
    "hrnet_w32",
    "hrnet_w48",
    "simcc_hrnet_w32",
    "lpn_100",
    "lpn_101",
    "lpn_152",
    "pose_resnet_101",
    "pose_resnet_152",
)
JOINTS = {"body25": "body25", "cpm_face": "face70", "cpm_hand": "hand21"}
BACKGROUND: dict[str, Any] = {"sigma": 0.875, "background": True}  # of faces and hands
OF_TASK = {"bottom-up": "openpose18", "top-down": "coco17"}
Maps = dict[str, np.ndarray[Any, Any]]


class Case(NamedTuple):
    """A network in which every tensor matters, what it makes of a batch of each size, and what a file of it says."""

    network: Any
    metadata: Metadata
    batches: list[np.ndarray[Any, Any]]
    expected: list[Maps]


def make_case(name: str, **options: Any) -> Case:
    sizes = SIZES
    if ENTRIES[name].vectors:  # takes inputs of one size
        sizes, options = SIZES[:1], options | {"input_width": SIZES[0][1], "input_height": SIZES[0][0]}
    network = trained(name, **options)
    random = np.random.default_rng(1)
    batches = [random.uniform(-0.5, 0.5, (2, 3, *size)).astype(np.float32) for size in sizes]
    expected = []
    for batch in batches:
        with torch.no_grad():
            result = network(torch.from_numpy(batch))
        last = result[-1] if isinstance(result, tuple) and not hasattr(result, "_asdict") else result
        maps = last._asdict() if hasattr(last, "_asdict") else {"heatmaps": last}
        expected.append({meaning: array.numpy() for meaning, array in maps.items()})
    stride = 0 if ENTRIES[name].vectors else SIZES[0][0] // expected[0]["heatmaps"].shape[2]
    return Case(network, told(name, tuple(expected[0]), stride), batches, expected)


def trained(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    network = build(name, **options)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_var") or (key.endswith("weight") and value.ndim == 1):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(0, 1 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1)
    return network.eval()


def told(name: str, meanings: tuple[str, ...], stride: int) -> Metadata:
    task = ENTRIES[name].task
    if task == "bottom-up":
        settings: dict[str, Any] = {"maps": FieldSettings(stride=stride)}
    else:
        maps = (
            HeatmapSettings(stride=stride, **(BACKGROUND if task != "top-down" else {})) if stride else SimccSettings()
        )
        settings = {"input": InputSettings(size=SIZES[0][::-1], fit="crop"), "maps": maps}
    skeleton = JOINTS.get(name) or OF_TASK[task]
    outputs: Any = {meaning: meaning for meaning in meanings}
    return Metadata(name=name, task=task, skeleton=skeleton, outputs=outputs, **settings)


def opened(case: Case, folder: Path, *, half: bool = False) -> Model:
    """The model file of a network, open; large files are gone again at once."""
    file = folder / "model.onnx"
    export_onnx(case.network, case.metadata, file, half=half)
    model = load_model(file, device="cpu", threads=1)
    file.unlink()
    return model


def pairs(case: Case, model: Model) -> Iterator[tuple[str, Any, Any]]:
    """Meaning of an output, what PyTorch and what ONNX Runtime give, for all sizes."""
    for batch, expected in zip(case.batches, case.expected, strict=True):
        found = model.infer(batch)
        assert set(found) == set(expected)
        for meaning, theirs in expected.items():
            (ours,) = found[meaning]
            assert ours.dtype == np.float32
            assert ours.shape == theirs.shape
            assert theirs.std() > 1e-3 * np.abs(theirs).max()
            yield meaning, theirs, ours


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_onnx_runtime_gives_the_maps_and_the_joints_of_pytorch(name: str, tmp_path: Path) -> None:
    case = make_case(name)
    for meaning, theirs, ours in pairs(case, opened(case, tmp_path)):
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
        if meaning == "heatmaps":
            found, expected = (places(case, learnt(case, maps / np.abs(theirs).max())) for maps in (ours, theirs))
            np.testing.assert_allclose(found, expected, rtol=0, atol=0.1)


def learnt(case: Case, noise: Any) -> Any:
    """Heatmaps of a network that has learnt something: a Gaussian for each joint, and `noise` in -1..1."""
    settings: Any = case.metadata.maps
    sigma = settings.sigma if settings.kind == "heatmaps" else settings.sigma / settings.stride
    random = np.random.default_rng(2)
    height, width = noise.shape[2:]
    y, x = (random.uniform(1, side - 2, (*noise.shape[:2], 1, 1)) for side in (height, width))
    rows, columns = np.mgrid[:height, :width]
    peaks = 0.8 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return (peaks + 0.15 * noise).astype(np.float32)


def places(case: Case, heatmaps: Any) -> Any:
    """Where the joints are, in pixels of the input; of a network for crops by its codec, of others all peaks."""
    settings: Any = case.metadata.maps
    if settings.kind == "heatmaps":
        return HeatmapCodec(**settings.model_dump(exclude={"kind", "layout"})).decode(heatmaps)[0]
    peaks = [find_peaks(maps[:-1], threshold=0.3) for maps in heatmaps]
    assert min(map(len, peaks)) >= heatmaps.shape[1] - 1
    found = np.concatenate([np.column_stack([peak.joints * 1000, peak.x, peak.y]) for peak in peaks])
    return found * settings.stride


def with_deep_ones_nightly() -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.nightly] * (name in DEEP)) for name in sorted(ENTRIES)]


@pytest.mark.parametrize("name", with_deep_ones_nightly())
def test_in_16_bit_the_maps_are_near(name: str, tmp_path: Path) -> None:
    """In a quarter of the width, which has the same layers and takes less time."""
    case = make_case(name, width=0.25)
    for _, theirs, ours in pairs(case, opened(case, tmp_path, half=True)):
        assert np.abs(ours - theirs).max() <= 0.01 * np.abs(theirs).max()
