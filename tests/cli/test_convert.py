"""`manypose convert`: weights of other products into a checkpoint, a model file or bare arrays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from command_line import SMALL, Run

from manypose.cli.convert import DECODINGS
from manypose.metadata import Decoding

pytestmark = pytest.mark.train

SAID = "mobilenet_paf (joints 18, fields 38, refinements 1, width 0.125, context osokin)"
NAME = "checkpoint_iter_370000.pth"


def network_of(name: str, **options: Any) -> Any:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    from manypose import networks

    torch.manual_seed(0)
    return networks.build(name, **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as Lightweight OpenPose writes it, of a narrow network."""
    network = network_of("mobilenet_paf", width=0.125)
    import torch

    file = tmp_path_factory.mktemp("theirs") / NAME
    torch.save({"state_dict": network.state_dict(), "optimizer": {"state": {}}, "iter": 370000}, file)
    return file


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state dict of a network that takes crops."""
    network = network_of("lpn_18")
    import torch

    file = tmp_path_factory.mktemp("theirs") / "lpn.pth"
    torch.save(network.state_dict(), file)
    return file


def metadata_of(run: Run, model: Path) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run("models", "show", model, "--json").out)
    return shown


# ---- what comes out ----


def test_a_converted_model_finds_people(run: Run, source: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "light.onnx"
    ran = run("convert", source, "-o", out)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{out}: {SAID}, ")
    assert ran.out.endswith(" MB; named as by Osokin\n")
    found = run("predict", picture, "--model", out, *SMALL, "--json")
    assert (found.code, found.err) == (0, "")
    assert json.loads(found.out)["pictures"][0]["people"] is not None


def test_the_suffix_decides_into_what(run: Run, source: Path, tmp_path: Path) -> None:
    assert run("convert", source, "-o", tmp_path / "light.safetensors").code == 0
    ran = run("convert", source, "-o", tmp_path / "light.npz")
    assert ran.out.startswith(f"{tmp_path / 'light.npz'}: ")
    assert " arrays of a pytorch file, " in ran.out
    assert "model.0.0.weight" in np.load(tmp_path / "light.npz")
    again = run("convert", tmp_path / "light.safetensors", "-o", tmp_path / "light.onnx")
    assert again.out.startswith(f"{tmp_path / 'light.onnx'}: {SAID}, ")
    assert metadata_of(run, tmp_path / "light.onnx")["origin"]["file"] == NAME


def test_list_prints_the_tensors_as_they_are_stored_and_writes_nothing(run: Run, source: Path, tmp_path: Path) -> None:
    before = sorted(source.parent.iterdir())
    ran = run("convert", source, "--list")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["model.0.0.weight", "8", "x", "3", "x", "3", "x", "3", "float32"] in rows
    assert ["model.0.1.num_batches_tracked", "one", "number", "int64"] in rows
    assert " tensors, pytorch, sha256 " in ran.out.splitlines()[-1]
    assert sorted(source.parent.iterdir()) == before


def test_what_the_user_knows_better_is_written_into_the_model(run: Run, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.onnx"
    wishes = ("--name", "mine [v2]", "--licence", "CC0-1.0", "--colours", "rgb", "--stages", "1", "--half")
    ran = run("convert", source, "-o", out, "--network", "mobilenet_paf", "--format", "pytorch", *wishes)
    assert (ran.code, ran.err) == (0, "")
    assert "refinements 0" in ran.out
    shown = metadata_of(run, out)
    assert (shown["licence"], shown["input"]["colours"], shown["skeleton"]) == ("CC0-1.0", "rgb", "openpose18")
    assert run("convert", source, "-o", tmp_path / "whole.onnx", "--stages", "1").code == 0
    assert out.stat().st_size < 0.7 * (tmp_path / "whole.onnx").stat().st_size


def test_the_size_of_a_crop_is_the_users_and_else_the_published_one(run: Run, crops: Path, tmp_path: Path) -> None:
    assert run("convert", crops, "-o", tmp_path / "plain.onnx").code == 0
    shown = metadata_of(run, tmp_path / "plain.onnx")
    assert (shown["task"], shown["input"]["size"], shown["skeleton"]) == ("top-down", [192, 256], "coco17")
    assert run("convert", crops, "-o", tmp_path / "large.onnx", "--size", "288x384").code == 0
    shown = metadata_of(run, tmp_path / "large.onnx")
    assert (shown["input"]["size"], shown["maps"]["sigma"]) == ([288, 384], 3.0)


def test_the_decoding_is_the_users_and_else_the_products(run: Run, crops: Path, tmp_path: Path) -> None:
    assert run("convert", crops, "-o", tmp_path / "plain.onnx").code == 0
    assert metadata_of(run, tmp_path / "plain.onnx")["maps"]["decoding"] == "soft-argmax+quarter"
    assert run("convert", crops, "-o", tmp_path / "other.onnx", "--decoding", "udp-dark").code == 0
    other = metadata_of(run, tmp_path / "other.onnx")["maps"]
    assert (other["decoding"], other["udp"]) == ("udp-dark", True)
    assert get_args(Decoding) == DECODINGS


def test_a_file_that_is_there_is_replaced_only_when_asked_for(run: Run, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "light.safetensors"
    out.write_bytes(b"mine")
    ran = run("convert", source, "-o", out)
    assert (ran.code, ran.out) == (1, "")
    assert "light.safetensors: the file exists; choose another name, or allow overwriting" in ran.err
    assert out.read_bytes() == b"mine"
    assert run("convert", source, "-o", out, "--overwrite").code == 0
    assert out.read_bytes() != b"mine"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "out.pth"), r"out.pth: its suffix must be one of .safetensors (a checkpoint), .onnx"),
        (("-o", "out"), "out: its suffix must be one of"),
        (("-o", "absent/out.safetensors"), "out.safetensors: the folder absent does not exist; create it first"),
        (("-o", "out.onnx", "--network", "swimmer"), "no weights are known for a network called 'swimmer'"),
        (("-o", "out.onnx", "--network", "body25"), "holds mobilenet_paf as Osokin names it, not what was"),
        (("-o", "out.onnx", "--format", "caffe"), f"{NAME}: "),
        (("-o", "out.onnx", "--skeleton", "coco17"), "'coco17' does not fit: the network has 18 joints and 38 field"),
        (("-o", "out.onnx", "--skeleton", "absent.yaml"), "absent.yaml"),
        (("-o", "out.onnx", "--size", "192x256"), "takes pictures of any size: leave the size out"),
        (("-o", "out.onnx", "--stages", "7"), "7 stages are wanted, and its network has 2"),
    ],
)
def test_what_does_not_fit_the_weights_is_one_line(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("convert", source, *options)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert ran.err.startswith("manypose: ")
    assert len(ran.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpm.conv.0.bias": None}, "nearly mobilenet_paf as Osokin names it, but missing: cpm.conv.0.bias\n"),
        ({"extra.weight": 3}, "but left over: extra.weight\n"),
        ({"cpm.conv.0.bias": 5}, "of another shape: cpm.conv.0.bias is (5,), expected (16,)\n"),
    ],
)
def test_a_tensor_without_its_place_is_named(
    run: Run, source: Path, tmp_path: Path, change: dict[str, int | None], message: str
) -> None:
    import torch

    state = torch.load(source, weights_only=True)["state_dict"]
    for name, length in change.items():
        state = {key: value for key, value in state.items() if key != name}
        state |= {} if length is None else {name: torch.zeros(length)}
    torch.save(state, tmp_path / "changed.pth")
    ran = run("convert", tmp_path / "changed.pth", "-o", tmp_path / "out.onnx")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(message)


class _Stranger:
    """What a pickle would make when it is read."""


def test_a_file_with_more_than_tensors_says_what_it_asks_for(run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    torch.save({"state_dict": {}, "model": _Stranger()}, tmp_path / "whole.pth")
    for action in (("--list",), ("-o", tmp_path / "out.npz")):
        ran = run("convert", tmp_path / "whole.pth", *action)
        assert (ran.code, ran.out) == (1, "")
        assert "holds Python objects beside tensors" in ran.err
        assert "_Stranger" in ran.err
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["a.caffemodel", "a.h5", "a.params", "a.npz", "a.pth", "a.safetensors", "a.onnx"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"<!doctype html>\n<title>404</title>\n"])
def test_a_malformed_file_is_one_line_that_names_it(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ran = run("convert", tmp_path / name, "-o", tmp_path / "out.safetensors")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"manypose: {tmp_path / name}: ")
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_that_is_cut_off_is_refused(run: Run, source: Path, tmp_path: Path) -> None:
    (tmp_path / "half.pth").write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    ran = run("convert", tmp_path / "half.pth", "-o", tmp_path / "out.onnx")
    assert (ran.code, ran.out) == (1, "")
    assert "half.pth: " in ran.err
    assert "fetch it again" in ran.err


def test_a_missing_file_of_a_hostile_name_stays_one_line_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = ["convert", str(tmp_path / "a\nb\x1b[31m.pth"), "-o", str(tmp_path / "out.onnx")]
    done = subprocess.run([sys.executable, "-m", "manypose", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "a\\nb\\x1b[31m.pth" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_torch_one_line_says_what_to_install(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = run("convert", source, "-o", tmp_path / "out.onnx")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "manypose: this needs torch, which is not installed: pip install 'manypose[train]'\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),  # no source
        ("a.pth",),  # neither --list nor a file
        ("a.pth", "--list", "-o", "b.onnx"),
        ("a.pth", "-o", "b.onnx", "--size", "192"),
        ("a.pth", "-o", "b.onnx", "--size", "0x256"),
        ("a.pth", "-o", "b.onnx", "--stages", "0"),
        ("a.pth", "-o", "b.onnx", "--format", "papyrus"),
        ("a.pth", "-o", "b.onnx", "--colours", "grey"),
    ],
)
def test_wrong_use(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("convert", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "usage: manypose convert" in ran.err
