"""`manypose data preview`: a sheet of the samples of a recipe or a data set."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from tiny_coco import person, write_set

from manypose.cli.data import preview
from manypose.data.datasets import read_dataset
from manypose.data.packing.program import pack
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton


def run(*arguments: object) -> int:
    command = ArgumentParser()
    parser = preview.add_parser(command.add_subparsers())
    return preview.run(parser.parse_intermixed_args([str(argument) for argument in arguments]))


@pytest.fixture
def people_file(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", [person(20, 10, 60, 100), person(90, 20, 40, 80)])


def test_a_recipe(tmp_path: Path, people_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"data": [{"file": people_file.name}], "size": 64, "max_steps": 1}))
    out = tmp_path / "sheet.png"
    assert run(recipe, f"root={people_file.parent}", "-o", out, "--count", 2) == 0
    assert f"{out}: 2 samples of {recipe}" in capsys.readouterr().out
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] == 1920
    with pytest.raises(OutputError, match="the file exists"):
        run(recipe, f"root={people_file.parent}", "-o", out, "--count", 2)
    assert run(recipe, f"root={people_file.parent}", "-o", out, "--count", 2, "--epoch", 1, "--overwrite") == 0
    assert (cv2.imread(str(out)) != sheet).any()


def test_a_data_set(tmp_path: Path, people_file: Path) -> None:
    assert run(people_file, "-o", tmp_path / "sheet.jpg", "--count", 1, "--skeleton", "coco17") == 0
    assert cv2.imread(str(tmp_path / "sheet.jpg")).std() > 5


def test_sets_with_faults_and_packed_sets(
    tmp_path: Path, people_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(people_file.read_text())
    content["annotations"][0]["bbox"][2] = 0
    people_file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation 0 of image 1: bbox .* has no size; .* with --skip$"):
        run(people_file, "-o", tmp_path / "sheet.png", "--count", 1)
    assert run(people_file, "-o", tmp_path / "sheet.png", "--count", 1, "--skip") == 0
    assert "left out: " in capsys.readouterr().err
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"data": [{"file": people_file.name}], "size": 64, "max_steps": 1}))
    assert run(recipe, f"root={people_file.parent}", "-o", tmp_path / "b.png", "--count", 1, "--skip") == 0
    packed = tmp_path / "set-{0..}.tar"
    pack(read_dataset(people_file, on_fault="skip"), packed, load_skeleton("coco17"))
    assert run(packed, "-o", tmp_path / "c.png", "--count", 1) == 0
    assert cv2.imread(str(tmp_path / "c.png")).std() > 5


def test_wrong_use(tmp_path: Path, people_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(people_file, "size=64", "-o", tmp_path / "sheet.png")
    assert "only a recipe has settings" in capsys.readouterr().err
    with pytest.raises(OutputError, match=r"written as \.png or \.jpg"):
        run(people_file, "-o", tmp_path / "sheet.gif")
    with pytest.raises(DataError, match="missing"):
        run(tmp_path / "missing.json", "-o", tmp_path / "sheet.png")
