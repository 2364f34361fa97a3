"""`manypose export` of converted checkpoints, its 16 bit and sizes, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SMALL, Run

from manypose.model import load_model

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("lightning", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.convert.checkpoint import Checkpoint, Header, save_checkpoint  # noqa: E402
from manypose.metadata import HeatmapSettings, InputSettings, Metadata  # noqa: E402

pytestmark = pytest.mark.train

OF_CROPS: dict[str, Any] = {
    "task": "top-down",
    "skeleton": "coco17",
    "input": InputSettings(size=(64, 96), fit="crop"),
    "outputs": {"heatmaps": "heatmaps"},
    "maps": HeatmapSettings(),
}
OF_PICTURES: dict[str, Any] = {
    "task": "bottom-up",
    "skeleton": "openpose18",
    "outputs": {"heatmaps": "heatmaps", "fields": "fields"},
}


def checkpoint(folder: Path, network: str, settings: dict[str, Any] | None) -> Path:
    """A converted checkpoint, or that of a backbone (None)."""
    torch.manual_seed(0)
    options = {"width": 0.25}
    state = networks.build(network, **options).state_dict()
    metadata = None if settings is None else Metadata(name="theirs", licence="MIT", **settings)
    header = Header(network=network, options=options, metadata=metadata)
    file = folder / f"{network}.safetensors"
    tensors = {name: value.numpy() for name, value in state.items() if value.is_floating_point()}
    save_checkpoint(Checkpoint(header, tensors), file)
    return file


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return checkpoint(tmp_path, "lpn_18", OF_CROPS)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return checkpoint(tmp_path, "mobilenet_paf", OF_PICTURES)


def said_by(model: Path) -> Metadata:
    return load_model(model, device="cpu", threads=1).metadata


def test_a_converted_checkpoint_keeps_what_it_says_of_itself(run: Run, crops: Path, tmp_path: Path) -> None:
    ran = run("export", crops, "-o", tmp_path / "a.onnx")
    assert (ran.code, ran.err) == (0, "")
    assert "a.onnx: theirs, " in ran.out
    said = said_by(tmp_path / "a.onnx")
    assert (said.name, said.licence, said.input.size) == ("theirs", "MIT", (64, 96))


def test_what_is_told_to_the_command_counts_more(run: Run, pictures: Path, tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    ran = run("export", pictures, "-o", model, "--name", "mine", "--licence", "CC0-1.0", "--long-side", "512")
    assert ran.code == 0
    said = said_by(model)
    assert (said.name, said.licence, said.input.long_side) == ("mine", "CC0-1.0", 512)


def test_a_network_of_crops_can_be_told_another_size(run: Run, crops: Path, tmp_path: Path) -> None:
    assert run("export", crops, "-o", tmp_path / "a.onnx", "--size", "288x384").code == 0
    opened = load_model(tmp_path / "a.onnx", device="cpu", threads=1)
    assert opened.metadata.input.size == (288, 384)
    assert opened.metadata.maps.sigma == 3.0  # type: ignore[union-attr]
    assert opened.infer(np.zeros((1, 3, 384, 288), np.float32))["heatmaps"][0].shape == (1, 17, 96, 72)


def test_in_16_bit_a_file_is_half_as_large_and_is_used_alike(
    run: Run, pictures: Path, picture: Path, tmp_path: Path
) -> None:
    for name, options in (("whole.onnx", ()), ("half.onnx", ("--half",))):
        assert run("export", pictures, "-o", tmp_path / name, *options).code == 0
    sizes = {name: (tmp_path / name).stat().st_size for name in ("whole.onnx", "half.onnx")}
    assert 0.45 < sizes["half.onnx"] / sizes["whole.onnx"] < 0.6
    assert run("predict", picture, "--model", tmp_path / "half.onnx", "--json", *SMALL).code == 0


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("weights.pth", (), r"weights.pth: expected .ckpt (a checkpoint of `manypose train`), .safetensors"),
        ("model.onnx", (), "model.onnx: expected .ckpt"),
        ("none.safetensors", (), "none.safetensors: no such file; give .ckpt"),
        ("none.ckpt", (), "none.ckpt: no such file; give .ckpt"),
        ("none.yaml", (), "none.yaml: no such file; give .ckpt"),
        ("broken.safetensors", (), "broken.safetensors: not a safetensors file"),
        (
            "lpn_18.safetensors",
            ("--size", "50x64"),
            "an input of 50x64 into maps at stride 4; give a size in multiples of 32",
        ),
        ("lpn_18.safetensors", ("--long-side", "512"), "takes crops of one size: give the size, not the long side"),
        ("mobilenet_paf.safetensors", ("--size", "64x64"), "pictures of any size: leave the size out"),
        ("hrnet_w32.safetensors", (), "those of a backbone for hrnet_w32, which finds no people before it is trained"),
    ],
)
def test_every_refusal_is_one_line(
    run: Run, tmp_path: Path, source: str, options: tuple[str, ...], message: str
) -> None:
    made = {"lpn_18": OF_CROPS, "mobilenet_paf": OF_PICTURES, "hrnet_w32": None}
    stem = source.removesuffix(".safetensors")
    if stem in made:
        checkpoint(tmp_path, stem, made[stem])
    elif not source.startswith("none"):
        (tmp_path / source).write_bytes(b"something else")
    ran = run("export", tmp_path / source, "-o", tmp_path / "a.onnx", *options)
    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "a.onnx").exists()


def test_the_file_to_write_must_be_new_and_end_in_onnx(run: Run, crops: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"mine")
    ran = run("export", crops, "-o", tmp_path / "a.onnx")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "a.onnx: the file exists" in ran.err
    assert (tmp_path / "a.onnx").read_bytes() == b"mine"
    ran = run("export", crops, "-o", tmp_path / "a.pt")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "a.pt: a model file ends in .onnx" in ran.err
