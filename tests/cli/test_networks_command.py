"""`manypose models --networks` and `manypose models show NETWORK`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Run

from manypose.cli.networks import NAMES

NARROW = ("--option", "width=0.125", "--size", "64x96")


@pytest.mark.train
def test_all_networks_are_listed_with_what_was_counted_and_the_reference(run: Run) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    from manypose.networks import ENTRIES

    rows = {row["name"]: row for row in json.loads(run("models", "--networks", "--json").out)}
    assert list(rows) == list(ENTRIES)
    assert rows["mobilenet_paf"] == {
        "name": "mobilenet_paf",
        "task": "bottom-up",
        "size": [456, 256],
        "parameters": 4_091_698,
        "reference_parameters": 4_091_698,
        "multiply_adds": 7_656_013_824,
        "reference_multiply_adds": 7_656_013_824,
        "source": "D. Osokin, arXiv 1811.12004",
    }
    for row in rows.values():
        assert row["reference_parameters"] in (None, row["parameters"]), row["name"]


@pytest.mark.train
def test_the_table_of_networks_has_a_row_for_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = pytest.importorskip("manypose.networks", reason="needs the extra [train]")
    few = {name: networks.ENTRIES[name] for name in ("ladder_paf", "mobilenet_paf")}
    monkeypatch.setattr(networks, "ENTRIES", few)
    monkeypatch.setattr("manypose.networks.describe.ENTRIES", few)
    ran = run("models", "--networks")
    assert (ran.code, ran.err) == (0, "")
    (line,) = [line for line in ran.out.splitlines() if line.split()[:1] == ["mobilenet_paf"]]
    assert line.split()[:7] == [
        *("mobilenet_paf", "bottom-up", "456x256"),
        *("4,091,698", "4,091,698", "7,656,013,824", "7,656,013,824"),
    ]


@pytest.mark.train
def test_show_prints_the_layers_and_their_sums(run: Run) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    ran = run("models", "show", "mobilenet_paf", *NARROW, "--option", "refinements=0")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    (first,) = [line.split() for line in lines if line.split()[:1] == ["model.0.0"]]
    assert first == ["model.0.0", "convolution", "3", "2", "1", "1", "8x48x32", "216", "331,776"]
    assert "gives heatmaps 19x12x8" in lines
    assert lines[-1].startswith("mobilenet_paf: ")
    assert lines[-1].endswith("multiply-adds for 64x96 pixels")
    assert "refinement_stages" not in ran.out


@pytest.mark.train
def test_show_as_json_has_layers_blocks_and_results(run: Run) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    shown = json.loads(run("models", "show", "ladder_paf", *NARROW, "--json").out)
    assert shown["size"] == [64, 96]
    assert sum(layer["parameters"] for layer in shown["layers"]) == shown["parameters"]
    assert {"name", "kind", "kernel", "stride", "groups", "output", "multiply_adds"} <= set(shown["layers"][0])
    assert shown["blocks"][0]["inputs"] == ["picture"]
    assert [result["name"] for result in shown["results"]] == ["heatmaps", "fields"]


@pytest.mark.train
def test_svg_draws_the_network_into_a_file(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    file = tmp_path / "ladder.svg"
    ran = run("models", "show", "ladder_paf", *NARROW, "--svg", file)
    assert (ran.code, ran.out) == (0, f"{file}: ladder_paf, 11 blocks\n")
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    ran = run("models", "show", "ladder_paf", *NARROW, "--svg", tmp_path / "absent" / "x.svg")
    assert ran.code == 1
    assert "x.svg: cannot be written: No such file or directory" in ran.err


@pytest.mark.train
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ladder_paf", "--option", "depth=3"), "unexpected keyword argument 'depth'"),
        (("ladder_paf", "--option", "width=0"), "width is 0, expected a factor over 0"),
        (("hrnet_w32", "--option", "joints=18.5"), "option joints is 18.5, expected a whole number"),
        (("hrnet_w32", "--size", "190x250"), "hrnet_w32 takes no input of 190x250; give multiples of 32"),
    ],
)
def test_networks_and_options_that_there_are_not(run: Run, arguments: tuple[str, ...], message: str) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    ran = run("models", "show", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err


@pytest.mark.train
def test_the_names_that_are_known_without_torch_are_those_that_there_are() -> None:
    networks = pytest.importorskip("manypose.networks", reason="needs the extra [train]")
    assert tuple(networks.ENTRIES) == NAMES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hrnet_missing.onnx", "hrnet_missing.onnx: no such file"),
        ("hrnet_w32.onnx", "hrnet_w32.onnx: no such file"),
        ("hrnet-w32", "hrnet-w32 is a backbone, which only training starts from"),
        ("hrnet", "hrnet: no such file, and no shipped model is called that"),
        ("hrnet", "`manypose models --networks` lists the networks"),
    ],
)
def test_what_only_begins_as_a_network_is_a_model(run: Run, name: str, message: str) -> None:
    ran = run("models", "show", name)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert "no network is called" not in ran.err
    assert ("--networks" in ran.err) == (not name.endswith(".onnx"))


def test_a_file_goes_before_a_network_of_its_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hrnet_w32").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert "hrnet_w32: not an ONNX model" in run("models", "show", "hrnet_w32").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--networks", "--svg", "x.svg"), "--networks lists all networks and goes with --json only"),
        (("show", "default", "--svg", "x.svg"), "--svg, --size and --option are options of `show NETWORK`"),
        (("--size", "64x64"), "--svg, --size and --option are options of `show NETWORK`"),
        (("show", "ladder_paf", "--size", "64"), "'64' is not a width and height like 192x256"),
        (("show", "ladder_paf", "--option", "width"), "'width' is not of the form key=value"),
    ],
)
def test_wrong_use(run: Run, arguments: tuple[str, ...], message: str) -> None:
    ran = run("models", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize("arguments", [("--networks",), ("show", "vgg_paf")])
def test_without_torch_one_line_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = run("models", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "manypose: this needs torch, which is not installed: pip install 'manypose[train]'\n"
